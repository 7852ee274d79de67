//! The `where` of hordes: which fulcrums a horde may take. `zone=a`, `gpu`, `node under site-a`, joined by `&`.

use super::ast::At;
use super::error::{Error, Problem};
use super::lexer::Lexer;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use crux_names::{FulcrumId, NodeName};

/// One condition on a fulcrum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Term {
    /// It has this label, with this value if one is given.
    Label {
        /// The label's key.
        key: String,
        /// Its value; `None`: any.
        value: Option<String>,
    },
    /// Its node's name is this one or ends with it after a dot.
    Under(NodeName),
}

/// Conditions that all must hold. Empty: any fulcrum.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Where(pub Vec<Term>);

impl Where {
    /// Whether a fulcrum with these labels may be taken.
    #[must_use]
    pub fn admits(&self, fulcrum: &FulcrumId, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|term| match term {
            Term::Label { key, value: None } => labels.contains_key(key),
            Term::Label { key, value: Some(value) } => labels.get(key) == Some(value),
            Term::Under(suffix) => fulcrum.node.under(suffix.as_str()),
        })
    }
}

impl fmt::Display for Where {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, term) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(" & ")?;
            }
            write!(f, "{term}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use super::ast::Word;
        match self {
            Self::Label { key, value: None } => write!(f, "{}", Word(key)),
            Self::Label { key, value: Some(value) } => write!(f, "{}={}", Word(key), Word(value)),
            Self::Under(suffix) => write!(f, "node under {suffix}"),
        }
    }
}

impl Term {
    /// Why no fulcrum meets both.
    fn excludes(&self, other: &Self) -> Option<&'static str> {
        match (self, other) {
            (Self::Label { key, value: Some(one) }, Self::Label { key: same, value: Some(another) })
                if key == same && one != another =>
            {
                Some("a label has one value")
            }
            (Self::Under(one), Self::Under(another))
                if !one.under(another.as_str()) && !another.under(one.as_str()) =>
            {
                Some("neither lies under the other")
            }
            _ => None,
        }
    }
}

/// Reads the `where` of a horde that somebody writes now; an empty text admits every fulcrum. What no fulcrum could ever
/// meet is refused: the horde would wait for ever.
///
/// # Errors
/// [`Error`] says where and what.
pub fn parse_where(text: &str) -> Result<Where, Error> {
    let terms = terms(text)?;
    for (index, (at, term)) in terms.iter().enumerate() {
        for (_, first) in &terms[..index] {
            if let Some(why) = first.excludes(term) {
                let (first, second) = (format!("{first}"), format!("{term}"));
                return Err(Error { at: *at, problem: Problem::Contradiction { first, second, why } });
            }
        }
    }
    Ok(Where(terms.into_iter().map(|(_, term)| term).collect()))
}

/// Reads the `where` of a horde that is in force: also one that admits nobody, which was taken before that was refused, or
/// by another version.
///
/// # Errors
/// [`Error`] says where and what.
pub fn read_where(text: &str) -> Result<Where, Error> {
    Ok(Where(terms(text)?.into_iter().map(|(_, term)| term).collect()))
}

fn terms(text: &str) -> Result<Vec<(At, Term)>, Error> {
    let mut lexer = Lexer::new(text);
    let mut terms = Vec::new();
    while !lexer.end() {
        if !terms.is_empty() {
            lexer.need("&", "'&' or the end")?;
        }
        let at = lexer.at();
        let key = lexer.raw("a label or `node under <suffix>`")?;
        if key == "node" && lexer.keyword("under") {
            let before = lexer.clone();
            let suffix = lexer.raw("the end of a node's name")?;
            let suffix = NodeName::parse(&suffix).map_err(|_| before.wrong("the end of a node's name"))?;
            terms.push((at, Term::Under(suffix)));
            continue;
        }
        let value = if lexer.sign("=") { Some(lexer.raw("a label's value")?) } else { None };
        terms.push((at, Term::Label { key: key.to_string(), value }));
    }
    Ok(terms)
}
