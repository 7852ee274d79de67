//! Large worlds: up to ten thousand fulcrums that form one flock, lose half of it and get it back, and the measurements
//! that want so many. Rosters and the address book are shared by all, and no rule looks at each step: what is asked for is
//! time, memory and the one right end. Source: the design's `flocking.md`, "Targets".

mod facts;
mod halves;
mod measure;
mod starved;

pub use halves::{Halves, Lost, Phase};
pub use measure::{Line, MEASURES, Measure};
pub use starved::Starved;

use crate::flocks::{Bird, Flocks, addr, config, member};
use crate::world::{Time, Weather, World};
use crux_core::flock::Flock;
use crux_core::flock::discovery::Book;
use crux_core::flock::view::{Seat, View, ViewId};
use crux_names::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// So many addresses are configured as seeds, as an operator would.
const SEEDS: usize = 5;
/// Whether all is as it must be is asked so often.
const LOOK: Duration = Duration::from_millis(20);

/// One install, as it was seen.
#[derive(Clone, Debug)]
pub struct Installed {
    /// When.
    pub at: Time,
    /// Where.
    pub place: usize,
    /// The view.
    pub view: View,
    /// What it lost by it, if anybody.
    pub loss: Option<Arc<Loss>>,
}

impl Installed {
    /// Members of the view.
    #[must_use]
    pub fn size(&self) -> usize {
        self.view.roster.len()
    }
}

/// A view with members that the next one has not, found out once for all who took the same step.
#[derive(Clone, Debug)]
pub struct Loss {
    /// The view before.
    pub before: ViewId,
    /// The places of its members that are in the next one, sorted.
    pub stayed: Vec<usize>,
    /// The places of those that are not, sorted.
    pub gone: Vec<usize>,
}

impl Loss {
    /// What the second view lacks of the first, if anything.
    fn between(world: &Flocks, before: &View, after: &View) -> Option<Self> {
        let is_in = |seat: &&Seat| after.has(&seat.member);
        let (stayed, gone): (Vec<&Seat>, Vec<&Seat>) = before.roster.iter().partition(is_in);
        let places = |seats: Vec<&Seat>| {
            let mut places: Vec<usize> = seats.into_iter().filter_map(|seat| world.place_of(&seat.member)).collect();
            places.sort_unstable();
            places
        };
        (!gone.is_empty()).then(|| Self { before: before.id().clone(), stayed: places(stayed), gone: places(gone) })
    }
}

/// A large world with what is seen of it.
pub struct Crowd {
    /// The fulcrums and their network.
    pub world: Flocks,
    /// Every install since the last [`Crowd::forget`], but those of everybody's own first view.
    pub installs: Vec<Installed>,
    seed: u64,
    size: usize,
    book: Arc<Book>,
    /// How many installs of each place were seen.
    seen: Vec<usize>,
    /// The steps from one view to the next that were looked at.
    steps: BTreeMap<(ViewId, ViewId), Option<Arc<Loss>>>,
    boots: Vec<u64>,
}

impl Crowd {
    /// So many fulcrums that all begin now, knowing each other's addresses from before, as after a loss of power.
    #[must_use]
    pub fn new(size: usize, seed: u64, weather: Weather) -> Self {
        let book = Book::new((0..size).map(|place| (member(place, 1).id, addr(place))));
        let mut crowd = Self {
            world: World::new(seed, weather),
            installs: Vec::new(),
            seed,
            size,
            book: Arc::new(book),
            seen: vec![0; size],
            steps: BTreeMap::new(),
            boots: vec![1; size],
        };
        for place in 0..size {
            let bird = crowd.bird(place);
            crowd.world.add(member(place, 1), addr(place), bird);
        }
        crowd
    }

    /// How many there are, living or not.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.size
    }

    fn bird(&self, place: usize) -> Bird {
        let few = SEEDS.min(self.size);
        let mut config = config(place, few, self.boots[place], self.seed);
        config.book = self.book.clone();
        let mut bird = Bird::new(Flock::new(self.world.now, config));
        bird.slim = true;
        bird
    }

    /// Begins another life in a place.
    pub fn restart(&mut self, place: usize) {
        self.boots[place] += 1;
        let bird = self.bird(place);
        self.seen[place] = 0;
        self.world.restart(place, member(place, self.boots[place]), bird);
    }

    /// Forgets the installs that were seen.
    pub fn forget(&mut self) {
        self.installs.clear();
        self.steps.clear();
    }

    /// Runs for so long.
    pub fn run_for(&mut self, time: Duration) {
        let end = self.world.now + time;
        let (installs, seen, steps) = (&mut self.installs, &mut self.seen, &mut self.steps);
        self.world.run_until(end, &mut |world| {
            for step in &world.news {
                let Some(bird) = &world.slots[step.place].node else { continue };
                for next in seen[step.place]..bird.installed.len() {
                    let (at, view) = &bird.installed[next];
                    // Everybody's own first view has nobody else in it to lose.
                    let before = next.checked_sub(1).map(|before| &bird.installed[before].1);
                    let loss = before.filter(|before| before.roster.len() > 1).and_then(|before| {
                        let step = steps.entry((before.id().clone(), view.id().clone()));
                        step.or_insert_with(|| Loss::between(world, before, view).map(Arc::new)).clone()
                    });
                    installs.push(Installed { at: *at, place: step.place, view: view.clone(), loss });
                }
                seen[step.place] = bird.installed.len();
            }
        });
    }

    /// Runs until this is so, and says how long that took.
    ///
    /// # Errors
    /// What is wrong when the limit is over.
    pub fn until(&mut self, limit: Duration, goal: impl Fn(&Self) -> Result<(), String>) -> Result<Duration, String> {
        let begin = self.world.now;
        loop {
            let took = self.world.now.since(begin);
            match goal(self) {
                Ok(()) => return Ok(took),
                Err(why) if took >= limit => return Err(format!("after {took:?}: {why}")),
                Err(_) => self.run_for(LOOK),
            }
        }
    }

    /// Whether the living in these places, and nobody else, are one flock, each by its own view.
    ///
    /// # Errors
    /// How many are not, and what one of them has instead.
    pub fn one_flock(&self, places: &[usize]) -> Result<(), String> {
        let birds = || places.iter().filter_map(|place| self.world.slots[*place].node.as_ref());
        let Some(first) = birds().next() else { return Ok(()) };
        let (id, living) = (first.flock.view().id(), birds().count());
        let others = birds().filter(|bird| bird.flock.view().id() != id).count();
        if others == 0 && first.flock.view().roster.len() == living {
            return Ok(());
        }
        let shapes: BTreeSet<(usize, &ViewId)> =
            birds().map(|bird| (bird.flock.view().roster.len(), bird.flock.view().id())).collect();
        let largest: Vec<String> = shapes.iter().rev().take(5).map(|(size, id)| format!("{size} {id:?}")).collect();
        Err(format!("{living} live in {} views, the largest of {}", shapes.len(), largest.join(", ")))
    }

    /// Whether all who live in these places hold their flock to be complete.
    ///
    /// # Errors
    /// How many do not, and what a leader lacks.
    pub fn stable(&self, places: &[usize]) -> Result<(), String> {
        let is = |place: &&usize| {
            let slot = &self.world.slots[**place];
            slot.node.as_ref().is_some_and(|bird| !bird.flock.stable(self.world.local(**place)))
        };
        let not = places.iter().filter(is).count();
        if not == 0 {
            return Ok(());
        }
        let leader =
            places.iter().find(|place| self.world.slots[**place].node.as_ref().is_some_and(|bird| bird.flock.leads()));
        let lacking = leader
            .and_then(|place| self.world.slots[*place].node.as_ref()?.flock.status(self.world.local(*place)).lacking);
        Err(format!("{not} are not stable; a leader says: {}", lacking.unwrap_or("nothing is lacking")))
    }

    /// The place of the leader of the flock that this place is in.
    #[must_use]
    pub fn leader_of(&self, place: usize) -> Option<usize> {
        let bird = self.world.slots[place].node.as_ref()?;
        self.world.place_of(&bird.flock.view().leader().member)
    }

    /// All places.
    #[must_use]
    pub fn all(&self) -> Vec<usize> {
        (0..self.size).collect()
    }
}
