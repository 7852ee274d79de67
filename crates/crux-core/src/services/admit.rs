//! Which fulcrums a horde may take: the operator's `where`, in words like `zone=a & node under site-a`.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use crux_names::{FulcrumId, NodeName};

#[derive(Clone, Debug, PartialEq, Eq)]
enum Term {
    Label { key: String, value: String },
    Under(NodeName),
}

/// A parsed `where`: every term must hold; no term admits everybody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admits(Vec<Term>);

impl Admits {
    /// Reads a `where`.
    ///
    /// # Errors
    /// A sentence that names the term and what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        text.split('&').map(|term| Self::term(term.trim())).collect::<Result<_, _>>().map(Self)
    }

    fn term(term: &str) -> Result<Term, String> {
        let words: Vec<&str> = term.split_whitespace().collect();
        if let ["node", "under", suffix] = words.as_slice() {
            return NodeName::parse(suffix).map(Term::Under).map_err(|error| error.to_string());
        }
        match term.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() && !value.trim().is_empty() && !value.contains('=') => {
                Ok(Term::Label { key: key.trim().into(), value: value.trim().into() })
            }
            _ => Err(format!("{term:?} is no condition: expected `label=value` or `node under suffix`, joined by `&`")),
        }
    }

    /// Whether this fulcrum, with these labels, may be taken.
    #[must_use]
    pub fn admits(&self, fulcrum: &FulcrumId, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|term| match term {
            Term::Label { key, value } => labels.get(key) == Some(value),
            Term::Under(suffix) => fulcrum.node.under(suffix.as_str()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_term_of_a_where_must_hold() {
        let labels = BTreeMap::from([("zone".to_string(), "a".to_string())]);
        let id: FulcrumId = "n1.site-a".parse().unwrap();
        for (text, admits) in [
            ("", true),
            ("zone=a", true),
            ("zone = a & node under site-a", true),
            ("zone=a & node under site-b", false),
            ("zone=b", false),
            ("size=big", false),
        ] {
            assert_eq!(Admits::parse(text).unwrap().admits(&id, &labels), admits, "{text:?}");
        }
    }

    #[test]
    fn a_where_that_says_nothing_is_refused_with_the_term() {
        for text in ["zone", "zone=", "a=b=c", "zone=a &", "node below x"] {
            assert!(Admits::parse(text).unwrap_err().contains("expected"), "{text:?}");
        }
        assert!(Admits::parse("node under X").unwrap_err().contains("not a node name"));
    }
}
