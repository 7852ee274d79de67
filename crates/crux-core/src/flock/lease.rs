//! Stable: the leader's lease that this flock is complete as far as it can be known. It lets a fulcrum found the ADMIN
//! horde and is no mutual exclusion: two flocks whose members can reach each other are both stable for at most one
//! discovery round, one lease and one view change.

mod tree;

use super::Output;
use super::machine::Flock;
use super::message::Message;
use super::view::ViewId;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use crux_names::{Duration, Member, Time};
use tree::Tree;

/// Of so many grants it is known that they were passed on: each is once.
const PASSED: usize = 8;

impl Flock {
    /// Whether an unexpired grant for the installed view is held and nobody in it is suspect.
    #[must_use]
    pub fn stable(&self, now: Time) -> bool {
        self.lease_until > now && self.alerts.is_empty() && self.moved.is_empty()
    }

    /// Why this fulcrum is not stable, for people.
    pub(super) fn lacking(&self) -> Option<&'static str> {
        if self.leads() {
            self.withheld()
        } else if !self.alerts.is_empty() {
            Some("a member stands accused")
        } else if !self.moved.is_empty() {
            Some("a member has a view without this fulcrum")
        } else if self.lease_until <= self.now {
            Some("the leader does not grant it")
        } else {
            None
        }
    }

    /// Whom that is about, as far as this fulcrum knows: members, or pairs of them with who says it first. A member that holds
    /// its flock up for ever is found by that.
    pub(super) fn lacking_who(&self) -> Vec<String> {
        let pair = |a: &Member, b: &Member| format!("{} of {}", a.id, b.id);
        let here = |member: &&Member| self.view.has(member);
        if self.leads() && self.acks.len() < self.view.roster.len() {
            let late = self.view.roster.iter().map(|seat| &seat.member).filter(|member| !self.acks.contains(*member));
            return late.map(|member| member.id.to_string()).collect();
        }
        if self.leads() && (!self.complete() || !self.doubted.is_empty()) {
            let own = self.in_doubt.iter().filter(here).map(|other| pair(&self.config.me, other));
            return own.chain(self.doubted.keys().map(|(subject, observer)| pair(observer, subject))).collect();
        }
        if !self.alerts.is_empty() {
            return self.alerts.iter().map(|(subject, observer, _)| pair(observer, subject)).collect();
        }
        self.moved.iter().map(|member| member.id.to_string()).collect()
    }

    /// The first of the five conditions under which a leader grants that does not hold.
    fn withheld(&self) -> Option<&'static str> {
        let roster = &self.view.roster;
        // 1. every member acknowledged the view
        if self.acks.len() < roster.len() {
            return Some("a member has not acknowledged the view yet");
        }
        // 2. every pair was verified for the view or within the audit period: those that were not are told of as doubts
        if !self.complete() || !self.doubted.is_empty() {
            return Some("a pair of members is in doubt");
        }
        // 3. no alert, proposal or merge is open
        if !self.alerts.is_empty() || !self.moved.is_empty() {
            return Some("a member stands accused");
        }
        if self.proposal.is_some() || self.promise.is_some() || self.asking.is_some() || !self.askers.is_empty() {
            return Some("a change is under way");
        }
        // What time has fulfilled while nobody looked is not believed before what has come meanwhile is looked at too.
        if !self.granting && self.now < self.was_late + self.t.doubt {
            return Some("this fulcrum was late with everything a moment ago");
        }
        // 4. every foreign flock that can be talked to is held apart by a recorded pair or a flap hold
        if !self.all_are_apart() || self.stranger_in_reach() {
            return Some("another flock of the bloc is in reach");
        }
        // 5. one discovery round over the hot addresses is done, and the view is old enough to have been heard of
        // Who follows only is nobody's missing member.
        let full = roster.iter().filter(|seat| !seat.visitor).count();
        let expected =
            self.config.expect.is_some_and(|expect| full == expect as usize) && self.discovery.hot_unanswered() == 0;
        let searched = self.discovery.searched(self.now) && self.now.since(self.since) >= self.t.disc * 2;
        if expected || searched { None } else { Some("others are still being looked for") }
    }

    /// A change begins: what was granted does not hold through it.
    pub(super) fn withdraw_grants(&mut self, out: &mut Vec<Output>) {
        self.lease_until = Time::ZERO;
        if self.granting {
            self.granting = false;
            for seat in &self.view.roster {
                if seat.member != self.config.me && self.contacts.linked(&seat.member) {
                    let message = Message::Unstable { view: self.view.id().clone(), seq: self.grant_seq };
                    out.push(Output::Message { to: seat.member.clone(), message });
                }
            }
        }
    }

    pub(super) fn advance_lease(&mut self, out: &mut Vec<Output>) {
        if self.leads() && !self.leaving {
            // Looking at the conditions costs a walk over all strays: not at every word, as long as nothing follows from it.
            let may = (self.granting || self.grant_next <= self.now) && self.withheld().is_none();
            if self.granting && !may {
                self.withdraw_grants(out);
            }
            if may && self.grant_next <= self.now {
                self.grant_seq += 1;
                self.granting = true;
                self.grant_next = self.now + self.t.grant;
                self.lease_until = self.now + self.t.lease;
                self.pass_grant(0, self.grant_seq, self.t.lease, out);
            } else if !may && self.grant_next <= self.now {
                // Conditions that only time fulfils are looked at again soon.
                self.grant_next = self.now + self.t.grant / 5;
            }
        }
        let stable = self.stable(self.now);
        if stable != self.said_stable {
            self.said_stable = stable;
            out.push(Output::Stable(stable));
        }
    }

    pub(super) fn next_lease(&self) -> Time {
        let mut next = if self.leads() && !self.leaving { self.grant_next } else { Time::NEVER };
        if self.lease_until > self.now {
            next = next.min(self.lease_until);
        }
        next
    }

    /// Tells those of a grant who stand below this position.
    fn pass_grant(&self, position: usize, seq: u64, lease: Duration, out: &mut Vec<Output>) {
        let roster = &self.view.roster;
        for child in Tree::of(roster.len(), seq).children(position) {
            let message = Message::StableGrant { view: self.view.id().clone(), seq, lease };
            out.push(Output::Message { to: roster[child].member.clone(), message });
        }
    }

    pub(super) fn granted(&mut self, from: &Member, view: &ViewId, seq: u64, lease: Duration, out: &mut Vec<Output>) {
        // One number is no better than another, but for those that the leader has withdrawn: whoever stands above somebody
        // in a tree cannot shut out what the leader says next by a high one.
        if *view != *self.view.id() || self.leads() || seq <= self.withdrawn || self.passed.contains(&seq) {
            return;
        }
        let roster = &self.view.roster;
        let Some(me) = roster.index(&self.config.me) else { return };
        let parent = Tree::of(roster.len(), seq).parent(me);
        if parent.is_none_or(|parent| roster[parent].member != *from) {
            return;
        }
        let lease = lease.min(self.t.lease * 4);
        if self.passed.len() == PASSED {
            self.passed.pop_front();
        }
        self.passed.push_back(seq);
        self.pass_grant(me, seq, lease, out);
        let busy = self.promise.is_some() || self.proposal.is_some();
        if !busy {
            self.lease_until = self.lease_until.max(self.now + lease);
        }
    }

    pub(super) fn ungranted(&mut self, from: &Member, view: &ViewId, seq: u64) {
        if *view == *self.view.id() && *from == self.view.leader().member {
            self.lease_until = Time::ZERO;
            self.withdrawn = self.withdrawn.max(seq);
        }
    }
}
