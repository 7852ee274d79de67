//! Proctors at every fulcrum of a small horde, with deans that do what plans say. Time is invented; nothing sleeps.

use crux_core::flock::view::ViewId;
use crux_core::hash::{Random, sha256};
use crux_core::services::instance::{Instance, InstanceId, Phase, ServiceRef};
use crux_core::services::plan::{Plan, PlanId};
use crux_core::services::proctor::{Home, Output, Proctor, Seen, Wanted};
use crux_core::services::verdict::Health;
use crux_names::{Boot, Duration, FulcrumId, Hash256, HordeName, Member, Time, Wall};
use std::collections::{BTreeMap, BTreeSet};

fn id(name: &str) -> FulcrumId {
    name.parse().unwrap()
}

fn of(service: &str) -> ServiceRef {
    ServiceRef { horde: HordeName::main(), service: service.parse().unwrap() }
}

fn revision(name: &str) -> Hash256 {
    sha256(name.as_bytes())
}

fn wanted(place: &str) -> Wanted {
    Wanted {
        revision: revision("r1"),
        place: place.into(),
        after: Vec::new(),
        on_split: String::new(),
        on_rejoin: String::new(),
        single: false,
        once: false,
    }
}

struct Node {
    proctor: Proctor,
    member: Member,
    /// Which part of the network it is in.
    part: u32,
    alive: bool,
    /// Whether its dean answers.
    answers: bool,
    instances: BTreeMap<InstanceId, Instance>,
    counter: u64,
    plan: Option<Plan>,
    /// Whether its dean has something to do or to tell.
    busy: bool,
}

struct Field {
    now: Time,
    epoch: u64,
    nodes: BTreeMap<FulcrumId, Node>,
    views: BTreeMap<u32, (ViewId, Vec<Member>)>,
    homes: BTreeMap<FulcrumId, Home>,
    sets: BTreeMap<String, String>,
    wanted: BTreeMap<ServiceRef, Wanted>,
    /// Instances that are not ready though they run.
    sick: BTreeMap<InstanceId, Health>,
    /// New instances become ready only when told to.
    slow: bool,
    /// Deans take their time: each act of theirs happens in some later round, a start and a stop take two of them.
    lazy: Option<Random>,
    made: BTreeMap<ViewId, PlanId>,
    plans: Vec<Plan>,
}

impl Field {
    fn new(names: &[&str]) -> Self {
        let mut field = Self {
            now: Time::from_millis(1000),
            epoch: 0,
            nodes: BTreeMap::new(),
            views: BTreeMap::new(),
            homes: BTreeMap::new(),
            sets: BTreeMap::new(),
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

    fn want(&mut self, service: &str, wanted: Wanted) {
        self.wanted.insert(of(service), wanted);
    }

    /// Installs a view in every part.
    fn install(&mut self) {
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

    fn split(&mut self, others: &[&str]) {
        for name in others {
            self.nodes.get_mut(&id(name)).unwrap().part = 1;
        }
        self.install();
        self.settle();
    }

    fn heal(&mut self) {
        self.nodes.values_mut().for_each(|node| node.part = 0);
        self.install();
    }

    fn kill(&mut self, name: &str) {
        let node = self.nodes.get_mut(&id(name)).unwrap();
        node.alive = false;
        node.instances.clear();
        self.install();
    }

    fn verdicts(&self) -> BTreeMap<InstanceId, Health> {
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
    fn round(&mut self) -> bool {
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
    fn tell(&mut self, from: &FulcrumId, to: &FulcrumId) {
        let node = &self.nodes[from];
        if !node.answers {
            return;
        }
        let (member, instances) = (node.member.clone(), node.instances.values().cloned().collect());
        self.nodes.get_mut(to).unwrap().proctor.report(&member, instances);
    }

    fn obey(&mut self, by: &FulcrumId, plan: Plan, roster: &[Member]) {
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
    fn deans(&mut self) -> bool {
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
    fn check(&self, plan: &Plan) {
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
    fn work(&mut self, on: &FulcrumId) {
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
    fn settle(&mut self) {
        for _ in 0..2000 {
            if !self.round() {
                return;
            }
        }
        panic!("it does not come to rest: {:#?}", self.plans.last());
    }

    fn pass(&mut self, duration: Duration) {
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

    fn runs(&self, service: &str) -> Vec<String> {
        let all = self.nodes.iter().flat_map(|(name, node)| node.instances.values().map(move |one| (name, one)));
        all.filter(|(_, one)| one.of == of(service)).map(|(name, _)| name.to_string()).collect()
    }

    fn ids(&self, service: &str) -> BTreeSet<InstanceId> {
        let all = self.nodes.values().flat_map(|node| node.instances.values());
        all.filter(|one| one.of == of(service)).map(|one| one.id.clone()).collect()
    }

    fn plan(&self, part: u32) -> &Plan {
        let view = &self.views[&part].0;
        self.plans.iter().rev().find(|plan| plan.id.view == *view).expect("a plan in this view")
    }

    fn why(&self, part: u32, service: &str) -> String {
        let short = self.plan(part).shortfalls.iter().filter(|short| short.of == of(service));
        short.map(|short| format!("{}: {}", short.missing, short.why)).collect::<Vec<_>>().join("\n")
    }

    fn should(&self, part: u32, service: &str) -> u32 {
        self.plan(part).should.iter().find(|(has, _)| *has == of(service)).unwrap().1
    }
}

const FIVE: [&str; 5] = ["n1", "n2", "n3", "n4", "n5"];

fn running(place: &str) -> Field {
    let mut field = Field::new(&FIVE);
    field.want("api", wanted(place));
    field.settle();
    field
}

#[test]
fn a_count_is_brought_up_and_a_change_of_proctor_moves_nothing() {
    let mut field = running("pick(api, 3, ALL)");
    assert_eq!(field.runs("api").len(), 3);
    let slots: BTreeSet<u32> = field.plan(0).entries.iter().map(|entry| entry.slot).collect();
    assert_eq!(slots, BTreeSet::from([1, 2, 3]));
    let before = field.ids("api");
    let first = field.nodes.get_mut(&id("n1")).unwrap();
    first.member.boot = Boot(2);
    field.install();
    let (_, roster) = field.views.get_mut(&0).unwrap();
    roster.rotate_left(1);
    field.settle();
    assert_eq!(field.plan(0).by, id("n2"));
    assert_eq!(field.ids("api"), before);
    assert!(field.plan(0).entries.iter().all(|entry| entry.instance.is_some()));
}

#[test]
fn a_single_death_is_replaced_at_once() {
    let mut field = running("pick(api, 3, ALL)");
    let victim = field.runs("api")[0].clone();
    let before = field.ids("api");
    field.kill(&victim);
    field.settle();
    assert_eq!(field.runs("api").len(), 3);
    assert_eq!(field.ids("api").intersection(&before).count(), 2, "the others stay");
}

#[test]
fn a_split_holds_then_each_side_brings_its_count_up_and_surplus_goes_one_by_one() {
    let mut field = running("pick(api, 5, ALL)");
    let old = field.ids("api");
    field.split(&["n3", "n4", "n5"]);
    assert_eq!(field.runs("api").len(), 5, "held");
    assert!(field.why(0, "api").starts_with("3: held: n3, n4, n5 have been lost together"), "{}", field.why(0, "api"));
    assert!(field.why(1, "api").starts_with("2: held: n1, n2"), "{}", field.why(1, "api"));
    field.pass(Duration::from_millis(14_900));
    assert_eq!(field.runs("api").len(), 5);
    field.pass(Duration::from_millis(200));
    assert_eq!(field.runs("api").len(), 10, "each side has its five");
    assert_eq!(field.why(0, "api"), "");
    field.heal();
    let mut counts = Vec::new();
    for _ in 0..100 {
        let busy = field.round();
        counts.push(field.runs("api").len());
        if !busy {
            break;
        }
    }
    field.settle();
    assert!(counts.windows(2).all(|pair| pair[0] - pair[1] <= 1), "one by one: {counts:?}");
    assert_eq!(field.ids("api"), old, "the oldest stay");
}

#[test]
fn a_hold_ends_early_when_everyone_is_back() {
    let mut field = running("pick(api, 5, ALL)");
    let old = field.ids("api");
    field.split(&["n4", "n5"]);
    field.pass(Duration::from_secs(5));
    assert_eq!(field.ids("api"), old, "nothing is doubled");
    field.heal();
    field.settle();
    assert_eq!(field.ids("api"), old);
    assert!(field.nodes.values().all(|node| node.proctor.held_until().is_none()));
    field.pass(Duration::from_secs(60));
    assert_eq!(field.ids("api"), old);
}

#[test]
fn a_death_during_a_hold_of_others_waits_with_them() {
    let mut field = running("pick(api, 5, ALL)");
    field.split(&["n4", "n5"]);
    field.pass(Duration::from_secs(5));
    field.kill("n3");
    field.settle();
    assert_eq!(field.runs("api").len(), 4);
    field.pass(Duration::from_secs(11));
    assert_eq!(field.runs("api").iter().filter(|on| ["n1", "n2"].contains(&on.as_str())).count(), 5);
}

#[test]
fn majority_runs_only_in_the_larger_part() {
    let mut field = Field::new(&FIVE);
    field.want("api", Wanted { on_split: "majority".into(), ..wanted("pick(api, 2, ALL)") });
    field.settle();
    field.split(&["n1", "n2"]);
    assert_eq!(field.runs("api").len(), 2, "nothing changes during the hold");
    field.pass(Duration::from_secs(16));
    let there = |name: &String| ["n1", "n2"].contains(&name.as_str());
    assert_eq!(field.runs("api").len(), 2);
    assert!(!field.runs("api").iter().any(there));
    assert_eq!((field.should(0, "api"), field.should(1, "api")), (2, 0));
    assert_eq!(field.why(1, "api"), "2: on_split = majority: 2 of 5 home members are here");
    field.heal();
    field.settle();
    assert_eq!(field.runs("api").len(), 2);
}

#[test]
fn a_tie_goes_to_the_part_with_the_first_by_name() {
    let mut field = Field::new(&["n1", "n2", "n3", "n4"]);
    field.want("api", Wanted { on_split: "majority".into(), ..wanted("pick(api, 1, ALL)") });
    field.settle();
    field.split(&["n1", "n4"]);
    field.pass(Duration::from_secs(16));
    assert_eq!((field.should(0, "api"), field.should(1, "api")), (0, 1));
    assert_eq!(field.runs("api").len(), 1);
}

#[test]
fn home_and_stop_follow_their_words() {
    let mut field = Field::new(&FIVE);
    field.homes.get_mut(&id("n5")).unwrap().labels.insert("safe".into(), "yes".into());
    for (service, policy) in [("a", "home:n1"), ("b", "home:safe"), ("c", "home:safe=no"), ("d", "stop")] {
        field.want(service, Wanted { on_split: policy.into(), ..wanted(&format!("pick({service}, 1, ALL)")) });
    }
    field.settle();
    assert_eq!(field.should(0, "c"), 0);
    assert!(field.why(0, "c").contains("no home member"), "{}", field.why(0, "c"));
    assert_eq!(field.runs("d").len(), 1);
    field.split(&["n4", "n5"]);
    field.pass(Duration::from_secs(16));
    let should = |part| ["a", "b", "c", "d"].map(|service| field.should(part, service));
    assert_eq!((should(0), should(1)), ([1, 0, 0, 0], [0, 1, 0, 0]));
    for (service, count) in [("a", 1), ("b", 1), ("c", 0), ("d", 0)] {
        assert_eq!(field.runs(service).len(), count, "{service}");
    }
    field.heal();
    field.settle();
    assert_eq!(field.runs("d").len(), 1);
}

#[test]
fn single_without_a_policy_is_refused_and_never_doubled_with_one() {
    let mut field = Field::new(&FIVE);
    field.want("lock", Wanted { single: true, ..wanted("pick(lock, 1, ALL)") });
    field.settle();
    assert_eq!(field.runs("lock").len(), 0);
    assert!(field.why(0, "lock").contains("crux does not guess"), "{}", field.why(0, "lock"));
    field.want("lock", Wanted { single: true, on_split: "majority".into(), ..wanted("pick(lock, 1, ALL)") });
    field.settle();
    assert_eq!(field.runs("lock").len(), 1);
    // Moved and updated: the old one is gone before the new one comes; Field::check looks at every plan.
    let elsewhere = if field.runs("lock") == ["n2"] { "n3" } else { "n2" };
    let place = format!("pick(lock, 1, NODE({elsewhere}))");
    field.want("lock", Wanted { single: true, on_split: "majority".into(), ..wanted(&place) });
    field.settle();
    assert_eq!(field.runs("lock"), [elsewhere]);
    let before = field.ids("lock");
    let update = Wanted { single: true, on_split: "majority".into(), revision: revision("r2"), ..wanted(&place) };
    field.want("lock", update);
    field.settle();
    assert_eq!(field.runs("lock"), [elsewhere]);
    assert!(field.ids("lock").is_disjoint(&before));
}

#[test]
fn a_silent_dean_delays_the_first_plan_and_is_left_alone() {
    let mut field = running("pick(api, 5, ALL)");
    let before = field.ids("api");
    field.nodes.get_mut(&id("n4")).unwrap().answers = false;
    field.kill("n1");
    let plans = field.plans.len();
    field.settle();
    assert_eq!(field.plans.len(), plans, "it waits for n4");
    field.pass(Duration::from_secs(1));
    assert_eq!(field.plan(0).by, id("n2"));
    let survivors = before.iter().filter(|id| id.fulcrum.node.as_str() != "n1").count();
    assert_eq!(field.ids("api").intersection(&before).count(), survivors, "nothing moved");
    let at_n4 = field.plan(0).entries.iter().filter(|entry| entry.on == id("n4"));
    assert!(at_n4.clone().count() == 1 && at_n4.clone().all(|entry| entry.instance.is_some()), "n4's stays counted");
    assert_eq!(field.runs("api").len(), 5);
    field.nodes.get_mut(&id("n4")).unwrap().answers = true;
    field.pass(Duration::from_secs(2));
    assert_eq!(field.runs("api").len(), 5);
    assert!(field.ids("api").intersection(&before).count() >= survivors);
}

#[test]
fn a_new_revision_rolls_one_at_a_time_when_the_one_before_is_ready() {
    let mut field = running("pick(api, 3, ALL)");
    field.slow = true;
    field.want("api", Wanted { revision: revision("r2"), ..wanted("pick(api, 3, ALL)") });
    for done in 1..=3 {
        field.settle();
        let on = |name| {
            let all = field.nodes.values().flat_map(|node| node.instances.values());
            all.filter(|one| one.revision == revision(name)).count()
        };
        assert_eq!((on("r1"), on("r2")), (3 - done, done));
        field.sick.clear();
    }
    field.settle();
    let slots: BTreeSet<u32> =
        field.nodes.values().flat_map(|node| node.instances.values()).map(|one| one.slot).collect();
    assert_eq!(slots, BTreeSet::from([1, 2, 3]), "each keeps its slot");
}

#[test]
fn slow_deans_do_not_make_a_plan_waver() {
    for seed in 0..50 {
        let mut field = running("pick(api, 3, ALL)");
        field.lazy = Some(Random::new(seed));
        field.want("api", Wanted { revision: revision("r2"), ..wanted("pick(api, 3, ALL)") });
        field.settle();
        let all = || field.nodes.values().flat_map(|node| node.instances.values());
        assert!(all().all(|one| one.revision == revision("r2")));
        assert_eq!(all().map(|one| one.slot).collect::<BTreeSet<_>>(), BTreeSet::from([1, 2, 3]), "seed {seed}");
        let started: u64 = field.nodes.values().map(|node| node.counter).sum();
        assert_eq!(started, 6, "seed {seed}: every instance was replaced once");
    }
}

#[test]
fn the_dead_are_replaced_and_those_that_start_again_keep_their_place() {
    let mut field = running("pick(api, 3, ALL)");
    let before = field.ids("api");
    let ids: Vec<_> = before.iter().cloned().collect();
    field.sick.insert(ids[0].clone(), Health::Dead);
    let crashing = &ids[1];
    let node = field.nodes.get_mut(&crashing.fulcrum).unwrap();
    let instance = node.instances.get_mut(crashing).unwrap();
    instance.phase = Phase::Pending;
    instance.restarts = 2;
    instance.started = None;
    field.sick.insert(crashing.clone(), Health::Dead);
    field.tell(&crashing.fulcrum.clone(), &id("n1"));
    field.settle();
    let after = field.ids("api");
    assert_eq!(after.len(), 3);
    assert!(!after.contains(&ids[0]) && after.contains(crashing) && after.contains(&ids[2]));
    let replaced = field.plans.iter().flat_map(|plan| &plan.entries);
    assert!(replaced.clone().any(|entry| entry.why.contains("which is dead")));
}

#[test]
fn a_job_that_ended_is_not_run_again() {
    let mut field = Field::new(&FIVE);
    field.want("job", Wanted { once: true, ..wanted("pick(job, 1, ALL)") });
    field.settle();
    let before = field.ids("job");
    let only = before.first().unwrap().clone();
    let node = field.nodes.get_mut(&only.fulcrum).unwrap();
    node.instances.get_mut(&only).unwrap().phase = Phase::Gone;
    field.sick.insert(only.clone(), Health::Unknown);
    field.tell(&only.fulcrum.clone(), &id("n1"));
    field.settle();
    assert_eq!(field.ids("job"), before, "its verdict is on its way");
    field.sick.insert(only.clone(), Health::Done);
    field.settle();
    assert_eq!(field.ids("job"), before);
    field.sick.insert(only, Health::Dead);
    field.settle();
    assert_eq!(field.ids("job"), before);
    assert!(field.why(0, "job").starts_with("1: ended badly"), "{}", field.why(0, "job"));
    field.want("job", Wanted { once: true, revision: revision("r2"), ..wanted("pick(job, 1, ALL)") });
    field.settle();
    assert_eq!(field.ids("job").intersection(&before).count(), 0, "a new revision runs");
}

#[test]
fn starts_wait_for_their_conditions_and_stops_do_not() {
    let mut field = Field::new(&FIVE);
    field.slow = true;
    field.want("db", wanted("pick(db, 2, ALL)"));
    field.want("api", Wanted { after: vec!["2 of db".into()], ..wanted("pick(api, 1, ALL)") });
    field.settle();
    assert_eq!((field.runs("db").len(), field.runs("api").len()), (2, 0));
    assert_eq!(field.why(0, "api"), "1: waits for 2 of db.ready: none are");
    field.sick.clear();
    field.settle();
    assert_eq!(field.runs("api").len(), 1);
    field.wanted.remove(&of("db"));
    field.settle();
    assert_eq!((field.runs("db").len(), field.runs("api").len()), (0, 1));
}

#[test]
fn fewer_and_elsewhere_go_only_while_enough_are_ready() {
    let mut field = running("pick(api, 4, ALL)");
    field.want("api", wanted("pick(api, 2, ALL)"));
    field.settle();
    assert_eq!(field.runs("api").len(), 2);
    field.slow = true;
    let there = field.runs("api");
    let free: Vec<&str> = FIVE.into_iter().filter(|name| !there.contains(&name.to_string())).collect();
    field.want("api", wanted(&format!("pick(api, 2, NODE({}) | NODE({}))", free[0], free[1])));
    field.settle();
    assert_eq!(field.runs("api").len(), 4, "the old ones stay until the new are ready");
    assert!(field.plan(0).entries.iter().any(|entry| entry.why.ends_with("2 must stay ready and 2 are")));
    field.sick.clear();
    field.settle();
    assert_eq!(field.runs("api"), free[..2]);
}

#[test]
fn what_makes_no_sense_moves_nothing_and_hurts_nobody_else() {
    let mut field = running("pick(api, 3, ALL)");
    field.want("web", wanted("pick(web, 1, ALL)"));
    field.settle();
    let before = field.ids("api");
    field.sets.insert("x".into(), "y".into());
    field.sets.insert("y".into(), "x".into());
    for (place, reason) in [
        ("pick(api, 3", "place: line 1, column 12: expected"),
        ("pick(api, 3, bg)", "the horde has no set \"bg\""),
        ("pick(api, 3, x)", "sets need each other"),
        ("pick(web, 3, ALL)", "it picks web"),
        ("ALL", "no pick(api"),
    ] {
        field.want("api", wanted(place));
        field.settle();
        assert!(field.why(0, "api").contains(reason), "{place}: {}", field.why(0, "api"));
        assert_eq!(field.ids("api"), before, "{place}");
        assert_eq!(field.runs("web").len(), 1);
    }
    field.want("api", Wanted { on_split: "perhaps".into(), ..wanted("pick(api, 3, ALL)") });
    field.settle();
    assert!(field.why(0, "api").contains("each-side, majority"), "{}", field.why(0, "api"));
}

#[test]
fn a_fulcrum_that_begins_alone_starts_only_its_share() {
    let mut field = Field::new(&FIVE);
    field.want("api", wanted("pick(api, 5, ALL)"));
    for (part, name) in FIVE.iter().enumerate() {
        field.nodes.get_mut(&id(name)).unwrap().part = part as u32;
    }
    field.install();
    field.settle();
    assert_eq!(field.runs("api"), FIVE);
    field.heal();
    field.settle();
    assert_eq!(field.runs("api"), FIVE, "nothing had to move");
}

/// A review's find: the hold asked for two that are missing, so in a bloc of two the one that began again started its
/// partner's share as well.
#[test]
fn a_fulcrum_that_begins_alone_holds_for_a_single_one_too_and_then_runs_everything() {
    let mut field = Field::new(&["n1", "n2"]);
    field.want("api", wanted("pick(api, 2, ALL)"));
    field.nodes.get_mut(&id("n2")).unwrap().alive = false;
    field.install();
    field.settle();
    field.pass(Duration::from_millis(14_900));
    assert_eq!(field.runs("api"), ["n1"], "its share");
    assert!(field.why(0, "api").starts_with("1: held: n2 has become known just now"), "{}", field.why(0, "api"));
    field.pass(Duration::from_millis(200));
    assert_eq!(field.runs("api"), ["n1", "n1"], "a lone one manages what it has");
}

/// A review's find: a blank newcomer heard of the others after its first look, so it held for nobody.
#[test]
fn a_home_member_that_becomes_known_later_is_held_for_as_well() {
    let mut field = Field::new(&["n1", "n2", "n3"]);
    let homes = std::mem::take(&mut field.homes);
    for name in ["n2", "n3"] {
        field.nodes.get_mut(&id(name)).unwrap().alive = false;
    }
    field.homes.insert(id("n1"), Home::default());
    field.install();
    field.pass(Duration::from_secs(5));
    field.homes = homes;
    field.want("api", wanted("pick(api, 3, ALL)"));
    field.settle();
    assert_eq!(field.runs("api"), ["n1"]);
    field.pass(Duration::from_secs(16));
    assert_eq!(field.runs("api").len(), 3);
}

#[test]
fn after_any_faults_running_is_what_should_be() {
    for seed in 0..600 {
        let mut dice = Random::new(seed);
        let mut field = Field::new(&FIVE);
        field.lazy = (seed % 2 == 0).then(|| Random::new(seed));
        field.homes.get_mut(&id("n2")).unwrap().labels.insert("zone".into(), "a".into());
        field.homes.get_mut(&id("n4")).unwrap().labels.insert("zone".into(), "a".into());
        field.want("api", wanted(&format!("pick(api, {}, ALL, by zone)", dice.below(7))));
        field.want("db", Wanted { on_split: "majority".into(), ..wanted("pick(db, 2, ALL)") });
        field.want("lock", Wanted { on_split: "majority".into(), single: true, ..wanted("pick(lock, 1, ALL)") });
        field.want("zoned", wanted("pick(zoned, 2, LABEL(zone=a))"));
        field.settle();
        for _ in 0..dice.below(8) {
            let name = id(FIVE[dice.below(5) as usize]);
            match dice.below(6) {
                0 | 1 => {
                    let node = field.nodes.get_mut(&name).unwrap();
                    node.part = dice.below(2) as u32;
                    field.install();
                }
                2 => field.heal(),
                3 => {
                    let node = field.nodes.get_mut(&name).unwrap();
                    node.instances.clear();
                    node.member.boot = Boot(node.member.boot.0 + 1);
                    node.plan = None;
                    node.proctor = Proctor::new(HordeName::main(), name, 1000);
                    field.install();
                }
                4 => {
                    let count = dice.below(7);
                    field.want("api", wanted(&format!("pick(api, {count}, ALL, by zone)")));
                }
                _ => {
                    let next = revision(["r1", "r2"][dice.below(2) as usize]);
                    field.wanted.values_mut().for_each(|wanted| wanted.revision = next);
                }
            }
            if dice.below(2) == 0 {
                field.settle();
            }
            field.pass(Duration::from_millis(dice.below(20_000)));
        }
        field.pass(Duration::from_secs(40));
        for part in field.views.keys() {
            for (service, should) in &field.plan(*part).should {
                let there = field.nodes.values().filter(|node| node.part == *part);
                let all = there.flat_map(|node| node.instances.values()).filter(|one| one.of == *service);
                let (count, missing) = (all.clone().count(), field.plan(*part).shortfalls.iter());
                let missing: u32 = missing.filter(|short| short.of == *service).map(|short| short.missing).sum();
                let expected = if *should == 0 { 0 } else { should - missing };
                assert_eq!(count as u32, expected, "seed {seed}, part {part}: {service}\n{:#?}", field.plan(*part));
                assert!(all.clone().all(|one| one.revision == field.wanted[service].revision), "seed {seed}: updated");
                let surplus = field.plan(*part).entries.iter().filter(|entry| entry.why.starts_with("surplus"));
                assert_eq!(surplus.count(), 0, "seed {seed}");
            }
        }
        for part in field.views.keys() {
            let mut slots: BTreeMap<ServiceRef, Vec<u32>> = BTreeMap::new();
            for one in field.nodes.values().filter(|node| node.part == *part).flat_map(|node| node.instances.values()) {
                slots.entry(one.of.clone()).or_default().push(one.slot);
            }
            for (service, mut slots) in slots {
                slots.sort_unstable();
                let all: Vec<u32> = (1..=slots.len() as u32).collect();
                assert_eq!(slots, all, "seed {seed}, part {part}: {service} has each slot once");
            }
        }
        assert!(field.runs("lock").len() <= 1, "seed {seed}: single");
    }
}

/// The simulator's seed 119: n1 had left the horde while an instance of it was stopping there, and the seat moved away
/// and back; the old word of n1, which nobody renews, held up the removal of surplus for ever.
#[test]
fn the_word_of_who_left_the_horde_does_not_outlive_the_office_in_which_it_was_said() {
    let (n1, n3) = (Member { id: id("n1"), boot: Boot(1) }, Member { id: id("n3"), boot: Boot(1) });
    let roster = [n3.clone(), n1.clone()];
    let view = ViewId { epoch: 1, leader: id("n3"), hash: [0; 16] };
    let ready = ["n3:1:1", "n3:1:2", "n3:1:7", "n3:1:8", "n1:1:9"].map(|id| (id.parse().unwrap(), Health::Ready));
    let (sets, verdicts) = (BTreeMap::new(), BTreeMap::<InstanceId, Health>::from(ready));
    let wants = BTreeMap::from([(of("api"), wanted("pick(api, 1, ALL)"))]);
    let homes = |names: &[&str]| -> BTreeMap<FulcrumId, Home> {
        names.iter().map(|name| (id(name), Home::default())).collect()
    };
    let instance = |on: &Member, counter: u64, phase: Phase| Instance {
        id: InstanceId { fulcrum: on.id.clone(), boot: on.boot, counter },
        of: of("api"),
        slot: u32::try_from(counter).unwrap(),
        revision: revision("r1"),
        phase,
        pid: Some(1),
        started: Some(Wall(counter)),
        ports: BTreeMap::new(),
        restarts: 0,
        why: String::new(),
    };
    let mut proctor = Proctor::new(HordeName::main(), id("n3"), 1000);
    let now = Time::from_millis(1000);
    let mut step = |homes: &BTreeMap<FulcrumId, Home>, reports: Vec<(&Member, Vec<Instance>)>| -> Option<Plan> {
        for (from, instances) in reports {
            proctor.report(from, instances);
        }
        let (sets, wanted, young) = (&sets, &wants, false);
        let seen = Seen { view: &view, roster: &roster, homes, sets, wanted, young, verdicts: &verdicts };
        proctor.step(now, &seen).into_iter().rev().find_map(|output| match output {
            Output::Plan(plan) => Some(plan),
            Output::Ask(_) => None,
        })
    };
    let runs = || vec![instance(&n3, 1, Phase::Running), instance(&n3, 2, Phase::Running)];
    assert!(step(&homes(&["n3"]), Vec::new()).is_none(), "it asks first");
    // One who is no member can say what it likes.
    let forged =
        vec![instance(&n1, 4, Phase::Stopping), instance(&n1, 5, Phase::Running), instance(&n3, 6, Phase::Running)];
    let plan = step(&homes(&["n3"]), vec![(&n3, runs()), (&n1, forged)]).unwrap();
    assert_eq!(plan.entries.len(), 1, "{plan:?}");
    // In office, n1 was a member and is still stopping one as it leaves: nothing more is taken away meanwhile.
    let one = |phase: Phase| vec![instance(&n1, 9, phase)];
    let more = || vec![instance(&n3, 7, Phase::Running), instance(&n3, 8, Phase::Running)];
    let plan = step(&homes(&["n1", "n3"]), vec![(&n3, more()), (&n1, one(Phase::Running))]).unwrap();
    assert!(plan.entries.iter().all(|entry| entry.on == n3.id), "the youngest goes first: {plan:?}");
    assert_eq!(plan.entries.len(), 2, "{plan:?}");
    let plan = step(&homes(&["n3"]), vec![(&n3, more()), (&n1, one(Phase::Stopping))]).unwrap();
    assert_eq!(plan.entries.len(), 2, "{plan:?}");
    let runs = more;
    // The seat moves away and back. n1 has nothing left of the horde and says nothing of it any more.
    step(&homes(&["n1"]), Vec::new());
    assert!(step(&homes(&["n3"]), Vec::new()).is_none(), "it asks again");
    let plan = step(&homes(&["n3"]), vec![(&n3, runs())]).expect("the surplus goes");
    assert_eq!(plan.entries.len(), 1, "{plan:?}");
}

/// The simulator's seed 499: the seat moved within a view, and the new holder began to count anew; a dean that obeyed the
/// eighth plan of the one before refused its first for as long as the view lasted.
#[test]
fn a_new_holder_of_the_seat_goes_on_counting_where_deans_are() {
    let n1 = Member { id: id("n1"), boot: Boot(1) };
    let view = ViewId { epoch: 1, leader: id("n1"), hash: [0; 16] };
    let (sets, verdicts) = (BTreeMap::new(), BTreeMap::new());
    let wants = BTreeMap::from([(of("api"), wanted("pick(api, 1, ALL)"))]);
    let homes = BTreeMap::from([(id("n1"), Home::default())]);
    let mut proctor = Proctor::new(HordeName::main(), id("n1"), 1000);
    let roster = [n1.clone()];
    let step = |proctor: &mut Proctor| {
        let (homes, sets, wanted, young) = (&homes, &sets, &wants, false);
        let seen = Seen { view: &view, roster: &roster, homes, sets, wanted, young, verdicts: &verdicts };
        proctor.step(Time::from_millis(1000), &seen).into_iter().find_map(|output| match output {
            Output::Plan(plan) => Some(plan.id.generation),
            Output::Ask(_) => None,
        })
    };
    step(&mut proctor);
    proctor.report(&n1, Vec::new());
    assert_eq!(step(&mut proctor), Some(1));
    proctor.outbid(&PlanId { view: view.clone(), generation: 8 });
    assert_eq!(step(&mut proctor), Some(9));
    proctor.outbid(&PlanId { view: view.clone(), generation: 9 });
    assert_eq!(step(&mut proctor), None, "they obey it");
}

/// The operators' trial: after joins and merges two were `main/server.1` for good, and a count of two made a third slot.
#[test]
fn slots_are_one_to_the_count_and_the_oldest_keep_theirs() {
    let mut field = running("pick(api, 3, ALL)");
    let before = field.ids("api");
    for (name, node) in &mut field.nodes {
        node.instances.values_mut().for_each(|instance| instance.slot = 1);
        node.proctor = Proctor::new(HordeName::main(), name.clone(), 1000);
    }
    field.install();
    field.settle();
    assert_eq!(field.ids("api"), before, "nothing is started again for a number");
    let all = field.nodes.values().flat_map(|node| node.instances.values());
    let mut numbered: Vec<(Option<Wall>, u32)> = all.map(|one| (one.started, one.slot)).collect();
    numbered.sort_unstable();
    assert_eq!(numbered.iter().map(|(_, slot)| *slot).collect::<Vec<_>>(), [1, 2, 3], "the oldest is the first");
    let plan = field.plan(0).clone();
    assert!(plan.entries.iter().all(|entry| entry.instance.is_some()));
    // Fewer, then more: the numbers close up.
    field.want("api", wanted("pick(api, 2, ALL)"));
    field.settle();
    field.want("api", wanted("pick(api, 4, ALL)"));
    field.settle();
    let slots: BTreeSet<u32> = field.plan(0).entries.iter().map(|entry| entry.slot).collect();
    assert_eq!(slots, BTreeSet::from([1, 2, 3, 4]));
}

/// Puts an instance into a state and lets its dean tell of it.
fn becomes(field: &mut Field, id: &InstanceId, change: impl Fn(&mut Instance)) {
    let node = field.nodes.get_mut(&id.fulcrum).unwrap();
    change(node.instances.get_mut(id).unwrap());
    let to = field.plan(0).by.clone();
    field.tell(&id.fulcrum, &to);
}

fn fails(instance: &mut Instance) {
    instance.phase = Phase::Pending;
    instance.restarts = 3;
    instance.why = "no space left on the disk; next start in 0.4 s".into();
}

/// The operators' trial: on a join a ready instance was removed in favour of one that had not started yet.
#[test]
fn what_is_ready_stays_rather_than_what_is_older_and_not_ready() {
    let mut field = running("pick(api, 2, ALL)");
    let two: Vec<InstanceId> = field.ids("api").into_iter().collect();
    becomes(&mut field, &two[0], |instance| {
        instance.phase = Phase::Pending;
        instance.restarts = 1;
        instance.started = Some(Wall(0));
    });
    field.want("api", wanted("pick(api, 1, ALL)"));
    field.settle();
    assert_eq!(field.ids("api"), BTreeSet::from([two[1].clone()]));
}

#[test]
fn what_nobody_has_judged_yet_is_not_taken_away_while_too_few_are_ready() {
    let mut field = running("pick(api, 2, ALL)");
    let before = field.ids("api");
    field.sick = before.iter().map(|id| (id.clone(), Health::Unknown)).collect();
    field.want("api", wanted("pick(api, 1, ALL)"));
    field.settle();
    assert_eq!(field.ids("api"), before);
    assert!(field.plan(0).entries.iter().any(|entry| entry.why.contains("is not known yet")), "{:?}", field.plan(0));
    field.sick.clear();
    field.settle();
    assert_eq!(field.ids("api").len(), 1);
}

/// The operators' trial: a full disk on one node kept a service short for good.
#[test]
fn what_keeps_failing_is_replaced_elsewhere_and_its_fulcrum_is_avoided_for_a_while() {
    let mut field = running("pick(api, 4, ALL)");
    let all: Vec<InstanceId> = field.ids("api").into_iter().collect();
    let bad = all[1].clone();
    let free = FIVE.into_iter().map(id).find(|name| all.iter().all(|one| one.fulcrum != *name)).unwrap();
    becomes(&mut field, &bad, fails);
    field.settle();
    assert_eq!(field.runs("api").len(), 4);
    assert!(!field.ids("api").contains(&bad));
    let told = field.plans.iter().flat_map(|plan| &plan.entries).find(|entry| entry.on == free);
    let expected = format!("not on {}, where it keeps failing: no space left on the disk", bad.fulcrum);
    assert!(told.unwrap().why.ends_with(&expected), "{told:?}");
    assert!(field.runs("api").contains(&free.to_string()));
    // Another one is lost at once: nothing goes where it failed while others are open.
    let victim = all[0].fulcrum.clone();
    field.sick.insert(all[0].clone(), Health::Dead);
    field.settle();
    assert!(!field.runs("api").contains(&bad.fulcrum.to_string()), "{:?}", field.runs("api"));
    assert!(field.runs("api").contains(&victim.to_string()), "{:?}", field.runs("api"));
    // When the time is over it may be there again, and what runs well elsewhere is not moved for it.
    let there = field.ids("api");
    field.pass(Duration::from_secs(61));
    assert_eq!(field.ids("api"), there);
    field.want("api", wanted("pick(api, 5, ALL)"));
    field.settle();
    assert!(field.runs("api").contains(&bad.fulcrum.to_string()));
    // It fails there again: longer this time.
    let again = field.ids("api").into_iter().find(|one| one.fulcrum == bad.fulcrum).unwrap();
    becomes(&mut field, &again, fails);
    field.settle();
    field.pass(Duration::from_secs(100));
    assert_eq!((field.runs("api").len(), field.runs("api").contains(&bad.fulcrum.to_string())), (5, false));
}

#[test]
fn what_fails_everywhere_stays_where_it_is_and_what_cannot_be_fetched_counts_as_failing() {
    let mut field = running("pick(api, 5, ALL)");
    let all = field.ids("api");
    for one in &all {
        let node = field.nodes.get_mut(&one.fulcrum).unwrap();
        fails(node.instances.get_mut(one).unwrap());
    }
    for one in &all {
        field.tell(&one.fulcrum, &id("n1"));
    }
    field.settle();
    field.pass(Duration::from_secs(300));
    assert_eq!(field.ids("api"), all, "there is no better place");

    let mut field = running("pick(api, 3, ALL)");
    let first = field.ids("api").first().unwrap().clone();
    becomes(&mut field, &first, |instance| {
        instance.phase = Phase::Pending;
        instance.started = None;
        instance.why = "waits for 1 of 1 files: 0a1b could not be fetched (disk full); next try within 4.0 s".into();
    });
    // The field's dean would start it at once.
    field.nodes.get_mut(&first.fulcrum).unwrap().plan = None;
    field.settle();
    assert!(field.ids("api").contains(&first), "it may still come");
    field.pass(Duration::from_secs(31));
    let others = field.plan(0).entries.iter().filter(|entry| entry.instance.as_ref() != Some(&first));
    assert_eq!(others.count(), 3, "{:?}", field.plan(0));
}

/// The operators' trial: ten thousand of one service on three nodes brought the flock down.
#[test]
fn a_fulcrum_carries_a_hundred_at_most_and_the_shortfall_says_so() {
    let mut field = Field::new(&["n1", "n2"]);
    field.want("db", wanted("pick(db, 20, ALL)"));
    field.settle();
    field.want("api", wanted("pick(api, 1000, ALL)"));
    field.settle();
    assert_eq!((field.runs("db").len(), field.runs("api").len()), (20, 180));
    let why = field.why(0, "api");
    let expected = "820: pick(api, 1000, ALL): n1, n2 carry 100 instances, which is the most that one fulcrum may";
    assert_eq!(why, expected);
    field.want("api", wanted("pick(api, 4, ALL)"));
    field.settle();
    assert_eq!(field.runs("api").len(), 4);
}

/// The operators' trial: `should 3, ready 4, lacks 1: held` and "1 more than should be" in one line.
#[test]
fn nothing_is_lacking_where_enough_are_there() {
    let mut field = running("pick(api, 3, NODE(n1) | NODE(n4) | NODE(n5))");
    let old = field.ids("api");
    field.want("api", wanted("pick(api, 3, ALL)"));
    field.settle();
    assert_eq!(field.ids("api"), old);
    // n1 is told of more than it should have, while others are held.
    field.split(&["n4", "n5"]);
    assert!(field.why(0, "api").starts_with("2: held"), "{}", field.why(0, "api"));
    field.want("api", wanted("pick(api, 1, ALL)"));
    field.settle();
    assert_eq!((field.should(0, "api"), field.why(0, "api").as_str()), (1, ""));
}
