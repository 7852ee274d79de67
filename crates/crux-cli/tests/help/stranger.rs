//! A hand-made node at a real fulcrum's mesh port: QUIC and TLS as they should be, and from there on whatever a test likes.
#![allow(dead_code)] // Each test file uses what it needs.

use crux_pki::fuzz::Shown;
use crux_pki::{Bundle, RoleKind};
use prost::Message;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Connection, ConnectionError, Endpoint, SendStream};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// The hello as it goes over the wire.
#[derive(Clone, PartialEq, Eq, Message)]
struct Hello {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(string, tag = "2")]
    fulcrum: String,
    #[prost(uint64, tag = "3")]
    boot: u64,
    #[prost(uint32, tag = "4")]
    mesh_port: u32,
    #[prost(fixed64, tag = "7")]
    link: u64,
}

/// What a welcome begins with, behind its length: the first field of the answer. A refusal is the second.
const WELCOME: u8 = 1 << 3 | 2;

pub struct Stranger {
    endpoint: Endpoint,
}

impl Stranger {
    /// One that shows this bundle, or another chain in its place. Called inside of a runtime.
    pub fn new(bundle: &Bundle, instead: Option<&Shown>) -> Self {
        let trust = Arc::new(bundle.trust().clone());
        let mut tls = crux_pki::client_config(bundle, trust, &[RoleKind::Node], &[b"crux-mesh/1"]).unwrap();
        if let Some(shown) = instead {
            tls.client_auth_cert_resolver = shown.resolver.clone();
        }
        let mut client = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
        let mut transport = quinn::TransportConfig::default();
        transport.keep_alive_interval(Some(Duration::from_secs(1)));
        client.transport_config(Arc::new(transport));
        let mut endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        endpoint.set_default_client_config(client);
        Self { endpoint }
    }

    /// Where it is.
    pub fn addr(&self) -> SocketAddr {
        self.endpoint.local_addr().unwrap()
    }

    pub async fn dial(&self, to: SocketAddr) -> Result<Connection, ConnectionError> {
        self.endpoint.connect(to, "crux").unwrap().await
    }

    /// A link that counts: hello, welcome, *ready*; with its stream of frames.
    pub async fn link(&self, to: SocketAddr, boot: u64) -> (Connection, SendStream) {
        let connection = self.dial(to).await.unwrap();
        let (mut send, mut recv) = connection.open_bi().await.unwrap();
        let fulcrum = crux_names::FulcrumName::default_name().to_string();
        let mesh_port = self.addr().port().into();
        let body = Hello { version: 1, fulcrum, boot, mesh_port, link: boot }.encode_to_vec();
        send.write_all(&u16::try_from(body.len()).unwrap().to_be_bytes()).await.unwrap();
        send.write_all(&body).await.unwrap();
        let answer = recv.read_to_end(4_096).await.expect("an answer");
        assert_eq!(answer.get(2), Some(&WELCOME), "no welcome: {}", String::from_utf8_lossy(&answer));
        send.finish().unwrap();
        let frames = connection.open_uni().await.unwrap();
        (connection, frames)
    }
}

/// Why it ended, in words: in its handshake, or after one that one side took for done.
pub async fn ended(handshake: Result<Connection, ConnectionError>) -> String {
    match handshake {
        Err(error) => error.to_string(),
        Ok(connection) => {
            let end = tokio::time::timeout(crate::help::cluster::LIMIT, connection.closed()).await;
            end.expect("an end").to_string()
        }
    }
}
