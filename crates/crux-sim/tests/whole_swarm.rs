//! Whole engines, at random: a few hundred seeds, each under its own faults. `cargo xtask sim --seeds A..B` runs more.

use crux_sim::swarm::{Options, Outcome, Swarm};

fn seed(seed: u64) -> Outcome {
    Swarm::new(Options::of(seed, None)).run().unwrap_or_else(|failure| panic!("{failure}"))
}

/// Runs these, and demands that they tested something.
fn seeds(range: std::ops::Range<u64>) {
    let (mut acknowledged, mut marks) = (0, std::collections::BTreeSet::new());
    let runs = range.end - range.start;
    for at in range {
        let outcome = seed(at);
        acknowledged += outcome.acknowledged;
        marks.extend(outcome.marks);
    }
    assert!(acknowledged as u64 >= runs, "only {acknowledged} writes were acknowledged in {runs} runs");
    for point in [
        "a blank disk was filled again",
        "a write converged",
        "starts waited for a split's hold",
        "two sides settled apart",
        "with sick disks the others went on",
    ] {
        assert!(marks.contains(point), "in {runs} runs never: {point}");
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for at in [3, 7, 11] {
        let (one, two) = (seed(at), seed(at));
        assert!(!one.digests.is_empty());
        assert_eq!(one, two);
    }
}

#[test]
fn seeds_0_to_50() {
    seeds(0..50);
}

#[test]
fn seeds_50_to_100() {
    seeds(50..100);
}

#[test]
fn seeds_100_to_150() {
    seeds(100..150);
}

#[test]
fn seeds_150_to_200() {
    seeds(150..200);
}
