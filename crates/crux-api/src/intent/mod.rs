//! Intent: from what an operator writes (a manifest, or the flags of `crux run`) to facts and files.
//!
//! Everything is checked here, before anything is sent, so that a wrong manifest changes nothing. Every complaint points:
//! file, line, column, key. A key that nobody knows is an error, and so is one that this version does not do yet: crux
//! would rather refuse than ignore. Source of the form: the design's `control-plane.md`.

mod describe;
mod duration;
mod files;
mod hooks;
mod horde;
mod khan;
mod read;
mod readable;
mod resources;
mod service;

pub use crux_core::resources::Resources;
pub use describe::{Diff, describe, diff};
pub use duration::{BadDuration, parse_duration};
pub use files::{Upload, hash_file};
pub use horde::{HordeIntent, own_horde_name, settable_horde_name, vacancy_after};
pub use read::ManifestError;
pub use readable::readable;
pub use resources::{parse_bytes, parse_cpu, parse_quota};
pub use service::{
    BUILTINS, ServiceIntent, check_on_split, check_port, check_port_name, not_yet_on_rejoin, pick, service_horde,
};

use crate::json::{Code, ErrorDoc, to_hex};
use crate::write::NewFact;
use crux_core::facts::value::Place;
use prost::Message;
use read::{Allowed, Section, Source};
use std::collections::BTreeMap;
use std::path::Path;

/// The longest value of a fact that is made here: a version has room for it, its ancestors and its certificates.
pub const VALUE_MAX: usize = 96 * 1024;
/// The longest manifest that is read.
const TEXT_MAX: u64 = 4 * 1024 * 1024;

const ALLOWED: Allowed = Allowed { keys: &["horde", "service"], not_yet: &["khan", "start", "rule"] };

/// What an operator wants, ready to be signed: files first, then facts in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Intent {
    /// Facts: hordes, then each service's revision and placement.
    pub facts: Vec<NewFact>,
    /// Files that the revisions need.
    pub uploads: Vec<Upload>,
}

impl Intent {
    /// Reads a manifest's file. Paths in it are relative to its directory.
    ///
    /// # Errors
    /// An [`ErrorDoc`] that points into the file, or says why it cannot be read.
    pub fn load(path: &Path) -> Result<Self, ErrorDoc> {
        let unreadable = |cause: String| {
            let next = "give the path of a manifest, as in `crux plan shop.toml`";
            ErrorDoc::new(Code::BadManifest, format!("cannot read {}: {cause}", path.display()), next)
        };
        let size = std::fs::metadata(path).map_err(|e| unreadable(e.to_string()))?.len();
        if size > TEXT_MAX {
            return Err(unreadable(format!("it has {size} bytes, a manifest may have {TEXT_MAX}")));
        }
        let text = std::fs::read_to_string(path).map_err(|e| unreadable(e.to_string()))?;
        let dir = path.parent().unwrap_or(Path::new("."));
        Self::parse(&path.display().to_string(), &text, dir).map_err(|e| {
            let next = match e.code {
                Code::NotYet => format!("remove {} and try again; nothing was changed", e.key),
                _ => format!("correct the line and see with `crux plan {}`; nothing was changed", path.display()),
            };
            ErrorDoc::new(e.code, e.to_string(), next)
        })
    }

    /// Reads a manifest. `file` names it in errors; files in it are found from `dir`.
    ///
    /// # Errors
    /// [`ManifestError`] points at the first thing that is wrong.
    pub fn parse(file: &str, text: &str, dir: &Path) -> Result<Self, ManifestError> {
        let source = Source { file, text };
        let table = source.parse()?;
        let root = Section::root(source, &table);
        root.allow(&ALLOWED)?;
        let mut intent = Self::default();
        let mut sets = BTreeMap::new();
        for (name, section) in root.sections("horde")? {
            let horde = HordeIntent::read(&name, &section)?;
            horde.lower(&mut intent);
            sets.insert(horde.name, horde.sets);
        }
        for (name, section) in root.sections("service")? {
            let service = ServiceIntent::read(&name, &section, dir, &sets, &mut intent.uploads)?;
            service.lower(&mut intent).map_err(|problem| section.wrong("files", problem))?;
        }
        intent.uploads.sort();
        intent.uploads.dedup_by(|a, b| a.sha256 == b.sha256);
        Ok(intent)
    }
}

impl Intent {
    /// The revision, in hex, that each placement of this intent asks for, by horde and service.
    #[must_use]
    pub fn revisions(&self) -> BTreeMap<(String, String), String> {
        let revision = |fact: &NewFact| {
            let (horde, service) = fact.path.strip_prefix("place/")?.split_once('/')?;
            let place = Place::decode(fact.value.as_deref()?).ok()?;
            Some(((horde.to_owned(), service.to_owned()), to_hex(&place.revision)))
        };
        self.facts.iter().filter_map(revision).collect()
    }
}

#[cfg(test)]
mod tests;
