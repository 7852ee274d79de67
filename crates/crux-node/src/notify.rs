//! `sd_notify` in a few lines: one datagram to the socket that systemd named. Source: sd_notify(3).

use std::env;
use std::ffi::OsString;
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
        Self::to(env::var_os("NOTIFY_SOCKET"))
    }

    fn to(path: Option<OsString>) -> Self {
        let socket = path.and_then(|path| {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_is_said_once_and_no_status_twice() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_nonblocking(true).unwrap();
        let mut notifier = Notifier::to(Some(path.into_os_string()));
        for status in ["flock calm-heron, 1 member", "flock calm-heron, 1 member", "flock calm-heron, 2 members"] {
            notifier.status(status);
        }
        notifier.stopping();
        let mut heard = Vec::new();
        let mut buffer = [0; 256];
        while let Ok(len) = manager.recv(&mut buffer) {
            heard.push(String::from_utf8(buffer[..len].to_vec()).unwrap());
        }
        let first = "READY=1\nSTATUS=flock calm-heron, 1 member\n";
        assert_eq!(heard, [first, "STATUS=flock calm-heron, 2 members\n", "STOPPING=1\n"]);
    }

    #[test]
    fn without_a_manager_nothing_happens() {
        let mut notifier = Notifier::to(None);
        notifier.status("alone");
        notifier.stopping();
    }
}
