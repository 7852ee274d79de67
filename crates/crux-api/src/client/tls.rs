//! The way to a fulcrum's API port: TCP with mutual TLS, as an operator.

use super::way::{CONNECT, late, reach};
use super::{Client, Connect, Connecting, Connection};
use crate::json::{Code, ErrorDoc};
use crux_pki::{Bundle, RoleKind, client_config};
use std::io;
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::{self, pki_types::ServerName};

/// One API port.
pub struct Port {
    addr: String,
    tls: TlsConnector,
}

impl Port {
    /// At `HOST:PORT`, as this operator. Nothing is opened yet.
    ///
    /// # Errors
    /// [`Code::NoKey`] if nothing can be asked with this bundle.
    pub fn new(addr: String, bundle: &Bundle) -> Result<Self, ErrorDoc> {
        let trust = Arc::new(bundle.trust().clone());
        let config = client_config(bundle, trust, &[RoleKind::Node], &[b"http/1.1"]).map_err(|e| {
            ErrorDoc::new(Code::NoKey, format!("the operator's bundle cannot be used: {e}"), "crux ca inspect BUNDLE")
        })?;
        Ok(Self { addr, tls: TlsConnector::from(Arc::new(config)) })
    }
}

impl Client {
    /// A client of the fulcrum whose API port is at `HOST:PORT`, as the operator whose bundle this is (a directory or a
    /// tar archive). Nothing is opened yet.
    ///
    /// # Errors
    /// [`Code::NoKey`] if the bundle cannot be read or used; the cause says why.
    pub fn at_port(addr: &str, bundle: &Path) -> Result<Self, ErrorDoc> {
        let bundle = Bundle::load(bundle).map_err(|e| {
            let next = format!("crux ca inspect {}", bundle.display());
            ErrorDoc::new(Code::NoKey, format!("the operator's bundle cannot be used: {e}"), next)
        })?;
        Ok(Self::over(Arc::new(Port::new(addr.to_owned(), &bundle)?)))
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
            let stream = reach(&self.addr).await?;
            // Who the fulcrum is stands in its certificate; a name is neither sent nor compared.
            let name = ServerName::try_from("crux.invalid").map_err(io::Error::other)?;
            let stream = tokio::time::timeout(CONNECT, self.tls.connect(name, stream)).await.map_err(late)?;
            let stream: Box<dyn Connection> = Box::new(stream.map_err(refused)?);
            Ok(stream)
        })
    }
}
