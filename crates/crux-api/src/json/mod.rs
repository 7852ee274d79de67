//! The JSON documents that tools may parse. Outside tools rely on them: adding a field is free, changing one needs a
//! decision record. Source: the design's `operator.md`.
//!
//! * Every document carries `apiVersion` and `kind` ([`Doc`]).
//! * 64-bit counters are strings, since many readers keep numbers as doubles ([`Counter`]).
//! * What is not known is `null`, never left out.
//! * Moments are RFC 3339 with microseconds in UTC; `boot`, `view`, hashes and bytes are lower-case hex strings.

mod answer;
mod audit;
mod bloc;
mod confab;
mod error;
mod facts;
mod list;
mod network;
mod rules;
mod status;
mod told;

pub use answer::{Done, FileStored, Written};
pub use audit::{AuditEntry, AuditList, AuditOutcome};
pub use bloc::{
    Backup, BackupFile, BlocCertificate, BlocFacts, BlocRoot, BlocStatus, RestoreAnswer, RestoreFate, Restored,
    RestoredFact,
};
pub use confab::Confab;
pub use error::{Code, ErrorDoc};
pub use facts::{BadHex, Fact, FactList, Head, day, from_hex, to_hex};
pub use list::{
    AccessEntry, Change, ChangeAction, Event, EventList, FileEntry, FileList, HordeList, LogLine, LogList, NodeList,
    PlanDiff, Program, ProgramState, Ps, ServiceList, Why, WhyRule,
};
pub use network::{Doctor, Finding, FindingState, Flock, FlockList, LinkList, Reach, ReachState};
pub use rules::{ENFORCED, NOT_ENFORCED, Rule, RuleChange, RuleChanged, RuleList, RuleState};
pub use status::{
    Apart, Certificate, Claim, ClaimKind, Clock, Expelled, Facts, Horde, HordeState, Instance, InstanceState, Link,
    Listens, MemberState, Outside, OutsideState, PutOut, Resources, RosterEntry, Service, Sibling, Status, Store,
    StoreState, Twins,
};
pub use told::Told;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The version of every document here.
pub const API_VERSION: &str = "crux/v1";

/// What a document is of: its `kind`.
pub trait Kind {
    /// The word under `kind`.
    const KIND: &'static str;
}

/// A document: its version and kind, then the fields of its body beside them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doc<T>(pub T);

impl<T: Kind + Serialize> Serialize for Doc<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Envelope<'a, T> {
            #[serde(rename = "apiVersion")]
            api_version: &'static str,
            kind: &'static str,
            #[serde(flatten)]
            body: &'a T,
        }
        Envelope { api_version: API_VERSION, kind: T::KIND, body: &self.0 }.serialize(serializer)
    }
}

impl<'de, T: Kind + DeserializeOwned> Deserialize<'de> for Doc<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Envelope {
            #[serde(rename = "apiVersion")]
            api_version: String,
            kind: String,
            #[serde(flatten)]
            body: serde_json::Value,
        }
        let envelope = Envelope::deserialize(deserializer)?;
        if envelope.api_version != API_VERSION {
            return Err(D::Error::custom(format!(
                "apiVersion is {:?}, expected {API_VERSION:?}",
                envelope.api_version
            )));
        }
        if envelope.kind != T::KIND {
            return Err(D::Error::custom(format!("kind is {:?}, expected {:?}", envelope.kind, T::KIND)));
        }
        serde_json::from_value(envelope.body).map(Self).map_err(D::Error::custom)
    }
}

/// A 64-bit counter: a string in JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Counter(pub u64);

impl std::fmt::Display for Counter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Counter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Counter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(|_| D::Error::custom(format!("{text:?} is not a 64-bit counter")))
    }
}
