//! What a certificate or a bundle says, for people: also when it would be refused.

use crate::bundle::{CERT, TRUST};
use crate::files::{self, PkiError};
use crate::identity::Identity;
use crate::leaf;
use crate::refusal::Refusal;
use crate::trust::Trust;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// One certificate and what would become of it.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// The file that it was read from.
    pub file: PathBuf,
    /// Who it speaks for, if that can be read.
    pub identity: Option<Identity>,
    /// Its subject, for people only.
    pub subject: String,
    /// Its issuer's subject.
    pub issuer: String,
    /// Its serial number in hex.
    pub serial: String,
    /// Start of its life in Unix seconds.
    pub not_before: u64,
    /// End of its life in Unix seconds.
    pub not_after: u64,
    /// The admission number.
    pub admission: u32,
    /// The administrator's labels.
    pub labels: BTreeMap<String, String>,
    /// `Ed25519`, or the object identifier of another algorithm.
    pub key_algorithm: String,
    /// Whether it is a CA's certificate.
    pub ca: bool,
    /// Whether it chains to the `trust.pem` beside it, dates aside; `None` if there is none or it is a CA's.
    pub chains: Option<bool>,
    /// Why it would be refused now, if it would.
    pub refusal: Option<Refusal>,
}

/// Looks at a bundle's directory or at a certificate's file, at `now` in Unix seconds. No private key is read.
///
/// # Errors
/// If there is no file with a PEM certificate. Whatever is wrong with the certificate itself is in the answer.
pub fn inspect(path: &Path, now: u64) -> Result<Inspection, PkiError> {
    let file = if path.is_dir() { path.join(CERT) } else { path.to_owned() };
    let hint = "give a bundle's directory or a PEM certificate";
    let chain = files::read_certificates(&file, hint)?;
    let refused = |refusal| PkiError::Refused { path: file.clone(), refusal };
    let certificate = leaf::decode(&chain[0]).map_err(refused)?;
    let ca = leaf::is_ca(&certificate).map_err(refused)?;
    let identity = leaf::uri(&certificate).and_then(|uri| Identity::parse(&uri)).ok();
    let admission = leaf::admission(&certificate).unwrap_or_default();
    let (not_before, not_after) = leaf::validity(&certificate);
    let key_algorithm = match leaf::public_key(&certificate) {
        Ok(_) => "Ed25519".to_owned(),
        Err(_) => certificate.tbs_certificate().subject_public_key_info().algorithm.oid.to_string(),
    };

    let beside = file.with_file_name(TRUST);
    let trust = match &identity {
        Some(identity) if beside.exists() => {
            Some(Trust::new(identity.bloc.clone(), files::read_certificates(&beside, hint)?)?)
        }
        _ => None,
    };
    let alone = || leaf::Leaf::read(&chain[0]).and_then(|leaf| leaf.check_dates(now));
    let (chains, refusal) = match &trust {
        _ if ca => (None, leaf::check_dates(not_before, not_after, now).err()),
        Some(trust) => (Some(trust.verify_chain_undated(&chain).is_ok()), trust.verify_chain(&chain, now).err()),
        None => (None, alone().err()),
    };
    let tbs = certificate.tbs_certificate();
    Ok(Inspection {
        identity,
        subject: tbs.subject().to_string(),
        issuer: tbs.issuer().to_string(),
        serial: tbs.serial_number().as_bytes().iter().map(|byte| format!("{byte:02x}")).collect(),
        not_before,
        not_after,
        admission: admission.number,
        labels: admission.labels,
        key_algorithm,
        ca,
        chains,
        refusal,
        file,
    })
}
