//! Who is in a flock on other terms: visitors, who never lead and get no work, and those who broke off too often.

mod help;
use help::cluster::{Cluster, names};
use help::fulcrum::{Fulcrum, until, world};
use serde_json::Value;

/// Where instances are that are not gone, by what this fulcrum knows.
fn placed(fulcrum: &Fulcrum) -> Option<Vec<String>> {
    let status = fulcrum.json("status")?;
    let live = status["instances"].as_array()?.iter().filter(|instance| instance["state"] != "gone");
    Some(live.map(|instance| instance["node"].as_str().unwrap().to_owned()).collect())
}

/// Waits until so many of the service `work` are ready, and no more are there.
fn at_work(fulcrum: &Fulcrum, count: u32) {
    until(&format!("{count} at work"), || {
        let status = fulcrum.json("status")?;
        let work = status["services"].as_array()?.iter().find(|service| service["service"] == "work")?.clone();
        (work["ready"] == count && work["surplus"] == 0).then_some(())
    });
}

#[test]
fn a_visitor_follows_a_flock_and_never_leads_it_nor_gets_work() {
    let world = world(&["n1", "n2", "n0"]);
    // The first of all, and by name before the others: it would lead, were it no visitor.
    let guest = Fulcrum::start(&world, "n0", "s0", &["--visitor"]);
    let mesh = guest.answers()["listens"]["mesh"].as_str().unwrap().to_owned();
    let one = Fulcrum::start(&world, "n1", "s1", &["--seed", &mesh, "--expect", "3"]);
    let two = Fulcrum::start(&world, "n2", "s2", &["--seed", &mesh]);
    let all = names(&["n0", "n1", "n2"]);
    for fulcrum in [&guest, &one, &two] {
        let status = until("a flock of three", || {
            fulcrum.json("status").filter(|status| status["members"] == all && status["leader"] != "n0")
        });
        let horde = fulcrum.json("confab").unwrap()["horde"].clone();
        assert_eq!(horde, if status["node"] == "n0" { Value::Null } else { "main".into() }, "a visitor is of no horde");
        let roster = status["roster"].as_array().unwrap();
        let visitors: Vec<&Value> = roster.iter().filter(|line| line["visitor"] == true).collect();
        assert!(visitors.len() == 1 && visitors[0]["name"] == "n0" && visitors[0]["horde"].is_null(), "{roster:#?}");
    }
    let table = world.crux(&["--at", "s1/crux.sock", "status"]);
    assert!(table.done().lines().any(|line| line.starts_with("n0 ") && line.contains("visitor")), "{}", table.out);
    assert!(table.out.contains("! BELOW the expected size: 2 of 3 members"), "{}", table.out);
    until("the horde has its members, and the visitor is none", || {
        let status = one.json("status")?;
        let main = status["hordes"].as_array()?.iter().find(|horde| horde["name"] == "main")?.clone();
        (main["home"] == names(&["n1", "n2"])).then_some(())
    });
    // It keeps nobody from being complete, and has no part in the work.
    for fulcrum in [&guest, &one, &two] {
        until("a stable flock", || fulcrum.json("status").filter(|status| status["stable"] == true));
    }
    world.crux(&["--at", "s1/crux.sock", "run", "--name", "work", "--count", "3", "sleep", "600"]).done();
    at_work(&one, 3);
    for fulcrum in [&guest, &one, &two] {
        let nodes = placed(fulcrum).unwrap();
        assert!(!nodes.contains(&"n0".to_owned()), "{nodes:?}");
    }
    // Whoever leads goes; the other one takes over, and at last the visitor is alone.
    let leader = one.answers()["leader"].clone();
    let (first, last, left) = if leader == "n1" { (one, two, "n2") } else { (two, one, "n1") };
    first.stop();
    let with = |members: &Value, leader: &str| {
        let status = guest.json("status")?;
        (status["members"] == *members && status["leader"] == leader).then_some(())
    };
    until("the one that is left leads", || with(&names(&["n0", left]), left));
    last.stop();
    until("the visitor is alone", || with(&names(&["n0"]), "n0"));
    assert!(!placed(&guest).unwrap().contains(&"n0".to_owned()), "also alone it gets no work");
    let back = Fulcrum::start(&world, left, if left == "n1" { "s1" } else { "s2" }, &["--seed", &mesh]);
    until("and leads no longer when somebody comes", || with(&names(&["n0", left]), left));
    back.stop();
    guest.stop();
}

#[test]
fn a_member_that_comes_back_as_a_visitor_gives_its_work_to_the_others() {
    let world = world(&["n1", "n2"]);
    let one = Fulcrum::start(&world, "n1", "s1", &[]);
    let mesh = one.answers()["listens"]["mesh"].as_str().unwrap().to_owned();
    let mut two = Fulcrum::start(&world, "n2", "s2", &["--seed", &mesh]);
    until("a flock of two", || one.json("status").filter(|status| status["members"] == names(&["n1", "n2"])));
    world.crux(&["--at", "s1/crux.sock", "run", "--name", "work", "--count", "2", "sleep", "600"]).done();
    at_work(&one, 2);
    until("one on each", || {
        let mut nodes = placed(&one)?;
        nodes.sort();
        (nodes == ["n1", "n2"]).then_some(())
    });
    // Killed, it leaves what it ran to its next life.
    two.process.kill().unwrap();
    two.process.wait().unwrap();
    let two = Fulcrum::start(&world, "n2", "s2", &["--seed", &mesh, "--visitor"]);
    until("it is back as a visitor", || {
        let status = one.json("status")?;
        let line = status["roster"].as_array()?.iter().find(|line| line["name"] == "n2")?.clone();
        (line["visitor"] == true).then_some(())
    });
    until("all of the work is with the member", || (placed(&one)? == ["n1", "n1"]).then_some(()));
    until("nothing runs at the visitor", || {
        let status = two.json("status")?;
        let own = status["instances"]
            .as_array()?
            .iter()
            .any(|it| it["node"] == "n2" && it["pid"].is_u64() && it["state"] != "gone");
        (!own).then_some(())
    });
    at_work(&one, 2);
    two.stop();
    one.stop();
}

#[test]
fn who_breaks_off_again_and_again_is_held_and_everybody_can_see_it() {
    let cluster = Cluster::up(3);
    let all = names(&["n1", "n2", "n3"]);
    let whole = |status: &Value| status["members"] == all;
    cluster.until("n1", "a whole flock", whole);
    let mut held = Value::Null;
    for round in 1..=3 {
        cluster.ok(&["lab", "split", "n1,n2/n3"]);
        for node in ["n1", "n2"] {
            cluster.until(node, "its part", |status| status["members"] == names(&["n1", "n2"]));
        }
        cluster.until("n3", "its part", |status| status["members"] == names(&["n3"]));
        cluster.ok(&["lab", "heal"]);
        if round == 3 {
            held = cluster.until("n1", "n3 is held", |status| status["siblings"][0]["apart"] == "flap-hold");
            break;
        }
        cluster.until("n1", "a whole flock again", whole);
    }
    assert!(held["siblings"][0]["until"].as_str().is_some_and(|until| until.ends_with('Z')), "{held:#?}");
    let why = cluster.ok(&["--at", "n1", "why", "flock"]);
    assert!(why.contains("broke off too often"), "{why}");
    let events: Value = serde_json::from_str(&cluster.ok(&["--at", "n1", "events", "-o", "json"])).unwrap();
    let hold = events["events"].as_array().unwrap().iter().find(|event| event["event"] == "hold").cloned();
    assert!(hold.as_ref().is_some_and(|hold| hold["subject"] == "n3"), "{events:#?}");
    // It is a while, not for ever.
    cluster.until("n1", "a whole flock at last", whole);
}
