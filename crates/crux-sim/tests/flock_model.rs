//! Flocking, exhaustively at three nodes: every graph of working pairs, then every other graph at many moments of the
//! first change, with every crash or none; then everything heals. Nothing may get stuck and nothing may change for ever.
//!
//! The moments are a grid over the time in which three fulcrums find each other and over the time in which they part, so
//! that the change falls before, into and after each step of a proposal.

use crux_core::hash::Random;
use crux_names::{Duration, Time};
use crux_sim::flocks::{Bird, Flocks, bird, check, flocks, member, until_shape};
use crux_sim::invariants::{Rules, flocking};
use crux_sim::world::Weather;

/// All pairs of so many places; bit `i` of a graph says whether the `i`th works.
fn pairs(size: usize) -> Vec<(usize, usize)> {
    (0..size).flat_map(|a| (a + 1..size).map(move |b| (a, b))).collect()
}

fn set_graph(world: &mut Flocks, graph: usize) {
    for (bit, (a, b)) in pairs(world.slots.len()).into_iter().enumerate() {
        let works = graph >> bit & 1 == 1;
        world.set_path(a, b, works);
        world.set_path(b, a, works);
    }
}

fn run_to(world: &mut Flocks, rules: &mut Rules, end: Time) {
    world.run_until(end, &mut |world| check(world, rules));
}

fn installs(world: &Flocks) -> usize {
    world.slots.iter().filter_map(|slot| slot.node.as_ref()).map(|bird| bird.installed.len()).sum()
}

/// E2, E3: the living are partitioned into agreed flocks, each a clique of working pairs.
fn partition_of_cliques(world: &Flocks, graph: usize) -> Result<(), String> {
    let pairs = pairs(world.slots.len());
    let works = |a: usize, b: usize| {
        let pair = (a.min(b), a.max(b));
        pairs.iter().position(|p| *p == pair).is_none_or(|bit| graph >> bit & 1 == 1)
    };
    for (at, slot) in world.slots.iter().enumerate() {
        let Some(bird) = &slot.node else { continue };
        for seat in &bird.flock.view().roster {
            let Some(other) = world.slots.iter().position(|s| s.member == seat.member && s.node.is_some()) else {
                return Err(format!("{} still has {} in its view", slot.member, seat.member));
            };
            let theirs = world.slots[other].node.as_ref().expect("it lives").flock.view().id();
            if theirs != bird.flock.view().id() {
                return Err(format!("{} and {} do not agree on their view", slot.member, seat.member));
            }
            if other != at && !works(at, other) {
                return Err(format!("{} and {} share a view over a broken pair", slot.member, seat.member));
            }
        }
    }
    // No two flocks could merge: between any two of them some pair is broken.
    for (at, slot) in world.slots.iter().enumerate() {
        for (other, theirs) in world.slots.iter().enumerate().skip(at + 1) {
            let (Some(a), Some(b)) = (&slot.node, &theirs.node) else { continue };
            let (a, b) = (a.flock.view(), b.flock.view());
            let place = |m: &crux_names::Member| world.slots.iter().position(|s| s.member == *m).unwrap_or(at);
            let union = a.roster.iter().chain(&b.roster).map(|seat| place(&seat.member)).collect::<Vec<_>>();
            let clique = union.iter().all(|x| union.iter().all(|y| x == y || works(*x, *y)));
            if a.id() != b.id() && clique {
                return Err(format!("the flocks of {} and {} could be one", slot.member, world.slots[other].member));
            }
        }
    }
    Ok(())
}

fn birds(world: &Flocks) -> impl Iterator<Item = &Bird> {
    world.slots.iter().filter_map(|slot| slot.node.as_ref())
}

fn one_history(size: usize, first: usize, second: usize, crash: Option<usize>, moment: Duration, seed: u64) {
    let story = format!("size {size}, graph {first:b} then {second:b} at {moment:?}, crash {crash:?}, seed {seed}");
    let all = (1 << pairs(size).len()) - 1;
    let mut rules = flocking();
    let mut world = flocks(size, seed, Weather::default());
    set_graph(&mut world, first);
    let change = world.now + moment;
    run_to(&mut world, &mut rules, change);
    set_graph(&mut world, second);
    if let Some(place) = crash {
        world.crash(place);
    }
    let quiet = world.now + Duration::from_secs(25);
    run_to(&mut world, &mut rules, quiet);
    partition_of_cliques(&world, second).unwrap_or_else(|why| panic!("{story}: {why}"));
    let before = installs(&world);
    // E6: each part is stable but for the moments in which a refused flock asks again.
    let mut stable = vec![0; size];
    for _ in 0..15 {
        let later = world.now + Duration::from_secs(1);
        run_to(&mut world, &mut rules, later);
        for (slot, count) in world.slots.iter().zip(&mut stable) {
            *count += usize::from(slot.node.as_ref().is_none_or(|bird| bird.flock.stable(world.now)));
        }
    }
    assert_eq!(before, installs(&world), "{story}: views still change");
    let lacking: Vec<_> = birds(&world).map(|bird| bird.flock.status(world.now).lacking).collect();
    assert!(stable.iter().all(|count| *count >= 8), "{story}: stable in {stable:?} of 15 seconds; lacking {lacking:?}");
    // E8: after the heal it is as good as fresh.
    set_graph(&mut world, all);
    if let Some(place) = crash {
        let node = bird(world.now, place, size, 2, seed);
        world.restart(place, member(place, 2), node);
    }
    let whole: Vec<String> = (1..=size).map(|n| format!("n{n}")).collect();
    until_shape(&mut world, &whole.join(","), Duration::from_secs(12)).unwrap_or_else(|why| panic!("{story}: {why}"));
}

/// 0.45 s to 1.5 s is the finding; from then to 6 s the flock stands and may be about to part.
fn moment(step: u64, steps: u64) -> Duration {
    let half = steps / 2;
    let micros =
        if step < half { 450_000 + step * 1_050_000 / half } else { 1_500_000 + (step - half) * 4_500_000 / half };
    Duration::from_micros(micros)
}

fn all_histories_from(first: usize) {
    const STEPS: u64 = 24;
    for second in 0..8 {
        for crash in [None, Some(0), Some(1), Some(2)] {
            for step in 0..STEPS {
                let seed = first as u64 * 1000 + second as u64 * 100 + step;
                one_history(3, first, second, crash, moment(step, STEPS), seed);
            }
        }
    }
}

/// Four nodes: every pair of graphs once, at a moment and with a crash that follow from the pair.
#[test]
fn four_nodes_every_pair_of_graphs() {
    for first in 0..64 {
        for second in 0..64 {
            let at = (first * 64 + second) as u64;
            let crash = Some((at % 7) as usize).filter(|place| *place < 4);
            one_history(4, first, second, crash, moment(at % 16, 16), at);
        }
    }
}

/// Five nodes: graphs, moment and crash drawn from the seed.
#[test]
fn five_nodes_many_graphs() {
    for seed in 0..1500 {
        let mut random = Random::new(seed);
        let (first, second) = (random.below(1024) as usize, random.below(1024) as usize);
        let crash = Some(random.below(9) as usize).filter(|place| *place < 5);
        one_history(5, first, second, crash, moment(random.below(40), 40), seed);
    }
}

macro_rules! from_graph {
    ($($name:ident: $graph:literal),*) => { $(
        #[test]
        fn $name() {
            all_histories_from($graph);
        }
    )* };
}

from_graph! {
    no_pair_works_at_first: 0b000,
    only_the_first_pair_works_at_first: 0b001,
    only_the_second_pair_works_at_first: 0b010,
    only_the_first_meets_both_at_first: 0b011,
    only_the_third_pair_works_at_first: 0b100,
    only_the_second_meets_both_at_first: 0b101,
    only_the_third_meets_both_at_first: 0b110,
    all_pairs_work_at_first: 0b111
}
