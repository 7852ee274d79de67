//! What somebody with a capture sees of links (F1, F3): every packet is QUIC, and every ClientHello, which anybody can
//! decrypt, offers X25519MLKEM768 only and no resumption.

mod world;

use bytes::Bytes;
use crux_pki::unix_now;
use rustls::Side;
use rustls::quic::{Keys, Version};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;
use world::{Packet, addr, bundle, ca, run};

const HYBRID: u16 = 0x11ec;

/// A QUIC variable-length integer at the front.
fn varint(bytes: &mut &[u8]) -> u64 {
    let length = 1 << (bytes[0] >> 6);
    let value = bytes[1..length].iter().fold(u64::from(bytes[0] & 0x3f), |value, byte| value << 8 | u64::from(*byte));
    *bytes = &bytes[length..];
    value
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (head, tail) = bytes.split_at(length);
    *bytes = tail;
    head
}

fn number(bytes: &mut &[u8], length: usize) -> usize {
    take(bytes, length).iter().fold(0, |value, byte| value << 8 | usize::from(*byte))
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Clone, Copy)]
enum Kind {
    Initial,
    ZeroRtt,
    Handshake,
    Retry,
    Short,
}

/// One QUIC packet in a datagram; panics at anything else.
struct Found<'a> {
    kind: Kind,
    to: &'a [u8],
    /// From the first byte to the end of the payload, and where the packet number begins.
    whole: &'a [u8],
    numbered: usize,
}

fn split(datagram: &[u8]) -> Vec<Found<'_>> {
    let mut found = Vec::new();
    let mut rest = datagram;
    while !rest.is_empty() {
        let whole = rest;
        let first = rest[0];
        assert_ne!(first & 0x40, 0, "the fixed bit of QUIC");
        if first & 0x80 == 0 {
            assert!(whole.len() >= 21, "too short for a protected packet");
            found.push(Found { kind: Kind::Short, to: &whole[1..9], whole, numbered: 0 });
            break;
        }
        take(&mut rest, 1);
        assert_eq!(take(&mut rest, 4), [0, 0, 0, 1], "QUIC version 1");
        let length = number(&mut rest, 1);
        let to = take(&mut rest, length);
        let length = number(&mut rest, 1);
        take(&mut rest, length);
        let kind = [Kind::Initial, Kind::ZeroRtt, Kind::Handshake, Kind::Retry][usize::from(first >> 4 & 3)];
        if kind == Kind::Retry {
            found.push(Found { kind, to, whole, numbered: 0 });
            break;
        }
        if kind == Kind::Initial {
            let token = varint(&mut rest) as usize;
            take(&mut rest, token);
        }
        let length = varint(&mut rest) as usize;
        let numbered = whole.len() - rest.len();
        take(&mut rest, length);
        found.push(Found { kind, to, whole: &whole[..numbered + length], numbered });
    }
    found
}

/// Decrypts an Initial with the keys that follow from its connection id, and collects its CRYPTO bytes.
fn crypto(packet: &Found<'_>, keys: &Keys, into: &mut BTreeMap<u64, Vec<u8>>) {
    let mut bytes = packet.whole.to_vec();
    let (head, tail) = bytes.split_at_mut(packet.numbered);
    let sample = tail[4..20].to_vec();
    let (pn, _) = tail.split_at_mut(4);
    keys.remote.header.decrypt_in_place(&sample, &mut head[0], pn).unwrap();
    let length = usize::from(head[0] & 3) + 1;
    let pn = pn[..length].iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
    let (header, payload) = bytes.split_at_mut(packet.numbered + length);
    let plain = keys.remote.packet.decrypt_in_place(pn, header, payload).expect("an Initial that its keys open");
    let mut rest: &[u8] = plain;
    while !rest.is_empty() {
        match varint(&mut rest) {
            0 | 1 => {}
            2 => {
                varint(&mut rest);
                varint(&mut rest);
                let ranges = varint(&mut rest);
                for _ in 0..1 + 2 * ranges {
                    varint(&mut rest);
                }
            }
            6 => {
                let offset = varint(&mut rest);
                let length = varint(&mut rest) as usize;
                into.insert(offset, take(&mut rest, length).to_vec());
            }
            0x1c => return,
            other => panic!("frame {other:#x} in an Initial"),
        }
    }
}

/// The extensions of a ClientHello.
fn extensions(hello: &[u8]) -> BTreeMap<u16, Vec<u8>> {
    let mut rest = hello;
    assert_eq!(take(&mut rest, 1), [1]);
    let length = number(&mut rest, 3);
    let mut rest = &rest[..length];
    take(&mut rest, 34);
    let session = number(&mut rest, 1);
    assert_eq!(session, 0, "no session id");
    let suites = number(&mut rest, 2);
    take(&mut rest, suites);
    let compressions = number(&mut rest, 1);
    take(&mut rest, compressions);
    let length = number(&mut rest, 2);
    let mut rest = &rest[..length];
    let mut found = BTreeMap::new();
    while !rest.is_empty() {
        let kind = number(&mut rest, 2) as u16;
        let length = number(&mut rest, 2);
        found.insert(kind, take(&mut rest, length).to_vec());
    }
    found
}

fn join(parts: &BTreeMap<u64, Vec<u8>>) -> Vec<u8> {
    let mut whole = Vec::new();
    for (offset, part) in parts {
        let offset = *offset as usize;
        assert!(offset <= whole.len(), "a hole in the hello");
        whole.truncate(offset);
        whole.extend_from_slice(part);
    }
    whole
}

/// From where to where, and the connection id that the client made up.
type Handshake = (SocketAddr, SocketAddr, Vec<u8>);

/// Looks at everything and gives the number of handshakes.
fn judge(packets: &[Packet]) -> usize {
    let suite = rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256.tls13().unwrap();
    let quic = suite.quic.unwrap();
    let mut kinds = BTreeSet::new();
    // By the connection id that the client made up, from which all Initial keys follow.
    let mut hellos: BTreeMap<Handshake, BTreeMap<u64, Vec<u8>>> = BTreeMap::new();
    for packet in packets {
        for found in split(&packet.bytes) {
            kinds.insert(found.kind);
            if found.kind != Kind::Initial {
                continue;
            }
            // A client's first packets go to an id of 20 bytes that it made up; all of ours are 8 long.
            let way = (packet.from, packet.to);
            if found.to.len() == 20 {
                let keys = Keys::initial(Version::V1, suite, quic, found.to, Side::Server);
                crypto(&found, &keys, hellos.entry((way.0, way.1, found.to.to_vec())).or_default());
            }
        }
    }
    assert!(!kinds.contains(&Kind::ZeroRtt), "0-RTT");
    let mut whole = 0;
    for parts in hellos.values() {
        let hello = join(parts);
        let found = extensions(&hello);
        let group = HYBRID.to_be_bytes();
        assert_eq!(found[&10], [&[0, 2], &group[..]].concat(), "groups: X25519MLKEM768 and no other");
        assert_eq!(found[&51][2..4], group, "its share");
        let share = usize::from(u16::from_be_bytes([found[&51][4], found[&51][5]]));
        assert_eq!((share, found[&51].len()), (1_216, 6 + 1_216), "one share and no other");
        assert_eq!(found[&43], [2, 3, 4], "TLS 1.3 and no other");
        assert!(!found.contains_key(&41), "a pre-shared key");
        assert!(!found.contains_key(&42), "early data");
        assert!(!found.contains_key(&0), "a server name");
        assert_eq!(found[&16], [b"\0\x0c\x0b", &b"crux-mesh/1"[..]].concat(), "the protocol");
        whole += 1;
    }
    whole
}

#[test]
fn every_byte_is_quic_and_every_hello_offers_one_key_exchange() {
    let base = unix_now();
    let mut own = ca("acme", base);
    let mut bundles: Vec<_> = (0..3).map(|n| bundle(&mut own, n, base)).collect();
    bundles.push(bundle(&mut ca("other", base), 3, base));
    run(11, base, async |world| {
        world.net.weather(1, Duration::from_millis(2), Duration::from_millis(5));
        let mut nodes = Vec::new();
        for (n, bundle) in bundles.iter().enumerate() {
            nodes.push(world.node(n, bundle.clone(), 1, |_| {}).await);
        }
        for (from, to) in [(0, 1), (1, 2), (2, 0)] {
            nodes[from].links.dial(addr(to));
        }
        // A stranger, whose refusal is a part of it.
        nodes[3].links.dial(addr(0));
        world.until(5.0, "links", || nodes[..3].iter().all(|node| node.links.links().len() == 2)).await;
        // A secret in every kind of traffic, over a change of keys and a restart.
        let secret = Bytes::from_static(b"the quick brown fox jumps over the lazy dog");
        for _ in 0..130 {
            assert!(nodes[0].links.send_frame(&nodes[1].me, secret.clone()));
            assert!(nodes[1].links.send_datagram(&nodes[2].me, secret.clone()));
            let (mut send, mut back) = nodes[2].links.open_bulk(&nodes[0].me).await.unwrap();
            send.write_all(&secret).await.unwrap();
            send.finish().unwrap();
            assert_eq!(back.read_to_end(100).await.unwrap(), secret);
            world.pass(1.0).await;
        }
        let again = world.node(1, bundles[1].clone(), 2, |_| {}).await;
        again.links.dial(addr(0));
        again.links.dial(addr(2));
        world.until(5.0, "links again", || again.links.links().len() == 2).await;
        for node in [&nodes[0], &nodes[2], &again] {
            node.links.shutdown().await;
        }
        let packets = world.net.packets();
        let words = secret.windows(12).collect::<Vec<_>>();
        for packet in &packets {
            assert!(!packet.bytes.windows(12).any(|part| words.contains(&part)), "plaintext");
        }
        let handshakes = judge(&packets);
        // Three links, a stranger, three renewals, two links after the restart; a repeated try is no harm.
        assert!(handshakes >= 9, "{handshakes}");
    });
}
