//! Links over real loopback sockets.

use bytes::Bytes;
use crux_link::{DialFailure, FaultGate, LinkConfig, LinkEvent, LinkInfo, Links, RecvStream, Room, Rule, SendStream};
use crux_names::{BlocName, Boot, FulcrumName, Member, NodeName, OperatorName};
use crux_pki::{Bundle, Ca, IssueRequest, Role, unix_now};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Generous: nothing here takes so long unless it is broken.
const PATIENCE: Duration = Duration::from_secs(20);
const DAY: u64 = 86_400;

fn any() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn ca(bloc: &str) -> Ca {
    Ca::in_memory(BlocName::parse(bloc).unwrap()).unwrap()
}

fn node(name: &str) -> Role {
    Role::Node(NodeName::parse(name).unwrap())
}

fn bundle(ca: &mut Ca, name: &str) -> Bundle {
    let mut request = IssueRequest::new(node(name));
    request.labels.insert("zone".to_owned(), format!("zone-of-{name}"));
    ca.issue(request).unwrap()
}

/// A fulcrum's links with the events that came out, some of them set aside.
struct End {
    links: Links,
    events: mpsc::Receiver<LinkEvent>,
    seen: Vec<LinkEvent>,
}

impl End {
    async fn with(cfg: LinkConfig) -> Self {
        let (sender, events) = mpsc::channel(1_024);
        Self { links: Links::bind(cfg, sender).await.unwrap(), events, seen: Vec::new() }
    }

    async fn new(ca: &mut Ca, name: &str) -> Self {
        Self::with(LinkConfig::new(bundle(ca, name), any(), Boot(1))).await
    }

    fn me(&self) -> Member {
        self.links.member().clone()
    }

    fn addr(&self) -> SocketAddr {
        self.links.local_addr()
    }

    /// The next event for which `want` gives something; those before it are set aside.
    async fn wait<T>(&mut self, what: &str, mut want: impl FnMut(&LinkEvent) -> Option<T>) -> T {
        let found = tokio::time::timeout(PATIENCE, async {
            loop {
                let mut event = self.events.recv().await.expect("links are running");
                handled(&mut event);
                let found = want(&event);
                self.seen.push(event);
                if let Some(found) = found {
                    return found;
                }
            }
        });
        match found.await {
            Ok(found) => found,
            Err(_) => panic!("{}: no {what}, but {:?}", self.me(), self.seen),
        }
    }

    async fn up(&mut self) -> crux_link::PeerInfo {
        self.wait("Up", |e| if let LinkEvent::Up { peer, .. } = e { Some(peer.clone()) } else { None }).await
    }

    async fn down(&mut self) -> (Member, String) {
        self.wait(
            "Down",
            |e| if let LinkEvent::Down { peer, why } = e { Some((peer.clone(), why.clone())) } else { None },
        )
        .await
    }

    async fn failed(&mut self) -> DialFailure {
        self.wait("DialFailed", |e| if let LinkEvent::DialFailed { why, .. } = e { Some(why.clone()) } else { None })
            .await
    }

    async fn refused(&mut self) -> String {
        self.wait("Refused", |e| if let LinkEvent::Refused { reason, .. } = e { Some(reason.clone()) } else { None })
            .await
    }

    /// What has come so far without waiting, with what was set aside.
    fn all(&mut self) -> &[LinkEvent] {
        while let Ok(mut event) = self.events.try_recv() {
            handled(&mut event);
            self.seen.push(event);
        }
        &self.seen
    }

    fn ups(&mut self) -> usize {
        self.all().iter().filter(|e| matches!(e, LinkEvent::Up { .. })).count()
    }

    fn downs(&mut self) -> usize {
        self.all().iter().filter(|e| matches!(e, LinkEvent::Down { .. })).count()
    }
}

/// What is only set aside to be looked at was handled.
fn handled(event: &mut LinkEvent) {
    if let LinkEvent::Frame { room, .. } = event {
        *room = Room::default();
    }
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await; // waits: until the condition holds, PATIENCE at most
    }
}

async fn pair(ca: &mut Ca) -> (End, End) {
    let (mut a, mut b) = (End::new(ca, "a").await, End::new(ca, "b").await);
    a.links.dial(b.addr());
    a.up().await;
    b.up().await;
    (a, b)
}

#[tokio::test]
async fn both_sides_learn_who_the_other_is() {
    let mut ca = ca("acme");
    let mut cfg = LinkConfig::new(bundle(&mut ca, "a"), any(), Boot(7));
    (cfg.fulcrum, cfg.api_port) = (FulcrumName::parse("x").unwrap(), 4_000);
    let mut a = End::with(cfg).await;
    let mut b = End::new(&mut ca, "b").await;
    a.links.dial(b.addr());
    let (seen_by_a, seen_by_b) = (a.up().await, b.up().await);
    assert_eq!((&seen_by_a.member, seen_by_a.addr), (&b.me(), b.addr()));
    assert_eq!((&seen_by_b.member, seen_by_b.addr, seen_by_b.api_port), (&a.me(), a.addr(), 4_000));
    assert_eq!(seen_by_b.member.to_string(), "a/x@7");
    assert_eq!((seen_by_b.admission, seen_by_b.labels["zone"].as_str()), (1, "zone-of-a"));
    assert!(seen_by_b.not_after > unix_now() + 300 * DAY);
    let links = a.links.links();
    assert_eq!((links.len(), links[0].dialed, b.links.links()[0].dialed), (1, true, false));
    assert!(links[0].tx_bytes > 0 && links[0].rx_bytes > 0);
}

#[tokio::test]
async fn frames_keep_their_order_and_datagrams_pass() {
    let mut ca = ca("acme");
    let (mut a, mut b) = pair(&mut ca).await;
    for round in 0..500_u32 {
        let mut frame = round.to_be_bytes().to_vec();
        frame.resize(4 + (round as usize * 37) % 2_000, 0);
        assert!(a.links.send_frame(&b.me(), frame.into()));
        assert!(b.links.send_frame(&a.me(), Bytes::copy_from_slice(&round.to_be_bytes())));
    }
    let (me_a, me_b) = (a.me(), b.me());
    for (end, from) in [(&mut b, me_a), (&mut a, me_b)] {
        for round in 0..500_u32 {
            let (peer, bytes) = end
                .wait("Frame", |e| match e {
                    LinkEvent::Frame { peer, bytes, .. } => Some((peer.clone(), bytes.clone())),
                    _ => None,
                })
                .await;
            assert_eq!((peer, &bytes[..4]), (from.clone(), &round.to_be_bytes()[..]));
        }
    }
    let big = Bytes::from(vec![7; crux_link::FRAME_MAX]);
    assert!(a.links.send_frame(&b.me(), big.clone()));
    assert!(!a.links.send_frame(&b.me(), vec![0; crux_link::FRAME_MAX + 1].into()));
    b.wait("big frame", |e| matches!(e, LinkEvent::Frame { bytes, .. } if *bytes == big).then_some(())).await;

    assert!(a.links.max_datagram(&b.me()).unwrap() >= 1_100);
    let datagram = Bytes::from(vec![3; 1_100]);
    assert!(a.links.send_datagram(&b.me(), datagram.clone()));
    b.wait("datagram", |e| matches!(e, LinkEvent::Datagram { bytes, .. } if *bytes == datagram).then_some(())).await;
    assert!(!a.links.send_datagram(&b.me(), vec![0; 100_000].into()));
    let stranger = Member { boot: Boot(99), ..b.me() };
    assert!(!a.links.send_frame(&stranger, Bytes::new()) && !a.links.send_datagram(&stranger, Bytes::new()));
    assert_eq!((a.downs(), b.downs()), (0, 0));
}

#[tokio::test]
async fn a_full_queue_ends_the_link_with_that_reason() {
    let mut ca = ca("acme");
    let (mut a, mut b) = pair(&mut ca).await;
    let frame = Bytes::from(vec![0; 512 << 10]);
    // Without a pause for the writer the queue must fill, whatever the other side does.
    while a.links.send_frame(&b.me(), frame.clone()) {}
    assert!(a.down().await.1.contains("too many frames waited"));
    assert!(b.down().await.1.contains("too many frames waited"));
}

#[tokio::test]
async fn a_bulk_stream_carries_a_file() {
    let mut ca = ca("acme");
    let (a, mut b) = pair(&mut ca).await;
    let content: Vec<u8> = (0..5_000_000_u32).map(|i| i as u8).collect();
    let (mut send, mut answer): (SendStream, RecvStream) = a.links.open_bulk(&b.me()).await.unwrap();
    let sent = content.clone();
    let sending = tokio::spawn(async move {
        send.write_all(&sent).await.unwrap();
        send.finish().unwrap();
        answer.read_to_end(10).await.unwrap()
    });
    let (mut send, mut recv) = loop {
        if let LinkEvent::Bulk { peer, send, recv } = b.events.recv().await.unwrap() {
            assert_eq!(peer, a.me());
            break (send, recv);
        }
    };
    assert!(recv.read_to_end(6_000_000).await.unwrap() == content);
    send.write_all(b"thanks").await.unwrap();
    send.finish().unwrap();
    assert_eq!(sending.await.unwrap(), b"thanks");
    let stranger = Member { boot: Boot(99), ..b.me() };
    assert!(a.links.open_bulk(&stranger).await.unwrap_err().to_string().contains("no link to b@63"));
}

/// Dials an honest fulcrum of bloc acme with this one's bundle and gives both sides' words.
async fn refusal(dialler: Bundle, honest_ca: &mut Ca) -> (DialFailure, String) {
    let mut honest = End::new(honest_ca, "honest").await;
    let mut other = End::with(LinkConfig::new(dialler, any(), Boot(1))).await;
    other.links.dial(honest.addr());
    let why = other.failed().await;
    let at_the_door = honest.refused().await;
    assert_eq!((other.ups(), honest.ups()), (0, 0));
    assert!(other.links.links().is_empty() && honest.links.links().is_empty());
    (why, at_the_door)
}

#[tokio::test]
async fn another_bloc_is_refused_in_words() {
    let (why, at_the_door) = refusal(bundle(&mut ca("other"), "n1"), &mut ca("acme")).await;
    // The dialler sees the certificate first, and refuses by itself.
    assert!(matches!(why, DialFailure::Rejected { .. }), "{why:?}");
    assert!(why.to_string().contains("certificate of bloc acme, but this is bloc other"), "{why}");
    assert!(at_the_door.contains("it refuses us: certificate of bloc acme"), "{at_the_door}");
}

#[tokio::test]
async fn another_root_is_refused_in_words() {
    let (why, _) = refusal(bundle(&mut ca("acme"), "n1"), &mut ca("acme")).await;
    let text = why.to_string();
    assert!(text.contains("none of the trusted roots") || text.contains("signature in the certificate"), "{text}");
}

#[tokio::test]
async fn an_expired_certificate_is_refused_in_words_at_the_dialler() {
    let mut ca = Ca::in_memory_at(BlocName::parse("acme").unwrap(), unix_now() - 100 * DAY).unwrap();
    let request = IssueRequest { days: 30, ..IssueRequest::new(node("late")) };
    let late = ca.issue_at(request, unix_now() - 50 * DAY).unwrap();
    let (why, at_the_door) = refusal(late, &mut ca).await;
    assert!(matches!(why, DialFailure::Refused { .. }), "{why:?}");
    assert!(why.to_string().starts_with("refused by 127.0.0.1:"), "{why}");
    assert!(why.to_string().contains("certificate expired 20 days ago"), "{why}");
    assert!(at_the_door.starts_with("certificate expired 20 days ago"), "{at_the_door}");
}

#[tokio::test]
async fn an_operator_has_no_place_in_the_mesh() {
    let mut ca = ca("acme");
    let operator = ca.issue(IssueRequest::new(Role::Operator(OperatorName::parse("ann").unwrap()))).unwrap();
    let (sender, _events) = mpsc::channel(1);
    let error = Links::bind(LinkConfig::new(operator.clone(), any(), Boot(1)), sender).await.err().unwrap();
    assert!(error.to_string().contains("only a node can join the mesh"), "{error}");

    // And if somebody builds a program that tries all the same:
    let mut honest = End::new(&mut ca, "honest").await;
    let trust = Arc::new(operator.trust().clone());
    let roles = [crux_pki::RoleKind::Node];
    let tls = crux_pki::client_config(&operator, trust, &roles, &[b"crux-mesh/1"]).unwrap();
    let quic = quinn::crypto::rustls::QuicClientConfig::try_from(tls).unwrap();
    let mut client = quinn::Endpoint::client(any()).unwrap();
    client.set_default_client_config(quinn::ClientConfig::new(Arc::new(quic)));
    if let Ok(connection) = client.connect(honest.addr(), "crux").unwrap().await {
        let ended = connection.closed().await.to_string();
        assert!(ended.contains("certificate of operator/ann, but only a node is admitted here"), "{ended}");
    }
    assert!(honest.refused().await.contains("operator/ann"));
    assert_eq!(honest.ups(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn simultaneous_dials_make_one_link_and_one_up_each() {
    let mut ca = ca("acme");
    for round in 0..30 {
        let (mut a, mut b) = (End::new(&mut ca, "a").await, End::new(&mut ca, "b").await);
        let (at_a, at_b) = (a.addr(), b.addr());
        a.links.dial(at_b);
        b.links.dial(at_a);
        a.up().await;
        b.up().await;
        // One of the two dials must still say that it was the one too many.
        let (me_a, me_b) = (a.me(), b.me());
        let already = |e: &LinkEvent| match e {
            LinkEvent::DialFailed { why, .. } => Some(why.clone()),
            _ => None,
        };
        let spare = tokio::time::timeout(PATIENCE, async {
            loop {
                if let Some(why) = a.all().iter().find_map(already) {
                    return (why, me_b.clone());
                }
                if let Some(why) = b.all().iter().find_map(already) {
                    return (why, me_a.clone());
                }
                tokio::time::sleep(Duration::from_millis(2)).await; // waits: for an event at either end, PATIENCE at most
            }
        });
        let (why, other) = spare.await.expect("one dial too many");
        assert_eq!(why, DialFailure::Already(other), "round {round}");
        assert!(a.links.send_frame(&me_b, Bytes::from_static(b"to b")));
        assert!(b.links.send_frame(&me_a, Bytes::from_static(b"to a")));
        a.wait("frame", |e| matches!(e, LinkEvent::Frame { .. }).then_some(())).await;
        b.wait("frame", |e| matches!(e, LinkEvent::Frame { .. }).then_some(())).await;
        assert_eq!((a.ups(), b.ups(), a.downs(), b.downs()), (1, 1, 0, 0), "round {round}");
        assert_eq!((a.links.links().len(), b.links.links().len()), (1, 1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_whole_flock_dials_at_once() {
    let mut ca = ca("acme");
    let mut ends = Vec::new();
    for n in 0..6 {
        ends.push(End::new(&mut ca, &format!("n{n}")).await);
    }
    let addrs: Vec<SocketAddr> = ends.iter().map(End::addr).collect();
    for end in &ends {
        addrs.iter().for_each(|addr| end.links.dial(*addr));
    }
    for end in &mut ends {
        while end.ups() < 5 {
            end.up().await;
        }
        let own = end.all().iter().any(|e| matches!(e, LinkEvent::DialFailed { why: DialFailure::Myself, .. }));
        if !own {
            end.wait("Myself", |e| matches!(e, LinkEvent::DialFailed { why: DialFailure::Myself, .. }).then_some(()))
                .await;
        }
    }
    for end in &mut ends {
        assert_eq!((end.ups(), end.downs(), end.links.links().len()), (5, 0, 5));
    }
}

#[tokio::test]
async fn dialling_again_keeps_the_link() {
    let mut ca = ca("acme");
    let (mut a, mut b) = pair(&mut ca).await;
    a.links.dial(b.addr());
    assert_eq!(a.failed().await, DialFailure::Already(b.me()));
    b.links.dial(a.addr());
    assert_eq!(b.failed().await, DialFailure::Already(a.me()));
    assert_eq!((a.ups(), b.ups(), a.downs(), b.downs()), (1, 1, 0, 0));
}

#[tokio::test]
async fn a_closed_link_tells_both_sides_why_and_can_be_dialled_again() {
    let mut ca = ca("acme");
    let (mut a, mut b) = pair(&mut ca).await;
    a.links.close(&b.me(), "expelled: b");
    assert_eq!(a.down().await, (b.me(), "expelled: b".to_owned()));
    assert_eq!(b.down().await, (a.me(), "closed by the peer: expelled: b".to_owned()));
    b.links.dial(a.addr());
    assert_eq!((a.up().await.member, b.up().await.member), (b.me(), a.me()));
    a.links.shutdown().await;
    assert_eq!(b.down().await.1, "closed by the peer: shutting down");
    b.links.dial(a.addr());
    // Nobody is there any more, or what is left of the closed links answers for a moment.
    let refused = DialFailure::Closed { by: a.addr() };
    let why = b.failed().await;
    assert!(why == DialFailure::Silent || why == refused, "{why}");
}

/// Each of the two says that the other one is there, whichever of them dialled: an operator may ask either.
#[tokio::test]
async fn two_with_one_identity_refuse_each_other_and_both_say_so() {
    let mut ca = ca("acme");
    let papers = bundle(&mut ca, "a");
    // Images of one machine that start in the same second have one boot number, too.
    for boot in [Boot(1), Boot(2)] {
        twins(&papers, boot).await;
    }
}

async fn twins(papers: &Bundle, boot: Boot) {
    let mut a = End::with(LinkConfig::new(papers.clone(), any(), Boot(1))).await;
    let mut copy = End::with(LinkConfig::new(papers.clone(), any(), boot)).await;
    let twin = |event: &LinkEvent| if let LinkEvent::Twin { addr } = event { Some(*addr) } else { None };
    copy.links.dial(a.addr());
    assert_eq!(copy.wait("Twin", twin).await, a.addr());
    assert_eq!(a.wait("Twin", twin).await, copy.addr());
    assert!(copy.failed().await.to_string().contains("one of the two is a copy"));
    assert!(a.links.links().is_empty() && copy.links.links().is_empty());
}

#[tokio::test]
async fn dials_to_nobody_and_to_oneself_end_soon() {
    let mut ca = ca("acme");
    let mut a = End::new(&mut ca, "a").await;
    let dead = std::net::UdpSocket::bind(any()).unwrap();
    let start = Instant::now();
    a.links.dial(dead.local_addr().unwrap());
    a.links.dial(dead.local_addr().unwrap());
    assert_eq!(a.failed().await, DialFailure::Silent);
    assert!(start.elapsed() >= Duration::from_millis(900) && start.elapsed() < Duration::from_secs(5));
    a.links.dial(a.addr());
    assert_eq!(a.failed().await, DialFailure::Myself);
    let failures = a.all().iter().filter(|e| matches!(e, LinkEvent::DialFailed { .. })).count();
    assert_eq!((failures, a.ups()), (2, 0), "two dials to one address were one");
}

/// What the system says of a packet that it does not send is no reason to give up anything else.
#[tokio::test]
async fn addresses_to_which_nothing_can_be_sent_do_no_harm() {
    let mut ca = ca("acme");
    let cfg = LinkConfig::new(bundle(&mut ca, "a"), "0.0.0.0:0".parse().unwrap(), Boot(1));
    let mut a = End::with(cfg).await;
    let mut b = End::new(&mut ca, "b").await;
    a.links.dial(b.addr());
    a.up().await;
    b.up().await;
    // Broadcast (EACCES), a class that is not routed (EINVAL or ENETUNREACH), an address of another family, port 0.
    for nowhere in ["255.255.255.255:9", "240.0.0.1:9", "[2001:db8::1]:9", "127.0.0.1:0"] {
        a.links.dial(nowhere.parse().unwrap());
        let why = a.failed().await;
        assert!(matches!(why, DialFailure::Silent | DialFailure::Unreachable(_)), "{nowhere}: {why}");
    }
    assert!(a.links.send_frame(&b.me(), Bytes::from_static(b"still here")));
    b.wait("frame", |e| matches!(e, LinkEvent::Frame { .. }).then_some(())).await;
    assert_eq!((a.downs(), b.downs()), (0, 0));
}

#[tokio::test]
async fn a_busy_port_is_named() {
    let mut ca = ca("acme");
    let a = End::new(&mut ca, "a").await;
    let (sender, _events) = mpsc::channel(1);
    let error = Links::bind(LinkConfig::new(bundle(&mut ca, "b"), a.addr(), Boot(1)), sender).await.err().unwrap();
    assert!(error.to_string().contains(&format!("UDP {} is in use by another process", a.addr())), "{error}");
}

/// A copy of a bundle, started later than the real node, whose link is closed at once by whoever finds that out.
#[tokio::test]
async fn a_clone_that_is_turned_away_deposes_nobody() {
    let mut ca = ca("acme");
    let shared = bundle(&mut ca, "a");
    let mut real = End::with(LinkConfig::new(shared.clone(), any(), Boot(5))).await;
    let mut clone = End::with(LinkConfig::new(shared, any(), Boot(9))).await;
    let mut b = End::new(&mut ca, "b").await;
    real.links.dial(b.addr());
    b.up().await;
    for _ in 0..3 {
        clone.links.dial(b.addr());
        assert_eq!(b.up().await.member, clone.me());
        b.links.close(&clone.me(), "another node lives under this identity");
        assert_eq!(b.down().await.0, clone.me());
        let (_, why) = clone.down().await;
        assert!(why.contains("another node lives under this identity"), "the refused one learns why: {why}");
    }
    // The real one comes back after a lost link, from either side.
    b.links.close(&real.me(), "test");
    b.down().await;
    real.links.dial(b.addr());
    assert_eq!(b.up().await.member, real.me());
    b.links.close(&real.me(), "test");
    b.down().await;
    b.links.dial(real.addr());
    assert_eq!(b.up().await.member, real.me());
    // The two refuse each other, and neither gives way.
    real.links.dial(clone.addr());
    clone.links.dial(real.addr());
    for end in [&mut real, &mut clone] {
        let why = end.failed().await;
        assert!(why.to_string().contains("one identity"), "{why}");
        assert!(!end.all().iter().any(|e| matches!(e, LinkEvent::BootTooOld { .. })));
    }
}

#[tokio::test]
async fn a_shutdown_frees_the_port_while_handles_live() {
    let mut ca = ca("acme");
    let (a, b) = pair(&mut ca).await;
    let (addr, handle) = (a.addr(), a.links.clone());
    a.links.shutdown().await;
    let until = Instant::now() + PATIENCE;
    while let Err(error) = std::net::UdpSocket::bind(addr) {
        assert!(Instant::now() < until, "{error}");
        tokio::time::sleep(Duration::from_millis(10)).await; // waits: until the closed connections are drained
    }
    handle.dial(b.addr());
    assert_eq!(handle.links().len(), 0);
}

#[tokio::test]
async fn an_old_boot_hears_which_one_is_known() {
    let mut ca = ca("acme");
    let shared = bundle(&mut ca, "a");
    let mut old = End::with(LinkConfig::new(shared.clone(), any(), Boot(5))).await;
    let mut new = End::with(LinkConfig::new(shared, any(), Boot(9))).await;
    let mut b = End::new(&mut ca, "b").await;
    old.links.dial(b.addr());
    b.up().await;
    new.links.dial(b.addr());
    assert_eq!(b.up().await.member, new.me());
    assert_eq!(b.links.links().len(), 2, "two boots of one fulcrum are two members");

    b.links.close(&old.me(), "test");
    old.down().await;
    // As long as the new one has only just linked, it may be a clone, and the old one is let in.
    old.links.dial(b.addr());
    assert_eq!(b.up().await.member, old.me());
    b.links.close(&old.me(), "test");
    old.down().await;
    b.down().await;
    let credible = |info: &LinkInfo| info.peer.member == new.me() && info.age > Duration::from_millis(3_100);
    until("a link that has lasted", || b.links.links().iter().any(credible)).await;
    // Both live: that is a copy, and if the old one began again above it, the two would take turns for ever.
    old.links.dial(b.addr());
    let why = old.failed().await;
    assert!(matches!(&why, DialFailure::Refused { reason, .. } if reason.contains("another node lives")), "{why}");
    new.links.close(&b.me(), "test");
    let (_, _, node) = (b.down().await, new.down().await, b.me().id.node);
    old.links.dial(b.addr());
    assert_eq!(old.failed().await, DialFailure::BootTooOld { by: b.addr(), node: node.clone(), floor: Boot(9) });
    assert!(!old.all().iter().any(|e| matches!(e, LinkEvent::BootTooOld { .. })), "it is said once");
    // And if the one who knows is the one who dials:
    b.links.dial(old.addr());
    let told = |e: &LinkEvent| match e {
        LinkEvent::BootTooOld { node, floor: Boot(9) } => Some(node.clone()),
        _ => None,
    };
    assert_eq!(old.wait("BootTooOld", told).await, node);
    assert!(matches!(b.failed().await, DialFailure::Rejected { .. }));
    assert_eq!((old.ups(), new.downs()), (2, 1));
}

#[tokio::test]
async fn a_boot_that_cannot_have_been_is_not_believed() {
    let mut ca = ca("acme");
    let (mut a, mut liar) = (End::new(&mut ca, "a").await, End::new(&mut ca, "liar").await);
    let highest = unix_now() + (1 << 20);
    for claimed in [highest + 1_000, u64::MAX] {
        liar.links.know_boot(&Member { id: a.me().id, boot: Boot(claimed) });
        a.links.dial(liar.addr());
        match a.failed().await {
            DialFailure::Refused { reason, .. } => assert!(reason.contains("liar claims to know boot"), "{reason}"),
            other => panic!("{claimed}: {other:?}"),
        }
    }
    liar.links.dial(a.addr());
    assert!(matches!(liar.failed().await, DialFailure::Rejected { .. }));
    let reason = a.refused().await;
    assert!(reason.contains("liar claims to know boot"), "{reason}");
    assert!(!a.all().iter().any(|e| matches!(e, LinkEvent::BootTooOld { .. })));

    // What a wrong clock may have made is believed.
    let mut honest = End::new(&mut ca, "honest").await;
    honest.links.know_boot(&Member { id: a.me().id, boot: Boot(highest - 1_000) });
    a.links.dial(honest.addr());
    assert!(matches!(a.failed().await, DialFailure::BootTooOld { floor, .. } if floor == Boot(highest - 1_000)));
    assert_eq!(honest.ups(), 0);
}

#[tokio::test]
async fn what_was_sent_before_a_shutdown_arrives() {
    let mut ca = ca("acme");
    for round in 0..5_u8 {
        let (a, mut b) = pair(&mut ca).await;
        for n in 0..20_u8 {
            assert!(a.links.send_frame(&b.me(), Bytes::from(vec![n; 20_000])));
        }
        assert!(a.links.send_frame(&b.me(), Bytes::from_static(b"goodbye")));
        a.links.shutdown().await;
        let (who, why) = b.down().await;
        assert_eq!((who, why.as_str()), (a.me(), "closed by the peer: shutting down"));
        let frames: Vec<&Bytes> = b
            .seen
            .iter()
            .filter_map(|e| if let LinkEvent::Frame { bytes, .. } = e { Some(bytes) } else { None })
            .collect();
        assert_eq!(frames.len(), 21, "round {round}");
        assert_eq!(*frames[20], "goodbye");
    }
}

#[test]
fn a_killed_fulcrum_comes_back_under_a_new_boot() {
    let mut ca = ca("acme");
    let shared = bundle(&mut ca, "a");
    let life = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (here, first) = (life(), life());
    let mut b = here.block_on(End::new(&mut ca, "b"));
    let mut a = first.block_on(End::with(LinkConfig::new(shared.clone(), any(), Boot(1))));
    let (addr, old) = (a.addr(), a.me());
    first.block_on(async {
        a.links.dial(b.addr());
        a.up().await;
    });
    here.block_on(b.up());
    // Dropping everything without a word is what SIGKILL does.
    drop(a);
    first.shutdown_timeout(PATIENCE);

    let second = life();
    let start = Instant::now();
    let mut again = second.block_on(End::with(LinkConfig::new(shared, addr, Boot(2))));
    again.links.dial(b.addr());
    assert_eq!(here.block_on(b.up()).member, again.me());
    assert!(start.elapsed() < Duration::from_secs(3), "took {:?}", start.elapsed());
    second.block_on(again.up());
    // A stateless reset answers the first word to the old life; the idle timeout would take 40 s.
    b.links.send_datagram(&old, Bytes::from_static(b"are you there?"));
    // It may have come already: whatever b had to say to the old life after the new one listened was answered so.
    let told = b
        .all()
        .iter()
        .find_map(|e| if let LinkEvent::Down { peer, why } = e { Some((peer.clone(), why.clone())) } else { None });
    let (who, why) = told.unwrap_or_else(|| here.block_on(b.down()));
    assert_eq!(who, old);
    assert!(why.contains("it has restarted"), "{why}");
    assert!(start.elapsed() < Duration::from_secs(8), "took {:?}", start.elapsed());
    assert_eq!(b.links.links().len(), 1);
}

#[tokio::test]
async fn a_gate_cuts_everything_and_heals() {
    let mut ca = ca("acme");
    let gate = FaultGate::for_dev_cluster();
    let mut cfg = LinkConfig::new(bundle(&mut ca, "a"), any(), Boot(1));
    cfg.gate = Some(gate.clone());
    let mut a = End::with(cfg).await;
    let mut b = End::new(&mut ca, "b").await;
    let mut c = End::new(&mut ca, "c").await;
    let at_b = b.addr();
    let cut = |drop_in, drop_out| gate.set(HashMap::from([(at_b, Rule { drop_in, drop_out, loss: 0.0 })]));

    // Cut before there is a link: not even a handshake passes, in either direction.
    for (drop_in, drop_out) in [(true, true), (true, false), (false, true)] {
        cut(drop_in, drop_out);
        a.links.dial(b.addr());
        assert_eq!(a.failed().await, DialFailure::Silent);
    }
    assert_eq!(b.ups(), 0);
    a.links.dial(c.addr());
    assert_eq!(a.up().await.member, c.me());
    c.up().await;

    gate.set(HashMap::new());
    a.links.dial(b.addr());
    a.up().await;
    b.up().await;

    // Cut while there is one: frames wait, and come after the heal.
    cut(true, true);
    assert!(a.links.send_frame(&b.me(), Bytes::from_static(b"late")));
    assert!(a.links.send_datagram(&b.me(), Bytes::from_static(b"lost")));
    assert!(a.links.send_datagram(&c.me(), Bytes::from_static(b"through")));
    c.wait("datagram", |e| matches!(e, LinkEvent::Datagram { .. }).then_some(())).await;
    assert!(!b.all().iter().any(|e| matches!(e, LinkEvent::Frame { .. } | LinkEvent::Datagram { .. })));
    gate.set(HashMap::new());
    b.wait("late frame", |e| matches!(e, LinkEvent::Frame { bytes, .. } if bytes == "late").then_some(())).await;
    assert_eq!((a.downs(), b.downs()), (0, 0));

    // Loss slows down and loses nothing that is reliable.
    gate.set(HashMap::from([(b.addr(), Rule { loss: 0.2, ..Rule::default() })]));
    for n in 0..50_u8 {
        assert!(a.links.send_frame(&b.me(), Bytes::copy_from_slice(&[n; 900])));
    }
    for n in 0..50_u8 {
        b.wait("frame", |e| matches!(e, LinkEvent::Frame { bytes, .. } if bytes[..] == [n; 900]).then_some(())).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn under_loss_and_crossing_dials_every_up_has_its_down() {
    let mut ca = ca("acme");
    let gate = FaultGate::for_dev_cluster();
    let mut cfg = LinkConfig::new(bundle(&mut ca, "a"), any(), Boot(1));
    cfg.gate = Some(gate.clone());
    let mut a = End::with(cfg).await;
    let mut b = End::new(&mut ca, "b").await;
    let (me_a, me_b, at_a, at_b) = (a.me(), b.me(), a.addr(), b.addr());
    for round in 0..12_u8 {
        gate.set(HashMap::from([(at_b, Rule { loss: 0.25, ..Rule::default() })]));
        let start = Instant::now();
        let passed = |end: &mut End| {
            end.all().iter().any(|e| matches!(e, LinkEvent::Frame { bytes, .. } if bytes[..] == [round]))
        };
        let mut next_dial = start;
        while !(passed(&mut a) && passed(&mut b)) {
            assert!(start.elapsed() < PATIENCE, "round {round}: {:?} {:?}", a.seen, b.seen);
            if start.elapsed() > PATIENCE / 4 {
                gate.set(HashMap::new());
            }
            if Instant::now() >= next_dial {
                a.links.dial(at_b);
                b.links.dial(at_a);
                a.links.send_frame(&me_b, Bytes::copy_from_slice(&[round]));
                b.links.send_frame(&me_a, Bytes::copy_from_slice(&[round]));
                next_dial += Duration::from_millis(50);
            }
            tokio::time::sleep(Duration::from_millis(2)).await; // waits: for frames both ways, PATIENCE at most
        }
        if round % 2 == 0 { a.links.close(&me_b, "round over") } else { b.links.close(&me_a, "round over") }
    }
    for end in [&mut a, &mut b] {
        let mut up = false;
        for event in end.all() {
            match event {
                LinkEvent::Up { .. } => assert!(!std::mem::replace(&mut up, true), "Up twice"),
                LinkEvent::Down { .. } => assert!(std::mem::replace(&mut up, false), "Down without Up"),
                LinkEvent::Frame { .. } => assert!(up, "a frame outside of a link"),
                _ => {}
            }
        }
    }
}

#[tokio::test]
async fn a_link_ends_with_the_certificate() {
    let mut ca = Ca::in_memory_at(BlocName::parse("acme").unwrap(), unix_now() - 10 * DAY).unwrap();
    // The certificate ends 300 s before its day is over, and we want that to be in 3 s.
    let request = IssueRequest { days: 1, ..IssueRequest::new(node("a")) };
    let short = ca.issue_at(request, unix_now() + 303 - DAY).unwrap();
    let mut a = End::with(LinkConfig::new(short, any(), Boot(1))).await;
    let mut b = End::new(&mut ca, "b").await;
    a.links.dial(b.addr());
    a.up().await;
    b.up().await;
    let (who, why) = b.down().await;
    assert_eq!(who, a.me());
    assert!(why.contains("the certificate of a has ended"), "{why}");
    assert!(a.down().await.1.contains("the certificate of a has ended"));
    until("no link left", || a.links.links().is_empty() && b.links.links().is_empty()).await;
    a.links.dial(b.addr());
    assert!(a.failed().await.to_string().contains("certificate expired"), "{:?}", a.seen);
}

#[tokio::test]
async fn strangers_with_other_words_are_turned_away() {
    let mut ca = ca("acme");
    let mut honest = End::new(&mut ca, "honest").await;
    let stranger = bundle(&mut ca, "stranger");
    let trust = Arc::new(stranger.trust().clone());
    let connect = async |alpn: &[u8]| {
        let roles = [crux_pki::RoleKind::Node];
        let tls = crux_pki::client_config(&stranger, trust.clone(), &roles, &[alpn]).unwrap();
        let quic = quinn::crypto::rustls::QuicClientConfig::try_from(tls).unwrap();
        let mut client = quinn::Endpoint::client(any()).unwrap();
        client.set_default_client_config(quinn::ClientConfig::new(Arc::new(quic)));
        let connection = client.connect(honest.links.local_addr(), "crux").unwrap().await;
        connection.map(|connection| (client, connection))
    };
    assert!(connect(b"h3").await.is_err());
    for words in [&[0xff, 0xff][..], &[0, 4, 0xff, 0xff, 0xff, 0xff], &[0, 0]] {
        let (_client, connection) = connect(b"crux-mesh/1").await.unwrap();
        let (mut send, _recv) = connection.open_bi().await.unwrap();
        send.write_all(words).await.unwrap();
        let ended = tokio::time::timeout(PATIENCE, connection.closed()).await;
        assert!(ended.is_ok(), "{words:?}");
    }
    let (_client, quiet) = connect(b"crux-mesh/1").await.unwrap();
    let start = Instant::now();
    tokio::time::timeout(PATIENCE, quiet.closed()).await.expect("silence ends at the accept deadline");
    assert!(start.elapsed() < Duration::from_secs(10), "took {:?}", start.elapsed());
    assert_eq!(honest.ups(), 0);
    assert!(honest.links.links().is_empty());
}

/// Keys that live a fraction of a second, certificates that are exchanged all the time, loss, and threads that race.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn keys_and_certificates_change_all_the_time_and_nothing_is_lost() {
    let mut ca = ca("acme");
    let gate = FaultGate::for_dev_cluster();
    let renewed: Vec<Arc<Bundle>> = (0..2).map(|_| Arc::new(bundle(&mut ca, "a"))).collect();
    let config = |bundle: Bundle, gate| {
        let mut cfg = LinkConfig::new(bundle, any(), Boot(1));
        (cfg.gate, cfg.timing.rekey, cfg.timing.rekey_member) = (gate, Duration::from_millis(1_500), Duration::ZERO);
        cfg
    };
    let mut a = End::with(config((*renewed[0]).clone(), Some(gate.clone()))).await;
    let mut b = End::with(config(bundle(&mut ca, "b"), None)).await;
    gate.set(HashMap::from([(b.addr(), Rule { loss: 0.02, ..Rule::default() })]));
    // From both sides: who dialled renews, and who was dialled asks for it.
    for dialler_is_a in [true, false] {
        if dialler_is_a {
            a.links.dial(b.addr())
        } else {
            b.links.dial(a.addr())
        }
        a.up().await;
        b.up().await;
        a.seen.clear();
        b.seen.clear();
        let (mut sent, start) = (0_u32, Instant::now());
        while start.elapsed() < Duration::from_secs(8) {
            // A busy machine takes its time; a full queue is another test.
            if a.all().len().min(b.all().len()) + 200 < sent as usize {
                tokio::time::sleep(Duration::from_millis(3)).await; // waits: until the frames have come
                continue;
            }
            for (from, to) in [(&a, &b), (&b, &a)] {
                let mut frame = sent.to_be_bytes().to_vec();
                frame.resize(4 + (sent as usize * 97) % 9_000, 0);
                assert!(from.links.send_frame(&to.me(), frame.into()), "frame {sent} to {}", to.me());
            }
            sent += 1;
            if sent % 300 == 0 {
                let next = renewed[(sent / 300 % 2) as usize].clone();
                a.links.reload(next.clone(), Arc::new(next.trust().clone())).unwrap();
            }
            let key_age = a.links.links()[0].key_age;
            assert!(key_age < Duration::from_millis(2_300), "keys of {key_age:?}");
            a.all();
            b.all();
            tokio::time::sleep(Duration::from_millis(3)).await; // waits: the pace of the traffic
        }
        let expected: Vec<u32> = (0..sent).collect();
        for end in [&mut a, &mut b] {
            until("all frames", || numbers(end.all()).len() == expected.len()).await;
            assert!(numbers(end.all()) == expected, "frames are lost or out of order");
            let renewals = end.all().iter().filter(|e| matches!(e, LinkEvent::Renewed { .. })).count();
            assert!(renewals >= 5, "{renewals} renewals");
            assert_eq!((end.ups(), end.downs()), (0, 0));
        }
        a.links.close(&b.me(), "the other way round");
        a.down().await;
        b.down().await;
    }
}

fn numbers(events: &[LinkEvent]) -> Vec<u32> {
    let number = |bytes: &Bytes| u32::from_be_bytes(bytes[..4].try_into().unwrap());
    events
        .iter()
        .filter_map(|e| if let LinkEvent::Frame { bytes, .. } = e { Some(number(bytes)) } else { None })
        .collect()
}

/// What a knock at one address says.
async fn knocks(end: &End, addr: SocketAddr) -> Result<String, DialFailure> {
    let (at, outcome) = end.links.knock(vec![addr]).await.remove(0);
    assert_eq!(at, addr);
    outcome.map(|node| node.to_string())
}

#[tokio::test]
async fn a_knock_says_who_answers_and_why_nobody_does_and_leaves_nothing_behind() {
    let (mut ours, mut theirs) = (ca("acme"), ca("acme"));
    let gate = FaultGate::for_dev_cluster();
    let mut cfg = LinkConfig::new(bundle(&mut ours, "a"), any(), Boot(1));
    cfg.gate = Some(gate.clone());
    let mut a = End::with(cfg).await;
    let mut b = End::new(&mut ours, "b").await;
    assert_eq!(knocks(&a, b.addr()).await, Ok("b".to_owned()));
    assert_eq!(knocks(&b, a.addr()).await, Ok("a".to_owned()), "also linked nodes' ports are behind no link");
    // Nobody there, nobody who is reached, somebody of another root.
    let nobody = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    assert_eq!(knocks(&a, nobody.local_addr().unwrap()).await, Err(DialFailure::Silent));
    let stranger = End::new(&mut theirs, "c").await;
    assert!(matches!(knocks(&a, stranger.addr()).await, Err(DialFailure::Rejected { .. })));
    let cut = |drop_in, drop_out| gate.set(HashMap::from([(b.addr(), Rule { drop_in, drop_out, loss: 0.0 })]));
    for (drop_in, drop_out) in [(true, false), (false, true)] {
        cut(drop_in, drop_out);
        assert_eq!(knocks(&a, b.addr()).await, Err(DialFailure::Silent));
    }
    gate.set(HashMap::new());
    // Who trusts both roots is still refused by who trusts one, and hears of it.
    let both = bundle(&mut ours, "d");
    let trust = both.trust().with_root(theirs.root().clone()).unwrap();
    let d = End::with(LinkConfig::new(both.with_trust(trust).unwrap(), any(), Boot(1))).await;
    match knocks(&d, stranger.addr()).await {
        Err(DialFailure::Refused { reason, .. }) => assert!(reason.contains("none of the trusted roots"), "{reason}"),
        other => panic!("{other:?}"),
    }
    // Many at once, in their order.
    let outcomes = a.links.knock(vec![b.addr(); 50]).await;
    assert!(outcomes.len() == 50 && outcomes.iter().all(|(_, outcome)| outcome.is_ok()), "{outcomes:?}");
    assert_eq!((a.ups(), b.ups(), a.links.links().len(), b.links.links().len()), (0, 0, 0, 0));
    until("nobody is half inside", || b.links.counters().half_open == 0).await;
    assert!(b.all().is_empty(), "nobody is told: {:?}", b.seen);
}
