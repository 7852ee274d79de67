//! What a placement asks of its hosts and of the quota, kept while it is made.
//!
//! Of a host everything counts that runs there, also what is too much and on its way out: it is there. Of a quota that
//! counts which is meant to be: a replacement is not refused because what it replaces still runs.

use super::choose::{Candidate, Chosen};
use super::place::{Bits, Planner, Pool};
use crate::resources::{NAMES, Resources, shown};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use crux_names::ServiceName;

/// How many hosts a reason names one by one.
const NAMED: usize = 4;

/// What one instance of a service asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ask {
    /// A new one.
    pub each: Resources,
    /// Those that run and ask for something else, an older revision or a larger one that will be there soon, by rank.
    pub runs: BTreeMap<u64, Resources>,
}

/// A limit for all services of a world together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// Whose it is, for people: `horde web`.
    pub of: String,
    /// How much; what is zero is not limited.
    pub most: Resources,
}

impl Planner<'_> {
    fn each(&self, service: &ServiceName) -> Resources {
        self.world.asks.get(service).map_or(Resources::default(), |ask| ask.each)
    }

    fn one(&self, service: &ServiceName, rank: u64) -> Resources {
        let ask = self.world.asks.get(service);
        ask.map_or(Resources::default(), |ask| ask.runs.get(&rank).copied().unwrap_or(ask.each))
    }

    fn all(&self, service: &ServiceName, ranks: &[u64]) -> Resources {
        ranks.iter().fold(Resources::default(), |sum, rank| sum.plus(self.one(service, *rank)))
    }
}

/// What is taken so far.
pub(super) struct Ledger {
    /// By host: what runs there and what was placed there.
    hosts: Vec<Resources>,
    /// Of the quota: what was kept and placed.
    pub(super) quota: Resources,
}

/// What the quota leaves for one pick.
pub(super) struct Purse<'p> {
    /// `None`: there is no quota, or this service asks for nothing.
    limit: Option<Limit>,
    each: Resources,
    runs: Option<&'p BTreeMap<u64, Resources>>,
}

struct Limit {
    most: Resources,
    /// What was kept and placed before this pick.
    placed: Resources,
    /// What runs of services and picks that come later.
    to_come: Resources,
}

impl Purse<'_> {
    /// How many may be new so that the quota holds; `None` if it holds as it was chosen. What runs has it first.
    pub fn budget(&self, candidates: &[Candidate], chosen: &[Chosen], (count, cap): (u32, u32)) -> Option<u32> {
        let limit = self.limit.as_ref()?;
        let left = limit.most.less(limit.placed).less(limit.to_come);
        let of = |ranks: &[u64]| {
            let each = |rank: &u64| self.runs.and_then(|runs| runs.get(rank)).copied().unwrap_or(self.each);
            ranks.iter().fold(Resources::default(), |sum, rank| sum.plus(each(rank)))
        };
        let (mut all, mut may_stay, mut news) = (Resources::default(), 0u32, 0u32);
        let mut stays = Resources::default();
        for (candidate, Chosen { kept, new }) in candidates.iter().zip(chosen) {
            all = all.plus(of(&candidate.running[..*kept as usize])).plus(self.each.times(*new));
            news = news.saturating_add(*new);
            let keepable = candidate.keepable(cap);
            may_stay = may_stay.saturating_add(keepable);
            stays = stays.plus(of(&candidate.running[..keepable as usize]));
        }
        if news == 0 || left.lacks(&all).next().is_none() {
            return None;
        }
        if may_stay >= count {
            return Some(0);
        }
        // What is over its quota already has no room, not even for what asks for nothing of that kind alone.
        let over = left.lacks(&stays).any(|which| self.each.amounts()[which] > 0);
        Some(if over { 0 } else { left.less(stays).holds(&self.each) })
    }
}

impl Ledger {
    pub fn new(planner: &Planner<'_>) -> Self {
        let used = |(id, host): &(&crux_names::FulcrumId, &super::place::Host)| {
            let running = planner.world.running.iter().filter_map(|(service, on)| Some((service, on.get(*id)?)));
            running.fold(host.busy, |sum, (service, ranks)| sum.plus(planner.all(service, ranks)))
        };
        let hosts = if planner.world.asks.is_empty() {
            planner.hosts.iter().map(|(_, host)| host.busy).collect()
        } else {
            planner.hosts.iter().map(used).collect()
        };
        Self { hosts, quota: Resources::default() }
    }

    /// What is left at a host.
    fn free(&self, planner: &Planner<'_>, host: usize) -> Option<Resources> {
        Some(planner.hosts[host].1.capacity?.less(self.hosts[host]))
    }

    /// How many more of a service fit at a host.
    pub fn fits(&self, planner: &Planner<'_>, host: usize, service: &ServiceName) -> u32 {
        match planner.each(service) {
            each if each.is_none() => u32::MAX,
            each => self.free(planner, host).map_or(0, |free| free.holds(&each)),
        }
    }

    /// What the quota leaves for a pick that is about to be placed.
    pub fn purse<'p>(&self, planner: &Planner<'p>, index: usize, set: &Bits, pool: &Pool) -> Purse<'p> {
        let service = &planner.picks[index].service;
        let (each, ask) = (planner.each(service), planner.world.asks.get(service));
        let runs = ask.map(|ask| &ask.runs);
        let Some(quota) = planner.world.quota.as_ref().filter(|_| !each.is_none()) else {
            return Purse { limit: None, each, runs };
        };
        let to_come = |service: &ServiceName| planner.picks[index + 1..].iter().any(|pick| pick.service == *service);
        let has_pick = |service: &ServiceName| planner.picks.iter().any(|pick| pick.service == *service);
        let mut later = Resources::default();
        for (other, on) in pool {
            // What is left of a service after its last pick is too much of it, and goes. One without a pick stays as it is.
            let stays = other != service && (to_come(other) || !has_pick(other));
            // Another pick of this service may keep what runs outside this set.
            let elsewhere = other == service && to_come(service);
            for (id, ranks) in on.iter().filter(|_| stays || elsewhere) {
                let inside = || planner.hosts.iter().position(|(host, _)| *host == id).is_some_and(|host| set[host]);
                if stays || !inside() {
                    later = later.plus(planner.all(other, ranks));
                }
            }
        }
        let limit = Limit { most: quota.most.as_limit(), placed: self.quota, to_come: later };
        Purse { limit: Some(limit), each, runs }
    }

    /// Takes down what of a service stays.
    pub fn keep(&mut self, planner: &Planner<'_>, service: &ServiceName, ranks: impl Iterator<Item = u64>) {
        self.quota = ranks.fold(self.quota, |sum, rank| sum.plus(planner.one(service, rank)));
    }

    /// Takes down what comes new to a host.
    pub fn place(&mut self, planner: &Planner<'_>, host: usize, service: &ServiceName, count: u32) {
        let more = planner.each(service).times(count);
        self.quota = self.quota.plus(more);
        self.hosts[host] = self.hosts[host].plus(more);
    }

    /// Why no more of a service fits at these hosts.
    pub fn tight(&self, planner: &Planner<'_>, service: &ServiceName, hosts: &[usize]) -> Option<String> {
        let each = planner.each(service);
        let say = |host: &usize| {
            let (id, about) = planner.hosts[*host];
            let Some((all, free)) = about.capacity.zip(self.free(planner, *host)) else {
                return format!("{id} has not said yet what it has");
            };
            let lacks = free.lacks(&each).map(|which| {
                let (free, all) = (free.amounts()[which], all.amounts()[which]);
                match all {
                    0 => format!("no known {}", NAMES[which]),
                    _ => format!("{} {} of {} left", NAMES[which], shown(which, free), shown(which, all)),
                }
            });
            format!("{id} has {}", lacks.collect::<Vec<_>>().join(" and "))
        };
        let mut said: Vec<String> = hosts.iter().take(NAMED).map(say).collect();
        match hosts.len().saturating_sub(NAMED) {
            0 => {}
            1 => said.push("another host has too little".into()),
            more => said.push(format!("{more} more hosts have too little")),
        }
        (!said.is_empty()).then(|| format!("each asks for {each}: {}", said.join(", ")))
    }

    /// Why the quota takes no more of a service, after its pick was placed.
    pub fn spent(
        &self,
        planner: &Planner<'_>,
        service: &ServiceName,
        purse: &Purse<'_>,
        missing: u32,
    ) -> Option<String> {
        let Limit { most: limit, to_come, .. } = purse.limit.as_ref()?;
        let quota = planner.world.quota.as_ref()?;
        let used = self.quota.plus(*to_come);
        let more = purse.each.times(missing);
        let lacks: Vec<String> = limit
            .less(used)
            .lacks(&purse.each)
            .map(|which| {
                let [most, used, more] = [*limit, used, more].map(|all| shown(which, all.amounts()[which]));
                format!("quota {} {most}, {used} in use, {missing} of {service} more would need {more}", NAMES[which])
            })
            .collect();
        (!lacks.is_empty()).then(|| format!("{}: {}", quota.of, lacks.join("; ")))
    }
}
