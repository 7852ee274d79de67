//! The horizon: what is from before it is in force nowhere, in whichever order anybody hears of it, and what comes back
//! from there waits for an operator's word.

mod common;

use bytes::Bytes;
use common::{Net, WALL, facts, horde, member, version};
use crux_core::facts::quarantine::QUARANTINE_BYTES;
use crux_core::facts::value::{HORIZON, HORIZON_MIN, Horde, Horizon, Row, row_path};
use crux_core::facts::version::{Author, Checked, Stamp, Statement};
use crux_core::facts::{Facts, Input, Output};
use crux_names::{Duration, Hash256, Time, Wall};
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message as _;

/// As early as a horizon may lie.
const LINE: u64 = WALL - HORIZON_MIN;
const PATHS: [&str; 2] = ["horde/web", "horde/db"];

fn horizon(before: u64) -> Option<Bytes> {
    Some(Horizon { before }.encode_to_vec().into())
}

fn give(to: &mut Facts, versions: Vec<Checked>) {
    to.handle(Time::ZERO, Wall(WALL), Input::Loaded { versions }, &mut Vec::new());
}

fn in_quarantine(facts: &Facts) -> Vec<String> {
    facts.quarantined().map(|version| version.statement().path.clone()).collect()
}

/// Everything that two fulcrums must agree on.
fn picture(facts: &Facts) -> (Hash256, Vec<Vec<Hash256>>) {
    (facts.digest(), PATHS.iter().map(|path| facts.heads(path)).collect())
}

/// Edits on both sides of two horizons, each of what one fulcrum knew and stamped after it.
fn history() -> impl Strategy<Value = Vec<Checked>> {
    let edit = (0..2_usize, proptest::option::weighted(0.7, 1..4_u32), 0..8_u64, any::<bool>());
    (vec(edit, 1..24), vec(0..8_u64, 0..3)).prop_map(|(edits, lines)| {
        let mut writer = facts(0);
        let mut all = Vec::new();
        for (nonce, (path, value, stamp, knows)) in edits.into_iter().enumerate() {
            let ancestors = if knows { writer.ancestors(PATHS[path], false) } else { Vec::new() };
            let before = all.iter().filter(|one: &&Checked| ancestors.contains(&one.id()));
            let after = before.map(|one| one.statement().stamp.wall + 1).max().unwrap_or(0);
            let stamp = after.max(LINE + stamp - 8);
            let made = version(PATHS[path], value.and_then(horde), ancestors, stamp, nonce as u64);
            give(&mut writer, vec![made.clone()]);
            all.push(made);
        }
        for (nonce, line) in lines.into_iter().enumerate() {
            all.push(version(HORIZON, horizon(LINE + line - 8), vec![], WALL + line, 100 + nonce as u64));
        }
        all
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn what_is_in_force_follows_from_the_versions_and_not_from_their_order(
        (one, other) in history().prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle()))
    ) {
        let (mut a, mut b, mut c) = (facts(1), facts(2), facts(3));
        give(&mut a, one.clone());
        for version in other {
            give(&mut b, vec![version]);
        }
        // And who hears it from a peer instead of its disk.
        let from = member(1);
        c.handle(Time::ZERO, Wall(WALL), Input::Linked(from.clone()), &mut Vec::new());
        for version in one {
            let input = Input::Versions { from: from.clone(), versions: vec![version] };
            c.handle(Time::ZERO, Wall(WALL), input, &mut Vec::new());
        }
        prop_assert_eq!(picture(&a), picture(&b));
        prop_assert_eq!(picture(&a), picture(&c));
    }
}

/// Something was deleted, the deletion is forgotten, and a machine returns that still has it.
#[test]
fn what_was_deleted_and_forgotten_comes_back_only_by_an_operators_word() {
    let mut net = Net::new(3);
    let old = version("horde/old", horde(3), vec![], LINE - 1000, 1);
    let gone = version("horde/old", None, vec![old.id()], LINE - 500, 2);
    for i in 0..2 {
        net.nodes[i].disk.extend([(old.id(), old.clone()), (gone.id(), gone.clone())]);
        net.restart(i);
    }
    // The third has been away since before the deletion.
    net.nodes[2].disk.insert(old.id(), old.clone());
    net.restart(2);
    net.unite(&[0, 1]);
    net.settle();
    net.write(0, 1, HORIZON, horizon(LINE - 10));
    net.settle();
    assert_eq!(net.written(0, 1), Some((1, true)));
    for i in 0..2 {
        assert_eq!((net.nodes[i].facts.count(), in_quarantine(&net.nodes[i].facts)), (1, vec![]), "forgotten");
    }
    net.unite(&[0, 1, 2]);
    net.run(Duration::from_secs(10));
    assert!(net.equal());
    for i in 0..3 {
        assert_eq!(net.nodes[i].facts.value("horde/old"), None, "n{i}");
    }
    assert_eq!(in_quarantine(&net.nodes[2].facts), ["horde/old"]);
    net.restart(2);
    assert_eq!(in_quarantine(&net.nodes[2].facts), ["horde/old"], "it outlives a restart");
    net.unite(&[0, 1, 2]);
    net.run(Duration::from_secs(10));
    // Accepted, it is written again.
    net.write(2, 9, "horde/old", horde(3));
    net.run(Duration::from_secs(10));
    assert!(net.equal() && net.nodes[0].facts.value("horde/old").cloned() == horde(3));
}

#[test]
fn a_line_that_was_drawn_too_far_is_drawn_anew() {
    let mut net = Net::flock(2);
    let early = version("horde/web", horde(3), vec![], LINE - 1000, 1);
    net.input(0, Input::Write { request: 1, versions: vec![early] });
    net.settle();
    net.write(1, 2, HORIZON, horizon(LINE - 10));
    net.settle();
    for i in 0..2 {
        assert_eq!(net.nodes[i].facts.value("horde/web"), None);
        assert_eq!(in_quarantine(&net.nodes[i].facts), ["horde/web"]);
        net.restart(i);
        assert_eq!(in_quarantine(&net.nodes[i].facts), ["horde/web"]);
    }
    net.unite(&[0, 1]);
    net.write(0, 3, HORIZON, horizon(LINE - 2000));
    net.run(Duration::from_secs(10));
    assert!(net.equal());
    for i in 0..2 {
        assert_eq!(net.nodes[i].facts.value("horde/web").cloned(), horde(3));
        assert_eq!(in_quarantine(&net.nodes[i].facts), Vec::<String>::new());
    }
}

/// A fulcrum that lives says again what it is, also when its clock stands before the horizon.
#[test]
fn a_fulcrum_that_lives_keeps_its_row() {
    let mut net = Net::flock(2);
    let row = Row { horde: "web".into(), ..Row::default() };
    let path = row_path(&member(0).id);
    net.input(0, Input::Row(row.clone()));
    net.settle();
    net.write(1, 2, HORIZON, horizon(LINE));
    net.settle();
    // Another life of it, for which nobody has asked for a row yet, finds its own one behind the horizon.
    let mut facts = facts(0);
    let own = net.nodes[0].facts.by_id(&net.nodes[0].facts.heads(&path)[0]).unwrap();
    let mut statement = own.statement().clone();
    statement.stamp.wall = LINE - 5;
    let line = version(HORIZON, horizon(LINE), vec![], WALL, 3);
    let mut out = Vec::new();
    let versions = vec![common::seal(&statement), line];
    facts.handle(Time::from_millis(5000), Wall(LINE - 100), Input::Loaded { versions }, &mut out);
    assert_eq!(facts.value(&path), None);
    let asked = out.iter().find_map(|output| match output {
        Output::Sign { value, not_before, .. } => Some((Row::decode(value.clone()).unwrap(), *not_before)),
        _ => None,
    });
    assert_eq!(asked, Some((row, Wall(LINE))), "signed with a stamp that counts");
}

#[test]
fn no_line_is_drawn_through_what_may_still_return_and_nothing_is_written_behind_one() {
    let mut net = Net::flock(1);
    net.write(0, 1, HORIZON, horizon(WALL));
    assert!(net.refused(0, 1).unwrap().contains("at least 430 days back"));
    net.write(0, 2, HORIZON, horizon(LINE));
    net.settle();
    assert!(net.written(0, 2).is_some());
    let early = version("horde/web", horde(3), vec![], LINE - 2 * 86_400_000_000, 3);
    net.input(0, Input::Write { request: 3, versions: vec![early] });
    net.settle();
    assert!(net.refused(0, 3).unwrap().contains("2 days before the horizon"), "{:?}", net.refused(0, 3));
    assert_eq!(net.nodes[0].facts.value("horde/web"), None);
}

/// What a node of the bloc signs of itself, with any stamp it likes: no door has to accept it.
fn old_row(of: &str, stamp: u64, padding: usize) -> Checked {
    let fulcrum = common::id(of);
    let mut value = common::row("web").encode_to_vec();
    // A field that this version does not know.
    prost::encoding::bytes::encode(100, &vec![7_u8; padding], &mut value);
    common::seal(&Statement {
        bloc: common::bloc(),
        path: row_path(&fulcrum),
        value: Some(value.into()),
        ancestors: vec![],
        stamp: Stamp { wall: stamp, logical: 0 },
        author: Author::Fulcrum(fulcrum),
        nonce: Bytes::new(),
    })
}

#[test]
fn one_node_does_not_fill_the_quarantine_of_others() {
    let mut facts = facts(0);
    let line = version(HORIZON, horizon(LINE), vec![], WALL, 1);
    give(&mut facts, vec![line, version("horde/old", horde(3), vec![], LINE - 50_000, 2)]);
    let from = member(1);
    facts.handle(Time::ZERO, Wall(WALL), Input::Linked(from.clone()), &mut Vec::new());
    let mut out = Vec::new();
    for begin in (0..20_000).step_by(1000) {
        // Of one fulcrum, and of as many as there are names for.
        let name = |n: u64| if n.is_multiple_of(2) { "n9".to_owned() } else { format!("n9/f{n}") };
        let versions = (begin..begin + 1000).map(|n| old_row(&name(n), LINE - 20_001 + n, 10)).collect();
        facts.handle(Time::ZERO, Wall(WALL), Input::Versions { from: from.clone(), versions }, &mut out);
    }
    assert_eq!((in_quarantine(&facts), facts.quarantine_count()), (vec!["horde/old".to_owned()], 1));
    let kept = |output: &Output| match output {
        Output::Persist { versions, .. } => versions.len(),
        Output::Quarantined { .. } => 1,
        _ => 0,
    };
    assert_eq!(out.iter().map(kept).sum::<usize>(), 0, "nothing of it is kept, and no event tells of it");
}

#[test]
fn the_quarantine_is_bounded_in_bytes_and_what_is_forgotten_leaves_the_disk() {
    let mut net = Net::flock(1);
    net.write(0, 1, HORIZON, horizon(LINE));
    net.settle();
    let own = old_row("n0", LINE - 1_000_000, 10);
    let old = |n: u64| {
        let where_ = "x".repeat(4000);
        let sets = (0..20).map(|set| (format!("s{set}"), where_.clone())).collect();
        let value = Horde { r#where: String::new(), sets, ..Horde::default() }.encode_to_vec();
        version(&format!("horde/h{n}"), Some(value.into()), vec![], LINE - 10_000 + n, n)
    };
    net.input(0, Input::Versions { from: member(1), versions: vec![own.clone()] });
    for n in 0..400 {
        net.input(0, Input::Versions { from: member(1), versions: vec![old(n)] });
        net.settle();
    }
    net.write(0, 2, "horde/now", horde(1));
    net.settle();
    let node = &net.nodes[0];
    let listed: Vec<&Checked> = node.facts.quarantined().collect();
    let bytes: usize = listed.iter().map(|one| one.sealed().len()).sum();
    assert!((QUARANTINE_BYTES / 2..=QUARANTINE_BYTES).contains(&bytes), "{bytes}");
    assert_eq!(node.facts.quarantine_count(), listed.len());
    assert!(listed.iter().any(|one| one.id() == old(399).id()), "the latest");
    assert_eq!(node.disk.len(), listed.len() + 4, "the line, the write, and its own row as it was and signed anew");
    assert!(node.disk.contains_key(&own.id()));
}

/// The count that every picture has is what a walk finds, whatever happens.
#[test]
fn what_waits_in_quarantine_is_counted_as_it_is_listed() {
    let mut net = Net::flock(1);
    let early = version("horde/web", horde(1), vec![], LINE - 1000, 1);
    let later = version("horde/web", horde(2), vec![early.id()], LINE - 900, 2);
    let other = version("horde/db", horde(2), vec![], LINE - 800, 3);
    let check = |net: &Net, count: usize| {
        assert_eq!((net.nodes[0].facts.quarantined().count(), net.nodes[0].facts.quarantine_count()), (count, count));
    };
    net.input(0, Input::Write { request: 1, versions: vec![early.clone(), other.clone()] });
    net.settle();
    net.write(0, 2, HORIZON, horizon(LINE));
    net.settle();
    check(&net, 2);
    net.input(0, Input::Versions { from: member(1), versions: vec![later.clone()] });
    net.settle();
    check(&net, 2);
    let again = version("horde/web", horde(2), vec![later.id(), early.id()], WALL, 4);
    net.input(0, Input::Write { request: 4, versions: vec![again] });
    net.settle();
    check(&net, 1);
    net.restart(0);
    check(&net, 1);
    net.write(0, 5, HORIZON, horizon(LINE - 2000));
    net.settle();
    check(&net, 0);
}
