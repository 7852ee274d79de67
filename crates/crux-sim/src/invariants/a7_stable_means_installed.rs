//! A7: who believes its flock stable knows that all members had installed that view when the lease was given. Source: the
//! design's `flocking.md`, "Stable".

use super::{Safety, Seen};
use crate::world::Time;
use crux_core::flock::view::ViewId;
use crux_names::Member;
use std::collections::{BTreeMap, BTreeSet};

/// A stable view was once installed by every member of it.
#[derive(Debug, Default)]
pub struct StableMeansInstalled(BTreeMap<ViewId, BTreeSet<Member>>);

impl Safety for StableMeansInstalled {
    fn name(&self) -> &'static str {
        "A7 stable means installed by all"
    }

    fn check(&mut self, _: Time, seen: &[Seen<'_>]) -> Result<(), String> {
        for one in seen {
            self.0.entry(one.view.id().clone()).or_default().insert(one.member.clone());
        }
        for one in seen.iter().filter(|one| one.stable) {
            let had = &self.0[one.view.id()];
            // Whoever is dead cannot be asked any more; whether it had the view was checked while it lived.
            let lives = |member: &Member| seen.iter().any(|other| other.member == member);
            let missing = one.view.roster.iter().find(|seat| lives(&seat.member) && !had.contains(&seat.member));
            if let Some(seat) = missing {
                return Err(format!(
                    "{} is stable in {:?}, which {} never installed",
                    one.member,
                    one.view.id(),
                    seat.member
                ));
            }
        }
        Ok(())
    }
}
