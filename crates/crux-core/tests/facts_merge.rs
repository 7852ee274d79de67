//! The laws of merging, for random histories: what stands depends on which versions exist, not on how they came.

mod common;

use bytes::Bytes;
use common::{Net, WALL, facts, horde, version};
use crux_core::facts::version::Checked;
use crux_core::facts::{Facts, Input};
use crux_names::{Hash256, Time, Wall};
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message as _;
use std::collections::BTreeSet;

const PATHS: [&str; 2] = ["horde/web", "horde/db"];

#[derive(Clone, Debug)]
enum Op {
    /// Replica, path, value (none deletes), stamp, whether it settles conflicts.
    Write(usize, usize, Option<u32>, u64, bool),
    /// From, to.
    Sync(usize, usize),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (0..3_usize, 0..2_usize, proptest::option::weighted(0.8, 0..4_u32), 0..6_u64, any::<bool>())
            .prop_map(|(replica, path, value, stamp, settle)| Op::Write(replica, path, value, stamp, settle)),
        2 => (0..3_usize, 0..3_usize).prop_map(|(from, to)| Op::Sync(from, to)),
    ]
}

fn give(to: &mut Facts, versions: Vec<Checked>) {
    to.handle(Time::ZERO, Wall(WALL), Input::Loaded { versions }, &mut Vec::new());
}

/// Plays a history on three replicas that see each other only when it says so; gives every version that was made.
fn history(ops: &[Op]) -> Vec<Checked> {
    let mut replicas = [facts(0), facts(1), facts(2)];
    let mut seen: [Vec<Checked>; 3] = Default::default();
    let mut all = Vec::new();
    for (nonce, op) in ops.iter().enumerate() {
        match *op {
            Op::Write(at, path, value, stamp, settle) => {
                let ancestors = replicas[at].ancestors(PATHS[path], settle);
                let made = version(PATHS[path], value.and_then(horde), ancestors, WALL + stamp, nonce as u64);
                give(&mut replicas[at], vec![made.clone()]);
                seen[at].push(made.clone());
                all.push(made);
            }
            Op::Sync(from, to) => {
                let versions = seen[from].clone();
                give(&mut replicas[to], versions.clone());
                seen[to].extend(versions);
            }
        }
    }
    all
}

type Picture = (Hash256, Vec<Vec<Hash256>>, Vec<Option<Bytes>>, Vec<Hash256>);

fn picture(facts: &Facts) -> Picture {
    (
        facts.digest(),
        PATHS.iter().map(|path| facts.heads(path)).collect(),
        PATHS.iter().map(|path| facts.value(path).cloned()).collect(),
        facts.conflicts().map(|conflict| conflict.loser.id()).collect(),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn order_and_repetition_change_nothing(
        (versions, shuffled) in vec(op(), 1..40).prop_map(|ops| history(&ops)).prop_flat_map(|versions| {
            let mut twice = versions.clone();
            twice.extend(versions.iter().step_by(2).cloned());
            (Just(versions), Just(twice).prop_shuffle())
        }),
        batch in 1..7_usize,
    ) {
        let mut straight = facts(0);
        give(&mut straight, versions.clone());
        let mut other = facts(0);
        for versions in shuffled.chunks(batch) {
            give(&mut other, versions.to_vec());
        }
        prop_assert_eq!(picture(&straight), picture(&other));
        // Idempotent: all of it once more.
        give(&mut other, versions);
        prop_assert_eq!(picture(&straight), picture(&other));
    }

    #[test]
    fn grouping_changes_nothing(ops in vec(op(), 1..40), split in any::<u64>()) {
        // Three fulcrums hold any parts of the history and find out by themselves what each lacks: (a b) c, then a (b c).
        let versions = history(&ops);
        let mut whole = facts(0);
        give(&mut whole, versions.clone());
        let part = |i: usize| -> Vec<Checked> {
            let mine = |n: usize| (split >> (2 * (n % 32))) & 3;
            versions.iter().enumerate().filter(|(n, _)| mine(*n) == i as u64 || mine(*n) == 3).map(|(_, v)| v.clone()).collect()
        };
        let mut pictures = Vec::new();
        for order in [[(0, 1), (1, 2), (0, 2)], [(1, 2), (0, 2), (0, 1)]] {
            let mut net = Net::new(3);
            for i in 0..3 {
                let versions = part(i);
                give(&mut net.nodes[i].facts, versions);
            }
            for (a, b) in order {
                net.link(a, b);
                net.run(core::time::Duration::from_secs(30));
            }
            prop_assert!(net.equal());
            pictures.push(picture(&net.nodes[0].facts));
        }
        prop_assert_eq!(&pictures[0], &pictures[1]);
        let all: BTreeSet<usize> = (0..3).flat_map(|i| part(i).iter().map(|v| versions.iter().position(|w| w == v).unwrap()).collect::<Vec<_>>()).collect();
        if all.len() == versions.len() {
            prop_assert_eq!(&pictures[0], &picture(&whole));
        }
    }

    #[test]
    fn nothing_is_lost_in_silence(ops in vec(op(), 1..60)) {
        let versions = history(&ops);
        let mut all = facts(0);
        give(&mut all, versions.clone());
        let named: BTreeSet<Hash256> =
            versions.iter().flat_map(|version| version.statement().ancestors.iter().copied()).collect();
        let listed: BTreeSet<Hash256> = all.conflicts().map(|conflict| conflict.loser.id()).collect();
        for version in &versions {
            let path = &version.statement().path;
            let in_force = all.version(path).unwrap();
            let same = in_force.statement().value == version.statement().value;
            prop_assert!(
                in_force.id() == version.id() || listed.contains(&version.id()) || named.contains(&version.id()) || same
            );
            // What somebody replaced is neither in force nor listed.
            if named.contains(&version.id()) {
                prop_assert!(in_force.id() != version.id() && !listed.contains(&version.id()));
            }
        }
        for path in PATHS {
            let heads = all.heads(path);
            let rank = |id: &Hash256| {
                let version = versions.iter().find(|version| version.id() == *id).unwrap();
                (version.statement().value.is_none(), version.statement().stamp, *id)
            };
            prop_assert!(heads.iter().all(|id| rank(id) <= rank(&heads[0])));
        }
    }
}

#[test]
fn deleting_and_editing_at_once_is_a_conflict_that_the_deletion_wins() {
    let base = version("horde/web", horde(1), vec![], WALL, 0);
    let deleted = version("horde/web", None, vec![base.id()], WALL + 1, 1);
    let edited = version("horde/web", horde(2), vec![base.id()], WALL + 2, 2);
    let mut facts = facts(0);
    give(&mut facts, vec![deleted.clone(), base, edited.clone()]);
    assert_eq!(facts.value("horde/web"), None, "though the edit is the later");
    let conflicts: Vec<_> = facts.conflicts().map(|c| (c.winner.id(), c.loser.id())).collect();
    assert_eq!(conflicts, [(deleted.id(), edited.id())]);
    // An edit of what is in force leaves the loser listed; one that names both ends the conflict.
    let plain = version("horde/web", horde(3), facts.ancestors("horde/web", false), WALL + 3, 3);
    give(&mut facts, vec![plain]);
    assert_eq!((facts.conflicts().count(), facts.value("horde/web").cloned()), (1, horde(3)));
    let settled = version("horde/web", None, facts.ancestors("horde/web", true), WALL + 4, 4);
    give(&mut facts, vec![settled]);
    assert_eq!((facts.conflicts().count(), facts.value("horde/web"), facts.count()), (0, None, 1));
}

/// To take the line away brings things back, so there the later stamp decides as between any two.
#[test]
fn of_the_horizon_alone_a_deletion_does_not_win() {
    let before = (WALL - 1_000) - 500 * 86_400_000_000;
    let value = crux_core::facts::value::Horizon { before }.encode_to_vec();
    let drawn = version("horizon", Some(value.clone().into()), vec![], WALL + 1, 0);
    let deleted = version("horizon", None, vec![], WALL, 1);
    let mut facts = facts(0);
    give(&mut facts, vec![drawn, deleted]);
    assert_eq!(facts.value("horizon").map(|value| value.to_vec()), Some(value));
}

#[test]
fn equal_values_are_no_conflict() {
    let mut facts = facts(0);
    give(
        &mut facts,
        vec![version("horde/web", horde(1), vec![], WALL, 0), version("horde/web", horde(1), vec![], WALL, 1)],
    );
    assert_eq!((facts.conflicts().count(), facts.heads("horde/web").len()), (0, 2));
}

#[test]
fn a_late_copy_does_not_come_back_after_many_edits_and_little_is_kept_for_that() {
    let mut facts = facts(0);
    let mut made = Vec::new();
    for n in 0..400 {
        let next = version("horde/web", horde(n), facts.ancestors("horde/web", false), WALL + u64::from(n), 0);
        give(&mut facts, vec![next.clone()]);
        made.push(next);
    }
    let digest = facts.digest();
    give(&mut facts, made.clone());
    assert_eq!((facts.digest(), facts.conflicts().count()), (digest, 0));
    let kept = made.iter().filter(|version| facts.by_id(&version.id()).is_some()).count();
    assert!((13..=28).contains(&kept), "{kept} versions are kept for 400 edits that name 32 each");
}

#[test]
fn a_peer_that_lacks_the_proof_of_a_replacement_is_shown_it() {
    let mut net = Net::new(2);
    let mut made = Vec::new();
    for n in 0..100_u32 {
        let next =
            version("horde/web", horde(n), net.nodes[0].facts.ancestors("horde/web", false), WALL + u64::from(n), 0);
        give(&mut net.nodes[0].facts, vec![next.clone()]);
        made.push(next);
    }
    // The other was away: it knows the first edit only, which the last does not name any longer.
    give(&mut net.nodes[1].facts, vec![made[0].clone()]);
    net.link(0, 1);
    net.run(core::time::Duration::from_secs(30));
    assert!(net.equal());
    assert_eq!(net.nodes[1].facts.heads("horde/web"), [made[99].id()]);
    assert_eq!(net.nodes[1].facts.conflicts().count(), 0);
}

#[test]
fn edits_behind_the_evidence_are_conflicts_and_both_sides_agree() {
    let mut net = Net::new(2);
    let mut old = Vec::new();
    for n in 0..2500_u32 {
        let next =
            version("horde/web", horde(n), net.nodes[0].facts.ancestors("horde/web", false), WALL + u64::from(n), 0);
        give(&mut net.nodes[0].facts, vec![next.clone()]);
        if n == 0 {
            old.push(next);
        }
    }
    give(&mut net.nodes[1].facts, old.clone());
    net.link(0, 1);
    net.run(core::time::Duration::from_secs(30));
    assert!(net.equal());
    for node in &net.nodes {
        assert_eq!(node.facts.value("horde/web").cloned(), horde(2499));
        assert_eq!(node.facts.conflicts().map(|c| c.loser.id()).collect::<Vec<_>>(), [old[0].id()]);
    }
}

#[test]
fn an_ancestor_counts_for_its_own_path_only() {
    let mut facts = facts(0);
    let web = version("horde/web", horde(1), vec![], WALL, 0);
    let db = version("horde/db", horde(1), vec![web.id()], WALL, 0);
    give(&mut facts, vec![web.clone(), db]);
    assert_eq!(facts.heads("horde/web"), [web.id()]);
}
