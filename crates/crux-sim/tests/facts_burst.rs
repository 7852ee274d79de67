//! Whole engines and more facts at once than the queue of a link holds: everybody has them soon, and no link ends.

use bytes::Bytes;
use crux_core::facts::value::{EXPULSIONS, Expulsion, Labels};
use crux_core::io::Reply;
use crux_names::Duration;
use crux_sim::operator::Change;
use crux_sim::swarm::{Failure, Options, Swarm};

fn ok<T>(result: Result<T, Box<Failure>>) -> T {
    result.unwrap_or_else(|failure| panic!("{failure}"))
}

/// A value that is so many bytes longer than it says: a reader skips what it does not know.
fn padded(value: &impl prost::Message, size: usize) -> Option<Bytes> {
    let mut value = value.encode_to_vec();
    prost::encoding::bytes::encode(100, &vec![7_u8; size], &mut value);
    Some(value.into())
}

fn large(name: &str, count: usize, size: usize) -> Vec<Change> {
    let value = |n: usize| padded(&Labels { labels: [("a".into(), format!("v{n}"))].into() }, size);
    (0..count).map(|n| (format!("label/{name}{n}"), value(n))).collect()
}

fn write(swarm: &mut Swarm, place: usize, changes: &[Change]) {
    let Swarm { operator, world, .. } = swarm;
    operator.write(world, place, changes);
}

/// How many facts under a prefix a place has.
fn has(swarm: &Swarm, place: usize, prefix: &str) -> usize {
    let life = swarm.world.slots[place].node.as_ref().unwrap();
    life.engine.facts_room().prefix(prefix).count()
}

/// Runs until every place has so many facts under a prefix, and says how long that took.
fn everywhere(swarm: &mut Swarm, prefix: &str, count: usize) -> Duration {
    let mut took = Duration::ZERO;
    while (0..swarm.world.slots.len()).any(|place| has(swarm, place, prefix) < count) {
        assert!(
            took < Duration::from_secs(10),
            "not all {prefix}* are everywhere; {} links ended",
            swarm.world.overrun
        );
        ok(swarm.run_for(Duration::from_millis(20)));
        took += Duration::from_millis(20);
    }
    took
}

/// A place whose machine was lost begins with an empty disk.
fn anew(swarm: &mut Swarm, place: usize) {
    swarm.end(place, true);
    swarm.wipe(place);
    ok(swarm.run_for(Duration::from_secs(5)));
    swarm.restart(place);
}

#[test]
fn two_hundred_large_facts_reach_a_newcomer() {
    let mut swarm = Swarm::new(Options::fine(1, 4));
    ok(swarm.check_sides("start"));
    for change in large("x", 200, 100_000) {
        write(&mut swarm, 0, &[change]);
        ok(swarm.run_for(Duration::from_millis(50)));
    }
    everywhere(&mut swarm, "label/x", 200);
    anew(&mut swarm, 3);
    let took = everywhere(&mut swarm, "label/x", 200);
    assert!(took <= Duration::from_secs(5), "{took:?}");
    assert_eq!(swarm.world.overrun, 0, "a link ended");
}

#[test]
fn one_large_write_reaches_all_members() {
    let mut swarm = Swarm::new(Options::fine(2, 6));
    ok(swarm.check_sides("start"));
    write(&mut swarm, 0, &large("y", 25, 85_000));
    let took = everywhere(&mut swarm, "label/y", 25);
    assert!(took <= Duration::from_secs(1), "{took:?}");
    ok(swarm.run_for(Duration::from_secs(1)));
    swarm.operator.collect(&swarm.world);
    let reply = &swarm.operator.written.last().unwrap().reply;
    assert!(matches!(reply, Some(Reply::Written { converged: true, .. })), "{reply:?}");
    assert_eq!(swarm.world.overrun, 0, "a link ended");
}

#[test]
fn a_thousand_expulsions_are_exchanged_on_a_new_link() {
    let mut swarm = Swarm::new(Options::fine(3, 4));
    ok(swarm.check_sides("start"));
    let value = || padded(&Expulsion { up_to: 1, reason: "stolen".into() }, 2_200);
    let all: Vec<Change> = (0..1_000).map(|n| (format!("expel/gone{n}"), value())).collect();
    for changes in all.chunks(100) {
        write(&mut swarm, 0, changes);
        ok(swarm.run_for(Duration::from_millis(500)));
    }
    everywhere(&mut swarm, EXPULSIONS, 1_000);
    anew(&mut swarm, 3);
    let took = everywhere(&mut swarm, EXPULSIONS, 1_000);
    assert!(took <= Duration::from_secs(5), "{took:?}");
    // One more is everywhere as soon as ever.
    write(&mut swarm, 1, &[("expel/late".into(), value())]);
    let took = everywhere(&mut swarm, EXPULSIONS, 1_001);
    assert!(took <= Duration::from_secs(2), "{took:?}");
    assert_eq!(swarm.world.overrun, 0, "a link ended");
}
