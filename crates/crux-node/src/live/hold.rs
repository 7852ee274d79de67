//! One idle connection until it ends, and what its end means.

use crux_pki::Refusal;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::watch;

/// How long the last words of a connection may take.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// By us, on purpose.
    Ours,
    /// By us, because the other side would not be admitted any more: with a renewed certificate it would.
    Refused,
    /// By the other side, on purpose: it said goodbye, refused us, or said something, which nobody may.
    Said,
    /// Without a word, as when its process dies.
    Broke,
}

/// Keeps it until it ends, this side lets go, or `refused` says why the other side may not stay.
pub(super) async fn hold<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    mut pulled: watch::Receiver<()>,
    refused: impl Future<Output = Refusal>,
) -> Ended {
    let mut nothing = [0; 1];
    let ended = tokio::select! {
        read = stream.read(&mut nothing) => meaning(&read),
        // Nothing is ever sent over a leash: it changes by being let go.
        _ = pulled.changed() => Ended::Ours,
        _ = refused => Ended::Refused,
    };
    if ended != Ended::Broke {
        let _ = tokio::time::timeout(LAST_WORDS, stream.shutdown()).await;
    }
    ended
}

fn meaning(read: &io::Result<usize>) -> Ended {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, TimedOut, UnexpectedEof};
    match read {
        // TLS's goodbye, or data.
        Ok(_) => Ended::Said,
        Err(error) => match error.kind() {
            // TCP's end without TLS's goodbye, or a reset.
            UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe | TimedOut => Ended::Broke,
            // An alert: the other side looked at our certificate after our half of the handshake was done.
            _ => Ended::Said,
        },
    }
}
