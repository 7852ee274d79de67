//! The hands of crux: the driver, the effects, the store and the doors. Everything that decides is in `crux-core`.
//!
//! Reading order: [`up`] (one fulcrum from start to end), `driver` (its one loop), [`effects`] and [`store`] (what it does
//! to the world), `api` (the doors' answers), `audit` (what operators did), `port` (the door with mutual TLS), `live` (idle connections that tell that a
//! process died), `peers` (streams between fulcrums), `seek` (looking for others), `turned_away` (who may not
//! link), `metrics`, `page` and `health`, [`dev`] (a throw-away cluster), [`fuzz`] (any bytes at all).

mod anew;
mod api;
mod ask;
mod audit;
mod capacity;
pub mod dev;
mod driver;
pub mod effects;
mod events;
pub mod fuzz;
mod harden;
mod health;
mod live;
mod metrics;
mod notify;
mod page;
mod papers;
mod peers;
mod port;
mod seeds;
mod seek;
mod skew;
pub mod store;
mod turned_away;
pub mod up;

pub use api::SocketError;
pub use effects::supervise_main;
pub use harden::no_dumps;
pub use port::PortError;

pub(crate) use driver::wall;

/// The mesh port (UDP) of a fulcrum that was told no other.
pub const MESH_PORT: u16 = 2789;
/// The API port (TCP) of a fulcrum that was told no other.
pub const API_PORT: u16 = 2789;
/// Where a fulcrum that was told nothing else shows its metrics (TCP, loopback).
pub const METRICS_PORT: u16 = 2781;
/// Where a fulcrum that was told nothing else answers programs that are no operators (TCP, loopback).
pub const PAGE_PORT: u16 = 2780;
