//! Programs that add an entry to the register at every door, once, and keep it alive from then on as programs do: by adding
//! it again well within its life. So whatever a split, a heal or a move of the seat takes from the register is missed there.

use super::{Failure, Swarm};
use crate::engines::Life;
use crate::settled;
use crux_core::io::{Command, Input, Reply, RequestId};
use crux_names::{Boot, Duration, Time};
use std::collections::BTreeMap;

/// How long an entry lives, and how often it is renewed: somebody may stand still for six seconds in between.
const LIFE: Duration = Duration::from_secs(20);
const RENEWED: Duration = Duration::from_secs(5);

/// At each place, in which life of crux the entry was added and when it was renewed last.
pub(super) type Adders = BTreeMap<usize, (Boot, Time)>;

impl Swarm {
    /// Adds at each door that has a new life, and renews at the others.
    ///
    /// # Errors
    /// A door that lost what was added there, though it was renewed in time.
    pub(super) fn tend_register(&mut self) -> Result<(), Box<Failure>> {
        let now = self.world.now;
        for at in 0..self.world.slots.len() {
            let slot = &self.world.slots[at];
            let answers = |life: &&Life| slot.paused_until <= now && !life.machine.disk.dead() && !life.finished;
            let Some(boot) = slot.node.as_ref().filter(answers).map(|life| life.member().boot) else { continue };
            let before = self.adders.get(&at).filter(|(of, _)| *of == boot).map(|(_, renewed)| *renewed);
            if before.is_some_and(|renewed| now < renewed + RENEWED) {
                continue;
            }
            let command = Command::Add { entry: settled::entry(), life: LIFE, again: false };
            let input = Input::Command { request: RequestId::MAX, command };
            self.world.poke(at, |life, now, out| life.feed(now, input, out));
            self.adders.insert(at, (boot, now));
            let reply = self.world.slots[at].node.as_ref().and_then(|life| life.replies.last());
            let there = before.is_some_and(|renewed| now < renewed + LIFE);
            match reply {
                Some((RequestId::MAX, Reply::Added { renewed })) if *renewed || !there => {}
                reply => {
                    let why = format!("n{}: added {before:?} and again at {now}: {reply:?}", at + 1);
                    return Err(Box::new(Failure::new("A1 a door keeps what is renewed", why, now)));
                }
            }
        }
        Ok(())
    }
}
