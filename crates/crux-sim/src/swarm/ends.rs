//! What is asked at the end of a run, when everything is healed: what became of every write, and that everything can still
//! be written.

use super::{Failure, Swarm};
use crate::engines::Life;
use crate::operator::{Wanted, horde, horde_where};
use crate::settled::placed;
use bytes::Bytes;
use crux_core::facts::Facts;
use crux_core::facts::rule::{RULES, RuleFact};
use crux_core::facts::value::{HORIZON, Horizon};
use crux_core::io::Reply;
use crux_core::services::instance::ServiceRef;
use crux_names::{Duration, Hash256, HordeName};
use prost::Message as _;

impl Swarm {
    /// S3: every acknowledged write is in force, replaced by one that knew it, or listed: as a conflict's loser, or behind
    /// the horizon that an operator drew.
    ///
    /// # Errors
    /// The version that is gone.
    pub fn nothing_lost(&mut self) -> Result<(), Box<Failure>> {
        let Some(at) = self.insiders().first().copied() else { return Ok(()) };
        let Some(life) = &self.world.slots[at].node else { return Ok(()) };
        let facts = life.engine.facts_room();
        if facts.conflicts().next().is_some() {
            self.marks.insert("a conflict is listed at the end");
        }
        let line = facts.value(HORIZON).and_then(|value| Horizon::decode(value.clone()).ok());
        let line = line.map_or(0, |horizon| horizon.before);
        for written in self.operator.written.iter().filter(|written| written.acknowledged()) {
            for (path, id) in written.versions.iter().filter(|(_, id)| !self.gone.contains(id)) {
                let behind = self.behind_line(path, line);
                if !behind.is_empty() {
                    self.marks.insert("something stands behind the horizon");
                }
                let kept = self.operator.replaced_by(id, &[facts.heads(path), behind].concat());
                if !(kept || self.rule_stands(facts, path, id)) {
                    let why = format!("{path}: version {id} was acknowledged by n{} and is gone", written.place + 1);
                    return Err(Box::new(Failure::new("S3 nothing acknowledged is lost", why, self.world.now)));
                }
            }
        }
        Ok(())
    }

    /// What operators wrote under a path that is stamped before the line.
    fn behind_line(&self, path: &str, line: u64) -> Vec<Hash256> {
        let all = self.operator.statements.iter().filter(|_| line > 0);
        all.filter(|(_, said)| said.path == path && said.stamp.wall < line).map(|(id, _)| *id).collect()
    }

    /// Of a rule no version names another: a removal wins, else the latest, and all others say the same.
    fn rule_stands(&self, facts: &Facts, path: &str, id: &Hash256) -> bool {
        let removes = |value: &Bytes| RuleFact::decode(value.clone()).is_ok_and(|fact| fact.removed);
        let said = self.operator.statements.get(id).and_then(|statement| statement.value.clone());
        let stands = |value: &Bytes| removes(value) || said.as_ref() == Some(value);
        path.starts_with(RULES) && facts.value(path).is_some_and(stands)
    }

    /// S5: whatever clocks and disks did, every fact can be changed through every door afterwards whose clock does not
    /// show a time before the horizon.
    pub(super) fn still_writable(&mut self) -> Result<(), Box<Failure>> {
        let doors = self.doors();
        let Some(first) = doors.first().copied() else { return Ok(()) };
        let Some(life) = &self.world.slots[first].node else { return Ok(()) };
        let known: Vec<ServiceRef> = placed(life).into_keys().collect();
        for (index, of) in known.iter().enumerate() {
            let place = doors[(index + self.below(self.options.nodes)) % doors.len()];
            self.say(&format!("last write of {of} at n{}", place + 1));
            let wanted = Wanted::plain(of, format!("pick({}, 2, ALL)", of.service));
            let mut changes = wanted.changes();
            // A split may have left it in a horde that was deleted on the other side: no door places anything there.
            let hordes = |life: &Life| life.engine.muster().hordes().contains_key(&of.horde);
            let known = self.world.slots[place].node.as_ref().is_some_and(hordes);
            if of.horde != HordeName::main() && !known {
                changes.extend(horde(&of.horde, Some(0)));
            }
            self.operator.write(&mut self.world, place, &changes);
            self.run_for(Duration::from_secs(3))?;
            let reply = self.operator.written.last().and_then(|written| written.reply.clone());
            if !matches!(reply, Some(Reply::Written { converged: true, .. })) {
                let why = format!("{of} cannot be written at n{}: {reply:?}", place + 1);
                return Err(Box::new(Failure::new("S5 no value becomes unchangeable", why, self.world.now)));
            }
        }
        if self.options.sites {
            let name: HordeName = "last".parse().expect("a horde's name");
            let admits = ["", "zone=a", "node under site-b", "zone=b & node under site-a"][self.below(4)];
            let want = 2 + u32::try_from(self.below(3)).unwrap_or(0);
            self.say(&format!("write horde last want {want} where {admits:?} at n{}", first + 1));
            self.operator.write(&mut self.world, first, &horde_where(&name, want, admits));
            self.fresh.insert(name);
        }
        Ok(())
    }
}
