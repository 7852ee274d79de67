//! The events of this fulcrum: a thousand, each with a cursor, so that a watcher can resume where it was.
//!
//! When there are more, the oldest of the most frequent kind goes: ten thousand facts that are written in a minute do not take
//! the place of the one word that the flock was parted before. So what is missing need not be the oldest; cursors go up by
//! one, and tell.

use crate::metrics::Meters;
use crux_core::io::Event;
use crux_names::{Boot, Wall};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// How many events are kept. A watcher that is further behind sees by the cursors, which go up by one, that it missed some.
const KEPT: usize = 1024;

/// So many cursors has a life before those of the next begin. A boot number is the clock's in seconds or more than the one
/// before, so that a life would have to tell of a million things a second; and with it a cursor fits into JSON's numbers.
const A_LIFE: u64 = 1 << 20;

/// One event with its place and its moment.
#[derive(Clone, Debug)]
pub(crate) struct Stamped {
    /// Greater than that of every earlier event, also of earlier lives of this fulcrum.
    pub(crate) cursor: u64,
    /// When, by this fulcrum's wall clock.
    pub(crate) at: Wall,
    /// What.
    pub(crate) event: Event,
}

struct Ring {
    /// Oldest first.
    kept: VecDeque<Arc<Stamped>>,
    /// How many of each kind these are.
    kinds: BTreeMap<&'static str, usize>,
    next: u64,
}

impl Ring {
    /// Makes room for one more.
    fn thin_out(&mut self) {
        let most = self.kinds.iter().max_by_key(|(_, count)| **count).map(|(kind, _)| *kind);
        let at = self.kept.iter().position(|stamped| Some(stamped.event.kind) == most);
        let gone = at.and_then(|at| self.kept.remove(at));
        if let Some(count) = gone.and_then(|gone| self.kinds.get_mut(gone.event.kind)) {
            *count -= 1;
        }
    }
}

/// The ring: one writer, the driver; any number of readers.
#[derive(Clone)]
pub(crate) struct Events {
    ring: Arc<Mutex<Ring>>,
    newest: watch::Sender<u64>,
    meters: Meters,
}

impl Events {
    /// An empty ring of this life. What is pushed is counted, too.
    pub(crate) fn new(meters: Meters, boot: Boot) -> Self {
        let before = boot.0.saturating_mul(A_LIFE);
        let ring = Arc::new(Mutex::new(Ring {
            kept: VecDeque::new(),
            kinds: BTreeMap::new(),
            next: before.saturating_add(1),
        }));
        Self { ring, newest: watch::Sender::new(before), meters }
    }

    /// Where a reader goes on that says it has everything up to this cursor. One that was never given out is as none: rather
    /// something twice than nothing at all.
    pub(crate) fn resume(&self, after: Option<u64>) -> u64 {
        after.filter(|after| *after <= *self.newest.borrow()).unwrap_or(0)
    }

    /// Adds an event and wakes whoever follows.
    pub(crate) fn push(&self, at: Wall, event: Event) {
        self.meters.event(event.kind);
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let cursor = ring.next;
        ring.next += 1;
        if ring.kept.len() == KEPT {
            ring.thin_out();
        }
        *ring.kinds.entry(event.kind).or_default() += 1;
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
        let events = Events::new(Meters::new(), Boot(0));
        for n in 0..KEPT + 10 {
            events.push(Wall(n as u64), event(n));
        }
        let all = events.after(0);
        assert_eq!(all.len(), KEPT);
        assert_eq!(all[0].cursor, 11);
        let tail = events.after(KEPT as u64 + 8);
        assert_eq!(tail.iter().map(|stamped| stamped.event.subject.clone()).collect::<Vec<_>>(), ["1032", "1033"]);
    }

    /// The measurement of an expulsion found no view any more: the facts that were written meanwhile had taken all places.
    #[test]
    fn many_of_one_kind_leave_the_others_their_places() {
        let events = Events::new(Meters::new(), Boot(0));
        events.push(Wall(0), Event { kind: "flock-formed", subject: "calm-owl".into(), text: String::new() });
        (0..KEPT * 3).for_each(|n| events.push(Wall(1), event(n)));
        events.push(Wall(2), Event { kind: "leader", subject: "n2".into(), text: String::new() });
        let all = events.after(0);
        assert_eq!((all.len(), all[0].event.kind, all[KEPT - 1].event.kind), (KEPT, "flock-formed", "leader"));
        assert!(all.windows(2).all(|pair| pair[0].cursor < pair[1].cursor));
        assert_eq!(all[1].event.subject, (KEPT * 2 + 2).to_string(), "of the most frequent kind the oldest go");
    }

    /// A tool that had followed the life before got nothing for as long as the new one had told of less.
    #[test]
    fn a_cursor_of_an_earlier_life_misses_nothing_of_this_one() {
        let before = Events::new(Meters::new(), Boot(1_764_200_000));
        (0..500).for_each(|n| before.push(Wall(0), event(n)));
        let last = before.after(0).last().unwrap().cursor;
        let now = Events::new(Meters::new(), Boot(1_764_200_001));
        assert_eq!(now.resume(Some(last)), last);
        now.push(Wall(0), event(7));
        assert_eq!(now.after(now.resume(Some(last))).len(), 1);
        let newest = now.after(0)[0].cursor;
        assert_eq!((now.resume(Some(newest)), now.resume(Some(newest + 1)), now.resume(None)), (newest, 0, 0));
    }

    #[tokio::test]
    async fn a_follower_is_woken() {
        let events = Events::new(Meters::new(), Boot(0));
        let mut follow = events.follow();
        events.push(Wall(1), event(1));
        follow.changed().await.unwrap();
        assert_eq!(*follow.borrow(), 1);
    }
}
