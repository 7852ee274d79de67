//! A dev cluster that a test drives from outside.

use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Generous: what is waited for takes a second or two on a quiet machine.
pub const LIMIT: Duration = Duration::from_secs(90);

pub struct Cluster {
    pub home: tempfile::TempDir,
    pub process: Child,
    pub said: Vec<String>,
}

pub fn crux(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_crux"));
    for (key, _) in std::env::vars_os() {
        if key.to_string_lossy().starts_with("CRUX_") {
            command.env_remove(key);
        }
    }
    command.env("XDG_RUNTIME_DIR", home).env("XDG_CONFIG_HOME", home).env("XDG_STATE_HOME", home).env("TMPDIR", home);
    command
}

impl Cluster {
    /// Starts one and reads what it says until it says what to try next.
    pub fn up(size: usize) -> Self {
        Self::up_in(Self::home(), size)
    }

    /// A home for one, with a short path for the sockets in it: their paths are bounded.
    pub fn home() -> tempfile::TempDir {
        tempfile::Builder::new().prefix("cx").tempdir_in("/tmp").unwrap()
    }

    /// As [`Cluster::up`], in this home.
    pub fn up_in(home: tempfile::TempDir, size: usize) -> Self {
        let mut command = crux(home.path());
        let mut process = command.args(["up", "--dev", &size.to_string()]).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = Vec::new();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        for line in lines.by_ref() {
            said.push(line.unwrap());
            if said.last().unwrap().contains("crux logs") {
                // Read on, or its next word would meet a closed pipe.
                std::thread::spawn(move || lines.count());
                return Self { home, process, said };
            }
        }
        let _ = process.wait();
        panic!("the cluster did not come up: {said:#?}");
    }

    pub fn run(&self, args: &[&str]) -> Output {
        crux(self.home.path()).args(args).output().unwrap()
    }

    pub fn ok(&self, args: &[&str]) -> String {
        let out = self.run(args);
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    }

    pub fn status(&self, node: &str) -> Option<Value> {
        let out = self.run(&["--at", node, "status", "-o", "json"]);
        out.status.success().then(|| serde_json::from_slice(&out.stdout).unwrap())
    }

    pub fn socket(&self, node: &str) -> PathBuf {
        let text = std::fs::read(self.home.path().join("crux/dev.json")).unwrap();
        let file: Value = serde_json::from_slice(&text).unwrap();
        let found = file["nodes"].as_array().unwrap().iter().find(|one| one["name"] == node).unwrap();
        PathBuf::from(found["socket"].as_str().unwrap())
    }

    /// Waits until a node's status is as wanted.
    pub fn until(&self, node: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            match self.status(node) {
                Some(status) if wanted(&status) => return status,
                status if began.elapsed() > LIMIT => panic!("{what} did not come about on {node}: {status:#?}"),
                _ => std::thread::sleep(Duration::from_millis(50)), // waits: between two looks
            }
        }
    }

    /// Ends it as Ctrl-C does and waits.
    pub fn interrupt(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        assert!(self.process.wait().unwrap().success());
    }

    /// Processes that have anything of this cluster in their command line.
    pub fn left_over(&self) -> Vec<String> {
        let mark = self.home.path().to_str().unwrap().to_owned();
        let all = std::fs::read_dir("/proc").unwrap().flatten();
        let lines = all.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
        lines.map(|line| String::from_utf8_lossy(&line).into_owned()).filter(|line| line.contains(&mark)).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // A failed test leaves nothing behind: the children notice that their parent is gone.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A list of names as JSON has it.
pub fn names(list: &[&str]) -> Value {
    list.iter().map(|name| Value::from(*name)).collect()
}
