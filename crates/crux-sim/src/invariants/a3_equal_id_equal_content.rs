//! A3: equal view ids mean equal content. Source: the design's `flocking.md`.

use super::{Safety, Seen};
use crate::world::Time;
use crux_core::flock::view::{View, ViewId};
use std::collections::BTreeMap;

/// Two fulcrums that name the same view mean the same roster, leader and name.
#[derive(Debug, Default)]
pub struct EqualIdEqualContent(BTreeMap<ViewId, View>);

impl Safety for EqualIdEqualContent {
    fn name(&self) -> &'static str {
        "A3 equal id, equal content"
    }

    fn check(&mut self, _: Time, seen: &[Seen<'_>]) -> Result<(), String> {
        for one in seen {
            let known = self.0.entry(one.view.id().clone()).or_insert_with(|| one.view.clone());
            if known != one.view {
                return Err(format!("{} has other content under {:?}", one.member, one.view.id()));
            }
        }
        Ok(())
    }
}
