//! Bulk streams between fulcrums: files by content, and what instances wrote. The first byte says which. A stream of an
//! unknown kind is closed: it is a newer peer's.

use crate::effects::{self, Effects, LogStream, Opener, Stream};
use crux_core::services::instance::InstanceId;
use crux_link::{Links, RecvStream, SendStream};
use crux_names::Member;
use serde::{Deserialize, Serialize};
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tracing::debug;

/// A file is wanted; what follows is the affair of `effects::fetch`.
const FILE: u8 = b'F';
/// An instance's lines are wanted: one [`AskLog`], then [`Line`]s until the end, each with its length before it.
const LOG: u8 = b'L';
/// Longest part of a log conversation in bytes.
const PART_MAX: usize = 256 * 1024;
/// How long a peer may take for its question.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many lines may wait for a slow reader.
const LINES: usize = 256;

/// Which lines are wanted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct AskLog {
    /// Of which instance.
    pub(crate) instance: String,
    /// The last so many; none: all that are kept.
    pub(crate) tail: Option<u32>,
    /// Whether new ones are wanted too.
    pub(crate) follow: bool,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Line {
    /// `stdout` or `stderr`.
    pub(crate) stream: String,
    /// Its text.
    pub(crate) text: String,
}

impl From<effects::LogLine> for Line {
    fn from(line: effects::LogLine) -> Self {
        let stream = match line.stream {
            LogStream::Out => "stdout",
            LogStream::Err => "stderr",
        };
        Self { stream: stream.into(), text: line.text }
    }
}

/// The streams to and from other fulcrums. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Peers {
    links: Links,
    effects: Arc<OnceLock<Effects>>,
}

impl Peers {
    /// Over these links.
    pub(crate) fn new(links: Links) -> Self {
        Self { links, effects: Arc::default() }
    }

    /// From now on peers get files and lines from here; before, their streams are closed.
    pub(crate) fn serve(&self, effects: Effects) {
        // It is called once.
        let _ = self.effects.set(effects);
    }

    /// What the effects fetch files with.
    pub(crate) fn opener(&self) -> Opener {
        let links = self.links.clone();
        Arc::new(move |member| {
            let links = links.clone();
            Box::pin(async move {
                let (send, recv) = open(&links, &member, FILE).await?;
                let stream: Stream = (Box::new(recv), Box::new(send));
                Ok(stream)
            })
        })
    }

    /// Answers a stream that a peer opened.
    pub(crate) fn answer(&self, peer: Member, mut send: SendStream, mut recv: RecvStream) {
        let Some(effects) = self.effects.get().cloned() else { return };
        tokio::spawn(async move {
            let kind = tokio::time::timeout(PATIENCE, recv.read_u8()).await;
            let outcome = match kind {
                Ok(Ok(FILE)) => effects::serve(effects.blobs(), recv, send).await,
                Ok(Ok(LOG)) => give_lines(&effects, &mut recv, &mut send).await,
                Ok(Ok(kind)) => {
                    Err(io::Error::other(format!("it is of a kind that this version does not know, {kind}")))
                }
                Ok(Err(error)) => Err(error),
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            };
            if let Err(error) = outcome {
                debug!("a stream of {peer} ended: {error}");
            }
        });
    }

    /// Lines of an instance on another fulcrum.
    ///
    /// # Errors
    /// Of the link.
    pub(crate) async fn lines(&self, member: &Member, ask: &AskLog) -> io::Result<mpsc::Receiver<Line>> {
        let (mut send, mut recv) = open(&self.links, member, LOG).await?;
        write_part(&mut send, ask).await?;
        send.shutdown().await?;
        let (out, lines) = mpsc::channel(LINES);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    line = read_part::<Line>(&mut recv) => match line {
                        Ok(line) => if out.send(line).await.is_err() { return },
                        Err(_) => return,
                    },
                    () = out.closed() => return,
                }
            }
        });
        Ok(lines)
    }
}

async fn open(links: &Links, member: &Member, kind: u8) -> io::Result<(SendStream, RecvStream)> {
    let (mut send, recv) = links.open_bulk(member).await.map_err(io::Error::other)?;
    send.write_u8(kind).await?;
    Ok((send, recv))
}

/// Lines of an instance on this fulcrum, from its files.
pub(crate) async fn lines_here(effects: &Effects, ask: &AskLog) -> io::Result<mpsc::Receiver<Line>> {
    let (out, lines) = mpsc::channel(LINES);
    let id: InstanceId = ask.instance.parse().map_err(|_| io::Error::other("that is no instance's id"))?;
    let Some(logs) = effects.logs(&id) else { return Ok(lines) };
    let tail = ask.tail.map_or(usize::MAX, |tail| tail as usize);
    if ask.follow {
        let mut following = logs.follow(tail);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    line = following.recv() => match line {
                        Some(line) => if out.send(line.into()).await.is_err() { return },
                        None => return,
                    },
                    () = out.closed() => return,
                }
            }
        });
    } else {
        let kept = tokio::task::spawn_blocking(move || logs.tail(tail)).await.map_err(io::Error::other)??.0;
        tokio::spawn(async move {
            for line in kept {
                if out.send(line.into()).await.is_err() {
                    return;
                }
            }
        });
    }
    Ok(lines)
}

async fn give_lines(effects: &Effects, recv: &mut RecvStream, send: &mut SendStream) -> io::Result<()> {
    let ask =
        tokio::time::timeout(PATIENCE, read_part::<AskLog>(recv)).await.map_err(|_| io::ErrorKind::TimedOut)??;
    let mut lines = lines_here(effects, &ask).await?;
    loop {
        tokio::select! {
            line = lines.recv() => match line {
                Some(line) => write_part(send, &line).await?,
                None => return send.shutdown().await,
            },
            // The other end lost interest.
            stopped = send.stopped() => return stopped.map(|_| ()).map_err(io::Error::other),
        }
    }
}

async fn write_part<T: Serialize>(send: &mut (impl AsyncWrite + Unpin), part: &T) -> io::Result<()> {
    let bytes = serde_json::to_vec(part)?;
    let len = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    let mut whole = len.to_be_bytes().to_vec();
    whole.extend_from_slice(&bytes);
    send.write_all(&whole).await
}

async fn read_part<T: for<'a> Deserialize<'a>>(recv: &mut (impl AsyncRead + Unpin)) -> io::Result<T> {
    let len = recv.read_u32().await? as usize;
    if len > PART_MAX {
        return Err(io::Error::other(format!("a part of {len} bytes is longer than {PART_MAX}")));
    }
    let mut bytes = vec![0; len];
    recv.read_exact(&mut bytes).await?;
    serde_json::from_slice(&bytes).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn parts_go_over_a_stream_and_a_long_one_is_refused_before_it_is_read() {
        let (mut here, mut there) = tokio::io::duplex(1024);
        let line = Line { stream: "stdout".into(), text: "a\u{1b}b".into() };
        write_part(&mut here, &line).await.unwrap();
        assert_eq!(read_part::<Line>(&mut there).await.unwrap(), line);
        here.write_all(&u32::MAX.to_be_bytes()).await.unwrap();
        assert!(read_part::<Line>(&mut there).await.unwrap_err().to_string().contains("longer"));
    }
}
