//! Commands that ask: what they print, how they fail, how they end.

mod help;
use help::{Answer, Fake, World, sample};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};

#[test]
fn a_wrong_command_line_is_one_error_with_the_next_step() {
    let world = World::new();
    world.crux(&["status", "--colour"]).failed(2, "E200", &["--colour", "next: crux status --help"]);
    world.crux(&["stauts"]).failed(2, "E200", &["stauts", "did you mean", "status"]);
    world.crux(&["horde", "create", "web"]).failed(2, "E200", &["--want", "next: crux horde create --help"]);
    world.crux(&["horde"]).failed(2, "E200", &["next: crux horde --help"]);
    world.crux(&[]).failed(2, "E200", &["next: crux help"]);
    world.crux(&["wait"]).failed(2, "E200", &["nothing to wait for"]);
    world.crux(&["wait", "--stable", "5"]).failed(2, "E200", &["is not a duration"]);
    world.crux(&["up", "--dev", "3", "--identity", "x"]).failed(2, "E200", &["cannot be used with"]);
    world.crux(&["lab", "heal"]).failed(4, "E402", &["next: crux up --dev"]);
    assert!(world.crux(&["--help"]).done().contains("Usage: crux"));
}

#[test]
fn settings_that_nobody_knows_are_pointed_at() {
    let world = World::new();
    let config = world.write("crux.toml", "identity = \"x\"\nlissten = \"[::]:0\"\n");
    let ran = world.crux(&["up", "--config", config.to_str().unwrap()]);
    ran.failed(2, "E204", &["crux.toml:2:1: lissten: unknown key", "listen"]);
    let ran = world.crux(&["up", "--config", "nowhere.toml"]);
    ran.failed(2, "E204", &["cannot read nowhere.toml"]);
    world.crux(&["up", "--listen", "here"]).failed(2, "E204", &["\"here\" is not ADDR:PORT"]);
    world.crux(&["up", "--dns", "127.0.0.1:1"]).failed(2, "E202", &["--dns is not yet supported"]);
    world.crux(&["up", "--dev", "2", "--dns", "127.0.0.1:1"]).failed(2, "E202", &["--dns is not yet supported"]);
    world.crux(&["up", "--dev", "2", "--page", "0.0.0.0:2780"]).failed(
        2,
        "E204",
        &["no address of loopback", "ssh -L"],
    );
    world.crux(&["up", "--seed", "bogus"]).failed(2, "E204", &["\"bogus\" is not HOST:PORT"]);
    for verb in ["backup", "restore"] {
        let there = format!("crux bloc {verb}");
        world.crux(&[verb, "file"]).failed(2, "E200", &[there.as_str()]);
    }
    world.crux(&["beacon"]).failed(2, "E202", &["crux beacon is not yet in this version"]);
    world.crux(&["ca", "serve"]).failed(2, "E202", &["crux ca serve is not yet in this version"]);
    world.crux(&["docter"]).failed(2, "E200", &["docter"]);
    world.crux(&["--at", "n1", "run", "--env", "FOO", "true"]).failed(2, "E200", &["next: crux run --help"]);
}

#[test]
fn nobody_there_is_unreachable_also_as_json() {
    let world = World::new();
    for words in [&["status"][..], &["confab"], &["ps"], &["node", "list"], &["logs", "api"], &["why", "flock"]] {
        let mut words = words.to_vec();
        words.extend(["--at", "./none.sock"]);
        world.crux(&words).failed(5, "E500", &["none.sock", "next: start a fulcrum with `crux up`"]);
    }
    let ran = world.crux(&["status", "--at", "./none.sock", "-o", "json"]);
    assert_eq!((ran.code, ran.out.as_str()), (5, ""));
    let error: Value = serde_json::from_str(&ran.err).expect("an error is a document");
    assert_eq!((&error["kind"], &error["code"]), (&"Error".into(), &"E500".into()));
    world.crux(&["status", "--at", "n7"]).failed(3, "E300", &["nor a socket's path, nor a node"]);
    let at = world.run(world.command().env("CRUX_AT", "./by-env.sock").arg("status"));
    at.failed(5, "E500", &["by-env.sock"]);
}

fn documents(asked: &help::Asked) -> Answer {
    let kind = match asked.path.as_str() {
        "/v1/confab" => "Confab",
        "/v1/status" => "Status",
        "/v1/ps" => "Ps",
        "/v1/nodes" => "NodeList",
        "/v1/hordes" => "HordeList",
        "/v1/rules" => "RuleList",
        "/v1/services" => "ServiceList",
        "/v1/events" => "EventList",
        "/v1/audit" => "AuditList",
        "/v1/why" => "Why",
        "/v1/facts" => "FactList",
        "/v1/files" => "FileList",
        "/v1/logs" => "LogList",
        _ => return Answer::Whole(404, Vec::new()),
    };
    Answer::json(sample(kind))
}

#[test]
fn every_reading_verb_prints_its_document_and_a_table() {
    let world = World::new();
    let fake = Fake::start(&world, documents);
    for (words, kind, in_table) in [
        ("confab", "Confab", "calm-heron of 3, stable (epoch 7)"),
        ("status", "Status", "n1 and n4 cannot talk"),
        ("ps", "Ps", "web/api.2"),
        ("node list", "NodeList", "other-bloc"),
        ("horde list", "HordeList", "parted"),
        ("horde show web", "HordeList", "n5"),
        ("rules", "RuleList", "no call is checked against them yet"),
        ("rules list --all", "RuleList", "2ZW6DGBF  web/api       data/db"),
        ("services", "ServiceList", "n3 has not said"),
        ("audit --after 3", "AuditList", "refused  place/web/api: E401 the certificate"),
        ("events --after 3", "EventList", "n3 was removed from the view"),
        ("why node n1", "Why", "rule beat-age"),
        ("facts conflicts", "FactList", "horde/web"),
        ("files list", "FileList", "pinned"),
        ("logs web/api.2", "LogList", "listening"),
    ] {
        let words: Vec<&str> = words.split(' ').chain(["--at", fake.at()]).collect();
        let table = world.crux(&words);
        assert!(table.done().contains(in_table), "{words:?}: {}", table.out);
        let json = world.crux(&[words.as_slice(), &["-o", "json"]].concat());
        let shown: Value = serde_json::from_str(json.done()).unwrap();
        assert_eq!(shown, serde_json::from_str::<Value>(&sample(kind)).unwrap(), "{words:?}");
        for format in ["wide", "name"] {
            world.crux(&[words.as_slice(), &["-o", format]].concat()).done();
        }
    }
    assert_eq!(world.crux(&["ps", "-o", "name", "--at", fake.at()]).out, "web/api.2\n");
    let asked = fake.asked();
    assert!(asked.iter().any(|asked| asked.path == "/v1/events" && asked.query == "after=3"));
    assert!(asked.iter().any(|asked| asked.path == "/v1/why" && asked.query == "subject=node%20n1"));
    assert!(asked.iter().any(|asked| asked.path == "/v1/logs" && asked.query == "instance=web%2Fapi.2"));
    world.crux(&["horde", "show", "db", "--at", fake.at()]).failed(3, "E300", &["horde db does not exist"]);
}

#[test]
fn a_peer_s_name_cannot_write_on_the_terminal() {
    let world = World::new();
    let evil = sample("NodeList").replace("\"n9\"", "\"n9\\u001b[2J\\u202e\"");
    let fake = Fake::start(&world, move |_| Answer::json(evil.clone()));
    let ran = world.crux(&["node", "list", "--at", fake.at()]);
    assert!(ran.done().contains("n9\\u{1b}[2J\\u{202e}"), "{}", ran.out);
    assert!(!ran.out.contains('\u{1b}'));
}

#[test]
fn the_fulcrum_s_own_error_is_shown_with_its_exit_code() {
    let world = World::new();
    let error = sample("Error").replace("E400", "E300").replace("this needs an operator's key", "no such subject");
    let fake = Fake::start(&world, move |_| Answer::Whole(404, error.clone().into_bytes()));
    world.crux(&["why", "node", "n7", "--at", fake.at()]).failed(3, "E300", &["no such subject"]);
    let other = World::new();
    let fake = Fake::start(&other, |_| Answer::json(sample("Ps")));
    other.crux(&["status", "--at", fake.at()]).failed(1, "E100", &["does not understand", "crux version"]);
}

#[test]
fn following_prints_one_document_per_line_until_the_fulcrum_goes() {
    let world = World::new();
    let fake = Fake::start(&world, |asked| match asked.path.as_str() {
        "/v1/confab" => Answer::Stream(vec![sample("Confab"), sample("Confab").replace("true", "false")]),
        "/v1/logs" => Answer::Stream(vec![sample("LogLine")]),
        _ => Answer::Stream(vec![sample("Event")]),
    });
    let ran = world.crux(&["confab", "-w", "-o", "json", "--at", fake.at()]);
    let stable: Vec<Value> =
        ran.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["stable"].clone()).collect();
    assert_eq!(stable, [Value::Bool(true), Value::Bool(false)]);
    assert_eq!(ran.code, 5);
    let ran = world.crux(&["events", "-w", "--at", fake.at()]);
    assert!(ran.out.contains("member-lost"), "{}", ran.out);
    let ran = world.crux(&["logs", "api", "-f", "--tail", "5", "--at", fake.at()]);
    assert_eq!(ran.out, "web/api.2@n1  listening\n");
    assert!(fake.asked().iter().any(|asked| asked.query == "service=main%2Fapi&tail=5&follow"));
}

#[test]
fn what_is_answered_once_is_followed_through_the_status_or_refused() {
    let world = World::new();
    let changes = |asked: &help::Asked| match (asked.path.as_str(), asked.query.contains("watch")) {
        ("/v1/status", true) => Answer::Stream(vec![sample("Status"), sample("Status"), sample("Status")]),
        ("/v1/why", _) => Answer::json(sample("Why")),
        _ => Answer::Whole(404, Vec::new()),
    };
    let fake = Fake::start(&world, changes);
    // It is asked again at each change, and printed once, for it stays the same.
    let ran = world.crux(&["why", "node", "n1", "-w", "-o", "json", "--at", fake.at()]);
    assert_eq!((ran.out.lines().count(), ran.code), (1, 5), "{}", ran.out);
    assert_eq!(fake.asked().iter().filter(|asked| asked.path == "/v1/why").count(), 4);
    for words in [&["doctor"][..], &["wait", "--members", "3"], &["node", "forget", "n7"], &["rules", "rm", "x"]] {
        let ran = world.crux(&[words, &["-w", "--at", fake.at()]].concat());
        ran.failed(2, "E200", &["answers once", "crux status -w"]);
    }
}

#[test]
fn files_are_followed_by_asking_and_printed_when_there_are_others() {
    let world = World::new();
    let asked = AtomicU32::new(0);
    let fake = Fake::start(&world, move |_| match asked.fetch_add(1, Ordering::SeqCst) {
        0 | 1 => Answer::json(sample("FileList")),
        2 => Answer::json(sample("FileList").replace("true", "false")),
        _ => Answer::Whole(503, sample("Error").replace("E400", "E500").into_bytes()),
    });
    let ran = world.crux(&["files", "list", "-w", "-o", "json", "--at", fake.at()]);
    assert_eq!((ran.out.lines().count(), ran.code), (2, 5), "{} {}", ran.out, ran.err);
}

#[test]
fn an_audit_log_of_many_pages_is_one_list() {
    let world = World::new();
    let fake = Fake::start(&world, |asked| {
        let (first, next) = match asked.query.as_str() {
            "" => ("1", "\"2\""),
            "after=2" => ("3", "\"4\""),
            "after=4" => ("5", "null"),
            _ => return Answer::Whole(404, Vec::new()),
        };
        let page = sample("AuditList").replace("\"next\":null", &format!("\"next\":{next}"));
        Answer::json(page.replace("\"cursor\":\"7\"", &format!("\"cursor\":\"{first}\"")))
    });
    let list: Value = serde_json::from_str(world.crux(&["audit", "-o", "json", "--at", fake.at()]).done()).unwrap();
    let cursors: Vec<&Value> = list["entries"].as_array().unwrap().iter().map(|entry| &entry["cursor"]).collect();
    assert_eq!((cursors, &list["next"]), (vec![&"1".into(), &"3".into(), &"5".into()], &Value::Null));
}

#[test]
fn wait_ends_when_it_is_so_and_gives_up_in_time() {
    let world = World::new();
    let fake = Fake::start(&world, |asked| match asked.path.as_str() {
        "/v1/confab" => {
            let two = sample("Confab").replace(",\"n3\"", "");
            Answer::Open(vec![two, sample("Confab").replace("\"stable\":true", "\"stable\":false"), sample("Confab")])
        }
        _ => {
            let ready = sample("Ps").replace("\"should\":3", "\"should\":1");
            Answer::Open(vec![sample("Ps"), ready])
        }
    });
    let at = fake.at();
    world.crux(&["wait", "--members", "3", "--stable", "10s", "--service", "web/api", "--at", at]).done();
    let ran = world.crux(&["wait", "--members", "4", "--timeout", "300ms", "--at", at]);
    ran.failed(6, "E600", &["has 3 members, not 4", "next: crux status"]);
    let ran = world.crux(&["wait", "--members", "3", "--timeout", "300ms", "--at", "./none.sock"]);
    ran.failed(6, "E600", &["no fulcrum answered"]);
    // Whether it is so now can be asked, and what can never be is no question.
    world.crux(&["wait", "--members", "2", "--timeout", "0s", "--at", at]).done();
    let ran = world.crux(&["wait", "--members", "7", "--timeout", "0s", "--at", at]);
    ran.failed(6, "E600", &["members, not 7"]);
    world.crux(&["wait", "--members", "0", "--at", at]).failed(2, "E200", &["no flock has 0 members"]);
    assert!(world.crux(&["wait", "--help"]).done().contains("60s"), "it ends by itself, and says when");
}

#[test]
fn who_is_to_leave_and_is_elsewhere_is_named_with_its_port() {
    let world = World::new();
    let fake = Fake::start(&world, |asked| match asked.path.as_str() {
        "/v1/confab" => Answer::json(sample("Confab")),
        "/v1/nodes" => Answer::json(sample("NodeList")),
        _ => Answer::Whole(404, Vec::new()),
    });
    let at = fake.at();
    let ran = world.crux(&["node", "leave", "n2", "--at", at]);
    ran.failed(1, "E100", &["next: crux node leave n2 --at 10.0.0.2:2789"]);
    world.crux(&["node", "leave", "n7/b", "--at", at]).failed(3, "E300", &["n7/b is no member"]);
}

#[test]
fn explanations_versions_and_completions_need_no_fulcrum() {
    let world = World::new();
    assert!(world.crux(&["explain", "e500"]).done().contains("exit code 5"));
    assert!(world.crux(&["explain"]).done().contains("E402"));
    world.crux(&["explain", "E999"]).failed(3, "E300", &["next: crux explain"]);
    let version: Value = serde_json::from_str(world.crux(&["version", "-o", "json"]).done()).unwrap();
    assert_eq!((&version["command"], &version["api"]), (&env!("CARGO_PKG_VERSION").into(), &"crux/v1".into()));
    for shell in ["bash", "zsh", "fish"] {
        let script = world.crux(&["completion", shell]);
        assert!(script.done().contains("horde"), "{shell}");
    }
}

#[test]
fn the_demo_service_says_who_answers_and_stops_when_told() {
    let world = World::new();
    let mut demo = world
        .command()
        .arg("demo")
        .envs([("CRUX_PORT_HTTP", "0"), ("CRUX_INSTANCE", "n1:1:2"), ("CRUX_NODE", "n1"), ("CRUX_HORDE", "<main>")])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut line = String::new();
    BufReader::new(demo.stdout.take().expect("its output")).read_line(&mut line).expect("a line");
    let addr = line.trim().trim_start_matches("demo listens on http://").trim_end_matches('/').to_owned();
    let mut stream = TcpStream::connect(&addr).expect("it listens");
    write!(stream, "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    let pid = demo.id();
    for text in ["n1:1:2", "&lt;main&gt;", &pid.to_string(), "not told"] {
        assert!(page.contains(text), "{text}: {page}");
    }
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(demo.wait().unwrap().code(), Some(0));
}
