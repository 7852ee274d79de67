//! Leaving: who is to be of a horde no more, and how long it works on there. What runs on it moves away first, as from a
//! drained node; its row changes when nothing of that horde runs on it any more. So a horde that is made, made smaller or
//! deleted costs neither `main` nor itself an instance that others can take over.
//!
//! What nobody else can run holds nobody for ever. As long as a successor is on its way, a fulcrum waits as long as a horde
//! waits for a member that is missed ([`VACANCY_AFTER_MS`]); where none is, as long as a proctor waits for what does not
//! come up before it looks for another place ([`FETCH_PATIENCE`]). That is longer than the hold of a part of a split, in
//! which nothing moves.

use super::instance::{Phase, ServiceRef};
use super::item::Item;
use super::known::Known;
use super::pace::Pace;
use super::plan::Plan;
use super::proctor::FETCH_PATIENCE;
use super::roles::{HordeRoles, Roles, home_of, stands_in};
use crate::facts::value::{Row, VACANCY_AFTER_MS};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use crux_names::{FulcrumId, HordeName, Time};

/// The present members of a horde that are to be of it no more, by the facts: all of one that no fact wants, and of one that
/// has more than are wanted those that came last, since two parts of a split may both have filled up what was lacking before
/// it. Nobody is sent away from `main` or ADMIN.
#[must_use]
pub fn going(horde: &HordeName, members: &HordeRoles, known: &Known) -> Vec<FulcrumId> {
    if *horde == HordeName::main() || *horde == HordeName::admin() {
        return Vec::new();
    }
    let want = known.hordes().get(horde).map_or(0, |fact| fact.want as usize);
    let surplus = match known.hordes().contains_key(horde) {
        true => members.home().len().saturating_sub(want),
        false => usize::MAX,
    };
    let mut here: Vec<FulcrumId> = members.present.iter().chain(&members.joining).cloned().collect();
    here.sort_by_cached_key(|id| (known.rows().get(id).map_or(0, |row| row.since), id.clone()));
    here.into_iter().rev().take(surplus).collect()
}

/// The horde that this fulcrum leaves, or would leave next: `main`, when it is on its way into another one or stands in
/// there; its own, when the facts want it there no more. `settled`: facts that others hold have arrived.
#[must_use]
pub fn leaves(me: &FulcrumId, row: &Row, roles: &Roles, known: &Known, settled: bool) -> Option<HordeName> {
    let (home, joining) = home_of(row);
    if joining {
        return Some(HordeName::main()).filter(|main| *main != home);
    }
    if stands_in(row).is_some() {
        return Some(home);
    }
    let members = roles.hordes.get(&home).filter(|_| settled)?;
    going(&home, members, known).contains(me).then_some(home)
}

/// Hordes of which something runs here, is about to, or did what it was there to do once.
#[must_use]
pub fn busy<'a>(items: impl Iterator<Item = &'a Item>) -> BTreeSet<HordeName> {
    items.filter(|item| holds(item)).map(|item| item.instance.of.horde.clone()).collect()
}

fn holds(item: &Item) -> bool {
    item.fills() || item.instance.phase != Phase::Gone
}

/// How far this fulcrum is with leaving a horde.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leave {
    /// Which.
    pub horde: HordeName,
    /// How much of it is left here.
    left: usize,
    /// Since when it has been so much.
    since: Time,
    /// Since when nothing of it is on its way elsewhere.
    stuck: Option<Time>,
}

impl Leave {
    /// How far it is now. `before`: how far it was; `plan`: what its dean obeys there, if that is of the installed view.
    #[must_use]
    pub fn look<'a>(
        before: Option<Self>,
        now: Time,
        horde: HordeName,
        items: impl Iterator<Item = &'a Item>,
        plan: Option<&Plan>,
    ) -> Self {
        let here: Vec<&Item> = items.filter(|item| item.instance.of.horde == horde && holds(item)).collect();
        let moves = here.iter().any(|item| item.stop || plan.is_some_and(|plan| moves(plan, &item.instance.of)));
        let left = here.len();
        let (mut since, mut stuck) = (now, None);
        if let Some(before) = before.filter(|before| before.horde == horde && before.left <= left) {
            (since, stuck) = (before.since, before.stuck);
        }
        Self { horde, left, since, stuck: if moves { None } else { stuck.or(Some(now)) } }
    }

    /// From when on nothing is waited for any more.
    #[must_use]
    pub fn until(&self, pace: Pace) -> Time {
        let most = self.since + pace.ms(VACANCY_AFTER_MS);
        self.stuck.map_or(most, |stuck| most.min(stuck + FETCH_PATIENCE * pace.0 / 1000))
    }
}

/// Whether a plan has more of a service than should be: a successor is on its way, or is there already.
fn moves(plan: &Plan, of: &ServiceRef) -> bool {
    let should = plan.should.iter().find(|(name, _)| name == of).map_or(0, |(_, should)| *should as usize);
    plan.entries.iter().filter(|entry| entry.of == *of).count() > should
}

#[cfg(test)]
mod tests {
    use super::super::instance::{Instance, InstanceId};
    use super::super::plan::{Entry, PlanId};
    use super::*;
    use crate::facts::value::Horde;
    use crate::flock::view::ViewId;
    use alloc::collections::BTreeMap;
    use alloc::format;
    use alloc::string::{String, ToString};
    use crux_names::{Boot, Duration, Hash256};
    use prost::Message;

    const PACE: Pace = Pace(1000);

    fn ids(names: &str) -> Vec<FulcrumId> {
        names.split_whitespace().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn who_goes_follows_from_the_facts() {
        let web: HordeName = "web".parse().unwrap();
        for (present, joining, absent, want, goes) in [
            ("n1 n2 n3", "", "", Some(3), ""),
            // n2 came last, by its row; of the others the later name is taken to have.
            ("n3 n1 n2", "", "", Some(2), "n2"),
            ("n3 n1 n2", "", "", Some(1), "n2 n3"),
            ("n1 n2", "", "n9", Some(2), "n2"),
            ("n1 n3", "n2", "", Some(1), "n2 n3"),
            // Whoever is absent counts, and is not the one that goes here.
            ("n1", "", "n8 n9", Some(1), "n1"),
            ("n1 n3", "", "", Some(0), "n3 n1"),
            ("n1 n3", "n4", "n9", None, "n4 n3 n1"),
        ] {
            let mut known = Known::default();
            let row = Row { horde: "web".into(), since: 7, ..Row::default() };
            known.take("row/n2/0", Some(&row.encode_to_vec().into()));
            if let Some(want) = want {
                known.take("horde/web", Some(&Horde { want, ..Horde::default() }.encode_to_vec().into()));
            }
            let (present, joining, absent) = (ids(present), ids(joining), ids(absent));
            let members = HordeRoles { present, joining, absent, ..HordeRoles::default() };
            let names: Vec<String> = going(&web, &members, &known).iter().map(ToString::to_string).collect();
            assert_eq!(names.join(" "), goes, "{members:?} {want:?}");
            for built_in in [HordeName::main(), HordeName::admin()] {
                assert!(going(&built_in, &members, &known).is_empty());
            }
        }
    }

    fn of() -> ServiceRef {
        ServiceRef { horde: HordeName::main(), service: "api".parse().unwrap() }
    }

    fn runs(counter: u64) -> Item {
        let id = InstanceId { fulcrum: "n1".parse().unwrap(), boot: Boot(1), counter };
        let instance = Instance {
            id,
            of: of(),
            slot: 1,
            revision: Hash256([1; 32]),
            phase: Phase::Running,
            pid: Some(1),
            started: None,
            ports: BTreeMap::new(),
            restarts: 0,
            why: String::new(),
            hook: String::new(),
        };
        Item::new(instance, false, Time::ZERO)
    }

    fn plan(entries: u32, should: u32) -> Plan {
        let entry = |slot| Entry {
            of: of(),
            slot,
            revision: Hash256([1; 32]),
            on: format!("n{slot}").parse().unwrap(),
            instance: None,
            why: String::new(),
        };
        let view = ViewId { epoch: 1, leader: "n1".parse().unwrap(), hash: [0; 16] };
        Plan {
            id: PlanId { view, generation: 1 },
            horde: HordeName::main(),
            by: "n1".parse().unwrap(),
            entries: (1..=entries).map(entry).collect(),
            shortfalls: Vec::new(),
            should: Vec::from([(of(), should)]),
        }
    }

    #[test]
    fn it_waits_long_for_what_moves_and_less_long_for_what_cannot() {
        let main = HordeName::main;
        let items = [runs(1), runs(2)];
        let (stays, moves) = (plan(2, 2), plan(3, 2));
        let at = |seconds| Time::ZERO + Duration::from_secs(seconds);
        let stuck = Leave::look(None, at(10), main(), items.iter(), Some(&stays));
        assert_eq!(stuck.until(PACE), at(40));
        let again = Leave::look(Some(stuck.clone()), at(20), main(), items.iter(), None);
        assert_eq!(again.until(PACE), at(40), "a plan that is not there moves nothing");
        let moving = Leave::look(Some(again), at(30), main(), items.iter(), Some(&moves));
        assert_eq!(moving.until(PACE), at(610), "since it began");
        assert_eq!(moving.until(Pace(250)), at(160));
        let halfway = Leave::look(Some(moving.clone()), at(50), main(), items[1..].iter(), Some(&moves));
        assert_eq!(halfway.until(PACE), at(650), "something has moved");
        let held = Leave::look(Some(halfway), at(60), main(), items[1..].iter(), Some(&stays));
        assert_eq!(held.until(PACE), at(90));
        let other = Leave::look(Some(moving), at(70), "web".parse().unwrap(), items.iter(), None);
        assert_eq!(other.until(PACE), at(100), "of another horde it has just begun");
    }
}
