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
    assert!(ran.unfit().contains("would be REFUSED"), "{}", ran.out);
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

    for flag in ["--label zone=a", "--seed 10.0.0.1:2789"] {
        crux(&format!("ca issue --ca ca --operator a --out y {flag}")).failed(2, "E200", &["cannot be used with"]);
    }
    assert_eq!(crux("ca issue --ca ca --node n1 --out x").err, "");
    let again = crux("ca issue --ca ca --node n1 --out x2");
    assert!(again.code == 0 && again.err.contains("node n1 was issued a certificate before"), "{}", again.err);
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
    up("nowhere").failed_among_logs(1, "E102", &["cert.pem", "next: crux ca init --bloc NAME"]);
    up("alice").failed_among_logs(1, "E102", &["only a node runs a fulcrum"]);
    up("n1").failed_among_logs(1, "E101", &[&listen, "next: --listen ADDR:PORT"]);
}

#[test]
fn an_archive_is_taken_wherever_a_directory_is() {
    let world = World::new();
    let crux = |words: &str| world.crux(&words.split(' ').collect::<Vec<_>>());
    crux("ca init --bloc acme --out ca").done();
    let made = crux("ca issue --ca ca --node n1.rack3 --tar t/n1.tar --seed nowhere.invalid:1 --label zone=a -o json");
    assert_eq!(json(made.done())["paths"], serde_json::json!(["t/n1.tar"]));
    let mode = std::fs::metadata(world.path("t/n1.tar")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "a key is in it");
    let found = json(crux("ca inspect t/n1.tar -o json").done());
    assert_eq!((&found["place"], &found["key"], &found["refusal"]), (&"archive".into(), &"fits".into(), &Value::Null));
    assert_eq!((&found["name"], &found["labels"]["zone"]), (&"n1.rack3".into(), &"a".into()));
    crux("ca issue --ca ca --node n1 --tar t/n1.tar").failed(1, "E100", &["t/n1.tar exists already", "--tar NEW-FILE"]);
    crux("ca issue --ca ca --node n1 --tar t/n1.tar --out n1").failed(1, "E100", &["t/n1.tar exists already"]);
    assert!(!world.path("n1").exists(), "nothing half done");

    // As the identity of a fulcrum: it comes as far as the port, which is taken, and reads the settings in it.
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    let up = |identity: &str| world.crux(&["up", "--identity", identity, "--state", "state", "--listen", &listen]);
    up("t/n1.tar").failed_among_logs(1, "E101", &[&listen]);
    crux("ca issue --ca ca --operator ann --no-profile --tar ann.tar").done();
    up("ann.tar").failed_among_logs(1, "E102", &["only a node runs a fulcrum"]);
    let whole = std::fs::read(world.path("t/n1.tar")).unwrap();
    let write = |bytes: &[u8]| std::fs::write(world.path("t/n1.tar"), bytes).unwrap();
    write(&whole[..whole.len() - 700]);
    up("t/n1.tar").failed_among_logs(
        1,
        "E102",
        &["t/n1.tar: the tar archive is truncated", "next: crux ca inspect t/n1.tar"],
    );
    crux("ca inspect t/n1.tar").failed(1, "E102", &["t/n1.tar: the tar archive is truncated; copy it again"]);
    write(b"hello");
    up("t/n1.tar").failed_among_logs(1, "E102", &["t/n1.tar: it is neither a directory nor a tar archive"]);
    write(&whole);
    std::fs::set_permissions(world.path("t/n1.tar"), std::fs::Permissions::from_mode(0o644)).unwrap();
    up("t/n1.tar").failed_among_logs(1, "E102", &["t/n1.tar may be read by every user (mode 644); run `chmod 600"]);
    assert!(crux("ca inspect t/n1.tar").unfit().contains("cannot be USED: t/n1.tar may be read by every user"));
}

#[test]
fn each_broken_identity_is_one_clear_error() {
    let world = World::new();
    let crux = |words: &str| world.crux(&words.split(' ').collect::<Vec<_>>());
    crux("ca init --bloc acme --out ca").done();
    crux("ca issue --ca ca --node n2 --out n2").done();
    let write = |name: &str, bytes: &[u8]| std::fs::write(world.path("n1").join(name), bytes).unwrap();
    type Case<'a> = (&'a str, Box<dyn Fn() + 'a>, &'a str);
    let cases: [Case<'_>; 6] = [
        ("no key", Box::new(|| std::fs::remove_file(world.path("n1/key.pem")).unwrap()), "cannot read n1/key.pem"),
        ("no certificate", Box::new(|| write("cert.pem", b"x")), "n1/cert.pem: it holds no PEM certificate"),
        (
            "another key",
            Box::new(|| write("key.pem", &std::fs::read(world.path("n2/key.pem")).unwrap())),
            "n1/key.pem: it is not the key of cert.pem beside it",
        ),
        (
            "a key for all",
            Box::new(|| {
                std::fs::set_permissions(world.path("n1/key.pem"), std::fs::Permissions::from_mode(0o644)).unwrap()
            }),
            "n1/key.pem may be read by every user (mode 644); run `chmod 600 n1/key.pem`",
        ),
        (
            "a leaf as root",
            Box::new(|| write("trust.pem", &std::fs::read(world.path("n1/cert.pem")).unwrap())),
            "n1/trust.pem: the trust set is unusable: a certificate in it is not a CA's",
        ),
        ("no roots", Box::new(|| write("trust.pem", b"")), "n1/trust.pem: it holds no PEM certificate"),
    ];
    for (what, breaks, expected) in cases {
        let _ = std::fs::remove_dir_all(world.path("n1"));
        crux("ca issue --ca ca --node n1 --out n1").done();
        let secret = std::fs::read_to_string(world.path("n1/key.pem")).unwrap().lines().nth(1).unwrap().to_owned();
        breaks();
        let ran = crux("up --identity n1 --state state --listen 127.0.0.1:0");
        assert!(!ran.err.contains(&secret), "{what}: no key in a log");
        ran.failed_among_logs(1, "E102", &[expected, "next: crux ca inspect n1"]);
        let looked = crux("ca inspect n1");
        assert!(looked.code == 1 || looked.out.contains("cannot be USED"), "{what}: {}{}", looked.out, looked.err);
    }
}

#[test]
fn a_beacon_is_a_role_of_its_own_with_a_shorter_life() {
    let world = World::new();
    let crux = |words: &str| world.crux(&words.split(' ').collect::<Vec<_>>());
    crux("ca init --bloc acme --out ca").done();
    crux("ca issue --ca ca --beacon watch --out b --days 101").failed(
        2,
        "E200",
        &["a beacon may have 1 to 100 (`--days`)"],
    );
    crux("ca issue --ca ca --beacon watch --out b --days many").failed(2, "E200", &["--days"]);
    crux("ca issue --ca ca --beacon watch --out b --readmit").failed(2, "E200", &["--readmit"]);
    assert_eq!(
        json(crux("ca issue --ca ca --beacon watch --out b -o json").done())["id"],
        "spiffe://acme/beacon/watch"
    );
    let found = json(crux("ca inspect b -o json").done());
    assert_eq!((&found["role"], &found["life_days"], &found["max_days"]), (&"beacon".into(), &90.into(), &100.into()));
    let found = json(crux("ca inspect b --role node -o json").unfit());
    assert_eq!(found["refusal_code"], "wrong-role");
    crux("up --identity b --state s --listen 127.0.0.1:0").failed_among_logs(
        1,
        "E102",
        &["only a node runs a fulcrum"],
    );
}

#[test]
fn a_renewal_keeps_what_it_should() {
    let world = World::new();
    let crux = |words: &str| world.crux(&words.split(' ').collect::<Vec<_>>());
    let key = |path: &str| std::fs::read(world.path(path).join("key.pem")).unwrap();
    let of = |path: &str| json(crux(&format!("ca inspect {path} -o json")).done());
    crux("ca init --bloc acme --out ca").done();
    crux("ca issue --ca ca --node n1 --out one").done();
    crux("ca issue --ca ca --node n1 --out n1 --readmit --label zone=a --seed a:1 --days 30").done();
    crux("ca renew n1 --ca ca").failed(2, "E200", &["--out"]);
    crux("ca renew nowhere --ca ca --out x").failed(3, "E300", &["nowhere/cert.pem", "next: crux ca inspect nowhere"]);
    crux("ca renew one --ca ca --out x").failed(2, "E200", &["admission 1 of node/n1, but 2 was issued before"]);
    crux("ca renew n1 --ca ca --out x --days 401").failed(2, "E200", &["401 days; a node may have 1 to 400"]);
    crux("ca init --bloc acme --out other").done();
    crux("ca renew n1 --ca other --out x").failed(
        2,
        "E200",
        &["not of this CA", "signed by none of the trusted roots"],
    );
    assert!(!world.path("x").exists());

    let old = of("n1");
    assert_eq!(json(crux("ca renew n1 --ca ca --out new -o json").done())["admission"], 2);
    let new = of("new");
    for same in ["id", "admission", "labels", "life_days", "issuer"] {
        assert_eq!(old[same], new[same], "{same}");
    }
    assert_ne!(old["serial"], new["serial"]);
    assert_ne!(key("n1"), key("new"));
    assert!(std::fs::read_to_string(world.path("new/crux.toml")).unwrap().contains("a:1"));
    let before = key("n1");
    crux("ca renew n1 --ca ca --in-place --days 60").done();
    assert_eq!((key("n1"), &of("n1")["life_days"], &of("n1")["key"]), (before.clone(), &60.into(), &"fits".into()));
    crux("ca renew n1 --ca ca --tar n1.tar --keep-key").done();
    crux("ca renew n1.tar --ca ca --in-place").done();
    assert_eq!(of("n1.tar")["key"], "fits");
    // A renewal was no readmission.
    crux("ca issue --ca ca --node n1 --out again").done();
    assert_eq!(of("again")["admission"], 2);
    crux("ca issue --ca ca --node n1 --out third --readmit").done();
    assert_eq!(of("third")["admission"], 3);
}

#[test]
fn roots_are_rotated_by_the_command() {
    let world = World::new();
    let crux = |words: &str| world.crux(&words.split(' ').collect::<Vec<_>>());
    crux("ca init --bloc acme --out old").done();
    crux("ca init --bloc acme --out new").done();
    crux("ca issue --ca old --node n1 --out n1").done();
    let roots =
        |path: &str| crux(&format!("ca trust {path} -o name")).done().lines().map(str::to_owned).collect::<Vec<_>>();
    let (old, new) = (roots("old")[0].clone(), roots("new")[0].clone());
    assert_eq!(roots("n1"), std::slice::from_ref(&old));
    crux("ca trust n1 --add new").done();
    crux("ca trust old --add new/ca.pem").done();
    assert_eq!(roots("n1"), [old.clone(), new.clone()]);
    crux("ca issue --ca old --node n2 --out n2").done();
    assert_eq!(roots("n2"), [old.clone(), new.clone()]);
    crux(&format!("ca trust n1 --remove {}", &old[..12])).failed(1, "E102", &["renew it by another CA first"]);
    crux(&format!("ca trust new --remove {new}")).failed(1, "E102", &["the CA's own root", "make another CA"]);
    crux("ca trust n1 --remove 00000000").failed(3, "E300", &["fingerprint", "next: crux ca trust n1"]);
    crux("ca issue --ca new --node n1 --out n1-new").done();
    crux("ca trust n1-new --add n2").done();
    assert_eq!(json(crux("ca inspect n2 --trust n1-new -o json").done())["refusal"], Value::Null);
    crux(&format!("ca trust n1-new --remove {old}")).done();
    assert_eq!(json(crux("ca inspect n2 --trust n1-new -o json").unfit())["refusal_code"], "other-root");
    // The same by renewing: the new CA trusts the old root for a while and takes its bundles over.
    crux("ca renew n2 --ca new --in-place").failed(2, "E200", &["nor of a root that it trusts"]);
    crux("ca trust new --add old").done();
    crux("ca renew n2 --ca new --in-place").done();
    crux(&format!("ca trust n2 --remove {}", &old[..8])).done();
    assert_eq!((roots("n2"), &json(crux("ca inspect n2 -o json").done())["refusal"]), (vec![new], &Value::Null));
    crux("ca init --bloc other --out other").done();
    crux("ca trust n1 --add other").failed(1, "E102", &["of bloc other"]);
}

#[test]
fn an_operator_is_limited_by_its_certificate_and_stays_so() {
    let world = World::new();
    let crux = |words: &str| world.crux(&words.split(' ').collect::<Vec<_>>());
    let scopes = |path: &str| json(crux(&format!("ca inspect {path} -o json")).done())["scopes"].clone();
    crux("ca init --bloc acme --out ca").done();
    let issue = "ca issue --ca ca --no-profile --operator";
    crux(&format!("{issue} bob --out bob --scope apply,horde@web --scope forget")).done();
    crux(&format!("{issue} ann --out ann")).done();
    assert_eq!(scopes("bob"), serde_json::json!(["apply@web", "forget", "horde@web"]));
    assert_eq!(scopes("ann"), serde_json::json!([]));
    assert!(crux("ca inspect bob").done().contains("scopes     apply@web forget horde@web"));
    assert!(crux("ca inspect ann").done().contains("scopes     everything"));
    crux("ca renew bob --ca ca --out bob2").done();
    assert_eq!(scopes("bob2"), scopes("bob"));
    crux("ca issue --ca ca --node n1 --out n1").done();
    assert_eq!(scopes("n1"), Value::Null);
    for (scope, said) in [
        (
            "run@web",
            "\"run\" is no verb; they are horde apply forget expel cordon label prune access down lab restore allow",
        ),
        ("expel@web", "expel concerns nodes"),
        ("apply@Web", "\"Web\" is not a horde name"),
        ("@", "is not a horde name"),
    ] {
        crux(&format!("{issue} eve --out eve --scope {scope}")).failed(
            2,
            "E200",
            &[&format!("--scope {scope}: "), said],
        );
    }
    crux("ca issue --ca ca --node n2 --out n2 --scope apply").failed(
        2,
        "E200",
        &["only an operator is limited", "--scope"],
    );
    assert!(!world.path("eve").exists() && !world.path("n2").exists());
}
