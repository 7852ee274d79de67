//! HTTP on one connection, with every wait bounded that a caller could draw out.

use super::stopping;
use crate::api::Caller;
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::pin::pin;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tower::ServiceExt as _;
use tracing::{debug, info};

/// How long the head of a request may take.
pub(super) const HEAD: Duration = Duration::from_secs(10);
/// Longest head of a request over HTTP/2, and most requests at once on one connection.
const HEAD_MAX: u32 = 16 * 1024;
const STREAMS: u32 = 64;
/// How often a quiet HTTP/2 connection is asked for a sign of life, and for how long.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Serves one connection until it ends, or its caller's certificate or trust does.
pub(crate) async fn serve_http(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    h2: bool,
    router: Router,
    caller: Caller,
    mut stop: watch::Receiver<bool>,
) {
    let who = caller.clone();
    let service = hyper::service::service_fn(move |request| {
        let mut request: Request<Incoming> = request;
        request.extensions_mut().insert(who.clone());
        router.clone().oneshot(request.map(Body::new))
    });
    let mut ended = pin!(caller.refuses());
    // The two connections are of two types; what is done with them is the same.
    macro_rules! run {
        ($connection:expr) => {{
            let mut connection = pin!($connection);
            loop {
                tokio::select! {
                    outcome = connection.as_mut() => {
                        if let Err(error) = outcome {
                            debug!("a connection at the API port ended: {error}");
                        }
                        return;
                    }
                    refusal = &mut ended => {
                        info!("the connection of {} at the API port is cut: {}", caller.name(), refusal.cause());
                        return;
                    }
                    () = stopping(&mut stop) => break,
                }
            }
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }};
    }
    let stream = TokioIo::new(stream);
    if h2 {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(HEAD_MAX)
            .keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(HEAD);
        run!(builder.serve_connection(stream, service));
    } else {
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(HEAD).max_headers(64);
        run!(builder.serve_connection(stream, service));
    }
}
