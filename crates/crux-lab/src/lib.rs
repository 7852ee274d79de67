//! The lab: real processes of the real binary on machines made of network namespaces, cut and healed with nftables.
//! It knows crux only by its commands, their JSON and the operators' client, as an outside tool does.
//!
//! Every machine is a namespace with one veth into a bridge in a namespace of its own. Cuts drop on the bridge, so that
//! no sender sees an error. Everything that a lab made is gone when it is dropped, whatever the test did; traffic stays
//! inside the namespaces.
//!
//! Moments are exact without polling fast: every fulcrum stamps its events, and all machines have one clock.

mod loader;
mod network;
mod seen;
mod stream;
mod wait;

pub use loader::{Loader, label};
pub use network::{Network, Octets};
pub use seen::{Follow, moment, now};
pub use stream::Stream;
pub use wait::{Timeout, until};

use serde_json::Value;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// Whether the lab's tests are to run, and if not, why: printed by the caller.
///
/// # Errors
/// The reason to skip.
pub fn permitted() -> Result<PathBuf, String> {
    match std::env::var("CRUX_LAB").as_deref() {
        Ok("1") => {}
        Ok("0") => return Err("network namespaces are not permitted here".into()),
        _ => return Err("CRUX_LAB is not set; `cargo xtask test` sets it where namespaces are permitted".into()),
    }
    binary()
}

/// The crux binary that `CRUX_BIN` names.
///
/// # Errors
/// What is wrong with it.
pub fn binary() -> Result<PathBuf, String> {
    let binary = std::env::var_os("CRUX_BIN").map(PathBuf::from).ok_or("CRUX_BIN does not name the crux binary")?;
    if binary.is_file() { Ok(binary) } else { Err(format!("CRUX_BIN: {} is not a file", binary.display())) }
}

/// Some machines with a bundle each, and the fulcrums that run on them.
#[derive(Debug)]
pub struct Lab {
    binary: PathBuf,
    dir: tempfile::TempDir,
    network: Network,
    fulcrums: Vec<Option<Child>>,
    /// Extra arguments of `crux up` on every machine.
    pub up_args: Vec<String>,
    /// Whether fulcrums listen on every address of their machine instead of the one that it has at the start.
    pub listen_everywhere: bool,
}

impl Lab {
    /// Makes so many machines where that is permitted; elsewhere prints why the test is skipped.
    #[must_use]
    pub fn or_skip(machines: usize) -> Option<Self> {
        match permitted() {
            Ok(binary) => Some(Self::new(binary, machines)),
            Err(why) => {
                eprintln!("SKIPPED: {why}");
                None
            }
        }
    }

    /// Makes so many machines, named n1, n2, …, with certificates from a fresh CA, and an operator `ops`.
    ///
    /// # Panics
    /// If the machines or the certificates cannot be made: then no test can run.
    #[must_use]
    pub fn new(binary: PathBuf, machines: usize) -> Self {
        // Unix sockets have short names, so the lab lives at a short path.
        let dir = tempfile::Builder::new().prefix("cxl").tempdir_in("/tmp").expect("a directory for the lab");
        let network = Network::new(machines);
        let lab = Self {
            binary,
            dir,
            network,
            fulcrums: (0..machines).map(|_| None).collect(),
            up_args: Vec::new(),
            listen_everywhere: false,
        };
        lab.must(&["ca", "init", "--bloc", "lab", "--out", &lab.path("ca")]);
        for at in 0..machines {
            let (node, out) = (format!("n{}", at + 1), lab.path(&format!("id{}", at + 1)));
            lab.must(&["ca", "issue", "--ca", &lab.path("ca"), "--node", &node, "--out", &out]);
        }
        let operator = lab.path("ops");
        lab.must(&["ca", "issue", "--ca", &lab.path("ca"), "--operator", "ops", "--out", &operator, "--no-profile"]);
        lab
    }

    /// A path in the lab's directory.
    #[must_use]
    pub fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// The lab's directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The network between the machines.
    #[must_use]
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// How many machines there are.
    #[must_use]
    pub fn machines(&self) -> usize {
        self.fulcrums.len()
    }

    /// The local socket of a machine's fulcrum.
    #[must_use]
    pub fn socket(&self, at: usize) -> String {
        self.path(&format!("s{}/crux.sock", at + 1))
    }

    /// Starts the fulcrum of a machine, which knows the addresses of the first three.
    ///
    /// # Panics
    /// If the process cannot be started.
    pub fn up(&mut self, at: usize) {
        let mut args = Vec::new();
        for seed in (0..self.machines().min(3)).filter(|seed| *seed != at) {
            args.extend(["--seed".to_owned(), format!("{}:2789", self.network.addr(seed))]);
        }
        args.extend(self.up_args.iter().cloned());
        self.up_as(at, &format!("id{}", at + 1), &args);
    }

    /// Starts a fulcrum on a machine with a bundle in the lab's directory and further arguments, and knows nobody unless
    /// they say so.
    ///
    /// # Panics
    /// If the process cannot be started.
    pub fn up_as(&mut self, at: usize, identity: &str, args: &[String]) {
        let log =
            File::options().create(true).append(true).open(self.path(&format!("n{}.log", at + 1))).expect("a log file");
        let mut command = self.network.command(at, &self.binary);
        command.args(["up", "--identity", &self.path(identity)]);
        command.args(["--state", &self.path(&format!("s{}", at + 1))]);
        if self.listen_everywhere {
            command.args(["--listen", "0.0.0.0:2789"]);
        } else {
            command.args(["--listen", &format!("{}:2789", self.network.addr(at))]);
        }
        command.args(args);
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("the log file")).stderr(log);
        self.fulcrums[at] = Some(command.spawn().expect("crux starts"));
    }

    /// What the fulcrum of a machine has said so far.
    #[must_use]
    pub fn log(&self, at: usize) -> String {
        std::fs::read_to_string(self.path(&format!("n{}.log", at + 1))).unwrap_or_default()
    }

    /// Starts every fulcrum.
    pub fn up_all(&mut self) {
        (0..self.machines()).for_each(|at| self.up(at));
    }

    /// The process id of a machine's fulcrum.
    #[must_use]
    pub fn pid(&self, at: usize) -> Option<u32> {
        self.fulcrums[at].as_ref().map(Child::id)
    }

    /// Kills the fulcrum of a machine with SIGKILL; what it supervises lives on.
    ///
    /// # Panics
    /// If the process cannot be waited for.
    pub fn kill(&mut self, at: usize) {
        if let Some(mut child) = self.fulcrums[at].take() {
            // It may have ended by itself; what matters is that it is gone afterwards.
            let _ = child.kill();
            child.wait().expect("the fulcrum's end");
        }
    }

    /// Cuts a machine off from all others, and then kills its fulcrum: nothing tells them that it is gone.
    pub fn kill_in_silence(&mut self, at: usize) {
        let others: Vec<usize> = (0..self.machines()).filter(|other| *other != at).collect();
        self.network.set_between(&[at], &others, false);
        self.kill(at);
    }

    /// Waits until the process of a machine's fulcrum has ended by itself; its exit code, if it has one.
    ///
    /// # Panics
    /// If there is none, or it does not end in time.
    pub fn await_end(&mut self, at: usize, limit: Duration) -> Option<i32> {
        let mut child = self.fulcrums[at].take().expect("the fulcrum runs");
        let mut code = None;
        let ended = until(limit, || {
            let end = child.try_wait().expect("the fulcrum's end");
            code = end.and_then(|status| status.code());
            end.is_some()
        });
        if ended.is_err() {
            self.fulcrums[at] = Some(child);
            panic!("the fulcrum of n{} has not ended: {}", at + 1, self.said(&[at]));
        }
        code
    }

    /// Sends a signal by name to the fulcrum of a machine.
    ///
    /// # Panics
    /// If there is none.
    pub fn signal(&self, at: usize, signal: &str) {
        let pid = self.pid(at).expect("the fulcrum runs").to_string();
        run(Command::new("kill").args(["-s", signal, &pid]));
    }

    /// Runs a command of crux outside the machines.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn crux(&self, args: &[&str]) -> Output {
        let mut command = Command::new(&self.binary);
        // Nothing of the user who runs the tests may decide: no profile, no dev cluster.
        for home in ["HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR"] {
            command.env(home, self.dir.path().join("home"));
        }
        command.env_remove("CRUX_AT").env_remove("CRUX_AS").args(args).output().expect("crux starts")
    }

    /// Runs a command of crux against the fulcrum of a machine, as the operator.
    #[must_use]
    pub fn at(&self, at: usize, args: &[&str]) -> Output {
        let (socket, operator) = (self.socket(at), self.path("ops"));
        let mut all = vec!["--at", socket.as_str(), "--as", operator.as_str()];
        all.extend(args);
        self.crux(&all)
    }

    /// Runs a command of crux that must succeed; returns what it printed.
    ///
    /// # Panics
    /// With everything that it said, if it fails.
    pub fn must(&self, args: &[&str]) -> String {
        succeeded(args, self.crux(args))
    }

    /// Runs a command of crux against a machine's fulcrum that must succeed; returns what it printed.
    ///
    /// # Panics
    /// With everything that it said, if it fails.
    pub fn must_at(&self, at: usize, args: &[&str]) -> String {
        succeeded(args, self.at(at, args))
    }

    /// The status of a machine's fulcrum, or `null` if it does not answer.
    #[must_use]
    pub fn status(&self, at: usize) -> Value {
        self.json(at, &["status"])
    }

    /// The document that a command prints at a machine, whatever its exit code; `null` if it is none.
    #[must_use]
    pub fn json(&self, at: usize, args: &[&str]) -> Value {
        let mut all = args.to_vec();
        all.extend(["-o", "json"]);
        serde_json::from_slice(&self.at(at, &all).stdout).unwrap_or(Value::Null)
    }

    /// Whether each of these machines says that exactly these are the members of its flock, that they agree on its
    /// leader and view, and, if asked, that it is stable.
    #[must_use]
    pub fn one_flock(&self, machines: &[usize], stable: bool) -> bool {
        let wanted = Value::from(names(machines));
        let mut view: Option<Value> = None;
        machines.iter().all(|at| {
            let confab = self.json(*at, &["confab"]);
            let same = view.get_or_insert_with(|| confab["view"].clone()) == &confab["view"];
            let led = wanted.as_array().is_some_and(|wanted| wanted.contains(&confab["leader"]));
            same && led && confab["members"] == wanted && (!stable || confab["stable"] == Value::Bool(true))
        })
    }

    /// Waits until these machines are one flock.
    ///
    /// # Panics
    /// With what they say instead, when the limit is over.
    pub fn await_flock(&self, machines: &[usize], stable: bool, limit: Duration) -> Duration {
        until(limit, || self.one_flock(machines, stable))
            .unwrap_or_else(|_| panic!("{machines:?} are not one flock after {limit:?}: {}", self.said(machines)))
    }

    /// The service's row in a machine's status, or `null`.
    #[must_use]
    pub fn service(&self, at: usize, name: &str) -> Value {
        let status = self.status(at);
        let rows = status["services"].as_array().cloned().unwrap_or_default();
        rows.into_iter().find(|row| row["service"] == name).unwrap_or(Value::Null)
    }

    /// What these machines say of their flocks, and the ends of their logs, for a failing test.
    #[must_use]
    pub fn said(&self, machines: &[usize]) -> String {
        let mut text = String::new();
        for at in machines {
            let status = self.status(*at);
            text.push_str(&format!("\nn{}:", at + 1));
            for key in ["members", "leader", "stable", "siblings", "outside", "clones", "services"] {
                text.push_str(&format!(" {key} {}", status[key]));
            }
            let log = self.log(*at);
            let lines: Vec<&str> = log.lines().collect();
            for line in &lines[lines.len().saturating_sub(12)..] {
                text.push_str(&format!("\n    {line}"));
            }
        }
        text
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for at in 0..self.machines() {
            self.kill(at);
        }
        // Supervisors and instances outlive their fulcrum; what still lives in the namespaces ends with the lab.
        self.network.end_processes();
        if std::thread::panicking() {
            eprintln!("the lab's last words:{}", self.said(&[]));
        }
    }
}

/// The names of these machines, sorted as documents have them.
#[must_use]
pub fn names(machines: &[usize]) -> Vec<String> {
    let mut names: Vec<String> = machines.iter().map(|at| format!("n{}", at + 1)).collect();
    names.sort();
    names
}

/// The machine of a name as documents have it.
///
/// # Panics
/// If it is none of the lab's.
#[must_use]
pub fn machine(name: &Value) -> usize {
    let number = name.as_str().and_then(|name| name.strip_prefix('n')?.parse::<usize>().ok());
    number.unwrap_or_else(|| panic!("{name} is no machine of the lab")) - 1
}

fn succeeded(args: &[&str], output: Output) -> String {
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "crux {} ended with {}:\n{said}{}",
        args.join(" "),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    said
}

/// Runs a program that must succeed; returns what it printed.
///
/// # Panics
/// With everything that it said, if it fails.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
