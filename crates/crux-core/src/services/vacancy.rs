//! Vacancies: places of home members that are missed for long, and who stands in for them meanwhile.
//!
//! A substitute keeps its own home and counts nowhere else: it only works for the horde whose member it stands in for. It
//! goes as soon as that member is back, or has no place there any more: first what runs on it moves away, as from a drained
//! node, then it is released. One substitute of a horde goes at a time, and never a home member in its stead.

use super::pace::Pace;
use super::roles::{HordeRoles, Roles, Substitute};
use crate::facts::value::{Horde, VACANCY_AFTER_MS, VACANCY_NEVER_MS};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use crux_names::{Duration, FulcrumId, HordeName, Time};

/// Since when each home member has been missed, as one fulcrum saw it. Every fulcrum keeps it, so that a new seat of ADMIN
/// goes on where the last one was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Absences(BTreeMap<FulcrumId, Time>);

impl Absences {
    /// Sees who is missed now.
    pub fn look(&mut self, now: Time, roles: &Roles) {
        let absent: BTreeSet<&FulcrumId> = roles.hordes.values().flat_map(|horde| &horde.absent).collect();
        self.0.retain(|id, _| absent.contains(id));
        for id in absent {
            self.0.entry(id.clone()).or_insert(now);
        }
    }

    /// Since when somebody has been missed.
    #[must_use]
    pub fn since(&self, id: &FulcrumId) -> Option<Time> {
        self.0.get(id).copied()
    }
}

/// How long a home member of this horde is missed before its place is a vacancy; `None`: for ever. What an operator says
/// is meant as it is said; the default goes by the pace of the bloc.
#[must_use]
pub fn after(fact: &Horde, pace: Pace) -> Option<Duration> {
    match fact.vacancy_after_ms {
        0 => Some(pace.ms(VACANCY_AFTER_MS)),
        VACANCY_NEVER_MS => None,
        millis => Some(Duration::from_millis(millis)),
    }
}

/// Whether operators' facts let anybody stand in for this member of the horde.
#[must_use]
pub fn may_be_filled(horde: &HordeName, fact: &Horde) -> bool {
    fact.vacancy_after_ms != VACANCY_NEVER_MS && *horde != HordeName::main() && *horde != HordeName::admin()
}

/// How many of a horde's absent members somebody may stand in for: as many as it lacks of what its operator wants.
fn room(members: &HordeRoles, want: u32) -> usize {
    (want as usize).saturating_sub(members.present.len() + members.joining.len())
}

/// The absent members of a horde whose places nobody fills though they may be filled, by name.
#[must_use]
pub fn open(members: &HordeRoles, want: u32, is_due: impl Fn(&FulcrumId) -> bool) -> Vec<&FulcrumId> {
    let filled: BTreeSet<&FulcrumId> = members.substitutes.iter().map(|substitute| &substitute.of).collect();
    let absent = members.absent.iter().filter(|id| !filled.contains(id) && is_due(id));
    let needed = members.substitutes.iter().filter(|substitute| members.absent.contains(&substitute.of)).count();
    absent.take(room(members, want).saturating_sub(needed)).collect()
}

/// The substitute of a horde that goes next, because whom it stands in for is back or has no place there any more, or
/// because another one fills that place already. `want` is what the operator wants of the horde; 0 if no fact wants it.
#[must_use]
pub fn next_to_go(members: &HordeRoles, want: u32) -> Option<&FulcrumId> {
    let mut room = room(members, want);
    let mut filled = BTreeSet::new();
    let surplus = members.substitutes.iter().filter(|substitute| {
        let needed = room > 0 && members.absent.contains(&substitute.of) && filled.insert(&substitute.of);
        room -= usize::from(needed);
        !needed
    });
    // Whoever says that it stands in for somebody whom nobody knows goes last, so that it keeps nobody else waiting.
    let strange = |substitute: &Substitute| {
        let of = &substitute.of;
        !members.present.contains(of) && !members.joining.contains(of) && !members.absent.contains(of)
    };
    surplus.min_by_key(|substitute| (strange(substitute), &substitute.id)).map(|substitute| &substitute.id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    fn ids(names: &str) -> Vec<FulcrumId> {
        names.split_whitespace().map(|name| name.parse().unwrap()).collect()
    }

    fn horde(present: &str, absent: &str, substitutes: &str) -> HordeRoles {
        let substitute = |pair: &str| {
            let (id, of) = pair.split_once(':').unwrap();
            Substitute { id: id.parse().unwrap(), of: of.parse().unwrap() }
        };
        HordeRoles {
            present: ids(present),
            absent: ids(absent),
            substitutes: substitutes.split_whitespace().map(substitute).collect(),
            ..HordeRoles::default()
        }
    }

    #[test]
    fn places_are_open_and_substitutes_go_as_the_members_come_and_go() {
        for (present, absent, substitutes, want, opens, goes) in [
            ("n1 n2", "", "", 2, "", None),
            ("n1", "n2", "", 2, "n2", None),
            ("n1", "n2", "n5:n2", 2, "", None),
            // It is back.
            ("n1 n2", "", "n5:n2", 2, "", Some("n5")),
            // Of two for one place the elder stays.
            ("n1", "n2", "n6:n2 n5:n2", 2, "", Some("n5")),
            // One after the other, by name.
            ("n1 n2 n3", "", "n6:n2 n5:n3", 3, "", Some("n5")),
            // Nobody misses a member that the operator does not want any more.
            ("n1", "n2 n3", "", 2, "n2", None),
            ("n1", "n2 n3", "n5:n2 n6:n3", 2, "", Some("n6")),
            // It was forgotten, so there is no place of it.
            ("n1", "", "n5:n2", 1, "", Some("n5")),
            // It stands in for nobody, and keeps nobody waiting.
            ("n1 n2", "", "n3:n77 n5:n2", 2, "", Some("n5")),
            // All are elsewhere.
            ("", "n1 n2", "n5:n1", 2, "n2", None),
            // The horde is wanted no more.
            ("n1", "n2", "n5:n2", 0, "", Some("n5")),
        ] {
            let horde = horde(present, absent, substitutes);
            let open: Vec<_> = open(&horde, want, |_| true).iter().map(ToString::to_string).collect();
            let case = (present, absent, substitutes, want);
            assert_eq!(open.join(" "), opens, "{case:?}");
            assert_eq!(next_to_go(&horde, want).map(ToString::to_string).as_deref(), goes, "{case:?}");
        }
    }

    #[test]
    fn nobody_is_missed_longer_than_it_was_away() {
        let mut absences = Absences::default();
        let with = |absent: &str| {
            let mut roles = Roles::default();
            roles.hordes.insert("web".parse().unwrap(), horde("n1", absent, ""));
            roles
        };
        let n2 = "n2".parse().unwrap();
        absences.look(Time::from_millis(1), &with("n2"));
        absences.look(Time::from_millis(2), &with("n2 n3"));
        assert_eq!(absences.since(&n2), Some(Time::from_millis(1)));
        absences.look(Time::from_millis(3), &with("n3"));
        assert_eq!(absences.since(&n2), None);
        absences.look(Time::from_millis(4), &with("n2"));
        assert_eq!(absences.since(&n2), Some(Time::from_millis(4)));
    }

    #[test]
    fn the_default_goes_by_the_pace_and_an_operators_word_does_not() {
        let fact = |vacancy_after_ms| Horde { vacancy_after_ms, ..Horde::default() };
        assert_eq!(after(&fact(0), Pace(250)), Some(Duration::from_secs(150)));
        assert_eq!(after(&fact(30_000), Pace(250)), Some(Duration::from_secs(30)));
        assert_eq!(after(&fact(VACANCY_NEVER_MS), Pace(250)), None);
        assert!(!may_be_filled(&HordeName::main(), &fact(0)), "everybody is of main who is nowhere else");
    }
}
