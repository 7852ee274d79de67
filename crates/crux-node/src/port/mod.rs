//! The API port: TCP with TLS 1.3 and mutual certificates of the bloc. What a connection is for stands in its ALPN:
//!
//! | ALPN | for whom | what |
//! |---|---|---|
//! | `h2`, `http/1.1` | operators | everything that the local socket gives |
//! | `crux-live/1` | nodes | an idle connection whose end tells that a process died: `live` |
//!
//! The role decides, and only the certificate gives it. A node that asks for more than `crux-live/1` is told why not.
//! Strangers cost bounded memory: few may be in the handshake at once, and each has a deadline.

mod limit;
pub(crate) mod plain;
mod serve;

use crate::api::Caller;
use crate::live::{ALPN, Live};
use crate::metrics::Meters;
use crate::papers::Papers;
use axum::Router;
use crux_pki::{Admitted, Refusal, RoleKind, live_server_config, unix_now};
use limit::Limit;
use serve::serve_http;
use socket2::{Domain, SockRef, Socket, TcpKeepalive, Type};
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{debug, warn};

/// How long a stranger may take for the handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Strangers in the handshake: all together, and from one address (a dev cluster has one address).
const HALF_OPEN_MAX: usize = 256;
const HALF_OPEN_PER_IP: usize = 64;
/// Connections of operators: all together, and from one address.
const OPERATORS_MAX: usize = 256;
const OPERATORS_PER_IP: usize = 64;
/// How long nothing is accepted after the system had no descriptor for a connection.
const EXHAUSTED: Duration = Duration::from_millis(200);
/// How many may have knocked and not been let in or sent away yet: a flood must not make others knock again after a second.
const KNOCKING: i32 = 1024;
/// When the kernel looks whether a silent other end still exists.
pub(crate) const KEEPALIVE: Duration = Duration::from_secs(60);
/// At most one line about refusals in this time.
const COMPLAIN: Duration = Duration::from_secs(10);

/// Why a TCP port cannot be used.
#[derive(Debug, Error)]
pub enum PortError {
    /// Another process has it.
    #[error(
        "TCP {addr} for --{flag} is in use by another process, perhaps another fulcrum; stop it or give another port"
    )]
    Busy {
        /// The setting that asks for it.
        flag: &'static str,
        /// The address.
        addr: SocketAddr,
    },
    /// The address is not of this machine, or not allowed.
    #[error(
        "cannot listen on TCP {addr} for --{flag}: {source}; choose an address of this machine and a port above 1023"
    )]
    Listen {
        /// The setting that asks for it.
        flag: &'static str,
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

/// Binds a TCP port. It stays bound from one life of the fulcrum to the next.
///
/// # Errors
/// [`PortError`] names the address and the setting.
pub(crate) fn bind(flag: &'static str, addr: SocketAddr) -> Result<StdListener, PortError> {
    let listen = || {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
        // What is left of connections of the life before keeps nobody from listening.
        socket.set_reuse_address(true)?;
        socket.bind(&addr.into())?;
        socket.listen(KNOCKING)?;
        socket.set_nonblocking(true)?;
        Ok(StdListener::from(socket))
    };
    let bound: io::Result<StdListener> = listen();
    bound.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => PortError::Busy { flag, addr },
        _ => PortError::Listen { flag, addr, source },
    })
}

/// What stands behind the port.
#[derive(Clone)]
pub(crate) struct Rooms {
    papers: Papers,
    tls: TlsAcceptor,
    /// What operators get, behind the gate that knows them.
    router: Router,
    /// Where nodes' idle connections are kept.
    live: Live,
    /// Where operators' certificates are counted.
    meters: Meters,
    half_open: Limit,
    operators: Limit,
}

impl Rooms {
    /// Behind the certificate of these papers, as they are at each handshake.
    pub(crate) fn new(papers: &Papers, router: Router, live: Live, meters: Meters) -> Self {
        let roles = [RoleKind::Node, RoleKind::Operator];
        let config = live_server_config(papers.live(), &roles, &[ALPN, b"h2", b"http/1.1"]);
        Self {
            papers: papers.clone(),
            tls: TlsAcceptor::from(Arc::new(config)),
            router,
            live,
            meters,
            half_open: Limit::new(HALF_OPEN_MAX, HALF_OPEN_PER_IP),
            operators: Limit::new(OPERATORS_MAX, OPERATORS_PER_IP),
        }
    }

    /// Who stands at the other end.
    fn who(&self, stream: &TlsStream<TcpStream>) -> Result<Admitted, Refusal> {
        let chain = stream.get_ref().1.peer_certificates().ok_or(Refusal::NoCertificate)?;
        self.papers.live().trust().load().verify_chain(chain, unix_now())
    }

    /// One connection, from its first byte to its end.
    async fn receive(self, stream: TcpStream, from: SocketAddr, stop: watch::Receiver<bool>) -> Result<(), String> {
        let Some(half_open) = self.half_open.enter(from.ip()) else { return Ok(()) };
        // Small answers must not wait for others; where it cannot be set, they do.
        let _ = stream.set_nodelay(true);
        // Without it the connection of a host that died is kept a little longer.
        let _ = SockRef::from(&stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE));
        let stream = match tokio::time::timeout(HANDSHAKE, self.tls.accept(stream)).await {
            Err(_) => return Err("no handshake within the deadline".to_owned()),
            Ok(Err(error)) => return refusal(&error).map_or(Ok(()), Err),
            Ok(Ok(stream)) => stream,
        };
        drop(half_open);
        let admitted = self.who(&stream).map_err(|refusal| refusal.to_string())?;
        let protocol = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
        if protocol.as_deref() == Some(ALPN) {
            self.live.accept(stream, &admitted).await.map_err(|refusal| refusal.to_string())
        } else {
            let Some(_inside) = self.operators.enter(from.ip()) else { return Err("too many connections".to_owned()) };
            let caller = Caller::of(admitted, self.papers, from);
            if let Some(ends) = caller.operators_end() {
                self.meters.operator(caller.name(), ends);
            }
            serve_http(stream, protocol.as_deref() == Some(b"h2"), self.router, caller, stop).await;
            Ok(())
        }
    }
}

/// What a failed handshake says of the other side, if it is worth a line: the reason of a refusal, ours or theirs.
fn refusal(error: &io::Error) -> Option<String> {
    // Whoever only looks whether the port is open, as a doctor does, says nothing.
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return None;
    }
    let text = error.get_ref()?.to_string();
    Some(text.strip_prefix("unexpected error: ").unwrap_or(&text).to_owned())
}

/// Waits until `stop` says so, or its other end is gone.
async fn stopping(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Serves the port until `stop` says so.
pub(crate) async fn serve(listener: TcpListener, rooms: Rooms, mut stop: watch::Receiver<bool>) {
    let mut connections: JoinSet<(SocketAddr, Result<(), String>)> = JoinSet::new();
    let stopped = stop.clone();
    let (mut said, mut silent) = (None::<tokio::time::Instant>, 0_u32);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, from)) => {
                    let (rooms, stop) = (rooms.clone(), stopped.clone());
                    connections.spawn(async move { (from, rooms.receive(stream, from, stop).await) });
                }
                // Who went away between knocking and opening is no trouble; a lack of descriptors passes.
                Err(error) => {
                    debug!("the API port could not accept a connection: {error}");
                    tokio::time::sleep(EXHAUSTED).await;
                }
            },
            Some(ended) = connections.join_next() => if let Ok((from, Err(reason))) = ended {
                if said.is_some_and(|said| said.elapsed() < COMPLAIN) {
                    silent += 1;
                } else {
                    warn!("refused at the API port: {from}: {reason} ({silent} more since the last such line)");
                    (said, silent) = (Some(tokio::time::Instant::now()), 0);
                }
            },
            () = stopping(&mut stop) => break,
        }
    }
    // Whoever asked still gets what was answered; the caller's patience ends this.
    while connections.join_next().await.is_some() {}
}

#[cfg(test)]
mod tests;
