//! Keeping one connection to a watched peer.

use super::Inner;
use super::hold::{Ended, hold};
use crate::port::KEEPALIVE;
use crux_names::Member;
use crux_pki::{Admitted, unix_now};
use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tracing::debug;

/// The first pause before dialling again, and the longest: each is twice the one before.
const AGAIN: Duration = Duration::from_millis(100);
const AGAIN_MAX: Duration = Duration::from_secs(10);
/// How long TCP and TLS may take.
const CONNECT: Duration = Duration::from_secs(1);
const HANDSHAKE: Duration = Duration::from_secs(3);
/// How long the higher of two waits for the lower one's connection before it dials itself.
pub(super) const GRACE: Duration = Duration::from_secs(2);

/// Names are never sent nor looked at: who the peer is stands in its certificate.
fn server_name() -> ServerName<'static> {
    match ServerName::try_from("crux.invalid") {
        Ok(name) => name,
        Err(_) => unreachable!("crux.invalid is a name"),
    }
}

/// Why there is no connection.
enum Failed {
    /// There is no link, so nobody knows where.
    Unknown,
    /// The host answers that nobody listens there.
    Nobody,
    /// Anything else.
    Other(String),
}

/// Whom the heart wants watched changes from view to view while a flock forms: what it wants for a moment is not dialled.
const SETTLE: Duration = Duration::from_millis(100);

/// Sees to it until the leash is let go.
pub(super) async fn keep(inner: &Inner, peer: &Member, mut pulled: watch::Receiver<()>) {
    let mut pause = AGAIN;
    let mut had_one = false;
    tokio::select! {
        () = tokio::time::sleep(SETTLE) => {}
        _ = pulled.changed() => return,
    }
    loop {
        if inner.me > *peer && !left_to_us(inner, peer, &mut pulled).await {
            return;
        }
        let dialled = tokio::select! {
            dialled = dial(inner, peer) => dialled,
            _ = pulled.changed() => return,
        };
        match dialled {
            Ok((mut stream, admitted)) => {
                had_one = true;
                match hold(&mut stream, pulled.clone(), inner.papers.refuses(&admitted)).await {
                    Ended::Ours => return,
                    Ended::Said | Ended::Refused => {}
                    Ended::Broke => {
                        pause = AGAIN;
                        inner.hint(|member| member == peer);
                    }
                }
            }
            Err(Failed::Nobody) if had_one => {
                had_one = false;
                inner.hint(|member| member == peer);
            }
            Err(Failed::Nobody) => debug!("nobody listens at the API port of {peer}"),
            Err(Failed::Unknown) => {}
            Err(Failed::Other(why)) => debug!("no idle connection to {peer}: {why}"),
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = pulled.changed() => return,
        }
        pause = (pause * 2).min(AGAIN_MAX);
    }
}

/// Waits until it is this side's turn to dial: the lower one has not for a moment. `false` if the leash was let go.
async fn left_to_us(inner: &Inner, peer: &Member, pulled: &mut watch::Receiver<()>) -> bool {
    let mut turn: Option<Instant> = None;
    loop {
        let mut changes = inner.changed.subscribe();
        let until = if inner.has_accepted(&peer.id.node) {
            turn = None;
            None
        } else {
            Some(*turn.get_or_insert_with(|| Instant::now() + GRACE))
        };
        let wait = async {
            match until {
                Some(until) => tokio::time::sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = wait => return true,
            // Its sender lives as long as we do.
            _ = changes.changed() => {}
            _ = pulled.changed() => return false,
        }
    }
}

/// Dials once. Gives the connection, and who is at its other end.
async fn dial(inner: &Inner, peer: &Member) -> Result<(TlsStream<TcpStream>, Admitted), Failed> {
    let other = |why: String| Failed::Other(why);
    // Never closed.
    let _turn = inner.dials.acquire().await;
    let addr = (inner.find)(peer).ok_or(Failed::Unknown)?;
    let connected = tokio::time::timeout(CONNECT, TcpStream::connect(addr)).await;
    let stream = match connected {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => return Err(Failed::Nobody),
        Ok(Err(error)) => return Err(other(error.to_string())),
        Err(_) => return Err(other("nobody answered".to_owned())),
    };
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE);
    // Without it a connection to a host that died is kept a little longer.
    let _ = SockRef::from(&stream).set_tcp_keepalive(&keepalive);
    let shaken = tokio::time::timeout(HANDSHAKE, inner.tls.connect(server_name(), stream)).await;
    let stream = match shaken {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(other(error.to_string())),
        Err(_) => return Err(other("no handshake within the deadline".to_owned())),
    };
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let trust = inner.papers.live().trust().load();
    let admitted = trust.verify_chain(chain, unix_now()).map_err(|refusal| other(refusal.to_string()))?;
    match admitted.node() {
        Ok(node) if *node == peer.id.node => Ok((stream, admitted)),
        _ => Err(other(format!("{} answers at {addr}", admitted.identity()))),
    }
}
