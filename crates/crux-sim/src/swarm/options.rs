//! What a seed decides before its run begins.

use crate::machine::Habits;
use crate::world::Weather;
use crux_core::hash::Random;
use crux_names::Duration;

/// A class of faults, or of an operator's deeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// A full cut into two or three parts.
    Split,
    /// A cut between two.
    Pair,
    /// A cut in one direction between two.
    OneWay,
    /// Everything is joined.
    Heal,
    /// One stands still for up to six seconds.
    Pause,
    /// Crux ends by kill -9 and starts again later; its instances live on.
    KillCrux,
    /// The machine loses its power and starts again later.
    KillMachine,
    /// A disk has one trouble or another, for seconds or until all are mended.
    SickDisk,
    /// The machine loses its power and starts again with a blank disk, if everything on the old one is on others too.
    LostDisk,
    /// `crux down`, with its services or without.
    Down,
    /// An operator changes or removes a service.
    Write,
    /// An operator changes or removes a horde.
    Horde,
    /// The machine loses its power and starts again with an old copy of its disk, if everything on the newer one is on
    /// others too.
    OldDisk,
    /// The file of a store is removed, replaced or damaged, while crux uses it or while none does, if everything in it is on
    /// others too.
    BadFile,
    /// An operator expels a node; one that is expelled comes back as it was, with an old disk, or with its next certificate.
    Expel,
    /// A wall clock jumps by hours to years, or a machine loses its power and begins in 1970.
    ClockJump,
    /// An operator cordons a fulcrum or ends that, labels a node, makes or removes a rule, or draws the horizon.
    Tend,
}

impl Class {
    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Split => "split",
            Self::Pair => "pair cut",
            Self::OneWay => "one-way cut",
            Self::Heal => "heal",
            Self::Pause => "pause",
            Self::KillCrux => "kill crux",
            Self::KillMachine => "kill machine",
            Self::SickDisk => "sick disk",
            Self::LostDisk => "lost disk",
            Self::Down => "down",
            Self::Write => "write",
            Self::Horde => "horde",
            Self::OldDisk => "old disk",
            Self::BadFile => "bad file",
            Self::Expel => "expulsion",
            Self::ClockJump => "clock jump",
            Self::Tend => "tending",
        }
    }
}

/// What a run is like.
#[derive(Clone, Debug)]
pub struct Options {
    /// Decides everything.
    pub seed: u64,
    /// How many fulcrums.
    pub nodes: usize,
    /// Scales every timer of theirs, in thousandths.
    pub timers: u32,
    /// Whether they know how many they are.
    pub expect: bool,
    /// The network.
    pub weather: Weather,
    /// What machines do by themselves.
    pub habits: Habits,
    /// Which faults there are; one that is here twice is twice as frequent.
    pub classes: Vec<Class>,
    /// How many faults.
    pub steps: usize,
    /// How far wall clocks are off at most, in microseconds.
    pub clocks: u64,
    /// Whether nodes have names of two sites, and their certificates labels of three zones; else plain names and two zones.
    pub sites: bool,
}

/// Ten years, in microseconds.
pub(super) const TEN_YEARS: i64 = 315_000_000_000_000;

impl Options {
    /// The options of a seed.
    #[must_use]
    pub fn of(seed: u64, nodes: Option<usize>) -> Self {
        let mut random = Random::new(seed);
        let mut one_in = |n: u64| random.below(n) == 0;
        let mut classes = vec![Class::Write, Class::Write, Class::Heal];
        let all = [
            Class::Split,
            Class::Pair,
            Class::OneWay,
            Class::Pause,
            Class::KillCrux,
            Class::KillMachine,
            Class::Down,
            Class::Horde,
        ];
        classes.extend(all.into_iter().filter(|_| one_in(2)));
        let habits = Habits { exits: one_in(3), failures: one_in(3), disk_errors: one_in(4), stubborn: one_in(3) };
        let expect = one_in(5);
        let timers = if one_in(3) { 1000 } else { 250 };
        let loss = if one_in(2) { 0 } else { random.below(100) };
        let slow = Duration::from_micros(500 + random.below(40_000));
        let weather = Weather { delay_from: Duration::from_micros(200), delay_to: slow, loss, ..Weather::default() };
        let steps = 4 + usize::try_from(random.below(12)).unwrap_or(0);
        // To a second, half a minute, two hours and ten years.
        let far = [0, 0, 1_000_000, 30_000_000, 7_200_000_000, TEN_YEARS.unsigned_abs()];
        let clocks = far[usize::try_from(random.below(6)).unwrap_or(0)];
        let nodes = nodes.unwrap_or(3 + usize::try_from(random.below(6)).unwrap_or(0));
        classes.extend([Class::SickDisk, Class::LostDisk].into_iter().filter(|_| random.below(2) == 0));
        // By a lot of their own: what was drawn before them stays what it was.
        let mut random = Random::new(seed ^ 0x0072_6574_7572_6e73);
        let mut one_in = |n: u64| random.below(n) == 0;
        let sometimes = [(Class::OldDisk, 3), (Class::Expel, 4), (Class::ClockJump, 3), (Class::Tend, 2)];
        classes.extend(sometimes.into_iter().filter(|(_, n)| one_in(*n)).map(|(class, _)| class));
        let sites = one_in(3);
        if one_in(3) {
            classes.push(Class::BadFile);
        }
        Self { seed, nodes, timers, expect, weather, habits, classes, steps, clocks, sites }
    }

    /// The options of a seed with every class of faults at once, and three times as many of them.
    #[must_use]
    pub fn hard(seed: u64, nodes: Option<usize>) -> Self {
        let mut options = Self::of(seed, nodes);
        options.classes = vec![
            Class::Split,
            Class::Split,
            Class::Pair,
            Class::OneWay,
            Class::Heal,
            Class::Heal,
            Class::Pause,
            Class::KillCrux,
            Class::KillMachine,
            Class::SickDisk,
            Class::LostDisk,
            Class::Down,
            Class::Write,
            Class::Write,
            Class::Write,
            Class::Horde,
            Class::OldDisk,
            Class::BadFile,
            Class::Expel,
            Class::ClockJump,
            Class::Tend,
            Class::Tend,
        ];
        options.habits = Habits { exits: true, failures: true, disk_errors: true, stubborn: true };
        options.steps *= 3;
        options
    }

    /// Five fulcrums in fine weather without a fault of their own accord, for scripts.
    #[must_use]
    pub fn fine(seed: u64, nodes: usize) -> Self {
        Self {
            seed,
            nodes,
            timers: 1000,
            expect: false,
            weather: Weather::default(),
            habits: Habits::default(),
            classes: vec![Class::Heal],
            steps: 0,
            clocks: 0,
            sites: false,
        }
    }

    /// How far one wall clock is off.
    pub(super) fn clock(&self, random: &mut Random) -> i64 {
        // Where it is years, it is all of them as often as any other time.
        if self.clocks == TEN_YEARS.unsigned_abs() && random.below(2) == 0 {
            return if random.below(2) == 0 { TEN_YEARS } else { -TEN_YEARS };
        }
        let span = i64::try_from(self.clocks).unwrap_or(0);
        i64::try_from(random.below(2 * self.clocks + 1)).unwrap_or(0) - span
    }
}
