//! What facts cost whole engines: how fast a write is everywhere, and thousands of them for a newcomer, between equals and
//! when two parts come together. Nobody's processor takes time here: what is measured are journeys and disks.

use super::measure::{LIMIT, Line, SEED, secs};
use crate::engines::{Cluster, Life, Settings, bloc};
use crate::flocks::addr;
use crate::machine::{Habits, Machine};
use crate::operator::{Change, Operator};
use crate::world::{Out, Weather, World};
use bytes::Bytes;
use crux_core::facts::value::Labels;
use crux_core::hash::Random;
use crux_core::wire::Frame;
use crux_names::{Duration, Hash256};
use prost::Message as _;
use std::collections::BTreeSet;

/// How long each journey takes.
const JOURNEY: Duration = Duration::from_millis(1);
/// How long between two looks.
const LOOK: Duration = Duration::from_millis(1);
/// So many facts go in one write.
const BATCH: usize = 500;
/// A fulcrum compares by lot so often.
const COMPARES: Duration = Duration::from_secs(5);

/// Engines on a quiet network, and an operator.
struct Room {
    world: Cluster,
    settings: Settings,
    operator: Operator,
}

fn label(name: &str, n: usize) -> Change {
    let value = Labels { labels: [("a".to_owned(), format!("v{n}"))].into() };
    (format!("label/{name}{n}"), Some(value.encode_to_vec().into()))
}

impl Room {
    /// So many fulcrums, one stable flock.
    fn new(size: usize) -> Result<Self, String> {
        let weather = Weather { delay_from: JOURNEY, delay_to: JOURNEY, ..Weather::default() };
        // One more may come.
        let seeds = (0..=size).map(addr).collect();
        let settings = Settings { seed: SEED, timers: 1000, seeds, ..Settings::default() };
        let mut room = Self { world: World::new(SEED, weather), settings, operator: Operator::new(SEED) };
        (0..size).for_each(|_| room.begin());
        let all: Vec<usize> = (0..size).collect();
        room.until(LIMIT, secs(1), |room| room.one_flock(&all))?;
        // Rows are written, ADMIN is made.
        room.run(secs(20));
        room.until(LIMIT, secs(1), |room| room.equal(&all))?;
        Ok(room)
    }

    /// One more fulcrum begins, with nothing on its disk.
    fn begin(&mut self) {
        let place = self.world.slots.len();
        let id = format!("n{}", place + 1).parse().expect("a node's name");
        let machine = Machine::new(id, addr(place), 0, Habits::default(), SEED + place as u64);
        let (life, first) = Life::begin(self.world.now, machine, &self.settings);
        let member = life.member().clone();
        self.world.add(member, addr(place), life);
        for input in first {
            self.world.poke(place, |life, now, out| life.feed(now, input, out));
        }
    }

    fn life(&self, place: usize) -> &Life {
        self.world.slots[place].node.as_ref().expect("nobody dies here")
    }

    fn run(&mut self, time: Duration) {
        let end = self.world.now + time;
        self.world.run_until(end, &mut |_| {});
    }

    /// Runs until this is so, looked at so often, and says how long that took.
    fn until(&mut self, limit: Duration, look: Duration, goal: impl Fn(&Self) -> bool) -> Result<Duration, String> {
        let begin = self.world.now;
        while !goal(self) {
            if self.world.now.since(begin) >= limit {
                return Err(format!("not after {limit:?}"));
            }
            self.run(look);
        }
        Ok(self.world.now.since(begin))
    }

    fn one_flock(&self, places: &[usize]) -> bool {
        let view = |place: &usize| self.life(*place).engine.flock_room().view();
        let first = view(&places[0]);
        first.roster.len() == places.len()
            && places.iter().all(|place| {
                view(place).id() == first.id() && self.life(*place).engine.flock_room().stable(self.world.local(*place))
            })
    }

    fn equal(&self, places: &[usize]) -> bool {
        let digest = |place: &usize| self.life(*place).engine.facts_room().digest();
        places.iter().map(digest).collect::<BTreeSet<Hash256>>().len() == 1
    }

    /// How many of the facts that are only here for their number a fulcrum has.
    fn held(&self, place: usize) -> usize {
        self.life(place).engine.facts_room().paths().filter(|path| path.starts_with("label/")).count()
    }

    /// Writes many facts at one door, and waits until these hold them.
    fn load(&mut self, place: usize, places: &[usize], name: &str, count: usize) -> Result<(), String> {
        let facts: Vec<Change> = (0..count).map(|n| label(name, n)).collect();
        for batch in facts.chunks(BATCH) {
            self.operator.write(&mut self.world, place, batch);
            self.run(Duration::from_millis(100));
        }
        self.until(LIMIT, Duration::from_millis(100), |room| room.equal(places) && room.held(place) >= count)?;
        Ok(())
    }

    /// Octets of everything that was said about facts in this time.
    fn octets(&mut self, time: Duration) -> u64 {
        let end = self.world.now + time;
        let mut octets = 0;
        self.world.observing = true;
        self.world.run_until(end, &mut |world| {
            let said = world.news.iter().flat_map(|step| &step.out);
            octets += said.map(|out| if let Out::Frame(_, bytes) = out { of_facts(bytes) } else { 0 }).sum::<u64>();
        });
        self.world.observing = false;
        octets
    }
}

fn of_facts(bytes: &Bytes) -> u64 {
    match Frame::decode(bytes.clone(), &bloc()) {
        Ok(
            Frame::Facts { .. }
            | Frame::FactsHeld { .. }
            | Frame::FactsDigest { .. }
            | Frame::FactsIds { .. }
            | Frame::FactsRanges { .. }
            | Frame::FactsWant { .. },
        ) => bytes.len() as u64,
        _ => 0,
    }
}

/// A write on one is on all.
pub(super) fn everywhere(size: usize, writes: usize) -> Vec<Line> {
    let note = format!(
        "{writes} writes, each at a door by lot and waited for; journeys of 1 ms, disks that take up to 15 ms; looked at \
         each ms"
    );
    let taken = Room::new(size).and_then(|mut room| {
        let mut random = Random::new(SEED);
        let mut times = Vec::new();
        for n in 0..writes {
            let change = label("w", n);
            let door = usize::try_from(random.below(size as u64)).unwrap_or(0);
            room.operator.write(&mut room.world, door, std::slice::from_ref(&change));
            let has = |room: &Room, place| room.life(place).engine.facts_room().value(&change.0) == change.1.as_ref();
            times.push(room.until(secs(10), LOOK, |room| (0..size).all(|place| has(room, place)))?);
            let rest = random.below(50);
            room.run(Duration::from_millis(rest));
        }
        times.sort();
        Ok(times)
    });
    let share = |of: usize| taken.as_ref().map(|times| times[(times.len() * of / 100).min(times.len() - 1)]);
    let line = |of: usize, target: &str| {
        let name = format!("facts: a write on one of {size} is on all, p{of}");
        match share(of) {
            Ok(time) => Line::new(name, format!("{}", time.as_millis()), "ms", target).note(&note),
            Err(why) => Line::new(name, "not reached", "", target).note(why),
        }
    };
    vec![line(50, ""), line(99, "≤ 300 ms")]
}

/// Thousands of facts.
pub(super) fn thousands(many: usize) -> Vec<Line> {
    let name = format!("facts: a fulcrum that joins has {many}");
    let mut lines = Vec::new();
    let all = [0, 1, 2];
    let joined = Room::new(3).and_then(|mut room| {
        room.load(0, &all, "x", many)?;
        room.run(secs(20));
        let minute = secs(60);
        let spoken = room.octets(minute);
        room.begin();
        let took = room.until(LIMIT, LOOK, |room| room.equal(&[0, 1, 2, 3]) && room.held(3) == many)?;
        Ok((took, spoken as f64 / (all.len() as u64 * minute.as_secs() / COMPARES.as_secs()) as f64))
    });
    let alone = "journeys and disks only: no processor takes time";
    lines.push(Line::time(name, &joined.as_ref().map(|(took, _)| *took).map_err(Clone::clone), "≤ 3 s").note(alone));
    let name = format!("facts: a comparison of equals with {many}");
    lines.push(match &joined {
        Ok((_, octets)) => Line::new(name, format!("{octets:.0}"), "bytes", "≤ 1024 bytes")
            .note("mean over a minute in which nothing changes, by all frames of facts"),
        Err(why) => Line::new(name, "not reached", "", "≤ 1024 bytes").note(why),
    });
    let each = many / 2;
    let merged = Room::new(5).and_then(|mut room| {
        room.world.divide(&[0, 0, 0, 1, 1]);
        let (a, b, all) = ([0, 1, 2], [3, 4], [0, 1, 2, 3, 4]);
        room.until(LIMIT, secs(1), |room| room.one_flock(&a) && room.one_flock(&b))?;
        room.load(0, &a, "a", each)?;
        room.load(3, &b, "b", each)?;
        room.run(secs(10));
        room.world.join_all();
        room.until(LIMIT, LOOK, |room| room.equal(&all) && room.held(4) == 2 * each)
    });
    let name = format!("facts: merge of two parts with {each} each");
    lines.push(Line::time(name, &merged, "≤ 3 s").note(format!("three and two fulcrums; {alone}")));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_facts_come_to_their_end_with_few() {
        let lines = [everywhere(4, 5), thousands(300)].concat();
        let reached: Vec<&Line> = lines.iter().filter(|line| line.value == "not reached").collect();
        assert!(reached.is_empty(), "{reached:?}");
        let compared = lines.iter().find(|line| line.unit == "bytes").map(|line| line.value.parse::<u64>().ok());
        assert!(compared.flatten().is_some_and(|bytes| (1..1024).contains(&bytes)), "{lines:?}");
    }
}
