//! What only shows in minutes: on demand, `CRUX_LAB_LONG=1` (and `CRUX_LAB_LONG_SECS`, 600 unless told).

use crux_lab::{Lab, now, until};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

/// How long to watch, or why not.
fn wanted() -> Option<Duration> {
    if std::env::var_os("CRUX_LAB_LONG").is_none() {
        eprintln!("SKIPPED: CRUX_LAB_LONG is not set; it takes ten minutes");
        return None;
    }
    let secs = std::env::var("CRUX_LAB_LONG_SECS").ok().and_then(|secs| secs.parse().ok());
    Some(Duration::from_secs(secs.unwrap_or(600)))
}

#[test]
fn five_percent_loss_among_twenty_removes_nobody_and_changes_no_leader() {
    let Some(time) = wanted() else { return };
    let Some(mut lab) = Lab::or_skip(20) else { return };
    let all: Vec<usize> = (0..20).collect();
    lab.up_all();
    lab.await_flock(&all, true, LIMIT * 2);
    let (view, begin) = (lab.json(0, &["confab"])["view"].clone(), now());
    lab.network().set_loss(5);
    // The condition is the end of it; the time over is what is wanted.
    let changed = until(time, || lab.json(0, &["confab"])["view"] != view);
    assert!(changed.is_err(), "the view changed after {changed:?}: {}", lab.said(&all));
    lab.network().set_loss(0);
    for at in all {
        let views = lab.views_since(at, begin);
        assert_eq!(views, 0, "n{} came to {views} views", at + 1);
    }
}

#[test]
fn a_cut_of_minutes_heals_as_fast_as_a_short_one() {
    let Some(time) = wanted() else { return };
    let Some(mut lab) = Lab::or_skip(6) else { return };
    let (all, one, other) = ([0, 1, 2, 3, 4, 5], [0, 1, 2], [3, 4, 5]);
    lab.up_all();
    lab.await_flock(&all, true, LIMIT);
    lab.network().split(&[&one, &other]);
    lab.await_flock(&one, true, LIMIT);
    lab.await_flock(&other, true, LIMIT);
    let moved = until(time, || !lab.one_flock(&one, false) || !lab.one_flock(&other, false));
    assert!(moved.is_err(), "a part did not stay whole: {}", lab.said(&all));
    let begin = now();
    lab.network().heal();
    lab.await_flock(&all, true, LIMIT);
    eprintln!("healed after {:.2} s, of a cut of {} s", lab.agreed_after(&all, begin), time.as_secs());
}
