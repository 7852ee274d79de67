//! Waiting for conditions instead of for time.

use std::time::{Duration, Instant};

/// The condition did not come true within the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeout;

/// Polls until the condition is true; says how long that took. The limit is generous, since machines are shared.
///
/// # Errors
/// [`Timeout`] when the limit is over.
pub fn until(limit: Duration, mut condition: impl FnMut() -> bool) -> Result<Duration, Timeout> {
    let begin = Instant::now();
    loop {
        if condition() {
            return Ok(begin.elapsed());
        }
        if begin.elapsed() >= limit {
            return Err(Timeout);
        }
        // waits: only the pause between two looks
        std::thread::sleep(Duration::from_millis(20));
    }
}
