//! How far this machine's clock is from its peers': some of them are asked now and then, and the middle of their answers
//! counts, so that one wrong clock misleads nobody.

use crate::peers::{AskSight, Peers};
use crux_link::Links;
use crux_names::Member;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;

/// How often peers are asked, and how soon while nobody has answered yet.
const EVERY: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(2);
/// How many are asked at once.
const ASKED: usize = 5;
/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Nothing is known.
const UNKNOWN: i64 = i64::MIN;

/// What is known of it. Copies share it.
#[derive(Clone, Debug)]
pub(crate) struct Skew(Arc<AtomicI64>);

impl Skew {
    /// Nothing is known yet.
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicI64::new(UNKNOWN)))
    }

    /// How far the clock here is ahead of the middle of the peers', in milliseconds; nothing if nobody was asked.
    pub(crate) fn ms(&self) -> Option<i64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|skew| *skew != UNKNOWN)
    }

    /// Asks again and again until it is aborted. Those that are asked change from time to time.
    pub(crate) async fn watch(self, links: Links, peers: Peers) {
        let mut turn = 0;
        loop {
            let linked: Vec<Member> = links.links().into_iter().map(|link| link.peer.member).collect();
            let asked: Vec<Member> =
                linked.iter().cycle().skip(turn % linked.len().max(1)).take(ASKED.min(linked.len())).cloned().collect();
            turn = turn.wrapping_add(ASKED);
            let skew = middle(ahead_of(&peers, asked).await.into_iter().map(|(_, skew)| skew).collect());
            self.0.store(skew.unwrap_or(UNKNOWN), Ordering::Relaxed);
            tokio::time::sleep(if skew.is_some() { EVERY } else { SOON }).await;
        }
    }
}

/// How far the clock here is ahead of each of these, in milliseconds; nothing of those that do not answer.
pub(crate) async fn ahead_of(peers: &Peers, members: Vec<Member>) -> Vec<(Member, i64)> {
    let mut asked = JoinSet::new();
    for member in members {
        let peers = peers.clone();
        asked.spawn(async move {
            let ask = AskSight { clock_only: true, ..AskSight::default() };
            let before = crate::wall().0;
            let sight = peers.sight_of(&member, ask, PATIENCE).await.ok()?;
            let skew = ahead_ms(before, sight.wall, crate::wall().0);
            Some((member, skew))
        });
    }
    asked.join_all().await.into_iter().flatten().collect()
}

/// How far the clock here is ahead of one that showed `there` between two looks here; all in microseconds.
pub(crate) fn ahead_ms(before: u64, there: u64, after: u64) -> i64 {
    let here = i128::from(before.midpoint(after));
    i64::try_from((here - i128::from(there)) / 1_000).unwrap_or(i64::MAX)
}

fn middle(mut skews: Vec<i64>) -> Option<i64> {
    skews.sort_unstable();
    skews.get(skews.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wrong_clock_misleads_nobody() {
        assert_eq!(middle(vec![]), None);
        assert_eq!(middle(vec![3]), Some(3));
        assert_eq!(middle(vec![86_400_000, 2, -1]), Some(2));
    }

    #[test]
    fn the_way_there_and_back_is_halved() {
        assert_eq!(ahead_ms(1_000_000, 1_010_000, 1_020_000), 0);
        assert_eq!(ahead_ms(5_000_000, 1_000_000, 5_000_000), 4_000);
        assert_eq!(ahead_ms(1_000_000, 5_000_000, 1_000_000), -4_000);
    }

    #[test]
    fn nothing_is_known_before_somebody_was_asked() {
        assert_eq!(Skew::new().ms(), None);
    }
}
