//! The bloc at a glance: what one fulcrum knows of it, and what of that needs a hand. Nobody else is asked, so it answers
//! at once; `crux doctor` looks further.

use super::answer::{Answer, doc};
use super::doctor::{self, found};
use super::{Door, show};
use axum::extract::State;
use crux_api::json::{self, BlocCertificate, BlocRoot, BlocStatus, Finding, FindingState, HordeState};
use crux_names::ADMIN;
use crux_pki::{CertificateDer, Summary, count, fingerprint, span, unix_now};

/// A root that ends sooner needs a successor now: certificates end with it, and exchanging it takes a round of all machines.
const ROOT_DAYS: u64 = 90;
const DAY: u64 = 86_400;
/// Clocks that are further apart than this are wrong.
const SKEW_MS: i64 = 60_000;

/// `GET /v1/bloc`.
pub(super) async fn bloc(State(door): State<Door>) -> Answer {
    let picture = door.status().await?;
    let links = door.links.links();
    let status = show::status(&picture, door.own());
    let bundle = door.papers.now();
    let mut ends: Vec<(u64, String)> = links
        .iter()
        .map(|link| (link.peer.not_after, link.peer.member.id.to_string()))
        .chain([(bundle.lifetime().not_after, door.me.id.to_string())])
        .collect();
    ends.sort();
    let root = |der: &CertificateDer<'static>| {
        (Summary::of(der).map_or(0, |summary| summary.not_after), fingerprint(der).to_string())
    };
    let mut roots: Vec<(u64, String)> = bundle.trust().roots().map(root).collect();
    roots.sort();
    let turned_away = door.turned_away.of_late();
    let refusals = doctor::Refusals::of(&picture, &turned_away);
    let looked = [
        doctor::admission(&door, &picture, &refusals),
        doctor::flock(&picture, &status.siblings, &turned_away, &refusals),
        doctor::lists(&door.nowhere.now()),
        doctor::certificates(&door, &links),
        doctor::state(&door),
        doctor::audit(&door).into_iter().collect(),
    ];
    let mut findings = looked.concat();
    findings.retain(|finding| finding.state != FindingState::Ok);
    findings.extend(of_roots(&roots, unix_now()));
    findings.extend(of_status(&status));
    Ok(doc(glance(status, &roots, &ends, findings)))
}

fn of_roots(roots: &[(u64, String)], now: u64) -> Vec<Finding> {
    let ending = roots.iter().filter(|(end, _)| end.saturating_sub(now) / DAY <= ROOT_DAYS);
    let finding = |(end, name): &(u64, String)| {
        let text = format!("this root ends in {}, and every certificate under it", span(end.saturating_sub(now)));
        let next = "make a successor and let bundles trust both: crux ca init, crux ca trust BUNDLE --add NEW-CA";
        found("root", FindingState::Wrong, &name[..name.len().min(12)], text, next)
    };
    ending.map(finding).collect()
}

/// What of the status needs a hand, beside what the doctor finds in it.
fn of_status(status: &json::Status) -> Vec<Finding> {
    use FindingState::{Warning, Wrong};
    let mut findings = Vec::new();
    if status.confab.admin.is_empty() {
        let text = "nobody in this flock is of ADMIN; the leader takes it as soon as the flock is stable";
        findings.push(found("admin", Warning, ADMIN, text, "crux why flock"));
    }
    for horde in status.hordes.iter().filter(|horde| horde.state != HordeState::Whole) {
        let how = if horde.state == HordeState::Thin { "thin" } else { "parted" };
        let why = if horde.why.is_empty() { String::new() } else { format!(": {}", horde.why) };
        let next = format!("crux why horde {}", horde.name);
        findings.push(found("horde", Warning, &horde.name, format!("it is {how}{why}"), next));
    }
    if status.facts.conflicts > 0 {
        let text = format!(
            "of {} versions were written apart; deletions, else the later, are in force",
            count(status.facts.conflicts as usize, "fact")
        );
        let next = "crux facts conflicts, then crux facts dismiss PATH";
        findings.push(found("facts", Warning, &status.confab.bloc, text, next));
    }
    if status.facts.quarantined > 0 {
        let wait = if status.facts.quarantined == 1 { "waits" } else { "wait" };
        let facts = count(status.facts.quarantined as usize, "fact");
        let text = format!("{facts} {wait} for an operator's word");
        findings.push(found("facts", Warning, &status.confab.bloc, text, "crux facts quarantine"));
    }
    if let Some(skew) = status.clock.skew_ms.filter(|skew| skew.abs() >= SKEW_MS) {
        let text = format!("its clock is {skew} ms off the other members'");
        findings.push(found("clock", Wrong, &status.confab.node, text, "set the clock of this machine"));
    }
    findings
}

fn glance(status: json::Status, roots: &[(u64, String)], ends: &[(u64, String)], findings: Vec<Finding>) -> BlocStatus {
    let confab = status.confab;
    let (admin, others): (Vec<json::Horde>, Vec<json::Horde>) =
        status.hordes.into_iter().partition(|horde| horde.name == ADMIN);
    let hordes = u32::try_from(others.len()).unwrap_or(u32::MAX);
    let root = |(end, name): &(u64, String)| BlocRoot {
        fingerprint: name.clone(),
        not_after: (*end > 0).then(|| show::second(*end)),
    };
    let certificate =
        |(end, node): &(u64, String)| BlocCertificate { node: node.clone(), not_after: show::second(*end) };
    let fulcrum = crux_names::DEFAULT_FULCRUM == confab.fulcrum;
    BlocStatus {
        node: if fulcrum { confab.node } else { format!("{}/{}", confab.node, confab.fulcrum) },
        bloc: confab.bloc,
        at: show::moment(crate::wall()),
        well: findings.is_empty(),
        flock: confab.flock,
        leader: confab.leader,
        stable: confab.stable,
        members: confab.members,
        expect: status.expect,
        siblings: status.siblings,
        outside: status.outside,
        admin: admin.into_iter().find(|admin| !admin.home.is_empty() || !admin.present.is_empty()),
        hordes,
        not_whole: others.into_iter().filter(|horde| horde.state != HordeState::Whole).collect(),
        roots: roots.iter().map(root).collect(),
        certificates: ends.iter().map(certificate).collect(),
        facts: status.facts,
        store: status.store,
        expelled: status.expelled,
        findings,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> json::Status {
        let sample = include_str!("../../../crux-api/schema/Status.json");
        serde_json::from_str::<json::Doc<json::Status>>(sample).unwrap().0
    }

    #[test]
    fn what_needs_a_hand_is_found_and_a_well_bloc_has_nothing() {
        let checks = |status: &json::Status| {
            of_status(status).iter().map(|finding| format!("{} {}", finding.check, finding.subject)).collect::<Vec<_>>()
        };
        let mut status = status();
        status.clock.skew_ms = Some(-SKEW_MS);
        assert_eq!(checks(&status), ["horde web", "facts acme", "clock n1"]);
        status.facts.quarantined = 1;
        let waits = of_status(&status).into_iter().find(|finding| finding.text.contains("an operator's word"));
        assert_eq!(waits.and_then(|finding| finding.next).as_deref(), Some("crux facts quarantine"));
        status.facts.quarantined = 0;
        status.confab.admin.clear();
        assert!(checks(&status).contains(&"admin ADMIN".to_owned()));
        status.confab.admin = vec!["n1".into()];
        status.hordes[0].state = HordeState::Whole;
        status.facts.conflicts = 0;
        status.clock.skew_ms = None;
        assert!(checks(&status).is_empty());
        let well = glance(status, &[(90, "ab".repeat(32))], &[(7, "n2".into())], Vec::new());
        assert!(well.well && well.not_whole.is_empty() && well.hordes == 1);
        assert_eq!(well.certificates[0].not_after, "1970-01-01T00:00:07.000000Z");
    }

    #[test]
    fn a_root_that_ends_within_a_quarter_needs_a_successor() {
        let roots = [(ROOT_DAYS * DAY, "aa".repeat(32)), ((ROOT_DAYS + 1) * DAY, "bb".repeat(32))];
        let found = of_roots(&roots, 0);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].subject, "aaaaaaaaaaaa");
        assert!(found[0].text.contains("90 days"), "{}", found[0].text);
    }
}
