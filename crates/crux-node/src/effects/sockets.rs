//! The sockets of instances: each has one in its directory that nobody but its user can open, named to it by `CRUX_SOCKET`.
//! That is the user of all other instances, too: one that means harm is kept out of another's socket by nothing.
//! What is answered there is the API's affair; here is only when it is open. It is bound again when an instance is taken
//! back after crux was away, and what the instance had added to the register is added again, for no program has to notice
//! that crux was restarted.

use super::journal::Home;
use crate::api;
use crux_core::services::access::{By, DOOR_BYTES, DOOR_ENTRIES, Entry};
use crux_core::services::instance::{InstanceId, ServiceRef};
use crux_names::Wall;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::net::UnixListener;
use tokio::task::AbortHandle;

/// The socket's name in the instance's directory.
const NAME: &str = "crux.sock";
/// What the instance added to the register, in its directory.
const ADDED: &str = "added.json";
/// Largest such file: what a door keeps, written as JSON.
const ADDED_MAX: u64 = 4 * DOOR_BYTES as u64;

/// Numbers of new files.
static FRESH: AtomicU64 = AtomicU64::new(0);

/// Answers at the socket of an instance of a service until the task is aborted.
pub(crate) type Serve = Arc<dyn Fn(UnixListener, InstanceId, ServiceRef) -> AbortHandle + Send + Sync>;

#[derive(Default)]
struct Open {
    serve: Option<Serve>,
    served: BTreeMap<InstanceId, AbortHandle>,
    /// Each is held while an instance's entries are read and written again, so that none is lost to another one.
    memories: BTreeMap<InstanceId, Arc<Mutex<()>>>,
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
        let mut open = self.lock();
        open.memories.remove(id);
        if let Some(served) = open.served.remove(id) {
            served.abort();
            // A left-over is replaced when it starts again.
            let _ = remove(home);
        }
    }

    /// Remembers an entry that an instance added, in its directory. Blocks, as long as others of its entries are written.
    pub(super) fn remember(&self, home: &Home, id: &InstanceId, entry: &Entry) -> io::Result<()> {
        let memory = self.lock().memories.entry(id.clone()).or_default().clone();
        let _alone = memory.lock().unwrap_or_else(PoisonError::into_inner);
        remember(home, entry)
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
    // The instance may lay anything in its directory: a link leads elsewhere, and a pipe would be waited for.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(home.0.join(ADDED));
    let Ok(file) = file.and_then(|file| Ok(file.metadata()?.is_file().then_some(file))) else { return Vec::new() };
    let mut text = Vec::new();
    match file.map(|file| file.take(ADDED_MAX).read_to_end(&mut text)) {
        Some(Ok(_)) => read_text(&text),
        _ => Vec::new(),
    }
}

fn read_text(text: &[u8]) -> Vec<Added> {
    let mut all: Vec<Added> = serde_json::from_slice(text).unwrap_or_default();
    all.truncate(DOOR_ENTRIES);
    all
}

fn remember(home: &Home, entry: &Entry) -> io::Result<()> {
    let mut all = read(home);
    let Entry { name, addrs, labels, .. } = entry.clone();
    let added = Added { name, addrs, labels };
    match all.iter_mut().find(|old| old.name == added.name) {
        Some(old) if *old == added => return Ok(()),
        Some(old) => *old = added,
        None => all.push(added),
    }
    let fresh = home.0.join(format!("{ADDED}.{}.{}", std::process::id(), FRESH.fetch_add(1, Relaxed)));
    // A new file under a name of its own: what lies there already, a link among it, is not written to.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    let written = file.write_all(&serde_json::to_vec(&all)?).and_then(|()| std::fs::rename(&fresh, home.0.join(ADDED)));
    if written.is_err() {
        // It is in nobody's way, and goes with the directory at the latest.
        let _ = std::fs::remove_file(&fresh);
    }
    written
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn home() -> (tempfile::TempDir, Home, InstanceId) {
        let dir = tempfile::tempdir().unwrap();
        let home = Home(dir.path().to_owned());
        (dir, home, "n1:1:1".parse().unwrap())
    }

    fn entry(number: usize) -> Entry {
        Entry {
            of: of(),
            name: format!("e{number}"),
            addrs: vec![format!("10.0.0.7:{number}")],
            labels: BTreeMap::new(),
            by: By::Instance("n1:1:1".parse().unwrap()),
            since: Wall(0),
        }
    }

    fn of() -> ServiceRef {
        ServiceRef { horde: "web".parse().unwrap(), service: "api".parse().unwrap() }
    }

    #[test]
    fn what_an_instance_adds_all_at_once_is_all_remembered() {
        let ((_dir, home, id), sockets) = (home(), Sockets::default());
        std::thread::scope(|scope| {
            for number in 0..64 {
                let (sockets, home, id) = (&sockets, &home, &id);
                scope.spawn(move || sockets.remember(home, id, &entry(number)).unwrap());
            }
        });
        let names: BTreeSet<String> = remembered(&home, &id, &of()).into_iter().map(|entry| entry.name).collect();
        assert_eq!(names, (0..64).map(|number| format!("e{number}")).collect());
        let left: Vec<_> = std::fs::read_dir(&home.0).unwrap().map(|file| file.unwrap().file_name()).collect();
        assert_eq!(left, [ADDED], "nothing else is left behind");
    }

    #[test]
    fn what_an_instance_lays_there_is_not_followed_or_waited_for() {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        let ((dir, home, id), sockets) = (home(), Sockets::default());
        let (elsewhere, added) = (dir.path().join("elsewhere"), home.0.join(ADDED));
        std::fs::write(&elsewhere, r#"[{"name":"x","addrs":["a"],"labels":{}}]"#).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &added).unwrap();
        assert!(remembered(&home, &id, &of()).is_empty(), "a link");
        sockets.remember(&home, &id, &entry(1)).unwrap();
        assert!(std::fs::read_to_string(&elsewhere).unwrap().contains("\"x\""), "it is not written through");
        assert_eq!(remembered(&home, &id, &of()).len(), 1);
        std::fs::remove_file(&added).unwrap();
        mknodat(CWD, &added, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        assert!(remembered(&home, &id, &of()).is_empty(), "a pipe");
        sockets.remember(&home, &id, &entry(2)).unwrap();
        assert_eq!(remembered(&home, &id, &of())[0].name, "e2");
    }
}
