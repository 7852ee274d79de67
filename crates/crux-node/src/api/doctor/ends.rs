//! Certificates, and how much of their lives is left.

use super::{fine, found};
use crate::api::Door;
use crux_api::json::{Finding, FindingState};
use crux_link::{LinkInfo, PeerInfo};
use crux_names::FulcrumId;
use crux_pki::{Life, LifeWarning, span, unix_now};

/// The marks of the design: half, two thirds, nine tenths of a life that nobody renewed, and its end.
fn own_certificate(me: &FulcrumId, life: Life, now: u64) -> Finding {
    use FindingState::{Warning, Wrong};
    let left = span(life.left(now));
    let text = |warning: LifeWarning| match warning {
        LifeWarning::Ended => {
            format!("{warning}, {} ago, and its links with it", span(now.saturating_sub(life.not_after)))
        }
        warning => format!("{warning}: {left} left"),
    };
    let next = |when: &str| format!("crux ca renew BUNDLE --ca DIR --out NEW for {}, and install it {when}", me.node);
    match life.warning(now) {
        None => fine("certificate", me, format!("it ends in {left}")),
        Some(warning @ (LifeWarning::Half | LifeWarning::TwoThirds)) => {
            found("certificate", Warning, me, text(warning), next("in time"))
        }
        Some(warning) => found("certificate", Wrong, me, text(warning), next("now")),
    }
}

pub(in crate::api) fn certificates(door: &Door, links: &[LinkInfo]) -> Vec<Finding> {
    use FindingState::Wrong;
    let now = unix_now();
    let mut findings = vec![own_certificate(&door.me.id, door.papers.now().lifetime(), now)];
    if let Some(cause) = door.papers.not_taken() {
        let text = format!("a bundle was put in its place and is not used: {cause}");
        let next = "put a whole bundle of the same node there: it is picked up without a restart";
        findings.push(found("certificate", Wrong, &door.me.id, text, next));
    }
    for link in links {
        findings.extend(of_peer(&link.peer, now));
    }
    findings
}

/// Of another node's certificate the same marks count as of one's own, as it sees them itself.
fn of_peer(peer: &PeerInfo, now: u64) -> Option<Finding> {
    use FindingState::{Warning, Wrong};
    let life = Life { not_before: peer.not_before, not_after: peer.not_after };
    let state = match life.warning(now)? {
        LifeWarning::Half | LifeWarning::TwoThirds => Warning,
        _ => Wrong,
    };
    let text = format!("its certificate ends in {}, and its links are cut then", span(life.left(now)));
    let next = format!("crux ca renew BUNDLE --ca DIR --out NEW for {}, and install it there", peer.member.id.node);
    Some(found("certificate", state, &peer.member.id, text, next))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crux_names::{Boot, Member};
    use std::collections::BTreeMap;

    fn member(name: &str) -> Member {
        Member { id: name.parse().unwrap(), boot: Boot(1) }
    }

    #[test]
    fn a_peer_s_certificate_is_judged_by_how_much_of_its_life_is_over() {
        let peer = |life: u64, left: u64| PeerInfo {
            member: member("n2"),
            admission: 1,
            labels: BTreeMap::new(),
            addr: "10.0.0.2:2789".parse().unwrap(),
            api_port: 0,
            not_before: 1_000 * 86_400 + left - life,
            not_after: 1_000 * 86_400 + left,
        };
        let look = |life: u64, left: u64| of_peer(&peer(life * 86_400, left * 86_400), 1_000 * 86_400);
        assert_eq!(look(30, 29), None, "one of thirty days has gone");
        assert_eq!(look(400, 201), None);
        let half = look(400, 199).unwrap();
        assert!(half.state == FindingState::Warning && half.text.contains("ends in 199 days"), "{half:?}");
        assert_eq!(look(30, 2).unwrap().state, FindingState::Wrong);
        let soon = of_peer(&peer(86_400, 87), 1_000 * 86_400).unwrap();
        assert!(soon.text.contains("ends in 88 s"), "{soon:?}");
    }

    #[test]
    fn a_certificate_s_last_hours_are_told_in_their_unit() {
        let life = Life { not_before: 0, not_after: 100 * 3_600 };
        let me = member("n1").id;
        let text = |now| own_certificate(&me, life, now).text;
        assert!(text(89 * 3_600).contains("11 h left"), "{}", text(89 * 3_600));
        assert!(text(100 * 3_600 - 87).contains("88 s left"), "{}", text(100 * 3_600 - 87));
        assert!(text(100 * 3_600 + 300).contains("has ended, 5 min ago"), "{}", text(100 * 3_600 + 300));
    }
}
