//! S1: a write that is acknowledged is on the disk of its door and of as many others as the answer says. Source: the
//! design's `promises.md`, S1, and `control-plane.md`, "Spreading".

use super::Whole;
use crate::engines::Cluster;
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

    fn check(&mut self, world: &Cluster) -> Result<(), String> {
        for life in world.slots.iter().filter_map(|slot| slot.node.as_ref()) {
            let seen = self.0.entry(life.member().clone()).or_default();
            for (_, reply) in &life.replies[*seen..] {
                let Reply::Written { ids, others, .. } = reply else { continue };
                for id in ids {
                    if !holds(life, id) {
                        return Err(format!("{} acknowledged {id}, which is not on its disk", life.member()));
                    }
                    let holders = world.slots.iter().filter(|slot| slot.node.as_ref().is_some_and(|n| holds(n, id)));
                    let have = holders.count();
                    if have < *others as usize + 1 && world.slots.iter().all(|slot| slot.node.is_some()) {
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
fn holds(life: &crate::engines::Life, id: &Hash256) -> bool {
    life.machine.holds(id) || life.machine.statements().any(|(_, statement)| statement.ancestors.contains(id))
}
