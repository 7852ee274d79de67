//! The table: what is wrong, and the code of the reason that must be given for it.

use super::{NOW, World, good, root_draft, world};
use crate::extension;
use crate::identity::RoleKind;
use crate::key::Signer;
use crate::mint::{CLIENT_AUTH, Draft, SERVER_AUTH, subject};
use crate::{BUILD_DATE, DAY};
use rustls::pki_types::CertificateDer;
use x509_cert::der::Encode;
use x509_cert::der::asn1::{Ia5String, ObjectIdentifier, OctetString};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::KeyUsages;
use x509_cert::ext::pkix::name::GeneralName;

pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) now: u64,
    /// Who would be admitted; all if empty.
    pub(crate) roles: Vec<RoleKind>,
    /// The expected code; nothing if it must be admitted.
    pub(crate) code: Option<&'static str>,
}

/// DER of an `AlgorithmIdentifier` for Ed25519.
const ED25519: [u8; 7] = [0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70];
const SAN: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");
const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
const NAME_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.30");
const UNKNOWN: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.25.1906752461.99");

fn raw(extn_id: ObjectIdentifier, critical: bool, value: &[u8]) -> Extension {
    Extension { extn_id, critical, extn_value: OctetString::new(value).unwrap() }
}

/// The same certificate with other bytes at some places; what it says is judged before its signature.
fn patched(der: &[u8], from: &[u8], to: &[u8], which: impl Fn(usize) -> bool) -> CertificateDer<'static> {
    let mut bytes = der.to_vec();
    let places: Vec<usize> = (0..bytes.len() - from.len()).filter(|at| bytes[*at..].starts_with(from)).collect();
    assert!(!places.is_empty(), "there is something to patch");
    for (index, at) in places.into_iter().enumerate() {
        if which(index) {
            bytes[at..at + to.len()].copy_from_slice(to);
        }
    }
    bytes.into()
}

/// A leaf below this many intermediates, nearest first, the root left out.
fn chain_of(w: &World, intermediates: usize, change: impl Fn(usize, &mut Draft)) -> Vec<CertificateDer<'static>> {
    let mut chain = Vec::new();
    let mut above: Option<Signer> = None;
    for level in 0..=intermediates {
        let issuer = if level == 0 { "acme root".to_owned() } else { format!("ca{}", level - 1) };
        let mut draft = if level < intermediates { root_draft(NOW - 2 * DAY, NOW + 900 * DAY) } else { good() };
        draft.issuer = Some(subject("acme", &issuer));
        if level < intermediates {
            draft.subject = subject("acme", &format!("ca{level}"));
        }
        change(level, &mut draft);
        let signer = Signer::generate().unwrap();
        chain.insert(0, draft.sign(&signer.public_key(), above.as_ref().unwrap_or(&w.root)).unwrap());
        above = Some(signer);
    }
    chain
}

fn names(w: &World, number: usize, name: impl Fn(usize) -> GeneralName) -> CertificateDer<'static> {
    let mut all = vec![GeneralName::UniformResourceIdentifier(Ia5String::new("spiffe://acme/node/n1").unwrap())];
    all.extend((0..number).map(name));
    w.sign(|d| (d.uris, d.extra) = (vec![], vec![raw(SAN, false, &all.to_der().unwrap())]))
}

pub(crate) fn all(w: &World) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let mut add = |name: &str, chain: Vec<CertificateDer<'static>>, now: u64, code: Option<&'static str>| {
        cases.push(Case { name: name.to_owned(), chain, now, roles: Vec::new(), code });
    };
    let leaf = |change: &dyn Fn(&mut Draft)| vec![w.sign(change)];
    let with_uri = |uri: &str| leaf(&|d: &mut Draft| d.uris = vec![uri.to_owned()]);

    add("good", leaf(&|_| {}), NOW, None);
    add(
        "good without our extension and usages",
        leaf(&|d| (d.admission, d.extended_key_usage) = (None, None)),
        NOW,
        None,
    );
    add(
        "good with other kinds of names",
        vec![names(w, 20, |n| GeneralName::DnsName(Ia5String::new(&format!("n{n}.example")).unwrap()))],
        NOW,
        None,
    );
    add("six intermediates", chain_of(w, 6, |_, _| {}), NOW, None);

    add("another bloc", with_uri("spiffe://other/node/n1"), NOW, Some("other-bloc"));
    add("a bloc below ours", with_uri("spiffe://prod.acme/node/n1"), NOW, Some("other-bloc"));
    add("a bloc that begins like ours", with_uri("spiffe://acmee/node/n1"), NOW, Some("other-bloc"));
    let stranger = world();
    add("another root of the same name", vec![stranger.sign(|_| {})], NOW, Some("other-root"));
    add("another root that is shown", vec![stranger.sign(|_| {}), stranger.root_der.clone()], NOW, Some("other-root"));
    add(
        "another root of another name",
        vec![stranger.sign(|d| d.issuer = Some("CN=x".to_owned()))],
        NOW,
        Some("other-root"),
    );
    let two = chain_of(w, 1, |_, _| {});
    add("an intermediate that is not shown", vec![two[0].clone()], NOW, Some("other-root"));
    let good_der = w.sign(|_| {});
    let last = good_der.len() - 1;
    let mut forged = good_der.to_vec();
    forged[last] ^= 1;
    add("a damaged signature", vec![forged.into()], NOW, Some("bad-chain"));

    add("expired", leaf(&|d| (d.not_before, d.not_after) = (NOW - 10 * DAY, NOW - 1)), NOW, Some("expired"));
    add("not yet valid", leaf(&|d| d.not_before = NOW + 60), NOW, Some("not-yet-valid"));
    add("a clock before the certificate", leaf(&|d| d.not_before = NOW + 2 * DAY), NOW, Some("clock-wrong"));
    add("a clock before this release", leaf(&|_| {}), BUILD_DATE - 1, Some("clock-wrong"));
    let ended = |level: usize, d: &mut Draft| {
        if level == 0 {
            d.not_after = NOW - 1
        }
    };
    add("an intermediate that has ended", chain_of(w, 1, ended), NOW, Some("issuer-expired"));
    let early = |level: usize, d: &mut Draft| {
        if level == 0 {
            d.not_before = NOW + 60
        }
    };
    add("an intermediate that has not begun", chain_of(w, 1, early), NOW, Some("issuer-not-yet-valid"));
    add("ends before it begins", leaf(&|d| (d.not_before, d.not_after) = (NOW, NOW - 2)), NOW, Some("no-life"));

    add("no URI", leaf(&|d| d.uris.clear()), NOW, Some("no-uri"));
    let dns_only = vec![GeneralName::DnsName(Ia5String::new("n1.example").unwrap())].to_der().unwrap();
    let dns_only = leaf(&|d| (d.uris, d.extra) = (vec![], vec![raw(SAN, false, &dns_only)]));
    add("a DNS name only", dns_only, NOW, Some("no-uri"));
    add("two URIs", leaf(&|d| d.uris.push("spiffe://acme/node/n2".to_owned())), NOW, Some("many-uris"));
    add("the same URI twice", leaf(&|d| d.uris.push("spiffe://acme/node/n1".to_owned())), NOW, Some("many-uris"));
    add("another URI beside it", leaf(&|d| d.uris.push("https://acme.example".to_owned())), NOW, Some("many-uris"));
    let uri =
        |n: usize| GeneralName::UniformResourceIdentifier(Ia5String::new(&format!("spiffe://acme/node/n{n}")).unwrap());
    add("300 URIs", vec![names(w, 300, uri)], NOW, Some("many-uris"));
    add("10,000 URIs", vec![names(w, 10_000, uri)], NOW, Some("too-large"));
    let dns = |n: usize| GeneralName::DnsName(Ia5String::new(&format!("n{n}.example")).unwrap());
    add("10,000 DNS names", vec![names(w, 10_000, dns)], NOW, Some("too-large"));
    let twice = raw(SAN, false, &vec![uri(2)].to_der().unwrap());
    add("two extensions with names", leaf(&|d| d.extra = vec![twice.clone()]), NOW, Some("unreadable"));

    for (uri, code) in [
        ("spiffe://acme/node/N1", "uri-upper-case"),
        ("spiffe://ACME/node/n1", "uri-upper-case"),
        ("SPIFFE://acme/node/n1", "uri-upper-case"),
        ("spiffe://acme/NODE/n1", "uri-upper-case"),
        ("spiffe://acme/node/n%31", "uri-percent"),
        ("spiffe://acme/%6eode/n1", "uri-percent"),
        ("spiffe://acme/node/n1%00", "uri-percent"),
        ("spiffe://acme/node/..", "uri-dot-segment"),
        ("spiffe://acme/node/../node/n1", "uri-dot-segment"),
        ("spiffe://acme/./node/n1", "uri-dot-segment"),
        ("spiffe://acme/node/n1\0", "uri-control"),
        ("spiffe://acme/node/n1\0.evil", "uri-control"),
        ("spiffe://acme/node/n1\u{1b}[31m", "uri-control"),
        ("spiffe://acme/node/n1 ", "uri-space"),
        ("spiffe://acme/node/n1/", "uri-empty-segment"),
        ("spiffe://acme//node/n1", "uri-empty-segment"),
        ("spiffe:///node/n1", "uri-empty-segment"),
        ("spiffe://acme/node/n1?x=y", "uri-query"),
        ("spiffe://acme/node/n1#x", "uri-fragment"),
        ("spiffe://root@acme/node/n1", "uri-userinfo"),
        ("spiffe://acme:2789/node/n1", "uri-port"),
        ("https://acme/node/n1", "malformed-uri"),
        ("spiffe://acme", "malformed-uri"),
        ("spiffe://acme/node", "malformed-uri"),
        ("spiffe://acme/admin/n1", "malformed-uri"),
        ("spiffe://acme/node/n1/n2", "malformed-uri"),
        ("spiffe://acme/horde/web", "malformed-uri"),
        ("urn:acme:node:n1", "malformed-uri"),
        ("spiffe://acme/node/n1.", "bad-name"),
        ("spiffe://acme./node/n1", "bad-name"),
        ("spiffe://acme/node/n1..rack", "bad-name"),
        ("spiffe://acme/node/-n1", "bad-name"),
        ("spiffe://acme/node/n_1", "bad-name"),
        ("spiffe://acme/horde/web/a.b", "bad-name"),
    ] {
        add(&format!("URI {uri:?}"), with_uri(uri), NOW, Some(code));
    }
    for long in
        [format!("spiffe://acme/node/{}", "a".repeat(64)), format!("spiffe://acme/node/{}", ["a"; 128].join("."))]
    {
        add("a name that is too long", with_uri(&long), NOW, Some("bad-name"));
    }
    // The string type of URIs holds ASCII only, so a look-alike is put in by hand.
    let ascii = w.sign(|d| d.uris = vec!["spiffe://acme/node/nxx".to_owned()]);
    let look_alike = patched(&ascii, b"nxx", "n\u{430}".as_bytes(), |_| true);
    add("a Cyrillic letter", vec![look_alike], NOW, Some("uri-not-ascii"));
    add("bytes that are no text", vec![patched(&ascii, b"nxx", b"n\xff\xfe", |_| true)], NOW, Some("uri-not-ascii"));

    add("a CA as a leaf", leaf(&|d| d.ca = true), NOW, Some("ca-as-leaf"));
    add("the root itself", vec![w.root_der.clone()], NOW, Some("ca-as-leaf"));
    for usage in [
        None,
        Some(KeyUsages::KeyAgreement.into()),
        Some(KeyUsages::DigitalSignature | KeyUsages::KeyCertSign),
        Some(KeyUsages::DigitalSignature | KeyUsages::CRLSign),
    ] {
        add(&format!("key usage {usage:?}"), leaf(&|d| d.key_usage = usage), NOW, Some("key-usage"));
    }
    let quiet = raw(KEY_USAGE, false, &[0x03, 0x02, 0x07, 0x80]);
    let quiet = leaf(&|d| (d.key_usage, d.extra) = (None, vec![quiet.clone()]));
    add("key usage that is not critical", quiet, NOW, Some("key-usage"));
    for usage in [vec![SERVER_AUTH], vec![CLIENT_AUTH], vec![UNKNOWN]] {
        let der = leaf(&|d| d.extended_key_usage = Some(usage.clone()));
        add("one purpose is missing", der, NOW, Some("extended-key-usage"));
    }
    for (uri, days) in [("node/n1", 401), ("operator/ann", 101), ("beacon/b", 101), ("horde/web/api", 2)] {
        let long =
            |d: &mut Draft| (d.uris, d.not_after) = (vec![format!("spiffe://acme/{uri}")], d.not_before + days * DAY);
        add(&format!("{days} days of {uri}"), leaf(&long), NOW, Some("too-long"));
        let longer = |d: &mut Draft| (d.uris, d.not_after) = (vec![format!("spiffe://acme/{uri}")], 253_402_300_799);
        add(&format!("{uri} for ever"), leaf(&longer), NOW, Some("too-long"));
    }

    let ed448 = [0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x71];
    // The three places: the signature's algorithm, the key's, and the signature's again.
    add(
        "a key of another kind",
        vec![patched(&good_der, &ED25519, &ed448, |place| place == 1)],
        NOW,
        Some("key-algorithm"),
    );
    let unsupported = patched(&good_der, &ED25519, &ed448, |place| place != 1);
    add("a signature of another kind", vec![unsupported], NOW, Some("signature-algorithm"));
    let ours = |value: &[u8]| raw(extension::OID, false, value);
    let junk = leaf(&|d| (d.admission, d.extra) = (None, vec![ours(b"junk")]));
    add("our extension with junk in it", junk, NOW, Some("admission-extension"));
    let twice = extension::Admission::default().encode().unwrap();
    add("our extension twice", leaf(&|d| d.extra = vec![twice.clone()]), NOW, Some("admission-extension"));
    let critical = leaf(&|d| d.extra = vec![raw(UNKNOWN, true, &[0x05, 0])]);
    add("an unknown critical extension", critical, NOW, Some("critical-extension"));
    add("an unknown extension that is not", leaf(&|d| d.extra = vec![raw(UNKNOWN, false, &[0x05, 0])]), NOW, None);

    let no_ca = |level: usize, d: &mut Draft| {
        if level == 0 {
            (d.ca, d.key_usage) = (false, Some(KeyUsages::DigitalSignature.into()))
        }
    };
    add("a leaf as an intermediate", chain_of(w, 1, no_ca), NOW, Some("leaf-as-ca"));
    let flat = |level: usize, d: &mut Draft| {
        if level == 0 {
            d.path_length = Some(0)
        }
    };
    add("an intermediate too many", chain_of(w, 2, flat), NOW, Some("path-length"));
    add("seven intermediates", chain_of(w, 7, |_, _| {}), NOW, Some("long-chain"));
    let uri_only = [0x30, 0x0a, 0xa0, 0x08, 0x30, 0x06, 0x86, 0x04, b'a', b'c', b'm', b'e'];
    let constrained = |level: usize, d: &mut Draft| {
        if level == 0 {
            d.extra = vec![raw(NAME_CONSTRAINTS, true, &uri_only)]
        }
    };
    add("name constraints for URIs", chain_of(w, 1, constrained), NOW, Some("name-constraint"));

    add("no certificate but some bytes", vec![b"hello".to_vec().into()], NOW, Some("unreadable"));
    let mut longer = good_der.to_vec();
    longer.push(0);
    add("a byte too many", vec![longer.into()], NOW, Some("unreadable"));
    add("half of it", vec![good_der[..last / 2].to_vec().into()], NOW, Some("unreadable"));

    let short = |uri: &str| {
        leaf(&|d: &mut Draft| (d.uris, d.not_after) = (vec![format!("spiffe://acme/{uri}")], d.not_before + 50 * DAY))
    };
    let workload = leaf(&|d| {
        (d.uris, d.not_before, d.not_after) = (vec!["spiffe://acme/horde/web/api".to_owned()], NOW - 60, NOW + 3_600);
    });
    let mut role = |name: &str, chain, roles: &[RoleKind], code| {
        cases.push(Case { name: name.to_owned(), chain, now: NOW, roles: roles.to_vec(), code });
    };
    use RoleKind::{Beacon, Node, Operator, Workload};
    role("an operator among nodes", short("operator/n1"), &[Node], Some("wrong-role"));
    role("a beacon among nodes", short("beacon/n1"), &[Node], Some("wrong-role"));
    role("a workload among nodes", workload.clone(), &[Node, Beacon], Some("wrong-role"));
    role("a node as an operator", leaf(&|_| {}), &[Operator], Some("wrong-role"));
    role("a beacon where it listens", short("beacon/n1"), &[Node, Beacon], None);
    role("a workload among its own", workload, &[Workload], None);
    cases
}
