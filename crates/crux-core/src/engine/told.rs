//! What happened, in sentences.

use crate::facts::rule::{Named, RULES};
use crate::facts::value::{EXPULSIONS, Expulsion};
use crate::facts::version::Checked;
use crate::flock::Alarm;
use crate::flock::view::View;
use crate::io::Event;
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::SocketAddr;
use crux_names::{Duration, FulcrumId, Member};

fn names(members: &[Member]) -> String {
    let names: Vec<String> = members.iter().map(|member| format!("{}", member.id)).collect();
    names.join(", ")
}

/// A new view was installed.
pub(super) fn installed(
    before: &View,
    view: &View,
    lost: &[Member],
    joined: &[Member],
    left: &BTreeSet<FulcrumId>,
) -> Vec<Event> {
    let (name, size) = (&view.head.header.name, view.roster.len());
    let old = &before.head.header.name;
    let how = match (lost, joined) {
        ([], []) => String::from("has the same members"),
        ([], joined) if name == old => format!("took in {}", names(joined)),
        ([], joined) => format!("was formed of flock {old} and {}", names(joined)),
        (lost, []) if name == old => format!("lost {}", names(lost)),
        (lost, []) => format!("is what is left of flock {old} without {}", names(lost)),
        (lost, joined) => format!("lost {} and took in {}", names(lost), names(joined)),
    };
    let plural = if size == 1 { "" } else { "s" };
    let leader = &view.leader().member.id;
    let mut events = Vec::from([Event {
        kind: "flock-formed",
        subject: name.clone(),
        text: format!("flock {name} {how}; it has {size} member{plural} and {leader} leads it"),
    }]);
    for member in joined {
        let text = format!("{} joined flock {name}", member.id);
        events.push(Event { kind: "member-joined", subject: format!("{}", member.id), text });
    }
    for member in lost {
        if left.contains(&member.id) {
            let text = format!("{} left flock {name}: it was told to", member.id);
            events.push(Event { kind: "member-left", subject: format!("{}", member.id), text });
            continue;
        }
        let text = format!("{} is no longer in flock {name}", member.id);
        events.push(Event { kind: "member-lost", subject: format!("{}", member.id), text });
    }
    if before.leader().member != view.leader().member {
        let text = format!("{leader} leads flock {name} now, not {}", before.leader().member.id);
        events.push(Event { kind: "leader", subject: format!("{leader}"), text });
    }
    events
}

/// Somebody broke off too often.
pub(super) fn held(fulcrum: &FulcrumId, wait: Duration) -> Event {
    let text = format!(
        "{fulcrum} broke off too often of late: it is taken in again only after {} s in which it is always reached",
        wait.as_millis().div_ceil(1_000)
    );
    Event { kind: "hold", subject: format!("{fulcrum}"), text }
}

/// A peer does what no honest one does, or hardly ever.
pub(super) fn alarm(fulcrum: &FulcrumId, why: Alarm) -> Event {
    let text = match why {
        Alarm::Epoch { epoch } => format!(
            "{fulcrum} is at epoch {epoch}, or wants this fulcrum there, and no flock comes so far: it is not followed; look \
             after it, and if it stays so, expel its node"
        ),
        Alarm::LeadsNowhere { wait } => format!(
            "{fulcrum} says that it leads a flock, and nothing ever comes of that: it is left alone for {} s; look after it, \
             and if it stays so, expel its node",
            wait.as_millis().div_ceil(1_000)
        ),
    };
    Event { kind: "alarm", subject: format!("{fulcrum}"), text }
}

/// What to do about two that live with one identity. On one machine most likely nobody copied anything.
pub(super) fn after_clone(fulcrum: &FulcrumId, addrs: &[SocketAddr; 2]) -> String {
    if addrs[0].ip() == addrs[1].ip() {
        format!(
            "give one of the two another fulcrum's name, crux up --fulcrum NAME; when only one is left, crux node forget {fulcrum} \
             ends this alarm here"
        )
    } else {
        format!(
            "stop the copy and issue a certificate under another name for it; when only one is left, crux node forget {fulcrum} \
             ends this alarm here"
        )
    }
}

/// Two live with one identity.
pub(super) fn cloned(fulcrum: &FulcrumId, addrs: &[SocketAddr; 2]) -> Event {
    let next = after_clone(fulcrum, addrs);
    let text = format!("two nodes live with the identity of {fulcrum}, at {} and {}: {next}", addrs[0], addrs[1]);
    Event { kind: "alarm", subject: format!("{fulcrum}"), text }
}

/// Nobody follows where this fulcrum was led.
pub(super) fn starts_over(me: &FulcrumId, epoch: u64) -> Event {
    let text = format!(
        "{me} was led to epoch {epoch}, where no other flock in reach follows: it begins anew with another boot; whoever led it \
         there is in the log"
    );
    Event { kind: "alarm", subject: format!("{me}"), text }
}

/// A leader that is sick itself leads no more.
pub(super) fn hands_over(me: &FulcrumId, flock: &str) -> Event {
    let text = format!(
        "{me} does not keep up of late and hands the lead of flock {flock} to the next one: look at this machine's load"
    );
    Event { kind: "hand-over", subject: format!("{me}"), text }
}

/// The lease of completeness began or ended.
pub(super) fn stable(view: &View, stable: bool) -> Event {
    let name = &view.head.header.name;
    let text = if stable {
        format!("flock {name} is stable: it is complete as far as that can be known")
    } else {
        format!("flock {name} is not stable any more")
    };
    Event { kind: "stable", subject: name.clone(), text }
}

/// A rule came, went, or was signed again: that is told as of any fact. `before` and `now`: whether it was removed, of what was
/// there.
pub(super) fn rule(path: &str, version: Option<&Checked>, before: Option<bool>, now: Option<&Named>) -> Option<Event> {
    let (id, of) = (path.strip_prefix(RULES)?, |rule: &Named| format!("{} may call {}", rule.client, rule.endpoint));
    let author = version.map(|version| &version.statement().author);
    let (kind, text) = match (now, author) {
        (Some(rule), Some(author)) if !rule.removed && before != Some(false) => {
            ("rule-added", format!("{author} added rule {id}: {}", of(rule)))
        }
        (Some(rule), Some(author)) if rule.removed && before != Some(true) => {
            ("rule-removed", format!("{author} removed rule {id}, by which {}", of(rule)))
        }
        (None, _) if before == Some(false) => {
            ("rule-removed", format!("rule {id} is from before the horizon and allows nothing any more"))
        }
        _ => return fact(path, version),
    };
    Some(Event { kind, subject: id.into(), text })
}

/// Somebody was put out of the bloc, by more admissions than before; the same signed again is told as of any fact. `before` and
/// `now`: by which.
pub(super) fn expelled(
    path: &str,
    version: Option<&Checked>,
    before: Option<u32>,
    now: Option<&Expulsion>,
) -> Option<Event> {
    let (node, author) = (path.strip_prefix(EXPULSIONS)?, version.map(|version| &version.statement().author));
    let (Some(author), Some(now)) = (author, now.filter(|now| before.is_none_or(|before| now.up_to > before))) else {
        return fact(path, version);
    };
    let why = if now.reason.is_empty() { String::new() } else { format!(": {}", now.reason) };
    let text = format!("{author} expelled {node} with its admissions up to {}{why}", now.up_to);
    Some(Event { kind: "expelled", subject: node.into(), text })
}

/// A fact has versions that were written apart.
pub(super) fn conflicted(path: String) -> Event {
    let text = format!(
        "two versions of {path} were written apart; a deletion, else the later, is in force, the other listed: crux facts conflicts"
    );
    Event { kind: "conflict", subject: path, text }
}

/// A fact changed. Rows are told by what follows from them.
pub(super) fn fact(path: &str, version: Option<&Checked>) -> Option<Event> {
    let statement = version?.statement();
    if path.starts_with("row/") {
        return None;
    }
    let did = if statement.value.is_some() { "wrote" } else { "deleted" };
    Some(Event { kind: "fact", subject: path.into(), text: format!("{} {did} {path}", statement.author) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_of_one_name_on_one_machine_are_told_apart_by_another_fulcrums_name() {
        let text = |other: &str| {
            cloned(&"n1/b".parse().unwrap(), &["10.0.0.1:2789".parse().unwrap(), other.parse().unwrap()]).text
        };
        let here = text("10.0.0.1:2790");
        assert!(here.contains("--fulcrum NAME") && !here.contains("certificate"), "{here}");
        let there = text("10.0.0.2:2789");
        assert!(there.contains("certificate under another name") && !there.contains("--fulcrum"), "{there}");
    }
}
