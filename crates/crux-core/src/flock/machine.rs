//! The flocking machine: its state, its door and the order of its work. What it decides is in its siblings: `evidence`
//! (who is alive), `alerts`, `verdict` and `rollcall` (what that amounts to), `propose`, `promise` and `install` (the one
//! view change), `discovery` and `seek` (finding other flocks), `lease` (when a flock is stable).

use super::alerts::{Alerts, Telling};
use super::apart::{Refusal, Unheard};
use super::clique::WITNESSES;
use super::clones::Challenge;
use super::contacts::Contacts;
use super::discovery::{Discovery, Pace};
use super::dispute::Disputes;
use super::evidence::{Audit, Probe};
use super::health::{Health, SICK};
use super::hold::{Breaks, Breakup};
use super::install::Pull;
use super::message::{Datagram, Message, ProposalId};
use super::promise::{Promise, Verify};
use super::propose::Proposal;
use super::ring::Ring;
use super::rollcall::RollCall;
use super::seek::{Asking, Rumour};
use super::timers::{LARGE, Timers};
use super::vain::Vains;
use super::view::{Roster, Seat, SharedHead, View, ViewId};
use super::{Apart, Config, Input, MemberStatus, Output, Outside, Sibling, Status, name};
use crate::hash::Random;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::net::SocketAddr;
use crux_names::{Boot, Duration, FulcrumId, Member, NodeName, Time};

/// A dial has come to something after this: the link's own deadline, which is not scaled.
const DIAL: Duration = Duration::from_secs(1);

/// Address books of up to this many are searched at the pace for the lately lost after a start; larger ones in one sweep.
const HOT_BOOK: usize = 256;
/// A leader that handed over does so again after this many times of being sick, five minutes at default timers.
const HANDS_OVER_ONCE: u32 = 30;

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

    /// Whom this fulcrum is in touch with.
    pub(super) contacts: Contacts,
    /// Who observes whom in the installed view.
    pub(super) ring: Ring,
    /// Whose process is watched.
    pub(super) watched: Vec<Member>,

    // Probes.
    /// What runs, by whom it is about and by when it is to be looked at.
    pub(super) probes: BTreeMap<Member, Probe>,
    pub(super) schedule: BTreeSet<(Time, Member)>,
    pub(super) seq: u64,
    /// The last probe that was sent before the view was installed.
    pub(super) first_seq: u64,
    /// When those who may have moved on unseen were last asked.
    pub(super) looked_for_moved: Time,
    pub(super) audit: Audit,
    pub(super) health: Health,
    /// Members with which the last round trip failed.
    pub(super) in_doubt: BTreeSet<Member>,

    // Evidence about members of the installed view.
    pub(super) alerts: Alerts,
    pub(super) alert_again: Time,
    pub(super) telling: Telling,
    /// When members that this fulcrum had accused answered again, in this view.
    pub(super) returned: BTreeMap<Member, Time>,
    /// (subject, observer) of pairs that are in doubt, as observers told their leader, and when they said so last.
    pub(super) doubted: BTreeMap<(Member, Member), Time>,
    /// Members that hold a higher view without this fulcrum.
    pub(super) moved: BTreeSet<Member>,
    /// Co-members that say that they have another view.
    pub(super) elsewhere: BTreeMap<Member, SharedHead>,
    /// Who is lost, as weighed last, when that was, and whether anything was said since.
    pub(super) lost: BTreeSet<Member>,
    pub(super) lost_at: Time,
    pub(super) lost_dirty: bool,
    /// Since when somebody is lost.
    pub(super) lost_since: Option<Time>,
    pub(super) call: Option<RollCall>,
    /// Accused members that a third heard directly, and when it said so.
    pub(super) witnessed: BTreeMap<Member, Time>,
    pub(super) witness_next: Time,
    /// (subject, helper) of questions that are not answered yet.
    pub(super) witness_asked: BTreeSet<(Member, Member)>,
    /// About whose fulcrum the leader was asked last.
    pub(super) passed_last: Option<NodeName>,
    /// Of which fulcrums it is not believed before this that their process died.
    pub(super) hinted: BTreeMap<Member, Time>,
    /// Accusations that the accused are asked about, and what is remembered of those.
    pub(super) disputes: Disputes,
    pub(super) challenges: BTreeMap<FulcrumId, Challenge>,
    pub(super) clones: BTreeMap<FulcrumId, [SocketAddr; 2]>,
    /// The newest life of each fulcrum that was a member and is none now, but of those who went together with many others.
    pub(super) newest: BTreeMap<FulcrumId, Boot>,
    /// Rosters of which many went at once.
    pub(super) former: Vec<Roster>,

    // The one view change.
    pub(super) promise: Option<Promise>,
    /// Members that say that they have a lower view, and since when.
    pub(super) behind: BTreeMap<Member, Time>,
    /// Members that refuse what is proposed: since when, and when they did last.
    pub(super) refusing: BTreeMap<Member, (Time, Time)>,
    /// How often members with lower views refused a proposal.
    pub(super) conflicts: BTreeMap<Member, u32>,
    /// The last promises that ended by themselves, or for a higher one, and the view that was installed then.
    pub(super) late_promises: Vec<(Promise, ViewId)>,
    pub(super) proposal: Option<Proposal>,
    pub(super) verify: Option<Verify>,
    /// Highest epoch heard of in a promise or a conflict.
    pub(super) epoch_floor: u64,
    /// When it is time to begin anew, should this fulcrum still be shut out; and before when no epoch is complained of.
    pub(super) shut_out: Time,
    pub(super) alarm_next: Time,
    /// No proposal of this fulcrum's own before this.
    pub(super) propose_after: Time,
    /// Members that acknowledged the view that this fulcrum leads.
    pub(super) acks: BTreeSet<Member>,
    pub(super) install_again: Time,
    /// The proposal that made the view that this fulcrum leads.
    pub(super) made_by: Option<ProposalId>,
    /// Peers that were asked for their views.
    pub(super) pulls: BTreeMap<Member, Pull>,

    // Finding other flocks.
    pub(super) discovery: Discovery,
    pub(super) rumour: Option<Rumour>,
    pub(super) rumour_news: bool,
    pub(super) rumour_next: Time,
    pub(super) best: Option<(ViewId, Time)>,
    pub(super) asking: Option<Asking>,
    pub(super) seek_dirty: bool,
    pub(super) seek_at: Time,
    pub(super) seek_again: Time,
    /// Which nodes carried asks of others here, and until when they carry no more.
    pub(super) carried: BTreeMap<NodeName, Time>,
    /// Nodes whose flocks are waited for, or were in vain.
    pub(super) vain: Vains,
    pub(super) askers: BTreeMap<ViewId, View>,
    /// Of those that asked, those that come without their leader.
    pub(super) without_leader: BTreeSet<ViewId>,
    pub(super) ask_window: Option<(Time, Time)>,
    /// Flocks (by leader) that refused this one or were refused by it.
    pub(super) refusals: BTreeMap<FulcrumId, Refusal>,
    /// When it last laid down the lead because it was at fault itself.
    handed_over: Option<Time>,
    /// When it wanted to be woken at the end of the last thing that happened.
    due: Time,
    /// When it last looked too late at what was due.
    pub(super) was_late: Time,
    /// Foreign flocks, by leader, that others in between reach.
    pub(super) unheard: BTreeMap<FulcrumId, Unheard>,
    /// (foreign, ours) -> when that pair began to work.
    pub(super) worked: BTreeMap<(FulcrumId, FulcrumId), Time>,
    pub(super) worked_looked: Time,
    /// In a large flock accusations are looked over no sooner than this.
    pub(super) judge_again: Time,
    /// Who broke off, and how often.
    pub(super) breaks: BTreeMap<FulcrumId, Breaks>,
    /// When many broke off at once.
    pub(super) breakups: Vec<Breakup>,

    // Completeness.
    pub(super) lease_until: Time,
    /// The number of the last grant that this fulcrum made.
    pub(super) grant_seq: u64,
    /// Grants of this view that were passed on, and up to which number they are withdrawn.
    pub(super) passed: VecDeque<u64>,
    pub(super) withdrawn: u64,
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
        let alone = vec![Seat { member: config.me.clone(), addr: config.addr, visitor: config.visitor }];
        let view = View::make(&config.bloc, 1, alone, name::mint(&mut random), 0, &[]).expect("a roster of one");
        let t = Timers::scaled(config.timers);
        let pace = Pace { disc: t.disc, dial: DIAL };
        let mut discovery = Discovery::new(now, config.me.id.clone(), pace, &config.seeds, config.book.clone());
        if config.book.len() <= HOT_BOOK {
            // Whoever begins again looks for all that it knew as for somebody lost a moment ago.
            config.book.iter().for_each(|(fulcrum, _)| discovery.lost(now, fulcrum));
        }
        Self {
            contacts: Contacts::new(view.roster.clone()),
            ring: Ring::of(view.id(), 1),
            watched: Vec::new(),
            probes: BTreeMap::new(),
            schedule: BTreeSet::new(),
            seq: 0,
            first_seq: 0,
            looked_for_moved: Time::ZERO,
            audit: Audit::new(now),
            health: Health::default(),
            in_doubt: BTreeSet::new(),
            alerts: Alerts::default(),
            alert_again: Time::NEVER,
            telling: Telling::new(),
            returned: BTreeMap::new(),
            doubted: BTreeMap::new(),
            moved: BTreeSet::new(),
            elsewhere: BTreeMap::new(),
            lost: BTreeSet::new(),
            lost_at: now,
            lost_dirty: false,
            lost_since: None,
            call: None,
            witnessed: BTreeMap::new(),
            witness_next: now,
            witness_asked: BTreeSet::new(),
            disputes: Disputes::default(),
            challenges: BTreeMap::new(),
            clones: BTreeMap::new(),
            newest: BTreeMap::new(),
            former: Vec::new(),
            promise: None,
            behind: BTreeMap::new(),
            refusing: BTreeMap::new(),
            conflicts: BTreeMap::new(),
            passed_last: None,
            hinted: BTreeMap::new(),
            late_promises: Vec::new(),
            proposal: None,
            verify: None,
            epoch_floor: 0,
            shut_out: Time::NEVER,
            handed_over: None,
            due: Time::NEVER,
            was_late: Time::ZERO,
            alarm_next: now,
            propose_after: now,
            acks: BTreeSet::from([config.me.clone()]),
            install_again: Time::NEVER,
            made_by: None,
            pulls: BTreeMap::new(),
            discovery,
            rumour: None,
            rumour_news: false,
            rumour_next: now,
            best: None,
            asking: None,
            seek_dirty: false,
            seek_at: Time::NEVER,
            seek_again: now,
            carried: BTreeMap::new(),
            vain: BTreeMap::new(),
            askers: BTreeMap::new(),
            without_leader: BTreeSet::new(),
            ask_window: None,
            refusals: BTreeMap::new(),
            unheard: BTreeMap::new(),
            worked: BTreeMap::new(),
            worked_looked: now,
            judge_again: now,
            breaks: BTreeMap::new(),
            breakups: Vec::new(),
            lease_until: Time::ZERO,
            grant_seq: 0,
            passed: VecDeque::new(),
            withdrawn: 0,
            grant_next: now,
            granting: false,
            said_stable: false,
            leaving: false,
            view,
            since: now,
            led_since: now,
            t,
            random,
            now,
            config,
        }
    }

    /// Takes one thing that happened and says what follows.
    pub fn handle(&mut self, now: Time, input: Input, out: &mut Vec<Output>) {
        self.now = self.now.max(now);
        self.keep_up();
        self.take(input, out);
        self.due = self.deadline().max(self.now);
    }

    /// Whether this fulcrum comes in time with what was due: it is by that that it knows whether it is well. A leader whose
    /// neighbours ask it, and that asks nobody, is as late as anybody.
    fn keep_up(&mut self) {
        if self.now.since(self.due) > self.t.doubt / 2 {
            self.health.worse(self.now);
            self.was_late = self.now;
        } else if self.due <= self.now {
            let period = self.period();
            self.health.passes(self.now, period);
        }
    }

    fn take(&mut self, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Wake => {}
            Input::LinkUp { member, addr, dialed } => self.link_up(member, addr, dialed, out),
            Input::LinkDown { member } => self.link_down(&member, out),
            Input::ProcessGone(member) => self.process_gone(&member, out),
            Input::Twin(addr) => self.met_its_twin(addr, out),
            Input::DialFailed { addr, myself, refused, why } => {
                self.discovery.failed(self.now, addr, myself, refused, &why);
            }
            Input::DialAnswered { addr, member } => self.discovery.answered(self.now, &member.id, addr),
            Input::Datagram { from, datagram } => self.datagram(&from, datagram, out),
            Input::Message { from, message } => self.message(from, message, out),
            Input::Leave => self.leave(out),
            Input::Forget(fulcrum) => {
                self.clones.remove(&fulcrum);
                // Of two that lived under one name the one that is left is here, and what is known of it stands.
                if self.view.seat(&fulcrum).is_some() || self.contacts.linked_life(&fulcrum).is_some() {
                    return;
                }
                self.breaks.remove(&fulcrum);
                self.newest.remove(&fulcrum);
                self.discovery.forget(self.now, &fulcrum);
            }
            Input::Expel { node, lives } => self.expel(&node, &lives, out),
            Input::Seed(addr) => self.discovery.seed(self.now, addr),
            Input::Probed(addr) => _ = self.discovery.probe(self.now, addr),
        }
        self.work(out);
    }

    /// Everything that time or evidence may have made due, in one fixed order: evidence first, since all else follows
    /// from it.
    fn work(&mut self, out: &mut Vec<Output>) {
        self.probe(out);
        self.advance_challenges(out);
        self.advance_alerts(out);
        self.judge(out);
        self.advance_change(out);
        self.seek(out);
        self.consider_starting_over(out);
        self.hand_over_if_sick(out);
        self.advance_lease(out);
        if self.discovery.book_changed().is_some() {
            let book = self.discovery.book().map(|(fulcrum, addr)| (fulcrum.clone(), addr));
            out.push(Output::Book(book.collect()));
        }
    }

    /// A leader that has been at fault itself for long leads no more; who comes next does. Not again soon: where all are at
    /// fault, as on one busy host, the lead would go round for ever, and each time costs everybody two views. Nor of a view that
    /// has not stood for as long as that: what it is late with may be the change, and whoever has not heard of the view yet
    /// would be left behind in it (decision 31).
    fn hand_over_if_sick(&mut self, out: &mut Vec<Output>) {
        let stands = self.acks.len() == self.view.roster.len() && self.now.since(self.since) >= self.t.sick;
        let quiet = stands && self.proposal.is_none() && self.promise.is_none() && !self.leaving;
        let others = self.view.roster.get(1).is_some_and(|seat| !seat.visitor);
        let again = self.handed_over.is_none_or(|at| self.now.since(at) >= self.t.sick * HANDS_OVER_ONCE);
        if quiet && others && again && self.leads() && self.health.sick_for(self.now) >= self.t.sick {
            self.handed_over = Some(self.now);
            out.push(Output::HandsOver);
            self.step_aside(out);
        }
    }

    /// The shortest silence that anybody is accused for, or proposed without: of a member whose process may have died.
    #[must_use]
    pub const fn shortest_silence(&self) -> Duration {
        self.t.burst_end
    }

    /// When it wants to be woken at the latest.
    #[must_use]
    pub fn deadline(&self) -> Time {
        [
            self.next_probe(),
            self.next_alert(),
            self.next_judgement(),
            self.next_change(),
            self.next_seek(),
            self.next_lease(),
            self.shut_out,
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
        self.contacts.all_linked()
    }

    /// How much this fulcrum keeps of others beyond a mark for each: entries of all lists that grow with what happens. It
    /// is bounded whatever peers send.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.probes.len()
            + self.contacts.strays.len()
            + self.alerts.iter().count()
            + self.doubted.len()
            + self.elsewhere.len()
            + self.witnessed.len()
            + self.witness_asked.len()
            + self.disputes.len()
            + self.challenges.len()
            + self.pulls.len()
            + self.askers.len()
            + self.refusals.len()
            + self.unheard.len()
            + self.without_leader.len()
            + self.worked.len()
            + self.returned.len()
            + self.breaks.len()
            + self.vain.len()
            + self.clones.len()
            + self.newest.len()
            + self.conflicts.len()
            + self.refusing.len()
            + self.hinted.len()
            + self.carried.len()
            + self.behind.len()
            + self.refusals.values().map(|refusal| refusal.pairs.len()).sum::<usize>()
            + self.discovery.known()
    }

    fn known(&self, from: &Member) -> bool {
        self.contacts.linked(from) || self.view.has(from)
    }

    fn datagram(&mut self, from: &Member, datagram: Datagram, out: &mut Vec<Output>) {
        if !self.known(from) {
            return;
        }
        match datagram {
            Datagram::Ping { seq, view, heard } => {
                let view = self.asked_from(from, view);
                self.asked(from, seq, view.as_ref(), heard, out);
                if let Some(view) = view {
                    self.heard_of_view(from, view, out);
                }
            }
            Datagram::Ack { seq, view } => {
                let view = self.answered_from(from, seq, view);
                self.answered(from, seq, out);
                if let Some(view) = view {
                    self.heard_of_view(from, view, out);
                }
            }
            Datagram::PingReq { subject } => self.asked_for_witness(from, subject, out),
            Datagram::Witness { subject, heard } => self.witness(from, subject, heard),
        }
    }

    fn message(&mut self, from: Member, message: Message, out: &mut Vec<Output>) {
        if !self.known(&from) {
            return;
        }
        match message {
            Message::Hello { head, best } => self.hello(&from, head, best, out),
            Message::Hints { seats } => self.hints(&from, seats, out),
            Message::Alert { view, subject, accusation } => self.alert(from, &view, subject, accusation, out),
            Message::Heard { view, .. } => self.heard_alert(&from, &view),
            Message::Summon { view } => self.summoned(&from, &view, out),
            Message::Ask { view } => self.ask(from, view, out),
            Message::AskReply { asked, reply } => self.ask_reply(&from, &asked, reply, out),
            Message::AskThrough { view, to } => self.asked_through(&from, view, &to, out),
            Message::Apart { ours, theirs, mut pairs, wait, held } => {
                pairs.truncate(WITNESSES);
                let until = self.now + wait.min(self.t.refuse_to);
                self.told_apart(&from, Refusal { held, ..Refusal::new(until, pairs, (ours, theirs)) });
            }
            Message::Propose { id, parents, candidates, deadline } => {
                self.proposed(&from, id, &parents, &candidates, deadline, out);
            }
            Message::Report { id, answer } => self.reported(&from, &id, answer, out),
            Message::Abort { id } => self.aborted(&from, &id),
            Message::Install { id, view } => self.offered(&from, id.as_ref(), view, out),
            Message::Installed { view } => self.acknowledged(from, &view),
            Message::Pull { view } => self.pulled(&from, &view, out),
            Message::Eject { view } => self.ejected(&from, &view, out),
            Message::StableGrant { view, seq, lease } => self.granted(&from, &view, seq, lease, out),
            Message::Unstable { view, seq } => self.ungranted(&from, &view, seq),
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
        let members = self.view.roster.iter().map(|seat| MemberStatus {
            seat: seat.clone(),
            addr: self.contacts.addr(&seat.member).unwrap_or(seat.addr),
            suspect: self.alerts.has(&seat.member) || self.misses_probes(&seat.member),
            heard: self.proof(&seat.member).map(|proof| now.since(proof)),
        });
        let mut siblings = self.foreign_heads();
        siblings.extend(self.unheard.values().map(|unheard| (unheard.head.id.clone(), unheard.head.clone())));
        let siblings = siblings.into_values().map(|head| {
            let refusal = self.standing(&head.header.leader).filter(|refusal| refusal.until > now);
            let alone = self.left_alone(&head.header.leader.node);
            let apart = match refusal {
                Some(refusal) if refusal.held => Apart::FlapHold,
                Some(refusal) => match refusal.pairs.first() {
                    Some((a, b)) => Apart::BrokenPair(a.clone(), b.clone()),
                    None => Apart::Busy,
                },
                None if alone.is_some() => Apart::Busy,
                None => Apart::Merging,
            };
            Sibling { head, apart, until: refusal.map(|refusal| refusal.until.since(now)).or(alone) }
        });
        let outside = self.discovery.outside().filter(|one| {
            let fulcrum = one.fulcrum;
            fulcrum.is_none_or(|id| self.view.seat(id).is_none() && self.contacts.linked_life(id).is_none())
        });
        Status {
            view: self.view.clone(),
            age: now.since(self.since),
            stable: self.stable(now),
            lacking: self.lacking(),
            lacking_who: self.lacking_who(),
            members: members.collect(),
            siblings: siblings.collect(),
            outside: outside
                .map(|one| Outside {
                    fulcrum: one.fulcrum.cloned(),
                    addr: one.addr,
                    refused: one.refused,
                    why: one.why.into(),
                })
                .collect(),
            expect: self.config.expect,
            clones: self.clones.iter().map(|(id, addrs)| (id.clone(), *addrs)).collect(),
            sick: self.health.slowness() > SICK,
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
        let off: Vec<&Member> =
            lost.iter().filter(|gone| !self.said_goodbye(gone) && self.view.seat(&gone.id).is_none()).collect();
        if off.len() > LARGE {
            self.broke_up(&old.roster);
        } else {
            off.into_iter().for_each(|gone| self.broke_off(&gone.id, out));
        }
        self.remember_boots(&old.roster, &lost);
        self.end_of_evidence(&lost, out);
        let epoch = self.view.id().epoch;
        if self.promise.as_ref().is_some_and(|promise| promise.id.epoch <= epoch) {
            self.promise = None;
        }
        self.made_by = self.proposal.take().map(|proposal| proposal.id);
        self.verify = None;
        self.asking = None;
        // What was between the view before and others says nothing of this one.
        self.refusals.clear();
        self.forget_vain();
        self.try_anew(!lost.is_empty());
        self.grant_seq = 0;
        self.passed.clear();
        self.withdrawn = 0;
        self.best = None;
        self.rumour = None;
        self.seek_dirty = true;
        self.askers.clear();
        self.without_leader.clear();
        self.unheard.clear();
        self.ask_window = None;
        self.acks = BTreeSet::from([self.config.me.clone()]);
        self.install_again = self.now + self.t.resend_view;
        self.lease_until = Time::ZERO;
        self.granting = false;
        self.grant_next = self.now;

        let strays: BTreeSet<Member> = self.contacts.strays.keys().cloned().collect();
        self.contacts.install(self.view.roster.clone());
        self.part_from_older_lives(out);
        self.ring = Ring::of(self.view.id(), self.view.roster.len());
        self.forget_who_agrees();
        self.audit = Audit::new(self.now);
        self.watch_ring(out);
        if !self.in_doubt.is_empty() {
            // Whoever leads now has not heard of it.
            self.alert_again = self.now;
        }
        let rank = self.view.roster.index(&self.config.me).unwrap_or(0);
        self.discovery.place(
            self.now,
            u32::try_from(rank).unwrap_or(u32::MAX),
            u32::try_from(self.view.roster.len()).unwrap_or(u32::MAX),
        );
        for seat in &self.view.roster {
            if seat.member != self.config.me && !self.contacts.linked(&seat.member) {
                self.discovery.urge(self.now, &seat.member.id, seat.addr);
            }
        }
        let fresh: Vec<Member> = self.contacts.strays.keys().filter(|one| !strays.contains(*one)).cloned().collect();
        for member in fresh {
            self.watch_stray(&member);
        }
        // Members hear of it by the install itself, the other flocks by this.
        let hello = self.hello_message();
        // Who has to ask this flock's leader may have heard its name only.
        let boss = self.view.leader().clone();
        let known = self.contacts.strays.len() <= LARGE && boss.member != self.config.me;
        let hint = known.then(|| Message::Hints { seats: vec![(boss.member.id, boss.addr)] });
        for to in self.contacts.strays.keys() {
            let messages = core::iter::once(hello.clone()).chain(hint.clone());
            out.extend(messages.map(|message| Output::Message { to: to.clone(), message }));
        }
        out.push(Output::Installed { view: self.view.clone(), lost, joined });
    }

    /// What was said about members of the old view says nothing about those of the new one, but what this fulcrum itself
    /// sees of those who stay.
    fn end_of_evidence(&mut self, lost: &[Member], out: &mut Vec<Output>) {
        let mut kept = 0;
        for gone in lost {
            self.discovery.calm(&gone.id);
            // Who is dead answers on no link; a link that carries nothing would only delay the next. Of many that go at
            // once, as when a network is cut, only some are watched as strangers: the others are looked for like all
            // that are lost, which costs a few bytes for each instead of some hundred.
            if !self.contacts.linked(gone) {
                continue;
            }
            kept += 1;
            if self.accuses(gone) || kept > LARGE {
                out.push(Output::CloseLink { peer: gone.clone(), why: "no answer to probes".into() });
                self.contacts.down(gone);
                if self.contacts.linked_life(&gone.id).is_none() {
                    self.discovery.lost(self.now, &gone.id);
                }
            }
        }
        self.alerts.clear();
        self.doubted.clear();
        self.moved.clear();
        self.refusing.clear();
        self.conflicts.clear();
        self.behind.clear();
        self.elsewhere.clear();
        self.pulls.clear();
        self.witnessed.clear();
        self.witness_asked.clear();
        self.disputes.begin_anew();
        self.lost.clear();
        self.lost_dirty = false;
        self.lost_since = None;
        self.call = None;
        self.telling = Telling::new();
        self.returned.clear();
        self.alert_again = Time::NEVER;
    }

    /// The name of a view that this fulcrum makes: it lives while its leader's line lives.
    pub(super) fn next_name(&self) -> String {
        match self.view.roster.position(&self.config.me.id) {
            Some(seat) if seat > 0 => name::of_part(&self.view, seat),
            _ => self.view.head.header.name.clone(),
        }
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
