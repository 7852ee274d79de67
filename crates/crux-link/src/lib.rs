//! Links between fulcrums: one QUIC connection per pair, mutual certificates, admitted by an application's welcome.
//!
//! [`Links`] binds one UDP socket, dials from it and accepts at it. What happens comes out as [`LinkEvent`]s, in order for
//! each member: `Up`, then its datagrams, frames and bulk streams, then `Down`. A link counts only after the welcome: a
//! QUIC client's connect can succeed against a server that is about to refuse it. Frames are reliable and ordered between
//! an `Up` and its `Down`; datagrams may be lost. Nothing here decides who is alive: the heart's probes do, and a link's
//! own timeout is longer than theirs.
//!
//! A link outlives its connections: its keys are replaced every two minutes (less often in large flocks) by a new
//! connection that takes over without a gap, and it is cut where that does not succeed in time, when a certificate ends,
//! and when no trusted root vouches for the peer any more.
//!
//! A renewal: whoever dialled the link dials again and names it in its hello; the acceptor welcomes the new connection as
//! the successor of the one that carries it, for the same two lives. From *ready* on each side sends its frames on a
//! stream of the new connection, after the clean end of its stream on the old one; the receiver tells all of the old
//! stream before the first of the new. Datagrams may come by either. The old connection goes when both sides have said
//! that nothing of theirs is on it, or, with the bulk transfers that are still under way, when its keys are too old. If it
//! is lost before its frames have arrived, the link has ended: a frame would be missing.
//!
//! Files by subject: `config`, `event` (what comes out), `counters`, `endpoint` (QUIC and TLS settings), `identity` (who we
//! are now), `gate` (faults of a dev cluster), `wire` (hello and welcome), `registry` (who is linked), `strangers` (who is
//! at the door), `dial`, `turns` (how many dials at once), `arrivals` (a dial waits for who comes from there), `knock` (is a port reached), `door` (accepting), `conn` (one connection), `live` and `link` (a link, from outside and its
//! task), `bulk` (streams for transfers), `keeper` (renews and cuts), `fuzz` (any bytes at all).

mod arrivals;
mod bulk;
mod config;
mod conn;
mod counters;
mod dial;
mod door;
mod endpoint;
mod event;
pub mod fuzz;
mod gate;
mod identity;
mod keeper;
mod knock;
mod link;
mod links;
mod live;
mod registry;
mod strangers;
mod turns;
mod wire;

pub use bulk::{RecvStream, SendStream};
pub use config::{BindError, LinkConfig, ReloadError, Simulated, Timing};
pub use counters::{Counters, Planes};
pub use event::{DialFailure, LinkEvent, LinkInfo, PeerInfo, Room};
pub use gate::{FaultGate, Rule};
pub use links::{BulkError, Links};

// What speaks over links keeps to these.
pub use crux_core::wire::{FRAME_MAX, QUEUE_BYTES, QUEUE_FRAMES};
