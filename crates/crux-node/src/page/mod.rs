//! The page's port: plain HTTP on loopback, for people and programs of this machine that are no operators. It says who is
//! here, and that this fulcrum lives; it shows no logs and no facts, takes nothing and changes nothing.
//!
//! | file | subject |
//! |---|---|
//! | `guard` | whom it answers: not other sites, and not other names for this machine |

mod guard;

pub(crate) use guard::is_here as fuzz_host;

use crate::api::{self, Door};
use crate::health;
use crate::metrics::timed;
use crate::port::plain::{self, Places};
use axum::Router;
use axum::extract::State;
use axum::middleware::{from_fn_with_state, map_response};
use axum::response::Response;
use axum::routing::get;
use crux_api::rights::Route;
use std::fmt::Write as _;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// Connections: each watching program and each open page keeps one.
const PLACES: Places = Places { all: 256, of_one: 256 };

fn router(door: Door, port: u16) -> Router {
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
        .layer(from_fn_with_state(port, guard::guard))
        .layer(map_response(guard::strict))
        .layer(from_fn_with_state(meters, timed))
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
