//! Facts on the wire: sealed versions as they are, ids, digests. Frames and the facts' own messages are one to one.

use super::{BadFrame, Frame, IDS_MAX, ITEMS_MAX};
use crate::facts::Message;
use crate::facts::ranges::{RANGES, RangeSet};
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
}

/// Sorted ids of some ranges.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ListWire {
    #[prost(bytes = "bytes", tag = "1")]
    ids: Bytes,
    /// The ranges' bits; all if there are none.
    #[prost(bytes = "bytes", tag = "2")]
    of: Bytes,
}

impl ListWire {
    pub(super) fn new(of: &RangeSet, ids: &[Hash256]) -> Self {
        let of = if *of == RangeSet::ALL { Bytes::new() } else { Bytes::copy_from_slice(of.bits()) };
        Self { ids: IdsWire::new(ids).ids, of }
    }

    pub(super) fn read(self) -> Result<(RangeSet, Vec<Hash256>), BadFrame> {
        let of = match self.of.is_empty() {
            true => RangeSet::ALL,
            false => RangeSet::read(&self.of).ok_or(BadFrame::Malformed)?,
        };
        let ids = IdsWire { ids: self.ids }.read()?;
        let sound = ids.is_sorted_by(|a, b| a < b) && ids.iter().all(|id| of.has(id));
        if sound { Ok((of, ids)) } else { Err(BadFrame::Malformed) }
    }
}

/// Hashes of ranges side by side, eight bytes each.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct RangesWire {
    #[prost(bytes = "bytes", tag = "1")]
    hashes: Bytes,
}

impl RangesWire {
    pub(super) fn new(hashes: &[u64]) -> Self {
        Self { hashes: hashes.iter().flat_map(|hash| hash.to_be_bytes()).collect::<Vec<u8>>().into() }
    }

    pub(super) fn read(&self) -> Result<Vec<u64>, BadFrame> {
        match self.hashes.as_chunks::<8>() {
            (hashes, []) if hashes.len() == RANGES => Ok(hashes.iter().copied().map(u64::from_be_bytes).collect()),
            _ => Err(BadFrame::Malformed),
        }
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
            Message::Ranges(hashes) => Self::FactsRanges { hashes },
            Message::Ids { of, ids } => Self::FactsIds { of, ids },
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
            Self::FactsRanges { hashes } => Some(Message::Ranges(hashes)),
            Self::FactsIds { of, ids } => Some(Message::Ids { of, ids }),
            Self::FactsWant { ids } => Some(Message::Want(ids)),
            Self::Flock(_) | Self::Service(_) | Self::Facts { .. } => None,
        }
    }
}
