//! E6: stable everywhere, and two flocks whose members can reach each other are both stable for a bounded time only.
//! Source: the design's `flocking.md`, "Stable" and line 14 of the targets.

use super::{Actor, Scene};
use crate::world::Time;
use crux_core::flock::view::ViewId;
use crux_names::Duration;
use std::collections::BTreeMap;

/// Everybody believes its flock complete.
///
/// # Errors
/// Who does not.
pub fn all_stable(scene: &Scene<'_>) -> Result<(), String> {
    match scene.actors.iter().find(|actor| !actor.stable) {
        Some(actor) => {
            let own = actor.lacking.unwrap_or("nothing is lacking");
            Err(format!("E6: {} is not stable: {own}", actor.member))
        }
        None => Ok(()),
    }
}

/// Measures for how long two flocks that could be one are both stable.
#[derive(Debug, Default)]
pub struct DoubleStable {
    since: BTreeMap<(ViewId, ViewId), Time>,
    /// The longest time that was seen.
    pub longest: Duration,
}

impl DoubleStable {
    /// Looks at everybody; `bound` is one discovery round, one lease and one view change.
    ///
    /// # Errors
    /// Which two flocks are both stable for longer than that.
    pub fn look(&mut self, scene: &Scene<'_>, bound: Duration) -> Result<(), String> {
        let mut flocks: BTreeMap<&ViewId, Vec<&Actor<'_>>> = BTreeMap::new();
        for actor in &scene.actors {
            flocks.entry(actor.view.id()).or_default().push(actor);
        }
        let both: Vec<(&ViewId, Vec<usize>)> = flocks
            .into_iter()
            .filter(|(_, actors)| actors.iter().any(|actor| actor.stable))
            .map(|(id, actors)| (id, actors.iter().map(|actor| actor.place).collect()))
            .collect();
        let mut now = BTreeMap::new();
        for (at, (a, of_a)) in both.iter().enumerate() {
            for (b, of_b) in &both[at + 1..] {
                let held = |actor: &Actor<'_>| {
                    let other = if actor.view.id() == *a { *b } else { *a };
                    (actor.view.id() == *a || actor.view.id() == *b) && actor.held_apart.contains(other)
                };
                // Who is shown to be held apart for breaking off too often may be both stable: that is condition 4.
                if scene.actors.iter().any(held) {
                    continue;
                }
                if scene.clique(&[of_a.as_slice(), of_b.as_slice()].concat()) {
                    let key = ((*a).clone(), (*b).clone());
                    let since = self.since.get(&key).copied().unwrap_or(scene.now);
                    now.insert(key, since);
                }
            }
        }
        self.since = now;
        for ((a, b), since) in &self.since {
            let time = scene.now.since(*since);
            self.longest = self.longest.max(time);
            if time > bound {
                return Err(format!("E6: {a:?} and {b:?} can reach each other and are both stable for {time:?}"));
            }
        }
        Ok(())
    }
}
