//! D4: a hostile proctor chooses among what operators' facts allow. So whatever begins to run on an honest fulcrum is placed
//! there by a fact that this fulcrum has, or had a moment ago, in that revision, and no more of it than the fact wants in all.
//! An oracle of its own: it reads placements by `settled`'s words, not by the heart's.

use super::honest;
use crate::engines::{Cluster, Life};
use crate::invariants::{Idle, Whole};
use crate::settled::{fits, placed};
use crux_core::services::instance::{InstanceId, ServiceRef};
use crux_names::{Duration, FulcrumId, Hash256, Member, Time};
use std::collections::{BTreeMap, BTreeSet};

/// Between an order and its process: a fetch, a start.
const MOMENT: Duration = Duration::from_secs(2);

/// Looks at each process when it is seen first.
#[derive(Debug)]
pub struct Allowed {
    liar: FulcrumId,
    /// What was allowed where, until when at least, and how often in all.
    was: BTreeMap<(Member, ServiceRef, Hash256), (Time, usize)>,
    known: BTreeSet<InstanceId>,
    /// What is of an earlier look is not looked at again.
    digests: BTreeMap<Member, (Hash256, Time)>,
}

impl Allowed {
    /// Where this one lies.
    #[must_use]
    pub fn of(liar: &FulcrumId) -> Self {
        Self { liar: liar.clone(), was: BTreeMap::new(), known: BTreeSet::new(), digests: BTreeMap::new() }
    }

    fn note(&mut self, now: Time, life: &Life) {
        // Facts are looked at when they change, and a tenth of a second later at most.
        let digest = life.engine.facts_room().digest();
        let seen = self.digests.get(life.member());
        if seen.is_some_and(|(old, at)| *old == digest && now.since(*at) < Duration::from_millis(100)) {
            return;
        }
        self.digests.insert(life.member().clone(), (digest, now));
        let me = &life.machine.id;
        let labels = life.engine.facts_room().row(me).map(|row| row.labels).unwrap_or_default();
        for (of, place) in placed(life) {
            let Ok(revision) = <[u8; 32]>::try_from(place.revision.as_slice()) else { continue };
            if let Some(most) = fits(&place, &labels) {
                self.was.insert((life.member().clone(), of, Hash256(revision)), (now + MOMENT, most));
            }
        }
    }
}

impl Whole for Allowed {
    fn name(&self) -> &'static str {
        "D4 nothing starts that operators' facts do not place there"
    }

    fn check(&mut self, world: &Cluster, _: &Idle) -> Result<(), String> {
        let liar = self.liar.clone();
        for life in honest(world, &liar) {
            self.note(world.now, life);
            for process in life.machine.processes.values().map(|process| &process.instance) {
                if !self.known.insert(process.id.clone()) {
                    continue;
                }
                let key = (life.member().clone(), process.of.clone(), process.revision);
                let Some((until, most)) = self.was.get(&key) else {
                    return Err(format!(
                        "{} runs {} of {}, which no fact allows",
                        life.member(),
                        process.id,
                        process.of
                    ));
                };
                if *until < world.now {
                    return Err(format!("{} runs {} of {}, allowed no more", life.member(), process.id, process.of));
                }
                let here = life.machine.processes.values();
                let here = here.filter(|one| !one.stopping && one.instance.of == process.of).count();
                if here > *most {
                    return Err(format!(
                        "{} runs {here} of {}, of which {most} are wanted in all",
                        life.member(),
                        process.of
                    ));
                }
            }
        }
        Ok(())
    }
}
