//! Expulsion: how long after an operator's word the last packet goes to or from a node that streams.
//!
//! The node streams facts: operators write at its door without a pause, and it pushes what they write to all others. What
//! the links carry that it has at that moment is counted between the machines, in both directions, by their connection
//! ids; so what it sends when it dials again and is refused is not counted.

use super::{LIMIT, row, tell};
use crux_lab::{Lab, Octets, Stream, now, until};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

const MACHINES: usize = 5;
/// Who streams and is expelled.
const OUT: usize = 4;
/// Between two looks at the counters.
const LOOK: Duration = Duration::from_millis(10);
/// So long the stream is watched before, to know what it carries, and after the others are rid of the node.
const BEFORE: f64 = 2.0;
const AFTER: f64 = 6.0;

pub(super) fn expulsion(binary: &Path, rounds: Option<usize>, rows: &mut Vec<Value>) {
    let rounds = rounds.unwrap_or(3);
    for (name, target, across) in [
        ("expelled while it streams: the last packet of its links, after the command was typed", "≤ 2 s", false),
        ("expelled in the other part of a split while it streams: the last packet, after the heal", "≤ 5 s", true),
    ] {
        let taken: Vec<Taken> = (0..rounds).map(|_| take(binary, across)).collect();
        let carried: Vec<String> = taken.iter().map(|taken| format!("{:.0}", taken.before)).collect();
        let note = format!("of 5; KB/s on its links before: {}", carried.join(", "));
        row(rows, name, taken.iter().map(|taken| taken.last).collect(), target, &note);
        let members: Vec<f64> = taken.iter().map(|taken| taken.without).collect();
        let name = if across { "the same, until no view has it" } else { "expelled: until no view has it" };
        row(rows, name, members, target, "by the stamps of the last member's own event");
        if let Some(worst) = taken.iter().map(|taken| taken.gap).max_by(f64::total_cmp) {
            let name =
                if across { "the same, longest pause between two looks" } else { "longest pause between two looks" };
            tell(rows, name, &format!("{:.0}", worst * 1e3), "ms", "", "the last packet is known as exactly as this");
        }
    }
}

struct Taken {
    /// Seconds after the word, or after the heal.
    last: f64,
    /// Seconds until all others had views without it.
    without: f64,
    /// KB/s on its links before.
    before: f64,
    /// Seconds.
    gap: f64,
}

fn take(binary: &Path, across: bool) -> Taken {
    let mut lab = Lab::new(binary.to_path_buf(), MACHINES);
    lab.up_all();
    let all: Vec<usize> = (0..MACHINES).collect();
    lab.await_flock(&all, true, LIMIT);
    let (lab, rest) = (lab, &all[..OUT]);
    let stream = Stream::start(lab.loader(), OUT);
    lab.network().meter_links(OUT);
    until(LIMIT, || stream.taken() > 100).expect("it takes writes");
    if across {
        // Somebody who has not heard goes on with it on its side.
        let (here, there) = all.split_at(OUT - 1);
        lab.network().split(&[here, there]);
        lab.await_flock(here, false, LIMIT);
        lab.await_flock(there, false, LIMIT);
        lab.must_at(0, &["node", "expel", "n5", "--reason", "measured"]);
    }
    let mut looks = vec![(now(), lab.network().metered())];
    let look = |looks: &mut Vec<(f64, Octets)>, time: f64| {
        let end = now() + time;
        while now() < end {
            // waits: only the pause between two looks
            std::thread::sleep(LOOK);
            looks.push((now(), lab.network().metered()));
        }
    };
    look(&mut looks, BEFORE);
    lab.network().meter_no_new_links();
    let begin = now();
    let known = looks.len();
    std::thread::scope(|scope| {
        let act = scope.spawn(|| {
            if across {
                lab.network().heal();
            } else {
                lab.must_at(0, &["node", "expel", "n5", "--reason", "measured"]);
            }
            lab.await_flock(rest, false, LIMIT);
        });
        while !act.is_finished() {
            look(&mut looks, 0.1);
        }
        look(&mut looks, AFTER);
    });
    drop(stream);
    let without = lab.agreed_after(rest, begin);
    let carried = |from: &Octets, to: &Octets| to.sent + to.received - from.sent - from.received;
    let mean = |looks: &[(f64, Octets)]| {
        let (from, to) = (&looks[0], &looks[looks.len() - 1]);
        carried(&from.1, &to.1) as f64 / (to.0 - from.0)
    };
    let last = looks[known - 1..].windows(2).rfind(|pair| carried(&pair[0].1, &pair[1].1) > 0);
    let last = last.map_or(0.0, |pair| pair[1].0 - begin);
    let gap = looks.windows(2).map(|pair| pair[1].0 - pair[0].0).fold(0.0, f64::max);
    Taken { last, without, before: mean(&looks[..known]) / 1e3, gap }
}
