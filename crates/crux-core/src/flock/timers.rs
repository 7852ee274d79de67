//! How long flocking waits for what. Source of the figures: the design's `flocking.md`, "Timers". All are scaled by
//! [`super::Config::timers`]; none needs clocks to agree.

use crux_names::Duration;

/// Missed probe periods in a row before a member is accused.
pub const MISSES: u32 = 4;
/// Failed direct round trips in a row before a pair counts as broken. The floor of the design's 12..30, which stands
/// while no loss is measured.
pub const BROKEN_FAILS: u32 = 12;
/// An accusation needs this share of the observers, in tenths.
pub const QUORUM_TENTHS: usize = 7;
/// At most this many observers count towards the share.
pub const OBSERVERS: usize = 10;
/// Members that are asked whether they hear an accused one.
pub const HELPERS: usize = 3;
/// Dials in one second, at most.
pub const DIALS: usize = 32;

/// The durations after scaling.
#[derive(Clone, Debug)]
pub struct Timers {
    /// Every pair is probed once in this time.
    pub period: Duration,
    /// A probe without an answer is sent again so long after its period began.
    pub resend: [Duration; 3],
    /// A pair is broken no sooner than this after its first failed round trip.
    pub broken_window: Duration,
    /// A verdict on a pair waits so long for others about the same members.
    pub verdict_wait: Duration,
    /// Losses so close together become one view.
    pub batch: Duration,
    /// A loss waits at most so long for others that are accused but not yet enough.
    pub hold: Duration,
    /// A proposer waits so long for reports.
    pub propose: Duration,
    /// A candidate looks so long for direct round trips before it reports what it has.
    pub verify: Duration,
    /// An unacknowledged view, accusation or question is sent again after this.
    pub resend_view: Duration,
    /// Each living senior delays a successor by this.
    pub stage: Duration,
    /// One discovery round.
    pub disc: Duration,
    /// A header must have been the best for this long before its flock is asked.
    pub settle: Duration,
    /// Askers are collected until nobody asked for this long ...
    pub ask_quiet: Duration,
    /// ... and at most this long.
    pub ask_max: Duration,
    /// An accepted asker waits so long for the change.
    pub ask_wait: Duration,
    /// How long a grant of completeness holds.
    pub lease: Duration,
    /// How often it is renewed.
    pub grant: Duration,
    /// Every pair of a view is verified at least once in this time.
    pub audit: Duration,
    /// First pause after a refusal; doubles.
    pub refuse_from: Duration,
    /// Longest pause after a refusal.
    pub refuse_to: Duration,
    /// A challenged old boot has so long to answer.
    pub challenge: Duration,
    /// An accusation that is not repeated is forgotten after this.
    pub stale: Duration,
}

impl Timers {
    /// Timers at so many thousandths of their default.
    #[must_use]
    pub fn scaled(thousandths: u32) -> Self {
        let ms = |millis: u64| Duration::from_micros(millis * u64::from(thousandths.max(1)));
        Self {
            period: ms(500),
            resend: [ms(100), ms(250), ms(400)],
            broken_window: ms(5_000),
            verdict_wait: ms(1_000),
            batch: ms(100),
            hold: ms(1_000),
            propose: ms(3_000),
            verify: ms(1_500),
            resend_view: ms(1_000),
            stage: ms(1_000),
            disc: ms(1_000),
            settle: ms(500),
            ask_quiet: ms(200),
            ask_max: ms(2_000),
            ask_wait: ms(4_000),
            lease: ms(3_000),
            grant: ms(1_000),
            audit: ms(1_500),
            refuse_from: ms(10_000),
            refuse_to: ms(600_000),
            challenge: ms(1_000),
            stale: ms(3_000),
        }
    }
}
