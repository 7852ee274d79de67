//! What only shows when one looks for long: that a settled flock stays as it is, and that a cut of minutes heals as a short
//! one does. All of it at once, each in a network of its own: for most of the time none of them does anything.

use super::{LIMIT, row, tell};
use crux_lab::{Lab, machine, now, until};
use serde_json::Value;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long is looked. Source: the issue of flocks and links, "stays quiet for ten minutes".
const LOOKED: Duration = Duration::from_secs(600);
/// How long a machine is paused that nobody may remove (`promises.md`, M4).
const PAUSE: Duration = Duration::from_secs(2);

fn all(lab: &Lab) -> Vec<usize> {
    (0..lab.machines()).collect()
}

/// The view and the leader that each has.
fn shape(lab: &Lab) -> Vec<[Value; 2]> {
    let of = |at| {
        let confab = lab.json(at, &["confab"]);
        [confab["view"].clone(), confab["leader"].clone()]
    };
    all(lab).into_iter().map(of).collect()
}

/// How many views these machines came to since a moment, all together.
fn views(lab: &Lab, begin: f64) -> usize {
    all(lab).into_iter().map(|at| lab.views_since(at, begin)).sum()
}

/// One machine after the other stands still for two seconds, the leader among them.
pub fn pauses(binary: &Path, rounds: Option<usize>, rows: &mut Vec<Value>) {
    let mut lab = Lab::new(binary.to_path_buf(), 16);
    lab.up_all();
    lab.await_flock(&all(&lab), true, LIMIT);
    let (begin, leader) = (now(), machine(&lab.json(0, &["confab"])["leader"]));
    let others = all(&lab).into_iter().filter(|at| *at != leader);
    let paused: Vec<usize> = [leader].into_iter().chain(others).take(rounds.unwrap_or(6)).collect();
    for at in &paused {
        lab.signal(*at, "STOP");
        // waits: the pause is the fault itself
        std::thread::sleep(PAUSE);
        lab.signal(*at, "CONT");
        // waits: longer than any verdict about it would take
        std::thread::sleep(PAUSE * 3);
    }
    let note = format!("{} machines, the leader first, 2 s each by SIGSTOP; all views of all 16", paused.len());
    tell(rows, "16: views because of pauses of 2 s", &views(&lab, begin).to_string(), "", "0", &note);
}

/// Broken pairs, loss and a cut of ten minutes.
pub fn minutes(binary: &Path, _: Option<usize>, rows: &mut Vec<Value>) {
    let make = |machines| {
        let mut lab = Lab::new(binary.to_path_buf(), machines);
        lab.up_all();
        lab.await_flock(&all(&lab), true, LIMIT);
        lab
    };
    let (lossy, cut, pairs) = (make(20), make(6), [make(3), make(5)]);
    let (left, right) = ([0, 1, 2], [3, 4, 5]);
    cut.network().set_between(&left, &right, false);
    cut.await_flock(&left, true, LIMIT);
    cut.await_flock(&right, true, LIMIT);
    for lab in &pairs {
        let (begin, pair) = (now(), [0, lab.machines() - 1]);
        lab.network().set_between(&pair[..1], &pair[1..], false);
        until(LIMIT, || lab.out_of(pair).is_some()).expect("a broken pair settles");
        let name = format!("{}: one broken pair, settled", lab.machines());
        row(
            rows,
            &name,
            vec![lab.agreed_after(&all(lab), begin)],
            "≤ 8 s",
            "until the last view, the evicted one's too",
        );
    }
    let (begin, shapes) = (now(), [&pairs[0], &pairs[1], &lossy].map(shape));
    lossy.network().set_loss(5);
    let looked = Instant::now();
    // waits: this long is what is looked at
    std::thread::sleep(LOOKED);
    let mut quiet = |lab: &Lab, name: &str, before: &[[Value; 2]], how: &str| {
        let same = if shape(lab) == before { "the same leaders" } else { "OTHER LEADERS OR VIEWS" };
        let note = format!("{how}, {:.0} s, all views of all fulcrums; {same}", looked.elapsed().as_secs_f64());
        tell(rows, name, &views(lab, begin).to_string(), "", "0", &note);
    };
    quiet(&pairs[0], "3: views after that in ten minutes", &shapes[0], "the pair stays broken");
    quiet(&pairs[1], "5: views after that in ten minutes", &shapes[1], "the pair stays broken");
    quiet(&lossy, "20: views by 5 % loss in ten minutes", &shapes[2], "of every packet between machines, each way");
    let healed = now();
    cut.network().heal();
    cut.await_flock(&all(&cut), false, LIMIT);
    let note = "two parts of three, each one flock meanwhile";
    row(rows, "6: heal after ten minutes", vec![cut.agreed_after(&all(&cut), healed)], "≤ 4 s", note);
}
