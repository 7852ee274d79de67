//! What a backup held comes back, all of it, where nothing is; and where something is, nothing comes back that was
//! replaced, deleted or expelled since.

mod common;

use bytes::Bytes;
use common::{Disk, Net, WALL, bloc, horde, id, member, row, seal, version};
use crux_core::facts::value::Expulsion;
use crux_core::facts::version::{Author, Checked, Stamp, Statement};
use crux_core::facts::{Fate, Input, STORE_MAX};
use crux_names::Duration;
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message as _;

fn expulsion(up_to: u32) -> Option<Bytes> {
    Some(Expulsion { up_to, reason: "stolen".to_owned() }.encode_to_vec().into())
}

fn backup(net: &Net, i: usize) -> Vec<Checked> {
    net.nodes[i].facts.kept().cloned().collect()
}

/// As the door does it: what is not refused is brought back.
fn restore(net: &mut Net, i: usize, request: u64, versions: &[Checked]) -> Vec<Fate> {
    let fates = net.nodes[i].facts.fates(versions);
    let pairs = versions.iter().zip(&fates);
    let good: Vec<Checked> =
        pairs.filter(|(_, fate)| !matches!(fate, Fate::Refused(_))).map(|(version, _)| version.clone()).collect();
    net.input(i, Input::Restore { request, versions: good });
    net.settle();
    fates
}

fn taken(fates: &[Fate]) -> usize {
    fates.iter().filter(|fate| matches!(fate, Fate::Taken { .. })).count()
}

/// A bloc with an edit, a deletion, a conflict, an expulsion and a row.
fn bloc_of_two() -> Net {
    let mut net = Net::flock(2);
    net.write(0, 1, "horde/web", horde(1));
    net.settle();
    net.write(0, 2, "horde/web", horde(3));
    net.write(0, 3, "horde/gone", horde(1));
    net.settle();
    net.write(0, 4, "horde/gone", None);
    net.write(0, 5, "expel/n7", expulsion(2));
    net.settle();
    let aside = version("horde/web", horde(9), vec![], WALL, 6);
    net.input(1, Input::Versions { from: member(0), versions: vec![aside] });
    net.input(0, Input::Row(row("web")));
    net.run(Duration::from_secs(10));
    assert!(net.equal());
    assert_eq!(net.nodes[0].facts.conflicts().count(), 1);
    net
}

#[test]
fn all_of_it_comes_back_where_nothing_is_and_goes_to_all() {
    let old = bloc_of_two();
    let versions = backup(&old, 0);
    let mut net = Net::flock(3);
    let fates = restore(&mut net, 0, 1, &versions);
    assert_eq!(taken(&fates), old.nodes[0].facts.count());
    assert_eq!(net.written(0, 1), Some((2, true)), "two others have it on disk");
    net.run(Duration::from_secs(10));
    assert!(net.equal());
    assert_eq!(net.nodes[2].facts.digest(), old.nodes[0].facts.digest());
    assert_eq!(net.nodes[2].facts.value("horde/gone"), None);
    assert_eq!(net.nodes[2].facts.conflicts().count(), 1);
    for i in 0..3 {
        net.restart(i);
    }
    assert_eq!(net.nodes[1].facts.digest(), old.nodes[0].facts.digest(), "it is on disk");

    // Once more it changes nothing.
    let again = restore(&mut net, 0, 2, &versions);
    assert_eq!(taken(&again), 0);
    assert_eq!(net.nodes[0].facts.digest(), old.nodes[0].facts.digest());
}

#[test]
fn what_was_deleted_edited_or_expelled_since_stays_so() {
    let mut net = bloc_of_two();
    let versions = backup(&net, 0);
    net.write(0, 11, "horde/web", None);
    net.write(0, 12, "expel/n7", expulsion(4));
    net.write(0, 13, "expel/n0", expulsion(1));
    net.run(Duration::from_secs(10));
    let digest = net.nodes[1].facts.digest();
    let fates = restore(&mut net, 1, 14, &versions);
    assert_eq!(taken(&fates), 0, "{fates:?}");
    let refused =
        |fate: &Fate| matches!(fate, Fate::Refused(why) if why == "n0 is expelled, with its admissions up to 1");
    let row = versions.iter().position(|version| version.statement().path.starts_with("row/n0/")).unwrap();
    assert!(refused(&fates[row]), "{:?}", fates[row]);
    assert_eq!(fates.iter().filter(|fate| refused(fate)).count(), 1);
    net.run(Duration::from_secs(10));
    assert!(net.equal());
    assert_eq!(net.nodes[0].facts.digest(), digest);
    let expelled = Expulsion::decode(net.nodes[0].facts.value("expel/n7").unwrap().as_ref()).unwrap();
    assert_eq!((net.nodes[0].facts.value("horde/web"), expelled.up_to), (None, 4));
}

#[test]
fn what_was_made_apart_meanwhile_is_a_conflict_that_is_listed() {
    let versions = backup(&bloc_of_two(), 0);
    let mut net = Net::flock(2);
    net.write(0, 1, "horde/web", horde(5));
    net.settle();
    let fates = restore(&mut net, 0, 2, &versions);
    let conflicts = fates.iter().filter(|fate| **fate == Fate::Taken { conflict: true }).count();
    assert_eq!(conflicts, 2, "both versions of horde/web");
    assert_eq!(net.nodes[0].facts.conflicts().count(), 2);
}

#[test]
fn a_disk_that_fails_restores_nothing_and_what_may_not_be_written_is_not_brought_back() {
    let versions = backup(&bloc_of_two(), 0);
    let mut net = Net::flock(2);
    let before = net.nodes[0].facts.digest();
    net.nodes[0].state = Disk::Full;
    restore(&mut net, 0, 1, &versions);
    assert!(net.refused(0, 1).unwrap().contains("nothing was changed"), "{:?}", net.refused(0, 1));
    assert_eq!(net.nodes[0].facts.digest(), before);

    net.nodes[0].state = Disk::Good;
    let mut statement = versions[0].statement().clone();
    statement.bloc = "other".parse().unwrap();
    let forged = Statement {
        bloc: bloc(),
        path: "row/n1/0".into(),
        value: Some(row("web").encode_to_vec().into()),
        ancestors: vec![],
        stamp: Stamp { wall: WALL, logical: 0 },
        author: Author::Fulcrum(id("n9")),
        nonce: Bytes::new(),
    };
    for (request, bad) in [(2, seal(&statement)), (3, seal(&forged))] {
        assert!(matches!(&net.nodes[0].facts.fates(std::slice::from_ref(&bad))[..], [Fate::Refused(_)]));
        // Also if a door should not have asked before: none of the others either.
        let mut all = versions.clone();
        all.push(bad);
        net.input(0, Input::Restore { request, versions: all });
        net.settle();
        assert!(net.refused(0, request).is_some());
        assert_eq!(net.nodes[0].facts.digest(), before);
    }
}

#[test]
fn a_full_bloc_takes_back_what_it_lacks_and_says_beforehand_what_it_does_not() {
    let mut net = Net::new(1);
    let nth = |n: usize| version(&format!("horde/h{n}"), horde(1), vec![], WALL, n as u64);
    let full: Vec<Checked> = (0..STORE_MAX - 1).map(nth).collect();
    net.input(0, Input::Loaded { versions: full.clone() });
    // A request of a backup of this bloc: all of it is here but one.
    let mut request = full[..255].to_vec();
    request.push(nth(STORE_MAX));
    assert_eq!(net.nodes[0].facts.may_restore(&request, 0), Ok(()));
    assert_eq!(taken(&restore(&mut net, 0, 1, &request)), 1);
    assert_eq!((net.refused(0, 1), net.nodes[0].facts.count()), (None, STORE_MAX));
    // What replaces something needs no room; what is held needs none either.
    let edit = version("horde/h0", horde(2), vec![full[0].id()], WALL + 1, 0);
    assert_eq!(net.nodes[0].facts.may_restore(&[edit, nth(STORE_MAX)], 0), Ok(()));
    let more = [nth(STORE_MAX + 1)];
    let asked = net.nodes[0].facts.may_restore(&more, 0).unwrap_err();
    restore(&mut net, 0, 2, &more);
    assert_eq!(net.refused(0, 2), Some(asked.as_str()));
    assert!(asked.contains("would have 15001 facts"), "{asked}");
}

#[test]
fn what_comes_before_it_in_a_backup_counts_when_it_is_only_asked() {
    let mut net = Net::new(1);
    let nth = |n: usize| version(&format!("horde/h{n}"), horde(1), vec![], WALL, n as u64);
    net.input(0, Input::Loaded { versions: (0..STORE_MAX - 2).map(nth).collect() });
    let facts = &net.nodes[0].facts;
    let (first, second) = ([nth(STORE_MAX), nth(STORE_MAX + 1)], [nth(STORE_MAX + 2)]);
    assert_eq!((facts.may_restore(&first, 0), facts.growth(&first)), (Ok(()), 2));
    assert!(facts.may_restore(&second, 0).is_ok() && facts.may_restore(&second, 2).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever the history, and whatever was written since: a restore is a merge, and what is said beforehand is so.
    #[test]
    fn a_restore_is_a_merge(before in vec((0..3_usize, proptest::option::of(0..4_u32)), 0..40),
                            after in vec((0..3_usize, proptest::option::of(0..4_u32)), 0..40)) {
        let paths = ["horde/a", "horde/b", "horde/c"];
        let mut net = Net::flock(1);
        for (n, (path, value)) in before.iter().enumerate() {
            net.write(0, n as u64, paths[*path], value.and_then(horde));
            net.settle();
        }
        let versions = backup(&net, 0);
        for (n, (path, value)) in after.iter().enumerate() {
            net.write(0, 100 + n as u64, paths[*path], value.and_then(horde));
            net.settle();
        }
        let (digest, later) = (net.nodes[0].facts.digest(), backup(&net, 0));
        let fates = restore(&mut net, 0, 999, &versions);
        prop_assert_eq!(net.nodes[0].facts.digest(), digest, "{:?}", fates);
        prop_assert_eq!(taken(&fates), 0);

        // The other way round: the later backup where the earlier one was restored.
        let mut fresh = Net::flock(1);
        for (request, versions) in [(1, &versions), (2, &later)] {
            if versions.is_empty() {
                continue;
            }
            let fates = restore(&mut fresh, 0, request, versions);
            let facts = &fresh.nodes[0].facts;
            for (version, fate) in versions.iter().zip(&fates) {
                let stands = facts.heads(&version.statement().path).contains(&version.id());
                prop_assert_eq!(stands, matches!(fate, Fate::Taken { .. } | Fate::Held), "{:?}", fate);
            }
        }
        prop_assert_eq!(fresh.nodes[0].facts.digest(), digest);
    }
}
