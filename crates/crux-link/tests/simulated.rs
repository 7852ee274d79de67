//! Links in an invented world (layer 2 of promises.md): admission, refusal, restart, renewal of keys, expiry, partition.
//! Every scene runs twice; the same seed must make the same trace.

mod world;

use bytes::Bytes;
use crux_names::Member;
use crux_pki::{Bundle, Trust, unix_now};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use world::{Node, What, World, addr, bundle, ca, run, short};

/// Runs a scene twice with one seed, compares, and once with another seed.
fn thrice<A: Clone>(cast: A, base: u64, scene: impl AsyncFn(&World, A)) {
    let once = |seed| {
        run(seed, base, async |world| {
            scene(&world, cast.clone()).await;
            world.trace()
        })
    };
    let (first, second) = (once(1), once(1));
    for (n, (a, b)) in first.0.iter().zip(&second.0).enumerate() {
        assert_eq!(a, b, "event {n} of one seed differs");
    }
    for (n, (a, b)) in first.1.iter().zip(&second.1).enumerate() {
        assert_eq!(a, b, "packet {n} of one seed differs");
    }
    assert_eq!((first.0.len(), first.1.len()), (second.0.len(), second.1.len()));
    assert_ne!(once(2).1, first.1, "another seed is another world");
}

/// What is said of a certificate from another root, whose name may be that of a trusted one.
const UNTRUSTED: [&str; 2] = ["signed by none of the trusted roots", "a signature in the certificate chain is wrong"];

/// What it is, its bundle, and words of which some must be said of it.
type Stranger = (&'static str, Bundle, &'static [&'static str]);

fn bundles(count: usize) -> (u64, Vec<Bundle>) {
    let base = unix_now();
    let mut ca = ca("acme", base);
    (base, (0..count).map(|n| bundle(&mut ca, n, base)).collect())
}

async fn nodes(world: &World, bundles: &[Bundle]) -> Vec<Node> {
    let mut nodes = Vec::new();
    for (n, bundle) in bundles.iter().enumerate() {
        nodes.push(world.node(n, bundle.clone(), 1, |_| {}).await);
    }
    nodes
}

async fn pair(world: &World, bundles: &[Bundle]) -> (Node, Node) {
    let mut nodes = nodes(world, bundles).await;
    let (b, a) = (nodes.pop().unwrap(), nodes.pop().unwrap());
    a.links.dial(b.addr);
    world.until(5.0, "a link", || a.links.links().len() == 1 && b.links.links().len() == 1).await;
    (a, b)
}

fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes[..4].try_into().unwrap())
}

/// Frames from the one to the other, with their times.
fn frames(world: &World, from: &Member, to: &Member) -> Vec<(Duration, u32)> {
    let told = world.of(to).into_iter();
    told.filter_map(|told| match told.what {
        What::Frame(peer, bytes) if peer == *from => Some((told.at, number(&bytes))),
        _ => None,
    })
    .collect()
}

/// Every number from 0 on, in order, with no gap in time longer than this.
fn gapless(frames: &[(Duration, u32)], gap: Duration) {
    for (n, (_, number)) in frames.iter().enumerate() {
        assert_eq!(*number, n as u32, "frames are lost or out of order");
    }
    for pair in frames.windows(2) {
        assert!(pair[1].0 - pair[0].0 <= gap, "nothing between {:?} and {:?}", pair[0], pair[1]);
    }
}

#[test]
fn a_flock_of_ten_comes_together_under_loss() {
    let (base, bundles) = bundles(10);
    thrice(bundles, base, async |world: &World, bundles: Vec<Bundle>| {
        world.net.weather(3, Duration::from_millis(5), Duration::from_millis(20));
        let nodes = nodes(world, &bundles).await;
        let mut rounds = 0;
        while nodes.iter().any(|node| node.links.links().len() < 9) {
            rounds += 1;
            assert!(rounds < 100, "never complete");
            for node in &nodes {
                let linked: Vec<_> = node.links.links().iter().map(|link| link.peer.addr).collect();
                (0..10)
                    .map(addr)
                    .filter(|to| *to != node.addr && !linked.contains(to))
                    .for_each(|to| node.links.dial(to));
            }
            world.pass(0.2).await;
        }
        world.pass(10.0).await;
        for node in &nodes {
            assert_eq!((world.ups(&node.me), node.links.links().len()), (9, 9), "{}", node.me);
            assert_eq!(world.downs(&node.me), []);
        }
    });
}

/// Many that knock at once make each other slow: who says something within a second is waited for.
#[test]
fn who_answers_slowly_is_linked_all_the_same_and_who_is_silent_is_given_up_after_a_second() {
    let (base, bundles) = bundles(2);
    thrice(bundles, base, async |world: &World, bundles: Vec<Bundle>| {
        let nodes = nodes(world, &bundles).await;
        world.net.weather(0, Duration::from_millis(350), Duration::ZERO);
        // Two round trips, for TLS and for the welcome.
        nodes[0].links.dial(nodes[1].addr);
        world.until(4.0, "a link", || nodes.iter().all(|node| node.links.links().len() == 1)).await;
        assert_eq!(world.failed(&nodes[0].me), 0);
        // Nobody is there.
        nodes[0].links.dial(addr(7));
        world.pass(1.1).await;
        assert_eq!(world.failed(&nodes[0].me), 1);
    });
}

#[test]
fn of_two_dials_at_once_the_lower_ones_stays() {
    let (base, bundles) = bundles(2);
    for seed in 0..90 {
        run(seed, base, async |world| {
            // A packet of the lower one that is late enough is one that was sent late enough: then the other's may stay.
            let even = seed % 3 == 1;
            let jitter = Duration::from_millis(if even { 0 } else { 3 });
            world.net.weather(0, Duration::from_micros(500), jitter);
            let nodes = nodes(&world, &bundles).await;
            nodes[0].links.dial(addr(1));
            if seed % 3 == 0 {
                world.pass(world.net.random(4_000) as f64 / 1e6).await;
            }
            nodes[1].links.dial(addr(0));
            world.pass(5.0).await;
            let both = [nodes[0].links.links(), nodes[1].links.links()];
            assert_eq!((both[0].len(), both[1].len()), (1, 1), "seed {seed}");
            assert_ne!(both[0][0].dialed, both[1][0].dialed, "seed {seed}");
            for node in &nodes {
                assert_eq!((world.ups(&node.me), world.downs(&node.me)), (1, vec![]), "seed {seed}");
            }
            if even {
                assert!(both[0][0].dialed, "seed {seed}: the lower member's dial stays");
            }
        });
    }
}

#[test]
fn who_is_refused_learns_why_and_so_does_the_door() {
    let base = unix_now();
    let mut own = ca("acme", base);
    let good = bundle(&mut own, 0, base);
    let mut early = ca("acme", base - 200 * 86_400);
    let mut shared_root = |lives: u64| short(&mut own, 1, base, lives);
    let ended = shared_root(0);
    let cast = vec![
        ("other bloc", bundle(&mut ca("other", base), 1, base), &["certificate of bloc"][..]),
        ("other root", bundle(&mut ca("acme", base), 1, base), &UNTRUSTED),
        ("root of old", bundle(&mut early, 1, base - 10 * 86_400), &UNTRUSTED),
        ("expired", ended, &["certificate expired"]),
    ];
    thrice((good, cast), base, async |world: &World, (good, cast): (Bundle, Vec<Stranger>)| {
        let honest = world.node(0, good, 1, |_| {}).await;
        world.pass(2.0).await;
        for (n, (what, bundle, words)) in cast.into_iter().enumerate() {
            let stranger = world.node(n + 1, bundle, 1, |_| {}).await;
            for dial_in in [true, false] {
                let before = world.log().len();
                if dial_in {
                    stranger.links.dial(honest.addr)
                } else {
                    honest.links.dial(stranger.addr)
                }
                world.pass(3.0).await;
                let said = world.log().split_off(before);
                for side in [&honest.me, &stranger.me] {
                    let mine = said.iter().filter(|told| told.by == *side);
                    let reasons: Vec<String> = mine
                        .filter_map(|told| match &told.what {
                            What::DialFailed(_, why) | What::Refused(_, why) => Some(why.clone()),
                            _ => None,
                        })
                        .collect();
                    assert!(
                        reasons.iter().any(|why| words.iter().any(|words| why.contains(words))),
                        "{what}, {side}: {reasons:?}"
                    );
                }
                // The same words from one address are told once in ten seconds.
                world.pass(10.0).await;
            }
            assert_eq!(world.ups(&stranger.me), 0);
        }
        assert_eq!(world.ups(&honest.me), 0);
    });
}

#[test]
fn a_restart_is_noticed_at_the_first_word() {
    let (base, bundles) = bundles(2);
    thrice(bundles, base, async |world: &World, bundles: Vec<Bundle>| {
        let (a, b) = pair(world, &bundles).await;
        world.pass(10.0).await;
        // A new socket at the same address: the process before is gone without a word.
        let again = world.node(1, bundles[1].clone(), 2, |_| {}).await;
        let back = world.now();
        a.links.send_datagram(&b.me, Bytes::from_static(b"are you there?"));
        world.until(1.0, "the end of the old life", || !world.downs(&a.me).is_empty()).await;
        let (at, who, why) = world.downs(&a.me).remove(0);
        assert!(who == b.me && why.contains("it has restarted"), "{who} {why}");
        assert!(at - back < Duration::from_millis(100), "{at:?} after {back:?}");
        let told: Vec<What> = world.of(&a.me).into_iter().map(|told| told.what).collect();
        let gone = told.iter().position(|what| *what == What::Gone(b.me.clone())).expect("a hint");
        assert!(matches!(told[gone + 1], What::Down(..)), "the hint comes first");
        // And without a word of ours: the new life dials.
        a.links.dial(again.addr);
        world.until(2.0, "a new link", || a.links.links().len() == 1).await;
        let third = world.node(1, bundles[1].clone(), 3, |_| {}).await;
        third.links.dial(a.addr);
        world.until(1.0, "a hint", || world.of(&a.me).iter().any(|t| t.what == What::Gone(again.me.clone()))).await;
    });
}

#[test]
fn keys_are_replaced_without_a_gap_a_loss_or_a_word() {
    let (base, bundles) = bundles(2);
    thrice(bundles, base, async |world: &World, bundles: Vec<Bundle>| {
        world.net.weather(1, Duration::from_millis(5), Duration::from_millis(20));
        let (a, b) = pair(world, &bundles).await;
        let mut oldest = Duration::ZERO;
        for n in 0..6_000_u32 {
            let mut frame = n.to_be_bytes().to_vec();
            frame.resize(4 + world.net.random(3_000) as usize, 7);
            assert!(a.links.send_frame(&b.me, frame.into()));
            assert!(b.links.send_frame(&a.me, Bytes::copy_from_slice(&n.to_be_bytes())));
            assert!(a.links.send_datagram(&b.me, Bytes::copy_from_slice(&n.to_be_bytes())));
            oldest = oldest.max(a.links.links()[0].key_age).max(b.links.links()[0].key_age);
            world.pass(0.2).await;
        }
        world.pass(5.0).await;
        for (from, to) in [(&a, &b), (&b, &a)] {
            let got = frames(world, &from.me, &to.me);
            assert_eq!(got.len(), 6_000);
            gapless(&got, Duration::from_secs(1));
            assert_eq!((world.ups(&to.me), world.downs(&to.me)), (1, vec![]));
            let renewed = world.of(&to.me).iter().filter(|t| matches!(t.what, What::Renewed(_))).count();
            assert!((10..=14).contains(&renewed), "{renewed} renewals in 1200 s");
        }
        assert!(oldest <= Duration::from_secs(120), "keys of {oldest:?}");
        let lost = 6_000 - world.of(&b.me).iter().filter(|t| matches!(t.what, What::Datagram(..))).count();
        assert!(lost < 200, "{lost} datagrams of 6000 lost at 1 %");
        assert_eq!(a.links.links()[0].key_limit, Duration::from_secs(180));
        a.links.set_members(1_000);
        assert_eq!(a.links.key_ages(), (Duration::from_secs(1_000), Duration::from_secs(1_500)));
    });
}

#[test]
fn keys_that_cannot_be_replaced_end_the_link_at_their_limit() {
    let (base, bundles) = bundles(2);
    thrice(bundles, base, async |world: &World, bundles: Vec<Bundle>| {
        let (a, b) = pair(world, &bundles).await;
        let born = world.now();
        world.net.forbid_handshakes(true);
        world.pass(178.0).await;
        assert_eq!((world.downs(&a.me), world.downs(&b.me)), (vec![], vec![]));
        // The side that dialled tells of the first failure, and of no more.
        let failed = [&a, &b]
            .map(|node| world.of(&node.me).iter().filter(|told| matches!(told.what, What::RenewalFailed(..))).count());
        assert_eq!(failed.iter().sum::<usize>(), 1, "{failed:?}");
        world.pass(5.0).await;
        for node in [&a, &b] {
            let downs = world.downs(&node.me);
            assert_eq!(downs.len(), 1);
            assert!(downs[0].2.contains("reached their greatest age"), "{}", downs[0].2);
            assert!(downs[0].0 - born <= Duration::from_millis(181_500), "{:?}", downs[0].0 - born);
        }
        assert_eq!(a.links.counters().cuts.get("stale_keys").or(b.links.counters().cuts.get("stale_keys")), Some(&1));
        world.net.forbid_handshakes(false);
        a.links.dial(b.addr);
        world.until(2.0, "a new link", || a.links.links().len() == 1).await;
    });
}

#[test]
fn a_bulk_transfer_outlives_its_keys_until_the_limit() {
    let (base, bundles) = bundles(2);
    thrice(bundles, base, async |world: &World, bundles: Vec<Bundle>| {
        let (a, b) = pair(world, &bundles).await;
        let (mut slow, mut slow_back) = a.links.open_bulk(&b.me).await.unwrap();
        let (mut endless, mut endless_back) = a.links.open_bulk(&b.me).await.unwrap();
        endless.write_all(b"begin").await.unwrap();
        for _ in 0..140 {
            slow.write_all(&[7; 1_000]).await.unwrap();
            world.pass(1.0).await;
        }
        assert!(a.links.links()[0].key_age < Duration::from_secs(60), "the keys were replaced meanwhile");
        slow.finish().unwrap();
        assert_eq!(slow_back.read_to_end(1 << 20).await.unwrap().len(), 140_000);
        let mut word = [0; 5];
        endless_back.read_exact(&mut word).await.unwrap();
        world.pass(60.0).await;
        let cut = endless.write_all(b"more").await.unwrap_err().to_string();
        assert!(cut.contains("connection lost"), "{cut}");
        let (mut fresh, mut back) = a.links.open_bulk(&b.me).await.unwrap();
        fresh.write_all(b"fresh").await.unwrap();
        fresh.finish().unwrap();
        assert_eq!(back.read_to_end(100).await.unwrap(), b"fresh");
        assert_eq!((world.downs(&a.me), world.downs(&b.me)), (vec![], vec![]));
        let counted = a.links.counters();
        assert_eq!((counted.tx_bytes.bulk, counted.rx_bytes.bulk), (140_010, 140_010));
    });
}

#[test]
fn old_connections_do_not_linger() {
    let (base, bundles) = bundles(2);
    run(5, base, async |world| {
        let (a, b) = pair(&world, &bundles).await;
        let renewed = |who: &Member| world.of(who).iter().any(|t| matches!(t.what, What::Renewed(_)));
        world.until(130.0, "renewal", || renewed(&a.me) && renewed(&b.me)).await;
        let (from, until) = (world.now() - Duration::from_secs(3), world.now() + Duration::from_secs(5));
        world.pass(10.0).await;
        let cost = |who| -> usize {
            let sent = world.net.packets().into_iter().filter(|p| p.from == addr(who) && p.at > from && p.at < until);
            sent.map(|p| p.bytes.len()).sum()
        };
        for who in [0, 1] {
            assert!(cost(who) < 8_000, "a change of keys cost node {who} {} bytes", cost(who));
        }
        // Whoever still held the old connection would answer its packets, or keep it alive.
        world.pass(10.0).await;
        let from = world.net.packets().len();
        world.pass(30.0).await;
        let quiet = world.net.packets().split_off(from);
        let kinds: std::collections::BTreeSet<_> = quiet.iter().map(|p| (p.from, p.bytes[1..9].to_vec())).collect();
        assert_eq!(kinds.len(), 2, "one connection id each way");
    });
}

#[test]
fn a_certificates_end_ends_its_links_unless_it_was_renewed() {
    let base = unix_now();
    let mut ca = ca("acme", base - 2 * 86_400);
    let cast = (
        vec![bundle(&mut ca, 0, base), short(&mut ca, 1, base, 100), short(&mut ca, 2, base, 100)],
        bundle(&mut ca, 1, base),
    );
    thrice(cast, base, async |world: &World, (bundles, renewed): (Vec<Bundle>, Bundle)| {
        let nodes = nodes(world, &bundles).await;
        // Dialled in both directions: the renewed one asks to be dialled anew, or dials.
        nodes[0].links.dial(addr(1));
        nodes[1].links.dial(addr(2));
        nodes[2].links.dial(addr(0));
        world.until(5.0, "links", || nodes.iter().all(|node| node.links.links().len() == 2)).await;
        let (a, b, c) = (&nodes[0], &nodes[1], &nodes[2]);
        let end = Duration::from_secs(100);
        let mut n = 0_u32;
        while world.now() < Duration::from_secs(99) {
            if n == 500 {
                let trust = Arc::new(renewed.trust().clone());
                b.links.reload(Arc::new(renewed.clone()), trust).unwrap();
            }
            assert!(a.links.send_frame(&b.me, Bytes::copy_from_slice(&n.to_be_bytes())));
            assert!(b.links.send_frame(&a.me, Bytes::copy_from_slice(&n.to_be_bytes())));
            n += 1;
            world.pass(0.1).await;
        }
        world.pass(10.0).await;
        for node in [a, b] {
            let downs = world.downs(&node.me);
            assert_eq!(downs.len(), 1, "only the link to the one that was not renewed");
            let (at, peer, why) = &downs[0];
            assert_eq!(*peer, c.me);
            assert!(why.contains("the certificate of n2 has ended"), "{why}");
            assert!(*at > end && *at - end <= Duration::from_secs(3), "cut at {at:?}");
        }
        assert_eq!(world.downs(&c.me).len(), 2);
        assert!(a.links.links()[0].peer.not_after > base + 86_400, "the new end is known");
        gapless(&frames(world, &a.me, &b.me), Duration::from_secs(1));
        gapless(&frames(world, &b.me, &a.me), Duration::from_secs(1));
    });
}

#[test]
fn a_removed_root_cuts_its_links_and_no_others() {
    let base = unix_now();
    let (mut old, mut new) = (ca("acme", base), ca("acme", base));
    let from = [bundle(&mut new, 0, base), bundle(&mut new, 1, base), bundle(&mut old, 2, base)];
    let stranger = bundle(&mut ca("other", base), 0, base);
    let somebody = bundle(&mut new, 7, base);
    thrice((from, stranger, somebody), base, async |world: &World, (from, stranger, somebody): ([Bundle; 3], _, _)| {
        let roots = || from[0].trust().roots().chain(from[2].trust().roots()).cloned().collect::<Vec<_>>();
        let both = Arc::new(Trust::new(from[0].trust().bloc().clone(), roots()).unwrap());
        let mut nodes = Vec::new();
        for (n, bundle) in from.iter().enumerate() {
            nodes.push(world.node(n, bundle.clone(), 1, |cfg| cfg.trust = both.clone()).await);
        }
        nodes[0].links.dial(addr(1));
        nodes[0].links.dial(addr(2));
        nodes[2].links.dial(addr(1));
        world.until(5.0, "links", || nodes.iter().all(|node| node.links.links().len() == 2)).await;
        world.pass(10.0).await;

        // What would make it somebody else, or nobody, changes nothing.
        let links = &nodes[0].links;
        let bad = |bundle: &Bundle, trust: &Trust| {
            links.reload(Arc::new(bundle.clone()), Arc::new(trust.clone())).unwrap_err().to_string()
        };
        assert!(bad(&stranger, stranger.trust()).contains("this fulcrum runs as spiffe://acme/node/n0"));
        assert!(bad(&somebody, &both).contains("this fulcrum runs as spiffe://acme/node/n0"));
        let untrusted = bad(&from[0], from[2].trust());
        assert!(untrusted.contains("peers would refuse it"), "{untrusted}");
        world.pass(5.0).await;
        assert_eq!(links.links().len(), 2);

        let removed = world.now();
        links.reload(Arc::new(from[0].clone()), Arc::new(from[0].trust().clone())).unwrap();
        world.until(2.0, "the cut", || !world.downs(&nodes[0].me).is_empty()).await;
        world.pass(10.0).await;
        for (node, peer) in [(0, 2), (2, 0)] {
            let downs = world.downs(&nodes[node].me);
            assert_eq!(downs.len(), 1);
            assert_eq!(downs[0].1, nodes[peer].me);
            assert!(downs[0].2.contains("no longer trusted: "), "{}", downs[0].2);
            assert!(UNTRUSTED.iter().any(|words| downs[0].2.contains(words)), "{}", downs[0].2);
            assert!(downs[0].0 - removed <= Duration::from_secs(2));
        }
        assert_eq!(world.downs(&nodes[1].me), [], "its own roots are still both");
        // And it does not come back.
        nodes[2].links.dial(addr(0));
        nodes[0].links.dial(addr(2));
        world.pass(3.0).await;
        assert_eq!((nodes[0].links.links().len(), nodes[2].links.links().len()), (1, 1));
    });
}

#[test]
fn a_partition_ends_links_at_the_idle_limit_and_heals() {
    let (base, bundles) = bundles(8);
    thrice(bundles, base, async |world: &World, bundles: Vec<Bundle>| {
        let nodes = nodes(world, &bundles).await;
        for (n, node) in nodes.iter().enumerate() {
            (0..n).for_each(|m| node.links.dial(addr(m)));
        }
        world.until(5.0, "all links", || nodes.iter().all(|node| node.links.links().len() == 7)).await;
        let cut = world.now();
        for (n, m) in (0..4).flat_map(|n| (4..8).map(move |m| (n, m))) {
            world.net.cut(addr(n), addr(m));
            world.net.cut(addr(m), addr(n));
        }
        world.pass(50.0).await;
        for node in &nodes {
            let downs = world.downs(&node.me);
            assert_eq!((downs.len(), node.links.links().len()), (4, 3));
            for (at, _, why) in downs {
                assert!(why.contains("nothing heard for too long"), "{why}");
                // QUIC's idle time begins anew with the first packet after the last one heard: a keep-alive.
                assert!(at - cut <= Duration::from_secs(46), "{at:?}");
            }
        }
        world.net.heal();
        for (n, m) in (0..4).flat_map(|n| (4..8).map(move |m| (n, m))) {
            nodes[n].links.dial(addr(m));
            nodes[m].links.dial(addr(n));
        }
        world.until(5.0, "all links again", || nodes.iter().all(|node| node.links.links().len() == 7)).await;
        // A one-way cut is a cut: the idle limit ends it on the deaf side, and then on the other, which hears nothing more.
        world.net.cut(addr(0), addr(1));
        world.pass(100.0).await;
        assert_eq!((nodes[0].links.links().len(), nodes[1].links.links().len()), (6, 6));
    });
}

#[test]
fn what_was_captured_and_is_sent_again_changes_nothing() {
    let (base, bundles) = bundles(3);
    thrice(bundles, base, async |world: &World, bundles: Vec<Bundle>| {
        let nodes = nodes(world, &bundles).await;
        for (from, to) in [(0, 1), (1, 2), (2, 0)] {
            nodes[from].links.dial(addr(to));
        }
        world.until(5.0, "links", || nodes.iter().all(|node| node.links.links().len() == 2)).await;
        for n in 0..200_u32 {
            let word = Bytes::copy_from_slice(&n.to_be_bytes());
            assert!(nodes[0].links.send_frame(&nodes[1].me, word.clone()));
            assert!(nodes[1].links.send_datagram(&nodes[2].me, word));
            world.pass(0.7).await;
        }
        world.pass(3.0).await;
        let facts = |world: &World| {
            let counts = |told: &world::Told| !matches!(told.what, What::Refused(..) | What::Renewed(_));
            world.log().into_iter().filter(counts).map(|told| (told.by, told.what)).collect::<Vec<_>>()
        };
        let before = facts(world);
        let capture = world.net.packets();
        // Also after a restart of one of them, and by whoever can forge an address.
        for (n, packet) in capture.iter().enumerate() {
            world.net.inject(packet.from, packet.to, &packet.bytes);
            if n % 20 == 0 {
                world.pass(0.02).await;
            }
        }
        world.pass(20.0).await;
        assert_eq!(facts(world), before);
        assert!(nodes.iter().all(|node| node.links.links().len() == 2 && node.links.counters().half_open == 0));
    });
}

#[test]
fn a_node_that_moves_is_dialled_at_its_new_address() {
    let (base, bundles) = bundles(2);
    thrice(bundles, base, async |world: &World, bundles: Vec<Bundle>| {
        let (a, b) = pair(world, &bundles).await;
        world.pass(5.0).await;
        world.net.relocate(addr(1), addr(5));
        // Nothing passes on the old link, for a connection does not follow: an address that is forged moves nobody.
        b.links.send_frame(&a.me, Bytes::from_static(&[0, 0, 0, 9]));
        world.pass(2.0).await;
        assert_eq!(frames(world, &b.me, &a.me), []);
        // The heart's probes find that out, and close the link on both sides.
        a.links.close(&b.me, "no answer to probes");
        b.links.close(&a.me, "no answer to probes");
        b.links.dial(a.addr);
        world
            .until(2.0, "a link from the new place", || a.links.links().len() == 1 && b.links.links().len() == 1)
            .await;
        assert_eq!(a.links.links()[0].peer.addr, addr(5), "and it is known to live there");
        b.links.close(&a.me, "test");
        world.pass(1.0).await;
        a.links.dial(addr(5));
        world.until(2.0, "a link to the new place", || a.links.links().len() == 1).await;
    });
}

#[test]
fn a_flock_that_gets_small_renews_its_keys_and_keeps_its_links() {
    let (base, bundles) = bundles(2);
    thrice(bundles, base, async |world: &World, bundles: Vec<Bundle>| {
        let nodes = nodes(world, &bundles).await;
        nodes.iter().for_each(|node| node.links.set_members(1_000));
        nodes[0].links.dial(addr(1));
        world.pass(500.0).await;
        let age = |n: usize| nodes[n].links.links()[0].key_age;
        assert!(age(0) > Duration::from_secs(490) && age(1) > Duration::from_secs(490));
        nodes.iter().for_each(|node| node.links.set_members(2));
        world.pass(5.0).await;
        assert!(age(0) < Duration::from_secs(5) && age(1) < Duration::from_secs(5));
        assert_eq!((world.downs(&nodes[0].me), world.downs(&nodes[1].me)), (vec![], vec![]));
        assert_eq!(nodes[0].links.links()[0].key_limit, Duration::from_secs(180));
    });
}
