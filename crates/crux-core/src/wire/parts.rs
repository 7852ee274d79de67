//! What several kinds of frames have in common: members, durations, bounded lists and texts.

use super::{BadFrame, ITEMS_MAX, TEXT_MAX};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use crux_names::{Boot, Duration, Hash256, Member};
use prost::Message;

/// A message without content.
#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Empty {}

#[derive(Clone, PartialEq, Message)]
pub(super) struct MemberWire {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(uint64, tag = "2")]
    boot: u64,
}

impl From<&Member> for MemberWire {
    fn from(member: &Member) -> Self {
        Self { id: format!("{}", member.id), boot: member.boot.0 }
    }
}

impl MemberWire {
    pub(super) fn read(self) -> Result<Member, BadFrame> {
        Ok(Member { id: self.id.parse()?, boot: Boot(self.boot) })
    }
}

/// Nanoseconds; more than 584 years are as good as 584.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

pub(super) const fn duration(nanos: u64) -> Duration {
    Duration::from_nanos(nanos)
}

pub(super) fn hash(bytes: &[u8]) -> Result<Hash256, BadFrame> {
    bytes.try_into().map(Hash256).map_err(|_| BadFrame::Malformed)
}

/// A required part.
pub(super) fn need<T>(part: Option<T>) -> Result<T, BadFrame> {
    part.ok_or(BadFrame::Malformed)
}

/// Reads a list of at most [`ITEMS_MAX`] entries.
pub(super) fn list<T, U>(items: Vec<T>, read: impl FnMut(T) -> Result<U, BadFrame>) -> Result<Vec<U>, BadFrame> {
    if items.len() > ITEMS_MAX {
        return Err(BadFrame::TooLong);
    }
    items.into_iter().map(read).collect()
}

/// A text for people.
pub(super) fn text(text: String) -> Result<String, BadFrame> {
    if text.len() > TEXT_MAX { Err(BadFrame::TooLong) } else { Ok(text) }
}

/// Ports by name.
pub(super) fn ports(ports: BTreeMap<String, u32>) -> Result<BTreeMap<String, u16>, BadFrame> {
    if ports.len() > 256 {
        return Err(BadFrame::TooLong);
    }
    ports
        .into_iter()
        .map(|(name, port)| Ok((text(name)?, u16::try_from(port).map_err(|_| BadFrame::Malformed)?)))
        .collect()
}
