//! The database file: opening, setting aside, and the transactions. Everything here blocks.

use crate::store::StoreError;
use crate::store::noting::Noting;
use bytes::Bytes;
use crux_core::io::BookEntry;
use crux_names::{BlocName, FulcrumId, Hash256, Wall};
use prost::Message;
use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition};
use std::fs::{File, Metadata, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// The form of the tables below. A file of another form is set aside, never guessed at.
const FORMAT: &str = "1";
const META: TableDefinition<'_, &str, &str> = TableDefinition::new("meta");
const FACTS: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("facts");
const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("numbers");
const BOOK: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("book");
/// Facts live in memory; the cache only serves starts and commits, and the system has the file's pages too.
const CACHE_BYTES: usize = 2 * 1024 * 1024;
/// With less than this free, a disk that refused a write for want of room is not taken as well again.
const ROOM_BYTES: u64 = 64 * 1024;

#[derive(Clone, PartialEq, Message)]
struct BookRow {
    #[prost(string, tag = "1")]
    addr: String,
    #[prost(uint64, tag = "2")]
    seen: u64,
}

fn book_entry(fulcrum: &str, row: &[u8]) -> Option<BookEntry> {
    let row = BookRow::decode(row).ok()?;
    Some(BookEntry { fulcrum: fulcrum.parse().ok()?, addr: row.addr.parse().ok()?, seen: Wall(row.seen) })
}

/// For the fuzz targets: good rows of the address book.
pub(crate) fn fuzz_book_rows() -> Vec<Vec<u8>> {
    let rows = ["10.0.0.1:2789", "[2001:db8::1%3]:9"].map(|addr| BookRow { addr: addr.to_owned(), seen: 7 });
    rows.iter().map(Message::encode_to_vec).collect()
}

/// For the fuzz targets: a row of the address book, written as it was read.
pub(crate) fn fuzz_book_row(data: &[u8]) {
    let Some(entry) = book_entry("n1/b", data) else { return };
    let row = BookRow { addr: entry.addr.to_string(), seen: entry.seen.0 };
    assert_eq!(book_entry("n1/b", &row.encode_to_vec()), Some(entry));
}

/// What a file on disk turned out to be.
enum Fault {
    /// The disk refuses: the file may be perfectly good.
    Refuses(String),
    /// This file is of no use here: the word for its new name, and why.
    Unusable(&'static str, String),
}

impl<E: Into<redb::Error>> From<E> for Fault {
    fn from(error: E) -> Self {
        match error.into() {
            redb::Error::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                Self::Unusable("damaged", error.to_string())
            }
            redb::Error::Io(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                Self::Unusable("damaged", error.to_string())
            }
            error @ redb::Error::Corrupted(_) => Self::Unusable("damaged", error.to_string()),
            error @ (redb::Error::TableTypeMismatch { .. }
            | redb::Error::TypeDefinitionChanged { .. }
            | redb::Error::TableIsMultimap(_)
            | redb::Error::UpgradeRequired(_)) => Self::Unusable("other-format", error.to_string()),
            error => Self::Refuses(error.to_string()),
        }
    }
}

impl Fault {
    fn text(self) -> String {
        match self {
            Self::Refuses(why) | Self::Unusable(_, why) => why,
        }
    }
}

/// The file and whose it is. After any fault the handle is let go, for redb keeps none that has failed once; the next
/// write opens the file again.
#[derive(Debug)]
pub(super) struct Disk {
    path: PathBuf,
    bloc: String,
    fulcrum: String,
    db: Option<Database>,
    /// Why the last write failed.
    refusal: Option<String>,
    /// A sync failed: the file may not be what the system shows of it.
    doubtful: Arc<AtomicBool>,
    /// Which file has what was committed.
    home: Option<FileId>,
    /// Another file has taken its place and nobody was told yet.
    anew: bool,
    /// Another file has taken its place and lacks what follows.
    bare: bool,
    /// The number of this life, and the address book as it was written last.
    boot: Option<u64>,
    book: Option<Vec<BookEntry>>,
}

/// A file on this machine: device and inode.
type FileId = (u64, u64);

fn file_id(meta: &Metadata) -> FileId {
    (meta.dev(), meta.ino())
}

/// How often one commit begins anew at most: whoever replaces the file faster than that gets no writes acknowledged.
const ANEW: usize = 3;

/// One transaction's worth of work.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) versions: Vec<(Hash256, Bytes)>,
    pub(super) drop: Vec<Hash256>,
    pub(super) book: Option<Vec<BookEntry>>,
    /// The number of this life.
    pub(super) boot: Option<u64>,
}

impl Disk {
    /// Opens the file, or an empty one in place of a bad one. A disk that refuses is a warning.
    pub(super) fn open(path: PathBuf, bloc: &BlocName, fulcrum: &FulcrumId) -> Result<(Self, Vec<String>), StoreError> {
        let mut disk = Self {
            path,
            bloc: bloc.to_string(),
            fulcrum: fulcrum.to_string(),
            db: None,
            refusal: None,
            doubtful: Arc::default(),
            home: None,
            anew: false,
            bare: false,
            boot: None,
            book: None,
        };
        let mut warnings = Vec::new();
        if let Err(fault) = disk.ready() {
            match fault {
                Fault::Refuses(why) => disk.refuse(&mut warnings, why),
                Fault::Unusable(word, why) => {
                    let aside = set_aside(&disk.path, word)?;
                    warnings.push(format!(
                        "{} was set aside as {}: {why}; starting empty, facts come from peers",
                        disk.path.display(),
                        aside.display()
                    ));
                    if let Err(fault) = disk.ready() {
                        disk.refuse(&mut warnings, fault.text());
                    }
                }
            }
        }
        // Who loads from here knows of no other file.
        (disk.anew, disk.bare) = (false, false);
        Ok((disk, warnings))
    }

    fn refuse(&mut self, warnings: &mut Vec<String>, why: String) {
        warnings.push(format!("{} cannot be written: {why}; facts are kept in memory only", self.path.display()));
        self.refusal = Some(why);
    }

    /// Why the last write, or the opening, failed.
    pub(super) fn refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
    }

    /// The database, opened again if the last fault closed it.
    fn ready(&mut self) -> Result<&Database, Fault> {
        if self.db.is_none() {
            let (db, id, fresh) = open_file(&self.path, &self.bloc, &self.fulcrum, &self.doubtful)?;
            // A new file may get the number of the one that is gone.
            if fresh || self.home.is_some_and(|home| home != id) {
                (self.anew, self.bare) = (true, true);
                if self.home.is_some() {
                    tracing::error!(
                        "{} is not the file that it was: it was removed, replaced or damaged while it was in use; all facts are written anew",
                        self.path.display()
                    );
                }
            }
            self.home = Some(id);
            self.db = Some(db);
        }
        self.db.as_ref().ok_or_else(|| Fault::Refuses("closed".into()))
    }

    /// Whether what was committed is no longer found under the file's name.
    pub(super) fn lost(&self) -> bool {
        let there = std::fs::symlink_metadata(&self.path).ok().map(|meta| file_id(&meta));
        self.home.is_some() && there != self.home
    }

    /// Whether the file is another one than at the opening, or when this was asked last.
    pub(super) fn begun_anew(&mut self) -> bool {
        std::mem::take(&mut self.anew)
    }

    /// Writes and syncs. On a fault nothing of the batch counts as stored, and the file is closed.
    pub(super) fn commit(&mut self, batch: &Batch) -> Result<(), String> {
        self.boot = batch.boot.or(self.boot);
        if batch.book.is_some() {
            self.book.clone_from(&batch.book);
        }
        if let Some(why) = &self.refusal
            && batch.versions.is_empty()
            && batch.boot.is_none()
            && !has_room(&self.path)
        {
            return Err(why.clone());
        }
        let result = self.try_commit(batch);
        if result.is_err() {
            self.close();
        }
        let result = result.map_err(Fault::text);
        self.refusal = result.clone().err();
        result
    }

    /// Into the file that has this store's name when it is done.
    fn try_commit(&mut self, batch: &Batch) -> Result<(), Fault> {
        for _ in 0..ANEW {
            match guarded(|| self.put(batch)) {
                Err(Fault::Unusable(word, why)) => {
                    self.close();
                    let aside = set_aside(&self.path, word).map_err(|error| Fault::Refuses(error.to_string()))?;
                    tracing::error!("{} was set aside as {}: {why}", self.path.display(), aside.display());
                }
                Err(fault) => return Err(fault),
                // It went to a file that nobody finds again.
                Ok(()) if self.lost() => self.close(),
                Ok(()) => return Ok(()),
            }
        }
        Err(Fault::Refuses("the file is damaged, removed or replaced again and again".into()))
    }

    fn put(&mut self, batch: &Batch) -> Result<(), Fault> {
        self.ready()?;
        if self.bare {
            let again = Batch { boot: self.boot, book: self.book.clone(), ..Batch::default() };
            write(self.ready()?, &again)?;
            self.bare = false;
        }
        write(self.ready()?, batch)
    }

    pub(super) fn facts(&mut self) -> Result<Vec<Bytes>, String> {
        self.read(|read| {
            let table = read.open_table(FACTS)?;
            table.iter()?.map(|row| Ok(Bytes::copy_from_slice(row?.1.value()))).collect()
        })
    }

    pub(super) fn boot(&mut self) -> Result<u64, String> {
        self.read(|read| Ok(read.open_table(NUMBERS)?.get("boot")?.map_or(0, |number| number.value())))
    }

    pub(super) fn book(&mut self) -> Result<Vec<BookEntry>, String> {
        let (entries, bad) = self.read(|read| {
            let (mut entries, mut bad) = (Vec::new(), Vec::new());
            for row in read.open_table(BOOK)?.iter()? {
                let (key, value) = row?;
                match book_entry(key.value(), value.value()) {
                    Some(entry) => entries.push(entry),
                    None => bad.push(key.value().to_owned()),
                }
            }
            Ok((entries, bad))
        })?;
        if let Some(first) = bad.first() {
            tracing::warn!(
                "{}: {} entries of the address book cannot be read, the first is {first:?}; they are left out, and seeds \
                 and peers lead to who is meant",
                self.path.display(),
                bad.len()
            );
        }
        Ok(entries)
    }

    /// Reads also while the disk takes no writes: then from a copy of what it last took.
    fn read<T>(&mut self, read: impl Fn(&ReadTransaction) -> Result<T, Fault>) -> Result<T, String> {
        let mut result = guarded(|| read(&self.ready()?.begin_read()?));
        if result.is_err() {
            self.close();
        }
        if matches!(result, Err(Fault::Refuses(_))) {
            result = guarded(|| read(&in_memory(&self.path)?.begin_read()?));
        }
        result.map_err(Fault::text)
    }

    fn close(&mut self) {
        let db = self.db.take();
        // Closing tries to write once more and may fail again: what counts is already known.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(db)));
    }
}

/// Whether the disk has room for a write of usual size. While it has none, what only forgets may fit where no write does: that
/// it succeeds says nothing, and it is not tried.
fn has_room(path: &Path) -> bool {
    let free = path.parent().and_then(|dir| rustix::fs::statvfs(dir).ok());
    free.is_none_or(|free| free.f_bavail.saturating_mul(free.f_frsize) >= ROOM_BYTES)
}

/// redb may panic on pages that were altered behind its back: that too is a damaged file, and no reason to die.
fn guarded<T>(work: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(Fault::Unusable("damaged", "its pages contradict each other".into())))
}

/// The database, which file it is, and whether that was made just now.
fn open_file(
    path: &Path,
    bloc: &str,
    fulcrum: &str,
    doubtful: &Arc<AtomicBool>,
) -> Result<(Database, FileId, bool), Fault> {
    let refuses = |error: std::io::Error| Fault::Refuses(error.to_string());
    let fresh = match std::fs::symlink_metadata(path) {
        Ok(meta) if !meta.is_file() => return Err(Fault::Unusable("damaged", "it is not a file".into())),
        // A crash between making the file and its first commit leaves this too, but then nothing is lost by its name.
        Ok(meta) if meta.len() == 0 => return Err(Fault::Unusable("damaged", "it is empty".into())),
        Ok(_) => false,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => true,
        Err(error) => return Err(refuses(error)),
    };
    let made = guarded(|| {
        let file =
            OpenOptions::new().read(true).write(true).create_new(fresh).mode(0o600).open(path).map_err(refuses)?;
        let id = file_id(&file.metadata().map_err(refuses)?);
        let backend = redb::backends::FileBackend::new(file)?;
        #[cfg(test)]
        let backend = tests::Sick(backend);
        let backend = Noting { file: backend, doubtful: Arc::clone(doubtful) };
        if doubtful.load(Ordering::Relaxed) {
            backend.settle().map_err(refuses)?;
        }
        let db = redb::Builder::new()
            .set_cache_size(CACHE_BYTES)
            .set_check_integrity_on_open(!fresh)
            .create_with_backend(backend)?;
        mark(&db, fresh, bloc, fulcrum)?;
        Ok((db, id, fresh))
    });
    match &made {
        Ok(_) if fresh => sync_parent(path).map_err(refuses)?,
        // Half a new file would look like a damaged one at the next start.
        Err(_) if fresh => drop(std::fs::remove_file(path)),
        _ => {}
    }
    made
}

/// The file's content, repaired in memory: opening it in place after a fault takes a write, which the disk refuses.
fn in_memory(path: &Path) -> Result<Database, Fault> {
    let bytes = std::fs::read(path).map_err(|error| Fault::Refuses(error.to_string()))?;
    let memory = redb::backends::InMemoryBackend::new();
    memory
        .set_len(bytes.len() as u64)
        .and_then(|()| memory.write(0, &bytes))
        .map_err(|error| Fault::Refuses(error.to_string()))?;
    drop(bytes);
    Ok(redb::Builder::new().set_check_integrity_on_open(true).create_with_backend(memory)?)
}

/// Writes whose file this is, or reads it and compares.
fn mark(db: &Database, fresh: bool, bloc: &str, fulcrum: &str) -> Result<(), Fault> {
    if fresh {
        let write = db.begin_write()?;
        {
            let mut meta = write.open_table(META)?;
            for (key, value) in [("format", FORMAT), ("bloc", bloc), ("fulcrum", fulcrum)] {
                meta.insert(key, value)?;
            }
            write.open_table(FACTS)?;
            write.open_table(NUMBERS)?;
            write.open_table(BOOK)?;
        }
        write.commit()?;
        return Ok(());
    }
    let read = db.begin_read()?;
    let meta = match read.open_table(META) {
        Ok(meta) => meta,
        Err(redb::TableError::TableDoesNotExist(_)) => {
            return Err(Fault::Unusable("foreign", "it is no store of crux".into()));
        }
        Err(error) => return Err(error.into()),
    };
    for (key, wanted, word) in
        [("format", FORMAT, "other-format"), ("bloc", bloc, "foreign"), ("fulcrum", fulcrum, "foreign")]
    {
        let found = meta.get(key)?.map(|value| value.value().to_owned()).unwrap_or_default();
        if found != wanted {
            return Err(Fault::Unusable(word, format!("its {key} is `{found}`, wanted `{wanted}`")));
        }
    }
    Ok(())
}

fn write(db: &Database, batch: &Batch) -> Result<(), Fault> {
    let write = db.begin_write()?;
    {
        let mut facts = write.open_table(FACTS)?;
        for (id, sealed) in &batch.versions {
            facts.insert(&id.0, sealed.as_ref())?;
        }
        for id in &batch.drop {
            facts.remove(&id.0)?;
        }
        if let Some(boot) = batch.boot {
            write.open_table(NUMBERS)?.insert("boot", boot)?;
        }
        if let Some(entries) = &batch.book {
            let mut book = write.open_table(BOOK)?;
            book.retain(|_, _| false)?;
            for entry in entries {
                let row = BookRow { addr: entry.addr.to_string(), seen: entry.seen.0 };
                book.insert(entry.fulcrum.to_string().as_str(), row.encode_to_vec().as_slice())?;
            }
        }
    }
    // redb's default durability: the data is synced before this returns.
    write.commit()?;
    Ok(())
}

fn set_aside(path: &Path, word: &str) -> Result<PathBuf, StoreError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let name = |n: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(if n == 0 { format!(".{word}-{now}") } else { format!(".{word}-{now}.{n}") });
        PathBuf::from(name)
    };
    let aside = (0..).map(name).find(|name| std::fs::symlink_metadata(name).is_err()).unwrap_or_else(|| name(0));
    std::fs::rename(path, &aside).and_then(|()| sync_parent(path)).map_err(|source| StoreError::Io {
        what: "set aside",
        path: path.to_owned(),
        source,
    })?;
    Ok(aside)
}

fn sync_parent(path: &Path) -> std::io::Result<()> {
    path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}

#[cfg(test)]
mod tests;
