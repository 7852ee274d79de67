//! From everything that is seen to the content of a plan.

use super::super::instance::{Instance, InstanceId, Phase, ServiceRef};
use super::super::plan::{Entry, Shortfall};
use super::super::verdict::Health;
use super::policy::{Lost, OnRejoin, OnSplit};
use super::{Proctor, Seen, Wanted, Word};
use crate::khan::{self, Condition, Host, HostState, Placement, Program, StageCounts, Stages, Statement, World};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cmp::Reverse;
use crux_names::{FulcrumId, Hash256, Wall};

/// What a plan says, and which instances it leaves out on purpose.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub entries: Vec<Entry>,
    pub shortfalls: Vec<Shortfall>,
    pub should: Vec<(ServiceRef, u32)>,
    pub dropped: Vec<InstanceId>,
}

/// Something that fills, or is about to fill, a place of a plan.
#[derive(Clone, Debug)]
struct Unit {
    on: FulcrumId,
    slot: u32,
    revision: Hash256,
    /// `None`: a plan asks for it and no dean has told of it yet.
    instance: Option<InstanceId>,
    started: Option<Wall>,
    runs: bool,
    ready: bool,
    done: bool,
    /// It ended badly and is never restarted.
    failed: bool,
    /// The reason that the plan gave for it, while it is only asked for.
    why: Option<String>,
}

/// What there is of one service.
#[derive(Clone, Debug, Default)]
struct Stock {
    /// The best first.
    units: Vec<Unit>,
    /// Still there, but stopping, dropped or dead.
    leaving: Vec<InstanceId>,
    /// Those of them that a verdict calls dead.
    dead: Vec<InstanceId>,
    /// Slots that are in use.
    slots: BTreeSet<u32>,
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
        planning.place(sets);
        planning
    }

    /// Everything that there is of one service on present members.
    fn stock(&self, of: &ServiceRef, wanted: &Wanted) -> Stock {
        let mut stock = Stock::default();
        let dropped = self.proctor.office.as_ref().map(|office| &office.dropped);
        // Who has left the horde is not asked, and is silent once nothing is left there: its word counts only if it was
        // said to this holder of the seat, not to one before.
        let counts = |(id, word): &(&FulcrumId, &Word)| word.fresh || self.seen.homes.contains_key(*id);
        let words = self.proctor.words.iter().filter(counts);
        let said = words.flat_map(|(_, word)| &word.instances).filter(|instance| instance.of == *of);
        for instance in said {
            let health = self.seen.verdicts.get(&instance.id).copied().unwrap_or(Health::Unknown);
            // A job that ended is not run again because its verdict is still on its way.
            let ended = instance.phase == Phase::Gone && wanted.once;
            if instance.phase == Phase::Gone && !ended {
                continue;
            }
            stock.slots.insert(instance.slot);
            // `Gone` is the word on a node that was away. Its dean is here and tells of the instance, so it is late news.
            let dead = instance.phase == Phase::Running && health == Health::Dead;
            let leaves = instance.phase == Phase::Stopping || dropped.is_some_and(|ids| ids.contains(&instance.id));
            if leaves || dead {
                if instance.phase != Phase::Gone {
                    stock.leaving.push(instance.id.clone());
                }
                if dead && !leaves {
                    stock.dead.push(instance.id.clone());
                }
                continue;
            }
            stock.units.push(Unit::reported(instance, health));
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
                    !matched.contains(index)
                        && (unit.slot, &unit.on, unit.revision) == (entry.slot, &entry.on, entry.revision)
                };
                if let Some(index) = stock.units.iter().enumerate().find(fills).map(|(index, _)| index) {
                    matched.insert(index);
                    continue;
                }
                if !mine && !silent {
                    continue;
                }
            }
            let health = entry.instance.as_ref().and_then(|id| self.seen.verdicts.get(id));
            stock.slots.insert(entry.slot);
            stock.units.push(Unit {
                on: entry.on.clone(),
                slot: entry.slot,
                revision: entry.revision,
                instance: entry.instance.clone(),
                started: None,
                runs: entry.instance.is_some(),
                ready: matches!(health, Some(Health::Ready | Health::Done)),
                done: health == Some(&Health::Done),
                failed: false,
                why: Some(entry.why.clone()),
            });
            matched.insert(stock.units.len() - 1);
        }
    }

    /// Asks khan, for the world as it is, or during a hold as it was.
    fn place(&mut self, sets: Vec<Statement>) {
        let mut world = World::default();
        for (id, home) in self.seen.homes {
            let lost = self.proctor.hold.as_ref().and_then(|hold| hold.lost.get(id));
            let state = match lost {
                None if !self.here.contains(id) => continue,
                _ if home.cordoned => HostState::Cordoned,
                Some(Lost::Unseen) => HostState::Open,
                Some(Lost::Gone(_)) => HostState::Frozen,
                None if self.silent.contains(&id) => HostState::Frozen,
                None => HostState::Open,
            };
            world.hosts.insert(id.clone(), Host { labels: home.labels.clone(), state });
        }
        for (of, stock) in &self.stocks {
            let running = world.running.entry(of.service.clone()).or_default();
            for (rank, unit) in stock.units.iter().enumerate() {
                running.entry(unit.on.clone()).or_default().push(rank as u64);
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
        let mut content = Content::default();
        let stages = self.stages();
        for (of, mut stock) in core::mem::take(&mut self.stocks) {
            match &self.intents[of] {
                Err(why) => {
                    // What is meant is unknown: what runs stays, nothing starts.
                    content.say(of, 0, why.clone());
                    content.keep_all(of, &stock, &format!("stays while it is unclear what is meant: {why}"));
                }
                Ok(intent) => self.service(of, intent, &mut stock, &stages, &mut content),
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
            if self.proctor.hold.is_some() {
                content.keep_all(of, stock, &format!("runs on until the hold ends; {why}"));
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
        let may_start = khan::may_start(&intent.after, stages).map_err(|waiting| waiting.why);
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
                let slot = stock.free_slot();
                let mut why = placed.why.get(on).cloned().unwrap_or_default();
                if let Some(id) = dead.next() {
                    why = format!("replaces {id}, which is dead; {why}");
                }
                let (of, on, revision) = (of.clone(), on.clone(), intent.wanted.revision);
                content.entries.push(Entry { of, slot, revision, on, instance: None, why });
            }
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
        let victim = surplus.iter().enumerate().min_by_key(|(index, unit)| (unit.ready, Reverse(*index)));
        let victim = victim.map(|(index, unit)| (index, unit.ready));
        let hold = self.proctor.hold.as_ref().filter(|_| !intent.wanted.single);
        let wait = if let Some(hold) = hold {
            Err(format!("the hold for {} goes on", list(&hold.lost.keys().collect::<Vec<_>>())))
        } else if !self.silent.is_empty() {
            Err(format!("the deans of {} have not answered", list(&self.silent)))
        } else if let (false, Some(id)) = (intent.wanted.single, stock.leaving.first()) {
            Err(format!("{id} is still stopping"))
        } else {
            match victim {
                Some((_, true)) if !intent.wanted.single && ready <= should as usize => {
                    Err(format!("{should} must stay ready and {ready} are"))
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

    fn keep_all(&mut self, of: &ServiceRef, stock: &Stock, why: &str) {
        self.should.push((of.clone(), u32::try_from(stock.units.len()).unwrap_or(u32::MAX)));
        self.entries.extend(stock.units.iter().cloned().map(|unit| unit.entry(of, why.into())));
    }
}

impl Stock {
    /// The lowest slot that nothing has, from 1; taken with that.
    fn free_slot(&mut self) -> u32 {
        let mut slot = 1;
        while !self.slots.insert(slot) {
            slot += 1;
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
            done: health == Health::Done,
            failed: instance.phase == Phase::Gone && health == Health::Dead,
            why: None,
        }
    }

    /// The order in which units stay: those that run, by their start as the policy has it, then those that do not yet.
    fn rank(&self, on_rejoin: OnRejoin) -> (bool, u64, Option<InstanceId>, u32, FulcrumId) {
        let started = match (self.started, on_rejoin) {
            (Some(Wall(at)), OnRejoin::KeepNewest) => u64::MAX - at,
            (Some(Wall(at)), _) => at,
            (None, _) => u64::MAX,
        };
        (!self.runs && !self.done, started, self.instance.clone(), self.slot, self.on.clone())
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
    let old = kept.iter().enumerate().filter(|(_, unit)| !current(unit));
    old.min_by_key(|(_, unit)| (unit.ready, unit.slot, unit.on.clone())).map(|(index, _)| index)
}

fn name(id: &InstanceId) -> String {
    id.to_string()
}

fn list(ids: &[&FulcrumId]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
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
