//! Who has to go where pairs cannot talk: first whoever several others complain of, then whoever the clique solver
//! chooses.
//!
//! A pair that cannot talk has two ends, and its accusation alone does not say which of them is at fault. The solver looks
//! only at pairs: a member in good health that cannot reach three others, because those three stand still most of the
//! time, has three broken pairs and each of them has one, so it would be the worst. What others say tells the ends apart:
//! of the three several complain, and of the one nobody does. The other way round a sick member that complains of many is
//! the only one that complains of each, and is still the one that goes.

use super::clique;
use super::machine::Flock;
use super::message::Accusation;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use crux_names::{Member, NodeName};

/// Of a broken pair that end goes of which at least so many nodes more complain than of the other: its partner's own word
/// and one more.
const VOICES: usize = 2;
/// And so many nodes have to complain of it, so that two that lie throw out nobody.
const ENOUGH: usize = 3;

impl Flock {
    /// How many nodes complain of each of these: they accuse it, or told this fulcrum that they doubt it.
    fn voices<'a>(&'a self, of: impl Iterator<Item = &'a Member>) -> BTreeMap<&'a Member, usize> {
        let mut voices: BTreeMap<&Member, BTreeSet<&NodeName>> = of.map(|one| (one, BTreeSet::new())).collect();
        for (subject, said) in &mut voices {
            let about = self.alerts.about(subject).filter(|(observer, alert)| {
                *observer != *subject && matches!(alert.accusation, Accusation::Silent | Accusation::Broken)
            });
            said.extend(about.map(|(observer, _)| &observer.id.node));
        }
        for (subject, observer) in self.doubted.keys() {
            if let Some(said) = voices.get_mut(subject) {
                said.insert(&observer.id.node);
            }
        }
        // What this fulcrum doubts itself it tells nobody if it leads.
        for subject in &self.in_doubt {
            if let Some(said) = voices.get_mut(subject) {
                said.insert(&self.config.me.id.node);
            }
        }
        voices.into_iter().map(|(one, said)| (one, said.len())).collect()
    }

    /// The members of `roster` (in seniority order) that stay where these pairs cannot talk, in the same order. The first
    /// goes only if it is strictly the worst by its pairs.
    pub(super) fn stay_together<'a>(
        &'a self,
        roster: &'a [Member],
        broken: &'a BTreeSet<(Member, Member)>,
    ) -> Vec<Member> {
        let mut partners: BTreeMap<&Member, BTreeSet<&Member>> = BTreeMap::new();
        for (a, b) in broken {
            partners.entry(a).or_default().insert(b);
            partners.entry(b).or_default().insert(a);
        }
        let voices = self.voices(partners.keys().copied());
        let involved = roster.iter().enumerate().skip(1).filter_map(|(at, one)| Some((*voices.get(one)?, at, one)));
        let mut worst: Vec<(usize, usize, &Member)> = involved.filter(|(voices, ..)| *voices >= ENOUGH).collect();
        worst.sort_by(|a, b| b.cmp(a));
        let mut blamed: BTreeSet<&Member> = BTreeSet::new();
        for (many, _, one) in worst {
            let blames = |other: &&Member| !blamed.contains(other) && voices[*other] + VOICES <= many;
            if partners[one].iter().any(blames) {
                blamed.insert(one);
            }
        }
        let rest: Vec<Member> = roster.iter().filter(|one| !blamed.contains(one)).cloned().collect();
        let mut kept: BTreeSet<Member> = clique::solve(&self.by_standing(rest), broken).into_iter().collect();
        for one in roster.iter().filter(|one| blamed.contains(one)) {
            // Those on whose account it had to go may be gone themselves.
            if partners[one].iter().all(|other| !kept.contains(*other)) {
                kept.insert(one.clone());
            }
        }
        roster.iter().filter(|one| kept.contains(one)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::super::alerts::Alert;
    use super::super::view::{Seat, View};
    use super::*;
    use alloc::format;
    use core::net::SocketAddr;
    use crux_names::{Boot, Time};

    fn member(at: usize) -> Member {
        Member { id: format!("n{at}").parse().unwrap(), boot: Boot(1) }
    }

    /// The leader n1 of six, to whom this was said: (observer, subject) of broken pairs and of doubts.
    fn leader(broken: &[(usize, usize)], doubts: &[(usize, usize)]) -> Flock {
        let addr = SocketAddr::from(([10, 0, 0, 1], 2789));
        let bloc: crux_names::BlocName = "test".parse().unwrap();
        let config = Config {
            bloc: bloc.clone(),
            me: member(1),
            addr,
            seed: 1,
            timers: 1000,
            expect: None,
            seeds: Vec::new(),
            book: alloc::sync::Arc::default(),
            visitor: false,
        };
        let now = Time::from_millis(1000);
        let mut flock = Flock::new(now, config);
        let seats: Vec<Seat> = (1..=6).map(|at| Seat { member: member(at), addr, visitor: false }).collect();
        flock.view = View::make(&bloc, 2, seats, "a-flock".into(), 0, &[]).unwrap();
        for (observer, subject) in broken {
            let alert = Alert { accusation: Accusation::Broken, first: now, last: now, quiet: false };
            flock.alerts.insert(member(*subject), member(*observer), alert);
        }
        for (observer, subject) in doubts {
            if *observer == 1 {
                // Its own doubts nobody tells it.
                flock.in_doubt.insert(member(*subject));
                continue;
            }
            flock.doubted.insert((member(*subject), member(*observer)), now);
        }
        flock
    }

    fn stay(broken: &[(usize, usize)], doubts: &[(usize, usize)]) -> Vec<usize> {
        let flock = leader(broken, doubts);
        let roster: Vec<Member> = (1..=6).map(member).collect();
        let pairs = broken.iter().map(|(a, b)| (member(*a), member(*b))).collect();
        let kept = flock.stay_together(&roster, &pairs);
        (1..=6).filter(|at| kept.contains(&member(*at))).collect()
    }

    #[test]
    fn of_whom_several_complain_goes_and_not_who_complains_of_several() {
        let of_three = [(2, 4), (2, 5), (2, 6)];
        assert_eq!(stay(&of_three, &[(1, 4), (3, 4), (1, 5), (3, 5), (1, 6), (3, 6)]), [1, 2, 3]);
        // Two of five that probe it are too few.
        assert_eq!(stay(&of_three, &[(3, 4), (3, 5), (3, 6)]), [1, 3, 4, 5, 6]);
    }

    #[test]
    fn who_alone_complains_of_many_goes() {
        assert_eq!(stay(&[(2, 4), (2, 5), (2, 6)], &[]), [1, 3, 4, 5, 6]);
        // One other word about one of three changes nothing about the other two.
        assert_eq!(stay(&[(2, 4), (2, 5), (2, 6)], &[(3, 4)]), [1, 3, 4, 5, 6]);
    }

    #[test]
    fn both_ends_of_a_broken_pair_complain_and_the_junior_goes() {
        assert_eq!(stay(&[(2, 5), (5, 2)], &[]), [1, 2, 3, 4, 6]);
        assert_eq!(stay(&[(2, 5), (5, 2)], &[(3, 2)]), [1, 2, 3, 4, 6]);
    }

    #[test]
    fn the_leader_goes_only_by_its_pairs() {
        assert_eq!(stay(&[(2, 1)], &[(3, 1), (4, 1)]), [1, 3, 4, 5, 6]);
        assert_eq!(stay(&[(2, 1), (3, 1)], &[]), [2, 3, 4, 5, 6]);
    }

    #[test]
    fn who_was_blamed_for_a_pair_whose_other_end_goes_too_comes_back() {
        // n4 has to go for n5's sake, and n5 for the sake of n2 and n3.
        let broken = [(5, 4), (2, 5), (3, 5), (2, 6)];
        assert_eq!(stay(&broken, &[(1, 4), (3, 4), (6, 4), (6, 5)]), [1, 2, 3, 4]);
    }
}
