//! What follows from view and facts: one file per name that people say. Services do not know each other; they meet in
//! facts, in the view and in the messages that they exchange across fulcrums. [`Services`] puts them together for one
//! fulcrum; roles move with the view and the rows, without an election.
//!
//! Frozen for the rooms that build on it: [`instance`], [`plan`], [`verdict`] and [`message`].

pub mod access;
pub mod admin;
pub mod admit;
pub mod boot;
mod bounds;
pub mod dean;
pub mod door;
pub mod effect;
pub mod genghis;
pub mod healthminder;
pub mod heartbeat;
pub mod hooks;
pub mod instance;
pub mod item;
pub mod known;
pub mod message;
pub mod muster;
pub mod pace;
pub mod pastiche;
pub mod picket;
pub mod plan;
pub mod proctor;
mod programs;
pub mod roles;
mod settle;
pub mod standing;
pub mod vacancy;
pub mod verdict;
pub mod yurt;

use self::access::{Ledger, Listed, Refused, Register};
use self::bounds::{Early, Kept, Slot};
use self::dean::Dean;
use self::effect::{Effect, Event, Outcome};
use self::healthminder::Healthminder;
use self::heartbeat::Heartbeat;
use self::hooks::Hooks;
use self::instance::{Instance, InstanceId};
use self::known::Known;
use self::message::Message;
use self::pace::Pace;
use self::pastiche::Pastiche;
use self::picket::Picket;
use self::plan::Plan;
use self::proctor::Proctor;
use self::roles::Roles;
use self::settle::Brief;
use self::vacancy::Absences;
use self::verdict::Verdict;
use self::yurt::Yurt;
use crate::facts::value::Row;
use crate::flock::view::{View, ViewId};
use crate::resources::Resources;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use crux_names::{Duration, FulcrumId, HordeName, Member, Time, Wall};

/// What a fulcrum's services are told at their start.
#[derive(Clone, Debug)]
pub struct Config {
    /// This life of this fulcrum.
    pub me: Member,
    /// The labels of its certificate, until another one is installed.
    pub labels: BTreeMap<String, String>,
    /// Its admission, until then.
    pub admission: u32,
    /// What it has for services, if that is known.
    pub capacity: Option<Resources>,
    /// Source of jitter.
    pub seed: u64,
    /// Scales every timer.
    pub pace: Pace,
}

/// What can happen to a fulcrum's services.
#[derive(Clone, Debug)]
pub enum Input {
    /// The deadline has come.
    Wake,
    /// A view was installed.
    View(View),
    /// The lease of completeness began or ended.
    Stable(bool),
    /// What the facts say has changed.
    Facts,
    /// Another certificate is shown from now on.
    Certificate {
        /// Its labels.
        labels: BTreeMap<String, String>,
        /// Its admission.
        admission: u32,
    },
    /// A message came.
    Message {
        /// From whom.
        from: Member,
        /// What.
        message: Message,
    },
    /// The outcome of an effect.
    Outcome(Outcome),
    /// Somebody adds an entry to the register, at this fulcrum's door.
    Add {
        /// Echoed by the answer.
        request: u64,
        /// Which.
        entry: access::Entry,
        /// How long it lives unless it is added again, if it is an operator's.
        life: Duration,
        /// Whether it is what was added under an earlier life: it takes the place of nothing that was added since.
        again: bool,
    },
    /// Stop everything that runs here and start nothing any more.
    StopAll,
    /// The same, and be of no horde any more.
    Leave,
}

/// What services want done.
#[derive(Clone, Debug)]
pub enum Output {
    /// Send a message to another fulcrum.
    Message {
        /// To whom.
        to: Member,
        /// What.
        message: Message,
    },
    /// Do something to the world.
    Effect(Effect),
    /// Write this fulcrum's own row.
    Row(Row),
    /// Something happened.
    Event(Event),
    /// What watchers see has changed.
    Changed,
    /// The answer to [`Input::Add`].
    Added {
        /// Which.
        request: u64,
        /// Whether it was there before.
        result: Result<bool, Refused>,
    },
    /// Nothing runs here any more: the answer to [`Input::StopAll`] and [`Input::Leave`], once.
    Stopped,
}

/// Somebody's last word.
#[derive(Clone, Debug)]
pub struct Heard<T> {
    /// Whose.
    pub by: FulcrumId,
    /// In which view it was said.
    pub view: ViewId,
    /// When it came or last changed, by this fulcrum's wall clock.
    pub at: Wall,
    /// When it came, by this fulcrum's monotonic clock.
    pub heard: Time,
    /// What was said.
    pub word: T,
}

#[derive(Clone, Debug)]
struct Offered {
    by: FulcrumId,
    horde: HordeName,
    stands_for: Option<FulcrumId>,
    at: Time,
}

/// The services of one fulcrum.
#[derive(Clone, Debug)]
pub struct Services {
    config: Config,
    view: View,
    stable_since: Option<Time>,
    roles: Roles,
    /// What the proctors are told about their hordes; made anew when facts or roles change.
    briefs: BTreeMap<HordeName, Brief>,
    briefed: bool,

    picket: Picket,
    pastiche: Pastiche,
    hooks: Hooks,
    dean: Dean,
    heartbeat: Heartbeat,
    proctors: BTreeMap<HordeName, Proctor>,
    minders: BTreeMap<HordeName, Healthminder>,
    yurt: Yurt,
    doors: programs::Doors,
    ledger: Ledger,
    /// At ADMIN's seat only.
    register: Option<Register>,
    /// The register as the seat told it last. It was heard, in this sense, as long as that sits there.
    listed: Option<Heard<Vec<Listed>>>,
    /// Which version of it that is.
    holds: u64,
    /// What the catalogue lacks; empty if nothing.
    lacking: String,

    plans: BTreeMap<HordeName, Heard<Plan>>,
    boards: BTreeMap<HordeName, Heard<Vec<Instance>>>,
    verdicts: BTreeMap<HordeName, Heard<Vec<Verdict>>>,
    /// Dean's words to the seats that are here: what runs where.
    reports: BTreeMap<HordeName, BTreeMap<Member, Vec<Instance>>>,
    waits: BTreeMap<HordeName, String>,
    /// When ADMIN's seat last said what hordes wait for.
    waits_heard: Time,
    absences: Absences,
    said: standing::Said,
    /// Whether something may have changed since it was last said how hordes stand.
    unsaid: bool,
    /// The places that instances had on the last board that told of them, for as long as anything is said of them.
    slots: BTreeMap<InstanceId, u32>,

    started: Time,
    /// Whether this life has not been in a stable flock with others yet.
    young: bool,
    /// Since when the flock is not stable: since the start, or since it was last stable.
    unstable: Time,
    /// Whether it is known what earlier lives left running; no dean speaks before.
    adopted: bool,
    signing: Option<(Row, Time)>,
    /// Its row as this life knew it last.
    row: Option<Row>,
    offers: Vec<Offered>,
    started_programs: BTreeMap<String, Wall>,
    told: settle::Told,
    repeat_at: Time,
    early: Early,
    kept: Kept,
    /// Plans whose entries operators' facts do not allow here: how often in a row that was seen.
    refused: BTreeMap<(HordeName, FulcrumId), u32>,
    inbox: VecDeque<Message>,
    stopping: bool,
    stopped: bool,
    /// It leaves for good: until when it waits for its row to say so, once nothing runs here any more.
    leaving: Option<Time>,
    changed: bool,
    deadline: Time,
}

impl Services {
    /// The services of a fulcrum that has installed its first view and runs nothing.
    #[must_use]
    pub fn new(now: Time, config: Config, view: View) -> Self {
        let (me, pace, seed) = (config.me.clone(), config.pace, config.seed);
        Self {
            view,
            stable_since: None,
            roles: Roles::default(),
            briefs: BTreeMap::new(),
            briefed: false,
            picket: Picket::new(me.clone(), pace, seed),
            pastiche: Pastiche::new(me, pace, seed),
            hooks: Hooks::new(pace),
            dean: Dean::default(),
            heartbeat: Heartbeat::new(now, pace),
            proctors: BTreeMap::new(),
            minders: BTreeMap::new(),
            yurt: Yurt::default(),
            doors: programs::Doors::default(),
            ledger: Ledger::default(),
            register: None,
            listed: None,
            holds: 0,
            lacking: String::new(),
            plans: BTreeMap::new(),
            boards: BTreeMap::new(),
            verdicts: BTreeMap::new(),
            reports: BTreeMap::new(),
            waits: BTreeMap::new(),
            waits_heard: now,
            absences: Absences::default(),
            said: standing::Said::default(),
            unsaid: true,
            slots: BTreeMap::new(),
            started: now,
            young: true,
            unstable: now,
            adopted: false,
            signing: None,
            row: None,
            offers: Vec::new(),
            started_programs: BTreeMap::new(),
            told: settle::Told::default(),
            repeat_at: now,
            early: Early::default(),
            kept: Kept::default(),
            refused: BTreeMap::new(),
            inbox: VecDeque::new(),
            stopping: false,
            stopped: false,
            leaving: None,
            changed: false,
            deadline: now,
            config,
        }
    }

    /// Takes in what happened and answers with what is to be done. `known` is what the facts say now.
    pub fn handle(&mut self, now: Time, wall: Wall, known: &Known, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Wake => {}
            Input::View(view) => self.install(now, wall, view, out),
            Input::Stable(stable) => {
                self.changed = true;
                if !stable {
                    self.doubt(now);
                }
                self.stable_since = stable.then(|| self.stable_since.unwrap_or(now));
                self.young &= !(stable && self.view.roster.len() > 1);
            }
            Input::Facts => {
                self.briefed = false;
                self.changed = true;
            }
            Input::Certificate { labels, admission } => {
                (self.config.labels, self.config.admission) = (labels, admission);
                self.changed = true;
            }
            Input::Message { from, message } => self.hear(now, wall, &from, message, out),
            Input::Outcome(outcome) => self.came(now, wall, outcome, out),
            Input::Add { request, entry, life, again } => {
                let result = self.add(now, wall, entry, life, again);
                out.push(Output::Added { request, result });
            }
            Input::StopAll | Input::Leave => {
                if matches!(input, Input::Leave) {
                    self.leaving = Some(Time::NEVER);
                }
                self.stopping = true;
                let ids: Vec<InstanceId> = self.picket.items().keys().cloned().collect();
                let mut orders = Vec::new();
                for id in ids {
                    self.picket.stop(now, &id, "this fulcrum stops with its services", &mut orders);
                }
                self.picketed(orders, out);
            }
        }
        self.settle(now, wall, known, out);
        if core::mem::take(&mut self.changed) {
            out.push(Output::Changed);
        }
    }

    /// When [`Input::Wake`] is due.
    #[must_use]
    pub fn deadline(&self) -> Time {
        self.deadline
    }

    fn add(
        &mut self,
        now: Time,
        wall: Wall,
        entry: access::Entry,
        life: Duration,
        again: bool,
    ) -> Result<bool, Refused> {
        if let access::By::Instance(id) = &entry.by {
            let item = self.picket.items().get(id).filter(|item| item.instance.of == entry.of);
            if !item
                .is_some_and(|item| matches!(item.instance.phase, instance::Phase::Starting | instance::Phase::Running))
            {
                return Err(Refused::NotHere);
            }
        }
        if again && self.ledger.has(&entry) {
            return Ok(true);
        }
        self.ledger.add(now, wall, entry, life)
    }

    fn install(&mut self, now: Time, wall: Wall, view: View, out: &mut Vec<Output>) {
        self.view = view;
        self.briefed = false;
        self.changed = true;
        // The grant is of a view; the new one has its own. What settled before has to settle again.
        self.doubt(now);
        self.stable_since = None;
        self.repeat_at = now;
        // Who said in the view before that nothing runs here need not be told again.
        let none = self.told.programs.take().filter(Vec::is_empty);
        self.told = settle::Told::default();
        self.told.programs = none;
        self.heartbeat.hurry(now);
        self.pastiche.peers_changed(now);
        for reports in self.reports.values_mut() {
            reports.retain(|member, _| self.view.has(member));
        }
        if let Some(register) = &mut self.register {
            register.anew(now);
        }
        self.count_kept();
        for (from, message) in self.early.drain() {
            self.hear(now, wall, &from, message, out);
        }
    }

    /// The flock is not known to be complete any more.
    fn doubt(&mut self, now: Time) {
        if self.stable_since.is_some() {
            self.unstable = now;
        }
    }

    /// Until when this life plans nothing new: until its flock is stable, but no longer than a part of a split waits.
    /// Once it was stable together with others it is one of them; one that was stable alone and then meets somebody
    /// hears what is wanted before it hears who does it.
    fn young_until(&self) -> Option<Time> {
        let until = self.unstable + proctor::SPLIT_HOLD * self.config.pace.0 / 1000;
        (self.young && self.stable_since.is_none()).then_some(until)
    }

    fn came(&mut self, now: Time, wall: Wall, outcome: Outcome, out: &mut Vec<Output>) {
        let mut done = Vec::new();
        match outcome {
            Outcome::Adopted { instances, ended, told } => {
                self.picket.adopt(now, wall, instances, ended, &mut done);
                self.hooks.adopt(now, told);
                self.adopted = true;
            }
            Outcome::Started { id, pid, at, ports } => self.picket.started(now, &id, pid, at, ports, &mut done),
            Outcome::StartFailed { id, why } => self.picket.start_failed(now, &id, &why, &mut done),
            Outcome::Exited { id, code, signal } => self.picket.exited(now, &id, code, signal, &mut done),
            Outcome::Checked { id, ok, detail } => {
                if let Some(item) = self.picket.items().get(&id) {
                    self.heartbeat.checked(now, item, ok, detail);
                }
                self.heartbeat.hurry(now);
            }
            Outcome::Hooked { id, number, end } => {
                let item = self.picket.items().get(&id);
                let event = item.and_then(|item| self.hooks.ended(&item.instance, number, end));
                self.changed |= event.is_some();
                out.extend(event.map(Output::Event));
            }
            Outcome::Fetched { hash, result } => self.pastiche.fetched(now, &hash, result),
            Outcome::Knocked { result } => self.doors.knocked(now, result),
        }
        if !done.is_empty() {
            // A change of an instance is judged at once, not at the next full second.
            self.heartbeat.hurry(now);
        }
        self.picketed(done, out);
    }

    /// Carries out what the picket wants.
    fn picketed(&mut self, outputs: Vec<picket::Output>, out: &mut Vec<Output>) {
        for output in outputs {
            self.changed = true;
            self.hooks.look_again();
            match output {
                picket::Output::Effect(effect) => out.push(Output::Effect(effect)),
                picket::Output::Changed(instance) => out.push(Output::Event(told(&instance))),
                picket::Output::Doubt(files) => files.iter().for_each(|file| self.pastiche.doubt(file)),
                picket::Output::Forgotten(instance) => {
                    if let Some(seat) = self.seat_of(&instance.of.horde) {
                        self.tell(&seat, Message::Forgotten { instance: instance.id }, out);
                    }
                }
            }
        }
    }

    /// Takes a message in, whether another fulcrum or this one itself sent it.
    fn hear(&mut self, now: Time, wall: Wall, from: &Member, message: Message, out: &mut Vec<Output>) {
        if !self.view.has(from) && *from != self.config.me {
            // Its view may be the next one here.
            if view_of(&message).is_some_and(|view| view.epoch > self.view.id().epoch) {
                self.early.push(from.clone(), message);
            }
            return;
        }
        if let Some(view) = view_of(&message).filter(|view| *view != self.view.id()) {
            if *view > *self.view.id() {
                self.early.push(from.clone(), message);
            }
            return;
        }
        if horde_of(&message).is_some_and(|horde| !self.briefs.contains_key(horde)) {
            // Of a horde that no fact and no row knows here, or not yet: nothing is kept of it, and it is said again.
            return;
        }
        let message = bounds::cut_short(message);
        let weight = bounds::weight(&message);
        match message {
            Message::AskDean { horde, .. } => {
                if self.adopted {
                    let message = self.dean_report(&horde);
                    self.tell(from, message, out);
                }
            }
            Message::DeanReport { horde, obeys, mut instances } => {
                instances.retain(|instance| instance.id.fulcrum == from.id && instance.of.horde == horde);
                if !self.room(Slot::Report(horde.clone(), from.id.clone()), from, weight) {
                    return;
                }
                let proctor = self.proctors.entry(horde.clone());
                let (me, timers) = (self.config.me.id.clone(), self.config.pace.0);
                let proctor = proctor.or_insert_with(|| Proctor::new(horde.clone(), me, timers));
                proctor.report(from, instances.clone());
                if let Some(obeys) = obeys.filter(|obeys| obeys.view == *self.view.id()) {
                    proctor.outbid(from, &obeys);
                }
                // One life of a fulcrum at a time.
                let reports = self.reports.entry(horde).or_default();
                reports.retain(|member, _| member.id != from.id || member == from);
                reports.insert(from.clone(), instances);
            }
            Message::Plan(plan) => self.hear_plan(now, wall, from, plan, weight, out),
            Message::Beats { horde, beats } => {
                if self.minders.contains_key(&horde)
                    && self.room(Slot::Beats(horde.clone(), from.id.clone()), from, weight)
                    && let Some(minder) = self.minders.get_mut(&horde)
                {
                    minder.hear(now, &from.id, beats);
                }
            }
            Message::Verdicts { horde, view, verdicts } => {
                let seat = self.roles.seat(&horde).is_none_or(|seat| *seat == from.id);
                if seat && self.room(Slot::Verdicts(horde.clone()), from, weight) {
                    self.hear_verdicts(now, wall, from, horde, view, verdicts, out);
                }
            }
            Message::Board { horde, view, instances } => {
                let seat = self.roles.seat(&horde).is_none_or(|seat| *seat == from.id);
                if seat && self.room(Slot::Board(horde.clone()), from, weight) {
                    let at = match self.boards.get(&horde) {
                        Some(old) if old.by == from.id && old.word == instances => old.at,
                        _ => {
                            self.changed = true;
                            wall
                        }
                    };
                    self.slots.extend(instances.iter().map(|instance| (instance.id.clone(), instance.slot)));
                    self.boards.insert(horde, Heard { by: from.id.clone(), view, at, heard: now, word: instances });
                    let told = self.boards.values().flat_map(|heard| &heard.word).map(|instance| &instance.id);
                    let judged = self.verdicts.values().flat_map(|heard| &heard.word).map(|verdict| &verdict.subject);
                    let named: BTreeSet<&InstanceId> = told.chain(judged).collect();
                    self.slots.retain(|id, _| named.contains(id));
                }
            }
            Message::Offer { horde, stands_for, .. } => {
                // One word of each: who has no say takes nobody else's away.
                self.offers.retain(|offer| offer.horde != horde || offer.by != from.id);
                self.offers.push(Offered { by: from.id.clone(), horde, stands_for, at: now });
            }
            Message::Waits { waits, .. } => {
                let seat = self.roles.seat(&HordeName::admin()).is_none_or(|seat| *seat == from.id);
                if seat && self.room(Slot::Waits, from, weight) {
                    let known = |(horde, _): &(HordeName, String)| self.briefs.contains_key(horde);
                    let waits = waits.into_iter().filter(known).collect();
                    self.changed |= self.waits != waits;
                    (self.waits, self.waits_heard) = (waits, now);
                }
            }
            Message::Who { mut programs, .. } => {
                programs.retain(|program| {
                    programs::horde_of(&program.name).is_some_and(|horde| self.briefs.contains_key(&horde))
                });
                if self.room(Slot::Who(from.id.clone()), from, weight) {
                    let news = self.yurt.hear(now, &from.id, programs);
                    // Whoever sits nowhere is not listed, whatever it says.
                    self.changed |= news && self.roles.hordes.values().any(|horde| horde.seat() == Some(&from.id));
                }
            }
            Message::Added { view, version, holds, entries } => {
                // Only the seat keeps it, from its first settling on; it is said again.
                let (pace, word) = (self.config.pace, access::Word { version, holds, entries });
                let asks = self.register.as_mut().map(|it| it.hear(now, pace, &from.id, word));
                if asks == Some(true) {
                    self.tell(from, Message::AskAdded { view }, out);
                }
            }
            Message::AskAdded { .. } => {
                if self.roles.seat(&HordeName::admin()) == Some(&from.id) {
                    self.told.added = None;
                }
            }
            Message::Register { view, version, entries } => {
                let seat = self.roles.seat(&HordeName::admin()) == Some(&from.id);
                if seat && self.room(Slot::Register, from, weight) {
                    self.changed |= self.listed.as_ref().is_none_or(|old| old.word != entries);
                    self.listed = Some(Heard { by: from.id.clone(), view, at: wall, heard: now, word: entries });
                    self.holds = version;
                }
            }
            Message::Forgotten { instance } => {
                for instances in self.reports.values_mut().filter_map(|reports| reports.get_mut(from)) {
                    instances.retain(|known| known.id != instance);
                }
            }
        }
    }

    fn hear_plan(&mut self, now: Time, wall: Wall, from: &Member, plan: Plan, weight: usize, out: &mut Vec<Output>) {
        if plan.by != from.id {
            return;
        }
        let seat = self.roles.seat(&plan.horde);
        if let Some(old) = self.plans.get(&plan.horde).filter(|old| old.view == plan.id.view) {
            // The seat's word stands against everybody else's; of one fulcrum the newest stands.
            let stands = if old.by == plan.by { old.word.id >= plan.id } else { seat == Some(&old.by) };
            if stands {
                return;
            }
        }
        if !self.room(Slot::Plan(plan.horde.clone()), from, weight) {
            return;
        }
        self.changed = true;
        out.push(Output::Event(Event { kind: "plan", subject: format!("{}", plan.horde), text: planned(&plan) }));
        let heard = Heard { by: from.id.clone(), view: plan.id.view.clone(), at: wall, heard: now, word: plan };
        self.plans.insert(heard.word.horde.clone(), heard);
    }

    #[allow(clippy::too_many_arguments)]
    fn hear_verdicts(
        &mut self,
        now: Time,
        wall: Wall,
        from: &Member,
        horde: HordeName,
        view: ViewId,
        verdicts: Vec<Verdict>,
        out: &mut Vec<Output>,
    ) {
        let verdicts: Vec<Verdict> = verdicts.into_iter().filter(|verdict| verdict.of.horde == horde).collect();
        let old = self.verdicts.get(&horde);
        let mut at = old.filter(|old| old.by == from.id).map_or(wall, |old| old.at);
        let before: BTreeMap<_, _> =
            old.iter().flat_map(|old| &old.word).map(|verdict| (&verdict.subject, verdict.health)).collect();
        let named: BTreeSet<_> = verdicts.iter().map(|verdict| &verdict.subject).collect();
        let mut changed = before.keys().any(|id| !named.contains(id));
        for verdict in &verdicts {
            let was = before.get(&verdict.subject).copied();
            if was != Some(verdict.health) {
                changed = true;
                // That nothing is known of something new is no news.
                if was.is_some() || verdict.health != verdict::Health::Unknown {
                    out.push(Output::Event(judged(verdict)));
                }
            }
        }
        if changed {
            self.changed = true;
            at = wall;
        }
        self.verdicts.insert(horde, Heard { by: from.id.clone(), view, at, heard: now, word: verdicts });
    }

    /// Sends a message, also to this fulcrum itself.
    fn tell(&mut self, to: &Member, message: Message, out: &mut Vec<Output>) {
        if *to == self.config.me {
            self.inbox.push_back(message);
        } else {
            out.push(Output::Message { to: to.clone(), message });
        }
    }

    fn tell_all(&mut self, message: &Message, out: &mut Vec<Output>) {
        let members: Vec<Member> = self.view.roster.iter().map(|seat| seat.member.clone()).collect();
        for member in members {
            self.tell(&member, message.clone(), out);
        }
    }

    fn member(&self, id: &FulcrumId) -> Option<Member> {
        self.view.seat(id).map(|seat| seat.member.clone())
    }

    fn seat_of(&self, horde: &HordeName) -> Option<Member> {
        self.roles.seat(horde).and_then(|id| self.member(id))
    }

    /// An instance of this fulcrum as others are told of it: with how its hook is.
    #[must_use]
    pub fn reported(&self, instance: &Instance) -> Instance {
        Instance { hook: self.hooks.said(&instance.id), ..instance.clone() }
    }

    fn dean_report(&self, horde: &HordeName) -> Message {
        let items = self.picket.items().values().filter(|item| item.instance.of.horde == *horde);
        Message::DeanReport {
            horde: horde.clone(),
            obeys: self.dean.obeys(horde).cloned(),
            instances: items.map(|item| self.reported(&item.instance)).collect(),
        }
    }
}

/// What others may ask; nothing here decides.
impl Services {
    /// The installed view.
    #[must_use]
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Who sits where.
    #[must_use]
    pub fn roles(&self) -> &Roles {
        &self.roles
    }

    /// The instances of this fulcrum.
    #[must_use]
    pub fn picket(&self) -> &Picket {
        &self.picket
    }

    /// What this fulcrum's dean obeys.
    #[must_use]
    pub fn dean(&self) -> &Dean {
        &self.dean
    }

    /// The newest plan heard for each horde.
    #[must_use]
    pub fn plans(&self) -> &BTreeMap<HordeName, Heard<Plan>> {
        &self.plans
    }

    /// What is reported to run, horde by horde.
    #[must_use]
    pub fn boards(&self) -> &BTreeMap<HordeName, Heard<Vec<Instance>>> {
        &self.boards
    }

    /// The place that an instance had when it was last told of.
    #[must_use]
    pub fn slot(&self, id: &InstanceId) -> Option<u32> {
        self.slots.get(id).copied()
    }

    /// What the healthminders believe.
    #[must_use]
    pub fn verdicts(&self) -> &BTreeMap<HordeName, Heard<Vec<Verdict>>> {
        &self.verdicts
    }

    /// What heartbeats in ADMIN, by name: each program where the seat is at which it runs. That follows from the roles, so
    /// nobody else is believed to run it, nor who did before the seat moved.
    pub fn who(&self) -> impl Iterator<Item = (&str, &FulcrumId, &yurt::Entry)> {
        let sits = |program: &str, at: &FulcrumId| {
            programs::horde_of(program).is_some_and(|horde| self.roles.seat(&horde) == Some(at))
        };
        let all = self.yurt.who().iter().map(|((name, at), entry)| (name.as_str(), at, entry));
        all.filter(move |(name, at, _)| sits(name, at))
    }

    /// Where a program runs that heartbeats in ADMIN.
    #[must_use]
    pub fn runs(&self, program: &str) -> Option<&FulcrumId> {
        self.who().find(|(name, ..)| *name == program).map(|(_, at, _)| at)
    }

    /// The register as ADMIN's seat last told it, without what nobody here vouches for any more: entries of fulcrums that
    /// are not here, and of instances that are believed dead, gone or done. Each with what is believed of its instance.
    #[must_use]
    pub fn listed(&self) -> Vec<(&Listed, Option<verdict::Health>)> {
        // A healthminder judges what is of its own horde.
        let verdicts = self.verdicts.values().flat_map(|heard| &heard.word);
        let verdicts: BTreeMap<(&InstanceId, &instance::ServiceRef), verdict::Health> =
            verdicts.map(|v| ((&v.subject, &v.of), v.health)).collect();
        let health = |entry: &access::Entry| match &entry.by {
            access::By::Instance(id) => {
                Some(verdicts.get(&(id, &entry.of)).copied().unwrap_or(verdict::Health::Unknown))
            }
            access::By::Operator(_) => None,
        };
        let entries = self.listed.iter().flat_map(|heard| &heard.word);
        let here = entries.filter(|listed| self.view.seat(&listed.at).is_some());
        let judged = here.map(|listed| (listed, health(&listed.entry)));
        judged.filter(|(_, health)| health.is_none_or(alive)).collect()
    }

    /// When the seat's word on the register came, by this fulcrum's wall clock.
    #[must_use]
    pub fn listed_at(&self) -> Wall {
        self.listed.as_ref().map_or(Wall(0), |heard| heard.at)
    }

    /// How fast time counts here.
    #[must_use]
    pub fn pace(&self) -> Pace {
        self.config.pace
    }

    /// Since when home members of hordes have been missed here.
    #[must_use]
    pub fn absences(&self) -> &Absences {
        &self.absences
    }

    /// What hordes wait for, as genghis last said.
    #[must_use]
    pub fn waits(&self) -> &BTreeMap<HordeName, String> {
        &self.waits
    }
}

/// Whether somebody may be sent to an instance of which this is believed.
const fn alive(health: verdict::Health) -> bool {
    use verdict::Health::{Late, Ready, Unknown};
    matches!(health, Unknown | Ready | Late)
}

fn view_of(message: &Message) -> Option<&ViewId> {
    match message {
        Message::AskDean { view, .. }
        | Message::Verdicts { view, .. }
        | Message::Board { view, .. }
        | Message::Waits { view, .. }
        | Message::Added { view, .. }
        | Message::AskAdded { view }
        | Message::Register { view, .. }
        | Message::Who { view, .. } => Some(view),
        Message::Plan(plan) => Some(&plan.id.view),
        Message::DeanReport { .. } | Message::Beats { .. } | Message::Offer { .. } | Message::Forgotten { .. } => None,
    }
}

fn horde_of(message: &Message) -> Option<&HordeName> {
    match message {
        Message::AskDean { horde, .. }
        | Message::DeanReport { horde, .. }
        | Message::Beats { horde, .. }
        | Message::Verdicts { horde, .. }
        | Message::Board { horde, .. }
        | Message::Offer { horde, .. } => Some(horde),
        Message::Plan(plan) => Some(&plan.horde),
        Message::Who { .. }
        | Message::Waits { .. }
        | Message::Added { .. }
        | Message::AskAdded { .. }
        | Message::Register { .. }
        | Message::Forgotten { .. } => None,
    }
}

fn told(instance: &Instance) -> Event {
    let name = format!("{}.{}", instance.of, instance.slot);
    let node = &instance.id.fulcrum;
    let mut text = match instance.phase {
        instance::Phase::Pending => format!("{name} waits on {node}"),
        instance::Phase::Starting => format!("{name} starts on {node}"),
        instance::Phase::Running => match instance.pid {
            Some(pid) => format!("{name} runs on {node} as process {pid}"),
            None => format!("{name} runs on {node}"),
        },
        instance::Phase::Stopping => format!("{name} stops on {node}"),
        instance::Phase::Gone => format!("{name} is gone from {node}"),
    };
    if !instance.why.is_empty() {
        text = format!("{text}: {}", instance.why);
    }
    Event { kind: "instance", subject: name, text }
}

fn planned(plan: &Plan) -> String {
    let mut text = format!("plan {} of {} by {}", plan.id.generation, plan.horde, plan.by);
    for (of, should) in &plan.should {
        let has = plan.entries.iter().filter(|entry| entry.of == *of).count();
        text = format!("{text}; {} should be {should}, is planned {has}", of.service);
    }
    for shortfall in &plan.shortfalls {
        text = format!("{text}; {} lacks {}: {}", shortfall.of.service, shortfall.missing, shortfall.why);
    }
    text
}

fn judged(verdict: &Verdict) -> Event {
    let state = verdict.health.word();
    let subject = format!("{}", verdict.subject);
    let text = format!("{} of {} is {state}: {} ({})", subject, verdict.of, verdict.why, verdict.rule);
    Event { kind: "verdict", subject, text }
}
