//! gRPC: package `crux.v1`. The code is generated from `proto/` and committed, so that building crux needs no protobuf
//! compiler; a test compares it with what its generator makes.

#[allow(missing_docs, unused_qualifications, clippy::all)]
mod generated {
    include!("crux.v1.rs");
}

pub use generated::{ConfabRequest, ConfabView, confab_client, confab_server};

/// The protos as a descriptor set, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!("crux.v1.bin");

impl From<crate::json::Confab> for ConfabView {
    fn from(confab: crate::json::Confab) -> Self {
        Self {
            bloc: confab.bloc,
            node: confab.node,
            fulcrum: confab.fulcrum,
            boot: confab.boot,
            flock: confab.flock,
            epoch: confab.epoch.0,
            view: confab.view,
            leader: confab.leader,
            stable: confab.stable,
            members: confab.members,
            horde: confab.horde,
            admin: confab.admin,
            steward: confab.steward,
            yurt: confab.yurt,
            at: confab.at,
        }
    }
}
