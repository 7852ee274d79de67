//! Genghis: the horde administration, at ADMIN's seat. It offers free fulcrums to hordes that want more, and the ADMIN
//! flag until ADMIN has its size. An offer is only a word: the fulcrum checks the operators' facts and writes its own row.
//!
//! `where` decides first, then the spread over the label `zone`, then the name. Absent home members count, so a split
//! changes nobody's home. Not here yet: vacancies, substitutes and quotas.

use super::admit::Admits;
use super::known::Known;
use super::roles::{ADMIN_SIZE, Roles};
use crate::flock::view::Seat;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use crux_names::{FulcrumId, HordeName};

/// One offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// To whom.
    pub to: FulcrumId,
    /// Of which horde; `main` releases, ADMIN is the flag.
    pub horde: HordeName,
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

/// What ADMIN's seat of this flock offers, given who is here and what the facts say.
#[must_use]
pub fn word(roster: &[Seat], roles: &Roles, known: &Known) -> Word {
    let mut word = Word::default();
    let mut free: BTreeSet<FulcrumId> =
        roles.hordes.get(&HordeName::main()).map(|main| main.present.iter().cloned().collect()).unwrap_or_default();
    free.retain(|id| known.cordon(id).is_none());
    for (horde, fact) in known.hordes() {
        // Everybody is of `main` who is nowhere else, and ADMIN is a flag: neither takes homes.
        if *horde == HordeName::main() || *horde == HordeName::admin() {
            continue;
        }
        let members = roles.hordes.get(horde).cloned().unwrap_or_default();
        let mut home = members.home();
        let want = fact.want as usize;
        if home.len() > want {
            let mut leaving = members.present.clone();
            leaving.sort();
            for to in leaving.into_iter().rev().take(home.len() - want) {
                let why = format!("{horde} wants {want} home members and has {}", home.len());
                word.offers.push(Offer { to, horde: HordeName::main(), why });
            }
            continue;
        }
        let admits = match Admits::parse(&fact.r#where) {
            Ok(admits) => admits,
            Err(why) => {
                word.waits.insert(horde.clone(), why);
                continue;
            }
        };
        while home.len() < want {
            let crowd = |id: &FulcrumId| home.iter().filter(|other| zone(known, other) == zone(known, id)).count();
            let chosen = free
                .iter()
                .filter(|id| admits.admits(id, &known.labels(id)))
                .min_by_key(|id| (crowd(id), (*id).clone()))
                .cloned();
            let Some(to) = chosen else {
                let lacks = want - home.len();
                let whom =
                    if fact.r#where.trim().is_empty() { String::new() } else { format!(" with {}", fact.r#where) };
                word.waits.insert(horde.clone(), format!("waits for {lacks} free node{}{whom}", plural(lacks)));
                break;
            };
            free.remove(&to);
            let why = format!("{horde} wants {want} home members and has {}", members.home().len());
            word.offers.push(Offer { to: to.clone(), horde: horde.clone(), why });
            home.push(to);
        }
    }
    let mut flagged: Vec<FulcrumId> = roles.admin().to_vec();
    if let Some(admin) = roles.hordes.get(&HordeName::admin()) {
        flagged.extend(admin.joining.iter().cloned());
    }
    let size = ADMIN_SIZE.min(roster.iter().filter(|seat| !seat.visitor).count());
    while flagged.len() < size {
        let crowd = |id: &FulcrumId| flagged.iter().filter(|other| zone(known, other) == zone(known, id)).count();
        let candidates = roster.iter().filter(|seat| !seat.visitor).map(|seat| &seat.member.id);
        let candidates = candidates.filter(|id| !flagged.contains(id));
        // Roster order breaks ties: `min_by_key` keeps the first. A cordoned one is better than none.
        let Some(to) = candidates.min_by_key(|id| (known.cordon(id).is_some(), crowd(id))).cloned() else { break };
        let why = format!("ADMIN wants {size} members and has {}", roles.flagged());
        word.offers.push(Offer { to: to.clone(), horde: HordeName::admin(), why });
        flagged.push(to);
    }
    word
}

fn zone(known: &Known, id: &FulcrumId) -> Option<String> {
    known.labels(id).remove("zone")
}

fn plural(n: usize) -> &'static str {
    if n == 1 { "" } else { "s" }
}

#[cfg(test)]
mod tests {
    use super::super::roles::roles;
    use super::*;
    use crate::facts::value::{Horde, Row};
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
        let roster = roster(names);
        let word = word(&roster, &roles(&roster, known.rows()), known);
        (word.offers.iter().map(|offer| format!("{}:{}", offer.to, offer.horde)).collect(), word)
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

    #[test]
    fn the_admin_flag_is_offered_to_other_zones_first() {
        let mut known = Known::default();
        row(&mut known, "n1", "", "ADMIN", "a");
        row(&mut known, "n2", "", "", "a");
        row(&mut known, "n3", "", "", "b");
        row(&mut known, "n4", "", "", "a");
        assert_eq!(said(&["n1", "n2", "n3", "n4"], &known).0, ["n3:ADMIN", "n2:ADMIN"]);
        assert_eq!(said(&["n1", "n2"], &known).0, ["n2:ADMIN"]);
    }
}
