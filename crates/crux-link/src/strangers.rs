//! Strangers at the door, before their welcome: how many at once, from where, and who must go first.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Strangers between first packet and welcome: all together, and from one address (a dev cluster has one address). One
/// costs about 50 KiB, so that all of them cost 25 MiB.
const HALF_OPEN_MAX: usize = 512;
const HALF_OPEN_PER_IP: usize = 128;
/// Above so many, a stranger must prove its address first (QUIC Retry): all together, and from one address, so that
/// whoever forges a peer's address does not take its place.
const PROVE_ABOVE: usize = 64;
const PROVE_ABOVE_PER_IP: usize = 32;
/// A stranger that had so much time makes room for the next if there is none. An honest handshake takes a few round trips.
const PATIENCE: Duration = Duration::from_millis(500);

struct Guest {
    ip: IpAddr,
    since: Instant,
    evict: Arc<Notify>,
}

#[derive(Default)]
struct State {
    /// By age: numbers count up.
    guests: BTreeMap<u64, Guest>,
    by_ip: BTreeMap<IpAddr, usize>,
    next: u64,
}

/// Who is at the door.
#[derive(Default)]
pub(crate) struct Strangers {
    state: Mutex<State>,
}

/// The answer to a stranger's first packet.
pub(crate) enum Knock {
    Enter(HalfOpen),
    /// First prove the address.
    Prove,
    Full,
}

/// A stranger between first packet and welcome.
pub(crate) struct HalfOpen {
    strangers: Arc<Strangers>,
    id: u64,
    /// Notified when it must make room.
    pub(crate) evicted: Arc<Notify>,
}

impl State {
    fn remove(&mut self, id: u64) -> Option<Guest> {
        let guest = self.guests.remove(&id)?;
        if let Some(count) = self.by_ip.get_mut(&guest.ip) {
            *count -= 1;
            if *count == 0 {
                self.by_ip.remove(&guest.ip);
            }
        }
        Some(guest)
    }

    /// The oldest of this address goes, if it had its time.
    fn evict_from(&mut self, ip: IpAddr, now: Instant) -> bool {
        let oldest = self.guests.iter().find(|(_, guest)| guest.ip == ip);
        let Some(id) = oldest.filter(|(_, guest)| now - guest.since >= PATIENCE).map(|(id, _)| *id) else {
            return false;
        };
        if let Some(guest) = self.remove(id) {
            guest.evict.notify_one();
        }
        true
    }
}

impl Strangers {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn count(&self) -> usize {
        self.lock().guests.len()
    }

    /// What to do with a stranger's first packet.
    pub(crate) fn knock(self: &Arc<Self>, ip: IpAddr, proven: bool) -> Knock {
        let mut state = self.lock();
        let now = Instant::now();
        let from_ip = state.by_ip.get(&ip).copied().unwrap_or(0);
        if !proven && (state.guests.len() >= PROVE_ABOVE || from_ip >= PROVE_ABOVE_PER_IP) {
            return Knock::Prove;
        }
        if from_ip >= HALF_OPEN_PER_IP && !state.evict_from(ip, now) {
            return Knock::Full;
        }
        if state.guests.len() >= HALF_OPEN_MAX {
            // Whoever sent most makes room.
            let most = state.by_ip.iter().max_by_key(|(_, count)| **count).map(|(ip, _)| *ip);
            if !most.is_some_and(|ip| state.evict_from(ip, now)) {
                return Knock::Full;
            }
        }
        let id = state.next;
        state.next += 1;
        let evicted = Arc::new(Notify::new());
        state.guests.insert(id, Guest { ip, since: now, evict: evicted.clone() });
        *state.by_ip.entry(ip).or_default() += 1;
        Knock::Enter(HalfOpen { strangers: self.clone(), id, evicted })
    }
}

impl Drop for HalfOpen {
    fn drop(&mut self) {
        self.strangers.lock().remove(self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(n: usize) -> IpAddr {
        IpAddr::from(std::net::Ipv4Addr::from(0x0a00_0000 + n as u32))
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_must_prove_its_address_is_bounded_and_makes_room() {
        let strangers = Arc::new(Strangers::default());
        let mut guests: Vec<HalfOpen> = Vec::new();
        // One address that anybody can forge takes few places, and its owner can still come in.
        while let Knock::Enter(guest) = strangers.knock(ip(1), false) {
            guests.push(guest);
        }
        assert_eq!(guests.len(), PROVE_ABOVE_PER_IP);
        assert!(matches!(strangers.knock(ip(1), false), Knock::Prove));
        for n in guests.len()..PROVE_ABOVE {
            match strangers.knock(ip(100 + n), false) {
                Knock::Enter(guest) => guests.push(guest),
                _ => panic!("stranger {n} was turned away"),
            }
        }
        assert!(matches!(strangers.knock(ip(9_999), false), Knock::Prove));
        while let Knock::Enter(guest) = strangers.knock(ip(1), true) {
            guests.push(guest);
        }
        let from_1 = strangers.lock().by_ip[&ip(1)];
        assert_eq!(from_1, HALF_OPEN_PER_IP, "one address is bounded");
        for n in 10_000.. {
            match strangers.knock(ip(n), true) {
                Knock::Enter(guest) => guests.push(guest),
                _ => break,
            }
        }
        assert_eq!(strangers.count(), HALF_OPEN_MAX);

        // Who had its time makes room: first the one who takes most.
        tokio::time::advance(PATIENCE).await;
        let Knock::Enter(late) = strangers.knock(ip(77_777), true) else { panic!("no room for an honest stranger") };
        assert_eq!((strangers.count(), strangers.lock().by_ip[&ip(1)]), (HALF_OPEN_MAX, HALF_OPEN_PER_IP - 1));
        tokio::time::timeout(PATIENCE, guests[0].evicted.notified()).await.expect("the oldest of the greediest");
        drop((guests, late));
        assert!(matches!(strangers.knock(ip(1), false), Knock::Enter(_)));
        assert!(strangers.lock().by_ip.is_empty() && strangers.count() == 0);
    }
}
