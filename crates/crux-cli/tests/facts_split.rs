//! Intent on both sides of a split, on real processes: different facts, the same fact once here and five times there, a
//! deletion against an edit, one name for two hordes. After the heal everybody holds the same, and nothing acknowledged is
//! lost: it is in force or listed, until an operator dismisses it.

mod help;
use help::cluster::{Cluster, names};
use serde_json::Value;
use std::time::Instant;

const NODES: [&str; 5] = ["n1", "n2", "n3", "n4", "n5"];

/// What a horde wants as this node has it; `None` if there is no such horde.
fn want(cluster: &Cluster, node: &str, horde: &str) -> Option<u64> {
    let status = cluster.status(node)?;
    status["hordes"].as_array()?.iter().find(|one| one["name"] == horde)?["want"].as_u64()
}

fn members(cluster: &Cluster, part: &[&str]) {
    for node in part {
        cluster.until(node, &format!("a flock of {part:?}"), |status| status["members"] == names(part));
    }
}

fn conflicts(cluster: &Cluster, node: &str) -> Vec<String> {
    let list: Value = serde_json::from_str(&cluster.ok(&["--at", node, "facts", "conflicts", "-o", "json"])).unwrap();
    list["facts"].as_array().unwrap().iter().map(|fact| fact["path"].as_str().unwrap().to_owned()).collect()
}

/// Waits until all five hold the same and say so many conflicts.
fn agree(cluster: &Cluster, listed: u64) {
    let facts = |node: &str| cluster.status(node).map(|status| status["facts"].clone());
    // Rows are written meanwhile: what one has is compared with what the others have at the same time.
    cluster.until("n1", &format!("equal facts with {listed} conflicts"), |status| {
        let first = &status["facts"];
        first["conflicts"] == listed && NODES[1..].iter().all(|node| facts(node).is_some_and(|other| other == *first))
    });
}

#[test]
fn what_both_sides_of_a_split_wanted_is_in_force_or_listed_and_a_conflict_lasts_until_it_is_dismissed() {
    let mut cluster = Cluster::up(5);
    for horde in ["web", "db"] {
        cluster.ok(&["horde", "create", horde, "--want", "1"]);
    }
    agree(&cluster, 0);
    cluster.ok(&["lab", "split", "n1,n2,n3/n4,n5"]);
    members(&cluster, &NODES[..3]);
    members(&cluster, &NODES[3..]);

    let near = |words: &[&str]| cluster.ok(&[&["--at", "n1"], words].concat());
    let far = |words: &[&str]| cluster.ok(&[&["--at", "n4"], words].concat());
    near(&["horde", "create", "left", "--want", "1"]);
    near(&["horde", "create", "twin", "--want", "1"]);
    near(&["horde", "set", "web", "--want", "2"]);
    near(&["horde", "delete", "db"]);
    far(&["horde", "create", "right", "--want", "1"]);
    far(&["horde", "create", "twin", "--want", "2"]);
    for want in ["3", "4", "5", "4", "3"] {
        far(&["horde", "set", "web", "--want", want]);
    }
    far(&["horde", "set", "db", "--want", "2"]);

    cluster.ok(&["lab", "heal"]);
    let healed = Instant::now();
    members(&cluster, &NODES);
    agree(&cluster, 3);
    eprintln!("the same everywhere {:.2} s after the heal", healed.elapsed().as_secs_f64());
    // The later change is in force, whatever the number of edits behind it; the other one is listed.
    let wants = |horde: &str| want(&cluster, "n5", horde);
    assert_eq!(["left", "right", "twin", "web", "db"].map(wants), [Some(1), Some(1), Some(2), Some(3), Some(2)]);
    assert_eq!(conflicts(&cluster, "n2"), ["horde/db", "horde/twin", "horde/web"]);
    let shown = cluster.ok(&["facts", "conflicts"]);
    for loser in ["lost: deleted", "lost: want 1", "lost: want 2"] {
        assert!(shown.contains(loser), "{loser}: {shown}");
    }

    // An edit of what is in force dismisses nothing; an operator does, and may take what lost.
    cluster.ok(&["--at", "n3", "horde", "set", "web", "--want", "4"]);
    agree(&cluster, 3);
    assert_eq!(wants("web"), Some(4));
    cluster.ok(&["--at", "n2", "facts", "dismiss", "horde/web"]);
    cluster.ok(&["--at", "n4", "facts", "dismiss", "horde/db"]);
    let list: Value = serde_json::from_str(&cluster.ok(&["facts", "conflicts", "-o", "json"])).unwrap();
    let twin = list["facts"].as_array().unwrap().iter().find(|fact| fact["path"] == "horde/twin").unwrap().clone();
    let lost = twin["heads"][1]["id"].as_str().unwrap();
    let nobody = cluster.run(&["facts", "dismiss", "horde/twin", "--take", "nothing"]);
    assert_eq!(nobody.status.code(), Some(2), "{}", String::from_utf8_lossy(&nobody.stderr));
    cluster.ok(&["facts", "dismiss", "horde/twin", "--take", &lost[..12]]);
    agree(&cluster, 0);
    assert_eq!(["web", "db", "twin"].map(wants), [Some(4), Some(2), Some(1)]);
    let again = cluster.run(&["facts", "dismiss", "horde/twin"]);
    assert_eq!(again.status.code(), Some(3), "{}", String::from_utf8_lossy(&again.stderr));
    cluster.interrupt();
}
