//! Writing facts: what an operator wants is signed here, on the client's side, so that no fulcrum in the middle can act
//! for an operator.
//!
//! The signatures are made over the contexts below (see `crux_pki::Signer::sign`): the author signs the statement's
//! bytes, the accepting fulcrum the statement's bytes followed by the author's signature.

pub use crux_core::facts::value::{HORIZON, HORIZON_MIN, cordon_path, expel_path, label_path, row_path};
pub use crux_core::facts::version::{ACCEPTOR_CONTEXT, AUTHOR_CONTEXT};

pub use crux_core::facts::rule::{RULES, rule_path};

use crate::json::{BadHex, Fact, from_hex, to_hex};
use bytes::Bytes;
use crux_core::facts::clock::acceptable;
use crux_core::facts::rule::{NOTE_MAX, Rule, RuleFact};
use crux_core::facts::value::{Cordon, Expulsion, Horizon, Labels, Manifest, Row};
use crux_core::facts::version::{Author, Sealed, Stamp, Statement, VERSION_MAX, ancestors_of};
use crux_names::{BlocName, ClientName, EndpointName, FulcrumId, Hash256, NodeName, OperatorName, RuleId, Wall};
use prost::Message;
use std::collections::BTreeMap;

/// A fact to be written: `None` deletes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewFact {
    /// Its path.
    pub path: String,
    /// Its value.
    pub value: Option<Vec<u8>>,
}

impl NewFact {
    /// Puts a node out of the bloc, with all its admissions up to this one.
    #[must_use]
    pub fn expulsion(node: &NodeName, up_to: u32, reason: &str) -> Self {
        let value = Expulsion { up_to, reason: reason.to_owned() };
        Self { path: expel_path(node), value: Some(value.encode_to_vec()) }
    }

    /// Keeps new work from a fulcrum; with `drain`, what runs there moves away too.
    #[must_use]
    pub fn cordon(fulcrum: &FulcrumId, reason: &str, drain: bool) -> Self {
        let value = Cordon { reason: reason.to_owned(), drain };
        Self { path: cordon_path(fulcrum), value: Some(value.encode_to_vec()) }
    }

    /// Draws the line before which nothing is in force, in microseconds since 1970.
    #[must_use]
    pub fn horizon(before: u64) -> Self {
        Self { path: HORIZON.to_owned(), value: Some(Horizon { before }.encode_to_vec()) }
    }

    /// Lets a client call an endpoint, with a note of at most 512 bytes. The nonce makes it a rule of its own.
    ///
    /// # Errors
    /// What is wrong with the note, for people.
    pub fn rule(
        client: &ClientName,
        endpoint: &EndpointName,
        note: &str,
        now: Wall,
        nonce: [u8; 16],
    ) -> Result<(RuleId, Self), String> {
        if note.len() > NOTE_MAX {
            return Err(format!("a note may have {NOTE_MAX} bytes, this one has {}", note.len()));
        }
        if let Some((at, _)) = note.char_indices().find(|(_, c)| c.is_control()) {
            return Err(format!("the note has a control character at byte {at}"));
        }
        let rule = Rule {
            client: client.to_string(),
            endpoint: endpoint.to_string(),
            note: note.to_owned(),
            made: now.0,
            nonce: Bytes::copy_from_slice(&nonce),
        };
        let fact = RuleFact { rule: rule.encode_to_vec().into(), removed: false };
        let id = fact.id();
        Ok((id, Self { path: rule_path(&id), value: Some(fact.encode_to_vec()) }))
    }

    /// Removes a rule, given its fact's path and value.
    ///
    /// # Errors
    /// If the value is no rule's, for people.
    pub fn rule_removal(path: &str, value: &[u8]) -> Result<Self, String> {
        let fact = RuleFact::decode(value).map_err(|e| e.to_string())?;
        let value = RuleFact { removed: true, ..fact }.encode_to_vec();
        Ok(Self { path: path.to_owned(), value: Some(value) })
    }

    /// Gives a node these labels, beside those of its certificate; none: takes back all that were given.
    #[must_use]
    pub fn labels(node: &NodeName, labels: BTreeMap<String, String>) -> Self {
        let value = (!labels.is_empty()).then(|| Labels { labels }.encode_to_vec());
        Self { path: label_path(node), value }
    }
}

/// The labels that operators gave a node, from the value of its fact.
///
/// # Errors
/// If it is not one, for people.
pub fn given_labels(value: &[u8]) -> Result<BTreeMap<String, String>, String> {
    Labels::decode(value).map(|given| given.labels).map_err(|e| e.to_string())
}

/// Whether this is the value of a rule's fact that removes it.
#[must_use]
pub fn removes_rule(path: &str, value: &[u8]) -> bool {
    path.starts_with(RULES) && RuleFact::decode(value).is_ok_and(|fact| fact.removed)
}

/// Why a fact cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The fulcrum listed a version whose id is not one.
    #[error("{path}: the fulcrum lists a version whose id is not a SHA-256")]
    BadHead {
        /// The fact's path.
        path: String,
    },
    /// The sealed version is too long.
    #[error("{path}: a fact may have {VERSION_MAX} bytes, this one has {bytes}")]
    TooLong {
        /// The fact's path.
        path: String,
        /// How long it is.
        bytes: usize,
    },
}

/// The admission of the certificate with which a fulcrum wrote this row of its own; `None` if it is no row.
#[must_use]
pub fn admission_of_row(value: &[u8]) -> Option<u32> {
    Row::decode(value).ok().map(|row| row.admitted())
}

/// Why a fulcrum gets no new work, from the value of its cordon; `None` if these bytes are none.
#[must_use]
pub fn reason_of_cordon(value: &[u8]) -> Option<String> {
    Cordon::decode(value).ok().map(|cordon| cordon.reason)
}

/// Whether what runs on a fulcrum moves away, by the value of its cordon.
#[must_use]
pub fn cordon_drains(value: &[u8]) -> bool {
    Cordon::decode(value).is_ok_and(|cordon| cordon.drain)
}

/// Path and SHA-256 in hex of each file that a manifest's instances find in their directory; none if these bytes are no
/// manifest.
#[must_use]
pub fn files_of_manifest(value: &[u8]) -> Vec<(String, String)> {
    let files = Manifest::decode(value).map(|manifest| manifest.files).unwrap_or_default();
    files.into_iter().map(|file| (file.path, to_hex(&file.sha256))).collect()
}

/// How a write stands to what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteKind {
    /// Something new is wanted. Losers of a conflict stay listed until somebody dismisses them.
    Edit,
    /// What shall be in force of a conflict: the write replaces the losers as well, and it is over.
    Settle,
    /// The same as before, signed once more. It was decided when it was decided: its stamp follows the one that it
    /// replaces, so that whatever somebody else has written meanwhile is later and wins.
    Again,
}

/// Who writes, and for which bloc.
#[derive(Clone)]
pub struct Writer<'a> {
    /// The bloc.
    pub bloc: BlocName,
    /// The operator.
    pub operator: OperatorName,
    /// The operator's certificate chain in DER, leaf first.
    pub chain: Vec<Bytes>,
    /// Signs bytes for a context with the operator's key.
    pub sign: &'a dyn Fn(&str, &[u8]) -> [u8; 64],
}

impl Writer<'_> {
    /// The sealed version in hex, as [`WriteRequest`](crate::routes::WriteRequest) carries it. Its stamp is later than those
    /// that the client saw (`seen`). It replaces the version in force, and what the kind of write says.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn seal(
        &self,
        fact: &NewFact,
        seen: Option<&Fact>,
        kind: WriteKind,
        now: Wall,
        nonce: [u8; 16],
    ) -> Result<String, WriteError> {
        let ancestors = ancestors(seen, kind).map_err(|_| WriteError::BadHead { path: fact.path.clone() })?;
        let statement = Statement {
            bloc: self.bloc.clone(),
            path: fact.path.clone(),
            value: fact.value.clone().map(Bytes::from),
            ancestors,
            stamp: stamp(seen, kind, now),
            author: Author::Operator(self.operator.clone()),
            nonce: Bytes::copy_from_slice(&nonce),
        };
        let statement = statement.encode();
        let signature = (self.sign)(AUTHOR_CONTEXT, &statement);
        let sealed = Sealed {
            author_signature: Bytes::copy_from_slice(&signature),
            author_chain: self.chain.clone(),
            statement,
            acceptor_chain: Vec::new(),
            acceptor_signature: Bytes::new(),
        };
        let bytes = sealed.encode_to_vec();
        if bytes.len() > VERSION_MAX {
            return Err(WriteError::TooLong { path: fact.path.clone(), bytes: bytes.len() });
        }
        Ok(to_hex(&bytes))
    }
}

/// The versions that a write replaces: of what the client saw the one in force, those that say the same and those that it
/// settles, then what they replaced, newest first.
fn ancestors(seen: Option<&Fact>, kind: WriteKind) -> Result<Vec<Hash256>, BadHex> {
    let id = |text: &String| Ok(Hash256(from_hex(text)?.try_into().map_err(|_| BadHex)?));
    let heads = seen.map_or(&[][..], |fact| &fact.heads);
    let named =
        heads.iter().filter(|head| kind == WriteKind::Settle || heads.first().is_some_and(|w| w.value == head.value));
    let heads = named.map(|head| Ok((id(&head.id)?, head.ancestors.iter().map(id).collect::<Result<_, BadHex>>()?)));
    Ok(ancestors_of(&heads.collect::<Result<Vec<_>, BadHex>>()?))
}

/// A hybrid-clock stamp after everything seen, but for what a wrong clock stamped so far ahead that no door takes a stamp
/// after it: a write replaces what it names, whatever the stamps say.
fn stamp(seen: Option<&Fact>, kind: WriteKind, now: Wall) -> Stamp {
    let latest =
        seen.and_then(|fact| fact.heads.iter().map(|head| Stamp { wall: head.wall.0, logical: head.logical }).max());
    match latest {
        Some(latest) if (latest.wall >= now.0 || kind == WriteKind::Again) && acceptable(latest, now) => {
            Stamp { wall: latest.wall, logical: latest.logical.saturating_add(1) }
        }
        _ => Stamp { wall: now.0, logical: 0 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{Counter, Head};

    fn head(id: u8, ancestors: &[u8], wall: u64) -> Head {
        Head {
            id: to_hex(&[id; 32]),
            value: None,
            readable: None,
            ancestors: ancestors.iter().map(|id| to_hex(&[*id; 32])).collect(),
            wall: Counter(wall),
            logical: 4,
            author: "operator alice".to_owned(),
        }
    }

    #[test]
    fn a_write_names_what_it_replaces_and_is_later() {
        let seen = Fact { path: "horde/web".to_owned(), heads: vec![head(9, &[5, 1], 50), head(8, &[4, 1], 70)] };
        let writer = Writer {
            bloc: "acme".parse().unwrap(),
            operator: "alice".parse().unwrap(),
            chain: vec![Bytes::from_static(b"der")],
            sign: &|context, bytes| {
                assert_eq!(context, AUTHOR_CONTEXT);
                [bytes.len() as u8; 64]
            },
        };
        let fact = NewFact { path: "horde/web".to_owned(), value: Some(vec![1]) };
        let sealed = writer.seal(&fact, Some(&seen), WriteKind::Settle, Wall(60), [3; 16]).unwrap();
        let sealed = Sealed::decode(from_hex(&sealed).unwrap().as_slice()).unwrap();
        let statement = Statement::decode(sealed.statement).unwrap();
        let ids: Vec<u8> = statement.ancestors.iter().map(|id| id.0[0]).collect();
        assert_eq!(ids, [9, 8, 5, 4, 1]);
        assert_eq!(statement.stamp, Stamp { wall: 70, logical: 5 });
        assert_eq!(statement.author, Author::Operator("alice".parse().unwrap()));
        assert_eq!(statement.value.as_deref(), Some(&[1][..]));
    }

    #[test]
    fn a_loser_stays_listed_until_it_is_settled_and_what_says_the_same_is_none() {
        let with = |id, value: &str| Head { value: Some(value.to_owned()), ..head(id, &[], 50) };
        let seen = Fact { path: "a".to_owned(), heads: vec![with(9, "01"), with(8, "02"), with(7, "01")] };
        let named = |kind| -> Vec<u8> { ancestors(Some(&seen), kind).unwrap().iter().map(|id| id.0[0]).collect() };
        assert_eq!(named(WriteKind::Edit), [9, 7]);
        assert_eq!(named(WriteKind::Settle), [9, 8, 7]);
    }

    #[test]
    fn a_first_write_has_no_ancestors_and_a_long_one_is_refused() {
        let writer = Writer {
            bloc: "acme".parse().unwrap(),
            operator: "alice".parse().unwrap(),
            chain: Vec::new(),
            sign: &|_, _| [0; 64],
        };
        let short = NewFact { path: "a".to_owned(), value: None };
        let sealed = writer.seal(&short, None, WriteKind::Edit, Wall(60), [3; 16]).unwrap();
        let sealed = Sealed::decode(from_hex(&sealed).unwrap().as_slice()).unwrap();
        let statement = Statement::decode(sealed.statement).unwrap();
        assert_eq!((statement.ancestors.len(), statement.stamp), (0, Stamp { wall: 60, logical: 0 }));

        let long = NewFact { path: "a".to_owned(), value: Some(vec![0; VERSION_MAX]) };
        assert!(matches!(
            writer.seal(&long, None, WriteKind::Edit, Wall(60), [3; 16]),
            Err(WriteError::TooLong { .. })
        ));
    }

    #[test]
    fn a_stamp_that_no_door_would_take_is_not_followed() {
        let fact = |wall| Fact { path: "a".to_owned(), heads: vec![head(9, &[], wall)] };
        let edge = 1_000 + 60_000_000;
        for kind in [WriteKind::Edit, WriteKind::Again] {
            assert_eq!(stamp(Some(&fact(edge)), kind, Wall(1_000)).wall, edge);
            assert_eq!(stamp(Some(&fact(edge + 1)), kind, Wall(1_000)), Stamp { wall: 1_000, logical: 0 });
        }
    }

    #[test]
    fn what_is_signed_again_is_as_old_as_it_was() {
        let fact = Fact { path: "a".to_owned(), heads: vec![head(9, &[], 50)] };
        assert_eq!(stamp(Some(&fact), WriteKind::Again, Wall(1_000)), Stamp { wall: 50, logical: 5 });
        assert_eq!(stamp(Some(&fact), WriteKind::Edit, Wall(1_000)), Stamp { wall: 1_000, logical: 0 });
    }

    #[test]
    fn a_rule_has_an_id_of_its_own_and_its_removal_the_same() {
        let (client, endpoint) = ("web/*".parse().unwrap(), "data/db".parse().unwrap());
        let rule = |note: &str, nonce| NewFact::rule(&client, &endpoint, note, Wall(7), [nonce; 16]);
        let (id, fact) = rule("reads", 1).unwrap();
        assert_eq!(fact.path, format!("rule/{id}"));
        assert_ne!(rule("reads", 2).unwrap().0, id);
        let value = fact.value.unwrap();
        assert!(!removes_rule(&fact.path, &value));
        assert_eq!(crate::intent::describe(&fact.path, &value), "web/* may call data/db; reads");
        let removal = NewFact::rule_removal(&fact.path, &value).unwrap();
        let value = removal.value.unwrap();
        assert!(removal.path == fact.path && removes_rule(&fact.path, &value));
        assert_eq!(RuleFact::decode(value.as_slice()).unwrap().id(), id);
        assert_eq!(crate::intent::describe(&fact.path, &value), "removed: web/* may call data/db; reads");
        assert!(rule(&"n".repeat(513), 1).unwrap_err().contains("512 bytes, this one has 513"));
        assert!(rule("a\u{1b}", 1).unwrap_err().contains("at byte 1"));
        assert!(NewFact::rule_removal("rule/x", b"\xff").is_err());
    }

    #[test]
    fn a_head_that_is_no_hash_is_refused() {
        let mut bad = head(9, &[], 50);
        bad.id = "zz".to_owned();
        let seen = Fact { path: "a".to_owned(), heads: vec![bad] };
        assert_eq!(ancestors(Some(&seen), WriteKind::Edit), Err(BadHex));
    }
}
