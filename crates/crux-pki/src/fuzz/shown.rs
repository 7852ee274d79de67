//! Chains as a stranger may show them at a door, each with its key, so that a real handshake can be made with it: good
//! ones, and such as must be refused, each for a reason of its own. The whole table of reasons is in this crate's `corpus`.

use crate::extension::Admission;
use crate::key::Signer;
use crate::mint::{CLIENT_AUTH, Draft, SERVER_AUTH, subject};
use crate::{BACKDATE, CHAIN_MAX, Ca, DAY, RoleKind};
use crux_names::NodeName;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::CertificateDer;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use std::sync::Arc;
use x509_cert::der::asn1::{ObjectIdentifier, OctetString};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::KeyUsages;

/// The alternative names of a subject (RFC 5280, 4.2.1.6).
const SAN: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");
/// The tags of a sequence, and of a URI among alternative names.
const SEQUENCE: u8 = 0x30;
const URI: u8 = 0x86;

/// A chain, what must become of it, and what shows it.
pub struct Shown {
    /// What it is, for people.
    pub name: &'static str,
    /// Words of the reason for which it must be refused; nothing if it must be let in.
    pub refused: Option<&'static str>,
    /// The chain, leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// Shows it and proves its key, on either side of a handshake.
    pub resolver: Arc<SingleCertAndKey>,
}

/// Signs what a CA of ours never would.
struct Maker<'a> {
    ca: &'a Ca,
    node: &'a NodeName,
    now: u64,
}

/// A change to the certificate of a level: 0 is nearest to the root, the leaf is the last.
type Change<'a> = &'a dyn Fn(usize, &mut Draft);

impl Maker<'_> {
    fn leaf(&self) -> Draft {
        let bloc = self.ca.bloc();
        Draft {
            subject: subject(bloc.as_str(), self.node.as_str()),
            issuer: None,
            uris: vec![format!("spiffe://{bloc}/node/{}", self.node)],
            ca: false,
            path_length: None,
            key_usage: Some(KeyUsages::DigitalSignature.into()),
            extended_key_usage: Some(vec![SERVER_AUTH, CLIENT_AUTH]),
            not_before: self.now - BACKDATE,
            not_after: self.now + 30 * DAY,
            admission: Some(Admission::default()),
            extra: Vec::new(),
        }
    }

    fn intermediate(&self, level: usize) -> Draft {
        Draft {
            subject: subject(self.ca.bloc().as_str(), &format!("ca{level}")),
            uris: Vec::new(),
            ca: true,
            key_usage: Some(KeyUsages::KeyCertSign.into()),
            extended_key_usage: None,
            admission: None,
            ..self.leaf()
        }
    }

    /// A leaf below this many CAs that are no roots.
    fn shown(&self, name: &'static str, refused: Option<&'static str>, between: usize, change: Change<'_>) -> Shown {
        let bloc = self.ca.bloc();
        let (mut issuer, mut signer) = (subject(bloc.as_str(), &format!("{bloc} root")), self.ca.signer().clone());
        let mut chain = Vec::new();
        for level in 0..=between {
            let mut draft = if level < between { self.intermediate(level) } else { self.leaf() };
            draft.issuer = Some(issuer);
            change(level, &mut draft);
            issuer = draft.subject.clone();
            let key = Signer::generate().expect("a key");
            chain.insert(0, draft.sign(&key.public_key(), &signer).expect("a certificate"));
            signer = key;
        }
        let key = any_supported_type(&signer.rustls_key().expect("a key")).expect("a key that signs");
        let resolver = Arc::new(SingleCertAndKey::from(CertifiedKey::new(chain.clone(), key)));
        Shown { name, refused, chain, resolver }
    }

    /// The same for a leaf that the root signed itself.
    fn alone(&self, name: &'static str, refused: Option<&'static str>, change: &dyn Fn(&mut Draft)) -> Shown {
        self.shown(name, refused, 0, &|_, draft| change(draft))
    }
}

/// An extension with one name, a URI of any bytes: the string type of URIs takes ASCII only.
fn raw_uri(uri: &str) -> Extension {
    let short = |length: usize| u8::try_from(length).ok().filter(|length| *length < 0x80).expect("a short URI");
    let mut value = vec![SEQUENCE, short(uri.len() + 2), URI, short(uri.len())];
    value.extend(uri.as_bytes());
    Extension { extn_id: SAN, critical: false, extn_value: OctetString::new(value).expect("a short value") }
}

/// What a stranger may show that says, or seems to say, that it is this node of this CA's bloc: some that must be let in,
/// then those that must be refused. `now` is in Unix seconds. Nothing of it is recorded as issued.
///
/// # Panics
/// If the system gives no random bytes, or for a name of more than a hundred bytes.
#[must_use]
pub fn shown(ca: &Ca, node: &NodeName, now: u64) -> Vec<Shown> {
    let maker = Maker { ca, node, now };
    let uri = format!("spiffe://{}/node/{node}", ca.bloc());
    // What a node could make with its own key, if a leaf vouched for anybody.
    let colleague = |level: usize, draft: &mut Draft| {
        if level == 0 {
            draft.subject = subject(ca.bloc().as_str(), "colleague");
            draft.uris = vec![format!("spiffe://{}/node/colleague", ca.bloc())];
            (draft.ca, draft.key_usage) = (false, Some(KeyUsages::DigitalSignature.into()));
        }
    };
    let flat = |level: usize, draft: &mut Draft| {
        if level == 0 {
            draft.path_length = Some(0);
        }
    };
    let too_long = u64::from(RoleKind::Node.max_days()) + 1;
    let intermediates = CHAIN_MAX - 1;
    vec![
        maker.alone("a node", None, &|_| {}),
        maker.shown("a node under as many CAs as may be", None, intermediates, &|_, _| {}),
        maker.alone("two URIs", Some("certificate with 2 URIs"), &|draft| {
            draft.uris.push(format!("spiffe://{}/node/other", ca.bloc()));
        }),
        maker.alone("a CA as a leaf", Some("a CA certificate may not be used by a node"), &|draft| draft.ca = true),
        maker.alone("a leaf that may sign certificates", Some("it may sign certificates or CRLs"), &|draft| {
            draft.key_usage = Some(KeyUsages::DigitalSignature | KeyUsages::KeyCertSign);
        }),
        maker.alone("a leaf for clients only", Some("both serverAuth and clientAuth are needed"), &|draft| {
            draft.extended_key_usage = Some(vec![CLIENT_AUTH]);
        }),
        maker.alone("a life that is too long", Some("with a life of 401 days"), &|draft| {
            draft.not_after = draft.not_before + too_long * DAY;
        }),
        maker.alone("not yet valid", Some("certificate not valid for another"), &|draft| {
            draft.not_before = now + 3_600;
        }),
        maker.alone("a NUL behind the name", Some("has a control character"), &|draft| {
            draft.uris = vec![format!("{uri}\0.elsewhere")];
        }),
        maker.alone(
            "a letter that looks like another",
            Some("that is not ASCII and may look like another"),
            &|draft| {
                // A Cyrillic o.
                (draft.uris, draft.extra) = (Vec::new(), vec![raw_uri(&uri.replacen("node", "n\u{43e}de", 1))]);
            },
        ),
        maker.shown("a CA too many", Some("a chain of 8 certificates"), intermediates + 1, &|_, _| {}),
        maker.shown("a CA below one that permits none", Some("permits fewer intermediates"), 2, &flat),
        maker.shown("signed by a colleague", Some("is no CA's, so it vouches for nobody"), 1, &colleague),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::NOW;
    use crate::trust::Trust;

    #[test]
    fn each_is_what_it_says() {
        let ca = Ca::in_memory_at("acme".parse().unwrap(), NOW).unwrap();
        let trust = Trust::new(ca.bloc().clone(), [ca.root().clone()]).unwrap();
        for shown in shown(&ca, &"n1".parse().unwrap(), NOW) {
            let verdict = trust.verify_chain(&shown.chain, NOW);
            match shown.refused {
                None => assert_eq!(verdict.unwrap().node().unwrap().as_str(), "n1", "{}", shown.name),
                Some(words) => {
                    let refusal = verdict.expect_err(shown.name).to_string();
                    assert!(refusal.contains(words), "{}: {refusal}", shown.name);
                }
            }
        }
    }
}
