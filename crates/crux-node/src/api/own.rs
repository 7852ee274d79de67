//! The connections at an instance's own socket end with it: once the socket is closed, nobody is answered any more on what
//! was opened before.

use axum::serve::Listener;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{UnixListener, UnixStream, unix};
use tokio::sync::watch;

/// A socket of an instance. Dropped, it takes its connections along.
pub(super) struct Own {
    listener: UnixListener,
    here: watch::Sender<()>,
}

impl Own {
    pub(super) fn new(listener: UnixListener) -> Self {
        Self { listener, here: watch::Sender::new(()) }
    }
}

impl Listener for Own {
    type Io = Tied;
    type Addr = unix::SocketAddr;

    async fn accept(&mut self) -> (Tied, unix::SocketAddr) {
        let (stream, addr) = Listener::accept(&mut self.listener).await;
        let mut here = self.here.subscribe();
        // Nothing is ever sent: the only news is that the sender is gone.
        let gone = Box::pin(async move { while here.changed().await.is_ok() {} });
        (Tied { stream, gone: Some(gone) }, addr)
    }

    fn local_addr(&self) -> io::Result<unix::SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection as long as its socket is there.
pub(super) struct Tied {
    stream: UnixStream,
    /// `None`: it is gone.
    gone: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Tied {
    /// The stream, unless its socket is gone. Whoever waits for the stream is woken when that goes.
    fn stream(&mut self, cx: &mut Context<'_>) -> io::Result<Pin<&mut UnixStream>> {
        if self.gone.as_mut().is_some_and(|gone| gone.as_mut().poll(cx).is_ready()) {
            self.gone = None;
        }
        match self.gone {
            Some(_) => Ok(Pin::new(&mut self.stream)),
            None => Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the socket was closed")),
        }
    }
}

impl AsyncRead for Tied {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.stream(cx)?.poll_read(cx, buf)
    }
}

impl AsyncWrite for Tied {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.stream(cx)?.poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream(cx)?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::super::serve_own;
    use super::*;
    use axum::Router;
    use axum::body::Body;
    use axum::routing::get;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio_stream::StreamExt as _;

    /// A review's find: what was connected to a socket that was closed was answered on.
    #[tokio::test]
    async fn a_connection_ends_with_the_socket_at_which_it_was_made() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let endless = || async {
            let first = tokio_stream::once(Ok::<_, io::Error>("first"));
            Body::from_stream(first.chain(tokio_stream::pending()))
        };
        let router = Router::new().route("/", get(endless));
        let (_stop, stopped) = watch::channel(false);
        let served = tokio::spawn(serve_own(UnixListener::bind(&path).unwrap(), router, stopped));
        let mut busy = UnixStream::connect(&path).await.unwrap();
        busy.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"first\r\n") {
            assert_ne!(busy.read_buf(&mut answer).await.unwrap(), 0, "it goes on");
        }
        let mut idle = UnixStream::connect(&path).await.unwrap();
        // That it was taken is seen when it is answered.
        idle.write_all(b"GET /nothing HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        assert_ne!(idle.read(&mut [0; 1024]).await.unwrap(), 0);
        served.abort();
        for stream in [&mut busy, &mut idle] {
            let ended = tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut answer));
            let _ = ended.await.expect("its end");
        }
    }
}
