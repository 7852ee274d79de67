//! Frames under way from one life to another over one establishment of their link: they arrive in order, whatever happens
//! to the path meanwhile. What was held up on one establishment holds up nothing on the next.

use crux_core::wire::{QUEUE_BYTES, QUEUE_FRAMES};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// So many frames are under way without a word that they arrived: what QUIC begins with, ten packets (RFC 9002, 7.2).
const WINDOW: u32 = 10;

#[derive(Debug)]
struct Lane<F> {
    /// When the last of them may arrive at the earliest.
    last: u64,
    /// Each with the moment at which it arrives, which never decreases, and its bytes.
    frames: VecDeque<(u64, usize, F)>,
    bytes: usize,
}

impl<F> Lane<F> {
    const fn new() -> Self {
        Self { last: 0, frames: VecDeque::new(), bytes: 0 }
    }

    /// Gives each frame the moment that it should arrive at, but after the one before it; says which moments are new.
    fn put(&mut self, should: impl Fn(u64) -> u64) -> Vec<u64> {
        let (mut last, mut new) = (0, Vec::new());
        for (at, ..) in &mut self.frames {
            let then = should(*at).max(last + 1);
            if then != *at {
                *at = then;
                new.push(then);
            }
            last = then;
        }
        self.last = last;
        new
    }
}

/// From whom, to whom, over which establishment.
pub(super) type Way = (u32, u32, u32);

/// All lanes that hold something.
#[derive(Debug)]
pub(super) struct Lanes<F> {
    lanes: BTreeMap<Way, Lane<F>>,
    stuck: BTreeSet<Way>,
    /// How many frames arrived over each without a way back for what acknowledges them.
    unacknowledged: BTreeMap<Way, u32>,
    /// Lanes that hold nothing and stay for the moment before which nothing may arrive, with that moment.
    opened: VecDeque<(u64, Way)>,
}

impl<F> Lanes<F> {
    pub(super) fn new() -> Self {
        Self {
            lanes: BTreeMap::new(),
            stuck: BTreeSet::new(),
            unacknowledged: BTreeMap::new(),
            opened: VecDeque::new(),
        }
    }

    /// Sends a frame that would arrive at `at`; says when it does.
    pub(super) fn send(&mut self, way: Way, at: u64, length: usize, frame: F) -> u64 {
        let lane = self.lanes.entry(way).or_insert_with(Lane::new);
        lane.last = at.max(lane.last + 1);
        lane.frames.push_back((lane.last, length, frame));
        lane.bytes += length;
        lane.last
    }

    /// Whether a frame of this length may be sent: what has not arrived waits in the queue of `crux-link`, but for the
    /// quarter of a mebibyte that may be on its way.
    pub(super) fn room(&self, way: Way, length: usize) -> bool {
        let fits = |lane: &Lane<F>| lane.frames.len() < QUEUE_FRAMES && lane.bytes + length <= QUEUE_BYTES;
        self.lanes.get(&way).is_none_or(fits)
    }

    /// Nothing sent from now on arrives before this. Most links of a large world never carry a frame: their lanes are
    /// dropped when that moment is over.
    pub(super) fn not_before(&mut self, way: Way, at: u64, now: u64) {
        let lane = self.lanes.entry(way).or_insert_with(Lane::new);
        lane.last = lane.last.max(at);
        self.opened.push_back((at, way));
        while self.opened.front().is_some_and(|(until, _)| *until < now) {
            let Some((_, way)) = self.opened.pop_front() else { return };
            if self.lanes.get(&way).is_some_and(|lane| lane.frames.is_empty() && lane.last < now) {
                self.lanes.remove(&way);
            }
        }
    }

    /// Whether the next of them is due. It is not if it was put off or brought forward since its moment was first told.
    pub(super) fn due(&self, way: Way, now: u64) -> bool {
        self.lanes.get(&way).and_then(|lane| lane.frames.front()).is_some_and(|(at, ..)| *at <= now)
    }

    /// Whether one more may arrive if there is no way back: a sender stops when so much is not acknowledged.
    pub(super) fn in_window(&self, way: Way) -> bool {
        self.unacknowledged.get(&way).is_none_or(|count| *count < WINDOW)
    }

    /// Whether there is a way back from where the next of them arrives.
    pub(super) fn answerable(&mut self, way: Way, back: bool) {
        if !back {
            *self.unacknowledged.entry(way).or_default() += 1;
        } else if !self.unacknowledged.is_empty() {
            self.unacknowledged.remove(&way);
        }
    }

    /// The next of them arrives now.
    pub(super) fn arrive(&mut self, way: Way) -> Option<F> {
        let lane = self.lanes.get_mut(&way)?;
        let first = lane.frames.pop_front();
        lane.bytes -= first.as_ref().map_or(0, |(_, length, _)| *length);
        if lane.frames.is_empty() {
            self.lanes.remove(&way);
        }
        first.map(|(.., frame)| frame)
    }

    /// The next of them should arrive now and cannot.
    pub(super) fn hold(&mut self, way: Way) {
        if self.lanes.contains_key(&way) {
            self.stuck.insert(way);
        }
    }

    /// The lanes that are stuck.
    pub(super) fn held(&self) -> Vec<Way> {
        self.stuck.iter().copied().collect()
    }

    /// The path works again: nothing arrives before this moment. Says when what was put off does.
    pub(super) fn release(&mut self, way: Way, from: u64) -> Vec<u64> {
        self.stuck.remove(&way);
        self.lanes.get_mut(&way).map_or_else(Vec::new, |lane| lane.put(|at| at.max(from)))
    }

    /// The lanes that are not stuck and hold something that arrives after this moment.
    pub(super) fn later_than(&self, at: u64) -> Vec<Way> {
        let late = |lane: &Lane<F>| lane.frames.back().is_some_and(|(last, ..)| *last > at);
        self.lanes.iter().filter(|(way, lane)| late(lane) && !self.stuck.contains(*way)).map(|(way, _)| *way).collect()
    }

    /// Everything arrives by this moment; says when what is brought forward does.
    pub(super) fn hurry(&mut self, way: Way, by: u64) -> Vec<u64> {
        self.lanes.get_mut(&way).map_or_else(Vec::new, |lane| lane.put(|at| at.min(by)))
    }

    /// A life is over: nothing reaches it any more, and what of its own had to be sent again is lost.
    pub(super) fn forget(&mut self, life: u32) {
        let stuck = &self.stuck;
        self.lanes.retain(|way, lane| {
            let (from, to, _) = way;
            *to != life && (*from != life || (!stuck.contains(way) && !lane.frames.is_empty()))
        });
        self.stuck.retain(|(from, to, _)| *from != life && *to != life);
        self.unacknowledged.retain(|(from, to, _), _| *from != life && *to != life);
    }
}
