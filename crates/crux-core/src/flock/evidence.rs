//! Evidence: who is alive. Per boot and direct only: the one thing that counts is a round trip of the two, made by
//! themselves.
//!
//! Neighbours in the ring probe each other each period; one probe serves both ends, for the prober says whether it heard
//! the last answer. Everybody else is visited by the audit, which keeps state only for exceptions. Links to strangers are
//! probed too, so that flocks know whether they could merge.

mod links;
mod strays;

use super::Output;
use super::machine::Flock;
use super::message::{Accusation, Datagram, Message};
use super::ring::{SUCCESSORS, prober, visits};
use super::view::ViewId;
use alloc::vec::Vec;
use crux_names::{Duration, Member, Time};

/// Failed visits in a row before the pair is told of as a doubt. One fails now and then by loss alone: at a tenth lost each
/// way one in 760, which in a flock of forty is several a second.
const TOLD: u32 = 2;
/// Who looks later than this whether an answer came does not ask again: it has not looked yet whether one lies there, and more
/// questions are what a host that cannot keep up needs least.
const LATE: Duration = Duration::from_millis(50);
/// Answers are recognised to this many probes.
const REMEMBERED: usize = 4;

/// Why somebody is probed, and so what it means if no answer comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// A period of a neighbour or a stray.
    Period,
    /// The audit's visit, or the next probe of a pair under doubt.
    Visit,
    /// A stranger of a proposal.
    Verify,
    /// A process may have died: asked five times in a moment.
    Burst,
    /// The roll is called.
    Call,
    /// To know soon; silence means nothing new.
    Ask,
}

/// A probe that has no answer yet.
#[derive(Clone, Debug)]
struct Run {
    seq: u64,
    sent: Time,
    resent: usize,
    end: Time,
    why: Why,
    heard: Option<u64>,
}

/// A question of late.
#[derive(Clone, Copy, Debug, Default)]
struct Question {
    /// Its number; 0 if there is none.
    seq: u64,
    sent: Time,
    /// How often it went out, and how many answers to it came.
    times: u32,
    answers: u32,
}

/// A standing probe.
#[derive(Clone, Debug)]
struct Edge {
    /// This end asks; the other end expects to be asked.
    asks: bool,
    /// The next question.
    next: Time,
    /// The pair worked at this moment, as far as this end can know.
    heard: Time,
    /// The last question of the other end and when it was answered first; of the first one since the watch began that is not
    /// known, for it may be one that comes again.
    acked: Option<(u64, Option<Time>)>,
    /// When the link came up, as far as that was since the watch began: a question over it may not be answered yet.
    linked: Time,
    /// The link was made anew since it was last heard.
    renewed: bool,
    /// Its silence was told to the leader as a doubt.
    doubted: bool,
    /// Its last answer said that it has this fulcrum's view.
    same: bool,
    /// Its last question said so.
    agreed: bool,
}

impl Edge {
    /// A watch that begins now, with the first question.
    const fn new(now: Time, asks: bool, heard: Time) -> Self {
        Self {
            asks,
            next: now,
            heard,
            acked: None,
            linked: Time::ZERO,
            renewed: false,
            doubted: false,
            same: false,
            agreed: false,
        }
    }
}

/// A pair of members that are no neighbours and failed a visit.
#[derive(Clone, Debug)]
struct Doubt {
    fails: u32,
    since: Time,
    next: Time,
    /// The link was made anew for it.
    renewed: bool,
}

/// What runs about one other.
#[derive(Clone, Debug, Default)]
pub struct Probe {
    edge: Option<Edge>,
    run: Option<Run>,
    doubt: Option<Doubt>,
    /// The last questions, newest first: a late answer is life too.
    history: [Question; REMEMBERED],
    /// The last question but the running one if it was answered; 0 if there was none.
    answered: Option<u64>,
    /// A third wants to know whether it lives.
    asked_by: Option<Member>,
    /// When it is to be looked at; the key under which it stands in the schedule.
    look: Option<Time>,
}

impl Probe {
    const fn idle(&self) -> bool {
        self.edge.is_none() && self.run.is_none() && self.doubt.is_none()
    }
}

/// The sweep over all pairs.
#[derive(Clone, Debug)]
pub struct Audit {
    /// The next distance to visit at, from 1.
    cursor: usize,
    pub next: Time,
}

impl Audit {
    pub const fn new(now: Time) -> Self {
        Self { cursor: 1, next: now }
    }
}

impl Flock {
    pub(super) fn period(&self) -> Duration {
        self.t.period(self.view.roster.len())
    }

    /// Whether a round trip with this member was completed whose ping was sent within this time.
    pub(super) fn proven(&self, member: &Member, within: Duration) -> bool {
        self.proof(member).is_some_and(|proof| self.now.since(proof) <= within)
    }

    /// When the ping of the last completed round trip with this member was sent.
    #[must_use]
    pub fn proof(&self, member: &Member) -> Option<Time> {
        self.contacts.proof(member)
    }

    /// Whether nothing is in doubt here: every pair that is this fulcrum's to prove worked when it was last tried.
    pub(super) fn complete(&self) -> bool {
        self.in_doubt.is_empty()
    }

    /// Puts the neighbours of the installed view under watch, and nobody else of it. What is in doubt stays so, and what it
    /// failed by counts on, whether as a neighbour's silence or as visits: each view draws another ring, and where several
    /// pairs are broken one view follows the other.
    pub(super) fn watch_ring(&mut self, out: &mut Vec<Output>) {
        let me = self.view.roster.index(&self.config.me).unwrap_or(0);
        let mut watched = Vec::new();
        let mut wanted: Vec<(Member, bool)> = Vec::new();
        for (at, asks) in self.ring.neighbours(me) {
            let member = self.view.roster[at].member.clone();
            watched.push(member.clone());
            wanted.push((member, asks));
        }
        let keep = |member: &Member| wanted.iter().any(|(other, _)| other == member);
        let stale: Vec<Member> = self
            .probes
            .iter()
            .filter(|(member, probe)| {
                let stray = self.contacts.strays.contains_key(*member);
                (probe.edge.is_some() && !stray && !keep(member))
                    || (probe.doubt.is_some() && !self.view.has(member))
                    || (probe.run.is_some() && !stray && !self.view.has(member))
            })
            .map(|(member, _)| member.clone())
            .collect();
        for member in stale {
            let silence = self.silence_so_far(&member);
            if let Some(probe) = self.probes.get_mut(&member) {
                probe.edge = None;
                if self.view.has(&member) {
                    probe.doubt = silence;
                } else {
                    probe.doubt = None;
                    probe.run = None;
                }
            }
            self.reschedule(&member);
        }
        for (member, asks) in wanted {
            let now = self.now;
            let proof = self.contacts.proof(&member);
            let probe = self.probes.entry(member.clone()).or_default();
            let failing = probe.doubt.take().filter(|doubt| doubt.fails >= TOLD);
            match &mut probe.edge {
                Some(edge) => {
                    if asks && !edge.asks {
                        // It was the other's to ask; that this was not done since is no sleep.
                        edge.next = edge.next.max(now);
                    }
                    edge.asks = asks;
                }
                None => {
                    let heard = proof.unwrap_or(now).max(now - self.t.doubt);
                    let edge = Edge::new(now, asks, heard);
                    probe.edge = Some(match failing {
                        // Its link may be new: what is asked over it has its time.
                        Some(doubt) => Edge { heard: doubt.since.min(heard), doubted: true, linked: now, ..edge },
                        None => edge,
                    });
                }
            }
            self.reschedule(&member);
            // What was said of it in the view before is forgotten, and the marks of its silence may have passed.
            let pace = self.pace(&member);
            self.silence(&member, pace, out);
        }
        self.count_doubts();
        if watched != self.watched {
            self.watched.clone_from(&watched);
            out.push(Output::Watch(watched));
        }
    }

    /// What the silence of somebody who was a neighbour comes to in visits that failed.
    fn silence_so_far(&self, member: &Member) -> Option<Doubt> {
        let edge = self.probes.get(member)?.edge.as_ref()?;
        let pace = self.pace(member);
        if !edge.doubted || self.now < self.missed_at(edge.heard, pace, TOLD) {
            return None;
        }
        let since = edge.heard + pace;
        let periods = self.now.since(since).as_nanos() / pace.as_nanos().max(1);
        Some(Doubt {
            fails: u32::try_from(periods).unwrap_or(u32::MAX).max(TOLD),
            since,
            next: self.now,
            renewed: edge.renewed,
        })
    }

    /// Who of the installed view is in doubt here.
    fn count_doubts(&mut self) {
        let edge = |probe: &Probe| probe.edge.as_ref().is_some_and(|edge| edge.doubted);
        let told = |probe: &Probe| probe.doubt.as_ref().is_some_and(|doubt| doubt.fails >= TOLD);
        let of = |(member, probe): &(&Member, &Probe)| self.view.has(member) && (told(probe) || edge(probe));
        self.in_doubt = self.probes.iter().filter(of).map(|(member, _)| member.clone()).collect();
    }

    /// Nobody needs to know any more whether it lives.
    pub(super) fn unwatch(&mut self, member: &Member) {
        if let Some(probe) = self.probes.remove(member)
            && let Some(look) = probe.look
        {
            self.schedule.remove(&(look, member.clone()));
        }
    }

    /// When a neighbour that stays silent has missed so many periods.
    fn missed_at(&self, heard: Time, pace: Duration, misses: u32) -> Time {
        heard + pace * (misses + 1)
    }

    fn silent_after(&self) -> u32 {
        self.health.misses(self.view.roster.len()) * self.health.slowness()
    }

    /// How fast a silent neighbour is asked: so that the failures that break a pair fit into the time that they have to last
    /// at least, but at most twice as fast as otherwise.
    fn silent_pace(&self, pace: Duration) -> Duration {
        let size = self.view.roster.len();
        let fails = self.health.fails(size, self.t.audit(size));
        pace.min((self.t.broken_window / fails).max(pace / 2))
    }

    /// When it has been silent for so long that the pair is broken.
    fn broken_at(&self, heard: Time, pace: Duration) -> Time {
        let size = self.view.roster.len();
        let fails = self.health.fails(size, self.t.audit(size));
        heard + pace + self.t.broken_window.max(self.silent_pace(pace) * fails)
    }

    /// How long until a neighbour is asked again.
    fn gap(&self, member: &Member, pace: Duration) -> Duration {
        let edge = self.probes.get(member).and_then(|probe| probe.edge.as_ref());
        match edge {
            Some(edge) if self.now >= self.missed_at(edge.heard, pace, 2) => self.silent_pace(pace),
            _ => pace,
        }
    }

    fn reschedule(&mut self, member: &Member) {
        let pace = self.pace(member);
        let gaps = |why: Why| match why {
            Why::Burst => &self.t.burst[..],
            Why::Call => &self.t.call[..],
            _ => &self.t.resend[..],
        };
        let Some(probe) = self.probes.get(member) else { return };
        let mut next = Time::NEVER;
        if let Some(run) = &probe.run {
            next = run.end;
            if let Some(gap) = gaps(run.why).get(run.resent) {
                next = next.min(run.sent + *gap);
            }
        }
        if let Some(edge) = &probe.edge {
            if edge.asks {
                next = next.min(edge.next);
            }
            let marks = [
                self.missed_at(edge.heard, pace, 2),
                self.missed_at(edge.heard, pace, self.silent_after()),
                self.broken_at(edge.heard, pace),
            ];
            for mark in marks {
                if mark > self.now {
                    next = next.min(mark);
                }
            }
        }
        if let Some(doubt) = &probe.doubt
            && probe.run.is_none()
        {
            next = next.min(doubt.next);
        }
        let idle = probe.idle();
        let Some(probe) = self.probes.get_mut(member) else { return };
        let old = probe.look.take();
        if !idle {
            probe.look = Some(next);
        }
        if old != probe.look {
            if let Some(old) = old {
                self.schedule.remove(&(old, member.clone()));
            }
            if !idle {
                self.schedule.insert((next, member.clone()));
            }
        }
        if idle && self.probes.get(member).is_some_and(|probe| probe.asked_by.is_none()) {
            self.probes.remove(member);
        }
    }

    /// Asks somebody now. A running probe gives way, whatever it was for.
    pub(super) fn ask_now(&mut self, member: &Member, why: Why, out: &mut Vec<Output>) {
        let linked = self.contacts.linked(member);
        let now = self.now;
        let end = match why {
            Why::Burst => self.t.burst_end,
            Why::Call => self.t.call_end,
            Why::Period => self.gap(member, self.pace(member)).min(self.t.doubt),
            _ => self.period().min(self.t.doubt),
        };
        self.seq += 1;
        let seq = self.seq;
        let probe = self.probes.entry(member.clone()).or_default();
        if probe.history[0].seq == 0 {
            probe.answered = Some(0);
        }
        let heard = probe.answered.map(|answered| if answered == 0 { 0 } else { seq.saturating_sub(answered) });
        if probe.run.is_some() {
            probe.answered = None;
        }
        probe.history.rotate_right(1);
        probe.history[0] = Question { seq, sent: now, times: 1, answers: 0 };
        probe.run = Some(Run { seq, sent: now, resent: 0, end: now + end, why, heard });
        if linked {
            self.ping(member, seq, heard, out);
        }
        self.reschedule(member);
    }

    /// Whether it is being asked several times in a moment already: asking anew would only begin the wait again.
    pub(super) fn bursts(&self, member: &Member) -> bool {
        self.probes.get(member).and_then(|probe| probe.run.as_ref()).is_some_and(|run| run.why == Why::Burst)
    }

    /// Whether the two probe each other each period.
    pub(super) fn watches(&self, member: &Member) -> bool {
        self.probes.get(member).is_some_and(|probe| probe.edge.is_some())
    }

    fn ping(&self, to: &Member, seq: u64, heard: Option<u64>, out: &mut Vec<Output>) {
        let same = |edge: &Edge| edge.same && heard.is_some();
        let known = self.probes.get(to).and_then(|probe| probe.edge.as_ref()).is_some_and(same);
        let view = (!known).then(|| self.view.id().clone());
        out.push(Output::Datagram { to: to.clone(), datagram: Datagram::Ping { seq, view, heard } });
    }

    /// The view from which somebody asks, as far as it can be known.
    pub(super) fn asked_from(&mut self, from: &Member, named: Option<ViewId>) -> Option<ViewId> {
        let edge = self.probes.get_mut(from).and_then(|probe| probe.edge.as_mut());
        let mine = self.view.id();
        let agreed = edge.as_ref().is_some_and(|edge| edge.agreed);
        let view = named.or_else(|| agreed.then(|| mine.clone()));
        if let Some(edge) = edge {
            edge.agreed = view.as_ref() == Some(mine);
        }
        view
    }

    /// The view from which somebody answers: the one that the ping named, which was this fulcrum's unless it has installed
    /// another since.
    pub(super) fn answered_from(&mut self, from: &Member, seq: u64, named: Option<ViewId>) -> Option<ViewId> {
        let (mine, first) = (self.view.id(), self.first_seq);
        let probe = self.probes.get_mut(from)?;
        let asked = seq > first && probe.history.iter().any(|question| question.seq == seq);
        let agrees = named.is_none() && asked;
        if let Some(edge) = &mut probe.edge {
            edge.same = agrees;
        }
        named.or_else(|| agrees.then(|| mine.clone()))
    }

    /// Another view is installed: nobody has said yet that it has it too.
    pub(super) fn forget_who_agrees(&mut self) {
        for edge in self.probes.values_mut().filter_map(|probe| probe.edge.as_mut()) {
            (edge.same, edge.agreed) = (false, false);
        }
        self.first_seq = self.seq;
    }

    /// Asks at once whom it would ask sooner or later.
    pub(super) fn hasten<'a>(&mut self, members: impl IntoIterator<Item = &'a Member>, out: &mut Vec<Output>) {
        for member in members {
            let running = self.probes.get(member).is_some_and(|probe| probe.run.is_some());
            if !running && self.contacts.linked(member) {
                self.ask_now(member, Why::Ask, out);
            }
        }
    }

    /// Ends and begins probes whose time has come.
    pub(super) fn probe(&mut self, out: &mut Vec<Output>) {
        let first = self.schedule.first().map_or(Time::NEVER, |(at, _)| *at);
        if first <= self.now {
            let late = self.now.since(first);
            if late > self.t.doubt / 2 {
                self.overslept(late);
            }
        }
        while let Some((at, member)) = self.schedule.first().cloned()
            && at <= self.now
        {
            self.look_at(&member, out);
        }
        self.sweep(out);
    }

    /// Who was asleep learned nothing in that time, so it blames nobody for it.
    fn overslept(&mut self, late: Duration) {
        let now = self.now;
        let mut members = Vec::new();
        for (member, probe) in &mut self.probes {
            if let Some(edge) = &mut probe.edge {
                edge.heard = (edge.heard + late).min(now);
            }
            if let Some(doubt) = &mut probe.doubt {
                doubt.since = (doubt.since + late).min(now);
            }
            if let Some(run) = &mut probe.run {
                run.end = run.end + late;
            }
            members.push(member.clone());
        }
        if let Some(call) = &mut self.call {
            call.overslept(late);
        }
        for member in members {
            self.reschedule(&member);
        }
    }

    fn look_at(&mut self, member: &Member, out: &mut Vec<Output>) {
        let now = self.now;
        let pace = self.pace(member);
        let gap = self.gap(member, pace);
        let linked = self.contacts.linked(member);
        let crowded = pace > self.period();
        let Some(probe) = self.probes.get_mut(member) else { return };
        if let Some(run) = &mut probe.run {
            let gaps = match run.why {
                Why::Burst => &self.t.burst[..],
                Why::Call => &self.t.call[..],
                _ => &self.t.resend[..],
            };
            if run.end <= now {
                let why = run.why;
                probe.run = None;
                probe.answered = None;
                if let Some(doubt) = &mut probe.doubt {
                    // Another question was in its way.
                    doubt.next = doubt.next.max(now);
                }
                self.unanswered(member, why, out);
            } else if let Some(due) = gaps.get(run.resent).map(|gap| run.sent + *gap)
                && due <= now
            {
                run.resent += 1;
                let (seq, heard, first) = (run.seq, run.heard, run.resent == 1);
                let late = now.since(due) > LATE && !matches!(run.why, Why::Burst | Why::Call);
                // Of a crowd each is asked again in its turn.
                let crowd = crowded && run.why == Why::Period;
                if linked && !late && !crowd {
                    for question in probe.history.iter_mut().filter(|question| question.seq == seq) {
                        question.times += 1;
                    }
                    self.ping(member, seq, heard, out);
                    if first {
                        self.health.measured(false);
                    }
                }
            }
        }
        let Some(probe) = self.probes.get_mut(member) else { return };
        let mut ask = None;
        if let Some(edge) = &mut probe.edge
            && edge.asks
            && edge.next <= now
        {
            edge.next = if edge.next + gap > now { edge.next + gap } else { now + gap };
            if probe.run.is_none() {
                ask = Some(Why::Period);
            }
        }
        if let Some(doubt) = &mut probe.doubt
            && doubt.next <= now
            && probe.run.is_none()
            && ask.is_none()
        {
            ask = Some(Why::Visit);
        }
        if let Some(why) = ask {
            self.ask_now(member, why, out);
        }
        self.silence(member, pace, out);
        self.reschedule(member);
    }

    /// What the silence of somebody under watch means by now.
    fn silence(&mut self, member: &Member, pace: Duration, out: &mut Vec<Output>) {
        let Some(edge) = self.probes.get(member).and_then(|probe| probe.edge.as_ref()) else { return };
        let (heard, renewed, doubted, fresh) = (edge.heard, edge.renewed, edge.doubted, edge.linked);
        if self.now < self.missed_at(heard, pace, 2) {
            return;
        }
        if !renewed {
            self.renew_links(out);
        }
        let linked = self.contacts.linked(member);
        let silent = self.now >= self.missed_at(heard, pace, self.silent_after());
        let seated = self.view.has(member);
        if !seated {
            // Whoever is held has to answer cleanly for as long as that, not only to keep its link.
            self.flapped(&member.id);
        }
        if let Some(edge) = self.probes.get_mut(member).and_then(|probe| probe.edge.as_mut()) {
            edge.doubted |= seated;
        }
        if seated && !doubted {
            self.doubts(member, out);
        }
        if seated && self.now >= self.broken_at(heard, pace) {
            self.accuse(member, Accusation::Broken, out);
        } else if seated && silent {
            self.accuse(member, Accusation::Silent, out);
        }
        if seated && !linked {
            self.urge_watched(member);
        }
        if silent && linked && self.now >= fresh + self.t.call_end {
            // A link that carries nothing backs off by itself and would delay a heal: dial anew instead.
            out.push(Output::CloseLink { peer: member.clone(), why: "no answer to probes".into() });
            self.link_down(member, out);
        }
    }

    /// When more than half of the neighbours keep silent at once, it is likely this fulcrum whose address is another by
    /// now, and its old links will never carry anything again: they are made anew before anybody is accused. One silent
    /// neighbour is left its link, for it may be asleep and answer over it in a moment.
    fn renew_links(&mut self, out: &mut Vec<Output>) {
        let (mut all, mut silent) = (0, Vec::new());
        for (member, probe) in &self.probes {
            if let Some(edge) = &probe.edge
                && self.view.has(member)
            {
                all += 1;
                if self.now >= self.missed_at(edge.heard, self.period(), 2) {
                    silent.push((member.clone(), edge.renewed));
                }
            }
        }
        if silent.len() < 2 || silent.len() * 2 <= all {
            return;
        }
        for (member, renewed) in silent {
            if renewed || !self.contacts.linked(&member) {
                continue;
            }
            if let Some(edge) = self.probes.get_mut(&member).and_then(|probe| probe.edge.as_mut()) {
                edge.renewed = true;
            }
            let addr = self.contacts.addr(&member);
            out.push(Output::CloseLink { peer: member.clone(), why: "no answer to probes".into() });
            self.link_down(&member, out);
            out.extend(addr.map(Output::Dial));
        }
    }

    /// A probe came to its end without an answer.
    fn unanswered(&mut self, member: &Member, why: Why, out: &mut Vec<Output>) {
        match why {
            // The call itself accuses when it ends.
            Why::Period | Why::Ask | Why::Verify | Why::Call => {}
            Why::Visit => self.doubt(member, out),
            Why::Burst => {
                if self.view.has(member) {
                    self.accuse(member, Accusation::Silent, out);
                }
            }
        }
        if let Some(probe) = self.probes.get_mut(member)
            && why != Why::Period
        {
            probe.asked_by = None;
        }
    }

    /// A visit failed: the pair is probed until it works again or counts as broken.
    fn doubt(&mut self, member: &Member, out: &mut Vec<Output>) {
        if !self.view.has(member) {
            return;
        }
        let size = self.view.roster.len();
        let fails_needed = self.health.fails(size, self.t.audit(size));
        let gap = self.t.doubt.max(self.t.broken_window / fails_needed);
        let now = self.now;
        let Some(probe) = self.probes.get_mut(member) else { return };
        if probe.edge.is_some() {
            return;
        }
        let sent = probe.history[0].sent;
        let doubt = probe.doubt.get_or_insert(Doubt { fails: 0, since: sent, next: now, renewed: false });
        doubt.fails += 1;
        doubt.next = (sent + gap).max(now);
        let broken = doubt.fails >= fails_needed && now.since(doubt.since) >= self.t.broken_window;
        // Also where what it failed by counts on from when it was a neighbour.
        let renews = doubt.fails >= TOLD && !doubt.renewed;
        doubt.renewed |= renews;
        if doubt.fails == TOLD {
            self.doubts(member, out);
        }
        if renews && self.contacts.linked(member) {
            // One of the two may have moved, and then the link will never carry anything again.
            let addr = self.contacts.addr(member);
            out.push(Output::CloseLink { peer: member.clone(), why: "no answer to probes".into() });
            self.link_down(member, out);
            out.extend(addr.map(Output::Dial));
        }
        self.urge_watched(member);
        if broken {
            self.accuse(member, Accusation::Broken, out);
        }
    }

    /// A member that this fulcrum has to prove and has no link to is dialled from here until there is one: its turn among
    /// the addresses that the flock has lost comes once for each member, and nobody else has lost it.
    fn urge_watched(&mut self, member: &Member) {
        let watched = |probe: &Probe| probe.edge.is_some() || probe.doubt.is_some();
        if !self.contacts.linked(member)
            && self.view.has(member)
            && !self.said_goodbye(member)
            && self.probes.get(member).is_some_and(watched)
            && let Some(addr) = self.contacts.addr(member)
        {
            self.discovery.urge(self.now, &member.id, addr);
        }
    }

    /// Visits the next pairs of the sweep.
    fn sweep(&mut self, out: &mut Vec<Output>) {
        let size = self.view.roster.len();
        if self.ring.full() || self.audit.next > self.now {
            return;
        }
        let Some(me) = self.view.roster.index(&self.config.me) else { return };
        let own = visits(size, me).max(1);
        let gap = self.t.audit(size) / u32::try_from(own).unwrap_or(u32::MAX);
        // Who overslept does not catch up in one burst.
        let mut left = 4;
        while self.audit.next <= self.now && left > 0 {
            left -= 1;
            self.audit.next = self.audit.next + gap;
            let distance = self.audit.cursor;
            self.audit.cursor = distance % own + 1;
            let other = (me + distance) % size;
            if !prober(size, me, other) {
                continue;
            }
            let member = self.view.roster[other].member.clone();
            let busy = self.probes.contains_key(&member);
            if busy || self.proven(&member, self.t.audit(size) / 2) {
                continue;
            }
            if !self.contacts.linked(&member) {
                let addr = self.contacts.addr(&member);
                out.extend(addr.map(Output::Dial));
            }
            self.ask_now(&member, Why::Visit, out);
        }
        if self.audit.next <= self.now {
            self.audit.next = self.now + gap;
        }
    }

    pub(super) fn next_probe(&self) -> Time {
        let first = self.schedule.first().map_or(Time::NEVER, |(at, _)| *at);
        let sweep = if self.ring.full() { Time::NEVER } else { self.audit.next };
        self.challenges.values().fold(first.min(sweep), |next, challenge| next.min(challenge.until))
    }

    /// Somebody asks from this view. The answer goes back at once; what it says of this fulcrum's own answers counts here.
    pub(super) fn asked(
        &mut self,
        from: &Member,
        seq: u64,
        view: Option<&ViewId>,
        heard: Option<u64>,
        out: &mut Vec<Output>,
    ) {
        let mine = self.view.id();
        let view = (view != Some(mine)).then(|| mine.clone());
        out.push(Output::Datagram { to: from.clone(), datagram: Datagram::Ack { seq, view } });
        if self.is_silent(from) {
            // It lives after all: whether both ways work again is found out at once and not in the next period.
            self.hasten([from], out);
        }
        let now = self.now;
        let Some(edge) = self.probes.get_mut(from).and_then(|probe| probe.edge.as_mut()) else { return };
        let before = edge.acked;
        if before.is_none_or(|(last, _)| seq > last) {
            edge.acked = Some((seq, before.map(|_| now)));
        }
        let Some(back) = heard.filter(|_| !edge.asks) else { return };
        match before {
            // The answer to that one arrived there, and the next question here: a round trip. Where it was another that was
            // answered last, an old question came late, and what is known says nothing of when that was.
            Some((last, sent)) if back > 0 && seq.checked_sub(back) == Some(last) => {
                edge.heard = now;
                if let Some(sent) = sent {
                    self.works(from, sent, out);
                }
            }
            None => edge.heard = now,
            Some(_) => {}
        }
    }

    /// An answer came: life, and proof that the pair worked when the question left.
    pub(super) fn answered(&mut self, from: &Member, seq: u64, out: &mut Vec<Output>) {
        let Some(probe) = self.probes.get_mut(from) else { return };
        let Some(question) = probe.history.iter_mut().find(|question| question.seq == seq && seq != 0) else { return };
        question.answers += 1;
        let sent = question.sent;
        // As many answers as questions: none was lost, and the first was only slow. A packet comes once, so another answer is
        // one to another question.
        if question.times > 1 && question.answers == question.times {
            self.health.slow();
        }
        if let Some(run) = probe.run.take_if(|run| run.seq == seq) {
            probe.answered = Some(seq);
            if run.resent == 0 {
                self.health.measured(true);
            }
        }
        if let Some(edge) = &mut probe.edge {
            edge.heard = edge.heard.max(sent);
        }
        let asked_by = probe.asked_by.take();
        if let Some(third) = asked_by {
            let datagram = Datagram::Witness { subject: from.clone(), heard: Some(self.now.since(sent)) };
            out.push(Output::Datagram { to: third, datagram });
        }
        self.present(from, sent);
        self.answers_challenge(from, sent, out);
        self.works(from, sent, out);
    }

    /// The pair works: it did at this moment.
    pub(super) fn works(&mut self, from: &Member, sent: Time, out: &mut Vec<Output>) {
        let anew = !self.hears(from);
        self.contacts.prove(from, sent);
        let pace = self.pace(from);
        let enough = self.now < self.missed_at(sent, pace, 2);
        if let Some(probe) = self.probes.get_mut(from) {
            let mut cleared = probe.doubt.take().is_some();
            if let Some(edge) = &mut probe.edge
                && enough
            {
                edge.renewed = false;
                cleared |= core::mem::take(&mut edge.doubted);
            }
            if cleared && self.in_doubt.remove(from) {
                self.tell_leader(from, Accusation::Withdrawn, out);
            }
        }
        self.take_back(from, out);
        if !self.view.has(from) {
            self.stray_works(from, anew, out);
        }
        self.reschedule(from);
        self.verified(from, out);
    }

    /// A third asks whether this fulcrum hears somebody: it says what it knows, or finds out first.
    pub(super) fn asked_for_witness(&mut self, from: &Member, subject: Member, out: &mut Vec<Output>) {
        self.tell_where_it_is(from, &subject, out);
        let fresh = self.proof(&subject).map(|proof| self.now.since(proof)).filter(|age| *age <= self.period() * 2);
        let asks = self.contacts.linked(&subject) && self.view.has(from);
        if fresh.is_some() || !asks {
            let datagram = Datagram::Witness { subject: subject.clone(), heard: fresh };
            out.push(Output::Datagram { to: from.clone(), datagram });
        }
        // A leader is asked so because the subject says that it does not reach it: then it is to find out for itself whether
        // the pair is broken, for that word does not come here, and elsewhere nobody decides.
        let visits = self.leads() && fresh.is_none() && self.view.has(&subject) && self.view.has(from);
        // Who asks because the subject says that the two cannot talk wants to know of this moment.
        if !(asks || visits) || fresh.is_some_and(|age| age <= self.t.batch) {
            return;
        }
        if self.probes.get(&subject).is_none_or(|probe| probe.run.is_none()) {
            self.ask_now(&subject, if visits { Why::Visit } else { Why::Ask }, out);
        }
        let leader = &self.view.leader().member;
        if let Some(probe) = self.probes.get_mut(&subject)
            && probe.asked_by.as_ref().is_none_or(|third| third != leader)
        {
            probe.asked_by = Some(from.clone());
        }
    }

    /// Whether it is a member that this fulcrum has not heard of late.
    fn is_silent(&self, member: &Member) -> bool {
        self.in_doubt.contains(member) || self.accuses(member)
    }

    /// Whether it misses probes.
    pub(super) fn misses_probes(&self, member: &Member) -> bool {
        let Some(probe) = self.probes.get(member) else { return false };
        probe.doubt.is_some() || probe.edge.as_ref().is_some_and(|edge| edge.doubted)
    }

    /// What a member of the view says that it has, if it is not this view.
    pub(super) fn is_elsewhere(&self, member: &Member) -> Option<&ViewId> {
        self.elsewhere.get(member).map(|head| &head.id).filter(|id| *id != self.view.id())
    }

    fn doubts(&mut self, member: &Member, out: &mut Vec<Output>) {
        self.in_doubt.insert(member.clone());
        self.alert_again = self.alert_again.min(self.now + self.t.resend_view);
        self.tell_leader(member, Accusation::Doubted, out);
    }

    /// The doubt or its end, for the leader: who leads grants no completeness over it. Who may have to succeed it hears it
    /// too, for whoever leads next has to know of whom several complain.
    pub(super) fn tell_leader(&self, subject: &Member, accusation: Accusation, out: &mut Vec<Output>) {
        let view = self.view.id().clone();
        for to in self.view.roster.iter().take(1 + SUCCESSORS).map(|seat| &seat.member) {
            if to != subject && *to != self.config.me {
                let message = Message::Alert { view: view.clone(), subject: subject.clone(), accusation };
                out.push(Output::Message { to: to.clone(), message });
            }
        }
    }
}
