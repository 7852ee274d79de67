//! What must come to hold once the faults have stopped, one rule a file, each with its source: the design's `flocking.md`,
//! "What must hold". Each is a question about a [`Scene`], asked again until it is answered or its time is over.

mod e1_one_flock;
mod e2_the_cliques;
mod e3_partition;
mod e4_broken_pair;
mod e5_sticky_leader;
mod e6_stable;
mod e7_caught_up;
mod e8_as_fresh;

pub use e1_one_flock::one_flock;
pub use e2_the_cliques::{cliques, exactly_the_cliques};
pub use e3_partition::partition;
pub use e4_broken_pair::no_broken_pair_together;
pub use e5_sticky_leader::StickyLeader;
pub use e6_stable::{DoubleStable, all_stable};
pub use e7_caught_up::CaughtUp;
pub use e8_as_fresh::{as_good_as_fresh, weight};

use crate::invariants::Flocking;
use crate::world::{Time, World};
use crux_core::flock::view::{View, ViewId};
use crux_core::flock::{Apart, Flock};
use crux_names::Member;

/// One living fulcrum.
#[derive(Clone, Debug)]
pub struct Actor<'a> {
    /// Where it lives.
    pub place: usize,
    /// Who it is.
    pub member: &'a Member,
    /// All that it knows.
    pub flock: &'a Flock,
    /// Its installed view.
    pub view: &'a View,
    /// Whether it believes its flock complete.
    pub stable: bool,
    /// What it still waits for, if it leads.
    pub lacking: Option<&'static str>,
    /// Flocks that are held apart from its own because somebody broke off too often, as it shows them.
    pub held_apart: Vec<ViewId>,
}

/// Everybody that counts, and who can talk to whom.
pub struct Scene<'a> {
    /// Now.
    pub now: Time,
    /// The living, by place.
    pub actors: Vec<Actor<'a>>,
    works: Box<dyn Fn(usize, usize) -> bool + 'a>,
}

impl<'a> Scene<'a> {
    /// The living of a world, those of them that `counts` by place.
    pub fn of<N: Flocking>(world: &'a World<N>, counts: impl Fn(usize) -> bool) -> Self {
        let living = world.slots.iter().enumerate().filter(|(place, _)| counts(*place));
        let actors = living.filter_map(|(place, slot)| {
            let flock = slot.node.as_ref()?.flock();
            let stable = flock.stable(world.local(place));
            let status = flock.status(world.local(place));
            let held = status.siblings.into_iter().filter(|sibling| sibling.apart == Apart::FlapHold);
            let held_apart = held.map(|sibling| sibling.head.id.clone()).collect();
            let (member, view) = (&slot.member, flock.view());
            Some(Actor { place, member, flock, view, stable, lacking: status.lacking, held_apart })
        });
        Self { now: world.now, actors: actors.collect(), works: Box::new(|a, b| world.connected(a, b)) }
    }

    /// Whether these two places can talk in both directions.
    #[must_use]
    pub fn works(&self, a: usize, b: usize) -> bool {
        a == b || (self.works)(a, b)
    }

    /// The actor that this member is, if it lives and counts.
    #[must_use]
    pub fn actor(&self, member: &Member) -> Option<&Actor<'a>> {
        self.actors.iter().find(|actor| actor.member == member)
    }

    /// Whether all of these can talk to each other.
    #[must_use]
    pub fn clique(&self, places: &[usize]) -> bool {
        places.iter().all(|a| places.iter().all(|b| self.works(*a, *b)))
    }
}
