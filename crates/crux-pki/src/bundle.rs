//! A bundle: all that one node, operator or beacon needs to be somebody. In memory, a plain directory, or a tar archive.

use crate::files::{self, PkiError, Source};
use crate::identity::Identity;
use crate::key::Signer;
use crate::leaf::Leaf;
use crate::life::Life;
use crate::refusal::Refusal;
use crate::tar;
use crate::trust::Trust;
use crux_core::facts::scope::Scopes;
use rustls::pki_types::CertificateDer;
use std::collections::BTreeMap;
use std::path::Path;
use zeroize::Zeroizing;

pub(crate) const CERT: &str = "cert.pem";
pub(crate) const KEY: &str = "key.pem";
pub(crate) const TRUST: &str = "trust.pem";
pub(crate) const SETTINGS: &str = "crux.toml";

pub(crate) const HINT: &str = "a bundle is a directory with cert.pem, key.pem and trust.pem, made by `crux ca issue`";
/// How often a directory is read again in which certificate and key do not fit, while its files still change.
const READS: usize = 8;

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

/// A file of a bundle: its name and its bytes.
type Part = (&'static str, Zeroizing<Vec<u8>>);

/// The bytes of a bundle's files, before anybody believes them.
pub(crate) struct Raw {
    cert: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
    trust: Vec<u8>,
    settings: Option<Vec<u8>>,
}

impl Raw {
    fn read(source: &Source) -> Result<Self, PkiError> {
        Ok(Self {
            cert: source.read(CERT, HINT)?,
            key: source.read_secret(KEY, HINT)?,
            trust: source.read(TRUST, HINT)?,
            settings: source.has(SETTINGS).then(|| source.read(SETTINGS, HINT)).transpose()?,
        })
    }
}

impl PartialEq for Raw {
    fn eq(&self, other: &Self) -> bool {
        self.cert == other.cert && *self.key == *other.key && self.trust == other.trust
    }
}

/// The text of a bundle's `crux.toml`, if the path is a bundle that has one. Neither key nor certificate is looked at:
/// settings are wanted before anybody may start.
///
/// # Errors
/// Names the file that cannot be read, and the next step.
pub fn bundle_settings(path: &Path) -> Result<Option<String>, PkiError> {
    let source = Source::open(path, HINT)?;
    let bytes = source.has(SETTINGS).then(|| source.read(SETTINGS, HINT)).transpose()?;
    bytes.map(|bytes| settings_text(&source, bytes)).transpose()
}

fn settings_text(source: &Source, bytes: Vec<u8>) -> Result<String, PkiError> {
    String::from_utf8(bytes).map_err(|_| PkiError::Malformed {
        path: source.path(SETTINGS),
        cause: "it is not UTF-8; it should be TOML as written by `crux ca issue`".to_owned(),
    })
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

    /// Reads a bundle: a directory, or a tar archive of one.
    ///
    /// # Errors
    /// Names the file that is missing, exposed, damaged or against our rules, and the next step.
    pub fn load(path: &Path) -> Result<Self, PkiError> {
        let source = Source::open(path, HINT)?;
        let mut raw = Raw::read(&source)?;
        for _ in 0..READS {
            match Self::from_raw(&source, &raw) {
                // Somebody may be copying a new bundle over it, file by file: it is judged when it stands still.
                Err(error) if matches!(source, Source::Directory(_)) => {
                    let again = Raw::read(&source)?;
                    if again == raw {
                        return Err(error);
                    }
                    raw = again;
                }
                result => return result,
            }
        }
        Self::from_raw(&source, &raw)
    }

    /// Reads a bundle from the bytes of a tar archive; `name` is what errors call it.
    ///
    /// # Errors
    /// Names the file in it that is missing, damaged or against our rules, and the next step.
    pub fn from_tar(bytes: &[u8], name: &Path) -> Result<Self, PkiError> {
        let source = Source::archive(name, bytes, HINT)?;
        let raw = Raw {
            cert: source.read(CERT, HINT)?,
            key: Zeroizing::new(source.read(KEY, HINT)?),
            trust: source.read(TRUST, HINT)?,
            settings: source.has(SETTINGS).then(|| source.read(SETTINGS, HINT)).transpose()?,
        };
        Self::from_raw(&source, &raw)
    }

    fn from_raw(source: &Source, raw: &Raw) -> Result<Self, PkiError> {
        let malformed = |name: &str, cause| PkiError::Malformed { path: source.path(name), cause };
        let chain = files::certificates_from_pem(&raw.cert).map_err(|cause| malformed(CERT, cause))?;
        let refused = |refusal| PkiError::Refused { path: source.path(CERT), refusal };
        if chain.len() > crate::CHAIN_MAX {
            return Err(refused(Refusal::LongChain { certificates: chain.len() }));
        }
        let leaf = Leaf::read(&chain[0]).map_err(refused)?;
        let signer = Signer::from_pem(&raw.key).map_err(|cause| malformed(KEY, cause))?;
        if signer.public_key() != leaf.public_key {
            let cause = format!("it is not the key of {CERT} beside it; copy both files from the same bundle");
            return Err(malformed(KEY, cause));
        }
        let roots = files::certificates_from_pem(&raw.trust).map_err(|cause| malformed(TRUST, cause))?;
        let trust = Trust::new(leaf.identity.bloc.clone(), roots).map_err(|e| malformed(TRUST, e.to_string()))?;
        let settings = raw.settings.clone().map(|bytes| settings_text(source, bytes)).transpose()?;
        Ok(Self { chain, leaf, signer, trust, settings })
    }

    /// Its files by name.
    fn parts(&self) -> Result<Vec<Part>, PkiError> {
        let roots: Vec<_> = self.trust.roots().cloned().collect();
        let secret = |text: &str| Zeroizing::new(text.as_bytes().to_vec());
        let mut parts = vec![
            (KEY, secret(&self.signer.to_pem()?)),
            (CERT, secret(&files::certificates_to_pem(&self.chain)?)),
            (TRUST, secret(&files::certificates_to_pem(&roots)?)),
        ];
        parts.extend(self.settings.as_ref().map(|text| (SETTINGS, secret(text))));
        Ok(parts)
    }

    /// Writes the bundle into a new or empty directory: files 0600, the directory 0700 if it is new.
    ///
    /// # Errors
    /// [`PkiError::Exists`] if any of its files is there already; [`PkiError::Write`].
    pub fn save(&self, dir: &Path) -> Result<(), PkiError> {
        files::prepare(dir, &[CERT, KEY, TRUST, SETTINGS])?;
        self.parts()?.iter().try_for_each(|(name, bytes)| files::write_new(&dir.join(name), bytes))
    }

    /// The bundle as a tar archive of plain files.
    ///
    /// # Errors
    /// [`PkiError::Encode`] or [`PkiError::Random`] if the key cannot be written down.
    pub fn to_tar(&self) -> Result<Zeroizing<Vec<u8>>, PkiError> {
        let parts = self.parts()?;
        let files = parts.iter().map(|(name, bytes)| (*name, bytes.as_slice()));
        Ok(Zeroizing::new(tar::write(files, self.leaf.not_before)))
    }

    /// Writes the bundle as a new tar archive of mode 0600.
    ///
    /// # Errors
    /// [`PkiError::Exists`] if there is something already; [`PkiError::Write`].
    pub fn save_tar(&self, file: &Path) -> Result<(), PkiError> {
        files::write_new(file, &self.to_tar()?)
    }

    /// Writes this bundle over the one at `path`, so that a reader at any moment sees a whole bundle. A directory keeps
    /// its key, since two files cannot be exchanged in one step; an archive may get a new one.
    ///
    /// # Errors
    /// [`PkiError::Malformed`] if a directory would need another key; [`PkiError::Write`].
    pub fn save_over(&self, path: &Path) -> Result<(), PkiError> {
        if !path.is_dir() {
            return files::replace(path, &self.to_tar()?);
        }
        let old = Self::load(path)?;
        if old.signer.public_key() != self.signer.public_key() {
            let cause = "key and certificate cannot be exchanged in one step; keep the key or choose a new directory";
            return Err(PkiError::Malformed { path: path.join(KEY), cause: cause.to_owned() });
        }
        // Roots first: a certificate must never stand there without the root that vouches for it.
        let roots: Vec<_> = self.trust.roots().cloned().collect();
        let roots = files::certificates_to_pem(&roots)?;
        if files::read(&path.join(TRUST), HINT)? != roots.as_bytes() {
            files::replace(&path.join(TRUST), roots.as_bytes())?;
        }
        if self.chain == old.chain {
            return Ok(());
        }
        files::replace(&path.join(CERT), files::certificates_to_pem(&self.chain)?.as_bytes())
    }

    /// Whether our own peers would admit this bundle now (Unix seconds).
    ///
    /// # Errors
    /// The reason they would give. Those that [pass by themselves](Refusal::passes_by_itself) can be waited out.
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

    /// What the certificate is limited to, if it is an operator's.
    #[must_use]
    pub fn scopes(&self) -> &Scopes {
        &self.leaf.admission.scopes
    }

    /// Start and end of the certificate's life in Unix seconds.
    #[must_use]
    pub fn life(&self) -> (u64, u64) {
        (self.leaf.not_before, self.leaf.not_after)
    }

    /// The same, to be asked how late it is.
    #[must_use]
    pub fn lifetime(&self) -> Life {
        Life { not_before: self.leaf.not_before, not_after: self.leaf.not_after }
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

    /// The root of the trust set that vouches for the certificate, whether it is in time or not. `None` if it is in none.
    #[must_use]
    pub fn root(&self) -> Option<CertificateDer<'static>> {
        let vouches = |root: &&CertificateDer<'static>| {
            let alone = Trust::new(self.trust.bloc().clone(), [(*root).clone()]);
            alone.is_ok_and(|trust| trust.verify_chain_undated(&self.chain).is_ok())
        };
        self.trust.roots().find(vouches).cloned()
    }

    /// The same bundle with another trust set of the same bloc.
    ///
    /// # Errors
    /// [`PkiError::Root`] if the set is of another bloc.
    pub fn with_trust(mut self, trust: Trust) -> Result<Self, PkiError> {
        if trust.bloc() != self.trust.bloc() {
            let (theirs, ours) = (trust.bloc(), self.trust.bloc());
            return Err(PkiError::Root(format!("it is of bloc {theirs}, and the certificate of bloc {ours}")));
        }
        self.trust = trust;
        Ok(self)
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
