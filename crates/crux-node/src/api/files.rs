//! Files by content: put one in, list them, get one out. Every fulcrum fetches what it needs from its peers by itself.

use super::Door;
use super::answer::{Answer, Refusal, doc};
use super::gate::Noted;
use crate::effects::{BlobError, FetchError};
use axum::body::{Body, BodyDataStream};
use axum::extract::{Path, State};
use axum::http::{Method, header};
use axum::response::IntoResponse as _;
use bytes::Bytes;
use crux_api::json::{Code, Counter, FileEntry, FileList, FileStored};
use crux_names::Hash256;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncReadExt as _, ReadBuf};
use tokio::sync::mpsc;
use tokio_stream::Stream as _;
use tokio_stream::wrappers::ReceiverStream;

/// Largest file that is taken: a container image's layer, not a disk image.
const FILE_MAX: u64 = 16 << 30;
/// Bytes moved at a time.
const CHUNK: usize = 64 * 1024;

fn disk(cause: &dyn std::fmt::Display) -> Refusal {
    Refusal::new(Code::StoreRefusing, cause.to_string(), "free space on the disk of --state, then try again")
}

/// `GET /v1/files`.
pub(super) async fn list(State(door): State<Door>) -> Answer {
    let blobs = door.effects.blobs().clone();
    let files = tokio::task::spawn_blocking(move || blobs.list()).await.map_err(|e| disk(&e))?.map_err(|e| disk(&e))?;
    let needed = door.asker.look(|engine, _| {
        let manifests = engine.facts_room().muster();
        manifests.flat_map(|(_, _, manifest)| manifest.files).filter_map(|file| file.hash()).collect::<BTreeSet<_>>()
    });
    let needed = needed.await.map_err(|_| Refusal::going_down())?;
    let entry = |(hash, size): (Hash256, u64)| FileEntry {
        sha256: hash.to_string(),
        size: Counter(size),
        pinned: needed.contains(&hash),
    };
    Ok(doc(FileList { files: files.into_iter().map(entry).collect() }))
}

/// `PUT /v1/files`.
pub(super) async fn store(State(door): State<Door>, content: Body) -> Answer {
    let reader = BodyReader { stream: content.into_data_stream(), rest: Bytes::new() };
    match door.effects.blobs().add_stream(reader, None, FILE_MAX).await {
        Ok((hash, size)) => {
            let mut noted = Noted::default();
            noted.target(format!("file {hash}"));
            Ok(noted.on(doc(FileStored { sha256: hash.to_string(), size: Counter(size) })))
        }
        Err(error @ BlobError::TooLong { .. }) => {
            Err(Refusal::new(Code::BadRequest, error.to_string(), "split the file, or serve it by other means"))
        }
        Err(error) => Err(disk(&error)),
    }
}

/// `GET /v1/files/SHA256`. What is found damaged while it is given breaks off at its end and is removed; `HEAD` looks at
/// all of it first, and has it fetched anew.
pub(super) async fn fetch(State(door): State<Door>, method: Method, Path(sha256): Path<String>) -> Answer {
    let hash: Hash256 = sha256
        .parse()
        .map_err(|cause| Refusal::new(Code::Usage, format!("{sha256:?} is no SHA-256: {cause}"), "crux files list"))?;
    let absent =
        || Refusal::new(Code::NotFound, format!("{} does not have {hash}", door.me.id), "crux files list --at NODE");
    if method == Method::HEAD {
        let blobs = door.effects.blobs().clone();
        let verified = tokio::task::spawn_blocking(move || blobs.verify(&hash)).await.map_err(|e| disk(&e))?;
        let mut size = verified.map_err(|e| disk(&e))?;
        if size.is_none() && from_others(&door, hash).await? {
            size = door.effects.blobs().has(&hash);
        }
        return Ok(([(header::CONTENT_LENGTH, size.ok_or_else(absent)?)], Body::empty()).into_response());
    }
    let mut read = door.effects.blobs().read(&hash).await;
    if read.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) && from_others(&door, hash).await? {
        read = door.effects.blobs().read(&hash).await;
    }
    let mut file = read.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => absent(),
        _ => disk(&error),
    })?;
    let (out, chunks) = mpsc::channel::<io::Result<Bytes>>(4);
    let blobs = door.effects.blobs().clone();
    tokio::spawn(async move {
        let mut hasher = Sha256::new();
        loop {
            let mut chunk = vec![0; CHUNK];
            let read = file.read(&mut chunk).await;
            let ended = !matches!(read, Ok(read) if read > 0);
            let part = match read {
                Ok(0) if Hash256(hasher.finalize_reset().into()) == hash => return,
                Ok(0) => {
                    // Gone or not: whoever asked must not take it for whole.
                    let _ = blobs.discard(&hash);
                    Err(io::Error::new(io::ErrorKind::InvalidData, "its content is another one than its name says"))
                }
                Ok(read) => {
                    chunk.truncate(read);
                    hasher.update(&chunk);
                    Ok(chunk.into())
                }
                Err(error) => Err(error),
            };
            if out.send(part).await.is_err() || ended {
                return;
            }
        }
    });
    Ok(Body::from_stream(ReceiverStream::new(chunks)).into_response())
}

/// Fetches what a service needs and this fulcrum does not have from those to whom it has links. True if it is here now.
async fn from_others(door: &Door, hash: Hash256) -> Result<bool, Refusal> {
    let size = door.asker.look(move |engine, _| {
        let mut files = engine.facts_room().muster().flat_map(|(_, _, manifest)| manifest.files);
        files.find(|file| file.hash() == Some(hash)).map(|file| file.size)
    });
    let Some(size) = size.await.map_err(|_| Refusal::going_down())? else { return Ok(false) };
    let peers: Vec<_> = door.links.links().into_iter().map(|link| link.peer.member).collect();
    match crate::effects::fetch(door.effects.blobs(), hash, size, &peers, &door.peers.opener()).await {
        Ok(()) => Ok(true),
        Err(FetchError::Nobody { .. }) => Ok(false),
        Err(error) => Err(disk(&error)),
    }
}

/// A request's body as a reader. A body that breaks off is an error, not an end.
struct BodyReader {
    stream: BodyDataStream,
    rest: Bytes,
}

impl AsyncRead for BodyReader {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.rest.is_empty() {
            match ready!(Pin::new(&mut self.stream).poll_next(cx)) {
                Some(Ok(bytes)) => self.rest = bytes,
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                None => return Poll::Ready(Ok(())),
            }
        }
        let take = self.rest.len().min(buffer.remaining());
        let part = self.rest.split_to(take);
        buffer.put_slice(&part);
        Poll::Ready(Ok(()))
    }
}
