//! Floods at the door from hosts without a certificate (D1, D2, D3), over real loopback sockets.

use bytes::Bytes;
use crux_link::{LinkConfig, LinkEvent, Links};
use crux_names::{BlocName, Boot, NodeName};
use crux_pki::{Bundle, Ca, IssueRequest, Role, RoleKind};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, Endpoint, EndpointConfig, Runtime, TokioRuntime, UdpPoller};
use std::collections::BTreeMap;
use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

const PATIENCE: Duration = Duration::from_secs(30);
/// The bounds that are promised.
const MEMORY: usize = 128 << 20;
const JOIN: Duration = Duration::from_secs(15);

fn local(ip: u8) -> SocketAddr {
    SocketAddr::from(([127, 0, 1, ip], 0))
}

fn bundle(ca: &mut Ca, name: &str) -> Bundle {
    ca.issue(IssueRequest::new(Role::Node(NodeName::parse(name).unwrap()))).unwrap()
}

fn client(bundle: &Bundle, socket: Arc<dyn AsyncUdpSocket>) -> Endpoint {
    let trust = Arc::new(bundle.trust().clone());
    let tls = crux_pki::client_config(bundle, trust, &[RoleKind::Node], &[b"crux-mesh/1"]).unwrap();
    let quic = QuicClientConfig::try_from(tls).unwrap();
    let settings = EndpointConfig::default();
    let mut endpoint = Endpoint::new_with_abstract_socket(settings, None, socket, Arc::new(TokioRuntime)).unwrap();
    let mut config = quinn::ClientConfig::new(Arc::new(quic));
    let mut transport = quinn::TransportConfig::default();
    transport.initial_mtu(1200).mtu_discovery_config(None);
    config.transport_config(Arc::new(transport));
    endpoint.set_default_client_config(config);
    endpoint
}

async fn links(bundle: Bundle, listen: SocketAddr) -> (Links, mpsc::Receiver<LinkEvent>) {
    let (sender, events) = mpsc::channel(1_024);
    (Links::bind(LinkConfig::new(bundle, listen, Boot(1)), sender).await.unwrap(), events)
}

/// First packets that the door has looked at.
fn looked_at(links: &Links) -> u64 {
    let counters = links.counters();
    counters.half_open + counters.handshakes.values().sum::<u64>()
}

async fn up(events: &mut mpsc::Receiver<LinkEvent>) {
    let wait = async { while !matches!(events.recv().await.expect("links run"), LinkEvent::Up { .. }) {} };
    tokio::time::timeout(PATIENCE, wait).await.expect("a link");
}

/// Resident memory of this process in bytes.
fn resident() -> usize {
    let pages: usize = std::fs::read_to_string("/proc/self/statm").unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
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
struct Tap {
    sent: Mutex<Vec<Vec<u8>>>,
}

impl AsyncUdpSocket for Tap {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.sent.lock().unwrap().push(transmit.contents.to_vec());
        Ok(())
    }

    fn poll_recv(&self, _: &mut Context<'_>, _: &mut [IoSliceMut<'_>], _: &mut [RecvMeta]) -> Poll<io::Result<usize>> {
        Poll::Pending
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(local(1))
    }

    fn max_transmit_segments(&self) -> usize {
        1
    }
}

/// First words of so many different handshakes, two datagrams each.
async fn first_words(bundle: &Bundle, count: usize) -> Vec<[Vec<u8>; 2]> {
    let mut all = Vec::new();
    while all.len() < count {
        let tap = Arc::new(Tap::default());
        let endpoint = client(bundle, tap.clone());
        let connecting: Vec<_> =
            (0..50).map(|_| endpoint.connect(SocketAddr::new(local(200).ip(), 7_400), "crux").unwrap()).collect();
        let start = Instant::now();
        let pairs = loop {
            // By the connection id that each made up.
            let mut pairs: BTreeMap<Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
            for datagram in tap.sent.lock().unwrap().iter() {
                pairs.entry(datagram[6..26].to_vec()).or_default().push(datagram.clone());
            }
            if pairs.len() == 50 && pairs.values().all(|words| words.len() >= 2) {
                break pairs;
            }
            assert!(start.elapsed() < PATIENCE, "{} first words", pairs.len());
            tokio::time::sleep(Duration::from_millis(1)).await; // waits: for the drivers of the connections
        };
        all.extend(pairs.into_values().map(|words| [words[0].clone(), words[1].clone()]));
        drop(connecting);
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_first_words_costs_little_and_keeps_nobody_out() {
    let mut ca = Ca::in_memory(BlocName::parse("acme").unwrap()).unwrap();
    let stranger = bundle(&mut Ca::in_memory(BlocName::parse("other").unwrap()).unwrap(), "x");
    let words = first_words(&stranger, 2_000).await;
    let (honest, mut events) = links(bundle(&mut ca, "honest"), local(1)).await;
    let (friend, mut friends) = links(bundle(&mut ca, "friend"), local(2)).await;
    friend.dial(honest.local_addr());
    up(&mut friends).await;
    up(&mut events).await;
    let me = honest.member().clone();

    let before = resident();
    let target = honest.local_addr();
    let over = Arc::new(AtomicBool::new(false));
    let flood = {
        let (over, honest) = (over.clone(), honest.clone());
        std::thread::spawn(move || {
            let sockets: Vec<UdpSocket> = (10..74)
                .map(|ip| {
                    let socket = UdpSocket::bind(local(ip)).unwrap();
                    socket.set_nonblocking(true).unwrap();
                    socket
                })
                .collect();
            let mut counts = vec![(0_usize, 0_usize); sockets.len()];
            let mut buffer = [0; 2_048];
            let mut n = 0;
            while !over.load(Ordering::Relaxed) {
                // First words, half of them broken off; every now and then rubbish, short headers and old versions.
                let which = n % sockets.len();
                let pair = &words[n % words.len()];
                let mut datagrams: Vec<Vec<u8>> = pair.iter().take(1 + n % 2).cloned().collect();
                if n % 10 == 0 {
                    let mut other = pair[0].clone();
                    other[1..5].copy_from_slice(&[0x1a, 0x2a, 0x3a, 0x4a]);
                    datagrams.push(other);
                    datagrams.push(vec![0x43; 60]);
                    datagrams.push(vec![n as u8; 900]);
                    datagrams.push(Vec::new());
                }
                for datagram in datagrams {
                    if sockets[which].send_to(&datagram, target).is_ok() {
                        counts[which].0 += datagram.len();
                    }
                }
                if n % 64 == 0 {
                    for (socket, count) in sockets.iter().zip(&mut counts) {
                        while let Ok((length, _)) = socket.recv_from(&mut buffer) {
                            count.1 += length;
                        }
                    }
                    // As fast as the door looks: on a busy machine an unoptimised build reads little, and what the
                    // system drops before the door says nothing of it.
                    let paused = Instant::now();
                    while n as u64 > looked_at(&honest) + 64 && paused.elapsed() < Duration::from_millis(50) {
                        std::thread::sleep(Duration::from_millis(1)); // waits: until the door has looked
                    }
                }
                n += 1;
            }
            (n, counts)
        })
    };

    let start = Instant::now();
    let (mut most, mut half_open, mut joined) = (0, 0, Vec::new());
    let mut round = 0;
    while start.elapsed() < Duration::from_secs(6) {
        round += 1;
        let begun = Instant::now();
        let (late, mut lates) = links(bundle(&mut ca, &format!("late{round}")), local(3)).await;
        loop {
            late.dial(honest.local_addr());
            let outcome = tokio::time::timeout(JOIN, async {
                loop {
                    match lates.recv().await.expect("links run") {
                        LinkEvent::Up { .. } => return true,
                        LinkEvent::DialFailed { .. } => return false,
                        _ => {}
                    }
                }
            });
            most = most.max(resident());
            half_open = half_open.max(honest.counters().half_open);
            if outcome.await.unwrap_or(false) {
                break;
            }
            assert!(begun.elapsed() < JOIN, "no way in within {JOIN:?}");
        }
        joined.push(begun.elapsed());
        late.shutdown().await;
        assert!(friend.send_datagram(&me, Bytes::from_static(b"still here")), "the friend's link is gone");
    }
    over.store(true, Ordering::Relaxed);
    let (flights, counts) = flood.join().unwrap();
    assert!(flights > 1_000, "{flights} flights are no flood");
    for (sent, heard) in &counts {
        assert!(*heard <= 3 * sent, "{heard} bytes were answered to {sent}");
    }
    let (sent, heard) = counts.iter().fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1));
    let counters = honest.counters();
    println!(
        "{flights} flights, {sent} bytes sent, {heard} heard, {} MiB more, {half_open} half open, joins {joined:?}, {:?}",
        most.saturating_sub(before) >> 20,
        counters.handshakes
    );
    assert!(most.saturating_sub(before) <= MEMORY, "{} MiB more", (most - before) >> 20);
    assert!(half_open <= 512);
    assert!(counters.handshakes["retry"] > 0, "{:?}", counters.handshakes);
    // No link of those that were there before has ended.
    while let Ok(event) = events.try_recv() {
        if let LinkEvent::Down { peer, why } = event {
            assert_ne!(peer, *friend.member(), "{why}");
        }
    }
    assert_eq!(friend.links().len(), 1);
    let start = Instant::now();
    while honest.counters().half_open > 0 {
        assert!(start.elapsed() < PATIENCE, "strangers stay at the door");
        tokio::time::sleep(Duration::from_millis(20)).await; // waits: until their deadline is over
    }
}

/// Hears a Retry and nothing else: it can prove its address, and then leaves the door open.
#[derive(Debug)]
struct Coy {
    inner: Arc<dyn AsyncUdpSocket>,
}

impl AsyncUdpSocket for Coy {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.inner.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.inner.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let received = self.inner.poll_recv(cx, bufs, meta);
        if let Poll::Ready(Ok(count)) = received {
            for (meta, buf) in meta[..count].iter_mut().zip(bufs) {
                if buf[0] & 0xf0 != 0xf0 {
                    meta.len = 0;
                }
            }
        }
        received
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        1
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_prove_their_address_and_say_no_more_make_room() {
    let mut ca = Ca::in_memory(BlocName::parse("acme").unwrap()).unwrap();
    let stranger = bundle(&mut Ca::in_memory(BlocName::parse("other").unwrap()).unwrap(), "x");
    let mut cfg = LinkConfig::new(bundle(&mut ca, "honest"), local(101), Boot(1));
    // So that the door is crowded also where the strangers come slowly.
    cfg.timing.accept = PATIENCE * 4;
    let (sender, _events) = mpsc::channel(1_024);
    let honest = Links::bind(cfg, sender).await.unwrap();
    let endpoints: Vec<Endpoint> = (110..118)
        .map(|ip| {
            let socket = TokioRuntime.wrap_udp_socket(UdpSocket::bind(local(ip)).unwrap()).unwrap();
            client(&stranger, Arc::new(Coy { inner: socket }))
        })
        .collect();
    let mut connecting = Vec::new();
    for n in 0..400 {
        connecting.push(endpoints[n % endpoints.len()].connect(honest.local_addr(), "crux").unwrap());
        if n % 100 == 99 {
            tokio::time::sleep(Duration::from_millis(20)).await; // waits: for packets to leave, not for an outcome
        }
    }
    let start = Instant::now();
    while honest.counters().half_open < 100 {
        assert!(start.elapsed() < PATIENCE, "{:?}", honest.counters());
        tokio::time::sleep(Duration::from_millis(1)).await; // waits: until the door is crowded
    }
    let begun = Instant::now();
    let (late, mut lates) = links(bundle(&mut ca, "late"), local(103)).await;
    loop {
        late.dial(honest.local_addr());
        match tokio::time::timeout(JOIN, lates.recv()).await.expect("an outcome").expect("links run") {
            LinkEvent::Up { .. } => break,
            _ => assert!(begun.elapsed() < JOIN, "no way in: {:?}", honest.counters()),
        }
    }
    let counters = honest.counters();
    assert!(counters.half_open <= 512, "{counters:?}");
    println!("joined in {:?}: {counters:?}", begun.elapsed());
}
