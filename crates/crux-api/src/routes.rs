//! The paths of the local socket and of the API port, and what is sent to them. HTTP with JSON; gRPC answers beside it.
//! What each needs of whoever asks stands in [`rights`](crate::rights).
//!
//! | method and path | query | body | answer |
//! |---|---|---|---|
//! | GET [`CONFAB`] | `watch` | | [`Confab`](crate::json::Confab) |
//! | GET [`STATUS`] | `watch` | | [`Status`](crate::json::Status) |
//! | GET [`PS`] | `watch` | | [`Ps`](crate::json::Ps) |
//! | GET [`NODES`] | `watch` | | [`NodeList`](crate::json::NodeList) |
//! | GET [`HORDES`] | `watch` | | [`HordeList`](crate::json::HordeList) |
//! | GET [`RULES`] | `all`, `watch` | | [`RuleList`](crate::json::RuleList) |
//! | GET [`SERVICES`] | `watch` | | [`ServiceList`](crate::json::ServiceList) |
//! | GET [`LINKS`] | `watch` | | [`LinkList`](crate::json::LinkList) |
//! | GET [`FLOCKS`] | `watch` | | [`FlockList`](crate::json::FlockList) |
//! | GET [`DOCTOR`] | | | [`Doctor`](crate::json::Doctor) |
//! | GET [`EVENTS`] | `after=CURSOR`, `watch` | | [`EventList`](crate::json::EventList); watched: [`Event`](crate::json::Event)s |
//! | GET [`WHY`] | `subject=TEXT` | | [`Why`](crate::json::Why) |
//! | GET [`FACTS`] | `prefix=PATH`, `conflicts` | | [`FactList`](crate::json::FactList) |
//! | POST [`FACTS`] | | [`WriteRequest`] | [`Written`](crate::json::Written) |
//! | GET [`BLOC`] | | | [`BlocStatus`](crate::json::BlocStatus) |
//! | GET [`BLOC_FACTS`] | | | all facts as they are held: a [`BlocFacts`](crate::json::BlocFacts), then sealed versions, each after its length ([`read_frame`](crate::backup::read_frame)) |
//! | POST [`BLOC_RESTORE`] | | [`RestoreRequest`] | [`RestoreAnswer`](crate::json::RestoreAnswer) |
//! | GET [`FILES`] | | | [`FileList`](crate::json::FileList) |
//! | PUT [`FILES`] | | the bytes | [`FileStored`](crate::json::FileStored) |
//! | GET [`FILES`]`/SHA256` | | | the bytes |
//! | GET [`LOGS`] | [`LogQuery`] | | [`LogList`](crate::json::LogList); with `follow`: [`LogLine`](crate::json::LogLine)s |
//! | GET [`AUDIT`] | `after=CURSOR`, `watch` | | [`AuditList`](crate::json::AuditList); watched: [`AuditEntry`](crate::json::AuditEntry)s |
//! | POST [`DOWN`] | | [`DownRequest`] | [`Done`](crate::json::Done) |
//! | POST [`NODE_FORGET`] | | [`ForgetRequest`] | [`Done`](crate::json::Done) |
//! | POST [`LAB`] | | [`LabRequest`] | [`Done`](crate::json::Done) |
//! | GET [`OPENAPI`] | | | what can be asked here, as [`openapi`](crate::openapi) tells |
//!
//! Each answer is a [`Doc`](crate::json::Doc). With `?watch` (for logs `follow`) the answer is a stream of server-sent
//! events, one document under `data:` each, the present state first; an event's cursor stands under `id:`.
//! An error is an [`ErrorDoc`](crate::json::ErrorDoc) with the HTTP status of its code. Nothing is half done.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What a program asks for names.
pub const CONFAB: &str = "/v1/confab";
/// Everything that this fulcrum knows.
pub const STATUS: &str = "/v1/status";
/// Services and instances.
pub const PS: &str = "/v1/ps";
/// Fulcrums.
pub const NODES: &str = "/v1/nodes";
/// Who reaches whom.
pub const LINKS: &str = "/v1/links";
/// Flocks of the bloc.
pub const FLOCKS: &str = "/v1/flocks";
/// What is wrong, and what to do.
pub const DOCTOR: &str = "/v1/doctor";
/// Hordes.
pub const HORDES: &str = "/v1/hordes";
/// Who may call whom.
pub const RULES: &str = "/v1/rules";
/// What the access service and the yurt know.
pub const SERVICES: &str = "/v1/services";
/// What happened.
pub const EVENTS: &str = "/v1/events";
/// Why something is as it is.
pub const WHY: &str = "/v1/why";
/// Facts: read and write.
pub const FACTS: &str = "/v1/facts";
/// The bloc at a glance.
pub const BLOC: &str = "/v1/bloc";
/// All facts, as they are held.
pub const BLOC_FACTS: &str = "/v1/bloc/facts";
/// Bring back what a backup held.
pub const BLOC_RESTORE: &str = "/v1/bloc/restore";
/// Files by content: list, store, and under `/SHA256` fetch.
pub const FILES: &str = "/v1/files";
/// One file by content.
pub const FILE: &str = "/v1/files/{sha256}";
/// What instances wrote.
pub const LOGS: &str = "/v1/logs";
/// What operators did here, and what they were refused.
pub const AUDIT: &str = "/v1/audit";
/// Stop this fulcrum.
pub const DOWN: &str = "/v1/down";
/// How long leaving may take, services included, before the process ends all the same.
pub const LEAVING: Duration = Duration::from_secs(60);
/// Forget a fulcrum's addresses.
pub const NODE_FORGET: &str = "/v1/node/forget";
/// Faults, in a dev cluster only.
pub const LAB: &str = "/v1/lab";

/// What can be asked here, described for generators of clients.
pub const OPENAPI: &str = "/v1/openapi.json";

/// The header with the mime type of a stream.
pub const EVENT_STREAM: &str = "text/event-stream";

/// The query of a list that can be watched. A flag is set when its key is there, whatever its value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct WatchQuery {
    /// Follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch: Option<String>,
}

/// The query of rules.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RulesQuery {
    /// Removed ones too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub all: Option<String>,
    /// Follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch: Option<String>,
}

/// The query of events, and of the audit log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct EventsQuery {
    /// Only what came after this cursor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// Follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch: Option<String>,
}

/// The query of a reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct WhyQuery {
    /// `node n7`, `service web/api`, `web/api.2`, `pending web/api`, `horde web`, `flock`.
    pub subject: String,
}

/// The query of facts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FactsQuery {
    /// Only paths that begin so; empty: all.
    #[serde(default)]
    pub prefix: String,
    /// Only facts with concurrent versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conflicts: Option<String>,
    /// Instead of these, what came back from before the horizon and is not in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantined: Option<String>,
}

/// The query of logs. One of `instance` and `service` is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LogQuery {
    /// An instance's id or display name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// A service, `horde/service`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Only the last so many lines of each instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tail: Option<u32>,
    /// Follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follow: Option<String>,
}

/// Facts to be accepted, all or none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct WriteRequest {
    /// Sealed versions in hex: the encoding of `crux_core::facts::version::Sealed` with the author's chain and
    /// signature, and without the acceptor's, which this fulcrum adds.
    pub versions: Vec<String>,
}

/// Versions of a backup to be brought back, those that are not refused all or none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RestoreRequest {
    /// Sealed versions in hex, with both signatures. All of a path are in one request, as far as they fit into one.
    pub versions: Vec<String>,
    /// Only say what would become of them.
    #[serde(default)]
    pub dry_run: bool,
    /// How many facts more there would be by those of the same backup that were asked for before: only asked, they are not
    /// here, and take room all the same.
    #[serde(default)]
    pub after: u32,
}

/// Stop this fulcrum.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct DownRequest {
    /// Stop what runs here first.
    #[serde(default)]
    pub services: bool,
    /// Be of no horde any more, so that nobody misses this fulcrum; what runs here stops first.
    #[serde(default)]
    pub leave: bool,
}

/// Forget a fulcrum's addresses. It comes back when it is seen again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ForgetRequest {
    /// `node`, or `node/fulcrum`.
    pub node: String,
}

/// A fault for a dev cluster. Nodes are named as in the roster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "op", rename_all = "kebab-case", deny_unknown_fields)]
pub enum LabRequest {
    /// Only nodes of one group reach each other; those that no group names are one more group.
    Split {
        /// The groups.
        groups: Vec<Vec<String>>,
    },
    /// Two nodes do not reach each other.
    Cut {
        /// One.
        a: String,
        /// The other.
        b: String,
    },
    /// What one node sends to another is lost; the other way works.
    Oneway {
        /// Who sends in vain.
        from: String,
        /// To whom.
        to: String,
    },
    /// All faults of the network end.
    Heal,
    /// SIGKILL to a fulcrum and its instances, as if the machine died.
    Kill {
        /// Whose.
        node: String,
    },
    /// Start a killed fulcrum again.
    Start {
        /// Which.
        node: String,
    },
    /// A fulcrum stands still for a while and then goes on.
    Pause {
        /// Which.
        node: String,
        /// Milliseconds.
        ms: u64,
    },
    /// Every link loses this many of a hundred datagrams.
    Loss {
        /// Per cent, 0 to 100.
        percent: f64,
    },
}
