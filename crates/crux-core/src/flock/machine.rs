//! The flocking machine: its state, its door and the order of its work. What it decides is in its siblings: `evidence`
//! (who is alive), `change` (the one view change), `seek` (finding other flocks), `lease` (when a flock is stable).

use super::change::{Promise, Proposal};
use super::evidence::{Challenge, Peer};
use super::message::{Accusation, Datagram, Message, ProposalId};
use super::seek::{Asking, Refusal, Target};
use super::timers::Timers;
use super::view::{Seat, View, ViewId};
use super::{Apart, Config, Input, MemberStatus, Output, Outside, Sibling, Status, name};
use crate::hash::Random;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::net::SocketAddr;
use crux_names::{FulcrumId, Member, Time};

/// One fulcrum's flocking.
#[derive(Clone, Debug)]
pub struct Flock {
    pub(super) config: Config,
    pub(super) t: Timers,
    pub(super) random: Random,
    pub(super) now: Time,

    /// The installed view, since when, and since when its leader has led without a break.
    pub(super) view: View,
    pub(super) since: Time,
    pub(super) led_since: Time,

    /// Every linked fulcrum of the bloc, and every member of the view, linked or not.
    pub(super) peers: BTreeMap<Member, Peer>,

    // Evidence about members of the installed view.
    /// (subject, observer) -> what the observer says, when it said so first and last.
    pub(super) alerts: BTreeMap<(Member, Member), (Accusation, Time, Time)>,
    pub(super) alert_again: Time,
    /// Members that hold a higher view without this fulcrum.
    pub(super) moved: BTreeSet<Member>,
    /// Since when somebody is lost.
    pub(super) lost_since: Option<Time>,
    /// Accused members that a third heard directly, and when it said so.
    pub(super) witnessed: BTreeMap<Member, Time>,
    pub(super) witness_next: Time,
    /// (subject, helper) of questions that are not answered yet.
    pub(super) witness_asked: BTreeSet<(Member, Member)>,
    pub(super) challenges: BTreeMap<FulcrumId, Challenge>,
    pub(super) clones: BTreeMap<FulcrumId, [SocketAddr; 2]>,

    // The one view change.
    pub(super) promise: Option<Promise>,
    pub(super) proposal: Option<Proposal>,
    /// Highest epoch heard of in a promise or a conflict.
    pub(super) epoch_floor: u64,
    /// No proposal of this fulcrum's own before this.
    pub(super) propose_after: Time,
    /// Members that acknowledged the view that this fulcrum leads.
    pub(super) acks: BTreeSet<Member>,
    pub(super) install_again: Time,
    /// The proposal that made the view that this fulcrum leads.
    pub(super) made_by: Option<ProposalId>,

    // Finding other flocks.
    pub(super) targets: BTreeMap<SocketAddr, Target>,
    pub(super) book: BTreeMap<FulcrumId, SocketAddr>,
    pub(super) myself: BTreeSet<SocketAddr>,
    /// When the running second of dials began, and how many it has seen.
    pub(super) dials: (Time, usize),
    pub(super) best: Option<(ViewId, Time)>,
    pub(super) asking: Option<Asking>,
    /// Asks of a leader in a row that were accepted and came to nothing.
    pub(super) vain: BTreeMap<FulcrumId, u32>,
    pub(super) askers: BTreeMap<ViewId, View>,
    pub(super) ask_window: Option<(Time, Time)>,
    /// Flocks (by leader) that refused this one or were refused by it.
    pub(super) refusals: BTreeMap<FulcrumId, Refusal>,
    /// (foreign, ours) -> when that pair began to work.
    pub(super) worked: BTreeMap<(FulcrumId, FulcrumId), Time>,

    // Completeness.
    pub(super) lease_until: Time,
    /// The last grant, given or received.
    pub(super) grant_seq: u64,
    pub(super) grant_next: Time,
    pub(super) granting: bool,
    pub(super) said_stable: bool,

    pub(super) leaving: bool,
}

impl Flock {
    /// A fulcrum's flocking at its start: alone in a flock of its own.
    ///
    /// # Panics
    /// Never: a roster of one makes a view.
    #[must_use]
    pub fn new(now: Time, config: Config) -> Self {
        let mut random = Random::new(config.seed);
        let alone = vec![Seat { member: config.me.clone(), addr: config.addr }];
        let view = View::make(&config.bloc, 1, alone, name::mint(&mut random), 0, &[]).expect("a roster of one");
        let t = Timers::scaled(config.timers);
        let mut flock = Self {
            t,
            random,
            now,
            view,
            since: now,
            led_since: now,
            peers: BTreeMap::new(),
            alerts: BTreeMap::new(),
            alert_again: Time::NEVER,
            moved: BTreeSet::new(),
            lost_since: None,
            witnessed: BTreeMap::new(),
            witness_next: now,
            witness_asked: BTreeSet::new(),
            challenges: BTreeMap::new(),
            clones: BTreeMap::new(),
            promise: None,
            proposal: None,
            epoch_floor: 0,
            propose_after: now,
            acks: BTreeSet::from([config.me.clone()]),
            install_again: Time::NEVER,
            made_by: None,
            targets: BTreeMap::new(),
            book: BTreeMap::new(),
            myself: BTreeSet::new(),
            dials: (now, 0),
            best: None,
            asking: None,
            vain: BTreeMap::new(),
            askers: BTreeMap::new(),
            ask_window: None,
            refusals: BTreeMap::new(),
            worked: BTreeMap::new(),
            lease_until: Time::ZERO,
            grant_seq: 0,
            grant_next: now,
            granting: false,
            said_stable: false,
            leaving: false,
            config,
        };
        for addr in flock.config.seeds.clone() {
            flock.aim(addr, None, true);
        }
        for (fulcrum, addr) in flock.config.book.clone() {
            flock.book.insert(fulcrum.clone(), addr);
            flock.aim(addr, Some(fulcrum), false);
        }
        flock
    }

    /// Takes one thing that happened and says what follows.
    pub fn handle(&mut self, now: Time, input: Input, out: &mut Vec<Output>) {
        self.now = self.now.max(now);
        match input {
            Input::Wake => {}
            Input::LinkUp { member, addr } => self.link_up(member, addr, out),
            Input::LinkDown { member } => self.link_down(&member, out),
            Input::ProcessGone(member) => self.hasten(&BTreeSet::from([member])),
            Input::DialFailed { addr, myself, refused, why } => self.dial_failed(addr, myself, refused, why),
            Input::Datagram { from, datagram } => self.datagram(&from, datagram, out),
            Input::Message { from, message } => self.message(from, message, out),
            Input::Leave => self.leave(out),
            Input::Forget(fulcrum) => self.forget(&fulcrum, out),
            Input::Seed(addr) => self.aim(addr, None, true),
            Input::Probed(addr) => self.aim(addr, None, false),
        }
        self.work(out);
    }

    /// Everything that time or evidence may have made due, in one fixed order: evidence first, since all else follows
    /// from it.
    fn work(&mut self, out: &mut Vec<Output>) {
        self.probe(out);
        self.accuse(out);
        self.judge(out);
        self.advance_change(out);
        self.seek(out);
        self.advance_lease(out);
    }

    /// When it wants to be woken at the latest.
    #[must_use]
    pub fn deadline(&self) -> Time {
        [
            self.next_probe(),
            self.next_accusation(),
            self.next_judgement(),
            self.next_change(),
            self.next_seek(),
            self.next_lease(),
        ]
        .into_iter()
        .min()
        .unwrap_or(Time::NEVER)
    }

    /// The installed view.
    #[must_use]
    pub fn view(&self) -> &View {
        &self.view
    }

    /// This life of this fulcrum.
    #[must_use]
    pub fn me(&self) -> &Member {
        &self.config.me
    }

    /// Whether this fulcrum leads its flock.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.view.leader().member == self.config.me
    }

    /// Members whose links passed their welcome, of any flock of the bloc.
    pub fn linked(&self) -> impl Iterator<Item = &Member> {
        self.peers.iter().filter(|(_, peer)| peer.linked).map(|(member, _)| member)
    }

    fn datagram(&mut self, from: &Member, datagram: Datagram, out: &mut Vec<Output>) {
        if !self.peers.contains_key(from) {
            return;
        }
        match datagram {
            Datagram::Ping { seq, view, complete } => {
                out.push(Output::Datagram { to: from.clone(), datagram: self.ack(seq) });
                self.heard_of_view(from, view, complete, out);
            }
            Datagram::Ack { seq, view, complete } => {
                self.answered(from, seq, out);
                self.heard_of_view(from, view, complete, out);
            }
            Datagram::PingReq { subject } => self.asked_for_witness(from, subject, out),
            Datagram::Witness { subject, heard } => self.witness(from, subject, heard),
        }
    }

    fn message(&mut self, from: Member, message: Message, out: &mut Vec<Output>) {
        if !self.peers.contains_key(&from) {
            return;
        }
        match message {
            Message::Hello { head } => self.hello(&from, head, out),
            Message::Hints { seats } => self.hints(seats),
            Message::Alert { view, subject, accusation } => self.alert(from, &view, subject, accusation),
            Message::Ask { view } => self.ask(from, view, out),
            Message::AskReply { asked, reply } => self.ask_reply(&from, &asked, reply),
            Message::Propose { id, parents, candidates, deadline } => {
                self.proposed(&from, id, &parents, &candidates, deadline, out);
            }
            Message::Report { id, answer } => self.reported(&from, &id, answer, out),
            Message::Abort { id } => self.aborted(&from, &id),
            Message::Install { id, view } => self.offered(&from, id.as_ref(), view, out),
            Message::Installed { view } => self.acknowledged(from, &view),
            Message::Pull { view } => self.pulled(&from, &view, out),
            Message::Eject { view } => self.ejected(&from, &view, out),
            Message::StableGrant { view, seq, lease } => self.granted(&from, &view, seq, lease),
            Message::Unstable { view } => self.ungranted(&from, &view),
            Message::Leave => self.left(&from),
        }
    }

    fn leave(&mut self, out: &mut Vec<Output>) {
        self.leaving = true;
        for to in self.linked().cloned().collect::<Vec<_>>() {
            out.push(Output::Message { to, message: Message::Leave });
        }
    }

    /// What is known here and now.
    #[must_use]
    pub fn status(&self, now: Time) -> Status {
        let members = self.view.roster.iter().map(|seat| {
            let peer = self.peers.get(&seat.member);
            MemberStatus {
                seat: seat.clone(),
                addr: peer.map_or(seat.addr, |peer| peer.addr),
                suspect: self.alerts.keys().any(|(subject, _)| *subject == seat.member)
                    || peer.is_some_and(Peer::misses_probes),
                heard: peer.and_then(|peer| peer.proof).map(|proof| now.since(proof)),
            }
        });
        let mut siblings: BTreeMap<ViewId, Sibling> = BTreeMap::new();
        for head in self.foreign_heads() {
            let refusal = self.standing(&head.header.leader).filter(|refusal| refusal.until > now);
            let pair = refusal.and_then(|refusal| refusal.pairs.first());
            let apart = match pair {
                Some((a, b)) => Apart::BrokenPair(a.clone(), b.clone()),
                None if refusal.is_some() => Apart::Busy,
                None => Apart::Merging,
            };
            let until = refusal.map(|refusal| refusal.until.since(now));
            siblings.insert(head.id.clone(), Sibling { head, apart, until });
        }
        let outside = self.targets.iter().filter(|(_, target)| !target.linked && target.tried);
        Status {
            view: self.view.clone(),
            age: now.since(self.since),
            stable: self.stable(now),
            members: members.collect(),
            siblings: siblings.into_values().collect(),
            outside: outside
                .filter(|(addr, target)| {
                    !self.myself.contains(*addr)
                        && target.fulcrum.as_ref().is_none_or(|fulcrum| self.view.seat(fulcrum).is_none())
                })
                .map(|(addr, target)| Outside {
                    fulcrum: target.fulcrum.clone(),
                    addr: *addr,
                    refused: target.refused,
                    why: target.why.clone(),
                })
                .collect(),
            expect: self.config.expect,
            clones: self.clones.iter().map(|(id, addrs)| (id.clone(), *addrs)).collect(),
        }
    }

    /// Installs a view that this fulcrum may install: everything about the old one ends here.
    pub(super) fn install(&mut self, view: View, out: &mut Vec<Output>) {
        let old = core::mem::replace(&mut self.view, view);
        let lost: Vec<Member> =
            old.roster.iter().map(|seat| &seat.member).filter(|member| !self.view.has(member)).cloned().collect();
        let joined: Vec<Member> =
            self.view.roster.iter().map(|seat| &seat.member).filter(|member| !old.has(member)).cloned().collect();
        self.since = self.now;
        if old.leader().member != self.view.leader().member {
            self.led_since = self.now;
        }
        self.alerts.clear();
        self.moved.clear();
        self.witnessed.clear();
        self.witness_asked.clear();
        self.lost_since = None;
        self.alert_again = Time::ZERO;
        let epoch = self.view.id().epoch;
        if self.promise.as_ref().is_some_and(|promise| promise.id.epoch <= epoch) {
            self.promise = None;
        }
        self.made_by = self.proposal.take().map(|proposal| proposal.id);
        self.asking = None;
        self.vain.clear();
        self.grant_seq = 0;
        self.best = None;
        self.askers.clear();
        self.ask_window = None;
        self.acks = BTreeSet::from([self.config.me.clone()]);
        self.install_again = self.now + self.t.resend_view;
        self.lease_until = Time::ZERO;
        self.granting = false;
        self.grant_next = self.now;
        self.targets.values_mut().for_each(|target| target.tried_in_view = false);

        for seat in self.view.roster.clone() {
            if seat.member != self.config.me {
                let now = self.now;
                self.peers.entry(seat.member.clone()).or_insert_with(|| Peer::unlinked(seat.addr, now));
                self.aim(seat.addr, Some(seat.member.id.clone()), false);
                self.remember(&seat.member.id, seat.addr, out);
            }
        }
        for gone in &lost {
            if self.peers.get(gone).is_some_and(|peer| !peer.linked) {
                self.peers.remove(gone);
            }
        }
        // Members hear of it by the install itself, the other flocks by this.
        for (to, peer) in &mut self.peers {
            if self.view.has(to) {
                peer.head = None;
            } else if peer.linked {
                let message = Message::Hello { head: self.view.head.clone() };
                out.push(Output::Message { to: to.clone(), message });
            }
        }
        let others = self.view.roster.iter().map(|seat| &seat.member).filter(|member| **member != self.config.me);
        out.push(Output::Watch(others.cloned().collect()));
        out.push(Output::Installed { view: self.view.clone(), lost, joined });
    }

    /// The name of a view that this fulcrum makes: it lives while its leader's line lives.
    pub(super) fn next_name(&mut self) -> String {
        if self.leads() { self.view.head.header.name.clone() } else { name::mint(&mut self.random) }
    }

    /// The leader's reign as a log2 bucket of seconds.
    pub(super) fn reign(&self) -> u32 {
        if !self.leads() {
            return 0;
        }
        let seconds = self.now.since(self.led_since).as_secs();
        if seconds == 0 { 0 } else { seconds.ilog2() + 1 }
    }
}
