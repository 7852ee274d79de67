//! A node that streams: operators write at its door without a pause, and it pushes what they write to all others.

use crate::{Loader, label};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::runtime::Runtime;

/// So many writers stand at the door, and so many facts a request has.
const WRITERS: usize = 8;
const BATCH: usize = 5;
/// Between two requests of a writer.
const PAUSE: Duration = Duration::from_millis(50);

/// Writers at the door of one node, whose requests it may refuse; they end when this is dropped.
#[derive(Debug)]
pub struct Stream {
    runtime: Option<Runtime>,
    over: Arc<AtomicBool>,
    taken: Arc<AtomicUsize>,
}

impl Stream {
    /// Begins to write at a machine's door.
    ///
    /// # Panics
    /// If there is no runtime to be had.
    #[must_use]
    pub fn start(loader: Loader, at: usize) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let loader = Arc::new(loader);
        let (over, taken) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        for writer in 0..WRITERS {
            let (loader, over, taken) = (loader.clone(), over.clone(), taken.clone());
            runtime.spawn(async move {
                let mut clock = tokio::time::interval(PAUSE);
                for round in 0.. {
                    clock.tick().await;
                    let versions = (0..BATCH).map(|n| loader.seal(&label(&format!("s{writer}-{round}-{n}"), n), None));
                    let written = loader.write(at, versions.collect()).await;
                    if written.is_ok() {
                        taken.fetch_add(BATCH, Ordering::Relaxed);
                    }
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                }
            });
        }
        Self { runtime: Some(runtime), over, taken }
    }

    /// How many facts the door took.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
