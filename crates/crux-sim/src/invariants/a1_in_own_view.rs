//! A1: every live boot has exactly one installed view and is in it. Source: the design's `flocking.md`, "What must hold".

use super::{Everybody, Safety, Seen};

/// Nobody lives outside the view that it has installed.
#[derive(Debug)]
pub struct InOwnView;

impl Safety for InOwnView {
    fn name(&self) -> &'static str {
        "A1 in its own view"
    }

    fn check(&mut self, seen: &Seen<'_>, _: &dyn Everybody) -> Result<(), String> {
        if seen.flock.view().has(seen.member) {
            return Ok(());
        }
        Err(format!("{} installed {:?} without itself", seen.member, seen.flock.view().id()))
    }
}
