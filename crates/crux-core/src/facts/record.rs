//! One fact with all that is known of its versions, and how two such states become one.
//!
//! Let *S* be all versions of a path that ever came and *K* all ids that some version in *S* names as an ancestor. The
//! *heads* are *S* without *K*: what nobody replaced. Both are unions, so any order, any grouping and any repetition of
//! the same versions gives the same heads (tests/facts_merge.rs says so for random histories).
//!
//! Of several heads one is in force and the others are listed: a deletion before any value, as removals always win, and of
//! two alike the later stamp, then the higher hash. Whoever wants the edit that lost writes it again, naming both.
//!
//! Replaced versions are not kept, but *K* must be, else a late copy of one would come back as a conflict; and a peer
//! that lacks a part of *K* must be shown by something signed, not told. So a replaced version stays as *evidence* while
//! it is the only one that names some id: about one in 32 edits, since each names the last 32. At most
//! [`EVIDENCE_MAX`] are kept per path, the latest: what was replaced some thousand edits ago and comes back only then is
//! shown as a conflict, never taken in silence. Of what a node signs of itself less is kept ([`ROW_EVIDENCE_BYTES`]): it
//! can name ids that never were, so that all of it would stay; and its fulcrum settles a conflict by itself.

use super::value::HORIZON;
use super::version::{Author, Checked, Stamp, ancestors_of};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::cmp::Reverse;
use crux_names::Hash256;

/// How many replaced versions a path keeps as evidence.
pub const EVIDENCE_MAX: usize = 32;
/// How many bytes, sealed, of what a node signed of itself a path keeps as evidence: ten rows of the usual size.
pub const ROW_EVIDENCE_BYTES: usize = 32 << 10;

/// The versions of one path.
#[derive(Clone, Debug, Default)]
pub(super) struct Record {
    /// What nobody replaced, the winner first. Never empty once something was merged.
    heads: Vec<Checked>,
    evidence: Vec<Checked>,
    /// *K*: every id that a kept version names.
    covered: BTreeSet<Hash256>,
}

/// What a merge did.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    /// The version is kept now and was not before.
    pub kept: bool,
    /// Heads came or went.
    pub heads_changed: bool,
    /// Versions that are kept no longer.
    pub dropped: Vec<Hash256>,
}

impl Record {
    /// Merges a version of a fact that only ever tightens: of any two the one that ranks higher is kept, and the other is as
    /// if it had never come, whichever knew of whichever. So nothing that comes back from long ago loosens anything.
    pub(super) fn tighten(&mut self, version: Checked, rank: impl Fn(&Checked) -> u32) -> Outcome {
        let order = |one: &Checked| (rank(one), one.statement().stamp, one.id());
        if self.heads.first().is_some_and(|head| order(head) >= order(&version)) {
            return Outcome::default();
        }
        let dropped = core::mem::replace(&mut self.heads, alloc::vec![version]);
        Outcome { kept: true, heads_changed: true, dropped: dropped.iter().map(Checked::id).collect() }
    }

    pub(super) fn merge(&mut self, version: Checked) -> Outcome {
        let id = version.id();
        let late = self.covered.contains(&id);
        let news = version.statement().ancestors.iter().any(|ancestor| !self.covered.contains(ancestor));
        if self.kept().any(|kept| kept.id() == id) || (late && !news) {
            return Outcome::default();
        }
        let ancestors = &version.statement().ancestors;
        let replaced: Vec<Checked> = self.heads.extract_if(.., |head| ancestors.contains(&head.id())).collect();
        let heads_changed = !late || !replaced.is_empty();
        self.evidence.extend(replaced);
        self.covered.extend(ancestors);
        if late {
            self.evidence.push(version);
        } else {
            // Nearly all facts have one head: room for three more would be the half of what a fact costs.
            self.heads.reserve_exact(1);
            self.heads.push(version);
            self.heads.sort_by_key(|head| Reverse(rank(head)));
        }
        let dropped = self.trim();
        Outcome { kept: !dropped.contains(&id), heads_changed, dropped }
    }

    /// Drops evidence that says nothing that the rest does not say, oldest first, and then what is too much.
    fn trim(&mut self) -> Vec<Hash256> {
        self.evidence.sort_by_key(|version| (version.statement().stamp, version.id()));
        let mut named: BTreeMap<Hash256, u32> = BTreeMap::new();
        for version in self.kept() {
            for ancestor in distinct(version) {
                *named.entry(ancestor).or_default() += 1;
            }
        }
        let mut dropped = Vec::new();
        self.evidence.retain(|version| {
            let needed =
                !named.contains_key(&version.id()) || distinct(version).iter().any(|ancestor| named[ancestor] < 2);
            if !needed {
                for ancestor in distinct(version) {
                    *named.entry(ancestor).or_default() -= 1;
                }
                dropped.push(version.id());
            }
            needed
        });
        let (mut versions, mut bytes) = (0, 0);
        let before = dropped.len();
        // The latest first.
        let excess = |version: &Checked| {
            versions += 1;
            let by_node = matches!(version.statement().author, Author::Fulcrum(_));
            bytes += if by_node { version.size() } else { 0 };
            versions > EVIDENCE_MAX || by_node && bytes > ROW_EVIDENCE_BYTES
        };
        let excess: Vec<bool> = self.evidence.iter().rev().map(excess).collect();
        let mut excess = excess.into_iter().rev();
        dropped.extend(self.evidence.extract_if(.., |_| excess.next() == Some(true)).map(|version| version.id()));
        if dropped.len() > before {
            self.covered = self.kept().flat_map(|version| version.statement().ancestors.iter().copied()).collect();
        }
        dropped
    }

    /// The version in force.
    pub(super) fn winner(&self) -> Option<&Checked> {
        self.heads.first()
    }

    pub(super) fn heads(&self) -> &[Checked] {
        &self.heads
    }

    /// Heads that lost against the winner and say something else.
    pub(super) fn losers(&self) -> impl Iterator<Item = &Checked> {
        let won = self.winner().map(|winner| &winner.statement().value);
        self.heads.iter().skip(1).filter(move |head| Some(&head.statement().value) != won)
    }

    /// Everything that is kept: heads, then evidence.
    pub(super) fn kept(&self) -> impl Iterator<Item = &Checked> {
        self.heads.iter().chain(&self.evidence)
    }

    /// The same, for good.
    pub(super) fn into_kept(self) -> impl Iterator<Item = Checked> {
        self.heads.into_iter().chain(self.evidence)
    }

    pub(super) fn covered(&self) -> &BTreeSet<Hash256> {
        &self.covered
    }

    /// What a next write should name. With `all`, it replaces every head and so settles a conflict; without, the one in
    /// force and those that say the same, and losers stay listed.
    pub(super) fn ancestors(&self, all: bool) -> Vec<Hash256> {
        let won = self.winner().map(|winner| &winner.statement().value);
        let named = self.heads.iter().filter(|head| all || Some(&head.statement().value) == won);
        let heads: Vec<_> = named.map(|head| (head.id(), head.statement().ancestors.clone())).collect();
        ancestors_of(&heads)
    }
}

/// What is in force of versions that do not know each other: the highest. To take the horizon away would bring things back,
/// so there a deletion is no more than any other.
fn rank(version: &Checked) -> (bool, Stamp, Hash256) {
    let statement = version.statement();
    (statement.value.is_none() && statement.path != HORIZON, statement.stamp, version.id())
}

fn distinct(version: &Checked) -> BTreeSet<Hash256> {
    version.statement().ancestors.iter().copied().collect()
}
