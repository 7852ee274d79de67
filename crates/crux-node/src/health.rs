//! That this fulcrum lives and is ready: `/livez` and `/readyz`, beside the metrics and at the page's port.

use crate::api::Door;
use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;

/// A loop that does not answer within this time does not live.
const ALIVE: Duration = Duration::from_secs(2);

#[derive(Deserialize)]
struct Verbose {
    /// `?verbose` asks for every check by name.
    verbose: Option<String>,
}

/// Both routes.
pub(crate) fn routes() -> Router<Door> {
    Router::new().route("/livez", get(livez)).route("/readyz", get(readyz))
}

/// One thing that must be so.
struct Check {
    name: &'static str,
    ok: bool,
    text: String,
}

fn answer(checks: &[Check], query: &Verbose) -> Response {
    let ok = checks.iter().all(|check| check.ok);
    let status = if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut text = String::new();
    for check in checks.iter().filter(|check| query.verbose.is_some() || !check.ok) {
        let sign = if check.ok { '+' } else { '-' };
        text += &format!("[{sign}]{} {}\n", check.name, check.text);
    }
    text += if ok { "ok\n" } else { "not ok\n" };
    (status, text).into_response()
}

/// Whether the loop goes round, and what the flock is.
async fn looked(door: &Door) -> (Check, Option<Arc<crux_core::picture::Confab>>) {
    let late = || Check { name: "loop", ok: false, text: format!("no answer within {} s", ALIVE.as_secs()) };
    match tokio::time::timeout(ALIVE, door.confab()).await {
        Ok(Ok(confab)) => (Check { name: "loop", ok: true, text: "ok".into() }, Some(confab)),
        Ok(Err(refusal)) => (Check { name: "loop", ok: false, text: refusal.0.cause }, None),
        Err(_) => (late(), None),
    }
}

/// `GET /livez`: the one loop goes round.
async fn livez(State(door): State<Door>, Query(query): Query<Verbose>) -> Response {
    answer(&[looked(&door).await.0], &query)
}

/// `GET /readyz`: it has a view and takes writes.
async fn readyz(State(door): State<Door>, Query(query): Query<Verbose>) -> Response {
    let (alive, confab) = looked(&door).await;
    let flock = match &confab {
        Some(confab) => {
            let stable = if confab.stable { "stable" } else { "not stable" };
            let text = format!("{}, {}, {stable}", confab.flock, crux_pki::count(confab.members.len(), "member"));
            Check { name: "flock", ok: true, text }
        }
        None => Check { name: "flock", ok: false, text: "not known".into() },
    };
    let store = match door.store_state().reason {
        None => Check { name: "store", ok: true, text: "takes writes".into() },
        Some(reason) => Check { name: "store", ok: false, text: format!("refuses writes: {reason}") },
    };
    answer(&[alive, flock, store], &query)
}
