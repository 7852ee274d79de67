//! What can be done to the world from outside.

use super::act::Happening;
use super::{Clock, Doom, Fate, IDLE, In, Node, Quality, Time, World, number};
use crux_names::{Duration, Member};
use std::net::SocketAddr;

impl<N: Node> World<N> {
    /// Ends a life without a word, with its host: only silence tells of it.
    pub fn crash(&mut self, at: usize) {
        let _ = self.crash_out(at);
    }

    /// As [`World::crash`]; what lived there is handed out.
    pub fn crash_out(&mut self, at: usize) -> Option<N> {
        self.slots[at].host = false;
        self.take(at)
    }

    /// Ends a process on a host that lives: whoever keeps an idle connection to it, or it to them, is told after one
    /// delay, if the path works.
    pub fn kill(&mut self, at: usize) {
        let _ = self.kill_out(at);
    }

    /// As [`World::kill`]; what lived there is handed out.
    pub fn kill_out(&mut self, at: usize) -> Option<N> {
        let life = self.slots[at].life;
        let node = self.take(at)?;
        let dead = self.slots[at].member.clone();
        let watched = std::mem::take(&mut self.lives[life as usize].watches);
        for other in 0..self.slots.len() {
            let (watcher, lives) = (self.slots[other].life, self.slots[other].node.is_some());
            let connected = watched.contains(&watcher) || self.lives[watcher as usize].watches.contains(&life);
            if lives && connected && self.works(at, other) {
                let delay = self.delay();
                self.schedule(delay, Happening::Tell { to: watcher, input: In::ProcessGone(dead.clone()) });
            }
        }
        Some(node)
    }

    /// Ends a life and hands it out; its host goes on, and nobody is told.
    pub fn take(&mut self, at: usize) -> Option<N> {
        let node = self.slots[at].node.take()?;
        let life = self.slots[at].life;
        self.lives[life as usize].alive = false;
        self.links.forget(life);
        self.lanes.forget(life);
        self.schedule(IDLE, Happening::Silent { life });
        self.changed(at);
        Some(node)
    }

    /// Begins another life in a place, on a host that runs again if it did not.
    pub fn restart(&mut self, at: usize, member: Member, node: N) {
        let _ = self.take(at);
        self.slots[at].life = self.new_life(&member, at);
        let slot = &mut self.slots[at];
        slot.member = member;
        slot.node = Some(node);
        slot.paused_until = Time::ZERO;
        slot.host = true;
        self.changed(at);
    }

    /// Changes every living node from outside.
    pub fn each(&mut self, mut act: impl FnMut(&mut N)) {
        for at in 0..self.slots.len() {
            if let Some(node) = &mut self.slots[at].node {
                act(node);
                self.changed(at);
            }
        }
    }

    /// Lets this befall a message of those that are sent from now on over a path that works, the first of its kind is 0.
    pub fn doom(&mut self, fate: Fate, nth: u32) {
        self.doom = Some(Doom { fate, after: nth });
    }

    /// Whether that message was not sent yet.
    #[must_use]
    pub fn is_doomed(&self) -> bool {
        self.doom.is_some()
    }

    /// Stops a life for a while, as SIGSTOP does: what arrives waits.
    pub fn pause(&mut self, at: usize, time: Duration) {
        self.slots[at].paused_until = self.slots[at].paused_until.max(self.now + time);
        self.remember_deadline(at);
    }

    /// Gives a place another address: what is sent on its links does not arrive any more, what is dialled at the old one
    /// finds nobody, and only the idle time-out tells of it.
    pub fn relocate(&mut self, at: usize, addr: SocketAddr) {
        let slot = &mut self.slots[at];
        let (old, life) = (std::mem::replace(&mut slot.addr, addr), slot.life);
        if self.addrs.get(&old) == Some(&at) {
            self.addrs.remove(&old);
        }
        self.addrs.insert(addr, at);
        if self.slots[at].node.is_some() {
            self.links.strand(life);
            self.schedule(IDLE, Happening::Stranded { life });
        }
    }

    /// Lets a clock run so much faster, or slower, from now on: in a million parts.
    pub fn set_rate(&mut self, at: usize, ppm: i32) {
        let showed = self.local(at);
        self.slots[at].clock = Clock { ppm: i64::from(ppm), since: self.now, showed };
        self.remember_deadline(at);
    }

    /// Cuts or joins one direction.
    pub fn set_path(&mut self, from: usize, to: usize, works: bool) {
        let (from, to) = (number(from), number(to));
        if let Some(cut) = self.paths.set(from, to, works) {
            self.schedule(IDLE, Happening::Cut { from, to, cut });
        }
        if works {
            self.unstick();
        }
    }

    /// Cuts or joins one direction later.
    pub fn set_path_at(&mut self, at: Time, from: usize, to: usize, works: bool) {
        let (from, to) = (number(from), number(to));
        self.ahead.push(at.max(self.now), Happening::SetPath { from, to, works });
    }

    /// Lets one direction flap from now on: so long down, so long up, and joined for good at `until`.
    pub fn flap(&mut self, from: usize, to: usize, down: Duration, up: Duration, until: Time) {
        let (from, to) = (number(from), number(to));
        let (up, down) = (up.max(Duration::from_millis(1)), down.max(Duration::from_millis(1)));
        self.happen(Happening::Flap { from, to, works: false, up, down, until });
    }

    /// Cuts everything between parts and joins everything within them: `parts[place]` names the part of each place.
    pub fn divide(&mut self, parts: &[u8]) {
        self.paths.divide(parts.to_vec());
        if self.paths.divided() {
            let split = self.paths.split;
            self.schedule(IDLE, Happening::Divided { split });
        }
        self.unstick();
    }

    /// Joins everything; how good paths are stays.
    pub fn join_all(&mut self) {
        self.divide(&[]);
    }

    /// How bad everything is that leaves a place.
    pub fn set_leaving(&mut self, place: usize, quality: Quality) {
        self.paths.set_leaving(number(place), quality);
        self.unstick();
    }

    /// How bad everything is that comes to a place.
    pub fn set_coming(&mut self, place: usize, quality: Quality) {
        self.paths.set_coming(number(place), quality);
        self.unstick();
    }

    /// How bad one path is, in this direction.
    pub fn set_between(&mut self, from: usize, to: usize, quality: Quality) {
        self.paths.set_between(number(from), number(to), quality);
        self.unstick();
    }

    /// How bad one path is from some moment on.
    pub fn set_between_at(&mut self, at: Time, from: usize, to: usize, quality: Quality) {
        let (from, to) = (number(from), number(to));
        self.ahead.push(at.max(self.now), Happening::SetBetween { from, to, quality });
    }

    /// All paths are as good as the weather lets them be.
    pub fn fine_paths(&mut self) {
        self.paths.fine();
        self.unstick();
    }
}
