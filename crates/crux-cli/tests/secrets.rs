//! Private keys stay where they are (F4): no command line, environment, log or answer of real fulcrums and of what they run
//! has one, and no process that holds one leaves a core file.

mod help;
use help::cluster::{Cluster, names};
use help::fulcrum::{Fulcrum, world};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Every file below a directory.
fn files(dir: &Path, all: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files(&entry.path(), all),
            Ok(kind) if kind.is_file() => all.push(entry.path()),
            _ => {}
        }
    }
}

/// What would give a key away: the line of its file, and its bytes as they are and in hex.
fn shapes(key: &Path) -> Vec<Vec<u8>> {
    let text = fs::read_to_string(key).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with("-----")).collect::<String>();
    // A key of ours is 48 bytes of PKCS#8, the last 32 of which are the secret.
    let der = base64(&lines);
    assert_eq!(der.len(), 48, "{}", key.display());
    let secret = der[16..].to_vec();
    let hex = secret.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    // The end of the line depends on nothing but the secret, wherever it is quoted.
    vec![lines.as_bytes()[24..].to_vec(), hex.to_uppercase().into_bytes(), hex.into_bytes(), secret]
}

fn base64(text: &str) -> Vec<u8> {
    const SIGNS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits = |sign: u8| SIGNS.iter().position(|other| *other == sign).unwrap() as u32;
    let signs: Vec<u8> = text.bytes().filter(|sign| *sign != b'=').collect();
    let whole = |four: &[u8]| {
        let number = four.iter().fold(0, |number, sign| number << 6 | bits(*sign)) << (6 * (4 - four.len()));
        number.to_be_bytes()[1..four.len()].to_vec()
    };
    signs.chunks(4).flat_map(whole).collect()
}

/// The keys of a world, each in all its shapes.
struct Keys(Vec<Vec<u8>>);

impl Keys {
    fn below(dir: &Path, at_least: usize) -> Self {
        let mut all = Vec::new();
        files(dir, &mut all);
        let keys: Vec<_> = all.into_iter().filter(|path| path.ends_with("key.pem")).collect();
        assert!(keys.len() >= at_least, "{keys:?}");
        let found = Self(keys.iter().flat_map(|key| shapes(key)).collect());
        // Whoever looks for them finds them where they are.
        assert!(keys.iter().all(|key| found.stands_in(&fs::read(key).unwrap())));
        found
    }

    fn stands_in(&self, bytes: &[u8]) -> bool {
        self.0.iter().any(|shape| bytes.windows(shape.len()).any(|window| window == shape))
    }

    #[track_caller]
    fn not_in(&self, what: &str, bytes: &[u8]) {
        assert!(!self.stands_in(bytes), "a private key stands in {what}");
    }

    /// Looks at the command line and the environment of a process; whether both could be read.
    fn not_of(&self, pid: u32, what: &str) -> bool {
        ["cmdline", "environ"].map(|name| fs::read(format!("/proc/{pid}/{name}"))).into_iter().fold(
            true,
            |all, read| {
                match read {
                    Ok(bytes) => {
                        self.not_in(what, &bytes);
                        all
                    }
                    // What may not be dumped is not shown to its own user either, but to root only.
                    Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => false,
                    Err(error) => panic!("{what}: {error}"),
                }
            },
        )
    }
}

/// The processes that have this in their command line.
fn processes(mark: &str) -> Vec<u32> {
    let all = fs::read_dir("/proc").unwrap().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let has = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(mark)
    };
    pids.filter(has).collect()
}

#[test]
fn no_key_stands_in_a_command_line_an_environment_a_log_an_answer_or_the_state() {
    let mut cluster = Cluster::up(2);
    let home = cluster.home.path().to_owned();
    let status = cluster.until("n1", "two members", |status| status["members"] == names(&["n1", "n2"]));
    // Of two nodes and an operator.
    let keys = Keys::below(&home, 3);

    let as_root = rustix::process::geteuid().is_root();
    let running = status["instances"].as_array().unwrap().iter().filter(|i| i["pid"].is_u64() && i["state"] != "gone");
    let instances: Vec<u32> = running.map(|i| u32::try_from(i["pid"].as_u64().unwrap()).unwrap()).collect();
    assert!(!instances.is_empty(), "{status:#}");
    for pid in &instances {
        // A program of an operator's is readable to its user, and is told who it is by its environment.
        assert!(keys.not_of(*pid, "an instance"), "an instance cannot be looked at");
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap();
        assert!(String::from_utf8_lossy(&environment).contains("CRUX_INSTANCE="), "it is another process");
    }
    let others = processes(home.to_str().unwrap());
    // Two fulcrums, and a supervisor of each instance.
    assert!(others.len() >= 2 + instances.len(), "{others:?}");
    for pid in others.into_iter().chain([cluster.process.id()]) {
        let seen = keys.not_of(pid, "a process of the cluster");
        assert!(seen || !as_root, "root sees everything");
    }

    for words in [
        &["status", "-o", "json"][..],
        &["status", "-o", "wide"],
        &["node", "list", "-o", "json"],
        &["ps", "-o", "json"],
        &["links", "-o", "json"],
        &["doctor", "-o", "json"],
        &["events", "-o", "json"],
        &["audit", "-o", "json"],
        &["logs", "demo", "-o", "json"],
        &["why", "flock", "-o", "json"],
    ] {
        let ran = cluster.run(&[&["--at", "n1"], words].concat());
        assert!(!ran.stdout.is_empty(), "{words:?}: {}", String::from_utf8_lossy(&ran.stderr));
        keys.not_in(&words.join(" "), &[ran.stdout, ran.stderr].concat());
    }
    keys.not_in("what the cluster said", cluster.said.join("\n").as_bytes());

    cluster.ok(&["horde", "create", "web", "--want", "1"]);
    let mut all = Vec::new();
    files(&home, &mut all);
    let mut logs = 0;
    for path in all.iter().filter(|path| !path.ends_with("key.pem")) {
        keys.not_in(&path.display().to_string(), &fs::read(path).unwrap_or_default());
        logs += usize::from(path.extension().is_some_and(|extension| extension == "log"));
    }
    assert!(logs >= 2, "{all:?}");
    cluster.interrupt();
}

/// Sends it what makes a process dump its core, and whether it did.
fn dumps(mut process: Child) -> bool {
    kill_process(Pid::from_child(&process), Signal::ABORT).unwrap();
    let status = process.wait().unwrap();
    assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()), "{status}");
    status.core_dumped()
}

#[test]
fn no_process_that_holds_a_key_leaves_a_core_file() {
    // Every process of this test may dump as much as the machine lets it.
    let limit = getrlimit(Resource::Core);
    setrlimit(Resource::Core, Rlimit { current: limit.maximum, ..limit }).unwrap();
    let world = world(&["n1"]);
    let other = Command::new("sleep").arg("1000").current_dir(world.path("")).spawn().unwrap();
    if !dumps(other) {
        eprintln!("skipped: no process leaves a core file on this machine");
        return;
    }
    let n1 = Fulcrum::start(&world, "n1", "s", &[]);
    let addr = n1.answers()["listens"]["api"].as_str().unwrap().to_owned();
    // An operator's key is in a command that follows, too.
    let mut follows = world.command();
    let follows = follows.args(["--at", &addr, "events", "-w", "-o", "json"]).stdout(Stdio::piped());
    let mut follows = follows.spawn().unwrap();
    let mut first = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(follows.stdout.take().unwrap()), &mut first).unwrap();
    assert!(first.contains("\"Event\""), "{first}");
    assert!(!dumps(follows), "a command left a core file");
    aborts(n1);
    let mut cluster = Cluster::up(1);
    kill_process(Pid::from_child(&cluster.process), Signal::ABORT).unwrap();
    assert!(!cluster.process.wait().unwrap().core_dumped(), "a dev cluster left a core file, with the key of its CA");
}

/// A fulcrum that dies of it leaves none.
fn aborts(mut fulcrum: Fulcrum<'_>) {
    kill_process(Pid::from_child(&fulcrum.process), Signal::ABORT).unwrap();
    let status = fulcrum.process.wait().unwrap();
    assert!(status.signal() == Some(Signal::ABORT.as_raw()) && !status.core_dumped(), "{status}");
}
