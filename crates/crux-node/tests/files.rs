//! Files by content, between two stores over in-memory streams.
#![allow(missing_docs)]

use crux_core::hash::sha256;
use crux_names::{Boot, Hash256, Member};
use crux_node::effects::{BlobError, Blobs, FetchError, Opener, Stream, fetch, serve};
use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn member(name: &str) -> Member {
    Member { id: name.parse().unwrap(), boot: Boot(1) }
}

fn content() -> Vec<u8> {
    (0..300_000_u32).flat_map(|n| (n.wrapping_mul(2_654_435_761)).to_le_bytes()).collect()
}

/// What a peer does when it is asked.
#[derive(Clone)]
enum Peer {
    /// Serves its store honestly.
    Serves(Blobs),
    /// Says this, as raw bytes, whatever it is asked.
    Says(Vec<u8>),
    /// Breaks off after so many bytes of an honest answer.
    Breaks(Blobs, usize),
}

type Asked = Arc<Mutex<Vec<(String, u64)>>>;

/// Peers by name, and the list of who was asked from which offset on.
fn peers(peers: impl IntoIterator<Item = (&'static str, Peer)>) -> (Opener, Asked) {
    let peers: BTreeMap<String, Peer> = peers.into_iter().map(|(name, peer)| (name.to_owned(), peer)).collect();
    let asked = Asked::default();
    let log = asked.clone();
    let open: Opener = Arc::new(move |member: Member| {
        let name = member.id.to_string();
        let (peer, log) = (peers.get(&name).cloned(), log.clone());
        Box::pin(async move {
            let peer = peer.ok_or(io::ErrorKind::NotConnected)?;
            let (mine, theirs) = tokio::io::duplex(1 << 16);
            let (read, write) = tokio::io::split(mine);
            let (mut their_read, mut their_write) = tokio::io::split(theirs);
            tokio::spawn(async move {
                let mut request = vec![0; 40];
                their_read.read_exact(&mut request).await.unwrap();
                let offset = u64::from_be_bytes(request[32..].try_into().unwrap());
                log.lock().unwrap().push((name, offset));
                match peer {
                    Peer::Serves(blobs) => drop(serve(&blobs, request.as_slice(), their_write).await),
                    Peer::Says(bytes) => drop(their_write.write_all(&bytes).await),
                    Peer::Breaks(blobs, after) => {
                        let (answer, rest) = tokio::io::duplex(1 << 24);
                        serve(&blobs, request.as_slice(), rest).await.unwrap();
                        let _ = tokio::io::copy(&mut answer.take(after as u64), &mut their_write).await;
                    }
                }
            });
            let stream: Stream = (Box::new(read), Box::new(write));
            Ok(stream)
        })
    });
    (open, asked)
}

fn answer(size: u64, bytes: &[u8]) -> Peer {
    Peer::Says([&[0][..], &size.to_be_bytes(), bytes].concat())
}

async fn source(dir: &Path) -> (Blobs, Hash256, u64) {
    let blobs = Blobs::open(&dir.join("source")).unwrap();
    let (hash, size) = blobs.add_stream(content().as_slice(), None, u64::MAX).await.unwrap();
    (blobs, hash, size)
}

#[tokio::test]
async fn a_file_appears_whole_and_verified_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(&dir.path().join("b")).unwrap();
    let hash = sha256(b"hello");
    std::fs::write(dir.path().join("hello"), "hello").unwrap();
    assert_eq!(blobs.add_file(&dir.path().join("hello")).await.unwrap(), (hash, 5));
    assert_eq!(blobs.add_stream(&b"hello"[..], Some(hash), 5).await.unwrap(), (hash, 5), "twice is once");
    assert_eq!(blobs.has(&hash), Some(5));
    assert_eq!(std::fs::metadata(blobs.path(&hash)).unwrap().permissions().mode() & 0o777, 0o444);
    let wrong = blobs.add_stream(&b"hallo"[..], Some(hash), 5).await.unwrap_err();
    assert!(matches!(wrong, BlobError::Wrong { wanted, got } if wanted == hash && got == sha256(b"hallo")));
    assert!(matches!(blobs.add_stream(&b"hello!"[..], None, 5).await, Err(BlobError::TooLong { max: 5 })));
    assert_eq!(blobs.list().unwrap(), [(hash, 5)]);
    assert_eq!(std::fs::read_dir(dir.path().join("b/part")).unwrap().count(), 0, "nothing half done is left");
    assert!(blobs.remove(&hash).unwrap() && !blobs.remove(&hash).unwrap());
}

#[tokio::test]
async fn the_next_peer_is_asked_after_any_fault() {
    let dir = tempfile::tempdir().unwrap();
    let (good, hash, size) = source(dir.path()).await;
    let empty = Blobs::open(&dir.path().join("empty")).unwrap();
    let mut changed = content();
    changed[77] ^= 1;
    let names = ["gone", "without", "strange", "shut", "other-size", "liar", "babbler", "good"];
    let (open, asked) = peers([
        ("without", Peer::Serves(empty)),
        ("strange", Peer::Says(vec![9; 9])),
        ("shut", Peer::Says(vec![])),
        ("other-size", answer(size + 1, &content())),
        ("liar", answer(size, &changed)),
        ("babbler", answer(size, &[changed.clone(), vec![0; 100]].concat())),
        ("good", Peer::Serves(good)),
    ]);
    let here = Blobs::open(&dir.path().join("here")).unwrap();
    let all: Vec<Member> = names.iter().map(|name| member(name)).collect();
    let error = fetch(&here, hash, size, &all[..7], &open).await.unwrap_err();
    let FetchError::Nobody { reasons, .. } = &error else { panic!("{error}") };
    assert!(names[..7].iter().all(|name| reasons.contains(&format!("{name}: "))), "{reasons}");
    assert_eq!(here.has(&hash), None, "a wrong content is never stored");
    fetch(&here, hash, size, &all, &open).await.unwrap();
    assert_eq!(std::fs::read(here.path(&hash)).unwrap(), content());
    let before = asked.lock().unwrap().len();
    fetch(&here, hash, size, &all, &open).await.unwrap();
    assert_eq!(asked.lock().unwrap().len(), before, "what is here is not asked for");
}

#[tokio::test]
async fn a_fetch_goes_on_where_it_broke_off() {
    let dir = tempfile::tempdir().unwrap();
    let (good, hash, size) = source(dir.path()).await;
    let (open, asked) =
        peers([("breaks", Peer::Breaks(good.clone(), 9 + 500_000)), ("good", Peer::Serves(good.clone()))]);
    let here = Blobs::open(&dir.path().join("here")).unwrap();
    assert!(fetch(&here, hash, size, &[member("breaks")], &open).await.is_err());
    // Also another life goes on.
    let here = Blobs::open(&dir.path().join("here")).unwrap();
    fetch(&here, hash, size, &[member("good")], &open).await.unwrap();
    assert_eq!(*asked.lock().unwrap(), [("breaks".to_owned(), 0), ("good".to_owned(), 500_000)]);
    assert_eq!(std::fs::read(here.path(&hash)).unwrap(), content());
}

#[tokio::test]
async fn a_bad_beginning_does_not_spoil_an_honest_peer() {
    let dir = tempfile::tempdir().unwrap();
    let (good, hash, size) = source(dir.path()).await;
    let (open, asked) = peers([("liar", answer(size, &[7; 1000])), ("good", Peer::Serves(good))]);
    let here = Blobs::open(&dir.path().join("here")).unwrap();
    fetch(&here, hash, size, &[member("liar"), member("good")], &open).await.unwrap();
    let order: Vec<u64> = asked.lock().unwrap().iter().map(|(_, offset)| *offset).collect();
    assert_eq!(order, [0, 1000, 0]);
    assert_eq!(std::fs::read(here.path(&hash)).unwrap(), content());
}

#[tokio::test]
async fn many_who_want_the_same_file_fetch_it_once() {
    let dir = tempfile::tempdir().unwrap();
    let (good, hash, size) = source(dir.path()).await;
    let (open, asked) = peers([("good", Peer::Serves(good))]);
    let here = Blobs::open(&dir.path().join("here")).unwrap();
    let fetches: Vec<_> = (0..8)
        .map(|_| {
            let (here, open) = (here.clone(), open.clone());
            tokio::spawn(async move { fetch(&here, hash, size, &[member("good")], &open).await })
        })
        .collect();
    for done in fetches {
        done.await.unwrap().unwrap();
    }
    assert_eq!(asked.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_file_that_rotted_is_not_given_twice() {
    let dir = tempfile::tempdir().unwrap();
    let (rotten, hash, size) = source(dir.path()).await;
    let path = rotten.path(&hash);
    let mut bytes = content();
    bytes[1000] ^= 4;
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, bytes).unwrap();
    let (open, _) = peers([("rotten", Peer::Serves(rotten.clone()))]);
    let here = Blobs::open(&dir.path().join("here")).unwrap();
    let error = fetch(&here, hash, size, &[member("rotten")], &open).await.unwrap_err();
    assert!(error.to_string().contains("another one"), "{error}");
    assert_eq!(here.has(&hash), None);
    // The giver notices while it gives the last bytes, which may be a moment after they came here.
    let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while rotten.has(&hash).is_some() {
        assert!(std::time::Instant::now() < end, "it is removed");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_empty_file_is_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let source = Blobs::open(&dir.path().join("source")).unwrap();
    let (hash, size) = source.add_stream(&b""[..], None, 0).await.unwrap();
    let (open, _) = peers([("good", Peer::Serves(source))]);
    let here = Blobs::open(&dir.path().join("here")).unwrap();
    fetch(&here, hash, size, &[member("good")], &open).await.unwrap();
    assert_eq!(here.has(&hash), Some(0));
}
