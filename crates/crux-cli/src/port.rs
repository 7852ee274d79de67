//! The way to a fulcrum's API port: TCP with mutual TLS, as an operator.

use crux_api::client::{Connect, Connecting, Connection};
use crux_api::json::{Code, ErrorDoc};
use crux_pki::{Bundle, RoleKind, client_config};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::{self, pki_types::ServerName};

/// How long an address may take to let a connection in, and how long the handshake may take.
const CONNECT: Duration = Duration::from_secs(5);

/// One API port.
pub(crate) struct Port {
    addr: String,
    tls: TlsConnector,
}

impl Port {
    /// At `HOST:PORT`, as this operator.
    pub(crate) fn new(addr: String, bundle: &Bundle) -> Result<Self, ErrorDoc> {
        let trust = Arc::new(bundle.trust().clone());
        let config = client_config(bundle, trust, &[RoleKind::Node], &[b"http/1.1"]).map_err(|e| {
            ErrorDoc::new(Code::NoKey, format!("the operator's bundle cannot be used: {e}"), "crux ca inspect BUNDLE")
        })?;
        Ok(Self { addr, tls: TlsConnector::from(Arc::new(config)) })
    }
}

impl std::fmt::Debug for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Port").field(&self.addr).finish()
    }
}

/// The error of a connection on which one side refuses the other, without what rustls puts before our own words.
fn refused(error: io::Error) -> io::Error {
    match error.get_ref().filter(|_| error.kind() == io::ErrorKind::InvalidData) {
        Some(inner) if matches!(inner.downcast_ref(), Some(rustls::Error::InvalidMessage(_))) => {
            io::Error::other("what answers there does not speak TLS, so it is no API port of crux")
        }
        Some(inner) => {
            let text = inner.to_string();
            io::Error::new(error.kind(), text.strip_prefix("unexpected error: ").unwrap_or(&text).to_owned())
        }
        None => error,
    }
}

impl Connect for Port {
    fn place(&self) -> String {
        self.addr.clone()
    }

    fn connect(&self) -> Connecting<'_> {
        Box::pin(async {
            let late = |_| io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} s", CONNECT.as_secs()));
            let stream = tokio::time::timeout(CONNECT, TcpStream::connect(&self.addr)).await.map_err(late)??;
            // Who the fulcrum is stands in its certificate; a name is neither sent nor compared.
            let name = ServerName::try_from("crux.invalid").map_err(io::Error::other)?;
            let stream = tokio::time::timeout(CONNECT, self.tls.connect(name, stream)).await.map_err(late)?;
            let stream: Box<dyn Connection> = Box::new(stream.map_err(refused)?);
            Ok(stream)
        })
    }
}
