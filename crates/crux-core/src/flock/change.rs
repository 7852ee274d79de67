//! The one view change: `Propose -> verify -> Report -> Install -> Installed`. It serves joins, losses, merges and
//! splits; there is no other way to a new view but to be left alone.

use super::machine::Flock;
use super::message::{Answer, AskReply, Message, ProposalId};
use super::view::{EPOCH_MAX, EPOCH_STEP, Headed, Seat, View, ViewId};
use super::{Output, clique};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec;
use alloc::vec::Vec;
use crux_names::{Duration, Member, Time};

/// What a candidate promised. While it stands only this proposal, or a higher one, may be installed.
#[derive(Clone, Debug)]
pub struct Promise {
    pub id: ProposalId,
    /// The proposer's link may be gone; the promise ends by itself.
    pub until: Time,
    /// Candidates that share no parent view with this fulcrum.
    pub strangers: BTreeSet<Member>,
    /// Those of them that wait for a direct round trip made since `since`; once reported, those that were not reached.
    pub verify: BTreeSet<Member>,
    pub since: Time,
    pub verify_until: Time,
    pub reported: bool,
}

/// The proposal that this fulcrum coordinates.
#[derive(Clone, Debug)]
pub struct Proposal {
    pub id: ProposalId,
    pub parents: Vec<ViewId>,
    pub candidates: Vec<(Seat, u32)>,
    /// Who promised, and whom it did not reach.
    pub reports: BTreeMap<Member, Vec<Member>>,
    pub deadline: Time,
    pub again: Time,
    /// Candidates of this fulcrum's own that it waits for a round trip with.
    pub verify: BTreeSet<Member>,
    pub since: Time,
    pub verify_until: Time,
}

impl Flock {
    fn next_epoch(&self, parents: &[ViewId]) -> u64 {
        let highest = parents.iter().map(|parent| parent.epoch).max().unwrap_or(0);
        highest.max(self.view.id().epoch).max(self.epoch_floor) + 1
    }

    /// Proposes this fulcrum's view without the members that are lost. Nobody verifies: a subset of a clique is one.
    pub(super) fn propose_removal(&mut self, remaining: Vec<Member>, out: &mut Vec<Output>) {
        let candidates: Vec<(Seat, u32)> = self
            .view
            .roster
            .iter()
            .filter(|seat| remaining.contains(&seat.member))
            .map(|seat| (seat.clone(), 0))
            .collect();
        // The proposer is the first of what it proposes; a successor that overtook a slow senior says so.
        let candidates = self.with_me_first(candidates);
        let parents = vec![self.view.id().clone()];
        self.propose(parents, candidates, out);
    }

    /// Proposes to take in the flocks that asked.
    pub(super) fn propose_merge(&mut self, out: &mut Vec<Output>) {
        let lost = self.lost();
        let mut askers: Vec<View> = core::mem::take(&mut self.askers).into_values().collect();
        self.ask_window = None;
        askers.sort_by(|a, b| b.head.header.rank.cmp(&a.head.header.rank));
        let mut parents = vec![self.view.id().clone()];
        let mut candidates: Vec<(Seat, u32)> =
            self.view.roster.iter().filter(|seat| !lost.contains(&seat.member)).map(|seat| (seat.clone(), 0)).collect();
        for asker in askers {
            let parent = u32::try_from(parents.len()).unwrap_or(u32::MAX);
            for seat in &asker.roster {
                // A fulcrum that was started again while its old boot still sits in another view comes in once.
                if let Some(at) = candidates.iter().position(|(known, _)| known.member.id == seat.member.id) {
                    // That it lives anew is believed only of a boot that answers here, and never of oneself.
                    let newer = candidates[at].0.member.boot < seat.member.boot
                        && seat.member.id != self.config.me.id
                        && self.proven(&seat.member, self.t.period * 3);
                    if !newer {
                        continue;
                    }
                    candidates.remove(at);
                }
                candidates.push((seat.clone(), parent));
            }
            parents.push(asker.id().clone());
        }
        let candidates = self.with_me_first(candidates);
        self.propose(parents, candidates, out);
    }

    fn with_me_first(&self, mut candidates: Vec<(Seat, u32)>) -> Vec<(Seat, u32)> {
        if let Some(at) = candidates.iter().position(|(seat, _)| seat.member == self.config.me) {
            let me = candidates.remove(at);
            candidates.insert(0, me);
        }
        candidates
    }

    fn propose(&mut self, parents: Vec<ViewId>, candidates: Vec<(Seat, u32)>, out: &mut Vec<Output>) {
        let epoch = self.next_epoch(&parents);
        if candidates.len() == 1 {
            self.conclude_with(epoch, candidates.into_iter().map(|(seat, _)| seat).collect(), &parents, out);
            return;
        }
        self.epoch_floor = epoch;
        let id = ProposalId { epoch, proposer: self.config.me.clone() };
        let proposal = Proposal {
            verify: candidates.iter().filter(|(_, parent)| *parent != 0).map(|(seat, _)| seat.member.clone()).collect(),
            id,
            parents,
            candidates,
            reports: BTreeMap::new(),
            deadline: self.now + self.t.propose,
            again: self.now + self.t.resend_view,
            since: self.now,
            verify_until: self.now + self.t.verify,
        };
        self.hasten(&proposal.verify.clone());
        for (seat, _) in &proposal.candidates {
            self.aim(seat.addr, Some(seat.member.id.clone()), false);
        }
        self.send_proposal(&proposal, |_| true, out);
        self.proposal = Some(proposal);
        self.withdraw_grants(out);
        self.try_conclude(out);
    }

    fn send_proposal(&self, proposal: &Proposal, to: impl Fn(&Member) -> bool, out: &mut Vec<Output>) {
        let message = Message::Propose {
            id: proposal.id.clone(),
            parents: proposal.parents.clone(),
            candidates: proposal.candidates.clone(),
            deadline: self.t.propose,
        };
        for (seat, _) in &proposal.candidates {
            let member = &seat.member;
            let linked = self.peers.get(member).is_some_and(|peer| peer.linked);
            if linked && to(member) && !proposal.reports.contains_key(member) {
                out.push(Output::Message { to: member.clone(), message: message.clone() });
            }
        }
    }

    /// What a fresh link may have missed: the running proposal, or the view that this fulcrum leads.
    pub(super) fn repeat_change_to(&mut self, member: &Member, out: &mut Vec<Output>) {
        if let Some(proposal) = &self.proposal {
            self.send_proposal(proposal, |candidate| candidate == member, out);
        }
        if self.leads() && self.view.has(member) && !self.acks.contains(member) {
            let message = Message::Install { id: self.made_by.clone(), view: self.view.clone() };
            out.push(Output::Message { to: member.clone(), message });
        }
    }

    /// Probes these at once instead of waiting for their period.
    pub(super) fn hasten(&mut self, members: &BTreeSet<Member>) {
        for member in members {
            if let Some(peer) = self.peers.get_mut(member)
                && peer.answered
            {
                peer.next = self.now;
            }
        }
    }

    /// A proof that is fresh enough to enter a view with: a round trip whose ping left since the proposal came, or
    /// within the period before.
    fn proves(&self, member: &Member, since: Time) -> bool {
        let enough = since - self.t.period;
        self.peers.get(member).and_then(|peer| peer.proof).is_some_and(|proof| proof >= enough)
    }

    pub(super) fn proposed(
        &mut self,
        from: &Member,
        id: ProposalId,
        parents: &[ViewId],
        candidates: &[(Seat, u32)],
        deadline: Duration,
        out: &mut Vec<Output>,
    ) {
        let me = self.config.me.clone();
        let Some((_, my_parent)) = candidates.iter().find(|(seat, _)| seat.member == me) else { return };
        let my_parent = *my_parent;
        if *from != id.proposer || candidates[0].0.member != *from || self.leaving {
            return;
        }
        if !self.believes(id.epoch) {
            return;
        }
        let report = |answer: Answer, id: &ProposalId, out: &mut Vec<Output>| {
            let message = Message::Report { id: id.clone(), answer };
            out.push(Output::Message { to: from.clone(), message });
        };
        // Consent: a stale ask snatches nobody from a healthy flock.
        let named = parents.get(my_parent as usize) == Some(self.view.id());
        if !named || id.epoch <= self.view.id().epoch {
            report(Answer::Conflict { have: self.view.head.clone() }, &id, out);
            return;
        }
        if !self.consents(from, candidates) {
            report(Answer::Busy { promised: id.clone(), remaining: self.t.period }, &id, out);
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
                    let unreached = promise.verify.iter().cloned().collect();
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
        let verify: BTreeSet<Member> = candidates
            .iter()
            .filter(|(seat, parent)| seat.member != me && (*parent != my_parent || !self.view.has(&seat.member)))
            .map(|(seat, _)| seat.member.clone())
            .collect();
        for (seat, _) in candidates {
            self.aim(seat.addr, Some(seat.member.id.clone()), false);
        }
        self.hasten(&verify);
        let deadline = deadline.min(self.t.propose * 2);
        self.promise = Some(Promise {
            id,
            until: self.now + deadline + self.t.batch * 5,
            strangers: verify.clone(),
            verify,
            since: self.now,
            verify_until: self.now + self.t.verify.min(deadline / 2),
            reported: false,
        });
        self.withdraw_grants(out);
        self.try_report(out);
    }

    /// Reports once every candidate is verified, or the time for it is over.
    fn try_report(&mut self, out: &mut Vec<Output>) {
        let Some(promise) = &self.promise else { return };
        if promise.reported {
            return;
        }
        let since = promise.since;
        let open: BTreeSet<Member> =
            promise.verify.iter().filter(|member| !self.proves(member, since)).cloned().collect();
        if !open.is_empty() && self.now < promise.verify_until {
            return;
        }
        let id = promise.id.clone();
        let to = id.proposer.clone();
        if let Some(promise) = &mut self.promise {
            promise.verify = open.clone();
            promise.reported = true;
        }
        let answer = Answer::Promised { unreached: open.into_iter().collect() };
        out.push(Output::Message { to, message: Message::Report { id, answer } });
    }

    /// A pair broke after its report and before the install: the proposer hears of it in time, or the verdict comes
    /// later.
    pub(super) fn take_back_proof(&mut self, member: &Member, out: &mut Vec<Output>) {
        if let Some(promise) = &mut self.promise
            && promise.reported
            && promise.strangers.contains(member)
            && promise.verify.insert(member.clone())
        {
            let unreached = promise.verify.iter().cloned().collect();
            let message = Message::Report { id: promise.id.clone(), answer: Answer::Promised { unreached } };
            out.push(Output::Message { to: promise.id.proposer.clone(), message });
        }
    }

    /// A round trip with this member was completed: somebody may have waited for it.
    pub(super) fn verified(&mut self, member: &Member, out: &mut Vec<Output>) {
        if self.promise.as_ref().is_some_and(|promise| promise.verify.contains(member)) {
            self.try_report(out);
        }
        if self.proposal.as_ref().is_some_and(|proposal| proposal.verify.contains(member)) {
            self.try_conclude(out);
        }
    }

    pub(super) fn reported(&mut self, from: &Member, id: &ProposalId, answer: Answer, out: &mut Vec<Output>) {
        let Some(proposal) = &mut self.proposal else { return };
        if proposal.id != *id || !proposal.candidates.iter().any(|(seat, _)| seat.member == *from) {
            return;
        }
        match answer {
            Answer::Promised { unreached } => {
                proposal.reports.insert(from.clone(), unreached);
                self.try_conclude(out);
            }
            // A reachable member that refuses is never excluded: take in what it has and propose above it.
            Answer::Conflict { have } => {
                self.heard_of_epoch(have.id.epoch);
                let wanted = (have.id > *self.view.id() && self.view.has(from)).then(|| have.id.clone());
                if let Some(peer) = self.peers.get_mut(from) {
                    peer.head = Some(have);
                }
                self.abort(out);
                self.propose_later(self.t.batch);
                if let Some(view) = wanted {
                    self.pull(from, view, out);
                }
            }
            Answer::Busy { promised, remaining } => {
                self.heard_of_epoch(promised.epoch);
                self.abort(out);
                self.propose_later(remaining.min(self.t.propose * 2));
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
        for (seat, _) in &proposal.candidates {
            if self.peers.get(&seat.member).is_some_and(|peer| peer.linked) {
                let message = Message::Abort { id: proposal.id.clone() };
                out.push(Output::Message { to: seat.member.clone(), message });
            }
        }
    }

    pub(super) fn aborted(&mut self, from: &Member, id: &ProposalId) {
        if self.promise.as_ref().is_some_and(|promise| promise.id == *id && promise.id.proposer == *from) {
            self.promise = None;
        }
    }

    /// Ends the proposal once everybody that can be waited for has reported, or its time is over.
    pub(super) fn try_conclude(&mut self, out: &mut Vec<Output>) {
        let Some(proposal) = &self.proposal else { return };
        let me = &self.config.me;
        let lost = self.lost();
        let here = |member: &Member| member == me || proposal.reports.contains_key(member);
        let late = self.now >= proposal.deadline;
        let waiting = proposal.candidates.iter().any(|(seat, _)| !here(&seat.member) && !lost.contains(&seat.member));
        let unproven: BTreeSet<Member> =
            proposal.verify.iter().filter(|member| !self.proves(member, proposal.since)).cloned().collect();
        let verifying = unproven.iter().any(&here) && self.now < proposal.verify_until;
        if (waiting || verifying) && !late {
            return;
        }
        let mut unreached: BTreeSet<(Member, Member)> = BTreeSet::new();
        for (from, list) in &proposal.reports {
            unreached.extend(list.iter().map(|member| (from.clone(), member.clone())));
        }
        unreached.extend(unproven.into_iter().map(|member| (me.clone(), member)));
        // Who gave no answer to the proposal is not reached by the proposer.
        let silent = proposal.candidates.iter().filter(|(seat, parent)| *parent != 0 && !here(&seat.member));
        let silent: Vec<Seat> = silent.map(|(seat, _)| seat.clone()).collect();
        let survivors: Vec<(Seat, u32)> = proposal
            .candidates
            .iter()
            .filter(|(seat, _)| here(&seat.member) && !lost.contains(&seat.member))
            .cloned()
            .collect();
        let (epoch, parents, total) = (proposal.id.epoch, proposal.parents.clone(), proposal.candidates.clone());
        // This flock stays whole; of each other flock those come in who reach everybody, if they are more than half.
        let mut roster: Vec<Seat> =
            survivors.iter().filter(|(_, parent)| *parent == 0).map(|(seat, _)| seat.clone()).collect();
        let mut refused = Vec::new();
        for (parent, id) in parents.iter().enumerate().skip(1) {
            let of_parent = |(_, p): &&(Seat, u32)| *p as usize == parent;
            let group: Vec<Seat> = survivors.iter().filter(of_parent).map(|(seat, _)| seat.clone()).collect();
            let all = total.iter().filter(of_parent).count();
            let lacking = total.iter().filter(of_parent).filter(|(seat, _)| silent.contains(seat));
            let mut pairs: BTreeSet<(Member, Member)> =
                lacking.map(|(seat, _)| (self.config.me.clone(), seat.member.clone())).collect();
            let crossing: BTreeSet<(Member, Member)> = roster
                .iter()
                .flat_map(|a| group.iter().map(move |b| (a.member.clone(), b.member.clone())))
                .filter(|(a, b)| {
                    unreached.contains(&(a.clone(), b.clone())) || unreached.contains(&(b.clone(), a.clone()))
                })
                .collect();
            let outside: BTreeSet<Member> = crossing.iter().map(|(_, b)| b.clone()).collect();
            let fits: Vec<Seat> = group.into_iter().filter(|seat| !outside.contains(&seat.member)).collect();
            pairs.extend(crossing);
            if fits.len() * 2 > all {
                roster.extend(fits);
            } else {
                refused.push((id.clone(), pairs));
            }
        }
        // Own verdicts once more, since they may have come in the meantime.
        let order: Vec<Member> = roster.iter().map(|seat| seat.member.clone()).collect();
        let broken = self.alerts_as_pairs(&order);
        let kept = clique::solve(&order, &broken);
        roster.retain(|seat| kept.contains(&seat.member) || seat.member == self.config.me);
        for (asked, pairs) in refused {
            self.refuse(&asked, pairs.into_iter().collect(), out);
        }
        if roster == self.view.roster {
            self.abort(out);
            self.propose_later(self.t.batch);
            return;
        }
        self.conclude_with(epoch, roster, &parents, out);
    }

    /// Pairs of these members of which this fulcrum knows a verdict.
    fn alerts_as_pairs(&self, members: &[Member]) -> BTreeSet<(Member, Member)> {
        self.alerts
            .iter()
            .filter(|((subject, observer), (accusation, ..))| {
                *accusation == super::message::Accusation::Broken
                    && members.contains(subject)
                    && members.contains(observer)
            })
            .map(|((subject, observer), _)| (observer.clone(), subject.clone()))
            .collect()
    }

    /// Installs the result here and sends it to its members.
    fn conclude_with(&mut self, epoch: u64, roster: Vec<Seat>, parents: &[ViewId], out: &mut Vec<Output>) {
        let leads_on = self.leads();
        let reign = if leads_on { self.reign() } else { 0 };
        let name = self.next_name();
        let Ok(view) = View::make(&self.config.bloc, epoch, roster, name, reign, parents) else {
            // No epoch that anybody would believe is left: stay as it is instead of trying again at once, for ever.
            self.abort(out);
            self.propose_later(self.t.propose);
            return;
        };
        let id = self.proposal.as_ref().map(|proposal| proposal.id.clone());
        let left_out: Vec<Member> = self
            .proposal
            .iter()
            .flat_map(|proposal| proposal.candidates.iter())
            .map(|(seat, _)| seat.member.clone())
            .chain(self.view.roster.iter().map(|seat| seat.member.clone()))
            .filter(|member| !view.has(member) && *member != self.config.me)
            .collect();
        let old = self.view.id().clone();
        self.install(view, out);
        for seat in self.view.roster.clone() {
            if self.peers.get(&seat.member).is_some_and(|peer| peer.linked) {
                let message = Message::Install { id: id.clone(), view: self.view.clone() };
                out.push(Output::Message { to: seat.member, message });
            }
        }
        for member in left_out.into_iter().collect::<BTreeSet<_>>() {
            // Candidates of flocks that were refused are free again; members that were dropped learn of it.
            if self.peers.get(&member).is_some_and(|peer| peer.linked) {
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

    /// The leader is strictly the worst connected: it leaves, so that the others can stay together.
    pub(super) fn step_aside(&mut self, out: &mut Vec<Output>) {
        let me: Vec<Seat> = self.view.roster.iter().filter(|seat| seat.member == self.config.me).cloned().collect();
        let parents = vec![self.view.id().clone()];
        let epoch = self.next_epoch(&parents);
        self.conclude_with(epoch, me, &parents, out);
    }

    /// Somebody offers a view: the proposer of a promise, or a co-member that was asked for it.
    pub(super) fn offered(&mut self, from: &Member, id: Option<&ProposalId>, view: View, out: &mut Vec<Output>) {
        if view.head.header.bloc != self.config.bloc || self.leaving {
            return;
        }
        if *view.id() <= *self.view.id() {
            if view.id() == self.view.id() {
                let message = Message::Installed { view: view.id().clone() };
                out.push(Output::Message { to: from.clone(), message });
            }
            return;
        }
        if !view.has(&self.config.me) {
            self.ejected(from, &view, out);
            return;
        }
        // Only the proposer installs, under the promise that was given to it; a co-member's word counts as the answer to
        // a question of this fulcrum's own.
        let welcome = match id {
            Some(id) => {
                let promised = self.promise.as_ref().is_some_and(|promise| promise.id == *id);
                promised && id.proposer == *from && *from == view.leader().member && id.epoch == view.id().epoch
            }
            None => self.peers.get_mut(from).is_some_and(|peer| core::mem::take(&mut peer.pulling)) && view.has(from),
        };
        if !welcome || !self.believes(view.id().epoch) {
            return;
        }
        let blocked =
            |standing: &ProposalId| (view.id().epoch, &view.id().leader) < (standing.epoch, &standing.proposer.id);
        if self.promise.as_ref().is_some_and(|promise| blocked(&promise.id))
            || self.proposal.as_ref().is_some_and(|proposal| blocked(&proposal.id))
        {
            return;
        }
        self.abort(out);
        let leader = view.leader().member.clone();
        let id = view.id().clone();
        self.install(view, out);
        out.push(Output::Message { to: leader, message: Message::Installed { view: id } });
    }

    pub(super) fn acknowledged(&mut self, from: Member, view: &ViewId) {
        if *view == *self.view.id() && self.leads() && self.view.has(&from) {
            self.acks.insert(from);
            self.grant_next = self.now;
        }
    }

    /// Whether an epoch is near enough to this fulcrum's own to be believed. Alone, any that leaves room is: that is
    /// the first join.
    fn believes(&self, epoch: u64) -> bool {
        let near = self.view.id().epoch.saturating_add(EPOCH_STEP);
        let most = if self.view.roster.len() == 1 { EPOCH_MAX / 2 } else { EPOCH_MAX };
        epoch <= most && (epoch <= near || self.view.roster.len() == 1)
    }

    /// A promise or a view elsewhere only raises the next epoch, and no further than anybody here would follow.
    fn heard_of_epoch(&mut self, epoch: u64) {
        if self.believes(epoch) && epoch < EPOCH_MAX / 2 {
            self.epoch_floor = self.epoch_floor.max(epoch);
        }
    }

    /// Whether a proposal may speak for this fulcrum's flock: it comes from the leader, or it takes in every member that
    /// is not lost as far as can be seen here. So nobody snatches single members out of a healthy flock.
    fn consents(&self, from: &Member, candidates: &[(Seat, u32)]) -> bool {
        let gone = |member: &Member| {
            let elsewhere = self.peers.get(member).and_then(|peer| peer.head.as_ref());
            self.accuses(member)
                || self.moved.contains(member)
                || self.said_goodbye(member)
                || elsewhere.is_some_and(|head| head.id != *self.view.id())
        };
        *from == self.view.leader().member
            || self.view.roster.iter().map(|seat| &seat.member).all(|member| {
                gone(member) || candidates.iter().any(|(seat, _)| seat.member.id == member.id) || !self.hears(member)
            })
    }

    /// Whether the last probe of this member's was answered.
    fn hears(&self, member: &Member) -> bool {
        *member == self.config.me || self.proven(member, self.t.period * 2)
    }

    pub(super) fn pulled(&mut self, from: &Member, wanted: &ViewId, out: &mut Vec<Output>) {
        let view = self.view.clone();
        if view.id() < wanted {
            return;
        }
        let message = if view.has(from) { Message::Install { id: None, view } } else { Message::Eject { view } };
        out.push(Output::Message { to: from.clone(), message });
    }

    /// A co-member holds a higher view without this fulcrum: it has moved on.
    pub(super) fn ejected(&mut self, from: &Member, view: &View, out: &mut Vec<Output>) {
        if !self.view.has(from) {
            self.hello(from, view.head.clone(), out);
            return;
        }
        if *view.id() <= *self.view.id() || view.has(&self.config.me) || !view.has(from) {
            return;
        }
        self.heard_of_epoch(view.id().epoch);
        // The others of that view are asked themselves, at once.
        self.moved.insert(from.clone());
        let others: BTreeSet<Member> = self.view.roster.iter().map(|seat| seat.member.clone()).collect();
        self.hasten(&others);
        let stale = self
            .proposal
            .as_ref()
            .is_some_and(|proposal| proposal.candidates.iter().any(|(seat, _)| self.moved.contains(&seat.member)));
        if stale {
            self.abort(out);
        }
    }

    /// A peer said which view it has.
    pub(super) fn heard_of_view(&mut self, from: &Member, view: ViewId, complete: bool, out: &mut Vec<Output>) {
        let same = view == *self.view.id();
        if same && self.leads() {
            self.acks.insert(from.clone());
        }
        let Some(peer) = self.peers.get_mut(from) else { return };
        peer.complete = same && complete;
        let missed = self.view.has(from) && view > *self.view.id();
        let unknown = !self.view.has(from) && peer.head.as_ref().is_none_or(|head| head.id != view);
        if (missed || unknown) && peer.pull_after <= self.now {
            // A view with this fulcrum in it that it missed, or one that left it out, or another flock's whose hello got
            // lost; the answer says which.
            self.pull(from, view, out);
        }
    }

    pub(super) fn hello(&mut self, from: &Member, head: Headed, out: &mut Vec<Output>) {
        if head.header.bloc != self.config.bloc {
            return;
        }
        let id = head.id.clone();
        let Some(peer) = self.peers.get_mut(from) else { return };
        peer.complete &= id == *self.view.id();
        peer.head = Some(head);
        if self.view.has(from) && id > *self.view.id() {
            self.pull(from, id, out);
        }
    }

    /// Asks a peer for the view that it says to have. Only the answer to this may install one without a promise.
    fn pull(&mut self, from: &Member, view: ViewId, out: &mut Vec<Output>) {
        if let Some(peer) = self.peers.get_mut(from) {
            peer.pulling = true;
            peer.pull_after = self.now + self.t.period / 2;
            out.push(Output::Message { to: from.clone(), message: Message::Pull { view } });
        }
    }

    /// What the passing of time does to promises, proposals and views without an answer.
    pub(super) fn advance_change(&mut self, out: &mut Vec<Output>) {
        self.try_report(out);
        if self.promise.as_ref().is_some_and(|promise| promise.until <= self.now) {
            // A promise that ended only raises the next epoch.
            self.promise = None;
        }
        if let Some(proposal) = &mut self.proposal
            && proposal.again <= self.now
        {
            proposal.again = self.now + self.t.resend_view;
            let proposal = proposal.clone();
            self.send_proposal(&proposal, |_| true, out);
        }
        self.try_conclude(out);
        if self.leads() && self.install_again <= self.now {
            self.install_again = self.now + self.t.resend_view;
            for seat in self.view.roster.clone() {
                let linked = self.peers.get(&seat.member).is_some_and(|peer| peer.linked);
                if linked && !self.acks.contains(&seat.member) {
                    let message = Message::Install { id: self.made_by.clone(), view: self.view.clone() };
                    out.push(Output::Message { to: seat.member, message });
                }
            }
        }
    }

    pub(super) fn next_change(&self) -> Time {
        let mut next = Time::NEVER;
        if let Some(promise) = &self.promise {
            next = next.min(promise.until);
            if !promise.reported {
                next = next.min(promise.verify_until);
            }
        }
        if let Some(proposal) = &self.proposal {
            next = next.min(proposal.deadline).min(proposal.again);
            if proposal.verify_until > self.now {
                next = next.min(proposal.verify_until);
            }
        }
        if self.leads() && self.acks.len() < self.view.roster.len() {
            next = next.min(self.install_again);
        }
        next
    }

    fn refuse(&mut self, asked: &ViewId, pairs: Vec<(Member, Member)>, out: &mut Vec<Output>) {
        let leader = asked.leader.clone();
        let retry = self.note_refusal(&leader, asked, pairs.clone());
        let to = self.linked().find(|member| member.id == leader).cloned();
        if let Some(to) = to {
            let reply = AskReply::Refuse { pairs, retry };
            out.push(Output::Message { to, message: Message::AskReply { asked: asked.clone(), reply } });
        }
    }
}
