//! The bloc as a whole: what a backup of it holds, and what became of bringing it back.

use super::{Counter, Expelled, Facts, Finding, Horde, Kind, Outside, Sibling, Store};
use serde::{Deserialize, Serialize};

macro_rules! kinds {
    ($($type:ident),* $(,)?) => {
        $(impl Kind for $type {
            const KIND: &'static str = stringify!($type);
        })*
    };
}

kinds!(BlocStatus, BlocFacts, Backup, RestoreAnswer, Restored);

/// The bloc at a glance, as one fulcrum has it: `crux bloc status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct BlocStatus {
    /// The bloc.
    pub bloc: String,
    /// The fulcrum that says so.
    pub node: String,
    /// When.
    pub at: String,
    /// Whether nothing needs a hand: `findings` is empty.
    pub well: bool,
    /// The flock of this fulcrum.
    pub flock: String,
    /// Its leader.
    pub leader: String,
    /// Whether its leader says that it is complete.
    pub stable: bool,
    /// Its members, sorted.
    pub members: Vec<String>,
    /// How many there should be; `null` if nothing was said.
    pub expect: Option<u32>,
    /// Other flocks of the bloc.
    pub siblings: Vec<Sibling>,
    /// Who is in no flock that is seen from here.
    pub outside: Vec<Outside>,
    /// ADMIN; `null` if there is none in this flock.
    pub admin: Option<Horde>,
    /// How many other hordes there are.
    pub hordes: u32,
    /// Those of them that are not whole.
    pub not_whole: Vec<Horde>,
    /// The roots that are trusted, those that end first before.
    pub roots: Vec<BlocRoot>,
    /// Certificates of this fulcrum's node and of those to whom it has links, those that end first before.
    pub certificates: Vec<BlocCertificate>,
    /// The facts held here.
    pub facts: Facts,
    /// This fulcrum's disk.
    pub store: Store,
    /// Who was put out.
    pub expelled: Vec<Expelled>,
    /// What needs a hand, each with the next step.
    pub findings: Vec<Finding>,
}

/// A root that is trusted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct BlocRoot {
    /// Its fingerprint, in hex.
    pub fingerprint: String,
    /// When it ends.
    pub not_after: Option<String>,
}

/// When a node's certificate ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct BlocCertificate {
    /// The fulcrum that has it.
    pub node: String,
    /// When it ends.
    pub not_after: String,
}

/// What stands before all facts of a fulcrum, when they are asked for as they are held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct BlocFacts {
    /// The bloc.
    pub bloc: String,
    /// The fulcrum that says so.
    pub node: String,
    /// The digest of all versions, in hex.
    pub digest: String,
    /// How many versions follow.
    pub versions: u32,
    /// How many facts are in force.
    pub facts: u32,
    /// The roots that it trusts, in PEM.
    pub trust: String,
    /// Their fingerprints, in hex.
    pub roots: Vec<String>,
    /// The files that services in force need, sorted.
    pub files: Vec<BackupFile>,
    /// Whether its flock was stable then.
    #[serde(default)]
    pub stable: bool,
    /// How many members its flock had, this fulcrum included.
    #[serde(default)]
    pub members: u32,
    /// How many of them had this digest, this fulcrum included.
    #[serde(default)]
    pub agree: u32,
    /// The others, sorted: they held something else, or did not say.
    #[serde(default)]
    pub apart: Vec<String>,
}

/// What a backup holds: the `bloc.json` in it, and what `crux bloc backup` prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Backup {
    /// The form of the archive: 1.
    pub format: u32,
    /// The bloc.
    pub bloc: String,
    /// When it was taken.
    pub at: String,
    /// The fulcrum that it was taken of.
    pub node: String,
    /// The digest of all versions that this fulcrum held, in hex.
    pub digest: String,
    /// How many versions it holds: those in force, deletions, losers of conflicts, and what proves their history.
    pub versions: u32,
    /// How many facts were in force.
    pub facts: u32,
    /// Fingerprints of the roots that were trusted, in hex.
    pub roots: Vec<String>,
    /// The files in it, sorted.
    pub files: Vec<BackupFile>,
    /// Files that services need and that nobody had, or that were left out.
    pub missing: Vec<BackupFile>,
    /// Whether its flock was stable then.
    #[serde(default)]
    pub stable: bool,
    /// How many members its flock had, this fulcrum included.
    #[serde(default)]
    pub members: u32,
    /// How many of them had this digest, this fulcrum included.
    #[serde(default)]
    pub agree: u32,
    /// The others, sorted: they held something else, or did not say.
    #[serde(default)]
    pub apart: Vec<String>,
}

/// A file by content.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct BackupFile {
    /// Its content's name, in hex.
    pub sha256: String,
    /// Bytes.
    pub size: Counter,
}

/// What became of one version of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RestoredFact {
    /// Its path.
    pub path: String,
    /// Its id, in hex.
    pub id: String,
    /// What became of it.
    pub fate: RestoreFate,
    /// Whether it stands beside another version of which neither knew the other.
    pub conflict: bool,
    /// Why it was refused; empty if it was not.
    pub why: String,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum RestoreFate {
    /// It was not here, and is in force or listed.
    Taken,
    /// It was here.
    Held,
    /// Something newer stands in its place.
    Replaced,
    /// It was not taken in.
    Refused,
}

/// What became of each version of one request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RestoreAnswer {
    /// As they were sent.
    pub facts: Vec<RestoredFact>,
    /// How many facts more there are with them, or would be.
    pub more: u32,
    /// How many others have what was taken on disk.
    pub others: u32,
    /// Whether that is as many as promised.
    pub converged: bool,
}

/// What `crux bloc restore` did, or with `--dry-run` would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Restored {
    /// What the backup says of itself.
    pub backup: Backup,
    /// Whether it was only asked.
    pub dry_run: bool,
    /// Versions that were not here.
    pub taken: Vec<RestoredFact>,
    /// How many were here.
    pub held: u32,
    /// How many have something newer in their place.
    pub replaced: u32,
    /// Versions that were not taken in, with the reasons.
    pub refused: Vec<RestoredFact>,
    /// How many were left out: what fulcrums said of themselves.
    pub rows_left: u32,
    /// How many files were stored.
    pub files_stored: u32,
    /// How many files were there.
    pub files_held: u32,
    /// Files whose content in the backup is another than their name says; they were left out.
    pub files_damaged: Vec<BackupFile>,
    /// Whether what was taken is on as many others as promised.
    pub converged: bool,
}
