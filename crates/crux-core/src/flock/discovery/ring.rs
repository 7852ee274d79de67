//! Shares by time: hot addresses stand on a ring of 2³² places, and in each slot every member of a flock has its own arc of
//! it. From slot to slot the arcs move on by one.

use alloc::collections::BTreeMap;
use crux_names::{Duration, Time};

/// A hot address, in sixteen bytes: where a large network is cut in the middle each fulcrum has as many of them as it has
/// members left.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hot {
    /// When a dial from here last came to an end; zero: never.
    pub tried: Time,
    /// When it was lost or first heard of.
    pub since: Seconds,
    /// Whether the last dial was answered and refused.
    pub refused: bool,
    /// Whether the round waits until it was tried.
    pub counts: bool,
}

/// Whole seconds, rounded up: addresses are hot for minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Seconds(u32);

impl Seconds {
    pub fn of(time: Time) -> Self {
        Self(u32::try_from(time.as_nanos().div_ceil(1_000_000_000)).unwrap_or(u32::MAX))
    }

    pub const fn time(self) -> Time {
        Time::from_nanos(self.0 as u64 * 1_000_000_000)
    }
}

/// Where a fulcrum stands in its flock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub rank: u64,
    pub size: u64,
}

impl Place {
    /// Whose arc this place on the ring is in when nothing has moved yet.
    fn arc(self, key: u64) -> u64 {
        ((key >> 32) * self.size) >> 32
    }

    /// The first ring key of an arc; the end of the ring after the last.
    pub fn first(self, arc: u64) -> u64 {
        u32::try_from((arc << 32).div_ceil(self.size)).map_or(u64::MAX, |position| u64::from(position) << 32)
    }
}

/// Hot addresses that are tried once a slot by the flock as a whole.
#[derive(Clone, Debug)]
pub(super) struct Ring {
    pub map: BTreeMap<u64, Hot>,
    length: Duration,
    /// The next slot that is not done, and when it begins. Slots are counted by the own clock: where two members'
    /// clocks differ an address is now and then dialled by both or by neither, which does no harm.
    slot: u64,
    at: Time,
    /// How far the arc of this slot is done, if that has begun.
    pos: Option<u64>,
    /// When the next slot with something in this fulcrum's arc begins.
    pub wake: Time,
}

impl Ring {
    pub fn new(length: Duration) -> Self {
        Self { map: BTreeMap::new(), length, slot: 0, at: Time::ZERO, pos: None, wake: Time::NEVER }
    }

    fn begin(&mut self, slot: u64) {
        let nanos = u64::try_from(self.length.as_nanos()).unwrap_or(u64::MAX);
        self.slot = slot;
        self.at = Time::from_nanos(slot.saturating_mul(nanos));
        self.pos = None;
    }

    fn slot_of(&self, now: Time) -> u64 {
        now.as_nanos() / u64::try_from(self.length.as_nanos()).unwrap_or(u64::MAX).max(1)
    }

    /// The arcs are others now.
    pub fn place(&mut self, now: Time) {
        self.begin(self.slot_of(now) + 1);
        self.wake = if self.map.is_empty() { Time::NEVER } else { Time::ZERO };
    }

    pub fn insert(&mut self, now: Time, place: Place, key: u64, hot: Hot) {
        if self.map.is_empty() || (self.pos.is_none() && self.wake > now && self.at + self.length <= now) {
            // Nothing was here in the slots that went by: they are done.
            self.begin(self.slot_of(now));
        }
        self.map.insert(key, hot);
        let ahead = (place.arc(key) + place.size - (place.rank + self.slot) % place.size) % place.size;
        self.wake = self.wake.min(self.at + self.length * u32::try_from(ahead).unwrap_or(u32::MAX));
    }

    /// The next address that is due in this fulcrum's arc, with the moment at which its slot began.
    pub fn next_due(&mut self, now: Time, place: Place) -> Option<(u64, Time)> {
        loop {
            let (Some((first, _)), true) = (self.map.first_key_value(), self.wake <= now) else {
                if self.map.is_empty() {
                    self.wake = Time::NEVER;
                    self.pos = None;
                }
                return None;
            };
            let arc = (place.rank + self.slot) % place.size;
            if let Some(pos) = self.pos {
                if let Some((key, _)) = self.map.range(pos..).next()
                    && place.arc(*key) == arc
                {
                    self.pos = Some(key + 1);
                    return Some((*key, self.at));
                }
                // A fulcrum that cannot keep up falls behind slot by slot and skips none, so that nobody starves.
                self.pos = None;
                self.slot += 1;
                self.at = (self.at + self.length).max(now - self.length);
                continue;
            }
            let next = self.map.range(place.first(arc)..).next().map_or(*first, |(key, _)| *key);
            let ahead = (place.arc(next) + place.size - arc) % place.size;
            let begins = self.at + self.length * u32::try_from(ahead).unwrap_or(u32::MAX);
            if begins > now {
                self.wake = begins;
                return None;
            }
            self.slot += ahead;
            self.at = begins;
            self.pos = Some(place.first(place.arc(next)));
        }
    }
}
