//! A user's own program on real machines: fetched by its content's name, started, listed, read; split, healed, killed.

use crux_lab::{Lab, until};
use serde_json::Value;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(90);

/// Waits until a machine says that so many instances of the service should be and are ready, and none is surplus.
fn await_ready(lab: &Lab, at: usize, service: &str, count: u64) {
    let met = until(LIMIT, || {
        let row = lab.service(at, service);
        row["should"] == count && row["ready"] == count && row["surplus"] == 0
    });
    let machines: Vec<usize> = (0..lab.machines()).collect();
    assert!(met.is_ok(), "n{} does not have {count} ready {service}: {}", at + 1, lab.said(&machines));
}

/// The nodes on which instances of the service run, as a machine has it.
fn nodes(lab: &Lab, at: usize, service: &str) -> Vec<String> {
    let status = lab.status(at);
    let rows = status["instances"].as_array().cloned().unwrap_or_default();
    let mut nodes: Vec<String> = rows
        .iter()
        .filter(|row| row["service"] == service && row["state"] == "ready")
        .filter_map(|row| row["node"].as_str().map(str::to_owned))
        .collect();
    nodes.sort();
    nodes
}

#[test]
fn a_program_of_the_users_own_runs_on_both_sides_of_a_cut() {
    let Some(mut lab) = Lab::or_skip(5) else { return };
    lab.up_all();
    let all = [0, 1, 2, 3, 4];
    lab.await_flock(&all, true, LIMIT);
    let admin = until(LIMIT, || lab.status(0)["admin"].as_array().is_some_and(|admin| !admin.is_empty()));
    assert!(admin.is_ok(), "no ADMIN: {}", lab.said(&all));

    // Pushed at n1, wanted three times: at least two others fetch it from a peer by its hash.
    lab.must_at(0, &["run", "--name", "hello", "--count", "3", "--port", "http", env!("CARGO_BIN_EXE_hello")]);
    await_ready(&lab, 0, "hello", 3);
    await_ready(&lab, 4, "hello", 3);
    assert_eq!(nodes(&lab, 0, "hello").len(), 3);
    let logs = lab.must_at(3, &["logs", "hello"]);
    assert_eq!(logs.matches("hello from n").count(), 3, "{logs}");

    lab.network().set_between(&[0, 1], &[2, 3, 4], false);
    lab.await_flock(&[0, 1], true, LIMIT);
    lab.await_flock(&[2, 3, 4], true, LIMIT);
    await_ready(&lab, 0, "hello", 3);
    await_ready(&lab, 3, "hello", 3);
    let here = nodes(&lab, 0, "hello");
    assert!(here.iter().all(|node| node == "n1" || node == "n2"), "{here:?}");

    lab.network().set_between(&[0, 1], &[2, 3, 4], true);
    lab.await_flock(&all, true, LIMIT);
    await_ready(&lab, 0, "hello", 3);
    await_ready(&lab, 4, "hello", 3);
    assert_eq!(nodes(&lab, 2, "hello").len(), 3);
}

#[test]
fn a_changed_count_a_dead_machine_and_a_missing_program() {
    let Some(mut lab) = Lab::or_skip(3) else { return };
    lab.up_all();
    let all = [0, 1, 2];
    lab.await_flock(&all, true, LIMIT);
    let hello = env!("CARGO_BIN_EXE_hello");
    lab.must_at(0, &["run", "--name", "hello", "--count", "2", hello]);
    await_ready(&lab, 1, "hello", 2);
    lab.must_at(2, &["run", "--name", "hello", "--count", "1", hello]);
    await_ready(&lab, 0, "hello", 1);

    // The machine dies with what it ran: another one takes over.
    let on = nodes(&lab, 0, "hello");
    let victim = on[0][1..].parse::<usize>().expect("a machine") - 1;
    let rest: Vec<usize> = all.into_iter().filter(|at| *at != victim).collect();
    lab.kill(victim);
    lab.network().set_between(&[victim], &rest, false);
    lab.await_flock(&rest, true, LIMIT);
    await_ready(&lab, rest[0], "hello", 1);
    assert_ne!(nodes(&lab, rest[0], "hello"), on);

    // A program that does not start says why, and disturbs nobody.
    lab.must_at(rest[0], &["run", "--name", "broken", "--count", "1", "no-such-program"]);
    let said = until(LIMIT, || {
        let output = lab.at(rest[0], &["why", "service", "main/broken"]);
        String::from_utf8_lossy(&output.stdout).contains("no-such-program")
    });
    assert!(said.is_ok(), "why does not say it: {}", lab.said(&rest));
    await_ready(&lab, rest[0], "hello", 1);
}

#[test]
fn writes_need_an_operator_and_unknown_hordes_are_refused() {
    let Some(mut lab) = Lab::or_skip(1) else { return };
    lab.up_all();
    lab.await_flock(&[0], true, LIMIT);
    let socket = lab.socket(0);
    let output = lab.crux(&["--at", &socket, "run", "--name", "x", "--count", "1", "sleep", "100"]);
    assert_eq!(output.status.code(), Some(4), "{}", String::from_utf8_lossy(&output.stderr));
    let output = lab.at(0, &["run", "--name", "x", "--horde", "nowhere", "--count", "1", "sleep", "100"]);
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(lab.service(0, "x"), Value::Null, "nothing half done");
}
