//! SHA-256, and a small seeded generator for the few decisions that want chance.

use alloc::vec::Vec;
use crux_names::{FulcrumId, Hash256};
use sha2::{Digest, Sha256};

/// The SHA-256 of these bytes.
#[must_use]
pub fn sha256(bytes: &[u8]) -> Hash256 {
    Hash256(Sha256::digest(bytes).into())
}

/// A stable 64-bit hash of some text parts, for tie-breaking that is alike everywhere.
#[must_use]
pub fn stable64(parts: &[&str]) -> u64 {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    let digest: [u8; 32] = hasher.finalize().into();
    u64::from_be_bytes([digest[0], digest[1], digest[2], digest[3], digest[4], digest[5], digest[6], digest[7]])
}

/// A quick 64-bit hash of two texts, for tables in memory only: the multiply and rotate of FxHash, eight bytes at a time.
#[must_use]
pub fn quick64(a: &str, b: &str) -> u64 {
    const FACTOR: u64 = 0x517c_c1b7_2722_0a95;
    let mut hash = 0_u64;
    let mut mix = |word: u64| hash = (hash.rotate_left(5) ^ word).wrapping_mul(FACTOR);
    for text in [a, b] {
        mix(text.len() as u64);
        for piece in text.as_bytes().chunks(8) {
            let mut word = [0; 8];
            word[..piece.len()].copy_from_slice(piece);
            mix(u64::from_le_bytes(word));
        }
    }
    // The upper bits are those that count.
    Random(hash).next()
}

/// The hash by which tables in memory find a fulcrum.
#[must_use]
pub fn fulcrum64(id: &FulcrumId) -> u64 {
    quick64(id.node.as_str(), id.fulcrum.as_str())
}

/// Places in a list by hashes that are as good as random: one look at where those with the same upper bits begin, and a
/// walk over the few there are.
#[derive(Clone, Debug, Default)]
pub struct Buckets {
    by_hash: Vec<(u64, u32)>,
    begins: Vec<u32>,
    shift: u32,
}

impl Buckets {
    /// Of the hashes of the list's entries, in its order.
    #[must_use]
    pub fn new(hashes: impl IntoIterator<Item = u64>) -> Self {
        let mut by_hash: Vec<(u64, u32)> = hashes.into_iter().zip(0..).collect();
        by_hash.sort_unstable();
        let buckets = by_hash.len().next_power_of_two().max(2);
        let shift = 64 - buckets.trailing_zeros();
        let mut begins = Vec::with_capacity(buckets + 1);
        let mut at = 0;
        for bucket in 0..=buckets as u64 {
            while by_hash.get(at).is_some_and(|(hash, _)| hash >> shift < bucket) {
                at += 1;
            }
            begins.push(u32::try_from(at).unwrap_or(u32::MAX));
        }
        Self { by_hash, begins, shift }
    }

    /// The places of entries with this hash.
    pub fn of(&self, hash: u64) -> impl Iterator<Item = u32> {
        let bucket = if self.shift == 0 { 0 } else { usize::try_from(hash >> self.shift).unwrap_or(0) };
        let (from, to) = match (self.begins.get(bucket), self.begins.get(bucket + 1)) {
            (Some(from), Some(to)) => (*from as usize, *to as usize),
            _ => (0, 0),
        };
        self.by_hash[from..to].iter().filter(move |(there, _)| *there == hash).map(|(_, at)| *at)
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): small, fast, good enough for jitter and for names. Never for keys.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A generator that gives the same numbers for the same seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 if `bound` is 0.
    pub const fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.next() % bound }
    }
}
