//! A dev cluster as a person uses it: the real binary, real processes, real links; split, heal, kill, start, down.

mod help;
use crux_api::grpc::confab_client::ConfabClient;
use crux_api::grpc::{ConfabRequest, ConfabView};
use help::cluster::{Cluster, LIMIT, crux, names};
use serde_json::Value;
use std::path::Path;
use std::time::{Duration, Instant};
use tonic::transport::{Channel, Endpoint};

/// Confabs over gRPC, as a program of another language would ask for them.
struct Confabs {
    runtime: tokio::runtime::Runtime,
    client: ConfabClient<Channel>,
    watch: tonic::Streaming<ConfabView>,
}

impl Confabs {
    fn of(socket: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let socket = socket.to_owned();
        let connect = tower::service_fn(move |_| {
            let socket = socket.clone();
            async move { tokio::net::UnixStream::connect(socket).await.map(hyper_util::rt::TokioIo::new) }
        });
        let endpoint = Endpoint::from_static("http://crux");
        let channel = runtime.block_on(endpoint.connect_with_connector(connect)).unwrap();
        let mut client = ConfabClient::new(channel);
        let watch = runtime.block_on(client.watch(ConfabRequest {})).unwrap().into_inner();
        Self { runtime, client, watch }
    }

    fn get(&mut self) -> ConfabView {
        self.runtime.block_on(self.client.get(ConfabRequest {})).unwrap().into_inner()
    }

    fn next(&mut self) -> ConfabView {
        let next = async { tokio::time::timeout(LIMIT, self.watch.message()).await };
        self.runtime.block_on(next).expect("a view in time").unwrap().expect("the stream goes on")
    }
}

/// How many should be, how many are ready, and how many processes there are.
fn demo(status: &Value) -> (u64, u64, usize) {
    let service = status["services"].as_array().unwrap().iter().find(|service| service["service"] == "demo");
    let Some(service) = service else { return (0, 0, 0) };
    let running = status["instances"].as_array().unwrap().iter().filter(|i| i["pid"].is_u64() && i["state"] != "gone");
    (service["should"].as_u64().unwrap_or(0), service["ready"].as_u64().unwrap(), running.count())
}

#[test]
fn a_split_cluster_serves_on_both_sides_and_heals_to_one() {
    let mut cluster = Cluster::up(5);
    assert!(cluster.said.iter().any(|line| line.contains("main/demo is ready, 3 of 3")), "{:#?}", cluster.said);
    cluster.until("n1", "three instances", |status| demo(status) == (3, 3, 3));

    let mut views = Confabs::of(&cluster.socket("n1"));
    assert_eq!(views.get().members.len(), 5);
    assert_eq!(views.next().members.len(), 5, "the first view is the present one");

    cluster.ok(&["lab", "split", "n1,n2/n3,n4,n5"]);
    while views.next().members != ["n1", "n2"] {}
    for (node, part) in [("n1", &["n1", "n2"][..]), ("n4", &["n3", "n4", "n5"])] {
        let wanted =
            |status: &Value| status["members"] == names(part) && status["stable"] == true && demo(status) == (3, 3, 3);
        let status = cluster.until(node, "its own flock with the demo service", wanted);
        assert!(part.contains(&status["leader"].as_str().unwrap()));
    }
    let (left, right) = (cluster.status("n2").unwrap(), cluster.status("n5").unwrap());
    assert_ne!(left["flock"], right["flock"]);

    cluster.ok(&["lab", "heal"]);
    let all = ["n1", "n2", "n3", "n4", "n5"];
    for node in all {
        cluster.until(node, "one flock without surplus", |status| {
            status["members"] == names(&all) && status["stable"] == true && demo(status) == (3, 3, 3)
        });
    }
    let began = Instant::now();
    loop {
        let digest = |node| cluster.status(node).unwrap()["facts"]["digest"].clone();
        let digests = all.map(digest);
        if digests.iter().all(|digest| *digest == digests[0]) {
            break;
        }
        assert!(began.elapsed() < LIMIT, "the facts stay different: {digests:?}");
    }

    cluster.interrupt();
    assert_eq!(cluster.left_over(), Vec::<String>::new());
    let out = cluster.run(&["status", "--at", "n1"]);
    assert!(!out.status.success(), "nobody is there any more");
}

/// The leader of a whole flock dies. Answers who it was, and what one of the others saw before and after; `None` if these
/// two were not together all the time. On a busy machine a quarter of the timers is short even for the living: they lose
/// each other for a moment, each fills up, and when they meet again what is too much ends. That is another story.
fn kill_leader(cluster: &Cluster) -> Option<(String, Value, Value)> {
    let all = ["n1", "n2", "n3"];
    let whole =
        |status: &Value| status["members"] == names(&all) && status["stable"] == true && demo(status) == (3, 3, 3);
    let leader = cluster.until("n1", "a whole flock", whole)["leader"].as_str().unwrap().to_owned();
    let others: Vec<&str> = all.into_iter().filter(|name| *name != leader).collect();
    let before = cluster.until(others[0], "three instances", whole);
    if before["leader"] != leader.as_str() {
        return None;
    }
    cluster.ok(&["lab", "kill", &leader]);
    let after = cluster.until(others[0], "another leader with every instance", |status| {
        status["members"] == names(&others) && demo(status) == (3, 3, 3)
    });
    let since = |status: &Value| {
        let roster = status["roster"].as_array().unwrap();
        roster.iter().find(|seat| seat["name"] == others[1]).map(|seat| seat["since"].clone())
    };
    let together = since(&before) == since(&after);
    if !together {
        cluster.ok(&["lab", "start", &leader]);
    }
    together.then_some((leader, before, after))
}

/// What runs, and where.
fn pids(status: &Value) -> Vec<(String, u64)> {
    let instances = status["instances"].as_array().unwrap().iter();
    instances.filter_map(|i| Some((i["node"].as_str()?.to_owned(), i["pid"].as_u64()?))).collect()
}

#[test]
fn a_dead_leader_is_followed_and_comes_back() {
    let mut cluster = Cluster::up(3);
    let died = (0..10).find_map(|_| kill_leader(&cluster));
    let (leader, before, after) = died.expect("two that stay together while the third dies");
    assert_ne!(after["leader"], Value::from(leader.clone()));
    // Who did not die did not move.
    for kept in pids(&before).iter().filter(|(node, _)| *node != leader) {
        assert!(pids(&after).contains(kept), "{kept:?} of {after:#?}");
    }
    let boot = |status: &Value| {
        let seat = status["roster"].as_array().unwrap().iter().find(|seat| seat["name"] == leader).cloned();
        u64::from_str_radix(seat.unwrap()["boot"].as_str().unwrap(), 16).unwrap()
    };
    cluster.ok(&["lab", "start", &leader]);
    let back = cluster.until(&leader, "one flock again", |status| {
        status["members"] == names(&["n1", "n2", "n3"]) && status["stable"] == true && demo(status) == (3, 3, 3)
    });
    assert!(boot(&back) > boot(&before), "a new life has a higher boot");

    // From any fulcrum, what an instance elsewhere wrote.
    let lines = cluster.ok(&["--at", &leader, "logs", "demo", "-o", "json"]);
    for instance in back["instances"].as_array().unwrap().iter().filter(|instance| instance["pid"].is_u64()) {
        let id = instance["id"].as_str().unwrap();
        assert!(lines.contains(id) && lines.contains("listens on"), "{id} said nothing: {lines}");
    }

    // The other end of the leash is let go: everything ends by itself.
    cluster.process.kill().unwrap();
    cluster.process.wait().unwrap();
    let began = Instant::now();
    while !cluster.left_over().is_empty() {
        assert!(began.elapsed() < LIMIT, "{:#?}", cluster.left_over());
        std::thread::sleep(Duration::from_millis(50)); // waits: between two looks
    }
}

#[test]
fn a_paused_fulcrum_holds_up_no_fault_and_is_told_of_it_when_it_wakes() {
    let cluster = Cluster::up(4);
    assert!(cluster.ok(&["lab", "pause", "n2", "2s"]).contains("n2 stands still for 2 s"));
    // Those that are not named stay together, and the answer says so.
    assert!(cluster.ok(&["lab", "split", "n1,n2"]).contains("n1,n2 / n3,n4"));
    cluster.ok(&["lab", "loss", "0"]);
    for (node, part) in [("n1", ["n1", "n2"]), ("n2", ["n1", "n2"]), ("n3", ["n3", "n4"]), ("n4", ["n3", "n4"])] {
        cluster.until(node, "its part", |status| status["members"] == names(&part) && status["stable"] == true);
    }
    cluster.ok(&["lab", "pause", "n3", "1s"]);
    cluster.ok(&["lab", "heal"]);
    for node in ["n1", "n2", "n3", "n4"] {
        cluster.until(node, "one flock", |status| status["members"] == names(&["n1", "n2", "n3", "n4"]));
    }
    cluster.ok(&["lab", "kill", "n4"]);
    let again = cluster.run(&["lab", "kill", "n4"]);
    assert_eq!(again.status.code(), Some(1));
    let said = String::from_utf8(again.stderr).unwrap();
    assert!(said.contains("n4 does not run") && said.contains("next: crux lab start n4"), "{said}");
    let status = cluster.run(&["--at", "n4", "status"]);
    assert_eq!(status.status.code(), Some(5));
    let said = String::from_utf8(status.stderr).unwrap();
    assert!(said.contains("next: crux lab start n4"), "{said}");
}

/// What a node of a cluster says, as JSON.
fn json(cluster: &Cluster, node: &str, verb: &str) -> Value {
    serde_json::from_str(&cluster.ok(&[verb, "--at", node, "-o", "json"])).unwrap()
}

const FOUR: [&str; 4] = ["n1", "n2", "n3", "n4"];

/// Waits until each of four tells of two flocks that are apart because n1 and n2 do not talk, and says so to who asks its
/// doctor: one of the two is out of the larger one; which, is the flock's choice.
fn tell_of_the_pair(cluster: &Cluster) {
    let told = |node: &str| {
        let (flocks, links) = (json(cluster, node, "flocks"), json(cluster, node, "links"));
        let siblings = flocks["siblings"].as_array().unwrap().clone();
        let pair = |sibling: &Value| sibling["apart"] == "broken-pair" && sibling["pair"] == names(&["n1", "n2"]);
        let size = flocks["flock"]["members"].as_array().unwrap().len() as u64;
        let both = matches!(&siblings[..], [one] if pair(one) && one["size"].as_u64().unwrap() + size == 4);
        both && links["broken"] == serde_json::json!([["n1", "n2"]])
    };
    for node in FOUR {
        help::fulcrum::until("both flocks and the broken pair", || told(node).then_some(()));
        let said = cluster.run(&["doctor", "--at", node]);
        let said = String::from_utf8(said.stdout).unwrap();
        assert!(said.contains("n1 and n2 cannot talk directly"), "{node}: {said}");
        assert!(!said.contains("node forget n2") && !said.contains("node forget n1"), "{node}: {said}");
    }
}

fn one_flock(cluster: &Cluster) {
    FOUR.iter().for_each(|node| drop(cluster.until(node, "one flock", |status| status["members"] == names(&FOUR))));
}

/// Waits until all four keep the views that they have for this long. On a busy machine a quarter of the timers is short even
/// for who is well, so it need not be at once; but a flock that does not come to rest fails.
fn rest(cluster: &Cluster, how_long: Duration, wanted: &dyn Fn(&[Value]) -> bool) -> Vec<Value> {
    let views = || FOUR.iter().map(|node| cluster.status(node)).collect::<Option<Vec<Value>>>();
    let told = |all: &[Value]| all.iter().map(|status| status["view"].clone()).collect::<Vec<Value>>();
    let began = Instant::now();
    let mut since: Option<(Instant, Vec<Value>)> = None;
    loop {
        if let Some(now) = views().filter(|now| wanted(now)) {
            match &since {
                Some((at, before)) if *before == told(&now) => {
                    if at.elapsed() >= how_long {
                        return now;
                    }
                }
                _ => since = Some((Instant::now(), told(&now))),
            }
        } else {
            since = None;
        }
        assert!(began.elapsed() < LIMIT, "no rest: {since:#?}");
        std::thread::sleep(Duration::from_millis(100)); // waits: between two looks
    }
}

/// The end of a broken pair that stays in the larger flock has no link with the other end's, and yet whoever asks it hears of
/// that flock: the other members say it.
#[test]
fn both_ends_of_a_broken_pair_tell_of_both_flocks_and_of_the_pair() {
    let cluster = Cluster::up(4);
    cluster.ok(&["lab", "cut", "n1", "n2"]);
    tell_of_the_pair(&cluster);
    cluster.ok(&["lab", "heal"]);
    one_flock(&cluster);
}

#[test]
fn a_pair_that_reaches_one_way_only_is_a_broken_pair_and_comes_to_rest() {
    let cluster = Cluster::up(4);
    assert_eq!(cluster.ok(&["lab", "oneway", "n2", "n1"]), "what n2 sends to n1 is lost\n");
    tell_of_the_pair(&cluster);
    // One of the two is alone, or with who did not find the others; all others are with one of the two.
    let parted = |all: &[Value]| {
        let part = |status: &Value| status["members"].as_array().unwrap().len();
        all.iter().all(|status| status["stable"] == true)
            && all[0]["flock"] != all[1]["flock"]
            && all[2..].iter().all(|other| [&all[0], &all[1]].iter().any(|end| end["members"] == other["members"]))
            && part(&all[0]) + part(&all[1]) == 4
    };
    rest(&cluster, Duration::from_secs(5), &parted);
    cluster.ok(&["lab", "heal"]);
    one_flock(&cluster);
}

#[test]
fn a_tenth_of_loss_changes_no_view_and_what_is_all_loss_leaves_everybody_alone() {
    let cluster = Cluster::up(4);
    one_flock(&cluster);
    assert_eq!(cluster.ok(&["lab", "loss", "10"]), "10 % of all packets are lost in each direction\n");
    let whole = |all: &[Value]| all.iter().all(|status| status["members"] == names(&FOUR) && status["stable"] == true);
    rest(&cluster, Duration::from_secs(10), &whole);
    // The same switch, to its end: it is no empty word.
    cluster.ok(&["lab", "loss", "100"]);
    for node in FOUR {
        cluster.until(node, "itself alone", |status| status["members"] == names(&[node]));
    }
    cluster.ok(&["lab", "loss", "0"]);
    one_flock(&cluster);
}

#[test]
fn a_life_that_forgot_its_number_begins_again_above_what_peers_know() {
    let cluster = Cluster::up(3);
    let state = cluster.socket("n3").parent().unwrap().to_owned();
    let boot = |status: &Value| {
        let seat = status["roster"].as_array().unwrap().iter().find(|seat| seat["name"] == "n3").cloned();
        seat.map(|seat| u64::from_str_radix(seat["boot"].as_str().unwrap(), 16).unwrap())
    };
    let now = boot(&cluster.status("n1").unwrap()).unwrap();
    cluster.ok(&["lab", "kill", "n3"]);
    // A life in the future: a clock that was wrong for a while.
    let ahead = now + 1_000_000;
    {
        let (store, _) =
            crux_node::store::Store::open(&state, &"dev".parse().unwrap(), &"n3".parse().unwrap()).unwrap();
        assert_eq!(store.next_boot(now, crux_names::Boot(ahead)).0, ahead);
    }
    cluster.ok(&["lab", "start", "n3"]);
    cluster.until("n1", "n3's life ahead of the clock", |status| boot(status) > Some(ahead));
    let known = boot(&cluster.status("n1").unwrap()).unwrap();
    // And the disk is lost, the clock right again.
    cluster.ok(&["lab", "kill", "n3"]);
    std::fs::remove_file(state.join("facts.redb")).unwrap();
    cluster.ok(&["lab", "start", "n3"]);
    let wanted = |status: &Value| boot(status) > Some(known) && status["members"] == names(&["n1", "n2", "n3"]);
    cluster.until("n1", "n3 above what its peers knew", wanted);
    cluster.until("n3", "the demo service again", |status| demo(status) == (3, 3, 3));
}

/// What scripts do: they begin to wait before anything runs.
#[test]
fn who_waits_before_a_cluster_is_there_sees_it_come() {
    let home = Cluster::home();
    let limit = format!("{}s", LIMIT.as_secs());
    let mut waiting = crux(home.path()).args(["wait", "--members", "2", "--timeout", &limit]).spawn().unwrap();
    let _cluster = Cluster::up_in(home, 2);
    assert!(waiting.wait().unwrap().success());
}
