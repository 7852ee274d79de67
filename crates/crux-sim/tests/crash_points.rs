//! Every write boundary, not a sample of them: three fulcrums start, are written to, split, are written to on both sides,
//! heal, and are written to once more. For each write to each of their disks, and for each moment in it, there is a run in
//! which that machine loses its power there; and another in which all lose it at that moment. Each run must end with equal
//! facts on all disks and with every acknowledged write in force or listed. Source: the design's `promises.md`, S1.

use crux_core::services::instance::ServiceRef;
use crux_names::Duration;
use crux_sim::disk::{Moment, Trap};
use crux_sim::operator::{Wanted, horde};
use crux_sim::swarm::{Failure, Options, Swarm};

const NODES: usize = 3;
const MILLIS: fn(u64) -> Duration = Duration::from_millis;

/// Who loses power at which write of whom.
#[derive(Clone, Copy, Debug)]
struct Point {
    place: usize,
    trap: Trap,
    all: bool,
}

struct Run {
    swarm: Swarm,
    point: Option<Point>,
    fell: bool,
    back: Vec<(crux_names::Time, usize)>,
}

impl Run {
    fn new(point: Option<Point>) -> Self {
        let mut options = Options::fine(5, NODES);
        options.timers = 250;
        let mut swarm = Swarm::new(options);
        if let Some(point) = point {
            swarm.world.poke(point.place, |life, _, _| life.machine.disk.trap(point.trap));
        }
        Self { swarm, point, fell: false, back: Vec::new() }
    }

    /// Lets time pass. Whoever loses its power has it again two seconds later at the latest.
    fn pass(&mut self, time: Duration) -> Result<(), Box<Failure>> {
        let end = self.swarm.world.now + time;
        while self.swarm.world.now < end {
            let fallen = |point: &Point| self.swarm.world.slots[point.place].node.is_none();
            if let Some(point) = self.point.filter(|point| !self.fell && fallen(point)) {
                self.fell = true;
                for place in (0..NODES).filter(|place| point.all || *place == point.place) {
                    self.swarm.end(place, true);
                    self.back.push((self.swarm.world.now + MILLIS(2_000), place));
                }
            }
            let now = self.swarm.world.now;
            for (_, place) in self.back.extract_if(.., |(at, _)| *at <= now) {
                self.swarm.restart(place);
            }
            self.swarm.run_for(MILLIS(5))?;
        }
        Ok(())
    }

    fn write(&mut self, place: usize, name: &str, count: usize) {
        let of = ServiceRef { horde: "main".parse().unwrap(), service: name.parse().unwrap() };
        let wanted = Wanted::plain(&of, format!("pick({name}, {count}, ALL)"));
        let Swarm { operator, world, .. } = &mut self.swarm;
        operator.write(world, place, &wanted.changes());
    }

    fn script(&mut self) -> Result<(), Box<Failure>> {
        self.pass(MILLIS(3_000))?;
        self.write(0, "api", 1);
        self.pass(MILLIS(5))?;
        self.write(1, "db", 1);
        self.pass(MILLIS(700))?;
        let Swarm { operator, world, .. } = &mut self.swarm;
        operator.write(world, 2, &horde(&"web".parse().unwrap(), Some(1)));
        self.pass(MILLIS(1_500))?;
        self.swarm.split(&[0, 0, 1]);
        self.pass(MILLIS(1_200))?;
        // The same fact once here and three times there, another on one side only, and a removal.
        self.write(2, "api", 2);
        for count in [0, 2, 3] {
            self.write(0, "api", count);
            self.pass(MILLIS(120))?;
        }
        self.write(1, "job", 1);
        let Swarm { operator, world, .. } = &mut self.swarm;
        operator.write(world, 2, &horde(&"web".parse().unwrap(), None));
        self.pass(MILLIS(1_500))?;
        self.swarm.heal();
        self.pass(MILLIS(2_500))?;
        self.write(2, "db", 2);
        self.pass(MILLIS(3_000))
    }

    /// The end of every run: all are up, agree, and have everything on disk; and nothing acknowledged is gone.
    fn finish(&mut self) -> Result<(), Box<Failure>> {
        while !self.back.is_empty() {
            self.pass(MILLIS(100))?;
        }
        self.swarm.check_sides("after the crash")?;
        self.swarm.nothing_lost()
    }
}

/// How many writes each disk sees if nothing goes wrong.
fn undisturbed() -> Vec<u64> {
    let mut run = Run::new(None);
    run.script().unwrap_or_else(|failure| panic!("{failure}"));
    let ended = run.swarm.world.slots.iter().map(|slot| slot.node.as_ref().unwrap().machine.disk.ended()).collect();
    run.finish().unwrap_or_else(|failure| panic!("{failure}"));
    let acknowledged = run.swarm.operator.written.iter().filter(|written| written.acknowledged()).count();
    assert_eq!(acknowledged, 10, "of the script's writes");
    ended
}

fn every_point(place: usize, all: bool) {
    let writes = undisturbed()[place];
    let mut points = 0;
    for write in 0..writes {
        for moment in Moment::ALL {
            let point = Point { place, trap: Trap { write, moment }, all };
            let mut run = Run::new(Some(point));
            let result = run.script().and_then(|()| run.finish());
            result.unwrap_or_else(|failure| panic!("{point:?}: {failure}"));
            assert!(run.fell, "{point:?} was never reached");
            points += 1;
        }
    }
    println!("{points} crash points of n{}, all lose power: {all}", place + 1);
    assert!(points >= 45, "only {points} crash points of n{}: the script writes too little", place + 1);
}

#[test]
fn every_crash_point_of_the_first() {
    every_point(0, false);
}

#[test]
fn every_crash_point_of_the_second() {
    every_point(1, false);
}

#[test]
fn every_crash_point_of_the_third() {
    every_point(2, false);
}

#[test]
fn every_crash_point_of_the_first_at_which_all_lose_power() {
    every_point(0, true);
}

#[test]
fn every_crash_point_of_the_second_at_which_all_lose_power() {
    every_point(1, true);
}

#[test]
fn every_crash_point_of_the_third_at_which_all_lose_power() {
    every_point(2, true);
}
