//! Measures what real processes do and prints it as JSON, one array; `cargo xtask figures` puts it into the documents.
//! Every figure stands beside the machine's load at that moment, since machines are shared. `--only PART` takes one part,
//! `--rounds N` tries each thing so often instead of as often as is usual for its size.

mod expulsion;
mod facts;
mod minutes;

use crux_lab::{Lab, machine, now, until};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(120);
/// How long an idle flock is watched: longer than a key lives by default, so that one change of every key is in it.
const WATCHED: Duration = Duration::from_secs(130);

/// What can be taken by itself.
type Part = (&'static str, fn(&Path, Option<usize>, &mut Vec<Value>));
const PARTS: &[Part] = &[
    ("dev", dev),
    ("flock3", |binary, rounds, rows| flock(binary, rounds, rows, &OF_3)),
    ("flock10", |binary, rounds, rows| flock(binary, rounds, rows, &OF_10)),
    ("flock16", |binary, rounds, rows| flock(binary, rounds, rows, &OF_16)),
    ("flock50", |binary, rounds, rows| flock(binary, rounds, rows, &OF_50)),
    ("flock64", forming),
    ("idle10", |binary, _, rows| idle(binary, rows, 10)),
    ("idle50", |binary, _, rows| idle(binary, rows, 50)),
    ("services", services),
    ("facts", facts::facts),
    ("expulsion", expulsion::expulsion),
    ("pauses", minutes::pauses),
    ("minutes", minutes::minutes),
];

/// A size, how often each thing is tried, and what is asked, beside what the best peer did on such a machine.
struct Size {
    machines: usize,
    rounds: usize,
    /// What is asked and what the best peer needs, both in seconds.
    cold: [&'static str; 2],
    silent: [&'static str; 2],
    split: [&'static str; 2],
    heal: [&'static str; 2],
    heal_late: [&'static str; 2],
    kill: [&'static str; 2],
}

const OF_3: Size = Size {
    machines: 3,
    rounds: 5,
    cold: ["1", "0.03, without leader or proof"],
    silent: ["2.8", "5.6"],
    split: ["3.5", "6.8"],
    heal: ["1.5", "1.0"],
    heal_late: ["2", "unknown"],
    kill: ["0.7", "2.6"],
};
const OF_10: Size = Size {
    machines: 10,
    rounds: 3,
    cold: ["2", "0.5, without leader or proof"],
    silent: ["3", "5.6"],
    split: ["4", "9.5"],
    heal: ["1.5", "2.8"],
    heal_late: ["2", "0.7"],
    kill: ["0.7", "2.9"],
};
/// The size up to which the promises' own numbers hold (`promises.md`, M3).
const OF_16: Size = Size {
    machines: 16,
    rounds: 2,
    cold: ["5", "unknown"],
    silent: ["3", "unknown"],
    split: ["4", "unknown"],
    heal: ["1.5", "unknown"],
    heal_late: ["2", "unknown"],
    kill: ["1", "unknown"],
};
const OF_50: Size = Size {
    machines: 50,
    rounds: 2,
    cold: ["5", "1.4, without leader or proof"],
    silent: ["4", "8.8"],
    split: ["6", "21"],
    heal: ["2.5", "1.3"],
    heal_late: ["3", "2.8"],
    kill: ["1.2", "4.2"],
};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let only: Vec<&String> = args.windows(2).filter(|pair| pair[0] == "--only").map(|pair| &pair[1]).collect();
    if let Some(unknown) = only.iter().find(|name| !PARTS.iter().any(|(part, _)| *part == name.as_str())) {
        let parts: Vec<&str> = PARTS.iter().map(|(part, _)| *part).collect();
        eprintln!("there is no part `{unknown}`; there are {}", parts.join(", "));
        std::process::exit(2);
    }
    let rounds = args.windows(2).find(|pair| pair[0] == "--rounds").and_then(|pair| pair[1].parse().ok());
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
    for (_, take) in PARTS.iter().filter(|(part, _)| only.is_empty() || only.iter().any(|name| name.as_str() == *part))
    {
        take(&binary, rounds, &mut rows);
    }
    println!("{}", Value::Array(rows));
}

/// A row from several rounds: the median, with the extremes in the note. A round that failed is in the note too.
fn row(rows: &mut Vec<Value>, name: &str, mut times: Vec<f64>, target: &str, note: &str) {
    times.sort_by(f64::total_cmp);
    let (Some(least), Some(most)) = (times.first(), times.last()) else {
        tell(rows, name, "not reached", "", target, note);
        return;
    };
    let value = format!("{:.2}", times[times.len() / 2]);
    let note = format!("{note}; median of {}, {least:.2} to {most:.2}", times.len());
    tell(rows, name, &value, "s", target, &note);
}

fn tell(rows: &mut Vec<Value>, name: &str, value: &str, unit: &str, target: &str, note: &str) {
    eprintln!("{name}: {value} {unit} (asked {target}; {note})");
    rows.push(json!({
        "name": name, "value": value, "unit": unit, "target": target, "note": note, "load": load(),
    }));
}

fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().unwrap_or("?").to_owned()
}

fn dev(binary: &Path, rounds: Option<usize>, rows: &mut Vec<Value>) {
    for (fulcrums, target) in [(3, "≤ 3 s"), (5, "≤ 4 s")] {
        let times = (0..rounds.unwrap_or(3)).map(|_| dev_ready(binary, fulcrums)).collect();
        row(rows, &format!("`up --dev {fulcrums}` ready"), times, target, "flock, ADMIN, demo of three ready");
    }
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

/// The times of one size. Each is from the fault to the last stamp, by any fulcrum that lives, of the view that it has
/// when all agree.
struct Times<'a> {
    lab: &'a Lab,
    all: Vec<usize>,
}

impl Times<'_> {
    /// Until these agree on a view of exactly them, since `begin`.
    fn agree(&self, machines: &[usize], begin: f64) -> f64 {
        self.lab.await_flock(machines, false, LIMIT);
        self.lab.agreed_after(machines, begin)
    }

    fn rest(&self) {
        self.lab.await_flock(&self.all, true, LIMIT);
    }

    fn without(&self, one: usize) -> Vec<usize> {
        self.all.iter().copied().filter(|at| *at != one).collect()
    }

    fn leader(&self) -> usize {
        machine(&self.lab.json(0, &["confab"])["leader"])
    }

    /// Splits into halves for so long; when both sides were exact, and when all were one flock after the heal.
    fn split(&self, for_: Duration) -> (f64, f64) {
        // Of three the last is alone: the first broke off twice before, and would be held apart for it.
        let (a, b) = self.all.split_at(self.all.len().div_ceil(2));
        let (cut, begin) = (now(), Instant::now());
        self.lab.network().set_between(a, b, false);
        let exact = self.agree(a, cut).max(self.agree(b, cut));
        // waits: this long a cut is what is measured
        std::thread::sleep(for_.saturating_sub(begin.elapsed()));
        let healed = now();
        self.lab.network().heal();
        let took = self.agree(&self.all, healed);
        self.rest();
        (exact, took)
    }
}

fn flock(binary: &Path, rounds: Option<usize>, rows: &mut Vec<Value>, size: &Size) {
    let n = size.machines;
    let all: Vec<usize> = (0..n).collect();
    let (mut cold, mut stable, mut killed, mut led, mut silent) = (vec![], vec![], vec![], vec![], vec![]);
    let (mut split, mut healed, mut healed_late) = (vec![], vec![], vec![]);
    for _ in 0..rounds.unwrap_or(size.rounds) {
        let mut lab = Lab::new(binary.to_path_buf(), n);
        let begin = now();
        lab.up_all();
        lab.await_flock(&all, true, LIMIT);
        cold.push(lab.agreed_after(&all, begin));
        stable.push(all.iter().filter_map(|at| lab.last_event(*at, "stable")).fold(f64::MIN, f64::max) - begin);

        // Everybody breaks off twice at most: who does so more often is held apart for a while, see flap hold.
        let mut used = Vec::new();
        for (kind, times) in [(0, &mut killed), (1, &mut led), (2, &mut silent)] {
            let leader = Times { lab: &lab, all: all.clone() }.leader();
            let other = (0..n).rev().find(|at| *at != leader && !used.contains(at)).unwrap_or(0);
            let victim = if kind == 1 { leader } else { other };
            used.push(victim);
            let begin = now();
            if kind == 2 {
                lab.kill_in_silence(victim);
            } else {
                lab.kill(victim);
            }
            let of = Times { lab: &lab, all: all.clone() };
            times.push(of.agree(&of.without(victim), begin));
            lab.network().heal();
            lab.up(victim);
            lab.await_flock(&all, true, LIMIT);
        }
        let (exact, took) = Times { lab: &lab, all: all.clone() }.split(Duration::from_secs(30));
        split.push(exact);
        healed.push(took);
    }
    let mut lab = Lab::new(binary.to_path_buf(), n);
    lab.up_all();
    lab.await_flock(&all, true, LIMIT);
    let (exact, took) = Times { lab: &lab, all: all.clone() }.split(Duration::from_secs(120));
    split.push(exact);
    healed_late.push(took);
    let mut line = |what: &str, times: Vec<f64>, [target, peer]: [&str; 2], note: &str| {
        row(rows, &format!("{n}: {what}"), times, &format!("≤ {target} s"), &format!("{note}best peer {peer}"));
    };
    let shared =
        if n < 50 { "" } else { "all fifty on two cores, with 1,225 links and 500 liveness connections to make; " };
    line("cold start to one flock", cold, size.cold, shared);
    line("member killed with -9, seen by all", killed, size.kill, "");
    line("leader killed with -9, new one agreed", led, ["1", "1.0 to 1.6 (etcd)"], "");
    line("silent death seen by all", silent, size.silent, "cut off, then killed; ");
    line("split in halves, exact on both sides, each led", split, size.split, "");
    line("heal after 30 s", healed, size.heal, "");
    line("heal after 120 s", healed_late, size.heal_late, "");
    row(rows, &format!("{n}: cold start to stable"), stable, "", "the lease of completeness, at every fulcrum");
}

fn forming(binary: &Path, rounds: Option<usize>, rows: &mut Vec<Value>) {
    let all: Vec<usize> = (0..64).collect();
    let form = |_| {
        let mut lab = Lab::new(binary.to_path_buf(), 64);
        let begin = now();
        lab.up_all();
        lab.await_flock(&all, false, LIMIT);
        lab.agreed_after(&all, begin)
    };
    row(rows, "64: cold start to one flock", (0..rounds.unwrap_or(1)).map(form).collect(), "≤ 10 s", "promise M1");
}

/// What a flock costs in which nothing happens.
fn idle(binary: &Path, rows: &mut Vec<Value>, machines: usize) {
    let all: Vec<usize> = (0..machines).collect();
    let mut lab = Lab::new(binary.to_path_buf(), machines);
    lab.up_all();
    lab.await_flock(&all, true, LIMIT);
    // Hordes are made and addresses tried after the first agreement: that is not idleness.
    lab.must_at(0, &["wait", "--stable", "20s", "--timeout", "120s"]);
    let pids: Vec<u32> = all.iter().map(|at| lab.pid(*at).expect("it runs")).collect();
    let view = lab.json(0, &["confab"])["view"].clone();
    let (begin, octets, ticks) = (Instant::now(), lab.network().octets(), cpu(&pids));
    // waits: this long is what is measured
    std::thread::sleep(WATCHED);
    let (took, octets_after, ticks_after) = (begin.elapsed().as_secs_f64(), lab.network().octets(), cpu(&pids));
    let quiet = if lab.json(0, &["confab"])["view"] == view { "" } else { "; THE VIEW CHANGED MEANWHILE" };
    let how = format!("over {took:.0} s with a change of every key{quiet}");
    let spread = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        (values.iter().sum::<f64>() / values.len() as f64, values[values.len() - 1])
    };
    let wire_target = if machines <= 10 { "≤ 3.5 KB/s" } else { "≤ 8 KB/s" };
    let pairs = || octets.iter().zip(&octets_after);
    let sent = pairs().map(|(a, b)| (b.sent - a.sent) as f64 / took / 1e3).collect();
    let received = pairs().map(|(a, b)| (b.received - a.received) as f64 / took / 1e3).collect();
    for (way, (mean, most)) in [("sent", spread(sent)), ("received", spread(received))] {
        let note = format!("mean, most {most:.2}; with all headers, {how}");
        tell(rows, &format!("{machines}: idle, {way}"), &format!("{mean:.2}"), "KB/s", wire_target, &note);
    }
    // The kernel counts in hundredths of a second.
    let used = ticks.iter().zip(&ticks_after).map(|(a, b)| (b - a) as f64 / took).collect();
    let (mean, most) = spread(used);
    let (share, size) = if machines <= 10 { ("≤ 0.5 %", "≤ 30 MB") } else { ("", "") };
    let note = format!("mean, most {most:.2}; {how}");
    tell(rows, &format!("{machines}: idle, share of a core"), &format!("{mean:.2}"), "%", share, &note);
    let (mean, most) = spread(pids.iter().map(|pid| resident_mb(*pid)).collect());
    tell(
        rows,
        &format!("{machines}: idle, resident"),
        &format!("{most:.1}"),
        "MB",
        size,
        &format!("most, mean {mean:.1}"),
    );
}

/// Ticks of CPU that each process has used.
fn cpu(pids: &[u32]) -> Vec<u64> {
    let of = |pid: &u32| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // After the name in parentheses: state is the first field, user and system time the 12th and 13th.
        let fields =
            text.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect::<Vec<_>>()).unwrap_or_default();
        [11, 12].iter().filter_map(|field| fields.get(*field)?.parse::<u64>().ok()).sum()
    };
    pids.iter().map(of).collect()
}

fn resident_mb(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(f64::NAN) * 1024.0 / 1e6
}

fn services(binary: &Path, rounds: Option<usize>, rows: &mut Vec<Value>) {
    let mut lab = Lab::new(binary.to_path_buf(), 5);
    lab.up_all();
    lab.await_flock(&[0, 1, 2, 3, 4], true, LIMIT);
    let admin = until(LIMIT, || lab.status(0)["admin"].as_array().is_some_and(|admin| !admin.is_empty()));
    admin.expect("an ADMIN horde");
    let times = (0..rounds.unwrap_or(3)).map(|_| spec_to_process(&lab)).collect();
    let note = "`crux run` as a whole, to its process on another node; five namespaces, default timers";
    row(rows, "changed spec to running process", times, "≤ 0.5 s", note);
}

/// Changes how many instances a service should have on n1, and waits for the first process on another node.
fn spec_to_process(lab: &Lab) -> f64 {
    lab.must_at(0, &["run", "--name", "probe", "--count", "1", "sleep", "100000"]);
    until(LIMIT, || {
        let row = lab.service(0, "probe");
        row["ready"] == 1 && row["surplus"] == 0
    })
    .expect("the probe runs");
    let begin = Instant::now();
    lab.must_at(0, &["run", "--name", "probe", "--count", "5", "sleep", "100000"]);
    until(LIMIT, || {
        let status = lab.status(0);
        let rows = status["instances"].as_array().cloned().unwrap_or_default();
        rows.iter().filter(|row| row["service"] == "probe" && !row["pid"].is_null()).count() >= 2
    })
    .expect("more probes run");
    begin.elapsed().as_secs_f64()
}
