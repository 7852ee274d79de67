//! What is counted while it happens.

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// The labels of one series.
pub(super) type Labels = Vec<(&'static str, String)>;

/// Most operators whose certificates' ends are remembered.
const OPERATORS: usize = 256;
/// Kinds of events that change who is in a flock, who leads it, or whether it is complete.
const CHANGES: [&str; 6] = ["flock-formed", "member-joined", "member-left", "member-lost", "leader", "stable"];

fn histogram() -> Histogram {
    // Half a millisecond to eight seconds: a status takes below 50 ms.
    Histogram::new(exponential_buckets(0.0005, 2.0, 15))
}

/// All meters of one life. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Meters {
    pub(super) changes: Family<Labels, Counter>,
    pub(super) requests: Family<Labels, Histogram, fn() -> Histogram>,
    operators: Arc<Mutex<BTreeMap<String, u64>>>,
}

impl Meters {
    /// All at zero. The kinds of changes are there from the beginning: an alert on what has grown misses the first of a series
    /// that begins with it.
    pub(crate) fn new() -> Self {
        let changes = Family::<Labels, Counter>::default();
        for kind in CHANGES {
            drop(changes.get_or_create(&vec![("kind", kind.to_owned())]));
        }
        Self { changes, requests: Family::new_with_constructor(histogram), operators: Arc::default() }
    }

    /// Counts an event of this kind, if it is a change of the flock.
    pub(crate) fn event(&self, kind: &str) {
        if CHANGES.contains(&kind) {
            self.changes.get_or_create(&vec![("kind", kind.to_owned())]).inc();
        }
    }

    /// An operator with this certificate came, which ends then, in Unix seconds.
    pub(crate) fn operator(&self, name: String, not_after: u64) {
        let mut operators = self.operators.lock().unwrap_or_else(PoisonError::into_inner);
        if operators.len() < OPERATORS || operators.contains_key(&name) {
            operators.insert(name, not_after);
        }
    }

    /// The first end of a certificate of those operators who came since the start.
    pub(super) fn operators_end(&self) -> Option<u64> {
        self.operators.lock().unwrap_or_else(PoisonError::into_inner).values().min().copied()
    }
}

/// Times every request of the API.
pub(crate) async fn timed(State(meters): State<Meters>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    // A caller may make up methods, and each series stays for ever.
    let known = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"];
    let method = known.into_iter().find(|known| *known == request.method().as_str()).unwrap_or("other").to_owned();
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

    #[test]
    fn the_first_end_of_an_operators_certificate_counts_and_a_renewed_one_takes_its_place() {
        let meters = Meters::new();
        assert_eq!(meters.operators_end(), None);
        for (name, ends) in [("operator/ann", 100), ("operator/bob", 50)] {
            meters.operator(name.into(), ends);
        }
        assert_eq!(meters.operators_end(), Some(50));
        meters.operator("operator/bob".into(), 200);
        assert_eq!(meters.operators_end(), Some(100));
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
