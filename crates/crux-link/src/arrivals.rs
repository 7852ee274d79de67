//! Who is at the door right now, by address. Where many fulcrums begin at once each dials all others, and for half of the
//! pairs both would make a handshake, of which one is for nothing. So a dial that has not begun waits while somebody comes
//! from that very address. Nobody can hold it up for longer than a dial takes, whoever feigns an address.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Those who are at the door of one fulcrum.
#[derive(Default)]
pub(crate) struct Arrivals {
    here: Mutex<BTreeMap<SocketAddr, usize>>,
    gone: Notify,
}

/// One who is at the door, until this is dropped.
pub(crate) struct Arrival {
    of: Arc<Arrivals>,
    addr: SocketAddr,
}

impl Arrivals {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<SocketAddr, usize>> {
        self.here.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody comes.
    pub(crate) fn come(self: &Arc<Self>, addr: SocketAddr) -> Arrival {
        *self.lock().entry(addr).or_default() += 1;
        Arrival { of: self.clone(), addr }
    }

    /// Whether somebody is at the door who came from there.
    pub(crate) fn here(&self, addr: SocketAddr) -> bool {
        self.lock().contains_key(&addr)
    }

    /// Waits until nobody is at the door who came from there.
    pub(crate) async fn gone(&self, addr: SocketAddr) {
        loop {
            let mut gone = std::pin::pin!(self.gone.notified());
            // From here on nothing is missed.
            gone.as_mut().enable();
            if !self.here(addr) {
                return;
            }
            gone.await;
        }
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        let mut here = self.of.lock();
        if let Some(times) = here.get_mut(&self.addr) {
            *times -= 1;
            if *times == 0 {
                here.remove(&self.addr);
            }
        }
        drop(here);
        self.of.gone.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_an_address_waits_for_all_from_there_and_for_nobody_else() {
        let (arrivals, there, elsewhere): (Arc<Arrivals>, SocketAddr, SocketAddr) =
            (Arc::default(), "10.0.0.1:1".parse().unwrap(), "10.0.0.1:2".parse().unwrap());
        arrivals.gone(there).await;
        let (one, two, _other) = (arrivals.come(there), arrivals.come(there), arrivals.come(elsewhere));
        let waits = tokio::spawn({
            let arrivals = arrivals.clone();
            async move { arrivals.gone(there).await }
        });
        drop(one);
        // waits: for the other task to look, in paused time
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(!waits.is_finished() && arrivals.here(there), "one of two is gone");
        drop(two);
        waits.await.unwrap();
        assert!(!arrivals.here(there) && arrivals.here(elsewhere));
    }
}
