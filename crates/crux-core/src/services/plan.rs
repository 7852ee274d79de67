//! Plans: a proctor's immutable decision who runs what, with reasons.

use super::instance::{InstanceId, ServiceRef};
use crate::flock::view::ViewId;
use alloc::string::String;
use alloc::vec::Vec;
use crux_names::{FulcrumId, Hash256, HordeName};

/// How many instances one fulcrum carries at most, of all services of its horde together. What a pick wants beyond it is
/// a shortfall: a slip in a count must not bring a flock down.
pub const MOST: u32 = 100;

/// The order of plans: a dean obeys the newest of its installed view's proctor.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlanId {
    /// The view in which it was made.
    pub view: ViewId,
    /// Counts up within the view.
    pub generation: u64,
}

/// Nobody counts so far within a view.
const GENERATION_MAX: u64 = 1 << 32;

impl PlanId {
    /// Whether nobody honest has counted to its number. It binds its maker; others go on as if it had not been said, or one
    /// plan of a hostile proctor would keep every later one of that view from being obeyed.
    #[must_use]
    pub const fn is_beyond(&self) -> bool {
        self.generation > GENERATION_MAX
    }
}

/// One instance that should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which service.
    pub of: ServiceRef,
    /// Its place among the service's instances.
    pub slot: u32,
    /// Which revision.
    pub revision: Hash256,
    /// On which fulcrum.
    pub on: FulcrumId,
    /// The running instance that fills it; `None`: the dean there starts one, unless one that nobody else in the plan
    /// claims runs there already for this service, slot and revision.
    pub instance: Option<InstanceId>,
    /// The rule that put it there, for people.
    pub why: String,
}

/// Something wanted that the plan does not do, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortfall {
    /// Which service.
    pub of: ServiceRef,
    /// How many instances are missing.
    pub missing: u32,
    /// Why, for people.
    pub why: String,
}

/// A proctor's decision for its horde. Whatever of the horde runs and is not in it is stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Its place in the order of plans.
    pub id: PlanId,
    /// Whose services.
    pub horde: HordeName,
    /// The proctor's fulcrum.
    pub by: FulcrumId,
    /// What should be, surplus that waits for its turn to be removed included.
    pub entries: Vec<Entry>,
    /// What is wanted and is not in it.
    pub shortfalls: Vec<Shortfall>,
    /// How many instances each service should have now, by its policy on this side of a split.
    pub should: Vec<(ServiceRef, u32)>,
}
