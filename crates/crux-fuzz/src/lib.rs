//! Fuzz targets for every reader of bytes that come from a network, from disk or from a person, and a driver for them
//! that needs no nightly compiler. Nothing of this is in any program.
//!
//! A target reads its input and, where that makes sense, asserts what must hold: written again it reads the same, one
//! thing has one spelling, no length is believed. `tests/targets.rs` gives each target its corpus and some thousand
//! inputs made from good ones, `tests/complete.rs` fails when a reader has no target, `cargo xtask fuzz` runs longer, and
//! `fuzz/` holds wrappers for cargo-fuzz, for who has it.
//!
//! Files by subject: [`mutate`] (inputs), [`drive`] (running), [`memory`] (how much is held); the targets: [`wire`] (what
//! fulcrums tell each other), [`facts`], [`words`] (names, khan and other texts), [`papers`] (certificates, keys,
//! bundles), [`links`], [`node`] (disk, peers, doors), [`api`] (documents and manifests).

pub mod api;
pub mod drive;
pub mod facts;
pub mod links;
pub mod memory;
pub mod mutate;
pub mod node;
pub mod papers;
pub mod wire;
pub mod words;

use drive::Target;

/// Inputs of a short run, for a reader of some microseconds.
const MANY: u32 = 20_000;
/// The same for one of some hundred microseconds.
const SOME: u32 = 5_000;
/// Bytes that any reader may hold.
const LITTLE: usize = 1 << 20;
/// Bytes that a reader may hold for each byte of its input, if nothing else is said: a list's entry of a few bytes
/// becomes a structure of some strings, in a vector that is copied as it grows.
const FACTOR: usize = 400;

const fn target(name: &'static str, run: fn(&[u8]), seeds: fn() -> Vec<Vec<u8>>) -> Target {
    Target { name, run, seeds, inputs: MANY, memory: LITTLE, memory_factor: FACTOR }
}

const fn slow(target: Target) -> Target {
    Target { inputs: SOME, ..target }
}

/// Every target.
#[must_use]
pub fn all() -> Vec<Target> {
    [wire::TARGETS, facts::TARGETS, words::TARGETS, papers::TARGETS, links::TARGETS, node::TARGETS, api::TARGETS]
        .concat()
}

/// The target of this name.
#[must_use]
pub fn named(name: &str) -> Option<Target> {
    all().into_iter().find(|target| target.name == name)
}

/// A text for readers of texts; `None` where whoever calls them has no text either.
fn text(data: &[u8]) -> Option<&str> {
    std::str::from_utf8(data).ok()
}

/// Texts as inputs.
fn texts(all: &[&str]) -> Vec<Vec<u8>> {
    all.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// The bloc of every target.
fn bloc() -> crux_names::BlocName {
    crux_names::BlocName::parse("acme").expect("a bloc's name")
}
