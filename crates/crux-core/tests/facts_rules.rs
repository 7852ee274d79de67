//! Rules: a removal wins over everything that allows, whatever knew of whatever, however late that is stamped and in whichever
//! order it came; it outlives horizons, restarts, old disks and backups; and a rule never changes.

mod common;

use bytes::Bytes;
use common::{Net, WALL, facts, horde, member, version};
use crux_core::facts::rule::{NONCE, Rule, RuleFact, rule_path};
use crux_core::facts::value::{HORIZON, HORIZON_MIN, Horizon};
use crux_core::facts::version::Checked;
use crux_core::facts::{Facts, Fate, Input, Output, STORE_MAX};
use crux_names::{Duration, Hash256, Time, Wall};
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message as _;

/// As early as a horizon may lie.
const LINE: u64 = WALL - HORIZON_MIN;

fn rule(nonce: u8) -> RuleFact {
    let rule = Rule {
        client: "web/api".into(),
        endpoint: "data/db".into(),
        nonce: Bytes::from(vec![nonce; NONCE]),
        ..Rule::default()
    };
    RuleFact { rule: rule.encode_to_vec().into(), removed: false }
}

fn path(nonce: u8) -> String {
    rule_path(&rule(nonce).id())
}

fn value(nonce: u8, removed: bool) -> Option<Bytes> {
    Some(RuleFact { removed, ..rule(nonce) }.encode_to_vec().into())
}

fn made(nonce: u8, removed: bool, ancestors: Vec<Hash256>, wall: u64, write: u64) -> Checked {
    version(&path(nonce), value(nonce, removed), ancestors, wall, write)
}

/// Whether the rule allows here.
fn allows(facts: &Facts, nonce: u8) -> bool {
    facts.rules().any(|listed| listed.id == rule(nonce).id() && !listed.rule.removed)
}

fn removed(facts: &Facts, nonce: u8) -> bool {
    facts.rules().any(|listed| listed.id == rule(nonce).id() && listed.rule.removed)
}

fn give(to: &mut Facts, versions: Vec<Checked>) {
    to.handle(Time::ZERO, Wall(WALL), Input::Loaded { versions }, &mut Vec::new());
}

fn horizon(before: u64, write: u64) -> Checked {
    version(HORIZON, Some(Horizon { before }.encode_to_vec().into()), vec![], WALL + write, write)
}

/// Everything that two fulcrums must agree on.
fn picture(facts: &Facts) -> (Hash256, Vec<Vec<Hash256>>, usize) {
    (facts.digest(), (0..3).map(|nonce| facts.heads(&path(nonce))).collect(), facts.conflicts().count())
}

/// What operators may sign of three rules, in parts that know of each other or not, on both sides of two horizons: made, signed
/// again later, removed.
fn history() -> impl Strategy<Value = Vec<Checked>> {
    let edit = (0..3_u8, proptest::bool::weighted(0.3), 0..16_u64, any::<bool>());
    (vec(edit, 1..24), vec(0..16_u64, 0..3)).prop_map(|(edits, lines)| {
        let mut writer = facts(0);
        let mut all = Vec::new();
        for (write, (nonce, removed, stamp, knows)) in edits.into_iter().enumerate() {
            let ancestors = if knows { writer.ancestors(&path(nonce), false) } else { Vec::new() };
            let one = made(nonce, removed, ancestors, LINE + stamp - 8, write as u64);
            give(&mut writer, vec![one.clone()]);
            all.push(one);
        }
        all.extend(lines.into_iter().enumerate().map(|(n, line)| horizon(LINE + line - 16, 100 + n as u64)));
        all
    })
}

fn removes(version: &Checked, nonce: u8) -> bool {
    version.statement().path == path(nonce) && version.statement().value == value(nonce, true)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Commutative, idempotent, and a removal wins: from the disk, one by one from a peer, twice.
    #[test]
    fn what_stands_follows_from_the_versions_and_a_removed_rule_allows_nowhere(
        (one, other) in history().prop_flat_map(|all| {
            let twice: Vec<Checked> = all.iter().chain(all.iter().step_by(2)).cloned().collect();
            (Just(all), Just(twice).prop_shuffle())
        })
    ) {
        let (mut a, mut b, mut c) = (facts(1), facts(2), facts(3));
        give(&mut a, one.clone());
        for version in other.iter().cloned() {
            give(&mut b, vec![version]);
        }
        let from = member(1);
        c.handle(Time::ZERO, Wall(WALL), Input::Linked(from.clone()), &mut Vec::new());
        for version in other {
            let input = Input::Versions { from: from.clone(), versions: vec![version] };
            c.handle(Time::ZERO, Wall(WALL), input, &mut Vec::new());
        }
        prop_assert_eq!(picture(&a), picture(&b));
        prop_assert_eq!(picture(&a), picture(&c));
        for nonce in 0..3 {
            let ended = one.iter().any(|version| removes(version, nonce));
            prop_assert_eq!(removed(&a, nonce), ended);
            prop_assert!(!(ended && allows(&a, nonce)));
            // Nor is anything of it there to be accepted from the quarantine.
            let listed = |facts: &Facts| facts.quarantined().any(|one| one.statement().path == path(nonce));
            prop_assert!(!(ended && (listed(&a) || listed(&b) || listed(&c))));
        }
        prop_assert!(a.conflicts().all(|conflict| conflict.path == HORIZON));
    }

    /// Associative: three fulcrums hold any parts and find out by themselves, (a b) c and a (b c).
    #[test]
    fn grouping_changes_nothing(versions in history(), split in any::<u64>()) {
        let part = |i: usize| -> Vec<Checked> {
            let mine = |n: usize| (split >> (2 * (n % 32))) & 3;
            versions.iter().enumerate().filter(|(n, _)| mine(*n) == i as u64 || mine(*n) == 3).map(|(_, v)| v.clone()).collect()
        };
        let held: Vec<Checked> = versions.iter().filter(|one| (0..3).any(|i| part(i).contains(one))).cloned().collect();
        let mut pictures = Vec::new();
        for order in [[(0, 1), (1, 2), (0, 2)], [(1, 2), (0, 2), (0, 1)]] {
            let mut net = Net::new(3);
            for i in 0..3 {
                give(&mut net.nodes[i].facts, part(i));
            }
            for (a, b) in order {
                net.link(a, b);
                net.run(Duration::from_secs(30));
            }
            prop_assert!(net.equal());
            for nonce in 0..3 {
                let ended = held.iter().any(|version| removes(version, nonce));
                prop_assert!(net.nodes.iter().all(|node| removed(&node.facts, nonce) == ended));
            }
            pictures.push(picture(&net.nodes[0].facts));
        }
        prop_assert_eq!(&pictures[0], &pictures[1]);
    }
}

#[test]
fn a_removal_wins_over_what_knew_of_it_and_came_later() {
    let first = made(1, false, vec![], WALL, 1);
    let gone = made(1, true, vec![first.id()], WALL + 1, 2);
    // Signed again by somebody who knew of the removal, years later.
    let again = made(1, false, vec![gone.id(), first.id()], WALL + 9_000_000_000, 3);
    let all = [first, gone, again];
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut net = Net::flock(2);
        for at in order {
            net.input(0, Input::Versions { from: member(1), versions: vec![all[at].clone()] });
        }
        net.run(Duration::from_secs(10));
        assert!(net.equal(), "{order:?}");
        for node in &net.nodes {
            assert!(removed(&node.facts, 1) && !allows(&node.facts, 1), "{order:?}");
            assert_eq!((node.facts.count(), node.facts.conflicts().count()), (1, 0), "{order:?}");
        }
        net.restart(0);
        assert!(removed(&net.nodes[0].facts, 1) && !allows(&net.nodes[0].facts, 1), "{order:?}");
    }
}

#[test]
fn removed_on_one_side_and_signed_again_on_the_other_it_is_gone_everywhere() {
    let mut net = Net::flock(4);
    net.write(0, 1, &path(1), value(1, false));
    net.write(0, 2, &path(2), value(2, false));
    net.settle();
    for (a, b) in [(0, 2), (0, 3), (1, 2), (1, 3)] {
        net.cut(a, b);
    }
    net.write(0, 3, &path(1), value(1, true));
    net.write(2, 4, &path(1), value(1, false));
    net.write(3, 5, &path(3), value(3, false));
    net.settle();
    assert!(!allows(&net.nodes[1].facts, 1) && allows(&net.nodes[3].facts, 1));
    for i in 0..4 {
        net.restart(i);
    }
    net.unite(&[0, 1, 2, 3]);
    net.run(Duration::from_secs(10));
    assert!(net.equal());
    for node in &net.nodes {
        let allowed = [1, 2, 3].map(|nonce| allows(&node.facts, nonce));
        assert_eq!(allowed, [false, true, true]);
    }
    // At a door that knows of it, whoever would bring it back is told.
    net.write(2, 9, &path(1), value(1, false));
    assert!(net.refused(2, 9).unwrap().contains("a removed rule never comes back"), "{:?}", net.refused(2, 9));
    // Removed again is no harm, as when everything is signed again under another root.
    net.write(3, 10, &path(1), value(1, true));
    net.run(Duration::from_secs(10));
    assert!(net.written(3, 10).is_some() && net.equal() && removed(&net.nodes[0].facts, 1));
}

/// A part of the bloc was away for years, never heard of the removal, and signed the rule again when it drew its own line.
#[test]
fn no_horizon_and_no_old_disk_brings_a_removed_rule_back() {
    let mut net = Net::flock(2);
    let old = made(1, false, vec![], LINE - 2_000, 1);
    let gone = made(1, true, vec![old.id()], LINE - 1_000, 2);
    let kept = made(2, false, vec![], LINE - 2_000, 3);
    for versions in [vec![old.clone(), gone, kept.clone()], vec![horizon(LINE - 10, 4)]] {
        net.input(0, Input::Versions { from: member(1), versions });
        net.run(Duration::from_secs(10));
    }
    for node in &net.nodes {
        assert!(removed(&node.facts, 1), "the removal is never behind a line");
        assert!(!allows(&node.facts, 2), "what allows is");
    }
    let listed = |net: &Net, i: usize| -> Vec<String> {
        net.nodes[i].facts.quarantined().map(|version| version.statement().path.clone()).collect()
    };
    assert_eq!(listed(&net, 0), [path(2)]);
    let alarms = |net: &Net| {
        let is = |answer: &&Output| matches!(answer, Output::Quarantined { path: of } if *of == path(1));
        net.nodes[0].answers.iter().filter(is).count()
    };
    // An old disk, and then what was signed again yesterday.
    for version in [old, made(1, false, vec![], WALL - 1, 5)] {
        net.input(0, Input::Versions { from: member(1), versions: vec![version] });
        net.run(Duration::from_secs(10));
        assert!(net.equal() && removed(&net.nodes[0].facts, 1) && !allows(&net.nodes[0].facts, 1));
        assert_eq!((listed(&net, 0), alarms(&net)), (vec![path(2)], 0), "there is nothing to be accepted");
    }
    // A line drawn anew, further back: what stood there counts again, and the removal still wins.
    net.input(0, Input::Versions { from: member(1), versions: vec![horizon(LINE - 5_000, 6)] });
    net.run(Duration::from_secs(10));
    for i in 0..2 {
        net.restart(i);
    }
    net.unite(&[0, 1]);
    net.run(Duration::from_secs(10));
    assert!(net.equal());
    for node in &net.nodes {
        assert!(allows(&node.facts, 2) && removed(&node.facts, 1) && !allows(&node.facts, 1));
    }
    // A newcomer learns of the removal though it is older than any line.
    let mut newcomer = Net::new(3);
    for i in 0..2 {
        newcomer.nodes[i].disk = std::mem::take(&mut net.nodes[i].disk);
        newcomer.restart(i);
    }
    newcomer.unite(&[0, 1, 2]);
    newcomer.run(Duration::from_secs(10));
    assert!(newcomer.equal() && removed(&newcomer.nodes[2].facts, 1));
}

#[test]
fn a_backup_brings_no_removed_rule_back_and_a_removal_it_does() {
    let mut net = Net::flock(2);
    net.write(0, 1, &path(1), value(1, false));
    net.write(0, 2, &path(2), value(2, false));
    net.settle();
    let before: Vec<Checked> = net.nodes[0].facts.kept().cloned().collect();
    net.write(0, 3, &path(1), value(1, true));
    net.run(Duration::from_secs(10));
    let after: Vec<Checked> = net.nodes[0].facts.kept().cloned().collect();
    let fates = net.nodes[1].facts.fates(&before);
    let of = |nonce: u8| before.iter().position(|version| version.statement().path == path(nonce)).unwrap();
    assert_eq!((&fates[of(1)], &fates[of(2)]), (&Fate::Replaced, &Fate::Held));
    net.input(1, Input::Restore { request: 4, versions: before.clone() });
    net.run(Duration::from_secs(10));
    assert!(net.equal() && removed(&net.nodes[1].facts, 1) && allows(&net.nodes[1].facts, 2));

    // Where nothing is, in both orders.
    for order in [[&before, &after], [&after, &before]] {
        let mut fresh = Net::flock(1);
        for (request, versions) in order.into_iter().enumerate() {
            fresh.input(0, Input::Restore { request: request as u64, versions: versions.clone() });
            fresh.settle();
        }
        fresh.restart(0);
        assert!(removed(&fresh.nodes[0].facts, 1) && allows(&fresh.nodes[0].facts, 2));
    }
}

#[test]
fn a_rule_never_changes_and_is_not_deleted() {
    let mut net = Net::flock(2);
    net.write(0, 1, &path(1), value(1, false));
    net.settle();
    let digest = net.nodes[0].facts.digest();
    for (request, other) in [(2, value(2, false)), (3, value(2, true)), (4, None), (5, horde(3))] {
        net.write(0, request, &path(1), other.clone());
        net.settle();
        let why = net.refused(0, request).unwrap_or_else(|| panic!("{request}: not refused"));
        let reasons = ["not the hash of the rule", "crux rules rm ID", "not of the form"];
        assert!(reasons.iter().any(|reason| why.contains(reason)), "{why}");
        // Nor from a peer, whose door judged nothing.
        let forged = version(&path(1), other, vec![], WALL + request, request);
        net.input(1, Input::Versions { from: member(0), versions: vec![forged] });
    }
    net.run(Duration::from_secs(10));
    assert!(net.nodes.iter().all(|node| node.facts.digest() == digest && allows(&node.facts, 1)));
    let ignored = net.nodes[1].answers.iter().filter(|answer| matches!(answer, Output::Ignored { .. })).count();
    assert_eq!(ignored, 4, "each is said");
}

#[test]
fn a_bloc_that_is_full_still_removes_and_removed_rules_take_nobodys_room() {
    let mut net = Net::new(1);
    let full = (0..STORE_MAX - 2).map(|n| version(&format!("horde/h{n}"), horde(1), vec![], WALL, n as u64));
    let full = full.chain([made(1, false, vec![], WALL, 1), made(2, false, vec![], WALL, 2)]).collect();
    net.input(0, Input::Loaded { versions: full });
    net.write(0, 1, "horde/one-more", horde(1));
    net.settle();
    assert!(net.refused(0, 1).unwrap().contains("remove some"));
    net.write(0, 2, &path(1), value(1, true));
    net.write(0, 3, &path(3), value(3, true));
    net.settle();
    assert_eq!((net.refused(0, 2), net.refused(0, 3)), (None, None));
    net.write(0, 4, "horde/one-more", horde(1));
    net.settle();
    assert_eq!(net.refused(0, 4), None, "the place of what was removed is free");
    net.write(0, 5, &path(4), value(4, false));
    net.settle();
    assert!(net.refused(0, 5).unwrap().contains(&format!("the bloc has {STORE_MAX} facts")));
}
