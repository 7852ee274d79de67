//! Flocking, scripted: the cases that the design names, each on the real step function.

use crux_core::flock::Apart;
use crux_names::Duration;
use crux_sim::flocks::{Bird, Flocks, Meter, bird, check, flocks, member, shape, until_shape};
use crux_sim::invariants::flocking;
use crux_sim::world::{Slot, Weather};

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Runs so long under the safety rules.
fn run(world: &mut Flocks, time: Duration) {
    let mut rules = flocking();
    let end = world.now + time;
    world.run_until(end, &mut |world| check(world, &mut rules));
}

fn cut(world: &mut Flocks, a: &[usize], b: &[usize], works: bool) {
    for &x in a {
        for &y in b {
            world.set_path(x, y, works);
            world.set_path(y, x, works);
        }
    }
}

fn settled(size: usize, seed: u64) -> Flocks {
    let mut world = flocks(size, seed, Weather::default());
    run(&mut world, seconds(8));
    world
}

const FIVE: &str = "n1,n2,n3,n4,n5";

#[test]
fn five_cold_starts_with_mutual_asks_become_one_stable_flock() {
    for seed in 0..20 {
        let mut world = flocks(5, seed, Weather::default());
        let took = until_shape(&mut world, FIVE, seconds(10)).unwrap();
        assert!(took <= seconds(3), "seed {seed}: {took:?}");
        run(&mut world, seconds(5));
        assert!(world.slots.iter().all(|s| s.node.as_ref().unwrap().flock.stable(world.now)), "seed {seed}");
    }
}

#[test]
fn a_dead_member_is_removed_and_one_view_changes() {
    for seed in 0..20 {
        let mut world = settled(5, seed);
        world.crash(3);
        let took = until_shape(&mut world, "n1,n2,n3,n5", seconds(10)).unwrap();
        assert!(took <= seconds(3), "seed {seed}: {took:?}");
    }
}

#[test]
fn the_leader_dies_and_its_successor_leads_at_two_three_and_five() {
    for (size, rest) in [(2, "n2"), (3, "n2,n3"), (5, "n2,n3,n4,n5")] {
        for seed in 0..10 {
            let mut world = settled(size, seed);
            world.crash(0);
            let took = until_shape(&mut world, rest, seconds(10)).unwrap();
            assert!(took <= seconds(5), "size {size} seed {seed}: {took:?}");
        }
    }
}

#[test]
fn a_slow_successor_is_overtaken() {
    let mut world = settled(5, 1);
    world.crash(0);
    world.pause(1, seconds(6));
    until_shape(&mut world, "n1,n2,n3,n4,n5! / n3,n4,n5", seconds(6)).unwrap();
    until_shape(&mut world, "n2,n3,n4,n5", seconds(15)).unwrap();
}

#[test]
fn an_even_cut_makes_two_flocks_and_the_heal_one() {
    for seed in 0..20 {
        let mut world = settled(4, seed);
        cut(&mut world, &[0, 1], &[2, 3], false);
        let took = until_shape(&mut world, "n1,n2 / n3,n4", seconds(10)).unwrap();
        assert!(took <= seconds(6), "seed {seed}: {took:?}");
        run(&mut world, seconds(30));
        assert_eq!(shape(&world), "n1,n2 / n3,n4");
        cut(&mut world, &[0, 1], &[2, 3], true);
        let took = until_shape(&mut world, "n1,n2,n3,n4", seconds(15)).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        assert!(took <= seconds(4), "seed {seed}: heal {took:?}");
    }
}

#[test]
fn every_two_way_cut_of_five_splits_exactly_and_heals() {
    for mask in 1_usize..31 {
        let mut world = settled(5, mask as u64);
        let a: Vec<usize> = (0..5).filter(|i| mask >> i & 1 == 1).collect();
        let b: Vec<usize> = (0..5).filter(|i| mask >> i & 1 == 0).collect();
        let name = |side: &[usize]| side.iter().map(|i| format!("n{}", i + 1)).collect::<Vec<_>>().join(",");
        let mut groups = [name(&a), name(&b)];
        groups.sort();
        cut(&mut world, &a, &b, false);
        let took = until_shape(&mut world, &groups.join(" / "), seconds(12)).unwrap_or_else(|e| panic!("{mask}: {e}"));
        assert!(took <= seconds(6), "{mask}: split {took:?}");
        run(&mut world, seconds(20));
        cut(&mut world, &a, &b, true);
        let took = until_shape(&mut world, FIVE, seconds(15)).unwrap_or_else(|e| panic!("{mask}: {e}"));
        assert!(took <= seconds(4), "{mask}: heal {took:?}");
    }
}

#[test]
fn a_three_way_cut_splits_in_three_and_heals() {
    for seed in 0..10 {
        let mut world = settled(6, seed);
        cut(&mut world, &[0, 1], &[2, 3, 4, 5], false);
        cut(&mut world, &[2, 3], &[4, 5], false);
        until_shape(&mut world, "n1,n2 / n3,n4 / n5,n6", seconds(12)).unwrap();
        cut(&mut world, &[0, 1], &[2, 3, 4, 5], true);
        cut(&mut world, &[2, 3], &[4, 5], true);
        let took = until_shape(&mut world, "n1,n2,n3,n4,n5,n6", seconds(15)).unwrap();
        assert!(took <= seconds(5), "seed {seed}: {took:?}");
    }
}

#[test]
fn one_broken_pair_costs_one_eviction_and_then_quiet() {
    for (a, b, rest) in [(0, 2, "n1,n2"), (1, 2, "n1,n2")] {
        let mut world = settled(3, 5);
        cut(&mut world, &[a], &[b], false);
        let wanted = format!("{rest} / n3");
        let took = until_shape(&mut world, &wanted, seconds(20)).unwrap();
        assert!(took <= seconds(9), "{a}-{b}: {took:?}");
        let before: usize = world.slots.iter().map(|s| s.node.as_ref().unwrap().installed.len()).sum();
        run(&mut world, seconds(120));
        assert_eq!(shape(&world), wanted);
        let after: usize = world.slots.iter().map(|s| s.node.as_ref().unwrap().installed.len()).sum();
        assert_eq!(before, after, "views still change");
        cut(&mut world, &[a], &[b], true);
        until_shape(&mut world, "n1,n2,n3", seconds(10)).unwrap();
    }
}

#[test]
fn the_process_of_a_leader_dies_and_all_have_the_next_one_soon_at_every_size() {
    // Half a second is one burst and one batch; line 17 of the targets allows a second.
    for (size, seeds) in [(3, 8), (10, 8), (16, 6), (50, 3)] {
        for seed in 0..seeds {
            let mut world = flocks(size, seed, Weather::default());
            run(&mut world, Duration::from_millis(12_000 + seed * 137));
            let leads = |slot: &Slot<Bird>| slot.node.as_ref().is_some_and(|bird| bird.flock.leads());
            let leader = world.slots.iter().position(leads).unwrap();
            world.kill(leader);
            run(&mut world, Duration::from_millis(700));
            for bird in world.slots.iter().filter_map(|slot| slot.node.as_ref()) {
                let view = bird.flock.view();
                let gone = view.seat(&member(leader, 1).id).is_none();
                assert!(
                    gone && view.roster.len() == size - 1,
                    "{size} of seed {seed}: {:?} {}",
                    view.id(),
                    view.roster.len()
                );
            }
        }
    }
}

#[test]
fn probes_do_not_repeat_the_view_that_both_ends_know() {
    let mut world = settled(5, 1);
    world.each(|bird| bird.meter = Some(Meter::default()));
    run(&mut world, seconds(10));
    for bird in world.slots.iter().filter_map(|slot| slot.node.as_ref()) {
        let meter = bird.meter.clone().unwrap();
        // A number of up to three bytes, a flag and what frames them; the leader's grants are among them.
        assert!(meter.packets > 50 && meter.sent <= meter.packets * 16, "{meter:?}");
    }
}

#[test]
fn a_broken_pair_of_leader_and_junior_evicts_the_junior() {
    let mut world = settled(5, 3);
    cut(&mut world, &[0], &[4], false);
    until_shape(&mut world, "n1,n2,n3,n4 / n5", seconds(20)).unwrap();
}

/// Whether this place names the pair that keeps the only other flock apart.
fn names_a_pair(world: &Flocks, place: usize, pair: [usize; 2]) -> bool {
    let siblings = world.slots[place].node.as_ref().unwrap().flock.status(world.now).siblings;
    let named = |apart: &Apart| match apart {
        Apart::BrokenPair(a, b) => {
            let ids = pair.map(|place| member(place, 1).id);
            ids.contains(&a.id) && ids.contains(&b.id) && a.id != b.id
        }
        _ => false,
    };
    siblings.len() == 1 && named(&siblings[0].apart)
}

#[test]
fn the_pair_that_keeps_two_flocks_apart_is_named_by_everybody() {
    for seed in 0..10 {
        let mut world = settled(3, seed);
        cut(&mut world, &[0], &[2], false);
        until_shape(&mut world, "n1,n2 / n3", seconds(10)).unwrap();
        let end = world.now + seconds(20);
        let mut both = 0;
        world.run_until(end, &mut |world| both += u32::from((0..3).all(|place| names_a_pair(world, place, [0, 2]))));
        assert!(both > 0, "seed {seed}");
        assert!((0..3).all(|at| world.slots[at].node.as_ref().unwrap().flock.stable(world.now)), "seed {seed}");
        cut(&mut world, &[0], &[2], true);
        let took = until_shape(&mut world, "n1,n2,n3", seconds(10)).unwrap();
        assert!(took <= seconds(4), "seed {seed}: {took:?}");
    }
}

#[test]
fn a_flock_whose_leader_cannot_reach_the_other_leader_comes_without_it() {
    for seed in 0..10 {
        let mut world = settled(5, seed);
        cut(&mut world, &[0, 1, 2], &[3, 4], false);
        until_shape(&mut world, "n1,n2,n3 / n4,n5", seconds(10)).unwrap();
        cut(&mut world, &[1, 2], &[3, 4], true);
        cut(&mut world, &[0], &[4], true);
        until_shape(&mut world, "n1,n2,n3,n5 / n4", seconds(15)).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        run(&mut world, seconds(12));
        assert_eq!(shape(&world), "n1,n2,n3,n5 / n4", "seed {seed}");
        assert!((0..5).all(|at| world.slots[at].node.as_ref().unwrap().flock.stable(world.now)), "seed {seed}");
    }
}

/// It asks through somebody else, and whenever that is: also while the other flock looks whether a third one can come, of
/// which nothing comes. The next ask would be as far off as a refusal is long.
#[test]
fn whoever_asks_without_its_leader_is_heard_in_the_middle_of_another_change() {
    for after in (0..4_000).step_by(200) {
        let mut world = settled(6, after);
        world.kill(5);
        cut(&mut world, &[0, 1, 2], &[3, 4], false);
        until_shape(&mut world, "n1,n2,n3 / n4,n5", seconds(10)).unwrap();
        cut(&mut world, &[1, 2], &[3, 4], true);
        cut(&mut world, &[0], &[4], true);
        cut(&mut world, &[5], &[1], false);
        let healed = world.now;
        run(&mut world, Duration::from_millis(after));
        let mut third = bird(world.now, 5, 6, 2, after);
        third.book = world.slots[0].node.as_ref().unwrap().book.clone();
        world.restart(5, member(5, 2), third);
        let wanted = "n1,n2,n3,n5 / n4,n6";
        until_shape(&mut world, wanted, seconds(20)).unwrap_or_else(|why| panic!("after {after} ms: {why}"));
        let took = world.now.since(healed);
        assert!(took <= seconds(10), "after {after} ms: {took:?}");
    }
}

/// One of three that broke off too often does not keep the others away, nor do they leave it behind: they hear it well.
#[test]
fn a_flock_with_one_that_is_held_comes_in_whole() {
    for seed in 0..6 {
        let mut world = settled(6, seed);
        for _ in 0..2 {
            cut(&mut world, &[5], &[0, 1, 2, 3, 4], false);
            until_shape(&mut world, "n1,n2,n3,n4,n5 / n6", seconds(10)).unwrap();
            cut(&mut world, &[5], &[0, 1, 2, 3, 4], true);
            until_shape(&mut world, "n1,n2,n3,n4,n5,n6", seconds(10)).unwrap();
        }
        cut(&mut world, &[0, 1, 2], &[3, 4, 5], false);
        until_shape(&mut world, "n1,n2,n3 / n4,n5,n6", seconds(10)).unwrap();
        cut(&mut world, &[0, 1, 2], &[3, 4, 5], true);
        let took = until_shape(&mut world, "n1,n2,n3,n4,n5,n6", seconds(40)).unwrap();
        assert!(took <= seconds(4), "seed {seed}: {took:?}");
    }
}

#[test]
fn a_leader_that_is_strictly_worst_steps_aside() {
    let mut world = settled(5, 3);
    cut(&mut world, &[0], &[2, 3], false);
    until_shape(&mut world, "n1 / n2,n3,n4,n5", seconds(20)).unwrap();
    run(&mut world, seconds(60));
    assert_eq!(shape(&world), "n1 / n2,n3,n4,n5");
}

#[test]
fn a_one_way_cut_counts_as_broken() {
    let mut world = settled(3, 9);
    world.set_path(1, 2, false);
    until_shape(&mut world, "n1,n2 / n3", seconds(20)).unwrap();
}

#[test]
fn a_restart_while_the_old_boot_is_in_the_view_is_one_member_again() {
    for seed in 0..10 {
        let mut world = settled(3, seed);
        world.crash(1);
        run(&mut world, Duration::from_millis(300));
        let node = bird(world.now, 1, 3, 2, seed);
        world.restart(1, member(1, 2), node);
        let took = until_shape(&mut world, "n1,n2,n3", seconds(10)).unwrap();
        assert!(took <= seconds(2), "seed {seed}: {took:?}");
        run(&mut world, seconds(10));
        assert_eq!(shape(&world), "n1,n2,n3");
    }
}

#[test]
fn a_pause_of_two_seconds_removes_nobody() {
    for place in 0..3 {
        let mut world = settled(3, 11);
        let before = world.slots[0].node.as_ref().unwrap().installed.len();
        world.pause(place, Duration::from_millis(1900));
        run(&mut world, seconds(15));
        assert_eq!(world.slots[0].node.as_ref().unwrap().installed.len(), before, "n{}", place + 1);
    }
}

#[test]
fn who_slept_long_obeys_the_others_and_comes_back() {
    for place in 0..3 {
        let mut world = settled(3, 11);
        world.pause(place, seconds(8));
        run(&mut world, seconds(9));
        until_shape(&mut world, "n1,n2,n3", seconds(10)).unwrap();
    }
}

#[test]
fn five_percent_loss_removes_nobody_and_changes_no_leader() {
    let weather = Weather { loss: 50, ..Weather::default() };
    let mut world = flocks(10, 4, weather);
    until_shape(&mut world, "n1,n2,n3,n4,n5,n6,n7,n8,n9,n10", seconds(15)).unwrap();
    let before = world.slots[0].node.as_ref().unwrap().installed.len();
    run(&mut world, seconds(300));
    assert_eq!(world.slots[0].node.as_ref().unwrap().installed.len(), before);
}

#[test]
fn links_heal_one_after_the_other_and_all_meet() {
    for seed in 0..10 {
        let mut world = settled(5, seed);
        let all = [0, 1, 2, 3, 4];
        for a in all {
            for b in all {
                if a < b {
                    cut(&mut world, &[a], &[b], false);
                }
            }
        }
        until_shape(&mut world, "n1 / n2 / n3 / n4 / n5", seconds(15)).unwrap();
        for a in all {
            for b in all {
                if a < b {
                    cut(&mut world, &[a], &[b], true);
                    run(&mut world, Duration::from_millis(150 + 37 * seed));
                }
            }
        }
        until_shape(&mut world, FIVE, seconds(10)).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let trace = |seed| {
        let mut world = flocks(5, seed, Weather { loss: 30, ..Weather::default() });
        run(&mut world, seconds(5));
        cut(&mut world, &[0, 1], &[2, 3, 4], false);
        run(&mut world, seconds(10));
        (world.trace, world.told)
    };
    assert_eq!(trace(7), trace(7));
    assert_ne!(trace(7).0, trace(8).0);
}
