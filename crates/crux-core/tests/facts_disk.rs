//! Facts over disks that fail, lie or say nothing for long: what is remembered for them has bounds, and what a later life
//! finds on them is what stood.

mod common;

use common::{Disk, Net, horde};
use crux_core::facts::Output;
use crux_names::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// An hour of writes elsewhere, one each second, to fifty facts.
fn an_hour(net: &mut Net) {
    for n in 0..3600_u64 {
        net.write(1, n, &format!("horde/h{}", n % 50), horde(n as u32));
        net.run(SECOND);
    }
}

/// The disk is well: within seconds and without telling everybody of an hour's writes, all of it is there.
fn well_again(net: &mut Net) {
    net.sent = 0;
    net.nodes[0].state = Disk::Good;
    net.run(SECOND * 3);
    assert!(net.sent < 20, "{} messages", net.sent);
    assert!(net.nodes[0].facts.durable());
    assert_eq!(net.nodes[0].facts.count(), 50);
    net.restart(0);
    assert_eq!(net.nodes[0].facts.digest(), net.nodes[1].facts.digest(), "all of it is on disk");
    assert!(net.nodes[0].disk.len() < 200, "{} versions on disk", net.nodes[0].disk.len());
}

#[test]
fn a_disk_that_says_nothing_for_an_hour_costs_bounded_memory_and_then_has_everything() {
    let mut net = Net::flock(2);
    net.nodes[0].state = Disk::Slow;
    an_hour(&mut net);
    let (batches, versions) = (net.nodes[0].pending.len(), net.nodes[0].pending.iter().map(|(_, new, _)| new.len()));
    assert!((1..=16).contains(&batches), "{batches} batches are under way");
    assert!(versions.sum::<usize>() <= 16);
    assert!(!net.nodes[0].facts.durable());
    // Whoever waits for this disk has given up: it is not told of an hour's writes when they are there.
    well_again(&mut net);
}

#[test]
fn a_disk_that_fails_for_an_hour_costs_bounded_memory_and_then_has_everything() {
    let mut net = Net::flock(2);
    net.nodes[0].state = Disk::Full;
    an_hour(&mut net);
    assert!(net.nodes[0].pending.is_empty() && !net.nodes[0].facts.durable());
    well_again(&mut net);
}

/// What came while much was under way must not wait for the next that comes.
#[test]
fn what_waited_for_a_slow_disk_goes_when_it_is_well_though_nothing_more_comes() {
    let mut net = Net::flock(2);
    net.nodes[0].state = Disk::Slow;
    for n in 0..40 {
        net.write(1, n, &format!("horde/h{n}"), horde(1));
        net.settle();
    }
    assert_eq!(net.nodes[0].pending.len(), 16);
    net.nodes[0].state = Disk::Good;
    net.settle();
    net.run(SECOND);
    assert!(net.nodes[0].facts.durable());
    assert_eq!(net.nodes[0].disk.len(), 40);
}

#[test]
fn one_write_more_than_a_slow_disk_may_owe_is_refused_by_name_and_changes_nothing() {
    let mut net = Net::flock(2);
    net.nodes[0].state = Disk::Slow;
    for n in 0..1024 {
        net.write(0, n, &format!("horde/h{n}"), horde(1));
    }
    assert!(net.nodes[0].answers.is_empty());
    net.write(0, 1024, "horde/late", horde(1));
    let why = net.refused(0, 1024).unwrap();
    assert!(why.contains("n0") && why.contains("1024 writes to finish first; nothing was changed"), "{why}");
    assert_eq!(net.nodes[0].pending.len(), 1024);
    net.nodes[0].state = Disk::Good;
    net.run(SECOND * 2);
    assert!((0..1024).all(|n| net.written(0, n) == Some((1, true))));
    net.write(0, 1025, "horde/late", horde(2));
    net.settle();
    assert_eq!(net.written(0, 1025), Some((1, true)));
    assert_eq!(net.nodes[1].facts.count(), 1025);
}

/// Found by the simulator's failing syncs: a write that was refused came into force at the next start, for the disk had
/// kept what it said it could not.
#[test]
fn a_refused_write_that_the_disk_kept_is_dropped_from_it_and_no_later_life_obeys_it() {
    let mut net = Net::flock(2);
    net.write(0, 1, "horde/web", horde(1));
    net.settle();
    net.nodes[0].state = Disk::NoSync;
    net.write(0, 2, "horde/web", horde(2));
    net.write(0, 3, "horde/new", horde(3));
    net.settle();
    assert!(net.refused(0, 2).is_some_and(|why| why.contains("fsync")) && net.refused(0, 3).is_some());
    assert_eq!(net.nodes[0].disk.len(), 3, "the disk has it all the same");
    net.run(SECOND * 5);
    net.nodes[0].state = Disk::Good;
    net.run(SECOND * 2);
    net.restart(0);
    assert_eq!(net.nodes[0].facts.value("horde/web").cloned(), horde(1));
    assert_eq!(net.nodes[0].facts.value("horde/new"), None);
    net.link(0, 1);
    net.run(SECOND * 10);
    assert!(net.equal());
    assert_eq!(net.nodes[1].facts.conflicts().count(), 0);
}

#[test]
fn a_refused_write_that_is_written_again_word_for_word_stays() {
    let mut net = Net::flock(1);
    net.nodes[0].state = Disk::NoSync;
    let version = common::version("horde/web", horde(2), vec![], net.wall().0, 7);
    let write = |net: &mut Net, request| {
        let versions = vec![version.clone()];
        net.input(0, crux_core::facts::Input::Write { request, versions });
        net.disk(0);
    };
    write(&mut net, 1);
    assert!(net.refused(0, 1).is_some());
    net.nodes[0].state = Disk::Good;
    write(&mut net, 2);
    net.run(SECOND * 5);
    assert!(net.nodes[0].answers.iter().any(|answer| matches!(answer, Output::Written { request: 2, .. })));
    net.restart(0);
    assert_eq!(net.nodes[0].facts.value("horde/web").cloned(), horde(2));
}

/// Two writes of the same bytes under way at once: the first fails, and what it may have left on the disk is what the second
/// one wants there.
#[test]
fn a_write_that_is_under_way_is_not_dropped_because_an_earlier_try_failed() {
    use crux_core::facts::Input;
    let mut facts = common::facts(0);
    let (now, wall) = (crux_names::Time::from_millis(1000), crux_names::Wall(common::WALL));
    let step = |facts: &mut crux_core::facts::Facts, input| {
        let mut out = Vec::new();
        facts.handle(now, wall, input, &mut out);
        let persist = |output| match output {
            Output::Persist { token, drop, .. } => Some((token, drop)),
            _ => None,
        };
        out.into_iter().find_map(persist)
    };
    let same = common::version("horde/web", horde(2), vec![], wall.0, 7);
    let other = common::version("horde/db", horde(2), vec![], wall.0, 8);
    let write = |request, version: &crux_core::facts::version::Checked| Input::Write {
        request,
        versions: vec![version.clone()],
    };
    let first = step(&mut facts, write(1, &same)).unwrap().0;
    let second = step(&mut facts, write(2, &same)).unwrap().0;
    step(&mut facts, Input::Persisted { token: first, result: Err("it is full".into()) });
    let (third, dropped) = step(&mut facts, write(3, &other)).unwrap();
    assert_eq!(dropped, []);
    let after = step(&mut facts, Input::Persisted { token: second, result: Ok(()) });
    assert!(after.is_none_or(|(_, dropped)| dropped.is_empty()));
    let after = step(&mut facts, Input::Persisted { token: third, result: Ok(()) });
    assert!(after.is_none_or(|(_, dropped)| dropped.is_empty()));
    assert_eq!(facts.value("horde/web").cloned(), horde(2));
}

#[test]
fn an_hour_of_refused_writes_costs_one_try_a_second_and_leaves_nothing() {
    let mut net = Net::flock(1);
    net.nodes[0].state = Disk::NoSync;
    for n in 0..600 {
        net.write(0, n, &format!("horde/h{n}"), horde(1));
        net.run(SECOND);
    }
    assert!((0..600).all(|n| net.refused(0, n).is_some()));
    net.nodes[0].state = Disk::Good;
    net.run(SECOND * 2);
    assert_eq!((net.nodes[0].disk.len(), net.nodes[0].facts.count()), (0, 0));
}

/// Found by thinking of which order a disk keeps: a fact was dropped from the disk by a write of something else, while what
/// had replaced it waited for the disk. After a loss of power, and of the others, there was neither.
#[test]
fn what_was_replaced_leaves_the_disk_no_earlier_than_what_replaced_it_comes() {
    let mut net = Net::flock(3);
    net.write(0, 1, "horde/web", horde(1));
    net.settle();
    assert_eq!(net.written(0, 1), Some((2, true)));
    net.nodes[0].state = Disk::Full;
    net.write(1, 2, "horde/web", horde(2));
    net.settle();
    assert_eq!(net.nodes[0].facts.value("horde/web").cloned(), horde(2));
    net.nodes[0].state = Disk::Good;
    net.write(0, 3, "horde/db", horde(3));
    // One transaction, then the power is gone.
    assert!(net.disk(0));
    net.restart(0);
    assert_eq!(net.nodes[0].facts.value("horde/db").cloned(), horde(3));
    assert_eq!(net.nodes[0].facts.value("horde/web").cloned(), horde(1), "it was acknowledged");
}

/// Found by a reviewer: a store whose file was removed went on in another one, and only what was written since was on disk.
#[test]
fn all_that_was_durable_is_written_again_when_the_store_begins_anew() {
    use crux_core::facts::Input;
    let mut net = Net::flock(2);
    for n in 0..20 {
        net.write(0, n, &format!("horde/h{n}"), horde(1));
        net.settle();
    }
    net.write(0, 20, "horde/h3", None);
    net.settle();
    net.run(SECOND);
    assert!(net.nodes[0].facts.durable());
    let before = net.nodes[0].facts.digest();
    net.nodes[0].disk.clear();
    net.nodes[0].state = Disk::Slow;
    net.input(0, Input::StoreAnew);
    assert!(!net.nodes[0].facts.durable());
    // The new file fails once, too.
    net.nodes[0].state = Disk::Full;
    net.settle();
    assert!(!net.nodes[0].facts.durable());
    net.nodes[0].state = Disk::Good;
    net.run(SECOND * 3);
    assert!(net.nodes[0].facts.durable());
    net.restart(0);
    assert_eq!(net.nodes[0].facts.digest(), before);
    assert_eq!(net.nodes[0].facts.value("horde/h3"), None);
}
