//! What a run does to its fulcrums.

use super::{Fault, FlockSwarm, bird};
use crate::flocks::{addr, member};
use crate::world::Quality;
use crux_core::flock::Input;
use crux_names::Duration;
use std::net::SocketAddr;

/// The first two places are everybody's seeds: who loses its book must find somebody where it looks.
const ANCHORS: usize = 2;

impl FlockSwarm {
    /// Does one fault.
    pub fn fault(&mut self, fault: Fault) {
        let size = self.options.nodes;
        let a = self.pick(size);
        let b = (a + 1 + self.pick(size - 1)) % size;
        let (x, y) = (a + 1, b + 1);
        if fault == Fault::Move && a < ANCHORS {
            return;
        }
        *self.faults.entry(fault.name()).or_default() += 1;
        match fault {
            Fault::Split => {
                let parts = 2 + self.random.below(3);
                let side: Vec<u8> = (0..size).map(|_| u8::try_from(self.random.below(parts)).unwrap_or(0)).collect();
                self.say(&format!("split {side:?}"));
                self.divide(side);
            }
            Fault::Isolate => {
                let side = (0..size).map(|place| u8::from(place == a)).collect();
                self.say(&format!("isolate n{x}"));
                self.divide(side);
            }
            Fault::Pair | Fault::OneWay => {
                self.say(&format!("{} n{x} n{y}", fault.name()));
                self.world.set_path(a, b, false);
                if fault == Fault::Pair {
                    self.world.set_path(b, a, false);
                }
            }
            Fault::Flap => {
                let scale = |millis| self.options.scaled(millis);
                let (down, up) = (scale(100 + self.random.below(4900)), scale(100 + self.random.below(4900)));
                let until = self.world.now + scale(2_000 + self.random.below(30_000));
                self.noisy = self.noisy.max(until + up + down);
                self.say(&format!("path n{x} n{y} flaps, {down:?} down, {up:?} up, until {until}"));
                self.world.flap(a, b, down, up, until);
                if self.pick(2) == 0 {
                    self.world.flap(b, a, down, up, until);
                }
            }
            Fault::Swizzle => {
                let span = 200 + self.random.below(8_000);
                self.say(&format!("cuts heal one by one in {span} ms"));
                for from in 0..size {
                    for to in (0..size).filter(|to| *to != from) {
                        if !self.world.works(from, to) {
                            let at = self.world.now + Duration::from_millis(self.random.below(span));
                            self.noisy = self.noisy.max(at);
                            self.world.set_path_at(at, from, to, true);
                        }
                    }
                }
            }
            Fault::Heal => {
                self.say("heal");
                self.world.join_all();
            }
            Fault::Pause => {
                let most = self.options.scaled(9000).as_millis();
                let time = Duration::from_millis(self.random.below(u64::try_from(most).unwrap_or(9000)));
                self.say(&format!("pause n{x} for {time:?}"));
                self.world.pause(a, time);
            }
            Fault::Kill | Fault::Crash | Fault::Bounce | Fault::Forgetful => self.end(fault, a),
            Fault::BounceAll => {
                self.say("all are killed and begin again");
                for place in 0..size {
                    self.kill(place);
                }
                for place in 0..size {
                    self.restart(place, true);
                }
            }
            Fault::Leave => {
                self.say(&format!("n{x} leaves"));
                self.world.poke(a, |bird, now, out| bird.input(now, Input::Leave, out));
                self.ends.push((self.world.now + Duration::from_millis(20 + self.random.below(300)), a));
                let back = self.options.scaled(1000 + self.random.below(20_000));
                self.restarts.push((self.world.now + Duration::from_millis(400) + back, a, true));
            }
            Fault::Lossy => {
                let quality = self.quality(500);
                let leaving = self.pick(2) == 0;
                self.say(&format!(
                    "n{x} loses {} of 1000, of what {}",
                    quality.loss,
                    ["comes", "leaves"][usize::from(leaving)]
                ));
                if leaving {
                    self.world.set_leaving(a, quality);
                } else {
                    self.world.set_coming(a, quality);
                }
            }
            Fault::BadPath => {
                let quality = self.quality(100);
                self.say(&format!("path n{x} n{y} loses {} of 1000", quality.loss));
                self.world.set_between(a, b, quality);
            }
            Fault::SlowPath => {
                let slower = self.options.scaled(10 + self.random.below(400));
                self.say(&format!("path n{x} n{y} is {slower:?} slower"));
                self.world.set_between(a, b, Quality { slower, ..Quality::default() });
            }
            Fault::Stall => {
                // As long as a stream may wait for one packet; a link that stands still for longer is no link.
                let time = self.options.scaled(100 + self.random.below(2_400));
                let over = self.world.now + time;
                self.noisy = self.noisy.max(over);
                self.say(&format!("frames from n{x} to n{y} stand still for {time:?}"));
                self.world.set_between_at(over, a, b, Quality::default());
                self.world.set_between(a, b, Quality { stalled: true, ..Quality::default() });
            }
            Fault::Mess => {
                let (twice, late) = (self.random.below(300), self.random.below(300));
                self.say(&format!("{twice} of 1000 come twice, {late} late"));
                self.world.weather.duplicates = twice;
                self.world.weather.reordered = late;
            }
            Fault::Move => {
                self.moves += 1;
                let to = moved(self.moves);
                self.say(&format!("n{x} has the address {to} now"));
                self.world.relocate(a, to);
            }
            Fault::Clone => {
                if self.world.slots[a].node.is_none() {
                    return;
                }
                self.boots[a] += 1;
                let boot = self.boots[a];
                self.moves += 1;
                let to = moved(self.moves);
                self.say(&format!("a copy of n{x} starts as boot {boot} at {to}"));
                let book = self.world.slots[a].node.as_ref().map(|bird| bird.book.clone()).unwrap_or_default();
                let node = bird(&self.options, self.world.local(a), a, boot, book);
                self.world.add(member(a, boot), to, node);
            }
        }
    }

    /// Cuts everybody into parts; a stranger and copies are in the first.
    fn divide(&mut self, mut parts: Vec<u8>) {
        parts.resize(self.world.slots.len(), 0);
        self.world.divide(&parts);
    }

    fn end(&mut self, fault: Fault, place: usize) {
        self.say(&format!("{} n{}", fault.name(), place + 1));
        if fault == Fault::Crash {
            self.silence(place);
        } else {
            self.kill(place);
        }
        match fault {
            Fault::Bounce => self.restart(place, true),
            Fault::Forgetful => self.restart(place, false),
            _ => {
                let after = if self.pick(2) == 0 { self.random.below(1_500) } else { self.random.below(30_000) };
                self.restarts.push((self.world.now + self.options.scaled(after), place, true));
            }
        }
    }

    /// Ends a process; its address book is on the disk.
    pub(super) fn kill(&mut self, place: usize) {
        self.save_book(place);
        self.world.kill(place);
    }

    fn silence(&mut self, place: usize) {
        self.save_book(place);
        self.world.crash(place);
    }

    fn save_book(&mut self, place: usize) {
        if let Some(bird) = &self.world.slots[place].node {
            self.books[place].clone_from(&bird.book);
        }
    }

    /// Begins a new life in a place, with the address book of the last one or without.
    pub fn restart(&mut self, place: usize, with_book: bool) {
        self.boots[place] += 1;
        let boot = self.boots[place];
        let book = if with_book { self.books[place].clone() } else { Vec::new() };
        self.say(&format!("start n{} as boot {boot}", place + 1));
        let node = bird(&self.options, self.world.local(place), place, boot, book);
        self.world.restart(place, member(place, boot), node);
    }
}

/// An address that nobody had before.
fn moved(number: usize) -> SocketAddr {
    let mut at = addr(number);
    at.set_port(4000);
    at
}
