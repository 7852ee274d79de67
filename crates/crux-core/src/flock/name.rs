//! Flock names: two words made for people, transient labels without meaning.

use super::view::View;
use crate::hash::Random;
use alloc::format;
use alloc::string::String;

const MOODS: [&str; 64] = [
    "able", "airy", "amber", "apt", "azure", "bold", "brave", "brisk", "bright", "calm", "candid", "clear", "clever",
    "cool", "coral", "crisp", "deft", "eager", "early", "easy", "fair", "fleet", "fond", "frank", "fresh", "gentle",
    "glad", "golden", "grand", "green", "hale", "handy", "happy", "hardy", "ivory", "jolly", "keen", "kind", "lively",
    "loyal", "lucid", "mellow", "merry", "mild", "neat", "nimble", "noble", "open", "patient", "placid", "proud",
    "quick", "quiet", "ready", "silver", "sleek", "steady", "still", "sunny", "swift", "tidy", "vivid", "warm",
    "witty",
];

const BIRDS: [&str; 64] = [
    "auk",
    "avocet",
    "bittern",
    "bunting",
    "buzzard",
    "coot",
    "crane",
    "crossbill",
    "crow",
    "cuckoo",
    "curlew",
    "dipper",
    "dove",
    "dunlin",
    "eagle",
    "egret",
    "eider",
    "falcon",
    "finch",
    "flicker",
    "gannet",
    "godwit",
    "goose",
    "grebe",
    "grouse",
    "gull",
    "harrier",
    "hawk",
    "heron",
    "hoopoe",
    "ibis",
    "jackdaw",
    "jay",
    "kestrel",
    "kite",
    "knot",
    "lapwing",
    "lark",
    "linnet",
    "loon",
    "magpie",
    "martin",
    "merlin",
    "oriole",
    "osprey",
    "owl",
    "petrel",
    "pipit",
    "plover",
    "puffin",
    "quail",
    "raven",
    "robin",
    "rook",
    "ruff",
    "shrike",
    "siskin",
    "skua",
    "snipe",
    "starling",
    "stork",
    "swallow",
    "tern",
    "wren",
];

/// How many names there are.
const NAMES: u64 = (MOODS.len() * BIRDS.len()) as u64;
/// Odd, so that a walk in such steps comes by every name once, and neighbours share no word.
const STRIDE: u64 = 2531;

/// A fresh name, for who begins alone.
pub fn mint(random: &mut Random) -> String {
    named(random.below(NAMES))
}

/// The name of a part that lost the leader of `view`, by the seat of who leads the part. Nobody has to be asked: the parts
/// of one view have names of their own, none of which is the view's, for the leader's part keeps that. (A view of more than
/// 4,095 members may repeat one.)
pub fn of_part(view: &View, seat: usize) -> String {
    let mut begin = [0; 8];
    begin.copy_from_slice(&view.id().hash[..8]);
    let step = 1 + (u64::from_be_bytes(begin) % (NAMES - 1) + seat as u64) % (NAMES - 1);
    named((number(&view.head.header.name) + step * STRIDE) % NAMES)
}

fn named(number: u64) -> String {
    let words = MOODS.len() as u64;
    format!("{}-{}", MOODS[(number / words) as usize], BIRDS[(number % words) as usize])
}

/// The number of a name; of one that is not from here, any that is the same for everybody.
fn number(name: &str) -> u64 {
    let known = name.split_once('-').and_then(|(mood, bird)| {
        let mood = MOODS.iter().position(|word| *word == mood)?;
        let bird = BIRDS.iter().position(|word| *word == bird)?;
        Some((mood * MOODS.len() + bird) as u64)
    });
    known.unwrap_or_else(|| name.bytes().fold(0, |sum, byte| (sum * 31 + u64::from(byte)) % NAMES))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flock::view::Seat;
    use alloc::collections::BTreeSet;
    use alloc::vec::Vec;
    use crux_names::{BlocName, Boot, FulcrumId, Member};

    fn view(name: &str, size: usize, epoch: u64) -> View {
        let seats: Vec<Seat> = (0..size)
            .map(|at| {
                let id: FulcrumId = format!("n{at}").parse().expect("a name");
                Seat {
                    member: Member { id, boot: Boot(1) },
                    addr: "10.0.0.1:7101".parse().expect("an address"),
                    visitor: false,
                }
            })
            .collect();
        let bloc: BlocName = "acme".parse().expect("a bloc");
        View::make(&bloc, epoch, seats, name.into(), 0, &[]).expect("a view")
    }

    #[test]
    fn every_name_has_its_number() {
        assert!((0..NAMES).all(|at| number(&named(at)) == at));
        assert!(number("of-elsewhere") < NAMES && number("") < NAMES);
    }

    #[test]
    fn parts_of_one_view_have_names_of_their_own() {
        for (name, size, epoch) in [("early-magpie", 6, 3), ("able-auk", 2, 9), ("of-elsewhere", 1000, 77)] {
            let view = view(name, size, epoch);
            let names: BTreeSet<String> = (1..size).map(|seat| of_part(&view, seat)).collect();
            assert_eq!(names.len(), size - 1, "{names:?}");
            assert!(!names.contains(name));
        }
    }

    #[test]
    fn a_part_that_splits_again_is_not_called_as_before() {
        let names: BTreeSet<String> = (1..20).map(|epoch| of_part(&view("early-magpie", 6, epoch), 1)).collect();
        assert!(names.len() > 15, "{names:?}");
    }
}
