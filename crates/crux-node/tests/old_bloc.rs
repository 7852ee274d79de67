//! The facts of a bloc as a fulcrum of format 1 left them on its disk, signed by a CA that is gone: later versions of crux read
//! each kind, believe it, and make of all of them what that fulcrum made of them (promise S8).
//!
//! `CRUX_REGENERATE=1` makes the fixture anew, with new keys. Once a format was released that is wrong: add another.
#![allow(missing_docs)]

use bytes::Bytes;
use crux_core::facts::rule::{Rule, RuleFact, rule_path};
use crux_core::facts::value::{
    Check, Cordon, Expulsion, File, HORIZON, HORIZON_MIN, Hooks, Horde, Horizon, Labels, Manifest, Place, Row,
    cordon_path, expel_path, horde_path, label_path, muster_path, place_path, row_path,
};
use crux_core::facts::version::{Author, Checked, Stamp, Statement};
use crux_core::facts::{Certificate, Config, Facts, Input};
use crux_core::resources::Resources;
use crux_names::{BlocName, FulcrumId, Hash256, Time, Wall};
use crux_node::store::Store;
use crux_pki::facts::{Checker, countersign, seal, sign_row};
use crux_pki::{Bundle, Ca, IssueRequest, Role, Trust, unix_now};
use prost::Message;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

const DAY: u64 = 24 * 3_600 * 1_000_000;

fn bloc() -> BlocName {
    "acme.example".parse().unwrap()
}

fn me() -> FulcrumId {
    "n1".parse().unwrap()
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/bloc-1").join(name)
}

/// Somebody who writes facts, and what was written.
struct Scribe {
    ann: Bundle,
    n1: Bundle,
    now: u64,
    written: Vec<Checked>,
}

impl Scribe {
    fn says(&mut self, path: String, value: Option<Vec<u8>>, wall: u64, ancestors: Vec<Hash256>) -> Hash256 {
        let statement = Statement {
            bloc: bloc(),
            path,
            value: value.map(Bytes::from),
            ancestors,
            stamp: Stamp { wall, logical: 3 },
            author: Author::Operator("ann".parse().unwrap()),
            nonce: vec![u8::try_from(self.written.len()).unwrap()].into(),
        };
        let version = countersign(&self.n1, seal(&self.ann, &statement).unwrap(), self.now).unwrap();
        let id = version.id();
        self.written.push(version);
        id
    }

    fn wants(&mut self, path: String, value: &impl Message) -> Hash256 {
        let wall = self.now * 1_000_000;
        self.says(path, Some(value.encode_to_vec()), wall, Vec::new())
    }
}

fn ask(cpu: u64) -> Option<Resources> {
    Some(Resources { cpu_milli: cpu, memory: 1 << 30, disk: 1 << 33 })
}

fn texts(all: &[&str]) -> Vec<String> {
    all.iter().map(|text| (*text).to_owned()).collect()
}

fn map<V>(all: impl IntoIterator<Item = (&'static str, V)>) -> BTreeMap<String, V> {
    all.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn labels() -> BTreeMap<String, String> {
    map([("zone", "a".to_owned())])
}

/// Every kind of fact with every field, a conflict, a deletion, and one from behind the horizon.
fn write_all(scribe: &mut Scribe) {
    let (web, db, n2): (_, _, FulcrumId) = ("web".parse().unwrap(), "db".parse().unwrap(), "n2/b".parse().unwrap());
    let now = scribe.now * 1_000_000;
    let horde = |want| Horde {
        want,
        r#where: "zone=a & node under x".into(),
        sets: map([("big", "LABEL(size=big)".to_owned())]),
        vacancy_after_ms: 30_000,
        quota: ask(4_000),
    };
    scribe.wants(horde_path(&web), &horde(3));
    // Neither knew the other: the later one stands, this one is listed.
    let rival = horde(1).encode_to_vec();
    scribe.says(horde_path(&web), Some(rival), now - DAY, Vec::new());
    let manifest = Manifest {
        service: "api".into(),
        run: texts(&["./api", "--port", "${port.http}"]),
        builtin: String::new(),
        files: vec![File { path: "api".into(), sha256: vec![7; 32], size: 9, executable: true }],
        env: map([("A", "b".to_owned())]),
        ports: map([("http", 8080)]),
        check: Some(Check {
            kind: "http".into(),
            port: "http".into(),
            path: "/up".into(),
            command: texts(&["true"]),
            every_ms: 500,
        }),
        restart_from_ms: 1,
        restart_to_ms: 2,
        stop_signal: "INT".into(),
        stop_grace_ms: 3,
        once: true,
        resources: ask(250),
        hooks: Some(Hooks { parted: texts(&["./p", "1"]), rejoined: texts(&["./r"]), timeout_ms: 4 }),
    };
    let revision = Manifest::revision(&manifest.encode_to_vec());
    let api = "api".parse().unwrap();
    scribe.wants(muster_path(&api, &revision), &manifest);
    let place = Place {
        revision: revision.0.into(),
        place: "pick(api, 3, ALL)".into(),
        after: texts(&["2 of db.ready"]),
        on_split: "majority".into(),
        on_rejoin: "keep-oldest".into(),
        single: true,
    };
    scribe.wants(place_path(&web, &api), &place);
    let gone = scribe.says(horde_path(&db), Some(horde(2).encode_to_vec()), now - 2 * DAY, Vec::new());
    scribe.says(horde_path(&db), None, now - DAY, vec![gone]);
    scribe.wants(expel_path(&"n9".parse().unwrap()), &Expulsion { up_to: 2, reason: "stolen".into() });
    scribe.wants(cordon_path(&n2), &Cordon { reason: "disk".into(), drain: true });
    scribe.wants(label_path(&n2.node), &Labels { labels: labels() });
    for (client, removed) in [("web/api", false), ("other.example//web/*", true)] {
        let (endpoint, note, nonce) = ("web/db".into(), "why".into(), Bytes::from(vec![5; 16]));
        let rule = Rule { client: client.into(), endpoint, note, made: now, nonce };
        let fact = RuleFact { rule: rule.encode_to_vec().into(), removed };
        scribe.wants(rule_path(&fact.id()), &fact);
    }
    scribe.wants(HORIZON.to_owned(), &Horizon { before: now - HORIZON_MIN - DAY });
    scribe.says("horde/old".into(), Some(horde(1).encode_to_vec()), now - HORIZON_MIN - 2 * DAY, Vec::new());
    let row = Row {
        horde: "web".into(),
        admin: "ADMIN".into(),
        labels: labels(),
        admission: 1,
        left: false,
        stands_in: String::new(),
        stands_for: String::new(),
        since: now,
        capacity: ask(8_000),
    };
    let row = row.encode_to_vec().into();
    scribe.written.push(sign_row(&scribe.n1, &me(), &row_path(&me()), row, Vec::new(), Wall(now)).unwrap());
}

fn regenerate() {
    let mut ca = Ca::in_memory(bloc()).unwrap();
    let ann = ca.issue(IssueRequest::new(Role::Operator("ann".parse().unwrap()))).unwrap();
    let mut request = IssueRequest::new(Role::Node(me().node));
    request.labels = labels();
    let n1 = ca.issue(request).unwrap();
    let root = n1.trust().roots().next().unwrap().to_vec();
    let mut scribe = Scribe { ann, n1, now: unix_now(), written: Vec::new() };
    write_all(&mut scribe);
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(dir.path(), &bloc(), &me()).unwrap();
    let (done, result) = mpsc::channel();
    let versions = scribe.written.iter().map(|version| (version.id(), version.sealed())).collect();
    store.persist(1, versions, Vec::new(), move |_, result| done.send(result).unwrap());
    result.recv_timeout(Duration::from_secs(60)).unwrap().unwrap();
    drop(store);
    std::fs::create_dir_all(fixture("")).unwrap();
    std::fs::copy(dir.path().join("facts.redb"), fixture("facts.redb")).unwrap();
    std::fs::write(fixture("root.der"), root).unwrap();
}

/// A value as its kind reads it.
fn read(path: &str, value: &Bytes) -> String {
    fn typed<M: Message + Default + std::fmt::Debug>(value: &Bytes) -> String {
        format!("{:?}", M::decode(value.clone()).unwrap())
    }
    match path.split('/').next().unwrap() {
        "horde" => typed::<Horde>(value),
        "muster" => typed::<Manifest>(value),
        "place" => typed::<Place>(value),
        "row" => typed::<Row>(value),
        "expel" => typed::<Expulsion>(value),
        "cordon" => typed::<Cordon>(value),
        "label" => typed::<Labels>(value),
        "rule" => format!("{:?}", RuleFact::decode(value.clone()).unwrap().named().unwrap()),
        "horizon" => typed::<Horizon>(value),
        other => panic!("a fact of a kind that this test does not know: {other}"),
    }
}

/// What stands, what is listed and what is behind the horizon, in words.
fn told(facts: &Facts) -> String {
    let mut text = format!("digest {}\n", facts.digest());
    for path in facts.paths() {
        let version = facts.version(path).unwrap();
        let Statement { author, stamp, .. } = version.statement();
        let value = facts.value(path).map_or_else(|| "deleted".to_owned(), |value| read(path, value));
        writeln!(text, "{path} {} by {author} at {}.{}\n  {value}", version.id(), stamp.wall, stamp.logical).unwrap();
    }
    for conflict in facts.conflicts() {
        writeln!(text, "conflict {}: {} before {}", conflict.path, conflict.winner.id(), conflict.loser.id()).unwrap();
    }
    for version in facts.quarantined() {
        writeln!(text, "behind the horizon: {} {}", version.statement().path, version.id()).unwrap();
    }
    text
}

#[test]
fn the_facts_of_a_bloc_of_format_1_are_what_they_were() {
    let again = std::env::var_os("CRUX_REGENERATE").is_some();
    if again {
        regenerate();
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(fixture("facts.redb"), dir.path().join("facts.redb")).unwrap();
    let (store, opened) = Store::open(dir.path(), &bloc(), &me()).unwrap();
    assert_eq!(opened.warnings, [""; 0]);
    let trust = Trust::new(bloc(), [std::fs::read(fixture("root.der")).unwrap().into()]).unwrap();
    let mut checker = Checker::new();
    let loaded = store.load().unwrap();
    let versions: Vec<Checked> =
        loaded.into_iter().map(|sealed| checker.check(&trust, sealed).expect("it was believed")).collect();
    // As late as its latest stamp: the moment at which it is read does not matter.
    let wall = Wall(versions.iter().map(|version| version.statement().stamp.wall).max().unwrap());
    let config = Config { bloc: bloc(), me: me(), seed: 1, timers: 1000, certificate: Certificate::default() };
    let mut facts = Facts::new(config);
    facts.handle(Time::ZERO, wall, Input::Loaded { versions }, &mut Vec::new());
    let text = told(&facts);
    for kind in ["horde", "muster", "place", "row", "expel", "cordon", "label", "rule", HORIZON] {
        assert!(text.lines().any(|line| line.starts_with(kind)), "the fixture has no {kind}");
    }
    for listed in ["conflict horde/web", "behind the horizon: horde/old", "deleted"] {
        assert!(text.contains(listed), "the fixture has no {listed}");
    }
    if again {
        std::fs::write(fixture("facts.txt"), &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(fixture("facts.txt")).unwrap());
}
