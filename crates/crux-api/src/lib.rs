//! The promise to tools: documents, routes, gRPC, the client, and manifests as facts.
//!
//! Core's types stay free to change; what outside programs see stands here. Every claim says in which sense it is meant:
//! *should be*, *reported* or *believed* ([`json::ClaimKind`]).
//!
//! Reading order: [`json`] (the documents), [`routes`] (where they are had).

pub mod json;
pub mod routes;
