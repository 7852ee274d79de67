//! The trust set of a bloc, and the proof that a chain was verified against it.

use crate::files::PkiError;
use crate::identity::{Identity, Role, RoleKind};
use crate::key::{PublicKey, verify_signature};
use crate::leaf::{self, Leaf};
use crate::refusal::Refusal;
use crate::{CHAIN_MAX, ROOTS_MAX};
use aws_lc_rs::digest;
use crux_core::facts::scope::Scopes;
use crux_names::{BlocName, Hash256, NodeName};
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;
use webpki::{EndEntityCert, KeyUsage, VerifiedPath, anchor_from_trusted_cert};
use x509_cert::Certificate;
use x509_cert::ext::pkix::{AuthorityKeyIdentifier, SubjectKeyIdentifier};

/// The SHA-256 of a certificate's DER: what people compare. Never what anybody is refused by.
#[must_use]
pub fn fingerprint(der: &[u8]) -> Hash256 {
    Hash256(digest::digest(&digest::SHA256, der).as_ref().try_into().expect("SHA-256 has 32 bytes"))
}

/// The SHA-256 of some strings of bytes, each with its length, so that no two lists are the same.
pub(crate) fn hash_of<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Hash256 {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    Hash256(context.finish().as_ref().try_into().expect("SHA-256 has 32 bytes"))
}

/// A root with its own dates: path validation does not look at a trust anchor's.
#[derive(Clone, Debug)]
struct Root {
    der: CertificateDer<'static>,
    /// The same as path validation takes it: read once.
    anchor: TrustAnchor<'static>,
    /// The key's identifier, by which certificates name it.
    key_id: Option<Vec<u8>>,
    /// The bloc that it says it is for, as our own CA's do: it vouches for no other.
    bloc: Option<BlocName>,
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
        let anchor = anchor_from_trusted_cert(&der).map_err(|e| unusable(&e))?.to_owned();
        let (not_before, not_after) = leaf::validity(&certificate);
        let key_id = certificate.tbs_certificate().get_extension::<SubjectKeyIdentifier>().ok().flatten();
        let key_id = key_id.map(|(_, id)| id.0.as_bytes().to_vec());
        let bloc = bloc_of_root(&der);
        Ok(Self { der, anchor, key_id, bloc, not_before, not_after })
    }
}

/// A bloc and the roots that may vouch for it. Adding and removing roots rotates without a gap.
#[derive(Clone, Debug)]
pub struct Trust {
    bloc: BlocName,
    roots: Vec<Root>,
    /// The hash of both: two sets with the same one vouch for the same.
    id: Hash256,
    /// Nodes that were put out of the bloc, each with its admissions up to the number.
    expelled: Arc<BTreeMap<NodeName, u32>>,
}

/// A verified leaf. Only [`Trust`] can make one, so holding it is the proof.
#[derive(Clone, Debug)]
pub struct Admitted {
    leaf: Leaf,
    chain: Vec<CertificateDer<'static>>,
    not_after: u64,
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
    /// [`Refusal::WrongRole`] for everybody else.
    pub fn node(&self) -> Result<&NodeName, Refusal> {
        match &self.leaf.identity.role {
            Role::Node(name) => Ok(name),
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
        let wanted: Vec<&str> = roles.iter().map(|role| role.with_article()).collect();
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

    /// What it is limited to, if it is an operator's.
    #[must_use]
    pub fn scopes(&self) -> &Scopes {
        &self.leaf.admission.scopes
    }

    /// The end in Unix seconds: links must be cut then. Its own, or that of a CA above it if that comes first.
    #[must_use]
    pub fn not_after(&self) -> u64 {
        self.not_after
    }

    /// The beginning of the certificate itself in Unix seconds.
    #[must_use]
    pub fn not_before(&self) -> u64 {
        self.leaf.not_before
    }

    /// The end of the certificate itself in Unix seconds, whatever is above it: the same wherever it is read.
    #[must_use]
    pub fn own_end(&self) -> u64 {
        self.leaf.not_after
    }

    /// The certificate itself.
    #[must_use]
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.chain[0]
    }

    /// The chain that was shown, leaf first: to ask [`Trust::recheck`] again when the roots have changed.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
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
    /// A trust set of these roots, each a CA certificate. One that is there twice counts once.
    ///
    /// # Errors
    /// [`PkiError::Root`] if there is none, there are too many, or one is no CA certificate.
    pub fn new(bloc: BlocName, roots: impl IntoIterator<Item = CertificateDer<'static>>) -> Result<Self, PkiError> {
        let mut read: Vec<Root> = Vec::new();
        for der in roots {
            if read.iter().all(|root| root.der != der) {
                read.push(Root::read(der)?);
            }
        }
        if let Some(other) = read.iter().filter_map(|root| root.bloc.as_ref()).find(|theirs| **theirs != bloc) {
            return Err(PkiError::Root(format!("a root in it is of bloc {other}, and this is bloc {bloc}")));
        }
        match read.len() {
            0 => Err(PkiError::Root("there is no root in it".to_owned())),
            1..=ROOTS_MAX => {
                let id = hash_of([bloc.as_str().as_bytes()].into_iter().chain(read.iter().map(|root| &root.der[..])));
                Ok(Self { bloc, roots: read, id, expelled: Arc::default() })
            }
            many => Err(PkiError::Root(format!("there are {many} roots in it, and at most {ROOTS_MAX} are used"))),
        }
    }

    /// The same set, refusing these nodes, each up to an admission; replaces what was refused before.
    #[must_use]
    pub fn refusing(self, expelled: Arc<BTreeMap<NodeName, u32>>) -> Self {
        Self { expelled, ..self }
    }

    /// Whom it refuses, up to which admission.
    #[must_use]
    pub fn expelled(&self) -> &Arc<BTreeMap<NodeName, u32>> {
        &self.expelled
    }

    /// The bloc that this set vouches for.
    #[must_use]
    pub fn bloc(&self) -> &BlocName {
        &self.bloc
    }

    /// What its answers about undated chains depend on, as one number: bloc and roots, not who is refused.
    pub(crate) fn id(&self) -> Hash256 {
        self.id
    }

    /// The roots, in DER.
    pub fn roots(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        self.roots.iter().map(|root| &root.der)
    }

    /// The set with one root more: the first half of a rotation.
    ///
    /// # Errors
    /// As [`Trust::new`].
    pub fn with_root(&self, der: CertificateDer<'static>) -> Result<Self, PkiError> {
        Self::new(self.bloc.clone(), self.roots().cloned().chain([der]))
    }

    /// The set without the root of this [`fingerprint`]: the second half of a rotation.
    ///
    /// # Errors
    /// [`PkiError::Root`] if it is not there, [`PkiError::Unfit`] if it is the last one.
    pub fn without_root(&self, which: &Hash256) -> Result<Self, PkiError> {
        let left: Vec<_> = self.roots().filter(|der| fingerprint(der) != *which).cloned().collect();
        if left.len() == self.roots.len() {
            return Err(PkiError::Root(format!("there is no root with the fingerprint {which} in it")));
        }
        if left.is_empty() {
            return Err(PkiError::Unfit(
                "the last root of a trust set cannot be taken out; add the one that follows it first".to_owned(),
            ));
        }
        Self::new(self.bloc.clone(), left)
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
        let ends = match Self::verify_path(&roots, chain, now) {
            // Would a root that has ended have vouched for it? Then say so: the cure is another one.
            Err(Refusal::Untrusted) if roots.len() < self.roots.len() => {
                let all: Vec<&Root> = self.roots.iter().collect();
                Self::verify_path(&all, chain, now).and(Err(Refusal::IssuerExpired))
            }
            other => other,
        }?;
        // Said last: only who is of the bloc by its roots is told that it was put out.
        if let Role::Node(node) = &leaf.identity.role
            && let Some(up_to) = self.expelled.get(node).filter(|up_to| leaf.admission.number <= **up_to)
        {
            return Err(Refusal::Expelled { node: node.to_string(), up_to: *up_to });
        }
        Ok(Self::admit(leaf, chain, ends))
    }

    /// Whether a peer that was admitted once would be admitted now: asked for living links when the roots have changed.
    ///
    /// # Errors
    /// Why its links must be cut.
    pub fn recheck(&self, peer: &Admitted, now: u64) -> Result<Admitted, Refusal> {
        self.verify_chain(&peer.chain, now)
    }

    /// The same for a chain as it came off a connection; answers until when (Unix seconds) it is trusted.
    ///
    /// # Errors
    /// Why its links must be cut.
    pub fn still_trusts(&self, chain: &[CertificateDer<'_>], now: u64) -> Result<u64, Refusal> {
        self.verify_chain(chain, now).map(|peer| peer.not_after)
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
        let ends = Self::verify_path(&self.roots.iter().collect::<Vec<_>>(), chain, at)?;
        Ok(Self::admit(leaf, chain, ends))
    }

    fn admit(leaf: Leaf, chain: &[CertificateDer<'_>], issuers_end: u64) -> Admitted {
        let not_after = leaf.not_after.min(issuers_end);
        Admitted { leaf, chain: chain.iter().map(|der| der.clone().into_owned()).collect(), not_after }
    }

    fn read(&self, chain: &[CertificateDer<'_>]) -> Result<Leaf, Refusal> {
        if chain.len() > CHAIN_MAX {
            return Err(Refusal::LongChain { certificates: chain.len() });
        }
        let leaf = Leaf::read(chain.first().ok_or(Refusal::NoCertificate)?)?;
        if leaf.identity.bloc == self.bloc {
            return Ok(leaf);
        }
        Err(Refusal::OtherBloc { theirs: leaf.identity.bloc.to_string(), ours: self.bloc.to_string() })
    }

    /// The path from the leaf to one of the roots, by webpki; answers when the first CA on it ends.
    fn verify_path(roots: &[&Root], chain: &[CertificateDer<'_>], now: u64) -> Result<u64, Refusal> {
        for der in &chain[1..] {
            if der.len() > crate::CERTIFICATE_MAX {
                return Err(Refusal::TooLarge { bytes: der.len() });
            }
        }
        let anchors: Vec<TrustAnchor<'_>> = roots.iter().map(|root| root.anchor.clone()).collect();
        let at = UnixTime::since_unix_epoch(Duration::from_secs(now));
        let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.all;
        let leaf = EndEntityCert::try_from(&chain[0]).map_err(|e| refusal(&e, roots, chain))?;
        let usage = KeyUsage::server_auth();
        let path = leaf.verify_for_usage(algorithms, &anchors, &chain[1..], at, usage, None, None);
        Self::first_end(&path.map_err(|e| refusal(&e, roots, chain))?, roots)
    }

    fn first_end(path: &VerifiedPath<'_>, roots: &[&Root]) -> Result<u64, Refusal> {
        let anchor = path.anchor();
        let vouches = |root: &&&Root| {
            root.anchor.subject == anchor.subject
                && root.anchor.subject_public_key_info == anchor.subject_public_key_info
        };
        let mut end = roots.iter().filter(vouches).map(|root| root.not_after).max().unwrap_or(0);
        for intermediate in path.intermediate_certificates() {
            end = end.min(leaf::validity(&leaf::decode(&intermediate.der())?).1);
        }
        Ok(end)
    }
}

/// Whether a certificate of the chain names one of these roots, by its key, as the one that signed it.
fn names_a_root(roots: &[&Root], chain: &[CertificateDer<'_>]) -> bool {
    let named = |certificate: &Certificate| {
        let authority = certificate.tbs_certificate().get_extension::<AuthorityKeyIdentifier>().ok().flatten();
        authority.and_then(|(_, authority)| Some(authority.key_identifier?.as_bytes().to_vec()))
    };
    chain
        .iter()
        .filter_map(|der| named(&leaf::decode(der).ok()?))
        .any(|authority| roots.iter().any(|root| root.key_id.as_ref() == Some(&authority)))
}

/// The bloc that a CA's certificate says it is for, if it says so.
pub(crate) fn bloc_of_root(der: &[u8]) -> Option<BlocName> {
    let uri = leaf::uri(&leaf::decode(der).ok()?).ok()?;
    BlocName::parse(uri.strip_prefix("spiffe://")?).ok()
}

/// What path validation found, as our own reason.
fn refusal(error: &webpki::Error, roots: &[&Root], chain: &[CertificateDer<'_>]) -> Refusal {
    use webpki::Error as E;
    match error {
        E::UnknownIssuer => Refusal::Untrusted,
        // Every CA of a bloc bears the bloc's name, so a stranger's signature looks like a wrong one of ours.
        E::InvalidSignatureForPublicKey if !names_a_root(roots, chain) => Refusal::Untrusted,
        E::CertExpired { .. } => Refusal::IssuerExpired,
        E::CertNotValidYet { .. } => Refusal::IssuerNotYetValid,
        E::CaUsedAsEndEntity => Refusal::CaAsLeaf,
        E::EndEntityUsedAsCa => Refusal::LeafAsCa,
        E::MaximumPathDepthExceeded => Refusal::LongChain { certificates: chain.len() },
        E::PathLenConstraintViolated => Refusal::PathLength,
        E::NameConstraintViolation | E::MalformedNameConstraint | E::UnsupportedNameType => Refusal::NameConstraint,
        E::UnsupportedCriticalExtension => Refusal::CriticalExtension,
        E::RequiredEkuNotFoundContext(_) => Refusal::ExtendedKeyUsage,
        E::UnsupportedSignatureAlgorithmContext(_)
        | E::UnsupportedSignatureAlgorithmForPublicKeyContext(_)
        | E::SignatureAlgorithmMismatch => Refusal::SignatureAlgorithm,
        E::BadDer | E::BadDerTime | E::TrailingData(_) | E::UnsupportedCertVersion => {
            Refusal::Unreadable(error.to_string())
        }
        other => Refusal::BadChain(other.to_string()),
    }
}
