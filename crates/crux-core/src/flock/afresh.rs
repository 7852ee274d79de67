//! Epochs that nobody follows. They step bounded, so that no liar uses them up; whoever was led too far by one is followed
//! by nobody, and begins anew: another life counts from one.

use super::machine::Flock;
use super::view::followed;
use super::{Alarm, Output};
use alloc::vec::Vec;
use crux_names::{Member, Time};

impl Flock {
    /// A peer wants this fulcrum to follow to an epoch, or to be taken in with one, that no honest one comes to.
    pub(super) fn disbelieves(&mut self, from: &Member, epoch: u64, out: &mut Vec<Output>) {
        if self.now >= self.alarm_next {
            self.alarm_next = self.now + self.t.refuse_from;
            out.push(Output::Alarm { fulcrum: from.id.clone(), why: Alarm::Epoch { epoch } });
        }
    }

    /// Whether this fulcrum's epoch is one to which nobody else in reach follows, and somebody is in reach.
    fn is_shut_out(&self) -> bool {
        let mine = self.view.id().epoch;
        if mine < followed(0) {
            // No flock is so low that it would not follow.
            return false;
        }
        let answer = self.contacts.strays.iter().filter(|(member, stray)| !stray.alien && self.hears(member));
        let mut heads = answer.filter_map(|(_, stray)| stray.head.as_ref()).peekable();
        heads.peek().is_some() && heads.all(|head| mine >= followed(head.id.epoch))
    }

    /// Who has been shut out for long begins anew, and says so again as long as nothing comes of it.
    pub(super) fn consider_starting_over(&mut self, out: &mut Vec<Output>) {
        if self.leaving || !self.is_shut_out() {
            self.shut_out = Time::NEVER;
        } else if self.shut_out == Time::NEVER {
            self.shut_out = self.now + self.t.refuse_from / 2;
        } else if self.shut_out <= self.now {
            self.shut_out = self.now + self.t.refuse_from;
            out.push(Output::StartsOver);
        }
    }
}
