//! Why a flock is what it is: what it lacks, who is apart, and who does not answer.

use super::read::input;
use crate::flock::{Apart, Sibling};
use crate::picture::{MemberState, OutsideLine, Reason, Status};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Display;

/// The flock itself first, then every other flock, then who is in none.
pub(super) fn why_flock(status: &Status) -> Vec<Reason> {
    let mut reasons = Vec::from([itself(status)]);
    reasons.extend(status.siblings.iter().map(sibling));
    reasons.extend(status.outside.iter().map(outside));
    reasons.extend(status.clones.iter().map(|(fulcrum, addrs)| {
        let text = format!("two nodes live with the identity of {fulcrum}, at {} and {}", addrs[0], addrs[1]);
        one(fulcrum, "clone", "two-answers", Vec::new(), text)
    }));
    reasons
}

/// What is lacking, with those whom it is about, the first few of them.
pub(super) fn who_lacks(lacking: &str, who: &[String]) -> String {
    const NAMED: usize = 3;
    let named = who[..who.len().min(NAMED)].join(", ");
    match who.len().saturating_sub(NAMED) {
        _ if who.is_empty() => String::from(lacking),
        0 => format!("{lacking} ({named})"),
        more => format!("{lacking} ({named} and {more} more)"),
    }
}

fn itself(status: &Status) -> Reason {
    let confab = &status.confab;
    let size = confab.members.len();
    let full = status.full_members();
    let below = status.expect.filter(|expect| full < *expect as usize);
    let suspects: Vec<String> = status
        .roster
        .iter()
        .filter(|line| line.state == MemberState::Suspect)
        .map(|line| format!("{}", line.member.id))
        .collect();
    let mut lacks = Vec::new();
    if let Some(expect) = below {
        lacks.push(format!("it has {full} of the {expect} members that are expected"));
    }
    if !suspects.is_empty() {
        let verb = if suspects.len() == 1 { "does" } else { "do" };
        lacks.push(format!("{} in it {verb} not answer", suspects.join(", ")));
    }
    if !confab.stable && suspects.is_empty() {
        lacks.push(match &status.lacking {
            Some(lacking) => format!("{lacking}, as seen from here"),
            None => format!("its leader {} has not granted that it is complete", confab.leader),
        });
    }
    match status.siblings.len() {
        0 => {}
        1 => lacks.push(String::from("another flock of the bloc is apart from it")),
        many => lacks.push(format!("{many} other flocks of the bloc are apart from it")),
    }
    let state = match (confab.stable, below) {
        (false, _) => "unstable",
        (true, Some(_)) => "below-expected",
        (true, None) => "stable",
    };
    let text = if lacks.is_empty() {
        format!("flock {} is complete as far as that can be known", confab.flock)
    } else {
        format!("flock {} is not complete: {}", confab.flock, lacks.join("; "))
    };
    let mut inputs = Vec::from([input("members", size), input("epoch", confab.epoch)]);
    inputs.extend(status.expect.map(|expect| input("expected", expect)));
    if status.sick {
        let text = "this fulcrum itself comes late or accused wrongly of late, and believes its own doubts more slowly";
        inputs.push((String::from("sick"), String::from(text)));
    }
    Reason { since: Some(status.age), ..one(&confab.flock, state, "stable-lease", inputs, text) }
}

/// Another flock of the bloc.
pub(super) fn sibling(sibling: &Sibling) -> Reason {
    let (state, text) = match &sibling.apart {
        Apart::Merging => ("merging", String::from("the two are becoming one")),
        Apart::FlapHold => (
            "flap-hold",
            String::from(
                "too many of it broke off too often of late; it is taken in when they were always reached for a while",
            ),
        ),
        Apart::Busy => ("busy", String::from("one of the two is in another change")),
        Apart::BrokenPair(a, b) => ("broken-pair", format!("{} and {} cannot talk directly", a.id, b.id)),
    };
    let header = &sibling.head.header;
    let mut inputs = Vec::from([input("leader", &header.leader), input("size", header.size)]);
    inputs.extend(sibling.until.map(|until| input("asked_again_in_ms", until.as_millis())));
    let text = format!("flock {} of {} is apart: {text}", header.name, header.leader);
    one(&header.name, state, "clique", inputs, text)
}

/// Somebody in no flock.
pub(super) fn outside(line: &OutsideLine) -> Reason {
    let name = line.who.fulcrum.as_ref().map_or_else(|| format!("{}", line.who.addr), |id| format!("{id}"));
    let (state, verb) =
        if line.who.refused { ("refused", "is not let in, or lets nobody in") } else { ("silent", "does not answer") };
    let cause = if line.who.why.is_empty() { String::new() } else { format!(": {}", line.who.why) };
    let text = format!("{} {verb}{cause}", line.who.addr);
    one(name, state, "no-link", Vec::new(), text)
}

fn one(subject: impl Display, state: &str, rule: &str, inputs: Vec<(String, String)>, text: String) -> Reason {
    Reason { subject: format!("{subject}"), state: state.into(), since: None, rule: rule.into(), inputs, text }
}
