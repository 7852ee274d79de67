//! Access: the bloc's register of services, in ADMIN. Somebody adds an entry at any fulcrum's door; it lives as long as its
//! heartbeat, and everybody can list it. Three forms of it, each for another place:
//!
//! | form | where | holds |
//! |---|---|---|
//! | [`Ledger`] | at every fulcrum | what was added at its own door: it says it to ADMIN's seat, again to each new one |
//! | [`Register`] | at ADMIN's seat | what every present fulcrum said last |
//! | [`Listed`] | at every fulcrum | the seat's word, which `List` shows |
//!
//! An operator's entry is a lease: whoever adds it again within its life renews it. An instance's entry has no clock of its
//! own: it goes when the instance ends here, and is not shown while the healthminder believes it dead or gone. So one verdict
//! decides, not two timeouts.
//!
//! Nothing of it is a fact and nothing here permits anything: an entry is the word of the fulcrum at whose door it was
//! added. The register's bounds are per fulcrum, and at a fulcrum's door each adder leaves three times as much free as it
//! has itself: who floods crowds out nobody but itself, and whoever comes later finds room.

use super::instance::{InstanceId, ServiceRef};
use super::pace::Pace;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use crux_names::{Duration, FulcrumId, OperatorName, Time, Wall};

/// Most addresses of an entry.
pub const ADDRS_MAX: usize = 16;
/// Most labels of an entry.
pub const LABELS_MAX: usize = 16;
/// Longest name, address, label or its value, in bytes.
pub const WORD_MAX: usize = 256;
/// Most bytes of an entry, by [`Entry::cost`].
pub const ENTRY_MAX: usize = 4096;
/// Most entries that are added at one fulcrum.
pub const DOOR_ENTRIES: usize = 128;
/// Most bytes of them, by [`Entry::cost`].
pub const DOOR_BYTES: usize = 32 << 10;
/// Most entries of the register.
pub const ALL_ENTRIES: usize = 8192;
/// Most pieces of memory that it becomes where it is read, by [`Entry::pieces`], each of which is an entry or more: one
/// frame may not become more than 8 MiB. Who tells it and who reads it count alike, or a reader would cut who tells it.
pub const ALL_PIECES: usize = ALL_ENTRIES;
/// Most bytes of the register, by [`Entry::cost`] and the fulcrums' names: it goes to every member in one frame.
pub const ALL_BYTES: usize = 640 << 10;
/// The shortest time between two words of one door to the seat, and of the seat to everybody, at default pace: whatever is
/// added meanwhile goes together.
const PAUSE_MS: u64 = 250;
/// What the seat sends to each member in a second at most: a link carries more, and one whose queue is full is cut.
const TOLD_A_SECOND: usize = 256 << 10;
/// How many words of one door are heard in the time of four pauses: twice what it sends, for its pace may be another one.
const HEARD: u32 = 8;
/// The shortest life of an operator's entry.
pub const LIFE_MIN: Duration = Duration::from_secs(1);
/// The longest.
pub const LIFE_MAX: Duration = Duration::from_secs(300);
/// What one text costs beyond its own bytes, on the wire and in memory.
const TEXT_COST: usize = 16;

/// Who added an entry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum By {
    /// An operator, by certificate.
    Operator(OperatorName),
    /// An instance, on the socket that only it has.
    Instance(InstanceId),
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operator(name) => write!(f, "operator/{name}"),
            Self::Instance(id) => write!(f, "instance/{id}"),
        }
    }
}

/// One entry: where a service is to be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which service.
    pub of: ServiceRef,
    /// Tells entries of one service by one adder apart; may be empty.
    pub name: String,
    /// Where, in the words of its protocol: `10.0.0.7:5432`, `https://db.example/`.
    pub addrs: Vec<String>,
    /// What else is to be known of it.
    pub labels: BTreeMap<String, String>,
    /// Who added it.
    pub by: By,
    /// When it was added first, by the clock of the fulcrum at whose door.
    pub since: Wall,
}

/// How long a door waits after its word to the seat until it says the next one.
#[must_use]
pub fn pause(pace: Pace) -> Duration {
    pace.ms(PAUSE_MS)
}

/// How long the seat waits after it has told everybody so many bytes until it tells the next register. Bytes take their
/// time on a link whatever the pace.
#[must_use]
pub fn pause_after(bytes: usize, pace: Pace) -> Duration {
    let sending = Duration::from_millis((bytes * 1_000 / TOLD_A_SECOND) as u64);
    pause(pace).max(sending)
}

/// Why a text or a list is no part of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BadEntry {
    /// It has no address.
    NoAddress,
    /// It has more of these than it may have.
    TooMany(&'static str, usize),
    /// A text of this kind is empty, too long, or has characters that are not printable.
    Text(&'static str),
    /// All of it together is too large.
    TooLarge,
}

impl fmt::Display for BadEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAddress => f.write_str("it has no address: an entry says where its service is"),
            Self::TooMany(what, most) => write!(f, "it has more than {most} {what}"),
            Self::Text(what) => {
                write!(f, "its {what} is empty, longer than {WORD_MAX} bytes, or has characters that cannot be seen")
            }
            Self::TooLarge => write!(f, "it is larger than {ENTRY_MAX} bytes"),
        }
    }
}

impl core::error::Error for BadEntry {}

fn word(what: &'static str, text: &str) -> Result<(), BadEntry> {
    let good = !text.is_empty() && text.len() <= WORD_MAX && !text.chars().any(|c| c.is_control() || c.is_whitespace());
    if good { Ok(()) } else { Err(BadEntry::Text(what)) }
}

impl Entry {
    /// Whether it is within the bounds.
    ///
    /// # Errors
    /// [`BadEntry`] says which it breaks.
    pub fn check(&self) -> Result<(), BadEntry> {
        if self.addrs.is_empty() {
            return Err(BadEntry::NoAddress);
        }
        if self.addrs.len() > ADDRS_MAX {
            return Err(BadEntry::TooMany("addresses", ADDRS_MAX));
        }
        if self.labels.len() > LABELS_MAX {
            return Err(BadEntry::TooMany("labels", LABELS_MAX));
        }
        self.addrs.iter().try_for_each(|addr| word("address", addr))?;
        if !self.name.is_empty() {
            word("name", &self.name)?;
        }
        for (key, value) in &self.labels {
            word("label", key)?;
            if value.len() > WORD_MAX || value.chars().any(char::is_control) {
                return Err(BadEntry::Text("label's value"));
            }
        }
        if self.cost() > ENTRY_MAX { Err(BadEntry::TooLarge) } else { Ok(()) }
    }

    /// What it costs to hold and to send it: at least its bytes.
    #[must_use]
    pub fn cost(&self) -> usize {
        let labels = self.labels.iter().flat_map(|(key, value)| [key.len(), value.len()]);
        let by = match &self.by {
            By::Operator(name) => name.as_str().len(),
            By::Instance(id) => name_len(&id.fulcrum) + TEXT_COST,
        };
        let names = [self.of.horde.as_str().len(), self.of.service.as_str().len(), by, self.name.len()];
        let texts = self.addrs.iter().map(String::len).chain(labels).chain(names);
        texts.map(|len| len + TEXT_COST).sum()
    }

    /// How many pieces of memory it becomes beyond its bytes: a map of up to eleven labels is one of 500 bytes, a longer one
    /// two.
    #[must_use]
    pub fn pieces(&self) -> usize {
        1 + self.addrs.len() / 8 + self.labels.len().div_ceil(11)
    }

    fn key(&self) -> Key {
        (self.of.clone(), self.by.clone(), self.name.clone())
    }
}

type Key = (ServiceRef, By, String);

/// An entry, and at which fulcrum's door it was added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Whose word it is.
    pub at: FulcrumId,
    /// What it says.
    pub entry: Entry,
}

/// Why an entry is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refused {
    /// It is no entry.
    Bad(BadEntry),
    /// With it its adder would have more at this fulcrum than a third of what it leaves free there.
    Full,
    /// It is an instance's, and that does not run here, or is of another service.
    NotHere,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bad(why) => why.fmt(f),
            Self::Full => write!(
                f,
                "this fulcrum keeps {DOOR_ENTRIES} entries and {DOOR_BYTES} bytes, and with it its adder would have more of \
                 them than a third of what is left free for others; add it at another fulcrum, or let some end"
            ),
            Self::NotHere => f.write_str("no instance of that service runs here under that id"),
        }
    }
}

impl core::error::Error for Refused {}

#[derive(Clone, Debug)]
struct Lease {
    entry: Entry,
    /// Never, for an instance's.
    until: Time,
}

/// What was added at this fulcrum's door, and lives.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    leases: BTreeMap<Key, Lease>,
    version: u64,
}

impl Ledger {
    /// Adds an entry, or renews it: its life begins anew, and what it says is what it says now. Answers whether it was
    /// there before.
    ///
    /// # Errors
    /// [`Refused`]; nothing has changed.
    pub fn add(&mut self, now: Time, wall: Wall, mut entry: Entry, life: Duration) -> Result<bool, Refused> {
        entry.check().map_err(Refused::Bad)?;
        let key = entry.key();
        let grows = self.leases.get(&key).is_none_or(|old| old.entry.cost() < entry.cost());
        if grows && !self.has_room(&entry) {
            return Err(Refused::Full);
        }
        let until = match entry.by {
            By::Operator(_) => now + life.clamp(LIFE_MIN, LIFE_MAX),
            By::Instance(_) => Time::NEVER,
        };
        let old = self.leases.get(&key).map(|lease| &lease.entry);
        entry.since = old.map_or(wall, |old| old.since);
        let (renewed, same) = (old.is_some(), old == Some(&entry));
        if !same {
            self.version += 1;
        }
        self.leases.insert(key, Lease { entry, until });
        Ok(renewed)
    }

    /// Whether its adder leaves three times as much free with this entry as it has.
    fn has_room(&self, entry: &Entry) -> bool {
        let key = entry.key();
        let (mut entries, mut bytes) = (4, entry.cost() * 4);
        for (_, Lease { entry: other, .. }) in self.leases.iter().filter(|(other, _)| **other != key) {
            let counts = if other.by == entry.by { 4 } else { 1 };
            entries += counts;
            bytes += other.cost() * counts;
        }
        entries <= DOOR_ENTRIES && bytes <= DOOR_BYTES
    }

    /// Whether there is an entry that this one would take the place of.
    #[must_use]
    pub fn has(&self, entry: &Entry) -> bool {
        self.leases.contains_key(&entry.key())
    }

    /// Lets go of what nobody renewed, and of what belongs to an instance that runs no more.
    pub fn step(&mut self, now: Time, runs: impl Fn(&InstanceId) -> bool) {
        let before = self.leases.len();
        self.leases.retain(|(_, by, _), lease| {
            now < lease.until
                && match by {
                    By::Operator(_) => true,
                    By::Instance(id) => runs(id),
                }
        });
        if self.leases.len() != before {
            self.version += 1;
        }
    }

    /// Changes whenever what it says changes; 0 as long as it never said anything.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Whether it says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.leases.is_empty()
    }

    /// What it says.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        self.leases.values().map(|lease| lease.entry.clone()).collect()
    }

    /// When the next lease ends.
    #[must_use]
    pub fn deadline(&self) -> Time {
        self.leases.values().map(|lease| lease.until).min().unwrap_or(Time::NEVER)
    }
}

#[derive(Clone, Debug)]
struct Door {
    entries: Vec<Entry>,
    /// Which version of its ledger they are.
    version: u64,
    /// Which version of the register it has.
    holds: u64,
    /// When it was heard last.
    heard: Time,
    /// Whether it was heard in this view.
    here: bool,
    /// When it was told the register again, because it lacked it.
    again: Time,
    /// How many words of it were heard since when.
    words: (u32, Time),
}

impl Door {
    fn new(now: Time) -> Self {
        let (again, words) = (Time::ZERO, (0, now));
        Self { entries: Vec::new(), version: 0, holds: 0, heard: now, here: false, again, words }
    }

    /// Whether it says more than a door of ours does. Such words are not lost: it says which version it has with the next
    /// ones, and is asked for it.
    fn floods(&mut self, now: Time, pace: Pace) -> bool {
        let (words, since) = &mut self.words;
        if now >= *since + pause(pace) * 4 {
            (*words, *since) = (0, now);
        }
        *words += 1;
        *words > HEARD
    }
}

/// What a fulcrum says to the seat of what was added at its door.
#[derive(Clone, Debug)]
pub struct Word {
    /// Which version of its ledger it has.
    pub version: u64,
    /// Which version of the register it has from that seat; 0: none.
    pub holds: u64,
    /// All of it; `None`: what was said under this version.
    pub entries: Option<Vec<Entry>>,
}

/// The register at ADMIN's seat.
#[derive(Clone, Debug)]
pub struct Register {
    doors: BTreeMap<FulcrumId, Door>,
    /// When this view began, or the seat came here.
    since: Time,
    version: u64,
}

impl Register {
    /// Takes over with what the seat before had said.
    #[must_use]
    pub fn new(now: Time, carried: &[Listed]) -> Self {
        let mut doors: BTreeMap<FulcrumId, Door> = BTreeMap::new();
        for Listed { at, entry } in carried {
            doors.entry(at.clone()).or_insert_with(|| Door::new(now)).entries.push(entry.clone());
        }
        // Another one at each beginning, should the seat come back within a view.
        Self { doors, since: now, version: now.as_nanos().max(1) }
    }

    /// A new view has begun: everybody says again what it has.
    pub fn anew(&mut self, now: Time) {
        self.since = now;
        self.doors.values_mut().for_each(|door| door.here = false);
    }

    /// Takes a fulcrum's word: all that was added at its door, or that it is still what it said. What breaks the bounds, or
    /// claims an instance of somebody else, is passed over, and of too many words all but that it is there. Answers whether
    /// it must say all of it, for that is not known here.
    pub fn hear(&mut self, now: Time, pace: Pace, from: &FulcrumId, word: Word) -> bool {
        let Word { version, holds, entries: said } = word;
        let door = self.doors.entry(from.clone()).or_insert_with(|| Door::new(now));
        (door.heard, door.holds) = (now, holds);
        if door.floods(now, pace) {
            return false;
        }
        let Some(said) = said else { return !door.here || door.version != version };
        let mut entries: Vec<Entry> = Vec::new();
        let mut bytes = 0;
        for entry in said {
            let own = match &entry.by {
                By::Operator(_) => true,
                By::Instance(id) => id.fulcrum == *from,
            };
            bytes += entry.cost();
            if entries.len() == DOOR_ENTRIES || bytes > DOOR_BYTES {
                break;
            }
            if own && entry.check().is_ok() && entries.iter().all(|other| other.key() != entry.key()) {
                entries.push(entry);
            }
        }
        (door.here, door.version) = (true, version);
        if door.entries != entries {
            door.entries = entries;
            self.version += 1;
        }
        false
    }

    /// Who does not have the register that was told at this time, though it said so long enough after it: after twice the
    /// pause. It is told now, and has as long again.
    pub fn behind(&mut self, now: Time, told: Time, pause: Duration) -> Vec<FulcrumId> {
        let version = self.version;
        let lacks = |door: &Door| door.holds != version && door.heard >= told.max(door.again) + pause * 2;
        let behind = self.doors.iter_mut().filter(|(_, door)| lacks(door));
        let told = |(id, door): (&FulcrumId, &mut Door)| {
            door.again = now;
            id.clone()
        };
        behind.map(told).collect()
    }

    /// Strikes out whoever is not here, and whose word has not come for three repeats.
    pub fn prune(&mut self, now: Time, pace: Pace, present: impl Fn(&FulcrumId) -> bool) {
        let life = pace.repeat() * 3;
        let gone = |id: &FulcrumId, door: &Door| !present(id) || now >= door.heard + life;
        let said = self.doors.iter().any(|(id, door)| gone(id, door) && !door.entries.is_empty());
        self.doors.retain(|id, door| !gone(id, door));
        if said {
            self.version += 1;
        }
    }

    /// Which of these have not said in this view what they have.
    pub fn lacks<'a>(&self, members: impl Iterator<Item = &'a FulcrumId>) -> Vec<&'a FulcrumId> {
        members.filter(|id| !self.doors.get(*id).is_some_and(|door| door.here)).collect()
    }

    /// Whether it can speak: everybody has said in this view what it has, or had the time of one repeat for it. So nothing
    /// is off the list for the moment in which the seat moves.
    #[must_use]
    pub fn speaks<'a>(&self, now: Time, pace: Pace, members: impl Iterator<Item = &'a FulcrumId>) -> bool {
        now >= self.since + pace.repeat() || self.lacks(members).is_empty()
    }

    /// Until when it waits at most.
    #[must_use]
    pub fn patience(&self, pace: Pace) -> Time {
        self.since + pace.repeat()
    }

    /// Changes whenever [`Register::all`] changes.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Everything, by fulcrum. Where it is more than fits, those who added least come first, and whose entries do not fit
    /// are left out whole.
    #[must_use]
    pub fn all(&self) -> Vec<Listed> {
        let mut doors: Vec<(usize, &FulcrumId, &Door)> =
            self.doors.iter().map(|(id, door)| (cost(id, door), id, door)).collect();
        doors.sort_by_key(|(cost, id, _)| (*cost, *id));
        let (mut bytes, mut all) = (0, 0);
        doors.retain(|(cost, _, door)| {
            bytes += cost;
            all += pieces(door);
            bytes <= ALL_BYTES && all <= ALL_PIECES
        });
        doors.sort_by_key(|(_, id, _)| *id);
        let listed = |(_, id, door): (usize, &FulcrumId, &Door)| -> Vec<Listed> {
            door.entries.iter().map(|entry| Listed { at: id.clone(), entry: entry.clone() }).collect()
        };
        doors.into_iter().flat_map(listed).collect()
    }

    /// What it costs to tell [`Register::all`] to somebody, at most.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.doors.iter().map(|(id, door)| cost(id, door)).sum::<usize>().min(ALL_BYTES)
    }

    /// How many entries do not fit.
    #[must_use]
    pub fn left_out(&self) -> usize {
        let bytes: usize = self.doors.iter().map(|(id, door)| cost(id, door)).sum();
        if bytes <= ALL_BYTES && self.doors.values().map(pieces).sum::<usize>() <= ALL_PIECES {
            return 0;
        }
        let count: usize = self.doors.values().map(|door| door.entries.len()).sum();
        count - self.all().len()
    }
}

fn pieces(door: &Door) -> usize {
    door.entries.iter().map(Entry::pieces).sum()
}

/// What a fulcrum's entries cost in the seat's word, which names the fulcrum with each.
fn cost(at: &FulcrumId, door: &Door) -> usize {
    let name = name_len(at) + TEXT_COST;
    door.entries.iter().map(|entry| entry.cost() + name).sum()
}

fn name_len(fulcrum: &FulcrumId) -> usize {
    fulcrum.node.as_str().len() + fulcrum.fulcrum.as_str().len() + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    fn id(name: &str) -> FulcrumId {
        name.parse().unwrap()
    }

    fn entry(service: &str, by: By) -> Entry {
        Entry {
            of: ServiceRef { horde: "web".parse().unwrap(), service: service.parse().unwrap() },
            name: String::new(),
            addrs: Vec::from(["10.0.0.7:5432".into()]),
            labels: BTreeMap::new(),
            by,
            since: Wall(0),
        }
    }

    fn ann() -> By {
        By::Operator("ann".parse().unwrap())
    }

    fn instance(text: &str) -> By {
        By::Instance(text.parse().unwrap())
    }

    const SECOND: Duration = Duration::from_secs(1);
    const PACE: Pace = Pace(1000);

    fn at(seconds: u64) -> Time {
        Time::from_millis(seconds * 1000)
    }

    fn hear(
        register: &mut Register,
        now: Time,
        from: &FulcrumId,
        version: u64,
        holds: u64,
        entries: Option<Vec<Entry>>,
    ) -> bool {
        register.hear(now, PACE, from, Word { version, holds, entries })
    }

    #[test]
    fn an_operators_entry_lives_as_long_as_it_is_added_again() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.add(at(0), Wall(5), entry("db", ann()), SECOND * 10), Ok(false));
        let said = ledger.version();
        assert_eq!(ledger.add(at(9), Wall(6), entry("db", ann()), SECOND * 10), Ok(true));
        assert_eq!((ledger.version(), ledger.entries()[0].since), (said, Wall(5)), "a renewal is no news");
        ledger.step(at(18), |_| false);
        assert_eq!(ledger.deadline(), at(19));
        assert_eq!(ledger.entries().len(), 1);
        ledger.step(at(19), |_| true);
        assert!(ledger.entries().is_empty() && ledger.version() > said);
        // What somebody asks for is bounded on both sides.
        ledger.add(at(20), Wall(7), entry("db", ann()), Duration::ZERO).unwrap();
        assert_eq!(ledger.deadline(), at(21));
        ledger.add(at(20), Wall(7), entry("db", ann()), SECOND * 1_000_000).unwrap();
        assert_eq!(ledger.deadline(), at(320));
    }

    #[test]
    fn an_instances_entry_lives_as_long_as_the_instance() {
        let mut ledger = Ledger::default();
        ledger.add(at(0), Wall(5), entry("api", instance("n1:1:1")), SECOND).unwrap();
        ledger.step(at(1_000_000), |_| true);
        assert_eq!(ledger.entries().len(), 1);
        ledger.step(at(1_000_000), |_| false);
        assert!(ledger.entries().is_empty());
    }

    #[test]
    fn a_door_takes_so_much_and_no_more() {
        let mut ledger = Ledger::default();
        let named = |n: usize| Entry { name: format!("e{n}"), ..entry("db", ann()) };
        let mut taken = 0;
        while ledger.add(at(0), Wall(0), named(taken), SECOND).is_ok() {
            taken += 1;
            assert!(taken <= DOOR_ENTRIES);
        }
        assert_eq!(ledger.add(at(0), Wall(0), named(taken), SECOND), Err(Refused::Full));
        assert!(ledger.entries().iter().map(Entry::cost).sum::<usize>() <= DOOR_BYTES);
        assert_eq!(ledger.add(at(0), Wall(0), named(0), SECOND), Ok(true), "what is there can be renewed");
    }

    #[test]
    fn what_is_no_entry_is_refused_with_its_reason() {
        let good = entry("db", ann());
        let long = "x".repeat(WORD_MAX + 1);
        let word = "x".repeat(WORD_MAX);
        let labels = |n: usize| (0..n).map(|n| (format!("k{n}"), word.clone())).collect();
        for (bad, why) in [
            (Entry { addrs: Vec::new(), ..good.clone() }, BadEntry::NoAddress),
            (Entry { addrs: Vec::from(["a b".into()]), ..good.clone() }, BadEntry::Text("address")),
            (Entry { addrs: Vec::from([String::new()]), ..good.clone() }, BadEntry::Text("address")),
            (Entry { addrs: alloc::vec!["a".into(); 17], ..good.clone() }, BadEntry::TooMany("addresses", 16)),
            (Entry { name: long.clone(), ..good.clone() }, BadEntry::Text("name")),
            (Entry { labels: [("k".into(), long)].into(), ..good.clone() }, BadEntry::Text("label's value")),
            (Entry { labels: [("\u{1b}".into(), "v".into())].into(), ..good.clone() }, BadEntry::Text("label")),
            (Entry { labels: labels(17), ..good.clone() }, BadEntry::TooMany("labels", 16)),
            (Entry { labels: labels(16), ..good.clone() }, BadEntry::TooLarge),
        ] {
            assert_eq!(bad.check(), Err(why.clone()));
            assert_eq!(Ledger::default().add(at(0), Wall(0), bad, SECOND), Err(Refused::Bad(why)));
        }
        assert_eq!(Entry { labels: labels(8), ..good }.check(), Ok(()));
    }

    #[test]
    fn a_new_seat_keeps_what_the_one_before_said_until_everybody_has_spoken() {
        let members = [id("n1"), id("n2")];
        let carried = Vec::from([Listed { at: id("n1"), entry: entry("db", ann()) }]);
        let mut register = Register::new(at(0), &carried);
        assert_eq!(register.all(), carried);
        hear(&mut register, at(0), &id("n2"), 1, 0, Some(Vec::from([entry("api", instance("n2:1:1"))])));
        assert_eq!(register.lacks(members.iter()), [&members[0]]);
        assert!(!register.speaks(at(0), PACE, members.iter()));
        assert!(register.speaks(at(2), PACE, members.iter()), "who is silent holds nobody up for long");
        hear(&mut register, at(1), &id("n1"), 0, 0, Some(Vec::new()));
        assert!(register.speaks(at(1), PACE, members.iter()));
        assert_eq!(register.all().len(), 1);
        register.anew(at(3));
        assert!(!register.speaks(at(3), PACE, members.iter()) && register.all().len() == 1);
        register.prune(at(3), PACE, |who| *who == id("n1"));
        assert!(register.all().is_empty());
    }

    #[test]
    fn what_has_not_changed_is_not_said_again_and_what_was_lost_is_asked_for() {
        let (mut register, n1) = (Register::new(at(0), &[]), id("n1"));
        assert!(hear(&mut register, at(0), &n1, 7, 0, None), "nothing is known of it");
        assert!(!hear(&mut register, at(0), &n1, 7, 0, Some(Vec::from([entry("db", ann())]))));
        let said = register.version();
        assert!(!hear(&mut register, at(2), &n1, 7, said, None), "that it is still so is enough");
        assert!(register.behind(at(2), at(0), pause(PACE)).is_empty());
        hear(&mut register, at(4), &n1, 7, said - 1, None);
        assert!(register.behind(at(4), at(4), pause(PACE)).is_empty(), "the register may be on its way");
        assert!(register.behind(at(4), at(3), SECOND).is_empty(), "a large one for longer");
        assert_eq!(register.behind(at(4), at(3), pause(PACE)), core::slice::from_ref(&n1));
        assert!(register.behind(at(4), at(3), pause(PACE)).is_empty(), "it is on its way again");
        assert!(hear(&mut register, at(4), &n1, 8, said, None), "another version");
        register.anew(at(5));
        assert!(hear(&mut register, at(5), &n1, 7, said, None), "in each view it is said once");
        assert_eq!((register.version(), register.all().len()), (said, 1));
    }

    #[test]
    fn a_large_register_is_told_as_seldom_as_a_link_needs_for_it() {
        assert_eq!(pause_after(1_000, PACE), Duration::from_millis(250));
        assert_eq!(pause_after(1_000, Pace(100)), Duration::from_millis(25));
        for pace in [PACE, Pace(100)] {
            assert_eq!(pause_after(ALL_BYTES, pace), Duration::from_millis(2_500));
        }
    }

    #[test]
    fn of_who_says_too_much_no_more_is_heard_than_that_it_is_there() {
        let (mut register, n1) = (Register::new(at(0), &[]), id("n1"));
        let word = |n: u64| Some(Vec::from([Entry { name: format!("e{n}"), ..entry("db", ann()) }]));
        for n in 1..=500 {
            assert!(!hear(&mut register, at(1), &n1, n, 0, word(n)));
        }
        assert_eq!(register.all()[0].entry.name, format!("e{HEARD}"));
        assert!(!hear(&mut register, at(1), &n1, 500, 0, None), "nothing is asked of it either");
        assert!(hear(&mut register, at(2), &n1, 500, 0, None), "what was not heard is asked for");
        assert!(!hear(&mut register, at(2), &n1, 500, 0, word(500)));
        assert_eq!(register.all()[0].entry.name, "e500");
    }

    #[test]
    fn whose_word_stops_is_struck_out() {
        let mut register = Register::new(at(0), &[]);
        hear(&mut register, at(0), &id("n1"), 1, 0, Some(Vec::from([entry("db", ann())])));
        register.prune(at(5), PACE, |_| true);
        assert_eq!(register.all().len(), 1);
        let said = register.version();
        register.prune(at(6), PACE, |_| true);
        assert!(register.all().is_empty() && register.version() > said);
    }

    #[test]
    fn who_floods_or_lies_crowds_out_nobody() {
        let mut register = Register::new(at(0), &[]);
        let flood = |from: usize| (0..1_000).map(move |n| Entry { name: format!("e{from}.{n}"), ..entry("db", ann()) });
        for n in 0..60 {
            hear(&mut register, at(0), &id(&format!("bad{n}")), 1, 0, Some(flood(n).collect()));
        }
        // Somebody else's instance, an entry that is none, and the same twice.
        let bad = Entry { addrs: Vec::new(), ..entry("api", ann()) };
        let said = [entry("api", instance("n2:1:1")), bad, entry("api", ann()), entry("api", ann())];
        hear(&mut register, at(0), &id("n1"), 1, 0, Some(said.into()));
        let all = register.all();
        assert_eq!(all.iter().filter(|listed| listed.at == id("n1")).count(), 1);
        assert!(all.len() <= ALL_ENTRIES && all.iter().map(|listed| listed.entry.cost()).sum::<usize>() <= ALL_BYTES);
        assert!(all.len() > 500 && register.left_out() > 500, "{} {}", all.len(), register.left_out());
    }
}
