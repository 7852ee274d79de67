//! Wire: the bytes of everything that fulcrums tell each other. Decoding never panics and never trusts a length; what it
//! returns is checked against the rules of its type.

use crate::flock;
use crate::services;
use alloc::vec::Vec;
use bytes::Bytes;
use crux_names::Hash256;

/// A frame on a link: reliable and in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Flocking.
    Flock(flock::message::Message),
    /// Services.
    Service(services::message::Message),
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
        /// Version ids, sorted.
        ids: Vec<Hash256>,
    },
    /// "Send me these."
    FactsWant {
        /// Version ids.
        ids: Vec<Hash256>,
    },
}
