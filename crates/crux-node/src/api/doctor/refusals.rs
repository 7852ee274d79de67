//! Who is kept apart by a certificate, a root or a clock: one cause, one finding, with the step that fits it. A port that is
//! answered with a refusal is open, so none of it is told as a shut one.

use super::{Knocks, found};
use crate::api::links::Sights;
use crate::api::show;
use crate::turned_away::Attempts;
use crux_api::json::{Finding, FindingState};
use crux_core::picture::Status;
use crux_names::FulcrumId;
use crux_pki::{Life, LifeWarning, Trouble};
use std::collections::{BTreeMap, BTreeSet};

/// By whose clock and roots it was judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Judge {
    /// By this fulcrum's: it does not let the other in.
    Here,
    /// By the other's: it does not let this one in.
    There,
}

impl Judge {
    fn other(self) -> Self {
        match self {
            Self::Here => Self::There,
            Self::There => Self::Here,
        }
    }
}

/// All that are refused, or refuse, for one cause.
#[derive(Debug, Default)]
struct Case {
    /// Fulcrums, and addresses of those whose name is not known.
    who: BTreeSet<String>,
    /// Whether one of them is a member of this flock.
    member: bool,
    /// The first one's words.
    reason: String,
}

/// What came of looking at all that did not come to a link.
#[derive(Debug, Default)]
pub(in crate::api) struct Refusals {
    cases: BTreeMap<(Judge, Trouble), Case>,
    /// Whom this fulcrum refuses, and who refuses it.
    here: BTreeSet<FulcrumId>,
    there: BTreeSet<FulcrumId>,
}

/// What this fulcrum is, as far as refusals are about it.
pub(in crate::api) struct Own<'a> {
    pub(in crate::api) id: &'a FulcrumId,
    /// Its certificate's.
    pub(in crate::api) life: Life,
    /// Whether it is known to be out of the bloc.
    pub(in crate::api) put_out: bool,
    /// The clock here, in Unix seconds.
    pub(in crate::api) now: u64,
}

/// A refusal for a certificate, a root or a clock in the words of a dial: who judged, what it is about, and why.
fn judged_in(words: &str) -> Option<(Judge, Trouble, &str)> {
    let (judge, reason) = match (words.strip_prefix("refused by "), words.split_once(" is refused here: ")) {
        (Some(rest), _) => (Judge::There, rest.split_once(": ")?.1),
        (None, Some((_, reason))) => (Judge::Here, reason),
        (None, None) => return None,
    };
    Some((judge, Trouble::of(reason)?, reason))
}

/// The same in the words of the door here.
fn judged_at_door(words: &str) -> Option<(Judge, Trouble, &str)> {
    let (judge, reason) = match words.strip_prefix("it refuses us: ") {
        Some(reason) => (Judge::There, reason),
        None => (Judge::Here, words),
    };
    Some((judge, Trouble::of(reason)?, reason))
}

/// Whether these words of a dial are told as a refusal here.
pub(super) fn is_one(words: &str) -> bool {
    judged_in(words).is_some()
}

/// The same of words of the door.
pub(super) fn is_one_at_door(words: &str) -> bool {
    judged_at_door(words).is_some()
}

impl Refusals {
    /// What is known without asking anybody.
    pub(in crate::api) fn of(status: &Status, turned_away: &Attempts) -> Self {
        let mut all = Self::default();
        for line in status.outside.iter().filter(|line| line.who.refused) {
            // Where several were seen over time, whoever is there now need not be any of them.
            let here = status.outside.iter().filter(|other| other.who.addr == line.who.addr).count();
            let who = line.who.fulcrum.as_ref().filter(|_| here == 1);
            all.note(who, || line.who.addr.to_string(), false, judged_in(&line.who.why));
        }
        for (addr, attempt) in show::strangers(status, turned_away) {
            all.note(None, || addr.to_string(), false, judged_at_door(&attempt.reason));
        }
        all
    }

    /// With what came of knocking at members' ports, and of theirs at this one.
    pub(super) fn and_members(mut self, knocks: &Knocks, sights: &Sights) -> Self {
        for (member, (_, outcome)) in knocks {
            let words = outcome.as_ref().err().and_then(|words| judged_in(words));
            self.note(Some(&member.id), String::new, true, words);
        }
        for (member, sight) in sights {
            let outcome = sight.as_ref().ok().and_then(|sight| sight.mesh.as_ref());
            // There is here for who knocked.
            let words = outcome.and_then(|outcome| outcome.as_ref().err()).and_then(|words| judged_in(words));
            let words = words.map(|(judge, trouble, reason)| (judge.other(), trouble, reason));
            self.note(Some(&member.id), String::new, true, words);
        }
        self
    }

    fn note(
        &mut self,
        id: Option<&FulcrumId>,
        addr: impl FnOnce() -> String,
        member: bool,
        words: Option<(Judge, Trouble, &str)>,
    ) {
        let Some((judge, trouble, reason)) = words else { return };
        let case = self.cases.entry((judge, trouble)).or_default();
        if case.who.is_empty() {
            // What the judge would do about it is said of the one, and here it is said of all.
            reason.split("; ").next().unwrap_or(reason).clone_into(&mut case.reason);
        }
        case.member |= member;
        case.who.insert(id.map_or_else(addr, ToString::to_string));
        if let Some(id) = id {
            let known = if judge == Judge::Here { &mut self.here } else { &mut self.there };
            known.insert(id.clone());
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.cases.is_empty()
    }

    /// Whether a certificate, a root or a clock is known to keep this fulcrum and that one apart.
    pub(super) fn explain(&self, id: &FulcrumId) -> bool {
        self.here.contains(id) || self.there.contains(id)
    }

    /// The same of a pair of members: whom this fulcrum refuses, the others do by the same rules.
    pub(super) fn explain_pair(&self, me: &FulcrumId, pair: (&FulcrumId, &FulcrumId)) -> bool {
        let of = |id: &FulcrumId, other: &FulcrumId| self.here.contains(id) || (other == me && self.there.contains(id));
        of(pair.0, pair.1) || of(pair.1, pair.0)
    }

    /// One finding for each cause.
    pub(in crate::api) fn findings(&self, status: &Status, own: &Own) -> Vec<Finding> {
        let alone = status.roster.len() == 1;
        self.cases.iter().filter_map(|((judge, trouble), case)| finding(*judge, *trouble, case, alone, own)).collect()
    }
}

fn finding(judge: Judge, trouble: Trouble, case: &Case, alone: bool, own: &Own) -> Option<Finding> {
    use FindingState::{Warning, Wrong};
    let who = case.who.iter().cloned().collect::<Vec<_>>().join(", ");
    let node = &own.id.node;
    let ended = own.life.warning(own.now) == Some(LifeWarning::Ended);
    let clock = show::second(own.now);
    let clock = format!("the clock here shows {} UTC", clock.get(..16).unwrap_or(&clock).replace('T', " "));
    let by_ntp = "set the wrong one by NTP (timedatectl)";
    let next = match (judge, trouble) {
        // Told of by what is said of the certificate here, and of its node.
        (Judge::There, Trouble::Ended) if ended => return None,
        (Judge::There, Trouble::Expelled) if own.put_out => return None,
        (Judge::There, Trouble::Ended) => format!(
            "{clock}, and by it the certificate of {node} has {} left: if it is right, theirs are wrong; {by_ntp}; an ended \
             certificate: crux ca renew BUNDLE --ca DIR --out NEW",
            crux_pki::span(own.life.left(own.now))
        ),
        (Judge::Here, Trouble::Ended) => format!(
            "crux ca renew BUNDLE --ca DIR --out NEW for {who}, and install it there: it is picked up without a restart. If it \
             should last still, look at the clocks: {clock}"
        ),
        (_, Trouble::Clock) => {
            format!(
                "{clock}: compare it with {who}, and {by_ntp}; crux ca inspect BUNDLE shows from when a certificate is valid"
            )
        }
        (Judge::There, Trouble::Root) => format!(
            "crux ca trust BUNDLE --add CA at {who}, with the CA that issued the certificate of {node}; or issue {node} again by \
             theirs"
        ),
        (Judge::Here, Trouble::Root) => format!(
            "crux ca trust BUNDLE --add CA on this machine, with the CA that issued {who}, if it is this bloc's; or issue them \
             again by the CA of this bloc"
        ),
        (Judge::There, Trouble::Expelled) => {
            format!("crux ca issue --node {node} --readmit lets it in again, if that is wanted")
        }
        (Judge::Here, Trouble::Expelled) => {
            "stop it there; crux ca issue --node NODE --readmit lets it in again, if that is wanted".to_owned()
        }
        (_, Trouble::OtherBloc) => {
            "take the address out of seeds and lists, or use a bundle issued by the CA of this bloc".to_owned()
        }
    };
    let reason = &case.reason;
    let (subject, text) = match (judge, case.who.len()) {
        (Judge::Here, 1) => (who.clone(), format!("it is refused here: {reason}")),
        (Judge::Here, many) => (who.clone(), format!("these {many} are refused here: {reason}")),
        (Judge::There, 1) => (own.id.to_string(), format!("{who} refuses this node: {reason}")),
        (Judge::There, many) => (own.id.to_string(), format!("{many} refuse this node, {who}: {reason}")),
    };
    // A stranger's affair is no fault here; what keeps members apart, or this fulcrum alone, is.
    let wrong = case.member || (alone && judge == Judge::There && trouble != Trouble::OtherBloc);
    Some(found("admission", if wrong { Wrong } else { Warning }, subject, text, next))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::{Sight, judged};
    use crux_link::DialFailure;
    use crux_names::{Boot, Member};
    use crux_pki::Refusal;
    use std::net::SocketAddr;

    const DAY: u64 = 86_400;

    fn member(name: &str) -> Member {
        Member { id: name.parse().unwrap(), boot: Boot(1) }
    }

    fn addr(host: u8) -> SocketAddr {
        SocketAddr::from(([10, 12, 0, host], 2789))
    }

    /// As a knock at that host's port ends.
    fn refused(host: u8, here: bool, refusal: Refusal) -> Result<(), String> {
        let reason = refusal.to_string();
        let failure = match here {
            true => DialFailure::Rejected { addr: addr(host), reason },
            false => DialFailure::Refused { by: addr(host), reason },
        };
        judged(Err(failure), &"n2".parse().unwrap())
    }

    fn findings(all: &Refusals, now: u64) -> Vec<(String, String, String)> {
        let me = member("n1").id;
        let own = Own { id: &me, life: Life { not_before: 0, not_after: 100 * DAY }, put_out: false, now };
        let found =
            all.cases.iter().filter_map(|((judge, trouble), case)| finding(*judge, *trouble, case, false, &own));
        found.map(|found| (found.subject, found.text, found.next.unwrap())).collect()
    }

    fn sight(mesh: Result<(), String>) -> Sight {
        Sight { wall: 0, links: Vec::new(), api: None, mesh: Some(mesh), siblings: Vec::new(), facts: None }
    }

    #[test]
    fn one_ended_certificate_is_one_finding_on_either_side() {
        let expired = || Refusal::Expired { at: 50 * DAY, ago: 60 };
        // As the others see it: it is refused by the one who asks, and refuses nobody.
        let knocks = Knocks::from([(member("n9"), (addr(9), refused(9, true, expired())))]);
        let all = Refusals::default().and_members(&knocks, &Sights::new());
        let found = findings(&all, 50 * DAY + 60);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].0 == "n9" && found[0].1.starts_with("it is refused here: certificate expired"), "{found:?}");
        assert!(found[0].2.contains("crux ca renew") && !found[0].2.contains("UDP"), "{found:?}");
        let (me, n3, n9) = (member("n1").id, member("n3").id, member("n9").id);
        assert!(all.explain(&n9) && all.explain_pair(&me, (&n3, &n9)) && !all.explain_pair(&me, (&me, &n3)));
        // As it sees itself: everybody refuses it, and that its certificate has ended is told elsewhere.
        let knocks = (2..8).map(|host| {
            (
                member(&format!("n{host}")),
                (addr(host), refused(host, false, Refusal::Expired { at: 100 * DAY, ago: 60 })),
            )
        });
        let all = Refusals::default().and_members(&knocks.collect(), &Sights::new());
        assert_eq!(findings(&all, 101 * DAY), []);
        // By its own clock it has not ended, so that one may be wrong.
        let found = findings(&all, 60 * DAY);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].1.starts_with("6 refuse this node, n2, n3"), "{found:?}");
        assert!(found[0].2.contains("the clock here shows 1970-03-02 00:00 UTC"), "{found:?}");
        // Of two others it says nothing.
        let (n2, n3) = (member("n2").id, member("n3").id);
        assert!(all.explain_pair(&me, (&me, &n2)) && !all.explain_pair(&me, (&n2, &n3)));
    }

    #[test]
    fn who_knocks_from_there_speaks_of_the_same_from_the_other_side() {
        // This fulcrum does not know the other's root: it says so, and so does the other.
        let knocks = Knocks::from([(member("n2"), (addr(2), refused(2, true, Refusal::Untrusted)))]);
        let sights = Sights::from([(member("n2"), Ok(sight(refused(1, false, Refusal::Untrusted))))]);
        let found = findings(&Refusals::default().and_members(&knocks, &sights), 0);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].0 == "n2" && found[0].1.contains("none of the trusted roots"), "{found:?}");
        assert!(found[0].2.starts_with("crux ca trust BUNDLE --add CA on this machine"), "{found:?}");
        // The other way round it is the other machine's bundle.
        let sights = Sights::from([(member("n2"), Ok(sight(refused(1, true, Refusal::Untrusted))))]);
        let found = findings(&Refusals::default().and_members(&Knocks::new(), &sights), 0);
        assert!(found[0].0 == "n1" && found[0].1.starts_with("n2 refuses this node"), "{found:?}");
        assert!(found[0].2.starts_with("crux ca trust BUNDLE --add CA at n2"), "{found:?}");
    }

    #[test]
    fn a_shut_port_and_other_refusals_are_not_told_here() {
        let busy =
            judged(Err(DialFailure::Refused { by: addr(2), reason: "that is enough".into() }), &"n2".parse().unwrap());
        let silent = judged(Err(DialFailure::Silent), &"n2".parse().unwrap());
        for outcome in [Ok(()), busy, silent] {
            let knocks = Knocks::from([(member("n2"), (addr(2), outcome))]);
            assert!(Refusals::default().and_members(&knocks, &Sights::new()).is_empty());
        }
    }
}
