//! Whole engines of one bloc that are two flocks for long, because pairs of them cannot talk: facts reach everybody all the
//! same. Source: the design's `control-plane.md`, "Spreading": digests are compared with any admitted fulcrum of the bloc,
//! also one that never joins this flock.

use crux_core::io::Reply;
use crux_names::{Duration, Hash256};
use crux_sim::operator::horde;
use crux_sim::swarm::{Failure, Options, Swarm};
use std::collections::BTreeSet;

/// Lots are drawn each five seconds for whom to compare with: by then no lot of these seeds was so unkind.
const REACHES: Duration = Duration::from_secs(40);

fn ok<T>(result: Result<T, Box<Failure>>) -> T {
    result.unwrap_or_else(|failure| panic!("{failure}"))
}

/// A bloc that was one flock until the paths between these pairs broke, a minute ago.
fn broken(seed: u64, nodes: usize, pairs: &[(usize, usize)]) -> Swarm {
    let mut swarm = Swarm::new(Options::fine(seed, nodes));
    ok(swarm.check_sides("start"));
    for &(a, b) in pairs {
        swarm.world.set_path(a, b, false);
        swarm.world.set_path(b, a, false);
    }
    ok(swarm.run_for(Duration::from_secs(60)));
    assert_eq!(flocks(&swarm).len(), 2, "seed {seed}: {:?}", flocks(&swarm));
    swarm
}

/// Who is with whom.
fn flocks(swarm: &Swarm) -> BTreeSet<BTreeSet<String>> {
    let lives = swarm.world.slots.iter().filter_map(|slot| slot.node.as_ref());
    let views = lives.map(|life| life.engine.flock_room().view());
    views.map(|view| view.roster.iter().map(|seat| seat.member.id.to_string()).collect()).collect()
}

fn digests(swarm: &Swarm) -> BTreeSet<Hash256> {
    let lives = swarm.world.slots.iter().filter_map(|slot| slot.node.as_ref());
    lives.map(|life| life.engine.facts_room().digest()).collect()
}

/// A horde is made at each place in turn; each time everybody comes to know it, though there are two flocks all the while.
fn reaches_everybody(swarm: &mut Swarm, seed: u64) {
    let apart = flocks(swarm);
    let mut longest = Duration::ZERO;
    for place in 0..swarm.world.slots.len() {
        let name = format!("h{place}").parse().unwrap();
        let Swarm { operator, world, .. } = swarm;
        operator.write(world, place, &horde(&name, Some(0)));
        let begin = swarm.world.now;
        loop {
            ok(swarm.run_for(Duration::from_millis(100)));
            let lives = || swarm.world.slots.iter().filter_map(|slot| slot.node.as_ref());
            let known = lives().filter(|life| life.engine.muster().hordes().contains_key(&name)).count();
            let took = swarm.world.now.since(begin);
            if known == lives().count() && digests(swarm).len() == 1 {
                longest = longest.max(took);
                break;
            }
            assert!(took < REACHES, "seed {seed}: {known} know after {took:?} what was written at n{}", place + 1);
        }
        assert_eq!(flocks(swarm), apart, "seed {seed}: two flocks remain");
        let reply = swarm.operator.written.last().and_then(|written| written.reply.clone());
        assert!(matches!(reply, Some(Reply::Written { .. })), "seed {seed}: {reply:?}");
    }
    println!("seed {seed}: everybody knew after {longest:?} at most");
}

#[test]
fn one_broken_pair_keeps_two_flocks_apart_and_no_fact() {
    for (nodes, seeds) in [(3, 0..3), (5, 0..3)] {
        for seed in seeds {
            let mut swarm = broken(seed, nodes, &[(0, nodes - 1)]);
            reaches_everybody(&mut swarm, seed);
        }
    }
}

#[test]
fn facts_pass_between_two_flocks_that_only_two_of_their_members_join() {
    let cut: Vec<(usize, usize)> =
        (0..3).flat_map(|a| (3..6).map(move |b| (a, b))).filter(|pair| *pair != (1, 4)).collect();
    for seed in 0..3 {
        let mut swarm = broken(seed, 6, &cut);
        assert!(flocks(&swarm).iter().all(|flock| flock.len() == 3), "seed {seed}: {:?}", flocks(&swarm));
        reaches_everybody(&mut swarm, seed);
        // What only one side could do meanwhile is the same for all in the end.
        swarm.world.join_all();
        for (a, b) in &cut {
            swarm.world.set_path(*a, *b, true);
            swarm.world.set_path(*b, *a, true);
        }
        ok(swarm.check_sides("healed"));
        ok(swarm.nothing_lost());
    }
}
