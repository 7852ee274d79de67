//! Taking back what earlier lives of crux left.

use crate::effects::journal::{Ending, Home, Record};
use crate::effects::picket::{ANSWER, RETRY, bury, connect, enlist, put_away, take_lock};
use crate::effects::processes::kill_marked;
use crate::effects::supervise::Said;
use crate::effects::telling;
use crate::effects::{Adoption, EffectsError, Inner};
use crux_core::io::Report;
use crux_core::services::instance::{Instance, Phase};
use crux_names::Wall;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::PoisonError;
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// Longest first line of a supervisor.
const HELLO_MAX: usize = 4096;

enum Found {
    /// It runs, and this is the way to its supervisor.
    Runs(Instance, UnixStream),
    /// It ended while nobody looked; nothing of it is left.
    Ended(Instance, Ending),
    /// The directory says nothing that can be used.
    Useless(String),
}

pub(in crate::effects) async fn adopt(inner: &Inner) -> Result<Adoption, EffectsError> {
    let path = inner.config.state.join("instances");
    let fault = |source| EffectsError { what: "list", path: path.clone(), source };
    let mut homes = Vec::new();
    let entries = match std::fs::read_dir(&path) {
        // A disk that refuses let nobody make it, so there are none.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Adoption::default()),
        entries => entries.map_err(fault)?,
    };
    for entry in entries {
        homes.push(Home(entry.map_err(fault)?.path()));
    }
    homes.sort_by(|a, b| a.0.cmp(&b.0));
    let mut adoption = Adoption::default();
    for home in homes {
        let state = inner.config.state.clone();
        match look(inner, &home).await {
            Ok(Found::Runs(instance, stream)) => {
                let told = telling::remembered(&home, &instance.id);
                let last = told.as_ref().map(|told| told.telling.clone());
                adoption.told.extend(told);
                let mut life = enlist(inner, &instance.id, &instance.of, last);
                life.runs = instance.pid.zip(instance.started).map(|(pid, at)| Report::Started {
                    id: instance.id.clone(),
                    pid,
                    at,
                    ports: instance.ports.clone(),
                });
                {
                    let mut ports = inner.ports.lock().unwrap_or_else(PoisonError::into_inner);
                    ports.extend(instance.ports.values().map(|port| (*port, instance.id.clone())));
                }
                tokio::spawn(life.hold(Some(stream), None));
                adoption.instances.push(instance);
            }
            Ok(Found::Ended(instance, ending)) => {
                // What is known to have ended may be of a service that runs once: its directory is what remembers that,
                // until the engine has it cleaned. What only went with its machine runs again, here or elsewhere.
                let known = ending.known();
                adoption.ended.push((instance, ending));
                if !known && let Err(error) = put_away(&home, &state) {
                    adoption.warnings.push(format!("{} cannot be removed: {error}", home.0.display()));
                }
            }
            Ok(Found::Useless(why)) => adoption.warnings.push(match set_aside(&home, &state) {
                Ok(()) => format!("{} was set aside in {}/ended: {why}", home.0.display(), state.display()),
                Err(error) => format!("{}: {why}; it cannot be set aside: {error}", home.0.display()),
            }),
            Err(error) => adoption.warnings.push(format!("{} is left as it is: {error}", home.0.display())),
        }
    }
    Ok(adoption)
}

async fn look(inner: &Inner, home: &Home) -> io::Result<Found> {
    if !home.0.is_dir() {
        return Ok(Found::Useless("it is no directory".into()));
    }
    let until = Instant::now() + ANSWER;
    loop {
        let record = home.read().unwrap_or_default();
        let known = record.instance().filter(|instance| inner.home(&instance.id) == *home);
        let held = take_lock(home)?.is_none();
        match known {
            // Of an id with another fulcrum's name in it nothing is ours, here or in the process table.
            Some(instance) if instance.id.fulcrum != inner.config.fulcrum => {
                let why = format!("it belongs to {}", instance.id.fulcrum);
                return if held { Err(io::Error::other(why)) } else { Ok(Found::Useless(why)) };
            }
            None if !held => {
                // It may have run: whoever has its directory in the environment is of it.
                let mark = [b"CRUX_DIR=", home.root().as_os_str().as_bytes()].concat();
                kill_marked(&[mark], 1000);
                return Ok(Found::Useless("its journal does not say what it is".into()));
            }
            Some(instance) if !held => {
                if let Some(ended) = bury(home, &instance.id.to_string())? {
                    let instance = Instance { phase: Phase::Gone, pid: None, why: ended.to_string(), ..instance };
                    return Ok(Found::Ended(instance, ended));
                }
            }
            _ => {
                // Its supervisor lives; it may be about to start the process or about to end.
                let left = until.saturating_duration_since(Instant::now());
                if let Ok(Ok((started, stream))) = tokio::time::timeout(left, greet(home, &record)).await
                    && let Some(instance) = known
                {
                    return Ok(Found::Runs(Instance { phase: Phase::Running, ..started(instance) }, stream));
                }
            }
        }
        if Instant::now() >= until {
            return Err(io::Error::other("its supervisor lives but does not answer"));
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Connects and hears who is there. Adopted is only what the supervisor, the journal and the kernel agree on: number,
/// start time and boot of the machine.
async fn greet(home: &Home, record: &Record) -> io::Result<(impl FnOnce(Instance) -> Instance + use<>, UnixStream)> {
    let mut stream = connect(home).await?;
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        // Byte by byte: what follows the hello stays in the stream for whoever holds it.
        line.push(stream.read_u8().await?);
        if line.len() > HELLO_MAX {
            return Err(io::Error::other("its supervisor says something strange"));
        }
    }
    let Said::Hello { id, started } = serde_json::from_slice(&line)? else {
        return Err(io::Error::other("its supervisor does not greet"));
    };
    let same = record.intent.as_ref().is_some_and(|intent| intent.id == id)
        && record.started.as_ref().is_none_or(|recorded| recorded.process == started.process);
    // One that just ended is a zombie until its supervisor has reaped it and says so: the next try sees the end.
    if !same || !started.process.alive() {
        let _ = stream.shutdown().await;
        return Err(io::Error::other("its supervisor, its journal and the kernel do not agree"));
    }
    let adopted =
        move |instance| Instance { pid: Some(started.process.pid), started: Some(Wall(started.at)), ..instance };
    Ok((adopted, stream))
}

fn set_aside(home: &Home, state: &Path) -> io::Result<()> {
    let name = home.0.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let now = crate::effects::journal::wall_now() / 1_000_000;
    std::fs::rename(&home.0, state.join("ended").join(format!("{name}.useless-{now}")))
}
