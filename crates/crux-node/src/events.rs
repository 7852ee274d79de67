//! The events of this fulcrum: the last thousand, each with a cursor, so that a watcher can resume where it was.

use crate::metrics::Meters;
use crux_core::io::Event;
use crux_names::Wall;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// How many events are kept. A watcher that is further behind is told that it missed some.
const KEPT: usize = 1024;

/// One event with its place and its moment.
#[derive(Clone, Debug)]
pub(crate) struct Stamped {
    /// Counts up from 1 in this life of the fulcrum.
    pub(crate) cursor: u64,
    /// When, by this fulcrum's wall clock.
    pub(crate) at: Wall,
    /// What.
    pub(crate) event: Event,
}

struct Ring {
    kept: VecDeque<Arc<Stamped>>,
    next: u64,
}

/// The ring: one writer, the driver; any number of readers.
#[derive(Clone)]
pub(crate) struct Events {
    ring: Arc<Mutex<Ring>>,
    newest: watch::Sender<u64>,
    meters: Meters,
}

impl Events {
    /// An empty ring. What is pushed is counted, too.
    pub(crate) fn new(meters: Meters) -> Self {
        let ring = Arc::new(Mutex::new(Ring { kept: VecDeque::new(), next: 1 }));
        Self { ring, newest: watch::Sender::new(0), meters }
    }

    /// Adds an event and wakes whoever follows.
    pub(crate) fn push(&self, at: Wall, event: Event) {
        self.meters.event(event.kind);
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let cursor = ring.next;
        ring.next += 1;
        if ring.kept.len() == KEPT {
            ring.kept.pop_front();
        }
        ring.kept.push_back(Arc::new(Stamped { cursor, at, event }));
        drop(ring);
        self.newest.send_replace(cursor);
    }

    /// What came after this cursor and is still kept, oldest first.
    pub(crate) fn after(&self, cursor: u64) -> Vec<Arc<Stamped>> {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.kept.iter().filter(|stamped| stamped.cursor > cursor).cloned().collect()
    }

    /// Becomes changed with every event; its value is the newest cursor.
    pub(crate) fn follow(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(n: usize) -> Event {
        Event { kind: "fact", subject: n.to_string(), text: String::new() }
    }

    #[test]
    fn a_reader_resumes_after_its_cursor_and_the_ring_stays_bounded() {
        let events = Events::new(Meters::new());
        for n in 0..KEPT + 10 {
            events.push(Wall(n as u64), event(n));
        }
        let all = events.after(0);
        assert_eq!(all.len(), KEPT);
        assert_eq!(all[0].cursor, 11);
        let tail = events.after(KEPT as u64 + 8);
        assert_eq!(tail.iter().map(|stamped| stamped.event.subject.clone()).collect::<Vec<_>>(), ["1032", "1033"]);
    }

    #[tokio::test]
    async fn a_follower_is_woken() {
        let events = Events::new(Meters::new());
        let mut follow = events.follow();
        events.push(Wall(1), event(1));
        follow.changed().await.unwrap();
        assert_eq!(*follow.borrow(), 1);
    }
}
