//! `sd_notify` in a few lines: one datagram to the socket that systemd named. Source: sd_notify(3).

use std::env;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Tells the service manager, if there is one.
pub(crate) struct Notifier {
    socket: Option<(UnixDatagram, SocketAddr)>,
    last: String,
    ready: bool,
}

impl Notifier {
    /// Reads `NOTIFY_SOCKET`; without it, or when it cannot be used, every message goes nowhere.
    pub(crate) fn from_env() -> Self {
        let socket = env::var_os("NOTIFY_SOCKET").and_then(|path| {
            let bytes = path.as_bytes();
            let addr = match bytes.strip_prefix(b"@") {
                Some(name) => SocketAddr::from_abstract_name(name),
                None => SocketAddr::from_pathname(&path),
            };
            Some((UnixDatagram::unbound().ok()?, addr.ok()?))
        });
        Self { socket, last: String::new(), ready: false }
    }

    /// Says how the fulcrum is; the first word also says that it is ready. Repetitions are not sent.
    pub(crate) fn status(&mut self, status: &str) {
        if self.ready && self.last == status {
            return;
        }
        let ready = if self.ready { "" } else { "READY=1\n" };
        self.send(&format!("{ready}STATUS={status}\n"));
        self.ready = true;
        status.clone_into(&mut self.last);
    }

    /// Says that the fulcrum is going down.
    pub(crate) fn stopping(&self) {
        self.send("STOPPING=1\n");
    }

    fn send(&self, message: &str) {
        if let Some((socket, addr)) = &self.socket {
            // The manager may be gone; nothing depends on it.
            let _ = socket.send_to_addr(message.as_bytes(), addr);
        }
    }
}
