//! `crux ca`: round trips and refusals.

mod help;
use help::World;
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

#[test]
fn a_bundle_is_made_and_says_who_it_makes_its_owner() {
    let world = World::new();
    let init = world.crux(&["ca", "init", "--bloc", "acme.prod", "--out", "ca", "-o", "json"]);
    assert_eq!(json(init.done())["id"], "spiffe://acme.prod");

    let words = "ca issue --ca ca --node n1.site-a --out b/n1 --label zone=a --seed 10.0.0.1:2789 -o json";
    let issue = world.crux(&words.split(' ').collect::<Vec<_>>());
    assert_eq!(json(issue.done())["id"], "spiffe://acme.prod/node/n1.site-a");
    for name in ["cert.pem", "key.pem", "trust.pem", "crux.toml"] {
        assert!(world.path("b/n1").join(name).exists(), "{name}");
    }
    let mode = std::fs::metadata(world.path("b/n1/key.pem")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "a key is for its owner only");
    assert!(std::fs::read_to_string(world.path("b/n1/crux.toml")).unwrap().contains("10.0.0.1:2789"));

    let found = json(world.crux(&["ca", "inspect", "b/n1", "-o", "json"]).done());
    assert_eq!((&found["apiVersion"], &found["kind"]), (&"crux/v1".into(), &"Certificate".into()));
    assert_eq!(found["id"], "spiffe://acme.prod/node/n1.site-a");
    assert_eq!(
        (&found["labels"]["zone"], &found["chains"], &found["refusal"]),
        (&"a".into(), &true.into(), &Value::Null)
    );
    let text = world.crux(&["ca", "inspect", "b/n1/cert.pem"]);
    assert!(text.done().contains("would be admitted"), "{}", text.out);
}

#[test]
fn a_certificate_of_another_ca_is_said_to_be_refused() {
    let world = World::new();
    for ca in ["one", "two"] {
        world.crux(&["ca", "init", "--bloc", "acme", "--out", ca]).done();
        world.crux(&["ca", "issue", "--ca", ca, "--node", "n1", "--out", &format!("{ca}-n1")]).done();
    }
    std::fs::copy(world.path("two-n1/trust.pem"), world.path("one-n1/trust.pem")).unwrap();
    let ran = world.crux(&["ca", "inspect", "one-n1"]);
    assert!(ran.done().contains("would be REFUSED"), "{}", ran.out);
}

#[test]
fn an_operator_gets_a_profile_and_it_is_never_overwritten() {
    let world = World::new().with_operator();
    let profile = world.path("config/crux/profile");
    let key = std::fs::read(profile.join("key.pem")).unwrap();

    let again = world.crux(&["ca", "issue", "--ca", "ca", "--operator", "bob"]);
    again.failed(1, "E100", &["not overwritten", "next: crux ca issue --ca ca --operator bob --out NEW-DIR"]);
    let beside = world.crux(&["ca", "issue", "--ca", "ca", "--operator", "bob", "--out", "bob"]);
    assert!(beside.done().contains("spiffe://acme/operator/bob"));
    assert!(beside.err.contains("--as"), "{}", beside.err);
    assert_eq!(std::fs::read(profile.join("key.pem")).unwrap(), key);

    let other = World::new();
    other.crux(&["ca", "init", "--bloc", "acme", "--out", "ca"]).done();
    other.crux(&["ca", "issue", "--ca", "ca", "--operator", "eve", "--out", "eve", "--no-profile"]).done();
    assert!(!other.path("config/crux/profile").exists());
}

#[test]
fn what_cannot_be_issued_is_refused_with_the_next_step() {
    let world = World::new();
    world.crux(&["ca", "init", "--bloc", "acme", "--out", "ca"]).done();
    let crux = |words: &str| world.crux(&words.split(' ').collect::<Vec<_>>());
    crux("ca init --bloc acme --out ca").failed(1, "E100", &["not overwritten"]);
    crux("ca init --bloc Acme --out x").failed(2, "E200", &["\"Acme\" is not a bloc name"]);
    crux("ca issue --ca nowhere --node n1 --out x").failed(3, "E300", &["cannot read nowhere", "next: crux ca init"]);
    crux("ca issue --ca ca --node N1 --out x").failed(2, "E200", &["\"N1\" is not a node name"]);
    crux("ca issue --ca ca --node n1 --out x --days 401").failed(2, "E200", &["401 days", "1 to 400"]);
    crux("ca issue --ca ca --operator a --out x --days 101").failed(2, "E200", &["1 to 100"]);
    crux("ca issue --ca ca --node n1 --out x --seed nowhere").failed(2, "E200", &["is not HOST:PORT"]);
    crux("ca issue --ca ca --node n1 --out x --readmit").failed(2, "E200", &["never issued"]);
    crux("ca issue --ca ca --out x").failed(2, "E200", &["--node", "next: crux ca issue --help"]);
    crux("ca issue --ca ca --node n1 --operator a --out x").failed(2, "E200", &["cannot be used with"]);
    crux("ca issue --ca ca --node n1").failed(2, "E200", &["--out"]);
    crux("ca inspect nowhere").failed(3, "E300", &["nowhere"]);
    assert!(!world.path("x").exists(), "nothing half done");

    crux("ca issue --ca ca --node n1 --out x").done();
    crux("ca issue --ca ca --node n1 --out x").failed(1, "E100", &["x exists already"]);
    crux("ca issue --ca ca --node n1 --out y --readmit").done();
    let found = crux("ca inspect y -o json");
    assert_eq!(json(found.done())["admission"], 2);
}

#[test]
fn a_fulcrum_that_cannot_start_says_why() {
    let world = World::new();
    world.crux(&["ca", "init", "--bloc", "acme", "--out", "ca"]).done();
    world.crux(&["ca", "issue", "--ca", "ca", "--node", "n1", "--out", "n1"]).done();
    world.crux(&["ca", "issue", "--ca", "ca", "--operator", "alice", "--out", "alice", "--no-profile"]).done();
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    let up = |identity: &str| world.crux(&["up", "--identity", identity, "--state", "state", "--listen", &listen]);
    up("nowhere").failed_among_logs(1, "E102", &["cert.pem", "next: crux ca inspect nowhere"]);
    up("alice").failed_among_logs(1, "E102", &["only a node runs a fulcrum"]);
    up("n1").failed_among_logs(1, "E101", &[&listen, "next: --listen ADDR:PORT"]);
}
