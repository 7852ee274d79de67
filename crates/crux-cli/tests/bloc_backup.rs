//! The drill: a bloc's machines are lost, its CA and a backup are left. On other machines with empty disks all that
//! operators wanted is in force again; who was put out stays out; and a backup that is damaged, of another bloc or locked
//! with another passphrase changes nothing.

mod help;
use help::World;
use help::cluster::names;
use help::fulcrum::{Fulcrum, until, world};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

/// Three of them on loopback, one flock.
fn flock<'a>(world: &'a World, nodes: [&str; 3]) -> [Fulcrum<'a>; 3] {
    let first = Fulcrum::start(world, nodes[0], &format!("s-{}", nodes[0]), &[]);
    let mesh = first.answers()["listens"]["mesh"].as_str().unwrap().to_owned();
    let more = [nodes[1], nodes[2]].map(|node| Fulcrum::start(world, node, &format!("s-{node}"), &["--seed", &mesh]));
    let [second, third] = more;
    let all = [first, second, third];
    for fulcrum in &all {
        until("a flock of three", || fulcrum.json("status").filter(|status| status["members"] == names(&nodes)));
    }
    all
}

struct At<'a>(&'a World, String);

impl At<'_> {
    fn crux(&self, words: &[&str]) -> help::Ran {
        self.0.crux(&[&["--at", &self.1], words].concat())
    }

    fn json(&self, words: &[&str]) -> Value {
        serde_json::from_str(self.crux(&[words, &["-o", "json"]].concat()).done()).unwrap()
    }

    /// Every fact but what fulcrums say of themselves: path and versions.
    fn intent(&self) -> Vec<(String, Vec<String>)> {
        let list = self.json(&["facts", "list", "--deleted"]);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let facts = list["facts"].as_array().unwrap().iter();
        let facts = facts.map(|fact| {
            let heads = fact["heads"].as_array().unwrap().iter().map(|head| text(&head["id"])).collect();
            (text(&fact["path"]), heads)
        });
        facts.filter(|(path, _): &(String, Vec<String>)| !path.starts_with("row/")).collect()
    }

    fn digest(&self) -> String {
        self.json(&["status"])["facts"]["digest"].as_str().unwrap().to_owned()
    }
}

fn at<'a>(world: &'a World, node: &str) -> At<'a> {
    At(world, format!("s-{node}/crux.sock"))
}

/// Both a write that is on as many as promised and one that will be are fine here.
fn wrote(ran: help::Ran) {
    assert!(matches!(ran.code, 0 | 6), "out: {}\nerr: {}", ran.out, ran.err);
}

/// A passphrase in a file that only its owner may read.
fn secret(world: &World, name: &str, text: &str) -> String {
    let path = world.write(name, text);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path.display().to_string()
}

#[test]
fn a_bloc_comes_back_on_other_machines_and_who_was_put_out_stays_out() {
    let world = world(&["n1", "n2", "n3", "n4", "n5", "n6", "n7"]);
    let word = secret(&world, "word", "a long one\n");
    let script = world.write("serve.sh", "#!/bin/sh\nexec sleep 1000\n");
    let old = flock(&world, ["n1", "n2", "n3"]);
    let one = at(&world, "n1");
    wrote(one.crux(&["horde", "create", "web", "--want", "1"]));
    wrote(one.crux(&["horde", "create", "gone", "--want", "1"]));
    wrote(one.crux(&["horde", "delete", "gone"]));
    wrote(one.crux(&["horde", "create", "brief", "--want", "1"]));
    wrote(one.crux(&["node", "expel", "n7", "--reason", "stolen", "--admission", "1"]));
    let files = script.display().to_string();
    let run = ["run", "--horde", "web", "--name", "api", "--count", "1", "--files", &files, "sh", "serve.sh"];
    wrote(one.crux(&run));
    // Taken of another one than had the file pushed: what it lacks it fetches.
    let two = at(&world, "n2");
    until("the facts are on n2", || (two.intent() == one.intent()).then_some(()));
    // And each of the three has said what it is.
    until("every row is on n2", || {
        let rows = two.json(&["facts", "list", "row/"]);
        (rows["facts"].as_array()?.len() == 3).then_some(())
    });
    until("the flock is stable", || (two.json(&["status"])["stable"] == true).then_some(()));
    let made = two.json(&["bloc", "backup", "one.backup", "--passphrase-file", &word]);
    assert_eq!((&made["members"], &made["agree"], &made["apart"]), (&3.into(), &3.into(), &serde_json::json!([])));
    assert_eq!((&made["bloc"], made["files"].as_array().unwrap().len()), (&"acme".into(), 1), "{made}");
    assert_eq!(made["missing"], serde_json::json!([]));
    let backup = world.path("one.backup");
    assert_eq!(backup.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let intent = one.intent();
    for fulcrum in old {
        fulcrum.kill();
    }

    let new = flock(&world, ["n4", "n5", "n6"]);
    let four = at(&world, "n4");
    let restore = ["bloc", "restore", "one.backup", "--passphrase-file", &word];
    let asked = four.json(&[&restore[..], &["--dry-run"]].concat());
    assert_eq!(asked["taken"].as_array().unwrap().len(), intent.len(), "{asked}");
    assert_eq!(four.intent(), [], "it was only asked");
    let restored = four.crux(&restore);
    wrote(restored);
    for node in ["n4", "n5", "n6"] {
        let there = at(&world, node);
        until("all of it is everywhere", || (there.intent() == intent).then_some(()));
    }
    until("their facts are equal", || {
        let digests = ["n4", "n5", "n6"].map(|node| at(&world, node).digest());
        (digests[0] == digests[1] && digests[1] == digests[2]).then_some(())
    });
    until("the service runs with its file", || {
        let ps: Value = serde_json::from_str(&four.crux(&["ps", "-o", "json"]).out).ok()?;
        let ready = |instance: &Value| instance["state"] == "ready" && instance["name"] == "web/api.1";
        ps["instances"].as_array()?.iter().any(ready).then_some(())
    });
    let status = four.json(&["status"]);
    assert_eq!(status["expelled"][0]["node"], "n7");
    let mesh = status["listens"]["mesh"].as_str().unwrap();
    let seven = Fulcrum::start(&world, "n7", "s-n7", &["--seed", mesh]);
    seven.says("expelled");
    assert_eq!(four.json(&["status"])["members"], names(&["n4", "n5", "n6"]));
    // At a glance: who knocks and is not let in is somebody's business.
    let glance = four.crux(&["bloc", "status", "-o", "json"]);
    let said: Value = serde_json::from_str(&glance.out).unwrap();
    assert_eq!((glance.code, &said["well"], &said["bloc"]), (1, &false.into(), &"acme".into()), "{said}");
    assert_eq!((&said["members"], &said["facts"]["conflicts"]), (&names(&["n4", "n5", "n6"]), &0.into()));
    let many = |list: &str| said[list].as_array().unwrap().len();
    assert_eq!((many("roots"), many("certificates"), many("expelled")), (1, 3, 1), "{said}");
    assert!(said["admin"]["present"].as_array().is_some_and(|present| !present.is_empty()), "{said}");
    let outside = |finding: &Value| finding["check"] == "admission" && finding["next"].is_string();
    assert!(said["findings"].as_array().unwrap().iter().any(outside), "{said}");
    let table = four.crux(&["bloc", "status"]).out;
    assert!(
        table.contains("bloc     acme, as n4 has it") && table.contains("expelled n7, by alice: stolen"),
        "{table}"
    );
    seven.kill();

    // What happens from here on, an old backup does not undo.
    wrote(four.crux(&["node", "expel", "n3", "--reason", "lost", "--admission", "1"]));
    wrote(four.crux(&["horde", "set", "web", "--want", "2"]));
    wrote(four.crux(&["horde", "delete", "brief"]));
    let later = four.intent();
    let again = four.crux(&[&restore[..], &["--rows", "--dry-run", "-o", "json"]].concat());
    assert_eq!(again.code, 1, "something was refused: {}", again.err);
    let again: Value = serde_json::from_str(&again.out).unwrap();
    let refused: Vec<_> =
        again["refused"].as_array().unwrap().iter().map(|fact| fact["path"].as_str().unwrap()).collect();
    assert_eq!(refused, ["row/n3/0"], "{again}");
    let again = four.json(&restore);
    assert_eq!((&again["taken"], &again["replaced"]), (&serde_json::json!([]), &2.into()), "{again}");
    assert_eq!(four.intent(), later);

    // Audited, and told to whoever may not.
    let audit = four.json(&["audit"]);
    let entries = audit["entries"].as_array().unwrap();
    assert!(entries.iter().any(|entry| entry["verb"] == "restore" && entry["outcome"] == "done"), "{audit}");
    four.crux(&["ca", "issue", "--ca", "ca", "--operator", "bob", "--out", "bob", "--no-profile", "--scope", "@web"])
        .done();
    let api = status["listens"]["api"].as_str().unwrap();
    let bob = world.crux(&[&["--at", api, "--as", "bob"], &restore[..]].concat());
    bob.failed(4, "E401", &["limited to @web, and this needs restore"]);
    for fulcrum in new {
        fulcrum.stop();
    }
}

#[test]
fn a_backup_that_cannot_be_used_is_one_clear_error_and_changes_nothing() {
    let world = world(&["n1"]);
    let fulcrum = Fulcrum::start(&world, "n1", "s-n1", &[]);
    fulcrum.answers();
    let one = at(&world, "n1");
    wrote(one.crux(&["horde", "create", "web", "--want", "1"]));
    let key = crux_pki::age::Key::generate().unwrap();
    let identity = secret(&world, "identity", &format!("# a comment\n{}\n", &*key.text()));
    let recipient = key.recipient().unwrap().to_string();
    one.crux(&["bloc", "backup", "good", "--recipient", &recipient]).done();
    let backup = |name: &str| ["bloc", "restore", name, "--identity", &identity].map(str::to_owned);
    let restore = |name: &str| one.crux(&backup(name).each_ref().map(String::as_str));
    restore("good").done();
    let intent = one.intent();

    let good = std::fs::read(world.path("good")).unwrap();
    let mut flipped = good.clone();
    flipped[good.len() - 700] ^= 4;
    let mut header = good.clone();
    header[60] ^= 1;
    for (name, bytes) in [
        ("cut", &good[..good.len() - 1]),
        ("short", &good[..good.len() / 2]),
        ("flipped", &flipped),
        ("header", &header),
        ("empty", b""),
        ("text", b"once upon a time there was no backup at all"),
    ] {
        std::fs::write(world.path(name), bytes).unwrap();
        restore(name).failed(1, "E104", &[name, "nothing was changed"]);
    }
    restore("nowhere").failed(3, "E300", &["nowhere"]);
    let other = crux_pki::age::Key::generate().unwrap();
    let other = secret(&world, "other-identity", &other.text());
    one.crux(&["bloc", "restore", "good", "--identity", &other]).failed(1, "E104", &["another key"]);
    let word = secret(&world, "word", "wrong\n");
    one.crux(&["bloc", "restore", "good", "--passphrase-file", &word]).failed(1, "E104", &["for a key"]);

    // A passphrase: by a file, by the environment, and wrong.
    let mut command = world.command();
    command.args(["--at", &one.1, "bloc", "backup", "worded"]).env("CRUX_PASSPHRASE", "right");
    world.run(&mut command).done();
    one.crux(&["bloc", "restore", "worded", "--passphrase-file", &word]).failed(1, "E104", &["passphrase is wrong"]);
    one.crux(&["bloc", "restore", "worded", "--identity", &identity]).failed(1, "E104", &["with a passphrase"]);
    let mut command = world.command();
    command.args(["--at", &one.1, "bloc", "restore", "worded"]).env("CRUX_PASSPHRASE", "right");
    world.run(&mut command).done();
    let open = world.write("open-word", "x");
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o644)).unwrap();
    let open = open.display().to_string();
    one.crux(&["bloc", "backup", "x", "--passphrase-file", &open]).failed(
        1,
        "E100",
        &["others may read it", "chmod 600"],
    );
    one.crux(&["bloc", "backup", "x", "--recipient", "age1nobody"]).failed(2, "E200", &["age1nobody"]);
    one.crux(&["bloc", "backup", "good", "--recipient", &recipient]).failed(1, "E100", &["not overwritten"]);
    one.crux(&["bloc", "backup", "no/where", "--recipient", &recipient]).failed(1, "E100", &["no/where"]);

    // A disk that takes no more: nothing is left, under no name.
    let script =
        format!("trap '' XFSZ; ulimit -f 1; exec \"$0\" --at {} bloc backup full --recipient {recipient}", one.1);
    let mut limited = Command::new("sh");
    limited.args(["-c", &script, env!("CARGO_BIN_EXE_crux")]).current_dir(world.path(""));
    let ran = world.run(&mut limited);
    ran.failed(1, "E100", &["full", "nothing is left of it"]);
    let left: Vec<_> = std::fs::read_dir(world.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with("full")), "{left:?}");

    // Another bloc's, and one of another bloc of the same name.
    for (bloc, says) in [("other", "it is of bloc other"), ("acme", "another bloc that is called acme too")] {
        let there = World::new();
        there.crux(&["ca", "init", "--bloc", bloc, "--out", "ca"]).done();
        there.crux(&["ca", "issue", "--ca", "ca", "--operator", "eve"]).done();
        there.crux(&["ca", "issue", "--ca", "ca", "--node", "n1", "--out", "n1"]).done();
        let stranger = Fulcrum::start(&there, "n1", "s-n1", &[]);
        stranger.answers();
        let name = world.path(&format!("of-{bloc}")).display().to_string();
        at(&there, "n1").crux(&["bloc", "backup", &name, "--recipient", &recipient]).done();
        restore(&name).failed(1, "E104", &[says, "nothing was changed"]);
        stranger.stop();
    }
    assert_eq!(one.intent(), intent);
    fulcrum.stop();
}

/// One fulcrum with a service that needs a file; where that file is.
fn with_a_file<'a>(world: &'a World) -> (Fulcrum<'a>, At<'a>, std::path::PathBuf) {
    let fulcrum = Fulcrum::start(world, "n1", "s-n1", &[]);
    fulcrum.answers();
    let one = at(world, "n1");
    let script = world.write("serve.sh", "#!/bin/sh\nexec sleep 1000\n").display().to_string();
    wrote(one.crux(&["horde", "create", "web", "--want", "1"]));
    wrote(one.crux(&["run", "--horde", "web", "--name", "api", "--count", "1", "--files", &script, "sh", "serve.sh"]));
    let files = one.json(&["files", "list"]);
    let name = files["files"][0]["sha256"].as_str().unwrap().to_owned();
    let path = world.path("s-n1").join("pastiche/sha256").join(name);
    (fulcrum, one, path)
}

#[test]
fn a_file_that_is_damaged_is_not_taken_for_backed_up() {
    let world = world(&["n1"]);
    let word = secret(&world, "word", "a long one\n");
    let (fulcrum, one, file) = with_a_file(&world);
    let mut content = std::fs::read(&file).unwrap();
    content[3] ^= 4;
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::write(&file, &content).unwrap();
    let made = one.crux(&["bloc", "backup", "damaged", "--passphrase-file", &word, "-o", "json"]);
    assert_eq!(made.code, 1, "out: {}\nerr: {}", made.out, made.err);
    let made: Value = serde_json::from_str(&made.out).unwrap();
    assert_eq!((&made["files"], made["missing"].as_array().unwrap().len()), (&serde_json::json!([]), 1), "{made}");
    // What is in it comes back all the same.
    one.crux(&["bloc", "restore", "damaged", "--passphrase-file", &word]).done();
    fulcrum.stop();
}

#[test]
fn who_may_restore_brings_back_files_too() {
    let world = world(&["n1"]);
    let word = secret(&world, "word", "a long one\n");
    let (fulcrum, one, file) = with_a_file(&world);
    one.crux(&["bloc", "backup", "good", "--passphrase-file", &word]).done();
    std::fs::remove_file(&file).unwrap();
    let bob = ["ca", "issue", "--ca", "ca", "--operator", "bob", "--out", "bob", "--no-profile", "--scope", "restore"];
    one.crux(&bob).done();
    let api = one.json(&["status"])["listens"]["api"].as_str().unwrap().to_owned();
    let restore = ["--at", &api, "--as", "bob", "-o", "json", "bloc", "restore", "good", "--passphrase-file", &word];
    let restored = world.crux(&restore);
    let restored: Value = serde_json::from_str(restored.done()).unwrap();
    assert_eq!((&restored["files_stored"], &restored["refused"]), (&1.into(), &serde_json::json!([])), "{restored}");
    assert!(file.exists());
    fulcrum.stop();
}

#[test]
fn a_backup_that_is_interrupted_leaves_nothing() {
    let world = World::new().with_operator();
    let recipient = crux_pki::age::Key::generate().unwrap().recipient().unwrap().to_string();
    // Somebody who takes the question and never answers.
    let _mute = std::os::unix::net::UnixListener::bind(world.path("mute.sock")).unwrap();
    for (name, signal) in [("ended", Signal::TERM), ("stopped", Signal::INT)] {
        let mut command = world.command();
        command.args(["--at", "mute.sock", "bloc", "backup", name, "--recipient", &recipient]);
        let mut backup = command.stderr(Stdio::piped()).spawn().unwrap();
        let left = || {
            let names = std::fs::read_dir(world.path("")).unwrap().map(|entry| entry.unwrap().file_name());
            names.filter(|file| file.to_string_lossy().starts_with(name)).count()
        };
        until("it has begun", || (left() > 0).then_some(()));
        kill_process(Pid::from_child(&backup), signal).unwrap();
        let status = backup.wait().unwrap();
        assert_eq!((status.code(), left()), (Some(1), 0), "{name}");
    }
}

/// Found by a reviewer: a backup of a fulcrum that did not hold what its flock held looked like any other.
#[test]
fn a_backup_says_when_its_fulcrum_may_lack_what_others_hold() {
    let world = world(&["n1", "n2"]);
    let word = secret(&world, "word", "a long one\n");
    // Timers so long that it is not stable for a while.
    let one = Fulcrum::start(&world, "n1", "s-n1", &["--timers", "2"]);
    let mesh = one.answers()["listens"]["mesh"].as_str().unwrap().to_owned();
    let two = Fulcrum::start(&world, "n2", "s-n2", &["--timers", "2", "--seed", &mesh]);
    until("a flock of two", || one.json("status").filter(|status| status["members"] == names(&["n1", "n2"])));
    let backup =
        |name: &str| at(&world, "n1").crux(&["bloc", "backup", name, "--passphrase-file", &word, "-o", "json"]);
    let early = backup("early.backup");
    assert_eq!(early.code, 6, "{}", early.err);
    assert!(early.err.contains("its flock was not stable") && early.err.contains("take another when"), "{}", early.err);
    assert_eq!(serde_json::from_str::<Value>(&early.out).unwrap()["stable"], false);
    assert!(world.path("early.backup").exists(), "it is written all the same");
    until("the flock is stable", || one.json("status").filter(|status| status["stable"] == true));
    let late = until("they hold the same", || {
        let name = format!("late{}.backup", std::fs::read_dir(world.path(".")).unwrap().count());
        Some(backup(&name)).filter(|ran| ran.code == 0)
    });
    let late: Value = serde_json::from_str(&late.out).unwrap();
    assert_eq!((&late["stable"], &late["members"], &late["agree"]), (&true.into(), &2.into(), &2.into()), "{late}");
    // One that is stopped is a member until it is missed, and does not say what it holds.
    kill_process(Pid::from_child(&two.process), Signal::STOP).unwrap();
    let ran = backup("alone.backup");
    assert_eq!(ran.code, 6, "{}", ran.err);
    kill_process(Pid::from_child(&two.process), Signal::CONT).unwrap();
}
