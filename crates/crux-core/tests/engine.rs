//! One engine alone, with a disk that keeps, a node that signs and a world that starts and stops: the whole way from an
//! operator's write to a running instance and down again, through the one door.

use bytes::Bytes;
use crux_core::engine::{Config, Engine};
use crux_core::facts::Certificate;
use crux_core::facts::value::{Expulsion, Horde, Manifest, Place, Row, muster_path, place_path};
use crux_core::facts::version::{Author, Checked, Sealed, Statement};
use crux_core::flock;
use crux_core::io::{Command, Effect, Input, Output, Peer, Reply, Report};
use crux_core::picture::{ClaimKind, InstanceState, Subject};
use crux_core::services::instance::ServiceRef;
use crux_core::wire::Frame;
use crux_names::{Boot, Duration, Hash256, Member, Time, Wall};
use prost::Message;
use std::collections::{BTreeMap, VecDeque};

struct Alone {
    engine: Engine,
    now: Time,
    todo: VecDeque<Input>,
    replies: Vec<Reply>,
    events: Vec<String>,
    /// To whom something was sent, or whose link was closed, in this order.
    links: Vec<(Member, bool)>,
    nonce: u64,
    finished: bool,
}

impl Alone {
    fn new() -> Self {
        Self::new_as(false)
    }

    fn new_as(visitor: bool) -> Self {
        let flock = flock::Config {
            bloc: "acme".parse().unwrap(),
            me: Member { id: "n1".parse().unwrap(), boot: Boot(3) },
            addr: "127.0.0.1:2789".parse().unwrap(),
            seed: 7,
            timers: 250,
            expect: Some(1),
            seeds: Vec::new(),
            book: std::sync::Arc::default(),
            visitor,
        };
        let now = Time::from_millis(1_000);
        let engine = Engine::new(
            now,
            Config {
                flock,
                certificate: Certificate { admission: 1, ..Certificate::default() },
                capacity: None,
                seen: BTreeMap::new(),
            },
        );
        let first = [
            Input::Loaded { versions: Vec::new() },
            Input::Report(Report::Adopted { instances: Vec::new(), ended: Vec::new(), told: Vec::new() }),
        ];
        let (todo, replies, events, links) = (first.into(), Vec::new(), Vec::new(), Vec::new());
        Self { engine, now, todo, replies, events, links, nonce: 0, finished: false }
    }

    fn wall(&self) -> Wall {
        Wall(1_700_000_000_000_000 + self.now.as_nanos() / 1_000)
    }

    fn sealed(&mut self, author: Author, path: &str, value: Bytes, ancestors: Vec<Hash256>) -> Checked {
        self.nonce += 1;
        let wall = self.wall();
        let statement = Statement {
            bloc: "acme".parse().unwrap(),
            path: path.into(),
            value: Some(value),
            ancestors,
            stamp: self.engine.stamp(wall),
            author,
            nonce: self.nonce.to_be_bytes().to_vec().into(),
        };
        let sealed = Sealed { statement: statement.encode(), ..Sealed::default() };
        Checked::vouched(sealed.encode_to_vec().into()).unwrap()
    }

    fn write(&mut self, facts: &[(String, Vec<u8>)]) {
        let author = Author::Operator("alice".parse().unwrap());
        let versions =
            facts.iter().map(|(path, value)| self.sealed(author.clone(), path, value.clone().into(), vec![])).collect();
        self.todo.push_back(Input::Command { request: 1, command: Command::Write { versions } });
    }

    fn until(&mut self, limit: Duration, what: &str, condition: impl Fn(&Self) -> bool) {
        let start = self.now;
        while !condition(self) {
            let input = self.todo.pop_front().unwrap_or(Input::Wake);
            if matches!(input, Input::Wake) {
                self.now = self.engine.deadline().max(self.now + Duration::from_millis(1));
            }
            assert!(self.now.since(start) < limit, "{what}: not within {limit:?}; events {:#?}", self.events);
            let (now, wall, mut out) = (self.now, self.wall(), Vec::new());
            self.engine.handle(now, wall, input, &mut out);
            out.into_iter().for_each(|output| self.act(output));
        }
    }

    fn act(&mut self, output: Output) {
        let report = match output {
            Output::Persist { token, .. } => Report::Persisted { token, result: Ok(()) },
            Output::Sign { path, value, ancestors, .. } => {
                let author = Author::Fulcrum("n1".parse().unwrap());
                Report::Signed { version: self.sealed(author, &path, value, ancestors) }
            }
            Output::Effect(Effect::Start(spec)) => {
                let at = self.wall();
                Report::Started { id: spec.instance.id, pid: 42, at, ports: BTreeMap::from([("http".into(), 8080)]) }
            }
            Output::Effect(Effect::Knock { .. }) => Report::Knocked { result: Ok(()) },
            Output::Effect(Effect::Stop { id, .. }) => Report::Exited { id, code: Some(0), signal: None },
            Output::Event(event) => return self.events.push(format!("{}: {}", event.kind, event.text)),
            Output::Datagram { to, .. } | Output::Frame { to, .. } => return self.links.push((to, false)),
            Output::CloseLink { peer, .. } => return self.links.push((peer, true)),
            Output::Reply { reply, .. } => return self.replies.push(reply),
            Output::Finished => {
                self.finished = true;
                return;
            }
            _ => return,
        };
        self.todo.push_back(Input::Report(report));
    }
}

fn demo() -> (ServiceRef, Vec<(String, Vec<u8>)>) {
    let of = ServiceRef { horde: "main".parse().unwrap(), service: "web".parse().unwrap() };
    let manifest = Manifest { service: "web".into(), builtin: "demo".into(), ..Manifest::default() }.encode_to_vec();
    let revision = Manifest::revision(&manifest);
    let place = Place { revision: revision.0.to_vec(), place: "pick(web, 2, ALL)".into(), ..Place::default() };
    let facts = vec![
        (muster_path(&of.service, &revision), manifest),
        (place_path(&of.horde, &of.service), place.encode_to_vec()),
    ];
    (of, facts)
}

fn ready(alone: &Alone, of: &ServiceRef) -> u32 {
    let status = alone.engine.status(alone.now, alone.wall());
    status.services.iter().find(|line| line.of == *of).map_or(0, |line| line.ready)
}

#[test]
fn a_lone_fulcrum_founds_admin_runs_what_an_operator_wrote_and_stops_it_when_it_goes_down() {
    let mut alone = Alone::new();
    alone.until(Duration::from_secs(20), "ADMIN is founded", |alone| {
        let confab = alone.engine.confab(alone.now, alone.wall());
        confab.stable && confab.admin == ["n1".parse().unwrap()] && confab.yurt == Some("n1".parse().unwrap())
    });
    let (of, facts) = demo();
    alone.write(&facts);
    alone.until(Duration::from_secs(20), "two are ready", |alone| ready(alone, &of) == 2);
    assert!(matches!(alone.replies[0], Reply::Written { others: 0, converged: true, .. }), "{:?}", alone.replies);

    let status = alone.engine.status(alone.now, alone.wall());
    let service = status.services.iter().find(|line| line.of == of).unwrap();
    assert_eq!((service.should, service.surplus, service.why.as_str()), (Some(2), 0, ""));
    let instance = &status.instances[0];
    assert_eq!((instance.state, instance.pid, instance.planned), (InstanceState::Ready, Some(42), true));
    assert_eq!((instance.claim.kind, instance.ports["http"]), (ClaimKind::Believed, 8080));
    let reasons = alone.engine.why(alone.now, alone.wall(), &Subject::parse("main/web.1").unwrap());
    assert_eq!((reasons[0].state.as_str(), reasons[0].rule.as_str()), ("ready", "running-1s"));
    let pending = alone.engine.why(alone.now, alone.wall(), &Subject::parse("pending main/web").unwrap());
    assert_eq!(
        pending.iter().map(|reason| reason.text.as_str()).collect::<Vec<_>>(),
        ["nothing of main/web is pending"]
    );
    assert!(alone.engine.why(alone.now, alone.wall(), &Subject::parse("pending main/x").unwrap()).is_empty());
    assert!(alone.engine.why(alone.now, alone.wall(), &Subject::parse("node n9").unwrap()).is_empty());
    let at = alone.engine.confab(alone.now, alone.wall()).at;
    assert!(at < alone.wall(), "these names have held for a while");

    alone.todo.push_back(Input::Command { request: 2, command: Command::Down { services: true } });
    alone.until(Duration::from_secs(20), "it is down", |alone| alone.finished);
    assert!(alone.engine.services_room().picket().idle());
    assert_eq!(alone.replies[1], Reply::Done);
}

#[test]
fn equal_inputs_make_equal_digests_and_another_input_another() {
    let run = |extra: bool| {
        let mut alone = Alone::new();
        let (of, facts) = demo();
        alone.write(&facts);
        alone.until(Duration::from_secs(30), "two are ready", |alone| ready(alone, &of) == 2);
        if extra {
            let addr = "127.0.0.1:9".parse().unwrap();
            alone.engine.handle(
                alone.now,
                alone.wall(),
                Input::Command { request: 9, command: Command::Seed { addr } },
                &mut Vec::new(),
            );
        }
        alone.engine.digest()
    };
    assert_eq!(run(false), run(false));
    assert_ne!(run(false), run(true));
}

#[test]
fn a_visitor_is_of_no_horde_and_why_says_so() {
    for visitor in [false, true] {
        let mut one = Alone::new_as(visitor);
        one.until(Duration::from_secs(30), "a start", |one| {
            one.todo.is_empty() && one.engine.flock_room().stable(one.now)
        });
        let horde = (!visitor).then(crux_names::HordeName::main);
        assert_eq!(one.engine.confab(one.now, one.wall()).horde, horde);
        assert_eq!(one.engine.status(one.now, one.wall()).roster[0].horde, horde);
        let why = one.engine.why(one.now, one.wall(), &Subject::parse("node n1").unwrap());
        let texts: Vec<&str> = why.iter().map(|reason| reason.text.as_str()).collect();
        let told =
            if visitor { "n1 is a visitor: it is of no horde and gets no work" } else { "its row names horde main" };
        assert!(texts.iter().any(|text| text.starts_with(told)), "{texts:?}");
    }
}

/// Promise X3: from the moment on at which this fulcrum knows, nothing of the expelled node is taken or answered, though
/// its link is still there.
#[test]
fn nothing_that_an_expelled_node_still_sends_is_taken() {
    let mut alone = Alone::new();
    let peer = |name: &str| Peer {
        member: Member { id: name.parse().unwrap(), boot: Boot(5) },
        admission: 1,
        addr: "127.0.0.1:2790".parse().unwrap(),
        labels: BTreeMap::new(),
    };
    let (n7, n2) = (peer("n7"), peer("n2"));
    for peer in [&n7, &n2] {
        alone.todo.push_back(Input::LinkUp { peer: peer.clone(), dialed: false });
    }
    let value = |horde: &str| -> Bytes { Row { horde: horde.into(), ..Row::default() }.encode_to_vec().into() };
    let row = |alone: &mut Alone, name: &str, horde: &str| {
        let version =
            alone.sealed(Author::Fulcrum(name.parse().unwrap()), &format!("row/{name}/0"), value(horde), vec![]);
        let from = if name == "n7" { n7.member.clone() } else { n2.member.clone() };
        alone.todo.push_back(Input::Facts { from, versions: vec![version] });
    };
    row(&mut alone, "n7", "");
    alone.until(Duration::from_secs(1), "what n7 said is taken", |alone| {
        alone.engine.facts_room().row(&"n7".parse().unwrap()).is_some()
    });
    let expulsion = Expulsion { up_to: 1, reason: "stolen".into() };
    let author = Author::Operator("alice".parse().unwrap());
    let expulsion = alone.sealed(author, "expel/n7", expulsion.encode_to_vec().into(), vec![]);
    alone.todo.push_back(Input::Facts { from: n2.member.clone(), versions: vec![expulsion] });
    // Under way when it was expelled: a row of its own, somebody else's row, a question.
    let forged = alone.sealed(Author::Fulcrum("n8".parse().unwrap()), "row/n8/0", value("web"), vec![]);
    alone.todo.push_back(Input::Facts { from: n7.member.clone(), versions: vec![forged] });
    let frame = Frame::FactsDigest { digest: Hash256([9; 32]), count: 3 };
    alone.todo.push_back(Input::Frame { from: n7.member.clone(), frame });
    row(&mut alone, "n2", "");
    alone.until(Duration::from_secs(1), "what n2 said later is taken", |alone| {
        alone.engine.facts_room().row(&"n2".parse().unwrap()).is_some()
    });
    assert!(alone.engine.facts_room().row(&"n8".parse().unwrap()).is_none());
    let to_n7 = |(to, _): &&(Member, bool)| *to == n7.member;
    assert_eq!(
        alone.links.iter().rfind(to_n7).map(|(_, closed)| *closed),
        Some(true),
        "its link's end is the last of it"
    );
    // Once: an operator who signs the same again, as before a root goes, puts nobody out.
    let again = Expulsion { up_to: 1, reason: "stolen".into() };
    let author = Author::Operator("alice".parse().unwrap());
    let again =
        alone.sealed(author, "expel/n7", again.encode_to_vec().into(), alone.engine.facts_room().heads("expel/n7"));
    alone.todo.push_back(Input::Facts { from: n2.member.clone(), versions: vec![again] });
    alone.until(Duration::from_secs(1), "it is told", |alone| {
        alone.events.iter().any(|event| event.starts_with("fact: ") && event.contains("expel/n7"))
    });
    let told: Vec<&String> = alone.events.iter().filter(|event| event.starts_with("expelled: ")).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].ends_with("expelled n7 with its admissions up to 1: stolen"), "{told:?}");
}

#[test]
fn what_was_written_apart_is_told_as_a_conflict() {
    let mut alone = Alone::new();
    let member = Member { id: "n2".parse().unwrap(), boot: Boot(5) };
    let peer =
        Peer { member: member.clone(), admission: 1, addr: "127.0.0.1:2790".parse().unwrap(), labels: BTreeMap::new() };
    alone.todo.push_back(Input::LinkUp { peer, dialed: false });
    for want in [3, 4] {
        let horde = Horde { want, ..Horde::default() }.encode_to_vec().into();
        let version = alone.sealed(Author::Operator("alice".parse().unwrap()), "horde/web", horde, vec![]);
        alone.todo.push_back(Input::Facts { from: member.clone(), versions: vec![version] });
    }
    alone.until(Duration::from_secs(1), "the conflict is told", |alone| {
        alone.events.iter().any(|event| event.starts_with("conflict: two versions of horde/web were written apart"))
    });
}
