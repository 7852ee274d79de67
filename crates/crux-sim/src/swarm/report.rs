//! What came of a run.

use crux_core::io::{Event, Reply};
use crux_names::{Duration, Hash256, Time};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A rule that was broken.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The run's seed.
    pub seed: u64,
    /// Which rule.
    pub rule: String,
    /// What broke it.
    pub why: String,
    /// When.
    pub at: Time,
    /// What happened before, oldest first.
    pub events: Vec<String>,
    /// The command that runs seeds of this kind.
    pub command: String,
}

impl Failure {
    pub(crate) fn new(rule: &str, why: String, at: Time) -> Self {
        let command = "cargo xtask sim".into();
        Self { seed: 0, rule: rule.into(), why, at, events: Vec::new(), command }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for event in &self.events {
            writeln!(f, "  {event}")?;
        }
        writeln!(f, "seed {}: {}: at {}: {}", self.seed, self.rule, self.at, self.why)?;
        write!(f, "reproduce: {} --seed {} --trace", self.command, self.seed)
    }
}

/// A run in which every rule held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Its seed.
    pub seed: u64,
    /// Invented time.
    pub simulated: Duration,
    /// How many faults of each class.
    pub faults: BTreeMap<&'static str, u64>,
    /// *Sometimes* points that it reached.
    pub marks: BTreeSet<&'static str>,
    /// Writes that were acknowledged and checked.
    pub acknowledged: usize,
    /// Things told to fulcrums; every rule looked after each.
    pub told: u64,
    /// How long each settling took, in milliseconds.
    pub settled: Vec<u128>,
    /// Hash of all that was told to anybody.
    pub trace: u64,
    /// What each living engine had become at the end.
    pub digests: Vec<Hash256>,
}

/// Points that a good many runs should reach at least once: if one is never reached, the runs do not test what they say.
pub const SOMETIMES: &[&str] = &[
    "a conflict is listed at the end",
    "a blank disk was filled again",
    "a clock stood before the horizon",
    "a crash kept some of what was on its way to the disk",
    "a disk failed for long",
    "a disk failed once",
    "a disk was full",
    "a disk was lost",
    "a disk was slow",
    "a disk took no writes",
    "a hook failed",
    "a hook ran",
    "a hook timed out",
    "a machine began in 1970",
    "a process ended by itself",
    "a side had been quiet for five seconds",
    "a start failed",
    "a store began anew while it was used",
    "a store was of no use to a later life",
    "a sync failed",
    "a wall clock jumped by years",
    "a wall clock stood ten years ahead",
    "a wall clock stood ten years behind",
    "a write converged",
    "a write did not converge in time",
    "a write was refused",
    "an instance was removed as surplus",
    "an old disk came back",
    "an update rolled",
    "instances outlived crux and were re-adopted",
    "some rows of a store were damaged",
    "somebody was called dead",
    "somebody left ADMIN as surplus",
    "somebody expelled came back with an old disk",
    "somebody expelled was let in again",
    "somebody moved to a horde",
    "somebody was expelled",
    "something stands behind the horizon",
    "starts waited for a split's hold",
    "two sides settled apart",
    "two versions conflicted",
    "what a failed sync had written was found by a later life",
    "with sick disks the others went on",
];

pub(super) fn mark(event: &Event) -> Option<&'static str> {
    let has = |text: &str| event.text.contains(text);
    Some(match event.kind {
        "conflict" => "two versions conflicted",
        "horde" if has("elder members") => "somebody left ADMIN as surplus",
        "horde" if has("is of horde web now") => "somebody moved to a horde",
        "verdict" if has(" is dead") => "somebody was called dead",
        "plan" if has("hold") || has("together") => "starts waited for a split's hold",
        "hook-ran" => "a hook ran",
        "hook-failed" => "a hook failed",
        "hook-timed-out" => "a hook timed out",
        "instance" if has(" stops on ") => "an instance was removed as surplus",
        "plan" if has("update from") => "an update rolled",
        _ => return None,
    })
}

pub(super) fn mark_of_reply(reply: &Reply) -> Option<&'static str> {
    match reply {
        Reply::Written { converged: true, .. } => Some("a write converged"),
        Reply::Written { converged: false, .. } => Some("a write did not converge in time"),
        Reply::Refused { .. } => Some("a write was refused"),
        Reply::Added { .. } | Reply::Done => None,
    }
}
