//! gRPC as a program of any language would speak it: over a Unix socket, or over mutual TLS with an operator's bundle.
#![allow(dead_code)] // Each test file uses what it needs.

use crux_pki::{Bundle, RoleKind, client_config};
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tonic::transport::{Channel, Endpoint};

/// At a socket.
pub async fn at_socket(socket: &Path) -> Result<Channel, tonic::transport::Error> {
    let socket = socket.to_owned();
    let connect = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { tokio::net::UnixStream::connect(socket).await.map(hyper_util::rt::TokioIo::new) }
    });
    Endpoint::from_static("http://crux").connect_with_connector(connect).await
}

/// At an API port, as whom this bundle names.
pub async fn at_port(addr: &str, bundle: &Path) -> Result<Channel, tonic::transport::Error> {
    let bundle = Bundle::load(bundle).unwrap();
    let trust = Arc::new(bundle.trust().clone());
    let tls = TlsConnector::from(Arc::new(client_config(&bundle, trust, &[RoleKind::Node], &[b"h2"]).unwrap()));
    let addr = addr.to_owned();
    let connect = tower::service_fn(move |_| {
        let (addr, tls) = (addr.clone(), tls.clone());
        async move {
            let stream = tokio::net::TcpStream::connect(addr).await?;
            let stream = tls.connect(ServerName::try_from("crux.invalid").unwrap(), stream).await?;
            Ok::<_, std::io::Error>(hyper_util::rt::TokioIo::new(stream))
        }
    });
    Endpoint::from_static("http://crux").connect_with_connector(connect).await
}
