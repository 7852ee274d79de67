//! What operators did, and what they were refused: `crux audit`.

use super::{Counter, Kind};
use serde::{Deserialize, Serialize};

/// One request that changed something, or was refused. It is also a line of the files in `<state>/audit`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AuditEntry {
    /// Where to resume after it: `GET /v1/audit?after=CURSOR`. It goes on counting when the fulcrum is started again.
    pub cursor: Counter,
    /// When it was answered, by the clock of the fulcrum that was asked.
    pub at: String,
    /// The fulcrum that was asked.
    pub door: String,
    /// Who asked: role and name of the certificate (`operator/ann`), or `socket` for the local socket.
    pub by: String,
    /// At the local socket: the user.
    pub uid: Option<u32>,
    /// At the API port: from where.
    pub from: Option<String>,
    /// Who signed the facts, if facts were to be written: all of them, with commas. If it was refused, who was said to have.
    pub author: Option<String>,
    /// Whether the author is only who the facts say it is: nobody has found the signatures good. Anybody who may ask can claim
    /// any author in a write that is refused.
    #[serde(default)]
    pub claimed: bool,
    /// What was asked for: `apply`, `horde`, `forget`, `expel`, `down`, `lab`; `read` for a read that was refused.
    pub verb: String,
    /// What it was to be done to: paths of facts, a node, a file, or the path of the request.
    pub targets: Vec<String>,
    /// The ids of the facts that were written.
    pub facts: Vec<String>,
    /// How many more targets there were.
    pub more: u32,
    /// What became of it.
    pub outcome: AuditOutcome,
    /// The error's code, if it was not done.
    pub code: Option<String>,
    /// The error's cause, if it was not done.
    pub reason: Option<String>,
    /// How many requests of this caller that came to nothing before this one are not listed, because there were too many.
    pub unlisted: u32,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum AuditOutcome {
    /// It begins; said beforehand where the end may come before the answer.
    Begun,
    /// It is done.
    Done,
    /// It is accepted, and fewer fulcrums than promised have it.
    Accepted,
    /// Whoever asked may not do this.
    Refused,
    /// It could not be done.
    Failed,
}

impl Kind for AuditEntry {
    const KIND: &'static str = "AuditEntry";
}

/// What operators did, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AuditList {
    /// The entries after the cursor that was asked for, as far back as this fulcrum keeps them.
    pub entries: Vec<AuditEntry>,
    /// If there are more than one answer has: the cursor to ask for next, `GET /v1/audit?after=CURSOR`.
    #[serde(default)]
    pub next: Option<Counter>,
}

impl Kind for AuditList {
    const KIND: &'static str = "AuditList";
}
