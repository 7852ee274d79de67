//! A hand-made node: QUIC and TLS as they should be, and from there on whatever a test likes.

use super::{World, addr};
use crux_pki::{Bundle, RoleKind};
use prost::Message;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{Connection, Endpoint, EndpointConfig, TokioRuntime};
use rustls::sign::SingleCertAndKey;
use std::sync::Arc;
use std::time::Duration;

const ALPN: &[&[u8]] = &[b"crux-mesh/1"];

/// The hello as it goes over the wire.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Hello {
    #[prost(uint32, tag = "1")]
    pub version: u32,
    #[prost(string, tag = "2")]
    pub fulcrum: String,
    #[prost(uint64, tag = "3")]
    pub boot: u64,
    #[prost(uint32, tag = "4")]
    pub mesh_port: u32,
    #[prost(uint32, tag = "5")]
    pub api_port: u32,
    #[prost(bool, tag = "6")]
    pub linked: bool,
    #[prost(fixed64, tag = "7")]
    pub link: u64,
    #[prost(bool, tag = "8")]
    pub renews: bool,
}

pub fn hello(boot: u64) -> Hello {
    let fulcrum = crux_names::FulcrumName::default_name().to_string();
    Hello { version: 1, fulcrum, boot, mesh_port: 7_400, api_port: 0, linked: false, link: 77, renews: false }
}

/// Its endpoint, which dials and listens.
pub struct Stranger {
    pub endpoint: Endpoint,
}

impl Stranger {
    /// One at the nth address that shows this bundle, or another chain in its place.
    pub fn new(world: &World, n: usize, bundle: &Bundle, instead: Option<Arc<SingleCertAndKey>>) -> Self {
        let trust = Arc::new(bundle.trust().clone());
        let mut dials = crux_pki::client_config(bundle, trust.clone(), &[RoleKind::Node], ALPN).unwrap();
        let mut listens = crux_pki::server_config(bundle, trust, &[RoleKind::Node], ALPN).unwrap();
        if let Some(shown) = instead {
            dials.client_auth_cert_resolver = shown.clone();
            listens.cert_resolver = shown;
        }
        let listens = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(listens).unwrap()));
        let mut dials = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(dials).unwrap()));
        let mut transport = quinn::TransportConfig::default();
        transport.keep_alive_interval(Some(Duration::from_secs(5)));
        dials.transport_config(Arc::new(transport));
        let (socket, settings) = (world.net.socket(addr(n)), EndpointConfig::default());
        let mut endpoint =
            Endpoint::new_with_abstract_socket(settings, Some(listens), socket, Arc::new(TokioRuntime)).unwrap();
        endpoint.set_default_client_config(dials);
        Self { endpoint }
    }

    /// Says this hello and, when it is welcomed, *ready*.
    pub async fn greet(&self, to: usize, hello: &Hello) -> Connection {
        let connection = self.endpoint.connect(addr(to), "crux").unwrap().await.unwrap();
        let (mut send, mut recv) = connection.open_bi().await.unwrap();
        let body = hello.encode_to_vec();
        send.write_all(&(body.len() as u16).to_be_bytes()).await.unwrap();
        send.write_all(&body).await.unwrap();
        let _ = recv.read_to_end(4_096).await;
        let _ = send.finish();
        connection
    }
}
