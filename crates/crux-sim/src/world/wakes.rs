//! Who wants to be woken next: a tree of winners over all places, so that one changed deadline costs a walk to the root and
//! the earliest of all stands there.

use crux_names::Time;

/// The deadline of each place. Of equal ones the lower place comes first.
#[derive(Debug, Default)]
pub(super) struct Wakes {
    times: Vec<Time>,
    /// `tree[1]` is the winner of all; the children of `i` are `2i` and `2i + 1`; the leaves are not stored.
    tree: Vec<u32>,
    leaves: usize,
}

impl Wakes {
    /// Adds a place that never wants to be woken.
    pub(super) fn add(&mut self) {
        self.times.push(Time::NEVER);
        if self.times.len() > self.leaves {
            self.leaves = self.times.len().next_power_of_two().max(2);
            self.tree = vec![0; self.leaves];
            for node in (1..self.leaves).rev() {
                self.tree[node] = self.winner_below(node);
            }
        }
    }

    fn time(&self, place: u32) -> Time {
        self.times.get(place as usize).copied().unwrap_or(Time::NEVER)
    }

    fn child(&self, node: usize) -> u32 {
        if node < self.leaves { self.tree[node] } else { u32::try_from(node - self.leaves).unwrap_or(u32::MAX) }
    }

    fn winner_below(&self, node: usize) -> u32 {
        let (a, b) = (self.child(2 * node), self.child(2 * node + 1));
        if self.time(b) < self.time(a) { b } else { a }
    }

    pub(super) fn set(&mut self, place: usize, at: Time) {
        if self.times[place] == at {
            return;
        }
        self.times[place] = at;
        let mut node = (self.leaves + place) / 2;
        while node >= 1 {
            self.tree[node] = self.winner_below(node);
            node /= 2;
        }
    }

    /// The earliest deadline and whose it is.
    pub(super) fn first(&self) -> (Time, usize) {
        let place = self.tree.get(1).copied().unwrap_or(0);
        (self.time(place), place as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crux_core::hash::Random;

    #[test]
    fn the_first_is_always_the_earliest_of_all() {
        let mut random = Random::new(1);
        let (mut wakes, mut plain) = (Wakes::default(), Vec::new());
        for round in 0..5000 {
            if round % 50 == 0 {
                wakes.add();
                plain.push(Time::NEVER);
            }
            let place = random.below(plain.len() as u64) as usize;
            let at = if random.below(9) == 0 { Time::NEVER } else { Time::from_nanos(random.below(40)) };
            wakes.set(place, at);
            plain[place] = at;
            let first = plain.iter().enumerate().map(|(place, at)| (*at, place)).min().unwrap();
            assert_eq!(wakes.first(), first);
        }
    }
}
