//! Files between fulcrums, over one stream each. Asked: SHA-256 (32 bytes), offset (8, big-endian). Answered: status
//! (1: 0 it follows, 1 not here, 2 no such offset), size of the whole (8, big-endian), the bytes from the offset on.

use crate::effects::blobs::{Blobs, CHUNK};
use crux_names::{Hash256, Member};
use sha2::{Digest, Sha256};
use std::future::Future;
use std::io::{self, SeekFrom};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncSeekExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// A peer that says nothing for this long is left for the next one.
const PATIENCE: Duration = Duration::from_secs(10);
const FOLLOWS: u8 = 0;
const NOT_HERE: u8 = 1;
const NO_OFFSET: u8 = 2;

/// Both directions of a stream to a member.
pub type Stream = (Box<dyn AsyncRead + Send + Unpin>, Box<dyn AsyncWrite + Send + Unpin>);
/// Opens a stream to a member on which it runs [`serve`].
pub type Opener = Arc<dyn Fn(Member) -> Pin<Box<dyn Future<Output = io::Result<Stream>> + Send>> + Send + Sync>;

/// Why a file is still not here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// This fulcrum's disk refuses it.
    #[error("cannot store {hash}: {source}; free some space or check the disk")]
    Disk {
        /// Which file.
        hash: Hash256,
        /// The disk's reason.
        source: io::Error,
    },
    /// No peer gave it.
    #[error("nobody gave {hash}: {reasons}")]
    Nobody {
        /// Which file.
        hash: Hash256,
        /// Each peer with its reason.
        reasons: String,
    },
}

enum Fault {
    Disk(io::Error),
    /// The content is not what its name says; the beginning may be another peer's.
    Wrong,
    Peer(String),
}

/// Gives one file to whoever is at the other end.
///
/// What is found damaged while it is given from its beginning is removed, so that it can be fetched again: the other
/// end notices by itself.
///
/// # Errors
/// Of the stream or the disk; the other end then sees a broken stream and asks somebody else.
pub async fn serve(
    blobs: &Blobs,
    mut recv: impl AsyncRead + Send + Unpin,
    mut send: impl AsyncWrite + Send + Unpin,
) -> io::Result<()> {
    let mut asked = [0; 40];
    timeout(PATIENCE, recv.read_exact(&mut asked)).await.map_err(|_| io::ErrorKind::TimedOut)??;
    let (hash, offset) = question(asked);
    let mut file = match blobs.read(&hash).await {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return answer(&mut send, NOT_HERE, 0).await,
        Err(error) => return Err(error),
    };
    let size = file.metadata().await?.len();
    if offset > size {
        return answer(&mut send, NO_OFFSET, size).await;
    }
    file.seek(SeekFrom::Start(offset)).await?;
    send.write_all(&header(FOLLOWS, size)).await?;
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0; CHUNK]);
    loop {
        let n = file.read(&mut buffer).await?;
        if n == 0 {
            break;
        }
        hasher.update(&buffer[..n]);
        timeout(PATIENCE, send.write_all(&buffer[..n])).await.map_err(|_| io::ErrorKind::TimedOut)??;
    }
    if offset == 0 && Hash256(hasher.finalize().into()) != hash {
        blobs.discard(&hash)?;
    }
    send.shutdown().await
}

/// Which file is asked for, from which offset.
pub(super) fn question(asked: [u8; 40]) -> (Hash256, u64) {
    let (mut name, mut offset) = ([0; 32], [0; 8]);
    name.copy_from_slice(&asked[..32]);
    offset.copy_from_slice(&asked[32..]);
    (Hash256(name), u64::from_be_bytes(offset))
}

/// Whether the file of this size follows; else why not, in words.
pub(super) fn answered(header: [u8; 9], size: u64) -> Result<(), String> {
    let theirs = header[1..].iter().fold(0_u64, |size, byte| size << 8 | u64::from(*byte));
    match header[0] {
        FOLLOWS if theirs == size => Ok(()),
        FOLLOWS | NO_OFFSET => Err(format!("has it with {theirs} bytes, announced were {size}")),
        NOT_HERE => Err("does not have it".into()),
        status => Err(format!("answered with status {status}, which this version does not know")),
    }
}

pub(super) fn header(status: u8, size: u64) -> [u8; 9] {
    let mut header = [status; 9];
    header[1..].copy_from_slice(&size.to_be_bytes());
    header
}

async fn answer(send: &mut (impl AsyncWrite + Unpin), status: u8, size: u64) -> io::Result<()> {
    send.write_all(&header(status, size)).await?;
    send.shutdown().await
}

/// Fetches a file of this name and size from the first of the peers that gives it, and goes on with the next from where
/// one broke off, also in a later call. Nothing is stored under the name before its SHA-256 was verified.
///
/// # Errors
/// [`FetchError`] with every peer's reason.
pub async fn fetch(blobs: &Blobs, hash: Hash256, size: u64, peers: &[Member], open: &Opener) -> Result<(), FetchError> {
    let _turn = blobs.fetching(&hash).await;
    if blobs.has(&hash).is_some() {
        return Ok(());
    }
    let mut reasons = Vec::new();
    for peer in peers {
        loop {
            let had = std::fs::metadata(blobs.part(&hash)).map_or(0, |meta| meta.len());
            match from_peer(blobs, hash, size, peer, open).await {
                Ok(()) => return Ok(()),
                Err(Fault::Disk(source)) => return Err(FetchError::Disk { hash, source }),
                // The beginning was not this peer's: it gets the chance to give all of it.
                Err(Fault::Wrong) if had > 0 => {}
                Err(Fault::Wrong) => {
                    reasons.push(format!("{}: its content is another one", peer.id));
                    break;
                }
                Err(Fault::Peer(why)) => {
                    reasons.push(format!("{}: {why}", peer.id));
                    break;
                }
            }
        }
    }
    let reasons = if reasons.is_empty() { "no member is known to have it".into() } else { reasons.join("; ") };
    Err(FetchError::Nobody { hash, reasons })
}

async fn from_peer(blobs: &Blobs, hash: Hash256, size: u64, peer: &Member, open: &Opener) -> Result<(), Fault> {
    let path = blobs.part(&hash);
    let (mut file, mut hasher, mut have) = resume(&path, size).await.map_err(Fault::Disk)?;
    if have < size || size == 0 {
        let mut recv = ask(hash, have, size, peer, open).await?;
        let mut buffer = vec![0; CHUNK];
        while have < size {
            let n = within(recv.read(&mut buffer)).await?;
            if n == 0 {
                file.flush().await.map_err(Fault::Disk)?;
                return Err(Fault::Peer(format!("broke off after {have} of {size} bytes")));
            }
            have += n as u64;
            if have > size {
                return discard(&path, Fault::Peer(format!("gave more than {size} bytes"))).await;
            }
            hasher.update(&buffer[..n]);
            file.write_all(&buffer[..n]).await.map_err(Fault::Disk)?;
        }
    }
    if Hash256(hasher.finalize().into()) != hash {
        return discard(&path, Fault::Wrong).await;
    }
    blobs.keep(&path, file, &hash).await.map_err(Fault::Disk)
}

async fn discard(path: &std::path::Path, fault: Fault) -> Result<(), Fault> {
    tokio::fs::remove_file(path).await.map_err(Fault::Disk)?;
    Err(fault)
}

/// Opens what was fetched before and hashes it.
async fn resume(path: &std::path::Path, size: u64) -> io::Result<(File, Sha256, u64)> {
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).await?;
    if file.metadata().await?.len() > size {
        file.set_len(0).await?;
    }
    let (mut hasher, mut have, mut buffer) = (Sha256::new(), 0, vec![0; CHUNK]);
    loop {
        match file.read(&mut buffer).await? {
            0 => return Ok((file, hasher, have)),
            n => {
                hasher.update(&buffer[..n]);
                have += n as u64;
            }
        }
    }
}

async fn ask(
    hash: Hash256,
    offset: u64,
    size: u64,
    peer: &Member,
    open: &Opener,
) -> Result<Box<dyn AsyncRead + Send + Unpin>, Fault> {
    let (mut recv, mut send) = within(open(peer.clone())).await?;
    let mut request = hash.0.to_vec();
    request.extend_from_slice(&offset.to_be_bytes());
    within(send.write_all(&request)).await?;
    within(send.shutdown()).await?;
    let mut header = [0; 9];
    within(recv.read_exact(&mut header)).await?;
    answered(header, size).map(|()| recv).map_err(Fault::Peer)
}

async fn within<T>(step: impl Future<Output = io::Result<T>>) -> Result<T, Fault> {
    match timeout(PATIENCE, step).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Fault::Peer(error.to_string())),
        Err(_) => Err(Fault::Peer(format!("said nothing for {} s", PATIENCE.as_secs()))),
    }
}
