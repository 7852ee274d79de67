//! Finding other flocks of the bloc and asking the better one to be taken in. A bloc always tries to be one flock.
//!
//! Plain by design: each fulcrum dials every address that it knows of and has no link to, once a discovery round. The
//! cold addresses, the flock-wide cursor, probe networks and multicast of the design's `flocking.md` are not here yet.

use super::Output;
use super::machine::Flock;
use super::message::{Accusation, AskReply, Message};
use super::timers::DIALS;
use super::view::{Headed, View, ViewId};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::SocketAddr;
use crux_names::{Duration, FulcrumId, Member, Time};

/// Why nobody answers where somebody stopped.
const LEFT: &str = "it left on purpose";
/// Addresses that a peer is told of at once, at most.
const HINTS: usize = 64;
/// An address that answered within this time is tried every round.
const HOT: Duration = Duration::from_secs(3600);
/// Rounds between two tries of an address that has been silent for longer.
const COLD_ROUNDS: u32 = 10;
const SECOND: Duration = Duration::from_secs(1);
/// Addresses, names and pairs that are kept of what peers tell, at most.
const KEPT: usize = 4096;
/// Accepted asks in a row that may come to nothing before a flock counts as one that refuses.
const VAIN: u32 = 3;
/// How long it is remembered that a pair began to work again.
const RECENT: Duration = Duration::from_secs(10);

/// An address that may be a fulcrum of the bloc.
#[derive(Clone, Debug)]
pub struct Target {
    /// Who was last seen there.
    pub fulcrum: Option<FulcrumId>,
    /// Configured: never forgotten.
    pub seed: bool,
    pub linked: bool,
    /// Tried at all, and in this view: a dial came to nothing.
    pub tried: bool,
    pub tried_in_view: bool,
    /// The last attempt was answered and refused.
    pub refused: bool,
    /// Who was there said that it leaves.
    pub left: bool,
    pub why: String,
    /// The next dial.
    pub next: Time,
    /// When a link to it last lived; at first when it was first heard of.
    pub alive: Time,
}

/// The flock that this one asked.
#[derive(Clone, Debug)]
pub struct Asking {
    pub head: Headed,
    pub leader: Member,
    pub at: Time,
    pub accepted: bool,
}

/// Why a flock (named by its leader) and this one stay apart.
#[derive(Clone, Debug)]
pub struct Refusal {
    pub until: Time,
    pub pairs: Vec<(Member, Member)>,
    pub times: u32,
    /// This flock's view and theirs: once either changes, the refusal says nothing any more.
    pub between: (ViewId, ViewId),
}

impl Flock {
    /// Makes an address one to be dialled.
    pub(super) fn aim(&mut self, addr: SocketAddr, fulcrum: Option<FulcrumId>, seed: bool) {
        if self.myself.contains(&addr) || fulcrum.as_ref() == Some(&self.config.me.id) || addr.port() == 0 {
            return;
        }
        if !seed && self.targets.len() >= KEPT && !self.targets.contains_key(&addr) {
            return;
        }
        let now = self.now;
        let target = self.targets.entry(addr).or_insert_with(|| Target {
            fulcrum: None,
            seed: false,
            linked: false,
            tried: false,
            tried_in_view: false,
            refused: false,
            left: false,
            why: String::new(),
            next: now,
            alive: now,
        });
        target.seed |= seed;
        if fulcrum.is_some() {
            target.fulcrum = fulcrum;
        }
        let linked = self.peers.values().any(|peer| peer.linked && peer.addr == addr);
        target.linked = linked;
    }

    /// A link came up: the address is good, and older ones of the same fulcrum are not needed.
    pub(super) fn found(&mut self, member: &Member, addr: SocketAddr, out: &mut Vec<Output>) {
        self.aim(addr, Some(member.id.clone()), false);
        let now = self.now;
        for (at, target) in &mut self.targets {
            if *at == addr || target.fulcrum.as_ref() == Some(&member.id) {
                target.linked = true;
                target.refused = false;
                target.left = false;
                target.alive = now;
                target.why.clear();
            }
        }
        self.remember(&member.id, addr, out);
    }

    /// Writes an address into the book that is persisted.
    pub(super) fn remember(&mut self, fulcrum: &FulcrumId, addr: SocketAddr, out: &mut Vec<Output>) {
        if self.book.len() >= KEPT && !self.book.contains_key(fulcrum) {
            return;
        }
        if *fulcrum != self.config.me.id && self.book.insert(fulcrum.clone(), addr) != Some(addr) {
            out.push(Output::Book(self.book.iter().map(|(id, addr)| (id.clone(), *addr)).collect()));
        }
    }

    pub(super) fn lost_link(&mut self, addr: SocketAddr) {
        let fulcrum = self.targets.get(&addr).and_then(|target| target.fulcrum.clone());
        let still = |id: &Option<FulcrumId>, peers: &BTreeMap<Member, super::evidence::Peer>| {
            peers.iter().any(|(member, peer)| peer.linked && Some(&member.id) == id.as_ref())
        };
        if still(&fulcrum, &self.peers) {
            return;
        }
        let jitter = self.jitter(self.t.disc / 4);
        let now = self.now;
        for (at, target) in &mut self.targets {
            if *at == addr || (fulcrum.is_some() && target.fulcrum == fulcrum) {
                target.linked = false;
                target.tried_in_view = false;
                target.alive = now;
                target.next = now + jitter;
            }
        }
    }

    pub(super) fn forget_target(&mut self, fulcrum: &FulcrumId, out: &mut Vec<Output>) {
        self.targets.retain(|_, target| target.linked || target.seed || target.fulcrum.as_ref() != Some(fulcrum));
        if self.book.remove(fulcrum).is_some() {
            out.push(Output::Book(self.book.iter().map(|(id, addr)| (id.clone(), *addr)).collect()));
        }
    }

    fn jitter(&mut self, most: Duration) -> Duration {
        Duration::from_nanos(self.random.below(u64::try_from(most.as_nanos()).unwrap_or(1)))
    }

    pub(super) fn dial_failed(&mut self, addr: SocketAddr, myself: bool, refused: bool, why: String) {
        if myself {
            self.myself.insert(addr);
            self.targets.remove(&addr);
            return;
        }
        if let Some(target) = self.targets.get_mut(&addr) {
            target.tried = true;
            target.tried_in_view = true;
            target.refused = refused;
            target.why = if target.left && !refused { LEFT.into() } else { why };
        }
    }

    /// This fulcrum stops on purpose: its silence from now on has a reason.
    pub(super) fn goodbye(&mut self, fulcrum: &FulcrumId) {
        for target in self.targets.values_mut().filter(|target| target.fulcrum.as_ref() == Some(fulcrum)) {
            target.left = true;
            target.why = LEFT.into();
        }
    }

    pub(super) fn send_hints(&self, to: &Member, out: &mut Vec<Output>) {
        let linked = self.peers.iter().filter(|(member, peer)| peer.linked && *member != to);
        let seats: Vec<_> = linked.map(|(member, peer)| (member.id.clone(), peer.addr)).take(HINTS).collect();
        if !seats.is_empty() {
            out.push(Output::Message { to: to.clone(), message: Message::Hints { seats } });
        }
    }

    pub(super) fn hints(&mut self, seats: Vec<(FulcrumId, SocketAddr)>) {
        for (fulcrum, addr) in seats.into_iter().take(HINTS) {
            self.aim(addr, Some(fulcrum), false);
        }
    }

    /// Views of linked fulcrums that are not members here, each once.
    pub(super) fn foreign_heads(&self) -> Vec<Headed> {
        let mut heads: BTreeMap<ViewId, Headed> = BTreeMap::new();
        for (member, peer) in &self.peers {
            if let Some(head) = &peer.head
                && peer.linked
                && !self.view.has(member)
                && head.id != *self.view.id()
            {
                heads.insert(head.id.clone(), head.clone());
            }
        }
        heads.into_values().collect()
    }

    /// Leaders of foreign flocks that answer this fulcrum directly, with the flock that each leads.
    pub(super) fn foreign_leaders(&self) -> Vec<(Member, Headed)> {
        self.peers
            .iter()
            .filter(|(member, peer)| peer.linked && !self.view.has(member) && self.proven(member, self.t.period * 3))
            .filter_map(|(member, peer)| peer.head.clone().map(|head| (member.clone(), head)))
            .filter(|(member, head)| head.header.leader == member.id)
            .collect()
    }

    /// A pair of this fulcrum and a foreign one works for the first time since it was broken.
    pub(super) fn pair_works(&mut self, foreign: &Member, out: &mut Vec<Output>) {
        if self.leads() {
            let me = self.config.me.clone();
            self.foreign_pair_works(foreign, &me);
            return;
        }
        let leader = self.view.leader().member.clone();
        let message = Message::Alert {
            view: self.view.id().clone(),
            subject: foreign.clone(),
            accusation: Accusation::Withdrawn,
        };
        out.push(Output::Message { to: leader, message });
    }

    /// A member reaches a foreign fulcrum: what was refused because of that pair is asked again at once.
    pub(super) fn foreign_pair_works(&mut self, foreign: &Member, ours: &Member) {
        let now = self.now;
        self.worked.retain(|_, at| now.since(*at) <= RECENT);
        if self.worked.len() < KEPT {
            self.worked.insert((foreign.id.clone(), ours.id.clone()), now);
        }
        let same = |a: &Member, b: &Member| a.id == b.id;
        self.refusals.retain(|_, refusal| {
            !refusal
                .pairs
                .iter()
                .any(|(a, b)| (same(a, foreign) && same(b, ours)) || (same(b, foreign) && same(a, ours)))
        });
    }

    /// Whether one of these pairs began to work while the refusal that names it was under way.
    fn outdated(&self, pairs: &[(Member, Member)]) -> bool {
        let recent = |a: &Member, b: &Member| {
            self.worked
                .get(&(a.id.clone(), b.id.clone()))
                .is_some_and(|at| self.now.since(*at) <= self.t.ask_wait.min(RECENT))
        };
        pairs.iter().any(|(a, b)| recent(a, b) || recent(b, a))
    }

    /// Notes that this flock and that leader's stay apart, and for how long: each time twice as long.
    pub(super) fn note_refusal(
        &mut self,
        leader: &FulcrumId,
        theirs: &ViewId,
        pairs: Vec<(Member, Member)>,
    ) -> Duration {
        if self.outdated(&pairs) {
            self.refusals.remove(leader);
            return self.t.settle;
        }
        let times = self.standing(leader).map_or(0, |refusal| refusal.times + 1);
        let wait = (self.t.refuse_from * 2_u32.saturating_pow(times.min(16))).min(self.t.refuse_to);
        let between = (self.view.id().clone(), theirs.clone());
        self.refusals.insert(leader.clone(), Refusal { until: self.now + wait, pairs, times, between });
        wait
    }

    /// The refusal between this flock and that leader's as both are now.
    pub(super) fn standing(&self, leader: &FulcrumId) -> Option<&Refusal> {
        let theirs = self.peers.iter().find(|(member, peer)| member.id == *leader && peer.linked);
        let theirs = theirs.and_then(|(_, peer)| peer.head.as_ref());
        self.refusals.get(leader).filter(|refusal| {
            refusal.between.0 == *self.view.id() && theirs.is_none_or(|head| head.id == refusal.between.1)
        })
    }

    pub(super) fn ask(&mut self, from: Member, view: View, out: &mut Vec<Output>) {
        let asked = view.id().clone();
        if view.head.header.bloc != self.config.bloc
            || view.leader().member != from
            || self.leaving
            || asked == *self.view.id()
        {
            return;
        }
        let reply = if !self.leads() {
            AskReply::Redirect(self.view.head.clone())
        } else if let Some(asking) = &self.asking {
            AskReply::Redirect(asking.head.clone())
        } else if view.head.header.rank > self.view.head.header.rank
            || view.id().epoch > self.view.id().epoch.max(1 << 32).saturating_add(super::view::EPOCH_STEP)
        {
            // Asks only go up in rank, so that no two flocks wait for each other.
            AskReply::Busy(self.t.settle)
        } else if self.proposal.is_some() || self.promise.is_some() {
            AskReply::Busy(self.t.batch * 3)
        } else {
            self.askers.retain(|id, _| id.leader != asked.leader);
            self.askers.insert(asked.clone(), view);
            let first = self.ask_window.map_or(self.now, |(first, _)| first);
            self.ask_window = Some((first, self.now));
            AskReply::Accept
        };
        out.push(Output::Message { to: from, message: Message::AskReply { asked, reply } });
    }

    pub(super) fn ask_reply(&mut self, from: &Member, asked: &ViewId, reply: AskReply) {
        let Some(asking) = &mut self.asking else { return };
        if *asked != *self.view.id() || asking.leader != *from {
            return;
        }
        let head = asking.head.clone();
        let leader = head.header.leader.clone();
        match reply {
            AskReply::Accept => {
                asking.accepted = true;
                asking.at = self.now;
                return;
            }
            AskReply::Busy(wait) => self.ask_again_after(wait.min(self.t.ask_wait)),
            AskReply::Redirect(head) => {
                // The better one need not settle anew: somebody has already settled on it.
                self.best = Some((head.id, self.now + self.t.batch - self.t.settle));
            }
            AskReply::Refuse { pairs, .. } if self.outdated(&pairs) => self.ask_again_after(self.t.settle),
            AskReply::Refuse { pairs, retry } => {
                let times = self.standing(&leader).map_or(0, |refusal| refusal.times + 1);
                let between = (self.view.id().clone(), head.id);
                let until = self.now + retry.min(self.t.refuse_to);
                self.refusals.insert(leader, Refusal { until, pairs, times, between });
            }
        }
        self.asking = None;
    }

    /// The best flock keeps its place and is asked again after this.
    fn ask_again_after(&mut self, wait: Duration) {
        let ready = self.now + wait;
        if let Some((_, since)) = &mut self.best {
            *since = ready - self.t.settle;
        }
    }

    /// Dials, asks, and closes the window for askers.
    pub(super) fn seek(&mut self, out: &mut Vec<Output>) {
        if self.leaving {
            return;
        }
        self.dial(out);
        if !self.leads() || self.proposal.is_some() || self.promise.is_some() {
            return;
        }
        self.close_ask_window(out);
        self.ask_the_best(out);
    }

    fn dial(&mut self, out: &mut Vec<Output>) {
        let round = self.t.disc;
        if self.now.since(self.dials.0) >= SECOND {
            self.dials = (self.now, 0);
        }
        let mut due: Vec<(Time, SocketAddr)> = self
            .targets
            .iter()
            .filter(|(_, target)| !target.linked && target.next <= self.now)
            .map(|(addr, target)| (target.next, *addr))
            .collect();
        // Who has waited longest comes first, so that nobody starves behind many dead addresses.
        due.sort();
        for (_, addr) in due {
            if self.dials.1 == DIALS {
                break;
            }
            self.dials.1 += 1;
            let jitter = self.jitter(round / 4);
            let now = self.now;
            if let Some(target) = self.targets.get_mut(&addr) {
                let cold = !target.seed && now.since(target.alive) > HOT;
                target.next = now + jitter + if cold { round * COLD_ROUNDS } else { round };
                out.push(Output::Dial(addr));
            }
        }
    }

    fn close_ask_window(&mut self, out: &mut Vec<Output>) {
        let Some((first, last)) = self.ask_window else { return };
        let size = self.view.roster.len() + self.askers.values().map(|view| view.roster.len()).sum::<usize>();
        let whole = self.config.expect.is_some_and(|expect| size >= expect as usize);
        let over = whole || self.now >= last + self.t.ask_quiet || self.now >= first + self.t.ask_max;
        if over && self.propose_after <= self.now {
            self.propose_merge(out);
        }
    }

    fn ask_the_best(&mut self, out: &mut Vec<Output>) {
        if let Some(asking) = &self.asking {
            let wait = if asking.accepted { self.t.ask_wait } else { self.t.resend_view };
            if asking.at + wait > self.now {
                return;
            }
            let (leader, theirs) = (asking.leader.id.clone(), asking.head.id.clone());
            if asking.accepted && self.vain.len() < KEPT {
                let vain = self.vain.entry(leader.clone()).or_default();
                *vain += 1;
                if *vain >= VAIN {
                    // It accepts and does nothing: leave it alone for a while, longer each time.
                    self.note_refusal(&leader, &theirs, Vec::new());
                }
            }
            self.asking = None;
            self.best = None;
        }
        if self.proposal.is_some() {
            return;
        }
        let mine = &self.view.head.header.rank;
        let leaders = self.foreign_leaders();
        let best = leaders
            .iter()
            .filter(|(_, head)| head.header.rank > *mine)
            .filter(|(member, _)| self.standing(&member.id).is_none_or(|refusal| refusal.until <= self.now))
            .max_by(|(_, a), (_, b)| a.header.rank.cmp(&b.header.rank));
        let Some((leader, head)) = best else {
            self.best = None;
            return;
        };
        let (leader, head) = (leader.clone(), head.clone());
        if self.best.as_ref().is_none_or(|(id, _)| *id != head.id) {
            self.best = Some((head.id.clone(), self.now));
        }
        let since = self.best.as_ref().map_or(self.now, |(_, since)| *since);
        let known: usize =
            self.view.roster.len() + self.foreign_heads().iter().map(|head| head.header.size as usize).sum::<usize>();
        let whole = self.config.expect.is_some_and(|expect| known >= expect as usize) && since <= self.now;
        if !whole && self.now < since + self.t.settle {
            return;
        }
        // Whoever asked here is sent on: this flock will not lead.
        for asked in core::mem::take(&mut self.askers).into_keys() {
            let to = self.linked().find(|member| member.id == asked.leader).cloned();
            if let Some(to) = to {
                let reply = AskReply::Redirect(head.clone());
                out.push(Output::Message { to, message: Message::AskReply { asked, reply } });
            }
        }
        self.ask_window = None;
        out.push(Output::Message { to: leader.clone(), message: Message::Ask { view: self.view.clone() } });
        self.asking = Some(Asking { head, leader, at: self.now, accepted: false });
        self.withdraw_grants(out);
    }

    pub(super) fn next_seek(&self) -> Time {
        if self.leaving {
            return Time::NEVER;
        }
        let dials = self.targets.values().filter(|target| !target.linked).map(|target| target.next);
        let mut next = dials.min().unwrap_or(Time::NEVER);
        if self.dials.1 == DIALS {
            // At most so many dials a second; the rest waits its turn.
            next = next.max(self.dials.0 + SECOND);
        }
        if self.leads() && self.proposal.is_none() && self.promise.is_none() {
            if let Some((first, last)) = self.ask_window {
                let over = (last + self.t.ask_quiet).min(first + self.t.ask_max);
                next = next.min(over.max(self.propose_after));
            }
            if let Some(asking) = &self.asking {
                let wait = if asking.accepted { self.t.ask_wait } else { self.t.resend_view };
                next = next.min(asking.at + wait);
            } else if let Some((_, since)) = &self.best {
                next = next.min(*since + self.t.settle);
            }
            for refusal in self.refusals.values() {
                if refusal.until > self.now {
                    next = next.min(refusal.until);
                }
            }
        }
        next
    }
}
