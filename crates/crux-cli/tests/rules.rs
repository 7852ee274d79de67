//! Who may call whom, as operators say it: on one real fulcrum, and on both sides of a split.

mod help;
use bytes::Bytes;
use crux_api::client::Client;
use crux_api::json::{FactList, Written, from_hex};
use crux_api::routes::{self, WriteRequest};
use crux_api::write::{NewFact, WriteKind, Writer};
use crux_names::Wall;
use crux_pki::{Bundle, Role, unix_now};
use help::Ran;
use help::cluster::{Cluster, names};
use help::fulcrum::{Fulcrum, world};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

const LIMIT: &str = "rules are recorded and spread; no call is checked against them yet";

fn document(ran: &Ran) -> Value {
    serde_json::from_str(ran.done()).unwrap()
}

#[test]
fn an_operator_allows_lists_and_removes_and_is_told_what_is_wrong() {
    let world = world(&["n1"]);
    let fulcrum = Fulcrum::start(&world, "n1", "s1", &[]);
    fulcrum.answers();
    let crux = |words: &str| {
        world.crux(&["--at", "s1/crux.sock"].into_iter().chain(words.split_whitespace()).collect::<Vec<_>>())
    };
    let rules = |words: &str| document(&crux(&format!("rules {words} -o json")));

    let none = crux("rules");
    assert_eq!(none.done(), format!("no rules: nobody is allowed to call anybody\n{LIMIT}\n"));
    let mut follow = world.command();
    follow.args(["--at", "s1/crux.sock", "rules", "-w", "-o", "json"]).stdout(Stdio::piped());
    let mut follow = follow.spawn().unwrap();
    let mut seen = BufReader::new(follow.stdout.take().unwrap()).lines();
    let mut next = || -> usize {
        let list: Value = serde_json::from_str(&seen.next().unwrap().unwrap()).unwrap();
        list["rules"].as_array().unwrap().len()
    };
    assert_eq!(next(), 0);

    // What is not there yet is allowed, and said; and so is that nothing is enforced.
    let made = world.crux(&["--at", "s1/crux.sock", "allow", "web/api", "data/db", "--note", "reads the prices"]);
    for said in ["web/api may call data/db: rule ", "hint: there is no horde web yet", "no horde data yet", LIMIT] {
        assert!(made.done().contains(said), "{said}: {}", made.out);
    }
    assert_eq!(next(), 1);
    let list = rules("list");
    let rule = list["rules"][0].clone();
    let id = rule["id"].as_str().unwrap().to_owned();
    assert_eq!((list["kind"].as_str(), list["enforced"].as_bool(), id.len()), (Some("RuleList"), Some(false), 26));
    let shown = ["client", "endpoint", "note", "state", "by", "removed_at", "removed_by"].map(|key| rule[key].clone());
    let expected = json!(["web/api", "data/db", "reads the prices", "in-force", "alice", null, null]);
    assert_eq!(Value::from(shown.to_vec()), expected);
    assert!(rule["since"].as_str().unwrap().ends_with('Z'));

    // Again it is the same rule; a note of another is no other rule.
    let again = crux("allow web/api data/db");
    assert!(again.done().contains(&format!("web/api may call data/db already: rule {id}")), "{}", again.out);
    assert_eq!(crux("allow web/api data/db -o name").done(), format!("{id}\n"));
    let other = document(&crux("allow web/api data/db --note other -o json"));
    assert_eq!((&other["change"], &other["rules"][0]["id"]), (&"unchanged".into(), &rule["id"]));
    assert!(other["hints"].to_string().contains("its note stays (reads the prices)"), "{other}");
    assert_eq!(rules("list")["rules"].as_array().unwrap().len(), 1);

    // A whole horde covers it, so that is told; another bloc's too.
    let wide = document(&crux("allow web/* data/db -o json"));
    assert_eq!(
        (&wide["kind"], &wide["change"], &wide["converged"]),
        (&"RuleChange".into(), &"added".into(), &true.into())
    );
    let wide_id = wide["rules"][0]["id"].as_str().unwrap();
    let foreign = crux("allow other//web/api data/db");
    assert!(foreign.done().contains("other is another bloc, and blocs are not connected"), "{}", foreign.out);
    crux("allow other//web/* data/db").done();
    let covered = crux("allow web/shop data/db");
    assert!(covered.done().contains(&format!("web/* may call data/db already, by rule {wide_id}")), "{}", covered.out);
    let clients: Vec<Value> =
        rules("")["rules"].as_array().unwrap().iter().map(|rule| rule["client"].clone()).collect();
    assert_eq!(Value::from(clients), json!(["web/*", "web/api", "web/shop", "other//web/*", "other//web/api"]));
    let table = crux("rules");
    assert!(
        table.done().lines().any(|line| line.starts_with(&id[..8]) && line.ends_with("reads the prices")),
        "{}",
        table.out
    );
    assert!(crux("rules -o wide").done().contains(&id), "{}", table.out);
    assert!(table.out.ends_with(&format!("{LIMIT}\n")));
    assert_eq!(crux("rules list -o name").done().lines().count(), 5);

    // Names that are none: the place, and nothing is changed.
    for (words, said) in [
        ("allow api data/db", "client: \"api\" has no '/' between a horde and a service: HORDE/SERVICE, main/api"),
        ("allow web/Api data/db", "client: \"Api\" is not a service name: the character at byte 0"),
        ("allow acme//web/api data/db", "client: acme//web/api is of this bloc, so it is named web/api"),
        ("allow */* data/db", "client: \"*\" is not a horde name"),
        ("allow web/api data/*", "endpoint: \"data/*\" is no single service"),
        ("allow web/api other//data/db", "endpoint: \"other//data/db\" is of another bloc"),
        ("rules rm web/api", "the client and the endpoint are both needed"),
        ("rules rm web/api Data/db", "endpoint: \"Data\" is not a horde name: the character at byte 0"),
        ("rules rm 7", "too short"),
        ("rules --all rm 7", "removes only what is named"),
    ] {
        crux(words).failed(2, "E200", &[said, "nothing was changed"]);
    }
    let note = "n".repeat(513);
    world.crux(&["--at", "s1/crux.sock", "allow", "a/b", "c/d", "--note", &note]).failed(2, "E200", &["512 bytes"]);
    assert_eq!(crux("allow web/api").code, 2);
    // What is not there.
    crux("rules rm ZZZZZZZZ").failed(3, "E300", &["there is no rule whose id begins with \"ZZZZZZZZ\""]);
    crux("rules rm web/other data/db").failed(
        3,
        "E300",
        &["no rule lets exactly web/other call data/db", "web/* may, by rule"],
    );
    assert_eq!(rules("")["rules"].as_array().unwrap().len(), 5);

    // By its beginning, in small letters too; what is wider is told, and a removed rule does not come back.
    let gone = crux(&format!("rules rm {}", id[..8].to_lowercase()));
    assert!(gone.done().contains(&format!("rule {id} is removed, by which web/api may call data/db")), "{}", gone.out);
    assert!(gone.out.contains(&format!("hint: web/* may still call data/db, by rule {wide_id}")), "{}", gone.out);
    crux(&format!("rules rm {id}")).failed(3, "E300", &[&format!("rule {id} was removed "), "by alice"]);
    crux("rules rm web/api data/db").failed(3, "E300", &["no rule lets exactly", "the last such rule"]);
    let list = rules("--all");
    let ended = list["rules"].as_array().unwrap().iter().find(|rule| rule["id"] == id.as_str()).unwrap();
    assert_eq!(
        (&ended["state"], &ended["removed_by"], &ended["by"]),
        (&"removed".into(), &"alice".into(), &Value::Null)
    );
    assert_eq!(ended["since"], rule["since"], "when it was made is remembered");
    assert!(crux("rules list --all").done().contains("ago by alice"));
    assert!(!crux("rules").done().contains(&id[..8]) && !crux("facts list rule/").done().contains(&id));
    assert!(crux("facts list rule/ --deleted").done().contains("removed: web/api may call data/db; reads the prices"));
    let fresh = document(&crux("allow web/api data/db -o json"));
    assert_ne!(fresh["rules"][0]["id"], rule["id"], "another rule of the same names");
    let named = document(&crux("rules rm web/api data/db -o json"));
    assert_eq!((&named["change"], &named["rules"][0]["id"]), (&"removed".into(), &fresh["rules"][0]["id"]));

    // What happened, who did it; and another life of the fulcrum knows the same.
    let events = document(&crux("events -o json"));
    let events = events["events"].as_array().unwrap();
    let of = |kind: &str, id: &str| events.iter().filter(|one| one["event"] == kind && one["subject"] == id).count();
    assert_eq!((of("rule-added", &id), of("rule-removed", &id)), (1, 1), "{events:?}");
    let audit = document(&crux("audit -o json"));
    let lines = audit["entries"].as_array().unwrap();
    let path = json!([format!("rule/{id}")]);
    assert_eq!(lines.iter().filter(|one| one["verb"] == "allow" && one["targets"] == path).count(), 2, "{lines:?}");
    let before = rules("--all");
    let _ = follow.kill();
    let _ = follow.wait();
    fulcrum.stop();
    let fulcrum = Fulcrum::start(&world, "n1", "s1", &[]);
    fulcrum.answers();
    assert_eq!(rules("--all"), before);
    fulcrum.stop();
}

#[test]
fn who_may_open_a_horde_is_its_own_affair_and_a_backup_brings_no_removed_rule_back() {
    let world = world(&["n1"]);
    let fulcrum = Fulcrum::start(&world, "n1", "s1", &[]);
    fulcrum.answers();
    let crux = |words: &str| {
        world.crux(&["--at", "s1/crux.sock"].into_iter().chain(words.split_whitespace()).collect::<Vec<_>>())
    };
    world
        .crux(&[
            "ca",
            "issue",
            "--ca",
            "ca",
            "--operator",
            "bob",
            "--out",
            "bob",
            "--no-profile",
            "--scope",
            "allow@data",
        ])
        .done();
    let id = |words: &str| crux(&format!("{words} -o name")).done().trim().to_owned();
    let theirs = id("allow data/db web/api");
    let own = id("--as bob allow web/api data/db");
    for words in ["allow data/db web/shop", &format!("rules rm {theirs}"), "rules rm data/db web/api"] {
        let refused = crux(&format!("--as bob {words}"));
        refused.failed(4, "E401", &["operator bob is limited to allow@data", "this needs allow@web"]);
    }
    // Nobody's key permits nothing.
    let keyless = world.run(world.command().env("XDG_CONFIG_HOME", world.path("empty")).args([
        "--at",
        "s1/crux.sock",
        "allow",
        "web/shop",
        "data/db",
    ]));
    keyless.failed(4, "E400", &["no operator's key"]);

    let word = world.write("word", "a long one\n");
    std::fs::set_permissions(&word, std::fs::Permissions::from_mode(0o600)).unwrap();
    let word = format!("--passphrase-file {}", word.display());
    crux(&format!("bloc backup before.age {word}")).done();
    let shop = id("--as bob allow web/shop data/db");
    crux(&format!("--as bob rules rm {own}")).done();
    let restored = document(&crux(&format!("bloc restore before.age {word} -o json")));
    assert_eq!(
        (restored["replaced"].as_u64(), restored["taken"].as_array().map(Vec::len)),
        (Some(1), Some(0)),
        "{restored}"
    );
    let standing = |ids: &str| -> Vec<String> { crux(ids).done().lines().map(str::to_owned).collect() };
    let mut wanted = vec![theirs.clone(), shop.clone()];
    wanted.sort();
    let mut found = standing("rules -o name");
    found.sort();
    assert_eq!(found, wanted);
    // Signed once more before a root goes, they stand as they stood.
    crux("facts reseal").done();
    let list = document(&crux("rules --all -o json"));
    let states =
        |id: &str| list["rules"].as_array().unwrap().iter().find(|rule| rule["id"] == id).unwrap()["state"].clone();
    assert_eq!([&own, &theirs, &shop].map(|id| states(id)), ["removed", "in-force", "in-force"].map(Value::from));
    fulcrum.stop();

    // On an empty disk the newer backup brings the removal, and the older one nothing against it.
    let fulcrum = Fulcrum::start(&world, "n1", "s2", &[]);
    fulcrum.answers();
    let fresh = |words: &str| {
        world.crux(&["--at", "s2/crux.sock"].into_iter().chain(words.split_whitespace()).collect::<Vec<_>>())
    };
    fresh(&format!("bloc restore before.age {word}")).done();
    assert_eq!(fresh("rules -o name").done().lines().count(), 2);
    fresh(&format!("rules rm {own}")).done();
    fresh(&format!("bloc restore before.age {word}")).done();
    assert_eq!(fresh("rules -o name").done(), format!("{theirs}\n"));
    fulcrum.stop();
}

const NODES: [&str; 5] = ["n1", "n2", "n3", "n4", "n5"];

fn members(cluster: &Cluster, part: &[&str]) {
    for node in part {
        cluster.until(node, &format!("a flock of {part:?}"), |status| status["members"] == names(part));
    }
}

fn agree(cluster: &Cluster) {
    let facts = |node: &str| cluster.status(node).map(|status| status["facts"].clone());
    cluster.until("n1", "equal facts", |status| {
        NODES[1..].iter().all(|node| facts(node).is_some_and(|other| other == status["facts"]))
    });
}

/// Rules at this node: client, endpoint and state, sorted.
fn standing(cluster: &Cluster, node: &str) -> Vec<[String; 3]> {
    let list: Value = serde_json::from_str(&cluster.ok(&["--at", node, "rules", "--all", "-o", "json"])).unwrap();
    let text = |rule: &Value, key: &str| rule[key].as_str().unwrap().to_owned();
    let row = |rule: &Value| ["client", "endpoint", "state"].map(|key| text(rule, key));
    let mut rows: Vec<_> = list["rules"].as_array().unwrap().iter().map(row).collect();
    rows.sort();
    rows
}

fn added(cluster: &Cluster, node: &str, client: &str, endpoint: &str) -> String {
    let out = cluster.run(&["--at", node, "allow", client, endpoint, "-o", "name"]);
    assert!(matches!(out.status.code(), Some(0 | 6)), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}

/// Signs what stands at this node under this path once more, as of now and as its successor, or as if nothing were there.
fn write_again(cluster: &Cluster, node: &str, path: &str, knows: bool) {
    let dev: Value =
        serde_json::from_slice(&std::fs::read(cluster.home.path().join("crux/dev.json")).unwrap()).unwrap();
    let bundle = Bundle::load(dev["operator"].as_str().unwrap().as_ref()).unwrap();
    let Role::Operator(operator) = &bundle.identity().role else { panic!("{}", bundle.identity()) };
    let writer = Writer {
        bloc: bundle.identity().bloc.clone(),
        operator: operator.clone(),
        chain: bundle.chain().iter().map(|der| Bytes::copy_from_slice(der)).collect(),
        sign: &|context, bytes| bundle.signer().sign(context, bytes),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let written: Written = runtime.block_on(async {
        let client = Client::new(cluster.socket(node));
        let list: FactList = client.get(&format!("{}?prefix={path}", routes::FACTS)).await.unwrap();
        let seen = &list.facts[0];
        let value = from_hex(seen.heads[0].value.as_deref().unwrap()).unwrap();
        let fact = NewFact { path: path.to_owned(), value: Some(value) };
        let now = Wall((unix_now() + 5) * 1_000_000);
        let sealed = writer.seal(&fact, knows.then_some(seen), WriteKind::Edit, now, [7; 16]).unwrap();
        client.post(routes::FACTS, &WriteRequest { versions: vec![sealed] }).await.unwrap()
    });
    assert_eq!(written.ids.len(), 1);
}

#[test]
fn what_one_side_of_a_split_removed_is_gone_everywhere_after_the_heal_whatever_the_other_side_wrote() {
    let mut cluster = Cluster::up(5);
    let early = ["one", "two", "three", "four"].map(|name| added(&cluster, "n1", &format!("web/{name}"), "data/db"));
    agree(&cluster);
    cluster.ok(&["lab", "split", "n1,n2,n3/n4,n5"]);
    members(&cluster, &NODES[..3]);
    members(&cluster, &NODES[3..]);

    // Both sides allow the same and something of their own.
    let left = added(&cluster, "n1", "web/both", "data/db");
    let right = added(&cluster, "n4", "web/both", "data/db");
    assert_ne!(left, right);
    added(&cluster, "n2", "web/left", "data/db");
    added(&cluster, "n5", "web/right", "data/db");
    // The one side removes what the other one has too; there it stays as it is, or is signed again: by the command, by hand,
    // knowing what was there or not, later than the removal.
    let path = |id: &str| format!("rule/{id}");
    for id in &early[..3] {
        cluster.run(&["--at", "n1", "rules", "rm", id]);
    }
    cluster.run(&["--at", "n4", "facts", "reseal"]);
    write_again(&cluster, "n4", &path(&early[1]), true);
    write_again(&cluster, "n5", &path(&early[2]), false);
    // And the other way round.
    cluster.run(&["--at", "n5", "rules", "rm", "web/four", "data/db"]);
    write_again(&cluster, "n2", &path(&early[3]), true);
    let allowed = |node: &str| -> Vec<String> {
        let rows = standing(&cluster, node).into_iter();
        rows.filter(|[.., state]| state == "in-force").map(|[client, ..]| client).collect()
    };
    assert_eq!(allowed("n3"), ["web/both", "web/four", "web/left"]);
    assert_eq!(allowed("n4"), ["web/both", "web/one", "web/right", "web/three", "web/two"]);

    cluster.ok(&["lab", "heal"]);
    members(&cluster, &NODES);
    agree(&cluster);
    for node in NODES {
        assert_eq!(allowed(node), ["web/both", "web/both", "web/left", "web/right"], "{node}");
        let ended = standing(&cluster, node).into_iter().filter(|[.., state]| state == "removed");
        assert_eq!(
            ended.map(|[client, ..]| client).collect::<Vec<_>>(),
            ["web/four", "web/one", "web/three", "web/two"]
        );
    }
    let conflicts = cluster.ok(&["facts", "conflicts", "-o", "name"]);
    assert!(!conflicts.contains("rule/"), "{conflicts}");

    // Two rules of one name, one of each side: named by its id one goes, and it is told that the other one is there.
    let told = cluster.ok(&["rules", "rm", &left]);
    assert!(told.contains(&format!("web/both may still call data/db, by rule {right}")), "{told}");
    cluster.ok(&["--at", "n5", "rules", "rm", "web/both", "data/db"]);
    agree(&cluster);
    for node in NODES {
        assert_eq!(allowed(node), ["web/left", "web/right"], "{node}");
    }
    cluster.interrupt();
}
