//! What a fulcrum's links are made with.

use crate::gate::FaultGate;
use crux_names::{Boot, FulcrumName};
use crux_pki::{Bundle, PkiError, Refusal, Trust};
use quinn::AsyncUdpSocket;
use std::fmt::{self, Debug, Formatter};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;

/// How to listen, and as whom.
#[derive(Clone, Debug)]
pub struct LinkConfig {
    /// Certificate and key of this node.
    pub bundle: Arc<Bundle>,
    /// The roots that may vouch for peers; usually the bundle's own.
    pub trust: Arc<Trust>,
    /// Where to listen; port 0 takes a free one. Every dial leaves from here too.
    pub listen: SocketAddr,
    /// Which fulcrum of the node this is.
    pub fulcrum: FulcrumName,
    /// Which of its lives.
    pub boot: Boot,
    /// The TCP port of this fulcrum's API, told to peers.
    pub api_port: u16,
    /// Faults to inject; only a dev cluster has one.
    pub gate: Option<FaultGate>,
    /// Deadlines.
    pub timing: Timing,
    /// 32 secret bytes that outlive this process and the certificate: with them, whoever still has a link to the life
    /// before learns at its next word that it is over. Without, they follow from the node's key.
    pub secret: Option<[u8; 32]>,
    /// A test's world in the place of the machine.
    pub simulated: Option<Simulated>,
}

/// What a test puts in the place of the machine, so that all that happens follows from a seed. Only tests make one.
#[derive(Clone)]
pub struct Simulated {
    /// In the place of a UDP socket; it says itself where it listens.
    pub socket: Arc<dyn AsyncUdpSocket>,
    /// The wall clock, in Unix seconds.
    pub wall: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// In the place of randomness, except for keys.
    pub seed: [u8; 32],
}

impl Debug for Simulated {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("Simulated")
    }
}

impl LinkConfig {
    /// The usual settings: the bundle's own trust, the default fulcrum, no faults, default deadlines.
    #[must_use]
    pub fn new(bundle: Bundle, listen: SocketAddr, boot: Boot) -> Self {
        Self {
            trust: Arc::new(bundle.trust().clone()),
            bundle: Arc::new(bundle),
            listen,
            fulcrum: FulcrumName::default_name(),
            boot,
            api_port: 0,
            gate: None,
            timing: Timing::default(),
            secret: None,
            simulated: None,
        }
    }
}

/// Deadlines of links. Change them only together on all nodes.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// A dial, with TLS and welcome, ends within this: 1 s; within `accept` where the other side has said something by then,
    /// for to begin anew with one that is slow makes it slower.
    pub dial: Duration,
    /// A stranger at the door must be through TLS and welcome within this: 5 s.
    pub accept: Duration,
    /// A link over which nothing was heard for so long ends: 40 s. Must be longer than the heart's verdicts.
    pub idle: Duration,
    /// How often an otherwise quiet link says something: 5 s. Bounds how late a peer's restart is noticed.
    pub keep_alive: Duration,
    /// A peer that takes none of our frames, or does not go on with one of its own, for so long is cut: 20 s.
    pub stall: Duration,
    /// The keys of a link are replaced before they are so old: 120 s, the time that WireGuard gives them. At one and a
    /// half times that age, a link whose keys could not be replaced is cut.
    pub rekey: Duration,
    /// In flocks of more members than fit into that, so long for each member: 1 s, which bounds a node's handshakes to
    /// about one a second.
    pub rekey_member: Duration,
}

/// How long the keys of a link live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Renewals {
    /// They are replaced before that age.
    pub(crate) period: Duration,
}

impl Renewals {
    /// For a flock of so many members.
    pub(crate) fn of(timing: &Timing, members: usize) -> Self {
        let members = u32::try_from(members).unwrap_or(u32::MAX);
        Self { period: timing.rekey.max(timing.rekey_member.saturating_mul(members)) }
    }

    /// At that age a link is cut.
    pub(crate) fn limit(&self) -> Duration {
        self.period * 3 / 2
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            dial: Duration::from_secs(1),
            accept: Duration::from_secs(5),
            idle: Duration::from_secs(40),
            keep_alive: Duration::from_secs(5),
            stall: Duration::from_secs(20),
            rekey: Duration::from_secs(120),
            rekey_member: Duration::from_secs(1),
        }
    }
}

/// Why links could not be set up.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BindError {
    /// Another process has the port.
    #[error("UDP {addr} is in use by another process, perhaps another fulcrum; stop it or choose another mesh port")]
    Busy {
        /// The address that was asked for.
        addr: SocketAddr,
    },
    /// The address is not of this machine, not allowed, or the system has no sockets left.
    #[error("cannot listen on UDP {addr}: {cause}; choose an address of this machine and a port above 1023")]
    Listen {
        /// The address that was asked for.
        addr: SocketAddr,
        /// What the system said.
        cause: io::Error,
    },
    /// The bundle is not a node's.
    #[error("the bundle is {found}, but only a node can join the mesh; use a bundle from `crux ca issue --node`")]
    NotANode {
        /// Who the bundle is for.
        found: String,
    },
    /// The bundle cannot be used for TLS.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// QUIC does not take the settings.
    #[error("QUIC refuses the settings: {0}; this is a fault of crux, please report it")]
    Quic(String),
}

/// Why another bundle was not taken; everything stays as it was.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// It makes its owner somebody else, which needs a new start.
    #[error("it is the bundle of {found}, but this fulcrum runs as {here}; install the right one, or start crux anew")]
    Somebody {
        /// Whose it is.
        found: String,
        /// Who this fulcrum is.
        here: String,
    },
    /// Peers with the same roots would refuse it.
    #[error("peers would refuse it: {0}")]
    Refused(#[from] Refusal),
    /// It cannot be used for TLS.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// QUIC does not take it.
    #[error("QUIC refuses the settings: {0}; this is a fault of crux, please report it")]
    Quic(String),
    /// The links have been shut down.
    #[error("this fulcrum is going down")]
    Down,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_live_two_minutes_or_a_second_for_each_member() {
        let of = |members| Renewals::of(&Timing::default(), members);
        assert_eq!((of(0).period, of(120).period), (Duration::from_secs(120), Duration::from_secs(120)));
        assert_eq!((of(1_000).period, of(1_000).limit()), (Duration::from_secs(1_000), Duration::from_secs(1_500)));
    }
}
