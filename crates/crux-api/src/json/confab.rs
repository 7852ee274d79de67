//! What a program asks for names.

use super::{Counter, Kind};
use serde::{Deserialize, Serialize};

/// Bloc, flock, leader, node, fulcrum, horde, `stable` and who holds which role, as one fulcrum sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Confab {
    /// The bloc, from the certificate.
    pub bloc: String,
    /// The node, from the certificate.
    pub node: String,
    /// The fulcrum on that node; `0` where it runs only one.
    pub fulcrum: String,
    /// This life of the fulcrum, in hex.
    pub boot: String,
    /// The flock's transient name.
    pub flock: String,
    /// The view's epoch.
    pub epoch: Counter,
    /// The view's hash, in hex.
    pub view: String,
    /// The flock's leader; `node/fulcrum` where that is not the node's default fulcrum, as everywhere below.
    pub leader: String,
    /// The leader's lease that this flock is complete as far as it can be known.
    pub stable: bool,
    /// Members of the flock, sorted.
    pub members: Vec<String>,
    /// This fulcrum's home horde; `null` at a visitor, which is of none.
    pub horde: Option<String>,
    /// Present members with the ADMIN flag, sorted.
    pub admin: Vec<String>,
    /// Where the steward is.
    pub steward: Option<String>,
    /// Where the yurt is.
    pub yurt: Option<String>,
    /// When this view of things began, by this fulcrum's clock.
    pub at: String,
}

impl Kind for Confab {
    const KIND: &'static str = "Confab";
}
