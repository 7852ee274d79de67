//! Frames under way from one life to another over one establishment of their link: they arrive in order, whatever happens
//! to the path meanwhile. What was held up on one establishment holds up nothing on the next.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

#[derive(Debug)]
struct Lane<F> {
    /// When the last of them may arrive at the earliest.
    last: u64,
    frames: VecDeque<F>,
    /// Of these the moment has come while the path did not work.
    stuck: u32,
}

/// From whom, to whom, over which establishment.
pub(super) type Way = (u32, u32, u32);

/// All lanes that hold something.
#[derive(Debug)]
pub(super) struct Lanes<F> {
    lanes: BTreeMap<Way, Lane<F>>,
    stuck: BTreeSet<Way>,
}

impl<F> Lanes<F> {
    pub(super) fn new() -> Self {
        Self { lanes: BTreeMap::new(), stuck: BTreeSet::new() }
    }

    /// Sends a frame that would arrive at `at`; says when it does.
    pub(super) fn send(&mut self, way: Way, at: u64, frame: F) -> u64 {
        let new = || Lane { last: 0, frames: VecDeque::new(), stuck: 0 };
        let lane = self.lanes.entry(way).or_insert_with(new);
        lane.last = at.max(lane.last + 1);
        lane.frames.push_back(frame);
        lane.last
    }

    /// Nothing sent from now on arrives before this.
    pub(super) fn not_before(&mut self, way: Way, at: u64) {
        let new = || Lane { last: 0, frames: VecDeque::new(), stuck: 0 };
        let lane = self.lanes.entry(way).or_insert_with(new);
        lane.last = lane.last.max(at);
    }

    /// The next of them arrives now.
    pub(super) fn arrive(&mut self, way: Way) -> Option<F> {
        let lane = self.lanes.get_mut(&way)?;
        let first = lane.frames.pop_front();
        if lane.frames.is_empty() {
            self.lanes.remove(&way);
        }
        first
    }

    /// The next of them should arrive now and cannot.
    pub(super) fn hold(&mut self, way: Way) {
        if let Some(lane) = self.lanes.get_mut(&way) {
            lane.stuck += 1;
            self.stuck.insert(way);
        }
    }

    /// The lanes that are stuck.
    pub(super) fn held(&self) -> Vec<Way> {
        self.stuck.iter().copied().collect()
    }

    /// The path works again: how many were due.
    pub(super) fn release(&mut self, way: Way) -> u32 {
        self.stuck.remove(&way);
        self.lanes.get_mut(&way).map_or(0, |lane| std::mem::take(&mut lane.stuck))
    }

    /// Puts the last arrival of a lane off; says when one more of those that were stuck arrives.
    pub(super) fn again(&mut self, way: Way, at: u64) -> u64 {
        self.lanes.get_mut(&way).map_or(at, |lane| {
            lane.last = at.max(lane.last + 1);
            lane.last
        })
    }

    /// A life is over: nothing reaches it any more, and what of its own had to be sent again is lost.
    pub(super) fn forget(&mut self, life: u32) {
        self.lanes.retain(|(from, to, _), lane| {
            *to != life && (*from != life || (lane.stuck == 0 && !lane.frames.is_empty()))
        });
        self.stuck.retain(|(from, to, _)| *from != life && *to != life);
    }
}
