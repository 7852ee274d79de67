//! The first words on a link, and the lengths of its frames.

use crate::drive::Target;
use crate::{target, texts};
use crux_link::fuzz;

/// The targets of this file.
pub const TARGETS: &[Target] = &[
    target("hello", fuzz::hello, fuzz::hellos),
    target("welcome", fuzz::welcome, fuzz::welcomes),
    target("frame_length", fuzz::frame_length, lengths),
    target("peer_words", fuzz::peer_words, words),
];

fn lengths() -> Vec<Vec<u8>> {
    [0_u32, 1, 4_096, 1 << 20, (1 << 20) + 1, u32::MAX].iter().map(|length| length.to_be_bytes().to_vec()).collect()
}

fn words() -> Vec<Vec<u8>> {
    texts(&["unexpected error: its certificate has expired", "a\u{1b}[31mred\r\n", ""])
}
