//! How long flocking waits for what. Source of the figures: the design's `flocking.md`, "Timers". All are scaled by
//! [`super::Config::timers`]; none needs clocks to agree.

use crux_names::Duration;

/// An accusation needs this share of the observers, in tenths.
pub const QUORUM_TENTHS: usize = 7;
/// At most this many observers count towards the share.
pub const OBSERVERS: usize = 10;
/// Members that are asked whether they hear an accused one.
pub const HELPERS: usize = 3;
/// Up to this size an observer tells everybody whom it accuses; above it the leader and the next two, and then juniors
/// in doubling blocks.
pub const TELL_ALL: usize = super::ring::FULL;
/// The first block of those who are told.
pub const BLOCK: usize = 3;
/// Accusations against at least this many members, and a tenth of them, within two seconds make the leader call the roll.
pub const CALL_FROM: usize = 3;
/// Above this size flocks probe at half the pace, and a lone fulcrum takes its time to find the best of the others.
pub const LARGE: usize = 64;
/// A node that broke off is readmitted at once so many times.
pub const FREE_RETURNS: u32 = 2;

/// The durations after scaling.
#[derive(Clone, Debug)]
pub struct Timers {
    scale: u32,
    /// A probe without an answer is sent again so long after its period began.
    pub resend: [Duration; 3],
    /// The same in a burst, which asks five times in a quarter of a second.
    pub burst: [Duration; 4],
    /// A burst without an answer by then has failed.
    pub burst_end: Duration,
    /// The same in a roll-call, which ends after a second.
    pub call: [Duration; 4],
    /// See `call`.
    pub call_end: Duration,
    /// A pair is broken no sooner than this after its first failed round trip.
    pub broken_window: Duration,
    /// Between two probes of a pair under doubt, at least.
    pub doubt: Duration,
    /// A verdict on a pair waits so long for others about the same members.
    pub verdict_wait: Duration,
    /// Losses so close together become one view.
    pub batch: Duration,
    /// A loss waits at most so long for others that are accused but not yet enough.
    pub hold: Duration,
    /// A proposer waits so long for reports, and longer for many candidates: see [`Timers::propose`].
    pub propose: Duration,
    /// A candidate looks so long for direct round trips before it reports what it has; longer for many.
    pub verify: Duration,
    /// Between the verifications of two candidates, when there are many.
    pub verify_pace: Duration,
    /// An unacknowledged view, accusation or question is sent again after this.
    pub resend_view: Duration,
    /// An accusation that nobody acknowledged is told to the next block after this.
    pub block: Duration,
    /// Each living senior delays a successor by this.
    pub stage: Duration,
    /// One discovery round.
    pub disc: Duration,
    /// A header must have been the best for this long before its flock is asked; twice as long among many addresses.
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
    /// First pause after a refusal; doubles.
    pub refuse_from: Duration,
    /// Longest pause after a refusal.
    pub refuse_to: Duration,
    /// A challenged old boot has so long to answer.
    pub challenge: Duration,
    /// An accusation that is not repeated is forgotten after this.
    pub stale: Duration,
    /// First hold of whoever broke off too often; doubles.
    pub held_from: Duration,
    /// Longest hold, and the clean time after which breaking off is forgotten.
    pub held_to: Duration,
    /// A leader that has been sick for this long hands over.
    pub sick: Duration,
}

impl Timers {
    /// Timers at so many thousandths of their default.
    #[must_use]
    pub fn scaled(thousandths: u32) -> Self {
        let scale = thousandths.max(1);
        let ms = |millis: u64| Duration::from_micros(millis * u64::from(scale));
        Self {
            scale,
            resend: [ms(100), ms(250), ms(400)],
            burst: [ms(50), ms(100), ms(150), ms(200)],
            burst_end: ms(300),
            call: [ms(100), ms(250), ms(400), ms(650)],
            call_end: ms(1_000),
            broken_window: ms(5_000),
            doubt: ms(500),
            verdict_wait: ms(1_000),
            batch: ms(100),
            hold: ms(1_000),
            propose: ms(3_000),
            verify: ms(1_500),
            verify_pace: ms(1),
            resend_view: ms(1_000),
            block: ms(250),
            stage: ms(1_000),
            disc: ms(1_000),
            settle: ms(500),
            ask_quiet: ms(200),
            ask_max: ms(2_000),
            ask_wait: ms(4_000),
            lease: ms(3_000),
            grant: ms(1_000),
            refuse_from: ms(10_000),
            refuse_to: ms(600_000),
            challenge: ms(1_000),
            stale: ms(3_000),
            held_from: ms(30_000),
            held_to: ms(600_000),
            sick: ms(10_000),
        }
    }

    fn ms(&self, millis: usize) -> Duration {
        Duration::from_micros(u64::try_from(millis).unwrap_or(u64::MAX).saturating_mul(u64::from(self.scale)))
    }

    /// Each pair of neighbours is probed once in this time.
    #[must_use]
    pub fn period(&self, size: usize) -> Duration {
        self.ms(if size <= LARGE { 500 } else { 1_000 })
    }

    /// Missed periods in a row before a neighbour is accused.
    #[must_use]
    pub const fn misses(size: usize) -> u32 {
        if size <= LARGE { 4 } else { 3 }
    }

    /// Every pair of a view is visited once in this time.
    #[must_use]
    pub fn audit(&self, size: usize) -> Duration {
        self.ms(if size > 1000 { size.saturating_mul(16) } else { (size * 100).clamp(1_000, 16_000) })
    }

    /// How much longer a proposal with so many strangers takes.
    #[must_use]
    pub fn for_strangers(&self, strangers: usize) -> Duration {
        self.ms(strangers)
    }
}
