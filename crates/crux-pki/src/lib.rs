//! The one place that sees X.509 and private keys: certificates to names, the trust set, keys, signatures, the small CA.
//!
//! A certificate is worth something here only as an [`Admitted`], and only [`Trust`] can make one. An identity is exactly
//! one SPIFFE URI, compared bytewise; a subject is written for people and never decides anything. Nothing in this crate
//! reads the clock on its own account while verifying: the time is an argument, in Unix seconds.
//!
//! Files by subject: `identity` (names), `extension` (admission number, labels and scopes), `leaf` (our own rules for a leaf),
//! `trust` (path and rules together), `refusal` (why not), `life` (warnings before the end), `key` (Ed25519 and P-256),
//! `mint` (building certificates), `ca`, `bundle`, `tar` (bundles as archives), `files`, `inspect`, `roots` (changing a trust set on disk), `tls`, `live` (roots
//! and certificates exchanged while links live), `age` (files that only a passphrase or a key opens), `facts` (signing and checking fact versions), `fuzz` (any bytes at all).

pub mod age;
mod bundle;
mod ca;
#[cfg(test)]
mod corpus;
mod extension;
pub mod facts;
mod files;
pub mod fuzz;
mod identity;
mod inspect;
mod key;
mod leaf;
mod life;
mod live;
mod mint;
mod refusal;
mod roots;
mod tar;
mod tls;
mod trust;
mod words;

pub use bundle::{Bundle, bundle_settings};
pub use ca::{Ca, IssueRequest, RenewRequest};
pub use files::{PkiError, certificates_of_pem};
pub use identity::{Identity, Role, RoleKind};
pub use inspect::{Inspection, Judge, KeyState, Place, Summary, inspect, inspect_by};
pub use key::{PublicKey, Signer, verify_signature};
pub use life::{Life, LifeWarning};
pub use live::{BundleChange, LiveBundle, LiveTrust, RootChange};
pub use refusal::{Refusal, UriTrick};
pub use roots::{change_roots, roots_of, roots_pem};
pub use tls::{client_config, live_client_config, live_server_config, server_config};
pub use trust::{Admitted, Trust, fingerprint};
pub use words::{Trouble, count, span, span_ms};

pub use crux_core::facts::scope::{BadScope, Scope, Scopes, Verb};

/// Wiping secrets from memory.
pub use zeroize;

/// A certificate in DER, as rustls wants it.
pub use rustls::pki_types::CertificateDer;

/// The first day on which this release can run (2026-11-01). A clock before it is wrong. Raised with each release.
pub const BUILD_DATE: u64 = 1_793_491_200;
/// The longest life of a node's certificate that a verifier accepts, in days.
pub const NODE_MAX_DAYS: u32 = 400;
/// The longest life of an operator's or a beacon's certificate that a verifier accepts, in days.
pub const OPERATOR_MAX_DAYS: u32 = 100;
/// The longest life of a workload's certificate that a verifier accepts, in days.
pub const WORKLOAD_MAX_DAYS: u32 = 1;
/// Largest certificate that is read, in bytes. Ours have about 600, those of others seldom more than 4,000.
pub const CERTIFICATE_MAX: usize = 16 * 1024;
/// Most certificates of a chain: a leaf and the six intermediates that path validation follows.
pub const CHAIN_MAX: usize = 7;
/// Most roots of a trust set.
pub const ROOTS_MAX: usize = 32;
/// How far `notBefore` is set back, so that a machine whose clock is a little slow can start: seconds.
pub const BACKDATE: u64 = 300;

const DAY: u64 = 86_400;

/// SHA-256.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    crux_core::hash::sha256(bytes).0
}

/// The wall clock in Unix seconds; zero if it stands before 1970.
#[must_use]
pub fn unix_now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
