//! Hooks of an instance. The supervisor starts a runner for each, which holds the hook's whole tree as the supervisor holds
//! the instance's: whatever the hook forks ends up below the runner, so that a timeout ends exactly that and nothing of the
//! instance. The runner is in the instance's tree, and so ends with it.
//!
//! The runner's standard input leads back to the supervisor: there it says, in one line, how the hook ended. Its output and
//! that of the hook are pipes into the instance's log.

use super::descriptors::close_inherited;
use super::journal::{Home, Intent};
use super::logs::LogWriter;
use super::processes::{kill_marked, marks, raw};
use super::supervise::{Tree, explain, refuse_no_program};
use super::telling::{self, HookEnding, HookRecord};
use crux_api::json::Told;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::Mode;
use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// A list longer than this is not in the environment: the system bounds each variable. The document has it.
const LIST_MAX: usize = 64 * 1024;
/// The runner's word has one line of at most this length.
const WORD_MAX: usize = 64 * 1024;
/// How much longer than the hook its runner may take before it is killed itself.
const RUNNER_GRACE: Duration = Duration::from_secs(5);
/// What a supervisor calls itself by to be a runner: its own program, also after that was replaced.
const MYSELF: &str = "/proc/self/exe";

/// What `crux supervise DIR NUMBER MILLISECONDS` is: the runner. To be called before any thread or runtime is made.
#[must_use]
pub fn hook_main(dir: &Path, number: &str, timeout_ms: &str) -> ExitCode {
    close_inherited();
    let ending = match (number.parse(), timeout_ms.parse()) {
        (Ok(number), Ok(millis)) => run(&Home(dir.to_owned()), number, Duration::from_millis(millis)),
        _ => Err(io::Error::new(ErrorKind::InvalidInput, "its number and its timeout are whole numbers")),
    };
    let ending = ending.unwrap_or_else(|error| HookEnding::Failed { why: error.to_string() });
    let mut line = serde_json::to_vec(&ending).unwrap_or_default();
    line.push(b'\n');
    match io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from).and_then(|mut back| back.write_all(&line)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn run(home: &Home, number: u64, timeout: Duration) -> io::Result<HookEnding> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let other = |why: &str| io::Error::other(why.to_owned());
    let intent = home.read()?.intent.ok_or_else(|| other("the instance's journal has no intent"))?;
    let (told, file) = telling::kept(home).map_err(|error| other(&format!("what it is to be told: {error}")))?;
    if told.number.0 != number {
        return Err(other("the instance has been told something else meanwhile"));
    }
    let command = intent.hooks.get(&told.event).filter(|command| !command.is_empty());
    let command = command.ok_or_else(|| other("the instance has no such hook"))?.clone();
    let child = match spawn(&command, &intent, &told, file, home) {
        Ok(child) => child,
        Err(error) => return Ok(HookEnding::Failed { why: explain(&command, &intent.env, &home.root(), &error) }),
    };
    let main = raw(child.id()).ok_or_else(|| other("the process has no number"))?;
    let mut tree = Tree { main, status: None };
    let in_time = ends_within(&tree, timeout);
    tree.extinguish(None, &mut || {});
    let Some(status) = tree.status.filter(|_| in_time) else { return Ok(HookEnding::TimedOut) };
    Ok(match (status.exit_status(), status.terminating_signal()) {
        (Some(0), _) => HookEnding::Well,
        (Some(code), _) => HookEnding::Failed { why: format!("exit code {code}") },
        (None, Some(signal)) => HookEnding::Failed { why: format!("ended by signal {signal}") },
        (None, None) => HookEnding::Failed { why: "it is not known how".into() },
    })
}

/// Waits for the hook's own process. Not reaped yet, its number is still its own.
fn ends_within(tree: &Tree, timeout: Duration) -> bool {
    let until = Instant::now() + timeout;
    let Ok(handle) = pidfd_open(tree.main, PidfdFlags::empty()) else { return false };
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(&handle, PollFlags::IN)];
        match poll(&mut fds, Some(&timespec(left))) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
        if !fds[0].revents().is_empty() {
            return true;
        }
        if left.is_zero() {
            return false;
        }
        tree.reap_orphans();
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec { tv_sec: i64::try_from(duration.as_secs()).unwrap_or(1), tv_nsec: duration.subsec_nanos().into() }
}

fn spawn(command: &[String], intent: &Intent, told: &Told, file: File, home: &Home) -> io::Result<std::process::Child> {
    let (program, arguments) =
        command.split_first().ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "the command is empty"))?;
    refuse_no_program(program, &home.root())?;
    Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(&intent.env)
        .envs(variables(told))
        .current_dir(home.root())
        .stdin(Stdio::from(file))
        .process_group(0)
        .spawn()
}

/// What a hook finds in its environment beside the instance's.
fn variables(told: &Told) -> BTreeMap<&'static str, String> {
    let mut variables = BTreeMap::from([("CRUX_EVENT", told.event.clone()), ("CRUX_NUMBER", told.number.to_string())]);
    for (name, list) in [("CRUX_PRESENT", &told.present), ("CRUX_ABSENT", &told.absent)] {
        let list = list.join(",");
        if list.len() <= LIST_MAX {
            variables.insert(name, list);
        }
    }
    variables
}

/// A hook that runs, as the supervisor sees it.
pub(super) struct Hook {
    record: HookRecord,
    runner: OwnedFd,
    back: UnixStream,
    heard: Vec<u8>,
    outputs: [Option<File>; 2],
    overdue: Instant,
}

impl Hook {
    /// Starts the runner of a hook.
    ///
    /// # Errors
    /// How it ended before it began.
    pub(super) fn begin(home: &Home, record: HookRecord, timeout: Duration, umask: Mode) -> Result<Self, HookRecord> {
        // Written down before it happens: a later life of crux must not begin it a second time.
        let started = telling::keep_hook(home, &record).and_then(|()| start(home, record.number, timeout, umask));
        match started {
            Ok((runner, back, outputs)) => {
                let overdue = Instant::now() + timeout + RUNNER_GRACE;
                Ok(Self { record, runner, back, heard: Vec::new(), outputs, overdue })
            }
            Err(error) => {
                let end = Some(HookEnding::Failed { why: format!("its runner cannot work: {error}") });
                Err(HookRecord { end, ..record })
            }
        }
    }

    /// Of which word it is.
    pub(super) fn number(&self) -> u64 {
        self.record.number
    }

    /// What wakes the supervisor for it.
    pub(super) fn wakes(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.outputs.iter().flatten().map(AsFd::as_fd).chain([self.back.as_fd()])
    }

    /// How long it may go on from now.
    pub(super) fn left(&self) -> Duration {
        self.overdue.saturating_duration_since(Instant::now())
    }

    /// Moves what it wrote into the log.
    pub(super) fn pump(&mut self, log: &mut LogWriter) {
        super::supervise::pump_into(&mut self.outputs, ['O', 'E'], log);
    }

    /// How it ended, once it has, with nothing of its tree left.
    pub(super) fn ended(&mut self, home: &Home, id: &str, log: &mut LogWriter) -> Option<HookRecord> {
        let mut buffer = [0; 4096];
        let closed = loop {
            match self.back.read(&mut buffer) {
                Ok(0) => break true,
                Ok(n) => self.heard.extend_from_slice(&buffer[..n]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break true,
            }
            if self.heard.len() > WORD_MAX {
                break true;
            }
        };
        let whole = self.heard.last() == Some(&b'\n');
        let overdue = self.left().is_zero();
        if !(whole || closed || overdue) {
            return None;
        }
        let end = serde_json::from_slice(&self.heard).ok().filter(|_| whole).unwrap_or_else(|| {
            // Somebody killed or stopped the runner, which the hook may do. What it had held is known by its marks.
            let _ = pidfd_send_signal(&self.runner, Signal::KILL);
            let mut marks = marks(id, &home.root()).to_vec();
            marks.push(format!("CRUX_NUMBER={}", self.record.number).into_bytes());
            kill_marked(&marks, 100);
            if overdue { HookEnding::TimedOut } else { HookEnding::Failed { why: "its runner was killed".into() } }
        });
        self.pump(log);
        log.finish(['O', 'E']);
        let record = HookRecord { end: Some(end), ..self.record.clone() };
        // Should the disk not take it, it is told all the same.
        let _ = telling::keep_hook(home, &record);
        Some(record)
    }
}

type Started = (OwnedFd, UnixStream, [Option<File>; 2]);

fn start(home: &Home, number: u64, timeout: Duration, umask: Mode) -> io::Result<Started> {
    let (back, its) = UnixStream::pair()?;
    back.set_nonblocking(true)?;
    let mut command = Command::new(MYSELF);
    command
        .arg("supervise")
        .arg(&home.0)
        .arg(number.to_string())
        .arg(timeout.as_millis().to_string())
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(OwnedFd::from(its)))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let mine = rustix::process::umask(umask);
    let child = command.spawn();
    rustix::process::umask(mine);
    let mut child = child?;
    // Not reaped before this function returns: only the supervisor's one thread does that.
    let number = raw(child.id()).ok_or_else(|| io::Error::other("it has no number"))?;
    let runner = pidfd_open(number, PidfdFlags::empty())?;
    let outputs = [child.stdout.take().map(OwnedFd::from), child.stderr.take().map(OwnedFd::from)];
    let outputs = outputs.map(|pipe| pipe.map(File::from));
    for pipe in outputs.iter().flatten() {
        let _ = rustix::io::ioctl_fionbio(pipe, true);
    }
    Ok((runner, back, outputs))
}
