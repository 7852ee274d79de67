//! The promise to tools: documents, routes, gRPC, the client, and manifests as facts.
//!
//! Core's types stay free to change; what outside programs see stands here. Every claim says in which sense it is meant:
//! *should be*, *reported* or *believed* ([`json::ClaimKind`]).
//!
//! Reading order: [`json`] (the documents), [`routes`] (where they are had), [`rights`] (by whom), [`client`] (how), [`mod@write`] (how facts are
//! signed), [`mod@backup`] (what a backup holds), [`intent`] (from a manifest to facts), [`grpc`] (the same for programs that
//! prefer it), [`openapi`] (the description for generators of clients),
//! [`waiting`] (why one that runs does not answer yet).
#![forbid(unsafe_code)]

pub mod backup;
pub mod client;
pub mod grpc;
pub mod intent;
pub mod json;
pub mod openapi;
pub mod rights;
pub mod routes;
pub mod waiting;
pub mod write;
