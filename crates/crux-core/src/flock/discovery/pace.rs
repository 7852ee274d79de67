//! Whom to dial now, and when to look again.

use super::{DIALS, Discovery, FRESH, HOT, SWEEPERS};
use alloc::vec::Vec;
use core::net::SocketAddr;
use crux_names::{Duration, Time};

/// Dials in one second, at most, of a fulcrum that is in touch with a crowd of strangers already: at a heal everybody
/// would dial everybody while the two flocks are becoming one.
const CROWDED: usize = 8;
/// Dials in one second, at most, of a fulcrum that can hardly keep up, and by how many it becomes more with each second in
/// which it does.
const HURRIED: usize = 4;
/// What comes later than this is late: then this host has more to do than it can. Between two looks of a loop that is well
/// lie a few milliseconds; a handshake that is begun now comes to its end too late to be of use.
const LATE: Duration = Duration::from_millis(100);
/// Own dials that wait at once, at most, before the shares of further slots are looked at.
const QUEUE: usize = 64;
/// Cold dials in one second by the flock as a whole.
const COLD_RATE: u32 = 20;
/// The same on the one walk after a start or a heal.
const SWEEP_RATE: u32 = 64;
/// No cold address is tried more often than this by the flock as a whole, however few there are.
const COLD_PASS: Duration = Duration::from_secs(2);
/// While hot ones wait, a cold one has its turn after so many of them.
const HOT_IN_A_ROW: u32 = 3;
pub(super) const SECOND: Duration = Duration::from_secs(1);
/// Why a dial failed of which nothing was heard in time.
const SILENT: &str = "no answer";

impl Discovery {
    /// Whom to dial now.
    pub fn poll(&mut self, now: Time, out: &mut Vec<SocketAddr>) {
        self.keep_up(now);
        self.give_up(now);
        self.age(now);
        self.fill(now);
        self.searched |= self.round_over(now);
        while self.recent.front().is_some_and(|at| *at + SECOND <= now) {
            self.recent.pop_front();
        }
        self.dial_soon(now, out);
        while self.recent.len() < self.most() {
            let hot = self.waiting.first().copied().filter(|(due, _)| *due <= now);
            let cold = self.cold_due() <= now;
            let dialled = match hot {
                Some((due, key)) if !cold || self.in_a_row < HOT_IN_A_ROW => self.dial_hot(now, due, key, out),
                None if !cold => break,
                _ => self.dial_cold(now, out),
            };
            if dialled {
                self.recent.push_back(now);
            }
            self.fill(now);
        }
    }

    /// Sees whether this fulcrum comes in time, and dials less if it does not. Where many begin at once on one host, handshakes
    /// take longer than a dial has, and each that is begun anew makes the next take longer still: nobody would ever be
    /// linked. Halved when late, and slowly more again, as TCP does it (Jacobson 1988), they take what the host can do. Who was
    /// late only once slept, and can do as much as before.
    fn keep_up(&mut self, now: Time) {
        let due = self.deadline();
        if due > now {
            return;
        }
        if due != Time::ZERO && now.since(due) > LATE {
            if self.was_late.is_some_and(|at| now.since(at) <= SECOND) {
                self.rate = (self.rate / 2).max(HURRIED);
                self.rated = now;
            }
            self.was_late = Some(now);
        } else if self.rate < DIALS && self.rated + SECOND <= now {
            self.rate = (self.rate + HURRIED).min(DIALS);
            self.rated = now;
        }
    }

    /// When [`Discovery::poll`] may have something to do at the earliest.
    #[must_use]
    pub fn deadline(&self) -> Time {
        let paced = match self.recent.len().checked_sub(self.most()) {
            Some(at) => self.recent[at] + SECOND,
            None => Time::ZERO,
        };
        let waiting = self.waiting.first().map_or(Time::NEVER, |(due, _)| (*due).max(paced));
        let filling = if self.waiting.len() >= QUEUE {
            Time::NEVER
        } else if self.sweep.is_some() {
            Time::ZERO
        } else {
            self.fresh.wake.min(self.steady.wake)
        };
        let cold = self.cold_due().max(paced);
        let flying = self.flying.front().map_or(Time::NEVER, |(began, _)| *began + self.overdue());
        let fresh = self.fresh_ages.front().map_or(Time::NEVER, |(since, _)| since.time() + FRESH);
        let steady = self.steady_ages.front().map_or(Time::NEVER, |(since, _)| since.time() + HOT);
        [self.soon_due(), waiting, filling, cold, flying, fresh, steady].into_iter().min().unwrap_or(Time::NEVER)
    }

    /// Whether there are links to more strangers than one has use for.
    pub const fn crowd(&mut self, crowded: bool) {
        self.crowded = crowded;
    }

    /// Dials in one second, at most.
    fn most(&self) -> usize {
        if self.crowded && self.urgent.is_empty() { CROWDED.min(self.rate) } else { self.rate }
    }

    /// Whether one discovery round over the hot addresses is done since the last [`Discovery::place`], as far as this
    /// fulcrum can know it: see the module's documentation. What becomes hot later does not undo it.
    #[must_use]
    pub fn searched(&self, now: Time) -> bool {
        self.searched || self.round_over(now)
    }

    fn round_over(&self, now: Time) -> bool {
        if self.sweeps() {
            return self.untried == 0;
        }
        let late = self.waiting.first().is_some_and(|(due, _)| *due + self.pace.disc < now);
        let behind = self.fresh.wake.min(self.steady.wake) + self.pace.disc < now;
        now >= self.mark + (self.pace.disc + self.pace.dial).max(self.pace.disc * 2) && !late && !behind
    }

    /// Whether every member tries all hot addresses itself.
    pub(super) fn sweeps(&self) -> bool {
        self.place.size <= u64::from(SWEEPERS)
    }

    /// When a dial of which nothing was heard is given up: a little later than the link does, so that its own word
    /// comes first.
    fn overdue(&self) -> Duration {
        self.pace.dial + self.pace.dial / 4
    }

    fn give_up(&mut self, now: Time) {
        while let Some((began, addr)) = self.flying.front().copied()
            && began + self.overdue() <= now
        {
            self.flying.pop_front();
            if !self.said.contains_key(&addr) {
                self.say(addr, false, SILENT);
            }
            self.ended(now, addr, false);
        }
    }

    /// The minute and the hour go by.
    fn age(&mut self, now: Time) {
        while let Some((since, id)) = self.fresh_ages.front().copied()
            && since.time() + FRESH <= now
        {
            self.fresh_ages.pop_front();
            let Some(key) = self.known_key(id) else { continue };
            if self.fresh.map.get(&key).is_some_and(|hot| hot.since == since)
                && let Some(hot) = self.fresh.map.remove(&key)
            {
                self.steady.insert(now, self.place, key, hot);
                self.steady_ages.push_back((since, id));
            }
        }
        while let Some((since, id)) = self.steady_ages.front().copied()
            && since.time() + HOT <= now
        {
            self.steady_ages.pop_front();
            let Some(key) = self.known_key(id) else { continue };
            let same = self.steady.map.get(&key).is_some_and(|hot| hot.since == since);
            if same && !self.seeds.contains(&self.addr(id)) {
                self.cool(now, id);
            }
        }
    }

    /// Puts what is due among those that wait: what this fulcrum sweeps itself, and its shares.
    fn fill(&mut self, now: Time) {
        while self.waiting.len() < QUEUE
            && let Some((steady, from)) = self.sweep
        {
            let ring = if steady { &self.steady } else { &self.fresh };
            let next = ring
                .map
                .range(from..)
                .find(|(key, hot)| hot.counts && hot.tried <= self.mark && !self.due.contains_key(key));
            match next.map(|(key, _)| *key) {
                Some(key) => {
                    self.sweep = Some((steady, key + 1));
                    self.want(key, now + self.jitter(now, key, self.pace.disc / 16));
                }
                None => self.sweep = (!steady).then_some((true, 0)),
            }
        }
        while self.waiting.len() < QUEUE {
            // In turn, so that neither ring starves when more is due than may be dialled.
            self.steady_first = !self.steady_first;
            let (place, fresh, steady) = (self.place, self.pace.disc / 16, self.pace.disc / 4);
            let due = if self.steady_first {
                let due = self.steady.next_due(now, place).map(|due| (due, steady));
                due.or_else(|| self.fresh.next_due(now, place).map(|due| (due, fresh)))
            } else {
                let due = self.fresh.next_due(now, place).map(|due| (due, fresh));
                due.or_else(|| self.steady.next_due(now, place).map(|due| (due, steady)))
            };
            let Some(((key, at), most)) = due else { break };
            if !self.due.contains_key(&key) {
                self.want(key, at + self.jitter(at, key, most));
            }
        }
    }

    /// This hot address is to be dialled from here then, or as soon as the dial under way has come to something.
    pub(super) fn want(&mut self, key: u64, due: Time) {
        let addr = self.addr(key as u32);
        let flying = self.flying.iter().find(|(_, there)| *there == addr);
        let due = flying.map_or(due, |(began, _)| due.max(*began + self.pace.dial));
        let before = self.due.get(&key).copied();
        let hot = self.fresh.map.contains_key(&key) || self.steady.map.contains_key(&key);
        if hot && before.is_none_or(|before| due < before) {
            if let Some(before) = before {
                self.waiting.remove(&(before, key));
            }
            self.due.insert(key, due);
            self.waiting.insert((due, key));
        }
    }

    fn dial_hot(&mut self, now: Time, due: Time, key: u64, out: &mut Vec<SocketAddr>) -> bool {
        self.waiting.remove(&(due, key));
        if self.due.get(&key) != Some(&due) {
            return false;
        }
        self.due.remove(&key);
        let addr = self.addr(key as u32);
        if self.pause(now, addr).is_some() && !self.urgent.contains_key(&key) {
            // Whoever is there is known to be there; that is as good as tried.
            self.tried(now, key);
            return false;
        }
        if now < self.quiet_until && self.first.is_some_and(|first| first != addr) && !self.urgent.contains_key(&key) {
            self.want(key, self.quiet_until);
            return false;
        }
        if self.flying.iter().any(|(began, there)| *there == addr && *began + self.pace.dial > now) {
            self.want(key, now);
            return false;
        }
        self.in_a_row += 1;
        self.launch(now, addr, out);
        true
    }

    pub(super) fn launch(&mut self, now: Time, addr: SocketAddr, out: &mut Vec<SocketAddr>) {
        let before = self.flying.len();
        self.flying.retain(|(_, there)| *there != addr);
        if self.flying.len() < before {
            // The last dial there came to nothing that was told.
            self.ended(now, addr, false);
        }
        self.flying.push_back((now, addr));
        out.push(addr);
    }

    /// Dials the next cold address on the ring.
    fn dial_cold(&mut self, now: Time, out: &mut Vec<SocketAddr>) -> bool {
        self.in_a_row = 0;
        let gap = self.cold_gap();
        // Where hot ones are dialled by bursts, the cold ones catch up with what they lacked in between.
        self.cold_next = self.cold_next.max(now - SECOND) + gap * 7 / 8 + self.jitter(now, self.cold_at, gap / 4);
        self.cold_sweep = self.cold_sweep.saturating_sub(1);
        let Some(key) = self.next_cold(self.cold_at).or_else(|| self.next_cold(0)) else { return false };
        self.cold_at = key.wrapping_add(1);
        let addr = self.addr(key as u32);
        if now < self.quiet_until && self.first.is_none() {
            // Nobody is hot: the first cold one is the one that is tried alone.
            self.first = Some(addr);
        }
        if self.flying.iter().any(|(_, there)| *there == addr) || self.pause(now, addr).is_some() {
            return false;
        }
        self.launch(now, addr, out);
        true
    }

    fn next_cold(&self, from: u64) -> Option<u64> {
        let loose = self.loose_cold.range(from..).next().copied();
        let at = self.base.from(from);
        let mut words = self.idle.iter().enumerate().skip(at / 64).map(|(word, bits)| {
            let cut = if word == at / 64 { u64::MAX << (at % 64) } else { u64::MAX };
            (word, bits & cut)
        });
        let base = words.find(|(_, bits)| *bits != 0).map(|(word, bits)| word as u32 * 64 + bits.trailing_zeros());
        base.map(|id| self.key(id)).into_iter().chain(loose).min()
    }

    /// How many cold addresses are in this fulcrum's own arc: so many dials make one walk of the flock over all.
    pub(super) fn cold_in_arc(&self) -> usize {
        let (from, till) = (self.place.first(self.place.rank), self.place.first(self.place.rank + 1));
        let last = self.place.rank + 1 == self.place.size;
        let loose = if last { self.loose_cold.range(from..) } else { self.loose_cold.range(from..till) };
        let (first, end) = (self.base.from(from), if last { self.base.len() } else { self.base.from(till) });
        let base = (first..end).filter(|id| self.is_idle(*id as u32)).count();
        loose.count() + base
    }

    fn cold_due(&self) -> Time {
        if self.cold() == 0 {
            return Time::NEVER;
        }
        // While only one address is tried, the cold ones wait; unless it is one of them.
        let alone = self.hot() == 0 && self.first.is_none();
        if alone { self.cold_next } else { self.cold_next.max(self.quiet_until) }
    }

    /// The time between two own cold dials.
    pub(super) fn cold_gap(&self) -> Duration {
        let size = u32::try_from(self.place.size).unwrap_or(u32::MAX);
        if self.cold_sweep > 0 {
            return SECOND * size / SWEEP_RATE;
        }
        let few = COLD_PASS * size / u32::try_from(self.cold()).unwrap_or(u32::MAX).max(1);
        few.max(SECOND * size / COLD_RATE)
    }

    /// It counts in this round.
    fn tried(&mut self, now: Time, key: u64) {
        let mark = self.mark;
        if let Some(hot) = self.fresh.map.get_mut(&key).or_else(|| self.steady.map.get_mut(&key)) {
            self.untried -= usize::from(hot.counts && hot.tried <= mark && now > mark);
            hot.tried = now;
        }
    }

    /// A dial has come to something that is no link.
    pub(super) fn ended(&mut self, now: Time, addr: SocketAddr, refused: bool) {
        for id in self.at(addr) {
            let key = self.key(id);
            self.tried(now, key);
            let hot = self.fresh.map.get_mut(&key).or_else(|| self.steady.map.get_mut(&key));
            if let Some(hot) = hot {
                self.refusing += usize::from(refused);
                self.refusing -= usize::from(hot.refused);
                hot.refused = refused;
                if self.urgent.get(&key).is_some_and(|until| *until > now) {
                    self.want(key, now + self.jitter(now, key, self.pace.disc / 4));
                } else {
                    self.urgent.remove(&key);
                    if self.told_at(id).is_some() && !refused {
                        self.cool(now, id);
                    }
                }
            } else if self.is_idle(id)
                && !self.in_book(id)
                && !(refused && self.said.contains_key(&addr))
                && self.told_at(id).is_none_or(|at| at + HOT <= now)
            {
                self.remove(id);
            }
        }
    }
}
