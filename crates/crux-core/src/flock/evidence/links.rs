//! Links come and go: what that means for probes, candidates and what is told to whoever is new.

use super::Why;
use crate::flock::Output;
use crate::flock::machine::Flock;
use crate::flock::timers::LARGE;
use alloc::vec::Vec;
use core::net::SocketAddr;
use crux_names::{Member, Time};

impl Flock {
    pub(in crate::flock) fn link_up(&mut self, member: Member, addr: SocketAddr, dialed: bool, out: &mut Vec<Output>) {
        if member.id == self.config.me.id {
            out.push(Output::CloseLink { peer: member, why: "this is the same fulcrum".into() });
            return;
        }
        if !self.admits(&member, addr, out) {
            return;
        }
        // A link from elsewhere than where it is dialled comes of an earlier dial.
        let dialed = dialed && self.contacts.addr(&member).is_none_or(|known| known == addr);
        self.contacts.up(&member, addr);
        self.discovery.found(self.now, &member.id, addr);
        if let Some(edge) = self.probes.get_mut(&member).and_then(|probe| probe.edge.as_mut()) {
            edge.linked = self.now;
        }
        let candidate = self.is_candidate(&member);
        // When two large flocks become one their members meet by the thousand before they hear of the proposal.
        let crowd = self.contacts.strays.len() > LARGE;
        if !candidate {
            out.push(Output::Message { to: member.clone(), message: self.hello_message() });
            if !crowd {
                self.send_hints(&member, out);
            }
        }
        self.consider_stray(&member);
        let asks = self.probes.get(&member).is_some_and(|probe| probe.edge.as_ref().is_some_and(|edge| edge.asks));
        if asks || self.is_silent(&member) || self.probes.get(&member).is_some_and(|probe| probe.run.is_some()) {
            // What ran over the old link is lost; ask over this one.
            let why = self.probes.get(&member).and_then(|probe| probe.run.as_ref()).map_or(Why::Period, |run| run.why);
            self.ask_now(&member, why, out);
        }
        self.candidate_linked(&member, dialed, out);
        self.repeat_change_to(&member, out);
        self.repeat_apart_to(&member, out);
        self.alert_again = Time::ZERO;
    }

    pub(in crate::flock) fn link_down(&mut self, member: &Member, out: &mut Vec<Output>) {
        self.contacts.down(member);
        self.pulls.remove(member);
        self.elsewhere.remove(member);
        self.foreign_gone(member);
        self.cut_off(member);
        if !self.view.has(member) {
            let watched = self.watches(member);
            self.unwatch(member);
            if watched {
                self.replace_stray();
            }
        }
        if self.contacts.linked_life(&member.id).is_none() {
            self.discovery.lost(self.now, &member.id);
        }
        self.urge_watched(member);
        self.take_back_proof(member, out);
    }
}
