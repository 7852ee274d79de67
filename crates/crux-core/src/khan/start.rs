//! Start clauses: may a service start yet? They gate starts, never stops.

use super::ast::{Condition, Need, Stage};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use crux_names::ServiceName;

/// How far along the instances of one service are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StageCounts {
    /// How many are wanted.
    pub wanted: u64,
    /// Whose process runs, or has run to its end.
    pub started: u64,
    /// Those that are ready or done.
    pub ready: u64,
    /// Those that ended well.
    pub done: u64,
}

/// Every service that exists, with how far along it is.
pub type Stages = BTreeMap<ServiceName, StageCounts>;

/// Why a start must wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// For people: `waits for 3 of s3.ready: 2 are`.
    pub why: String,
}

/// Whether every condition holds.
///
/// # Errors
/// [`Waiting`] names the first condition that does not hold, and how far it is.
pub fn may_start<'a>(conditions: impl IntoIterator<Item = &'a Condition>, stages: &Stages) -> Result<(), Waiting> {
    for condition in conditions {
        let Some(counts) = stages.get(&condition.service) else {
            return Err(Waiting { why: format!("waits for {condition}: nothing places {}", condition.service) });
        };
        let have = match condition.stage {
            Stage::Started => counts.started,
            Stage::Ready => counts.ready,
            Stage::Done => counts.done,
        };
        let (holds, of) = match condition.need {
            Need::Count(count) => (have >= u64::from(count), String::new()),
            Need::All => (have >= counts.wanted, format!(" of {}", counts.wanted)),
            Need::Percent(percent) => {
                let enough = have.saturating_mul(100) >= counts.wanted.saturating_mul(u64::from(percent));
                (enough, format!(" of {}", counts.wanted))
            }
        };
        if !holds {
            let verb = if have == 1 { "is" } else { "are" };
            let have = if have == 0 { "none".to_string() } else { have.to_string() };
            return Err(Waiting { why: format!("waits for {condition}: {have}{of} {verb}") });
        }
    }
    Ok(())
}
