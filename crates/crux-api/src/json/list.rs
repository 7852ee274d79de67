//! Documents that hold records of the status schema, and the other lists.

use super::{Claim, Counter, Horde, Instance, Kind, Outside, RosterEntry, Service, Twins};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

macro_rules! kinds {
    ($($type:ident),* $(,)?) => {
        $(impl Kind for $type {
            const KIND: &'static str = stringify!($type);
        })*
    };
}

kinds!(Ps, NodeList, HordeList, ServiceList, Event, EventList, LogLine, LogList, Why, FileList, PlanDiff);

/// Services and their instances: `crux ps`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Ps {
    /// Services.
    pub services: Vec<Service>,
    /// Instances.
    pub instances: Vec<Instance>,
}

/// Fulcrums: `crux node list`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct NodeList {
    /// Members of this flock.
    pub roster: Vec<RosterEntry>,
    /// Who is outside.
    pub outside: Vec<Outside>,
    /// Fulcrums of which two live at once, or did when last seen.
    #[serde(default)]
    pub clones: Vec<Twins>,
}

/// Hordes: `crux horde list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HordeList {
    /// Hordes.
    pub hordes: Vec<Horde>,
}

/// What the access service and the yurt know: `crux services`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ServiceList {
    /// Services.
    pub services: Vec<Service>,
    /// The register: what was added at some fulcrum's door and lives.
    #[serde(default)]
    pub access: Vec<AccessEntry>,
    /// What heartbeats in ADMIN.
    pub yurt: Vec<Program>,
}

/// An entry of the access service's register.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AccessEntry {
    /// The horde of its service.
    pub horde: String,
    /// Its service.
    pub service: String,
    /// Tells entries of one service by one adder apart.
    pub name: String,
    /// Where the service is, in the words of its protocol.
    pub addrs: Vec<String>,
    /// What else is to be known of it.
    pub labels: BTreeMap<String, String>,
    /// Who added it: `operator/ann` or `instance/n1:697df3c0:4`.
    pub by: String,
    /// When it was added first, by the clock of the fulcrum at whose door.
    pub since: String,
    /// What is believed of the instance that added it: `ready`, `late` or `unknown`; `null` for an operator's.
    pub state: Option<String>,
    /// Whose word it is: the fulcrum's at whose door it was added.
    pub claim: Claim,
}

/// A program of crux that heartbeats in ADMIN.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Program {
    /// `genghis`, `access`, `proctor/web`, …
    pub name: String,
    /// The fulcrum where it runs.
    pub node: String,
    /// When it started there.
    pub started: Option<String>,
    /// Whether it answers.
    #[serde(default)]
    pub state: ProgramState,
    /// Why it does not answer; empty if it does.
    #[serde(default)]
    pub why: String,
}

/// How a program is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ProgramState {
    /// It does its work.
    #[default]
    Answers,
    /// It is there and cannot do its work.
    Waits,
    /// Its heartbeats stay away.
    Silent,
}

impl ProgramState {
    /// The word that tools see.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Answers => "answers",
            Self::Waits => "waits",
            Self::Silent => "silent",
        }
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Event {
    /// Where to resume after it: `GET /v1/events?after=CURSOR`.
    pub cursor: Counter,
    /// When, by the clock of the fulcrum that says so.
    pub at: String,
    /// The fulcrum that says so.
    pub node: String,
    /// What kind, a stable word: `flock-formed`, `member-joined`, `member-lost`, `leader`, `stable`, `plan`, `conflict`, `expelled`, …
    pub event: String,
    /// The subject: a node, a service, an instance.
    pub subject: String,
    /// What happened, in a sentence.
    pub text: String,
}

/// What happened, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct EventList {
    /// The events after the cursor that was asked for, as far back as this fulcrum remembers.
    pub events: Vec<Event>,
}

/// One line that an instance wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LogLine {
    /// The instance's id.
    pub instance: String,
    /// Its display name, `web/api.2`.
    pub name: String,
    /// The fulcrum that runs it.
    pub node: String,
    /// `stdout` or `stderr`.
    pub stream: String,
    /// The line without its end; bytes that are not UTF-8 are replaced.
    pub text: String,
}

/// Lines that instances wrote, oldest first within each instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LogList {
    /// The lines.
    pub lines: Vec<LogLine>,
}

/// Why something is as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Why {
    /// What was asked about, as in `crux why SUBJECT`.
    pub subject: String,
    /// How it is, in a word: `ready`, `member`, `parted`, …
    pub state: String,
    /// Since when.
    pub since: Option<String>,
    /// The rule that decided.
    pub rule: Option<WhyRule>,
    /// Who observed or decided.
    pub by: Option<String>,
    /// The reasons, one sentence each, the decisive one first.
    pub reasons: Vec<String>,
}

/// A published rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct WhyRule {
    /// Its id.
    pub id: String,
    /// Its text.
    pub text: String,
}

/// A file in the store of the fulcrum that was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FileEntry {
    /// Its content's name, in hex.
    pub sha256: String,
    /// Bytes.
    pub size: Counter,
    /// Whether a revision in use needs it, so that it is never evicted.
    pub pinned: bool,
}

/// Files: `crux files list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FileList {
    /// The files, sorted by name.
    pub files: Vec<FileEntry>,
}

/// What applying a manifest would change: `crux plan`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PlanDiff {
    /// One per fact, in the order in which they would be written; unchanged facts are not listed.
    pub changes: Vec<Change>,
    /// How many facts of the manifest are already as they should be.
    pub unchanged: u32,
}

/// One fact that would change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Change {
    /// The fact's path.
    pub path: String,
    /// What would happen to it.
    pub action: ChangeAction,
    /// What it says now, for people; `null` if there is none.
    pub before: Option<String>,
    /// What it would say; `null` if it would be deleted.
    pub after: Option<String>,
}

/// What would happen to a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ChangeAction {
    /// There is none yet.
    Create,
    /// It would be replaced.
    Change,
    /// It would be deleted.
    Delete,
}
