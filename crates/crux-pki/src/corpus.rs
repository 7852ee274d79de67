//! Certificates that must be refused, each for its own reason.

use crate::extension::Admission;
use crate::identity::RoleKind;
use crate::key::Signer;
use crate::mint::{CLIENT_AUTH, Draft, SERVER_AUTH, subject};
use crate::refusal::Refusal;
use crate::trust::Trust;
use crate::{BUILD_DATE, DAY};
use crux_names::BlocName;
use rustls::pki_types::CertificateDer;
use x509_cert::ext::pkix::KeyUsages;

const NOW: u64 = BUILD_DATE + 100 * DAY;

struct World {
    root: Signer,
    root_der: CertificateDer<'static>,
    trust: Trust,
}

fn root_draft(not_before: u64, not_after: u64) -> Draft {
    Draft {
        subject: subject("acme", "acme root"),
        issuer: None,
        uris: vec![],
        ca: true,
        key_usage: Some(KeyUsages::KeyCertSign.into()),
        extended_key_usage: None,
        not_before,
        not_after,
        admission: None,
    }
}

fn world() -> World {
    let root = Signer::generate().unwrap();
    let root_der = root_draft(NOW - 500 * DAY, NOW + 3_000 * DAY).sign(&root.public_key(), &root).unwrap();
    let trust = Trust::new(BlocName::parse("acme").unwrap(), [root_der.clone()]).unwrap();
    World { root, root_der, trust }
}

fn good() -> Draft {
    Draft {
        subject: subject("acme", "n1"),
        issuer: Some(subject("acme", "acme root")),
        uris: vec!["spiffe://acme/node/n1".to_owned()],
        ca: false,
        key_usage: Some(KeyUsages::DigitalSignature.into()),
        extended_key_usage: Some(vec![SERVER_AUTH, CLIENT_AUTH]),
        not_before: NOW - DAY,
        not_after: NOW + 364 * DAY,
        admission: Some(Admission::default()),
    }
}

impl World {
    fn sign(&self, change: impl FnOnce(&mut Draft)) -> CertificateDer<'static> {
        let mut draft = good();
        change(&mut draft);
        draft.sign(&Signer::generate().unwrap().public_key(), &self.root).unwrap()
    }

    fn refusal(&self, change: impl FnOnce(&mut Draft)) -> Refusal {
        self.trust.verify_chain(&[self.sign(change)], NOW).unwrap_err()
    }
}

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
    assert!(matches!(
        ours.trust.verify_chain(&[theirs.sign(|_| {})], NOW),
        Err(Refusal::Untrusted | Refusal::BadChain(_))
    ));
    let chain = [theirs.sign(|_| {}), theirs.root_der.clone()];
    assert!(matches!(ours.trust.verify_chain(&chain, NOW), Err(Refusal::Untrusted | Refusal::BadChain(_))));
    assert!(matches!(ours.trust.verify_chain_undated(&chain), Err(Refusal::Untrusted | Refusal::BadChain(_))));
    let both = Trust::new(ours.trust.bloc().clone(), [ours.root_der.clone(), theirs.root_der.clone()]).unwrap();
    both.verify_chain(&[theirs.sign(|_| {})], NOW).unwrap();
    both.verify_chain(&[ours.sign(|_| {})], NOW).unwrap();
}

#[test]
fn dates_are_kept_and_a_wrong_clock_is_called_so() {
    let w = world();
    let expired = |d: &mut Draft| (d.not_before, d.not_after) = (NOW - 10 * DAY, NOW - 60);
    assert_eq!(w.refusal(expired), Refusal::Expired { ago: 60 });
    w.trust.verify_chain_undated(&[w.sign(expired)]).unwrap();
    assert_eq!(w.refusal(|d| d.not_before = NOW + 60), Refusal::NotYetValid { ahead: 60 });
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
    for uri in ["spiffe://acme", "spiffe://acme/admin/n1", "https://acme/node/n1", "spiffe://acme/NODE/n1"] {
        assert!(matches!(w.refusal(|d| d.uris = vec![uri.to_owned()]), Refusal::MalformedUri { .. }), "{uri}");
    }
    for name in ["N1", "n%31", "..", "n1\0", "n1.", "n1/../n2", "n1\u{1b}[31m", "n1 "] {
        let refusal = w.refusal(|d| d.uris = vec![format!("spiffe://acme/node/{name}")]);
        assert!(matches!(refusal, Refusal::BadName(_)), "{name:?}: {refusal:?}");
        assert!(!refusal.to_string().contains(['\0', '\u{1b}']), "escaped: {refusal}");
    }
    // A look-alike cannot even be written as the string type that URIs have; put its bytes in by hand.
    let mut der = w.sign(|d| d.uris = vec!["spiffe://acme/node/nxx".to_owned()]).to_vec();
    let at = der.windows(3).position(|bytes| bytes == b"nxx").unwrap();
    der[at + 1..at + 3].copy_from_slice("\u{430}".as_bytes());
    assert!(matches!(w.trust.verify_chain(&[der.into()], NOW), Err(Refusal::Unreadable(_))));
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
    for (uri, max) in
        [("spiffe://acme/node/n1", 400), ("spiffe://acme/beacon/b1", 400), ("spiffe://acme/operator/ann", 100)]
    {
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
    assert_eq!(text, "this is the certificate of operator/n1, but only a node is admitted here");
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
