//! The words of crux: names, ids and times, parsed once and never re-checked.
//!
//! Everything else in the workspace speaks in these types. A value of one of them is proof that its text obeyed the
//! rules of its kind, so no other crate validates names. This crate has no dependencies, which keeps it small.
//!
//! Rules (source: the design's `trust.md`): lower-case letters, digits and `-`; at most 63 bytes a label; dots only in
//! bloc and node names; service, horde and fulcrum names are single labels.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod ident;
mod label;
mod rule;
mod time;

pub use ident::{Boot, FulcrumId, Hash256, Member, NotHex};
pub use label::{
    ADMIN, BlocName, DEFAULT_FULCRUM, FulcrumName, HordeName, InvalidName, MAIN, NameError, NodeName, OperatorName,
    ServiceName,
};
pub use rule::{BadRuleName, ClientName, EndpointName, NotARuleId, RuleId};
pub use time::{Time, Wall};

pub use core::time::Duration;
