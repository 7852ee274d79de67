//! The fulcrum's own disk: fact versions as received, the boot counter and the address book, in one file.
//!
//! One thread writes. What waits is committed together, and a result is given only after the fsync. When the disk
//! refuses (full, I/O error, read-only), writes are refused with its reason, reads go on, and the next write tries
//! again from a fresh open, so that the fulcrum recovers without a restart. A file that is damaged or another
//! fulcrum's never stops a start: it is set aside by name and an empty one is made, to be filled from peers.
//!
//! While it is open, the file is looked for under its name after each commit and every second. Where it is gone (removed, or
//! another file system lies over it) the store begins anew in a new one and says so, for what was durable is not there.

mod disk;
mod lock;
mod noting;
mod writer;

use crate::store::disk::Disk;
pub(crate) use crate::store::disk::{fuzz_book_row, fuzz_book_rows};
use crate::store::lock::StateLock;
use crate::store::writer::{Job, Writer};
use bytes::Bytes;
use crux_core::io::BookEntry;
use crux_names::{BlocName, Boot, FulcrumId, Hash256};
use std::path::{Path, PathBuf};
use std::sync::mpsc;

/// Why a state directory cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another crux process has it.
    #[error(
        "state directory {dir} is in use by process {pid}: stop that process, or give this fulcrum its own with --state"
    )]
    InUse {
        /// The directory.
        dir: PathBuf,
        /// The holder's process id as it wrote it down; 0 if it had not yet.
        pid: u32,
    },
    /// The directory or a file of it cannot be made, opened or moved.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The store cannot serve this request now.
    #[error("the store refuses: {0}")]
    Refused(String),
}

/// How the opening went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// What people should know: a file was set aside, the disk refuses. Each is a sentence.
    pub warnings: Vec<String>,
}

/// Whether writes are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreStatus {
    /// The last write succeeded.
    Ok,
    /// The last write failed; the next one tries again.
    Refusing {
        /// The disk's reason.
        reason: String,
    },
}

/// A fulcrum's store. Dropping it writes what waits, closes the file and frees the state directory.
#[derive(Debug)]
pub struct Store {
    // Before the lock: the writer must have ended when the directory is freed.
    writer: Writer,
    _lock: StateLock,
}

impl Store {
    /// Opens `<dir>/facts.redb`, making directory (mode 0700) and file (0600) where missing, and takes the directory
    /// for this process.
    ///
    /// A damaged file, or one of another bloc, fulcrum or format, is renamed to `facts.redb.<why>-<unix seconds>` and
    /// replaced by an empty one, with a warning. A disk that refuses is a warning too.
    ///
    /// # Errors
    /// [`StoreError::InUse`] if another process has the directory; [`StoreError::Io`] if the directory cannot be
    /// made or locked, or a bad file cannot be set aside.
    pub fn open(dir: &Path, bloc: &BlocName, fulcrum: &FulcrumId) -> Result<(Self, Opened), StoreError> {
        let lock = StateLock::take(dir)?;
        let (disk, warnings) = Disk::open(dir.join("facts.redb"), bloc, fulcrum)?;
        Ok((Self { writer: Writer::start(disk), _lock: lock }, Opened { warnings }))
    }

    /// Makes these sealed versions durable under their ids and removes those that are dropped, all or none.
    /// `done` is called with `token` and the result from the writer's thread after the fsync; it must not block.
    pub fn persist(
        &self,
        token: u64,
        versions: Vec<(Hash256, Bytes)>,
        drop: Vec<Hash256>,
        done: impl FnOnce(u64, Result<(), String>) + Send + 'static,
    ) {
        self.writer.send(Job::Persist { versions, drop, done: Box::new(move |result| done(token, result)) });
    }

    /// Whom to tell that the store began anew while it was open: its file was removed, replaced or found damaged, and nothing
    /// of what was made durable before counts as stored. Called from the writer's thread before any result that rests on
    /// the new file, so it must not block for long.
    pub fn on_anew(&self, told: impl Fn() + Send + 'static) {
        self.writer.send(Job::OnAnew(Box::new(told)));
    }

    /// All sealed versions, as they were stored. Their signatures are still to be checked.
    ///
    /// # Errors
    /// [`StoreError::Refused`] with the disk's reason.
    pub fn load(&self) -> Result<Vec<Bytes>, StoreError> {
        self.ask(Job::Load)
    }

    /// The number of this life: the largest of the last one + 1, `now_unix` in seconds, and `floor`. It is on disk
    /// when this returns, unless the disk refuses, which is logged: then the clock alone keeps it rising.
    #[must_use]
    pub fn next_boot(&self, now_unix: u64, floor: Boot) -> Boot {
        match self.ask(|reply| Job::NextBoot { at_least: now_unix.max(floor.0), reply }) {
            Ok(boot) => Boot(boot),
            Err(error) => {
                tracing::warn!(%error, "the boot number is not on disk; it comes from the clock alone");
                Boot(now_unix.max(floor.0))
            }
        }
    }

    /// Replaces the address book. Not waited for: an old one only costs a longer search.
    pub fn save_book(&self, entries: Vec<BookEntry>) {
        self.writer.send(Job::SaveBook(entries));
    }

    /// The address book; entries that this version cannot read are left out, with a warning in the log.
    ///
    /// # Errors
    /// [`StoreError::Refused`] with the disk's reason.
    pub fn load_book(&self) -> Result<Vec<BookEntry>, StoreError> {
        self.ask(Job::LoadBook)
    }

    /// Whether writes are taken, and why not.
    #[must_use]
    pub fn status(&self) -> StoreStatus {
        self.writer.status()
    }

    /// How many commits, each with its fsync, this process has made: fewer than writes under load.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.writer.commits()
    }

    fn ask<T>(&self, job: impl FnOnce(mpsc::SyncSender<Result<T, String>>) -> Job) -> Result<T, StoreError> {
        let (reply, answer) = mpsc::sync_channel(1);
        self.writer.send(job(reply));
        answer.recv().unwrap_or_else(|_| Err("its thread has ended".into())).map_err(StoreError::Refused)
    }
}
