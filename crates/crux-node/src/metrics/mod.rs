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
use crate::health;
use crate::port::plain::{self, Places};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// Connections: all together, and from one address. A scraper needs one.
const PLACES: Places = Places { all: 64, of_one: 32 };

/// The text form that the library writes. Source: OpenMetrics 1.0.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

fn router(door: Door) -> Router {
    Router::new().route("/metrics", get(metrics)).merge(health::routes()).with_state(door)
}

async fn metrics(State(door): State<Door>) -> Response {
    match scrape::text(&door).await {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, why).into_response(),
    }
}

/// Serves until `stop` says so.
pub(crate) async fn serve(listener: TcpListener, door: Door, stop: watch::Receiver<bool>) {
    plain::serve(listener, router(door), PLACES, stop).await;
}
