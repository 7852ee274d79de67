//! What must come to hold, where a script says it better than a swarm: E5 and E7 of the design's `flocking.md`.

use crux_core::flock::message::Message;
use crux_core::hash::Random;
use crux_names::Duration;
use crux_sim::flocks::{Flocks, check, flocks, until_shape};
use crux_sim::invariants::flocking;
use crux_sim::liveness::{CaughtUp, Scene, StickyLeader, all_stable, no_broken_pair_together, one_flock, partition};
use crux_sim::world::{Out, Quality, Weather};

fn whole(size: usize) -> String {
    (1..=size).map(|n| format!("n{n}")).collect::<Vec<_>>().join(",")
}

fn settled(size: usize, seed: u64) -> Flocks {
    let mut world = flocks(size, seed, Weather::default());
    until_shape(&mut world, &whole(size), Duration::from_secs(12)).unwrap();
    let end = world.now + Duration::from_secs(6);
    world.run_until(end, &mut |_| {});
    world
}

fn leader(world: &Flocks) -> usize {
    let leads = |at: &usize| world.slots[*at].node.as_ref().is_some_and(|bird| bird.flock.leads());
    (0..world.slots.len()).find(leads).unwrap()
}

/// E5: whatever happens to the links of others, a leader whose own links behave leads on.
#[test]
fn a_leader_leads_on_whatever_other_links_do() {
    for seed in 0..25 {
        let mut random = Random::new(seed);
        let size = 4 + random.below(5) as usize;
        let mut world = settled(size, seed);
        let chief = leader(&world);
        let mut rules = flocking();
        let mut sticky = StickyLeader::new(world.slots[chief].node.as_ref().unwrap().flock.view());
        for _ in 0..6 {
            let others: Vec<usize> = (0..size).filter(|at| *at != chief).collect();
            let a = others[random.below(others.len() as u64) as usize];
            let b = others[random.below(others.len() as u64) as usize];
            if a != b {
                match random.below(4) {
                    0 => world.set_path(a, b, false),
                    1 => {
                        world.set_path(a, b, false);
                        world.set_path(b, a, false);
                    }
                    2 => {
                        let until = world.now + Duration::from_secs(12);
                        world.flap(a, b, Duration::from_millis(700), Duration::from_millis(1500), until);
                    }
                    _ => world.set_between(a, b, Quality { loss: 600, ..Quality::default() }),
                }
            }
            let end = world.now + Duration::from_secs(2 + random.below(14));
            while world.step(end) {
                check(&world, &mut rules);
                world.news.clear();
                if world.told.is_multiple_of(16) {
                    let looked = sticky.look(&Scene::of(&world, |_| true));
                    looked.unwrap_or_else(|why| panic!("seed {seed}: at {}: {why}", world.now));
                }
            }
        }
    }
}

/// E7: the leader's frames to one member stand still while an install is due; the member hears of the view from others and
/// asks for it.
#[test]
fn a_missed_install_is_caught_up_within_two_probes() {
    for seed in 0..20 {
        let mut world = settled(5, seed);
        let chief = leader(&world);
        let (victim, dead) = ((chief + 2) % 5, (chief + 3) % 5);
        world.crash(dead);
        let mut missed = CaughtUp::default();
        let end = world.now + Duration::from_secs(10);
        let mut stalled = false;
        while world.step(end) {
            let reports = |out: &Out<_, Message>| matches!(out, Out::Frame(_, Message::Report { .. }));
            if !stalled && world.news.iter().any(|step| step.place == victim && step.out.iter().any(reports)) {
                stalled = true;
                world.set_between(chief, victim, Quality { stalled: true, ..Quality::default() });
                let over = world.now + Duration::from_secs(5);
                world.set_between_at(over, chief, victim, Quality::default());
            }
            world.news.clear();
            missed.look(&Scene::of(&world, |at| at != dead));
        }
        assert!(stalled, "seed {seed}: nobody was asked");
        one_flock(&Scene::of(&world, |at| at != dead)).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        // Two probe periods, and the round trip of the question.
        let bound = Duration::from_millis(2 * 500 + 50);
        assert!(missed.longest <= bound, "seed {seed}: it lacked the view for {:?}", missed.longest);
    }
}

/// A flock's name lives while its leader's line lives: it outlives the loss of a member and its return.
#[test]
fn the_name_outlives_a_member() {
    let mut world = settled(4, 3);
    let chief = leader(&world);
    let name = |world: &Flocks| world.slots[chief].node.as_ref().unwrap().flock.view().head.header.name.clone();
    let before = name(&world);
    world.kill((chief + 1) % 4);
    let rest: Vec<String> = (0..4).filter(|at| *at != (chief + 1) % 4).map(|at| format!("n{}", at + 1)).collect();
    until_shape(&mut world, &rest.join(","), Duration::from_secs(10)).unwrap();
    assert_eq!(name(&world), before);
}

/// The questions themselves: each says no when it should.
#[test]
fn a_question_is_answered_with_no_where_it_should_be() {
    let mut world = settled(3, 1);
    let yes = |world: &Flocks| {
        let scene = Scene::of(world, |_| true);
        (
            one_flock(&scene).is_ok(),
            all_stable(&scene).is_ok(),
            partition(&scene).is_ok(),
            no_broken_pair_together(&scene).is_ok(),
        )
    };
    assert_eq!(yes(&world), (true, true, true, true));
    world.set_path(0, 1, false);
    assert_eq!(yes(&world), (true, true, false, false));
    world.join_all();
    world.divide(&[0, 1, 1]);
    let end = world.now + Duration::from_secs(10);
    world.run_until(end, &mut |_| {});
    assert_eq!(yes(&world), (false, true, true, true));
    world.join_all();
    assert_eq!(yes(&world), (false, true, false, true));
}
