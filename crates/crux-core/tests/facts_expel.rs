//! Expulsions: of two the one with more admissions holds, whatever knew of whatever and came in which order; and they are
//! the first that is said over a link.

mod common;

use bytes::Bytes;
use common::{Net, WALL, horde, version};
use crux_core::facts::value::Expulsion;
use crux_core::facts::version::Checked;
use crux_core::facts::{Input, Message, Output, STORE_MAX};
use crux_names::{Duration, Time, Wall};
use prost::Message as _;

fn expulsion(up_to: u32) -> Option<Bytes> {
    Some(Expulsion { up_to, reason: format!("the {up_to}. time") }.encode_to_vec().into())
}

fn up_to(value: Option<&Bytes>) -> u32 {
    Expulsion::decode(value.unwrap().as_ref()).unwrap().up_to
}

#[test]
fn the_one_with_more_admissions_holds_in_every_order_and_nothing_loosens_it() {
    let second = version("expel/n7", expulsion(2), vec![], WALL, 1);
    // It knew of the second, and came later.
    let first = version("expel/n7", expulsion(1), vec![second.id()], WALL + 9, 2);
    let third = version("expel/n7", expulsion(3), vec![], WALL - 9, 3);
    let all = [second, first, third];
    let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    let digests = orders.map(|order| {
        let mut net = Net::flock(2);
        for at in order {
            let versions: Vec<Checked> = vec![all[at].clone()];
            net.input(0, Input::Versions { from: common::member(1), versions });
        }
        assert_eq!(up_to(net.nodes[0].facts.value("expel/n7")), 3, "{order:?}");
        net.run(Duration::from_secs(10));
        assert_eq!(up_to(net.nodes[1].facts.value("expel/n7")), 3, "{order:?}");
        assert!(net.equal(), "{order:?}");
        net.nodes[0].facts.digest()
    });
    assert!(digests.iter().all(|digest| *digest == digests[0]));
}

#[test]
fn two_that_expelled_apart_agree_and_a_restart_forgets_nothing() {
    let mut net = Net::flock(4);
    net.cut(0, 2);
    net.cut(0, 3);
    net.cut(1, 2);
    net.cut(1, 3);
    net.write(0, 1, "expel/n7", expulsion(1));
    net.write(2, 1, "expel/n7", expulsion(2));
    net.settle();
    for i in 0..4 {
        net.restart(i);
    }
    net.unite(&[0, 1, 2, 3]);
    net.run(Duration::from_secs(10));
    for i in 0..4 {
        assert_eq!(up_to(net.nodes[i].facts.value("expel/n7")), 2, "n{i}");
    }
    assert!(net.equal());
}

#[test]
fn expulsions_are_the_first_that_is_said_over_a_link() {
    let mut net = Net::new(2);
    net.link(0, 1);
    net.unite(&[0, 1]);
    net.write(0, 1, "horde/web", horde(3));
    net.write(0, 2, "expel/n7", expulsion(1));
    net.settle();
    let mut out = Vec::new();
    net.nodes[0].facts.handle(Time::from_millis(100_000), Wall(WALL), Input::Linked(common::member(5)), &mut out);
    let sent = |output: &Output| match output {
        Output::Send { to, message } if *to == common::member(5) => Some(message.clone()),
        _ => None,
    };
    let first = out.iter().find_map(sent).unwrap();
    let Message::Versions(sealed) = first else { panic!("{first:?}") };
    let paths: Vec<String> =
        sealed.into_iter().map(|sealed| Checked::vouched(sealed).unwrap().statement().path.clone()).collect();
    assert_eq!(paths, ["expel/n7"]);
}

#[test]
fn a_bloc_that_is_full_still_expels() {
    let mut net = Net::new(1);
    let full = (0..STORE_MAX).map(|n| version(&format!("horde/h{n}"), horde(1), vec![], WALL, n as u64)).collect();
    net.input(0, Input::Loaded { versions: full });
    net.write(0, 1, "horde/one-more", horde(1));
    net.settle();
    assert!(net.refused(0, 1).unwrap().contains("remove some"));
    net.write(0, 2, "expel/n7", expulsion(1));
    net.write(0, 3, "horde/h0", None);
    net.settle();
    assert_eq!((net.refused(0, 2), net.refused(0, 3)), (None, None));
    assert_eq!(up_to(net.nodes[0].facts.value("expel/n7")), 1);
}

/// A review's find: writes that the disk had not finished were not counted, and deletions of what never was took room
/// without end.
#[test]
fn writes_under_way_and_deletions_of_what_never_was_take_room() {
    let mut net = Net::new(1);
    let full = (0..STORE_MAX - 5).map(|n| version(&format!("horde/h{n}"), horde(1), vec![], WALL, n as u64)).collect();
    net.input(0, Input::Loaded { versions: full });
    net.nodes[0].state = common::Disk::Slow;
    (0..10).for_each(|n| _ = net.write(0, n, &format!("horde/more-{n}"), horde(1)));
    net.nodes[0].state = common::Disk::Good;
    net.settle();
    assert_eq!(net.nodes[0].facts.count(), STORE_MAX);
    assert_eq!((net.refused(0, 4), net.refused(0, 5).is_some()), (None, true));
    // What stands is deleted all the same, once for each time that it stands.
    for (request, path) in [(20, "place/web/x1"), (21, "horde/h1"), (22, "horde/h1"), (23, "horde/h2")] {
        let taken = net.nodes[0].facts.count();
        net.write(0, request, path, None);
        net.settle();
        assert_eq!(
            (net.refused(0, request).is_some(), net.nodes[0].facts.count()),
            (request % 2 == 0, taken),
            "{path}"
        );
    }
    let ancestors = net.nodes[0].facts.ancestors("horde/h3", true);
    let deletion = |n: u64, path: &str, ancestors| version(path, None, ancestors, WALL + n, n);
    // One that names nothing of what stands stands beside it; of two at once only one replaces it.
    let beside = deletion(30, "horde/h3", vec![]);
    let twice = vec![deletion(31, "horde/h3", ancestors.clone()), deletion(32, "horde/h3", ancestors.clone())];
    for (request, versions) in [(30, vec![beside]), (31, twice)] {
        net.input(0, Input::Write { request, versions });
        net.settle();
        assert!(net.refused(0, request).unwrap().contains("remove some"));
    }
    net.nodes[0].state = common::Disk::Slow;
    for n in 33..35 {
        let versions = vec![deletion(n, "horde/h3", ancestors.clone())];
        net.input(0, Input::Write { request: n, versions });
    }
    net.nodes[0].state = common::Disk::Good;
    net.settle();
    assert_eq!((net.refused(0, 33), net.refused(0, 34).is_some()), (None, true));
    assert_eq!(net.nodes[0].facts.count(), STORE_MAX);
}
