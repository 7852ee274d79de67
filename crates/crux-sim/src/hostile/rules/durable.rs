//! S1 with one that says it has on its disk what it has not: an acknowledged write is on the disk of its honest door, and on as
//! many others as the answer says, but for that one.

use crate::engines::{Cluster, Life};
use crate::invariants::{Idle, Whole};
use crux_core::io::Reply;
use crux_names::{FulcrumId, Hash256, Member};
use std::collections::BTreeMap;

/// Looks at each answer at the moment when it is given.
#[derive(Debug)]
pub struct Durable {
    liar: FulcrumId,
    seen: BTreeMap<Member, usize>,
}

impl Durable {
    /// Where this one lies.
    #[must_use]
    pub fn of(liar: &FulcrumId) -> Self {
        Self { liar: liar.clone(), seen: BTreeMap::new() }
    }
}

impl Whole for Durable {
    fn name(&self) -> &'static str {
        "S1 acknowledged is durable, but for one who lies"
    }

    fn check(&mut self, world: &Cluster, _: &Idle) -> Result<(), String> {
        for life in super::honest(world, &self.liar) {
            let seen = self.seen.entry(life.member().clone()).or_default();
            for (_, reply) in &life.replies[(*seen).min(life.replies.len())..] {
                let Reply::Written { ids, others, .. } = reply else { continue };
                for id in ids {
                    let have = super::honest(world, &self.liar).filter(|other| holds(other, id)).count();
                    if !holds(life, id) || have < *others as usize {
                        return Err(format!(
                            "{} acknowledged {id} on {others} others; {have} honest disks have it",
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
fn holds(life: &Life, id: &Hash256) -> bool {
    life.machine.holds(id) || life.machine.statements().any(|(_, statement)| statement.ancestors.contains(id))
}
