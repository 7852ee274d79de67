//! Whose word makes a fulcrum begin anew. A peer that knows a later life of it, from before its state was lost or put back,
//! is right; but any node can say so, and each beginning costs the flock two views.

use crux_names::NodeName;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// Nobody is believed again in this time.
const STEADY: Duration = Duration::from_secs(60);
/// The same node is not believed again in this time. Whoever told the truth knows no later life afterwards, so a second
/// word of it is a lie or a copy of this node, and neither is mended by beginning anew.
const ONE_WORD: Duration = Duration::from_secs(3_600);

/// Who was believed, and when. It outlives the lives that it ends.
#[derive(Clone, Debug, Default)]
pub(crate) struct Anew {
    believed: BTreeMap<NodeName, Instant>,
}

impl Anew {
    /// Whether the word of this node is to be followed.
    pub(crate) fn may(&self, node: &NodeName, now: Instant) -> bool {
        let since = |at: &Instant| now.saturating_duration_since(*at);
        self.may_at_all(now) && self.believed.get(node).is_none_or(|at| since(at) >= ONE_WORD)
    }

    /// Whether the last beginning is long enough ago for another, whoever wants it.
    pub(crate) fn may_at_all(&self, now: Instant) -> bool {
        self.believed.values().all(|at| now.saturating_duration_since(*at) >= STEADY)
    }

    /// The word of this node is followed; this fulcrum's own, where it wants to begin anew itself.
    pub(crate) fn follow(&mut self, node: NodeName, now: Instant) {
        // One a minute at most, so no more than sixty are remembered.
        self.believed.retain(|_, at| now.saturating_duration_since(*at) < ONE_WORD);
        self.believed.insert(node, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_node_is_believed_once_an_hour_and_anybody_once_a_minute() {
        let (one, two): (NodeName, NodeName) = ("n1".parse().unwrap(), "n2".parse().unwrap());
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut anew = Anew::default();
        assert!(anew.may(&one, at(0)));
        anew.follow(one.clone(), at(0));
        assert!(!anew.may_at_all(at(59)) && anew.may_at_all(at(60)));
        assert!(!anew.may(&two, at(59)) && anew.may(&two, at(60)) && !anew.may(&one, at(60)));
        anew.follow(two.clone(), at(60));
        assert!(!anew.may(&one, at(3_599)) && anew.may(&one, at(3_600)) && !anew.may(&two, at(3_600)));
        // Another that says it again and again: an hour has one beginning for it.
        let mut liar = Anew::default();
        let times = (0..3_600).filter(|second| {
            let may = liar.may(&one, at(*second));
            if may {
                liar.follow(one.clone(), at(*second));
            }
            may
        });
        assert_eq!(times.count(), 1);
        assert!(liar.believed.len() == 1);
    }
}
