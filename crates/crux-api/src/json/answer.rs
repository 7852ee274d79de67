//! Answers to requests that change something.

use super::{Counter, Kind};
use serde::{Deserialize, Serialize};

/// Facts were accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Written {
    /// The versions' ids, in hex, in the order of the request.
    pub ids: Vec<String>,
    /// How many other fulcrums have them on disk.
    pub others: u32,
    /// Whether that is as many as promised; if not, the command ends with exit code 6.
    pub converged: bool,
}

impl Kind for Written {
    const KIND: &'static str = "Written";
}

/// A file was stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FileStored {
    /// The SHA-256 of what was received, in hex. The client compares.
    pub sha256: String,
    /// Bytes.
    pub size: Counter,
}

impl Kind for FileStored {
    const KIND: &'static str = "FileStored";
}

/// Something was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Done {
    /// What, in a sentence for people.
    pub text: String,
}

impl Kind for Done {
    const KIND: &'static str = "Done";
}
