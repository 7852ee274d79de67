//! E5: a leader stays leader as long as it lives and its links behave, whatever other links do. Only by joining a flock of
//! higher rank may it stop to lead. Source: the design's `flocking.md`, "Leader".

use super::Scene;
use crux_core::flock::view::View;
use crux_names::Member;
use std::collections::BTreeMap;

/// Watches one leader whose links nobody touches.
#[derive(Debug)]
pub struct StickyLeader {
    leader: Member,
    last: View,
    known: BTreeMap<crux_core::flock::view::ViewId, View>,
}

impl StickyLeader {
    /// Begins with the leader of this view.
    #[must_use]
    pub fn new(view: &View) -> Self {
        Self { leader: view.leader().member.clone(), last: view.clone(), known: BTreeMap::new() }
    }

    /// Looks at everybody.
    ///
    /// # Errors
    /// Who leads now, and by which view.
    pub fn look(&mut self, scene: &Scene<'_>) -> Result<(), String> {
        for actor in &scene.actors {
            if !self.known.contains_key(actor.view.id()) {
                self.known.insert(actor.view.id().clone(), actor.view.clone());
            }
        }
        let Some(actor) = scene.actor(&self.leader) else { return Ok(()) };
        if actor.view.id() == self.last.id() {
            return Ok(());
        }
        let before = std::mem::replace(&mut self.last, actor.view.clone());
        let leads = &actor.view.leader().member;
        if *leads == self.leader || before.leader().member != self.leader {
            return Ok(());
        }
        let theirs = actor.view.head.header.parents.iter().filter_map(|parent| self.known.get(parent));
        let higher = theirs
            .filter(|parent| parent.leader().member == *leads)
            .any(|parent| parent.head.header.rank > before.head.header.rank);
        if higher {
            return Ok(());
        }
        Err(format!("E5: {} led {:?} and lives; {leads} leads {:?}", self.leader, before.id(), actor.view.id()))
    }
}
