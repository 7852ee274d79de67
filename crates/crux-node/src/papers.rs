//! Who this fulcrum is now, and whom it trusts: exchanged as a whole while it lives, without a restart.

use crux_names::NodeName;
use crux_pki::{Admitted, Bundle, LiveBundle, PkiError, Refusal, Trust, unix_now};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// How often the end of a certificate is looked at again while something waits for it: wall clocks jump.
const EXPIRY_CHECK: Duration = Duration::from_secs(30);

/// The bundle that is in use. Cheap to clone; copies share it.
#[derive(Clone, Debug)]
pub(crate) struct Papers {
    live: LiveBundle,
    shown: watch::Sender<Arc<Bundle>>,
    /// Why the bundle that was found last is not the one that counts.
    not_taken: Arc<Mutex<Option<String>>>,
}

impl Papers {
    /// Those of the start.
    ///
    /// # Errors
    /// If key and certificate cannot be used together.
    pub(crate) fn new(bundle: Bundle) -> Result<Self, PkiError> {
        let live = LiveBundle::new(bundle)?;
        let shown = watch::Sender::new(live.load());
        Ok(Self { live, shown, not_taken: Arc::default() })
    }

    /// The handle that TLS asks at every handshake.
    pub(crate) fn live(&self) -> &LiveBundle {
        &self.live
    }

    /// The bundle that counts now.
    pub(crate) fn now(&self) -> Arc<Bundle> {
        self.shown.borrow().clone()
    }

    /// The same, and to be told of each exchange.
    pub(crate) fn follow(&self) -> watch::Receiver<Arc<Bundle>> {
        self.shown.subscribe()
    }

    /// Lets another bundle count from now on, if it is of the same identity, no older admission, and good.
    ///
    /// # Errors
    /// Why it is not taken; then nothing changes.
    pub(crate) fn replace(&self, bundle: Bundle) -> Result<(), PkiError> {
        self.live.replace(bundle, unix_now())?;
        self.shown.send_replace(self.live.load());
        Ok(())
    }

    /// Refuses these nodes from now on, each up to an admission, at every door; whoever waits in [`Papers::refuses`] is told.
    ///
    /// # Errors
    /// Why nothing changed.
    pub(crate) fn expel(&self, expelled: BTreeMap<NodeName, u32>) -> Result<(), PkiError> {
        self.live.refuse(Arc::new(expelled))?;
        self.shown.send_replace(self.live.load());
        Ok(())
    }

    /// Whom links may be had with.
    pub(crate) fn trust(&self) -> Arc<Trust> {
        self.live.trust().load()
    }

    /// Notes why a newer bundle is not taken; `None` once the newest one counts.
    pub(crate) fn note(&self, not_taken: Option<String>) {
        *self.not_taken.lock().unwrap_or_else(PoisonError::into_inner) = not_taken;
    }

    /// Why the newest bundle does not count, if so.
    pub(crate) fn not_taken(&self) -> Option<String> {
        self.not_taken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until this peer would not be admitted any more: its certificate has ended, or no root vouches for it now.
    pub(crate) async fn refuses(&self, peer: &Admitted) -> Refusal {
        let mut exchanged = self.shown.subscribe();
        loop {
            exchanged.mark_unchanged();
            let now = unix_now();
            let until = match self.live.trust().load().recheck(peer, now) {
                Ok(admitted) => admitted.not_after(),
                Err(refusal) => return refusal,
            };
            let left = Duration::from_secs(until.saturating_add(1).saturating_sub(now)).min(EXPIRY_CHECK);
            tokio::select! {
                () = tokio::time::sleep(left) => {}
                // Its sender is held here.
                _ = exchanged.changed() => {}
            }
        }
    }
}
