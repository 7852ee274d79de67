//! Taking nodes out of work on real processes: cordon, drain, undrain, labels, vacancies, and leaving for good.

mod help;
use help::cluster::{Cluster, names};
use serde_json::Value;

/// Where the demo service runs, as a status has it: nodes of instances that are ready.
fn ready(status: &Value) -> Vec<String> {
    let instances = status["instances"].as_array().into_iter().flatten();
    let ready = instances.filter(|one| one["state"] == "ready");
    ready.map(|one| one["node"].as_str().unwrap_or_default().to_owned()).collect()
}

fn entry<'a>(status: &'a Value, node: &str) -> &'a Value {
    status["roster"]
        .as_array()
        .and_then(|roster| roster.iter().find(|entry| entry["name"] == node))
        .unwrap_or(&Value::Null)
}

fn horde<'a>(status: &'a Value, name: &str) -> &'a Value {
    status["hordes"].as_array().and_then(|all| all.iter().find(|horde| horde["name"] == name)).unwrap_or(&Value::Null)
}

#[test]
fn a_node_is_drained_and_has_work_again_and_a_vacancy_is_filled_until_an_operator_ends_membership() {
    let mut cluster = Cluster::up(4);
    cluster.until("n1", "the demo service", |status| ready(status).len() == 3);

    // Nobody drains who is not there.
    let nobody = cluster.run(&["node", "drain", "n9", "--reason", "typo"]);
    assert_eq!(nobody.status.code(), Some(3), "{}", String::from_utf8_lossy(&nobody.stderr));
    let victim = ready(&cluster.status("n1").unwrap())[0].clone();
    let asked = ["n1", "n2"].into_iter().find(|node| *node != victim).unwrap();
    cluster.ok(&["node", "drain", &victim, "--reason", "new disk"]);
    let status = cluster.until(asked, "what ran there runs elsewhere", |status| {
        let ready = ready(status);
        ready.len() == 3 && !ready.contains(&victim)
    });
    let drained = entry(&status, &victim);
    assert_eq!((&drained["draining"], &drained["cordon_reason"]), (&true.into(), &"new disk".into()), "{drained}");
    assert!(cluster.ok(&["node", "list"]).contains("draining"));
    let why = cluster.ok(&["why", "node", &victim]);
    assert!(why.contains("what runs there moves away") && why.contains("new disk"), "{why}");
    // Who says nothing of why changes nothing of it.
    cluster.ok(&["node", "cordon", &victim, "--wait"]);
    let cordoned = entry(&cluster.status("n1").unwrap(), &victim).clone();
    assert_eq!((&cordoned["draining"], &cordoned["cordon_reason"]), (&false.into(), &"new disk".into()), "{cordoned}");
    cluster.ok(&["node", "cordon", &victim, "--reason", ""]);
    cluster.until("n1", "the reason is taken back", |status| entry(status, &victim)["cordon_reason"] == "");
    cluster.ok(&["node", "undrain", &victim]);
    cluster.until(asked, "no cordon", |status| entry(status, &victim)["cordoned"] == false);

    // A horde of whoever an operator labels.
    cluster.ok(&["node", "label", "n3", "disk=fast"]);
    cluster.ok(&["node", "label", "n4", "disk=fast"]);
    assert_eq!(cluster.ok(&["node", "label", "n4"]).trim(), "disk=fast");
    let status = cluster.until("n1", "both have it", |status| {
        ["n3", "n4"].iter().all(|node| entry(status, node)["labels"]["disk"] == "fast")
    });
    assert_eq!(entry(&status, "n1")["labels"]["disk"], Value::Null);
    assert!(cluster.ok(&["node", "list", "-o", "wide"]).contains("disk=fast"));
    // It says done when it is.
    cluster.ok(&["horde", "create", "web", "--want", "1", "--where", "disk=fast", "--vacancy-after", "2s", "--wait"]);
    let status = cluster.status("n1").unwrap();
    assert_ne!(horde(&status, "web")["present"], Value::Array(vec![]), "{status:#}");
    let never = ["horde", "create", "big", "--want", "2", "--where", "disk=none", "--wait", "--timeout", "2s"];
    let never = cluster.run(&never);
    let said = String::from_utf8_lossy(&never.stderr).into_owned();
    assert_eq!(never.status.code(), Some(6), "{said}");
    assert!(said.contains("horde big has 0 of 2 home members") && said.contains("crux why horde big"), "{said}");
    cluster.ok(&["horde", "delete", "big", "--wait"]);
    assert_eq!(horde(&cluster.status("n1").unwrap(), "big"), &Value::Null);
    let member = horde(&status, "web")["present"][0].as_str().unwrap().to_owned();
    let other = if member == "n3" { "n4" } else { "n3" };
    assert_eq!(horde(&status, "web")["state"], "whole");

    // Its machine dies: the other one stands in, until it is back.
    cluster.ok(&["lab", "kill", &member]);
    let status = cluster.until("n1", "somebody stands in", |status| horde(status, "web")["substitutes"][0] == other);
    assert_eq!(horde(&status, "web")["state"], "parted");
    assert!(horde(&status, "web")["why"].as_str().unwrap().contains(&format!("{other} stands in")), "{status}");
    assert_eq!(entry(&status, other)["stands_for"], member.as_str());
    cluster.ok(&["lab", "start", &member]);
    cluster.until("n1", "the member is back in its place", |status| {
        let web = horde(status, "web");
        web["state"] == "whole" && web["substitutes"] == Value::Array(vec![]) && web["present"][0] == member.as_str()
    });

    // It leaves for good: it is missed nowhere, and the other one is the member now.
    cluster.ok(&["node", "leave", &member]);
    cluster.until("n1", "the horde is whole without it", |status| {
        let web = horde(status, "web");
        web["state"] == "whole" && web["home"] == Value::Array(vec![other.into()])
    });
    cluster.interrupt();
}

/// The processes of a service's instances that are there, as a status has them.
fn processes(status: &Value, service: &str) -> Vec<u64> {
    let instances = status["instances"].as_array().into_iter().flatten();
    instances.filter(|one| one["service"] == service).filter_map(|one| one["pid"].as_u64()).collect()
}

fn lives(pid: u64) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.contains("86399"))
}

#[test]
fn a_horde_with_services_is_deleted_only_with_them_and_its_members_are_free_again() {
    let mut cluster = Cluster::up(3);
    for node in ["n2", "n3"] {
        cluster.ok(&["node", "label", node, "disk=fast"]);
    }
    cluster.ok(&["horde", "create", "web", "--want", "2", "--where", "disk=fast"]);
    let work = |name: &'static str| ["run", "--horde", "web", "--name", name, "--count", "2", "sleep", "86399"];
    cluster.ok(&work("api"));
    cluster.ok(&work("db"));
    let running = |status: &Value, service: &str| {
        let instances = status["instances"].as_array().into_iter().flatten();
        instances.filter(|one| one["service"] == service && one["state"] == "ready").count()
    };
    let of = |status: &Value, wanted: &str| ["n2", "n3"].iter().all(|node| entry(status, node)["horde"] == wanted);
    // Asked at who is not of the horde, and never was.
    // Whoever came first may have had all of it for a moment.
    let status = cluster.until("n1", "both services of the horde", |status| {
        let whole = |service: &&str| running(status, service) == 2 && processes(status, service).len() == 2;
        ["api", "db"].iter().all(whole) && of(status, "web")
    });
    let before: Vec<u64> = ["api", "db"].iter().flat_map(|service| processes(&status, service)).collect();
    assert!(before.len() == 4 && before.iter().all(|pid| lives(*pid)), "{before:?}");

    // It is not taken away under what runs in it, and no service either by mistake.
    let refused = cluster.run(&["horde", "delete", "web"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    for text in ["horde web still runs web/api, web/db; nothing was changed", "next: crux horde delete web --prune"] {
        assert!(said.contains(text), "{text:?}: {said}");
    }
    cluster.until("n1", "the horde as it was", |status| of(status, "web") && horde(status, "web")["want"] == 2);
    assert!(before.iter().all(|pid| lives(*pid)), "{before:?}");

    let done = cluster.ok(&["horde", "delete", "web", "--prune", "--wait"]);
    let status = cluster.status("n1").unwrap();
    assert!(
        *horde(&status, "web") == Value::Null && running(&status, "api") + running(&status, "db") == 0,
        "{status:#}"
    );
    for path in ["delete horde/web", "delete place/web/api", "delete place/web/db"] {
        assert!(done.contains(path), "{path}: {done}");
    }
    for node in ["n1", "n2", "n3"] {
        cluster.until(node, "the horde is gone, and its members are of main", |status| {
            let gone = *horde(status, "web") == Value::Null && running(status, "api") + running(status, "db") == 0;
            gone && of(status, "main") && horde(status, "main")["home"] == names(&["n1", "n2", "n3"])
        });
    }
    help::fulcrum::until("what ran is stopped", || before.iter().all(|pid| !lives(*pid)).then_some(()));
    let left = cluster.run(&["horde", "delete", "web"]);
    assert_eq!(left.status.code(), Some(3), "{}", String::from_utf8_lossy(&left.stderr));
    // Its members work for main again: the demo service runs as before, and a place for more is with them too.
    cluster.ok(&["run", "--name", "more", "--count", "3", "sleep", "86398"]);
    cluster.until("n1", "one on each", |status| {
        let instances = status["instances"].as_array().into_iter().flatten();
        let mut on: Vec<&str> = instances
            .filter(|one| one["service"] == "more" && one["state"] == "ready")
            .filter_map(|one| one["node"].as_str())
            .collect();
        on.sort_unstable();
        on == ["n1", "n2", "n3"]
    });
    cluster.interrupt();
}
