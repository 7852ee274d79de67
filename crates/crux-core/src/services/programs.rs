//! Programs: which bloc services run on this fulcrum because of where it sits, and whether each does its work. What they say
//! of themselves is their heartbeat; the yurt lists it.
//!
//! | program | where | it answers when |
//! |---|---|---|
//! | `proctor/<horde>` | seat of the horde | it has planned in this view |
//! | `healthminder/<horde>` | seat of the horde | it judges |
//! | `genghis` | seat of ADMIN | the flock is stable, without which it offers nothing |
//! | `muster` | seat of ADMIN | the catalogue has the manifest of everything that is placed |
//! | `access` | seat of ADMIN | every member has said what was added at its door, all of it fits, and the door answers |
//! | `yurt` | seat of ADMIN | the door answers, at which it is asked |
//!
//! That the door answers is not taken for granted: every fulcrum with the ADMIN flag, or on its way to it, asks its own as a
//! program would, and says what came of it. A fulcrum takes its seat in ADMIN once it does.
//!
//! There is no steward, no reeve and no ca among them yet: they are on the list when they run.

use super::known::Known;
use super::pace::Pace;
use super::{Output, Services};
use crate::services::effect::Effect;
use crate::services::yurt::Program;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use crux_names::{Hash256, HordeName, Time, Wall};

/// What came of asking this fulcrum's own door.
#[derive(Clone, Debug, Default)]
pub(super) struct Doors {
    asked: Option<Time>,
    answered: Option<Time>,
    fault: String,
}

impl Doors {
    /// Takes an answer, or why there is none.
    pub(super) fn knocked(&mut self, now: Time, result: Result<(), String>) {
        match result {
            Ok(()) => (self.answered, self.fault) = (Some(now), String::new()),
            Err(why) => (self.answered, self.fault) = (None, why),
        }
    }

    /// Why programs are not answered at it; empty if they are.
    fn waits(&self, now: Time, pace: Pace) -> String {
        match self.answered {
            Some(at) if now <= at + pace.repeat() * 3 => String::new(),
            Some(_) => "the door of this fulcrum does not answer any more".into(),
            None if self.fault.is_empty() => "the door of this fulcrum has not answered yet".into(),
            None => format!("the door of this fulcrum does not answer: {}", self.fault),
        }
    }
}

/// The horde at whose seat a program runs; `None`: there is no such program.
pub(super) fn horde_of(program: &str) -> Option<HordeName> {
    match program {
        "genghis" | "muster" | "access" | "yurt" => Some(HordeName::admin()),
        _ => match program.split_once('/')? {
            ("proctor" | "healthminder", horde) => HordeName::parse(horde).ok(),
            _ => None,
        },
    }
}

impl Services {
    /// Whether what ADMIN needs on each of its fulcrums answers here.
    pub(super) fn admin_answers(&self, now: Time) -> bool {
        self.adopted && self.doors.waits(now, self.config.pace).is_empty()
    }

    /// Asks this fulcrum's own door, where ADMIN depends on it.
    pub(super) fn settle_door(&mut self, now: Time, known: &Known, out: &mut Vec<Output>) {
        let flagged = known.rows().get(&self.config.me.id).is_some_and(|row| !row.admin.is_empty() && !row.left);
        if !flagged || self.stopping {
            self.doors = Doors::default();
            return;
        }
        let repeat = self.config.pace.repeat();
        if self.doors.asked.is_none_or(|asked| now >= asked + repeat) {
            self.doors.asked = Some(now);
            out.push(Output::Effect(Effect::Knock { deadline: repeat }));
        }
    }

    /// The programs of this fulcrum, each with why it does not answer, by name.
    fn programs(&self, now: Time) -> Vec<(String, String)> {
        let mut programs = Vec::new();
        for horde in self.seated() {
            let proctor = self.proctors.get(&horde).map_or(Some("it has not begun"), |p| p.waits(self.view.id()));
            programs.push((format!("proctor/{horde}"), proctor.unwrap_or_default().into()));
            let minder = if self.minders.contains_key(&horde) { "" } else { "it has not begun" };
            programs.push((format!("healthminder/{horde}"), minder.into()));
            if horde == HordeName::admin() {
                let genghis = if self.stable_since.is_some() { "" } else { "the flock is not stable" };
                programs.push(("genghis".into(), genghis.into()));
                programs.push(("muster".into(), self.lacking.clone()));
                programs.push(("access".into(), self.access_waits(now)));
                programs.push(("yurt".into(), self.doors.waits(now, self.config.pace)));
            }
        }
        programs.sort();
        programs
    }

    fn access_waits(&self, now: Time) -> String {
        let Some(register) = &self.register else { return "it has not begun".into() };
        let left_out = register.left_out();
        if left_out > 0 {
            return format!("{left_out} entries do not fit into it: those who added most are left out");
        }
        let silent = register.lacks(self.view.roster.iter().map(|seat| &seat.member.id));
        match silent.as_slice() {
            [] => self.doors.waits(now, self.config.pace),
            [one] => format!("{one} has not said what was added at its door"),
            [one, more @ ..] => format!("{one} and {} more have not said what was added at their doors", more.len()),
        }
    }

    /// Tells everybody which programs run here and whether they answer.
    pub(super) fn settle_yurt(&mut self, now: Time, wall: Wall, repeat: bool, out: &mut Vec<Output>) {
        let programs = self.programs(now);
        self.started_programs.retain(|name, _| programs.iter().any(|(program, _)| program == name));
        for (name, _) in &programs {
            self.started_programs.entry(name.clone()).or_insert(wall);
        }
        if (repeat && !programs.is_empty()) || self.told.programs.as_ref() != Some(&programs) {
            let beat = |(name, waits): &(String, String)| Program {
                name: name.clone(),
                started: self.started_programs.get(name).copied().unwrap_or(wall),
                waits: waits.clone(),
            };
            let beats = programs.iter().map(beat).collect();
            self.told.programs = Some(programs);
            let view = self.view.id().clone();
            self.tell_all(&super::message::Message::Who { view, programs: beats }, out);
        }
        let view = &self.view;
        if self.yurt.prune(now, self.config.pace, |id| view.seat(id).is_some()) {
            self.changed = true;
        }
    }
}

/// What the catalogue lacks of what is placed; empty if nothing.
pub(super) fn lacking(known: &Known) -> String {
    let lacks = |(of, place): (&super::instance::ServiceRef, &crate::facts::value::Place)| {
        let revision: Option<[u8; 32]> = place.revision.as_slice().try_into().ok();
        let there = revision.is_some_and(|hash| known.revision(&of.service, &Hash256(hash)).is_some());
        (!there).then(|| of.to_string())
    };
    let lacking: Vec<String> = known.places().iter().filter_map(lacks).collect();
    match lacking.as_slice() {
        [] => String::new(),
        [one] => format!("the catalogue lacks the manifest of {one}"),
        [one, more @ ..] => format!("the catalogue lacks the manifests of {one} and {} more", more.len()),
    }
}
