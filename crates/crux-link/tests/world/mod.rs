//! Links in an invented world: one runtime with paused time, packets in memory, losses, latencies and cuts by seed.
//!
//! What follows from the seed: every event with its time, and every packet's time, way, length and fate. Not the bytes
//! inside packets: the crypto library takes its randomness from the system.

#![allow(dead_code, reason = "each test file uses its part")]

pub mod stranger;

use bytes::Bytes;
use crux_link::{LinkConfig, LinkEvent, Links, Simulated};
use crux_names::{BlocName, Boot, Member, NodeName};
use crux_pki::{Bundle, Ca, IssueRequest, Role};
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::fmt::{Debug, Formatter};
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};

/// One packet, as a capture shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    pub at: Duration,
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub bytes: Vec<u8>,
    pub lost: bool,
}

impl Packet {
    pub fn is_long(&self) -> bool {
        self.bytes[0] & 0x80 != 0
    }
}

type Mail = Reverse<(Instant, u64, SocketAddr, Vec<u8>)>;

#[derive(Default)]
struct Mailbox {
    /// Which socket at this address: an earlier one hears nothing any more.
    owner: u64,
    mail: BinaryHeap<Mail>,
    waker: Option<Waker>,
}

struct State {
    start: Instant,
    random: u64,
    sequence: u64,
    boxes: BTreeMap<SocketAddr, Mailbox>,
    cuts: BTreeSet<(SocketAddr, SocketAddr)>,
    /// Where the machines with these addresses are now.
    moved: BTreeMap<SocketAddr, SocketAddr>,
    loss: u64,
    latency: Duration,
    jitter: Duration,
    /// Long headers, and with them all handshakes, are dropped.
    no_handshakes: bool,
    packets: Vec<Packet>,
}

/// The network.
#[derive(Clone)]
pub struct Net(Arc<Mutex<State>>);

impl Net {
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            start: Instant::now(),
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            sequence: 0,
            boxes: BTreeMap::new(),
            cuts: BTreeSet::new(),
            moved: BTreeMap::new(),
            loss: 0,
            latency: Duration::from_millis(1),
            jitter: Duration::from_millis(1),
            no_handshakes: false,
            packets: Vec::new(),
        })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// A socket at this address. One that was there before is as dead as that of a killed process.
    pub fn socket(&self, addr: SocketAddr) -> Arc<dyn AsyncUdpSocket> {
        let mut state = self.lock();
        state.sequence += 1;
        let owner = state.sequence;
        state.boxes.insert(addr, Mailbox { owner, ..Mailbox::default() });
        Arc::new(Socket { net: self.clone(), addr, owner, sleep: Mutex::default() })
    }

    /// Percent of packets that are lost, and how long the others take.
    pub fn weather(&self, loss: u64, latency: Duration, jitter: Duration) {
        let mut state = self.lock();
        (state.loss, state.latency, state.jitter) = (loss, latency, jitter);
    }

    /// Nothing passes from the one to the other, in this direction.
    pub fn cut(&self, from: SocketAddr, to: SocketAddr) {
        self.lock().cuts.insert((from, to));
    }

    /// The machine at this address gets another one, under its running sockets.
    pub fn relocate(&self, from: SocketAddr, to: SocketAddr) {
        let mut state = self.lock();
        let mailbox = state.boxes.remove(&from).unwrap();
        state.boxes.insert(to, mailbox);
        state.moved.insert(from, to);
    }

    pub fn heal(&self) {
        self.lock().cuts.clear();
    }

    pub fn forbid_handshakes(&self, forbid: bool) {
        self.lock().no_handshakes = forbid;
    }

    pub fn packets(&self) -> Vec<Packet> {
        self.lock().packets.clone()
    }

    pub fn random(&self, below: u64) -> u64 {
        self.lock().roll(below)
    }

    /// A packet that nobody of ours sent.
    pub fn inject(&self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        self.lock().send(from, to, bytes);
    }

    pub fn now(&self) -> Duration {
        self.lock().start.elapsed()
    }
}

impl State {
    fn roll(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 16) % below.max(1)
    }

    fn send(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        let forbidden = self.no_handshakes && bytes[0] & 0x80 != 0;
        let lost = self.roll(100) < self.loss || self.cuts.contains(&(from, to)) || forbidden;
        let jitter = Duration::from_micros(self.roll(1 + self.jitter.as_micros() as u64));
        let (at, due) = (self.start.elapsed(), Instant::now() + self.latency + jitter);
        self.packets.push(Packet { at, from, to, bytes: bytes.to_vec(), lost });
        self.sequence += 1;
        let sequence = self.sequence;
        if let Some(mailbox) = self.boxes.get_mut(&to).filter(|_| !lost) {
            mailbox.mail.push(Reverse((due, sequence, from, bytes.to_vec())));
            if let Some(waker) = mailbox.waker.take() {
                waker.wake();
            }
        }
    }
}

struct Socket {
    net: Net,
    addr: SocketAddr,
    owner: u64,
    sleep: Mutex<Option<Pin<Box<Sleep>>>>,
}

impl Debug for Socket {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "Socket({})", self.addr)
    }
}

#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let mut state = self.net.lock();
        let here = state.moved.get(&self.addr).copied().unwrap_or(self.addr);
        if state.boxes.get(&here).is_some_and(|mailbox| mailbox.owner == self.owner) {
            for part in transmit.contents.chunks(transmit.segment_size.unwrap_or(usize::MAX)) {
                state.send(here, transmit.destination, part);
            }
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.net.lock();
        let here = state.moved.get(&self.addr).copied().unwrap_or(self.addr);
        let Some(mailbox) = state.boxes.get_mut(&here).filter(|mailbox| mailbox.owner == self.owner) else {
            return Poll::Pending;
        };
        let now = Instant::now();
        let due = match mailbox.mail.peek() {
            Some(Reverse((due, ..))) if *due <= now => {
                let Reverse((_, _, addr, bytes)) = mailbox.mail.pop().unwrap();
                bufs[0][..bytes.len()].copy_from_slice(&bytes);
                meta[0] = RecvMeta { addr, len: bytes.len(), stride: bytes.len(), ecn: None, dst_ip: None };
                return Poll::Ready(Ok(1));
            }
            Some(Reverse((due, ..))) => Some(*due),
            None => None,
        };
        mailbox.waker = Some(cx.waker().clone());
        drop(state);
        let mut sleep = self.sleep.lock().unwrap();
        *sleep = due.map(|due| Box::pin(tokio::time::sleep_until(due))); // waits: invented time
        if let Some(sleep) = sleep.as_mut()
            && sleep.as_mut().poll(cx).is_ready()
        {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.addr)
    }

    fn max_transmit_segments(&self) -> usize {
        1
    }

    fn may_fragment(&self) -> bool {
        false
    }
}

/// Something that links told, with its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub at: Duration,
    /// By which node, and in which of its lives.
    pub by: Member,
    pub what: What,
}

/// A [`LinkEvent`] without what cannot be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    Up(Member),
    Down(Member, String),
    Renewed(Member),
    RenewalFailed(Member, String),
    Gone(Member),
    Datagram(Member, Bytes),
    Frame(Member, Bytes),
    DialFailed(SocketAddr, String),
    Refused(SocketAddr, String),
    BootTooOld(NodeName, u64),
    Twin(SocketAddr),
    Bulk(Member),
}

/// A packet without its content: when, from where, to where, how long, whether lost.
pub type Passed = (Duration, SocketAddr, SocketAddr, usize, bool);

/// The world: a network, a wall clock, and all that was told.
#[derive(Clone)]
pub struct World {
    pub net: Net,
    pub seed: u64,
    /// What the wall clock shows at the start.
    pub base: u64,
    start: Instant,
    log: Arc<Mutex<Vec<Told>>>,
}

/// A fulcrum's links in this world. Its owner handles every event at once and answers bulk streams with an echo.
pub struct Node {
    pub links: Links,
    pub addr: SocketAddr,
    pub me: Member,
}

/// The address of the nth node.
pub fn addr(n: usize) -> SocketAddr {
    format!("10.0.0.{}:7400", n + 1).parse().unwrap()
}

pub fn name(n: usize) -> NodeName {
    NodeName::parse(&format!("n{n}")).unwrap()
}

pub fn ca(bloc: &str, base: u64) -> Ca {
    Ca::in_memory_at(BlocName::parse(bloc).unwrap(), base).unwrap()
}

pub fn bundle(ca: &mut Ca, n: usize, base: u64) -> Bundle {
    ca.issue_at(IssueRequest::new(Role::Node(name(n))), base).unwrap()
}

/// A bundle that ends so many seconds after `base`.
pub fn short(ca: &mut Ca, n: usize, base: u64, lives: u64) -> Bundle {
    let request = IssueRequest { days: 1, ..IssueRequest::new(Role::Node(name(n))) };
    // A certificate's life begins 300 s early, and so ends early.
    ca.issue_at(request, base + lives + 300 - 86_400).unwrap()
}

/// Runs something in a world of this seed.
pub fn run<T>(seed: u64, base: u64, scene: impl AsyncFnOnce(World) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let net = Net::new(seed);
        scene(World::with(net, seed, base)).await
    })
}

impl World {
    /// A world with this network, from now on.
    pub fn with(net: Net, seed: u64, base: u64) -> Self {
        Self { net, seed, base, start: Instant::now(), log: Arc::default() }
    }

    pub async fn node(&self, n: usize, bundle: Bundle, boot: u64, settle: impl FnOnce(&mut LinkConfig)) -> Node {
        let mut cfg = LinkConfig::new(bundle, addr(n), Boot(boot));
        let (base, start) = (self.base, self.start);
        let mut seed = [n as u8 + 1; 32];
        seed[..8].copy_from_slice(&(self.seed ^ (boot << 32) ^ n as u64).wrapping_mul(0x9e37_79b9).to_be_bytes());
        cfg.simulated = Some(Simulated {
            socket: self.net.socket(addr(n)),
            wall: Arc::new(move || base + start.elapsed().as_secs()),
            seed,
        });
        cfg.secret = Some([n as u8; 32]);
        settle(&mut cfg);
        let (sender, mut events) = mpsc::channel(1_024);
        let links = Links::bind(cfg, sender).await.unwrap();
        let me = links.member().clone();
        let (by, log, start) = (me.clone(), self.log.clone(), self.start);
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                let what = match event {
                    LinkEvent::Up { peer, .. } => What::Up(peer.member),
                    LinkEvent::Down { peer, why } => What::Down(peer, why),
                    LinkEvent::Renewed { peer } => What::Renewed(peer.member),
                    LinkEvent::RenewalFailed { peer, why } => What::RenewalFailed(peer, why),
                    LinkEvent::ProcessGone { peer } => What::Gone(peer),
                    LinkEvent::Datagram { peer, bytes } => What::Datagram(peer, bytes),
                    LinkEvent::Frame { peer, bytes, room: _ } => What::Frame(peer, bytes),
                    LinkEvent::DialFailed { addr, why } => What::DialFailed(addr, why.to_string()),
                    LinkEvent::Refused { addr, reason } => What::Refused(addr, reason),
                    LinkEvent::Twin { addr } => What::Twin(addr),
                    LinkEvent::BootTooOld { node, floor } => What::BootTooOld(node, floor.0),
                    LinkEvent::Bulk { peer, mut send, mut recv } => {
                        tokio::spawn(async move { tokio::io::copy(&mut recv, &mut send).await });
                        What::Bulk(peer)
                    }
                };
                log.lock().unwrap().push(Told { at: start.elapsed(), by: by.clone(), what });
            }
        });
        Node { links, addr: addr(n), me }
    }

    pub fn log(&self) -> Vec<Told> {
        self.log.lock().unwrap().clone()
    }

    /// What this life told.
    pub fn of(&self, who: &Member) -> Vec<Told> {
        self.log().into_iter().filter(|told| told.by == *who).collect()
    }

    pub fn ups(&self, who: &Member) -> usize {
        self.of(who).iter().filter(|told| matches!(told.what, What::Up(_))).count()
    }

    pub fn failed(&self, who: &Member) -> usize {
        self.of(who).iter().filter(|told| matches!(told.what, What::DialFailed(..))).count()
    }

    pub fn downs(&self, who: &Member) -> Vec<(Duration, Member, String)> {
        let down = |told: Told| match told.what {
            What::Down(peer, why) => Some((told.at, peer, why)),
            _ => None,
        };
        self.of(who).into_iter().filter_map(down).collect()
    }

    pub fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Lets time pass.
    pub async fn pass(&self, seconds: f64) {
        tokio::time::sleep(Duration::from_secs_f64(seconds)).await; // waits: invented time
    }

    /// Lets time pass until this holds, or panics after so many seconds.
    pub async fn until(&self, within: f64, what: &str, mut holds: impl FnMut() -> bool) {
        let limit = Instant::now() + Duration::from_secs_f64(within);
        while !holds() {
            assert!(Instant::now() < limit, "never within {within} s: {what}; told: {:#?}", self.tail());
            self.pass(0.01).await;
        }
    }

    /// The last things told, without traffic.
    fn tail(&self) -> Vec<Told> {
        let quiet = |told: &Told| !matches!(told.what, What::Datagram(..) | What::Frame(..));
        let all: Vec<Told> = self.log().into_iter().filter(quiet).collect();
        all[all.len().saturating_sub(30)..].to_vec()
    }

    /// Everything that must follow from the seed: events, and packets without their content.
    pub fn trace(&self) -> (Vec<Told>, Vec<Passed>) {
        let packets = self.net.packets();
        (self.log(), packets.iter().map(|p| (p.at, p.from, p.to, p.bytes.len(), p.lost)).collect())
    }
}
