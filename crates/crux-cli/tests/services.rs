//! What runs in ADMIN, the register of services, and the socket that every instance has: real processes, asked by gRPC as a
//! program of any language would, and by `crux services`.

#[path = "help/grpc.rs"]
mod grpc;
mod help;
use crux_api::grpc::access_client::AccessClient;
use crux_api::grpc::confab_client::ConfabClient;
use crux_api::grpc::yurt_client::YurtClient;
use crux_api::grpc::{AccessEntry, AddRequest, ConfabRequest, ListRequest, WhoRequest};
use help::cluster::{Cluster, LIMIT, names};
use help::fulcrum::{Fulcrum, until, world};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;
use tokio::runtime::Runtime;
use tonic::Code;
use tonic::transport::Channel;

/// What runs at ADMIN's seat, where that is `main`'s too.
const PROGRAMS: &[&str] = &[
    "access",
    "genghis",
    "healthminder/ADMIN",
    "healthminder/main",
    "muster",
    "proctor/ADMIN",
    "proctor/main",
    "yurt",
];

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn request(service: &str, addr: &str, life_ms: u64) -> AddRequest {
    AddRequest {
        service: service.into(),
        addrs: vec![addr.into()],
        labels: [("zone".to_owned(), "a".to_owned())].into(),
        life_ms,
        ..AddRequest::default()
    }
}

fn listed(runtime: &Runtime, channel: &Channel) -> Vec<AccessEntry> {
    let mut access = AccessClient::new(channel.clone());
    runtime.block_on(access.list(ListRequest::default())).unwrap().into_inner().entries
}

/// Where a program heartbeats that answers, by `crux services`.
fn place(list: &Value, program: &str) -> Option<String> {
    let line = list["yurt"].as_array()?.iter().find(|line| line["name"] == program)?;
    (line["state"] == "answers" && line["why"] == "").then(|| line["node"].as_str().unwrap().to_owned())
}

#[test]
fn the_programs_of_admin_answer_and_what_is_added_at_one_door_is_listed_at_all_until_its_heartbeat_ends() {
    let mut cluster = Cluster::up(3);
    let services =
        |node: &str| -> Value { serde_json::from_str(&cluster.ok(&["--at", node, "services", "-o", "json"])).unwrap() };
    let seat = until("every program answers", || {
        let list = services("n3");
        let places: Option<Vec<String>> = PROGRAMS.iter().map(|program| place(&list, program)).collect();
        places.filter(|places| places.iter().all(|at| *at == places[0])).map(|places| places[0].clone())
    });
    let table = cluster.ok(&["--at", "n2", "services"]);
    assert!(table.contains("IN ADMIN") && table.contains("genghis") && table.contains("answers"), "{table}");
    let whole =
        cluster.until("n1", "three members with the flag", |status| status["admin"] == names(&["n1", "n2", "n3"]));

    // The yurt says the same by gRPC, at any door.
    let runtime = runtime();
    let door = ["n1", "n2", "n3"].into_iter().find(|node| *node != seat).unwrap();
    let socket = runtime.block_on(grpc::at_socket(&cluster.socket(door))).unwrap();
    let who = runtime.block_on(YurtClient::new(socket.clone()).who(WhoRequest {})).unwrap().into_inner().programs;
    let answering: Vec<&str> =
        who.iter().filter(|one| one.node == seat && one.state == "answers").map(|one| one.name.as_str()).collect();
    assert_eq!(answering, PROGRAMS);
    assert_eq!(whole["yurt"], seat.as_str());

    // Whoever may open the local socket has no name to add something in.
    let mut access = AccessClient::new(socket.clone());
    let refused = runtime.block_on(access.add(request("data/db", "10.0.0.7:5432", 0))).unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    // An operator has, at the API port.
    let file = std::fs::read(cluster.home.path().join("crux/dev.json")).unwrap();
    let operator = serde_json::from_slice::<Value>(&file).unwrap()["operator"].as_str().unwrap().to_owned();
    let addr = cluster.status(door).unwrap()["listens"]["api"].as_str().unwrap().to_owned();
    let port = runtime.block_on(grpc::at_port(&addr, Path::new(&operator))).unwrap();
    let mut access = AccessClient::new(port);
    let added = runtime.block_on(access.add(request("data/db", "10.0.0.7:5432", 300_000))).unwrap().into_inner();
    assert_eq!((added.life_ms, added.renewed), (Some(300_000), false));
    let again = runtime.block_on(access.add(request("data/db", "10.0.0.7:5432", 300_000))).unwrap().into_inner();
    assert!(again.renewed);
    for (bad, why) in [
        (request("Data Base", "10.0.0.7:5432", 0), "names no service"),
        (request("data/db", "", 0), "address"),
        (request("data/db", "10.0.0.7:5432", 7), "life_ms"),
    ] {
        let refused = runtime.block_on(access.add(bad)).unwrap_err();
        assert!(refused.code() == Code::InvalidArgument && refused.message().contains(why), "{refused}");
    }
    for node in ["n1", "n2", "n3"] {
        let list = until("it is listed", || Some(services(node)).filter(|list| !list["access"][0].is_null()));
        let entry = &list["access"][0];
        assert_eq!((&entry["horde"], &entry["service"], &entry["state"]), (&"data".into(), &"db".into(), &Value::Null));
        assert_eq!((&entry["addrs"][0], &entry["labels"]["zone"]), (&"10.0.0.7:5432".into(), &"a".into()));
        assert_eq!((&entry["claim"]["kind"], &entry["claim"]["by"]), (&"reported".into(), &door.into()));
        assert!(entry["by"].as_str().unwrap().starts_with("operator/"), "{entry}");
    }
    let table = cluster.ok(&["--at", &seat, "services"]);
    assert!(table.contains("data/db") && table.contains("10.0.0.7:5432") && table.contains("zone=a"), "{table}");

    // One that nobody adds again goes by itself; the other stays.
    runtime.block_on(access.add(request("data/brief", "10.0.0.8:1", 1_000))).unwrap();
    until("the brief one is listed", || (listed(&runtime, &socket).len() == 2).then_some(()));
    until("its heartbeat has ended", || (listed(&runtime, &socket).len() == 1).then_some(()));

    // ADMIN's seat dies with its machine: programs and entry are where the seat is now.
    cluster.ok(&["lab", "kill", &seat]);
    until("the programs answer elsewhere", || place(&services(door), "access").filter(|at| *at != seat));
    until("the entry is listed", || (listed(&runtime, &socket).len() == 1).then_some(()));
    let began = Instant::now();
    // Longer than a silent fulcrum's entries stay: the door says it again to the new seat.
    while began.elapsed().as_secs() < 3 {
        assert_eq!(listed(&runtime, &socket)[0].service, "db");
    }
    assert!(began.elapsed() < LIMIT);
    cluster.interrupt();
}

/// The instance of a service that runs with this process, by a status.
fn instance(status: &Value) -> Option<(String, i32)> {
    let instances = status["instances"].as_array()?;
    let ready = instances.iter().find(|one| one["state"] == "ready" && one["pid"].is_u64())?;
    Some((ready["id"].as_str()?.to_owned(), i32::try_from(ready["pid"].as_u64()?).ok()?))
}

/// What a process was told about its own socket.
fn socket_of(pid: i32) -> PathBuf {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
    let mut words = environment.split(|byte| *byte == 0);
    let socket = words.find_map(|word| word.strip_prefix(b"CRUX_SOCKET=")).expect("CRUX_SOCKET");
    let socket = PathBuf::from(String::from_utf8(socket.to_vec()).unwrap());
    // Where the path is longer than the system allows it is from the working directory.
    if socket.is_absolute() { socket } else { format!("/proc/{pid}/cwd").parse::<PathBuf>().unwrap().join(socket) }
}

#[test]
fn an_instance_adds_its_own_name_on_its_own_socket_and_need_not_know_that_crux_was_away() {
    let world = world(&["n1"]);
    let fulcrum = Fulcrum::start(&world, "n1", "s1", &[]);
    fulcrum.answers();
    world.crux(&["--at", "s1/crux.sock", "run", "--name", "api", "--count", "1", "sleep", "600"]).done();
    let (id, pid) = until("it runs", || fulcrum.json("status").as_ref().and_then(instance));
    let socket = socket_of(pid);
    assert_eq!(socket.metadata().unwrap().permissions().mode() & 0o777, 0o600);

    let runtime = runtime();
    let own = runtime.block_on(grpc::at_socket(&socket)).unwrap();
    let mut access = AccessClient::new(own.clone());
    let added = runtime.block_on(access.add(request("", "127.0.0.1:80", 0))).unwrap().into_inner();
    assert_eq!((added.life_ms, added.renewed), (None, false), "it lives as long as the instance");
    let refused = runtime.block_on(access.add(request("db", "127.0.0.1:80", 0))).unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    let entry = until("it is listed as ready", || {
        listed(&runtime, &own).into_iter().find(|entry| entry.state.as_deref() == Some("ready"))
    });
    assert_eq!((entry.horde.as_str(), entry.service.as_str(), entry.at.as_str()), ("main", "api", "n1"));
    assert_eq!(entry.by, format!("instance/{id}"));
    // It may ask who there is and how its fulcrum is, and nothing else.
    let confab = runtime.block_on(ConfabClient::new(own.clone()).get(ConfabRequest {})).unwrap().into_inner();
    assert_eq!(confab.node, "n1");
    let mut health = tonic_health::pb::health_client::HealthClient::new(own.clone());
    let asked = tonic_health::pb::HealthCheckRequest { service: String::new() };
    let answer = runtime.block_on(health.check(asked)).unwrap().into_inner();
    assert_eq!(answer.status(), tonic_health::pb::health_check_response::ServingStatus::Serving);
    let refused = runtime.block_on(YurtClient::new(own).who(WhoRequest {})).unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    for words in [&["status"][..], &["down"], &["node", "forget", "n9"]] {
        let ran = world.crux(&[&["--at", socket.to_str().unwrap()], words].concat());
        ran.failed(4, "E401", &["this is the socket of instance"]);
    }

    // crux is killed and comes back: same process, same socket, same entry, and the program did nothing for it.
    fulcrum.kill();
    let fulcrum = Fulcrum::start(&world, "n1", "s1", &[]);
    let again = until("it was taken back", || fulcrum.json("status").as_ref().and_then(instance));
    assert_eq!(again, (id.clone(), pid));
    let own = until("its socket answers again", || runtime.block_on(grpc::at_socket(&socket)).ok());
    let back = until("its entry is back", || listed(&runtime, &own).into_iter().next());
    assert_eq!((back.by, back.addrs), (entry.by, entry.addrs));

    // Its process ends: the entry goes with it, and the next one has none.
    kill_process_group(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    until("another process runs", || fulcrum.json("status").as_ref().and_then(instance).filter(|(_, now)| *now != pid));
    let door = runtime.block_on(grpc::at_socket(&world.path("s1/crux.sock"))).unwrap();
    until("the entry is gone", || listed(&runtime, &door).is_empty().then_some(()));
    fulcrum.stop();
}

#[test]
fn an_operator_adds_only_what_its_scopes_permit() {
    let world = world(&["n1"]);
    let fulcrum = Fulcrum::start(&world, "n1", "s1", &[]);
    let addr = fulcrum.answers()["listens"]["api"].as_str().unwrap().to_owned();
    let words =
        ["ca", "issue", "--ca", "ca", "--operator", "bob", "--out", "bob", "--no-profile", "--scope", "access@web"];
    world.crux(&words).done();
    let runtime = runtime();
    let bob = runtime.block_on(grpc::at_port(&addr, &world.path("bob"))).unwrap();
    let mut access = AccessClient::new(bob.clone());
    runtime.block_on(access.add(request("web/db", "10.0.0.7:1", 0))).unwrap();
    runtime.block_on(access.add(request("web/db", "10.0.0.7:1", 0))).unwrap();
    let refused = runtime.block_on(access.add(request("data/db", "10.0.0.7:1", 0))).unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(refused.message().contains("is limited to access@web, and this needs access@data"), "{refused}");
    until("the one is listed", || (listed(&runtime, &bob).len() == 1).then_some(()));
    // What was done and what was refused is written down; a heartbeat is not.
    let audit = fulcrum.json("audit").unwrap();
    let lines = audit["entries"].as_array().unwrap().iter();
    let lines: Vec<String> =
        lines.map(|one| format!("{} {} {} {}", one["by"], one["verb"], one["targets"][0], one["outcome"])).collect();
    let wanted =
        [r#""operator/bob" "access" "web/db" "done""#, r#""operator/bob" "access" "/crux.v1.Access/Add" "refused""#];
    assert_eq!(lines, wanted);
    fulcrum.stop();
}
