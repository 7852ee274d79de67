//! How many dials are under way at once: as many as this host can do. Each costs milliseconds of a processor here and at the
//! other end, and what links carry waits behind it. Where many begin at once on a slow host, links that there are would miss
//! their probes, be closed, and need a handshake again: nothing would ever come to its end. So while the loop comes late
//! there are fewer at once, the newest first, for that is what is wanted now. The door has no such bound: who floods it would
//! take all turns.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// So many at once at first, and as few as there can be.
const FIRST: usize = 64;
const LEAST: usize = 2;
/// More than the 512 that can be under way: no bound.
const MOST: usize = 1_024;
/// How often it is looked whether the loop comes in time, while dials are under way.
const LOOK: Duration = Duration::from_millis(50);
/// Later than this is late.
const LATE: Duration = Duration::from_millis(50);
/// What was measured so long ago says nothing any more.
const STALE: Duration = Duration::from_secs(2);

struct State {
    at_once: usize,
    under_way: usize,
    measured: Instant,
    measuring: bool,
    /// The newest last.
    waiting: Vec<oneshot::Sender<Turn>>,
}

/// The dials of one fulcrum.
pub(crate) struct Turns(Mutex<State>);

/// One dial that is under way; the next has its turn when this is dropped.
pub(crate) struct Turn(Option<Arc<Turns>>);

impl Turns {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            at_once: FIRST,
            under_way: 0,
            measured: Instant::now(),
            measuring: false,
            waiting: Vec::new(),
        })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a turn. Whoever does not want to wait any more drops the future.
    pub(crate) async fn take(self: &Arc<Self>) -> Turn {
        let turn = {
            let mut state = self.lock();
            if state.under_way == 0 && state.measured.elapsed() > STALE {
                state.at_once = state.at_once.max(FIRST);
            }
            if !state.measuring {
                state.measuring = true;
                tokio::spawn(self.clone().measure());
            }
            if state.under_way < state.at_once {
                state.under_way += 1;
                return Turn(Some(self.clone()));
            }
            let (give, turn) = oneshot::channel();
            state.waiting.retain(|waits| !waits.is_closed());
            state.waiting.push(give);
            turn
        };
        match turn.await {
            Ok(turn) => turn,
            // It is only dropped when it is given.
            Err(_) => Turn(None),
        }
    }

    /// Gives what turns there are to the newest who still wait.
    fn give(self: &Arc<Self>) {
        loop {
            let mut state = self.lock();
            if state.under_way >= state.at_once {
                return;
            }
            let Some(newest) = state.waiting.pop() else { return };
            state.under_way += 1;
            drop(state);
            // Who waits no more drops its turn, which comes here again.
            drop(newest.send(Turn(Some(self.clone()))));
        }
    }

    /// Looks whether the loop comes in time for as long as there is anything to do.
    async fn measure(self: Arc<Self>) {
        loop {
            let began = Instant::now();
            tokio::time::sleep(LOOK).await;
            let late = began.elapsed() > LOOK + LATE;
            {
                let mut state = self.lock();
                state.measured = Instant::now();
                state.at_once = match late {
                    true => (state.at_once / 2).max(LEAST),
                    false => (state.at_once + 1 + state.at_once / 8).min(MOST),
                };
                state.waiting.retain(|waits| !waits.is_closed());
                if state.under_way == 0 && state.waiting.is_empty() {
                    state.measuring = false;
                    return;
                }
            }
            self.give();
        }
    }

    #[cfg(test)]
    fn now(&self) -> (usize, usize, usize) {
        let state = self.lock();
        (state.at_once, state.under_way, state.waiting.len())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(turns) = self.0.take() {
            turns.lock().under_way -= 1;
            turns.give();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Poll;

    /// Time goes by, and the loop looks at it only then.
    async fn stands_still(time: Duration) {
        tokio::time::advance(time).await;
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_comes_late_has_few_at_once_and_the_newest_first() {
        let turns = Turns::new();
        let mut held = Vec::new();
        for _ in 0..FIRST {
            held.push(turns.take().await);
        }
        for _ in 0..10 {
            stands_still(LOOK + LATE + LATE).await;
        }
        assert_eq!(turns.now(), (LEAST, FIRST, 0), "late ten times");
        let mut waits: Vec<_> = (0..3).map(|_| Box::pin(turns.take())).collect();
        for wait in &mut waits {
            assert!(matches!(futures_now(wait.as_mut()).await, Poll::Pending));
        }
        // The middle one wants it no more, the last one has it first.
        drop(waits.remove(1));
        held.truncate(LEAST);
        assert_eq!(turns.now().1, LEAST);
        held.truncate(LEAST - 1);
        let newest = futures_now(waits[1].as_mut()).await;
        assert!(matches!(newest, Poll::Ready(_)), "the newest has its turn");
        assert!(matches!(futures_now(waits[0].as_mut()).await, Poll::Pending));
        drop((held, newest));
        let Poll::Ready(oldest) = futures_now(waits[0].as_mut()).await else { panic!("nobody else is left") };
        // In time again, there are more with each look, and at rest nothing is looked at.
        for _ in 0..40 {
            stands_still(LOOK).await;
        }
        assert!(turns.now().0 > 4 * FIRST, "{:?}", turns.now());
        drop(oldest);
        stands_still(LOOK).await;
        assert!(turns.now().1 == 0 && !turns.lock().measuring);
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_comes_to_nobody_is_given_on() {
        let turns = Turns::new();
        turns.lock().at_once = 1;
        let held = turns.take().await;
        let mut gone = Box::pin(turns.take());
        assert!(matches!(futures_now(gone.as_mut()).await, Poll::Pending));
        drop(held);
        assert_eq!(turns.now().1, 1, "it was given");
        drop(gone);
        assert_eq!(turns.now().1, 0, "and given back");
    }

    /// What a future has now.
    async fn futures_now<F: Future>(mut future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
        std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
    }
}
