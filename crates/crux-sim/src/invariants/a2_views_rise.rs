//! A2: the ids of the views that one boot installs strictly increase. Source: the design's `flocking.md`.

use super::{Everybody, Safety, Seen};
use crux_core::flock::view::ViewId;
use crux_names::Member;
use std::collections::BTreeMap;

/// No boot goes back to an older view.
#[derive(Debug, Default)]
pub struct ViewsRise(BTreeMap<Member, ViewId>);

impl Safety for ViewsRise {
    fn name(&self) -> &'static str {
        "A2 view ids rise"
    }

    fn check(&mut self, seen: &Seen<'_>, _: &dyn Everybody) -> Result<(), String> {
        let id = seen.flock.view().id();
        match self.0.get(seen.member) {
            Some(before) if before == id => {}
            Some(before) if before > id => {
                return Err(format!("{} went from {before:?} back to {id:?}", seen.member));
            }
            _ => {
                self.0.insert(seen.member.clone(), id.clone());
            }
        }
        Ok(())
    }
}
