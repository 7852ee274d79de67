//! Facts' values as JSON: the fields by name, for tools that compare the sides of a conflict. The value itself stays beside it
//! in hex, for this is not what was signed.

use crate::json::{Counter, Resources, to_hex};
use crux_core::facts::rule::RuleFact;
use crux_core::facts::value::{Cordon, Expulsion, Horde, Horizon, Labels, Manifest, Place, Row};
use crux_core::resources::Resources as Amounts;
use prost::Message;
use serde_json::{Value, json};

/// A fact's value as JSON; `None` if its path or its bytes are not understood.
#[must_use]
pub fn readable(path: &str, value: &[u8]) -> Option<Value> {
    match path.split('/').next()? {
        "horde" => Horde::decode(value).ok().map(|horde| of_horde(&horde)),
        "muster" => Manifest::decode(value).ok().map(|manifest| of_manifest(&manifest)),
        "place" => Place::decode(value).ok().map(|place| of_place(&place)),
        "row" => Row::decode(value).ok().map(|row| of_row(&row)),
        "expel" => Expulsion::decode(value).ok().map(|it| json!({"up_to": it.up_to, "reason": it.reason})),
        "cordon" => Cordon::decode(value).ok().map(|it| json!({"reason": it.reason, "drain": it.drain})),
        "horizon" => Horizon::decode(value).ok().map(|it| json!({"before": Counter(it.before)})),
        "rule" => of_rule(value),
        "label" => Labels::decode(value).ok().map(|given| json!({"labels": given.labels})),
        _ => None,
    }
}

fn amounts(of: Option<&Amounts>) -> Option<Resources> {
    of.copied().map(Resources::from)
}

fn of_horde(it: &Horde) -> Value {
    json!({
        "want": it.want,
        "where": it.r#where,
        "sets": it.sets,
        "vacancy_after_ms": Counter(it.vacancy_after_ms),
        "quota": amounts(it.quota.as_ref()),
    })
}

fn of_manifest(it: &Manifest) -> Value {
    let file = |file: &crux_core::facts::value::File| {
        json!({
            "path": file.path,
            "sha256": to_hex(&file.sha256),
            "size": Counter(file.size),
            "executable": file.executable,
        })
    };
    let check = it.check.as_ref().map(|check| {
        json!({
            "kind": check.kind,
            "port": check.port,
            "path": check.path,
            "command": check.command,
            "every_ms": Counter(check.every_ms),
        })
    });
    let hooks = it.hooks.as_ref().map(
        |hooks| json!({"parted": hooks.parted, "rejoined": hooks.rejoined, "timeout_ms": Counter(hooks.timeout_ms)}),
    );
    json!({
        "service": it.service,
        "run": it.run,
        "builtin": it.builtin,
        "files": it.files.iter().map(file).collect::<Vec<_>>(),
        "env": it.env,
        "ports": it.ports,
        "check": check,
        "restart_from_ms": Counter(it.restart_from_ms),
        "restart_to_ms": Counter(it.restart_to_ms),
        "stop_signal": it.stop_signal,
        "stop_grace_ms": Counter(it.stop_grace_ms),
        "once": it.once,
        "resources": amounts(it.resources.as_ref()),
        "hooks": hooks,
    })
}

fn of_place(it: &Place) -> Value {
    json!({
        "revision": to_hex(&it.revision),
        "place": it.place,
        "after": it.after,
        "on_split": it.on_split,
        "on_rejoin": it.on_rejoin,
        "single": it.single,
    })
}

fn of_row(it: &Row) -> Value {
    json!({
        "horde": it.horde,
        "admin": it.admin,
        "labels": it.labels,
        "admission": it.admitted(),
        "left": it.left,
        "stands_in": it.stands_in,
        "stands_for": it.stands_for,
        "since": Counter(it.since),
        "capacity": amounts(it.capacity.as_ref()),
    })
}

fn of_rule(value: &[u8]) -> Option<Value> {
    let rule = RuleFact::decode(value).ok()?.named().ok()?;
    Some(json!({
        "client": rule.client.to_string(),
        "endpoint": rule.endpoint.to_string(),
        "note": rule.note,
        "made": Counter(rule.made),
        "removed": rule.removed,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_of_a_conflict_can_be_read_and_what_is_no_fact_is_nothing() {
        let horde = Horde { want: 3, r#where: "zone=a".into(), vacancy_after_ms: u64::MAX, ..Horde::default() };
        let shown = readable("horde/web", &horde.encode_to_vec()).unwrap();
        assert_eq!((&shown["want"], &shown["where"]), (&3.into(), &"zone=a".into()));
        assert_eq!(shown["vacancy_after_ms"], u64::MAX.to_string());
        let place = Place { revision: vec![7; 32], place: "pick(api, 3, ALL)".into(), ..Place::default() };
        let shown = readable("place/web/api", &place.encode_to_vec()).unwrap();
        assert_eq!((&shown["revision"], &shown["single"]), (&"07".repeat(32).into(), &false.into()));
        for (path, bytes) in [("horde/web", &[0xff_u8][..]), ("nothing/x", &[]), ("", &[])] {
            assert_eq!(readable(path, bytes), None, "{path}");
        }
    }
}
