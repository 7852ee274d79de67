//! Flocking, tried out: every history of a small kind, one after the other, instead of drawn ones.
//!
//! A [`History`] is a graph of working pairs, another one from some moment of the first minute on, a crash at that moment or
//! none, and at most one thing more: the crashed one is back at some moment, or one message is lost. Then it is quiet, and then
//! everything heals. Nothing may get stuck, nothing may change for ever, and all rules of safety hold at every step.
//!
//! The moments are a grid over the time in which fulcrums find each other and over the time in which they part, so that the
//! change falls before, into and after each step of a proposal. What is exhaustive here and what is not:
//! `docs/decisions/0029-what-exhaustive-means.md`.

use crate::flocks::{Bird, Flocks, bird, flocks, member, until_shape};
use crate::invariants::{Rules, flocking};
use crate::world::{Fate, Weather};
use crux_names::{Duration, Member};
use std::fmt;

/// So many fulcrums are in the histories that have numbers.
pub const SIZE: usize = 3;
/// How many graphs there are of three.
const GRAPHS: u64 = 8;
/// Nobody, or one of three.
const CRASHES: u64 = 4;
/// How many moments the change has.
pub const MOMENTS: u64 = 24;
/// How many moments the return of a crashed one has.
const RETURNS: u64 = 24;
/// How many orders in which messages arrive are drawn for each history without anything more, and with a return.
pub const SCHEDULES: u64 = 4;
/// Of the messages that are sent in this time after the change each one is lost in some history.
pub const WINDOW: Duration = Duration::from_secs(9);
/// So many frames are sent in that time at most, and so many datagrams.
pub const FRAMES: u64 = 64;
/// See [`FRAMES`].
pub const DATAGRAMS: u64 = 160;

/// Histories of a change and a crash.
const CHANGES: u64 = GRAPHS * GRAPHS * CRASHES * MOMENTS;
/// Histories without anything more.
pub const PLAIN: u64 = CHANGES * SCHEDULES;
/// Histories in which the crashed one comes back.
pub const BACK: u64 = CHANGES / CRASHES * (CRASHES - 1) * RETURNS * SCHEDULES;
/// Histories in which a message is lost.
pub const LOST: u64 = CHANGES * (2 * FRAMES + DATAGRAMS);
/// All of them, in this order.
pub const ALL: u64 = PLAIN + BACK + LOST;

/// What happens, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    /// How many fulcrums.
    pub size: usize,
    /// Which pairs work at first: bit `i` says it of the `i`th of [`pairs`].
    pub first: usize,
    /// Which pairs work after the change.
    pub second: usize,
    /// When the change is, after the start.
    pub moment: Duration,
    /// Who crashes with it.
    pub crash: Option<usize>,
    /// How long after the change whoever crashed is back; else it is when everything heals.
    pub back: Option<Duration>,
    /// What becomes of which message after the change.
    pub lost: Option<(Fate, u32)>,
    /// Which network: from 0, see [`History::weather`].
    pub schedule: u64,
    /// Decides the delays.
    pub seed: u64,
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { size, first, second, moment, crash, back, lost, schedule, seed } = self;
        write!(
            f,
            "size {size}, graph {first:b} then {second:b} at {moment:?}, crash {crash:?}, back {back:?}, lost {lost:?}, \
             schedule {schedule}, seed {seed}"
        )
    }
}

/// A digit of a number in mixed radix.
fn digit(rest: &mut u64, radix: u64) -> u64 {
    let digit = *rest % radix;
    *rest /= radix;
    digit
}

fn small(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

impl History {
    /// One of three fulcrums by its number, from 0 to [`ALL`].
    #[must_use]
    pub fn of(number: u64) -> Self {
        let (kind, mut rest) = match number {
            _ if number < PLAIN => (0, number),
            _ if number < PLAIN + BACK => (1, number - PLAIN),
            _ => (2, number - PLAIN - BACK),
        };
        let step = digit(&mut rest, MOMENTS);
        let crash = match kind {
            1 => Some(digit(&mut rest, CRASHES - 1)),
            _ => digit(&mut rest, CRASHES).checked_sub(1),
        };
        let second = digit(&mut rest, GRAPHS);
        let first = digit(&mut rest, GRAPHS);
        // What more happens to a history changes nothing of what is drawn for it until then.
        let seed = first * 1000 + second * 100 + step;
        let schedule = if kind == 2 { 0 } else { digit(&mut rest, SCHEDULES) };
        let back = (kind == 1).then(|| Duration::from_millis(50 + 350 * digit(&mut rest, RETURNS)));
        let lost = (kind == 2).then(|| {
            let (fate, nth) = match rest {
                late if late < FRAMES => (Fate::Late, late),
                ended if ended < 2 * FRAMES => (Fate::LinkEnds, ended - FRAMES),
                lost => (Fate::Lost, lost - 2 * FRAMES),
            };
            (fate, u32::try_from(nth).unwrap_or(u32::MAX))
        });
        Self {
            size: SIZE,
            first: small(first),
            second: small(second),
            moment: moment(step, MOMENTS),
            crash: crash.map(small),
            back,
            lost,
            schedule,
            seed: seed + 1_000_000 * schedule,
        }
    }

    /// The network of its schedule: fine, fine with other delays, slow and uneven, or one that repeats and reorders.
    #[must_use]
    pub fn weather(&self) -> Weather {
        let millis = Duration::from_millis;
        match self.schedule {
            2 => Weather { delay_from: millis(2), delay_to: millis(60), ..Weather::default() },
            3 => Weather { duplicates: 200, reordered: 200, ..Weather::default() },
            _ => Weather::default(),
        }
    }

    /// Lets it happen.
    ///
    /// # Errors
    /// The rule that was broken, with the history.
    pub fn run(&self) -> Result<Ran, String> {
        self.happen().map_err(|why| format!("{self}: {why}"))
    }

    fn happen(&self) -> Result<Ran, String> {
        let Self { size, first, second, crash, seed, .. } = *self;
        let mut model = Model { world: flocks(size, seed, self.weather()), rules: flocking(), failure: None };
        model.set_graph(first);
        model.run(self.moment)?;
        model.set_graph(second);
        if let Some(place) = crash {
            model.world.crash(place);
        }
        let before = model.world.sent;
        if let Some((fate, nth)) = self.lost {
            model.world.doom(fate, nth);
        }
        if let Some(after) = self.back {
            model.run(after)?;
            model.start_again(self);
        }
        model.run(WINDOW.saturating_sub(self.back.unwrap_or_default()))?;
        let sent = model.world.sent;
        let mut ran =
            Ran { frames: sent.frames - before.frames, datagrams: sent.datagrams - before.datagrams, void: false };
        if self.lost.is_some() && model.world.is_doomed() {
            // There was no such message: it is the history in which nothing is lost.
            ran.void = true;
            return Ok(ran);
        }
        model.run(Duration::from_secs(25).saturating_sub(WINDOW) + self.back.unwrap_or_default())?;
        partition_of_cliques(&model.world, second)?;
        model.quiet()?;
        // E8: after the heal it is as good as fresh.
        model.set_graph((1 << pairs(size).len()) - 1);
        if self.back.is_none() {
            model.start_again(self);
        }
        let whole: Vec<String> = (1..=size).map(|n| format!("n{n}")).collect();
        until_shape(&mut model.world, &whole.join(","), Duration::from_secs(12))?;
        Ok(ran)
    }
}

/// What came of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ran {
    /// Frames that were sent in the [`WINDOW`].
    pub frames: u32,
    /// Datagrams that were.
    pub datagrams: u32,
    /// The message that was to be lost was never sent.
    pub void: bool,
}

/// 0.45 s to 1.5 s is the finding; from then to 6 s the flock stands and may be about to part.
#[must_use]
pub fn moment(step: u64, steps: u64) -> Duration {
    let half = steps / 2;
    let micros =
        if step < half { 450_000 + step * 1_050_000 / half } else { 1_500_000 + (step - half) * 4_500_000 / half };
    Duration::from_micros(micros)
}

/// All pairs of so many places, in the order of a graph's bits.
#[must_use]
pub fn pairs(size: usize) -> Vec<(usize, usize)> {
    (0..size).flat_map(|a| (a + 1..size).map(move |b| (a, b))).collect()
}

struct Model {
    world: Flocks,
    rules: Rules,
    failure: Option<String>,
}

impl Model {
    fn set_graph(&mut self, graph: usize) {
        for (bit, (a, b)) in pairs(self.world.slots.len()).into_iter().enumerate() {
            let works = graph >> bit & 1 == 1;
            self.world.set_path(a, b, works);
            self.world.set_path(b, a, works);
        }
    }

    /// Lets time pass under the rules of safety.
    fn run(&mut self, time: Duration) -> Result<(), String> {
        let end = self.world.now + time;
        let Self { world, rules, failure } = self;
        world.run_until(end, &mut |world| {
            if failure.is_none() {
                *failure = rules.look(world).err().map(|(rule, why)| format!("{rule}: at {}: {why}", world.now));
            }
        });
        failure.take().map_or(Ok(()), Err)
    }

    /// Whoever crashed begins its second life.
    fn start_again(&mut self, history: &History) {
        if let Some(place) = history.crash {
            let node = bird(self.world.now, place, history.size, 2, history.seed);
            self.world.restart(place, member(place, 2), node);
        }
    }

    /// E3 and E6: views change no more, and each part is stable but for the moments in which a refused flock asks again.
    fn quiet(&mut self) -> Result<(), String> {
        let before = installs(&self.world);
        let mut stable = vec![0; self.world.slots.len()];
        for _ in 0..15 {
            self.run(Duration::from_secs(1))?;
            let now = self.world.now;
            for (slot, count) in self.world.slots.iter().zip(&mut stable) {
                *count += usize::from(slot.node.as_ref().is_none_or(|bird| bird.flock.stable(now)));
            }
        }
        if before != installs(&self.world) {
            return Err("views still change".into());
        }
        if stable.iter().any(|count| *count < 8) {
            let now = self.world.now;
            let lacking: Vec<_> = birds(&self.world).map(|bird| bird.flock.status(now).lacking).collect();
            return Err(format!("stable in {stable:?} of 15 seconds; lacking {lacking:?}"));
        }
        Ok(())
    }
}

fn birds(world: &Flocks) -> impl Iterator<Item = &Bird> {
    world.slots.iter().filter_map(|slot| slot.node.as_ref())
}

fn installs(world: &Flocks) -> usize {
    birds(world).map(|bird| bird.installed.len()).sum()
}

/// E2, E3: the living are partitioned into agreed flocks, each a clique of working pairs.
fn partition_of_cliques(world: &Flocks, graph: usize) -> Result<(), String> {
    let pairs = pairs(world.slots.len());
    let works = |a: usize, b: usize| {
        let pair = (a.min(b), a.max(b));
        pairs.iter().position(|p| *p == pair).is_none_or(|bit| graph >> bit & 1 == 1)
    };
    for (at, slot) in world.slots.iter().enumerate() {
        let Some(bird) = &slot.node else { continue };
        for seat in &bird.flock.view().roster {
            let living = world.slots.iter().position(|other| other.member == seat.member && other.node.is_some());
            let Some((other, theirs)) = living.and_then(|other| Some((other, world.slots[other].node.as_ref()?)))
            else {
                return Err(format!("{} still has {} in its view", slot.member, seat.member));
            };
            if theirs.flock.view().id() != bird.flock.view().id() {
                return Err(format!("{} and {} do not agree on their view", slot.member, seat.member));
            }
            if other != at && !works(at, other) {
                return Err(format!("{} and {} share a view over a broken pair", slot.member, seat.member));
            }
        }
    }
    // No two flocks could merge: between any two of them some pair is broken.
    for (at, slot) in world.slots.iter().enumerate() {
        for (other, theirs) in world.slots.iter().enumerate().skip(at + 1) {
            let (Some(a), Some(b)) = (&slot.node, &theirs.node) else { continue };
            let (a, b) = (a.flock.view(), b.flock.view());
            let place = |m: &Member| world.slots.iter().position(|slot| slot.member == *m).unwrap_or(at);
            let union = a.roster.iter().chain(&b.roster).map(|seat| place(&seat.member)).collect::<Vec<_>>();
            let clique = union.iter().all(|x| union.iter().all(|y| x == y || works(*x, *y)));
            if a.id() != b.id() && clique {
                return Err(format!("the flocks of {} and {} could be one", slot.member, world.slots[other].member));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Otherwise some would be tried twice and others never.
    #[test]
    fn every_number_is_another_history() {
        let form = |number: u64| {
            let History { first, second, moment, crash, back, lost, schedule, .. } = History::of(number);
            let lost = lost.map(|(fate, nth)| (fate as u8, nth));
            (first, second, moment, crash, back, lost, schedule)
        };
        let plain: BTreeSet<_> = (0..PLAIN).map(form).collect();
        assert_eq!(plain.len() as u64, PLAIN);
        // Of the many others those that differ in one thing from the next of their kind.
        for (from, to) in [(PLAIN, PLAIN + BACK), (PLAIN + BACK, ALL)] {
            let some: Vec<u64> = (from..to).step_by(613).chain([to - 1]).collect();
            let forms: BTreeSet<_> = some.iter().map(|number| form(*number)).collect();
            assert_eq!(forms.len(), some.len());
        }
        let last = History::of(ALL - 1);
        assert_eq!(last.lost, Some((Fate::Lost, u32::try_from(DATAGRAMS - 1).unwrap())));
        assert!(History::of(PLAIN).back.is_some() && History::of(PLAIN).crash.is_some());
        assert_eq!(History::of(PLAIN - 1).lost, None);
    }
}
