//! The file under the database, and what to do when a sync of it failed.

use redb::{BackendError, StorageBackend};
use std::io;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How much is written at once when a whole file is.
const PIECE_BYTES: usize = 256 * 1024;

/// The file under redb. It notes a sync that fails: what was written before it is lost for some systems, which forget that
/// it has to be written and go on showing it. What is built on that would fall with the power.
#[derive(Debug)]
pub(super) struct Noting<B> {
    pub(super) file: B,
    pub(super) doubtful: Arc<AtomicBool>,
}

impl<B: StorageBackend> Noting<B> {
    /// Writes all that is shown once more, in place, and syncs. If it is cut short, all of it is either as before or as shown;
    /// redb's two slots make that one of two states, as if the first try had been cut short.
    pub(super) fn settle(&self) -> Result<(), io::Error> {
        let (mut at, len) = (0, self.file.len()?);
        let mut piece = vec![0; PIECE_BYTES];
        while at < len {
            let size = usize::try_from(len - at).map_or(PIECE_BYTES, |rest| rest.min(PIECE_BYTES));
            self.file.read(at, &mut piece[..size])?;
            self.file.write(at, &piece[..size])?;
            at += size as u64;
        }
        self.file.sync_data()?;
        self.doubtful.store(false, Ordering::Relaxed);
        Ok(())
    }
}

impl<B: StorageBackend> StorageBackend for Noting<B> {
    fn len(&self) -> Result<u64, io::Error> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.file.sync_data().inspect_err(|_| self.doubtful.store(true, Ordering::Relaxed))
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.file.write(offset, data)
    }

    fn close(&self) -> Result<(), io::Error> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }
}
