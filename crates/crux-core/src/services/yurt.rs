//! Yurt: a passive list of what heartbeats in ADMIN, nothing more. Programs tell it that they run and how they are; an
//! entry lives as long as its heartbeat. Which programs there are, at whose seat each runs and when it answers, is told by
//! `programs`; what somebody says who does not sit there is kept, for the seat may come to it, and not shown.

use super::pace::Pace;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use crux_names::{FulcrumId, Time, Wall};

/// A heartbeat: what a program says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Its name: `genghis`, `proctor/web`.
    pub name: String,
    /// When it started there, by that fulcrum's wall clock.
    pub started: Wall,
    /// Why it does not answer; empty if it does.
    pub waits: String,
}

/// How a program is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It does its work.
    Answers,
    /// It is there and cannot do its work; it says why.
    Waits,
    /// Its last heartbeat is older than it should be.
    Silent,
}

/// One program on one fulcrum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When it started there, by that fulcrum's wall clock.
    pub started: Wall,
    /// Why it does not answer, in its own words; empty if it does.
    pub waits: String,
    /// When it was last heard.
    pub heard: Time,
}

impl Entry {
    /// How it is now, and why.
    #[must_use]
    pub fn state(&self, now: Time, pace: Pace) -> (State, String) {
        // It is heard every repeat; one that is lost is no silence yet.
        if now > self.heard + pace.repeat() * 2 {
            let age = super::pace::seconds(now.since(self.heard));
            (State::Silent, format!("its last heartbeat came {age} ago"))
        } else if self.waits.is_empty() {
            (State::Answers, String::new())
        } else {
            (State::Waits, self.waits.clone())
        }
    }
}

/// What heartbeats in ADMIN, as one fulcrum has heard it.
#[derive(Clone, Debug, Default)]
pub struct Yurt {
    entries: BTreeMap<(String, FulcrumId), Entry>,
}

impl Yurt {
    /// Takes a fulcrum's word: everything that runs there, of what there is at all. What it no longer names is off the list.
    /// Answers whether that is news.
    pub fn hear(&mut self, now: Time, from: &FulcrumId, programs: Vec<Program>) -> bool {
        let before = self.entries.len();
        let named: BTreeSet<&str> = programs.iter().map(|program| program.name.as_str()).collect();
        self.entries.retain(|(name, at), _| at != from || named.contains(name.as_str()));
        let mut news = self.entries.len() != before;
        for Program { name, started, waits } in programs {
            let entry = Entry { started, waits, heard: now };
            let old = self.entries.insert((name, from.clone()), entry.clone());
            news |= old.is_none_or(|old| (old.started, old.waits) != (entry.started, entry.waits));
        }
        news
    }

    /// Strikes out whose heartbeat has stopped or whose node is not here. Answers whether anything went.
    pub fn prune(&mut self, now: Time, pace: Pace, present: impl Fn(&FulcrumId) -> bool) -> bool {
        let (before, life) = (self.entries.len(), pace.repeat() * 3);
        self.entries.retain(|(_, at), entry| present(at) && now < entry.heard + life);
        self.entries.len() != before
    }

    /// Who heartbeats, by name and node, wherever the seats are.
    #[must_use]
    pub fn who(&self) -> &BTreeMap<(String, FulcrumId), Entry> {
        &self.entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beat(name: &str, waits: &str) -> Program {
        Program { name: name.into(), started: Wall(1), waits: waits.into() }
    }

    #[test]
    fn an_entry_lives_as_long_as_its_heartbeat() {
        let (mut yurt, node, pace) = (Yurt::default(), "n1".parse().unwrap(), Pace(1000));
        assert!(yurt.hear(Time::ZERO, &node, Vec::from([beat("genghis", ""), beat("yurt", "")])));
        assert!(yurt.hear(Time::from_millis(1_000), &node, Vec::from([beat("yurt", "")])));
        assert!(!yurt.hear(Time::from_millis(1_000), &node, Vec::from([beat("yurt", "")])), "no news");
        let names = |yurt: &Yurt| yurt.who().keys().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&yurt), ["yurt"], "its own node no longer names the other");
        assert!(!yurt.prune(Time::from_millis(6_999), pace, |_| true));
        assert_eq!(names(&yurt), ["yurt"]);
        assert!(yurt.prune(Time::from_millis(7_000), pace, |_| true));
        assert!(yurt.who().is_empty());
    }

    #[test]
    fn who_does_not_answer_says_why_and_whose_beats_stay_away_is_silent() {
        let (mut yurt, node, pace) = (Yurt::default(), "n1".parse::<FulcrumId>().unwrap(), Pace(1000));
        let state = |yurt: &Yurt, ms| yurt.who()[&("genghis".into(), node.clone())].state(Time::from_millis(ms), pace);
        yurt.hear(Time::ZERO, &node, Vec::from([beat("genghis", "")]));
        assert_eq!(state(&yurt, 4_000), (State::Answers, String::new()));
        assert_eq!(state(&yurt, 4_001).0, State::Silent);
        assert!(yurt.hear(Time::from_millis(4_500), &node, Vec::from([beat("genghis", "the flock is not stable")])));
        assert_eq!(state(&yurt, 4_501), (State::Waits, "the flock is not stable".into()));
    }
}
