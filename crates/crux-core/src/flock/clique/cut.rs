//! Who cannot reach whom, as lists or as a bitmap.

use super::get;
use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

/// Who cannot reach whom among the members `0..n`. A broken pair is broken for both.
#[derive(Clone, Debug)]
pub struct Cut {
    n: usize,
    pairs: Pairs,
}

#[derive(Clone, Debug)]
enum Pairs {
    /// Those that `v` cannot reach are `to[start[v]..start[v + 1]]`, in order, each once.
    Lists { start: Vec<usize>, to: Vec<u32> },
    /// One row of `words` words for each member.
    Rows { words: usize, bits: Vec<u64> },
}

impl Cut {
    /// The cut made of these pairs, which may come in any order and more than once. Pairs of one with itself and of
    /// members beyond `n` are ignored. Quickest for many pairs if they are in order.
    #[must_use]
    pub fn of(n: usize, broken: &[(u32, u32)]) -> Self {
        // Lists take 8 bytes a pair, a bitmap n²/8 in all. Lists stay quicker to walk up to about there.
        if broken.len() < n * n / 64 { Self::lists(n, broken) } else { Self::rows(n, broken) }
    }

    /// The cut made of these rows of bits, `words` = ⌈n / 64⌉ words each: bit `b` of row `a` says that `a` cannot reach
    /// `b`. That one of the two says so is enough. Bits beyond `n` must be clear.
    ///
    /// # Panics
    /// If there are not `n` rows of ⌈n / 64⌉ words.
    #[must_use]
    pub fn of_rows(n: usize, mut bits: Vec<u64>) -> Self {
        let words = n.div_ceil(64);
        assert_eq!(bits.len(), n * words, "{n} members need {n} rows of {words} words");
        bits.resize(words * words * 64, 0);
        mirror(&mut bits, words, false);
        for v in 0..n {
            bits[v * words + v / 64] &= !(1 << (v % 64));
        }
        Self { n, pairs: Pairs::Rows { words, bits } }
    }

    fn lists(n: usize, broken: &[(u32, u32)]) -> Self {
        let valid = || broken.iter().copied().filter(|&(a, b)| a != b && (a.max(b) as usize) < n);
        let mut start = vec![0_usize; n + 1];
        for (a, b) in valid() {
            start[a as usize + 1] += 1;
            start[b as usize + 1] += 1;
        }
        for v in 0..n {
            start[v + 1] += start[v];
        }
        let mut at = start.clone();
        let mut to = vec![0_u32; start[n]];
        for (a, b) in valid() {
            to[at[a as usize]] = b;
            at[a as usize] += 1;
            to[at[b as usize]] = a;
            at[b as usize] += 1;
        }
        // Each once, in order, and the lists close together again.
        let mut end = 0;
        for v in 0..n {
            let (from, till) = (start[v], start[v + 1]);
            to[from..till].sort_unstable();
            start[v] = end;
            let mut last = None;
            for at in from..till {
                if last != Some(to[at]) {
                    last = Some(to[at]);
                    to[end] = to[at];
                    end += 1;
                }
            }
        }
        start[n] = end;
        to.truncate(end);
        Self { n, pairs: Pairs::Lists { start, to } }
    }

    pub(super) fn rows(n: usize, broken: &[(u32, u32)]) -> Self {
        let words = n.div_ceil(64);
        let mut bits = vec![0_u64; words * words * 64];
        // Only one half is filled, which for pairs in order is a walk along rows; the other is made from it. Bits of one
        // word are gathered before they are written: millions of pairs come in no longer than it takes to read them.
        let (mut row, mut column, mut word) = (u32::MAX, 0, 0_u64);
        let full = (n / 64) as u32;
        for &(a, b) in broken {
            if a == row && b / 64 == column {
                word |= 1 << (b % 64);
                continue;
            }
            if row != u32::MAX {
                bits[row as usize * words + column as usize] |= word;
                (row, word) = (u32::MAX, 0);
            }
            let (low, high) = (a.min(b) as usize, a.max(b) as usize);
            if a / 64 < b / 64 && b / 64 < full {
                (row, column, word) = (a, b / 64, 1 << (b % 64));
            } else if high < n && low != high {
                bits[low * words + high / 64] |= 1 << (high % 64);
            }
        }
        if row != u32::MAX {
            bits[row as usize * words + column as usize] |= word;
        }
        mirror(&mut bits, words, true);
        Self { n, pairs: Pairs::Rows { words, bits } }
    }

    /// How many members it is about.
    pub(super) fn n(&self) -> usize {
        self.n
    }

    /// How many others `v` cannot reach.
    pub(super) fn degree(&self, v: u32) -> u32 {
        match &self.pairs {
            Pairs::Lists { start, .. } => (start[v as usize + 1] - start[v as usize]) as u32,
            Pairs::Rows { words, bits } => row(bits, *words, v).iter().map(|word| word.count_ones()).sum(),
        }
    }

    /// Calls `each` for everybody in `inside` whom `v` cannot reach, in order.
    pub(super) fn neighbours(&self, v: u32, inside: &[u64], mut each: impl FnMut(u32)) {
        match &self.pairs {
            Pairs::Lists { start, to } => {
                let list = &to[start[v as usize]..start[v as usize + 1]];
                list.iter().copied().filter(|&other| get(inside, other)).for_each(each);
            }
            Pairs::Rows { words, bits } => {
                for (at, (word, mask)) in row(bits, *words, v).iter().zip(inside).enumerate() {
                    let mut left = word & mask;
                    while left != 0 {
                        each((at * 64) as u32 + left.trailing_zeros());
                        left &= left - 1;
                    }
                }
            }
        }
    }

    /// The vertices in seniority order, and the twins of those that have any. Lists are short: there everybody is one.
    pub(super) fn twins(&self) -> (Vec<u32>, BTreeMap<u32, Vec<u32>>) {
        let Pairs::Rows { words, bits } = &self.pairs else {
            return ((0..self.n as u32).collect(), BTreeMap::new());
        };
        let digest = |v: u32| {
            let mix = |sum: u64, word: &u64| (sum.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            row(bits, *words, v).iter().fold(0, mix)
        };
        let mut order: Vec<(u64, u32)> = (0..self.n as u32).map(|v| (digest(v), v)).collect();
        order.sort_unstable();
        let mut firsts = Vec::new();
        let mut twins: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for same in order.chunk_by(|a, b| a.0 == b.0) {
            // Equal digests are a hint, equal rows the proof.
            let mut here: Vec<u32> = Vec::new();
            for &(_, v) in same {
                match here.iter().find(|&&first| row(bits, *words, first) == row(bits, *words, v)) {
                    Some(first) => twins.entry(*first).or_default().push(v),
                    None => here.push(v),
                }
            }
            firsts.append(&mut here);
        }
        firsts.sort_unstable();
        (firsts, twins)
    }
}

fn row(bits: &[u64], words: usize, v: u32) -> &[u64] {
    &bits[v as usize * words..][..words]
}

/// Makes a square bitmap symmetric, block by block of 64 × 64. `upper`: there is nothing below the diagonal yet.
fn mirror(bits: &mut [u64], words: usize, upper: bool) {
    let mut over = [0_u64; 64];
    let mut under = [0_u64; 64];
    for i in 0..words {
        for j in i..words {
            for k in 0..64 {
                over[k] = bits[(i * 64 + k) * words + j];
            }
            if !upper || i == j {
                for k in 0..64 {
                    under[k] = bits[(j * 64 + k) * words + i];
                }
                transpose(&mut under);
                for k in 0..64 {
                    over[k] |= under[k];
                    bits[(i * 64 + k) * words + j] = over[k];
                }
            }
            if over.iter().all(|word| *word == 0) {
                continue;
            }
            transpose(&mut over);
            for k in 0..64 {
                bits[(j * 64 + k) * words + i] |= over[k];
            }
        }
    }
}

/// Transposes a block of 64 × 64 bits, bit `c` of word `r` being column `c` of row `r`: swaps ever smaller quarters.
fn transpose(block: &mut [u64; 64]) {
    let mut width = 32;
    let mut mask = 0x0000_0000_ffff_ffff_u64;
    while width != 0 {
        let mut k = 0;
        while k < 64 {
            let swap = (block[k] >> width ^ block[k + width]) & mask;
            block[k] ^= swap << width;
            block[k + width] ^= swap;
            k = (k + width + 1) & !width;
        }
        width >>= 1;
        mask ^= mask << width;
    }
}
