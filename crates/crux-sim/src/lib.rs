//! The simulator: the heart of crux in an invented world, thousands of seeds of it, with the rules that must hold as
//! library code. It knows the heart and nothing else: no runtime, no socket, no clock.
//!
//! [`world`] is time, links and faults; [`flocks`] is flocking alone in it; [`engines`] are whole fulcrums in it, each on a
//! [`machine`]; [`swarm`] is a run from one seed; [`settled`] is what must be true when it is quiet; [`invariants`] are the
//! rules that hold at every step, one a file.

pub mod engines;
pub mod flocks;
pub mod invariants;
pub mod machine;
pub mod operator;
pub mod settled;
pub mod swarm;
pub mod world;
