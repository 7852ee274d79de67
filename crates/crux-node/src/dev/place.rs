//! Where a dev cluster's files are, and the file by which commands of the same user find it.

use super::DevError;
use serde::{Deserialize, Serialize};
use std::fs::DirBuilder;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// What commands must know of a running dev cluster. JSON in [`dev_file`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DevFile {
    /// The process that holds the cluster.
    pub pid: u32,
    /// The cluster's directory.
    pub dir: PathBuf,
    /// The socket that takes faults.
    pub lab: PathBuf,
    /// The bundle of the cluster's operator.
    pub operator: PathBuf,
    /// Its fulcrums.
    pub nodes: Vec<DevNode>,
}

/// One fulcrum of a dev cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DevNode {
    /// `n1`.
    pub name: String,
    /// Its local socket.
    pub socket: PathBuf,
    /// Its mesh address.
    pub addr: String,
}

/// Where the dev cluster of this user is written down: in `$XDG_RUNTIME_DIR/crux`, else in a directory of this user's
/// under the system's temporary one.
#[must_use]
pub fn dev_file() -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty()) {
        Some(dir) => PathBuf::from(dir).join("crux").join("dev.json"),
        None => {
            let user = rustix::process::geteuid().as_raw();
            std::env::temp_dir().join(format!("crux-dev-{user}")).join("dev.json")
        }
    }
}

impl DevFile {
    /// The running dev cluster of this user; `None` if there is none. A file of a cluster that has ended, or of another
    /// user, counts as none.
    #[must_use]
    pub fn find() -> Option<Self> {
        let path = dev_file();
        let owner = path.metadata().ok()?.uid();
        if owner != rustix::process::geteuid().as_raw() {
            return None;
        }
        let found: Self = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
        std::os::unix::net::UnixStream::connect(&found.lab).is_ok().then_some(found)
    }

    /// Writes it for commands to find.
    pub(super) fn write(&self) -> Result<(), DevError> {
        let path = dev_file();
        let fault = |source| DevError::Io { what: "write", path: path.clone(), source };
        let dir = path.parent().unwrap_or(Path::new("/"));
        private_dir(dir).map_err(fault)?;
        if dir.metadata().map_err(fault)?.uid() != rustix::process::geteuid().as_raw() {
            return Err(fault(io::Error::other("its directory belongs to another user")));
        }
        let text = serde_json::to_vec_pretty(self).map_err(|error| fault(error.into()))?;
        // Replaced as a whole: a reader sees the old one or the new one.
        let fresh = path.with_extension(format!("{}", self.pid));
        let mut file = std::fs::File::options();
        let mut file = file.write(true).create(true).truncate(true).mode(0o600).open(&fresh).map_err(fault)?;
        file.write_all(&text).map_err(fault)?;
        std::fs::rename(&fresh, &path).map_err(fault)
    }

    /// Removes it, if it is still this one.
    pub(super) fn remove(&self) {
        let path = dev_file();
        let same = std::fs::read(&path).ok().and_then(|text| serde_json::from_slice::<Self>(&text).ok());
        if same.is_some_and(|same| same.pid == self.pid) {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Removes directories of dev clusters of this user that could not do so themselves: their process is gone.
fn remove_stale(temp: &Path) {
    let me = rustix::process::geteuid().as_raw();
    for entry in std::fs::read_dir(temp).into_iter().flatten().flatten() {
        let name = entry.file_name();
        // `crux-dev-PID-MOMENT`; without a moment it is the directory of the file by which commands find a cluster.
        let pid = name.to_str().and_then(|name| name.strip_prefix("crux-dev-")?.split_once('-')?.0.parse::<u32>().ok());
        let Some(pid) = pid else { continue };
        // Not followed: a link is not ours.
        let ours = std::fs::symlink_metadata(entry.path()).is_ok_and(|meta| meta.is_dir() && meta.uid() == me);
        let path = entry.path();
        if !ours || Path::new(&format!("/proc/{pid}")).exists() || in_use(&path) {
            continue;
        }
        match std::fs::remove_dir_all(&path) {
            Ok(()) => tracing::warn!("{} of a dev cluster that was killed is removed", path.display()),
            Err(error) => tracing::warn!("{} of a dev cluster that was killed stays: {error}", path.display()),
        }
    }
}

/// Whether something of the cluster still goes down there.
fn in_use(dir: &Path) -> bool {
    let serves = |socket: PathBuf| std::os::unix::net::UnixStream::connect(socket).is_ok();
    let nodes = std::fs::read_dir(dir).into_iter().flatten().flatten();
    serves(dir.join("lab.sock")) || nodes.map(|node| node.path().join("crux.sock")).any(serves)
}

fn private_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// The cluster's directory. A temporary one is removed when this is dropped.
pub(super) struct Place {
    dir: PathBuf,
    temporary: bool,
}

impl Place {
    /// Makes it.
    pub(super) fn make(keep: Option<PathBuf>) -> Result<Self, DevError> {
        let temporary = keep.is_none();
        let dir = match keep {
            Some(dir) => {
                std::path::absolute(&dir).map_err(|source| DevError::Io { what: "find", path: dir, source })?
            }
            None => std::env::temp_dir().join(format!("crux-dev-{}-{:x}", std::process::id(), crate::wall().0)),
        };
        if temporary {
            remove_stale(&std::env::temp_dir());
        }
        let fault = |source| DevError::Io { what: "make", path: dir.clone(), source };
        let builder = |recursive| DirBuilder::new().recursive(recursive).mode(0o700).create(&dir);
        // A temporary one must be new: its name could be guessed.
        builder(!temporary).map_err(fault)?;
        Ok(Self { dir, temporary })
    }

    /// The directory.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The socket that takes faults.
    pub(super) fn lab(&self) -> PathBuf {
        self.dir.join("lab.sock")
    }

    /// The operator's bundle.
    pub(super) fn operator(&self) -> PathBuf {
        self.dir.join("operator")
    }

    /// The CA, where the cluster is kept.
    pub(super) fn ca(&self) -> Option<PathBuf> {
        (!self.temporary).then(|| self.dir.join("ca"))
    }

    /// A node's bundle.
    pub(super) fn identity(&self, name: &str) -> PathBuf {
        self.dir.join("bundles").join(name)
    }

    /// A node's state.
    pub(super) fn state(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.lab());
        if self.temporary
            && let Err(error) = std::fs::remove_dir_all(&self.dir)
        {
            tracing::warn!("{} could not be removed: {error}", self.dir.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_of_clusters_that_are_gone_are_removed_and_no_others() {
        let temp = tempfile::tempdir().unwrap();
        let mut gone = std::process::Command::new("true").spawn().unwrap();
        let pid = gone.id();
        gone.wait().unwrap();
        let make = |name: String| {
            let path = temp.path().join(name);
            std::fs::create_dir_all(path.join("n1")).unwrap();
            path
        };
        let stale = make(format!("crux-dev-{pid}-1f"));
        let kept = [
            make(format!("crux-dev-{}-1f", std::process::id())),
            make(format!("crux-dev-{pid}")),
            make("crux-dev-x-1f".to_owned()),
            make(format!("other-{pid}-1f")),
        ];
        remove_stale(temp.path());
        assert!(!stale.exists());
        for path in kept {
            assert!(path.exists(), "{}", path.display());
        }
    }
}
