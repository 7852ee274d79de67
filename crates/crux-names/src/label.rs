//! Names made of labels: blocs, nodes, fulcrums, hordes, services and operators.

use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;

/// The conventional horde that runs the bloc-wide services. An overlay: its members keep their home horde.
pub const ADMIN: &str = "ADMIN";
/// The horde of every fulcrum that nobody placed.
pub const MAIN: &str = "main";
/// The name of a node's only fulcrum, left out when names are printed.
pub const DEFAULT_FULCRUM: &str = "0";

/// Longest label in bytes (RFC 1035, and the SPIFFE path segments we build from labels).
const LABEL_MAX: usize = 63;
/// Longest dotted name in bytes (RFC 1035).
const DOTTED_MAX: usize = 253;

/// Why a text is not a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidName {
    /// The text, or a label between two dots, is empty.
    Empty,
    /// A label is longer than 63 bytes, or the whole name is longer than 253.
    TooLong,
    /// The character at this byte offset is not a lower-case letter, a digit or `-` (or `.`, where dots are allowed).
    Character(usize),
    /// A label begins or ends with `-`.
    Hyphen,
}

/// A refused name: what it was meant to be, its text (escaped when shown) and the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameError {
    /// What kind of name was expected, in words: `node name`.
    pub kind: &'static str,
    /// The text as it was given.
    pub text: String,
    /// What is wrong with it.
    pub reason: InvalidName,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not a {}: ", self.text, self.kind)?;
        match self.reason {
            InvalidName::Empty => f.write_str("it has an empty label"),
            InvalidName::TooLong => f.write_str("a label may have 63 bytes and a name 253"),
            InvalidName::Character(at) => {
                write!(f, "the character at byte {at} is not a lower-case letter, a digit or '-'")
            }
            InvalidName::Hyphen => f.write_str("a label may not begin or end with '-'"),
        }
    }
}

impl core::error::Error for NameError {}

fn check_label(label: &str, offset: usize) -> Result<(), InvalidName> {
    if label.is_empty() {
        return Err(InvalidName::Empty);
    }
    if let Some(at) = label.bytes().position(|b| !matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-')) {
        return Err(InvalidName::Character(offset + at));
    }
    if label.len() > LABEL_MAX {
        return Err(InvalidName::TooLong);
    }
    if label.starts_with('-') || label.ends_with('-') {
        return Err(InvalidName::Hyphen);
    }
    Ok(())
}

fn check_dotted(text: &str) -> Result<(), InvalidName> {
    let mut offset = 0;
    for label in text.split('.') {
        check_label(label, offset)?;
        offset += label.len() + 1;
    }
    if text.len() > DOTTED_MAX { Err(InvalidName::TooLong) } else { Ok(()) }
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $kind:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(Arc<str>);

        impl $type {
            /// Checks the text against the rules of this kind of name.
            ///
            /// # Errors
            /// [`NameError`] says which rule the text breaks.
            pub fn parse(text: &str) -> Result<Self, NameError> {
                let check: fn(&str) -> Result<(), InvalidName> = $check;
                match check(text) {
                    Ok(()) => Ok(Self(text.into())),
                    Err(reason) => Err(NameError { kind: $kind, text: text.into(), reason }),
                }
            }

            /// The name's text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl core::str::FromStr for $type {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::parse(text)
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

name!(
    /// A bloc: the SPIFFE trust domain. Dots allowed.
    BlocName, "bloc name", check_dotted
);
name!(
    /// A node, from its certificate. Dots allowed: `n1.rack3.site-a`.
    NodeName, "node name", check_dotted
);
name!(
    /// A fulcrum of a node: a single label, `0` where the node runs only one.
    FulcrumName, "fulcrum name", |text| check_label(text, 0)
);
name!(
    /// A horde: a single label, or the conventional [`ADMIN`].
    HordeName, "horde name", |text| if text == ADMIN { Ok(()) } else { check_label(text, 0) }
);
name!(
    /// A service: a single label.
    ServiceName, "service name", |text| check_label(text, 0)
);
name!(
    /// An operator, from the operator's certificate. Dots allowed.
    OperatorName, "operator name", check_dotted
);

impl FulcrumName {
    /// The name of a node's only fulcrum, `0`.
    #[must_use]
    pub fn default_name() -> Self {
        Self(DEFAULT_FULCRUM.into())
    }
}

impl HordeName {
    /// The horde of every fulcrum that nobody placed.
    #[must_use]
    pub fn main() -> Self {
        Self(MAIN.into())
    }

    /// The horde of the bloc-wide services.
    #[must_use]
    pub fn admin() -> Self {
        Self(ADMIN.into())
    }
}

impl NodeName {
    /// Whether the node lies under this dotted suffix: `n1.rack3.site-a` lies under `site-a` and `rack3.site-a`.
    #[must_use]
    pub fn under(&self, suffix: &str) -> bool {
        self.0.strip_suffix(suffix).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn names_obey_their_rules() {
        assert!(NodeName::parse("n1.rack3.site-a").is_ok());
        assert!(BlocName::parse("acme.prod").is_ok());
        assert!(ServiceName::parse("api").is_ok());
        for (text, reason) in [
            ("", InvalidName::Empty),
            ("a..b", InvalidName::Empty),
            ("N1", InvalidName::Character(0)),
            ("n1.Rack", InvalidName::Character(3)),
            ("n%31", InvalidName::Character(1)),
            ("n\u{0}", InvalidName::Character(1)),
            ("n\u{430}", InvalidName::Character(1)),
            ("-n", InvalidName::Hyphen),
            ("n-", InvalidName::Hyphen),
        ] {
            assert_eq!(NodeName::parse(text).unwrap_err().reason, reason, "{text:?}");
        }
        assert_eq!(ServiceName::parse("a.b").unwrap_err().reason, InvalidName::Character(1));
        assert_eq!(NodeName::parse(&"a".repeat(64)).unwrap_err().reason, InvalidName::TooLong);
        assert!(HordeName::parse("ADMIN").is_ok());
        assert!(HordeName::parse("ADMIn").is_err());
    }

    #[test]
    fn refusals_are_escaped_and_say_why() {
        let text = NodeName::parse("n\u{1b}[31m").unwrap_err().to_string();
        assert_eq!(
            text,
            "\"n\\u{1b}[31m\" is not a node name: the character at byte 1 is not a lower-case letter, a digit or '-'"
        );
    }

    #[test]
    fn a_suffix_matches_whole_labels_only() {
        let node = NodeName::parse("n1.rack3.site-a").unwrap();
        assert!(node.under("site-a") && node.under("rack3.site-a") && node.under("n1.rack3.site-a"));
        assert!(!node.under("a") && !node.under("ack3.site-a"));
    }
}
