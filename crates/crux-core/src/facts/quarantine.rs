//! What comes back from too long ago. Deletions are remembered so that nothing comes back that was deleted; so that they
//! need not be remembered for ever, an operator draws a line now and then, the *horizon*: no version from before it is in
//! force anywhere, and deletions from before it are forgotten. What somebody brings back all the same (a machine that was
//! off for years, a restored disk) is in quarantine: kept, listed, told to nobody, and in force only when an operator
//! writes it again.
//!
//! Which versions are in force follows from the versions alone: the horizon is a fact like others, and no fulcrum's clock
//! is asked. So two that know the same hold the same, in whichever order they heard it. An operator who draws the line at
//! a wrong place draws it anew, and what had been behind it counts again wherever it is still kept.
//!
//! Not behind any horizon: itself, and expulsions and removals of rules, which nothing may loosen.
//!
//! What nodes said of themselves is not kept behind the line: it comes back only from its own fulcrum, which keeps its
//! latest and signs it again. A node puts whatever stamp it likes on its own words, and could fill everybody's quarantine.
//!
//! A write is stamped after what it replaces, so what was replaced is behind every horizon that its successor is behind. Only
//! where a clock once ran years ahead it may be otherwise; then whoever still has the replaced version brings it to all.

use super::value::{EXPULSIONS, HORIZON, Horizon, row_path};
use super::version::{Author, Checked, Stamp};
use super::{Facts, Output, rule, store};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use crux_names::{FulcrumId, Hash256};
use prost::Message as _;

/// Versions in quarantine, at most; beyond that the oldest are forgotten.
pub const QUARANTINE_MAX: usize = 15_000;
/// Bytes of all versions in quarantine, sealed, at most: as above.
pub const QUARANTINE_BYTES: usize = 16 << 20;

#[derive(Clone, Debug, Default)]
pub(super) struct Quarantine {
    /// Versions that are stamped before this moment are not in force.
    horizon: u64,
    shelves: BTreeMap<String, Shelf>,
    /// The path of each version, the oldest first.
    ages: BTreeMap<(Stamp, Hash256), String>,
    stamps: BTreeMap<Hash256, Stamp>,
    bytes: usize,
    /// The latest that this fulcrum said of itself.
    own: Option<Checked>,
    /// How many stand, and under which paths they have to be counted again.
    standing: usize,
    uncounted: BTreeSet<String>,
}

/// The versions of one path that are in quarantine.
#[derive(Clone, Debug, Default)]
struct Shelf {
    versions: BTreeMap<Hash256, Checked>,
    standing: usize,
}

impl Quarantine {
    /// Whether a version is behind the horizon.
    pub(super) fn is_behind(&self, version: &Checked) -> bool {
        let statement = version.statement();
        statement.stamp.wall < self.horizon
            && statement.path != HORIZON
            && !statement.path.starts_with(EXPULSIONS)
            && !rule::removes(statement)
    }

    pub(super) fn keeps(&self, id: &Hash256) -> bool {
        self.version(id).is_some()
    }

    /// Everything that is kept.
    pub(super) fn kept(&self) -> impl Iterator<Item = &Checked> {
        self.shelves.values().flat_map(|shelf| shelf.versions.values()).chain(&self.own)
    }

    pub(super) fn version(&self, id: &Hash256) -> Option<&Checked> {
        let own = self.own.as_ref().filter(|own| own.id() == *id);
        own.or_else(|| {
            let path = self.ages.get(&(*self.stamps.get(id)?, *id))?;
            self.shelves.get(path)?.versions.get(id)
        })
    }

    /// Microseconds since 1970; 0 if no operator drew the line.
    pub(super) const fn horizon(&self) -> u64 {
        self.horizon
    }

    /// Puts one in. True if it is kept and was not before; and what is not kept any more. Of too many the oldest goes.
    fn put(&mut self, version: Checked, me: &FulcrumId) -> (bool, Vec<Checked>) {
        let id = version.id();
        if self.keeps(&id) {
            return (false, Vec::new());
        }
        if matches!(version.statement().author, Author::Fulcrum(_)) {
            return self.put_row(version, me);
        }
        let (path, stamp) = (version.statement().path.clone(), version.statement().stamp);
        self.bytes += version.size();
        self.stamps.insert(id, stamp);
        self.ages.insert((stamp, id), path.clone());
        self.shelves.entry(path.clone()).or_default().versions.insert(id, version);
        self.uncounted.insert(path);
        let mut gone = Vec::new();
        while self.ages.len() > QUARANTINE_MAX || self.bytes > QUARANTINE_BYTES {
            match self.remove_oldest() {
                Some(version) => gone.push(version),
                None => break,
            }
        }
        (!gone.iter().any(|gone| gone.id() == id), gone)
    }

    /// What nodes say of themselves: only this fulcrum's latest is kept.
    fn put_row(&mut self, version: Checked, me: &FulcrumId) -> (bool, Vec<Checked>) {
        let order = |version: &Checked| (version.statement().stamp, version.id());
        let own = version.statement().path == row_path(me);
        if !own || self.own.as_ref().is_some_and(|own| order(own) > order(&version)) {
            return (false, alloc::vec![version]);
        }
        (true, self.own.replace(version).into_iter().collect())
    }

    fn remove_oldest(&mut self) -> Option<Checked> {
        let ((_, id), path) = self.ages.pop_first()?;
        self.stamps.remove(&id);
        let shelf = self.shelves.get_mut(&path)?;
        let version = shelf.versions.remove(&id)?;
        self.bytes -= version.size();
        if shelf.versions.is_empty() {
            self.standing -= shelf.standing;
            self.shelves.remove(&path);
        }
        self.uncounted.insert(path);
        Some(version)
    }

    /// What stands under this path may have changed, here or in force.
    pub(super) fn touch(&mut self, path: &str) {
        if self.shelves.contains_key(path) {
            self.uncounted.insert(path.into());
        }
    }

    /// Takes out everything.
    fn empty(&mut self) -> impl Iterator<Item = Checked> {
        let all = core::mem::take(self);
        self.horizon = all.horizon;
        all.own.into_iter().chain(all.shelves.into_values().flat_map(|shelf| shelf.versions.into_values()))
    }
}

impl Facts {
    /// Whether this version is kept here, in force, as evidence or in quarantine.
    pub(super) fn keeps(&self, id: &Hash256) -> bool {
        self.store.keeps(id) || self.quarantine.keeps(id)
    }

    /// Takes in a version that is behind the horizon. True if it is kept and was not before.
    pub(super) fn set_aside(&mut self, version: Checked, out: &mut Vec<Output>) -> bool {
        let (id, path) = (version.id(), version.statement().path.clone());
        // What a fulcrum said of itself waits for nobody's word, and what a removed rule said for none either.
        let operators = matches!(version.statement().author, Author::Operator(_));
        let says = operators && version.statement().value.is_some() && !self.is_removed_rule(&path);
        let (kept, gone) = self.quarantine.put(version, &self.config.me);
        // What has just come and is not kept was never put on this disk by this life.
        for gone in gone.iter().filter(|gone| gone.id() != id) {
            self.disk.forget(&gone.statement().path, gone.id());
        }
        if kept && says {
            out.push(Output::Quarantined { path });
        }
        kept
    }

    /// The horizon may have moved: what is in force is found out anew from all that is kept.
    pub(super) fn look_at_horizon(&mut self, out: &mut Vec<Output>) {
        let value = self.store.record(HORIZON).and_then(|record| record.winner()?.statement().value.clone());
        let horizon = value.and_then(|value| Horizon::decode(value).ok()).map_or(0, |horizon| horizon.before);
        if horizon == self.quarantine.horizon {
            return;
        }
        let heads = |facts: &Self| -> BTreeMap<String, BTreeSet<Hash256>> {
            let of = |record: &super::record::Record| record.heads().iter().map(Checked::id).collect();
            facts.store.records_under("").map(|(path, record)| (path.clone(), of(record))).collect()
        };
        let before = heads(self);
        let old = core::mem::replace(&mut self.store, store::Store::new());
        let aside: Vec<Checked> = self.quarantine.empty().collect();
        self.quarantine.horizon = horizon;
        self.compare.forget_late();
        for version in old.into_versions().chain(aside) {
            let path = version.statement().path.clone();
            let dropped = if self.quarantine.is_behind(&version) {
                let (_, gone) = self.quarantine.put(version, &self.config.me);
                gone.iter().map(|gone| (gone.statement().path.clone(), gone.id())).collect()
            } else {
                let dropped = self.store.merge(version).dropped.into_iter();
                dropped.map(|id| (path.clone(), id)).collect::<Vec<_>>()
            };
            dropped.into_iter().for_each(|(path, id)| self.disk.forget(&path, id));
        }
        let after = heads(self);
        let paths: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        self.changed.extend(paths.into_iter().filter(|path| before.get(*path) != after.get(*path)).cloned());
        self.count_quarantine();
        let count = self.quarantine_count();
        if count > 0 {
            out.push(Output::Behind { count });
        }
    }

    /// Versions in quarantine that nobody replaced and that say something, sorted by path: of a deletion nothing can be
    /// taken back, and what a fulcrum says of itself it says again by itself.
    pub fn quarantined(&self) -> impl Iterator<Item = &Checked> {
        self.quarantine.shelves.iter().flat_map(|(path, shelf)| self.standing(path, shelf))
    }

    /// How many these are. No walk, since every picture of this fulcrum has it.
    #[must_use]
    pub const fn quarantine_count(&self) -> usize {
        self.quarantine.standing
    }

    /// Of one path, the oldest first.
    fn standing<'a>(&'a self, path: &str, shelf: &'a Shelf) -> Vec<&'a Checked> {
        let all = || shelf.versions.values();
        let replaced: BTreeSet<&Hash256> = all().flat_map(|version| &version.statement().ancestors).collect();
        let record = self.store.record(path);
        let stands = |version: &&Checked| {
            let covered = record.is_some_and(|record| record.covered().contains(&version.id()));
            let says = version.statement().value.is_some() && !self.is_removed_rule(&version.statement().path);
            says && !covered && !replaced.contains(&version.id())
        };
        let mut found: Vec<&Checked> = all().filter(stands).collect();
        found.sort_by_key(|version| version.statement().stamp);
        found
    }

    /// Counts what stands under the paths where that may have changed: at the end of a step, each once.
    pub(super) fn count_quarantine(&mut self) {
        for path in core::mem::take(&mut self.quarantine.uncounted) {
            let now = self.quarantine.shelves.get(&path).map(|shelf| self.standing(&path, shelf).len());
            if let (Some(now), Some(shelf)) = (now, self.quarantine.shelves.get_mut(&path)) {
                self.quarantine.standing = self.quarantine.standing - shelf.standing + now;
                shelf.standing = now;
            }
        }
    }

    /// What this fulcrum itself said of itself before the horizon.
    pub(super) const fn row_behind(&self) -> Option<&Checked> {
        self.quarantine.own.as_ref()
    }
}
