//! The whole table through the verifier, through `inspect`, and through a shredder.

use super::cases::{Case, all};
use super::{NOW, world};
use crate::bundle::Bundle;
use crate::files::certificates_to_pem;
use crate::fuzz::read_anything;
use crate::inspect::{Judge, inspect_by};
use crate::key::Signer;
use crate::{Ca, IssueRequest, Role, tar};
use crux_names::{BlocName, NodeName};
use std::collections::BTreeSet;
use std::fs;

#[test]
fn the_verifier_gives_each_its_own_reason() {
    let w = world();
    let mut wrong = Vec::new();
    for Case { name, chain, now, roles, code } in all(&w) {
        let admitted = w.trust.verify_chain(&chain, now);
        let admitted = admitted.and_then(|peer| if roles.is_empty() { Ok(()) } else { peer.require(&roles) });
        let refusal = admitted.err();
        if refusal.as_ref().map(crate::Refusal::code) != code {
            wrong.push(format!("{name}: {refusal:?}, not {code:?}"));
        }
        if let Some(refusal) = refusal {
            let text = refusal.to_string();
            assert!(text.chars().all(|c| !c.is_control()) && text.len() < 1_000, "{name}: {text:?}");
            assert_eq!(text, format!("{}; {}", refusal.cause(), refusal.next_step()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn inspect_gives_the_same_reasons() {
    let w = world();
    let dir = tempfile::tempdir().unwrap();
    let (root, file) = (dir.path().join("root.pem"), dir.path().join("leaf.pem"));
    fs::write(&root, certificates_to_pem(std::slice::from_ref(&w.root_der)).unwrap()).unwrap();
    let mut wrong = Vec::new();
    for Case { name, chain, now, roles, code } in all(&w) {
        fs::write(&file, certificates_to_pem(&chain).unwrap()).unwrap();
        let found = inspect_by(&file, &Judge { trust: Some(root.clone()), roles }, now).unwrap();
        if found.refusal.as_ref().map(crate::Refusal::code) != code || found.is_good() != code.is_none() {
            wrong.push(format!("{name}: {:?} {:?}, not {code:?}", found.refusal, found.problems));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_table_knows_every_reason() {
    let seen: BTreeSet<_> = all(&world()).iter().filter_map(|case| case.code).collect();
    // `no-certificate` needs no certificate, and has a test of its own.
    let expected = 39;
    assert_eq!(seen.len(), expected, "{seen:?}");
}

/// A small generator (xorshift64*), the same for ever.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit.max(1)
    }
}

fn damage(bytes: &[u8], other: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=dice.below(4) {
        let at = dice.below(bytes.len());
        match dice.below(7) {
            0 => bytes.truncate(at),
            1 if !bytes.is_empty() => bytes[at] ^= 1 << dice.below(8),
            2 if !bytes.is_empty() => bytes[at] = [0, 0x7f, 0x80, 0x81, 0x84, 0xff][dice.below(6)],
            3 => bytes.insert(at, dice.below(256) as u8),
            4 if !bytes.is_empty() => drop(bytes.remove(at)),
            5 => {
                let (from, length) = (dice.below(other.len()), dice.below(64));
                let piece: Vec<u8> = other.iter().skip(from).take(length).copied().collect();
                bytes.splice(at..at, piece);
            }
            _ => {
                let length = dice.below(32).min(bytes.len() - at);
                let piece = bytes[at..at + length].to_vec();
                bytes.splice(at..at, piece);
            }
        }
    }
    bytes
}

#[test]
fn nothing_that_anybody_sends_makes_a_reader_panic() {
    let w = world();
    let mut ca = Ca::in_memory_at(BlocName::parse("acme").unwrap(), NOW).unwrap();
    let bundle = ca.issue_at(IssueRequest::new(Role::Node(NodeName::parse("n1").unwrap())), NOW).unwrap();
    let mut seeds: Vec<Vec<u8>> = vec![
        bundle.to_tar().unwrap().to_vec(),
        Signer::generate().unwrap().to_pem().unwrap().as_bytes().to_vec(),
        Signer::generate_p256().unwrap().to_pem().unwrap().as_bytes().to_vec(),
        tar::write([("cert.pem", &b"x"[..])], 0),
        w.root_der.to_vec(),
        b"spiffe://acme.prod/node/n1".to_vec(),
    ];
    assert!(seeds.iter().all(|seed| read_anything(seed, Some(&w.root_der), NOW) > 0), "whole ones make sense");
    assert_eq!(read_anything(b"", Some(&w.root_der), NOW), 0);
    for case in all(&w).iter().filter(|case| case.chain[0].len() < 4_096) {
        seeds.push(case.chain[0].to_vec());
        seeds.push(certificates_to_pem(&case.chain).unwrap().into_bytes());
    }
    let mut dice = Dice(0x5eed_0000_0001);
    for round in 0..2_000 {
        let (one, two) = (dice.below(seeds.len()), dice.below(seeds.len()));
        let bytes = if round % 50 == 0 {
            (0..dice.below(600)).map(|_| dice.below(256) as u8).collect()
        } else {
            damage(&seeds[one], &seeds[two], &mut dice)
        };
        let _ = read_anything(&bytes, Some(&w.root_der), NOW);
    }
    // Also where a damaged archive is taken for a bundle, its parts belong together.
    let archive = bundle.to_tar().unwrap();
    for _ in 0..200 {
        let bytes = damage(&archive, &seeds[0], &mut dice);
        if let Ok(found) = Bundle::from_tar(&bytes, "b.tar".as_ref()) {
            assert_eq!(found.signer().public_key(), bundle.signer().public_key());
        }
    }
}
