//! Whole engines in the invented world: each life is an engine on a machine, and everything that two of them say to each
//! other goes through its bytes.

use crate::hostile::Adversary;
use crate::invariants::Flocking;
use crate::machine::Machine;
use crate::signature;
use crate::world::{In, Mixer, Node, Out, World};
use bytes::Bytes;
use crux_core::engine::{Config, Engine};
use crux_core::facts::Certificate;
use crux_core::flock;
use crux_core::flock::discovery::Book;
use crux_core::io::{Command, Event, Input, Output, Peer, Reply, Report, RequestId};
use crux_core::wire::{self, Frame};
use crux_names::{BlocName, Boot, FulcrumId, Member, Time};
use std::collections::{BTreeMap, VecDeque};
use std::hash::Hasher;
use std::net::SocketAddr;
use std::sync::Arc;

/// How many of the last events a life remembers, for the report of a failure.
const EVENTS: usize = 400;

/// The whole: places, machines, lives.
pub type Cluster = World<Life>;

/// The simulator's bloc.
///
/// # Panics
/// Never: the name is well formed.
#[must_use]
pub fn bloc() -> BlocName {
    "sim".parse().expect("a bloc name")
}

/// So many boots a machine has under one certificate.
const BOOTS: u64 = 1 << 20;

/// The admission of a life's certificate: in this world it is told from the boot, so that whoever has a link with it knows
/// it, as from the certificate.
#[must_use]
pub fn admission(member: &Member) -> u32 {
    u32::try_from(member.boot.0 / BOOTS + 1).unwrap_or(u32::MAX)
}

/// The last boot before the first under the next certificate.
#[must_use]
pub const fn readmitted(boot: u64) -> u64 {
    (boot / BOOTS + 1) * BOOTS
}

/// One life of crux on a machine.
#[derive(Clone, Debug)]
pub struct Life {
    /// Its heart.
    pub engine: Engine,
    /// What is under it.
    pub machine: Machine,
    /// Answers to operators, in order.
    pub replies: Vec<(RequestId, Reply)>,
    /// What happened lately.
    pub events: VecDeque<(Time, Event)>,
    /// How many events there were.
    pub said: u64,
    /// Alarms that it raised.
    pub alarms: Vec<String>,
    /// When something was last written or signed here, by its own clock: what others sent is no such thing.
    pub authored: Time,
    /// It has left.
    pub finished: bool,
    /// What makes it lie, if it does.
    pub adversary: Option<Box<Adversary>>,
    /// Who in this world lies: what that one says need not be readable.
    pub liar: Option<FulcrumId>,
}

impl Life {
    /// Begins a life on a machine: a new boot, what the disk holds, what still runs.
    pub fn begin(now: Time, mut machine: Machine, settings: &Settings) -> (Self, Vec<Input>) {
        // What ended while nobody looked is not there any more.
        let _ = machine.due(now);
        machine.boot += 1;
        machine.blank = false;
        let me = Member { id: machine.id.clone(), boot: Boot(machine.boot) };
        let admission = admission(&me);
        let config = Config {
            flock: flock::Config {
                bloc: bloc(),
                me,
                addr: machine.addr,
                seed: settings
                    .seed
                    .wrapping_mul(1_000_003)
                    .wrapping_add(machine.boot * 77 + settings.place(machine.addr)),
                timers: settings.timers,
                expect: settings.expect,
                seeds: settings.seeds.iter().filter(|addr| **addr != machine.addr).copied().collect(),
                book: Arc::new(Book::new(machine.book.iter().map(|entry| (entry.fulcrum.clone(), entry.addr)))),
                visitor: false,
            },
            certificate: Certificate {
                labels: settings.labels.get(&machine.id.to_string()).cloned().unwrap_or_default(),
                admission,
                // Nothing is signed here.
                chain: Vec::new(),
            },
            capacity: None,
            seen: machine.book.iter().map(|entry| (entry.fulcrum.clone(), entry.seen)).collect(),
        };
        let engine = Engine::new(now, config);
        let first = vec![Input::Loaded { versions: machine.load() }, Input::Report(machine.adopt())];
        if !machine.processes.is_empty() {
            machine.marks.insert("instances outlived crux and were re-adopted");
        }
        let (replies, events, alarms) = (Vec::new(), VecDeque::new(), Vec::new());
        let life = Self {
            engine,
            machine,
            replies,
            events,
            said: 0,
            alarms,
            authored: now,
            finished: false,
            adversary: None,
            liar: None,
        };
        (life, first)
    }

    /// This life.
    #[must_use]
    pub fn member(&self) -> &Member {
        self.engine.flock_room().me()
    }

    /// Gives the engine an input and does what it wants.
    pub fn feed(&mut self, now: Time, input: Input, out: &mut Vec<Out<Bytes, Bytes>>) {
        let mut wishes = Vec::new();
        if matches!(
            input,
            Input::Command { command: Command::Write { .. } | Command::Restore { .. }, .. }
                | Input::Report(Report::Signed { .. })
        ) {
            self.authored = now;
        }
        self.engine.handle(now, self.machine.wall(now), input, &mut wishes);
        self.machine.blank &= !self.engine.facts_room().durable();
        let from = out.len();
        for wish in wishes {
            match wish {
                Output::Dial(addr) => out.push(Out::Dial(addr)),
                Output::CloseLink { peer, .. } => out.push(Out::Close(peer)),
                Output::Datagram { to, datagram } => out.push(Out::Datagram(to, wire::encode_datagram(&datagram))),
                Output::Frame { to, frame } => out.push(Out::Frame(to, frame.encode())),
                Output::Persist { token, versions, drop } => self.machine.persist(now, token, &versions, drop),
                Output::Book(book) => self.machine.book = book,
                Output::Sign { path, value, ancestors, not_before } => {
                    self.machine.sign(now, &bloc(), path, value, ancestors, not_before);
                }
                Output::Effect(effect) => self.machine.obey(now, effect),
                Output::Reply { request, reply } => self.replies.push((request, reply)),
                Output::Event(event) => self.note(now, event),
                Output::Watch(peers) => out.push(Out::Watch(peers)),
                // A world has no doors: the engine closes the links itself.
                Output::Changed | Output::StartsOver | Output::Expelled(_) => {}
                Output::Finished => self.finished = true,
            }
        }
        if let Some(adversary) = &mut self.adversary {
            adversary.bend(out, from);
        }
    }

    /// What cannot be read breaks its link, and an honest peer never says it.
    fn unreadable(&mut self, from: Member, what: &str, why: &wire::BadFrame, out: &mut Vec<Out<Bytes, Bytes>>) {
        if self.liar.as_ref() == Some(&from.id) || self.adversary.is_some() {
            out.push(Out::Close(from));
        } else {
            self.machine.wrong.push(format!("a {what} of {from} cannot be read: {why}"));
        }
    }

    fn note(&mut self, now: Time, event: Event) {
        if event.kind == "alarm" {
            self.alarms.push(format!("{}: {}", event.subject, event.text));
        }
        self.said += 1;
        if self.events.len() == EVENTS {
            self.events.pop_front();
        }
        self.events.push_back((now, event));
    }
}

impl Node for Life {
    type Datagram = Bytes;
    type Frame = Bytes;

    fn handle(&mut self, now: Time, input: In<Bytes, Bytes>, out: &mut Vec<Out<Bytes, Bytes>>) {
        if self.machine.disk.dead() {
            return;
        }
        let input = match input {
            In::Wake => {
                for report in self.machine.due(now) {
                    self.feed(now, Input::Report(report), out);
                }
                if self.machine.disk.dead() {
                    return;
                }
                if let Some(adversary) = &mut self.adversary {
                    adversary.act(now, self.machine.wall(now), &self.engine, out);
                }
                if self.engine.deadline() > now {
                    return;
                }
                Input::Wake
            }
            In::LinkUp(member, addr, dialed) => {
                let admission = admission(&member);
                let peer = Peer { member, addr, admission, labels: BTreeMap::new() };
                Input::LinkUp { peer, dialed }
            }
            In::ProcessGone(peer) => Input::ProcessGone { peer },
            In::LinkDown(peer) => Input::LinkDown { peer, why: "closed".into() },
            In::DialFailed(addr, myself) => Input::DialFailed { addr, why: "no answer".into(), myself, refused: false },
            In::Datagram(from, bytes) => match wire::decode_datagram(bytes) {
                Ok(datagram) => Input::Datagram { from, datagram },
                Err(why) => return self.unreadable(from, "datagram", &why, out),
            },
            In::Frame(from, bytes) => match Frame::decode(bytes, &bloc()) {
                Ok(Frame::Facts { sealed }) => {
                    let versions = sealed.into_iter().filter_map(signature::check).collect();
                    Input::Facts { from, versions }
                }
                Ok(frame) => Input::Frame { from, frame },
                Err(why) => return self.unreadable(from, "frame", &why, out),
            },
        };
        self.feed(now, input, out);
    }

    fn deadline(&self) -> Time {
        if self.machine.disk.dead() {
            return Time::NEVER;
        }
        let lies = self.adversary.as_ref().map_or(Time::NEVER, |adversary| adversary.deadline());
        self.engine.deadline().min(self.machine.deadline()).min(lies)
    }

    fn length(frame: &Bytes) -> usize {
        frame.len()
    }

    fn digest_datagram(datagram: &Bytes) -> u64 {
        digest(datagram)
    }

    fn digest_frame(frame: &Bytes) -> u64 {
        digest(frame)
    }
}

impl Flocking for Life {
    fn flock(&self) -> &flock::Flock {
        self.engine.flock_room()
    }

    fn message(frame: &Bytes) -> Option<flock::message::Message> {
        match Frame::decode(frame.clone(), &bloc()) {
            Ok(Frame::Flock(message)) => Some(message),
            _ => None,
        }
    }

    fn datagram(datagram: &Bytes) -> Option<flock::message::Datagram> {
        wire::decode_datagram(datagram.clone()).ok()
    }
}

fn digest(bytes: &Bytes) -> u64 {
    let mut mixer = Mixer::new(3);
    mixer.write(bytes);
    mixer.finish()
}

/// What all lives of a run are started with.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The run's seed.
    pub seed: u64,
    /// Scales every timer, in thousandths.
    pub timers: u32,
    /// How many fulcrums the operator said there are.
    pub expect: Option<u32>,
    /// Everybody's address.
    pub seeds: Vec<SocketAddr>,
    /// Labels of the certificates, by node.
    pub labels: BTreeMap<String, BTreeMap<String, String>>,
}

impl Settings {
    /// Which of the addresses this is.
    fn place(&self, addr: SocketAddr) -> u64 {
        self.seeds.iter().position(|seed| *seed == addr).unwrap_or(0) as u64
    }
}
