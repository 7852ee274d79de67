//! Facts on the wire: sealed versions as they are, ids, digests. Frames and the facts' own messages are one to one.

use super::{BadFrame, Frame, IDS_MAX, ITEMS_MAX};
use crate::facts::Message;
use crate::facts::version::VERSION_MAX;
use crate::lists::{Listing, apart, kept};
use alloc::vec::Vec;
use bytes::Bytes;
use crux_names::Hash256;

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct FactsWire {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub(super) sealed: Vec<Bytes>,
}

impl Listing for FactsWire {
    const LISTS: &'static [(u32, usize)] = &[(1, ITEMS_MAX)];
}

/// Sealed versions. Each is a copy: it may be kept for ever, and the frame in which it came must not be kept with it.
pub(super) fn read_sealed(message: Bytes) -> Result<Vec<Bytes>, BadFrame> {
    let (FactsWire { .. }, lists) = apart(message)?;
    lists.bytes(1, |sealed| if sealed.len() > VERSION_MAX { Err(BadFrame::TooLong) } else { Ok(kept(&sealed)) })
}

/// Ids side by side in one field: a list of thousands costs one allocation.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct IdsWire {
    #[prost(bytes = "bytes", tag = "1")]
    ids: Bytes,
}

impl IdsWire {
    pub(super) fn new(ids: &[Hash256]) -> Self {
        Self { ids: ids.iter().flat_map(|id| id.0).collect::<Vec<u8>>().into() }
    }

    pub(super) fn read(&self) -> Result<Vec<Hash256>, BadFrame> {
        if self.ids.len() > IDS_MAX * 32 {
            return Err(BadFrame::TooLong);
        }
        let (ids, rest) = self.ids.as_chunks::<32>();
        if rest.is_empty() { Ok(ids.iter().copied().map(Hash256).collect()) } else { Err(BadFrame::Malformed) }
    }

    pub(super) fn read_sorted(&self) -> Result<Vec<Hash256>, BadFrame> {
        let ids = self.read()?;
        if ids.is_sorted_by(|a, b| a < b) { Ok(ids) } else { Err(BadFrame::Malformed) }
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct DigestWire {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) digest: Vec<u8>,
    #[prost(uint32, tag = "2")]
    pub(super) count: u32,
}

impl From<Message> for Frame {
    fn from(message: Message) -> Self {
        match message {
            Message::Versions(sealed) => Self::Facts { sealed },
            Message::Held(ids) => Self::FactsHeld { ids },
            Message::Digest { digest, count } => Self::FactsDigest { digest, count },
            Message::Ids(ids) => Self::FactsIds { ids },
            Message::Want(ids) => Self::FactsWant { ids },
        }
    }
}

impl Frame {
    /// What facts are told when this frame came; `None` if it is flocking's or services', or pushed facts, which are
    /// checked on their way in.
    #[must_use]
    pub fn for_facts(self) -> Option<Message> {
        match self {
            Self::FactsHeld { ids } => Some(Message::Held(ids)),
            Self::FactsDigest { digest, count } => Some(Message::Digest { digest, count }),
            Self::FactsIds { ids } => Some(Message::Ids(ids)),
            Self::FactsWant { ids } => Some(Message::Want(ids)),
            Self::Flock(_) | Self::Service(_) | Self::Facts { .. } => None,
        }
    }
}
