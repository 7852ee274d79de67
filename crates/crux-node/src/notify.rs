//! `sd_notify` in a few lines: one datagram to the socket that systemd named. Source: sd_notify(3).

use std::env;
use std::ffi::OsString;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Tells the service manager, if there is one.
pub(crate) struct Notifier {
    socket: Option<(UnixDatagram, SocketAddr)>,
    last: String,
    ready: bool,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// Reads `NOTIFY_SOCKET`; without it, or when it cannot be used, every message goes nowhere.
    pub(crate) fn from_env() -> Self {
        let word = |name| env::var(name).ok();
        Self::to(
            env::var_os("NOTIFY_SOCKET"),
            watchdog(word("WATCHDOG_USEC"), word("WATCHDOG_PID"), std::process::id()),
        )
    }

    /// To the socket of this name, which may be abstract.
    pub(crate) fn to(path: Option<OsString>, watchdog: Option<Duration>) -> Self {
        let socket = path.and_then(|path| {
            let bytes = path.as_bytes();
            let addr = match bytes.strip_prefix(b"@") {
                Some(name) => SocketAddr::from_abstract_name(name),
                None => SocketAddr::from_pathname(&path),
            };
            Some((UnixDatagram::unbound().ok()?, addr.ok()?))
        });
        let watchdog = watchdog.filter(|_| socket.is_some());
        Self { socket, last: String::new(), ready: false, watchdog }
    }

    /// How often [`Notifier::alive`] is to be said, if the service manager restarts who is silent.
    pub(crate) fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Says that the loop goes round.
    pub(crate) fn alive(&self) {
        self.send("WATCHDOG=1\n");
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

    /// Says what the start waits for, before it is ready, and that it may take so long until the next word.
    pub(crate) fn waiting(&self, what: &str, patience: Duration) {
        self.send(&format!("STATUS=waiting: {what}\nEXTEND_TIMEOUT_USEC={}\n", patience.as_micros()));
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

/// Half the time that the manager grants, as sd_watchdog_enabled(3) advises; `None` if it does not watch this process.
fn watchdog(usec: Option<String>, pid: Option<String>, me: u32) -> Option<Duration> {
    let limit: u64 = usec?.parse().ok().filter(|usec| *usec > 0)?;
    let mine = pid.is_none_or(|pid| pid.parse() == Ok(me));
    mine.then(|| Duration::from_micros(limit) / 2)
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
        let mut notifier = Notifier::to(Some(path.into_os_string()), None);
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
        let mut notifier = Notifier::to(None, Some(Duration::from_secs(1)));
        assert_eq!(notifier.watchdog(), None);
        notifier.status("alone");
        notifier.stopping();
    }

    #[test]
    fn the_watchdog_is_fed_twice_as_often_as_asked_and_only_for_this_process() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(watchdog(some("10000000"), None, 7), Some(Duration::from_secs(5)));
        assert_eq!(watchdog(some("10000000"), some("7"), 7), Some(Duration::from_secs(5)));
        assert_eq!(watchdog(some("10000000"), some("8"), 7), None);
        for nothing in [None, some("0"), some("soon")] {
            assert_eq!(watchdog(nothing, None, 7), None);
        }
    }
}
