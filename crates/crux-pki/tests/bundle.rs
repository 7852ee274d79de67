//! Bundles as directories and as archives: whole ones work, and each broken one says what is broken and what to do.

use crux_names::{BlocName, NodeName};
use crux_pki::{Bundle, Ca, IssueRequest, KeyState, Place, Role, bundle_settings, inspect, unix_now};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

fn ca() -> Ca {
    Ca::in_memory(BlocName::parse("acme").unwrap()).unwrap()
}

fn bundle(ca: &mut Ca, name: &str) -> Bundle {
    let mut request = IssueRequest::new(Role::Node(NodeName::parse(name).unwrap()));
    request.seeds = vec!["n1.example:2789".to_owned()];
    ca.issue(request).unwrap()
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Each way to break a bundle's directory, and what must be said about it.
type Breakage = (&'static str, fn(&Path, &Path), &'static [&'static str]);

const BREAKAGES: [Breakage; 18] = [
    (
        "no certificate",
        |b, _| fs::remove_file(b.join("cert.pem")).unwrap(),
        &["cannot read", "cert.pem", "crux ca issue"],
    ),
    ("no key", |b, _| fs::remove_file(b.join("key.pem")).unwrap(), &["cannot read", "key.pem", "crux ca issue"]),
    ("no roots", |b, _| fs::remove_file(b.join("trust.pem")).unwrap(), &["cannot read", "trust.pem", "crux ca issue"]),
    (
        "a key for all",
        |b, _| set_mode(&b.join("key.pem"), 0o644),
        &["key.pem may be read by every user (mode 644); run `chmod 600"],
    ),
    (
        "a key for a group",
        |b, _| set_mode(&b.join("key.pem"), 0o660),
        &["key.pem may be written by a group (mode 660); run `chmod 600"],
    ),
    (
        "no PEM",
        |b, _| fs::write(b.join("cert.pem"), "hello").unwrap(),
        &["cert.pem: it holds no PEM certificate", "crux ca issue"],
    ),
    (
        "an empty certificate",
        |b, _| fs::write(b.join("cert.pem"), "").unwrap(),
        &["cert.pem: it holds no PEM certificate"],
    ),
    ("half a certificate", |b, _| halve(&b.join("cert.pem")), &["cert.pem: it ", "crux ca issue"]),
    ("half a key", |b, _| halve(&b.join("key.pem")), &["key.pem: it is damaged PEM"]),
    ("half a root", |b, _| halve(&b.join("trust.pem")), &["trust.pem: it ", "crux ca issue"]),
    (
        "another key",
        |b, o| fs::write(b.join("key.pem"), fs::read(o.join("key.pem")).unwrap()).unwrap(),
        &["key.pem: it is not the key of cert.pem beside it", "same bundle"],
    ),
    ("the certificate as key", |b, _| copy_over(b, "cert.pem", "key.pem"), &["key.pem: it holds no PEM private key"]),
    ("the key as certificate", |b, _| copy_over(b, "key.pem", "cert.pem"), &["cert.pem: it holds no PEM certificate"]),
    (
        "a leaf as root",
        |b, _| copy_over(b, "cert.pem", "trust.pem"),
        &["trust.pem: ", "not a CA's", "bloc's CA certificate"],
    ),
    (
        "the root as certificate",
        |b, _| copy_over(b, "trust.pem", "cert.pem"),
        &["cert.pem: a CA certificate may not be used"],
    ),
    (
        "settings that are no text",
        |b, _| fs::write(b.join("crux.toml"), b"\xff").unwrap(),
        &["crux.toml: it is not UTF-8", "crux ca issue"],
    ),
    (
        "something huge",
        |b, _| fs::write(b.join("cert.pem"), vec![b'x'; 2 << 20]).unwrap(),
        &["cert.pem: it has more than 1048576 bytes"],
    ),
    ("no directory", |b, _| fs::remove_dir_all(b).unwrap(), &["cannot read", "cert.pem", "crux ca issue"]),
];

fn halve(path: &Path) {
    let text = fs::read(path).unwrap();
    fs::write(path, &text[..text.len() / 2]).unwrap();
}

fn copy_over(bundle: &Path, from: &str, to: &str) {
    fs::write(bundle.join(to), fs::read(bundle.join(from)).unwrap()).unwrap();
}

#[test]
fn each_broken_directory_has_one_clear_error() {
    let dir = tempfile::tempdir().unwrap();
    let (path, other) = (dir.path().join("b"), dir.path().join("o"));
    let mut ca = ca();
    bundle(&mut ca, "n2").save(&other).unwrap();
    for (what, breaks, expected) in BREAKAGES {
        let _ = fs::remove_dir_all(&path);
        bundle(&mut ca, "n1").save(&path).unwrap();
        Bundle::load(&path).unwrap();
        breaks(&path, &other);
        let error = Bundle::load(&path).unwrap_err().to_string();
        for text in expected {
            assert!(error.contains(text), "{what}: {text:?} is not in {error}");
        }
        assert!(!error.contains('\n'), "{what}: one line");
        // What loading says, looking says too, as far as there is a certificate to look at.
        if let Ok(found) = inspect(&path, unix_now()) {
            assert!(!found.is_good(), "{what}");
        }
    }
}

#[test]
fn inspect_says_what_is_wrong_with_the_key() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("b");
    bundle(&mut ca(), "n1").save(&path).unwrap();
    let text = fs::read_to_string(path.join("key.pem")).unwrap();
    let secret = text.lines().nth(1).unwrap();
    set_mode(&path.join("key.pem"), 0o604);
    let exposed = inspect(&path, unix_now()).unwrap();
    assert!(matches!(&exposed.key, Some(KeyState::Bad(cause)) if cause.contains("chmod 600")), "{exposed:?}");
    set_mode(&path.join("key.pem"), 0o640);
    assert_eq!(inspect(&path, unix_now()).unwrap().key, Some(KeyState::Fits), "a group may read it");
    assert!(!format!("{exposed:?} {:?}", Bundle::load(&path).unwrap()).contains(secret), "no key in any text");
}

#[test]
fn an_archive_is_a_bundle_wherever_a_directory_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("n1.tar");
    let made = bundle(&mut ca(), "n1");
    made.save_tar(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(made.save_tar(&path).unwrap_err().to_string().contains("not overwritten"));

    let loaded = Bundle::load(&path).unwrap();
    loaded.check(unix_now()).unwrap();
    assert_eq!((loaded.identity(), loaded.chain()), (made.identity(), made.chain()));
    assert_eq!(loaded.derive("reset"), made.derive("reset"));
    assert_eq!(loaded.settings(), made.settings());
    assert_eq!(bundle_settings(&path).unwrap().as_deref(), made.settings());
    let found = inspect(&path, unix_now()).unwrap();
    assert!(found.is_good() && found.place == Place::Archive && found.key == Some(KeyState::Fits), "{found:?}");

    set_mode(&path, 0o644);
    let error = Bundle::load(&path).unwrap_err().to_string();
    assert!(error.contains("n1.tar may be read by every user (mode 644)"), "{error}");
    set_mode(&path, 0o600);
    let whole = fs::read(&path).unwrap();
    for (bytes, expected) in [
        (&whole[..whole.len() / 2], "n1.tar: the tar archive is truncated; copy it again"),
        (&whole[..whole.len() - 1024], "n1.tar: the tar archive is truncated; copy it again"),
        (&b""[..], "n1.tar: it is empty; a bundle is"),
        (&b"hello"[..], "n1.tar: it is neither a directory nor a tar archive; a bundle is"),
        (&b"\x1f\x8b\x08"[..], "n1.tar: it is compressed (gzip); uncompress it first"),
    ] {
        fs::write(&path, bytes).unwrap();
        let error = Bundle::load(&path).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected:?} is not in {error}");
    }
}

#[test]
fn archives_of_other_programs_are_read_and_ours_are_read_by_them() {
    let dir = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| {
        let out = Command::new("tar").args(args).current_dir(dir.path()).output();
        let out = out.expect("every system has a tar");
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    };
    let made = bundle(&mut ca(), "n1");
    made.save(&dir.path().join("n1")).unwrap();
    made.save_tar(&dir.path().join("ours.tar")).unwrap();
    let mut names: Vec<String> = run(&["tf", "ours.tar"]).lines().map(str::to_owned).collect();
    names.sort();
    assert_eq!(names, ["cert.pem", "crux.toml", "key.pem", "trust.pem"]);
    fs::create_dir(dir.path().join("out")).unwrap();
    run(&["xf", "ours.tar", "-C", "out"]);
    assert_eq!(Bundle::load(&dir.path().join("out")).unwrap().chain(), made.chain());

    for args in [
        &["cf", "theirs.tar", "n1"][..],
        &["cf", "theirs.tar", "-C", "n1", "."],
        &["cf", "theirs.tar", "-C", "n1", "cert.pem", "key.pem", "trust.pem"],
        &["--format=pax", "-cf", "theirs.tar", "n1"],
        &["--format=ustar", "-cf", "theirs.tar", "n1"],
        &["--format=v7", "-cf", "theirs.tar", "n1"],
    ] {
        run(args);
        set_mode(&dir.path().join("theirs.tar"), 0o600);
        let loaded = Bundle::load(&dir.path().join("theirs.tar"));
        assert_eq!(loaded.unwrap_or_else(|e| panic!("{args:?}: {e}")).chain(), made.chain());
    }
    std::os::unix::fs::symlink("/etc/hostname", dir.path().join("n1/extra")).unwrap();
    run(&["cf", "theirs.tar", "n1"]);
    let error = Bundle::load(&dir.path().join("theirs.tar")).unwrap_err().to_string();
    assert!(error.contains("is a link; pack plain files only"), "{error}");
}

#[test]
fn a_bundle_is_replaced_in_one_step() {
    let dir = tempfile::tempdir().unwrap();
    let mut ca = ca();
    let places: [PathBuf; 2] = [dir.path().join("n1"), dir.path().join("n1.tar")];
    let old = bundle(&mut ca, "n1");
    old.save(&places[0]).unwrap();
    old.save_tar(&places[1]).unwrap();
    let keep = crux_pki::RenewRequest { days: Some(9), keep_key: true };
    let kept = ca.renew(&old, keep).unwrap();
    let fresh = ca.renew(&old, crux_pki::RenewRequest { keep_key: false, ..keep }).unwrap();
    for place in &places {
        kept.save_over(place).unwrap();
        assert_eq!(Bundle::load(place).unwrap().chain(), kept.chain());
    }
    let error = fresh.save_over(&places[0]).unwrap_err().to_string();
    assert!(error.contains("cannot be exchanged in one step"), "{error}");
    fresh.save_over(&places[1]).unwrap();
    assert_eq!(Bundle::load(&places[1]).unwrap().chain(), fresh.chain());
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "nothing is left behind: {left:?}");
    for name in ["cert.pem", "key.pem"] {
        assert_eq!(fs::metadata(places[0].join(name)).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
    }
}
