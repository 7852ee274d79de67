//! The two clocks that the engine is told.

use crate::ask::Now;
use crux_names::{Time, Wall};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// The monotonic clock of one life of a fulcrum, and the wall clock beside it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that starts now.
    pub(crate) fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Both clocks.
    pub(crate) fn now(self) -> Now {
        Now { time: self.time(Instant::now()), wall: wall() }
    }

    fn time(self, at: Instant) -> Time {
        let nanos = at.saturating_duration_since(self.start).as_nanos();
        Time::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// When the engine's deadline is on the system's clock; far away for "never".
    pub(crate) fn instant(self, time: Time) -> Instant {
        // A year: later than any deadline, and the system's clock can hold it.
        const FAR: u64 = 365 * 86_400 * 1_000_000_000;
        self.start
            + std::time::Duration::from_nanos(time.as_nanos().min(self.now().time.as_nanos().saturating_add(FAR)))
    }
}

/// The wall clock; the Unix epoch if it stands before that.
pub(crate) fn wall() -> Wall {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Wall(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn never_is_far_and_not_an_overflow() {
        let clock = Clock::start();
        assert!(clock.instant(Time::NEVER) > Instant::now() + std::time::Duration::from_secs(86_400));
        assert!(clock.instant(Time::ZERO) <= Instant::now());
    }
}
