//! Whose link came to nothing lately, here or there, for people: a fulcrum of another bloc, or one whose certificate is not
//! admitted. They are in nobody's address book, so without this only the log would know of them.

use crux_names::Wall;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Most that are remembered: a flood of strangers costs no more. One more takes the place of the one not seen longest.
const MOST: usize = 64;
/// Most of one host, so that none hides all the others.
const OF_ONE: usize = 4;
/// How long each is remembered after its last try: who is turned away tries again much sooner.
const REMEMBERED: Duration = Duration::from_secs(600);

/// The last try of one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    /// When that was, by the wall clock here, which may be set meanwhile: for showing only.
    pub(crate) at: Wall,
    /// Why nothing came of it, for people; escaped.
    pub(crate) reason: String,
}

/// Those of late, by address.
pub(crate) type Attempts = BTreeMap<SocketAddr, Attempt>;

/// Those of one life of a fulcrum. Cheap to clone; copies share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct TurnedAway {
    attempts: Arc<Mutex<BTreeMap<SocketAddr, (Instant, Attempt)>>>,
}

impl TurnedAway {
    /// Notes one more try.
    pub(crate) fn note(&self, addr: SocketAddr, reason: String, now: Wall) {
        let mut attempts = self.lock();
        if !attempts.contains_key(&addr) {
            let same = |other: IpAddr| other == addr.ip();
            let of_it = attempts.keys().filter(|known| same(known.ip())).count();
            let oldest = attempts
                .iter()
                .filter(|(known, _)| of_it < OF_ONE || same(known.ip()))
                .min_by_key(|(_, (seen, _))| *seen)
                .map(|(known, _)| *known);
            if let Some(oldest) = oldest.filter(|_| of_it >= OF_ONE || attempts.len() >= MOST) {
                attempts.remove(&oldest);
            }
        }
        attempts.insert(addr, (Instant::now(), Attempt { at: now, reason }));
    }

    /// Whoever is there is let in now.
    pub(crate) fn let_in(&self, addr: SocketAddr) {
        self.lock().remove(&addr);
    }

    /// Those of late.
    pub(crate) fn of_late(&self) -> Attempts {
        let mut attempts = self.lock();
        attempts.retain(|_, (seen, _)| seen.elapsed() < REMEMBERED);
        attempts.iter().map(|(addr, (_, attempt))| (*addr, attempt.clone())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SocketAddr, (Instant, Attempt)>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(host: u8, port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, host], port))
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_hides_nobody_and_nobody_is_remembered_for_ever() {
        let away = TurnedAway::default();
        let note = |addr, wall| away.note(addr, "another bloc".into(), Wall(wall));
        note(addr(1, 1), 0);
        for port in 1..=1_000 {
            tokio::time::advance(Duration::from_millis(1)).await;
            // Its clock goes backwards, which changes nothing.
            note(addr(2, port), 10_000 - u64::from(port));
        }
        let known: Vec<SocketAddr> = away.of_late().into_keys().collect();
        assert_eq!(known, [addr(1, 1), addr(2, 997), addr(2, 998), addr(2, 999), addr(2, 1_000)]);
        for host in 3..=200 {
            tokio::time::advance(Duration::from_millis(1)).await;
            note(addr(host, 1), 0);
        }
        let known = away.of_late();
        assert!(known.len() == MOST && known.contains_key(&addr(200, 1)) && !known.contains_key(&addr(1, 1)));
        away.let_in(addr(200, 1));
        assert_eq!(away.of_late().len(), MOST - 1);
        tokio::time::advance(REMEMBERED).await;
        assert_eq!(away.of_late().len(), 0);
    }
}
