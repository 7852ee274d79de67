//! Which place can send to which, and how well. A cut of the whole network into parts is one byte a place; only single
//! paths are kept one by one.

use crux_names::Duration;
use std::collections::{BTreeMap, BTreeSet};

/// How bad a path is beyond the weather.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quality {
    /// Datagrams lost, in thousandths; frames come late instead.
    pub loss: u64,
    /// Datagrams that come twice, in thousandths.
    pub duplicates: u64,
    /// Datagrams held up for much longer than the others, in thousandths.
    pub reordered: u64,
    /// What everything takes longer.
    pub slower: Duration,
    /// Frames stand still while datagrams pass, as on a stream that waits for one lost packet.
    pub stalled: bool,
}

/// All paths.
#[derive(Debug, Default)]
pub(super) struct Paths {
    parts: Vec<u8>,
    /// Counts splits, so that an old one is told from the one in force.
    pub(super) split: u32,
    /// (from, to) -> which cut this is.
    blocked: BTreeMap<(u32, u32), u32>,
    /// Paths between parts that work all the same.
    open: BTreeSet<(u32, u32)>,
    cuts: u32,
    leaving: BTreeMap<u32, Quality>,
    coming: BTreeMap<u32, Quality>,
    between: BTreeMap<(u32, u32), Quality>,
}

impl Paths {
    fn part(&self, place: u32) -> u8 {
        self.parts.get(place as usize).copied().unwrap_or(0)
    }

    /// Whether anything that one sends reaches the other.
    pub(super) fn works(&self, from: u32, to: u32) -> bool {
        from == to
            || ((self.blocked.is_empty() || !self.blocked.contains_key(&(from, to)))
                && (self.parts.is_empty() || self.part(from) == self.part(to) || self.open.contains(&(from, to))))
    }

    /// Cuts or joins one direction; says which cut it is, if it is a new one.
    pub(super) fn set(&mut self, from: u32, to: u32, works: bool) -> Option<u32> {
        if works == self.works(from, to) {
            return None;
        }
        if works {
            self.blocked.remove(&(from, to));
            if self.part(from) != self.part(to) {
                self.open.insert((from, to));
            }
            return None;
        }
        self.open.remove(&(from, to));
        self.cuts += 1;
        self.blocked.insert((from, to), self.cuts);
        Some(self.cuts)
    }

    /// Whether this very cut is still in force.
    pub(super) fn still(&self, from: u32, to: u32, cut: u32) -> bool {
        self.blocked.get(&(from, to)) == Some(&cut)
    }

    /// The parts are these, and nothing else is cut.
    pub(super) fn divide(&mut self, parts: Vec<u8>) {
        self.blocked.clear();
        self.open.clear();
        self.split += 1;
        self.parts = if parts.iter().all(|part| *part == parts[0]) { Vec::new() } else { parts };
    }

    /// Whether there are parts.
    pub(super) fn divided(&self) -> bool {
        !self.parts.is_empty()
    }

    pub(super) fn set_leaving(&mut self, place: u32, quality: Quality) {
        set(&mut self.leaving, place, quality);
    }

    pub(super) fn set_coming(&mut self, place: u32, quality: Quality) {
        set(&mut self.coming, place, quality);
    }

    pub(super) fn set_between(&mut self, from: u32, to: u32, quality: Quality) {
        set(&mut self.between, (from, to), quality);
    }

    pub(super) fn fine(&mut self) {
        self.leaving.clear();
        self.coming.clear();
        self.between.clear();
    }

    /// What is bad about a path: of the place that sends, of the one that receives, of the path itself.
    pub(super) fn qualities(&self, from: u32, to: u32) -> impl Iterator<Item = Quality> {
        let leaving = if self.leaving.is_empty() { None } else { self.leaving.get(&from) };
        let coming = if self.coming.is_empty() { None } else { self.coming.get(&to) };
        let between = if self.between.is_empty() { None } else { self.between.get(&(from, to)) };
        [leaving, coming, between].map(|quality| quality.copied()).into_iter().flatten()
    }
}

fn set<K: Ord>(map: &mut BTreeMap<K, Quality>, key: K, quality: Quality) {
    if quality == Quality::default() {
        map.remove(&key);
    } else {
        map.insert(key, quality);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_and_single_paths_add_up() {
        let mut paths = Paths::default();
        paths.divide(vec![0, 0, 1]);
        assert!(paths.works(0, 1) && !paths.works(1, 2) && paths.divided());
        let cut = paths.set(0, 1, false).unwrap();
        assert!(!paths.works(0, 1) && paths.works(1, 0) && paths.still(0, 1, cut));
        assert_eq!(paths.set(1, 2, true), None);
        assert!(paths.works(1, 2) && !paths.works(2, 1));
        paths.divide(vec![4, 4, 4]);
        assert!(paths.works(0, 1) && paths.works(2, 1) && !paths.divided() && !paths.still(0, 1, cut));
    }
}
