//! One real fulcrum on loopback, from its certificate to its log.

use super::World;
use super::cluster::LIMIT;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// So long a fulcrum may take to end in order when a test has failed.
const ORDERLY: Duration = Duration::from_secs(5);

/// Waits until something is so.
pub fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    until_or(|| what.to_owned(), look)
}

/// As [`until`], with words that tell how it stands when it has not come to be so.
fn until_or<T>(what: impl Fn() -> String, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < LIMIT, "{}", what());
        std::thread::sleep(Duration::from_millis(20)); // waits: between two looks
    }
}

/// A CA and a bundle for each of these nodes, in directories of their names.
pub fn world(nodes: &[&str]) -> World {
    let world = World::new().with_operator();
    for node in nodes {
        world.crux(&["ca", "issue", "--ca", "ca", "--node", node, "--out", node]).done();
    }
    world
}

/// A fulcrum that runs; its log is in a file.
pub struct Fulcrum<'a> {
    world: &'a World,
    state: String,
    log: String,
    pub process: Child,
}

impl<'a> Fulcrum<'a> {
    /// Starts one on loopback with ports that are free.
    pub fn start(world: &'a World, identity: &str, state: &str, more: &[&str]) -> Self {
        Self::with(world, state, up(world, identity, state, more))
    }

    pub fn with(world: &'a World, state: &str, command: Command) -> Self {
        Self::logging(world, state, state, command)
    }

    /// As [`Fulcrum::start`], with its log at another place than beside the state.
    pub fn start_logged(world: &'a World, identity: &str, state: &str, log: &str, more: &[&str]) -> Self {
        Self::logging(world, state, log, up(world, identity, state, more))
    }

    fn logging(world: &'a World, state: &str, log: &str, mut command: Command) -> Self {
        let log = format!("{log}.log");
        let file = std::fs::File::create(world.path(&log)).unwrap();
        let process = command.stderr(file).spawn().unwrap();
        Self { world, state: state.to_owned(), log, process }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.world.path(&self.log)).unwrap()
    }

    pub fn json(&self, verb: &str) -> Option<Value> {
        let socket = format!("{}/crux.sock", self.state);
        let ran = self.world.crux(&["--at", &socket, verb, "-o", "json"]);
        (ran.code == 0).then(|| serde_json::from_str(&ran.out).unwrap())
    }

    /// Waits until it answers, with what it has to say.
    pub fn answers(&self) -> Value {
        until_or(|| format!("{} answers: {}", self.state, self.log()), || self.json("status"))
    }

    /// Waits until its log says this.
    pub fn says(&self, text: &str) {
        until_or(|| format!("{text:?} in the log: {}", self.log()), || self.log().contains(text).then_some(()));
    }

    /// Ends it in order.
    pub fn stop(mut self) {
        kill_process(Pid::from_child(&self.process), Signal::TERM).unwrap();
        self.ends();
    }

    /// Waits until it has ended in order: only then its state directory is free for the next life.
    pub fn ends(&mut self) {
        assert!(self.process.wait().unwrap().success(), "{}", self.log());
    }
}

impl Fulcrum<'_> {
    /// Ends it as kill -9 does.
    pub fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Fulcrum<'_> {
    fn drop(&mut self) {
        // A failed test leaves nothing behind: without its leash a dev cluster's child takes its services with it.
        drop(self.process.stdin.take());
        let began = Instant::now();
        while matches!(self.process.try_wait(), Ok(None)) && began.elapsed() < ORDERLY {
            std::thread::sleep(Duration::from_millis(20)); // waits: between two looks
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub fn up(world: &World, identity: &str, state: &str, more: &[&str]) -> Command {
    let mut command = world.command();
    command.args(["up", "--identity", identity, "--state", state, "--no-multicast"]);
    // As a child of a dev cluster it leaves alone what belongs to the machine: /etc/crux, and root's socket under /run.
    command.arg("--dev-child").stdin(Stdio::piped());
    let given = |flag: &str| more.contains(&flag);
    let usual = [
        ("--listen", "127.0.0.1:0"),
        ("--api", "127.0.0.1:0"),
        ("--metrics", "off"),
        ("--page", "off"),
        ("--timers", "0.25"),
    ];
    for (flag, value) in usual {
        if !given(flag) {
            command.args([flag, value]);
        }
    }
    command.args(more);
    command
}
