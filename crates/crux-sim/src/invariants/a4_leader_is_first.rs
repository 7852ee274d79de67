//! A4: the leader is the first of the roster. Source: the design's `flocking.md`. (Visitors, the other half of the rule,
//! do not exist yet.)

use super::{Safety, Seen};
use crate::world::Time;

/// The id's leader, the header's leader and the first of the roster are one.
#[derive(Debug)]
pub struct LeaderIsFirst;

impl Safety for LeaderIsFirst {
    fn name(&self) -> &'static str {
        "A4 leader is first"
    }

    fn check(&mut self, _: Time, seen: &[Seen<'_>]) -> Result<(), String> {
        for one in seen {
            let first = &one.view.roster[0].member.id;
            if *first != one.view.id().leader || *first != one.view.head.header.leader {
                return Err(format!("{}: {first} is first in {:?}", one.member, one.view.id()));
            }
        }
        Ok(())
    }
}
