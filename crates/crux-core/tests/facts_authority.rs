//! The table of path and author, tried from both doors: an operator's write and a peer's push.

mod common;

use bytes::Bytes;
use common::{Disk, Net, WALL, bloc, horde, id, manifest, member, operator, place, row, seal, version};
use crux_core::facts::authority::{Refusal, authorise};
use crux_core::facts::rule::{NONCE, Rule, RuleFact, rule_path};
use crux_core::facts::value::{
    Check, Cordon, Expulsion, File, Hooks, Horde, Labels, Manifest, Place, Row, muster_path,
};
use crux_core::facts::version::{Author, Stamp, Statement};
use crux_core::facts::{Input, Output};
use crux_core::resources::Resources;
use prost::Message as _;

fn bytes(message: &impl prost::Message) -> Option<Bytes> {
    Some(message.encode_to_vec().into())
}

fn statement(path: &str, author: Author, value: Option<Bytes>) -> Statement {
    Statement {
        bloc: bloc(),
        path: path.into(),
        value,
        ancestors: vec![],
        stamp: Stamp { wall: WALL, logical: 0 },
        author,
        nonce: Bytes::new(),
    }
}

fn muster(manifest: &Manifest) -> String {
    muster_path(&"api".parse().unwrap(), &Manifest::revision(&manifest.encode_to_vec()))
}

/// The built-in hordes need no fact; one that stands there says only what such a horde can be told.
#[test]
fn facts_of_built_in_hordes_and_amounts_have_their_bounds() {
    let cores = |cpu_milli| Some(Resources { cpu_milli, ..Resources::default() });
    let (want, quota) = (|want| Horde { want, ..Horde::default() }, cores(8_000));
    for (path, fact, good) in [
        ("horde/ADMIN", Horde { r#where: "node under n1".into(), ..want(1) }, true),
        ("horde/ADMIN", want(0), false),
        ("horde/ADMIN", Horde { vacancy_after_ms: 1, ..want(1) }, false),
        ("horde/ADMIN", Horde { sets: [("big".into(), "ALL".into())].into(), ..want(1) }, false),
        ("horde/ADMIN", Horde { quota, ..want(1) }, false),
        ("horde/main", Horde { quota, ..want(0) }, true),
        ("horde/main", want(1), false),
        ("horde/main", Horde { r#where: "zone=a".into(), ..want(0) }, false),
        ("horde/web", Horde { quota, ..want(0) }, true),
        ("horde/web", Horde { quota: cores(10_000_001), ..want(0) }, false),
    ] {
        let judged = authorise(&bloc(), &statement(path, operator(), bytes(&fact)));
        assert_eq!(judged.is_ok(), good, "{path} {fact:?}: {judged:?}");
        assert!(good || matches!(judged, Err(Refusal::Field(_))));
    }
    let big = Manifest { resources: cores(u64::MAX), ..manifest() };
    let node = Author::Fulcrum(id("n0"));
    let liar = Row { capacity: cores(u64::MAX), ..row("web") };
    for (path, author, value) in [(muster(&big), operator(), bytes(&big)), ("row/n0/0".into(), node, bytes(&liar))] {
        assert!(matches!(authorise(&bloc(), &statement(&path, author, value)), Err(Refusal::Field(_))), "{path}");
    }
}

fn rule(removed: bool) -> RuleFact {
    let nonce = Bytes::from_static(&[1; NONCE]);
    let rule = Rule { client: "web/*".into(), endpoint: "data/db".into(), nonce, ..Rule::default() };
    RuleFact { rule: rule.encode_to_vec().into(), removed }
}

#[test]
fn who_may_write_what() {
    let manifest = manifest();
    let rule_at = rule_path(&rule(false).id());
    let muster = muster(&manifest);
    let node = || Author::Fulcrum(id("n0"));
    for (path, author, value, allowed) in [
        ("horde/web", operator(), horde(3), true),
        ("horde/web", operator(), None, true),
        ("horde/web", node(), horde(3), false),
        ("place/web/api", operator(), bytes(&place()), true),
        ("place/web/api", node(), bytes(&place()), false),
        ("place/web/api", node(), None, false),
        (muster.as_str(), operator(), bytes(&manifest), true),
        (muster.as_str(), node(), bytes(&manifest), false),
        ("row/n0/0", node(), bytes(&row("web")), true),
        ("row/n0/0", node(), None, true),
        ("row/n0/0", operator(), bytes(&row("web")), false),
        ("row/n0/0", operator(), None, true),
        ("row/n1/0", node(), None, false),
        ("row/n1/0", node(), bytes(&row("web")), false),
        ("row/n0/b", node(), bytes(&row("web")), false),
        ("row/n0/b", Author::Fulcrum(id("n0/b")), bytes(&row("web")), true),
        ("expel/n7", operator(), bytes(&Expulsion { up_to: 1, reason: "stolen".into() }), true),
        ("expel/n0", node(), bytes(&Expulsion { up_to: 1, reason: String::new() }), false),
        ("expel/n0", node(), None, false),
        ("cordon/n0/0", operator(), bytes(&Cordon { reason: "disk".into(), drain: true }), true),
        ("cordon/n0/0", operator(), None, true),
        ("cordon/n0/0", node(), bytes(&Cordon::default()), false),
        ("cordon/n0/0", node(), None, false),
        ("label/n0", operator(), bytes(&Labels::default()), true),
        ("label/n0", operator(), None, true),
        ("label/n0", node(), bytes(&Labels::default()), false),
        ("label/n0", node(), None, false),
        (rule_at.as_str(), operator(), bytes(&rule(false)), true),
        (rule_at.as_str(), operator(), bytes(&rule(true)), true),
        (rule_at.as_str(), node(), bytes(&rule(false)), false),
        (rule_at.as_str(), node(), bytes(&rule(true)), false),
        (rule_at.as_str(), node(), None, false),
    ] {
        let judged = authorise(&bloc(), &statement(path, author.clone(), value));
        if allowed {
            assert!(judged.is_ok(), "{path} by {author}: {judged:?}");
        } else {
            assert_eq!(judged, Err(Refusal::Author(author)), "{path}");
        }
    }
    for path in ["rule/1", "expel/n7/0", "horde/web/x", "", "row/n0"] {
        for author in [operator(), node()] {
            assert!(matches!(authorise(&bloc(), &statement(path, author, None)), Err(Refusal::Path(_))), "{path}");
        }
    }
    // They only ever tighten.
    let other = RuleFact { rule: b"\x0a\x07web/api".as_slice().into(), removed: true };
    for (path, value) in [
        ("expel/n7", None),
        ("expel/n7", bytes(&Expulsion::default())),
        (rule_at.as_str(), None),
        (rule_at.as_str(), bytes(&other)),
    ] {
        let judged = authorise(&bloc(), &statement(path, operator(), value));
        assert!(matches!(judged, Err(Refusal::Field(_))), "{judged:?}");
    }
    let mut other = statement("horde/web", operator(), horde(3));
    other.bloc = "other".parse().unwrap();
    assert_eq!(authorise(&bloc(), &other), Err(Refusal::OtherBloc("other".parse().unwrap())));
}

#[test]
fn nothing_malformed_is_stored() {
    let field =
        |path: &str, author: Author, value: Option<Bytes>| match authorise(&bloc(), &statement(path, author, value)) {
            Err(Refusal::Field(why)) => why.split(':').next().unwrap().to_owned(),
            other => format!("{other:?}"),
        };
    for path in ["horde/web", "place/web/api"] {
        let judged = authorise(&bloc(), &statement(path, operator(), Some(Bytes::from_static(b"\xff\xff"))));
        assert_eq!(judged, Err(Refusal::Malformed));
    }
    // A manifest stands under the hash of its own bytes and its own service's name.
    let wrong = muster_path(&"api".parse().unwrap(), &crux_core::hash::sha256(b"other"));
    assert!(field(&wrong, operator(), bytes(&manifest())).starts_with("the revision"));
    let foreign = Manifest { service: "db".into(), ..manifest() };
    assert!(field(&muster(&foreign), operator(), bytes(&foreign)).starts_with("the manifest is of another"));

    let file = |path: &str, sha: usize| File { path: path.into(), sha256: vec![1; sha], ..File::default() };
    let check = |kind: &str, port: &str, path: &str| Check {
        kind: kind.into(),
        port: port.into(),
        path: path.into(),
        ..Check::default()
    };
    let port = |port: u32| std::collections::BTreeMap::from([("http".to_owned(), port)]);
    let hooks = |parted: &[&str], timeout_ms: u64| {
        let parted = parted.iter().map(|word| (*word).to_owned()).collect();
        Some(Hooks { parted, timeout_ms, ..Hooks::default() })
    };
    for (expected, broken) in [
        ("run", Manifest { run: vec![], ..manifest() }),
        ("run", Manifest { builtin: "demo".into(), ..manifest() }),
        ("run", Manifest { run: vec!["a\0b".into()], ..manifest() }),
        ("files", Manifest { files: vec![file("../x", 32)], ..manifest() }),
        ("files", Manifest { files: vec![file("/x", 32)], ..manifest() }),
        ("files", Manifest { files: vec![file("a//x", 32)], ..manifest() }),
        ("files", Manifest { files: vec![file("x", 31)], ..manifest() }),
        ("files", Manifest { files: vec![file("x", 32), file("x", 32)], ..manifest() }),
        ("env", Manifest { env: [("A=B".to_owned(), String::new())].into(), ..manifest() }),
        ("ports", Manifest { ports: port(65536), ..manifest() }),
        ("check", Manifest { check: Some(check("http", "http", "/")), ..manifest() }),
        ("check", Manifest { check: Some(check("http", "http", "x")), ports: port(0), ..manifest() }),
        ("check", Manifest { check: Some(check("exec", "", "")), ..manifest() }),
        ("check", Manifest { check: Some(check("udp", "http", "/")), ports: port(0), ..manifest() }),
        ("stop_signal", Manifest { stop_signal: "rm -rf".into(), ..manifest() }),
        ("hooks", Manifest { hooks: Some(Hooks::default()), ..manifest() }),
        ("hooks", Manifest { hooks: hooks(&[""], 0), ..manifest() }),
        ("hooks", Manifest { hooks: hooks(&["a", "b\0"], 0), ..manifest() }),
        ("hooks", Manifest { hooks: hooks(&["a"; 4097], 0), ..manifest() }),
        ("hooks", Manifest { hooks: hooks(&["a"], 3_600_001), ..manifest() }),
    ] {
        assert_eq!(field(&muster(&broken), operator(), bytes(&broken)), expected, "{broken:?}");
    }
    let good = Manifest {
        check: Some(check("http", "http", "/up")),
        ports: port(0),
        files: vec![file("bin/api", 32)],
        hooks: hooks(&["bin/parted", "-v"], 3_600_000),
        ..manifest()
    };
    assert!(authorise(&bloc(), &statement(&muster(&good), operator(), bytes(&good))).is_ok());

    for (expected, broken) in [
        ("revision", Place { revision: vec![7; 31], ..place() }),
        ("place", Place { place: String::new(), ..place() }),
        ("on_split", Place { on_split: "both".into(), ..place() }),
        ("on_split", Place { on_split: "home:".into(), ..place() }),
        ("on_rejoin", Place { on_rejoin: "fight".into(), ..place() }),
        ("single", Place { single: true, ..place() }),
    ] {
        assert_eq!(field("place/web/api", operator(), bytes(&broken)), expected, "{broken:?}");
    }
    for on_split in ["majority", "stop", "home:n1"] {
        let single = Place { single: true, on_split: on_split.into(), ..place() };
        assert!(authorise(&bloc(), &statement("place/web/api", operator(), bytes(&single))).is_ok());
    }

    let node = || Author::Fulcrum(id("n0"));
    for (expected, broken) in [
        ("horde", row("Web")),
        ("horde", row("ADMIN")),
        ("horde", row("++web")),
        ("admin", Row { admin: "yes".into(), ..row("web") }),
        ("labels", Row { labels: [("a\n".to_owned(), String::new())].into(), ..row("web") }),
    ] {
        assert_eq!(field("row/n0/0", node(), bytes(&broken)), expected, "{broken:?}");
    }
    for good in [row(""), row("+web"), Row { admin: "+ADMIN".into(), ..row("main") }] {
        assert!(authorise(&bloc(), &statement("row/n0/0", node(), bytes(&good))).is_ok(), "{good:?}");
    }
}

#[test]
fn a_peer_cannot_push_what_its_author_may_not_write_nor_send_it_again_and_again() {
    let mut net = Net::flock(2);
    let digest = net.nodes[0].facts.digest();
    let forged = seal(&statement("horde/web", Author::Fulcrum(id("n1")), horde(9)));
    for _ in 0..3 {
        net.input(0, Input::Versions { from: member(1), versions: vec![forged.clone()] });
    }
    net.settle();
    assert_eq!(net.nodes[0].facts.digest(), digest);
    assert!(net.nodes[0].disk.is_empty());
    let ignored = net.nodes[0].answers.iter().filter(|answer| matches!(answer, Output::Ignored { .. })).count();
    assert_eq!(ignored, 1, "it is said once");
}

#[test]
fn a_door_refuses_with_the_reason_and_changes_nothing() {
    let mut net = Net::flock(2);
    let far = net.wall().0 + 61_000_000;
    let near = net.wall().0 + 59_000_000;
    let own_row = seal(&statement("row/n0/0", Author::Fulcrum(id("n0")), bytes(&row("web"))));
    let good = || version("horde/a", horde(1), vec![], WALL, 1);
    for (request, versions, reason) in [
        (1, vec![], "1 to 1024 facts"),
        (2, vec![good(), version("horde/web", horde(1), vec![], far, 0)], "ahead of the clock of n0"),
        (3, vec![good(), version("ship/1", horde(1), vec![], WALL, 0)], "no kind of fact"),
        (4, vec![good(), own_row], "sign it with an operator's key"),
        (5, vec![good(), version("place/web/api", horde(1), vec![], WALL, 0)], "not of the form"),
    ] {
        net.input(0, Input::Write { request, versions });
        net.settle();
        let why = net.refused(0, request).unwrap_or_else(|| panic!("{reason}: not refused"));
        assert!(why.contains(reason), "{why}");
    }
    assert_eq!((net.nodes[0].facts.count(), net.nodes[0].disk.len()), (0, 0));
    net.input(0, Input::Write { request: 6, versions: vec![version("horde/web", horde(1), vec![], near, 0)] });
    net.settle();
    assert_eq!(net.written(0, 6), Some((1, true)));
    assert!(net.nodes[0].state == Disk::Good);
}

#[test]
fn a_value_from_the_far_future_can_be_changed() {
    // Accepted at a door whose clock is ten years ahead: elsewhere it counts as signed, and the next edit replaces it.
    let mut net = Net::flock(2);
    let future = version("horde/web", horde(1), vec![], WALL + 315_360_000_000_000, 0);
    net.input(0, Input::Versions { from: member(1), versions: vec![future] });
    net.settle();
    net.write(0, 1, "horde/web", horde(2));
    net.settle();
    assert_eq!(net.nodes[0].facts.value("horde/web").cloned(), horde(2));
    assert_eq!(net.nodes[0].facts.conflicts().count(), 0);
    let wall = net.wall();
    assert!(net.nodes[0].facts.stamp(wall).wall <= wall.0 + 60_000_000);
}

/// A review's find: a node could fill everybody's memory with rows and with versions of its row.
#[test]
fn a_node_is_taken_in_with_so_many_rows_and_so_many_versions_of_one_and_no_more() {
    let mut net = Net::flock(2);
    let mut wall = WALL;
    let mut push = |net: &mut Net, path: &str, author: Author, value: Option<Bytes>| {
        wall += 1;
        let version = seal(&Statement { stamp: Stamp { wall, logical: 0 }, ..statement(path, author, value) });
        net.input(0, Input::Versions { from: member(1), versions: vec![version] });
        net.settle();
    };
    for number in 0..100 {
        push(&mut net, &format!("row/n7/f{number}"), Author::Fulcrum(id(&format!("n7/f{number}"))), bytes(&row("web")));
    }
    assert_eq!(net.nodes[0].facts.rows().count(), 64);
    for _ in 0..100 {
        push(&mut net, "row/n8/0", Author::Fulcrum(id("n8")), bytes(&row("web")));
    }
    assert_eq!(net.nodes[0].facts.heads("row/n8/0").len(), 8);
    let ignored = net.nodes[0].answers.iter().filter(|answer| matches!(answer, Output::Ignored { .. })).count();
    assert_eq!(ignored, 36 + 92, "each is said once");
    // Others are not hindered, nor is an operator who cleans up.
    push(&mut net, "row/n9/0", Author::Fulcrum(id("n9")), bytes(&row("web")));
    push(&mut net, "row/n8/0", operator(), None);
    assert_eq!((net.nodes[0].facts.heads("row/n9/0").len(), net.nodes[0].facts.heads("row/n8/0").len()), (1, 9));
}
