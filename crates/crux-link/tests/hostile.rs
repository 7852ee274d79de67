//! A node with a valid certificate that means harm (D4, D6), in the invented world: it is cut with a reason, costs bounded
//! memory, and holds up nobody.

mod world;

use bytes::Bytes;
use crux_link::{LinkConfig, LinkEvent, Links};
use crux_pki::{Bundle, unix_now};
use quinn::{Connection, SendStream, VarInt};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use world::stranger::{Hello, Stranger, hello};
use world::{Node, What, World, addr, bundle, ca, run};

/// A node that means harm.
struct Hostile(Stranger);

impl Hostile {
    fn new(world: &World, n: usize, bundle: &Bundle) -> Self {
        Self(Stranger::new(world, n, bundle, None))
    }

    /// Says this hello and, when it is welcomed, *ready*.
    async fn greet(&self, to: usize, hello: &Hello) -> Connection {
        self.0.greet(to, hello).await
    }

    /// A link that counts, with its stream of frames.
    async fn link(&self, world: &World, honest: &Node, boot: u64) -> (Connection, SendStream) {
        let before = world.ups(&honest.me);
        let connection = self.greet(0, &hello(boot)).await;
        world.until(2.0, "hostile link", || world.ups(&honest.me) > before).await;
        let frames = connection.open_uni().await.unwrap();
        (connection, frames)
    }
}

/// An honest node 0 with an honest friend 1, who says a word ten times a second all the time; and a hostile node 2.
async fn scene(play: impl AsyncFnOnce(&World, &Node, Hostile)) {
    let base = unix_now();
    let mut ca = ca("acme", base);
    let bundles: Vec<Bundle> = (0..3).map(|n| bundle(&mut ca, n, base)).collect();
    let net = world::Net::new(3);
    let world = World::with(net, 3, base);
    let honest = world.node(0, bundles[0].clone(), 1, |_| {}).await;
    let friend = world.node(1, bundles[1].clone(), 1, |_| {}).await;
    friend.links.dial(honest.addr);
    world.until(2.0, "a friend", || world.ups(&honest.me) == 1 && world.ups(&friend.me) == 1).await;
    let (links, to) = (friend.links.clone(), honest.me.clone());
    tokio::spawn(async move {
        for n in 0_u32.. {
            links.send_frame(&to, Bytes::copy_from_slice(&n.to_be_bytes()));
            tokio::time::sleep(Duration::from_millis(100)).await; // waits: invented time
        }
    });
    play(&world, &honest, Hostile::new(&world, 2, &bundles[2])).await;
    world.pass(1.0).await;
    let words = world.of(&honest.me).into_iter();
    let words: Vec<Duration> =
        words.filter(|told| matches!(&told.what, What::Frame(peer, _) if *peer == friend.me)).map(|t| t.at).collect();
    let held_up = words.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
    assert!(held_up < Duration::from_millis(300), "the friend was held up for {held_up:?}");
    let silent = world.now() - *words.last().unwrap();
    assert!(silent < Duration::from_millis(300), "the friend is silent for {silent:?}");
    assert!(world.downs(&honest.me).iter().all(|(_, peer, _)| *peer != friend.me));
}

/// The honest node cuts the hostile one with these words within so many seconds.
async fn cut(world: &World, honest: &Node, within: f64, words: &str) {
    let before = world.downs(&honest.me).len();
    world.until(within, words, || world.downs(&honest.me).len() > before).await;
    let (_, peer, why) = world.downs(&honest.me).pop().unwrap();
    assert!(peer.id.node == world::name(2) && why.contains(words), "{peer}: {why}");
}

fn play(play: impl AsyncFnOnce(&World, &Node, Hostile)) {
    run(3, unix_now(), async |_| scene(play).await);
}

#[test]
fn a_frame_that_never_ends_ends_the_link() {
    play(async |world: &World, honest: &Node, hostile: Hostile| {
        // One byte a second: always going on, never done.
        let (connection, mut frames) = hostile.link(world, honest, 1).await;
        frames.write_all(&1_000_u32.to_be_bytes()).await.unwrap();
        let dripping = tokio::spawn(async move {
            while frames.write_all(&[1]).await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await; // waits: invented time
            }
        });
        cut(world, honest, 22.0, "did not go on with a frame").await;
        dripping.await.unwrap();
        assert!(connection.closed().await.to_string().contains("did not go on with a frame"));

        // Half a length.
        let (_connection, mut frames) = hostile.link(world, honest, 2).await;
        frames.write_all(&[0, 0]).await.unwrap();
        cut(world, honest, 22.0, "did not go on with a frame").await;

        // A body that stops just before its end.
        let (_connection, mut frames) = hostile.link(world, honest, 3).await;
        frames.write_all(&100_000_u32.to_be_bytes()).await.unwrap();
        frames.write_all(&[0; 99_999]).await.unwrap();
        cut(world, honest, 30.0, "did not go on with a frame").await;
        assert_eq!(honest.links.counters().cuts["slow"], 3);
    });
}

#[test]
fn breaches_end_the_link_with_their_reason() {
    play(async |world: &World, honest: &Node, hostile: Hostile| {
        let (_connection, mut frames) = hostile.link(world, honest, 1).await;
        frames.write_all(&u32::MAX.to_be_bytes()).await.unwrap();
        cut(world, honest, 2.0, "a frame of more than 1 MiB").await;

        let (_connection, mut frames) = hostile.link(world, honest, 2).await;
        frames.write_all(&10_u32.to_be_bytes()).await.unwrap();
        frames.reset(VarInt::from_u32(9)).unwrap();
        cut(world, honest, 2.0, "broke off its stream of frames").await;

        let (_connection, mut frames) = hostile.link(world, honest, 3).await;
        frames.write_all(&[0; 4]).await.unwrap();
        frames.finish().unwrap();
        cut(world, honest, 7.0, "ended its stream of frames but not the link").await;

        let (connection, mut frames) = hostile.link(world, honest, 4).await;
        frames.write_all(&[0; 4]).await.unwrap();
        // Wrong words in the place of notes, and more of them than streams that are granted at once.
        for n in 0..200_u8 {
            let mut note = connection.open_uni().await.unwrap();
            let _ = note.write_all(&[n, 1, 2, 3]).await;
        }
        connection.close(VarInt::from_u32(0), b"\x1b[31mred\x07");
        cut(world, honest, 2.0, "closed by the peer: \\u{1b}[31mred\\u{7}").await;
    });
}

/// The hostile node, as the honest one sees it.
fn linked(honest: &Node) -> crux_names::Member {
    let links = honest.links.links().into_iter().map(|link| link.peer.member);
    links.filter(|member| member.id.node == world::name(2)).last().expect("a hostile link")
}

#[test]
fn a_peer_that_does_not_read_is_cut_and_costs_bounded_memory() {
    play(async |world: &World, honest: &Node, hostile: Hostile| {
        let (_connection, _frames) = hostile.link(world, honest, 1).await;
        let peer = linked(honest);
        // Slowly, so that the queue does not fill: what is sent is never read.
        let mut sent = 0;
        while honest.links.send_frame(&peer, vec![0; 100_000].into()) && sent < 14 {
            sent += 1;
            world.pass(0.1).await;
        }
        cut(world, honest, 25.0, "took none of our frames").await;

        // At once: the queue is the limit.
        let (_connection, _frames) = hostile.link(world, honest, 2).await;
        let peer = linked(honest);
        let mut queued = 0;
        while honest.links.send_frame(&peer, vec![0; 100_000].into()) {
            queued += 100_000;
        }
        assert!(queued <= 2 << 20, "{queued} bytes waited");
        cut(world, honest, 1.0, "too many frames waited").await;
    });
}

#[test]
fn a_renewal_of_somebody_elses_link_is_refused() {
    play(async |world: &World, honest: &Node, hostile: Hostile| {
        let (first, mut frames) = hostile.link(world, honest, 1).await;
        frames.write_all(&[0; 4]).await.unwrap();
        world.pass(1.0).await;
        for (boot, link) in [(1, 78), (2, 77), (1, 0)] {
            let connection = hostile.greet(0, &Hello { boot, link, renews: true, ..hello(1) }).await;
            let ended = tokio::time::timeout(Duration::from_secs(5), connection.closed()).await.expect("an end");
            assert!(ended.to_string().contains("there is no such link here"), "{ended}");
        }
        assert!(first.close_reason().is_none());
        // Its own it may renew as often as it likes; the ones before must end first, and never more than two live.
        let mut lives = vec![first];
        for n in 0..20_u8 {
            let next = hostile.greet(0, &Hello { renews: true, ..hello(1) }).await;
            let mut uni = next.open_uni().await.unwrap();
            let _ = uni.write_all(&[0, 0, 0, 1, n]).await;
            lives.push(next);
        }
        world.pass(3.0).await;
        let open = lives.iter().filter(|connection| connection.close_reason().is_none()).count();
        assert!(open <= 2, "{open} connections of one link");
    });
}

#[test]
fn a_flood_of_frames_waits_in_the_peer_and_not_here() {
    let base = unix_now();
    let mut ca = ca("acme", base);
    let bundles: Vec<Bundle> = (0..2).map(|n| bundle(&mut ca, n, base)).collect();
    run(4, base, async |world| {
        // The owner of these links is busy: it takes events, but drops none for a long time.
        let mut cfg = LinkConfig::new(bundles[0].clone(), addr(0), crux_names::Boot(1));
        let start = base;
        cfg.simulated = Some(crux_link::Simulated {
            socket: world.net.socket(addr(0)),
            wall: Arc::new(move || start),
            seed: [9; 32],
        });
        let (sender, mut events) = mpsc::channel(1_024);
        let links = Links::bind(cfg, sender).await.unwrap();
        let hostile = Hostile::new(&world, 1, &bundles[1]);
        let connection = hostile.greet(0, &hello(1)).await;
        let mut frames = connection.open_uni().await.unwrap();
        let flood = tokio::spawn(async move {
            let mut sent = 0_usize;
            let frame = [&60_000_u32.to_be_bytes()[..], &[1; 60_000]].concat();
            while frames.write_all(&frame).await.is_ok() {
                sent += frame.len();
            }
            sent
        });
        for _ in 0..10_000 {
            if connection.send_datagram(Bytes::from(vec![0; 1_000])).is_err() {
                break;
            }
        }
        world.pass(60.0).await;
        let mut held = Vec::new();
        let (mut framed, mut datagrams) = (0, 0);
        while let Ok(event) = events.try_recv() {
            match &event {
                LinkEvent::Frame { bytes, .. } => framed += bytes.len(),
                LinkEvent::Datagram { bytes, .. } => datagrams += bytes.len(),
                _ => {}
            }
            held.push(event);
        }
        assert!(framed > 100_000 && framed <= crux_link::FRAME_MAX, "{framed} bytes of frames in hand");
        assert!(datagrams <= 1_024 * 1_200, "{datagrams} bytes of datagrams in hand");
        connection.close(VarInt::from_u32(0), b"");
        let sent = flood.await.unwrap();
        assert!(sent <= framed + (2 << 20), "{sent} bytes were taken from the peer");
        drop((held, links));
    });
}
