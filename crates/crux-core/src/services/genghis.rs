//! Genghis: the horde administration, at ADMIN's seat. It offers free fulcrums to hordes that want more, the places of
//! home members that are missed for long to free fulcrums that stand in for them, and the ADMIN flag until ADMIN has its
//! size. An offer is only a word: the fulcrum checks the operators' facts and writes its own row.
//!
//! `where` decides first, then the spread over the label `zone`, then the name. Absent home members count, so a split
//! changes nobody's home. Whoever is cordoned is offered nothing.
//! Quotas are the proctor's affair: they bound what runs in a horde, not who is of it.

use super::admit::Admits;
use super::known::Known;
use super::pace::{Pace, seconds};
use super::roles::{HordeRoles, Roles};
use super::vacancy::{self, Absences};
use crate::facts::value::Horde;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use crux_names::{FulcrumId, HordeName, Time};

/// One offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// To whom.
    pub to: FulcrumId,
    /// Of which horde; `main` releases, ADMIN is the flag.
    pub horde: HordeName,
    /// In whose place, to somebody who only stands in.
    pub stands_for: Option<FulcrumId>,
    /// Why, for people.
    pub why: String,
}

/// What genghis has to say now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Word {
    /// Offers, at most one home and one flag for each fulcrum.
    pub offers: Vec<Offer>,
    /// What hordes wait for.
    pub waits: BTreeMap<HordeName, String>,
}

/// What genghis looks at.
#[derive(Clone, Copy, Debug)]
pub struct Sees<'a> {
    /// Who sits where.
    pub roles: &'a Roles,
    /// What the facts say.
    pub known: &'a Known,
    /// Since when home members have been missed.
    pub absences: &'a Absences,
    /// The moment.
    pub now: Time,
    /// How fast time counts here.
    pub pace: Pace,
}

/// What ADMIN's seat of this flock offers.
#[must_use]
pub fn word(sees: &Sees<'_>) -> Word {
    let mut word = Word::default();
    let mut free: BTreeSet<FulcrumId> = match sees.roles.hordes.get(&HordeName::main()) {
        Some(main) => main.present.iter().filter(|id| !main.lent.contains(*id)).cloned().collect(),
        None => BTreeSet::new(),
    };
    free.retain(|id| sees.known.cordon(id).is_none());
    // Everybody is of `main` who is nowhere else, and ADMIN is a flag: neither takes homes.
    let built_in = [HordeName::main(), HordeName::admin()];
    let none = HordeRoles::default();
    let hordes = || sees.known.hordes().iter().filter(|(horde, _)| !built_in.contains(horde));
    let members = |horde: &HordeName| sees.roles.hordes.get(horde).unwrap_or(&none);
    // Homes first, of all hordes: who stands in somewhere may be wanted for good elsewhere.
    for (horde, fact) in hordes() {
        sees.homes(horde, fact, members(horde), &mut free, &mut word);
    }
    for (horde, fact) in hordes() {
        sees.vacancies(horde, fact, members(horde), &mut free, &mut word);
    }
    sees.flags(&mut word);
    word
}

impl Sees<'_> {
    fn homes(
        &self,
        horde: &HordeName,
        fact: &Horde,
        members: &HordeRoles,
        free: &mut BTreeSet<FulcrumId>,
        word: &mut Word,
    ) {
        let mut home = members.home();
        let (had, want) = (home.len(), fact.want as usize);
        let why = format!("{horde} wants {want} home members and has {had}");
        if had > want {
            // Who came last goes first: two parts of a split may both have filled up what was lacking before it.
            let mut leaving = members.present.clone();
            leaving.sort_by_cached_key(|id| (self.known.rows().get(id).map_or(0, |row| row.since), id.clone()));
            for to in leaving.into_iter().rev().take(had - want) {
                word.offers.push(Offer { to, horde: HordeName::main(), stands_for: None, why: why.clone() });
            }
            return;
        }
        let admits = match Admits::parse(&fact.r#where) {
            Ok(admits) => admits,
            Err(why) => {
                word.waits.insert(horde.clone(), why);
                return;
            }
        };
        // Who already stands in for a member that is none any more need not move to become one itself.
        let mut here: BTreeSet<FulcrumId> = members.substitutes.iter().map(|one| one.id.clone()).collect();
        here.retain(|id| self.known.cordon(id).is_none());
        while home.len() < want {
            let Some(to) = self.best(&here, &admits, &home).or_else(|| self.best(free, &admits, &home)) else {
                let lacks = want - home.len();
                word.waits.insert(horde.clone(), format!("waits for {}", nodes(lacks, fact)));
                break;
            };
            here.remove(&to);
            free.remove(&to);
            word.offers.push(Offer { to: to.clone(), horde: horde.clone(), stands_for: None, why: why.clone() });
            home.push(to);
        }
    }

    /// Of these the one that a horde takes first which has those.
    fn best(&self, of: &BTreeSet<FulcrumId>, admits: &Admits, with: &[FulcrumId]) -> Option<FulcrumId> {
        let crowd = |id: &FulcrumId| with.iter().filter(|other| self.zone(other) == self.zone(id)).count();
        let fit = of.iter().filter(|id| admits.admits(id, &self.known.labels(id)));
        fit.min_by_key(|id| (crowd(id), (*id).clone())).cloned()
    }

    /// Places of members that are missed for long, and the end of those who filled such places.
    fn vacancies(
        &self,
        horde: &HordeName,
        fact: &Horde,
        members: &HordeRoles,
        free: &mut BTreeSet<FulcrumId>,
        word: &mut Word,
    ) {
        let promised = |id: &FulcrumId| word.offers.iter().any(|offer| offer.to == *id && offer.horde == *horde);
        if let Some(to) = vacancy::next_to_go(members, fact.want).filter(|id| !promised(id)) {
            let why = format!("whom it stands in for at {horde} is back, or has no place there any more");
            word.offers.push(Offer { to: to.clone(), horde: HordeName::main(), stands_for: None, why });
        }
        let (Some(after), Ok(admits)) = (vacancy::after(fact, self.pace), Admits::parse(&fact.r#where)) else { return };
        let missed = |id: &FulcrumId| self.absences.since(id).map(|since| self.now.since(since));
        let open = vacancy::open(members, fact.want, |id| missed(id).is_some_and(|missed| missed >= after));
        let substitutes = members.substitutes.iter().map(|substitute| &substitute.id);
        let mut with: Vec<FulcrumId> = members.present.iter().chain(substitutes).cloned().collect();
        let mut waiting = Vec::new();
        for of in open {
            let Some(to) = self.best(free, &admits, &with) else {
                waiting.push(of.to_string());
                continue;
            };
            free.remove(&to);
            let why = format!("{of} of {horde} has been missed for {}", seconds(missed(of).unwrap_or_default()));
            word.offers.push(Offer { to: to.clone(), horde: horde.clone(), stands_for: Some(of.clone()), why });
            with.push(to);
        }
        if !waiting.is_empty() {
            let why = format!("waits for {} to stand in for {}", nodes(waiting.len(), fact), waiting.join(", "));
            let said = word.waits.entry(horde.clone()).or_default();
            *said = if said.is_empty() { why } else { format!("{said}; {why}") };
        }
    }

    fn flags(&self, word: &mut Word) {
        let carriers = &self.roles.carriers;
        let admin = self.roles.hordes.get(&HordeName::admin());
        let flagged = admin.into_iter().flat_map(|admin| admin.present.iter().chain(&admin.joining));
        let mut flagged: Vec<FulcrumId> = flagged.filter(|id| carriers.has(id)).cloned().collect();
        let had = flagged.len();
        while flagged.len() < carriers.size {
            let crowd = |id: &FulcrumId| flagged.iter().filter(|other| self.zone(other) == self.zone(id)).count();
            let candidates = carriers.may.iter().filter(|id| !flagged.contains(id));
            // Roster order breaks ties: `min_by_key` keeps the first. A cordoned one is better than none.
            let best = candidates.min_by_key(|id| (self.known.cordon(id).is_some(), crowd(id)));
            let Some(to) = best.cloned() else { break };
            let why = format!("ADMIN wants {} members and has {had}", carriers.size);
            word.offers.push(Offer { to: to.clone(), horde: HordeName::admin(), stands_for: None, why });
            flagged.push(to);
        }
    }

    fn zone(&self, id: &FulcrumId) -> Option<String> {
        self.known.labels(id).remove("zone")
    }
}

fn nodes(count: usize, fact: &Horde) -> String {
    let plural = if count == 1 { "" } else { "s" };
    let whom = if fact.r#where.trim().is_empty() { String::new() } else { format!(" with {}", fact.r#where) };
    format!("{count} free node{plural}{whom}")
}

#[cfg(test)]
mod tests {
    use super::super::roles::roles;
    use super::*;
    use crate::facts::value::{Horde, Row};
    use crate::flock::view::Seat;
    use crux_names::{Boot, Member};
    use prost::Message;

    fn roster(names: &[&str]) -> Vec<Seat> {
        let seat = |name: &&str| Seat {
            member: Member { id: name.parse().unwrap(), boot: Boot(1) },
            addr: "127.0.0.1:1".parse().unwrap(),
            visitor: false,
        };
        names.iter().map(seat).collect()
    }

    fn row(known: &mut Known, who: &str, horde: &str, admin: &str, zone: &str) {
        let labels = BTreeMap::from([("zone".into(), zone.into())]);
        let row = Row { horde: horde.into(), admin: admin.into(), labels, admission: 1, ..Row::default() };
        known.take(&format!("row/{who}/0"), Some(&row.encode_to_vec().into()));
    }

    fn want(known: &mut Known, horde: &str, want: u32, admits: &str) {
        let fact = Horde { want, r#where: admits.into(), ..Horde::default() };
        known.take(&format!("horde/{horde}"), Some(&fact.encode_to_vec().into()));
    }

    fn said(names: &[&str], known: &Known) -> (Vec<String>, Word) {
        said_after(names, known, 0)
    }

    /// What is said when whoever is missed has been so for this long.
    fn said_after(names: &[&str], known: &Known, millis: u64) -> (Vec<String>, Word) {
        let roster = roster(names);
        let roles = roles(&roster, known);
        let mut absences = Absences::default();
        absences.look(Time::ZERO, &roles);
        let now = Time::from_millis(millis);
        let word = word(&Sees { roles: &roles, known, absences: &absences, now, pace: Pace(1000) });
        let text = |offer: &Offer| match &offer.stands_for {
            Some(of) => format!("{}:{} for {of}", offer.to, offer.horde),
            None => format!("{}:{}", offer.to, offer.horde),
        };
        (word.offers.iter().map(text).collect(), word)
    }

    #[test]
    fn hordes_get_free_fulcrums_where_they_want_them_and_spread_over_zones() {
        let mut known = Known::default();
        for (who, zone) in [("n1", "a"), ("n2", "a"), ("n3", "b"), ("n4", "b")] {
            row(&mut known, who, "", "ADMIN", zone);
        }
        want(&mut known, "web", 2, "");
        assert_eq!(said(&["n1", "n2", "n3", "n4"], &known).0, ["n1:web", "n3:web"]);
        want(&mut known, "web", 3, "zone=b");
        let (offers, word) = said(&["n1", "n2", "n3", "n4"], &known);
        assert_eq!(offers, ["n3:web", "n4:web"]);
        assert_eq!(word.waits[&"web".parse().unwrap()], "waits for 1 free node with zone=b");
    }

    #[test]
    fn an_absent_home_member_still_counts() {
        let mut known = Known::default();
        row(&mut known, "n1", "", "ADMIN", "a");
        row(&mut known, "n9", "web", "", "a");
        want(&mut known, "web", 1, "");
        assert!(said(&["n1"], &known).0.is_empty());
    }

    #[test]
    fn a_horde_that_is_too_large_releases_the_last_by_name() {
        let mut known = Known::default();
        for who in ["n1", "n2", "n3"] {
            row(&mut known, who, "web", "ADMIN", "a");
        }
        want(&mut known, "web", 2, "");
        assert_eq!(said(&["n3", "n1", "n2"], &known).0, ["n3:main"]);
    }

    fn stand(known: &mut Known, who: &str, horde: &str, of: &str) {
        let labels = BTreeMap::from([("zone".into(), "a".into())]);
        let stands_for = format!("{of}/0");
        let row = Row { labels, admin: "ADMIN".into(), stands_in: horde.into(), stands_for, ..Row::default() };
        known.take(&format!("row/{who}/0"), Some(&row.encode_to_vec().into()));
    }

    #[test]
    fn who_came_last_goes_first_of_a_horde_that_is_too_large() {
        let mut known = Known::default();
        for (who, since) in [("n1", 9), ("n2", 0), ("n3", 0)] {
            let row = Row { horde: "web".into(), admin: "ADMIN".into(), since, ..Row::default() };
            known.take(&format!("row/{who}/0"), Some(&row.encode_to_vec().into()));
        }
        want(&mut known, "web", 2, "");
        assert_eq!(said(&["n3", "n1", "n2"], &known).0, ["n1:main"]);
    }

    #[test]
    fn a_free_fulcrum_may_stand_in_for_who_has_been_missed_for_long_and_no_cordoned_one() {
        let mut known = Known::default();
        row(&mut known, "n1", "web", "ADMIN", "a");
        row(&mut known, "n9", "web", "", "a");
        for free in ["n2", "n3"] {
            row(&mut known, free, "", "ADMIN", "a");
        }
        want(&mut known, "web", 2, "zone=a");
        let names = ["n1", "n2", "n3"];
        assert!(said_after(&names, &known, 599_999).0.is_empty());
        assert_eq!(said_after(&names, &known, 600_000).0, ["n2:web for n9"]);
        let cordon = crate::facts::value::Cordon::default().encode_to_vec().into();
        known.take("cordon/n2/0", Some(&cordon));
        assert_eq!(said_after(&names, &known, 600_000).0, ["n3:web for n9"]);
        known.take("cordon/n3/0", Some(&cordon));
        let (offers, word) = said_after(&names, &known, 600_000);
        assert!(offers.is_empty());
        let waits = &word.waits[&"web".parse().unwrap()];
        assert_eq!(waits, "waits for 1 free node with zone=a to stand in for n9");
        known.take("cordon/n3/0", None);
        for (after, offered) in [(30_000, true), (u64::MAX, false), (700_000, false)] {
            let fact = Horde { want: 2, vacancy_after_ms: after, ..Horde::default() };
            known.take("horde/web", Some(&fact.encode_to_vec().into()));
            assert_eq!(!said_after(&names, &known, 650_000).0.is_empty(), offered, "{after}");
        }
    }

    #[test]
    fn substitutes_are_released_one_by_one_when_members_are_back_and_members_never_are() {
        let mut known = Known::default();
        for who in ["n1", "n2", "n3"] {
            row(&mut known, who, "web", "ADMIN", "a");
        }
        for (who, of) in [("n5", "n2"), ("n6", "n3")] {
            stand(&mut known, who, "web", of);
        }
        want(&mut known, "web", 3, "");
        assert!(said_after(&["n1", "n5", "n6"], &known, 900_000).0.is_empty());
        assert_eq!(said(&["n1", "n2", "n5", "n6"], &known).0, ["n5:main"]);
        assert_eq!(said(&["n1", "n2", "n3", "n5", "n6"], &known).0, ["n5:main"], "one by one");
        stand(&mut known, "n5", "", "");
        assert_eq!(said(&["n1", "n2", "n3", "n5", "n6"], &known).0, ["n6:main"]);
    }

    #[test]
    fn who_stands_in_for_a_member_that_was_forgotten_is_asked_first_to_be_one() {
        let mut known = Known::default();
        row(&mut known, "n1", "web", "ADMIN", "a");
        row(&mut known, "n2", "", "ADMIN", "b");
        stand(&mut known, "n5", "web", "n9");
        want(&mut known, "web", 2, "");
        assert_eq!(said(&["n1", "n2", "n5"], &known).0, ["n5:web"]);
    }

    #[test]
    fn the_admin_flag_is_offered_to_other_zones_first() {
        let mut known = Known::default();
        row(&mut known, "n1", "", "ADMIN", "a");
        row(&mut known, "n2", "", "", "a");
        row(&mut known, "n3", "", "", "b");
        row(&mut known, "n4", "", "", "a");
        assert_eq!(said(&["n1", "n2", "n3", "n4"], &known).0, ["n3:ADMIN", "n2:ADMIN"]);
        assert_eq!(said(&["n1", "n2"], &known).0, ["n2:ADMIN"]);
        want(&mut known, "ADMIN", 4, "");
        assert_eq!(said(&["n1", "n2", "n3", "n4"], &known).0, ["n3:ADMIN", "n2:ADMIN", "n4:ADMIN"]);
        want(&mut known, "ADMIN", 3, "node under n4");
        assert_eq!(said(&["n1", "n2", "n3", "n4"], &known).0, ["n4:ADMIN"], "n1 does not count any more");
        want(&mut known, "ADMIN", 2, "node under n9");
        assert_eq!(said(&["n1", "n2", "n3", "n4"], &known).0, ["n3:ADMIN"], "n9 is not here");
        want(&mut known, "ADMIN", 1, "");
        assert!(said(&["n1", "n2", "n3", "n4"], &known).0.is_empty());
    }
}
