//! From the engine's picture to the documents that tools parse: names to texts, moments to RFC 3339, and nothing else.

use crate::ask::Now;
use crate::seek::Names;
use crate::turned_away::{Attempt, Attempts};
use crux_api::json;
use crux_api::json::Counter;
use crux_core::engine::Engine;
use crux_core::flock;
use crux_core::picture;
use crux_names::{Duration, FulcrumId, Member, NodeName, Wall};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// The links from here, by peer, each with the peer's API port.
pub(crate) type LinkTable = BTreeMap<Member, (json::Link, Option<SocketAddr>)>;

/// What of a status the engine does not know: the node's own affairs.
pub(crate) struct Own {
    /// This fulcrum's certificate.
    pub(crate) certificate: json::Certificate,
    /// How far its wall clock is ahead of the middle of its peers', in milliseconds.
    pub(crate) skew_ms: Option<i64>,
    /// Its store.
    pub(crate) store: json::Store,
    /// Its links, by peer.
    pub(crate) links: LinkTable,
    /// Who was refused here of late.
    pub(crate) turned_away: Attempts,
    /// Names of its lists that lead nowhere.
    pub(crate) nowhere: Names,
    /// Where it listens.
    pub(crate) listens: json::Listens,
    /// The admission of its certificate.
    pub(crate) admission: u32,
}

/// A wall-clock moment as documents have it: RFC 3339 in UTC with microseconds.
pub(crate) fn moment(wall: Wall) -> String {
    let micros = i64::try_from(wall.0).unwrap_or(i64::MAX);
    jiff::Timestamp::from_microsecond(micros).map_or_else(|_| wall.0.to_string(), |at| format!("{at:.6}"))
}

/// Whole seconds since the Unix epoch as documents have them.
pub(crate) fn second(secs: u64) -> String {
    moment(Wall(secs.saturating_mul(1_000_000)))
}

fn ago(now: Wall, age: Duration) -> Wall {
    Wall(now.0.saturating_sub(u64::try_from(age.as_micros()).unwrap_or(u64::MAX)))
}

fn ahead(now: Wall, wait: Duration) -> Wall {
    Wall(now.0.saturating_add(u64::try_from(wait.as_micros()).unwrap_or(0)))
}

fn names<'a>(ids: impl IntoIterator<Item = &'a FulcrumId>) -> Vec<String> {
    ids.into_iter().map(ToString::to_string).collect()
}

/// The confab.
pub(crate) fn confab(from: &picture::Confab) -> json::Confab {
    json::Confab {
        bloc: from.bloc.to_string(),
        node: from.me.id.node.to_string(),
        fulcrum: from.me.id.fulcrum.to_string(),
        boot: from.me.boot.to_string(),
        flock: from.flock.clone(),
        epoch: Counter(from.epoch),
        view: from.view.to_string(),
        leader: from.leader.to_string(),
        stable: from.stable,
        members: names(&from.members),
        horde: from.horde.as_ref().map(ToString::to_string),
        admin: names(&from.admin),
        steward: from.steward.as_ref().map(ToString::to_string),
        yurt: from.yurt.as_ref().map(ToString::to_string),
        at: moment(from.at),
    }
}

/// The status, with what only the node knows.
pub(crate) fn status(from: &picture::Status, own: Own) -> json::Status {
    json::Status {
        put_out: put_out(from, &own.turned_away, own.admission),
        confab: confab(&from.confab),
        roster: roster(from, &own.links),
        siblings: siblings_of(from),
        outside: outside(from, &own.turned_away, &own.nowhere),
        hordes: hordes(from),
        services: services(from),
        instances: instances(from),
        facts: json::Facts {
            count: from.facts.count,
            digest: from.facts.digest.to_string(),
            conflicts: from.facts.conflicts,
            quarantined: from.facts.quarantined,
        },
        certificate: own.certificate,
        expelled: from.expelled.iter().map(expelled).collect(),
        clones: from.clones.iter().map(twins).collect(),
        expect: from.expect,
        lacking: from.lacking.clone(),
        sick: from.sick,
        clock: json::Clock { skew_ms: own.skew_ms },
        store: own.store,
        listens: own.listens,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// Flocks of the bloc as seen from here.
pub(crate) fn flocks(from: &picture::Status, turned_away: &Attempts, nowhere: &Names) -> json::FlockList {
    let own = confab(&from.confab);
    json::FlockList {
        flock: json::Flock {
            flock: own.flock,
            leader: own.leader,
            epoch: own.epoch,
            view: own.view,
            stable: own.stable,
            members: own.members,
            expect: from.expect,
            visitors: {
                let mut visitors = names(from.roster.iter().filter(|line| line.visitor).map(|line| &line.member.id));
                visitors.sort();
                visitors
            },
        },
        siblings: siblings_of(from),
        outside: outside(from, turned_away, nowhere),
    }
}

/// Members in order of seniority.
pub(crate) fn roster(from: &picture::Status, links: &LinkTable) -> Vec<json::RosterEntry> {
    let line = |line: &picture::RosterLine| json::RosterEntry {
        name: line.member.id.to_string(),
        addr: line.addr.to_string(),
        api: links.get(&line.member).and_then(|(_, api)| *api).map(|addr| addr.to_string()),
        boot: line.member.boot.to_string(),
        since: Some(moment(line.since)),
        horde: line.horde.as_ref().map(|horde| if line.joining { format!("+{horde}") } else { horde.to_string() }),
        admin: line.admin,
        visitor: line.visitor,
        admission: line.admission,
        labels: line.labels.clone(),
        capacity: line.capacity.map(Into::into),
        used: line.used.into(),
        stands_in: line.stands_in.as_ref().map(|(horde, _)| horde.to_string()),
        stands_for: line.stands_in.as_ref().map(|(_, of)| of.to_string()),
        cordoned: line.cordon.is_some(),
        draining: line.cordon.as_ref().is_some_and(|cordon| cordon.drain),
        cordon_reason: line.cordon.as_ref().map(|cordon| cordon.reason.clone()),
        state: match line.state {
            picture::MemberState::Member => json::MemberState::Member,
            picture::MemberState::Suspect => json::MemberState::Suspect,
        },
        link: links.get(&line.member).map(|(link, _)| *link),
    };
    from.roster.iter().map(line).collect()
}

/// Other flocks of the bloc in this status.
pub(crate) fn siblings_of(from: &picture::Status) -> Vec<json::Sibling> {
    from.siblings.iter().map(|line| sibling(line, from.at)).collect()
}

/// Other flocks of the bloc as this engine sees them.
pub(crate) fn siblings(engine: &Engine, now: Now) -> Vec<json::Sibling> {
    engine.flock_room().status(now.time).siblings.iter().map(|line| sibling(line, now.wall)).collect()
}

fn sibling(from: &flock::Sibling, now: Wall) -> json::Sibling {
    let (apart, pair) = match &from.apart {
        flock::Apart::Merging => (json::Apart::Merging, None),
        flock::Apart::BrokenPair(a, b) => {
            // Whichever of the two says it, it is one pair.
            let mut pair = [a.id.to_string(), b.id.to_string()];
            pair.sort();
            (json::Apart::BrokenPair, Some(pair))
        }
        flock::Apart::FlapHold => (json::Apart::FlapHold, None),
        flock::Apart::Busy => (json::Apart::Busy, None),
    };
    json::Sibling {
        flock: from.head.header.name.clone(),
        leader: from.head.header.leader.to_string(),
        size: from.head.header.size,
        apart,
        pair,
        until: from.until.map(|wait| moment(ahead(now, wait))),
    }
}

fn expelled(from: &picture::ExpelledLine) -> json::Expelled {
    json::Expelled {
        node: from.node.to_string(),
        admission: from.up_to,
        by: from.by.clone(),
        at: moment(from.at),
        reason: from.reason.clone(),
    }
}

/// Whether this node was put out of the bloc: by an operator's fact, or, where that has not come here, by what others refuse
/// it with. One of them could lie about that, so it is named.
pub(crate) fn put_out(from: &picture::Status, turned_away: &Attempts, admission: u32) -> Option<json::PutOut> {
    let me = &from.confab.me.id;
    let next = format!("crux ca issue --node {} --readmit lets it in again, if that is wanted", me.node);
    if let Some(line) = from.expelled.iter().find(|line| line.node == me.node && line.up_to >= admission) {
        let why = if line.reason.is_empty() { String::new() } else { format!(": {}", line.reason) };
        let at = moment(line.at);
        return Some(json::PutOut {
            text: format!("this node was EXPELLED by {} at {at}{why}; {next}", line.by),
            by: Some(line.by.clone()),
            at: Some(at),
            reason: Some(line.reason.clone()),
            told_by: None,
        });
    }
    let of_me = format!("node {}{EXPELLED}", me.node);
    let refuses = from.outside.iter().filter(|line| line.who.refused && line.who.why.contains(&of_me));
    let refuses =
        refuses.map(|line| line.who.fulcrum.as_ref().map_or_else(|| line.who.addr.to_string(), ToString::to_string));
    let came =
        turned_away.iter().filter(|(_, attempt)| attempt.reason.contains(&of_me)).map(|(addr, _)| addr.to_string());
    let who = refuses.chain(came).next()?;
    Some(json::PutOut {
        text: format!(
            "this node was EXPELLED, as {who} says, who refuses it, and where it stands who did it and why; {next}"
        ),
        by: None,
        at: None,
        reason: None,
        told_by: Some(who),
    })
}

/// The same as a reason, for whoever asks about this node or why its flock is apart.
pub(crate) fn why_put_out(me: &FulcrumId, put_out: json::PutOut) -> picture::Reason {
    picture::Reason {
        subject: me.to_string(),
        state: "expelled".into(),
        since: None,
        rule: "expulsion".into(),
        inputs: Vec::new(),
        text: put_out.text,
    }
}

/// Two that live under one identity.
pub(crate) fn twins((fulcrum, addrs): &(FulcrumId, [SocketAddr; 2])) -> json::Twins {
    json::Twins { name: fulcrum.to_string(), addrs: addrs.map(|addr| addr.to_string()) }
}

/// What a refusal says, ours or theirs, of a node that was put out.
const EXPELLED: &str = " was expelled";
/// How a refusal begins, ours or theirs, where two blocs meet.
const OTHER_BLOC: &str = "certificate of bloc ";

/// The node that a refusal says was put out.
fn expelled_in(why: &str) -> Option<NodeName> {
    let before = why.split_once(EXPELLED)?.0;
    NodeName::parse(before.rsplit_once("node ")?.1).ok()
}

/// `me` is not the one who is outside: a refusal that says that this node was put out says nothing of who refuses it.
fn outside_state(me: &NodeName, refused: bool, why: &str) -> json::OutsideState {
    match refused {
        true if expelled_in(why).is_some_and(|node| node != *me) => json::OutsideState::Expelled,
        true if why.contains(OTHER_BLOC) => json::OutsideState::OtherBloc,
        true => json::OutsideState::Refused,
        false => json::OutsideState::Silent,
    }
}

/// Who is in no flock that is seen from here: whom this fulcrum looks for, then who came by itself and was refused, then names
/// that lead nowhere.
pub(crate) fn outside(from: &picture::Status, turned_away: &Attempts, nowhere: &Names) -> Vec<json::Outside> {
    let me = &from.confab.me.id.node;
    // Whoever is refused with its name in the words is known by it, wherever it came from.
    let named = |why: &str| expelled_in(why).filter(|node| node != me).map(|node| node.to_string());
    let line = |line: &picture::OutsideLine| json::Outside {
        name: line.who.fulcrum.as_ref().map(ToString::to_string).or_else(|| named(&line.who.why)),
        addr: line.who.addr.to_string(),
        last_seen: line.last_seen.map(moment),
        state: outside_state(me, line.who.refused, &line.who.why),
        reason: line.who.why.clone(),
    };
    let attempts = strangers(from, turned_away).map(|(addr, attempt)| json::Outside {
        name: named(&attempt.reason),
        addr: addr.to_string(),
        last_seen: Some(moment(attempt.at)),
        state: outside_state(me, true, &attempt.reason),
        reason: attempt.reason.clone(),
    });
    let lost = nowhere.iter().map(|(name, lost)| json::Outside {
        name: None,
        addr: name.clone(),
        last_seen: None,
        state: json::OutsideState::Silent,
        reason: format!("{} names it, and it does not resolve: {}", lost.list.display(), lost.why),
    });
    from.outside.iter().map(line).chain(attempts).chain(lost).collect()
}

/// Those that came by themselves and that nothing else is known of.
pub(crate) fn strangers<'a>(
    from: &'a picture::Status,
    turned_away: &'a Attempts,
) -> impl Iterator<Item = (&'a SocketAddr, &'a Attempt)> {
    let known = |addr: &SocketAddr| {
        from.outside.iter().any(|line| line.who.addr == *addr) || from.roster.iter().any(|line| line.addr == *addr)
    };
    turned_away.iter().filter(move |(addr, _)| !known(addr))
}

/// Why somebody has no link who came by itself.
pub(crate) fn turned_away(addr: SocketAddr, attempt: Attempt, now: Wall) -> picture::Reason {
    picture::Reason {
        subject: addr.to_string(),
        state: "refused".into(),
        since: None,
        rule: "admission".into(),
        inputs: vec![(
            "last tried".into(),
            format!("{} ago", crux_pki::span(now.secs().saturating_sub(attempt.at.secs()))),
        )],
        text: attempt.reason,
    }
}

/// Hordes.
pub(crate) fn hordes(from: &picture::Status) -> Vec<json::Horde> {
    let line = |line: &picture::HordeLine| json::Horde {
        name: line.name.to_string(),
        want: line.want,
        home: names(&line.home),
        present: names(&line.present),
        absent: names(&line.absent),
        substitutes: names(line.substitutes.iter().map(|substitute| &substitute.id)),
        why: line.why.clone(),
        quota: line.quota.map(Into::into),
        used: line.used.into(),
        state: match line.state {
            picture::HordeState::Whole => json::HordeState::Whole,
            picture::HordeState::Parted => json::HordeState::Parted,
            picture::HordeState::Thin => json::HordeState::Thin,
        },
    };
    from.hordes.iter().map(line).collect()
}

fn claim(from: &picture::Claim) -> json::Claim {
    json::Claim {
        kind: match from.kind {
            picture::ClaimKind::Should => json::ClaimKind::Should,
            picture::ClaimKind::Reported => json::ClaimKind::Reported,
            picture::ClaimKind::Believed => json::ClaimKind::Believed,
        },
        by: Some(from.by.to_string()),
        at: Some(moment(from.at)),
    }
}

/// Services: what should be, and how it is.
pub(crate) fn services(from: &picture::Status) -> Vec<json::Service> {
    let line = |line: &picture::ServiceLine| json::Service {
        horde: line.of.horde.to_string(),
        service: line.of.service.to_string(),
        revision: line.revision.map(|revision| revision.to_string()),
        plan: line.plan.as_ref().map(|plan| Counter(plan.generation)),
        should: line.should,
        ready: line.ready,
        late: line.late,
        dead: line.dead,
        gone: line.gone,
        unknown: line.unknown,
        surplus: line.surplus,
        why: line.why.clone(),
        claim: match &line.claim {
            Some(by) => claim(by),
            None => json::Claim { kind: json::ClaimKind::Should, by: None, at: None },
        },
    };
    from.services.iter().map(line).collect()
}

/// Instances.
pub(crate) fn instances(from: &picture::Status) -> Vec<json::Instance> {
    let line = |line: &picture::InstanceLine| json::Instance {
        id: line.id.to_string(),
        name: format!("{}.{}", line.of, line.slot),
        horde: line.of.horde.to_string(),
        service: line.of.service.to_string(),
        node: line.node.to_string(),
        pid: line.pid,
        started: line.started.map(moment),
        state: match line.state {
            picture::InstanceState::Pending => json::InstanceState::Pending,
            picture::InstanceState::Starting => json::InstanceState::Starting,
            picture::InstanceState::Ready => json::InstanceState::Ready,
            picture::InstanceState::Late => json::InstanceState::Late,
            picture::InstanceState::Dead => json::InstanceState::Dead,
            picture::InstanceState::Stopping => json::InstanceState::Stopping,
            picture::InstanceState::Gone => json::InstanceState::Gone,
            picture::InstanceState::Done => json::InstanceState::Done,
        },
        revision: line.revision.map(|revision| revision.to_string()).unwrap_or_default(),
        ports: line.ports.clone(),
        restarts: line.restarts,
        why: line.why.clone(),
        claim: claim(&line.claim),
    };
    from.instances.iter().map(line).collect()
}

/// What heartbeats in ADMIN.
pub(crate) fn programs(from: &picture::Status) -> Vec<json::Program> {
    from.programs.iter().map(program).collect()
}

/// A program that heartbeats in ADMIN.
pub(crate) fn program(line: &picture::ProgramLine) -> json::Program {
    let (state, why) = &line.state;
    json::Program {
        name: line.name.clone(),
        node: line.node.to_string(),
        started: Some(moment(line.started)),
        state: match state {
            picture::ProgramState::Answers => json::ProgramState::Answers,
            picture::ProgramState::Waits => json::ProgramState::Waits,
            picture::ProgramState::Silent => json::ProgramState::Silent,
        },
        why: why.clone(),
    }
}

/// What is in the register of services.
pub(crate) fn access(from: &[picture::AccessLine]) -> Vec<json::AccessEntry> {
    let line = |line: &picture::AccessLine| {
        let entry = &line.entry;
        json::AccessEntry {
            horde: entry.of.horde.to_string(),
            service: entry.of.service.to_string(),
            name: entry.name.clone(),
            addrs: entry.addrs.clone(),
            labels: entry.labels.clone(),
            by: entry.by.to_string(),
            since: moment(entry.since),
            state: line.health.map(|health| health.word().to_owned()),
            claim: claim(&line.claim),
        }
    };
    from.iter().map(line).collect()
}

/// Reasons as one document: the decisive one first.
pub(crate) fn why(subject: &str, reasons: &[picture::Reason], by: &FulcrumId, now: Wall) -> Option<json::Why> {
    let first = reasons.first()?;
    // A number beside the reason; what is a sentence itself stands by itself.
    let long = |name: &str, value: &str| name.contains(' ') || value.len() > 60;
    let sentences = |reason: &picture::Reason| -> Vec<String> {
        let inputs = reason.inputs.iter().filter(|(name, value)| !long(name, value));
        let inputs: Vec<String> = inputs.map(|(name, value)| format!("{name}: {value}")).collect();
        let inputs = if inputs.is_empty() { String::new() } else { format!(" ({})", inputs.join(", ")) };
        let whose = if reason.subject == first.subject { String::new() } else { format!("{}: ", reason.subject) };
        let more = reason.inputs.iter().filter(|(name, value)| long(name, value));
        let more = more.map(|(name, value)| format!("{name}: {value}"));
        [format!("{whose}{}{inputs}", reason.text)].into_iter().chain(more).collect()
    };
    Some(json::Why {
        subject: subject.to_owned(),
        state: first.state.clone(),
        since: first.since.map(|age| moment(ago(now, age))),
        rule: (!first.rule.is_empty()).then(|| json::WhyRule { id: first.rule.clone(), text: first.text.clone() }),
        by: Some(by.to_string()),
        reasons: reasons.iter().flat_map(sentences).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_bloc_is_told_from_other_refusals() {
        let me: NodeName = "n1".parse().unwrap();
        let outside_state = |refused, why: &str| outside_state(&me, refused, why);
        let refusal = crux_pki::Refusal::OtherBloc { theirs: "a".into(), ours: "b".into() };
        assert_eq!(outside_state(true, &format!("refused: {refusal}")), json::OutsideState::OtherBloc);
        let refusal = crux_pki::Refusal::Expelled { node: "n7".into(), up_to: 1 };
        assert_eq!(outside_state(true, &format!("refused: {refusal}")), json::OutsideState::Expelled);
        assert_eq!(expelled_in(&format!("refused by 10.0.0.1:2789: {refusal}")), Some("n7".parse().unwrap()));
        assert_eq!(expelled_in(&refusal.to_string()), Some("n7".parse().unwrap()));
        // Who refuses the one that was put out was not put out itself.
        let refusal = crux_pki::Refusal::Expelled { node: "n1".into(), up_to: 1 };
        assert_eq!(outside_state(true, &format!("refused: {refusal}")), json::OutsideState::Refused);
        assert_eq!(outside_state(true, "certificate expired"), json::OutsideState::Refused);
    }

    #[test]
    fn moments_are_rfc_3339_with_microseconds() {
        assert_eq!(moment(Wall(1_769_860_800_123_456)), "2026-01-31T12:00:00.123456Z");
        assert_eq!(second(1_769_860_800), "2026-01-31T12:00:00.000000Z");
    }
}
