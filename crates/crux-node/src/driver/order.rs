//! Facts of a peer and what it says of them, in the order in which they came.
//!
//! Signatures are checked on another thread. A digest or a list of ids that came after facts must not be compared with
//! what is here before those facts are: every such overtaking would cost a whole comparison. So what closes facts waits
//! behind them. Of each peer one batch is being checked at a time, so that a peer that sends thousands holds up nobody
//! else's few; the rest waits here, bounded. What is beyond that is dropped, for a comparison brings it again; a peer of
//! which much more had to be dropped at a stretch does not keep to that, and its link is cut.

use bytes::Bytes;
use crux_core::wire::Frame;
use crux_names::Member;
use std::collections::{BTreeMap, VecDeque};

/// Most bytes of one peer that wait: two of the largest frames and some.
const WAITING_BYTES: usize = 4 << 20;
/// What a fact costs beside its bytes, however few they are.
const EACH: usize = size_of::<Bytes>();
/// Most batches and frames of one peer that wait.
const WAITING_MAX: usize = 1_024;

/// So much of one peer may be dropped before nothing of it waits any more: bytes, and batches and frames. Who sees that
/// nothing comes of what it sends compares, and that takes a second or more.
const DROPPED_BYTES: usize = 4 * WAITING_BYTES;
const DROPPED_MAX: usize = 16 * WAITING_MAX;

/// What is to be done with something that came.
#[derive(Debug, PartialEq)]
pub(super) enum Fate<T> {
    /// It goes on now.
    Now(T),
    /// It waits, or was dropped.
    Later,
    /// So much was dropped that the link must be cut.
    Flood,
}

/// Sealed facts, as they came.
pub(super) type Batch = Vec<Bytes>;

/// What it costs to keep them.
fn weight(facts: &Batch) -> usize {
    facts.iter().map(|fact| fact.len() + EACH).sum()
}

enum Waits {
    Facts(Batch),
    Frame(Frame, usize),
}

/// One peer, of whose facts a batch is being checked.
#[derive(Default)]
struct Behind {
    waiting: VecDeque<Waits>,
    bytes: usize,
    /// How much was dropped: bytes, and batches and frames.
    dropped: (usize, usize),
}

/// All peers of whose facts a batch is being checked.
#[derive(Default)]
pub(super) struct Order {
    behind: BTreeMap<Member, Behind>,
}

/// What may go on after a batch was checked.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Next {
    /// For the engine, in this order, after the facts that were checked.
    pub(super) frames: Vec<Frame>,
    /// To be checked now.
    pub(super) facts: Option<Batch>,
}

impl Order {
    /// Facts came: whether they are to be checked now. What is too much is dropped: the digests will differ, so it comes
    /// again.
    pub(super) fn facts(&mut self, from: &Member, facts: Batch) -> Fate<Batch> {
        match self.behind.get_mut(from) {
            Some(behind) => {
                let bytes = weight(&facts);
                behind.add(Waits::Facts(facts), bytes)
            }
            None => {
                self.behind.insert(from.clone(), Behind::default());
                Fate::Now(facts)
            }
        }
    }

    /// A frame that is no facts came: whether the engine may have it now.
    pub(super) fn frame(&mut self, from: &Member, frame: Frame) -> Fate<Frame> {
        let bytes = match &frame {
            Frame::FactsDigest { .. } => 64,
            Frame::FactsIds { ids, .. } => 32 * ids.len(),
            Frame::FactsRanges { hashes } => 8 * hashes.len(),
            _ => return Fate::Now(frame),
        };
        match self.behind.get_mut(from) {
            Some(behind) => behind.add(Waits::Frame(frame, bytes), bytes),
            None => Fate::Now(frame),
        }
    }

    /// A batch of this peer was checked.
    pub(super) fn checked(&mut self, from: &Member) -> Next {
        let mut next = Next::default();
        let Some(behind) = self.behind.get_mut(from) else { return next };
        while let Some(first) = behind.waiting.pop_front() {
            match first {
                Waits::Frame(frame, bytes) => {
                    behind.bytes -= bytes;
                    next.frames.push(frame);
                }
                Waits::Facts(facts) => {
                    behind.bytes -= weight(&facts);
                    next.facts = Some(facts);
                    return next;
                }
            }
        }
        self.behind.remove(from);
        next
    }

    /// The link to this peer ended: what waits is of no use any more.
    pub(super) fn ended(&mut self, peer: &Member) {
        if let Some(behind) = self.behind.get_mut(peer) {
            // A batch is still being checked: whatever comes over a new link waits for it too.
            *behind = Behind::default();
        }
    }
}

impl Behind {
    fn add<T>(&mut self, waits: Waits, bytes: usize) -> Fate<T> {
        if self.waiting.len() >= WAITING_MAX || self.bytes + bytes > WAITING_BYTES {
            let dropped = (self.dropped.0 + bytes, self.dropped.1 + 1);
            self.dropped = dropped;
            return if dropped.0 > DROPPED_BYTES || dropped.1 > DROPPED_MAX { Fate::Flood } else { Fate::Later };
        }
        self.bytes += bytes;
        self.waiting.push_back(waits);
        Fate::Later
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crux_names::{Boot, Hash256};

    fn member(name: &str) -> Member {
        Member { id: name.parse().unwrap(), boot: Boot(1) }
    }

    fn facts(n: u8) -> Batch {
        vec![Bytes::from(vec![n; 100])]
    }

    fn digest(n: u8) -> Frame {
        Frame::FactsDigest { digest: Hash256([n; 32]), count: 1 }
    }

    #[test]
    fn a_digest_does_not_overtake_the_facts_before_it() {
        let (mut order, n1, n2) = (Order::default(), member("n1"), member("n2"));
        assert_eq!(order.frame(&n1, digest(0)), Fate::Now(digest(0)), "nothing is before it");
        assert_eq!(order.facts(&n1, facts(1)), Fate::Now(facts(1)));
        assert_eq!(order.frame(&n1, digest(1)), Fate::Later);
        assert_eq!(order.facts(&n1, facts(2)), Fate::Later, "one batch of a peer at a time");
        assert_eq!(order.frame(&n1, digest(2)), Fate::Later);
        let want = Frame::FactsWant { ids: vec![] };
        assert_eq!(order.frame(&n1, want.clone()), Fate::Now(want), "a question closes nothing");
        assert_eq!(order.frame(&n2, digest(9)), Fate::Now(digest(9)), "others do not wait");
        assert_eq!(order.facts(&n2, facts(9)), Fate::Now(facts(9)));

        assert_eq!(order.checked(&n1), Next { frames: vec![digest(1)], facts: Some(facts(2)) });
        assert_eq!(order.checked(&n1), Next { frames: vec![digest(2)], facts: None });
        assert_eq!(order.frame(&n1, digest(3)), Fate::Now(digest(3)));
    }

    #[test]
    fn what_waits_is_bounded_and_goes_with_the_link() {
        let (mut order, n1) = (Order::default(), member("n1"));
        let big = || vec![Bytes::from(vec![0; (1 << 20) - EACH])];
        assert_eq!(order.facts(&n1, big()), Fate::Now(big()));
        for _ in 0..10 {
            assert_eq!(order.facts(&n1, big()), Fate::Later);
        }
        assert_eq!(order.frame(&n1, digest(1)), Fate::Later);
        assert_eq!(order.behind[&n1].waiting.len(), 4);
        assert_eq!(order.behind[&n1].bytes, WAITING_BYTES);

        order.ended(&n1);
        assert_eq!(order.facts(&n1, facts(1)), Fate::Later, "the last batch is still being checked");
        assert_eq!(order.checked(&n1), Next { frames: vec![], facts: Some(facts(1)) });
        assert_eq!(order.checked(&n1), Next::default());
        assert!(order.behind.is_empty());
    }

    #[test]
    fn who_goes_on_although_nothing_is_taken_is_cut_and_who_was_patient_begins_anew() {
        let (mut order, n1) = (Order::default(), member("n1"));
        let big = || vec![Bytes::from(vec![0; (1 << 20) - EACH])];
        let flooded = |order: &mut Order| (0..).take_while(|_| order.facts(&n1, big()) != Fate::Flood).count();
        assert!(matches!(order.facts(&n1, big()), Fate::Now(_)));
        let taken = flooded(&mut order);
        assert_eq!(taken, (WAITING_BYTES + DROPPED_BYTES) >> 20);
        assert!(order.behind[&n1].bytes <= WAITING_BYTES && order.behind[&n1].waiting.len() <= WAITING_MAX);

        // Facts without a byte cost their place.
        order.ended(&n1);
        let empty = || vec![Bytes::new(); 16_384];
        assert_eq!(order.facts(&n1, empty()), Fate::Later);
        let taken_empty = 1 + (0..).take_while(|_| order.facts(&n1, empty()) != Fate::Flood).count();
        assert_eq!(taken_empty, (WAITING_BYTES + DROPPED_BYTES) / (16_384 * EACH));

        // Small ones are counted.
        order.ended(&n1);
        let small = (0..).take_while(|_| order.frame(&n1, digest(1)) != Fate::Flood).count();
        assert_eq!(small, WAITING_MAX + DROPPED_MAX);

        // When all was checked, what was dropped before is forgotten.
        order.ended(&n1);
        for _ in 0..10 {
            order.facts(&n1, big());
        }
        while order.checked(&n1).facts.is_some() {}
        assert!(order.behind.is_empty());
        assert!(matches!(order.facts(&n1, big()), Fate::Now(_)));
        assert_eq!(flooded(&mut order), taken);
    }
}
