//! Which fulcrums a horde may take: the operator's `where`, in words like `zone=a & node under site-a`.

use crate::khan::{Where, read_where};
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use crux_names::FulcrumId;

/// A parsed `where`: every term must hold; no term admits everybody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admits(Where);

impl Admits {
    /// Reads a `where` that is in force. Of what commands and doors take it takes everything, and beside that what no
    /// fulcrum can meet: such a one may be in force from before that was refused, and admits nobody.
    ///
    /// # Errors
    /// A sentence that says where it is wrong and what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        read_where(text).map(Self).map_err(|error| error.to_string())
    }

    /// Whether this fulcrum, with these labels, may be taken.
    #[must_use]
    pub fn admits(&self, fulcrum: &FulcrumId, labels: &BTreeMap<String, String>) -> bool {
        self.0.admits(fulcrum, labels)
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
            ("zone", true),
            ("gpu", false),
            ("zone=\"a\"", true),
            ("size=big", false),
            ("zone=a & zone=b", false),
            ("node under site-a & node under site-b", false),
        ] {
            assert_eq!(Admits::parse(text).unwrap().admits(&id, &labels), admits, "{text:?}");
        }
    }

    #[test]
    fn a_where_that_says_nothing_is_refused_with_the_term() {
        for text in ["zone=", "a=b=c", "zone=a &", "node below x"] {
            assert!(Admits::parse(text).unwrap_err().contains("expected"), "{text:?}");
        }
        assert!(Admits::parse("node under X").unwrap_err().contains("the end of a node's name"));
    }
}
