//! Fact versions, their statements, paths and values.

use crate::drive::Target;
use crate::{bloc, target, text, texts, wire};
use bytes::Bytes;
use crux_core::facts::authority::authorise;
use crux_core::facts::path::Path;
use crux_core::facts::rule::{NONCE, Rule, RuleFact, rule_path};
use crux_core::facts::value::{
    Check, Cordon, Expulsion, File, Hooks, Horde, Labels, Manifest, Place, Row, muster_path,
};
use crux_core::facts::version::{Author, Checked, Sealed, Stamp, Statement};
use crux_core::resources::Resources;
use crux_core::services::muster;
use crux_names::ServiceName;
use prost::Message;

/// The targets of this file.
pub const TARGETS: &[Target] = &[
    target("statement", statement, statements),
    target("sealed_version", sealed_version, sealed_versions),
    target("fact_path", fact_path, paths),
    target("fact_value", fact_value, values),
];

fn statements() -> Vec<Vec<u8>> {
    let of = |author, value: Option<&'static [u8]>, path: &str| Statement {
        bloc: bloc(),
        path: path.into(),
        value: value.map(Bytes::from_static),
        ancestors: vec![crux_core::hash::sha256(b"one"), crux_core::hash::sha256(b"two")],
        stamp: Stamp { wall: 1_700_000_000_000_000, logical: 3 },
        author,
        nonce: Bytes::from_static(b"0123456789abcdef"),
    };
    let operator = Author::Operator("ann".parse().expect("an operator's name"));
    let node = Author::Fulcrum("n1/b".parse().expect("a fulcrum"));
    let more = [of(operator, None, "place/web/api"), of(node, Some(b""), "row/n1/b")];
    let vectors = wire::vectors().filter(|(name, _)| *name == "facts.statement").map(|(_, bytes)| bytes);
    vectors.chain(more.iter().map(|statement| statement.encode().to_vec())).collect()
}

/// What an author signed is read, and means one thing.
pub fn statement(data: &[u8]) {
    let Ok(statement) = Statement::decode(Bytes::copy_from_slice(data)) else { return };
    assert_eq!(Statement::decode(statement.encode()).as_ref(), Ok(&statement), "written again it reads otherwise");
    let _ = authorise(&bloc(), &statement);
}

fn sealed_versions() -> Vec<Vec<u8>> {
    let seal = |statement: Vec<u8>| Sealed {
        statement: statement.into(),
        author_chain: vec![Bytes::from_static(b"leaf"), Bytes::from_static(b"between")],
        author_signature: Bytes::from_static(&[7; 64]),
        acceptor_chain: vec![Bytes::from_static(b"leaf")],
        acceptor_signature: Bytes::from_static(&[8; 64]),
    };
    statements().into_iter().map(|statement| seal(statement).encode_to_vec()).collect()
}

/// A version keeps its bytes, and its id is the hash of what was signed.
pub fn sealed_version(data: &[u8]) {
    let Ok(checked) = Checked::vouched(Bytes::copy_from_slice(data)) else { return };
    assert_eq!(checked.sealed(), data, "a version was changed while it was read");
    let sealed = Sealed::decode(data).expect("what was vouched for is sealed");
    assert_eq!(checked.id(), crux_core::hash::sha256(&sealed.statement));
    let _ = authorise(&bloc(), checked.statement());
}

fn paths() -> Vec<Vec<u8>> {
    let muster = format!("muster/api/{}", "ab".repeat(32));
    texts(&[
        "horde/web",
        "horde/ADMIN",
        "place/main/api",
        "row/n1.site-a/0",
        "cordon/n1/0",
        "label/n1",
        &muster,
        "rule/01ARZ3NDEKTSV4RRFFQ69G5FAV",
    ])
}

/// A path has one spelling, so that one thing cannot have two facts.
pub fn fact_path(data: &[u8]) {
    let Some(text) = text(data) else { return };
    if let Ok(path) = Path::parse(text) {
        assert_eq!(path.text(), text, "a path has two spellings");
    }
}

/// What an operator's manifest and a node say when they say everything.
fn values() -> Vec<Vec<u8>> {
    let pairs = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let manifest = Manifest {
        service: "api".into(),
        run: vec!["bin/api".into(), "${port.http}".into()],
        files: vec![File { path: "bin/api".into(), sha256: vec![7; 32], size: 10, executable: true }],
        env: pairs(&[("LOG", "info")]),
        ports: [("http".to_owned(), 0)].into(),
        check: Some(Check {
            kind: "http".into(),
            port: "http".into(),
            path: "/healthz".into(),
            command: Vec::new(),
            every_ms: 2_000,
        }),
        restart_from_ms: 500,
        restart_to_ms: 60_000,
        stop_signal: "INT".into(),
        stop_grace_ms: 3_000,
        resources: Some(Resources { cpu_milli: 500, memory: 256 << 20, disk: 0 }),
        hooks: Some(Hooks {
            parted: vec!["bin/parted".into(), "${port.http}".into()],
            rejoined: vec!["bin/rejoined".into()],
            timeout_ms: 30_000,
        }),
        ..Manifest::default()
    };
    let place = Place {
        revision: vec![7; 32],
        place: "pick(api, 3, big)".into(),
        after: vec!["2 of db.ready".into()],
        on_split: "majority".into(),
        on_rejoin: "keep-oldest".into(),
        ..Place::default()
    };
    let horde = Horde {
        want: 5,
        r#where: "zone=a & node under site-a".into(),
        sets: pairs(&[("big", "LABEL(size=big)")]),
        vacancy_after_ms: 30_000,
        quota: Some(Resources { cpu_milli: 8_000, memory: 16 << 30, disk: 0 }),
    };
    let capacity = Some(Resources { cpu_milli: 4_000, memory: 8 << 30, disk: 1 << 40 });
    let row = Row { capacity, horde: "web".into(), labels: pairs(&[("zone", "a")]), ..Row::default() };
    let rule = Rule {
        client: "other//web/*".into(),
        endpoint: "data/db".into(),
        note: "reads the prices".into(),
        made: 1_700_000_000_000_000,
        nonce: Bytes::from_static(&[7; NONCE]),
    };
    let expulsion = Expulsion { up_to: 2, reason: "stolen".into() };
    vec![
        manifest.encode_to_vec(),
        place.encode_to_vec(),
        horde.encode_to_vec(),
        row.encode_to_vec(),
        expulsion.encode_to_vec(),
        Cordon { reason: "new disk".into(), drain: true }.encode_to_vec(),
        Labels { labels: pairs(&[("zone", "a")]) }.encode_to_vec(),
        RuleFact { rule: rule.encode_to_vec().into(), removed: true }.encode_to_vec(),
    ]
}

/// A value under each path that could hold it: the table, the catalogue, the command's words.
pub fn fact_value(data: &[u8]) {
    let value = Bytes::copy_from_slice(data);
    let api = ServiceName::parse("api").expect("a service's name");
    let revision = Manifest::revision(data);
    let muster = muster_path(&api, &revision);
    let rule = RuleFact::decode(data).map_or_else(|_| "rule/x".to_owned(), |fact| rule_path(&fact.id()));
    for path in ["horde/web", "place/web/api", "row/n1/0", "expel/n7", "cordon/n7/0", "label/n7", &muster, &rule] {
        let author = if path.starts_with("row/") {
            Author::Fulcrum("n1".parse().expect("a fulcrum"))
        } else {
            Author::Operator("ann".parse().expect("an operator's name"))
        };
        let statement = Statement {
            bloc: bloc(),
            path: path.to_owned(),
            value: Some(value.clone()),
            ancestors: Vec::new(),
            stamp: Stamp::default(),
            author,
            nonce: Bytes::new(),
        };
        let taken = authorise(&bloc(), &statement).is_ok();
        assert!(!taken || crux_api::intent::describe(path, data).chars().count() > 0);
        let _ = crux_api::intent::readable(path, data);
        let read = match path.split_once('/').map(|(kind, _)| kind) {
            Some("horde") => Horde::decode(data).is_ok(),
            Some("place") => Place::decode(data).is_ok(),
            Some("row") => Row::decode(data).is_ok(),
            Some("expel") => Expulsion::decode(data).is_ok_and(|expulsion| expulsion.up_to > 0),
            Some("cordon") => Cordon::decode(data).is_ok(),
            Some("rule") => {
                let named = RuleFact::decode(data).ok().and_then(|fact| fact.named().ok());
                let removal = crux_api::write::NewFact::rule_removal(path, data);
                let removes = |removal: &crux_api::write::NewFact| {
                    removal.value.as_ref().is_some_and(|value| crux_api::write::removes_rule(path, value))
                };
                named.is_some() && removal.is_ok_and(|removal| removes(&removal))
            }
            Some("label") => crux_api::write::given_labels(data).is_ok(),
            _ => muster::entry(&api, &revision, &value).is_ok(),
        };
        assert!(!taken || read, "{path}: the table took what nobody can read");
    }
    if let Ok(intent) = crux_api::intent::HordeIntent::decode("web".parse().expect("a horde"), data) {
        let _ = intent.check();
    }
}
