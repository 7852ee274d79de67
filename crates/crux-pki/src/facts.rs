//! Signing and checking of fact versions.
//!
//! | who | what | when |
//! |---|---|---|
//! | the operator's client | [`seal`]: signs the statement | when something is wanted |
//! | the fulcrum at whose door it comes | [`countersign`], or for many a [`Desk`]: judges the operator's certificate, dates included, and signs | once |
//! | a node, for its own row | [`sign_row`]: author and acceptor in one | when it changes |
//! | everybody else | [`check`], or for many a [`Checker`]: chains, roles, names and both signatures, but no dates | on receipt, and from disk |
//!
//! So a fact outlives the certificate that wrote it, and a clock that is wrong here refuses nothing that was right there.
//! One thing about dates everybody can tell without a clock: a version that is stamped after its author's certificate ended.
//! No honest door lets one in, so there was none, or it lied (decision 20).
//! Whether this author may write that path is not judged here but in the heart, by a table. Only what the author's own
//! certificate is limited to is judged here, by everybody: [`Scopes`](crux_core::facts::scope::Scopes) are a property of
//! that certificate which never changes, so all come to the same answer, and no door can let an operator do more.

use crate::CHAIN_MAX;
use crate::bundle::Bundle;
use crate::identity::Role;
use crate::refusal::Refusal;
use crate::trust::{Admitted, Trust, hash_of};
use bytes::Bytes;
use crux_core::facts::Certificate;
use crux_core::facts::clock::AHEAD_MAX;
use crux_core::facts::value::Row;
use crux_core::facts::version::{Author, BadVersion, Checked, Sealed, Stamp, Statement};
use crux_names::{FulcrumId, Hash256, Wall};
use prost::Message;
use rustls::pki_types::CertificateDer;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use thiserror::Error;

pub use crux_core::facts::version::{ACCEPTOR_CONTEXT, AUTHOR_CONTEXT};

/// How many chains a [`Checker`] remembers: more than a bloc has operators and doors in use.
const CHAINS_KEPT: usize = 128;
/// So many bytes a chain may have that is remembered. Ours have one to three thousand; what anybody may add to a good chain
/// that does not belong there must not become our memory.
const CHAIN_KEPT_BYTES: usize = 8 * 1024;

/// Why a fact version is not believed, or cannot be signed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BadFact {
    /// Its bytes are not a version.
    #[error("{0}; compare `crux version` on both sides")]
    Malformed(#[from] BadVersion),
    /// It is for another bloc.
    #[error("it was signed for bloc {theirs}, but this is bloc {ours}; sign with a profile of {ours}")]
    OtherBloc {
        /// The bloc in the statement.
        theirs: String,
        /// The bloc that we are.
        ours: String,
    },
    /// The author's certificate is refused.
    #[error("its author's certificate: {0}")]
    Author(Refusal),
    /// The author's certificate speaks for somebody else than the statement names.
    #[error("it says that {says} wrote it, but the certificate with it is of {certificate}; it is forged or damaged")]
    OtherAuthor {
        /// Who wrote it, by the statement.
        says: String,
        /// Role and name in the certificate.
        certificate: String,
    },
    /// The author did not sign these bytes.
    #[error("its author's signature is wrong; it is forged or damaged")]
    AuthorSignature,
    /// The author's certificate is limited to other things.
    #[error(
        "the certificate of {author} is limited to {scopes}, and this needs {needs}; have it written by another operator, or issue a certificate with that scope"
    )]
    Scope {
        /// Who wrote it.
        author: String,
        /// What its certificate permits.
        scopes: String,
        /// What the statement would need.
        needs: String,
    },
    /// It is stamped later than its author's certificate could write.
    #[error(
        "it is stamped {late} s after the certificate of {author} ended, so whoever accepted it did not look; it is forged, or \
         a clock is wrong"
    )]
    Late {
        /// Who wrote it.
        author: String,
        /// How many seconds too late.
        late: u64,
    },
    /// A row claims labels that its node's certificate does not carry.
    #[error("its row claims other labels than its node's certificate carries; issue a certificate with those labels")]
    Labels,
    /// A row claims another admission than its node's certificate has.
    #[error("its row claims another admission than its node's certificate has; it is forged or damaged")]
    Admission,
    /// Nobody accepted the operator's statement.
    #[error("no fulcrum countersigned it, so nobody judged its author's certificate in time; write it again")]
    NotAccepted,
    /// The acceptor's certificate is refused, or is not a node's.
    #[error("the certificate of the fulcrum that accepted it: {0}")]
    Acceptor(Refusal),
    /// The acceptor did not sign these bytes.
    #[error("the signature of the fulcrum that accepted it is wrong; it is forged or damaged")]
    AcceptorSignature,
    /// A node's own row carries a countersignature, which it needs not.
    #[error("a node's own row is countersigned by somebody; it is forged or damaged")]
    Surplus,
    /// Only an operator's statement is countersigned.
    #[error("{0} wrote it, but only what an operator signed is accepted at a door; sign with an operator's key")]
    NotAnOperators(String),
    /// A bundle cannot sign in this name.
    #[error("a bundle of {certificate} cannot sign for {wanted}; start with that one's own bundle")]
    NotOurs {
        /// In whose name it should sign.
        wanted: String,
        /// Role and name in the bundle.
        certificate: String,
    },
    /// The system gave no randomness.
    #[error("the system gave no random bytes; look at its log")]
    Random,
}

/// An operator's statement with the author's part of the signatures: the bytes that go to a fulcrum's door.
///
/// # Errors
/// [`BadFact::NotOurs`] if the statement names another author than the bundle speaks for; [`BadFact::Malformed`] if it is
/// too long.
pub fn seal(bundle: &Bundle, statement: &Statement) -> Result<Bytes, BadFact> {
    if !speaks_for(&bundle.identity().role, &statement.author) {
        let certificate = bundle.identity().role.to_string();
        return Err(BadFact::NotOurs { wanted: statement.author.to_string(), certificate });
    }
    let sealed: Bytes = author_part(bundle, statement).encode_to_vec().into();
    Checked::vouched(sealed.clone())?;
    Ok(sealed)
}

fn author_part(bundle: &Bundle, statement: &Statement) -> Sealed {
    let statement = statement.encode();
    Sealed {
        author_chain: der(bundle),
        author_signature: Bytes::copy_from_slice(&bundle.signer().sign(AUTHOR_CONTEXT, &statement)),
        statement,
        acceptor_chain: Vec::new(),
        acceptor_signature: Bytes::new(),
    }
}

/// Accepts an operator's statement at this fulcrum's door: judges the author's certificate at `now` (Unix seconds), and
/// signs that it did. A countersignature of another door is replaced: the version's id stays the same.
///
/// # Errors
/// [`BadFact`], in words for the operator.
pub fn countersign(bundle: &Bundle, sealed: Bytes, now: u64) -> Result<Checked, BadFact> {
    let trust = bundle.trust();
    countersign_by(bundle, sealed, &mut |ders| Ok(Arc::new(trust.verify_chain(&chain(ders)?, now)?)))
}

fn countersign_by(bundle: &Bundle, sealed: Bytes, verify: Verify<'_>) -> Result<Checked, BadFact> {
    let Role::Node(_) = &bundle.identity().role else {
        let certificate = bundle.identity().role.to_string();
        return Err(BadFact::NotOurs { wanted: "a node".to_owned(), certificate });
    };
    let (mut sealed, version) = open(bundle.trust(), sealed)?;
    let statement = version.statement();
    if let Author::Fulcrum(_) = &statement.author {
        return Err(BadFact::NotAnOperators(statement.author.to_string()));
    }
    let author = verify(&sealed.author_chain).map_err(|bad| bad.of(BadFact::Author))?;
    check_author(&author, &sealed, statement)?;
    sealed.acceptor_chain = der(bundle);
    sealed.acceptor_signature =
        Bytes::copy_from_slice(&bundle.signer().sign(ACCEPTOR_CONTEXT, &accepted_bytes(&sealed)));
    Ok(Checked::vouched(sealed.encode_to_vec().into())?)
}

/// A door that accepts many statements: [`countersign`], and never another answer than its own. A chain that was found good
/// is good for the rest of that second; signatures are verified every time.
#[derive(Debug, Default)]
pub struct Desk {
    /// The second, and the trust set, of which the answers are.
    of: (u64, Hash256),
    good: Chains,
}

impl Desk {
    /// One that remembers nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// As [`countersign`].
    ///
    /// # Errors
    /// As [`countersign`].
    pub fn countersign(&mut self, bundle: &Bundle, sealed: Bytes, now: u64) -> Result<Checked, BadFact> {
        let trust = bundle.trust();
        if self.of != (now, trust.id()) {
            *self = Self { of: (now, trust.id()), good: Chains::default() };
        }
        countersign_by(bundle, sealed, &mut |ders| {
            let of = Chains::key(ders);
            if let Some(admitted) = self.good.get(&of) {
                return Ok(admitted);
            }
            let admitted = Arc::new(trust.verify_chain(&chain(ders)?, now)?);
            // Of others than operators it matters who is expelled by now.
            if let Role::Operator(_) = &admitted.identity().role {
                self.good.put(of, ders, &admitted);
            }
            Ok(admitted)
        })
    }
}

/// Signs a row of this fulcrum's own.
///
/// # Errors
/// [`BadFact::NotOurs`] if the bundle is not of this fulcrum's node, [`BadFact::Malformed`] if the value is too long,
/// [`BadFact::Random`].
pub fn sign_row(
    bundle: &Bundle,
    me: &FulcrumId,
    path: &str,
    value: Bytes,
    ancestors: Vec<Hash256>,
    wall: Wall,
) -> Result<Checked, BadFact> {
    let row = Row::decode(value.clone()).map_err(|_| BadVersion::Malformed)?;
    fits(&row, bundle.labels(), bundle.admission())?;
    let mut nonce = [0; 16];
    aws_lc_rs::rand::fill(&mut nonce).map_err(|_| BadFact::Random)?;
    let statement = Statement {
        bloc: bundle.identity().bloc.clone(),
        path: path.to_owned(),
        value: Some(value),
        ancestors,
        stamp: Stamp { wall: wall.0, logical: 0 },
        author: Author::Fulcrum(me.clone()),
        nonce: Bytes::copy_from_slice(&nonce),
    };
    Ok(Checked::vouched(seal(bundle, &statement)?)?)
}

/// Checks a version that a peer or the disk brought: names, chains, roles and signatures. No date: the acceptor judged it.
///
/// # Errors
/// [`BadFact`]: the first reason found not to believe it.
pub fn check(trust: &Trust, sealed: Bytes) -> Result<Checked, BadFact> {
    check_by(trust, sealed, &mut |ders| Ok(Arc::new(trust.verify_chain_undated(&chain(ders)?)?)))
}

/// Checks many versions, as [`check`] does. Thousands of facts have a few authors and acceptors, so the chains that were
/// found good are remembered, each under the hash of all its bytes; signatures are verified every time.
#[derive(Debug, Default)]
pub struct Checker {
    /// The trust set that found them good. No other's answer counts.
    of: Hash256,
    good: Chains,
}

impl Checker {
    /// One that remembers nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// [`check`], and never another answer than its own.
    ///
    /// # Errors
    /// As [`check`].
    pub fn check(&mut self, trust: &Trust, sealed: Bytes) -> Result<Checked, BadFact> {
        if self.of != trust.id() {
            *self = Self { of: trust.id(), good: Chains::default() };
        }
        check_by(trust, sealed, &mut |ders| {
            let of = Chains::key(ders);
            if let Some(admitted) = self.good.get(&of) {
                return Ok(admitted);
            }
            let admitted = Arc::new(trust.verify_chain_undated(&chain(ders)?)?);
            self.good.put(of, ders, &admitted);
            Ok(admitted)
        })
    }

    /// How many chains it remembers.
    #[must_use]
    pub fn known(&self) -> usize {
        self.good.by_key.len()
    }
}

/// Chains that were found good, the oldest of which goes when there are too many.
#[derive(Debug, Default)]
struct Chains {
    by_key: BTreeMap<Hash256, Arc<Admitted>>,
    order: VecDeque<Hash256>,
}

impl Chains {
    fn key(ders: &[Bytes]) -> Hash256 {
        hash_of(ders.iter().map(|der| &der[..]))
    }

    fn get(&self, of: &Hash256) -> Option<Arc<Admitted>> {
        self.by_key.get(of).cloned()
    }

    fn put(&mut self, of: Hash256, ders: &[Bytes], admitted: &Arc<Admitted>) {
        if ders.iter().map(Bytes::len).sum::<usize>() > CHAIN_KEPT_BYTES {
            return;
        }
        while self.order.len() >= CHAINS_KEPT {
            self.order.pop_front().map(|oldest| self.by_key.remove(&oldest));
        }
        self.order.push_back(of);
        self.by_key.insert(of, admitted.clone());
    }
}

/// Verifies a chain, or remembers that it was good.
type Verify<'a> = &'a mut dyn FnMut(&[Bytes]) -> Result<Arc<Admitted>, BadChain>;

/// What is wrong with a chain: of whom it is, the caller knows.
enum BadChain {
    Malformed(BadVersion),
    Refused(Refusal),
}

impl From<BadVersion> for BadChain {
    fn from(bad: BadVersion) -> Self {
        Self::Malformed(bad)
    }
}

impl From<Refusal> for BadChain {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl BadChain {
    fn of(self, whose: fn(Refusal) -> BadFact) -> BadFact {
        match self {
            Self::Malformed(bad) => bad.into(),
            Self::Refused(refusal) => whose(refusal),
        }
    }
}

fn check_by(trust: &Trust, sealed: Bytes, verify: Verify<'_>) -> Result<Checked, BadFact> {
    let (parts, version) = open(trust, sealed)?;
    let statement = version.statement();
    let author = verify(&parts.author_chain).map_err(|bad| bad.of(BadFact::Author))?;
    check_author(&author, &parts, statement)?;
    let accepted = !parts.acceptor_chain.is_empty() || !parts.acceptor_signature.is_empty();
    match &statement.author {
        Author::Fulcrum(_) if accepted => return Err(BadFact::Surplus),
        Author::Fulcrum(_) => check_labels(&author, statement)?,
        Author::Operator(_) if !accepted => return Err(BadFact::NotAccepted),
        Author::Operator(_) => {
            let acceptor = verify(&parts.acceptor_chain).map_err(|bad| bad.of(BadFact::Acceptor))?;
            acceptor.node().map_err(BadFact::Acceptor)?;
            if !acceptor.signed(ACCEPTOR_CONTEXT, &accepted_bytes(&parts), &parts.acceptor_signature) {
                return Err(BadFact::AcceptorSignature);
            }
        }
    }
    Ok(version)
}

/// Reads both layers and compares the bloc. The version is nobody's word yet.
fn open(trust: &Trust, sealed: Bytes) -> Result<(Sealed, Checked), BadFact> {
    let version = Checked::vouched(sealed.clone())?;
    let sealed = Sealed::decode(sealed).map_err(|_| BadVersion::Malformed)?;
    let theirs = &version.statement().bloc;
    if theirs == trust.bloc() {
        Ok((sealed, version))
    } else {
        Err(BadFact::OtherBloc { theirs: theirs.to_string(), ours: trust.bloc().to_string() })
    }
}

/// Role and name of the certificate are the author's, its key signed the statement, and its scopes permit it.
fn check_author(author: &Admitted, sealed: &Sealed, statement: &Statement) -> Result<(), BadFact> {
    if !speaks_for(&author.identity().role, &statement.author) {
        let certificate = author.identity().role.to_string();
        return Err(BadFact::OtherAuthor { says: statement.author.to_string(), certificate });
    }
    if !author.signed(AUTHOR_CONTEXT, &sealed.statement, &sealed.author_signature) {
        return Err(BadFact::AuthorSignature);
    }
    check_stamp(author, statement)?;
    check_scopes(author, statement)
}

/// An operator's certificate writes nothing after its end. A door judges it to the second, and takes stamps that are ahead of
/// its clock by so much; so this refuses nothing that an honest door took, whatever its clock said. A node's clock may be years
/// ahead, and its own row is its own affair.
fn check_stamp(author: &Admitted, statement: &Statement) -> Result<(), BadFact> {
    let Author::Operator(_) = &statement.author else { return Ok(()) };
    let latest = author.own_end().saturating_add(1 + AHEAD_MAX.as_secs());
    let late = (statement.stamp.wall / 1_000_000).saturating_sub(latest);
    if late == 0 { Ok(()) } else { Err(BadFact::Late { author: statement.author.to_string(), late }) }
}

/// An operator writes only what its certificate is limited to.
fn check_scopes(author: &Admitted, statement: &Statement) -> Result<(), BadFact> {
    let Author::Operator(_) = &statement.author else { return Ok(()) };
    author.scopes().permit_path(&statement.path, statement.value.as_deref()).map_err(|needs| BadFact::Scope {
        author: statement.author.to_string(),
        scopes: author.scopes().to_string(),
        needs,
    })
}

/// Labels select hordes and secrets, so a row may claim only those of its node's certificate.
fn check_labels(author: &Admitted, statement: &Statement) -> Result<(), BadFact> {
    let Some(value) = &statement.value else { return Ok(()) };
    let row = Row::decode(value.clone()).map_err(|_| BadVersion::Malformed)?;
    fits(&row, author.labels(), author.admission())
}

fn fits(row: &Row, labels: &BTreeMap<String, String>, admission: u32) -> Result<(), BadFact> {
    if row.labels != *labels {
        return Err(BadFact::Labels);
    }
    if row.admitted() == admission { Ok(()) } else { Err(BadFact::Admission) }
}

fn speaks_for(role: &Role, author: &Author) -> bool {
    match (role, author) {
        (Role::Operator(name), Author::Operator(author)) => name == author,
        // The fulcrums of a node share its certificate.
        (Role::Node(node), Author::Fulcrum(fulcrum)) => *node == fulcrum.node,
        _ => false,
    }
}

/// What the acceptor signs: the statement, then the author's signature, which has 64 bytes.
fn accepted_bytes(sealed: &Sealed) -> Vec<u8> {
    [&sealed.statement[..], &sealed.author_signature].concat()
}

/// What a fulcrum with this bundle shows for itself, as the heart is told.
#[must_use]
pub fn certificate(bundle: &Bundle) -> Certificate {
    Certificate { labels: bundle.labels().clone(), admission: bundle.admission(), chain: der(bundle) }
}

fn der(bundle: &Bundle) -> Vec<Bytes> {
    bundle.chain().iter().map(|certificate| Bytes::copy_from_slice(certificate)).collect()
}

fn chain(chain: &[Bytes]) -> Result<Vec<CertificateDer<'_>>, BadVersion> {
    if chain.len() > CHAIN_MAX {
        return Err(BadVersion::TooLong);
    }
    Ok(chain.iter().map(|der| CertificateDer::from(&der[..])).collect())
}
