//! What the values of facts say, and the paths that they live under. Prost messages: unknown fields of a newer version
//! are ignored by an older one, and since versions are forwarded as received, none is lost.
//!
//! | path | value | who signs |
//! |---|---|---|
//! | `horde/<horde>` | [`Horde`] | operator |
//! | `muster/<service>/<revision>` | [`Manifest`] | operator |
//! | `place/<horde>/<service>` | [`Place`] | operator |
//! | `row/<node>/<fulcrum>` | [`Row`] | that fulcrum |
//! | `expel/<node>` | [`Expulsion`] | operator |
//! | `cordon/<node>/<fulcrum>` | [`Cordon`] | operator |
//! | `label/<node>` | [`Labels`] | operator |
//! | `rule/<id>` | [`RuleFact`](super::rule::RuleFact) | operator |
//! | `horizon` | [`Horizon`] | operator |

use crate::hash::sha256;
use crate::resources::Resources;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use crux_names::{FulcrumId, Hash256, HordeName, NodeName, ServiceName};
use prost::Message;

/// Path of a horde's fact.
#[must_use]
pub fn horde_path(horde: &HordeName) -> String {
    format!("horde/{horde}")
}

/// Path of a revision of a service in the catalogue. The revision is the hash of the manifest's bytes.
#[must_use]
pub fn muster_path(service: &ServiceName, revision: &Hash256) -> String {
    format!("muster/{service}/{revision}")
}

/// Path of a service's placement in a horde.
#[must_use]
pub fn place_path(horde: &HordeName, service: &ServiceName) -> String {
    format!("place/{horde}/{service}")
}

/// Path of a fulcrum's own row.
#[must_use]
pub fn row_path(fulcrum: &FulcrumId) -> String {
    format!("row/{}/{}", fulcrum.node, fulcrum.fulcrum)
}

/// Path of a node's expulsion.
#[must_use]
pub fn expel_path(node: &NodeName) -> String {
    format!("expel/{node}")
}

/// Path of a fulcrum's cordon.
#[must_use]
pub fn cordon_path(fulcrum: &FulcrumId) -> String {
    format!("cordon/{}/{}", fulcrum.node, fulcrum.fulcrum)
}

/// Path of the labels that operators give a node.
#[must_use]
pub fn label_path(node: &NodeName) -> String {
    format!("label/{node}")
}

/// Under this stand the expulsions.
pub const EXPULSIONS: &str = "expel/";

/// Path of the horizon.
pub const HORIZON: &str = "horizon";
/// How far back a horizon lies at least, in microseconds: nobody may be away for longer and come back by itself. The longest
/// life of a node's certificate, 400 days, and 30 days in which it may return when it has ended (the design's `trust.md`).
pub const HORIZON_MIN: u64 = 430 * 24 * 3_600 * 1_000_000;

/// Nothing from before this moment is in force: `facts/quarantine.rs`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Horizon {
    /// Microseconds since 1970, as stamps are.
    #[prost(uint64, tag = "1")]
    pub before: u64,
}

/// A node is put out of the bloc: no certificate of these admissions is of it any more. It cannot be taken back, only a
/// later admission can be issued. Of two the one with more admissions holds, whatever came later.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Expulsion {
    /// All admissions up to this one.
    #[prost(uint32, tag = "1")]
    pub up_to: u32,
    /// Why, for people.
    #[prost(string, tag = "2")]
    pub reason: String,
}

/// A fulcrum gets no new work, for as long as this stands.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Cordon {
    /// Why, for people.
    #[prost(string, tag = "1")]
    pub reason: String,
    /// Whether what runs there moves away too.
    #[prost(bool, tag = "2")]
    pub drain: bool,
}

/// Labels that an operator gives a node, beside those of its certificate. Of two with one key this one counts.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Labels {
    /// By key.
    #[prost(btree_map = "string, string", tag = "1")]
    pub labels: BTreeMap<String, String>,
}

/// How long a home member is missed before somebody may stand in for it, in milliseconds: the design's 10 minutes.
pub const VACANCY_AFTER_MS: u64 = 600_000;
/// A vacancy that is never filled.
pub const VACANCY_NEVER_MS: u64 = u64::MAX;

/// What an operator wants a horde to be.
#[derive(Clone, PartialEq, Message)]
pub struct Horde {
    /// How many home members it wants; 0: none.
    #[prost(uint32, tag = "1")]
    pub want: u32,
    /// Which fulcrums it may take, in the words of `where`: `zone=a`, `node under site-a`, joined by `&`; empty: any.
    #[prost(string, tag = "2")]
    pub r#where: String,
    /// Named khan sets that the placements of its services may use.
    #[prost(btree_map = "string, string", tag = "3")]
    pub sets: BTreeMap<String, String>,
    /// How long a home member is missed before a free fulcrum may stand in for it, in milliseconds; 0:
    /// [`VACANCY_AFTER_MS`], [`VACANCY_NEVER_MS`]: for ever.
    #[prost(uint64, tag = "4")]
    pub vacancy_after_ms: u64,
    /// How much its services may ask for, all together; a zero in it, or none of it: without a limit.
    #[prost(message, optional, tag = "5")]
    pub quota: Option<Resources>,
}

/// One file that an instance finds in its directory.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct File {
    /// Where, relative to the instance's directory; no `..`, no leading `/`.
    #[prost(string, tag = "1")]
    pub path: String,
    /// SHA-256 of its content.
    #[prost(bytes = "vec", tag = "2")]
    pub sha256: Vec<u8>,
    /// Bytes.
    #[prost(uint64, tag = "3")]
    pub size: u64,
    /// Whether it may be run.
    #[prost(bool, tag = "4")]
    pub executable: bool,
}

impl File {
    /// Its content's name, or `None` if the field is not a SHA-256.
    #[must_use]
    pub fn hash(&self) -> Option<Hash256> {
        self.sha256.as_slice().try_into().ok().map(Hash256)
    }
}

/// How a service's health is asked for from outside.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct Check {
    /// `http` (a GET that answers 2xx or 3xx), `tcp` (a connection that opens) or `exec` (a command that exits 0).
    #[prost(string, tag = "1")]
    pub kind: String,
    /// The named port that is asked, for `http` and `tcp`.
    #[prost(string, tag = "2")]
    pub port: String,
    /// The path, for `http`.
    #[prost(string, tag = "3")]
    pub path: String,
    /// The command, for `exec`.
    #[prost(string, repeated, tag = "4")]
    pub command: Vec<String>,
    /// Milliseconds between two checks; 0: the default of 2 s.
    #[prost(uint64, tag = "5")]
    pub every_ms: u64,
}

/// The longest that a hook may take, in milliseconds: an hour.
pub const HOOK_TIMEOUT_MAX_MS: u64 = 3_600_000;

/// What is run for an instance when its horde is parted or has rejoined, each a command and its arguments; empty: nothing.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct Hooks {
    /// When home members are in other flocks, or not seen here.
    #[prost(string, repeated, tag = "1")]
    pub parted: Vec<String>,
    /// When all of them are here again.
    #[prost(string, repeated, tag = "2")]
    pub rejoined: Vec<String>,
    /// Milliseconds before it is killed; 0: 30,000; at most [`HOOK_TIMEOUT_MAX_MS`].
    #[prost(uint64, tag = "3")]
    pub timeout_ms: u64,
}

/// What can run: one immutable revision of a service. Its bytes' hash is its name.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct Manifest {
    /// The service.
    #[prost(string, tag = "1")]
    pub service: String,
    /// The command and its arguments; `${port.NAME}` stands for a port. Ignored for a builtin.
    #[prost(string, repeated, tag = "2")]
    pub run: Vec<String>,
    /// A program of crux itself instead of a command: `demo`.
    #[prost(string, tag = "3")]
    pub builtin: String,
    /// Files in the instance's directory.
    #[prost(message, repeated, tag = "4")]
    pub files: Vec<File>,
    /// Environment.
    #[prost(btree_map = "string, string", tag = "5")]
    pub env: BTreeMap<String, String>,
    /// Named ports; 0: crux picks.
    #[prost(btree_map = "string, uint32", tag = "6")]
    pub ports: BTreeMap<String, u32>,
    /// Health check, if any.
    #[prost(message, optional, tag = "7")]
    pub check: Option<Check>,
    /// First pause before a restart, in milliseconds; 0: 500.
    #[prost(uint64, tag = "8")]
    pub restart_from_ms: u64,
    /// Longest pause before a restart, in milliseconds; 0: 60,000.
    #[prost(uint64, tag = "9")]
    pub restart_to_ms: u64,
    /// Signal that asks it to stop; empty: `TERM`.
    #[prost(string, tag = "10")]
    pub stop_signal: String,
    /// Milliseconds before it is killed; 0: 10,000.
    #[prost(uint64, tag = "11")]
    pub stop_grace_ms: u64,
    /// Never restarted: exit 0 is `done`.
    #[prost(bool, tag = "12")]
    pub once: bool,
    /// What each instance asks for; a zero in it, or none of it: nothing.
    #[prost(message, optional, tag = "13")]
    pub resources: Option<Resources>,
    /// What is run for it when its horde is parted or has rejoined, if anything.
    #[prost(message, optional, tag = "14")]
    pub hooks: Option<Hooks>,
}

impl Manifest {
    /// The revision: the hash of these bytes.
    #[must_use]
    pub fn revision(bytes: &[u8]) -> Hash256 {
        sha256(bytes)
    }
}

/// Where and how often a service runs in a horde.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct Place {
    /// The revision wanted.
    #[prost(bytes = "vec", tag = "1")]
    pub revision: Vec<u8>,
    /// One khan set expression whose `pick` places it: `pick(api, 3, ALL)`.
    #[prost(string, tag = "2")]
    pub place: String,
    /// Start conditions in khan's words: `2 of db.ready`.
    #[prost(string, repeated, tag = "3")]
    pub after: Vec<String>,
    /// `each-side` (also when empty), `majority`, `home:<label or node>` or `stop`.
    #[prost(string, tag = "4")]
    pub on_split: String,
    /// `keep-oldest` (also when empty), `keep-newest`, `keep-home`, `restart` or `hook`.
    #[prost(string, tag = "5")]
    pub on_rejoin: String,
    /// At most one instance in the bloc, as far as that can be had without mutual exclusion.
    #[prost(bool, tag = "6")]
    pub single: bool,
}

/// A fulcrum's own row: what it says about itself, signed by its node.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct Row {
    /// Its home horde; a leading `+` while its services start; empty: `main`.
    #[prost(string, tag = "1")]
    pub horde: String,
    /// The ADMIN flag, beside the home: empty, `+ADMIN` while its services start, `ADMIN`.
    #[prost(string, tag = "2")]
    pub admin: String,
    /// The labels of its certificate.
    #[prost(btree_map = "string, string", tag = "3")]
    pub labels: BTreeMap<String, String>,
    /// The admission of its certificate; 0 stands for the first.
    #[prost(uint32, tag = "4")]
    pub admission: u32,
    /// It left on purpose: it is of no horde and nobody misses it, until it is back and writes its row anew.
    #[prost(bool, tag = "5")]
    pub left: bool,
    /// The horde that it works for meanwhile, as a substitute; empty: its home.
    #[prost(string, tag = "6")]
    pub stands_in: String,
    /// For which home member of that horde, `node/fulcrum`.
    #[prost(string, tag = "7")]
    pub stands_for: String,
    /// When it came into its home horde, in microseconds since 1970 by its own clock; 0: not known. Of a horde that is
    /// too large those go first that came last.
    #[prost(uint64, tag = "8")]
    pub since: u64,
    /// What it has for services, as it was measured at its start and has its share of; none: it has not said so.
    #[prost(message, optional, tag = "9")]
    pub capacity: Option<Resources>,
}

impl Row {
    /// The admission of the certificate that it was written under.
    #[must_use]
    pub const fn admitted(&self) -> u32 {
        if self.admission == 0 { 1 } else { self.admission }
    }
}
