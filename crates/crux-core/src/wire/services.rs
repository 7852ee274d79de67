//! Service messages on the wire.

use super::parts::{self, PortWire, duration, list, nanos, need, said, text};
use super::{BadFrame, INSTANCES_MAX, ITEMS_MAX, access};
use crate::flock::view::{ViewId, ViewIdWire};
use crate::lists::{Listing, Lists, apart, packed};
use crate::services::instance::{Instance, InstanceId, Phase, ServiceRef};
use crate::services::message::Message as ServiceMessage;
use crate::services::plan::{Entry, Plan, PlanId, Shortfall};
use crate::services::verdict::{Beat, Checkup, Health, Verdict};
use crate::services::yurt::Program;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use bytes::Bytes;
use crux_names::{Boot, HordeName, Wall};
use prost::Message;

#[derive(Clone, PartialEq, Message)]
pub(super) struct InstanceIdWire {
    #[prost(string, tag = "1")]
    fulcrum: String,
    #[prost(uint64, tag = "2")]
    boot: u64,
    #[prost(uint64, tag = "3")]
    counter: u64,
}

impl From<&InstanceId> for InstanceIdWire {
    fn from(id: &InstanceId) -> Self {
        Self { fulcrum: format!("{}", id.fulcrum), boot: id.boot.0, counter: id.counter }
    }
}

impl InstanceIdWire {
    fn read(self) -> Result<InstanceId, BadFrame> {
        Ok(InstanceId { fulcrum: self.fulcrum.parse()?, boot: Boot(self.boot), counter: self.counter })
    }
}

pub(super) fn instance_id(wire: Option<InstanceIdWire>) -> Result<InstanceId, BadFrame> {
    need(wire)?.read()
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ServiceRefWire {
    #[prost(string, tag = "1")]
    horde: String,
    #[prost(string, tag = "2")]
    service: String,
}

impl From<&ServiceRef> for ServiceRefWire {
    fn from(of: &ServiceRef) -> Self {
        Self { horde: of.horde.as_str().into(), service: of.service.as_str().into() }
    }
}

pub(super) fn service(wire: Option<ServiceRefWire>) -> Result<ServiceRef, BadFrame> {
    let wire = need(wire)?;
    Ok(ServiceRef { horde: wire.horde.parse()?, service: wire.service.parse()? })
}

#[derive(Clone, PartialEq, Message)]
struct PlanIdWire {
    #[prost(message, optional, tag = "1")]
    view: Option<ViewIdWire>,
    #[prost(uint64, tag = "2")]
    generation: u64,
}

impl From<&PlanId> for PlanIdWire {
    fn from(id: &PlanId) -> Self {
        Self { view: Some((&id.view).into()), generation: id.generation }
    }
}

impl PlanIdWire {
    fn read(self) -> Result<PlanId, BadFrame> {
        Ok(PlanId { view: view_id(self.view)?, generation: self.generation })
    }
}

pub(super) fn view_id(wire: Option<ViewIdWire>) -> Result<ViewId, BadFrame> {
    Ok(need(wire)?.try_into()?)
}

fn horde(name: &str) -> Result<HordeName, BadFrame> {
    Ok(name.parse()?)
}

#[derive(Clone, PartialEq, Message)]
struct InstanceWire {
    #[prost(message, optional, tag = "1")]
    id: Option<InstanceIdWire>,
    #[prost(message, optional, tag = "2")]
    of: Option<ServiceRefWire>,
    #[prost(uint32, tag = "3")]
    slot: u32,
    #[prost(bytes = "vec", tag = "4")]
    revision: Vec<u8>,
    #[prost(uint32, tag = "5")]
    phase: u32,
    #[prost(uint32, optional, tag = "6")]
    pid: Option<u32>,
    #[prost(uint64, optional, tag = "7")]
    started: Option<u64>,
    #[prost(btree_map = "string, uint32", tag = "8")]
    ports: BTreeMap<String, u32>,
    #[prost(uint32, tag = "9")]
    restarts: u32,
    #[prost(string, tag = "10")]
    why: String,
    #[prost(string, tag = "11")]
    hook: String,
}

impl Listing for InstanceWire {
    const LISTS: &'static [(u32, usize)] = &[(8, 256)];
}

const fn phase_number(phase: Phase) -> u32 {
    match phase {
        Phase::Pending => 1,
        Phase::Starting => 2,
        Phase::Running => 3,
        Phase::Stopping => 4,
        Phase::Gone => 5,
    }
}

const fn phase(number: u32) -> Result<Phase, BadFrame> {
    Ok(match number {
        1 => Phase::Pending,
        2 => Phase::Starting,
        3 => Phase::Running,
        4 => Phase::Stopping,
        5 => Phase::Gone,
        _ => return Err(BadFrame::Unknown),
    })
}

impl From<&Instance> for InstanceWire {
    fn from(instance: &Instance) -> Self {
        Self {
            id: Some((&instance.id).into()),
            of: Some((&instance.of).into()),
            slot: instance.slot,
            revision: instance.revision.0.to_vec(),
            phase: phase_number(instance.phase),
            pid: instance.pid,
            started: instance.started.map(|at| at.0),
            ports: instance.ports.iter().map(|(name, port)| (name.clone(), u32::from(*port))).collect(),
            restarts: instance.restarts,
            why: said(&instance.why),
            hook: said(&instance.hook),
        }
    }
}

/// Of how many pieces of memory a map of so many ports consists, at most: up to eleven are one.
const fn pieces(ports: usize) -> usize {
    match ports {
        0 => 0,
        1..=11 => 1,
        more => more / 5 + 1,
    }
}

fn read_instances(lists: &Lists, tag: u32) -> Result<Vec<Instance>, BadFrame> {
    let mut all = 0;
    lists.bytes(tag, |message| {
        let instance = read_instance(message)?;
        all += pieces(instance.ports.len());
        if all > INSTANCES_MAX { Err(BadFrame::TooLong) } else { Ok(instance) }
    })
}

fn read_instance(message: Bytes) -> Result<Instance, BadFrame> {
    let (wire, lists) = apart::<InstanceWire>(message)?;
    Ok(Instance {
        id: instance_id(wire.id)?,
        of: service(wire.of)?,
        slot: wire.slot,
        revision: parts::hash(&wire.revision)?,
        phase: phase(wire.phase)?,
        pid: wire.pid,
        started: wire.started.map(Wall),
        ports: list(&lists, 8, PortWire::read)?.into_iter().collect(),
        restarts: wire.restarts,
        why: text(wire.why)?,
        hook: text(wire.hook)?,
    })
}

#[derive(Clone, PartialEq, Message)]
struct EntryWire {
    #[prost(message, optional, tag = "1")]
    of: Option<ServiceRefWire>,
    #[prost(uint32, tag = "2")]
    slot: u32,
    #[prost(bytes = "vec", tag = "3")]
    revision: Vec<u8>,
    #[prost(string, tag = "4")]
    on: String,
    #[prost(message, optional, tag = "5")]
    instance: Option<InstanceIdWire>,
    #[prost(string, tag = "6")]
    why: String,
}

impl From<&Entry> for EntryWire {
    fn from(entry: &Entry) -> Self {
        Self {
            of: Some((&entry.of).into()),
            slot: entry.slot,
            revision: entry.revision.0.to_vec(),
            on: format!("{}", entry.on),
            instance: entry.instance.as_ref().map(InstanceIdWire::from),
            why: said(&entry.why),
        }
    }
}

impl EntryWire {
    fn read(self) -> Result<Entry, BadFrame> {
        Ok(Entry {
            of: service(self.of)?,
            slot: self.slot,
            revision: parts::hash(&self.revision)?,
            on: self.on.parse()?,
            instance: self.instance.map(InstanceIdWire::read).transpose()?,
            why: text(self.why)?,
        })
    }
}

#[derive(Clone, PartialEq, Message)]
struct ShortfallWire {
    #[prost(message, optional, tag = "1")]
    of: Option<ServiceRefWire>,
    #[prost(uint32, tag = "2")]
    missing: u32,
    #[prost(string, tag = "3")]
    why: String,
}

#[derive(Clone, PartialEq, Message)]
struct ShouldWire {
    #[prost(message, optional, tag = "1")]
    of: Option<ServiceRefWire>,
    #[prost(uint32, tag = "2")]
    count: u32,
}

#[derive(Clone, PartialEq, Message)]
struct PlanWire {
    #[prost(message, optional, tag = "1")]
    id: Option<PlanIdWire>,
    #[prost(string, tag = "2")]
    horde: String,
    #[prost(string, tag = "3")]
    by: String,
    #[prost(message, repeated, tag = "4")]
    entries: Vec<EntryWire>,
    #[prost(message, repeated, tag = "5")]
    shortfalls: Vec<ShortfallWire>,
    #[prost(message, repeated, tag = "6")]
    should: Vec<ShouldWire>,
}

impl Listing for PlanWire {
    const LISTS: &'static [(u32, usize)] = &[(4, ITEMS_MAX), (5, ITEMS_MAX), (6, ITEMS_MAX)];
}

impl From<&Plan> for PlanWire {
    fn from(plan: &Plan) -> Self {
        let shortfall =
            |it: &Shortfall| ShortfallWire { of: Some((&it.of).into()), missing: it.missing, why: said(&it.why) };
        Self {
            id: Some((&plan.id).into()),
            horde: plan.horde.as_str().into(),
            by: format!("{}", plan.by),
            entries: plan.entries.iter().map(EntryWire::from).collect(),
            shortfalls: plan.shortfalls.iter().map(shortfall).collect(),
            should: plan.should.iter().map(|(of, count)| ShouldWire { of: Some(of.into()), count: *count }).collect(),
        }
    }
}

fn read_plan(message: Bytes) -> Result<Plan, BadFrame> {
    let (wire, lists) = apart::<PlanWire>(message)?;
    Ok(Plan {
        id: need(wire.id)?.read()?,
        horde: horde(&wire.horde)?,
        by: wire.by.parse()?,
        entries: list(&lists, 4, EntryWire::read)?,
        shortfalls: list(&lists, 5, |it: ShortfallWire| {
            Ok(Shortfall { of: service(it.of)?, missing: it.missing, why: text(it.why)? })
        })?,
        should: list(&lists, 6, |it: ShouldWire| Ok((service(it.of)?, it.count)))?,
    })
}

#[derive(Clone, PartialEq, Message)]
struct BeatWire {
    #[prost(message, optional, tag = "1")]
    subject: Option<InstanceIdWire>,
    #[prost(message, optional, tag = "2")]
    of: Option<ServiceRefWire>,
    #[prost(uint64, optional, tag = "3")]
    running: Option<u64>,
    #[prost(bool, tag = "4")]
    done: bool,
    #[prost(message, optional, tag = "5")]
    check: Option<CheckupWire>,
    #[prost(bool, tag = "6")]
    has_check: bool,
    #[prost(uint64, tag = "7")]
    check_every: u64,
}

#[derive(Clone, PartialEq, Message)]
struct CheckupWire {
    #[prost(uint64, tag = "1")]
    age: u64,
    #[prost(uint32, tag = "2")]
    failed: u32,
    #[prost(string, tag = "3")]
    detail: String,
}

impl From<&Beat> for BeatWire {
    fn from(beat: &Beat) -> Self {
        Self {
            subject: Some((&beat.subject).into()),
            of: Some((&beat.of).into()),
            running: beat.running.map(nanos),
            done: beat.done,
            check: beat.check.as_ref().map(|check| CheckupWire {
                age: nanos(check.age),
                failed: check.failed,
                detail: said(&check.detail),
            }),
            has_check: beat.has_check,
            check_every: nanos(beat.check_every),
        }
    }
}

impl BeatWire {
    fn read(self) -> Result<Beat, BadFrame> {
        let checkup = |check: CheckupWire| -> Result<Checkup, BadFrame> {
            Ok(Checkup { age: duration(check.age), failed: check.failed, detail: text(check.detail)? })
        };
        Ok(Beat {
            subject: instance_id(self.subject)?,
            of: service(self.of)?,
            running: self.running.map(duration),
            done: self.done,
            check: self.check.map(checkup).transpose()?,
            has_check: self.has_check,
            check_every: duration(self.check_every),
        })
    }
}

#[derive(Clone, PartialEq, Message)]
struct VerdictWire {
    #[prost(message, optional, tag = "1")]
    subject: Option<InstanceIdWire>,
    #[prost(message, optional, tag = "2")]
    of: Option<ServiceRefWire>,
    #[prost(uint32, tag = "3")]
    health: u32,
    #[prost(uint64, tag = "4")]
    stood: u64,
    #[prost(string, tag = "5")]
    rule: String,
    #[prost(string, tag = "6")]
    why: String,
}

const fn health_number(health: Health) -> u32 {
    match health {
        Health::Unknown => 1,
        Health::Ready => 2,
        Health::Late => 3,
        Health::Dead => 4,
        Health::Gone => 5,
        Health::Done => 6,
    }
}

const fn health(number: u32) -> Result<Health, BadFrame> {
    Ok(match number {
        1 => Health::Unknown,
        2 => Health::Ready,
        3 => Health::Late,
        4 => Health::Dead,
        5 => Health::Gone,
        6 => Health::Done,
        _ => return Err(BadFrame::Unknown),
    })
}

impl From<&Verdict> for VerdictWire {
    fn from(verdict: &Verdict) -> Self {
        Self {
            subject: Some((&verdict.subject).into()),
            of: Some((&verdict.of).into()),
            health: health_number(verdict.health),
            stood: nanos(verdict.for_),
            rule: said(&verdict.rule),
            why: said(&verdict.why),
        }
    }
}

impl VerdictWire {
    fn read(self) -> Result<Verdict, BadFrame> {
        Ok(Verdict {
            subject: instance_id(self.subject)?,
            of: service(self.of)?,
            health: health(self.health)?,
            for_: duration(self.stood),
            rule: text(self.rule)?,
            why: text(self.why)?,
        })
    }
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ServiceWire {
    #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13")]
    kind: Option<Kind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Kind {
    #[prost(message, tag = "1")]
    AskDean(AskDeanWire),
    #[prost(bytes = "bytes", tag = "2")]
    DeanReport(Bytes),
    #[prost(bytes = "bytes", tag = "3")]
    Plan(Bytes),
    #[prost(bytes = "bytes", tag = "4")]
    Beats(Bytes),
    #[prost(bytes = "bytes", tag = "5")]
    Verdicts(Bytes),
    #[prost(bytes = "bytes", tag = "6")]
    Board(Bytes),
    #[prost(message, tag = "7")]
    Offer(OfferWire),
    #[prost(bytes = "bytes", tag = "8")]
    Who(Bytes),
    #[prost(message, tag = "9")]
    Forgotten(InstanceIdWire),
    #[prost(bytes = "bytes", tag = "10")]
    Waits(Bytes),
    #[prost(bytes = "bytes", tag = "11")]
    Added(Bytes),
    #[prost(bytes = "bytes", tag = "12")]
    Register(Bytes),
    #[prost(message, tag = "13")]
    AskAdded(AskAddedWire),
}

#[derive(Clone, PartialEq, Message)]
struct AskDeanWire {
    #[prost(message, optional, tag = "1")]
    view: Option<ViewIdWire>,
    #[prost(string, tag = "2")]
    horde: String,
}

#[derive(Clone, PartialEq, Message)]
struct AskAddedWire {
    #[prost(message, optional, tag = "1")]
    view: Option<ViewIdWire>,
}

#[derive(Clone, PartialEq, Message)]
struct DeanReportWire {
    #[prost(string, tag = "1")]
    horde: String,
    #[prost(message, optional, tag = "2")]
    obeys: Option<PlanIdWire>,
    #[prost(message, repeated, tag = "3")]
    instances: Vec<InstanceWire>,
}

impl Listing for DeanReportWire {
    const LISTS: &'static [(u32, usize)] = &[(3, INSTANCES_MAX)];
}

#[derive(Clone, PartialEq, Message)]
struct BeatsWire {
    #[prost(string, tag = "1")]
    horde: String,
    #[prost(message, repeated, tag = "2")]
    beats: Vec<BeatWire>,
}

impl Listing for BeatsWire {
    const LISTS: &'static [(u32, usize)] = &[(2, ITEMS_MAX)];
}

#[derive(Clone, PartialEq, Message)]
struct VerdictsWire {
    #[prost(string, tag = "1")]
    horde: String,
    #[prost(message, optional, tag = "2")]
    view: Option<ViewIdWire>,
    #[prost(message, repeated, tag = "3")]
    verdicts: Vec<VerdictWire>,
}

impl Listing for VerdictsWire {
    const LISTS: &'static [(u32, usize)] = &[(3, ITEMS_MAX)];
}

#[derive(Clone, PartialEq, Message)]
struct BoardWire {
    #[prost(string, tag = "1")]
    horde: String,
    #[prost(message, optional, tag = "2")]
    view: Option<ViewIdWire>,
    #[prost(message, repeated, tag = "3")]
    instances: Vec<InstanceWire>,
}

impl Listing for BoardWire {
    const LISTS: &'static [(u32, usize)] = &[(3, INSTANCES_MAX)];
}

#[derive(Clone, PartialEq, Message)]
struct OfferWire {
    #[prost(string, tag = "1")]
    horde: String,
    #[prost(string, tag = "2")]
    why: String,
    /// Empty: nobody.
    #[prost(string, tag = "3")]
    stands_for: String,
}

#[derive(Clone, PartialEq, Message)]
struct WaitsWire {
    #[prost(message, optional, tag = "1")]
    view: Option<ViewIdWire>,
    #[prost(message, repeated, tag = "2")]
    waits: Vec<WaitWire>,
}

impl Listing for WaitsWire {
    const LISTS: &'static [(u32, usize)] = &[(2, ITEMS_MAX)];
}

#[derive(Clone, PartialEq, Message)]
struct WaitWire {
    #[prost(string, tag = "1")]
    horde: String,
    #[prost(string, tag = "2")]
    why: String,
}

#[derive(Clone, PartialEq, Message)]
struct WhoWire {
    #[prost(message, optional, tag = "1")]
    view: Option<ViewIdWire>,
    #[prost(message, repeated, tag = "2")]
    programs: Vec<ProgramWire>,
}

impl Listing for WhoWire {
    const LISTS: &'static [(u32, usize)] = &[(2, ITEMS_MAX)];
}

#[derive(Clone, PartialEq, Message)]
struct ProgramWire {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(uint64, tag = "2")]
    since: u64,
    #[prost(string, tag = "3")]
    waits: String,
}

impl From<&Program> for ProgramWire {
    fn from(program: &Program) -> Self {
        Self { name: program.name.clone(), since: program.started.0, waits: said(&program.waits) }
    }
}

impl ProgramWire {
    fn read(self) -> Result<Program, BadFrame> {
        Ok(Program { name: text(self.name)?, started: Wall(self.since), waits: text(self.waits)? })
    }
}

impl From<&ServiceMessage> for ServiceWire {
    fn from(message: &ServiceMessage) -> Self {
        let kind = match message {
            ServiceMessage::AskDean { view, horde } => {
                Kind::AskDean(AskDeanWire { view: Some(view.into()), horde: horde.as_str().into() })
            }
            ServiceMessage::DeanReport { horde, obeys, instances } => Kind::DeanReport(packed(&DeanReportWire {
                horde: horde.as_str().into(),
                obeys: obeys.as_ref().map(PlanIdWire::from),
                instances: instances.iter().map(InstanceWire::from).collect(),
            })),
            ServiceMessage::Plan(plan) => Kind::Plan(packed(&PlanWire::from(plan))),
            ServiceMessage::Beats { horde, beats } => Kind::Beats(packed(&BeatsWire {
                horde: horde.as_str().into(),
                beats: beats.iter().map(BeatWire::from).collect(),
            })),
            ServiceMessage::Verdicts { horde, view, verdicts } => Kind::Verdicts(packed(&VerdictsWire {
                horde: horde.as_str().into(),
                view: Some(view.into()),
                verdicts: verdicts.iter().map(VerdictWire::from).collect(),
            })),
            ServiceMessage::Board { horde, view, instances } => Kind::Board(packed(&BoardWire {
                horde: horde.as_str().into(),
                view: Some(view.into()),
                instances: instances.iter().map(InstanceWire::from).collect(),
            })),
            ServiceMessage::Offer { horde, stands_for, why } => Kind::Offer(OfferWire {
                horde: horde.as_str().into(),
                why: said(why),
                stands_for: stands_for.as_ref().map(ToString::to_string).unwrap_or_default(),
            }),
            ServiceMessage::Waits { view, waits } => {
                let wait =
                    |(horde, why): &(HordeName, String)| WaitWire { horde: horde.as_str().into(), why: said(why) };
                Kind::Waits(packed(&WaitsWire { view: Some(view.into()), waits: waits.iter().map(wait).collect() }))
            }
            ServiceMessage::Who { view, programs } => Kind::Who(packed(&WhoWire {
                view: Some(view.into()),
                programs: programs.iter().map(ProgramWire::from).collect(),
            })),
            ServiceMessage::Added { view, version, holds, entries } => {
                Kind::Added(access::added(view, *version, *holds, entries.as_deref()))
            }
            ServiceMessage::AskAdded { view } => Kind::AskAdded(AskAddedWire { view: Some(view.into()) }),
            ServiceMessage::Register { view, version, entries } => {
                Kind::Register(access::register(view, *version, entries))
            }
            ServiceMessage::Forgotten { instance } => Kind::Forgotten(instance.into()),
        };
        Self { kind: Some(kind) }
    }
}

impl ServiceWire {
    pub(super) fn read(self) -> Result<ServiceMessage, BadFrame> {
        Ok(match self.kind.ok_or(BadFrame::Unknown)? {
            Kind::AskDean(ask) => ServiceMessage::AskDean { view: view_id(ask.view)?, horde: horde(&ask.horde)? },
            Kind::DeanReport(report) => {
                let (report, lists) = apart::<DeanReportWire>(report)?;
                ServiceMessage::DeanReport {
                    horde: horde(&report.horde)?,
                    obeys: report.obeys.map(PlanIdWire::read).transpose()?,
                    instances: read_instances(&lists, 3)?,
                }
            }
            Kind::Plan(plan) => ServiceMessage::Plan(read_plan(plan)?),
            Kind::Beats(batch) => {
                let (batch, lists) = apart::<BeatsWire>(batch)?;
                ServiceMessage::Beats { horde: horde(&batch.horde)?, beats: list(&lists, 2, BeatWire::read)? }
            }
            Kind::Verdicts(batch) => {
                let (batch, lists) = apart::<VerdictsWire>(batch)?;
                ServiceMessage::Verdicts {
                    horde: horde(&batch.horde)?,
                    view: view_id(batch.view)?,
                    verdicts: list(&lists, 3, VerdictWire::read)?,
                }
            }
            Kind::Board(board) => {
                let (board, lists) = apart::<BoardWire>(board)?;
                ServiceMessage::Board {
                    horde: horde(&board.horde)?,
                    view: view_id(board.view)?,
                    instances: read_instances(&lists, 3)?,
                }
            }
            Kind::Offer(offer) => ServiceMessage::Offer {
                horde: horde(&offer.horde)?,
                stands_for: match offer.stands_for.as_str() {
                    "" => None,
                    id => Some(id.parse()?),
                },
                why: text(offer.why)?,
            },
            Kind::Waits(waits) => {
                let (waits, lists) = apart::<WaitsWire>(waits)?;
                let wait = |wait: WaitWire| Ok((horde(&wait.horde)?, text(wait.why)?));
                ServiceMessage::Waits { view: view_id(waits.view)?, waits: list(&lists, 2, wait)? }
            }
            Kind::Who(who) => {
                let (who, lists) = apart::<WhoWire>(who)?;
                ServiceMessage::Who { view: view_id(who.view)?, programs: list(&lists, 2, ProgramWire::read)? }
            }
            Kind::Added(bytes) => access::read_added(bytes)?,
            Kind::Register(bytes) => access::read_register(bytes)?,
            Kind::AskAdded(ask) => ServiceMessage::AskAdded { view: view_id(ask.view)? },
            Kind::Forgotten(instance) => ServiceMessage::Forgotten { instance: instance.read()? },
        })
    }
}
