//! Names, khan and the other texts that people write and fulcrums pass on.

use crate::drive::Target;
use crate::{slow, target, text, texts};
use crux_core::hash::sha256;
use crux_core::khan::{self, Ask, Host, HostState, Quota, StageCounts, World};
use crux_core::picture::Subject;
use crux_core::resources::Resources;
use crux_core::services::admit::Admits;
use crux_core::services::instance::InstanceId;
use crux_core::services::proctor::{OnRejoin, OnSplit};
use crux_names::{
    BlocName, ClientName, EndpointName, FulcrumId, FulcrumName, Hash256, HordeName, NodeName, OperatorName, RuleId,
    ServiceName,
};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

/// The targets of this file.
pub const TARGETS: &[Target] = &[
    target("names", names, name_seeds),
    target("instance_id", instance_id, instance_ids),
    slow(target("khan_program", khan_program, programs)),
    slow(target("khan_set", khan_set, sets)),
    target("khan_condition", khan_condition, conditions),
    target("khan_where", khan_where, wheres),
    target("policies", policies, policy_seeds),
    target("why_subject", why_subject, subjects),
];

fn name_seeds() -> Vec<Vec<u8>> {
    let hash = sha256(b"x").to_string();
    let long = ["a"; 100].join(".");
    texts(&[
        "acme.prod",
        "n1.rack3.site-a",
        "n1/b",
        "ADMIN",
        "main",
        "ann",
        "api",
        "0",
        &hash,
        &long,
        "web/*",
        "other//web/api",
        "01ARZ3NDEKTSV4RRFFQ69G5FAV",
    ])
}

fn one_spelling<T: FromStr + Display>(text: &str) {
    if let Ok(name) = text.parse::<T>() {
        assert_eq!(name.to_string(), text, "a name has two spellings");
    }
}

/// A name is written as it was read.
pub fn names(data: &[u8]) {
    let Some(text) = text(data) else { return };
    one_spelling::<BlocName>(text);
    one_spelling::<NodeName>(text);
    one_spelling::<FulcrumName>(text);
    one_spelling::<OperatorName>(text);
    one_spelling::<HordeName>(text);
    one_spelling::<ServiceName>(text);
    one_spelling::<Hash256>(text);
    one_spelling::<ClientName>(text);
    one_spelling::<EndpointName>(text);
    one_spelling::<RuleId>(text);
    // The default fulcrum may be written out.
    if let Ok(id) = text.parse::<FulcrumId>() {
        assert_eq!(id.to_string().parse(), Ok(id));
    }
}

fn instance_ids() -> Vec<Vec<u8>> {
    texts(&["n1:697df3c0:1", "n1.site-a/b:1:18446744073709551615"])
}

/// An instance's id written out is read as the same.
pub fn instance_id(data: &[u8]) {
    let Some(text) = text(data) else { return };
    if let Ok(id) = text.parse::<InstanceId>() {
        assert_eq!(id.to_string().parse(), Ok(id));
    }
}

fn programs() -> Vec<Vec<u8>> {
    texts(&[
        "big := LABEL(size=big)\npick(api, 3, big & !NODE(n1))\nstart api after 2 of db.ready cache\n",
        "pick(web, SIZE(ALL) * 2 - 1 / 3, ALL, by zone)\npick(agent, SIZE(ALL), ALL)",
        "a := b | LABEL(zone)\nb := pick(db, 3, ALL)\npick(x, (1 + SIZE(a)) * 4, (a | b) & ALL) # a comment\n",
        "start web after 50% of api.started done-job.done",
    ])
}

/// Two racks of hosts, one of them not open, and something that runs already.
fn world() -> World {
    let host = |n: usize| {
        let labels = BTreeMap::from([
            ("zone".to_owned(), ["a", "b"][n % 2].to_owned()),
            ("size".to_owned(), ["big", "small"][n / 3 % 2].to_owned()),
        ]);
        let state = [HostState::Open, HostState::Open, HostState::Cordoned, HostState::Frozen][n % 4];
        let capacity = (n != 4).then_some(Resources { cpu_milli: 2_000, memory: 4 << 30, disk: 0 });
        let busy = Resources { cpu_milli: 500, ..Resources::default() };
        (format!("n{n}").parse().expect("a fulcrum"), Host { labels, state, capacity, busy })
    };
    let running = BTreeMap::from([("n0".parse().expect("a fulcrum"), vec![1, 2])]);
    let each = Resources { cpu_milli: 400, memory: 1 << 30, disk: 0 };
    let ask = Ask { each, runs: [(1, Resources { cpu_milli: 900, ..each })].into() };
    World {
        most: Some(50),
        avoid: BTreeMap::new(),
        hosts: (0..6).map(host).collect(),
        running: [("api".parse().expect("a service"), running)].into(),
        asks: [("api".parse().expect("a service"), ask)].into(),
        quota: Some(Quota { of: "horde web".to_owned(), most: Resources { cpu_milli: 6_000, memory: 0, disk: 0 } }),
    }
}

/// A program prints back as it means, and placing it ends.
pub fn khan_program(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let Ok(program) = khan::parse(text) else { return };
    let printed = program.to_string();
    let again = khan::parse(&printed);
    assert_eq!(again.map(|again| again.to_string()).as_ref(), Ok(&printed), "printed it reads otherwise");
    let world = world();
    let placement = khan::place(&program, &world);
    assert_eq!(khan::place(&program, &world), placement, "the same input is placed in two ways");
    for placed in placement.services.values() {
        assert!(placed.on.keys().all(|host| world.hosts.contains_key(host)), "placed where nobody is");
    }
}

fn sets() -> Vec<Vec<u8>> {
    texts(&["ALL & !(LABEL(zone=a) | NODE(n1/b))", "pick(api, 3, ALL, by zone)", "a | b & !c"])
}

/// A set prints back as it means.
pub fn khan_set(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let Ok(set) = khan::parse_set(text) else { return };
    let printed = set.to_string();
    assert_eq!(khan::parse_set(&printed).map(|set| set.to_string()).as_ref(), Ok(&printed));
}

fn conditions() -> Vec<Vec<u8>> {
    texts(&["2 of db.ready", "50% of api.started cache", "db", "job.done 4294967295 of x"])
}

/// Conditions print back as they mean, and are judged.
pub fn khan_condition(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let Ok(conditions) = khan::parse_condition(text) else { return };
    let printed = conditions.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    assert_eq!(khan::parse_condition(&printed).as_ref(), Ok(&conditions), "printed they read otherwise: {printed}");
    let counts = StageCounts { wanted: u64::MAX, started: u64::MAX, ready: 1, done: 0 };
    let stages = conditions.iter().map(|condition| (condition.service.clone(), counts)).collect();
    let _ = khan::may_start(&conditions, &stages);
}

fn wheres() -> Vec<Vec<u8>> {
    texts(&[
        "zone=a & node under site-a",
        "",
        "size = big",
        "node under rack1.site-b & zone=b & x=y",
        "zone=a & zone=b",
        "node under a & node under b",
    ])
}

/// The readers of a horde's `where`: what the command takes, the fulcrums understand, and they understand beside that only
/// what nobody can meet.
pub fn khan_where(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let (strict, loose) = (khan::parse_where(text), Admits::parse(text));
    let impossible = matches!(&strict, Err(error) if matches!(error.problem, khan::Problem::Contradiction { .. }));
    assert_eq!(strict.is_ok() || impossible, loose.is_ok(), "the command and the fulcrums disagree: {loose:?}");
    if impossible {
        let conditions = khan::read_where(text).expect("it reads");
        assert_eq!(khan::read_where(&conditions.to_string()).as_ref(), Ok(&conditions), "printed it reads otherwise");
    }
    if let Ok(conditions) = strict {
        let printed = conditions.to_string();
        assert_eq!(khan::parse_where(&printed).as_ref(), Ok(&conditions), "printed they read otherwise: {printed}");
    }
    if let Ok(admits) = loose {
        let host: FulcrumId = "n1.site-a".parse().expect("a fulcrum");
        let _ = admits.admits(&host, &BTreeMap::from([("zone".to_owned(), "a".to_owned())]));
    }
}

fn policy_seeds() -> Vec<Vec<u8>> {
    texts(&[
        "each-side",
        "majority",
        "stop",
        "home:zone=a",
        "home: n1",
        "keep-oldest",
        "keep-newest",
        "keep-home",
        "hook",
    ])
}

/// The texts of policies.
pub fn policies(data: &[u8]) {
    let Some(text) = text(data) else { return };
    if let Err(bad) = OnSplit::parse(text) {
        assert!(!bad.to_string().contains(char::is_control), "{bad}");
    }
    if let Err(bad) = OnRejoin::parse(text) {
        assert!(!bad.to_string().contains(char::is_control), "{bad}");
    }
}

fn subjects() -> Vec<Vec<u8>> {
    texts(&["node n1.site-a", "service web/api", "web/api.2", "pending api", "horde web", "flock", "n1:697df3c0:1"])
}

/// What `why` is asked about.
pub fn why_subject(data: &[u8]) {
    let Some(text) = text(data) else { return };
    if let Err(bad) = Subject::parse(text) {
        assert!(!bad.contains(char::is_control), "{bad}");
    }
}
