//! A real driver with a real engine, links, store and effects, and a service manager that hears whether it lives.

use super::*;
use crate::anew::Anew;
use crate::ask::Asker;
use crate::effects::{Effects, EffectsConfig};
use crate::live::Live;
use crate::metrics::Meters;
use crate::papers::Papers;
use crate::peers::Peers;
use crate::store::Store;
use crate::turned_away::TurnedAway;
use crux_core::{engine, flock};
use crux_link::{LinkConfig, Links};
use crux_pki::{Ca, IssueRequest, Role};
use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc as blocking;
use tokio::runtime::Handle;

/// Generous: what is waited for takes milliseconds.
const LIMIT: Duration = Duration::from_secs(60);
/// How often the loop says that it goes round.
const BEAT: Duration = Duration::from_millis(20);

/// A service manager.
struct Manager(UnixDatagram);

impl Manager {
    /// Every word that has arrived.
    fn heard(&self) -> Vec<String> {
        let mut words = Vec::new();
        let mut bytes = [0; 512];
        loop {
            match self.0.recv(&mut bytes) {
                Ok(len) => words.push(String::from_utf8(bytes[..len].to_vec()).unwrap()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return words,
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn beats(&self) -> usize {
        self.heard().iter().filter(|word| word.contains("WATCHDOG=1")).count()
    }

    async fn hears_beats(&self, number: usize) {
        let (mut beats, limit) = (0, Instant::now() + LIMIT);
        while beats < number {
            assert!(Instant::now() < limit, "{beats} beats, not {number}");
            tokio::time::sleep(BEAT / 4).await; // waits: between two looks
            beats += self.beats();
        }
    }
}

/// What a test holds of a driver that runs.
struct Rig {
    asks: mpsc::Sender<Ask>,
    stops: mpsc::Sender<Stop>,
    driver: tokio::task::JoinHandle<End>,
}

/// A lone fulcrum whose driver runs on the present runtime.
async fn run(state: &Path, notifier: Notifier) -> Rig {
    let mut ca = Ca::in_memory("acme".parse().unwrap()).unwrap();
    let bundle = ca.issue(IssueRequest::new(Role::Node("n1".parse().unwrap()))).unwrap();
    let papers = Papers::new(bundle.clone()).unwrap();
    let me = Member { id: "n1".parse().unwrap(), boot: Boot(1) };
    let bloc = bundle.identity().bloc.clone();
    let (links_in, link_events) = mpsc::channel(LINK_EVENTS);
    let links =
        Links::bind(LinkConfig::new(bundle.clone(), "127.0.0.1:0".parse().unwrap(), me.boot), links_in).await.unwrap();
    let (reports_in, reports) = mpsc::channel(REPORTS);
    let (asks_in, asks) = mpsc::channel(ASKS);
    let (changed_in, changed) = watch::channel(0);
    let peers = Peers::new(links.clone(), Asker::new(asks_in.clone(), changed), Handle::current());
    let (store, _) = Store::open(state, &bloc, &me.id).unwrap();
    let effects = EffectsConfig {
        state: state.to_owned(),
        exe: std::env::current_exe().unwrap(),
        fulcrum: me.id.clone(),
        reports: reports_in.clone(),
        open: peers.opener(),
        runtime: Handle::current(),
    };
    let (effects, _) = Effects::start(effects).await.unwrap();
    let (inbox, checked) = Inbox::new(papers.follow(), peers, TurnedAway::default(), Anew::default());
    let live = Live::new(me.clone(), &papers, Arc::new(|_| None), mpsc::channel(1).0, Handle::current());
    let clock = Clock::start();
    let flock = flock::Config {
        bloc,
        me: me.clone(),
        addr: links.local_addr(),
        seed: 7,
        timers: 1_000,
        expect: Some(1),
        seeds: Vec::new(),
        book: Arc::default(),
        visitor: false,
    };
    let certificate = crux_pki::facts::certificate(&bundle);
    let config = engine::Config { flock, certificate, capacity: None, seen: BTreeMap::new() };
    let engine = Engine::new(clock.now().time, config);
    let hands = Hands {
        me: me.id.clone(),
        identity: papers.follow(),
        papers: papers.clone(),
        links,
        live,
        store: Arc::new(store),
        effects,
        reports: reports_in,
    };
    let events = Events::new(Meters::new(), me.boot);
    let driver = Driver::new(engine, clock, hands, inbox, events, changed_in, notifier, Some(1));
    let (stops, wishes) = mpsc::channel(2);
    let mut channels = Channels {
        links: link_events,
        reports,
        checked,
        asks,
        seeds: mpsc::channel(1).1,
        probes: mpsc::channel(1).1,
        gone: mpsc::channel(1).1,
        identity: papers.follow(),
        stops: wishes,
    };
    let adopted = Report::Adopted { instances: Vec::new(), ended: Vec::new(), told: Vec::new() };
    let first = vec![Input::Loaded { versions: Vec::new() }, Input::Report(adopted)];
    Rig { asks: asks_in, stops, driver: tokio::spawn(async move { driver.run(first, &mut channels).await }) }
}

/// It is the loop itself that says so, and no other thread in its place.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_loop_that_is_held_up_says_nothing_while_everything_else_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let manager = Manager(UnixDatagram::bind(&path).unwrap());
    manager.0.set_nonblocking(true).unwrap();
    let rig = run(&dir.path().join("state"), Notifier::to(Some(path.into_os_string()), Some(BEAT))).await;
    manager.hears_beats(3).await;

    let (entered, inside) = blocking::channel();
    let (release, held) = blocking::channel::<()>();
    let look: crate::ask::Look = Box::new(move |_, _| {
        entered.send(()).unwrap();
        // Until the test lets go, or has failed.
        let _ = held.recv_timeout(LIMIT);
    });
    assert!(rig.asks.send(Ask::Look(look)).await.is_ok(), "the driver runs");
    inside.recv_timeout(LIMIT).expect("the loop looks");
    manager.heard();
    // The runtime is as lively as ever.
    let turns = Arc::new(AtomicUsize::new(0));
    let counted = turns.clone();
    let other = tokio::spawn(async move {
        loop {
            tokio::time::sleep(BEAT).await; // waits: as long as a beat, to be counted
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    let limit = Instant::now() + LIMIT;
    while turns.load(Ordering::Relaxed) < 20 {
        assert!(Instant::now() < limit, "nothing else goes on");
        tokio::time::sleep(BEAT).await; // waits: between two looks
    }
    other.abort();
    assert_eq!(manager.heard(), Vec::<String>::new(), "the loop stands still and something is said");

    release.send(()).unwrap();
    manager.hears_beats(3).await;
    assert!(rig.stops.send(Stop { services: false }).await.is_ok(), "the driver runs");
    let end = tokio::time::timeout(LIMIT, rig.driver).await.expect("it ends").unwrap();
    assert_eq!(end, End::Finished);
    assert!(manager.heard().iter().any(|word| word.contains("STOPPING=1")));
}
