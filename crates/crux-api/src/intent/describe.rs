//! Facts in words, and what a write would change.

use crate::json::{Change, ChangeAction, Fact, PlanDiff, from_hex};
use crate::write::NewFact;
use crux_core::facts::rule::{Named, RuleFact};
use crux_core::facts::value::{Cordon, Expulsion, Horde, Horizon, Labels, Manifest, Place, Row, VACANCY_NEVER_MS};
use crux_names::Hash256;
use prost::Message;

/// A fact's value in one line, for people.
#[must_use]
pub fn describe(path: &str, value: &[u8]) -> String {
    let text = match path.split('/').next() {
        Some("horde") => Horde::decode(value).ok().map(|horde| describe_horde(&horde)),
        Some("muster") => Manifest::decode(value).ok().map(|manifest| describe_manifest(&manifest)),
        Some("place") => Place::decode(value).ok().map(|place| describe_place(&place)),
        Some("row") => Row::decode(value).ok().map(|row| describe_row(&row)),
        Some("expel") => Expulsion::decode(value).ok().map(|expulsion| describe_expulsion(&expulsion)),
        Some("cordon") => Cordon::decode(value).ok().map(|cordon| describe_cordon(&cordon)),
        Some("horizon") => Horizon::decode(value)
            .ok()
            .map(|horizon| format!("nothing from before {} is in force", crate::json::day(horizon.before))),
        Some("rule") => {
            RuleFact::decode(value).ok().and_then(|fact| fact.named().ok()).map(|rule| describe_rule(&rule))
        }
        Some("label") => Labels::decode(value).ok().map(|given| describe_labels(&given)),
        _ => None,
    };
    text.unwrap_or_else(|| format!("{} bytes", value.len()))
}

fn describe_expulsion(expulsion: &Expulsion) -> String {
    format!("admissions up to {}; {}", expulsion.up_to, expulsion.reason)
}

fn describe_cordon(cordon: &Cordon) -> String {
    let does = if cordon.drain { "drained" } else { "no new work" };
    if cordon.reason.is_empty() { does.to_owned() } else { format!("{does}; {}", cordon.reason) }
}

fn describe_labels(given: &Labels) -> String {
    if given.labels.is_empty() {
        return "no labels".to_owned();
    }
    given.labels.iter().map(|(key, label)| format!("{key}={label}")).collect::<Vec<_>>().join(", ")
}

fn describe_rule(rule: &Named) -> String {
    let removed = if rule.removed { "removed: " } else { "" };
    let mut text = format!("{removed}{} may call {}", rule.client, rule.endpoint);
    if !rule.note.is_empty() {
        text += &format!("; {}", rule.note);
    }
    text
}

fn describe_horde(horde: &Horde) -> String {
    let mut text = format!("want {}", horde.want);
    if !horde.r#where.is_empty() {
        text += &format!(" where {}", horde.r#where);
    }
    match horde.vacancy_after_ms {
        0 => {}
        VACANCY_NEVER_MS => text += "; vacancies stay",
        after => text += &format!("; vacancies after {} s", after as f64 / 1_000.0),
    }
    if let Some(quota) = &horde.quota {
        text += &format!("; quota {quota}");
    }
    for (name, set) in &horde.sets {
        text += &format!("; {name} := {set}");
    }
    text
}

fn describe_manifest(manifest: &Manifest) -> String {
    let mut text = match manifest.builtin.as_str() {
        "" => format!("run {}", manifest.run.join(" ")),
        builtin => format!("builtin {builtin}"),
    };
    let mut list = |what: &str, items: Vec<String>| {
        if !items.is_empty() {
            text += &format!("; {what} {}", items.join(", "));
        }
    };
    let name = |hash: Option<Hash256>| hash.map_or_else(|| "?".to_owned(), |hash| hash.short());
    list("files", manifest.files.iter().map(|file| format!("{}={}", file.path, name(file.hash()))).collect());
    list("ports", manifest.ports.iter().map(|(name, port)| format!("{name}={port}")).collect());
    list("env", manifest.env.iter().map(|(key, value)| format!("{key}={value}")).collect());
    if let Some(check) = &manifest.check {
        let target =
            if check.kind == "exec" { check.command.join(" ") } else { format!("{}{}", check.port, check.path) };
        text += &format!("; check {} {target}", check.kind);
    }
    if let Some(resources) = &manifest.resources {
        text += &format!("; asks for {resources}");
    }
    if let Some(hooks) = &manifest.hooks {
        for (word, command) in [("parted", &hooks.parted), ("rejoined", &hooks.rejoined)] {
            if !command.is_empty() {
                text += &format!("; hook {word} {}", command.join(" "));
            }
        }
    }
    if manifest.once {
        text += "; never restarted";
    }
    text
}

fn describe_place(place: &Place) -> String {
    let revision =
        <[u8; 32]>::try_from(place.revision.as_slice()).map_or_else(|_| "?".to_owned(), |r| Hash256(r).short());
    let mut text = format!("{} of revision {revision}", place.place);
    if !place.after.is_empty() {
        text += &format!("; after {}", place.after.join(", "));
    }
    for (what, policy) in [("on_split", &place.on_split), ("on_rejoin", &place.on_rejoin)] {
        if !policy.is_empty() {
            text += &format!("; {what} {policy}");
        }
    }
    if place.single {
        text += "; single";
    }
    text
}

fn describe_row(row: &Row) -> String {
    let home = if row.horde.is_empty() { "main" } else { &row.horde };
    let mut text = if row.left { "left on purpose".to_owned() } else { format!("home {home}") };
    if !row.stands_in.is_empty() {
        text += &format!(", in the place of {} at {}", row.stands_for, row.stands_in);
    }
    if !row.admin.is_empty() {
        text += &format!(", {}", row.admin);
    }
    if let Some(capacity) = &row.capacity {
        text += &format!(", has {capacity}");
    }
    for (key, value) in &row.labels {
        text += &format!(", {key}={value}");
    }
    text
}

/// What writing some facts would change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diff<'a> {
    /// The facts that would change, each with what is there now.
    pub writes: Vec<(&'a NewFact, Option<&'a Fact>)>,
    /// The same for people and tools.
    pub plan: PlanDiff,
}

/// Compares facts to be written with those that are there.
#[must_use]
pub fn diff<'a>(wanted: &'a [NewFact], there: &'a [Fact]) -> Diff<'a> {
    let mut diff = Diff { writes: Vec::new(), plan: PlanDiff { changes: Vec::new(), unchanged: 0 } };
    for new in wanted {
        let seen = there.iter().find(|fact| fact.path == new.path);
        let now: Option<Vec<u8>> = seen
            .and_then(|fact| fact.heads.first())
            .and_then(|head| head.value.as_deref())
            .and_then(|hex| from_hex(hex).ok());
        let conflict = seen.is_some_and(|fact| fact.heads.len() > 1);
        if now == new.value && !conflict {
            diff.plan.unchanged += 1;
            continue;
        }
        let action = match (&now, &new.value) {
            (_, None) => ChangeAction::Delete,
            (None, Some(_)) => ChangeAction::Create,
            (Some(_), Some(_)) => ChangeAction::Change,
        };
        diff.plan.changes.push(Change {
            path: new.path.clone(),
            action,
            before: now.map(|value| describe(&new.path, &value)),
            after: new.value.as_ref().map(|value| describe(&new.path, value)),
        });
        diff.writes.push((new, seen));
    }
    diff
}
