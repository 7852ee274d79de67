//! Ids by their first byte: 256 ranges, each with a hash of its own. A change costs the hash of one range and of the
//! list of hashes, however many facts there are; and two stores find out with two kilobytes in which ranges they differ.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::ops::RangeInclusive;
use crux_names::Hash256;
use sha2::{Digest, Sha256};

/// How many ranges there are: as many as a first byte has values.
pub const RANGES: usize = 256;

/// Some of the ranges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RangeSet([u8; RANGES / 8]);

impl RangeSet {
    /// Every range.
    pub const ALL: Self = Self([0xff; RANGES / 8]);

    /// The set with these bits, the lowest bit of the first byte for ids that begin with 0; `None` if there are not
    /// exactly 32 bytes.
    #[must_use]
    pub fn read(bits: &[u8]) -> Option<Self> {
        bits.try_into().ok().map(Self)
    }

    /// Its bits, as [`RangeSet::read`] takes them.
    #[must_use]
    pub const fn bits(&self) -> &[u8; RANGES / 8] {
        &self.0
    }

    /// Whether an id is in one of these ranges.
    #[must_use]
    pub fn has(&self, id: &Hash256) -> bool {
        let first = usize::from(id.0[0]);
        self.0[first / 8] & (1 << (first % 8)) != 0
    }

    fn add(&mut self, range: usize) {
        self.0[range / 8] |= 1 << (range % 8);
    }
}

/// The hashes of all ranges.
#[derive(Clone, Debug)]
pub(super) struct Ranges {
    hashes: Box<[[u8; 32]; RANGES]>,
    /// Ranges in which something changed since their hash was taken.
    stale: BTreeSet<u8>,
}

impl Ranges {
    pub(super) fn new() -> Self {
        let empty: [u8; 32] = Sha256::digest([]).into();
        Self { hashes: Box::new([empty; RANGES]), stale: BTreeSet::new() }
    }

    /// Something came or went.
    pub(super) fn touch(&mut self, id: &Hash256) {
        self.stale.insert(id.0[0]);
    }

    /// Takes the hashes of the ranges that changed, and the hash of all.
    pub(super) fn settle(&mut self, ids: &BTreeSet<Hash256>) -> Hash256 {
        for range in core::mem::take(&mut self.stale) {
            let mut hasher = Sha256::new();
            ids.range(bounds(range)).for_each(|id| hasher.update(id.0));
            self.hashes[usize::from(range)] = hasher.finalize().into();
        }
        let mut hasher = Sha256::new();
        self.hashes.iter().for_each(|hash| hasher.update(hash));
        Hash256(hasher.finalize().into())
    }

    /// The first eight bytes of each hash, as a number.
    pub(super) fn short(&self) -> Vec<u64> {
        let first = |hash: &[u8; 32]| u64::from_be_bytes(hash[..8].try_into().unwrap_or_default());
        self.hashes.iter().map(first).collect()
    }

    /// The ranges in which a peer with these hashes has other ids; all that it does not speak of.
    pub(super) fn other(&self, theirs: &[u64]) -> Option<RangeSet> {
        let mut set = RangeSet([0; RANGES / 8]);
        let mine = self.short();
        (0..RANGES).filter(|range| theirs.get(*range) != mine.get(*range)).for_each(|range| set.add(range));
        (set.0 != [0; RANGES / 8]).then_some(set)
    }
}

fn bounds(range: u8) -> RangeInclusive<Hash256> {
    let (mut first, mut last) = ([0; 32], [0xff; 32]);
    (first[0], last[0]) = (range, range);
    Hash256(first)..=Hash256(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(first: u8, rest: u8) -> Hash256 {
        let mut id = [rest; 32];
        id[0] = first;
        Hash256(id)
    }

    fn of(ids: &[Hash256]) -> (Ranges, Hash256) {
        let (mut ranges, ids) = (Ranges::new(), ids.iter().copied().collect());
        let _: &BTreeSet<Hash256> = &ids;
        ids.iter().for_each(|id| ranges.touch(id));
        let digest = ranges.settle(&ids);
        (ranges, digest)
    }

    #[test]
    fn a_digest_says_what_is_there_and_not_how_it_came() {
        let all = [id(0, 0), id(0, 0xff), id(1, 7), id(255, 0), id(255, 0xff)];
        let (mut ranges, digest) = of(&all);
        let mut backwards = all;
        backwards.reverse();
        assert_eq!(of(&backwards).1, digest);
        // Each one counts, also the first and the last of a range.
        for left_out in all {
            let rest: Vec<Hash256> = all.into_iter().filter(|id| *id != left_out).collect();
            assert_ne!(of(&rest).1, digest, "{left_out:?}");
            // And one that goes leaves nothing behind.
            ranges.touch(&left_out);
            assert_eq!(ranges.settle(&rest.iter().copied().collect()), of(&rest).1);
            ranges.touch(&left_out);
            assert_eq!(ranges.settle(&all.into_iter().collect()), digest);
        }
        assert_ne!(of(&[]).1, digest);
    }

    #[test]
    fn the_ranges_that_differ_are_found_and_no_others() {
        let (mine, theirs) = (of(&[id(0, 1), id(3, 1), id(9, 1)]).0, of(&[id(0, 1), id(3, 2), id(200, 1)]).0);
        let set = mine.other(&theirs.short()).unwrap();
        let differ: Vec<u8> = (0..=255).filter(|first| set.has(&id(*first, 0))).collect();
        assert_eq!(differ, [3, 9, 200]);
        assert_eq!(RangeSet::read(set.bits()), Some(set));
        assert_eq!(RangeSet::read(&[0; 31]), None);
        assert_eq!(mine.other(&mine.short()), None);
        assert_eq!(mine.other(&[]), Some(RangeSet::ALL));
    }
}
