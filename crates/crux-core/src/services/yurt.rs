//! Yurt: a passive list of what heartbeats in ADMIN, nothing more. Programs tell it that they run; an entry lives as long
//! as its heartbeat.
//!
//! Listed are programs that really run: `proctor/<horde>` and `healthminder/<horde>` at each horde's seat; `genghis`,
//! `muster` and `yurt` at ADMIN's. There is no steward and no access service yet.

use super::pace::Pace;
use super::roles::Roles;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use crux_names::{FulcrumId, HordeName, Time, Wall};

/// The programs that run on one fulcrum because of where it sits.
#[must_use]
pub fn programs(me: &FulcrumId, roles: &Roles) -> Vec<String> {
    let mut names = Vec::new();
    for horde in roles.hordes.keys().filter(|horde| roles.seat(horde) == Some(me)) {
        names.push(format!("proctor/{horde}"));
        names.push(format!("healthminder/{horde}"));
        if *horde == HordeName::admin() {
            names.extend(["genghis", "muster", "yurt"].map(String::from));
        }
    }
    names.sort();
    names
}

/// One program on one fulcrum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When it started there, by that fulcrum's wall clock.
    pub started: Wall,
    /// When it was last heard.
    pub heard: Time,
}

/// What heartbeats in ADMIN, as one fulcrum has heard it.
#[derive(Clone, Debug, Default)]
pub struct Yurt {
    entries: BTreeMap<(String, FulcrumId), Entry>,
}

impl Yurt {
    /// Takes a fulcrum's word: everything that runs there. What it no longer names is off the list.
    pub fn hear(&mut self, now: Time, from: &FulcrumId, programs: Vec<(String, Wall)>) {
        self.entries.retain(|(name, at), _| at != from || programs.iter().any(|(program, _)| program == name));
        for (name, started) in programs {
            self.entries.insert((name, from.clone()), Entry { started, heard: now });
        }
    }

    /// Strikes out whose heartbeat has stopped or whose node is not here. Answers whether anything went.
    pub fn prune(&mut self, now: Time, pace: Pace, present: impl Fn(&FulcrumId) -> bool) -> bool {
        let (before, life) = (self.entries.len(), pace.repeat() * 3);
        self.entries.retain(|(_, at), entry| present(at) && now < entry.heard + life);
        self.entries.len() != before
    }

    /// Who heartbeats, by name and node.
    #[must_use]
    pub fn who(&self) -> &BTreeMap<(String, FulcrumId), Entry> {
        &self.entries
    }

    /// Where a program runs; the first by name if on several.
    #[must_use]
    pub fn place(&self, program: &str) -> Option<&FulcrumId> {
        self.entries.keys().find(|(name, _)| name == program).map(|(_, at)| at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_lives_as_long_as_its_heartbeat() {
        let (mut yurt, node, pace) = (Yurt::default(), "n1".parse().unwrap(), Pace(1000));
        let both = Vec::from([("genghis".into(), Wall(1)), ("yurt".into(), Wall(1))]);
        yurt.hear(Time::ZERO, &node, both);
        yurt.hear(Time::from_millis(1_000), &node, Vec::from([("yurt".into(), Wall(1))]));
        assert_eq!(yurt.place("genghis"), None, "its own node no longer names it");
        assert!(!yurt.prune(Time::from_millis(6_999), pace, |_| true));
        assert_eq!(yurt.place("yurt"), Some(&node));
        assert!(yurt.prune(Time::from_millis(7_000), pace, |_| true));
        assert!(yurt.who().is_empty());
    }
}
