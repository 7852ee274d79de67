//! Fulcrums without enough CPU among others that are well, and whom those who are well throw out.

use super::{Crowd, Installed};
use crate::world::Time;
use crux_core::flock::view::{View, ViewId};
use crux_core::hash::Random;
use crux_names::Duration;
use std::collections::BTreeMap;

/// How long one stands still at a time: at least this, and less than this and the other.
const STILL: (Duration, u64) = (Duration::from_millis(200), 3_800);
/// How long it runs in between. Whoever stands still is stopped again at the first look after this.
const RUNS: Duration = Duration::from_millis(50);

/// All but those who are well stand still for 0.2 to 4 s at a time, with a moment of work in between.
#[derive(Clone, Copy, Debug)]
pub struct Starved<F: Fn(usize) -> bool> {
    /// Which places are well.
    pub well: F,
    /// For how long it goes on.
    pub time: Duration,
}

impl<F: Fn(usize) -> bool> Starved<F> {
    /// Runs it with a flock that is settled, and counts who was evicted while well, by somebody who is well.
    ///
    /// Each of these counts once: a fulcrum H that is well, in the roster of a view V, with no higher view than V itself; and
    /// a view without H that has V among its parents, made by a proposer that is well and was in V (or takes in some of V).
    /// So whoever was thrown out by a starved one counts as little as those who went on to another view and are not
    /// waited for. Where the part of V's well members that the new view has is the smaller one, that part counts instead:
    /// a proposer that leaves alone is one, and not everybody else.
    pub fn run(&self, crowd: &mut Crowd) -> usize {
        let before = crowd.world.slots.iter().filter_map(|slot| slot.node.as_ref());
        let before: Vec<View> = before.map(|bird| bird.flock.view().clone()).collect();
        let mut random = Random::new(crowd.seed);
        let mut free: Vec<Time> = vec![crowd.world.now; crowd.size];
        let end = crowd.world.now + self.time;
        crowd.forget();
        while crowd.world.now < end {
            for (place, free) in free.iter_mut().enumerate().filter(|(place, _)| !(self.well)(*place)) {
                if *free <= crowd.world.now {
                    let sleep = STILL.0 + Duration::from_millis(random.below(STILL.1));
                    crowd.world.pause(place, sleep);
                    *free = crowd.world.now + sleep + RUNS;
                }
            }
            crowd.run_for(RUNS);
        }
        self.evicted(crowd, before)
    }

    /// Goes through all installs in their order; `current` is what everybody had before the first.
    fn evicted(&self, crowd: &Crowd, mut current: Vec<View>) -> usize {
        let mut views: BTreeMap<ViewId, View> = current.iter().map(|view| (view.id().clone(), view.clone())).collect();
        let mut evicted = 0;
        for Installed { place, view, .. } in &crowd.installs {
            let made_here = crowd.world.place_of(&view.leader().member) == Some(*place);
            for parent in view.head.header.parents.iter().filter(|_| made_here && (self.well)(*place)) {
                let Some(parent) = views.get(parent) else { continue };
                let places =
                    parent.roster.iter().filter_map(|seat| Some((crowd.world.place_of(&seat.member)?, &seat.member)));
                let well = places.filter(|(place, _)| (self.well)(*place));
                let (stayed, gone): (Vec<_>, Vec<_>) = well.partition(|(_, member)| view.has(member));
                let gone = gone.iter().filter(|(place, _)| current[*place].id() <= parent.id()).count();
                evicted += gone.min(stayed.len());
            }
            current[*place] = view.clone();
            views.insert(view.id().clone(), view.clone());
        }
        evicted
    }
}
