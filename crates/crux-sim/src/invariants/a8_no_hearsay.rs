//! A8: nobody's life is taken on hearsay, except as advice. Whoever is removed from a flock while it lives is out of direct
//! touch with at least one of those that remain, by that one's own round trips. Source: the design's `flocking.md`,
//! "Evidence (per boot, direct only)".

use super::{Everybody, Safety, Seen};
use crate::world::Time;
use crux_core::flock::message::{Accusation, Message};
use crux_core::flock::view::{View, ViewId};
use crux_names::{Duration, Member};
use std::collections::{BTreeMap, BTreeSet};

/// Looks at each view at the moment when its leader installs it.
#[derive(Debug, Default)]
pub struct NoHearsay {
    shortest: Duration,
    last: BTreeMap<Member, View>,
    proofs: BTreeMap<(Member, Member), Time>,
    leaving: BTreeSet<Member>,
    /// (proposer, epoch, candidate) of proposals that wait for an answer: no answer in time is silence to a question.
    asked: BTreeSet<(Member, u64, Member)>,
    /// (proposer, epoch, left out) of proposals that left somebody out with reason when they were made: who comes back in
    /// the moment of a proposal comes too late for it.
    left_out: BTreeSet<(Member, u64, Member)>,
    /// (who was told, observer, subject) of accusations that stand and were true when they arrived: the observer itself had
    /// not heard the subject.
    accused: BTreeSet<(Member, Member, Member)>,
    /// The views that each ever had.
    had: BTreeSet<(Member, ViewId)>,
}

impl Safety for NoHearsay {
    fn name(&self) -> &'static str {
        "A8 nobody's life is taken on hearsay"
    }

    fn check(&mut self, seen: &Seen<'_>, all: &dyn Everybody) -> Result<(), String> {
        let me = seen.member;
        // The shortest silence that anybody may act upon: the burst of probes after an idle connection has ended. Clocks run
        // fast or slow by a hundredth.
        self.shortest = seen.flock.shortest_silence() * 49 / 50;
        let known = self.last.contains_key(me);
        let others = if known { seen.heard.into_iter().collect() } else { all.living() };
        for other in others {
            if let Some(proof) = all.proof(me, other) {
                self.proofs.insert((me.clone(), other.clone()), proof);
            }
        }
        if seen.said.iter().any(|(_, message)| matches!(message, Message::Leave)) {
            self.leaving.insert(me.clone());
        }
        for (to, message) in seen.said {
            if let Message::Propose { id, candidates, .. } = message
                && id.proposer == *me
            {
                self.asked.insert((me.clone(), id.epoch, to.clone()));
                let left_out: Vec<Member> = match self.last.get(me) {
                    Some(view) => view.roster.iter().map(|seat| &seat.member).cloned().collect(),
                    None => Vec::new(),
                };
                for gone in left_out {
                    let stays = candidates.roster().iter().any(|seat| seat.member == gone);
                    let silent =
                        || candidates.roster().iter().any(|seat| self.seen_silent(me, &seat.member, &gone, all.now()));
                    if !stays && silent() {
                        self.left_out.insert((me.clone(), id.epoch, gone));
                    }
                }
            }
        }
        if let (Some(Message::Report { id, .. }), Some(from)) = (seen.told, seen.heard) {
            self.asked.remove(&(me.clone(), id.epoch, from.clone()));
        }
        if let (Some(Message::Alert { subject, accusation, .. }), Some(from)) = (seen.told, seen.heard) {
            let key = (me.clone(), from.clone(), subject.clone());
            if *accusation == Accusation::Withdrawn {
                self.accused.remove(&key);
            } else if *accusation != Accusation::Doubted && self.silent(from, subject, all.now()) {
                self.accused.insert(key);
            }
        }
        let view = seen.flock.view();
        if self.last.get(me).is_some_and(|last| last.id() == view.id()) {
            return Ok(());
        }
        self.had.insert((me.clone(), view.id().clone()));
        let Some(before) = self.last.insert(me.clone(), view.clone()) else { return Ok(()) };
        // Without messages nobody knows who said that it leaves.
        if view.leader().member != *me || !seen.observed || view.roster.len() == 1 {
            return Ok(());
        }
        for gone in before.roster.iter().map(|seat| &seat.member).filter(|member| !view.has(member)) {
            let Some(flock) = all.flock(gone) else { continue };
            // It is not in that flock any more by its own doing, or never came in.
            let moved = flock.view().id() != before.id();
            let twin = all.living().iter().any(|other| other.id == gone.id && *other != gone);
            let key = (me.clone(), view.id().epoch, gone.clone());
            let unanswered = self.asked.contains(&key) || self.left_out.contains(&key);
            if moved
                || twin
                || unanswered
                || self.leaving.contains(gone)
                || !self.had.contains(&(gone.clone(), before.id().clone()))
            {
                continue;
            }
            if !view.roster.iter().any(|seat| self.seen_silent(me, &seat.member, gone, all.now())) {
                return Err(format!("{me} removed {gone} from {:?}, and everybody that remains hears it", before.id()));
            }
        }
        Ok(())
    }
}

impl NoHearsay {
    /// Whether the two are out of touch, or one of them told the leader so when they were.
    fn seen_silent(&self, leader: &Member, observer: &Member, subject: &Member, now: Time) -> bool {
        let said = |one: &Member, of: &Member| self.accused.contains(&(leader.clone(), one.clone(), of.clone()));
        self.silent(observer, subject, now) || said(observer, subject) || said(subject, observer)
    }

    /// Whether the two have not heard each other for as long as anybody may act upon.
    fn silent(&self, observer: &Member, subject: &Member, now: Time) -> bool {
        let one = self.proofs.get(&(observer.clone(), subject.clone()));
        let other = self.proofs.get(&(subject.clone(), observer.clone()));
        // Its own round trips count; of a pair that only the other proves, the other's.
        one.or(other).is_some_and(|proof| now.since(*proof) >= self.shortest)
    }
}
