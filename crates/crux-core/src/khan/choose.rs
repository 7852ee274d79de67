//! One pick: which hosts of a set run how many. Keeps what runs, fills up the emptiest, ties by stable hash.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

/// A host as one pick sees it.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    /// Its index among the world's hosts.
    pub host: usize,
    /// Whether it may get something new.
    pub takes: bool,
    /// How many it may carry of this pick beside everything else that is there.
    pub most: u32,
    /// How many more of this pick its resources allow beside everything that runs there.
    pub fits: u32,
    /// Ranks of what runs there of this service, best first.
    pub running: Vec<u64>,
    /// How much better off later picks are with this host used.
    pub score: i64,
    /// Breaks ties.
    pub hash: u64,
    /// What it is spread by.
    pub group: Option<String>,
}

/// What became of one candidate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Chosen {
    /// Of what runs there, so many stay.
    pub kept: u32,
    /// So many come.
    pub new: u32,
}

impl Candidate {
    /// How many it may hold at most.
    fn room(&self, cap: u32) -> u32 {
        let new = if self.takes { self.fits } else { 0 };
        self.cap(cap).min(self.keepable(cap).saturating_add(new))
    }

    /// How many of what runs there it may go on holding. Resources do not count here: what runs is not put out for them.
    pub(super) fn keepable(&self, cap: u32) -> u32 {
        self.cap(cap).min(self.running.len() as u32)
    }

    pub(super) fn cap(&self, cap: u32) -> u32 {
        cap.min(self.most)
    }
}

/// Chooses hosts for `count` instances, at most `cap` each and `budget` of them new, spread over groups first if `spread`.
/// With `eager`, at least one goes to a host that later picks need. The answers stand in the order of the candidates.
pub(super) fn choose(
    candidates: &[Candidate],
    (count, cap): (u32, u32),
    mut budget: u32,
    spread: bool,
    eager: bool,
) -> Vec<Chosen> {
    let mut chosen = alloc::vec![Chosen::default(); candidates.len()];
    if !spread {
        let all: Vec<usize> = (0..candidates.len()).collect();
        fill(candidates, &all, (count, cap), &mut budget, eager, &mut chosen);
        return chosen;
    }
    let mut groups: BTreeMap<Option<&str>, Vec<usize>> = BTreeMap::new();
    for (index, candidate) in candidates.iter().enumerate() {
        groups.entry(candidate.group.as_deref()).or_default().push(index);
    }
    let groups: Vec<Vec<usize>> = groups.into_values().collect();
    let sum = |members: &[usize], f: fn(&Candidate, u32) -> u32| {
        members.iter().map(|index| u64::from(f(&candidates[*index], cap))).sum::<u64>()
    };
    let room: Vec<u64> = groups.iter().map(|members| sum(members, Candidate::room)).collect();
    let keepable: Vec<u64> = groups.iter().map(|members| sum(members, Candidate::keepable)).collect();
    let hash = |members: &[usize]| members.iter().map(|index| candidates[*index].hash).min();
    // Level by level; of groups on one level, those first that need no move to rise.
    let key = |group: usize, level: u64| (level, level >= keepable[group], hash(&groups[group]), group);
    let mut targets = alloc::vec![0u64; groups.len()];
    let mut queue: BTreeSet<_> = (0..groups.len()).filter(|g| room[*g] > 0).map(|g| key(g, 0)).collect();
    let (mut left, mut news) = (count, budget);
    while left > 0 {
        let Some((level, _, _, group)) = queue.pop_first() else { break };
        if level >= keepable[group] {
            if news == 0 {
                continue;
            }
            news -= 1;
        }
        targets[group] = level + 1;
        left -= 1;
        if room[group] > level + 1 {
            queue.insert(key(group, level + 1));
        }
    }
    for (members, target) in groups.iter().zip(targets) {
        let target = u32::try_from(target).unwrap_or(count);
        fill(candidates, members, (target, cap), &mut budget, eager, &mut chosen);
    }
    chosen
}

fn fill(
    candidates: &[Candidate],
    members: &[usize],
    (count, cap): (u32, u32),
    budget: &mut u32,
    eager: bool,
    chosen: &mut [Chosen],
) {
    let mut left = count;
    let wanted = |index: &usize| candidates[*index].score > 0;
    if eager
        && left > 0
        && cap > 0
        && *budget > 0
        && !members.iter().any(|index| wanted(index) && !candidates[*index].running.is_empty())
    {
        let takes = |one: &Candidate| one.takes && one.most > 0 && one.fits > 0;
        let open = members.iter().filter(|index| wanted(index) && takes(&candidates[**index]));
        if let Some(best) = open.min_by_key(|index| (-candidates[**index].score, candidates[**index].hash)) {
            chosen[*best].new += 1;
            *budget -= 1;
            left -= 1;
        }
    }
    let mut running: Vec<(u64, usize, i64, u64, usize)> = Vec::new();
    for &index in members {
        let candidate = &candidates[index];
        for (nth, rank) in candidate.running.iter().enumerate() {
            // With `eager`, what later picks need is kept before anything else.
            let score = if eager { -candidate.score } else { 0 };
            running.push((*rank, nth, score, candidate.hash, index));
        }
    }
    if eager {
        running.sort_by_key(|(rank, nth, score, hash, index)| (*score, *rank, *nth, *hash, *index));
    } else {
        running.sort_unstable();
    }
    for (_, _, _, _, index) in running {
        if left > 0 && chosen[index].kept + chosen[index].new < candidates[index].cap(cap) {
            chosen[index].kept += 1;
            left -= 1;
        }
    }
    let key = |index: usize, load: u32| (load, -candidates[index].score, candidates[index].hash, index);
    let mut queue: BTreeSet<_> = members
        .iter()
        .filter(|index| candidates[**index].takes && chosen[**index].new < candidates[**index].fits)
        .map(|&index| key(index, chosen[index].kept + chosen[index].new))
        .filter(|(load, _, _, index)| *load < candidates[*index].cap(cap))
        .collect();
    while left > 0 && *budget > 0 {
        let Some((load, _, _, index)) = queue.pop_first() else { break };
        chosen[index].new += 1;
        *budget -= 1;
        left -= 1;
        if load + 1 < candidates[index].cap(cap) && chosen[index].new < candidates[index].fits {
            queue.insert(key(index, load + 1));
        }
    }
}
