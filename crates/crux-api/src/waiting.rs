//! What a fulcrum waits for before it can answer anybody: a file where its socket will be, held by the process that waits.
//! Without it whoever asks would be told to start what runs already.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Beside the socket.
const NAME: &str = "waiting";
/// Most bytes of it that are read.
const MOST: u64 = 4_096;

/// The word of a process that waits. It counts for as long as this is held, and not after the process has died.
#[derive(Debug)]
pub struct Waiting {
    file: File,
    path: PathBuf,
}

impl Waiting {
    /// Says it in a directory, which is made if it is not there. Nothing if another process says it there, or the disk refuses:
    /// it only explains.
    #[must_use]
    pub fn say(dir: &Path, what: &str) -> Option<Self> {
        std::fs::create_dir_all(dir).ok()?;
        let path = dir.join(NAME);
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = open.ok()?;
        file.try_lock().ok()?;
        let mut waiting = Self { file, path };
        waiting.again(what);
        Some(waiting)
    }

    /// Says it in other words.
    pub fn again(&mut self, what: &str) {
        // A full disk must not stop who waits for a clock.
        let _ =
            self.file.set_len(0).and_then(|()| self.file.rewind()).and_then(|()| self.file.write_all(what.as_bytes()));
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// What the process waits for that is to open this socket; nothing if none waits.
#[must_use]
pub fn waits(socket: &Path) -> Option<String> {
    let file = File::open(socket.parent()?.join(NAME)).ok()?;
    // Whoever can lock it found a file that a dead process left.
    if !matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)) {
        return None;
    }
    let mut what = String::new();
    file.take(MOST).read_to_string(&mut what).ok()?;
    Some(what.chars().filter(|c| !c.is_control()).collect()).filter(|what: &String| !what.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_counts_while_its_process_waits_and_no_longer() {
        let dir = tempfile::tempdir().unwrap();
        let (state, socket) = (dir.path().join("state"), dir.path().join("state/crux.sock"));
        assert_eq!(waits(&socket), None);
        let mut waiting = Waiting::say(&state, "clock wrong: by two hours\n").unwrap();
        assert_eq!(waits(&socket).as_deref(), Some("clock wrong: by two hours"));
        assert!(Waiting::say(&state, "me too").is_none(), "one at a time");
        waiting.again("by one");
        assert_eq!(waits(&socket).as_deref(), Some("by one"));
        // As a process that was killed leaves it.
        std::fs::copy(state.join(NAME), dir.path().join("left")).unwrap();
        drop(waiting);
        assert_eq!(waits(&socket), None);
        std::fs::rename(dir.path().join("left"), state.join(NAME)).unwrap();
        assert_eq!(waits(&socket), None);
        assert!(Waiting::say(&state, "again").is_some());
    }
}
