//! E4: a broken pair is in no common view after the audit period, the window of a verdict and one change. Source: the
//! design's `flocking.md`, "What must hold".

use super::Scene;

/// Nobody has somebody in its view whom it cannot talk to.
///
/// # Errors
/// The pair.
pub fn no_broken_pair_together(scene: &Scene<'_>) -> Result<(), String> {
    for actor in &scene.actors {
        for other in actor.view.roster.iter().filter_map(|seat| scene.actor(&seat.member)) {
            if !scene.works(actor.place, other.place) {
                return Err(format!("E4: {} and {} cannot talk and share a view", actor.member, other.member));
            }
        }
    }
    Ok(())
}
