//! Whole fulcrums one of which lies: it has a valid certificate, flocks as it should, and says of facts and services what it
//! likes. `lies` is what it can say, [`siege`] a run from one seed, [`rules`] what must hold for the others all the time.
//!
//! Flocking against a liar is tested apart (`tests/flock_hostile.rs`): here it stays a member for as long as nobody throws it
//! out, for that is where it can do most.

mod lies;
pub mod rules;
pub mod siege;

pub use lies::Lie;

use crate::engines::bloc;
use crate::world::Out;
use bytes::Bytes;
use crux_core::engine::Engine;
use crux_core::hash::Random;
use crux_core::wire::Frame;
use crux_names::{Duration, Member, Time, Wall};
use std::collections::{BTreeMap, VecDeque};

/// How many of its own frames it remembers, to say them again or to damage them.
const REMEMBERED: usize = 64;
/// How many it says at once when it floods.
const FLOOD: u64 = 200;

/// What makes a fulcrum lie.
#[derive(Clone, Debug)]
pub struct Adversary {
    /// How often it told each lie.
    pub told: BTreeMap<Lie, u64>,
    /// The lies that it tells.
    lies: Vec<Lie>,
    random: Random,
    next: Time,
    /// It leaves out what its heart says to others of services, so that only lies are heard of it.
    mute: bool,
    said: VecDeque<Bytes>,
}

impl Adversary {
    /// One that begins now and tells these.
    #[must_use]
    pub fn new(now: Time, seed: u64, lies: Vec<Lie>) -> Self {
        let mut random = Random::new(seed ^ 0x6c69_6172);
        let mute = random.below(3) == 0;
        Self { told: BTreeMap::new(), lies, random, next: now, mute, said: VecDeque::new() }
    }

    /// When it says something next.
    #[must_use]
    pub const fn deadline(&self) -> Time {
        self.next
    }

    /// Bends what the heart just said, from this place of the list on.
    pub fn bend(&mut self, out: &mut Vec<Out<Bytes, Bytes>>, from: usize) {
        for wish in &out[from.min(out.len())..] {
            if let Out::Frame(_, frame) = wish {
                if self.said.len() == REMEMBERED {
                    self.said.pop_front();
                }
                self.said.push_back(frame.clone());
            }
        }
        if self.mute {
            let service = |wish: &Out<Bytes, Bytes>| match wish {
                Out::Frame(_, frame) => matches!(Frame::decode(frame.clone(), &bloc()), Ok(Frame::Service(_))),
                _ => false,
            };
            let mut index = 0;
            out.retain(|wish| {
                index += 1;
                index <= from || !service(wish)
            });
        }
    }

    /// Says something, if it is time.
    pub fn act(&mut self, now: Time, wall: Wall, engine: &Engine, out: &mut Vec<Out<Bytes, Bytes>>) {
        if now < self.next {
            return;
        }
        self.next = now + Duration::from_millis(5 + self.random.below(150));
        let me = engine.flock_room().me().clone();
        let roster = &engine.flock_room().view().roster;
        let others: Vec<Member> =
            roster.iter().map(|seat| seat.member.clone()).filter(|member| *member != me).collect();
        if others.is_empty() || self.lies.is_empty() {
            return;
        }
        let which = self.below(self.lies.len());
        let lie = self.lies[which];
        *self.told.entry(lie).or_default() += 1;
        let times = if self.random.below(60) == 0 { FLOOD } else { 1 };
        for _ in 0..times {
            let frame = lies::tell(lie, wall, engine, &mut self.random, &self.said);
            // To one, or the same to all.
            if self.random.below(2) == 0 {
                let to = others[self.below(others.len())].clone();
                out.push(Out::Frame(to, frame));
            } else {
                out.extend(others.iter().map(|to| Out::Frame(to.clone(), frame.clone())));
            }
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.random.below(bound as u64)).unwrap_or(0)
    }
}
