//! E8: after the heal the state is as good as fresh: nobody outside is remembered as apart, nothing stands accused, and
//! the state has not grown beyond what a fresh one of that size has, but for the identities that it has seen. Source: the
//! design's `flocking.md`, "What must hold", and A10.

use crate::flocks::{Flocks, bird, flocks};
use crate::world::Weather;
use crux_core::flock::Flock;
use crux_names::Duration;
use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::sync::Mutex;

struct Counter(usize);

impl Write for Counter {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 += text.len();
        Ok(())
    }
}

/// How much a flocking machine remembers: the length of all of it, printed. A measure without any knowledge of what is
/// inside, so that nothing can be forgotten in it.
#[must_use]
pub fn weight(flock: &Flock) -> usize {
    let mut counter = Counter(0);
    // Counting does not fail.
    let _ = write!(counter, "{flock:?}");
    counter.0
}

/// What one of a fresh flock of this size weighs, and what each further life that it has heard of may add.
fn fresh(size: usize) -> (usize, usize) {
    static KNOWN: Mutex<BTreeMap<usize, (usize, usize)>> = Mutex::new(BTreeMap::new());
    if let Some(known) = KNOWN.lock().ok().and_then(|known| known.get(&size).copied()) {
        return known;
    }
    let measured = measure(size);
    if let Ok(mut known) = KNOWN.lock() {
        known.insert(size, measured);
    }
    measured
}

fn measure(size: usize) -> (usize, usize) {
    let mut world = flocks(size, 1, Weather::default());
    world.observing = false;
    let end = world.now + Duration::from_secs(12);
    world.run_until(end, &mut |_| {});
    let most = world.slots.iter().filter_map(|slot| slot.node.as_ref()).map(|node| weight(&node.flock)).max();
    let alone = weight(&bird(world.now, 0, 1, 1, 1).flock);
    let most = most.unwrap_or(0);
    (most, most.saturating_sub(alone) / size.max(1))
}

/// Looks at everybody in these places.
///
/// # Errors
/// Who remembers what, or too much.
pub fn as_good_as_fresh(world: &Flocks, counts: impl Fn(usize) -> bool) -> Result<(), String> {
    let size = world.slots.iter().enumerate().filter(|(at, slot)| counts(*at) && slot.node.is_some()).count();
    let (fresh, each) = fresh(size);
    let most = fresh + fresh / 2 + 2 * each * world.lives();
    for (place, slot) in world.slots.iter().enumerate().filter(|(place, _)| counts(*place)) {
        let Some(bird) = &slot.node else { continue };
        let status = bird.flock.status(world.local(place));
        if let Some(suspect) = status.members.iter().find(|member| member.suspect) {
            return Err(format!("E8: {} suspects {}", slot.member, suspect.seat.member));
        }
        let inside = |other: &crux_names::Member| status.view.has(other);
        let apart = status.siblings.iter().find(|sibling| {
            // A flock of which every member is in this view is a memory of what was.
            world
                .slots
                .iter()
                .any(|slot| slot.node.is_some() && slot.member.id == sibling.head.header.leader && inside(&slot.member))
        });
        if let Some(sibling) = apart {
            return Err(format!("E8: {} still knows {:?} as another flock", slot.member, sibling.head.id));
        }
        let weighs = weight(&bird.flock);
        if weighs > most {
            return Err(format!("A10: {} weighs {weighs}, a fresh one {fresh}, at most {most}", slot.member));
        }
    }
    Ok(())
}
