//! Installing views: those that a proposer sends under a promise, and those that were missed and are pulled; and learning
//! that others have moved on.

use super::Output;
use super::machine::Flock;
use super::message::{Message, ProposalId};
use super::promise::Promise;
use super::timers::LARGE;
use super::view::{EPOCH_FREE, EPOCH_STEP, SharedHead, View, ViewId, followed};
use alloc::vec::Vec;
use core::net::SocketAddr;
use crux_names::Member;

impl Flock {
    /// Somebody offers a view: the proposer of a promise, or a co-member that was asked for it.
    pub(super) fn offered(&mut self, from: &Member, id: Option<&ProposalId>, view: View, out: &mut Vec<Output>) {
        if view.head.header.bloc != self.config.bloc || self.leaving {
            return;
        }
        // Before it is noted what it has: then there is nothing more to ask.
        let asked = id.is_none() && self.pulls.get_mut(from).is_some_and(|pull| core::mem::take(&mut pull.asked));
        if !self.view.has(from) {
            // Whatever becomes of it here, that is the view that a peer of another flock has.
            self.note_head(from, view.head.clone());
        }
        if *view.id() <= *self.view.id() {
            if view.id() == self.view.id() {
                let message = Message::Installed { view: view.id().clone() };
                out.push(Output::Message { to: from.clone(), message });
            }
            return;
        }
        if !view.has(&self.config.me) {
            self.ejected(from, &view, out);
            return;
        }
        // Only the proposer installs, under the promise that was given to it. That promise may have ended by itself, as
        // long as this fulcrum has gone nowhere else since. A co-member's word counts as the answer to a question of this
        // fulcrum's own.
        let welcome = match id {
            Some(id) => {
                let promised = self.promised(view.id()).any(|promise| promise.id == *id && promise.allows(&view));
                promised && id.proposer == *from && *from == view.leader().member && id.epoch == view.id().epoch
            }
            None => {
                // Anybody's word may bring the view that was promised and whose install never came. Any other is the word of
                // its maker alone, over a link of its own, and what it makes of this flock is judged as a proposal is.
                let promised = self.promised(view.id()).any(|promise| promise.allows(&view));
                let made = || self.view.has(from) && *from == view.leader().member && self.consents_to(&view.roster);
                asked && view.has(from) && (promised || made())
            }
        };
        if !welcome {
            if asked && self.view.has(from) {
                self.goes_without(from, out);
            }
            return;
        }
        if !self.believes(view.id().epoch) {
            self.disbelieves(from, view.id().epoch, out);
            return;
        }
        let blocked =
            |standing: &ProposalId| (view.id().epoch, &view.id().leader) < (standing.epoch, &standing.proposer.id);
        if self.promise.as_ref().is_some_and(|promise| blocked(&promise.id))
            || self.proposal.as_ref().is_some_and(|proposal| blocked(&proposal.id))
        {
            return;
        }
        self.abort(out);
        let leader = view.leader().member.clone();
        let id = view.id().clone();
        self.install(view, out);
        out.push(Output::Message { to: leader, message: Message::Installed { view: id } });
    }

    /// Whether this fulcrum promised the proposal that made this view, and has gone nowhere else since.
    pub(super) fn was_promised(&self, view: &ViewId) -> bool {
        self.promised(view).next().is_some()
    }

    /// The promises that such a view may come of: the one that stands, and the last ones that ended without a word of their
    /// proposers, as long as this fulcrum has gone nowhere else since.
    fn promised<'a>(&'a self, view: &'a ViewId) -> impl Iterator<Item = &'a Promise> {
        let late = self.late_promises.iter().filter(|(_, had)| had == self.view.id()).map(|(promise, _)| promise);
        let made = |promise: &&Promise| promise.id.epoch == view.epoch && promise.id.proposer.id == view.leader;
        self.promise.iter().chain(late).filter(made)
    }

    pub(super) fn acknowledged(&mut self, from: Member, view: &ViewId) {
        if *view == *self.view.id() && self.leads() && self.view.has(&from) {
            // The last of them makes it whole, and once: nobody makes the leader grant more often than it wants.
            if self.acks.insert(from) && self.acks.len() == self.view.roster.len() {
                self.grant_next = self.now;
            }
        }
    }

    /// Whether an epoch is near enough to this fulcrum's own to be believed.
    pub(super) fn believes(&self, epoch: u64) -> bool {
        epoch <= followed(self.view.id().epoch)
    }

    /// A promise or a view elsewhere only raises the next epoch.
    pub(super) fn heard_of_epoch(&mut self, epoch: u64) {
        if self.believes(epoch) {
            self.epoch_floor = self.epoch_floor.max(epoch);
        }
    }

    /// How far what was promised and heard raises the next epoch: not as far that the members of this flock, who may have
    /// heard nothing of it, would no longer follow.
    pub(super) fn raised_to(&self) -> u64 {
        self.epoch_floor.min(self.view.id().epoch.max(EPOCH_FREE).saturating_add(EPOCH_STEP / 4))
    }

    pub(super) fn pulled(&mut self, from: &Member, wanted: &ViewId, out: &mut Vec<Output>) {
        let view = self.view.clone();
        if view.id() < wanted {
            return;
        }
        let message = if view.has(from) { Message::Install { id: None, view } } else { Message::Eject { view } };
        out.push(Output::Message { to: from.clone(), message });
    }

    /// A co-member holds a higher view without this fulcrum: it has moved on.
    pub(super) fn ejected(&mut self, from: &Member, view: &View, out: &mut Vec<Output>) {
        if !self.view.has(from) {
            self.hello(from, view.head.clone(), None, out);
            return;
        }
        if *view.id() <= *self.view.id() || view.has(&self.config.me) || !view.has(from) {
            return;
        }
        self.heard_of_epoch(view.id().epoch);
        // The others of that view are asked themselves, at once: whom the ring does not watch may have moved too. Of many
        // each is asked once a period.
        let many = self.view.roster.len() > LARGE;
        let asked = many && self.now < self.looked_for_moved + self.period();
        self.goes_without(from, out);
        if asked {
            return;
        }
        self.looked_for_moved = self.now;
        let others: Vec<Member> = self.view.roster.iter().map(|seat| seat.member.clone()).collect();
        let others = others.iter().filter(|member| **member != self.config.me && !self.moved.contains(*member));
        let others: Vec<Member> = others.cloned().collect();
        self.hasten(&others, out);
    }

    /// This member has a higher view that this fulcrum is not in, or does not follow it to: it will promise nothing here.
    fn goes_without(&mut self, from: &Member, out: &mut Vec<Output>) {
        self.moved.insert(from.clone());
        self.lost_dirty = true;
        let stale = self.proposal.as_ref().is_some_and(|proposal| proposal.candidates.roster().index(from).is_some());
        if stale {
            self.abort(out);
        }
    }

    /// A peer said which view it has.
    pub(super) fn heard_of_view(&mut self, from: &Member, view: ViewId, out: &mut Vec<Output>) {
        let member = self.view.has(from);
        if view == *self.view.id() {
            if self.leads() && member && !self.acks.contains(from) {
                self.acks.insert(from.clone());
            }
            self.elsewhere.remove(from);
            self.behind.remove(from);
            // It was given up for having never caught up, and has caught up.
            if !self.refuses_all(from) {
                self.lost_dirty |= self.moved.remove(from);
            }
            return;
        }
        if member && view < *self.view.id() {
            // It is asked to catch up by whoever leads. If it never does it is somewhere else, and this view's members have
            // to do without it.
            let since = *self.behind.entry(from.clone()).or_insert(self.now);
            if self.now.since(since) >= self.t.propose * 2 {
                self.lost_dirty |= self.moved.insert(from.clone());
            }
        }
        let stray = self.contacts.strays.get(from).filter(|_| !member);
        let news = stray.map(|stray| !stray.alien && stray.head.as_ref().is_none_or(|head| head.id != view));
        // Also of another candidate, which is no stray now, who has the view that was promised: who made it may be out of
        // reach by now.
        let promised = !member && news != Some(false) && self.was_promised(&view);
        let missed = (member || promised) && view > *self.view.id();
        // Candidates of one proposal are about to be told by it.
        let unknown = news == Some(true) && !self.is_candidate(from);
        if !missed && !unknown {
            // What it said before was overtaken by what is known of it by now.
            if let Some(pull) = self.pulls.get_mut(from).filter(|pull| !pull.asked) {
                pull.waits = false;
            }
            return;
        }
        // A view with this fulcrum in it that it missed, or one that left it out, or another flock's whose hello got lost;
        // the answer says which.
        match self.pulls.get(from) {
            Some(pull) if pull.after > self.now => {}
            // But a datagram overtakes a frame: most likely the install, or the hello, is under way.
            None if unknown || self.was_promised(&view) => {
                let after = self.now + self.t.doubt / 2;
                self.pulls.insert(from.clone(), Pull { asked: false, waits: true, since: self.now, after });
            }
            _ => self.pull(from, view, out),
        }
    }

    pub(super) fn hello(
        &mut self,
        from: &Member,
        head: SharedHead,
        best: Option<(SharedHead, SocketAddr)>,
        out: &mut Vec<Output>,
    ) {
        if head.header.bloc != self.config.bloc {
            // The doors let nobody of another bloc in; should one, nothing that it says counts, and it is asked nothing.
            if let Some(stray) = self.contacts.strays.get_mut(from) {
                stray.alien = true;
            }
            self.pulls.remove(from);
            return;
        }
        let id = head.id.clone();
        self.note_head(from, head);
        if let Some((head, addr)) = best {
            self.heard_of_flock(head, addr);
        }
        if self.view.has(from) && id > *self.view.id() {
            self.pull(from, id, out);
        }
    }

    /// What a peer says that it has.
    pub(super) fn note_head(&mut self, from: &Member, head: SharedHead) {
        if self.asking.as_ref().is_some_and(|asking| asking.leader == *from && asking.head.id != head.id) {
            // The flock that was asked is another by now, and has forgotten who asked.
            self.asking = None;
            self.seek_dirty = true;
        }
        if self.view.has(from) {
            if head.id == *self.view.id() {
                self.elsewhere.remove(from);
            } else {
                self.elsewhere.insert(from.clone(), head);
            }
        } else if let Some(stray) = self.contacts.strays.get_mut(from) {
            if let Some(pull) = self.pulls.get_mut(from) {
                (pull.asked, pull.waits) = (false, false);
            }
            if stray.head.as_ref().is_none_or(|known| known.id != head.id) {
                self.seek_dirty = true;
            }
            stray.head = Some(head);
            self.consider_stray(from);
        }
        self.check_rumour();
    }

    /// Asks a peer for the view that it says to have. Only the answer to this may install one without a promise.
    pub(super) fn pull(&mut self, from: &Member, view: ViewId, out: &mut Vec<Output>) {
        if !self.contacts.linked(from) {
            return;
        }
        let since = self.pulls.get(from).filter(|pull| pull.asked).map_or(self.now, |pull| pull.since);
        if self.now.since(since) >= self.t.resend_view {
            // Its datagrams come and its frames do not: what was lost before holds them up. A new link begins without that.
            let addr = self.contacts.addr(from);
            out.push(Output::CloseLink { peer: from.clone(), why: "no answer to a question".into() });
            self.link_down(from, out);
            out.extend(addr.map(Output::Dial));
            return;
        }
        self.pulls.insert(from.clone(), Pull { asked: true, waits: true, since, after: self.now + self.t.doubt / 2 });
        out.push(Output::Message { to: from.clone(), message: Message::Pull { view } });
    }

    /// Whether somebody of another flock is in reach of which it is not known yet which flock that is.
    pub(super) fn stranger_in_reach(&self) -> bool {
        self.pulls.iter().any(|(peer, pull)| {
            pull.waits && self.contacts.strays.contains_key(peer) && self.hears(peer) && !self.view.has(peer)
        })
    }
}

/// A peer was asked for its view, or is about to be.
#[derive(Clone, Debug)]
pub struct Pull {
    /// It has not answered yet.
    pub asked: bool,
    /// What it has is not known yet, asked or not.
    pub waits: bool,
    /// Since when the answer is missing.
    pub since: crux_names::Time,
    /// Not again before this.
    pub after: crux_names::Time,
}
