//! The services of several fulcrums together: hand-made views, an in-memory network, and a world that starts and stops
//! what it is told to. Everything else is the code that the daemon runs.

use crux_core::facts::value::{Check, File, Horde, Manifest, Place, horde_path, muster_path, place_path, row_path};
use crux_core::flock::view::{Seat, View};
use crux_core::hash::Random;
use crux_core::services::access::{By, DOOR_ENTRIES, Entry, LIFE_MAX, Refused};
use crux_core::services::effect::{Effect, Outcome};
use crux_core::services::hooks::HookEnd;
use crux_core::services::instance::{InstanceId, ServiceRef};
use crux_core::services::known::Known;
use crux_core::services::message::Message;
use crux_core::services::pace::Pace;
use crux_core::services::verdict::Health;
use crux_core::services::yurt::State;
use crux_core::services::{Config, Input, Output, Services};
use crux_names::{Boot, Duration, FulcrumId, HordeName, Member, Time, Wall};
use prost::Message as _;
use std::collections::{BTreeMap, BTreeSet};

#[path = "services/hostile.rs"]
mod hostile;

const LATENCY: Duration = Duration::from_millis(2);
const PROCESS: Duration = Duration::from_millis(5);

enum Mail {
    Message(Member, Message),
    Outcome(Outcome),
    View(View),
}

struct Node {
    services: Services,
    known: Known,
    facts: BTreeMap<String, (u64, Vec<u8>)>,
    running: BTreeMap<InstanceId, ServiceRef>,
}

struct World {
    now: Time,
    nodes: BTreeMap<String, Node>,
    boots: BTreeMap<String, u64>,
    mail: BTreeMap<(Time, u64), (Member, Mail)>,
    counter: u64,
    epoch: u64,
    groups: Vec<Vec<String>>,
    events: Vec<String>,
    ever: BTreeSet<InstanceId>,
    /// Whose doors answer nothing.
    deaf: BTreeSet<String>,
    /// Answers to `Add`.
    added: Vec<Result<bool, Refused>>,
    /// Members whose words on the register are lost: what they add reaches nobody.
    dumb: BTreeSet<String>,
    /// Members whom the register does not reach.
    missing: BTreeSet<String>,
    /// How many entries went over the network.
    sent: usize,
    /// How often each was told the register.
    registers: BTreeMap<String, usize>,
}

fn id(name: &str) -> FulcrumId {
    name.parse().unwrap()
}

fn api(horde: &str) -> ServiceRef {
    ServiceRef { horde: horde.parse().unwrap(), service: "api".parse().unwrap() }
}

impl World {
    fn new(names: &[&str]) -> Self {
        let mut world = Self {
            now: Time::from_millis(1_000),
            nodes: BTreeMap::new(),
            boots: BTreeMap::new(),
            mail: BTreeMap::new(),
            counter: 0,
            epoch: 0,
            groups: Vec::new(),
            events: Vec::new(),
            ever: BTreeSet::new(),
            deaf: BTreeSet::new(),
            added: Vec::new(),
            dumb: BTreeSet::new(),
            missing: BTreeSet::new(),
            sent: 0,
            registers: BTreeMap::new(),
        };
        for name in names {
            world.boot(name);
        }
        world.views(&[names]);
        world
    }

    fn wall(&self) -> Wall {
        Wall(1_000_000_000_000 + self.now.as_nanos() / 1_000)
    }

    fn member(&self, name: &str) -> Member {
        Member { id: id(name), boot: Boot(self.boots[name]) }
    }

    fn view(&mut self, names: &[&str]) -> View {
        self.epoch += 1;
        let seat =
            |name: &&str| Seat { member: self.member(name), addr: "127.0.0.1:1".parse().unwrap(), visitor: false };
        let roster: Vec<Seat> = names.iter().map(seat).collect();
        View::make(&"acme".parse().unwrap(), self.epoch, roster, "calm-heron".into(), 0, &[]).unwrap()
    }

    /// Starts a fulcrum, or starts it again; what its earlier life knew is on its disk.
    fn boot(&mut self, name: &str) {
        *self.boots.entry(name.into()).or_default() += 1;
        let facts = self.nodes.remove(name).map(|node| node.facts).unwrap_or_default();
        let mut known = Known::default();
        for (path, (_, value)) in &facts {
            known.take(path, Some(&value.clone().into()));
        }
        let labels = BTreeMap::from([("zone".to_string(), "a".to_string())]);
        let config = Config {
            me: self.member(name),
            labels,
            admission: 1,
            capacity: None,
            seed: self.boots[name],
            pace: Pace(1000),
        };
        let view = self.view(&[name]);
        let services = Services::new(self.now, config, view);
        self.nodes.insert(name.into(), Node { services, known, facts, running: BTreeMap::new() });
        self.feed(
            name,
            Input::Outcome(Outcome::Adopted { instances: Vec::new(), ended: Vec::new(), told: Vec::new() }),
        );
    }

    /// The machine dies, its processes with it.
    fn kill(&mut self, name: &str) {
        let node = self.nodes.get_mut(name).unwrap();
        node.running.clear();
        for group in &mut self.groups {
            group.retain(|member| member != name);
        }
        self.boots.entry(name.into()).and_modify(|boot| *boot += 1);
    }

    /// Installs one stable view for each group; facts become equal within it.
    fn views(&mut self, groups: &[&[&str]]) {
        self.views_within(groups, &mut |_| Duration::ZERO);
    }

    /// As [`World::views`], each member after a delay of its own.
    fn views_within(&mut self, groups: &[&[&str]], delay: &mut dyn FnMut(&str) -> Duration) {
        self.groups = groups.iter().map(|group| group.iter().map(ToString::to_string).collect()).collect();
        for group in groups {
            let mut facts: BTreeMap<String, (u64, Vec<u8>)> = BTreeMap::new();
            for name in *group {
                for (path, fact) in &self.nodes[*name].facts {
                    if facts.get(path).is_none_or(|old| old.0 < fact.0) {
                        facts.insert(path.clone(), fact.clone());
                    }
                }
            }
            let view = self.view(group);
            for name in *group {
                match delay(name) {
                    Duration::ZERO => {
                        self.feed(name, Input::View(view.clone()));
                        self.feed(name, Input::Stable(true));
                    }
                    after => self.post(after, self.member(name), Mail::View(view.clone())),
                }
            }
            for (path, (stamp, value)) in facts {
                self.spread(group, &path, stamp, &value);
            }
        }
    }

    fn spread(&mut self, group: &[&str], path: &str, stamp: u64, value: &[u8]) {
        for name in group {
            let node = self.nodes.get_mut(*name).unwrap();
            if node.facts.get(path).is_some_and(|old| old.0 >= stamp) {
                continue;
            }
            node.facts.insert(path.into(), (stamp, value.into()));
            if node.known.take(path, Some(&value.to_vec().into())) {
                self.feed(name, Input::Facts);
            }
        }
    }

    /// Writes a fact in the group of a fulcrum.
    fn write(&mut self, at: &str, path: &str, value: &[u8]) {
        self.counter += 1;
        let group = self.groups.iter().find(|group| group.iter().any(|name| name == at)).cloned().unwrap();
        let group: Vec<&str> = group.iter().map(String::as_str).collect();
        self.spread(&group, path, self.counter, value);
    }

    fn post(&mut self, after: Duration, to: Member, mail: Mail) {
        self.counter += 1;
        self.mail.insert((self.now + after, self.counter), (to, mail));
    }

    fn feed(&mut self, name: &str, input: Input) {
        let (now, wall, me) = (self.now, self.wall(), self.member(name));
        let mut out = Vec::new();
        let node = self.nodes.get_mut(name).unwrap();
        node.services.handle(now, wall, &node.known, input, &mut out);
        for output in out {
            match output {
                Output::Message { message: Message::Added { .. }, .. } if self.dumb.contains(name) => {}
                Output::Added { result, .. } => self.added.push(result),
                Output::Message { to, message: Message::Register { .. } }
                    if self.missing.contains(&to.id.to_string()) => {}
                Output::Message { to, message } => {
                    self.sent += match &message {
                        Message::Added { entries: Some(entries), .. } => entries.len(),
                        Message::Register { entries, .. } => {
                            *self.registers.entry(to.id.to_string()).or_default() += 1;
                            entries.len()
                        }
                        _ => 0,
                    };
                    self.post(LATENCY, to, Mail::Message(me.clone(), message));
                }
                Output::Row(row) => self.write(name, &row_path(&me.id), &row.encode_to_vec()),
                Output::Event(event) => self.events.push(event.text),
                Output::Effect(effect) => self.affect(name, effect),
                Output::Changed | Output::Stopped => {}
            }
        }
    }

    fn affect(&mut self, name: &str, effect: Effect) {
        let me = self.member(name);
        let node = self.nodes.get_mut(name).unwrap();
        let outcome = match effect {
            Effect::Start(spec) => {
                let instance = spec.instance;
                assert!(self.ever.insert(instance.id.clone()), "{} was started twice", instance.id);
                node.running.insert(instance.id.clone(), instance.of);
                Outcome::Started { id: instance.id, pid: 7, at: Wall(self.counter), ports: BTreeMap::new() }
            }
            Effect::Stop { id, .. } => {
                assert!(node.running.remove(&id).is_some(), "{id} is stopped and does not run");
                Outcome::Exited { id, code: None, signal: Some(15) }
            }
            Effect::Check { id, .. } => Outcome::Checked { id, ok: true, detail: "200".into() },
            Effect::Fetch { hash, .. } => Outcome::Fetched { hash, result: Ok(()) },
            Effect::Knock { .. } => {
                let deaf = self.deaf.contains(name);
                Outcome::Knocked { result: if deaf { Err("nobody listens".into()) } else { Ok(()) } }
            }
            Effect::Hook { id, number, .. } => Outcome::Hooked { id, number, end: HookEnd::Well },
            Effect::Clean { .. } | Effect::Tell { .. } => return,
        };
        self.post(PROCESS, me, Mail::Outcome(outcome));
    }

    fn alive(&self, name: &str) -> bool {
        self.groups.iter().any(|group| group.iter().any(|member| member == name))
    }

    fn together(&self, a: &str, b: &str) -> bool {
        let has = |group: &Vec<String>, name| group.iter().any(|member| member == name);
        self.groups.iter().any(|group| has(group, a) && has(group, b))
    }

    /// Lets time pass until the condition holds.
    fn until(&mut self, limit: Duration, what: &str, condition: impl Fn(&Self) -> bool) -> Duration {
        let start = self.now;
        let mut still = 0;
        while !condition(self) {
            let wakes = self.nodes.iter().filter(|(name, _)| self.alive(name));
            let wake = wakes.map(|(name, node)| (node.services.deadline().max(self.now), name.clone())).min();
            let mail = self.mail.keys().next().copied();
            let (at, name) = wake.unwrap();
            let next = mail.map_or(at, |(due, _)| due.min(at));
            assert!(
                next.since(start) <= limit,
                "{what}: not within {limit:?}; running {:?}; events {:#?}",
                self.nodes.iter().map(|(name, node)| (name, node.running.len())).collect::<Vec<_>>(),
                &self.events[self.events.len().saturating_sub(20)..]
            );
            still = if next == self.now { still + 1 } else { 0 };
            assert!(still < 5_000, "{name} wants to be woken at {at} again and again");
            self.now = next;
            match mail.filter(|(due, _)| *due <= at) {
                Some(key) => self.deliver(key),
                None => self.feed(&name, Input::Wake),
            }
        }
        self.now.since(start)
    }

    fn deliver(&mut self, key: (Time, u64)) {
        let (to, mail) = self.mail.remove(&key).unwrap();
        let name = to.id.to_string();
        if !self.alive(&name) || self.member(&name) != to {
            return;
        }
        match mail {
            Mail::Message(from, message) => {
                if self.together(&from.id.to_string(), &name) && self.member(&from.id.to_string()) == from {
                    self.feed(&name, Input::Message { from, message });
                }
            }
            Mail::Outcome(outcome) => self.feed(&name, Input::Outcome(outcome)),
            Mail::View(view) => {
                if *view.id() > *self.nodes[&name].services.view().id() {
                    self.feed(&name, Input::View(view));
                    self.feed(&name, Input::Stable(true));
                }
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        self.until(time + Duration::from_secs(10), "time passes", |world| world.now >= end);
    }

    /// How many of a service run on these fulcrums.
    fn running(&self, names: &[&str], of: &ServiceRef) -> usize {
        names.iter().map(|name| self.nodes[*name].running.values().filter(|ran| *ran == of).count()).sum()
    }

    /// How many of a service a fulcrum believes ready.
    fn ready(&self, at: &str, of: &ServiceRef) -> usize {
        let heard = self.nodes[at].services.verdicts().get(&of.horde);
        let verdicts = heard.map(|heard| heard.word.as_slice()).unwrap_or_default();
        verdicts.iter().filter(|verdict| verdict.of == *of && verdict.health == Health::Ready).count()
    }

    fn serve(&mut self, at: &str, of: &ServiceRef, place: &str, on_split: &str) {
        let check = Check { kind: "http".into(), port: "http".into(), ..Check::default() };
        let file = File { path: "api".into(), sha256: vec![9; 32], size: 1, executable: true };
        let manifest = Manifest {
            service: of.service.to_string(),
            run: vec!["./api".into()],
            files: vec![file],
            check: Some(check),
            ..Manifest::default()
        };
        let bytes = manifest.encode_to_vec();
        let revision = Manifest::revision(&bytes);
        self.write(at, &muster_path(&of.service, &revision), &bytes);
        let place =
            Place { revision: revision.0.to_vec(), place: place.into(), on_split: on_split.into(), ..Place::default() };
        self.write(at, &place_path(&of.horde, &of.service), &place.encode_to_vec());
    }

    /// Adds an entry at a fulcrum's door.
    fn add(&mut self, at: &str, entry: Entry, life: Duration) -> Result<bool, Refused> {
        self.feed(at, Input::Add { request: 1, entry, life, again: false });
        self.added.pop().unwrap()
    }

    /// What is listed at a fulcrum: service and name, `service/name`.
    fn listed(&self, at: &str) -> Vec<String> {
        let listed = self.nodes[at].services.listed();
        listed.iter().map(|(listed, _)| format!("{}/{}", listed.entry.of.service, listed.entry.name)).collect()
    }

    /// Which programs are told of at a fulcrum, and where each runs: `yurt@n1`.
    fn who(&self, at: &str) -> Vec<String> {
        self.nodes[at].services.who().map(|(name, node, _)| format!("{name}@{node}")).collect()
    }

    fn admins(&self, at: &str) -> usize {
        self.nodes[at].services.roles().admin().len()
    }
}

const ALL: &[&str] = &["n1", "n2", "n3"];
/// What runs at ADMIN's seat, where that is `main`'s too.
const PROGRAMS: &[&str] = &[
    "access",
    "genghis",
    "healthminder/ADMIN",
    "healthminder/main",
    "muster",
    "proctor/ADMIN",
    "proctor/main",
    "yurt",
];

fn entry(service: &str, name: &str) -> Entry {
    Entry {
        of: ServiceRef { horde: "main".parse().unwrap(), service: service.parse().unwrap() },
        name: name.into(),
        addrs: vec!["10.0.0.7:5432".into()],
        labels: BTreeMap::new(),
        by: By::Operator("ann".parse().unwrap()),
        since: Wall(0),
    }
}

#[test]
fn a_bloc_without_hordes_comes_to_have_admin_and_the_yurt_says_who_runs() {
    let mut world = World::new(ALL);
    let took = world.until(Duration::from_secs(5), "ADMIN has three", |world| ALL.iter().all(|n| world.admins(n) == 3));
    assert!(took < Duration::from_secs(1), "{took:?}");
    let listed = |world: &World, name: &str, program: &str| {
        let services = &world.nodes[name].services;
        let mut who = services.who().filter(|(name, at, _)| *name == program && **at == id("n1"));
        who.next().is_some_and(|(.., entry)| entry.state(world.now, Pace(1000)).0 == State::Answers)
            && services.roles().seat(&HordeName::admin()) == Some(&id("n1"))
    };
    world.until(Duration::from_secs(1), "the yurt has heard", |world| {
        ALL.iter().all(|name| PROGRAMS.iter().all(|program| listed(world, name, program)))
    });
    for later in ["steward", "ca", "reeve"] {
        assert_eq!(world.nodes["n3"].services.runs(later), None, "there is no {later} yet");
    }
}

#[test]
fn what_does_not_answer_is_shown_as_such_and_keeps_a_fulcrum_out_of_admin() {
    let mut world = World::new(&["n1"]);
    world.deaf.extend(["n2".to_owned(), "n3".to_owned()]);
    world.boot("n2");
    world.boot("n3");
    world.views(&[ALL]);
    world.until(Duration::from_secs(5), "n1 is ADMIN", |world| world.admins("n3") == 1);
    world.pass(Duration::from_secs(20));
    assert_eq!(world.admins("n3"), 1, "no service of ADMIN answers at the others");
    world.deaf.remove("n2");
    world.until(Duration::from_secs(5), "n2 answers now", |world| world.admins("n3") == 2);
    // The seat's own door falls silent: what is asked there says so, the rest goes on.
    world.deaf.insert("n1".into());
    let state = |world: &World, program: &str| {
        let (_, at, entry) = world.nodes["n2"].services.who().find(|(name, ..)| *name == program).unwrap();
        assert_eq!(*at, id("n1"));
        entry.state(world.now, Pace(1000))
    };
    world.until(Duration::from_secs(5), "the yurt says so", |world| state(world, "yurt").0 == State::Waits);
    assert_eq!(
        state(&world, "access"),
        (State::Waits, "the door of this fulcrum does not answer: nobody listens".into())
    );
    for program in ["genghis", "muster", "proctor/main", "healthminder/ADMIN"] {
        assert_eq!(state(&world, program).0, State::Answers, "{program}");
    }
    // A placement whose manifest nobody has.
    let place = Place { revision: vec![7; 32], place: "pick(api, 1, ALL)".into(), ..Place::default() };
    world.write("n2", &place_path(&"main".parse().unwrap(), &"api".parse().unwrap()), &place.encode_to_vec());
    world.until(Duration::from_secs(3), "muster says so", |world| state(world, "muster").0 == State::Waits);
    assert_eq!(state(&world, "muster").1, "the catalogue lacks the manifest of main/api");
}

#[test]
fn the_life_of_a_service_from_its_fact_through_loss_split_and_rejoin() {
    let (mut world, of) = (World::new(ALL), api("main"));
    world.until(Duration::from_secs(5), "ADMIN has three", |world| world.admins("n1") == 3);
    world.serve("n2", &of, "pick(api, 3, ALL)", "");
    let took = world.until(Duration::from_secs(5), "three run", |world| world.running(ALL, &of) == 3);
    assert!(took <= Duration::from_millis(500), "a changed spec runs after {took:?}");
    let every = |world: &World| ALL.iter().all(|name| world.ready(name, &of) == 3);
    world.until(Duration::from_secs(5), "everybody believes three ready", every);
    for name in ALL {
        assert_eq!(world.nodes[*name].running.len(), 1, "spread over the fulcrums");
    }

    let board = &world.nodes["n1"].services.boards()[&of.horde].word;
    let lost = board.iter().find(|instance| instance.id.fulcrum == id("n3")).unwrap().clone();
    world.kill("n3");
    world.views(&[&["n1", "n2"]]);
    let two = ["n1", "n2"];
    let took = world.until(Duration::from_secs(5), "the lost one is replaced", |world| world.running(&two, &of) == 3);
    assert!(took <= Duration::from_millis(300), "replaced after {took:?}");
    let told = |world: &World| world.nodes["n1"].services.boards()[&of.horde].word.iter().any(|on| on.id == lost.id);
    world.until(Duration::from_secs(5), "the board is rid of it", |world| !told(world));
    assert_eq!(world.nodes["n1"].services.slot(&lost.id), Some(lost.slot), "what is gone keeps its place");

    world.boot("n3");
    world.views(&[ALL]);
    world.pass(Duration::from_secs(20));
    assert_eq!(world.running(ALL, &of), 3, "who is back takes nothing away from the others, and adds nothing");

    world.views(&[&["n1", "n2"], &["n3"]]);
    world.pass(Duration::from_secs(30));
    assert_eq!(world.running(&two, &of), 3);
    assert_eq!(world.running(&["n3"], &of), 3, "each side has its count");
    assert_eq!(world.ready("n3", &of), 3);
    assert_eq!(world.nodes["n3"].services.roles().admin(), [id("n3")], "and its ADMIN");

    world.views(&[ALL]);
    let enough = |world: &World| world.running(ALL, &of) == 3;
    let least = std::cell::Cell::new(usize::MAX);
    world.until(Duration::from_secs(60), "surplus goes", |world| {
        least.set(least.get().min(world.running(ALL, &of)));
        enough(world)
    });
    world.pass(Duration::from_secs(20));
    assert!(enough(&world) && least.get() >= 3, "never fewer than should be");
    world.until(Duration::from_secs(5), "everybody believes three ready", every);
}

/// A review's find: any name in a message made its receiver remember a horde, without bound.
#[test]
fn nothing_is_kept_of_a_horde_that_nobody_made() {
    let mut world = World::new(ALL);
    world.pass(Duration::from_secs(1));
    let (from, view) = (world.member("n2"), world.nodes["n1"].services.view().id().clone());
    for number in 0..50 {
        let horde: HordeName = format!("ghost{number}").parse().unwrap();
        let board = Message::Board { horde: horde.clone(), view: view.clone(), instances: Vec::new() };
        let report = Message::DeanReport { horde: horde.clone(), obeys: None, instances: Vec::new() };
        let verdicts = Message::Verdicts { horde, view: view.clone(), verdicts: Vec::new() };
        for message in [board, report, verdicts] {
            world.feed("n1", Input::Message { from: from.clone(), message });
        }
    }
    let services = &world.nodes["n1"].services;
    assert!(services.boards().is_empty() && services.verdicts().is_empty(), "{:?}", services.boards());
    assert!(!format!("{services:?}").contains("ghost"));
}

/// A review's find: a dead node counted as a member of its horde for ever, so that `stop` never ran again.
#[test]
fn an_operator_forgets_a_dead_member_and_the_horde_is_whole_without_it() {
    let (mut world, of) = (World::new(ALL), api("main"));
    world.pass(Duration::from_secs(1));
    world.serve("n1", &of, "pick(api, 2, ALL)", "stop");
    world.until(Duration::from_secs(5), "two run", |world| world.running(ALL, &of) == 2);
    world.kill("n3");
    let two = ["n1", "n2"];
    world.views(&[&two]);
    world.pass(Duration::from_secs(30));
    assert_eq!(world.running(&two, &of), 0, "nobody, until every home member is here");
    for name in two {
        let node = world.nodes.get_mut(name).unwrap();
        node.facts.remove(&row_path(&id("n3")));
        node.known.take(&row_path(&id("n3")), None);
        world.feed(name, Input::Facts);
    }
    world.until(Duration::from_secs(5), "two run", |world| world.running(&two, &of) == 2);
}

#[test]
fn a_fulcrum_that_was_forgotten_and_lives_stays_what_it_was() {
    let (mut world, of) = (World::new(ALL), api("web"));
    world.pass(Duration::from_secs(1));
    world.write("n1", &horde_path(&of.horde), &Horde { want: 2, ..Horde::default() }.encode_to_vec());
    let homes = |world: &World, horde: &HordeName| -> Vec<&str> {
        ALL.iter().filter(|name| world.nodes["n1"].services.roles().home(&id(name)) == *horde).copied().collect()
    };
    world.until(Duration::from_secs(30), "it has two", |world| homes(world, &of.horde).len() == 2);
    let before: Vec<String> = homes(&world, &of.horde).iter().map(ToString::to_string).collect();
    for name in ALL {
        let node = world.nodes.get_mut(*name).unwrap();
        node.facts.remove(&row_path(&id(&before[0])));
        node.known.take(&row_path(&id(&before[0])), None);
    }
    let rows = |world: &World| world.nodes["n1"].known.rows().len();
    assert_eq!(rows(&world), 2);
    world.feed(&before[0], Input::Facts);
    assert_eq!((rows(&world), homes(&world, &of.horde)), (3, before.iter().map(String::as_str).collect()));
}

#[test]
fn a_service_that_wants_the_majority_runs_on_the_larger_side_only() {
    let (mut world, of) = (World::new(ALL), api("main"));
    world.until(Duration::from_secs(5), "ADMIN has three", |world| world.admins("n1") == 3);
    world.serve("n1", &of, "pick(api, 2, ALL)", "majority");
    world.until(Duration::from_secs(5), "two run", |world| world.running(ALL, &of) == 2);
    world.views(&[&["n1", "n2"], &["n3"]]);
    world.pass(Duration::from_secs(30));
    assert_eq!(world.running(&["n1", "n2"], &of), 2);
    assert_eq!(world.running(&["n3"], &of), 0);
    world.views(&[ALL]);
    world.pass(Duration::from_secs(30));
    assert_eq!(world.running(ALL, &of), 2);
}

#[test]
fn a_horde_takes_its_members_by_offers_and_runs_its_service_on_them_alone() {
    let (mut world, of) = (World::new(ALL), api("web"));
    world.until(Duration::from_secs(5), "ADMIN has three", |world| world.admins("n1") == 3);
    let fact = Horde { want: 2, r#where: "zone=a".into(), ..Horde::default() };
    world.write("n1", &horde_path(&of.horde), &fact.encode_to_vec());
    world.serve("n1", &of, "pick(api, 4, ALL)", "");
    world.until(Duration::from_secs(5), "four run", |world| world.running(ALL, &of) == 4);
    let members = world.nodes["n3"].services.roles().hordes[&of.horde].present.clone();
    assert_eq!(members.len(), 2);
    for name in ALL {
        let ran = if members.contains(&id(name)) { 2 } else { 0 };
        assert_eq!(world.nodes[*name].running.len(), ran, "on {name}");
    }
    // Nobody wants the horde any more: its fulcrums go home, and what ran for it stops.
    let none = Horde { want: 0, ..Horde::default() };
    world.write("n1", &horde_path(&of.horde), &none.encode_to_vec());
    world.until(Duration::from_secs(30), "it is empty", |world| world.running(ALL, &of) == 0);
    assert!(ALL.iter().all(|name| world.nodes["n1"].services.roles().home(&id(name)) == HordeName::main()));
}

#[test]
fn a_deleted_placement_stops_what_ran_and_a_stop_of_the_fulcrum_stops_everything_there() {
    let (mut world, of) = (World::new(ALL), api("main"));
    world.until(Duration::from_secs(5), "ADMIN has three", |world| world.admins("n1") == 3);
    world.serve("n1", &of, "pick(api, 3, ALL)", "");
    world.until(Duration::from_secs(5), "three run", |world| world.running(ALL, &of) == 3);
    world.feed("n2", Input::StopAll);
    world.until(Duration::from_secs(5), "nothing runs there", |world| world.running(&["n2"], &of) == 0);
    world.pass(Duration::from_secs(10));
    assert_eq!(world.running(&["n2"], &of), 0, "nothing is started there again");
    for name in ALL {
        let node = world.nodes.get_mut(*name).unwrap();
        node.known.take(&place_path(&of.horde, &of.service), None);
        node.facts.clear();
        world.feed(name, Input::Facts);
    }
    world.until(Duration::from_secs(5), "nothing runs", |world| world.running(ALL, &of) == 0);
}

/// Random splits, deaths and returns, with views that reach members one after the other; then one flock again.
fn history(seed: u64) {
    let names = ["n1", "n2", "n3", "n4", "n5"];
    let mut random = Random::new(seed);
    let (mut world, of) = (World::new(&names), api("main"));
    let other = ServiceRef { service: "db".parse().unwrap(), ..of.clone() };
    world.serve("n1", &of, "pick(api, 3, ALL)", "");
    world.serve("n1", &other, "pick(db, 2, ALL)", "majority");
    let mut dead: Vec<&str> = Vec::new();
    for _ in 0..4 {
        world.pass(Duration::from_millis(random.below(25_000)));
        let victim = names[usize::try_from(random.below(5)).unwrap()];
        if random.below(3) == 0 && !dead.contains(&victim) && dead.len() < 2 {
            world.kill(victim);
            dead.push(victim);
        }
        if random.below(2) == 0
            && let Some(back) = dead.pop()
        {
            world.boot(back);
        }
        let alive: Vec<&str> = names.iter().copied().filter(|name| !dead.contains(name)).collect();
        let (left, right): (Vec<&str>, Vec<&str>) = alive.iter().partition(|_| random.below(3) > 0);
        let groups: Vec<&[&str]> = [left.as_slice(), right.as_slice()].into_iter().filter(|g| !g.is_empty()).collect();
        world.views_within(&groups, &mut |_| Duration::from_millis(random.below(300)));
    }
    world.pass(Duration::from_secs(60));
    for group in world.groups.clone() {
        let group: Vec<&str> = group.iter().map(String::as_str).collect();
        assert_eq!(world.running(&group, &of), 3, "seed {seed}: each side has its count, {group:?} too");
        if group.len() <= 2 {
            assert_eq!(world.running(&group, &other), 0, "seed {seed}: {group:?} is not the majority");
        }
    }
    for back in dead {
        world.boot(back);
    }
    world.views_within(&[&names], &mut |_| Duration::from_millis(random.below(300)));
    world.pass(Duration::from_secs(90));
    assert_eq!((world.running(&names, &of), world.running(&names, &other)), (3, 2), "seed {seed}: after the heal");
    for name in names {
        assert_eq!((world.ready(name, &of), world.admins(name)), (3, 3), "seed {seed}: as {name} believes");
    }
}

#[test]
fn after_any_history_of_splits_and_deaths_running_is_what_should_be() {
    (0..16).for_each(history);
}

const LONG: Duration = LIFE_MAX;

#[test]
fn an_entry_is_listed_everywhere_and_lives_as_long_as_it_is_added_again() {
    let mut world = World::new(ALL);
    world.until(Duration::from_secs(5), "ADMIN has three", |world| world.admins("n1") == 3);
    // After a quiet moment: what changes again and again is told together.
    world.pass(Duration::from_secs(1));
    assert_eq!(world.add("n3", entry("db", "one"), Duration::from_secs(10)), Ok(false));
    let everywhere =
        |want: &'static [&'static str]| move |world: &World| ALL.iter().all(|name| world.listed(name) == want);
    let took = world.until(Duration::from_secs(3), "it is listed", everywhere(&["db/one"]));
    assert!(took < Duration::from_millis(100), "{took:?}");
    for _ in 0..5 {
        world.pass(Duration::from_secs(8));
        assert_eq!(world.add("n3", entry("db", "one"), Duration::from_secs(10)), Ok(true));
        assert_eq!(world.listed("n1"), ["db/one"]);
    }
    let took = world.until(Duration::from_secs(11), "its heartbeat has ended", everywhere(&[]));
    assert!(took > Duration::from_secs(9), "{took:?}");
}

#[test]
fn entries_live_through_moves_of_the_seat_and_both_sides_of_a_split_are_one_again() {
    let mut world = World::new(ALL);
    world.until(Duration::from_secs(5), "ADMIN has three", |world| world.admins("n1") == 3);
    world.add("n2", entry("db", "two"), LONG).unwrap();
    world.add("n3", entry("db", "three"), LONG).unwrap();
    let everywhere = |world: &World| ALL.iter().all(|name| world.listed(name).len() == 2);
    world.until(Duration::from_secs(1), "both are listed", everywhere);
    // The seat dies: in no moment is anything of the living off the list.
    world.kill("n1");
    world.views(&[&["n2", "n3"]]);
    let (mut moments, end) = (0, world.now + Duration::from_secs(15));
    while world.now < end {
        for name in ["n2", "n3"] {
            assert_eq!(world.listed(name), ["db/two", "db/three"], "at {name}");
        }
        moments += 1;
        world.pass(Duration::from_millis(100));
    }
    assert!(moments > 10 && world.nodes["n2"].services.roles().seat(&HordeName::admin()) == Some(&id("n2")));
    // Apart, each side has its own, and what is added meanwhile.
    world.views(&[&["n2"], &["n3"]]);
    world.add("n2", entry("web", "two"), LONG).unwrap();
    world.add("n3", entry("web", "three"), LONG).unwrap();
    world.until(Duration::from_secs(10), "each side has its own", |world| {
        world.listed("n2") == ["db/two", "web/two"] && world.listed("n3") == ["db/three", "web/three"]
    });
    world.pass(Duration::from_secs(30));
    world.views(&[&["n3", "n2"]]);
    let all = ["db/two", "web/two", "db/three", "web/three"];
    world.until(Duration::from_secs(3), "one again", |world| ["n2", "n3"].iter().all(|name| world.listed(name) == all));
    // A fulcrum that goes takes along what was added at its door.
    world.kill("n2");
    world.views(&[&["n3"]]);
    assert_eq!(world.listed("n3"), ["db/three", "web/three"]);
}

#[test]
fn what_has_not_changed_is_not_sent_again_and_what_was_lost_is_made_good() {
    let mut world = World::new(ALL);
    world.until(Duration::from_secs(5), "ADMIN has three", |world| world.admins("n1") == 3);
    world.missing.insert("n3".into());
    world.add("n2", entry("db", "two"), LONG).unwrap();
    world.until(Duration::from_secs(1), "it is listed", |world| world.listed("n2").len() == 1);
    world.pass(Duration::from_secs(10));
    assert!(world.listed("n3").is_empty());
    world.missing.clear();
    world.until(Duration::from_secs(3), "it has come", |world| world.listed("n3").len() == 1);
    // What the seat was told is lost, too: with the seat.
    world.dumb.insert("n3".into());
    world.kill("n1");
    world.views(&[&["n2", "n3"]]);
    world.add("n3", entry("db", "three"), LONG).unwrap();
    world.dumb.clear();
    world.until(Duration::from_secs(6), "all of it", |world| world.listed("n3") == ["db/two", "db/three"]);
    world.pass(Duration::from_secs(5));
    let sent = world.sent;
    world.pass(Duration::from_secs(60));
    assert_eq!(world.sent, sent, "nothing has changed");
    assert_eq!(world.listed("n3"), ["db/two", "db/three"]);
}

#[test]
fn an_instances_entry_follows_its_verdict_and_is_its_own() {
    let (mut world, of) = (World::new(ALL), api("main"));
    world.serve("n1", &of, "pick(api, 1, NODE(n2))", "each-side");
    world.until(Duration::from_secs(10), "it is ready", |world| world.ready("n3", &of) == 1);
    let running = world.nodes["n2"].running.keys().next().unwrap().clone();
    let of_it = |service: &str| Entry { by: By::Instance(running.clone()), ..entry(service, "") };
    assert_eq!(world.add("n2", of_it("db"), LONG), Err(Refused::NotHere), "another's name");
    assert_eq!(world.add("n1", of_it("api"), LONG), Err(Refused::NotHere), "another's door");
    assert_eq!(world.add("n2", of_it("api"), Duration::ZERO), Ok(false));
    world.until(Duration::from_secs(3), "it is listed", |world| world.listed("n3") == ["api/"]);
    world.pass(LIFE_MAX + Duration::from_secs(30));
    assert_eq!(world.listed("n3"), ["api/"], "no clock of its own ends it");
    let listed = world.nodes["n3"].services.listed()[0].1;
    assert_eq!(listed, Some(Health::Ready));
    // Its process ends by itself: it is off the list at once, though another one comes.
    let gone = running.clone();
    world.nodes.get_mut("n2").unwrap().running.remove(&gone);
    let member = world.member("n2");
    world.post(PROCESS, member, Mail::Outcome(Outcome::Exited { id: gone, code: Some(1), signal: None }));
    let took = world.until(Duration::from_secs(3), "it is off the list", |world| world.listed("n3").is_empty());
    assert!(took < Duration::from_millis(500), "{took:?}");
}

#[test]
fn who_floods_the_register_crowds_out_nobody_and_whose_word_stops_is_struck_out() {
    let mut world = World::new(ALL);
    world.until(Duration::from_secs(5), "ADMIN has three", |world| world.admins("n1") == 3);
    world.add("n3", entry("db", "small"), LONG).unwrap();
    let mut taken = 0;
    while world.add("n2", entry("flood", &format!("e{taken}")), LONG).is_ok() {
        taken += 1;
        assert!(taken <= DOOR_ENTRIES, "no bound");
    }
    // A member that keeps to no bound of its own.
    let from = world.member("n2");
    let entries = (0..10_000).map(|n| entry("flood", &format!("wild{n}"))).collect();
    let view = world.nodes["n1"].services.view().id().clone();
    world.dumb.insert("n2".into());
    let wild = Message::Added { view: view.clone(), version: 1, holds: 0, entries: Some(entries) };
    world.post(LATENCY, world.member("n1"), Mail::Message(from.clone(), wild));
    let wild = |world: &World| world.listed("n3").iter().any(|name| name.starts_with("flood/wild"));
    world.until(Duration::from_secs(3), "the flood is there", wild);
    let listed = world.listed("n3");
    assert!(listed.len() <= DOOR_ENTRIES + 1 && listed.contains(&"db/small".to_owned()), "{}", listed.len());
    // Nobody but the seat tells what is listed.
    let lies = Message::Register { view, version: 99, entries: Vec::new() };
    world.post(LATENCY, world.member("n3"), Mail::Message(from, lies));
    world.pass(Duration::from_millis(50));
    assert_eq!(world.listed("n3"), listed);
    // It says nothing any more, though it is here: its heartbeat has ended.
    world.until(Duration::from_secs(9), "its entries are struck out", |world| world.listed("n3") == ["db/small"]);
}
