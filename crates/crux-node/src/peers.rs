//! Bulk streams between fulcrums: files by content, what instances wrote, and what the other side sees. The first byte says which. A stream of an
//! unknown kind is closed: it is a newer peer's.

use crate::api::show;
use crate::ask::Asker;
use crate::effects::{self, Effects, LogStream, Opener, Stream};
use crux_api::json::{Apart, Sibling};
use crux_core::services::instance::InstanceId;
use crux_link::{DialFailure, LinkInfo, Links, RecvStream, SendStream};
use crux_names::{Member, NodeName};
use serde::{Deserialize, Serialize};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tracing::debug;

/// A file is wanted; what follows is the affair of `effects::fetch`.
const FILE: u8 = b'F';
/// An instance's lines are wanted: one [`AskLog`], then [`Line`]s until the end, each with its length before it.
const LOG: u8 = b'L';
/// A look at the other side is wanted: one [`AskSight`], answered by one [`Sight`].
const SIGHT: u8 = b'S';
/// Most links that a [`Sight`] tells of: they must fit into one part.
const SIGHT_LINKS: usize = 1_500;
/// Most other flocks that a [`Sight`] tells of.
const SIGHT_SIBLINGS: usize = 64;
/// How long a try of the asker's API port may take.
const TRY: Duration = Duration::from_secs(1);
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

/// What is to be looked at.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct AskSight {
    /// Try whether the asker's API port, at the address of its link, lets a connection in.
    pub(crate) try_api: bool,
    /// Try whether the asker's mesh port, where its link says it is, answers somebody who is not linked yet.
    #[serde(default)]
    pub(crate) try_mesh: bool,
    /// Only the clock and the digest of its facts are wanted, no links.
    #[serde(default)]
    pub(crate) clock_only: bool,
}

/// What a fulcrum sees.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sight {
    /// Its wall clock, in microseconds of Unix time.
    pub(crate) wall: u64,
    /// Its links.
    pub(crate) links: Vec<SeenLink>,
    /// Why the asker's API port lets nobody in, `Ok` if it does; `None` if it was not tried or the asker has none.
    pub(crate) api: Option<Result<(), String>>,
    /// The same for the asker's mesh port.
    #[serde(default)]
    pub(crate) mesh: Option<Result<(), String>>,
    /// Other flocks of the bloc that it sees, at most [`SIGHT_SIBLINGS`]; of its own sight nothing, for the status has them.
    #[serde(default)]
    pub(crate) siblings: Vec<Sibling>,
    /// The digest of its facts, in hex; older versions do not say it.
    #[serde(default)]
    pub(crate) facts: Option<String>,
}

/// One link as its end sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SeenLink {
    /// `node` or `node/fulcrum`.
    pub(crate) to: String,
    /// Where.
    pub(crate) addr: SocketAddr,
    /// Whether this end dialled.
    pub(crate) dialed: bool,
    /// Milliseconds since it came up.
    pub(crate) age_ms: u64,
    /// Milliseconds until its keys are replaced; older versions do not say it.
    #[serde(default)]
    pub(crate) rekey_ms: Option<u64>,
    /// Milliseconds since they were made; older versions do not say it.
    #[serde(default)]
    pub(crate) keys_ms: Option<u64>,
    /// Round trip in microseconds.
    pub(crate) rtt_us: u64,
    /// Longest datagram in bytes.
    pub(crate) datagram: Option<u32>,
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
    asker: Asker,
    effects: Arc<OnceLock<Effects>>,
    /// Where what peers ask for is read and sent: not where the mesh is.
    runtime: Handle,
}

impl Peers {
    /// Over these links; what peers ask of the flock, `asker` knows.
    pub(crate) fn new(links: Links, asker: Asker, runtime: Handle) -> Self {
        Self { links, asker, effects: Arc::default(), runtime }
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
        let (links, asker) = (self.links.clone(), self.asker.clone());
        self.runtime.spawn(async move {
            let kind = tokio::time::timeout(PATIENCE, recv.read_u8()).await;
            let outcome = match kind {
                Ok(Ok(FILE)) => effects::serve(effects.blobs(), recv, send).await,
                Ok(Ok(SIGHT)) => give_sight(&links, &asker, &peer, &mut recv, &mut send).await,
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

    /// What this fulcrum sees.
    pub(crate) fn sight(&self) -> Sight {
        sight(&self.links)
    }

    /// What another fulcrum sees.
    ///
    /// # Errors
    /// Of the link, or that it did not answer in time.
    pub(crate) async fn sight_of(&self, member: &Member, ask: AskSight, patience: Duration) -> io::Result<Sight> {
        let asked = async {
            let (mut send, mut recv) = open(&self.links, member, SIGHT).await?;
            write_part(&mut send, &ask).await?;
            send.shutdown().await?;
            read_part(&mut recv).await
        };
        tokio::time::timeout(patience, asked).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
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

fn sight(links: &Links) -> Sight {
    let link = |info: LinkInfo| SeenLink {
        to: info.peer.member.id.to_string(),
        addr: info.peer.addr,
        dialed: info.dialed,
        age_ms: u64::try_from(info.age.as_millis()).unwrap_or(u64::MAX),
        rekey_ms: u64::try_from(info.rekey_in().as_millis()).ok(),
        keys_ms: u64::try_from(info.key_age.as_millis()).ok(),
        rtt_us: u64::try_from(info.rtt.as_micros()).unwrap_or(u64::MAX),
        datagram: links.max_datagram(&info.peer.member).and_then(|most| u32::try_from(most).ok()),
    };
    let links = links.links().into_iter().take(SIGHT_LINKS).map(link).collect();
    Sight { links, ..only_clock() }
}

fn only_clock() -> Sight {
    Sight { wall: crate::wall().0, links: Vec::new(), api: None, mesh: None, siblings: Vec::new(), facts: None }
}

/// Whether a TCP connection to there is let in.
pub(crate) async fn let_in(addr: SocketAddr) -> Result<(), String> {
    match tokio::time::timeout(TRY, TcpStream::connect(addr)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", TRY.as_secs())),
    }
}

/// Whether this node answers at its mesh port there.
async fn answers(links: &Links, addr: SocketAddr, node: &NodeName) -> Result<(), String> {
    match links.knock(vec![addr]).await.pop() {
        Some((_, outcome)) => judged(outcome, node),
        None => Err("nobody was asked".to_owned()),
    }
}

/// What came of a knock at the port of this node.
pub(crate) fn judged(outcome: Result<NodeName, DialFailure>, node: &NodeName) -> Result<(), String> {
    match outcome {
        Ok(answered) if answered == *node => Ok(()),
        Ok(other) => Err(format!("{other} answers there")),
        Err(failure) => Err(failure.to_string()),
    }
}

async fn give_sight(
    links: &Links,
    asker: &Asker,
    peer: &Member,
    recv: &mut RecvStream,
    send: &mut SendStream,
) -> io::Result<()> {
    let ask =
        tokio::time::timeout(PATIENCE, read_part::<AskSight>(recv)).await.map_err(|_| io::ErrorKind::TimedOut)??;
    let mut sight = if ask.clock_only {
        only_clock()
    } else {
        // While it goes down it has nothing to say of flocks.
        let siblings = asker.look(show::siblings).await.unwrap_or_default();
        Sight { siblings: siblings.into_iter().take(SIGHT_SIBLINGS).collect(), ..sight(links) }
    };
    sight.facts = asker.look(|engine, _| engine.facts_room().digest().to_string()).await.ok();
    // Nothing but the asker's own ports, at the address that its link has: nobody can have others knocked at.
    if let Some(asker) = links.links().into_iter().find(|link| link.peer.member == *peer) {
        let port = asker.peer.api_port;
        let api = async {
            let wanted = ask.try_api && port != 0;
            if wanted { Some(let_in(SocketAddr::new(asker.peer.addr.ip(), port)).await) } else { None }
        };
        let mesh =
            async { if ask.try_mesh { Some(answers(links, asker.peer.addr, &peer.id.node).await) } else { None } };
        (sight.api, sight.mesh) = tokio::join!(api, mesh);
    }
    write_part(send, &sight).await?;
    send.shutdown().await
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

/// For the fuzz targets: the outcome of a reader whose bytes are all there.
fn at_once<T>(reading: impl Future<Output = T>) -> Option<T> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(reading).poll(&mut context) {
        std::task::Poll::Ready(outcome) => Some(outcome),
        std::task::Poll::Pending => None,
    }
}

/// For the fuzz targets: parts as they are written.
pub(crate) fn fuzz_parts() -> Vec<Vec<u8>> {
    fn part(value: &impl Serialize) -> Vec<u8> {
        let mut bytes = Vec::new();
        let _ = at_once(write_part(&mut bytes, value));
        bytes
    }
    let link = SeenLink {
        to: "n2/b".to_owned(),
        addr: SocketAddr::from(([10, 0, 0, 2], 2789)),
        dialed: true,
        age_ms: 12_500,
        rekey_ms: Some(7),
        keys_ms: Some(100),
        rtt_us: 250,
        datagram: Some(1_200),
    };
    vec![
        part(&AskLog { instance: "n1:1:1".to_owned(), tail: Some(10), follow: true }),
        part(&AskSight { try_api: true, try_mesh: true, clock_only: false }),
        part(&Sight {
            wall: 7,
            links: vec![link],
            api: Some(Err("no answer".to_owned())),
            mesh: Some(Ok(())),
            siblings: vec![Sibling {
                flock: "bold-owl".to_owned(),
                leader: "n2".to_owned(),
                size: 1,
                apart: Apart::BrokenPair,
                pair: Some(["n1".to_owned(), "n2".to_owned()]),
                until: None,
            }],
            facts: Some("ab".repeat(32)),
        }),
        part(&Line { stream: "stdout".to_owned(), text: "a line".to_owned() }),
    ]
}

/// For the fuzz targets: any bytes as each kind of part.
pub(crate) fn fuzz_part(data: &[u8]) {
    fn read<T: for<'a> Deserialize<'a> + Serialize>(mut data: &[u8]) {
        let outcome = at_once(read_part::<T>(&mut data)).expect("bytes that are all there are not waited for");
        if let Ok(part) = outcome {
            assert!(serde_json::to_vec(&part).is_ok(), "what was read cannot be written");
        }
    }
    read::<AskLog>(data);
    read::<AskSight>(data);
    read::<Sight>(data);
    read::<Line>(data);
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
