//! The picket: starts instances by way of a supervisor each, stops them, and takes them back after crux was away.

mod adopt;
mod prepare;

pub(super) use adopt::adopt;

use crate::effects::Inner;
use crate::effects::journal::{Ending, Entry, Home, Started, make_dir};
use crate::effects::processes::{ProcessId, descendants, kill_marked, marks, signal_seen};
use crate::effects::sockets::{self, Sockets};
use crate::effects::supervise::{Said, Told};
use crate::effects::telling::{self, Words};
use crux_core::io::{Report, StartSpec, Telling, Word};
use crux_core::services::instance::{InstanceId, ServiceRef};
use crux_names::{Duration, Wall};
use rustix::fs::{FlockOperation, flock};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

/// Log directories of cleaned instances that are kept: the newest ones.
const ENDED_KEPT: usize = 64;
/// How long a supervisor that holds its lock may take to answer.
const ANSWER: Duration = Duration::from_secs(10);
/// Between two tries to reach one.
const RETRY: Duration = Duration::from_millis(20);

/// Ports that crux picked for instances of this fulcrum.
pub(super) type Ports = Arc<Mutex<BTreeMap<u16, InstanceId>>>;

/// What the task of an instance is asked.
enum Order {
    /// Tell the supervisor.
    Tell(Told),
    /// It was to be started once more: say how its start went.
    SayAgain,
    /// It is told something of its horde.
    Say(Telling),
}

/// The way to the task that holds an instance.
pub(super) struct Handle {
    of: ServiceRef,
    orders: mpsc::UnboundedSender<Order>,
    ended: Arc<OnceLock<Ending>>,
    /// What it was told.
    pub(super) words: Words,
}

impl Handle {
    /// Whether it has not ended.
    pub(super) fn lives(&self) -> bool {
        self.ended.get().is_none()
    }

    /// Of which service it is.
    pub(super) fn of(&self) -> &ServiceRef {
        &self.of
    }
}

/// What the task of one instance knows. Not the whole of the effects: dropping those lets the task end.
struct Life {
    id: InstanceId,
    of: ServiceRef,
    home: Home,
    reports: mpsc::Sender<Report>,
    ports: Ports,
    sockets: Sockets,
    orders: mpsc::UnboundedReceiver<Order>,
    /// The report of its start, once it runs.
    runs: Option<Report>,
    /// The last order to stop, said again to a supervisor whose connection broke.
    order: Option<Told>,
    /// The hook whose end was not heard, asked for again likewise.
    hook: Option<Told>,
    words: Words,
    ended: Arc<OnceLock<Ending>>,
}

fn enlist(inner: &Inner, id: &InstanceId, of: &ServiceRef, told: Option<Telling>) -> Life {
    let (sender, orders) = mpsc::unbounded_channel();
    let (ended, words) = (Arc::new(OnceLock::new()), Words::new(told));
    let handle = Handle { of: of.clone(), orders: sender, ended: ended.clone(), words: words.clone() };
    inner.instances().insert(id.clone(), handle);
    Life {
        id: id.clone(),
        of: of.clone(),
        home: inner.home(id),
        reports: inner.config.reports.clone(),
        ports: inner.ports.clone(),
        sockets: inner.sockets.clone(),
        orders,
        runs: None,
        order: None,
        hook: None,
        words,
        ended,
    }
}

pub(super) fn start(inner: &Inner, spec: StartSpec) {
    let id = spec.instance.id.clone();
    // An instance that ended may be started again under its id; one that has not is never doubled, but says how it is.
    let asked = |handle: &Handle| handle.ended.get().is_none() && handle.orders.send(Order::SayAgain).is_ok();
    if inner.instances().get(&id).is_some_and(asked) {
        tracing::warn!(%id, "an instance that has not ended was to be started again; it is left as it is");
        return;
    }
    let of = spec.instance.of.clone();
    let mut life = enlist(inner, &id, &of, None);
    let (blobs, exe) = (inner.blobs.clone(), inner.config.exe.clone());
    tokio::spawn(async move {
        let (home, ports, program) = (life.home.clone(), life.ports.clone(), exe.clone());
        let prepared = tokio::task::spawn_blocking(move || prepare::prepare(&home, &spec, &blobs, &ports, &program));
        let prepared = prepared.await.unwrap_or_else(|error| Err(format!("its preparation broke: {error}")));
        let begun = match prepared {
            Ok(ports) => {
                // Its program finds it there when it starts.
                if let Err(error) = life.sockets.open(&life.home, &id, &of) {
                    tracing::warn!(%id, %error, "its socket cannot be opened: it runs without one");
                }
                begin(&life, &exe).await.map(|(child, started)| (ports, child, started))
            }
            Err(why) => Err(why),
        };
        match begun {
            Ok((ports, child, started)) => {
                let Started { process, at } = started;
                let report = Report::Started { id: life.id.clone(), pid: process.pid, at: Wall(at), ports };
                life.runs = Some(report.clone());
                let _ = life.reports.send(report).await;
                life.hold(None, Some(child)).await;
            }
            Err(why) => {
                let ended = Ending::Failed { why: why.clone() };
                life.end(ended.clone());
                let _ = life.reports.send(Report::StartFailed { id: life.id.clone(), why }).await;
                let told = life.close(&ended).await;
                if told {
                    let _ = life.reports.send(exited(life.id.clone(), Some(&ended))).await;
                }
            }
        }
    });
}

/// Makes the supervisor and waits for its first line, which it says at once unless the machine or its disk stands still.
async fn begin(life: &Life, exe: &Path) -> Result<(Child, Started), String> {
    let mut child = Command::new(exe)
        .arg("supervise")
        .arg(&life.home.0)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("cannot run the supervisor {}: {error}", exe.display()))?;
    let mut line = Vec::new();
    let mut silent = false;
    if let Some(pipe) = child.stdout.take() {
        silent = tokio::time::timeout(ANSWER, BufReader::new(pipe).read_until(b'\n', &mut line)).await.is_err();
    }
    let why = match serde_json::from_slice(&line) {
        Ok(Said::Hello { started, .. }) => return Ok((child, started)),
        Ok(Said::Ended(ended)) => match ended {
            Ending::Failed { why } => why,
            other => other.to_string(),
        },
        Err(_) if silent => {
            let limit = ANSWER.as_secs();
            format!("its supervisor {} said nothing for {limit} s; look at this machine's load and disk", exe.display())
        }
        Ok(Said::Hooked { .. }) | Err(_) => format!("its supervisor {} ended without a word", exe.display()),
    };
    // Whatever went wrong, no supervisor may be left that starts it later.
    if silent {
        let _ = child.start_kill();
    }
    if tokio::time::timeout(ANSWER, child.wait()).await.is_err() {
        tracing::error!(id = %life.id, "the supervisor of a start that failed does not end");
    }
    if silent {
        // It may have got as far as making the process.
        let (home, id) = (life.home.clone(), life.id.to_string());
        match tokio::task::spawn_blocking(move || bury(&home, &id)).await {
            Ok(Ok(Some(_))) => {}
            _ => tracing::error!(id = %life.id, "it is not known whether something of a failed start runs"),
        }
    }
    Err(why)
}

pub(super) fn stop(inner: &Inner, id: InstanceId, signal: String, grace: Duration) {
    let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
    let ended = {
        let instances = inner.instances();
        match instances.get(&id) {
            Some(handle) if handle.ended.get().is_none() => {
                match handle.orders.send(Order::Tell(Told::Stop { signal, grace_ms })) {
                    Ok(()) => return,
                    Err(_) => handle.ended.get().cloned(),
                }
            }
            Some(handle) => handle.ended.get().cloned(),
            None => None,
        }
    };
    // Nothing of it is here, so it has ended: the answer is the one that was given before, as far as it is known.
    send(&inner.config.reports, exited(id, ended.as_ref()));
}

/// Tells an instance something of its horde. One that has ended is told nothing.
pub(super) fn tell(inner: &Inner, id: &InstanceId, telling: Telling) {
    if let Some(handle) = inner.instances().get(id).filter(|handle| handle.lives()) {
        // Its task ends only with it.
        let _ = handle.orders.send(Order::Say(telling));
    }
}

/// Has the hook of an instance run with the word that it was told before.
pub(super) fn hook(inner: &Inner, id: &InstanceId, number: u64, word: Word, timeout: Duration) {
    let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
    if let Some(handle) = inner.instances().get(id).filter(|handle| handle.lives()) {
        let event = word.as_str().to_owned();
        // Its task ends only with it, and its hook with that.
        let _ = handle.orders.send(Order::Tell(Told::Hook { number, event, timeout_ms }));
    }
}

pub(super) fn clean(inner: &Inner, id: &InstanceId) {
    {
        let mut instances = inner.instances();
        match instances.get(id) {
            Some(handle) if handle.ended.get().is_none() => {
                tracing::warn!(%id, "an instance that has not ended is not cleaned");
                return;
            }
            _ => drop(instances.remove(id)),
        }
    }
    let (home, state) = (inner.home(id), inner.config.state.clone());
    tokio::task::spawn_blocking(move || {
        if let Err(error) = put_away(&home, &state) {
            tracing::warn!(dir = %home.0.display(), %error, "an ended instance's directory cannot be removed");
        }
    });
}

fn exited(id: InstanceId, ended: Option<&Ending>) -> Report {
    match ended {
        Some(Ending::Exited { code, signal }) => Report::Exited { id, code: *code, signal: *signal },
        _ => Report::Exited { id, code: None, signal: None },
    }
}

/// For callers that must not wait.
fn send(reports: &mpsc::Sender<Report>, report: Report) {
    let reports = reports.clone();
    tokio::spawn(async move { reports.send(report).await });
}

/// Removes an instance's directory, keeping its log files for a while. Blocks.
fn put_away(home: &Home, state: &Path) -> io::Result<()> {
    let kept = home.ended_logs(state);
    make_dir(&state.join("ended"))?;
    match std::fs::rename(home.logs(), &kept) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => tracing::warn!(%error, "log files are not kept"),
        _ => {}
    }
    match std::fs::remove_dir_all(&home.0) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut all = Vec::new();
    for entry in std::fs::read_dir(state.join("ended"))?.flatten() {
        all.push((entry.metadata().and_then(|meta| meta.modified()).ok(), entry.path()));
    }
    all.sort();
    let surplus = all.len().saturating_sub(ENDED_KEPT);
    for (_, path) in all.into_iter().take(surplus) {
        std::fs::remove_dir_all(path)?;
    }
    Ok(())
}

/// What came of an attempt to hold an instance.
enum Left {
    /// Its end is known.
    Ended(Ending),
    /// The supervisor hung up.
    HungUp,
    /// Nobody wants to know any more: the effects were dropped.
    Dropped,
}

impl Life {
    /// Stays with the instance until it has ended, and reports that.
    async fn hold(mut self, mut link: Option<UnixStream>, child: Option<Child>) {
        let ended = loop {
            let stream = match link.take() {
                Some(stream) => Some(stream),
                None => connect(&self.home).await.ok(),
            };
            let left = match stream {
                Some(stream) => self.listen(stream).await,
                None => Left::HungUp,
            };
            match left {
                Left::Ended(ended) => break ended,
                Left::Dropped => return,
                Left::HungUp => {
                    let (home, id) = (self.home.clone(), self.id.clone());
                    match tokio::task::spawn_blocking(move || bury(&home, &id.to_string())).await {
                        Ok(Ok(Some(ended))) => break ended,
                        // It lives and only the connection broke.
                        Ok(Ok(None)) => {}
                        Ok(Err(error)) => {
                            tracing::warn!(id = %self.id, %error, "an instance's directory is unreadable")
                        }
                        Err(error) => tracing::error!(id = %self.id, %error, "looking after an instance broke"),
                    }
                    tokio::time::sleep(RETRY * 10).await;
                }
            }
            if self.orders.is_closed() {
                return;
            }
        };
        self.end(ended.clone());
        let _ = self.reports.send(exited(self.id.clone(), Some(&ended))).await;
        self.close(&ended).await;
        if let Some(mut child) = child {
            let _ = child.wait().await;
        }
    }

    fn end(&self, ended: Ending) {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, holder| *holder != self.id);
        let _ = self.ended.set(ended);
        self.sockets.close(&self.home, &self.id);
    }

    /// Takes no more orders and answers starts that came too late. Whether it was told something, too.
    async fn close(&mut self, ended: &Ending) -> bool {
        self.orders.close();
        let mut told = false;
        while let Ok(order) = self.orders.try_recv() {
            match order {
                Order::Tell(Told::Stop { .. } | Told::Collected) => told = true,
                Order::Tell(Told::Hook { .. }) | Order::Say(_) => {}
                Order::SayAgain => {
                    let why = format!("it was still running when it was to be started again, and has ended: {ended}");
                    let _ = self.reports.send(Report::StartFailed { id: self.id.clone(), why }).await;
                }
            }
        }
        told
    }

    /// Keeps a word in the instance's directory, from where its hook reads it, and says it to whoever follows its socket.
    async fn say(&self, telling: Telling) {
        let (home, id, of, kept) = (self.home.clone(), self.id.clone(), self.of.clone(), telling.clone());
        let kept = tokio::task::spawn_blocking(move || telling::keep(&home, &id, &of, &kept)).await;
        match kept.map_err(io::Error::other).and_then(|kept| kept) {
            Ok(()) => {}
            // No hook can read it, and a later life of crux says it again.
            Err(error) => tracing::warn!(id = %self.id, %error, "what it is told of its horde cannot be kept"),
        }
        self.words.say(telling);
    }

    async fn listen(&mut self, stream: UnixStream) -> Left {
        let (read, mut write) = stream.into_split();
        let mut lines = BufReader::new(read).lines();
        for order in self.order.iter().chain(&self.hook) {
            let _ = write.write_all(&line(order)).await;
        }
        loop {
            tokio::select! {
                said = next(&mut lines) => match said {
                    Some(Said::Hello { .. }) => {}
                    Some(Said::Hooked { number, end }) => {
                        if matches!(&self.hook, Some(Told::Hook { number: asked, .. }) if *asked == number) {
                            self.hook = None;
                        }
                        let _ = self.reports.send(Report::Hooked { id: self.id.clone(), number, end: end.into() }).await;
                    }
                    Some(Said::Ended(ended)) => {
                        let _ = write.write_all(&line(&Told::Collected)).await;
                        return Left::Ended(ended);
                    }
                    None => return Left::HungUp,
                },
                order = self.orders.recv() => match order {
                    Some(Order::SayAgain) => {
                        if let Some(report) = self.runs.clone() {
                            let _ = self.reports.send(report).await;
                        }
                    }
                    Some(Order::Tell(order)) => {
                        // If it hangs up meanwhile, its end comes next or it is told again.
                        let _ = write.write_all(&line(&order)).await;
                        let kept = if matches!(order, Told::Hook { .. }) { &mut self.hook } else { &mut self.order };
                        *kept = Some(order);
                    }
                    Some(Order::Say(telling)) => self.say(telling).await,
                    None => return Left::Dropped,
                },
            }
        }
    }
}

async fn next(lines: &mut tokio::io::Lines<BufReader<OwnedReadHalf>>) -> Option<Said> {
    let line = lines.next_line().await.ok()??;
    serde_json::from_str(&line).ok()
}

fn line(told: &Told) -> Vec<u8> {
    let mut line = serde_json::to_vec(told).unwrap_or_default();
    line.push(b'\n');
    line
}

/// By way of the open directory: socket paths are short, state directories need not be.
async fn connect(home: &Home) -> io::Result<UnixStream> {
    let dir = File::open(&home.0)?;
    UnixStream::connect(format!("/proc/self/fd/{}/sup.sock", dir.as_raw_fd())).await
}

/// Makes an ended instance's directory ready for its next start: its output and what it wrote stay, its journal begins
/// anew. Blocks until the last supervisor is gone.
fn reopen(home: &Home) -> io::Result<()> {
    let until = Instant::now() + ANSWER;
    loop {
        if let Some(_lock) = take_lock(home)? {
            sockets::forget(home)?;
            telling::forget(home)?;
            for name in ["journal", "sup.sock"] {
                match std::fs::remove_file(home.0.join(name)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
            return Ok(());
        }
        if Instant::now() >= until {
            return Err(io::Error::other("the supervisor of its last run does not end"));
        }
        std::thread::sleep(RETRY);
    }
}

/// Takes the instance's lock. `None`: its supervisor lives.
fn take_lock(home: &Home) -> io::Result<Option<File>> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(home.lock())?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// If the instance has no supervisor any more: makes sure that nothing of it runs, and says how it ended, in the
/// journal too, so that a supervisor that comes late gives up. `None` if the supervisor lives. Blocks.
fn bury(home: &Home, id: &str) -> io::Result<Option<Ending>> {
    let Some(_lock) = take_lock(home)? else { return Ok(None) };
    let record = home.read()?;
    if let Some(ended) = record.ended {
        return Ok(Some(ended));
    }
    if let Some(started) = &record.started {
        started.process.signal(Signal::KILL);
    }
    kill_marked(&marks(id, &home.root()), 1000);
    let ended = match record.started {
        Some(_) => Ending::Lost,
        None => Ending::Failed { why: "crux ended while it was being started".into() },
    };
    home.append(&Entry::Ended(ended.clone()))?;
    Ok(Some(ended))
}

/// How many instances of this state directory have a living supervisor. What cannot be looked at is not counted.
pub(crate) fn running_instances(state: &Path) -> usize {
    let list = std::fs::read_dir(state.join("instances")).into_iter().flatten().flatten();
    let homes = list.filter_map(|entry| std::fs::canonicalize(entry.path()).ok()).map(Home);
    homes.filter(|home| matches!(take_lock(home), Ok(None))).count()
}

/// Kills every instance below this state directory with its supervisor, all at once, as if the machine had died: no
/// outcome is written down. For `crux lab kill`, after the crux that owns the directory was killed. Blocks. Returns how
/// many supervisors were killed.
///
/// # Errors
/// If the directory cannot be listed; one without instances is none.
pub fn kill_all_instances(state: &Path) -> io::Result<usize> {
    let list = match std::fs::read_dir(state.join("instances")) {
        Ok(list) => list,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let mut killed = 0;
    for entry in list {
        let home = Home(std::fs::canonicalize(entry?.path())?);
        let Ok(record) = home.read() else { continue };
        if let Ok(Some(_lock)) = take_lock(&home) {
            if record.started.is_none() && record.ended.is_none() {
                // Its supervisor may be on its way: it must find the start given up.
                home.append(&Entry::Ended(Ending::Lost))?;
            }
        } else if let Some(supervisor) = holder(&home) {
            // It must not write down what happens now.
            supervisor.signal(Signal::STOP);
            let until = Instant::now() + ANSWER;
            while supervisor.alive() && Instant::now() < until {
                let family = descendants(supervisor.pid);
                for signal in [Signal::STOP, Signal::KILL] {
                    for seen in &family {
                        signal_seen(seen, signal);
                    }
                }
                if family.is_empty() {
                    killed += usize::from(supervisor.signal(Signal::KILL));
                    break;
                }
            }
        }
        if let Some(intent) = record.intent {
            kill_marked(&marks(&intent.id, &home.root()), 1000);
        }
    }
    Ok(killed)
}

/// Who wrote its name into the lock.
fn holder(home: &Home) -> Option<ProcessId> {
    serde_json::from_slice(&std::fs::read(home.lock()).ok()?).ok()
}

/// An absolute path, for supervisors run from `/`.
pub(super) fn absolute(path: &Path) -> io::Result<PathBuf> {
    std::fs::canonicalize(path)
}
