//! What peers say about addresses. It costs dials, so each peer's word is worth so many and no more, and an address where
//! nobody was found waits its turn among the cold ones.
//!
//! What is said is counted by *node*, which a certificate proves: fulcrums' names are only claimed.

use super::{DIALS, Discovery, HINTS, KEPT, pace::SECOND};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::net::SocketAddr;
use crux_names::{FulcrumId, NodeName, Time};

/// Addresses that are kept on the word of one node and where nobody was found yet, at most.
const ROOM: usize = 256;
/// Of what one node says so many are hot at once, as many as it says on a new link; and then one more in each round.
const AT_ONCE: u64 = 64;

/// What one node said.
#[derive(Clone, Debug)]
pub(super) struct Informant {
    /// The addresses that are kept on its word alone.
    ids: BTreeSet<u32>,
    /// How many more are hot at once, and since when that is counted.
    left: u64,
    since: Time,
}

/// Whoever said something.
pub(super) type Informants = BTreeMap<NodeName, Informant>;

/// An address that is dialled once and at once, before all others but at its own pace.
#[derive(Clone, Copy, Debug)]
pub(super) struct Soon {
    pub addr: Option<SocketAddr>,
    /// No other one before this.
    pub next: Time,
}

impl Discovery {
    /// A peer says that a fulcrum of the bloc is there.
    pub fn told(&mut self, now: Time, by: &NodeName, fulcrum: &FulcrumId, addr: SocketAddr) {
        if self.unwanted(Some(fulcrum), addr) || self.of(fulcrum).into_iter().any(|id| self.is_linked(id)) {
            return;
        }
        let here = self.at(addr);
        if here.iter().any(|id| self.is_linked(*id) || self.is_hot(*id)) || !self.may_tell(now, by) {
            return;
        }
        let id = match here.first() {
            Some(id) => *id,
            None if !self.make_room(by) => return,
            None => {
                let id = self.add(Some(fulcrum.clone()), addr);
                if let Some(loose) = self.loose.get_mut(&id) {
                    loose.told = Some((by.clone(), now));
                }
                if let Some(informant) = self.informants.get_mut(by) {
                    informant.ids.insert(id);
                }
                id
            }
        };
        self.no_probe(id);
        if self.take_turn(now, by) {
            // What is said long after the view does not undo that all that was hot then has been tried.
            self.heat_told(now, id, now <= self.mark + self.pace.disc);
        } else if !self.is_idle(id) {
            self.cool(now, id);
        }
    }

    /// The leader of a better flock is said to be there: it is dialled at once and once, whatever else waits.
    pub fn soon(&mut self, fulcrum: &FulcrumId, addr: SocketAddr) {
        if !self.unwanted(Some(fulcrum), addr) && !self.at(addr).into_iter().any(|id| self.is_linked(id)) {
            self.soon.addr = Some(addr);
        }
    }

    /// Dials whoever is to be dialled at once.
    pub(super) fn dial_soon(&mut self, now: Time, out: &mut Vec<SocketAddr>) {
        if self.soon.next > now || self.recent.len() >= DIALS {
            return;
        }
        let Some(addr) = self.soon.addr.take() else { return };
        let flies = self.flying.iter().any(|(began, there)| *there == addr && *began + self.pace.dial > now);
        if !flies && self.pause(now, addr).is_none() {
            self.soon.next = now + self.pace.disc / 8;
            self.launch(now, addr, out);
            self.recent.push_back(now);
        }
    }

    /// When [`Discovery::dial_soon`] has something to do.
    pub(super) fn soon_due(&self) -> Time {
        let Some(_) = self.soon.addr else { return Time::NEVER };
        match self.recent.len().checked_sub(DIALS) {
            Some(at) => self.soon.next.max(self.recent[at] + SECOND),
            None => self.soon.next,
        }
    }

    /// Whether there is an account of what this node says.
    fn may_tell(&mut self, now: Time, by: &NodeName) -> bool {
        if self.informants.len() >= KEPT && !self.informants.contains_key(by) {
            self.informants.retain(|_, informant| !informant.ids.is_empty());
            if self.informants.len() >= KEPT {
                return false;
            }
        }
        let new = Informant { ids: BTreeSet::new(), left: AT_ONCE, since: now };
        self.informants.entry(by.clone()).or_insert(new);
        true
    }

    /// Whether one more of what it says may be hot.
    fn take_turn(&mut self, now: Time, by: &NodeName) -> bool {
        let disc = u64::try_from(self.pace.disc.as_nanos()).unwrap_or(u64::MAX).max(1);
        let Some(informant) = self.informants.get_mut(by) else { return false };
        let rounds = u64::try_from(now.since(informant.since).as_nanos()).unwrap_or(u64::MAX) / disc;
        if rounds > 0 {
            informant.left = informant.left.saturating_add(rounds).min(AT_ONCE);
            informant.since = informant.since + self.pace.disc * u32::try_from(rounds).unwrap_or(u32::MAX);
        }
        let may = informant.left > 0;
        informant.left = informant.left.saturating_sub(1);
        may
    }

    /// Makes room for another address on this node's word: one where nobody was found goes.
    fn make_room(&mut self, by: &NodeName) -> bool {
        let full = self.informants.get(by).is_some_and(|informant| informant.ids.len() >= ROOM);
        if full {
            let cold = self.informants[by].ids.iter().copied().find(|id| self.is_idle(*id));
            let Some(cold) = cold else { return false };
            self.remove(cold);
        }
        self.hints() < HINTS
    }

    /// Whoever is linked here has more names than come into the book.
    pub(super) fn keep_on_its_word(&mut self, now: Time, id: u32, fulcrum: &FulcrumId) {
        if self.may_tell(now, &fulcrum.node)
            && let Some(loose) = self.loose.get_mut(&id)
        {
            loose.told = Some((fulcrum.node.clone(), now));
            if let Some(informant) = self.informants.get_mut(&fulcrum.node) {
                informant.ids.insert(id);
            }
        }
    }

    /// Whether there are more addresses than may be kept on the word on which this one is kept.
    pub(super) fn is_one_too_many(&self, id: u32) -> bool {
        let by = self.loose.get(&id).and_then(|loose| loose.told.as_ref());
        by.and_then(|(by, _)| self.informants.get(by)).is_some_and(|informant| informant.ids.len() > ROOM)
    }

    /// An address is no longer kept on somebody's word alone: somebody is there, or it is forgotten.
    pub(super) fn proven_or_gone(&mut self, id: u32) {
        let Some((by, _)) = self.loose.get_mut(&id).and_then(|loose| loose.told.take()) else { return };
        if let Some(informant) = self.informants.get_mut(&by) {
            informant.ids.remove(&id);
        }
    }

    /// Whether it is kept on somebody's word alone, and since when.
    pub(super) fn told_at(&self, id: u32) -> Option<Time> {
        let loose = self.loose.get(&id)?;
        loose.told.as_ref().filter(|_| !loose.certified && !self.seeds.contains(&loose.addr)).map(|(_, at)| *at)
    }
}
