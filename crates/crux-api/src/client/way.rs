//! The ways to a fulcrum.

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// How long an address may take to let a connection in.
pub(super) const CONNECT: Duration = Duration::from_secs(5);

/// A connection to a fulcrum.
pub trait Connection: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Connection for T {}

/// A connection that is being opened.
pub type Connecting<'a> = Pin<Box<dyn Future<Output = io::Result<Box<dyn Connection>>> + Send + 'a>>;

/// A way to a fulcrum: its local socket, its page's port, or its API port with mutual TLS.
pub trait Connect: Send + Sync + std::fmt::Debug {
    /// Where it leads, for people.
    fn place(&self) -> String;

    /// What stands in `Host`. Only the page's port looks at it.
    fn host(&self) -> String {
        "crux".to_owned()
    }

    /// What to try where nobody answers.
    fn next(&self) -> &'static str {
        "check the address, and that a fulcrum listens there: --at HOST:PORT is its API port"
    }

    /// Why nobody answers there yet, if somebody runs there and waits for something.
    fn waits(&self) -> Option<String> {
        None
    }

    /// Opens one connection. An error of the kind [`io::ErrorKind::InvalidData`] says that somebody answers there and one
    /// of the two refuses the other.
    fn connect(&self) -> Connecting<'_>;
}

/// A local socket.
#[derive(Debug)]
pub(super) struct Socket(pub(super) PathBuf);

impl Connect for Socket {
    fn place(&self) -> String {
        self.0.display().to_string()
    }

    fn next(&self) -> &'static str {
        "start a fulcrum with `crux up` or `crux up --dev 3`, or name another socket with --at"
    }

    fn waits(&self) -> Option<String> {
        crate::waiting::waits(&self.0)
    }

    fn connect(&self) -> Connecting<'_> {
        Box::pin(async {
            let stream: Box<dyn Connection> = Box::new(UnixStream::connect(&self.0).await?);
            Ok(stream)
        })
    }
}

/// A page's port: `HOST:PORT` on this machine.
#[derive(Debug)]
pub(super) struct Page(pub(super) String);

impl Connect for Page {
    fn place(&self) -> String {
        format!("http://{}", self.0)
    }

    fn host(&self) -> String {
        self.0.clone()
    }

    fn next(&self) -> &'static str {
        "start a fulcrum with `crux up`; `crux status -o json` says under listens.page where it answers programs"
    }

    fn connect(&self) -> Connecting<'_> {
        Box::pin(async {
            let stream: Box<dyn Connection> = Box::new(reach(&self.0).await?);
            Ok(stream)
        })
    }
}

/// A TCP connection in time.
pub(super) async fn reach(addr: &str) -> io::Result<TcpStream> {
    tokio::time::timeout(CONNECT, TcpStream::connect(addr)).await.map_err(late)?
}

/// Nothing came in time.
pub(super) fn late(_: tokio::time::error::Elapsed) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} s", CONNECT.as_secs()))
}
