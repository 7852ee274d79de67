//! What is sent to a peer unasked, in pieces that the queue of its link can hold.
//!
//! A link holds so many bytes that wait to be sent, and ends when there are more. Whoever asks paces its own answers
//! (`compare`). What goes out unasked, a write at this door and the expulsions on a new link, is paced here: no more than
//! [`BURST`] bytes of it are under way to a peer, until it says that it holds them. Of what is more, expulsions wait for
//! that, since they go before anything else; all the rest is left to a comparison, and a digest says that there is one to
//! make. A peer that says nothing (its disk fails, or it refuses what it is sent) is taken to have it after a pause, which
//! doubles: a path that stands still until its link is given up for dead is not filled meanwhile.

use super::value::EXPULSIONS;
use super::version::Checked;
use super::{BURST, Facts, Output, RETRY};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use crux_names::{Duration, Hash256, Member, Time};

/// The longest pause for a peer that says nothing: a quarter of a minute and some, so that within the 40 s after which a
/// silent link ends it is sent six pieces at most.
const PAUSE_MAX: Duration = Duration::from_secs(16);

/// What is under way to whom; peers to whom nothing is are not here.
#[derive(Clone, Debug, Default)]
pub(super) struct Outbox(BTreeMap<Member, Pushed>);

#[derive(Clone, Debug)]
struct Pushed {
    /// Expulsions that are still to be sent.
    first: VecDeque<Checked>,
    /// What was sent and is not yet said to be held, with its bytes.
    under_way: BTreeMap<Hash256, usize>,
    bytes: usize,
    /// When something was sent, or was said to be held, last.
    since: Time,
    /// How long after that the peer is not waited for any more.
    pause: Duration,
    /// A comparison is due, after the expulsions.
    digest: bool,
}

impl Pushed {
    const fn new(now: Time) -> Self {
        Self { first: VecDeque::new(), under_way: BTreeMap::new(), bytes: 0, since: now, pause: RETRY, digest: false }
    }

    /// Gives up waiting for what was sent, if it is time.
    fn expire(&mut self, now: Time) {
        if !self.under_way.is_empty() && now.since(self.since) >= self.pause {
            self.under_way.clear();
            self.bytes = 0;
            self.since = now;
            self.pause = (self.pause * 2).min(PAUSE_MAX);
        }
    }

    /// Whether a version may go now; it then counts as sent. A large one goes alone.
    fn takes(&mut self, now: Time, version: &Checked) -> bool {
        let size = version.size();
        if self.bytes > 0 && self.bytes + size > BURST {
            return false;
        }
        if self.under_way.insert(version.id(), size).is_none() {
            self.bytes += size;
        }
        self.since = now;
        true
    }

    /// The expulsions that may go now.
    fn next(&mut self, now: Time) -> Vec<Checked> {
        let mut piece = Vec::new();
        while let Some(version) = self.first.pop_front() {
            if !self.takes(now, &version) {
                self.first.push_front(version);
                break;
            }
            piece.push(version);
        }
        piece
    }
}

impl Outbox {
    /// When somebody to whom expulsions are still to be sent is waited for no longer.
    pub(super) fn deadline(&self) -> Time {
        let waits = self.0.values().filter(|pushed| !pushed.first.is_empty());
        waits.map(|pushed| pushed.since + pushed.pause).min().unwrap_or(Time::NEVER)
    }

    pub(super) fn drop_peer(&mut self, peer: &Member) {
        self.0.remove(peer);
    }

    /// Only these are peers.
    pub(super) fn retain(&mut self, peer: impl Fn(&Member) -> bool) {
        self.0.retain(|member, _| peer(member));
    }

    /// Whether expulsions are still to be sent to a peer. Then a digest is due after them, and nothing is said before.
    pub(super) fn puts_off(&mut self, peer: &Member) -> bool {
        let Some(pushed) = self.0.get_mut(peer).filter(|pushed| !pushed.first.is_empty()) else { return false };
        pushed.digest = true;
        true
    }

    /// To whom a digest is due now.
    fn digests(&mut self) -> Vec<Member> {
        let due = |pushed: &&mut Pushed| pushed.digest && pushed.first.is_empty();
        let peers = self.0.iter_mut().filter(|(_, pushed)| due(pushed)).map(|(peer, pushed)| {
            pushed.digest = false;
            peer.clone()
        });
        let peers: Vec<Member> = peers.collect();
        self.0.retain(|_, pushed| pushed.digest || !pushed.first.is_empty() || !pushed.under_way.is_empty());
        peers
    }
}

impl Facts {
    /// Sends a peer what it did not ask for: expulsions first, of the rest what may be under way, and a digest at the end of
    /// the step if that is not all.
    pub(super) fn push(&mut self, now: Time, to: &Member, versions: &[Checked], out: &mut Vec<Output>) {
        let pushed = self.outbox.0.entry(to.clone()).or_insert_with(|| Pushed::new(now));
        pushed.expire(now);
        let expels = |version: &&Checked| version.statement().path.starts_with(EXPULSIONS);
        pushed.first.extend(versions.iter().filter(expels).cloned());
        let mut piece = pushed.next(now);
        for version in versions.iter().filter(|version| !expels(version)) {
            if !pushed.first.is_empty() || !pushed.takes(now, version) {
                pushed.digest = true;
                break;
            }
            piece.push(version.clone());
        }
        Self::send_versions(to, piece.iter(), out);
    }

    /// The same to every other member.
    pub(super) fn push_to_all(&mut self, now: Time, versions: &[Checked], out: &mut Vec<Output>) {
        for to in self.others.clone() {
            self.push(now, &to, versions, out);
        }
    }

    /// A peer has these: what waits for it goes on.
    pub(super) fn arrived(&mut self, now: Time, from: &Member, ids: &[Hash256], out: &mut Vec<Output>) {
        let Some(pushed) = self.outbox.0.get_mut(from) else { return };
        for id in ids {
            if let Some(size) = pushed.under_way.remove(id) {
                pushed.bytes -= size;
                (pushed.since, pushed.pause) = (now, RETRY);
            }
        }
        let piece = pushed.next(now);
        Self::send_versions(from, piece.iter(), out);
    }

    /// What is due by now: more expulsions to who says nothing, and digests.
    pub(super) fn tend_outbox(&mut self, now: Time, out: &mut Vec<Output>) {
        for (to, pushed) in self.outbox.0.iter_mut().filter(|(_, pushed)| !pushed.first.is_empty()) {
            pushed.expire(now);
            let piece = pushed.next(now);
            Self::send_versions(to, piece.iter(), out);
        }
        for to in self.outbox.digests() {
            self.send_digest(to, out);
        }
    }
}
