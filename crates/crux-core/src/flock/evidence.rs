//! Evidence: who is alive. Per boot and direct only: the one thing that counts is a round trip of the two, made by
//! themselves. Here every pair of members probes itself each period, which is right for small flocks; the observer ring,
//! the audit sweep and the fast path for process death of the design's `flocking.md` are not here yet.

use super::machine::Flock;
use super::message::{Accusation, Datagram, Message};
use super::timers::{BROKEN_FAILS, HELPERS, MISSES, OBSERVERS, QUORUM_TENTHS};
use super::view::{Headed, ViewId};
use super::{Output, clique};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::net::SocketAddr;
use crux_names::{Duration, FulcrumId, Member, Time};

/// A linked fulcrum, or a member of the view.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its mesh address.
    pub addr: SocketAddr,
    /// Whether there is a link that passed its welcome.
    pub linked: bool,
    /// When the ping of the last completed round trip was sent: the pair worked after this moment.
    pub proof: Option<Time>,
    /// Missed periods in a row.
    pub misses: u32,
    /// Failed round trips in a row, and when the first of them began.
    pub failed: u32,
    /// See `failed`.
    pub failing_since: Option<Time>,
    /// The running probe: number, when it was sent, how often it was sent again, whether it was answered.
    pub seq: u64,
    /// See `seq`.
    pub sent: Time,
    /// See `seq`.
    pub resent: usize,
    /// See `seq`.
    pub answered: bool,
    /// When the next period begins.
    pub next: Time,
    /// The view that it last said to have.
    pub head: Option<Headed>,
    /// It was asked for its view and has not answered yet.
    pub pulling: bool,
    /// No pull from it before this.
    pub pull_after: Time,
    /// Whether it said that it hears all co-members of this fulcrum's view.
    pub complete: bool,
}

impl Peer {
    fn fresh(addr: SocketAddr, linked: bool, now: Time) -> Self {
        Self {
            addr,
            linked,
            proof: None,
            misses: 0,
            failed: 0,
            failing_since: None,
            seq: 0,
            sent: now,
            resent: 0,
            answered: true,
            next: now,
            head: None,
            pulling: false,
            pull_after: now,
            complete: false,
        }
    }

    /// A member of the view to which there is no link yet.
    pub fn unlinked(addr: SocketAddr, now: Time) -> Self {
        Self::fresh(addr, false, now)
    }

    /// Whether it missed at least two periods in a row.
    pub fn misses_probes(&self) -> bool {
        self.misses >= 2
    }
}

/// A fulcrum came back under a newer boot: the old one has a second to show that it lives.
#[derive(Clone, Debug)]
pub struct Challenge {
    pub old: Member,
    pub newer: Member,
    pub newer_addr: SocketAddr,
    pub until: Time,
}

impl Flock {
    pub(super) fn link_up(&mut self, member: Member, addr: SocketAddr, out: &mut Vec<Output>) {
        if member.id == self.config.me.id {
            out.push(Output::CloseLink { peer: member, why: "this is the same fulcrum".into() });
            return;
        }
        let others: Vec<(Member, SocketAddr)> = self
            .peers
            .iter()
            .filter(|(other, _)| other.id == member.id && other.boot != member.boot)
            .map(|(other, peer)| (other.clone(), peer.addr))
            .collect();
        for (other, other_addr) in others {
            if other.boot > member.boot {
                // A newer life of it is already known, so this one is over or it is a copy.
                out.push(Output::CloseLink { peer: member, why: "a newer boot of this fulcrum is known".into() });
                return;
            }
            if let Some(addrs) = self.clones.get(&member.id)
                && addrs.contains(&addr)
                && self.proven(&other, self.t.period * 3)
            {
                out.push(Output::CloseLink { peer: member, why: "another node lives under this identity".into() });
                return;
            }
            let _ = other_addr;
            self.challenges.insert(
                member.id.clone(),
                Challenge {
                    old: other.clone(),
                    newer: member.clone(),
                    newer_addr: addr,
                    until: self.now + self.t.challenge,
                },
            );
            if let Some(peer) = self.peers.get_mut(&other) {
                peer.next = self.now;
            }
        }
        let now = self.now;
        let peer = self.peers.entry(member.clone()).or_insert_with(|| Peer::fresh(addr, true, now));
        peer.linked = true;
        peer.addr = addr;
        peer.next = now;
        peer.answered = true;
        self.found(&member, addr, out);
        out.push(Output::Message { to: member.clone(), message: Message::Hello { head: self.view.head.clone() } });
        self.send_hints(&member, out);
        self.repeat_change_to(&member, out);
        self.alert_again = Time::ZERO;
    }

    pub(super) fn link_down(&mut self, member: &Member, out: &mut Vec<Output>) {
        let in_view = self.view.has(member);
        if let Some(peer) = self.peers.get_mut(member) {
            peer.linked = false;
            peer.head = None;
            peer.complete = false;
            let addr = peer.addr;
            if !in_view {
                self.peers.remove(member);
            }
            self.lost_link(addr);
            self.take_back_proof(member, out);
        }
    }

    /// Whether a round trip with this member was completed whose ping was sent within this time.
    pub(super) fn proven(&self, member: &Member, within: Duration) -> bool {
        self.peers.get(member).and_then(|peer| peer.proof).is_some_and(|proof| self.now.since(proof) <= within)
    }

    /// When the ping of the last completed round trip with this member was sent.
    #[must_use]
    pub fn proof(&self, member: &Member) -> Option<Time> {
        self.peers.get(member).and_then(|peer| peer.proof)
    }

    /// Whether every co-member was heard within the audit period.
    pub(super) fn complete(&self) -> bool {
        self.view.roster.iter().all(|seat| {
            seat.member == self.config.me || (self.proven(&seat.member, self.t.audit) && !self.accuses(&seat.member))
        })
    }

    pub(super) fn ack(&self, seq: u64) -> Datagram {
        Datagram::Ack { seq, view: self.view.id().clone(), complete: self.complete() }
    }

    /// Whether this fulcrum itself accuses the member.
    pub(super) fn accuses(&self, member: &Member) -> bool {
        self.alerts.contains_key(&(member.clone(), self.config.me.clone()))
    }

    pub(super) fn next_probe(&self) -> Time {
        let mut next = Time::NEVER;
        for peer in self.peers.values() {
            next = next.min(peer.next);
            if !peer.answered && peer.linked && peer.resent < self.t.resend.len() {
                next = next.min(peer.sent + self.t.resend[peer.resent]);
            }
        }
        self.challenges.values().fold(next, |next, challenge| next.min(challenge.until))
    }

    /// Ends and begins periods, and sends again what was not answered.
    pub(super) fn probe(&mut self, out: &mut Vec<Output>) {
        if self.next_probe() > self.now {
            return;
        }
        let complete = self.complete();
        let view = self.view.id().clone();
        let mut silent = Vec::new();
        for (member, peer) in &mut self.peers {
            let ping = |peer: &Peer, out: &mut Vec<Output>| {
                if peer.linked {
                    let datagram = Datagram::Ping { seq: peer.seq, view: view.clone(), complete };
                    out.push(Output::Datagram { to: member.clone(), datagram });
                }
            };
            if peer.next <= self.now {
                // Who was asleep itself learned nothing in that time, so it blames nobody.
                let overslept = self.now.since(peer.next) > self.t.period / 2;
                if !peer.answered && !overslept {
                    peer.misses += 1;
                    peer.failed += 1;
                    peer.failing_since.get_or_insert(peer.sent);
                    if peer.misses >= MISSES && peer.linked {
                        silent.push(member.clone());
                    }
                }
                peer.seq += 1;
                peer.sent = self.now;
                peer.resent = 0;
                peer.answered = false;
                peer.next = self.now + self.t.period;
                ping(peer, out);
            } else if !peer.answered
                && peer.linked
                && peer.resent < self.t.resend.len()
                && peer.sent + self.t.resend[peer.resent] <= self.now
            {
                peer.resent += 1;
                ping(peer, out);
            }
        }
        // A link that carries nothing backs off by itself and would delay a heal: dial anew instead.
        for member in silent {
            out.push(Output::CloseLink { peer: member.clone(), why: "no answer to probes".into() });
            self.link_down(&member, out);
        }
        let over: Vec<Challenge> = self.challenges.values().filter(|c| c.until <= self.now).cloned().collect();
        for challenge in over {
            self.challenges.remove(&challenge.newer.id);
            self.old_boot_is_over(&challenge.old, out);
        }
    }

    /// The old boot kept silent when its successor came: it is dead at once.
    fn old_boot_is_over(&mut self, old: &Member, out: &mut Vec<Output>) {
        if self.view.has(old) {
            let key = (old.clone(), self.config.me.clone());
            self.alerts.insert(key, (Accusation::Replaced, self.now, self.now));
            self.alert_again = Time::ZERO;
        }
        if self.peers.get(old).is_some_and(|peer| peer.linked) {
            out.push(Output::CloseLink { peer: old.clone(), why: "its fulcrum was started again".into() });
            self.link_down(old, out);
        }
    }

    /// An ack came: life, and if it answers the running probe, proof.
    pub(super) fn answered(&mut self, from: &Member, seq: u64, out: &mut Vec<Output>) {
        let Some(peer) = self.peers.get_mut(from) else { return };
        if seq > peer.seq || seq == 0 {
            return;
        }
        let was_proven = peer.proof.is_some();
        if seq == peer.seq {
            peer.answered = true;
            peer.proof = Some(peer.sent);
        }
        peer.misses = 0;
        peer.failed = 0;
        peer.failing_since = None;
        let challenge = self.challenges.get(&from.id).filter(|challenge| challenge.old == *from && seq == peer.seq);
        if let Some(challenge) = challenge.cloned()
            && peer.sent + self.t.challenge >= challenge.until
        {
            // Both live: one identity on two machines. The one whose flock knows it is kept.
            let addrs = [peer.addr, challenge.newer_addr];
            self.challenges.remove(&from.id);
            out.push(Output::CloseLink {
                peer: challenge.newer.clone(),
                why: "another node lives under this identity".into(),
            });
            self.link_down(&challenge.newer, out);
            if self.clones.insert(from.id.clone(), addrs).is_none() {
                out.push(Output::Clone { fulcrum: from.id.clone(), addrs });
            }
        }
        let key = (from.clone(), self.config.me.clone());
        let accused = self.alerts.get(&key).is_some_and(|(accusation, ..)| *accusation != Accusation::Replaced);
        if accused {
            self.alerts.remove(&key);
            self.tell_co_members(
                &Message::Alert {
                    view: self.view.id().clone(),
                    subject: from.clone(),
                    accusation: Accusation::Withdrawn,
                },
                out,
            );
        }
        if !was_proven && !self.view.has(from) {
            self.pair_works(from, out);
        }
        self.verified(from, out);
    }

    /// Accuses whom the probes condemn, and repeats accusations that stand.
    pub(super) fn accuse(&mut self, out: &mut Vec<Output>) {
        let me = self.config.me.clone();
        let mut fresh = false;
        for seat in &self.view.roster {
            let Some(peer) = self.peers.get(&seat.member) else { continue };
            let broken = peer.failed >= BROKEN_FAILS
                && peer.failing_since.is_some_and(|since| self.now.since(since) >= self.t.broken_window);
            let verdict = if broken {
                Accusation::Broken
            } else if peer.misses >= MISSES {
                Accusation::Silent
            } else {
                continue;
            };
            let entry = self.alerts.entry((seat.member.clone(), me.clone()));
            let said = entry.or_insert_with(|| {
                fresh = true;
                (verdict, self.now, self.now)
            });
            if said.0 == Accusation::Silent && verdict == Accusation::Broken {
                *said = (verdict, self.now, self.now);
                fresh = true;
            }
        }
        if !fresh && self.alert_again > self.now {
            return;
        }
        let mine: Vec<(Member, Accusation)> = self
            .alerts
            .iter()
            .filter(|((_, observer), _)| *observer == me)
            .map(|((subject, _), (accusation, ..))| (subject.clone(), *accusation))
            .collect();
        self.alert_again = if mine.is_empty() { Time::NEVER } else { self.now + self.t.resend_view };
        for (subject, accusation) in mine {
            let view = self.view.id().clone();
            self.tell_co_members(&Message::Alert { view, subject, accusation }, out);
        }
    }

    pub(super) fn next_accusation(&self) -> Time {
        self.alert_again
    }

    fn tell_co_members(&self, message: &Message, out: &mut Vec<Output>) {
        for seat in &self.view.roster {
            if self.peers.get(&seat.member).is_some_and(|peer| peer.linked) {
                out.push(Output::Message { to: seat.member.clone(), message: message.clone() });
            }
        }
    }

    pub(super) fn alert(&mut self, from: Member, view: &ViewId, subject: Member, accusation: Accusation) {
        if accusation == Accusation::Withdrawn && !self.view.has(&subject) {
            if self.view.has(&from) {
                self.foreign_pair_works(&subject, &from);
            }
            return;
        }
        if view != self.view.id() || !self.view.has(&from) || !self.view.has(&subject) || subject == from {
            return;
        }
        let key = (subject, from);
        match accusation {
            Accusation::Withdrawn => {
                self.alerts.remove(&key);
            }
            // Only the one that leaves can say so, and says it with `Leave`.
            Accusation::Left => {}
            Accusation::Silent | Accusation::Replaced | Accusation::Broken => {
                let first = self
                    .alerts
                    .get(&key)
                    .map_or(self.now, |(before, first, _)| if *before == accusation { *first } else { self.now });
                self.alerts.insert(key, (accusation, first, self.now));
            }
        }
    }

    pub(super) fn left(&mut self, from: &Member) {
        self.goodbye(&from.id);
        if self.view.has(from) {
            self.alerts.insert((from.clone(), from.clone()), (Accusation::Left, self.now, self.now));
        }
    }

    /// Whether this member said that it leaves.
    pub(super) fn said_goodbye(&self, member: &Member) -> bool {
        self.alerts.contains_key(&(member.clone(), member.clone()))
    }

    /// Members of the view that are dead by the evidence, or that hold a higher view without this fulcrum.
    ///
    /// A member is dead when enough observers say so. An observer that this fulcrum itself accuses cannot be asked: it
    /// counts as saying so once at least one that is not accused does. A successor needs its own failed probe and two
    /// others, or all that it still reaches, against each of its seniors.
    pub(super) fn lost(&self) -> BTreeSet<Member> {
        let me = &self.config.me;
        // Who has moved on observes for another view.
        let roster: Vec<&Member> =
            self.view.roster.iter().map(|seat| &seat.member).filter(|member| !self.moved.contains(member)).collect();
        let my_rank = roster.iter().position(|member| *member == me).unwrap_or(0);
        let reached = roster.iter().filter(|member| **member != me && !self.accuses(member)).count();
        let says = |subject: &Member, observer: &Member| self.alerts.contains_key(&(subject.clone(), observer.clone()));
        let mut lost = self.moved.clone();
        for (rank, subject) in roster.iter().enumerate() {
            if *subject == me {
                continue;
            }
            if says(subject, subject) {
                lost.insert((*subject).clone());
                continue;
            }
            let observers = roster.iter().filter(|observer| *observer != subject);
            let (mut trusted, mut accused) = (0, 0);
            for observer in observers {
                if *observer != me && self.accuses(observer) {
                    accused += 1;
                } else if says(subject, observer) {
                    trusted += 1;
                }
            }
            let dead = if rank < my_rank {
                let others = trusted - usize::from(says(subject, me));
                self.accuses(subject) && others >= reached.min(2)
            } else {
                let need = (OBSERVERS.min(roster.len() - 1) * QUORUM_TENTHS).div_ceil(10);
                trusted > 0 && trusted + accused >= need
            };
            if dead {
                lost.insert((*subject).clone());
            }
        }
        lost
    }

    /// Pairs of living members that cannot talk: one says so, and a third hears the accused.
    fn broken_pairs(&self, lost: &BTreeSet<Member>) -> BTreeSet<(Member, Member)> {
        self.alerts
            .iter()
            .filter(|((subject, observer), (accusation, ..))| {
                *accusation == Accusation::Broken
                    && !lost.contains(subject)
                    && !lost.contains(observer)
                    && subject != observer
            })
            .filter(|((subject, observer), _)| {
                let heard_here = *observer != self.config.me && self.proven(subject, self.t.period * 2);
                let by_third = self.witnessed.get(subject).is_some_and(|at| self.now.since(*at) <= self.t.period * 4);
                heard_here || by_third || *subject == self.config.me
            })
            .map(|((subject, observer), _)| (observer.clone(), subject.clone()))
            .collect()
    }

    /// Decides whether the evidence calls for a change, and begins it.
    pub(super) fn judge(&mut self, out: &mut Vec<Output>) {
        let stale = self.t.stale;
        let (now, me) = (self.now, self.config.me.clone());
        self.alerts.retain(|(_, observer), (accusation, _, last)| {
            *observer == me || *accusation == Accusation::Left || now.since(*last) <= stale
        });
        if self.alerts.is_empty() && self.moved.is_empty() {
            self.lost_since = None;
            return;
        }
        self.ask_for_witnesses(out);
        let lost = self.lost();
        if lost.is_empty() {
            self.lost_since = None;
        } else {
            self.lost_since.get_or_insert(self.now);
        }
        if self.proposal.is_some() || self.promise.is_some() || self.propose_after > self.now || self.leaving {
            return;
        }
        if let Some(since) = self.lost_since {
            let remaining: Vec<Member> = self.members_without(&lost);
            let leader_lives = !lost.contains(&self.view.leader().member);
            let seniors = remaining.iter().take_while(|member| **member != me).count();
            if leader_lives && seniors > 0 {
                return;
            }
            let undecided = self.alerts.keys().any(|(subject, _)| !lost.contains(subject));
            let wait = if seniors > 0 {
                self.t.stage * u32::try_from(seniors).unwrap_or(u32::MAX)
            } else if undecided {
                self.t.hold
            } else {
                self.t.batch
            };
            if self.now >= since + wait {
                self.propose_removal(remaining, out);
            }
        } else if self.leads() {
            self.resolve_broken_pairs(&lost, out);
        }
    }

    fn members_without(&self, lost: &BTreeSet<Member>) -> Vec<Member> {
        self.view.roster.iter().map(|seat| seat.member.clone()).filter(|member| !lost.contains(member)).collect()
    }

    fn resolve_broken_pairs(&mut self, lost: &BTreeSet<Member>, out: &mut Vec<Output>) {
        let pairs = self.broken_pairs(lost);
        let oldest = self
            .alerts
            .iter()
            .filter(|((subject, observer), _)| pairs.contains(&(observer.clone(), subject.clone())))
            .map(|(_, (_, first, _))| *first)
            .min();
        let Some(oldest) = oldest else { return };
        if self.now < oldest + self.t.verdict_wait {
            return;
        }
        let roster = self.members_without(lost);
        let clique = clique::solve(&roster, &pairs);
        if clique.len() == roster.len() {
            return;
        }
        if clique.contains(&self.config.me) {
            self.propose_removal(clique, out);
        } else {
            self.step_aside(out);
        }
    }

    /// When `judge` may find something new to do, should nothing else happen.
    pub(super) fn next_judgement(&self) -> Time {
        if self.alerts.is_empty() && self.moved.is_empty() {
            return Time::NEVER;
        }
        // While anything stands accused, a look every tenth of a period is cheap and keeps this rule simple.
        self.now + self.t.period / 10
    }

    fn ask_for_witnesses(&mut self, out: &mut Vec<Output>) {
        if !self.leads() {
            return;
        }
        if self.witness_next > self.now {
            return;
        }
        let mut subjects: BTreeSet<Member> = BTreeSet::new();
        for ((subject, observer), (accusation, ..)) in &self.alerts {
            let unknown = self.witnessed.get(subject).is_none_or(|at| self.now.since(*at) > self.t.period);
            if *accusation == Accusation::Broken && *observer == self.config.me && unknown {
                subjects.insert(subject.clone());
            }
        }
        if !subjects.is_empty() {
            self.witness_next = self.now + self.t.period;
        }
        for subject in subjects {
            let helpers: Vec<Member> = self
                .view
                .roster
                .iter()
                .map(|seat| seat.member.clone())
                .filter(|member| *member != subject && self.proven(member, self.t.period * 2))
                .take(HELPERS)
                .collect();
            for to in helpers {
                self.witness_asked.insert((subject.clone(), to.clone()));
                out.push(Output::Datagram { to, datagram: Datagram::PingReq { subject: subject.clone() } });
            }
        }
    }

    pub(super) fn asked_for_witness(&mut self, from: &Member, subject: Member, out: &mut Vec<Output>) {
        let heard = self
            .peers
            .get(&subject)
            .and_then(|peer| peer.proof)
            .map(|proof| self.now.since(proof))
            .filter(|age| age.as_secs() < 60);
        out.push(Output::Datagram { to: from.clone(), datagram: Datagram::Witness { subject, heard } });
    }

    pub(super) fn witness(&mut self, from: &Member, subject: Member, heard: Option<Duration>) {
        let asked = self.witness_asked.remove(&(subject.clone(), from.clone()));
        if asked && self.view.has(&subject) && heard.is_some_and(|age| age <= self.t.period * 2) {
            self.witnessed.insert(subject, self.now);
        }
    }

    /// Forgets what the address book says of a fulcrum that is not a member.
    pub(super) fn forget(&mut self, fulcrum: &FulcrumId, out: &mut Vec<Output>) {
        self.clones.remove(fulcrum);
        self.forget_target(fulcrum, out);
    }
}
