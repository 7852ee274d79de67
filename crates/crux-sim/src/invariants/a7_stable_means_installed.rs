//! A7: who believes its flock stable knows that all members had installed that view when the lease was given. Source: the
//! design's `flocking.md`, "Stable".

use super::{Everybody, Safety, Seen};
use crux_core::flock::view::ViewId;
use crux_names::Member;
use std::collections::{BTreeMap, BTreeSet};

/// A stable view was once installed by every member of it.
#[derive(Debug, Default)]
pub struct StableMeansInstalled {
    had: BTreeMap<ViewId, BTreeSet<Member>>,
    last: BTreeMap<Member, ViewId>,
    /// Views of which all that lived were seen to have it.
    whole: BTreeSet<ViewId>,
}

impl Safety for StableMeansInstalled {
    fn name(&self) -> &'static str {
        "A7 stable means installed by all"
    }

    fn check(&mut self, seen: &Seen<'_>, all: &dyn Everybody) -> Result<(), String> {
        let (me, view) = (seen.member, seen.flock.view());
        if self.last.is_empty() {
            // Who looks first at a world that has run already sees what each has.
            for (member, flock) in all.living().into_iter().filter_map(|member| Some((member, all.flock(member)?))) {
                self.had.entry(flock.view().id().clone()).or_default().insert(member.clone());
            }
        }
        if self.last.get(me) != Some(view.id()) {
            self.last.insert(me.clone(), view.id().clone());
            self.had.entry(view.id().clone()).or_default().insert(me.clone());
        }
        if self.whole.contains(view.id()) || !all.stable(me) {
            return Ok(());
        }
        let had = self.had.get(view.id());
        // Whoever is dead cannot be asked any more; whether it had the view was checked while it lived.
        let lacking = view
            .roster
            .iter()
            .map(|seat| &seat.member)
            .find(|member| all.flock(member).is_some() && !had.is_some_and(|had| had.contains(*member)));
        if let Some(member) = lacking {
            return Err(format!("{me} is stable in {:?}, which {member} never installed", view.id()));
        }
        self.whole.insert(view.id().clone());
        Ok(())
    }
}
