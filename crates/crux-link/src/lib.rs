//! Links between fulcrums: one QUIC connection per pair, mutual certificates, admitted by an application's welcome.
//!
//! [`Links`] binds one UDP socket, dials from it and accepts at it. What happens comes out as [`LinkEvent`]s, in order for
//! each member: `Up`, then its datagrams, frames and bulk streams, then `Down`. A link counts only after the welcome: a
//! QUIC client's connect can succeed against a server that is about to refuse it. Frames are reliable and ordered between
//! an `Up` and its `Down`; datagrams may be lost. Nothing here decides who is alive: the heart's probes do, and a link's
//! own timeout is longer than theirs.
//!
//! Files by subject: `config`, `event` (what comes out), `endpoint` (QUIC and TLS settings), `gate` (faults of a dev
//! cluster), `wire` (hello and welcome), `registry` (who is linked), `dial`, `door` (accepting), `link` (a running link).

mod config;
mod dial;
mod door;
mod endpoint;
mod event;
mod gate;
mod link;
mod links;
mod registry;
mod wire;

pub use config::{BindError, LinkConfig, Timing};
pub use event::{DialFailure, LinkEvent, LinkInfo, PeerInfo};
pub use gate::{FaultGate, Rule};
pub use links::{BulkError, Links};
pub use quinn::{RecvStream, SendStream};

/// Longest frame in bytes.
pub const FRAME_MAX: usize = 1 << 20;
/// Most frames waiting to be sent to one member.
pub const QUEUE_FRAMES: usize = 1_024;
/// Most bytes of frames waiting to be sent to one member.
pub const QUEUE_BYTES: usize = 2 << 20;
