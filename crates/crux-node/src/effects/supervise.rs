//! The supervisor: one small process per instance that outlives crux and holds the instance's whole tree.
//!
//! It is the tree's subreaper, so whatever the instance forks ends up below it, and it is the only one that reaps: as
//! long as it has not, the numbers it signals mean what they meant. It reports an end only when the kernel says that it
//! has no child left. One thread, no runtime, a poll loop.

use crate::effects::descriptors::close_inherited;
use crate::effects::hook::Hook;
use crate::effects::journal::{Ending, Entry, Home, Intent, Started, wall_now};
use crate::effects::logs::LogWriter;
use crate::effects::processes::{ProcessId, descendants, raw, signal_named, signal_seen};
use crate::effects::telling::{HookEnding, HookRecord};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, Mode, flock};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, WaitStatus};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// How often orphans that ended are reaped when nothing else happens.
const REAP_EVERY: Duration = Duration::from_secs(5);
/// What is left of a tree whose main process obeyed a stop gets at most this before KILL.
const STRAGGLERS: Duration = Duration::from_secs(1);
/// How long an outcome that no disk took is kept for crux to ask.
const KEEP_OUTCOME: Duration = Duration::from_secs(600);
/// Longest request; crux sends one short line.
const REQUEST_MAX: usize = 4096;
/// Only crux connects; more at once are a mistake.
const CLIENTS_MAX: usize = 8;

/// What the supervisor says: one JSON document a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Said {
    /// The instance runs. Said on standard output once, then to everybody who connects.
    Hello { id: String, started: Started },
    /// It ended, or was never made.
    Ended(Ending),
    /// A hook of it ended. The last one is said to everybody who connects.
    Hooked { number: u64, end: HookEnding },
}

/// What the supervisor is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Told {
    /// Ask it to end by this signal; KILL after the grace.
    Stop { signal: String, grace_ms: u64 },
    /// The outcome is known: nothing needs to be kept.
    Collected,
    /// Run its hook with the word that its directory keeps, which has this number. Asked again, it is run once.
    Hook { number: u64, event: String, timeout_ms: u64 },
}

/// What `crux supervise DIR` is. To be called before any thread or runtime is made; returns when the instance has
/// ended and its journal says how.
#[must_use]
pub fn supervise_main(dir: &Path) -> ExitCode {
    close_inherited();
    match supervise(dir) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard output is crux's pipe until the hello: crux turns this into a failed start.
            say_start(&Said::Ended(Ending::Failed { why: format!("its supervisor cannot work: {error}") }));
            ExitCode::FAILURE
        }
    }
}

fn supervise(dir: &Path) -> io::Result<()> {
    // Fails only if this process leads a session already, which is what is wanted.
    let _ = rustix::process::setsid();
    let service_umask = rustix::process::umask(Mode::from_raw_mode(0o077));
    let home = Home(dir.to_owned());
    let _lock = take_lock(&home)?;
    let record = home.read()?;
    if record.started.is_some() || record.ended.is_some() {
        return Err(io::Error::other("this instance was started or given up already"));
    }
    let intent = record.intent.ok_or_else(|| io::Error::other("the journal has no intent"))?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    match std::fs::remove_file(dir.join("sup.sock")) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // By way of the open directory: socket paths are short, state directories need not be.
    let opened = File::open(dir)?;
    let listener = UnixListener::bind(format!("/proc/self/fd/{}/sup.sock", opened.as_raw_fd()))?;
    listener.set_nonblocking(true)?;
    let mut log = LogWriter::open(&home.logs())?;

    let mut child = match spawn(&intent, &home, service_umask) {
        Ok(child) => child,
        Err(error) => {
            let ended = Ending::Failed { why: explain(&intent.command, &intent.env, &home.root(), &error) };
            let _ = home.append(&Entry::Ended(ended.clone()));
            say_start(&Said::Ended(ended));
            return Ok(());
        }
    };
    let main = raw(child.id()).ok_or_else(|| io::Error::other("the process has no number"))?;
    let mut tree = Tree { main, status: None };
    let started = ProcessId::of(child.id())
        .ok_or_else(|| io::Error::other("/proc does not show the process"))
        .map(|process| Started { process, at: wall_now() })
        .and_then(|started| home.append(&Entry::Started(started.clone())).map(|()| started));
    let started = match started {
        Ok(started) => started,
        Err(error) => {
            tree.extinguish(None, &mut || {});
            let ended = Ending::Failed { why: format!("its start cannot be written down: {error}") };
            let _ = home.append(&Entry::Ended(ended.clone()));
            say_start(&Said::Ended(ended));
            return Ok(());
        }
    };
    let hello = Said::Hello { id: intent.id.clone(), started };
    let mut outputs = [child.stdout.take().map(OwnedFd::from), child.stderr.take().map(OwnedFd::from)]
        .map(|pipe| pipe.map(File::from));
    // From here on nothing may return early: the instance would be left alone.
    for pipe in outputs.iter().flatten() {
        let _ = rustix::io::ioctl_fionbio(pipe, true);
    }
    say_start(&hello);
    if let Ok(null) = File::options().write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdout(null);
    }

    let mut desk = Desk { listener, hello, clients: Vec::new(), hooked: None, ended: None };
    let mut hooks = Hooks { home: &home, id: &intent.id, umask: service_umask, running: None };
    // Whoever cannot be held is not left running.
    let deadline = hold(&mut tree, &mut desk, &mut outputs, &mut hooks, &mut log).unwrap_or(None);
    tree.extinguish(deadline, &mut || {
        pump(&mut outputs, &mut log);
        hooks.pump(&mut log);
    });
    pump(&mut outputs, &mut log);
    hooks.pump(&mut log);
    log.finish(['o', 'e']);
    log.finish(['O', 'E']);
    finish(&home, &mut desk, tree.ending());
    Ok(())
}

/// The lock says that this instance has a supervisor, and its content who that is.
fn take_lock(home: &Home) -> io::Result<File> {
    let path = home.lock();
    let mut file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| io::Error::other("another process holds the instance"))?;
    let me = ProcessId::of(std::process::id()).ok_or_else(|| io::Error::other("/proc is not there"))?;
    file.set_len(0)?;
    file.write_all(&serde_json::to_vec(&me)?)?;
    Ok(file)
}

fn spawn(intent: &Intent, home: &Home, umask: Mode) -> io::Result<std::process::Child> {
    let (program, arguments) =
        intent.command.split_first().ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "the command is empty"))?;
    refuse_no_program(program, &home.root())?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .envs(&intent.env)
        .current_dir(home.root())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let mine = rustix::process::umask(umask);
    let child = command.spawn();
    rustix::process::umask(mine);
    child
}

/// The C library runs a file that the kernel does not know as a shell script, with absurd results for a program of
/// another kind. Where the kernel has been taught other kinds (binfmt_misc), it is the one to ask.
pub(super) fn refuse_no_program(program: &str, root: &Path) -> io::Result<()> {
    if !program.contains('/') || binfmt_taught() {
        return Ok(());
    }
    let path = root.join(program);
    if !path.is_file() {
        return Ok(());
    }
    let mut head = Vec::new();
    let read = File::open(&path).and_then(|file| file.take(20).read_to_end(&mut head));
    if read.is_err() || head.starts_with(b"#!") {
        return Ok(());
    }
    if !head.starts_with(b"\x7fELF") {
        let why = "it is neither a program of this machine nor a script with a #! line";
        return Err(io::Error::new(ErrorKind::InvalidData, why));
    }
    let mut mine = Vec::new();
    File::open("/proc/self/exe")?.take(20).read_to_end(&mut mine)?;
    // Byte 4: word size; 5: byte order; 18 and 19: machine (elf(5)).
    let kind = |head: &[u8]| Some([*head.get(4)?, *head.get(5)?, *head.get(18)?, *head.get(19)?]);
    // A 32-bit program may well run on a 64-bit machine: only another machine of the same word size surely does not.
    match (kind(&head), kind(&mine)) {
        (Some(its), Some(mine)) if its[0] != mine[0] || its == mine => Ok(()),
        _ => Err(io::Error::new(ErrorKind::InvalidData, "it was built for another machine")),
    }
}

fn binfmt_taught() -> bool {
    std::fs::read_dir("/proc/sys/fs/binfmt_misc")
        .is_ok_and(|list| list.flatten().any(|entry| entry.file_name() != "register" && entry.file_name() != "status"))
}

/// Why a command cannot be run in this environment and directory, for people.
pub(super) fn explain(command: &[String], env: &BTreeMap<String, String>, root: &Path, error: &io::Error) -> String {
    let program = command.first().map_or("", String::as_str);
    let path = env.get("PATH").map_or("", String::as_str);
    match error.kind() {
        ErrorKind::NotFound if !program.contains('/') => {
            format!(
                "cannot run `{program}`: it is in no directory of PATH ({path}); name it with its directory, or add it to `files`"
            )
        }
        ErrorKind::NotFound if root.join(program).exists() => {
            format!("cannot run `{program}`: the interpreter of its #! line, or its loader, does not exist here")
        }
        ErrorKind::NotFound => {
            format!("cannot run `{program}`: no such file in {}; add it to `files`, or name it from /", root.display())
        }
        ErrorKind::PermissionDenied => {
            format!("cannot run `{program}`: it is not executable here (mode, owner, or a noexec mount)")
        }
        _ => format!("cannot run `{program}`: {error}"),
    }
}

/// Who is connected.
struct Desk {
    listener: UnixListener,
    hello: Said,
    clients: Vec<(UnixStream, Vec<u8>)>,
    /// How its last hook ended.
    hooked: Option<Said>,
    ended: Option<Ending>,
}

impl Desk {
    fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            if self.clients.len() < CLIENTS_MAX && stream.set_nonblocking(true).is_ok() {
                let ended = self.ended.clone().map(Said::Ended);
                let all = [Some(self.hello.clone()), self.hooked.clone(), ended];
                if all.into_iter().flatten().all(|said| tell(&stream, &said)) {
                    self.clients.push((stream, Vec::new()));
                }
            }
        }
    }

    /// Says how a hook ended, also to those who connect later.
    fn hooked(&mut self, record: HookRecord) {
        let Some(end) = record.end else { return };
        let said = Said::Hooked { number: record.number, end };
        self.clients.retain(|(stream, _)| tell(stream, &said));
        self.hooked = Some(said);
    }

    /// All whole lines that came. Who hangs up or talks nonsense is let go.
    fn hear(&mut self) -> Vec<Told> {
        let mut told = Vec::new();
        self.clients.retain_mut(|(stream, waiting)| {
            let mut buffer = [0; 1024];
            let open = loop {
                match stream.read(&mut buffer) {
                    Ok(0) => break false,
                    Ok(n) => waiting.extend_from_slice(&buffer[..n]),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break true,
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(_) => break false,
                }
                if waiting.len() > REQUEST_MAX {
                    return false;
                }
            };
            while let Some(end) = waiting.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = waiting.drain(..=end).collect();
                match serde_json::from_slice(&line) {
                    Ok(request) => told.push(request),
                    Err(_) => return false,
                }
            }
            open
        });
        told
    }
}

fn tell(mut stream: &UnixStream, said: &Said) -> bool {
    let mut line = serde_json::to_vec(said).unwrap_or_default();
    line.push(b'\n');
    stream.write_all(&line).is_ok()
}

fn say_start(said: &Said) {
    let mut line = serde_json::to_vec(said).unwrap_or_default();
    line.push(b'\n');
    // crux may have been killed meanwhile: the journal says it too.
    let _ = io::stdout().write_all(&line).and_then(|()| io::stdout().flush());
}

/// The hooks of an instance.
struct Hooks<'a> {
    home: &'a Home,
    id: &'a str,
    umask: Mode,
    running: Option<Hook>,
}

impl Hooks<'_> {
    /// Somebody wants a hook: one that was not asked for before begins, if none runs.
    fn asked(&mut self, desk: &mut Desk, number: u64, event: String, timeout: Duration) {
        if self.running.as_ref().is_some_and(|hook| hook.number() == number) {
            return;
        }
        match &desk.hooked {
            // Who asks again did not hear the answer.
            Some(said @ Said::Hooked { number: last, .. }) if *last == number => {
                let said = said.clone();
                desk.clients.retain(|(stream, _)| tell(stream, &said));
            }
            _ if self.running.is_some() => {
                let end = HookEnding::Failed { why: "another hook of the instance runs".into() };
                desk.hooked(HookRecord { number, event, end: Some(end) });
            }
            _ => match Hook::begin(self.home, HookRecord { number, event, end: None }, timeout, self.umask) {
                Ok(hook) => self.running = Some(hook),
                Err(record) => desk.hooked(record),
            },
        }
    }

    /// Moves what the hook wrote into the log, and says how it ended, if it has.
    fn look(&mut self, desk: &mut Desk, log: &mut LogWriter) {
        self.pump(log);
        if let Some(record) = self.running.as_mut().and_then(|hook| hook.ended(self.home, self.id, log)) {
            self.running = None;
            desk.hooked(record);
        }
    }

    fn pump(&mut self, log: &mut LogWriter) {
        if let Some(hook) = &mut self.running {
            hook.pump(log);
        }
    }
}

/// The processes of an instance, or of a hook: all below this one.
pub(super) struct Tree {
    pub(super) main: Pid,
    pub(super) status: Option<WaitStatus>,
}

impl Tree {
    fn signal(&self, signal: Signal) {
        if self.status.is_none() {
            // Not reaped, so the group's number is still the group's.
            let _ = rustix::process::kill_process_group(self.main, signal);
        }
        let group = self.main.as_raw_nonzero().get().unsigned_abs();
        for seen in descendants(std::process::id()).iter().filter(|seen| self.status.is_some() || seen.group != group) {
            signal_seen(seen, signal);
        }
    }

    /// Kills what is left, from `patience` on, and returns when the kernel says that there is no child any more.
    /// Killed children that wait for a broken disk or mount are waited for: an end is an end.
    pub(super) fn extinguish(&mut self, patience: Option<Instant>, meanwhile: &mut dyn FnMut()) {
        let mut pause = Duration::from_millis(1);
        loop {
            if patience.is_none_or(|until| Instant::now() >= until) {
                // Stopped first, nobody can fork faster than it is killed.
                self.signal(Signal::STOP);
                self.signal(Signal::KILL);
            }
            meanwhile();
            if self.reap_all() {
                return;
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }

    /// Reaps whatever ended. Whether no child is left.
    fn reap_all(&mut self) -> bool {
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if pid == self.main => self.status = Some(status),
                Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
                Ok(None) => return false,
                Err(_) => return true,
            }
        }
    }

    /// Reaps orphans that ended, but never the main process: its number must not be given out yet.
    pub(super) fn reap_orphans(&self) {
        let me = std::process::id();
        let children = std::fs::read_to_string(format!("/proc/self/task/{me}/children"));
        let numbers: Vec<u32> = match &children {
            Ok(text) => text.split_ascii_whitespace().filter_map(|number| number.parse().ok()).collect(),
            Err(_) => {
                let all = crate::effects::processes::all();
                all.iter().filter(|stat| stat.parent == me).map(|stat| stat.pid).collect()
            }
        };
        for pid in numbers.into_iter().filter_map(raw).filter(|pid| *pid != self.main) {
            let _ = rustix::process::waitpid(Some(pid), WaitOptions::NOHANG);
        }
    }

    fn ending(&self) -> Ending {
        match self.status {
            Some(status) => Ending::Exited { code: status.exit_status(), signal: status.terminating_signal() },
            None => Ending::Lost,
        }
    }
}

/// Holds the instance until its main process has ended. Returns until when the rest may still end by itself.
fn hold(
    tree: &mut Tree,
    desk: &mut Desk,
    outputs: &mut [Option<File>; 2],
    hooks: &mut Hooks<'_>,
    log: &mut LogWriter,
) -> io::Result<Option<Instant>> {
    let handle = rustix::process::pidfd_open(tree.main, PidfdFlags::empty())?;
    let mut kill_at: Option<Instant> = None;
    let mut stopping = false;
    loop {
        let mut wait = REAP_EVERY;
        if let Some(at) = kill_at {
            wait = wait.min(at.saturating_duration_since(Instant::now()));
        }
        // Of an instance that stops nobody asks how its hook ends.
        let hook = hooks.running.as_ref().filter(|_| !stopping);
        if let Some(hook) = hook {
            wait = wait.min(hook.left());
        }
        if wait_for(&handle, desk, outputs, hook, wait)? {
            let until = kill_at.map_or_else(Instant::now, |at| at.min(Instant::now() + STRAGGLERS));
            return Ok(stopping.then_some(until));
        }
        pump(outputs, log);
        if stopping {
            hooks.pump(log);
        } else {
            hooks.look(desk, log);
        }
        desk.accept();
        for told in desk.hear() {
            match told {
                Told::Stop { signal, grace_ms } => {
                    let at = Instant::now() + Duration::from_millis(grace_ms);
                    kill_at = Some(kill_at.map_or(at, |before| before.min(at)));
                    stopping = true;
                    // Its hook hears it too.
                    tree.signal(signal_named(&signal).unwrap_or(Signal::TERM));
                    // A stopped process hears nothing.
                    tree.signal(Signal::CONT);
                }
                Told::Hook { number, event, timeout_ms } if !stopping => {
                    hooks.asked(desk, number, event, Duration::from_millis(timeout_ms));
                }
                Told::Hook { .. } | Told::Collected => {}
            }
        }
        if kill_at.is_some_and(|at| Instant::now() >= at) {
            tree.signal(Signal::KILL);
            // Once more, should anything have escaped the look.
            kill_at = Some(Instant::now() + Duration::from_millis(20));
        }
        tree.reap_orphans();
    }
}

/// Sleeps until something happens. Whether the main process has ended.
fn wait_for(
    handle: &OwnedFd,
    desk: &Desk,
    outputs: &[Option<File>; 2],
    hook: Option<&Hook>,
    wait: Duration,
) -> io::Result<bool> {
    let mut fds = vec![PollFd::new(handle, PollFlags::IN), PollFd::new(&desk.listener, PollFlags::IN)];
    fds.extend(outputs.iter().flatten().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
    fds.extend(desk.clients.iter().map(|(stream, _)| PollFd::from_borrowed_fd(stream.as_fd(), PollFlags::IN)));
    fds.extend(hook.into_iter().flat_map(Hook::wakes).map(|wake| PollFd::from_borrowed_fd(wake, PollFlags::IN)));
    let wait = Timespec { tv_sec: i64::try_from(wait.as_secs()).unwrap_or(1), tv_nsec: wait.subsec_nanos().into() };
    match poll(&mut fds, Some(&wait)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(!fds[0].revents().is_empty()),
        Err(error) => Err(error.into()),
    }
}

/// Moves what the instance wrote into the log, at most one pipe's content at a time. A full disk loses lines, but never
/// blocks the instance.
fn pump(outputs: &mut [Option<File>; 2], log: &mut LogWriter) {
    pump_into(outputs, ['o', 'e'], log);
}

/// The same for pipes that the log knows by other marks.
pub(super) fn pump_into(outputs: &mut [Option<File>; 2], marks: [char; 2], log: &mut LogWriter) {
    let mut buffer = [0; 16 * 1024];
    for (pipe, mark) in outputs.iter_mut().zip(marks) {
        for _ in 0..8 {
            let Some(open) = pipe else { break };
            match open.read(&mut buffer) {
                Ok(0) => *pipe = None,
                Ok(n) => log.take(mark, &buffer[..n]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => *pipe = None,
            }
        }
    }
}

/// Makes the outcome known: in the journal, and to who is connected. If the disk does not take it, it is kept here for
/// a while.
fn finish(home: &Home, desk: &mut Desk, ended: Ending) {
    let until = Instant::now() + KEEP_OUTCOME;
    let mut written = home.append(&Entry::Ended(ended.clone())).is_ok();
    desk.accept();
    desk.ended = Some(ended.clone());
    let said = Said::Ended(ended.clone());
    desk.clients.retain(|(stream, _)| tell(stream, &said));
    while !written && Instant::now() < until {
        let mut fds = vec![PollFd::new(&desk.listener, PollFlags::IN)];
        fds.extend(desk.clients.iter().map(|(stream, _)| PollFd::from_borrowed_fd(stream.as_fd(), PollFlags::IN)));
        let _ = poll(&mut fds, Some(&Timespec { tv_sec: 1, tv_nsec: 0 }));
        desk.accept();
        written = desk.hear().contains(&Told::Collected) || home.append(&Entry::Ended(ended.clone())).is_ok();
    }
}
