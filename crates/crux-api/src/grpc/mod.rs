//! gRPC: package `crux.v1`. The code is generated from `proto/` and committed, so that building crux needs no protobuf
//! compiler; a test compares it with what its generator makes.

#[allow(missing_docs, unused_qualifications, clippy::all)]
mod generated {
    include!("crux.v1.rs");
}

pub use generated::{
    AccessEntry, AddReply, AddRequest, ConfabRequest, ConfabView, Event, EventsRequest, ListReply, ListRequest,
    Presence, Program, WhoReply, WhoRequest, access_client, access_server, confab_client, confab_server, events_client,
    events_server, yurt_client, yurt_server,
};

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

impl Program {
    /// A program as the JSON has it, and how long ago it was heard.
    #[must_use]
    pub fn heard(program: crate::json::Program, heard_ms: u64) -> Self {
        Self {
            name: program.name,
            node: program.node,
            started: program.started.unwrap_or_default(),
            state: program.state.as_str().to_owned(),
            why: program.why,
            heard_ms,
        }
    }
}

impl From<crate::json::AccessEntry> for AccessEntry {
    fn from(entry: crate::json::AccessEntry) -> Self {
        Self {
            horde: entry.horde,
            service: entry.service,
            name: entry.name,
            addrs: entry.addrs,
            labels: entry.labels.into_iter().collect(),
            by: entry.by,
            at: entry.claim.by.unwrap_or_default(),
            since: entry.since,
            state: entry.state,
        }
    }
}
