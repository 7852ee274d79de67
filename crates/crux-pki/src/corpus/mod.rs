//! Certificates that must be refused, each for its own reason: made here, judged by the verifier and by `inspect`, and
//! damaged in every way for whoever reads them.

mod cases;
mod rules;
mod sweep;

use crate::DAY;
use crate::extension::Admission;
use crate::key::Signer;
use crate::mint::{CLIENT_AUTH, Draft, SERVER_AUTH, subject};
use crate::refusal::Refusal;
use crate::trust::Trust;
use crux_names::BlocName;
use rustls::pki_types::CertificateDer;
use x509_cert::ext::pkix::KeyUsages;

pub(crate) const NOW: u64 = crate::BUILD_DATE + 100 * DAY;

pub(crate) struct World {
    root: Signer,
    root_der: CertificateDer<'static>,
    trust: Trust,
}

fn root_draft(not_before: u64, not_after: u64) -> Draft {
    Draft {
        subject: subject("acme", "acme root"),
        issuer: None,
        uris: vec!["spiffe://acme".to_owned()],
        ca: true,
        path_length: None,
        key_usage: Some(KeyUsages::KeyCertSign.into()),
        extended_key_usage: None,
        not_before,
        not_after,
        admission: None,
        extra: Vec::new(),
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
        path_length: None,
        key_usage: Some(KeyUsages::DigitalSignature.into()),
        extended_key_usage: Some(vec![SERVER_AUTH, CLIENT_AUTH]),
        not_before: NOW - DAY,
        not_after: NOW + 364 * DAY,
        admission: Some(Admission::default()),
        extra: Vec::new(),
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
