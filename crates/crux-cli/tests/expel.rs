//! A node that is put out of the bloc, as an operator does it: out within seconds, out for good, and in again only by
//! another admission.

mod help;
use crux_api::json::to_hex;
use help::cluster::names;
use help::fulcrum::{Fulcrum, until, world};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::path::Path;
use std::time::{Duration, Instant};

fn members(fulcrum: &Fulcrum, wanted: &[&str]) {
    until(&format!("members {wanted:?}"), || {
        fulcrum.json("status").filter(|status| status["members"] == names(wanted)).map(|_| ())
    });
}

/// The files of a state directory as they stand, as a backup would have them.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else if kind.is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

#[test]
fn an_expelled_node_is_out_for_good_and_another_admission_lets_it_in_again() {
    let world = world(&["n1", "n2", "n3"]);
    let one = Fulcrum::start(&world, "n1", "s1", &[]);
    let mesh = one.answers()["listens"]["mesh"].as_str().unwrap().to_owned();
    let two = Fulcrum::start(&world, "n2", "s2", &["--seed", &mesh]);
    let three = Fulcrum::start(&world, "n3", "s3", &["--seed", &mesh]);
    for fulcrum in [&one, &two, &three] {
        members(fulcrum, &["n1", "n2", "n3"]);
    }
    let expel = |at: &str, words: &[&str]| world.crux(&[&["--at", at, "node", "expel"], words].concat());
    // Nobody is expelled by mistake: a reason is needed, and the node that is asked is not meant.
    assert_eq!(expel("s1/crux.sock", &["n3"]).code, 2);
    expel("s3/crux.sock", &["n3", "--reason", "stolen"]).failed(2, "E200", &["cut itself off"]);
    expel("s1/crux.sock", &["N3", "--reason", "stolen"]).failed(2, "E200", &["N3"]);
    // Nobody knows which admission a node has that never was here.
    expel("s1/crux.sock", &["n9", "--reason", "stolen"]).failed(3, "E300", &["n9", "next: --admission N"]);
    members(&one, &["n1", "n2", "n3"]);

    // What runs on n3 has a file, and so n3 has read it.
    let script = "#!/bin/sh\nsleep 600\n";
    world.write("worker.sh", script);
    let made = ["--at", "s1/crux.sock", "horde", "create", "web", "--want", "1", "--where", "node under n3"];
    world.crux(&made).done();
    let run = ["--at", "s1/crux.sock", "run", "--horde", "web", "--name", "worker", "--count", "1", "./worker.sh"];
    world.crux(&run).done();
    until("a worker on n3", || {
        let status = one.json("status")?;
        let mut all = status["instances"].as_array()?.iter();
        all.any(|one| one["service"] == "worker" && one["node"] == "n3" && one["state"] == "ready").then_some(())
    });

    copy(&world.path("s2"), &world.path("backup"));
    let begin = Instant::now();
    let said = expel("s1/crux.sock", &["n3", "--reason", "stolen"]);
    assert!(said.done().contains("n3 is expelled, with its admissions up to 1"), "{}", said.out);
    assert!(said.out.contains("it had fulcrums: n3 of horde web"), "{}", said.out);
    let sha256 = to_hex(&Sha256::digest(script));
    let file = format!("it had files: worker: worker.sh ({})", &sha256[..12]);
    assert!(said.out.contains("it had instances: web/worker.") && said.out.contains(&file), "{}", said.out);
    members(&one, &["n1", "n2"]);
    members(&two, &["n1", "n2"]);
    eprintln!("out after {:.2} s", begin.elapsed().as_secs_f64());
    three.says("was expelled");
    let status = two.answers();
    let row = &status["expelled"][0];
    assert_eq!((&row["node"], &row["admission"], &row["reason"]), (&"n3".into(), &1.into(), &"stolen".into()));
    assert!(status["outside"].to_string().contains("expelled"), "{}", status["outside"]);
    // It is no news twice, and cannot be taken back.
    let again = expel("s1/crux.sock", &["n3", "--reason", "again"]);
    assert!(again.done().contains("n3 is expelled already, with its admissions up to 1, by"), "{}", again.out);
    assert!(again.out.contains("stolen") && !again.out.contains("again"), "{}", again.out);
    assert_eq!(one.answers()["expelled"].as_array().map(Vec::len), Some(1));
    // It says so of itself, wherever it is asked.
    let out = until("n3 knows who put it out", || {
        Some(three.json("status")?["put_out"].clone()).filter(|out| out["text"].is_string())
    });
    // By the operator's fact if that came before its links were cut, else by who refuses it.
    let by = match out["by"].as_str() {
        Some(by) => by.to_owned(),
        None => String::new(),
    };
    assert!(if by.is_empty() { out["told_by"].is_string() } else { out["reason"] == "stolen" }, "{out}");
    let at_n3 = |words: &[&str]| world.crux(&[&["--at", "s3/crux.sock"], words].concat());
    let said = if by.is_empty() {
        "this node was EXPELLED, as ".to_owned()
    } else {
        format!("this node was EXPELLED by {by}")
    };
    for words in [&["status"][..], &["why", "node", "n3"], &["why", "flock"], &["bloc", "status"]] {
        let ran = at_n3(words);
        assert!(ran.out.contains(&said), "{words:?}: {}", ran.out);
    }
    let doctor = at_n3(&["doctor"]);
    assert!(doctor.code == 1 && doctor.out.contains(&said) && doctor.out.contains("--readmit"), "{}", doctor.out);
    assert_eq!(one.answers()["put_out"], Value::Null);

    // Everybody dies at once and starts again: the expelled one with what it had, and n2 from a backup that was made before.
    // They may form a flock, until the one that has heard comes.
    for fulcrum in [one, two, three] {
        fulcrum.kill();
    }
    std::fs::remove_dir_all(world.path("s2")).unwrap();
    std::fs::rename(world.path("backup"), world.path("s2")).unwrap();
    let two = Fulcrum::start(&world, "n2", "s2", &[]);
    let other = two.answers()["listens"]["mesh"].as_str().unwrap().to_owned();
    let three = Fulcrum::start(&world, "n3", "s3", &["--seed", &other]);
    members(&two, &["n2", "n3"]);
    let one = Fulcrum::start(&world, "n1", "s1", &["--listen", &mesh, "--seed", &other]);
    members(&two, &["n1", "n2"]);
    members(&one, &["n1", "n2"]);
    three.says("was expelled");
    three.stop();

    // A renewal is of the same admission, so it helps nobody.
    world.crux(&["ca", "renew", "n3", "--ca", "ca", "--out", "n3-renewed"]).done();
    let three = Fulcrum::start(&world, "n3-renewed", "s3", &["--seed", &mesh]);
    three.says("was expelled");
    let waited = Instant::now();
    while waited.elapsed() < Duration::from_secs(3) {
        assert_eq!(one.answers()["members"], names(&["n1", "n2"]));
    }
    three.stop();

    // One that has forgotten everything hears it from whoever refuses it.
    let three = Fulcrum::start(&world, "n3", "s9", &["--seed", &mesh]);
    let out = until("n3 is told", || Some(three.json("status")?["put_out"].clone()).filter(|out| !out.is_null()));
    assert!(out["by"].is_null() && out["told_by"].is_string(), "{out}");
    assert!(out["text"].as_str().unwrap().contains("who refuses it"), "{out}");
    let ran = world.crux(&["--at", "s9/crux.sock", "doctor"]);
    assert!(ran.code == 1 && ran.out.contains("this node was EXPELLED, as "), "{}", ran.out);
    three.stop();

    // An operator lets a node of that name in again.
    world.crux(&["ca", "issue", "--ca", "ca", "--node", "n3", "--readmit", "--out", "n3-again"]).done();
    let three = Fulcrum::start(&world, "n3-again", "s4", &["--seed", &mesh]);
    members(&one, &["n1", "n2", "n3"]);
    let status = three.answers();
    assert_eq!((&status["expelled"][0]["admission"], &status["put_out"]), (&1.into(), &Value::Null));
    assert_eq!(one.answers()["expelled"].as_array().map(Vec::len), Some(1), "{}", Value::Null);
    for fulcrum in [one, two, three] {
        fulcrum.stop();
    }
}
