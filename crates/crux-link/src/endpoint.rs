//! The QUIC endpoint: socket, TLS, and every limit.

use crate::config::{BindError, LinkConfig, Simulated};
use crate::event::DialFailure;
use crate::links::Inner;
use crate::{FRAME_MAX, QUEUE_BYTES};
use aws_lc_rs::hmac;
use crux_pki::{Bundle, PkiError, RoleKind, Trust, client_config, server_config};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    ClientConfig, Endpoint, EndpointConfig, IdleTimeout, MtuDiscoveryConfig, Runtime, ServerConfig, TokioRuntime,
    TransportConfig, VarInt,
};
use quinn_proto::HashedConnectionIdGenerator;
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// The protocol's name in TLS; another major version has another one.
const ALPN: &[&[u8]] = &[b"crux-mesh/1"];

/// Whom the mesh admits, on both sides. Beacons, once they listen, are admitted here and told apart at the door.
const ADMITTED: &[RoleKind] = &[RoleKind::Node];

/// Memory that one peer may make us hold, under 8 MiB. For each connection 1 MiB received, 1 MiB sent and not
/// acknowledged, 256 KiB of datagrams; for each link 2 MiB of queued frames and 1 MiB of frames that were received and
/// not handled yet. While its keys are replaced a link has two connections: 2 × 2.25 + 3 = 7.5 MiB.
const WINDOW: u32 = 1 << 20;
/// No single bulk transfer that is read slowly may stop the frames of the same connection.
const STREAM_WINDOW: u32 = 256 << 10;
const DATAGRAM_BUFFER: usize = 128 << 10;
const _: () = assert!(
    2 * (2 * WINDOW as usize + 2 * DATAGRAM_BUFFER) + QUEUE_BYTES + FRAME_MAX <= 8 << 20,
    "one peer may cost 8 MiB"
);
/// Bulk transfers at once from one peer, plus the welcome's stream.
const BIDI_STREAMS: u32 = 17;
/// The stream of frames, and notes of one byte.
const UNI_STREAMS: u32 = 4;
/// First guess of the round trip. QUIC's third of a second would let the first retransmission come after the dial's
/// deadline; this one sends again after 150 ms, and a slower path only costs a few spare packets.
const INITIAL_RTT: Duration = Duration::from_millis(50);
/// The search for the path's greatest packet ends when less than this can be won. It begins anew with each change of keys:
/// down to 20 bytes it would cost half as much again as the handshake.
const MTU_STEP: u16 = 100;
/// Strangers whose first packet waits for us to look at it.
const MAX_INCOMING: usize = 1_024;
/// What those may send in the meantime, each and all together.
const INCOMING_BUFFER: u64 = 32 << 10;
const INCOMING_BUFFER_TOTAL: u64 = 4 << 20;
const SOCKET_BUFFER: usize = 4 << 20;

fn transport(cfg: &LinkConfig) -> Result<TransportConfig, BindError> {
    let mut transport = TransportConfig::default();
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.minimum_change(MTU_STEP);
    let idle = IdleTimeout::try_from(cfg.timing.idle).map_err(|e| BindError::Quic(e.to_string()))?;
    transport
        .max_idle_timeout(Some(idle))
        .keep_alive_interval(Some(cfg.timing.keep_alive))
        .initial_rtt(INITIAL_RTT)
        .initial_mtu(1200)
        .min_mtu(1200)
        .mtu_discovery_config(Some(mtu))
        .receive_window(WINDOW.into())
        .send_window(u64::from(WINDOW))
        .stream_receive_window(STREAM_WINDOW.into())
        .max_concurrent_bidi_streams(VarInt::from_u32(BIDI_STREAMS))
        .max_concurrent_uni_streams(VarInt::from_u32(UNI_STREAMS))
        .datagram_receive_buffer_size(Some(DATAGRAM_BUFFER))
        .datagram_send_buffer_size(DATAGRAM_BUFFER);
    Ok(transport)
}

fn socket(addr: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(!addr.ip().is_unspecified())?;
    }
    // The system may grant less; then bursts are lost sooner, nothing else.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    Ok(socket.into())
}

/// The wall clock of a test, for certificates.
struct Wall(Simulated);

impl std::fmt::Debug for Wall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wall")
    }
}

impl TimeProvider for Wall {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs((self.0.wall)())))
    }
}

/// What is shown to peers and demanded of them, for both sides.
pub(crate) struct Sides {
    pub(crate) server: ServerConfig,
    pub(crate) client: ClientConfig,
}

/// Why there are no such settings.
pub(crate) enum BadSides {
    Pki(PkiError),
    Quic(String),
}

impl From<BadSides> for BindError {
    fn from(bad: BadSides) -> Self {
        match bad {
            BadSides::Pki(error) => Self::Pki(error),
            BadSides::Quic(words) => Self::Quic(words),
        }
    }
}

/// Settings for this bundle and these roots.
pub(crate) fn sides(cfg: &LinkConfig, bundle: &Bundle, trust: &Arc<Trust>) -> Result<Sides, BadSides> {
    let quic = |e: &dyn std::fmt::Display| BadSides::Quic(e.to_string());
    let transport = Arc::new(transport(cfg).map_err(|e| quic(&e))?);
    let mut tls = server_config(bundle, trust.clone(), ADMITTED, ALPN).map_err(BadSides::Pki)?;
    if let Some(simulated) = &cfg.simulated {
        tls.time_provider = Arc::new(Wall(simulated.clone()));
    }
    let mut server = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).map_err(|e| quic(&e))?));
    server
        .transport_config(transport.clone())
        .migration(false)
        .max_incoming(MAX_INCOMING)
        .incoming_buffer_size(INCOMING_BUFFER)
        .incoming_buffer_size_total(INCOMING_BUFFER_TOTAL);
    let mut tls = client_config(bundle, trust.clone(), ADMITTED, ALPN).map_err(BadSides::Pki)?;
    if let Some(simulated) = &cfg.simulated {
        tls.time_provider = Arc::new(Wall(simulated.clone()));
    }
    let mut client = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).map_err(|e| quic(&e))?));
    client.transport_config(transport);
    Ok(Sides { server, client })
}

/// Keys for stateless resets and connection ids. They stay the same, so that after a restart we can tell a peer at once
/// that its old link is dead. Without the second one QUIC would drop the old link's packets before it thought of a reset.
fn settings(cfg: &LinkConfig) -> EndpointConfig {
    let derive = |label: &str| match &cfg.secret {
        Some(secret) => {
            let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
            hmac::sign(&key, label.as_bytes()).as_ref().try_into().expect("32 bytes of SHA-256")
        }
        None => cfg.bundle.derive(label),
    };
    let reset: [u8; 32] = derive("quic stateless reset");
    let ids = derive("quic connection ids");
    let ids = u64::from_be_bytes(ids[..8].try_into().expect("eight bytes"));
    let mut settings = EndpointConfig::new(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &reset)));
    settings.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(ids)));
    // Whoever looks at a capture must be able to tell that everything in it is QUIC (promise F1).
    settings.grease_quic_bit(false);
    settings.rng_seed(cfg.simulated.as_ref().map(|simulated| simulated.seed));
    settings
}

pub(crate) fn bind(cfg: &LinkConfig) -> Result<Endpoint, BindError> {
    let Sides { server, client } = sides(cfg, &cfg.bundle, &cfg.trust)?;
    let addr = cfg.listen;
    let failed = |cause: io::Error| match cause.kind() {
        io::ErrorKind::AddrInUse => BindError::Busy { addr },
        _ => BindError::Listen { addr, cause },
    };
    let runtime = Arc::new(TokioRuntime);
    let mut socket = match &cfg.simulated {
        Some(simulated) => simulated.socket.clone(),
        None => runtime.wrap_udp_socket(socket(addr).map_err(failed)?).map_err(failed)?,
    };
    if let Some(gate) = cfg.gate.clone() {
        socket = gate.wrap(socket);
    }
    let mut endpoint =
        Endpoint::new_with_abstract_socket(settings(cfg), Some(server), socket, runtime).map_err(failed)?;
    endpoint.set_default_client_config(client);
    Ok(endpoint)
}

/// An endpoint beside the one that links use, at the same address with another port, behind the same faults. It accepts
/// nobody.
pub(crate) fn aside(inner: &Inner) -> Result<Endpoint, DialFailure> {
    let cannot = |error: &dyn std::fmt::Display| DialFailure::Unreachable(error.to_string());
    if inner.cfg.simulated.is_some() {
        // A simulated machine has one socket.
        return inner.endpoint().map(|(endpoint, _)| endpoint).ok_or_else(|| cannot(&"this fulcrum is going down"));
    }
    let identity = inner.identity();
    let Sides { client, .. } =
        sides(&inner.cfg, &identity.bundle, &identity.trust).map_err(|bad| cannot(&BindError::from(bad)))?;
    let runtime = Arc::new(TokioRuntime);
    let socket = socket(SocketAddr::new(inner.local.ip(), 0)).map_err(|error| cannot(&error))?;
    let mut socket = runtime.wrap_udp_socket(socket).map_err(|error| cannot(&error))?;
    if let Some(gate) = inner.cfg.gate.clone() {
        socket = gate.wrap(socket);
    }
    let endpoint = Endpoint::new_with_abstract_socket(EndpointConfig::default(), None, socket, runtime);
    let mut endpoint = endpoint.map_err(|error| cannot(&error))?;
    endpoint.set_default_client_config(client);
    Ok(endpoint)
}
