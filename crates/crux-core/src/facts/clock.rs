//! The hybrid logical clock (Kulkarni et al. 2014): stamps that follow the wall clock and never run backwards, so that
//! a later write has a later stamp wherever it is made, as long as the writer has seen the earlier one.

use super::version::Stamp;
use crux_names::{Duration, Wall};

/// How far a stamp may lie ahead of the clock of the fulcrum that accepts it. Also how far a peer's stamp can move this
/// clock, so that a wrong clock elsewhere stays elsewhere.
pub const AHEAD_MAX: Duration = Duration::from_secs(60);

/// A fulcrum's hybrid clock.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    last: Stamp,
}

impl Clock {
    /// A stamp later than every one that was given or observed within the bound.
    pub const fn stamp(&mut self, wall: Wall) -> Stamp {
        self.last = if wall.0 > self.last.wall {
            Stamp { wall: wall.0, logical: 0 }
        } else if self.last.logical < u32::MAX {
            Stamp { wall: self.last.wall, logical: self.last.logical + 1 }
        } else {
            Stamp { wall: self.last.wall + 1, logical: 0 }
        };
        self.last
    }

    /// Takes note of a stamp in a version that came. One that lies too far ahead is not followed: its version counts as
    /// signed, and a later write still replaces it by naming it.
    pub fn observe(&mut self, stamp: Stamp, wall: Wall) {
        if acceptable(stamp, wall) {
            self.last = self.last.max(stamp);
        }
    }
}

/// Whether the door may accept this stamp.
#[must_use]
pub fn acceptable(stamp: Stamp, wall: Wall) -> bool {
    stamp.wall <= wall.0.saturating_add(AHEAD_MAX.as_micros() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_rise_though_the_wall_clock_falls() {
        let mut clock = Clock::default();
        let first = clock.stamp(Wall(1_000));
        let second = clock.stamp(Wall(10));
        let third = clock.stamp(Wall(2_000));
        assert!(first < second && second < third);
        assert_eq!(third, Stamp { wall: 2_000, logical: 0 });
    }

    #[test]
    fn a_stamp_from_the_far_future_moves_nobody() {
        let wall = Wall(1_000_000);
        let mut clock = Clock::default();
        clock.observe(Stamp { wall: wall.0 + 60_000_001, logical: 0 }, wall);
        assert_eq!(clock.stamp(wall), Stamp { wall: wall.0, logical: 0 });
        let edge = Stamp { wall: wall.0 + 60_000_000, logical: 7 };
        clock.observe(edge, wall);
        assert!(clock.stamp(wall) > edge);
    }
}
