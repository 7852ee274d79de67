//! What links count, for metrics.

use crate::event::DialFailure;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

/// Payload bytes by the kind of traffic that carried them, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Planes {
    /// In datagrams.
    pub datagram: u64,
    /// In frames.
    pub frame: u64,
    /// In bulk transfers.
    pub bulk: u64,
}

/// Everything that links count, since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Handshakes by what came of them. Links: `dialed`, `accepted`, `renewed`. Dials without one: `silent`, `refused`,
    /// `closed`, `rejected`, `old_boot`, `myself`, `already`, `protocol`, `unreachable`. At the door: `turned_away` (refused with a
    /// reason), `gone` (went away), `retry` (had to prove its address), `full` (not answered), `evicted` (made room for
    /// another). `renewal_failed`: an attempt to replace a link's keys, repeated until its limit.
    pub handshakes: BTreeMap<&'static str, u64>,
    /// Payload sent.
    pub tx_bytes: Planes,
    /// Payload received.
    pub rx_bytes: Planes,
    /// Links cut here, by reason: `expired`, `untrusted`, `stale_keys`, `slow`, `protocol`.
    pub cuts: BTreeMap<&'static str, u64>,
    /// Strangers between their first packet and their welcome, now.
    pub half_open: u64,
}

#[derive(Default)]
struct Way {
    datagram: AtomicU64,
    frame: AtomicU64,
    bulk: AtomicU64,
}

impl Way {
    fn planes(&self) -> Planes {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Planes { datagram: get(&self.datagram), frame: get(&self.frame), bulk: get(&self.bulk) }
    }
}

/// Where it is counted.
#[derive(Default)]
pub(crate) struct Tally {
    handshakes: Mutex<BTreeMap<&'static str, u64>>,
    cuts: Mutex<BTreeMap<&'static str, u64>>,
    tx: Way,
    rx: Way,
}

fn add(count: &AtomicU64, bytes: usize) {
    count.fetch_add(bytes as u64, Ordering::Relaxed);
}

fn bump(counts: &Mutex<BTreeMap<&'static str, u64>>, what: &'static str) {
    *counts.lock().unwrap_or_else(PoisonError::into_inner).entry(what).or_default() += 1;
}

impl Tally {
    pub(crate) fn handshake(&self, what: &'static str) {
        bump(&self.handshakes, what);
    }

    pub(crate) fn cut(&self, why: &'static str) {
        bump(&self.cuts, why);
    }

    pub(crate) fn failed(&self, why: &DialFailure) {
        self.handshake(match why {
            DialFailure::Silent => "silent",
            DialFailure::Refused { .. } => "refused",
            DialFailure::Closed { .. } => "closed",
            DialFailure::Rejected { .. } => "rejected",
            DialFailure::BootTooOld { .. } => "old_boot",
            DialFailure::Myself => "myself",
            DialFailure::Already(_) => "already",
            DialFailure::Protocol(_) => "protocol",
            DialFailure::Unreachable(_) => "unreachable",
        });
    }

    pub(crate) fn tx_datagram(&self, bytes: usize) {
        add(&self.tx.datagram, bytes);
    }

    pub(crate) fn rx_datagram(&self, bytes: usize) {
        add(&self.rx.datagram, bytes);
    }

    pub(crate) fn tx_frame(&self, bytes: usize) {
        add(&self.tx.frame, bytes);
    }

    pub(crate) fn rx_frame(&self, bytes: usize) {
        add(&self.rx.frame, bytes);
    }

    pub(crate) fn tx_bulk(&self, bytes: usize) {
        add(&self.tx.bulk, bytes);
    }

    pub(crate) fn rx_bulk(&self, bytes: usize) {
        add(&self.rx.bulk, bytes);
    }

    pub(crate) fn read(&self, half_open: usize) -> Counters {
        let copy = |counts: &Mutex<BTreeMap<_, _>>| counts.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Counters {
            handshakes: copy(&self.handshakes),
            tx_bytes: self.tx.planes(),
            rx_bytes: self.rx.planes(),
            cuts: copy(&self.cuts),
            half_open: half_open as u64,
        }
    }
}
