//! Flocks on machines that are too slow for them: everybody is late, and nobody is at fault for it.

mod help;

use crux_names::Duration;
use crux_sim::flocks::{Flocks, flocks, member, until_shape};
use crux_sim::world::Weather;
use help::{ms, node, run, seconds, without};

/// Everybody stands still for most of the time, each at its own moments.
fn busy(world: &mut Flocks, time: Duration) {
    let end = world.now + time;
    let mut turn = 0;
    while world.now < end {
        turn += 1;
        for place in 0..world.slots.len() {
            if (place * 7 + turn) % 5 != 0 {
                world.pause(place, ms(450 + (place as u64 * 53 + turn as u64 * 31) % 200));
            }
        }
        run(world, ms(700));
    }
}

/// A leader that is late because its flock is being formed has what it is late with from that: who lays down the lead in the
/// middle of it leaves members behind that have not heard of the last view yet.
#[test]
fn nobody_hands_over_while_its_flock_changes() {
    let mut handed = 0;
    for seed in 1..9 {
        let mut world = flocks(24, seed, Weather::default());
        busy(&mut world, seconds(40));
        for place in 0..24 {
            let bird = node(&world, place);
            for at in &bird.handed_over {
                handed += 1;
                // The view that it has from handing over itself is installed at that moment.
                let before = bird.installed.iter().rev().find(|(since, _)| since < at).unwrap();
                let stood = at.since(before.0);
                assert!(stood >= seconds(10), "seed {seed}: n{} handed over a view of {stood:?}", place + 1);
            }
        }
        until_shape(&mut world, &without(24, &[]), seconds(60)).unwrap();
    }
    assert!(handed > 0, "a flock that stands is handed over all the same");
}

/// A flock whose leader is killed, while these stand still from the moment before its successor calls the roll, each for so
/// long: nobody that lives comes to a view of few.
fn leader_dies(size: usize, seed: u64, still: impl Fn(usize) -> Duration) {
    let mut world = flocks(size, seed, Weather::default());
    run(&mut world, seconds(14));
    let first = (0..size).find(|place| node(&world, *place).flock.leads()).unwrap();
    let place_of = |id| (0..size).find(|place| member(*place, 1).id == id).unwrap();
    let roster = node(&world, first).flock.view().roster.iter();
    let order: Vec<usize> = roster.map(|seat| place_of(seat.member.id.clone())).collect();
    let dead = world.now;
    world.kill(first);
    run(&mut world, ms(250));
    // The leader, and its successor.
    for (nth, place) in order.iter().skip(2).enumerate() {
        world.pause(*place, still(nth));
    }
    run(&mut world, seconds(5));
    let what = format!("{size} of seed {seed}");
    for place in (0..size).filter(|place| *place != first) {
        for (at, view) in &node(&world, place).installed {
            let left = view.roster.len();
            assert!(*at < dead || left == size - 1, "{what}: n{} is in a flock of {left}", place + 1);
        }
    }
    until_shape(&mut world, &without(size, &[first]), seconds(10)).unwrap();
}

/// Whoever succeeds a leader calls the roll, and on a busy host nobody may answer within its second: those who come a
/// moment later are still there.
#[test]
fn a_roll_call_on_a_busy_host_leaves_nobody_alone() {
    for (size, seed) in [(14, 1), (17, 2), (24, 3), (33, 4)] {
        leader_dies(size, seed, |_| ms(1_500));
    }
}

/// They answer one after the other, the last of them two seconds after the call should have ended. (Whoever stands still for more
/// than two seconds may be removed by M4, and of larger flocks some are; these are not.)
#[test]
fn a_roll_call_goes_on_while_answers_come() {
    for (size, seed) in [(17, 2), (24, 3), (33, 4)] {
        leader_dies(size, seed, |nth| ms(900 + 1_900 * nth as u64 / size as u64));
    }
}
