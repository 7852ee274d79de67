//! HTTP on one connection, with every wait bounded that a caller could draw out.

use super::stopping;
use crate::api::answer::Refusal;
use crate::metrics::Meters;
use crate::papers::Papers;
use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, header};
use axum::response::IntoResponse as _;
use crux_api::json::Code;
use crux_pki::{Admitted, RoleKind, unix_now};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tower::ServiceExt as _;
use tracing::{debug, info};

/// How long the head of a request may take.
const HEAD: Duration = Duration::from_secs(10);
/// Longest head of a request over HTTP/2, and most requests at once on one connection.
const HEAD_MAX: u32 = 16 * 1024;
const STREAMS: u32 = 64;
/// How long a body other than a file's may take; every such body is bounded in bytes by its route.
const BODY: Duration = Duration::from_secs(30);
/// How often a quiet HTTP/2 connection is asked for a sign of life, and for how long.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Who asks over the port, by certificate.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    admitted: Arc<Admitted>,
    papers: Papers,
}

impl Caller {
    /// Whose certificate this is.
    pub(crate) fn of(admitted: Admitted, papers: Papers) -> Self {
        Self { admitted: Arc::new(admitted), papers }
    }

    /// Role and name: `operator/ann`.
    fn name(&self) -> String {
        self.admitted.identity().role.to_string()
    }

    fn is_operator(&self) -> bool {
        self.admitted.identity().role.kind() == RoleKind::Operator
    }

    /// Notes when an operator's certificate ends.
    pub(super) fn seen(&self, meters: &Meters) {
        if self.is_operator() {
            meters.operator(self.name(), self.admitted.not_after());
        }
    }

    /// Why it may not ask, unless it may.
    fn refused(&self) -> Option<Refusal> {
        // A request may come between the end of the certificate and the end of the connection.
        if unix_now() > self.admitted.not_after() {
            let cause = format!("the certificate of {} has ended", self.name());
            return Some(Refusal::new(Code::Refused, cause, "crux ca issue --ca DIR --operator NAME"));
        }
        if self.is_operator() {
            return None;
        }
        let cause = format!(
            "this is the certificate of {}; the API port answers operators, and nodes only keep idle connections here",
            self.name()
        );
        Some(Refusal::new(Code::Refused, cause, "use an operator's bundle: --as BUNDLE, or crux ca issue --operator"))
    }

    /// Waits until it is not admitted any more.
    async fn refuses(&self) -> crux_pki::Refusal {
        self.papers.refuses(&self.admitted).await
    }
}

fn is_grpc(request: &Request<Incoming>) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("application/grpc"))
}

async fn answer(request: Request<Incoming>, router: Router, caller: Option<Caller>) -> Response<Body> {
    let grpc = is_grpc(&request);
    if let Some(refusal) = caller.as_ref().and_then(Caller::refused) {
        return match grpc {
            true => tonic::Status::permission_denied(format!("{}; {}", refusal.0, refusal.0.next)).into_http(),
            false => refusal.into_response(),
        };
    }
    // A file is a stream and may take its time, as may a gRPC call; the rest is a few kilobytes.
    let long = grpc || request.method() == hyper::Method::PUT;
    let has_body = !hyper::body::Body::is_end_stream(request.body());
    let request = request.map(Body::new);
    let request = if long || !has_body {
        request
    } else {
        let (head, body) = request.into_parts();
        match tokio::time::timeout(BODY, axum::body::to_bytes(body, crate::api::BODY_MAX)).await {
            Ok(Ok(bytes)) => Request::from_parts(head, Body::from(bytes)),
            Ok(Err(error)) => {
                let next = "send a shorter request, and all of it";
                return Refusal::new(Code::BadRequest, format!("the request's body: {error}"), next).into_response();
            }
            Err(_) => {
                let cause = format!("the request's body did not arrive within {} s", BODY.as_secs());
                return Refusal::new(Code::BadRequest, cause, "send it faster").into_response();
            }
        }
    };
    router.oneshot(request).await.unwrap_or_else(|never| match never {})
}

/// Serves one connection until it ends, or its caller's certificate or trust does. Without a caller everybody may ask.
pub(crate) async fn serve_http(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    h2: bool,
    router: Router,
    caller: Option<Caller>,
    mut stop: watch::Receiver<bool>,
) {
    let who = caller.clone();
    let service = hyper::service::service_fn(move |request| {
        let (router, caller) = (router.clone(), who.clone());
        async move { Ok::<_, Infallible>(answer(request, router, caller).await) }
    });
    let ended = async {
        match &caller {
            Some(caller) => caller.refuses().await,
            None => std::future::pending().await,
        }
    };
    let mut ended = pin!(ended);
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
                        let name = caller.as_ref().map(Caller::name).unwrap_or_default();
                        info!("the connection of {name} at the API port is cut: {}", refusal.cause());
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
