//! Bringing back what a backup held. Its versions were signed and accepted once, so each is judged as one that a peer
//! sends: by the table, and by the law of merging, which lets nothing come back that was replaced, deleted or expelled
//! since. Unlike what a peer sends it comes into force, and goes on to others, only when it is on this disk.

use super::record::Record;
use super::store::Store;
use super::value::{EXPULSIONS, Expulsion, Row, expel_path};
use super::version::{Author, Checked};
use super::{Facts, Output, STORE_MAX, WRITE_MAX, authority, rule};
use crate::facts::disk::Purpose;
use crate::facts::write::Write;
use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use prost::Message;

/// What becomes of one version of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was not here, and is in force or listed.
    Taken {
        /// It stands beside another one of which neither knew the other: a conflict.
        conflict: bool,
    },
    /// It is here.
    Held,
    /// Something that is here, or that comes with it, has replaced it. It changes nothing.
    Replaced,
    /// It is not taken in; why, for people.
    Refused(String),
}

impl Facts {
    /// What would become of each of these versions if they were restored here now, all together.
    #[must_use]
    pub fn fates(&self, versions: &[Checked]) -> Vec<Fate> {
        let refusals: Vec<Option<String>> = versions.iter().map(|version| self.why_not(version)).collect();
        let good = versions.iter().zip(&refusals).filter(|(_, refused)| refused.is_none());
        let records = self.merged(good.map(|(version, _)| version));
        let fate = |(version, refused): (&Checked, Option<String>)| {
            if let Some(why) = refused {
                return Fate::Refused(why);
            }
            let (id, path) = (version.id(), version.statement().path.as_str());
            let stands = |record: &&Record| record.heads().iter().any(|head| head.id() == id);
            match records.get(path).filter(stands) {
                _ if self.store.keeps(&id) => Fate::Held,
                Some(record) => Fate::Taken { conflict: record.losers().next().is_some() },
                None => Fate::Replaced,
            }
        };
        versions.iter().zip(refusals).map(fate).collect()
    }

    /// The records of these versions' paths, with them.
    fn merged<'a>(&self, versions: impl Iterator<Item = &'a Checked>) -> BTreeMap<&'a str, Record> {
        let mut records: BTreeMap<&str, Record> = BTreeMap::new();
        for version in versions {
            let path = version.statement().path.as_str();
            let here = || self.store.record(path).cloned().unwrap_or_default();
            Store::merge_into(records.entry(path).or_insert_with(here), version.clone());
        }
        records
    }

    /// How many facts more there would be with these.
    #[must_use]
    pub fn growth(&self, versions: &[Checked]) -> usize {
        let records = self.merged(versions.iter());
        let here = |path: &&str| self.store.record(path).map_or(0, |record| record.heads().len());
        let (after, before) = (records.values().map(|record| record.heads().len()), records.keys().map(here));
        after.sum::<usize>().saturating_sub(before.sum())
    }

    fn why_not(&self, version: &Checked) -> Option<String> {
        let statement = version.statement();
        if let Err(why) = authority::authorise(&self.config.bloc, statement) {
            return Some(why.to_string());
        }
        if let Author::Fulcrum(id) = &statement.author {
            let expulsion = self.value(&expel_path(&id.node)).and_then(|value| Expulsion::decode(value.clone()).ok());
            let row = statement.value.as_ref().and_then(|value| Row::decode(value.clone()).ok());
            let admission = row.map_or(1, |row| row.admitted());
            if let Some(up_to) = expulsion.map(|expulsion| expulsion.up_to).filter(|up_to| *up_to >= admission) {
                return Some(format!("{} is expelled, with its admissions up to {up_to}", id.node));
            }
        }
        if self.quarantine.is_behind(version) {
            return Some("it is from before the horizon, where nothing is in force: write it again".to_owned());
        }
        self.too_much(version).map(|why| why.to_string())
    }

    /// Restores these versions, all or none.
    pub(super) fn restore(&mut self, request: u64, versions: Vec<Checked>, out: &mut Vec<Output>) {
        match self.may_restore(&versions, 0) {
            Ok(()) => {
                let write = Write::new(request, versions.clone());
                self.disk.persist(versions, Purpose::Write(write), out);
            }
            Err(why) => out.push(Output::Refused { request, why }),
        }
    }

    /// Whether these may be restored here now, all together, after so many others of the same backup that are not here yet:
    /// what is only asked for is judged as what is done.
    ///
    /// # Errors
    /// Why not, for people.
    pub fn may_restore(&self, versions: &[Checked], after: usize) -> Result<(), String> {
        if versions.is_empty() || versions.len() > WRITE_MAX {
            return Err(format!("1 to {WRITE_MAX} facts are restored at once, not {}", versions.len()));
        }
        self.disk_has_room()?;
        let tightens =
            |version: &Checked| version.statement().path.starts_with(EXPULSIONS) || rule::removes(version.statement());
        let growth = self.growth(versions);
        if growth > 0 && !versions.iter().all(tightens) && !self.has_room(after + growth) {
            let count = self.takes_room() + after + growth;
            return Err(format!("the bloc would have {count} facts and may have {STORE_MAX}; remove some"));
        }
        for version in versions {
            if let Some(why) = self.why_not(version) {
                return Err(format!("{}: {why}", version.statement().path.escape_debug()));
            }
        }
        Ok(())
    }
}
