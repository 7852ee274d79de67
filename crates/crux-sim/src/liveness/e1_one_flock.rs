//! E1: a complete network becomes one flock within its bound. Source: the design's `flocking.md`, "What must hold".

use super::Scene;

/// All that live are one flock and nobody else is in it.
///
/// # Errors
/// Who has another view, or whom the view lacks or should not have.
pub fn one_flock(scene: &Scene<'_>) -> Result<(), String> {
    let Some(first) = scene.actors.first() else { return Ok(()) };
    for actor in &scene.actors {
        if actor.view.id() != first.view.id() {
            let (a, b) = (first.view.id(), actor.view.id());
            return Err(format!("E1: {} is in {a:?} and {} in {b:?}", first.member, actor.member));
        }
    }
    let missing = scene.actors.iter().find(|actor| !first.view.has(actor.member));
    let surplus = first.view.roster.iter().find(|seat| scene.actor(&seat.member).is_none());
    match (missing, surplus) {
        (Some(actor), _) => Err(format!("E1: {} is not in the one view", actor.member)),
        (_, Some(seat)) => Err(format!("E1: {} is in the one view and is not here", seat.member)),
        _ => Ok(()),
    }
}
