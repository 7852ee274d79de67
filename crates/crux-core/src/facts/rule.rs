//! Rules: who may call whom. What is not allowed is forbidden, so a rule only ever allows, and its removal tightens.
//!
//! **A rule is what its id says.** The id is the hash of the rule's bytes, which hold a nonce: it is fresh, and no second rule
//! can stand under it. So a rule never changes, without anybody remembering what it was; who wants another makes another.
//!
//! **A removal is a version that carries the rule that it ends** ([`RuleFact::removed`]), not an empty one: what is called
//! stands in it, by which scopes are judged, on every fulcrum alike and whether that has heard of the rule or not. Deleting
//! the fact without saying so is refused.
//!
//! **A removal wins** over every version that allows, whichever knew of whichever and however late that one is stamped, as an
//! expulsion does (`record`, `tighten`). It is never behind a horizon: whoever was away for years with the rule, and had it
//! signed again there, brings nothing back. A removal is kept for ever, some 700 bytes.

use super::Facts;
use super::authority::Refusal;
use super::path::Path;
use super::version::{Author, Checked, Stamp, Statement};
use crate::hash::sha256;
use alloc::format;
use alloc::string::String;
use bytes::Bytes;
use crux_names::{BlocName, ClientName, EndpointName, HordeName, RuleId};
use prost::Message;

/// Under this stand the rules.
pub const RULES: &str = "rule/";
/// Longest note in bytes.
pub const NOTE_MAX: usize = 512;
/// Length of a nonce in bytes.
pub const NONCE: usize = 16;
/// Longest value in bytes, with what later versions may add.
const VALUE_MAX: usize = 4096;

/// Path of a rule.
#[must_use]
pub fn rule_path(id: &RuleId) -> String {
    format!("{RULES}{id}")
}

/// The rule, by whose bytes it is named.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Rule {
    /// Who may call: a [`ClientName`].
    #[prost(string, tag = "1")]
    pub client: String,
    /// What may be called: an [`EndpointName`].
    #[prost(string, tag = "2")]
    pub endpoint: String,
    /// For people.
    #[prost(string, tag = "3")]
    pub note: String,
    /// When it was made, in microseconds since 1970 by the clock of whoever made it; for people.
    #[prost(uint64, tag = "4")]
    pub made: u64,
    /// Makes two rules of the same names two.
    #[prost(bytes = "bytes", tag = "5")]
    pub nonce: Bytes,
}

/// The value of a rule's fact.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct RuleFact {
    /// A [`Rule`], as it was made; never encoded again.
    #[prost(bytes = "bytes", tag = "1")]
    pub rule: Bytes,
    /// It allows nothing any more.
    #[prost(bool, tag = "2")]
    pub removed: bool,
}

/// A rule with its names read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Who may call.
    pub client: ClientName,
    /// What may be called.
    pub endpoint: EndpointName,
    /// For people.
    pub note: String,
    /// When it was made, in microseconds since 1970.
    pub made: u64,
    /// It allows nothing any more.
    pub removed: bool,
}

/// A rule as it stands here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed<'a> {
    /// Its id.
    pub id: RuleId,
    /// What it says.
    pub rule: Named,
    /// Who signed the version that stands: the removal's author if it is removed.
    pub author: &'a Author,
    /// When, by that author's clock.
    pub stamp: Stamp,
}

impl RuleFact {
    /// The id that this rule has.
    #[must_use]
    pub fn id(&self) -> RuleId {
        let mut id = [0; 16];
        id.copy_from_slice(&sha256(&self.rule).0[..16]);
        RuleId(id)
    }

    /// Reads what it says.
    ///
    /// # Errors
    /// [`Refusal`] names the field and its rule.
    pub fn named(&self) -> Result<Named, Refusal> {
        let rule = Rule::decode(self.rule.clone()).map_err(|_| Refusal::Malformed)?;
        let client = rule.client.parse().map_err(|_| {
            Refusal::Field("client: HORDE/SERVICE or HORDE/*, and BLOC// before it if it is of another bloc")
        })?;
        let endpoint = rule.endpoint.parse().map_err(|_| Refusal::Field("endpoint: HORDE/SERVICE"))?;
        if rule.note.len() > NOTE_MAX || rule.note.chars().any(char::is_control) {
            return Err(Refusal::Field("note: at most 512 bytes, without control characters"));
        }
        if rule.nonce.len() != NONCE {
            return Err(Refusal::Field("nonce: 16 bytes"));
        }
        Ok(Named { client, endpoint, note: rule.note, made: rule.made, removed: self.removed })
    }
}

/// Judges the value of a rule's fact, as the table does before it is stored.
pub(super) fn judge(bloc: &BlocName, id: &RuleId, value: &[u8]) -> Result<(), Refusal> {
    if value.len() > VALUE_MAX {
        return Err(Refusal::Field("rule: longer than 4096 bytes"));
    }
    let fact = RuleFact::decode(value).map_err(|_| Refusal::Malformed)?;
    if fact.id() != *id {
        return Err(Refusal::Field("the id is not the hash of the rule: a rule is never changed, make another one"));
    }
    match fact.named()?.client.bloc {
        Some(of) if of == *bloc => Err(Refusal::Field("client: of this bloc, so it is named without the bloc")),
        _ => Ok(()),
    }
}

/// Whose horde a rule opens, of a value that may be anything.
pub(super) fn called_horde(value: Option<&[u8]>) -> Option<HordeName> {
    let named = RuleFact::decode(value?).ok()?.named().ok()?;
    Some(named.endpoint.horde)
}

/// Whether a version removes a rule.
pub(super) fn removes(statement: &Statement) -> bool {
    let removed = |value: &Bytes| RuleFact::decode(value.clone()).is_ok_and(|fact| fact.removed);
    statement.path.starts_with(RULES) && statement.value.as_ref().is_some_and(removed)
}

/// What wins of two versions of one rule: a removal.
pub(super) fn rank(version: &Checked) -> u32 {
    removes(version.statement()).into()
}

impl Facts {
    /// Every rule that is known, removed ones too, sorted by id.
    pub fn rules(&self) -> impl Iterator<Item = Listed<'_>> {
        self.store.records_under(RULES).filter_map(|(path, record)| {
            let Ok(Path::Rule(id)) = Path::parse(path) else { return None };
            let statement = record.winner()?.statement();
            let rule = RuleFact::decode(statement.value.clone()?).ok()?.named().ok()?;
            Some(Listed { id, rule, author: &statement.author, stamp: statement.stamp })
        })
    }

    /// Whether the rule of this path was removed.
    pub(super) fn is_removed_rule(&self, path: &str) -> bool {
        path.starts_with(RULES) && self.version(path).is_some_and(|version| removes(version.statement()))
    }

    /// How many removals of rules are kept. They cannot be taken away, so they take nobody's room.
    pub(super) fn removed_rules(&self) -> usize {
        let versions = self.store.records_under(RULES).filter_map(|(_, record)| record.winner());
        versions.filter(|version| removes(version.statement())).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule() -> Rule {
        Rule {
            client: "web/api".into(),
            endpoint: "data/db".into(),
            note: "reads".into(),
            made: 7,
            nonce: Bytes::from_static(&[3; NONCE]),
        }
    }

    fn fact(rule: &Rule, removed: bool) -> RuleFact {
        RuleFact { rule: rule.encode_to_vec().into(), removed }
    }

    fn judged(rule: &Rule) -> Result<(), Refusal> {
        let fact = fact(rule, false);
        judge(&"acme".parse().unwrap(), &fact.id(), &fact.encode_to_vec())
    }

    #[test]
    fn an_id_is_of_one_rule_and_of_its_removal() {
        let (stands, ended) = (fact(&rule(), false), fact(&rule(), true));
        assert_eq!(stands.id(), ended.id());
        assert!(!stands.named().unwrap().removed && ended.named().unwrap().removed);
        let acme = "acme".parse().unwrap();
        assert_eq!(judge(&acme, &stands.id(), &ended.encode_to_vec()), Ok(()));
        for other in [
            Rule { client: "web/*".into(), ..rule() },
            Rule { note: String::new(), ..rule() },
            Rule { nonce: Bytes::from_static(&[4; NONCE]), ..rule() },
        ] {
            let other = fact(&other, false).encode_to_vec();
            assert!(matches!(judge(&acme, &stands.id(), &other), Err(Refusal::Field(why)) if why.contains("hash")));
        }
    }

    #[test]
    fn what_a_rule_says_has_its_form() {
        assert_eq!(judged(&rule()), Ok(()));
        assert_eq!(judged(&Rule { client: "other//web/*".into(), note: "n".repeat(NOTE_MAX), ..rule() }), Ok(()));
        let field = |rule: Rule| match judged(&rule) {
            Err(Refusal::Field(why)) => why.split(':').next().unwrap(),
            other => panic!("{other:?}"),
        };
        for client in ["", "web", "*/*", "web/api/x", "Web/api", "acme//web/api"] {
            assert_eq!(field(Rule { client: client.into(), ..rule() }), "client", "{client}");
        }
        for endpoint in ["", "db", "data/*", "other//data/db", "data/DB"] {
            assert_eq!(field(Rule { endpoint: endpoint.into(), ..rule() }), "endpoint", "{endpoint}");
        }
        assert_eq!(field(Rule { note: "n".repeat(NOTE_MAX + 1), ..rule() }), "note");
        assert_eq!(field(Rule { note: "a\nb".into(), ..rule() }), "note");
        assert_eq!(field(Rule { nonce: Bytes::new(), ..rule() }), "nonce");
        let acme = "acme".parse().unwrap();
        assert_eq!(judge(&acme, &RuleId([0; 16]), b"\xff"), Err(Refusal::Malformed));
        let long = [0; VALUE_MAX + 1];
        assert!(matches!(judge(&acme, &RuleId([0; 16]), &long), Err(Refusal::Field(_))));
        let noise = RuleFact { rule: Bytes::from_static(b"\xff"), removed: false };
        assert_eq!(judge(&acme, &noise.id(), &noise.encode_to_vec()), Err(Refusal::Malformed));
    }

    #[test]
    fn the_called_horde_is_whose_scope_is_judged() {
        let value = fact(&rule(), true).encode_to_vec();
        assert_eq!(called_horde(Some(&value)), Some("data".parse().unwrap()));
        assert_eq!(called_horde(None), None);
        assert_eq!(called_horde(Some(b"\xff")), None);
    }
}
