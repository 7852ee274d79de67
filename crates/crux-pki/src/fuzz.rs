//! Doors for any bytes at all: what reads certificates, keys and archives of others must come back from each of them. And
//! chains for tests of other doors ([`shown()`]).
//!
//! Nothing but the fuzz targets and tests calls this. Each function panics where a reader breaks its promise.

mod shown;

pub use shown::{Shown, shown};

use crate::bundle::Bundle;
use crate::files;
use crate::identity::Identity;
use crate::key::Signer;
use crate::leaf::Leaf;
use crate::trust::Trust;
use crate::{Ca, IssueRequest, Role, age as sealed, ca, extension, facts, inspect, tar};
use bytes::Bytes;
use crux_core::facts::scope::Scope;
use crux_core::facts::version::{Author, Sealed, Stamp, Statement};
use crux_names::{BlocName, FulcrumId, NodeName, OperatorName, Wall};
use prost::Message;
use rustls::pki_types::CertificateDer;
use std::io::{Read as _, Write as _};
use std::path::Path;

/// Gives these bytes to everything in this crate that reads what others wrote, and answers how many of them made sense
/// of it. It never panics; that is the whole point. The root, if given, makes the path validation go its whole way.
#[must_use]
pub fn read_anything(bytes: &[u8], root: Option<&CertificateDer<'static>>, now: u64) -> usize {
    let bloc = BlocName::parse("acme").expect("a bloc name");
    let der = CertificateDer::from(bytes.to_vec());
    let mut sense = [
        Leaf::read(bytes).is_ok(),
        extension::Admission::decode(bytes).is_ok(),
        Signer::from_pem(bytes).is_ok(),
        tar::read(bytes).is_ok(),
        Bundle::from_tar(bytes, Path::new("bundle.tar")).is_ok_and(|bundle| bundle.check(now).is_ok()),
        std::str::from_utf8(bytes).is_ok_and(|uri| Identity::parse(uri).is_ok()),
        Trust::new(bloc.clone(), [der.clone()]).is_ok(),
    ]
    .into_iter()
    .filter(|made| *made)
    .count();
    let chains = [Ok(vec![der]), files::certificates_from_pem(bytes)];
    if let Some(trust) = root.and_then(|root| Trust::new(bloc, [root.clone()]).ok()) {
        for chain in chains.iter().flatten() {
            sense += usize::from(trust.verify_chain(chain, now).is_ok());
            sense += usize::from(trust.verify_chain_undated(chain).is_ok());
        }
    }
    sense
}

/// A time at which what [`Papers`] issues is valid, in Unix seconds.
const NOW: u64 = crate::BUILD_DATE + 86_400;

/// A bloc's CA, what it issued, and facts that were signed with it.
pub struct Papers {
    root: CertificateDer<'static>,
    node: Bundle,
    operator: Bundle,
    facts: Vec<Bytes>,
}

impl Papers {
    /// New ones.
    ///
    /// # Panics
    /// If the system gives no random bytes.
    #[must_use]
    pub fn new(bloc: BlocName) -> Self {
        let mut ca = Ca::in_memory_at(bloc.clone(), NOW).expect("a CA");
        let mut issue = |role| {
            let mut request = IssueRequest::new(role);
            request.labels = [("zone".to_owned(), "a".to_owned())].into();
            ca.issue_at(request, NOW).expect("a bundle")
        };
        let node = issue(Role::Node(NodeName::parse("n1").expect("a node's name")));
        let ann = OperatorName::parse("ann").expect("an operator's name");
        let operator = issue(Role::Operator(ann.clone()));
        let statement = Statement {
            bloc,
            path: "place/web/api".to_owned(),
            value: Some(Bytes::from_static(b"value")),
            ancestors: Vec::new(),
            stamp: Stamp { wall: NOW * 1_000_000, logical: 1 },
            author: Author::Operator(ann),
            nonce: Bytes::from_static(b"nonce"),
        };
        let sealed = facts::seal(&operator, &statement).expect("a signed fact");
        let accepted = facts::countersign(&node, sealed.clone(), NOW).expect("an accepted fact");
        let id: FulcrumId = "n1".parse().expect("a fulcrum");
        let value = crux_core::facts::value::Row {
            labels: [("zone".to_owned(), "a".to_owned())].into(),
            ..crux_core::facts::value::Row::default()
        };
        let value = value.encode_to_vec().into();
        let row = facts::sign_row(&node, &id, "row/n1/0", value, Vec::new(), Wall(NOW * 1_000_000)).expect("a row");
        let facts = vec![sealed, accepted.sealed().clone(), row.sealed().clone()];
        Self { root: ca.root().clone(), node, operator, facts }
    }

    /// Leaves and the root, in DER.
    #[must_use]
    pub fn certificates(&self) -> Vec<Vec<u8>> {
        let leaves = [&self.node, &self.operator].into_iter().flat_map(|bundle| bundle.chain());
        leaves.chain([&self.root]).map(|der| der.to_vec()).collect()
    }

    /// The same in PEM, alone and together.
    ///
    /// # Panics
    /// Never: what was issued can be written.
    #[must_use]
    pub fn pems(&self) -> Vec<Vec<u8>> {
        let pem = |chain: &[CertificateDer<'_>]| files::certificates_to_pem(chain).expect("PEM").into_bytes();
        let both = [self.node.chain(), std::slice::from_ref(&self.root)].concat();
        vec![pem(self.node.chain()), pem(self.operator.chain()), pem(&both)]
    }

    /// Values of the extension with admission and labels.
    #[must_use]
    pub fn admissions(&self) -> Vec<Vec<u8>> {
        let scopes =
            ["apply@web", "@db", "expel"].into_iter().flat_map(|text| Scope::parse_all(text).expect("a scope"));
        let scopes = scopes.collect();
        let labels = [("zone", "a"), ("size", "big")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        let admissions = [
            extension::Admission { number: 1, ..extension::Admission::default() },
            extension::Admission { number: u32::MAX, labels: labels.into(), ..extension::Admission::default() },
            extension::Admission { scopes, ..extension::Admission::default() },
        ];
        let encoded = admissions.iter().filter_map(|admission| admission.encode().ok());
        encoded.map(|extension| extension.extn_value.as_bytes().to_vec()).collect()
    }

    /// Private keys in PEM.
    ///
    /// # Panics
    /// If the system gives no random bytes.
    #[must_use]
    pub fn keys(&self) -> Vec<Vec<u8>> {
        let pem = |signer: Signer| signer.to_pem().expect("PEM").as_bytes().to_vec();
        vec![pem(Signer::generate().expect("a key")), pem(Signer::generate_p256().expect("a key"))]
    }

    /// Bundles as archives, and another archive.
    ///
    /// # Panics
    /// Never: what was issued can be written.
    #[must_use]
    pub fn archives(&self) -> Vec<Vec<u8>> {
        let archive = |bundle: &Bundle| bundle.to_tar().expect("an archive").to_vec();
        vec![archive(&self.node), archive(&self.operator), tar::write([("cert.pem", &b"x"[..]), ("a", b"")], NOW)]
    }

    /// A fact as an operator signed it, the same accepted, and a node's row.
    #[must_use]
    pub fn signed_facts(&self) -> Vec<Vec<u8>> {
        self.facts.iter().map(|sealed| sealed.to_vec()).collect()
    }
}

/// A certificate as a leaf, as a root, and as people are shown it.
pub fn certificate(papers: &Papers, data: &[u8]) {
    let leaf = Leaf::read(data);
    let shown = inspect::Summary::of(data);
    assert!(leaf.is_err() || shown.is_some(), "what is admitted cannot be shown");
    let der = CertificateDer::from(data.to_vec());
    let _ = Trust::new(papers.node.trust().bloc().clone(), [der]);
    let _ = files::certificates_from_any(data);
}

/// The extension: what is read is written as the same bytes' meaning.
pub fn admission(data: &[u8]) {
    let Ok(admission) = extension::Admission::decode(data) else { return };
    let Ok(written) = admission.encode() else { panic!("what was read cannot be written") };
    let again = extension::Admission::decode(written.extn_value.as_bytes()).expect("what was written is read");
    assert_eq!(again, admission);
}

/// A private key: what is read signs, and is written so that the same key is read.
pub fn private_key(data: &[u8]) {
    let Ok(signer) = Signer::from_pem(data) else { return };
    let written = signer.to_pem().expect("what was read can be written");
    let again = Signer::from_pem(written.as_bytes()).expect("what was written is read");
    assert_eq!(again.public_key(), signer.public_key());
    let signature = signer.sign("fuzz", b"bytes");
    assert!(crate::verify_signature(&signer.public_key(), "fuzz", b"bytes", &signature));
}

/// Certificates in PEM, or one in DER: whatever is read is written so that the same is read.
pub fn certificates_pem(data: &[u8]) {
    let _ = files::certificates_from_any(data);
    let Ok(found) = files::certificates_from_pem(data) else { return };
    let written = files::certificates_to_pem(&found).expect("what was read can be written");
    assert_eq!(files::certificates_from_pem(written.as_bytes()).as_ref(), Ok(&found));
}

/// A tar archive: no name leads out of it.
pub fn archive(data: &[u8]) {
    let _ = (tar::is_tar(data), tar::compression(data));
    let Ok(files) = tar::read(data) else { return };
    assert!(files.values().map(Vec::len).sum::<usize>() <= data.len(), "more came out than was in it");
    let listed: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    assert!(listed.iter().all(|(name, _)| !name.contains("..") && !name.starts_with('/')), "{:?}", files.keys());
    assert_eq!(tar::read(&tar::write(listed, 0)).as_ref(), Ok(&files), "written again it reads otherwise");
}

/// An archive as a bundle: certificate and key belong together.
pub fn bundle(data: &[u8]) {
    let Ok(bundle) = Bundle::from_tar(data, Path::new("bundle.tar")) else { return };
    let leaf = Leaf::read(&bundle.chain()[0]).expect("a bundle has a leaf");
    assert!(leaf.public_key == bundle.signer().public_key(), "the key is another one");
    let _ = bundle.check(NOW);
}

/// An identity has one spelling.
pub fn identity_uri(data: &[u8]) {
    let Ok(uri) = std::str::from_utf8(data) else { return };
    match Identity::parse(uri) {
        Ok(identity) => assert_eq!(identity.to_string(), uri, "an identity has two spellings"),
        Err(refusal) => assert!(!refusal.to_string().contains(char::is_control), "{:?}", refusal.to_string()),
    }
}

/// A chain in PEM before a trust set.
pub fn chain(papers: &Papers, data: &[u8]) {
    let Ok(chain) = files::certificates_from_pem(data) else { return };
    let trust = papers.node.trust();
    let admitted = trust.verify_chain(&chain, NOW);
    let _ = trust.verify_chain_undated(&chain);
    if let Ok(peer) = admitted {
        let issued = papers.certificates();
        assert!(issued.iter().any(|der| **der == **peer.der()), "a leaf was admitted that nobody issued");
    }
}

/// The record of what a CA issued, line by line.
pub fn ca_record(data: &[u8]) {
    ca::fuzz_record(&String::from_utf8_lossy(data));
}

/// A signed version: what is believed says what was signed.
pub fn signed_fact(papers: &Papers, data: &[u8]) {
    let sealed = Bytes::copy_from_slice(data);
    let trust = papers.node.trust();
    let _ = facts::countersign(&papers.node, sealed.clone(), NOW);
    let Ok(checked) = facts::check(trust, sealed) else { return };
    let statement = Sealed::decode(checked.sealed().clone()).expect("a checked version is sealed").statement;
    let signed = papers.facts.iter().filter_map(|fact| Sealed::decode(fact.clone()).ok());
    assert!(signed.into_iter().any(|fact| fact.statement == statement), "a statement is believed that nobody signed");
}

/// What is in every file of [`ages`].
const SEALED: &[u8] = b"all that operators want";

/// The key that opens the files of [`ages`], the same in every run.
fn age_key() -> Vec<sealed::Key> {
    let text = include_str!("age/fixtures/key.txt");
    sealed::Key::parse_all(text).expect("a key")
}

/// Files that were encrypted for the key of these targets, and cheaply with a passphrase.
///
/// # Panics
/// If the system gives no random bytes.
#[must_use]
pub fn ages() -> Vec<Vec<u8>> {
    let recipient = age_key()[0].recipient().expect("its public half");
    let locks = [sealed::Lock::For(vec![recipient]), sealed::Lock::Passphrase("x".to_owned().into())];
    let seal = |lock: &sealed::Lock| {
        let mut sealer = sealed::Sealer::with_work(Vec::new(), lock, 1).expect("a header");
        sealer.write_all(SEALED).expect("a chunk");
        sealer.finish().expect("an end")
    };
    let fixed = include_str!("age/fixtures/recipient.txt").as_bytes().to_vec();
    locks.iter().map(seal).chain([fixed]).collect()
}

/// A file that was encrypted: what comes out of it whole was put in. Only the key is tried on any bytes at all, since a
/// passphrase costs what the file asks for.
pub fn age(data: &[u8]) {
    if let Ok((mut opener, _)) = sealed::Opener::new(data, &sealed::Unlock::Keys(age_key())) {
        let mut content = Vec::new();
        if opener.read_to_end(&mut content).is_ok() {
            assert!(content == SEALED || content == b"well met\n", "something else came out");
        }
    }
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = sealed::Key::parse_all(text);
        if let Ok(recipient) = sealed::Recipient::parse(text) {
            assert!(recipient.to_string().eq_ignore_ascii_case(text), "a key has one spelling");
        }
    }
}
