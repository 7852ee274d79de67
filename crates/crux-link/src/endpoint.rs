//! The QUIC endpoint: socket, TLS, and every limit.

use crate::config::{BindError, LinkConfig};
use crux_pki::{RoleKind, client_config, server_config};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    ClientConfig, Endpoint, EndpointConfig, IdleTimeout, Runtime, ServerConfig, TokioRuntime, TransportConfig, VarInt,
};
use quinn_proto::HashedConnectionIdGenerator;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// The protocol's name in TLS; another major version has another one.
const ALPN: &[&[u8]] = &[b"crux-mesh/1"];

/// Memory that one peer may make us hold: 2 MiB received + 2 MiB sent and not acknowledged + 2 MiB queued frames
/// + a frame being put together (1 MiB) + datagrams (2 × 256 KiB): under 8 MiB.
const WINDOW: u32 = 2 << 20;
const STREAM_WINDOW: u32 = 1 << 20;
const DATAGRAM_BUFFER: usize = 256 << 10;
/// Bulk transfers at once from one peer, plus the welcome's stream.
const BIDI_STREAMS: u32 = 17;
/// The stream of frames, and one to spare.
const UNI_STREAMS: u32 = 2;
/// First guess of the round trip. QUIC's third of a second would let the first retransmission come after the dial's
/// deadline; this one sends again after 150 ms, and a slower path only costs a few spare packets.
const INITIAL_RTT: Duration = Duration::from_millis(50);
/// Strangers whose first packet waits for us to look at it.
const MAX_INCOMING: usize = 1_024;
/// What those may send in the meantime, each and all together.
const INCOMING_BUFFER: u64 = 32 << 10;
const INCOMING_BUFFER_TOTAL: u64 = 4 << 20;
const SOCKET_BUFFER: usize = 4 << 20;

fn transport(cfg: &LinkConfig) -> Result<TransportConfig, BindError> {
    let mut transport = TransportConfig::default();
    let idle = IdleTimeout::try_from(cfg.timing.idle).map_err(|e| BindError::Quic(e.to_string()))?;
    transport
        .max_idle_timeout(Some(idle))
        .keep_alive_interval(Some(cfg.timing.keep_alive))
        .initial_rtt(INITIAL_RTT)
        .initial_mtu(1200)
        .min_mtu(1200)
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

pub(crate) fn bind(cfg: &LinkConfig) -> Result<Endpoint, BindError> {
    let quic = |e: &dyn std::fmt::Display| BindError::Quic(e.to_string());
    let transport = Arc::new(transport(cfg)?);

    // The mesh admits nodes only, on both sides.
    let roles = [RoleKind::Node];
    let tls = server_config(&cfg.bundle, cfg.trust.clone(), &roles, ALPN)?;
    let mut server = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).map_err(|e| quic(&e))?));
    server
        .transport_config(transport.clone())
        .migration(false)
        .max_incoming(MAX_INCOMING)
        .incoming_buffer_size(INCOMING_BUFFER)
        .incoming_buffer_size_total(INCOMING_BUFFER_TOTAL);
    let tls = client_config(&cfg.bundle, cfg.trust.clone(), &roles, ALPN)?;
    let mut client = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).map_err(|e| quic(&e))?));
    client.transport_config(transport);

    // Both from the node's key, so that after a restart we can tell a peer at once that its old link is dead. Without
    // the second one QUIC would drop the old link's packets before it thought of a reset.
    let reset = cfg.bundle.derive("quic stateless reset");
    let ids = cfg.bundle.derive("quic connection ids");
    let ids = u64::from_be_bytes(ids[..8].try_into().expect("eight bytes"));
    let mut settings = EndpointConfig::new(Arc::new(aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &reset)));
    settings.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(ids)));

    let addr = cfg.listen;
    let failed = |cause: io::Error| match cause.kind() {
        io::ErrorKind::AddrInUse => BindError::Busy { addr },
        _ => BindError::Listen { addr, cause },
    };
    let runtime = Arc::new(TokioRuntime);
    let mut socket = runtime.wrap_udp_socket(socket(addr).map_err(failed)?).map_err(failed)?;
    if let Some(gate) = cfg.gate.clone() {
        socket = gate.wrap(socket);
    }
    let mut endpoint = Endpoint::new_with_abstract_socket(settings, Some(server), socket, runtime).map_err(failed)?;
    endpoint.set_default_client_config(client);
    Ok(endpoint)
}
