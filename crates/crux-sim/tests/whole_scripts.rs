//! Whole engines, scripted: the job that crux has to do, on the real heart, under all rules.

use crux_core::facts::value::Expulsion;
use crux_core::io::{Command, Input};
use crux_core::services::instance::ServiceRef;
use crux_names::{Duration, FulcrumId};
use crux_sim::operator::Wanted;
use crux_sim::swarm::{Options, Swarm};
use prost::Message as _;
use std::collections::BTreeSet;

fn api() -> ServiceRef {
    ServiceRef { horde: "main".parse().unwrap(), service: "api".parse().unwrap() }
}

fn wanted(count: usize, on_split: &str) -> Wanted {
    let mut wanted = Wanted::plain(&api(), format!("pick(api, {count}, ALL)"));
    wanted.on_split = on_split.into();
    wanted
}

fn write(swarm: &mut Swarm, place: usize, wanted: &Wanted) {
    let Swarm { operator, world, .. } = swarm;
    operator.write(world, place, &wanted.changes());
}

/// Five fulcrums that run `count` instances.
fn five(seed: u64, count: usize, on_split: &str) -> Swarm {
    let mut swarm = Swarm::new(Options::fine(seed, 5));
    ok(swarm.check_sides("start"));
    write(&mut swarm, 2, &wanted(count, on_split));
    settle(&mut swarm, "first write");
    assert_eq!(running(&swarm, 0..5), count);
    swarm
}

fn ok<T>(result: Result<T, Box<crux_sim::swarm::Failure>>) -> T {
    result.unwrap_or_else(|failure| panic!("{failure}"))
}

fn settle(swarm: &mut Swarm, phase: &str) {
    // What was just done takes its first effect before anybody asks whether all is done.
    ok(swarm.run_for(Duration::from_secs(1)));
    ok(swarm.check_sides(phase));
}

fn running(swarm: &Swarm, places: impl IntoIterator<Item = usize>) -> usize {
    let lives = places.into_iter().filter_map(|at| swarm.world.slots[at].node.as_ref());
    lives.map(|life| life.machine.running(&api())).sum()
}

fn leaders(swarm: &Swarm) -> BTreeSet<FulcrumId> {
    let lives = swarm.world.slots.iter().filter_map(|slot| slot.node.as_ref());
    lives.map(|life| life.engine.flock_room().view().leader().member.id.clone()).collect()
}

#[test]
fn each_side_of_a_split_has_its_count_and_the_surplus_goes_one_by_one_after_the_heal() {
    for seed in 0..4 {
        let mut swarm = five(seed, 3, "");
        swarm.split(&[0, 0, 1, 1, 1]);
        settle(&mut swarm, "split");
        assert_eq!((running(&swarm, 0..2), running(&swarm, 2..5)), (3, 3), "seed {seed}");
        assert_eq!(leaders(&swarm).len(), 2, "seed {seed}");
        swarm.heal();
        let (mut last, mut most) = (running(&swarm, 0..5), 0);
        // Often enough that two which go one after the other are not seen as two at once.
        for _ in 0..15_000 {
            ok(swarm.run_for(Duration::from_millis(2)));
            let now = running(&swarm, 0..5);
            assert!(now >= 3, "seed {seed}: a heal left {now} of 3");
            most = most.max(last.saturating_sub(now));
            last = now;
        }
        assert_eq!((last, most), (3, 1), "seed {seed}: surplus goes one by one");
        settle(&mut swarm, "healed");
        assert_eq!(leaders(&swarm).len(), 1, "seed {seed}");
    }
}

#[test]
fn another_leads_when_the_leaders_machine_dies_and_its_instances_are_replaced() {
    for seed in 0..4 {
        let mut swarm = five(seed, 5, "");
        let leader = leaders(&swarm).pop_first().unwrap();
        let at = (0..5).find(|at| swarm.world.slots[*at].member.id == leader).unwrap();
        swarm.end(at, true);
        // A single loss is made good at once: no hold.
        let begin = swarm.world.now;
        while running(&swarm, 0..5) < 5 {
            ok(swarm.run_for(Duration::from_millis(50)));
            assert!(swarm.world.now.since(begin) < Duration::from_secs(8), "seed {seed}");
        }
        settle(&mut swarm, "leader dead");
        assert!(!leaders(&swarm).contains(&leader));
        swarm.restart(at);
        settle(&mut swarm, "leader back");
        assert_eq!(running(&swarm, 0..5), 5);
    }
}

#[test]
fn a_changed_count_is_run_and_a_removed_service_is_gone() {
    for seed in 0..4 {
        let mut swarm = five(seed, 1, "");
        for count in [4, 2, 0, 5] {
            write(&mut swarm, count % 5, &wanted(count, ""));
            settle(&mut swarm, "count");
            assert_eq!(running(&swarm, 0..5), count, "seed {seed}");
        }
        let Swarm { operator, world, .. } = &mut swarm;
        operator.write(world, 3, &wanted(0, "").removal());
        settle(&mut swarm, "removed");
        assert_eq!(running(&swarm, 0..5), 0, "seed {seed}");
    }
}

#[test]
fn a_service_by_majority_runs_on_the_larger_side_only_and_a_stopped_one_nowhere() {
    for seed in 0..4 {
        let mut swarm = five(seed, 3, "majority");
        swarm.split(&[0, 0, 1, 1, 1]);
        settle(&mut swarm, "split");
        assert_eq!((running(&swarm, 0..2), running(&swarm, 2..5)), (0, 3), "seed {seed}");
        swarm.heal();
        settle(&mut swarm, "healed");
        assert_eq!(running(&swarm, 0..5), 3, "seed {seed}");
        write(&mut swarm, 0, &wanted(2, "stop"));
        settle(&mut swarm, "stop policy");
        swarm.split(&[0, 1, 1, 1, 1]);
        settle(&mut swarm, "one parted");
        assert_eq!(running(&swarm, 0..5), 0, "seed {seed}");
    }
}

#[test]
fn instances_outlive_crux_and_are_taken_back() {
    for seed in 0..4 {
        let mut swarm = five(seed, 5, "");
        let ids = |swarm: &Swarm| -> Vec<String> {
            let lives = swarm.world.slots.iter().filter_map(|slot| slot.node.as_ref());
            lives.flat_map(|life| life.machine.processes.keys().map(ToString::to_string)).collect()
        };
        let before = ids(&swarm);
        // Back before anybody misses it: nothing moves.
        swarm.end(1, false);
        ok(swarm.run_for(Duration::from_millis(300)));
        swarm.restart(1);
        settle(&mut swarm, "crux killed and back");
        assert_eq!(ids(&swarm), before, "seed {seed}");
    }
}

#[test]
fn all_at_once_die_and_come_back_to_what_was_acknowledged() {
    for seed in 0..4 {
        let mut swarm = five(seed, 3, "");
        for at in 0..5 {
            swarm.end(at, true);
        }
        ok(swarm.run_for(Duration::from_secs(5)));
        for at in 0..5 {
            swarm.restart(at);
        }
        settle(&mut swarm, "all back");
        assert_eq!(running(&swarm, 0..5), 3, "seed {seed}");
    }
}

/// The operators' trial: `node leave` left the node silent and its horde parted, as a crash would.
#[test]
fn who_leaves_on_purpose_is_not_told_as_a_loss() {
    let mut swarm = five(3, 3, "");
    let command = Command::Down { services: true };
    swarm.world.poke(4, |life, now, out| life.feed(now, Input::Command { request: 0, command }, out));
    settle(&mut swarm, "n5 has left");
    swarm.end(3, true);
    settle(&mut swarm, "n4 is lost");
    let life = swarm.world.slots[0].node.as_ref().unwrap();
    let told = |kind: &str| -> Vec<&str> {
        let events = life.events.iter().filter(|(_, event)| event.kind == kind);
        events.map(|(_, event)| event.subject.as_str()).collect()
    };
    assert_eq!((told("member-left"), told("member-lost")), (vec!["n5"], vec!["n4"]));
    // Back again, it may be lost like any other.
    swarm.restart(4);
    settle(&mut swarm, "n5 is back");
    swarm.end(4, true);
    settle(&mut swarm, "n5 is lost");
    let life = swarm.world.slots[0].node.as_ref().unwrap();
    assert!(life.events.iter().any(|(_, event)| event.kind == "member-lost" && event.subject == "n5"));
}

/// A review's find: between its first link and its first common view, a fulcrum with a blank disk heard what is wanted
/// and ran all of it alone.
#[test]
fn a_blank_newcomer_doubles_nothing() {
    // With many facts, what is wanted comes before the rows that say who is of the horde.
    for (on_split, more) in [("", 0), ("majority", 0), ("", 60)] {
        for seed in 0..2 {
            let mut swarm = five(seed, 3, on_split);
            for number in 0..more {
                let of = ServiceRef { horde: "main".parse().unwrap(), service: format!("x{number}").parse().unwrap() };
                write(&mut swarm, 2, &Wanted::plain(&of, format!("pick(x{number}, 0, ALL)")));
                ok(swarm.run_for(Duration::from_millis(100)));
            }
            settle(&mut swarm, "written");
            swarm.end(4, true);
            ok(swarm.run_for(Duration::from_secs(25)));
            assert_eq!(running(&swarm, 0..4), 3, "seed {seed}");
            swarm.wipe(4);
            swarm.restart(4);
            for _ in 0..2000 {
                ok(swarm.run_for(Duration::from_millis(5)));
                let all = running(&swarm, 0..5);
                assert!(all <= 3, "seed {seed}, {on_split:?}, {more} more facts: {all} of 3 run");
            }
            settle(&mut swarm, "newcomer");
        }
    }
}

/// A review's find: of two, the one whose crux began again saw a single member missing, held for nobody, and ran both.
#[test]
fn a_restart_of_crux_in_a_bloc_of_two_doubles_nothing() {
    for seed in 0..4 {
        let mut swarm = Swarm::new(Options::fine(seed, 2));
        ok(swarm.check_sides("start"));
        write(&mut swarm, 0, &wanted(2, ""));
        settle(&mut swarm, "first write");
        swarm.end(1, false);
        ok(swarm.run_for(Duration::from_millis(200)));
        swarm.restart(1);
        for _ in 0..3000 {
            ok(swarm.run_for(Duration::from_millis(5)));
            assert_eq!(running(&swarm, 1..2), 1, "seed {seed}: what ran there runs on, and nothing else");
        }
        settle(&mut swarm, "crux back");
        assert_eq!(running(&swarm, 0..2), 2, "seed {seed}");
    }
}

#[test]
fn one_of_two_machines_manages_itself_when_the_other_is_gone_for_good() {
    for seed in 0..4 {
        let mut swarm = Swarm::new(Options::fine(seed, 2));
        ok(swarm.check_sides("start"));
        write(&mut swarm, 0, &wanted(2, ""));
        settle(&mut swarm, "first write");
        swarm.end(0, true);
        swarm.end(1, true);
        swarm.restart(1);
        let begin = swarm.world.now;
        while running(&swarm, 1..2) < 2 {
            ok(swarm.run_for(Duration::from_millis(50)));
            assert!(swarm.world.now.since(begin) < Duration::from_secs(20), "seed {seed}");
        }
        settle(&mut swarm, "alone");
    }
}

/// A review's find: a job that was done ran again after every restart of crux.
#[test]
fn a_job_that_is_done_is_not_run_again_by_a_later_life() {
    for seed in 0..4 {
        let mut swarm = Swarm::new(Options::fine(seed, 1));
        ok(swarm.check_sides("start"));
        write(&mut swarm, 0, &Wanted { once: true, ..wanted(1, "") });
        while running(&swarm, 0..1) == 0 {
            ok(swarm.run_for(Duration::from_millis(50)));
        }
        // It ends before crux does, or while there is none.
        let now = swarm.world.now;
        swarm.world.poke(0, |life, _, _| life.machine.finish(now, &api()));
        if seed % 2 == 0 {
            ok(swarm.run_for(Duration::from_secs(1)));
            assert_eq!(running(&swarm, 0..1), 0);
        }
        for _ in 0..2 {
            swarm.end(0, false);
            swarm.restart(0);
            for _ in 0..200 {
                ok(swarm.run_for(Duration::from_millis(100)));
                assert_eq!(running(&swarm, 0..1), 0, "seed {seed}: it runs again");
            }
        }
    }
}

/// Promises X1 to X3: whoever is expelled is out of every reachable flock within 2 s, stays out when everybody starts again,
/// and is out of a part that had not heard within 5 s of the heal.
#[test]
fn an_expelled_node_is_out_at_once_and_stays_out_through_restarts_and_heals() {
    for seed in 0..4 {
        let mut swarm = five(seed, 3, "");
        swarm.split(&[0, 0, 0, 1, 1]);
        settle(&mut swarm, "split");
        // n4 is with n5, which has not heard, when the other side expels it.
        let expulsion = Expulsion { up_to: 1, reason: "stolen".into() };
        let change = ("expel/n4".to_owned(), Some(expulsion.encode_to_vec().into()));
        let Swarm { operator, world, .. } = &mut swarm;
        operator.write(world, 0, &[change]);
        ok(swarm.run_for(Duration::from_secs(2)));
        let members = |swarm: &Swarm, place: usize| -> Vec<String> {
            let life = swarm.world.slots[place].node.as_ref().unwrap();
            let view = life.engine.flock_room().view();
            view.roster.iter().map(|seat| seat.member.id.to_string()).collect()
        };
        assert!(members(&swarm, 4).contains(&"n4".to_owned()), "seed {seed}");
        swarm.heal();
        let healed = |swarm: &Swarm| [0, 1, 2, 4].iter().all(|place| members(swarm, *place).len() == 4);
        let mut took = Duration::ZERO;
        while !healed(&swarm) {
            ok(swarm.run_for(Duration::from_millis(100)));
            took += Duration::from_millis(100);
            assert!(took <= Duration::from_secs(5), "seed {seed}: {:?}", members(&swarm, 4));
        }
        for place in [0, 1, 2, 4] {
            assert!(!members(&swarm, place).contains(&"n4".to_owned()), "seed {seed}: n{}", place + 1);
        }
        ok(swarm.run_for(Duration::from_secs(5)));
        assert_eq!(members(&swarm, 3), ["n4"], "seed {seed}: it is alone");
        // Within a whole flock it takes no longer than 2 s.
        let expulsion = Expulsion { up_to: 1, reason: "sold".into() };
        let change = ("expel/n5".to_owned(), Some(expulsion.encode_to_vec().into()));
        let Swarm { operator, world, .. } = &mut swarm;
        operator.write(world, 1, &[change]);
        ok(swarm.run_for(Duration::from_secs(2)));
        for place in 0..3 {
            assert_eq!(members(&swarm, place).len(), 3, "seed {seed}: {:?}", members(&swarm, place));
        }
        (0..5).for_each(|place| swarm.end(place, true));
        ok(swarm.run_for(Duration::from_secs(1)));
        (0..5).for_each(|place| swarm.restart(place));
        ok(swarm.run_for(Duration::from_secs(20)));
        for place in 0..3 {
            assert_eq!(members(&swarm, place).len(), 3, "seed {seed}: {:?}", members(&swarm, place));
        }
    }
}
