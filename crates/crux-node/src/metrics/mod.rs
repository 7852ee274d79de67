//! Metrics in the Prometheus form, and whether this fulcrum lives and is ready, over plain HTTP. Meant for loopback or a
//! network of one's own: it shows names and numbers, takes nothing, and changes nothing.
//!
//! | file | subject |
//! |---|---|
//! | `meters` | what is counted while it happens |
//! | `scrape` | everything as one text, at the moment of a scrape |

mod meters;
mod scrape;

pub(crate) use meters::{Meters, timed};

use crate::api::Door;
use crate::port::limit::Limit;
use crate::port::{serve_http, stopping};
use axum::Router;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Connections: all together, and from one address. A scraper needs one.
const CONNECTIONS: usize = 64;
const CONNECTIONS_PER_IP: usize = 32;
/// How long nothing is accepted after the system had no descriptor for a connection.
const EXHAUSTED: Duration = Duration::from_millis(200);
/// A loop that does not answer within this time does not live.
const ALIVE: Duration = Duration::from_secs(2);

/// The text form that the library writes. Source: OpenMetrics 1.0.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Deserialize)]
struct Verbose {
    /// `?verbose` asks for every check by name.
    verbose: Option<String>,
}

fn router(door: Door) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .with_state(door)
}

async fn metrics(State(door): State<Door>) -> Response {
    match scrape::text(&door).await {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, why).into_response(),
    }
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
async fn looked(door: &Door) -> (Check, Option<crux_core::picture::Confab>) {
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
            let text = format!("{}, {} members, {stable}", confab.flock, confab.members.len());
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

/// Serves until `stop` says so.
pub(crate) async fn serve(listener: TcpListener, door: Door, mut stop: watch::Receiver<bool>) {
    let router = router(door);
    let limit = Limit::new(CONNECTIONS, CONNECTIONS_PER_IP);
    let stopped = stop.clone();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, from)) => if let Some(inside) = limit.enter(from.ip()) {
                    let (router, stop) = (router.clone(), stopped.clone());
                    connections.spawn(async move {
                        serve_http(stream, false, router, None, stop).await;
                        drop(inside);
                    });
                },
                Err(_) => tokio::time::sleep(EXHAUSTED).await,
            },
            Some(_) = connections.join_next() => {}
            () = stopping(&mut stop) => return,
        }
    }
}
