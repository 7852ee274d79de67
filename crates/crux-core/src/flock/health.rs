//! How well this fulcrum itself is, and how much the network loses: who is sick accuses slowly, and where much is lost a
//! verdict takes more failures.
//!
//! The multiplier is Lifeguard's idea (Dadgar, Phillips, Currey 2018), fed by what cannot be mistaken for the fault of
//! others: timers that came late, and accusations that had to be taken back. Failed probes alone do not raise it, for a
//! member of the smaller side of a split fails most of its probes and is well.

use super::timers::Timers;
use crux_names::{Duration, Time};

/// The worst health.
pub const WORST: u32 = 8;
/// From here on a fulcrum counts as sick.
pub const SICK: u32 = 4;
/// Bounds of the failures in a row that make a pair broken; the floor stands before any loss was measured.
const FAILS: (u32, u32) = (12, 30);
/// Above this loss, in thousandths each way, two more periods must be missed.
const LOSSY: u32 = 100;
/// The flock as a whole expects at most one false verdict on a pair in this time.
const FALSE_VERDICT: Duration = Duration::from_secs(30 * 24 * 3600);
/// Probes over which loss is averaged.
const MEMORY: u32 = 256;

/// Own health and measured loss.
#[derive(Clone, Debug, Default)]
pub struct Health {
    /// 0 is well.
    points: u32,
    /// Since when it is sick without a break.
    sick_since: Option<Time>,
    /// The last moment that was bad: health returns point by point.
    last: Time,
    /// Moving average, in millionths, of first probes that got no answer before they were sent again.
    unanswered: u32,
}

impl Health {
    /// How much slower this fulcrum accuses than a healthy one: 1 and more.
    pub const fn slowness(&self) -> u32 {
        1 + self.points
    }

    /// Something showed that this fulcrum is at fault.
    pub fn worse(&mut self, now: Time) {
        self.points = (self.points + 1).min(WORST);
        self.last = now;
        if self.points >= SICK {
            self.sick_since.get_or_insert(now);
        }
    }

    /// A period passed in which everything came in time: one point better for each.
    pub fn passes(&mut self, now: Time, period: Duration) {
        while self.points > 0 && now.since(self.last) >= period {
            self.points -= 1;
            self.last = self.last + period;
        }
        if self.points < SICK {
            self.sick_since = None;
        }
    }

    /// For how long it has been sick.
    pub fn sick_for(&self, now: Time) -> Duration {
        self.sick_since.map_or(Duration::ZERO, |since| now.since(since))
    }

    /// A probe was answered at once, or had to be sent again.
    pub const fn measured(&mut self, at_once: bool) {
        let sample = if at_once { 0 } else { 1_000_000 };
        self.unanswered = self.unanswered - self.unanswered / MEMORY + sample / MEMORY;
    }

    /// What was taken for lost a moment ago was only slow.
    pub const fn slow(&mut self) {
        self.unanswered = self.unanswered.saturating_sub(1_000_000 / MEMORY);
    }

    /// Measured loss each way in thousandths: half of what a round trip loses.
    pub const fn loss(&self) -> u32 {
        self.unanswered / 2_000
    }

    /// Missed periods in a row before a neighbour is accused.
    pub const fn misses(&self, size: usize) -> u32 {
        Timers::misses(size) + if self.loss() > LOSSY { 2 } else { 0 }
    }

    /// Failed round trips in a row before a pair counts as broken: so many that all pairs together expect at most one
    /// false verdict in thirty days.
    pub fn fails(&self, size: usize, audit: Duration) -> u32 {
        let pairs = size * size.saturating_sub(1) / 2;
        let rounds = FALSE_VERDICT.as_millis() / audit.as_millis().max(1);
        // A visit asks several times, but the probes of a pair under doubt are counted as if each asked once.
        let failure = f64::from(self.unanswered) / 1_000_000.0;
        let mut expected =
            f64::from(u32::try_from(pairs).unwrap_or(u32::MAX)) * f64::from(u32::try_from(rounds).unwrap_or(u32::MAX));
        let mut fails = 0;
        while expected > 1.0 && fails < FAILS.1 {
            expected *= failure;
            fails += 1;
        }
        fails.clamp(FAILS.0, FAILS.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lossy(thousandths: u32) -> Health {
        Health { unanswered: thousandths * 2_000, ..Health::default() }
    }

    #[test]
    fn many_pairs_and_much_loss_take_more_failures() {
        // The anchors' table (membership.md, 5.2): 10,000 members at 10 % loss want 17, at 20 % want 28.
        let audit = Duration::from_secs(160);
        assert_eq!(lossy(0).fails(10_000, audit), 12);
        assert_eq!(lossy(20).fails(10_000, audit), 12);
        let at_ten = lossy(100).fails(10_000, audit);
        assert!((16..=19).contains(&at_ten), "{at_ten}");
        let at_twenty = lossy(200).fails(10_000, audit);
        assert!((27..=30).contains(&at_twenty), "{at_twenty}");
    }

    #[test]
    fn loss_is_measured_from_first_probes() {
        let mut health = Health::default();
        (0..5_000).for_each(|n| health.measured(n % 5 != 0));
        assert!((80..=120).contains(&health.loss()), "a fifth of round trips is a tenth each way: {}", health.loss());
    }

    #[test]
    fn slow_answers_are_no_loss() {
        let mut health = Health::default();
        for _ in 0..5_000 {
            health.measured(false);
            health.slow();
        }
        assert_eq!(health.loss(), 0);
        // Of ten that were sent again one was lost.
        for n in 0..5_000 {
            health.measured(false);
            if n % 10 != 0 {
                health.slow();
            }
        }
        assert!((30..=70).contains(&health.loss()), "{}", health.loss());
    }

    #[test]
    fn health_returns_with_time_and_sickness_has_a_beginning() {
        let mut health = Health::default();
        let at = Time::from_millis;
        (0..4).for_each(|n| health.worse(at(n * 100)));
        assert_eq!(health.slowness(), 5);
        assert_eq!(health.sick_for(at(5_300)), Duration::from_secs(5));
        health.passes(at(800), Duration::from_millis(500));
        assert_eq!((health.slowness(), health.sick_for(at(5_300))), (4, Duration::ZERO));
        health.passes(at(9_000), Duration::from_millis(500));
        assert_eq!(health.slowness(), 1);
    }
}
