//! Who probes whom, computed from a view alone, so that nobody has to be told.
//!
//! Positions are those of the roster. In a flock of up to [`FULL`] everybody observes everybody; above it each member has
//! ten neighbours: the members at five distances on either side of it, drawn from the view's id (a circulant graph, which
//! is an expander with overwhelming probability; the design's `flocking.md`, "Ring"). One of each pair of neighbours
//! probes and the other expects the probe.

use super::view::ViewId;
use crate::hash::Random;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;

/// Up to this size everybody observes everybody: ten observers are all others then.
pub const FULL: usize = 11;
/// Distances of neighbours in a larger flock; each gives two observers.
const DISTANCES: usize = 5;
/// The first so many after the leader probe it directly in a flock of any size: who may have to succeed must know.
pub const SUCCESSORS: usize = 3;

/// The neighbours of every position of one view.
#[derive(Clone, Debug)]
pub struct Ring {
    size: usize,
    distances: Vec<usize>,
}

impl Ring {
    /// The ring of a view of this size.
    #[must_use]
    pub fn of(view: &ViewId, size: usize) -> Self {
        let half = size / 2;
        if size <= FULL {
            return Self { size, distances: (1..=half).collect() };
        }
        let mut seed = [0; 8];
        seed.copy_from_slice(&view.hash[..8]);
        let mut random = Random::new(u64::from_be_bytes(seed));
        // Distance 1 keeps the graph in one piece whatever the others have in common with the size.
        let mut distances = BTreeSet::from([1]);
        let most = (size - 1) / 2;
        while distances.len() < DISTANCES.min(most) {
            distances.insert(1 + usize::try_from(random.below(most as u64)).unwrap_or(0));
        }
        Self { size, distances: distances.into_iter().collect() }
    }

    /// Whether this is a ring in which everybody observes everybody.
    #[must_use]
    pub const fn full(&self) -> bool {
        self.size <= FULL
    }

    /// The neighbours of a position and whether it is the one that probes, each once.
    #[must_use]
    pub fn neighbours(&self, at: usize) -> Vec<(usize, bool)> {
        let mut seen = BTreeSet::new();
        let mut found = Vec::new();
        let mut add = |other: usize| {
            if other != at && seen.insert(other) {
                found.push((other, prober(self.size, at, other)));
            }
        };
        for distance in &self.distances {
            add((at + distance) % self.size);
            add((at + self.size - distance) % self.size);
        }
        if at == 0 {
            (1..=SUCCESSORS.min(self.size - 1)).for_each(&mut add);
        } else if at <= SUCCESSORS {
            add(0);
        }
        // Who may succeed probes the leader, whatever the ring says.
        for (other, probes) in &mut found {
            if at == 0 && *other <= SUCCESSORS {
                *probes = false;
            } else if *other == 0 && at <= SUCCESSORS {
                *probes = true;
            }
        }
        found
    }

    /// The positions that observe this one.
    #[must_use]
    pub fn observers(&self, at: usize) -> Vec<usize> {
        self.neighbours(at).into_iter().map(|(other, _)| other).collect()
    }
}

/// Whether, of a pair in a roster of this size, the first is the one that probes when the two prove themselves: half of
/// the pairs of each member are its own.
#[must_use]
pub const fn prober(size: usize, a: usize, b: usize) -> bool {
    let forward = (b + size - a) % size;
    forward * 2 < size || (forward * 2 == size && a < b)
}

/// How many others a position visits in one sweep over all pairs.
#[must_use]
pub const fn visits(size: usize, at: usize) -> usize {
    if size < 2 {
        0
    } else if size.is_multiple_of(2) && at >= size / 2 {
        size / 2 - 1
    } else {
        size / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(byte: u8) -> ViewId {
        ViewId { epoch: 3, leader: "n1".parse().unwrap(), hash: [byte; 16] }
    }

    #[test]
    fn of_each_pair_exactly_one_probes() {
        for size in 2..60 {
            for a in 0..size {
                for b in 0..size {
                    assert!(a == b || prober(size, a, b) != prober(size, b, a), "{size}: {a} {b}");
                }
            }
        }
    }

    #[test]
    fn a_sweep_visits_every_pair_once() {
        for size in 2..60_usize {
            let total: usize = (0..size).map(|at| visits(size, at)).sum();
            assert_eq!(total, size * (size - 1) / 2, "{size}");
            for at in 0..size {
                let own = (0..size).filter(|other| *other != at && prober(size, at, *other)).count();
                assert_eq!(own, visits(size, at), "{size}: {at}");
            }
        }
    }

    #[test]
    fn neighbours_are_mutual_and_one_of_them_probes() {
        for size in [2, 3, 4, 5, 10, 11, 12, 13, 50, 64, 1000] {
            let ring = Ring::of(&view(9), size);
            for at in 0..size {
                let mine = ring.neighbours(at);
                let most = if size <= FULL { size - 1 } else { 10 + SUCCESSORS };
                assert!(mine.len() <= most && mine.len() >= (size - 1).min(10), "{size}: {at} has {}", mine.len());
                for (other, probes) in mine {
                    let theirs = ring.neighbours(other).into_iter().find(|(back, _)| *back == at).expect("mutual");
                    assert_ne!(theirs.1, probes, "{size}: {at} and {other}");
                }
            }
        }
    }
}
