//! Real fulcrums in namespaces: forming, dying, splitting, healing. Limits are generous, since machines are shared; how
//! long things take is measured by `cargo xtask figures`.

use crux_lab::{Lab, until};
use serde_json::Value;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn five_machines_become_one_flock_split_and_become_one_again() {
    let Some(mut lab) = Lab::or_skip(5) else { return };
    lab.up_all();
    let all = [0, 1, 2, 3, 4];
    lab.await_flock(&all, true, LIMIT);

    lab.network().set_between(&[0, 1], &[2, 3, 4], false);
    lab.await_flock(&[0, 1], true, LIMIT);
    lab.await_flock(&[2, 3, 4], true, LIMIT);
    let (here, there) = (lab.status(0), lab.status(2));
    assert_ne!(here["leader"], there["leader"]);
    assert_ne!(here["flock"], there["flock"], "two flocks have two names");

    lab.network().set_between(&[0, 1], &[2, 3, 4], true);
    lab.await_flock(&all, true, LIMIT);
}

#[test]
fn a_killed_leader_is_followed_by_its_successor_and_comes_back_as_a_new_boot() {
    let Some(mut lab) = Lab::or_skip(3) else { return };
    lab.up_all();
    let all = [0, 1, 2];
    lab.await_flock(&all, true, LIMIT);
    let before = lab.status(0);
    let leader = before["leader"].as_str().and_then(|name| name[1..].parse::<usize>().ok()).expect("a leader") - 1;
    let rest: Vec<usize> = all.into_iter().filter(|at| *at != leader).collect();
    lab.kill(leader);
    lab.await_flock(&rest, true, LIMIT);
    assert_ne!(lab.status(rest[0])["leader"], before["leader"]);

    lab.up(leader);
    lab.await_flock(&all, true, LIMIT);
    let boot = |status: &Value| {
        let roster = status["roster"].as_array().cloned().unwrap_or_default();
        roster.into_iter().find(|row| row["name"] == before["leader"]).map(|row| row["boot"].clone())
    };
    assert_ne!(boot(&before), boot(&lab.status(rest[0])), "a new life has a new boot");
}

#[test]
fn a_pause_of_two_seconds_removes_nobody() {
    let Some(mut lab) = Lab::or_skip(3) else { return };
    lab.up_all();
    lab.await_flock(&[0, 1, 2], true, LIMIT);
    let view = lab.status(0)["view"].clone();
    lab.signal(1, "STOP");
    let paused = std::time::Instant::now();
    // While it is paused the others must keep it for the whole time.
    let gone = until(Duration::from_millis(1800), || lab.status(0)["view"] != view && !lab.status(0).is_null());
    lab.signal(1, "CONT");
    assert!(gone.is_err(), "n2 was removed {:?} after it was paused", paused.elapsed());
    lab.await_flock(&[0, 1, 2], true, LIMIT);
    assert_eq!(lab.status(0)["view"], view);
}

#[test]
fn a_stranger_is_no_member_and_learns_why() {
    let Some(mut lab) = Lab::or_skip(3) else { return };
    let (ca, id) = (lab.path("other"), lab.path("id3"));
    lab.must(&["ca", "init", "--bloc", "lab", "--out", &ca]);
    std::fs::remove_dir_all(&id).expect("the bundle of n3");
    lab.must(&["ca", "issue", "--ca", &ca, "--node", "n3", "--out", &id]);
    lab.up_all();
    lab.await_flock(&[0, 1], true, LIMIT);
    let refused = until(LIMIT, || std::fs::read_to_string(lab.path("n3.log")).is_ok_and(|log| log.contains("refuse")));
    assert!(refused.is_ok(), "n3 does not say why it is alone:{}", lab.said(&[2]));
    assert_eq!(lab.status(2)["members"], Value::from(vec!["n3"]));
    assert_eq!(lab.status(0)["members"], Value::from(vec!["n1", "n2"]));
}
