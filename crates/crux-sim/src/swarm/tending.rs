//! What operators do besides services and hordes: cordons, labels, rules, and the line before which nothing counts. And what
//! befalls wall clocks.

use super::Swarm;
use super::options::TEN_YEARS;
use crate::machine::{IN_1970, calendar};
use crate::operator::{Change, cordon, horizon, rule, zone};
use crux_core::facts::value::{HORIZON, HORIZON_MIN, Horizon};
use crux_names::Wall;
use prost::Message as _;

/// To where a clock jumps: it is right, an hour, a day, a year or ten off.
const JUMPS: [i64; 5] = [0, 3_600_000_000, 86_400_000_000, YEAR, TEN_YEARS];
const YEAR: i64 = 31_536_000_000_000;

impl Swarm {
    /// Writes one such fact at a door.
    pub(super) fn tend(&mut self, door: usize) {
        let whom = self.below(self.options.nodes);
        let id = self.world.slots[whom].member.id.clone();
        let (what, changes): (String, Vec<Change>) = match self.below(12) {
            0..4 => {
                let drain = [None, Some(false), Some(true)][self.below(3)];
                (format!("cordon of n{}, drain {drain:?}", whom + 1), cordon(&id, drain))
            }
            4..7 => {
                let label = [None, Some("a"), Some("b")][self.below(3)];
                (format!("zone of n{}: {label:?}", whom + 1), zone(&id.node, label))
            }
            7..11 => {
                let (nonce, removed) = (u8::try_from(self.below(3)).unwrap_or(0), self.below(3) == 0);
                (format!("rule {nonce}, removed: {removed}"), rule(nonce, removed))
            }
            _ => {
                // As far back as it must lie at least, by a calendar that is right, and up to eleven years more.
                let days = 24 * 3_600 * 1_000_000;
                let back = HORIZON_MIN + self.random.below(4_000) * days;
                (format!("horizon {} days back", back / days), horizon(Wall(calendar(self.world.now).0 - back)))
            }
        };
        self.say(&format!("write {what} at n{}", door + 1));
        self.operator.write(&mut self.world, door, &changes);
    }

    /// The clock of a machine shows something else from now on.
    pub(super) fn clock_jump(&mut self, place: usize) {
        if self.below(5) == 0 {
            self.say(&format!("n{} loses its power and begins in 1970", place + 1));
            self.end(place, true);
            self.machine(place, |machine| machine.offset = IN_1970);
            self.marks.insert("a machine began in 1970");
            return self.restart_later(place);
        }
        let lot = self.below(JUMPS.len());
        let to = if self.below(2) == 0 { JUMPS[lot] } else { -JUMPS[lot] };
        let mut by = 0;
        self.machine(place, |machine| {
            by = to - machine.offset;
            machine.offset = to;
        });
        self.say(&format!("the wall clock of n{} jumps by {} s", place + 1, by / 1_000_000));
        if by.abs() >= YEAR {
            self.marks.insert("a wall clock jumped by years");
        }
    }

    /// The latest line that anybody living knows.
    fn line(&self) -> u64 {
        let lives = self.world.slots.iter().filter_map(|slot| slot.node.as_ref());
        let value = lives.filter_map(|life| Horizon::decode(life.engine.facts_room().value(HORIZON)?.clone()).ok());
        value.map(|horizon| horizon.before).max().unwrap_or(0)
    }

    /// Doors at which everything can be written: of the bloc, with a clock that does not show a time before the line, for what
    /// is stamped there is refused.
    pub(super) fn doors(&mut self) -> Vec<usize> {
        let line = self.line();
        let lives = |at: &usize| self.world.slots[*at].node.as_ref();
        let shows = |at: &usize| lives(at).is_some_and(|life| life.machine.wall(self.world.now).0 >= line);
        let all = self.insiders();
        let doors: Vec<usize> = all.iter().copied().filter(|at| shows(at)).collect();
        if doors.len() < all.len() {
            self.marks.insert("a clock stood before the horizon");
        }
        doors
    }
}
