//! D6: whatever somebody says to the honest, they say to each other only what can be read, and run nothing twice. Who repeats
//! a liar's words at a length that nobody reads would be cut off for it.

use super::honest;
use crate::engines::Cluster;
use crate::invariants::{Idle, Whole};
use crux_names::FulcrumId;

/// No machine of the honest saw what must never be.
#[derive(Debug)]
pub struct Readable(pub FulcrumId);

impl Whole for Readable {
    fn name(&self) -> &'static str {
        "D6 what the honest say can be read"
    }

    fn check(&mut self, world: &Cluster, _: &Idle) -> Result<(), String> {
        for life in honest(world, &self.0) {
            if let Some(wrong) = life.machine.wrong.first() {
                return Err(format!("{}: {wrong}", life.member()));
            }
        }
        Ok(())
    }
}
