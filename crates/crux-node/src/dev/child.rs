//! One fulcrum of a dev cluster: a child process on a leash.
//!
//! The leash is the child's standard input, a pipe whose other end only the parent holds. When the parent ends, however
//! it ends, the pipe closes, and the child stops its services and itself. A child that stands still (`lab pause`) is
//! woken by its parent-death signal, which is `CONT`. Children live in process groups of their own, so a Ctrl-C reaches
//! the parent alone, which takes them down in order.

use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{ChildStdin, Command};
use tokio::time::Instant;

/// What every child of one cluster has in common.
pub(crate) struct Family {
    /// The program: this one.
    pub(crate) exe: PathBuf,
    /// Where everybody listens; each is a seed of the others.
    pub(crate) addrs: Vec<SocketAddr>,
    /// What all timers are multiplied with.
    pub(crate) timers: f64,
}

/// One fulcrum: its places on disk, and its process while it runs.
pub(crate) struct Child {
    /// `n1`.
    pub(crate) name: String,
    /// Its mesh address.
    pub(crate) addr: SocketAddr,
    /// Its bundle.
    pub(crate) identity: PathBuf,
    /// Its state directory.
    pub(crate) state: PathBuf,
    /// Where it answers programs of this machine, if that is free.
    page: Option<SocketAddr>,
    running: Option<Running>,
    /// Its end was asked for, or was said already.
    told: bool,
    /// It stands still until then.
    pub(super) paused_until: Option<Instant>,
}

struct Running {
    process: tokio::process::Child,
    leash: Option<ChildStdin>,
}

impl Child {
    /// A fulcrum that does not run yet.
    pub(crate) fn new(
        name: String,
        addr: SocketAddr,
        identity: PathBuf,
        state: PathBuf,
        page: Option<SocketAddr>,
    ) -> Self {
        Self { name, addr, identity, state, page, running: None, told: true, paused_until: None }
    }

    /// Its local socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.state.join("crux.sock")
    }

    /// Where its output goes.
    pub(crate) fn log(&self) -> PathBuf {
        self.state.join("crux.log")
    }

    /// Whether its process runs, as far as was noticed.
    pub(crate) fn runs(&mut self) -> bool {
        match &mut self.running {
            Some(running) => match running.process.try_wait() {
                Ok(None) => true,
                Ok(Some(_)) | Err(_) => {
                    self.running = None;
                    false
                }
            },
            None => false,
        }
    }

    /// Whether it has ended without being told to; says so once.
    pub(crate) fn ended_unasked(&mut self) -> bool {
        let news = !self.runs() && !self.told;
        self.told |= news;
        news
    }

    /// Starts its process.
    ///
    /// # Errors
    /// What the system said.
    pub(crate) fn start(&mut self, family: &Family) -> io::Result<()> {
        std::fs::create_dir_all(&self.state)?;
        let log = File::options().create(true).append(true).open(self.log())?;
        let mut command = Command::new(&family.exe);
        command.arg("up").arg("--identity").arg(&self.identity).arg("--state").arg(&self.state);
        command.arg("--listen").arg(self.addr.to_string());
        for seed in family.addrs.iter().filter(|addr| **addr != self.addr) {
            command.arg("--seed").arg(seed.to_string());
        }
        command.arg("--timers").arg(family.timers.to_string());
        // They share this machine.
        command.arg("--share").arg(format!("{:.4}", 1.0 / family.addrs.len() as f64));
        command.arg("--expect").arg(family.addrs.len().to_string());
        // Each takes a free one, told to its peers over the links.
        command.args(["--api", "127.0.0.1:0", "--metrics", "127.0.0.1:0"]);
        command.arg("--page").arg(self.page.map_or_else(|| "off".to_owned(), |addr| free(addr).to_string()));
        // Its seeds say all; another user's dev cluster on this machine is none of its business.
        command.arg("--no-multicast");
        command.arg("--dev-child");
        command.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log).process_group(0);
        // What stands in the environment of who starts the cluster is not meant for each fulcrum.
        for key in std::env::vars_os().map(|(key, _)| key) {
            if key.to_str().is_some_and(|key| key.starts_with("CRUX_")) || key == "NOTIFY_SOCKET" {
                command.env_remove(key);
            }
        }
        let mut process = command.spawn()?;
        let leash = process.stdin.take();
        self.running = Some(Running { process, leash });
        self.paused_until = None;
        self.told = false;
        Ok(())
    }

    /// Ends the process as if the machine died. What it started is the caller's affair.
    pub(crate) async fn kill(&mut self) {
        self.told = true;
        self.paused_until = None;
        if let Some(mut running) = self.running.take() {
            // It may just have ended by itself.
            let _ = running.process.kill().await;
        }
    }

    /// Lets the leash go: the child stops its services and itself.
    pub(crate) fn release(&mut self) {
        self.told = true;
        if let Some(running) = &mut self.running {
            running.leash = None;
        }
    }

    /// Waits until the process has ended; `false` if it still runs after `limit`.
    pub(crate) async fn ended(&mut self, limit: Duration) -> bool {
        let Some(running) = &mut self.running else { return true };
        if tokio::time::timeout(limit, running.process.wait()).await.is_err() {
            return false;
        }
        self.running = None;
        true
    }

    /// Lets the process stand still, or go on.
    pub(crate) fn signal(&mut self, signal: Signal) {
        if let Some(pid) = self.running.as_ref().and_then(|running| running.process.id())
            && let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw)
        {
            let _ = kill_process(pid, signal);
        }
    }

    /// The last lines of its output, for an error.
    pub(crate) fn last_words(&self) -> String {
        last_lines(&self.log(), 5)
    }
}

/// This address, or one with a port that the fulcrum picks: another program, or another cluster, may have it.
fn free(addr: SocketAddr) -> SocketAddr {
    match TcpListener::bind(addr) {
        Ok(_) => addr,
        Err(_) => SocketAddr::new(addr.ip(), 0),
    }
}

fn last_lines(path: &Path, count: usize) -> String {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join(" | ")
}
