//! Measures what real processes do and prints it as JSON, one array; `cargo xtask figures` puts it into the documents.
//! Every figure stands beside the machine's load at that moment, since machines are shared.

use crux_lab::{Lab, until};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);
const ROUNDS: usize = 3;

fn main() {
    let root = crux_lab::run(Command::new("id").arg("-u")).trim() == "0";
    let permitted = if root { crux_lab::binary() } else { Err("namespaces need root".into()) };
    let binary = match permitted {
        Ok(binary) => binary,
        Err(why) => {
            eprintln!("no figures of real processes: {why}");
            println!("[]");
            return;
        }
    };
    let mut rows = Vec::new();
    for (fulcrums, target) in [(3, "≤ 3 s"), (5, "≤ 4 s")] {
        let times = (0..ROUNDS).map(|_| dev_ready(&binary, fulcrums)).collect();
        row(&mut rows, &format!("`up --dev {fulcrums}` ready"), times, target, "flock, ADMIN, demo of three ready");
    }
    flock_figures(&binary, &mut rows);
    println!("{}", Value::Array(rows));
}

/// A row from several rounds: the median, with the extremes in the note.
fn row(rows: &mut Vec<Value>, name: &str, mut times: Vec<f64>, target: &str, note: &str) {
    times.sort_by(f64::total_cmp);
    let (least, most) = (times[0], times[times.len() - 1]);
    let median = times[times.len() / 2];
    let note = format!("{note}; median of {} rounds, {least:.2} to {most:.2}", times.len());
    eprintln!("{name}: {median:.2} s ({note})");
    rows.push(json!({
        "name": name, "value": format!("{median:.2}"), "unit": "s", "target": target, "note": note, "load": load(),
    }));
}

fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().unwrap_or("?").to_owned()
}

/// Starts a dev cluster and reads when it says that it is ready.
fn dev_ready(binary: &Path, fulcrums: usize) -> f64 {
    let home = tempfile::Builder::new().prefix("cxf").tempdir_in("/tmp").expect("a directory");
    let begin = Instant::now();
    let mut child = Command::new(binary)
        .args(["up", "--dev", &fulcrums.to_string()])
        .env("HOME", home.path())
        .env("XDG_STATE_HOME", home.path())
        .env("XDG_RUNTIME_DIR", home.path())
        .env_remove("CRUX_AT")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("crux starts");
    let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    let ready = lines.map_while(Result::ok).find(|line| line.contains("main/demo is ready"));
    let took = begin.elapsed().as_secs_f64();
    assert!(ready.is_some(), "the dev cluster of {fulcrums} never said that it is ready");
    crux_lab::run(Command::new("kill").args(["-s", "INT", &child.id().to_string()]));
    child.wait().expect("its end");
    took
}

fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}

fn flock_figures(binary: &Path, rows: &mut Vec<Value>) {
    let all = [0, 1, 2, 3, 4];
    let (mut cold, mut killed, mut split, mut healed, mut changed) = (vec![], vec![], vec![], vec![], vec![]);
    let mut resident: f64 = 0.0;
    for _ in 0..ROUNDS {
        let mut lab = Lab::new(binary.to_path_buf(), 5);
        let begin = Instant::now();
        lab.up_all();
        lab.await_flock(&all, true, LIMIT);
        cold.push(seconds(begin.elapsed()));

        for at in all {
            resident = resident.max(resident_mib(lab.pid(at).expect("it runs")));
        }
        let admin = until(LIMIT, || lab.status(0)["admin"].as_array().is_some_and(|admin| !admin.is_empty()));
        admin.expect("an ADMIN horde");
        changed.push(spec_to_process(&lab));

        lab.network().set_between(&[0, 1], &[2, 3, 4], false);
        let begin = Instant::now();
        lab.await_flock(&[0, 1], false, LIMIT);
        lab.await_flock(&[2, 3, 4], false, LIMIT);
        split.push(seconds(begin.elapsed()));
        // Stable on both sides, so that the heal is measured from rest.
        lab.await_flock(&[0, 1], true, LIMIT);
        lab.await_flock(&[2, 3, 4], true, LIMIT);

        lab.network().set_between(&[0, 1], &[2, 3, 4], true);
        healed.push(seconds(lab.await_flock(&all, false, LIMIT)));
        lab.await_flock(&all, true, LIMIT);

        lab.kill(4);
        killed.push(seconds(lab.await_flock(&[0, 1, 2, 3], false, LIMIT)));
    }
    let five = "five namespaces, default timers";
    row(rows, "cold start to one stable flock", cold, "≤ 6 s", five);
    row(rows, "kill -9 seen by all", killed, "≤ 4 s", five);
    row(rows, "split 2|3 seen exactly by both sides", split, "≤ 6 s", five);
    row(rows, "heal to one flock", healed, "≤ 4 s", five);
    row(
        rows,
        "changed spec to running process",
        changed,
        "≤ 0.5 s",
        "`crux run` as a whole, to its process on another node",
    );
    rows.push(json!({
        "name": "idle fulcrum, resident", "value": format!("{resident:.1}"), "unit": "MiB", "target": "≤ 35 MB",
        "note": "the largest of five after the flock is stable", "load": load(),
    }));
}

fn resident_mib(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(f64::NAN) / 1024.0
}

/// Changes a service's environment on n1 and waits for the first process that has the change, seen from its machine's
/// own process table.
fn spec_to_process(lab: &Lab) -> f64 {
    lab.must_at(0, &["run", "--name", "probe", "--count", "1", "sleep", "100000"]);
    until(LIMIT, || lab.service(0, "probe")["ready"] == 1).expect("the probe runs");
    let begin = Instant::now();
    lab.must_at(0, &["run", "--name", "probe", "--count", "5", "sleep", "100000"]);
    until(LIMIT, || {
        let status = lab.status(0);
        let rows = status["instances"].as_array().cloned().unwrap_or_default();
        rows.iter().filter(|row| row["service"] == "probe" && !row["pid"].is_null()).count() >= 2
    })
    .expect("more probes run");
    let took = seconds(begin.elapsed());
    lab.must_at(0, &["run", "--name", "probe", "--count", "1", "sleep", "100000"]);
    took
}
