//! Roots and certificates that are exchanged while a fulcrum lives.
//!
//! A handle is given to TLS once ([`crate::live_server_config`], [`crate::live_client_config`]); what is put into it later
//! counts from the next handshake on. Living links are not touched: whoever holds them asks [`Trust::recheck`] for each
//! peer after an exchange that took a root away, and dials again where the own certificate has changed.

use crate::bundle::Bundle;
use crate::files::PkiError;
use crate::trust::{Trust, fingerprint};
use crux_names::{Hash256, NodeName};
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

/// A value that readers take whole, and that is exchanged whole. The lock is held for the copy of a pointer only.
#[derive(Debug)]
struct Slot<T>(RwLock<Arc<T>>);

impl<T> Slot<T> {
    fn new(value: T) -> Self {
        Self(RwLock::new(Arc::new(value)))
    }

    fn load(&self) -> Arc<T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn replace(&self, value: Arc<T>) -> Arc<T> {
        std::mem::replace(&mut *self.0.write().unwrap_or_else(PoisonError::into_inner), value)
    }
}

/// A handle to a trust set that may be exchanged. Copies share it.
#[derive(Clone, Debug)]
pub struct LiveTrust(Arc<Slot<Trust>>);

impl LiveTrust {
    /// A handle that holds this set for now.
    #[must_use]
    pub fn new(trust: Trust) -> Self {
        Self(Arc::new(Slot::new(trust)))
    }

    /// The set that counts now.
    #[must_use]
    pub fn load(&self) -> Arc<Trust> {
        self.0.load()
    }

    /// Lets another set count from now on; answers what has changed.
    ///
    /// # Errors
    /// [`PkiError::Unfit`] if it is of another bloc.
    pub fn replace(&self, trust: Trust) -> Result<RootChange, PkiError> {
        let old = self.0.load();
        if old.bloc() != trust.bloc() {
            return Err(PkiError::Unfit(format!("its roots are for bloc {}, not {}", trust.bloc(), old.bloc())));
        }
        let old = self.0.replace(Arc::new(trust));
        Ok(RootChange::between(&old, &self.0.load()))
    }
}

impl From<Arc<Trust>> for LiveTrust {
    fn from(trust: Arc<Trust>) -> Self {
        Self(Arc::new(Slot(RwLock::new(trust))))
    }
}

impl From<Trust> for LiveTrust {
    fn from(trust: Trust) -> Self {
        Self::new(trust)
    }
}

/// Which roots an exchange brought and took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RootChange {
    /// Fingerprints of the new ones.
    pub added: Vec<Hash256>,
    /// Fingerprints of those that are gone: links of peers that only they vouch for must be cut.
    pub removed: Vec<Hash256>,
}

impl RootChange {
    fn between(old: &Trust, new: &Trust) -> Self {
        let set = |trust: &Trust| trust.roots().map(|der| fingerprint(der)).collect::<BTreeSet<_>>();
        let (old, new) = (set(old), set(new));
        Self { added: new.difference(&old).copied().collect(), removed: old.difference(&new).copied().collect() }
    }
}

/// What taking a new bundle changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleChange {
    /// Whether the certificate is another one: peers learn it by the next handshake.
    pub certificate: bool,
    /// The roots.
    pub roots: RootChange,
}

impl BundleChange {
    /// Whether nothing is different.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        !self.certificate && self.roots == RootChange::default()
    }
}

/// A bundle and its key as TLS wants it, exchanged together.
#[derive(Debug)]
struct Shown {
    bundle: Arc<Bundle>,
    key: Arc<CertifiedKey>,
}

impl Shown {
    fn new(bundle: Bundle) -> Result<Self, PkiError> {
        let key = bundle.signer().rustls_key()?;
        let certified = CertifiedKey::from_der(bundle.chain().to_vec(), key, &aws_lc_rs::default_provider());
        let certified = certified.map_err(|e| PkiError::Tls(e.to_string()))?;
        Ok(Self { bundle: Arc::new(bundle), key: Arc::new(certified) })
    }
}

/// A handle to a bundle that may be exchanged. Copies share it.
#[derive(Clone, Debug)]
pub struct LiveBundle {
    shown: Arc<Slot<Shown>>,
    trust: LiveTrust,
}

impl LiveBundle {
    /// A handle that shows this bundle and trusts its roots for now.
    ///
    /// # Errors
    /// [`PkiError::Tls`] if key and certificate cannot be used together.
    pub fn new(bundle: Bundle) -> Result<Self, PkiError> {
        let trust = LiveTrust::new(bundle.trust().clone());
        Self::with_trust(bundle, trust)
    }

    /// The same with roots that are held elsewhere.
    pub(crate) fn with_trust(bundle: Bundle, trust: LiveTrust) -> Result<Self, PkiError> {
        Ok(Self { shown: Arc::new(Slot::new(Shown::new(bundle)?)), trust })
    }

    /// The bundle that counts now.
    #[must_use]
    pub fn load(&self) -> Arc<Bundle> {
        self.shown.load().bundle.clone()
    }

    /// The trust set that counts now, and its handle.
    #[must_use]
    pub fn trust(&self) -> &LiveTrust {
        &self.trust
    }

    /// Takes a new bundle at `now` (Unix seconds), roots before certificate, if it is for the same identity, of the same
    /// admission or a later one, and would be admitted by its own roots. Otherwise nothing changes.
    ///
    /// # Errors
    /// [`PkiError::Unfit`] says why it is not taken; [`PkiError::Tls`] if key and certificate cannot be used together.
    pub fn replace(&self, bundle: Bundle, now: u64) -> Result<BundleChange, PkiError> {
        let old = self.load();
        if old.identity() != bundle.identity() {
            return Err(PkiError::Unfit(format!("it is of {}, not of {}", bundle.identity(), old.identity())));
        }
        if bundle.admission() < old.admission() {
            let (new, old) = (bundle.admission(), old.admission());
            return Err(PkiError::Unfit(format!("its admission {new} is older than {old}, which is in use")));
        }
        bundle.check(now).map_err(|refusal| PkiError::Unfit(refusal.to_string()))?;
        let certificate = old.chain() != bundle.chain();
        // A bundle says nothing of who was expelled.
        let trust = bundle.trust().clone().refusing(self.trust.load().expelled().clone());
        let shown = Shown::new(bundle)?;
        let roots = self.trust.replace(trust)?;
        self.shown.replace(Arc::new(shown));
        Ok(BundleChange { certificate, roots })
    }

    /// Refuses these nodes from now on, each up to an admission; replaces what was refused before.
    ///
    /// # Errors
    /// None that can come: the set stays of its bloc.
    pub fn refuse(&self, expelled: Arc<BTreeMap<NodeName, u32>>) -> Result<(), PkiError> {
        let trust = Trust::clone(&self.trust.load()).refusing(expelled);
        self.trust.replace(trust).map(|_| ())
    }

    fn key(&self, schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let shown = self.shown.load();
        shown.key.key.choose_scheme(schemes).is_some().then(|| shown.key.clone())
    }
}

impl ResolvesServerCert for LiveBundle {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.key(hello.signature_schemes())
    }
}

impl ResolvesClientCert for LiveBundle {
    fn resolve(&self, _: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.key(schemes)
    }

    fn has_certs(&self) -> bool {
        true
    }
}
