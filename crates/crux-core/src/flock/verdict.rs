//! Verdicts: what accusations amount to. A member is dead when enough of its observers say so; a pair is broken when one
//! of the two says so and a third hears the other. Who decides, and when, is here too; how the view then changes is in
//! `propose`.

use super::Output;
use super::alerts::Alert;
use super::evidence::Why;
use super::machine::Flock;
use super::message::{Accusation, Datagram};
use super::ring::FULL;
use super::timers::{HELPERS, LARGE, OBSERVERS, QUORUM_TENTHS};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use crux_names::{Duration, Member, NodeName, Time};

/// In a large flock the accusations are weighed at most this often for each member.
const WEIGH: Duration = Duration::from_micros(100);
/// And everything that is said is looked over at most this often for each member.
const JUDGE: Duration = Duration::from_micros(20);

impl Flock {
    /// Whether the last probes of this member's were answered.
    pub(super) fn hears(&self, member: &Member) -> bool {
        *member == self.config.me || self.proven(member, self.pace(member) * 3)
    }

    /// Members of the view that are dead by the evidence, or that hold a higher view without this fulcrum; weighed anew
    /// if anything was said since, in a large flock not at every word.
    pub(super) fn lost(&mut self) -> &BTreeSet<Member> {
        let size = self.view.roster.len();
        let due = size <= FULL || self.now >= self.lost_at + WEIGH * u32::try_from(size).unwrap_or(u32::MAX);
        if self.lost_dirty && due {
            self.lost_dirty = false;
            self.lost_at = self.now;
            let nothing = self.alerts.is_empty() && self.moved.is_empty();
            (self.lost, self.disputes.unsure) = if nothing { Default::default() } else { self.weigh() };
        }
        &self.lost
    }

    /// An observer that this fulcrum itself accuses cannot be asked: it counts as saying so once at least one that is not
    /// accused does. A successor needs its own failed probe and two others, or all that it still reaches, against each of
    /// its seniors. Beside who is lost, who would be only if observers count that others say cannot be asked: in a flock in
    /// which not everybody observes everybody, this fulcrum asks those itself before it believes that.
    fn weigh(&self) -> (BTreeSet<Member>, BTreeSet<Member>) {
        let me = &self.config.me;
        let roster: Vec<&Member> = self.view.roster.iter().map(|seat| &seat.member).collect();
        let my_rank = self.view.roster.index(me).unwrap_or(0);
        let mut accused_here: BTreeSet<usize> = BTreeSet::new();
        for subject in self.alerts.subjects() {
            if let Some(at) = self.view.roster.index(subject)
                && self.accuses(subject)
            {
                accused_here.insert(at);
            }
        }
        let asked = self.ring.full() || self.called();
        let unheard = if asked { accused_here.clone() } else { self.unheard_observers(&accused_here) };
        let reached = roster
            .iter()
            .enumerate()
            .filter(|(at, member)| *at != my_rank && !accused_here.contains(at) && !self.moved.contains(**member));
        let reached = reached.count();
        let (mut lost, mut unsure) = (self.moved.clone(), BTreeSet::new());
        for subject in self.alerts.subjects() {
            let Some(rank) = self.view.roster.index(subject) else { continue };
            if subject == me {
                continue;
            }
            if self.says(subject, subject) {
                lost.insert(subject.clone());
                continue;
            }
            // Who has moved on observes for another view.
            let mut observers = self.ring.observers(rank);
            observers.retain(|at| !self.moved.contains(roster[*at]));
            let mine = accused_here.contains(&rank);
            if mine && !observers.contains(&my_rank) {
                observers.push(my_rank);
            }
            let (mut trusted, mut out_of_reach, mut content) = (0, 0, 0);
            for at in &observers {
                if *at != my_rank
                    && unheard.contains(at)
                    && (accused_here.contains(at) || !self.says(subject, roster[*at]))
                {
                    out_of_reach += 1;
                } else if self.says(subject, roster[*at]) {
                    trusted += 1;
                } else {
                    content += 1;
                }
            }
            let others = trusted - usize::from(mine);
            let by_call = self.called() && mine && content == 0;
            let dead = if rank < my_rank {
                mine && (others >= reached.min(2) || by_call)
            } else {
                let others = (roster.len() - 1).saturating_sub(self.moved.len());
                let need = (OBSERVERS.min(others) * QUORUM_TENTHS).div_ceil(10);
                let by_all = trusted > 0 && trusted + out_of_reach >= need;
                if by_all && trusted < need && !asked && !mine {
                    unsure.insert(subject.clone());
                }
                // Whoever answered this fulcrum's roll-call lives, and that others are out of reach is no word against it.
                let answered = self.called() && !mine && self.hears(subject);
                (by_all && (trusted >= need || mine || (asked && !answered))) || by_call
            };
            if dead {
                lost.insert(subject.clone());
            }
        }
        (lost, unsure)
    }

    /// Above the size in which everybody observes everybody, who was not asked here counts as out of reach too if two nodes
    /// say so that are not accused here: one alone could make anybody's observers dumb.
    fn unheard_observers(&self, accused_here: &BTreeSet<usize>) -> BTreeSet<usize> {
        let me = &self.config.me;
        let trusted = |observer: &Member| {
            observer == me || self.view.roster.index(observer).is_some_and(|at| !accused_here.contains(&at))
        };
        let mut unheard = accused_here.clone();
        for subject in self.alerts.subjects() {
            if let Some(at) = self.view.roster.index(subject) {
                let about = self.alerts.about(subject).map(|(observer, _)| observer);
                let about = about.filter(|observer| *observer != subject && trusted(observer));
                if about.map(|observer| &observer.id.node).collect::<BTreeSet<_>>().len() > 1 {
                    unheard.insert(at);
                }
            }
        }
        unheard
    }

    /// Pairs of living members that cannot talk: one says so, the other does not disprove it, and a third hears the accused.
    fn broken_pairs(&self, lost: &BTreeSet<Member>) -> BTreeSet<(Member, Member)> {
        self.alerts
            .iter()
            .filter(|(subject, observer, alert)| {
                alert.accusation == Accusation::Broken
                    && !lost.contains(*subject)
                    && !lost.contains(*observer)
                    && subject != observer
                    && self.counts(subject, observer)
            })
            .filter(|(subject, observer, _)| {
                let heard_here = **observer != self.config.me && self.hears(subject);
                let by_third = self.witnessed.get(subject).is_some_and(|at| self.now.since(*at) <= self.period() * 4);
                heard_here || by_third || **subject == self.config.me
            })
            .map(|(subject, observer, _)| (observer.clone(), subject.clone()))
            .collect()
    }

    /// Decides whether the evidence calls for a change, and begins it.
    pub(super) fn judge(&mut self, out: &mut Vec<Output>) {
        if self.alerts.is_empty() && self.moved.is_empty() {
            let (now, stale) = (self.now, self.t.stale);
            self.doubted.retain(|_, last| now.since(*last) <= stale);
            self.lost_since = None;
            self.lost.clear();
            self.disputes.begin_anew();
            self.drop_roll_call();
            self.lost_dirty = false;
            return;
        }
        // Of many, all that is said is gone through now and then, and not at every word.
        if self.view.roster.len() > LARGE {
            if self.judge_again > self.now && !self.call_over() {
                return;
            }
            self.judge_again = self.now + JUDGE * u32::try_from(self.view.roster.len()).unwrap_or(u32::MAX);
        }
        self.forget_stale_alerts();
        self.consider_roll_call(out);
        self.advance_roll_call(out);
        self.find_witnesses(out);
        self.ask_the_accused(out);
        let lost = !self.lost().is_empty();
        self.ask_the_unsure(out);
        if !lost {
            self.lost_since = None;
        } else {
            self.lost_since.get_or_insert(self.now);
        }
        if self.proposal.is_some()
            || self.promise.is_some()
            || self.propose_after > self.now
            || self.leaving
            || self.calling()
        {
            return;
        }
        let me = self.config.me.clone();
        if let Some(since) = self.lost_since {
            let remaining: Vec<Member> = self.members_without(&self.lost);
            let leader_lives = !self.lost.contains(&self.view.leader().member);
            let seniors = remaining.iter().take_while(|member| **member != me).count();
            if leader_lives && seniors > 0 {
                return;
            }
            // Others may be about to be lost too; not those of whom the same has been said for long.
            let fresh = |alert: &Alert| self.now.since(alert.first) < self.t.hold;
            let undecided = self.alerts.iter().any(|(of, _, alert)| !self.lost.contains(of) && fresh(alert));
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
            self.resolve_broken_pairs(out);
        }
    }

    fn members_without(&self, lost: &BTreeSet<Member>) -> Vec<Member> {
        self.view.roster.iter().map(|seat| seat.member.clone()).filter(|member| !lost.contains(member)).collect()
    }

    fn resolve_broken_pairs(&mut self, out: &mut Vec<Output>) {
        let pairs = self.broken_pairs(&self.lost);
        let oldest = pairs
            .iter()
            .filter_map(|(observer, subject)| self.alerts.get(subject, observer))
            .map(|alert| alert.first)
            .min();
        let Some(oldest) = oldest else { return };
        if self.now < oldest + self.t.verdict_wait {
            return;
        }
        let roster = self.members_without(&self.lost);
        let clique = self.stay_together(&roster, &pairs);
        if clique.len() == roster.len() {
            return;
        }
        if clique.contains(&self.config.me) {
            self.remember_pairs(&pairs, &clique);
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
        // While anything stands accused, a look every twentieth of a second is cheap and keeps this rule simple.
        let again = if self.view.roster.len() > LARGE { self.judge_again } else { self.now };
        again.max(self.now + self.t.doubt / 10).min(self.next_roll_call().max(self.now))
    }

    /// Finds out whether those live of whom somebody says that the pair is broken: asks them itself, or others if it is
    /// this fulcrum that cannot reach them.
    fn find_witnesses(&mut self, out: &mut Vec<Output>) {
        if !self.leads() {
            self.pass_on_to_the_leader(out);
            return;
        }
        if self.witness_next > self.now {
            return;
        }
        let (mut by_others, mut by_me) = (BTreeSet::new(), BTreeSet::new());
        for (subject, observer, alert) in self.alerts.iter() {
            let unknown = self.witnessed.get(subject).is_none_or(|at| self.now.since(*at) > self.period());
            if alert.accusation == Accusation::Broken && unknown {
                if *observer == self.config.me {
                    by_others.insert(subject.clone());
                } else if !self.hears(subject) {
                    by_me.insert(subject.clone());
                }
            }
        }
        if by_others.is_empty() && by_me.is_empty() {
            return;
        }
        self.witness_next = self.now + self.period();
        for subject in by_me {
            self.ask_now(&subject, Why::Ask, out);
        }
        for subject in by_others {
            let helpers: Vec<Member> = self
                .view
                .roster
                .iter()
                .map(|seat| seat.member.clone())
                .filter(|member| *member != subject && *member != self.config.me && self.hears(member))
                .take(HELPERS)
                .collect();
            for to in helpers {
                self.witness_asked.insert((subject.clone(), to.clone()));
                out.push(Output::Datagram { to, datagram: Datagram::PingReq { subject: subject.clone() } });
            }
        }
    }

    /// Who does not reach the leader cannot tell it so, and the leader need not notice: of a pair that is not of the ring one
    /// end visits the other. Those who may have to succeed hear it too, and ask the leader whether it hears that member; at
    /// the first doubt, so that both ends count their failures at the same time.
    pub(super) fn pass_on_to_the_leader(&mut self, out: &mut Vec<Output>) {
        let leader = self.view.leader().member.clone();
        if self.leads() || self.witness_next > self.now || !self.hears(&leader) {
            return;
        }
        let broken = self.alerts.about(&leader).filter(|(_, alert)| alert.accusation == Accusation::Broken);
        let doubting = self.doubted.keys().filter(|(subject, _)| *subject == leader).map(|(_, observer)| observer);
        // One of each node, and the others in their turn: nobody's fulcrums keep those of others from being asked about.
        let mut by: BTreeMap<NodeName, Member> = BTreeMap::new();
        for observer in broken.map(|(observer, _)| observer).chain(doubting) {
            by.entry(observer.id.node.clone()).or_insert_with(|| observer.clone());
        }
        if by.is_empty() {
            return;
        }
        self.witness_next = self.now + self.period();
        let (before, after): (Vec<_>, Vec<_>) =
            by.into_iter().partition(|(node, _)| self.passed_last.as_ref().is_some_and(|last| node <= last));
        for (node, subject) in after.into_iter().chain(before).take(HELPERS) {
            self.passed_last = Some(node);
            out.push(Output::Datagram { to: leader.clone(), datagram: Datagram::PingReq { subject } });
        }
    }

    /// Asks those who are dead only if observers count that cannot be asked.
    fn ask_the_unsure(&mut self, out: &mut Vec<Output>) {
        let unsure = self.disputes.unsure.iter();
        let unsure = unsure.filter(|one| !self.bursts(one) && !self.accuses(one) && !self.proven(one, self.period()));
        let unsure: Vec<Member> = unsure.cloned().collect();
        for subject in unsure {
            self.ask_now(&subject, Why::Burst, out);
        }
    }

    pub(super) fn witness(&mut self, from: &Member, subject: Member, heard: Option<Duration>) {
        if let Some(age) = heard {
            self.disproves(from, &subject, age);
        }
        let asked = self.witness_asked.remove(&(subject.clone(), from.clone()));
        if asked && self.view.has(&subject) && heard.is_some_and(|age| age <= self.period() * 3) {
            self.witnessed.insert(subject, self.now);
        }
    }
}
