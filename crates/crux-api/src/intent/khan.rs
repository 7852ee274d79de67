//! Khan in a manifest: checked where it is written, with the place in the text.

use super::read::{ManifestError, Section};
use crate::json::Code;
use crux_core::khan::{self, At, Error};
use crux_names::ServiceName;
use std::collections::BTreeMap;

/// What is wrong with a khan text, and where in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KhanError {
    at: At,
    problem: String,
}

impl From<Error> for KhanError {
    fn from(error: Error) -> Self {
        // Its own place is said by the manifest's line and column.
        let text = error.to_string();
        let problem = text.split_once(": ").map_or(text.as_str(), |(_, problem)| problem).to_owned();
        Self { at: error.at, problem }
    }
}

impl KhanError {
    /// The complaint at its place in the manifest.
    pub(super) fn at(self, section: &Section<'_>, key: &str) -> ManifestError {
        section.wrong_in(Code::BadKhan, key, self.at.line, self.at.column, self.problem)
    }
}

/// Checks the named sets of a horde; the answer names the one that is wrong.
pub(super) fn sets(sets: &BTreeMap<String, String>) -> Result<(), (String, KhanError)> {
    let mut lines = Vec::new();
    for (name, text) in sets {
        khan::parse_set(text).map_err(|e| (name.clone(), e.into()))?;
        // On one line, so that the line says which set it is.
        lines.push(format!("{name} := {}", text.split_whitespace().collect::<Vec<_>>().join(" ")));
    }
    // All together: names that lead nowhere, and circles.
    khan::parse(&lines.join("\n")).map(drop).map_err(|e| {
        let at = e.at;
        let name = sets.keys().nth(at.line.saturating_sub(1) as usize).cloned().unwrap_or_default();
        let shift = u32::try_from(name.chars().count() + " := ".len()).unwrap_or(0);
        let error = KhanError::from(e);
        (name, KhanError { at: At { line: 1, column: at.column.saturating_sub(shift).max(1) }, ..error })
    })
}

/// Checks the placement of a service: an expression that picks it. `sets` are those of its horde, where they are known.
pub(super) fn place(
    service: &ServiceName,
    text: &str,
    sets: Option<&BTreeMap<String, String>>,
) -> Result<(), KhanError> {
    let set = khan::parse_set(text)?;
    let mut picked = false;
    set.picks(&mut |pick| picked |= pick.service == *service);
    if !picked {
        let problem = format!("it does not place {service}; write pick({service}, 3, ALL)");
        return Err(KhanError { at: At { line: 1, column: 1 }, problem });
    }
    let mut unknown = None;
    set.names(&mut |name, at| {
        if sets.is_some_and(|sets| !sets.contains_key(name)) && unknown.is_none() {
            let problem = format!("its horde has no set {name:?}; define it under `sets` or correct the name");
            unknown = Some(KhanError { at, problem });
        }
    });
    unknown.map_or(Ok(()), Err)
}

/// Checks start conditions.
pub(super) fn after(text: &str) -> Result<(), KhanError> {
    khan::parse_condition(text).map(drop).map_err(KhanError::from)
}

/// Checks the words of `where`.
pub(super) fn check_where(text: &str) -> Result<(), KhanError> {
    khan::parse_where(text).map(drop).map_err(KhanError::from)
}

impl std::fmt::Display for KhanError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "at column {}: {}", self.at.column, self.problem)
    }
}
