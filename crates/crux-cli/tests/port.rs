//! The API port of real fulcrums: an operator's certificate opens it, for `crux --at HOST:PORT` and for any gRPC client.

#[path = "help/grpc.rs"]
mod grpc;
mod help;
use crux_api::grpc::ConfabRequest;
use crux_api::grpc::confab_client::ConfabClient;
use help::cluster::{Cluster, LIMIT, names};
use help::fulcrum::{Fulcrum, world};
use help::{World, get};
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// The bundle of a dev cluster's operator.
fn operator(cluster: &Cluster) -> String {
    let text = std::fs::read(cluster.home.path().join("crux/dev.json")).unwrap();
    let file: Value = serde_json::from_slice(&text).unwrap();
    file["operator"].as_str().unwrap().to_owned()
}

#[test]
fn an_operator_reaches_a_fulcrum_by_its_address_and_everything_answers_there() {
    let mut cluster = Cluster::up(3);
    let status = cluster.until("n1", "three members", |status| status["members"] == names(&["n1", "n2", "n3"]));
    let addr = status["listens"]["api"].as_str().expect("an API port").to_owned();
    let operator = operator(&cluster);

    // The command: reads and a signed write.
    let over = |words: &[&str]| cluster.ok(&[&["--at", &addr, "--as", &operator], words].concat());
    let confab: Value = serde_json::from_str(&over(&["confab", "-o", "json"])).unwrap();
    assert_eq!((&confab["node"], &confab["members"]), (&"n1".into(), &names(&["n1", "n2", "n3"])));
    over(&["horde", "create", "web", "--want", "1"]);
    assert!(over(&["horde", "list", "-o", "name"]).contains("web"));
    // Without an operator's key the port is closed, and the command says why.
    let ran = cluster.run(&["--at", &addr, "status"]);
    assert_eq!(ran.status.code(), Some(4));
    let said = String::from_utf8(ran.stderr).unwrap();
    assert!(said.contains("E400") && said.contains("answers operators only"), "{said}");

    // Any gRPC client: confab, health, reflection.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let channel = grpc::at_port(&addr, Path::new(&operator)).await.unwrap();
        let mut confabs = ConfabClient::new(channel.clone());
        assert_eq!(confabs.get(ConfabRequest {}).await.unwrap().into_inner().members, ["n1", "n2", "n3"]);
        let mut watch = confabs.watch(ConfabRequest {}).await.unwrap().into_inner();
        assert_eq!(watch.message().await.unwrap().unwrap().node, "n1");

        let mut health = HealthClient::new(channel.clone());
        let served = ["crux.v1.Access", "crux.v1.Confab", "crux.v1.Events", "crux.v1.Yurt", "grpc.health.v1.Health"];
        for service in served.into_iter().chain([""]) {
            let request = HealthCheckRequest { service: service.to_owned() };
            let answer = health.check(request).await.unwrap().into_inner();
            assert_eq!(answer.status(), ServingStatus::Serving, "{service:?}");
        }

        use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
        use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
        let mut reflection =
            tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient::new(channel.clone());
        let request = tonic_reflection::pb::v1::ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::ListServices(String::new())),
        };
        let mut answers = reflection.server_reflection_info(tokio_stream::iter([request])).await.unwrap().into_inner();
        let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
        let MessageResponse::ListServicesResponse(list) = answer else { panic!("{answer:?}") };
        let services: Vec<&str> = list.service.iter().map(|service| service.name.as_str()).collect();
        for wanted in served {
            assert!(services.contains(&wanted), "{services:?}");
        }

        // Clients that know only the older name of reflection: grpcio's, for one.
        use tonic_reflection::pb::v1alpha;
        let mut older = v1alpha::server_reflection_client::ServerReflectionClient::new(channel);
        let request = v1alpha::ServerReflectionRequest {
            host: String::new(),
            message_request: Some(v1alpha::server_reflection_request::MessageRequest::ListServices(String::new())),
        };
        let mut answers = older.server_reflection_info(tokio_stream::iter([request])).await.unwrap().into_inner();
        let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
        let v1alpha::server_reflection_response::MessageResponse::ListServicesResponse(older) = answer else {
            panic!("{answer:?}")
        };
        let older: Vec<&str> = older.service.iter().map(|service| service.name.as_str()).collect();
        assert_eq!(older, services);
    });
    cluster.interrupt();
}

/// A balancer that watches must hear that a fulcrum goes before its stream breaks off: at the socket and at the port, of
/// the whole and of one service.
#[test]
fn who_watches_health_hears_that_a_fulcrum_goes_down() {
    let world = world(&["n1"]);
    let mut n1 = Fulcrum::start(&world, "n1", "s", &[]);
    let addr = n1.answers()["listens"]["api"].as_str().unwrap().to_owned();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut watches = Vec::new();
        let doors = [
            ("the socket", grpc::at_socket(&world.path("s/crux.sock")).await.unwrap()),
            ("the port", grpc::at_port(&addr, &world.path("config/crux/profile")).await.unwrap()),
        ];
        for (door, channel) in doors {
            for service in ["", "crux.v1.Confab"] {
                let request = HealthCheckRequest { service: service.to_owned() };
                let mut watch = HealthClient::new(channel.clone()).watch(request).await.unwrap().into_inner();
                assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
                watches.push((format!("{service:?} at {door}"), watch));
            }
        }
        let mut down = world.command().args(["--at", "s/crux.sock", "down"]).spawn().unwrap();
        for (what, mut watch) in watches {
            let next = tokio::time::timeout(LIMIT, watch.message()).await.expect("a word or an end");
            let next = next.unwrap_or_else(|end| panic!("{what} ended without a word: {end}"));
            assert_eq!(next.expect(&what).status(), ServingStatus::NotServing, "{what}");
        }
        assert!(down.wait().unwrap().success());
    });
    n1.ends();
}

#[test]
fn strangers_at_the_port_and_ports_that_are_none_are_one_clear_error() {
    let cluster = Cluster::up(1);
    let status = cluster.until("n1", "a status", |_| true);
    let addr = status["listens"]["api"].as_str().expect("an API port").to_owned();
    // An operator of another bloc: both sides say so.
    let other = World::new().with_operator();
    let at = ["--at", addr.as_str()];
    let ran = other.crux(&[&at[..], &["status"]].concat());
    ran.failed(4, "E401", &["certificate of bloc dev, but this is bloc acme", "next: name an operator's bundle"]);
    // A node's certificate is no operator's.
    other.crux(&["ca", "issue", "--ca", "ca", "--node", "n9", "--out", "n9"]).done();
    let ran = other.crux(&[&at[..], &["--as", "n9", "status"]].concat());
    ran.failed(4, "E401", &["which is no operator"]);
    // Nobody, and a name that does not resolve.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    other.crux(&["--at", &free, "status"]).failed(5, "E500", &[free.as_str(), "API port"]);
    other.crux(&["--at", "no-such-host.invalid:2789", "status"]).failed(5, "E500", &["no-such-host.invalid:2789"]);
}

#[test]
fn links_flocks_and_doctor_show_the_network_as_it_is() {
    let cluster = Cluster::up(3);
    let json = |words: &[&str]| -> Value {
        serde_json::from_str(&cluster.ok(&[&["--at", "n1", "-o", "json"], words].concat())).unwrap()
    };
    let wait = |what: &str, wanted: &dyn Fn() -> bool| {
        let began = Instant::now();
        while !wanted() {
            assert!(began.elapsed() < LIMIT, "{what}");
        }
    };
    let up = |from: &str, to: &str| {
        let list = json(&["links"]);
        let line =
            list["links"].as_array().unwrap().iter().find(|line| line["from"] == from && line["to"] == to).cloned();
        line.is_some_and(|line| {
            line["state"] == "up"
                && line["rtt_ms"].is_f64()
                && line["rekey_s"].as_f64().is_some_and(|left| left > 0.0 && left <= 120.0)
        })
    };
    // Also a pair that the one asked is not part of.
    wait("every pair is linked", &|| up("n2", "n3") && up("n3", "n2") && up("n1", "n3"));
    let table = cluster.ok(&["--at", "n1", "links"]);
    assert!(table.lines().count() >= 4 && table.contains("n2       n3    up"), "{table}");
    assert_eq!(cluster.ok(&["--at", "n1", "links", "-o", "name"]).lines().count(), 6);

    cluster.until("n1", "a stable flock", |status| status["stable"] == true);
    let healthy = cluster.run(&["--at", "n1", "doctor", "-o", "json"]);
    let text = String::from_utf8(healthy.stdout).unwrap();
    assert_eq!(healthy.status.code(), Some(0), "{text}");
    let doctor: Value = serde_json::from_str(&text).unwrap();
    let checks: Vec<&str> =
        doctor["findings"].as_array().unwrap().iter().map(|finding| finding["check"].as_str().unwrap()).collect();
    assert_eq!(
        checks,
        ["flock", "clock", "mesh-port", "api-port", "mtu", "certificate", "state", "facts", "reach"],
        "{text}"
    );
    let said = |check: &str, words: &str| {
        let finding = doctor["findings"].as_array().unwrap().iter().find(|finding| finding["check"] == check).unwrap();
        assert!(finding["text"].as_str().unwrap().contains(words), "{finding}");
    };
    said("mesh-port", "2 ports answer here, and this one answered 2");
    said("api-port", "2 members' ports are reached from here, and this one from 2");
    said("clock", "of 2 others");
    said("mtu", "both ways");

    cluster.ok(&["lab", "split", "n1,n2/n3"]);
    cluster.until("n1", "its part", |status| status["members"] == names(&["n1", "n2"]));
    wait("n3 is known to be outside", &|| json(&["flocks"])["outside"][0]["name"] == "n3");
    let flocks = json(&["flocks"]);
    assert_eq!(flocks["flock"]["members"], names(&["n1", "n2"]));
    assert_eq!(flocks["flock"]["expect"], 3, "{flocks:#?}");
    let sick = cluster.run(&["--at", "n1", "doctor"]);
    let text = String::from_utf8(sick.stdout).unwrap();
    assert_eq!(sick.status.code(), Some(1), "{text}");
    assert!(text.contains("WRONG") && text.contains("2 of the 3 members") && text.contains("next: "), "{text}");
}

#[test]
fn following_ends_well_with_ctrl_c_and_gave_one_document_a_line() {
    let cluster = Cluster::up(2);
    let mut command = help::cluster::crux(cluster.home.path());
    let mut following =
        command.args(["--at", "n1", "events", "-w", "-o", "json"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(following.stdout.take().unwrap()).lines();
    for _ in 0..3 {
        let event: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!((&event["kind"], &event["apiVersion"]), (&"Event".into(), &"crux/v1".into()));
    }
    rustix::process::kill_process(rustix::process::Pid::from_child(&following), rustix::process::Signal::INT).unwrap();
    for line in lines {
        serde_json::from_str::<Value>(&line.unwrap()).unwrap();
    }
    assert_eq!(following.wait().unwrap().code(), Some(0));
}

#[test]
fn metrics_and_health_follow_the_flock() {
    let cluster = Cluster::up(3);
    let status = cluster.until("n1", "a stable flock", |status| status["stable"] == true);
    let addr = status["listens"]["metrics"].as_str().expect("a metrics port").to_owned();
    let value = |text: &str, series: &str| -> Option<f64> {
        let line = text.lines().find(|line| line.split_once(' ').is_some_and(|(name, _)| name == series))?;
        line.rsplit_once(' ')?.1.parse().ok()
    };
    let (code, text) = get(&addr, "/metrics");
    assert_eq!(code, 200);
    for (series, wanted) in [
        ("crux_build_info{version=\"0.1.0\"}", 1.0),
        ("crux_flock_members{state=\"member\"}", 3.0),
        ("crux_flock_members{state=\"suspect\"}", 0.0),
        ("crux_flock_stable", 1.0),
        ("crux_flock_siblings", 0.0),
        ("crux_flock_clones", 0.0),
        ("crux_flock_outside{state=\"refused\"}", 0.0),
        ("crux_flock_changes_total{kind=\"member-left\"}", 0.0),
        ("crux_service_desired{horde=\"main\",service=\"demo\"}", 3.0),
        ("crux_facts{state=\"conflicted\"}", 0.0),
    ] {
        assert_eq!(value(&text, series), Some(wanted), "{series}: {text}");
    }
    let leads = value(&text, "crux_flock_is_leader").unwrap();
    assert_eq!(leads, f64::from(u8::from(status["leader"] == "n1")));
    for series in [
        "crux_flock_changes_total{kind=\"member-joined\"}",
        "crux_peer_rtt_seconds{peer=\"n2\"}",
        "crux_link_bytes_total{direction=\"sent\",plane=\"datagram\"}",
        "crux_link_bytes_total{direction=\"received\",plane=\"frame\"}",
        "crux_facts{state=\"in-force\"}",
    ] {
        assert!(value(&text, series).is_some_and(|value| value > 0.0), "{series}: {text}");
    }
    let shaken =
        ["dialed", "accepted"].map(|result| value(&text, &format!("crux_handshakes_total{{result=\"{result}\"}}")));
    assert!(shaken.iter().flatten().sum::<f64>() >= 2.0, "one link to each peer: {text}");
    assert!(value(&text, "crux_link_bytes_total{direction=\"sent\",plane=\"bulk\"}").is_some(), "{text}");
    let ends = |kind: &str| value(&text, &format!("crux_certificate_expiry_timestamp_seconds{{kind=\"{kind}\"}}"));
    assert!(ends("node").is_some_and(|ends| ends > 1.7e9) && ends("root") > ends("node"), "{text}");
    assert_eq!((ends("operator"), ends("chain")), (None, None), "no operator came yet");
    let operator = operator(&cluster);
    cluster.ok(&["--at", status["listens"]["api"].as_str().unwrap(), "--as", &operator, "confab"]);
    let (_, after) = get(&addr, "/metrics");
    let came = value(&after, "crux_certificate_expiry_timestamp_seconds{kind=\"operator\"}");
    assert!(came.is_some_and(|ends| ends > 1.7e9), "{after}");
    assert!(
        text.contains("crux_api_request_duration_seconds_bucket{") && text.contains("route=\"/v1/status\""),
        "{text}"
    );
    assert!(text.ends_with("# EOF\n"), "{text}");

    assert_eq!(get(&addr, "/livez"), (200, "ok\n".to_owned()));
    assert_eq!(get(&addr, "/readyz"), (200, "ok\n".to_owned()));
    let (code, verbose) = get(&addr, "/readyz?verbose");
    assert!(
        code == 200 && ["[+]loop ok", "[+]flock ", "[+]store "].iter().all(|line| verbose.contains(line)),
        "{verbose}"
    );
    assert_eq!(get(&addr, "/v1/status").0, 404, "nothing but metrics and health");

    let before =
        value(&text, "crux_flock_changes_total{kind=\"member-lost\"}").expect("it is there from the beginning");
    cluster.ok(&["lab", "kill", "n2"]);
    cluster.until("n1", "n2 is gone", |status| status["members"] == names(&["n1", "n3"]));
    let (_, text) = get(&addr, "/metrics");
    assert_eq!(value(&text, "crux_flock_members{state=\"member\"}"), Some(2.0), "{text}");
    assert_eq!(value(&text, "crux_flock_changes_total{kind=\"member-lost\"}"), Some(before + 1.0), "{text}");
    assert_eq!(value(&text, "crux_peer_rtt_seconds{peer=\"n2\"}"), None, "{text}");
}
