//! Our own certificate extension: the admission number, the administrator's labels, and what an operator is limited to.
//!
//! Non-critical, so that other tools can still read the certificate; absent means admission 1, no labels and no limits. Its
//! value is a DER `SEQUENCE OF SEQUENCE OF UTF8String`: `("admission", decimal)`, `("label", key, value)` and
//! `("scope", verb, horde)`, where `*` stands for all; entries of other kinds are reserved for later releases and skipped.
//! A limit is never skipped: one of another form makes the certificate unreadable.

use crate::refusal::Refusal;
use crux_core::facts::scope::{SCOPES_MAX, Scope, Scopes};
use std::collections::BTreeMap;
use x509_cert::der::asn1::{ObjectIdentifier, OctetString};
use x509_cert::der::{self, Decode, Encode};
use x509_cert::ext::Extension;

/// Under the arc for UUIDs (2.25), which needs no registration, with a random number.
pub(crate) const OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.25.1906752461.1");

/// Most labels on one certificate.
const LABELS_MAX: usize = 32;
/// Longest key or value of a label, in bytes.
const LABEL_BYTES: usize = 63;

/// What the extension says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Admission {
    pub(crate) number: u32,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) scopes: Scopes,
}

impl Default for Admission {
    fn default() -> Self {
        Self { number: 1, labels: BTreeMap::new(), scopes: Scopes::default() }
    }
}

/// Whether the labels are few, short and printable: they are shown to people and matched by placement rules.
pub(crate) fn check_labels(labels: &BTreeMap<String, String>) -> Result<(), &'static str> {
    if labels.len() > LABELS_MAX {
        return Err("more than 32 labels");
    }
    for (key, value) in labels {
        if key.is_empty() || !key.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._/".contains(&b)) {
            return Err("a label's key may have letters, digits and -._/");
        }
        if !value.bytes().all(|b| b.is_ascii_graphic() || b == b' ') {
            return Err("a label's value may have printable ASCII only");
        }
        if key.len() > LABEL_BYTES || value.len() > LABEL_BYTES {
            return Err("a label's key and value may have 63 bytes each");
        }
    }
    Ok(())
}

/// Whether the scopes are few: each version of a fact carries them.
pub(crate) fn check_scopes(scopes: &Scopes) -> Result<(), &'static str> {
    if scopes.len() > SCOPES_MAX { Err("more than 64 scopes") } else { Ok(()) }
}

impl Admission {
    pub(crate) fn encode(&self) -> der::Result<Extension> {
        let mut rows = vec![vec!["admission".to_owned(), self.number.to_string()]];
        rows.extend(self.labels.iter().map(|(k, v)| vec!["label".to_owned(), k.clone(), v.clone()]));
        let scope = |scope: &Scope| {
            let (verb, horde) = scope.words();
            vec!["scope".to_owned(), verb.to_owned(), horde.to_owned()]
        };
        rows.extend(self.scopes.iter().map(scope));
        Ok(Extension { extn_id: OID, critical: false, extn_value: OctetString::new(rows.to_der()?)? })
    }

    pub(crate) fn decode(value: &[u8]) -> Result<Self, Refusal> {
        let rows = Vec::<Vec<String>>::from_der(value).map_err(|_| Refusal::Extension("not the expected encoding"))?;
        let mut admission = None;
        let mut labels = BTreeMap::new();
        let mut scopes = Scopes::default();
        for row in &rows {
            match row.iter().map(String::as_str).collect::<Vec<_>>()[..] {
                ["admission", number] => {
                    let parsed = number.parse::<u32>().ok().filter(|n| *n > 0 && n.to_string() == number);
                    let parsed = parsed.ok_or(Refusal::Extension("the admission number is not a number from 1"))?;
                    if admission.replace(parsed).is_some() {
                        return Err(Refusal::Extension("two admission numbers"));
                    }
                }
                ["label", key, value] => {
                    let before = labels.insert(key.to_owned(), value.to_owned());
                    before.map_or(Ok(()), |_| Err(Refusal::Extension("a label twice")))?;
                }
                ["scope", verb, horde] => {
                    let scope = Scope::of_words(verb, horde).ok_or(Refusal::Extension("a scope is none"))?;
                    if !scopes.add(scope) {
                        return Err(Refusal::Extension("a scope twice"));
                    }
                }
                ["scope", ..] => return Err(Refusal::Extension("a scope is none")),
                _ => {}
            }
        }
        check_labels(&labels).map_err(Refusal::Extension)?;
        check_scopes(&scopes).map_err(Refusal::Extension)?;
        Ok(Self { number: admission.unwrap_or(1), labels, scopes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_round_trips_and_skips_what_it_does_not_know() {
        let labels = BTreeMap::from([("zone".to_owned(), "a b".to_owned()), ("x/y".to_owned(), String::new())]);
        let scopes = Scope::parse_all("apply,horde@web,db").unwrap().into_iter();
        let scopes = scopes.chain(Scope::parse_all("expel").unwrap()).chain(Scope::parse_all("@x").unwrap()).collect();
        let admission = Admission { number: 7, labels, scopes };
        let extension = admission.encode().unwrap();
        assert!(!extension.critical);
        assert_eq!(Admission::decode(extension.extn_value.as_bytes()), Ok(admission));
        let later = vec![vec!["later".to_owned()]].to_der().unwrap();
        assert_eq!(Admission::decode(&later), Ok(Admission::default()));
    }

    #[test]
    fn malformed_ones_are_refused() {
        let rows = |rows: &[&[&str]]| {
            let rows: Vec<Vec<String>> = rows.iter().map(|r| r.iter().map(|s| (*s).to_owned()).collect()).collect();
            rows.to_der().unwrap()
        };
        let many = (0..=SCOPES_MAX).map(|n| vec!["scope".to_owned(), "apply".to_owned(), format!("h{n}")]);
        let many: Vec<Vec<String>> = many.collect();
        for bad in [
            b"junk".to_vec(),
            rows(&[&["admission", "0"]]),
            rows(&[&["admission", "+1"]]),
            rows(&[&["admission", "4294967296"]]),
            rows(&[&["admission", "1"], &["admission", "2"]]),
            rows(&[&["label", "a", "b"], &["label", "a", "c"]]),
            rows(&[&["label", "a", "\u{1b}[31m"]]),
            rows(&[&["label", "", "b"]]),
            rows(&[&["label", "a", &"x".repeat(64)]]),
            rows(&[&["scope"]]),
            rows(&[&["scope", "apply"]]),
            rows(&[&["scope", "apply", "web", "later"]]),
            rows(&[&["scope", "Apply", "web"]]),
            rows(&[&["scope", "apply", ""]]),
            rows(&[&["scope", "apply", "web"], &["scope", "apply", "web"]]),
            many.to_der().unwrap(),
        ] {
            assert!(matches!(Admission::decode(&bad), Err(Refusal::Extension(_))), "{bad:?}");
        }
    }
}
