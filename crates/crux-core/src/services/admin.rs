//! How many fulcrums carry the ADMIN flag, and which may. ADMIN is built in and needs no fact; an operator's fact
//! `horde/ADMIN` says another number than three (`want`) and pins it to some fulcrums (`where`).
//!
//! A pin holds as long as somebody is here whom it admits. Where nobody is, in a part of a split or while the pinned node is
//! down, the flag goes by the roster as if there were no pin: no part is without ADMIN.

use super::admit::Admits;
use super::known::Known;
use super::roles::Roles;
use crate::flock::view::Seat;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use crux_names::{FulcrumId, HordeName};

/// How many flagged fulcrums ADMIN grows to, as far as the flock has them, unless an operator says otherwise.
pub const ADMIN_SIZE: u32 = 3;

/// How many carry the flag when all is settled, by the facts: at least one.
#[must_use]
pub fn size(known: &Known) -> u32 {
    known.hordes().get(&HordeName::admin()).map_or(ADMIN_SIZE, |fact| fact.want.max(1))
}

/// Who may carry the ADMIN flag in one flock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Carriers {
    /// They, in roster order.
    pub may: Vec<FulcrumId>,
    /// Whether an operator's pin chose them; else it is everybody who works here.
    pub pinned: bool,
    /// How many of them do when all is settled.
    pub size: usize,
    /// Why the pin is not in force, for people; empty if there is none, or if it is.
    pub waits: String,
}

impl Carriers {
    pub(super) fn of(roster: &[Seat], known: &Known) -> Self {
        let works = |seat: &&Seat| {
            let left = known.rows().get(&seat.member.id).is_some_and(|row| row.left);
            !seat.visitor && !left
        };
        let all: Vec<FulcrumId> = roster.iter().filter(works).map(|seat| seat.member.id.clone()).collect();
        let text = known.hordes().get(&HordeName::admin()).map_or("", |fact| fact.r#where.trim());
        let admits = if text.is_empty() { Ok(None) } else { Admits::parse(text).map(Some) };
        let (may, waits) = match admits {
            Ok(None) => (Vec::new(), String::new()),
            Ok(Some(admits)) => {
                let may: Vec<_> = all.iter().filter(|id| admits.admits(id, &known.labels(id))).cloned().collect();
                let waits = match may.as_slice() {
                    [] => format!("waits for {text}: none is here, and until one is the flag goes by the roster"),
                    _ => String::new(),
                };
                (may, waits)
            }
            Err(why) => (Vec::new(), format!("where: {why}; the flag goes by the roster")),
        };
        let pinned = !may.is_empty();
        let may = if pinned { may } else { all };
        let size = may.len().min(size(known) as usize);
        Self { may, pinned, size, waits }
    }

    /// Whether one may carry the flag.
    #[must_use]
    pub fn has(&self, id: &FulcrumId) -> bool {
        self.may.contains(id)
    }
}

impl Roles {
    /// How many more flags are to be given.
    #[must_use]
    pub fn flags_open(&self) -> usize {
        let admin = self.hordes.get(&HordeName::admin());
        let flagged = admin.into_iter().flat_map(|admin| admin.present.iter().chain(&admin.joining));
        self.carriers.size.saturating_sub(flagged.filter(|id| self.carriers.has(id)).count())
    }

    /// Whether one is to take the flag where nobody carries it: the leader, or whom a pin names first.
    #[must_use]
    pub fn founds_admin(&self, id: &FulcrumId, leader: bool) -> bool {
        let first = if self.carriers.pinned { self.carriers.may.first() == Some(id) } else { leader };
        first && self.flagged() == 0
    }

    /// Whether so many others carry the flag, and answer, that this one may lay it down.
    #[must_use]
    pub fn flag_is_surplus(&self, id: &FulcrumId) -> bool {
        let mut ready = self.admin().iter().filter(|id| self.carriers.has(id));
        if self.carriers.has(id) {
            ready.position(|other| other == id).is_some_and(|at| at >= self.carriers.size)
        } else {
            self.admin().contains(id) && self.carriers.size > 0 && ready.count() >= self.carriers.size
        }
    }
}
