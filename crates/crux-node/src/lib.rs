//! The hands of crux: the driver, the effects, the store and the doors. Everything that decides is in `crux-core`.
//!
//! Reading order: [`up`] (one fulcrum from start to end), `driver` (its one loop), [`effects`] and [`store`] (what it does
//! to the world), `api` (the local door), `peers` (streams between fulcrums), [`dev`] (a throw-away cluster).

mod api;
mod ask;
pub mod dev;
mod driver;
pub mod effects;
mod events;
mod harden;
mod notify;
mod peers;
mod seeds;
pub mod store;
pub mod up;

pub use api::SocketError;
pub use effects::supervise_main;

pub(crate) use driver::wall;

/// The mesh port (UDP) of a fulcrum that was told no other.
pub const MESH_PORT: u16 = 2789;
