//! When fulcrums were last in touch. Their names are only claimed, so of one node only so many are kept.

use crate::flock::discovery::{BOOK, PER_NODE};
use alloc::collections::BTreeMap;
use crux_names::{FulcrumId, Wall};

/// Of each fulcrum the last time.
#[derive(Clone, Debug)]
pub(super) struct Seen(BTreeMap<FulcrumId, Wall>);

impl Seen {
    /// What an earlier life knew.
    pub const fn new(known: BTreeMap<FulcrumId, Wall>) -> Self {
        Self(known)
    }

    /// It is in touch now.
    pub fn note(&mut self, fulcrum: &FulcrumId, wall: Wall) {
        if let Some(seen) = self.0.get_mut(fulcrum) {
            *seen = wall;
            return;
        }
        let same = |(other, _): &(&FulcrumId, &Wall)| other.node == fulcrum.node;
        let before = self.0.range(..fulcrum).rev().take_while(same);
        let siblings: BTreeMap<&FulcrumId, &Wall> = before.chain(self.0.range(fulcrum..).take_while(same)).collect();
        if siblings.len() >= PER_NODE {
            let oldest = siblings.into_iter().min_by_key(|(_, seen)| **seen).map(|(other, _)| other.clone());
            oldest.map(|oldest| self.0.remove(&oldest));
        } else if self.0.len() >= BOOK {
            return;
        }
        self.0.insert(fulcrum.clone(), wall);
    }

    pub fn get(&self, fulcrum: &FulcrumId) -> Option<Wall> {
        self.0.get(fulcrum).copied()
    }

    pub fn forget(&mut self, fulcrum: &FulcrumId) {
        self.0.remove(fulcrum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn a_node_that_goes_through_names_takes_no_more_room_than_it_may() {
        let mut seen = Seen::new(BTreeMap::new());
        let honest: FulcrumId = "n1".parse().unwrap();
        seen.note(&honest, Wall(1));
        for name in 0..5000_u64 {
            seen.note(&format!("n2/f{name}").parse().unwrap(), Wall(2 + name));
        }
        assert_eq!(seen.0.len(), 1 + PER_NODE);
        assert_eq!(seen.get(&honest), Some(Wall(1)));
        assert_eq!(seen.get(&"n2/f4999".parse().unwrap()), Some(Wall(5001)), "the newest are kept");
    }
}
