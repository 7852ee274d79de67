//! Everything that one fulcrum knows of its flock and what runs there.

use super::{Confab, Counter, Kind};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The confab, and beside its fields what stands behind it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Status {
    /// The confab's fields.
    #[serde(flatten)]
    pub confab: Confab,
    /// The flock's members in order of seniority; the first leads.
    pub roster: Vec<RosterEntry>,
    /// Other flocks of the bloc, as seen from here.
    pub siblings: Vec<Sibling>,
    /// Who is in no flock that is seen from here.
    pub outside: Vec<Outside>,
    /// Hordes.
    pub hordes: Vec<Horde>,
    /// Services: what should be, and how it is.
    pub services: Vec<Service>,
    /// Instances.
    pub instances: Vec<Instance>,
    /// The facts held here.
    pub facts: Facts,
    /// This fulcrum's certificate.
    pub certificate: Certificate,
    /// Who was put out of the bloc.
    pub expelled: Vec<Expelled>,
    /// That this node itself was put out of the bloc, with the admission that it has; `null` if it was not, as far as is known
    /// here.
    #[serde(default)]
    pub put_out: Option<PutOut>,
    /// Identities under which two fulcrums live at once: an alarm.
    #[serde(default)]
    pub clones: Vec<Twins>,
    /// How many members this fulcrum's flock is expected to have; `null` if nothing was said.
    #[serde(default)]
    pub expect: Option<u32>,
    /// What this fulcrum, if it leads, still waits for before it calls its flock stable; for people.
    #[serde(default)]
    pub lacking: Option<String>,
    /// Whether this fulcrum itself is at fault of late: it comes late or accused wrongly, and so accuses more slowly.
    #[serde(default)]
    pub sick: bool,
    /// This fulcrum's clock.
    pub clock: Clock,
    /// This fulcrum's store.
    pub store: Store,
    /// Where this fulcrum listens.
    #[serde(default)]
    pub listens: Listens,
    /// The version of crux.
    pub version: String,
}

impl Kind for Status {
    const KIND: &'static str = "Status";
}

/// One member of the flock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RosterEntry {
    /// `node`, or `node/fulcrum`.
    pub name: String,
    /// Its mesh address.
    pub addr: String,
    /// Its API port; `null` for this fulcrum itself, and where it has none or no link tells of it.
    #[serde(default)]
    pub api: Option<String>,
    /// Which life of it, in hex.
    pub boot: String,
    /// Since when it has been a member here; `null` if not known.
    pub since: Option<String>,
    /// Its home horde.
    pub horde: Option<String>,
    /// Whether it carries the ADMIN flag.
    pub admin: bool,
    /// Whether it is a visitor: it follows the flock, never leads it, and gets no work.
    #[serde(default)]
    pub visitor: bool,
    /// The admission number of its certificate; `null` for this fulcrum itself, and where no link told of it.
    #[serde(default)]
    pub admission: Option<u32>,
    /// The horde that it works for meanwhile, in the place of an absent member; `null`: its home.
    #[serde(default)]
    pub stands_in: Option<String>,
    /// In whose place.
    #[serde(default)]
    pub stands_for: Option<String>,
    /// Whether operators keep new work from it.
    #[serde(default)]
    pub cordoned: bool,
    /// Whether besides what runs there moves away.
    #[serde(default)]
    pub draining: bool,
    /// Why, in the operator's words; `null` if it is neither.
    #[serde(default)]
    pub cordon_reason: Option<String>,
    /// Its labels: its certificate's, and over them those that operators gave it.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// What it has for services; `null`: it has not said so.
    #[serde(default)]
    pub capacity: Option<Resources>,
    /// What those ask for that plans have on it.
    #[serde(default)]
    pub used: Resources,
    /// How it is.
    pub state: MemberState,
    /// The link from here to it; `null` for this fulcrum itself.
    pub link: Option<Link>,
}

/// Cores, memory and disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Resources {
    /// Thousandths of a core.
    pub cpu_milli: Counter,
    /// Bytes of memory.
    pub memory: Counter,
    /// Bytes of the file system that holds the state.
    pub disk: Counter,
}

impl From<crux_core::resources::Resources> for Resources {
    fn from(of: crux_core::resources::Resources) -> Self {
        Self { cpu_milli: Counter(of.cpu_milli), memory: Counter(of.memory), disk: Counter(of.disk) }
    }
}

impl std::fmt::Display for Resources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let of = crux_core::resources::Resources::from_amounts([self.cpu_milli.0, self.memory.0, self.disk.0]);
        std::fmt::Display::fmt(&of, f)
    }
}

/// How a member of the flock is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum MemberState {
    /// A member.
    Member,
    /// A member that misses probes or stands accused.
    Suspect,
}

/// A link as one end sees it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Link {
    /// Seconds since it came up; its keys are younger.
    pub age_s: Option<f64>,
    /// Round trip in milliseconds.
    pub rtt_ms: Option<f64>,
    /// Seconds until its keys are replaced, at most.
    pub rekey_s: Option<f64>,
}

/// Another flock of the bloc.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Sibling {
    /// Its name.
    pub flock: String,
    /// Its leader.
    pub leader: String,
    /// How many members it has.
    pub size: u32,
    /// Why it is not one with this flock.
    pub apart: Apart,
    /// Two members that cannot talk, for `broken-pair`.
    pub pair: Option<[String; 2]>,
    /// Until when at least, where that is known.
    pub until: Option<String>,
}

/// Why two flocks are apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Apart {
    /// A change that makes them one is under way.
    Merging,
    /// Two members cannot talk directly.
    BrokenPair,
    /// It came and went too often and must wait.
    FlapHold,
    /// One of the two is in another change.
    Busy,
}

/// Somebody in no flock that is seen from here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Outside {
    /// `node` or `node/fulcrum`; `null` if it never said.
    pub name: Option<String>,
    /// Its address.
    pub addr: String,
    /// When it was last in touch.
    pub last_seen: Option<String>,
    /// Why it is outside.
    pub state: OutsideState,
    /// The last reason, for people.
    pub reason: String,
}

/// Why somebody is outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum OutsideState {
    /// It does not answer.
    Silent,
    /// It answers and refuses, or is refused.
    Refused,
    /// It belongs to another bloc.
    OtherBloc,
    /// It was expelled.
    Expelled,
}

/// Two fulcrums that live under one identity: a bundle was copied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Twins {
    /// `node` or `node/fulcrum`.
    pub name: String,
    /// Where the two are.
    pub addrs: [String; 2],
}

/// A horde.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Horde {
    /// Its name.
    pub name: String,
    /// How many home members operators want, of ADMIN how many carry its flag where the flock has them; `null` for `main`,
    /// which takes whom it gets.
    pub want: Option<u32>,
    /// Home members, sorted.
    pub home: Vec<String>,
    /// Home members that are in this flock.
    pub present: Vec<String>,
    /// Home members that are not.
    pub absent: Vec<String>,
    /// Members that stand in for absent ones.
    pub substitutes: Vec<String>,
    /// How much its services may ask for, all together, a zero of what is not limited; `null`: without a limit.
    #[serde(default)]
    pub quota: Option<Resources>,
    /// How much they ask for, by its plan.
    #[serde(default)]
    pub used: Resources,
    /// How it is.
    pub state: HordeState,
    /// What it misses and waits for; for people, empty if nothing.
    #[serde(default)]
    pub why: String,
}

/// How a horde is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum HordeState {
    /// All home members are here, as many as wanted.
    Whole,
    /// Home members are alive elsewhere, or not seen here.
    Parted,
    /// Fewer home members than wanted.
    Thin,
}

/// A service: what should be and how it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Service {
    /// Its horde.
    pub horde: String,
    /// Its name.
    pub service: String,
    /// The revision that operators want, in hex.
    pub revision: Option<String>,
    /// The generation of the proctor's plan that `should` is from.
    pub plan: Option<Counter>,
    /// How many instances there should be now, on this side of a split; `null` until a proctor planned it.
    pub should: Option<u32>,
    /// Instances that are ready.
    pub ready: u32,
    /// Instances that are late.
    pub late: u32,
    /// Instances that are dead.
    pub dead: u32,
    /// Instances whose node is gone.
    pub gone: u32,
    /// Instances of which nothing was heard yet.
    pub unknown: u32,
    /// Instances beyond what should be, waiting for their turn to be removed.
    pub surplus: u32,
    /// For people: why it is not as it should be, or the rule that places it.
    pub why: String,
    /// Who says so.
    pub claim: Claim,
}

/// An instance of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Instance {
    /// Its id, never used twice.
    pub id: String,
    /// Its display name, `web/api.2`.
    pub name: String,
    /// Its horde.
    pub horde: String,
    /// Its service.
    pub service: String,
    /// The fulcrum that runs it: `node`, or `node/fulcrum`.
    pub node: String,
    /// Its process, while there is one.
    pub pid: Option<u32>,
    /// When that started.
    pub started: Option<String>,
    /// How it is.
    pub state: InstanceState,
    /// Which revision it runs, in hex.
    pub revision: String,
    /// The ports that it was given.
    pub ports: BTreeMap<String, u16>,
    /// How often it was started again after it ended by itself.
    pub restarts: u32,
    /// For people: why it is where it is.
    pub why: String,
    /// Who says so.
    pub claim: Claim,
}

/// How an instance is: its picket's word until its process runs, then the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum InstanceState {
    /// Something has to happen before it starts.
    Pending,
    /// Its process is being made, or nothing was heard of it yet.
    Starting,
    /// Every declared input is healthy.
    Ready,
    /// The worst input is late.
    Late,
    /// The worst input is dead.
    Dead,
    /// It was told to stop.
    Stopping,
    /// Its node is gone, or it ended and is not started again.
    Gone,
    /// It ended well and was not meant to run on.
    Done,
}

/// Who says something, and in which sense.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Claim {
    /// In which sense.
    pub kind: ClaimKind,
    /// The fulcrum that says so.
    pub by: Option<String>,
    /// When it said so.
    pub at: Option<String>,
}

/// In which sense something is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ClaimKind {
    /// A proctor's plan.
    Should,
    /// A picket's report.
    Reported,
    /// A healthminder's verdict.
    Believed,
}

/// The facts held here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Facts {
    /// How many facts are in force.
    pub count: u32,
    /// The digest of all versions, in hex: equal on members of one flock.
    pub digest: String,
    /// How many facts have concurrent versions.
    pub conflicts: u32,
    /// How many wait for an operator's word.
    pub quarantined: u32,
}

/// A fulcrum's certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Certificate {
    /// Its SPIFFE ID.
    pub id: String,
    /// When it begins.
    #[serde(default)]
    pub not_before: Option<String>,
    /// When it ends.
    pub not_after: String,
    /// How late it is in its life: `half`, `two-thirds`, `nine-tenths`, `ended`; `null` in its first half.
    #[serde(default)]
    pub warning: Option<String>,
    /// Who issued it.
    pub issuer: String,
    /// The SHA-256 of the root certificate that vouches for it.
    #[serde(default)]
    pub root: Option<String>,
    /// Whether a CA that could renew it is reached.
    pub ca_reachable: Option<bool>,
    /// Why a bundle that was put in its place is not used; `null` if none was.
    #[serde(default)]
    pub not_taken: Option<String>,
}

/// Somebody put out of the bloc.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Expelled {
    /// Which node.
    pub node: String,
    /// Its admissions up to this one.
    pub admission: u32,
    /// The operator.
    pub by: String,
    /// When.
    pub at: String,
    /// Why.
    pub reason: String,
}

/// What this node knows of its own expulsion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PutOut {
    /// The operator who did it; `null` if only a refusal tells of it.
    pub by: Option<String>,
    /// When.
    pub at: Option<String>,
    /// Why, in the operator's words.
    pub reason: Option<String>,
    /// Who refuses this node because of it, where no fact that is held here tells of it: fulcrum or address.
    pub told_by: Option<String>,
    /// All of it, for people.
    pub text: String,
}

/// A fulcrum's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Clock {
    /// How far it is from the flock's, in milliseconds.
    pub skew_ms: Option<i64>,
}

/// A fulcrum's store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Store {
    /// Whether it takes writes.
    pub state: StoreState,
    /// Why not.
    pub reason: Option<String>,
}

/// Whether a store takes writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum StoreState {
    /// It does.
    Ok,
    /// It refuses them; reads go on.
    Refusing,
}

/// Where a fulcrum listens; `null` where it does not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Listens {
    /// The mesh port, UDP.
    pub mesh: Option<String>,
    /// The API port, TCP with mutual TLS.
    pub api: Option<String>,
    /// Metrics and health over plain HTTP.
    pub metrics: Option<String>,
    /// Confab and status for programs of this machine, over plain HTTP on loopback.
    #[serde(default)]
    pub page: Option<String>,
}
