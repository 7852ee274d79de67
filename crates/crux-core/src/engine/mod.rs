//! The one door of the heart. It takes each input to the room that it concerns, carries what rooms want of each other
//! between them until none wants anything more, and hands the rest out. It decides nothing itself.
//!
//! The node must, once after its start, send [`Input::Loaded`] with what its store holds (nothing, too) and
//! [`Report::Adopted`] with what it re-adopted (nothing, too): no dean speaks before it knows what runs here.

mod read;
mod seen;
mod told;
mod why_flock;

use crate::facts::path::Path;
use crate::facts::value::{EXPULSIONS, HORIZON};
use crate::facts::version::{Checked, Stamp, Statement};
use crate::facts::{self, Certificate, Facts, authority};
use crate::flock::discovery::PER_NODE;
use crate::flock::{self, Flock};
use crate::io::{BookEntry, Command, Event, Input, Output, Reply, Report, RequestId};
use crate::picture::Confab;
use crate::resources::Resources;
use crate::services::effect::Outcome;
use crate::services::known::Known;
use crate::services::pace::Pace;
use crate::services::{self, Services};
use crate::wire::Frame;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};
use crux_names::{BlocName, FulcrumId, Hash256, Member, NodeName, Time, Wall};
use seen::Seen;
use sha2::{Digest, Sha256};

/// What an engine is told at its start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who it is, where it listens, whom it knows; its seed and timers are everybody's.
    pub flock: flock::Config,
    /// Its certificate, until [`Input::Certificate`] tells of another one.
    pub certificate: Certificate,
    /// What it has for services; `None`: nothing is known of it, so it gets no service that asks for anything.
    pub capacity: Option<Resources>,
    /// When the fulcrums of the address book were last in touch, by this node's wall clock.
    pub seen: BTreeMap<FulcrumId, Wall>,
}

/// What is said to a node that was expelled.
const EXPELLED: &str = "this node was expelled; only a certificate of a later admission lets it in again";

/// A message from one room to another.
#[derive(Clone, Debug)]
enum Work {
    Flock(flock::Input),
    Facts(facts::Input),
    Services(services::Input),
}

/// Everything that one fulcrum decides.
#[derive(Clone, Debug)]
pub struct Engine {
    bloc: BlocName,
    me: Member,
    flock: Flock,
    facts: Facts,
    services: Services,
    known: Known,
    seen: Seen,
    /// Members, and whom else there is a link to, with the admissions of their certificates.
    admissions: BTreeMap<Member, u32>,
    since: BTreeMap<Member, Wall>,
    /// Members that said that they leave, until they are here again.
    left: BTreeSet<FulcrumId>,
    /// The last confab, to know when what it says began to hold.
    confab: Option<Confab>,
    began: Wall,
    down: Option<RequestId>,
    finished: bool,
    work: VecDeque<Work>,
    changed: bool,
}

impl Engine {
    /// A fulcrum that starts alone. Its first [`Engine::deadline`] is now.
    #[must_use]
    pub fn new(now: Time, config: Config) -> Self {
        let (bloc, me) = (config.flock.bloc.clone(), config.flock.me.clone());
        let (seed, timers) = (config.flock.seed, config.flock.timers);
        let services = services::Config {
            me: me.clone(),
            labels: config.certificate.labels.clone(),
            admission: config.certificate.admission,
            capacity: config.capacity,
            seed: seed ^ 0x5e71,
            pace: Pace(timers),
        };
        let facts = facts::Config {
            bloc: config.flock.bloc.clone(),
            me: me.id.clone(),
            seed: seed ^ 0xfac7,
            timers,
            certificate: config.certificate,
        };
        let flock = Flock::new(now, config.flock);
        let services = Services::new(now, services, flock.view().clone());
        Self {
            bloc,
            me,
            flock,
            facts: Facts::new(facts),
            services,
            known: Known::default(),
            seen: Seen::new(config.seen),
            admissions: BTreeMap::new(),
            since: BTreeMap::new(),
            left: BTreeSet::new(),
            confab: None,
            began: Wall(0),
            down: None,
            finished: false,
            work: VecDeque::new(),
            changed: false,
        }
    }

    /// Takes in what happened and answers with what is to be done, in this order. `now` decides; `wall` is stamped,
    /// compared with facts' stamps and shown.
    pub fn handle(&mut self, now: Time, wall: Wall, input: Input, out: &mut Vec<Output>) {
        self.take(now, wall, input, out);
        while let Some(work) = self.work.pop_front() {
            match work {
                Work::Flock(input) => {
                    let mut outputs = Vec::new();
                    self.flock.handle(now, input, &mut outputs);
                    outputs.into_iter().for_each(|output| self.flocked(wall, output, out));
                }
                Work::Facts(input) => {
                    // What the store held is no news: it was told when it was written.
                    let news = !matches!(input, facts::Input::Loaded { .. });
                    let mut outputs = Vec::new();
                    self.facts.handle(now, wall, input, &mut outputs);
                    outputs.into_iter().for_each(|output| self.known(output, news, out));
                }
                Work::Services(input) => {
                    let mut outputs = Vec::new();
                    self.services.handle(now, wall, &self.known, input, &mut outputs);
                    outputs.into_iter().for_each(|output| self.served(now, wall, output, out));
                }
            }
        }
        if core::mem::take(&mut self.changed) {
            self.note_confab(now, wall);
            out.push(Output::Changed);
        }
    }

    /// When [`Input::Wake`] is due. An earlier one does no harm.
    #[must_use]
    pub fn deadline(&self) -> Time {
        self.flock.deadline().min(self.facts.deadline()).min(self.services.deadline())
    }

    /// A hash over everything that decides: equal digests after equal inputs are what the simulator compares.
    ///
    /// # Panics
    /// Never: the writer that hashes does not fail.
    #[must_use]
    pub fn digest(&self) -> Hash256 {
        let mut hasher = Hasher(Sha256::new());
        write!(hasher, "{self:?}").expect("hashing does not fail");
        Hash256(hasher.0.finalize().into())
    }

    /// A stamp for a fact that is signed now, later than all that this fulcrum has seen.
    pub const fn stamp(&mut self, wall: Wall) -> Stamp {
        self.facts.stamp(wall)
    }

    /// Whether a life is of a node that is out of the bloc. Its link ends; what was under way on it is not taken.
    fn is_out(&self, member: &Member) -> bool {
        let admission = self.admissions.get(member).copied().unwrap_or(0);
        self.known.is_expelled(&member.id.node, admission)
    }

    fn take(&mut self, now: Time, wall: Wall, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Wake => self.wake(now),
            Input::Datagram { from, .. } | Input::Frame { from, .. } | Input::Facts { from, .. }
                if self.is_out(&from) => {}
            Input::LinkUp { peer, .. } if self.known.is_expelled(&peer.member.id.node, peer.admission) => {
                // The links refuse it by themselves from the moment on at which they are told: this one came before.
                out.push(Output::CloseLink { peer: peer.member, why: EXPELLED.into() });
            }
            Input::LinkUp { peer, dialed } => {
                self.admissions.insert(peer.member.clone(), peer.admission);
                self.seen.note(&peer.member.id, wall);
                self.changed = true;
                self.flock(flock::Input::LinkUp { member: peer.member.clone(), addr: peer.addr, dialed });
                self.facts(facts::Input::Linked(peer.member));
            }
            Input::LinkDown { peer, .. } => {
                if !self.flock.view().has(&peer) {
                    self.admissions.remove(&peer);
                }
                self.changed = true;
                self.flock(flock::Input::LinkDown { member: peer.clone() });
                self.facts(facts::Input::Unlinked(peer));
            }
            Input::ProcessGone { peer } => self.flock(flock::Input::ProcessGone(peer)),
            Input::Twin { addr } => self.flock(flock::Input::Twin(addr)),
            Input::DialFailed { addr, why, myself, refused } => {
                self.flock(flock::Input::DialFailed { addr, myself, refused, why });
            }
            Input::Probed { addr } => self.flock(flock::Input::Probed(addr)),
            Input::DialAnswered { addr, peer } => self.flock(flock::Input::DialAnswered { addr, member: peer }),
            Input::Datagram { from, datagram } => {
                self.heard(&from, wall);
                self.flock(flock::Input::Datagram { from, datagram });
            }
            Input::Frame { from, frame } => {
                self.heard(&from, wall);
                self.frame(from, frame);
            }
            Input::Facts { from, versions } => self.facts(facts::Input::Versions { from, versions }),
            Input::Loaded { versions } => self.facts(facts::Input::Loaded { versions }),
            Input::Command { request, command } => self.command(now, wall, request, command, out),
            Input::Certificate(certificate) => {
                let (labels, admission) = (certificate.labels.clone(), certificate.admission);
                self.facts(facts::Input::Certificate(certificate));
                self.services(services::Input::Certificate { labels, admission });
            }
            Input::Report(Report::Persisted { token, result }) => self.facts(facts::Input::Persisted { token, result }),
            Input::Report(Report::StoreAnew) => self.facts(facts::Input::StoreAnew),
            Input::Report(Report::Signed { version }) => self.facts(facts::Input::Signed(version)),
            Input::Report(Report::Adopted { instances, ended, told }) => {
                self.outcome(Outcome::Adopted { instances, ended, told });
            }
            Input::Report(Report::Started { id, pid, at, ports }) => {
                self.outcome(Outcome::Started { id, pid, at, ports });
            }
            Input::Report(Report::StartFailed { id, why }) => self.outcome(Outcome::StartFailed { id, why }),
            Input::Report(Report::Exited { id, code, signal }) => self.outcome(Outcome::Exited { id, code, signal }),
            Input::Report(Report::CheckDone { id, ok, detail }) => self.outcome(Outcome::Checked { id, ok, detail }),
            Input::Report(Report::Hooked { id, number, end }) => self.outcome(Outcome::Hooked { id, number, end }),
            Input::Report(Report::Fetched { hash, result }) => self.outcome(Outcome::Fetched { hash, result }),
            Input::Report(Report::Knocked { result }) => self.outcome(Outcome::Knocked { result }),
        }
    }

    fn wake(&mut self, now: Time) {
        if self.flock.deadline() <= now {
            self.flock(flock::Input::Wake);
        }
        if self.facts.deadline() <= now {
            self.facts(facts::Input::Wake);
        }
        if self.services.deadline() <= now {
            self.services(services::Input::Wake);
        }
    }

    fn frame(&mut self, from: Member, frame: Frame) {
        let message = match frame {
            Frame::Flock(message) => {
                let few = self.left.iter().filter(|left| left.node == from.id.node).count() < PER_NODE;
                if message == flock::message::Message::Leave && few && self.flock.view().has(&from) {
                    self.left.insert(from.id.clone());
                }
                return self.flock(flock::Input::Message { from, message });
            }
            Frame::Service(message) => return self.services(services::Input::Message { from, message }),
            // The node checks signatures and makes `Input::Facts` of it; unchecked versions go nowhere.
            Frame::Facts { .. } => return,
            Frame::FactsHeld { ids } => facts::Message::Held(ids),
            Frame::FactsDigest { digest, count } => facts::Message::Digest { digest, count },
            Frame::FactsRanges { hashes } => facts::Message::Ranges(hashes),
            Frame::FactsIds { of, ids } => facts::Message::Ids { of, ids },
            Frame::FactsWant { ids } => facts::Message::Want(ids),
        };
        self.facts(facts::Input::Message { from, message });
    }

    fn command(&mut self, now: Time, wall: Wall, request: RequestId, command: Command, out: &mut Vec<Output>) {
        match command {
            Command::Write { versions } => {
                let write: Vec<&Statement> = versions.iter().map(Checked::statement).collect();
                // What the table refuses is said first.
                let formed = write.iter().all(|one| authority::authorise(&self.bloc, one).is_ok());
                match services::door::judge(&self.known, &write) {
                    Err(why) if formed => {
                        let why = format!("{why}; nothing was changed");
                        out.push(Output::Reply { request, reply: Reply::Refused { why } });
                    }
                    _ => self.facts(facts::Input::Write { request, versions }),
                }
            }
            Command::Restore { versions } => self.facts(facts::Input::Restore { request, versions }),
            Command::Down { .. } | Command::Leave if self.down.is_some() || self.finished => {
                let why = format!("{} is going down already; nothing is left to do but wait", self.me.id);
                out.push(Output::Reply { request, reply: Reply::Refused { why } });
            }
            Command::Down { services } => {
                self.down = Some(request);
                if services {
                    self.services(services::Input::StopAll);
                } else {
                    self.finish(now, wall, out);
                }
            }
            Command::Leave => {
                self.down = Some(request);
                self.services(services::Input::Leave);
            }
            Command::Forget { fulcrum } => {
                self.seen.forget(&fulcrum);
                self.left.remove(&fulcrum);
                self.flock(flock::Input::Forget(fulcrum));
                out.push(Output::Reply { request, reply: Reply::Done });
            }
            Command::Add { entry, life, again } => self.services(services::Input::Add { request, entry, life, again }),
            Command::Seed { addr } => {
                self.flock(flock::Input::Seed(addr));
                out.push(Output::Reply { request, reply: Reply::Done });
            }
        }
    }

    /// Leaves the flock; what its leaving says goes out before the end is announced.
    fn finish(&mut self, now: Time, wall: Wall, out: &mut Vec<Output>) {
        self.finished = true;
        let mut outputs = Vec::new();
        self.flock.handle(now, flock::Input::Leave, &mut outputs);
        outputs.into_iter().for_each(|output| self.flocked(wall, output, out));
        if let Some(request) = self.down.take() {
            out.push(Output::Reply { request, reply: Reply::Done });
        }
        out.push(Output::Finished);
    }

    fn flock(&mut self, input: flock::Input) {
        self.work.push_back(Work::Flock(input));
    }

    fn facts(&mut self, input: facts::Input) {
        self.work.push_back(Work::Facts(input));
    }

    fn services(&mut self, input: services::Input) {
        self.work.push_back(Work::Services(input));
    }

    fn outcome(&mut self, outcome: Outcome) {
        self.services(services::Input::Outcome(outcome));
    }

    fn heard(&mut self, from: &Member, wall: Wall) {
        self.seen.note(&from.id, wall);
    }

    /// What flocking wants.
    fn flocked(&mut self, wall: Wall, output: flock::Output, out: &mut Vec<Output>) {
        match output {
            flock::Output::Dial(addr) => out.push(Output::Dial(addr)),
            flock::Output::Watch(peers) => out.push(Output::Watch(peers)),
            flock::Output::CloseLink { peer, why } => out.push(Output::CloseLink { peer, why }),
            flock::Output::Datagram { to, datagram } => out.push(Output::Datagram { to, datagram }),
            flock::Output::Message { to, message } => out.push(Output::Frame { to, frame: Frame::Flock(message) }),
            flock::Output::Installed { view, lost, joined } => {
                self.changed = true;
                let before = self.services.view();
                out.extend(told::installed(before, &view, &lost, &joined, &self.left).into_iter().map(Output::Event));
                joined.iter().for_each(|member| _ = self.left.remove(&member.id));
                self.since.retain(|member, _| view.has(member));
                self.admissions.retain(|member, _| view.has(member) || self.flock.linked_with(member));
                for seat in &view.roster {
                    self.since.entry(seat.member.clone()).or_insert(wall);
                }
                let members = view.roster.iter().map(|seat| seat.member.clone()).collect();
                self.facts(facts::Input::View { members });
                self.services(services::Input::View(view));
            }
            flock::Output::Stable(stable) => {
                self.changed = true;
                out.push(Output::Event(told::stable(self.flock.view(), stable)));
                self.services(services::Input::Stable(stable));
            }
            flock::Output::Book(entries) => {
                let entry = |(fulcrum, addr): (FulcrumId, _)| {
                    let seen = self.seen.get(&fulcrum).unwrap_or(Wall(0));
                    BookEntry { fulcrum, addr, seen }
                };
                out.push(Output::Book(entries.into_iter().map(entry).collect()));
            }
            flock::Output::Held { fulcrum, wait } => out.push(Output::Event(told::held(&fulcrum, wait))),
            flock::Output::Alarm { fulcrum, why } => {
                self.changed = true;
                out.push(Output::Event(told::alarm(&fulcrum, why)));
            }
            flock::Output::StartsOver => {
                out.push(Output::Event(told::starts_over(&self.me.id, self.flock.view().id().epoch)));
                out.push(Output::StartsOver);
            }
            flock::Output::HandsOver => {
                out.push(Output::Event(told::hands_over(&self.me.id, &self.flock.view().head.header.name)));
            }
            flock::Output::Clone { fulcrum, addrs } => {
                self.changed = true;
                out.push(Output::Event(told::cloned(&fulcrum, &addrs)));
            }
        }
    }

    /// What facts want.
    fn known(&mut self, output: facts::Output, tell: bool, out: &mut Vec<Output>) {
        match output {
            facts::Output::Send { to, message } => {
                let frame = match message {
                    facts::Message::Versions(sealed) => Frame::Facts { sealed },
                    facts::Message::Held(ids) => Frame::FactsHeld { ids },
                    facts::Message::Digest { digest, count } => Frame::FactsDigest { digest, count },
                    facts::Message::Ranges(hashes) => Frame::FactsRanges { hashes },
                    facts::Message::Ids { of, ids } => Frame::FactsIds { of, ids },
                    facts::Message::Want(ids) => Frame::FactsWant { ids },
                };
                out.push(Output::Frame { to, frame });
            }
            facts::Output::Persist { token, versions, drop } => out.push(Output::Persist { token, versions, drop }),
            facts::Output::Sign { path, value, ancestors, not_before } => {
                out.push(Output::Sign { path, value, ancestors, not_before });
            }
            facts::Output::Quarantined { path } => {
                self.changed = true;
                let text =
                    format!("{path} comes back from before the horizon; it is in quarantine: crux facts quarantine");
                out.push(Output::Event(Event { kind: "fact", subject: path, text }));
            }
            facts::Output::Behind { count } => {
                self.changed = true;
                let text = format!(
                    "{count} versions of facts are from before the horizon and in force no more: crux facts quarantine"
                );
                out.push(Output::Event(Event { kind: "fact", subject: HORIZON.into(), text }));
            }
            facts::Output::Written { request, ids, others, converged } => {
                out.push(Output::Reply { request, reply: Reply::Written { ids, others, converged } });
            }
            facts::Output::Refused { request, why } => {
                out.push(Output::Reply { request, reply: Reply::Refused { why } });
            }
            facts::Output::Ignored { from, path, why } => {
                let path = path.escape_debug();
                let text = format!("a fact {path} that {from} sent is not taken in: {why}");
                out.push(Output::Event(Event { kind: "alarm", subject: format!("{path}"), text }));
            }
            facts::Output::Changed { paths } => {
                self.changed = true;
                let mut news = false;
                for path in &paths {
                    let rule = match Path::parse(path) {
                        Ok(Path::Rule(id)) => Some((id, self.known.rules().get(&id).map(|rule| rule.removed))),
                        _ => None,
                    };
                    let out_of_it = path.strip_prefix(EXPULSIONS).and_then(|node| NodeName::parse(node).ok());
                    let expelled =
                        |known: &Known| out_of_it.as_ref().and_then(|node| known.expelled().get(node).cloned());
                    let before = expelled(&self.known);
                    news |= self.known.take(path, self.facts.value(path));
                    if tell {
                        let version = self.facts.version(path);
                        let event = match (rule, expelled(&self.known)) {
                            (Some((id, before)), _) => told::rule(path, version, before, self.known.rules().get(&id)),
                            (None, Some(now)) => told::expelled(path, version, before.map(|it| it.up_to), Some(&now)),
                            (None, None) => told::fact(path, version),
                        };
                        out.extend(event.map(Output::Event));
                    }
                }
                self.expel(&paths, out);
                if news {
                    self.services(services::Input::Facts);
                }
            }
            facts::Output::Conflicted { path } => out.push(Output::Event(told::conflicted(path))),
        }
    }

    /// Whoever is expelled by now goes: its links end, and nobody of it stays in the flock.
    fn expel(&mut self, paths: &[String], out: &mut Vec<Output>) {
        let nodes: Vec<NodeName> = paths
            .iter()
            .filter_map(|path| NodeName::parse(path.strip_prefix(EXPULSIONS)?).ok())
            .filter(|node| self.known.expelled().contains_key(node))
            .collect();
        if nodes.is_empty() {
            return;
        }
        let up_to = self.known.expelled().iter().map(|(node, expulsion)| (node.clone(), expulsion.up_to));
        out.push(Output::Expelled(up_to.collect()));
        for node in nodes {
            let of_it = |(member, admission): &(&Member, &u32)| {
                member.id.node == node && self.known.is_expelled(&node, **admission)
            };
            let lives: Vec<Member> = self.admissions.iter().filter(of_it).map(|(member, _)| member.clone()).collect();
            for member in &lives {
                self.admissions.remove(member);
                out.push(Output::CloseLink { peer: member.clone(), why: EXPELLED.into() });
                self.facts(facts::Input::Unlinked(member.clone()));
            }
            self.flock(flock::Input::Expel { node, lives });
        }
    }

    /// What services want.
    fn served(&mut self, now: Time, wall: Wall, output: services::Output, out: &mut Vec<Output>) {
        match output {
            services::Output::Message { to, message } => {
                out.push(Output::Frame { to, frame: Frame::Service(message) });
            }
            services::Output::Effect(effect) => out.push(Output::Effect(effect)),
            services::Output::Row(row) => self.facts(facts::Input::Row(row)),
            services::Output::Event(event) => out.push(Output::Event(event)),
            services::Output::Added { request, result } => {
                let reply = match result {
                    Ok(renewed) => Reply::Added { renewed },
                    Err(why) => Reply::Refused { why: format!("{why}") },
                };
                out.push(Output::Reply { request, reply });
            }
            services::Output::Changed => self.changed = true,
            services::Output::Stopped => self.finish(now, wall, out),
        }
    }

    fn note_confab(&mut self, now: Time, wall: Wall) {
        let confab = Confab { at: Wall(0), ..self.confab(now, wall) };
        if self.confab.as_ref() != Some(&confab) {
            self.confab = Some(confab);
            self.began = wall;
        }
    }
}

struct Hasher(Sha256);

impl Write for Hasher {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.update(text.as_bytes());
        Ok(())
    }
}
