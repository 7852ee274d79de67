//! Intent on both sides of a split, on real processes: different facts, the same fact once here and five times there, a
//! deletion against a later edit, one name for two hordes, each side with an ADMIN of its own. After the heal everybody holds the
//! same, ADMIN is one again, and nothing acknowledged is lost: it is in force or listed, until an operator dismisses it.

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

/// Waits until each of a part says the same carriers of the ADMIN flag: so many, all of them members of the part.
fn admin(cluster: &Cluster, part: &[&str], size: usize) -> Vec<String> {
    let carriers = |status: &Value| {
        let list = status["admin"].as_array()?.iter().map(|name| name.as_str().map(str::to_owned));
        let list: Vec<String> = list.collect::<Option<_>>()?;
        let flagged = status["roster"].as_array()?.iter().filter(|entry| entry["admin"] == true).count();
        let fits = list.len() == size && flagged == size && list.iter().all(|name| part.contains(&name.as_str()));
        fits.then_some(list)
    };
    let what = format!("{size} of {part:?} carry ADMIN's flag");
    let status = cluster.until(part[0], &what, |status| {
        let mine = carriers(status);
        mine.is_some() && part[1..].iter().all(|node| cluster.status(node).and_then(|other| carriers(&other)) == mine)
    });
    carriers(&status).unwrap_or_default()
}

/// A version that a door acknowledged: its path, its id and what it wants.
type Acknowledged = (String, String, Option<u64>);

fn facts(cluster: &Cluster, node: &str, words: &[&str]) -> Vec<Value> {
    let words = [&["--at", node, "facts"], words, &["-o", "json"]].concat();
    let list: Value = serde_json::from_str(&cluster.ok(&words)).unwrap();
    list["facts"].as_array().unwrap().clone()
}

/// Writes, and remembers what the door acknowledged.
fn write(cluster: &Cluster, node: &str, words: &[&str], acknowledged: &mut Vec<Acknowledged>) {
    cluster.ok(&[&["--at", node, "horde"], words].concat());
    let path = format!("horde/{}", words[1]);
    let all = facts(cluster, node, &["list", &path, "--deleted"]);
    let fact = all.iter().find(|fact| fact["path"] == path.as_str()).unwrap_or_else(|| panic!("no {path} at {node}"));
    let head = &fact["heads"][0];
    let wants = want(cluster, node, words[1]);
    assert_eq!(wants.is_some(), head["value"].is_string(), "{fact}");
    acknowledged.push((path, head["id"].as_str().unwrap().to_owned(), wants));
}

/// Each of what was acknowledged is in force at a node, or listed among its conflicts, or whoever wrote it has replaced it.
fn nothing_is_lost(cluster: &Cluster, node: &str, acknowledged: &[Acknowledged]) {
    let (all, listed) = (facts(cluster, node, &["list", "horde/", "--deleted"]), conflicts(cluster, node));
    for (path, id, wants) in acknowledged {
        let fact = all.iter().find(|fact| fact["path"] == path.as_str()).unwrap_or_else(|| panic!("no {path}"));
        let heads = fact["heads"].as_array().unwrap();
        match heads.iter().position(|head| head["id"] == id.as_str()) {
            Some(0) => assert_eq!(want(cluster, node, path.trim_start_matches("horde/")), *wants, "{path} at {node}"),
            Some(_) => assert!(listed.contains(path), "{path} lost at {node} and is not listed"),
            None => {
                let replaced =
                    |head: &Value| head["ancestors"].as_array().unwrap().iter().any(|old| old == id.as_str());
                assert!(heads.iter().any(replaced), "{id} of {path} is lost at {node}: {fact}");
            }
        }
    }
}

#[test]
fn what_both_sides_of_a_split_wanted_is_in_force_or_listed_and_a_conflict_lasts_until_it_is_dismissed() {
    let mut cluster = Cluster::up(5);
    for horde in ["web", "db"] {
        cluster.ok(&["horde", "create", horde, "--want", "1"]);
    }
    agree(&cluster, 0);
    let before = admin(&cluster, &NODES, 3);
    cluster.ok(&["lab", "split", "n1,n2,n3/n4,n5"]);
    members(&cluster, &NODES[..3]);
    members(&cluster, &NODES[3..]);
    // Each part has an ADMIN of its own: three where there are three, and everybody where there are two.
    admin(&cluster, &NODES[..3], 3);
    admin(&cluster, &NODES[3..], 2);

    let mut acknowledged = Vec::new();
    let mut near = |words: &[&str]| write(&cluster, "n1", words, &mut acknowledged);
    near(&["create", "left", "--want", "1"]);
    near(&["create", "twin", "--want", "1"]);
    near(&["set", "web", "--want", "2"]);
    near(&["delete", "db"]);
    let mut far = |words: &[&str]| write(&cluster, "n4", words, &mut acknowledged);
    far(&["create", "right", "--want", "1"]);
    far(&["create", "twin", "--want", "2"]);
    for want in ["3", "4", "5", "4", "3"] {
        far(&["set", "web", "--want", want]);
    }
    far(&["set", "db", "--want", "2"]);
    assert_eq!(acknowledged.len(), 12);

    cluster.ok(&["lab", "heal"]);
    let healed = Instant::now();
    members(&cluster, &NODES);
    agree(&cluster, 3);
    eprintln!("the same everywhere {:.2} s after the heal", healed.elapsed().as_secs_f64());
    for node in NODES {
        nothing_is_lost(&cluster, node, &acknowledged);
    }
    // One ADMIN, of the size that it had; whoever carried the flag on either side and does not now has given it back.
    let after = admin(&cluster, &NODES, 3);
    eprintln!("ADMIN {before:?} is {after:?} {:.2} s after the heal", healed.elapsed().as_secs_f64());
    agree(&cluster, 3);
    // The deletion is in force, else the later change, whatever the number of edits behind it; the other one is listed.
    let wants = |horde: &str| want(&cluster, "n5", horde);
    assert_eq!(["left", "right", "twin", "web", "db"].map(wants), [Some(1), Some(1), Some(2), Some(3), None]);
    assert_eq!(conflicts(&cluster, "n2"), ["horde/db", "horde/twin", "horde/web"]);
    // What each side wanted can be read, beside what was signed.
    let web = facts(&cluster, "n2", &["conflicts"]).into_iter().find(|fact| fact["path"] == "horde/web").unwrap();
    for head in web["heads"].as_array().unwrap() {
        assert_eq!(head["value"].is_null(), head["readable"].is_null(), "{web}");
        assert!(head["value"].is_null() || head["readable"]["want"].is_u64(), "{web}");
    }
    let shown = cluster.ok(&["facts", "conflicts"]);
    for pair in ["horde/db\n    deleted\n    lost: want 2", "want 2\n    lost: want 1", "want 3\n    lost: want 2"] {
        assert!(shown.contains(pair), "{pair}: {shown}");
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
    assert_eq!(["web", "db", "twin"].map(wants), [Some(4), None, Some(1)]);
    let again = cluster.run(&["facts", "dismiss", "horde/twin"]);
    assert_eq!(again.status.code(), Some(3), "{}", String::from_utf8_lossy(&again.stderr));
    cluster.interrupt();
}
