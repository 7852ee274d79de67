//! How far the clocks of the members are apart.

use super::{fine, found};
use crux_api::json::{Finding, FindingState};
use crux_names::Member;
use crux_pki::{count, span_ms, unix_now};

/// Clocks that are further apart are worth a word: facts are ordered by them. Source: HLC practice, NTP does far better.
const SKEW_WARN_MS: i64 = 500;
/// Clocks that are further apart make certificates refused: `notBefore` is set back by 300 s only.
const SKEW_WRONG_MS: i64 = 60_000;

/// Of how far the clock here is ahead of the others'.
pub(super) fn clock(skews: Vec<(Member, i64)>, me: &Member) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (member, skew) in &skews {
        let state = match skew.abs() {
            ms if ms >= SKEW_WRONG_MS => FindingState::Wrong,
            ms if ms >= SKEW_WARN_MS => FindingState::Warning,
            _ => continue,
        };
        let side = if *skew < 0 { "ahead of" } else { "behind" };
        let text = format!("its clock is {} {side} the one here", span_ms(skew.unsigned_abs()));
        let next = format!("set both clocks by NTP: `timedatectl` here and on {}", member.id);
        findings.push(found("clock", state, &member.id, text, next));
    }
    if findings.is_empty() && !skews.is_empty() {
        let most = skews.iter().map(|(_, skew)| skew.abs()).max().unwrap_or(0);
        findings.push(fine("clock", &me.id, format!("within {most} ms of {}", count(skews.len(), "other"))));
    }
    if crux_pki::BUILD_DATE > unix_now() {
        let text = "it stands before this release was made";
        findings.push(found("clock", FindingState::Wrong, &me.id, text, "set this machine's clock"));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::skew::ahead_ms;
    use crux_names::Boot;

    fn member(name: &str) -> Member {
        Member { id: name.parse().unwrap(), boot: Boot(1) }
    }

    #[test]
    fn clocks_are_judged_by_how_far_they_are_apart() {
        let me = member("n1");
        let look = |ahead| clock(vec![(member("n2"), ahead)], &me).remove(0);
        assert_eq!(look(-100).state, FindingState::Ok);
        let behind = look(1_000);
        assert_eq!((behind.state, behind.subject.as_str()), (FindingState::Warning, "n2"));
        assert!(behind.text.contains("1000 ms behind"), "{}", behind.text);
        let ahead = look(-95_000);
        assert!(ahead.state == FindingState::Wrong && ahead.text.contains("95 s ahead of"), "{}", ahead.text);
    }

    /// From what their clocks showed, each by itself: one that is right excuses no other.
    #[test]
    fn of_several_members_each_is_judged_by_what_its_own_clock_showed() {
        const SECOND: i64 = 1_000_000;
        let (me, asked) = (member("n1"), 1_900_000_000 * SECOND);
        // Asked and answered within 20 ms, so that their clocks are read as of the middle of it.
        let looked = |others: &[(&str, i64)]| {
            let skew = |apart: i64| {
                let there = asked + SECOND / 100 + apart;
                ahead_ms(asked.unsigned_abs(), there.unsigned_abs(), (asked + SECOND / 50).unsigned_abs())
            };
            clock(others.iter().map(|(name, apart)| (member(name), skew(*apart))).collect(), &me)
        };
        let found = looked(&[("n2", 95 * SECOND), ("n3", -SECOND), ("n4", 0)]);
        let told: Vec<_> =
            found.iter().map(|found| (found.state, found.subject.as_str(), found.text.as_str())).collect();
        let expected = [
            (FindingState::Wrong, "n2", "its clock is 95 s ahead of the one here"),
            (FindingState::Warning, "n3", "its clock is 1000 ms behind the one here"),
        ];
        assert_eq!(told, expected);
        assert!(found.iter().all(|found| found.next.as_ref().unwrap().contains("by NTP")), "{found:?}");
        // Two that are right, and nobody who answered.
        let found = looked(&[("n2", SECOND / 4), ("n3", -SECOND / 10)]);
        assert_eq!((found.len(), found[0].state), (1, FindingState::Ok));
        assert!(found[0].text.contains("within 250 ms of 2 others"), "{}", found[0].text);
        assert_eq!(looked(&[]), []);
    }
}
