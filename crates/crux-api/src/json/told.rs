//! What an instance is told of its horde: on standard input of its hooks.

use super::{Counter, Kind};
use serde::{Deserialize, Serialize};

/// One word to an instance, with the home members of its horde at that moment. A hook reads it from standard input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Told {
    /// Greater than that of every earlier word to this instance; the cursor of the same word on the instance's socket.
    pub number: Counter,
    /// `parted`: home members are in other flocks, or not seen here; `rejoined`: all of them are here again.
    pub event: String,
    /// The instance.
    pub instance: String,
    /// Its service.
    pub service: String,
    /// Its horde.
    pub horde: String,
    /// Home members of the horde that are in this fulcrum's flock, sorted by name.
    pub present: Vec<String>,
    /// Home members that are not, sorted by name.
    pub absent: Vec<String>,
    /// When it was said, by the clock of the fulcrum where the instance runs.
    pub at: String,
}

impl Kind for Told {
    const KIND: &'static str = "Told";
}
