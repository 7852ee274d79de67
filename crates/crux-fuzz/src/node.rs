//! What a node reads from its disk, from the local link, from peers' streams and from supervisors.

use crate::drive::Target;
use crate::{bloc, target, texts};
use bytes::Bytes;
use crux_node::fuzz;
use crux_node::store::Store;
use std::sync::mpsc;

/// The targets of this file.
pub const TARGETS: &[Target] = &[
    target("announcement", announcement, announcements),
    target("probe_source", fuzz::probe_source, sources),
    target("probe_list", fuzz::probe_list, lists),
    target("book_row", fuzz::book_row, fuzz::book_rows),
    target("instance_log", fuzz::instance_log, logs),
    target("journal", fuzz::journal, fuzz::journals),
    target("added_entries", fuzz::added, fuzz::added_entries),
    target("telling", fuzz::telling, fuzz::tellings),
    target("supervisor", fuzz::supervisor, fuzz::supervisor_words),
    target("peer_part", fuzz::peer_part, fuzz::peer_parts),
    target("file_question", fuzz::file_question, questions),
    target("file_answer", fuzz::file_answer, answers),
    target("health_answer", fuzz::health_answer, health_answers),
    target("dev_files", fuzz::dev_files, fuzz::dev_file_texts),
    target("lab_request", fuzz::lab_request, lab_requests),
    target("api_query", fuzz::api_query, queries),
    target("page_host", fuzz::page_host, page_hosts),
    // Each opens a database file on disk.
    Target { inputs: 60, memory: 64 << 20, ..target("store_file", store_file, stores) },
];

fn announcements() -> Vec<Vec<u8>> {
    fuzz::announcements(&bloc())
}

/// What is heard on the local link.
pub fn announcement(data: &[u8]) {
    fuzz::announcement(&bloc(), data);
}

fn sources() -> Vec<Vec<u8>> {
    texts(&["10.0.0.0/24", "10.0.0.6/30:4000", "[2001:db8::7/127]:9", "2001:db8::/112", "file:/etc/crux/peers"])
}

fn lists() -> Vec<Vec<u8>> {
    texts(&["# peers\n10.0.0.1\n n1.example:4000 # the first\n\n10.0.0.0/31\n::1\nn2\n[::1]:7\n1.2.3.4/20:9\n"])
}

fn logs() -> Vec<Vec<u8>> {
    texts(&["1700000000.000001 o a line\n1700000000.000002 e+ a long \n1700000000.000003 e one\n", "x\n1.1 o "])
}

fn questions() -> Vec<Vec<u8>> {
    vec![[7; 40].to_vec(), [[0; 32].as_slice(), &10_u64.to_be_bytes()].concat()]
}

fn answers() -> Vec<Vec<u8>> {
    (0..4).map(|status| [[status].as_slice(), &10_u64.to_be_bytes()].concat()).collect()
}

fn health_answers() -> Vec<Vec<u8>> {
    texts(&["HTTP/1.1 200 OK\r\n", "HTTP/1.0 503 \r\n", "HTTP/2 200\r\n", "HTTP/1.1 99999 x"])
}

fn page_hosts() -> Vec<Vec<u8>> {
    texts(&["localhost:2780", "127.0.0.1:2780", "[::1]:2780", "[::ffff:127.0.0.1]:9", "evil.example:2780"])
}

fn lab_requests() -> Vec<Vec<u8>> {
    texts(&[
        r#"{"op":"split","groups":[["n1","n2"],["n3"]]}"#,
        r#"{"op":"cut","a":"n1","b":"n2"}"#,
        r#"{"op":"oneway","from":"n1","to":"n3"}"#,
        r#"{"op":"heal"}"#,
        r#"{"op":"kill","node":"n1"}"#,
        r#"{"op":"start","node":"n1"}"#,
        r#"{"op":"pause","node":"n2","ms":18446744073709551615}"#,
        r#"{"op":"loss","percent":12.5}"#,
    ])
}

fn queries() -> Vec<Vec<u8>> {
    texts(&[
        "/v1/status?watch",
        "/v1/events?after=7&watch=1",
        "/v1/why?subject=node%20n7",
        "/v1/facts?prefix=place%2F&conflicts",
        "/v1/rules?all&watch",
        "/v1/logs?instance=n1%3A1%3A1&tail=10&follow",
    ])
}

/// The files that a store leaves when it is closed.
fn stores() -> Vec<Vec<u8>> {
    let dir = tempfile::tempdir().expect("a directory for the store");
    let (store, _) = Store::open(dir.path(), &bloc(), &"n1".parse().expect("a fulcrum")).expect("a new store opens");
    let (done, waits) = mpsc::channel();
    let versions = (0..20_u8).map(|n| (crux_core::hash::sha256(&[n]), Bytes::from(vec![n; 300]))).collect();
    store.persist(1, versions, Vec::new(), move |_, result| drop(done.send(result)));
    waits.recv().expect("the writer answers").expect("the store takes versions");
    drop(store);
    vec![std::fs::read(dir.path().join("facts.redb")).expect("its file can be read")]
}

/// A store's file, however damaged, stops no start: it is read or set aside, and a new life gets its number.
pub fn store_file(data: &[u8]) {
    let dir = tempfile::tempdir().expect("a directory for the store");
    std::fs::write(dir.path().join("facts.redb"), data).expect("the file can be written");
    let (store, _) = Store::open(dir.path(), &bloc(), &"n1".parse().expect("a fulcrum")).expect("the start goes on");
    let _ = store.load();
    let _ = store.load_book();
    let boot = store.next_boot(1_700_000_000, crux_names::Boot(3));
    assert!(boot.0 >= 1_700_000_000, "{boot}");
}
