//! P1: no dean obeys a plan that is older than the one it obeyed. Source: the design's `control-plane.md`, "Proctor, dean,
//! picket".

use super::{Idle, Whole};
use crate::engines::Cluster;
use crux_core::services::plan::PlanId;
use crux_names::{HordeName, Member};
use std::collections::BTreeMap;

/// Within one life, the plans that are obeyed rise.
#[derive(Debug, Default)]
pub struct PlansRise(BTreeMap<(Member, HordeName), PlanId>);

impl Whole for PlansRise {
    fn name(&self) -> &'static str {
        "P1 obeyed plans rise"
    }

    fn check(&mut self, world: &Cluster, _: &Idle) -> Result<(), String> {
        for life in world.slots.iter().filter_map(|slot| slot.node.as_ref()) {
            let services = life.engine.services_room();
            for horde in services.roles().hordes.keys() {
                let Some(obeys) = services.dean().obeys(horde) else { continue };
                let key = (life.member().clone(), horde.clone());
                match self.0.get(&key) {
                    Some(before) if before > obeys => {
                        return Err(format!("{} obeyed {before:?} of {horde} and obeys {obeys:?} now", life.member()));
                    }
                    Some(before) if before == obeys => {}
                    _ => {
                        self.0.insert(key, obeys.clone());
                    }
                }
            }
        }
        Ok(())
    }
}
