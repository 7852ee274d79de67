//! What services tell each other across fulcrums, as decoded values. The bytes are `wire`'s affair.

use super::access::{Entry, Listed};
use super::instance::{Instance, InstanceId};
use super::plan::{Plan, PlanId};
use super::verdict::{Beat, Verdict};
use super::yurt::Program;
use crate::flock::view::ViewId;
use alloc::vec::Vec;
use crux_names::{FulcrumId, HordeName};

/// One message between services of two fulcrums of a flock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A proctor asks a dean what runs there.
    AskDean {
        /// The view of the asking proctor.
        view: ViewId,
        /// Its horde.
        horde: HordeName,
    },
    /// A dean's word to the proctor of a horde: everything of that horde that it knows of.
    DeanReport {
        /// The horde.
        horde: HordeName,
        /// The plan that it obeys, if any.
        obeys: Option<PlanId>,
        /// Its instances.
        instances: Vec<Instance>,
    },
    /// A proctor's plan, to every member of the flock: deans of the horde obey it, the others show it.
    Plan(Plan),
    /// A heartbeat's batch to the healthminder of a horde.
    Beats {
        /// The horde.
        horde: HordeName,
        /// One per local instance of the horde.
        beats: Vec<Beat>,
    },
    /// A healthminder's verdicts on its horde, to every member of the flock.
    Verdicts {
        /// The horde.
        horde: HordeName,
        /// The view in which they were made.
        view: ViewId,
        /// All of them.
        verdicts: Vec<Verdict>,
    },
    /// The proctor's picture of what runs, to every member of the flock, so that any fulcrum can be asked.
    Board {
        /// The horde.
        horde: HordeName,
        /// The view in which it was made.
        view: ViewId,
        /// Every instance that some dean reported.
        instances: Vec<Instance>,
    },
    /// Genghis offers the receiver a place in a horde. It binds only if the operators' facts allow it.
    Offer {
        /// The horde; [`crux_names::ADMIN`] offers the ADMIN flag.
        horde: HordeName,
        /// The absent home member whose place is offered, to somebody who stands in for it; `None`: a home of its own.
        stands_for: Option<FulcrumId>,
        /// Why, for people.
        why: alloc::string::String,
    },
    /// What hordes wait for, as genghis sees it, from ADMIN's seat to every member of the flock.
    Waits {
        /// The view in which it was said.
        view: ViewId,
        /// For people, by horde. A horde that is not named waits for nothing.
        waits: Vec<(HordeName, alloc::string::String)>,
    },
    /// Programs that heartbeat in ADMIN, from the fulcrum where they run to every member of the flock.
    Who {
        /// The view in which it was sent.
        view: ViewId,
        /// Each of them, and whether it answers.
        programs: Vec<Program>,
    },
    /// Everything that was added at a fulcrum's door, to ADMIN's seat, or that it is still the same.
    Added {
        /// The view in which it was said.
        view: ViewId,
        /// Which version of it.
        version: u64,
        /// Which version of the register this fulcrum has from that seat in this view; 0: none.
        holds: u64,
        /// All of it; `None`: what was said in this view under this version.
        entries: Option<Vec<Entry>>,
    },
    /// ADMIN's seat does not know what was said under that version.
    AskAdded {
        /// The view in which it was said.
        view: ViewId,
    },
    /// The register, from ADMIN's seat to every member of the flock.
    Register {
        /// The view in which it was said.
        view: ViewId,
        /// Which version of it; never 0.
        version: u64,
        /// All of it.
        entries: Vec<Listed>,
    },
    /// A fulcrum withdraws an instance from the books: it is gone and cleaned away.
    Forgotten {
        /// The instance.
        instance: InstanceId,
    },
}
