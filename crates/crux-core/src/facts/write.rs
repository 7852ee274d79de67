//! An operator's write at this door: judged, made durable, brought into force, sent to every member at once (of a large
//! one a piece, and what is more by comparison), and acknowledged when min(2, n - 1) others have it on disk too. After one
//! second it is acknowledged with fewer, and the answer says so.

use super::disk::{Purpose, WRITES_MAX};
use super::value::{EXPULSIONS, HORIZON};
use super::version::{Author, Checked};
use super::{Facts, Output, STORE_MAX, WRITE_MAX, authority, clock, rule};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use crux_names::{Duration, Hash256, Member, Time, Wall};

/// How long a write waits for others.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
pub(super) struct Write {
    pub(super) request: u64,
    versions: Vec<Checked>,
}

impl Write {
    pub(super) const fn new(request: u64, versions: Vec<Checked>) -> Self {
        Self { request, versions }
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Writes {
    waiting: Vec<Waiting>,
}

#[derive(Clone, Debug)]
struct Waiting {
    request: u64,
    ids: Vec<Hash256>,
    /// What each member has not yet said to hold.
    missing: BTreeMap<Member, BTreeSet<Hash256>>,
    until: Time,
}

impl Writes {
    pub(super) fn deadline(&self) -> Time {
        self.waiting.iter().map(|waiting| waiting.until).min().unwrap_or(Time::NEVER)
    }
}

impl Facts {
    pub(super) fn write(
        &mut self,
        _now: Time,
        wall: Wall,
        request: u64,
        versions: Vec<Checked>,
        out: &mut Vec<Output>,
    ) {
        match self.judge_write(wall, &versions) {
            Ok(()) => {
                let write = Write::new(request, versions.clone());
                self.disk.persist(versions, Purpose::Write(write), out);
            }
            Err(why) => out.push(Output::Refused { request, why }),
        }
    }

    /// Why one more write is not taken now, if too many are under way.
    pub(super) fn disk_has_room(&self) -> Result<(), String> {
        if self.disk.writes() < WRITES_MAX {
            return Ok(());
        }
        Err(format!(
            "{}: the local store has {WRITES_MAX} writes to finish first; nothing was changed, write again later",
            self.config.me
        ))
    }

    /// How many facts there are of those that may be too many, with those that are on their way to the disk.
    pub(super) fn takes_room(&self) -> usize {
        self.store.heads().len() - self.removed_rules() + self.disk.written_soon().count()
    }

    /// Whether so many more may come.
    pub(super) fn has_room(&self, more: usize) -> bool {
        // Counting removed rules is a walk, so only where it matters.
        let all = self.store.heads().len() + self.disk.written_soon().count();
        all + more <= STORE_MAX || self.takes_room() + more <= STORE_MAX
    }

    /// How many of these take room that is not there already. None does that only ever tightens, nor a deletion of what
    /// stands, which takes the place of what it deletes; but each place is taken once.
    fn need_room(&self, versions: &[Checked]) -> usize {
        let mut ended: BTreeSet<&str> = self.disk.written_soon().map(|(path, _)| path.as_str()).collect();
        let mut need = 0;
        for statement in versions.iter().map(Checked::statement) {
            let always =
                statement.path.starts_with(EXPULSIONS) || statement.path == HORIZON || rule::removes(statement);
            let names = |head: &Checked| head.statement().value.is_some() && statement.ancestors.contains(&head.id());
            let record = self.store.record(&statement.path);
            let ends = statement.value.is_none() && record.is_some_and(|record| record.heads().iter().any(names));
            if !(always || ends && ended.insert(&statement.path)) {
                need += 1;
            }
        }
        need
    }

    fn judge_write(&self, wall: Wall, versions: &[Checked]) -> Result<(), String> {
        if versions.is_empty() || versions.len() > WRITE_MAX {
            return Err(format!("a write has 1 to {WRITE_MAX} facts, this one has {}; split it", versions.len()));
        }
        self.disk_has_room()?;
        // What takes away is never refused for want of room.
        let need = self.need_room(versions);
        if need > 0 && !self.has_room(need) {
            return Err(format!("the bloc has {} facts and may have {STORE_MAX}; remove some", self.takes_room()));
        }
        for version in versions {
            let statement = version.statement();
            let refused = |why: &dyn core::fmt::Display| format!("{}: {why}", statement.path.escape_debug());
            authority::authorise(&self.config.bloc, statement).map_err(|why| refused(&why))?;
            if let Author::Fulcrum(id) = &statement.author {
                return Err(refused(&format!("node {id} signed it; sign it with an operator's key")));
            }
            if self.is_removed_rule(&statement.path) && !rule::removes(statement) {
                return Err(refused(&"it was removed, and a removed rule never comes back; make another: crux allow"));
            }
            if let Some(version) = Some(version).filter(|version| self.quarantine.is_behind(version)) {
                let days = (self.quarantine.horizon() - version.statement().stamp.wall) / 86_400_000_000;
                return Err(refused(&format!(
                    "it is stamped {days} days before the horizon, so it would never be in force; set the clock of the \
                     machine where it was signed and write again",
                )));
            }
            if !clock::acceptable(statement.stamp, wall) {
                let ahead = statement.stamp.wall.saturating_sub(wall.0) / 1_000_000;
                return Err(refused(&format!(
                    "it is stamped {ahead} s ahead of the clock of {}, more than {} s; set the clock that is wrong and \
                     write again",
                    self.config.me,
                    clock::AHEAD_MAX.as_secs()
                )));
            }
        }
        Ok(())
    }

    /// The write is on this disk: it comes into force and goes out.
    pub(super) fn written(&mut self, now: Time, wall: Wall, write: Write, out: &mut Vec<Output>) {
        let ids: Vec<Hash256> = write.versions.iter().map(Checked::id).collect();
        for version in &write.versions {
            self.merge(wall, version.clone(), out);
        }
        self.push_to_all(now, &write.versions, out);
        let all: BTreeSet<Hash256> = ids.iter().copied().collect();
        self.writes.waiting.push(Waiting {
            request: write.request,
            ids,
            missing: self.others.iter().map(|member| (member.clone(), all.clone())).collect(),
            until: now + PATIENCE,
        });
    }

    pub(super) fn held(&mut self, from: &Member, ids: &[Hash256]) {
        for waiting in &mut self.writes.waiting {
            // A member that joined since holds it as well as any.
            let all = || waiting.ids.iter().copied().collect();
            let missing = waiting.missing.entry(from.clone()).or_insert_with(all);
            for id in ids {
                missing.remove(id);
            }
        }
    }

    pub(super) fn settle_writes(&mut self, now: Time, out: &mut Vec<Output>) {
        let others = &self.others;
        let promised = others.len().min(2);
        self.writes.waiting.retain(|waiting| {
            // Who is not a member now may have it, but is not one of those that the promise speaks of.
            let holds = |member: &&Member| waiting.missing.get(*member).is_some_and(BTreeSet::is_empty);
            let holders = others.iter().filter(holds).count();
            let converged = holders >= promised;
            let wait = !converged && waiting.until > now;
            if !wait {
                out.push(Output::Written {
                    request: waiting.request,
                    ids: waiting.ids.clone(),
                    others: u32::try_from(holders).unwrap_or(u32::MAX),
                    converged,
                });
            }
            wait
        });
    }
}
