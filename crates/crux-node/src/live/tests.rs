//! Real sockets on loopback; the process that dies is a real one: this test program, started once more.

use super::*;
use crate::metrics::Meters;
use crate::port::{Rooms, bind, serve};
use axum::Router;
use crux_names::Boot;
use crux_pki::{Bundle, Ca, IssueRequest, Role};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::watch as watching;
use tokio::time::Instant;

/// Generous: what is waited for takes milliseconds.
const LIMIT: Duration = Duration::from_secs(60);
/// Tells the child which bundle is its own.
const BUNDLE: &str = "CRUX_TEST_LIVE_BUNDLE";

fn member(name: &str) -> Member {
    Member { id: name.parse().unwrap(), boot: Boot(1) }
}

/// A CA and a bundle for each node.
fn bundles(dir: &Path, names: &[&str]) -> Vec<PathBuf> {
    let mut ca = Ca::in_memory("acme".parse().unwrap()).unwrap();
    let one = |name: &&str| {
        let to = dir.join(name);
        ca.issue(IssueRequest::new(Role::Node(name.parse().unwrap()))).unwrap().save(&to).unwrap();
        to
    };
    names.iter().map(one).collect()
}

/// A fulcrum that has an API port and idle connections, and nothing else.
struct Half {
    live: Live,
    hints: mpsc::Receiver<Member>,
    addr: SocketAddr,
    stop: watching::Sender<bool>,
}

impl Half {
    fn start(name: &str, bundle: &Path, find: impl Fn(&Member) -> Option<SocketAddr> + Send + Sync + 'static) -> Self {
        let bundle = Bundle::load(bundle).unwrap();
        let papers = Papers::new(bundle).unwrap();
        let (hints_in, hints) = mpsc::channel(HINTS);
        let live = Live::new(member(name), &papers, Arc::new(find), hints_in, Handle::current());
        let listener = bind("api", "127.0.0.1:0".parse().unwrap()).unwrap();
        let addr = listener.local_addr().unwrap();
        let rooms = Rooms::new(&papers, Router::new(), live.clone(), Meters::new());
        let (stop, stopped) = watching::channel(false);
        tokio::spawn(serve(TcpListener::from_std(listener).unwrap(), rooms, stopped));
        Self { live, hints, addr, stop }
    }

    async fn accepts(&self, count: usize) {
        let began = Instant::now();
        while self.live.accepted() != count {
            assert!(began.elapsed() < LIMIT, "{} connections instead of {count}", self.live.accepted());
            tokio::time::sleep(Duration::from_millis(5)).await; // waits: between two looks
        }
    }

    async fn hint(&mut self) -> Member {
        tokio::time::timeout(LIMIT, self.hints.recv()).await.expect("a hint").expect("an open channel")
    }
}

#[test]
#[ignore = "the child of the tests beside it"]
fn a_peer_that_will_be_killed() {
    let Some(bundle) = std::env::var_os(BUNDLE) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let half = Half::start("n2", Path::new(&bundle), |_| None);
        println!("listens {}", half.addr);
        half.accepts(1).await;
        println!("keeps one");
        std::future::pending::<()>().await;
    });
}

/// The process that will die, where it listens, and what it says when it keeps a connection.
fn peer(bundle: &Path) -> (Child, SocketAddr, std::sync::mpsc::Receiver<()>) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "live::tests::a_peer_that_will_be_killed", "--ignored", "--nocapture"]);
    let mut child = command.env(BUNDLE, bundle).stdout(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let addr = lines.find_map(|line| Some(line.split_once("listens ")?.1.parse().unwrap())).expect("it listens");
    let (keeps, kept) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for _ in lines.filter(|line| line.contains("keeps one")) {
            keeps.send(()).unwrap();
        }
    });
    (child, addr, kept)
}

#[tokio::test]
async fn a_killed_process_is_noticed_at_once_and_again_when_nobody_listens_there() {
    let dir = tempfile::tempdir().unwrap();
    let paths = bundles(dir.path(), &["n1", "n2"]);
    let (mut child, addr, kept) = peer(&paths[1]);
    let mut one = Half::start("n1", &paths[0], move |_| Some(addr));
    one.live.watch(vec![member("n1"), member("n2")]);
    tokio::task::spawn_blocking(move || kept.recv_timeout(LIMIT)).await.unwrap().expect("a connection");
    assert!(one.hints.try_recv().is_err(), "it lives");
    child.kill().unwrap();
    let killed = Instant::now();
    assert_eq!(one.hint().await, member("n2"));
    println!("noticed after {:?}", killed.elapsed());
    assert_eq!(one.hint().await, member("n2"), "dialled again, nobody listens there");
    child.wait().unwrap();
}

#[tokio::test]
async fn the_lower_one_dials_and_the_higher_one_only_where_it_is_not_watched() {
    let dir = tempfile::tempdir().unwrap();
    let paths = bundles(dir.path(), &["n1", "n2"]);
    let places: Arc<Mutex<BTreeMap<String, SocketAddr>>> = Arc::default();
    let find = || {
        let places = places.clone();
        move |member: &Member| places.lock().unwrap().get(&member.id.to_string()).copied()
    };
    let mut one = Half::start("n1", &paths[0], find());
    let mut two = Half::start("n2", &paths[1], find());
    places.lock().unwrap().extend([("n1".to_owned(), one.addr), ("n2".to_owned(), two.addr)]);
    // Only the higher one watches: it dials after a moment.
    two.live.watch(vec![member("n1")]);
    one.accepts(1).await;
    two.live.watch(vec![]);
    one.accepts(0).await;
    // Both watch: one connection, the lower one's.
    one.live.watch(vec![member("n2")]);
    two.accepts(1).await;
    two.live.watch(vec![member("n1")]);
    tokio::time::sleep(dial::GRACE + Duration::from_millis(500)).await; // waits: past the grace, to judge that no second comes
    assert_eq!((one.live.accepted(), two.live.accepted()), (0, 1));
    // What ends on purpose is no hint, on neither side.
    one.live.watch(vec![]);
    two.accepts(0).await;
    one.live.watch(vec![member("n2")]);
    two.accepts(1).await;
    one.live.end().await;
    two.accepts(0).await;
    assert!(one.hints.try_recv().is_err() && two.hints.try_recv().is_err());
    let _ = one.stop.send(true);
    let _ = two.stop.send(true);
}

#[tokio::test]
async fn one_node_keeps_only_so_many_and_the_oldest_goes() {
    let dir = tempfile::tempdir().unwrap();
    let paths = bundles(dir.path(), &["n1", "n2"]);
    let two = Half::start("n2", &paths[1], |_| None);
    let addr = two.addr;
    let mut ones = Vec::new();
    for boot in 0..PER_NODE + 2 {
        let one = Half::start("n1", &paths[0], move |_| Some(addr));
        one.live.watch(vec![member("n2")]);
        two.accepts((boot + 1).min(PER_NODE)).await;
        ones.push(one);
    }
    assert_eq!(two.live.accepted(), PER_NODE);
    assert!(ones[0].hints.try_recv().is_err(), "it was told goodbye");
}
