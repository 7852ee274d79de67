//! E7: a missed install is caught up within two probes. Source: the design's `flocking.md`, "What must hold".

use super::Scene;
use crate::world::Time;
use crux_core::flock::message::ProposalId;
use crux_core::flock::view::ViewId;
use crux_names::{Duration, Member};
use std::collections::BTreeMap;

/// Measures for how long somebody lacks a view that one whom it can talk to has, and that it is in. Two without a link have to
/// find each other first; and who has promised a higher proposal since must not install it.
#[derive(Debug, Default)]
pub struct CaughtUp {
    since: BTreeMap<Member, Time>,
    /// The longest time that was seen.
    pub longest: Duration,
    /// Who lacked which view for that time, and one who had it.
    pub whose: String,
}

/// Whether this proposal is above the one that made that view.
fn higher(proposal: &ProposalId, view: &ViewId) -> bool {
    (proposal.epoch, &proposal.proposer.id) > (view.epoch, &view.leader)
}

impl CaughtUp {
    /// Looks at everybody.
    pub fn look(&mut self, scene: &Scene<'_>) {
        for actor in &scene.actors {
            let missed = scene.actors.iter().find(|other| {
                other.view.id() > actor.view.id()
                    && other.view.has(actor.member)
                    && actor.flock.stands_by().is_none_or(|promised| !higher(promised, other.view.id()))
                    && scene.works(other.place, actor.place)
                    && actor.flock.linked_with(other.member)
                    && other.flock.linked_with(actor.member)
            });
            if let Some(other) = missed {
                let since = *self.since.entry(actor.member.clone()).or_insert(scene.now);
                if scene.now.since(since) > self.longest {
                    self.longest = scene.now.since(since);
                    self.whose = format!("{} lacks {:?} of {}", actor.member, other.view.id(), other.member);
                }
            } else {
                self.since.remove(actor.member);
            }
        }
    }
}
