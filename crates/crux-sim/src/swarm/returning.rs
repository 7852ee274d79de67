//! Strangers that return: an old copy of a disk that takes its place, and nodes that an operator expelled, which live on, come
//! back, and are let in again. Source: the design's `promises.md`, S4 and X1 to X5.

use super::{Failure, Swarm};
use crate::engines::admission;
use crate::machine::Machine;
use crate::operator::expel;
use crate::settled::insiders;
use crux_names::Hash256;
use std::collections::BTreeSet;

impl Swarm {
    /// Keeps a copy of somebody's disk, now and then: of each the first, so that it is as old as can be.
    pub(super) fn copy_a_disk(&mut self) {
        if self.below(3) == 0 {
            let place = self.below(self.options.nodes);
            self.copy_disk(place);
        }
    }

    fn copy_disk(&mut self, place: usize) {
        let mut copy = None;
        self.machine(place, |machine| copy = Some(machine.disk.copy()));
        if let Some(copy) = copy.filter(|copy| !copy.is_empty()) {
            self.copies.entry(place).or_insert(copy);
        }
    }

    /// Takes power from a place and puts an old copy of its disk back, if nothing is lost for all with the new one.
    pub(super) fn old_disk(&mut self, place: usize) {
        let place = if self.copies.contains_key(&place) || self.copies.is_empty() {
            place
        } else {
            let lot = self.below(self.copies.len());
            self.copies.keys().nth(lot).copied().unwrap_or(place)
        };
        self.end(place, true);
        if self.is_spare(place) || self.is_out(place) {
            self.put_back(place);
        }
        self.restart_when_counted(place);
    }

    fn put_back(&mut self, place: usize) {
        match self.copies.get(&place).cloned() {
            None => self.copy_disk(place),
            Some(copy) => {
                self.say(&format!("n{} comes back with an old disk of {} versions", place + 1, copy.len()));
                if self.is_out(place) {
                    self.marks.insert("somebody expelled came back with an old disk");
                }
                self.machine(place, |machine| machine.put_back(copy));
            }
        }
    }

    /// Whether everything on the disk of a place is, or was replaced, on the disk of somebody who is not expelled.
    pub(super) fn is_spare(&mut self, place: usize) -> bool {
        let others = self.on_disks(|at| at != place);
        let mut mine = Vec::new();
        self.machine(place, |machine| mine = machine.statements().map(|(id, _)| id).collect());
        mine.iter().all(|id| others.contains(id))
    }

    /// What is, or was replaced, on the disks of those of these places that are not expelled.
    fn on_disks(&mut self, counts: impl Fn(usize) -> bool) -> BTreeSet<Hash256> {
        let mut found = BTreeSet::new();
        for at in (0..self.options.nodes).filter(|at| counts(*at)) {
            if self.is_out(at) {
                continue;
            }
            self.machine(at, |machine| {
                for (id, statement) in machine.statements() {
                    found.insert(id);
                    found.extend(statement.ancestors);
                }
            });
        }
        found
    }

    /// Whether the operator has expelled the node of a place with the certificate that it has.
    pub(super) fn is_out(&self, place: usize) -> bool {
        self.expelled.get(&place).is_some_and(|up_to| self.admission(place) <= *up_to)
    }

    fn admission(&self, place: usize) -> u32 {
        admission(&self.world.slots[place].member).max(self.readmitted.get(&place).copied().unwrap_or(0))
    }

    /// Expels the node of a place; one that is expelled comes back, with an old disk or without, or is let in again.
    pub(super) fn expel(&mut self, place: usize) {
        // Whoever is out already, rather than another one, as often as not.
        let gone = (0..self.options.nodes).find(|at| self.is_out(*at));
        let place = gone.filter(|_| self.below(2) == 0).unwrap_or(place);
        if self.is_out(place) {
            match self.below(3) {
                0 => self.readmit(place),
                1 => self.old_disk(place),
                _ => {
                    self.say(&format!("kill crux on n{}, which is expelled", place + 1));
                    self.end(place, false);
                    self.restart_later(place);
                }
            }
            return;
        }
        let size = self.options.nodes;
        let out = (0..size).filter(|at| self.is_out(*at)).count();
        let doors: Vec<usize> = (0..size).filter(|at| *at != place && self.is_open(*at)).collect();
        if doors.is_empty() || out + 3 > size {
            return;
        }
        let door = doors[self.below(doors.len())];
        let up_to = self.admission(place);
        self.copy_disk(place);
        // What only the disks of expelled nodes have is gone with them, acknowledged or not.
        let left = self.on_disks(|at| at != place);
        let ids = self.operator.written.iter().flat_map(|written| &written.versions).map(|(_, id)| *id);
        self.gone.extend(ids.filter(|id| !left.contains(id)));
        self.expelled.insert(place, up_to);
        self.say(&format!("expel n{} up to {up_to} at n{}", place + 1, door + 1));
        let node = self.world.slots[place].member.id.node.clone();
        self.operator.write(&mut self.world, door, &expel(&node, up_to));
        self.marks.insert("somebody was expelled");
    }

    /// A node that was expelled gets its next certificate.
    fn readmit(&mut self, place: usize) {
        self.say(&format!("n{} is let in again", place + 1));
        let power = self.below(2) == 0;
        self.end(place, power);
        if self.below(3) == 0 {
            self.put_back(place);
        }
        let next = self.admission(place) + 1;
        self.readmitted.insert(place, next);
        self.machine(place, Machine::readmit);
        self.marks.insert("somebody expelled was let in again");
        self.restart_later(place);
    }

    /// Whether an operator can write at a place: it lives, and the operator has not expelled it.
    pub(super) fn is_open(&self, place: usize) -> bool {
        self.world.slots[place].node.is_some() && !self.is_out(place)
    }

    /// The living that are of the bloc by what the living know, when nothing is cut.
    pub(super) fn insiders(&self) -> Vec<usize> {
        let living: Vec<usize> = (0..self.options.nodes).filter(|at| self.world.slots[*at].node.is_some()).collect();
        insiders(&self.world, &living)
    }

    /// X2, X5: whoever the operator expelled is out wherever that was acknowledged, at the end of every run.
    pub(super) fn expelled_are_out(&mut self) -> Result<(), Box<Failure>> {
        let inside = self.insiders();
        for place in 0..self.options.nodes {
            let path = format!("expel/{}", self.world.slots[place].member.id.node);
            let mut written = self.operator.written.iter().filter(|written| written.acknowledged());
            let told = written.any(|one| one.versions.iter().any(|(at, id)| *at == path && !self.gone.contains(id)));
            if told && self.is_out(place) && inside.contains(&place) {
                let why = format!("n{} was expelled, and that was acknowledged", place + 1);
                return Err(Box::new(Failure::new("X5 who is expelled stays so", why, self.world.now)));
            }
        }
        Ok(())
    }
}
