//! Who a certificate speaks for: exactly one SPIFFE URI, `spiffe://<bloc>/<role>/<name>`, read bytewise.

use crate::refusal::{Refusal, UriTrick};
use crux_names::{BlocName, HordeName, NodeName, OperatorName, ServiceName};
use std::borrow::Cow;
use std::fmt;

/// What a certificate may act as, from the first path segment of its URI.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// `/node/<node>`: a member of the mesh. It can do no operator verb.
    Node(NodeName),
    /// `/operator/<name>`: may command; never a member of the mesh.
    Operator(OperatorName),
    /// `/beacon/<name>`: an external node that listens. Its name obeys the rules of node names.
    Beacon(NodeName),
    /// `/horde/<horde>/<service>`: an instance of a service, for programs that speak TLS themselves; never a member.
    Workload {
        /// The horde.
        horde: HordeName,
        /// The service in it.
        service: ServiceName,
    },
}

/// The roles without their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RoleKind {
    /// A member of the mesh.
    Node,
    /// Somebody who commands.
    Operator,
    /// An external listener.
    Beacon,
    /// An instance of a service.
    Workload,
}

impl RoleKind {
    /// The role in words: `node`, `operator`, `beacon` or `workload`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Operator => "operator",
            Self::Beacon => "beacon",
            Self::Workload => "workload",
        }
    }

    /// The same with its article: `an operator`.
    #[must_use]
    pub const fn with_article(self) -> &'static str {
        match self {
            Self::Node => "a node",
            Self::Operator => "an operator",
            Self::Beacon => "a beacon",
            Self::Workload => "a workload",
        }
    }

    /// The role's path segment in the URI: its word, but `horde` for workloads.
    #[must_use]
    pub const fn segment(self) -> &'static str {
        match self {
            Self::Workload => "horde",
            other => other.as_str(),
        }
    }

    /// The longest life that a verifier accepts for this role, in days.
    #[must_use]
    pub const fn max_days(self) -> u32 {
        match self {
            Self::Node => crate::NODE_MAX_DAYS,
            Self::Operator | Self::Beacon => crate::OPERATOR_MAX_DAYS,
            Self::Workload => crate::WORKLOAD_MAX_DAYS,
        }
    }

    /// The life that the CA gives if none is asked for, in days: short of the cap, so that renewing in time is easy.
    #[must_use]
    pub const fn usual_days(self) -> u32 {
        match self {
            Self::Node => 365,
            Self::Operator | Self::Beacon => 90,
            Self::Workload => 1,
        }
    }
}

impl fmt::Display for RoleKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Role {
    /// Which role, without the name.
    #[must_use]
    pub const fn kind(&self) -> RoleKind {
        match self {
            Self::Node(_) => RoleKind::Node,
            Self::Operator(_) => RoleKind::Operator,
            Self::Beacon(_) => RoleKind::Beacon,
            Self::Workload { .. } => RoleKind::Workload,
        }
    }

    /// The name within the role; `<horde>/<service>` for workloads.
    #[must_use]
    pub fn name(&self) -> Cow<'_, str> {
        match self {
            Self::Node(name) | Self::Beacon(name) => name.as_str().into(),
            Self::Operator(name) => name.as_str().into(),
            Self::Workload { horde, service } => format!("{horde}/{service}").into(),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind().segment(), self.name())
    }
}

impl fmt::Debug for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A bloc and a role in it. Printed as its URI.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// The bloc: the URI's trust domain.
    pub bloc: BlocName,
    /// The role and name within the bloc.
    pub role: Role,
}

/// What is wrong with a URI before its form is looked at: each of these once let somebody be two people to two programs.
fn trick(uri: &str) -> Option<UriTrick> {
    let rest = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    let (authority, path) = rest.split_once('/').unwrap_or((rest, "x"));
    let has = |c: char| uri.contains(c);
    let found = [
        (uri.contains(char::is_control), UriTrick::Control),
        (!uri.is_ascii(), UriTrick::NotAscii),
        (has(' '), UriTrick::Space),
        (has('%'), UriTrick::Percent),
        (has('?'), UriTrick::Query),
        (has('#'), UriTrick::Fragment),
        (has('@'), UriTrick::UserInfo),
        (uri.contains("://") && authority.contains(':'), UriTrick::Port),
        (uri.replacen("/horde/ADMIN/", "", 1).contains(|c: char| c.is_ascii_uppercase()), UriTrick::UpperCase),
        (path.split('/').any(|segment| segment == "." || segment == ".."), UriTrick::DotSegment),
        (uri.contains("://") && (authority.is_empty() || path.split('/').any(str::is_empty)), UriTrick::EmptySegment),
    ];
    found.into_iter().find_map(|(there, trick)| there.then_some(trick))
}

impl Identity {
    /// Reads `spiffe://<bloc>/<role>/<name>`. Nothing is decoded, folded or trimmed: what is not exactly of this form
    /// and of our alphabet is refused.
    ///
    /// # Errors
    /// [`Refusal::Trick`] for what could be read in two ways, [`Refusal::MalformedUri`] for another form or role,
    /// [`Refusal::BadName`] for a name that breaks its rules.
    pub fn parse(uri: &str) -> Result<Self, Refusal> {
        if let Some(trick) = trick(uri) {
            return Err(Refusal::Trick { uri: uri.to_owned(), trick });
        }
        let malformed = || Refusal::MalformedUri { uri: uri.to_owned() };
        let rest = uri.strip_prefix("spiffe://").ok_or_else(malformed)?;
        let (bloc, path) = rest.split_once('/').ok_or_else(malformed)?;
        let (role, name) = path.split_once('/').ok_or_else(malformed)?;
        let bloc = BlocName::parse(bloc).map_err(Refusal::BadName)?;
        let role = match (role, name.split_once('/')) {
            ("node", None) => Role::Node(NodeName::parse(name).map_err(Refusal::BadName)?),
            ("operator", None) => Role::Operator(OperatorName::parse(name).map_err(Refusal::BadName)?),
            ("beacon", None) => Role::Beacon(NodeName::parse(name).map_err(Refusal::BadName)?),
            ("horde", Some((horde, service))) => Role::Workload {
                horde: HordeName::parse(horde).map_err(Refusal::BadName)?,
                service: ServiceName::parse(service).map_err(Refusal::BadName)?,
            },
            _ => return Err(malformed()),
        };
        Ok(Self { bloc, role })
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spiffe://{}/{}", self.bloc, self.role)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_prints_as_the_uri_it_was_read_from() {
        for uri in [
            "spiffe://acme.prod/node/n1.rack3.site-a",
            "spiffe://acme/operator/ann",
            "spiffe://acme/beacon/watch",
            "spiffe://acme/horde/web/api",
            "spiffe://acme/horde/ADMIN/steward",
        ] {
            assert_eq!(Identity::parse(uri).unwrap().to_string(), uri);
        }
        let role = Identity::parse("spiffe://acme/horde/web/api").unwrap().role;
        assert_eq!((role.kind(), &*role.name(), role.kind().max_days()), (RoleKind::Workload, "web/api", 1));
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_called_by_its_name() {
        for (uri, expected) in [
            ("SPIFFE://acme/node/n1", UriTrick::UpperCase),
            ("spiffe://Acme/node/n1", UriTrick::UpperCase),
            ("spiffe://acme/Node/n1", UriTrick::UpperCase),
            ("spiffe://acme/node/N1", UriTrick::UpperCase),
            ("spiffe://acme/horde/Web/api", UriTrick::UpperCase),
            ("spiffe://acme/node/n%31", UriTrick::Percent),
            ("spiffe://acme/node/%2e%2e/n1", UriTrick::Percent),
            ("spiffe://acme/node/..", UriTrick::DotSegment),
            ("spiffe://acme/node/./n1", UriTrick::DotSegment),
            ("spiffe://acme/node/n1/../n2", UriTrick::DotSegment),
            ("spiffe://acme/node/n1\0", UriTrick::Control),
            ("spiffe://acme/node/n1\n", UriTrick::Control),
            ("spiffe://acme/node/n1\u{1b}[31m", UriTrick::Control),
            ("spiffe://acme/node/n\u{430}1", UriTrick::NotAscii),
            ("spiffe://\u{430}cme/node/n1", UriTrick::NotAscii),
            ("spiffe://acme/node/n1?x", UriTrick::Query),
            ("spiffe://acme/node/n1#x", UriTrick::Fragment),
            ("spiffe://acme:1/node/n1", UriTrick::Port),
            ("spiffe://u@acme/node/n1", UriTrick::UserInfo),
            ("spiffe://u:p@acme/node/n1", UriTrick::UserInfo),
            ("spiffe://acme/node/n1 ", UriTrick::Space),
            ("spiffe://acme/node/n1/", UriTrick::EmptySegment),
            ("spiffe://acme/node/", UriTrick::EmptySegment),
            ("spiffe://acme//node/n1", UriTrick::EmptySegment),
            ("spiffe://acme/node//n1", UriTrick::EmptySegment),
            ("spiffe:///node/n1", UriTrick::EmptySegment),
            ("spiffe://acme/", UriTrick::EmptySegment),
        ] {
            let refusal = Identity::parse(uri).unwrap_err();
            assert!(matches!(&refusal, Refusal::Trick { trick, .. } if *trick == expected), "{uri:?}: {refusal:?}");
        }
    }

    #[test]
    fn another_form_is_refused() {
        for uri in [
            "",
            "acme",
            "spiffe:/acme/node/n1",
            "https://acme/node/n1",
            "spiffe://acme",
            "spiffe://acme/node",
            "spiffe://acme/admin/n1",
            "spiffe://acme/node/n1/x",
            "spiffe://acme/operator/ann/x",
            "spiffe://acme/horde/web",
        ] {
            assert!(matches!(Identity::parse(uri), Err(Refusal::MalformedUri { .. })), "{uri}");
        }
        let long = "a".repeat(64);
        for uri in [
            "spiffe://acme/node/n1.",
            "spiffe://acme/node/.n1",
            "spiffe://acme/node/n1..a",
            "spiffe://acme/node/-n1",
            "spiffe://acme/node/n_1",
            "spiffe://acme/node/n1\\x",
            "spiffe://acme/horde/web.x/api",
            "spiffe://acme/horde/web/a.b",
            "spiffe://acme/horde/web/api/x",
            "spiffe://acme./node/n1",
            &format!("spiffe://acme/node/{long}"),
            &format!("spiffe://{long}/node/n1"),
            &format!("spiffe://acme/node/{}", ["a"; 128].join(".")),
        ] {
            assert!(matches!(Identity::parse(uri), Err(Refusal::BadName(_))), "{uri}");
        }
    }
}
