//! From `ca init` to a verified peer, by way of files; and what the errors say.

use crux_names::{BlocName, NodeName, OperatorName};
use crux_pki::{
    Bundle, Ca, IssueRequest, Judge, KeyState, LifeWarning, PkiError, Place, Refusal, RenewRequest, Role, RoleKind,
    change_roots, fingerprint, inspect, inspect_by, roots_of, unix_now,
};
use std::fs;
use std::io::Write;
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
    assert_eq!(ca.issue_again(request("n1")).unwrap().admission(), 3);
    assert_eq!(ca.readmit(request("n1")).unwrap().admission(), 4);
    assert_eq!(Ca::open(dir.path()).unwrap().issue_again(request("n1")).unwrap().admission(), 4);
    let text = ca.readmit(request("n2")).unwrap_err().to_string();
    assert!(text.contains("node/n2 was never issued here, so there is nothing to readmit"), "{text}");
    ca.issue_again(request("n2")).unwrap();
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
    assert!(
        try_with(&|r| r.role = Role::Operator(OperatorName::parse("ann").unwrap()))
            .contains("an operator may have 1 to 100")
    );
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
    assert!(good.is_good(), "{good:?}");
    assert_eq!(good.identity.unwrap().to_string(), "spiffe://acme.prod/node/n1");
    let certificate = good.certificate.unwrap();
    assert_eq!(certificate.subject, "CN=n1,DC=acme,DC=prod");
    assert_eq!(certificate.issuer, "CN=acme.prod root,DC=acme,DC=prod");
    assert_eq!((certificate.key_algorithm.as_str(), certificate.ca, certificate.serial.len()), ("Ed25519", false, 32));
    assert_eq!(
        (good.place, good.chains, good.refusal, good.key),
        (Place::Bundle, Some(true), None, Some(KeyState::Fits))
    );
    assert_eq!((good.labels["zone"].as_str(), good.admission), ("a", 1));
    assert_eq!((good.chain.len(), good.roots.len()), (0, 1));
    assert_eq!(good.roots[0].fingerprint, fingerprint(ca.root()));

    let late = inspect(&path.join("cert.pem"), certificate.not_after + 5).unwrap();
    assert_eq!(
        (late.chains, &late.refusal),
        (Some(true), &Some(Refusal::Expired { at: certificate.not_after, ago: 5 }))
    );
    assert_eq!(late.life().unwrap().warning(certificate.not_after + 5), Some(LifeWarning::Ended));

    for (path, place) in [(ca_dir.join("ca.pem"), Place::File), (ca_dir.clone(), Place::Ca)] {
        let root = inspect(&path, unix_now()).unwrap();
        assert!(root.certificate.as_ref().unwrap().ca && root.is_good() && root.chains.is_none(), "{root:?}");
        assert_eq!(root.place, place);
    }
    let der = dir.path().join("n1.der");
    fs::write(&der, &ca.issue(request("n1")).unwrap().chain()[0]).unwrap();
    let judge = Judge { trust: Some(ca_dir.clone()), roles: vec![RoleKind::Node] };
    assert!(inspect_by(&der, &judge, unix_now()).unwrap().is_good());
    let judge = Judge { roles: vec![RoleKind::Operator], ..judge };
    assert_eq!(inspect_by(&der, &judge, unix_now()).unwrap().refusal.unwrap().code(), "wrong-role");

    fs::remove_file(path.join("trust.pem")).unwrap();
    let stranger = Ca::in_memory(bloc()).unwrap().issue(request("n1")).unwrap();
    let other = dir.path().join("o");
    stranger.save(&other).unwrap();
    fs::copy(other.join("trust.pem"), path.join("trust.pem")).unwrap();
    let foreign = inspect(&path, unix_now()).unwrap();
    assert_eq!(foreign.chains, Some(false));
    assert_eq!(foreign.refusal.unwrap().code(), "other-root");
    assert!(inspect(&ca_dir.join("issued.tsv"), unix_now()).is_err());
    let secret = inspect(&ca_dir.join("ca-key.pem"), unix_now()).unwrap_err().to_string();
    assert!(secret.contains("private key, which is never shown"), "{secret}");

    let elsewhere = Ca::in_memory(BlocName::parse("other").unwrap()).unwrap().issue(request("n1")).unwrap();
    fs::remove_dir_all(&other).unwrap();
    elsewhere.save(&other).unwrap();
    let judge = Judge { trust: Some(ca_dir), roles: vec![] };
    let found = inspect_by(&other, &judge, unix_now()).unwrap();
    assert_eq!(found.refusal, Some(Refusal::OtherBloc { theirs: "other".into(), ours: "acme.prod".into() }));
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

const DAY: u64 = 86_400;

#[test]
fn a_line_that_was_being_written_counts_for_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut ca = Ca::init(bloc(), dir.path()).unwrap();
    ca.issue(request("n1")).unwrap();
    drop(ca);
    let record = dir.path().join("issued.tsv");
    let append =
        |text: &str| fs::File::options().append(true).open(&record).unwrap().write_all(text.as_bytes()).unwrap();
    append("spiffe://acme.prod/node/n1\t7");
    let mut ca = Ca::open(dir.path()).unwrap();
    assert_eq!(ca.last_admission(&node("n1")), Some(1), "nobody got that certificate");
    ca.issue(request("n2")).unwrap();
    drop(ca);
    append("spiffe://acme.prod/node/n1\t3\t1900000000");
    let ca = Ca::open(dir.path()).unwrap();
    assert_eq!((ca.last_admission(&node("n1")), ca.last_admission(&node("n2"))), (Some(3), Some(1)));
    drop(ca);
    append("spiffe://acme.prod/node/n1\t0\t1900000000\n");
    assert!(Ca::open(dir.path()).unwrap_err().to_string().contains("line 4 is damaged"));
}

#[test]
fn two_readmissions_at_once_get_two_numbers() {
    let dir = tempfile::tempdir().unwrap();
    Ca::init(bloc(), dir.path()).unwrap().issue(request("n1")).unwrap();
    let mut numbers: Vec<u32> = std::thread::scope(|scope| {
        let readmit = || {
            let mut ca = Ca::open(dir.path()).unwrap();
            ca.readmit(request("n1")).unwrap().admission()
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(readmit)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    numbers.sort_unstable();
    assert_eq!(numbers, (2..=9).collect::<Vec<_>>());
}

#[test]
fn a_renewal_inherits_what_is_inherited_and_nothing_else() {
    let now = unix_now();
    let mut ca = Ca::in_memory(bloc()).unwrap();
    let mut first = IssueRequest { days: 40, admission: 2, ..request("n1.rack3.site-a") };
    first.labels.insert("disk".to_owned(), "ssd".to_owned());
    let old = ca.issue_at(first, now - 30 * DAY).unwrap();
    let new = ca.renew_at(&old, RenewRequest::default(), now).unwrap();
    new.check(now).unwrap();
    assert_eq!((new.identity(), new.admission(), new.labels()), (old.identity(), 2, old.labels()));
    assert_eq!(new.settings(), old.settings());
    assert_eq!(new.lifetime().not_after, now + 40 * DAY - 300, "as long as before");
    assert_ne!(new.signer().public_key(), old.signer().public_key());
    let kept = ca.renew_at(&old, RenewRequest { days: Some(400), keep_key: true }, now).unwrap();
    assert_eq!(kept.signer().public_key(), old.signer().public_key());
    assert_eq!(kept.lifetime().not_after, now + 400 * DAY - 300);
    // Also after its end: the offline CA is the way back.
    ca.renew_at(&old, RenewRequest::default(), now + 100 * DAY).unwrap().check(now + 100 * DAY).unwrap();

    let error = |result: Result<Bundle, PkiError>| result.unwrap_err().to_string();
    let long = RenewRequest { days: Some(401), keep_key: false };
    assert!(error(ca.renew_at(&old, long, now)).contains("401 days; a node may have 1 to 400"));
    let stranger = Ca::in_memory(bloc()).unwrap().issue(request("n1")).unwrap();
    assert!(
        error(ca.renew(&stranger, RenewRequest::default()))
            .contains("not of this CA, nor of a root that it trusts: certificate signed by none")
    );
    let other = Ca::in_memory(BlocName::parse("other").unwrap()).unwrap().issue(request("n1")).unwrap();
    assert!(
        error(ca.renew(&other, RenewRequest::default()))
            .contains("not of this CA, nor of a root that it trusts: certificate of bloc other")
    );
    ca.issue(IssueRequest { admission: 3, ..request("n1.rack3.site-a") }).unwrap();
    assert!(
        error(ca.renew(&old, RenewRequest::default()))
            .contains("admission 2 of node/n1.rack3.site-a, but 3 was issued before")
    );
}

#[test]
fn no_certificate_outlives_its_root_or_its_role() {
    let now = unix_now();
    let mut ca = Ca::in_memory_at(bloc(), now - 3_500 * DAY).unwrap();
    let error = ca.issue_at(request("n1"), now).unwrap_err().to_string();
    assert!(error.contains("would outlive its root, which ends in 152 days"), "{error}");
    ca.issue_at(IssueRequest { days: 150, ..request("n1") }, now).unwrap().check(now).unwrap();
    let mut ca = Ca::in_memory(bloc()).unwrap();
    let beacon = |days| IssueRequest { days, ..IssueRequest::new(Role::Beacon(NodeName::parse("watch").unwrap())) };
    assert!(ca.issue(beacon(101)).unwrap_err().to_string().contains("a beacon may have 1 to 100"));
    let beacon = ca.issue(beacon(100)).unwrap();
    beacon.check(now).unwrap();
    assert_eq!(beacon.identity().to_string(), "spiffe://acme.prod/beacon/watch");
    let workload = crux_pki::Identity::parse("spiffe://acme.prod/horde/web/api").unwrap().role;
    let workload = ca.issue(IssueRequest::new(workload)).unwrap();
    assert_eq!(workload.signer().public_key().algorithm(), "P-256");
    workload.check(unix_now()).unwrap();
}

#[test]
fn a_root_is_rotated_step_by_step_and_no_step_locks_anybody_out() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let (mut old, mut new) = (Ca::init(bloc(), &path("old")).unwrap(), Ca::init(bloc(), &path("new")).unwrap());
    let now = unix_now();
    old.issue(request("n1")).unwrap().save(&path("n1")).unwrap();
    old.issue(request("n2")).unwrap().save_tar(&path("n2.tar")).unwrap();
    let (old_root, new_root) = (old.root().clone(), new.root().clone());
    drop(old);
    let load = |name: &str| Bundle::load(&path(name)).unwrap();
    let admits = |a: &str, b: &str| load(a).trust().verify_chain(load(b).chain(), now).is_ok();

    // Everybody trusts both, and so does whatever the old CA issues from now on.
    let add = roots_of(&path("new")).unwrap();
    for name in ["n1", "n2.tar", "old"] {
        assert_eq!(change_roots(&path(name), &add, &[]).unwrap().roots().count(), 2, "{name}");
    }
    assert_eq!(roots_of(&path("old")).unwrap(), [old_root.clone(), new_root.clone()]);
    Ca::open(&path("old")).unwrap().issue(request("n3")).unwrap().save(&path("n3")).unwrap();
    assert_eq!(load("n3").trust().roots().count(), 2);
    // The old root cannot go while it vouches for the bundle itself.
    let error = change_roots(&path("n1"), &[], &[fingerprint(&old_root)]).unwrap_err().to_string();
    assert!(error.contains("renew it by another CA first"), "{error}");
    // New certificates by the new CA.
    for name in ["n1", "n2", "n3"] {
        new.issue(request(name))
            .unwrap()
            .with_trust(load("n1").trust().clone())
            .unwrap()
            .save(&path(&format!("{name}-new")))
            .unwrap();
    }
    assert!(admits("n1", "n2-new") && admits("n2-new", "n1") && admits("n2.tar", "n3-new") && admits("n3-new", "n3"));
    // Then the old one goes.
    for name in ["n1-new", "n2-new"] {
        assert_eq!(change_roots(&path(name), &[], &[fingerprint(&old_root)]).unwrap().roots().count(), 1);
        assert_eq!(load(name).trust().roots().next(), Some(&new_root));
    }
    assert!(admits("n1-new", "n2-new") && !admits("n1-new", "n3"));
    let error = change_roots(&path("old"), &[], &[fingerprint(&old_root)]).unwrap_err().to_string();
    assert!(error.contains("the CA's own root") && !error.contains("trust.pem"), "{error}");
    change_roots(&path("old"), &[], &[fingerprint(&new_root)]).unwrap();
    assert_eq!(Ca::open(&path("old")).unwrap().roots().count(), 1);
    let other = Ca::in_memory(BlocName::parse("other").unwrap()).unwrap();
    let error = change_roots(&path("n1"), &[other.root().clone()], &[]).unwrap_err().to_string();
    assert!(error.contains("of bloc other"), "{error}");
}
