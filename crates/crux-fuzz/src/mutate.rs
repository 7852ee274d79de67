//! From good inputs to bad ones, the same for the same seed on every machine.

/// A small generator (splitmix64): the same numbers for ever from one seed.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// From this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub fn any(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below this limit; 0 for a limit of 0.
    pub fn below(&mut self, limit: usize) -> usize {
        let limit = limit.max(1) as u64;
        usize::try_from(self.any() % limit).unwrap_or(0)
    }

    /// A byte.
    pub fn byte(&mut self) -> u8 {
        self.any().to_le_bytes()[0]
    }

    /// One of these, if there is any.
    pub fn one_of<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        all.get(self.below(all.len()))
    }
}

/// Bytes at which readers turn: ends of ranges, signs of protobuf, JSON, TOML, DER and of our own texts.
const BYTES: &[u8] = b"\0\x01\x02\x7f\x80\x81\x82\x83\x84\xfe\xff \n\r\t\"'\\/:.,;[]{}()<>=&|!#%+-*_0189aAzZefx@";
/// Numbers at which readers turn.
const NUMBERS: &[u64] = &[
    0,
    1,
    2,
    0x7f,
    0x80,
    0xff,
    0x100,
    0x3fff,
    0x4000,
    0x7fff,
    0x8000,
    0xffff,
    0x1_0000,
    0xf_ffff,
    0x10_0000,
    0x10_0001,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    u64::MAX,
];
/// The same for texts, and texts that once meant two things.
const WORDS: &[&str] = &[
    "-1",
    "+1",
    "00",
    "1e999",
    "-0",
    "NaN",
    "18446744073709551615",
    "18446744073709551616",
    "4294967296",
    "65536",
    "99999999999999999999999999",
    "..",
    "../",
    "//",
    "\u{0}",
    "\u{430}",
    "\u{1f980}",
    "\u{feff}",
    "%2e",
    "\\u0000",
    "\\ud800",
    "null",
    "[[[[[[[[",
    "{\"\":",
    "((((((((",
    "!!!!!!!!",
    "ADMIN",
    "main",
    "[::]:0",
    "0.0.0.0/0",
    "::/0",
];
/// Longest input that mutation makes from shorter ones.
const LONGEST: usize = 1 << 16;

/// A varint, as protobuf writes it.
fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
    bytes
}

/// A number in one of the ways in which numbers stand in bytes.
fn number(dice: &mut Dice) -> Vec<u8> {
    let value = NUMBERS[dice.below(NUMBERS.len())].wrapping_add(dice.below(3) as u64).wrapping_sub(1);
    match dice.below(6) {
        0 => value.to_be_bytes()[6..].to_vec(),
        1 => value.to_be_bytes()[4..].to_vec(),
        2 => value.to_be_bytes().to_vec(),
        3 => value.to_le_bytes().to_vec(),
        4 => value.to_string().into_bytes(),
        _ => varint(value),
    }
}

/// Another input from this one and others of its kind: one to six changes.
#[must_use]
pub fn mutate(from: &[u8], others: &[Vec<u8>], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = from.to_vec();
    for _ in 0..=dice.below(6) {
        change(&mut bytes, others, dice);
    }
    bytes.truncate(LONGEST.max(from.len()));
    bytes
}

fn change(bytes: &mut Vec<u8>, others: &[Vec<u8>], dice: &mut Dice) {
    let at = dice.below(bytes.len() + 1);
    let there = at < bytes.len();
    let piece = |bytes: &[u8], dice: &mut Dice| {
        let begin = dice.below(bytes.len());
        let most = if dice.below(8) == 0 { bytes.len() } else { 40 };
        let length = dice.below(most + 1).min(bytes.len().saturating_sub(begin));
        bytes[begin..begin + length].to_vec()
    };
    match dice.below(15) {
        0 if there => bytes[at] ^= 1 << dice.below(8),
        1 if there => bytes[at] = dice.byte(),
        2 if there => bytes[at] = BYTES[dice.below(BYTES.len())],
        // Lengths and counts lie by one more often than by a thousand.
        3 if there => bytes[at] = bytes[at].wrapping_add(1),
        4 if there => bytes[at] = bytes[at].wrapping_sub(1),
        5 => bytes.truncate(at),
        6 => bytes.insert(at, dice.byte()),
        7 => bytes.insert(at, BYTES[dice.below(BYTES.len())]),
        8 if there => {
            let end = (at + 1 + dice.below(16)).min(bytes.len());
            bytes.drain(at..end);
        }
        9 => {
            let copied = piece(bytes, dice);
            bytes.splice(at..at, copied);
        }
        10 => {
            // Many times the same: depth and number.
            let copied = piece(bytes, dice);
            let times = 1 << dice.below(9);
            if copied.len() * times <= LONGEST {
                bytes.splice(at..at, copied.repeat(times));
            }
        }
        11 => {
            if let Some(other) = dice.one_of(others) {
                let taken = piece(other, dice);
                let end = (at + dice.below(2) * taken.len()).min(bytes.len());
                bytes.splice(at..end, taken);
            }
        }
        12 => {
            // The beginning of this one and the end of another.
            if let Some(other) = dice.one_of(others) {
                bytes.truncate(at);
                bytes.extend_from_slice(&other[dice.below(other.len() + 1)..]);
            }
        }
        13 => {
            let number = number(dice);
            let end = (at + dice.below(2) * number.len()).min(bytes.len());
            bytes.splice(at..end, number);
        }
        14 => {
            let word = WORDS[dice.below(WORDS.len())].bytes();
            bytes.splice(at..at, word);
        }
        _ => {
            if there {
                bytes[at] = !bytes[at];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_the_same_inputs_for_ever_and_another_seed_others() {
        let others = [b"a second input".to_vec()];
        let run = |seed| {
            let mut dice = Dice::new(seed);
            (0..200).map(|_| mutate(b"a first input", &others, &mut dice)).collect::<Vec<_>>()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
        let distinct: std::collections::BTreeSet<_> = run(1).into_iter().collect();
        assert!(distinct.len() > 150, "{}", distinct.len());
        assert!(distinct.iter().any(|input| input.len() > 60) && distinct.iter().any(|input| input.len() < 8));
    }

    #[test]
    fn a_varint_is_what_protobuf_reads() {
        for value in NUMBERS {
            let bytes = varint(*value);
            assert_eq!(prost::encoding::decode_varint(&mut &bytes[..]), Ok(*value));
        }
    }

    #[test]
    fn nothing_at_all_can_be_mutated_too() {
        let mut dice = Dice::new(7);
        assert!((0..500).any(|_| !mutate(b"", &[], &mut dice).is_empty()));
    }
}
