//! One door for any bytes at all: what reads certificates, keys and archives of others must come back from each of them.

use crate::bundle::Bundle;
use crate::files;
use crate::identity::Identity;
use crate::key::Signer;
use crate::leaf::Leaf;
use crate::trust::Trust;
use crate::{extension, tar};
use crux_names::BlocName;
use rustls::pki_types::CertificateDer;
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
