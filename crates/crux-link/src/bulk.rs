//! The streams of a bulk transfer. A connection whose keys were replaced stays until they are through.

use crate::conn::Conn;
use crate::counters::Tally;
use quinn::{ClosedStream, ReadToEndError, StoppedError, VarInt, WriteError};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Handle;

/// Keeps the connection for as long as a stream is on it.
struct Hold {
    conn: Arc<Conn>,
    tally: Arc<Tally>,
}

impl Hold {
    fn new(conn: Arc<Conn>, tally: Arc<Tally>) -> Self {
        conn.begin_bulk();
        Self { conn, tally }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.conn.end_bulk();
    }
}

/// Towards a peer. Dropped without [`SendStream::finish`] it is finished.
pub struct SendStream {
    quic: quinn::SendStream,
    hold: Option<Hold>,
    runtime: Handle,
}

/// From a peer. Dropped before its end, the peer is told to stop.
pub struct RecvStream {
    quic: quinn::RecvStream,
    hold: Hold,
}

/// Both ends of a pair, as the links hand them out. Called within a runtime.
pub(crate) fn pair(
    conn: &Arc<Conn>,
    tally: &Arc<Tally>,
    (send, recv): (quinn::SendStream, quinn::RecvStream),
) -> (SendStream, RecvStream) {
    let hold = || Hold::new(conn.clone(), tally.clone());
    (SendStream { quic: send, hold: Some(hold()), runtime: Handle::current() }, RecvStream { quic: recv, hold: hold() })
}

impl SendStream {
    fn count(&self, bytes: usize) {
        if let Some(hold) = &self.hold {
            hold.tally.tx_bulk(bytes);
        }
    }

    /// Writes everything, as fast as the peer takes it.
    ///
    /// # Errors
    /// When the peer stopped the stream or the link ended.
    pub async fn write_all(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        self.quic.write_all(bytes).await?;
        self.count(bytes.len());
        Ok(())
    }

    /// Says that there is no more. What was written still arrives.
    ///
    /// # Errors
    /// When it was finished or reset before.
    pub fn finish(&mut self) -> Result<(), ClosedStream> {
        self.quic.finish()
    }

    /// Breaks it off: the peer gets an error instead of an end.
    ///
    /// # Errors
    /// When it was finished or reset before.
    pub fn reset(&mut self, code: u32) -> Result<(), ClosedStream> {
        self.quic.reset(VarInt::from_u32(code))
    }

    /// Waits until the peer has everything or wants no more; then with its code.
    pub fn stopped(&self) -> impl Future<Output = Result<Option<VarInt>, StoppedError>> + Send + Sync + 'static {
        self.quic.stopped()
    }
}

impl Drop for SendStream {
    fn drop(&mut self) {
        // What is on its way keeps the connection until the peer has it.
        if let Some(hold) = self.hold.take() {
            let arrived = self.quic.stopped();
            self.runtime.spawn(async move {
                let _ = arrived.await;
                drop(hold);
            });
        }
    }
}

impl RecvStream {
    /// Everything up to the end of the stream.
    ///
    /// # Errors
    /// When it is longer than `limit` bytes, was broken off, or the link ended.
    pub async fn read_to_end(&mut self, limit: usize) -> Result<Vec<u8>, ReadToEndError> {
        let all = self.quic.read_to_end(limit).await?;
        self.hold.tally.rx_bulk(all.len());
        Ok(all)
    }
}

impl AsyncWrite for SendStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = AsyncWrite::poll_write(Pin::new(&mut self.quic), cx, buf);
        if let Poll::Ready(Ok(bytes)) = &written {
            self.count(*bytes);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_flush(Pin::new(&mut self.quic), cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_shutdown(Pin::new(&mut self.quic), cx)
    }
}

impl AsyncRead for RecvStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = AsyncRead::poll_read(Pin::new(&mut self.quic), cx, buf);
        self.hold.tally.rx_bulk(buf.filled().len() - before);
        read
    }
}

impl std::fmt::Debug for SendStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SendStream({})", self.quic.id())
    }
}

impl std::fmt::Debug for RecvStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RecvStream({})", self.quic.id())
    }
}
