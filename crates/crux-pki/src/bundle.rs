//! A bundle: all that one node, operator or beacon needs to be somebody. In memory, or a plain directory.

use crate::files::{self, PkiError};
use crate::identity::Identity;
use crate::key::Signer;
use crate::leaf::Leaf;
use crate::refusal::Refusal;
use crate::trust::Trust;
use rustls::pki_types::CertificateDer;
use std::collections::BTreeMap;
use std::path::Path;

pub(crate) const CERT: &str = "cert.pem";
pub(crate) const KEY: &str = "key.pem";
pub(crate) const TRUST: &str = "trust.pem";
const SETTINGS: &str = "crux.toml";

const HINT: &str = "a bundle is a directory with cert.pem, key.pem and trust.pem, made by `crux ca issue`";

/// Certificate chain, key, roots and optional settings. That it could be loaded says that key and certificate belong
/// together and that the certificate obeys our rules; its dates and path are checked by [`Bundle::check`].
#[derive(Clone, Debug)]
pub struct Bundle {
    chain: Vec<CertificateDer<'static>>,
    leaf: Leaf,
    signer: Signer,
    trust: Trust,
    settings: Option<String>,
}

impl Bundle {
    pub(crate) fn new(
        chain: Vec<CertificateDer<'static>>,
        signer: Signer,
        roots: Vec<CertificateDer<'static>>,
        settings: Option<String>,
    ) -> Result<Self, PkiError> {
        let leaf = Leaf::read(chain.first().ok_or_else(|| PkiError::Root("no certificate".to_owned()))?)
            .map_err(|refusal| PkiError::Refused { path: CERT.into(), refusal })?;
        let trust = Trust::new(leaf.identity.bloc.clone(), roots)?;
        Ok(Self { chain, leaf, signer, trust, settings })
    }

    /// Reads a bundle's directory.
    ///
    /// # Errors
    /// Names the file that is missing, exposed, damaged or against our rules, and the next step.
    pub fn load(dir: &Path) -> Result<Self, PkiError> {
        let cert = dir.join(CERT);
        let chain = files::read_certificates(&cert, HINT)?;
        let leaf = Leaf::read(&chain[0]).map_err(|refusal| PkiError::Refused { path: cert, refusal })?;
        let key = dir.join(KEY);
        let malformed = |path: &Path, cause| PkiError::Malformed { path: path.to_owned(), cause };
        let signer = Signer::from_pem(&files::read_secret(&key, HINT)?).map_err(|cause| malformed(&key, cause))?;
        if signer.public_key() != leaf.public_key {
            let cause = format!("it is not the key of {CERT} beside it; copy both files from the same bundle");
            return Err(malformed(&key, cause));
        }
        let trust = dir.join(TRUST);
        let roots = files::read_certificates(&trust, HINT)?;
        let trust = Trust::new(leaf.identity.bloc.clone(), roots).map_err(|e| malformed(&trust, e.to_string()))?;
        let settings = dir.join(SETTINGS);
        let settings = match settings.exists() {
            true => Some(String::from_utf8(files::read(&settings, HINT)?).map_err(|_| {
                malformed(&settings, "it is not UTF-8; it should be TOML as written by `crux ca issue`".to_owned())
            })?),
            false => None,
        };
        Ok(Self { chain, leaf, signer, trust, settings })
    }

    /// Writes the bundle into a new or empty directory: files 0600, the directory 0700 if it is new.
    ///
    /// # Errors
    /// [`PkiError::Exists`] if any of its files is there already; [`PkiError::Write`].
    pub fn save(&self, dir: &Path) -> Result<(), PkiError> {
        files::prepare(dir, &[CERT, KEY, TRUST, SETTINGS])?;
        let roots: Vec<_> = self.trust.roots().cloned().collect();
        files::write_new(&dir.join(KEY), self.signer.to_pem()?.as_bytes())?;
        files::write_new(&dir.join(CERT), files::certificates_to_pem(&self.chain)?.as_bytes())?;
        files::write_new(&dir.join(TRUST), files::certificates_to_pem(&roots)?.as_bytes())?;
        match &self.settings {
            Some(text) => files::write_new(&dir.join(SETTINGS), text.as_bytes()),
            None => Ok(()),
        }
    }

    /// Whether our own peers would admit this bundle now (Unix seconds).
    ///
    /// # Errors
    /// The reason they would give. [`Refusal::ClockWrong`] and [`Refusal::NotYetValid`] can be waited out.
    pub fn check(&self, now: u64) -> Result<(), Refusal> {
        self.trust.verify_chain(&self.chain, now).map(drop)
    }

    /// Who this bundle makes its owner.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.leaf.identity
    }

    /// The admission number in the certificate.
    #[must_use]
    pub fn admission(&self) -> u32 {
        self.leaf.admission.number
    }

    /// The labels in the certificate.
    #[must_use]
    pub fn labels(&self) -> &BTreeMap<String, String> {
        &self.leaf.admission.labels
    }

    /// Start and end of the certificate's life in Unix seconds.
    #[must_use]
    pub fn life(&self) -> (u64, u64) {
        (self.leaf.not_before, self.leaf.not_after)
    }

    /// The chain, leaf first.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// The bloc's trust set, as this bundle came with it.
    #[must_use]
    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    /// Signs with this bundle's key.
    #[must_use]
    pub fn signer(&self) -> &Signer {
        &self.signer
    }

    /// The text of the bundle's `crux.toml`, if it has one.
    #[must_use]
    pub fn settings(&self) -> Option<&str> {
        self.settings.as_deref()
    }

    /// A secret that only the owner of this key knows: the same after each restart, another for each label.
    #[must_use]
    pub fn derive(&self, label: &str) -> [u8; 32] {
        self.signer.derive(label)
    }
}
