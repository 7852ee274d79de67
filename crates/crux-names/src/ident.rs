//! Who a fulcrum is: its id, its boot, and 256-bit hashes that name content.

use crate::{DEFAULT_FULCRUM, FulcrumName, NameError, NodeName};
use alloc::string::String;
use core::fmt;
use core::str::FromStr;

/// One crux process on a node. Printed as the node's name, or `node/fulcrum` where the node runs several.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FulcrumId {
    /// The node, from its certificate.
    pub node: NodeName,
    /// The fulcrum's name on that node, claimed in the welcome.
    pub fulcrum: FulcrumName,
}

impl FulcrumId {
    /// The node's default fulcrum.
    #[must_use]
    pub fn of(node: NodeName) -> Self {
        Self { node, fulcrum: FulcrumName::default_name() }
    }
}

impl fmt::Display for FulcrumId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.fulcrum.as_str() == DEFAULT_FULCRUM {
            f.pad(self.node.as_str())
        } else {
            f.pad(&alloc::format!("{}/{}", self.node, self.fulcrum))
        }
    }
}

impl fmt::Debug for FulcrumId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for FulcrumId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match text.split_once('/') {
            Some((node, fulcrum)) => Ok(Self { node: NodeName::parse(node)?, fulcrum: FulcrumName::parse(fulcrum)? }),
            None => Ok(Self::of(NodeName::parse(text)?)),
        }
    }
}

/// The number of one life of a fulcrum: `max(persisted + 1, unix seconds at start)`. A restart has a higher one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Boot(pub u64);

impl fmt::Display for Boot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

/// One life of one fulcrum: what a view's roster holds.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member {
    /// Which fulcrum.
    pub id: FulcrumId,
    /// Which of its lives.
    pub boot: Boot,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.id, self.boot)
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A SHA-256 hash: the name of some content. Shown as hex; its short form is the first 12 digits.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash256(pub [u8; 32]);

/// A text that is not 64 lower-case hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotHex;

impl fmt::Display for NotHex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected 64 lower-case hex digits")
    }
}

impl core::error::Error for NotHex {}

impl Hash256 {
    /// The first 12 hex digits, for people.
    #[must_use]
    pub fn short(&self) -> String {
        let mut text = alloc::format!("{self}");
        text.truncate(12);
        text
    }
}

impl fmt::Display for Hash256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

impl FromStr for Hash256 {
    type Err = NotHex;

    fn from_str(text: &str) -> Result<Self, NotHex> {
        if text.len() != 64 || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(NotHex);
        }
        let mut hash = [0; 32];
        for (i, byte) in hash.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).map_err(|_| NotHex)?;
        }
        Ok(Self(hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn a_default_fulcrum_is_printed_as_its_node() {
        let plain: FulcrumId = "n1.site-a".parse().unwrap();
        assert_eq!(plain.to_string(), "n1.site-a");
        let named: FulcrumId = "n1/b".parse().unwrap();
        assert_eq!(named.to_string(), "n1/b");
        assert!("n1/b.c".parse::<FulcrumId>().is_err());
    }

    #[test]
    fn hashes_round_trip_as_hex() {
        let hash = Hash256(core::array::from_fn(|i| i as u8));
        assert_eq!(hash.to_string().parse(), Ok(hash));
        assert_eq!(hash.short(), "000102030405");
        assert_eq!("AB".parse::<Hash256>(), Err(NotHex));
    }
}
