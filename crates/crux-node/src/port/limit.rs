//! How many strangers may stand between the first packet of a TCP connection and the end of its handshake.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Counts those who are inside, all together and by where they come from.
#[derive(Clone)]
pub(crate) struct Limit {
    most: usize,
    most_of_one: usize,
    inside: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// One who is inside; leaves when dropped.
pub(crate) struct Inside {
    limit: Limit,
    from: IpAddr,
}

impl Limit {
    /// At most `most` at once, and of one address `most_of_one`.
    pub(crate) fn new(most: usize, most_of_one: usize) -> Self {
        Self { most, most_of_one, inside: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets one in, if there is room.
    pub(crate) fn enter(&self, from: IpAddr) -> Option<Inside> {
        let from = from.to_canonical();
        let mut inside = self.lock();
        let of_one = inside.get(&from).copied().unwrap_or(0);
        if of_one >= self.most_of_one || inside.values().sum::<usize>() >= self.most {
            return None;
        }
        inside.insert(from, of_one + 1);
        drop(inside);
        Some(Inside { limit: self.clone(), from })
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let mut inside = self.limit.lock();
        match inside.get_mut(&self.from) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(inside.remove(&self.from)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_take_all_places_and_places_come_free_again() {
        let limit = Limit::new(3, 2);
        let (one, other): (IpAddr, IpAddr) = ("10.0.0.1".parse().unwrap(), "::ffff:10.0.0.2".parse().unwrap());
        let first = limit.enter(one).unwrap();
        let _second = limit.enter(one).unwrap();
        assert!(limit.enter(one).is_none(), "two of one address");
        let _third = limit.enter(other).unwrap();
        assert!(limit.enter(other).is_none(), "three of all");
        drop(first);
        let _again = limit.enter("10.0.0.2".parse().unwrap()).unwrap();
        assert!(limit.enter("10.0.0.2".parse().unwrap()).is_none(), "written as IPv6 it is the same address");
        assert!(limit.enter(one).is_none(), "three of all");
    }
}
