//! `crux down`, and waiting until who goes down is gone: `crux down && crux up` finds the state directory free.

use super::Ctx;
use crate::Outcome;
use crate::args::Global;
use crate::fulcrum::DevCluster;
use crate::target::{self, At};
use clap::Args;
use crux_api::client::Client;
use crux_api::json::{Code, Confab, Done, ErrorDoc};
use crux_api::routes;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use std::path::Path;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

/// How long is waited for the end of a process that has said that it goes: what it still has to do takes seconds.
const ENDS: Duration = Duration::from_secs(60);
/// How often is looked whether a process is still there.
const LOOK: Duration = Duration::from_millis(10);
/// How often a fulcrum of another machine is asked whether it is still there, and for how long each time.
const AGAIN: Duration = Duration::from_millis(100);
const ANSWERS: Duration = Duration::from_secs(2);

/// Stop a fulcrum.
#[derive(Debug, Args)]
pub(crate) struct DownArgs {
    /// Stop its services first
    #[arg(long)]
    all: bool,
}

pub(crate) async fn run(global: &Global, args: DownArgs) -> Outcome {
    // A dev cluster's fulcrums belong to one process; ending one of them is what `crux lab kill` is for.
    if global.at.is_none() {
        let target = target::find(None)?;
        if let (Some(dev), Some(_)) = (DevCluster::find(), target.dev_operator) {
            return cluster_down(global, dev.pid).await;
        }
    }
    let ctx = Ctx::find(global.clone()).await?;
    let client = ctx.client();
    let life = Life::of(&ctx.target.at, &client).await?;
    let done = client.down(args.all).await?;
    life.done(global, done).await
}

async fn cluster_down(global: &Global, process: u32) -> Outcome {
    let failed = |cause: String| ErrorDoc::new(Code::Failed, cause, "press Ctrl-C where it was started");
    let pid = i32::try_from(process).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| failed(format!("{process} is no process id")))?;
    let life = Life::of_process(pid);
    kill_process(pid, Signal::TERM).map_err(|e| failed(format!("cannot signal process {process}: {e}")))?;
    let done = Done { text: format!("the dev cluster goes down (process {process})") };
    match life {
        Some(life) => life.done(global, done).await,
        None => super::print(global.output, &done, &|done: &Done, _| done.text.clone()).map(|()| 0),
    }
}

/// What tells whether a fulcrum has ended.
pub(super) enum Life {
    /// Its process, on this machine.
    Process(Pid, OwnedFd),
    /// Another life answers there, or none.
    Boot(Client, String),
}

impl Life {
    /// Of the fulcrum that is reached so, before it is told to go.
    pub(super) async fn of(at: &At, client: &Client) -> Result<Self, ErrorDoc> {
        if let At::Socket(socket) = at
            && let Some(life) = behind(socket).await.and_then(Self::of_process)
        {
            return Ok(life);
        }
        let confab: Confab = client.get(routes::CONFAB).await?;
        Ok(Self::Boot(client.clone().patient(ANSWERS), confab.boot))
    }

    fn of_process(pid: Pid) -> Option<Self> {
        pidfd_open(pid, PidfdFlags::empty()).ok().map(|process| Self::Process(pid, process))
    }

    /// Waits until it has ended.
    async fn ended(&self) {
        match self {
            Self::Process(_, process) => {
                while !is_gone(process) {
                    sleep(LOOK).await;
                }
            }
            Self::Boot(client, boot) => {
                while client.get::<Confab>(routes::CONFAB).await.is_ok_and(|confab| confab.boot == *boot) {
                    sleep(AGAIN).await;
                }
            }
        }
    }

    /// Says what was done, when it has ended.
    pub(super) async fn done(self, global: &Global, done: Done) -> Outcome {
        let limit = global.timeout.unwrap_or(ENDS);
        if timeout(limit, self.ended()).await.is_err() {
            let who = match &self {
                Self::Process(pid, _) => format!("process {}", pid.as_raw_nonzero()),
                Self::Boot(..) => "the same life of it".to_owned(),
            };
            let cause = format!("{}, but {who} is still there after {} s", done.text, limit.as_secs_f64());
            return Err(ErrorDoc::new(Code::NotConverged, cause, "wait for it, or look what it does: its log, ps"));
        }
        let text = match self {
            Self::Process(..) => format!("{}; its process has ended", done.text),
            Self::Boot(..) => format!("{}; it does not answer any more", done.text),
        };
        super::print(global.output, &Done { text }, &|done: &Done, _| crate::output::clean(&done.text)).map(|()| 0)
    }
}

/// A process can be read when it is no more.
fn is_gone(process: &OwnedFd) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&now)).is_ok_and(|ready| ready > 0)
}

/// The process that listens at a socket, if the system says so.
async fn behind(socket: &Path) -> Option<Pid> {
    let peer = UnixStream::connect(socket).await.ok()?.peer_cred().ok()?;
    peer.pid().and_then(Pid::from_raw)
}
