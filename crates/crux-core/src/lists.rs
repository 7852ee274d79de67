//! Lists of a message, counted before they are read.
//!
//! An entry of two bytes becomes a structure of hundreds, so whoever decodes a whole message at once may be made to hold
//! a hundred times its bytes. A message with lists is therefore taken apart here first: its entries are counted against
//! their limits and stay bytes until each is read for itself straight into what it becomes. Messages with lists travel
//! inside others as bytes, so that nobody decodes them without this (`crux-fuzz` looks for it in the sources).

use alloc::vec::Vec;
use bytes::{Buf, Bytes};
use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

/// Why a message cannot be taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadList {
    /// A list has more entries than it may have.
    TooLong,
    /// The bytes do not decode.
    Malformed,
}

/// A message with lists in it.
pub(crate) trait Listing: Message + Default {
    /// Its lists: the field's tag, and how many entries it may have.
    const LISTS: &'static [(u32, usize)];
}

/// The lists of a message, still bytes.
pub(crate) struct Lists {
    message: Bytes,
    counts: Vec<(u32, usize)>,
}

/// Takes a message apart: the message without its lists, and the lists.
///
/// # Errors
/// [`BadList::TooLong`] for a list of more entries than it may have, [`BadList::Malformed`] for other bytes.
pub(crate) fn apart<M: Listing>(message: Bytes) -> Result<(M, Lists), BadList> {
    let mut counts: Vec<(u32, usize)> = M::LISTS.iter().map(|(tag, _)| (*tag, 0)).collect();
    let mut rest = Vec::new();
    let mut left = message.clone();
    while left.has_remaining() {
        let before = message.len() - left.len();
        let (tag, _) = field(&mut left)?;
        match counts.iter_mut().zip(M::LISTS).find(|((list, _), _)| *list == tag) {
            Some(((_, count), (_, most))) => {
                *count += 1;
                if *count > *most {
                    return Err(BadList::TooLong);
                }
            }
            None => rest.extend_from_slice(&message[before..message.len() - left.len()]),
        }
    }
    let message_without = M::decode(Bytes::from(rest)).map_err(|_| BadList::Malformed)?;
    Ok((message_without, Lists { message, counts }))
}

impl Lists {
    /// Reads one of them, entry by entry. Once.
    ///
    /// # Errors
    /// The first that `read` has.
    pub(crate) fn bytes<U, E: From<BadList>>(
        &self,
        tag: u32,
        mut read: impl FnMut(Bytes) -> Result<U, E>,
    ) -> Result<Vec<U>, E> {
        let count = self.counts.iter().find(|(list, _)| *list == tag).map_or(0, |(_, count)| *count);
        let mut entries = Vec::with_capacity(count);
        let mut left = self.message.clone();
        while entries.len() < count {
            match field(&mut left)? {
                (of, Some(entry)) if of == tag => entries.push(read(entry)?),
                (of, None) if of == tag => return Err(BadList::Malformed.into()),
                _ => {}
            }
        }
        Ok(entries)
    }

    /// Reads one of them whose entries are messages.
    ///
    /// # Errors
    /// [`BadList::Malformed`] for an entry that does not decode, or the first that `read` has.
    pub(crate) fn read<W: Message + Default, U, E: From<BadList>>(
        &self,
        tag: u32,
        mut read: impl FnMut(W) -> Result<U, E>,
    ) -> Result<Vec<U>, E> {
        self.bytes(tag, |entry| read(W::decode(entry).map_err(|_| BadList::Malformed)?))
    }
}

/// The bytes of a message that travels inside another one.
pub(crate) fn packed(message: &impl Message) -> Bytes {
    message.encode_to_vec().into()
}

/// Bytes that are kept: for themselves, not as a piece of a frame that stays in memory with them.
pub(crate) fn kept(bytes: &Bytes) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

/// Takes the first field off: its tag, and its bytes if it has a length.
fn field(left: &mut Bytes) -> Result<(u32, Option<Bytes>), BadList> {
    let (tag, kind) = decode_key(left).map_err(|_| BadList::Malformed)?;
    if kind == WireType::LengthDelimited {
        let length = decode_varint(left).map_err(|_| BadList::Malformed)?;
        let length = usize::try_from(length).ok().filter(|length| *length <= left.len()).ok_or(BadList::Malformed)?;
        return Ok((tag, Some(left.split_to(length))));
    }
    skip_field(kind, tag, left, DecodeContext::default()).map_err(|_| BadList::Malformed)?;
    Ok((tag, None))
}
