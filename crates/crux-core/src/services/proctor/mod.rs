//! Proctor: what *should* be, per horde. Pure: it is told who is here, what operators want, what deans report and what
//! the healthminder says, and answers with deans to ask and with immutable plans.
//!
//! It is fed on every fulcrum, whether that holds the seat or not, since who takes the seat after a split must already
//! know who was lost and when. Only the seat of the horde plans: the first present home member by roster seniority.
//!
//! What this form does not do yet: updates roll one at a time without rollback; `keep-home`, `restart` and `hook` remove
//! surplus as `keep-oldest` does. Resources are weighed by what is asked for, not by what is used, and of the fulcrums of
//! this horde only: what a fulcrum still runs of a horde that it left is not seen.

mod planning;
mod policy;
mod trouble;
mod weigh;

pub use self::planning::{makes_sense, sets_make_sense};
pub use self::policy::{BadPolicy, OnRejoin, OnSplit};

use self::planning::Planning;
use self::policy::{Hold, Lost};
use self::trouble::Trouble;
use super::instance::{Instance, InstanceId, Phase, ServiceRef};
use super::plan::{Plan, PlanId};
use super::verdict::Health;
use crate::facts::value::Place;
use crate::flock::view::ViewId;
use crate::resources::Resources;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use core::mem;
use crux_names::{Boot, Duration, FulcrumId, Hash256, HordeName, Member, Time};

/// How long a new proctor waits for every dean's word before it plans without, and the pause before it asks again.
pub const ASK: Duration = Duration::from_secs(1);
/// Members lost within this time of each other are lost together.
pub const MASS_LOSS: Duration = Duration::from_secs(2);
/// How long a part waits after a mass loss before it starts copies of what was lost.
pub const SPLIT_HOLD: Duration = Duration::from_secs(15);

/// A home member of the horde, present or absent, or a present fulcrum that stands in for one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Home {
    /// Its labels: the certificate's and the operators'.
    pub labels: BTreeMap<String, String>,
    /// What it has for services; `None`: it has not said so yet.
    pub capacity: Option<Resources>,
    /// Whether it takes nothing new.
    pub cordoned: bool,
    /// Whether what runs there moves away, as far as others can take it.
    pub draining: bool,
    /// Whether it stands in for a home member: it takes work, but does not count when a part of a split is judged.
    pub substitute: bool,
}

/// What operators want of one service: its place fact, and what of its manifest a proctor must know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The revision.
    pub revision: Hash256,
    /// One khan set expression whose `pick` places the service: `pick(api, 3, ALL)`.
    pub place: String,
    /// Start conditions in khan's words.
    pub after: Vec<String>,
    /// See [`OnSplit`]; its text as in the fact.
    pub on_split: String,
    /// See [`OnRejoin`]; its text as in the fact.
    pub on_rejoin: String,
    /// At most one instance in the bloc, as far as that can be had without mutual exclusion.
    pub single: bool,
    /// From the manifest: never restarted, exit 0 is `done`.
    pub once: bool,
    /// What an instance asks for, by revision; one that is not in here asks for nothing.
    pub asks: BTreeMap<Hash256, Resources>,
}

impl Wanted {
    /// What a placement says, of a service that runs once or again and again and asks for nothing.
    #[must_use]
    pub fn of(place: &Place, revision: Hash256, once: bool) -> Self {
        Self {
            revision,
            place: place.place.clone(),
            after: place.after.clone(),
            on_split: place.on_split.clone(),
            on_rejoin: place.on_rejoin.clone(),
            single: place.single,
            once,
            asks: BTreeMap::new(),
        }
    }
}

/// Everything that a proctor sees, as it is now. The caller fills it from view, facts and verdicts.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// The installed view.
    pub view: &'a ViewId,
    /// Its members in roster order.
    pub roster: &'a [Member],
    /// The horde's home members by their rows, present or not, and who stands in for some of them.
    pub homes: &'a BTreeMap<FulcrumId, Home>,
    /// The horde's named khan sets.
    pub sets: &'a BTreeMap<String, String>,
    /// How much its services may ask for, all together.
    pub quota: Option<Resources>,
    /// The horde's services. What is not in here is in no plan, so its deans stop it.
    pub wanted: &'a BTreeMap<ServiceRef, Wanted>,
    /// Whether this life has begun so lately, and its flock is so little known to be complete, that it may be doubling
    /// what others run: what runs stays, and nothing new is planned.
    pub young: bool,
    /// The healthminder's word on instances. One that is not in here is [`Health::Unknown`].
    pub verdicts: &'a BTreeMap<InstanceId, Health>,
}

/// What a proctor wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Ask this dean what runs there ([`super::message::Message::AskDean`]); may be this fulcrum itself.
    Ask(Member),
    /// A new plan, for every member of the flock.
    Plan(Plan),
}

/// A dean's last word.
#[derive(Clone, Debug)]
struct Word {
    /// Which life of the fulcrum said it.
    boot: Boot,
    /// Whether it was said in the view in which this proctor plans.
    fresh: bool,
    /// What runs there.
    instances: Vec<Instance>,
    /// The plan of this view that it obeyed when it said so.
    obeys: Option<PlanId>,
}

/// When and why this fulcrum holds the seat.
#[derive(Clone, Debug)]
struct Office {
    /// The view.
    view: ViewId,
    /// Until when the first plan waits for deans.
    patience: Time,
    /// When silent deans are asked again.
    ask_again: Time,
    /// Who was asked in this view.
    asked: BTreeSet<Member>,
    /// Whether the wait is over.
    open: bool,
    /// Instances that plans of this view left out after they had been in one: they are on their way out.
    dropped: BTreeSet<InstanceId>,
}

/// One horde's proctor at one fulcrum.
#[derive(Clone, Debug)]
pub struct Proctor {
    horde: HordeName,
    me: FulcrumId,
    /// Scales every timer, in thousandths.
    timers: u32,
    words: BTreeMap<FulcrumId, Word>,
    /// What members ran or were stopping by a plan when they left the horde, and still have: on its way out. Nothing else that one who is
    /// no member says counts, or any node could hold up a horde that it is not of.
    departing: BTreeSet<InstanceId>,
    /// The newest plan of this horde, own or heard.
    plan: Option<Plan>,
    /// The newest plan id that this fulcrum has made or heard; nothing at or below it is ever made.
    newest: Option<PlanId>,
    office: Option<Office>,
    /// The members at the last step, to see who was lost.
    present: BTreeSet<FulcrumId>,
    /// The home members at the last step, to see who is new.
    homes: BTreeSet<FulcrumId>,
    /// Recent losses, oldest first.
    losses: Vec<(Time, FulcrumId)>,
    hold: Option<Hold>,
    trouble: Trouble,
    deadline: Time,
}

impl Proctor {
    /// A proctor that has seen nothing. `timers` scales every time, in thousandths: 1000 is the default.
    #[must_use]
    pub fn new(horde: HordeName, me: FulcrumId, timers: u32) -> Self {
        Self {
            horde,
            me,
            timers,
            words: BTreeMap::new(),
            departing: BTreeSet::new(),
            plan: None,
            newest: None,
            office: None,
            present: BTreeSet::new(),
            homes: BTreeSet::new(),
            losses: Vec::new(),
            hold: None,
            trouble: Trouble::default(),
            deadline: Time::NEVER,
        }
    }

    /// Takes a dean's report: what it says of its own fulcrum and of this horde; the rest is passed over. Call
    /// [`Proctor::step`] after it.
    pub fn report(&mut self, from: &Member, mut instances: Vec<Instance>) {
        if self.words.get(&from.id).is_some_and(|word| word.boot > from.boot) {
            return;
        }
        instances.retain(|instance| instance.id.fulcrum == from.id && instance.of.horde == self.horde);
        self.words.insert(from.id.clone(), Word { boot: from.boot, fresh: true, instances, obeys: None });
    }

    /// Takes a plan that another proctor of this horde made, so that this fulcrum knows what was meant should it ever
    /// plan itself. The caller passes on only plans of the installed view's proctor.
    pub fn heard(&mut self, plan: &Plan) {
        let newer = self.newest.as_ref().is_none_or(|newest| *newest < plan.id);
        if plan.horde == self.horde && newer && !plan.id.is_beyond() {
            self.newest = Some(plan.id.clone());
            self.plan = Some(plan.clone());
        }
    }

    /// Takes the word of a dean, whose report was just taken, that it obeys this plan of the installed view. It obeys nothing at or below it, whoever
    /// made it: where the seat moved within a view, the new holder goes on counting where the one before stopped.
    pub fn outbid(&mut self, from: &Member, obeyed: &PlanId) {
        if let Some(word) = self.words.get_mut(&from.id).filter(|word| word.boot == from.boot) {
            word.obeys = Some(obeyed.clone());
        }
        if self.newest.as_ref().is_none_or(|newest| newest < obeyed) && !obeyed.is_beyond() {
            self.newest = Some(obeyed.clone());
        }
    }

    /// The newest plan that it knows, own or heard.
    #[must_use]
    pub fn plan(&self) -> Option<&Plan> {
        self.plan.as_ref()
    }

    /// Whether this fulcrum holds the horde's seat, by the last step.
    #[must_use]
    pub fn seated(&self) -> bool {
        self.office.is_some()
    }

    /// Why it has not planned in this view, though it holds the seat; `None` once it has.
    #[must_use]
    pub fn waits(&self, view: &ViewId) -> Option<&'static str> {
        match &self.office {
            Some(office) if office.view == *view && office.open => None,
            Some(_) => Some("it asks the members what runs there"),
            None => Some("it has not taken its seat yet"),
        }
    }

    /// When [`Proctor::step`] must be called again though nothing else happened.
    #[must_use]
    pub fn deadline(&self) -> Time {
        self.deadline
    }

    /// Until when copies of what was lost in a mass loss are not started.
    #[must_use]
    pub fn held_until(&self) -> Option<Time> {
        self.hold.as_ref().map(|hold| hold.until)
    }
}

impl Proctor {
    /// Looks at everything again and answers with what is to be done now. Call it after every change of what is seen,
    /// after every report, and at the deadline. Calling it once too often does nothing.
    pub fn step(&mut self, now: Time, seen: &Seen<'_>) -> Vec<Output> {
        self.watch(now, seen);
        self.deadline = Time::NEVER;
        let of = |substitute| {
            let is =
                move |member: &&Member| seen.homes.get(&member.id).is_some_and(|home| home.substitute == substitute);
            seen.roster.iter().find(is)
        };
        let seat = of(false).or_else(|| of(true));
        let outdated = self.newest.as_ref().is_some_and(|newest| newest.view > *seen.view);
        if outdated || seat.is_none_or(|seat| seat.id != self.me) {
            self.office = None;
            return Vec::new();
        }
        let mut out = Vec::new();
        self.ask(now, seen, &mut out);
        let Some(office) = &self.office else { return out };
        let silent = seen.roster.iter().any(|member| seen.homes.contains_key(&member.id) && !self.fresh(member));
        let open = office.open || !silent || now >= office.patience;
        if silent {
            self.deadline = if open { office.ask_again } else { office.ask_again.min(office.patience) };
        }
        if let Some(hold) = &self.hold {
            self.deadline = self.deadline.min(hold.until);
        }
        self.watch_trouble(now, seen);
        if open {
            out.extend(self.decide(seen).map(Output::Plan));
        }
        out
    }

    /// Sees which instances keep failing.
    fn watch_trouble(&mut self, now: Time, seen: &Seen<'_>) {
        let timers = self.timers;
        let scaled = |duration: Duration| duration * timers / 1000;
        // A job that failed is not tried again, here or elsewhere.
        let tried = |instance: &&Instance| seen.wanted.get(&instance.of).is_some_and(|wanted| !wanted.once);
        let instances = self.words.values().flat_map(|word| &word.instances).filter(tried);
        let ready = |id: &InstanceId| seen.verdicts.get(id) == Some(&Health::Ready);
        let current = |of: &Instance| seen.wanted.get(&of.of).is_some_and(|wanted| wanted.revision == of.revision);
        self.trouble.look(now, scaled, instances.map(|one| (one, ready(&one.id), current(one))));
        self.deadline = self.deadline.min(self.trouble.deadline(scaled));
    }

    /// Time as this fulcrum's timers have it.
    fn scaled(&self, duration: Duration) -> Duration {
        duration * self.timers / 1000
    }

    fn fresh(&self, member: &Member) -> bool {
        self.words.get(&member.id).is_some_and(|word| word.fresh && word.boot == member.boot)
    }

    /// Sees who is lost, who is back, and who is heard of for the first time.
    fn watch(&mut self, now: Time, seen: &Seen<'_>) {
        let here: BTreeSet<FulcrumId> = seen.roster.iter().map(|member| member.id.clone()).collect();
        let until = now + self.scaled(SPLIT_HOLD);
        let window = self.scaled(MASS_LOSS);
        self.losses.retain(|(at, id)| now.since(*at) <= window && !here.contains(id));
        let before = mem::replace(&mut self.present, here.clone());
        let lost: Vec<FulcrumId> = before.difference(&here).cloned().collect();
        self.losses.extend(lost.iter().map(|id| (now, id.clone())));
        if !lost.is_empty() && (self.losses.len() > 1 || self.hold.is_some()) {
            let gone: Vec<_> = self.losses.iter().map(|(_, id)| (id.clone(), self.ran_on(id))).collect();
            let hold = self.hold.get_or_insert_with(|| Hold { until, lost: BTreeMap::new() });
            if self.losses.len() > 1 {
                hold.until = until;
            }
            for (id, ran) in gone {
                hold.lost.entry(id).or_insert(Lost::Gone(ran));
            }
        }
        // Of whom nothing was known before, at the start of this life or later, something may run where it is.
        let known = mem::replace(&mut self.homes, seen.homes.keys().cloned().collect());
        let unseen: Vec<FulcrumId> =
            self.homes.iter().filter(|id| !known.contains(*id) && !here.contains(*id)).cloned().collect();
        if !unseen.is_empty() {
            let hold = self.hold.get_or_insert_with(|| Hold { until, lost: BTreeMap::new() });
            hold.until = until;
            for id in unseen {
                hold.lost.entry(id).or_insert(Lost::Unseen);
            }
        }
        let boots: BTreeMap<&FulcrumId, Boot> = seen.roster.iter().map(|member| (&member.id, member.boot)).collect();
        self.words.retain(|id, word| boots.get(id).is_some_and(|boot| *boot <= word.boot));
        let planned: BTreeSet<&InstanceId> =
            self.plan.iter().flat_map(|plan| &plan.entries).filter_map(|entry| entry.instance.as_ref()).collect();
        // Who has left is not asked, and is silent once nothing is left there: its word counts only if it was said to
        // this holder of the seat, not to one before.
        let left = self.words.iter().filter(|(id, word)| word.fresh && !seen.homes.contains_key(*id));
        let there = left.flat_map(|(_, word)| &word.instances).filter(|instance| instance.phase != Phase::Gone);
        let dropped = self.office.as_ref().map(|office| &office.dropped);
        let known = |id: &&InstanceId| {
            planned.contains(id) || self.departing.contains(*id) || dropped.is_some_and(|ids| ids.contains(*id))
        };
        let departing = there.map(|instance| &instance.id).filter(known).cloned().collect();
        self.departing = departing;
        if let Some(hold) = &mut self.hold {
            hold.lost.retain(|id, _| !here.contains(id));
            if hold.lost.is_empty() || now >= hold.until {
                self.hold = None;
            }
        }
    }

    /// How many of each service the newest plan has on a fulcrum.
    fn ran_on(&self, id: &FulcrumId) -> BTreeMap<ServiceRef, u32> {
        let mut ran = BTreeMap::new();
        for entry in self.plan.iter().flat_map(|plan| &plan.entries).filter(|entry| entry.on == *id) {
            *ran.entry(entry.of.clone()).or_default() += 1;
        }
        ran
    }

    /// Takes office in a new view, and asks deans that were not asked in it or have not answered.
    fn ask(&mut self, now: Time, seen: &Seen<'_>, out: &mut Vec<Output>) {
        let pause = self.scaled(ASK);
        if self.office.as_ref().is_none_or(|office| office.view != *seen.view) {
            self.words.values_mut().for_each(|word| word.fresh = false);
            self.office = Some(Office {
                view: seen.view.clone(),
                patience: now + pause,
                ask_again: now + pause,
                asked: BTreeSet::new(),
                open: false,
                dropped: BTreeSet::new(),
            });
        }
        let silent: Vec<Member> = seen
            .roster
            .iter()
            .filter(|member| seen.homes.contains_key(&member.id) && !self.fresh(member))
            .cloned()
            .collect();
        let Some(office) = &mut self.office else { return };
        let again = now >= office.ask_again;
        if again {
            office.ask_again = now + pause;
        }
        for member in silent {
            if office.asked.insert(member.clone()) || again {
                out.push(Output::Ask(member));
            }
        }
    }

    /// The next plan, if it differs from the last one of this view.
    fn decide(&mut self, seen: &Seen<'_>) -> Option<Plan> {
        let content = Planning::of(self, seen).content();
        let office = self.office.as_mut()?;
        office.open = true;
        office.dropped.extend(content.dropped);
        let mine = self.plan.as_ref().filter(|plan| plan.id.view == *seen.view && plan.by == self.me);
        if mine.is_some_and(|plan| {
            self.newest.as_ref() == Some(&plan.id)
                && plan.entries == content.entries
                && plan.shortfalls == content.shortfalls
                && plan.should == content.should
        }) {
            return None;
        }
        let last = self.newest.as_ref().filter(|newest| newest.view == *seen.view);
        let id =
            PlanId { view: seen.view.clone(), generation: last.map_or(1, |last| last.generation.saturating_add(1)) };
        let plan = Plan {
            id: id.clone(),
            horde: self.horde.clone(),
            by: self.me.clone(),
            entries: content.entries,
            shortfalls: content.shortfalls,
            should: content.should,
        };
        self.newest = Some(id);
        self.plan = Some(plan.clone());
        Some(plan)
    }
}
