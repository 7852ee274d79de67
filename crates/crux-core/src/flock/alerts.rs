//! Accusations: what observers say of whom, and how it reaches those who decide.
//!
//! In a small flock everybody is told. In a larger one the leader and the next two are, and when none of them says that
//! it heard, juniors in doubling blocks are; the most senior that answers is summoned to act.

use super::Output;
use super::evidence::Why;
use super::machine::Flock;
use super::message::{Accusation, Message};
use super::ring::SUCCESSORS;
use super::timers::{BLOCK, TELL_ALL};
use super::view::ViewId;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;
use crux_names::{Member, NodeName, Time};

/// That a process died is believed of each fulcrum once in so many times the doubt, and of so many at a time.
const HINTED: u32 = 10;
const REMEMBERED: usize = 1024;

/// What one observer says of one subject.
#[derive(Clone, Debug)]
pub struct Alert {
    pub accusation: Accusation,
    /// When it said so first, and last.
    pub first: Time,
    pub last: Time,
    /// It is this fulcrum's own and for its own use: an absence in a roll-call, which nobody else needs to be told.
    pub quiet: bool,
}

/// All accusations that stand, by subject and observer.
#[derive(Clone, Debug, Default)]
pub struct Alerts(BTreeMap<Member, BTreeMap<Member, Alert>>);

impl Alerts {
    pub fn get(&self, subject: &Member, observer: &Member) -> Option<&Alert> {
        self.0.get(subject).and_then(|said| said.get(observer))
    }

    pub fn insert(&mut self, subject: Member, observer: Member, alert: Alert) {
        self.0.entry(subject).or_default().insert(observer, alert);
    }

    pub fn remove(&mut self, subject: &Member, observer: &Member) -> Option<Alert> {
        let said = self.0.get_mut(subject)?;
        let removed = said.remove(observer);
        if said.is_empty() {
            self.0.remove(subject);
        }
        removed
    }

    /// Whether anybody accuses it.
    pub fn has(&self, subject: &Member) -> bool {
        self.0.contains_key(subject)
    }

    /// Who says what of it.
    pub fn about(&self, subject: &Member) -> impl Iterator<Item = (&Member, &Alert)> {
        self.0.get(subject).into_iter().flatten()
    }

    /// Everything, as subject, observer and what is said.
    pub fn iter(&self) -> impl Iterator<Item = (&Member, &Member, &Alert)> {
        self.0.iter().flat_map(|(subject, said)| said.iter().map(move |(observer, alert)| (subject, observer, alert)))
    }

    pub fn subjects(&self) -> impl Iterator<Item = &Member> {
        self.0.keys()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Keeps what this holds of; says whether anything went.
    fn retain(&mut self, keep: impl Fn(&Member, &Member, &Alert) -> bool) -> bool {
        let mut went = false;
        self.0.retain(|subject, said| {
            said.retain(|observer, alert| {
                let stays = keep(subject, observer, alert);
                went |= !stays;
                stays
            });
            !said.is_empty()
        });
        went
    }
}

/// How far down the roster this fulcrum's accusations went.
#[derive(Clone, Debug)]
pub struct Telling {
    /// The positions below this one were told.
    pub reach: usize,
    /// Not further before this.
    pub next: Time,
    /// Who said that it heard.
    pub heard: BTreeSet<usize>,
    /// Who was summoned.
    pub summoned: Option<usize>,
}

impl Telling {
    pub const fn new() -> Self {
        Self { reach: BLOCK, next: Time::NEVER, heard: BTreeSet::new(), summoned: None }
    }
}

impl Flock {
    /// Whether this fulcrum itself accuses the member.
    pub(super) fn accuses(&self, member: &Member) -> bool {
        self.says(member, &self.config.me)
    }

    pub(super) fn says(&self, subject: &Member, observer: &Member) -> bool {
        self.alerts.get(subject, observer).is_some()
    }

    /// Accuses a member in this fulcrum's own name and tells those who decide.
    pub(super) fn accuse(&mut self, subject: &Member, accusation: Accusation, out: &mut Vec<Output>) {
        let now = self.now;
        let me = self.config.me.clone();
        let known = self.alerts.get(subject, &me).map(|alert| (alert.accusation, alert.quiet));
        let graver = matches!(known, Some((Accusation::Silent, _))) && accusation == Accusation::Broken;
        if matches!(known, Some((_, false))) && !graver {
            return;
        }
        self.alerts.insert(subject.clone(), me, Alert { accusation, first: now, last: now, quiet: false });
        self.lost_dirty = true;
        if self.alert_again == Time::NEVER {
            self.alert_again = now + self.t.resend_view;
        }
        if self.telling.next == Time::NEVER {
            self.telling.next = now + self.t.block;
        }
        self.tell_of(subject, accusation, 0..self.reach(), out);
    }

    /// It answers after all: an accusation of this fulcrum's own does not hold.
    pub(super) fn take_back(&mut self, subject: &Member, out: &mut Vec<Output>) {
        let me = self.config.me.clone();
        if self.alerts.get(subject, &me).is_none_or(|alert| alert.accusation == Accusation::Replaced) {
            return;
        }
        let quiet = self.alerts.remove(subject, &me).is_some_and(|alert| alert.quiet);
        self.lost_dirty = true;
        // What it said of others while it was out of touch was so on its side of a cut. What still holds it says again.
        self.returned.insert(subject.clone(), self.now);
        self.alerts.retain(|_, observer, alert| observer != subject || !alert.accusation.may_be_old());
        if !quiet {
            // It was wrong, or the network is: either way, slower from now on.
            self.health.worse(self.now);
            self.tell_of(subject, Accusation::Withdrawn, 0..self.reach(), out);
        }
    }

    /// How far down the roster what this fulcrum says is told: to all in a small flock.
    fn reach(&self) -> usize {
        let size = self.view.roster.len();
        if size <= TELL_ALL { size } else { self.telling.reach.min(size) }
    }

    /// Tells what this fulcrum says of a subject to those in these positions.
    fn tell_of(&self, subject: &Member, accusation: Accusation, positions: Range<usize>, out: &mut Vec<Output>) {
        for seat in &self.view.roster[positions] {
            if seat.member != self.config.me && self.contacts.linked(&seat.member) {
                let message = Message::Alert { view: self.view.id().clone(), subject: subject.clone(), accusation };
                out.push(Output::Message { to: seat.member.clone(), message });
            }
        }
    }

    /// Repeats accusations that stand, and takes them further down while nobody says that it heard.
    pub(super) fn advance_alerts(&mut self, out: &mut Vec<Output>) {
        if self.telling.next <= self.now {
            self.tell_further(out);
        }
        if self.alert_again > self.now {
            return;
        }
        let mine = self.own_accusations();
        let again = !mine.is_empty() || !self.in_doubt.is_empty();
        self.alert_again = if again { self.now + self.t.resend_view } else { Time::NEVER };
        for subject in &self.in_doubt {
            self.tell_leader(subject, Accusation::Doubted, out);
        }
        if !mine.is_empty() {
            // Who heard the last time may be out of reach by now, and then somebody else is the first that has to act.
            self.telling.heard.clear();
            self.telling.summoned = None;
            self.telling.next = self.telling.next.min(self.now + self.t.block);
        }
        // One goes as far down as is known to be needed, and wakes whoever acts there; the others go to those who act first.
        let first = if self.view.roster.len() <= TELL_ALL { self.reach() } else { BLOCK };
        for (at, (subject, accusation)) in mine.into_iter().enumerate() {
            let reach = if at == 0 { self.reach() } else { first };
            self.tell_of(&subject, accusation, 0..reach, out);
        }
    }

    fn own_accusations(&self) -> Vec<(Member, Accusation)> {
        let me = &self.config.me;
        self.alerts
            .iter()
            .filter(|(_, observer, alert)| *observer == me && !alert.quiet)
            .map(|(subject, _, alert)| (subject.clone(), alert.accusation))
            .collect()
    }

    fn tell_further(&mut self, out: &mut Vec<Output>) {
        self.telling.next = Time::NEVER;
        let size = self.view.roster.len();
        let mine = self.own_accusations();
        if mine.is_empty() || size <= TELL_ALL || self.leads() {
            return;
        }
        if let Some(first) = self.telling.heard.first().copied() {
            // Who acts without being asked to is among the first few; anybody else learns that it is the first.
            if first >= BLOCK && self.telling.summoned != Some(first) {
                self.telling.summoned = Some(first);
                let to = self.view.roster[first].member.clone();
                for (subject, accusation) in mine {
                    self.tell_of(&subject, accusation, first..first + 1, out);
                }
                out.push(Output::Message { to, message: Message::Summon { view: self.view.id().clone() } });
            }
            return;
        }
        let me = self.view.roster.index(&self.config.me).unwrap_or(0);
        let told = self.telling.reach;
        if told > me {
            // Nobody senior to this fulcrum answers: it is the first itself.
            self.summon(out);
            return;
        }
        self.telling.reach = (told * 2).min(size);
        self.telling.next = self.now + self.t.block;
        // One is enough to find out who is there; the first that answers is told the others.
        for (subject, accusation) in mine.into_iter().take(1) {
            self.tell_of(&subject, accusation, told..self.reach(), out);
        }
    }

    /// An accusation of this fulcrum's own reached this member.
    pub(super) fn heard_alert(&mut self, from: &Member, view: &ViewId) {
        if view == self.view.id()
            && let Some(at) = self.view.roster.index(from)
        {
            self.telling.heard.insert(at);
        }
    }

    pub(super) fn next_alert(&self) -> Time {
        self.alert_again.min(self.telling.next)
    }

    /// An observer says something of a subject.
    pub(super) fn alert(
        &mut self,
        from: Member,
        view: &ViewId,
        subject: Member,
        accusation: Accusation,
        out: &mut Vec<Output>,
    ) {
        if accusation == Accusation::Withdrawn && !self.view.has(&subject) {
            if self.view.has(&from) {
                self.foreign_pair_works(&subject, &from);
            }
            return;
        }
        if view != self.view.id() || !self.view.has(&from) || !self.view.has(&subject) || subject == from {
            return;
        }
        match accusation {
            Accusation::Withdrawn => {
                self.lost_dirty |= self.alerts.remove(&subject, &from).is_some();
                self.doubted.remove(&(subject, from));
                return;
            }
            Accusation::Doubted => {
                self.tell_where_it_is(&from, &subject, out);
                self.doubted.insert((subject, from), self.now);
                self.pass_on_to_the_leader(out);
                return;
            }
            // Only the one that leaves can say so, and says it with `Leave`.
            Accusation::Left => return,
            Accusation::Silent | Accusation::Replaced | Accusation::Broken => {}
        }
        if self.view.roster.len() > TELL_ALL {
            let message = Message::Heard { view: view.clone(), subject: subject.clone() };
            out.push(Output::Message { to: from.clone(), message });
        }
        // That it missed a neighbour's probes says only who expects them.
        if accusation == Accusation::Silent && !self.observes(&from, &subject) {
            return;
        }
        // What waited on a link that did not carry it arrives all at once.
        let back = self.returned.get(&from).is_some_and(|at| self.now.since(*at) < self.t.doubt);
        if back && accusation.may_be_old() {
            return;
        }
        self.tell_where_it_is(&from, &subject, out);
        let (now, fresh) = (self.now, !self.says(&subject, &from));
        let first = self.alerts.get(&subject, &from).filter(|alert| alert.accusation == accusation);
        let (same, first) = (first.is_some(), first.map_or(now, |alert| alert.first));
        self.lost_dirty |= !same;
        self.alerts.insert(subject.clone(), from, Alert { accusation, first, last: now, quiet: false });
        // Who may have to succeed looks for itself at once.
        let me = self.view.roster.index(&self.config.me).unwrap_or(0);
        if fresh
            && subject == self.view.leader().member
            && (1..=SUCCESSORS).contains(&me)
            && !self.accuses(&subject)
            && !self.proven(&subject, self.t.burst_end)
            && !self.bursts(&subject)
        {
            self.ask_now(&subject, Why::Burst, out);
        }
    }

    fn observes(&self, observer: &Member, subject: &Member) -> bool {
        let (of, at) = (self.view.roster.index(subject), self.view.roster.index(observer));
        of.zip(at).is_some_and(|(of, at)| self.ring.observers(of).contains(&at))
    }

    /// Who accuses a member that has moved may only look for it in the wrong place.
    pub(super) fn tell_where_it_is(&self, to: &Member, subject: &Member, out: &mut Vec<Output>) {
        let seat = self.view.seat(&subject.id).map(|seat| seat.addr);
        let addr = self.contacts.addr(subject).filter(|addr| Some(*addr) != seat && self.contacts.linked(subject));
        if let Some(addr) = addr {
            out.push(Output::Message {
                to: to.clone(),
                message: Message::Hints { seats: vec![(subject.id.clone(), addr)] },
            });
        }
    }

    /// The process of a peer may have died: asked five times in a moment, and accused at once if nothing comes.
    pub(super) fn process_gone(&mut self, member: &Member, out: &mut Vec<Output>) {
        let known = self.view.has(member) || self.contacts.linked(member);
        if !known || self.accuses(member) || self.bursts(member) {
            return;
        }
        // A process dies once. Who only breaks its connection again and again, and then answers, would have everybody that
        // believes it count as sick.
        let again = self.now + self.t.doubt * HINTED;
        self.hinted.retain(|_, until| *until > self.now);
        if self.hinted.len() < REMEMBERED && !self.hinted.contains_key(member) {
            self.hinted.insert(member.clone(), again);
            self.ask_now(member, Why::Burst, out);
        }
    }

    pub(super) fn left(&mut self, from: &Member) {
        self.discovery.goodbye(&from.id);
        if self.view.has(from) {
            let alert = Alert { accusation: Accusation::Left, first: self.now, last: self.now, quiet: false };
            self.alerts.insert(from.clone(), from.clone(), alert);
            self.lost_dirty = true;
        }
    }

    /// An operator put a node out of the bloc: its lives count as gone for everybody who knows that; whoever tells it closes
    /// their links.
    pub(super) fn expel(&mut self, node: &NodeName, lives: &[Member], out: &mut Vec<Output>) {
        self.discovery.expel(self.now, node);
        for member in lives {
            if self.view.has(member) {
                let alert = Alert { accusation: Accusation::Left, first: self.now, last: self.now, quiet: false };
                self.alerts.insert(member.clone(), member.clone(), alert);
                self.lost_dirty = true;
            }
            if self.contacts.linked(member) {
                self.link_down(member, out);
            }
        }
    }

    /// Whether this member said that it leaves.
    pub(super) fn said_goodbye(&self, member: &Member) -> bool {
        self.says(member, member)
    }

    /// Forgets what others said and did not repeat.
    pub(super) fn forget_stale_alerts(&mut self) {
        let (now, stale, me) = (self.now, self.t.stale, &self.config.me);
        self.doubted.retain(|_, last| now.since(*last) <= stale);
        self.lost_dirty |= self.alerts.retain(|_, observer, alert| {
            observer == me || alert.accusation == Accusation::Left || now.since(alert.last) <= stale
        });
    }
}
