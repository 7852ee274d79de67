//! The roll-call: when so many are accused that counting observers would be slow, or a successor has no leader, everybody
//! is asked directly. Who has not answered when it ends is accused by the caller itself.
//!
//! It lasts a second. On a host that is too slow for its fulcrums answers take longer than that, so it goes on while answers
//! come, and everybody is asked anew, second by second, as long as there was none at all; three seconds at most. Whoever
//! believed an empty room at once would be alone, and all the others without it, for nothing but a busy second (decision 31).

use super::Output;
use super::alerts::Alert;
use super::evidence::Why;
use super::machine::Flock;
use super::message::Accusation;
use super::ring::SUCCESSORS;
use super::timers::CALL_FROM;
use super::view::ViewId;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use crux_names::{Duration, Member, Time};

/// No second roll is called within this many of its own lengths after it began.
const PAUSE: u32 = 2;
/// Later than its questions, so that these have ended.
const MOMENT: Duration = Duration::from_millis(1);
/// It lasts so many of its lengths at most.
const LONGEST: u32 = 3;

/// A roll-call that runs, or the last one.
#[derive(Clone, Debug)]
pub struct RollCall {
    /// Who was asked and has not answered.
    asked: BTreeSet<Member>,
    /// Who of them was accused already by this fulcrum, and is not waited for.
    accused: BTreeSet<Member>,
    /// When somebody answered last.
    heard: Option<Time>,
    /// When it was asked.
    since: Time,
    /// It ends then, or a moment after the last answer.
    until: Time,
    /// But then at the latest.
    latest: Time,
    stage: Stage,
    /// No other before this.
    again: Time,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Runs,
    /// Everybody has answered or had the time to.
    Over,
    /// Nobody is accused of anything any more: what it would have shown is not asked for.
    Void,
}

impl RollCall {
    fn runs(&self) -> bool {
        self.stage == Stage::Runs
    }

    fn waits_for(&self) -> impl Iterator<Item = &Member> {
        self.asked.difference(&self.accused)
    }

    /// The caller was asleep for so long: nobody had that time to answer.
    pub(super) fn overslept(&mut self, late: Duration) {
        self.until = self.until + late;
        self.latest = self.latest + late;
    }

    /// When it ends if nothing more comes.
    fn end(&self, block: Duration) -> Time {
        self.heard.map_or(self.until, |heard| self.until.max((heard + block).min(self.latest)))
    }
}

impl Flock {
    /// Whether the roll was called in this view and everybody has answered or had the time to.
    pub(super) fn called(&self) -> bool {
        self.call.as_ref().is_some_and(|call| call.stage == Stage::Over)
    }

    /// Whether everybody that a running call waits for has answered or had the time to.
    pub(super) fn call_over(&self) -> bool {
        let block = self.t.block;
        let over = |call: &RollCall| call.runs() && (call.end(block) <= self.now || call.waits_for().next().is_none());
        self.call.as_ref().is_some_and(over)
    }

    pub(super) fn calling(&self) -> bool {
        self.call.as_ref().is_some_and(RollCall::runs)
    }

    /// Nobody senior answers an accuser: see who is there, and act.
    pub(super) fn summon(&mut self, out: &mut Vec<Output>) {
        if !self.ring.full() && !self.alerts.is_empty() {
            self.call_the_roll(out);
        }
    }

    /// A member says that this fulcrum is the first that answers it.
    pub(super) fn summoned(&mut self, from: &Member, view: &ViewId, out: &mut Vec<Output>) {
        if view == self.view.id() && self.view.has(from) {
            self.summon(out);
        }
    }

    /// Calls the roll if so many are accused at once, or the leader is and this fulcrum may have to succeed.
    pub(super) fn consider_roll_call(&mut self, out: &mut Vec<Output>) {
        if self.ring.full() || self.calling() || self.acts_upon_the_call() {
            return;
        }
        let size = self.view.roster.len();
        let me = self.view.roster.index(&self.config.me).unwrap_or(0);
        let leader = &self.view.leader().member;
        // Whom its leader has left behind has to see who else was; the leader too may be one that does not reach it, which
        // nobody watches here, and then it was for that.
        let left_behind = self.moved.contains(leader) || (!self.moved.is_empty() && !self.hears(leader));
        let successor = left_behind || ((1..=SUCCESSORS).contains(&me) && self.accuses(leader));
        let recent = |alert: &Alert| self.now.since(alert.first) <= self.t.stage * 2 && !alert.quiet;
        let many = || {
            let subjects = self.alerts.iter().filter(|(.., alert)| recent(alert)).map(|(subject, ..)| subject);
            subjects.collect::<BTreeSet<_>>().len() >= CALL_FROM.max(size / 10)
        };
        if successor || (self.leads() && many()) {
            self.call_the_roll(out);
        }
    }

    /// What the last call showed is about to be acted upon: another one would begin by forgetting it.
    fn acts_upon_the_call(&self) -> bool {
        self.called() && self.lost_since.is_some_and(|since| self.now <= since + self.t.hold + self.t.batch)
    }

    fn call_the_roll(&mut self, out: &mut Vec<Output>) {
        if self.call.as_ref().is_some_and(|call| call.runs() || call.again > self.now) {
            return;
        }
        let me = self.config.me.clone();
        let asked: Vec<Member> = self
            .view
            .roster
            .iter()
            .map(|seat| seat.member.clone())
            .filter(|member| *member != me && !self.moved.contains(member) && !self.said_goodbye(member))
            .collect();
        for member in &asked {
            self.ask_now(member, Why::Call, out);
        }
        self.call = Some(RollCall {
            accused: asked.iter().filter(|member| self.accuses(member)).cloned().collect(),
            asked: asked.into_iter().collect(),
            heard: None,
            since: self.now,
            until: self.now + self.t.call_end + MOMENT,
            latest: self.now + self.t.call_end * LONGEST + MOMENT,
            stage: Stage::Runs,
            again: self.now + self.t.call_end * PAUSE,
        });
        self.lost_dirty = true;
    }

    /// Somebody answered what it was asked at this moment: the call, or another question that took its place.
    pub(super) fn present(&mut self, member: &Member, asked: Time) {
        if let Some(call) = self.call.as_mut().filter(|call| call.runs() && asked >= call.since)
            && call.asked.remove(member)
        {
            call.heard = Some(self.now);
        }
    }

    /// Ends the call once everybody that nobody accuses has answered, or its time is over.
    pub(super) fn advance_roll_call(&mut self, out: &mut Vec<Output>) {
        let (now, length, block) = (self.now, self.t.call_end, self.t.block);
        let Some(call) = self.call.as_mut().filter(|call| call.runs()) else { return };
        let over = call.waits_for().all(|member| self.alerts.has(member));
        if !over && call.end(block) > now {
            return;
        }
        if !over && call.heard.is_none() && call.until < call.latest {
            call.until = (now + length + MOMENT).min(call.latest);
            for member in call.asked.clone() {
                self.ask_now(&member, Why::Call, out);
            }
            return;
        }
        call.stage = Stage::Over;
        let since = call.since;
        let me = self.config.me.clone();
        for member in core::mem::take(&mut call.asked) {
            if self.contacts.proof(&member).is_some_and(|proof| proof >= since) || !self.view.has(&member) {
                continue;
            }
            if !self.says(&member, &me) {
                let alert = Alert { accusation: Accusation::Silent, first: now, last: now, quiet: true };
                self.alerts.insert(member, me.clone(), alert);
            }
        }
        self.lost_dirty = true;
    }

    /// Nobody is accused any more.
    pub(super) fn drop_roll_call(&mut self) {
        if let Some(call) = self.call.as_mut().filter(|call| call.runs()) {
            call.stage = Stage::Void;
            call.asked.clear();
        }
    }

    pub(super) fn next_roll_call(&self) -> Time {
        self.call.as_ref().filter(|call| call.runs()).map_or(Time::NEVER, |call| call.end(self.t.block))
    }
}
