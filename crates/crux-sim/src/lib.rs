//! The simulator: the heart of crux in an invented world, thousands of seeds of it, with the rules that must hold as
//! library code. It knows the heart and nothing else: no runtime, no socket, no clock.
//!
//! [`world`] is time, links and faults; [`flocks`] is flocking alone in it; [`invariants`] are the rules, one a file.

pub mod flocks;
pub mod invariants;
pub mod world;
