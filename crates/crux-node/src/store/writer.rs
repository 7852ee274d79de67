//! The one thread that owns the disk.

use crate::store::StoreStatus;
use crate::store::disk::{Batch, Disk};
use bytes::Bytes;
use crux_core::io::BookEntry;
use crux_names::Hash256;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

/// How many bytes one commit takes at most, so that a flood of facts does not make one answer wait for all.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// How many writes one commit takes at most.
const BATCH_JOBS: usize = 1024;
/// How often a store without work looks for its file.
const LOOK: Duration = Duration::from_secs(1);

type Done = Box<dyn FnOnce(Result<(), String>) + Send>;
type Told = Box<dyn Fn() + Send>;
type Answer<T> = mpsc::SyncSender<Result<T, String>>;

pub(super) enum Job {
    Persist { versions: Vec<(Hash256, Bytes)>, drop: Vec<Hash256>, done: Done },
    SaveBook(Vec<BookEntry>),
    NextBoot { at_least: u64, reply: Answer<u64> },
    Load(Answer<Vec<Bytes>>),
    LoadBook(Answer<Vec<BookEntry>>),
    OnAnew(Told),
}

#[derive(Debug)]
pub(super) struct Writer {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    status: Arc<Mutex<StoreStatus>>,
    commits: Arc<AtomicU64>,
}

impl Writer {
    pub(super) fn start(disk: Disk) -> Self {
        let (jobs, queue) = mpsc::channel();
        let status = Arc::new(Mutex::new(match disk.refusal() {
            None => StoreStatus::Ok,
            Some(reason) => StoreStatus::Refusing { reason: reason.to_owned() },
        }));
        let commits = Arc::default();
        let mut outcome = Outcome { status: Arc::clone(&status), commits: Arc::clone(&commits), anew: None };
        let thread = std::thread::spawn(move || work(disk, &queue, &mut outcome));
        Self { jobs: Some(jobs), thread: Some(thread), status, commits }
    }

    pub(super) fn send(&self, job: Job) {
        let refused = match &self.jobs {
            Some(jobs) => jobs.send(job).map_err(|mpsc::SendError(job)| job),
            None => Err(job),
        };
        if let Err(Job::Persist { done, .. }) = refused {
            done(Err("the store's thread has ended".into()));
        }
    }

    pub(super) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    pub(super) fn status(&self) -> StoreStatus {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What others see of the thread's work.
struct Outcome {
    status: Arc<Mutex<StoreStatus>>,
    commits: Arc<AtomicU64>,
    /// Who is told that the store began anew.
    anew: Option<Told>,
}

impl Outcome {
    /// Told as soon as somebody listens.
    fn tell_anew(&self, disk: &mut Disk) {
        if let Some(told) = &self.anew
            && disk.begun_anew()
        {
            told();
        }
    }
}

/// What is to be done next; looks for the file while there is nothing.
fn next(disk: &mut Disk, queue: &mpsc::Receiver<Job>, outcome: &Outcome) -> Option<Job> {
    loop {
        match queue.recv_timeout(LOOK) {
            Ok(job) => return Some(job),
            Err(mpsc::RecvTimeoutError::Disconnected) => return None,
            Err(mpsc::RecvTimeoutError::Timeout) if disk.lost() => {
                // Said by the status and the log; the next look tries again.
                let _ = commit(disk, &Batch::default(), outcome);
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {}
        }
    }
}

fn work(mut disk: Disk, queue: &mpsc::Receiver<Job>, outcome: &mut Outcome) {
    let mut waiting = None;
    while let Some(job) = waiting.take().or_else(|| next(&mut disk, queue, outcome)) {
        match job {
            Job::OnAnew(told) => {
                outcome.anew = Some(told);
                outcome.tell_anew(&mut disk);
            }
            Job::Load(reply) => drop(reply.send(disk.facts())),
            Job::LoadBook(reply) => drop(reply.send(disk.book())),
            Job::NextBoot { at_least, reply } => {
                let next = disk.boot().and_then(|last| {
                    let boot = at_least.max(last.saturating_add(1));
                    commit(&mut disk, &Batch { boot: Some(boot), ..Batch::default() }, outcome)?;
                    Ok(boot)
                });
                drop(reply.send(next));
            }
            write => {
                let mut batch = Batch::default();
                let mut done = Vec::new();
                let mut bytes = take(write, &mut batch, &mut done);
                let mut jobs = 1;
                // Group commit: whoever came while the last fsync ran shares the next one.
                while bytes < BATCH_BYTES && jobs < BATCH_JOBS {
                    match queue.try_recv() {
                        Ok(job @ (Job::Persist { .. } | Job::SaveBook(_))) if fits(&batch, &job) => {
                            bytes += take(job, &mut batch, &mut done);
                            jobs += 1;
                        }
                        Ok(other) => {
                            waiting = Some(other);
                            break;
                        }
                        Err(_) => break,
                    }
                }
                let result = commit(&mut disk, &batch, outcome);
                done.into_iter().for_each(|done| done(result.clone()));
            }
        }
    }
}

/// A batch is puts, then drops: a version that an earlier job of the batch drops must not be put by a later one.
fn fits(batch: &Batch, job: &Job) -> bool {
    match job {
        Job::Persist { versions, .. } => versions.iter().all(|(id, _)| !batch.drop.contains(id)),
        _ => true,
    }
}

fn take(job: Job, batch: &mut Batch, callbacks: &mut Vec<Done>) -> usize {
    match job {
        Job::Persist { versions, drop, done } => {
            let bytes = versions.iter().map(|(_, sealed)| sealed.len()).sum();
            batch.versions.extend(versions);
            batch.drop.extend(drop);
            callbacks.push(done);
            bytes
        }
        Job::SaveBook(entries) => {
            let bytes = 64 * entries.len();
            batch.book = Some(entries);
            bytes
        }
        Job::NextBoot { .. } | Job::Load(_) | Job::LoadBook(_) | Job::OnAnew(_) => 0,
    }
}

fn commit(disk: &mut Disk, batch: &Batch, outcome: &Outcome) -> Result<(), String> {
    let result = disk.commit(batch);
    outcome.tell_anew(disk);
    let now = match &result {
        Ok(()) => StoreStatus::Ok,
        Err(reason) => StoreStatus::Refusing { reason: reason.clone() },
    };
    outcome.commits.fetch_add(u64::from(result.is_ok()), Ordering::Relaxed);
    let mut shown = outcome.status.lock().unwrap_or_else(PoisonError::into_inner);
    if *shown != now {
        match &now {
            StoreStatus::Ok => tracing::info!("the store takes writes again"),
            StoreStatus::Refusing { reason } => tracing::error!(reason, "the store refuses writes; reads go on"),
        }
        *shown = now;
    }
    result
}
