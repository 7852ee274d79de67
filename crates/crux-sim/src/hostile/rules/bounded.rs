//! D4: what is kept of one peer's words is at most 8 MiB, whatever it says, and as little for each fulcrum that there is.

use super::honest;
use crate::engines::Cluster;
use crate::invariants::{Idle, Whole};
use crux_names::FulcrumId;

/// The bound, in bytes, with what each member of a small flock adds to it.
pub const WORDS_MAX: usize = 9 << 20;
/// Most rows of one node: `facts/row.rs` has the reason.
const ROWS_MAX: usize = 64;

/// Looks at everybody.
#[derive(Debug)]
pub struct Bounded(pub FulcrumId);

impl Whole for Bounded {
    fn name(&self) -> &'static str {
        "D4 what is kept of one peer is bounded"
    }

    fn check(&mut self, world: &Cluster, _: &Idle) -> Result<(), String> {
        for life in honest(world, &self.0) {
            let kept = life.engine.services_room().kept_of(&self.0.node);
            if kept > WORDS_MAX {
                return Err(format!("{} keeps {kept} bytes of what {} said", life.member(), self.0));
            }
            let rows = life.engine.facts_room().prefix(&format!("row/{}/", self.0.node)).count();
            if rows > ROWS_MAX {
                return Err(format!("{} keeps {rows} rows of {}", life.member(), self.0));
            }
        }
        Ok(())
    }
}
