//! What may be asked of the driver: a look at the engine, or a command to it.

use crux_core::engine::Engine;
use crux_core::io::{Command, Reply};
use crux_names::{Time, Wall};
use tokio::sync::{mpsc, oneshot, watch};

/// The two clocks at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    /// The monotonic one, which decides.
    pub(crate) time: Time,
    /// The wall clock, which is shown and stamped.
    pub(crate) wall: Wall,
}

/// A read-only look at the engine between two inputs. It must be short: the flock waits meanwhile.
pub(crate) type Look = Box<dyn FnOnce(&Engine, Now) + Send>;

/// One question to the driver.
pub(crate) enum Ask {
    /// Read something.
    Look(Look),
    /// Do something.
    Command {
        /// What.
        command: Command,
        /// Where the engine's answer goes.
        reply: oneshot::Sender<Reply>,
    },
}

/// The driver has ended: the fulcrum is going down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gone;

/// How others ask. Cloned freely.
#[derive(Clone)]
pub(crate) struct Asker {
    asks: mpsc::Sender<Ask>,
    changed: watch::Receiver<u64>,
}

impl Asker {
    /// Asks through these channels.
    pub(crate) fn new(asks: mpsc::Sender<Ask>, changed: watch::Receiver<u64>) -> Self {
        Self { asks, changed }
    }

    /// Looks at the engine.
    ///
    /// # Errors
    /// [`Gone`] once the driver has ended.
    pub(crate) async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Engine, Now) -> T + Send + 'static,
    ) -> Result<T, Gone> {
        let (tell, told) = oneshot::channel();
        let look: Look = Box::new(move |engine, now| {
            // Who asked may have gone meanwhile.
            let _ = tell.send(look(engine, now));
        });
        self.asks.send(Ask::Look(look)).await.map_err(|_| Gone)?;
        told.await.map_err(|_| Gone)
    }

    /// Commands the engine and waits for its reply.
    ///
    /// # Errors
    /// [`Gone`] once the driver has ended.
    pub(crate) async fn command(&self, command: Command) -> Result<Reply, Gone> {
        let (reply, replied) = oneshot::channel();
        self.asks.send(Ask::Command { command, reply }).await.map_err(|_| Gone)?;
        replied.await.map_err(|_| Gone)
    }

    /// Becomes changed whenever what watchers see may have changed.
    pub(crate) fn changed(&self) -> watch::Receiver<u64> {
        self.changed.clone()
    }
}
