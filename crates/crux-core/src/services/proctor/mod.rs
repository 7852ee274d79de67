//! Proctor: what *should* be, per horde. Pure: it is told who is here, what operators want, what deans report and what
//! the healthminder says, and answers with deans to ask and with immutable plans.
//!
//! It is fed on every fulcrum, whether that holds the seat or not, since who takes the seat after a split must already
//! know who was lost and when. Only the seat of the horde plans: the first present home member by roster seniority.
//!
//! What this form does not do yet: updates roll one at a time without rollback; `keep-home`, `restart` and `hook` remove
//! surplus as `keep-oldest` does; resources and quotas are not weighed; vacancies are not filled by substitutes.

mod planning;
mod policy;

pub use self::policy::{BadPolicy, OnRejoin, OnSplit};

use self::policy::Hold;
use super::instance::{Instance, InstanceId, Phase, ServiceRef};
use super::plan::{Plan, PlanId};
use super::verdict::Health;
use crate::flock::view::ViewId;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use crux_names::{Duration, FulcrumId, Hash256, HordeName, Member, Time};

/// How long a new proctor waits for every dean's word before it plans without, and the pause before it asks again.
pub const ASK: Duration = Duration::from_secs(1);
/// Members lost within this time of each other are lost together.
pub const MASS_LOSS: Duration = Duration::from_secs(2);
/// How long a part waits after a mass loss before it starts copies of what was lost.
pub const SPLIT_HOLD: Duration = Duration::from_secs(15);

/// A home member of the horde, present or absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Home {
    /// Its labels: the certificate's and the operators'.
    pub labels: BTreeMap<String, String>,
    /// Whether it takes nothing new.
    pub cordoned: bool,
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
}

/// Everything that a proctor sees, as it is now. The caller fills it from view, facts and verdicts.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// The installed view.
    pub view: &'a ViewId,
    /// Its members in roster order.
    pub roster: &'a [Member],
    /// The horde's home members by their rows, present or not.
    pub homes: &'a BTreeMap<FulcrumId, Home>,
    /// The horde's named khan sets.
    pub sets: &'a BTreeMap<String, String>,
    /// The horde's services. What is not in here is in no plan, so its deans stop it.
    pub wanted: &'a BTreeMap<ServiceRef, Wanted>,
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
    boot: crux_names::Boot,
    /// Whether it was said in the view in which this proctor plans.
    fresh: bool,
    /// What runs there.
    instances: Vec<Instance>,
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
}

/// One horde's proctor at one fulcrum.
#[derive(Clone, Debug)]
pub struct Proctor {
    horde: HordeName,
    me: FulcrumId,
    /// Scales every timer, in thousandths.
    timers: u32,
    words: BTreeMap<FulcrumId, Word>,
    /// The newest plan of this horde, own or heard.
    plan: Option<Plan>,
    /// The newest plan id that this fulcrum has made or heard; nothing at or below it is ever made.
    newest: Option<PlanId>,
    office: Option<Office>,
    /// The members at the last step, to see who was lost.
    present: Option<BTreeSet<FulcrumId>>,
    /// Recent losses, oldest first.
    losses: Vec<(Time, FulcrumId)>,
    hold: Option<Hold>,
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
            plan: None,
            newest: None,
            office: None,
            present: None,
            losses: Vec::new(),
            hold: None,
            deadline: Time::NEVER,
        }
    }

    /// Takes a dean's report. Call [`Proctor::step`] after it.
    pub fn report(&mut self, from: &Member, instances: Vec<Instance>) {
        let word = Word { boot: from.boot, fresh: true, instances };
        self.words.insert(from.id.clone(), word);
    }

    /// Takes a plan that another proctor of this horde made, so that this fulcrum knows what was meant should it ever
    /// plan itself. The caller passes on only plans of the installed view's proctor.
    pub fn heard(&mut self, plan: &Plan) {
        if plan.horde == self.horde && self.newest.as_ref().is_none_or(|newest| *newest < plan.id) {
            self.newest = Some(plan.id.clone());
            self.plan = Some(plan.clone());
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
        let mut out = Vec::new();
        let _ = (now, seen, &mut out);
        out
    }
}
