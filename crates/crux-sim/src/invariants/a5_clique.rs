//! A5: at install, every pair of members shared a parent view or had proved a direct round trip for this proposal.
//! Source: the design's `flocking.md`, "Clique".

use super::{Safety, Seen};
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

    fn check(&mut self, now: Time, seen: &[Seen<'_>]) -> Result<(), String> {
        for one in seen {
            for (other, proof) in &one.proofs {
                if let Some(proof) = proof {
                    self.proofs.insert((one.member.clone(), (*other).clone()), *proof);
                }
            }
        }
        for one in seen {
            let id = one.view.id();
            if self.last.insert(one.member.clone(), id.clone()).as_ref() == Some(id) {
                continue;
            }
            let made = self.known.entry(id.clone()).or_insert_with(|| (one.view.clone(), now)).1;
            // Only the install by the proposal itself proves anything new; one that is caught up later relies on the
            // report that its member gave then.
            let parents: Vec<&View> = one
                .view
                .head
                .header
                .parents
                .iter()
                .filter_map(|parent| self.known.get(parent))
                .map(|(view, _)| view)
                .collect();
            for other in one.view.roster.iter().map(|seat| &seat.member) {
                // One of the two proves both ways; its proof is as good as the other's.
                let of = |a: &Member, b: &Member| self.proofs.get(&(a.clone(), b.clone())).copied();
                let proof = of(one.member, other).max(of(other, one.member));
                let shared = parents.iter().any(|parent| parent.has(one.member) && parent.has(other));
                let proved = proof.is_some_and(|proof| made.since(proof) <= FRESH);
                if other != one.member && !shared && !proved {
                    return Err(format!(
                        "{} installed {id:?} with {other}, to which it proved no round trip (last {proof:?})",
                        one.member
                    ));
                }
            }
        }
        Ok(())
    }
}
