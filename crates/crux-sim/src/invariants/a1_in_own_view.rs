//! A1: every live boot has exactly one installed view and is in it. Source: the design's `flocking.md`, "What must hold".

use super::{Safety, Seen};
use crate::world::Time;

/// Nobody lives outside the view that it has installed.
#[derive(Debug)]
pub struct InOwnView;

impl Safety for InOwnView {
    fn name(&self) -> &'static str {
        "A1 in its own view"
    }

    fn check(&mut self, _: Time, seen: &[Seen<'_>]) -> Result<(), String> {
        match seen.iter().find(|one| !one.view.has(one.member)) {
            Some(one) => Err(format!("{} installed {:?} without itself", one.member, one.view.id())),
            None => Ok(()),
        }
    }
}
