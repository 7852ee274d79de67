//! Paths of facts, parsed once. A path has one spelling, so that one thing cannot have two facts.

use super::{rule, value};
use alloc::string::String;
use core::fmt;
use crux_names::{FulcrumId, FulcrumName, Hash256, HordeName, NodeName, RuleId, ServiceName};

/// What a fact is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Path {
    /// `horde/<horde>`.
    Horde(HordeName),
    /// `muster/<service>/<revision>`.
    Muster(ServiceName, Hash256),
    /// `place/<horde>/<service>`.
    Place(HordeName, ServiceName),
    /// `row/<node>/<fulcrum>`.
    Row(FulcrumId),
    /// `expel/<node>`.
    Expel(NodeName),
    /// `cordon/<node>/<fulcrum>`.
    Cordon(FulcrumId),
    /// `label/<node>`.
    Label(NodeName),
    /// `rule/<id>`.
    Rule(RuleId),
    /// `horizon`.
    Horizon,
}

/// Why a text is not the path of a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BadPath {
    /// Its first word is none that this version knows.
    Kind,
    /// It has too few or too many words, or one of them is no name of its kind.
    Words,
}

impl fmt::Display for BadPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kind => {
                "no kind of fact that this version knows (horde, muster, place, row, expel, cordon, label, rule, horizon)"
            }
            Self::Words => "a word of the path is missing, too many or not a name of its kind",
        })
    }
}

impl core::error::Error for BadPath {}

impl Path {
    /// Reads a path.
    ///
    /// # Errors
    /// [`BadPath`] says which rule the text breaks.
    pub fn parse(text: &str) -> Result<Self, BadPath> {
        let words = |_| BadPath::Words;
        let (kind, rest) = text.split_once('/').unwrap_or((text, ""));
        let pair = || rest.split_once('/').ok_or(BadPath::Words);
        Ok(match kind {
            "horde" => Self::Horde(HordeName::parse(rest).map_err(words)?),
            "muster" => {
                let (service, revision) = pair()?;
                let revision = revision.parse().map_err(|_| BadPath::Words)?;
                Self::Muster(ServiceName::parse(service).map_err(words)?, revision)
            }
            "place" => {
                let (horde, service) = pair()?;
                Self::Place(HordeName::parse(horde).map_err(words)?, ServiceName::parse(service).map_err(words)?)
            }
            "row" => Self::Row(fulcrum(pair()?)?),
            "expel" => Self::Expel(NodeName::parse(rest).map_err(words)?),
            "cordon" => Self::Cordon(fulcrum(pair()?)?),
            "label" => Self::Label(NodeName::parse(rest).map_err(words)?),
            "rule" => Self::Rule(rest.parse().map_err(|_| BadPath::Words)?),
            "horizon" if text == kind => Self::Horizon,
            "horizon" => return Err(BadPath::Words),
            _ => return Err(BadPath::Kind),
        })
    }

    /// The path's text.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Horde(horde) => value::horde_path(horde),
            Self::Muster(service, revision) => value::muster_path(service, revision),
            Self::Place(horde, service) => value::place_path(horde, service),
            Self::Row(fulcrum) => value::row_path(fulcrum),
            Self::Expel(node) => value::expel_path(node),
            Self::Cordon(fulcrum) => value::cordon_path(fulcrum),
            Self::Label(node) => value::label_path(node),
            Self::Rule(id) => rule::rule_path(id),
            Self::Horizon => value::HORIZON.into(),
        }
    }
}

fn fulcrum((node, fulcrum): (&str, &str)) -> Result<FulcrumId, BadPath> {
    Ok(FulcrumId {
        node: NodeName::parse(node).map_err(|_| BadPath::Words)?,
        fulcrum: FulcrumName::parse(fulcrum).map_err(|_| BadPath::Words)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_one_spelling() {
        let hash = "ab".repeat(32);
        let muster = alloc::format!("muster/api/{hash}");
        for text in [
            "horde/web",
            "horde/ADMIN",
            "place/main/api",
            "row/n1.site-a/0",
            "expel/n1.site-a",
            "cordon/n1.site-a/0",
            "label/n1.site-a",
            "rule/01ARZ3NDEKTSV4RRFFQ69G5FAV",
            "horizon",
            muster.as_str(),
        ] {
            assert_eq!(Path::parse(text).map(|path| path.text()).as_deref(), Ok(text));
        }
        for (text, why) in [
            ("", BadPath::Kind),
            ("hordes/web", BadPath::Kind),
            ("rules/1", BadPath::Kind),
            ("horde/", BadPath::Words),
            ("horde/web/api", BadPath::Words),
            ("horde/Web", BadPath::Words),
            ("place/web", BadPath::Words),
            ("place/web/api/x", BadPath::Words),
            ("row/n1", BadPath::Words),
            ("expel/n1/0", BadPath::Words),
            ("row//0", BadPath::Words),
            ("cordon/n1", BadPath::Words),
            ("cordon/n1/0/x", BadPath::Words),
            ("label/n1/0", BadPath::Words),
            ("label/", BadPath::Words),
            ("rule/", BadPath::Words),
            ("rule/1", BadPath::Words),
            ("rule/01arz3ndektsv4rrffq69g5fav", BadPath::Words),
            ("rule/91ARZ3NDEKTSV4RRFFQ69G5FAV", BadPath::Words),
            ("rule/01ARZ3NDEKTSV4RRFFQ69G5FAV/x", BadPath::Words),
            ("horizon/", BadPath::Words),
            ("horizon/1", BadPath::Words),
            ("muster/api/1", BadPath::Words),
        ] {
            assert_eq!(Path::parse(text), Err(why), "{text}");
        }
    }
}
