//! Who of the members reaches whom.

use super::{Refusals, fine, found};
use crate::api::links::Sights;
use crux_api::json::{Finding, FindingState};
use crux_names::FulcrumId;
use std::collections::BTreeSet;

/// Pairs of members that have no link, by the word of either.
pub(super) fn reach(
    me: &FulcrumId,
    flock: &str,
    members: &[&FulcrumId],
    sights: &Sights,
    refusals: &Refusals,
) -> Vec<Finding> {
    use FindingState::{Warning, Wrong};
    let mut findings = Vec::new();
    let mut explained = false;
    let mut told = BTreeSet::new();
    let mut pairs = 0;
    for (member, sight) in sights {
        let sight = match sight {
            Ok(sight) => sight,
            // Without a link it cannot say anything.
            Err(_) if refusals.explain(&member.id) => {
                explained = true;
                continue;
            }
            Err(error) => {
                let text = format!("it does not say whom it reaches: {error}");
                findings.push(found("reach", Warning, &member.id, text, format!("crux why node {}", member.id)));
                continue;
            }
        };
        for other in members.iter().copied().filter(|other| **other != member.id) {
            let pair = if *other < member.id { (other, &member.id) } else { (&member.id, other) };
            if sight.links.iter().any(|link| link.to == other.to_string()) {
                pairs += 1;
            } else if refusals.explain_pair(me, pair) {
                explained = true;
            } else if told.insert(pair) {
                let text = format!("{} and {} have no link with each other", pair.0, pair.1);
                let next = format!("open UDP between the two; crux links; crux why node {}", pair.1);
                findings.push(found("reach", Wrong, format!("{}, {}", pair.0, pair.1), text, next));
            }
        }
    }
    if findings.is_empty() && pairs > 0 && !explained {
        findings.push(fine("reach", flock, format!("every member reaches every other: {pairs} ends of links")));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::doctor::Knocks;
    use crate::peers::{SeenLink, Sight};
    use crux_names::{Boot, Member};
    use std::io;

    fn member(name: &str) -> Member {
        Member { id: name.parse().unwrap(), boot: Boot(1) }
    }

    /// A member that has links to these.
    fn sees(name: &str, others: &[&str]) -> (Member, io::Result<Sight>) {
        let link = |to: &&str| SeenLink {
            to: (*to).to_owned(),
            addr: "10.0.0.2:2789".parse().unwrap(),
            dialed: true,
            age_ms: 1,
            rekey_ms: Some(1),
            keys_ms: Some(1),
            rtt_us: 1,
            datagram: None,
        };
        let links = others.iter().map(link).collect();
        (member(name), Ok(Sight { wall: 0, links, api: None, mesh: None, siblings: Vec::new(), facts: None }))
    }

    /// What n1 finds in a flock of n1, n2 and n3.
    fn look(sights: [(Member, io::Result<Sight>); 3], refusals: &Refusals) -> Vec<(FindingState, String, String)> {
        let all = ["n1", "n2", "n3"].map(|name| member(name).id);
        let found = reach(&all[0], "calm-heron", &all.each_ref(), &Sights::from(sights), refusals);
        found.into_iter().map(|found| (found.state, found.subject, found.text)).collect()
    }

    #[test]
    fn a_pair_without_a_link_is_named_once_by_the_word_of_either() {
        let nobody = Refusals::default();
        let whole = look([sees("n1", &["n2", "n3"]), sees("n2", &["n1", "n3"]), sees("n3", &["n1", "n2"])], &nobody);
        let text = "every member reaches every other: 6 ends of links";
        assert_eq!(whole, [(FindingState::Ok, "calm-heron".to_owned(), text.to_owned())]);
        let text = "n2 and n3 have no link with each other";
        let broken = [(FindingState::Wrong, "n2, n3".to_owned(), text.to_owned())];
        // Both say so, or only one of them: a link that one end takes for one is none.
        for (of_n2, of_n3) in
            [(&["n1"][..], &["n1"][..]), (&["n1"][..], &["n1", "n2"][..]), (&["n1", "n3"][..], &["n1"][..])]
        {
            let found = look([sees("n1", &["n2", "n3"]), sees("n2", of_n2), sees("n3", of_n3)], &nobody);
            assert_eq!(found, broken, "{of_n2:?} {of_n3:?}");
        }
        // One of this fulcrum's own.
        let found = look([sees("n1", &["n2"]), sees("n2", &["n1", "n3"]), sees("n3", &["n2"])], &nobody);
        assert_eq!((found.len(), found[0].1.as_str()), (1, "n1, n3"), "{found:?}");
    }

    #[test]
    fn who_does_not_say_what_it_sees_is_named_and_the_others_are_still_looked_at() {
        let nobody = Refusals::default();
        let silent = || (member("n3"), Err(io::Error::from(io::ErrorKind::TimedOut)));
        let found = look([sees("n1", &["n2", "n3"]), sees("n2", &["n1", "n3"]), silent()], &nobody);
        let text = "it does not say whom it reaches: timed out";
        let told = (FindingState::Warning, "n3".to_owned(), text.to_owned());
        // What nobody has said of n3's links is not taken for good.
        assert_eq!(found, std::slice::from_ref(&told));
        let found = look([sees("n1", &["n2", "n3"]), sees("n2", &["n1"]), silent()], &nobody);
        assert_eq!((found.len(), found[0].1.as_str(), &found[1]), (2, "n2, n3", &told), "{found:?}");
    }

    #[test]
    fn what_a_refusal_explains_is_not_told_again() {
        let why = crux_pki::Refusal::Untrusted.to_string();
        let words = format!("10.0.0.3:2789 is refused here: {why}");
        let knocks = Knocks::from([(member("n3"), ("10.0.0.3:2789".parse().unwrap(), Err(words)))]);
        let refusals = Refusals::default().and_members(&knocks, &Sights::new());
        let silent = (member("n3"), Err(io::Error::from(io::ErrorKind::NotConnected)));
        assert_eq!(look([sees("n1", &["n2"]), sees("n2", &["n1"]), silent], &refusals), []);
        // Of the others it explains nothing.
        let silent = (member("n3"), Err(io::Error::from(io::ErrorKind::NotConnected)));
        let found = look([sees("n1", &[]), sees("n2", &[]), silent], &refusals);
        assert_eq!((found.len(), found[0].1.as_str()), (1, "n1, n2"), "{found:?}");
    }
}
