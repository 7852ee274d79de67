//! What follows from view and facts: one file per name that people say. Services do not know each other; they meet in
//! facts, in the view and in the messages that they exchange across fulcrums.
//!
//! Frozen for the rooms that build on it: [`instance`], [`plan`], [`verdict`] and [`message`].

pub mod instance;
pub mod message;
pub mod plan;
pub mod proctor;
pub mod verdict;
