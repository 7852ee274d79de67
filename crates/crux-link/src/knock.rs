//! Whether a mesh port is reached: one handshake with it, from a port that no link uses. A firewall that only lets the
//! answers to a link through stops this one, as it would stop the next dial.

use crate::dial::{lost, mapped};
use crate::endpoint;
use crate::event::DialFailure;
use crate::links::Inner;
use crate::wire::{self, Code};
use crux_names::NodeName;
use quinn::Endpoint;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Handshakes at once: few, so that no busy machine is taken for a shut port.
const AT_ONCE: usize = 16;
/// How often silence is asked again, for the same reason.
const TRIES: usize = 2;
/// So long at least the other side has to say that it refuses us, which it decides after its own part of the handshake.
const LAST_WORDS: Duration = Duration::from_millis(50);

/// Each address with who answers there, by certificate.
pub(crate) async fn knock(
    inner: &Arc<Inner>,
    addrs: Vec<SocketAddr>,
) -> Vec<(SocketAddr, Result<NodeName, DialFailure>)> {
    let endpoint = match endpoint::aside(inner) {
        Ok(endpoint) => endpoint,
        Err(failure) => return addrs.into_iter().map(|addr| (addr, Err(failure.clone()))).collect(),
    };
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    let mut tries = JoinSet::new();
    for addr in addrs {
        let (inner, endpoint, turns) = (inner.clone(), endpoint.clone(), turns.clone());
        tries.spawn(async move {
            // It is never closed.
            let _turn = turns.acquire().await;
            let mut outcome = Err(DialFailure::Silent);
            for _ in 0..TRIES {
                let tried = tokio::time::timeout(inner.cfg.timing.dial, once(&inner, &endpoint, addr)).await;
                outcome = tried.unwrap_or(Err(DialFailure::Silent));
                if outcome != Err(DialFailure::Silent) {
                    break;
                }
            }
            (addr, outcome)
        });
    }
    let mut outcomes = tries.join_all().await;
    outcomes.sort_by_key(|(addr, _)| *addr);
    // So that the others hear of the end.
    let _ = tokio::time::timeout(LAST_WORDS, endpoint.wait_idle()).await;
    outcomes
}

async fn once(inner: &Inner, endpoint: &Endpoint, addr: SocketAddr) -> Result<NodeName, DialFailure> {
    let connecting = endpoint.connect(mapped(inner.local, addr), "crux");
    let connecting = connecting.map_err(|error| DialFailure::Unreachable(error.to_string()))?;
    let connection = connecting.await.map_err(|error| lost(addr, &error))?;
    let admitted = inner.identity().verify(&connection, inner.wall());
    let node = admitted.and_then(|admitted| admitted.node().cloned());
    let node = node.map_err(|refusal| DialFailure::Rejected { addr, reason: refusal.to_string() });
    let patience = (connection.rtt() * 2).max(LAST_WORDS);
    let refused = tokio::time::timeout(patience, connection.closed()).await;
    wire::close(&connection, Code::Closed, "that was all");
    match refused {
        Ok(error) => Err(lost(addr, &error)),
        Err(_) => node,
    }
}
