//! From `ca init` to a verified peer, by way of files; and what the errors say.

use crux_names::{BlocName, NodeName, OperatorName};
use crux_pki::{Bundle, Ca, IssueRequest, PkiError, Refusal, Role, inspect, unix_now};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

fn bloc() -> BlocName {
    BlocName::parse("acme.prod").unwrap()
}

fn node(name: &str) -> Role {
    Role::Node(NodeName::parse(name).unwrap())
}

fn request(name: &str) -> IssueRequest {
    let mut request = IssueRequest::new(node(name));
    request.labels.insert("zone".to_owned(), "a".to_owned());
    request.seeds = vec!["n1.example:2789".to_owned(), "[::1]:2789".to_owned()];
    request
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_bundle_goes_through_files_and_is_admitted() {
    let dir = tempfile::tempdir().unwrap();
    let (ca_dir, bundle_dir) = (dir.path().join("ca"), dir.path().join("n1"));
    drop(Ca::init(bloc(), &ca_dir).unwrap());
    let mut ca = Ca::open(&ca_dir).unwrap();
    assert_eq!(ca.bloc(), &bloc());
    ca.issue(request("n1")).unwrap().save(&bundle_dir).unwrap();
    for file in [ca_dir.join("ca-key.pem"), bundle_dir.join("key.pem"), bundle_dir.join("cert.pem")] {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    assert_eq!((mode(&ca_dir), mode(&bundle_dir)), (0o700, 0o700));

    let bundle = Bundle::load(&bundle_dir).unwrap();
    bundle.check(unix_now()).unwrap();
    assert_eq!(bundle.identity().to_string(), "spiffe://acme.prod/node/n1");
    assert_eq!(bundle.labels()["zone"], "a");
    assert!(bundle.settings().unwrap().ends_with("seed = [\"n1.example:2789\", \"[::1]:2789\"]\n"));

    let peer = Ca::open(&ca_dir).unwrap().issue(IssueRequest::new(node("n2"))).unwrap();
    let admitted = peer.trust().verify_chain(bundle.chain(), unix_now()).unwrap();
    assert_eq!(admitted.node().unwrap().as_str(), "n1");
    assert_eq!((admitted.admission(), admitted.labels()["zone"].as_str()), (1, "a"));
    let signature = bundle.signer().sign("fact", b"x");
    assert!(admitted.signed("fact", b"x", &signature) && !admitted.signed("vote", b"x", &signature));
    let life = bundle.life();
    assert!(life.0 <= unix_now() - 299 && life.1 == admitted.not_after());
    assert_eq!(bundle.derive("reset"), Bundle::load(&bundle_dir).unwrap().derive("reset"));
}

#[test]
fn admission_numbers_are_remembered_and_never_go_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut ca = Ca::init(bloc(), dir.path()).unwrap();
    assert_eq!(ca.last_admission(&node("n1")), None);
    let mut again = request("n1");
    again.admission = 3;
    assert_eq!(ca.issue(again).unwrap().admission(), 3);
    let mut ca = Ca::open(dir.path()).unwrap();
    assert_eq!(ca.last_admission(&node("n1")), Some(3));
    let text = ca.issue(request("n1")).unwrap_err().to_string();
    assert_eq!(text, "cannot issue: admission 1 of node/n1, but 3 was issued before; use 3 or more");
    ca.issue(request("n2")).unwrap();
}

#[test]
fn the_ca_refuses_what_no_verifier_would_take() {
    let mut ca = Ca::in_memory(bloc()).unwrap();
    let mut try_with = |change: &dyn Fn(&mut IssueRequest)| {
        let mut wanted = request("n1");
        change(&mut wanted);
        ca.issue(wanted).unwrap_err().to_string()
    };
    assert!(try_with(&|r| r.days = 401).contains("401 days; a node may have 1 to 400"));
    assert!(try_with(&|r| r.days = 0).contains("0 days"));
    assert!(try_with(&|r| r.role = Role::Operator(OperatorName::parse("ann").unwrap())).contains("may have 1 to 100"));
    assert!(try_with(&|r| r.admission = 0).contains("admission 0"));
    assert!(try_with(&|r| r.seeds.push("n1".to_owned())).contains("HOST:PORT"));
    assert!(try_with(&|r| drop(r.labels.insert("a".to_owned(), "\u{1b}".to_owned()))).contains("--label"));
}

#[test]
fn nothing_is_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let mut ca = Ca::init(bloc(), &dir.path().join("ca")).unwrap();
    assert!(matches!(Ca::init(bloc(), &dir.path().join("ca")), Err(PkiError::Exists { .. })));
    let bundle = ca.issue(request("n1")).unwrap();
    bundle.save(&dir.path().join("b")).unwrap();
    let before = fs::read(dir.path().join("b/key.pem")).unwrap();
    let error = ca.issue(request("n1")).unwrap().save(&dir.path().join("b")).unwrap_err();
    assert!(error.to_string().contains("exists already and is not overwritten"), "{error}");
    assert_eq!(fs::read(dir.path().join("b/key.pem")).unwrap(), before);
}

#[test]
fn bundle_errors_name_file_cause_and_next_step() {
    let dir = tempfile::tempdir().unwrap();
    let mut ca = Ca::in_memory(bloc()).unwrap();
    let path = dir.path().join("b");
    let fresh = |ca: &mut Ca| {
        let _ = fs::remove_dir_all(&path);
        ca.issue(request("n1")).unwrap().save(&path).unwrap();
    };
    let error = || Bundle::load(&path).unwrap_err().to_string();
    assert!(error().contains("cert.pem") && error().contains("crux ca issue"), "{}", error());

    fresh(&mut ca);
    fs::set_permissions(path.join("key.pem"), fs::Permissions::from_mode(0o644)).unwrap();
    assert!(error().contains("key.pem may be read by every user (mode 644); run `chmod 600"), "{}", error());

    fresh(&mut ca);
    fs::write(path.join("cert.pem"), "hello").unwrap();
    assert!(error().contains("cert.pem: it holds no PEM certificate"), "{}", error());

    fresh(&mut ca);
    let text = fs::read_to_string(path.join("cert.pem")).unwrap();
    fs::write(path.join("cert.pem"), text.replacen("-----END", "-----XND", 1)).unwrap();
    assert!(error().contains("cert.pem: it "), "{}", error());

    fresh(&mut ca);
    let other = dir.path().join("other");
    ca.issue(request("n2")).unwrap().save(&other).unwrap();
    fs::copy(other.join("key.pem"), path.join("key.pem")).unwrap();
    assert!(error().contains("key.pem: it is not the key of cert.pem beside it"), "{}", error());

    fresh(&mut ca);
    fs::copy(path.join("cert.pem"), path.join("trust.pem")).unwrap();
    assert!(error().contains("trust.pem: ") && error().contains("not a CA's"), "{}", error());

    fresh(&mut ca);
    fs::remove_file(path.join("trust.pem")).unwrap();
    assert!(error().contains("trust.pem"), "{}", error());

    fresh(&mut ca);
    fs::copy(path.join("trust.pem"), path.join("cert.pem")).unwrap();
    assert!(error().contains("cert.pem: a CA certificate may not be used"), "{}", error());
}

#[test]
fn a_damaged_ca_is_not_opened() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (dir.path().join("1"), dir.path().join("2"));
    drop((Ca::init(bloc(), &one).unwrap(), Ca::init(bloc(), &two).unwrap()));
    assert!(Ca::open(&dir.path().join("3")).unwrap_err().to_string().contains("crux ca init"));
    fs::write(one.join("issued.tsv"), "spiffe://acme.prod/node/n1\tx\n").unwrap();
    assert!(Ca::open(&one).unwrap_err().to_string().contains("issued.tsv: line 1 is damaged"));
    fs::copy(two.join("ca-key.pem"), one.join("ca-key.pem")).unwrap();
    assert!(Ca::open(&one).unwrap_err().to_string().contains("not the key of ca.pem"));
}

#[test]
fn inspect_tells_what_is_there_and_why_it_would_be_refused() {
    let dir = tempfile::tempdir().unwrap();
    let ca_dir = dir.path().join("ca");
    let mut ca = Ca::init(bloc(), &ca_dir).unwrap();
    let path = dir.path().join("b");
    ca.issue(request("n1")).unwrap().save(&path).unwrap();

    let good = inspect(&path, unix_now()).unwrap();
    assert_eq!(good.identity.unwrap().to_string(), "spiffe://acme.prod/node/n1");
    assert_eq!(good.subject, "CN=n1,DC=acme,DC=prod");
    assert_eq!(good.issuer, "CN=acme.prod root,DC=acme,DC=prod");
    assert_eq!((good.key_algorithm.as_str(), good.chains, good.refusal, good.ca), ("Ed25519", Some(true), None, false));
    assert_eq!((good.serial.len(), good.labels["zone"].as_str(), good.admission), (32, "a", 1));

    let late = inspect(&path.join("cert.pem"), good.not_after + 5).unwrap();
    assert_eq!((late.chains, late.refusal), (Some(true), Some(Refusal::Expired { ago: 5 })));

    let root = inspect(&ca_dir.join("ca.pem"), unix_now()).unwrap();
    assert!(root.ca && root.chains.is_none() && root.refusal.is_none());

    fs::remove_file(path.join("trust.pem")).unwrap();
    let stranger = Ca::in_memory(bloc()).unwrap().issue(request("n1")).unwrap();
    let other = dir.path().join("o");
    stranger.save(&other).unwrap();
    fs::copy(other.join("trust.pem"), path.join("trust.pem")).unwrap();
    let foreign = inspect(&path, unix_now()).unwrap();
    assert_eq!(foreign.chains, Some(false));
    assert!(foreign.refusal.is_some());
    assert!(inspect(&ca_dir.join("issued.tsv"), unix_now()).is_err());
}

#[test]
fn openssl_reads_what_we_write() {
    if Command::new("openssl").arg("version").output().is_err() {
        eprintln!("skipped: there is no openssl command on this machine");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("b");
    Ca::in_memory(bloc()).unwrap().issue(request("n1")).unwrap().save(&path).unwrap();
    let run = |args: &[&str]| {
        let out = Command::new("openssl").args(args).current_dir(&path).output().unwrap();
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    };
    let verify = ["verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", "trust.pem", "cert.pem"];
    assert_eq!(run(&verify).trim(), "cert.pem: OK");
    let text = run(&["x509", "-in", "cert.pem", "-noout", "-text", "-nameopt", "RFC2253"]);
    for expected in ["URI:spiffe://acme.prod/node/n1", "Subject: CN=n1,DC=acme,DC=prod", "CA:FALSE", "ED25519"] {
        assert!(text.contains(expected), "{expected} in {text}");
    }
    let public = run(&["pkey", "-in", "key.pem", "-pubout"]);
    assert_eq!(public, run(&["x509", "-in", "cert.pem", "-noout", "-pubkey"]));
}
