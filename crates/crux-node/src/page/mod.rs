//! The page's port: plain HTTP on loopback, for people and programs of this machine that are no operators. It says who is
//! here, and that this fulcrum lives; it shows no logs and no facts, takes nothing and changes nothing.
//!
//! | file | subject |
//! |---|---|
//! | `guard` | whom it answers: not other sites, and not other names for this machine |

mod guard;

pub(crate) use guard::is_here as fuzz_host;

use crate::api::answer::Refusal;
use crate::api::{self, Door};
use crate::health;
use crate::metrics::timed;
use crate::port::plain::{self, Places};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::{Next, from_fn_with_state, map_response};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use crux_api::json::Code;
use crux_api::rights::Route;
use std::fmt::Write as _;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_stream::StreamExt as _;

/// Connections: each watching program and each open page keeps one.
const PLACES: Places = Places { all: 256, of_one: 256 };
/// How many of them may be watchers: one program leaves room for the questions of others.
const WATCHERS: usize = 32;

fn router(door: Door, port: u16) -> Router {
    // Whoever can reach the port can ask without end; the heart is looked at a few times a second all the same.
    let door = Door { shares: true, ..door };
    let watchers = Arc::new(Semaphore::new(WATCHERS));
    let meters = door.meters.clone();
    let router = Router::new().route("/", get(about)).merge(health::routes());
    let router = Route::PAGE.iter().fold(router, |router, route| {
        let handler = match route {
            Route::OpenApi => get(described),
            route => api::handler(*route),
        };
        router.route(route.path(), handler)
    });
    let router = router.fallback(guard::nothing_here).with_state(door);
    router
        .layer(from_fn_with_state(watchers, few_watch))
        .layer(from_fn_with_state(port, guard::guard))
        .layer(map_response(guard::strict))
        .layer(from_fn_with_state(meters, timed))
}

/// Turns away who would watch when as many do as may.
async fn few_watch(State(watchers): State<Arc<Semaphore>>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    // By the answer: a query can be written in many ways.
    let kind = response.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    if !kind.is_some_and(|kind| kind.starts_with(b"text/event-stream")) {
        return response;
    }
    match watchers.try_acquire_owned() {
        Ok(place) => response.map(|body| {
            let watched = body.into_data_stream().map(move |event| {
                let _as_long_as_it_is_read = &place;
                event
            });
            Body::from_stream(watched)
        }),
        Err(_) => {
            let cause = format!("{WATCHERS} programs watch at this port, and it has no room for more");
            let next = "ask without ?watch now and then, or watch at the local socket: crux status -w";
            Refusal::new(Code::Unreachable, cause, next).into_response()
        }
    }
}

/// `GET /v1/openapi.json`: what is here, and nothing that is not.
async fn described() -> Response {
    api::described_as(crux_api::openapi::of_the_page())
}

/// `GET /`: what this port is for.
async fn about(State(door): State<Door>) -> String {
    let mut text = format!(
        "{} of bloc {}, crux {}\n\nThis port answers programs and people of this machine, and changes nothing:\n\n",
        door.me.id,
        door.papers.now().identity().bloc,
        env!("CARGO_PKG_VERSION")
    );
    let mut line = |path: &str, what: &str| {
        // A text is written without fail.
        let _ = writeln!(text, "  {path:<18} {what}");
    };
    for route in Route::PAGE {
        line(route.path(), route.about());
    }
    line("/livez", "whether it lives");
    line("/readyz", "whether it is ready; ?verbose lists each check");
    let or_none = |addr: &Option<String>| addr.clone().unwrap_or_else(|| "nowhere, it is off".to_owned());
    let _ = write!(
        text,
        "\n?watch follows confab and status as server-sent events.\n\n\
         Everything else is at the local socket (crux.sock in the state directory, for its owner) and at the API port\n\
         (TLS with an operator's certificate): {}. Metrics: {}.\n\
         What people look at is crux status, crux ps and crux events -w; this version has no page in a browser.\n",
        or_none(&door.listens.api),
        or_none(&door.listens.metrics),
    );
    text
}

/// Serves until `stop` says so.
pub(crate) async fn serve(listener: TcpListener, door: Door, stop: watch::Receiver<bool>) {
    let port = match listener.local_addr() {
        Ok(addr) => addr.port(),
        Err(error) => {
            tracing::warn!("the page's port does not know its own number and is not served: {error}");
            return;
        }
    };
    plain::serve(listener, router(door, port), PLACES, stop).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::StatusCode;
    use tower::ServiceExt as _;

    /// A review's find: one program that watched often enough took every place.
    #[tokio::test]
    async fn watchers_leave_room_to_others_and_to_whoever_comes_after_them() {
        let watch = || async {
            let events = tokio_stream::pending::<Result<String, std::convert::Infallible>>();
            ([(CONTENT_TYPE, "text/event-stream")], Body::from_stream(events))
        };
        let watchers = Arc::new(Semaphore::new(2));
        let router = Router::new().route("/watch", get(watch)).route("/livez", get(|| async { "ok" }));
        let router = router.layer(from_fn_with_state(watchers, few_watch));
        let ask = |path: &str| router.clone().oneshot(Request::get(path).body(Body::empty()).unwrap());
        let first = ask("/watch").await.unwrap();
        let second = ask("/watch").await.unwrap();
        assert_eq!((first.status(), second.status()), (StatusCode::OK, StatusCode::OK));
        assert_eq!(ask("/watch").await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(ask("/livez").await.unwrap().status(), StatusCode::OK);
        drop(first);
        assert_eq!(ask("/watch").await.unwrap().status(), StatusCode::OK, "its place came free");
    }
}
