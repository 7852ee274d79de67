//! An invented world: time, links and faults, for any state machine that speaks of links, datagrams and frames.
//!
//! The link model is the one of `crux-link`: a dial succeeds only if both directions work; frames are in order and
//! survive a cut that is shorter than the idle time-out; a peer that vanished without a word is noticed only by that
//! time-out; a link that replaces one of the same two lives is no event for the side that still held the old one.
//!
//! A [`Slot`] is a place: an address and a host, on which lives come and go. Everything that happens is in `act`, what can
//! be done to the world from outside is in `faults`. It is made for ten thousand places: lives and places are small
//! numbers, each event costs a logarithm, and a cut of everything into parts costs one byte a place.

mod act;
mod faults;
mod index;
mod lanes;
mod links;
mod paths;
mod queue;
mod trace;
mod wakes;

pub use paths::Quality;
pub use trace::Mixer;

use self::act::Happening;
use self::index::Index;
use self::lanes::Lanes;
use self::links::Links;
use self::paths::Paths;
use self::queue::Queue;
use self::wakes::Wakes;
use crux_core::hash::Random;
pub use crux_names::Time;
use crux_names::{Duration, Member};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::net::SocketAddr;

/// How long a link without a sign of life is held.
pub const IDLE: Duration = Duration::from_secs(40);
/// How long a dial waits for an answer.
pub const DIAL: Duration = Duration::from_secs(1);

/// What the world does to a node.
#[derive(Clone, Debug)]
pub enum In<D, F> {
    /// Its deadline came.
    Wake,
    /// A link passed its welcome; the flag says that it dialled.
    LinkUp(Member, SocketAddr, bool),
    /// A link ended.
    LinkDown(Member),
    /// The idle connection to this peer ended while its host lives.
    ProcessGone(Member),
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
    /// Keep an idle connection to each of these, and to no others.
    Watch(Vec<Member>),
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
    /// When it wants to be woken. It may change only when something is told to the node.
    fn deadline(&self) -> Time;
    /// How many bytes a frame has, where they matter.
    fn length(_frame: &Self::Frame) -> usize {
        0
    }
    /// Something cheap about a datagram, for the trace.
    fn digest_datagram(datagram: &Self::Datagram) -> u64;
    /// Something cheap about a frame, for the trace.
    fn digest_frame(frame: &Self::Frame) -> u64;
}

/// A place for a node: its lives come and go.
#[derive(Debug)]
pub struct Slot<N> {
    /// The life there, if it is alive. Whoever changes it from outside does it through [`World::poke`], [`World::each`] or
    /// [`World::take`], for the world remembers when it wants to be woken.
    pub node: Option<N>,
    /// Which life it is, or was.
    pub member: Member,
    /// Its address.
    pub addr: SocketAddr,
    /// It neither runs nor is told anything before this.
    pub paused_until: Time,
    /// The host runs: it tells at once of a process that dies on it.
    pub host: bool,
    /// Which of all lives of the world.
    life: u32,
    clock: Clock,
}

/// A clock that runs at a rate of its own since some moment.
#[derive(Clone, Copy, Debug, Default)]
struct Clock {
    /// What it gains in a million parts, or loses.
    ppm: i64,
    /// Since when, in the world's time and in its own.
    since: Time,
    showed: Time,
}

impl Clock {
    fn local(&self, now: Time) -> Time {
        if self.ppm == 0 && self.since == self.showed {
            return now;
        }
        let passed = i128::from(now.as_nanos()) - i128::from(self.since.as_nanos());
        let shows = i128::from(self.showed.as_nanos()) + passed + passed * i128::from(self.ppm) / 1_000_000;
        Time::from_nanos(u64::try_from(shows).unwrap_or(if shows < 0 { 0 } else { u64::MAX }))
    }

    /// The first moment of the world at which it shows this.
    fn world(&self, local: Time) -> Time {
        if (self.ppm == 0 && self.since == self.showed) || local == Time::NEVER {
            return local;
        }
        let passed = i128::from(local.as_nanos()) - i128::from(self.showed.as_nanos());
        let moment = i128::from(self.since.as_nanos()) + passed * 1_000_000 / (1_000_000 + i128::from(self.ppm));
        let mut moment = Time::from_nanos(u64::try_from(moment).unwrap_or(if moment < 0 { 0 } else { u64::MAX }));
        // The division rounds: nobody may be woken before its deadline, or it would be woken for ever.
        while self.local(moment) < local {
            moment = Time::from_nanos(moment.as_nanos() + 1);
        }
        moment
    }
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
    /// Datagrams that come twice, in thousandths.
    pub duplicates: u64,
    /// Datagrams held up for up to twenty times the longest delay, in thousandths.
    pub reordered: u64,
}

impl Default for Weather {
    fn default() -> Self {
        let (delay_from, delay_to) = (Duration::from_micros(200), Duration::from_millis(2));
        Self { delay_from, delay_to, loss: 0, duplicates: 0, reordered: 0 }
    }
}

/// What may befall one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// A datagram is lost.
    Lost,
    /// A frame is lost three times and sent again each time: it and all behind it come late.
    Late,
    /// A frame is lost together with its link.
    LinkEnds,
}

/// It befalls one of those that are sent from now on.
#[derive(Clone, Copy, Debug)]
struct Doom {
    fate: Fate,
    /// So many of its kind come before it.
    after: u32,
}

/// How many messages were sent over paths that work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Frames.
    pub frames: u32,
    /// Datagrams.
    pub datagrams: u32,
}

/// One thing that was told to, or done to, a node.
#[derive(Clone, Debug)]
pub struct Step<N: Node> {
    /// Which place.
    pub place: usize,
    /// From whom it heard something, if it did.
    pub heard: Option<Member>,
    /// What it was told; `None` if it was done from outside or nobody observes.
    pub input: Option<In<N::Datagram, N::Frame>>,
    /// What it wanted done, if somebody observes.
    pub out: Vec<Out<N::Datagram, N::Frame>>,
}

/// Who a number of the world is.
#[derive(Debug)]
struct Life {
    member: Member,
    place: u32,
    alive: bool,
    /// Whom it keeps idle connections to.
    watches: Vec<u32>,
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
    /// With it, each thing told is printed.
    pub verbose: bool,
    /// With it, what is told and wanted is kept in [`World::news`].
    pub observing: bool,
    /// Who was told or changed since the last look of whoever runs the world.
    pub news: Vec<Step<N>>,
    /// How many links ended because more waited on them than their queue holds.
    pub overrun: u64,
    /// What was sent.
    pub sent: Sent,
    doom: Option<Doom>,
    /// How much news there ever was: who looks can tell whether it missed some.
    pub happened: u64,
    random: Random,
    paths: Paths,
    links: Links,
    lanes: Lanes<N::Frame>,
    ahead: Queue<Happening<N::Datagram, N::Frame>>,
    wakes: Wakes,
    lives: Vec<Life>,
    index: Index,
    addrs: BTreeMap<SocketAddr, usize>,
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
            verbose: false,
            observing: false,
            news: Vec::new(),
            overrun: 0,
            sent: Sent::default(),
            doom: None,
            happened: 0,
            random: Random::new(seed ^ 0x5151),
            paths: Paths::default(),
            links: Links::default(),
            lanes: Lanes::new(),
            ahead: Queue::new(),
            wakes: Wakes::default(),
            lives: Vec::new(),
            index: Index::new(),
            addrs: BTreeMap::new(),
        }
    }

    /// Adds a place with a life in it.
    pub fn add(&mut self, member: Member, addr: SocketAddr, node: N) -> usize {
        let place = self.slots.len();
        let life = self.new_life(&member, place);
        let clock = Clock::default();
        self.slots.push(Slot { node: Some(node), member, addr, paused_until: Time::ZERO, host: true, life, clock });
        self.addrs.insert(addr, place);
        self.wakes.add();
        self.changed(place);
        place
    }

    fn new_life(&mut self, member: &Member, place: usize) -> u32 {
        let life = u32::try_from(self.lives.len()).unwrap_or(u32::MAX);
        let place = u32::try_from(place).unwrap_or(u32::MAX);
        self.lives.push(Life { member: member.clone(), place, alive: true, watches: Vec::new() });
        self.links.add();
        let lives = &self.lives;
        self.index.insert(life, |life| &lives[life as usize].member);
        life
    }

    /// Something was done to this place: when it wants to be woken is asked again.
    fn changed(&mut self, place: usize) {
        self.remember_deadline(place);
        self.tell_news(Step { place, heard: None, input: None, out: Vec::new() });
    }

    fn tell_news(&mut self, step: Step<N>) {
        self.happened += 1;
        self.news.push(step);
    }

    fn remember_deadline(&mut self, place: usize) {
        let slot = &self.slots[place];
        let deadline = slot.node.as_ref().map_or(Time::NEVER, |node| slot.clock.world(node.deadline()));
        self.wakes.set(place, if slot.node.is_some() { deadline.max(slot.paused_until) } else { Time::NEVER });
    }

    /// Where this life lives, or lived.
    #[must_use]
    pub fn place_of(&self, member: &Member) -> Option<usize> {
        self.life_of(member).map(|life| self.lives[life as usize].place as usize)
    }

    /// The life of this member, if it lives.
    #[must_use]
    pub fn living(&self, member: &Member) -> Option<&N> {
        let life = self.life_of(member).filter(|life| self.lives[*life as usize].alive)?;
        self.slots[self.lives[life as usize].place as usize].node.as_ref()
    }

    fn life_of(&self, member: &Member) -> Option<u32> {
        self.index.find(member, |life| &self.lives[life as usize].member)
    }

    /// How many lives there ever were.
    #[must_use]
    pub fn lives(&self) -> usize {
        self.lives.len()
    }

    /// Whether the two can talk in both directions.
    #[must_use]
    pub fn connected(&self, a: usize, b: usize) -> bool {
        self.works(a, b) && self.works(b, a)
    }

    /// Whether anything that one sends reaches the other.
    #[must_use]
    pub fn works(&self, from: usize, to: usize) -> bool {
        self.paths.works(number(from), number(to))
    }

    /// What the clock of this place shows.
    #[must_use]
    pub fn local(&self, place: usize) -> Time {
        self.slots[place].clock.local(self.now)
    }

    /// When the clock of this place showed, or will show, this.
    #[must_use]
    pub fn world_time(&self, place: usize, local: Time) -> Time {
        self.slots[place].clock.world(local)
    }

    /// How much lies ahead.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.ahead.len()
    }

    /// Runs until this moment; `watch` looks after each step.
    pub fn run_until(&mut self, end: Time, watch: &mut impl FnMut(&Self)) {
        while self.step(end) {
            watch(self);
            self.news.clear();
        }
    }

    /// Lets one thing happen, unless nothing happens until `end`: then it is `end`, and the answer is no.
    pub fn step(&mut self, end: Time) -> bool {
        let event = self.ahead.next();
        let (wake, place) = self.wakes.first();
        if event.min(wake) > end {
            self.now = self.now.max(end);
            return false;
        }
        // Who wakes drains what arrived before it looks at its timers.
        if event <= wake {
            if let Some((at, happening)) = self.ahead.pop() {
                self.now = self.now.max(at);
                self.happen(happening);
            }
        } else {
            self.now = self.now.max(wake);
            self.tell_place(place, In::Wake);
        }
        true
    }
}

fn number(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_clock_wakes_anybody_too_early_or_much_too_late() {
        for ppm in [-50_000, -777, -1, 0, 1, 200, 30_000] {
            let clock = Clock { ppm, since: Time::from_millis(1000), showed: Time::from_millis(1400) };
            for nanos in (1_000_000_000..90_000_000_000_000).step_by(7_777_777_777) {
                let moment = clock.world(Time::from_nanos(nanos));
                assert!(clock.local(moment) >= Time::from_nanos(nanos));
                let before = Time::from_nanos(moment.as_nanos() - 2);
                assert!(clock.local(before) < Time::from_nanos(nanos), "{ppm} {nanos}");
            }
        }
    }
}
