//! Where instances go: every pick in turn, each against what runs now. Polynomial: one pass over the picks; for each
//! pick whose value others use, a few passes more to see which hosts those others could use.

use super::ast::{Number, Op, Pick, Program, Set, Statement};
use super::choose::{Candidate, Chosen, choose};
use super::weigh::{Ask, Ledger, Quota};
use crate::hash::stable64;
use crate::resources::Resources;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use crux_names::{FulcrumId, ServiceName};

/// More instances than this of one pick are a mistake in the arithmetic.
const COUNT_MAX: i128 = 100_000;

/// What a host may get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HostState {
    /// Anything.
    #[default]
    Open,
    /// Nothing new, and it does not count in `SIZE` nor in the share of each host; what runs there may stay.
    Cordoned,
    /// Nothing new for the moment, but it counts: lost and expected back, or not heard from yet.
    Frozen,
}

/// A host that sets can contain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// What it may get.
    pub state: HostState,
    /// What it has for services; `None`: it has not said so yet, and nothing that asks for anything goes there.
    pub capacity: Option<Resources>,
    /// What is in use there beside what `World::running` tells.
    pub busy: Resources,
}

/// What placement starts from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct World {
    /// How many instances of all services one host carries at most; `None`: any number.
    pub most: Option<u32>,
    /// Where a service is not to go while another open host of its set can have it, with the ranks of those that run
    /// there and do not count. A pick whose number comes from `SIZE` means each host and does not avoid any.
    pub avoid: BTreeMap<ServiceName, BTreeMap<FulcrumId, BTreeSet<u64>>>,
    /// The horde's members.
    pub hosts: BTreeMap<FulcrumId, Host>,
    /// What runs now: for each instance its rank. Where not all can stay, those of the lowest ranks do.
    pub running: BTreeMap<ServiceName, BTreeMap<FulcrumId, Vec<u64>>>,
    /// What services ask for. One that is not in here asks for nothing.
    pub asks: BTreeMap<ServiceName, Ask>,
    /// How much all of them together may ask for, if that is limited.
    pub quota: Option<Quota>,
}

/// Where one service goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placed {
    /// How many its picks ask for.
    pub wanted: u64,
    /// How many go where; no zeros.
    pub on: BTreeMap<FulcrumId, u32>,
    /// The rule that put them there, for people.
    pub why: BTreeMap<FulcrumId, String>,
}

/// Something that a pick asks for and does not get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Which service.
    pub service: ServiceName,
    /// How many instances.
    pub missing: u64,
    /// Why, for people.
    pub why: String,
}

/// Where everything goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// Every service that the program picks for.
    pub services: BTreeMap<ServiceName, Placed>,
    /// What is asked for and not placed.
    pub missing: Vec<Missing>,
    /// What each name stands for.
    pub sets: BTreeMap<String, BTreeSet<FulcrumId>>,
    /// What the quota leaves beside all that is placed; `None`: there is none.
    pub spare: Option<Resources>,
}

/// Places every pick of the program: exactly its number, at most ⌈n/|set|⌉ on a host, with the fewest moves from what
/// runs now; ties by stable hash. The same input gives the same placement everywhere.
///
/// Nothing new goes where it does not fit, nor beyond the quota; what runs stays, whether it fits or not.
#[must_use]
pub fn place(program: &Program, world: &World) -> Placement {
    let planner = Planner::new(program, world);
    let (placement, starved) = planner.run(false);
    if !starved {
        return placement;
    }
    // A pick found its set empty though other picks make that set up: let those give way by one instance each.
    let short = |placement: &Placement| placement.missing.iter().map(|missing| missing.missing).sum::<u64>();
    let (second, _) = planner.run(true);
    if short(&second) < short(&placement) { second } else { placement }
}

/// Beyond so many pairs of a pick that others see and any pick nobody looks ahead: what a few picks win by it is not worth
/// the time that thousands would take, and an operator of one horde must not hold up a flock.
const FORESIGHT: usize = 100_000;

pub(super) type Bits = Vec<bool>;

pub(super) struct Planner<'p> {
    program: &'p Program,
    pub(super) world: &'p World,
    pub(super) hosts: Vec<(&'p FulcrumId, &'p Host)>,
    /// Picks whose value some other pick may see.
    watched: Vec<bool>,
    pub(super) picks: Vec<&'p Pick>,
}

/// What runs and is not placed yet or too many, by host.
pub(super) type Pool = BTreeMap<ServiceName, BTreeMap<FulcrumId, Vec<u64>>>;

/// One round of placing, as far as it has come.
struct Round {
    pool: Pool,
    ledger: Ledger,
    placement: Placement,
}

struct Walk<'p, 'w> {
    planner: &'w Planner<'p>,
    names: BTreeMap<&'p str, Bits>,
    next: usize,
}

impl<'p> Planner<'p> {
    fn new(program: &'p Program, world: &'p World) -> Self {
        let hosts = world.hosts.iter().collect();
        let mut planner = Self { program, world, hosts, watched: Vec::new(), picks: Vec::new() };
        let mut used = BTreeSet::new();
        for (_, set) in planner.sets() {
            set.names(&mut |name, _| {
                used.insert(name.to_string());
            });
        }
        let (mut watched, mut picks) = (Vec::new(), Vec::new());
        for (name, set) in planner.sets() {
            let seen = name.is_some_and(|name| used.contains(name));
            collect(set, seen, &mut |pick, seen| {
                watched.push(seen);
                picks.push(pick);
            });
        }
        // Each of the watched ones is weighed by four walks over all.
        let weighed = watched.iter().filter(|seen| **seen).count();
        if weighed.saturating_mul(picks.len()) > FORESIGHT {
            watched.fill(false);
        }
        planner.watched = watched;
        planner.picks = picks;
        planner
    }

    /// The program's sets, needed ones first, with their names.
    fn sets(&self) -> impl Iterator<Item = (Option<&'p str>, &'p Set)> + use<'p> {
        let program = self.program;
        program.order.iter().filter_map(move |index| match &program.statements[*index] {
            Statement::Let { name, set, .. } => Some((Some(name.as_str()), set)),
            Statement::Set(set) => Some((None, set)),
            Statement::Start(_) => None,
        })
    }

    /// Evaluates every set; `at_pick` says what each pick's value is. Answers with the names' values.
    fn walk(&self, at_pick: &mut dyn FnMut(usize, Result<u32, String>, Bits) -> Bits) -> BTreeMap<&'p str, Bits> {
        let mut walk = Walk { planner: self, names: BTreeMap::new(), next: 0 };
        for (name, set) in self.sets() {
            let bits = walk.set(set, at_pick);
            if let Some(name) = name {
                walk.names.insert(name, bits);
            }
        }
        walk.names
    }

    fn runs(&self, pick: &Pick) -> Bits {
        let running = self.world.running.get(&pick.service);
        self.hosts
            .iter()
            .map(|(id, _)| running.and_then(|on| on.get(*id)).is_some_and(|ranks| !ranks.is_empty()))
            .collect()
    }

    /// How much each host's being used by this pick helps picks that come later: their sets with it less their sets
    /// without it, those picks that are still open taken to be where they run (twice the weight) or anywhere.
    fn scores(&self, this: usize, set: &Bits, known: &BTreeMap<usize, Bits>) -> Vec<i64> {
        let mut scores = vec![0; self.hosts.len()];
        if !self.watched[this] {
            return scores;
        }
        for (stay, weight) in [(true, 2), (false, 1)] {
            for (with, sign) in [(true, weight), (false, -weight)] {
                self.walk(&mut |pick, _, own| {
                    if pick > this {
                        for (score, _) in scores.iter_mut().zip(&own).filter(|(_, used)| **used) {
                            *score += sign;
                        }
                    }
                    if pick == this {
                        return if with { set.clone() } else { vec![false; set.len()] };
                    }
                    if let Some(known) = known.get(&pick) {
                        return known.clone();
                    }
                    let there = both(&self.runs(self.picks[pick]), &own);
                    if stay && there.contains(&true) { there } else { own }
                });
            }
        }
        scores
    }

    /// Places everything. Says besides whether a pick that depends on others found nothing.
    fn run(&self, eager: bool) -> (Placement, bool) {
        let pool = self.world.running.clone();
        let mut round = Round { pool, ledger: Ledger::new(self), placement: Placement::default() };
        let mut known: BTreeMap<usize, Bits> = BTreeMap::new();
        let mut starved = false;
        let names = self.walk(&mut |index, count, set| {
            let pick = self.picks[index];
            let used = match count {
                Err(why) => {
                    // How many is unknown: what runs there stays, nothing moves.
                    round.placement.missing.push(Missing { service: pick.service.clone(), missing: 0, why });
                    let running = self.world.running.get(&pick.service);
                    let here = |host: usize| running.and_then(|on| on.get(self.hosts[host].0)).map_or(0, Vec::len);
                    let count = (0..set.len()).filter(|host| set[*host]).map(here).sum::<usize>();
                    let count = u32::try_from(count).unwrap_or(u32::MAX);
                    let scores = vec![0; set.len()];
                    self.pick(index, (count, count), &set, &scores, eager, &mut round)
                }
                Ok(count) => {
                    let scores = self.scores(index, &set, &known);
                    let empty = !set.contains(&true);
                    starved |= empty && count > 0 && self.watched.iter().any(|seen| *seen);
                    let share = self.share(&self.without_avoided(pick, &set));
                    // Where every host of the set is cordoned, what runs there may still stay.
                    let cap = if share == 0 { count } else { count.div_ceil(share) };
                    self.pick(index, (count, cap), &set, &scores, eager, &mut round)
                }
            };
            known.insert(index, used.clone());
            used
        });
        for (name, bits) in names {
            let hosts = self.hosts.iter().zip(bits).filter(|(_, used)| *used);
            round.placement.sets.insert(name.into(), hosts.map(|((id, _), _)| (*id).clone()).collect());
        }
        let most = self.world.quota.as_ref().map(|quota| quota.most.as_limit());
        round.placement.spare = most.map(|most| most.less(round.ledger.quota));
        (round.placement, starved)
    }

    /// What each host carries besides this pick: what is placed there, and what runs there of services and picks that
    /// are not placed yet or too many and still there.
    fn loads(&self, pick: &Pick, pool: &Pool, placement: &Placement) -> Vec<u32> {
        if self.world.most.is_none() {
            return vec![0; self.hosts.len()];
        }
        let load = |(id, _): &(&FulcrumId, &Host)| {
            let placed: u32 = placement.services.values().filter_map(|placed| placed.on.get(*id)).sum();
            let others = pool.iter().filter(|(service, _)| **service != pick.service);
            let runs: usize = others.filter_map(|(_, on)| on.get(*id)).map(Vec::len).sum();
            placed.saturating_add(u32::try_from(runs).unwrap_or(u32::MAX))
        };
        self.hosts.iter().map(load).collect()
    }

    /// The hosts that a pick avoids: none, unless another one of its set is open.
    fn avoided(&self, pick: &Pick, set: &Bits) -> BTreeMap<usize, &'p BTreeSet<u64>> {
        let Some(avoid) = self.world.avoid.get(&pick.service).filter(|_| !sized(&pick.count)) else {
            return BTreeMap::new();
        };
        let hosts = || self.hosts.iter().enumerate().filter(|(host, _)| set[*host]);
        let open = |(id, host): &(&FulcrumId, &Host)| host.state == HostState::Open && !avoid.contains_key(*id);
        if !hosts().any(|(_, host)| open(host)) {
            return BTreeMap::new();
        }
        hosts().filter_map(|(host, (id, _))| avoid.get(*id).map(|ranks| (host, ranks))).collect()
    }

    /// A set without the hosts that a pick avoids and on which nothing of it runs that counts.
    fn without_avoided(&self, pick: &Pick, set: &Bits) -> Bits {
        let mut rest = set.clone();
        let running = self.world.running.get(&pick.service);
        for (host, ranks) in self.avoided(pick, set) {
            let here = running.and_then(|on| on.get(self.hosts[host].0));
            rest[host] = here.is_some_and(|here| here.iter().any(|rank| !ranks.contains(rank)));
        }
        rest
    }

    /// How many hosts of a set share the work.
    fn share(&self, set: &Bits) -> u32 {
        let counts = |host: &Host| host.state != HostState::Cordoned;
        let hosts = self.hosts.iter().zip(set).filter(|((_, host), member)| **member && counts(host));
        u32::try_from(hosts.count()).unwrap_or(u32::MAX)
    }

    fn pick(
        &self,
        index: usize,
        (count, cap): (u32, u32),
        set: &Bits,
        scores: &[i64],
        eager: bool,
        round: &mut Round,
    ) -> Bits {
        let pick = self.picks[index];
        let Round { pool, ledger, placement } = round;
        let loads = self.loads(pick, pool, placement);
        let avoid = self.avoided(pick, set);
        let purse = ledger.purse(self, index, set, pool);
        let pool = pool.entry(pick.service.clone()).or_default();
        let mut candidates = Vec::new();
        for (host, (id, about)) in self.hosts.iter().enumerate().filter(|(host, _)| set[*host]) {
            let mut running = pool.get(*id).cloned().unwrap_or_default();
            running.sort_unstable();
            let avoided = avoid.get(&host);
            if let Some(ranks) = avoided {
                running.retain(|rank| !ranks.contains(rank));
            }
            candidates.push(Candidate {
                host,
                takes: about.state == HostState::Open && avoided.is_none(),
                most: self.world.most.map_or(u32::MAX, |most| most.saturating_sub(loads[host])),
                fits: ledger.fits(self, host, &pick.service),
                running,
                score: scores[host],
                hash: stable64(&[pick.service.as_str(), &id.to_string()]),
                group: pick.by.as_ref().and_then(|key| about.labels.get(key).cloned()),
            });
        }
        let share = self.share(&self.without_avoided(pick, set));
        let choose = |budget| choose(&candidates, (count, cap), budget, pick.by.is_some(), eager);
        let mut chosen = choose(u32::MAX);
        if let Some(budget) = purse.budget(&candidates, &chosen, (count, cap)) {
            chosen = choose(budget);
        }
        let placed = placement.services.entry(pick.service.clone()).or_default();
        placed.wanted += u64::from(count);
        let mut used = vec![false; self.hosts.len()];
        let mut total = 0;
        for (candidate, &Chosen { kept, new }) in candidates.iter().zip(&chosen) {
            if kept + new == 0 {
                continue;
            }
            let id = self.hosts[candidate.host].0;
            used[candidate.host] = true;
            total += kept + new;
            *placed.on.entry(id.clone()).or_default() += kept + new;
            if let Some(ranks) = pool.get_mut(id) {
                ranks.sort_unstable();
                ledger.keep(self, &pick.service, ranks.drain(..kept as usize));
            }
            ledger.place(self, candidate.host, &pick.service, new);
            let why = match (kept, new) {
                (_, 0) => format!("{pick}: stays where it runs"),
                (0, _) => format!("{pick}: of {share} hosts with at most {cap} each, one of the emptiest"),
                _ => format!("{pick}: {kept} stay, {new} more of at most {cap} here"),
            };
            placed.why.insert(id.clone(), why);
        }
        if total < count {
            let why = if candidates.is_empty() {
                format!("{pick}: the set {} is empty here", pick.set)
            } else if share == 0 {
                format!("{pick}: every host of the set is cordoned")
            } else {
                let names = |is: &dyn Fn(&Candidate) -> bool| {
                    let all = candidates.iter().filter(|candidate| is(candidate));
                    all.map(|candidate| self.hosts[candidate.host].0.to_string()).collect::<Vec<_>>().join(", ")
                };
                let (closed, full) = (names(&|one| !one.takes), names(&|one| one.takes && one.most < cap));
                let mut why = Vec::new();
                if !full.is_empty() {
                    let most = self.world.most.unwrap_or(u32::MAX);
                    why.push(format!("{full} carry {most} instances, which is the most that one fulcrum may"));
                }
                let tight = candidates
                    .iter()
                    .zip(&chosen)
                    .filter(|(one, Chosen { kept, new })| one.takes && kept + new < one.cap(cap) && *new >= one.fits);
                let tight: Vec<usize> = tight.map(|(one, _)| one.host).collect();
                why.extend(ledger.tight(self, &pick.service, &tight));
                why.extend(ledger.spent(self, &pick.service, &purse, count - total));
                if !closed.is_empty() {
                    why.push(format!("{closed} take nothing new, and at most {cap} may run on a host"));
                } else if !tight.is_empty() && cap < count {
                    why.push(format!("at most {cap} may run on a host"));
                }
                format!("{pick}: {}", why.join("; "))
            };
            let missing = u64::from(count - total);
            placement.missing.push(Missing { service: pick.service.clone(), missing, why });
        }
        used
    }
}

/// Whether a number depends on the size of a set.
fn sized(number: &Number) -> bool {
    match number {
        Number::Int(_) => false,
        Number::Size(_) => true,
        Number::Sum(first, rest) | Number::Product(first, rest) => {
            sized(first) || rest.iter().any(|(_, number)| sized(number))
        }
    }
}

/// Every pick in the order in which a walk meets them, with whether another pick may see what it chooses: one that it is
/// part of, or, where the whole is `seen`, one elsewhere.
fn collect<'p>(set: &'p Set, seen: bool, f: &mut dyn FnMut(&'p Pick, bool)) {
    match set {
        Set::All | Set::Label { .. } | Set::Node(_) | Set::Name { .. } => {}
        Set::Pick(pick) => {
            collect_number(&pick.count, f);
            collect(&pick.set, true, f);
            f(pick, seen);
        }
        Set::Not(set) => collect(set, seen, f),
        Set::And(sets) | Set::Or(sets) => sets.iter().for_each(|set| collect(set, seen, f)),
    }
}

fn collect_number<'p>(number: &'p Number, f: &mut dyn FnMut(&'p Pick, bool)) {
    match number {
        Number::Int(_) => {}
        Number::Size(set) => collect(set, true, f),
        Number::Sum(first, rest) | Number::Product(first, rest) => {
            collect_number(first, f);
            rest.iter().for_each(|(_, number)| collect_number(number, f));
        }
    }
}

fn both(a: &Bits, b: &Bits) -> Bits {
    a.iter().zip(b).map(|(a, b)| *a && *b).collect()
}

/// An exact fraction; the divisor is positive.
#[derive(Clone, Copy)]
struct Fraction(i128, i128);

impl Fraction {
    fn apply(self, op: Op, with: Self) -> Result<Self, String> {
        let (Self(a, b), Self(c, d)) = (self, with);
        let (over, under) = match op {
            Op::Add | Op::Sub => {
                let c = if op == Op::Sub { -c } else { c };
                (a.checked_mul(d).zip(c.checked_mul(b)).and_then(|(x, y)| x.checked_add(y)), b.checked_mul(d))
            }
            Op::Mul => (a.checked_mul(c), b.checked_mul(d)),
            Op::Div if c == 0 => return Err("its number divides by zero".into()),
            Op::Div => (a.checked_mul(d).and_then(|over| over.checked_mul(c.signum())), b.checked_mul(c.abs())),
        };
        let (Some(over), Some(under)) = (over, under) else { return Err("its number is too large to work out".into()) };
        let divisor = gcd(over.unsigned_abs(), under.unsigned_abs()).max(1) as i128;
        Ok(Self(over / divisor, under / divisor))
    }

    /// Rounded up; below zero counts as zero.
    fn count(self) -> Result<u32, String> {
        let Self(over, under) = self;
        let up = over.div_euclid(under) + i128::from(over.rem_euclid(under) != 0);
        if up > COUNT_MAX {
            return Err(format!("its number is {up}, more than the {COUNT_MAX} that one pick may ask for"));
        }
        Ok(u32::try_from(up.max(0)).unwrap_or(0))
    }
}

fn gcd(mut a: u128, mut b: u128) -> u128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

impl<'p> Walk<'p, '_> {
    fn set(&mut self, set: &'p Set, at_pick: &mut dyn FnMut(usize, Result<u32, String>, Bits) -> Bits) -> Bits {
        let hosts = &self.planner.hosts;
        match set {
            Set::All => vec![true; hosts.len()],
            Set::Label { key, value } => hosts
                .iter()
                .map(|(_, host)| match value {
                    Some(value) => host.labels.get(key) == Some(value),
                    None => host.labels.contains_key(key),
                })
                .collect(),
            Set::Node(node) => hosts
                .iter()
                .map(|(id, _)| {
                    let whole_node = node.fulcrum.as_str() == crux_names::DEFAULT_FULCRUM;
                    *id == node || (whole_node && id.node == node.node)
                })
                .collect(),
            Set::Name { name, .. } => {
                self.names.get(name.as_str()).cloned().unwrap_or_else(|| vec![false; hosts.len()])
            }
            Set::Not(set) => self.set(set, at_pick).into_iter().map(|bit| !bit).collect(),
            Set::And(sets) => {
                let mut all = vec![true; hosts.len()];
                for set in sets {
                    all = both(&all, &self.set(set, at_pick));
                }
                all
            }
            Set::Or(sets) => {
                let mut any = vec![false; hosts.len()];
                for set in sets {
                    any = any.iter().zip(self.set(set, at_pick)).map(|(a, b)| *a || b).collect();
                }
                any
            }
            Set::Pick(pick) => {
                let count = self.number(&pick.count, at_pick).and_then(Fraction::count);
                let count = count.map_err(|why| format!("{pick}: {why}"));
                let bits = self.set(&pick.set, at_pick);
                let index = self.next;
                self.next += 1;
                at_pick(index, count, bits)
            }
        }
    }

    fn number(
        &mut self,
        number: &'p Number,
        at_pick: &mut dyn FnMut(usize, Result<u32, String>, Bits) -> Bits,
    ) -> Result<Fraction, String> {
        match number {
            Number::Int(int) => Ok(Fraction(i128::from(*int), 1)),
            Number::Size(set) => {
                let bits = self.set(set, at_pick);
                let counts = |host: &Host| host.state != HostState::Cordoned;
                let size = self.planner.hosts.iter().zip(bits).filter(|((_, host), bit)| *bit && counts(host)).count();
                Ok(Fraction(i128::try_from(size).unwrap_or(i128::MAX), 1))
            }
            Number::Sum(first, rest) | Number::Product(first, rest) => {
                // Every part is walked even after an error, so that picks keep their numbers.
                let mut value = self.number(first, at_pick);
                for (op, number) in rest {
                    let with = self.number(number, at_pick);
                    value = value.and_then(|value| value.apply(*op, with?));
                }
                value
            }
        }
    }
}
