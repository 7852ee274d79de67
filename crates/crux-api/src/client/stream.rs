//! Streams of documents: server-sent events, taken apart.

use super::{Client, EVENT_MAX};
use crate::json::{Doc, ErrorDoc, Kind};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use std::marker::PhantomData;
use std::time::Duration;

/// A stream of documents.
pub struct Watch<T> {
    client: Client,
    body: Incoming,
    events: Events,
    /// How long the line may be silent. A fulcrum says something at least every fifteen seconds.
    silence: Option<Duration>,
    of: PhantomData<fn() -> T>,
}

/// What has come of a stream of server-sent events and was not taken yet.
#[derive(Default)]
struct Events {
    buffer: Vec<u8>,
    scanned: usize,
}

impl<T> Watch<T> {
    pub(super) fn new(client: Client, body: Incoming) -> Self {
        Self { client, body, events: Events::default(), silence: None, of: PhantomData }
    }

    /// The same, but a line that is silent for so long is broken.
    #[must_use]
    pub fn within(self, silence: Duration) -> Self {
        Self { silence: Some(silence), ..self }
    }
}

impl<T: Kind + DeserializeOwned> Watch<T> {
    /// The next document; `None` when the fulcrum ended the stream.
    ///
    /// # Errors
    /// [`Unreachable`](crate::json::Code::Unreachable) if the connection broke off or was silent for too long, the fulcrum's error if it sent one, [`Failed`](crate::json::Code::Failed) for an
    /// answer that makes no sense.
    pub async fn next(&mut self) -> Result<Option<T>, ErrorDoc> {
        loop {
            if let Some(data) = self.events.next().map_err(|e| self.client.nonsense(&e.to_string()))? {
                return match serde_json::from_str::<Doc<T>>(&data) {
                    Ok(doc) => Ok(Some(doc.0)),
                    Err(e) => Err(serde_json::from_str::<Doc<ErrorDoc>>(&data)
                        .map_or_else(|_| self.client.nonsense(&e.to_string()), |doc| doc.0)),
                };
            }
            let frame = match self.silence {
                None => self.body.frame().await,
                Some(silence) => match tokio::time::timeout(silence, self.body.frame()).await {
                    Ok(frame) => frame,
                    Err(_) => return Err(self.client.silent(silence)),
                },
            };
            match frame {
                None => return Ok(None),
                Some(Err(e)) => return Err(self.client.broken(&e)),
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.events.buffer.extend_from_slice(data);
                    }
                    if self.events.buffer.len() > EVENT_MAX {
                        return Err(self.client.nonsense("one event is longer than 16 MiB"));
                    }
                }
            }
        }
    }
}

impl Events {
    /// The data of the next complete event in the buffer; events without data (comments that keep the line open) are
    /// dropped.
    fn next(&mut self) -> Result<Option<String>, std::str::Utf8Error> {
        while let Some(end) = self.buffer[self.scanned..].windows(2).position(|pair| pair == b"\n\n") {
            let event: Vec<u8> = self.buffer.drain(..self.scanned + end + 2).collect();
            self.scanned = 0;
            if let Some(data) = sse_data(std::str::from_utf8(&event)?) {
                return Ok(Some(data));
            }
        }
        self.scanned = self.buffer.len().saturating_sub(1);
        Ok(None)
    }
}

/// For the fuzz targets: a stream in two pieces, cut at any place, says what it says in one.
///
/// # Panics
/// If it does not.
#[doc(hidden)]
pub fn fuzz_events(stream: &[u8]) {
    let said = |pieces: &[&[u8]]| {
        let (mut events, mut all) = (Events::default(), Vec::new());
        for piece in pieces {
            events.buffer.extend_from_slice(piece);
            loop {
                match events.next() {
                    Ok(Some(data)) => all.push(data),
                    Ok(None) => break,
                    Err(_) => return None,
                }
            }
        }
        Some(all)
    };
    let whole = said(&[stream]);
    let cut = stream.first().map_or(0, |first| usize::from(*first) % stream.len());
    assert_eq!(said(&[&stream[..cut], &stream[cut..]]), whole, "cut at {cut} it says something else");
}

/// The `data:` lines of one server-sent event.
fn sse_data(event: &str) -> Option<String> {
    let lines = event.lines().filter_map(|line| line.strip_prefix("data:"));
    let data: Vec<&str> = lines.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect();
    (!data.is_empty()).then(|| data.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_lines_of_an_event_are_joined_and_comments_dropped() {
        assert_eq!(sse_data("id: 3\ndata: {\"a\":\ndata: 1}\n\n").as_deref(), Some("{\"a\":\n1}"));
        assert_eq!(sse_data(": keep-alive\n\n"), None);
    }
}
