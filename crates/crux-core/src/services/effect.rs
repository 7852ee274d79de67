//! What services do to the world, what comes back, and what they tell people.

use super::hooks::{HookEnd, Kept, Telling, Word};
use super::instance::{Instance, InstanceId};
use crate::facts::value::Check;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use crux_names::{Duration, Hash256, Member, Wall};

/// How to start a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartSpec {
    /// Which instance; its journal entry comes first. Phase, pid and ports are filled in by the outcome.
    pub instance: Instance,
    /// The manifest's bytes as in the fact.
    pub manifest: Bytes,
    /// The environment that crux adds: `CRUX_NODE`, `CRUX_HORDE`, `CRUX_SERVICE`, `CRUX_INSTANCE`.
    pub env: BTreeMap<String, String>,
}

/// Something done to the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Start a process. Answered by `Started` or `StartFailed`.
    Start(StartSpec),
    /// Stop the whole tree of an instance: the manifest's signal, and KILL after the grace. Answered by `Exited`.
    Stop {
        /// Which instance.
        id: InstanceId,
        /// The signal's name: `TERM`.
        signal: String,
        /// Before KILL.
        grace: Duration,
    },
    /// Run a health check now. Answered by `CheckDone`.
    Check {
        /// Which instance.
        id: InstanceId,
        /// What to do.
        check: Check,
        /// The instance's ports.
        ports: BTreeMap<String, u16>,
        /// The check fails when it takes longer.
        deadline: Duration,
    },
    /// Fetch a file by its content's name from these peers, in this order. Answered by `Fetched`, also when it is here.
    Fetch {
        /// Its SHA-256.
        hash: Hash256,
        /// Its size in bytes, as the manifest says.
        size: u64,
        /// Members that may have it.
        from: Vec<Member>,
    },
    /// Remove an ended instance's directory; its log files stay for a while.
    Clean {
        /// Which instance.
        id: InstanceId,
    },
    /// Tell an instance something of its horde: whoever follows its socket hears it, and its directory keeps it for the
    /// next life of this fulcrum. Not answered.
    Tell {
        /// Which instance.
        id: InstanceId,
        /// What.
        telling: Telling,
    },
    /// Run the hook of an instance with what it was told last, which is this word. Answered by `Hooked`, unless the
    /// instance ends first: its hook ends with it.
    Hook {
        /// Which instance.
        id: InstanceId,
        /// The word's number.
        number: u64,
        /// The word.
        word: Word,
        /// It is killed with all that it has started when it takes longer.
        timeout: Duration,
    },
    /// Ask this fulcrum's own door something, as a program would. Answered by `Knocked`.
    Knock {
        /// It does not answer if it takes longer.
        deadline: Duration,
    },
}

/// Something that happened, for people, hooks and `crux events`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What kind, a stable word: `flock-formed`, `member-joined`, `member-lost`, `member-left`, `leader`, `stable`, `plan`, `instance`,
    /// `horde`, `horde-whole`, `horde-parted`, `horde-rejoined`, `horde-thin`, `hook-ran`, `hook-failed`, `hook-timed-out`,
    /// `verdict`, `fact`, `conflict`, `expelled`, `rule-added`, `rule-removed`, `alarm`.
    pub kind: &'static str,
    /// The subject: a node, a service, an instance.
    pub subject: String,
    /// What happened, in a sentence.
    pub text: String,
}

/// An instance that ended by itself while no crux looked, or under an earlier life, and whose directory is still there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The instance, gone.
    pub instance: Instance,
    /// Its exit code, unless a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
}

/// The outcome of an effect, as services take it: the part of the door's report that is theirs.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// What earlier lives left, once, after start.
    Adopted {
        /// What runs and this life re-adopted.
        instances: Vec<Instance>,
        /// What ended, as far as it is known how: of what runs once, nothing else tells that it ran.
        ended: Vec<Ended>,
        /// What those that run had been told.
        told: Vec<Kept>,
    },
    /// A process runs.
    Started {
        /// Which instance.
        id: InstanceId,
        /// Its process id.
        pid: u32,
        /// When it started.
        at: Wall,
        /// The ports that it was given.
        ports: BTreeMap<String, u16>,
    },
    /// A process could not be made.
    StartFailed {
        /// Which instance.
        id: InstanceId,
        /// Why, for people.
        why: String,
    },
    /// A process ended, and nothing of its tree is left.
    Exited {
        /// Which instance.
        id: InstanceId,
        /// Its exit code, unless a signal ended it.
        code: Option<i32>,
        /// The signal that ended it.
        signal: Option<i32>,
    },
    /// A health check ended.
    Checked {
        /// Which instance.
        id: InstanceId,
        /// Whether it passed.
        ok: bool,
        /// What it said, for people.
        detail: String,
    },
    /// A file was fetched and verified, or nobody had it.
    Fetched {
        /// Its SHA-256.
        hash: Hash256,
        /// Why not, for people.
        result: Result<(), String>,
    },
    /// A hook ended.
    Hooked {
        /// Of which instance.
        id: InstanceId,
        /// The number of the word with which it was run.
        number: u64,
        /// How.
        end: HookEnd,
    },
    /// This fulcrum's own door was asked.
    Knocked {
        /// Why it does not answer, for people.
        result: Result<(), String>,
    },
}
