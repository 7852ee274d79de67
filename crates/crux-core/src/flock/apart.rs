//! Why flocks of one bloc stay apart: a pair that cannot talk, or one that broke off too often. It is recorded where it is
//! found, told to the members, and shown.

use super::Output;
use super::machine::Flock;
use super::message::{Accusation, AskReply, Message, ProposalId};
use super::seek::KEPT;
use super::timers::LARGE;
use super::view::{SharedHead, View, ViewId};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec;
use alloc::vec::Vec;
use crux_names::{Boot, Duration, FulcrumId, Member, Time};

/// How long it is remembered that a pair began to work again.
const RECENT: Duration = Duration::from_secs(10);
/// Foreign flocks of which it is kept why they stay apart, at most.
const REMEMBERED: usize = 1024;
/// Asks of others' that are carried here at a time, at most.
const CARRIED: usize = 16;
/// A foreign leader that does not answer for so many times the time to settle cannot be talked to.
const UNHEARD: u32 = 6;

/// Why a flock (named by its leader) and this one stay apart.
#[derive(Clone, Debug)]
pub struct Refusal {
    pub until: Time,
    pub pairs: Vec<(Member, Member)>,
    pub times: u32,
    /// It is no refusal for ever: one of the two broke off too often.
    pub held: bool,
    /// This flock's view and theirs: once either changes, the refusal says nothing any more.
    pub between: (ViewId, ViewId),
    /// This flock's proposal to which nothing else was missing than the answers of these.
    pub late: Option<(ProposalId, BTreeSet<Member>)>,
    /// It was made shorter because they came.
    pub hastened: bool,
}

impl Refusal {
    /// One that nothing is known of but what people are shown.
    pub const fn new(until: Time, pairs: Vec<(Member, Member)>, between: (ViewId, ViewId)) -> Self {
        Self { until, pairs, times: 0, held: false, between, late: None, hastened: false }
    }

    /// Whether this pair, of either order, is what keeps the two apart.
    pub fn names(&self, a: &FulcrumId, b: &FulcrumId) -> bool {
        self.pairs.iter().any(|(one, two)| (one.id == *a && two.id == *b) || (one.id == *b && two.id == *a))
    }
}

/// A foreign flock whose leader does not answer this one's.
#[derive(Clone, Debug)]
pub struct Unheard {
    since: Time,
    /// When it last asked through somebody.
    asked: Time,
    pub head: SharedHead,
    /// It asked in the middle of a change, after which its members are taken in.
    waits: Option<View>,
}

impl Flock {
    /// A stray answers. If it did not before, what was refused may be asked again.
    pub(super) fn stray_works(&mut self, foreign: &Member, anew: bool, out: &mut Vec<Output>) {
        if !anew {
            return;
        }
        self.seek_dirty = true;
        if self.leads() {
            let me = self.config.me.clone();
            self.foreign_pair_works(foreign, &me);
            return;
        }
        // In a small flock the leader hears of each, in a large one of those that keep something apart: it would be every
        // pair of both at a heal.
        let me = &self.config.me.id;
        if self.view.roster.len() <= LARGE || self.refusals.values().any(|refusal| refusal.names(me, &foreign.id)) {
            let view = self.view.id().clone();
            let message = Message::Alert { view, subject: foreign.clone(), accusation: Accusation::Withdrawn };
            out.push(Output::Message { to: self.view.leader().member.clone(), message });
        }
    }

    /// A member reaches a foreign fulcrum: what was refused because of that pair is asked again at once.
    pub(super) fn foreign_pair_works(&mut self, foreign: &Member, ours: &Member) {
        let now = self.now;
        // Now and then: a thousand strangers answer one after the other.
        if self.worked_looked + RECENT <= now {
            self.worked_looked = now;
            self.worked.retain(|_, at| now.since(*at) <= RECENT);
        }
        if self.worked.len() < KEPT {
            self.worked.insert((foreign.id.clone(), ours.id.clone()), now);
        }
        self.refusals.retain(|_, refusal| !refusal.names(&ours.id, &foreign.id));
        self.mended(foreign);
        self.seek_dirty = true;
    }

    /// Whether one of these pairs began to work while the refusal that names it was under way.
    pub(super) fn outdated(&self, pairs: &[(Member, Member)]) -> bool {
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
        late: Option<(ProposalId, BTreeSet<Member>)>,
    ) -> Duration {
        if self.outdated(&pairs) {
            self.refusals.remove(leader);
            return self.t.settle;
        }
        let times = self.standing(leader).map_or(0, |refusal| refusal.times + 1);
        let wait = (self.t.refuse_from * 2_u32.saturating_pow(times.min(16))).min(self.t.refuse_to);
        let between = (self.view.id().clone(), theirs.clone());
        let refusal = Refusal { times, late, ..Refusal::new(self.now + wait, pairs, between) };
        self.watch_pairs_of(&refusal);
        self.keep_refusal(leader.clone(), refusal);
        wait
    }

    /// Keeps what is known of one foreign flock. There may be as many as a liar names: the one that is over first makes room.
    pub(super) fn keep_refusal(&mut self, leader: FulcrumId, refusal: Refusal) {
        if self.refusals.len() >= REMEMBERED
            && !self.refusals.contains_key(&leader)
            && let Some(first) =
                self.refusals.iter().min_by_key(|(_, refusal)| refusal.until).map(|(leader, _)| leader.clone())
        {
            self.refusals.remove(&first);
        }
        self.refusals.insert(leader, refusal);
    }

    /// A stranger that was taken for out of reach, because its answer to this proposal did not come in time, has answered
    /// after all: where words are slow and probes are not, nothing else would tell that the pair works.
    pub(super) fn answered_late(&mut self, from: &Member, id: &ProposalId, out: &mut Vec<Output>) {
        if !self.hears(from) {
            return;
        }
        let named = self.refusals.iter_mut().find_map(|(leader, refusal)| {
            let late = refusal.late.as_mut().filter(|(proposal, late)| proposal == id && late.contains(from))?;
            Some((leader, &mut late.1))
        });
        let Some((leader, late)) = named else { return };
        late.remove(from);
        if !late.is_empty() {
            return;
        }
        let leader = leader.clone();
        // Both sides wait for the same time, or for the longer one: one alone would not be asked, and not be stable.
        let Some(to) = self.contacts.linked_life(&leader) else { return };
        if let Some(asked) = self.hasten_ask(&leader, out) {
            let reply = AskReply::Busy(self.t.settle);
            out.push(Output::Message { to, message: Message::AskReply { asked, reply } });
        }
    }

    /// What this leader's flock and that one refuse each other is tried again soon, each time after twice as long; once for
    /// each refusal, whatever is said. Answers the other's view if anything changes.
    pub(super) fn hasten_ask(&mut self, leader: &FulcrumId, out: &mut Vec<Output>) -> Option<ViewId> {
        let times = self.standing(leader).filter(|refusal| !refusal.pairs.is_empty() && !refusal.hastened)?.times;
        let until = self.now + self.t.settle * 2_u32.saturating_pow(times.min(16));
        let refusal = self
            .refusals
            .get_mut(leader)
            .filter(|refusal| self.view.leader().member == self.config.me && refusal.until > until)?;
        (refusal.until, refusal.hastened) = (until, true);
        let theirs = refusal.between.1.clone();
        self.seek_dirty = true;
        self.tell_apart(leader, out);
        Some(theirs)
    }

    /// Notes that a flock is kept apart because one of the two broke off too often.
    pub(super) fn note_hold(&mut self, leader: FulcrumId, theirs: ViewId, wait: Duration) {
        let until = self.now + wait.min(self.t.held_to);
        let between = (self.view.id().clone(), theirs);
        self.keep_refusal(leader, Refusal { held: true, ..Refusal::new(until, Vec::new(), between) });
    }

    /// The refusal between this flock and that leader's as both are now.
    pub(super) fn standing(&self, leader: &FulcrumId) -> Option<&Refusal> {
        let refusal = self.refusals.get(leader).filter(|refusal| refusal.between.0 == *self.view.id())?;
        let theirs = match self.contacts.linked_life(leader) {
            Some(life) => self.contacts.strays.get(&life).and_then(|stray| stray.head.as_ref()).map(|head| &head.id),
            None => self.unheard.get(leader).map(|unheard| &unheard.head.id),
        };
        theirs.is_none_or(|theirs| *theirs == refusal.between.1).then_some(refusal)
    }

    /// Whether every foreign flock in reach is held apart by a recorded pair or a flap hold.
    pub(super) fn all_are_apart(&self) -> bool {
        let recorded = |leader: &FulcrumId| {
            let refused = self.standing(leader).is_some_and(|refusal| {
                let known = !refusal.pairs.is_empty() || refusal.times > 0 || refusal.held;
                known && refusal.until + self.t.ask_wait > self.now
            });
            refused || self.led_nowhere(&leader.node)
        };
        self.foreign_leaders().iter().all(|(leader, _)| recorded(&leader.id)) && self.unheard.keys().all(recorded)
    }

    /// Foreign flocks whose members answer and whose leader does not: each with one who answers.
    fn unheard_leaders(&self) -> BTreeMap<FulcrumId, (SharedHead, Member)> {
        let mut unheard = BTreeMap::new();
        for (member, stray) in &self.contacts.strays {
            let Some(head) = stray.head.as_ref().filter(|head| !stray.alien && head.id != *self.view.id()) else {
                continue;
            };
            let leader = &head.header.leader;
            if *leader == member.id || self.view.seat(leader).is_some() || !self.hears(member) {
                continue;
            }
            if !self.contacts.linked_life(leader).is_some_and(|life| self.hears(&life)) {
                unheard.entry(leader.clone()).or_insert_with(|| (head.clone(), member.clone()));
            }
        }
        unheard
    }

    /// Two leaders that cannot talk can ask each other for nothing. Each records the pair, and the lower one has somebody
    /// in between ask whether its members may come without it.
    pub(super) fn record_unheard(&mut self, out: &mut Vec<Output>) {
        let found = self.unheard_leaders();
        let known = |leader: &FulcrumId, unheard: &Unheard| {
            let refusal = self.refusals.get(leader);
            let told = refusal.is_some_and(|r| r.between.1 == unheard.head.id && r.until + self.t.ask_wait > self.now);
            found.get(leader).map_or(told, |(head, _)| head.id == unheard.head.id)
        };
        let gone: Vec<FulcrumId> =
            self.unheard.iter().filter(|(leader, one)| !known(leader, one)).map(|(leader, _)| leader.clone()).collect();
        gone.iter().for_each(|leader| drop(self.unheard.remove(leader)));
        for (leader, (head, through)) in found {
            if self.unheard.len() >= KEPT {
                return;
            }
            let now = self.now;
            let new = || Unheard { since: now, asked: Time::ZERO, head: head.clone(), waits: None };
            let since = self.unheard.entry(leader.clone()).or_insert_with(new).since;
            let recorded = self.standing(&leader).is_some_and(|refusal| refusal.until > self.now);
            if recorded || self.now < since + self.t.settle * UNHEARD {
                continue;
            }
            // Which of its lives it is nobody here has to know: pairs are compared by their names.
            let pair = (self.config.me.clone(), Member { id: leader.clone(), boot: Boot(0) });
            self.note_refusal(&leader, &head.id, vec![pair], None);
            self.tell_apart(&leader, out);
            if head.header.rank > self.view.head.header.rank {
                let message = Message::AskThrough { view: self.view.clone(), to: leader };
                out.push(Output::Message { to: through, message });
            }
        }
    }

    /// What keeps another flock apart, for the members.
    fn apart_from(&self, leader: &FulcrumId) -> Option<Message> {
        let refusal = self.standing(leader).filter(|_| self.leads())?;
        Some(Message::Apart {
            ours: refusal.between.0.clone(),
            theirs: refusal.between.1.clone(),
            pairs: refusal.pairs.clone(),
            wait: refusal.until.since(self.now),
            held: refusal.held,
        })
    }

    /// The members learn what keeps another flock apart.
    pub(super) fn tell_apart(&self, leader: &FulcrumId, out: &mut Vec<Output>) {
        let Some(message) = self.apart_from(leader) else { return };
        for seat in &self.view.roster {
            if seat.member != self.config.me && self.contacts.linked(&seat.member) {
                out.push(Output::Message { to: seat.member.clone(), message: message.clone() });
            }
        }
    }

    /// A member's link came up: it learns of what it could not be told before.
    pub(super) fn repeat_apart_to(&self, member: &Member, out: &mut Vec<Output>) {
        if self.leads() && self.view.has(member) {
            let messages = self.refusals.keys().filter_map(|leader| self.apart_from(leader));
            out.extend(messages.map(|message| Output::Message { to: member.clone(), message }));
        }
    }

    /// The leader says what keeps another flock apart.
    pub(super) fn told_apart(&mut self, from: &Member, refusal: Refusal) {
        let (ours, theirs) = &refusal.between;
        if *from == self.view.leader().member && *ours == *self.view.id() {
            let leader = theirs.leader.clone();
            self.watch_pairs_of(&refusal);
            self.keep_refusal(leader, refusal);
        }
    }

    /// Whom this fulcrum has to reach so that two flocks can be one is watched, also in a crowd.
    fn watch_pairs_of(&mut self, refusal: &Refusal) {
        let me = self.config.me.id.clone();
        let ends = refusal.pairs.iter().flat_map(|(a, b)| [(a, b), (b, a)]);
        let others: Vec<FulcrumId> = ends.filter(|(a, _)| a.id == me).map(|(_, b)| b.id.clone()).collect();
        let lives: Vec<Member> = others.iter().filter_map(|other| self.contacts.linked_life(other)).collect();
        for life in lives {
            if self.contacts.strays.contains_key(&life) && !self.watches(&life) {
                self.watch_stray(&life);
            }
        }
    }

    /// A flock whose leader cannot reach that leader asks whether its other members may come; the frame takes one hop.
    pub(super) fn asked_through(&mut self, from: &Member, view: View, to: &FulcrumId, out: &mut Vec<Output>) {
        if view.head.header.bloc != self.config.bloc || self.leaving {
            return;
        }
        let asker = view.leader().member.clone();
        if *to != self.config.me.id {
            if asker == *from
                && let Some(leader) = self.contacts.linked_life(to)
            {
                let message = Message::AskThrough { view, to: to.clone() };
                out.push(Output::Message { to: leader, message });
            }
            return;
        }
        // If it answers by now, in whatever life, it asks itself.
        let answers = self.contacts.linked_life(&asker.id).is_some_and(|life| self.hears(&life));
        if !self.leads() || answers || self.unheard.len() >= KEPT || *view.id() == *self.view.id() {
            return;
        }
        // Each ask is told to every member, and its view is kept: a node carries one at a time.
        let again = self.now + self.t.settle * UNHEARD;
        self.carried.retain(|_, until| *until > self.now);
        if self.carried.contains_key(&from.id.node) || self.carried.len() >= CARRIED || !self.may_take_in(&view) {
            return;
        }
        let asked = self.unheard.get(&asker.id).map_or(Time::ZERO, |unheard| unheard.asked);
        if asked != Time::ZERO && self.now < asked + self.t.settle * UNHEARD {
            return;
        }
        self.carried.insert(from.id.node.clone(), again);
        self.seek_dirty = true;
        let unheard = Unheard { since: self.now, asked: self.now, head: view.head.clone(), waits: Some(view.clone()) };
        self.unheard.insert(asker.id.clone(), unheard);
        self.note_refusal(&asker.id, view.id(), vec![(self.config.me.clone(), asker.clone())], None);
        self.tell_apart(&asker.id, out);
        self.take_in_without_leaders();
    }

    /// Takes in the members of flocks whose leaders cannot come, now or once this flock does not change otherwise: the next
    /// ask is as far off as a refusal is long.
    pub(super) fn take_in_without_leaders(&mut self) {
        if self.asking.is_some() || self.proposal.is_some() || self.promise.is_some() || !self.leads() {
            return;
        }
        let asked: Vec<View> = self.unheard.values_mut().filter_map(|unheard| unheard.waits.take()).collect();
        for view in asked {
            if view.roster.len() > 1 && self.may_take_in(&view) && self.flock_held(&view).is_none() {
                self.without_leader.insert(view.id().clone());
                self.take_in(view);
            }
        }
    }
}
