//! Who is linked and turned away at once: a copy of an identity, or one that is broken. It is dialled ever more seldom.

use super::{Discovery, KEPT};
use core::net::SocketAddr;
use crux_names::{Duration, Time};

/// The longest pause is so many times doubled: four rounds. Longer would keep out the right one of two when the other is
/// gone.
const DOUBLED: u32 = 2;

/// An address whose links ended as soon as they were there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turned {
    /// How often without a break.
    times: u32,
    /// It is not dialled before.
    until: Time,
}

impl Discovery {
    /// A link with whoever is at this address was closed here as soon as it was up, and the next one will be: somebody
    /// else lives under its identity, or its life is over.
    pub fn turned_away(&mut self, now: Time, addr: SocketAddr, why: &str) {
        self.flying.retain(|(_, there)| *there != addr);
        if self.at(addr).into_iter().any(|id| self.is_linked(id)) {
            return;
        }
        self.turn(now, addr);
        self.say(addr, true, why);
        self.ended(now, addr, true);
    }

    /// Whether the link that ended now at this address had only just begun: it was turned away when it was last seen.
    pub(super) fn turned_lately(&self, now: Time, addr: SocketAddr) -> bool {
        self.turned.get(&addr).is_some_and(|turned| now < turned.until + self.pace.disc * 2)
    }

    /// The pause before it is dialled again doubles.
    pub(super) fn turn(&mut self, now: Time, addr: SocketAddr) {
        if self.turned.len() >= KEPT && !self.turned.contains_key(&addr) {
            let disc = self.pace.disc;
            self.turned.retain(|_, turned| now < turned.until + disc * 2);
            if self.turned.len() >= KEPT {
                return;
            }
        }
        let times = if self.turned_lately(now, addr) { self.turned[&addr].times + 1 } else { 1 };
        let pause = self.pace.disc * (1 << times.min(DOUBLED));
        let key = u64::from(addr.port()) ^ now.as_nanos().rotate_left(29);
        let until = now + pause * 3 / 4 + self.jitter(now, key, pause / 4);
        self.turned.insert(addr, Turned { times, until });
    }

    /// How long it is not to be dialled.
    pub(super) fn pause(&self, now: Time, addr: SocketAddr) -> Option<Duration> {
        let turned = self.turned.get(&addr)?;
        (now < turned.until).then(|| turned.until.since(now))
    }
}
