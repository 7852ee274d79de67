//! Who was turned away at the mesh port lately, for people: a fulcrum of another bloc, or one whose certificate is not
//! admitted. They are in nobody's address book, so without this only the log would know of them.

use crux_names::Wall;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Most that are remembered: a flood of strangers costs no more. One more takes the place of the one not seen longest.
const MOST: usize = 64;
/// How long each is remembered after its last try, in microseconds: who is turned away tries again much sooner.
const REMEMBERED_US: u64 = 600_000_000;

/// When it last tried, and why it was turned away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Knock {
    /// By the wall clock here.
    pub(crate) at: Wall,
    /// For people; escaped.
    pub(crate) reason: String,
}

/// Those of one life of a fulcrum. Cheap to clone; copies share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct TurnedAway {
    knocks: Arc<Mutex<BTreeMap<SocketAddr, Knock>>>,
}

impl TurnedAway {
    /// Notes one more try.
    pub(crate) fn note(&self, addr: SocketAddr, reason: String, now: Wall) {
        let mut knocks = self.lock();
        if knocks.len() >= MOST && !knocks.contains_key(&addr) {
            let oldest = knocks.iter().min_by_key(|(_, knock)| knock.at).map(|(addr, _)| *addr);
            oldest.map(|addr| knocks.remove(&addr));
        }
        knocks.insert(addr, Knock { at: now, reason });
    }

    /// Whoever is there is let in now.
    pub(crate) fn let_in(&self, addr: SocketAddr) {
        self.lock().remove(&addr);
    }

    /// Those of late, by address.
    pub(crate) fn of_late(&self, now: Wall) -> BTreeMap<SocketAddr, Knock> {
        let mut knocks = self.lock();
        knocks.retain(|_, knock| now.0.saturating_sub(knock.at.0) < REMEMBERED_US);
        knocks.clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SocketAddr, Knock>> {
        self.knocks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], port))
    }

    #[test]
    fn a_flood_is_not_remembered_whole_and_nobody_for_ever() {
        let away = TurnedAway::default();
        for port in 1..=1_000 {
            away.note(addr(port), "another bloc".into(), Wall(u64::from(port)));
        }
        let known = away.of_late(Wall(1_000));
        assert_eq!(known.len(), MOST);
        assert!(known.contains_key(&addr(1_000)) && !known.contains_key(&addr(1)));
        away.let_in(addr(1_000));
        assert_eq!(away.of_late(Wall(1_000)).len(), MOST - 1);
        assert!(away.of_late(Wall(REMEMBERED_US + 1_000)).is_empty());
    }
}
