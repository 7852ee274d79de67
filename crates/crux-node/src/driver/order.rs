//! Facts of a peer and what it says of them, in the order in which they came.
//!
//! Signatures are checked on another thread. A digest or a list of ids that came after facts must not be compared with
//! what is here before those facts are: every such overtaking would cost a whole comparison. So what closes facts waits
//! behind them. Of each peer one batch is being checked at a time, so that a peer that sends thousands holds up nobody
//! else's few; the rest waits here, bounded.

use bytes::Bytes;
use crux_core::wire::Frame;
use crux_names::Member;
use std::collections::{BTreeMap, VecDeque};

/// Most bytes of one peer that wait: two of the largest frames and some.
const WAITING_BYTES: usize = 4 << 20;
/// Most batches and frames of one peer that wait.
const WAITING_MAX: usize = 1_024;

/// Sealed facts, as they came.
pub(super) type Batch = Vec<Bytes>;

enum Waits {
    Facts(Batch),
    Frame(Frame, usize),
}

/// One peer, of whose facts a batch is being checked.
#[derive(Default)]
struct Behind {
    waiting: VecDeque<Waits>,
    bytes: usize,
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
    /// Facts came. They are given back if they are to be checked now. What is too much is dropped: the digests will
    /// differ, so it comes again.
    pub(super) fn facts(&mut self, from: &Member, facts: Batch) -> Option<Batch> {
        match self.behind.get_mut(from) {
            Some(behind) => {
                let bytes = facts.iter().map(Bytes::len).sum();
                if !behind.add(Waits::Facts(facts), bytes) {
                    tracing::debug!("too many facts of {from} wait to be checked; these are taken later");
                }
                None
            }
            None => {
                self.behind.insert(from.clone(), Behind::default());
                Some(facts)
            }
        }
    }

    /// A frame that is no facts came. It is given back if the engine may have it now.
    pub(super) fn frame(&mut self, from: &Member, frame: Frame) -> Option<Frame> {
        let bytes = match &frame {
            Frame::FactsDigest { .. } => 64,
            Frame::FactsIds { ids } => 32 * ids.len(),
            _ => return Some(frame),
        };
        match self.behind.get_mut(from) {
            Some(behind) => {
                if !behind.add(Waits::Frame(frame, bytes), bytes) {
                    tracing::debug!("{from} says too much while its facts are checked; it compares again");
                }
                None
            }
            None => Some(frame),
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
                    behind.bytes -= facts.iter().map(Bytes::len).sum::<usize>();
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
    fn add(&mut self, waits: Waits, bytes: usize) -> bool {
        if self.waiting.len() >= WAITING_MAX || self.bytes + bytes > WAITING_BYTES {
            return false;
        }
        self.bytes += bytes;
        self.waiting.push_back(waits);
        true
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
        assert_eq!(order.frame(&n1, digest(0)), Some(digest(0)), "nothing is before it");
        assert_eq!(order.facts(&n1, facts(1)), Some(facts(1)));
        assert_eq!(order.frame(&n1, digest(1)), None);
        assert_eq!(order.facts(&n1, facts(2)), None, "one batch of a peer at a time");
        assert_eq!(order.frame(&n1, digest(2)), None);
        let want = Frame::FactsWant { ids: vec![] };
        assert_eq!(order.frame(&n1, want.clone()), Some(want), "a question closes nothing");
        assert_eq!(order.frame(&n2, digest(9)), Some(digest(9)), "others do not wait");
        assert_eq!(order.facts(&n2, facts(9)), Some(facts(9)));

        assert_eq!(order.checked(&n1), Next { frames: vec![digest(1)], facts: Some(facts(2)) });
        assert_eq!(order.checked(&n1), Next { frames: vec![digest(2)], facts: None });
        assert_eq!(order.frame(&n1, digest(3)), Some(digest(3)));
    }

    #[test]
    fn what_waits_is_bounded_and_goes_with_the_link() {
        let (mut order, n1) = (Order::default(), member("n1"));
        let big = || vec![Bytes::from(vec![0; 1 << 20])];
        assert!(order.facts(&n1, big()).is_some());
        for _ in 0..10 {
            assert!(order.facts(&n1, big()).is_none());
        }
        assert!(order.frame(&n1, digest(1)).is_none());
        assert_eq!(order.behind[&n1].waiting.len(), 4);
        assert_eq!(order.behind[&n1].bytes, WAITING_BYTES);

        order.ended(&n1);
        assert!(order.facts(&n1, facts(1)).is_none(), "the last batch is still being checked");
        assert_eq!(order.checked(&n1), Next { frames: vec![], facts: Some(facts(1)) });
        assert_eq!(order.checked(&n1), Next::default());
        assert!(order.behind.is_empty());
    }
}
