//! Evidence is direct: that a pair worked after some moment is claimed only by who itself sent the other a question, an
//! answer or a dial after that moment, and then heard back. So the rules that go by proofs (A5, A8) need not take the
//! heart's word for them. Source: the design's `flocking.md`, "Evidence (per boot, direct only)".

use super::{Everybody, Safety, Seen};
use crate::world::Time;
use crux_core::flock::message::Datagram;
use crux_names::{Duration, Member};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// So many questions to one other, and answers to it, are remembered.
const REMEMBERED: usize = 8;
/// Between two clocks a moment is rounded.
const ROUNDED: Duration = Duration::from_micros(10);

/// What one has sent another.
#[derive(Debug, Default)]
struct Sent {
    /// The first time of each question.
    asked: VecDeque<(u64, Time)>,
    /// When it answered each of the other's last questions, the last time.
    answered: VecDeque<(u64, Time)>,
    dialled: Option<Time>,
}

/// Looks at what each proves about whom it has just heard.
#[derive(Debug, Default)]
pub struct EvidenceIsDirect {
    /// Since when everything that is sent is seen.
    began: Option<Time>,
    sent: BTreeMap<(Member, Member), Sent>,
    claimed: BTreeMap<(Member, Member), Time>,
    /// Of whom there was a copy: which of the two said something cannot be told.
    copied: BTreeSet<Member>,
}

impl Safety for EvidenceIsDirect {
    fn name(&self) -> &'static str {
        "evidence is direct"
    }

    fn check(&mut self, seen: &Seen<'_>, all: &dyn Everybody) -> Result<(), String> {
        if !seen.observed {
            return Ok(());
        }
        let (me, now) = (seen.member, all.now());
        let began = *self.began.get_or_insert(now);
        // Answers to what it hears now leave with it, and prove nothing yet: what it claims is looked at first.
        let claim = seen.heard.and_then(|from| Some((from, all.proof(me, from)?)));
        if let Some((from, proof)) = claim {
            let pair = (me.clone(), from.clone());
            if self.claimed.insert(pair.clone(), proof) != Some(proof) && proof > began {
                let left = self.sent.get(&pair).and_then(|sent| sent.left_by(seen));
                if left.is_none_or(|left| left + ROUNDED < proof)
                    && !self.is_copied(me, all)
                    && !self.is_copied(from, all)
                {
                    return Err(format!(
                        "{me} claims a round trip with {from} since {proof:?}, but what came back left at {left:?}"
                    ));
                }
            }
        }
        // A third's word about somebody proves nothing.
        if let Some(Datagram::Witness { subject, .. }) = seen.datagram
            && seen.heard != Some(subject)
            && let Some(proof) = all.proof(me, subject).filter(|proof| *proof > began)
            && self.claimed.get(&(me.clone(), subject.clone())).is_some_and(|claimed| *claimed < proof)
        {
            return Err(format!(
                "{me} claims a round trip with {subject} since {proof:?} by what {:?} says",
                seen.heard
            ));
        }
        for (to, datagram) in seen.sent {
            let sent = self.sent.entry((me.clone(), to.clone())).or_default();
            match datagram {
                Datagram::Ping { seq, .. } if sent.asked.iter().all(|(known, _)| known != seq) => {
                    sent.asked.truncate(REMEMBERED - 1);
                    sent.asked.push_front((*seq, now));
                }
                // A question that comes twice is answered twice, and either answer may be the one that is heard.
                Datagram::Ack { seq, .. } => match sent.answered.iter_mut().find(|(known, _)| known == seq) {
                    Some((_, at)) => *at = now,
                    None => {
                        sent.answered.truncate(REMEMBERED - 1);
                        sent.answered.push_front((*seq, now));
                    }
                },
                _ => {}
            }
        }
        for to in seen.dialled {
            self.sent.entry((me.clone(), to.clone())).or_default().dialled = Some(now);
        }
        Ok(())
    }
}

impl EvidenceIsDirect {
    fn is_copied(&mut self, member: &Member, all: &dyn Everybody) -> bool {
        if all.living().into_iter().filter(|other| *other == member).count() > 1 {
            self.copied.insert(member.clone());
        }
        self.copied.contains(member)
    }
}

impl Sent {
    /// When that left of which what was heard just now is the echo.
    fn left_by(&self, seen: &Seen<'_>) -> Option<Time> {
        match seen.datagram {
            Some(Datagram::Ack { seq, .. }) => self.asked.iter().find(|(known, _)| known == seq).map(|(_, at)| *at),
            Some(Datagram::Ping { heard: Some(back), seq, .. }) => {
                let named = seq.checked_sub(*back)?;
                self.answered.iter().find(|(known, _)| *known == named).map(|(_, at)| *at)
            }
            None if seen.linked => self.dialled,
            _ => None,
        }
    }
}
