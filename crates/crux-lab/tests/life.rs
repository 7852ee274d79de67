//! What happens to single nodes: found without seeds, moved to another address, cloned, told to leave, forgotten.

use crux_lab::{Lab, now, until};
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

fn roster_addr(lab: &Lab, at: usize, name: &str) -> Value {
    let roster = lab.json(at, &["node", "list"])["roster"].as_array().cloned().unwrap_or_default();
    roster.into_iter().find(|line| line["name"] == name).map_or(Value::Null, |line| line["addr"].clone())
}

#[test]
fn nodes_without_seeds_find_each_other_move_leave_and_are_forgotten() {
    let Some(mut lab) = Lab::or_skip(4) else { return };
    let all = [0, 1, 2, 3];
    lab.listen_everywhere = true;
    // Nobody is told of anybody: only announcements on the local link are heard.
    let begin = now();
    all.iter().for_each(|at| lab.up_as(*at, &format!("id{}", at + 1), &[]));
    lab.await_flock(&all, true, LIMIT);
    eprintln!("found without seeds: {:.2} s", lab.agreed_after(&all, begin));

    // A lease ran out and another came: the same process at another address, still the same boot.
    let boot = lab.json(3, &["confab"])["boot"].clone();
    let (views, moved) = (now(), Ipv4Addr::new(10, 77, 0, 200));
    lab.network().set_addr(3, moved);
    let known = until(LIMIT, || {
        [0, 1, 2].iter().all(|at| roster_addr(&lab, *at, "n4") == json!(format!("{moved}:2789")))
            && lab.one_flock(&all, true)
    });
    assert!(known.is_ok(), "n4 is not known at its new address: {}", lab.said(&all));
    assert_eq!(lab.json(3, &["confab"])["boot"], boot, "it was never started again");
    eprintln!("moved after {:.2} s, {} views", now() - views, lab.views_since(0, views));

    // Told to leave, it ends by itself, and the others say that it left and was not lost.
    lab.must_at(3, &["node", "leave", "n4"]);
    assert_eq!(lab.await_end(3, LIMIT), Some(0));
    lab.await_flock(&[0, 1, 2], true, LIMIT);
    let left = lab.events(0).iter().any(|event| event["event"] == "member-left" && event["subject"] == "n4");
    assert!(left, "{:?}", lab.events(0));

    // A member is not forgotten; who is gone is.
    let refused = lab.at(0, &["node", "forget", "n2"]);
    assert!(!refused.status.success(), "a member was forgotten");
    lab.must_at(0, &["node", "forget", "n4"]);
    let outside = |lab: &Lab| lab.json(0, &["node", "list"])["outside"].to_string();
    let gone = until(LIMIT, || !outside(&lab).contains("\"n4\""));
    assert!(gone.is_ok(), "n4 is still known: {}", outside(&lab));
    // Forgotten is not expelled: it may come back.
    lab.up_as(3, "id4", &[]);
    lab.await_flock(&all, true, LIMIT);
}

#[test]
fn of_two_with_one_identity_the_known_one_is_kept_and_an_alarm_names_both() {
    let Some(mut lab) = Lab::or_skip(4) else { return };
    let known = [0, 1, 2];
    known.iter().for_each(|at| lab.up(*at));
    lab.await_flock(&known, true, LIMIT);
    let boot = lab.json(2, &["confab"])["boot"].clone();
    let begin = now();

    // The disk of n3, copied to another machine, identity and state.
    for what in ["id3", "s3"] {
        let to = lab.path(if what == "id3" { "copy" } else { "s4" });
        crux_lab::run(Command::new("cp").args(["-r", &lab.path(what), &to]));
    }
    // A socket and a lock are not copied by anybody who copies a disk.
    for leftover in ["s4/crux.sock", "s4/lock"] {
        if Path::new(&lab.path(leftover)).exists() {
            std::fs::remove_file(lab.path(leftover)).expect("the leftover");
        }
    }
    let seeds: Vec<String> =
        (0..2).flat_map(|at| ["--seed".to_owned(), format!("{}:2789", lab.network().addr(at))]).collect();
    lab.up_as(3, "copy", &seeds);
    let (one, other) = (lab.network().addr(2).to_string(), lab.network().addr(3).to_string());
    let alarmed = |lab: &Lab, at: usize| {
        let clones = lab.status(at)["clones"].to_string();
        clones.contains(&one) && clones.contains(&other)
    };
    let told = until(LIMIT, || (0..2).any(|at| alarmed(&lab, at)));
    assert!(told.is_ok(), "no alarm names both: {}", lab.said(&[0, 1, 2, 3]));
    let at = if alarmed(&lab, 0) { 0 } else { 1 };
    let doctor = lab.at(at, &["doctor", "-o", "json"]);
    assert_ne!(doctor.status.code(), Some(0), "doctor finds nothing wrong");
    let events = lab.events(at);
    assert!(events.iter().any(|event| event["event"] == "alarm" && event["subject"] == "n3"), "{events:?}");

    // It goes on for a while: the known one stays, and nobody flaps.
    let moved = until(Duration::from_secs(15), || lab.json(0, &["confab"])["members"] != json!(["n1", "n2", "n3"]));
    assert!(moved.is_err(), "the known one was pushed out: {}", lab.said(&[0, 1, 2, 3]));
    assert_eq!(lab.json(2, &["confab"])["boot"], boot);
    lab.await_flock(&known, false, LIMIT);
    let views = lab.views_since(0, begin);
    assert!(views <= 3, "n1 came to {views} views by a clone");
    assert!(alarmed(&lab, at), "the alarm cleared itself");
    // Once the copy is gone, an operator's word ends it.
    lab.kill(3);
    lab.must_at(at, &["node", "forget", "n3"]);
    let ended = until(LIMIT, || !alarmed(&lab, at));
    assert!(ended.is_ok(), "the alarm stays: {}", lab.status(at)["clones"]);
    assert_eq!(lab.json(0, &["confab"])["members"], json!(["n1", "n2", "n3"]));
}

#[test]
fn keys_are_changed_under_load_without_a_change_of_view() {
    // The shortest life of a key is 120 s, and no setting makes it shorter.
    if std::env::var_os("CRUX_LAB_LONG").is_none() {
        eprintln!("SKIPPED: CRUX_LAB_LONG is not set; it takes three minutes");
        return;
    }
    let Some(mut lab) = Lab::or_skip(3) else { return };
    let all = [0, 1, 2];
    lab.up_all();
    lab.await_flock(&all, true, LIMIT);
    let view = lab.json(0, &["confab"])["view"].clone();
    let mut most = 0.0_f64;
    let mut number = 0_u32;
    let youngest = |lab: &Lab| {
        let roster = lab.json(0, &["node", "list"])["roster"].as_array().cloned().unwrap_or_default();
        roster.iter().filter_map(|line| line["link"]["rekey_s"].as_f64()).fold(f64::MAX, f64::min)
    };
    // What is left of a key's life falls, and then it is new: twice, while facts, plans and reports go over the links.
    let (mut left, mut changes) = (youngest(&lab), 0);
    let done = until(Duration::from_secs(400), || {
        number += 1;
        let run = ["run", "--name", "load", "--count", "3", "--env", &format!("N={number}"), "sleep", "100000"];
        // On a busy machine the others take longer than the command waits to have it on disk: accepted all the same.
        let said = lab.at(0, &run);
        assert!(matches!(said.status.code(), Some(0 | 6)), "{said:?}");
        let now = youngest(&lab);
        if now > left + 30.0 {
            changes += 1;
        }
        (left, most) = (now, most.max(now));
        changes >= 2
    });
    assert!(done.is_ok(), "keys were changed {changes} times, {left} s left of at most {most}");
    assert_eq!(lab.json(0, &["confab"])["view"], view, "a change of keys is no change of the flock");
}
