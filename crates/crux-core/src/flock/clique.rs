//! Which members stay together when some pairs cannot talk: greedy removal of the worst, then a pass that re-admits.
//!
//! Greedy was optimal or within 3.4 % on every pattern tried at 10,000 members (the anchors' `membership.md`, 5.1).
//! Deterministic: what comes out depends only on the set of pairs, not on their order; no clock, no hash order.
//!
//! Members are numbers here: their places in the roster, 0 the leader, the greater the more junior. [`solve`] is the
//! same for members by name. [`Cut`] holds who cannot reach whom, as lists where the pairs are few and as a bitmap where
//! they are many. In a bitmap, members that cannot reach exactly the same others (*twins*) are one weighted vertex: a cut
//! between data centres has millions of broken pairs and three or seven vertices. Twins have no broken pair among
//! themselves and go together or not at all under the plain rule too, so the answer is the same with and without them.

mod bipartite;
mod cut;

pub use bipartite::{Merge, WITNESSES, bipartite};
pub use cut::Cut;

use alloc::collections::{BTreeMap, BTreeSet, BinaryHeap};
use alloc::vec;
use alloc::vec::Vec;
use crux_names::Member;

/// Groups that [`partition`] looks for, at most; who is in none of them is left alone. Only a network in which hardly
/// anybody reaches anybody has more, and there each is soon asked by its next best.
const GROUPS: usize = 64;

/// The members of `roster` (in seniority order) that stay, in the same order.
///
/// The worst connected goes first; of equally bad ones the junior goes; the leader goes only if it is strictly worst.
#[must_use]
pub fn solve(roster: &[Member], broken: &BTreeSet<(Member, Member)>) -> Vec<Member> {
    let kept = solve_indexed(roster.len(), &indexed(roster, broken));
    kept.into_iter().map(|at| roster[at as usize].clone()).collect()
}

/// These pairs as places in the roster. Pairs with somebody who is not in it are left out.
#[must_use]
pub fn indexed<'a>(roster: &[Member], broken: impl IntoIterator<Item = &'a (Member, Member)>) -> Vec<(u32, u32)> {
    let broken: Vec<&(Member, Member)> = broken.into_iter().collect();
    // Mostly a few pairs and a long roster, so the few are put in order and the roster is only read.
    let mut place: BTreeMap<&Member, Option<u32>> = broken.iter().flat_map(|(a, b)| [(a, None), (b, None)]).collect();
    if place.is_empty() {
        return Vec::new();
    }
    for (at, member) in (0..).zip(roster) {
        if let Some(place) = place.get_mut(member) {
            *place = Some(at);
        }
    }
    broken.iter().filter_map(|(a, b)| Some((place[a]?, place[b]?))).collect()
}

/// Which of the members `0..n` stay, in seniority order: a set without a broken pair that nobody else fits into.
///
/// Pairs may come in any order and more than once; pairs of one with itself and of members beyond `n` are ignored.
#[must_use]
pub fn solve_indexed(n: usize, broken: &[(u32, u32)]) -> Vec<u32> {
    Cut::of(n, broken).solve()
}

/// All members `0..n`, parted into groups without a broken pair: first those who stay, then again those who stay of
/// the rest, so that each group can be told its own flock. No two groups fit together whole.
///
/// After 64 groups the rest are groups of one.
#[must_use]
pub fn partition(n: usize, broken: &[(u32, u32)]) -> Vec<Vec<u32>> {
    Cut::of(n, broken).partition()
}

impl Cut {
    /// As [`solve_indexed`].
    #[must_use]
    pub fn solve(&self) -> Vec<u32> {
        let mut greedy = Greedy::new(self);
        greedy.round();
        greedy.kept()
    }

    /// As [`partition`].
    #[must_use]
    pub fn partition(&self) -> Vec<Vec<u32>> {
        let mut greedy = Greedy::new(self);
        let mut groups = Vec::new();
        while !greedy.among.is_empty() {
            if groups.len() == GROUPS {
                let mut alone: Vec<u32> = greedy.among.iter().flat_map(|&v| greedy.members(v)).collect();
                alone.sort_unstable();
                groups.extend(alone.into_iter().map(|v| vec![v]));
                break;
            }
            greedy.round();
            groups.push(greedy.kept());
            greedy.next();
        }
        groups
    }
}

/// The greedy rule on weighted vertices. A vertex is the most senior of its twins and stands for all of them.
struct Greedy<'a> {
    cut: &'a Cut,
    /// The vertices that this round is about, in seniority order.
    among: Vec<u32>,
    /// One bit per member: vertices that are not evicted in this round.
    inside: Vec<u64>,
    /// The other twins of a vertex, in seniority order; empty where nobody has any.
    twins: BTreeMap<u32, Vec<u32>>,
    /// Broken pairs of one twin with members that are inside.
    degree: Vec<u32>,
    evicted: Vec<u32>,
}

impl<'a> Greedy<'a> {
    fn new(cut: &'a Cut) -> Self {
        let (among, twins) = cut.twins();
        let mut inside = vec![0; cut.n().div_ceil(64)];
        among.iter().for_each(|&v| set(&mut inside, v));
        let mut degree = vec![0; cut.n()];
        among.iter().for_each(|&v| degree[v as usize] = cut.degree(v));
        Self { cut, among, inside, twins, degree, evicted: Vec::new() }
    }

    fn members(&self, v: u32) -> impl Iterator<Item = u32> {
        core::iter::once(v).chain(self.twins.get(&v).into_iter().flatten().copied())
    }

    fn weight(&self, v: u32) -> u32 {
        self.twins.get(&v).map_or(1, |twins| twins.len() as u32 + 1)
    }

    fn junior(&self, v: u32) -> u32 {
        self.twins.get(&v).and_then(|twins| twins.last().copied()).unwrap_or(v)
    }

    /// Evicts until nobody inside has a broken pair, then takes back who fits again.
    fn round(&mut self) {
        // Degrees only fall, so that what stands in the heap is never too low: an entry is looked at again when it
        // comes to the top, and put back if it was too high. Of equal degrees the most junior is greatest.
        let mut heap: BinaryHeap<(u32, u32, u32)> = self
            .among
            .iter()
            .filter(|&&v| self.degree[v as usize] > 0)
            .map(|&v| (self.degree[v as usize], self.junior(v), v))
            .collect();
        while let Some((degree, junior, v)) = heap.pop() {
            let now = self.degree[v as usize];
            if now == 0 {
                continue;
            }
            if now < degree {
                heap.push((now, junior, v));
                continue;
            }
            unset(&mut self.inside, v);
            self.evicted.push(v);
            let weight = self.weight(v);
            let degrees = &mut self.degree;
            self.cut.neighbours(v, &self.inside, |other| degrees[other as usize] -= weight);
        }
        self.evicted.sort_unstable();
        for &v in &self.evicted {
            let mut fits = true;
            self.cut.neighbours(v, &self.inside, |_| fits = false);
            if fits {
                set(&mut self.inside, v);
            }
        }
    }

    /// Who stayed, twins and all.
    fn kept(&self) -> Vec<u32> {
        let inside = self.among.iter().filter(|&&v| get(&self.inside, v));
        let mut kept: Vec<u32> = inside.flat_map(|&v| self.members(v)).collect();
        kept.sort_unstable();
        kept
    }

    /// Begins a round about those who were evicted.
    fn next(&mut self) {
        self.evicted.retain(|&v| !get(&self.inside, v));
        self.among = core::mem::take(&mut self.evicted);
        self.inside.fill(0);
        self.among.iter().for_each(|&v| set(&mut self.inside, v));
        for &v in &self.among {
            let mut degree = 0;
            self.cut.neighbours(v, &self.inside, |other| degree += self.weight(other));
            self.degree[v as usize] = degree;
        }
    }
}

fn get(bits: &[u64], at: u32) -> bool {
    bits[at as usize / 64] >> (at % 64) & 1 == 1
}

fn set(bits: &mut [u64], at: u32) {
    bits[at as usize / 64] |= 1 << (at % 64);
}

fn unset(bits: &mut [u64], at: u32) {
    bits[at as usize / 64] &= !(1 << (at % 64));
}
