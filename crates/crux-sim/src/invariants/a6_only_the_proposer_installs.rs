//! A6: only the proposer installs, to members that promised it. A view that was missed may be asked for. Source: the
//! design's `flocking.md`, "One view change".

use super::{Everybody, Safety, Seen};
use crux_core::flock::message::{Answer, Message};
use crux_core::flock::view::ViewId;
use crux_names::Member;
use std::collections::{BTreeMap, BTreeSet};

/// Looks at what is said: promises, and questions for views that were missed.
#[derive(Debug, Default)]
pub struct OnlyTheProposerInstalls {
    last: BTreeMap<Member, ViewId>,
    /// Views that their leaders have installed.
    made: BTreeSet<ViewId>,
    /// (who, to which proposer, for which epoch) of promises given.
    promised: BTreeSet<(Member, Member, u64)>,
    /// Who asked for a view since it installed its last one.
    pulled: BTreeSet<Member>,
}

impl Safety for OnlyTheProposerInstalls {
    fn name(&self) -> &'static str {
        "A6 only the proposer installs"
    }

    fn check(&mut self, seen: &Seen<'_>, all: &dyn Everybody) -> Result<(), String> {
        if self.last.is_empty() {
            // What was made and promised before anybody looked is taken as it stands.
            let views = all.living().into_iter().filter_map(|member| all.flock(member)).map(|flock| flock.view().id());
            self.made.extend(views.cloned());
            self.pulled.extend(all.living().into_iter().cloned());
        }
        let me = seen.member;
        let view = seen.flock.view();
        let known = self.last.insert(me.clone(), view.id().clone());
        let changed = known.as_ref() != Some(view.id());
        let first = known.is_none();
        let result = match known {
            Some(_) if changed && seen.observed => self.judge(seen),
            _ => Ok(()),
        };
        let leader = &view.leader().member;
        if leader == me && changed {
            self.made.insert(view.id().clone());
        }
        if changed && !first {
            self.pulled.remove(me);
            self.promised.retain(|(who, _, epoch)| who != me || *epoch > view.id().epoch);
        }
        for (_, message) in seen.said {
            match message {
                Message::Report { id, answer: Answer::Promised { .. } } => {
                    self.promised.insert((me.clone(), id.proposer.clone(), id.epoch));
                }
                Message::Pull { .. } => {
                    self.pulled.insert(me.clone());
                }
                _ => {}
            }
        }
        result
    }
}

impl OnlyTheProposerInstalls {
    fn judge(&self, seen: &Seen<'_>) -> Result<(), String> {
        let (me, view) = (seen.member, seen.flock.view());
        let leader = &view.leader().member;
        if leader == me {
            return Ok(());
        }
        if !self.made.contains(view.id()) {
            return Err(format!("{me} installed {:?}, which its leader {leader} never made", view.id()));
        }
        let promised = self.promised.contains(&(me.clone(), leader.clone(), view.id().epoch));
        if promised || self.pulled.contains(me) {
            return Ok(());
        }
        Err(format!("{me} installed {:?} of {leader}, to which it had promised nothing", view.id()))
    }
}
