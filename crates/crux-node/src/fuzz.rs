//! Doors for any bytes at all: what reads a node's disk, its peers, its supervisors and the local link must come back from
//! each of them.
//!
//! Nothing but the fuzz targets calls this. Each function panics where a reader breaks its promise; those without
//! arguments give good inputs.

use crate::dev::fuzz as dev;
use crate::effects::fuzz as effects;
use crate::{page, peers, seek, store};
use axum::extract::Query;
use axum::http::Uri;
use crux_api::routes::{EventsQuery, FactsQuery, LogQuery, RulesQuery, WatchQuery, WhyQuery};
use crux_names::BlocName;

/// What fulcrums of this bloc say on the local link.
#[must_use]
pub fn announcements(bloc: &BlocName) -> Vec<Vec<u8>> {
    [(2789, 7), (0, 8)].map(|(port, salt)| seek::fuzz::announcement(bloc, port, salt)).to_vec()
}

/// What is heard on the local link: only what a fulcrum of this bloc says is believed.
pub fn announcement(bloc: &BlocName, data: &[u8]) {
    seek::fuzz::heard(bloc, data);
}

/// What `--probe` takes.
pub fn probe_source(data: &[u8]) {
    seek::fuzz::source(data);
}

/// A list of addresses and networks.
pub fn probe_list(data: &[u8]) {
    seek::fuzz::list(data);
}

/// The `Host` of a request at the page's port: whatever is taken for this machine is a name of this machine.
///
/// # Panics
/// If it is not.
pub fn page_host(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Some(port) = text.rsplit(':').next().and_then(|port| port.parse::<u16>().ok()) else {
        assert!(!page::fuzz_host(text, 2780), "{text:?} has no port");
        return;
    };
    if page::fuzz_host(text, port) {
        assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".:[]".contains(&byte)), "{text:?}");
        assert!(!page::fuzz_host(text, port.wrapping_add(1)), "{text:?} is two ports");
    }
}

/// Good rows of the address book.
#[must_use]
pub fn book_rows() -> Vec<Vec<u8>> {
    store::fuzz_book_rows()
}

/// A row of the address book.
pub fn book_row(data: &[u8]) {
    store::fuzz_book_row(data);
}

/// A log file of an instance.
pub fn instance_log(data: &[u8]) {
    effects::instance_log(data);
}

/// Journals of instances.
#[must_use]
pub fn journals() -> Vec<Vec<u8>> {
    effects::journals()
}

/// What instances added to the register, as their directories keep it.
#[must_use]
pub fn added_entries() -> Vec<Vec<u8>> {
    effects::added_entries()
}

/// What instances were told, and their hooks, as their directories keep it.
#[must_use]
pub fn tellings() -> Vec<Vec<u8>> {
    effects::tellings()
}

/// What an instance was told, or its hook.
pub fn telling(data: &[u8]) {
    effects::telling(data);
}

/// What an instance added to the register.
pub fn added(data: &[u8]) {
    effects::added(data);
}

/// A journal of an instance.
pub fn journal(data: &[u8]) {
    effects::journal(data);
}

/// What supervisors say and are told.
#[must_use]
pub fn supervisor_words() -> Vec<Vec<u8>> {
    effects::supervisor_words()
}

/// What a supervisor says or is told, and who holds its lock.
pub fn supervisor(data: &[u8]) {
    effects::supervisor(data);
}

/// Good parts of the streams between fulcrums.
#[must_use]
pub fn peer_parts() -> Vec<Vec<u8>> {
    peers::fuzz_parts()
}

/// A part of a stream between fulcrums, with its length before it.
pub fn peer_part(data: &[u8]) {
    peers::fuzz_part(data);
}

/// A question for a file.
pub fn file_question(data: &[u8]) {
    effects::file_question(data);
}

/// The answer to it.
pub fn file_answer(data: &[u8]) {
    effects::file_answer(data);
}

/// What a service answers to a health check.
pub fn health_answer(data: &[u8]) {
    effects::health_answer(data);
}

/// Files that a dev cluster leaves.
#[must_use]
pub fn dev_file_texts() -> Vec<Vec<u8>> {
    dev::files()
}

/// The files that a dev cluster leaves for commands and for its fulcrums.
pub fn dev_files(data: &[u8]) {
    dev::file(data);
}

/// A fault that a dev cluster is asked for.
pub fn lab_request(data: &[u8]) {
    dev::request(data);
}

/// The path and query of a request at the API's doors.
pub fn api_query(data: &[u8]) {
    let Ok(uri) = Uri::try_from(data) else { return };
    let _ = Query::<WatchQuery>::try_from_uri(&uri);
    let _ = Query::<EventsQuery>::try_from_uri(&uri);
    let _ = Query::<FactsQuery>::try_from_uri(&uri);
    let _ = Query::<LogQuery>::try_from_uri(&uri);
    let _ = Query::<RulesQuery>::try_from_uri(&uri);
    if let Ok(Query(why)) = Query::<WhyQuery>::try_from_uri(&uri) {
        let _ = crux_core::picture::Subject::parse(&why.subject);
    }
}
