//! A running link: frames and datagrams in and out, until it ends.

use crate::event::LinkEvent;
use crate::links::Inner;
use crate::registry::{Admission, Live};
use crate::wire::{self, Code};
use crate::{FRAME_MAX, QUEUE_BYTES, QUEUE_FRAMES};
use bytes::{Bytes, BytesMut};
use quinn::{ConnectionError, ReadExactError, RecvStream};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

/// How long what came before a peer's goodbye may take to be told.
const LAST_FRAMES: Duration = Duration::from_secs(1);
/// How long a peer that has ended its frames may take to end the link.
const GOODBYE: Duration = Duration::from_secs(2);

/// How often the end of the peer's certificate is looked at again: wall clocks jump.
const EXPIRY_CHECK: Duration = Duration::from_secs(30);

/// Frames that wait to be sent, bounded by number and bytes.
#[derive(Default)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    more: Notify,
    /// Whether the peer has all that was queued before the end.
    flushed: watch::Sender<bool>,
}

#[derive(Default)]
struct Waiting {
    frames: VecDeque<Bytes>,
    bytes: usize,
    /// Nothing more is taken.
    ending: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there was room.
    pub(crate) fn push(&self, frame: Bytes) -> bool {
        let mut waiting = self.lock();
        if waiting.ending || waiting.frames.len() >= QUEUE_FRAMES || waiting.bytes + frame.len() > QUEUE_BYTES {
            return false;
        }
        waiting.bytes += frame.len();
        waiting.frames.push_back(frame);
        drop(waiting);
        self.more.notify_one();
        true
    }

    fn take(&self) -> Option<Bytes> {
        let mut waiting = self.lock();
        let frame = waiting.frames.pop_front()?;
        waiting.bytes -= frame.len();
        Some(frame)
    }

    /// The next frame; `None` at the end of the queue.
    async fn pop(&self) -> Option<Bytes> {
        loop {
            match self.take() {
                Some(frame) => return Some(frame),
                None if self.lock().ending => return None,
                // What was pushed, or ended, since then has left a permit.
                None => self.more.notified().await,
            }
        }
    }

    /// Ends the queue: what is in it is still sent.
    pub(crate) fn end(&self) {
        self.lock().ending = true;
        self.more.notify_one();
    }

    /// Waits until the peer has what was queued before [`Queue::end`].
    pub(crate) async fn flushed(&self) {
        // The sender is ours.
        let _ = self.flushed.subscribe().wait_for(|flushed| *flushed).await;
    }
}

/// Tells `Up`, carries traffic until the connection ends, tells `Down`. If it takes the place of another link to the same
/// member, that one's `Down` comes first.
pub(crate) async fn run(inner: Arc<Inner>, admission: Box<Admission>) {
    let Admission { live, old, done } = *admission;
    if let Some(old) = old {
        old.close(Code::Duplicate, "the peer has opened a new link in its place");
        old.gone().await;
    }
    inner.emit(LinkEvent::Up { peer: live.info.clone(), dialed: live.is_dialed() }).await;

    let mut parts = JoinSet::new();
    parts.spawn(send_frames(live.clone()));
    let mut frames = JoinSet::new();
    frames.spawn(receive_frames(inner.clone(), live.clone()));
    parts.spawn(receive_datagrams(inner.clone(), live.clone()));
    parts.spawn(receive_bulk(inner.clone(), live.clone()));
    parts.spawn(watch_expiry(live.clone()));
    let ended = live.connection.closed().await;
    if matches!(ended, ConnectionError::ApplicationClosed(_)) {
        // A peer that says goodbye knows that its last frames have arrived: here, not yet with our owner.
        let _ = tokio::time::timeout(LAST_FRAMES, frames.join_next()).await;
    }
    frames.shutdown().await;
    // Nothing of this link may be told after its end.
    parts.shutdown().await;
    let why = match (&ended, live.why.get()) {
        (ConnectionError::LocallyClosed, Some(why)) => why.clone(),
        _ => wire::words(&ended),
    };
    tracing::debug!(peer = %live.info.member, why, "link down");
    inner.emit(LinkEvent::Down { peer: live.info.member.clone(), why }).await;
    inner.registry.remove(&live);
    let _ = done.send(true);
}

/// Writes queued frames to one stream, each with its length before it.
async fn send_frames(live: Live) {
    // A failure means that the connection has ended, and that is told elsewhere.
    let Ok(mut stream) = live.connection.open_uni().await else { return };
    let _ = stream.set_priority(1); // Before bulk transfers.
    while let Some(frame) = live.queue.pop().await {
        let length = u32::try_from(frame.len()).expect("frames are bounded when queued");
        let mut parts = [Bytes::copy_from_slice(&length.to_be_bytes()), frame];
        if stream.write_all_chunks(&mut parts).await.is_err() {
            return live.close(Code::Protocol, "the peer stopped the stream of frames");
        }
    }
    // Done when the peer has acknowledged the last byte, or the connection has ended.
    if stream.finish().is_ok() {
        let _ = stream.stopped().await;
    }
    live.queue.flushed.send_replace(true);
}

async fn receive_frames(inner: Arc<Inner>, live: Live) {
    let Ok(mut stream) = live.connection.accept_uni().await else { return };
    while let Some(bytes) = next_frame(&mut stream, &live).await {
        inner.emit(LinkEvent::Frame { peer: live.info.member.clone(), bytes }).await;
    }
    if live.connection.close_reason().is_none() {
        tokio::time::sleep(GOODBYE).await;
        live.close(Code::Protocol, "the peer ended its stream of frames but not the link");
    }
}

/// The next frame; `None` once the stream or the link is over, or was closed for a breach.
async fn next_frame(stream: &mut RecvStream, live: &Live) -> Option<Bytes> {
    let failed = |error: ReadExactError| match error {
        ReadExactError::ReadError(quinn::ReadError::ConnectionLost(_)) => {}
        _ => live.close(Code::Protocol, "the peer broke off its stream of frames"),
    };
    let mut length = [0; 4];
    match stream.read_exact(&mut length).await {
        // It is going down, and says so next.
        Err(ReadExactError::FinishedEarly(0)) => return None,
        other => other.map_err(failed).ok()?,
    }
    let length = u32::from_be_bytes(length) as usize;
    if length > FRAME_MAX {
        live.close(Code::Protocol, "the peer sent a frame of more than 1 MiB");
        return None;
    }
    let mut body = BytesMut::zeroed(length);
    stream.read_exact(&mut body).await.map_err(failed).ok()?;
    Some(body.freeze())
}

async fn receive_datagrams(inner: Arc<Inner>, live: Live) {
    while let Ok(bytes) = live.connection.read_datagram().await {
        inner.emit(LinkEvent::Datagram { peer: live.info.member.clone(), bytes }).await;
    }
}

async fn receive_bulk(inner: Arc<Inner>, live: Live) {
    while let Ok((send, recv)) = live.connection.accept_bi().await {
        inner.emit(LinkEvent::Bulk { peer: live.info.member.clone(), send, recv }).await;
    }
}

/// QUIC never looks at a certificate again, so we do.
async fn watch_expiry(live: Live) {
    loop {
        // The last second still counts (RFC 5280), as it does in the path's validation.
        let left = live.info.not_after.saturating_add(1).saturating_sub(crux_pki::unix_now());
        if left == 0 {
            return live.close(Code::Expired, "the peer's certificate has ended");
        }
        tokio::time::sleep(Duration::from_secs(left).min(EXPIRY_CHECK)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_queue_is_bounded_by_number_and_by_bytes() {
        let queue = Queue::default();
        while queue.push(Bytes::from_static(b"x")) {}
        assert_eq!(queue.lock().frames.len(), QUEUE_FRAMES);
        assert_eq!(queue.pop().await, Some(Bytes::from_static(b"x")));
        assert!(queue.push(Bytes::from_static(b"y")));
        queue.end();
        assert!(queue.pop().await.is_some());
        assert!(!queue.push(Bytes::from_static(b"z")), "it has ended");

        let queue = Queue::default();
        let big = Bytes::from(vec![0; FRAME_MAX]);
        while queue.push(big.clone()) {}
        assert_eq!(queue.lock().bytes, QUEUE_BYTES);
    }
}
