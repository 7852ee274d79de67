//! A5: at install, every pair of members shared a parent view or had proved a direct round trip for this proposal, and no
//! pair was under a verdict. Source: the design's `flocking.md`, "Clique" and "What must hold".
//!
//! A verdict is what the proposer was told, or says itself: that the pair is broken, for longer than a verdict waits for
//! others, of late and not withdrawn. What the accused end of it, or the proposer if that is the other end, has disproved
//! by a round trip begun since is none.

use super::{Everybody, Safety, Seen};
use crate::world::Time;
use crux_core::flock::message::{Accusation, Datagram, Message};
use crux_core::flock::view::{View, ViewId};
use crux_names::{Duration, Member};
use std::collections::BTreeMap;

/// A proof may be as old as one proposal may take, and one probe period.
const FRESH: Duration = Duration::from_millis(500 + 3000 + 1500);
/// A verdict waits a second for others about the same members, and then for the next look at it.
const STANDS: Duration = Duration::from_millis(1200);
/// An accusation is repeated each second, or is forgotten: with the fastest timers after less than that.
const REPEATED: Duration = Duration::from_millis(700);

/// That a pair is broken, as somebody heard it.
#[derive(Clone, Copy, Debug)]
struct Word {
    first: Time,
    last: Time,
    /// Its other end said that it has made a round trip begun since.
    disproved: bool,
}

/// Nobody meets a stranger in a new view, nor one that it cannot talk to.
#[derive(Debug, Default)]
pub struct Clique {
    last: BTreeMap<Member, ViewId>,
    /// Views and when the first of their members, the proposer, installed them: a late install proves nothing anew.
    known: BTreeMap<ViewId, (View, Time)>,
    /// The last proof that each had of each: it stands in the report even if the pair broke a moment later.
    proofs: BTreeMap<(Member, Member), Time>,
    /// What each was told in its view of which pair, subject first, or says itself.
    broken: BTreeMap<Member, BTreeMap<(Member, Member), Word>>,
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
        let before = self.last.get(me).cloned();
        if before.as_ref() == Some(id) {
            self.listen(seen, all.now(), id);
            return Ok(());
        }
        self.last.insert(me.clone(), id.clone());
        let made = self.known.entry(id.clone()).or_insert_with(|| (view.clone(), all.now())).1;
        let said = self.broken.remove(me).unwrap_or_default();
        if !known {
            return Ok(());
        }
        if view.leader().member == *me {
            under_no_verdict(me, view, &said, all)?;
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

impl Clique {
    /// What is said to this one of pairs of its view, and what it says itself.
    fn listen(&mut self, seen: &Seen<'_>, now: Time, view: &ViewId) {
        let me = seen.member;
        let told = seen.told.zip(seen.heard).map(|(message, from)| (from, message));
        for (from, message) in told.into_iter().chain(seen.said.iter().map(|(_, message)| (me, message))) {
            let Message::Alert { view: of, subject, accusation } = message else { continue };
            if of != view {
                continue;
            }
            let broken = self.broken.entry(me.clone()).or_default();
            let pair = (subject.clone(), from.clone());
            match accusation {
                Accusation::Broken => {
                    let word = broken.entry(pair).or_insert(Word { first: now, last: now, disproved: false });
                    word.last = now;
                }
                Accusation::Doubted => {}
                _ => _ = broken.remove(&pair),
            }
        }
        if let (Some(Datagram::Witness { subject, heard: Some(age) }), Some(from)) = (seen.datagram, seen.heard)
            && let Some(word) = self.broken.get_mut(me).and_then(|said| said.get_mut(&(from.clone(), subject.clone())))
        {
            word.disproved |= now.since(word.first) >= *age;
        }
    }
}

fn under_no_verdict(
    me: &Member,
    view: &View,
    said: &BTreeMap<(Member, Member), Word>,
    all: &dyn Everybody,
) -> Result<(), String> {
    let now = all.now();
    for ((subject, observer), word) in said {
        let stands = now.since(word.first) >= STANDS && now.since(word.last) <= REPEATED && !word.disproved;
        let other = if subject == me { observer } else { subject };
        let over = (subject == me || observer == me) && all.proof(me, other).is_some_and(|proof| proof >= word.first);
        if stands && !over && view.has(subject) && view.has(observer) {
            let since = word.first;
            return Err(format!(
                "{me} installed {:?} with {observer} and {subject}, of whom the one says since {since} that they cannot talk",
                view.id()
            ));
        }
    }
    Ok(())
}
