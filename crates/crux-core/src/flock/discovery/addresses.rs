//! Which addresses there are, and what each is: hot, cold, linked, or displaced by somebody else who lives there now.
//!
//! An entry of the shared book has its place there as its id, any other a number with the top bit set. Ids with their
//! position on the ring before them are *keys*: the order of the ring. What is neither hot nor cold nor displaced is
//! linked, so that a linked member of the shared book costs one bit.

use super::book::{Book, mix, position};
use super::ring::{Hot, Seconds};
use super::{BOOK, Discovery, HINTS, PER_NODE};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::net::SocketAddr;
use crux_names::{Duration, FulcrumId, NodeName, Time};

/// Ids from here on are not of the shared book.
const LOOSE: u32 = 1 << 31;

/// An address that the shared book does not have.
#[derive(Clone, Debug)]
pub(super) struct Loose {
    pub addr: SocketAddr,
    /// Who is there, or is said to be.
    pub fulcrum: Option<FulcrumId>,
    /// It was linked there: it is in the book.
    pub certified: bool,
    /// From a probed network, and nothing more is known.
    pub probe: bool,
    /// Whose word it is that somebody is there, and since when, as long as nothing else is known.
    pub told: Option<(NodeName, Time)>,
}

impl Discovery {
    pub(super) fn addr(&self, id: u32) -> SocketAddr {
        if id < LOOSE { self.base.addr(id) } else { self.loose[&id].addr }
    }

    pub(super) fn fulcrum(&self, id: u32) -> Option<&FulcrumId> {
        if id >= LOOSE { self.loose.get(&id)?.fulcrum.as_ref() } else { Some(self.base.fulcrum(id)) }
    }

    /// The key of an address that may have been forgotten meanwhile.
    pub(super) fn known_key(&self, id: u32) -> Option<u64> {
        (id < LOOSE || self.loose.contains_key(&id)).then(|| self.key(id))
    }

    pub(super) fn key(&self, id: u32) -> u64 {
        u64::from(position(self.addr(id))) << 32 | u64::from(id)
    }

    /// Everything known about this address.
    pub(super) fn at(&self, addr: SocketAddr) -> Vec<u32> {
        let loose = self.loose_at.range((addr, 0)..=(addr, u32::MAX)).map(|(_, id)| *id);
        loose.chain(self.base.at(addr).filter(|id| !self.is_gone(*id))).collect()
    }

    /// All addresses of this fulcrum.
    pub(super) fn of(&self, fulcrum: &FulcrumId) -> Vec<u32> {
        let range = (fulcrum.clone(), 0)..=(fulcrum.clone(), u32::MAX);
        let loose = self.loose_of.range(range).map(|(_, id)| *id);
        self.base.of(fulcrum).filter(|id| !self.is_gone(*id)).into_iter().chain(loose).collect()
    }

    pub(super) fn is_gone(&self, id: u32) -> bool {
        bit(&self.gone, id)
    }

    pub(super) fn is_idle(&self, id: u32) -> bool {
        if id >= LOOSE { self.loose_cold.contains(&self.key(id)) } else { bit(&self.idle, id) }
    }

    pub(super) fn is_hot(&self, id: u32) -> bool {
        let key = self.key(id);
        self.fresh.map.contains_key(&key) || self.steady.map.contains_key(&key)
    }

    pub(super) fn is_linked(&self, id: u32) -> bool {
        !self.is_idle(id) && !self.is_gone(id) && !self.displaced.contains(&id) && !self.is_hot(id)
    }

    pub(super) fn in_book(&self, id: u32) -> bool {
        if id >= LOOSE { self.loose.get(&id).is_some_and(|loose| loose.certified) } else { !self.is_gone(id) }
    }

    pub(super) fn hot(&self) -> usize {
        self.fresh.map.len() + self.steady.map.len()
    }

    pub(super) fn cold(&self) -> usize {
        self.idle_count + self.loose_cold.len()
    }

    /// A new address; it counts as linked until it is put somewhere.
    pub(super) fn add(&mut self, fulcrum: Option<FulcrumId>, addr: SocketAddr) -> u32 {
        let id = self.free.pop().unwrap_or(LOOSE + self.loose.len() as u32);
        self.loose_at.insert((addr, id));
        self.loose.insert(id, Loose { addr, fulcrum: None, certified: false, probe: false, told: None });
        self.name(id, fulcrum.as_ref());
        id
    }

    /// Takes an address that the shared book does not have out of everything.
    pub(super) fn remove(&mut self, id: u32) {
        self.detach(id);
        self.name(id, None);
        self.no_probe(id);
        self.proven_or_gone(id);
        if let Some(loose) = self.loose.remove(&id) {
            self.certified -= usize::from(loose.certified);
            self.loose_at.remove(&(loose.addr, id));
            self.free.push(id);
            if self.at(loose.addr).is_empty() {
                self.said.remove(&loose.addr);
            }
        }
    }

    pub(super) fn name(&mut self, id: u32, fulcrum: Option<&FulcrumId>) {
        let Some(loose) = self.loose.get_mut(&id) else { return };
        if let Some(old) = core::mem::replace(&mut loose.fulcrum, fulcrum.cloned()) {
            self.loose_of.remove(&(old, id));
        }
        if let Some(fulcrum) = fulcrum {
            self.loose_of.insert((fulcrum.clone(), id));
        }
    }

    pub(super) fn no_probe(&mut self, id: u32) {
        if let Some(loose) = self.loose.get_mut(&id)
            && loose.probe
        {
            loose.probe = false;
            self.probes -= 1;
        }
    }

    /// Makes it neither hot nor cold nor displaced: linked, until it is put elsewhere.
    pub(super) fn detach(&mut self, id: u32) {
        let key = self.key(id);
        let none = self.fresh.map.is_empty() && self.steady.map.is_empty();
        if !none && let Some(hot) = self.fresh.map.remove(&key).or_else(|| self.steady.map.remove(&key)) {
            self.untried -= usize::from(hot.counts && hot.tried <= self.mark);
            self.uncounted -= usize::from(!hot.counts);
            self.refusing -= usize::from(hot.refused);
            if let Some(due) = self.due.remove(&key) {
                self.waiting.remove(&(due, key));
            }
            self.urgent.remove(&key);
        }
        if id >= LOOSE {
            self.loose_cold.remove(&key);
        } else if self.is_idle(id) {
            put(&mut self.idle, self.base.len(), id, false);
            self.idle_count -= 1;
        }
        self.displaced.remove(&id);
    }

    pub(super) fn heat(&mut self, now: Time, id: u32, fresh: bool) {
        self.warm(now, id, fresh);
        self.sweep_to(now, id);
    }

    /// Hot on somebody's word. Whether the running round waits for it depends on when it was said.
    pub(super) fn heat_told(&mut self, now: Time, id: u32, counts: bool) {
        self.detach(id);
        let hot = Hot { since: Seconds::of(now), tried: Time::ZERO, refused: false, counts };
        self.heat_as(now, id, true, hot);
        self.sweep_to(now, id);
    }

    /// In a small flock everybody dials at once who became hot.
    fn sweep_to(&mut self, now: Time, id: u32) {
        if self.sweeps() {
            let key = self.key(id);
            self.want(key, now + self.jitter(now, key, self.pace.disc / 16));
        }
    }

    /// Hot, and dialled when its turn comes.
    pub(super) fn warm(&mut self, now: Time, id: u32, fresh: bool) {
        self.detach(id);
        let hot = Hot { since: Seconds::of(now), tried: Time::ZERO, refused: false, counts: true };
        self.heat_as(now, id, fresh, hot);
    }

    fn heat_as(&mut self, now: Time, id: u32, fresh: bool, hot: Hot) {
        let key = self.key(id);
        let (ring, ages) =
            if fresh { (&mut self.fresh, &mut self.fresh_ages) } else { (&mut self.steady, &mut self.steady_ages) };
        ring.insert(now, self.place, key, hot);
        ages.push_back((hot.since, id));
        self.untried += usize::from(hot.counts && hot.tried <= self.mark);
        self.uncounted += usize::from(!hot.counts);
        self.refusing += usize::from(hot.refused);
    }

    pub(super) fn cool(&mut self, now: Time, id: u32) {
        if self.seeds.contains(&self.addr(id)) {
            return self.heat(now, id, false);
        }
        self.detach(id);
        let key = self.key(id);
        if id >= LOOSE {
            self.loose_cold.insert(key);
        } else {
            put(&mut self.idle, self.base.len(), id, true);
            self.idle_count += 1;
        }
        // There are more now, so that the next may be due sooner.
        self.cold_next = self.cold_next.min(now + self.cold_gap());
    }

    /// Somebody else is at its address now.
    pub(super) fn displace(&mut self, id: u32) {
        self.detach(id);
        self.displaced.insert(id);
    }

    /// Somebody was linked at this address and is not any more: who was there before may be there again.
    pub(super) fn vacate(&mut self, now: Time, addr: SocketAddr) {
        let here = self.at(addr);
        if self.myself.contains(&addr) || here.iter().any(|id| self.is_linked(*id)) {
            return;
        }
        for id in here {
            if self.displaced.contains(&id) && self.fulcrum(id) != Some(&self.me) {
                self.cool(now, id);
            }
        }
    }

    /// A seed is always there, and hot unless it is linked.
    pub(super) fn keep_seed(&mut self, now: Time, addr: SocketAddr) {
        if !self.seeds.contains(&addr) || self.myself.contains(&addr) {
            return;
        }
        let here = self.at(addr);
        if here.is_empty() {
            let id = self.add(None, addr);
            self.heat(now, id, true);
        } else if !here.iter().any(|id| self.is_linked(*id) || self.is_hot(*id)) {
            self.no_probe(here[0]);
            self.heat(now, here[0], true);
        }
    }

    /// This fulcrum is linked at this address, and so nowhere else, and nobody else is there.
    pub(super) fn certify(&mut self, now: Time, fulcrum: &FulcrumId, addr: SocketAddr) {
        // Most are where the shared book says, and nothing else is known of either.
        if self.loose.is_empty()
            && let Some(id) = self.base.of(fulcrum).filter(|id| self.base.addr(*id) == addr && !self.is_gone(*id))
            && self.base.at(addr).nth(1).is_none()
        {
            return self.detach(id);
        }
        let back = self.base.of(fulcrum).filter(|id| self.is_gone(*id) && self.base.addr(*id) == addr);
        let changed = self.address(fulcrum) != Some(addr);
        if let Some(id) = back {
            put(&mut self.gone, self.base.len(), id, false);
        }
        let mut mine = None;
        for id in self.of(fulcrum) {
            if self.addr(id) != addr {
                self.supersede(now, id);
            } else if mine.is_none() {
                mine = Some(id);
            } else {
                self.remove(id);
            }
        }
        for id in self.at(addr) {
            if self.in_book(id) || Some(id) == mine {
                continue;
            }
            if mine.is_none() {
                self.name(id, Some(fulcrum));
                mine = Some(id);
            } else {
                self.remove(id);
            }
        }
        let id = mine.unwrap_or_else(|| self.add(Some(fulcrum.clone()), addr));
        self.no_probe(id);
        self.proven_or_gone(id);
        for other in self.at(addr) {
            if other == id { self.detach(id) } else { self.displace(other) }
        }
        if !self.in_book(id) {
            if self.certified >= BOOK || self.fulcrums_beside(fulcrum) > PER_NODE {
                // It is kept as long as it is linked, and then on no more than its own word.
                self.keep_on_its_word(now, id, fulcrum);
                return;
            }
            if let Some(loose) = self.loose.get_mut(&id) {
                loose.certified = true;
                self.certified += 1;
            }
        }
        if changed {
            self.changes.insert(fulcrum.clone(), Some(addr));
        }
    }

    /// How many fulcrums of the same node are known beyond the shared book, at least as far as it matters.
    fn fulcrums_beside(&self, fulcrum: &FulcrumId) -> usize {
        let same = |(other, _): &&(FulcrumId, u32)| other.node == fulcrum.node;
        let here = (fulcrum.clone(), 0);
        let before = self.loose_of.range(..here.clone()).rev().take_while(same).take(PER_NODE + 1).count();
        before + self.loose_of.range(here..).take_while(same).take(PER_NODE + 1).count()
    }

    /// Its fulcrum is at another address: this one is tried once more and then dropped.
    fn supersede(&mut self, now: Time, id: u32) {
        let addr = self.addr(id);
        self.said.remove(&addr);
        self.detach(id);
        if id >= LOOSE {
            self.remove(id);
        } else {
            put(&mut self.gone, self.base.len(), id, true);
        }
        if self.seeds.contains(&addr) {
            self.keep_seed(now, addr);
        } else if self.at(addr).is_empty() && self.hints() < HINTS && !self.myself.contains(&addr) {
            let id = self.add(None, addr);
            self.cool(now, id);
        }
        self.vacate(now, addr);
    }

    /// How many addresses are kept of which nothing was ever proven.
    pub(super) fn hints(&self) -> usize {
        self.loose.len() - self.certified - self.probes
    }

    /// Takes an entry out of the book.
    pub(super) fn unbook(&mut self, id: u32) {
        if !self.in_book(id) {
            return;
        }
        if let Some(fulcrum) = self.fulcrum(id) {
            self.changes.insert(fulcrum.clone(), None);
        }
        if let Some(loose) = self.loose.get_mut(&id) {
            loose.certified = false;
            self.certified -= 1;
        } else {
            put(&mut self.gone, self.base.len(), id, true);
        }
    }

    /// Begins with this shared book and nothing beyond it.
    pub(super) fn open(&mut self, book: Arc<Book>) {
        let n = book.len();
        self.idle = vec![u64::MAX; n.div_ceil(64)];
        if !n.is_multiple_of(64)
            && let Some(last) = self.idle.last_mut()
        {
            *last = (1 << (n % 64)) - 1;
        }
        self.idle_count = n;
        self.gone = Vec::new();
        self.base = book;
        let me = self.me.clone();
        if let Some(id) = self.base.of(&me) {
            self.displace(id);
        }
    }

    /// A time below `most` that differs from fulcrum to fulcrum, from address to address and from try to try.
    pub(super) fn jitter(&self, now: Time, key: u64, most: Duration) -> Duration {
        let most = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX).max(1);
        Duration::from_nanos(mix(self.salt ^ key.rotate_left(17) ^ now.as_nanos()) % most)
    }
}

fn bit(bits: &[u64], at: u32) -> bool {
    bits.get(at as usize / 64).is_some_and(|word| word >> (at % 64) & 1 == 1)
}

/// Sets or clears a bit of a set that takes no room as long as it is empty.
fn put(bits: &mut Vec<u64>, n: usize, at: u32, on: bool) {
    if bits.is_empty() {
        bits.resize(n.div_ceil(64), 0);
    }
    let mask = 1 << (at % 64);
    if on {
        bits[at as usize / 64] |= mask;
    } else {
        bits[at as usize / 64] &= !mask;
    }
}
