//! A5: at install, every pair of members shared a parent view or had proved a direct round trip for this proposal.
//! Source: the design's `flocking.md`, "Clique".

use super::{Everybody, Safety, Seen};
use crate::world::Time;
use crux_core::flock::view::{View, ViewId};
use crux_names::{Duration, Member};
use std::collections::BTreeMap;

/// A proof may be as old as one proposal may take, and one probe period.
const FRESH: Duration = Duration::from_millis(500 + 3000 + 1500);

/// Nobody meets a stranger in a new view.
#[derive(Debug, Default)]
pub struct Clique {
    last: BTreeMap<Member, ViewId>,
    /// Views and when the first of their members, the proposer, installed them: a late install proves nothing anew.
    known: BTreeMap<ViewId, (View, Time)>,
    /// The last proof that each had of each: it stands in the report even if the pair broke a moment later.
    proofs: BTreeMap<(Member, Member), Time>,
}

impl Safety for Clique {
    fn name(&self) -> &'static str {
        "A5 installed views are cliques"
    }

    fn check(&mut self, seen: &Seen<'_>, all: &dyn Everybody) -> Result<(), String> {
        let me = seen.member;
        let known = self.last.contains_key(me);
        let others = if known { seen.heard.into_iter().collect() } else { all.living() };
        for other in others {
            if let Some(proof) = all.proof(me, other) {
                self.proofs.insert((me.clone(), other.clone()), proof);
            }
        }
        let view = seen.flock.view();
        let id = view.id();
        if self.last.get(me) == Some(id) {
            return Ok(());
        }
        self.last.insert(me.clone(), id.clone());
        let made = self.known.entry(id.clone()).or_insert_with(|| (view.clone(), all.now())).1;
        if !known {
            return Ok(());
        }
        // Only the install by the proposal itself proves anything new; one that is caught up later relies on the report
        // that its member gave then.
        let parents = view.head.header.parents.iter().filter_map(|parent| self.known.get(parent));
        let parents: Vec<&View> = parents.map(|(view, _)| view).filter(|parent| parent.has(me)).collect();
        for other in view.roster.iter().map(|seat| &seat.member).filter(|other| *other != me) {
            // One of the two proves both ways; its proof is as good as the other's.
            let of = |a: &Member, b: &Member| self.proofs.get(&(a.clone(), b.clone())).copied();
            let proof = of(me, other).max(of(other, me));
            let shared = parents.iter().any(|parent| parent.has(other));
            let proved = proof.is_some_and(|proof| made.since(proof) <= FRESH);
            if !shared && !proved {
                return Err(format!("{me} installed {id:?} with {other}, without a fresh round trip (last {proof:?})"));
            }
        }
        Ok(())
    }
}
