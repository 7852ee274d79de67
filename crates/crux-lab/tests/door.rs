//! Strangers, wrong papers and floods: nobody without a certificate of this bloc becomes a member or disturbs one, and who
//! is refused reads why in its own log.

use crux_lab::{Lab, until};
use crux_names::NodeName;
use crux_pki::{Bundle, Ca, IssueRequest, Role, RoleKind, unix_now};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, Endpoint, EndpointConfig, TokioRuntime, UdpPoller};
use serde_json::json;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);
const DAY: u64 = 86_400;

/// Waits until a machine's own log has one of these words.
fn reads(lab: &Lab, at: usize, words: &[&str]) {
    let told = until(LIMIT, || {
        let log = lab.log(at).to_lowercase();
        words.iter().any(|word| log.contains(word))
    });
    assert!(told.is_ok(), "n{} does not read {words:?} in its log: {}", at + 1, lab.said(&[at]));
}

/// A bundle for a machine's node, for one day, as if it were issued at that moment;
/// its life is counted from a while before, for clocks that are behind.
fn issued_at(lab: &Lab, node: &str, moment: u64, out: &str) {
    let mut ca = Ca::open(Path::new(&lab.path("ca"))).expect("the lab's CA");
    let role = Role::Node(NodeName::parse(node).expect("a name"));
    let bundle = ca.issue_at(IssueRequest { days: 1, ..IssueRequest::new(role) }, moment).expect("a bundle");
    bundle.save(Path::new(&lab.path(out))).expect("a directory for it");
}

fn seeds(lab: &Lab) -> Vec<String> {
    (0..2).flat_map(|at| ["--seed".to_owned(), format!("{}:2789", lab.network().addr(at))]).collect()
}

#[test]
fn strangers_and_wrong_papers_are_refused_and_read_why() {
    let Some(mut lab) = Lab::or_skip(7) else { return };
    // Of the same bloc by its name, but from another root; and of another bloc altogether.
    for (bloc, ca, node, id) in [("lab", "foreign", "n3", "foreign3"), ("other", "elsewhere", "n4", "elsewhere4")] {
        lab.must(&["ca", "init", "--bloc", bloc, "--out", &lab.path(ca)]);
        lab.must(&["ca", "issue", "--ca", &lab.path(ca), "--node", node, "--out", &lab.path(id)]);
    }
    issued_at(&lab, "n5", unix_now() - 3 * DAY, "expired5");
    let (pair, seeds) = ([0, 1], seeds(&lab));
    pair.iter().for_each(|at| lab.up(*at));
    lab.await_flock(&pair, true, LIMIT);
    let view = lab.json(0, &["confab"])["view"].clone();

    for (at, identity) in [(2, "foreign3"), (3, "elsewhere4"), (4, "expired5"), (5, "ops")] {
        lab.up_as(at, identity, &seeds);
    }
    // An operator's certificate and an ended one are seen at the start: those two end with a reason.
    assert_ne!(lab.await_end(5, LIMIT), Some(0));
    reads(&lab, 5, &["operator"]);
    assert_ne!(lab.await_end(4, LIMIT), Some(0));
    reads(&lab, 4, &["expired", "ended"]);
    for at in [2, 3] {
        reads(&lab, at, &["refuse"]);
        let alone = until(LIMIT, || lab.json(at, &["confab"])["members"] == json!([format!("n{}", at + 1)]));
        assert!(alone.is_ok(), "a stranger is not alone: {}", lab.said(&[at]));
        let seen = until(LIMIT, || {
            let outside = lab.json(at, &["flocks"])["outside"].as_array().cloned().unwrap_or_default();
            outside
                .iter()
                .any(|line| line["state"] != "silent" && line["reason"].as_str().is_some_and(|why| !why.is_empty()))
        });
        assert!(seen.is_ok(), "n{} does not show why: {}", at + 1, lab.json(at, &["flocks"]));
        // And the pair shows who knocks, though nobody ever told it to look there.
        let addr = format!("{}:2789", lab.network().addr(at));
        let state = if at == 2 { "refused" } else { "other-bloc" };
        let knocked = until(LIMIT, || {
            let outside = lab.json(0, &["flocks"])["outside"].as_array().cloned().unwrap_or_default();
            outside.iter().any(|line| line["addr"] == addr.as_str() && line["state"] == state)
        });
        assert!(knocked.is_ok(), "n1 does not show {addr}: {}", lab.json(0, &["flocks"]));
        assert_eq!(lab.json(0, &["why", "node", &addr])["state"], "refused");
    }

    // Papers that end while a member lives: it is cut off by the others at that moment, and says so.
    issued_at(&lab, "n7", unix_now() - DAY + crux_pki::BACKDATE + 20, "ending7");
    lab.up_as(6, "ending7", &seeds);
    lab.await_flock(&[0, 1, 6], false, LIMIT);
    lab.await_flock(&pair, false, LIMIT);
    reads(&lab, 6, &["expired", "ended"]);

    // Nobody of these disturbed the pair: its views are those with and without n7.
    assert_eq!(lab.json(0, &["confab"])["members"], json!(["n1", "n2"]));
    let named = lab.events(0).into_iter().filter(|event| event["event"] == "member-joined");
    let named: Vec<_> =
        named.map(|event| event["subject"].clone()).filter(|name| *name != "n2" && *name != "n1").collect();
    assert_eq!(named, [json!("n7")], "the first view was {view}");
}

#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Sends nothing and hears nothing, but remembers what should have been sent.
#[derive(Debug, Default)]
struct Tap(Mutex<Vec<Vec<u8>>>);

impl AsyncUdpSocket for Tap {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.0.lock().unwrap().push(transmit.contents.to_vec());
        Ok(())
    }

    fn poll_recv(&self, _: &mut Context<'_>, _: &mut [IoSliceMut<'_>], _: &mut [RecvMeta]) -> Poll<io::Result<usize>> {
        Poll::Pending
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(SocketAddr::from(([127, 0, 0, 1], 1)))
    }

    fn max_transmit_segments(&self) -> usize {
        1
    }
}

/// First words of that many links that a stranger begins, true Initials each, as a file for `junk`.
async fn first_words(stranger: &Bundle, count: usize) -> Vec<u8> {
    let tap = Arc::new(Tap::default());
    let trust = Arc::new(stranger.trust().clone());
    let tls = crux_pki::client_config(stranger, trust, &[RoleKind::Node], &[b"crux-mesh/1"]).unwrap();
    let mut config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let mut transport = quinn::TransportConfig::default();
    transport.initial_mtu(1200).mtu_discovery_config(None);
    config.transport_config(Arc::new(transport));
    let mut endpoint =
        Endpoint::new_with_abstract_socket(EndpointConfig::default(), None, tap.clone(), Arc::new(TokioRuntime))
            .unwrap();
    endpoint.set_default_client_config(config);
    let target = SocketAddr::from(([127, 0, 0, 1], 2));
    let _connecting: Vec<_> = (0..count).map(|_| endpoint.connect(target, "crux").unwrap()).collect();
    let begin = Instant::now();
    while tap.0.lock().unwrap().len() < count {
        assert!(begin.elapsed() < LIMIT, "no first words");
        tokio::time::sleep(Duration::from_millis(5)).await; // waits: for the drivers of the connections
    }
    let words = tap.0.lock().unwrap();
    words.iter().flat_map(|one| (one.len() as u16).to_be_bytes().into_iter().chain(one.iter().copied())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_at_the_door_moves_no_member_and_keeps_nobody_out() {
    let Some(mut lab) = Lab::or_skip(5) else { return };
    let mut foreign = Ca::in_memory(crux_names::BlocName::parse("other").unwrap()).unwrap();
    let stranger = foreign.issue(IssueRequest::new(Role::Node(NodeName::parse("x").unwrap()))).unwrap();
    std::fs::write(lab.path("words"), first_words(&stranger, 500).await).expect("a file");
    let three = [0, 1, 2];
    three.iter().for_each(|at| lab.up(*at));
    lab.await_flock(&three, true, LIMIT);
    let before = lab.json(0, &["confab"]);
    let resident = |lab: &Lab, at: usize| {
        let pid = lab.pid(at).expect("it runs");
        let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
        statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
    };
    let at_rest = resident(&lab, 0);

    // From the namespace of a stranger, at every member; as much as two shared cores let through.
    let mut floods: Vec<_> = three
        .iter()
        .map(|at| {
            let mut command = lab.network().command(4, Path::new(env!("CARGO_BIN_EXE_junk")));
            command.args([format!("{}:2789", lab.network().addr(*at)), lab.path("words"), "1500".into()]);
            command.spawn().expect("junk starts")
        })
        .collect();
    let received = lab.network().octets()[0].received;
    let flooded = until(LIMIT, || lab.network().octets()[0].received > received + 4_000_000);
    assert!(flooded.is_ok(), "that is no flood");
    let same = lab.json(0, &["confab"]);
    let joined = Instant::now();
    lab.up(3);
    let all = [0, 1, 2, 3];
    let took = until(LIMIT, || lab.one_flock(&all, false));
    for flood in &mut floods {
        flood.kill().and_then(|()| flood.wait().map(drop)).expect("junk ends");
    }
    assert!(took.is_ok(), "n4 is kept out by a flood: {}", lab.said(&all));
    eprintln!("joined in a flood after {:.2} s", joined.elapsed().as_secs_f64());
    assert!(joined.elapsed() < Duration::from_secs(15), "D2: {:?}", joined.elapsed());
    assert_eq!((&same["view"], &same["leader"]), (&before["view"], &before["leader"]), "a flood moved a member");
    assert_eq!(lab.json(0, &["confab"])["leader"], before["leader"]);
    let more = resident(&lab, 0).saturating_sub(at_rest);
    eprintln!("{:.1} MB more in a flood", more as f64 / 1e6);
    assert!(more < 128 << 20, "D1: {more} octets more");
    lab.await_flock(&all, true, LIMIT);
}
