//! The built `crux` in a world of its own, and a fulcrum that says what a test wants it to say.
#![allow(dead_code)] // Each test file uses what it needs.

pub mod cluster;
pub mod fulcrum;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

/// A directory with its own profile, state and run time places.
pub struct World {
    dir: tempfile::TempDir,
}

/// What a command left behind.
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl World {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a directory") }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        std::fs::write(&path, text).expect("a file");
        path
    }

    /// The command, not started yet.
    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_crux"));
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CRUX_")) {
            command.env_remove(name);
        }
        command
            .current_dir(self.dir.path())
            .env("HOME", self.path("home"))
            .env("XDG_CONFIG_HOME", self.path("config"))
            .env("XDG_STATE_HOME", self.path("state"))
            .env("XDG_RUNTIME_DIR", self.path("run"));
        command
    }

    pub fn crux(&self, words: &[&str]) -> Ran {
        self.run(self.command().args(words))
    }

    pub fn run(&self, command: &mut Command) -> Ran {
        let Output { status, stdout, stderr } = command.output().expect("crux starts");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        Ran { code: status.code().expect("it was not killed"), out: text(stdout), err: text(stderr) }
    }

    /// A CA of bloc `acme` with an operator in the profile.
    pub fn with_operator(self) -> Self {
        let init = self.crux(&["ca", "init", "--bloc", "acme", "--out", "ca"]);
        assert_eq!(init.code, 0, "{}", init.err);
        let issue = self.crux(&["ca", "issue", "--ca", "ca", "--operator", "alice"]);
        assert_eq!(issue.code, 0, "{}", issue.err);
        self
    }
}

impl Ran {
    /// Fails the test unless the command ended so and told the error's code and, somewhere, these texts.
    #[track_caller]
    pub fn failed(&self, exit: i32, code: &str, texts: &[&str]) {
        assert_eq!(self.code, exit, "out: {}\nerr: {}", self.out, self.err);
        assert!(self.err.starts_with(&format!("crux: {code} ")), "{}", self.err);
        assert!(self.err.lines().any(|line| line.starts_with("next: ")), "no next step: {}", self.err);
        assert_eq!(self.out, "", "an error leaves standard output empty");
        for text in texts {
            assert!(self.err.contains(text), "{text:?} is missing in: {}", self.err);
        }
    }

    /// The same for a command that writes a log to standard error before its error.
    #[track_caller]
    pub fn failed_among_logs(mut self, exit: i32, code: &str, texts: &[&str]) {
        self.err = self.err.find("crux: E").map_or_else(String::new, |start| self.err.split_off(start));
        self.failed(exit, code, texts);
    }

    /// Fails the test unless the command found something that cannot be used, and said what.
    #[track_caller]
    pub fn unfit(&self) -> &str {
        assert_eq!(self.code, 1, "out: {}\nerr: {}", self.out, self.err);
        &self.out
    }

    /// Fails the test unless the command ended well.
    #[track_caller]
    pub fn done(&self) -> &str {
        assert_eq!(self.code, 0, "out: {}\nerr: {}", self.out, self.err);
        &self.out
    }
}

/// What was asked.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub query: String,
    pub body: Vec<u8>,
}

/// What is answered.
pub enum Answer {
    /// A status and a whole body.
    Whole(u16, Vec<u8>),
    /// Server-sent events; then the stream ends.
    Stream(Vec<String>),
    /// Server-sent events; then silence until the client goes away.
    Open(Vec<String>),
}

impl Answer {
    pub fn json(text: impl Into<String>) -> Self {
        Self::Whole(200, text.into().into_bytes())
    }
}

/// A socket that answers as a closure says, and remembers what it was asked.
pub struct Fake {
    pub socket: PathBuf,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Fake {
    pub fn start(world: &World, answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let socket = world.path("fake.sock");
        let listener = UnixListener::bind(&socket).expect("a socket");
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (log, answer) = (asked.clone(), Arc::new(answer));
        // Ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (log, answer) = (log.clone(), answer.clone());
                std::thread::spawn(move || serve(stream, &log, &*answer));
            }
        });
        Self { socket, asked }
    }

    pub fn at(&self) -> &str {
        self.socket.to_str().expect("UTF-8")
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("no panic").clone()
    }
}

fn serve(stream: UnixStream, log: &Mutex<Vec<Asked>>, answer: &dyn Fn(&Asked) -> Answer) {
    let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
    let mut line = String::new();
    if reader.read_line(&mut line).unwrap_or(0) == 0 {
        return; // Somebody only looked whether the socket answers.
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, target) = (words.next().expect("a method"), words.next().expect("a path"));
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).expect("a header");
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").map_or(0, |length| length.parse().expect("a length"));
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("the body");
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let asked = Asked { method, path: path.to_owned(), query: query.to_owned(), body };
    log.lock().expect("no panic").push(asked.clone());
    let mut stream = stream;
    // A client that goes away early is the client's affair.
    let _ = match answer(&asked) {
        Answer::Whole(status, body) => {
            write!(stream, "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len())
                .and_then(|()| stream.write_all(&body))
        }
        Answer::Stream(events) => say(&mut stream, &events),
        Answer::Open(events) => say(&mut stream, &events).map(|()| {
            let _ = reader.read(&mut [0]);
        }),
    };
}

fn say(stream: &mut UnixStream, events: &[String]) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 200 X\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n: hello\n\n")?;
    events.iter().try_for_each(|event| write!(stream, "data: {event}\n\n"))
}

/// A checked-in sample of a document, on one line.
pub fn sample(kind: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crux-api/schema").join(format!("{kind}.json"));
    let value: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(path).expect("a sample")).expect("a sample is JSON");
    value.to_string()
}

/// One answer over plain HTTP: the status line's code and the body.
pub fn get(addr: &str, path: &str) -> (u16, String) {
    let mut stream = std::net::TcpStream::connect(addr).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.split_whitespace().nth(1).unwrap().parse().unwrap(), body.to_owned())
}
