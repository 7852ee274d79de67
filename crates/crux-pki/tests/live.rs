//! Roots and certificates exchanged while TLS goes on: real handshakes, in memory.

use crux_names::{BlocName, NodeName};
use crux_pki::{
    Bundle, Ca, CertificateDer, IssueRequest, LiveBundle, LiveTrust, RenewRequest, Role, RoleKind, client_config,
    fingerprint, live_client_config, live_server_config, server_config, unix_now,
};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection};
use std::sync::Arc;

fn ca() -> Ca {
    Ca::in_memory(BlocName::parse("acme").unwrap()).unwrap()
}

fn node(ca: &mut Ca, name: &str) -> Bundle {
    ca.issue(IssueRequest::new(Role::Node(NodeName::parse(name).unwrap()))).unwrap()
}

/// Shakes hands; answers the certificates that client and server saw.
fn shake(
    client: &Arc<ClientConfig>,
    server: &Arc<ServerConfig>,
) -> Result<(CertificateDer<'static>, CertificateDer<'static>), String> {
    let name = ServerName::try_from("crux").unwrap();
    let mut client = ClientConnection::new(client.clone(), name).unwrap();
    let mut server = ServerConnection::new(server.clone()).unwrap();
    for _ in 0..10 {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut rest = wire.as_slice();
        while !rest.is_empty() {
            server.read_tls(&mut rest).unwrap();
        }
        server.process_new_packets().map_err(|e| format!("server: {e}"))?;
        wire.clear();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut rest = wire.as_slice();
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
        }
        client.process_new_packets().map_err(|e| format!("client: {e}"))?;
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    let first = |certificates: Option<&[CertificateDer<'static>]>| certificates.unwrap()[0].clone();
    Ok((first(client.peer_certificates()), first(server.peer_certificates())))
}

const ALPN: [&[u8]; 1] = [b"test"];

#[test]
fn a_new_bundle_counts_from_the_next_handshake_on() {
    let mut ca = ca();
    let (a, b) = (node(&mut ca, "a"), node(&mut ca, "b"));
    let (live_a, live_b) = (LiveBundle::new(a.clone()).unwrap(), LiveBundle::new(b.clone()).unwrap());
    let client = Arc::new(live_client_config(&live_a, &[RoleKind::Node], &ALPN));
    let server = Arc::new(live_server_config(&live_b, &[RoleKind::Node], &ALPN));
    assert_eq!(shake(&client, &server).unwrap(), (b.chain()[0].clone(), a.chain()[0].clone()));

    let renewed = ca.renew(&b, RenewRequest::default()).unwrap();
    let change = live_b.replace(renewed.clone(), unix_now()).unwrap();
    assert!(change.certificate && change.roots.added.is_empty() && change.roots.removed.is_empty());
    assert_eq!(shake(&client, &server).unwrap().0, renewed.chain()[0]);
    assert_eq!(live_b.load().chain(), renewed.chain());
    assert!(live_b.replace(renewed.clone(), unix_now()).unwrap().is_nothing());

    let unfit = |bundle: Bundle| {
        let error = live_b.replace(bundle, unix_now()).unwrap_err().to_string();
        assert_eq!(live_b.load().chain(), renewed.chain(), "{error}");
        error
    };
    assert!(unfit(node(&mut ca, "c")).contains("is of spiffe://acme/node/c, not of spiffe://acme/node/b"));
    let old = IssueRequest { days: 1, ..IssueRequest::new(Role::Node("b".parse().unwrap())) };
    assert!(unfit(ca.issue_at(old, unix_now() - 172_800).unwrap()).contains("expired"));
    let stranger = node(&mut self::ca(), "b");
    let wrong = stranger.with_trust(b.trust().clone()).unwrap();
    assert!(unfit(wrong).contains("signed by none of the trusted roots"));
    let next = ca.issue(IssueRequest { admission: 2, ..IssueRequest::new(Role::Node("b".parse().unwrap())) }).unwrap();
    live_b.replace(next, unix_now()).unwrap();
    let error = live_b.replace(renewed, unix_now()).unwrap_err().to_string();
    assert!(error.contains("admission 1 is older than 2"), "{error}");
}

#[test]
fn a_removed_root_refuses_at_once_and_says_whose_links_must_be_cut() {
    let (mut old, mut new) = (ca(), ca());
    let both = node(&mut old, "a").trust().with_root(new.root().clone()).unwrap();
    let server_bundle = node(&mut new, "b").with_trust(both.clone()).unwrap();
    let live = LiveBundle::new(server_bundle.clone()).unwrap();
    let server = Arc::new(live_server_config(&live, &[RoleKind::Node], &ALPN));
    let peer =
        |bundle: &Bundle| Arc::new(client_config(bundle, Arc::new(both.clone()), &[RoleKind::Node], &ALPN).unwrap());
    let (of_old, of_new) = (node(&mut old, "a"), node(&mut new, "c"));
    shake(&peer(&of_old), &server).unwrap();
    shake(&peer(&of_new), &server).unwrap();

    let admitted = live.trust().load().verify_chain(of_old.chain(), unix_now()).unwrap();
    let trust = both.without_root(&fingerprint(old.root())).unwrap();
    let change = live.replace(server_bundle.with_trust(trust).unwrap(), unix_now()).unwrap();
    assert!(!change.certificate);
    assert_eq!(change.roots.removed, [fingerprint(old.root())]);
    let error = shake(&peer(&of_old), &server).unwrap_err();
    assert!(error.contains("signed by none of the trusted roots"), "{error}");
    shake(&peer(&of_new), &server).unwrap();
    assert_eq!(live.trust().load().recheck(&admitted, unix_now()).unwrap_err().code(), "other-root");
    assert_eq!(live.trust().load().still_trusts(of_old.chain(), unix_now()).unwrap_err().code(), "other-root");
    let until = live.trust().load().still_trusts(of_new.chain(), unix_now()).unwrap();
    assert_eq!(until, of_new.lifetime().not_after);
}

#[test]
fn roots_alone_are_exchanged_under_a_fixed_certificate() {
    let (mut old, mut new) = (ca(), ca());
    let (a, b) = (node(&mut old, "a"), node(&mut new, "b"));
    let both = Arc::new(a.trust().with_root(new.root().clone()).unwrap());
    let client = Arc::new(client_config(&a, both, &[RoleKind::Node], &ALPN).unwrap());
    let live = LiveTrust::new(b.trust().clone());
    let server = Arc::new(server_config(&b, live.clone(), &[RoleKind::Node], &ALPN).unwrap());
    assert!(shake(&client, &server).is_err());
    let change = live.replace(b.trust().with_root(old.root().clone()).unwrap()).unwrap();
    assert_eq!(change.added, [fingerprint(old.root())]);
    shake(&client, &server).unwrap();
    let other = Ca::in_memory(BlocName::parse("other").unwrap()).unwrap();
    let other = crux_pki::Trust::new(other.bloc().clone(), [other.root().clone()]).unwrap();
    assert!(live.replace(other).unwrap_err().to_string().contains("roots are for bloc other, not acme"));
    shake(&client, &server).unwrap();
}

#[test]
fn the_mesh_admits_nodes_and_elsewhere_beacons_listen() {
    let mut ca = ca();
    let beacon = ca.issue(IssueRequest::new(Role::Beacon("watch".parse().unwrap()))).unwrap();
    let n1 = node(&mut ca, "n1");
    let trust = Arc::new(n1.trust().clone());
    let config = |bundle: &Bundle, roles: &[RoleKind]| {
        let server = Arc::new(server_config(bundle, trust.clone(), roles, &ALPN).unwrap());
        (Arc::new(client_config(bundle, trust.clone(), &[RoleKind::Node], &ALPN).unwrap()), server)
    };
    let error = shake(&config(&beacon, &[RoleKind::Node]).0, &config(&n1, &[RoleKind::Node]).1).unwrap_err();
    assert!(error.contains("certificate of beacon/watch, but only a node is admitted"), "{error}");
    shake(&config(&beacon, &[RoleKind::Node]).0, &config(&n1, &[RoleKind::Node, RoleKind::Beacon]).1).unwrap();
    let error = shake(&config(&n1, &[]).0, &config(&beacon, &[RoleKind::Node]).1).unwrap_err();
    assert!(error.contains("certificate of beacon/watch, but only a node is admitted"), "no member dials it: {error}");
}
