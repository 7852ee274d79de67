//! Who is linked, who is being welcomed, who is being dialled: all shared state, behind one lock that is never held
//! across an await.
//!
//! Of two links dialled towards each other at once exactly one comes to count, and none is ever torn down for it: the
//! dialler decides before it says *ready*. The higher member waits while a link dialled by the lower one is being
//! welcomed; the lower goes on; and nobody goes on where a link is up already. (The welcome carries whether it is, because
//! the two connections may overtake each other.)

use crate::event::{LinkInfo, PeerInfo};
use crate::link::Queue;
use crate::wire::{self, Code};
use crux_names::{Boot, FulcrumId, Member};
use quinn::Connection;
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Most links of one fulcrum.
const LINKS_MAX: usize = 4_096;
/// Most links with fulcrums of one node: their names and boots are only claimed.
const LINKS_PER_NODE: usize = 64;
/// Most fulcrums whose highest boot is remembered.
const FLOORS_MAX: usize = 65_536;
/// Strangers between first packet and welcome: all together, and from one address (a dev cluster has one address).
const HALF_OPEN_MAX: usize = 512;
const HALF_OPEN_PER_IP: usize = 128;
/// Above so many, a stranger must prove its address first (QUIC Retry).
const RETRY_ABOVE: usize = 64;
/// How often the same refusal is told again.
const REFUSAL_EVERY: Duration = Duration::from_secs(10);
/// Refusals remembered for that.
const REFUSALS_MAX: usize = 1_024;
/// A link that we close before this is over says nothing of its fulcrum: it may have been a clone's, which is challenged
/// and closed within a second.
const CREDIBLE: Duration = Duration::from_secs(3);
/// A link that is older than this, and that the other side says it does not have, is dead: the other side lost it.
const SETTLED: Duration = Duration::from_secs(2);

/// A link as its owner's handle sees it.
#[derive(Clone)]
pub(crate) struct Live {
    id: u64,
    pub(crate) connection: Connection,
    pub(crate) queue: Arc<Queue>,
    pub(crate) info: PeerInfo,
    /// Why we closed it, if we did.
    pub(crate) why: Arc<OnceLock<String>>,
    since: Instant,
    dialed: bool,
    done: watch::Receiver<bool>,
}

impl Live {
    /// Closes it for this reason, unless it is closed already.
    pub(crate) fn close(&self, code: Code, why: &str) {
        let _ = self.why.set(why.to_owned());
        wire::close(&self.connection, code, why);
    }

    pub(crate) fn is_dialed(&self) -> bool {
        self.dialed
    }

    fn is_up(&self) -> bool {
        self.connection.close_reason().is_none()
    }

    /// Waits until its `Down` was told.
    pub(crate) async fn gone(mut self) {
        // The sender goes away only with its task: then nothing more will be told either.
        let _ = self.done.wait_for(|done| *done).await;
    }
}

/// A link that now counts, and the one it takes the place of.
pub(crate) struct Admission {
    pub(crate) live: Live,
    pub(crate) old: Option<Live>,
    pub(crate) done: watch::Sender<bool>,
}

/// What a dialler does after a welcome.
pub(crate) enum Verdict {
    Go(Box<Admission>),
    /// A link that the peer dialled is being welcomed: wait for what comes of it.
    Wait,
    /// There is a link already.
    Already,
}

#[derive(Default)]
struct State {
    live: HashMap<Member, Live>,
    welcoming: HashMap<Member, usize>,
    dialing: HashSet<SocketAddr>,
    floors: HashMap<FulcrumId, Boot>,
    refusals: HashMap<(IpAddr, String), Instant>,
    half_open: usize,
    half_open_by_ip: HashMap<IpAddr, usize>,
    next_id: u64,
}

pub(crate) struct Registry {
    me: Member,
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

impl State {
    fn admit(&mut self, connection: Connection, info: PeerInfo, dialed: bool) -> Admission {
        let (done, done_seen) = watch::channel(false);
        let id = self.next_id;
        self.next_id += 1;
        let live = Live {
            id,
            connection,
            queue: Arc::default(),
            info,
            why: Arc::default(),
            since: Instant::now(),
            dialed,
            done: done_seen,
        };
        let old = self.live.insert(live.info.member.clone(), live.clone());
        Admission { live, old, done }
    }

    fn raise_floor(&mut self, member: &Member) {
        if self.floors.len() < FLOORS_MAX || self.floors.contains_key(&member.id) {
            let floor = self.floors.entry(member.id.clone()).or_default();
            *floor = member.boot.max(*floor);
        }
    }

    fn is_up(&self, member: &Member) -> bool {
        self.live.get(member).is_some_and(Live::is_up)
    }
}

impl Registry {
    pub(crate) fn new(me: Member) -> Self {
        Self { me, state: Mutex::default(), changed: watch::Sender::new(()) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells those who wait for a verdict that it may be another one now. Take this before asking.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        let mut changes = self.changed.subscribe();
        changes.mark_unchanged();
        changes
    }

    pub(crate) fn start_dial(&self, addr: SocketAddr) -> bool {
        self.lock().dialing.insert(addr)
    }

    pub(crate) fn end_dial(&self, addr: SocketAddr) {
        self.lock().dialing.remove(&addr);
    }

    /// The boot that a member would have to reach, if it is too old: a higher one was linked here until it went by
    /// itself, is linked here now and has been for a while, or is known from elsewhere. A higher boot that has only just
    /// linked refuses nobody: it may be a clone, and whoever owns the links finds out which of the two is.
    pub(crate) fn too_old(&self, member: &Member) -> Option<Boot> {
        let state = self.lock();
        let linked = state.live.values().filter(|live| live.info.member.id == member.id && live.is_up());
        let linked = linked.filter(|live| live.since.elapsed() > CREDIBLE).map(|live| live.info.member.boot).max();
        linked.max(state.floors.get(&member.id).copied()).filter(|floor| *floor > member.boot)
    }

    pub(crate) fn raise_floor(&self, member: &Member) {
        self.lock().raise_floor(member);
    }

    /// Why there is no room for another link to this member, if there is none.
    pub(crate) fn no_room(&self, member: &Member) -> Option<&'static str> {
        let state = self.lock();
        if state.live.contains_key(member) {
            None
        } else if state.live.len() >= LINKS_MAX {
            Some("this fulcrum has its 4096 links")
        } else if state.live.keys().filter(|other| other.id.node == member.id.node).count() >= LINKS_PER_NODE {
            Some("64 fulcrums and boots of one node are linked; stop some of them")
        } else {
            None
        }
    }

    /// The dialler's decision after the peer's welcome, which says whether it has a link to us that is up.
    pub(crate) fn decide(&self, connection: &Connection, info: &PeerInfo, linked: bool) -> Verdict {
        let mut state = self.lock();
        if let Some(live) = state.live.get(&info.member)
            && live.is_up()
            && (linked || live.since.elapsed() < SETTLED)
        {
            return Verdict::Already;
        }
        let welcoming = state.welcoming.contains_key(&info.member);
        if welcoming && !state.is_up(&info.member) && (self.me > info.member || linked) {
            return Verdict::Wait;
        }
        let admission = state.admit(connection.clone(), info.clone(), true);
        drop(state);
        self.changed.send_replace(());
        Verdict::Go(Box::new(admission))
    }

    /// The acceptor starts to welcome this member. The guard says whether a link to it is up.
    pub(crate) fn welcome(self: &Arc<Self>, member: &Member) -> Welcoming {
        let mut state = self.lock();
        *state.welcoming.entry(member.clone()).or_default() += 1;
        Welcoming { registry: self.clone(), member: member.clone(), linked: state.is_up(member) }
    }

    /// The acceptor heard *ready*: the peer has no other link that it counts.
    pub(crate) fn accept(&self, connection: Connection, info: PeerInfo) -> Admission {
        let admission = self.lock().admit(connection, info, false);
        self.changed.send_replace(());
        admission
    }

    /// Forgets a link whose `Down` was told.
    pub(crate) fn remove(&self, live: &Live) {
        let mut state = self.lock();
        if live.why.get().is_none() || live.since.elapsed() > CREDIBLE {
            state.raise_floor(&live.info.member);
        }
        if state.live.get(&live.info.member).is_some_and(|current| current.id == live.id) {
            state.live.remove(&live.info.member);
        }
        drop(state);
        self.changed.send_replace(());
    }

    pub(crate) fn get(&self, member: &Member) -> Option<Live> {
        self.lock().live.get(member).filter(|live| live.is_up()).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Live> {
        self.lock().live.values().cloned().collect()
    }

    pub(crate) fn infos(&self) -> Vec<LinkInfo> {
        let mut links: Vec<LinkInfo> = (self.all().iter().filter(|live| live.is_up()))
            .map(|live| {
                let stats = live.connection.stats();
                LinkInfo {
                    peer: live.info.clone(),
                    age: live.since.elapsed(),
                    rtt: live.connection.rtt(),
                    tx_bytes: stats.udp_tx.bytes,
                    rx_bytes: stats.udp_rx.bytes,
                    dialed: live.dialed,
                }
            })
            .collect();
        links.sort_by(|a, b| a.peer.member.cmp(&b.peer.member));
        links
    }

    /// Whether this refusal should be told, or was told just now.
    pub(crate) fn tell_refusal(&self, ip: IpAddr, reason: &str) -> bool {
        let mut state = self.lock();
        let now = Instant::now();
        if state.refusals.len() >= REFUSALS_MAX {
            state.refusals.retain(|_, told| now - *told < REFUSAL_EVERY);
        }
        if state.refusals.len() >= REFUSALS_MAX {
            return false;
        }
        let told = state.refusals.insert((ip, reason.to_owned()), now);
        match told {
            Some(at) if now - at < REFUSAL_EVERY => {
                state.refusals.insert((ip, reason.to_owned()), at);
                false
            }
            _ => true,
        }
    }

    /// What to do with a stranger's first packet.
    pub(crate) fn knock(self: &Arc<Self>, ip: IpAddr, proven: bool) -> Knock {
        let mut state = self.lock();
        let from_ip = state.half_open_by_ip.get(&ip).copied().unwrap_or(0);
        if state.half_open >= HALF_OPEN_MAX || from_ip >= HALF_OPEN_PER_IP {
            return Knock::Full;
        }
        if state.half_open >= RETRY_ABOVE && !proven {
            return Knock::Prove;
        }
        state.half_open += 1;
        state.half_open_by_ip.insert(ip, from_ip + 1);
        Knock::Enter(HalfOpen { registry: self.clone(), ip })
    }
}

/// The answer to a stranger's first packet.
pub(crate) enum Knock {
    Enter(HalfOpen),
    /// First prove the address.
    Prove,
    Full,
}

/// A stranger between first packet and welcome.
pub(crate) struct HalfOpen {
    registry: Arc<Registry>,
    ip: IpAddr,
}

impl Drop for HalfOpen {
    fn drop(&mut self) {
        let mut state = self.registry.lock();
        state.half_open -= 1;
        if let Some(count) = state.half_open_by_ip.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                state.half_open_by_ip.remove(&self.ip);
            }
        }
    }
}

/// A member that was sent a welcome and has not said *ready* yet.
pub(crate) struct Welcoming {
    registry: Arc<Registry>,
    member: Member,
    /// A link to it was up when the welcome was made.
    pub(crate) linked: bool,
}

impl Drop for Welcoming {
    fn drop(&mut self) {
        let mut state = self.registry.lock();
        if let Some(count) = state.welcoming.get_mut(&self.member) {
            *count -= 1;
            if *count == 0 {
                state.welcoming.remove(&self.member);
            }
        }
        drop(state);
        self.registry.changed.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(node: &str, boot: u64) -> Member {
        Member { id: node.parse().unwrap(), boot: Boot(boot) }
    }

    #[test]
    fn a_flood_must_prove_its_address_and_is_bounded() {
        let registry = Arc::new(Registry::new(member("n1", 1)));
        let ip = |n: u32| IpAddr::from(std::net::Ipv4Addr::from(0x0a00_0000 + n));
        let mut guests: Vec<HalfOpen> = Vec::new();
        for n in 0..RETRY_ABOVE as u32 {
            match registry.knock(ip(n), false) {
                Knock::Enter(guest) => guests.push(guest),
                _ => panic!("stranger {n} was turned away"),
            }
        }
        assert!(matches!(registry.knock(ip(9_999), false), Knock::Prove));
        while let Knock::Enter(guest) = registry.knock(ip(1), true) {
            guests.push(guest);
        }
        assert!(guests.len() < RETRY_ABOVE + HALF_OPEN_PER_IP, "one address is bounded: {}", guests.len());
        for n in 10_000.. {
            match registry.knock(ip(n), true) {
                Knock::Enter(guest) => guests.push(guest),
                _ => break,
            }
        }
        assert_eq!(guests.len(), HALF_OPEN_MAX);
        guests.clear();
        assert!(matches!(registry.knock(ip(1), false), Knock::Enter(_)));
        assert!(registry.lock().half_open_by_ip.is_empty());
    }

    #[test]
    fn the_same_refusal_is_told_once() {
        let registry = Registry::new(member("n1", 1));
        let ip: IpAddr = "10.0.0.1".parse().unwrap();
        assert!(registry.tell_refusal(ip, "a"));
        assert!(!registry.tell_refusal(ip, "a"));
        assert!(registry.tell_refusal(ip, "b"));
        assert!(registry.tell_refusal("10.0.0.2".parse().unwrap(), "a"));
    }

    #[test]
    fn boots_never_go_back() {
        let registry = Registry::new(member("n1", 5));
        registry.raise_floor(&member("n2", 7));
        registry.raise_floor(&member("n2", 6));
        assert_eq!(registry.too_old(&member("n2", 6)), Some(Boot(7)));
        assert_eq!(registry.too_old(&member("n2", 7)), None);
        assert_eq!(registry.too_old(&member("n3", 0)), None);
    }
}
