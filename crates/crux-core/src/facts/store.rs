//! All records, found by path and by version id, with the digest that peers compare.

use super::ranges::Ranges;
use super::record::{Outcome, Record};
use super::rule::{self, RULES};
use super::value::{EXPULSIONS, Expulsion};
use super::version::{Checked, Shared};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use crux_names::Hash256;
use prost::Message;

#[derive(Clone, Debug)]
pub(super) struct Store {
    records: BTreeMap<String, Record>,
    /// Where each kept version is.
    kept: BTreeMap<Hash256, String>,
    /// Ids of all heads, tombstones and losers included: what makes two stores equal.
    heads: BTreeSet<Hash256>,
    ranges: Ranges,
    digest: Hash256,
    shared: Shared,
}

impl Store {
    pub(super) fn new() -> Self {
        let mut store = Self {
            records: BTreeMap::new(),
            kept: BTreeMap::new(),
            heads: BTreeSet::new(),
            ranges: Ranges::new(),
            digest: Hash256::default(),
            shared: Shared::default(),
        };
        store.settle();
        store
    }

    /// Takes in a version. The digest is stale until [`Store::settle`].
    pub(super) fn merge(&mut self, version: Checked) -> Outcome {
        let path = version.statement().path.clone();
        let id = version.id();
        let version = version.kept(&mut self.shared);
        let record = self.records.entry(path.clone()).or_default();
        let before: Vec<Hash256> = record.heads().iter().map(Checked::id).collect();
        let outcome = Self::merge_into(record, version);
        if outcome.heads_changed {
            for head in before {
                self.heads.remove(&head);
                self.ranges.touch(&head);
            }
            for head in record.heads().iter().map(Checked::id) {
                self.ranges.touch(&head);
                self.heads.insert(head);
            }
        }
        for id in &outcome.dropped {
            self.kept.remove(id);
        }
        if outcome.kept {
            self.kept.insert(id, path);
        }
        outcome
    }

    /// Merges a version into the record of its path, by the law of that path.
    pub(super) fn merge_into(record: &mut Record, version: Checked) -> Outcome {
        let path = &version.statement().path;
        if path.starts_with(EXPULSIONS) {
            record.tighten(version, up_to)
        } else if path.starts_with(RULES) {
            record.tighten(version, rule::rank)
        } else {
            record.merge(version)
        }
    }

    /// Brings the digest up to date.
    pub(super) fn settle(&mut self) {
        self.digest = self.ranges.settle(&self.heads);
    }

    pub(super) const fn ranges(&self) -> &Ranges {
        &self.ranges
    }

    pub(super) fn digest(&self) -> Hash256 {
        self.digest
    }

    pub(super) fn heads(&self) -> &BTreeSet<Hash256> {
        &self.heads
    }

    pub(super) fn keeps(&self, id: &Hash256) -> bool {
        self.kept.contains_key(id)
    }

    pub(super) fn record(&self, path: &str) -> Option<&Record> {
        self.records.get(path)
    }

    pub(super) fn records_under<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a String, &'a Record)> {
        self.records
            .range::<str, _>((core::ops::Bound::Included(prefix), core::ops::Bound::Unbounded))
            .take_while(move |(path, _)| path.starts_with(prefix))
    }

    pub(super) fn version(&self, id: &Hash256) -> Option<&Checked> {
        self.records.get(self.kept.get(id)?)?.kept().find(|version| version.id() == *id)
    }

    /// Everything that is kept.
    pub(super) fn into_versions(self) -> impl Iterator<Item = Checked> {
        self.records.into_values().flat_map(Record::into_kept)
    }

    /// Those of these ids that some kept version names as an ancestor, with the record where it is. A walk over all
    /// ancestors, whether one id is looked for or thousands.
    pub(super) fn covered(&self, ids: &BTreeSet<Hash256>) -> Vec<(Hash256, &Record)> {
        let of =
            |record: &'_ Record| record.covered().iter().filter(|id| ids.contains(id)).copied().collect::<Vec<_>>();
        self.records.values().flat_map(|record| of(record).into_iter().map(move |id| (id, record))).collect()
    }
}

/// Up to which admission an expulsion reaches; one that cannot be read reaches nowhere.
fn up_to(version: &Checked) -> u32 {
    let value = version.statement().value.as_ref();
    value.and_then(|value| Expulsion::decode(value.as_ref()).ok()).map_or(0, |expulsion| expulsion.up_to)
}
