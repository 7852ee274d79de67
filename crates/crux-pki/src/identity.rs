//! Who a certificate speaks for: exactly one SPIFFE URI, `spiffe://<bloc>/<role>/<name>`, read bytewise.

use crate::refusal::Refusal;
use crux_names::{BlocName, NodeName, OperatorName};
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
}

impl RoleKind {
    /// The role's path segment: `node`, `operator` or `beacon`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Operator => "operator",
            Self::Beacon => "beacon",
        }
    }

    /// The longest life that a verifier accepts for this role, in days.
    #[must_use]
    pub const fn max_days(self) -> u32 {
        match self {
            Self::Node | Self::Beacon => crate::NODE_MAX_DAYS,
            Self::Operator => crate::OPERATOR_MAX_DAYS,
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
        }
    }

    /// The name within the role.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Node(name) | Self::Beacon(name) => name.as_str(),
            Self::Operator(name) => name.as_str(),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind(), self.name())
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

impl Identity {
    /// Reads `spiffe://<bloc>/<role>/<name>`. Nothing is decoded, folded or trimmed: what is not exactly of this form
    /// and of our alphabet is refused.
    ///
    /// # Errors
    /// [`Refusal::MalformedUri`] for another form or role, [`Refusal::BadName`] for a name that breaks its rules.
    pub fn parse(uri: &str) -> Result<Self, Refusal> {
        let malformed = || Refusal::MalformedUri { uri: uri.to_owned() };
        let rest = uri.strip_prefix("spiffe://").ok_or_else(malformed)?;
        let (bloc, path) = rest.split_once('/').ok_or_else(malformed)?;
        let (role, name) = path.split_once('/').ok_or_else(malformed)?;
        let bloc = BlocName::parse(bloc).map_err(Refusal::BadName)?;
        let role = match role {
            "node" => Role::Node(NodeName::parse(name).map_err(Refusal::BadName)?),
            "operator" => Role::Operator(OperatorName::parse(name).map_err(Refusal::BadName)?),
            "beacon" => Role::Beacon(NodeName::parse(name).map_err(Refusal::BadName)?),
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
        for uri in ["spiffe://acme.prod/node/n1.rack3", "spiffe://acme/operator/ann", "spiffe://acme/beacon/watch"] {
            assert_eq!(Identity::parse(uri).unwrap().to_string(), uri);
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for uri in [
            "",
            "spiffe://",
            "spiffe://acme",
            "spiffe://acme/",
            "spiffe://acme/node",
            "SPIFFE://acme/node/n1",
            "https://acme/node/n1",
            "spiffe:/acme/node/n1",
            "spiffe://acme/admin/n1",
            "spiffe://acme/Node/n1",
        ] {
            assert!(matches!(Identity::parse(uri), Err(Refusal::MalformedUri { .. })), "{uri}");
        }
        for uri in [
            "spiffe://acme/node/",
            "spiffe://acme/node/n1/",
            "spiffe://acme/node/n1/x",
            "spiffe://acme/node//n1",
            "spiffe://acme/node/N1",
            "spiffe://acme/node/n%31",
            "spiffe://acme/node/..",
            "spiffe://acme/node/n1..a",
            "spiffe://acme/node/n1\0",
            "spiffe://acme/node/n\u{430}1",
            "spiffe://acme/node/n1?x",
            "spiffe://acme/node/n1#x",
            "spiffe://acme:1/node/n1",
            "spiffe://u@acme/node/n1",
            "spiffe://Acme/node/n1",
            "spiffe:///node/n1",
        ] {
            assert!(matches!(Identity::parse(uri), Err(Refusal::BadName(_))), "{uri}");
        }
    }
}
