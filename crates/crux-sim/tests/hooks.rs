//! What instances are told of their horde, scripted. That each was told last what holds, and so was its hook, is asked of
//! every side that has settled (`settled.rs`, T1 and T2); that nothing is told twice and no two hooks run at once, at every
//! step (`machine.rs`).

use crux_core::io::{HookEnd, Word};
use crux_core::services::instance::ServiceRef;
use crux_names::Duration;
use crux_sim::machine::Process;
use crux_sim::operator::Wanted;
use crux_sim::swarm::{Failure, Options, Swarm};

fn ok<T>(result: Result<T, Box<Failure>>) -> T {
    result.unwrap_or_else(|failure| panic!("{failure}"))
}

fn settle(swarm: &mut Swarm, phase: &str) {
    ok(swarm.run_for(Duration::from_secs(1)));
    ok(swarm.check_sides(phase));
}

/// The oldest process in a place.
fn eldest(swarm: &Swarm, place: usize) -> Process {
    let life = swarm.world.slots[place].node.as_ref().unwrap();
    life.machine.processes.values().next().unwrap().clone()
}

fn words(process: &Process) -> Vec<(u64, Word, usize)> {
    process.told.iter().map(|told| (told.number, told.word, told.absent.len())).collect()
}

#[test]
fn instances_are_told_of_a_split_and_of_its_end_once_and_a_restart_of_crux_repeats_nothing() {
    for seed in 0..3 {
        let mut swarm = Swarm::new(Options::fine(seed, 5));
        ok(swarm.check_sides("start"));
        let of = ServiceRef { horde: "main".parse().unwrap(), service: "api".parse().unwrap() };
        let wanted = Wanted { hooks: true, ..Wanted::plain(&of, "pick(api, 5, ALL)".into()) };
        let Swarm { operator, world, .. } = &mut swarm;
        operator.write(world, 0, &wanted.changes());
        settle(&mut swarm, "a service");
        for place in 0..5 {
            assert_eq!(words(&eldest(&swarm, place)), [], "seed {seed}: the horde was whole when it started");
        }
        swarm.split(&[0, 0, 0, 1, 1]);
        settle(&mut swarm, "two sides");
        for place in 0..5 {
            let one = eldest(&swarm, place);
            assert_eq!(words(&one), [(1, Word::Parted, if place < 3 { 2 } else { 3 })], "seed {seed}");
            assert_eq!(one.hooks.len(), 1, "seed {seed}");
            assert_eq!(one.hooks[0].1, Some(HookEnd::Well), "seed {seed}");
        }
        // Copies that the smaller side started know that they are on one.
        let life = swarm.world.slots[3].node.as_ref().unwrap();
        assert!(life.machine.processes.len() > 1, "seed {seed}: each side has its count");
        assert!(life.machine.processes.values().all(|copy| words(copy) == [(1, Word::Parted, 3)]), "seed {seed}");

        let before = eldest(&swarm, 0);
        swarm.end(0, false);
        swarm.restart(0);
        settle(&mut swarm, "crux was away");
        ok(swarm.run_for(Duration::from_secs(60)));
        let after = eldest(&swarm, 0);
        assert_eq!(after.instance.id, before.instance.id, "seed {seed}: it was re-adopted");
        assert_eq!((words(&after), after.hooks.len()), (words(&before), 1), "seed {seed}: nothing is said again");
        swarm.heal();
        settle(&mut swarm, "healed");
        let after = eldest(&swarm, 0);
        assert_eq!(words(&after), [(1, Word::Parted, 2), (2, Word::Rejoined, 0)], "seed {seed}");
        assert_eq!(after.hooks.len(), 2, "seed {seed}");
    }
}

/// A network that breaks and heals faster than a flock comes to rest tells nobody anything.
#[test]
fn a_network_that_flaps_tells_how_things_are_when_it_has_come_to_rest() {
    for seed in 0..3 {
        let mut swarm = Swarm::new(Options::fine(seed, 4));
        ok(swarm.check_sides("start"));
        let of = ServiceRef { horde: "main".parse().unwrap(), service: "api".parse().unwrap() };
        let wanted = Wanted { hooks: true, ..Wanted::plain(&of, "pick(api, 4, ALL)".into()) };
        let Swarm { operator, world, .. } = &mut swarm;
        operator.write(world, 0, &wanted.changes());
        settle(&mut swarm, "a service");
        for _ in 0..12 {
            // Long enough to be seen, too short to come to rest in.
            swarm.split(&[0, 0, 0, 1]);
            ok(swarm.run_for(Duration::from_secs(4)));
            swarm.heal();
            ok(swarm.run_for(Duration::from_secs(3)));
        }
        settle(&mut swarm, "it has come to rest");
        let one = eldest(&swarm, 0);
        // A word for each time in which it seemed to have come to rest, and never one for each cut and each heal.
        assert!(one.told.len() <= 8, "seed {seed}: {:?}", words(&one));
        assert!(one.hooks.len() <= one.told.len(), "seed {seed}");
    }
}
