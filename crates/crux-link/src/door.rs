//! The door: strangers come in, show a certificate, say hello and are welcomed or refused, all within a deadline.

use crate::dial::{incredible, is_tls};
use crate::event::LinkEvent;
use crate::links::Inner;
use crate::registry::{Admission, Knock};
use crate::wire::{self, Answer, Code, Hello, Refuse, WireError};
use quinn::{Connection, ConnectionError, Incoming};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// How long a refused peer has to read why.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Accepts until the endpoint is closed.
pub(crate) async fn keep(inner: Arc<Inner>) {
    while let Some(incoming) = inner.endpoint.accept().await {
        let ip = incoming.remote_address().ip().to_canonical();
        match inner.registry.knock(ip, incoming.remote_address_validated()) {
            Knock::Enter(half_open) => {
                let inner = inner.clone();
                tokio::spawn(async move {
                    let admission = receive(&inner, incoming).await;
                    drop(half_open);
                    if let Some(admission) = admission {
                        crate::link::run(inner, Box::new(admission)).await;
                    }
                });
            }
            // Cannot fail: it did not come with a token.
            Knock::Prove => drop(incoming.retry()),
            // Silence costs least and reflects nothing.
            Knock::Full => incoming.ignore(),
        }
    }
}

/// One stranger, until it counts or is gone.
async fn receive(inner: &Arc<Inner>, incoming: Incoming) -> Option<Admission> {
    let addr = incoming.remote_address();
    let addr = SocketAddr::new(addr.ip().to_canonical(), addr.port());
    let outcome = tokio::time::timeout(inner.cfg.timing.accept, admit(inner, incoming, addr)).await;
    let reason = match outcome {
        Ok(Ok(admission)) => return Some(admission),
        Ok(Err(Some(reason))) => reason,
        Ok(Err(None)) => return None,
        Err(_) => "no welcome within the deadline".to_owned(),
    };
    if inner.registry.tell_refusal(addr.ip(), &reason) {
        inner.emit(LinkEvent::Refused { addr, reason }).await;
    }
    None
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
async fn admit(inner: &Arc<Inner>, incoming: Incoming, addr: SocketAddr) -> Result<Admission, Option<String>> {
    let connecting = incoming.accept().map_err(|error| lost(&error))?;
    let connection = connecting.await.map_err(|error| lost(&error))?;
    let (mut send, mut recv) = connection.accept_bi().await.map_err(|error| lost(&error))?;
    let hello: Hello = match wire::read(&mut recv).await {
        Ok(Some(hello)) => hello,
        Ok(None) => return Err(broken(&connection, WireError::Broken("no hello".to_owned()))),
        Err(error) => return Err(broken(&connection, error)),
    };

    // TLS has checked all this already; here it becomes a value that proves it.
    let checked = inner.verify(&connection).and_then(|admitted| admitted.node().cloned().map(|node| (admitted, node)));
    let refuse_with = |reason: String, floor: u64, myself: bool| Refuse { reason, floor, myself };
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
    if member == inner.me {
        refuse(&connection, send, refuse_with("that is this fulcrum itself".to_owned(), 0, true)).await;
        return Err(None);
    }
    if let Some(floor) = inner.registry.too_old(&member) {
        let reason = format!("{member} is an old boot; {floor} is known here");
        refuse(&connection, send, refuse_with(reason.clone(), floor.0, false)).await;
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
            let admission = inner.registry.accept(connection, info);
            drop(welcoming);
            Ok(admission)
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
