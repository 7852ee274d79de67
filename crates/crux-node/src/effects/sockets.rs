//! The sockets of instances: each has one in its directory that nobody but its user can open, named to it by `CRUX_SOCKET`.
//! What is answered there is the API's affair; here is only when it is open. It is bound again when an instance is taken
//! back after crux was away, and what the instance had added to the register is added again, for no program has to notice
//! that crux was restarted.

use super::journal::Home;
use crate::api;
use crux_core::services::access::{By, DOOR_BYTES, DOOR_ENTRIES, Entry};
use crux_core::services::instance::{InstanceId, ServiceRef};
use crux_names::Wall;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::net::UnixListener;
use tokio::task::AbortHandle;

/// The socket's name in the instance's directory.
const NAME: &str = "crux.sock";
/// What the instance added to the register, in its directory.
const ADDED: &str = "added.json";
/// Largest such file: what a door keeps, written as JSON.
const ADDED_MAX: u64 = 4 * DOOR_BYTES as u64;

/// Answers at the socket of an instance of a service until the task is aborted.
pub(crate) type Serve = Arc<dyn Fn(UnixListener, InstanceId, ServiceRef) -> AbortHandle + Send + Sync>;

#[derive(Default)]
struct Open {
    serve: Option<Serve>,
    served: BTreeMap<InstanceId, AbortHandle>,
}

/// The sockets that are open.
#[derive(Clone, Default)]
pub(super) struct Sockets(Arc<Mutex<Open>>);

impl Sockets {
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on sockets are answered.
    pub(super) fn begin(&self, serve: Serve) {
        self.lock().serve = Some(serve);
    }

    /// Opens an instance's socket, in the place of one that an earlier life left. Nothing before [`Sockets::begin`]. Call it
    /// inside a tokio runtime.
    pub(super) fn open(&self, home: &Home, id: &InstanceId, of: &ServiceRef) -> io::Result<()> {
        let mut open = self.lock();
        let Some(serve) = open.serve.clone() else { return Ok(()) };
        remove(home)?;
        // By way of the open directory: socket paths are short, state directories need not be.
        let dir = File::open(&home.0)?;
        let listener = api::private(format!("/proc/self/fd/{}/{NAME}", dir.as_raw_fd()).as_ref())?;
        if let Some(old) = open.served.insert(id.clone(), serve(listener, id.clone(), of.clone())) {
            old.abort();
        }
        Ok(())
    }

    /// Closes the socket of an instance that has ended.
    pub(super) fn close(&self, home: &Home, id: &InstanceId) {
        if let Some(served) = self.lock().served.remove(id) {
            served.abort();
            // A left-over is replaced when it starts again.
            let _ = remove(home);
        }
    }

    /// Nobody answers at any of them any more; the instances go on.
    pub(super) fn end(&self) {
        let mut open = self.lock();
        open.serve = None;
        std::mem::take(&mut open.served).into_values().for_each(|served| served.abort());
    }
}

fn remove(home: &Home) -> io::Result<()> {
    match std::fs::remove_file(home.0.join(NAME)) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// What `CRUX_SOCKET` says: the whole path, or where that is longer than the system allows, the one from the instance's
/// working directory.
pub(super) fn named(home: &Home) -> String {
    let path: PathBuf = home.0.join(NAME);
    if path.as_os_str().len() <= api::PATH_MAX { path.to_string_lossy().into_owned() } else { format!("../{NAME}") }
}

/// One entry as an instance's directory keeps it; service and adder follow from the instance.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Added {
    name: String,
    addrs: Vec<String>,
    labels: BTreeMap<String, String>,
}

fn read(home: &Home) -> Vec<Added> {
    let mut text = Vec::new();
    match File::open(home.0.join(ADDED)).and_then(|file| file.take(ADDED_MAX).read_to_end(&mut text)) {
        Ok(_) => read_text(&text),
        Err(_) => Vec::new(),
    }
}

fn read_text(text: &[u8]) -> Vec<Added> {
    let mut all: Vec<Added> = serde_json::from_slice(text).unwrap_or_default();
    all.truncate(DOOR_ENTRIES);
    all
}

/// Remembers an entry that an instance added, in its directory. Blocks.
pub(super) fn remember(home: &Home, entry: &Entry) -> io::Result<()> {
    let mut all = read(home);
    let Entry { name, addrs, labels, .. } = entry.clone();
    let added = Added { name, addrs, labels };
    match all.iter_mut().find(|old| old.name == added.name) {
        Some(old) if *old == added => return Ok(()),
        Some(old) => *old = added,
        None => all.push(added),
    }
    let fresh = home.0.join(format!("{ADDED}.new"));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(&serde_json::to_vec(&all)?)?;
    std::fs::rename(fresh, home.0.join(ADDED))
}

/// What an instance had added. It could have written there itself, so it is judged like anything that it adds.
pub(super) fn remembered(home: &Home, id: &InstanceId, of: &ServiceRef) -> Vec<Entry> {
    entries(read(home), id, of)
}

fn entries(added: Vec<Added>, id: &InstanceId, of: &ServiceRef) -> Vec<Entry> {
    let entry = |added: Added| Entry {
        of: of.clone(),
        name: added.name,
        addrs: added.addrs,
        labels: added.labels,
        by: By::Instance(id.clone()),
        since: Wall(0),
    };
    added.into_iter().map(entry).filter(|entry| entry.check().is_ok()).collect()
}

/// The next run of an instance adds what it has.
pub(super) fn forget(home: &Home) -> io::Result<()> {
    match std::fs::remove_file(home.0.join(ADDED)) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Door of the fuzz target: what such a file says is within the bounds of the register, whatever it says.
pub(super) fn fuzz(text: &[u8]) {
    let (Ok(id), Ok(horde), Ok(service)) = ("n1:1:1".parse(), "web".parse(), "api".parse()) else { return };
    for entry in entries(read_text(text), &id, &ServiceRef { horde, service }) {
        assert!(entry.check().is_ok(), "{entry:?}");
    }
}
