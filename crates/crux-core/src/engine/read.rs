//! The read side: what the engine can say about its bloc. See [`crate::picture`].

use super::Engine;
use super::told::after_clone;
use super::why_flock::{outside as why_outside, sibling as why_apart, who_lacks, why_flock};
use crate::facts::Facts;
use crate::facts::value::{Expulsion, cordon_path, expel_path};
use crate::facts::version::Author;
use crate::flock::{Apart, Flock};
use crate::picture::{
    AccessLine, Claim, ClaimKind, Confab, ExpelledLine, FactsLine, HordeLine, HordeState, InstanceLine, InstanceState,
    MemberState, OutsideLine, ProgramLine, Reason, RosterLine, ServiceLine, Status, Subject,
};
use crate::resources::{NAMES, Resources};
use crate::services::Services;
use crate::services::access::Listed;
use crate::services::admin;
use crate::services::instance::{Instance, InstanceId, Phase, ServiceRef};
use crate::services::known::Known;
use crate::services::plan::{Entry, Plan};
use crate::services::roles::{HordeRoles, Substitute, home_of, stands_in};
use crate::services::vacancy;
use crate::services::verdict::{Health, Verdict};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::iter;
use core::net::SocketAddr;
use crux_names::{Duration, FulcrumId, Hash256, HordeName, NodeName, Time, Wall};

impl Engine {
    /// What a program asks for names. Its `at` is when these words began to hold.
    #[must_use]
    pub fn confab(&self, now: Time, wall: Wall) -> Confab {
        let view = self.flock.view();
        let mut members: Vec<FulcrumId> = view.roster.iter().map(|seat| seat.member.id.clone()).collect();
        members.sort();
        let roles = self.services.roles();
        let mut confab = Confab {
            bloc: view.head.header.bloc.clone(),
            me: self.me.clone(),
            flock: view.head.header.name.clone(),
            epoch: view.id().epoch,
            view: view.id().clone(),
            leader: view.leader().member.id.clone(),
            stable: self.flock.stable(now),
            members,
            horde: view.seat(&self.me.id).filter(|seat| !seat.visitor).map(|_| roles.home(&self.me.id)),
            admin: roles.admin().to_vec(),
            // None, until there is such a program.
            steward: self.services.runs("steward").cloned(),
            yurt: self.services.runs("yurt").cloned(),
            at: Wall(0),
        };
        confab.at = if self.confab.as_ref() == Some(&confab) { self.began } else { wall };
        confab
    }

    /// Everything that `crux status` shows.
    #[must_use]
    pub fn status(&self, now: Time, wall: Wall) -> Status {
        let flock = self.flock.status(now);
        let instances = self.instance_lines(wall);
        let used = self.used();
        let roster = flock.members.into_iter().map(|member| {
            let id = &member.seat.member.id;
            let row = self.known.rows().get(id);
            RosterLine {
                addr: member.addr,
                since: self.since.get(&member.seat.member).copied().unwrap_or(self.began),
                horde: (!member.seat.visitor).then(|| self.services.roles().home(id)),
                joining: row.is_some_and(|row| home_of(row).1),
                admin: self.services.roles().admin().contains(id),
                visitor: member.seat.visitor,
                labels: self.known.labels(id),
                capacity: row.and_then(|row| row.capacity),
                used: used.get(id).copied().unwrap_or_default(),
                stands_in: row.filter(|row| !row.left).and_then(stands_in),
                cordon: self.known.cordon(id).cloned(),
                state: if member.suspect { MemberState::Suspect } else { MemberState::Member },
                heard: member.heard,
                admission: match member.seat.member == self.me {
                    true => Some(self.facts.admission()),
                    false => self.admissions.get(&member.seat.member).copied(),
                },
                member: member.seat.member,
            }
        });
        let outside = flock.outside.into_iter().map(|who| {
            let last_seen = who.fulcrum.as_ref().and_then(|id| self.seen.get(id));
            OutsideLine { who, last_seen }
        });
        Status {
            confab: self.confab(now, wall),
            age: flock.age,
            roster: roster.collect(),
            siblings: flock.siblings,
            outside: outside.collect(),
            hordes: self.horde_lines(now),
            services: self.service_lines(&instances),
            instances,
            facts: FactsLine {
                count: u32::try_from(self.facts.count()).unwrap_or(u32::MAX),
                digest: self.facts.digest(),
                conflicts: u32::try_from(self.facts.conflicts().count()).unwrap_or(u32::MAX),
                quarantined: u32::try_from(self.facts.quarantine_count()).unwrap_or(u32::MAX),
            },
            expect: flock.expect,
            clones: flock.clones,
            lacking: flock.lacking.map(|lacking| who_lacks(lacking, &flock.lacking_who)),
            sick: flock.sick,
            programs: self.program_lines(now),
            access: self.access_lines(),
            expelled: self.expelled_lines(),
            at: wall,
        }
    }

    /// The flocking room, for whoever asks more than the picture shows.
    #[must_use]
    pub fn flock_room(&self) -> &Flock {
        &self.flock
    }

    /// The facts room.
    #[must_use]
    pub fn facts_room(&self) -> &Facts {
        &self.facts
    }

    /// The services room.
    #[must_use]
    pub fn services_room(&self) -> &Services {
        &self.services
    }

    /// What the facts say: hordes, catalogue, placements, rows, and what could not be read.
    #[must_use]
    pub fn muster(&self) -> &Known {
        &self.known
    }

    /// What heartbeats in ADMIN.
    #[must_use]
    pub fn program_lines(&self, now: Time) -> Vec<ProgramLine> {
        let line = |(name, node, entry): (&str, &FulcrumId, &crate::services::yurt::Entry)| ProgramLine {
            name: name.into(),
            node: node.clone(),
            started: entry.started,
            heard: now.since(entry.heard),
            state: entry.state(now, self.services.pace()),
        };
        self.services.who().map(line).collect()
    }

    /// What the access service lists, as its seat last told it.
    #[must_use]
    pub fn access_lines(&self) -> Vec<AccessLine> {
        let at = self.services.listed_at();
        let line = |(listed, health): (&Listed, Option<Health>)| AccessLine {
            entry: listed.entry.clone(),
            health,
            claim: Claim { kind: ClaimKind::Reported, by: listed.at.clone(), at },
        };
        let mut lines: Vec<AccessLine> = self.services.listed().into_iter().map(line).collect();
        let key = |line: &AccessLine| {
            (line.entry.of.clone(), line.entry.by.clone(), line.entry.name.clone(), line.claim.by.clone())
        };
        lines.sort_by_key(key);
        lines
    }

    fn expelled_lines(&self) -> Vec<ExpelledLine> {
        let line = |(node, expulsion): (&NodeName, &Expulsion)| {
            let signed = self.facts.version(&expel_path(node))?.statement();
            let by = match &signed.author {
                Author::Operator(name) => name.to_string(),
                other => other.to_string(),
            };
            let (up_to, reason, at) = (expulsion.up_to, expulsion.reason.clone(), Wall(signed.stamp.wall));
            Some(ExpelledLine { node: node.clone(), up_to, reason, by, at })
        };
        self.known.expelled().iter().filter_map(line).collect()
    }

    fn here(&self, id: &FulcrumId) -> bool {
        self.flock.view().seat(id).is_some()
    }

    fn horde_lines(&self, now: Time) -> Vec<HordeLine> {
        let roles = self.services.roles();
        let mut names: BTreeSet<&HordeName> = roles.hordes.keys().chain(self.known.hordes().keys()).collect();
        let built_in = [HordeName::main(), HordeName::admin()];
        names.extend(&built_in);
        let line = |name: &HordeName| {
            let members = roles.hordes.get(name).cloned().unwrap_or_default();
            let want = self.known.want(name);
            let home = members.home();
            let lacks = want.map_or(0, |want| (want as usize).saturating_sub(home.len()));
            let mut why: Vec<String> = self.why_missing(now, name, &members).collect();
            match self.services.waits().get(name) {
                Some(waits) => why.push(waits.clone()),
                None if lacks > 0 => why.push(format!("{lacks} fewer than wanted")),
                None => {}
            }
            let quota = self.known.hordes().get(name).and_then(|fact| fact.quota);
            let used = self.used_by(name);
            if let Some(quota) = quota {
                let over = quota.as_limit().lacks(&used).next().is_some();
                let more = if over { ", and nothing new that asks for it is placed" } else { "" };
                why.push(format!("quota {quota}, {used} in use{more}"));
            }
            let is_admin = *name == HordeName::admin();
            if is_admin && !roles.carriers.waits.is_empty() {
                why.push(roles.carriers.waits.clone());
            }
            HordeLine {
                name: name.clone(),
                want: if is_admin { Some(admin::size(&self.known)) } else { want },
                admits: self.known.hordes().get(name).map(|fact| fact.r#where.clone()).unwrap_or_default(),
                quota,
                used,
                state: members.standing(want),
                seat: members.seat().cloned(),
                home,
                present: members.present,
                absent: members.absent,
                substitutes: members.substitutes,
                why: why.join("; "),
            }
        };
        names.into_iter().map(line).collect()
    }

    /// What the plans have on each fulcrum asks for. What has ended is in use no more.
    fn used(&self) -> BTreeMap<FulcrumId, Resources> {
        let mut used: BTreeMap<FulcrumId, Resources> = BTreeMap::new();
        for (entry, ask) in self.services.plans().values().flat_map(|heard| self.asks_of(&heard.word)) {
            let there = used.entry(entry.on.clone()).or_default();
            *there = there.plus(ask);
        }
        used
    }

    fn used_by(&self, horde: &HordeName) -> Resources {
        let plan = self.services.plans().get(horde);
        let asks = plan.into_iter().flat_map(|heard| self.asks_of(&heard.word));
        asks.fold(Resources::default(), |sum, (_, ask)| sum.plus(ask))
    }

    fn asks_of<'a>(&'a self, plan: &'a Plan) -> impl Iterator<Item = (&'a Entry, Resources)> {
        let verdicts = self.services.verdicts().get(&plan.horde);
        let done: BTreeSet<&InstanceId> = verdicts
            .iter()
            .flat_map(|heard| &heard.word)
            .filter(|verdict| verdict.health == Health::Done)
            .map(|verdict| &verdict.subject)
            .collect();
        let ask = |entry: &Entry| self.known.revision(&entry.of.service, &entry.revision)?.manifest.resources;
        let runs = move |entry: &&Entry| entry.instance.as_ref().is_none_or(|id| !done.contains(id));
        plan.entries.iter().filter(runs).filter_map(move |entry| Some((entry, ask(entry)?)))
    }

    /// Where those are whom a horde misses, and who stands in for them: those together of whom the same is to be said.
    fn why_missing(&self, now: Time, horde: &HordeName, members: &HordeRoles) -> impl Iterator<Item = String> {
        let mut said: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let fact = self.known.hordes().get(horde).filter(|fact| vacancy::may_be_filled(horde, fact));
        for id in &members.absent {
            let mut how = match self.flock.flock_of(id) {
                _ if self.left.contains(id) => String::from("left on purpose"),
                Some(head) => format!("in flock {}", head.header.name),
                None => String::from("not seen here"),
            };
            let after = fact.and_then(|fact| vacancy::after(fact, self.services.pace()));
            let since = self.services.absences().since(id);
            if let Some(substitute) = members.substitutes.iter().find(|substitute| substitute.of == *id) {
                how = format!("{how}, {} stands in", substitute.id);
            } else if let Some(rest) = after.zip(since).map(|(after, since)| (since + after).since(now))
                && rest > Duration::ZERO
            {
                how = format!("{how}, another may stand in after {} s", rest.as_millis().div_ceil(1_000));
            }
            said.entry(how).or_default().push(id.to_string());
        }
        for Substitute { id, of } in members.substitutes.iter().filter(|one| !members.absent.contains(&one.of)) {
            let how = format!("stands in no longer for {of} and goes when what runs there runs elsewhere");
            said.entry(how).or_default().push(id.to_string());
        }
        said.into_iter().map(|(how, ids)| format!("{}: {how}", ids.join(", ")))
    }

    /// Every instance that somebody reports or believes in.
    fn instance_lines(&self, wall: Wall) -> Vec<InstanceLine> {
        let mut planned: BTreeSet<&InstanceId> = BTreeSet::new();
        let mut places: BTreeSet<(&ServiceRef, u32, &FulcrumId)> = BTreeSet::new();
        for entry in self.services.plans().values().flat_map(|heard| &heard.word.entries) {
            match &entry.instance {
                Some(id) => _ = planned.insert(id),
                None => _ = places.insert((&entry.of, entry.slot, &entry.on)),
            }
        }
        let verdicts: BTreeMap<&InstanceId, (&Verdict, &FulcrumId, Wall)> = self
            .services
            .verdicts()
            .values()
            .flat_map(|heard| heard.word.iter().map(move |v| (&v.subject, (v, &heard.by, heard.at))))
            .collect();
        let mut lines = BTreeMap::new();
        let items = self.services.picket().items().values();
        let local: Vec<Instance> = items.map(|item| self.services.reported(&item.instance)).collect();
        let local = local.iter().map(|instance| (instance, wall));
        let boards = self.services.boards().values();
        // What runs here is known here first, so it goes last and stands.
        let reported = boards.flat_map(|heard| heard.word.iter().map(|instance| (instance, heard.at)));
        for (instance, at) in reported.filter(|(instance, _)| instance.id.fulcrum != self.me.id).chain(local) {
            let verdict = verdicts.get(&instance.id);
            let is_planned =
                planned.contains(&instance.id) || places.contains(&(&instance.of, instance.slot, &instance.id.fulcrum));
            lines.insert(instance.id.clone(), self.reported(instance, at, is_planned, verdict.copied()));
        }
        for (id, (verdict, by, at)) in verdicts {
            // An instance of this fulcrum that its own picket does not know is not there, whatever is still believed.
            if id.fulcrum != self.me.id && !lines.contains_key(id) {
                let slot = self.services.slot(id).unwrap_or(0);
                lines.insert(id.clone(), believed(verdict, slot, by, at, planned.contains(id)));
            }
        }
        lines.into_values().collect()
    }

    fn reported(
        &self,
        instance: &Instance,
        at: Wall,
        planned: bool,
        verdict: Option<(&Verdict, &FulcrumId, Wall)>,
    ) -> InstanceLine {
        let node = &instance.id.fulcrum;
        let health = verdict.map(|(verdict, ..)| verdict.health);
        let (state, judged) = match (instance.phase, health) {
            _ if !self.here(node) => (InstanceState::Gone, true),
            (Phase::Running, Some(Health::Ready)) => (InstanceState::Ready, true),
            (Phase::Running, Some(Health::Late)) => (InstanceState::Late, true),
            (Phase::Running | Phase::Pending, Some(Health::Dead)) => (InstanceState::Dead, true),
            (_, Some(Health::Done)) => (InstanceState::Done, true),
            (Phase::Running | Phase::Starting, _) => (InstanceState::Starting, false),
            (Phase::Pending, _) => (InstanceState::Pending, false),
            (Phase::Stopping, _) => (InstanceState::Stopping, false),
            (Phase::Gone, _) => (InstanceState::Gone, false),
        };
        let claim = match verdict.filter(|_| judged) {
            Some((_, by, at)) => Claim { kind: ClaimKind::Believed, by: by.clone(), at },
            None => Claim { kind: ClaimKind::Reported, by: node.clone(), at },
        };
        let verdict = verdict.map(|(verdict, ..)| verdict.clone());
        let why = match &verdict {
            _ if !self.here(node) => format!("{node} is not in this flock"),
            Some(verdict) if judged || instance.why.is_empty() => format!("{} ({})", verdict.why, verdict.rule),
            _ => instance.why.clone(),
        };
        InstanceLine {
            id: instance.id.clone(),
            of: instance.of.clone(),
            slot: instance.slot,
            node: node.clone(),
            pid: instance.pid,
            started: instance.started,
            state,
            revision: Some(instance.revision),
            ports: instance.ports.clone(),
            restarts: instance.restarts,
            planned,
            verdict,
            why,
            hook: instance.hook.clone(),
            claim,
        }
    }

    fn service_lines(&self, instances: &[InstanceLine]) -> Vec<ServiceLine> {
        let mut names: BTreeSet<&ServiceRef> = self.known.places().keys().collect();
        for plan in self.services.plans().values().map(|heard| &heard.word) {
            names.extend(plan.should.iter().map(|(of, _)| of));
            names.extend(plan.entries.iter().map(|entry| &entry.of));
        }
        names.extend(instances.iter().map(|line| &line.of));
        names.into_iter().map(|of| self.service_line(of, instances)).collect()
    }

    fn service_line(&self, of: &ServiceRef, instances: &[InstanceLine]) -> ServiceLine {
        let place = self.known.places().get(of);
        let heard = self.services.plans().get(&of.horde);
        let plan = heard.map(|heard| &heard.word);
        let should = plan.and_then(|plan| plan.should.iter().find(|(name, _)| name == of)).map(|(_, should)| *should);
        // A plan that does not have it says that none should be.
        let should = should.or(plan.map(|_| 0));
        let mut line = ServiceLine {
            of: of.clone(),
            revision: place.and_then(|place| place.revision.as_slice().try_into().ok().map(Hash256)),
            place: place.map(|place| place.place.clone()).unwrap_or_default(),
            plan: plan.map(|plan| plan.id.clone()),
            should,
            ready: 0,
            late: 0,
            dead: 0,
            gone: 0,
            unknown: 0,
            done: 0,
            surplus: 0,
            why: String::new(),
            claim: heard.map(|h| Claim { kind: ClaimKind::Should, by: h.by.clone(), at: h.at }),
        };
        let mut waiting = None;
        for instance in instances.iter().filter(|instance| instance.of == *of) {
            let count = match instance.state {
                InstanceState::Ready => &mut line.ready,
                InstanceState::Late => &mut line.late,
                InstanceState::Dead => &mut line.dead,
                InstanceState::Done => &mut line.done,
                InstanceState::Gone if !self.here(&instance.node) => &mut line.gone,
                InstanceState::Pending | InstanceState::Starting => &mut line.unknown,
                InstanceState::Gone | InstanceState::Stopping => continue,
            };
            *count += 1;
            if !matches!(instance.state, InstanceState::Ready | InstanceState::Gone | InstanceState::Done) {
                waiting = waiting.or(Some(instance));
            }
        }
        line.surplus = should.map_or(0, |should| existing(&line).saturating_sub(should));
        line.why = self.service_why(of, &line, waiting);
        line
    }

    fn service_why(&self, of: &ServiceRef, line: &ServiceLine, waiting: Option<&InstanceLine>) -> String {
        let mut why = Vec::new();
        match self.services.plans().get(&of.horde) {
            // A plan of before the flock changed says nothing of a part in which nobody plans.
            _ if self.services.roles().seat(&of.horde).is_none() => {
                why.push(format!("no member of horde {} is here", of.horde));
            }
            None => why.push(format!("no plan of horde {} has reached this node yet", of.horde)),
            Some(heard) => {
                if heard.view != *self.flock.view().id() {
                    why.push(String::from("its plan was made before the flock changed; the next is being made"));
                }
                let shortfalls = heard.word.shortfalls.iter().filter(|shortfall| shortfall.of == *of);
                // The plan may be older than what is seen: nothing lacks where enough are there. Where none should be, it
                // says what the service's policy withholds.
                let enough = line.should.is_some_and(|should| should > 0 && existing(line) >= should);
                for shortfall in shortfalls {
                    match shortfall.missing {
                        0 => why.push(shortfall.why.clone()),
                        _ if enough => {}
                        missing => why.push(format!("lacks {missing}: {}", shortfall.why)),
                    }
                }
            }
        }
        if let Some(revision) = line.revision
            && self.known.revision(&of.service, &revision).is_none()
        {
            why.push(format!("revision {} is not in the catalogue", revision.short()));
        }
        if let Some(instance) = waiting {
            why.push(format!("{}.{} is {}: {}", of, instance.slot, instance.state.word(), instance.why));
        }
        if line.surplus > 0 {
            why.push(format!("{} more than should be, removed one by one", line.surplus));
        }
        why.join("; ")
    }
}

/// How many of a service are here, well or not.
fn existing(line: &ServiceLine) -> u32 {
    line.ready + line.late + line.dead + line.done + line.unknown
}

fn believed(verdict: &Verdict, slot: u32, by: &FulcrumId, at: Wall, planned: bool) -> InstanceLine {
    let state = match verdict.health {
        Health::Unknown => InstanceState::Starting,
        Health::Ready => InstanceState::Ready,
        Health::Late => InstanceState::Late,
        Health::Dead => InstanceState::Dead,
        Health::Gone => InstanceState::Gone,
        Health::Done => InstanceState::Done,
    };
    InstanceLine {
        id: verdict.subject.clone(),
        of: verdict.of.clone(),
        slot,
        node: verdict.subject.fulcrum.clone(),
        pid: None,
        started: None,
        state,
        revision: None,
        ports: BTreeMap::new(),
        restarts: 0,
        planned,
        why: format!("{} ({})", verdict.why, verdict.rule),
        hook: String::new(),
        verdict: Some(verdict.clone()),
        claim: Claim { kind: ClaimKind::Believed, by: by.clone(), at },
    }
}

/// Why things are as they are.
impl Engine {
    /// The reasons for a subject, the weightiest first. Empty: there is no such thing here.
    #[must_use]
    pub fn why(&self, now: Time, wall: Wall, subject: &Subject) -> Vec<Reason> {
        let status = self.status(now, wall);
        match subject {
            Subject::Flock => why_flock(&status),
            Subject::Node(id) => self.why_node(&status, id),
            Subject::Address(addr) => self.why_address(&status, *addr),
            Subject::Horde(name) => status.hordes.iter().filter(|line| line.name == *name).map(why_horde).collect(),
            Subject::Service(of) => {
                let services = status.services.iter().filter(|line| line.of == *of).map(|line| self.why_service(line));
                services.chain(status.instances.iter().filter(|line| line.of == *of).flat_map(why_and_hook)).collect()
            }
            Subject::Pending(of) => {
                let short = status.services.iter().filter(|line| line.of == *of && !line.why.is_empty());
                let waiting = |line: &&InstanceLine| {
                    line.of == *of && !matches!(line.state, InstanceState::Ready | InstanceState::Done)
                };
                let short = short.map(|line| self.why_service(line));
                let mut reasons: Vec<Reason> =
                    short.chain(status.instances.iter().filter(waiting).map(why_instance)).collect();
                if reasons.is_empty() && status.services.iter().any(|line| line.of == *of) {
                    let text = format!("nothing of {of} is pending");
                    reasons.push(reason(of, "as it should be", "plan", Vec::new(), text));
                }
                reasons
            }
            Subject::Instance(id) => {
                status.instances.iter().filter(|line| line.id == *id).flat_map(why_and_hook).collect()
            }
            Subject::Slot(of, slot) => {
                let mut lines: Vec<&InstanceLine> =
                    status.instances.iter().filter(|line| line.of == *of && line.slot == *slot).collect();
                lines.sort_by_key(|line| !line.planned);
                lines.into_iter().flat_map(why_and_hook).collect()
            }
        }
    }

    fn why_node(&self, status: &Status, id: &FulcrumId) -> Vec<Reason> {
        let mut reasons = Vec::new();
        // It outweighs whatever else is said of this fulcrum, for nobody knows of which of the two.
        for (_, addrs) in status.clones.iter().filter(|(fulcrum, _)| fulcrum == id) {
            let next = after_clone(id, addrs);
            let text = format!("two nodes live with this identity, or did, at {} and {}: {next}", addrs[0], addrs[1]);
            reasons.push(reason(id, "clone", "two-answers", Vec::new(), text));
        }
        for line in status.expelled.iter().filter(|line| line.node == id.node) {
            let why = if line.reason.is_empty() { String::new() } else { format!(": {}", line.reason) };
            let text = format!(
                "{} expelled {} with its admissions up to {}{why}; a later one lets it in again, which crux ca issue \
                 --readmit makes",
                line.by, line.node, line.up_to
            );
            reasons.push(reason(id, "expelled", "expulsion", Vec::from([input("up_to", line.up_to)]), text));
        }
        for line in status.roster.iter().filter(|line| line.member.id == *id) {
            let (state, text) = match line.state {
                MemberState::Member => ("member", format!("{id} is in flock {} and answers", status.confab.flock)),
                MemberState::Suspect => ("suspect", format!("{id} misses probes or stands accused")),
            };
            let mut inputs = Vec::from([input("address", line.addr), input("boot", line.member.boot)]);
            if let Some(heard) = line.heard {
                inputs.push(input("heard_ms_ago", heard.as_millis()));
            }
            reasons.push(reason(id, state, "round-trip", inputs, text));
            let Some(horde) = &line.horde else {
                let text = format!("{id} is a visitor: it is of no horde and gets no work");
                reasons.push(reason(id, "home", "visitor", Vec::new(), text));
                continue;
            };
            let text = match (line.joining, line.admin) {
                (true, _) => format!("its services for horde {horde} do not answer yet"),
                (false, true) => format!("its row names horde {horde} and the ADMIN flag"),
                (false, false) => format!("its row names horde {horde}"),
            };
            reasons.push(reason(id, "home", "own-row", Vec::from([input("horde", horde)]), text));
            reasons.push(why_room(line));
            if let Some((horde, of)) = &line.stands_in {
                let text = format!("it works for horde {horde} meanwhile, in the place of {of}");
                reasons.push(reason(id, "stands in", "own-row", Vec::from([input("horde", horde)]), text));
            }
        }
        if let Some(cordon) = self.known.cordon(id) {
            let (state, does) = match cordon.drain {
                true => ("draining", "what runs there moves away, and nothing new comes"),
                false => ("cordoned", "nothing new comes, and what runs there stays"),
            };
            let signed = self.facts.version(&cordon_path(id)).map(|version| version.statement().author.to_string());
            let by = signed.unwrap_or_default();
            let why = if cordon.reason.is_empty() { String::new() } else { format!(" ({})", cordon.reason) };
            reasons.push(reason(id, state, "cordon", Vec::new(), format!("{by} has it {state}: {does}{why}")));
        }
        let here = status.roster.iter().any(|line| line.member.id == *id);
        let of = self.flock.flock_of(id);
        let apart = status.siblings.iter().find(|sibling| {
            let pair = matches!(&sibling.apart, Apart::BrokenPair(a, b) if a.id == *id || b.id == *id);
            pair || sibling.head.header.leader == *id || of.is_some_and(|head| head.id == sibling.head.id)
        });
        if let Some(sibling) = apart.filter(|_| !here) {
            let Reason { state, text, inputs, rule, .. } = why_apart(sibling);
            let text = format!("{id} is in another flock of the bloc: {text}");
            reasons.push(Reason { state, ..reason(id, "", &rule, inputs, text) });
        }
        for line in status.outside.iter().filter(|line| line.who.fulcrum.as_ref() == Some(id)) {
            let state = if line.who.refused { "refused" } else { "silent" };
            let text = if line.who.why.is_empty() { format!("{id} does not answer") } else { line.who.why.clone() };
            reasons.push(reason(id, state, "no-link", Vec::from([input("address", line.who.addr)]), text));
        }
        if let Some(row) = self.known.rows().get(id).filter(|_| reasons.is_empty()) {
            let (state, text) = match row.left {
                true => ("left", format!("{id} left on purpose and is of no horde any more")),
                false => ("absent", format!("{id} is known by its row, but it is in no flock seen from here")),
            };
            reasons.push(reason(id, state, "own-row", Vec::new(), text));
        }
        reasons
    }

    /// Whoever is at an address that is dialled or linked.
    fn why_address(&self, status: &Status, addr: SocketAddr) -> Vec<Reason> {
        if let Some(line) = status.roster.iter().find(|line| line.addr == addr) {
            return self.why_node(status, &line.member.id);
        }
        if let Some(stray) = self.flock.stray_at(addr) {
            return self.why_node(status, &stray.id);
        }
        let lines = status.outside.iter().filter(|line| line.who.addr == addr);
        lines
            .flat_map(|line| {
                line.who.fulcrum.as_ref().map_or_else(|| alloc::vec![why_outside(line)], |id| self.why_node(status, id))
            })
            .collect()
    }

    fn why_service(&self, line: &ServiceLine) -> Reason {
        let should = line.should;
        let state = match should {
            None => "unplanned",
            Some(should) if line.ready + line.done < should => "short",
            Some(_) if line.surplus > 0 => "surplus",
            Some(_) => "as it should be",
        };
        let mut inputs = Vec::from([
            input("should", should.map_or_else(|| "unknown".to_string(), |should| should.to_string())),
            input("ready", line.ready),
            input("late", line.late),
            input("dead", line.dead),
            input("unknown", line.unknown),
            input("gone", line.gone),
            input("place", &line.place),
        ]);
        if let Some(plan) = &line.plan {
            inputs.push(input("plan", plan.generation));
        }
        let entries = self.services.plans().get(&line.of.horde).map(|heard| heard.word.entries.as_slice());
        for entry in entries.unwrap_or_default().iter().filter(|entry| entry.of == line.of) {
            inputs.push((format!("{}.{} on {}", entry.of, entry.slot, entry.on), entry.why.clone()));
        }
        let text = if line.why.is_empty() { String::from("it is as its plan says") } else { line.why.clone() };
        reason(&line.of, state, "plan", inputs, text)
    }
}

/// What a fulcrum has, and what is in use of it.
fn why_room(line: &RosterLine) -> Reason {
    let id = &line.member.id;
    let Some(capacity) = line.capacity else {
        let text = format!("{id} has not said what it has, so it gets no service that asks for anything");
        return reason(id, "room", "own-row", Vec::new(), text);
    };
    let over = capacity.lacks(&line.used).map(|which| NAMES[which]).collect::<Vec<_>>().join(" and ");
    let text = match over.as_str() {
        "" => format!("{id} has {capacity}; what runs there asks for {}", line.used),
        over => format!(
            "{id} has {capacity}; what runs there asks for {}: more {over} than there is, so nothing new that asks for it comes",
            line.used
        ),
    };
    reason(id, "room", "own-row", Vec::from([input("has", capacity), input("in use", line.used)]), text)
}

fn why_horde(line: &HordeLine) -> Reason {
    let state = match line.state {
        HordeState::Whole => "whole",
        HordeState::Parted => "parted",
        HordeState::Thin => "thin",
    };
    let want = line.want.map_or_else(|| "nothing".to_string(), |want| want.to_string());
    let mut inputs = Vec::from([
        input("want", want),
        input("home", line.home.len()),
        input("present", line.present.len()),
        input("absent", line.absent.len()),
        input("substitutes", line.substitutes.len()),
        input("where", &line.admits),
    ]);
    if let Some(quota) = line.quota {
        inputs.extend([input("quota", quota), input("in use", line.used)]);
    }
    let is_admin = line.name == HordeName::admin();
    let text = match line.want {
        _ if !line.why.is_empty() => line.why.clone(),
        Some(want) if is_admin && line.home.len() < want as usize => {
            format!("{} of {want} carry its flag; it grows with those who may", line.home.len())
        }
        _ if is_admin => String::from("all that should carry its flag do"),
        _ => String::from("every home member is here"),
    };
    reason(&line.name, state, "home-members", inputs, text)
}

fn why_instance(line: &InstanceLine) -> Reason {
    let mut inputs = Vec::from([
        input("id", &line.id),
        input("node", &line.node),
        input("planned", line.planned),
        input("restarts", line.restarts),
    ]);
    if let Some(pid) = line.pid {
        inputs.push(input("pid", pid));
    }
    Reason {
        subject: format!("{}.{}", line.of, line.slot),
        state: line.state.word().into(),
        since: line.verdict.as_ref().map(|verdict| verdict.for_),
        rule: line.verdict.as_ref().map_or_else(|| "reported".into(), |verdict| verdict.rule.clone()),
        inputs,
        text: if line.why.is_empty() { format!("{} reported it", line.node) } else { line.why.clone() },
    }
}

/// The same, and how its last hook is: that never decides how it is itself.
fn why_and_hook(line: &InstanceLine) -> impl Iterator<Item = Reason> + use<> {
    let hook = (!line.hook.is_empty()).then(|| {
        let subject = format!("{}.{}", line.of, line.slot);
        reason(subject, "hook", "hooks", Vec::from([input("node", &line.node)]), line.hook.clone())
    });
    iter::once(why_instance(line)).chain(hook)
}

fn reason(subject: impl ToString, state: &str, rule: &str, inputs: Vec<(String, String)>, text: String) -> Reason {
    Reason { subject: subject.to_string(), state: state.into(), since: None, rule: rule.into(), inputs, text }
}

pub(super) fn input(name: &str, value: impl ToString) -> (String, String) {
    (name.into(), value.to_string())
}
