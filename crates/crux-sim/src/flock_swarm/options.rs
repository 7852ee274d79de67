//! What a seed decides about a run of flocks.

use crate::world::Weather;
use crux_core::hash::Random;
use crux_names::Duration;

/// A class of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A full cut into two, three or four parts.
    Split,
    /// One place is cut off from all others.
    Isolate,
    /// A cut between two.
    Pair,
    /// A cut in one direction between two.
    OneWay,
    /// A path that comes and goes, in one or both directions.
    Flap,
    /// All cuts heal one by one, in an order and at moments from the seed.
    Swizzle,
    /// Everything is joined at once.
    Heal,
    /// One stands still for up to nine seconds.
    Pause,
    /// A process dies on a host that lives.
    Kill,
    /// A process dies with its host: silence.
    Crash,
    /// A process dies and begins again at once.
    Bounce,
    /// All die and begin again at once.
    BounceAll,
    /// One stops on purpose.
    Leave,
    /// One begins again without its address book.
    Forgetful,
    /// One loses most of what it sends, or of what comes to it.
    Lossy,
    /// One path loses a good deal.
    BadPath,
    /// One path is slow.
    SlowPath,
    /// Frames from one to another stand still while datagrams pass.
    Stall,
    /// Many datagrams come twice and out of order for a while.
    Mess,
    /// One has another address from now on.
    Move,
    /// A second life of one identity, on a machine of its own.
    Clone,
}

/// All of them, with the names under which they are counted.
pub const FAULTS: [(Fault, &str); 21] = [
    (Fault::Split, "split"),
    (Fault::Isolate, "isolation"),
    (Fault::Pair, "pair cut"),
    (Fault::OneWay, "one-way cut"),
    (Fault::Flap, "flapping path"),
    (Fault::Swizzle, "swizzled heal"),
    (Fault::Heal, "heal"),
    (Fault::Pause, "pause"),
    (Fault::Kill, "process death"),
    (Fault::Crash, "silent death"),
    (Fault::Bounce, "restart at once"),
    (Fault::BounceAll, "restart of all"),
    (Fault::Leave, "leave"),
    (Fault::Forgetful, "restart without book"),
    (Fault::Lossy, "lossy place"),
    (Fault::BadPath, "lossy path"),
    (Fault::SlowPath, "slow path"),
    (Fault::Stall, "stalled stream"),
    (Fault::Mess, "duplicates and disorder"),
    (Fault::Move, "address change"),
    (Fault::Clone, "clone"),
];

impl Fault {
    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        FAULTS.iter().find(|(fault, _)| *fault == self).map_or("?", |(_, name)| name)
    }
}

/// How a run ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Everything is joined: one flock.
    Heal,
    /// The network stays in these parts: exactly those flocks.
    Parts(Vec<u8>),
    /// Some pairs stay broken, these in one direction only: a partition into cliques, and quiet.
    Broken(Vec<(usize, usize, bool)>),
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
    /// The network.
    pub weather: Weather,
    /// Who only visits, if anybody does.
    pub visitor: Option<usize>,
    /// How much a clock gains or loses at most, in a million parts.
    pub drift: u64,
    /// So many know only the first two addresses at first, and learn the others.
    pub few_seeds: bool,
    /// There is a fulcrum of another bloc among the addresses.
    pub stranger: bool,
    /// Which faults there are.
    pub faults: Vec<Fault>,
    /// How many.
    pub steps: usize,
    /// How it ends.
    pub ending: Ending,
}

impl Options {
    /// The options of a seed.
    #[must_use]
    pub fn of(seed: u64, nodes: Option<usize>) -> Self {
        let mut random = Random::new(seed ^ 0x666c_6f63);
        // Small ones mostly: there most goes wrong, and soonest.
        let most = [5, 5, 8, 8, 12, 16, 24, 40][pick(&mut random, 8)];
        let nodes = nodes.unwrap_or(3 + pick(&mut random, most - 2));
        let mut one_in = |n: u64| random.below(n) == 0;
        let mut faults: Vec<Fault> = FAULTS.iter().map(|(fault, _)| *fault).filter(|_| one_in(2)).collect();
        faults.extend([Fault::Split, Fault::Heal, Fault::Kill]);
        let (few_seeds, stranger) = (one_in(3), one_in(4));
        let drift = if one_in(2) { 0 } else { [50, 500, 10_000][pick(&mut random, 3)] };
        let timers = if random.below(3) == 0 { 250 } else { 1000 };
        let weather = Weather {
            loss: [0, 0, 10, 20, 50, 100][pick(&mut random, 6)],
            delay_to: Duration::from_millis([1, 2, 10, 40][pick(&mut random, 4)]),
            duplicates: [0, 0, 20][pick(&mut random, 3)],
            reordered: [0, 0, 20][pick(&mut random, 3)],
            ..Weather::default()
        };
        let steps = 3 + pick(&mut random, 12);
        let ending = match random.below(5) {
            0 => Ending::Parts((0..nodes).map(|_| u8::try_from(random.below(3)).unwrap_or(0)).collect()),
            1 => {
                let broken = (0..1 + random.below(3)).map(|_| {
                    let a = pick(&mut random, nodes);
                    (a, (a + 1 + pick(&mut random, nodes - 1)) % nodes, random.below(3) == 0)
                });
                Ending::Broken(broken.collect())
            }
            _ => Ending::Heal,
        };
        // Where others look for somebody after a copy of it was elsewhere, it is not: in a part without a seed of all, two
        // such may never have heard of each other's address.
        let seedless = |parts: &Vec<u8>| parts.iter().any(|part| !parts.iter().take(2).any(|seeds| seeds == part));
        let lost = faults.contains(&Fault::Clone) && matches!(&ending, Ending::Parts(parts) if seedless(parts));
        // Drawn by itself, so that it changes nothing else of a seed.
        let mut guests = Random::new(seed ^ 0x7669_7369);
        let visitor = (guests.below(4) == 0).then(|| pick(&mut guests, nodes));
        Self {
            seed,
            nodes,
            timers,
            weather,
            visitor,
            drift,
            few_seeds: few_seeds && !lost,
            stranger,
            faults,
            steps,
            ending,
        }
    }

    /// A time that is so long at default timers.
    #[must_use]
    pub fn scaled(&self, millis: u64) -> Duration {
        Duration::from_micros(millis * u64::from(self.timers))
    }
}

/// A number below this.
pub(super) fn pick(random: &mut Random, bound: usize) -> usize {
    usize::try_from(random.below(bound as u64)).unwrap_or(0)
}
