//! How far a certificate's life has run, and when somebody should be told.

use std::fmt;

/// How late it is in an unrenewed life. Later ones are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LifeWarning {
    /// Half of it has gone.
    Half,
    /// Two thirds have gone: where a CA serves, it should have been renewed by now.
    TwoThirds,
    /// Nine tenths have gone.
    NineTenths,
    /// It has ended.
    Ended,
}

impl LifeWarning {
    /// Stable, for tools: `half`, `two-thirds`, `nine-tenths`, `ended`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Half => "half",
            Self::TwoThirds => "two-thirds",
            Self::NineTenths => "nine-tenths",
            Self::Ended => "ended",
        }
    }
}

impl fmt::Display for LifeWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Half => "half of the certificate's life has gone",
            Self::TwoThirds => "two thirds of the certificate's life have gone",
            Self::NineTenths => "nine tenths of the certificate's life have gone",
            Self::Ended => "the certificate's life has ended",
        })
    }
}

/// From when to when a certificate is valid, in Unix seconds, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// Its first second.
    pub not_before: u64,
    /// Its last second.
    pub not_after: u64,
}

/// Numerator and denominator of each share that is worth a warning.
const STEPS: [(u128, u128, LifeWarning); 3] =
    [(9, 10, LifeWarning::NineTenths), (2, 3, LifeWarning::TwoThirds), (1, 2, LifeWarning::Half)];

impl Life {
    fn at(self, (numerator, denominator): (u128, u128)) -> u64 {
        let length = u128::from(self.not_after.saturating_sub(self.not_before));
        let part = (length * numerator).div_ceil(denominator);
        self.not_before.saturating_add(u64::try_from(part).unwrap_or(u64::MAX))
    }

    /// How late it is; nothing in the first half, and before it begins.
    #[must_use]
    pub fn warning(self, now: u64) -> Option<LifeWarning> {
        if now > self.not_after {
            return Some(LifeWarning::Ended);
        }
        STEPS.into_iter().find_map(|(n, d, warning)| (now >= self.at((n, d))).then_some(warning))
    }

    /// The next moment (Unix seconds) at which [`Life::warning`] says something else; nothing once it has ended.
    #[must_use]
    pub fn next_warning(self, now: u64) -> Option<u64> {
        let ends = self.not_after.saturating_add(1);
        let moments = STEPS.into_iter().rev().map(|(n, d, _)| self.at((n, d))).chain([ends]);
        moments.into_iter().find(|moment| *moment > now)
    }

    /// Seconds that are left, the last one included.
    #[must_use]
    pub const fn left(self, now: u64) -> u64 {
        self.not_after.saturating_add(1).saturating_sub(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_come_at_their_shares_and_each_is_announced() {
        let life = Life { not_before: 1_000, not_after: 1_900 };
        let expected = [
            (1_450, LifeWarning::Half),
            (1_600, LifeWarning::TwoThirds),
            (1_810, LifeWarning::NineTenths),
            (1_901, LifeWarning::Ended),
        ];
        assert_eq!((life.warning(0), life.warning(1_449)), (None, None));
        let mut now = 0;
        for (at, warning) in expected {
            assert_eq!(life.next_warning(now), Some(at));
            assert_ne!(life.warning(at - 1), Some(warning), "not too early");
            assert_eq!(life.warning(at), Some(warning));
            now = at;
        }
        assert_eq!(life.next_warning(now), None);
        assert_eq!((life.left(1_900), life.left(1_901), life.left(1_000)), (1, 0, 901));
        assert!(LifeWarning::Half < LifeWarning::TwoThirds && LifeWarning::NineTenths < LifeWarning::Ended);
    }

    #[test]
    fn odd_lives_are_survived() {
        for life in [
            Life { not_before: 5, not_after: 5 },
            Life { not_before: 9, not_after: 3 },
            Life { not_before: 0, not_after: u64::MAX },
        ] {
            for now in [0, 4, 5, 6, u64::MAX] {
                let _ = (life.warning(now), life.next_warning(now), life.left(now));
            }
        }
    }
}
