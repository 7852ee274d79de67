//! E3: otherwise the living are partitioned into flocks that are cliques, of which no two could be one. That views stop
//! changing is for whoever runs the world to see. Source: the design's `flocking.md`, "What must hold".

use super::Scene;
use std::collections::BTreeMap;

/// A partition into cliques, as coarse as it can be by joining whole flocks.
///
/// # Errors
/// Who disagrees with whom, which flock is no clique, or which two could be one.
pub fn partition(scene: &Scene<'_>) -> Result<(), String> {
    let mut flocks: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for actor in &scene.actors {
        for seat in &actor.view.roster {
            match scene.actor(&seat.member) {
                None => return Err(format!("E3: {} still has {} in its view", actor.member, seat.member)),
                Some(other) if other.view.id() != actor.view.id() => {
                    return Err(format!("E3: {} and {} do not agree on their view", actor.member, seat.member));
                }
                Some(_) => {}
            }
        }
        flocks.entry(actor.view.id()).or_default().push(actor.place);
    }
    for (id, places) in &flocks {
        if !scene.clique(places) {
            return Err(format!("E3: {id:?} is no clique"));
        }
    }
    let all: Vec<_> = flocks.iter().collect();
    for (at, (a, of_a)) in all.iter().enumerate() {
        for (b, of_b) in &all[at + 1..] {
            if scene.clique(&[of_a.as_slice(), of_b.as_slice()].concat()) {
                return Err(format!("E3: {a:?} and {b:?} could be one flock"));
            }
        }
    }
    Ok(())
}
