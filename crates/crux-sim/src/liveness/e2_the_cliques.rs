//! E2: a disjoint union of cliques becomes exactly those flocks. Source: the design's `flocking.md`, "What must hold".

use super::Scene;
use std::collections::BTreeSet;

/// The groups of places that can all talk to each other and to nobody else; `None` where the network is no such union.
#[must_use]
pub fn cliques(scene: &Scene<'_>) -> Option<Vec<Vec<usize>>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for actor in &scene.actors {
        match groups.iter_mut().find(|group| scene.works(group[0], actor.place)) {
            Some(group) => group.push(actor.place),
            None => groups.push(vec![actor.place]),
        }
    }
    let group_of = |place: usize| groups.iter().position(|group| group.contains(&place));
    let fits = scene.actors.iter().all(|a| {
        let here = group_of(a.place);
        scene.actors.iter().all(|b| scene.works(a.place, b.place) == (group_of(b.place) == here))
    });
    fits.then_some(groups)
}

/// Each clique is one flock.
///
/// # Errors
/// Which is not, and what it is instead. A network that is no union of cliques is no error.
pub fn exactly_the_cliques(scene: &Scene<'_>) -> Result<(), String> {
    let Some(groups) = cliques(scene) else { return Ok(()) };
    for group in groups {
        let members: BTreeSet<_> =
            scene.actors.iter().filter(|a| group.contains(&a.place)).map(|actor| actor.member).collect();
        let mut ids = BTreeSet::new();
        for actor in scene.actors.iter().filter(|actor| group.contains(&actor.place)) {
            let roster: BTreeSet<_> = actor.view.roster.iter().map(|seat| &seat.member).collect();
            ids.insert(actor.view.id());
            if roster != members || ids.len() > 1 {
                return Err(format!("E2: {} is in {roster:?}, its clique is {members:?}", actor.member));
            }
        }
    }
    Ok(())
}
