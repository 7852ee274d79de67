//! What lies ahead, in the order of time and, at one moment, of its making.

use crux_names::Time;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The heap holds numbers only: what happens is often large, and is moved once in and once out.
#[derive(Debug)]
pub(super) struct Queue<T> {
    heap: BinaryHeap<Reverse<(Time, u64, u32)>>,
    things: Vec<Option<T>>,
    free: Vec<u32>,
    made: u64,
}

impl<T> Queue<T> {
    pub(super) fn new() -> Self {
        Self { heap: BinaryHeap::new(), things: Vec::new(), free: Vec::new(), made: 0 }
    }

    pub(super) fn push(&mut self, at: Time, thing: T) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.things.push(None);
            u32::try_from(self.things.len() - 1).unwrap_or(u32::MAX)
        });
        self.things[slot as usize] = Some(thing);
        self.made += 1;
        self.heap.push(Reverse((at, self.made, slot)));
    }

    /// When the next thing happens.
    pub(super) fn next(&self) -> Time {
        self.heap.peek().map_or(Time::NEVER, |Reverse((at, ..))| *at)
    }

    pub(super) fn pop(&mut self) -> Option<(Time, T)> {
        let Reverse((at, _, slot)) = self.heap.pop()?;
        self.free.push(slot);
        self.things[slot as usize].take().map(|thing| (at, thing))
    }

    /// How much lies ahead.
    pub(super) fn len(&self) -> usize {
        self.heap.len()
    }
}
