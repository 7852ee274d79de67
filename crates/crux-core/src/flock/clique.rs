//! Which members stay together when some pairs cannot talk: greedy removal of the worst, then a pass that re-admits.
//!
//! Greedy was optimal or within 3.4 % on every pattern tried at 10,000 members (the anchors' `membership.md`, 5.1).
//! Deterministic: sorted input, no clock, no hash order.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use crux_names::Member;

/// The members of `roster` (in seniority order) that stay, in the same order.
///
/// The worst connected goes first; of equally bad ones the junior goes; the leader goes only if it is strictly worst.
#[must_use]
pub fn solve(roster: &[Member], broken: &BTreeSet<(Member, Member)>) -> Vec<Member> {
    let rank: BTreeMap<&Member, usize> = roster.iter().enumerate().map(|(at, member)| (member, at)).collect();
    let mut apart: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for (a, b) in broken {
        if let (Some(&a), Some(&b)) = (rank.get(a), rank.get(b))
            && a != b
        {
            apart.entry(a).or_default().insert(b);
            apart.entry(b).or_default().insert(a);
        }
    }
    let mut out = BTreeSet::new();
    loop {
        let degree = |at: usize| apart[&at].iter().filter(|other| !out.contains(*other)).count();
        // Most broken pairs first; of equals the most junior, so that the leader (0) goes only if strictly worst.
        let worst =
            apart.keys().copied().filter(|at| !out.contains(at) && degree(*at) > 0).max_by_key(|&at| (degree(at), at));
        match worst {
            Some(at) => out.insert(at),
            None => break,
        };
    }
    // Somebody who went early may fit again once others went.
    let readmitted: Vec<usize> = out.iter().copied().collect();
    for at in readmitted {
        if apart[&at].iter().all(|other| out.contains(other)) {
            out.remove(&at);
        }
    }
    roster.iter().enumerate().filter(|(at, _)| !out.contains(at)).map(|(_, member)| member.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crux_names::{Boot, FulcrumId};

    fn m(n: usize) -> Member {
        let id: FulcrumId = alloc::format!("n{n}").parse().unwrap();
        Member { id, boot: Boot(1) }
    }

    fn kept(n: usize, broken: &[(usize, usize)]) -> Vec<usize> {
        let roster: Vec<Member> = (0..n).map(m).collect();
        let broken = broken.iter().map(|&(a, b)| (m(a), m(b))).collect();
        solve(&roster, &broken).iter().map(|k| roster.iter().position(|r| r == k).unwrap()).collect()
    }

    #[test]
    fn nobody_goes_without_a_broken_pair() {
        assert_eq!(kept(4, &[]), [0, 1, 2, 3]);
    }

    #[test]
    fn the_junior_of_a_broken_pair_goes() {
        assert_eq!(kept(3, &[(0, 1)]), [0, 2]);
        assert_eq!(kept(3, &[(2, 1)]), [0, 1]);
    }

    #[test]
    fn the_leader_goes_only_if_strictly_worst() {
        assert_eq!(kept(4, &[(0, 1), (0, 2)]), [1, 2, 3]);
        assert_eq!(kept(4, &[(0, 1), (1, 2), (0, 3)]), [0, 2]);
    }

    #[test]
    fn one_sick_member_goes_alone() {
        assert_eq!(kept(5, &[(3, 0), (3, 1), (3, 2), (3, 4)]), [0, 1, 2, 4]);
    }

    #[test]
    fn who_fits_again_comes_back() {
        // 2 has the most broken pairs at first; when 3, 4 and 5 are gone for other reasons it fits with 0 and 1.
        let broken = [(2, 3), (2, 4), (2, 5), (3, 0), (4, 0), (5, 0), (3, 1), (4, 1), (5, 1)];
        assert_eq!(kept(6, &broken), [0, 1, 2]);
    }
}
