//! Flocking on the wire. Headers travel as the bytes that were hashed.

use super::parts::{Empty, MemberWire, duration, list, nanos, need};
use super::{BadFrame, ITEMS_MAX};
use crate::flock::message::{Accusation, Answer, AskReply, Datagram, Message as FlockMessage, ProposalId};
use crate::flock::view::{Headed, Seat, SeatWire, SharedHead, View, ViewId, ViewIdWire};
use crate::lists::{Listing, apart, kept, packed};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use crux_names::{BlocName, Member};
use prost::Message;

/// Most views that one proposal replaces.
const PARENTS_MAX: usize = 16 * 1024;
/// Longest encoded header in bytes.
const HEADER_MAX: usize = 512 * 1024;

#[derive(Clone, PartialEq, Message)]
pub(super) struct DatagramWire {
    #[prost(oneof = "DatagramKind", tags = "1, 2, 3, 4")]
    kind: Option<DatagramKind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum DatagramKind {
    #[prost(message, tag = "1")]
    Ping(ProbeWire),
    #[prost(message, tag = "2")]
    Ack(ProbeWire),
    #[prost(message, tag = "3")]
    PingReq(MemberWire),
    #[prost(message, tag = "4")]
    Witness(WitnessWire),
}

#[derive(Clone, PartialEq, Message)]
struct ProbeWire {
    #[prost(uint64, tag = "1")]
    seq: u64,
    #[prost(message, optional, tag = "2")]
    view: Option<ViewIdWire>,
    /// 0: the one before was not answered; 1: there was none; n + 1: the one n numbers before was.
    #[prost(uint64, tag = "3")]
    heard: u64,
}

#[derive(Clone, PartialEq, Message)]
struct WitnessWire {
    #[prost(message, optional, tag = "1")]
    subject: Option<MemberWire>,
    #[prost(uint64, optional, tag = "2")]
    heard: Option<u64>,
}

impl From<&Datagram> for DatagramWire {
    fn from(datagram: &Datagram) -> Self {
        let probe = |seq: u64, view: &Option<ViewId>, heard: Option<u64>| {
            let view = view.as_ref().map(ViewIdWire::from);
            let heard = heard.map_or(0, |back| back.saturating_add(1));
            ProbeWire { seq, view, heard }
        };
        let kind = match datagram {
            Datagram::Ping { seq, view, heard } => DatagramKind::Ping(probe(*seq, view, *heard)),
            Datagram::Ack { seq, view } => DatagramKind::Ack(probe(*seq, view, None)),
            Datagram::PingReq { subject } => DatagramKind::PingReq(subject.into()),
            Datagram::Witness { subject, heard } => {
                DatagramKind::Witness(WitnessWire { subject: Some(subject.into()), heard: heard.map(nanos) })
            }
        };
        Self { kind: Some(kind) }
    }
}

impl DatagramWire {
    pub(super) fn read(self) -> Result<Datagram, BadFrame> {
        Ok(match self.kind.ok_or(BadFrame::Unknown)? {
            DatagramKind::Ping(probe) => Datagram::Ping {
                seq: probe.seq,
                view: probe.view.map(ViewId::try_from).transpose()?,
                heard: probe.heard.checked_sub(1),
            },
            DatagramKind::Ack(probe) => {
                Datagram::Ack { seq: probe.seq, view: probe.view.map(ViewId::try_from).transpose()? }
            }
            DatagramKind::PingReq(subject) => Datagram::PingReq { subject: subject.read()? },
            DatagramKind::Witness(witness) => {
                Datagram::Witness { subject: need(witness.subject)?.read()?, heard: witness.heard.map(duration) }
            }
        })
    }
}

fn view_id(wire: Option<ViewIdWire>) -> Result<ViewId, BadFrame> {
    Ok(need(wire)?.try_into()?)
}

fn headed(bytes: Bytes) -> Result<SharedHead, BadFrame> {
    if bytes.len() > HEADER_MAX {
        return Err(BadFrame::TooLong);
    }
    Ok(Headed::decode(kept(&bytes))?.into())
}

#[derive(Clone, PartialEq, Message)]
struct ViewWire {
    #[prost(bytes = "bytes", tag = "1")]
    header: Bytes,
    #[prost(message, repeated, tag = "2")]
    roster: Vec<SeatWire>,
}

impl From<&View> for ViewWire {
    fn from(view: &View) -> Self {
        Self { header: view.head.bytes.clone(), roster: view.roster.iter().map(SeatWire::from).collect() }
    }
}

impl Listing for ViewWire {
    const LISTS: &'static [(u32, usize)] = &[(2, ITEMS_MAX)];
}

fn view_bytes(view: &View) -> Bytes {
    packed(&ViewWire::from(view))
}

fn view(message: Bytes, bloc: &BlocName) -> Result<View, BadFrame> {
    let (wire, lists) = apart::<ViewWire>(message)?;
    let head = headed(wire.header)?;
    let roster = list(&lists, 2, |seat: SeatWire| Ok(Seat::try_from(seat)?))?;
    Ok(View::join(bloc, head, roster)?)
}

#[derive(Clone, PartialEq, Message)]
struct ProposalIdWire {
    #[prost(uint64, tag = "1")]
    epoch: u64,
    #[prost(message, optional, tag = "2")]
    proposer: Option<MemberWire>,
}

impl From<&ProposalId> for ProposalIdWire {
    fn from(id: &ProposalId) -> Self {
        Self { epoch: id.epoch, proposer: Some((&id.proposer).into()) }
    }
}

impl ProposalIdWire {
    fn read(self) -> Result<ProposalId, BadFrame> {
        Ok(ProposalId { epoch: self.epoch, proposer: need(self.proposer)?.read()? })
    }
}

fn proposal(wire: Option<ProposalIdWire>) -> Result<ProposalId, BadFrame> {
    need(wire)?.read()
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct FlockWire {
    #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20")]
    kind: Option<Kind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Kind {
    #[prost(bytes = "bytes", tag = "1")]
    Hello(Bytes),
    #[prost(bytes = "bytes", tag = "2")]
    Hints(Bytes),
    #[prost(message, tag = "3")]
    Alert(AlertWire),
    #[prost(bytes = "bytes", tag = "4")]
    Ask(Bytes),
    #[prost(message, tag = "5")]
    AskReply(AskReplyWire),
    #[prost(bytes = "bytes", tag = "6")]
    Propose(Bytes),
    #[prost(message, tag = "7")]
    Report(ReportWire),
    #[prost(message, tag = "8")]
    Abort(ProposalIdWire),
    #[prost(message, tag = "9")]
    Install(InstallWire),
    #[prost(message, tag = "10")]
    Installed(ViewIdWire),
    #[prost(message, tag = "11")]
    Pull(ViewIdWire),
    #[prost(bytes = "bytes", tag = "12")]
    Eject(Bytes),
    #[prost(message, tag = "13")]
    StableGrant(GrantWire),
    #[prost(message, tag = "14")]
    Unstable(WithdrawalWire),
    #[prost(message, tag = "15")]
    Leave(Empty),
    #[prost(message, tag = "16")]
    Heard(AlertWire),
    #[prost(message, tag = "17")]
    Summon(ViewIdWire),
    /// A hello that tells of a better flock too.
    #[prost(message, tag = "18")]
    Tidings(HelloWire),
    #[prost(message, tag = "19")]
    AskThrough(AskThroughWire),
    #[prost(bytes = "bytes", tag = "20")]
    Apart(Bytes),
}

#[derive(Clone, PartialEq, Message)]
struct AskThroughWire {
    #[prost(bytes = "bytes", optional, tag = "1")]
    view: Option<Bytes>,
    #[prost(string, tag = "2")]
    to: String,
}

#[derive(Clone, PartialEq, Message)]
struct ApartWire {
    #[prost(message, optional, tag = "1")]
    ours: Option<ViewIdWire>,
    #[prost(message, optional, tag = "2")]
    theirs: Option<ViewIdWire>,
    #[prost(message, repeated, tag = "3")]
    pairs: Vec<PairWire>,
    #[prost(uint64, tag = "4")]
    wait: u64,
    #[prost(bool, tag = "5")]
    held: bool,
}

impl Listing for ApartWire {
    const LISTS: &'static [(u32, usize)] = &[(3, ITEMS_MAX)];
}

#[derive(Clone, PartialEq, Message)]
struct HelloWire {
    #[prost(bytes = "bytes", tag = "1")]
    head: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    best: Bytes,
    #[prost(string, tag = "3")]
    leader_at: String,
}

#[derive(Clone, PartialEq, Message)]
struct HintsWire {
    #[prost(message, repeated, tag = "1")]
    seats: Vec<HintWire>,
}

impl Listing for HintsWire {
    const LISTS: &'static [(u32, usize)] = &[(1, ITEMS_MAX)];
}

#[derive(Clone, PartialEq, Message)]
struct HintWire {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    addr: String,
}

#[derive(Clone, PartialEq, Message)]
struct AlertWire {
    #[prost(message, optional, tag = "1")]
    view: Option<ViewIdWire>,
    #[prost(message, optional, tag = "2")]
    subject: Option<MemberWire>,
    #[prost(uint32, tag = "3")]
    accusation: u32,
}

#[derive(Clone, PartialEq, Message)]
struct AskReplyWire {
    #[prost(message, optional, tag = "1")]
    asked: Option<ViewIdWire>,
    #[prost(oneof = "ReplyKind", tags = "2, 3, 4, 5, 6")]
    reply: Option<ReplyKind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum ReplyKind {
    #[prost(message, tag = "2")]
    Accept(Empty),
    #[prost(uint64, tag = "3")]
    Busy(u64),
    #[prost(bytes = "bytes", tag = "4")]
    Redirect(Bytes),
    #[prost(bytes = "bytes", tag = "5")]
    Refuse(Bytes),
    #[prost(uint64, tag = "6")]
    Held(u64),
}

#[derive(Clone, PartialEq, Message)]
struct RefuseWire {
    #[prost(message, repeated, tag = "1")]
    pairs: Vec<PairWire>,
    #[prost(uint64, tag = "2")]
    retry: u64,
}

impl Listing for RefuseWire {
    const LISTS: &'static [(u32, usize)] = &[(1, ITEMS_MAX)];
}

#[derive(Clone, PartialEq, Message)]
struct PairWire {
    #[prost(message, optional, tag = "1")]
    a: Option<MemberWire>,
    #[prost(message, optional, tag = "2")]
    b: Option<MemberWire>,
}

#[derive(Clone, PartialEq, Message)]
struct ProposeWire {
    #[prost(message, optional, tag = "1")]
    id: Option<ProposalIdWire>,
    #[prost(message, repeated, tag = "2")]
    parents: Vec<ViewIdWire>,
    #[prost(message, repeated, tag = "3")]
    candidates: Vec<CandidateWire>,
    #[prost(uint64, tag = "4")]
    deadline: u64,
}

impl Listing for ProposeWire {
    const LISTS: &'static [(u32, usize)] = &[(2, PARENTS_MAX), (3, ITEMS_MAX)];
}

#[derive(Clone, PartialEq, Message)]
struct CandidateWire {
    #[prost(message, optional, tag = "1")]
    seat: Option<SeatWire>,
    #[prost(uint32, tag = "2")]
    parent: u32,
}

#[derive(Clone, PartialEq, Message)]
struct ReportWire {
    #[prost(message, optional, tag = "1")]
    id: Option<ProposalIdWire>,
    #[prost(oneof = "AnswerKind", tags = "2, 3, 4")]
    answer: Option<AnswerKind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum AnswerKind {
    #[prost(bytes = "bytes", tag = "2")]
    Promised(Bytes),
    #[prost(bytes = "bytes", tag = "3")]
    Conflict(Bytes),
    #[prost(message, tag = "4")]
    Busy(BusyWire),
}

#[derive(Clone, PartialEq, Message)]
struct PromisedWire {
    #[prost(message, repeated, tag = "1")]
    unreached: Vec<MemberWire>,
}

impl Listing for PromisedWire {
    const LISTS: &'static [(u32, usize)] = &[(1, ITEMS_MAX)];
}

#[derive(Clone, PartialEq, Message)]
struct BusyWire {
    #[prost(message, optional, tag = "1")]
    promised: Option<ProposalIdWire>,
    #[prost(uint64, tag = "2")]
    remaining: u64,
}

#[derive(Clone, PartialEq, Message)]
struct InstallWire {
    #[prost(message, optional, tag = "1")]
    id: Option<ProposalIdWire>,
    #[prost(bytes = "bytes", optional, tag = "2")]
    view: Option<Bytes>,
}

#[derive(Clone, PartialEq, Message)]
struct GrantWire {
    #[prost(message, optional, tag = "1")]
    view: Option<ViewIdWire>,
    #[prost(uint64, tag = "2")]
    seq: u64,
    #[prost(uint64, tag = "3")]
    lease: u64,
}

#[derive(Clone, PartialEq, Message)]
struct WithdrawalWire {
    #[prost(message, optional, tag = "1")]
    view: Option<ViewIdWire>,
    #[prost(uint64, tag = "2")]
    seq: u64,
}

impl From<&FlockMessage> for FlockWire {
    fn from(message: &FlockMessage) -> Self {
        let kind = match message {
            FlockMessage::Hello { head, best: None } => Kind::Hello(head.bytes.clone()),
            FlockMessage::Hello { head, best: Some((best, addr)) } => Kind::Tidings(HelloWire {
                head: head.bytes.clone(),
                best: best.bytes.clone(),
                leader_at: format!("{addr}"),
            }),
            FlockMessage::Hints { seats } => Kind::Hints(packed(&HintsWire {
                seats: seats
                    .iter()
                    .map(|(id, addr)| HintWire { id: format!("{id}"), addr: format!("{addr}") })
                    .collect(),
            })),
            FlockMessage::Alert { view, subject, accusation } => Kind::Alert(AlertWire {
                view: Some(view.into()),
                subject: Some(subject.into()),
                accusation: accusation_number(*accusation),
            }),
            FlockMessage::Heard { view, subject } => {
                Kind::Heard(AlertWire { view: Some(view.into()), subject: Some(subject.into()), accusation: 0 })
            }
            FlockMessage::Summon { view } => Kind::Summon(view.into()),
            FlockMessage::Ask { view } => Kind::Ask(view_bytes(view)),
            FlockMessage::AskReply { asked, reply } => {
                Kind::AskReply(AskReplyWire { asked: Some(asked.into()), reply: Some(reply.into()) })
            }
            FlockMessage::AskThrough { view, to } => {
                Kind::AskThrough(AskThroughWire { view: Some(view_bytes(view)), to: format!("{to}") })
            }
            FlockMessage::Apart { ours, theirs, pairs, wait, held } => Kind::Apart(packed(&ApartWire {
                ours: Some(ours.into()),
                theirs: Some(theirs.into()),
                pairs: pair_wires(pairs),
                wait: nanos(*wait),
                held: *held,
            })),
            FlockMessage::Propose { id, parents, candidates, deadline } => Kind::Propose(packed(&ProposeWire {
                id: Some(id.into()),
                parents: parents.iter().map(ViewIdWire::from).collect(),
                candidates: candidates
                    .iter()
                    .map(|(seat, parent)| CandidateWire { seat: Some(seat.into()), parent })
                    .collect(),
                deadline: nanos(*deadline),
            })),
            FlockMessage::Report { id, answer } => {
                Kind::Report(ReportWire { id: Some(id.into()), answer: Some(answer.into()) })
            }
            FlockMessage::Abort { id } => Kind::Abort(id.into()),
            FlockMessage::Install { id, view } => {
                Kind::Install(InstallWire { id: id.as_ref().map(ProposalIdWire::from), view: Some(view_bytes(view)) })
            }
            FlockMessage::Installed { view } => Kind::Installed(view.into()),
            FlockMessage::Pull { view } => Kind::Pull(view.into()),
            FlockMessage::Eject { view } => Kind::Eject(view_bytes(view)),
            FlockMessage::StableGrant { view, seq, lease } => {
                Kind::StableGrant(GrantWire { view: Some(view.into()), seq: *seq, lease: nanos(*lease) })
            }
            FlockMessage::Unstable { view, seq } => {
                Kind::Unstable(WithdrawalWire { view: Some(view.into()), seq: *seq })
            }
            FlockMessage::Leave => Kind::Leave(Empty {}),
        };
        Self { kind: Some(kind) }
    }
}

fn pair_wires(pairs: &[(Member, Member)]) -> Vec<PairWire> {
    pairs.iter().map(|(a, b)| PairWire { a: Some(a.into()), b: Some(b.into()) }).collect()
}

fn read_pair(pair: PairWire) -> Result<(Member, Member), BadFrame> {
    Ok((need(pair.a)?.read()?, need(pair.b)?.read()?))
}

impl From<&AskReply> for ReplyKind {
    fn from(reply: &AskReply) -> Self {
        match reply {
            AskReply::Accept => Self::Accept(Empty {}),
            AskReply::Busy(after) => Self::Busy(nanos(*after)),
            AskReply::Redirect(head) => Self::Redirect(head.bytes.clone()),
            AskReply::Held(wait) => Self::Held(nanos(*wait)),
            AskReply::Refuse { pairs, retry } => {
                Self::Refuse(packed(&RefuseWire { pairs: pair_wires(pairs), retry: nanos(*retry) }))
            }
        }
    }
}

impl ReplyKind {
    fn read(self) -> Result<AskReply, BadFrame> {
        Ok(match self {
            Self::Accept(Empty {}) => AskReply::Accept,
            Self::Busy(after) => AskReply::Busy(duration(after)),
            Self::Redirect(head) => AskReply::Redirect(headed(head)?),
            Self::Held(wait) => AskReply::Held(duration(wait)),
            Self::Refuse(refuse) => {
                let (refuse, lists) = apart::<RefuseWire>(refuse)?;
                AskReply::Refuse { pairs: list(&lists, 1, read_pair)?, retry: duration(refuse.retry) }
            }
        })
    }
}

impl From<&Answer> for AnswerKind {
    fn from(answer: &Answer) -> Self {
        match answer {
            Answer::Promised { unreached } => {
                Self::Promised(packed(&PromisedWire { unreached: unreached.iter().map(MemberWire::from).collect() }))
            }
            Answer::Conflict { have } => Self::Conflict(have.bytes.clone()),
            Answer::Busy { promised, remaining } => {
                Self::Busy(BusyWire { promised: Some(promised.into()), remaining: nanos(*remaining) })
            }
        }
    }
}

impl AnswerKind {
    fn read(self) -> Result<Answer, BadFrame> {
        Ok(match self {
            Self::Promised(promised) => {
                let (PromisedWire { .. }, lists) = apart(promised)?;
                Answer::Promised { unreached: list(&lists, 1, MemberWire::read)? }
            }
            Self::Conflict(head) => Answer::Conflict { have: headed(head)? },
            Self::Busy(busy) => {
                Answer::Busy { promised: proposal(busy.promised)?, remaining: duration(busy.remaining) }
            }
        })
    }
}

const fn accusation_number(accusation: Accusation) -> u32 {
    match accusation {
        Accusation::Silent => 1,
        Accusation::Replaced => 2,
        Accusation::Broken => 3,
        Accusation::Left => 4,
        Accusation::Withdrawn => 5,
        Accusation::Doubted => 6,
    }
}

const fn accusation(number: u32) -> Result<Accusation, BadFrame> {
    Ok(match number {
        1 => Accusation::Silent,
        2 => Accusation::Replaced,
        3 => Accusation::Broken,
        4 => Accusation::Left,
        5 => Accusation::Withdrawn,
        6 => Accusation::Doubted,
        _ => return Err(BadFrame::Unknown),
    })
}

impl FlockWire {
    pub(super) fn read(self, bloc: &BlocName) -> Result<FlockMessage, BadFrame> {
        Ok(match self.kind.ok_or(BadFrame::Unknown)? {
            Kind::Hello(head) => FlockMessage::Hello { head: headed(head)?, best: None },
            Kind::Tidings(hello) => {
                let leader_at = hello.leader_at.parse().map_err(|_| BadFrame::Malformed)?;
                FlockMessage::Hello { head: headed(hello.head)?, best: Some((headed(hello.best)?, leader_at)) }
            }
            Kind::Heard(heard) => {
                FlockMessage::Heard { view: view_id(heard.view)?, subject: need(heard.subject)?.read()? }
            }
            Kind::Summon(id) => FlockMessage::Summon { view: id.try_into()? },
            Kind::Hints(hints) => {
                let (HintsWire { .. }, lists) = apart(hints)?;
                let seat = |hint: HintWire| Ok((hint.id.parse()?, hint.addr.parse().map_err(|_| BadFrame::Malformed)?));
                FlockMessage::Hints { seats: list(&lists, 1, seat)? }
            }
            Kind::Alert(alert) => FlockMessage::Alert {
                view: view_id(alert.view)?,
                subject: need(alert.subject)?.read()?,
                accusation: accusation(alert.accusation)?,
            },
            Kind::Ask(asking) => FlockMessage::Ask { view: view(asking, bloc)? },
            Kind::AskReply(answer) => FlockMessage::AskReply {
                asked: view_id(answer.asked)?,
                reply: answer.reply.ok_or(BadFrame::Unknown)?.read()?,
            },
            Kind::AskThrough(ask) => {
                FlockMessage::AskThrough { view: view(need(ask.view)?, bloc)?, to: ask.to.parse()? }
            }
            Kind::Apart(told) => {
                let (told, lists) = apart::<ApartWire>(told)?;
                FlockMessage::Apart {
                    ours: view_id(told.ours)?,
                    theirs: view_id(told.theirs)?,
                    pairs: list(&lists, 3, read_pair)?,
                    wait: duration(told.wait),
                    held: told.held,
                }
            }
            Kind::Propose(propose) => read_propose(propose)?,
            Kind::Report(report) => FlockMessage::Report {
                id: proposal(report.id)?,
                answer: report.answer.ok_or(BadFrame::Unknown)?.read()?,
            },
            Kind::Abort(id) => FlockMessage::Abort { id: id.read()? },
            Kind::Install(install) => FlockMessage::Install {
                id: install.id.map(ProposalIdWire::read).transpose()?,
                view: view(need(install.view)?, bloc)?,
            },
            Kind::Installed(id) => FlockMessage::Installed { view: id.try_into()? },
            Kind::Pull(id) => FlockMessage::Pull { view: id.try_into()? },
            Kind::Eject(higher) => FlockMessage::Eject { view: view(higher, bloc)? },
            Kind::StableGrant(grant) => {
                FlockMessage::StableGrant { view: view_id(grant.view)?, seq: grant.seq, lease: duration(grant.lease) }
            }
            Kind::Unstable(withdrawal) => {
                FlockMessage::Unstable { view: view_id(withdrawal.view)?, seq: withdrawal.seq }
            }
            Kind::Leave(Empty {}) => FlockMessage::Leave,
        })
    }
}

/// A candidate's parent is an index into the parents: one that points beyond them is malformed.
fn read_propose(message: Bytes) -> Result<FlockMessage, BadFrame> {
    let (wire, lists) = apart::<ProposeWire>(message)?;
    let parents = list(&lists, 2, |id: ViewIdWire| Ok(ViewId::try_from(id)?))?;
    let candidates = list(&lists, 3, |candidate: CandidateWire| {
        if candidate.parent as usize >= parents.len() {
            return Err(BadFrame::Malformed);
        }
        Ok((Seat::try_from(need(candidate.seat)?)?, candidate.parent))
    })?;
    if candidates.is_empty() {
        return Err(BadFrame::Malformed);
    }
    Ok(FlockMessage::Propose {
        id: proposal(wire.id)?,
        parents: parents.into(),
        candidates: candidates.into(),
        deadline: duration(wire.deadline),
    })
}
