//! From everything that is seen to the content of a plan.

use super::super::instance::{Instance, InstanceId, Phase, ServiceRef};
use super::super::plan::{Entry, MOST, Shortfall};
use super::super::verdict::Health;
use super::policy::{Lost, OnRejoin, OnSplit};
use super::weigh::{self, Renewal};
use super::{Proctor, Seen, Wanted};
use crate::facts::value::Place;
use crate::khan::{self, Condition, Host, HostState, Placement, Program, StageCounts, Stages, Statement, World};
use crate::khan::{Ask, Quota};
use crate::resources::Resources;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cmp::Reverse;
use crux_names::{FulcrumId, Hash256, Wall};

/// Why nothing moves at a fulcrum whose life has just begun.
const YOUNG: &str = "this fulcrum has just begun, and its flock is not known to be complete yet";

/// What a plan says, and which instances it leaves out on purpose.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub entries: Vec<Entry>,
    pub shortfalls: Vec<Shortfall>,
    pub should: Vec<(ServiceRef, u32)>,
    pub dropped: Vec<InstanceId>,
    /// What the quota leaves beside what is placed and what stays where nobody else can take it; `None`: there is none.
    spare: Option<Resources>,
}

/// Something that fills, or is about to fill, a place of a plan.
#[derive(Clone, Debug)]
pub(super) struct Unit {
    pub(super) on: FulcrumId,
    slot: u32,
    pub(super) revision: Hash256,
    /// `None`: a plan asks for it and no dean has told of it yet.
    instance: Option<InstanceId>,
    started: Option<Wall>,
    runs: bool,
    pub(super) ready: bool,
    /// Nothing is known yet of how it is.
    unknown: bool,
    /// It keeps failing where it is.
    failing: bool,
    done: bool,
    /// It ended badly and is never restarted.
    failed: bool,
    /// It has ended and is there no more.
    pub(super) ended: bool,
    /// What becomes of it if it is of another revision than the wanted one.
    pub(super) renewal: Renewal,
    /// The reason that the plan gave for it, while it is only asked for.
    why: Option<String>,
}

/// What there is of one service.
#[derive(Clone, Debug, Default)]
pub(super) struct Stock {
    /// The best first.
    pub(super) units: Vec<Unit>,
    /// Still there, but stopping, dropped or dead.
    leaving: Vec<InstanceId>,
    /// Those of them that a verdict calls dead.
    dead: Vec<InstanceId>,
    /// Slots of what leaves or is too much, each with where: a dean would take it for what is to come there.
    blocked: BTreeSet<(FulcrumId, u32)>,
}

/// What one service's fact says, read.
struct Intent<'a> {
    wanted: &'a Wanted,
    on_split: OnSplit,
    after: Vec<Condition>,
    set: khan::Set,
}

/// One round of planning.
pub(super) struct Planning<'a> {
    proctor: &'a Proctor,
    seen: &'a Seen<'a>,
    /// Present home members.
    here: BTreeSet<FulcrumId>,
    /// Those of them whose deans have not answered in this view.
    silent: Vec<&'a FulcrumId>,
    stocks: BTreeMap<&'a ServiceRef, Stock>,
    intents: BTreeMap<&'a ServiceRef, Result<Intent<'a>, String>>,
    placement: Placement,
}

impl<'a> Planning<'a> {
    pub fn of(proctor: &'a Proctor, seen: &'a Seen<'a>) -> Self {
        let home = |id: &FulcrumId| seen.homes.contains_key(id);
        let here = seen.roster.iter().filter(|member| home(&member.id)).map(|member| member.id.clone()).collect();
        let silent = seen.roster.iter().filter(|member| home(&member.id) && !proctor.fresh(member));
        let silent = silent.map(|member| &member.id).collect();
        let mut planning = Self {
            proctor,
            seen,
            here,
            silent,
            stocks: BTreeMap::new(),
            intents: BTreeMap::new(),
            placement: Placement::default(),
        };
        for (of, wanted) in seen.wanted {
            planning.stocks.insert(of, planning.stock(of, wanted));
        }
        let (sets, broken) = read_sets(seen.sets);
        for (of, wanted) in seen.wanted {
            planning.intents.insert(of, read(of, wanted, &sets, &broken));
        }
        let settled = planning.silent.is_empty() && proctor.hold.is_none() && !seen.young;
        let asks = weigh::weigh(&proctor.horde, seen, &mut planning.stocks, settled);
        planning.place(sets, asks);
        planning
    }

    /// Everything that there is of one service on present members.
    fn stock(&self, of: &ServiceRef, wanted: &Wanted) -> Stock {
        let mut stock = Stock::default();
        let dropped = self.proctor.office.as_ref().map(|office| &office.dropped);
        let said = self.proctor.words.values().flat_map(|word| &word.instances).filter(|instance| instance.of == *of);
        for instance in said {
            if !self.seen.homes.contains_key(&instance.id.fulcrum) {
                if self.proctor.departing.contains(&instance.id) {
                    stock.blocked.insert((instance.id.fulcrum.clone(), instance.slot));
                    stock.leaving.push(instance.id.clone());
                }
                continue;
            }
            let health = self.seen.verdicts.get(&instance.id).copied().unwrap_or(Health::Unknown);
            // A job that ended is not run again because its verdict is still on its way.
            let ended = instance.phase == Phase::Gone && wanted.once;
            if instance.phase == Phase::Gone && !ended {
                continue;
            }
            // `Gone` is the word on a node that was away. Its dean is here and tells of the instance, so it is late news.
            let dead = instance.phase == Phase::Running && health == Health::Dead;
            let leaves = instance.phase == Phase::Stopping || dropped.is_some_and(|ids| ids.contains(&instance.id));
            if leaves || dead {
                stock.blocked.insert((instance.id.fulcrum.clone(), instance.slot));
                if instance.phase != Phase::Gone {
                    stock.leaving.push(instance.id.clone());
                }
                if dead && !leaves {
                    stock.dead.push(instance.id.clone());
                }
                continue;
            }
            let failing = self.proctor.trouble.fails(&instance.id);
            stock.units.push(Unit { failing, ..Unit::reported(instance, health) });
        }
        self.add_asked_for(of, &mut stock);
        let on_rejoin = OnRejoin::parse(&wanted.on_rejoin).unwrap_or_default();
        stock.units.sort_by_cached_key(|unit| unit.rank(on_rejoin));
        stock
    }

    /// Adds what the newest plan asks for and no dean tells of: on a silent member all of it, elsewhere what was asked
    /// for in this view and cannot have been told yet.
    fn add_asked_for(&self, of: &ServiceRef, stock: &mut Stock) {
        let Some(plan) = &self.proctor.plan else { return };
        let mine = plan.id.view == *self.seen.view && plan.by == self.proctor.me;
        let mut matched: BTreeSet<usize> = BTreeSet::new();
        let named: BTreeSet<&InstanceId> = plan.entries.iter().filter_map(|entry| entry.instance.as_ref()).collect();
        for entry in plan.entries.iter().filter(|entry| entry.of == *of && self.here.contains(&entry.on)) {
            let silent = self.silent.contains(&&entry.on);
            if let Some(id) = &entry.instance {
                let known = stock.units.iter().any(|unit| unit.instance.as_ref() == Some(id));
                let known = known || stock.leaving.contains(id);
                if !silent || known || self.proctor.words.contains_key(&entry.on) {
                    continue;
                }
            } else {
                let fills = |(index, unit): &(usize, &Unit)| {
                    // What the plan names fills the place in which it is named, whatever slot it was last told of.
                    !matched.contains(index)
                        && !unit.instance.as_ref().is_some_and(|id| named.contains(id))
                        && (unit.slot, &unit.on, unit.revision) == (entry.slot, &entry.on, entry.revision)
                };
                if let Some(index) = stock.units.iter().enumerate().find(fills).map(|(index, _)| index) {
                    matched.insert(index);
                    continue;
                }
                // Who obeys this plan and does not tell of it does not start it: no operator's fact lets it.
                let obeys = self.proctor.words.get(&entry.on).and_then(|word| word.obeys.as_ref());
                let refused = obeys.is_some_and(|obeys| *obeys >= plan.id);
                if (!mine || refused) && !silent {
                    continue;
                }
            }
            let health = entry.instance.as_ref().and_then(|id| self.seen.verdicts.get(id));
            stock.units.push(Unit {
                on: entry.on.clone(),
                slot: entry.slot,
                revision: entry.revision,
                instance: entry.instance.clone(),
                started: None,
                runs: entry.instance.is_some(),
                ready: matches!(health, Some(Health::Ready | Health::Done)),
                unknown: health.is_none_or(|health| *health == Health::Unknown),
                failing: false,
                done: health == Some(&Health::Done),
                failed: false,
                ended: false,
                renewal: Renewal::Here,
                why: Some(entry.why.clone()),
            });
            matched.insert(stock.units.len() - 1);
        }
    }

    /// Asks khan, for the world as it is, or during a hold as it was.
    fn place(&mut self, sets: Vec<Statement>, mut asks: BTreeMap<ServiceRef, Ask>) {
        let quota = self.seen.quota.map(|most| Quota { of: format!("horde {}", self.proctor.horde), most });
        let mut world = World { most: Some(MOST), quota, ..World::default() };
        for (id, home) in self.seen.homes {
            let lost = self.proctor.hold.as_ref().and_then(|hold| hold.lost.get(id));
            let state = match lost {
                None if !self.here.contains(id) => continue,
                // It is no place for anything any more; what runs there is surplus once it runs elsewhere.
                _ if home.draining => continue,
                _ if home.cordoned => HostState::Cordoned,
                Some(Lost::Unseen) => HostState::Open,
                Some(Lost::Gone(_)) => HostState::Frozen,
                None if self.silent.contains(&id) => HostState::Frozen,
                None => HostState::Open,
            };
            let (labels, capacity) = (home.labels.clone(), home.capacity);
            world.hosts.insert(id.clone(), Host { labels, state, capacity, busy: Resources::default() });
        }
        for (of, stock) in &self.stocks {
            let avoided = self.proctor.trouble.avoided(of, self.seen.wanted[*of].revision);
            if !avoided.is_empty() {
                let ranks = |on: &FulcrumId| {
                    let there = stock.units.iter().enumerate().filter(|(_, unit)| unit.failing && unit.on == *on);
                    there.map(|(rank, _)| rank as u64).collect()
                };
                let avoid = avoided.into_keys().map(|on| (on.clone(), ranks(on))).collect();
                world.avoid.insert(of.service.clone(), avoid);
            }
            let running = world.running.entry(of.service.clone()).or_default();
            let mut ask = asks.remove(*of).unwrap_or_default();
            for (rank, unit) in stock.units.iter().enumerate() {
                if matches!(unit.renewal, Renewal::Elsewhere(_)) {
                    // What is there until its successor is ready takes room, and fills no place.
                    let weight = weigh::ask(&self.seen.wanted[*of], &unit.revision);
                    if let Some(host) = world.hosts.get_mut(&unit.on) {
                        host.busy = host.busy.plus(weight);
                    }
                    continue;
                }
                running.entry(unit.on.clone()).or_default().push(rank as u64);
            }
            // What its policy withholds in this part takes no room.
            let allowed = self.intents.get(*of).is_some_and(|intent| {
                intent.as_ref().is_ok_and(|intent| intent.on_split.allows(self.seen.homes, &self.here).is_ok())
            });
            if !allowed {
                let each = core::mem::take(&mut ask.each);
                (0..stock.units.len() as u64).for_each(|rank| _ = ask.runs.entry(rank).or_insert(each));
            }
            if ask != Ask::default() {
                world.asks.insert(of.service.clone(), ask);
            }
            for (id, lost) in self.proctor.hold.iter().flat_map(|hold| &hold.lost) {
                if let Lost::Gone(ran) = lost {
                    let count = ran.get(*of).copied().unwrap_or(0);
                    running.entry(id.clone()).or_default().extend((0..count).map(|_| 0));
                }
            }
        }
        let mut statements = sets;
        statements.extend(self.intents.values().flatten().map(|intent| Statement::Set(intent.set.clone())));
        // The sets that are left need nothing that is not among them, so this is a program.
        if let Ok(program) = Program::new(statements) {
            self.placement = khan::place(&program, &world);
        }
    }

    fn stages(&self) -> Stages {
        let mut stages = Stages::new();
        for (of, stock) in &self.stocks {
            let count = |is: fn(&Unit) -> bool| stock.units.iter().filter(|unit| is(unit)).count() as u64;
            let wanted = self.placement.services.get(&of.service).map_or(0, |placed| placed.wanted);
            let counts = StageCounts {
                wanted,
                started: count(|unit| unit.runs || unit.done),
                ready: count(|unit| unit.ready),
                done: count(|unit| unit.done),
            };
            if self.placement.services.contains_key(&of.service) {
                stages.insert(of.service.clone(), counts);
            }
        }
        stages
    }

    /// The plan's content.
    pub fn content(mut self) -> Content {
        let mut content = Content { spare: self.placement.spare, ..Content::default() };
        let stages = self.stages();
        for (of, mut stock) in core::mem::take(&mut self.stocks) {
            match &self.intents[of] {
                Err(why) => {
                    // What is meant is unknown: what runs stays, nothing starts.
                    content.say(of, 0, why.clone());
                    content.keep_all(of, &stock, &format!("stays while it is unclear what is meant: {why}"));
                }
                Ok(intent) => {
                    // A job that ended badly holds its place and is lacked all the same.
                    let failed = stock.units.iter().filter(|unit| unit.failed).count();
                    self.service(of, intent, &mut stock, &stages, &mut content);
                    content.lack_at_most(of, failed);
                }
            }
        }
        let key = |entry: &Entry| (entry.of.clone(), entry.slot, entry.on.clone(), entry.instance.clone());
        content.entries.sort_by_cached_key(key);
        content
    }

    fn service(&self, of: &ServiceRef, intent: &Intent<'_>, stock: &mut Stock, stages: &Stages, content: &mut Content) {
        let placed = self.placement.services.get(&of.service).cloned().unwrap_or_default();
        let wanted = u32::try_from(placed.wanted).unwrap_or(u32::MAX);
        if let Err(why) = intent.on_split.allows(self.seen.homes, &self.here) {
            content.say(of, wanted, why.clone());
            if self.proctor.hold.is_some() || self.seen.young {
                content.keep_all(of, stock, &format!("runs on until it is clear who is here; {why}"));
            } else {
                content.dropped.extend(stock.units.iter().filter_map(|unit| unit.instance.clone()));
                content.should.push((of.clone(), 0));
            }
            return;
        }
        content.should.push((of.clone(), wanted));
        let failed = stock.units.iter().filter(|unit| unit.failed).count();
        if failed > 0 {
            let why = "ended badly and is never restarted; a new revision runs it again".into();
            content.say(of, u32::try_from(failed).unwrap_or(u32::MAX), why);
        }
        for (why, old) in hindrances(&stock.units) {
            let (old, new) = (old.short(), intent.wanted.revision.short());
            content.say(of, 0, format!("update from {old} to {new} has no room: {why}"));
        }
        for missing in self.placement.missing.iter().filter(|missing| missing.service == of.service) {
            content.say(of, u32::try_from(missing.missing).unwrap_or(u32::MAX), missing.why.clone());
        }
        if let Some(hold) = &self.proctor.hold {
            let held: Vec<_> = placed.on.iter().filter(|(id, _)| !self.here.contains(*id)).collect();
            if !held.is_empty() {
                let ids: Vec<&FulcrumId> = held.iter().map(|(id, _)| *id).collect();
                content.say(of, held.iter().map(|(_, count)| **count).sum(), hold.why(&ids));
            }
        }
        let mut open: BTreeMap<&FulcrumId, u32> =
            placed.on.iter().filter(|(id, _)| self.here.contains(*id)).map(|(id, count)| (id, *count)).collect();
        let should_here: u32 = open.values().sum();
        let avoided = self.proctor.trouble.avoided(of, intent.wanted.revision);
        let (mut kept, mut surplus) = (Vec::new(), Vec::new());
        for unit in core::mem::take(&mut stock.units) {
            match open.get_mut(&unit.on) {
                Some(left) if *left > 0 => {
                    *left -= 1;
                    kept.push(unit);
                }
                _ => surplus.push(unit),
            }
        }
        let lacking = wanted.saturating_sub(placed.on.values().sum());
        self.strand(&mut kept, &mut surplus, lacking, intent.wanted, &mut content.spare);
        stock.blocked.extend(surplus.iter().map(|unit| (unit.on.clone(), unit.slot)));
        let last = self.proctor.plan.iter().flat_map(|plan| &plan.entries).filter(|entry| entry.of == *of);
        let last: BTreeMap<&InstanceId, u32> =
            last.filter_map(|entry| entry.instance.as_ref().map(|id| (id, entry.slot))).collect();
        // What the last plan said counts: a report of before it would have the number waver for as long as it runs.
        for unit in kept.iter_mut().chain(&mut surplus) {
            let planned = unit.instance.as_ref().and_then(|id| last.get(id));
            unit.slot = planned.copied().unwrap_or(unit.slot);
        }
        stock.blocked.extend(surplus.iter().map(|unit| (unit.on.clone(), unit.slot)));
        let mut slots = Slots::number(&mut kept, &mut surplus, wanted);
        let may_start = match khan::may_start(&intent.after, stages) {
            _ if self.seen.young => Err(YOUNG.into()),
            other => other.map_err(|waiting| waiting.why),
        };
        let settled = self.silent.is_empty() && self.proctor.hold.is_none();
        let had_surplus = !surplus.is_empty();
        self.shed(of, intent, &kept, surplus, should_here, stock, content);
        let left = &stock.leaving;
        let may_start = match may_start {
            // Never two at once: what is on its way out must be gone, and nobody may hide one.
            Ok(()) if intent.wanted.single && (had_surplus || !left.is_empty()) => {
                Err(format!("single: waits until {} has stopped", left.first().map_or("the other".into(), name)))
            }
            Ok(()) if intent.wanted.single && !self.silent.is_empty() => {
                Err(format!("single: waits until the deans of {} have answered", list(&self.silent)))
            }
            other => other,
        };
        let roll = if settled && may_start.is_ok() { next_to_roll(&kept, intent.wanted) } else { None };
        let mut waiting = 0;
        for (index, unit) in kept.into_iter().enumerate() {
            if roll != Some(index) {
                let why = unit.why.clone().or_else(|| placed.why.get(&unit.on).cloned()).unwrap_or_default();
                content.entries.push(unit.entry(of, why));
                continue;
            }
            content.dropped.extend(unit.instance.clone());
            if intent.wanted.single {
                waiting += 1;
                continue;
            }
            let (old, new) = (unit.revision.short(), intent.wanted.revision.short());
            let why = format!("update from {old} to {new}, one at a time, each when the one before is ready");
            let fresh = Unit { revision: intent.wanted.revision, instance: None, ..unit };
            content.entries.push(fresh.entry(of, why));
        }
        if waiting > 0 {
            content.say(of, waiting, "update of a single service: waits until the old revision has stopped".into());
        }
        let mut dead = core::mem::take(&mut stock.dead).into_iter();
        for (on, count) in open {
            for _ in 0..count {
                if let Err(why) = &may_start {
                    content.say(of, 1, why.clone());
                    continue;
                }
                let slot = slots.free(on, &stock.blocked);
                let mut why = placed.why.get(on).cloned().unwrap_or_default();
                for reason in avoided.values() {
                    why = format!("{why}; {reason}");
                }
                if let Some(id) = dead.next() {
                    why = format!("replaces {id}, which is dead; {why}");
                }
                let (of, on, revision) = (of.clone(), on.clone(), intent.wanted.revision);
                content.entries.push(Entry { of, slot, revision, on, instance: None, why });
            }
        }
    }

    /// What runs on a draining host, or has no room there for its next revision, stays, as far as no other host can take it
    /// and the quota has room for it: beyond that it is too much, wherever it ran.
    fn strand(
        &self,
        kept: &mut Vec<Unit>,
        surplus: &mut Vec<Unit>,
        lacking: u32,
        wanted: &Wanted,
        spare: &mut Option<Resources>,
    ) {
        let draining = |unit: &Unit| self.seen.homes.get(&unit.on).is_some_and(|home| home.draining);
        let moves = |unit: &Unit| matches!(unit.renewal, Renewal::Elsewhere(_));
        for _ in 0..lacking {
            let Some(index) = surplus.iter().position(|unit| draining(unit) || moves(unit)) else { return };
            if let Some(spare) = spare {
                let used = weigh::uses(wanted, &surplus[index]);
                if !used.is_none() && spare.holds(&used) == 0 {
                    return;
                }
                *spare = spare.less(used);
            }
            let mut unit = surplus.remove(index);
            let what = if draining(&unit) { "is drained" } else { "has no room for its update" };
            unit.why = Some(format!("{} {what}, but no other host can take this", unit.on));
            kept.push(unit);
        }
    }

    /// Takes at most one away of what is too much, the worst one, if enough stay ready without it.
    #[allow(clippy::too_many_arguments, reason = "one call, and a struct for it would only rename the arguments")]
    fn shed(
        &self,
        of: &ServiceRef,
        intent: &Intent<'_>,
        kept: &[Unit],
        surplus: Vec<Unit>,
        should: u32,
        stock: &mut Stock,
        content: &mut Content,
    ) {
        let ready = kept.iter().chain(&surplus).filter(|unit| unit.ready).count();
        let victim =
            surplus.iter().enumerate().min_by_key(|(index, unit)| (unit.ready, unit.may_be_ready(), Reverse(*index)));
        let hold = self.proctor.hold.as_ref().filter(|_| !intent.wanted.single);
        let wait = if self.seen.young {
            Err(YOUNG.into())
        } else if let Some(hold) = hold {
            Err(format!("the hold for {} goes on", list(&hold.lost.keys().collect::<Vec<_>>())))
        } else if !self.silent.is_empty() {
            Err(format!("the deans of {} have not answered", list(&self.silent)))
        } else if let (false, Some(id)) = (intent.wanted.single, stock.leaving.first()) {
            Err(format!("{id} is still stopping"))
        } else {
            match victim {
                Some((_, unit)) if !intent.wanted.single && unit.ready && ready <= should as usize => {
                    Err(format!("{should} must stay ready and {ready} are"))
                }
                // It may well be ready: after a join its verdict comes a moment after its report.
                Some((_, unit)) if !intent.wanted.single && unit.may_be_ready() && ready < should as usize => {
                    Err(format!("{should} must be ready and {ready} are, and how it is is not known yet"))
                }
                Some((index, _)) => Ok(index),
                None => return,
            }
        };
        for (index, unit) in surplus.into_iter().enumerate() {
            let reason = match &wait {
                Ok(victim) if index == *victim || intent.wanted.single => {
                    content.dropped.extend(unit.instance.clone());
                    stock.leaving.extend(unit.instance);
                    continue;
                }
                Ok(_) => "one is removed at a time",
                Err(why) => why,
            };
            let why = format!("surplus, removed in its turn: {reason}");
            content.entries.push(unit.entry(of, why));
        }
    }
}

impl Content {
    fn say(&mut self, of: &ServiceRef, missing: u32, why: String) {
        if let Some(same) = self.shortfalls.iter_mut().find(|said| said.of == *of && said.why == why) {
            same.missing += missing;
        } else {
            self.shortfalls.push(Shortfall { of: of.clone(), missing, why });
        }
    }

    /// Shortens what is said to be lacking to what really is: where enough are planned, surplus among them, nothing is.
    fn lack_at_most(&mut self, of: &ServiceRef, failed: usize) {
        let should = self.should.iter().find(|(name, _)| name == of).map(|(_, should)| *should);
        // None should be on this side of a split: what is said then is what the policy withholds.
        let Some(should) = should.filter(|should| *should > 0) else { return };
        let planned = self.entries.iter().filter(|entry| entry.of == *of).count().saturating_sub(failed);
        let mut left = should.saturating_sub(u32::try_from(planned).unwrap_or(u32::MAX));
        self.shortfalls.retain_mut(|said| {
            if said.of != *of || said.missing == 0 {
                return true;
            }
            said.missing = said.missing.min(left);
            left -= said.missing;
            said.missing > 0
        });
    }

    fn keep_all(&mut self, of: &ServiceRef, stock: &Stock, why: &str) {
        self.should.push((of.clone(), u32::try_from(stock.units.len()).unwrap_or(u32::MAX)));
        self.entries.extend(stock.units.iter().cloned().map(|unit| unit.entry(of, why.into())));
    }
}

/// Slots of one service that are taken. A slot only says which of several it is: after a join or a merge several have the
/// same, and each is given one of its own. Whom a dean knows by its id just takes the new one over.
struct Slots(BTreeSet<u32>);

impl Slots {
    /// Numbers what stays from 1 to `count` and what is too much above. Each keeps its slot if it can, the oldest first;
    /// what a dean was asked for and has not told of yet keeps it in any case, since the dean knows it by nothing else.
    fn number(kept: &mut [Unit], surplus: &mut [Unit], count: u32) -> Self {
        let asked = kept.iter().chain(surplus.iter()).filter(|unit| unit.instance.is_none());
        let mut slots = Self(asked.map(|unit| unit.slot).collect());
        let age = |unit: &Unit| (unit.started.map_or(u64::MAX, |Wall(at)| at), unit.instance.clone());
        let most = count.max(u32::try_from(kept.len()).unwrap_or(u32::MAX));
        for (units, range) in [(kept, 1..=most), (surplus, most.saturating_add(1)..=u32::MAX)] {
            let mut known: Vec<&mut Unit> = units.iter_mut().filter(|unit| unit.instance.is_some()).collect();
            known.sort_by_cached_key(|unit| age(unit));
            let mut homeless = Vec::new();
            for unit in known {
                if !range.contains(&unit.slot) || !slots.0.insert(unit.slot) {
                    homeless.push(unit);
                }
            }
            for unit in homeless {
                unit.slot = slots.lowest(*range.start(), |_| true);
            }
        }
        slots
    }

    /// The lowest slot for a new one there; taken with that.
    fn free(&mut self, on: &FulcrumId, blocked: &BTreeSet<(FulcrumId, u32)>) -> u32 {
        self.lowest(1, |slot| !blocked.contains(&(on.clone(), slot)))
    }

    fn lowest(&mut self, from: u32, may: impl Fn(u32) -> bool) -> u32 {
        let mut slot = from;
        while !may(slot) || !self.0.insert(slot) {
            slot = slot.saturating_add(1);
        }
        slot
    }
}

impl Unit {
    fn reported(instance: &Instance, health: Health) -> Self {
        Self {
            on: instance.id.fulcrum.clone(),
            slot: instance.slot,
            revision: instance.revision,
            instance: Some(instance.id.clone()),
            started: instance.started,
            runs: instance.phase == Phase::Running,
            ready: match instance.phase {
                Phase::Running => matches!(health, Health::Ready | Health::Done),
                _ => health == Health::Done,
            },
            unknown: health == Health::Unknown,
            failing: false,
            done: health == Health::Done,
            failed: instance.phase == Phase::Gone && health == Health::Dead,
            ended: instance.phase == Phase::Gone,
            renewal: Renewal::Here,
            why: None,
        }
    }

    /// The order in which units stay: those that are ready, those that run, those that do not yet, those that keep
    /// failing; within each by their start as the policy has it.
    fn rank(&self, on_rejoin: OnRejoin) -> (u8, u64, Option<InstanceId>, u32, FulcrumId) {
        let state = match () {
            () if self.failing => 4,
            () if self.ready || self.done => 0,
            () if self.runs => 1,
            () if self.instance.is_some() => 2,
            () => 3,
        };
        let started = match (self.started, on_rejoin) {
            (Some(Wall(at)), OnRejoin::KeepNewest) => u64::MAX - at,
            (Some(Wall(at)), _) => at,
            (None, _) => u64::MAX,
        };
        (state, started, self.instance.clone(), self.slot, self.on.clone())
    }

    /// Whether it runs and nobody has judged it yet.
    fn may_be_ready(&self) -> bool {
        self.runs && self.unknown && !self.failing
    }

    fn entry(self, of: &ServiceRef, why: String) -> Entry {
        let Self { on, slot, revision, instance, .. } = self;
        Entry { of: of.clone(), slot, revision, on, instance, why }
    }
}

/// Which of the kept ones is brought to the wanted revision now: none while one of that revision is not ready; of the
/// others first one that is not ready anyway.
fn next_to_roll(kept: &[Unit], wanted: &Wanted) -> Option<usize> {
    let current = |unit: &Unit| unit.revision == wanted.revision;
    if kept.iter().any(|unit| current(unit) && !unit.ready) {
        return None;
    }
    let old = kept.iter().enumerate().filter(|(_, unit)| !current(unit) && unit.renewal == Renewal::Here);
    old.min_by_key(|(_, unit)| (unit.ready, unit.slot, unit.on.clone())).map(|(index, _)| index)
}

/// Why instances are not brought to the wanted revision where they run, each reason once, with the revision that they are of.
fn hindrances(units: &[Unit]) -> BTreeSet<(String, Hash256)> {
    let why = |unit: &Unit| match &unit.renewal {
        Renewal::Here => None,
        Renewal::Elsewhere(why) | Renewal::Waits(why) => Some((why.clone(), unit.revision)),
    };
    units.iter().filter_map(why).collect()
}

fn name(id: &InstanceId) -> String {
    id.to_string()
}

fn list(ids: &[&FulcrumId]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Whether a proctor will know what a placement means, with the sets of its horde.
///
/// # Errors
/// Why not, for people.
pub fn makes_sense(of: &ServiceRef, place: &Place, sets: &BTreeMap<String, String>) -> Result<(), String> {
    let (sets, broken) = read_sets(sets);
    read(of, &Wanted::of(place, Hash256::default(), false), &sets, &broken).map(drop)
}

/// Whether a proctor will know what the sets of a horde mean.
///
/// # Errors
/// Why not, for people, of the first by name that it will not.
pub fn sets_make_sense(sets: &BTreeMap<String, String>) -> Result<(), String> {
    read_sets(sets).1.into_values().next().map_or(Ok(()), Err)
}

/// The horde's sets that make sense together, and for each other one why not.
fn read_sets(texts: &BTreeMap<String, String>) -> (Vec<Statement>, BTreeMap<String, String>) {
    let mut sets = BTreeMap::new();
    let mut broken = BTreeMap::new();
    for (name, text) in texts {
        match khan::parse_set(text) {
            Ok(set) => {
                sets.insert(name.clone(), set);
            }
            Err(error) => {
                broken.insert(name.clone(), format!("set {name}: {error}"));
            }
        }
    }
    let at = khan::At { line: 1, column: 1 };
    loop {
        let mut bad = Vec::new();
        for (name, set) in &sets {
            if let Some(why) = unresolved(set, |name| sets.contains_key(name), &broken) {
                bad.push((name.clone(), format!("set {name}: {why}")));
            }
        }
        if bad.is_empty() {
            let statements: Vec<Statement> =
                sets.iter().map(|(name, set)| Statement::Let { at, name: name.clone(), set: set.clone() }).collect();
            match Program::new(statements.clone()) {
                Ok(_) => return (statements, broken),
                Err(khan::Error { problem: khan::Problem::Cycle { names }, .. }) => {
                    let why = format!("sets need each other: {}", names.join(" -> "));
                    bad.extend(names.into_iter().map(|name| (name, why.clone())));
                }
                Err(error) => return (Vec::new(), sets.into_keys().map(|name| (name, error.to_string())).collect()),
            }
        }
        for (name, why) in bad {
            sets.remove(&name);
            broken.insert(name, why);
        }
    }
}

/// Why a set cannot be evaluated, if it cannot.
fn unresolved(set: &khan::Set, known: impl Fn(&str) -> bool, broken: &BTreeMap<String, String>) -> Option<String> {
    let mut why = None;
    set.names(&mut |name, at| {
        if why.is_none() && !known(name) {
            why = Some(match broken.get(name) {
                Some(why) => why.clone(),
                None => format!(
                    "line {}, column {}: the horde has no set {name:?}; add `sets.{name}` to it or correct the name",
                    at.line, at.column
                ),
            });
        }
    });
    why
}

/// Reads one service's fact.
fn read<'a>(
    of: &ServiceRef,
    wanted: &'a Wanted,
    sets: &[Statement],
    broken: &BTreeMap<String, String>,
) -> Result<Intent<'a>, String> {
    let set = khan::parse_set(&wanted.place).map_err(|error| format!("place: {error}"))?;
    let mut other = None;
    let mut own = false;
    set.picks(&mut |pick| {
        if pick.service == of.service {
            own = true;
        } else {
            other = Some(pick.service.clone());
        }
    });
    match other {
        Some(other) => return Err(format!("place: it picks {other}, but it is the place of {}", of.service)),
        None if !own => return Err(format!("place: it has no pick({}, …)", of.service)),
        None => {}
    }
    let on_split = OnSplit::parse(&wanted.on_split).map_err(|error| error.to_string())?;
    OnRejoin::parse(&wanted.on_rejoin).map_err(|error| error.to_string())?;
    if wanted.single && on_split == OnSplit::EachSide {
        return Err("single = true needs on_split = majority, home:<label or node> or stop: crux does not guess".into());
    }
    let mut after = Vec::new();
    for text in &wanted.after {
        after.extend(khan::parse_condition(text).map_err(|error| format!("after {text:?}: {error}"))?);
    }
    let known = |name: &str| sets.iter().any(|set| matches!(set, Statement::Let { name: has, .. } if has == name));
    if let Some(why) = unresolved(&set, known, broken) {
        return Err(format!("place: {why}"));
    }
    Ok(Intent { wanted, on_split, after, set })
}
