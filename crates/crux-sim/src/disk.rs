//! The disk under a fulcrum's store, and what disks do: refuse once or for good, fill up, take no writes, fail to sync,
//! be slow, and lose at a power loss what was on its way.
//!
//! **What is modelled.** Not bytes but transactions, as the real store gives them to the heart: one writer, redb under it,
//! a transaction there wholly or not at all (a torn one fails its checksums and is rolled back), and each next one built
//! on those before it. So what survives a power loss of all that was not synced is any *beginning* of it, never a later
//! transaction without an earlier one; which beginning, the lot decides, or a [`Trap`] for those who try every one. That
//! redb keeps this when any subset of the unsynced bytes survives is tested where bytes are: in `crux-node`'s store.
//! The store commits in groups, so that its beginnings are fewer than those tried here.
//!
//! A sync that fails ([`Kind::NoSync`]) is the nasty one: the write is refused, yet its transaction may be seen by the
//! next life of crux, and may survive a power loss or not, until the next sync that succeeds takes it along.

use bytes::Bytes;
use crux_core::hash::Random;
use crux_names::{Duration, Hash256, Time};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What a disk can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// One write fails, the next succeeds.
    ErrorOnce,
    /// Every write fails.
    Errors,
    /// There is no room.
    Full,
    /// It was made read-only.
    ReadOnly,
    /// Data is written, and the sync fails.
    NoSync,
    /// Everything succeeds, each up to 20 s later.
    Slow,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 6] = [Self::ErrorOnce, Self::Errors, Self::Full, Self::ReadOnly, Self::NoSync, Self::Slow];
    /// The kinds that refuse every write while they last.
    pub const REFUSING: [Self; 4] = [Self::Errors, Self::Full, Self::ReadOnly, Self::NoSync];

    /// The words with which such a disk refuses; empty if it does not.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::ErrorOnce | Self::Errors => "Input/output error (os error 5)",
            Self::Full => "No space left on device (os error 28)",
            Self::ReadOnly => "Read-only file system (os error 30)",
            Self::NoSync => "fsync: Input/output error (os error 5)",
            Self::Slow => "",
        }
    }

    /// The *sometimes* point that says that a write met it.
    fn mark(self) -> &'static str {
        match self {
            Self::ErrorOnce => "a disk failed once",
            Self::Errors => "a disk failed for long",
            Self::Full => "a disk was full",
            Self::ReadOnly => "a disk took no writes",
            Self::NoSync => "a sync failed",
            Self::Slow => "a disk was slow",
        }
    }
}

/// A write on a disk that has nothing takes so long at most.
const SLOWEST: Duration = Duration::from_millis(16);

/// What it has, from when, until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What.
    pub kind: Kind,
    /// From when.
    pub from: Time,
    /// Until when; [`Time::NEVER`] is for good.
    pub until: Time,
}

/// Where within a write the power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// The write is on its way and is lost.
    Before,
    /// It is on disk, and crux has not heard.
    Unreported,
    /// It is on disk, crux has heard and done at once what follows from it.
    Reported,
}

impl Moment {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Before, Self::Unreported, Self::Reported];
}

/// The power goes at this write, the first is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trap {
    /// Which.
    pub write: u64,
    /// When.
    pub moment: Moment,
}

/// One transaction, and the token that its report echoes.
#[derive(Clone, Debug)]
struct Writing {
    due: Time,
    token: u64,
    versions: Vec<(Hash256, Bytes)>,
    drop: Vec<Hash256>,
}

/// What became of a write: its token, and why not.
pub type Written = (u64, Result<(), String>);

/// One disk.
#[derive(Clone, Debug)]
pub struct Disk {
    synced: BTreeMap<Hash256, Bytes>,
    /// Written after `synced`, and the sync failed: oldest first.
    unsure: Vec<Writing>,
    writing: VecDeque<Writing>,
    trouble: Option<Trouble>,
    trap: Option<Trap>,
    /// How many writes have ended, well or not.
    ended: u64,
    dead: bool,
    /// Ids of writes that were reported as failed and that a later life found all the same.
    returned: BTreeSet<Hash256>,
    random: Random,
    marks: BTreeSet<&'static str>,
}

impl Disk {
    /// An empty one.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            synced: BTreeMap::new(),
            unsure: Vec::new(),
            writing: VecDeque::new(),
            trouble: None,
            trap: None,
            ended: 0,
            dead: false,
            returned: BTreeSet::new(),
            random: Random::new(seed),
            marks: BTreeSet::new(),
        }
    }

    /// A blank one in its place.
    pub fn wipe(&mut self) {
        self.synced.clear();
        self.unsure.clear();
        self.writing.clear();
        self.marks.insert("a disk was lost");
    }

    /// Another file is in the place of the one that had all that was written: it is empty, and what is on its way goes there.
    pub fn begin_anew(&mut self) {
        self.synced.clear();
        self.unsure.clear();
    }

    /// Of the file nothing can be read, or all but some rows.
    pub fn damage(&mut self, wholly: bool) {
        let random = &mut self.random;
        self.synced.retain(|_, _| !wholly && random.below(2) == 0);
        self.unsure.clear();
        self.writing.clear();
    }

    /// Whether this version is on it for certain.
    #[must_use]
    pub fn holds(&self, id: &Hash256) -> bool {
        self.synced.contains_key(id)
    }

    /// What is on it for certain.
    pub fn certain(&self) -> impl Iterator<Item = (&Hash256, &Bytes)> {
        self.synced.iter()
    }

    /// What a new life of crux reads, certain or not.
    pub fn read(&mut self) -> Vec<Bytes> {
        let mut all = self.synced.clone();
        for writing in &self.unsure {
            apply(&mut all, writing);
            let seen = writing.versions.iter().map(|(id, _)| *id).filter(|id| !self.synced.contains_key(id));
            self.returned.extend(seen);
        }
        if !self.returned.is_empty() {
            self.marks.insert("what a failed sync had written was found by a later life");
        }
        all.into_values().collect()
    }

    /// Whether a write that was reported as failed was found by a later life, which obeys it.
    #[must_use]
    pub fn returned(&self, id: &Hash256) -> bool {
        self.returned.contains(id)
    }

    /// *Sometimes* points that it came through.
    pub fn marks(&self) -> impl Iterator<Item = &'static str> {
        self.marks.iter().copied()
    }

    /// How many writes have ended, well or not.
    #[must_use]
    pub fn ended(&self) -> u64 {
        self.ended
    }

    /// Sets a trap; see [`Disk::dead`].
    pub fn trap(&mut self, trap: Trap) {
        self.trap = Some(trap);
    }

    /// Whether the trap went off: its machine has no power, and nothing on it hears or says anything.
    #[must_use]
    pub fn dead(&self) -> bool {
        self.dead
    }

    /// It has this from now on, or from later on.
    pub fn ail(&mut self, trouble: Trouble) {
        self.trouble = Some(trouble);
    }

    /// It is well, and what is slow comes soon.
    pub fn mend(&mut self, now: Time) {
        self.trouble = None;
        for writing in &mut self.writing {
            writing.due = writing.due.min(now + Duration::from_millis(15));
        }
    }

    /// What it has now.
    #[must_use]
    pub fn ails(&self, now: Time) -> Option<Kind> {
        self.trouble.filter(|trouble| trouble.from <= now && now < trouble.until).map(|trouble| trouble.kind)
    }

    /// Whether it has nothing, and writes end as soon as they do on a disk that has nothing.
    #[must_use]
    pub fn well(&self, now: Time) -> bool {
        let prompt = self.writing.back().is_none_or(|last| last.due <= now + SLOWEST);
        prompt && !self.dead && self.ails(now).is_none()
    }

    /// What is on it for certain, to be put back later.
    #[must_use]
    pub fn copy(&self) -> BTreeMap<Hash256, Bytes> {
        self.synced.clone()
    }

    /// An older copy takes the place of all that is on it.
    pub fn put_back(&mut self, copy: BTreeMap<Hash256, Bytes>) {
        // Between a sync that failed and the drop of what it wrote a copy may have been made.
        self.returned.extend(copy.keys().filter(|id| !self.synced.contains_key(id)));
        self.synced = copy;
        self.unsure.clear();
        self.writing.clear();
        self.marks.insert("an old disk came back");
    }

    /// Lets it have something within the next minute, unless something is before it still.
    pub fn ail_by_itself(&mut self, now: Time) {
        if self.trouble.is_none_or(|trouble| trouble.until <= now) {
            let from = now + Duration::from_millis(self.random.below(60_000));
            let until = from + Duration::from_millis(self.random.below(4_000));
            let kind = Kind::ALL[usize::try_from(self.random.below(Kind::ALL.len() as u64)).unwrap_or(0)];
            self.trouble = Some(Trouble { kind, from, until });
        }
    }

    /// Begins a write; writes end in the order in which they began.
    pub fn begin(&mut self, now: Time, token: u64, versions: Vec<(Hash256, Bytes)>, drop: Vec<Hash256>) {
        let mut due = now + Duration::from_micros(100 + self.random.below(15_000));
        if self.ails(now) == Some(Kind::Slow) {
            self.marks.insert(Kind::Slow.mark());
            due = now + Duration::from_millis(self.random.below(20_000));
        }
        let due = due.max(self.writing.back().map_or(now, |last| last.due));
        self.writing.push_back(Writing { due, token, versions, drop });
    }

    /// When the next write ends.
    #[must_use]
    pub fn deadline(&self) -> Time {
        if self.dead { Time::NEVER } else { self.writing.front().map_or(Time::NEVER, |first| first.due) }
    }

    /// The next write that has ended.
    pub fn next(&mut self, now: Time) -> Option<Written> {
        if self.dead {
            return None;
        }
        if let Some(Trap { write, moment: Moment::Reported }) = self.trap
            && write < self.ended
        {
            self.dead = true;
            return None;
        }
        let writing = self.writing.pop_front_if(|writing| writing.due <= now)?;
        let trapped = self.trap.filter(|trap| trap.write == self.ended).map(|trap| trap.moment);
        self.ended += 1;
        let token = writing.token;
        match trapped {
            Some(Moment::Before) => {
                self.dead = true;
                return None;
            }
            Some(Moment::Unreported) => {
                self.sync(writing);
                self.dead = true;
                return None;
            }
            Some(Moment::Reported) | None => {}
        }
        match self.ails(now) {
            None | Some(Kind::Slow) => self.sync(writing),
            Some(kind) => {
                self.marks.insert(kind.mark());
                match kind {
                    Kind::ErrorOnce => self.trouble = None,
                    // Some systems throw away what they could not write, some go on showing it.
                    Kind::NoSync if self.random.below(2) == 0 => self.unsure.push(writing),
                    _ => {}
                }
                return Some((token, Err(kind.reason().to_owned())));
            }
        }
        Some((token, Ok(())))
    }

    /// On the platter, with all that was written before it.
    fn sync(&mut self, writing: Writing) {
        for writing in self.unsure.drain(..).chain([writing]) {
            apply(&mut self.synced, &writing);
        }
    }

    /// Crux is gone: what was on its way is there up to some point, and the rest is not.
    pub fn lose_crux(&mut self, now: Time) {
        let whole = self.writing.len() as u64;
        let refuses = self.ails(now).is_some_and(|kind| !kind.reason().is_empty());
        let arrived = if self.dead || refuses { 0 } else { self.random.below(whole + 1) };
        if arrived > 0 && arrived < whole {
            self.marks.insert("a crash kept some of what was on its way to the disk");
        }
        for _ in 0..arrived {
            if let Some(writing) = self.writing.pop_front() {
                self.sync(writing);
            }
        }
        self.writing.clear();
    }

    /// The power is gone, and is there again: of what was written and not synced there is some beginning.
    pub fn lose_power(&mut self, now: Time) {
        let arrived = self.random.below(self.unsure.len() as u64 + 1);
        let unsure = std::mem::take(&mut self.unsure);
        let (kept, lost) = unsure.split_at(usize::try_from(arrived).unwrap_or(0));
        for writing in kept {
            apply(&mut self.synced, writing);
            self.returned.extend(writing.versions.iter().map(|(id, _)| *id));
        }
        // What was to come after something that is lost is lost too.
        if lost.is_empty() {
            self.lose_crux(now)
        } else {
            self.writing.clear()
        }
        self.dead = false;
        self.trap = None;
    }
}

fn apply(disk: &mut BTreeMap<Hash256, Bytes>, writing: &Writing) {
    for id in &writing.drop {
        disk.remove(id);
    }
    disk.extend(writing.versions.iter().cloned());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(n: u8) -> Vec<(Hash256, Bytes)> {
        vec![(Hash256([n; 32]), Bytes::from_static(b"x"))]
    }

    fn at(millis: u64) -> Time {
        Time::from_millis(millis)
    }

    fn found(disk: &mut Disk) -> usize {
        disk.read().len()
    }

    #[test]
    fn every_kind_does_what_it_says_and_passes() {
        for kind in Kind::ALL {
            let mut disk = Disk::new(1);
            disk.ail(Trouble { kind, from: at(0), until: at(100_000) });
            disk.begin(at(0), 1, one(1), vec![]);
            disk.begin(at(0), 2, one(2), vec![]);
            let mut results = Vec::new();
            let mut last = at(0);
            while let Some(due) = (disk.deadline() < Time::NEVER).then(|| disk.deadline()) {
                last = due;
                results.extend(disk.next(due));
            }
            let why = Err(kind.reason().to_owned());
            match kind {
                Kind::Slow => {
                    assert_eq!(results, [(1, Ok(())), (2, Ok(()))]);
                    assert!(last > at(1_000), "{last}");
                }
                Kind::ErrorOnce => assert_eq!(results, [(1, why), (2, Ok(()))]),
                _ => assert_eq!(results, [(1, why.clone()), (2, why)], "{kind:?}"),
            }
            disk.mend(at(200_000));
            disk.begin(at(200_000), 3, one(3), vec![]);
            assert_eq!(disk.next(at(201_000)), Some((3, Ok(()))), "{kind:?}");
            assert!(disk.holds(&Hash256([3; 32])));
        }
    }

    #[test]
    fn a_power_loss_leaves_any_beginning_and_nothing_else() {
        let mut seen = BTreeSet::new();
        for seed in 0..200 {
            let mut disk = Disk::new(seed);
            for n in 1..=4 {
                disk.begin(at(0), n.into(), one(n), vec![]);
            }
            disk.lose_power(at(100));
            let left: Vec<u8> = (1..=4).filter(|n| disk.holds(&Hash256([*n; 32]))).collect();
            assert!(left.iter().copied().eq(1..=left.len() as u8), "{left:?}");
            seen.insert(left);
        }
        assert_eq!(seen.len(), 5, "nothing, one, two, three, all");
    }

    #[test]
    fn what_a_failed_sync_wrote_may_be_seen_may_be_lost_and_goes_along_with_the_next_that_succeeds() {
        let (mut seen, mut survived, mut taken) = (0, 0, 0);
        for seed in 0..100 {
            let mut disk = Disk::new(seed);
            disk.ail(Trouble { kind: Kind::NoSync, from: at(0), until: Time::NEVER });
            disk.begin(at(0), 1, one(1), vec![]);
            assert!(disk.next(at(20)).is_some_and(|(_, result)| result.is_err()));
            assert!(!disk.holds(&Hash256([1; 32])));
            seen += found(&mut disk);
            let mut other = disk.clone();
            other.lose_power(at(100));
            survived += found(&mut other);
            disk.mend(at(20));
            disk.begin(at(20), 2, one(2), vec![]);
            assert_eq!(disk.next(at(40)), Some((2, Ok(()))));
            taken += usize::from(disk.holds(&Hash256([1; 32])));
        }
        assert!(0 < survived && survived < seen && seen < 100 && taken == seen, "{survived} {seen} {taken}");
    }

    #[test]
    fn a_trap_takes_the_power_at_its_write() {
        for (moment, kept, reported) in [(Moment::Before, 1, 1), (Moment::Unreported, 2, 1), (Moment::Reported, 2, 2)] {
            let mut disk = Disk::new(1);
            disk.trap(Trap { write: 1, moment });
            for n in 1..=4 {
                disk.begin(at(0), n.into(), one(n), vec![]);
            }
            let mut reports = 0;
            while disk.next(at(100)).is_some() {
                reports += 1;
            }
            assert!(disk.dead());
            assert_eq!((disk.deadline(), reports), (Time::NEVER, reported), "{moment:?}");
            disk.lose_power(at(100));
            assert_eq!((found(&mut disk), disk.dead()), (kept, false), "{moment:?}");
        }
    }
}
