//! The candidate's side of a change: it consents, proves the strangers that are its own to prove, and reports.
//!
//! Of each pair of strangers one proves both ways, by a round trip of its own; which one follows from their positions
//! among the candidates. Many strangers are verified at a steady pace, so that handshakes do not come in one heap.

use super::Output;
use super::evidence::Why;
use super::machine::Flock;
use super::message::{Answer, Candidates, Message, ProposalId};
use super::ring::prober;
use super::timers::LARGE;
use super::view::{Roster, Seat, View, ViewId};
use alloc::collections::BTreeSet;
use alloc::vec;
use alloc::vec::Vec;
use crux_names::{Duration, Member, Time};

/// So many strangers are asked or dialled at a time, where a pace is kept.
const BUNDLE: u32 = 16;

/// So many promises that are over are remembered.
const LATE: usize = 4;

/// What a candidate promised. While it stands only this proposal, or a higher one, may be installed.
#[derive(Clone, Debug)]
pub struct Promise {
    pub id: ProposalId,
    /// What is installed under it has no other members.
    pub roster: Roster,
    /// The proposer's link may be gone; the promise ends by itself.
    pub until: Time,
    pub reported: bool,
    /// Strangers whose links ended after the report.
    broken_since: BTreeSet<Member>,
}

impl Promise {
    /// Whether this view is one that the proposal can have come to: nobody is in it that was no candidate.
    pub fn allows(&self, view: &View) -> bool {
        view.roster.iter().all(|seat| self.roster.index(&seat.member).is_some())
    }
}

/// What there is to prove of one candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pair {
    /// Both are of one view, or it is this fulcrum.
    Known,
    /// The other proves it.
    Theirs,
    /// This fulcrum proves it, and has not yet.
    Open,
    /// The same, and it was dialled for that: a link that comes of it is a round trip of the two, begun since.
    Dialled,
    /// This fulcrum proved it.
    Proved,
    /// This fulcrum takes no link with it.
    Refused,
}

impl Pair {
    /// Whether it is this fulcrum's to prove and is not proved yet.
    const fn open(self) -> bool {
        matches!(self, Self::Open | Self::Dialled)
    }
}

/// The verification of the strangers of a proposal, on either side of it.
#[derive(Clone, Debug)]
pub struct Verify {
    candidates: Candidates,
    me: usize,
    since: Time,
    pub until: Time,
    pairs: Vec<Pair>,
    pub open: usize,
    strangers: usize,
    /// The next candidate, by distance from this one.
    cursor: usize,
    /// When the cursor moves on.
    next: Time,
    /// How many it has passed at its pace since.
    bundle: u32,
    /// Those who were asked or dialled and are not proved, by when they are tried again.
    again: BTreeSet<(Time, usize)>,
    /// The second time round also those are dialled that are the others' to prove.
    second: bool,
}

impl Verify {
    /// Candidates that this fulcrum has to prove and did not.
    pub fn unreached(&self) -> Vec<Member> {
        let open = self.pairs.iter().enumerate().filter(|(_, pair)| pair.open() || **pair == Pair::Refused);
        open.map(|(at, _)| self.candidates.roster()[at].member.clone()).collect()
    }

    pub fn next(&self) -> Time {
        let again = self.again.first().map_or(Time::NEVER, |(at, _)| *at);
        let cursor = if self.cursor < self.pairs.len() { self.next } else { Time::NEVER };
        again.min(cursor).min(self.until)
    }
}

impl Flock {
    pub(super) fn is_candidate(&self, member: &Member) -> bool {
        self.verify.as_ref().is_some_and(|verify| verify.candidates.roster().index(member).is_some())
    }

    /// Begins to prove the strangers among these candidates.
    pub(super) fn begin_verification(&mut self, candidates: &Candidates, out: &mut Vec<Output>) {
        self.contacts.begin(candidates.roster().clone());
        let roster = candidates.roster();
        let me = roster.index(&self.config.me).unwrap_or(0);
        let mine = candidates.parent(me);
        let enough = self.now - self.t.doubt;
        let pairs: Vec<Pair> = candidates
            .iter()
            .enumerate()
            .map(|(at, (seat, parent))| {
                if at == me || (parent == mine && self.view.has(&seat.member)) {
                    Pair::Known
                } else if self.refuses(&seat.member, seat.addr).is_some() {
                    Pair::Refused
                } else if !prober(roster.len(), me, at) {
                    Pair::Theirs
                } else if self.proof(&seat.member).is_some_and(|proof| proof >= enough) {
                    Pair::Proved
                } else {
                    Pair::Open
                }
            })
            .collect();
        let strangers = pairs.iter().filter(|pair| **pair != Pair::Known).count();
        let open = pairs.iter().filter(|pair| **pair == Pair::Open).count();
        self.verify = Some(Verify {
            candidates: candidates.clone(),
            me,
            since: self.now,
            until: self.now + self.t.verify + self.t.for_strangers(strangers),
            open,
            strangers,
            pairs,
            cursor: 1,
            next: self.now,
            bundle: 0,
            again: BTreeSet::new(),
            second: false,
        });
        self.advance_verification(out);
    }

    /// The candidate in this position is asked, or dialled first.
    fn verify_at(&mut self, at: usize, out: &mut Vec<Output>) {
        let Some(verify) = &mut self.verify else { return };
        let seat = verify.candidates.roster()[at].clone();
        verify.again.insert((self.now + self.t.doubt * 2, at));
        if self.contacts.linked(&seat.member) {
            if verify.pairs[at].open() {
                self.ask_now(&seat.member, Why::Verify, out);
            }
        } else {
            if verify.pairs[at] == Pair::Open {
                verify.pairs[at] = Pair::Dialled;
            }
            out.push(Output::Dial(self.contacts.addr(&seat.member).unwrap_or(seat.addr)));
        }
    }

    /// Goes on with the verification as its pace allows.
    pub(super) fn advance_verification(&mut self, out: &mut Vec<Output>) {
        let (pace, now) = (self.t.verify_pace, self.now);
        loop {
            let Some(verify) = &mut self.verify else { return };
            if now >= verify.until {
                return;
            }
            if let Some((at, position)) = verify.again.first().copied()
                && at <= now
            {
                verify.again.remove(&(at, position));
                if verify.pairs[position].open() || verify.pairs[position] == Pair::Theirs {
                    self.verify_at(position, out);
                }
                continue;
            }
            let size = verify.pairs.len();
            if verify.cursor >= size {
                // Half of the time is over: what is the others' to prove may lack a link that only this side can make.
                let half = verify.since + verify.until.since(verify.since) / 2;
                if verify.second || now < half {
                    return;
                }
                (verify.second, verify.cursor, verify.next) = (true, 1, now);
                continue;
            }
            if verify.next > now {
                return;
            }
            // The pace is kept over a bundle, so that it is not woken for each of them.
            let at = (verify.me + verify.cursor) % size;
            verify.cursor += 1;
            let wanted = if verify.second { Pair::Theirs } else { Pair::Open };
            if verify.pairs[at] == wanted {
                if verify.strangers > LARGE {
                    verify.bundle += 1;
                    if verify.bundle == BUNDLE {
                        verify.bundle = 0;
                        verify.next = verify.next.max(now - pace * BUNDLE) + pace * BUNDLE;
                    }
                }
                let member = verify.candidates.roster()[at].member.clone();
                if wanted == Pair::Open || !self.contacts.linked(&member) {
                    self.verify_at(at, out);
                }
            }
        }
    }

    /// When the verification goes on by itself.
    pub(super) fn next_verification(&self) -> Time {
        let Some(verify) = &self.verify else { return Time::NEVER };
        let mut next = verify.next();
        if verify.cursor >= verify.pairs.len() && !verify.second {
            next = next.min(verify.since + verify.until.since(verify.since) / 2);
        }
        if next <= self.now && self.now >= verify.until { Time::NEVER } else { next }
    }

    /// A link to a candidate came up.
    pub(super) fn candidate_linked(&mut self, member: &Member, dialed: bool, out: &mut Vec<Output>) {
        let Some(verify) = &self.verify else { return };
        if let Some(at) = verify.candidates.roster().index(member)
            && verify.pairs[at].open()
        {
            if dialed && verify.pairs[at] == Pair::Dialled {
                // Its handshake went there and back since this fulcrum dialled.
                let began = verify.since.max(self.now - self.discovery.dial_time());
                self.works(member, began, out);
            } else {
                self.ask_now(member, Why::Verify, out);
            }
        }
    }

    /// A round trip with this member was completed: somebody may have waited for it.
    pub(super) fn verified(&mut self, member: &Member, out: &mut Vec<Output>) {
        let Some(verify) = &mut self.verify else { return };
        let Some(at) = verify.candidates.roster().index(member) else { return };
        if !verify.pairs[at].open() {
            return;
        }
        verify.pairs[at] = Pair::Proved;
        verify.open -= 1;
        if verify.open == 0 {
            self.try_report(out);
            self.try_conclude(out);
        }
    }

    pub(super) fn proposed(
        &mut self,
        from: &Member,
        id: ProposalId,
        parents: &[ViewId],
        candidates: &Candidates,
        deadline: Duration,
        out: &mut Vec<Output>,
    ) {
        let me = self.config.me.clone();
        let roster = candidates.roster();
        let Some(my_place) = roster.index(&me) else { return };
        let my_parent = candidates.parent(my_place);
        let straight = *from == id.proposer;
        // Of a large flock that asked the proposer knows the leader only: the leader passes it on.
        let passed_on = roster.len() > LARGE && *from == self.view.leader().member;
        if !(straight || passed_on) || roster[0].member != id.proposer || self.leaving || roster.repeats() {
            return;
        }
        if !self.believes(id.epoch) {
            self.disbelieves(from, id.epoch, out);
            return;
        }
        let report = |answer: Answer, id: &ProposalId, out: &mut Vec<Output>| {
            let message = Message::Report { id: id.clone(), answer };
            out.push(Output::Message { to: id.proposer.clone(), message });
        };
        // Consent: a stale ask snatches nobody from a healthy flock.
        let named = parents.get(my_parent as usize) == Some(self.view.id());
        if !named
            && let Some(parent) = parents.get(my_parent as usize)
            && self.was_promised(parent)
        {
            // The view that was promised was installed elsewhere, and its install never came here.
            self.pull(from, parent.clone(), out);
        }
        if !named || id.epoch <= self.view.id().epoch {
            report(Answer::Conflict { have: self.view.head.clone() }, &id, out);
            return;
        }
        if !self.consents(&id.proposer, roster) {
            // The proposer may only look for those in the wrong place.
            for member in self.left_out(roster) {
                self.tell_where_it_is(from, member, out);
            }
            report(Answer::Busy { promised: id.clone(), remaining: self.t.doubt }, &id, out);
            return;
        }
        if let Some(promise) = &self.promise {
            if promise.id > id {
                let remaining = promise.until.since(self.now);
                report(Answer::Busy { promised: promise.id.clone(), remaining }, &id, out);
                return;
            }
            if promise.id == id {
                if promise.reported {
                    let unreached = self.unreached();
                    report(Answer::Promised { unreached }, &id, out);
                }
                return;
            }
        }
        if let Some(own) = &self.proposal {
            if own.id > id {
                let remaining = own.deadline.since(self.now);
                report(Answer::Busy { promised: own.id.clone(), remaining }, &id, out);
                return;
            }
            self.abort(out);
        }
        self.epoch_floor = self.epoch_floor.max(id.epoch);
        let most = self.t.propose * 2 + self.t.for_strangers(roster.len());
        let until = self.now + deadline.min(most) + self.t.batch * 5;
        if straight && self.leads() && roster.len() > LARGE {
            let message =
                Message::Propose { id: id.clone(), parents: parents.into(), candidates: candidates.clone(), deadline };
            for Seat { member, .. } in &self.view.roster {
                if *member != me && roster.index(member).is_some() && self.contacts.linked(member) {
                    out.push(Output::Message { to: member.clone(), message: message.clone() });
                }
            }
        }
        self.outlive_promise();
        self.promise =
            Some(Promise { id, roster: roster.clone(), until, reported: false, broken_since: BTreeSet::new() });
        self.withdraw_grants(out);
        self.begin_verification(candidates, out);
        self.try_report(out);
    }

    fn unreached(&self) -> Vec<Member> {
        let mut unreached = self.verify.as_ref().map(Verify::unreached).unwrap_or_default();
        unreached.extend(self.promise.iter().flat_map(|promise| promise.broken_since.iter().cloned()));
        unreached
    }

    /// Reports once every candidate is verified, or the time for it is over.
    pub(super) fn try_report(&mut self, out: &mut Vec<Output>) {
        let (Some(promise), Some(verify)) = (&self.promise, &self.verify) else { return };
        if promise.reported || (verify.open > 0 && self.now < verify.until) {
            return;
        }
        let (id, to) = (promise.id.clone(), promise.id.proposer.clone());
        let answer = Answer::Promised { unreached: self.unreached() };
        if let Some(promise) = &mut self.promise {
            promise.reported = true;
        }
        out.push(Output::Message { to, message: Message::Report { id, answer } });
    }

    /// A pair broke after its report and before the install: the proposer hears of it in time, or the verdict comes
    /// later.
    pub(super) fn take_back_proof(&mut self, member: &Member, out: &mut Vec<Output>) {
        let reported = self.promise.as_ref().is_some_and(|promise| promise.reported);
        let Some(verify) = &mut self.verify else { return };
        let place = verify.candidates.roster().index(member);
        let stranger = place.is_some_and(|at| verify.pairs[at] != Pair::Known);
        if let Some(at) = place.filter(|at| !reported && verify.pairs[*at] == Pair::Proved) {
            // Before the report, and at the proposer, what was proved has to be proved again.
            verify.pairs[at] = Pair::Open;
            verify.open += 1;
            verify.again.insert((self.now + self.t.doubt / 2, at));
        }
        if let Some(promise) = &mut self.promise
            && promise.reported
            && stranger
            && promise.broken_since.insert(member.clone())
        {
            let id = promise.id.clone();
            let to = id.proposer.clone();
            let answer = Answer::Promised { unreached: self.unreached() };
            out.push(Output::Message { to, message: Message::Report { id, answer } });
        }
    }

    /// The proposal that this fulcrum has promised: as long as that stands nothing lower is installed.
    #[must_use]
    pub fn stands_by(&self) -> Option<&ProposalId> {
        self.promise.as_ref().map(|promise| &promise.id)
    }

    /// The promise that stands is over, and its proposer does not know: what comes of it may still be installed.
    pub(super) fn outlive_promise(&mut self) {
        let had = self.view.id().clone();
        self.late_promises.retain(|(_, then)| *then == had);
        if let Some(promise) = self.promise.take() {
            if self.late_promises.len() >= LATE {
                self.late_promises.remove(0);
            }
            self.late_promises.push((promise, had));
        }
    }

    pub(super) fn aborted(&mut self, from: &Member, id: &ProposalId) {
        self.late_promises.retain(|(late, _)| !(late.id == *id && late.id.proposer == *from));
        if self.promise.as_ref().is_some_and(|promise| promise.id == *id && promise.id.proposer == *from) {
            self.end_promise();
        }
    }

    /// The promise is over: its candidates are nobody special any more.
    pub(super) fn end_promise(&mut self) {
        self.promise = None;
        if self.proposal.is_none() {
            self.end_verification();
        }
    }

    pub(super) fn end_verification(&mut self) {
        if self.verify.take().is_some() {
            let before: BTreeSet<Member> = self.contacts.strays.keys().cloned().collect();
            self.contacts.end();
            let fresh: Vec<Member> =
                self.contacts.strays.keys().filter(|one| !before.contains(*one)).cloned().collect();
            for member in fresh {
                self.consider_stray(&member);
            }
        }
    }

    /// Whether a proposal may speak for this fulcrum's flock: it comes from the leader, or it takes in every member that
    /// is not lost as far as can be seen here. So nobody snatches single members out of a healthy flock. A leader that said
    /// that it cannot talk to the proposer lets its members go without it.
    fn consents(&self, from: &Member, roster: &Roster) -> bool {
        let leader = &self.view.leader().member;
        let released = self.standing(&from.id).is_some_and(|refusal| refusal.names(&leader.id, &from.id));
        from == leader || self.left_out(roster).all(|member| released && member == leader)
    }

    /// Members that this fulcrum knows to live, and that are not among these candidates.
    fn left_out<'a>(&'a self, roster: &'a Roster) -> impl Iterator<Item = &'a Member> {
        let members = self.view.roster.iter().map(|seat: &Seat| &seat.member);
        members.filter(|one| !self.is_gone(one) && roster.position(&one.id).is_none() && self.vouches(one))
    }

    /// The same of a view that was asked for and never promised, whose first says that it made it. Nothing presses here, for
    /// who is behind is asked again and again: so whoever was reached within the audit's time counts as living.
    pub(super) fn consents_to(&self, roster: &Roster) -> bool {
        let lives = |member: &Member| {
            let lately = self.t.audit(self.view.roster.len()) * 2;
            if self.watches(member) { self.hears(member) } else { self.proven(member, lately) }
        };
        let first = &roster[0].member;
        let members = || self.view.roster.iter().map(|seat: &Seat| &seat.member);
        // Nobody else makes what this fulcrum leads.
        *first != self.config.me
            && (*first == self.view.leader().member
                || members().all(|one| self.is_gone(one) || roster.position(&one.id).is_some() || !lives(one)))
    }

    /// Whether this fulcrum knows by itself that a member has left this flock, or is lost.
    fn is_gone(&self, member: &Member) -> bool {
        self.accuses(member)
            || self.moved.contains(member)
            || self.said_goodbye(member)
            || self.is_elsewhere(member).is_some()
    }

    /// Whether this fulcrum can say that a member lives which somebody leaves out. Of those that it watches itself it knows
    /// by the last periods; of others the audit's last visit is older than a death can be that others have noticed.
    fn vouches(&self, member: &Member) -> bool {
        if self.watches(member) { self.hears(member) } else { self.proven(member, self.t.burst_end + self.t.batch) }
    }
}

/// Candidates with this one first and visitors last, otherwise in their order.
pub(super) fn in_order(mut candidates: Vec<(Seat, u32)>, first: &Member) -> Vec<(Seat, u32)> {
    candidates.sort_by_key(|(seat, _)| seat.visitor);
    if let Some(at) = candidates.iter().position(|(seat, _)| seat.member == *first) {
        let me = candidates.remove(at);
        candidates.insert(0, me);
    }
    candidates
}

/// Nothing to prove: the candidates of a removal.
pub(super) fn without_parents(seats: impl Iterator<Item = Seat>) -> Vec<(Seat, u32)> {
    let mut candidates = vec![];
    candidates.extend(seats.map(|seat| (seat, 0)));
    candidates
}
