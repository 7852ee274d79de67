//! The trust set of a bloc, and the proof that a chain was verified against it.

use crate::files::PkiError;
use crate::identity::{Identity, RoleKind};
use crate::key::{PublicKey, verify_signature};
use crate::leaf::{self, Leaf};
use crate::refusal::Refusal;
use crux_names::{BlocName, NodeName};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error as TlsError, RootCertStore};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

/// A root with its own dates: path validation does not look at a trust anchor's.
#[derive(Clone, Debug)]
struct Root {
    der: CertificateDer<'static>,
    /// The same as path validation takes it: read once.
    anchor: TrustAnchor<'static>,
    not_before: u64,
    not_after: u64,
}

impl Root {
    /// The one place where a root is read.
    fn read(der: CertificateDer<'static>) -> Result<Self, PkiError> {
        let unusable = |cause: &dyn Display| PkiError::Root(cause.to_string());
        let certificate = leaf::decode(&der).map_err(|e| unusable(&e))?;
        if !leaf::is_ca(&certificate).map_err(|e| unusable(&e))? {
            return Err(unusable(&"a certificate in it is not a CA's"));
        }
        let mut store = RootCertStore::empty();
        store.add(der.clone()).map_err(|e| unusable(&e))?;
        let anchor = store.roots.pop().ok_or_else(|| unusable(&"a certificate in it is no root"))?;
        let (not_before, not_after) = leaf::validity(&certificate);
        Ok(Self { der, anchor, not_before, not_after })
    }
}

/// A bloc and the roots that may vouch for it. Adding and removing roots rotates without a gap.
#[derive(Clone, Debug)]
pub struct Trust {
    bloc: BlocName,
    roots: Vec<Root>,
}

/// A verified leaf. Only [`Trust`] can make one, so holding it is the proof.
#[derive(Clone, Debug)]
pub struct Admitted {
    leaf: Leaf,
    der: CertificateDer<'static>,
}

impl Admitted {
    /// Bloc and role.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.leaf.identity
    }

    /// The node's name, if this is a node's certificate.
    ///
    /// # Errors
    /// [`Refusal::WrongRole`] for operators and beacons.
    pub fn node(&self) -> Result<&NodeName, Refusal> {
        match &self.leaf.identity.role {
            crate::Role::Node(name) => Ok(name),
            _ => Err(self.wrong_role(&[RoleKind::Node])),
        }
    }

    /// Checks that the role is one of these.
    ///
    /// # Errors
    /// [`Refusal::WrongRole`] names the role found and those wanted.
    pub fn require(&self, roles: &[RoleKind]) -> Result<(), Refusal> {
        if roles.contains(&self.leaf.identity.role.kind()) { Ok(()) } else { Err(self.wrong_role(roles)) }
    }

    fn wrong_role(&self, roles: &[RoleKind]) -> Refusal {
        let wanted: Vec<String> = roles.iter().map(|role| format!("a {role}")).collect();
        Refusal::WrongRole { found: self.leaf.identity.role.to_string(), wanted: wanted.join(" or ") }
    }

    /// How often this node was admitted; expulsion refuses admissions up to a number.
    #[must_use]
    pub fn admission(&self) -> u32 {
        self.leaf.admission.number
    }

    /// The administrator's labels.
    #[must_use]
    pub fn labels(&self) -> &BTreeMap<String, String> {
        &self.leaf.admission.labels
    }

    /// The end of its life in Unix seconds: links must be cut then.
    #[must_use]
    pub fn not_after(&self) -> u64 {
        self.leaf.not_after
    }

    /// The certificate itself.
    #[must_use]
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// Its public key.
    #[must_use]
    pub fn public_key(&self) -> &PublicKey {
        &self.leaf.public_key
    }

    /// Whether this identity signed these bytes in this context.
    #[must_use]
    pub fn signed(&self, context: &str, bytes: &[u8], signature: &[u8]) -> bool {
        verify_signature(&self.leaf.public_key, context, bytes, signature)
    }
}

impl Trust {
    /// A trust set of these roots, each a CA certificate.
    ///
    /// # Errors
    /// [`PkiError::Root`] if there is none, or one is no CA certificate.
    pub fn new(bloc: BlocName, roots: impl IntoIterator<Item = CertificateDer<'static>>) -> Result<Self, PkiError> {
        let roots: Vec<Root> = roots.into_iter().map(Root::read).collect::<Result<_, _>>()?;
        if roots.is_empty() {
            Err(PkiError::Root("there is no root in it".to_owned()))
        } else {
            Ok(Self { bloc, roots })
        }
    }

    /// The bloc that this set vouches for.
    #[must_use]
    pub fn bloc(&self) -> &BlocName {
        &self.bloc
    }

    /// The roots, in DER.
    pub fn roots(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        self.roots.iter().map(|root| &root.der)
    }

    /// Verifies a chain, leaf first, at `now` in Unix seconds.
    ///
    /// # Errors
    /// The first reason found to refuse it.
    pub fn verify_chain(&self, chain: &[CertificateDer<'_>], now: u64) -> Result<Admitted, Refusal> {
        let leaf = self.read(chain)?;
        leaf.check_dates(now)?;
        let roots: Vec<&Root> =
            self.roots.iter().filter(|root| (root.not_before..=root.not_after).contains(&now)).collect();
        match Self::verify_path(&roots, chain, now) {
            // Would a root that has ended have vouched for it? Then say so: the cure is another one.
            Err(Refusal::Untrusted) if roots.len() < self.roots.len() => {
                let all: Vec<&Root> = self.roots.iter().collect();
                Self::verify_path(&all, chain, now).and(Err(Refusal::IssuerExpired))
            }
            other => other,
        }?;
        Ok(Admitted { leaf, der: chain[0].clone().into_owned() })
    }

    /// Verifies the chain of a stored fact: everything but the dates, which were checked when the fact was accepted.
    ///
    /// # Errors
    /// The first reason found to refuse it.
    pub fn verify_chain_undated(&self, chain: &[CertificateDer<'_>]) -> Result<Admitted, Refusal> {
        let leaf = self.read(chain)?;
        // The moment at which the youngest certificate of the chain became valid is one at which all of them should be.
        let mut at = leaf.not_before;
        for der in &chain[1..] {
            at = at.max(leaf::validity(&leaf::decode(der)?).0);
        }
        Self::verify_path(&self.roots.iter().collect::<Vec<_>>(), chain, at)?;
        Ok(Admitted { leaf, der: chain[0].clone().into_owned() })
    }

    fn read(&self, chain: &[CertificateDer<'_>]) -> Result<Leaf, Refusal> {
        let leaf = Leaf::read(chain.first().ok_or(Refusal::NoCertificate)?)?;
        if leaf.identity.bloc == self.bloc {
            return Ok(leaf);
        }
        Err(Refusal::OtherBloc { theirs: leaf.identity.bloc.to_string(), ours: self.bloc.to_string() })
    }

    /// The path from the leaf to one of the roots, by webpki.
    fn verify_path(roots: &[&Root], chain: &[CertificateDer<'_>], now: u64) -> Result<(), Refusal> {
        let store = RootCertStore { roots: roots.iter().map(|root| root.anchor.clone()).collect() };
        let at = UnixTime::since_unix_epoch(Duration::from_secs(now));
        let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.all;
        let parsed = ParsedCertificate::try_from(&chain[0]).map_err(|e| Refusal::Unreadable(e.to_string()))?;
        verify_server_cert_signed_by_trust_anchor(&parsed, &store, &chain[1..], at, algorithms).map_err(|error| {
            match error {
                TlsError::InvalidCertificate(CertificateError::UnknownIssuer) => Refusal::Untrusted,
                TlsError::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
                    Refusal::IssuerExpired
                }
                other => Refusal::BadChain(other.to_string()),
            }
        })
    }
}
