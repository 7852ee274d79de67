//! What is on this disk and what is on its way there. A version is dirty from its merge to the report that it is
//! durable; while its path is dirty, nobody is told that this fulcrum holds it. A disk that fails is tried again each
//! second: reads go on, and it recovers without a restart.

use super::version::Checked;
use super::{Facts, Message, Output, RETRY, write};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use core::mem;
use crux_names::{Hash256, Member, Time, Wall};

#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    token: u64,
    inflight: BTreeMap<u64, Batch>,
    /// Merged and not durable, by path.
    dirty: BTreeMap<String, BTreeSet<Hash256>>,
    /// On disk and kept no longer.
    stale: BTreeSet<Hash256>,
    /// Peers that are told when these paths are clean.
    debts: Vec<Debt>,
    retry: Option<Time>,
}

#[derive(Clone, Debug)]
struct Batch {
    ids: Vec<(String, Hash256)>,
    drop: Vec<Hash256>,
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

    /// A version is kept no longer.
    pub(super) fn forget(&mut self, id: Hash256) {
        self.stale.insert(id);
    }

    pub(super) fn soil(&mut self, version: &Checked) {
        self.dirty.entry(version.statement().path.clone()).or_default().insert(version.id());
    }

    pub(super) fn owe(&mut self, to: Member, ids: Vec<Hash256>, paths: BTreeSet<String>) {
        self.debts.push(Debt { to, ids, paths });
    }

    pub(super) fn persist(&mut self, versions: Vec<Checked>, purpose: Purpose, out: &mut Vec<Output>) {
        self.token += 1;
        for version in &versions {
            self.stale.remove(&version.id());
        }
        let drop: Vec<Hash256> = mem::take(&mut self.stale).into_iter().collect();
        let ids = versions.iter().map(|version| (version.statement().path.clone(), version.id())).collect();
        self.inflight.insert(self.token, Batch { ids, drop: drop.clone(), purpose });
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
        match result {
            Ok(()) => {
                self.disk.wash(&batch.ids);
                match batch.purpose {
                    Purpose::Merged => {}
                    Purpose::Write(write) => self.written(now, wall, write, out),
                    Purpose::Row(version) => self.row_written(wall, version, out),
                }
                // What came into force just now may have been superseded while it was under way.
                for (_, id) in batch.ids {
                    if !self.store.keeps(&id) {
                        self.disk.forget(id);
                    }
                }
                self.disk.pay(out);
            }
            Err(why) => {
                for id in batch.drop {
                    if !self.store.keeps(&id) {
                        self.disk.forget(id);
                    }
                }
                match batch.purpose {
                    Purpose::Merged => self.disk.retry = Some(now + RETRY),
                    Purpose::Write(write) => out.push(Output::Refused {
                        request: write.request,
                        why: alloc::format!(
                            "{}: the local store could not keep it: {why}; nothing was changed, write again when the \
                             disk is well",
                            self.config.me
                        ),
                    }),
                    Purpose::Row(_) => self.row_failed(now),
                }
            }
        }
    }

    /// Tries again to persist what is dirty and not under way.
    pub(super) fn retry_disk(&mut self, now: Time, out: &mut Vec<Output>) {
        if self.disk.retry.is_none_or(|at| at > now) {
            return;
        }
        self.disk.retry = None;
        let mut versions = Vec::new();
        for (path, ids) in &mut self.disk.dirty {
            // A version that is kept no longer is not owed to the disk: what replaced it is.
            ids.retain(|id| self.store.keeps(id));
            versions.extend(ids.iter().filter_map(|id| self.store.version(id)).cloned());
            debug_assert!(ids.is_empty() || self.store.record(path).is_some());
        }
        self.disk.dirty.retain(|_, ids| !ids.is_empty());
        if versions.is_empty() {
            self.disk.pay(out);
        } else {
            self.disk.persist(versions, Purpose::Merged, out);
        }
    }
}
