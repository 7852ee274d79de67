//! Two lives of one fulcrum: a restart, or a copy of its identity on another machine.

use super::Output;
use super::alerts::Alert;
use super::discovery::PER_NODE;
use super::evidence::Why;
use super::machine::Flock;
use super::message::Accusation;
use super::timers::LARGE;
use super::view::Roster;
use alloc::vec::Vec;
use core::net::SocketAddr;
use crux_names::{Member, Time};

/// Fulcrums whose boots are remembered, at most.
const REMEMBERED: usize = 4096;
/// Rosters of which many went at once that are kept for the boots in them, at most; the oldest goes first.
const FORMER: usize = 4;

/// Why a copy of an identity is turned away.
const ANOTHER: &str = "another node lives under this identity";

/// A fulcrum came back under a newer boot: the old one has a second to show that it lives.
#[derive(Clone, Debug)]
pub struct Challenge {
    pub old: Member,
    pub newer: Member,
    pub newer_addr: SocketAddr,
    /// An answer counts to what was asked since.
    pub since: Time,
    pub until: Time,
}

impl Flock {
    /// Whether a link with this life may stand beside what is known of its fulcrum's other lives.
    pub(super) fn admits(&mut self, member: &Member, addr: SocketAddr, out: &mut Vec<Output>) -> bool {
        let others = self.contacts.other_lives(member);
        if let Some(why) = self.refuses_beside(&others, member, addr) {
            // The answer to the next dial would be the same.
            out.push(Output::CloseLink { peer: member.clone(), why: why.into() });
            self.discovery.turned_away(self.now, addr, why);
            return false;
        }
        for other in others {
            let challenge = Challenge {
                old: other.clone(),
                newer: member.clone(),
                newer_addr: addr,
                since: self.now,
                until: self.now + self.t.challenge,
            };
            self.challenges.insert(member.id.clone(), challenge);
            self.ask_now(&other, Why::Ask, out);
        }
        true
    }

    /// Why a link with this life at this address may not stand, if it may not.
    pub(super) fn refuses(&self, member: &Member, addr: SocketAddr) -> Option<&'static str> {
        self.refuses_beside(&self.contacts.other_lives(member), member, addr)
    }

    fn refuses_beside(&self, others: &[Member], member: &Member, addr: SocketAddr) -> Option<&'static str> {
        if self.is_over(member) {
            return Some("a newer boot of this fulcrum was a member here");
        }
        let clones = self.clones.get(&member.id).filter(|addrs| addrs.contains(&addr));
        for other in others {
            if other.boot > member.boot {
                // A newer life of it is already known, so this one is over or it is a copy.
                return Some("a newer boot of this fulcrum is known");
            }
            // A member goes by the evidence against it, whatever a known copy says that comes while it stands still.
            let stays = self.hears(other) || self.view.has(other);
            if clones.is_some() && stays && !self.is_over(other) {
                return Some(ANOTHER);
            }
        }
        None
    }

    /// Whether a newer life of this fulcrum was seen in a view: no older boot returns.
    pub(super) fn is_over(&self, member: &Member) -> bool {
        let newer =
            |roster: &Roster| roster.position(&member.id).is_some_and(|at| roster[at].member.boot > member.boot);
        newer(&self.view.roster)
            || self.newest.get(&member.id).is_some_and(|newest| *newest > member.boot)
            || self.former.iter().any(newer)
    }

    /// Remembers the lives of those who were members of the view before this one and are no more; of members the view
    /// itself tells. When many go at once their roster is kept, which all that had it share.
    pub(super) fn remember_boots(&mut self, before: &Roster, lost: &[Member]) {
        if lost.len() > LARGE {
            if self.former.len() >= FORMER {
                self.former.remove(0);
            }
            self.former.push(before.clone());
            return;
        }
        // A member that comes back newer says it by its seat; what is remembered of its older life says nothing more.
        for Member { id, boot } in lost {
            if let Some(newest) = self.newest.get_mut(id) {
                *newest = (*newest).max(*boot);
            } else if self.newest.len() < REMEMBERED {
                self.newest.insert(id.clone(), *boot);
            }
        }
    }

    /// A view with a newer life of a fulcrum is installed: nothing is heard of the older one any more.
    pub(super) fn part_from_older_lives(&mut self, out: &mut Vec<Output>) {
        let over: Vec<Member> = self.contacts.strays.keys().filter(|member| self.is_over(member)).cloned().collect();
        for member in over {
            let why = "a newer boot of this fulcrum is a member here".into();
            out.push(Output::CloseLink { peer: member.clone(), why });
            self.link_down(&member, out);
        }
    }

    /// The old life answers: both live, and it is one identity on two machines. The one whose flock knows it is kept.
    pub(super) fn answers_challenge(&mut self, from: &Member, sent: Time, out: &mut Vec<Output>) {
        let standing = self.challenges.get(&from.id);
        let Some(challenge) = standing.filter(|one| one.old == *from && sent >= one.since).cloned() else { return };
        self.challenges.remove(&from.id);
        let Some(addr) = self.contacts.addr(from) else { return };
        let addrs = [addr, challenge.newer_addr];
        out.push(Output::CloseLink { peer: challenge.newer.clone(), why: ANOTHER.into() });
        self.link_down(&challenge.newer, out);
        // An alarm stays until an operator ends it. Names are only claimed: of one node there are only so many.
        let of_node = self.clones.keys().filter(|other| other.node == from.id.node).count();
        let full = of_node >= PER_NODE || self.clones.len() >= REMEMBERED;
        if full && !self.clones.contains_key(&from.id) {
            return;
        }
        if self.clones.insert(from.id.clone(), addrs).is_none() {
            out.push(Output::Clone { fulcrum: from.id.clone(), addrs });
        }
    }

    /// Another one shows this fulcrum's own identity. Each of the two says it where it is, for whoever asks one of them need
    /// not come to the others that saw both.
    pub(super) fn met_its_twin(&mut self, addr: SocketAddr, out: &mut Vec<Output>) {
        let me = self.config.me.id.clone();
        // As peers know it; alone it knows only where it listens.
        let mine = self.view.seat(&me).map_or(self.config.addr, |seat| seat.addr);
        let addrs = [mine, addr];
        if self.clones.insert(me.clone(), addrs).is_none() {
            out.push(Output::Clone { fulcrum: me, addrs });
        }
    }

    /// Old lives that kept silent when their successors came are dead at once.
    pub(super) fn advance_challenges(&mut self, out: &mut Vec<Output>) {
        let over: Vec<Challenge> = self.challenges.values().filter(|one| one.until <= self.now).cloned().collect();
        for challenge in over {
            self.challenges.remove(&challenge.newer.id);
            let old = challenge.old;
            if self.view.has(&old) {
                let alert = Alert { accusation: Accusation::Replaced, first: self.now, last: self.now, quiet: false };
                self.alerts.insert(old.clone(), self.config.me.clone(), alert);
                self.lost_dirty = true;
                self.alert_again = Time::ZERO;
            }
            if self.contacts.linked(&old) {
                out.push(Output::CloseLink { peer: old.clone(), why: "its fulcrum was started again".into() });
                self.link_down(&old, out);
            }
        }
    }
}
