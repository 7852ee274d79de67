//! Reading verbs: confab, status, ps, services; and the tables that several commands share.

use super::Ctx;
use crate::Outcome;
use crate::output::{Format, age, brief, clean, names, or_dash, short, table, until_then};
use crux_api::json::{
    AccessEntry, Confab, Expelled, Horde, Instance, NodeList, Outside, Program, Ps, RosterEntry, Service, ServiceList,
    Sibling, Status, Twins,
};
use crux_api::routes;
use crux_pki::{count, span_ms};

/// Clocks that are further apart are worth a word; the doctor's mark.
const SKEW_SAID_MS: i64 = 500;

pub(crate) async fn confab(ctx: &Ctx) -> Outcome {
    ctx.show(routes::CONFAB, |confab: &Confab, format| match format {
        Format::Name => names([confab.flock.as_str()]),
        _ => confab_text(confab),
    })
    .await
}

pub(crate) async fn status(ctx: &Ctx) -> Outcome {
    ctx.show(routes::STATUS, |status: &Status, format| match format {
        Format::Name => names([status.confab.flock.as_str()]),
        _ => status_text(status, format == Format::Wide),
    })
    .await
}

pub(crate) async fn ps(ctx: &Ctx) -> Outcome {
    ctx.show(routes::PS, |ps: &Ps, format| match format {
        Format::Name => names(ps.instances.iter().map(|instance| instance.name.as_str())),
        _ => parts([
            services_table(&ps.services, format == Format::Wide),
            instances_table(&ps.instances, format == Format::Wide),
        ]),
    })
    .await
}

pub(crate) async fn services(ctx: &Ctx) -> Outcome {
    ctx.show(routes::SERVICES, |list: &ServiceList, format| match format {
        Format::Name => {
            let services: Vec<String> =
                list.services.iter().map(|service| format!("{}/{}", service.horde, service.service)).collect();
            names(services.iter().map(String::as_str))
        }
        _ => parts([
            services_table(&list.services, format == Format::Wide),
            access_table(&list.access),
            programs_table(&list.yurt),
        ]),
    })
    .await
}

/// What was added to the register of services.
fn access_table(entries: &[AccessEntry]) -> String {
    if entries.is_empty() {
        return String::new();
    }
    let rows = entries.iter().map(|entry| {
        let labels: Vec<String> = entry.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let name = if entry.name.is_empty() { String::new() } else { format!(" ({})", entry.name) };
        [
            format!("{}/{}{name}", entry.horde, entry.service),
            entry.addrs.join(" "),
            or_dash(entry.state.as_deref()),
            entry.by.clone(),
            or_dash(entry.claim.by.as_deref()),
            age(Some(&entry.since)),
            labels.join(" "),
        ]
    });
    table(["ADDED", "ADDRESS", "STATE", "BY", "AT", "SINCE", "LABELS"], rows)
}

/// What heartbeats in ADMIN.
fn programs_table(programs: &[Program]) -> String {
    if programs.is_empty() {
        return String::new();
    }
    let rows = programs.iter().map(|program| {
        let state = program.state.as_str().to_owned();
        [program.name.clone(), program.node.clone(), state, age(program.started.as_deref()), program.why.clone()]
    });
    table(["IN ADMIN", "NODE", "STATE", "SINCE", "WHY"], rows)
}

/// Those parts that say something, with an empty line between them.
pub(super) fn parts<const N: usize>(parts: [String; N]) -> String {
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    if parts.is_empty() { "nothing runs, and nothing should".to_owned() } else { parts.join("\n\n") }
}

fn own_name(confab: &Confab) -> String {
    if confab.fulcrum == crux_names::DEFAULT_FULCRUM {
        confab.node.clone()
    } else {
        format!("{}/{}", confab.node, confab.fulcrum)
    }
}

fn confab_text(confab: &Confab) -> String {
    let fulcrum = own_name(confab);
    let stable = if confab.stable { "stable" } else { "not stable yet" };
    let horde = confab.horde.as_ref().map_or("a visitor, of no horde".to_owned(), |horde| format!("horde {horde}"));
    let lines = [
        ("bloc", confab.bloc.clone()),
        ("this is", format!("{fulcrum}, {horde}")),
        ("flock", format!("{} of {}, {stable} (epoch {})", confab.flock, confab.members.len(), confab.epoch)),
        ("leader", confab.leader.clone()),
        ("members", confab.members.join(" ")),
        ("admin", if confab.admin.is_empty() { "-".to_owned() } else { confab.admin.join(" ") }),
        ("steward", or_dash(confab.steward.as_deref())),
        ("yurt", or_dash(confab.yurt.as_deref())),
        ("since", format!("{} ago", age(Some(&confab.at)))),
    ];
    lines.iter().map(|(key, value)| format!("{key:<9}{}", clean(value))).collect::<Vec<_>>().join("\n")
}

fn status_text(status: &Status, wide: bool) -> String {
    let mut head = confab_text(&status.confab);
    let facts = &status.facts;
    head += &format!("\nfacts    {} (digest {})", facts.count, short(&facts.digest));
    let mut alarms = Vec::new();
    for twins in &status.clones {
        alarms.push(clone_alarm(twins));
    }
    let size = status.roster.len();
    let full = status.roster.iter().filter(|entry| !entry.visitor).count();
    if let Some(expect) = status.expect.filter(|expect| full < usize::try_from(*expect).unwrap_or(usize::MAX)) {
        alarms.push(format!("BELOW the expected size: {full} of {expect} members: crux why flock"));
    }
    if size == 1 && (status.expect != Some(1) || !status.siblings.is_empty()) {
        alarms.push("this fulcrum is ALONE in its flock: crux why flock".to_owned());
    }
    if facts.conflicts > 0 {
        alarms.push(format!("{} in conflict: crux facts conflicts", count(facts.conflicts as usize, "fact")));
    }
    if facts.quarantined > 0 {
        let wait = if facts.quarantined == 1 { "waits" } else { "wait" };
        alarms.push(format!("{} {wait} for an operator's word", count(facts.quarantined as usize, "fact")));
    }
    if let Some(lacking) = &status.lacking {
        head += &format!("\nwaits    {}", clean(lacking));
    }
    if status.sick {
        alarms.push(
            "this fulcrum is SICK: it comes late or accused wrongly of late; look at this machine's load".to_owned(),
        );
    }
    match status.certificate.warning.as_deref() {
        Some("ended") => {
            alarms.push("the CERTIFICATE of this node has ENDED: crux ca renew, and install it".to_owned())
        }
        Some(share) => alarms.push(format!(
            "{} of the life of this node's certificate has gone; it ends in {}: crux ca renew",
            share.replace('-', " "),
            until_then(&status.certificate.not_after)
        )),
        None => {}
    }
    alarms.extend(status.put_out.iter().map(|out| out.text.clone()));
    if let Some(cause) = &status.certificate.not_taken {
        alarms.push(format!("a new BUNDLE was installed and is not used: {cause}"));
    }
    if let Some(skew) = status.clock.skew_ms.filter(|skew| skew.abs() >= SKEW_SAID_MS) {
        let side = if skew > 0 { "ahead of" } else { "behind" };
        let skew = span_ms(skew.unsigned_abs());
        alarms.push(format!("this machine's clock is {skew} {side} the other members': crux doctor"));
    }
    if let Some(reason) = &status.store.reason {
        alarms.push(format!("the store refuses writes: {reason}"));
    }
    for alarm in alarms {
        head += &format!("\n! {}", clean(&alarm));
    }
    let siblings = status.siblings.iter().map(sibling_row);
    let siblings = if status.siblings.is_empty() {
        String::new()
    } else {
        table(["OTHER FLOCK", "LEADER", "SIZE", "APART", "WHY"], siblings)
    };
    let hordes = if status.hordes.is_empty() { String::new() } else { hordes_table(&status.hordes) };
    parts([
        head,
        roster_table(&status.roster, wide),
        siblings,
        outside_table(&status.outside),
        expelled_table(&status.expelled),
        hordes,
        services_table(&status.services, wide),
        instances_table(&status.instances, wide),
    ])
}

fn clone_alarm(twins: &Twins) -> String {
    let Twins { name, addrs: [one, other] } = twins;
    format!("CLONE: two nodes live with the identity of {name}, or did, at {one} and {other}: crux why node {name}")
}

/// Name, leader, size, and why it is apart.
pub(super) fn sibling_row(sibling: &Sibling) -> [String; 5] {
    let pair = sibling.pair.as_ref().map(|[a, b]| format!("{a} and {b} cannot talk"));
    let until = sibling.until.as_deref().map(|until| format!("asked again in {}", until_then(until)));
    let why = [pair, until].into_iter().flatten().collect::<Vec<_>>().join(", ");
    [sibling.flock.clone(), sibling.leader.clone(), sibling.size.to_string(), word(&sibling.apart), why]
}

/// The contract's word for a state.
pub(super) fn word<T: serde::Serialize>(state: &T) -> String {
    match serde_json::to_value(state) {
        Ok(serde_json::Value::String(word)) => word,
        _ => "?".to_owned(),
    }
}

/// Fulcrums, and who is outside.
pub(super) fn nodes_text(list: &NodeList, wide: bool) -> String {
    let clones = list.clones.iter().map(|twins| format!("! {}", clean(&clone_alarm(twins))));
    parts([roster_table(&list.roster, wide), outside_table(&list.outside), clones.collect::<Vec<_>>().join("\n")])
}

fn roster_table(roster: &[RosterEntry], wide: bool) -> String {
    let ms = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.1}ms"));
    // For the eye; who leads stands above.
    let mut roster: Vec<&RosterEntry> = roster.iter().collect();
    roster.sort_by(|a, b| a.name.cmp(&b.name));
    let admin = |entry: &RosterEntry| {
        let words = [
            (entry.admin, "ADMIN"),
            (entry.visitor, "visitor"),
            (entry.stands_in.is_some(), "substitute"),
            (entry.draining, "draining"),
            (entry.cordoned && !entry.draining, "cordoned"),
        ];
        words.into_iter().filter_map(|(is, word)| is.then_some(word)).collect::<Vec<_>>().join(" ")
    };
    let labels = |entry: &RosterEntry| {
        entry.labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
    };
    if wide {
        let rows = roster.iter().map(|entry| {
            let link = entry.link;
            [
                entry.name.clone(),
                word(&entry.state),
                or_dash(entry.horde.as_deref()),
                admin(entry),
                entry.addr.clone(),
                age(entry.since.as_deref()),
                ms(link.and_then(|link| link.rtt_ms)),
                link.and_then(|link| link.age_s).map_or_else(|| "-".to_owned(), |age| format!("{age:.0}s")),
                entry.boot.clone(),
                entry.capacity.map_or_else(|| "-".to_owned(), |capacity| capacity.to_string()),
                entry.used.to_string(),
                or_dash(Some(labels(entry).as_str()).filter(|labels| !labels.is_empty())),
            ]
        });
        let head =
            ["FULCRUM", "STATE", "HORDE", "ROLE", "ADDRESS", "SINCE", "RTT", "LINK", "BOOT", "HAS", "IN USE", "LABELS"];
        return table(head, rows);
    }
    let rows = roster.iter().map(|entry| {
        let rtt = ms(entry.link.and_then(|link| link.rtt_ms));
        let horde = or_dash(entry.horde.as_deref());
        [entry.name.clone(), word(&entry.state), horde, admin(entry), entry.addr.clone(), rtt]
    });
    table(["FULCRUM", "STATE", "HORDE", "ROLE", "ADDRESS", "RTT"], rows)
}

pub(super) fn outside_table(outside: &[Outside]) -> String {
    if outside.is_empty() {
        return String::new();
    }
    let rows = outside.iter().map(|entry| {
        let name = or_dash(entry.name.as_deref());
        [name, entry.addr.clone(), word(&entry.state), age(entry.last_seen.as_deref()), entry.reason.clone()]
    });
    table(["OUTSIDE", "ADDRESS", "STATE", "SEEN", "REASON"], rows)
}

fn expelled_table(expelled: &[Expelled]) -> String {
    if expelled.is_empty() {
        return String::new();
    }
    let rows = expelled.iter().map(|one| {
        let up_to = one.admission.to_string();
        [one.node.clone(), up_to, one.by.clone(), age(Some(&one.at)), one.reason.clone()]
    });
    table(["EXPELLED", "UP TO", "BY", "AGO", "REASON"], rows)
}

/// A reason, whole only where it was asked for.
fn why(text: &str, wide: bool) -> String {
    if wide { text.to_owned() } else { brief(text) }
}

fn sorted(names: &[String]) -> String {
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.sort_unstable();
    names.join(" ")
}

/// Hordes.
pub(super) fn hordes_table(hordes: &[Horde]) -> String {
    let rows = hordes.iter().map(|horde| {
        [
            horde.name.clone(),
            word(&horde.state),
            or_dash(horde.want),
            sorted(&horde.present),
            sorted(&horde.absent),
            sorted(&horde.substitutes),
            horde.why.clone(),
        ]
    });
    table(["HORDE", "STATE", "WANT", "PRESENT", "ABSENT", "SUBSTITUTES", "WHY"], rows)
}

fn services_table(services: &[Service], wide: bool) -> String {
    if services.is_empty() {
        return String::new();
    }
    let rows = services.iter().map(|service| {
        let not_ready = [
            ("late", service.late),
            ("dead", service.dead),
            ("gone", service.gone),
            ("unknown", service.unknown),
            ("surplus", service.surplus),
        ];
        let not_ready: Vec<String> =
            not_ready.iter().filter(|(_, count)| *count > 0).map(|(word, count)| format!("{count} {word}")).collect();
        [
            format!("{}/{}", service.horde, service.service),
            or_dash(service.should),
            service.ready.to_string(),
            not_ready.join(" "),
            service.revision.as_deref().map(short).unwrap_or_default(),
            why(&service.why, wide),
        ]
    });
    table(["SERVICE", "SHOULD", "READY", "OTHERS", "REVISION", "WHY"], rows)
}

fn instances_table(instances: &[Instance], wide: bool) -> String {
    if instances.is_empty() {
        return String::new();
    }
    let ports = |instance: &Instance| {
        instance.ports.iter().map(|(name, port)| format!("{name}={port}")).collect::<Vec<_>>().join(" ")
    };
    if wide {
        let rows = instances.iter().map(|instance| {
            [
                instance.name.clone(),
                instance.node.clone(),
                word(&instance.state),
                or_dash(instance.pid),
                age(instance.started.as_deref()),
                instance.restarts.to_string(),
                ports(instance),
                short(&instance.revision),
                instance.id.clone(),
                format!("{} by {}", word(&instance.claim.kind), or_dash(instance.claim.by.as_deref())),
                instance.why.clone(),
            ]
        });
        let head = ["INSTANCE", "NODE", "STATE", "PID", "AGE", "RESTARTS", "PORTS", "REVISION", "ID", "CLAIM", "WHY"];
        return table(head, rows);
    }
    let rows = instances.iter().map(|instance| {
        [
            instance.name.clone(),
            instance.node.clone(),
            word(&instance.state),
            or_dash(instance.pid),
            age(instance.started.as_deref()),
            ports(instance),
            why(&instance.why, false),
        ]
    });
    table(["INSTANCE", "NODE", "STATE", "PID", "AGE", "PORTS", "WHY"], rows)
}
