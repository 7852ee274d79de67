//! A run of flocks alone from one seed, in two phases: faults of every class at any pace, under all safety rules after each
//! step; then everything heals, or the network stays in a shape from the seed, and what must come to hold is waited for.

mod faults;
mod options;

pub use options::{Ending, FAULTS, Fault, Options};

use crate::flocks::{Bird, Flocks, addr, config, member};
use crate::invariants::{Rules, flocking};
use crate::liveness::{
    CaughtUp, DoubleStable, Scene, all_stable, as_good_as_fresh, exactly_the_cliques, no_broken_pair_together,
    one_flock, partition,
};
use crate::swarm::Failure;
use crate::world::{DIAL, Quality, World};
use crux_core::flock::view::ViewId;
use crux_core::flock::{Apart, Flock};
use crux_core::hash::Random;
use crux_names::{BlocName, Duration, FulcrumId, Time};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// So often something may happen at one and the same moment before it counts as a busy loop.
const BUSY: u64 = 100_000;
/// So often what must come to hold is looked for.
const LOOKS: Duration = Duration::from_millis(100);
/// A question that got lost is asked and answered again by then, with the slowest timers too.
const ANSWERED: Duration = Duration::from_secs(3);
/// Up to this size everybody watches everybody.
const EVERYBODY: u64 = 11;
/// The longest hold that the design knows.
const LONGEST_HOLD: Duration = Duration::from_secs(600);

/// Where fulcrums were last seen.
type Book = Vec<(FulcrumId, SocketAddr)>;

/// What looks after each step, for people who step through a run.
pub type Watcher = Box<dyn FnMut(&Flocks)>;

/// A run in which every rule held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Its seed.
    pub seed: u64,
    /// Invented time.
    pub simulated: Duration,
    /// How many faults of each class.
    pub faults: BTreeMap<&'static str, u64>,
    /// Things told to fulcrums; every rule looked after each.
    pub told: u64,
    /// How long it took until the end was as it must be, in milliseconds; by the kind of ending.
    pub settled: (&'static str, u64),
    /// How long it took until the flocks were as they must be, stable or not, in milliseconds, without holds that were shown.
    pub shaped: u64,
    /// For how long two flocks that could be one were both stable at most, after the faults.
    pub double_stable: Duration,
    /// For how long anybody lacked a view that another had at most, after the faults.
    pub missed: Duration,
    /// Views installed by the living.
    pub installs: usize,
    /// Hash of all that was told to anybody.
    pub trace: u64,
}

/// One run.
pub struct FlockSwarm {
    /// What it runs under.
    pub options: Options,
    /// The fulcrums and their network.
    pub world: Flocks,
    /// With it, every fault is printed.
    pub verbose: bool,
    /// Looks after each step.
    pub watcher: Option<Watcher>,
    random: Random,
    rules: Rules,
    /// The newest boot of each identity.
    boots: Vec<u64>,
    /// The last address book of each place.
    books: Vec<Book>,
    /// Lives that begin again, and whether with their address book.
    restarts: Vec<(Time, usize, bool)>,
    /// Ends that were announced.
    ends: Vec<(Time, usize)>,
    /// Paths change by themselves until then.
    noisy: Time,
    moves: usize,
    faults: BTreeMap<&'static str, u64>,
    story: Vec<String>,
    busy: (Time, u64),
}

impl FlockSwarm {
    /// A world of fulcrums that all start now.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let mut random = Random::new(options.seed ^ 0x7377_6172);
        let mut world: Flocks = World::new(options.seed, options.weather.clone());
        world.observing = true;
        let boots = vec![1; options.nodes];
        for place in 0..options.nodes {
            let node = bird(&options, world.now, place, 1, Vec::new());
            world.add(member(place, 1), addr(place), node);
            if options.drift > 0 {
                let gain = i64::try_from(random.below(2 * options.drift + 1)).unwrap_or(0);
                let gain = gain - i64::try_from(options.drift).unwrap_or(0);
                world.set_rate(place, i32::try_from(gain).unwrap_or(0));
            }
        }
        let mut swarm = Self {
            world,
            verbose: false,
            watcher: None,
            random: random.clone(),
            rules: flocking(),
            books: vec![Vec::new(); boots.len()],
            boots,
            restarts: Vec::new(),
            ends: Vec::new(),
            noisy: Time::ZERO,
            moves: 0,
            faults: BTreeMap::new(),
            story: Vec::new(),
            busy: (Time::ZERO, 0),
            options,
        };
        if swarm.options.stranger {
            swarm.add_stranger();
        }
        if swarm.options.visitor.is_some() {
            *swarm.faults.entry("visitor").or_default() += 1;
        }
        if swarm.options.drift > 0 {
            *swarm.faults.entry("clock drift").or_default() += 1;
        }
        swarm
    }

    /// Somebody of another bloc, who knows everybody's address and listens at one that everybody knows.
    fn add_stranger(&mut self) {
        *self.faults.entry("stranger").or_default() += 1;
        let place = self.options.nodes;
        let mut config = config(place, place + 1, 1, self.options.seed);
        config.bloc = BlocName::parse("other").unwrap_or(config.bloc);
        let node = Bird::new(Flock::new(self.world.now, config));
        self.world.add(member(place, 1), addr(place), node);
    }

    /// The seed's whole run.
    ///
    /// # Errors
    /// The rule that was broken, when, and what happened before.
    pub fn run(mut self) -> Result<Outcome, Box<Failure>> {
        match self.both_phases() {
            Ok(outcome) => Ok(outcome),
            Err(mut failure) => {
                failure.seed = self.options.seed;
                failure.events = self.story;
                failure.command = "cargo xtask sim --flock".into();
                Err(failure)
            }
        }
    }

    fn both_phases(&mut self) -> Result<Outcome, Box<Failure>> {
        let head = self.random.below(9_000);
        self.run_for(self.options.scaled(head))?;
        for _ in 0..self.options.steps {
            let at = self.pick(self.options.faults.len());
            let fault = self.options.faults[at];
            self.fault(fault);
            let most = [30, 300, 1500, 4000, 9000, 25_000][self.pick(6)];
            let wait = 1 + self.random.below(most);
            self.run_for(self.options.scaled(wait))?;
        }
        self.calm()?;
        self.settle()
    }

    fn pick(&mut self, bound: usize) -> usize {
        options::pick(&mut self.random, bound)
    }

    fn say(&mut self, text: &str) {
        let line = format!("{} ** {text}", self.world.now);
        if self.verbose {
            println!("{line}");
        }
        self.story.push(line);
    }

    /// Lets time pass under all rules.
    ///
    /// # Errors
    /// The first rule that was broken.
    pub fn run_for(&mut self, time: Duration) -> Result<(), Box<Failure>> {
        let end = self.world.now + time;
        while self.world.now < end {
            let next = end.min(self.world.now + Duration::from_millis(100));
            while self.world.step(next) {
                if let Err((rule, why)) = self.rules.look(&self.world) {
                    return Err(Box::new(Failure::new(rule, why, self.world.now)));
                }
                if let Some(watcher) = &mut self.watcher {
                    watcher(&self.world);
                }
                self.world.news.clear();
                let now = self.world.now;
                self.busy = if self.busy.0 == now { (now, self.busy.1 + 1) } else { (now, 0) };
                if self.busy.1 > BUSY {
                    let why = "somebody wants to be woken at once for ever".into();
                    return Err(Box::new(Failure::new("no busy loop", why, now)));
                }
            }
            let now = self.world.now;
            while let Some(index) = self.ends.iter().position(|(at, _)| *at <= now) {
                let (_, place) = self.ends.swap_remove(index);
                self.kill(place);
            }
            while let Some(index) = self.restarts.iter().position(|(at, ..)| *at <= now) {
                let (_, place, book) = self.restarts.swap_remove(index);
                if self.world.slots[place].node.is_none() {
                    self.restart(place, book);
                }
            }
        }
        Ok(())
    }

    /// The faults stop, and the network becomes what it stays.
    fn calm(&mut self) -> Result<(), Box<Failure>> {
        let noisy = self.noisy;
        self.run_for(noisy.since(self.world.now))?;
        self.world.fine_paths();
        self.world.weather.duplicates = 0;
        self.world.weather.reordered = 0;
        self.world.weather.loss = self.world.weather.loss.min(50);
        self.world.join_all();
        match self.options.ending.clone() {
            Ending::Heal => self.say("the faults stop, all is joined"),
            Ending::Parts(parts) => {
                self.say(&format!("the faults stop, parts {parts:?} stay"));
                self.world.divide(&parts);
            }
            Ending::Broken(pairs) => {
                self.say(&format!("the faults stop, {pairs:?} stay broken"));
                for (a, b, one_way) in pairs {
                    self.world.set_path(a, b, false);
                    if !one_way {
                        self.world.set_path(b, a, false);
                    }
                }
            }
        }
        self.restarts.clear();
        let first_clone = self.options.nodes + usize::from(self.options.stranger);
        for clone in first_clone..self.world.slots.len() {
            // Whoever lived under an identity that somebody copied gets a newer boot than the copy.
            let id = self.world.slots[clone].member.id.clone();
            self.world.crash(clone);
            if let Some(place) = (0..self.options.nodes).find(|at| self.world.slots[*at].member.id == id) {
                self.kill(place);
            }
        }
        // Who said that it leaves does leave.
        for (_, place) in std::mem::take(&mut self.ends) {
            self.kill(place);
        }
        for place in 0..self.options.nodes {
            if self.world.slots[place].node.is_none() {
                self.restart(place, true);
            }
        }
        let awake = self.world.slots.iter().map(|slot| slot.paused_until).max().unwrap_or(Time::ZERO);
        self.run_for(awake.since(self.world.now))
    }

    fn goal(&self) -> Result<(), String> {
        let scene = Scene::of(&self.world, |place| place < self.options.nodes);
        match self.options.ending {
            Ending::Heal | Ending::Parts(_) => self.shape(&scene).and_then(|()| all_stable(&scene)),
            Ending::Broken(_) => self.shape(&scene),
        }
    }

    /// Who is in one flock with whom, at the end.
    fn shape(&self, scene: &Scene<'_>) -> Result<(), String> {
        match self.options.ending {
            Ending::Heal => one_flock(scene),
            Ending::Parts(_) => exactly_the_cliques(scene),
            Ending::Broken(_) => no_broken_pair_together(scene).and_then(|()| partition(scene)),
        }
    }

    /// How much longer broken pairs take than one of a few where nothing is lost, in milliseconds (M6): one audit where not
    /// everybody watches everybody, a verification for each further pair, and thirty failures in a row instead of twelve
    /// where much was lost before or still is, each half a second after the other.
    fn longer_for_broken_pairs(&self) -> u64 {
        let Ending::Broken(pairs) = &self.options.ending else { return 0 };
        let size = self.options.nodes as u64;
        let audit = if size > EVERYBODY { size * 100 } else { 0 };
        let lossy = self.options.weather.loss > 0
            || ["lossy path", "lossy place"].iter().any(|class| self.faults.contains_key(class));
        audit + 3_000 * (pairs.len() as u64).saturating_sub(1) + if lossy { 9_000 } else { 0 }
    }

    /// What is promised is so at default timers. With shorter ones journeys, and what a link sends again, take a larger share
    /// of it: those are what they are.
    fn unscaled(&self, promised: Duration) -> Duration {
        if self.options.timers < 1_000 { promised + promised / 2 } else { promised }
    }

    /// For how much longer a hold that is shown to people keeps flocks apart.
    fn shown_hold(&self) -> Duration {
        let mut longest = Duration::ZERO;
        for (place, slot) in self.world.slots.iter().enumerate().take(self.options.nodes) {
            let Some(bird) = &slot.node else { continue };
            for sibling in bird.flock.status(self.world.local(place)).siblings {
                if !matches!(sibling.apart, Apart::Merging | Apart::BrokenPair(..)) {
                    longest = longest.max(sibling.until.unwrap_or_default());
                }
            }
        }
        longest
    }

    /// Whether anybody shows that another flock is held apart because somebody broke off too often.
    fn flap_hold(&self) -> bool {
        let mut living = self.world.slots.iter().enumerate().take(self.options.nodes);
        living.any(|(place, slot)| {
            let siblings = slot.node.as_ref().map(|bird| bird.flock.status(self.world.local(place)).siblings);
            siblings.is_some_and(|siblings| siblings.iter().any(|sibling| sibling.apart == Apart::FlapHold))
        })
    }

    fn views(&self) -> Vec<ViewId> {
        let living = self.world.slots.iter().take(self.options.nodes).filter_map(|slot| slot.node.as_ref());
        living.map(|bird| bird.flock.view().id().clone()).collect()
    }

    fn settle(&mut self) -> Result<Outcome, Box<Failure>> {
        let begin = self.world.now;
        let kind = match self.options.ending {
            Ending::Heal => "heal",
            Ending::Parts(_) => "parts",
            Ending::Broken(_) => "broken pairs",
        };
        let plain = self.options.scaled(if kind == "heal" { 30_000 } else { 60_000 }) + Duration::from_secs(2);
        // One discovery round, one lease and one view change. A dial that a cut swallowed holds the round up until its
        // deadline, which is the link's and not scaled.
        let bound = self.options.scaled(7_000).max(self.options.scaled(6_000) + Duration::from_secs(1));
        let stay = self.options.scaled(20_000);
        let mut rounds = 0_u32;
        let mut limit = begin + plain;
        let (mut double, mut missed) = (DoubleStable::default(), CaughtUp::default());
        // (since when it is as it must be, the views then)
        let mut good: Option<(Time, Vec<ViewId>)> = None;
        let mut broken = 0;
        // Ten seconds, and a dial that a cut swallowed, which is the link's and not scaled; one more for each further pair.
        let pairs = if let Ending::Broken(pairs) = &self.options.ending { pairs.len() } else { 1 };
        let dials = DIAL * u32::try_from(pairs.max(1)).unwrap_or(1);
        let promised = self.unscaled(self.options.scaled(10_000 + self.longer_for_broken_pairs())) + dials;
        // Two periods, one look at the world and the way there and back.
        let catches_up = self.unscaled(self.options.scaled(1_000)) + LOOKS + Duration::from_millis(150);
        // Since when it has the shape, and for how long holds that were shown kept it from that.
        let (mut shaped, mut held): (Option<Time>, Duration) = (None, Duration::ZERO);
        loop {
            let now = self.world.now;
            let fail = |rule: &str, why: String| Err(Box::new(Failure::new(rule, why, now)));
            let scene = Scene::of(&self.world, |place| place < self.options.nodes);
            missed.look(&scene);
            let doubled = double.look(&scene, bound);
            let shape = self.shape(&scene);
            drop(scene);
            match shape {
                Ok(()) => _ = shaped.get_or_insert(now),
                Err(why) => {
                    shaped = None;
                    if self.flap_hold() {
                        held += LOOKS;
                    }
                    let after = now.since(begin);
                    if after.saturating_sub(held) > promised {
                        let text = format!("{why}; {kind}, after {after:?}, of which a hold was shown for {held:?}");
                        return fail("M5 and M6: in shape within its time", text);
                    }
                }
            }
            if missed.longest > catches_up {
                let text = format!("{} for {:?}", missed.whose, missed.longest);
                return fail("E7 a missed install is caught up within two probes", text);
            }
            if let Err(why) = doubled {
                return fail("E6 double-stable window", why);
            }
            match (self.goal(), &good) {
                (Ok(()), Some((_, views))) if *views == self.views() => {}
                (Ok(()), _) => good = Some((now, self.views())),
                // One of two flocks that a broken pair holds apart asks again now and then.
                (Err(_), Some((_, views))) if kind == "broken pairs" && *views == self.views() => {}
                (Err(why), _) => {
                    broken += u32::from(good.take().is_some());
                    // A hold that is shown may be waited for; what it holds apart then has the whole time again.
                    rounds += 1;
                    if rounds.is_multiple_of(10) && now < begin + plain * 2 + LONGEST_HOLD {
                        let hold = self.shown_hold();
                        if hold > Duration::ZERO {
                            limit = limit.max(now + hold + plain);
                        }
                    }
                    if now >= limit {
                        let after = now.since(begin);
                        return fail("settles", format!("{why}; {kind}, after {after:?}, lost again {broken} times"));
                    }
                }
            }
            if let Some((since, _)) = &good
                && now >= *since + stay
            {
                break;
            }
            self.run_for(LOOKS)?;
        }
        if kind == "heal" {
            // Where packets are lost somebody is suspected for a moment now and then, in a fresh flock too.
            let last = self.world.now + if self.options.weather.loss > 0 { ANSWERED } else { Duration::ZERO };
            while let Err(why) = as_good_as_fresh(&self.world, |place| place < self.options.nodes) {
                if self.world.now >= last {
                    return Err(Box::new(Failure::new("E8 as good as fresh", why, self.world.now)));
                }
                self.run_for(LOOKS)?;
            }
        }
        let took = good.map_or(Duration::ZERO, |(since, _)| since.since(begin));
        let living = self.world.slots.iter().filter_map(|slot| slot.node.as_ref());
        Ok(Outcome {
            seed: self.options.seed,
            simulated: self.world.now.since(Time::ZERO),
            told: self.world.told,
            settled: (kind, u64::try_from(took.as_millis()).unwrap_or(u64::MAX)),
            shaped: u64::try_from(shaped.map_or(Duration::ZERO, |at| at.since(begin)).saturating_sub(held).as_millis())
                .unwrap_or(u64::MAX),
            double_stable: double.longest,
            missed: missed.longest,
            installs: living.map(|bird| bird.installed.len()).sum(),
            trace: self.world.trace,
            faults: std::mem::take(&mut self.faults),
        })
    }

    fn quality(&mut self, loss: u64) -> Quality {
        Quality { loss: loss + self.random.below(300), ..Quality::default() }
    }
}

/// A fulcrum of a run.
fn bird(options: &Options, now: Time, place: usize, boot: u64, book: Book) -> Bird {
    let known = options.nodes + usize::from(options.stranger);
    let mut config = config(place, known, boot, options.seed);
    if options.few_seeds {
        config.seeds.retain(|seed| [addr(0), addr(1)].contains(seed));
    }
    config.timers = options.timers;
    config.visitor = options.visitor == Some(place);
    config.book = std::sync::Arc::new(crux_core::flock::discovery::Book::new(book.clone()));
    // What is on the disk stays there until something else is wanted kept.
    Bird { book, ..Bird::new(Flock::new(now, config)) }
}
