//! A run from one seed: how many fulcrums, which weather, which classes of faults, and what an operator does meanwhile.
//! First faults, each side of the network checked whenever it had time to settle; then everything is healed and started
//! again, and the whole must come to be as it should.
//!
//! Each seed switches some classes of faults off, so that what one class hides another run shows.

mod adders;
mod disks;
mod ends;
mod options;
mod report;
mod returning;
mod tending;

pub use options::{Class, Options};
pub use report::{Failure, Outcome, SOMETIMES};

use self::options::TEN_YEARS;
use crate::engines::{Cluster, Life, Settings};
use crate::flocks::addr;
use crate::invariants::{Idle, Rules, Whole, flocking, whole};
use crate::machine::{Habits, Machine};
use crate::operator::{Operator, Wanted, horde};
use crate::settled::{insiders, placed, settled_as, sides};
use crate::world::World;
use bytes::Bytes;
use crux_core::hash::Random;
use crux_core::io::{Command, Input};
use crux_core::services::instance::ServiceRef;
use crux_core::services::roles::HordeRoles;
use crux_names::{Boot, Duration, FulcrumId, Hash256, HordeName, Member, Time};
use std::collections::{BTreeMap, BTreeSet};

/// So often something may be told at one and the same moment before it counts as a busy loop.
const BUSY: u64 = 20_000;

/// One run.
pub struct Swarm {
    /// What it runs under.
    pub options: Options,
    /// The fulcrums and their network.
    pub world: Cluster,
    /// The operator.
    pub operator: Operator,
    /// With it, every event and fault is printed.
    pub verbose: bool,
    settings: Settings,
    /// Machines without a living crux.
    idle: Idle,
    restarts: Vec<(Time, usize)>,
    rules: Rules,
    whole: Vec<Box<dyn Whole>>,
    random: Random,
    faults: BTreeMap<&'static str, u64>,
    marks: BTreeSet<&'static str>,
    failure: Option<Failure>,
    recent: Vec<String>,
    printed: BTreeMap<Member, u64>,
    busy: (Time, u64),
    variant: u32,
    settled: Vec<u128>,
    adders: adders::Adders,
    /// Old copies of disks, by place.
    copies: BTreeMap<usize, BTreeMap<Hash256, Bytes>>,
    /// Up to which admission the operator has expelled the node of a place, and the last one that it was given.
    expelled: BTreeMap<usize, u32>,
    readmitted: BTreeMap<usize, u32>,
    /// What the operator wrote that only disks of expelled nodes had when these were expelled.
    gone: BTreeSet<Hash256>,
    /// Hordes that were made when everybody was here, since when nobody was lost: how they spread can be judged.
    pub fresh: BTreeSet<HordeName>,
}

impl Swarm {
    /// A world of fulcrums that all start now.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let size = options.nodes;
        let mut random = Random::new(options.seed ^ 0x0073_7761_726d);
        let mut labels = BTreeMap::new();
        for place in 0..size {
            let zones: &[&str] = if options.sites { &["a", "a", "b", "c"] } else { &["a", "b"] };
            let zone = BTreeMap::from([("zone".to_owned(), zones[place % zones.len()].to_owned())]);
            labels.insert(name(&options, place).id.to_string(), zone);
        }
        let settings = Settings {
            seed: options.seed,
            timers: options.timers,
            expect: options.expect.then(|| u32::try_from(size).unwrap_or(u32::MAX)),
            seeds: (0..size).map(addr).collect(),
            labels,
        };
        let world = World::new(options.seed, options.weather.clone());
        let mut swarm = Self {
            operator: Operator::new(options.seed ^ 0x6f70),
            verbose: false,
            settings,
            idle: BTreeMap::new(),
            restarts: Vec::new(),
            rules: flocking(),
            whole: whole(),
            faults: BTreeMap::new(),
            marks: BTreeSet::new(),
            failure: None,
            recent: Vec::new(),
            printed: BTreeMap::new(),
            busy: (Time::ZERO, 0),
            variant: 0,
            settled: Vec::new(),
            adders: BTreeMap::new(),
            copies: BTreeMap::new(),
            expelled: BTreeMap::new(),
            readmitted: BTreeMap::new(),
            gone: BTreeSet::new(),
            fresh: BTreeSet::new(),
            world,
            options,
            random: random.clone(),
        };
        for place in 0..size {
            let offset = swarm.options.clock(&mut random);
            let seed = random.next();
            if offset.abs() == TEN_YEARS {
                let ahead = ["a wall clock stood ten years behind", "a wall clock stood ten years ahead"];
                swarm.marks.insert(ahead[usize::from(offset > 0)]);
            }
            let id = name(&swarm.options, place).id;
            let machine = Machine::new(id, addr(place), offset, swarm.options.habits, seed);
            let (life, first) = Life::begin(swarm.world.now, machine, &swarm.settings);
            let member = life.member().clone();
            swarm.world.add(member, addr(place), life);
            swarm.first(place, first);
        }
        swarm.random = random;
        swarm
    }

    /// The seed's whole run.
    ///
    /// # Errors
    /// The rule that was broken, when, and what happened before.
    pub fn run(mut self) -> Result<Outcome, Box<Failure>> {
        let seed = self.options.seed;
        let result = self.both_phases();
        self.gather();
        match result {
            Ok(()) => Ok(self.outcome()),
            Err(mut failure) => {
                failure.seed = seed;
                failure.events = std::mem::take(&mut self.recent);
                let from = failure.events.len().saturating_sub(60);
                failure.events.drain(..from);
                Err(failure)
            }
        }
    }

    fn both_phases(&mut self) -> Result<(), Box<Failure>> {
        let head = Duration::from_millis(self.random.below(15_000));
        self.run_for(head)?;
        for _ in 0..self.options.steps {
            self.step();
            if self.options.classes.contains(&Class::OldDisk) {
                self.copy_a_disk();
            }
            let millis = 50 + self.random.below(12_000);
            self.run_for(self.scaled(millis))?;
            if self.random.below(3) == 0 {
                self.check_sides("faults")?;
            }
        }
        self.options.habits = Habits::default();
        self.heal();
        let everybody: Vec<usize> = self.idle.keys().copied().collect();
        for place in everybody {
            self.restart(place);
        }
        self.restarts.clear();
        self.check_sides("healed")?;
        self.nothing_lost()?;
        self.nothing_refused_in_force()?;
        self.expelled_are_out()?;
        if self.options.classes.contains(&Class::SickDisk) {
            self.sick_disks()?;
        }
        self.still_writable()?;
        self.check_sides("after the last writes")
    }

    fn scaled(&self, millis: u64) -> Duration {
        Duration::from_micros(millis * u64::from(self.options.timers))
    }

    /// Lets time pass under all rules.
    ///
    /// # Errors
    /// The first rule that was broken.
    pub fn run_for(&mut self, time: Duration) -> Result<(), Box<Failure>> {
        let end = self.world.now + time;
        while self.world.now < end {
            self.tend_register()?;
            let next = end.min(self.world.now + Duration::from_millis(100));
            let Self { world, rules, whole, idle, failure, busy, .. } = self;
            world.run_until(next, &mut |world| {
                if failure.is_none() {
                    *failure =
                        check(world, rules, whole, idle).err().map(|(rule, why)| Failure::new(rule, why, world.now));
                }
                *busy = if busy.0 == world.now { (busy.0, busy.1 + 1) } else { (world.now, 0) };
                assert!(busy.1 < BUSY, "a busy loop at {}: somebody wants to be woken at once for ever", world.now);
            });
            self.operator.collect(&self.world);
            self.collect_events();
            if let Some(failure) = self.failure.take() {
                return Err(Box::new(failure));
            }
            let now = self.world.now;
            for place in 0..self.world.slots.len() {
                let Some(life) = &self.world.slots[place].node else { continue };
                let (finished, power) = (life.finished, life.machine.disk.dead());
                if finished || power {
                    self.end(place, power);
                    self.restart_later(place);
                }
            }
            while let Some(index) = self.restarts.iter().position(|(at, _)| *at <= now) {
                let (_, place) = self.restarts.swap_remove(index);
                self.restart(place);
            }
        }
        Ok(())
    }

    /// Waits until every side is as it must be and stays so. Where the network is no union of cliques, there is nothing
    /// to demand.
    ///
    /// # Errors
    /// What is not as it must be, or does not stay so, when time is up.
    pub fn check_sides(&mut self, phase: &str) -> Result<(), Box<Failure>> {
        let Some(sides) = sides(&self.world) else { return Ok(()) };
        let resting = std::mem::take(&mut self.restarts);
        let now = self.world.now;
        self.each_machine(|machine| machine.calm(now));
        let awake = self.world.slots.iter().map(|slot| slot.paused_until).max().unwrap_or(Time::ZERO);
        self.run_for(awake.since(self.world.now))?;
        let begin = self.world.now;
        // Holds after a split, graces of stubborn processes, backed-off restarts; the removal of surplus one by one.
        let limit = begin + self.scaled(60_000) + Duration::from_secs(25);
        let stay = self.scaled(6_000);
        let mut since: Option<(Time, Vec<String>)> = None;
        let mut breaks = 0;
        loop {
            match self.all(&sides) {
                Ok(()) => {
                    let picture = self.picture();
                    match &since {
                        Some((from, before)) if *before == picture => {
                            if self.world.now >= *from + stay {
                                break;
                            }
                        }
                        Some(_) => since = Some((self.world.now, picture)),
                        None => since = Some((self.world.now, picture)),
                    }
                }
                Err(why) => {
                    breaks += u32::from(since.take().is_some());
                    if self.world.now >= limit {
                        let took = self.world.now.since(begin);
                        let names = |side: &Vec<usize>| {
                            side.iter().map(|at| format!("n{}", at + 1)).collect::<Vec<_>>().join(",")
                        };
                        let shape: Vec<String> = sides.iter().map(names).collect();
                        let why = format!(
                            "{why}; {phase}, {took:?} after the last change, sides {}, broken again {breaks} times",
                            shape.join(" / ")
                        );
                        self.say_plans();
                        return Err(Box::new(Failure::new("settles", why, self.world.now)));
                    }
                }
            }
            self.run_for(Duration::from_millis(100))?;
        }
        let took = since.map_or(Duration::ZERO, |(from, _)| from.since(begin));
        self.say(&format!("settled after {took:?}"));
        self.settled.push(took.as_millis());
        if sides.len() > 1 {
            self.marks.insert("two sides settled apart");
        }
        let habits = self.options.habits;
        self.each_machine(|machine| machine.resume(habits));
        self.restarts = resting;
        Ok(())
    }

    /// For the report of a failure: what the seats plan, and which processes there are.
    fn say_plans(&mut self) {
        let mut lines = Vec::new();
        for life in self.world.slots.iter().filter_map(|slot| slot.node.as_ref()) {
            let me = life.member();
            for (horde, heard) in life.engine.services_room().plans() {
                if heard.by == me.id {
                    lines.push(format!("{me} has planned {horde}: {:?}", heard.word.id.generation));
                    for entry in &heard.word.entries {
                        let instance = entry.instance.as_ref().map(ToString::to_string).unwrap_or_default();
                        lines.push(format!("  {}.{} on {} {instance}: {}", entry.of, entry.slot, entry.on, entry.why));
                    }
                    for lack in &heard.word.shortfalls {
                        lines.push(format!("  {} lacks {}: {}", lack.of, lack.missing, lack.why));
                    }
                }
            }
            for process in life.machine.processes.values() {
                lines.push(format!("{me} runs {} of {}", process.instance.id, process.instance.of));
            }
        }
        lines.into_iter().for_each(|line| self.say(&line));
    }

    /// From now on these hold of whole engines.
    pub(crate) fn replace_rules(&mut self, whole: Vec<Box<dyn Whole>>) {
        self.whole = whole;
    }

    fn all(&self, sides: &[Vec<usize>]) -> Result<(), String> {
        sides.iter().try_for_each(|side| settled_as(&self.world, side, None, &self.fresh))?;
        one_side_only(&self.world, sides)
    }

    /// What must not change any more once it has settled.
    fn picture(&self) -> Vec<String> {
        let of = |life: &Life| {
            let view = life.engine.flock_room().view().id().clone();
            let runs: Vec<String> = life.machine.processes.keys().map(ToString::to_string).collect();
            format!("{view:?} {} {}", life.engine.facts_room().digest(), runs.join(" "))
        };
        let inside = self.insiders();
        inside.iter().filter_map(|at| self.world.slots[*at].node.as_ref()).map(of).collect()
    }

    fn each_machine(&mut self, mut act: impl FnMut(&mut Machine)) {
        self.world.each(|life| act(&mut life.machine));
        self.idle.values_mut().for_each(act);
    }

    fn say(&mut self, text: &str) {
        let line = format!("{} ** {text}", self.world.now);
        if self.verbose {
            println!("{line}");
        }
        self.recent.push(line);
    }

    /// Takes in what the lives told since last time, in the order of time.
    fn collect_events(&mut self) {
        let mut lines: Vec<(Time, usize, String)> = Vec::new();
        for (place, slot) in self.world.slots.iter().enumerate() {
            let Some(life) = &slot.node else { continue };
            let printed = self.printed.entry(life.member().clone()).or_default();
            let new = usize::try_from(life.said - *printed).unwrap_or(0).min(life.events.len());
            *printed = life.said;
            for (at, event) in life.events.iter().skip(life.events.len() - new) {
                if let Some(mark) = report::mark(event) {
                    self.marks.insert(mark);
                }
                lines.push((
                    *at,
                    place,
                    format!("{at} n{} {} {}: {}", place + 1, event.kind, event.subject, event.text),
                ));
            }
        }
        lines.sort();
        for (_, _, line) in lines {
            if self.verbose {
                println!("{line}");
            }
            self.recent.push(line);
        }
        let surplus = self.recent.len().saturating_sub(400);
        self.recent.drain(..surplus);
    }

    fn gather(&mut self) {
        let mut marks = std::mem::take(&mut self.marks);
        self.each_machine(|machine| marks.extend(machine.marks.iter().copied().chain(machine.disk.marks())));
        let replies = self.operator.written.iter().filter_map(|written| written.reply.as_ref());
        marks.extend(replies.filter_map(report::mark_of_reply));
        marks.extend(self.whole.iter().filter_map(|rule| rule.mark()));
        self.marks = marks;
    }

    fn outcome(self) -> Outcome {
        let lives = self.world.slots.iter().filter_map(|slot| slot.node.as_ref());
        Outcome {
            seed: self.options.seed,
            simulated: self.world.now.since(Time::ZERO),
            faults: self.faults,
            marks: self.marks,
            acknowledged: self.operator.written.iter().filter(|written| written.acknowledged()).count(),
            told: self.world.told,
            settled: self.settled,
            trace: self.world.trace,
            digests: lives.map(|life| life.engine.digest()).collect(),
        }
    }

    // Faults.

    fn step(&mut self) {
        let classes = self.options.classes.clone();
        let class = classes[usize::try_from(self.random.below(classes.len() as u64)).unwrap_or(0)];
        self.fault(class);
    }

    /// Does one fault, or one deed of the operator.
    pub fn fault(&mut self, class: Class) {
        *self.faults.entry(class.name()).or_default() += 1;
        let size = self.options.nodes;
        let place = self.below(size);
        let other = (place + 1 + self.below(size - 1)) % size;
        // Nobody writes at the door of a node that is expelled.
        let writes = matches!(class, Class::Write | Class::Horde | Class::Tend);
        let place =
            if writes { (0..size).map(|on| (place + on) % size).find(|at| !self.is_out(*at)) } else { Some(place) };
        let Some(place) = place else { return };
        match class {
            Class::Split => {
                let parts = 2 + self.below(2);
                let side: Vec<usize> = (0..size).map(|_| self.below(parts)).collect();
                self.split(&side);
            }
            Class::Pair => {
                self.world.set_path(place, other, false);
                self.world.set_path(other, place, false);
                self.say(&format!("cut the pair n{} n{}", place + 1, other + 1));
            }
            Class::OneWay => {
                self.world.set_path(place, other, false);
                self.say(&format!("cut n{} to n{}, one way", place + 1, other + 1));
            }
            Class::Heal => self.heal(),
            Class::Pause => {
                let time = Duration::from_millis(100 + self.random.below(6_000));
                self.say(&format!("pause n{} for {time:?}", place + 1));
                self.world.pause(place, time);
            }
            Class::KillCrux | Class::KillMachine => {
                let power = class == Class::KillMachine;
                self.say(&format!("kill {} n{}", if power { "the machine of" } else { "crux on" }, place + 1));
                self.end(place, power);
                self.restart_later(place);
            }
            Class::SickDisk => self.sick_disk(place),
            Class::LostDisk => self.lost_disk(place),
            Class::Down => {
                let services = self.below(2) == 0;
                self.say(&format!("down n{}, services too: {services}", place + 1));
                let command = Command::Down { services };
                self.world.poke(place, |life, now, out| {
                    life.feed(now, Input::Command { request: 0, command }, out);
                });
            }
            Class::Write => self.write(place),
            Class::Horde => {
                let web: HordeName = "web".parse().expect("a horde's name");
                let want = if self.below(4) == 0 { None } else { u32::try_from(self.below(size)).ok() };
                self.say(&format!("write horde web want {want:?} at n{}", place + 1));
                let change = horde(&web, want);
                self.operator.write(&mut self.world, place, &change);
            }
            Class::OldDisk => self.old_disk(place),
            Class::BadFile => self.bad_file(place),
            Class::Expel => self.expel(place),
            Class::ClockJump => self.clock_jump(place),
            Class::Tend => self.tend(place),
        }
    }

    fn write(&mut self, place: usize) {
        let Some(life) = &self.world.slots[place].node else { return };
        let placed: Vec<ServiceRef> = placed(life).into_keys().collect();
        let service = ["api", "db", "job"][self.below(3)].parse().expect("a service's name");
        let web = self.options.classes.contains(&Class::Horde) && self.below(3) == 0;
        let horde: HordeName = if web { "web" } else { "main" }.parse().expect("a horde's name");
        let of = ServiceRef { horde, service };
        if placed.contains(&of) && self.below(4) == 0 {
            self.say(&format!("remove {of} at n{}", place + 1));
            let wanted = Wanted::plain(&of, String::new());
            return self.operator.write(&mut self.world, place, &wanted.removal());
        }
        let number = match self.below(4) {
            0 => "SIZE(ALL)".to_owned(),
            _ => self.below(5).to_string(),
        };
        let set = ["ALL", "ALL", "LABEL(zone=a)", "LABEL(zone=b)"][self.below(4)];
        if self.below(3) == 0 {
            self.variant += 1;
        }
        let home = self.below(self.options.nodes);
        let home = format!("home:{}", self.world.slots[home].member.id.node);
        let on_split = ["", "each-side", "majority", "stop", home.as_str()][self.below(5)].to_owned();
        let single = matches!(on_split.as_str(), "majority" | "stop") && self.below(2) == 0;
        let number = if single { "1".to_owned() } else { number };
        let mut wanted = Wanted::plain(&of, format!("pick({}, {number}, {set})", of.service));
        wanted.on_split = on_split;
        wanted.single = single;
        wanted.variant = self.variant;
        wanted.check = self.below(2) == 0;
        wanted.file = self.below(3) == 0;
        // By what is drawn already: a seed stays the run that it was.
        wanted.hooks = self.variant.is_multiple_of(2);
        self.say(&format!(
            "write {of} = {} {:?} single {single} variant {} at n{}",
            wanted.place,
            wanted.on_split,
            wanted.variant,
            place + 1
        ));
        self.operator.write(&mut self.world, place, &wanted.changes());
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.random.below(bound as u64)).unwrap_or(0)
    }

    /// Cuts everything between parts: `side[place]` names the part of each place.
    pub fn split(&mut self, side: &[usize]) {
        self.say(&format!("split {side:?}"));
        let parts: Vec<u8> = side.iter().map(|part| u8::try_from(*part).unwrap_or(u8::MAX)).collect();
        self.world.divide(&parts);
    }

    /// Joins everything.
    pub fn heal(&mut self) {
        self.say("heal");
        self.split(&vec![0; self.options.nodes]);
    }

    /// Ends a life; with `power`, its machine's processes too.
    pub fn end(&mut self, place: usize, power: bool) {
        self.operator.collect(&self.world);
        self.collect_events();
        let life = if power { self.world.crash_out(place) } else { self.world.kill_out(place) };
        let Some(life) = life else { return };
        let mut machine = life.machine;
        if power {
            machine.lose_power(self.world.now)
        } else {
            machine.lose_crux(self.world.now)
        }
        self.idle.insert(place, machine);
    }

    fn restart_later(&mut self, place: usize) {
        let after = if self.below(3) == 0 { 200 + self.random.below(1_500) } else { self.random.below(30_000) };
        self.restarts.push((self.world.now + self.scaled(after), place));
    }

    /// Gives the machine of a place without a life a blank disk.
    pub fn wipe(&mut self, place: usize) {
        if let Some(machine) = self.idle.get_mut(&place) {
            machine.wipe();
        }
    }

    /// Begins a new life in a place without one.
    pub fn restart(&mut self, place: usize) {
        let Some(machine) = self.idle.remove(&place) else { return };
        self.say(&format!("start crux on n{}", place + 1));
        let (life, first) = Life::begin(self.world.now, machine, &self.settings);
        let member = life.member().clone();
        self.world.restart(place, member, life);
        self.first(place, first);
    }

    fn first(&mut self, place: usize, inputs: Vec<Input>) {
        for input in inputs {
            self.world.poke(place, |life, now, out| life.feed(now, input, out));
        }
    }
}

fn name(options: &Options, place: usize) -> Member {
    let site = ["", ".site-a", ".site-b"][if options.sites { 1 + place / 2 % 2 } else { 0 }];
    Member { id: format!("n{}{site}", place + 1).parse().expect("a node's name"), boot: Boot(0) }
}

/// A `majority` service runs on one side of a split only. Source: the design's `promises.md`, V5. Where an operator
/// changed on one side who is of the horde, or the policy, the sides count differently and nothing can be demanded.
fn one_side_only(world: &Cluster, sides: &[Vec<usize>]) -> Result<(), String> {
    let mut runs: BTreeMap<(ServiceRef, Vec<FulcrumId>), BTreeSet<usize>> = BTreeMap::new();
    for (index, side) in sides.iter().enumerate() {
        for life in insiders(world, side).iter().filter_map(|at| world.slots[*at].node.as_ref()) {
            let placed = placed(life);
            let roles = life.engine.services_room().roles();
            for of in life.machine.processes.values().map(|process| &process.instance.of) {
                if placed.get(of).is_some_and(|place| place.on_split == "majority") {
                    let home = roles.hordes.get(&of.horde).map(HordeRoles::home).unwrap_or_default();
                    runs.entry((of.clone(), home)).or_default().insert(index);
                }
            }
        }
    }
    match runs.into_iter().find(|(_, sides)| sides.len() > 1) {
        Some(((of, _), sides)) => Err(format!("V5: {of} is placed by majority and runs on {} sides", sides.len())),
        None => Ok(()),
    }
}

fn check(
    world: &Cluster,
    rules: &mut Rules,
    whole: &mut [Box<dyn Whole>],
    idle: &Idle,
) -> Result<(), (&'static str, String)> {
    rules.look(world)?;
    for rule in whole {
        rule.check(world, idle).map_err(|why| (rule.name(), why))?;
    }
    Ok(())
}
