//! Verdicts: the liveness service's word on what *is*, with the rule that decided.

use super::instance::{InstanceId, ServiceRef};
use alloc::string::String;
use crux_names::Duration;

/// How an instance is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Health {
    /// Nothing was heard yet.
    Unknown,
    /// Every input that it declares is healthy.
    Ready,
    /// The worst input is late.
    Late,
    /// The worst input is dead.
    Dead,
    /// Its node is not in the view.
    Gone,
    /// It ended well and was not meant to run on.
    Done,
}

impl Health {
    /// The word that people and tools see.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Ready => "ready",
            Self::Late => "late",
            Self::Dead => "dead",
            Self::Gone => "gone",
            Self::Done => "done",
        }
    }
}

/// The healthminder's verdict on one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The instance.
    pub subject: InstanceId,
    /// Of which service.
    pub of: ServiceRef,
    /// How it is.
    pub health: Health,
    /// How long the verdict has stood when it was sent.
    pub for_: Duration,
    /// The rule's id: `beat-age`, `check-failed`, `not-yet`, `node-gone`, `running-1s`.
    pub rule: String,
    /// The rule with its inputs, for people: `last beat 4.3 s ago, late after 4 s`.
    pub why: String,
}

/// What a heartbeat says of one local instance in one batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beat {
    /// The instance.
    pub subject: InstanceId,
    /// Of which service.
    pub of: ServiceRef,
    /// How long its process has run; `None`: it does not run.
    pub running: Option<Duration>,
    /// Whether it ended well and was not meant to run on.
    pub done: bool,
    /// The last health check: how long ago it ended, whether it passed, and how many failed in a row.
    pub check: Option<Checkup>,
    /// Whether its manifest declares a check.
    pub has_check: bool,
    /// How often it is checked, if the manifest says that; zero: every T.
    pub check_every: Duration,
}

/// The outcome of health checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkup {
    /// How long ago the last one ended.
    pub age: Duration,
    /// Failures in a row; 0: the last one passed.
    pub failed: u32,
    /// What it said, for people.
    pub detail: String,
}
