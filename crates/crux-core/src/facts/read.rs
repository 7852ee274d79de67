//! Asking facts. Values are well-formed: nothing else is stored.

use super::Facts;
use super::path::Path;
use super::value::{Horde, Manifest, Place, Row, horde_path, muster_path, place_path, row_path};
use super::version::Checked;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use crux_names::{FulcrumId, Hash256, HordeName, ServiceName};
use prost::Message;

/// A version that lost against one that did not know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conflict<'a> {
    /// The path.
    pub path: &'a str,
    /// The version in force.
    pub winner: &'a Checked,
    /// The one that is not, listed until somebody replaces it.
    pub loser: &'a Checked,
}

impl Facts {
    /// The admission of the certificate that this fulcrum shows.
    #[must_use]
    pub fn admission(&self) -> u32 {
        self.config.certificate.admission
    }

    /// The value in force, unless there is none or it was deleted.
    #[must_use]
    pub fn value(&self, path: &str) -> Option<&Bytes> {
        self.version(path)?.statement().value.as_ref()
    }

    /// The version in force, a deletion too.
    #[must_use]
    pub fn version(&self, path: &str) -> Option<&Checked> {
        self.store.record(path)?.winner()
    }

    /// The version with this id, if it is kept.
    #[must_use]
    pub fn by_id(&self, id: &Hash256) -> Option<&Checked> {
        self.store.version(id)
    }

    /// Values in force under a prefix, sorted by path.
    pub fn prefix<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a Bytes)> {
        self.store
            .records_under(prefix)
            .filter_map(|(path, record)| Some((path.as_str(), record.winner()?.statement().value.as_ref()?)))
    }

    /// Ids of what nobody replaced, the one in force first.
    #[must_use]
    pub fn heads(&self, path: &str) -> Vec<Hash256> {
        self.store.record(path).map(|record| record.heads().iter().map(Checked::id).collect()).unwrap_or_default()
    }

    /// What the next write of a path names as its ancestors: the version in force and those that say the same, and those
    /// before them, newest first.
    /// Losers of a conflict stay listed; with `settle` they are named too, and with that the conflict is over.
    #[must_use]
    pub fn ancestors(&self, path: &str, settle: bool) -> Vec<Hash256> {
        self.store.record(path).map(|record| record.ancestors(settle)).unwrap_or_default()
    }

    /// Everything that is kept, sorted by path: what nobody replaced, deletions too, and of what was replaced as much as
    /// says so. Whoever merges all of it has the same facts.
    pub fn kept(&self) -> impl Iterator<Item = &Checked> {
        self.store.records_under("").flat_map(|(_, record)| record.kept())
    }

    /// All conflicts, sorted by path. Versions that say the same are none.
    pub fn conflicts(&self) -> impl Iterator<Item = Conflict<'_>> {
        self.store.records_under("").flat_map(|(path, record)| {
            let winner = record.winner();
            record.losers().filter_map(move |loser| Some(Conflict { path, winner: winner?, loser }))
        })
    }

    /// How many versions are in force or listed, deletions included.
    #[must_use]
    pub fn count(&self) -> usize {
        self.store.heads().len()
    }

    /// SHA-256 over the hashes of the ranges of these versions' ids ([`super::ranges`]): equal digests mean equal facts.
    #[must_use]
    pub fn digest(&self) -> Hash256 {
        self.store.digest()
    }

    /// Whether everything that is in force is on this disk.
    #[must_use]
    pub fn durable(&self) -> bool {
        self.disk.clean()
    }

    fn decoded<'a, T: Message + Default>(&'a self, prefix: &'a str) -> impl Iterator<Item = (Path, T)> {
        self.prefix(prefix).filter_map(|(path, value)| Some((Path::parse(path).ok()?, T::decode(value.clone()).ok()?)))
    }

    /// Hordes that operators made, sorted by name. `main` and `ADMIN` need no fact.
    pub fn hordes(&self) -> impl Iterator<Item = (HordeName, Horde)> {
        self.decoded("horde/").filter_map(|(path, horde)| match path {
            Path::Horde(name) => Some((name, horde)),
            _ => None,
        })
    }

    /// One horde.
    #[must_use]
    pub fn horde(&self, name: &HordeName) -> Option<Horde> {
        Horde::decode(self.value(&horde_path(name))?.clone()).ok()
    }

    /// What is placed in a horde, sorted by service.
    #[must_use]
    pub fn places(&self, horde: &HordeName) -> Vec<(ServiceName, Place)> {
        self.decoded(&alloc::format!("place/{horde}/"))
            .filter_map(|(path, place)| match path {
                Path::Place(_, service) => Some((service, place)),
                _ => None,
            })
            .collect()
    }

    /// What is placed anywhere, sorted by horde and service.
    pub fn all_places(&self) -> impl Iterator<Item = (HordeName, ServiceName, Place)> {
        self.decoded("place/").filter_map(|(path, place)| match path {
            Path::Place(horde, service) => Some((horde, service, place)),
            _ => None,
        })
    }

    /// One placement.
    #[must_use]
    pub fn place(&self, horde: &HordeName, service: &ServiceName) -> Option<Place> {
        Place::decode(self.value(&place_path(horde, service))?.clone()).ok()
    }

    /// A manifest's bytes as in the fact: their hash is the revision.
    #[must_use]
    pub fn manifest_bytes(&self, service: &ServiceName, revision: &Hash256) -> Option<&Bytes> {
        self.value(&muster_path(service, revision))
    }

    /// A revision of a service.
    #[must_use]
    pub fn manifest(&self, service: &ServiceName, revision: &Hash256) -> Option<Manifest> {
        Manifest::decode(self.manifest_bytes(service, revision)?.clone()).ok()
    }

    /// Every revision of every service, sorted.
    pub fn muster(&self) -> impl Iterator<Item = (ServiceName, Hash256, Manifest)> {
        self.decoded("muster/").filter_map(|(path, manifest)| match path {
            Path::Muster(service, revision) => Some((service, revision, manifest)),
            _ => None,
        })
    }

    /// What fulcrums say of themselves, present or not, sorted by fulcrum's path.
    pub fn rows(&self) -> impl Iterator<Item = (FulcrumId, Row)> {
        self.decoded("row/").filter_map(|(path, row)| match path {
            Path::Row(fulcrum) => Some((fulcrum, row)),
            _ => None,
        })
    }

    /// What one fulcrum says of itself.
    #[must_use]
    pub fn row(&self, fulcrum: &FulcrumId) -> Option<Row> {
        Row::decode(self.value(&row_path(fulcrum))?.clone()).ok()
    }

    /// Paths of all facts, deleted ones too, sorted.
    pub fn paths(&self) -> impl Iterator<Item = &String> {
        self.store.records_under("").map(|(path, _)| path)
    }
}
