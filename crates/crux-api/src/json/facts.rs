//! Facts as the local door shows them, so that a client can build on them: what it replaces must name what it saw.

use super::{Counter, Kind};
use serde::{Deserialize, Serialize};

/// Facts under a prefix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FactList {
    /// Sorted by path; deleted ones are listed too, since what replaces them must name them.
    pub facts: Vec<Fact>,
    /// The digest of all versions that this fulcrum holds, in hex.
    pub digest: String,
}

impl Kind for FactList {
    const KIND: &'static str = "FactList";
}

/// One fact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Fact {
    /// Its path.
    pub path: String,
    /// Its versions that nothing replaces: the one in force first, then the losers of a conflict.
    pub heads: Vec<Head>,
}

/// A version that nothing replaces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Head {
    /// Its id, in hex.
    pub id: String,
    /// Its value in hex; `null`: it deletes.
    pub value: Option<String>,
    /// The same for people and tools, its fields by name; 64-bit numbers are texts. `null` where it deletes, cannot be read,
    /// or was not asked for: conflicts and the quarantine have it, the list of all facts does not.
    #[serde(default)]
    pub readable: Option<serde_json::Value>,
    /// Ids of the versions that it replaces, newest first, in hex.
    pub ancestors: Vec<String>,
    /// Wall microseconds of its stamp.
    pub wall: Counter,
    /// Logical part of its stamp.
    pub logical: u32,
    /// Who wrote it: `operator alice`, `node n1`.
    pub author: String,
}

/// A text that is not hex.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected an even number of hex digits")]
pub struct BadHex;

/// The day of a stamp, which is in microseconds since 1970, in UTC.
#[must_use]
pub fn day(micros: u64) -> String {
    let at = i64::try_from(micros).ok().and_then(|micros| jiff::Timestamp::from_microsecond(micros).ok());
    at.map_or_else(|| format!("{micros} µs"), |at| at.to_string().chars().take(10).collect())
}

/// Bytes as lower-case hex.
#[must_use]
pub fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

/// Hex as bytes.
///
/// # Errors
/// [`BadHex`] if the text is not hex.
pub fn from_hex(text: &str) -> Result<Vec<u8>, BadHex> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok()).ok_or(BadHex);
    if !text.len().is_multiple_of(2) {
        return Err(BadHex);
    }
    text.as_bytes().chunks_exact(2).map(|pair| Ok(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}
