//! Who of two whole flocks fits into one.

use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;

/// Pairs that a refusal names, at most.
pub const WITNESSES: usize = 8;
/// The winner gives up at most one in so many of its members for the other flock's sake.
const FEW: usize = 4;

/// How two flocks become one, or why they do not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Merge {
    /// All but these, in seniority order.
    Take {
        /// Members of the winner that stay out: none, but where a few of them would keep out most of the other flock.
        out_a: Vec<u32>,
        /// Members of the other flock that stay out.
        out_b: Vec<u32>,
    },
    /// The two stay apart.
    Refuse {
        /// A few of the pairs that keep them apart, by the seniority of the other flock's member.
        witnesses: Vec<(u32, u32)>,
    },
}

/// What becomes of the winner `0..a` and the other flock `0..b`, each whole in itself, when these pairs (one of the
/// winner, one of the other) cannot talk.
///
/// The winner stays whole and members of the other with a broken pair stay out. If that keeps out more than half of it,
/// the fewest on both sides together are looked for (by König: the smallest cover of the broken pairs is as large as
/// their largest matching), and of those solutions the one that takes the fewest of the winner. It is taken if it keeps
/// out at most half of the other flock and at most a quarter of the winner (but one of three is allowed), never the
/// winner's leader, and saves more than it costs. Otherwise the two stay apart.
///
/// The order of pairs does not matter; pairs beyond `a` or `b` are ignored.
#[must_use]
pub fn bipartite(a: usize, b: usize, broken: &[(u32, u32)]) -> Merge {
    let valid = || broken.iter().copied().filter(|&(x, y)| (x as usize) < a && (y as usize) < b);
    // The most senior of the winner that each of the other cannot reach.
    let mut senior = vec![u32::MAX; b];
    for (x, y) in valid() {
        let least = &mut senior[y as usize];
        *least = (*least).min(x);
    }
    let out: Vec<u32> = (0..b as u32).filter(|&y| senior[y as usize] != u32::MAX).collect();
    if out.len() * 2 <= b {
        return Merge::Take { out_a: Vec::new(), out_b: out };
    }
    let refuse = || Merge::Refuse { witnesses: out.iter().take(WITNESSES).map(|&y| (senior[y as usize], y)).collect() };
    let few = (a / FEW).max(usize::from(a > 2));
    // Who cannot reach the winner's leader stays out whatever else is done.
    let barred = senior.iter().filter(|&&x| x == 0).count();
    if few == 0
        || barred * 2 > b
        || matched(a, b, valid().filter(|&(_, y)| senior[y as usize] != 0)) + barred > few + b / 2
    {
        return refuse();
    }
    let (out_a, mut out_b) = smallest_cover(a, b, valid().filter(|&(_, y)| senior[y as usize] != 0));
    out_b.extend((0..b as u32).filter(|&y| senior[y as usize] == 0));
    out_b.sort_unstable();
    if out_b.len() * 2 > b || out_a.len() > few || out.len() - out_b.len() <= out_a.len() {
        return refuse();
    }
    Merge::Take { out_a, out_b }
}

/// How many pairs without a common member are found at the first go: a cover needs at least so many.
fn matched(a: usize, b: usize, pairs: impl Iterator<Item = (u32, u32)>) -> usize {
    let (mut left, mut right) = (vec![false; a], vec![false; b]);
    let mut count = 0;
    for (x, y) in pairs {
        if !left[x as usize] && !right[y as usize] {
            left[x as usize] = true;
            right[y as usize] = true;
            count += 1;
        }
    }
    count
}

const NONE: u32 = u32::MAX;

/// The smallest set of members of both sides that has one of every pair, and of those the one with the fewest of `a`.
///
/// That set is the same whatever largest matching was found, and so does not depend on the order of pairs.
fn smallest_cover(a: usize, b: usize, pairs: impl Iterator<Item = (u32, u32)> + Clone) -> (Vec<u32>, Vec<u32>) {
    let mut start = vec![0_usize; b + 1];
    pairs.clone().for_each(|(_, y)| start[y as usize + 1] += 1);
    for y in 0..b {
        start[y + 1] += start[y];
    }
    let mut at = start.clone();
    let mut to = vec![0; start[b]];
    for (x, y) in pairs {
        to[at[y as usize]] = x;
        at[y as usize] += 1;
    }
    let mut matching = Matching { start, to, of_b: vec![NONE; b], of_a: vec![NONE; a], level: vec![NONE; b] };
    while matching.levels() {
        let mut next = matching.start.clone();
        for y in 0..b as u32 {
            if matching.of_b[y as usize] == NONE {
                matching.augment(y, &mut next);
            }
        }
    }
    // After the last round a level says: reached from an unmatched one of b along alternating pairs.
    let reached = |y: u32| matching.level[y as usize] != NONE;
    let mut taken = vec![false; a];
    for y in (0..b as u32).filter(|&y| reached(y)) {
        matching.pairs(y).iter().for_each(|&x| taken[x as usize] = true);
    }
    let out_a = (0..a as u32).filter(|&x| taken[x as usize]).collect();
    let out_b = (0..b as u32).filter(|&y| matching.of_b[y as usize] != NONE && !reached(y)).collect();
    (out_a, out_b)
}

/// Hopcroft and Karp's largest matching, grown from the side of `b`.
struct Matching {
    /// Those that `y` cannot reach are `to[start[y]..start[y + 1]]`.
    start: Vec<usize>,
    to: Vec<u32>,
    of_b: Vec<u32>,
    of_a: Vec<u32>,
    level: Vec<u32>,
}

impl Matching {
    fn pairs(&self, y: u32) -> &[u32] {
        &self.to[self.start[y as usize]..self.start[y as usize + 1]]
    }

    /// Numbers those of b by their distance from an unmatched one. Whether an unmatched one of a was met on the way.
    fn levels(&mut self) -> bool {
        self.level.fill(NONE);
        let mut queue = VecDeque::new();
        for y in 0..self.of_b.len() as u32 {
            if self.of_b[y as usize] == NONE {
                self.level[y as usize] = 0;
                queue.push_back(y);
            }
        }
        let mut met = false;
        while let Some(y) = queue.pop_front() {
            for &x in &self.to[self.start[y as usize]..self.start[y as usize + 1]] {
                let next = self.of_a[x as usize];
                if next == NONE {
                    met = true;
                } else if self.level[next as usize] == NONE {
                    self.level[next as usize] = self.level[y as usize] + 1;
                    queue.push_back(next);
                }
            }
        }
        met
    }

    /// Looks for a way from `from` to an unmatched one of a, one level deeper at each step, and turns it over.
    fn augment(&mut self, from: u32, next: &mut [usize]) {
        let mut way = vec![from];
        while let Some(&y) = way.last() {
            let at = next[y as usize];
            if at == self.start[y as usize + 1] {
                way.pop();
                continue;
            }
            next[y as usize] += 1;
            let x = self.to[at];
            let holder = self.of_a[x as usize];
            if holder == NONE {
                // Each on the way takes the one that it looked at last.
                for &y in &way {
                    let x = self.to[next[y as usize] - 1];
                    self.of_b[y as usize] = x;
                    self.of_a[x as usize] = y;
                }
                return;
            }
            if self.level[holder as usize] == self.level[y as usize] + 1 {
                way.push(holder);
            }
        }
    }
}
