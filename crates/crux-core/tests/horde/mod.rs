//! One horde with its deans, invented, for the tests of the proctor.
#![allow(dead_code, unused_imports, missing_docs)]

pub use crux_core::flock::view::ViewId;
pub use crux_core::hash::{Random, sha256};
pub use crux_core::resources::Resources;
pub use crux_core::services::instance::{Instance, InstanceId, Phase, ServiceRef};
pub use crux_core::services::plan::{Plan, PlanId};
pub use crux_core::services::proctor::{Home, Output, Proctor, Seen, Wanted};
pub use crux_core::services::verdict::Health;
pub use crux_names::{Boot, Duration, FulcrumId, Hash256, HordeName, Member, Time, Wall};
pub use std::collections::{BTreeMap, BTreeSet};

pub fn id(name: &str) -> FulcrumId {
    name.parse().unwrap()
}

pub fn of(service: &str) -> ServiceRef {
    ServiceRef { horde: HordeName::main(), service: service.parse().unwrap() }
}

pub fn revision(name: &str) -> Hash256 {
    sha256(name.as_bytes())
}

pub fn wanted(place: &str) -> Wanted {
    Wanted {
        revision: revision("r1"),
        place: place.into(),
        after: Vec::new(),
        on_split: String::new(),
        on_rejoin: String::new(),
        single: false,
        once: false,
        asks: BTreeMap::new(),
    }
}

pub struct Node {
    pub proctor: Proctor,
    pub member: Member,
    /// Which part of the network it is in.
    pub part: u32,
    pub alive: bool,
    /// Whether its dean answers.
    pub answers: bool,
    pub instances: BTreeMap<InstanceId, Instance>,
    pub counter: u64,
    pub plan: Option<Plan>,
    /// Whether its dean has something to do or to tell.
    pub busy: bool,
}

pub struct Field {
    pub now: Time,
    pub epoch: u64,
    pub nodes: BTreeMap<FulcrumId, Node>,
    pub views: BTreeMap<u32, (ViewId, Vec<Member>)>,
    pub homes: BTreeMap<FulcrumId, Home>,
    pub sets: BTreeMap<String, String>,
    pub quota: Option<Resources>,
    pub wanted: BTreeMap<ServiceRef, Wanted>,
    /// Instances that are not ready though they run.
    pub sick: BTreeMap<InstanceId, Health>,
    /// New instances become ready only when told to.
    pub slow: bool,
    /// Deans take their time: each act of theirs happens in some later round, a start and a stop take two of them.
    pub lazy: Option<Random>,
    pub made: BTreeMap<ViewId, PlanId>,
    pub plans: Vec<Plan>,
}

impl Field {
    pub fn new(names: &[&str]) -> Self {
        let mut field = Self {
            now: Time::from_millis(1000),
            epoch: 0,
            nodes: BTreeMap::new(),
            views: BTreeMap::new(),
            homes: BTreeMap::new(),
            sets: BTreeMap::new(),
            quota: None,
            wanted: BTreeMap::new(),
            sick: BTreeMap::new(),
            slow: false,
            lazy: None,
            made: BTreeMap::new(),
            plans: Vec::new(),
        };
        for name in names {
            let member = Member { id: id(name), boot: Boot(1) };
            let node = Node {
                proctor: Proctor::new(HordeName::main(), id(name), 1000),
                member,
                part: 0,
                alive: true,
                answers: true,
                instances: BTreeMap::new(),
                counter: 0,
                plan: None,
                busy: false,
            };
            field.nodes.insert(id(name), node);
            field.homes.insert(id(name), Home::default());
        }
        field.install();
        field
    }

    pub fn want(&mut self, service: &str, wanted: Wanted) {
        self.wanted.insert(of(service), wanted);
    }

    /// Installs a view in every part.
    pub fn install(&mut self) {
        self.epoch += 1;
        self.views.clear();
        let parts: BTreeSet<u32> = self.nodes.values().map(|node| node.part).collect();
        for part in parts {
            let there = self.nodes.values().filter(|node| node.alive && node.part == part);
            let roster: Vec<Member> = there.map(|node| node.member.clone()).collect();
            let Some(leader) = roster.first() else { continue };
            let view = ViewId { epoch: self.epoch, leader: leader.id.clone(), hash: [part as u8; 16] };
            self.views.insert(part, (view, roster));
        }
    }

    pub fn split(&mut self, others: &[&str]) {
        for name in others {
            self.nodes.get_mut(&id(name)).unwrap().part = 1;
        }
        self.install();
        self.settle();
    }

    pub fn heal(&mut self) {
        self.nodes.values_mut().for_each(|node| node.part = 0);
        self.install();
    }

    pub fn kill(&mut self, name: &str) {
        let node = self.nodes.get_mut(&id(name)).unwrap();
        node.alive = false;
        node.instances.clear();
        self.install();
    }

    pub fn verdicts(&self) -> BTreeMap<InstanceId, Health> {
        let mut verdicts = BTreeMap::new();
        for instance in self.nodes.values().flat_map(|node| node.instances.values()) {
            if instance.phase != Phase::Running && !self.sick.contains_key(&instance.id) {
                continue;
            }
            let health = self.sick.get(&instance.id).copied();
            verdicts.insert(instance.id.clone(), health.unwrap_or(Health::Ready));
        }
        verdicts
    }

    /// One round at every proctor; whether anything happened.
    pub fn round(&mut self) -> bool {
        let mut busy = self.deans();
        let verdicts = self.verdicts();
        for name in self.nodes.keys().cloned().collect::<Vec<_>>() {
            let node = &self.nodes[&name];
            let part = node.part;
            if !node.alive {
                continue;
            }
            let (view, roster) = self.views[&part].clone();
            let seen = Seen {
                view: &view,
                roster: &roster,
                homes: &self.homes,
                sets: &self.sets,
                quota: self.quota,
                wanted: &self.wanted,
                young: false,
                verdicts: &verdicts,
            };
            let now = self.now;
            let outputs = self.nodes.get_mut(&name).unwrap().proctor.step(now, &seen);
            for output in outputs {
                busy = true;
                match output {
                    Output::Ask(member) => self.tell(&member.id, &name),
                    Output::Plan(plan) => self.obey(&name, plan, &roster),
                }
            }
        }
        busy
    }

    /// A dean's report to a proctor.
    pub fn tell(&mut self, from: &FulcrumId, to: &FulcrumId) {
        let node = &self.nodes[from];
        if !node.answers {
            return;
        }
        let (member, instances) = (node.member.clone(), node.instances.values().cloned().collect());
        self.nodes.get_mut(to).unwrap().proctor.report(&member, instances);
    }

    pub fn obey(&mut self, by: &FulcrumId, plan: Plan, roster: &[Member]) {
        let last = self.made.insert(plan.id.view.clone(), plan.id.clone());
        assert!(last.is_none_or(|last| last < plan.id), "plans of one view rise");
        self.check(&plan);
        self.plans.push(plan.clone());
        for member in roster {
            let node = self.nodes.get_mut(&member.id).unwrap();
            if member.id != *by {
                node.proctor.heard(&plan);
            }
            if node.answers {
                node.plan = Some(plan.clone());
            }
        }
        for member in roster {
            self.nodes.get_mut(&member.id).unwrap().busy = true;
        }
        if self.lazy.is_none() {
            self.deans();
        }
    }

    /// Deans act and report; whether any did or has yet to.
    pub fn deans(&mut self) -> bool {
        let mut any = false;
        for name in self.nodes.keys().cloned().collect::<Vec<_>>() {
            let node = &self.nodes[&name];
            if !node.busy || !node.alive {
                continue;
            }
            any = true;
            if self.lazy.as_mut().is_some_and(|dice| dice.below(2) == 0) {
                continue;
            }
            self.nodes.get_mut(&name).unwrap().busy = false;
            self.work(&name);
            let node = &self.nodes[&name];
            let Some((view, roster)) = self.views.get(&node.part) else { continue };
            let to = node.plan.as_ref().filter(|plan| plan.id.view == *view).map(|plan| plan.by.clone());
            if let Some(to) = to.filter(|to| roster.iter().any(|member| member.id == *to)) {
                self.tell(&name, &to);
            }
        }
        any
    }

    /// What must hold of every plan.
    pub fn check(&self, plan: &Plan) {
        let mut named = BTreeSet::new();
        for entry in &plan.entries {
            assert!(entry.instance.as_ref().is_none_or(|id| named.insert(id.clone())), "{entry:?} is named twice");
            assert!(!entry.why.is_empty(), "{entry:?} has no reason");
            assert!(self.homes.contains_key(&entry.on));
        }
        assert!(plan.shortfalls.iter().all(|short| !short.why.is_empty()));
        for (service, should) in &plan.should {
            let single = self.wanted.get(service).is_some_and(|wanted| wanted.single);
            let new = plan.entries.iter().filter(|entry| entry.of == *service && entry.instance.is_none()).count();
            let named = plan.entries.iter().filter(|entry| entry.of == *service).count();
            assert!(new <= *should as usize || *should == 0, "{service}: {new} new of {should}");
            assert!(!single || new == 0 || named == 1, "{service}: single, and yet {named} with a new one");
        }
    }

    /// A dean does what its plan says.
    pub fn work(&mut self, on: &FulcrumId) {
        let node = self.nodes.get_mut(on).unwrap();
        let Some(plan) = node.plan.clone().filter(|_| node.answers) else { return };
        let named: BTreeSet<_> = plan.entries.iter().filter_map(|entry| entry.instance.clone()).collect();
        let mut stay = named.clone();
        for entry in plan.entries.iter().filter(|entry| entry.on == *on) {
            if let Some(instance) = entry.instance.as_ref().and_then(|id| node.instances.get_mut(id)) {
                node.busy |= instance.slot != entry.slot;
                instance.slot = entry.slot;
            }
        }
        let known: BTreeSet<_> = node.instances.keys().cloned().collect();
        for entry in plan.entries.iter().filter(|entry| entry.on == *on && entry.instance.is_none()) {
            let fits = node.instances.values().find(|has| {
                let runs = !matches!(has.phase, Phase::Stopping | Phase::Gone);
                runs && !stay.contains(&has.id)
                    && (&has.of, has.slot, has.revision) == (&entry.of, entry.slot, entry.revision)
            });
            if let Some(fits) = fits {
                stay.insert(fits.id.clone());
                continue;
            }
            node.counter += 1;
            let id = InstanceId { fulcrum: on.clone(), boot: node.member.boot, counter: node.counter };
            let instance = Instance {
                id: id.clone(),
                of: entry.of.clone(),
                slot: entry.slot,
                revision: entry.revision,
                phase: Phase::Pending,
                pid: None,
                started: None,
                ports: BTreeMap::new(),
                restarts: 0,
                why: String::new(),
                hook: String::new(),
            };
            stay.insert(id.clone());
            if self.slow {
                self.sick.insert(id.clone(), Health::Unknown);
            }
            node.instances.insert(id, instance);
        }
        let lazy = self.lazy.is_some();
        let mut counter = 0;
        node.instances.retain(|id, instance| {
            let before = instance.phase;
            instance.phase = match (before, stay.contains(id)) {
                (Phase::Stopping, _) => Phase::Gone,
                (Phase::Gone, stays) if stays => Phase::Gone,
                (_, false) if lazy => Phase::Stopping,
                (_, false) => Phase::Gone,
                (Phase::Pending, true) if instance.restarts == 0 && (!lazy || known.contains(id)) => Phase::Running,
                (phase, true) => phase,
            };
            if instance.phase == Phase::Running && instance.started.is_none() {
                counter += 1;
                instance.started = Some(Wall(self.now.as_nanos() / 1000 + counter));
            }
            node.busy |= matches!(instance.phase, Phase::Stopping) || (instance.phase != before && lazy);
            node.busy |= lazy && instance.phase == Phase::Pending && instance.restarts == 0;
            instance.phase != Phase::Gone || stay.contains(id)
        });
    }

    /// Until nothing happens any more at this moment.
    pub fn settle(&mut self) {
        for _ in 0..2000 {
            if !self.round() {
                return;
            }
        }
        panic!("it does not come to rest: {:#?}", self.plans.last());
    }

    pub fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            let alive = self.nodes.values().filter(|node| node.alive);
            let next = alive.map(|node| node.proctor.deadline()).min().unwrap_or(Time::NEVER);
            if next > end {
                break;
            }
            assert!(next >= self.now, "a deadline in the past");
            self.now = next;
            self.settle();
            if self.nodes.values().any(|node| node.alive && node.proctor.deadline() == next) {
                panic!("a deadline that does not move");
            }
        }
        self.now = end;
        self.settle();
    }

    pub fn runs(&self, service: &str) -> Vec<String> {
        let all = self.nodes.iter().flat_map(|(name, node)| node.instances.values().map(move |one| (name, one)));
        all.filter(|(_, one)| one.of == of(service)).map(|(name, _)| name.to_string()).collect()
    }

    pub fn ids(&self, service: &str) -> BTreeSet<InstanceId> {
        let all = self.nodes.values().flat_map(|node| node.instances.values());
        all.filter(|one| one.of == of(service)).map(|one| one.id.clone()).collect()
    }

    pub fn plan(&self, part: u32) -> &Plan {
        let view = &self.views[&part].0;
        self.plans.iter().rev().find(|plan| plan.id.view == *view).expect("a plan in this view")
    }

    pub fn why(&self, part: u32, service: &str) -> String {
        let short = self.plan(part).shortfalls.iter().filter(|short| short.of == of(service));
        short.map(|short| format!("{}: {}", short.missing, short.why)).collect::<Vec<_>>().join("\n")
    }

    pub fn should(&self, part: u32, service: &str) -> u32 {
        self.plan(part).should.iter().find(|(has, _)| *has == of(service)).unwrap().1
    }
}

pub const FIVE: [&str; 5] = ["n1", "n2", "n3", "n4", "n5"];

pub fn running(place: &str) -> Field {
    let mut field = Field::new(&FIVE);
    field.want("api", wanted(place));
    field.settle();
    field
}
