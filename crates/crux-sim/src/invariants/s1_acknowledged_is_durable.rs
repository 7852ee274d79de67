//! S1: a write that is acknowledged is on the disk of its door and of as many others as the answer says. Source: the
//! design's `promises.md`, S1, and `control-plane.md`, "Spreading".

use super::{Idle, Whole};
use crate::engines::Cluster;
use crate::machine::Machine;
use crux_core::io::Reply;
use crux_names::{Hash256, Member};
use std::collections::BTreeMap;

/// Looks at each answer at the moment when it is given.
#[derive(Debug, Default)]
pub struct AcknowledgedIsDurable(BTreeMap<Member, usize>);

impl Whole for AcknowledgedIsDurable {
    fn name(&self) -> &'static str {
        "S1 acknowledged is durable"
    }

    fn check(&mut self, world: &Cluster, idle: &Idle) -> Result<(), String> {
        // A machine that lost what was on its disk a moment ago may have been counted before, or have been the door.
        let living = world.slots.iter().filter_map(|slot| slot.node.as_ref()).map(|life| &life.machine);
        let blank = living.chain(idle.values()).filter(|machine| machine.blank).count();
        for life in world.slots.iter().filter_map(|slot| slot.node.as_ref()) {
            let seen = self.0.entry(life.member().clone()).or_default();
            for (_, reply) in &life.replies[*seen..] {
                let Reply::Written { ids, others, .. } = reply else { continue };
                for id in ids {
                    if !holds(&life.machine, id) && !life.machine.blank {
                        return Err(format!("{} acknowledged {id}, which is not on its disk", life.member()));
                    }
                    // The disks of the dead count: the promise is about just them.
                    let living = world.slots.iter().filter_map(|slot| slot.node.as_ref()).map(|life| &life.machine);
                    let have = living.chain(idle.values()).filter(|machine| holds(machine, id)).count();
                    if have + blank < *others as usize + 1 {
                        return Err(format!(
                            "{} acknowledged {id} on {others} others, it is on {have} disks in all",
                            life.member()
                        ));
                    }
                }
            }
            *seen = life.replies.len();
        }
        Ok(())
    }
}

/// On the disk, or replaced there by one that knew it.
fn holds(machine: &Machine, id: &Hash256) -> bool {
    machine.holds(id) || machine.statements().any(|(_, statement)| statement.ancestors.contains(id))
}
