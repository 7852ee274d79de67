//! What happens: things arrive, dials end, links fall, and what a node wants is done.

use super::lanes::Way;
use super::{DIAL, Fate, IDLE, In, Life, Mixer, Node, Out, Quality, Step, Time, World, number};
use crux_names::{Duration, Member};
use std::fmt::Write as _;
use std::hash::Hasher as _;
use std::net::SocketAddr;

/// A frame that was lost is sent again after this.
const SENT_AGAIN: Duration = Duration::from_millis(100);
/// A frame that was lost three times, each time sent again after twice as long, is so late.
const LATE: Duration = Duration::from_millis(700);
/// So many things told, and one is mixed into the trace with all that can be printed of it.
const WHOLE: u64 = 64;
/// In a world of more places nothing is printed into the trace: views are long. Nor is each end of a cut link told of.
const SMALL: usize = 64;

/// What lies ahead. Numbers are of lives, but for paths, which are of places.
#[derive(Clone, Debug)]
pub(super) enum Happening<D, F> {
    Tell {
        to: u32,
        input: In<D, F>,
    },
    Dialed {
        from: u32,
        addr: SocketAddr,
    },
    Datagram {
        from: u32,
        to: u32,
        establishment: u32,
        datagram: D,
    },
    /// The next frame of the lane.
    Frame(Way),
    /// `to` hears that `from` closed, or has heard nothing for too long.
    Closed {
        from: u32,
        to: u32,
        establishment: u32,
    },
    /// It died so long ago that its peers notice.
    Silent {
        life: u32,
    },
    /// It moved so long ago that its peers notice.
    Stranded {
        life: u32,
    },
    /// A path was cut so long ago that its links fall.
    Cut {
        from: u32,
        to: u32,
        cut: u32,
    },
    /// Everything was divided so long ago that links between the parts fall.
    Divided {
        split: u32,
    },
    SetPath {
        from: u32,
        to: u32,
        works: bool,
    },
    SetBetween {
        from: u32,
        to: u32,
        quality: Quality,
    },
    Flap {
        from: u32,
        to: u32,
        works: bool,
        up: Duration,
        down: Duration,
        until: Time,
    },
}

impl<N: Node> World<N> {
    pub(super) fn delay(&mut self) -> Duration {
        let spread = self.weather.delay_to.saturating_sub(self.weather.delay_from);
        let extra = self.random.below(u64::try_from(spread.as_nanos()).unwrap_or(0) + 1);
        self.weather.delay_from + Duration::from_nanos(extra)
    }

    fn chance(&mut self, thousandths: u64) -> bool {
        thousandths > 0 && self.random.below(1000) < thousandths
    }

    /// What the path adds to the weather, all in all.
    fn quality(&self, from: u32, to: u32) -> Quality {
        let mut all = Quality {
            loss: self.weather.loss,
            duplicates: self.weather.duplicates,
            reordered: self.weather.reordered,
            ..Quality::default()
        };
        for one in self.paths.qualities(from, to) {
            all.loss = 1000 - (1000 - all.loss.min(1000)) * (1000 - one.loss.min(1000)) / 1000;
            all.duplicates = (all.duplicates + one.duplicates).min(1000);
            all.reordered = (all.reordered + one.reordered).min(1000);
            all.slower += one.slower;
            all.stalled |= one.stalled;
        }
        all
    }

    pub(super) fn schedule(&mut self, after: Duration, happening: Happening<N::Datagram, N::Frame>) {
        self.ahead.push(self.now + after, happening);
    }

    pub(super) fn place(&self, life: u32) -> u32 {
        self.lives[life as usize].place
    }

    fn alive(&self, life: u32) -> bool {
        self.lives[life as usize].alive
    }

    /// Until when this life stands still, if it does.
    fn paused(&self, life: u32) -> Option<Time> {
        let until = self.slots[self.place(life) as usize].paused_until;
        (until > self.now).then_some(until)
    }

    fn member(&self, life: u32) -> Member {
        self.lives[life as usize].member.clone()
    }

    /// Tells a life something, as soon as it runs.
    fn tell_life(&mut self, to: u32, input: In<N::Datagram, N::Frame>) {
        if !self.alive(to) {
            return;
        }
        match self.paused(to) {
            Some(until) => self.ahead.push(until, Happening::Tell { to, input }),
            None => {
                // The other side may have closed it before its welcome was here; that comes behind it.
                let closed = match &input {
                    In::LinkUp(peer, ..) => self.life_of(peer).filter(|peer| !self.links.up(to, *peer)),
                    _ => None,
                };
                let place = self.place(to) as usize;
                self.tell_place(place, input);
                if let Some(peer) = closed {
                    let input = In::LinkDown(self.member(peer));
                    self.tell_place(place, input);
                }
            }
        }
    }

    pub(super) fn happen(&mut self, happening: Happening<N::Datagram, N::Frame>) {
        match happening {
            Happening::Tell { to, input } => self.tell_life(to, input),
            Happening::Dialed { from, addr } => self.dialed(from, addr),
            Happening::Datagram { from, to, establishment, datagram } => {
                if !self.alive(to) || !self.links.up(to, from) || self.links.establishment(to, from) != establishment {
                    return;
                }
                if let Some(until) = self.paused(to) {
                    return self.ahead.push(until, Happening::Datagram { from, to, establishment, datagram });
                }
                let input = In::Datagram(self.member(from), datagram);
                self.tell_place(self.place(to) as usize, input);
            }
            Happening::Frame(way) => self.frame_due(way),
            Happening::Closed { from, to, establishment } => {
                if self.links.establishment(to, from) == establishment && !self.links.whole(to, from) {
                    self.fall(to, from);
                }
            }
            Happening::Silent { life } => {
                for at in 0..self.slots.len() {
                    self.fall(self.slots[at].life, life);
                }
            }
            Happening::Stranded { life } => {
                // Also the other ends of those that it has closed by now: it could tell nobody.
                for at in 0..self.slots.len() {
                    let peer = self.slots[at].life;
                    if !self.links.whole(life, peer) {
                        self.fall(life, peer);
                        self.fall(peer, life);
                    }
                }
            }
            Happening::Cut { from, to, cut } => {
                if self.paths.still(from, to, cut) {
                    let (a, b) = (self.slots[from as usize].life, self.slots[to as usize].life);
                    // The one that hears nothing gives up first, and then says nothing either.
                    let establishment = self.links.establishment(a, b);
                    self.schedule(IDLE, Happening::Closed { from: b, to: a, establishment });
                    self.fall(b, a);
                }
            }
            Happening::Divided { split } => {
                if self.paths.split == split {
                    self.drop_divided();
                }
            }
            Happening::SetPath { from, to, works } => self.set_path(from as usize, to as usize, works),
            Happening::SetBetween { from, to, quality } => self.set_between(from as usize, to as usize, quality),
            Happening::Flap { from, to, works, up, down, until } => {
                if self.now >= until {
                    return self.set_path(from as usize, to as usize, true);
                }
                self.set_path(from as usize, to as usize, works);
                let next = Happening::Flap { from, to, works: !works, up, down, until };
                self.schedule(if works { up } else { down }, next);
            }
        }
    }

    /// `owner`'s end of its link to `peer` goes down, if it is up.
    fn fall(&mut self, owner: u32, peer: u32) {
        if self.alive(owner) && self.links.up(owner, peer) {
            self.links.drop_end(owner, peer);
            let input = In::LinkDown(self.member(peer));
            self.schedule(Duration::ZERO, Happening::Tell { to: owner, input });
        }
    }

    fn drop_divided(&mut self) {
        for at in 0..self.slots.len() {
            let owner = self.slots[at].life;
            for peer in self.links.peers(owner) {
                if !self.paths.works(self.place(peer), number(at)) && !self.paths.works(number(at), self.place(peer)) {
                    self.fall(owner, peer);
                }
            }
        }
    }

    fn frame_due(&mut self, way: Way) {
        if !self.lanes.due(way, self.now.as_nanos()) {
            return;
        }
        let (from, to, establishment) = way;
        let (a, b) = (self.place(from), self.place(to));
        if let Some(until) = self.paused(to).filter(|_| self.alive(to)) {
            return self.ahead.push(until, Happening::Frame(way));
        }
        // Without a way back it arrives all the same, until too much is not acknowledged.
        let back = self.paths.works(b, a);
        let passes = self.paths.works(a, b) && (back || self.lanes.in_window(way));
        if !passes && !self.alive(from) {
            // Nobody sends it again.
            let _ = self.lanes.arrive(way);
            return;
        }
        if !passes || self.paths.qualities(a, b).any(|quality| quality.stalled) {
            return self.lanes.hold(way);
        }
        let Some(frame) = self.lanes.arrive(way) else { return };
        self.lanes.answerable(way, back);
        if self.alive(to) && self.links.up(to, from) && self.links.establishment(to, from) == establishment {
            let input = In::Frame(self.member(from), frame);
            self.tell_place(b as usize, input);
        }
    }

    /// What was stuck goes on where paths work again, and what was lost several times is sent again soon where less is
    /// lost by now.
    pub(super) fn unstick(&mut self) {
        for way in self.lanes.held() {
            let (from, to, _) = way;
            let (a, b) = (self.place(from), self.place(to));
            let passes = self.paths.works(a, b) && (self.paths.works(b, a) || self.lanes.in_window(way));
            if passes && !self.paths.qualities(a, b).any(|quality| quality.stalled) {
                let from = (self.now + self.delay() * 4).as_nanos();
                for at in self.lanes.release(way, from) {
                    self.ahead.push(Time::from_nanos(at), Happening::Frame(way));
                }
            }
        }
        for way in self.lanes.later_than((self.now + SENT_AGAIN * 4).as_nanos()) {
            let (a, b) = (self.place(way.0), self.place(way.1));
            let by = (self.now + SENT_AGAIN * 4 + self.carried(a, b)).as_nanos();
            for at in self.lanes.hurry(way, by) {
                self.ahead.push(Time::from_nanos(at), Happening::Frame(way));
            }
        }
    }

    /// How long a frame takes that is sent now.
    fn carried(&mut self, from: u32, to: u32) -> Duration {
        let quality = self.quality(from, to);
        let mut delay = self.delay() + quality.slower;
        // Sent again after a tenth of a second, then twice and four times that: no longer, for whatever else passes on the
        // link tells the sender that it is not dead. Where nothing comes back there are a few frames at most.
        let mut tries = 0;
        while tries < 100 && self.chance(quality.loss) {
            delay += SENT_AGAIN * (1 << tries.min(2));
            tries += 1;
        }
        delay
    }

    fn dialed(&mut self, from: u32, addr: SocketAddr) {
        if !self.alive(from) {
            return;
        }
        let a = self.place(from) as usize;
        let found = self.addrs.get(&addr).copied().filter(|b| self.slots[*b].node.is_some());
        if found == Some(a) {
            return self.tell_life(from, In::DialFailed(addr, true));
        }
        let reached = found.filter(|b| self.connected(a, *b));
        let until = reached.map_or(Time::ZERO, |b| self.slots[b].paused_until);
        if until > self.now && until <= self.now + DIAL {
            // A dial waits in the socket of whoever stands still, and is answered by it if it wakes in time.
            return self.ahead.push(until, Happening::Dialed { from, addr });
        }
        let reached = reached.filter(|_| until <= self.now);
        let Some(b) = reached else {
            return self.schedule(DIAL, Happening::Tell { to: from, input: In::DialFailed(addr, false) });
        };
        let to = self.slots[b].life;
        if self.links.whole(from, to) {
            return;
        }
        // A side that still holds an older link to the same life is told of its end before the new one.
        let older = [self.links.up(from, to), self.links.up(to, from)];
        self.links.establish(from, to);
        let (addr_a, addr_b) = (self.slots[a].addr, self.slots[b].addr);
        // The welcome is complete at the dialled one first; what it says then comes behind its answer.
        let first = self.now + self.delay() + self.quality(number(a), number(b)).slower;
        let second = first + self.delay() + self.quality(number(b), number(a)).slower;
        if older[1] {
            let input = In::LinkDown(self.member(from));
            self.ahead.push(first, Happening::Tell { to, input });
        }
        let input = In::LinkUp(self.member(from), addr_a, false);
        self.ahead.push(first, Happening::Tell { to, input });
        if older[0] {
            let input = In::LinkDown(self.member(to));
            self.ahead.push(second, Happening::Tell { to: from, input });
        }
        let input = In::LinkUp(self.member(to), addr_b, true);
        self.ahead.push(second, Happening::Tell { to: from, input });
        let establishment = self.links.establishment(to, from);
        self.lanes.not_before((to, from, establishment), second.as_nanos(), self.now.as_nanos());
    }

    /// Tells the living node of a place something right now and does what it wants.
    pub(super) fn tell_place(&mut self, at: usize, input: In<N::Datagram, N::Frame>) {
        if self.slots[at].node.is_none() {
            return;
        }
        self.told += 1;
        self.note(at, &input);
        let heard = match &input {
            In::Datagram(from, _) | In::Frame(from, _) | In::LinkUp(from, ..) => Some(from.clone()),
            _ => None,
        };
        let observed = self.observing.then(|| input.clone());
        let mut out = Vec::new();
        let now = self.local(at);
        if let Some(node) = &mut self.slots[at].node {
            node.handle(now, input, &mut out);
        }
        self.remember_deadline(at);
        let wanted = if self.observing { out.clone() } else { Vec::new() };
        self.tell_news(Step { place: at, heard, input: observed, out: wanted });
        self.obey(at, out);
    }

    fn note(&mut self, at: usize, input: &In<N::Datagram, N::Frame>) {
        let mut trace = Mixer::new(self.trace);
        trace.mix(self.now.as_nanos());
        trace.mix((at as u64) << 4);
        let (kind, peer, content) = match input {
            In::Wake => (0, None, 0),
            In::LinkUp(peer, ..) => (1, Some(peer), 0),
            In::LinkDown(peer) => (2, Some(peer), 0),
            In::ProcessGone(peer) => (3, Some(peer), 0),
            In::DialFailed(addr, _) => (4, None, u64::from(addr.port())),
            In::Datagram(peer, datagram) => (5, Some(peer), N::digest_datagram(datagram)),
            In::Frame(peer, frame) => (6, Some(peer), N::digest_frame(frame)),
        };
        trace.mix(kind);
        trace.mix(content);
        if let Some(peer) = peer {
            trace.mix(u64::from(self.life_of(peer).unwrap_or(u32::MAX)));
        }
        if self.told.is_multiple_of(WHOLE) && self.slots.len() <= SMALL {
            // Writing into a mixer does not fail.
            let _ = write!(trace, "{input:?}");
        }
        self.trace = trace.finish();
        if self.verbose {
            println!("{} {} <- {input:?}", self.now, self.slots[at].member);
        }
    }

    /// Lets something be done to one node from outside, and does what it wants of the network. `Time` is what its clock
    /// shows.
    pub fn poke(&mut self, at: usize, act: impl FnOnce(&mut N, Time, &mut Vec<Out<N::Datagram, N::Frame>>)) {
        let mut out = Vec::new();
        let now = self.local(at);
        if let Some(node) = &mut self.slots[at].node {
            act(node, now, &mut out);
        }
        self.remember_deadline(at);
        let wanted = if self.observing { out.clone() } else { Vec::new() };
        self.tell_news(Step { place: at, heard: None, input: None, out: wanted });
        self.obey(at, out);
    }

    fn obey(&mut self, at: usize, out: Vec<Out<N::Datagram, N::Frame>>) {
        if self.slots[at].node.is_none() {
            return;
        }
        let from = self.slots[at].life;
        for wish in out {
            match wish {
                Out::Dial(addr) => {
                    let delay = self.delay() * 2;
                    self.schedule(delay, Happening::Dialed { from, addr });
                }
                Out::Watch(peers) => self.watch(from, &peers),
                Out::Close(to) => {
                    let Some(to) = self.life_of(&to).filter(|to| self.links.up(from, *to)) else { continue };
                    let establishment = self.links.establishment(from, to);
                    self.links.drop_end(from, to);
                    let reached = self.paths.works(number(at), self.place(to));
                    let after = if reached { self.delay() } else { IDLE };
                    // In a large world that is cut millions of links end so; whoever sends on one is told, see `send`.
                    if reached || self.slots.len() <= SMALL {
                        self.schedule(after, Happening::Closed { from, to, establishment });
                    }
                }
                Out::Datagram(to, datagram) => {
                    let Some(to) = self.life_of(&to).filter(|to| self.links.up(from, *to)) else { continue };
                    self.send(from, to, datagram);
                }
                Out::Frame(to, frame) => {
                    let Some(to) = self.life_of(&to).filter(|to| self.links.up(from, *to)) else { continue };
                    let mut delay = self.carried(number(at), self.place(to));
                    match self.fate(from, to, true) {
                        Some(Fate::LinkEnds) => {
                            self.end_link(from, to);
                            continue;
                        }
                        Some(Fate::Late) => delay += LATE,
                        Some(Fate::Lost) | None => {}
                    }
                    let arrives = (self.now + delay).as_nanos();
                    let establishment = self.links.establishment(from, to);
                    let (way, length) = ((from, to, establishment), N::length(&frame));
                    if !self.lanes.room(way, length) {
                        self.overrun(from, to);
                        continue;
                    }
                    let arrives = self.lanes.send(way, arrives, length, frame);
                    self.ahead.push(Time::from_nanos(arrives), Happening::Frame(way));
                }
            }
        }
    }

    /// More waits on a link than its queue holds: it ends, on both sides.
    fn overrun(&mut self, from: u32, to: u32) {
        self.overrun += 1;
        self.end_link(from, to);
    }

    /// A link breaks under what one sends; the other hears of it as far as it hears.
    fn end_link(&mut self, from: u32, to: u32) {
        let establishment = self.links.establishment(from, to);
        let reached = self.paths.works(self.place(from), self.place(to));
        let after = if reached { self.delay() } else { IDLE };
        self.schedule(after, Happening::Closed { from, to, establishment });
        self.fall(from, to);
    }

    /// Counts a message that is sent; says what befalls it, if it is the one.
    fn fate(&mut self, from: u32, to: u32, frame: bool) -> Option<Fate> {
        if !self.paths.works(self.place(from), self.place(to)) {
            return None;
        }
        let sent = if frame { &mut self.sent.frames } else { &mut self.sent.datagrams };
        *sent = sent.wrapping_add(1);
        let doom = self.doom.as_mut().filter(|doom| (doom.fate != Fate::Lost) == frame)?;
        match doom.after.checked_sub(1) {
            Some(after) => doom.after = after,
            None => return self.doom.take().map(|doom| doom.fate),
        }
        None
    }

    fn send(&mut self, from: u32, to: u32, datagram: N::Datagram) {
        let (a, b) = (self.place(from), self.place(to));
        if !self.paths.works(a, b) {
            return;
        }
        let quality = self.quality(a, b);
        let establishment = self.links.establishment(from, to);
        if self.slots.len() > SMALL && !self.links.whole(from, to) && self.alive(to) && self.paths.works(b, a) {
            // The other end is gone and its host says so: a stateless reset.
            let delay = self.delay() * 2;
            return self.schedule(delay, Happening::Closed { from: to, to: from, establishment });
        }
        if self.fate(from, to, false).is_some() {
            return;
        }
        let copies = if self.chance(quality.duplicates) { 2 } else { 1 };
        for _ in 0..copies {
            if self.chance(quality.loss) {
                continue;
            }
            let mut delay = self.delay() + quality.slower;
            if self.chance(quality.reordered) {
                delay += self.weather.delay_to * u32::try_from(1 + self.random.below(20)).unwrap_or(1);
            }
            let datagram = datagram.clone();
            self.schedule(delay, Happening::Datagram { from, to, establishment, datagram });
        }
    }

    fn watch(&mut self, from: u32, peers: &[Member]) {
        let watches: Vec<u32> = peers.iter().filter_map(|peer| self.life_of(peer)).collect();
        let before = std::mem::replace(&mut self.lives[from as usize].watches, watches.clone());
        // Where nobody is there any more the host says so at once, if it lives.
        for peer in watches.into_iter().filter(|peer| !before.contains(peer)) {
            let Life { place, alive, .. } = self.lives[peer as usize];
            let slot = &self.slots[place as usize];
            if !alive && slot.host && slot.node.is_none() && self.connected(self.place(from) as usize, place as usize) {
                let delay = self.delay() * 2;
                let input = In::ProcessGone(self.member(peer));
                self.schedule(delay, Happening::Tell { to: from, input });
            }
        }
    }
}
