//! The proposer's side of the one view change: `Propose -> verify -> Report -> Install -> Installed`. It serves joins,
//! losses, merges and splits; there is no other way to a new view but to be left alone.

use super::Output;
use super::clique::{Merge, bipartite};
use super::machine::Flock;
use super::message::{Accusation, Answer, AskReply, Candidates, Message, ProposalId};
use super::promise::{in_order, without_parents};
use super::view::{Seat, View, ViewId};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use crux_names::{Duration, Member, Time};

/// Conflicts in a row with a member that has a lower view, after which it counts as being somewhere else.
const CONFLICTS: u32 = 4;

/// So many times the time for a proposal a member of the view may refuse all of them, before it is done without.
const REFUSES: u32 = 10;

/// Parents that a header names beside the two that it must, at most.
const NAMED: usize = 64;

/// The proposal that this fulcrum coordinates.
#[derive(Clone, Debug)]
pub struct Proposal {
    pub id: ProposalId,
    pub parents: Arc<[ViewId]>,
    pub candidates: Candidates,
    /// Who promised, and whom it did not reach.
    pub reports: BTreeMap<Member, Vec<Member>>,
    /// The flocks that asked for it, so that one that refuses costs the others nothing.
    askers: Vec<View>,
    pub deadline: Time,
    wait: Duration,
    pub again: Time,
}

impl Flock {
    fn next_epoch(&self, parents: &[ViewId]) -> u64 {
        let highest = parents.iter().map(|parent| parent.epoch).max().unwrap_or(0);
        highest.max(self.view.id().epoch).max(self.raised_to()) + 1
    }

    /// A seat with the address at which the member is reached from here.
    fn fresh(&self, seat: &Seat) -> Seat {
        match self.contacts.addr(&seat.member) {
            Some(addr) if self.contacts.linked(&seat.member) => Seat { addr, ..seat.clone() },
            _ => seat.clone(),
        }
    }

    /// Proposes this fulcrum's view without the members that are lost. Nobody verifies: a subset of a clique is one.
    pub(super) fn propose_removal(&mut self, remaining: Vec<Member>, out: &mut Vec<Output>) {
        let remaining: BTreeSet<Member> = remaining.into_iter().collect();
        let seats = self.view.roster.iter().filter(|seat| remaining.contains(&seat.member));
        let seats: Vec<Seat> = if self.config.visitor {
            // A visitor leads nobody: those who are left found flocks of their own.
            seats.filter(|seat| seat.member == self.config.me).cloned().collect()
        } else {
            seats.map(|seat| self.fresh(seat)).collect()
        };
        // The proposer is the first of what it proposes; a successor that overtook a slow senior says so.
        let candidates = in_order(without_parents(seats.into_iter()), &self.config.me);
        let parents = vec![self.view.id().clone()];
        self.propose(parents, candidates, Vec::new(), out);
    }

    /// Proposes to take in the flocks that asked.
    pub(super) fn propose_merge(&mut self, out: &mut Vec<Output>) {
        let lost = self.lost().clone();
        let mut askers: Vec<View> = core::mem::take(&mut self.askers).into_values().collect();
        self.ask_window = None;
        askers.sort_by(|a, b| b.head.header.rank.cmp(&a.head.header.rank));
        let mut parents = vec![self.view.id().clone()];
        let mut candidates: Vec<(Seat, u32)> =
            without_parents(self.view.roster.iter().filter(|s| !lost.contains(&s.member)).map(|s| self.fresh(s)));
        let mut places: BTreeMap<crux_names::FulcrumId, usize> =
            candidates.iter().enumerate().map(|(at, (seat, _))| (seat.member.id.clone(), at)).collect();
        let mut replaced = BTreeSet::new();
        for asker in &askers {
            let parent = u32::try_from(parents.len()).unwrap_or(u32::MAX);
            let without = self.without_leader.contains(asker.id());
            for seat in asker.roster.iter().skip(usize::from(without)) {
                // Whoever of them is held comes in with the others: they would not come without it, for they hear it, and
                // would be kept apart as long as it is. If it breaks off again it is alone, and held.
                if self.is_over(&seat.member) {
                    continue;
                }
                // A fulcrum that was started again while its old boot still sits in another view comes in once.
                if let Some(at) = places.get(&seat.member.id).copied() {
                    // That it lives anew is believed only of a boot that answers here, and never of oneself.
                    let newer = candidates[at].0.member.boot < seat.member.boot
                        && seat.member.id != self.config.me.id
                        && self.hears(&seat.member);
                    if !newer {
                        continue;
                    }
                    replaced.insert(at);
                }
                places.insert(seat.member.id.clone(), candidates.len());
                candidates.push((self.fresh(seat), parent));
            }
            parents.push(asker.id().clone());
        }
        self.without_leader.clear();
        let mut at = 0;
        candidates.retain(|_| {
            at += 1;
            !replaced.contains(&(at - 1))
        });
        let candidates = in_order(candidates, &self.config.me);
        if candidates.len() <= self.view.roster.len() && replaced.is_empty() && lost.is_empty() {
            return;
        }
        self.propose(parents, candidates, askers, out);
    }

    fn propose(
        &mut self,
        parents: Vec<ViewId>,
        candidates: Vec<(Seat, u32)>,
        askers: Vec<View>,
        out: &mut Vec<Output>,
    ) {
        let epoch = self.next_epoch(&parents);
        if candidates.len() == 1 {
            self.conclude_with(epoch, candidates.into_iter().map(|(seat, _)| seat).collect(), &parents, out);
            return;
        }
        self.epoch_floor = epoch;
        let strangers = if candidates.iter().any(|(_, parent)| *parent != 0) { candidates.len() } else { 0 };
        let wait = self.t.propose + self.t.for_strangers(strangers);
        let candidates = Candidates::from(candidates);
        self.proposal = Some(Proposal {
            id: ProposalId { epoch, proposer: self.config.me.clone() },
            parents: parents.into(),
            candidates: candidates.clone(),
            reports: BTreeMap::new(),
            askers,
            deadline: self.now + wait,
            wait,
            again: self.now + self.t.resend_view,
        });
        self.send_proposal(|_| true, out);
        self.withdraw_grants(out);
        self.begin_verification(&candidates, out);
        self.try_conclude(out);
    }

    fn send_proposal(&self, to: impl Fn(&Member) -> bool, out: &mut Vec<Output>) {
        let Some(proposal) = &self.proposal else { return };
        let message = Message::Propose {
            id: proposal.id.clone(),
            parents: proposal.parents.clone(),
            candidates: proposal.candidates.clone(),
            deadline: proposal.wait,
        };
        for seat in proposal.candidates.roster() {
            let member = &seat.member;
            if to(member) && self.contacts.linked(member) && !proposal.reports.contains_key(member) {
                out.push(Output::Message { to: member.clone(), message: message.clone() });
            }
        }
    }

    /// What a fresh link may have missed: the running proposal, or the view that this fulcrum leads.
    pub(super) fn repeat_change_to(&mut self, member: &Member, out: &mut Vec<Output>) {
        self.send_proposal(|candidate| candidate == member, out);
        if self.leads() && self.view.has(member) && !self.acks.contains(member) {
            let message = Message::Install { id: self.made_by.clone(), view: self.view.clone() };
            out.push(Output::Message { to: member.clone(), message });
        }
    }

    pub(super) fn reported(&mut self, from: &Member, id: &ProposalId, answer: Answer, out: &mut Vec<Output>) {
        let running = self.proposal.as_mut().filter(|proposal| proposal.id == *id);
        let Some(proposal) = running.filter(|proposal| proposal.candidates.roster().index(from).is_some()) else {
            if matches!(&answer, Answer::Promised { unreached } if unreached.is_empty()) {
                self.answered_late(from, id, out);
            }
            return;
        };
        if let Answer::Promised { unreached } = answer {
            proposal.reports.insert(from.clone(), unreached);
            self.try_conclude(out);
            return;
        }
        let member = self.view.has(from);
        if member {
            self.refused_by(from);
        }
        match answer {
            Answer::Promised { .. } => {}
            // A reachable member that refuses is not excluded: take in what it has and propose above it.
            Answer::Conflict { have } => {
                self.heard_of_epoch(have.id.epoch);
                let wanted = (have.id > *self.view.id() && member).then(|| have.id.clone());
                if member && have.id < *self.view.id() {
                    // A member that never came to have this view, though it was asked to catch up.
                    let times = self.conflicts.entry(from.clone()).or_default();
                    *times += 1;
                    if *times >= CONFLICTS {
                        self.moved.insert(from.clone());
                        self.lost_dirty = true;
                    }
                }
                self.note_head(from, have);
                self.abort_without(from, out);
                self.propose_later(self.t.batch);
                if let Some(view) = wanted {
                    self.pull(from, view, out);
                }
            }
            Answer::Busy { promised, remaining } => {
                self.heard_of_epoch(promised.epoch);
                self.abort_without(from, out);
                self.propose_later(remaining.min(self.t.propose * 2));
            }
        }
    }

    /// A member of this view that promises nothing for longer than any promise or difference of opinion lasts has to be done
    /// without: one would keep all others from ever changing.
    fn refused_by(&mut self, member: &Member) {
        let now = self.now;
        let (since, last) = self.refusing.entry(member.clone()).or_insert((now, now));
        if now.since(*last) > self.t.propose * 2 {
            // It was another difference.
            *since = now;
        }
        *last = now;
        if self.refuses_all(member) {
            self.moved.insert(member.clone());
            self.lost_dirty = true;
        }
    }

    pub(super) fn refuses_all(&self, member: &Member) -> bool {
        self.refusing.get(member).is_some_and(|(since, last)| last.since(*since) >= self.t.propose * REFUSES)
    }

    /// Drops the running proposal because this candidate refused. The flocks that asked wait for the next one; that of the
    /// one that refused asks again when it can.
    fn abort_without(&mut self, refuser: &Member, out: &mut Vec<Output>) {
        let Some(proposal) = &mut self.proposal else { return };
        let askers = core::mem::take(&mut proposal.askers);
        self.abort(out);
        for asker in askers {
            if !asker.has(refuser) {
                self.take_in(asker);
            } else if let Some(to) = self.contacts.linked_life(&asker.leader().member.id) {
                let reply = AskReply::Busy(self.t.settle);
                out.push(Output::Message { to, message: Message::AskReply { asked: asker.id().clone(), reply } });
            }
        }
    }

    /// No proposal of its own before this has passed, with some chance in it, so that two proposers do not duel.
    fn propose_later(&mut self, wait: Duration) {
        let jitter = self.random.below(u64::try_from(self.t.batch.as_nanos() * 3).unwrap_or(1));
        self.propose_after = self.now + wait.min(self.t.batch * 3) + Duration::from_nanos(jitter);
    }

    /// Drops the running proposal and frees those that promised it.
    pub(super) fn abort(&mut self, out: &mut Vec<Output>) {
        let Some(proposal) = self.proposal.take() else { return };
        for seat in proposal.candidates.roster() {
            if self.contacts.linked(&seat.member) {
                let message = Message::Abort { id: proposal.id.clone() };
                out.push(Output::Message { to: seat.member.clone(), message });
            }
        }
        if self.promise.is_none() {
            self.end_verification();
        }
    }

    /// Ends the proposal once everybody that can be waited for has reported, or its time is over.
    pub(super) fn try_conclude(&mut self, out: &mut Vec<Output>) {
        let lost_count = self.lost().len();
        let Some(proposal) = &self.proposal else { return };
        if self.now > proposal.deadline + self.t.batch * 5 {
            // The promises are over, and what the reports say is old: this fulcrum was asleep.
            self.abort(out);
            self.propose_later(self.t.batch);
            return;
        }
        let late = self.now >= proposal.deadline;
        let size = proposal.candidates.roster().len();
        if !late && proposal.reports.len() + 1 + lost_count < size {
            return;
        }
        let (me, lost) = (&self.config.me, &self.lost);
        let here = |member: &Member| member == me || proposal.reports.contains_key(member);
        let waiting = |(seat, _): (&Seat, u32)| !here(&seat.member) && !lost.contains(&seat.member);
        let (verify_until, unproven) = match &self.verify {
            Some(verify) => (if verify.open > 0 { verify.until } else { self.now }, verify.unreached()),
            None => (self.now, Vec::new()),
        };
        let verifying = self.now < verify_until && unproven.iter().any(here);
        if !late && (verifying || proposal.candidates.iter().any(waiting)) {
            return;
        }
        let mut unreached: BTreeSet<(Member, Member)> = BTreeSet::new();
        for (from, list) in &proposal.reports {
            unreached.extend(list.iter().map(|member| (from.clone(), member.clone())));
        }
        unreached.extend(unproven.into_iter().map(|member| (me.clone(), member)));
        let (roster, refused) = self.fit(proposal, &unreached);
        let (epoch, parents) = (proposal.id.epoch, proposal.parents.clone());
        if !roster.iter().any(|seat| seat.member == *me) {
            // By what it knows itself it is strictly the worst: beside those who stay because it goes there is no seat for it.
            self.abort(out);
            self.step_aside(out);
            return;
        }
        for (asked, pairs) in refused {
            self.refuse(&asked, pairs, out);
        }
        if roster[..] == self.view.roster[..] {
            self.abort(out);
            self.propose_later(self.t.batch);
            return;
        }
        self.conclude_with(epoch, roster, &parents, out);
    }

    /// Who of the candidates comes in, without this fulcrum if it has to go so that the others can stay, and which flocks are
    /// refused because of which pairs. This flock stays whole and of each other those come in who reach everybody; unless
    /// that loses most of the other and a few of this one save it.
    #[expect(clippy::type_complexity, reason = "the refused flocks with their pairs are used once, by the caller")]
    fn fit(
        &self,
        proposal: &Proposal,
        unreached: &BTreeSet<(Member, Member)>,
    ) -> (Vec<Seat>, Vec<(ViewId, Vec<(Member, Member)>)>) {
        let me = &self.config.me;
        let here = |member: &Member| member == me || proposal.reports.contains_key(member);
        let stays = |seat: &Seat| here(&seat.member) && !self.lost.contains(&seat.member);
        let mut groups: Vec<Vec<Seat>> = vec![Vec::new(); proposal.parents.len()];
        let mut lacking: Vec<Vec<Member>> = vec![Vec::new(); proposal.parents.len()];
        for (seat, parent) in proposal.candidates.iter() {
            if stays(seat) {
                groups[parent as usize].push(seat.clone());
            } else if parent != 0 && !here(&seat.member) {
                lacking[parent as usize].push(seat.member.clone());
            }
        }
        let mut apart: BTreeMap<&Member, BTreeSet<&Member>> = BTreeMap::new();
        for (a, b) in unreached {
            apart.entry(a).or_default().insert(b);
            apart.entry(b).or_default().insert(a);
        }
        let mut roster = core::mem::take(&mut groups[0]);
        let mut refused = Vec::new();
        for (parent, id) in proposal.parents.iter().enumerate().skip(1) {
            let group = core::mem::take(&mut groups[parent]);
            let places: BTreeMap<Member, u32> =
                roster.iter().zip(0..).map(|(seat, at)| (seat.member.clone(), at)).collect();
            let mut broken = Vec::new();
            for (seat, b) in group.iter().zip(0..) {
                let cut = apart.get(&seat.member).into_iter().flatten();
                broken.extend(cut.filter_map(|other| places.get(*other)).map(|a| (*a, b)));
            }
            // Who gave no answer to the proposal is not reached by the proposer, who is the first.
            let answered = u32::try_from(group.len()).unwrap_or(u32::MAX);
            broken.extend(lacking[parent].iter().zip(answered..).map(|(_, b)| (0, b)));
            match bipartite(roster.len(), group.len() + lacking[parent].len(), &broken) {
                Merge::Take { out_a, out_b } => {
                    let mut at = 0;
                    roster.retain(|_| {
                        at += 1;
                        out_a.binary_search(&(at - 1)).is_err()
                    });
                    let fits = group.into_iter().zip(0..).filter(|(_, b)| out_b.binary_search(b).is_err());
                    roster.extend(fits.map(|(seat, _)| seat));
                }
                Merge::Refuse { witnesses } => {
                    let of_group = |b: u32| match group.get(b as usize) {
                        Some(seat) => seat.member.clone(),
                        None => lacking[parent][(b - answered) as usize].clone(),
                    };
                    let pair = |(a, b): (u32, u32)| (roster[a as usize].member.clone(), of_group(b));
                    refused.push((id.clone(), witnesses.into_iter().map(pair).collect()));
                }
            }
        }
        let inside: BTreeSet<Member> = roster.iter().map(|seat| seat.member.clone()).collect();
        roster.sort_by_key(|seat| seat.visitor);
        // Own verdicts once more, since they may have come in the meantime.
        let broken = self.known_broken(&inside);
        if !broken.is_empty() {
            let order: Vec<Member> = roster.iter().map(|seat| seat.member.clone()).collect();
            let kept: BTreeSet<Member> = self.stay_together(&order, &broken).into_iter().collect();
            roster.retain(|seat| kept.contains(&seat.member));
        }
        (roster, refused)
    }

    /// Pairs of these members of which this fulcrum knows a verdict. What somebody said of a pair with this fulcrum itself is
    /// over once it has made a round trip since, or made one a moment ago: the word may have been held up on its way, and a
    /// verdict takes seconds in which none succeeds.
    fn known_broken(&self, members: &BTreeSet<Member>) -> BTreeSet<(Member, Member)> {
        let me = &self.config.me;
        let mended = |observer: &Member, subject: &Member, said: Time| {
            subject == me
                && (self.proof(observer).is_some_and(|proof| proof > said) || self.proven(observer, self.t.doubt))
        };
        self.alerts
            .iter()
            .filter(|(subject, observer, alert)| {
                alert.accusation == Accusation::Broken
                    && members.contains(*subject)
                    && members.contains(*observer)
                    && !mended(observer, subject, alert.last)
                    && self.counts(subject, observer)
            })
            .map(|(subject, observer, _)| (observer.clone(), subject.clone()))
            .collect()
    }

    /// Installs the result here and sends it to its members.
    fn conclude_with(&mut self, epoch: u64, roster: Vec<Seat>, parents: &[ViewId], out: &mut Vec<Output>) {
        let reign = if self.leads() { self.reign() } else { 0 };
        let name = self.next_name();
        let named = self.named_parents(parents);
        let Ok(view) = View::make(&self.config.bloc, epoch, roster, name, reign, &named) else {
            // No epoch that anybody would believe is left: stay as it is instead of trying again at once, for ever.
            self.abort(out);
            self.propose_later(self.t.propose);
            return;
        };
        let id = self.proposal.as_ref().map(|proposal| proposal.id.clone());
        let left_out: BTreeSet<Member> = self
            .proposal
            .iter()
            .flat_map(|proposal| proposal.candidates.roster().iter())
            .chain(self.view.roster.iter())
            .map(|seat| &seat.member)
            .filter(|member| !view.has(member) && **member != self.config.me)
            .cloned()
            .collect();
        let old = self.view.id().clone();
        self.install(view, out);
        for seat in &self.view.roster {
            if seat.member != self.config.me && self.contacts.linked(&seat.member) {
                let message = Message::Install { id: id.clone(), view: self.view.clone() };
                out.push(Output::Message { to: seat.member.clone(), message });
            }
        }
        for member in left_out {
            // Candidates of flocks that were refused are free again; members that were dropped learn of it.
            if self.contacts.linked(&member) {
                let dropped = parents.first() == Some(&old);
                if let Some(id) = &id {
                    out.push(Output::Message { to: member.clone(), message: Message::Abort { id: id.clone() } });
                }
                if dropped {
                    out.push(Output::Message { to: member, message: Message::Eject { view: self.view.clone() } });
                }
            }
        }
    }

    /// Of the parents those that a header names: this fulcrum's own view, the highest, and those of several members.
    fn named_parents(&self, parents: &[ViewId]) -> Vec<ViewId> {
        let mut sizes: BTreeMap<u32, usize> = BTreeMap::new();
        for (_, parent) in self.proposal.iter().flat_map(|proposal| proposal.candidates.iter()) {
            *sizes.entry(parent).or_default() += 1;
        }
        let highest = parents.iter().max();
        let several = |at: usize| sizes.get(&u32::try_from(at).unwrap_or(u32::MAX)).is_some_and(|size| *size > 1);
        let (mut named, mut others) = (Vec::new(), Vec::new());
        for (at, parent) in parents.iter().enumerate() {
            if at == 0 || Some(parent) == highest {
                named.push(parent.clone());
            } else if several(at) || parents.len() <= NAMED {
                others.push(parent.clone());
            }
        }
        others.truncate(NAMED);
        named.extend(others);
        named
    }

    /// The leader leaves, so that the others can stay together: it is strictly the worst connected, or sick.
    pub(super) fn step_aside(&mut self, out: &mut Vec<Output>) {
        let me: Vec<Seat> = self.view.roster.iter().filter(|seat| seat.member == self.config.me).cloned().collect();
        let parents = vec![self.view.id().clone()];
        let epoch = self.next_epoch(&parents);
        self.conclude_with(epoch, me, &parents, out);
    }

    fn refuse(&mut self, asked: &ViewId, pairs: Vec<(Member, Member)>, out: &mut Vec<Output>) {
        let leader = asked.leader.clone();
        let late = self.only_late(&pairs);
        let retry = self.note_refusal(&leader, asked, pairs.clone(), late);
        self.tell_apart(&leader, out);
        if let Some(to) = self.contacts.linked_life(&leader) {
            let reply = AskReply::Refuse { pairs, retry };
            out.push(Output::Message { to, message: Message::AskReply { asked: asked.clone(), reply } });
        }
    }

    /// The running proposal and whose answers to it did not come, if nothing else keeps these pairs apart.
    fn only_late(&self, pairs: &[(Member, Member)]) -> Option<(ProposalId, BTreeSet<Member>)> {
        let proposal = self.proposal.as_ref()?;
        let late = |pair: &(Member, Member)| pair.0 == self.config.me && !proposal.reports.contains_key(&pair.1);
        let all = pairs.iter().all(late).then(|| pairs.iter().map(|(_, other)| other.clone()).collect())?;
        Some((proposal.id.clone(), all))
    }

    /// What the passing of time does to promises, proposals and views without an answer.
    pub(super) fn advance_change(&mut self, out: &mut Vec<Output>) {
        self.advance_verification(out);
        self.try_report(out);
        if self.promise.as_ref().is_some_and(|promise| promise.until <= self.now) {
            // A promise that ended only raises the next epoch.
            self.outlive_promise();
            self.end_promise();
        }
        if let Some(proposal) = &mut self.proposal
            && proposal.again <= self.now
        {
            proposal.again = self.now + self.t.resend_view;
            self.send_proposal(|_| true, out);
        }
        if self.proposal.is_some() {
            self.try_conclude(out);
        }
        if self.leads() && self.acks.len() < self.view.roster.len() && self.install_again <= self.now {
            self.install_again = self.now + self.t.resend_view;
            for seat in &self.view.roster {
                if !self.acks.contains(&seat.member) && self.contacts.linked(&seat.member) {
                    let message = Message::Install { id: self.made_by.clone(), view: self.view.clone() };
                    out.push(Output::Message { to: seat.member.clone(), message });
                }
            }
        }
    }

    pub(super) fn next_change(&self) -> Time {
        let mut next = self.next_verification();
        if let Some(promise) = &self.promise {
            next = next.min(promise.until);
        }
        if let Some(proposal) = &self.proposal {
            next = next.min(proposal.deadline).min(proposal.again);
        }
        if self.leads() && self.acks.len() < self.view.roster.len() {
            next = next.min(self.install_again);
        }
        next
    }
}
