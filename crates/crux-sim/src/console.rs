//! Stepping through a run: one thing at a time, with questions in between.

use crate::flocks::{Flocks, shape};
use crate::world::{In, Out, Step, Time};
use crate::{flocks::Bird, liveness::weight};
use std::io::{BufRead, Write};

const HELP: &str = "\
n        the next thing          r N      N things
t SEC    until this second       s        the shape, and who is stable
v nX     all of one fulcrum      q        end
(an empty line is n)";

/// When to ask again.
#[derive(Debug)]
enum Until {
    Things(u64),
    Moment(Time),
}

/// Prints what happens and reads what to do next.
#[derive(Debug)]
pub struct Console {
    until: Until,
}

impl Default for Console {
    fn default() -> Self {
        crate::say!("{HELP}");
        Self { until: Until::Things(1) }
    }
}

/// One line about one thing that happened.
#[must_use]
pub fn line(world: &Flocks, step: &Step<Bird>) -> String {
    let slot = &world.slots[step.place];
    let input = match &step.input {
        None => "(from outside)".to_owned(),
        Some(In::Wake) => "wakes".to_owned(),
        Some(input) => format!("<- {input:?}"),
    };
    let outs: Vec<String> = step
        .out
        .iter()
        .map(|out| match out {
            Out::Datagram(to, datagram) => format!("\n      ~> {to} {datagram:?}"),
            Out::Frame(to, frame) => format!("\n      -> {to} {frame:?}"),
            other => format!("\n      -> {other:?}"),
        })
        .collect();
    format!("{} {} {input}{}", world.now, slot.member, outs.concat())
}

impl Console {
    /// After each step of a run.
    pub fn after(&mut self, world: &Flocks) {
        for step in &world.news {
            crate::say!("{}", line(world, step));
        }
        let over = match &mut self.until {
            Until::Things(left) => {
                *left = left.saturating_sub(1);
                *left == 0
            }
            Until::Moment(at) => world.now >= *at,
        };
        if over {
            self.ask(world);
        }
    }

    fn ask(&mut self, world: &Flocks) {
        loop {
            print!("> ");
            let _ = std::io::stdout().flush();
            let mut text = String::new();
            if std::io::stdin().lock().read_line(&mut text).unwrap_or(0) == 0 {
                std::process::exit(0);
            }
            let words: Vec<&str> = text.split_whitespace().collect();
            match words.as_slice() {
                [] | ["n"] => self.until = Until::Things(1),
                ["r", count] if count.parse::<u64>().is_ok() => {
                    self.until = Until::Things(count.parse().unwrap_or(1).max(1));
                }
                ["t", seconds] if seconds.parse::<f64>().is_ok_and(|seconds| seconds >= 0.0) => {
                    let millis = seconds.parse::<f64>().unwrap_or(0.0) * 1000.0;
                    self.until = Until::Moment(Time::from_millis(millis as u64));
                }
                ["s"] => {
                    all(world);
                    continue;
                }
                ["v", name] => {
                    one(world, name);
                    continue;
                }
                ["q"] => std::process::exit(0),
                _ => {
                    crate::say!("{HELP}");
                    continue;
                }
            }
            return;
        }
    }
}

fn all(world: &Flocks) {
    crate::say!("{} {}", world.now, shape(world));
    for (place, slot) in world.slots.iter().enumerate() {
        match &slot.node {
            Some(bird) => {
                let stable = if bird.flock.stable(world.local(place)) { "stable" } else { "not stable" };
                let paused = if slot.paused_until > world.now { ", paused" } else { "" };
                let view = bird.flock.view();
                crate::say!(
                    "  {} {} of {} {:?}, {stable}{paused}",
                    slot.member,
                    slot.addr,
                    view.roster.len(),
                    view.id()
                );
            }
            None => crate::say!("  {} {} dead", slot.member, slot.addr),
        }
    }
}

fn one(world: &Flocks, name: &str) {
    let found = world.slots.iter().enumerate().filter(|(_, slot)| slot.member.id.to_string() == name);
    for (place, slot) in found {
        let Some(bird) = &slot.node else {
            crate::say!("{} is dead", slot.member);
            continue;
        };
        crate::say!("{:#?}", bird.flock.status(world.local(place)));
        crate::say!("{} has installed {} views and weighs {}", slot.member, bird.installed.len(), weight(&bird.flock));
        let blocked: Vec<String> = (0..world.slots.len())
            .filter(|other| !world.connected(place, *other))
            .map(|other| world.slots[other].member.to_string())
            .collect();
        crate::say!("cannot talk to: {}", blocked.join(", "));
    }
}
