//! Hooks: what instances are told of their horde, and when the hooks of their services run.
//!
//! An instance is told `parted` when home members of its horde are not in its flock, again when others are, and `rejoined`
//! when all are here. It takes its horde for whole when it starts: one that starts in a parted horde, as a copy on one side
//! of a split does, is told so as soon as it runs, and one in a whole horde is told nothing. Only a flock that has been
//! stable for a moment tells anything, so that a network that flaps is one word at most, when it has come to rest.
//!
//! Whoever follows the instance's socket is told each word. A hook is run with the newest one: at most one of an instance
//! runs at a time, and what changed meanwhile is one hook after it, unless it has come back to what the last one was told.
//!
//! ```text
//! said: nothing ──home members missing──> parted ──all here──> rejoined ──home members missing──> parted …
//! hook: idle ──a newer word than the last hook's, pause over, its turn──> runs ──ended, failed, timed out──> idle
//! ```

use super::effect::{Effect, Event};
use super::instance::{Instance, InstanceId, Phase};
use super::item::Item;
use super::pace::{Pace, seconds};
use super::roles::Roles;
use crate::facts::value::Hooks as Commands;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use crux_names::{Duration, FulcrumId, HordeName, Time, Wall};

/// How long a hook may take, where the manifest says nothing. Source: the design's `control-plane.md`, the manifest.
pub const TIMEOUT: Duration = Duration::from_secs(30);
/// How many hooks of one fulcrum begin within [`TURN_MS`]: after a split all its instances have one to run.
const TURN: usize = 8;
const TURN_MS: u64 = 500;
/// Between the beginnings of two hooks of one instance: a quick hook must not follow every beat of a bad network.
const REST_MS: u64 = 2_000;

/// What an instance is told of its horde.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Word {
    /// Home members are in other flocks, or not seen here.
    Parted,
    /// All home members are here again.
    Rejoined,
}

impl Word {
    /// `parted` or `rejoined`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Parted => "parted",
            Self::Rejoined => "rejoined",
        }
    }
}

/// One word to an instance, with the home members of its horde at that moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Telling {
    /// Counts up from 1, for one instance.
    pub number: u64,
    /// What.
    pub word: Word,
    /// Home members that are here and whose services answer, by name.
    pub present: Vec<FulcrumId>,
    /// Home members that are not, by name; nobody, where it has rejoined.
    pub absent: Vec<FulcrumId>,
    /// When it was said, by this fulcrum's wall clock.
    pub at: Wall,
}

impl Telling {
    /// Whether it says the same as another one.
    #[must_use]
    pub fn says(&self, other: &Self) -> bool {
        (self.word, &self.present, &self.absent) == (other.word, &other.present, &other.absent)
    }
}

/// How a hook ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HookEnd {
    /// With exit code 0.
    Well,
    /// Otherwise, or it could not be run.
    Failed {
        /// How, for people: `exit code 3`.
        why: String,
    },
    /// It took too long and was killed with all that it had started.
    TimedOut,
}

/// What an instance that was re-adopted had been told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Which instance.
    pub id: InstanceId,
    /// The last word to it.
    pub telling: Telling,
    /// Its last hook, if it had one: of which word, by number and kind, and how it ended, unless it runs.
    pub hook: Option<(u64, Word, Option<HookEnd>)>,
}

/// The last hook of an instance.
#[derive(Clone, Debug)]
struct Last {
    number: u64,
    word: Word,
    /// All that it was told; not known of one that an earlier life began with an older word.
    telling: Option<Telling>,
    /// The newest word that needs no hook any more, because of this one.
    covers: u64,
    began: Time,
    timeout: Duration,
    /// `None`: it runs.
    end: Option<HookEnd>,
}

/// What one instance was told.
#[derive(Clone, Debug, Default)]
struct Book {
    /// The number of the last word, also of an earlier run of the same instance.
    number: u64,
    last: Option<Telling>,
    hook: Option<Last>,
}

/// What the instances of one fulcrum were told, and their hooks.
#[derive(Clone, Debug)]
pub struct Hooks {
    pace: Pace,
    books: BTreeMap<InstanceId, Book>,
    /// When the present turn began, and how many hooks began in it.
    turn: (Time, usize),
    /// Whether something may have to be said.
    dirty: bool,
    sure: bool,
    deadline: Time,
}

impl Hooks {
    /// Nobody was told anything.
    #[must_use]
    pub fn new(pace: Pace) -> Self {
        let (books, turn, deadline) = (BTreeMap::new(), (Time::ZERO, 0), Time::NEVER);
        Self { pace, books, turn, dirty: true, sure: false, deadline }
    }

    /// Takes over what instances of an earlier life were told.
    pub fn adopt(&mut self, now: Time, kept: Vec<Kept>) {
        self.dirty = true;
        for Kept { id, telling, hook } in kept {
            let last = |(number, word, end)| {
                let telling = (number == telling.number).then(|| telling.clone());
                Last { number, word, telling, covers: number, began: now, timeout: TIMEOUT, end }
            };
            let hook = hook.map(last);
            self.books.insert(id, Book { number: telling.number, last: Some(telling), hook });
        }
    }

    /// Roles, facts or instances may have changed.
    pub fn look_again(&mut self) {
        self.dirty = true;
    }

    /// Tells what is to be told, and begins the hooks whose turn it is. `sure`: the flock has been complete for a moment.
    pub fn step(
        &mut self,
        now: Time,
        wall: Wall,
        items: &BTreeMap<InstanceId, Item>,
        roles: &Roles,
        sure: bool,
    ) -> Vec<Effect> {
        if !(self.dirty || sure != self.sure || now >= self.deadline) {
            return Vec::new();
        }
        (self.dirty, self.sure) = (false, sure);
        self.books.retain(|id, _| items.contains_key(id));
        let mut effects = Vec::new();
        let mut seen: BTreeMap<&HordeName, Option<Members>> = BTreeMap::new();
        for (id, item) in items {
            if item.instance.phase != Phase::Running {
                // Its next run knows nothing; numbers go on.
                if let Some(book) = self.books.get_mut(id) {
                    (book.last, book.hook) = (None, None);
                }
                continue;
            }
            let horde = &item.instance.of.horde;
            let Some((present, absent)) = seen.entry(horde).or_insert_with(|| members(roles, horde)) else { continue };
            if sure {
                let book = self.books.entry(id.clone()).or_default();
                effects.extend(book.tell(id, wall, present, absent));
            }
        }
        self.begin(now, items, &mut effects);
        effects
    }

    fn begin(&mut self, now: Time, items: &BTreeMap<InstanceId, Item>, effects: &mut Vec<Effect>) {
        let (rest, turn) = (self.pace.ms(REST_MS), self.pace.ms(TURN_MS));
        self.deadline = Time::NEVER;
        let mut waiting = Vec::new();
        for (id, book) in &self.books {
            let Some(manifest) = items.get(id).and_then(Item::manifest) else { continue };
            let Some(commands) = &manifest.hooks else { continue };
            let began = book.hook.as_ref().map(|hook| hook.began);
            if let Some(telling) = book.wants(commands) {
                waiting.push((began, id.clone(), telling.clone(), timeout(commands)));
            }
        }
        // Who has waited longest goes first.
        waiting.sort_by(|(a, one, ..), (b, other, ..)| (a, one).cmp(&(b, other)));
        for (began, id, telling, timeout) in waiting {
            let from = began.map_or(now, |began| began + rest);
            if now >= self.turn.0 + turn {
                self.turn = (now, 0);
            }
            if from > now {
                self.deadline = self.deadline.min(from);
            } else if self.turn.1 >= TURN {
                self.deadline = self.deadline.min(self.turn.0 + turn);
            } else if let Some(book) = self.books.get_mut(&id) {
                self.turn.1 += 1;
                let (number, word) = (telling.number, telling.word);
                let telling = Some(telling);
                book.hook = Some(Last { number, word, telling, covers: number, began: now, timeout, end: None });
                effects.push(Effect::Hook { id, number, word, timeout });
            }
        }
    }

    /// Takes the word that a hook ended. The answer is for people; none, if nobody waited for it.
    pub fn ended(&mut self, instance: &Instance, number: u64, end: HookEnd) -> Option<Event> {
        let book = self.books.get_mut(&instance.id)?;
        let hook = book.hook.as_mut().filter(|hook| hook.number == number && hook.end.is_none())?;
        // What changed while it ran and has come back to what it was told is no news to it.
        if let (Some(newest), Some(told)) = (&book.last, &hook.telling)
            && told.says(newest)
        {
            hook.covers = newest.number;
        }
        let kind = match end {
            HookEnd::Well => "hook-ran",
            HookEnd::Failed { .. } => "hook-failed",
            HookEnd::TimedOut => "hook-timed-out",
        };
        hook.end = Some(end);
        self.dirty = true;
        let name = format!("{}.{}", instance.of, instance.slot);
        let text = format!("{name} on {}: {}", instance.id.fulcrum, hook.said());
        Some(Event { kind, subject: name, text })
    }

    /// How the last hook of an instance is, in a sentence; empty if it had none.
    #[must_use]
    pub fn said(&self, id: &InstanceId) -> String {
        self.books.get(id).and_then(|book| book.hook.as_ref()).map(Last::said).unwrap_or_default()
    }

    /// When [`Hooks::step`] has something to do by itself.
    #[must_use]
    pub fn deadline(&self) -> Time {
        self.deadline
    }
}

impl Book {
    fn tell(&mut self, id: &InstanceId, wall: Wall, present: &[FulcrumId], absent: &[FulcrumId]) -> Option<Effect> {
        let word = if absent.is_empty() { Word::Rejoined } else { Word::Parted };
        let news = match &self.last {
            None => word == Word::Parted,
            // Who joins a whole horde or leaves it for good is no affair of a split.
            Some(last) if last.word == Word::Rejoined => word == Word::Parted,
            Some(last) => word == Word::Rejoined || last.present != present || last.absent != absent,
        };
        if !news {
            return None;
        }
        self.number += 1;
        let (present, absent) = (present.to_vec(), absent.to_vec());
        let telling = Telling { number: self.number, word, present, absent, at: wall };
        self.last = Some(telling.clone());
        Some(Effect::Tell { id: id.clone(), telling })
    }

    /// The word with which a hook is to be run, if one is.
    fn wants(&self, commands: &Commands) -> Option<&Telling> {
        let newest = self.last.as_ref()?;
        let has = match newest.word {
            Word::Parted => !commands.parted.is_empty(),
            Word::Rejoined => !commands.rejoined.is_empty(),
        };
        let news = self.hook.as_ref().is_none_or(|hook| hook.end.is_some() && hook.covers < newest.number);
        (has && news).then_some(newest)
    }
}

impl Last {
    fn said(&self) -> String {
        let hook = format!("its hook {} of word {}", self.word.as_str(), self.number);
        match &self.end {
            None => format!("{hook} runs"),
            Some(HookEnd::Well) => format!("{hook} ended well"),
            Some(HookEnd::Failed { why }) => format!("{hook} failed: {why}"),
            Some(HookEnd::TimedOut) => {
                format!("{hook} took longer than {} and was killed with all that it had started", seconds(self.timeout))
            }
        }
    }
}

/// How long a hook of these may take.
#[must_use]
pub fn timeout(commands: &Commands) -> Duration {
    match commands.timeout_ms {
        0 => TIMEOUT,
        millis => Duration::from_millis(millis),
    }
}

/// Those who are here, and those who are not.
type Members = (Vec<FulcrumId>, Vec<FulcrumId>);

/// The home members of a horde that are here and those that are not. ADMIN is a flag, and nobody waits for who carried it.
fn members(roles: &Roles, horde: &HordeName) -> Option<Members> {
    let of = roles.hordes.get(horde).filter(|_| *horde != HordeName::admin())?;
    let sorted = |ids: &[FulcrumId]| {
        let mut ids = ids.to_vec();
        ids.sort();
        ids
    };
    Some((sorted(&of.present), sorted(&of.absent)))
}

#[cfg(test)]
mod tests;
