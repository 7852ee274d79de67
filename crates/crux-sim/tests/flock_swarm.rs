//! Flocking under faults of every class drawn from a seed, in two phases: faults at any pace, then all heals or the network
//! stays in a shape from the seed, and what must come to hold is waited for. `cargo xtask sim --flock --seeds A..B` runs
//! more.

use crux_names::Duration;
use crux_sim::flock_swarm::{FAULTS, FlockSwarm, Options, Outcome};
use crux_sim::flocks::{addr, bird, check, flocks, member, shape, until_shape};
use crux_sim::invariants::flocking;
use crux_sim::world::Weather;
use std::collections::BTreeMap;

fn seed(seed: u64, nodes: Option<usize>) -> Outcome {
    FlockSwarm::new(Options::of(seed, nodes)).run().unwrap_or_else(|failure| panic!("{failure}"))
}

/// Runs these, and demands that every class of faults was among them.
fn small_worlds(seeds: std::ops::Range<u64>) {
    let mut faults = BTreeMap::new();
    for at in seeds {
        let outcome = seed(at, Some(3 + (at % 6) as usize));
        outcome.faults.iter().for_each(|(name, count)| *faults.entry(*name).or_insert(0) += count);
    }
    for name in FAULTS.iter().map(|(_, name)| *name).chain(["visitor"]) {
        assert!(faults.contains_key(name), "no {name} in these runs");
    }
}

#[test]
fn small_worlds_0_to_80() {
    small_worlds(0..80);
}

#[test]
fn small_worlds_80_to_160() {
    small_worlds(80..160);
}

#[test]
fn small_worlds_160_to_240() {
    small_worlds(160..240);
}

/// Each of these showed a bug once: docs/track-record.md.
#[test]
fn seeds_that_failed_once() {
    for (nodes, seeds) in [
        (Some(3), &[1827, 1948, 2030, 2487, 3412, 4201, 7589, 9387][..]),
        (Some(5), &[39, 360, 3712, 641, 726, 1137, 1869, 2329, 5438, 5765, 7221, 9192][..]),
        (None, &[62, 296, 508, 599, 939, 1192, 5060][..]),
    ] {
        for at in seeds {
            // As they were then.
            let options = Options { visitor: None, ..Options::of(*at, nodes) };
            FlockSwarm::new(options).run().unwrap_or_else(|failure| panic!("{failure}"));
        }
    }
}

/// The same, with all that is drawn from a seed by now.
#[test]
fn seeds_that_failed_since() {
    for (nodes, seeds) in [
        (Some(7), &[82][..]),
        (Some(5), &[330, 792, 2256, 4677][..]),
        (None, &[230, 405, 519, 1290, 1633, 1719, 1725, 1759, 2100, 2137, 3139, 3717, 4480, 4795, 5423][..]),
        (None, &[10301, 10629, 10812, 10944, 11205, 11912, 21149, 21817, 30025, 50279][..]),
    ] {
        seeds.iter().for_each(|at| drop(seed(*at, nodes)));
    }
}

#[test]
fn worlds_of_up_to_forty() {
    (1000..1016).for_each(|at| drop(seed(at, None)));
}

/// A12.
#[test]
fn the_same_seed_gives_the_same_trace() {
    for at in 0..6 {
        assert_eq!(seed(at, Some(6)), seed(at, Some(6)));
    }
    assert_ne!(seed(0, Some(6)).trace, seed(1, Some(6)).trace);
}

#[test]
fn everybody_is_started_again_at_once() {
    for seed in 0..10 {
        let mut world = flocks(5, seed, Weather::default());
        let mut rules = flocking();
        let end = world.now + Duration::from_secs(8);
        world.run_until(end, &mut |world| check(world, &mut rules));
        for place in 0..5 {
            world.crash(place);
        }
        for place in 0..5 {
            let node = bird(world.now, place, 5, 2, seed);
            world.restart(place, member(place, 2), node);
        }
        let took = until_shape(&mut world, "n1,n2,n3,n4,n5", Duration::from_secs(10)).unwrap();
        assert!(took <= Duration::from_secs(4), "seed {seed}: {took:?}");
    }
}

#[test]
fn of_two_lives_of_one_identity_the_known_one_is_kept_and_an_alarm_raised() {
    let mut world = flocks(3, 1, Weather::default());
    let end = world.now + Duration::from_secs(8);
    world.run_until(end, &mut |_| {});
    // A copy of n2's state directory, on a fourth machine, with a newer boot.
    let copy = bird(world.now, 1, 3, 9, 77);
    world.add(member(1, 9), addr(3), copy);
    let end = world.now + Duration::from_secs(30);
    let mut rules = flocking();
    world.run_until(end, &mut |world| check(world, &mut rules));
    assert_eq!(shape(&world), "n1,n2,n3 / n2", "the known one stays, the copy is alone");
    assert!(world.slots[0].node.as_ref().unwrap().clones > 0, "an alarm names both");
    let changes = world.slots[0].node.as_ref().unwrap().installed.len();
    let end = world.now + Duration::from_secs(60);
    world.run_until(end, &mut |world| check(world, &mut rules));
    let after = world.slots[0].node.as_ref().unwrap().installed.len();
    assert!(after - changes <= 3, "at most three membership changes a minute: {}", after - changes);
    // The known one stands still for less than what makes a member lost. The copy, which comes every second, stays outside.
    let before = world.slots[0].node.as_ref().unwrap().flock.view().id().clone();
    for _ in 0..5 {
        world.pause(1, Duration::from_millis(1800));
        let end = world.now + Duration::from_secs(7);
        world.run_until(end, &mut |world| check(world, &mut rules));
    }
    assert_eq!(*world.slots[0].node.as_ref().unwrap().flock.view().id(), before, "{}", shape(&world));
}

#[test]
fn who_leaves_on_purpose_is_gone_at_once() {
    let mut world = flocks(4, 2, Weather::default());
    let end = world.now + Duration::from_secs(8);
    world.run_until(end, &mut |_| {});
    world.poke(0, |bird, now, out| bird.input(now, crux_core::flock::Input::Leave, out));
    let end = world.now + Duration::from_millis(5);
    world.run_until(end, &mut |_| {});
    world.crash(0);
    let took = until_shape(&mut world, "n2,n3,n4", Duration::from_secs(5)).unwrap();
    assert!(took <= Duration::from_secs(1), "{took:?}");
    let end = world.now + Duration::from_secs(8);
    world.run_until(end, &mut |_| {});
    let outside = world.slots[1].node.as_ref().unwrap().flock.status(world.now).outside;
    assert_eq!(outside.len(), 1);
    assert_eq!(outside[0].why, "it left on purpose");
}
