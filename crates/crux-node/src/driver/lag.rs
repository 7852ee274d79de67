//! How late the loop is: the first thing to look at when a flock flaps without a broken network.

use std::time::Duration;
use tokio::time::Instant;
use tracing::warn;

/// A timer that fires later than this, or one event that takes longer, is worth a line.
const NOTABLE: Duration = Duration::from_millis(250);
/// At most one line in this time.
const EVERY: Duration = Duration::from_secs(10);

/// What was measured, and when it was last said.
#[derive(Default)]
pub(super) struct Lag {
    said: Option<Instant>,
    worst: Duration,
}

impl Lag {
    /// A timer fired this long after it should have.
    pub(super) fn late(&mut self, by: Duration) {
        self.note(by, "a timer fired late: the process stood still or the machine is overloaded");
    }

    /// One event kept the loop busy for this long.
    pub(super) fn busy(&mut self, for_: Duration) {
        self.note(for_, "one event kept the loop busy");
    }

    fn note(&mut self, took: Duration, what: &str) {
        if took < NOTABLE {
            return;
        }
        self.worst = self.worst.max(took);
        if self.said.is_none_or(|said| said.elapsed() >= EVERY) {
            warn!("{what} ({} ms; worst since the last such line {} ms)", took.as_millis(), self.worst.as_millis());
            self.said = Some(Instant::now());
            self.worst = Duration::ZERO;
        }
    }
}
