//! The system's `ssh`: the operator's own configuration, keys and agent count. What is sent goes through its standard
//! input, and nothing is asked for on the way, since several hosts are talked to at once.

use super::plan::Host;
use crate::command::block_on;
use crux_api::json::{Code, ErrorDoc};
use crux_names::Hash256;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::time::{sleep, timeout_at};

/// How `ssh` ends when it is it that failed and not what it was to run.
const OWN_END: i32 = 255;
/// A host that does not answer is given up after ten seconds, and a connection that died after fifteen.
const ALIVE: [&str; 3] = ["ConnectTimeout=10", "ServerAliveInterval=5", "ServerAliveCountMax=3"];
/// How long a step may take from when it has all of its input: longer than systemd waits for a start.
const STEP: Duration = Duration::from_secs(300);

/// How long an `ssh` may run.
#[derive(Clone, Copy)]
enum Patience {
    /// Until then.
    Until(Instant),
    /// For so long after its input has gone; that takes as long as the network needs for it.
    AfterInput(Duration),
}

/// How hosts are reached.
#[derive(Debug)]
pub(super) struct Ssh {
    pub(super) config: Option<PathBuf>,
    pub(super) user: Option<String>,
}

impl Ssh {
    fn command(&self) -> Command {
        let mut command = Command::new("ssh");
        if let Some(config) = &self.config {
            command.arg("-F").arg(config);
        }
        if let Some(user) = &self.user {
            command.arg("-l").arg(user);
        }
        command
    }

    /// Runs it to its end, or ends it: then nothing is given.
    fn spawn(command: Command, host: &Host, input: &[u8], patience: Patience) -> Result<Option<Output>, ErrorDoc> {
        let failed = |e: std::io::Error| {
            let next = "install the ssh client, or put its directory into PATH";
            ErrorDoc::new(Code::Failed, format!("{}: ssh cannot be run: {e}", host.ssh), next)
        };
        block_on(async {
            let mut command = tokio::process::Command::from(command);
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
            let mut child = command.spawn().map_err(failed)?;
            let stdin = child.stdin.take();
            let (gone, has_gone) = tokio::sync::oneshot::channel();
            let send = async move {
                // Who ends before it has read everything says why by how it ends.
                if let Some(mut stdin) = stdin {
                    let _ = stdin.write_all(input).await;
                }
                // Nobody waits for that where time ends at a fixed moment.
                let _ = gone.send(());
            };
            let talk = async { tokio::join!(send, child.wait_with_output()).1.map_err(failed) };
            match patience {
                Patience::Until(end) => timeout_at(end.into(), talk).await.ok().transpose(),
                Patience::AfterInput(time) => {
                    let late = async {
                        // Also where the sender is gone without a word.
                        let _ = has_gone.await;
                        sleep(time).await;
                    };
                    tokio::select! {
                        output = talk => output.map(Some),
                        () = late => Ok(None),
                    }
                }
            }
        })?
    }

    /// The address of a host by ssh's configuration, if that is told in time.
    pub(super) fn hostname(&self, host: &Host, until: Instant) -> Result<String, ErrorDoc> {
        let mut command = self.command();
        command.args(["-G", "--", &host.ssh]);
        let output = Self::spawn(command, host, &[], Patience::Until(until))?.ok_or_else(|| Self::late(host))?;
        let said = String::from_utf8_lossy(&output.stdout);
        let name = said.lines().find_map(|line| line.strip_prefix("hostname "));
        match name.filter(|name| output.status.success() && !name.is_empty()) {
            Some(name) => Ok(name.trim().to_owned()),
            None => {
                let cause = format!("{}: ssh does not know where it is: {}", host.ssh, last(&output.stderr));
                Err(ErrorDoc::new(Code::Failed, cause, format!("ssh -G {}", host.ssh)))
            }
        }
    }

    fn late(host: &Host) -> ErrorDoc {
        let cause = format!("{}: it did not answer in time; nothing was changed there", host.ssh);
        ErrorDoc::new(Code::Unreachable, cause, format!("ssh {} true, or a longer --timeout", host.ssh))
    }

    fn shell(&self, host: &Host, script: &str, input: &[u8], patience: Patience) -> Result<Option<Output>, ErrorDoc> {
        let mut command = self.command();
        // The login shell need not be one of POSIX: it only starts one.
        let script = format!("exec sh -c '{}'", script.replace('\'', r"'\''"));
        command.args(["-T", "-o", "BatchMode=yes"]);
        for option in ALIVE {
            command.args(["-o", option]);
        }
        command.args(["--", &host.ssh, &script]);
        Self::spawn(command, host, input, patience)
    }

    /// Runs a script there that changes nothing, and gives what it wrote, if it ends in time. `what` is what it does, for
    /// people.
    pub(super) fn ask(&self, host: &Host, what: &str, script: &str, until: Instant) -> Result<String, ErrorDoc> {
        let output = self.shell(host, script, &[], Patience::Until(until))?.ok_or_else(|| Self::late(host))?;
        let said = last(&output.stderr);
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        if output.status.code() == Some(OWN_END) {
            let cause = format!("{}: ssh does not get in: {said}; nothing was changed there", host.ssh);
            return Err(ErrorDoc::new(Code::Unreachable, cause, format!("ssh {} true", host.ssh)));
        }
        let cause = format!("{}: cannot {what}: {said}; nothing was changed there", host.ssh);
        Err(ErrorDoc::new(Code::Failed, cause, format!("mend it on {}, then the same command again", host.ssh)))
    }

    /// Runs a script there that changes something.
    pub(super) fn act(&self, host: &Host, what: &str, script: &str, input: &[u8]) -> Result<(), ErrorDoc> {
        let output = self.shell(host, script, input, Patience::AfterInput(STEP))?;
        // What ssh itself says does not tell whether the script ran, and how far.
        let unknown = |how: String| {
            let cause = format!("{}: {how}; whether that was done there is not known", host.ssh);
            Err(ErrorDoc::new(
                Code::Unreachable,
                cause,
                "the same command again: it looks first, and does what is missing",
            ))
        };
        match output {
            None => unknown(format!("it was told to {what} and did not end within {} s", STEP.as_secs())),
            Some(output) if output.status.success() => Ok(()),
            Some(output) if output.status.code() == Some(OWN_END) => {
                unknown(format!("the connection was lost when it was told to {what}: {}", last(&output.stderr)))
            }
            Some(output) => {
                let cause = format!("{}: cannot {what}: {}; what stood there stands", host.ssh, last(&output.stderr));
                let next = format!("mend it on {}, then the same command again: it goes on from there", host.ssh);
                Err(ErrorDoc::new(Code::Failed, cause, next))
            }
        }
    }
}

/// The last line of a text, which is where programs say what is wrong.
pub(super) fn last(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("it says nothing").to_owned()
}

/// The program that is installed.
pub(super) struct Binary {
    pub(super) bytes: Vec<u8>,
    pub(super) sha256: String,
    /// For what it was made, as `uname -sm` says it.
    pub(super) machine: String,
}

impl Binary {
    /// This program, or the one that was named.
    pub(super) fn read(named: Option<&Path>) -> Result<Self, ErrorDoc> {
        let path = named.map_or_else(|| PathBuf::from("/proc/self/exe"), Path::to_owned);
        let bytes = fs::read(&path).map_err(|e| {
            let cause = format!("the program to install, {}, cannot be read: {e}", path.display());
            ErrorDoc::new(Code::NotFound, cause, "--binary FILE")
        })?;
        let sha256 = Hash256(crux_pki::sha256(&bytes)).to_string();
        let machine = format!("Linux {}", std::env::consts::ARCH);
        Ok(Self { bytes, sha256, machine })
    }
}
