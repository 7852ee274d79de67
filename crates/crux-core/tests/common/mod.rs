//! A few fulcrums' facts on an invented network with invented disks: every message goes through its bytes.
#![allow(dead_code, missing_docs)]

use bytes::Bytes;
use crux_core::facts::value::{Horde, Manifest, Place, Row};
use crux_core::facts::version::{Author, Checked, Sealed, Stamp, Statement};
use crux_core::facts::{Certificate, Config, Facts, Input, Message, Output};
use crux_core::wire::{Frame, QUEUE_BYTES, QUEUE_FRAMES};
use crux_names::{BlocName, Boot, Duration, FulcrumId, Hash256, Member, Time, Wall};
use prost::Message as _;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub const WALL: u64 = 1_700_000_000_000_000;

pub fn bloc() -> BlocName {
    "acme".parse().unwrap()
}

pub fn member(i: usize) -> Member {
    Member { id: format!("n{i}").parse().unwrap(), boot: Boot(1) }
}

pub fn operator() -> Author {
    Author::Operator("ann".parse().unwrap())
}

pub fn seal(statement: &Statement) -> Checked {
    let sealed = Sealed { statement: statement.encode(), ..Sealed::default() };
    Checked::vouched(sealed.encode_to_vec().into()).unwrap()
}

pub fn version(path: &str, value: Option<Bytes>, ancestors: Vec<Hash256>, wall: u64, nonce: u64) -> Checked {
    seal(&Statement {
        bloc: bloc(),
        path: path.into(),
        value,
        ancestors,
        stamp: Stamp { wall, logical: 0 },
        author: operator(),
        nonce: nonce.to_be_bytes().to_vec().into(),
    })
}

pub fn horde(want: u32) -> Option<Bytes> {
    Some(Horde { want, ..Horde::default() }.encode_to_vec().into())
}

/// A fact that is so many bytes longer than it says: a reader skips what it does not know.
pub fn padded(value: Option<Bytes>, size: usize) -> Option<Bytes> {
    let mut value = value.unwrap_or_default().to_vec();
    prost::encoding::bytes::encode(100, &vec![7_u8; size], &mut value);
    Some(value.into())
}

pub fn place() -> Place {
    Place { revision: vec![7; 32], place: "pick(api, 3, ALL)".into(), ..Place::default() }
}

pub fn manifest() -> Manifest {
    Manifest { service: "api".into(), run: vec!["bin/api".into()], ..Manifest::default() }
}

pub fn facts(i: usize) -> Facts {
    let certificate = Certificate::default();
    Facts::new(Config { bloc: bloc(), me: member(i).id, seed: i as u64, timers: 1000, certificate })
}

/// What the disk of a fulcrum does with what it is told to keep.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Disk {
    Good,
    Full,
    /// Keeps it, and reports that the sync failed.
    NoSync,
    /// Reports nothing until it is good again.
    Slow,
}

pub struct Node {
    pub facts: Facts,
    pub disk: BTreeMap<Hash256, Checked>,
    pub state: Disk,
    pub pending: VecDeque<(u64, Vec<Checked>, Vec<Hash256>)>,
    pub answers: Vec<Output>,
    pub changed: BTreeSet<String>,
    pub nonce: u64,
}

pub struct Net {
    pub nodes: Vec<Node>,
    pub now: Time,
    pub queue: VecDeque<(usize, usize, Bytes)>,
    /// What waits from one to another: frames and their bytes. More than the queue of a link holds ends the test.
    pub waiting: BTreeMap<(usize, usize), (usize, usize)>,
    pub links: BTreeSet<(usize, usize)>,
    /// What the check of signatures refuses on its way in.
    pub refuses: BTreeSet<Hash256>,
    /// Loses every nth message.
    pub lose: Option<u64>,
    pub sent: u64,
    pub bytes: u64,
}

impl Net {
    pub fn new(count: usize) -> Self {
        let node = |i| Node {
            facts: facts(i),
            disk: BTreeMap::new(),
            state: Disk::Good,
            pending: VecDeque::new(),
            answers: Vec::new(),
            changed: BTreeSet::new(),
            nonce: 0,
        };
        Self {
            nodes: (0..count).map(node).collect(),
            now: Time::from_millis(1000),
            queue: VecDeque::new(),
            waiting: BTreeMap::new(),
            links: BTreeSet::new(),
            refuses: BTreeSet::new(),
            lose: None,
            sent: 0,
            bytes: 0,
        }
    }

    /// All linked, one flock.
    pub fn flock(count: usize) -> Self {
        let mut net = Self::new(count);
        net.unite(&(0..count).collect::<Vec<_>>());
        net.settle();
        net
    }

    pub fn wall(&self) -> Wall {
        Wall(WALL + self.now.as_nanos() / 1000)
    }

    pub fn link(&mut self, a: usize, b: usize) {
        if self.links.insert((a.min(b), a.max(b))) {
            self.input(a, Input::Linked(member(b)));
            self.input(b, Input::Linked(member(a)));
        }
    }

    pub fn cut(&mut self, a: usize, b: usize) {
        if self.links.remove(&(a.min(b), a.max(b))) {
            self.queue.retain(|(from, to, _)| (*from.min(to), *from.max(to)) != (a.min(b), a.max(b)));
            self.waiting.retain(|(from, to), _| (*from.min(to), *from.max(to)) != (a.min(b), a.max(b)));
            self.input(a, Input::Unlinked(member(b)));
            self.input(b, Input::Unlinked(member(a)));
        }
    }

    pub fn view(&mut self, members: &[usize]) {
        for i in members {
            self.input(*i, Input::View { members: members.iter().map(|i| member(*i)).collect() });
        }
    }

    pub fn unite(&mut self, members: &[usize]) {
        for a in members {
            for b in members {
                if a < b {
                    self.link(*a, *b);
                }
            }
        }
        self.view(members);
    }

    pub fn input(&mut self, i: usize, input: Input) {
        let mut out = Vec::new();
        let wall = self.wall();
        self.nodes[i].facts.handle(self.now, wall, input, &mut out);
        for output in out {
            match output {
                Output::Send { to, message } => {
                    let bytes = Frame::from(message).encode();
                    let Some(to) = (0..self.nodes.len()).find(|i| member(*i) == to) else { continue };
                    self.sent += 1;
                    self.bytes += bytes.len() as u64;
                    let lost = self.lose.is_some_and(|n| self.sent.is_multiple_of(n));
                    if self.links.contains(&(i.min(to), i.max(to))) && !lost {
                        let (frames, waiting) = self.waiting.entry((i, to)).or_default();
                        *frames += 1;
                        *waiting += bytes.len();
                        let fits = *frames <= QUEUE_FRAMES && *waiting <= QUEUE_BYTES;
                        assert!(fits, "the link from n{i} to n{to} is overrun: {waiting} bytes in {frames} frames");
                        self.queue.push_back((i, to, bytes));
                    }
                }
                Output::Persist { token, versions, drop } => {
                    self.nodes[i].pending.push_back((token, versions, drop));
                }
                Output::Sign { path, value, ancestors, .. } => {
                    self.nodes[i].nonce += 1;
                    let nonce = self.nodes[i].nonce.to_be_bytes().to_vec().into();
                    let stamp = Stamp { wall: wall.0, logical: 0 };
                    let author = Author::Fulcrum(member(i).id);
                    let bloc = bloc();
                    let statement = Statement { bloc, path, value: Some(value), ancestors, stamp, author, nonce };
                    self.input(i, Input::Signed(seal(&statement)));
                }
                Output::Changed { paths } => self.nodes[i].changed.extend(paths),
                answer => self.nodes[i].answers.push(answer),
            }
        }
    }

    /// Ends the first write under way of this fulcrum's disk, unless it is slow.
    pub fn disk(&mut self, i: usize) -> bool {
        let node = &mut self.nodes[i];
        if node.state == Disk::Slow {
            return false;
        }
        let Some((token, versions, drop)) = node.pending.pop_front() else { return false };
        let result = if node.state != Disk::Full {
            for version in versions {
                node.disk.insert(version.id(), version);
            }
            for id in drop {
                node.disk.remove(&id);
            }
            if node.state == Disk::Good { Ok(()) } else { Err("fsync: input/output error".into()) }
        } else {
            Err("no space left on device".into())
        };
        self.input(i, Input::Persisted { token, result });
        true
    }

    pub fn deliver(&mut self) -> bool {
        let Some((from, to, bytes)) = self.queue.pop_front() else { return false };
        if let Some((frames, waiting)) = self.waiting.get_mut(&(from, to)) {
            *frames -= 1;
            *waiting -= bytes.len();
        }
        match Frame::decode(bytes, &bloc()).unwrap() {
            Frame::Facts { sealed } => {
                assert!(sealed.iter().map(Bytes::len).sum::<usize>() <= 256 * 1024 || sealed.len() == 1);
                let versions = sealed.into_iter().map(|sealed| Checked::vouched(sealed).unwrap());
                let versions: Vec<_> = versions.filter(|version| !self.refuses.contains(&version.id())).collect();
                if !versions.is_empty() {
                    self.input(to, Input::Versions { from: member(from), versions });
                }
            }
            frame => {
                let message: Message = frame.for_facts().unwrap();
                self.input(to, Input::Message { from: member(from), message });
            }
        }
        true
    }

    /// Works without letting time pass, until nothing is left to do.
    pub fn settle(&mut self) {
        for _ in 0..1_000_000 {
            let mut busy = self.deliver();
            for i in 0..self.nodes.len() {
                busy |= self.disk(i);
            }
            if !busy {
                return;
            }
        }
        panic!("facts do not come to rest");
    }

    /// Lets time pass, waking everybody who asked for it.
    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        self.settle();
        for _ in 0..100_000 {
            let due = self.nodes.iter().map(|node| node.facts.deadline()).min().unwrap();
            if due > end {
                self.now = end;
                return;
            }
            self.now = self.now.max(due);
            for i in 0..self.nodes.len() {
                if self.nodes[i].facts.deadline() <= self.now {
                    self.input(i, Input::Wake);
                    assert!(
                        self.nodes[i].facts.deadline() > self.now || self.nodes[i].state == Disk::Slow,
                        "n{i} asks to be woken for ever"
                    );
                }
            }
            self.settle();
        }
        panic!("facts never sleep");
    }

    /// An operator edits a fact as it stands at this fulcrum.
    pub fn write(&mut self, i: usize, request: u64, path: &str, value: Option<Bytes>) -> Hash256 {
        let ancestors = self.nodes[i].facts.ancestors(path, false);
        let stamp = self.wall().0 + request;
        let version = version(path, value, ancestors, stamp, request);
        let id = version.id();
        self.input(i, Input::Write { request, versions: vec![version] });
        id
    }

    pub fn written(&self, i: usize, request: u64) -> Option<(u32, bool)> {
        self.nodes[i].answers.iter().find_map(|answer| match answer {
            Output::Written { request: of, others, converged, .. } if *of == request => Some((*others, *converged)),
            _ => None,
        })
    }

    pub fn refused(&self, i: usize, request: u64) -> Option<&str> {
        self.nodes[i].answers.iter().find_map(|answer| match answer {
            Output::Refused { request: of, why } if *of == request => Some(why.as_str()),
            _ => None,
        })
    }

    /// The process dies; what is on disk is loaded by the next one.
    pub fn restart(&mut self, i: usize) {
        let peers: Vec<usize> = (0..self.nodes.len()).filter(|j| *j != i).collect();
        for j in peers {
            self.cut(i, j);
        }
        self.nodes[i].facts = facts(i);
        self.nodes[i].pending.clear();
        let versions = self.nodes[i].disk.values().cloned().collect();
        self.input(i, Input::Loaded { versions });
    }

    pub fn equal(&self) -> bool {
        self.nodes.iter().all(|node| node.facts.digest() == self.nodes[0].facts.digest())
    }
}

pub fn row(horde: &str) -> Row {
    Row { horde: horde.into(), ..Row::default() }
}

pub fn id(text: &str) -> FulcrumId {
    text.parse().unwrap()
}
