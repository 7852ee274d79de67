//! What a fulcrum's links are made with.

use crate::gate::FaultGate;
use crux_names::{Boot, FulcrumName};
use crux_pki::{Bundle, PkiError, Trust};
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
        }
    }
}

/// Deadlines of links. Change them only together on all nodes.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// A dial, with TLS and welcome, ends within this: 1 s. Longer helps only on paths of several hundred ms.
    pub dial: Duration,
    /// A stranger at the door must be through TLS and welcome within this: 5 s.
    pub accept: Duration,
    /// A link over which nothing was heard for so long ends: 40 s. Must be longer than the heart's verdicts.
    pub idle: Duration,
    /// How often an otherwise quiet link says something: 5 s. Bounds how late a peer's restart is noticed.
    pub keep_alive: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            dial: Duration::from_secs(1),
            accept: Duration::from_secs(5),
            idle: Duration::from_secs(40),
            keep_alive: Duration::from_secs(5),
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
