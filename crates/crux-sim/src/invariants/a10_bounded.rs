//! A10: bounded state; no older boot returns. Source: the design's `flocking.md`, "What must hold".

use super::{Everybody, Safety, Seen};
use crux_core::flock::view::ViewId;
use crux_names::{Boot, FulcrumId, Member};
use std::collections::BTreeMap;

/// Status lists are looked at once in so many steps of a fulcrum: making one costs more than the step.
const SELDOM: u64 = 512;

/// Within one life, the boots of each fulcrum in the views only rise; and what is told of others is no more than there
/// ever was.
#[derive(Debug, Default)]
pub struct Bounded {
    last: BTreeMap<Member, ViewId>,
    newest: BTreeMap<Member, BTreeMap<FulcrumId, Boot>>,
    steps: u64,
}

impl Safety for Bounded {
    fn name(&self) -> &'static str {
        "A10 bounded state, no older boot returns"
    }

    fn check(&mut self, seen: &Seen<'_>, all: &dyn Everybody) -> Result<(), String> {
        self.steps += 1;
        if self.steps.is_multiple_of(SELDOM) {
            let status = seen.flock.status(all.now());
            // One flock a life at most, one address a place and a life at most.
            let most = all.lives() * 2 + 16;
            for (what, count) in [
                ("flocks", status.siblings.len()),
                ("outsiders", status.outside.len()),
                ("clones", status.clones.len()),
            ] {
                if count > most {
                    return Err(format!("{} knows of {count} {what}, and there never were so many", seen.member));
                }
            }
        }
        let view = seen.flock.view();
        if self.last.get(seen.member) == Some(view.id()) {
            return Ok(());
        }
        self.last.insert(seen.member.clone(), view.id().clone());
        let newest = self.newest.entry(seen.member.clone()).or_default();
        for member in view.roster.iter().map(|seat| &seat.member) {
            match newest.get(&member.id) {
                Some(boot) if *boot > member.boot => {
                    return Err(format!("{} has {member} in {:?} after its boot {boot}", seen.member, view.id()));
                }
                Some(boot) if *boot == member.boot => {}
                _ => {
                    newest.insert(member.id.clone(), member.boot);
                }
            }
        }
        Ok(())
    }
}
