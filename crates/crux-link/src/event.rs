//! What links tell their owner.

use crate::bulk::{RecvStream, SendStream};
use bytes::Bytes;
use crux_names::{Boot, Member, NodeName};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
use thiserror::Error;
use tokio::sync::OwnedSemaphorePermit;

/// A peer as its certificate and its welcome describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerInfo {
    /// Node from the certificate; fulcrum and boot as claimed in the welcome.
    pub member: Member,
    /// Admission number from the certificate.
    pub admission: u32,
    /// Labels from the certificate.
    pub labels: BTreeMap<String, String>,
    /// Where to dial it: the address it was seen at, with the mesh port that it says it listens on.
    pub addr: SocketAddr,
    /// The TCP port of its API; 0 if it has none.
    pub api_port: u16,
    /// When its certificate began, in Unix seconds.
    pub not_before: u64,
    /// When its certificate ends, in Unix seconds. The link is cut then.
    pub not_after: u64,
}

/// One live link, for people.
#[derive(Clone, Debug)]
pub struct LinkInfo {
    /// Who is at the other end.
    pub peer: PeerInfo,
    /// Since when the link is up.
    pub age: Duration,
    /// How old its keys are.
    pub key_age: Duration,
    /// The age at which it is cut if they were not replaced by then; they are replaced before two thirds of that.
    pub key_limit: Duration,
    /// QUIC's estimate of the round trip.
    pub rtt: Duration,
    /// Bytes sent in UDP datagrams.
    pub tx_bytes: u64,
    /// Bytes received in UDP datagrams.
    pub rx_bytes: u64,
    /// Whether we dialled it.
    pub dialed: bool,
}

impl LinkInfo {
    /// How long it takes at most until its keys are replaced; nothing while that is overdue.
    #[must_use]
    pub fn rekey_in(&self) -> Duration {
        (self.key_limit * 2 / 3).saturating_sub(self.key_age)
    }
}

/// Why a dial brought no new link.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DialFailure {
    /// Nobody answered in time.
    #[error("nobody answered")]
    Silent,
    /// The other side refused us.
    #[error("refused by {by}: {reason}")]
    Refused {
        /// Where it is.
        by: SocketAddr,
        /// Its words, escaped.
        reason: String,
    },
    /// Somebody is there and lets nobody in at the moment, whoever it is.
    #[error("at {by} no new links are taken now: it goes down, or too many knock there")]
    Closed {
        /// Where it is.
        by: SocketAddr,
    },
    /// We refuse the other side.
    #[error("{addr} is refused here: {reason}")]
    Rejected {
        /// Where it is.
        addr: SocketAddr,
        /// Why.
        reason: String,
    },
    /// It knows a higher boot of the same fulcrum, one that can be.
    #[error("refused by {node} at {by}: it knows a higher boot of this fulcrum, {floor}")]
    BootTooOld {
        /// Where it is.
        by: SocketAddr,
        /// Who it is, by its certificate.
        node: NodeName,
        /// The boot that it knows; the next one must be above it.
        floor: Boot,
    },
    /// The address is our own.
    #[error("that is this fulcrum itself")]
    Myself,
    /// The address leads to a member to which there is a link already, which stays.
    #[error("there is a link to {0} already")]
    Already(Member),
    /// What answered does not speak our protocol, or broke off.
    #[error("no crux of this kind answered: {0}")]
    Protocol(String),
    /// The system would not even send.
    #[error("cannot send there: {0}")]
    Unreachable(String),
}

/// A share of the room that one peer's frames may take before they were handled. It is free again when this is dropped. The default one is nobody's.
#[derive(Debug, Default)]
pub struct Room {
    pub(crate) _permit: Option<OwnedSemaphorePermit>,
}

/// Something happened to links. For each member in order: `Up`, traffic, `Down`.
#[derive(Debug)]
pub enum LinkEvent {
    /// A link is up and welcomed by both sides.
    Up {
        /// Who is at the other end.
        peer: PeerInfo,
        /// Whether we dialled it.
        dialed: bool,
    },
    /// A link goes on with new keys; perhaps the peer showed a renewed certificate. Its traffic is not interrupted.
    Renewed {
        /// Who is at the other end.
        peer: PeerInfo,
    },
    /// An attempt to replace the keys of a link failed. It goes on, and so do the attempts, until its keys are too old; told
    /// at the first failure after a success.
    RenewalFailed {
        /// Whose link.
        peer: Member,
        /// Why, for people.
        why: String,
    },
    /// There is reason to think that this member's process has ended: it no longer knows a link to it, or a later life of
    /// the same fulcrum is linked. A hint for haste, no evidence: a copy of its certificate could say the same.
    ProcessGone {
        /// Whose process.
        peer: Member,
    },
    /// The link to this member has ended; frames on their way may be lost.
    Down {
        /// Whose link.
        peer: Member,
        /// Why, for people.
        why: String,
    },
    /// A datagram arrived.
    Datagram {
        /// From whom.
        peer: Member,
        /// Its content.
        bytes: Bytes,
    },
    /// A frame arrived.
    Frame {
        /// From whom.
        peer: Member,
        /// Its content.
        bytes: Bytes,
        /// Keep it until the frame was handled: frames of at most 1 MiB of one peer wait for that.
        room: Room,
    },
    /// A dial ended without a new link.
    DialFailed {
        /// The address that was dialled.
        addr: SocketAddr,
        /// Why.
        why: DialFailure,
    },
    /// Somebody was refused at our door, or refused us there; at most once in 10 s for each address and reason.
    Refused {
        /// Where it came from.
        addr: SocketAddr,
        /// Why, for people; escaped.
        reason: String,
    },
    /// Somebody shows this very fulcrum's identity, under another boot: one of the two is a copy. Neither lets the other in.
    Twin {
        /// Where the other one is.
        addr: SocketAddr,
    },
    /// A peer that dialled knows a higher boot of this very fulcrum, one that can be: start again above it. One that was
    /// dialled says so by a [`DialFailure::BootTooOld`].
    BootTooOld {
        /// Who says so, by its certificate.
        node: NodeName,
        /// The boot that it knows.
        floor: Boot,
    },
    /// A member opened a pair of streams for a bulk transfer and sent something on it.
    Bulk {
        /// Who.
        peer: Member,
        /// Towards it.
        send: SendStream,
        /// From it.
        recv: RecvStream,
    },
}
