//! What operators did and what they were refused, as JSON lines in `<state>/audit`.
//!
//! A file is named after the first cursor in it. When one is full the next is begun, and the oldest goes, so the log is
//! bounded. A thread of its own writes: a disk that is full, slow or broken holds up no request and refuses none. What could
//! not be written is said once in the log, counted, and shown by `crux doctor`; the last entries are in memory all the same.
//! Whoever is admitted and only makes noise does not push out what others did: of each caller's refusals some a minute are
//! listed, and the rest are counted.
//!
//! A cursor is never given twice. Where the files of earlier lives cannot be read, those of this one begin by the wall clock,
//! beyond any that counting led to: the oldest file that goes is then the oldest, and whoever follows goes on.

use crux_api::json::{AuditEntry, AuditOutcome, Counter};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tracing::{info, warn};

/// Largest file: some ten thousand entries.
const FILE_BYTES: u64 = 4 << 20;
/// Most files: with the size, what an audit log may take of the disk.
const FILES: usize = 8;
/// Entries that are kept in memory for whoever follows, and for a disk that takes none.
const KEPT: usize = 1024;
/// Entries that wait for the disk; what comes beyond them is lost on disk.
const WAITING: usize = 4096;
/// Refusals of one caller that are listed in each minute.
const REFUSALS: u32 = 60;
const MINUTE: Duration = Duration::from_secs(60);
/// Callers whose refusals are counted; the others are listed.
const CALLERS: usize = 1024;
/// How long the end of a fulcrum waits for the disk.
const LAST: Duration = Duration::from_secs(1);
/// What a line may have at most; longer ones are damage.
const LINE_BYTES: u64 = 256 << 10;

/// Entries that one answer has at most.
pub(crate) const PAGE: usize = 1000;
/// Readers of files at a time: each reads up to one file for its page.
const READERS: usize = 2;
/// Where the files of earlier lives cannot be read, a second is worth so many cursors, as for events.
const A_SECOND: u64 = 1 << 20;

/// What the thread is told.
enum Job {
    Write(Arc<AuditEntry>),
    Flush(oneshot::Sender<()>),
}

/// Refusals of one caller in the minute that began then.
struct Noise {
    since: Instant,
    listed: u32,
    unlisted: u32,
}

struct Shared {
    next: u64,
    kept: VecDeque<Arc<AuditEntry>>,
    noise: HashMap<String, Noise>,
}

/// Whether the disk takes entries.
#[derive(Clone, Debug, Default)]
struct Disk {
    /// How many entries it did not take since the start.
    lost: u64,
    /// Why it takes none now.
    refuses: Option<String>,
}

/// The log. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Audit {
    dir: PathBuf,
    shared: Arc<Mutex<Shared>>,
    disk: Arc<Mutex<Disk>>,
    jobs: mpsc::Sender<Job>,
    newest: watch::Sender<u64>,
    readers: Arc<Semaphore>,
}

/// Some entries, oldest first.
pub(crate) struct Page {
    pub(crate) entries: Vec<Arc<AuditEntry>>,
    /// Whether there were more by then.
    pub(crate) more: bool,
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The files with the first cursor of each, oldest first.
fn files(dir: &Path) -> io::Result<BTreeMap<u64, PathBuf>> {
    let first = |path: &Path| {
        let name = path.file_name()?.to_str()?.strip_suffix(".jsonl")?.to_owned();
        name.bytes().all(|b| b.is_ascii_digit()).then(|| name.parse::<u64>().ok())?
    };
    let paths = fs::read_dir(dir)?.filter_map(|entry| Some(entry.ok()?.path()));
    Ok(paths.filter_map(|path| Some((first(&path)?, path))).collect())
}

/// Of the entries of one file those after this cursor, so many at most. What is no entry is passed over: the rest counts all
/// the same.
fn entries(path: &Path, after: u64, most: usize) -> io::Result<Vec<AuditEntry>> {
    let mut reader = BufReader::new(File::open(path)?);
    let (mut entries, mut line) = (Vec::new(), Vec::new());
    while entries.len() < most {
        line.clear();
        if (&mut reader).take(LINE_BYTES).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        if cursor(&line).is_some_and(|cursor| cursor > after) {
            entries.extend(entry(&line));
        }
    }
    Ok(entries)
}

fn entry(line: &[u8]) -> Option<AuditEntry> {
    serde_json::from_slice(line).ok()
}

/// Of an entry only where it stands: the rest is read, and kept by nobody.
fn cursor(line: &[u8]) -> Option<u64> {
    #[derive(serde::Deserialize)]
    struct Place {
        cursor: Counter,
    }
    serde_json::from_slice::<Place>(line).ok().map(|place| place.cursor.0)
}

/// Where cursors begin if nobody can say how far earlier lives came.
fn floor(now: SystemTime) -> u64 {
    let seconds = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    seconds.saturating_mul(A_SECOND)
}

/// The file that is written to.
struct Writer {
    dir: PathBuf,
    most: u64,
    open: Option<(File, u64)>,
}

impl Writer {
    /// Goes on with the newest file, without what was being written when the power went.
    fn resume(&mut self, newest: Option<&PathBuf>) -> io::Result<()> {
        let Some(path) = newest else { return Ok(()) };
        let mut file = OpenOptions::new().read(true).append(true).open(path)?;
        let size = file.metadata()?.len();
        let tail = size.min(LINE_BYTES);
        let mut end = Vec::new();
        file.seek(SeekFrom::Start(size - tail))?;
        file.read_to_end(&mut end)?;
        let whole = end.iter().rposition(|byte| *byte == b'\n').map_or(size - tail, |at| size - tail + at as u64 + 1);
        file.set_len(whole)?;
        self.open = Some((file, whole));
        Ok(())
    }

    fn write(&mut self, entry: &AuditEntry) -> io::Result<()> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        let size = line.len() as u64;
        if !matches!(&self.open, Some((_, written)) if written + size <= self.most) {
            self.open = None;
            self.open = Some((self.begin(entry.cursor.0)?, 0));
        }
        let Some((file, written)) = &mut self.open else { return Ok(()) };
        if let Err(error) = file.write_all(&line) {
            // Half a line would spoil the next one. A disk that cannot even do that gets another file.
            if file.set_len(*written).is_err() {
                self.open = None;
            }
            return Err(error);
        }
        *written += size;
        Ok(())
    }

    /// A new file, and the oldest away.
    fn begin(&self, first: u64) -> io::Result<File> {
        make(&self.dir)?;
        let known = files(&self.dir)?;
        for (_, old) in known.iter().take((known.len() + 1).saturating_sub(FILES)) {
            fs::remove_file(old)?;
        }
        let path = self.dir.join(format!("{first:020}.jsonl"));
        OpenOptions::new().create(true).append(true).mode(0o600).open(path)
    }
}

fn work(mut writer: Writer, mut jobs: mpsc::Receiver<Job>, disk: &Mutex<Disk>) {
    while let Some(job) = jobs.blocking_recv() {
        match job {
            Job::Write(entry) => note(disk, writer.write(&entry), &writer.dir),
            Job::Flush(done) => {
                let synced = writer.open.as_ref().map_or(Ok(()), |(file, _)| file.sync_data());
                if let Err(error) = synced {
                    warn!("the audit log in {} may lack its last entries: {error}", writer.dir.display());
                }
                // Who waited may have gone.
                let _ = done.send(());
            }
        }
    }
}

/// Counts what was lost, and says so once, until it goes well again.
fn note(disk: &Mutex<Disk>, outcome: io::Result<()>, dir: &Path) {
    let mut disk = lock(disk);
    match outcome {
        Ok(()) => {
            if disk.refuses.take().is_some() {
                info!("the audit log in {} is written again; {} entries are lost on disk", dir.display(), disk.lost);
            }
        }
        Err(error) => {
            disk.lost += 1;
            if disk.refuses.replace(error.to_string()).is_none() {
                warn!(
                    "the audit log in {} cannot be written: {error}; requests are answered all the same, and what they did is in memory only",
                    dir.display()
                );
            }
        }
    }
}

fn make(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// The directory, its files and the last cursor in them.
fn prepare(dir: &Path, writer: &mut Writer) -> io::Result<u64> {
    make(dir)?;
    let known = files(dir)?;
    let Some((first, newest)) = known.last_key_value() else { return Ok(0) };
    writer.resume(Some(newest))?;
    let last = entries(newest, 0, usize::MAX)?.iter().map(|entry| entry.cursor.0).max();
    Ok(last.unwrap_or(0).max(first.saturating_sub(1)))
}

impl Audit {
    /// The log in this directory. A disk that refuses is no reason not to start.
    pub(crate) fn open(dir: &Path) -> Self {
        Self::with(dir, FILE_BYTES)
    }

    fn with(dir: &Path, most: u64) -> Self {
        let mut writer = Writer { dir: dir.to_owned(), most, open: None };
        let disk: Arc<Mutex<Disk>> = Arc::default();
        let last = prepare(dir, &mut writer).unwrap_or_else(|error| {
            note(&disk, Err(error), dir);
            lock(&disk).lost = 0;
            let first = files(dir).ok().and_then(|known| known.last_key_value().map(|(first, _)| *first));
            floor(SystemTime::now()).max(first.unwrap_or(0))
        });
        let (jobs, queue) = mpsc::channel(WAITING);
        let of_thread = disk.clone();
        let spawned =
            std::thread::Builder::new().name("crux-audit".into()).spawn(move || work(writer, queue, &of_thread));
        if let Err(error) = spawned {
            note(&disk, Err(error), dir);
        }
        let shared = Shared { next: last + 1, kept: VecDeque::new(), noise: HashMap::new() };
        let (dir, shared) = (dir.to_owned(), Arc::new(Mutex::new(shared)));
        Self { dir, shared, disk, jobs, newest: watch::Sender::new(last), readers: Arc::new(Semaphore::new(READERS)) }
    }

    /// Records what became of a request. It waits for nothing.
    pub(crate) fn record(&self, mut entry: AuditEntry) {
        let mut shared = lock(&self.shared);
        // What changed nothing may be asked for without end, and must not push out what did.
        if matches!(entry.outcome, AuditOutcome::Refused | AuditOutcome::Failed) {
            match shared.noise(&entry.by) {
                Some(unlisted) => entry.unlisted = unlisted,
                None => return,
            }
        }
        entry.cursor = Counter(shared.next);
        shared.next += 1;
        let (cursor, entry) = (entry.cursor.0, Arc::new(entry));
        if shared.kept.len() == KEPT {
            shared.kept.pop_front();
        }
        shared.kept.push_back(entry.clone());
        // In the lock, so that the file has them in their order.
        if self.jobs.try_send(Job::Write(entry)).is_err() {
            note(&self.disk, Err(io::Error::other("it does not keep up with what is done")), &self.dir);
        }
        drop(shared);
        self.newest.send_replace(cursor);
    }

    /// Where a reader goes on that says it has everything up to this cursor. One that was never given out is as none: rather
    /// something twice than nothing at all.
    pub(crate) fn resume(&self, after: Option<u64>) -> u64 {
        after.filter(|after| *after <= *self.newest.borrow()).unwrap_or(0)
    }

    /// What came after this cursor and is still kept, oldest first: the first [`PAGE`] of it. `None` when the fulcrum goes
    /// down. Files are read aside, by few at a time.
    pub(crate) async fn page(&self, cursor: u64) -> Option<Page> {
        // Closed by nobody.
        let reads = self.readers.clone().acquire_owned().await.ok()?;
        let log = self.clone();
        let read = tokio::task::spawn_blocking(move || {
            let page = log.after(cursor, PAGE);
            drop(reads);
            page
        });
        read.await.ok()
    }

    /// The same with a bound of its own. It reads files.
    fn after(&self, cursor: u64, most: usize) -> Page {
        let kept: Vec<Arc<AuditEntry>> = lock(&self.shared).kept.iter().cloned().collect();
        let mut all: BTreeMap<u64, Arc<AuditEntry>> = BTreeMap::new();
        if kept.first().is_none_or(|first| first.cursor.0 > cursor.saturating_add(1)) {
            let known = files(&self.dir).unwrap_or_default();
            // Those before the last file that begins at or before what is wanted have nothing of it.
            let from = known.range(..=cursor.saturating_add(1)).next_back().map_or(0, |(first, _)| *first);
            for (_, path) in known.range(from..) {
                if all.len() > most {
                    break;
                }
                // One that cannot be read is gone or will be said when it is written.
                let read = entries(path, cursor, most + 1 - all.len()).unwrap_or_default();
                all.extend(read.into_iter().map(|entry| (entry.cursor.0, Arc::new(entry))));
            }
        }
        // What the disk did not take stands between.
        let wanted = kept.into_iter().filter(|entry| entry.cursor.0 > cursor).take(most + 1);
        all.extend(wanted.map(|entry| (entry.cursor.0, entry)));
        let more = all.len() > most;
        Page { entries: all.into_values().take(most).collect(), more }
    }

    /// Becomes changed with every entry; its value is the newest cursor.
    pub(crate) fn follow(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    /// How many entries are not on disk, and why it takes none now.
    pub(crate) fn trouble(&self) -> (u64, Option<String>) {
        let disk = lock(&self.disk).clone();
        (disk.lost, disk.refuses)
    }

    /// Waits until all of it is on disk, but not for long: a slow disk does not keep a fulcrum from its end.
    pub(crate) async fn flush(&self) {
        if tokio::time::timeout(LAST, self.flushed()).await.is_err() {
            warn!("the audit log in {} may lack its last entries: the disk is slow", self.dir.display());
        }
    }

    /// The same for as long as it takes.
    async fn flushed(&self) {
        let (done, waited) = oneshot::channel();
        if self.jobs.send(Job::Flush(done)).await.is_ok() {
            // Without a thread there is nothing to wait for.
            let _ = waited.await;
        }
    }
}

impl Shared {
    /// Whether one more refusal of this caller is listed, with how many were not before it.
    fn noise(&mut self, by: &str) -> Option<u32> {
        let now = Instant::now();
        if self.noise.len() >= CALLERS && !self.noise.contains_key(by) {
            self.noise.retain(|_, noise| now.duration_since(noise.since) < MINUTE);
            if self.noise.len() >= CALLERS {
                return Some(0);
            }
        }
        let noise = self.noise.entry(by.to_owned()).or_insert(Noise { since: now, listed: 0, unlisted: 0 });
        if now.duration_since(noise.since) >= MINUTE {
            (noise.since, noise.listed) = (now, 0);
        }
        if noise.listed == REFUSALS {
            noise.unlisted = noise.unlisted.saturating_add(1);
            return None;
        }
        noise.listed += 1;
        Some(std::mem::take(&mut noise.unlisted))
    }
}

#[cfg(test)]
mod tests;
