//! The door: strangers come in, show a certificate, say hello and are welcomed or refused, all within a deadline.

use crate::dial::{incredible, is_tls};
use crate::event::LinkEvent;
use crate::links::Inner;
use crate::registry::Admission;
use crate::strangers::{HalfOpen, Knock};
use crate::wire::{self, Answer, Code, Hello, Refuse, WireError};
use crux_names::Member;
use quinn::{Connection, ConnectionError, Endpoint, Incoming};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// How long a refused peer has to read why.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Accepts until the endpoint is closed.
pub(crate) async fn keep(inner: Arc<Inner>, endpoint: Endpoint) {
    while let Some(incoming) = endpoint.accept().await {
        let ip = incoming.remote_address().ip().to_canonical();
        match inner.strangers.knock(ip, incoming.remote_address_validated()) {
            Knock::Enter(half_open) => {
                let inner = inner.clone();
                let port = incoming.remote_address().port();
                let arrival = inner.arrivals.come(SocketAddr::new(ip, port));
                tokio::spawn(async move {
                    let admission = receive(&inner, incoming, &half_open).await;
                    drop((half_open, arrival));
                    if let Some(admission) = admission {
                        crate::link::run(inner, Box::new(admission)).await;
                    }
                });
            }
            Knock::Prove => {
                inner.tally.handshake("retry");
                // Cannot fail: it did not come with a token.
                drop(incoming.retry());
            }
            // Silence costs least and reflects nothing.
            Knock::Full => {
                inner.tally.handshake("full");
                incoming.ignore();
            }
        }
    }
}

/// One stranger, until it counts or is gone.
async fn receive(inner: &Arc<Inner>, incoming: Incoming, half_open: &HalfOpen) -> Option<Admission> {
    let addr = incoming.remote_address();
    let addr = SocketAddr::new(addr.ip().to_canonical(), addr.port());
    let outcome = tokio::select! {
        biased;
        () = half_open.evicted.notified() => {
            inner.tally.handshake("evicted");
            return None;
        }
        outcome = tokio::time::timeout(inner.cfg.timing.accept, admit(inner, incoming, addr)) => outcome,
    };
    let reason = match outcome {
        Ok(Ok(Welcomed::Link(admission))) => {
            inner.tally.handshake("accepted");
            return Some(admission);
        }
        Ok(Ok(Welcomed::Renewal)) => {
            inner.tally.handshake("renewed");
            return None;
        }
        Ok(Err(Some(reason))) => reason,
        Ok(Err(None)) => {
            inner.tally.handshake("gone");
            return None;
        }
        Err(_) => "no welcome within the deadline".to_owned(),
    };
    inner.tally.handshake("turned_away");
    if inner.registry.tell_refusal(addr.ip(), &reason) {
        inner.emit(LinkEvent::Refused { addr, reason }).await;
    }
    None
}

/// What came of an admission.
enum Welcomed {
    Link(Admission),
    /// A link that there was goes on.
    Renewal,
}

/// Two fulcrums met that carry one identity: neither is believed over the other.
pub(crate) fn twin(other: &Member) -> String {
    format!("{other} and the fulcrum that it met have one identity; one of the two is a copy")
}

/// What a lost connection means at the door: words if somebody was refused, nothing if they only went away.
fn lost(error: &ConnectionError) -> Option<String> {
    match error {
        ConnectionError::TransportError(e) if is_tls(u64::from(e.code)) => Some(wire::words(error)),
        ConnectionError::ConnectionClosed(close) if is_tls(u64::from(close.error_code)) => {
            Some(format!("it refuses us: {}", wire::tls_words(&wire::foreign(&close.reason))))
        }
        _ => None,
    }
}

fn broken(connection: &Connection, error: WireError) -> Option<String> {
    match (error, connection.close_reason()) {
        (WireError::Lost(error), _) | (WireError::Broken(_), Some(error)) => lost(&error),
        (WireError::Broken(words), None) => {
            wire::close(connection, Code::Protocol, &words);
            Some(words)
        }
    }
}

/// Sends a refusal, gives it time to be read, and ends the connection.
async fn refuse(connection: &Connection, mut send: quinn::SendStream, refusal: Refuse) {
    let reason = refusal.reason.clone();
    let answer = Answer { welcome: None, refusal: Some(refusal) };
    if wire::write(&mut send, &answer).await.is_ok() && send.finish().is_ok() {
        let _ = tokio::time::timeout(LAST_WORDS, connection.closed()).await;
    }
    wire::close(connection, Code::Refused, &reason);
}

/// TLS, hello, welcome, *ready*. The error is a refusal worth telling, or nothing.
async fn admit(inner: &Arc<Inner>, incoming: Incoming, addr: SocketAddr) -> Result<Welcomed, Option<String>> {
    let own = inner.identity();
    let connecting = incoming.accept().map_err(|error| lost(&error))?;
    let connection = connecting.await.map_err(|error| lost(&error))?;
    let (mut send, mut recv) = connection.accept_bi().await.map_err(|error| lost(&error))?;
    let hello: Hello = match wire::read(&mut recv).await {
        Ok(Some(hello)) => hello,
        Ok(None) => return Err(broken(&connection, WireError::Broken("no hello".to_owned()))),
        Err(error) => return Err(broken(&connection, error)),
    };

    // TLS has checked all this already; here it becomes a value that proves it.
    let trusted = inner.identity();
    let checked = trusted.verify(&connection, inner.wall());
    let checked = checked.and_then(|admitted| admitted.node().cloned().map(|node| (admitted, node)));
    let refuse_with =
        |reason: String, floor: u64, myself: bool| Refuse { reason, floor, myself, gone: false, twin: false };
    let (admitted, node) = match checked {
        Ok(checked) => checked,
        Err(refusal) => {
            refuse(&connection, send, refuse_with(refusal.to_string(), 0, false)).await;
            return Err(Some(refusal.to_string()));
        }
    };
    let member = match hello.member(&node) {
        Ok(member) => member,
        Err(reason) => {
            refuse(&connection, send, refuse_with(reason.clone(), 0, false)).await;
            return Err(Some(reason));
        }
    };
    if member == inner.me && hello.life == inner.life {
        refuse(&connection, send, refuse_with("that is this fulcrum itself".to_owned(), 0, true)).await;
        return Err(None);
    }
    if member.id == inner.me.id {
        let reason = twin(&member);
        inner.emit(LinkEvent::Twin { addr }).await;
        refuse(&connection, send, Refuse { twin: true, ..refuse_with(reason.clone(), 0, false) }).await;
        return Err(Some(reason));
    }
    if hello.renews {
        let Some(live) = inner.registry.to_renew(&member, hello.link) else {
            let refusal = Refuse { gone: true, ..refuse_with("there is no such link here".to_owned(), 0, false) };
            refuse(&connection, send, refusal).await;
            return Err(None);
        };
        if let Err(why) = live.may_succeed() {
            refuse(&connection, send, refuse_with(why.to_owned(), 0, false)).await;
            return Err(None);
        }
        let welcome = Answer { welcome: Some(inner.hello(true)), refusal: None };
        wire::write(&mut send, &welcome).await.map_err(|error| broken(&connection, error))?;
        let _ = send.finish();
        if !matches!(wire::read::<Answer>(&mut recv).await, Ok(None)) {
            return Err(broken(&connection, WireError::Broken("a renewal that was broken off".to_owned())));
        }
        let info = inner.peer_info(&admitted, member, addr, &hello);
        let conn = inner.conn(connection.clone(), info, own, &trusted);
        if let Err(why) = live.succeed(conn) {
            wire::close(&connection, Code::Refused, why);
            return Err(None);
        }
        return Ok(Welcomed::Renewal);
    }
    if let Some(too_old) = inner.registry.too_old(&member) {
        let refusal = too_old.refusal(&member);
        let reason = refusal.reason.clone();
        refuse(&connection, send, refusal).await;
        return Err(Some(reason));
    }
    if let Some(reason) = inner.registry.no_room(&member) {
        refuse(&connection, send, refuse_with(reason.to_owned(), 0, false)).await;
        return Err(Some(reason.to_owned()));
    }

    let welcoming = inner.registry.welcome(&member);
    let welcome = Answer { welcome: Some(inner.hello(welcoming.linked)), refusal: None };
    wire::write(&mut send, &welcome).await.map_err(|error| broken(&connection, error))?;
    let _ = send.finish();
    match wire::read::<Answer>(&mut recv).await {
        Ok(None) => {
            let info = inner.peer_info(&admitted, member, addr, &hello);
            // The welcoming ends after the link counts, so that nobody sees neither.
            let admission = inner.registry.accept(hello.link, inner.conn(connection, info, own, &trusted));
            drop(welcoming);
            Ok(Welcomed::Link(admission))
        }
        Ok(Some(answer)) => {
            let refusal = answer.refusal.unwrap_or_default();
            match inner.believable(refusal.floor) {
                Some(floor) => inner.emit(LinkEvent::BootTooOld { node, floor }).await,
                None if refusal.floor != 0 => return Err(Some(incredible(&node, refusal.floor))),
                None => {}
            }
            Err(Some(format!("it refuses us: {}", wire::foreign(refusal.reason.as_bytes()))))
        }
        Err(error) => Err(broken(&connection, error)),
    }
}
