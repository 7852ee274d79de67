//! What the engine wants done to the world: processes, health checks, files. Outcomes go back only as reports.
//!
//! Everything lives under the state directory: `instances/<boot>-<counter>/` per instance (`journal.rs` says what is in
//! it), `pastiche/` for files by content, `ended/` for the log files of instances that were cleaned.

mod blobs;
mod checks;
mod descriptors;
mod fetch;
mod files;
pub(crate) mod fuzz;
mod hook;
mod journal;
mod logs;
mod picket;
mod processes;
mod sockets;
mod supervise;
mod telling;

pub use blobs::{BlobError, Blobs};
pub use fetch::{FetchError, Opener, Stream, fetch, serve};
pub use hook::hook_main;
pub use journal::Ending;
pub use logs::{Cursor, LogLine, LogStream, Logs};
pub use picket::kill_all_instances;
pub(crate) use picket::running_instances;
pub(crate) use sockets::Serve;
pub use supervise::supervise_main;

use crate::effects::journal::Home;
use crate::effects::picket::{Handle, Ports};
use crate::effects::sockets::Sockets;
use crux_core::io::{Effect, Ended, Kept, Report, Telling};
use crux_core::services::access::Entry;
use crux_core::services::instance::{Instance, InstanceId};
use crux_names::FulcrumId;
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{mpsc, watch};

/// The local door's name in the state directory.
pub(crate) const SOCKET: &str = "crux.sock";

/// What the effects need to know of this fulcrum.
#[derive(Clone)]
pub struct EffectsConfig {
    /// The state directory, taken for this process by [`crate::store::Store::open`].
    pub state: PathBuf,
    /// The program that answers to `supervise DIR` by [`supervise_main`] and to `demo`: crux itself.
    pub exe: PathBuf,
    /// This fulcrum.
    pub fulcrum: FulcrumId,
    /// Where the outcomes go. It is waited for when full, so that none is lost.
    pub reports: mpsc::Sender<Report>,
    /// Opens a stream to a member on which that member runs [`serve`].
    pub open: Opener,
    /// Where they are done: not where the mesh is, for disks and programs may hang.
    pub runtime: tokio::runtime::Handle,
}

/// What earlier lives of this fulcrum left.
#[derive(Clone, Debug, Default)]
pub struct Adoption {
    /// What still runs and is held again; for [`Report::Adopted`].
    pub instances: Vec<Instance>,
    /// What ended while no crux looked, each with how. The instance's phase is gone and its `why` says so in words.
    pub ended: Vec<(Instance, Ending)>,
    /// What those that run had been told of their hordes, as far as anything; for [`Report::Adopted`].
    pub told: Vec<Kept>,
    /// What people should know, each a sentence.
    pub warnings: Vec<String>,
}

impl Adoption {
    /// Of what ended, those of which it is known how; for [`Report::Adopted`]. The others are put away already.
    #[must_use]
    pub fn known_ends(&self) -> Vec<Ended> {
        let end = |(instance, ending): &(Instance, Ending)| match ending {
            Ending::Exited { code, signal } if ending.known() => {
                Some(Ended { instance: instance.clone(), code: *code, signal: *signal })
            }
            _ => None,
        };
        self.ended.iter().filter_map(end).collect()
    }
}

/// Why the effects cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} {path}: {source}")]
pub struct EffectsError {
    what: &'static str,
    path: PathBuf,
    source: std::io::Error,
}

/// The hands. Cheap to clone. Dropping all clones stops nothing: instances outlive crux.
#[derive(Clone)]
pub struct Effects {
    inner: Arc<Inner>,
}

struct Inner {
    config: EffectsConfig,
    blobs: Blobs,
    /// Every instance whose directory is here, by id: running, being started, or ended and not yet cleaned.
    instances: Mutex<BTreeMap<InstanceId, Handle>>,
    ports: Ports,
    sockets: Sockets,
}

impl Inner {
    fn instances(&self) -> MutexGuard<'_, BTreeMap<InstanceId, Handle>> {
        self.instances.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn home(&self, id: &InstanceId) -> Home {
        Home::of(&self.config.state, id)
    }
}

impl Effects {
    /// Makes the directories and takes back what earlier lives left running. Call it inside a tokio runtime, once.
    ///
    /// # Errors
    /// [`EffectsError`] if a directory below the state directory cannot be made or listed. A disk that refuses is a
    /// warning.
    pub async fn start(mut config: EffectsConfig) -> Result<(Self, Adoption), EffectsError> {
        let state = config.state.clone();
        journal::make_dir(&state)
            .and_then(|()| picket::absolute(&state))
            .map(|absolute| config.state = absolute)
            .map_err(|source| EffectsError { what: "make", path: state, source })?;
        let mut warnings = Vec::new();
        for name in ["instances", "ended"] {
            let path = config.state.join(name);
            match journal::make_dir(&path) {
                // Each start tries again.
                Err(error) if journal::disk_refuses(&error) => warnings.push(format!(
                    "cannot make {}: {error}; nothing can be started here until that is cured",
                    path.display()
                )),
                made => made.map_err(|source| EffectsError { what: "make", path, source })?,
            }
        }
        let blobs = Blobs::open(&config.state.join("pastiche"))?;
        let inner = Arc::new(Inner {
            config,
            blobs,
            instances: Mutex::default(),
            ports: Ports::default(),
            sockets: Sockets::default(),
        });
        let mut adoption = picket::adopt(&inner).await?;
        adoption.warnings.splice(..0, warnings);
        Ok((Self { inner }, adoption))
    }

    /// Begins an effect and returns at once. Each is answered by exactly the report that its documentation names.
    /// Effects for one instance happen in the order in which they are given.
    pub fn run(&self, effect: Effect) {
        let inner = &self.inner;
        // Disks and programs that hang must not hold up who asks.
        let _there = inner.config.runtime.enter();
        match effect {
            Effect::Start(spec) => picket::start(inner, spec),
            Effect::Stop { id, signal, grace } => picket::stop(inner, id, signal, grace),
            Effect::Clean { id } => picket::clean(inner, &id),
            Effect::Tell { id, telling } => picket::tell(inner, &id, telling),
            Effect::Hook { id, number, word, timeout } => picket::hook(inner, &id, number, word, timeout),
            Effect::Check { id, check, ports, deadline } => {
                let home = inner.home(&id);
                let reports = inner.config.reports.clone();
                tokio::spawn(async move {
                    let (ok, detail) = match checks::run(&home, &check, &ports, deadline).await {
                        Ok(detail) => (true, detail),
                        Err(detail) => (false, detail),
                    };
                    let _ = reports.send(Report::CheckDone { id, ok, detail }).await;
                });
            }
            Effect::Knock { deadline } => {
                let (door, reports) = (inner.config.state.join(SOCKET), inner.config.reports.clone());
                tokio::spawn(async move {
                    let result = checks::knock(&door, deadline).await;
                    let _ = reports.send(Report::Knocked { result }).await;
                });
            }
            Effect::Fetch { hash, size, from } => {
                let (blobs, open) = (inner.blobs.clone(), inner.config.open.clone());
                let reports = inner.config.reports.clone();
                tokio::spawn(async move {
                    let result = fetch(&blobs, hash, size, &from, &open).await.map_err(|error| error.to_string());
                    let _ = reports.send(Report::Fetched { hash, result }).await;
                });
            }
        }
    }

    /// From now on every instance's own socket is answered, those that were taken back first.
    pub(crate) fn serve_sockets(&self, serve: Serve) {
        let inner = &self.inner;
        let _there = inner.config.runtime.enter();
        inner.sockets.begin(serve);
        for (id, handle) in inner.instances().iter().filter(|(_, handle)| handle.lives()) {
            if let Err(error) = inner.sockets.open(&inner.home(id), id, handle.of()) {
                tracing::warn!(%id, %error, "its socket cannot be opened: it asks in vain until it is started again");
            }
        }
    }

    /// Nobody answers at instances' sockets any more.
    pub(crate) fn close_sockets(&self) {
        self.inner.sockets.end();
    }

    /// Remembers what an instance added to the register, for the next life. Blocks.
    pub(crate) fn remember(&self, id: &InstanceId, entry: &Entry) {
        if let Err(error) = self.inner.sockets.remember(&self.inner.home(id), id, entry) {
            tracing::warn!(%id, %error, "what it added to the register is forgotten when crux is restarted");
        }
    }

    /// What these instances, taken back from an earlier life, had added to the register.
    pub(crate) fn remembered(&self, instances: &[Instance]) -> Vec<Entry> {
        let of = |it: &Instance| sockets::remembered(&self.inner.home(&it.id), &it.id, &it.of);
        instances.iter().flat_map(of).collect()
    }

    /// The last words to an instance, and each that follows; `None` if it is not here. The words end when it does.
    #[must_use]
    pub fn words(&self, id: &InstanceId) -> Option<watch::Receiver<VecDeque<Telling>>> {
        self.inner.instances().get(id).filter(|handle| handle.lives()).map(|handle| handle.words.follow())
    }

    /// The files that this fulcrum has.
    #[must_use]
    pub fn blobs(&self) -> &Blobs {
        &self.inner.blobs
    }

    /// The log files of an instance, also after it was cleaned while they are kept; `None` if there are none.
    #[must_use]
    pub fn logs(&self, id: &InstanceId) -> Option<Logs> {
        let home = self.inner.home(id);
        [home.logs(), home.ended_logs(&self.inner.config.state)].into_iter().find(|dir| dir.is_dir()).map(Logs::new)
    }
}
