//! S2: all members hold byte-equal state 5 s after the last change. Source: the design's `promises.md`, S2, and
//! `control-plane.md`, "Spreading".
//!
//! A change is what gives a side something to tell: somebody wrote or signed there, a view was installed, somebody began,
//! ended or stood still, a path was cut or joined. What only travels is none: it has to have arrived by then. Nothing is
//! asked while a disk there is sick, for a write comes into force at its door only when it is on the disk.

use super::{Idle, Whole};
use crate::engines::{Cluster, Life};
use crate::settled::insiders;
use crux_core::flock::view::ViewId;
use crux_names::{Duration, Hash256, Time};
use std::collections::BTreeMap;

/// The promise.
const QUIET: Duration = Duration::from_secs(5);
/// So often sides are looked at.
const EVERY: Duration = Duration::from_millis(50);

/// Looks at every side that was quiet for so long.
#[derive(Debug, Default)]
pub struct EqualInFiveSeconds {
    next: Time,
    /// Sides that nothing disturbs, each one stable flock, and since when.
    since: BTreeMap<(ViewId, Vec<usize>), Time>,
    judged: bool,
}

impl Whole for EqualInFiveSeconds {
    fn name(&self) -> &'static str {
        "S2 equal facts 5 s after the last change"
    }

    fn check(&mut self, world: &Cluster, _: &Idle) -> Result<(), String> {
        if world.now < self.next {
            return Ok(());
        }
        self.next = world.now + EVERY;
        let mut since = BTreeMap::new();
        for side in quiet(world) {
            let lives: Vec<&Life> = side.iter().filter_map(|at| world.slots[*at].node.as_ref()).collect();
            let view = lives[0].engine.flock_room().view().id().clone();
            let key = (view, side);
            let began = self.since.get(&key).copied().unwrap_or(world.now);
            let authored = lives.iter().map(|life| life.authored).max().unwrap_or(began);
            let last = began.max(authored);
            if world.now >= last + QUIET {
                self.judged |= lives.len() > 1;
                let digest = |life: &Life| -> Hash256 { life.engine.facts_room().digest() };
                if let Some(other) = lives.iter().find(|life| digest(life) != digest(lives[0])) {
                    let time = world.now.since(last);
                    return Err(format!(
                        "{} and {} have different facts {time:?} after the last change",
                        lives[0].member(),
                        other.member()
                    ));
                }
            }
            since.insert(key, began);
        }
        self.since = since;
        Ok(())
    }

    fn mark(&self) -> Option<&'static str> {
        self.judged.then_some("a side had been quiet for five seconds")
    }
}

/// The sides that are one stable flock each, whose members all run on disks that are well. Who is expelled there is of none.
fn quiet(world: &Cluster) -> Vec<Vec<usize>> {
    let living: Vec<usize> = (0..world.slots.len()).filter(|at| world.slots[*at].node.is_some()).collect();
    let mut sides: Vec<Vec<usize>> = Vec::new();
    let mut rest = living;
    while let Some(first) = rest.pop() {
        // Whoever can say anything to anybody of a side is of it.
        let mut side = vec![first];
        let mut at = 0;
        while let Some(one) = side.get(at).copied() {
            let touches = |other: &usize| world.works(one, *other) || world.works(*other, one);
            side.extend(rest.extract_if(.., |other| touches(other)));
            at += 1;
        }
        side.sort_unstable();
        sides.push(side);
    }
    let whole = |side: &Vec<usize>| side.iter().all(|a| side.iter().all(|b| a == b || world.connected(*a, *b)));
    let sides = sides.into_iter().filter(whole).map(|side| insiders(world, &side));
    sides.filter(|side| rests(world, side)).collect()
}

fn rests(world: &Cluster, side: &[usize]) -> bool {
    let lives: Vec<&Life> = side.iter().filter_map(|at| world.slots[*at].node.as_ref()).collect();
    let Some(first) = lives.first() else { return false };
    let view = first.engine.flock_room().view();
    let well = |at: &usize| {
        let slot = &world.slots[*at];
        let Some(life) = &slot.node else { return false };
        let flock = life.engine.flock_room();
        let (here, now) = (world.local(*at), world.now);
        slot.paused_until < now
            && !life.finished
            && life.machine.disk.well(here)
            && flock.view().id() == view.id()
            && flock.stable(here)
    };
    view.roster.len() == side.len() && side.iter().all(well)
}
