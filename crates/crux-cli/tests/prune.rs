//! The horizon on real processes: old deletions are forgotten, what is wanted is signed again, and a machine that comes back
//! from before it brings nothing into force.

mod help;
use bytes::Bytes;
use crux_api::client::Client;
use crux_api::json::Written;
use crux_api::routes::{self, WriteRequest};
use crux_api::write::{NewFact, WriteKind, Writer};
use crux_core::facts::value::Horde;
use crux_names::Wall;
use crux_pki::{Bundle, unix_now};
use help::World;
use help::cluster::names;
use help::fulcrum::{Fulcrum, until, world};
use prost::Message as _;
use serde_json::Value;

/// Writes a fact through a door as an operator did it so many days ago.
fn long_ago(world: &World, state: &str, name: &str, days: u64) {
    let bundle = Bundle::load(&world.path("ann")).unwrap();
    let writer = Writer {
        bloc: "acme".parse().unwrap(),
        operator: "ann".parse().unwrap(),
        chain: bundle.chain().iter().map(|der| Bytes::copy_from_slice(der)).collect(),
        sign: &|context, bytes| bundle.signer().sign(context, bytes),
    };
    let value = Horde { want: 1, ..Horde::default() }.encode_to_vec();
    let fact = NewFact { path: format!("horde/{name}"), value: Some(value) };
    let then = Wall((unix_now() - days * 86_400) * 1_000_000);
    let sealed = writer.seal(&fact, None, WriteKind::Edit, then, [7; 16]).unwrap();
    let client = Client::new(world.path(state).join("crux.sock"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let request = WriteRequest { versions: vec![sealed] };
    let written: Result<Written, _> = runtime.block_on(client.post(routes::FACTS, &request));
    written.unwrap();
}

#[test]
fn what_was_forgotten_comes_back_only_by_an_operators_word() {
    let world = world(&["n1", "n2"]);
    world.crux(&["ca", "issue", "--ca", "ca", "--operator", "ann", "--out", "ann", "--no-profile"]).done();
    let at = |state: &str, words: &[&str]| {
        let socket = format!("{state}/crux.sock");
        world.crux(&[&["--at", &socket], words].concat())
    };
    let hordes = |state: &str| at(state, &["horde", "list", "-o", "name"]).done().to_owned();
    // Two years ago both knew two hordes; then n2 was switched off, and one of the two was deleted.
    let one = Fulcrum::start(&world, "n1", "s1", &[]);
    let mesh = one.answers()["listens"]["mesh"].as_str().unwrap().to_owned();
    long_ago(&world, "s1", "kept", 800);
    long_ago(&world, "s1", "gone", 800);
    let two = Fulcrum::start(&world, "n2", "s2", &["--seed", &mesh]);
    until("n2 has both", || {
        let list = at("s2", &["horde", "list", "-o", "name"]);
        (list.code == 0 && ["gone", "kept"].iter().all(|name| list.out.contains(name))).then_some(())
    });
    two.stop();
    let old = world.path("old");
    std::fs::create_dir(&old).unwrap();
    for file in std::fs::read_dir(world.path("s2")).unwrap().map(|file| file.unwrap()) {
        if file.file_type().unwrap().is_file() {
            std::fs::copy(file.path(), old.join(file.file_name())).unwrap();
        }
    }
    at("s1", &["horde", "delete", "gone"]).done();

    at("s1", &["facts", "prune", "--older-than", "429"]).failed(2, "E200", &["430"]);
    let dry = at("s1", &["facts", "prune", "--dry-run"]);
    assert!(dry.done().contains("1 facts would be signed again"), "{}", dry.out);
    let done = at("s1", &["facts", "prune"]);
    assert!(done.done().contains("1 facts are signed again"), "{}", done.out);
    let left = hordes("s1");
    assert!(left.contains("kept") && !left.contains("gone"), "{left}");
    // The deletion itself is of today and stays remembered; a line after it is drawn in another year. So what comes back
    // here is what nobody remembers: as if it had been deleted long ago.
    at("s1", &["facts", "quarantine"]).done();

    let back = Fulcrum::start(&world, "n2", "old", &["--seed", &mesh]);
    until("a flock of two", || back.json("status").filter(|status| status["members"] == names(&["n1", "n2"])));
    let digest = |fulcrum: &Fulcrum<'_>| fulcrum.json("status").map(|status| status["facts"]["digest"].clone());
    until("equal facts", || digest(&one).filter(|mine| Some(mine) == digest(&back).as_ref()));
    for state in ["s1", "old"] {
        assert!(hordes(state).contains("kept") && !hordes(state).contains("gone"), "{state}");
    }
    back.stop();
    one.stop();

    // Somebody who has forgotten the deletion too: a bloc of its own line, to which the old disk comes.
    let one = Fulcrum::start(&world, "n1", "s3", &[]);
    let mesh = one.answers()["listens"]["mesh"].as_str().unwrap().to_owned();
    at("s3", &["facts", "prune"]).done();
    let back = Fulcrum::start(&world, "n2", "s2", &["--seed", &mesh]);
    until("a flock of two", || back.json("status").filter(|status| status["members"] == names(&["n1", "n2"])));
    let listed = until("what it brought is in quarantine", || {
        let list: Value = serde_json::from_str(&at("s2", &["facts", "quarantine", "-o", "json"]).out).ok()?;
        let paths: Vec<String> =
            list["facts"].as_array()?.iter().map(|fact| fact["path"].as_str().unwrap_or("").to_owned()).collect();
        (paths.len() == 2).then_some(paths)
    });
    assert_eq!(listed, ["horde/gone", "horde/kept"]);
    until("equal facts", || digest(&one).filter(|mine| Some(mine) == digest(&back).as_ref()));
    assert!(!hordes("s3").contains("gone") && !hordes("s2").contains("kept"));
    let status = at("s2", &["status"]);
    assert!(status.done().contains("2 facts wait for an operator's word"), "{}", status.out);

    at("s2", &["facts", "accept", "horde/nothing"]).failed(3, "E300", &["is not in quarantine here"]);
    let accepted = at("s2", &["facts", "accept", "horde/kept"]);
    assert!(accepted.done().contains("horde/kept is in force again: want 1"), "{}", accepted.out);
    until("it is in force everywhere", || {
        ["s2", "s3"].iter().all(|state| hordes(state).contains("kept")).then_some(())
    });
    assert!(!at("s2", &["facts", "quarantine"]).done().contains("horde/kept"));
    back.stop();
    one.stop();
}
