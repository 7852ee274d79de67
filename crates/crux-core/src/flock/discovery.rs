//! Finding each other: which addresses may be fulcrums of the bloc, and which of them to dial when. Source: the design's
//! `flocking.md`, "Finding each other".
//!
//! Only addresses *without a link* cost anything here: a linked member is one bit of the shared [`Book`] (or one entry,
//! if it was met since).
//!
//! **Hot** are seeds, hints and whoever was lost within the hour. The flock as a whole tries each of them four times a
//! round for the first minute and once a round after it. Addresses stand on a ring by a hash that is the same for
//! everybody; in slot `s` the member with rank `r` of `n` dials the arc `(r + s) mod n`. So each address is dialled by
//! exactly one member in each slot, by each member in turn, and nobody has to agree with anybody: where clocks or
//! rosters differ for a while, an address is dialled twice or left out once. **Cold** is everybody else in the book: each
//! member walks the same ring from its own arc on, at its share of 20 dials a second (64 for one walk after the start or
//! a heal). Who was linked and turned away at once, as a copy of an identity is, is dialled after a pause that doubles up
//! to four rounds. What is no longer in the book, and probed addresses, are tried once while cold and then dropped.
//! What peers say (`told`) is hot until it was tried; where nobody was found it is cold for the rest of the hour.
//!
//! **What a leader knows of the search** ([`Discovery::searched`], the fifth condition of `stable`). In flocks of up to
//! 16, and alone, every member tries each hot address itself once after each view and once after it became hot; the
//! shares come on top. There the leader knows it at first hand: all that was hot has answered it or failed since the
//! view. Above 16 nobody tries all. There the leader knows that it has kept up with its own share, and that two rounds
//! went by, in which every hot address had a slot of *some* member and the second a dial needs to end. That the others
//! kept up as well it takes from their being members: one that finds a foreign fulcrum says so (its header goes to the
//! leader), one that does not answer is removed. No counters are sent around.

mod addresses;
mod book;
mod pace;
mod ring;
mod told;
mod turned;

pub use book::Book;

use self::addresses::Loose;
use self::ring::{Place, Ring, Seconds};
use self::told::{Informants, Soon};
use self::turned::Turned;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;
use crux_names::{Duration, FulcrumId, NodeName, Time};

/// Why nobody answers where somebody stopped.
pub const LEFT: &str = "it left on purpose";
/// Why an address is outside that was not dialled from here lately.
pub const UNTRIED: &str = "not dialled from here lately";
/// Dials in one second, at most; not scaled.
pub const DIALS: usize = 32;
/// Up to this many members each tries every hot address itself.
pub const SWEEPERS: u32 = 16;
/// Uncertified addresses (hints, former addresses, what refused) that are kept at once, at most.
pub const HINTS: usize = 4096;
/// Probed addresses that are kept at once, at most.
pub const PROBES: usize = 256;
/// Fulcrums of one node that come into the book, at most: their names are only claimed.
pub const PER_NODE: usize = 64;
/// Fulcrums that come into the book beyond the shared one, at most.
pub const BOOK: usize = 65_536;
/// Own addresses and names of the expelled that are kept, at most.
const KEPT: usize = 1024;
/// Links that end as soon as they are there are looked for among so many: of a crowd that is lost at once few are copies.
const NOTED: usize = 64;
/// Above this many known addresses only one is dialled at first and the others a round later.
const AT_ONCE: usize = 64;
/// A lost address is tried at the higher rate for so long.
const FRESH: Duration = Duration::from_secs(60);
/// And is hot for so long altogether.
const HOT: Duration = Duration::from_secs(3600);

/// How long things take. Everything else about the pace is fixed.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// One discovery round, T_disc: 1 s, scaled.
    pub disc: Duration,
    /// A dial has come to something after this; the same as the link's own deadline for who says nothing: 1 s, not scaled.
    pub dial: Duration,
}

/// What changed in the address book.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BookChange {
    /// Who is new or somewhere else.
    pub put: Vec<(FulcrumId, SocketAddr)>,
    /// Whom an operator had forgotten.
    pub removed: Vec<FulcrumId>,
}

/// An address without a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutsideAddr<'a> {
    /// Who was last there, or is said to be.
    pub fulcrum: Option<&'a FulcrumId>,
    /// Where.
    pub addr: SocketAddr,
    /// Somebody answers there and refuses.
    pub refused: bool,
    /// Whether it is tried often.
    pub hot: bool,
    /// The last reason, for people.
    pub why: &'a str,
}

/// What an address answered last.
#[derive(Clone, Debug)]
struct Said {
    refused: bool,
    why: Arc<str>,
}

/// The address book of one fulcrum, and whom it dials when.
#[derive(Clone, Debug)]
pub struct Discovery {
    me: FulcrumId,
    pace: Pace,
    /// Makes this fulcrum's jitter differ from others'.
    salt: u64,
    place: Place,
    seeds: BTreeSet<SocketAddr>,
    myself: BTreeSet<SocketAddr>,
    expelled: BTreeSet<NodeName>,
    left: BTreeSet<FulcrumId>,

    // Addresses: those of the shared book by their place in it, others by a number of their own (`addresses`).
    base: Arc<Book>,
    /// Per entry of the shared book: cold. Neither cold nor hot is linked (or out of the book).
    idle: Vec<u64>,
    idle_count: usize,
    /// Per entry of the shared book: not in this fulcrum's book. Empty as long as there are none.
    gone: Vec<u64>,
    loose: BTreeMap<u32, Loose>,
    loose_at: BTreeSet<(SocketAddr, u32)>,
    loose_of: BTreeSet<(FulcrumId, u32)>,
    loose_cold: BTreeSet<u64>,
    free: Vec<u32>,
    /// Whose address somebody else has now (this fulcrum itself, or one that is linked).
    displaced: BTreeSet<u32>,
    /// Whose last link ended when, of those whose did so within a round.
    lost_at: BTreeMap<FulcrumId, Time>,
    lost_pruned: Time,
    /// Where links end as soon as they are there.
    turned: BTreeMap<SocketAddr, Turned>,
    certified: usize,
    probes: usize,
    /// Who said what.
    informants: Informants,
    changes: BTreeMap<FulcrumId, Option<SocketAddr>>,
    said: BTreeMap<SocketAddr, Said>,

    // Hot ones, by ring key.
    fresh: Ring,
    steady: Ring,
    /// When each became hot, oldest first; what has changed since is passed over.
    fresh_ages: VecDeque<(Seconds, u32)>,
    steady_ages: VecDeque<(Seconds, u32)>,
    refusing: usize,
    /// Hot ones that do not count in the running round.
    uncounted: usize,
    /// To be dialled from here, longest waiting first; and when, by ring key. Any other hot one waits for its turn on the
    /// ring.
    waiting: BTreeSet<(Time, u64)>,
    due: BTreeMap<u64, Time>,
    /// Dialled from here again and again until then.
    urgent: BTreeMap<u64, Time>,
    /// How far the sweep over all hot addresses is done: which ring, and from where on.
    sweep: Option<(bool, u64)>,
    /// Since when the running round counts, and how many hot addresses were not tried since.
    mark: Time,
    untried: usize,
    searched: bool,

    // Cold ones.
    cold_at: u64,
    cold_next: Time,
    /// Own dials that the walk at the higher rate still takes.
    cold_sweep: usize,

    // The pace.
    /// Which ring is asked first, in turn.
    steady_first: bool,
    /// Who is dialled before all others.
    soon: Soon,
    /// Dials that have come to nothing yet, oldest first.
    flying: VecDeque<(Time, SocketAddr)>,
    recent: VecDeque<Time>,
    /// Dials in one second, at most, as this host can do them, and when that was last changed.
    rate: usize,
    rated: Time,
    /// When something was looked at late last.
    was_late: Option<Time>,
    crowded: bool,
    /// Hot dials since the last cold one.
    in_a_row: u32,
    /// Until then only the first address is dialled.
    quiet_until: Time,
    first: Option<SocketAddr>,
}

impl Discovery {
    /// What a fulcrum knows at its start. It is alone.
    #[must_use]
    pub fn new(now: Time, me: FulcrumId, pace: Pace, seeds: &[SocketAddr], book: Arc<Book>) -> Self {
        let salt = crate::hash::stable64(&[me.node.as_str(), me.fulcrum.as_str()]);
        let place = Place { rank: 0, size: 1 };
        let mut new = Self {
            salt,
            place,
            seeds: BTreeSet::new(),
            myself: BTreeSet::new(),
            expelled: BTreeSet::new(),
            left: BTreeSet::new(),
            idle: Vec::new(),
            idle_count: 0,
            gone: Vec::new(),
            base: Arc::default(),
            loose: BTreeMap::new(),
            loose_at: BTreeSet::new(),
            loose_of: BTreeSet::new(),
            loose_cold: BTreeSet::new(),
            free: Vec::new(),
            displaced: BTreeSet::new(),
            lost_at: BTreeMap::new(),
            lost_pruned: Time::ZERO,
            turned: BTreeMap::new(),
            certified: 0,
            probes: 0,
            informants: Informants::new(),
            changes: BTreeMap::new(),
            said: BTreeMap::new(),
            fresh: Ring::new(pace.disc / 4),
            steady: Ring::new(pace.disc),
            fresh_ages: VecDeque::new(),
            steady_ages: VecDeque::new(),
            refusing: 0,
            uncounted: 0,
            waiting: BTreeSet::new(),
            due: BTreeMap::new(),
            urgent: BTreeMap::new(),
            sweep: None,
            mark: now,
            untried: 0,
            searched: false,
            cold_at: salt,
            cold_next: now,
            cold_sweep: 0,
            steady_first: false,
            soon: Soon { addr: None, next: Time::ZERO },
            flying: VecDeque::new(),
            recent: VecDeque::new(),
            rate: DIALS,
            rated: now,
            was_late: None,
            crowded: false,
            in_a_row: 0,
            quiet_until: Time::ZERO,
            first: None,
            me,
            pace,
        };
        new.open(book);
        for addr in seeds {
            new.seed(now, *addr);
        }
        if new.known() > AT_ONCE {
            // A crowd that starts at once would have everybody dial everybody: who answers first tells of the others.
            new.quiet_until = now + pace.disc;
            let seed = (!new.seeds.is_empty()).then(|| salt as usize % new.seeds.len());
            new.first = seed.and_then(|at| new.seeds.iter().nth(at).copied());
        }
        new.wake_cold(now);
        new
    }

    /// A dial has come to something after this.
    #[must_use]
    pub const fn dial_time(&self) -> Duration {
        self.pace.dial
    }

    /// The fulcrum stands there in the roster of a view that was just installed. A new round begins.
    pub fn place(&mut self, now: Time, rank: u32, size: u32) {
        let size = u64::from(size.max(1));
        let place = Place { rank: u64::from(rank) % size, size };
        if place != self.place {
            // The walk goes on in the new arc as far as it had come in the old one. (A lone one began anywhere.)
            let moved = place.first(place.rank).wrapping_sub(self.place.first(self.place.rank));
            let alone = self.place.size == 1;
            self.cold_at = if alone { place.first(place.rank) } else { self.cold_at.wrapping_add(moved) };
            self.place = place;
            self.fresh.place(now);
            self.steady.place(now);
            self.cold_next = self.cold_next.min(now + self.jitter(now, 0, self.cold_gap()));
        }
        self.mark = now;
        self.untried = self.hot() - self.uncounted;
        self.searched = false;
        self.sweep = (self.sweeps() && self.untried > 0).then_some((false, 0));
    }

    /// An address that is tried for ever: configured, or added by an operator.
    pub fn seed(&mut self, now: Time, addr: SocketAddr) {
        if !dialable(addr) || self.seeds.len() >= HINTS || !self.seeds.insert(addr) || self.myself.contains(&addr) {
            return;
        }
        self.keep_seed(now, addr);
    }

    /// A fulcrum of the bloc may be there: somebody said so, or it announced itself.
    pub fn hint(&mut self, now: Time, fulcrum: Option<&FulcrumId>, addr: SocketAddr) {
        if self.unwanted(fulcrum, addr) {
            return;
        }
        if let Some(fulcrum) = fulcrum
            && self.of(fulcrum).into_iter().any(|id| self.is_linked(id))
        {
            return;
        }
        let here = self.at(addr);
        if here.iter().any(|id| self.is_linked(*id) || self.is_hot(*id)) {
            return;
        }
        let id = match here.first() {
            Some(id) => *id,
            None if self.hints() >= HINTS => return,
            None => self.add(fulcrum.cloned(), addr),
        };
        self.no_probe(id);
        self.heat(now, id, true);
    }

    /// An address of a probed network. It is tried once, among the cold ones, and forgotten if nobody is there. Returns
    /// whether there was room for it; see [`Discovery::probe_room`].
    pub fn probe(&mut self, now: Time, addr: SocketAddr) -> bool {
        if self.unwanted(None, addr) || !self.at(addr).is_empty() {
            return true;
        }
        if self.probe_room() == 0 {
            return false;
        }
        let id = self.add(None, addr);
        if let Some(loose) = self.loose.get_mut(&id) {
            loose.probe = true;
            self.probes += 1;
        }
        self.cool(now, id);
        if self.place.size == 1 || self.cold_sweep > 0 {
            self.cold_sweep += 1;
        }
        true
    }

    /// How many more probed addresses may be given now. Give more when some of them were tried.
    #[must_use]
    pub fn probe_room(&self) -> usize {
        PROBES - self.probes
    }

    /// This fulcrum must be reached from here, whoever else tries: a candidate of a view. It is dialled at once and again
    /// after each failure, for ten rounds.
    pub fn urge(&mut self, now: Time, fulcrum: &FulcrumId, addr: SocketAddr) {
        self.hint(now, Some(fulcrum), addr);
        let mut ids = self.of(fulcrum);
        ids.extend(self.at(addr).into_iter().filter(|id| self.fulcrum(*id).is_none_or(|there| there == fulcrum)));
        if self.unwanted(Some(fulcrum), addr) || ids.iter().any(|id| self.is_linked(*id)) {
            return;
        }
        ids.retain(|id| !self.displaced.contains(id));
        for id in ids {
            if !self.is_hot(id) && self.addr(id) == addr {
                self.heat(now, id, true);
            }
            if self.is_hot(id) {
                let key = self.key(id);
                self.urgent.insert(key, now + self.pace.disc * 10);
                self.want(key, now);
            }
        }
    }

    /// Nobody here has to reach it any more: it is dialled in its turn.
    pub fn calm(&mut self, fulcrum: &FulcrumId) {
        if self.urgent.is_empty() {
            return;
        }
        for id in self.of(fulcrum) {
            let key = self.key(id);
            self.urgent.remove(&key);
        }
    }

    /// A link to this fulcrum is up, at this address. It is the one that the book knows from now on; former ones are
    /// cold, tried once more and dropped.
    pub fn found(&mut self, now: Time, fulcrum: &FulcrumId, addr: SocketAddr) {
        self.landed(addr);
        if *fulcrum == self.me {
            return;
        }
        self.left.remove(fulcrum);
        self.expelled.remove(&fulcrum.node);
        self.certify(now, fulcrum, addr);
    }

    /// A dial to this address led to a fulcrum that is linked at another one.
    pub fn answered(&mut self, now: Time, fulcrum: &FulcrumId, addr: SocketAddr) {
        self.landed(addr);
        if self.of(fulcrum).into_iter().any(|id| self.is_linked(id)) {
            for id in self.at(addr) {
                // A second address of a linked one: as good as linked, and lost with it.
                if self.fulcrum(id).is_none_or(|there| there == fulcrum) || !self.in_book(id) {
                    self.no_probe(id);
                    self.name(id, Some(fulcrum));
                    self.detach(id);
                }
            }
        }
        self.ended(now, addr, false);
    }

    /// The last link to this fulcrum ended. All its addresses are hot.
    pub fn lost(&mut self, now: Time, fulcrum: &FulcrumId) {
        // Who said goodbye comes back by itself; it is not missed.
        let fresh = !self.left.contains(fulcrum);
        let again = self.lost_again(now, fulcrum);
        for id in self.of(fulcrum) {
            let addr = self.addr(id);
            let taken = self.at(addr).into_iter().any(|other| other != id && self.is_linked(other));
            if taken || self.myself.contains(&addr) {
                self.displace(id);
                continue;
            }
            if self.told_at(id).is_some() && self.is_one_too_many(id) {
                self.remove(id);
            } else if again || self.turned_lately(now, addr) {
                self.turn(now, addr);
                self.warm(now, id, fresh);
            } else {
                self.heat(now, id, fresh);
            }
            self.vacate(now, addr);
        }
    }

    /// Whether its link ended a moment ago too: whoever is turned away as soon as it is linked is dialled in its turn,
    /// and not before a pause that doubles.
    fn lost_again(&mut self, now: Time, fulcrum: &FulcrumId) -> bool {
        let disc = self.pace.disc;
        if self.lost_pruned + disc <= now {
            self.lost_pruned = now;
            self.lost_at.retain(|_, at| *at + disc > now);
        }
        if self.lost_at.len() >= NOTED && !self.lost_at.contains_key(fulcrum) {
            return false;
        }
        self.lost_at.insert(fulcrum.clone(), now).is_some_and(|last| last + disc > now)
    }

    /// A dial came to nothing.
    pub fn failed(&mut self, now: Time, addr: SocketAddr, myself: bool, refused: bool, why: &str) {
        self.flying.retain(|(_, there)| *there != addr);
        if myself {
            if self.myself.len() < KEPT {
                self.myself.insert(addr);
            }
            for id in self.at(addr) {
                if self.in_book(id) { self.displace(id) } else { self.remove(id) }
            }
            return;
        }
        self.say(addr, refused, why);
        self.ended(now, addr, refused);
    }

    /// This fulcrum stops on purpose: its silence from now on has a reason.
    pub fn goodbye(&mut self, fulcrum: &FulcrumId) {
        if self.left.len() < HINTS && !self.of(fulcrum).is_empty() {
            self.left.insert(fulcrum.clone());
        }
    }

    /// An operator wants this fulcrum forgotten. Addresses that are seeds are tried on.
    pub fn forget(&mut self, now: Time, fulcrum: &FulcrumId) {
        self.left.remove(fulcrum);
        for id in self.of(fulcrum) {
            let addr = self.addr(id);
            self.said.remove(&addr);
            self.unbook(id);
            self.detach(id);
            if self.loose.contains_key(&id) {
                self.remove(id);
            }
            self.keep_seed(now, addr);
            self.vacate(now, addr);
        }
    }

    /// This node is no longer of the bloc: its fulcrums are forgotten, and hints about them until it is linked again.
    pub fn expel(&mut self, now: Time, node: &NodeName) {
        if self.expelled.len() < KEPT {
            self.expelled.insert(node.clone());
        }
        let theirs: BTreeSet<FulcrumId> = self
            .book()
            .map(|(id, _)| id)
            .chain(self.loose_of.iter().map(|(id, _)| id))
            .filter(|id| id.node == *node)
            .cloned()
            .collect();
        theirs.iter().for_each(|fulcrum| self.forget(now, fulcrum));
    }

    /// Walks once over all cold addresses at the higher rate: the network may have healed.
    pub fn wake_cold(&mut self, now: Time) {
        self.cold_sweep = self.cold_in_arc();
        if self.place.size > 1 {
            self.cold_at = self.place.first(self.place.rank);
        }
        self.cold_next = self.cold_next.min(now);
    }

    /// Everybody in the book, in no particular order.
    pub fn book(&self) -> impl Iterator<Item = (&FulcrumId, SocketAddr)> {
        let base = (0..self.base.len() as u32).filter(|id| !self.is_gone(*id) && *self.base.fulcrum(*id) != self.me);
        let base = base.map(|id| (self.base.fulcrum(id), self.base.addr(id)));
        let loose = self.loose.values().filter(|loose| loose.certified);
        base.chain(loose.filter_map(|loose| Some((loose.fulcrum.as_ref()?, loose.addr))))
    }

    /// What changed in the book since this was last asked, for the disk.
    pub fn book_changed(&mut self) -> Option<BookChange> {
        if self.changes.is_empty() {
            return None;
        }
        let mut change = BookChange::default();
        for (fulcrum, addr) in core::mem::take(&mut self.changes) {
            match addr {
                Some(addr) => change.put.push((fulcrum, addr)),
                None => change.removed.push(fulcrum),
            }
        }
        Some(change)
    }

    /// How many members are kept in this struct because the shared book does not have them.
    #[must_use]
    pub fn beyond_the_book(&self) -> usize {
        self.certified
    }

    /// Where this fulcrum was last certified.
    #[must_use]
    pub fn address(&self, fulcrum: &FulcrumId) -> Option<SocketAddr> {
        self.of(fulcrum).into_iter().find(|id| self.in_book(*id)).map(|id| self.addr(id))
    }

    /// How many addresses are known, linked or not.
    #[must_use]
    pub fn known(&self) -> usize {
        self.base.len() + self.loose.len()
    }

    /// Hot addresses that have neither a link nor refused.
    #[must_use]
    pub fn hot_unanswered(&self) -> usize {
        (self.hot() - self.uncounted).saturating_sub(self.refusing)
    }

    /// Addresses without a link: the hot ones that were tried, the cold ones of the book, and what refused.
    pub fn outside(&self) -> impl Iterator<Item = OutsideAddr<'_>> {
        let hot = [&self.fresh, &self.steady].into_iter().flat_map(|ring| &ring.map);
        let hot = hot.filter(|(_, hot)| hot.tried > Time::ZERO).map(|(key, _)| (*key as u32, true));
        let cold = self.loose_cold.iter().map(|key| *key as u32);
        let cold = cold.filter(|id| self.in_book(*id) || self.said.contains_key(&self.addr(*id)));
        let idle = (0..self.base.len() as u32).filter(|id| self.is_idle(*id));
        hot.chain(cold.chain(idle).map(|id| (id, false))).map(|(id, hot)| {
            let addr = self.addr(id);
            let said = self.said.get(&addr);
            let refused = said.is_some_and(|said| said.refused);
            let left = self.fulcrum(id).is_some_and(|fulcrum| self.left.contains(fulcrum));
            let why = if left && !refused { LEFT } else { said.map_or(UNTRIED, |said| &said.why) };
            OutsideAddr { fulcrum: self.fulcrum(id), addr, refused, hot, why }
        })
    }

    /// A dial to this address has come to a link.
    fn landed(&mut self, addr: SocketAddr) {
        self.flying.retain(|(_, there)| *there != addr);
        self.said.remove(&addr);
    }

    fn unwanted(&self, fulcrum: Option<&FulcrumId>, addr: SocketAddr) -> bool {
        !dialable(addr)
            || self.myself.contains(&addr)
            || fulcrum.is_some_and(|fulcrum| *fulcrum == self.me || self.expelled.contains(&fulcrum.node))
    }

    /// Notes what an address answered: of the silent ones only so many, since one reason is like the other.
    fn say(&mut self, addr: SocketAddr, refused: bool, why: &str) {
        const SILENT: usize = 256;
        let known = self.said.get(&addr);
        if known.is_some_and(|said| said.refused == refused && *said.why == *why) {
            return;
        }
        if known.is_none() && (self.at(addr).is_empty() || self.said.len() >= if refused { 2 * SILENT } else { SILENT })
        {
            return;
        }
        let last = self.said.values().next().filter(|said| *said.why == *why);
        let why = last.map_or_else(|| Arc::from(String::from(why)), |said| said.why.clone());
        self.said.insert(addr, Said { refused, why });
    }
}

/// Whether anybody can be dialled there at all.
fn dialable(addr: SocketAddr) -> bool {
    addr.port() != 0 && !addr.ip().is_unspecified() && !addr.ip().is_multicast()
}
