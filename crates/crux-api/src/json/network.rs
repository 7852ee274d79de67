//! The three views of the network: who reaches whom, which flocks there are, and what is wrong.

use super::{Counter, Kind, Outside, Sibling};
use serde::{Deserialize, Serialize};

/// Who reaches whom, as far as it is known here: `crux links`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LinkList {
    /// One line for each member and each other member, sorted: how the first sees the second.
    pub links: Vec<Reach>,
    /// For each other flock that is apart for it, a pair that cannot talk directly, or not in time, as far as it is known here.
    #[serde(default)]
    pub broken: Vec<[String; 2]>,
}

impl Kind for LinkList {
    const KIND: &'static str = "LinkList";
}

/// How one fulcrum sees another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Reach {
    /// Whose view this is.
    pub from: String,
    /// Of whom.
    pub to: String,
    /// Whether they are linked.
    pub state: ReachState,
    /// Where the second is reached from the first.
    pub addr: Option<String>,
    /// Whether the first dialled.
    pub dialed: Option<bool>,
    /// Seconds since the link came up; its keys are younger.
    pub age_s: Option<f64>,
    /// Round trip in milliseconds.
    pub rtt_ms: Option<f64>,
    /// Seconds until its keys are replaced, at most.
    pub rekey_s: Option<f64>,
    /// The longest datagram that the path carries, in bytes.
    pub datagram: Option<u32>,
}

/// Whether two are linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ReachState {
    /// They are.
    Up,
    /// They are not, says the first.
    Down,
    /// The first did not answer.
    Unknown,
}

/// Flocks of the bloc as seen from here: `crux flocks`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FlockList {
    /// This fulcrum's own.
    pub flock: Flock,
    /// The others.
    pub siblings: Vec<Sibling>,
    /// Who is in none.
    pub outside: Vec<Outside>,
}

impl Kind for FlockList {
    const KIND: &'static str = "FlockList";
}

/// One flock, whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Flock {
    /// Its name.
    pub flock: String,
    /// Its leader.
    pub leader: String,
    /// Its view's epoch.
    pub epoch: Counter,
    /// Its view, in hex.
    pub view: String,
    /// Whether its leader says that it is complete.
    pub stable: bool,
    /// Its members, sorted.
    pub members: Vec<String>,
    /// How many were expected; `null` if nothing was said.
    pub expect: Option<u32>,
    /// Those of the members that only follow; they are not among those that are expected.
    #[serde(default)]
    pub visitors: Vec<String>,
}

/// What a fulcrum found when it looked at itself and its neighbours: `crux doctor`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Doctor {
    /// The fulcrum that looked.
    pub node: String,
    /// When.
    pub at: String,
    /// What it looked at, in a fixed order of subjects.
    pub findings: Vec<Finding>,
}

impl Kind for Doctor {
    const KIND: &'static str = "Doctor";
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Finding {
    /// What: `flock`, `clock`, `mesh-port`, `api-port`, `mtu`, `certificate`, `state`, `reach`.
    pub check: String,
    /// How it is.
    pub state: FindingState,
    /// About whom or what.
    pub subject: String,
    /// What was found, and its cause.
    pub text: String,
    /// What to do; `null` if nothing is to be done.
    pub next: Option<String>,
}

/// How a thing is that was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum FindingState {
    /// As it should be.
    Ok,
    /// It works, and will not for ever, or not at its best.
    Warning,
    /// It is not as it should be.
    Wrong,
}
