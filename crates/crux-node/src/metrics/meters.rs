//! What is counted while it happens.

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use crux_link::{DialFailure, LinkEvent, LinkInfo};
use crux_names::Member;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// The labels of one series.
pub(super) type Labels = Vec<(&'static str, String)>;

/// Kinds of events that change who is in a flock, who leads it, or whether it is complete.
const CHANGES: [&str; 6] = ["flock-formed", "member-joined", "member-left", "member-lost", "leader", "stable"];

fn histogram() -> Histogram {
    // Half a millisecond to eight seconds: a status takes below 50 ms.
    Histogram::new(exponential_buckets(0.0005, 2.0, 15))
}

/// Attempts to make a link, by what came of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Handshakes(pub(super) Family<Labels, Counter>);

impl Handshakes {
    /// Counts what an event says of one.
    pub(crate) fn count(&self, event: &LinkEvent) {
        let result = match event {
            LinkEvent::Up { .. } => "ok",
            // We refuse whoever knocks, or are refused there.
            LinkEvent::Refused { .. } => "rejected",
            LinkEvent::DialFailed { why, .. } => match why {
                DialFailure::Silent => "silent",
                DialFailure::Refused { .. } | DialFailure::BootTooOld { .. } => "refused",
                DialFailure::Rejected { .. } => "rejected",
                DialFailure::Protocol(_) => "protocol",
                DialFailure::Unreachable(_) => "unreachable",
                _ => return,
            },
            _ => return,
        };
        self.0.get_or_create(&vec![("result", result.to_owned())]).inc();
    }
}

/// Bytes over links that have ended, and over those that live as they were last seen.
#[derive(Debug, Default)]
struct Bytes {
    seen: BTreeMap<Member, (u64, u64)>,
    sent: u64,
    received: u64,
}

/// All meters of one life. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Meters {
    pub(super) changes: Family<Labels, Counter>,
    pub(super) handshakes: Handshakes,
    pub(super) requests: Family<Labels, Histogram, fn() -> Histogram>,
    bytes: Arc<Mutex<Bytes>>,
}

impl Meters {
    /// All at zero.
    pub(crate) fn new() -> Self {
        Self {
            changes: Family::default(),
            handshakes: Handshakes::default(),
            requests: Family::new_with_constructor(histogram),
            bytes: Arc::default(),
        }
    }

    /// What counts handshakes.
    pub(crate) fn handshakes(&self) -> Handshakes {
        self.handshakes.clone()
    }

    /// Counts an event of this kind, if it is a change of the flock.
    pub(crate) fn event(&self, kind: &str) {
        if CHANGES.contains(&kind) {
            self.changes.get_or_create(&vec![("kind", kind.to_owned())]).inc();
        }
    }

    /// Bytes sent and received since the start, links that have ended included as far as they were looked at.
    pub(super) fn link_bytes(&self, links: &[LinkInfo]) -> (u64, u64) {
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        bytes.seen.retain(|member, _| links.iter().any(|link| link.peer.member == *member));
        for link in links {
            let now = (link.tx_bytes, link.rx_bytes);
            let before = bytes.seen.insert(link.peer.member.clone(), now).unwrap_or_default();
            // A link that was made anew counts from zero.
            let since = |now: u64, before: u64| if now >= before { now - before } else { now };
            bytes.sent += since(now.0, before.0);
            bytes.received += since(now.1, before.1);
        }
        (bytes.sent, bytes.received)
    }
}

/// Times every request of the API.
pub(crate) async fn timed(State(meters): State<Meters>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let method = request.method().to_string();
    let route = request.extensions().get::<MatchedPath>().map_or("other", MatchedPath::as_str).to_owned();
    let response = next.run(request).await;
    let code = response.status().as_u16().to_string();
    let labels = vec![("method", method), ("route", route), ("code", code)];
    meters.requests.get_or_create(&labels).observe(began.elapsed().as_secs_f64());
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crux_link::PeerInfo;
    use crux_names::Boot;
    use std::time::Duration;

    fn link(name: &str, tx: u64, rx: u64) -> LinkInfo {
        let peer = PeerInfo {
            member: Member { id: name.parse().unwrap(), boot: Boot(1) },
            admission: 1,
            labels: BTreeMap::new(),
            addr: "127.0.0.1:1".parse().unwrap(),
            api_port: 0,
            not_after: 0,
        };
        LinkInfo {
            peer,
            age: Duration::ZERO,
            key_age: Duration::ZERO,
            key_limit: Duration::ZERO,
            rtt: Duration::ZERO,
            tx_bytes: tx,
            rx_bytes: rx,
            dialed: true,
        }
    }

    #[test]
    fn bytes_only_grow_also_over_links_that_end_or_are_made_anew() {
        let meters = Meters::new();
        assert_eq!(meters.link_bytes(&[link("n2", 100, 10), link("n3", 5, 5)]), (105, 15));
        assert_eq!(meters.link_bytes(&[link("n2", 150, 10)]), (155, 15));
        assert_eq!(meters.link_bytes(&[link("n2", 20, 1), link("n3", 1, 1)]), (176, 17));
        assert_eq!(meters.link_bytes(&[]), (176, 17));
    }

    #[test]
    fn only_changes_of_the_flock_are_counted_as_such() {
        let meters = Meters::new();
        for kind in ["member-lost", "member-lost", "fact"] {
            meters.event(kind);
        }
        let count = |kind: &str| meters.changes.get_or_create(&vec![("kind", kind.to_owned())]).get();
        assert_eq!((count("member-lost"), count("fact")), (2, 0));
    }
}
