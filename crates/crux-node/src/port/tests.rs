//! Real sockets on loopback, real certificates.

use super::*;
use crate::api::guarded;
use crate::audit::Audit;
use axum::routing::get;
use crux_api::json::AuditOutcome;
use crux_api::routes::PS;
use crux_names::{Boot, Member};
use crux_pki::{Bundle, Ca, IssueRequest, Role, client_config};
use std::collections::BTreeMap;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream as ClientStream;
use tokio_rustls::rustls::pki_types::ServerName;

/// Generous: what is waited for takes milliseconds.
const LIMIT: Duration = Duration::from_secs(60);

struct World {
    bundles: BTreeMap<&'static str, Bundle>,
    papers: Papers,
    addr: SocketAddr,
    audit: Audit,
    _log: tempfile::TempDir,
    _stop: watch::Sender<bool>,
}

fn world() -> World {
    let mut ca = Ca::in_memory("acme".parse().unwrap()).unwrap();
    let roles = [
        ("n1", Role::Node("n1".parse().unwrap())),
        ("n2", Role::Node("n2".parse().unwrap())),
        ("ann", Role::Operator("ann".parse().unwrap())),
        ("watch", Role::Beacon("watch".parse().unwrap())),
    ];
    let mut bundles: BTreeMap<_, _> =
        roles.into_iter().map(|(name, role)| (name, ca.issue(IssueRequest::new(role)).unwrap())).collect();
    let mut foreign = Ca::in_memory("other".parse().unwrap()).unwrap();
    let stranger = Role::Operator("eve".parse().unwrap());
    bundles.insert("eve", foreign.issue(IssueRequest::new(stranger)).unwrap());
    let me = &bundles["n1"];
    let papers = Papers::new(me.clone()).unwrap();
    let member = Member { id: "n1".parse().unwrap(), boot: Boot(1) };
    let (hints, _) = mpsc::channel(1);
    let live = Live::new(member.clone(), &papers, Arc::new(|_| None), hints, Handle::current());
    let router = Router::new().route(PS, get(|| async { "hello" })).route("/v1/hidden", get(|| async { "hidden" }));
    let log = tempfile::tempdir().unwrap();
    let audit = Audit::open(log.path());
    let router = guarded(router, &audit, &member.id);
    let rooms = Rooms::new(&papers, router, live, Meters::new());
    let listener = bind("api", "127.0.0.1:0".parse().unwrap()).unwrap();
    let addr = listener.local_addr().unwrap();
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(serve(TcpListener::from_std(listener).unwrap(), rooms, stopped));
    World { bundles, papers, addr, audit, _log: log, _stop: stop }
}

impl World {
    async fn connect(&self, who: &str, alpn: &[u8]) -> io::Result<ClientStream<TcpStream>> {
        let bundle = &self.bundles[who];
        let trust = Arc::new(self.bundles["n1"].trust().clone());
        let config = client_config(bundle, trust, &[RoleKind::Node], &[alpn]).unwrap();
        let stream = TcpStream::connect(self.addr).await?;
        TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("x.invalid").unwrap(), stream).await
    }

    /// What comes back for one request over HTTP/1.1; an error if the connection is refused.
    async fn ask(&self, who: &str, request: &str) -> io::Result<String> {
        let mut stream = self.connect(who, b"http/1.1").await?;
        stream.write_all(request.as_bytes()).await?;
        let mut text = String::new();
        tokio::time::timeout(LIMIT, stream.read_to_string(&mut text)).await??;
        Ok(text)
    }
}

const HELLO: &str = "GET /v1/ps HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn operators_are_answered_nodes_are_told_why_not_and_others_do_not_come_in() {
    let world = world();
    let text = world.ask("ann", HELLO).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 200") && text.ends_with("hello"), "{text}");
    let text = world.ask("n2", HELLO).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 403"), "{text}");
    assert!(text.contains("E401") && text.contains("node/n2") && text.contains("answers operators"), "{text}");
    let grpc = HELLO.replace("host: x", "host: x\r\ncontent-type: application/grpc");
    let text = world.ask("n2", &grpc).await.unwrap();
    assert!(text.contains("grpc-status: 7"), "{text}");
    for stranger in ["watch", "eve"] {
        assert!(world.ask(stranger, HELLO).await.is_err(), "{stranger}");
    }
    // A route that somebody added without saying what it needs does not exist.
    let text = world.ask("ann", &HELLO.replace("/v1/ps", "/v1/hidden")).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 404") && text.contains("there is no GET /v1/hidden here"), "{text}");
    let text = world.ask("n2", &HELLO.replace("/v1/ps", "/v1/hidden")).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 403"), "who may ask nothing is not told what there is: {text}");
    // Who was refused is written down, and who only read is not.
    let entries = world.audit.page(0).await.unwrap().entries;
    let refused: Vec<_> = entries.iter().map(|entry| (entry.by.as_str(), entry.verb.as_str(), entry.outcome)).collect();
    assert_eq!(refused, [("node/n2", "read", AuditOutcome::Refused); 3]);
    assert!(entries[0].from.as_ref().unwrap().starts_with("127.0.0.1:") && entries[0].door == "n1");
    assert!(entries[0].reason.as_ref().unwrap().contains("answers operators"), "{:?}", entries[0]);
}

#[tokio::test]
async fn an_operator_keeps_no_idle_connection_and_a_node_does() {
    let world = world();
    let mut stream = world.connect("ann", ALPN).await.unwrap();
    let mut byte = [0];
    let read = tokio::time::timeout(LIMIT, stream.read(&mut byte)).await.unwrap();
    assert_eq!(read.unwrap(), 0, "it is told goodbye");
    let mut stream = world.connect("n2", ALPN).await.unwrap();
    let read = tokio::time::timeout(Duration::from_millis(500), stream.read(&mut byte)).await; // judges: it stays
    assert!(read.is_err(), "{read:?}");
    // Nothing is said on it: who says something is sent away.
    stream.write_all(b"x").await.unwrap();
    let read = tokio::time::timeout(LIMIT, stream.read(&mut byte)).await.unwrap();
    assert_eq!(read.unwrap(), 0);
}

#[tokio::test]
async fn who_is_inside_is_cut_when_its_root_is_trusted_no_more_and_who_has_the_new_one_comes_in() {
    let mut world = world();
    let mut asks = world.connect("ann", b"http/1.1").await.unwrap();
    let mut idle = world.connect("n2", ALPN).await.unwrap();
    let mut byte = [0];
    for stream in [&mut asks, &mut idle] {
        let read = tokio::time::timeout(Duration::from_millis(200), stream.read(&mut byte)).await; // judges: it stays
        assert!(read.is_err(), "{read:?}");
    }
    let mut ca = Ca::in_memory("acme".parse().unwrap()).unwrap();
    let mut issue = |role| ca.issue(IssueRequest::new(role)).unwrap();
    let me = issue(Role::Node("n1".parse().unwrap()));
    world.bundles.insert("bob", issue(Role::Operator("bob".parse().unwrap())));
    world.papers.replace(me.clone()).unwrap();
    for stream in [&mut asks, &mut idle] {
        let read = tokio::time::timeout(LIMIT, stream.read(&mut byte)).await.expect("it is cut");
        assert!(!matches!(read, Ok(read) if read > 0));
    }
    assert!(world.ask("ann", HELLO).await.is_err(), "its root is gone");
    world.bundles.insert("n1", me);
    assert!(world.ask("bob", HELLO).await.unwrap().starts_with("HTTP/1.1 200"), "by the certificate of now");
    // Of another node nothing is taken.
    let n2 = world.bundles["n2"].clone();
    world.papers.replace(n2).unwrap_err();
}

#[tokio::test]
async fn strangers_who_never_finish_the_handshake_keep_nobody_out_for_long() {
    let world = world();
    let mut silent = Vec::new();
    for _ in 0..HALF_OPEN_PER_IP + 20 {
        silent.push(TcpStream::connect(world.addr).await.unwrap());
    }
    let began = tokio::time::Instant::now();
    // Their deadline frees the places.
    while world.ask("ann", HELLO).await.is_err() {
        assert!(began.elapsed() < LIMIT);
        tokio::time::sleep(Duration::from_millis(50)).await; // waits: between two tries
    }
    // The ones that were let in are closed by now.
    let mut byte = [0];
    let first = tokio::time::timeout(LIMIT, silent[0].read(&mut byte)).await.unwrap();
    assert!(!matches!(first, Ok(read) if read > 0));
}

#[tokio::test]
async fn a_head_that_comes_drop_by_drop_is_cut() {
    let world = world();
    let mut stream = world.connect("ann", b"http/1.1").await.unwrap();
    stream.write_all(b"GET /v1/ps HTTP/1.1\r\n").await.unwrap();
    let mut text = Vec::new();
    let ended = tokio::time::timeout(LIMIT, stream.read_to_end(&mut text)).await;
    assert!(ended.is_ok(), "the head never ends, the connection does");
    assert!(!String::from_utf8_lossy(&text).contains("200"));
}

#[test]
fn a_busy_port_is_named_with_its_setting() {
    let first = bind("api", "127.0.0.1:0".parse().unwrap()).unwrap();
    let addr = first.local_addr().unwrap();
    let error = bind("api", addr).unwrap_err();
    assert!(matches!(error, PortError::Busy { .. }));
    assert!(error.to_string().contains("--api") && error.to_string().contains(&addr.to_string()), "{error}");
}
