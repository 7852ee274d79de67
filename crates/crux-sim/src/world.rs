//! An invented world: time, links and faults, for any state machine that speaks of links, datagrams and frames.
//!
//! The link model is the one of `crux-link`: a dial succeeds only if both directions work; frames are in order and
//! survive a cut that is shorter than the idle time-out; a peer that vanished without a word is noticed only by that
//! time-out; a link that replaces one of the same two lives is no event for the side that still held the old one.

use crux_core::hash::{Random, stable64};
pub use crux_names::Time;
use crux_names::{Duration, Member};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::net::SocketAddr;

/// How long a link without a sign of life is held.
const IDLE: Duration = Duration::from_secs(40);
/// How long a dial waits for an answer.
const DIAL: Duration = Duration::from_secs(1);

/// What the world does to a node.
#[derive(Clone, Debug)]
pub enum In<D, F> {
    /// Its deadline came.
    Wake,
    /// A link passed its welcome.
    LinkUp(Member, SocketAddr),
    /// A link ended.
    LinkDown(Member),
    /// A dial came to nothing; the flag says that the address is its own.
    DialFailed(SocketAddr, bool),
    /// A datagram came.
    Datagram(Member, D),
    /// A frame came.
    Frame(Member, F),
}

/// What a node does to the world.
#[derive(Clone, Debug)]
pub enum Out<D, F> {
    /// Dial an address.
    Dial(SocketAddr),
    /// Close a link.
    Close(Member),
    /// Send a datagram.
    Datagram(Member, D),
    /// Send a frame.
    Frame(Member, F),
}

/// A state machine that can live in the world.
pub trait Node {
    /// Small messages that may be lost.
    type Datagram: Clone + Debug;
    /// Messages that arrive in order.
    type Frame: Clone + Debug;
    /// Takes one thing that happened; what it wants done to the network goes to `out`.
    fn handle(
        &mut self,
        now: Time,
        input: In<Self::Datagram, Self::Frame>,
        out: &mut Vec<Out<Self::Datagram, Self::Frame>>,
    );
    /// When it wants to be woken.
    fn deadline(&self) -> Time;
}

/// A place for a node: its address stays, its lives come and go.
#[derive(Debug)]
pub struct Slot<N> {
    /// The life there, if it is alive.
    pub node: Option<N>,
    /// Which life it is, or was.
    pub member: Member,
    /// Its address.
    pub addr: SocketAddr,
    /// It neither runs nor is told anything before this.
    pub paused_until: Time,
}

#[derive(Clone, Debug, Default)]
struct Link {
    /// Which of the two lives holds it as up; in the order of their members.
    up: [bool; 2],
    /// Counts establishments, so that what was sent on an older one is dropped.
    generation: u64,
    /// The last arrival in each direction: frames stay in order.
    last: [Time; 2],
}

#[derive(Clone, Debug)]
enum Happening<D, F> {
    Tell { to: Member, input: In<D, F> },
    Dialed { from: Member, addr: SocketAddr },
    Frame { from: Member, to: Member, generation: u64, frame: F },
    Idle { from: Member, to: Member, generation: u64 },
}

/// How unkind the network is.
#[derive(Clone, Debug)]
pub struct Weather {
    /// Shortest one-way delay.
    pub delay_from: Duration,
    /// Longest one-way delay.
    pub delay_to: Duration,
    /// Datagrams lost, in thousandths. Frames are delayed instead, as by a retransmission.
    pub loss: u64,
}

impl Default for Weather {
    fn default() -> Self {
        Self { delay_from: Duration::from_micros(200), delay_to: Duration::from_millis(2), loss: 0 }
    }
}

/// The world.
pub struct World<N: Node> {
    /// Now, in invented time.
    pub now: Time,
    /// The network.
    pub weather: Weather,
    /// Who lives where.
    pub slots: Vec<Slot<N>>,
    /// Hash of everything that was told to anybody: equal seeds give equal traces.
    pub trace: u64,
    /// Things told so far.
    pub told: u64,
    random: Random,
    blocked: BTreeSet<(usize, usize)>,
    links: BTreeMap<(Member, Member), Link>,
    ahead: BTreeMap<(Time, u64), Happening<N::Datagram, N::Frame>>,
    held: Vec<Happening<N::Datagram, N::Frame>>,
    counter: u64,
    /// With it, each thing told is printed.
    pub verbose: bool,
}

impl<N: Node> World<N> {
    /// An empty world with this seed's luck.
    #[must_use]
    pub fn new(seed: u64, weather: Weather) -> Self {
        Self {
            now: Time::from_millis(1000),
            weather,
            slots: Vec::new(),
            trace: seed,
            told: 0,
            random: Random::new(seed ^ 0x5151),
            blocked: BTreeSet::new(),
            links: BTreeMap::new(),
            ahead: BTreeMap::new(),
            held: Vec::new(),
            counter: 0,
            verbose: false,
        }
    }

    /// Adds a place with a life in it.
    pub fn add(&mut self, member: Member, addr: SocketAddr, node: N) -> usize {
        self.slots.push(Slot { node: Some(node), member, addr, paused_until: Time::ZERO });
        self.slots.len() - 1
    }

    /// Ends a life without a word.
    pub fn crash(&mut self, at: usize) {
        self.slots[at].node = None;
    }

    /// Begins another life in a place.
    pub fn restart(&mut self, at: usize, member: Member, node: N) {
        self.slots[at].member = member;
        self.slots[at].node = Some(node);
        self.slots[at].paused_until = Time::ZERO;
    }

    /// Stops a life for a while, as SIGSTOP does: what arrives waits.
    pub fn pause(&mut self, at: usize, time: Duration) {
        self.slots[at].paused_until = self.now + time;
    }

    /// Cuts or joins one direction.
    pub fn set_path(&mut self, from: usize, to: usize, works: bool) {
        if works {
            self.blocked.remove(&(from, to));
            let held = std::mem::take(&mut self.held);
            for happening in held {
                let delay = self.delay() * 4;
                self.schedule(delay, happening);
            }
        } else {
            self.blocked.insert((from, to));
        }
    }

    /// Whether the two can talk in both directions.
    #[must_use]
    pub fn connected(&self, a: usize, b: usize) -> bool {
        !self.blocked.contains(&(a, b)) && !self.blocked.contains(&(b, a))
    }

    /// Whether anything that one sends reaches the other.
    #[must_use]
    pub fn works(&self, from: usize, to: usize) -> bool {
        !self.blocked.contains(&(from, to))
    }

    /// Runs until this moment.
    pub fn run_until(&mut self, end: Time, watch: &mut impl FnMut(&Self)) {
        loop {
            let event = self.ahead.keys().next().map_or(Time::NEVER, |(at, _)| *at);
            let wake = self
                .slots
                .iter()
                .enumerate()
                .filter_map(|(i, slot)| slot.node.as_ref().map(|n| (n.deadline().max(slot.paused_until), i)))
                .min()
                .unwrap_or((Time::NEVER, 0));
            // Who wakes drains what arrived before it looks at its timers.
            if event.min(wake.0) > end {
                self.now = end;
                return;
            }
            if event <= wake.0 {
                let ((at, _), happening) = self.ahead.pop_first().expect("it was just seen");
                self.now = self.now.max(at);
                self.happen(happening);
            } else {
                self.now = self.now.max(wake.0);
                let member = self.slots[wake.1].member.clone();
                self.tell(&member, In::Wake);
            }
            watch(self);
        }
    }

    fn index(&self, member: &Member) -> Option<usize> {
        self.slots.iter().position(|slot| slot.member == *member && slot.node.is_some())
    }

    fn index_of_id(&self, member: &Member) -> Option<usize> {
        self.slots.iter().position(|slot| slot.member.id == member.id)
    }

    fn delay(&mut self) -> Duration {
        let spread = self.weather.delay_to.saturating_sub(self.weather.delay_from);
        let extra = self.random.below(u64::try_from(spread.as_nanos()).unwrap_or(0) + 1);
        self.weather.delay_from + Duration::from_nanos(extra)
    }

    fn lost(&mut self) -> bool {
        self.weather.loss > 0 && self.random.below(1000) < self.weather.loss
    }

    fn schedule(&mut self, after: Duration, happening: Happening<N::Datagram, N::Frame>) {
        self.schedule_at(self.now + after, happening);
    }

    fn schedule_at(&mut self, at: Time, happening: Happening<N::Datagram, N::Frame>) {
        self.counter += 1;
        self.ahead.insert((at, self.counter), happening);
    }

    fn happen(&mut self, happening: Happening<N::Datagram, N::Frame>) {
        match happening {
            Happening::Tell { to, input } => {
                if let Some(at) = self.index(&to) {
                    if self.slots[at].paused_until > self.now {
                        let until = self.slots[at].paused_until;
                        self.schedule_at(until, Happening::Tell { to, input });
                    } else {
                        self.tell(&to, input);
                    }
                }
            }
            Happening::Dialed { from, addr } => self.dialed(from, addr),
            Happening::Frame { from, to, generation, frame } => {
                let (Some(a), Some(b)) = (self.index_of_id(&from), self.index_of_id(&to)) else { return };
                if !self.connected(a, b) {
                    self.held.push(Happening::Frame { from, to, generation, frame });
                    return;
                }
                let side = usize::from(to > from);
                if let Some(link) = self.links.get(&key(&from, &to))
                    && link.generation == generation
                    && link.up[side]
                {
                    self.happen(Happening::Tell { to, input: In::Frame(from, frame) });
                }
            }
            Happening::Idle { from, to, generation } => {
                // `to` never heard again from `from` on that link.
                let side = usize::from(to > from);
                let Some(link) = self.links.get_mut(&key(&from, &to)) else { return };
                if link.generation == generation && link.up[side] && !link.up[1 - side] {
                    link.up[side] = false;
                    self.happen(Happening::Tell { to, input: In::LinkDown(from) });
                }
            }
        }
    }

    fn dialed(&mut self, from: Member, addr: SocketAddr) {
        let Some(a) = self.index(&from) else { return };
        let peer = self.slots.iter().position(|slot| slot.addr == addr && slot.node.is_some());
        let reached = peer.filter(|b| self.connected(a, *b) && self.slots[*b].paused_until <= self.now);
        if peer == Some(a) {
            self.happen(Happening::Tell { to: from, input: In::DialFailed(addr, true) });
            return;
        }
        let Some(b) = reached else {
            self.schedule(DIAL, Happening::Tell { to: from, input: In::DialFailed(addr, false) });
            return;
        };
        let to = self.slots[b].member.clone();
        let (addr_a, addr_b) = (self.slots[a].addr, self.slots[b].addr);
        let link = self.links.entry(key(&from, &to)).or_default();
        if link.up == [true, true] {
            return;
        }
        let held = link.up;
        link.up = [true, true];
        link.generation += 1;
        let side = usize::from(from > to);
        if !held[side] {
            let delay = self.delay();
            self.schedule(delay, Happening::Tell { to: from.clone(), input: In::LinkUp(to.clone(), addr_b) });
        }
        if !held[1 - side] {
            let delay = self.delay();
            self.schedule(delay, Happening::Tell { to, input: In::LinkUp(from, addr_a) });
        }
    }

    /// Tells a node something right now and does what it wants.
    pub fn tell(&mut self, to: &Member, input: In<N::Datagram, N::Frame>) {
        let Some(at) = self.index(to) else { return };
        self.told += 1;
        let nanos = self.now.as_nanos().to_string();
        let what = if self.verbose || self.told.is_multiple_of(16) { format!("{input:?}") } else { String::new() };
        if self.verbose {
            println!("{} {to} <- {what}", self.now);
        }
        self.trace = stable64(&[&self.trace.to_string(), &nanos, to.id.node.as_str(), &what]);
        let mut out = Vec::new();
        let now = self.now;
        if let Some(node) = &mut self.slots[at].node {
            node.handle(now, input, &mut out);
        }
        self.obey(to, out);
    }

    /// Lets something be done to one node from outside, and does what it wants of the network.
    pub fn poke(&mut self, at: usize, act: impl FnOnce(&mut N, Time, &mut Vec<Out<N::Datagram, N::Frame>>)) {
        let mut out = Vec::new();
        let (now, member) = (self.now, self.slots[at].member.clone());
        if let Some(node) = &mut self.slots[at].node {
            act(node, now, &mut out);
        }
        self.obey(&member, out);
    }

    fn obey(&mut self, from: &Member, out: Vec<Out<N::Datagram, N::Frame>>) {
        for wish in out {
            match wish {
                Out::Dial(addr) => {
                    let delay = self.delay() * 2;
                    self.schedule(delay, Happening::Dialed { from: from.clone(), addr });
                }
                Out::Close(to) => {
                    let side = usize::from(*from > to);
                    let Some(link) = self.links.get_mut(&key(from, &to)) else { continue };
                    if !link.up[side] {
                        continue;
                    }
                    link.up[side] = false;
                    let generation = link.generation;
                    let reached = match (self.index_of_id(from), self.index_of_id(&to)) {
                        (Some(a), Some(b)) => !self.blocked.contains(&(a, b)),
                        _ => false,
                    };
                    let after = if reached { self.delay() } else { IDLE };
                    self.schedule(after, Happening::Idle { from: from.clone(), to, generation });
                }
                Out::Datagram(to, datagram) => {
                    let side = usize::from(*from > to);
                    let up = self.links.get(&key(from, &to)).is_some_and(|link| link.up[side]);
                    let path = match (self.index_of_id(from), self.index_of_id(&to)) {
                        (Some(a), Some(b)) => !self.blocked.contains(&(a, b)),
                        _ => false,
                    };
                    if up && path && !self.lost() {
                        let delay = self.delay();
                        let input = In::Datagram(from.clone(), datagram);
                        self.schedule(delay, Happening::Tell { to, input });
                    }
                }
                Out::Frame(to, frame) => {
                    let delay = if self.lost() { self.delay() + Duration::from_millis(100) } else { self.delay() };
                    let side = usize::from(*from > to);
                    let now = self.now;
                    let Some(link) = self.links.get_mut(&key(from, &to)) else { continue };
                    if !link.up[side] {
                        continue;
                    }
                    let at = link.last[side].max(now + delay);
                    link.last[side] = at + Duration::from_nanos(1);
                    let generation = link.generation;
                    self.schedule_at(at, Happening::Frame { from: from.clone(), to, generation, frame });
                }
            }
        }
    }
}

fn key(a: &Member, b: &Member) -> (Member, Member) {
    if a < b { (a.clone(), b.clone()) } else { (b.clone(), a.clone()) }
}
