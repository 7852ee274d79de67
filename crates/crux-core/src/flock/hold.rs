//! Flap hold: who broke off twice is readmitted at once; from the third time on only after a while of clean round trips,
//! each time twice as long, at most ten minutes. Ten clean minutes and all is forgotten.
//!
//! Who left on purpose did not break off, and who comes back after its process was started again is held like anybody
//! else: a fulcrum that crashes in a loop must not shake the others.

use super::Output;
use super::machine::Flock;
use super::timers::FREE_RETURNS;
use super::view::{Roster, View};
use alloc::vec::Vec;
use crux_names::{Duration, FulcrumId, Time};

/// Fulcrums that are remembered, at most; the oldest goes first.
const REMEMBERED: usize = 4096;
/// Times that many broke off at once that are remembered, at most; the oldest goes first.
const BREAKUPS: usize = 8;

/// How often a fulcrum broke off.
#[derive(Clone, Debug)]
pub struct Breaks {
    times: u32,
    /// The last time that it broke off, or that a round trip with it failed since.
    last: Time,
}

/// Many members that broke off at once, as when a network is cut. Nothing is kept of each of them.
#[derive(Clone, Debug)]
pub struct Breakup {
    /// Members before it and after it.
    before: Roster,
    after: Roster,
    /// The last time that they broke off, or that a round trip with one of them failed since.
    last: Time,
}

impl Breakup {
    fn of(&self, id: &FulcrumId) -> bool {
        self.before.position(id).is_some() && self.after.position(id).is_none()
    }
}

impl Flock {
    /// So many members are out of the view that replaces the one with this roster that they are remembered as one.
    pub(super) fn broke_up(&mut self, before: &Roster) {
        let (now, forgotten) = (self.now, self.t.held_to);
        self.breakups.retain(|breakup| now.since(breakup.last) < forgotten);
        if self.breakups.len() >= BREAKUPS {
            self.breakups.remove(0);
        }
        self.breakups.push(Breakup { before: before.clone(), after: self.view.roster.clone(), last: now });
    }

    /// A member is out of the view that replaces this one, and did not say that it leaves.
    pub(super) fn broke_off(&mut self, id: &FulcrumId, out: &mut Vec<Output>) {
        let (now, forgotten) = (self.now, self.t.held_to);
        self.breaks.retain(|_, breaks| now.since(breaks.last) < forgotten);
        if self.breaks.len() >= REMEMBERED
            && let Some(oldest) = self.breaks.iter().min_by_key(|(_, breaks)| breaks.last).map(|(id, _)| id.clone())
        {
            self.breaks.remove(&oldest);
        }
        let breaks = self.breaks.entry(id.clone()).or_insert(Breaks { times: 0, last: now });
        breaks.times = breaks.times.saturating_add(1);
        breaks.last = now;
        if let Some(wait) = self.held(id) {
            out.push(Output::Held { fulcrum: id.clone(), wait });
        }
    }

    /// A round trip with it failed while it is held: the clean time begins anew.
    pub(super) fn flapped(&mut self, id: &FulcrumId) {
        let now = self.now;
        if let Some(breaks) = self.breaks.get_mut(id) {
            breaks.last = now;
        }
        for breakup in self.breakups.iter_mut().filter(|breakup| breakup.of(id)) {
            breakup.last = now;
        }
    }

    /// For how much longer it is not readmitted.
    pub(super) fn held(&self, id: &FulcrumId) -> Option<Duration> {
        let (mut times, mut last) = self.breaks.get(id).map_or((0, Time::ZERO), |breaks| (breaks.times, breaks.last));
        let (now, forgotten) = (self.now, self.t.held_to);
        for breakup in self.breakups.iter().filter(|one| now.since(one.last) < forgotten && one.of(id)) {
            times = times.saturating_add(1);
            last = last.max(breakup.last);
        }
        if times <= FREE_RETURNS {
            return None;
        }
        let hold = self.t.held_from * 2_u32.saturating_pow((times - FREE_RETURNS - 1).min(8));
        let until = last + hold.min(self.t.held_to);
        (until > self.now).then(|| until.since(self.now))
    }

    /// For how much longer a flock is kept apart: if half of its members are held or more, until that is no longer so.
    pub(super) fn flock_held(&self, view: &View) -> Option<Duration> {
        let mut holds: Vec<Duration> = view.roster.iter().filter_map(|seat| self.held(&seat.member.id)).collect();
        if holds.len() * 2 < view.roster.len() || holds.is_empty() {
            return None;
        }
        holds.sort_unstable();
        let needed = holds.len() - (view.roster.len() - 1) / 2;
        holds.get(needed - 1).copied()
    }
}
