//! Certificates of real fulcrums as time goes by: one that begins later is waited for, one that is exchanged counts at
//! every port without a restart, and one that grows old is said everywhere.

mod help;
use crux_pki::{Bundle, Ca, IssueRequest, Role, unix_now};
use help::World;
use help::cluster::names;
use help::fulcrum::{Fulcrum, until, up, world};
use serde_json::Value;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

/// A node's bundle of a new CA that begins so many seconds from now, in this directory.
fn begins_in(world: &World, node: &str, secs: u64) {
    let mut ca = Ca::in_memory("acme".parse().unwrap()).unwrap();
    let request = IssueRequest::new(Role::Node(node.parse().unwrap()));
    ca.issue_at(request, unix_now() + crux_pki::BACKDATE + secs).unwrap().save(&world.path(node)).unwrap();
}

#[test]
fn a_clock_before_the_certificate_is_said_and_waited_for() {
    let world = World::new();
    begins_in(&world, "n1", 15);
    let fulcrum = Fulcrum::start(&world, "n1", "s", &[]);
    fulcrum.says("clock wrong");
    assert_eq!(fulcrum.json("status"), None, "it has not begun");
    assert_eq!(fulcrum.answers()["members"], names(&["n1"]));
    fulcrum.says("the clock is right now");
    fulcrum.stop();

    // By a day and more nobody waits in vain: it ends when it is told to, and its service manager knows why it waits.
    begins_in(&world, "n2", 3 * 86_400);
    let manager = UnixDatagram::bind(world.path("notify")).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut command = up(&world, "n2", "s2", &[]);
    command.env("NOTIFY_SOCKET", world.path("notify"));
    let fulcrum = Fulcrum::with(&world, "s2", command);
    let mut bytes = [0; 1024];
    let len = manager.recv(&mut bytes).unwrap();
    let word = String::from_utf8_lossy(&bytes[..len]).into_owned();
    assert!(
        word.starts_with("STATUS=waiting: clock wrong: it stands ") && word.contains("EXTEND_TIMEOUT_USEC="),
        "{word}"
    );
    fulcrum.says("before the certificate begins; set this machine's clock");
    // Whoever asks is not told to start what runs.
    let ran = world.crux(&["--at", "s2/crux.sock", "doctor"]);
    ran.failed(5, "E500", &["runs and waits, so it does not answer yet: clock wrong", "timedatectl"]);
    fulcrum.stop();
    world.crux(&["--at", "s2/crux.sock", "doctor"]).failed(5, "E500", &["no fulcrum answers", "`crux up`"]);
}

/// As an operator does it: one file after the other, over those that are there.
fn install(bundle: &Bundle, dir: &Path) {
    let fresh = tempfile::tempdir().unwrap();
    let from = fresh.path().join("bundle");
    bundle.save(&from).unwrap();
    for name in ["trust.pem", "key.pem", "cert.pem"] {
        fs::copy(from.join(name), dir.join(name)).unwrap();
    }
}

#[test]
fn an_exchanged_bundle_counts_at_every_port_without_a_restart() {
    let world = world(&["n1", "n2"]);
    let one = Fulcrum::start(&world, "n1", "s1", &[]);
    let status = one.answers();
    let mesh = status["listens"]["mesh"].as_str().unwrap().to_owned();
    let api = status["listens"]["api"].as_str().unwrap().to_owned();
    let two = Fulcrum::start(&world, "n2", "s2", &["--seed", &mesh]);
    until("a flock of two", || one.json("status").filter(|status| status["members"] == names(&["n1", "n2"])));
    world.crux(&["--at", &api, "confab"]).done();
    let ends = |status: &Value| status["certificate"]["not_after"].as_str().unwrap().to_owned();

    // The successor of the CA: first both are trusted, then certificates are exchanged, then the old root goes.
    let old = Ca::open(&world.path("ca")).unwrap();
    let mut new = Ca::init("acme".parse().unwrap(), &world.path("ca2")).unwrap();
    let both = Bundle::load(&world.path("n1")).unwrap().trust().with_root(new.root().clone()).unwrap();
    let mut issue = |role: Role, days| new.issue(IssueRequest { days, ..IssueRequest::new(role) }).unwrap();
    let bundles = ["n1", "n2"].map(|name| issue(Role::Node(name.parse().unwrap()), 30));
    let bob = issue(Role::Operator("bob".parse().unwrap()), 30);
    bob.save(&world.path("bob")).unwrap();
    for (name, fulcrum) in [("n1", &one), ("n2", &two)] {
        install(&Bundle::load(&world.path(name)).unwrap().with_trust(both.clone()).unwrap(), &world.path(name));
        fulcrum.says("roots added: 1");
    }
    for ((name, fulcrum), bundle) in [("n1", &one), ("n2", &two)].into_iter().zip(&bundles) {
        let before = ends(&fulcrum.answers());
        install(&bundle.clone().with_trust(both.clone()).unwrap(), &world.path(name));
        until("the new certificate is shown", || fulcrum.json("status").filter(|status| ends(status) != before));
    }
    // The new operator knows only the new root: the API port shows the new certificate.
    let bob = ["--at", &api, "--as", "bob", "confab", "-o", "json"];
    until("the API port shows the new certificate", || (world.crux(&bob).code == 0).then_some(()));
    for ((name, fulcrum), bundle) in [("n1", &one), ("n2", &two)].into_iter().zip(&bundles) {
        install(bundle, &world.path(name));
        fulcrum.says("roots removed: 1");
    }
    drop(old);
    let ran = world.crux(&["--at", &api, "confab"]);
    ran.failed(4, "E401", &["certificate signed by none of the trusted roots"]);
    assert_eq!(serde_json::from_str::<Value>(world.crux(&bob).done()).unwrap()["members"], names(&["n1", "n2"]));
    two.stop();
    one.stop();
}

/// What operators want is read again at every start and by every newcomer, under the roots that are trusted then.
#[test]
fn facts_that_are_signed_again_outlive_the_root_that_goes() {
    let world = world(&["n1", "n2", "n4"]);
    let one = Fulcrum::start(&world, "n1", "s1", &[]);
    let mesh = one.answers()["listens"]["mesh"].as_str().unwrap().to_owned();
    let two = Fulcrum::start(&world, "n2", "s2", &["--seed", &mesh]);
    until("a flock of two", || one.json("status").filter(|status| status["members"] == names(&["n1", "n2"])));
    let at = |state: &str, words: &[&str]| {
        let socket = format!("{state}/crux.sock");
        world.crux(&[&["--at", &socket], words].concat())
    };
    for words in [
        &["horde", "create", "web", "--want", "1"][..],
        &["horde", "create", "db", "--want", "1"],
        &["horde", "delete", "db"],
    ] {
        at("s1", words).done();
    }

    // Somebody was here and is no more: that it was forgotten is an operator's word, not its own.
    let four = Fulcrum::start(&world, "n4", "s4", &["--seed", &mesh]);
    let rows = |state: &str| -> Value {
        serde_json::from_str(&at(state, &["facts", "list", "row/", "--deleted", "-o", "json"]).out).unwrap_or_default()
    };
    until("n4 has a row", || rows("s1")["facts"].as_array()?.iter().any(|row| row["path"] == "row/n4/0").then_some(()));
    four.stop();
    until("n4 is gone", || one.json("status").filter(|status| status["members"] == names(&["n1", "n2"])));
    at("s1", &["node", "forget", "n4"]).done();
    // Who is where, and who has the ADMIN flag.
    let places = |state: &str| -> Option<Vec<Value>> {
        let status: Value = serde_json::from_str(&at(state, &["status", "-o", "json"]).out).ok()?;
        let of = |name: &str| {
            let entry = status["roster"].as_array()?.iter().find(|one| one["name"] == name)?;
            Some(serde_json::json!([name, entry["horde"], entry["admin"]]))
        };
        Some(vec![of("n1")?, of("n2")?])
    };
    let before = until("one is of web, and both are flagged", || {
        places("s1").filter(|two| two.iter().any(|one| one[1] == "web") && two.iter().all(|one| one[2] == true))
    });

    let mut new = Ca::init("acme".parse().unwrap(), &world.path("ca2")).unwrap();
    let both = Bundle::load(&world.path("n1")).unwrap().trust().with_root(new.root().clone()).unwrap();
    let mut issue = |role: Role| new.issue(IssueRequest::new(role)).unwrap();
    let bundles = ["n1", "n2", "n3"].map(|name| issue(Role::Node(name.parse().unwrap())));
    issue(Role::Operator("bob".parse().unwrap())).save(&world.path("bob")).unwrap();
    for (name, fulcrum) in [("n1", &one), ("n2", &two)] {
        install(&Bundle::load(&world.path(name)).unwrap().with_trust(both.clone()).unwrap(), &world.path(name));
        fulcrum.says("roots added: 1");
    }
    let doctor = |state: &str| -> Value {
        let said: Value = serde_json::from_str(&at(state, &["doctor", "-o", "json"]).out).unwrap();
        said["findings"].as_array().unwrap().iter().find(|one| one["check"] == "facts").unwrap().clone()
    };
    assert_eq!(doctor("s1")["state"], "ok");
    let root = |state: &str| -> Value {
        let status: Value = serde_json::from_str(&at(state, &["status", "-o", "json"]).out).unwrap_or_default();
        status["certificate"]["root"].clone()
    };
    for (name, bundle) in ["n1", "n2"].into_iter().zip(&bundles) {
        install(&bundle.clone().with_trust(both.clone()).unwrap(), &world.path(name));
        if name == "n1" {
            until("n1 shows its new certificate", || (root("s1") != root("s2")).then_some(()));
            // What is accepted at a door that still stands on the old root would go with it.
            let refused = at("s2", &["--as", "bob", "facts", "reseal"]);
            refused.failed(4, "E401", &["the certificate of n2 is of root", "nothing was changed"]);
        }
    }
    // Now the doctor knows which root stays, and that nothing stands on it yet.
    let warning = until("the doctor warns", || Some(doctor("s1")).filter(|one| one["state"] == "warning"));
    assert!(warning["text"].as_str().unwrap().contains("3 of 3 facts"), "{warning}");
    assert!(warning["next"].as_str().unwrap().contains("crux facts reseal"), "{warning}");
    until("n2 shows its new certificate", || (root("s1") == root("s2")).then_some(()));
    let resealed = at("s2", &["--as", "bob", "facts", "reseal"]);
    assert!(resealed.done().contains("3 facts are signed again"), "{}", resealed.out);
    for state in ["s1", "s2"] {
        until("nothing stands on the old root", || (doctor(state)["state"] == "ok").then_some(()));
    }
    for ((name, fulcrum), bundle) in [("n1", &one), ("n2", &two)].into_iter().zip(&bundles) {
        install(bundle, &world.path(name));
        fulcrum.says("roots removed: 1");
    }
    assert_eq!(doctor("s1")["state"], "ok");

    // Everybody starts again, and a newcomer that never knew the old root comes.
    for fulcrum in [one, two] {
        fulcrum.stop();
    }
    bundles[2].save(&world.path("n3")).unwrap();
    let one = Fulcrum::start(&world, "n1", "s1", &["--listen", &mesh]);
    let two = Fulcrum::start(&world, "n2", "s2", &["--seed", &mesh]);
    let three = Fulcrum::start(&world, "n3", "s3", &["--seed", &mesh]);
    for (state, fulcrum) in [("s1", &one), ("s2", &two), ("s3", &three)] {
        let hordes = until("the horde is there, and the deleted one is not", || {
            let list: Value = serde_json::from_str(&at(state, &["horde", "list", "-o", "json"]).out).ok()?;
            let names: Vec<String> =
                list["hordes"].as_array()?.iter().map(|one| one["name"].as_str().unwrap_or("").to_owned()).collect();
            names.contains(&"web".to_owned()).then_some(names)
        });
        assert!(!hordes.contains(&"db".to_owned()), "{hordes:?}: {}", fulcrum.log());
        // Nobody lost its place: a fulcrum signs its own row again, at the moment at which its bundle is exchanged.
        until("homes and flags are as they were", || places(state).filter(|now| *now == before));
    }
    for fulcrum in [one, two, three] {
        fulcrum.stop();
    }
}

#[test]
fn a_bundle_that_may_not_be_used_is_said_and_the_one_before_stays_in_use() {
    let world = world(&["n1", "n2"]);
    let own = Bundle::load(&world.path("n1")).unwrap();
    let fulcrum = Fulcrum::start(&world, "n1", "s1", &["--expect", "1"]);
    let before = fulcrum.answers()["certificate"].clone();
    assert_eq!(before["not_taken"], Value::Null);
    // Somebody else's by mistake.
    install(&Bundle::load(&world.path("n2")).unwrap(), &world.path("n1"));
    let why = until("it says that it does not use it", || {
        fulcrum.json("status").and_then(|status| status["certificate"]["not_taken"].as_str().map(str::to_owned))
    });
    assert!(why.contains("/node/n2") && why.contains("/node/n1"), "{why}");
    fulcrum.says("is not used: it is of ");
    let table = world.crux(&["--at", "s1/crux.sock", "status"]);
    assert!(table.done().contains("! a new BUNDLE was installed and is not used"), "{}", table.out);
    let doctor = world.crux(&["--at", "s1/crux.sock", "doctor"]);
    assert!(doctor.code == 1 && doctor.out.contains("a bundle was put in its place and is not used"), "{}", doctor.out);
    assert_eq!(fulcrum.answers()["certificate"]["id"], before["id"]);
    install(&own, &world.path("n1"));
    until("the right one is taken again", || {
        fulcrum.json("status").filter(|status| status["certificate"]["not_taken"].is_null())
    });
    fulcrum.stop();
}

#[test]
fn an_old_certificate_is_said_by_log_status_doctor_and_metrics() {
    let world = World::new();
    let mut ca = Ca::in_memory_at("acme".parse().unwrap(), unix_now() - 100 * 86_400).unwrap();
    let request = IssueRequest { days: 100, ..IssueRequest::new(Role::Node("n1".parse().unwrap())) };
    ca.issue_at(request, unix_now() - 95 * 86_400).unwrap().save(&world.path("n1")).unwrap();
    let fulcrum = Fulcrum::start(&world, "n1", "s", &["--expect", "1", "--metrics", "127.0.0.1:0"]);
    let status = fulcrum.answers();
    assert_eq!(status["certificate"]["warning"], "nine-tenths");
    fulcrum.says("nine tenths of the certificate's life have gone");
    let socket = "s/crux.sock";
    let table = world.crux(&["--at", socket, "status"]);
    assert!(table.done().contains("nine tenths of the life of this node's certificate has gone"), "{}", table.out);
    let doctor = world.crux(&["--at", socket, "doctor", "-o", "json"]);
    let doctor: Value = serde_json::from_str(&doctor.out).unwrap();
    let finding = doctor["findings"].as_array().unwrap().iter().find(|one| one["check"] == "certificate").unwrap();
    assert_eq!(finding["state"], "wrong", "{finding}");
    let text = help::get(status["listens"]["metrics"].as_str().unwrap(), "/metrics").1;
    let used = text.lines().find_map(|line| line.strip_prefix("crux_certificate_life_used_ratio ")).unwrap();
    assert!((0.94..0.96).contains(&used.parse::<f64>().unwrap()), "{used}");
    for kind in ["node", "root"] {
        assert!(text.contains(&format!("crux_certificate_expiry_timestamp_seconds{{kind=\"{kind}\"}}")), "{text}");
    }
    fulcrum.stop();
}
