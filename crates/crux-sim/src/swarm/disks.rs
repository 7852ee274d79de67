//! Disks in a run: what befalls them, and what must hold while they fail. Source: the design's `promises.md`, S7 and S8.

use super::{Failure, Swarm};
use crate::disk::{Kind, Trouble};
use crate::liveness::{Scene, all_stable, one_flock};
use crate::machine::Machine;
use crate::operator::Wanted;
use crate::settled::placed;
use crux_core::io::{Input, Reply};
use crux_names::{Boot, Duration, Hash256, Member, Time};
use std::collections::BTreeSet;

impl Swarm {
    /// The disk of a place, alive or not, has something from now on.
    pub(super) fn sick_disk(&mut self, place: usize) {
        let kind = Kind::ALL[self.below(Kind::ALL.len())];
        let now = self.world.now;
        let time = Duration::from_millis(100 + self.random.below(20_000));
        // For good means: until all are mended, before anything is demanded of them.
        let until = if self.below(3) == 0 { Time::NEVER } else { now + time };
        self.say(&format!("the disk of n{}: {kind:?} until {until}", place + 1));
        self.machine(place, |machine| machine.disk.ail(Trouble { kind, from: now, until }));
    }

    /// Takes power and disk from a place, if nothing is lost for all with it: the promise S1 is for as long as one disk
    /// lives that has what was acknowledged.
    pub(super) fn lost_disk(&mut self, place: usize) {
        self.end(place, true);
        if self.is_spare(place) {
            self.say(&format!("n{} loses its power and its disk", place + 1));
            let mut blank = true;
            self.machine(place, |machine| blank = machine.statements().next().is_none());
            self.wipe(place);
            if !blank {
                // All is on all disks when the whole has settled: that is asked for at the end of every run.
                self.marks.insert("a blank disk was filled again");
            }
        }
        self.restart_when_counted(place);
    }

    /// The place begins again, no sooner than whoever counted its disk for a write that is under way has answered.
    pub(super) fn restart_when_counted(&mut self, place: usize) {
        let after = Duration::from_millis(2_000 + self.random.below(8_000));
        self.restarts.retain(|(_, at)| *at != place);
        self.restarts.push((self.world.now + after, place));
    }

    /// The file of a store is removed, replaced or damaged, if nothing is lost for all with it. A crux that uses it notices and
    /// writes what it knows into another; else the next life finds nothing, or some of the rows. What kinds of bytes the store
    /// takes for which is tested where bytes are, in `crux-node`.
    pub(super) fn bad_file(&mut self, place: usize) {
        let running = self.world.slots[place].node.is_some() && self.below(2) == 0;
        let wholly = self.below(2) == 0;
        if !running {
            self.end(place, false);
        }
        if self.is_spare(place) {
            if running {
                self.say(&format!("the store of n{} begins anew under it", place + 1));
                self.world.poke(place, |life, now, out| {
                    let report = life.machine.begin_anew();
                    life.feed(now, Input::Report(report), out);
                });
                self.marks.insert("a store began anew while it was used");
            } else {
                let mark =
                    if wholly { "a store was of no use to a later life" } else { "some rows of a store were damaged" };
                self.say(&format!("n{}: {mark}", place + 1));
                self.machine(place, |machine| machine.damage(wholly));
                self.marks.insert(mark);
            }
        }
        if !running {
            self.restart_when_counted(place);
        }
    }

    /// The machine of a place, whether a crux lives on it or not.
    pub(super) fn machine(&mut self, place: usize, act: impl FnOnce(&mut Machine)) {
        if let Some(machine) = self.idle.get_mut(&place) {
            act(machine);
        } else {
            let mut act = Some(act);
            self.world.poke(place, |life, _, _| act.take().into_iter().for_each(|act| act(&mut life.machine)));
        }
    }

    /// S7: what was refused changed nothing, then or later. What a failed sync had written and a later life found on the
    /// disk is the one thing that a disk may do against it.
    pub(super) fn nothing_refused_in_force(&mut self) -> Result<(), Box<Failure>> {
        let refused = |reply: &Option<Reply>| matches!(reply, Some(Reply::Refused { .. }));
        let written = self.operator.written.iter().filter(|written| refused(&written.reply));
        let mut ids: BTreeSet<Hash256> =
            written.flat_map(|written| written.versions.iter().map(|(_, id)| *id)).collect();
        for place in 0..self.options.nodes {
            self.machine(place, |machine| ids.retain(|id| !machine.disk.returned(id)));
        }
        for life in self.world.slots.iter().filter_map(|slot| slot.node.as_ref()) {
            if let Some(id) = ids.iter().find(|id| life.engine.facts_room().by_id(id).is_some()) {
                let why = format!("version {id} was refused and {} has it", life.member());
                return Err(Box::new(Failure::new("S7 what is refused changes nothing", why, self.world.now)));
            }
        }
        Ok(())
    }

    /// S7, by the book: some disks fail for good. Writes at those doors are refused with the disk's reason, writes at
    /// others are not; reads agree and membership goes on, also when somebody dies and comes back; and when the disks are
    /// well, everything is on them and writes are taken, without a restart.
    pub(super) fn sick_disks(&mut self) -> Result<(), Box<Failure>> {
        let doors = self.doors();
        let inside = self.insiders();
        if doors.is_empty() {
            return Ok(());
        }
        let first = doors[self.below(doors.len())];
        let sick: BTreeSet<usize> =
            inside.iter().copied().filter(|place| *place == first || self.below(3) == 0).collect();
        let kind = Kind::REFUSING[self.below(Kind::REFUSING.len())];
        let now = self.world.now;
        self.say(&format!("the disks of {:?}: {kind:?} for good", sick.iter().map(|at| at + 1).collect::<Vec<_>>()));
        for place in &sick {
            self.machine(*place, |machine| machine.disk.ail(Trouble { kind, from: now, until: Time::NEVER }));
        }
        let boots = self.boots();
        self.write_while(first, "S7 refused with a reason", |reply| match reply {
            Some(Reply::Refused { why, .. }) => why.contains(kind.reason()) && why.contains("nothing was changed"),
            _ => false,
        })?;
        if let Some(well) = doors.into_iter().find(|place| !sick.contains(place)) {
            self.write_while(well, "S7 others go on", |reply| matches!(reply, Some(Reply::Written { .. })))?;
        }
        // Somebody dies and comes back.
        let gone = inside[self.below(inside.len())];
        self.end(gone, false);
        self.come_together("without one, disks failing")?;
        self.restart(gone);
        self.come_together("with all again, disks failing")?;
        self.nothing_refused_in_force()?;
        self.marks.insert("with sick disks the others went on");

        let now = self.world.now;
        self.each_machine(|machine| machine.disk.mend(now));
        let limit = now + Duration::from_secs(5);
        // Something is always on its way: at one moment of these there is nothing that waits.
        while let Some(behind) = self.behind() {
            if self.world.now >= limit {
                let why = format!("5 s after its disk is well, not everything is on that of {behind}");
                return Err(Box::new(Failure::new("S7 recovers without a restart", why, self.world.now)));
            }
            self.run_for(Duration::from_millis(20))?;
        }
        self.write_while(first, "S7 recovers without a restart", |reply| matches!(reply, Some(Reply::Written { .. })))?;
        let same = boots.iter().zip(self.boots()).enumerate().all(|(at, (one, two))| at == gone || *one == two);
        assert!(same, "a machine was started again for its disk");
        self.nothing_lost()
    }

    /// Somebody on whose disk is not all that is in force there.
    fn behind(&self) -> Option<Member> {
        let inside = self.insiders();
        let mut lives = inside.iter().filter_map(|at| self.world.slots[*at].node.as_ref());
        lives.find(|life| !life.engine.facts_room().durable()).map(|life| life.member().clone())
    }

    fn boots(&self) -> Vec<Option<Boot>> {
        self.world.slots.iter().map(|slot| slot.node.as_ref().map(|life| life.member().boot)).collect()
    }

    /// Writes a service's placement at a place and judges the answer after three seconds.
    fn write_while(
        &mut self,
        place: usize,
        rule: &str,
        good: impl Fn(&Option<Reply>) -> bool,
    ) -> Result<(), Box<Failure>> {
        let Some(life) = &self.world.slots[place].node else { return Ok(()) };
        let Some(of) = placed(life).into_keys().next() else { return Ok(()) };
        self.say(&format!("write of {of} at n{}", place + 1));
        let wanted = Wanted::plain(&of, format!("pick({}, {}, ALL)", of.service, 1 + place % 2));
        self.operator.write(&mut self.world, place, &wanted.changes());
        self.run_for(Duration::from_secs(3))?;
        let reply = self.operator.written.last().and_then(|written| written.reply.clone());
        if good(&reply) {
            return Ok(());
        }
        Err(Box::new(Failure::new(rule, format!("the answer to {of} at n{}: {reply:?}", place + 1), self.world.now)))
    }

    /// Waits until all that live are one stable flock with equal facts, whatever their disks do.
    fn come_together(&mut self, phase: &str) -> Result<(), Box<Failure>> {
        let limit = self.world.now + self.scaled(60_000) + Duration::from_secs(25);
        loop {
            let Err(why) = self.together() else { return Ok(()) };
            if self.world.now >= limit {
                let why = format!("{why}; {phase}");
                return Err(Box::new(Failure::new("S7 membership and reads go on", why, self.world.now)));
            }
            self.run_for(Duration::from_millis(100))?;
        }
    }

    fn together(&self) -> Result<(), String> {
        let inside = self.insiders();
        let scene = Scene::of(&self.world, |place| inside.contains(&place));
        one_flock(&scene)?;
        all_stable(&scene)?;
        let lives = inside.iter().filter_map(|at| self.world.slots[*at].node.as_ref());
        let digests: BTreeSet<Hash256> = lives.map(|life| life.engine.facts_room().digest()).collect();
        if digests.len() > 1 { Err("facts differ".into()) } else { Ok(()) }
    }
}
