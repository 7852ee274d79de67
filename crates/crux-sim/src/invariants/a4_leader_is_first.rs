//! A4: the leader is the first of the roster, and a visitor leads nobody but itself. Source: the design's `flocking.md`.

use super::{Everybody, Safety, Seen};

/// The id's leader, the header's leader and the first of the roster are one.
#[derive(Debug)]
pub struct LeaderIsFirst;

impl Safety for LeaderIsFirst {
    fn name(&self) -> &'static str {
        "A4 leader is first"
    }

    fn check(&mut self, seen: &Seen<'_>, _: &dyn Everybody) -> Result<(), String> {
        let view = seen.flock.view();
        if view.roster[0].visitor && view.roster.len() > 1 {
            return Err(format!("{}: a visitor leads {:?}", seen.member, view.roster));
        }
        let first = &view.roster[0].member.id;
        if *first == view.id().leader && *first == view.head.header.leader {
            return Ok(());
        }
        Err(format!("{}: {first} is first in {:?}", seen.member, view.id()))
    }
}
