//! Settling: after anything has happened, every service of the fulcrum looks again, in one fixed order, until none has
//! anything to say to another one here. What goes to other fulcrums is sent when it changes, and again every 2 s, so that
//! a word that was lost or came too early is made good.

use super::access::{self, Register};
use super::effect::Event;
use super::healthminder::Healthminder;
use super::instance::{Instance, InstanceId, Phase, ServiceRef};
use super::known::Known;
use super::message::Message;
use super::plan::{Entry, Plan};
use super::proctor::{self, Home, Proctor, Seen, Wanted};
use super::roles::{Roles, roles};
use super::verdict::Health;
use super::{Output, Services, boot, bounds, dean, genghis, programs, vacancy};
use crate::facts::value::{Row, row_path};
use crate::resources::Resources;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use crux_names::{Duration, FulcrumId, Hash256, HordeName, Member, Time, Wall};

/// Rounds of settling in one call. A round without a local message ends it; this only bounds a mistake.
const ROUNDS: usize = 32;
/// So often in a row a plan asks for what no fact allows before that is said.
const REFUSED_TIMES: u32 = 3;

/// What a proctor is told about its horde.
#[derive(Clone, Debug, Default)]
pub(super) struct Brief {
    homes: BTreeMap<FulcrumId, Home>,
    sets: BTreeMap<String, String>,
    quota: Option<Resources>,
    wanted: BTreeMap<ServiceRef, Wanted>,
}

/// What was told last, so that only changes are told at once. Emptied with every new view: it has new listeners.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    reports: BTreeMap<HordeName, (Member, Message)>,
    boards: BTreeMap<HordeName, Vec<Instance>>,
    verdicts: BTreeMap<HordeName, Vec<(InstanceId, Health)>>,
    /// `None`: nothing, also not that there are none.
    pub(super) programs: Option<Vec<(String, String)>>,
    pub(super) added: Option<(Member, u64)>,
    added_at: Option<Time>,
    register: Option<ToldRegister>,
    /// When what has changed of these two meanwhile is told.
    added_due: Option<Time>,
    register_due: Option<Time>,
    offers: Vec<genghis::Offer>,
    waits: BTreeMap<HordeName, String>,
}

/// The register that everybody was told.
#[derive(Clone, Copy, Debug)]
struct ToldRegister {
    version: u64,
    at: Time,
    /// How long after it nothing else is told.
    pause: Duration,
}

fn brief(horde: &HordeName, roles: &Roles, known: &Known) -> Brief {
    let members = roles.hordes.get(horde).cloned().unwrap_or_default();
    let want = known.hordes().get(horde).map_or(0, |fact| fact.want);
    let next_to_go = vacancy::next_to_go(&members, want);
    let member = |id: &FulcrumId, substitute: bool| {
        let cordon = known.cordon(id);
        let drained = cordon.is_some_and(|cordon| cordon.drain);
        // Who works elsewhere meanwhile, and who stood in long enough, is emptied as if an operator had said so.
        let draining = drained || members.lent.contains(id) || (substitute && next_to_go == Some(id));
        let (labels, capacity) = (known.labels(id), known.rows().get(id).and_then(|row| row.capacity));
        (id.clone(), Home { labels, capacity, cordoned: cordon.is_some(), draining, substitute })
    };
    let homes = members.present.iter().chain(&members.absent).map(|id| member(id, false));
    let substitutes = members.substitutes.iter().map(|substitute| member(&substitute.id, true));
    let wanted = known.places().iter().filter(|(of, _)| of.horde == *horde).filter_map(|(of, place)| {
        let revision = Hash256(place.revision.as_slice().try_into().ok()?);
        let once = known.revision(&of.service, &revision).is_some_and(|entry| entry.manifest.once);
        let wanted = Wanted { asks: known.asks(&of.service), ..Wanted::of(place, revision, once) };
        Some((of.clone(), wanted))
    });
    Brief {
        homes: homes.chain(substitutes).collect(),
        sets: known.hordes().get(horde).map(|fact| fact.sets.clone()).unwrap_or_default(),
        quota: known.hordes().get(horde).and_then(|fact| fact.quota),
        wanted: wanted.collect(),
    }
}

impl Services {
    pub(super) fn settle(&mut self, now: Time, wall: Wall, known: &Known, out: &mut Vec<Output>) {
        // The node says what it re-adopted once after its start; should that word be lost, nothing is left to wait for.
        if !self.adopted && now >= self.started + self.config.pace.ms(10_000) {
            self.adopted = true;
        }
        let repeat = now >= self.repeat_at;
        if repeat {
            self.repeat_at = now + self.config.pace.repeat();
        }
        self.rebrief(now, known, out);
        self.settle_standing(known, out);
        self.settle_door(now, known, out);
        self.settle_boot(now, wall, known, out);
        for round in 0..ROUNDS {
            let repeat = repeat && round == 0;
            // What is heard is judged before it is planned by, and beats go out before the report of the same moment:
            // a process that runs again must not be replaced because of the verdict on its last end.
            self.settle_minders(now, repeat, out);
            self.settle_proctors(now, out);
            self.settle_deans(now, repeat, known, out);
            self.settle_hooks(now, wall, out);
            self.settle_beats(now, known, out);
            self.settle_reports(repeat, out);
            self.settle_boards(repeat, out);
            if round == 0 {
                self.settle_genghis(now, repeat, known, out);
            }
            self.settle_access(now, repeat, out);
            self.settle_yurt(now, wall, repeat, out);
            if self.inbox.is_empty() {
                break;
            }
            let me = self.config.me.clone();
            while let Some(message) = self.inbox.pop_front() {
                self.hear(now, wall, &me, message, out);
            }
        }
        if self.stopping && !self.stopped && self.picket.idle() && self.has_left(now, known) {
            self.stopped = true;
            out.push(Output::Stopped);
        }
        self.deadline = self.next(now);
    }

    fn next(&self, now: Time) -> Time {
        let proctors = self.proctors.values().map(Proctor::deadline);
        let minders = self.minders.values().map(|minder| minder.deadline(now));
        let settled = self.stable_since.map(|since| since + self.config.pace.ms(5_000)).filter(|at| *at > now);
        let adopted = (!self.adopted).then(|| self.started + self.config.pace.ms(10_000));
        let grown = self.young_until().filter(|at| *at > now);
        let fixed = [
            self.repeat_at,
            self.picket.deadline(now),
            self.pastiche.deadline(),
            self.hooks.deadline(),
            self.told_from().filter(|at| *at > now).unwrap_or(Time::NEVER),
            // No beat goes out before it is known what runs here.
            if self.adopted { self.heartbeat.deadline(self.picket.items()) } else { Time::NEVER },
            self.signing.as_ref().map_or(Time::NEVER, |(_, until)| *until),
            self.leaving.filter(|_| !self.stopped).unwrap_or(Time::NEVER),
            self.ledger.deadline(),
            self.register
                .as_ref()
                .map(|register| register.patience(self.config.pace))
                .filter(|at| *at > now)
                .unwrap_or(Time::NEVER),
            self.told.added_due.unwrap_or(Time::NEVER),
            self.told.register_due.unwrap_or(Time::NEVER),
        ];
        let all = fixed.into_iter().chain(proctors).chain(minders).chain(settled).chain(adopted).chain(grown);
        all.min().unwrap_or(Time::NEVER)
    }

    fn settled(&self, now: Time) -> bool {
        self.stable_since.is_some_and(|since| now >= since + self.config.pace.ms(5_000))
    }

    /// Who sits where, and what proctors are told.
    fn rebrief(&mut self, now: Time, known: &Known, out: &mut Vec<Output>) {
        if self.briefed {
            return;
        }
        self.briefed = true;
        let roles = roles(&self.view.roster, known);
        if roles != self.roles {
            self.changed = true;
            for seat in &self.view.roster {
                let id = &seat.member.id;
                let (was, is) = (self.roles.home(id), roles.home(id));
                if was != is {
                    let text = format!("{id} is of horde {is} now, not of {was}");
                    out.push(Output::Event(Event { kind: "horde", subject: format!("{id}"), text }));
                }
            }
            if roles.admin() != self.roles.admin() {
                let names: Vec<String> = roles.admin().iter().map(|id| format!("{id}")).collect();
                let text = match names.as_slice() {
                    [] => String::from("nobody here carries the ADMIN flag"),
                    names => format!("ADMIN is {}; its seat is {}", names.join(", "), names[0]),
                };
                out.push(Output::Event(Event { kind: "horde", subject: "ADMIN".into(), text }));
            }
            self.roles = roles;
            self.absences.look(now, &self.roles);
        }
        self.unsaid = true;
        self.hooks.look_again();
        self.lacking = programs::lacking(known);
        let mut hordes: BTreeSet<HordeName> = self.roles.hordes.keys().cloned().collect();
        // These two need no fact and may have nobody.
        hordes.extend([HordeName::main(), HordeName::admin()]);
        hordes.extend(known.hordes().keys().cloned());
        hordes.extend(known.places().keys().map(|of| of.horde.clone()));
        self.briefs = hordes.into_iter().map(|horde| (horde.clone(), brief(&horde, &self.roles, known))).collect();
        // A horde that is no more, or that only a row named for a while, leaves nothing behind.
        let briefs = &self.briefs;
        self.proctors.retain(|horde, _| briefs.contains_key(horde));
        self.plans.retain(|horde, _| briefs.contains_key(horde));
        self.boards.retain(|horde, _| briefs.contains_key(horde));
        self.verdicts.retain(|horde, _| briefs.contains_key(horde));
        self.reports.retain(|horde, _| briefs.contains_key(horde));
        self.count_kept();
        for horde in self.briefs.keys() {
            let (me, timers) = (self.config.me.id.clone(), self.config.pace.0);
            let proctor = self.proctors.entry(horde.clone());
            proctor.or_insert_with(|| Proctor::new(horde.clone(), me, timers));
        }
    }

    /// The bootstrap's table: this fulcrum's own row.
    fn settle_boot(&mut self, now: Time, wall: Wall, known: &Known, out: &mut Vec<Output>) {
        let me = &self.config.me.id;
        if self.view.roster.iter().any(|seat| seat.visitor && seat.member.id == *me) {
            // A visitor is of no horde and says nothing of itself in facts.
            return;
        }
        let row = known.rows().get(me);
        if row.is_some() {
            self.row = row.cloned();
        }
        if let Some((written, until)) = &self.signing {
            if row == Some(written) || now >= *until {
                self.signing = None;
            } else {
                return;
            }
        }
        if row.is_none()
            && !self.stopping
            && let Some(own) = &self.row
        {
            // An operator had it forgotten, but it is here: it stays what it was.
            self.signing = Some((own.clone(), now + self.config.pace.ms(5_000)));
            out.push(Output::Row(own.clone()));
            return;
        }
        if self.leaving.is_some() {
            self.write_farewell(now, row, out);
            return;
        }
        let life = self.config.pace.repeat() * 2;
        let admin = self.roles.seat(&HordeName::admin()).cloned();
        self.offers.retain(|offer| now < offer.at + life);
        let offers = self.offers.iter().filter(|offer| Some(&offer.by) == admin.as_ref());
        let offered_admin = offers.clone().any(|offer| offer.horde == HordeName::admin());
        // What was said last counts.
        let offered = offers.filter(|offer| offer.horde != HordeName::admin()).max_by_key(|offer| offer.at);
        let offered = offered.map(|offer| (&offer.horde, offer.stands_for.as_ref()));
        let stands_in = row.map_or("", |row| row.stands_in.as_str());
        let idle = !self.picket.items().values().any(|item| item.instance.of.horde.as_str() == stands_in);
        let next = boot::next(&boot::Situation {
            me,
            labels: &self.config.labels,
            admission: self.config.admission,
            capacity: self.config.capacity,
            row,
            leader: self.view.leader().member == self.config.me,
            stable: self.stable_since.is_some(),
            settled: self.settled(now),
            answers: self.adopted,
            admin_answers: self.admin_answers(now),
            roles: &self.roles,
            known,
            offered_admin,
            offered,
            idle,
            wall,
            absences: &self.absences,
            now,
            pace: self.config.pace,
        });
        if let Some((row, rule)) = next.filter(|_| !self.stopping) {
            if rule.id != "labels" {
                let text = format!("{me} writes {} to its row: {}", shown(&row), rule.why);
                out.push(Output::Event(Event { kind: "horde", subject: row_path(me), text }));
            }
            self.signing = Some((row.clone(), now + self.config.pace.ms(5_000)));
            out.push(Output::Row(row));
        }
    }

    /// How hordes stand, once the flock knows who is missing.
    fn settle_standing(&mut self, known: &Known, out: &mut Vec<Output>) {
        if !self.unsaid || self.stable_since.is_none() {
            return;
        }
        self.unsaid = false;
        let want = |horde: &HordeName| known.want(horde);
        out.extend(self.said.news(&self.roles, want).into_iter().map(Output::Event));
    }

    /// Once nothing runs here any more, the row of a fulcrum that leaves says so.
    fn write_farewell(&mut self, now: Time, row: Option<&Row>, out: &mut Vec<Output>) {
        if !self.picket.idle() || row.is_some_and(|row| row.left) {
            return;
        }
        let until = now + self.config.pace.ms(5_000);
        if self.leaving == Some(Time::NEVER) {
            self.leaving = Some(until);
        }
        let labels = self.config.labels.clone();
        let farewell = Row { labels, admission: self.config.admission, left: true, ..Row::default() };
        self.signing = Some((farewell.clone(), until));
        out.push(Output::Row(farewell));
    }

    /// Whether nothing keeps it here any more. A disk that does not take its last word does not keep it for ever: then it is
    /// missed until an operator forgets it.
    fn has_left(&self, now: Time, known: &Known) -> bool {
        let me = &self.config.me.id;
        let visitor = self.view.seat(me).is_some_and(|seat| seat.visitor);
        let said = known.rows().get(me).is_some_and(|row| row.left);
        self.leaving.is_none_or(|until| said || visitor || now >= until)
    }

    fn settle_proctors(&mut self, now: Time, out: &mut Vec<Output>) {
        let roster: Vec<Member> = self.view.roster.iter().map(|seat| seat.member.clone()).collect();
        let view = self.view.id().clone();
        let young = self.young_until().is_some_and(|until| now < until);
        let mut said = Vec::new();
        for (horde, proctor) in &mut self.proctors {
            // Only a plan of the installed view's proctor counts.
            if let Some(heard) = self.plans.get(horde)
                && heard.view == view
                && self.roles.seat(horde) == Some(&heard.by)
            {
                proctor.heard(&heard.word);
            }
            let empty = Brief::default();
            let brief = self.briefs.get(horde).unwrap_or(&empty);
            let verdicts: BTreeMap<InstanceId, Health> = match self.minders.get(horde) {
                Some(minder) => minder.verdicts(now).into_iter().map(|v| (v.subject, v.health)).collect(),
                None => {
                    let heard = self.verdicts.get(horde).filter(|heard| heard.view == view);
                    heard.iter().flat_map(|h| &h.word).map(|v| (v.subject.clone(), v.health)).collect()
                }
            };
            let seen = Seen {
                view: &view,
                roster: &roster,
                homes: &brief.homes,
                sets: &brief.sets,
                quota: brief.quota,
                wanted: &brief.wanted,
                young,
                verdicts: &verdicts,
            };
            said.extend(proctor.step(now, &seen).into_iter().map(|output| (horde.clone(), output)));
        }
        for (horde, output) in said {
            match output {
                proctor::Output::Ask(member) => {
                    self.tell(&member, Message::AskDean { view: view.clone(), horde }, out);
                }
                proctor::Output::Plan(plan) => self.tell_all(&Message::Plan(plan), out),
            }
        }
    }

    /// The dean's orders, and what the picket and pastiche do about them.
    fn settle_deans(&mut self, now: Time, repeat: bool, known: &Known, out: &mut Vec<Output>) {
        let mut done = Vec::new();
        if !self.stopping {
            let situation = dean::Situation {
                me: &self.config.me.id,
                view: self.view.id(),
                roles: &self.roles,
                known,
                stable: self.stable_since.is_some(),
                settled: self.settled(now),
            };
            for heard in self.plans.values() {
                // Refusals are the rule, not the exception: most plans are of other hordes.
                let _ = self.dean.take(&heard.word, &heard.by, &situation);
            }
            for order in self.dean.orders(self.picket.items(), &situation) {
                self.changed = true;
                match order {
                    dean::Order::Start { of, slot, revision, why } => {
                        self.picket.start(now, of, slot, revision, &why);
                    }
                    dean::Order::Stop { id, why } => self.picket.stop(now, &id, &why, &mut done),
                    dean::Order::Place { id, slot } => self.picket.place(&id, slot),
                }
            }
            if repeat && self.settled(now) {
                let refusals = self.dean.refusals(self.picket.items(), &situation);
                let alarms = say_refused(&mut self.refused, &refusals);
                out.extend(alarms.into_iter().map(Output::Event));
            }
        }
        // Manifests that have come tell which files are needed; files that have come let instances start.
        let pastiche = &self.pastiche;
        self.picket.step(now, known, |hash| pastiche.missing(hash), &mut done);
        let members: Vec<Member> = self.view.roster.iter().map(|seat| seat.member.clone()).collect();
        let fetches = self.pastiche.step(now, &self.picket.needs(), &members);
        out.extend(fetches.into_iter().map(Output::Effect));
        out.extend(self.heartbeat.step(now, self.picket.items()).into_iter().map(Output::Effect));
        if !done.is_empty() {
            self.heartbeat.hurry(now);
        }
        self.picketed(done, out);
    }

    /// From when on instances are told how their hordes are: once the flock has been stable for a moment, in which what
    /// flaps shows itself. A life that has not been in a flock with others yet waits as long as a part of a split does
    /// before it takes them for missing.
    fn told_from(&self) -> Option<Time> {
        let hold =
            if self.young { proctor::SPLIT_HOLD * self.config.pace.0 / 1000 } else { self.config.pace.ms(2_000) };
        self.stable_since.map(|since| since + hold)
    }

    /// What instances are told of their hordes, and their hooks.
    fn settle_hooks(&mut self, now: Time, wall: Wall, out: &mut Vec<Output>) {
        let sure = self.told_from().is_some_and(|from| now >= from);
        let effects = self.hooks.step(now, wall, self.picket.items(), &self.roles, sure);
        self.changed |= !effects.is_empty();
        out.extend(effects.into_iter().map(Output::Effect));
    }

    /// Hordes that this fulcrum answers to: those that it is of, and those of which something runs here.
    fn answers_to(&self) -> BTreeSet<HordeName> {
        let me = &self.config.me.id;
        let of = self.roles.hordes.keys().filter(|horde| self.roles.is_member(horde, me)).cloned();
        of.chain(self.picket.items().values().map(|item| item.instance.of.horde.clone())).collect()
    }

    fn settle_reports(&mut self, repeat: bool, out: &mut Vec<Output>) {
        if !self.adopted {
            return;
        }
        for horde in self.answers_to() {
            let Some(seat) = self.seat_of(&horde) else { continue };
            let report = (seat, self.dean_report(&horde));
            if repeat || self.told.reports.get(&horde) != Some(&report) {
                self.tell(&report.0, report.1.clone(), out);
                self.told.reports.insert(horde, report);
            }
        }
    }

    fn settle_beats(&mut self, now: Time, known: &Known, out: &mut Vec<Output>) {
        if !self.adopted {
            return;
        }
        let mut also = self.answers_to();
        also.retain(|horde| known.places().keys().any(|of| of.horde == *horde) || self.verdicts.contains_key(horde));
        for (horde, beats) in self.heartbeat.beats(now, self.picket.items(), &also) {
            if let Some(seat) = self.seat_of(&horde) {
                self.tell(&seat, Message::Beats { horde, beats }, out);
            }
        }
    }

    /// Hordes whose seat this fulcrum is.
    pub(super) fn seated(&self) -> BTreeSet<HordeName> {
        let me = Some(&self.config.me.id);
        self.roles.hordes.keys().filter(|horde| self.roles.seat(horde) == me).cloned().collect()
    }

    fn settle_boards(&mut self, repeat: bool, out: &mut Vec<Output>) {
        let view = self.view.id().clone();
        let me = self.config.me.id.clone();
        for horde in self.seated() {
            if repeat {
                // The seat's last plan, for whoever missed it or judged it too early.
                let plan = self.proctors.get(&horde).and_then(Proctor::plan);
                if let Some(plan) = plan.filter(|plan| plan.by == me && plan.id.view == view).cloned() {
                    self.tell_all(&Message::Plan(plan), out);
                }
            }
            let reports = self.reports.get(&horde);
            let instances = bounds::board(reports.into_iter().flat_map(BTreeMap::values));
            let told = self.told.boards.get(&horde);
            let news = told.map_or(!instances.is_empty(), |told| repeat || *told != instances);
            if news {
                self.told.boards.insert(horde.clone(), instances.clone());
                self.tell_all(&Message::Board { horde, view: view.clone(), instances }, out);
            }
        }
    }

    fn settle_minders(&mut self, now: Time, repeat: bool, out: &mut Vec<Output>) {
        let pace = self.config.pace;
        let seated = self.seated();
        self.minders.retain(|horde, _| seated.contains(horde));
        for horde in seated {
            let carried = self.verdicts.get(&horde).map(|heard| heard.word.as_slice()).unwrap_or_default();
            let minder = self.minders.entry(horde.clone());
            let minder = minder.or_insert_with(|| Healthminder::new(now, horde.clone(), pace, carried));
            minder.judge(now, |id| self.view.seat(id).is_some());
            let verdicts = minder.verdicts(now);
            let states: Vec<_> = verdicts.iter().map(|verdict| (verdict.subject.clone(), verdict.health)).collect();
            let told = self.told.verdicts.get(&horde);
            let news = told.map_or(!states.is_empty(), |told| repeat || *told != states);
            if news {
                self.told.verdicts.insert(horde.clone(), states);
                let view = self.view.id().clone();
                self.tell_all(&Message::Verdicts { horde, view, verdicts }, out);
            }
        }
    }

    fn settle_genghis(&mut self, now: Time, repeat: bool, known: &Known, out: &mut Vec<Output>) {
        let seated = self.roles.seat(&HordeName::admin()) == Some(&self.config.me.id);
        if !seated || self.stable_since.is_none() {
            // What its seat said and does not say again holds no more.
            if now > self.waits_heard + self.config.pace.repeat() * 3 {
                self.changed |= !self.waits.is_empty();
                self.waits.clear();
            }
            self.told.offers.clear();
            return;
        }
        let (roles, absences, pace) = (&self.roles, &self.absences, self.config.pace);
        let word = genghis::word(&genghis::Sees { roles, known, absences, now, pace });
        if word.waits != self.told.waits || (repeat && !word.waits.is_empty()) {
            self.told.waits = word.waits.clone();
            let waits = word.waits.into_iter().collect();
            self.tell_all(&Message::Waits { view: self.view.id().clone(), waits }, out);
        }
        if repeat || word.offers != self.told.offers {
            for offer in &word.offers {
                if let Some(to) = self.member(&offer.to) {
                    let genghis::Offer { horde, stands_for, why, .. } = offer.clone();
                    self.tell(&to, Message::Offer { horde, stands_for, why }, out);
                }
            }
            self.told.offers = word.offers;
        }
    }

    /// What was added at this fulcrum's door goes to ADMIN's seat, and from there to everybody.
    fn settle_access(&mut self, now: Time, repeat: bool, out: &mut Vec<Output>) {
        let items = self.picket.items();
        let runs = |id: &InstanceId| {
            items.get(id).is_some_and(|item| matches!(item.instance.phase, Phase::Starting | Phase::Running))
        };
        self.ledger.step(now, runs);
        let admin = self.roles.seat(&HordeName::admin());
        if let Some(listed) = &mut self.listed {
            // Whose word it is sits there still, or somebody takes its place soon.
            if admin == Some(&listed.by) {
                listed.heard = now;
            } else if !listed.word.is_empty() && now >= listed.heard + self.config.pace.repeat() * 5 {
                self.listed = None;
                self.changed = true;
            }
        }
        (self.told.added_due, self.told.register_due) = (None, None);
        let view = self.view.id().clone();
        let Some(seat) = self.seat_of(&HordeName::admin()) else {
            self.register = None;
            return;
        };
        let version = self.ledger.version();
        let word = (seat.clone(), version);
        let news = self.told.added.as_ref() != Some(&word);
        // Another seat is told at once; the same one a few times a second, however often something is added here.
        let same = self.told.added.as_ref().is_none_or(|(to, _)| *to == seat);
        let due = self.told.added_at.map(|at| at + access::pause(self.config.pace)).filter(|due| same && now < *due);
        if news && !repeat && due.is_some() {
            self.told.added_due = due;
        } else if news || repeat {
            (self.told.added, self.told.added_at) = (Some(word), Some(now));
            let heard = self.listed.as_ref().filter(|heard| heard.view == view && heard.by == seat.id);
            let holds = heard.map_or(0, |_| self.holds);
            let entries = (news || self.ledger.is_empty()).then(|| self.ledger.entries());
            self.tell(&seat, Message::Added { view: view.clone(), version, holds, entries }, out);
        }
        if seat == self.config.me {
            self.settle_register(now, repeat, out);
        } else {
            self.register = None;
        }
    }

    /// The seat's part: everybody is told what changes, once a pause, and again whoever says that it missed it. A member
    /// that changes its word all the time costs the others' links no more than that.
    fn settle_register(&mut self, now: Time, repeat: bool, out: &mut Vec<Output>) {
        let carried = self.listed.as_ref().map(|heard| heard.word.as_slice()).unwrap_or_default();
        let (pace, members) = (self.config.pace, &self.view);
        let register = self.register.get_or_insert_with(|| Register::new(now, carried));
        register.prune(now, pace, |id| members.seat(id).is_some());
        if !register.speaks(now, pace, members.roster.iter().map(|seat| &seat.member.id)) {
            return;
        }
        let (view, version) = (members.id().clone(), register.version());
        let word = |register: &Register| Message::Register { view, version, entries: register.all() };
        match self.told.register {
            Some(told) if told.version == version => {
                let behind = if repeat { register.behind(now, told.at, told.pause) } else { Vec::new() };
                if !behind.is_empty() {
                    let word = word(register);
                    for member in behind.iter().filter_map(|id| self.member(id)).collect::<Vec<_>>() {
                        self.tell(&member, word.clone(), out);
                    }
                }
            }
            Some(told) if now < told.at + told.pause => self.told.register_due = Some(told.at + told.pause),
            _ => {
                let pause = access::pause_after(register.bytes(), pace);
                let word = word(register);
                self.told.register = Some(ToldRegister { version, at: now, pause });
                self.tell_all(&word, out);
            }
        }
    }
}

/// A proctor's wishes that no fact allows, once for each that does not give them up: facts that were on their way have come
/// by the third time.
fn say_refused(
    refused: &mut BTreeMap<(HordeName, FulcrumId), u32>,
    refusals: &[(&Plan, &Entry, String)],
) -> Vec<Event> {
    let mut events = Vec::new();
    let before = core::mem::take(refused);
    for (plan, entry, why) in refusals {
        let key = (plan.horde.clone(), plan.by.clone());
        if refused.contains_key(&key) {
            continue;
        }
        let times = before.get(&key).map_or(1, |times| times.saturating_add(1));
        refused.insert(key, times);
        if times == REFUSED_TIMES {
            let text = format!(
                "{} plans {} for this fulcrum, and it is not started: {why}; if that goes on, look at that node, and \
                 expel it if it is not yours any more",
                plan.by, entry.of
            );
            events.push(Event { kind: "alarm", subject: format!("{}", plan.by), text });
        }
    }
    events
}

fn shown(row: &Row) -> String {
    let horde = if row.horde.is_empty() { crux_names::MAIN } else { &row.horde };
    let mut text = format!("horde {horde}");
    if !row.stands_in.is_empty() {
        text = format!("{text}, in the place of {} at {}", row.stands_for, row.stands_in);
    }
    if row.admin.is_empty() { text } else { format!("{text}, {}", row.admin) }
}
