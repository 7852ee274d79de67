//! Who may end the process: signals, and in a dev cluster the parent by letting go of the leash.

use super::UpError;
use crate::driver::Stop;
use rustix::process::{Signal, set_parent_process_death_signal};
use std::io::Read as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// Where wishes to end come out. It outlives a restart with a higher boot.
pub(super) struct Stops {
    wishes: mpsc::Receiver<Stop>,
}

impl Stops {
    /// Listens for SIGINT and SIGTERM; for a dev cluster's child also for the end of standard input.
    pub(super) fn listen(dev_child: bool) -> Result<Self, UpError> {
        let fault = |source| UpError::System { what: "listen for signals", source };
        let mut interrupt = signal(SignalKind::interrupt()).map_err(fault)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(fault)?;
        // The first one ends in order, the second one at once; more say nothing new.
        let (wish, wishes) = mpsc::channel(2);
        let stop = Stop { services: dev_child };
        if dev_child {
            // A child that stands still could not notice that its parent is gone: that wakes it.
            if let Err(error) = set_parent_process_death_signal(Some(Signal::CONT)) {
                tracing::warn!("a paused fulcrum may outlive its dev cluster: {error}");
            }
            let wish = wish.clone();
            let leash = move || {
                let mut rest = [0; 64];
                // Nothing is ever written there: it ends when its other end is closed.
                while std::io::stdin().read(&mut rest).is_ok_and(|read| read > 0) {}
                let _ = wish.blocking_send(stop);
            };
            std::thread::Builder::new()
                .name("crux-leash".into())
                .spawn(leash)
                .map_err(|source| UpError::System { what: "start a thread", source })?;
        }
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                if wish.send(stop).await.is_err() {
                    return;
                }
            }
        });
        Ok(Self { wishes })
    }

    /// Waits until somebody wants the process to end, while there is no driver yet.
    pub(super) async fn asked(&mut self) {
        let _ = self.wishes.recv().await;
    }

    /// The channel that the driver reads, lent for one life.
    pub(super) fn lend(&mut self) -> mpsc::Receiver<Stop> {
        std::mem::replace(&mut self.wishes, mpsc::channel(1).1)
    }

    /// Takes the channel back.
    pub(super) fn give_back(&mut self, wishes: mpsc::Receiver<Stop>) {
        self.wishes = wishes;
    }
}
