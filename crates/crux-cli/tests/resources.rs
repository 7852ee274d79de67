//! Resources on real processes: what fulcrums tell of themselves, shares, asks that are too long, quotas, and ADMIN where an
//! operator wants it.

mod help;
use help::cluster::Cluster;
use serde_json::Value;

fn service<'a>(status: &'a Value, name: &str) -> &'a Value {
    let all = status["services"].as_array();
    all.and_then(|all| all.iter().find(|one| one["service"] == name)).unwrap_or(&Value::Null)
}

fn horde<'a>(status: &'a Value, name: &str) -> &'a Value {
    status["hordes"].as_array().and_then(|all| all.iter().find(|horde| horde["name"] == name)).unwrap_or(&Value::Null)
}

/// Thousandths of a core that a member says it has.
fn cores(status: &Value, node: &str) -> Option<u64> {
    let roster = status["roster"].as_array()?;
    let entry = roster.iter().find(|entry| entry["name"] == node)?;
    entry["capacity"]["cpu_milli"].as_str()?.parse().ok()
}

fn runs(status: &Value, name: &str) -> u64 {
    service(status, name)["ready"].as_u64().unwrap_or(0)
}

fn why(status: &Value, name: &str) -> String {
    service(status, name)["why"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn asks_shares_and_quotas_decide_what_is_placed_and_put_nobody_out() {
    let cluster = Cluster::up(2);
    let status = cluster.until("n1", "what both have", |status| {
        ["n1", "n2"].iter().all(|node| cores(status, node).is_some_and(|milli| milli > 0))
    });
    // Two fulcrums share this machine, so each has half of it.
    let (half, machine) =
        (cores(&status, "n1").unwrap(), std::thread::available_parallelism().unwrap().get() as u64 * 1000);
    assert_eq!(cores(&status, "n2"), Some(half));
    assert!(half * 2 <= machine, "{half} of {machine}");
    let wide = cluster.ok(&["node", "list", "-o", "wide"]);
    assert!(wide.contains("HAS") && wide.contains("cpu ") && wide.contains("memory "), "{wide}");

    // More than a share, though the machine has it: said with figures, and nothing runs.
    let more = format!("{}.{:03}", (half + 1) / 1000, (half + 1) % 1000);
    let run = cluster.run(&["run", "--name", "long", "--cpu", &more, "sleep", "1000"]);
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let status = cluster.until("n2", "it says why", |status| why(status, "long").contains("each asks for cpu"));
    assert_eq!(runs(&status, "long"), 0);
    assert!(why(&status, "long").contains("lacks 1: ") && why(&status, "long").contains("n1 has cpu"), "{status}");
    let pending = cluster.ok(&["why", "pending", "main/long"]);
    assert!(pending.contains("each asks for cpu"), "{pending}");
    let wrong = cluster.run(&["run", "--name", "no", "--cpu", "0", "sleep", "1000"]);
    assert_eq!(wrong.status.code(), Some(2));

    // A quota for all services of main: two of five fit, and two go on when it is lowered.
    cluster.ok(&["horde", "set", "main", "--quota", "cpu=0.025"]);
    cluster.ok(&["run", "--name", "api", "--count", "5", "--cpu", "0.01", "sleep", "1000"]);
    let text = "horde main: quota cpu 0.025, 0.02 in use, 3 of api more would need 0.03";
    cluster.until("n1", "two run, and it says why not more", |status| {
        runs(status, "api") == 2 && why(status, "api").contains(text)
    });
    let said = cluster.ok(&["why", "service", "main/api"]);
    // A table breaks its lines where the terminal ends.
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains(text), "{said}");
    let before = pids(&cluster.status("n1").unwrap());
    assert_eq!(before.len(), 2);
    cluster.ok(&["horde", "set", "main", "--quota", "cpu=0.001"]);
    let status = cluster
        .until("n2", "the lowered quota is known", |status| why(status, "api").contains("quota cpu 0.001, 0.02"));
    assert_eq!(pids(&status), before, "what runs stays");
    let said = cluster.ok(&["why", "horde", "main"]);
    assert!(said.contains("quota cpu 0.001, cpu 0.02 in use, and nothing new"), "{said}");
    assert_eq!(horde(&status, "main")["quota"]["cpu_milli"], "1");
    cluster.ok(&["horde", "set", "main", "--quota", "none"]);
    let status = cluster.until("n1", "all five", |status| runs(status, "api") == 5);
    assert!(pids(&status).is_superset(&before), "and nobody was moved");
    assert_eq!(horde(&status, "main")["quota"], Value::Null);
}

/// Processes of `api`.
fn pids(status: &Value) -> std::collections::BTreeSet<u64> {
    let all = status["instances"].as_array().into_iter().flatten();
    all.filter(|one| one["service"] == "main/api" || one["service"] == "api")
        .filter_map(|one| one["pid"].as_u64())
        .collect()
}

#[test]
fn an_operator_says_how_large_admin_is_and_where() {
    let cluster = Cluster::up(3);
    let flagged = |status: &Value| {
        let mut names: Vec<String> = status["admin"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|name| name.as_str().map(str::to_owned))
            .collect();
        names.sort();
        names
    };
    cluster.until("n1", "three carry the flag", |status| flagged(status).len() == 3);
    assert_eq!(horde(&cluster.status("n1").unwrap(), "ADMIN")["want"], 3);
    cluster.ok(&["horde", "set", "ADMIN", "--want", "1", "--where", "node under n3"]);
    for node in ["n1", "n2", "n3"] {
        cluster.until(node, "n3 alone carries it", |status| flagged(status) == ["n3"]);
    }
    let shown = cluster.ok(&["horde", "show", "ADMIN"]);
    assert!(shown.contains("ADMIN") && shown.contains("n3"), "{shown}");
    // It dies: the others do without it, and say what they wait for.
    cluster.ok(&["lab", "kill", "n3"]);
    cluster.until("n1", "ADMIN where it may be", |status| {
        flagged(status).len() == 1
            && flagged(status) != ["n3"]
            && horde(status, "ADMIN")["why"].as_str().is_some_and(|why| why.contains("waits for node under n3"))
    });
    assert!(cluster.ok(&["--at", "n1", "why", "horde", "ADMIN"]).contains("waits for node under n3"));
    cluster.ok(&["lab", "start", "n3"]);
    cluster.until("n1", "n3 has it again", |status| flagged(status) == ["n3"]);
    cluster.ok(&["horde", "set", "ADMIN", "--want", "3", "--where", ""]);
    cluster.until("n1", "three again", |status| flagged(status).len() == 3);

    for (args, text) in [
        (&["horde", "set", "ADMIN", "--want", "0"][..], "at least one fulcrum"),
        (&["horde", "set", "ADMIN", "--quota", "cpu=1"], "ADMIN has no quota"),
        (&["horde", "set", "ADMIN", "--where", "node under"], "where"),
        (&["horde", "set", "main", "--want", "2"], "only its quota"),
        (&["horde", "create", "ADMIN", "--want", "1"], "crux horde set ADMIN"),
        (&["horde", "delete", "ADMIN"], "built in"),
        (&["horde", "create", "web", "--want", "1", "--quota", "cpu=0"], "cores"),
    ] {
        let refused = cluster.run(args);
        let said = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.contains(text), "{args:?}: {said}");
    }
}
