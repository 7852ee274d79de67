//! V1: never two live processes for one instance. Source: the design's `promises.md`, V1; each machine counts what lives
//! on it. Beside it the other things that a machine sees and that must never be: an honest peer's message that cannot be
//! read (D6), an alarm about clones where there are none (I5).

use super::{Idle, Whole};
use crate::engines::Cluster;

/// No machine saw what must never be.
#[derive(Debug, Default)]
pub struct NothingWrong;

impl Whole for NothingWrong {
    fn name(&self) -> &'static str {
        "V1 one process per instance, D6 honest messages can be read, I5 no clones where there are none"
    }

    fn check(&mut self, world: &Cluster, _: &Idle) -> Result<(), String> {
        for life in world.slots.iter().filter_map(|slot| slot.node.as_ref()) {
            if let Some(wrong) = life.machine.wrong.first().or(life.alarms.first()) {
                return Err(format!("{}: {wrong}", life.member()));
            }
        }
        Ok(())
    }
}
