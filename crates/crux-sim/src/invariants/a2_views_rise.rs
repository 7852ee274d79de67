//! A2: the ids of the views that one boot installs strictly increase. Source: the design's `flocking.md`.

use super::{Safety, Seen};
use crate::world::Time;
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

    fn check(&mut self, _: Time, seen: &[Seen<'_>]) -> Result<(), String> {
        for one in seen {
            let id = one.view.id();
            match self.0.get(one.member) {
                Some(before) if before == id => {}
                Some(before) if before > id => {
                    return Err(format!("{} went from {before:?} back to {id:?}", one.member));
                }
                _ => {
                    self.0.insert(one.member.clone(), id.clone());
                }
            }
        }
        Ok(())
    }
}
