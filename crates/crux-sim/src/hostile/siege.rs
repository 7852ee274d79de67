//! A run with a liar, from one seed: an honest bloc comes to rest with services and a horde; one of it, by the seed the leader,
//! the seat of ADMIN, the proctor of a horde, an ordinary member or a substitute, begins to lie while an operator goes on
//! working; then it is expelled, and the others must come to be as if it had never been.

use super::rules::rules;
use super::{Adversary, Lie};
use crate::engines::Life;
use crate::operator::{Change, Wanted, cordon, horde, horde_with_vacancies};
use crate::settled::{facts_but, settled_as};
use crate::swarm::{Failure, Options, Swarm};
use crux_core::facts::value::{Expulsion, expel_path};
use crux_core::hash::Random;
use crux_core::io::Reply;
use crux_core::services::instance::ServiceRef;
use crux_names::{Duration, FulcrumId, HordeName};
use prost::Message as _;
use std::collections::{BTreeMap, BTreeSet};

/// How long the honest may take to be as they should once the liar is expelled: with default timers a split's hold, a
/// stubborn process and a few rounds of everything.
const SETTLES: Duration = Duration::from_secs(60);
/// Within this all honest members have cut it off (promise X1).
const CUT: Duration = Duration::from_secs(2);

/// Which one lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// The leader of the flock.
    Leader,
    /// The seat of ADMIN.
    Admin,
    /// The seat of a horde, which has its own home.
    Proctor,
    /// Somebody of `main` with no office.
    Ordinary,
    /// Somebody who stands in for a dead member of a horde.
    Substitute,
}

impl Who {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Leader, Self::Admin, Self::Proctor, Self::Ordinary, Self::Substitute];
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Who lied.
    pub who: Who,
    /// How often each lie was told.
    pub told: BTreeMap<Lie, u64>,
    /// How many of the operator's writes were acknowledged while it lied.
    pub acknowledged: usize,
    /// Things that were said of it aloud.
    pub alarms: BTreeSet<String>,
    /// How long the honest took to settle when it was expelled.
    pub settled: Duration,
    /// The world's trace.
    pub trace: u64,
}

/// A run under way.
pub struct Siege {
    /// The world.
    pub swarm: Swarm,
    /// Where the liar is.
    pub at: usize,
    /// Which one it is.
    pub who: Who,
    random: Random,
    variant: u32,
}

fn web() -> HordeName {
    "web".parse().expect("a horde's name")
}

impl Siege {
    /// An honest bloc at rest, of which one begins to tell these lies now.
    ///
    /// # Errors
    /// What the honest bloc did wrong before.
    pub fn begin(seed: u64, lies: &[Lie]) -> Result<Self, Box<Failure>> {
        let mut random = Random::new(seed ^ 0x0073_6965_6765);
        let who = Who::ALL[usize::try_from(seed % 5).unwrap_or(0)];
        let nodes = 5 + usize::try_from(random.below(5)).unwrap_or(0);
        let mut swarm = Swarm::new(Options::fine(seed, nodes));
        swarm.check_sides("start")?;
        write(&mut swarm, 0, &horde_with_vacancies(&web(), 2, 5_000));
        swarm.run_for(Duration::from_secs(1))?;
        swarm.check_sides("a horde")?;
        // Written out: whether one that is cordoned counts in SIZE the oracle does not say.
        for (horde, service, number) in [("main", "api", "3"), ("main", "db", "2"), ("web", "www", "2")] {
            let of =
                ServiceRef { horde: horde.parse().expect("a horde's name"), service: service.parse().expect("a name") };
            // An older revision stays in the catalogue.
            for variant in 0..2 {
                let wanted = Wanted { variant, ..Wanted::plain(&of, format!("pick({service}, {number}, ALL)")) };
                write(&mut swarm, 1, &wanted.changes());
                swarm.run_for(Duration::from_secs(1))?;
            }
        }
        swarm.check_sides("services")?;
        if who == Who::Substitute {
            let lost = seat(&swarm, &web()).unwrap_or(0);
            swarm.end(lost, true);
            swarm.run_for(Duration::from_secs(20))?;
        }
        let at = place_of(&swarm, who);
        let liar = swarm.world.slots[at].member.id.clone();
        swarm.replace_rules(rules(&liar));
        let now = swarm.world.now;
        swarm.world.each(|life| life.liar = Some(liar.clone()));
        swarm.world.poke(at, |life, _, _| life.adversary = Some(Box::new(Adversary::new(now, seed, lies.to_vec()))));
        Ok(Self { swarm, at, who, random, variant: 2 })
    }

    /// The liar.
    #[must_use]
    pub fn liar(&self) -> FulcrumId {
        self.swarm.world.slots[self.at].member.id.clone()
    }

    /// The living that do not lie.
    #[must_use]
    pub fn honest(&self) -> Vec<usize> {
        let living = |at: &usize| self.swarm.world.slots[*at].node.is_some();
        (0..self.swarm.world.slots.len()).filter(living).filter(|at| *at != self.at).collect()
    }

    /// The whole run.
    ///
    /// # Errors
    /// The rule that was broken, and when.
    pub fn run(mut self) -> Result<Outcome, Box<Failure>> {
        let before = self.swarm.operator.written.len();
        for _ in 0..6 + self.random.below(6) {
            self.work();
            let millis = 500 + self.random.below(4_000);
            self.swarm.run_for(Duration::from_millis(millis))?;
        }
        let written = &self.swarm.operator.written[before..];
        let acknowledged =
            written.iter().filter(|written| matches!(written.reply, Some(Reply::Written { .. }))).count();
        // The honest agree on the facts though it is still there.
        self.swarm.run_for(Duration::from_secs(6))?;
        self.agree()?;
        let lives = self.swarm.world.slots.iter().filter_map(|slot| slot.node.as_ref());
        let about = format!("{}", self.liar());
        let alarms = lives.flat_map(|life| &life.alarms).filter(|alarm| alarm.starts_with(&about)).cloned().collect();
        self.expel()?;
        let settled = self.settle()?;
        let adversary = self.swarm.world.slots[self.at].node.as_ref().and_then(|life| life.adversary.as_ref());
        let told = adversary.map(|adversary| adversary.told.clone()).unwrap_or_default();
        Ok(Outcome { who: self.who, told, acknowledged, alarms, settled, trace: self.swarm.world.trace })
    }

    /// The operator does something, at an honest door.
    fn work(&mut self) {
        let honest = self.honest();
        let door = honest[self.below(honest.len())];
        let service = ["api", "db", "www"][self.below(3)];
        let horde_name = if service == "www" { web() } else { HordeName::main() };
        let of = ServiceRef { horde: horde_name, service: service.parse().expect("a service's name") };
        let changes = match self.random.below(6) {
            0 => horde(&web(), Some(1 + u32::try_from(self.random.below(3)).unwrap_or(0))),
            1 => Wanted::plain(&of, String::new()).removal(),
            2 => {
                let whom = honest[self.below(honest.len())];
                let whom = self.swarm.world.slots[whom].member.id.clone();
                let drain = if self.random.below(2) == 0 { Some(false) } else { None };
                cordon(&whom, drain)
            }
            _ => {
                self.variant += u32::from(self.random.below(2) == 0);
                let set = ["ALL", "LABEL(zone=a)", "LABEL(zone=b)"][self.below(3)];
                let count = self.random.below(4);
                let place = format!("pick({service}, {count}, {set})");
                Wanted { variant: self.variant, ..Wanted::plain(&of, place) }.changes()
            }
        };
        write(&mut self.swarm, door, &changes);
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.random.below(bound as u64)).unwrap_or(0)
    }

    /// S2 for what is not the liar's own.
    fn agree(&self) -> Result<(), Box<Failure>> {
        let lives: Vec<&Life> =
            self.honest().into_iter().filter_map(|at| self.swarm.world.slots[at].node.as_ref()).collect();
        let liar = self.liar();
        let first = facts_but(lives[0], &liar.node);
        for life in &lives {
            let facts = facts_but(life, &liar.node);
            if let Some((path, _)) = facts.iter().find(|fact| !first.contains(fact)) {
                let why = format!("{} and {} have different facts: {path}", lives[0].member(), life.member());
                return Err(Box::new(Failure::new("S2 honest facts converge", why, self.swarm.world.now)));
            }
        }
        Ok(())
    }

    /// An operator puts it out.
    ///
    /// # Errors
    /// Who is still with it after 2 s.
    pub fn expel(&mut self) -> Result<(), Box<Failure>> {
        let liar = self.liar();
        let value = Expulsion { up_to: 1, reason: "it lies".into() }.encode_to_vec();
        let honest = self.honest();
        let door = honest[self.below(honest.len())];
        write(&mut self.swarm, door, &[(expel_path(&liar.node), Some(value.into()))]);
        self.swarm.run_for(CUT)?;
        for at in honest {
            let Some(life) = &self.swarm.world.slots[at].node else { continue };
            if life.engine.flock_room().view().roster.iter().any(|seat| seat.member.id == liar) {
                let why = format!("{} is still a member at {}", liar, life.member());
                return Err(Box::new(Failure::new("X1 cut within 2 s", why, self.swarm.world.now)));
            }
        }
        Ok(())
    }

    /// Waits until the honest are as they should be.
    ///
    /// # Errors
    /// What is not, when time is up.
    pub fn settle(&mut self) -> Result<Duration, Box<Failure>> {
        let (begin, liar, honest) = (self.swarm.world.now, self.liar(), self.honest());
        loop {
            let is = settled_as(&self.swarm.world, &honest, Some(&liar.node), &BTreeSet::new());
            let took = self.swarm.world.now.since(begin);
            match is {
                Ok(()) => return Ok(took),
                Err(why) if took >= SETTLES => {
                    let why = format!("{why}; {took:?} after {liar} ({:?}) was expelled", self.who);
                    return Err(Box::new(Failure::new("the honest settle", why, self.swarm.world.now)));
                }
                Err(_) => self.swarm.run_for(Duration::from_millis(100))?,
            }
        }
    }
}

fn write(swarm: &mut Swarm, door: usize, changes: &[Change]) {
    let Swarm { operator, world, .. } = swarm;
    operator.write(world, door, changes);
}

fn first(swarm: &Swarm) -> Option<&Life> {
    swarm.world.slots.iter().find_map(|slot| slot.node.as_ref())
}

fn place(swarm: &Swarm, id: &FulcrumId) -> Option<usize> {
    swarm.world.slots.iter().position(|slot| slot.member.id == *id && slot.node.is_some())
}

fn seat(swarm: &Swarm, horde: &HordeName) -> Option<usize> {
    place(swarm, first(swarm)?.engine.services_room().roles().seat(horde)?)
}

/// Where the one is that is to lie; somebody else where there is none of its kind.
fn place_of(swarm: &Swarm, who: Who) -> usize {
    let Some(life) = first(swarm) else { return 0 };
    let roles = life.engine.services_room().roles();
    let found = match who {
        Who::Leader => place(swarm, &life.engine.flock_room().view().leader().member.id),
        Who::Admin => seat(swarm, &HordeName::admin()),
        Who::Proctor => seat(swarm, &web()),
        Who::Ordinary => {
            let main = roles.hordes.get(&HordeName::main());
            let plain = main.and_then(|main| main.present.iter().rev().find(|id| !roles.admin().contains(id)));
            plain.and_then(|id| place(swarm, id))
        }
        Who::Substitute => {
            let web = roles.hordes.get(&web());
            web.and_then(|web| web.substitutes.first()).and_then(|one| place(swarm, &one.id))
        }
    };
    found.unwrap_or(1)
}
