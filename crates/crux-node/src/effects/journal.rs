//! The directory of one instance and its journal.
//!
//! | name | what |
//! |---|---|
//! | `journal` | one JSON entry a line, each synced before what follows it happens: intent, started, ended |
//! | `lock` | held by the supervisor as long as it lives; its content says who that is |
//! | `sup.sock` | where the supervisor listens |
//! | `crux.sock` | the instance's own socket, where crux listens |
//! | `added.json` | what the instance added to the register |
//! | `told.json` | what the instance was told last of its horde, for its hooks and for the next life of crux |
//! | `hook.json` | its last hook |
//! | `log/` | the instance's output, rotated |
//! | `root/` | the instance's working directory, with its files |
//!
//! A torn last line is an entry that never happened. The journal is appended to by crux until the supervisor holds the
//! lock, then by the supervisor alone, then, once the lock is free, by crux again.

use crate::effects::processes::ProcessId;
use crux_core::services::instance::{Instance, InstanceId, Phase, ServiceRef};
use crux_names::Wall;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// A journal is three short entries; a longer file is damaged.
const JOURNAL_MAX: u64 = 1024 * 1024;

/// What is to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Intent {
    pub(super) id: String,
    pub(super) horde: String,
    pub(super) service: String,
    pub(super) slot: u32,
    pub(super) revision: String,
    pub(super) restarts: u32,
    pub(super) ports: BTreeMap<String, u16>,
    pub(super) command: Vec<String>,
    /// What is run when it is told something of its horde, by the word.
    #[serde(default)]
    pub(super) hooks: BTreeMap<String, Vec<String>>,
    /// The whole environment: nothing else is in it.
    pub(super) env: BTreeMap<String, String>,
}

/// How an instance ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// Its process ended, and nothing of its tree is left.
    Exited {
        /// Its exit code, unless a signal ended it.
        code: Option<i32>,
        /// The signal that ended it.
        signal: Option<i32>,
    },
    /// Its process could not be made.
    Failed {
        /// Why, for people.
        why: String,
    },
    /// Its supervisor ended first, by a kill or with the machine: how its process ended is not known. Nothing of it
    /// is left.
    Lost,
}

impl Ending {
    /// Whether it is known how the process itself ended.
    #[must_use]
    pub const fn known(&self) -> bool {
        matches!(self, Self::Exited { code: Some(_), .. } | Self::Exited { signal: Some(_), .. })
    }
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exited { code: Some(code), .. } => write!(f, "exit code {code}"),
            Self::Exited { signal: Some(signal), .. } => write!(f, "ended by signal {signal}"),
            Self::Exited { .. } | Self::Lost => f.write_str("ended with its supervisor or its machine"),
            Self::Failed { why } => write!(f, "not started: {why}"),
        }
    }
}

/// The process runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Started {
    pub(super) process: ProcessId,
    /// Microseconds since the Unix epoch.
    pub(super) at: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Entry {
    Intent(Intent),
    Started(Started),
    Ended(Ending),
}

/// What a journal says as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) intent: Option<Intent>,
    pub(super) started: Option<Started>,
    pub(super) ended: Option<Ending>,
}

/// The directory of one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Home(pub(super) PathBuf);

impl Home {
    /// The fulcrum is known from the state directory, so the name is short.
    pub(super) fn of(state: &Path, id: &InstanceId) -> Self {
        Self(state.join("instances").join(format!("{}-{}", id.boot, id.counter)))
    }

    pub(super) fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }

    pub(super) fn logs(&self) -> PathBuf {
        self.0.join("log")
    }

    pub(super) fn root(&self) -> PathBuf {
        self.0.join("root")
    }

    /// Where its log files go when it is cleaned.
    pub(super) fn ended_logs(&self, state: &Path) -> PathBuf {
        state.join("ended").join(self.0.file_name().unwrap_or_default())
    }

    /// Appends an entry and syncs it. What it announces may happen once this has returned.
    pub(super) fn append(&self, entry: &Entry) -> io::Result<()> {
        let path = self.0.join("journal");
        let mut file = OpenOptions::new().create(true).read(true).append(true).mode(0o600).open(path)?;
        let mut line = Vec::new();
        // A torn line before this one must not swallow it.
        if file.seek(SeekFrom::End(0))? > 0 {
            file.seek(SeekFrom::End(-1))?;
            let mut last = [0];
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                line.push(b'\n');
            }
        }
        serde_json::to_writer(&mut line, entry)?;
        line.push(b'\n');
        file.write_all(&line)?;
        file.sync_all()?;
        if matches!(entry, Entry::Intent(_)) {
            File::open(&self.0)?.sync_all()?;
        }
        Ok(())
    }

    /// Reads the journal. Lines that say nothing are passed over.
    pub(super) fn read(&self) -> io::Result<Record> {
        let mut text = Vec::new();
        File::open(self.0.join("journal"))?.take(JOURNAL_MAX).read_to_end(&mut text)?;
        Ok(Record::of(&text))
    }
}

impl Record {
    /// What a journal with this text says.
    pub(super) fn of(text: &[u8]) -> Self {
        let mut record = Self::default();
        for line in text.split(|byte| *byte == b'\n') {
            match serde_json::from_slice(line) {
                Ok(Entry::Intent(intent)) => record.intent = Some(intent),
                Ok(Entry::Started(started)) => record.started = Some(started),
                Ok(Entry::Ended(ended)) => record.ended = Some(ended),
                Err(_) => {}
            }
        }
        record
    }

    /// The instance as the engine knows it; `None` if the journal does not say which one it is.
    pub(super) fn instance(&self) -> Option<Instance> {
        let intent = self.intent.as_ref()?;
        let of = ServiceRef { horde: intent.horde.parse().ok()?, service: intent.service.parse().ok()? };
        let (phase, why) = match (&self.ended, &self.started) {
            (Some(ended), _) => (Phase::Gone, ended.to_string()),
            (None, Some(_)) => (Phase::Running, String::new()),
            (None, None) => (Phase::Starting, String::new()),
        };
        let running = self.started.as_ref().filter(|_| self.ended.is_none());
        Some(Instance {
            id: intent.id.parse().ok()?,
            of,
            slot: intent.slot,
            revision: intent.revision.parse().ok()?,
            phase,
            pid: running.map(|started| started.process.pid),
            started: self.started.as_ref().map(|started| Wall(started.at)),
            ports: intent.ports.clone(),
            restarts: intent.restarts,
            why,
            hook: String::new(),
        })
    }
}

/// A private directory; it may be there.
pub(super) fn make_dir(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Whether the disk takes nothing now, though what was asked of it is right.
pub(super) fn disk_refuses(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | ReadOnlyFilesystem)
        || error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
}

/// Microseconds since the Unix epoch, by the wall clock: for people.
pub(super) fn wall_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}
