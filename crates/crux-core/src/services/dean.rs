//! Dean: what should be on one fulcrum. It obeys the newest plan of its installed view's proctor and refuses every other,
//! so that two proctors of a parted horde never both give it orders.
//!
//! A proctor chooses among what operators' facts allow, and may be hostile: so nothing starts here that no fact places here,
//! and what no fact places any more stops without a plan that says so. What a dean cannot know is what runs elsewhere.

use super::instance::{InstanceId, ServiceRef};
use super::item::Item;
use super::known::Known;
use super::plan::{Entry, MOST, Plan, PlanId};
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
    /// It wants more here than one fulcrum carries.
    TooMuch,
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
    /// What the facts say.
    pub known: &'a Known,
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
        // What ran here in two parts of a split and is not removed yet counts twice; nobody honest asks for more.
        if plan.entries.iter().filter(|entry| entry.on == *s.me).count() > 2 * MOST as usize {
            return Err(Refused::TooMuch);
        }
        // Where the seat moved within a view, two holders may have counted to the same number: the present one's counts.
        // Nor does a number bind to which nobody counts: it would keep every later holder from being obeyed.
        let older = |old: &Plan| {
            let binds = old.by == plan.by || !old.id.is_beyond();
            binds && (old.id > plan.id || (old.id == plan.id && old.by == plan.by))
        };
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
            } else if s.settled && !s.known.places().contains_key(&item.instance.of) {
                // Its proctor says so at once; one that keeps silent keeps nothing running that an operator took away.
                let why = format!("no operator's fact places {} any more", item.instance.of);
                orders.push(Order::Stop { id: item.instance.id.clone(), why });
            }
        }
        orders
    }

    /// What plans that it obeys want started here and operators' facts do not allow, with why. Facts may be on their way;
    /// what stays so is the word of a proctor that is hostile, or broken.
    #[must_use]
    pub fn refusals(&self, items: &BTreeMap<InstanceId, Item>, s: &Situation<'_>) -> Vec<(&Plan, &Entry, String)> {
        let mut refusals = Vec::new();
        for plan in self.plans.values().filter(|plan| plan.id.view == *s.view) {
            let starts = plan.entries.iter().filter(|entry| entry.on == *s.me && entry.instance.is_none());
            for entry in starts.filter(|entry| !items.values().any(|item| fits(item, entry))) {
                if let Err(why) = allows(plan, entry, 0, s) {
                    refusals.push((plan, entry, why));
                }
            }
        }
        refusals
    }
}

/// Whether operators' facts let this entry start here, where so many of its service have their place already.
fn allows(plan: &Plan, entry: &Entry, have: u32, s: &Situation<'_>) -> Result<(), String> {
    let of = &entry.of;
    if of.horde != plan.horde {
        return Err(format!("{of} is of another horde than the plan"));
    }
    let Some(place) = s.known.places().get(of) else { return Err(format!("no operator's fact places {of}")) };
    if place.revision != entry.revision.0 {
        return Err(format!("{of} is placed with another revision than {}", entry.revision.short()));
    }
    if s.known.cordon(s.me).is_some() {
        return Err(format!("{} is cordoned", s.me));
    }
    if s.known.most(s.me, of, place) <= have {
        return Err(format!("{of} is placed by {}, which does not put {} here", place.place, have.saturating_add(1)));
    }
    Ok(())
}

fn obey(plan: &Plan, items: &BTreeMap<InstanceId, Item>, s: &Situation<'_>, orders: &mut Vec<Order>) {
    let mut kept: BTreeSet<&InstanceId> = plan.entries.iter().filter_map(|entry| entry.instance.as_ref()).collect();
    // How many of each service have their place here by this plan.
    let mut have: BTreeMap<&ServiceRef, u32> = BTreeMap::new();
    let mut starts = Vec::new();
    for entry in plan.entries.iter().filter(|entry| entry.on == *s.me) {
        let holder = match &entry.instance {
            // A claimed instance that is not here any more is the proctor's affair: the next report tells it.
            Some(id) => items.get(id).filter(|item| item.instance.of == entry.of),
            None => {
                let free = items.values().find(|item| fits(item, entry) && !kept.contains(&item.instance.id));
                if free.is_none() {
                    starts.push(entry);
                }
                free
            }
        };
        if let Some(item) = holder {
            kept.insert(&item.instance.id);
            *have.entry(&entry.of).or_default() += 1;
            if item.instance.slot != entry.slot {
                orders.push(Order::Place { id: item.instance.id.clone(), slot: entry.slot });
            }
        }
    }
    for entry in starts {
        let have = have.entry(&entry.of).or_default();
        if allows(plan, entry, *have, s).is_ok() {
            *have += 1;
            let (of, why) = (entry.of.clone(), entry.why.clone());
            orders.push(Order::Start { of, slot: entry.slot, revision: entry.revision, why });
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
    use super::super::roles::roles;
    use super::*;
    use crate::facts::value::{Cordon, Place, cordon_path, place_path};
    use crate::flock::view::Seat;
    use crux_names::{Boot, Member, Time};
    use prost::Message;

    struct World {
        me: FulcrumId,
        view: ViewId,
        roles: Roles,
        known: Known,
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
                known: Known::default(),
                items: BTreeMap::new(),
                dean: Dean::default(),
                stable: true,
            }
            .placed("pick(api, 100, ALL)")
        }

        /// An operator places the service so, in revision 1.
        fn placed(mut self, place: &str) -> Self {
            let fact = Place { revision: [1; 32].into(), place: place.into(), ..Place::default() };
            let ServiceRef { horde, service } = of();
            self.known.take(&place_path(&horde, &service), Some(&fact.encode_to_vec().into()));
            self
        }

        fn starts(&self) -> usize {
            self.orders().iter().filter(|order| matches!(order, Order::Start { .. })).count()
        }

        fn situation(&self) -> Situation<'_> {
            let Self { me, view, roles, known, stable, .. } = self;
            Situation { me, view, roles, known, stable: *stable, settled: *stable }
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

    /// Promise D4: a hostile proctor chooses among what operators' facts allow here, and starts nothing else.
    #[test]
    fn nothing_starts_that_operators_facts_do_not_place_here() {
        let start = |slot| ("n2", slot, None);
        let took = |place: &str, change: &dyn Fn(&mut World, &mut Plan)| {
            let mut world = World::new().placed(place);
            let mut plan = plan(2, 1, &[start(1), start(2), start(3)]);
            change(&mut world, &mut plan);
            world.take(&plan, "n1").unwrap();
            let refusals = world.dean.refusals(&world.items, &world.situation()).len();
            (world.starts(), refusals)
        };
        let same = |_: &mut World, _: &mut Plan| {};
        assert_eq!(took("pick(api, 9, ALL)", &same), (3, 0));
        assert_eq!(took("pick(api, SIZE(ALL) * 2, !LABEL(zone))", &same), (3, 0), "how many is not for it to say");
        assert_eq!(took("pick(api, 2, ALL)", &same).0, 2, "more than are wanted in all");
        for place in ["pick(api, 9, LABEL(zone=b))", "pick(api, 9, NODE(n1))", "pick(db, 9, ALL)", "nonsense"] {
            assert_eq!(took(place, &same), (0, 3), "{place}");
        }
        let ask = |change: &dyn Fn(&mut World, &mut Entry)| {
            took("pick(api, 9, ALL)", &|world, plan| plan.entries.iter_mut().for_each(|entry| change(world, entry)))
        };
        assert_eq!(ask(&|_, entry| entry.revision = Hash256([2; 32])), (0, 3), "an old revision");
        assert_eq!(ask(&|_, entry| entry.of.service = "db".parse().unwrap()), (0, 3), "a service that is not placed");
        assert_eq!(ask(&|_, entry| entry.of.horde = "web".parse().unwrap()), (0, 3), "another horde's");
        let cordon: bytes::Bytes = Cordon::default().encode_to_vec().into();
        let cordoned = |world: &mut World, _: &mut Entry| {
            world.known.take(&cordon_path(&world.me), Some(&cordon));
        };
        assert_eq!(ask(&cordoned), (0, 3), "it takes nothing new");
    }

    #[test]
    fn what_no_fact_places_any_more_stops_whatever_its_proctor_says() {
        let mut world = World::new();
        let id = world.runs(of());
        world.take(&plan(2, 1, &[("n2", 1, Some(&id))]), "n1").unwrap();
        assert_eq!(world.orders(), []);
        world.known.take(&place_path(&of().horde, &of().service), None);
        assert!(matches!(world.orders().as_slice(), [Order::Stop { id: stopped, .. }] if *stopped == id));
        world.stable = false;
        assert_eq!(world.orders(), [], "facts may still be on their way");
    }

    /// One plan with the highest number there is would have kept every later holder of that view's seat from being obeyed.
    #[test]
    fn a_number_that_nobody_counts_to_binds_nobody_else() {
        let mut world = World::new();
        world.take(&plan(2, u64::MAX, &[]), "n1").unwrap();
        assert_eq!(world.take(&plan(2, 7, &[]), "n1"), Err(Refused::Older), "its maker is bound");
        let roster: Vec<Seat> = ["n2", "n1"]
            .iter()
            .map(|n| Seat { member: member(n), addr: "127.0.0.1:1".parse().unwrap(), visitor: false })
            .collect();
        world.roles = roles(&roster, &Known::default());
        let other = Plan { by: "n2".parse().unwrap(), ..plan(2, 7, &[]) };
        assert_eq!(world.take(&other, "n2"), Ok(()));
    }

    #[test]
    fn a_plan_of_more_than_a_fulcrum_carries_is_not_looked_at() {
        let mut world = World::new();
        let entries: Vec<_> = (0..201).map(|slot| ("n2", slot, None)).collect();
        assert_eq!(world.take(&plan(2, 1, &entries), "n1"), Err(Refused::TooMuch));
        assert_eq!(world.take(&plan(2, 1, &entries[1..]), "n1"), Ok(()));
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
