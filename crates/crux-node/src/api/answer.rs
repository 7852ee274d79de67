//! How the door answers: one document, a stream of them, or an error with code, cause and next step.

use axum::Json;
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use crux_api::json::{Code, Doc, ErrorDoc, Kind};
use serde::Serialize;
use std::convert::Infallible;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// An answer, or why not.
pub(crate) type Answer = Result<Response, Refusal>;

/// An error on its way out.
#[derive(Debug)]
pub(crate) struct Refusal(pub(crate) ErrorDoc);

impl Refusal {
    /// With a code, a cause and the next step.
    pub(crate) fn new(code: Code, cause: impl Into<String>, next: impl Into<String>) -> Self {
        Self(ErrorDoc::new(code, cause, next))
    }

    /// The engine does not answer any more.
    pub(crate) fn going_down() -> Self {
        Self::new(Code::Unreachable, "this fulcrum is going down", "crux status --at ANOTHER")
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let error = self.0.clone();
        let mut response = (status, Json(Doc(self.0))).into_response();
        // For the audit log, as far as the gate.
        response.extensions_mut().insert(error);
        response
    }
}

/// One document.
pub(crate) fn doc<T: Kind + Serialize>(body: T) -> Response {
    Json(Doc(body)).into_response()
}

/// A document as one line of JSON.
pub(crate) fn line<T: Kind + Serialize>(body: T) -> Option<String> {
    serde_json::to_string(&Doc(body)).ok()
}

/// How many documents may wait for a slow reader. Then the writer waits, and a watcher of states skips the states that
/// came and went meanwhile.
const WAITING: usize = 16;

/// The writing end of a stream of server-sent events.
pub(crate) struct Feed(mpsc::Sender<Result<Event, Infallible>>);

impl Feed {
    /// A stream and its writing end.
    pub(crate) fn open() -> (Self, Response) {
        let (feed, events) = mpsc::channel(WAITING);
        (Self(feed), Sse::new(ReceiverStream::new(events)).keep_alive(KeepAlive::default()).into_response())
    }

    /// Sends one document; `false` when the reader is gone.
    pub(crate) async fn send(&self, data: String, id: Option<u64>) -> bool {
        let event = Event::default().data(data);
        let event = match id {
            Some(id) => event.id(id.to_string()),
            None => event,
        };
        self.0.send(Ok(event)).await.is_ok()
    }

    /// Waits until the reader is gone.
    pub(crate) async fn closed(&self) {
        self.0.closed().await;
    }
}
