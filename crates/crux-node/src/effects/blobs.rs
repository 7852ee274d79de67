//! Files by the SHA-256 of their content: `<state>/pastiche/sha256/<hex>`. A file appears there whole and verified, or
//! not at all.

use crate::effects::EffectsError;
use crate::effects::journal::{disk_refuses, make_dir};
use crux_names::Hash256;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

/// Bytes moved at a time.
pub(super) const CHUNK: usize = 64 * 1024;

/// Why a file was not stored. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BlobError {
    /// The disk or the source failed.
    #[error("cannot store the file: {0}")]
    Io(#[from] io::Error),
    /// Its content is another one than announced.
    #[error("the content's SHA-256 is {got}, not {wanted}")]
    Wrong {
        /// What was announced.
        wanted: Hash256,
        /// What came.
        got: Hash256,
    },
    /// It is longer than allowed.
    #[error("the content is longer than {max} bytes")]
    TooLong {
        /// The limit.
        max: u64,
    },
}

/// The files that this fulcrum has. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Blobs {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    counter: AtomicU64,
    /// Who fetches what: one at a time per file.
    fetching: Mutex<BTreeMap<Hash256, Arc<tokio::sync::Mutex<()>>>>,
}

fn make_dirs(dir: &Path) -> io::Result<()> {
    make_dir(&dir.join("sha256")).and_then(|()| make_dir(&dir.join("part")))
}

impl Blobs {
    /// Opens the store in this directory, making it where missing. What was half added by an earlier life is removed,
    /// what was half fetched is kept to go on with.
    ///
    /// # Errors
    /// [`EffectsError`] if it cannot be made or listed. A disk that refuses is no error: the first file tries again.
    pub fn open(dir: &Path) -> Result<Self, EffectsError> {
        let fault = |what, path: PathBuf| move |source| EffectsError { what, path, source };
        let parts = dir.join("part");
        match make_dirs(dir).and_then(|()| std::fs::read_dir(&parts)) {
            Err(error) if disk_refuses(&error) => {}
            Err(error) => return Err(fault("make and list", dir.to_owned())(error)),
            Ok(entries) => {
                for entry in entries.flatten() {
                    if entry.file_name().to_string_lossy().starts_with("add-") {
                        let _ = std::fs::remove_file(entry.path());
                    }
                }
            }
        }
        let inner = Inner { dir: dir.to_owned(), counter: AtomicU64::new(0), fetching: Mutex::default() };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Where a file is, or would be.
    #[must_use]
    pub fn path(&self, hash: &Hash256) -> PathBuf {
        self.inner.dir.join("sha256").join(hash.to_string())
    }

    /// The size of a file in bytes, if it is here.
    #[must_use]
    pub fn has(&self, hash: &Hash256) -> Option<u64> {
        std::fs::metadata(self.path(hash)).ok().filter(std::fs::Metadata::is_file).map(|meta| meta.len())
    }

    /// Reads all of a file. Its size in bytes, if it is here and is what its name says; what is damaged is removed, so that
    /// it can be fetched again. Blocks.
    ///
    /// # Errors
    /// Of the disk.
    pub fn verify(&self, hash: &Hash256) -> io::Result<Option<u64>> {
        let mut file = match std::fs::File::open(self.path(hash)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let (mut hasher, mut size, mut buffer) = (Sha256::new(), 0, vec![0; CHUNK]);
        loop {
            let read = io::Read::read(&mut file, &mut buffer)?;
            if read == 0 {
                break;
            }
            hasher.update(&buffer[..read]);
            size += read as u64;
        }
        if Hash256(hasher.finalize().into()) == *hash {
            return Ok(Some(size));
        }
        self.discard(hash).map(|()| None)
    }

    /// Removes a file that was found damaged.
    ///
    /// # Errors
    /// Of the disk.
    pub(crate) fn discard(&self, hash: &Hash256) -> io::Result<()> {
        tracing::warn!(%hash, "a stored file is damaged and was removed; it will be fetched again when it is needed");
        self.remove(hash).map(|_| ())
    }

    /// Opens a file for reading. Whoever lets its content go to another node compares its hash.
    ///
    /// # Errors
    /// Of the disk; `NotFound` if it is not here.
    pub async fn read(&self, hash: &Hash256) -> io::Result<File> {
        File::open(self.path(hash)).await
    }

    /// Adds the content of a file. Returns its name and its size.
    ///
    /// # Errors
    /// [`BlobError`]; nothing is stored then.
    pub async fn add_file(&self, path: &Path) -> Result<(Hash256, u64), BlobError> {
        self.add_stream(File::open(path).await?, None, u64::MAX).await
    }

    /// Adds what the reader gives until its end, at most `max` bytes; with `wanted`, only if that is its SHA-256.
    /// Returns its name and its size. It is on disk when this returns.
    ///
    /// # Errors
    /// [`BlobError`]; nothing is stored then.
    pub async fn add_stream(
        &self,
        mut reader: impl AsyncRead + Unpin,
        wanted: Option<Hash256>,
        max: u64,
    ) -> Result<(Hash256, u64), BlobError> {
        let number = self.inner.counter.fetch_add(1, Ordering::Relaxed);
        let temporary = Temporary(self.inner.dir.join("part").join(format!("add-{number}")));
        make_dirs(&self.inner.dir)?;
        let mut file = File::create(&temporary.0).await?;
        let (mut hasher, mut size, mut buffer) = (Sha256::new(), 0_u64, vec![0; CHUNK]);
        loop {
            let n = reader.read(&mut buffer).await?;
            if n == 0 {
                break;
            }
            size += n as u64;
            if size > max {
                return Err(BlobError::TooLong { max });
            }
            hasher.update(&buffer[..n]);
            file.write_all(&buffer[..n]).await?;
        }
        let got = Hash256(hasher.finalize().into());
        if let Some(wanted) = wanted.filter(|wanted| *wanted != got) {
            return Err(BlobError::Wrong { wanted, got });
        }
        self.keep(&temporary.0, file, &got).await?;
        Ok((got, size))
    }

    /// All files with their sizes in bytes, by name.
    ///
    /// # Errors
    /// Of the disk.
    pub fn list(&self) -> io::Result<Vec<(Hash256, u64)>> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(self.inner.dir.join("sha256"))? {
            let entry = entry?;
            let Ok(hash) = entry.file_name().to_string_lossy().parse() else { continue };
            files.push((hash, entry.metadata()?.len()));
        }
        files.sort_unstable();
        Ok(files)
    }

    /// Removes a file. Whether it was here.
    ///
    /// # Errors
    /// Of the disk.
    pub fn remove(&self, hash: &Hash256) -> io::Result<bool> {
        match std::fs::remove_file(self.path(hash)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Where the beginning of a file is kept while it is fetched.
    pub(super) fn part(&self, hash: &Hash256) -> PathBuf {
        self.inner.dir.join("part").join(hash.to_string())
    }

    /// Gives a verified file its name, durably.
    pub(super) async fn keep(&self, temporary: &Path, mut file: File, hash: &Hash256) -> io::Result<()> {
        file.flush().await?;
        file.set_permissions(std::fs::Permissions::from_mode(0o444)).await?;
        file.sync_all().await?;
        let path = self.path(hash);
        tokio::fs::rename(temporary, &path).await?;
        File::open(self.inner.dir.join("sha256")).await?.sync_all().await
    }

    /// Waits until nobody else fetches this file.
    pub(super) async fn fetching(&self, hash: &Hash256) -> tokio::sync::OwnedMutexGuard<()> {
        let turn = {
            let mut fetching = self.inner.fetching.lock().unwrap_or_else(PoisonError::into_inner);
            fetching.retain(|_, turn| Arc::strong_count(turn) > 1);
            fetching.entry(*hash).or_default().clone()
        };
        turn.lock_owned().await
    }
}

/// Removed when it is dropped, unless it was renamed.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
