//! Doors for any bytes at all: what reads a peer's first words and lengths must come back from each of them.
//!
//! Nothing but the fuzz targets calls this. Each function panics where a reader breaks its promise.

use crate::link;
use crate::wire::{self, Answer, Hello, MESSAGE_MAX, PROTOCOL, Refuse};
use crux_names::NodeName;
use prost::Message;

fn hello_seed() -> Hello {
    Hello {
        version: PROTOCOL,
        fulcrum: "b".to_owned(),
        boot: 7,
        mesh_port: 2789,
        api_port: 2789,
        linked: true,
        link: 99,
        renews: true,
        life: 3,
    }
}

/// Good hellos.
#[must_use]
pub fn hellos() -> Vec<Vec<u8>> {
    vec![hello_seed().encode_to_vec(), Hello { fulcrum: "0".to_owned(), api_port: 0, ..hello_seed() }.encode_to_vec()]
}

/// Good answers to a hello.
#[must_use]
pub fn welcomes() -> Vec<Vec<u8>> {
    let refusal = Refuse { reason: "the clock\nof n1".to_owned(), floor: 9, myself: true, gone: true, twin: true };
    vec![
        Answer { welcome: Some(hello_seed()), refusal: None }.encode_to_vec(),
        Answer { welcome: None, refusal: Some(refusal) }.encode_to_vec(),
    ]
}

fn member(hello: &Hello) {
    let node = NodeName::parse("n1").expect("a node's name");
    match hello.member(&node) {
        Ok(member) => assert!(member.id.node == node && hello.mesh_port().is_some(), "{member}"),
        Err(why) => assert!(!why.contains(char::is_control), "{why:?}"),
    }
}

/// A dialler's hello.
pub fn hello(data: &[u8]) {
    let Ok(hello) = wire::message::<Hello>(data) else { return };
    assert_eq!(wire::message::<Hello>(&hello.encode_to_vec()).as_ref(), Ok(&hello));
    member(&hello);
}

/// An acceptor's welcome or refusal.
pub fn welcome(data: &[u8]) {
    let Ok(answer) = wire::message::<Answer>(data) else { return };
    assert_eq!(wire::message::<Answer>(&answer.encode_to_vec()).as_ref(), Ok(&answer));
    if let Some(refusal) = &answer.refusal {
        peer_words(refusal.reason.as_bytes());
    }
    if let Some(welcome) = &answer.welcome {
        member(welcome);
    }
}

/// The lengths before messages and frames: nothing longer is ever waited for.
pub fn frame_length(data: &[u8]) {
    if let Some(first) = data.first_chunk()
        && let Some(length) = link::frame_length(*first)
    {
        assert!(length <= crate::FRAME_MAX);
    }
    if let Some(first) = data.first_chunk()
        && let Ok(length) = wire::length_of(*first)
    {
        assert!(length <= MESSAGE_MAX);
    }
}

/// A peer's words, fit for a log.
pub fn peer_words(data: &[u8]) {
    let words = wire::foreign(data);
    assert!(!words.contains(char::is_control), "{words:?}");
    assert!(words.chars().count() <= 400 * 10, "{} characters", words.chars().count());
    let _ = wire::tls_words(&words);
}
