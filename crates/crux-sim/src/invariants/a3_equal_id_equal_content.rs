//! A3: equal view ids mean equal content. Source: the design's `flocking.md`.

use super::{Everybody, Safety, Seen};
use crux_core::flock::view::{View, ViewId};
use crux_names::Member;
use std::collections::BTreeMap;

/// Two fulcrums that name the same view mean the same roster, leader and name.
#[derive(Debug, Default)]
pub struct EqualIdEqualContent {
    known: BTreeMap<ViewId, View>,
    last: BTreeMap<Member, ViewId>,
}

impl Safety for EqualIdEqualContent {
    fn name(&self) -> &'static str {
        "A3 equal id, equal content"
    }

    fn check(&mut self, seen: &Seen<'_>, _: &dyn Everybody) -> Result<(), String> {
        let view = seen.flock.view();
        if self.last.get(seen.member) == Some(view.id()) {
            return Ok(());
        }
        self.last.insert(seen.member.clone(), view.id().clone());
        let known = self.known.entry(view.id().clone()).or_insert_with(|| view.clone());
        if known == view {
            return Ok(());
        }
        Err(format!("{} has other content under {:?}", seen.member, view.id()))
    }
}
