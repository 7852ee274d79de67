//! Roles: who sits where, as one pure function of who is here and what the rows say. There is no election: when the view
//! or a row changes, everybody computes the same answer.
//!
//! The seat of a horde is its first present home member by roster seniority; ADMIN's seat is the first present flagged
//! fulcrum; where none of a horde's home members is, the first substitute of one of them. A fulcrum without a row is in
//! `main`. A row `+name` is on its way: it is of the horde, but never its seat before its services answer. Who says that it
//! stands in counts as a substitute only where the operators' facts let it.

use super::admin::Carriers;
use super::known::Known;
use crate::facts::value::Row;
use crate::flock::view::Seat;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use crux_names::{ADMIN, FulcrumId, HordeName};

/// Who works for a horde in the place of an absent home member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Substitute {
    /// Who.
    pub id: FulcrumId,
    /// In whose place.
    pub of: FulcrumId,
}

/// Who is of a horde.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HordeRoles {
    /// Present home members whose services answer, in roster order: the first is the seat.
    pub present: Vec<FulcrumId>,
    /// Present fulcrums on their way into it.
    pub joining: Vec<FulcrumId>,
    /// Home members that are not in this flock, by name.
    pub absent: Vec<FulcrumId>,
    /// Present fulcrums that stand in for home members, in roster order. They are at home elsewhere and do not count here.
    pub substitutes: Vec<Substitute>,
    /// Those of the present home members that stand in elsewhere: they count here and get no work.
    pub lent: BTreeSet<FulcrumId>,
}

impl HordeRoles {
    /// Where its proctor and healthminder sit.
    #[must_use]
    pub fn seat(&self) -> Option<&FulcrumId> {
        let stands_in = || self.substitutes.iter().find(|substitute| self.absent.contains(&substitute.of));
        self.present.first().or_else(|| stands_in().map(|substitute| &substitute.id))
    }

    /// All home members by name: those that count, present or not.
    #[must_use]
    pub fn home(&self) -> Vec<FulcrumId> {
        let mut home: Vec<_> = self.present.iter().chain(&self.joining).chain(&self.absent).cloned().collect();
        home.sort();
        home
    }
}

/// Who sits where in one flock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roles {
    /// Every horde that has a member, ADMIN among them.
    pub hordes: BTreeMap<HordeName, HordeRoles>,
    /// Who may carry the ADMIN flag here, and how many do.
    pub carriers: Carriers,
    homes: BTreeMap<FulcrumId, HordeName>,
}

impl Roles {
    /// The seat of a horde.
    #[must_use]
    pub fn seat(&self, horde: &HordeName) -> Option<&FulcrumId> {
        self.hordes.get(horde).and_then(HordeRoles::seat)
    }

    /// Present fulcrums with the ADMIN flag, in roster order.
    #[must_use]
    pub fn admin(&self) -> &[FulcrumId] {
        self.hordes.get(&HordeName::admin()).map_or(&[], |admin| &admin.present)
    }

    /// How many present fulcrums carry the flag or are about to.
    #[must_use]
    pub fn flagged(&self) -> usize {
        self.hordes.get(&HordeName::admin()).map_or(0, |admin| admin.present.len() + admin.joining.len())
    }

    /// The home horde of a fulcrum of which there is a row or which is present; else `main`.
    #[must_use]
    pub fn home(&self, fulcrum: &FulcrumId) -> HordeName {
        self.homes.get(fulcrum).cloned().unwrap_or_else(HordeName::main)
    }

    /// Whether a present fulcrum obeys the plans of a horde: by its home, as a substitute, or by the flag for ADMIN.
    #[must_use]
    pub fn is_member(&self, horde: &HordeName, fulcrum: &FulcrumId) -> bool {
        let stands_in = |roles: &HordeRoles| roles.substitutes.iter().any(|substitute| substitute.id == *fulcrum);
        self.hordes.get(horde).is_some_and(|roles| roles.present.contains(fulcrum) || stands_in(roles))
    }
}

/// The home horde that a row's text names, and whether it is only on its way there. A name that breaks the rules is
/// `main`: such a row was written by another version or by mistake, and the fulcrum must count somewhere.
#[must_use]
pub fn home_of(row: &Row) -> (HordeName, bool) {
    let (name, joining) = match row.horde.strip_prefix('+') {
        Some(rest) => (rest, true),
        None => (row.horde.as_str(), false),
    };
    match HordeName::parse(name) {
        Ok(horde) if name != ADMIN => (horde, joining),
        _ => (HordeName::main(), false),
    }
}

/// The horde that a row's fulcrum stands in at, and for whom, if it does.
#[must_use]
pub fn stands_in(row: &Row) -> Option<(HordeName, FulcrumId)> {
    let horde = HordeName::parse(&row.stands_in).ok().filter(|horde| *horde != HordeName::admin())?;
    Some((horde, row.stands_for.parse().ok()?))
}

/// Who sits where, given who is here and what the facts say: every fulcrum's row, and of hordes who may stand in.
#[must_use]
pub fn roles(roster: &[Seat], known: &Known) -> Roles {
    let rows = known.rows();
    let mut roles = Roles::default();
    let none = Row::default();
    let admin = HordeName::admin();
    for seat in roster {
        let id = &seat.member.id;
        let row = rows.get(id).unwrap_or(&none);
        if seat.visitor || row.left {
            // It follows the flock, or leaves it, and gets no work: it is of no horde, and nobody misses it where it was.
            roles.homes.insert(id.clone(), HordeName::main());
            continue;
        }
        let (home, joining) = home_of(row);
        if let Some((horde, of)) = stands_in(row).filter(|(at, _)| *at != home && known.may_stand_in(id, at)) {
            roles.hordes.entry(horde).or_default().substitutes.push(Substitute { id: id.clone(), of });
            roles.hordes.entry(home.clone()).or_default().lent.insert(id.clone());
        }
        let horde = roles.hordes.entry(home.clone()).or_default();
        if joining { &mut horde.joining } else { &mut horde.present }.push(id.clone());
        match row.admin.as_str() {
            "ADMIN" => roles.hordes.entry(admin.clone()).or_default().present.push(id.clone()),
            "+ADMIN" => roles.hordes.entry(admin.clone()).or_default().joining.push(id.clone()),
            _ => {}
        }
        roles.homes.insert(id.clone(), home);
    }
    roles.carriers = Carriers::of(roster, known);
    for (id, row) in rows {
        if roles.homes.contains_key(id) || row.left {
            continue;
        }
        let (home, _) = home_of(row);
        roles.hordes.entry(home.clone()).or_default().absent.push(id.clone());
        if row.admin == ADMIN {
            roles.hordes.entry(admin.clone()).or_default().absent.push(id.clone());
        }
        roles.homes.insert(id.clone(), home);
    }
    roles
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::value::{Horde, VACANCY_NEVER_MS, row_path};
    use crux_names::{Boot, Member};
    use prost::Message as _;

    fn seat(name: &str) -> Seat {
        Seat {
            member: Member { id: name.parse().unwrap(), boot: Boot(1) },
            addr: "127.0.0.1:1".parse().unwrap(),
            visitor: false,
        }
    }

    fn row(horde: &str, admin: &str) -> Row {
        Row { horde: horde.into(), admin: admin.into(), ..Row::default() }
    }

    fn id(name: &str) -> FulcrumId {
        name.parse().unwrap()
    }

    /// These rows, and a horde `web` that takes everybody in `zone=a`.
    fn known(rows: &BTreeMap<FulcrumId, Row>, fact: Horde) -> Known {
        let mut known = Known::default();
        for (id, row) in rows {
            known.take(&row_path(id), Some(&row.encode_to_vec().into()));
        }
        known.take("horde/web", Some(&fact.encode_to_vec().into()));
        known
    }

    #[test]
    fn a_fulcrum_without_a_row_is_in_main_and_the_eldest_sits_there() {
        let roles = roles(&[seat("n2"), seat("n1")], &Known::default());
        assert_eq!(roles.seat(&HordeName::main()), Some(&id("n2")));
        assert_eq!(roles.admin(), &[] as &[FulcrumId]);
    }

    #[test]
    fn the_seat_of_a_horde_is_its_first_present_home_member_whose_services_answer() {
        let web = HordeName::parse("web").unwrap();
        let rows = BTreeMap::from([
            (id("n1"), row("web", "")),
            (id("n2"), row("+web", "")),
            (id("n3"), row("web", "ADMIN")),
            (id("n9"), row("web", "ADMIN")),
        ]);
        let roles = roles(&[seat("n2"), seat("n3"), seat("n1")], &known(&rows, Horde::default()));
        assert_eq!(roles.seat(&web), Some(&id("n3")));
        assert_eq!(roles.hordes[&web].absent, [id("n9")]);
        assert_eq!(roles.hordes[&web].home(), [id("n1"), id("n2"), id("n3"), id("n9")]);
        assert_eq!(roles.admin(), [id("n3")]);
        assert!(!roles.is_member(&web, &id("n2")) && roles.is_member(&web, &id("n1")));
    }

    #[test]
    fn a_substitute_works_elsewhere_and_counts_at_home() {
        let (main, web) = (HordeName::main(), HordeName::parse("web").unwrap());
        let stands = |of: &str| Row { stands_in: "web".into(), stands_for: of.into(), ..Row::default() };
        let mut rows = BTreeMap::from([
            (id("n1"), row("web", "")),
            (id("n8"), row("web", "")),
            (id("n9"), stands("n8/0")),
            (id("n5"), stands("n7/0")),
        ]);
        let of = |rows: &BTreeMap<_, _>, names: &[&str]| {
            let roster: Vec<Seat> = names.iter().map(|name| seat(name)).collect();
            roles(&roster, &known(rows, Horde::default()))
        };
        let all = of(&rows, &["n9", "n1", "n2"]);
        assert_eq!(all.seat(&web), Some(&id("n1")), "a home member, though the substitute is senior");
        assert_eq!(all.hordes[&web].home(), [id("n1"), id("n8")]);
        assert_eq!(all.hordes[&web].substitutes, [Substitute { id: id("n9"), of: id("n8") }]);
        assert_eq!(all.hordes[&main].present, [id("n9"), id("n2")]);
        assert!(all.hordes[&main].lent.contains(&id("n9")) && all.is_member(&web, &id("n9")));
        assert_eq!(all.hordes[&main].absent, [id("n5")], "an absent one is missed at home and stands in nowhere");
        let part = of(&rows, &["n2", "n9"]);
        assert_eq!(part.seat(&web), Some(&id("n9")), "where no home member is");
        // Whoever left on purpose is missed nowhere, whether it is still here or not.
        rows.insert(id("n8"), Row { left: true, ..row("web", "ADMIN") });
        for names in [&["n9", "n1"][..], &["n9", "n1", "n8"]] {
            let roles = of(&rows, names);
            assert_eq!(roles.hordes[&web].home(), [id("n1")]);
            assert!(roles.hordes.get(&HordeName::admin()).is_none_or(|admin| admin.home().is_empty()));
        }
    }

    #[test]
    fn who_says_that_it_stands_in_where_no_operator_lets_it_is_no_substitute() {
        let web = HordeName::parse("web").unwrap();
        let in_zone = |zone: &str, of: &str| Row {
            stands_in: "web".into(),
            stands_for: of.into(),
            labels: BTreeMap::from([("zone".into(), zone.into())]),
            ..Row::default()
        };
        let rows = BTreeMap::from([
            (id("n1"), row("web", "")),
            (id("n3"), in_zone("b", "n1/0")),
            (id("n4"), in_zone("a", "n1/0")),
            (id("n5"), in_zone("a", "n77/0")),
        ]);
        let of = |fact: Horde| roles(&[seat("n5"), seat("n3"), seat("n4")], &known(&rows, fact));
        let admits = Horde { r#where: "zone=a".into(), ..Horde::default() };
        let part = of(admits.clone());
        let names: Vec<_> = part.hordes[&web].substitutes.iter().map(|one| one.id.clone()).collect();
        assert_eq!(names, [id("n5"), id("n4")], "n3 is in another zone than the operator wants");
        assert_eq!(part.seat(&web), Some(&id("n4")), "n5 stands in for nobody who is missed");
        let never = of(Horde { vacancy_after_ms: VACANCY_NEVER_MS, ..admits });
        assert!(never.hordes[&web].substitutes.is_empty() && never.seat(&web).is_none());
        assert!(!never.is_member(&web, &id("n4")));
    }

    #[test]
    fn a_row_that_names_no_horde_counts_in_main() {
        for text in ["", "Web!", "ADMIN", "+"] {
            assert_eq!(home_of(&row(text, "")).0, HordeName::main(), "{text:?}");
        }
    }

    #[test]
    fn a_visitor_is_of_no_horde_and_is_missed_in_none() {
        let guest = Seat { visitor: true, ..seat("n3") };
        let rows = BTreeMap::from([(id("n3"), row("main", "ADMIN"))]);
        let roles = roles(&[seat("n2"), seat("n1"), guest], &known(&rows, Horde::default()));
        assert_eq!(roles.hordes[&HordeName::main()].present, [id("n2"), id("n1")]);
        assert!(roles.hordes[&HordeName::main()].absent.is_empty());
        assert!(roles.admin().is_empty() && !roles.is_member(&HordeName::main(), &id("n3")));
    }
}
