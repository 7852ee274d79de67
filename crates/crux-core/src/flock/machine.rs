//! Placeholder of the flocking room on this branch: a fulcrum that stays alone, until a test installs a view.

use super::view::{Seat, View};
use super::{Config, Input, MemberStatus, Output, Status};
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use crux_names::Time;

/// A lone fulcrum's flocking.
#[derive(Clone, Debug)]
pub struct Flock {
    view: View,
    since: Time,
    stable: bool,
}

impl Flock {
    /// Starts alone.
    ///
    /// # Panics
    /// Never: a view of one is a view.
    #[must_use]
    pub fn new(now: Time, config: Config) -> Self {
        let seat = Seat { member: config.me, addr: config.addr };
        let view =
            View::make(&config.bloc, 1, vec![seat], String::from("lone-heron"), 0, &[]).expect("a roster of one");
        Self { view, since: now, stable: false }
    }

    /// Takes an input.
    pub fn handle(&mut self, _now: Time, _input: Input, _out: &mut Vec<Output>) {}

    /// When it wants to be woken.
    #[must_use]
    pub fn deadline(&self) -> Time {
        Time::NEVER
    }

    /// The installed view.
    #[must_use]
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Whether the view is stable.
    #[must_use]
    pub fn stable(&self, _now: Time) -> bool {
        self.stable
    }

    /// Its status.
    #[must_use]
    pub fn status(&self, now: Time) -> Status {
        Status {
            view: self.view.clone(),
            age: now.since(self.since),
            stable: self.stable,
            members: self
                .view
                .roster
                .iter()
                .map(|seat| MemberStatus { seat: seat.clone(), suspect: false, heard: None })
                .collect(),
            siblings: Vec::new(),
            outside: Vec::new(),
            clones: Vec::new(),
        }
    }
}
