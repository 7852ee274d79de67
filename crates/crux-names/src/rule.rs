//! Names of rules: who may call, what may be called, and the id of a rule that says so.

use crate::{BlocName, HordeName, NameError, ServiceName};
use alloc::string::String;
use core::fmt::{self, Write as _};
use core::str::FromStr;

/// Stands for every service of a horde.
const ALL: &str = "*";
/// Between another bloc's name and its horde.
const BLOC: &str = "//";

/// Who may call: `web/api`, all of a horde as `web/*`, and in another bloc `otherbloc//web/api` or `otherbloc//web/*`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientName {
    /// Another bloc; `None` is this one.
    pub bloc: Option<BlocName>,
    /// The horde.
    pub horde: HordeName,
    /// The service; `None` is every service of the horde.
    pub service: Option<ServiceName>,
}

/// What may be called: a service of this bloc, `data/db`, and with that every instance of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointName {
    /// The horde.
    pub horde: HordeName,
    /// The service.
    pub service: ServiceName,
}

/// Why a text is neither a client nor an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BadRuleName {
    /// A word of it is no name of its kind.
    Name(NameError),
    /// There is no `/` between a horde and a service.
    NoService(String),
    /// An endpoint of another bloc.
    OtherBloc(String),
    /// An endpoint that is no single service.
    AllServices(String),
}

impl fmt::Display for BadRuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(bad) => bad.fmt(f),
            Self::NoService(text) => {
                let of_main = text.escape_debug();
                write!(
                    f,
                    "{text:?} has no '/' between a horde and a service: HORDE/SERVICE, main/{of_main} if it is of main"
                )
            }
            Self::OtherBloc(text) => {
                write!(f, "{text:?} is of another bloc: what may be called there is said by the operators there")
            }
            Self::AllServices(text) => write!(f, "{text:?} is no single service: an endpoint is one, HORDE/SERVICE"),
        }
    }
}

impl core::error::Error for BadRuleName {}

impl From<NameError> for BadRuleName {
    fn from(bad: NameError) -> Self {
        Self::Name(bad)
    }
}

fn horde_and_service(text: &str) -> Result<(HordeName, &str), BadRuleName> {
    let (horde, service) = text.split_once('/').ok_or_else(|| BadRuleName::NoService(text.into()))?;
    Ok((HordeName::parse(horde)?, service))
}

impl ClientName {
    /// Whether it means at least all whom the other one means.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.bloc == other.bloc
            && self.horde == other.horde
            && (self.service.is_none() || self.service == other.service)
    }
}

impl FromStr for ClientName {
    type Err = BadRuleName;

    fn from_str(text: &str) -> Result<Self, BadRuleName> {
        let (bloc, rest) = match text.split_once(BLOC) {
            Some((bloc, rest)) => (Some(BlocName::parse(bloc)?), rest),
            None => (None, text),
        };
        let (horde, service) = horde_and_service(rest)?;
        let service = if service == ALL { None } else { Some(ServiceName::parse(service)?) };
        Ok(Self { bloc, horde, service })
    }
}

impl fmt::Display for ClientName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(bloc) = &self.bloc {
            write!(f, "{bloc}{BLOC}")?;
        }
        write!(f, "{}/{}", self.horde, self.service.as_ref().map_or(ALL, ServiceName::as_str))
    }
}

impl FromStr for EndpointName {
    type Err = BadRuleName;

    fn from_str(text: &str) -> Result<Self, BadRuleName> {
        if text.contains(BLOC) {
            return Err(BadRuleName::OtherBloc(text.into()));
        }
        let (horde, service) = horde_and_service(text)?;
        if service == ALL {
            return Err(BadRuleName::AllServices(text.into()));
        }
        Ok(Self { horde, service: ServiceName::parse(service)? })
    }
}

impl fmt::Display for EndpointName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.horde, self.service)
    }
}

/// The id of a rule: 128 bits, written as a ULID is: 26 digits of Crockford's base 32, in capitals. No other spelling is one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(pub [u8; 16]);

/// Crockford's digits: no I, L, O and U, which people take for others.
const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Digits of an id; the first one has three bits only.
const LENGTH: u32 = 26;

/// A text that is no rule's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotARuleId;

impl fmt::Display for NotARuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "expected 26 digits of a rule's id: 0 to 9 and A to Z without I, L, O and U, the first one at most 7",
        )
    }
}

impl core::error::Error for NotARuleId {}

impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = u128::from_be_bytes(self.0);
        (0..LENGTH).rev().try_for_each(|place| f.write_char(char::from(DIGITS[(bits >> (5 * place) & 31) as usize])))
    }
}

impl fmt::Debug for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for RuleId {
    type Err = NotARuleId;

    fn from_str(text: &str) -> Result<Self, NotARuleId> {
        if text.len() != LENGTH as usize || text.as_bytes()[0] > b'7' {
            return Err(NotARuleId);
        }
        let digit = |byte: u8| DIGITS.iter().position(|digit| *digit == byte).ok_or(NotARuleId);
        let bits = text.bytes().try_fold(0_u128, |bits, byte| Ok(bits << 5 | digit(byte)? as u128))?;
        Ok(Self(bits.to_be_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn clients_and_endpoints_have_one_spelling() {
        for text in ["web/api", "web/*", "ADMIN/steward", "other.prod//web/api", "other//web/*"] {
            assert_eq!(text.parse::<ClientName>().unwrap().to_string(), text);
        }
        assert_eq!("data/db".parse::<EndpointName>().unwrap().to_string(), "data/db");
    }

    #[test]
    fn what_is_no_name_says_where() {
        let client = |text: &str| text.parse::<ClientName>().unwrap_err().to_string();
        let endpoint = |text: &str| text.parse::<EndpointName>().unwrap_err().to_string();
        assert_eq!(
            client("api"),
            "\"api\" has no '/' between a horde and a service: HORDE/SERVICE, main/api if it is of main"
        );
        assert!(client("web/Api").starts_with("\"Api\" is not a service name: the character at byte 0"));
        assert!(client("*/*").starts_with("\"*\" is not a horde name"));
        assert!(client("web/").starts_with("\"\" is not a service name"));
        assert!(client("/api").starts_with("\"\" is not a horde name"));
        assert!(client("//web/api").starts_with("\"\" is not a bloc name"));
        assert!(client("a//b//c").starts_with("\"/c\" is not a service name"));
        assert!(client("other//web").contains("has no '/'"));
        assert!(client("web/api/x").starts_with("\"api/x\" is not a service name: the character at byte 3"));
        assert!(client("web/a*").starts_with("\"a*\" is not a service name"));
        assert!(client(" web/api").starts_with("\" web\" is not a horde name"));
        assert!(endpoint("other//data/db").contains("is of another bloc"));
        assert!(endpoint("data/*").contains("is no single service"));
        assert!(endpoint("db").contains("main/db"));
        assert!(endpoint("data/d\u{1b}").contains("\\u{1b}"));
    }

    #[test]
    fn a_whole_horde_covers_each_of_its_services_and_nobody_elses() {
        let covers = |wide: &str, narrow: &str| {
            wide.parse::<ClientName>().unwrap().covers(&narrow.parse::<ClientName>().unwrap())
        };
        assert!(covers("web/*", "web/api") && covers("web/*", "web/*") && covers("web/api", "web/api"));
        assert!(!covers("web/api", "web/*") && !covers("web/*", "db/api") && !covers("web/*", "other//web/api"));
    }

    #[test]
    fn an_id_has_one_spelling() {
        for (id, text) in [
            (RuleId([0; 16]), "00000000000000000000000000"),
            (RuleId([255; 16]), "7ZZZZZZZZZZZZZZZZZZZZZZZZZ"),
            (RuleId(*b"0123456789abcdef"), "1G64S36D1N6RVKGEB1C9HP8SB6"),
        ] {
            assert_eq!((id.to_string().as_str(), text.parse()), (text, Ok(id)));
        }
        for bad in [
            "",
            "0000000000000000000000000",
            "000000000000000000000000000",
            "80000000000000000000000000",
            "0000000000000000000000000a",
            "0000000000000000000000000I",
            "0000000000000000000000000U",
            "000000000000000000000000 0",
            "Z0000000000000000000000000",
            "000000000000000000000000é",
        ] {
            assert_eq!(bad.parse::<RuleId>(), Err(NotARuleId), "{bad}");
        }
    }
}
