//! E7: a missed install is caught up within two probes. Source: the design's `flocking.md`, "What must hold".

use super::Scene;
use crate::world::Time;
use crux_names::{Duration, Member};
use std::collections::BTreeMap;

/// Measures for how long somebody lacks a view that one whom it can talk to has, and that it is in. Two without a link have to
/// find each other first.
#[derive(Debug, Default)]
pub struct CaughtUp {
    since: BTreeMap<Member, Time>,
    /// The longest time that was seen.
    pub longest: Duration,
}

impl CaughtUp {
    /// Looks at everybody.
    pub fn look(&mut self, scene: &Scene<'_>) {
        for actor in &scene.actors {
            let missed = scene.actors.iter().any(|other| {
                other.view.id() > actor.view.id()
                    && other.view.has(actor.member)
                    && scene.works(other.place, actor.place)
                    && actor.flock.linked_with(other.member)
                    && other.flock.linked_with(actor.member)
            });
            if missed {
                let since = *self.since.entry(actor.member.clone()).or_insert(scene.now);
                self.longest = self.longest.max(scene.now.since(since));
            } else {
                self.since.remove(actor.member);
            }
        }
    }
}
