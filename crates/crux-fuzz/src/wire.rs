//! Frames, datagrams and the headers of views.

use crate::drive::Target;
use crate::{bloc, slow, target};
use bytes::Bytes;
use crux_core::flock::view::Headed;
use crux_core::wire::{DATAGRAM_MAX, FRAME_MAX, Frame, decode_datagram, encode_datagram};

/// The targets of this file.
pub const TARGETS: &[Target] = &[
    slow(target("frame", frame, frames)),
    target("datagram", datagram, datagrams),
    target("view_header", view_header, headers),
];

/// The lines of the vectors that stand for what peers of all versions send.
pub(crate) fn vectors() -> impl Iterator<Item = (&'static str, Vec<u8>)> {
    let lines = include_str!("../../crux-core/tests/vectors.txt").lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| {
        let (name, hex) = line.split_once(' ')?;
        Some((name, crux_api::json::from_hex(hex).ok()?))
    })
}

fn frames() -> Vec<Vec<u8>> {
    vectors()
        .filter(|(name, _)| !name.starts_with("datagram.") && !name.starts_with("facts.statement"))
        .map(|(_, bytes)| bytes)
        .collect()
}

fn datagrams() -> Vec<Vec<u8>> {
    vectors().filter(|(name, _)| name.starts_with("datagram.")).map(|(_, bytes)| bytes).collect()
}

fn headers() -> Vec<Vec<u8>> {
    let frames = frames().into_iter().filter_map(|bytes| Frame::decode(bytes.into(), &bloc()).ok());
    let head = |frame| match frame {
        Frame::Flock(crux_core::flock::message::Message::Hello { head, .. }) => Some(head.bytes.to_vec()),
        _ => None,
    };
    frames.filter_map(head).collect()
}

/// A frame that is read is written so that every peer reads the same from it, and the writing stands still.
pub fn frame(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    let Ok(frame) = Frame::decode(bytes.clone(), &bloc()) else { return };
    assert!(data.len() <= FRAME_MAX, "a frame of {} bytes was read", data.len());
    let written = frame.encode();
    let again = Frame::decode(written.clone(), &bloc());
    assert_eq!(again.as_ref(), Ok(&frame), "written again it reads otherwise");
    assert_eq!(frame.encode(), written, "written twice it differs");
    let _ = frame.for_facts();
    // A frame with a view in it is of one bloc alone; the others are the same to everybody.
    let other = crux_names::BlocName::parse("other").expect("a bloc's name");
    let _ = Frame::decode(bytes, &other);
}

/// The same for a datagram.
pub fn datagram(data: &[u8]) {
    let Ok(datagram) = decode_datagram(Bytes::copy_from_slice(data)) else { return };
    assert!(data.len() <= DATAGRAM_MAX, "a datagram of {} bytes was read", data.len());
    assert_eq!(decode_datagram(encode_datagram(&datagram)).as_ref(), Ok(&datagram), "written again it reads otherwise");
}

/// A header keeps its bytes, since their hash is its name.
pub fn view_header(data: &[u8]) {
    let Ok(head) = Headed::decode(Bytes::copy_from_slice(data)) else { return };
    assert_eq!(head.bytes, data, "a header was changed while it was read");
    assert_eq!(head.id.epoch, head.header.epoch);
    assert_eq!(head.id.leader, head.header.leader);
    assert_eq!(crux_core::hash::sha256(data).0[..16], head.id.hash);
}
