//! The local door: sockets that only their owner can open.

use rustix::fs::{Mode, chmod};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
use std::io;
use std::os::unix::net::{UnixListener as StdListener, UnixStream};
use std::path::{Path, PathBuf};
use thiserror::Error;
use tokio::net::UnixListener;

/// Longest path of a Unix socket on Linux (unix(7): 108 bytes with the closing zero).
pub(crate) const PATH_MAX: usize = 107;

/// Why a local socket cannot be opened.
#[derive(Debug, Error)]
pub enum SocketError {
    /// The path does not fit into a socket address.
    #[error("the socket path {path:?} has {len} bytes, and the system allows {PATH_MAX}; choose a shorter --state")]
    TooLong {
        /// The path.
        path: PathBuf,
        /// Its length in bytes.
        len: usize,
    },
    /// Another process listens there.
    #[error("another process answers at {path:?}; stop it (`crux --at {} down`) or choose another --state", path.display())]
    Busy {
        /// The path.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot open the socket {path:?}: {source}; check the directory's owner and free space")]
    Io {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Opens a socket of mode 0600. The mode is set between bind and listen, so nobody else can connect even for a moment.
/// A socket file that nobody answers at is left over and is replaced.
///
/// # Errors
/// [`SocketError`] with the path.
pub(crate) fn open(path: &Path) -> Result<UnixListener, SocketError> {
    let len = path.as_os_str().len();
    if len > PATH_MAX {
        return Err(SocketError::TooLong { path: path.into(), len });
    }
    let io = |source: io::Error| SocketError::Io { path: path.into(), source };
    if path.exists() {
        if UnixStream::connect(path).is_ok() {
            return Err(SocketError::Busy { path: path.into() });
        }
        std::fs::remove_file(path).map_err(io)?;
    }
    private(path).map_err(io)
}

/// A socket of mode 0600 at a path where nothing is. Call it inside a tokio runtime.
pub(crate) fn private(path: &Path) -> io::Result<UnixListener> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    chmod(path, Mode::RUSR | Mode::WUSR)?;
    listen(&socket, 128)?;
    UnixListener::from_std(StdListener::from(socket))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[tokio::test]
    async fn only_the_owner_can_open_it_and_a_left_over_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("crux.sock");
        let first = open(&path).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(open(&path), Err(SocketError::Busy { .. })));
        drop(first);
        open(&path).unwrap();
    }

    #[tokio::test]
    async fn a_long_path_is_named_with_what_to_do() {
        let path = Path::new("/tmp").join("x".repeat(120)).join("crux.sock");
        let error = open(&path).unwrap_err().to_string();
        assert!(error.contains("shorter --state"), "{error}");
    }
}
