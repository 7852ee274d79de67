//! What a certificate or a bundle says, for people: also when it would be refused.

use crate::bundle::{CERT, KEY, SETTINGS, TRUST};
use crate::extension::Admission;
use crate::files::{self, PkiError, Source};
use crate::identity::{Identity, RoleKind};
use crate::key::Signer;
use crate::leaf;
use crate::life::Life;
use crate::refusal::Refusal;
use crate::trust::{Trust, bloc_of_root, fingerprint};
use crate::{ca, roots, tar};
use crux_core::facts::scope::Scopes;
use crux_names::Hash256;
use rustls::pki_types::CertificateDer;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use x509_cert::Certificate;
use x509_cert::der::Decode;

const HINT: &str = "give a bundle, a CA's directory, or a PEM or DER certificate";

/// What every certificate says, a root's too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
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
    /// `Ed25519`, `P-256`, another well-known name, or the object identifier of the algorithm.
    pub key_algorithm: String,
    /// Whether it is a CA's certificate.
    pub ca: bool,
    /// The SHA-256 of its DER.
    pub fingerprint: Hash256,
}

impl Summary {
    /// What the certificate says, if these bytes are one.
    #[must_use]
    pub fn of(der: &[u8]) -> Option<Self> {
        Self::read(der).map(|(summary, _)| summary)
    }

    fn read(der: &[u8]) -> Option<(Self, Certificate)> {
        let certificate = Certificate::from_der(der).ok()?;
        let tbs = certificate.tbs_certificate();
        let (not_before, not_after) = leaf::validity(&certificate);
        let summary = Self {
            subject: tbs.subject().to_string(),
            issuer: tbs.issuer().to_string(),
            serial: tbs.serial_number().as_bytes().iter().map(|byte| format!("{byte:02x}")).collect(),
            not_before,
            not_after,
            key_algorithm: leaf::key_algorithm(&certificate),
            ca: leaf::is_ca(&certificate).unwrap_or_default(),
            fingerprint: fingerprint(der),
        };
        Some((summary, certificate))
    }

    fn all(chain: &[CertificateDer<'_>]) -> Vec<Self> {
        chain.iter().filter_map(|der| Self::of(der)).collect()
    }
}

/// What was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A bundle's directory.
    Bundle,
    /// A bundle as a tar archive.
    Archive,
    /// A CA's directory.
    Ca,
    /// A file with certificates.
    File,
}

/// Whether the private key beside a certificate can be used. The key itself is never in an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// It belongs to the certificate.
    Fits,
    /// It cannot be used: cause and next step.
    Bad(String),
}

/// What to judge by, beside the certificate's own bundle.
#[derive(Clone, Debug, Default)]
pub struct Judge {
    /// Roots to use instead of the `trust.pem` beside it; see [`roots_of`](crate::roots_of).
    pub trust: Option<PathBuf>,
    /// The roles that would be admitted; all if empty.
    pub roles: Vec<RoleKind>,
}

/// One certificate and what would become of it.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// The file that it was read from.
    pub file: PathBuf,
    /// Where that file lies.
    pub place: Place,
    /// Who it speaks for, if that can be read.
    pub identity: Option<Identity>,
    /// Its only URI as it stands there, if there is exactly one.
    pub uri: Option<String>,
    /// The certificate itself, if it can be read at all.
    pub certificate: Option<Summary>,
    /// The admission number; 1 where none is written.
    pub admission: u32,
    /// The administrator's labels.
    pub labels: BTreeMap<String, String>,
    /// What it is limited to, if it is an operator's.
    pub scopes: Scopes,
    /// The certificates after the leaf, in order.
    pub chain: Vec<Summary>,
    /// The roots that it was judged by.
    pub roots: Vec<Summary>,
    /// Whether it chains to one of these roots, dates aside; `None` if there are none or it is a CA's.
    pub chains: Option<bool>,
    /// The private key, if this is a bundle.
    pub key: Option<KeyState>,
    /// What else is wrong with the bundle: cause and next step each.
    pub problems: Vec<String>,
    /// Why the certificate would be refused now, if it would.
    pub refusal: Option<Refusal>,
}

impl Inspection {
    /// From when to when it is valid.
    #[must_use]
    pub fn life(&self) -> Option<Life> {
        let certificate = self.certificate.as_ref()?;
        Some(Life { not_before: certificate.not_before, not_after: certificate.not_after })
    }

    /// Whether a fulcrum or a command could use it now.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.refusal.is_none() && self.problems.is_empty() && !matches!(self.key, Some(KeyState::Bad(_)))
    }
}

/// Looks at a bundle, a CA's directory or a certificate's file, at `now` in Unix seconds.
///
/// # Errors
/// If there is nothing with a certificate. Whatever is wrong with the certificate itself is in the answer.
pub fn inspect(path: &Path, now: u64) -> Result<Inspection, PkiError> {
    inspect_by(path, &Judge::default(), now)
}

/// The same, judged by other roots or for certain roles only.
///
/// # Errors
/// As [`inspect`], and if the other roots cannot be read.
pub fn inspect_by(path: &Path, judge: &Judge, now: u64) -> Result<Inspection, PkiError> {
    let (place, file, chain, source) = look(path)?;
    let (mut key, mut problems, mut trusted) = (None, Vec::new(), None);
    if let Some(source) = &source {
        key = Some(key_state(source, &chain[0]));
        match source.certificates(TRUST, HINT) {
            Ok(roots) => trusted = Some(roots),
            Err(error) => problems.push(error.to_string()),
        }
        if source.has(SETTINGS) && !source.read(SETTINGS, HINT).is_ok_and(|text| String::from_utf8(text).is_ok()) {
            problems.push(format!("{} is not UTF-8; it should be TOML", source.path(SETTINGS).display()));
        }
    } else if place == Place::File && judge.trust.is_none() {
        let beside = file.with_file_name(TRUST);
        if beside.exists() {
            match files::read_certificates(&beside, HINT) {
                Ok(roots) => trusted = Some(roots),
                Err(error) => problems.push(error.to_string()),
            }
        }
    }
    if let Some(path) = &judge.trust {
        trusted = Some(roots::roots_of(path)?);
    }

    let found = Summary::read(&chain[0]);
    let (uri, admission) = match &found {
        Some((_, certificate)) => (leaf::uri(certificate).ok(), leaf::admission(certificate).unwrap_or_default()),
        None => (None, Admission::default()),
    };
    let identity = uri.as_deref().and_then(|uri| Identity::parse(uri).ok());
    let certificate = found.map(|(summary, _)| summary);
    // A CA's certificate by itself is one; in a bundle, or where a role is asked for, it is a leaf that must be refused.
    let alone = matches!(place, Place::Ca | Place::File) && judge.trust.is_none() && judge.roles.is_empty();
    let ca = alone && certificate.as_ref().is_some_and(|summary| summary.ca);
    let (chains, refusal) = match &certificate {
        // A root needs no root beside it.
        Some(summary) if ca => {
            problems.clear();
            (None, leaf::check_dates(summary.not_before, summary.not_after, now).err())
        }
        _ => verdict(&chain, trusted.as_deref(), &judge.roles, now, &mut problems),
    };
    Ok(Inspection {
        identity,
        uri,
        certificate,
        admission: admission.number,
        labels: admission.labels,
        scopes: admission.scopes,
        chain: Summary::all(&chain[1..]),
        roots: trusted.as_deref().map(Summary::all).unwrap_or_default(),
        chains,
        key,
        problems,
        refusal,
        place,
        file,
    })
}

type Found = (Place, PathBuf, Vec<CertificateDer<'static>>, Option<Source>);

/// The certificates at a path, and the bundle that they are of.
fn look(path: &Path) -> Result<Found, PkiError> {
    if path.is_dir() {
        let source = Source::open(path, HINT)?;
        if source.has(ca::CERT) && !source.has(CERT) {
            return Ok((Place::Ca, source.path(ca::CERT), source.certificates(ca::CERT, HINT)?, None));
        }
        return Ok((Place::Bundle, source.path(CERT), source.certificates(CERT, HINT)?, Some(source)));
    }
    let bytes = files::read(path, HINT)?;
    if tar::is_tar(&bytes) || tar::compression(&bytes).is_some() {
        let source = Source::archive(path, &bytes, HINT)?;
        return Ok((Place::Archive, path.to_owned(), source.certificates(CERT, HINT)?, Some(source)));
    }
    let malformed = |cause| PkiError::Malformed { path: path.to_owned(), cause };
    Ok((Place::File, path.to_owned(), files::certificates_from_any(&bytes).map_err(malformed)?, None))
}

fn key_state(source: &Source, leaf: &[u8]) -> KeyState {
    let signer = match source.read_secret(KEY, HINT) {
        Ok(text) => Signer::from_pem(&text).map_err(|cause| format!("{}: {cause}", source.path(KEY).display())),
        Err(error) => Err(error.to_string()),
    };
    let certified = leaf::decode(leaf).and_then(|certificate| leaf::public_key(&certificate));
    match signer {
        Err(cause) => KeyState::Bad(cause),
        Ok(signer) if certified.is_ok_and(|key| key == signer.public_key()) => KeyState::Fits,
        Ok(_) => {
            let path = source.path(KEY);
            KeyState::Bad(format!("{} is not the key of {CERT} beside it; copy both from one bundle", path.display()))
        }
    }
}

/// Whether it chains, and why it would be refused.
fn verdict(
    chain: &[CertificateDer<'static>],
    roots: Option<&[CertificateDer<'static>]>,
    roles: &[RoleKind],
    now: u64,
    problems: &mut Vec<String>,
) -> (Option<bool>, Option<Refusal>) {
    let leaf = match leaf::Leaf::read(&chain[0]) {
        Ok(leaf) => leaf,
        Err(refusal) => return (None, Some(refusal)),
    };
    let Some(roots) = roots else { return (None, leaf.check_dates(now).err()) };
    let bloc = roots.iter().find_map(|der| bloc_of_root(der)).unwrap_or_else(|| leaf.identity.bloc.clone());
    match Trust::new(bloc, roots.iter().cloned()) {
        Ok(trust) => {
            let admitted = trust.verify_chain(chain, now);
            let admitted = admitted.and_then(|peer| if roles.is_empty() { Ok(()) } else { peer.require(roles) });
            (Some(trust.verify_chain_undated(chain).is_ok()), admitted.err())
        }
        Err(error) => {
            problems.push(error.to_string());
            (Some(false), leaf.check_dates(now).err())
        }
    }
}
