//! Fact versions: opaque signed bytes, stored and forwarded exactly as received and never re-encoded.

use crate::hash::sha256;
use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;
use core::fmt;
use crux_names::{BlocName, FulcrumId, Hash256, OperatorName};
use prost::Message;

/// How many ancestors a version names at most. Beyond that the answer is "conflict", never silence.
pub const ANCESTORS_MAX: usize = 32;

/// What a version that replaces these heads names, each given with its own ancestors: the heads, then what those
/// replaced, newest first, in turn of each, so that what does not fit any more is the oldest.
#[must_use]
pub fn ancestors_of(heads: &[(Hash256, Vec<Hash256>)]) -> Vec<Hash256> {
    let deepest = heads.iter().map(|(_, ancestors)| ancestors.len()).max().unwrap_or(0);
    let older = (0..deepest).flat_map(|depth| heads.iter().filter_map(move |(_, ancestors)| ancestors.get(depth)));
    let mut ids: Vec<Hash256> = Vec::new();
    for id in heads.iter().map(|(id, _)| id).chain(older) {
        if !ids.contains(id) {
            ids.push(*id);
        }
    }
    ids.truncate(ANCESTORS_MAX);
    ids
}

/// Longest path in bytes.
pub const PATH_MAX: usize = 512;
/// Largest sealed version in bytes. A fact is a record, not a file.
pub const VERSION_MAX: usize = 128 * 1024;

/// For what an author signs a statement: a signature made for one purpose is worth nothing for another.
pub const AUTHOR_CONTEXT: &str = "crux fact author";
/// For what the accepting fulcrum signs the statement and the author's signature.
pub const ACCEPTOR_CONTEXT: &str = "crux fact acceptor";

/// A hybrid-logical-clock stamp (Kulkarni et al. 2014): wall microseconds, then a counter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp {
    /// Microseconds since the Unix epoch, as the author's clock had it or later.
    pub wall: u64,
    /// Orders stamps of one microsecond.
    pub logical: u32,
}

/// Who wrote a version. The name is the certificate's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Author {
    /// Signs all intent.
    Operator(OperatorName),
    /// Signs only its own rows.
    Fulcrum(FulcrumId),
}

impl fmt::Display for Author {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operator(name) => write!(f, "operator {name}"),
            Self::Fulcrum(id) => write!(f, "node {id}"),
        }
    }
}

/// What the author signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The bloc that it is for.
    pub bloc: BlocName,
    /// Which fact: `place/web/api`.
    pub path: String,
    /// The new value; `None` deletes.
    pub value: Option<Bytes>,
    /// Versions that this one replaces, newest first, at most [`ANCESTORS_MAX`].
    pub ancestors: Vec<Hash256>,
    /// When, by the author's hybrid clock.
    pub stamp: Stamp,
    /// Who.
    pub author: Author,
    /// Makes two equal writes two versions; chosen by the author.
    pub nonce: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct StatementWire {
    #[prost(string, tag = "1")]
    bloc: String,
    #[prost(string, tag = "2")]
    path: String,
    #[prost(bytes = "bytes", optional, tag = "3")]
    value: Option<Bytes>,
    #[prost(bytes = "vec", repeated, tag = "4")]
    ancestors: Vec<Vec<u8>>,
    #[prost(uint64, tag = "5")]
    wall: u64,
    #[prost(uint32, tag = "6")]
    logical: u32,
    #[prost(string, tag = "7")]
    operator: String,
    #[prost(string, tag = "8")]
    fulcrum: String,
    #[prost(bytes = "bytes", tag = "9")]
    nonce: Bytes,
}

/// A statement with its signatures, as stored and sent. Both chains are DER certificates, leaf first.
#[derive(Clone, PartialEq, Message)]
pub struct Sealed {
    /// The statement's bytes as the author signed them.
    #[prost(bytes = "bytes", tag = "1")]
    pub statement: Bytes,
    /// The author's certificate chain.
    #[prost(bytes = "bytes", repeated, tag = "2")]
    pub author_chain: Vec<Bytes>,
    /// The author's signature over the statement.
    #[prost(bytes = "bytes", tag = "3")]
    pub author_signature: Bytes,
    /// The chain of the fulcrum that accepted it and alone judged the author's certificate at that moment. Empty for a
    /// fulcrum's own rows, which need no other door.
    #[prost(bytes = "bytes", repeated, tag = "4")]
    pub acceptor_chain: Vec<Bytes>,
    /// The acceptor's signature over the statement and the author's signature, in this order.
    #[prost(bytes = "bytes", tag = "5")]
    pub acceptor_signature: Bytes,
}

/// Why bytes are not a fact version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BadVersion {
    /// The bytes do not decode, or a field breaks its rule.
    Malformed,
    /// Path, ancestors or the whole are too long.
    TooLong,
}

impl fmt::Display for BadVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "its bytes are not a fact version",
            Self::TooLong => "it is longer than a fact may be",
        })
    }
}

impl core::error::Error for BadVersion {}

impl Statement {
    /// The bytes that the author signs.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let (operator, fulcrum) = match &self.author {
            Author::Operator(name) => (name.as_str().into(), String::new()),
            Author::Fulcrum(id) => (String::new(), alloc::format!("{id}")),
        };
        StatementWire {
            bloc: self.bloc.as_str().into(),
            path: self.path.clone(),
            value: self.value.clone(),
            ancestors: self.ancestors.iter().map(|id| id.0.to_vec()).collect(),
            wall: self.stamp.wall,
            logical: self.stamp.logical,
            operator,
            fulcrum,
            nonce: self.nonce.clone(),
        }
        .encode_to_vec()
        .into()
    }

    /// Reads a statement.
    ///
    /// # Errors
    /// [`BadVersion`] if the bytes break the form. Whether the author may write that path is not judged here.
    pub fn decode(bytes: Bytes) -> Result<Self, BadVersion> {
        if bytes.len() > VERSION_MAX {
            return Err(BadVersion::TooLong);
        }
        let wire = StatementWire::decode(bytes).map_err(|_| BadVersion::Malformed)?;
        if wire.path.len() > PATH_MAX || wire.ancestors.len() > ANCESTORS_MAX || wire.nonce.len() > 64 {
            return Err(BadVersion::TooLong);
        }
        let author = match (wire.operator.as_str(), wire.fulcrum.as_str()) {
            (operator, "") => Author::Operator(operator.parse().map_err(|_| BadVersion::Malformed)?),
            ("", fulcrum) => Author::Fulcrum(fulcrum.parse().map_err(|_| BadVersion::Malformed)?),
            _ => return Err(BadVersion::Malformed),
        };
        let ancestors = wire
            .ancestors
            .iter()
            .map(|id| id.as_slice().try_into().map(Hash256).map_err(|_| BadVersion::Malformed))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            bloc: wire.bloc.parse().map_err(|_| BadVersion::Malformed)?,
            path: wire.path,
            value: wire.value,
            ancestors,
            stamp: Stamp { wall: wire.wall, logical: wire.logical },
            author,
            nonce: wire.nonce,
        })
    }
}

/// A version whose signatures and certificates somebody has checked: the only kind that the heart takes in.
#[derive(Clone, Debug)]
pub struct Checked {
    id: Hash256,
    statement: Statement,
    form: Form,
}

/// How the sealed bytes are kept.
#[derive(Clone, Debug)]
enum Form {
    /// As they came.
    Whole(Bytes),
    /// Apart, since they are what encoding these parts gives: a few chains are most of what thousands of facts would cost.
    Apart { statement: Bytes, signatures: [Bytes; 2], chains: Arc<Chains> },
}

/// The author's chain and the acceptor's.
type Chains = [Vec<Bytes>; 2];

/// Chains that many versions share.
#[derive(Clone, Debug, Default)]
pub(super) struct Shared(BTreeSet<Arc<Chains>>);

impl Shared {
    fn share(&mut self, chains: Chains) -> Arc<Chains> {
        if let Some(known) = self.0.get(&chains) {
            return known.clone();
        }
        // Not as slices of the frame that they came in, which would live as long.
        let own = chains.map(|chain| chain.iter().map(|der| Bytes::copy_from_slice(der)).collect());
        if self.0.len() >= SHARED_MAX {
            self.0.retain(|chains| Arc::strong_count(chains) > 1);
        }
        let own = Arc::new(own);
        if self.0.len() < SHARED_MAX {
            self.0.insert(own.clone());
        }
        own
    }
}

/// Of so many pairs of chains it is known that they are shared: authors times doors, of a bloc of some size.
const SHARED_MAX: usize = 1024;

impl PartialEq for Checked {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id && self.sealed() == other.sealed()
    }
}

impl Eq for Checked {}

impl Checked {
    /// Takes the caller's word that both signatures hold, that the author's certificate carries the author's name and
    /// that its chain ends in a root of this bloc. Called by the one place that checks them, and by the simulator,
    /// which has no keys.
    ///
    /// # Errors
    /// [`BadVersion`] if the bytes are not a sealed version.
    pub fn vouched(sealed: Bytes) -> Result<Self, BadVersion> {
        if sealed.len() > VERSION_MAX {
            return Err(BadVersion::TooLong);
        }
        let outer = Sealed::decode(sealed.clone()).map_err(|_| BadVersion::Malformed)?;
        let id = sha256(&outer.statement);
        let statement = Statement::decode(outer.statement)?;
        Ok(Self { id, statement, form: Form::Whole(sealed) })
    }

    /// The same in less memory, for as long as it is kept.
    pub(super) fn kept(self, shared: &mut Shared) -> Self {
        let Form::Whole(whole) = &self.form else { return self };
        let Ok(outer) = Sealed::decode(whole.clone()) else { return self };
        // Another program may order the parts otherwise, and signed bytes are never encoded again.
        if outer.encode_to_vec() != *whole {
            return self;
        }
        let statement = Bytes::copy_from_slice(&outer.statement);
        let Ok(read) = Statement::decode(statement.clone()) else { return self };
        let signatures = [outer.author_signature, outer.acceptor_signature].map(|one| Bytes::copy_from_slice(&one));
        let chains = shared.share([outer.author_chain, outer.acceptor_chain]);
        Self { id: self.id, statement: read, form: Form::Apart { statement, signatures, chains } }
    }

    /// The hash of the author-signed bytes: one write through two doors is one version.
    #[must_use]
    pub fn id(&self) -> Hash256 {
        self.id
    }

    /// What it says.
    #[must_use]
    pub fn statement(&self) -> &Statement {
        &self.statement
    }

    /// The sealed bytes as received.
    #[must_use]
    pub fn sealed(&self) -> Bytes {
        match self.outer() {
            Ok(whole) => whole.clone(),
            Err(parts) => parts.encode_to_vec().into(),
        }
    }

    /// How many these are.
    #[must_use]
    pub fn size(&self) -> usize {
        match self.outer() {
            Ok(whole) => whole.len(),
            Err(parts) => parts.encoded_len(),
        }
    }

    /// The sealed bytes, or the parts that give them.
    fn outer(&self) -> Result<&Bytes, Box<Sealed>> {
        match &self.form {
            Form::Whole(sealed) => Ok(sealed),
            Form::Apart { statement, signatures: [author, acceptor], chains } => {
                let [author_chain, acceptor_chain] = chains.as_ref().clone();
                Err(Box::new(Sealed {
                    statement: statement.clone(),
                    author_chain,
                    author_signature: author.clone(),
                    acceptor_chain,
                    acceptor_signature: acceptor.clone(),
                }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(path: &str) -> Sealed {
        let statement = Statement {
            bloc: "sim".parse().unwrap(),
            path: path.into(),
            value: Some(Bytes::from_static(b"value")),
            ancestors: alloc::vec![Hash256([3; 32])],
            stamp: Stamp { wall: 7, logical: 1 },
            author: Author::Operator("ops".parse().unwrap()),
            nonce: Bytes::from_static(b"n"),
        };
        Sealed {
            statement: statement.encode(),
            author_chain: alloc::vec![Bytes::from_static(b"leaf"), Bytes::from_static(b"ca")],
            author_signature: Bytes::from_static(&[1; 64]),
            acceptor_chain: alloc::vec![Bytes::from_static(b"door")],
            acceptor_signature: Bytes::from_static(&[2; 64]),
        }
    }

    #[test]
    fn what_is_kept_apart_is_sealed_as_it_came() {
        let mut shared = Shared::default();
        for path in ["horde/web", "horde/db"] {
            let whole: Bytes = sealed(path).encode_to_vec().into();
            let version = Checked::vouched(whole.clone()).unwrap();
            let kept = version.clone().kept(&mut shared);
            assert!(matches!(kept.form, Form::Apart { .. }));
            assert_eq!(kept.sealed(), whole);
            assert_eq!((kept.id(), kept.statement()), (version.id(), version.statement()));
            assert_eq!(kept.clone().kept(&mut shared), version);
        }
        assert_eq!(shared.0.len(), 1, "both have the same chains");
        let row = Sealed { acceptor_chain: Vec::new(), acceptor_signature: Bytes::new(), ..sealed("row/n1/0") };
        let whole: Bytes = row.encode_to_vec().into();
        assert_eq!(Checked::vouched(whole.clone()).unwrap().kept(&mut shared).sealed(), whole);
        assert_eq!(shared.0.len(), 2);
    }

    #[test]
    fn bytes_that_are_ordered_otherwise_stay_whole() {
        // The acceptor's signature first: the same parts, other bytes.
        let (first, rest) = (sealed("horde/web"), sealed("horde/web"));
        let first = Sealed { acceptor_signature: first.acceptor_signature, ..Sealed::default() };
        let rest = Sealed { acceptor_signature: Bytes::new(), ..rest };
        let whole: Bytes = [first.encode_to_vec(), rest.encode_to_vec()].concat().into();
        let kept = Checked::vouched(whole.clone()).unwrap().kept(&mut Shared::default());
        assert!(matches!(kept.form, Form::Whole(_)));
        assert_eq!(kept.sealed(), whole);
    }

    #[test]
    fn chains_that_nobody_has_any_more_are_forgotten() {
        let mut shared = Shared::default();
        for n in 0..3 * SHARED_MAX {
            let other = Sealed { acceptor_chain: alloc::vec![n.to_be_bytes().to_vec().into()], ..sealed("horde/web") };
            let whole: Bytes = other.encode_to_vec().into();
            assert_eq!(Checked::vouched(whole.clone()).unwrap().kept(&mut shared).sealed(), whole);
            assert!(shared.0.len() <= SHARED_MAX);
        }
    }
}
