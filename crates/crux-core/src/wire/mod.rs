//! Wire: the bytes of everything that fulcrums tell each other. Decoding never panics and never trusts a length; what it
//! returns is checked against the rules of its type.
//!
//! The form is protobuf, so a newer peer may add fields that an older one skips. A kind of frame that an older one does
//! not know at all comes out as [`BadFrame::Unknown`], which its reader ignores. What is signed or hashed travels as
//! opaque bytes and is never re-encoded.

mod access;
mod facts;
mod flock;
mod parts;
mod services;

use crate::facts::ranges::RangeSet;
use crate::flock as flocking;
use crate::flock::view::BadView;
use crate::lists::{self, BadList};
use crate::services as serving;
use alloc::vec::Vec;
use bytes::Bytes;
use core::fmt;
use crux_names::{BlocName, Hash256, NameError};
use prost::Message;

/// Largest frame in bytes. A longer one is refused before it is read.
pub const FRAME_MAX: usize = 1 << 20;
/// Most bytes of frames that wait to be sent to one member. A link that has more to send ends.
pub const QUEUE_BYTES: usize = 2 << 20;
/// Most frames that wait to be sent to one member.
pub const QUEUE_FRAMES: usize = 1_024;
const _: () = assert!(
    6 * crate::facts::BURST + 400 * 1024 <= QUEUE_BYTES,
    "what is sent unasked to who says nothing until its link ends, and all else meanwhile"
);
/// Largest datagram in bytes: fits QUIC's smallest packet.
pub const DATAGRAM_MAX: usize = 1200;
/// Most entries of any list of members, instances and the like.
pub const ITEMS_MAX: usize = 16_384;
/// Most instances in one frame, and most pieces that the maps of their ports consist of: an instance with a port or some
/// becomes 600 bytes, and one frame may not become more than 8 MiB.
pub const INSTANCES_MAX: usize = 10_240;
/// Most version ids in one frame. A list of this many speaks only of ids up to its last.
pub const IDS_MAX: usize = crate::facts::IDS_MAX;
/// Longest text for people, in bytes.
pub const TEXT_MAX: usize = 4096;

/// A frame on a link: reliable and in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Flocking.
    Flock(flocking::message::Message),
    /// Services.
    Service(serving::message::Message),
    /// Fact versions, sealed bytes. The node checks their signatures before the heart sees them.
    Facts {
        /// Sealed versions.
        sealed: Vec<Bytes>,
    },
    /// "I have these on disk."
    FactsHeld {
        /// Version ids.
        ids: Vec<Hash256>,
    },
    /// "My facts hash to this."
    FactsDigest {
        /// The digest.
        digest: Hash256,
        /// How many versions are behind it.
        count: u32,
    },
    /// "My versions are these; tell me what I lack and ask for what you lack."
    FactsIds {
        /// The ranges that this list speaks of.
        of: RangeSet,
        /// Version ids, sorted.
        ids: Vec<Hash256>,
    },
    /// "My versions hash to these, by range; tell me yours of those that differ."
    FactsRanges {
        /// One for each range.
        hashes: Vec<u64>,
    },
    /// "Send me these."
    FactsWant {
        /// Version ids.
        ids: Vec<Hash256>,
    },
}

/// Why bytes are not a frame or not a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BadFrame {
    /// A kind, or a word of a closed list, that this version does not know: a newer peer's. Ignore it.
    Unknown,
    /// The bytes do not decode, or a field breaks its rule. The peer is broken or hostile.
    Malformed,
    /// The whole, a list or a text is longer than allowed. The peer is broken or hostile.
    TooLong,
    /// A view or a header in it is not sound.
    View(BadView),
}

impl fmt::Display for BadFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("a kind of message that this version does not know"),
            Self::Malformed => f.write_str("its bytes are not a message"),
            Self::TooLong => f.write_str("it is longer than allowed"),
            Self::View(why) => write!(f, "a view in it was refused: {why}"),
        }
    }
}

impl core::error::Error for BadFrame {}

impl From<BadView> for BadFrame {
    fn from(why: BadView) -> Self {
        Self::View(why)
    }
}

impl From<BadList> for BadFrame {
    fn from(why: BadList) -> Self {
        match why {
            BadList::TooLong => Self::TooLong,
            BadList::Malformed => Self::Malformed,
        }
    }
}

impl From<NameError> for BadFrame {
    fn from(_: NameError) -> Self {
        Self::Malformed
    }
}

#[derive(Clone, PartialEq, Message)]
struct FrameWire {
    #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5, 6, 7, 8")]
    kind: Option<Kind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Kind {
    #[prost(message, tag = "1")]
    Flock(flock::FlockWire),
    #[prost(message, tag = "2")]
    Service(services::ServiceWire),
    #[prost(bytes = "bytes", tag = "3")]
    Facts(Bytes),
    #[prost(message, tag = "4")]
    Held(facts::IdsWire),
    #[prost(message, tag = "5")]
    Digest(facts::DigestWire),
    #[prost(message, tag = "6")]
    Ids(facts::ListWire),
    #[prost(message, tag = "7")]
    Want(facts::IdsWire),
    #[prost(message, tag = "8")]
    Ranges(facts::RangesWire),
}

impl Frame {
    /// The frame's bytes. Whoever makes a frame keeps its lists within the bounds above; a frame that breaks them is
    /// refused by its reader.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let kind = match self {
            Self::Flock(message) => Kind::Flock(message.into()),
            Self::Service(message) => Kind::Service(message.into()),
            Self::Facts { sealed } => Kind::Facts(lists::packed(&facts::FactsWire { sealed: sealed.clone() })),
            Self::FactsHeld { ids } => Kind::Held(facts::IdsWire::new(ids)),
            Self::FactsDigest { digest, count } => {
                Kind::Digest(facts::DigestWire { digest: digest.0.to_vec(), count: *count })
            }
            Self::FactsIds { of, ids } => Kind::Ids(facts::ListWire::new(of, ids)),
            Self::FactsRanges { hashes } => Kind::Ranges(facts::RangesWire::new(hashes)),
            Self::FactsWant { ids } => Kind::Want(facts::IdsWire::new(ids)),
        };
        FrameWire { kind: Some(kind) }.encode_to_vec().into()
    }

    /// Reads a frame that came from a fulcrum of this bloc. Views in it are joined and so checked against their headers.
    ///
    /// # Errors
    /// [`BadFrame`]; only [`BadFrame::Unknown`] can come from an honest peer.
    pub fn decode(bytes: Bytes, bloc: &BlocName) -> Result<Self, BadFrame> {
        if bytes.len() > FRAME_MAX {
            return Err(BadFrame::TooLong);
        }
        let wire = FrameWire::decode(bytes).map_err(|_| BadFrame::Malformed)?;
        Ok(match wire.kind.ok_or(BadFrame::Unknown)? {
            Kind::Flock(message) => Self::Flock(message.read(bloc)?),
            Kind::Service(message) => Self::Service(message.read()?),
            Kind::Facts(sealed) => Self::Facts { sealed: facts::read_sealed(sealed)? },
            Kind::Held(ids) => Self::FactsHeld { ids: ids.read()? },
            Kind::Digest(digest) => Self::FactsDigest { digest: parts::hash(&digest.digest)?, count: digest.count },
            Kind::Ids(list) => {
                let (of, ids) = list.read()?;
                Self::FactsIds { of, ids }
            }
            Kind::Ranges(ranges) => Self::FactsRanges { hashes: ranges.read()? },
            Kind::Want(ids) => Self::FactsWant { ids: ids.read()? },
        })
    }
}

/// The bytes of a datagram.
#[must_use]
pub fn encode_datagram(datagram: &flocking::message::Datagram) -> Bytes {
    flock::DatagramWire::from(datagram).encode_to_vec().into()
}

/// Reads a datagram.
///
/// # Errors
/// [`BadFrame`], as for frames.
pub fn decode_datagram(bytes: Bytes) -> Result<flocking::message::Datagram, BadFrame> {
    if bytes.len() > DATAGRAM_MAX {
        return Err(BadFrame::TooLong);
    }
    flock::DatagramWire::decode(bytes).map_err(|_| BadFrame::Malformed)?.read()
}
