//! One idle connection until it ends, and what its end means.

use crate::port::EXPIRY_CHECK;
use crux_pki::unix_now;
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
    /// By the other side, on purpose: it said goodbye, refused us, or said something, which nobody may.
    Said,
    /// Without a word, as when its process dies.
    Broke,
}

/// Keeps it until it ends, this side lets go, or a certificate has ended (Unix seconds).
pub(super) async fn hold<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    mut pulled: watch::Receiver<()>,
    not_after: u64,
) -> Ended {
    let mut nothing = [0; 1];
    let ended = tokio::select! {
        read = stream.read(&mut nothing) => meaning(&read),
        // Nothing is ever sent over a leash: it changes by being let go.
        _ = pulled.changed() => Ended::Ours,
        () = expiry(not_after) => Ended::Ours,
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

async fn expiry(not_after: u64) {
    loop {
        let left = not_after.saturating_add(1).saturating_sub(unix_now());
        if left == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_secs(left).min(EXPIRY_CHECK)).await;
    }
}
