//! Commands that write: signed by the operator, all or nothing.

mod help;
use crux_api::json::{Doc, Kind, Written, from_hex};
use crux_api::routes::WriteRequest;
use crux_api::write::AUTHOR_CONTEXT;
use crux_core::facts::value::{Manifest, Place};
use crux_core::facts::version::{Sealed, Statement};
use crux_pki::{Bundle, CertificateDer, unix_now};
use help::{Answer, Asked, Fake, World, sample};
use prost::Message;
use serde::Serialize;
use sha2::{Digest, Sha256};

fn doc<T: Kind + Serialize>(body: T) -> Answer {
    Answer::json(serde_json::to_string(&Doc(body)).unwrap())
}

const NO_FACTS: &str = r#"{"apiVersion":"crux/v1","kind":"FactList","facts":[],"digest":"00"}"#;
const NO_FILES: &str = r#"{"apiVersion":"crux/v1","kind":"FileList","files":[]}"#;

/// A fulcrum that has nothing yet and takes everything.
fn empty(asked: &Asked) -> Answer {
    match (asked.method.as_str(), asked.path.as_str()) {
        ("GET", "/v1/confab") => Answer::json(sample("Confab")),
        ("GET", "/v1/facts") => Answer::json(NO_FACTS),
        ("GET", "/v1/files") => Answer::json(NO_FILES),
        ("PUT", "/v1/files") => {
            let sha256 = crux_api::json::to_hex(&Sha256::digest(&asked.body));
            doc(crux_api::json::FileStored { sha256, size: crux_api::json::Counter(asked.body.len() as u64) })
        }
        ("POST", "/v1/facts") => doc(Written { ids: Vec::new(), others: 2, converged: true }),
        _ => Answer::Whole(404, Vec::new()),
    }
}

/// The statements that were sent, each with its signature checked against the profile's certificate.
fn statements(world: &World, fake: &Fake) -> Vec<Statement> {
    let bundle = Bundle::load(&world.path("config/crux/profile")).unwrap();
    let posts = fake.asked().into_iter().filter(|asked| asked.method == "POST" && asked.path == "/v1/facts");
    let mut statements = Vec::new();
    for post in posts {
        let request: WriteRequest = serde_json::from_slice(&post.body).unwrap();
        for sealed in request.versions {
            let sealed = Sealed::decode(from_hex(&sealed).unwrap().as_slice()).unwrap();
            let chain: Vec<CertificateDer<'static>> =
                sealed.author_chain.iter().map(|der| CertificateDer::from(der.to_vec())).collect();
            let author = bundle.trust().verify_chain(&chain, unix_now()).unwrap();
            assert!(author.signed(AUTHOR_CONTEXT, &sealed.statement, &sealed.author_signature));
            assert!(sealed.acceptor_chain.is_empty() && sealed.acceptor_signature.is_empty());
            statements.push(Statement::decode(sealed.statement).unwrap());
        }
    }
    statements
}

#[test]
fn a_write_without_an_operator_s_key_is_not_permitted_and_sends_nothing() {
    let world = World::new();
    let fake = Fake::start(&world, empty);
    let manifest = world.write("m.toml", "[service.api]\nrun = [\"sleep\", \"9\"]\n");
    let manifest = manifest.to_str().unwrap();
    for words in [&["run", "sleep", "9"][..], &["horde", "create", "web", "--want", "3"], &["apply", manifest]] {
        let words = [&["--at", fake.at()], words].concat();
        world.crux(&words).failed(4, "E400", &["no operator's key", "next: crux ca issue"]);
    }
    assert!(fake.asked().iter().all(|asked| asked.method == "GET"), "nothing was written");
}

#[test]
fn a_node_s_bundle_and_an_operator_of_another_bloc_are_refused() {
    let world = World::new().with_operator();
    let fake = Fake::start(&world, |asked| match asked.path.as_str() {
        "/v1/confab" => Answer::json(sample("Confab").replace("\"acme\"", "\"other\"")),
        _ => empty(asked),
    });
    world.crux(&["ca", "issue", "--ca", "ca", "--node", "n1", "--out", "n1"]).done();
    let create = ["horde", "create", "web", "--want", "3", "--at", fake.at()];
    world.crux(&[&create[..], &["--as", "n1"]].concat()).failed(4, "E401", &["is no operator"]);
    world.crux(&[&create[..], &["--as", "nowhere"]].concat()).failed(4, "E400", &["nowhere"]);
    world.crux(&create).failed(4, "E401", &["bloc acme", "bloc other"]);
    assert_eq!(statements(&world, &fake), []);
}

#[test]
fn run_pushes_the_program_and_writes_two_signed_facts() {
    let world = World::new().with_operator();
    let fake = Fake::start(&world, empty);
    world.write("server", "#!/bin/sh\nsleep 9\n");
    let ran = world.crux(&["run", "--count", "3", "--port", "http", "--at", fake.at(), "./server", "--verbose"]);
    assert!(ran.done().contains("+ create place/main/server"), "{}", ran.out);

    let puts: Vec<Asked> = fake.asked().into_iter().filter(|asked| asked.method == "PUT").collect();
    assert_eq!(puts.len(), 1);
    assert_eq!(puts[0].body, b"#!/bin/sh\nsleep 9\n");
    let statements = statements(&world, &fake);
    let [muster, place] = &statements[..] else { panic!("{statements:?}") };
    let manifest = Manifest::decode(muster.value.clone().unwrap()).unwrap();
    assert_eq!(manifest.run, ["./server", "--verbose"]);
    assert_eq!(manifest.files[0].sha256, Sha256::digest(&puts[0].body).to_vec());
    assert!(manifest.files[0].executable);
    let revision = Manifest::revision(muster.value.as_ref().unwrap());
    assert_eq!(muster.path, format!("muster/server/{revision}"));
    assert_eq!(place.path, "place/main/server");
    let place = Place::decode(place.value.clone().unwrap()).unwrap();
    assert_eq!((place.place.as_str(), place.revision), ("pick(server, 3, ALL)", revision.0.to_vec()));
}

#[test]
fn accepted_but_not_converged_is_exit_code_six() {
    let world = World::new().with_operator();
    let fake = Fake::start(&world, |asked| match asked.method.as_str() {
        "POST" => doc(Written { ids: Vec::new(), others: 0, converged: false }),
        _ => empty(asked),
    });
    let ran = world.crux(&["horde", "create", "web", "--want", "3", "--where", "zone=a", "--at", fake.at()]);
    assert_eq!(ran.code, 6, "{}", ran.err);
    assert!(ran.err.contains("accepted, but only 0 other"), "{}", ran.err);
    assert!(ran.out.contains("want 3 where zone=a"), "{}", ran.out);
}

#[test]
fn what_is_wrong_is_told_before_anything_is_sent() {
    let world = World::new().with_operator();
    let fake = Fake::start(&world, empty);
    let manifest = |text: &str| {
        world.write("m.toml", text);
        world.crux(&["apply", "m.toml", "--at", fake.at()])
    };
    manifest("[service.api]\nrun = [\"a\"]\nplacee = 1\n").failed(2, "E201", &["m.toml:3:1: service.api.placee"]);
    manifest("[service.api]\nrun = [\"a\"]\nplace = \"pick(api, 3\"\n").failed(2, "E203", &["m.toml:3:"]);
    manifest("[service.api]\nrun = [\"a\"]\nsecrets = []\n").failed(2, "E202", &["not yet supported"]);
    manifest("[service.api]\nrun = [\"a\"]\nsingle = true\n").failed(2, "E201", &["refuses to guess"]);
    manifest("[service.api]\nrun = [\"a\"]\nhorde = \"web\"\n").failed(
        3,
        "E300",
        &["horde web, which does not exist", "next: crux horde create web"],
    );
    let crux = |words: &[&str]| world.crux(&[words, &["--at", fake.at()]].concat());
    crux(&["apply", "nowhere.toml"]).failed(2, "E201", &["cannot read nowhere.toml"]);
    crux(&["horde", "create", "main", "--want", "3"]).failed(2, "E200", &["built in"]);
    let impossible = ["horde", "create", "web", "--want", "3", "--where", "node under a & node under b"];
    crux(&impossible).failed(2, "E200", &["where", "neither lies under the other"]);
    crux(&["horde", "create", "web", "--want", "3", "--where", "zone a"]).failed(2, "E200", &["where", "column"]);
    crux(&["horde", "create", "web", "--want", "3", "--set", "big=ALL &"]).failed(2, "E200", &["set big"]);
    crux(&["horde", "set", "web", "--want", "3"]).failed(3, "E300", &["horde web does not exist"]);
    crux(&["horde", "delete", "web"]).failed(3, "E300", &["horde web does not exist"]);
    let ran = world.crux(&["--at", fake.at(), "run", "--horde", "web", "sleep", "9"]);
    ran.failed(3, "E300", &["horde web, which does not exist"]);
    let ran = world.crux(&["--at", fake.at(), "run", "./nowhere"]);
    ran.failed(2, "E200", &["there is no file ./nowhere"]);
    assert!(fake.asked().iter().all(|asked| asked.method == "GET"), "nothing was sent");
}

#[test]
fn plan_says_what_would_change_and_changes_nothing() {
    let world = World::new();
    let fake = Fake::start(&world, empty);
    world.write("m.toml", "[horde.web]\nwant = 2\n\n[service.api]\nhorde = \"web\"\nrun = [\"a\"]\n");
    let ran = world.crux(&["plan", "m.toml", "--exit-code", "--at", fake.at()]);
    assert_eq!(ran.code, 10, "{}", ran.err);
    for text in
        ["+ create horde/web", "then want 2", "+ create muster/api/", "+ create place/web/api", "pick(api, 1, ALL)"]
    {
        assert!(ran.out.contains(text), "{text}: {}", ran.out);
    }
    world.crux(&["plan", "m.toml", "--at", fake.at()]).done();
    assert!(fake.asked().iter().all(|asked| asked.method == "GET"));

    let other = World::new();
    let intent = crux_api::intent::Intent::load(&world.path("m.toml")).unwrap();
    let facts: Vec<serde_json::Value> = intent
        .facts
        .iter()
        .map(|fact| {
            let value = fact.value.as_deref().map(crux_api::json::to_hex);
            serde_json::json!({"path": fact.path, "heads": [{"id": "ab".repeat(32), "value": value, "ancestors": [],
                "wall": "5", "logical": 0, "author": "operator alice"}]})
        })
        .collect();
    let list =
        serde_json::json!({"apiVersion": "crux/v1", "kind": "FactList", "facts": facts, "digest": "00"}).to_string();
    let fake = Fake::start(&other, move |_| Answer::json(list.clone()));
    let plan = world.crux(&["plan", "m.toml", "--exit-code", "--at", fake.at()]);
    assert_eq!(plan.done(), "nothing to change; 3 facts are as they should be\n");
}

#[test]
fn what_is_fetched_is_verified_and_a_wrong_file_leaves_nothing() {
    let world = World::new();
    let fake = Fake::start(&world, |asked| match asked.method.as_str() {
        "GET" if asked.path.len() > "/v1/files/".len() => Answer::Whole(200, b"content".to_vec()),
        _ => empty(asked),
    });
    let good = crux_api::json::to_hex(&Sha256::digest(b"content"));
    let at = ["--at", fake.at()];
    world.crux(&[&["files", "fetch", &good, "--out", "got"], &at[..]].concat()).done();
    assert_eq!(std::fs::read(world.path("got")).unwrap(), b"content");
    assert_eq!(world.crux(&[&["files", "fetch", &good], &at[..]].concat()).done(), "content");
    let wrong = "00".repeat(32);
    let ran = world.crux(&[&["files", "fetch", &wrong, "--out", "bad"], &at[..]].concat());
    ran.failed(1, "E100", &["thrown away"]);
    let left = std::fs::read_dir(world.path(""))
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("bad"));
    assert_eq!(left.count(), 0);
    world.crux(&["files", "fetch", "xyz"]).failed(2, "E200", &["64 lower-case hex digits"]);

    world.write("data", "content");
    let ran = world.crux(&[&["files", "push", "data"], &at[..]].concat());
    assert_eq!(ran.done().trim(), good);
    world.crux(&[&["files", "push", "data", "nowhere"], &at[..]].concat()).failed(1, "E100", &["nowhere"]);
}

#[test]
fn a_forgotten_node_s_row_is_removed_by_the_operator_s_signature() {
    let world = World::new().with_operator();
    let head = crux_api::json::Head {
        id: crux_api::json::to_hex(&[9; 32]),
        value: Some("00".into()),
        readable: None,
        ancestors: Vec::new(),
        wall: crux_api::json::Counter(1),
        logical: 0,
        author: "n7".into(),
    };
    let fact = crux_api::json::Fact { path: "row/n7/0".into(), heads: vec![head] };
    let list = crux_api::json::FactList { facts: vec![fact], digest: "00".into() };
    let facts = serde_json::to_string(&Doc(list)).unwrap();
    let fake = Fake::start(&world, move |asked| match (asked.method.as_str(), asked.path.as_str()) {
        ("GET", "/v1/facts") => Answer::json(facts.clone()),
        ("GET", "/v1/nodes") => Answer::json(r#"{"apiVersion":"crux/v1","kind":"NodeList","roster":[],"outside":[]}"#),
        ("POST", "/v1/node/forget") => doc(crux_api::json::Done { text: "n7 is forgotten".into() }),
        _ => empty(asked),
    });
    assert!(world.crux(&["node", "forget", "n7", "--at", fake.at()]).done().contains("n7 is forgotten"));
    let statements = statements(&world, &fake);
    let [row] = &statements[..] else { panic!("{statements:?}") };
    assert_eq!((row.path.as_str(), &row.value, row.ancestors.len()), ("row/n7/0", &None, 1));
    let forgot = |asked: &Asked| asked.path == "/v1/node/forget";
    assert!(fake.asked().iter().any(forgot), "and its addresses");
}

#[test]
fn a_member_of_the_flock_is_not_forgotten() {
    let world = World::new().with_operator();
    let fake = Fake::start(&world, |asked| match asked.path.as_str() {
        "/v1/nodes" => Answer::json(sample("NodeList")),
        _ => empty(asked),
    });
    let list: serde_json::Value = serde_json::from_str(&sample("NodeList")).unwrap();
    let member = list["roster"][0]["name"].as_str().unwrap();
    world.crux(&["node", "forget", member, "--at", fake.at()]).failed(1, "E100", &["is a member of this flock"]);
    assert!(fake.asked().iter().all(|asked| asked.method == "GET"), "nothing was sent");
}
