//! Flock names: two words made for people, transient labels without meaning.

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

/// A fresh name.
pub fn mint(random: &mut Random) -> String {
    let mood = MOODS[random.below(MOODS.len() as u64) as usize];
    let bird = BIRDS[random.below(BIRDS.len() as u64) as usize];
    format!("{mood}-{bird}")
}
