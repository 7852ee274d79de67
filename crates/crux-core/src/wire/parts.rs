//! What several kinds of frames have in common: members, durations, bounded lists and texts.

use super::{BadFrame, TEXT_MAX};
use crate::lists::Lists;
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

/// Reads a list of messages.
pub(super) fn list<W: Message + Default, U>(
    lists: &Lists,
    tag: u32,
    read: impl FnMut(W) -> Result<U, BadFrame>,
) -> Result<Vec<U>, BadFrame> {
    lists.read(tag, read)
}

/// A text for people.
pub(super) fn text(text: String) -> Result<String, BadFrame> {
    if text.len() > TEXT_MAX { Err(BadFrame::TooLong) } else { Ok(text) }
}

/// What is said of a text for people: as much as its reader takes. Some of it may be somebody else's words, and no length of
/// those may make a frame unreadable.
pub(super) fn said(text: &str) -> String {
    let mut end = text.len().min(TEXT_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].into()
}

/// A port by its name.
#[derive(Clone, PartialEq, Message)]
pub(super) struct PortWire {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(uint32, tag = "2")]
    port: u32,
}

impl PortWire {
    pub(super) fn read(self) -> Result<(String, u16), BadFrame> {
        Ok((text(self.name)?, u16::try_from(self.port).map_err(|_| BadFrame::Malformed)?))
    }
}
