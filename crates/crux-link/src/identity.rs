//! Who we are and whom we trust, exchanged while links live.

use crux_pki::{Admitted, Bundle, CertificateDer, Refusal, Trust};
use quinn::Connection;
use std::sync::Arc;

/// One generation of certificate, key and roots.
pub(crate) struct Identity {
    /// Counts up with each exchange.
    pub(crate) generation: u64,
    pub(crate) bundle: Arc<Bundle>,
    pub(crate) trust: Arc<Trust>,
}

impl Identity {
    /// Who the certificate at the other end speaks for, by these roots.
    pub(crate) fn verify(&self, connection: &Connection, now: u64) -> Result<Admitted, Refusal> {
        let shown = connection.peer_identity().and_then(|any| any.downcast::<Vec<CertificateDer<'static>>>().ok());
        self.trust.verify_chain(&shown.ok_or(Refusal::NoCertificate)?, now)
    }

    /// Whether both show the same certificate.
    pub(crate) fn shows_the_same(&self, other: &Self) -> bool {
        self.bundle.chain() == other.bundle.chain()
    }
}
