//! Dialling: connect, say hello, judge the welcome, and only then count the link.

use crate::door::twin;
use crate::event::{DialFailure, LinkEvent, PeerInfo};
use crate::identity::Identity;
use crate::links::Inner;
use crate::live::Live;
use crate::registry::{Admission, Verdict};
use crate::turns::Turn;
use crate::wire::{self, Answer, Code, Hello, Refuse, WireError};
use crux_names::NodeName;
use quinn::{Connection, ConnectionError, SendStream, TransportErrorCode};
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::Instant;
use tokio::time::error::Elapsed;

/// A timer that comes later than this says that this host has more to do than it can.
const LATE: Duration = Duration::from_millis(100);

/// What became of a dial, failure or link.
pub(crate) async fn dial(inner: Arc<Inner>, addr: SocketAddr) {
    let outcome = begin(&inner, addr).await;
    inner.registry.end_dial(addr);
    match outcome {
        Ok(admission) => {
            inner.tally.handshake("dialed");
            crate::link::run(inner, admission).await;
        }
        Err(why) => {
            inner.tally.failed(&why);
            inner.emit(LinkEvent::DialFailed { addr, why }).await;
        }
    }
}

/// Waits for its turn, and for whoever comes from there; then dials.
async fn begin(inner: &Arc<Inner>, addr: SocketAddr) -> Result<Box<Admission>, DialFailure> {
    let dial = inner.cfg.timing.dial;
    let comes = Instant::now();
    let turn = loop {
        // Who waits for longer is dialled anew, and is the newest then: else the first of many would wait until the last are done.
        let Ok(turn) = tokio::time::timeout(dial * 2, inner.turns.take()).await else {
            let why = "this host has more to do than it can, so it was not dialled";
            return Err(DialFailure::Unreachable(why.to_owned()));
        };
        if !inner.arrivals.here(addr) || comes.elapsed() >= dial {
            break turn;
        }
        // Others need the turn.
        drop(turn);
        let _ = tokio::time::timeout(dial, inner.arrivals.gone(addr)).await;
        if let Some(member) = inner.registry.linked_at(addr) {
            return Err(DialFailure::Already(member));
        }
    };
    patiently(inner, addr, turn).await.unwrap_or(Err(DialFailure::Silent))
}

/// A dial within its time, which is longer once the other side has said something, and where this side is late itself.
async fn patiently(
    inner: &Arc<Inner>,
    addr: SocketAddr,
    turn: Turn,
) -> Result<Result<Box<Admission>, DialFailure>, Elapsed> {
    let (timing, heard) = (&inner.cfg.timing, AtomicBool::new(false));
    let began = Instant::now();
    let mut attempt = pin!(attempt(inner, addr, &heard));
    let outcome = tokio::time::timeout(timing.dial, &mut attempt).await;
    // A dead address holds up others for no longer than a dial has.
    drop(turn);
    // Who comes late with its own time has not looked whether anybody answered.
    let late = began.elapsed() > timing.dial + LATE;
    match outcome {
        // Somebody is there and slow, most likely because many knock at once: to begin anew would make it slower.
        Err(_) if late || heard.load(Ordering::Relaxed) => {
            tokio::time::timeout(timing.accept.saturating_sub(timing.dial), attempt).await
        }
        outcome => outcome,
    }
}

/// Gives a link that we dialled a new connection, and with it new keys. A failure is tried again later, by the keeper,
/// until the old keys are too old.
pub(crate) async fn renew(inner: Arc<Inner>, live: Live) {
    // It is never closed.
    let Ok(_turn) = inner.pace.acquire().await else { return };
    let outcome = tokio::time::timeout(inner.cfg.timing.accept, succeed(&inner, &live)).await;
    let why = match outcome {
        Ok(Ok(())) => None,
        Ok(Err(Broken::Gone)) => {
            live.close(Code::Closed, "the peer no longer has this link");
            Some("the peer no longer has it".to_owned())
        }
        Ok(Err(Broken::Failure(failure))) => Some(failure.to_string()),
        Ok(Err(Broken::Wire(error))) => Some(error.to_string()),
        Err(_) => Some("nobody answered".to_owned()),
    };
    inner.tally.handshake(if why.is_none() { "renewed" } else { "renewal_failed" });
    let failures = live.end_renewal(why.is_none(), &inner.renewals());
    if let Some(why) = why {
        tracing::debug!(peer = %live.member, why, "the keys of the link could not be replaced yet");
        if failures == 1 && live.is_up() {
            inner.emit(LinkEvent::RenewalFailed { peer: live.member.clone(), why }).await;
        }
    }
}

async fn succeed(inner: &Arc<Inner>, live: &Live) -> Result<(), Broken> {
    let going = || Broken::Failure(DialFailure::Unreachable("this fulcrum is going down".to_owned()));
    let (endpoint, own) = inner.endpoint().ok_or_else(going)?;
    let addr = live.current().quic.remote_address();
    let connecting = endpoint.connect(addr, "crux");
    drop(endpoint);
    let connecting = connecting.map_err(|e| Broken::Failure(DialFailure::Unreachable(e.to_string())))?;
    let connection = connecting.await.map_err(WireError::Lost)?;
    let outcome = async {
        let hello = Hello { link: live.token, renews: true, ..inner.hello(false) };
        let Greeted { info, mut send, trusted, .. } = greet(inner, addr, &connection, hello).await?;
        if info.member != live.member {
            return Err(Broken::Gone);
        }
        let conn = inner.conn(connection.clone(), info, own, &trusted);
        live.succeed(conn).map_err(|why| Broken::Failure(DialFailure::Protocol(why.to_owned())))?;
        // Ready. It can only fail on a dead connection, which the link will notice.
        let _ = send.finish();
        Ok(())
    }
    .await;
    if outcome.is_err() {
        wire::close(&connection, Code::Refused, "the link is not renewed");
    }
    outcome
}

/// The way a lost connection looks to the one who dialled.
pub(crate) fn lost(addr: SocketAddr, error: &ConnectionError) -> DialFailure {
    let reason = wire::words(error);
    match error {
        // Raised here: the peer's certificate, or something that is no crux.
        ConnectionError::TransportError(e) if is_tls(u64::from(e.code)) => DialFailure::Rejected { addr, reason },
        ConnectionError::ConnectionClosed(close) => {
            let said = wire::foreign(&close.reason);
            match wire::tls_words(&said) {
                "" if close.error_code == TransportErrorCode::CONNECTION_REFUSED => DialFailure::Closed { by: addr },
                "" => DialFailure::Refused { by: addr, reason: error.to_string() },
                said => DialFailure::Refused { by: addr, reason: said.to_owned() },
            }
        }
        ConnectionError::ApplicationClosed(close) => {
            DialFailure::Refused { by: addr, reason: wire::foreign(&close.reason) }
        }
        ConnectionError::TimedOut => DialFailure::Silent,
        _ => DialFailure::Protocol(reason),
    }
}

/// Whether a transport error's code says that TLS failed (RFC 9001, 4.8).
pub(crate) fn is_tls(code: u64) -> bool {
    (0x100..0x200).contains(&code)
}

/// An address as a socket that is bound there takes it.
pub(crate) fn mapped(local: SocketAddr, addr: SocketAddr) -> SocketAddr {
    match (local.ip(), addr.ip()) {
        (IpAddr::V6(_), IpAddr::V4(ip)) => SocketAddr::new(ip.to_ipv6_mapped().into(), addr.port()),
        _ => addr,
    }
}

/// `heard` is set with the first word of the other side.
async fn attempt(inner: &Arc<Inner>, addr: SocketAddr, heard: &AtomicBool) -> Result<Box<Admission>, DialFailure> {
    let target = mapped(inner.local, addr);
    // The name is of no use: who the peer is stands in its certificate.
    let going = || DialFailure::Unreachable("this fulcrum is going down".to_owned());
    let (endpoint, own) = inner.endpoint().ok_or_else(going)?;
    let mut connecting = endpoint.connect(target, "crux").map_err(|e| DialFailure::Unreachable(e.to_string()))?;
    drop(endpoint);
    // An error here is the same that comes of waiting for the connection.
    let _ = connecting.handshake_data().await;
    heard.store(true, Ordering::Relaxed);
    let connection = connecting.await.map_err(|error| lost(addr, &error))?;
    let token = inner.random();
    let hello = Hello { link: token, ..inner.hello(false) };
    let welcome = greet(inner, addr, &connection, hello).await.map_err(|error| match error {
        Broken::Failure(failure) => failure,
        Broken::Gone => DialFailure::Protocol("an answer to another question".to_owned()),
        Broken::Wire(WireError::Lost(error)) => lost(addr, &error),
        // The stream may notice before the connection does; the connection knows better why.
        Broken::Wire(WireError::Broken(words)) => match connection.close_reason() {
            Some(error) => lost(addr, &error),
            None => DialFailure::Protocol(words),
        },
    });
    if let Err(failure) = &welcome {
        wire::close(&connection, Code::Refused, &failure.to_string());
    }
    let Greeted { info, linked, mut send, trusted } = welcome?;
    let conn = inner.conn(connection, info, own, &trusted);

    let mut changes = inner.registry.changes();
    loop {
        match inner.registry.decide(token, &conn, linked) {
            Verdict::Go(admission) => {
                // Said by the clean end of our side. It can only fail on a dead connection, which the link will notice.
                let _ = send.finish();
                return Ok(admission);
            }
            Verdict::Already => {
                wire::close(&conn.quic, Code::Duplicate, "there is a link between the two already");
                return Err(DialFailure::Already(conn.info.member.clone()));
            }
            Verdict::Wait => {
                // The sender lives in the registry, which we hold.
                let _ = changes.changed().await;
            }
        }
    }
}

/// What is said of a boot number that this fulcrum cannot have had.
pub(crate) fn incredible(node: &NodeName, claimed: u64) -> String {
    format!(
        "{node} claims to know boot {claimed} of this fulcrum, which it cannot have had; look after {node}'s clock and program"
    )
}

enum Broken {
    Wire(WireError),
    Failure(DialFailure),
    /// The link that should be renewed is not there.
    Gone,
}

impl From<WireError> for Broken {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

/// What came of hello and welcome.
struct Greeted {
    info: PeerInfo,
    /// The peer has a link to us that is up.
    linked: bool,
    /// Its end says *ready*.
    send: SendStream,
    /// Whose roots vouched for the peer.
    trusted: Arc<Identity>,
}

/// Hello and welcome.
async fn greet(inner: &Arc<Inner>, addr: SocketAddr, connection: &Connection, hello: Hello) -> Result<Greeted, Broken> {
    let rejected = |reason: String| Broken::Failure(DialFailure::Rejected { addr, reason });
    let renews = hello.renews;
    let trusted = inner.identity();
    let admitted = trusted.verify(connection, inner.wall()).map_err(|refusal| rejected(refusal.to_string()))?;
    let node = admitted.node().map_err(|refusal| rejected(refusal.to_string()))?;
    let (mut send, mut recv) = connection.open_bi().await.map_err(WireError::Lost)?;
    wire::write(&mut send, &hello).await?;
    let answer: Option<Answer> = wire::read(&mut recv).await?;
    let answer = answer.ok_or_else(|| WireError::Broken("no answer to our hello".to_owned()))?;

    if let Some(Refuse { reason, floor, myself, gone, twin }) = answer.refusal {
        // Of this node's own certificate only: nobody else can raise the alarm.
        if twin && *node == inner.me.id.node {
            inner.emit(LinkEvent::Twin { addr }).await;
        }
        return Err(Broken::Failure(match floor {
            _ if gone => return Err(Broken::Gone),
            _ if myself => DialFailure::Myself,
            0 => DialFailure::Refused { by: addr, reason: wire::foreign(reason.as_bytes()) },
            claimed => match inner.believable(claimed) {
                Some(floor) => DialFailure::BootTooOld { by: addr, node: node.clone(), floor },
                None => DialFailure::Refused { by: addr, reason: incredible(node, claimed) },
            },
        }));
    }
    let welcome: Hello = answer.welcome.ok_or_else(|| WireError::Broken("an empty answer to our hello".to_owned()))?;
    let member = welcome.member(node).map_err(rejected)?;
    if member == inner.me && welcome.life == inner.life {
        return Err(Broken::Failure(DialFailure::Myself));
    }
    if member.id == inner.me.id {
        inner.emit(LinkEvent::Twin { addr }).await;
        return Err(rejected(twin(&member)));
    }
    if renews {
        let info = inner.peer_info(&admitted, member, addr, &welcome);
        return Ok(Greeted { info, linked: welcome.linked, send, trusted });
    }
    if let Some(too_old) = inner.registry.too_old(&member) {
        let refusal = too_old.refusal(&member);
        let reason = refusal.reason.clone();
        wire::write(&mut send, &Answer { welcome: None, refusal: Some(refusal) }).await?;
        let _ = send.finish();
        // Let it arrive before the connection ends; the dial's deadline is above us.
        let _ = send.stopped().await;
        return Err(rejected(reason));
    }
    if let Some(reason) = inner.registry.no_room(&member) {
        return Err(rejected(reason.to_owned()));
    }
    let info = inner.peer_info(&admitted, member, addr, &welcome);
    Ok(Greeted { info, linked: welcome.linked, send, trusted })
}
