//! Asking a better flock to be taken in. A bloc always tries to be one flock. Whom to dial is `discovery`'s affair.
//!
//! Asks only go up in rank, which is frozen in the headers, so that no two flocks wait for each other.

use super::Output;
use super::apart::Refusal;
use super::clique::WITNESSES;
use super::evidence::Why;
use super::machine::Flock;
use super::message::{AskReply, Message};
use super::timers::LARGE;
use super::vain::BUSY_AT_LEAST;
use super::view::{SharedHead, View, ViewId, followed};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::SocketAddr;
use crux_names::{Duration, FulcrumId, Member, NodeName, Time};

/// Addresses that a peer is told of at once, at most.
const HINTS: usize = 64;
/// The same when there are many: the best flock's header leads there too.
const FEW_HINTS: usize = 8;
/// Names and pairs that are kept of what peers tell, at most.
pub(super) const KEPT: usize = 4096;
/// How long a flock that is only known by hearsay is believed to be there.
const HEARSAY: Duration = Duration::from_secs(5);

/// The flock that this one asked.
#[derive(Clone, Debug)]
pub struct Asking {
    pub head: SharedHead,
    pub leader: Member,
    pub at: Time,
    pub accepted: bool,
}

/// The best flock that this fulcrum heard of, directly or not.
#[derive(Clone, Debug)]
pub struct Rumour {
    pub head: SharedHead,
    pub leader_at: SocketAddr,
    pub until: Time,
}

impl Flock {
    /// The view of the flock that this one has asked to be taken in, while it waits for it.
    #[must_use]
    pub fn asks(&self) -> Option<&ViewId> {
        self.asking.as_ref().map(|asking| &asking.head.id)
    }

    /// What a peer is told first, and again whenever it changes.
    pub(super) fn hello_message(&self) -> Message {
        let mine = &self.view.head;
        let leader = &self.view.leader().member;
        let rumour = self.rumour.as_ref().filter(|rumour| {
            rumour.until > self.now && rumour.head.header.rank > mine.header.rank && rumour.head.id != mine.id
        });
        let best = match rumour {
            Some(rumour) => Some((rumour.head.clone(), rumour.leader_at)),
            None if *leader == self.config.me => None,
            None => self.contacts.addr(leader).map(|addr| (mine.clone(), addr)),
        };
        Message::Hello { head: mine.clone(), best }
    }

    /// Somebody knows of a flock: if it is better than all that is known here, it is news for others, and its leader is
    /// dialled by the one who would ask it.
    pub(super) fn heard_of_flock(&mut self, head: SharedHead, leader_at: SocketAddr) {
        let mine = &self.view.head.header;
        if head.header.bloc != self.config.bloc
            || head.id == self.view.head.id
            || head.header.rank <= mine.rank
            || self.doubts_flocks_of(&head.header.leader.node)
            || self.is_past(&head)
        {
            return;
        }
        let known = self.rumour.as_ref().filter(|rumour| rumour.until > self.now);
        if known.is_some_and(|known| known.head.header.rank > head.header.rank) {
            return;
        }
        let news = known.is_none_or(|known| known.head.id != head.id);
        let linked = self.contacts.linked_life(&head.header.leader).is_some();
        if self.leads() && !linked && news {
            self.discovery.soon(&head.header.leader, leader_at);
        }
        self.rumour = Some(Rumour { head, leader_at, until: self.now + HEARSAY });
        if news {
            self.rumour_news = true;
        }
    }

    /// Whether a flock that is told of is one of the past: its leader itself is known to have been in another one since. A word
    /// that stood in a slow path for long would otherwise be passed on, and waited for by everybody.
    fn is_past(&self, head: &SharedHead) -> bool {
        let leader = &head.header.leader;
        let now_in = match self.view.seat(leader) {
            Some(seat) => self.elsewhere.get(&seat.member).unwrap_or(&self.view.head),
            None => {
                let stray = self.contacts.linked_life(leader).and_then(|life| self.contacts.strays.get(&life));
                let Some(head) = stray.and_then(|stray| stray.head.as_ref()) else { return false };
                head
            }
        };
        now_in.id.epoch >= head.id.epoch && now_in.id != head.id
    }

    /// Somebody said which flock it is in: if it is not the one that it was said to lead, nobody waits for that one.
    pub(super) fn check_rumour(&mut self) {
        if self.rumour.as_ref().is_some_and(|rumour| self.is_past(&rumour.head)) {
            self.rumour = None;
            self.seek_dirty = true;
        }
    }

    /// Passes on what is new about the best flock: to strays, and a member tells its leader.
    fn spread_rumour(&mut self, out: &mut Vec<Output>) {
        if !self.rumour_news || self.rumour_next > self.now {
            return;
        }
        self.rumour_news = false;
        self.rumour_next = self.now + self.t.batch / 2;
        let message = self.hello_message();
        for to in self.contacts.strays.keys() {
            out.push(Output::Message { to: to.clone(), message: message.clone() });
        }
        let leader = &self.view.leader().member;
        if *leader != self.config.me {
            out.push(Output::Message { to: leader.clone(), message });
        }
    }

    pub(super) fn send_hints(&self, to: &Member, out: &mut Vec<Output>) {
        let few = self.view.roster.len() + self.contacts.strays.len() > LARGE;
        let most = if few { FEW_HINTS } else { HINTS };
        let others = self.contacts.all_linked().filter(|member| *member != to);
        let seats: Vec<_> = others
            .filter_map(|member| self.contacts.addr(member).map(|addr| (member.id.clone(), addr)))
            .take(most)
            .collect();
        if !seats.is_empty() {
            out.push(Output::Message { to: to.clone(), message: Message::Hints { seats } });
        }
    }

    pub(super) fn hints(&mut self, from: &Member, seats: Vec<(FulcrumId, SocketAddr)>, out: &mut Vec<Output>) {
        for (fulcrum, addr) in seats.into_iter().take(HINTS) {
            if fulcrum == self.config.me.id {
                continue;
            }
            match self.contacts.linked_life(&fulcrum) {
                Some(life) if !self.may_have_moved(&life, addr, out) => {}
                _ => self.discovery.told(self.now, &from.id.node, &fulcrum, addr),
            }
        }
    }

    /// An accused member is said to have another address. The link to it may be one to the old address, and then nothing
    /// comes over it: it is asked, and once that was in vain the link is given up.
    fn may_have_moved(&mut self, life: &Member, addr: SocketAddr, out: &mut Vec<Output>) -> bool {
        if self.contacts.addr(life) == Some(addr) || !self.alerts.has(life) || self.proven(life, self.t.burst_end) {
            return false;
        }
        if !self.accuses(life) {
            if !self.bursts(life) {
                self.ask_now(life, Why::Burst, out);
            }
            return false;
        }
        out.push(Output::CloseLink { peer: life.clone(), why: "it does not answer and has another address".into() });
        self.link_down(life, out);
        true
    }

    /// A link to a stray ended.
    pub(super) fn foreign_gone(&mut self, member: &Member) {
        self.seek_dirty = true;
        self.flapped(&member.id);
    }

    /// Views of linked fulcrums that are not members here, each once.
    pub(super) fn foreign_heads(&self) -> BTreeMap<ViewId, SharedHead> {
        let heads = self.contacts.strays.values().filter_map(|stray| stray.head.as_ref());
        heads.filter(|head| head.id != *self.view.id()).map(|head| (head.id.clone(), head.clone())).collect()
    }

    /// The flock that a linked fulcrum says it is in, where that is another one than this fulcrum's.
    #[must_use]
    pub fn flock_of(&self, id: &FulcrumId) -> Option<&SharedHead> {
        let life = self.contacts.linked_life(id)?;
        let head = self.contacts.strays.get(&life)?.head.as_ref()?;
        (head.id != *self.view.id()).then_some(head)
    }

    /// Whether there is a link to this life.
    #[must_use]
    pub fn linked_with(&self, member: &Member) -> bool {
        self.contacts.linked(member)
    }

    /// The linked fulcrum of another flock at this address.
    #[must_use]
    pub fn stray_at(&self, addr: SocketAddr) -> Option<&Member> {
        self.contacts.strays.iter().find(|(_, stray)| stray.addr == addr).map(|(member, _)| member)
    }

    /// Leaders of foreign flocks that answer this fulcrum directly, with the flock that each leads.
    pub(super) fn foreign_leaders(&self) -> Vec<(&Member, &SharedHead)> {
        let leads = self.contacts.strays.iter().filter_map(|(member, stray)| {
            stray.head.as_ref().filter(|head| head.header.leader == member.id).map(|head| (member, head))
        });
        leads.filter(|(member, _)| self.hears(member)).collect()
    }

    pub(super) fn ask(&mut self, from: Member, view: View, out: &mut Vec<Output>) {
        let asked = view.id().clone();
        if view.head.header.bloc != self.config.bloc
            || view.leader().member != from
            || self.leaving
            || asked == *self.view.id()
        {
            return;
        }
        if self.asking.as_ref().is_some_and(|asking| asking.leader == from) {
            // The flock that was asked asks in its turn: it is another by now, and has forgotten who asked.
            self.asking = None;
            self.seek_dirty = true;
        }
        let reply = if !self.leads() {
            AskReply::Redirect(self.view.head.clone())
        } else if let Some(asking) = self.asking.as_ref().filter(|one| !self.doubts_flocks_of(&one.leader.id.node)) {
            AskReply::Redirect(asking.head.clone())
        } else if !self.may_take_in(&view) {
            if view.id().epoch >= followed(self.view.id().epoch) {
                self.disbelieves(&from, view.id().epoch, out);
            }
            AskReply::Busy(self.t.settle)
        } else if let Some(wait) = self.flock_held(&view) {
            self.note_hold(from.id.clone(), asked.clone(), wait);
            self.tell_apart(&from.id, out);
            AskReply::Held(wait)
        } else if self.proposal.is_some() || self.promise.is_some() {
            AskReply::Busy(self.t.batch * 3)
        } else {
            // What was asked of a flock that never keeps its word keeps nobody waiting.
            self.asking = None;
            self.take_in(view);
            AskReply::Accept
        };
        out.push(Output::Message { to: from, message: Message::AskReply { asked, reply } });
    }

    /// Asks only go up in rank, so that no two flocks wait for each other; and a visitor takes nobody in.
    pub(super) fn may_take_in(&self, view: &View) -> bool {
        // What would come of it is one more, and the members of this flock have to follow there.
        let near = view.id().epoch < followed(self.view.id().epoch);
        view.head.header.rank <= self.view.head.header.rank && !self.config.visitor && near
    }

    /// The next proposal will name this flock.
    pub(super) fn take_in(&mut self, view: View) {
        self.askers.retain(|id, _| id.leader != view.id().leader);
        self.askers.insert(view.id().clone(), view);
        let first = self.ask_window.map_or(self.now, |(first, _)| first);
        self.ask_window = Some((first, self.now));
    }

    pub(super) fn ask_reply(&mut self, from: &Member, asked: &ViewId, reply: AskReply, out: &mut Vec<Output>) {
        if *asked != *self.view.id() {
            return;
        }
        let Some(asking) = self.asking.as_mut().filter(|asking| asking.leader == *from) else {
            // Who refused has heard a late answer.
            if matches!(reply, AskReply::Busy(_)) {
                self.hasten_ask(&from.id, out);
            }
            return;
        };
        self.seek_dirty = true;
        let head = asking.head.clone();
        let leader = head.header.leader.clone();
        match reply {
            AskReply::Accept => {
                asking.accepted = true;
                asking.at = self.now;
                return;
            }
            AskReply::Busy(wait) => {
                let doubted = self.doubts_flocks_of(&leader.node);
                let least = if doubted { self.t.settle } else { self.t.batch * BUSY_AT_LEAST };
                self.ask_again_after(wait.clamp(least, self.t.ask_wait));
                self.asked_in_vain(&leader, true, out);
            }
            AskReply::Redirect(head) => {
                // The better one need not settle anew: somebody has already settled on it.
                self.best = Some((head.id.clone(), self.now + self.t.batch - self.t.settle));
                self.asked_in_vain(&leader, false, out);
            }
            AskReply::Held(wait) => {
                self.note_hold(leader.clone(), head.id.clone(), wait.max(self.t.settle));
                self.tell_apart(&leader, out);
            }
            AskReply::Refuse { pairs, retry } => {
                let pairs = self.between_the_two(pairs);
                if pairs.is_empty() || self.outdated(&pairs) {
                    self.ask_again_after(self.t.settle);
                    self.asked_in_vain(&leader, false, out);
                } else {
                    let times = self.standing(&leader).map_or(0, |refusal| refusal.times + 1);
                    let between = (self.view.id().clone(), head.id.clone());
                    let until = self.now + retry.clamp(self.t.settle, self.t.refuse_to);
                    let refusal = Refusal { times, ..Refusal::new(until, pairs, between) };
                    self.keep_refusal(leader.clone(), refusal);
                    self.tell_apart(&leader, out);
                }
            }
        }
        self.asking = None;
    }

    /// Of the pairs that are said to keep another flock apart those that can: one of each flock.
    fn between_the_two(&self, pairs: Vec<(Member, Member)>) -> Vec<(Member, Member)> {
        let can = |(theirs, ours): &(Member, Member)| self.view.has(ours) && self.view.seat(&theirs.id).is_none();
        pairs.into_iter().filter(can).take(WITNESSES).collect()
    }

    /// The best flock keeps its place and is asked again after this.
    fn ask_again_after(&mut self, wait: Duration) {
        let ready = self.now + wait;
        let settle = self.settle();
        if let Some((_, since)) = &mut self.best {
            *since = ready - settle;
        }
    }

    /// A header must have been the best for this long before its flock is asked.
    fn settle(&self) -> Duration {
        if self.discovery.known() > LARGE { self.t.settle * 2 } else { self.t.settle }
    }

    /// Dials, asks, and closes the window for askers.
    pub(super) fn seek(&mut self, out: &mut Vec<Output>) {
        if self.leaving {
            return;
        }
        self.discovery.crowd(self.contacts.strays.len() > LARGE);
        if self.discovery.deadline() <= self.now {
            let mut dials = Vec::new();
            self.discovery.poll(self.now, &mut dials);
            out.extend(dials.into_iter().map(Output::Dial));
        }
        self.spread_rumour(out);
        if !self.leads() || self.proposal.is_some() || self.promise.is_some() {
            return;
        }
        self.take_in_without_leaders();
        self.close_ask_window(out);
        // Many strays are looked over when something about them changed, and not at every word.
        let many = self.contacts.strays.len() > LARGE;
        if self.seek_dirty || self.seek_at <= self.now {
            if many && self.seek_again > self.now {
                // Not before that, or it would be woken at once for ever.
                self.seek_at = self.seek_at.max(self.seek_again);
                return;
            }
            self.seek_again = self.now + self.t.batch / 5;
            self.seek_dirty = false;
            self.record_unheard(out);
            self.ask_the_best(out);
            self.seek_at = self.next_ask();
        }
    }

    fn close_ask_window(&mut self, out: &mut Vec<Output>) {
        let Some((first, last)) = self.ask_window else { return };
        let size = self.view.roster.len() + self.askers.values().map(|view| view.roster.len()).sum::<usize>();
        let whole = self.config.expect.is_some_and(|expect| size >= expect as usize);
        let over = whole || self.now >= last + self.t.ask_quiet || self.now >= first + self.t.ask_max;
        if over && self.propose_after <= self.now {
            self.propose_merge(out);
        }
    }

    fn ask_the_best(&mut self, out: &mut Vec<Output>) {
        if let Some(asking) = &self.asking {
            let wait = if asking.accepted { self.t.ask_wait } else { self.t.resend_view };
            if asking.at + wait > self.now {
                return;
            }
            let leader = asking.leader.id.clone();
            self.asking = None;
            self.best = None;
            self.asked_in_vain(&leader, false, out);
        }
        self.end_mended_pauses();
        self.wait_for_the_lower(out);
        let Some((leader, head)) = self.whom_to_ask(out) else {
            self.best = None;
            return;
        };
        if self.doubts_flocks_of(&leader.id.node) && !self.askers.is_empty() {
            // Those who do ask are not sent on to it.
            return;
        }
        if self.best.as_ref().is_none_or(|(id, _)| *id != head.id) {
            self.best = Some((head.id.clone(), self.now));
        }
        if let Some(addr) = self.contacts.addr(&leader) {
            self.heard_of_flock(head.clone(), addr);
        }
        // A better one that is only known by hearsay is waited for: its leader is being dialled. Not the one that an earlier
        // life of this fulcrum led.
        let better = self.rumour.as_ref().is_some_and(|rumour| {
            rumour.until > self.now
                && rumour.head.header.leader != self.config.me.id
                && rumour.head.header.rank > head.header.rank
                && self.standing(&rumour.head.header.leader).is_none()
                && !self.doubts_flocks_of(&rumour.head.header.leader.node)
        });
        let since = self.best.as_ref().map_or(self.now, |(_, since)| *since);
        let known: usize =
            self.view.roster.len() + self.foreign_heads().values().map(|head| head.header.size as usize).sum::<usize>();
        let whole = self.config.expect.is_some_and(|expect| known >= expect as usize) && since <= self.now;
        // But not for ever, for it may be a lie.
        let patience = self.settle() * if better { 4 } else { 1 };
        if !whole && self.now < since + patience {
            return;
        }
        // Whoever asked here is sent on: this flock will not lead.
        for asked in core::mem::take(&mut self.askers).into_keys() {
            if let Some(to) = self.contacts.linked_life(&asked.leader) {
                let reply = AskReply::Redirect(head.clone());
                out.push(Output::Message { to, message: Message::AskReply { asked, reply } });
            }
        }
        self.ask_window = None;
        out.push(Output::Message { to: leader.clone(), message: Message::Ask { view: self.view.clone() } });
        self.asking = Some(Asking { head, leader, at: self.now, accepted: false });
        self.withdraw_grants(out);
    }

    /// The best of the flocks that may be asked: those whose leaders never kept their word come after all others.
    fn whom_to_ask(&mut self, out: &mut Vec<Output>) -> Option<(Member, SharedHead)> {
        loop {
            let mine = &self.view.head.header.rank;
            let leaders = self.foreign_leaders();
            let open = leaders
                .iter()
                .filter(|(member, head)| head.header.rank > *mine && self.left_alone(&member.id.node).is_none())
                .filter(|(member, _)| self.standing(&member.id).is_none_or(|refusal| refusal.until <= self.now))
                .map(|(member, head)| (!self.doubts_flocks_of(&member.id.node), *head, *member));
            let best =
                open.clone().max_by(|(a, one, _), (b, two, _)| (a, &one.header.rank).cmp(&(b, &two.header.rank)));
            let (_, head, leader) = best?;
            let (leader, head) = (leader.clone(), head.clone());
            let outdone = open.map(|(_, _, other)| &other.id.node).filter(|node| self.vain.contains_key(*node));
            let outdone: Vec<NodeName> = outdone.filter(|node| **node != leader.id.node).cloned().collect();
            self.not_waited_for(&outdone);
            if !self.waited_in_vain(&leader.id.node, 1) {
                return Some((leader, head));
            }
            self.leave_alone(&leader.id, out);
        }
    }

    /// When asking may have something new to do, should nothing else happen.
    fn next_ask(&self) -> Time {
        // A look each round costs little and lets nothing be missed for long.
        let idle = self.contacts.strays.is_empty() && self.unheard.is_empty();
        let mut next = if idle { Time::NEVER } else { self.now + self.t.disc };
        if let Some(asking) = &self.asking {
            let wait = if asking.accepted { self.t.ask_wait } else { self.t.resend_view };
            next = next.min(asking.at + wait);
        } else if let Some((_, since)) = &self.best {
            let settled = *since + self.settle();
            next = next.min(if settled > self.now { settled } else { self.now + self.t.batch });
        }
        for refusal in self.refusals.values() {
            if refusal.until > self.now {
                next = next.min(refusal.until);
            }
        }
        next.min(self.next_after_vain())
    }

    pub(super) fn next_seek(&self) -> Time {
        if self.leaving {
            return Time::NEVER;
        }
        let mut next = self.discovery.deadline();
        if self.rumour_news {
            next = next.min(self.rumour_next);
        }
        if self.leads() && self.proposal.is_none() && self.promise.is_none() {
            if let Some((first, last)) = self.ask_window {
                let over = (last + self.t.ask_quiet).min(first + self.t.ask_max);
                next = next.min(over.max(self.propose_after));
            }
            next = next.min(if self.seek_dirty { self.seek_again } else { self.seek_at });
        }
        next
    }
}
