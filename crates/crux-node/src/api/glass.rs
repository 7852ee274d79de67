//! Looks that are shared. A look at all of the engine holds up the heart for as long as it takes; so whoever wants to see the
//! same at about the same time gets the same document, and however many watch, there are only a few looks a second.

use crux_core::picture;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// At least so long lies between two looks at the same.
const PAUSE: Duration = Duration::from_millis(200);

/// One thing to be seen.
pub(crate) struct Glass<T>(tokio::sync::Mutex<Option<(Instant, Arc<T>)>>);

impl<T> Default for Glass<T> {
    fn default() -> Self {
        Self(tokio::sync::Mutex::default())
    }
}

impl<T> Glass<T> {
    /// What a look sees that began after this was called: somebody else's, if there was one meanwhile, or one of its own as
    /// soon as the last one is long enough ago.
    ///
    /// # Errors
    /// Those of the look.
    pub(crate) async fn see<E>(&self, look: impl Future<Output = Result<T, E>>) -> Result<Arc<T>, E> {
        let asked = Instant::now();
        // Who comes meanwhile waits here; they are served in their order.
        let mut last = self.0.lock().await;
        if let Some((began, seen)) = &*last {
            if *began > asked {
                return Ok(seen.clone());
            }
            tokio::time::sleep_until(*began + PAUSE).await;
        }
        let began = Instant::now();
        let seen = Arc::new(look.await?);
        *last = Some((began, seen.clone()));
        Ok(seen)
    }
}

/// Everything that is looked at together.
#[derive(Default)]
pub(crate) struct Glasses {
    pub(super) confab: Glass<picture::Confab>,
    pub(super) status: Glass<picture::Status>,
    texts: Mutex<BTreeMap<&'static str, Arc<Glass<String>>>>,
}

impl Glasses {
    /// The documents of a kind, written out.
    pub(super) fn texts(&self, kind: &'static str) -> Arc<Glass<String>> {
        self.texts.lock().unwrap_or_else(PoisonError::into_inner).entry(kind).or_default().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    /// A review's find: each watcher cost the heart a look at everything at each change, without a pause.
    #[tokio::test(start_paused = true)]
    async fn however_many_watch_whatever_happens_looks_are_few_and_see_the_last_of_it() {
        let (glass, looks) = (Arc::new(Glass::<u64>::default()), Arc::new(AtomicU32::new(0)));
        let (change, changed) = tokio::sync::watch::channel(0_u64);
        let watch = |_| {
            let (glass, looks, mut changed) = (glass.clone(), looks.clone(), changed.clone());
            tokio::spawn(async move {
                let mut last = 0;
                while last != 1_000 {
                    changed.mark_unchanged();
                    let look = async {
                        looks.fetch_add(1, Relaxed);
                        Ok::<_, ()>(*changed.borrow())
                    };
                    last = *glass.see(look).await.unwrap();
                    if last != 1_000 {
                        changed.changed().await.unwrap();
                    }
                }
            })
        };
        let began = Instant::now();
        let watchers: Vec<_> = (0..256).map(watch).collect();
        for number in 1..=1_000 {
            tokio::time::sleep(Duration::from_millis(1)).await; // waits: it is the time between changes, and paused
            change.send_replace(number);
        }
        for watcher in watchers {
            tokio::time::timeout(PAUSE * 3, watcher).await.expect("it sees the last change").unwrap();
        }
        let (looks, most) = (looks.load(Relaxed), began.elapsed().as_millis() / PAUSE.as_millis() + 2);
        assert!(looks > 2 && u128::from(looks) <= most, "{looks} looks, and not {most}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_alone_waits_for_nothing_and_sees_nothing_old() {
        let glass = Glass::<u64>::default();
        let began = Instant::now();
        assert_eq!(*glass.see(async { Ok::<_, ()>(1) }).await.unwrap(), 1);
        assert_eq!(began.elapsed(), Duration::ZERO);
        assert_eq!(*glass.see(async { Ok::<_, ()>(2) }).await.unwrap(), 2, "asked after the last look began");
        assert_eq!(began.elapsed(), PAUSE);
        assert_eq!(glass.see(async { Err(3) }).await.unwrap_err(), 3);
        assert_eq!(*glass.see(async { Ok::<_, ()>(4) }).await.unwrap(), 4, "what failed is not kept");
    }
}
