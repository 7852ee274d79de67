//! The part of the address book that many may share, and where an address stands on the ring.

use crate::hash::{Buckets, fulcrum64};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use crux_names::FulcrumId;

/// An address book that never changes: who was last found where, one address for each fulcrum.
///
/// Simulated fulcrums share one; what each of them learns beyond it is kept apart, in its [`super::Discovery`].
#[derive(Clone, Debug, Default)]
pub struct Book {
    /// In ring order, so that a place in this list is in ring order too.
    entries: Vec<(u32, FulcrumId, SocketAddr)>,
    /// The same by fulcrum.
    by_fulcrum: Vec<u32>,
    /// Places in `entries` by the hash of their fulcrums.
    by_hash: Buckets,
    /// Places in `entries` by position.
    by_place: Buckets,
}

impl Book {
    /// A book of these entries, in any order; of several about one fulcrum the last counts.
    #[must_use]
    pub fn new(entries: impl IntoIterator<Item = (FulcrumId, SocketAddr)>) -> Self {
        let unique: BTreeMap<FulcrumId, SocketAddr> = entries.into_iter().collect();
        let mut entries: Vec<_> = unique.into_iter().map(|(id, addr)| (position(addr), id, addr)).collect();
        entries.sort_by(|a, b| (a.0, a.2, &a.1).cmp(&(b.0, b.2, &b.1)));
        let mut by_fulcrum: Vec<u32> = (0..entries.len() as u32).collect();
        by_fulcrum.sort_by(|a, b| entries[*a as usize].1.cmp(&entries[*b as usize].1));
        let by_hash = Buckets::new(entries.iter().map(|(_, id, _)| fulcrum64(id)));
        let by_place = Buckets::new(entries.iter().map(|(position, ..)| u64::from(*position) << 32));
        Self { entries, by_fulcrum, by_hash, by_place }
    }

    /// How many fulcrums it knows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it knows nobody.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Everybody in it, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&FulcrumId, SocketAddr)> {
        self.by_fulcrum.iter().map(|at| (&self.entries[*at as usize].1, self.entries[*at as usize].2))
    }

    pub(super) fn fulcrum(&self, id: u32) -> &FulcrumId {
        &self.entries[id as usize].1
    }

    pub(super) fn addr(&self, id: u32) -> SocketAddr {
        self.entries[id as usize].2
    }

    /// Where this fulcrum stands in it.
    pub(super) fn of(&self, fulcrum: &FulcrumId) -> Option<u32> {
        self.by_hash.of(fulcrum64(fulcrum)).find(|at| self.entries[*at as usize].1 == *fulcrum)
    }

    /// Which entries have this address.
    pub(super) fn at(&self, addr: SocketAddr) -> impl Iterator<Item = u32> {
        let here = self.by_place.of(u64::from(position(addr)) << 32);
        here.filter(move |at| self.entries[*at as usize].2 == addr)
    }

    /// The first entry whose ring key is at least this.
    pub(super) fn from(&self, key: u64) -> usize {
        let (hash, id) = ((key >> 32) as u32, key as u32 as usize);
        let first = self.entries.partition_point(|entry| entry.0 < hash);
        let after = self.entries.partition_point(|entry| entry.0 <= hash);
        id.clamp(first, after)
    }
}

/// Where an address stands on the ring: the same for everybody, and as good as random.
pub(super) fn position(addr: SocketAddr) -> u32 {
    let step = |sum: u64, byte: u8| (sum ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let seed = addr.port().to_be_bytes().into_iter().fold(0xcbf2_9ce4_8422_2325, step);
    let sum = match addr.ip() {
        IpAddr::V4(ip) => ip.octets().into_iter().fold(seed, step),
        IpAddr::V6(ip) => ip.octets().into_iter().fold(seed, step),
    };
    (mix(sum) >> 32) as u32
}

/// SplitMix64's last step: spreads every bit of what goes in over all that comes out.
pub(super) const fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
