//! Pace: every interval of the services in one place, scaled like flocking's timers.

use alloc::format;
use alloc::string::String;
use crux_names::Duration;

/// The scale of every timer, in thousandths: 1000 is the default, a dev cluster runs at 250. Needs no agreement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace(pub u32);

impl Pace {
    /// This many milliseconds at default scale; never less than 1 ms.
    #[must_use]
    pub fn ms(self, millis: u64) -> Duration {
        Duration::from_micros((millis * u64::from(self.0)).max(1_000))
    }

    /// How often role holders repeat their last word to every member: a lost or refused message is made good within it.
    #[must_use]
    pub fn repeat(self) -> Duration {
        self.ms(2_000)
    }

    /// How often a fulcrum sends its batch of heartbeats.
    #[must_use]
    pub fn beat(self) -> Duration {
        self.ms(1_000)
    }

    /// T of the healthminder's rules.
    #[must_use]
    pub fn t(self) -> Duration {
        self.ms(2_000)
    }
}

/// A duration for people: `0.4 s`, `12 s`.
pub(crate) fn seconds(duration: Duration) -> String {
    let tenths = duration.as_millis() / 100;
    if tenths < 100 { format!("{}.{} s", tenths / 10, tenths % 10) } else { format!("{} s", duration.as_secs()) }
}
