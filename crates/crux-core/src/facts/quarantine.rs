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
//! A write is stamped after what it replaces, so what was replaced is behind every horizon that its successor is behind. Only
//! where a clock once ran years ahead it may be otherwise; then whoever still has the replaced version brings it to all.

use super::value::{EXPULSIONS, HORIZON, Horizon, row_path};
use super::version::{Author, Checked};
use super::{Facts, Output, rule, store};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use crux_names::Hash256;
use prost::Message as _;

/// Versions in quarantine, at most; beyond that the oldest are forgotten.
pub const QUARANTINE_MAX: usize = 15_000;

#[derive(Clone, Debug, Default)]
pub(super) struct Quarantine {
    /// Versions that are stamped before this moment are not in force.
    horizon: u64,
    versions: BTreeMap<Hash256, Checked>,
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
        self.versions.contains_key(id)
    }

    pub(super) fn version(&self, id: &Hash256) -> Option<&Checked> {
        self.versions.get(id)
    }

    /// Microseconds since 1970; 0 if no operator drew the line.
    pub(super) const fn horizon(&self) -> u64 {
        self.horizon
    }

    /// Puts one in. True if it is kept and was not before. Of too many the oldest is not.
    fn put(&mut self, version: Checked) -> (bool, Option<Checked>) {
        let id = version.id();
        if self.versions.insert(id, version).is_some() {
            return (false, None);
        }
        if self.versions.len() <= QUARANTINE_MAX {
            return (true, None);
        }
        let oldest = self.versions.values().min_by_key(|one| (one.statement().stamp, one.id())).map(Checked::id);
        let gone = oldest.and_then(|oldest| self.versions.remove(&oldest));
        (gone.as_ref().is_none_or(|gone| gone.id() != id), gone)
    }
}

impl Facts {
    /// Whether this version is kept here, in force, as evidence or in quarantine.
    pub(super) fn keeps(&self, id: &Hash256) -> bool {
        self.store.keeps(id) || self.quarantine.keeps(id)
    }

    /// Takes in a version that is behind the horizon. True if it is kept and was not before.
    pub(super) fn set_aside(&mut self, version: Checked, out: &mut Vec<Output>) -> bool {
        let path = version.statement().path.clone();
        let says = version.statement().value.is_some() && !self.is_removed_rule(&path);
        let (kept, gone) = self.quarantine.put(version);
        if let Some(gone) = gone {
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
        let aside = core::mem::take(&mut self.quarantine.versions);
        self.quarantine.horizon = horizon;
        self.compare.forget_late();
        for version in old.into_versions().chain(aside.into_values()) {
            let path = version.statement().path.clone();
            let dropped = if self.quarantine.is_behind(&version) {
                self.quarantine
                    .put(version)
                    .1
                    .map(|gone| (gone.statement().path.clone(), gone.id()))
                    .into_iter()
                    .collect()
            } else {
                let dropped = self.store.merge(version).dropped.into_iter();
                dropped.map(|id| (path.clone(), id)).collect::<Vec<_>>()
            };
            dropped.into_iter().for_each(|(path, id)| self.disk.forget(&path, id));
        }
        let after = heads(self);
        let paths: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        self.changed.extend(paths.into_iter().filter(|path| before.get(*path) != after.get(*path)).cloned());
        let count = self.quarantined().count();
        if count > 0 {
            out.push(Output::Behind { count });
        }
    }

    /// Versions in quarantine that nobody replaced and that say something, sorted by path: of a deletion nothing can be
    /// taken back.
    pub fn quarantined(&self) -> impl Iterator<Item = &Checked> {
        let all = || self.quarantine.versions.values();
        let replaced: BTreeSet<&Hash256> = all().flat_map(|version| &version.statement().ancestors).collect();
        let stands = |version: &&Checked| {
            let record = self.store.record(&version.statement().path);
            let covered = record.is_some_and(|record| record.covered().contains(&version.id()));
            let says = version.statement().value.is_some() && !self.is_removed_rule(&version.statement().path);
            says && !covered && !replaced.contains(&version.id())
        };
        let mut found: Vec<&Checked> = all().filter(stands).collect();
        found.sort_by(|a, b| {
            (&a.statement().path, a.statement().stamp).cmp(&(&b.statement().path, b.statement().stamp))
        });
        found.into_iter()
    }

    /// What this fulcrum itself said of itself before the horizon.
    pub(super) fn row_behind(&self) -> Option<&Checked> {
        let path = row_path(&self.config.me);
        let own = |version: &&Checked| {
            version.statement().path == path && matches!(version.statement().author, Author::Fulcrum(_))
        };
        self.quarantine.versions.values().filter(own).max_by_key(|version| version.statement().stamp)
    }
}
