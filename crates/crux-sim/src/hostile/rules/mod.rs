//! What must hold for the honest at every step while one of them lies, one rule a file. Source: the design's `promises.md`,
//! D4 and D6, and `trust.md`, "Expulsion".

mod allowed;
mod bounded;
mod durable;
mod genuine;
mod readable;

pub use allowed::Allowed;
pub use bounded::{Bounded, WORDS_MAX};
pub use durable::Durable;
pub use genuine::Genuine;
pub use readable::Readable;

use crate::engines::{Cluster, Life};
use crate::invariants::Whole;
use crux_names::FulcrumId;

/// All of them, where this one lies.
#[must_use]
pub fn rules(liar: &FulcrumId) -> Vec<Box<dyn Whole>> {
    vec![
        Box::new(Allowed::of(liar)),
        Box::new(Genuine::of(liar)),
        Box::new(Bounded(liar.clone())),
        Box::new(Durable::of(liar)),
        Box::new(Readable(liar.clone())),
    ]
}

/// Those that do not lie.
fn honest<'a>(world: &'a Cluster, liar: &'a FulcrumId) -> impl Iterator<Item = &'a Life> {
    world.slots.iter().filter_map(|slot| slot.node.as_ref()).filter(|life| life.member().id != *liar)
}
