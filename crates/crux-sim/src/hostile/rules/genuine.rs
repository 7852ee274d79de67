//! D4: who lies signs no intent and writes nobody else's row. Every fact that an honest fulcrum keeps is one that an
//! operator signed, or a row that its own node did. An oracle of its own: it knows every statement that anybody made.

use super::honest;
use crate::engines::Cluster;
use crate::invariants::{Idle, Whole};
use crate::signature::check;
use crux_core::facts::version::{Author, Checked};
use crux_names::{FulcrumId, Hash256, Member};
use std::collections::{BTreeMap, BTreeSet};

/// Looks at each fact when it is seen first.
#[derive(Debug)]
pub struct Genuine {
    liar: FulcrumId,
    good: BTreeSet<Hash256>,
    digests: BTreeMap<Member, Hash256>,
}

impl Genuine {
    /// Where this one lies.
    #[must_use]
    pub fn of(liar: &FulcrumId) -> Self {
        Self { liar: liar.clone(), good: BTreeSet::new(), digests: BTreeMap::new() }
    }
}

impl Whole for Genuine {
    fn name(&self) -> &'static str {
        "D4 only what its author signed is kept, and only where that may write"
    }

    fn check(&mut self, world: &Cluster, _: &Idle) -> Result<(), String> {
        for life in honest(world, &self.liar) {
            let facts = life.engine.facts_room();
            let digest = facts.digest();
            if self.digests.insert(life.member().clone(), digest) == Some(digest) {
                continue;
            }
            for version in facts.kept() {
                if self.good.contains(&version.id()) {
                    continue;
                }
                judge(version).map_err(|why| format!("{} keeps {}: {why}", life.member(), version.statement().path))?;
                self.good.insert(version.id());
            }
        }
        Ok(())
    }
}

fn judge(version: &Checked) -> Result<(), String> {
    let statement = version.statement();
    if check(version.sealed()).is_none() {
        return Err(format!("{} did not sign it", statement.author));
    }
    let own = match &statement.author {
        Author::Fulcrum(id) => statement.path == format!("row/{}/{}", id.node, id.fulcrum),
        Author::Operator(name) => name.as_str() == "ops",
    };
    if own { Ok(()) } else { Err(format!("{} may not write it", statement.author)) }
}
