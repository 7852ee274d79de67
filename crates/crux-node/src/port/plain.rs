//! Plain HTTP for whoever may reach the port: metrics, and the page's port. Nobody there shows a certificate, so nobody
//! gets more than a bounded share: places are counted, heads are short and must come in time, and who does not read what it
//! asked for is cut.

use super::limit::{Inside, Limit};
use super::serve::HEAD;
use super::{EXHAUSTED, stopping};
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Sleep;
use tower::ServiceExt as _;
use tracing::debug;

/// Longest head of a request, and most lines in it.
const HEAD_MAX: usize = 16 * 1024;
const LINES_MAX: usize = 64;
/// How long an answer may wait for its reader to take some of it.
const STALLED: Duration = Duration::from_secs(30);

/// How many connections there may be at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Places {
    /// All together.
    pub(crate) all: usize,
    /// From one address; everything from this machine counts as one.
    pub(crate) of_one: usize,
}

/// A connection on which nothing has been asked yet.
struct Fresh {
    from: IpAddr,
    asked: Arc<AtomicBool>,
    task: AbortHandle,
}

/// All connections of one port.
struct Connections {
    limit: Limit,
    all: JoinSet<()>,
    fresh: VecDeque<Fresh>,
}

impl Connections {
    fn new(places: Places) -> Self {
        Self { limit: Limit::new(places.all, places.of_one), all: JoinSet::new(), fresh: VecDeque::new() }
    }

    /// A place for one from there. Where all are taken, who has been there for longest without asking anything goes: so
    /// many that connect and say nothing keep nobody out.
    async fn place(&mut self, from: IpAddr) -> Option<Inside> {
        self.fresh.retain(|one| !(one.asked.load(Relaxed) || one.task.is_finished()));
        if let Some(inside) = self.limit.enter(from) {
            return Some(inside);
        }
        let silent = self.fresh.iter().position(|one| one.from == from)?;
        let silent = self.fresh.remove(silent)?;
        silent.task.abort();
        while !silent.task.is_finished() {
            // Its own end, or somebody else's before it.
            let _ = self.all.join_next().await?;
        }
        self.limit.enter(from)
    }

    async fn take(&mut self, stream: TcpStream, from: IpAddr, router: &Router, stop: &watch::Receiver<bool>) {
        // An IPv4 address may be written as IPv6, and this machine has many addresses.
        let from = from.to_canonical();
        let from = if from.is_loopback() { Ipv4Addr::LOCALHOST.into() } else { from };
        let Some(inside) = self.place(from).await else { return };
        let asked = Arc::new(AtomicBool::new(false));
        let one = connection(stream, router.clone(), asked.clone(), stop.clone());
        let task = self.all.spawn(async move {
            one.await;
            drop(inside);
        });
        self.fresh.push_back(Fresh { from, asked, task });
    }
}

/// Serves until `stop` says so; what is still answered then gets a moment by the caller's patience.
pub(crate) async fn serve(listener: TcpListener, router: Router, places: Places, mut stop: watch::Receiver<bool>) {
    let stopped = stop.clone();
    let mut connections = Connections::new(places);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, from)) => connections.take(stream, from.ip(), &router, &stopped).await,
                Err(_) => tokio::time::sleep(EXHAUSTED).await,
            },
            Some(_) = connections.all.join_next() => {}
            () = stopping(&mut stop) => break,
        }
    }
    while connections.all.join_next().await.is_some() {}
}

/// One connection, from its first byte to its end.
async fn connection(stream: TcpStream, router: Router, asked: Arc<AtomicBool>, mut stop: watch::Receiver<bool>) {
    // Small answers must not wait for others; where it cannot be set, they do.
    let _ = stream.set_nodelay(true);
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        asked.store(true, Relaxed);
        router.clone().oneshot(request.map(Body::new))
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD).max_headers(LINES_MAX).max_buf_size(HEAD_MAX);
    let stream = TokioIo::new(Brisk { stream, stalled: None });
    let mut connection = pin!(builder.serve_connection(stream, service));
    tokio::select! {
        outcome = connection.as_mut() => {
            if let Err(error) = outcome {
                debug!("a connection over plain HTTP ended: {error}");
            }
            return;
        }
        () = stopping(&mut stop) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

/// A stream whose reader must read.
struct Brisk<S> {
    stream: S,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Brisk<S> {
    /// What came of a write, or the end if the other side has taken nothing for too long.
    fn judge(&mut self, written: Poll<io::Result<usize>>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(STALLED)));
        stalled.as_mut().poll(cx).map(|()| Err(io::Error::new(io::ErrorKind::TimedOut, "nobody reads the answer")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Brisk<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Brisk<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.judge(written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.judge(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt as _;

    #[tokio::test(start_paused = true)]
    async fn who_does_not_read_is_cut_and_who_reads_slowly_is_not() {
        let (near, mut far) = tokio::io::duplex(16);
        let mut brisk = Brisk { stream: near, stalled: None };
        let reader = tokio::spawn(async move {
            use tokio::io::AsyncReadExt as _;
            let mut byte = [0; 4];
            for _ in 0..8 {
                tokio::time::sleep(STALLED - Duration::from_secs(1)).await; // waits: it is the slowness, in paused time
                far.read_exact(&mut byte).await.unwrap();
            }
            far
        });
        brisk.write_all(&[0; 48]).await.unwrap();
        // Sixteen bytes are on their way, and now nobody reads.
        let _far = reader.await.unwrap();
        let began = tokio::time::Instant::now();
        let error = brisk.write_all(&[0; 17]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(began.elapsed() >= STALLED && began.elapsed() < STALLED + Duration::from_secs(1));
    }
}
