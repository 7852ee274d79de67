//! The hands of crux: the driver, the effects, the store and the doors.

pub mod effects;
pub mod store;
