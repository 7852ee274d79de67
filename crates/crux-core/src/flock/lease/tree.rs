//! The way of a grant to everybody: straight from the leader in a flock of up to [`LARGE`], above it down a tree in which
//! each fulcrum tells eight, so that the leader of thousands sends no more than anybody else.
//!
//! The tree is computed from the view and the grant's number, so that nobody has to be told. Each number has another one:
//! those who pass on the next grant are different from those who passed on this one, and a fulcrum that pauses costs
//! nobody two grants in a row.

use crate::flock::timers::LARGE;
use core::ops::Range;

/// So many are told by one in a large flock.
const FAN: usize = 8;

/// The tree of one grant over the positions of a roster, the leader's being 0.
#[derive(Clone, Copy, Debug)]
pub struct Tree {
    /// How many are below the leader.
    below: usize,
    fan: usize,
    shift: usize,
}

impl Tree {
    /// The tree of the grant of this number in a flock of this size.
    #[must_use]
    pub fn of(size: usize, seq: u64) -> Self {
        let below = size.saturating_sub(1);
        let fan = if size <= LARGE { below.max(1) } else { FAN };
        // One more than all who pass on: the next grant goes by others.
        let step = (below / fan + 1) as u64;
        let shift = if below == 0 { 0 } else { (seq % below as u64 * step) % below as u64 };
        Self { below, fan, shift: usize::try_from(shift).unwrap_or(0) }
    }

    /// Where a position stands in the tree, counted from the root level by level.
    const fn place(self, position: usize) -> usize {
        if position == 0 { 0 } else { 1 + (position - 1 + self.below - self.shift) % self.below }
    }

    /// Who stands there.
    const fn position(self, place: usize) -> usize {
        if place == 0 { 0 } else { 1 + (place - 1 + self.shift) % self.below }
    }

    /// Who tells this one; nobody tells the leader.
    #[must_use]
    pub fn parent(self, position: usize) -> Option<usize> {
        (position > 0 && position <= self.below).then(|| self.position((self.place(position) - 1) / self.fan))
    }

    /// Whom this one tells.
    pub fn children(self, position: usize) -> impl Iterator<Item = usize> {
        let first = self.place(position) * self.fan + 1;
        let places: Range<usize> = first..(first + self.fan).min(self.below + 1);
        places.map(move |place| self.position(place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;
    use alloc::vec::Vec;

    #[test]
    fn everybody_is_told_once_by_whom_it_takes_for_its_parent() {
        for size in [1, 2, 3, 10, LARGE, LARGE + 1, 200, 1_000, 10_000] {
            for seq in [1, 2, 3, 77, u64::MAX] {
                let tree = Tree::of(size, seq);
                let mut told = BTreeSet::from([0]);
                let mut front = Vec::from([0]);
                let mut depth = 0;
                while !front.is_empty() {
                    let mut next = Vec::new();
                    for at in front {
                        for child in tree.children(at) {
                            assert_eq!(tree.parent(child), Some(at), "{size} {seq}");
                            assert!(told.insert(child), "{child} is told twice at {size}, {seq}");
                            next.push(child);
                        }
                    }
                    depth += usize::from(!next.is_empty());
                    front = next;
                }
                assert_eq!(told.len(), size, "{seq}");
                assert!(depth <= 5, "{depth} hops at {size}");
            }
        }
    }

    #[test]
    fn a_small_flock_is_told_by_its_leader() {
        for size in 1..=LARGE {
            assert_eq!(Tree::of(size, 9).children(0).count(), size - 1);
            assert!((1..size).all(|at| Tree::of(size, 9).parent(at) == Some(0)));
        }
    }

    #[test]
    fn the_next_grant_goes_by_others() {
        for size in [LARGE + 1, 200, 1_000, 10_000] {
            for seq in 1..40 {
                let passing = |seq| -> BTreeSet<usize> {
                    (1..size).filter(|at| Tree::of(size, seq).children(*at).next().is_some()).collect()
                };
                assert!(passing(seq).is_disjoint(&passing(seq + 1)), "{size} {seq}");
            }
        }
    }
}
