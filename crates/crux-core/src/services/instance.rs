//! Instances: one run of one service on one fulcrum.

use alloc::collections::BTreeMap;
use alloc::string::String;
use core::fmt;
use core::str::FromStr;
use crux_names::{Boot, FulcrumId, Hash256, HordeName, ServiceName, Wall};

/// The words in an instance's `why` for a file whose fetch failed: a proctor knows by them that it waits for
/// something that does not come by itself.
pub const UNFETCHED: &str = "could not be fetched";

/// An instance's id, from fulcrum, boot and a counter: never used twice. `web/api.2` is only its display name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId {
    /// Where it was started.
    pub fulcrum: FulcrumId,
    /// In which life of that fulcrum.
    pub boot: Boot,
    /// Counts up within that life.
    pub counter: u64,
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.fulcrum, self.boot, self.counter)
    }
}

/// A text that is not an instance id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAnInstance;

impl FromStr for InstanceId {
    type Err = NotAnInstance;

    fn from_str(text: &str) -> Result<Self, NotAnInstance> {
        let mut parts = text.rsplitn(3, ':');
        let counter = parts.next().and_then(|part| part.parse().ok()).ok_or(NotAnInstance)?;
        let boot = parts.next().and_then(|part| u64::from_str_radix(part, 16).ok()).ok_or(NotAnInstance)?;
        let fulcrum = parts.next().and_then(|part| part.parse().ok()).ok_or(NotAnInstance)?;
        Ok(Self { fulcrum, boot: Boot(boot), counter })
    }
}

/// Which service of which horde.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceRef {
    /// The horde.
    pub horde: HordeName,
    /// The service.
    pub service: ServiceName,
}

impl fmt::Display for ServiceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.horde, self.service)
    }
}

/// Where an instance is in its life, as its picket knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Wanted, but something has to happen first: its files are fetched, or a failed start backs off.
    Pending,
    /// The start was journalled and the process is being made.
    Starting,
    /// The process runs.
    Running,
    /// It was told to stop.
    Stopping,
    /// It ended and will not be started again by this picket.
    Gone,
}

/// What a picket says of one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Its id.
    pub id: InstanceId,
    /// What it is an instance of.
    pub of: ServiceRef,
    /// Its place in the plan, for display and matching: the 2 of `web/api.2`. It may change while the instance runs, when
    /// instances of the same number come together; the process is not told, since it knows itself by [`Instance::id`].
    pub slot: u32,
    /// Which revision it runs.
    pub revision: Hash256,
    /// Where it is in its life.
    pub phase: Phase,
    /// Its process, while there is one.
    pub pid: Option<u32>,
    /// When its process started.
    pub started: Option<Wall>,
    /// The ports that it was given.
    pub ports: BTreeMap<String, u16>,
    /// How often it was started again after it ended by itself.
    pub restarts: u32,
    /// Why it is where it is, for people: `exit code 3; next start in 4 s`.
    pub why: String,
    /// How its last hook is, for people; empty if it had none.
    pub hook: String,
}
