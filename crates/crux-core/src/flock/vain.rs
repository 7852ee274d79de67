//! What leads nowhere loses its weight. How large a foreign flock is, nobody can check without asking all of its members:
//! its header says it, and any fulcrum with a certificate can write one. So the word counts as long as something comes of
//! it. A flock whose leader is the best to ask for long, and takes nobody in, is left alone for a time that doubles, and
//! after that is asked only where nobody else is left to ask. Decision 22 says what is proven and what is not.
//!
//! It is kept by the leader's *node*: that is what a certificate proves. Fulcrums, boots and headers are only claimed.

use super::machine::Flock;
use super::timers::LARGE;
use super::{Alarm, Output};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use crux_names::{Duration, FulcrumId, Member, NodeName, Time};

/// Nobody is asked again sooner than this many batches after it said that it is busy.
pub(super) const BUSY_AT_LEAST: u32 = 1;
/// Nodes that are remembered, at most.
const REMEMBERED: usize = 1024;
/// So many times a node's flocks were left alone before people are told.
const TOLD_FROM: u32 = 3;
/// Who was left alone may send asks elsewhere, or refuse for what is no reason, for so many times the time to settle, before
/// it is so again.
const MOMENT: u32 = 2;
/// So many links that end while an answer is waited for are not held against a node.
const CUTS: u32 = 8;
/// The longest pause is so many times doubled.
const DOUBLED: u32 = 16;

/// What came of waiting for the flocks of one node.
#[derive(Clone, Debug)]
pub struct Vain {
    /// Since when they are waited for without a break.
    since: Time,
    /// When they were last waited for.
    last: Time,
    /// How often they were left alone.
    times: u32,
    /// And until when.
    until: Time,
    /// How often a link to it ended since it is waited for.
    cut: u32,
    /// When it may be asked once more because a pair of the two flocks works again, if that does so until then.
    mended: Option<(Time, Member)>,
}

/// What is remembered of that.
pub type Vains = BTreeMap<NodeName, Vain>;

impl Flock {
    /// How long an honest flock may take to take in somebody whom it could: two changes, and longer in a large bloc.
    fn patience(&self) -> Duration {
        self.t.ask_wait + self.t.settle * 2 + self.t.for_strangers(self.discovery.known()) * 2
    }

    /// A flock of this node is waited for. Whether that has been so for too long: so many times as long as an honest one
    /// takes.
    pub(super) fn waited_in_vain(&mut self, node: &NodeName, factor: u32) -> bool {
        let (now, patience) = (self.now, self.patience() * factor);
        if !self.vain.contains_key(node) {
            if self.vain.len() >= REMEMBERED {
                self.forget_vain();
            }
            if self.vain.len() >= REMEMBERED {
                return false;
            }
        }
        let fresh = Vain { since: now, last: now, times: 0, until: Time::ZERO, cut: 0, mended: None };
        let vain = self.vain.entry(node.clone()).or_insert(fresh);
        if now.since(vain.last.max(vain.until)) > patience {
            vain.since = now;
        }
        vain.last = now;
        now.since(vain.since) > patience
    }

    /// Flocks of these nodes are not asked because there is a better one: that is not their fault.
    pub(super) fn not_waited_for(&mut self, nodes: &[NodeName]) {
        for node in nodes {
            if let Some(vain) = self.vain.get_mut(node) {
                vain.since = vain.since.max(self.now);
            }
        }
    }

    /// An ask ended without a view. Whoever was left alone before is so again after a moment; if it is busy it may be in the
    /// middle of a change, and has as long as one takes.
    pub(super) fn asked_in_vain(&mut self, leader: &FulcrumId, busy: bool, out: &mut Vec<Output>) {
        let moment = if busy { self.patience() } else { self.t.settle * MOMENT };
        let over = |vain: &Vain| vain.times > 0 && self.now.since(vain.since) >= moment;
        if self.vain.get(&leader.node).is_some_and(over) {
            self.leave_alone(leader, out);
        }
    }

    /// The link to a leader ended. What was asked over it, or answered, is lost, and that is not the leader's fault; but one
    /// that has its links end again and again would be waited for without end.
    pub(super) fn cut_off(&mut self, leader: &Member) {
        if let Some(vain) = self.vain.get_mut(&leader.id.node).filter(|vain| vain.cut < CUTS) {
            vain.cut += 1;
            vain.since = vain.since.max(self.now);
        }
        if self.asking.as_ref().is_some_and(|asking| asking.leader == *leader) {
            self.asking = None;
            self.seek_dirty = true;
        }
    }

    /// Flocks of this node are not asked for a while, and not waited for.
    pub(super) fn leave_alone(&mut self, leader: &FulcrumId, out: &mut Vec<Output>) {
        let (now, first, most) = (self.now, self.t.settle * 4, self.t.refuse_to);
        let Some(vain) = self.vain.get_mut(&leader.node) else { return };
        let wait = (first * 2_u32.saturating_pow(vain.times.min(DOUBLED))).min(most);
        vain.times = vain.times.saturating_add(1);
        (vain.until, vain.since, vain.mended) = (now + wait, now + wait, None);
        self.seek_dirty = true;
        if self.vain[&leader.node].times >= TOLD_FROM {
            out.push(Output::Alarm { fulcrum: leader.clone(), why: Alarm::LeadsNowhere { wait } });
        }
    }

    /// This flock is another one now, and asks with what it is now: the others have their time anew. If members are gone, what
    /// held others apart may have been one of them, and whoever is left alone is asked once more. Nobody outside can bring
    /// that about.
    pub(super) fn try_anew(&mut self, lost: bool) {
        let now = self.now;
        for vain in self.vain.values_mut() {
            if lost && vain.until > now {
                // The pause that ends here counts for nothing.
                (vain.until, vain.since, vain.times) = (now, now, vain.times.saturating_sub(1));
            }
            vain.since = vain.since.max(now);
        }
    }

    /// A pair of this flock and another works again. Where that flock is left alone, the pair may have been why nothing came of
    /// it: once it has worked for as long as a change takes, that flock is asked once more. Not at once, for what flaps would
    /// have it asked each time; and not by the word of the node itself that is left alone.
    pub(super) fn mended(&mut self, foreign: &Member) {
        let until = self.now + self.t.ask_wait;
        let flock = self.contacts.strays.get(foreign).and_then(|stray| stray.head.as_ref());
        let Some(leader) = flock.map(|head| &head.header.leader.node).filter(|node| **node != foreign.id.node) else {
            return;
        };
        if let Some(vain) = self.vain.get_mut(leader).filter(|vain| vain.until > until) {
            vain.mended = Some((until, foreign.clone()));
            self.seek_at = self.seek_at.min(until);
        }
    }

    /// Ends the pauses that such a pair ends.
    pub(super) fn end_mended_pauses(&mut self) {
        let now = self.now;
        let due = |vain: &Vain| vain.mended.as_ref().is_some_and(|(at, _)| *at <= now);
        let due: Vec<NodeName> = self.vain.iter().filter(|(_, vain)| due(vain)).map(|(node, _)| node.clone()).collect();
        for node in due {
            let Some((_, foreign)) = self.vain.get_mut(&node).and_then(|vain| vain.mended.take()) else { continue };
            if self.hears(&foreign)
                && let Some(vain) = self.vain.get_mut(&node)
            {
                (vain.until, vain.since, vain.times) = (now, now, vain.times.saturating_sub(1));
            }
        }
    }

    /// For how much longer flocks of this node are left alone.
    pub(super) fn left_alone(&self, node: &NodeName) -> Option<Duration> {
        let vain = self.vain.get(node)?;
        (vain.until > self.now).then(|| vain.until.since(self.now))
    }

    /// Whether flocks of this node were left alone of late: others are asked before them.
    pub(super) fn doubts_flocks_of(&self, node: &NodeName) -> bool {
        self.vain.get(node).is_some_and(|vain| vain.times > 0)
    }

    /// Whether it is known why flocks of this node stay apart: they are left alone, or were a moment ago.
    pub(super) fn led_nowhere(&self, node: &NodeName) -> bool {
        self.vain.get(node).is_some_and(|vain| vain.until + self.t.ask_wait > self.now)
    }

    /// Flocks that have to ask this one, and do not, are not waited for either. Among a crowd nobody counts.
    pub(super) fn wait_for_the_lower(&mut self, out: &mut Vec<Output>) {
        if self.contacts.strays.len() > LARGE {
            return;
        }
        let mine = &self.view.head.header.rank;
        let waits = |leader: &FulcrumId| {
            self.left_alone(&leader.node).is_none()
                && self.standing(leader).is_none()
                && !self.askers.keys().any(|asker| asker.leader == *leader)
        };
        let lower =
            self.foreign_leaders().into_iter().filter(|(one, head)| head.header.rank <= *mine && waits(&one.id));
        let lower: Vec<FulcrumId> = lower.map(|(leader, _)| leader.id.clone()).collect();
        for leader in lower {
            if self.waited_in_vain(&leader.node, 2) {
                self.leave_alone(&leader, out);
            }
        }
    }

    /// When somebody need not be left alone any more.
    pub(super) fn next_after_vain(&self) -> Time {
        let mended = self.vain.values().filter_map(|vain| vain.mended.as_ref()).map(|(at, _)| *at);
        self.vain.values().map(|vain| vain.until).chain(mended).filter(|at| *at > self.now).min().unwrap_or(Time::NEVER)
    }

    /// Who came in kept its word; and ten minutes after the last time all is forgotten.
    pub(super) fn forget_vain(&mut self) {
        let (now, forgotten, patience) = (self.now, self.t.refuse_to, self.patience() * 2);
        self.vain.retain(|_, vain| {
            let kept = if vain.times == 0 { patience } else { forgotten };
            now.since(vain.last.max(vain.until)) <= kept
        });
        for seat in &self.view.roster {
            self.vain.remove(&seat.member.id.node);
        }
    }
}
