//! Each rule by itself, in detail.

use super::{NOW, World, good, root_draft, world};
use crate::identity::RoleKind;
use crate::key::Signer;
use crate::mint::{CLIENT_AUTH, Draft, SERVER_AUTH, subject};
use crate::refusal::Refusal;
use crate::trust::Trust;
use crate::{BUILD_DATE, DAY};
use crux_names::BlocName;
use x509_cert::ext::pkix::KeyUsages;

#[test]
fn the_good_one_is_admitted() {
    let w = world();
    let admitted = w.trust.verify_chain(&[w.sign(|_| {})], NOW).unwrap();
    assert_eq!(admitted.identity().to_string(), "spiffe://acme/node/n1");
    assert_eq!((admitted.admission(), admitted.not_after()), (1, NOW + 364 * DAY));
    let bare = w.sign(|d| (d.admission, d.extended_key_usage) = (None, None));
    assert_eq!(w.trust.verify_chain(&[bare], NOW).unwrap().admission(), 1);
}

#[test]
fn another_bloc_of_the_same_ca_is_refused() {
    let refusal = world().refusal(|d| d.uris = vec!["spiffe://other/node/n1".to_owned()]);
    assert_eq!(refusal, Refusal::OtherBloc { theirs: "other".to_owned(), ours: "acme".to_owned() });
    assert!(refusal.to_string().starts_with("certificate of bloc other, but this is bloc acme;"));
    for bloc in ["acme.prod", "prod.acme", "acm", "acmee"] {
        let refusal = world().refusal(|d| d.uris = vec![format!("spiffe://{bloc}/node/n1")]);
        assert!(matches!(refusal, Refusal::OtherBloc { .. }), "{bloc}");
    }
}

#[test]
fn another_root_with_the_same_name_is_refused() {
    let (ours, theirs) = (world(), world());
    assert!(matches!(ours.trust.verify_chain(&[theirs.sign(|_| {})], NOW), Err(Refusal::Untrusted)));
    let chain = [theirs.sign(|_| {}), theirs.root_der.clone()];
    assert!(matches!(ours.trust.verify_chain(&chain, NOW), Err(Refusal::Untrusted)));
    assert!(matches!(ours.trust.verify_chain_undated(&chain), Err(Refusal::Untrusted)));
    let both = Trust::new(ours.trust.bloc().clone(), [ours.root_der.clone(), theirs.root_der.clone()]).unwrap();
    both.verify_chain(&[theirs.sign(|_| {})], NOW).unwrap();
    both.verify_chain(&[ours.sign(|_| {})], NOW).unwrap();
}

#[test]
fn dates_are_kept_and_a_wrong_clock_is_called_so() {
    let w = world();
    let expired = |d: &mut Draft| (d.not_before, d.not_after) = (NOW - 10 * DAY, NOW - 60);
    assert_eq!(w.refusal(expired), Refusal::Expired { at: NOW - 60, ago: 60 });
    let told = Refusal::Expired { at: 1_769_860_800, ago: 60 }.cause();
    assert_eq!(told, "certificate expired 60 s ago, at 2026-01-31T12:00:00Z");
    let early = Refusal::NotYetValid { from: 1_769_860_800, ahead: 60 }.cause();
    assert_eq!(early, "certificate not valid for another 60 s, until 2026-01-31T12:00:00Z");
    w.trust.verify_chain_undated(&[w.sign(expired)]).unwrap();
    assert_eq!(w.refusal(|d| d.not_before = NOW + 60), Refusal::NotYetValid { from: NOW + 60, ahead: 60 });
    assert!(matches!(w.refusal(|d| d.not_before = NOW + 2 * DAY), Refusal::ClockWrong { .. }));
    let early = w.trust.verify_chain(&[w.sign(|_| {})], BUILD_DATE - 1);
    assert!(matches!(early, Err(Refusal::ClockWrong { behind: 1, .. })));
}

#[test]
fn a_root_that_has_ended_vouches_no_more() {
    let root = Signer::generate().unwrap();
    let der = root_draft(NOW - 500 * DAY, NOW - 1).sign(&root.public_key(), &root).unwrap();
    let trust = Trust::new(BlocName::parse("acme").unwrap(), [der.clone()]).unwrap();
    let w = World { root, root_der: der, trust };
    assert_eq!(w.refusal(|_| {}), Refusal::IssuerExpired);
}

#[test]
fn exactly_one_well_formed_uri_is_needed() {
    let w = world();
    assert_eq!(w.refusal(|d| d.uris.clear()), Refusal::NoUri);
    assert_eq!(w.refusal(|d| d.uris.push("spiffe://acme/node/n2".to_owned())), Refusal::ManyUris(2));
    assert_eq!(w.refusal(|d| d.uris.push("https://acme.example".to_owned())), Refusal::ManyUris(2));
    for uri in ["spiffe://acme", "spiffe://acme/admin/n1", "https://acme/node/n1"] {
        assert!(matches!(w.refusal(|d| d.uris = vec![uri.to_owned()]), Refusal::MalformedUri { .. }), "{uri}");
    }
}

#[test]
fn a_leaf_may_sign_nothing_but_itself() {
    let w = world();
    assert_eq!(w.refusal(|d| d.ca = true), Refusal::CaAsLeaf);
    let chain = [w.root_der.clone()];
    assert_eq!(w.trust.verify_chain(&chain, NOW).unwrap_err(), Refusal::CaAsLeaf);
    for usage in [
        None,
        Some(KeyUsages::KeyAgreement.into()),
        Some(KeyUsages::DigitalSignature | KeyUsages::KeyCertSign),
        Some(KeyUsages::DigitalSignature | KeyUsages::CRLSign),
    ] {
        assert!(matches!(w.refusal(|d| d.key_usage = usage), Refusal::KeyUsage(_)), "{usage:?}");
    }
    for usage in [vec![SERVER_AUTH], vec![CLIENT_AUTH]] {
        assert_eq!(w.refusal(|d| d.extended_key_usage = Some(usage)), Refusal::ExtendedKeyUsage);
    }
    // A leaf in the place of an intermediate vouches for nobody.
    let (middle, leaf) = (Signer::generate().unwrap(), Signer::generate().unwrap());
    let middle_der = good().sign(&middle.public_key(), &w.root).unwrap();
    let mut draft = good();
    draft.issuer = Some(subject("acme", "n1"));
    let leaf_der = draft.sign(&leaf.public_key(), &middle).unwrap();
    assert!(w.trust.verify_chain(&[leaf_der, middle_der], NOW).is_err());
}

#[test]
fn lives_are_capped_by_role() {
    let w = world();
    let with = |uri: &str, days: u64| {
        let uri = uri.to_owned();
        move |d: &mut Draft| (d.uris, d.not_after) = (vec![uri], d.not_before + days * DAY)
    };
    for (uri, max) in [("node/n1", 400), ("beacon/b1", 100), ("operator/ann", 100), ("horde/web/api", 1)] {
        let uri = &format!("spiffe://acme/{uri}");
        w.trust.verify_chain(&[w.sign(with(uri, max))], NOW).unwrap();
        let refusal = w.refusal(with(uri, max + 1));
        assert!(matches!(refusal, Refusal::TooLong { days, .. } if days == max + 1), "{uri}: {refusal:?}");
    }
}

#[test]
fn an_operator_is_no_node() {
    let w = world();
    let operator = w.sign(|d| {
        (d.uris, d.not_after) = (vec!["spiffe://acme/operator/n1".to_owned()], d.not_before + 50 * DAY);
    });
    let admitted = w.trust.verify_chain(&[operator], NOW).unwrap();
    let text = admitted.node().unwrap_err().to_string();
    let expected =
        "this is the certificate of operator/n1, but only a node is admitted here; use a bundle of that role";
    assert!(text.starts_with(expected), "{text}");
    assert!(admitted.require(&[RoleKind::Node, RoleKind::Beacon]).is_err());
    admitted.require(&[RoleKind::Operator]).unwrap();
}

#[test]
fn damage_is_refused_whatever_byte_it_hits() {
    let w = world();
    let der = w.sign(|_| {});
    for at in 0..der.len() {
        let mut damaged = der.to_vec();
        damaged[at] ^= 1;
        assert!(w.trust.verify_chain(&[damaged.into()], NOW).is_err(), "byte {at}");
    }
    assert_eq!(w.trust.verify_chain(&[], NOW).unwrap_err(), Refusal::NoCertificate);
}

#[test]
fn an_intermediate_ca_may_stand_between() {
    let w = world();
    let (middle, leaf) = (Signer::generate().unwrap(), Signer::generate().unwrap());
    let mut draft = root_draft(NOW - 2 * DAY, NOW + 30 * DAY);
    (draft.subject, draft.issuer) = (subject("acme", "online"), Some(subject("acme", "acme root")));
    let middle_der = draft.clone().sign(&middle.public_key(), &w.root).unwrap();
    let mut node = good();
    node.issuer = Some(subject("acme", "online"));
    let leaf_der = node.sign(&leaf.public_key(), &middle).unwrap();
    w.trust.verify_chain(&[leaf_der.clone(), middle_der.clone()], NOW).unwrap();
    assert_eq!(w.trust.verify_chain(std::slice::from_ref(&leaf_der), NOW).unwrap_err(), Refusal::Untrusted);
    let ended = w.trust.verify_chain(&[leaf_der.clone(), middle_der.clone()], NOW + 31 * DAY);
    assert_eq!(ended.unwrap_err(), Refusal::IssuerExpired);
    w.trust.verify_chain_undated(&[leaf_der, middle_der]).unwrap();
}

#[test]
fn a_peer_is_trusted_until_the_first_of_its_cas_ends() {
    let w = world();
    let (middle, leaf) = (Signer::generate().unwrap(), Signer::generate().unwrap());
    let mut draft = root_draft(NOW - 2 * DAY, NOW + 30 * DAY);
    (draft.subject, draft.issuer) = (subject("acme", "online"), Some(subject("acme", "acme root")));
    let middle_der = draft.sign(&middle.public_key(), &w.root).unwrap();
    let mut node = good();
    node.issuer = Some(subject("acme", "online"));
    let chain = [node.sign(&leaf.public_key(), &middle).unwrap(), middle_der];
    assert_eq!(w.trust.still_trusts(&chain, NOW), Ok(NOW + 30 * DAY));
    assert_eq!(w.trust.still_trusts(&[w.sign(|_| {})], NOW), Ok(NOW + 364 * DAY));

    let root = Signer::generate().unwrap();
    let short = root_draft(NOW - DAY, NOW + 5 * DAY).sign(&root.public_key(), &root).unwrap();
    let short = World { trust: Trust::new(w.trust.bloc().clone(), [short.clone()]).unwrap(), root, root_der: short };
    let peer = short.trust.verify_chain(&[short.sign(|_| {})], NOW).unwrap();
    assert_eq!(peer.not_after(), NOW + 5 * DAY);
    assert_eq!(short.trust.recheck(&peer, NOW + 5 * DAY + 1).unwrap_err(), Refusal::IssuerExpired);
}

#[test]
fn roots_come_and_go_without_a_gap() {
    let (old, new) = (world(), world());
    let both = old.trust.with_root(new.root_der.clone()).unwrap();
    assert_eq!(both.with_root(new.root_der.clone()).unwrap().roots().count(), 2, "a root counts once");
    let peers = [&old, &new].map(|w| both.verify_chain(&[w.sign(|_| {})], NOW).unwrap());
    let after = both.without_root(&crate::fingerprint(&old.root_der)).unwrap();
    assert_eq!(after.recheck(&peers[0], NOW).unwrap_err(), Refusal::Untrusted, "its links must be cut");
    after.recheck(&peers[1], NOW).unwrap();
    assert!(after.without_root(&crate::fingerprint(&old.root_der)).unwrap_err().to_string().contains("no root with"));
    assert!(after.without_root(&crate::fingerprint(&new.root_der)).unwrap_err().to_string().contains("last root"));
}

#[test]
fn a_root_that_names_its_bloc_vouches_for_no_other() {
    let w = world();
    let other = Trust::new(BlocName::parse("other").unwrap(), [w.root_der.clone()]);
    assert!(other.unwrap_err().to_string().contains("a root in it is of bloc acme, and this is bloc other"));
    // A root of an existing PKI names none, and may serve several.
    let mut draft = root_draft(NOW - DAY, NOW + 3_000 * DAY);
    draft.uris.clear();
    let silent = draft.sign(&w.root.public_key(), &w.root).unwrap();
    for bloc in ["acme", "other"] {
        let trust = Trust::new(BlocName::parse(bloc).unwrap(), [silent.clone()]).unwrap();
        let leaf = w.sign(|d| d.uris = vec![format!("spiffe://{bloc}/node/n1")]);
        trust.verify_chain(&[leaf], NOW).unwrap();
    }
}

#[test]
fn a_subject_decides_nothing() {
    let w = world();
    for (bloc, name) in [("other", "n2"), ("acme", "acme root"), ("acme", "n1.rack3.site-a")] {
        let admitted = w.trust.verify_chain(&[w.sign(|d| d.subject = subject(bloc, name))], NOW).unwrap();
        assert_eq!(admitted.identity().to_string(), "spiffe://acme/node/n1");
    }
    let long = format!("n1.{}", ["rack"; 40].join("."));
    let der = w.sign(|d| (d.uris, d.subject) = (vec![format!("spiffe://acme/node/{long}")], subject("a.b", &long)));
    assert_eq!(w.trust.verify_chain(std::slice::from_ref(&der), NOW).unwrap().node().unwrap().as_str(), long);
    let text = crate::Summary::of(&der).unwrap().subject;
    assert!(text.starts_with("CN=n1.rack.rack") && text.ends_with("rack,DC=a,DC=b") && text.len() < 80, "{text}");
}

#[test]
fn both_kinds_of_keys_are_admitted() {
    let w = world();
    for signer in [Signer::generate().unwrap(), Signer::generate_p256().unwrap()] {
        let der = good().sign(&signer.public_key(), &w.root).unwrap();
        let admitted = w.trust.verify_chain(&[der], NOW).unwrap();
        assert_eq!(admitted.public_key(), &signer.public_key());
        assert!(admitted.signed("fact", b"x", &signer.sign("fact", b"x")));
    }
}
