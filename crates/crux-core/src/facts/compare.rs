//! Finding out what a peer has and this fulcrum lacks, with any fulcrum of the bloc, also of another flock: on first
//! contact, on every new view, and each 5 s with one linked peer by lot.
//!
//! ```text
//! A            Digest ->           B   different?
//! A         <- Ranges              B   if B has more than a few: in which ranges?
//! A            Ids ->              B   of those that differ
//! A         <- Ids                 B   of those too; or, if B has few, all at once
//! A   Want ->  ... <- Facts, Digest B   in windows, until A lacks nothing
//! A   Ids ->                       B   if A has something that B lacks: B pulls in its turn
//! ```
//! So a few differences among thousands cost a few kilobytes. Each side only pulls, so nothing is sent twice. An answer has
//! at most [`BURST`] bytes, in the order in which was asked; the digest at its end makes the next window due, which begins
//! with what did not fit. A digest that comes before anything of an answer is not the one at its end.
//!
//! What is asked for may not come, for ever: it is lost, or this side's check of signatures refuses what the other's
//! passed. Digests then stay different however often both are asked. So a list is not said again while nothing has
//! changed on either side, but for a pause that doubles from [`RETRY`] to [`PAUSE_MAX`] ([`Told`]): no state of two
//! stores makes them talk at the speed of the network.
//!
//! Who lacks much asks one peer at a time: while it pulls from one, the others' digests wait, or a newcomer would be sent
//! everything by everybody ([`Compare::defer`]).

use super::ranges::RangeSet;
use super::value::EXPULSIONS;
use super::version::Checked;
use super::{BURST, Facts, Message, Output, RETRY, authority};
use crate::hash::Random;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use crux_names::{Duration, Hash256, Member, Time, Wall};

/// Between two comparisons by lot.
const EVERY: Duration = Duration::from_secs(5);
/// What was learned from a comparison is told to the flock after this.
const ANNOUNCE: Duration = Duration::from_millis(200);
/// How many versions are asked for at once.
const WINDOW: usize = 128;
/// How many lists a peer is sent within [`RETRY`], whatever changes meanwhile, and how many of its lists are looked at. Each
/// may have a megabyte, and is compared with all that is here.
const LISTS_MAX: u32 = 4;
/// The longest pause before a list that is said again though nothing has changed.
const PAUSE_MAX: Duration = Duration::from_secs(16);
/// Up to so many ids are listed at once: they take no more room than the hashes of all ranges and what follows them.
const FEW: usize = 128;
/// A peer's list that is due, or what it was asked for, comes within this, if it comes.
const ANSWER: Duration = Duration::from_millis(200);
/// The longest that a peer is put off for what others send.
const DEFER_MAX: Duration = Duration::from_secs(3);
/// How many refused ids are remembered.
const REFUSED_MAX: usize = 4096;
/// How many ids a list has at most; one that is full speaks only of ids up to its last.
pub(crate) const IDS_MAX: usize = 30_000;

#[derive(Clone, Debug)]
pub(super) struct Compare {
    random: Random,
    every: Duration,
    next: Time,
    announce: Option<Time>,
    linked: BTreeSet<Member>,
    /// What is still to be pulled from whom.
    pulling: BTreeMap<Member, Pulling>,
    /// Who is put off, and since when.
    deferred: BTreeMap<Member, Time>,
    /// The last list of this fulcrum's ids, by whom it went to. Linked peers only, and so are those above and below.
    told: BTreeMap<Member, Told>,
    /// When the present round of lists of a peer began, and how many were looked at in it.
    heard: BTreeMap<Member, (Time, u32)>,
    /// Who is asked again whether the digests still differ, and when: a list was due and was not said.
    owed: BTreeMap<Member, Time>,
    /// Versions that the table refused: named in lists as if they were here, so that they do not come again.
    refused: BTreeSet<Hash256>,
    /// Versions that came and had been replaced here already: not asked for again.
    late: BTreeSet<Hash256>,
    /// Of what was asked for, nothing came: the next list is gone through from another place, lest what never comes keeps
    /// back what is behind it.
    vain: bool,
}

/// What is still to be asked for, and when something new came of it last.
#[derive(Clone, Debug)]
struct Pulling {
    rest: VecDeque<Hash256>,
    at: Time,
    window: Option<Window>,
}

impl Pulling {
    const fn new(at: Time, rest: VecDeque<Hash256>) -> Self {
        Self { rest, at, window: None }
    }
}

/// What was asked for last.
#[derive(Clone, Debug)]
struct Window {
    since: Time,
    /// What stood behind the last of it that came.
    behind: VecDeque<Hash256>,
    /// Whether any of it came.
    answered: bool,
    /// A digest came before that, and may have been all of the answer.
    closed: bool,
}

/// What a peer was told last.
#[derive(Clone, Debug)]
struct Told {
    at: Time,
    /// The digests then, this fulcrum's and, if the list followed from it, the peer's.
    mine: Hash256,
    theirs: Option<Hash256>,
    /// How long nothing is said again while both are the same.
    pause: Duration,
    /// The beginning of the present round of lists, and how many there were in it.
    round: Time,
    lists: u32,
    /// When ids were listed last.
    listed: Option<Time>,
    /// Its own list is due.
    awaits: bool,
}

impl Told {
    /// From when on a list may follow that is to bring these digests together.
    fn next(&self, mine: Hash256, theirs: Hash256) -> Time {
        let paced = if self.lists < LISTS_MAX { Time::ZERO } else { self.round + RETRY };
        let changed = self.mine != mine || self.theirs != Some(theirs);
        if changed { paced } else { paced.max(self.at + self.pause) }
    }
}

impl Compare {
    pub(super) fn new(random: Random, timers: u32) -> Self {
        Self {
            random,
            every: EVERY * timers.max(1) / 1000,
            next: Time::ZERO,
            announce: None,
            linked: BTreeSet::new(),
            pulling: BTreeMap::new(),
            deferred: BTreeMap::new(),
            told: BTreeMap::new(),
            heard: BTreeMap::new(),
            owed: BTreeMap::new(),
            refused: BTreeSet::new(),
            late: BTreeSet::new(),
            vain: false,
        }
    }

    pub(super) fn deadline(&self) -> Time {
        let next = if self.linked.is_empty() { Time::NEVER } else { self.next };
        let owed = self.owed.values().min().copied().unwrap_or(Time::NEVER);
        let closed = self.pulling.values().filter_map(|pulling| pulling.window.as_ref().filter(|window| window.closed));
        let closed = closed.map(|window| window.since + ANSWER).min().unwrap_or(Time::NEVER);
        next.min(self.announce.unwrap_or(Time::NEVER)).min(owed).min(closed)
    }

    pub(super) fn is_linked(&self, peer: &Member) -> bool {
        self.linked.contains(peer)
    }

    /// Notes that a list of ids or of hashes goes out. `theirs` is the digest that it answers.
    fn tell(&mut self, now: Time, to: &Member, mine: Hash256, theirs: Option<Hash256>) {
        self.owed.remove(to);
        let fresh = Told { at: now, mine, theirs, pause: RETRY, round: now, lists: 0, listed: None, awaits: false };
        let told = self.told.entry(to.clone()).or_insert(fresh);
        let same = told.mine == mine && (theirs.is_none() || told.theirs == theirs);
        if !same {
            (told.mine, told.theirs, told.pause) = (mine, theirs, RETRY);
        } else if theirs.is_some() && told.lists > 0 {
            told.pause = (told.pause * 2).min(PAUSE_MAX);
        }
        if now.since(told.round) >= RETRY {
            (told.round, told.lists) = (now, 0);
        }
        told.lists += 1;
        told.at = now;
        told.awaits = theirs.is_some();
    }

    /// Whether a peer whose facts differ is put off, because another one is just telling what this fulcrum lacks. Its
    /// digest is asked for again soon: by then there may be no difference.
    fn defer(&mut self, now: Time, from: &Member) -> bool {
        let pulls = self.pulling.iter().any(|(peer, pulling)| peer != from && now.since(pulling.at) < RETRY);
        let waits = || self.told.iter().any(|(peer, told)| peer != from && told.awaits && now.since(told.at) < ANSWER);
        if !(pulls || waits()) {
            return false;
        }
        // Counted from the first time until it has told what it has: who is put off again and again is so only once.
        let since = *self.deferred.entry(from.clone()).or_insert(now);
        if now.since(since) >= DEFER_MAX {
            return false;
        }
        self.owed.entry(from.clone()).or_insert(now + ANSWER);
        true
    }

    /// Whether one more list of a peer is looked at now. One that is not will be asked for again.
    fn hears(&mut self, now: Time, from: &Member) -> bool {
        let (round, lists) = self.heard.entry(from.clone()).or_insert((now, 0));
        if now.since(*round) >= RETRY {
            (*round, *lists) = (now, 0);
        }
        *lists += 1;
        let (next, hears) = (*round + RETRY, *lists <= LISTS_MAX);
        if !hears {
            self.owed.entry(from.clone()).or_insert(next);
        }
        hears
    }

    /// What had been replaced here may stand again.
    pub(super) fn forget_late(&mut self) {
        self.late.clear();
    }

    /// A peer said what it has.
    fn answered(&mut self, from: &Member) {
        if let Some(told) = self.told.get_mut(from) {
            told.awaits = false;
        }
    }
}

impl Facts {
    pub(super) fn send_digest(&mut self, to: Member, out: &mut Vec<Output>) {
        if self.outbox.puts_off(&to) {
            return;
        }
        let count = u32::try_from(self.store.heads().len()).unwrap_or(u32::MAX);
        out.push(Output::Send { to, message: Message::Digest { digest: self.store.digest(), count } });
    }

    /// Says what this fulcrum has, or where to look for what differs. `theirs` is the digest that this answers.
    fn send_what(&mut self, now: Time, to: Member, theirs: Hash256, out: &mut Vec<Output>) {
        if self.store.heads().len() <= FEW {
            return self.send_ids(now, to, Some(theirs), RangeSet::ALL, out);
        }
        self.compare.tell(now, &to, self.store.digest(), Some(theirs));
        out.push(Output::Send { to, message: Message::Ranges(self.store.ranges().short()) });
    }

    /// `theirs` is the digest that this list answers, if it answers one.
    fn send_ids(&mut self, now: Time, to: Member, theirs: Option<Hash256>, of: RangeSet, out: &mut Vec<Output>) {
        self.compare.tell(now, &to, self.store.digest(), theirs);
        if let Some(told) = self.compare.told.get_mut(&to) {
            told.listed = Some(now);
        }
        let ids = self.store.heads().union(&self.compare.refused).filter(|id| of.has(id)).take(IDS_MAX);
        let message = Message::Ids { of, ids: ids.copied().collect() };
        out.push(Output::Send { to, message });
    }

    pub(super) fn linked(&mut self, now: Time, peer: Member, out: &mut Vec<Output>) {
        if self.compare.linked.is_empty() {
            self.compare.next = now + self.compare.every;
        }
        self.compare.linked.insert(peer.clone());
        // Before any other state: who is out must be out before anything of it is taken.
        let expulsions: Vec<Checked> =
            self.store.records_under(EXPULSIONS).filter_map(|(_, record)| record.winner()).cloned().collect();
        self.outbox.drop_peer(&peer);
        self.push(now, &peer, &expulsions, out);
        // One of the two begins; both are told of the link.
        if self.config.me < peer.id {
            self.send_digest(peer, out);
        }
    }

    pub(super) fn unlinked(&mut self, peer: &Member) {
        self.compare.linked.remove(peer);
        self.compare.pulling.remove(peer);
        self.compare.deferred.remove(peer);
        self.compare.told.remove(peer);
        self.compare.heard.remove(peer);
        self.compare.owed.remove(peer);
        self.outbox.drop_peer(peer);
        self.disk.drop_debts(peer);
    }

    pub(super) fn contact_members(&mut self, out: &mut Vec<Output>) {
        for member in self.others.clone() {
            if self.config.me < member.id {
                self.send_digest(member, out);
            }
        }
    }

    pub(super) fn tick(&mut self, now: Time, out: &mut Vec<Output>) {
        while let Some(peer) = self.compare.owed.iter().find(|(_, at)| **at <= now).map(|(peer, _)| peer.clone()) {
            self.compare.owed.remove(&peer);
            self.send_digest(peer, out);
        }
        if self.compare.announce.is_some_and(|at| at <= now) {
            self.compare.announce = None;
            for member in self.others.clone() {
                self.send_digest(member, out);
            }
        }
        let over = |pulling: &Pulling| {
            pulling.window.as_ref().is_some_and(|window| window.closed && window.since + ANSWER <= now)
        };
        let over = self.compare.pulling.iter().filter(|(_, pulling)| over(pulling)).map(|(peer, _)| peer.clone());
        for peer in over.collect::<Vec<_>>() {
            if !self.pull(now, &peer, out) {
                self.send_digest(peer, out);
            }
        }
        if self.compare.next <= now && !self.compare.linked.is_empty() {
            self.compare.next = now + self.compare.every;
            let lot = self.compare.random.below(self.compare.linked.len() as u64);
            if let Some(peer) = self.compare.linked.iter().nth(usize::try_from(lot).unwrap_or(0)).cloned() {
                self.send_digest(peer, out);
            }
        }
    }

    pub(super) fn compared(&mut self, now: Time, from: Member, digest: Hash256, out: &mut Vec<Output>) {
        // Who is not linked any more gets no answer, and nothing is remembered of it.
        if !self.compare.linked.contains(&from) {
            return;
        }
        let mine = self.store.digest();
        if digest == mine {
            self.compare.owed.remove(&from);
            self.compare.answered(&from);
            self.compare.deferred.remove(&from);
        }
        if self.pull(now, &from, out) || digest == mine || self.compare.defer(now, &from) || self.outbox.puts_off(&from)
        {
            return;
        }
        let next = self.compare.told.get(&from).map_or(Time::ZERO, |told| told.next(mine, digest));
        if next <= now {
            self.send_what(now, from, digest, out);
        } else {
            self.compare.owed.insert(from, next);
        }
    }

    /// Asks for the next window, unless the last one is still to be answered. False if nothing is left to be asked for.
    fn pull(&mut self, now: Time, from: &Member, out: &mut Vec<Output>) -> bool {
        let Some(Pulling { rest, window: last, .. }) = self.compare.pulling.get_mut(from) else { return false };
        match last.take() {
            Some(Window { behind, answered: true, .. }) => behind.into_iter().rev().for_each(|id| rest.push_front(id)),
            Some(window) if now.since(window.since) < ANSWER => {
                *last = Some(Window { closed: true, ..window });
                return true;
            }
            Some(_) => self.compare.vain = true,
            None => {}
        }
        let mut window = Vec::new();
        while window.len() < WINDOW {
            let Some(id) = rest.pop_front() else { break };
            if !(self.store.keeps(&id) || self.quarantine.keeps(&id) || self.compare.refused.contains(&id)) {
                window.push(id);
            }
        }
        if window.is_empty() {
            self.compare.pulling.remove(from);
            return false;
        }
        *last = Some(Window { since: now, behind: window.iter().copied().collect(), answered: false, closed: false });
        out.push(Output::Send { to: from.clone(), message: Message::Want(window) });
        true
    }

    /// A peer says the hashes of its ranges, because its digest is another.
    pub(super) fn ranged(&mut self, now: Time, from: Member, theirs: &[u64], out: &mut Vec<Output>) {
        if !self.compare.linked.contains(&from) {
            return;
        }
        self.compare.answered(&from);
        let Some(of) = self.store.ranges().other(theirs) else { return };
        if self.compare.defer(now, &from) || self.outbox.puts_off(&from) {
            return;
        }
        match self.compare.told.get(&from).filter(|told| told.lists >= LISTS_MAX).map(|told| told.round + RETRY) {
            Some(next) if next > now => _ = self.compare.owed.entry(from).or_insert(next),
            _ => self.send_ids(now, from, None, of, out),
        }
    }

    pub(super) fn listed(&mut self, now: Time, from: Member, of: RangeSet, theirs: &[Hash256], out: &mut Vec<Output>) {
        if !self.compare.linked.contains(&from) {
            return;
        }
        self.compare.answered(&from);
        self.compare.deferred.remove(&from);
        if !self.compare.hears(now, &from) {
            return;
        }
        let heads = self.store.heads();
        let news = |id: &&Hash256| {
            let known = self.compare.refused.contains(id) || self.compare.late.contains(id);
            !heads.contains(id) && !known && !self.quarantine.keeps(id)
        };
        // Also what somebody names as replaced: that it is of that path is only said. If it is so, it comes in vain, once.
        let mut lacking: BTreeSet<Hash256> = theirs.iter().filter(news).copied().collect();
        let puts_off = self.outbox.puts_off(&from);
        if !lacking.is_empty() && !puts_off {
            // The peer sees that it is replaced from the heads that it will pull, unless they no longer say it.
            let mut proof: BTreeMap<Hash256, &Checked> = BTreeMap::new();
            for (id, record) in self.store.covered(&lacking) {
                if !record.heads().iter().any(|head| head.statement().ancestors.contains(&id)) {
                    proof.extend(record.kept().map(|version| (version.id(), version)));
                }
            }
            // The rest when it lists again.
            Self::send_versions(&from, piece(proof.into_values()), out);
        }
        let full = theirs.len() >= IDS_MAX;
        let last = theirs.last().copied().unwrap_or_default();
        let extra =
            heads.iter().filter(|id| of.has(id)).any(|id| theirs.binary_search(id).is_err() && (!full || *id <= last));
        if !lacking.is_empty() {
            let window = self.compare.pulling.remove(&from).and_then(|pulling| pulling.window);
            window.iter().flat_map(|window| &window.behind).for_each(|id| _ = lacking.remove(id));
            let mut rest: VecDeque<Hash256> = lacking.into_iter().collect();
            if !rest.is_empty() && core::mem::take(&mut self.compare.vain) {
                let begin = usize::try_from(self.compare.random.below(rest.len() as u64)).unwrap_or(0);
                rest.rotate_left(begin);
            }
            // While a window is under way its closing digest asks for the next.
            let begins = window.is_none();
            self.compare.pulling.insert(from.clone(), Pulling { window, ..Pulling::new(now, rest) });
            if begins {
                self.pull(now, &from, out);
            }
        }
        // A list that answers a list ends the exchange.
        let listed = self.compare.told.get(&from).and_then(|told| told.listed);
        if extra && !puts_off && listed.is_none_or(|at| now.since(at) >= RETRY) {
            self.send_ids(now, from, None, of, out);
        }
    }

    /// Each once, and no more than an honest peer asks for at a time: an answer is much larger than its question. In the
    /// order in which it asks, so that it sees how far the answer came.
    pub(super) fn wanted(&mut self, from: Member, ids: &[Hash256], out: &mut Vec<Output>) {
        if self.outbox.puts_off(&from) {
            return;
        }
        let mut seen = BTreeSet::new();
        let ids = ids.iter().take(WINDOW).filter(|id| seen.insert(**id));
        Self::send_versions(&from, piece(ids.filter_map(|id| self.store.version(id))), out);
        self.send_digest(from, out);
    }

    pub(super) fn received(
        &mut self,
        now: Time,
        wall: Wall,
        from: Member,
        versions: Vec<Checked>,
        out: &mut Vec<Output>,
    ) {
        let mut news = Vec::new();
        let mut ids = Vec::new();
        let mut paths: BTreeSet<String> = BTreeSet::new();
        for version in versions {
            let window = self.compare.pulling.get_mut(&from).and_then(|pulling| pulling.window.as_mut());
            if let Some(window) = window
                && let Some(place) = window.behind.iter().position(|id| *id == version.id())
            {
                window.behind.drain(..=place);
                (window.answered, window.closed) = (true, false);
            }
            let judged = authority::authorise(&self.config.bloc, version.statement());
            if let Some(why) = judged.err().or_else(|| self.too_much(&version)) {
                if self.compare.refused.len() < REFUSED_MAX && self.compare.refused.insert(version.id()) {
                    let path = version.statement().path.clone();
                    out.push(Output::Ignored { from: from.clone(), path, why });
                }
                continue;
            }
            ids.push(version.id());
            paths.insert(version.statement().path.clone());
            if self.merge(wall, version.clone(), out) {
                self.disk.soil(&version);
                news.push(version);
            } else if !self.keeps(&version.id()) {
                if self.compare.late.len() >= REFUSED_MAX {
                    self.compare.late.clear();
                }
                self.compare.late.insert(version.id());
            }
        }
        if !news.is_empty() {
            if let Some(pulling) = self.compare.pulling.get_mut(&from) {
                pulling.at = now;
                self.compare.announce.get_or_insert(now + ANNOUNCE);
            }
            self.disk.persist_merged(news, out);
        }
        if !ids.is_empty() && self.compare.linked.contains(&from) {
            self.disk.owe(now, from, ids, paths);
            self.disk.pay(out);
        }
    }
}

/// The first of these that have no more than [`BURST`] bytes together; one at least.
fn piece<'a>(versions: impl Iterator<Item = &'a Checked>) -> impl Iterator<Item = &'a Checked> {
    let mut bytes = 0;
    versions.take_while(move |version| {
        let first = bytes == 0;
        bytes += version.size();
        first || bytes <= BURST
    })
}
