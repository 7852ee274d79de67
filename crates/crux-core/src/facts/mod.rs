//! Facts: what operators want, everywhere. Every fulcrum holds all facts of its bloc, so any part of a split bloc can go
//! on managing what it has. Source: the design's `control-plane.md`.
//!
//! Frozen for the rooms that build on it: [`version`] (what is signed, how it is hashed) and [`value`] (what the
//! values say).

pub mod value;
pub mod version;
