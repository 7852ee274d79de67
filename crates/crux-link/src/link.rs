//! A running link: frames and datagrams in and out, on one connection after another, until it ends.

use crate::conn::Conn;
use crate::event::{LinkEvent, Room};
use crate::links::Inner;
use crate::live::Live;
use crate::registry::Admission;
use crate::wire::{self, Code};
use crate::{FRAME_MAX, QUEUE_BYTES, QUEUE_FRAMES, bulk};
use bytes::{Bytes, BytesMut};
use quinn::{ConnectionError, ReadExactError, RecvStream, SendStream};
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinSet;

/// How long what came before a peer's goodbye may take to be told.
const LAST_FRAMES: Duration = Duration::from_secs(1);
/// How long a peer that has ended its frames may take to end the link, or to go on with them on another connection.
const GOODBYE: Duration = Duration::from_secs(5);
/// Bytes a second that a peer must at least send of a frame that it has begun.
const SLOWEST: u64 = 16 << 10;

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

/// Tells `Up`, carries traffic until the link ends, tells `Down`. If it takes the place of another link to the same
/// member, that one's `Down` comes first.
pub(crate) async fn run(inner: Arc<Inner>, admission: Box<Admission>) {
    let Admission { live, old, mut conns, done, earlier } = *admission;
    if let Some(old) = old {
        old.close(Code::Duplicate, "the peer has opened a new link in its place");
        old.gone().await;
    }
    for peer in earlier {
        inner.emit(LinkEvent::ProcessGone { peer }).await;
    }
    inner.emit(LinkEvent::Up { peer: live.info(), dialed: live.dialed }).await;

    let mut parts = JoinSet::new();
    let (to_sender, sender_conns) = mpsc::unbounded_channel();
    let (to_receiver, receiver_conns) = mpsc::unbounded_channel();
    parts.spawn(send_frames(inner.clone(), live.clone(), sender_conns));
    parts.spawn(receive_frames(inner.clone(), live.clone(), receiver_conns));
    let mut ends = JoinSet::new();
    let mut first = true;
    let ended = loop {
        tokio::select! {
            biased;
            Some(conn) = conns.recv() => {
                if !std::mem::replace(&mut first, false) {
                    inner.emit(LinkEvent::Renewed { peer: conn.info.clone() }).await;
                }
                let (frames, stream) = oneshot::channel();
                // Both run as long as this loop does, unless the link is ending.
                let _ = to_receiver.send((conn.clone(), stream));
                let _ = to_sender.send(conn.clone());
                parts.spawn(receive_uni(conn.clone(), frames));
                parts.spawn(receive_datagrams(inner.clone(), live.clone(), conn.clone()));
                parts.spawn(receive_bulk(inner.clone(), live.clone(), conn.clone()));
                ends.spawn(end_of(conn));
            }
            Some(Ok((conn, why))) = ends.join_next(), if !ends.is_empty() => {
                let carries = Arc::ptr_eq(&conn, &live.current());
                if carries || !conn.heard.load(Ordering::Relaxed) || live.why().is_some() {
                    break why;
                }
                // Everything that was on it has arrived: its successor carries the link.
                live.forget(&conn);
            }
        }
    };
    // Nothing of this link may be told after its end.
    parts.shutdown().await;
    if ended == ConnectionError::Reset {
        inner.emit(LinkEvent::ProcessGone { peer: live.member.clone() }).await;
    }
    let why = match (&ended, live.why()) {
        (ConnectionError::LocallyClosed, Some(why)) => why.clone(),
        _ => wire::words(&ended),
    };
    // What is left of it goes too, if it was one connection that ended.
    live.end_connections(Code::Closed, &why);
    tracing::debug!(peer = %live.member, why, "link down");
    inner.emit(LinkEvent::Down { peer: live.member.clone(), why }).await;
    inner.registry.remove(&live);
    let _ = done.send(true);
}

/// Waits for the end of a connection. A peer that says goodbye knows that its last frames have arrived: here, not yet
/// with our owner.
async fn end_of(conn: Arc<Conn>) -> (Arc<Conn>, ConnectionError) {
    let ended = conn.quic.closed().await;
    if matches!(ended, ConnectionError::ApplicationClosed(_)) {
        let mut over = conn.over.subscribe();
        let _ = tokio::time::timeout(LAST_FRAMES, over.wait_for(|over| *over)).await;
    }
    (conn, ended)
}

/// Writes queued frames to one stream, each with its length before it. The next connection has a stream of its own, which
/// begins where the last one ends.
async fn send_frames(inner: Arc<Inner>, live: Live, mut conns: mpsc::UnboundedReceiver<Arc<Conn>>) {
    let mut ends = JoinSet::new();
    let Some(mut conn) = conns.recv().await else { return };
    'conns: loop {
        // A failure means that the connection has ended, and that is told elsewhere.
        let Ok(mut stream) = conn.quic.open_uni().await else { return };
        let _ = stream.set_priority(1); // Before bulk transfers.
        conn.framing.store(true, Ordering::Relaxed);
        loop {
            let frame = tokio::select! {
                biased;
                next = conns.recv() => match next {
                    Some(next) => {
                        ends.spawn(arrive(std::mem::replace(&mut conn, next), stream));
                        continue 'conns;
                    }
                    None => return,
                },
                frame = live.queue.pop() => frame,
            };
            let Some(frame) = frame else {
                ends.spawn(arrive(conn, stream));
                break 'conns;
            };
            let length = u32::try_from(frame.len()).expect("frames are bounded when queued");
            let bytes = frame.len();
            let mut parts = [Bytes::copy_from_slice(&length.to_be_bytes()), frame];
            match tokio::time::timeout(inner.cfg.timing.stall, stream.write_all_chunks(&mut parts)).await {
                Ok(Ok(_)) => inner.tally.tx_frame(bytes),
                Ok(Err(_)) => return live.close(Code::Protocol, "the peer stopped the stream of frames"),
                Err(_) => return live.close(Code::Slow, "the peer took none of our frames for too long"),
            }
        }
    }
    while ends.join_next().await.is_some() {}
    live.queue.flushed.send_replace(true);
}

/// Ends a stream of frames and waits until the peer has acknowledged its last byte, or the connection has ended.
async fn arrive(conn: Arc<Conn>, mut stream: SendStream) {
    if stream.finish().is_ok() && matches!(stream.stopped().await, Ok(None)) {
        conn.told.store(true, Ordering::Relaxed);
    }
}

/// The first stream from the peer carries its frames, others a note each.
async fn receive_uni(conn: Arc<Conn>, frames: oneshot::Sender<RecvStream>) {
    let Ok(stream) = conn.quic.accept_uni().await else { return };
    if frames.send(stream).is_err() {
        return;
    }
    while let Ok(mut stream) = conn.quic.accept_uni().await {
        let mut note = [0];
        if stream.read_exact(&mut note).await.is_ok() {
            conn.noted(note[0]);
        }
        // The rest is of no interest; dropping the stream says so.
    }
}

type Incoming = (Arc<Conn>, oneshot::Receiver<RecvStream>);

/// Tells frames, all of one connection before the first of the next.
async fn receive_frames(inner: Arc<Inner>, live: Live, mut conns: mpsc::UnboundedReceiver<Incoming>) {
    let mut next = conns.recv().await;
    while let Some((conn, stream)) = next {
        let Ok(mut stream) = stream.await else { return };
        loop {
            match next_frame(&inner, &mut stream, &live).await {
                Next::Frame(bytes, room) => {
                    inner.tally.rx_frame(bytes.len());
                    inner.emit(LinkEvent::Frame { peer: live.member.clone(), bytes, room }).await;
                }
                Next::End => break,
                Next::Broken => {
                    conn.over.send_replace(true);
                    return;
                }
            }
        }
        conn.heard.store(true, Ordering::Relaxed);
        conn.over.send_replace(true);
        if conn.quic.close_reason().is_some() && Arc::ptr_eq(&conn, &live.current()) {
            return;
        }
        // Either another connection goes on, or the peer says goodbye.
        next = tokio::time::timeout(GOODBYE, conns.recv()).await.unwrap_or(None);
        if next.is_none() {
            return live.close(Code::Protocol, "the peer ended its stream of frames but not the link");
        }
    }
}

enum Next {
    Frame(Bytes, Room),
    /// The stream ended between two frames.
    End,
    /// The link is over, or was closed for a breach.
    Broken,
}

/// The length of a frame that begins so; `None` for a longer one than there may be.
pub(crate) fn frame_length(first: [u8; 4]) -> Option<usize> {
    usize::try_from(u32::from_be_bytes(first)).ok().filter(|length| *length <= FRAME_MAX)
}

async fn next_frame(inner: &Inner, stream: &mut RecvStream, live: &Live) -> Next {
    let failed = |error: ReadExactError| {
        if !matches!(error, ReadExactError::ReadError(quinn::ReadError::ConnectionLost(_))) {
            live.close(Code::Protocol, "the peer broke off its stream of frames");
        }
        Next::Broken
    };
    let slow = || {
        live.close(Code::Slow, "the peer did not go on with a frame for too long");
        Next::Broken
    };
    let stall = inner.cfg.timing.stall;
    let mut length = [0; 4];
    match stream.read_exact(&mut length[..1]).await {
        // It is going down, or goes on on another connection, and says so next.
        Err(ReadExactError::FinishedEarly(0)) => return Next::End,
        Err(error) => return failed(error),
        Ok(()) => {}
    }
    match tokio::time::timeout(stall, stream.read_exact(&mut length[1..])).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return failed(error),
        Err(_) => return slow(),
    }
    let Some(length) = frame_length(length) else {
        live.close(Code::Protocol, "the peer sent a frame of more than 1 MiB");
        return Next::Broken;
    };
    // Not before the owner has handled enough of what came before: that bounds what a peer can make us hold.
    let weight = u32::try_from(length.max(1)).expect("at most 1 MiB");
    let Ok(permit) = live.room.clone().acquire_many_owned(weight).await else { return Next::Broken };
    let mut body = BytesMut::zeroed(length);
    let limit = stall + Duration::from_secs(length as u64 / SLOWEST);
    match tokio::time::timeout(limit, stream.read_exact(&mut body)).await {
        Ok(Ok(())) => Next::Frame(body.freeze(), Room { _permit: Some(permit) }),
        Ok(Err(error)) => failed(error),
        Err(_) => slow(),
    }
}

async fn receive_datagrams(inner: Arc<Inner>, live: Live, conn: Arc<Conn>) {
    while let Ok(bytes) = conn.quic.read_datagram().await {
        inner.tally.rx_datagram(bytes.len());
        inner.emit(LinkEvent::Datagram { peer: live.member.clone(), bytes }).await;
    }
}

async fn receive_bulk(inner: Arc<Inner>, live: Live, conn: Arc<Conn>) {
    while let Ok(streams) = conn.quic.accept_bi().await {
        let (send, recv) = bulk::pair(&conn, &inner.tally, streams);
        inner.emit(LinkEvent::Bulk { peer: live.member.clone(), send, recv }).await;
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
