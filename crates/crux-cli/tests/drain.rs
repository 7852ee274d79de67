//! Taking nodes out of work on real processes: cordon, drain, undrain, labels, vacancies, and leaving for good.

mod help;
use help::cluster::Cluster;
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
    cluster.ok(&["node", "undrain", &victim]);
    cluster.until(asked, "no cordon", |status| entry(status, &victim)["cordoned"] == false);

    // A horde of whoever an operator labels.
    cluster.ok(&["node", "label", "n3", "disk=fast"]);
    cluster.ok(&["node", "label", "n4", "disk=fast"]);
    assert_eq!(cluster.ok(&["node", "label", "n4"]).trim(), "disk=fast");
    cluster.ok(&["horde", "create", "web", "--want", "1", "--where", "disk=fast", "--vacancy-after", "2s"]);
    let status = cluster
        .until("n1", "a member with that label", |status| horde(status, "web")["present"] != Value::Array(vec![]));
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
