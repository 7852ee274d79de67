//! Flocking under many faults drawn from a seed, in two phases: cuts, one-way cuts, pauses, crashes and restarts at any
//! pace; then everything heals and one stable flock is demanded.

use crux_core::hash::Random;
use crux_names::Duration;
use crux_sim::flocks::{addr, bird, check, flocks, member, shape, until_shape, until_shape_but_holds};
use crux_sim::invariants::flocking;
use crux_sim::world::Weather;

fn one_seed(seed: u64) {
    let mut random = Random::new(seed);
    let size = 3 + random.below(5) as usize;
    let weather = Weather {
        loss: [0, 0, 10, 50, 100][random.below(5) as usize],
        delay_to: Duration::from_millis([2, 10, 60][random.below(3) as usize]),
        ..Weather::default()
    };
    let mut world = flocks(size, seed, weather);
    let mut rules = flocking();
    let mut boots = vec![1_u64; size];
    let mut story = Vec::new();
    for _ in 0..4 + random.below(10) {
        let wait = Duration::from_millis([30, 300, 1500, 4000, 9000][random.below(5) as usize] + random.below(500));
        let end = world.now + wait;
        world.run_until(end, &mut |world| check(world, &mut rules));
        let (a, b) = (random.below(size as u64) as usize, random.below(size as u64) as usize);
        let what = random.below(8);
        story.push(format!("{}: {what} n{} n{}", world.now, a + 1, b + 1));
        match what {
            0 | 1 => {
                let side = random.next();
                for x in 0..size {
                    for y in 0..size {
                        if x != y {
                            world.set_path(x, y, (side >> x & 1) == (side >> y & 1));
                        }
                    }
                }
            }
            2 if a != b => {
                world.set_path(a, b, false);
                world.set_path(b, a, false);
            }
            3 if a != b => world.set_path(a, b, false),
            4 if world.slots[a].node.is_some() => world.crash(a),
            5 => {
                world.crash(a);
                boots[a] += 1;
                let node = bird(world.now, a, size, boots[a], seed);
                world.restart(a, member(a, boots[a]), node);
            }
            6 => world.pause(a, Duration::from_millis(random.below(9000))),
            _ => {
                for x in 0..size {
                    for y in 0..size {
                        world.set_path(x, y, true);
                    }
                }
            }
        }
    }
    for x in 0..size {
        for y in 0..size {
            world.set_path(x, y, true);
        }
    }
    for (place, boot) in boots.iter_mut().enumerate() {
        if world.slots[place].node.is_none() {
            *boot += 1;
            let node = bird(world.now, place, size, *boot, seed);
            world.restart(place, member(place, *boot), node);
        }
    }
    world.weather.loss = world.weather.loss.min(50);
    let longest = world.slots.iter().map(|slot| slot.paused_until).max().unwrap_or(world.now).max(world.now);
    world.run_until(longest, &mut |world| check(world, &mut rules));
    let whole: Vec<String> = (1..=size).map(|n| format!("n{n}")).collect();
    let whole = whole.join(",");
    let limit = Duration::from_secs(30);
    until_shape_but_holds(&mut world, &whole, limit)
        .unwrap_or_else(|why| panic!("seed {seed}: {why}\n{}", story.join("\n")));
    let end = world.now + Duration::from_secs(20);
    world.run_until(end, &mut |world| check(world, &mut rules));
    assert_eq!(shape(&world), whole, "seed {seed}: it did not stay one\n{}", story.join("\n"));
    for slot in &world.slots {
        let stable = slot.node.as_ref().is_some_and(|bird| bird.flock.stable(world.now));
        let status = slot.node.as_ref().map(|bird| bird.flock.status(world.now));
        let lacking = status.map(|status| (status.lacking, status.siblings.len(), status.outside));
        assert!(stable, "seed {seed}: {} is not stable: {lacking:?}\n{}", slot.member, story.join("\n"));
    }
}

#[test]
fn three_hundred_seeds_end_as_one_stable_flock() {
    (0..300).for_each(one_seed);
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
