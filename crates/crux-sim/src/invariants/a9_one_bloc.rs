//! A9: no member of another bloc, ever. Source: the design's `flocking.md`, and `promises.md`, I1.

use super::{Everybody, Safety, Seen};

/// All members of a view are of one bloc: that of whoever has installed it.
#[derive(Debug)]
pub struct OneBloc;

impl Safety for OneBloc {
    fn name(&self) -> &'static str {
        "A9 no member of another bloc"
    }

    fn check(&mut self, seen: &Seen<'_>, all: &dyn Everybody) -> Result<(), String> {
        let view = seen.flock.view();
        let bloc = &view.head.header.bloc;
        for seat in &view.roster {
            // The view in which each began, alone, names its own bloc, and no view of it ever names another.
            let other = all.flock(&seat.member).map(|flock| &flock.view().head.header.bloc);
            if other.is_some_and(|other| other != bloc) {
                return Err(format!("{} of {bloc} has {} of another bloc in its view", seen.member, seat.member));
            }
        }
        Ok(())
    }
}
