//! The heart of crux: everything that decides. It does no IO, reads no clock, starts no thread and draws no randomness
//! but from a seed that came in; the simulator runs it by the thousand and the daemon runs it once.
//!
//! One door: [`engine::Engine::handle`] takes an [`io::Input`] and answers with [`io::Output`]s;
//! [`engine::Engine::deadline`] says when it wants to be woken. `no_std` makes the claim hold: the crate *cannot* touch a
//! socket, a clock or a hash-ordered map.
//!
//! Inside, arrows go one way: `names <- {flock, facts, khan} <- services <- {wire, io} <- engine`. `flock` and `facts` do
//! not know each other; services do not know each other: they meet in facts and in the view.
//!
//! Reading order: [`flock`] (who is here), [`facts`] (what is known), [`khan`] (how many, where, after what),
//! [`services`] (what follows), [`wire`] (the bytes), [`io`] and [`engine`] (the door).
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod engine;
pub mod facts;
pub mod flock;
pub mod hash;
pub mod io;
pub mod khan;
mod lists;
pub mod picture;
pub mod resources;
pub mod services;
pub mod wire;
