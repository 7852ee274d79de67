//! Whose word stands where one end of a pair says that it is broken and the other end makes round trips over it.
//!
//! A broken pair is broken for both: a round trip needs both ways, whoever begins it, so where one direction is cut
//! neither end completes one. The leader therefore asks the accused end, too. If that has made a round trip of its own with
//! its accuser, begun after the accusation, the accusation is its accuser's word alone, and no pair counts as broken for it.
//! An honest accuser learns of that round trip as well and takes its word back at once. One that stands by it is set against
//! the accused: the pair counts, and the accuser loses the tie. One of the two lies then, and which of them nobody else can
//! see; so it is remembered with whom each had such a pair, and of two that are equally bad that one goes first whose pairs
//! with more others broke of late. Whoever lies costs one other its seat by that, and then itself.
//!
//! The source is the design's `flocking.md`, "Evidence": "repeated accusers that stand alone lose ties".

use super::Output;
use super::machine::Flock;
use super::message::{Accusation, Datagram};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use crux_names::{Duration, Member, NodeName, Time};

/// Accusations that are looked into at a time, at most. Where more pairs are broken than that it is no lone liar's doing.
const OPEN: usize = 256;
/// Accused that are asked in one go, at most.
const ASKED: usize = 64;
/// Nodes whose pairs are remembered, at most; who was heard of least lately goes first.
const NODES: usize = 256;
/// Others of each that are remembered, at most.
const OTHERS: usize = 8;
/// So many accusations that stood against the accused's round trips, and the next one does not have to stand for long.
const ALONE: u32 = 2;
/// For so many times as long as a verdict waits an accuser may stand by its word against the accused's round trips.
const INSISTS: u32 = 3;

/// What is known of one accusation beside that it stands.
#[derive(Clone, Debug)]
struct Dispute {
    /// When the accusation came: another one of the same two is another dispute.
    said: Time,
    /// When the accused was asked first, and when it is asked again.
    asked: Option<Time>,
    again: Time,
    /// Since when it makes round trips with its accuser all the same, and when it last said so.
    works: Option<(Time, Time)>,
    /// It is remembered of the accuser.
    noted: bool,
}

/// What is remembered of a node.
#[derive(Clone, Debug, Default)]
struct Past {
    /// With whom it had a pair that cost one of the two its seat, and when last.
    others: BTreeMap<NodeName, Time>,
    /// How often it stood by an accusation that the accused disproved.
    alone: u32,
    last: Time,
}

/// What is in dispute, and what is remembered of those who were in one.
#[derive(Clone, Debug, Default)]
pub struct Disputes {
    /// By subject and observer.
    open: BTreeMap<(Member, Member), Dispute>,
    past: BTreeMap<NodeName, Past>,
    /// Who is dead only if voices count that nobody can hear: the leader asks them itself first.
    pub unsure: BTreeSet<Member>,
}

impl Disputes {
    /// Another view is installed. What is remembered stays.
    pub fn begin_anew(&mut self) {
        self.open.clear();
        self.unsure.clear();
    }

    /// How much is kept: accusations that are looked into, and nodes with those that they had broken pairs with.
    pub fn len(&self) -> usize {
        self.open.len() + self.past.values().map(|past| 1 + past.others.len()).sum::<usize>()
    }

    fn past(&mut self, node: &NodeName, now: Time, forgotten: Duration) -> &mut Past {
        self.past.retain(|_, past| now.since(past.last) < forgotten);
        if self.past.len() >= NODES
            && !self.past.contains_key(node)
            && let Some(oldest) = self.past.iter().min_by_key(|(_, past)| past.last).map(|(node, _)| node.clone())
        {
            self.past.remove(&oldest);
        }
        let past = self.past.entry(node.clone()).or_default();
        past.others.retain(|_, at| now.since(*at) < forgotten);
        past.last = now;
        past
    }

    fn broke(&mut self, a: &NodeName, b: &NodeName, now: Time, forgotten: Duration) {
        let others = &mut self.past(a, now, forgotten).others;
        if others.len() < OTHERS || others.contains_key(b) {
            others.insert(b.clone(), now);
        }
    }
}

impl Flock {
    /// Asks the accused ends of pairs that are said to be broken whether they are. The leader's own word needs no other, and
    /// who accuses in its turn has answered.
    pub(super) fn ask_the_accused(&mut self, out: &mut Vec<Output>) {
        let (alerts, me) = (&self.alerts, &self.config.me);
        let asked = |subject: &Member, observer: &Member| {
            let broken = alerts.get(subject, observer).filter(|alert| alert.accusation == Accusation::Broken);
            broken.filter(|_| observer != me && alerts.get(observer, subject).is_none()).map(|alert| alert.first)
        };
        let mut open = core::mem::take(&mut self.disputes.open);
        open.retain(|(subject, observer), dispute| asked(subject, observer) == Some(dispute.said));
        if self.leads() {
            for (subject, observer, _) in alerts.iter() {
                let Some(said) = asked(subject, observer) else { continue };
                if open.len() >= OPEN {
                    break;
                }
                let new = Dispute { said, asked: None, again: self.now, works: None, noted: false };
                open.entry((subject.clone(), observer.clone())).or_insert(new);
            }
        }
        self.disputes.open = open;
        let due = self.disputes.open.iter().filter(|(_, dispute)| dispute.again <= self.now);
        let mut due: Vec<(Time, (Member, Member))> = due.map(|(pair, dispute)| (dispute.again, pair.clone())).collect();
        due.sort();
        for (_, (subject, observer)) in due.into_iter().take(ASKED) {
            if subject == self.config.me {
                self.disprove_here(&observer, out);
            } else {
                let datagram = Datagram::PingReq { subject: observer.clone() };
                out.push(Output::Datagram { to: subject.clone(), datagram });
            }
            let (now, gap) = (self.now, self.t.doubt / 2);
            if let Some(dispute) = self.disputes.open.get_mut(&(subject, observer)) {
                dispute.asked.get_or_insert(now);
                dispute.again = now + gap;
            }
        }
        self.note_who_stands_alone();
    }

    /// This fulcrum itself is accused: it knows by its own round trips.
    fn disprove_here(&mut self, observer: &Member, out: &mut Vec<Output>) {
        let me = self.config.me.clone();
        if let Some(proof) = self.proof(observer) {
            self.disproves(&me, observer, self.now.since(proof));
        }
        if !self.proven(observer, self.t.doubt / 2) {
            self.hasten([observer], out);
        }
    }

    /// An accused says that it made a round trip with its accuser so long ago.
    pub(super) fn disproves(&mut self, subject: &Member, observer: &Member, age: Duration) {
        let (now, fresh) = (self.now, self.t.doubt * 2);
        // One that began before the accusation says nothing of what came since.
        if let Some(dispute) = self.disputes.open.get_mut(&(subject.clone(), observer.clone()))
            && age <= now.since(dispute.said).min(fresh)
        {
            dispute.works = Some((dispute.works.map_or(now, |(since, _)| since), now));
        }
    }

    /// Of whoever still stands by its word a while after the accused disproved it that is remembered.
    fn note_who_stands_alone(&mut self) {
        let (now, wait, forgotten) = (self.now, self.t.verdict_wait, self.t.held_to);
        let stands = |dispute: &Dispute| dispute.works.is_some_and(|(since, last)| last >= since + wait);
        let open = self.disputes.open.iter_mut().filter(|(_, dispute)| !dispute.noted && stands(dispute));
        let mut alone = Vec::new();
        for ((_, observer), dispute) in open {
            dispute.noted = true;
            alone.push(observer.id.node.clone());
        }
        for node in alone {
            let past = self.disputes.past(&node, now, forgotten);
            past.alone = past.alone.saturating_add(1);
        }
    }

    /// Whether what this observer says of the pair counts: it is this fulcrum's own word or that of both ends, or the other
    /// end was asked and did not disprove it, or the observer stands by it against that.
    pub(super) fn counts(&self, subject: &Member, observer: &Member) -> bool {
        if *observer == self.config.me || self.says(observer, subject) {
            return true;
        }
        let Some(alert) = self.alerts.get(subject, observer) else { return false };
        let dispute = self.disputes.open.get(&(subject.clone(), observer.clone()));
        let Some(dispute) = dispute.filter(|dispute| dispute.said == alert.first) else {
            return self.now >= alert.first + self.t.verdict_wait;
        };
        let heard_out = dispute.asked.is_some_and(|asked| self.now >= asked + self.t.burst_end);
        match dispute.works {
            Some((_, last)) if self.now.since(last) <= self.t.verdict_wait * 2 => self.insists(observer, dispute),
            _ => heard_out,
        }
    }

    fn insists(&self, observer: &Member, dispute: &Dispute) -> bool {
        let alone = self.disputes.past.get(&observer.id.node).map_or(0, |past| past.alone);
        let wait = if alone > ALONE { self.t.verdict_wait } else { self.t.verdict_wait * INSISTS };
        dispute.noted && dispute.works.is_some_and(|(since, _)| self.now >= since + wait)
    }

    /// How readily a member gives way where others are as badly connected: with how many others it had pairs that broke, or
    /// words that stood alone; then whether it is an accuser whose word the accused disproves.
    fn gives_way(&self, member: &Member) -> (usize, bool) {
        let now = self.now;
        let open = self.disputes.open.iter();
        let disputed = open.filter(|((_, observer), dispute)| observer == member && dispute.works.is_some());
        let accuser = disputed.clone().next().is_some();
        // What this very word adds to what is remembered says nothing yet.
        let added = disputed.filter(|(_, dispute)| dispute.noted).count();
        let times = self.disputes.past.get(&member.id.node).map_or(0, |past| {
            let others = past.others.values().filter(|at| now.since(**at) < self.t.held_to).count();
            let alone = if now.since(past.last) < self.t.held_to { past.alone as usize } else { 0 };
            others + alone.saturating_sub(added)
        });
        (times, accuser)
    }

    /// These members, of which the first leads, so that of equally bad ones the later gives way.
    pub(super) fn by_standing(&self, mut roster: Vec<Member>) -> Vec<Member> {
        if self.disputes.past.is_empty() && self.disputes.open.is_empty() {
            return roster;
        }
        if let Some((_, others)) = roster.split_first_mut() {
            others.sort_by_cached_key(|member| self.gives_way(member));
        }
        roster
    }

    /// Of these broken pairs each of which one end stays is remembered.
    pub(super) fn remember_pairs(&mut self, pairs: &BTreeSet<(Member, Member)>, stay: &[Member]) {
        let stay: BTreeSet<&Member> = stay.iter().collect();
        let (now, forgotten) = (self.now, self.t.held_to);
        for (a, b) in pairs.iter().filter(|(a, b)| stay.contains(a) != stay.contains(b)).take(OPEN) {
            self.disputes.broke(&a.id.node, &b.id.node, now, forgotten);
            self.disputes.broke(&b.id.node, &a.id.node, now, forgotten);
        }
    }
}
