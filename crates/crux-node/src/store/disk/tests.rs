//! Disks that fail, and what is left when the power goes.

use super::*;
use crate::store::StoreStatus;
use crate::store::writer::{Job, Writer};
use crux_core::hash::Random;
use redb::BackendError;
use std::cell::RefCell;
use std::io;
use std::ops::Bound;
use std::sync::atomic::AtomicU32;
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};

/// The switches below are the process's.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
/// Every sync fails.
static NO_SYNC: AtomicBool = AtomicBool::new(false);
/// The write after so many others fails, once; 0: none.
static BAD_WRITE: AtomicU32 = AtomicU32::new(0);

thread_local! {
    /// With it, the disk of this thread's store has a cache before it.
    static PLATTER: RefCell<Option<Platter>> = const { RefCell::new(None) };
}

/// Offset and data; without data it is a new length.
type Op = (u64, Arc<[u8]>);

/// What would be left if the power went now: some of what waited, on what was synced before.
struct Shot {
    synced: Arc<Vec<u8>>,
    kept: Vec<Op>,
    acknowledged: u8,
}

impl Shot {
    fn image(&self) -> Vec<u8> {
        let mut image = (*self.synced).clone();
        self.kept.iter().for_each(|op| put(&mut image, op));
        image
    }
}

/// What is on the disk for certain, and what waits for a sync in the order in which it was written. A sync that fails
/// forgets what waited, as some systems do, and the file goes on showing it.
struct Platter {
    synced: Arc<Vec<u8>>,
    waiting: Vec<Op>,
    no_sync: bool,
    random: Random,
    shots: Vec<Shot>,
    acknowledged: u8,
}

impl Platter {
    fn begin() {
        let synced = Arc::default();
        let random = Random::new(11);
        let platter = Self { synced, waiting: vec![], no_sync: false, random, shots: vec![], acknowledged: 0 };
        PLATTER.with_borrow_mut(|on| *on = Some(platter));
    }

    fn with<T>(act: impl FnOnce(&mut Self) -> T) -> Option<T> {
        PLATTER.with_borrow_mut(|on| on.as_mut().map(act))
    }

    /// One thing more waits. The power may go here: any subset of what waits is there, the last of it torn.
    fn wait(&mut self, op: Op) {
        self.waiting.push(op);
        let mut kept: Vec<Op> = self.waiting.iter().filter(|_| self.random.below(2) == 0).cloned().collect();
        if let Some((_, data)) = kept.last_mut() {
            let sectors = data.len() as u64 / 512;
            if sectors > 1 && self.random.below(2) == 0 {
                let whole = 512 * (1 + usize::try_from(self.random.below(sectors - 1)).unwrap());
                *data = data[..whole].into();
            }
        }
        self.shots.push(Shot { synced: Arc::clone(&self.synced), kept, acknowledged: self.acknowledged });
    }

    fn sync(&mut self) -> Result<(), io::Error> {
        let waiting = std::mem::take(&mut self.waiting);
        if self.no_sync {
            return Err(eio());
        }
        let mut all = (*self.synced).clone();
        waiting.iter().for_each(|op| put(&mut all, op));
        self.synced = Arc::new(all);
        Ok(())
    }
}

fn put(image: &mut Vec<u8>, (at, data): &Op) {
    let at = usize::try_from(*at).unwrap();
    if data.is_empty() {
        image.resize(at, 0);
    } else {
        image.resize(image.len().max(at + data.len()), 0);
        image[at..at + data.len()].copy_from_slice(data);
    }
}

/// A file on a disk that fails when told to.
#[derive(Debug)]
pub(super) struct Sick<B>(pub(super) B);

fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

fn eio() -> io::Error {
    io::Error::from_raw_os_error(5)
}

impl<B: StorageBackend> StorageBackend for Sick<B> {
    fn len(&self) -> Result<u64, io::Error> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        Platter::with(|platter| platter.wait((len, Arc::default())));
        self.0.set_len(len)
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        if let Some(result) = Platter::with(Platter::sync) {
            return result;
        }
        if NO_SYNC.load(Ordering::SeqCst) { Err(eio()) } else { self.0.sync_data() }
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        let left = BAD_WRITE.load(Ordering::SeqCst);
        if left > 0 {
            BAD_WRITE.store(left - 1, Ordering::SeqCst);
        }
        if left != 1 {
            Platter::with(|platter| platter.wait((offset, data.into())));
        }
        if left == 1 { Err(eio()) } else { self.0.write(offset, data) }
    }

    fn close(&self) -> Result<(), io::Error> {
        self.0.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.try_lock_shared_range(start, end)
    }
}

fn open(path: &Path) -> (Disk, Vec<String>) {
    Disk::open(path.to_owned(), &"acme.example".parse().unwrap(), &"n1".parse().unwrap()).unwrap()
}

fn persist(writer: &Writer, n: u8) -> Result<(), String> {
    let (done, result) = mpsc::channel();
    let versions = vec![(Hash256([n; 32]), vec![n; 3000].into())];
    let done = Box::new(move |result| done.send(result).unwrap());
    writer.send(Job::Persist { versions, drop: vec![], done });
    result.recv().unwrap()
}

fn load(writer: &Writer) -> Vec<u8> {
    let (reply, answer) = mpsc::sync_channel(1);
    writer.send(Job::Load(reply));
    answer.recv().unwrap().unwrap().iter().map(|fact| fact[0]).collect()
}

#[test]
fn an_io_error_refuses_loses_nothing_acknowledged_and_passes() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("facts.redb");
    let writer = Writer::start(open(&path).0);
    persist(&writer, 1).unwrap();

    NO_SYNC.store(true, Ordering::SeqCst);
    assert!(persist(&writer, 2).unwrap_err().contains("os error 5"));
    assert!(matches!(writer.status(), StoreStatus::Refusing { .. }));
    assert!(load(&writer).contains(&1), "reads go on");
    assert!(persist(&writer, 3).is_err());
    NO_SYNC.store(false, Ordering::SeqCst);
    persist(&writer, 4).unwrap();
    assert_eq!(writer.status(), StoreStatus::Ok);
    let now = load(&writer);
    assert!(now.contains(&1) && now.contains(&4), "{now:?}");

    // Whichever write of a commit it is that fails: what was acknowledged stays, and the next commit works.
    let mut acknowledged = vec![1, 4];
    for nth in 1..40 {
        BAD_WRITE.store(nth, Ordering::SeqCst);
        let n = 10 + u8::try_from(nth).unwrap();
        if persist(&writer, n).is_ok() {
            acknowledged.push(n);
        }
        BAD_WRITE.store(0, Ordering::SeqCst);
        persist(&writer, n + 100).unwrap();
        acknowledged.push(n + 100);
        let now = load(&writer);
        assert!(acknowledged.iter().all(|fact| now.contains(fact)), "write {nth}: {now:?}");
    }
    drop(writer);
    let (mut disk, warnings) = open(&path);
    assert_eq!(warnings, [""; 0]);
    let now: Vec<u8> = disk.facts().unwrap().iter().map(|fact| fact[0]).collect();
    assert!(acknowledged.iter().all(|fact| now.contains(fact)), "{now:?}");
}

fn commit(disk: &mut Disk, n: u8, size: usize) -> Result<(), String> {
    disk.commit(&Batch { versions: vec![(Hash256([n; 32]), vec![n; size].into())], ..Batch::default() })
}

fn found(disk: &mut Disk) -> Vec<u8> {
    disk.facts().unwrap().iter().map(|fact| fact[0]).collect()
}

/// What a machine finds that lost its power and had this on its disk.
fn after_power_loss(image: &[u8]) -> (Vec<String>, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("facts.redb");
    std::fs::write(&path, image).unwrap();
    let (mut disk, warnings) = open(&path);
    let found = found(&mut disk);
    (warnings, found)
}

/// Promise S1 where bytes are: at each write to the file the power goes, and any subset of what was not synced is
/// there, the last of it torn. Everything acknowledged is found, and of what was not, each transaction wholly or not.
#[test]
fn whatever_part_of_what_was_not_synced_survives_a_power_loss_what_was_acknowledged_does() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    Platter::begin();
    let (mut disk, _) = open(&dir.path().join("facts.redb"));
    // The file grows now and then, and some of it becomes free again.
    for n in 1..=24_u8 {
        let versions = [n, 100 + n].map(|n| (Hash256([n; 32]), vec![n; 300 * usize::from(n)].into())).to_vec();
        let drop = vec![Hash256([100 + n - 1; 32])];
        disk.commit(&Batch { versions, drop, ..Batch::default() }).unwrap();
        Platter::with(|platter| platter.acknowledged = n);
    }
    drop(disk);
    let shots = PLATTER.take().unwrap().shots;
    let shots: Vec<Shot> = shots.into_iter().filter(|shot| shot.acknowledged > 0).collect();
    assert!(shots.len() > 100, "{} moments", shots.len());
    for (at, shot) in shots.iter().enumerate() {
        let (warnings, found) = after_power_loss(&shot.image());
        assert_eq!(warnings, [""; 0], "moment {at} of {}", shots.len());
        let last = shot.acknowledged;
        let whole = |last: u8| (1..=last).chain([100 + last]).collect::<Vec<u8>>();
        assert!(found == whole(last) || found == whole(last + 1), "moment {at}, {last} acknowledged: {found:?}");
    }
}

/// Found by asking what a failed sync leaves: the next commit was built on pages that the system showed and the disk
/// did not have, and fell with the power, though it was acknowledged.
#[test]
fn what_is_acknowledged_after_a_sync_that_failed_does_not_rest_on_what_the_disk_never_got() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    Platter::begin();
    let (mut disk, _) = open(&dir.path().join("facts.redb"));
    commit(&mut disk, 1, 3000).unwrap();
    for round in 0..3 {
        Platter::with(|platter| platter.no_sync = true);
        assert!(commit(&mut disk, 10 + round, 9000).unwrap_err().contains("os error 5"));
        assert!(commit(&mut disk, 20 + round, 9000).is_err(), "and again");
        assert!(found(&mut disk).contains(&1), "reads go on");
        Platter::with(|platter| platter.no_sync = false);
        commit(&mut disk, 2 + round, 3000).unwrap();
        // The power goes; nothing that waited survives.
        let synced = Platter::with(|platter| Arc::clone(&platter.synced)).unwrap();
        let before = PLATTER.take();
        let (warnings, found) = after_power_loss(&synced);
        PLATTER.set(before);
        assert_eq!(warnings, [""; 0]);
        assert!((1..=2 + round).all(|n| found.contains(&n)), "round {round}: {found:?}");
    }
}
