//! The handle on all links of a fulcrum.

use crate::arrivals::Arrivals;
use crate::bulk::{self, RecvStream, SendStream};
use crate::config::{BindError, LinkConfig, ReloadError, Renewals};
use crate::conn::Conn;
use crate::counters::{Counters, Tally};
use crate::endpoint::{self, BadSides, Sides};
use crate::event::{DialFailure, LinkEvent, LinkInfo, PeerInfo};
use crate::identity::Identity;
use crate::registry::{Dialing, Registry};
use crate::strangers::Strangers;
use crate::turns::Turns;
use crate::wire::{Code, Hello, PROTOCOL};
use crate::{FRAME_MAX, dial, door, keeper, knock};
use bytes::Bytes;
use crux_names::{Boot, FulcrumId, Member, NodeName};
use crux_pki::{Admitted, Bundle, Role, Trust};
use quinn::{Connection, Endpoint};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, mpsc, watch};

/// How long a shutdown waits for peers to hear of it.
const GOODBYE: Duration = Duration::from_secs(1);
/// How far ahead of ours and of the clock a boot may be that a peer knows of us: 12 days of a clock that was wrong.
const BOOT_AHEAD: u64 = 1 << 20;
/// How long a shutdown waits for peers to have what was sent to them.
const FLUSH: Duration = Duration::from_millis(300);

/// How many links are renewed at once: after an exchange of certificates all want to.
const RENEWALS_AT_ONCE: usize = 8;

/// What is exchanged together.
struct Ends {
    /// Until the shutdown: its last handle keeps the socket.
    endpoint: Option<Endpoint>,
    identity: Arc<Identity>,
}

pub(crate) struct Inner {
    pub(crate) cfg: LinkConfig,
    pub(crate) me: Member,
    pub(crate) local: SocketAddr,
    ends: Mutex<Ends>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) strangers: Arc<Strangers>,
    /// Own dials.
    pub(crate) turns: Arc<Turns>,
    /// Who is at the door: a dial to where they come from waits for them.
    pub(crate) arrivals: Arc<Arrivals>,
    pub(crate) tally: Arc<Tally>,
    events: mpsc::Sender<LinkEvent>,
    members: AtomicUsize,
    /// Wakes the keeper.
    pub(crate) look: Notify,
    /// Whether the shutdown has begun.
    pub(crate) over: watch::Sender<bool>,
    /// Paces renewals.
    pub(crate) pace: Semaphore,
    /// Tells this process from another one with its identity.
    pub(crate) life: u64,
    /// xorshift64: names of links and jitter need no better randomness.
    random: Mutex<u64>,
    /// Where our tasks run, so that a dial can be asked for from any thread.
    runtime: Handle,
}

impl Inner {
    pub(crate) async fn emit(&self, event: LinkEvent) {
        // Without a receiver the owner is going away, and the links with it.
        let _ = self.events.send(event).await;
    }

    fn ends(&self) -> MutexGuard<'_, Ends> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The endpoint, for a moment, and what it shows to peers; nothing after the shutdown.
    pub(crate) fn endpoint(&self) -> Option<(Endpoint, Arc<Identity>)> {
        let ends = self.ends();
        Some((ends.endpoint.clone()?, ends.identity.clone()))
    }

    /// Who we are now, and whom we trust.
    pub(crate) fn identity(&self) -> Arc<Identity> {
        self.ends().identity.clone()
    }

    /// The wall clock in Unix seconds.
    pub(crate) fn wall(&self) -> u64 {
        self.cfg.simulated.as_ref().map_or_else(crux_pki::unix_now, |simulated| (simulated.wall)())
    }

    pub(crate) fn renewals(&self) -> Renewals {
        Renewals::of(&self.cfg.timing, self.members.load(Ordering::Relaxed))
    }

    /// A number that no other link is likely to have.
    pub(crate) fn random(&self) -> u64 {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        *random ^= *random << 13;
        *random ^= *random >> 7;
        *random ^= *random << 17;
        *random
    }

    /// A connection that was just welcomed, with a moment for its renewal: between 75 and 95 % of the period.
    pub(crate) fn conn(
        &self,
        connection: Connection,
        info: PeerInfo,
        own: Arc<Identity>,
        trusted: &Identity,
    ) -> Arc<Conn> {
        let renew_at = 750 + self.random() % 200;
        Arc::new(Conn::new(connection, info, own, trusted.generation, renew_at, self.renewals()))
    }

    /// The boot that a peer claims to know of this fulcrum, if there can have been one: boots are Unix seconds, or count
    /// on from there. Without the bound any node could make this one use up all its numbers.
    pub(crate) fn believable(&self, floor: u64) -> Option<Boot> {
        let highest = self.me.boot.0.max(self.wall()).saturating_add(BOOT_AHEAD).min(u64::MAX - 1);
        (self.me.boot.0 < floor && floor <= highest).then_some(Boot(floor))
    }

    pub(crate) fn hello(&self, linked: bool) -> Hello {
        Hello {
            version: PROTOCOL,
            fulcrum: self.me.id.fulcrum.to_string(),
            boot: self.me.boot.0,
            mesh_port: u32::from(self.local.port()),
            api_port: u32::from(self.cfg.api_port),
            linked,
            link: 0,
            renews: false,
            life: self.life,
        }
    }

    /// What we know of a peer seen at this address that said this.
    pub(crate) fn peer_info(&self, admitted: &Admitted, member: Member, seen: SocketAddr, hello: &Hello) -> PeerInfo {
        PeerInfo {
            member,
            admission: admitted.admission(),
            labels: admitted.labels().clone(),
            addr: SocketAddr::new(seen.ip().to_canonical(), hello.mesh_port().unwrap_or(seen.port())),
            api_port: u16::try_from(hello.api_port).unwrap_or(0),
            not_before: admitted.not_before(),
            not_after: admitted.not_after(),
        }
    }
}

/// Why no bulk stream could be opened.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BulkError {
    /// There is no link to this member.
    #[error("there is no link to {0}; wait until it is dialled")]
    NoLink(Member),
    /// The link ended meanwhile.
    #[error("the link to {peer} ended: {why}")]
    Ended {
        /// Whose link.
        peer: Member,
        /// Why.
        why: String,
    },
}

/// All links of this fulcrum. Cheap to clone; they end with [`Links::shutdown`] or with the runtime.
#[derive(Clone)]
pub struct Links {
    inner: Arc<Inner>,
}

impl Links {
    /// Starts listening. Events go to `events`, in order for each member; a receiver that does not read stops all
    /// traffic, and one that is dropped loses it.
    ///
    /// # Errors
    /// [`BindError`] names the address and the cause: a busy port, a bundle that is not a node's.
    pub async fn bind(cfg: LinkConfig, events: mpsc::Sender<LinkEvent>) -> Result<Self, BindError> {
        let Role::Node(node) = &cfg.bundle.identity().role else {
            return Err(BindError::NotANode { found: format!("of {}", cfg.bundle.identity().role) });
        };
        let me = Member { id: FulcrumId { node: node.clone(), fulcrum: cfg.fulcrum.clone() }, boot: cfg.boot };
        let endpoint = endpoint::bind(&cfg)?;
        let local = endpoint.local_addr().map_err(|cause| BindError::Listen { addr: cfg.listen, cause })?;
        let tally: Arc<Tally> = Arc::default();
        let registry = Arc::new(Registry::new(me.clone(), tally.clone()));
        let accept = endpoint.clone();
        let identity = Identity { generation: 0, bundle: cfg.bundle.clone(), trust: cfg.trust.clone() };
        let ends = Mutex::new(Ends { endpoint: Some(endpoint), identity: Arc::new(identity) });
        let random = match &cfg.simulated {
            Some(simulated) => simulated.seed,
            None => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
                cfg.bundle.derive(&format!("links of boot {} at {now} in {} on {local}", me.boot, std::process::id()))
            }
        };
        let number = |from: usize| u64::from_be_bytes(random[from..from + 8].try_into().expect("eight bytes"));
        let (random, life) = (number(0), number(8));
        let inner = Arc::new(Inner {
            cfg,
            me,
            local,
            ends,
            registry,
            strangers: Arc::default(),
            turns: Turns::new(),
            arrivals: Arc::default(),
            tally,
            events,
            members: 0.into(),
            look: Notify::new(),
            over: watch::Sender::new(false),
            pace: Semaphore::new(RENEWALS_AT_ONCE),
            life,
            random: Mutex::new(random | 1),
            runtime: Handle::current(),
        });
        tokio::spawn(door::keep(inner.clone(), accept));
        tokio::spawn(keeper::keep(inner.clone()));
        Ok(Self { inner })
    }

    /// Who we are to peers.
    #[must_use]
    pub fn member(&self) -> &Member {
        &self.inner.me
    }

    /// Where we listen.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.inner.local
    }

    /// Dials an address. What comes of it is told by an event: `Up`, or `DialFailed` within 1 s, within 5 s where somebody
    /// answers slowly. While a dial to an address is under way, others to it are the same dial. Nothing comes of it while 512 are
    /// under way.
    pub fn dial(&self, addr: SocketAddr) {
        let addr = SocketAddr::new(addr.ip().to_canonical(), addr.port());
        match self.inner.registry.start_dial(addr) {
            Dialing::Begins => drop(self.inner.runtime.spawn(dial::dial(self.inner.clone(), addr))),
            Dialing::Under => {}
            // It counts as one that nobody answered: whoever wanted it tries again.
            Dialing::NoRoom => tracing::debug!(%addr, "not dialled: 512 dials are under way"),
        }
    }

    /// Tries whether these mesh ports are reached from here, and says who answers, by certificate, sorted by address. It
    /// comes from another port than links do, so that no firewall takes it for the answer to one; no link comes of it.
    /// Silence takes two dials, 2 s; of many addresses, 16 are tried at once.
    ///
    /// # Errors
    /// For each address why nobody is reached there: silence, a refusal by either side, or that nothing can be sent.
    pub async fn knock(&self, addrs: Vec<SocketAddr>) -> Vec<(SocketAddr, Result<NodeName, DialFailure>)> {
        knock::knock(&self.inner, addrs).await
    }

    /// Sends a datagram, at most as long as [`Links::max_datagram`] says. It may be lost; the oldest waiting ones make
    /// room. False if there is no link or it does not fit.
    pub fn send_datagram(&self, to: &Member, bytes: Bytes) -> bool {
        let Some(live) = self.inner.registry.get(to) else { return false };
        let length = bytes.len();
        let sent = live.current().quic.send_datagram(bytes).is_ok();
        if sent {
            self.inner.tally.tx_datagram(length);
        }
        sent
    }

    /// The longest datagram that fits to this member now; it changes with the path. At least 1,100 bytes.
    #[must_use]
    pub fn max_datagram(&self, to: &Member) -> Option<usize> {
        self.inner.registry.get(to)?.current().quic.max_datagram_size()
    }

    /// Queues a frame of at most 1 MiB: reliable and ordered while the link is up. False if there is no link, if the
    /// frame is too long, or if the queue is full; then the link is closed too, since a frame would be missing.
    pub fn send_frame(&self, to: &Member, bytes: Bytes) -> bool {
        let Some(live) = self.inner.registry.get(to).filter(|_| bytes.len() <= FRAME_MAX) else { return false };
        let queued = live.queue.push(bytes);
        if !queued {
            live.close(Code::Slow, "too many frames waited to be sent; the peer takes them too slowly");
        }
        queued
    }

    /// Opens a pair of streams for a bulk transfer. The peer hears of it with the first byte sent. At most 16 at once;
    /// the next waits.
    ///
    /// # Errors
    /// [`BulkError`] if there is no link or it ends meanwhile.
    pub async fn open_bulk(&self, to: &Member) -> Result<(SendStream, RecvStream), BulkError> {
        let live = self.inner.registry.get(to).ok_or_else(|| BulkError::NoLink(to.clone()))?;
        let conn = live.current();
        match conn.quic.open_bi().await {
            Ok(streams) => Ok(bulk::pair(&conn, &self.inner.tally, streams)),
            Err(error) => Err(BulkError::Ended { peer: to.clone(), why: crate::wire::words(&error) }),
        }
    }

    /// Ends the link to this member, if there is one; both sides are told `why`.
    pub fn close(&self, peer: &Member, why: &str) {
        if let Some(live) = self.inner.registry.get(peer) {
            live.close(Code::Closed, why);
        }
    }

    /// Tells a boot of a fulcrum that is known from elsewhere; older ones are refused from now on.
    pub fn know_boot(&self, member: &Member) {
        self.inner.registry.raise_floor(member);
    }

    /// The links that are up, sorted by member.
    #[must_use]
    pub fn links(&self) -> Vec<LinkInfo> {
        self.inner.registry.infos(&self.inner.renewals())
    }

    /// What was counted since the start.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.inner.tally.read(self.inner.strangers.count())
    }

    /// Tells how many members the flock has: in a larger one, keys live longer.
    pub fn set_members(&self, members: usize) {
        self.inner.members.store(members, Ordering::Relaxed);
    }

    /// The age before which the keys of a link are replaced, and the one at which a link is cut if they were not. Links
    /// that were made in a larger flock are cut at the greater age that held then.
    #[must_use]
    pub fn key_ages(&self) -> (Duration, Duration) {
        let renewals = self.inner.renewals();
        (renewals.period, renewals.limit())
    }

    /// The certificate that is shown to peers now.
    #[must_use]
    pub fn bundle(&self) -> Arc<Bundle> {
        self.inner.identity().bundle.clone()
    }

    /// Exchanges certificate, key and roots while links live. New handshakes use them at once; links to peers for whom no
    /// root vouches any more are cut, with a reason, within 2 s; all others go on and, if the certificate is another one,
    /// get new keys under it without a gap.
    ///
    /// # Errors
    /// [`ReloadError`] if it is somebody else's, if these roots do not vouch for it, or if it cannot be used. Then nothing
    /// changes.
    pub fn reload(&self, bundle: Arc<Bundle>, trust: Arc<Trust>) -> Result<(), ReloadError> {
        let inner = &self.inner;
        let before = inner.identity();
        if bundle.identity() != before.bundle.identity() || trust.bloc() != before.trust.bloc() {
            let (found, here) = (bundle.identity().to_string(), before.bundle.identity().to_string());
            return Err(ReloadError::Somebody { found, here });
        }
        trust.verify_chain(bundle.chain(), inner.wall())?;
        let Sides { server, client } = endpoint::sides(&inner.cfg, &bundle, &trust).map_err(|bad| match bad {
            BadSides::Pki(error) => ReloadError::Pki(error),
            BadSides::Quic(words) => ReloadError::Quic(words),
        })?;
        let mut ends = inner.ends();
        let generation = ends.identity.generation + 1;
        let endpoint = ends.endpoint.as_mut().ok_or(ReloadError::Down)?;
        endpoint.set_server_config(Some(server));
        endpoint.set_default_client_config(client);
        ends.identity = Arc::new(Identity { generation, bundle, trust });
        drop(ends);
        inner.look.notify_one();
        Ok(())
    }

    /// Ends all links, telling the peers, and stops listening: the port is free soon after, whoever still holds a handle.
    /// Frames that were taken before still arrive, unless a peer takes longer than 300 ms for them. Waits at most 1.3 s.
    pub async fn shutdown(&self) {
        self.inner.over.send_replace(true);
        let all = self.inner.registry.all();
        all.iter().for_each(|live| live.queue.end());
        let arrived = async {
            for live in &all {
                let conn = live.current();
                tokio::select! {
                    biased;
                    () = live.queue.flushed() => {}
                    _ = conn.quic.closed() => {}
                }
            }
        };
        let _ = tokio::time::timeout(FLUSH, arrived).await;
        for live in all {
            live.close(Code::Closed, "shutting down");
        }
        let endpoint = self.inner.ends().endpoint.take();
        if let Some(endpoint) = endpoint {
            endpoint.close(Code::Closed.into(), b"shutting down");
            let _ = tokio::time::timeout(GOODBYE, endpoint.wait_idle()).await;
        }
    }
}
