//! What is wrong, each with its cause and what to do next. It looks at this fulcrum and asks its neighbours; it changes
//! nothing.

mod clock;
mod ends;
mod reach;
mod refusals;

pub(super) use ends::certificates;
pub(super) use refusals::{Own, Refusals};

use super::Door;
use super::answer::{Answer, doc};
use super::links::{ASKED_MAX, Sights, siblings, survey};
use super::show;
use super::vouched;
use crate::peers::{AskSight, judged, let_in};
use crate::seek::{Lost, Names};
use crate::skew;
use crate::turned_away::Attempts;
use axum::extract::State;
use clock::clock;
use crux_api::json::{Doctor, Finding, FindingState, Sibling};
use crux_core::flock::Outside;
use crux_core::flock::discovery::LEFT;
use crux_core::picture::{RosterLine, Status};
use crux_link::LinkInfo;
use crux_names::{FulcrumId, Member};
use crux_pki::{count, unix_now};
use reach::reach;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use tokio::task::JoinSet;

/// A path whose longest datagram is shorter did not carry the first packet that was tried beyond the 1,200 bytes that RFC 9000
/// asks of every path: 1,326, of which 1,288 are left for a datagram. With 1,200 it is 1,162.
const DATAGRAM_WARN: u32 = 1_250;
/// Keys that are younger may not have been followed by that packet and its answer.
const SEARCHED_MS: u64 = 5_000;
/// Free space of the state directory that is worth a word, and that is too little to go on with.
const SPACE_WARN: u64 = 512 << 20;
const SPACE_WRONG: u64 = 64 << 20;

/// Where each member's mesh port is, and what came of knocking there.
type Knocks = BTreeMap<Member, (SocketAddr, Result<(), String>)>;

/// `GET /v1/doctor`.
pub(super) async fn doctor(State(door): State<Door>) -> Answer {
    let status = door.status().await?;
    let links = door.links.links();
    let others: Vec<Member> =
        status.roster.iter().map(|line| line.member.clone()).filter(|it| *it != door.me).collect();
    let ask = AskSight { try_api: true, try_mesh: true, clock_only: false };
    let (sights, clocks, ports, knocks) = tokio::join!(
        survey(&door, &status, ask),
        skew::ahead_of(&door.peers, others.into_iter().take(ASKED_MAX).collect()),
        try_ports(&status, &door.me, &links),
        knock(&status, &door, &links),
    );
    let mut findings = Vec::new();
    let others = siblings(&show::siblings_of(&status), &status, &sights);
    let turned_away = door.turned_away.of_late();
    let refusals = Refusals::of(&status, &turned_away).and_members(&knocks, &sights);
    findings.extend(admission(&door, &status, &refusals));
    findings.extend(flock(&status, &others, &turned_away, &refusals));
    findings.extend(lists(&door.nowhere.now()));
    findings.extend(clock(clocks, &door.me));
    findings.extend(mesh(&door, &links, &sights, &knocks));
    findings.extend(api(&door, &sights, &ports));
    findings.extend(datagrams(&sights, &door.me));
    findings.extend(certificates(&door, &links));
    findings.extend(state(&door));
    findings.extend(vouched::standing(&door).await);
    findings.extend(audit(&door));
    let members: Vec<&FulcrumId> = status.roster.iter().map(|line| &line.member.id).collect();
    findings.extend(reach(&door.me.id, &status.confab.flock, &members, &sights, &refusals));
    Ok(doc(Doctor { node: door.me.id.to_string(), at: show::moment(crate::wall()), findings }))
}

pub(super) fn fine(check: &str, subject: impl ToString, text: impl Into<String>) -> Finding {
    let (check, subject) = (check.to_owned(), subject.to_string());
    Finding { check, state: FindingState::Ok, subject, text: text.into(), next: None }
}

pub(super) fn found(
    check: &str,
    state: FindingState,
    subject: impl ToString,
    text: impl Into<String>,
    next: impl Into<String>,
) -> Finding {
    Finding { state, next: Some(next.into()), ..fine(check, subject, text) }
}

/// That this node is out of the bloc: then whatever else is found follows from it.
pub(super) fn put_out(door: &Door, status: &Status) -> Option<Finding> {
    let out = show::put_out(status, &door.turned_away.of_late(), door.papers.now().admission())?;
    let (text, next) = out.text.rsplit_once("; ").unwrap_or((out.text.as_str(), "crux why flock"));
    Some(found("expelled", FindingState::Wrong, &door.me.id, text, next))
}

/// That this node is out of the bloc, and who is kept apart by a certificate, a root or a clock.
pub(super) fn admission(door: &Door, status: &Status, refusals: &Refusals) -> Vec<Finding> {
    let out = put_out(door, status);
    let own = Own { id: &door.me.id, life: door.papers.now().lifetime(), put_out: out.is_some(), now: unix_now() };
    out.into_iter().chain(refusals.findings(status, &own)).collect()
}

pub(super) fn flock(
    status: &Status,
    siblings: &[Sibling],
    turned_away: &Attempts,
    refusals: &Refusals,
) -> Vec<Finding> {
    use FindingState::{Warning, Wrong};
    let (name, size) = (&status.confab.flock, status.roster.len());
    let mut findings = Vec::new();
    let full = status.full_members();
    if let Some(expect) = status.expect.filter(|expect| full < *expect as usize) {
        let text = format!("it has {full} of the {expect} members that are expected");
        findings.push(found("flock", Wrong, name, text, "crux why flock"));
    } else if size == 1 && status.expect != Some(1) && refusals.is_empty() {
        let text = "this fulcrum is alone in it; where that is meant, --expect 1 says so";
        findings.push(found("flock", Warning, name, text, "crux why flock"));
    }
    for sibling in siblings {
        let size = count(sibling.size as usize, "member");
        let text = format!("it is apart, with {size} led by {}", sibling.leader);
        let (text, next) = match &sibling.pair {
            Some([a, b]) => (
                format!("{text}: {a} and {b} cannot talk directly, or not in time"),
                format!("open the mesh port (UDP) in both directions between {a} and {b}, or look for loss"),
            ),
            None => (text, "crux why flock".to_owned()),
        };
        findings.push(found("flock", Warning, &sibling.flock, text, next));
    }
    let leads = |id: &FulcrumId| siblings.iter().any(|sibling| sibling.leader == id.to_string());
    let told = |who: &Outside| {
        // Who left on purpose is missed by nobody.
        let left = !who.refused && who.why == LEFT;
        left || (who.refused && refusals::is_one(&who.why)) || who.fulcrum.as_ref().is_some_and(leads)
    };
    for line in status.outside.iter().filter(|line| !told(&line.who)) {
        let subject = line.who.fulcrum.as_ref().map_or_else(|| line.who.addr.to_string(), ToString::to_string);
        let how = if line.who.refused { "refuses or is refused" } else { "is silent" };
        let text = format!("it {how} at {}: {}", line.who.addr, line.who.why);
        let next = match &line.who.fulcrum {
            Some(id) => format!("crux why node {id}; only if it is gone for good: crux node forget {id}"),
            None => "crux why flock; take the address out of seeds and lists if nobody should be there".to_owned(),
        };
        findings.push(found("flock", Warning, subject, text, next));
    }
    let strangers = show::strangers(status, turned_away);
    for (addr, attempt) in strangers.filter(|(_, attempt)| !refusals::is_one_at_door(&attempt.reason)) {
        let text = format!("no link came of its last try: {}", attempt.reason);
        findings.push(found("flock", Warning, addr, text, "look into its own log: it says the same from its side"));
    }
    for (id, addrs) in &status.clones {
        let text = format!("two nodes live with this identity, or did, at {} and {}", addrs[0], addrs[1]);
        let next = match addrs[0].ip() == addrs[1].ip() {
            // Most likely nobody copied anything.
            true => format!(
                "give one of the two another fulcrum's name, crux up --fulcrum NAME; then crux node forget {id}"
            ),
            false => format!(
                "stop the copy and issue a certificate under another name for it; when only one is left, crux node forget \
                 {id} at each fulcrum that shows this"
            ),
        };
        findings.push(found("flock", Wrong, id, text, next));
    }
    if findings.is_empty() && refusals.is_empty() {
        let stable = if status.confab.stable { "stable" } else { "not stable yet" };
        findings.push(fine("flock", name, format!("{}, {stable}, nobody apart", count(size, "member"))));
    }
    findings
}

/// Names in lists to search that lead nowhere.
pub(super) fn lists(nowhere: &Names) -> Vec<Finding> {
    let lost = |(name, lost): (&String, &Lost)| {
        let text = format!("{} names it, and it does not resolve: {}", lost.list.display(), lost.why);
        let host = name.rsplit_once(':').map_or(name.as_str(), |(host, _)| host);
        let next = format!(
            "correct the line, or look after the resolver (getent hosts {host}); a list is read again when it changes"
        );
        found("list", FindingState::Warning, name, text, next)
    };
    nowhere.iter().map(lost).collect()
}

/// At the mesh port of every member, as somebody who is not linked yet.
async fn knock(status: &Status, door: &Door, links: &[LinkInfo]) -> Knocks {
    let others = status.roster.iter().filter(|line| line.member != door.me).take(ASKED_MAX);
    let at = |line: &RosterLine| {
        let link = links.iter().find(|link| link.peer.member == line.member);
        link.map_or(line.addr, |link| link.peer.addr)
    };
    let asked: Vec<(Member, SocketAddr)> = others.map(|line| (line.member.clone(), at(line))).collect();
    let outcomes = door.links.knock(asked.iter().map(|(_, addr)| *addr).collect()).await;
    let outcomes: BTreeMap<SocketAddr, _> = outcomes.into_iter().collect();
    let knocked = asked.into_iter().filter_map(|(member, addr)| {
        let outcome = judged(outcomes.get(&addr)?.clone(), &member.id.node);
        Some((member, (addr, outcome)))
    });
    knocked.collect()
}

fn mesh(door: &Door, links: &[LinkInfo], sights: &Sights, knocks: &Knocks) -> Vec<Finding> {
    let mine = door.listens.mesh.as_deref().unwrap_or("of this fulcrum");
    mesh_port(&door.me, mine, links, sights, knocks)
}

/// In the words of a refusal: somebody answers, so no port is shut.
const REFUSED: &str = "refused";

fn certificates_not_ports(id: &FulcrumId) -> String {
    format!("no port is shut: look at the certificates and clocks of both (crux ca inspect BUNDLE); crux why node {id}")
}

/// A path that carries no packets of QUIC's least size looks like a shut port to whoever is new, while old links live on.
fn or_too_narrow(addr: SocketAddr) -> String {
    let (family, payload) = if addr.is_ipv4() { (4, 1_252) } else { (6, 1_232) };
    format!(", and see that 1,280 bytes get there (ping -{family} -M do -s {payload} -c 3 {})", addr.ip())
}

fn mesh_port(me: &Member, mine: &str, links: &[LinkInfo], sights: &Sights, knocks: &Knocks) -> Vec<Finding> {
    use FindingState::Wrong;
    let (mut here, mut there, mut findings) = (0, 0, Vec::new());
    // Told elsewhere, with its cause.
    let mut refused = false;
    for (member, (addr, outcome)) in knocks {
        let dialed = links.iter().find(|link| link.peer.member == *member).map(|link| link.dialed);
        match dialed {
            Some(true) => here += 1,
            Some(false) => there += 1,
            None => {}
        }
        let id = &member.id;
        let (text, next) = match (dialed, outcome) {
            (Some(_), Ok(())) => continue,
            (_, Err(cause)) if refusals::is_one(cause) => {
                refused = true;
                continue;
            }
            (None, Ok(())) => (
                format!("there is no link to it, though it is in this flock and its mesh port {addr}/udp answers"),
                format!("crux why node {id}"),
            ),
            (Some(_), Err(cause)) => (
                format!("its mesh port {addr}/udp is not reached from here by anybody new: {cause}; the link lives on"),
                match cause.contains(REFUSED) {
                    true => certificates_not_ports(id),
                    false => format!(
                        "open UDP {} of {id} for this machine{}; otherwise only {id} can make the next link",
                        addr.port(),
                        or_too_narrow(*addr)
                    ),
                },
            ),
            (None, Err(cause)) => (
                format!("there is no link to it, though it is in this flock; its mesh port {addr}/udp: {cause}"),
                match cause.contains(REFUSED) {
                    true => certificates_not_ports(id),
                    false => format!(
                        "open UDP {} in both directions{}; crux why node {id}",
                        addr.port(),
                        or_too_narrow(*addr)
                    ),
                },
            ),
        };
        findings.push(found("mesh-port", Wrong, id, text, next));
    }
    let mut seen = 0;
    for (member, sight) in sights.iter().filter(|(member, _)| *member != me) {
        match sight.as_ref().ok().and_then(|sight| sight.mesh.as_ref()) {
            Some(Err(cause)) if refusals::is_one(cause) => refused = true,
            Some(Err(cause)) => {
                let answered = cause.contains(REFUSED);
                // In the words of who knocked, whose "here" is there.
                let cause = cause.replace(" is refused here: ", " is refused there: ");
                let text = format!("the mesh port here, {mine}/udp, is not reached from there by anybody new: {cause}");
                let next = match answered {
                    true => certificates_not_ports(&member.id),
                    false => format!("open UDP of {mine} on this machine for {}", member.id),
                };
                findings.push(found("mesh-port", Wrong, &member.id, text, next));
            }
            Some(Ok(())) => seen += 1,
            None => {}
        }
    }
    if findings.is_empty() && !knocks.is_empty() && !refused {
        let answer =
            if knocks.len() == 1 { "1 port answers".to_owned() } else { format!("{} ports answer", knocks.len()) };
        let text = format!(
            "linked with every member, {here} dialled from here, {there} from there; {answer} here, and this one \
             answered {seen}"
        );
        findings.push(fine("mesh-port", &me.id, text));
    }
    findings
}

/// From here to the API port of every linked member.
async fn try_ports(
    status: &Status,
    me: &Member,
    links: &[LinkInfo],
) -> BTreeMap<Member, (SocketAddr, Result<(), String>)> {
    let mut tries = JoinSet::new();
    for line in status.roster.iter().filter(|line| line.member != *me) {
        if let Some(link) = links.iter().find(|link| link.peer.member == line.member && link.peer.api_port != 0) {
            let (member, addr) = (line.member.clone(), SocketAddr::new(link.peer.addr.ip(), link.peer.api_port));
            tries.spawn(async move { (member, (addr, let_in(addr).await)) });
        }
    }
    tries.join_all().await.into_iter().collect()
}

fn api(door: &Door, sights: &Sights, ports: &BTreeMap<Member, (SocketAddr, Result<(), String>)>) -> Vec<Finding> {
    use FindingState::{Warning, Wrong};
    let me = &door.me.id;
    let mut findings = Vec::new();
    let Some(mine) = &door.listens.api else {
        let text = "there is none, so peers notice the death of this process only by missed probes";
        return vec![found("api-port", Warning, me, text, "start crux without --api off")];
    };
    for (member, (addr, outcome)) in ports {
        if let Err(cause) = outcome {
            let text = format!("its API port {addr}/tcp is not reached from here: {cause}");
            let next = format!("open TCP {} towards {}", addr.port(), member.id);
            findings.push(found("api-port", Wrong, &member.id, text, next));
        }
    }
    let mut seen = 0;
    for (member, sight) in sights.iter().filter(|(member, _)| **member != door.me) {
        match sight.as_ref().ok().and_then(|sight| sight.api.as_ref()) {
            Some(Err(cause)) => {
                let text = format!("the API port here, {mine}/tcp, is not reached from there: {cause}");
                let next = format!("open TCP of {mine} on this machine for {}", member.id);
                findings.push(found("api-port", Wrong, &member.id, text, next));
            }
            Some(Ok(())) => seen += 1,
            None => {}
        }
    }
    if findings.is_empty() {
        let members = if ports.len() == 1 {
            "1 member's port is".to_owned()
        } else {
            format!("{} members' ports are", ports.len())
        };
        let text = format!("{members} reached from here, and this one from {seen}");
        findings.push(fine("api-port", me, text));
    }
    findings
}

/// The longest datagram of each path, as this end and as the other one found it.
fn datagrams(sights: &Sights, me: &Member) -> Vec<Finding> {
    let (mut findings, mut least) = (Vec::new(), None);
    let mine = me.id.to_string();
    for (member, sight) in sights {
        let Ok(sight) = sight else { continue };
        for link in sight.links.iter().filter(|link| member == me || link.to == mine) {
            let Some(most) = link.datagram else { continue };
            least = Some(least.map_or(most, |least: u32| least.min(most)));
            let searched = link.keys_ms.is_none_or(|age| age >= SEARCHED_MS);
            if most < DATAGRAM_WARN && searched {
                let (subject, way) = match member == me {
                    true => (link.to.clone(), format!("the path from here to {}", link.addr)),
                    false => (member.id.to_string(), "the path from there to here".to_owned()),
                };
                let next =
                    "look for a tunnel on the way and raise its MTU: below 1,280 bytes of IP there is no link at all";
                let text = format!("{way} is narrow: it carries datagrams of at most {most} bytes");
                findings.push(found("mtu", FindingState::Warning, subject, text, next));
            }
        }
    }
    if let (true, Some(least), true) = (findings.is_empty(), least, sights.len() > 1) {
        findings.push(fine(
            "mtu",
            &me.id,
            // QUIC searches the longest now and then, and shortens it only when a long one is lost.
            format!("every path carried datagrams of at least {least} bytes when it was last searched, both ways"),
        ));
    }
    findings
}

pub(super) fn state(door: &Door) -> Vec<Finding> {
    use FindingState::{Warning, Wrong};
    let place = door.state.display();
    if let Some(reason) = door.store_state().reason {
        let text = format!("the store refuses writes: {reason}");
        return vec![found("state", Wrong, place, text, "free space there; the next write tries again")];
    }
    let free = match free_space(&door.state) {
        Ok(free) => free,
        Err(error) => {
            let text = format!("it cannot be looked at: {error}");
            return vec![found("state", Wrong, place, text, "check that the disk is mounted, and the owner")];
        }
    };
    let mib = free >> 20;
    vec![match free {
        free if free < SPACE_WRONG => {
            found("state", Wrong, place, format!("only {mib} MiB are free there"), "free space on that disk")
        }
        free if free < SPACE_WARN => {
            found("state", Warning, place, format!("only {mib} MiB are free there"), "free space on that disk")
        }
        _ => fine("state", place, format!("it takes writes, and {mib} MiB are free")),
    }]
}

/// Only where there is something to say: it is part of the state directory.
pub(super) fn audit(door: &Door) -> Option<Finding> {
    let (lost, refuses) = door.audit.trouble();
    let place = door.state.join("audit").display().to_string();
    let next = "free space there and check the owner; crux audit shows what is still in memory";
    match (lost, refuses) {
        (_, Some(why)) => {
            let text = format!("the audit log cannot be written: {why}; {lost} entries are lost on disk");
            Some(found("audit", FindingState::Wrong, place, text, next))
        }
        (0, None) => None,
        (lost, None) => {
            let text = format!("{lost} entries of the audit log are lost on disk since the start; it is written again");
            Some(found("audit", FindingState::Warning, place, text, "crux audit shows what is still in memory"))
        }
    }
}

fn free_space(path: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::{SeenLink, Sight};
    use crux_link::PeerInfo;
    use crux_names::Boot;
    use std::time::Duration;

    fn member(name: &str) -> Member {
        Member { id: name.parse().unwrap(), boot: Boot(1) }
    }

    fn sight(links: Vec<SeenLink>) -> Sight {
        Sight { wall: 0, links, api: None, mesh: None, siblings: Vec::new(), facts: None }
    }

    fn link(to: &str, datagram: u32) -> SeenLink {
        SeenLink {
            to: to.into(),
            addr: "10.0.0.2:2789".parse().unwrap(),
            dialed: true,
            age_ms: 1,
            rekey_ms: Some(1),
            keys_ms: Some(SEARCHED_MS),
            rtt_us: 1,
            datagram: Some(datagram),
        }
    }

    #[test]
    fn a_narrow_path_is_named_in_either_direction() {
        let me = member("n1");
        let look = |own, other| {
            datagrams(&Sights::from([(me.clone(), Ok(sight(own))), (member("n2"), Ok(sight(other)))]), &me)
        };
        assert_eq!(look(vec![link("n2", 1_382)], vec![link("n1", 1_382)])[0].state, FindingState::Ok);
        let narrow = look(vec![link("n2", 1_382), link("n3", 1_162)], vec![]);
        assert_eq!((narrow.len(), narrow[0].state, narrow[0].subject.as_str()), (1, FindingState::Warning, "n3"));
        // What lies between was not searched yet.
        let young = SeenLink { keys_ms: Some(SEARCHED_MS - 1), ..link("n3", 1_162) };
        assert_eq!(look(vec![link("n2", 1_382), young], vec![])[0].state, FindingState::Ok);
        // Of n2 only the path to here is this fulcrum's affair.
        let narrow = look(vec![link("n2", 1_382)], vec![link("n1", 1_162), link("n3", 1_162)]);
        assert_eq!((narrow.len(), narrow[0].subject.as_str()), (1, "n2"));
        assert!(narrow[0].text.contains("from there to here"), "{}", narrow[0].text);
    }

    #[test]
    fn a_port_that_answers_only_links_is_named_on_the_side_where_it_is_shut() {
        let (me, n2) = (member("n1"), member("n2"));
        let peer = PeerInfo {
            member: n2.clone(),
            admission: 1,
            labels: BTreeMap::new(),
            addr: "10.0.0.2:2789".parse().unwrap(),
            api_port: 0,
            not_before: 0,
            not_after: 0,
        };
        let zero = Duration::ZERO;
        let linked = LinkInfo {
            peer,
            age: zero,
            key_age: zero,
            key_limit: zero,
            rtt: zero,
            tx_bytes: 0,
            rx_bytes: 0,
            dialed: false,
        };
        let silent = || Err("nobody answered".to_owned());
        let look = |links: &[LinkInfo], here: Result<(), String>, there| {
            let sights = Sights::from([(n2.clone(), Ok(Sight { mesh: Some(there), ..sight(vec![]) }))]);
            let knocks = Knocks::from([(n2.clone(), ("10.0.0.2:2789".parse().unwrap(), here))]);
            mesh_port(&me, "10.0.0.1:2789", links, &sights, &knocks)
        };
        let linked = [linked];
        let well = look(&linked, Ok(()), Ok(()));
        assert_eq!((well.len(), well[0].state), (1, FindingState::Ok));
        let shut = look(&linked, silent(), Ok(()));
        assert!(shut.len() == 1 && shut[0].text.contains("10.0.0.2:2789/udp is not reached from here"), "{shut:?}");
        let shut = look(&linked, Ok(()), silent());
        assert!(shut.len() == 1 && shut[0].text.contains("10.0.0.1:2789/udp, is not reached from there"), "{shut:?}");
        let none = look(&[], Ok(()), Ok(()));
        assert!(none[0].text.contains("no link to it") && none[0].text.contains("answers"), "{none:?}");
        assert!(look(&[], silent(), Ok(()))[0].text.contains("nobody answered"));
        // A refusal is no shut port, and "here" of who knocked is there.
        let theirs = || Err("10.0.0.1:2789 is refused here: it speaks in riddles".to_owned());
        let refused = look(&linked, Ok(()), theirs());
        let next = refused[0].next.as_ref().unwrap();
        assert!(
            refused[0].text.contains("10.0.0.1:2789 is refused there") && !next.contains("open UDP"),
            "{refused:?}"
        );
        // What is told as a refusal is not told again as a port.
        let root = || Err(format!("refused by 10.0.0.2:2789: {}", crux_pki::Refusal::Untrusted));
        assert_eq!(look(&linked, root(), root()), []);
    }
}
