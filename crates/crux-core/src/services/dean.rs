//! Dean: what should be on one fulcrum. It obeys the newest plan of its installed view's proctor and refuses every other,
//! so that two proctors of a parted horde never both give it orders.

use super::instance::{InstanceId, ServiceRef};
use super::item::Item;
use super::plan::{Entry, Plan, PlanId};
use super::roles::Roles;
use crate::flock::view::ViewId;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use crux_names::{FulcrumId, Hash256, HordeName};

/// Why a plan is not obeyed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It was made in another view than the one installed here.
    OtherView,
    /// It does not come from the horde's seat.
    NotTheSeat,
    /// A newer one of this view is obeyed.
    Older,
    /// This fulcrum is not of that horde.
    NotAMember,
}

/// What a dean wants of its picket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Start an instance.
    Start {
        /// Of what.
        of: ServiceRef,
        /// Its place.
        slot: u32,
        /// Which revision.
        revision: Hash256,
        /// The plan's reason.
        why: String,
    },
    /// Stop an instance.
    Stop {
        /// Which.
        id: InstanceId,
        /// Why, for people.
        why: String,
    },
    /// An instance has another place now.
    Place {
        /// Which.
        id: InstanceId,
        /// Its place.
        slot: u32,
    },
}

/// What a dean looks at.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// This fulcrum.
    pub me: &'a FulcrumId,
    /// The installed view.
    pub view: &'a ViewId,
    /// Who sits where.
    pub roles: &'a Roles,
    /// Whether the flock is stable.
    pub stable: bool,
    /// Whether it has been stable for so long that facts which others hold have arrived.
    pub settled: bool,
}

/// The dean of one fulcrum.
#[derive(Clone, Debug, Default)]
pub struct Dean {
    plans: BTreeMap<HordeName, Plan>,
}

impl Dean {
    /// Takes a plan from a fulcrum, if it is to be obeyed.
    ///
    /// # Errors
    /// [`Refused`] says why not. The plan that was obeyed before stays in force.
    pub fn take(&mut self, plan: &Plan, from: &FulcrumId, s: &Situation<'_>) -> Result<(), Refused> {
        if plan.id.view != *s.view {
            return Err(Refused::OtherView);
        }
        if *from != plan.by || s.roles.seat(&plan.horde) != Some(from) {
            return Err(Refused::NotTheSeat);
        }
        if !s.roles.is_member(&plan.horde, s.me) {
            return Err(Refused::NotAMember);
        }
        // Where the seat moved within a view, two holders may have counted to the same number: the present one's counts.
        let older = |old: &Plan| old.id > plan.id || (old.id == plan.id && old.by == plan.by);
        if self.plans.get(&plan.horde).is_some_and(|old| old.id.view == plan.id.view && older(old)) {
            return Err(Refused::Older);
        }
        self.plans.insert(plan.horde.clone(), plan.clone());
        Ok(())
    }

    /// The plan that it obeys for a horde: of the installed view, or the last one of an earlier view.
    #[must_use]
    pub fn obeys(&self, horde: &HordeName) -> Option<&PlanId> {
        self.plans.get(horde).map(|plan| &plan.id)
    }

    /// What its picket has to do so that this fulcrum is as the plans say. Nothing, for a horde whose plan belongs to an
    /// earlier view: its new proctor asks before it moves anything.
    #[must_use]
    pub fn orders(&self, items: &BTreeMap<InstanceId, Item>, s: &Situation<'_>) -> Vec<Order> {
        let mut orders = Vec::new();
        for plan in self.plans.values().filter(|plan| plan.id.view == *s.view) {
            if s.roles.is_member(&plan.horde, s.me) {
                obey(plan, items, s, &mut orders);
            }
        }
        for item in items.values().filter(|item| item.fills()) {
            let horde = &item.instance.of.horde;
            // Who left a horde, or whose instances outlived its membership, stops them; but facts may still be on
            // their way, and a wrong stop costs more than a late one.
            if s.settled && !s.roles.is_member(horde, s.me) {
                let why = format!("{} is not a member of {horde}", s.me);
                orders.push(Order::Stop { id: item.instance.id.clone(), why });
            }
        }
        orders
    }
}

fn obey(plan: &Plan, items: &BTreeMap<InstanceId, Item>, s: &Situation<'_>, orders: &mut Vec<Order>) {
    let mut kept: BTreeSet<&InstanceId> = plan.entries.iter().filter_map(|entry| entry.instance.as_ref()).collect();
    for entry in plan.entries.iter().filter(|entry| entry.on == *s.me) {
        let holder = match &entry.instance {
            // A claimed instance that is not here any more is the proctor's affair: the next report tells it.
            Some(id) => items.get(id),
            None => {
                let free = items.values().find(|item| fits(item, entry) && !kept.contains(&item.instance.id));
                if free.is_none() {
                    let (of, why) = (entry.of.clone(), entry.why.clone());
                    orders.push(Order::Start { of, slot: entry.slot, revision: entry.revision, why });
                }
                free
            }
        };
        if let Some(item) = holder {
            kept.insert(&item.instance.id);
            if item.instance.slot != entry.slot {
                orders.push(Order::Place { id: item.instance.id.clone(), slot: entry.slot });
            }
        }
    }
    for item in items.values().filter(|item| item.fills() && item.instance.of.horde == plan.horde) {
        // What an earlier life left running may be planned as soon as the flock is complete; until then it is kept.
        if !kept.contains(&item.instance.id) && (s.stable || !item.adopted) {
            let why = format!("plan {} of {} does not have it", plan.id.generation, plan.horde);
            orders.push(Order::Stop { id: item.instance.id.clone(), why });
        }
    }
}

fn fits(item: &Item, entry: &Entry) -> bool {
    let instance = &item.instance;
    item.fills() && instance.of == entry.of && instance.slot == entry.slot && instance.revision == entry.revision
}

#[cfg(test)]
mod tests {
    use super::super::instance::{Instance, Phase};
    use super::super::known::Known;
    use super::super::roles::roles;
    use super::*;
    use crate::flock::view::Seat;
    use crux_names::{Boot, Member, Time};

    struct World {
        me: FulcrumId,
        view: ViewId,
        roles: Roles,
        items: BTreeMap<InstanceId, Item>,
        dean: Dean,
        stable: bool,
    }

    fn member(name: &str) -> Member {
        Member { id: name.parse().unwrap(), boot: Boot(1) }
    }

    fn view(epoch: u64) -> ViewId {
        ViewId { epoch, leader: "n1".parse().unwrap(), hash: [0; 16] }
    }

    impl World {
        fn new() -> Self {
            let roster: Vec<Seat> = ["n1", "n2"]
                .iter()
                .map(|n| Seat { member: member(n), addr: "127.0.0.1:1".parse().unwrap(), visitor: false })
                .collect();
            Self {
                me: "n2".parse().unwrap(),
                view: view(2),
                roles: roles(&roster, &Known::default()),
                items: BTreeMap::new(),
                dean: Dean::default(),
                stable: true,
            }
        }

        fn situation(&self) -> Situation<'_> {
            Situation { me: &self.me, view: &self.view, roles: &self.roles, stable: self.stable, settled: self.stable }
        }

        fn take(&mut self, plan: &Plan, from: &str) -> Result<(), Refused> {
            let mut dean = self.dean.clone();
            let result = dean.take(plan, &from.parse().unwrap(), &self.situation());
            self.dean = dean;
            result
        }

        /// Something runs here.
        fn runs(&mut self, of: ServiceRef) -> InstanceId {
            let counter = self.items.len() as u64 + 1;
            let id = InstanceId { fulcrum: self.me.clone(), boot: Boot(1), counter };
            let instance = Instance {
                id: id.clone(),
                of,
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
            self.items.insert(id.clone(), Item::new(instance, false, Time::ZERO));
            id
        }

        fn orders(&self) -> Vec<Order> {
            self.dean.orders(&self.items, &self.situation())
        }
    }

    fn of() -> ServiceRef {
        ServiceRef { horde: HordeName::main(), service: "api".parse().unwrap() }
    }

    fn plan(epoch: u64, generation: u64, entries: &[(&str, u32, Option<&InstanceId>)]) -> Plan {
        let entry = |(on, slot, instance): &(&str, u32, Option<&InstanceId>)| Entry {
            of: of(),
            slot: *slot,
            revision: Hash256([1; 32]),
            on: on.parse().unwrap(),
            instance: instance.cloned(),
            why: "pick".into(),
        };
        Plan {
            id: PlanId { view: view(epoch), generation },
            horde: HordeName::main(),
            by: "n1".parse().unwrap(),
            entries: entries.iter().map(entry).collect(),
            shortfalls: Vec::new(),
            should: Vec::new(),
        }
    }

    #[test]
    fn only_the_newest_plan_of_the_installed_views_proctor_is_obeyed() {
        let mut world = World::new();
        assert_eq!(world.take(&plan(1, 9, &[]), "n1"), Err(Refused::OtherView));
        assert_eq!(world.take(&plan(2, 1, &[]), "n2"), Err(Refused::NotTheSeat));
        assert_eq!(world.take(&plan(2, 2, &[]), "n1"), Ok(()));
        assert_eq!(world.take(&plan(2, 1, &[]), "n1"), Err(Refused::Older));
        assert_eq!(world.dean.obeys(&HordeName::main()).unwrap().generation, 2);
        world.me = "n7".parse().unwrap();
        assert_eq!(world.take(&plan(2, 3, &[]), "n1"), Err(Refused::NotAMember));
    }

    /// The simulator's seed 52 (--hard): both holders of the seat had come to plan 2 of the view.
    #[test]
    fn of_two_holders_of_the_seat_that_came_to_the_same_number_the_present_one_is_obeyed() {
        let mut world = World::new();
        world.take(&plan(2, 2, &[("n2", 1, None)]), "n1").unwrap();
        let roster: Vec<Seat> = ["n2", "n1"]
            .iter()
            .map(|n| Seat { member: member(n), addr: "127.0.0.1:1".parse().unwrap(), visitor: false })
            .collect();
        world.roles = roles(&roster, &Known::default());
        let other = Plan { by: "n2".parse().unwrap(), ..plan(2, 2, &[]) };
        assert_eq!(world.take(&other, "n2"), Ok(()));
        assert_eq!(world.take(&other, "n2"), Err(Refused::Older), "once");
    }

    #[test]
    fn entries_become_starts_once_and_what_is_not_planned_stops() {
        let mut world = World::new();
        world.take(&plan(2, 1, &[("n2", 1, None), ("n1", 2, None)]), "n1").unwrap();
        let orders = world.orders();
        assert!(matches!(orders.as_slice(), [Order::Start { slot: 1, .. }]), "{orders:?}");
        let id = world.runs(of());
        assert!(world.orders().is_empty(), "the instance fills the place");
        world.take(&plan(2, 2, &[("n2", 3, Some(&id))]), "n1").unwrap();
        assert_eq!(world.orders(), [Order::Place { id: id.clone(), slot: 3 }]);
        world.take(&plan(2, 3, &[]), "n1").unwrap();
        assert!(matches!(world.orders().as_slice(), [Order::Stop { id: stopped, .. }] if *stopped == id));
        world.view = view(3);
        assert!(world.orders().is_empty(), "a plan of an earlier view moves nothing");
    }

    #[test]
    fn an_instance_that_another_entry_claims_does_not_fill_a_second_place() {
        let mut world = World::new();
        let id = world.runs(of());
        world.take(&plan(2, 1, &[("n2", 2, Some(&id)), ("n2", 1, None)]), "n1").unwrap();
        let orders = world.orders();
        assert!(orders.iter().any(|order| matches!(order, Order::Start { slot: 1, .. })), "{orders:?}");
    }

    #[test]
    fn what_runs_for_a_horde_that_the_fulcrum_left_is_stopped_when_things_have_settled() {
        let mut world = World::new();
        let gone = ServiceRef { horde: "web".parse().unwrap(), service: "api".parse().unwrap() };
        world.runs(gone);
        assert_eq!(world.orders().len(), 1);
        world.stable = false;
        assert!(world.orders().is_empty());
    }
}
