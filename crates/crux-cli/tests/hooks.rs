//! What instances are told of a split and of its end, on real fulcrums: by their hooks, on their own sockets, and what
//! operators see of it.

#[path = "help/grpc.rs"]
mod grpc;
mod help;
use crux_api::grpc::events_client::EventsClient;
use crux_api::grpc::{Event, EventsRequest};
use help::cluster::{Cluster, LIMIT, names};
use help::fulcrum::until;
use serde_json::Value;
use std::path::{Path, PathBuf};
use tokio::runtime::Runtime;

const NODES: [&str; 3] = ["n1", "n2", "n3"];

/// The instance of a service on a node: its id, its name and its process.
fn instance(status: &Value, service: &str, node: &str) -> Option<(String, String, u64)> {
    let all = status["instances"].as_array()?;
    let of_it = |one: &&Value| one["service"] == service && one["node"] == node && one["state"] == "ready";
    let one = all.iter().find(of_it)?;
    Some((one["id"].as_str()?.to_owned(), one["name"].as_str()?.to_owned(), one["pid"].as_u64()?))
}

/// What a process was told about its own socket.
fn socket_of(pid: u64) -> PathBuf {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
    let mut words = environment.split(|byte| *byte == 0);
    let socket = words.find_map(|word| word.strip_prefix(b"CRUX_SOCKET=")).expect("CRUX_SOCKET");
    let socket = PathBuf::from(String::from_utf8(socket.to_vec()).unwrap());
    if socket.is_absolute() { socket } else { format!("/proc/{pid}/cwd").parse::<PathBuf>().unwrap().join(socket) }
}

/// So many events that are kept or come at a socket, after a cursor.
fn events(runtime: &Runtime, socket: &Path, after: u64, wanted: impl Fn(&[Event]) -> bool) -> Vec<Event> {
    runtime.block_on(async {
        let channel = grpc::at_socket(socket).await.expect("the socket answers");
        let mut stream =
            EventsClient::new(channel).watch(EventsRequest { after }).await.expect("a stream").into_inner();
        let mut all = Vec::new();
        while !wanted(&all) {
            let next = tokio::time::timeout(LIMIT, stream.message()).await;
            all.push(
                next.unwrap_or_else(|_| panic!("no more events after {all:#?}")).expect("an event").expect("more"),
            );
        }
        all
    })
}

fn said(event: &Event) -> (u64, String, String, Vec<String>, Vec<String>) {
    let presence = event.presence.clone().expect("who is here");
    (event.cursor, event.event.clone(), presence.horde, presence.present, presence.absent)
}

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn instances_are_told_of_a_split_and_of_its_end_by_hooks_and_on_their_sockets() {
    let mut cluster = Cluster::up(3);
    let out = cluster.home.path().join("told");
    let manifest = cluster.home.path().join("hooks.toml");
    let hook = format!(
        "echo \"$CRUX_NODE $CRUX_EVENT $CRUX_NUMBER $CRUX_PRESENT|$CRUX_ABSENT $(cat)\" >> {}; echo told $CRUX_EVENT",
        out.display()
    );
    // The second service's hook is nowhere: its instances run on.
    let text = format!(
        "[service.good]\nrun = [\"sleep\", \"600\"]\ncount = 3\n\
         hooks = {{ parted = [\"sh\", \"-c\", '{hook}'], rejoined = [\"sh\", \"-c\", '{hook}'] }}\n\
         [service.bad]\nrun = [\"sleep\", \"600\"]\ncount = 3\nhooks = {{ parted = [\"/bin/nowhere\"], timeout = \"2s\" }}\n"
    );
    std::fs::write(&manifest, text).unwrap();
    cluster.ok(&["apply", manifest.to_str().unwrap()]);
    let status = cluster.until("n1", "one of each on each node", |status| {
        let each = |service: &str| NODES.iter().all(|node| instance(status, service, node).is_some());
        each("good") && each("bad") && status["members"] == names(&NODES)
    });
    let (id, name, pid) = instance(&status, "good", "n1").unwrap();
    let (bad, _, bad_pid) = instance(&status, "bad", "n1").unwrap();
    assert!(!out.exists(), "who starts in a whole horde is told nothing");

    cluster.ok(&["lab", "split", "n1,n2/n3"]);
    let told = |line: &str| {
        let text = std::fs::read_to_string(&out).unwrap_or_default();
        text.lines().find(|told| told.starts_with(line)).map(str::to_owned)
    };
    until("n1's hook was told", || told("n1 parted 1 n1,n2|n3 "));
    until("n2's hook was told", || told("n2 parted 1 n1,n2|n3 "));
    let line = until("n3's hook was told", || told("n3 parted 1 n3|n1,n2 "));
    let document: Value = serde_json::from_str(line.splitn(5, ' ').nth(4).unwrap()).expect("JSON on standard input");
    assert_eq!((&document["kind"], &document["event"]), (&"Told".into(), &"parted".into()));
    assert_eq!((&document["present"], &document["absent"]), (&names(&["n3"]), &names(&["n1", "n2"])));

    cluster.ok(&["lab", "heal"]);
    until("n1's hook was told of the end", || told("n1 rejoined 2 n1,n2,n3| "));
    // The same on the instance's own socket, with a cursor to resume from, and nothing else.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let socket = socket_of(pid);
    let both = events(&runtime, &socket, 0, |all| all.len() == 2);
    let expected = [
        (1, "parted".to_owned(), "main".to_owned(), words(&["n1", "n2"]), words(&["n3"])),
        (2, "rejoined".to_owned(), "main".to_owned(), words(&NODES), words(&[])),
    ];
    assert_eq!(both.iter().map(said).collect::<Vec<_>>(), expected);
    let rest = events(&runtime, &socket, 1, |all| !all.is_empty());
    assert_eq!(said(&rest[0]), expected[1]);
    let early = events(&runtime, &socket, 99, |all| all.len() == 2);
    assert_eq!(early, both, "a cursor that was never given out is as none");

    // Operators: events, and why.
    let kinds = ["hook-ran", "hook-failed", "horde-parted", "horde-rejoined"];
    let all = events(&runtime, &cluster.socket("n1"), 0, |all| {
        kinds.iter().all(|kind| all.iter().any(|event| event.event == *kind))
    });
    assert!(all.iter().all(|event| event.presence.is_none() && event.node == "n1"));
    let listed = cluster.ok(&["--at", "n1", "events"]);
    assert!(listed.contains("hook-ran") && listed.contains(&format!("{name} on n1: its hook parted")), "{listed}");
    // At any fulcrum, wherever it runs.
    let why = |node: &str, subject: &str, text: &str| {
        until("why says it", || {
            let out = cluster.run(&["--at", node, "why", subject]);
            String::from_utf8(out.stdout).ok().filter(|why| why.contains(text))
        })
    };
    for node in ["n1", "n3"] {
        why(node, &id, "its hook rejoined of word 2 ended well");
        why(node, &bad, "its hook parted of word 1 failed: cannot run `/bin/nowhere`");
    }
    let now = instance(&cluster.status("n1").unwrap(), "good", "n1").unwrap().1;
    why("n2", &now, "its hook rejoined of word 2 ended well");
    let logs = until("the log has it", || Some(cluster.ok(&["logs", &id])).filter(|logs| logs.contains("rejoined")));
    assert!(logs.contains("told parted") && logs.contains("told rejoined"), "{logs}");
    let status = cluster.status("n1").unwrap();
    assert_eq!(instance(&status, "bad", "n1").map(|(.., pid)| pid), Some(bad_pid), "a bad hook did no harm");
    cluster.interrupt();
    assert_eq!(cluster.left_over(), [""; 0]);
}
