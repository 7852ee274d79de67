//! What is on this disk and what is on its way there. A version is dirty from its merge to the report that it is
//! durable; while its path is dirty, nobody is told that this fulcrum holds it. A disk that fails is tried again each
//! second: reads go on, and it recovers without a restart.
//!
//! What is remembered for a disk that fails or says nothing has bounds, however long that lasts: what is dirty is also
//! kept, what is to be dropped was on disk, batches under way are counted ([`MERGED_MAX`], [`WRITES_MAX`]), and who
//! waits to hear that this fulcrum holds something has given up after [`write::PATIENCE`].
//!
//! Two orders matter to whoever loads this disk after a crash. What was replaced leaves it no earlier than what replaced it
//! has come, or neither would be there. And a disk may keep what it said it could not (a failed sync): a write that was
//! refused is dropped from it as soon as it is well, lest a later life obeys it.

use super::version::Checked;
use super::{Facts, Message, Output, RETRY, write};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use crux_names::{Hash256, Member, Time, Wall};

/// How many batches of what peers sent are under way to the disk. What comes meanwhile goes together when one is done.
const MERGED_MAX: usize = 16;
/// How many operators' writes are under way to the disk.
pub(super) const WRITES_MAX: usize = 1024;
/// How many refused facts are remembered that a failing disk may have kept. Of more than these a later life may find some.
const GHOSTS_MAX: usize = 16_384;

#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    token: u64,
    inflight: BTreeMap<u64, Batch>,
    /// Ids in batches of what was merged that are under way.
    under_way: BTreeSet<Hash256>,
    /// Something is dirty and waits for one of these batches to end.
    behind: bool,
    /// Merged and not durable, by path.
    dirty: BTreeMap<String, BTreeSet<Hash256>>,
    /// On disk and kept no longer, with their paths.
    stale: BTreeMap<Hash256, String>,
    /// Of refused writes: the disk may have them all the same.
    ghosts: BTreeSet<Hash256>,
    /// Peers that are told when these paths are clean.
    debts: Vec<Debt>,
    /// When what is dirty goes to a disk that failed.
    retry: Option<Time>,
}

#[derive(Clone, Debug)]
struct Batch {
    ids: Vec<(String, Hash256)>,
    stale: BTreeMap<Hash256, String>,
    ghosts: BTreeSet<Hash256>,
    purpose: Purpose,
}

/// What follows when a batch is durable.
#[derive(Clone, Debug)]
pub(super) enum Purpose {
    /// Nothing but debts: it was merged before.
    Merged,
    /// An operator's write comes into force.
    Write(write::Write),
    /// This fulcrum's row comes into force.
    Row(Checked),
}

#[derive(Clone, Debug)]
struct Debt {
    to: Member,
    since: Time,
    ids: Vec<Hash256>,
    paths: BTreeSet<String>,
}

impl Disk {
    pub(super) fn deadline(&self) -> Time {
        self.retry.unwrap_or(Time::NEVER)
    }

    pub(super) fn clean(&self) -> bool {
        self.dirty.is_empty()
    }

    fn is_dirty(&self, path: &str, id: &Hash256) -> bool {
        self.dirty.get(path).is_some_and(|ids| ids.contains(id))
    }

    /// A version is kept no longer. One that is not on disk need not be dropped from it; one that is on its way there is
    /// forgotten once more when it has arrived.
    pub(super) fn forget(&mut self, path: &str, id: Hash256) {
        if self.is_dirty(path, &id) {
            self.wash(&[(path.into(), id)]);
        } else {
            self.stale.insert(id, path.into());
        }
    }

    pub(super) fn soil(&mut self, version: &Checked) {
        self.dirty.entry(version.statement().path.clone()).or_default().insert(version.id());
    }

    pub(super) fn owe(&mut self, now: Time, to: Member, ids: Vec<Hash256>, paths: BTreeSet<String>) {
        self.debts.retain(|debt| now.since(debt.since) <= write::PATIENCE);
        self.debts.push(Debt { to, since: now, ids, paths });
    }

    /// How many operators' writes are under way.
    pub(super) fn writes(&self) -> usize {
        self.writes_under_way().count()
    }

    /// Path and id of every version of these.
    pub(super) fn written_soon(&self) -> impl Iterator<Item = &(String, Hash256)> {
        self.writes_under_way().flat_map(|batch| &batch.ids)
    }

    fn writes_under_way(&self) -> impl Iterator<Item = &Batch> {
        self.inflight.values().filter(|batch| matches!(batch.purpose, Purpose::Write(_)))
    }

    /// Makes durable what was merged, unless the disk has just failed or has much to do: then it goes with the rest of
    /// what is dirty.
    pub(super) fn persist_merged(&mut self, mut versions: Vec<Checked>, out: &mut Vec<Output>) {
        let merged = self.inflight.values().filter(|batch| matches!(batch.purpose, Purpose::Merged)).count();
        if self.retry.is_some() || merged >= MERGED_MAX {
            self.behind = true;
            return;
        }
        versions.retain(|version| self.under_way.insert(version.id()));
        if !versions.is_empty() || !self.ghosts.is_empty() {
            self.persist(versions, Purpose::Merged, out);
        }
    }

    pub(super) fn persist(&mut self, versions: Vec<Checked>, purpose: Purpose, out: &mut Vec<Output>) {
        self.token += 1;
        let new: BTreeSet<Hash256> = versions.iter().map(Checked::id).collect();
        self.stale.retain(|id, _| !new.contains(id));
        self.ghosts.retain(|id| !new.contains(id));
        // One that is written again just now may yet come into force.
        let again: BTreeSet<Hash256> =
            self.writes_under_way().flat_map(|batch| &batch.ids).map(|(_, id)| *id).collect();
        let ghosts: BTreeSet<Hash256> = self.ghosts.extract_if(.., |id| !again.contains(id)).collect();
        let dirty = &self.dirty;
        // All that stands in their place is there, or comes with this.
        let replaced = |path: &String| dirty.get(path).is_none_or(|ids| ids.is_subset(&new));
        let stale: BTreeMap<_, _> = self.stale.extract_if(.., |_, path| replaced(path)).collect();
        let drop = stale.keys().chain(&ghosts).copied().collect();
        let ids = versions.iter().map(|version| (version.statement().path.clone(), version.id())).collect();
        self.inflight.insert(self.token, Batch { ids, stale, ghosts, purpose });
        out.push(Output::Persist { token: self.token, versions, drop });
    }

    fn wash(&mut self, ids: &[(String, Hash256)]) {
        for (path, id) in ids {
            if let Some(dirty) = self.dirty.get_mut(path) {
                dirty.remove(id);
                if dirty.is_empty() {
                    self.dirty.remove(path);
                }
            }
        }
    }

    pub(super) fn pay(&mut self, out: &mut Vec<Output>) {
        let dirty = &self.dirty;
        for debt in self.debts.extract_if(.., |debt| !debt.paths.iter().any(|path| dirty.contains_key(path))) {
            out.push(Output::Send { to: debt.to, message: Message::Held(debt.ids) });
        }
    }

    pub(super) fn drop_debts(&mut self, peer: &Member) {
        self.debts.retain(|debt| debt.to != *peer);
    }
}

impl Facts {
    pub(super) fn persisted(
        &mut self,
        now: Time,
        wall: Wall,
        token: u64,
        result: Result<(), String>,
        out: &mut Vec<Output>,
    ) {
        let Some(batch) = self.disk.inflight.remove(&token) else { return };
        if matches!(batch.purpose, Purpose::Merged) {
            for (_, id) in &batch.ids {
                self.disk.under_way.remove(id);
            }
        }
        match result {
            Ok(()) => {
                self.disk.wash(&batch.ids);
                batch.ids.iter().for_each(|(_, id)| _ = self.disk.ghosts.remove(id));
                match batch.purpose {
                    Purpose::Merged => {}
                    Purpose::Write(write) => self.written(now, wall, write, out),
                    Purpose::Row(version) => self.row_written(now, wall, version, out),
                }
                // What came into force just now may have been superseded while it was under way.
                for (path, id) in batch.ids {
                    if !self.keeps(&id) {
                        self.disk.forget(&path, id);
                    }
                }
                self.disk.pay(out);
                // The disk is well, so what waited for it goes now.
                if self.disk.retry.is_some() || self.disk.behind {
                    self.disk.retry = Some(now);
                }
            }
            Err(why) => {
                let keeps = |id: &Hash256| self.store.keeps(id) || self.quarantine.keeps(id);
                self.disk.stale.extend(batch.stale.into_iter().filter(|(id, _)| !keeps(id)));
                let mut ghosts = batch.ghosts;
                // A row that comes back is replaced by the next; what was merged is wanted, or goes when it comes back.
                if matches!(batch.purpose, Purpose::Write(_)) {
                    ghosts.extend(batch.ids.iter().map(|(_, id)| *id));
                }
                self.disk.ghosts.extend(ghosts.into_iter().filter(|id| !keeps(id)));
                while self.disk.ghosts.len() > GHOSTS_MAX {
                    self.disk.ghosts.pop_first();
                }
                if !self.disk.ghosts.is_empty() {
                    self.disk.retry.get_or_insert(now + RETRY);
                }
                match batch.purpose {
                    Purpose::Merged => {
                        self.disk.retry.get_or_insert(now + RETRY);
                    }
                    Purpose::Write(write) => {
                        if self.disk.behind {
                            self.disk.retry.get_or_insert(now + RETRY);
                        }
                        out.push(Output::Refused {
                            request: write.request,
                            why: alloc::format!(
                                "{}: the local store could not keep it: {why}; nothing was changed, write again when \
                                 the disk is well",
                                self.config.me
                            ),
                        });
                    }
                    Purpose::Row(_) => self.row_failed(now),
                }
            }
        }
    }

    /// Another file is in the place of the one that had what was durable: all that is kept goes there, too. What is under way
    /// was not yet told as durable, and what was to be dropped is not there.
    pub(super) fn store_anew(&mut self, now: Time) {
        let kept = self.store.records_under("").flat_map(|(_, record)| record.kept()).chain(self.quarantine.kept());
        kept.for_each(|version| self.disk.soil(version));
        self.disk.retry = Some(now);
    }

    /// Tries again to persist what is dirty and not under way.
    pub(super) fn retry_disk(&mut self, now: Time, out: &mut Vec<Output>) {
        if self.disk.retry.is_none_or(|at| at > now) {
            return;
        }
        self.disk.retry = None;
        self.disk.behind = false;
        let mut versions = Vec::new();
        for ids in self.disk.dirty.values_mut() {
            // A version that is kept no longer is not owed to the disk: what replaced it is.
            let kept = |id: &Hash256| self.store.version(id).or_else(|| self.quarantine.version(id));
            ids.retain(|id| kept(id).is_some() || self.disk.under_way.contains(id));
            let ready = ids.iter().filter(|id| !self.disk.under_way.contains(id));
            versions.extend(ready.filter_map(kept).cloned());
        }
        self.disk.dirty.retain(|_, ids| !ids.is_empty());
        self.disk.pay(out);
        self.disk.persist_merged(versions, out);
    }
}
