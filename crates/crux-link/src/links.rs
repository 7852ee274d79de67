//! The handle on all links of a fulcrum.

use crate::config::{BindError, LinkConfig};
use crate::event::{LinkEvent, LinkInfo, PeerInfo};
use crate::registry::Registry;
use crate::wire::{Code, Hello, PROTOCOL};
use crate::{FRAME_MAX, dial, door, endpoint};
use bytes::Bytes;
use crux_names::{Boot, FulcrumId, Member};
use crux_pki::{Admitted, CertificateDer, Refusal, Role};
use quinn::{Connection, Endpoint, RecvStream, SendStream};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

/// How long a shutdown waits for peers to hear of it.
const GOODBYE: Duration = Duration::from_secs(1);
/// How far ahead of ours and of the clock a boot may be that a peer knows of us: 12 days of a clock that was wrong.
const BOOT_AHEAD: u64 = 1 << 20;
/// How long a shutdown waits for peers to have what was sent to them.
const FLUSH: Duration = Duration::from_millis(300);

pub(crate) struct Inner {
    pub(crate) cfg: LinkConfig,
    pub(crate) me: Member,
    pub(crate) local: SocketAddr,
    pub(crate) endpoint: Endpoint,
    pub(crate) registry: Arc<Registry>,
    events: mpsc::Sender<LinkEvent>,
    /// Where our tasks run, so that a dial can be asked for from any thread.
    runtime: Handle,
}

impl Inner {
    pub(crate) async fn emit(&self, event: LinkEvent) {
        // Without a receiver the owner is going away, and the links with it.
        let _ = self.events.send(event).await;
    }

    /// Who the certificate at the other end speaks for.
    pub(crate) fn verify(&self, connection: &Connection) -> Result<Admitted, Refusal> {
        let shown = connection.peer_identity().and_then(|any| any.downcast::<Vec<CertificateDer<'static>>>().ok());
        self.cfg.trust.verify_chain(&shown.ok_or(Refusal::NoCertificate)?, crux_pki::unix_now())
    }

    /// The boot that a peer claims to know of this fulcrum, if there can have been one: boots are Unix seconds, or count
    /// on from there. Without the bound any node could make this one use up all its numbers.
    pub(crate) fn believable(&self, floor: u64) -> Option<Boot> {
        let highest = self.me.boot.0.max(crux_pki::unix_now()).saturating_add(BOOT_AHEAD).min(u64::MAX - 1);
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
        let registry = Arc::new(Registry::new(me.clone()));
        let inner = Arc::new(Inner { cfg, me, local, endpoint, registry, events, runtime: Handle::current() });
        tokio::spawn(door::keep(inner.clone()));
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

    /// Dials an address. What comes of it is told by an event: `Up`, or `DialFailed` within 1 s. While a dial to an
    /// address is under way, others to it are the same dial.
    pub fn dial(&self, addr: SocketAddr) {
        let addr = SocketAddr::new(addr.ip().to_canonical(), addr.port());
        if self.inner.registry.start_dial(addr) {
            self.inner.runtime.spawn(dial::dial(self.inner.clone(), addr));
        }
    }

    /// Sends a datagram, at most as long as [`Links::max_datagram`] says. It may be lost; the oldest waiting ones make
    /// room. False if there is no link or it does not fit.
    pub fn send_datagram(&self, to: &Member, bytes: Bytes) -> bool {
        self.inner.registry.get(to).is_some_and(|live| live.connection.send_datagram(bytes).is_ok())
    }

    /// The longest datagram that fits to this member now; it changes with the path. At least 1,100 bytes.
    #[must_use]
    pub fn max_datagram(&self, to: &Member) -> Option<usize> {
        self.inner.registry.get(to)?.connection.max_datagram_size()
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
        let opened = live.connection.open_bi().await;
        opened.map_err(|error| BulkError::Ended { peer: to.clone(), why: crate::wire::words(&error) })
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
        self.inner.registry.infos()
    }

    /// Ends all links, telling the peers, and stops listening. Frames that were taken before still arrive, unless a peer
    /// takes longer than 300 ms for them. Waits at most 1.3 s.
    pub async fn shutdown(&self) {
        let all = self.inner.registry.all();
        all.iter().for_each(|live| live.queue.end());
        let arrived = async {
            for live in &all {
                tokio::select! {
                    () = live.queue.flushed() => {}
                    _ = live.connection.closed() => {}
                }
            }
        };
        let _ = tokio::time::timeout(FLUSH, arrived).await;
        for live in all {
            live.close(Code::Closed, "shutting down");
        }
        self.inner.endpoint.close(Code::Closed.into(), b"shutting down");
        let _ = tokio::time::timeout(GOODBYE, self.inner.endpoint.wait_idle()).await;
    }
}
