//! `crux down` comes back when the fulcrum is gone, so that the next command may start it again.

mod help;
use help::cluster::Cluster;
use help::fulcrum::{Fulcrum, until, world};
use help::{Answer, Fake, World, sample};
use serde_json::Value;

#[test]
fn whoever_was_told_to_go_is_gone_and_its_state_free_when_the_command_comes_back() {
    let world = world(&["n1"]);
    for _ in 0..5 {
        let mut n1 = Fulcrum::start(&world, "n1", "s", &[]);
        n1.answers();
        let ran = world.crux(&["--at", "s/crux.sock", "down"]);
        assert_eq!(ran.done(), "n1 leaves its flock and leaves its services as they are; its process has ended\n");
        // Not a moment later: the next life begins in the same state directory.
        assert!(n1.process.try_wait().unwrap().is_some_and(|ended| ended.success()), "{}", n1.log());
    }
    let mut n1 = Fulcrum::start(&world, "n1", "s", &[]);
    n1.answers();
    let ran = world.crux(&["--at", "s/crux.sock", "down", "-o", "json"]);
    let done: Value = serde_json::from_str(ran.done()).unwrap();
    assert_eq!(done["kind"], "Done");
    assert!(n1.process.try_wait().unwrap().is_some());
    let mut n1 = Fulcrum::start(&world, "n1", "s", &[]);
    n1.answers();
    world.crux(&["--at", "s/crux.sock", "node", "leave"]).done();
    assert!(n1.process.try_wait().unwrap().is_some());
}

#[test]
fn at_the_api_port_it_is_waited_until_that_life_answers_no_more() {
    let world = world(&["n1"]);
    let mut n1 = Fulcrum::start(&world, "n1", "s", &[]);
    let addr = n1.answers()["listens"]["api"].as_str().unwrap().to_owned();
    let ran = world.crux(&["--at", &addr, "down"]);
    assert!(ran.done().ends_with("; it does not answer any more\n"), "{}", ran.out);
    world.crux(&["--at", &addr, "confab"]).failed(5, "E500", &[&addr]);
    until("its process ends", || n1.process.try_wait().unwrap());
}

#[test]
fn the_dev_cluster_is_gone_when_the_command_comes_back() {
    let mut cluster = Cluster::up(2);
    let said = cluster.ok(&["down"]);
    assert!(said.starts_with("the dev cluster goes down") && said.ends_with("its process has ended\n"), "{said}");
    assert!(cluster.process.try_wait().unwrap().is_some());
    assert_eq!(cluster.left_over(), Vec::<String>::new());
}

#[test]
fn who_says_that_it_goes_and_stays_is_named() {
    let world = World::new();
    let fake = Fake::start(&world, |_| Answer::json(sample("Done")));
    let ran = world.crux(&["--at", fake.at(), "down", "--timeout", "1s"]);
    ran.failed(6, "E600", &[&format!("process {} is still there after 1 s", std::process::id())]);
}
