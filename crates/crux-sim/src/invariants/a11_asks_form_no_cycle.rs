//! A11: asks form no cycle, so that no flocks wait for each other for ever. Source: the design's `flocking.md`, "Leader":
//! asks only go up in rank.

use super::{Everybody, Safety, Seen};
use crux_core::flock::message::{AskReply, Message};
use crux_core::flock::view::ViewId;
use crux_names::Member;
use std::collections::BTreeMap;

#[derive(Debug)]
struct Ask {
    to: Member,
    /// The asking view, and the one that the asker means. An ask of a flock that is no more waits for nothing: whoever it
    /// was meant for answers, and at the latest when it asks in its turn, both start over.
    between: (ViewId, ViewId),
}

/// Follows who waits for whom.
#[derive(Debug, Default)]
pub struct AsksFormNoCycle(BTreeMap<Member, Ask>);

impl Safety for AsksFormNoCycle {
    fn name(&self) -> &'static str {
        "A11 asks form no cycle"
    }

    fn check(&mut self, seen: &Seen<'_>, all: &dyn Everybody) -> Result<(), String> {
        let me = seen.member;
        if let Some(Message::AskReply { asked, reply }) = seen.told
            && !matches!(reply, AskReply::Accept)
            && self.0.get(me).is_some_and(|ask| Some(&ask.to) == seen.heard && ask.between.0 == *asked)
        {
            self.0.remove(me);
        }
        for (to, message) in seen.said {
            let Message::Ask { view } = message else { continue };
            // An ask that is passed on for somebody else is not this fulcrum's own.
            let (true, Some(meant)) = (view.leader().member == *me, seen.flock.asks()) else { continue };
            let between = (view.id().clone(), meant.clone());
            self.0.insert(me.clone(), Ask { to: to.clone(), between });
            let mut at = me.clone();
            let mut story = vec![at.clone()];
            while let Some(ask) = self.0.get(&at) {
                let stands = |member: &Member, view: &ViewId| all.flock(member).is_some_and(|f| f.view().id() == view);
                if !stands(&at, &ask.between.0) || !stands(&ask.to, &ask.between.1) {
                    break;
                }
                at = ask.to.clone();
                story.push(at.clone());
                if at == *me {
                    return Err(format!("each waits for the next: {story:?}"));
                }
                if story.len() > self.0.len() + 1 {
                    break;
                }
            }
        }
        Ok(())
    }
}
