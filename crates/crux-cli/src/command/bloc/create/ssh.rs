//! The system's `ssh`: the operator's own configuration, keys and agent count. What is sent goes through its standard
//! input, and nothing is asked for on the way, since several hosts are talked to at once.

use super::plan::Host;
use crux_api::json::{Code, ErrorDoc};
use crux_names::Hash256;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// How `ssh` ends when it is it that failed and not what it was to run.
const OWN_END: i32 = 255;

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

    fn spawn(mut command: Command, host: &Host, input: &[u8]) -> Result<Output, ErrorDoc> {
        let failed = |e: std::io::Error| {
            let next = "install the ssh client, or put its directory into PATH";
            ErrorDoc::new(Code::Failed, format!("{}: ssh cannot be run: {e}", host.ssh), next)
        };
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        let stdin = child.stdin.take();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                // Who ends before it has read everything says why by how it ends.
                if let Some(mut stdin) = stdin {
                    let _ = stdin.write_all(input);
                }
            });
            child.wait_with_output().map_err(failed)
        })
    }

    /// The address of a host by ssh's configuration.
    pub(super) fn hostname(&self, host: &Host) -> Result<String, ErrorDoc> {
        let mut command = self.command();
        command.args(["-G", "--", &host.ssh]);
        let output = Self::spawn(command, host, &[])?;
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

    /// Runs a script there and gives what it wrote. `what` is what it does, for people.
    pub(super) fn run(&self, host: &Host, what: &str, script: &str, input: &[u8]) -> Result<String, ErrorDoc> {
        let mut command = self.command();
        // The login shell need not be one of POSIX: it only starts one.
        let script = format!("exec sh -c '{}'", script.replace('\'', r"'\''"));
        command.args(["-T", "-o", "BatchMode=yes", "--", &host.ssh, &script]);
        let output = Self::spawn(command, host, input)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = last(&output.stderr);
        if output.status.code() == Some(OWN_END) {
            let cause = format!("{}: ssh does not get in: {said}; nothing was changed there", host.ssh);
            return Err(ErrorDoc::new(Code::Unreachable, cause, format!("ssh {} true", host.ssh)));
        }
        let cause = format!("{}: cannot {what}: {said}; what stood there stands", host.ssh);
        let next = format!("mend it on {}, then the same command again: it goes on from there", host.ssh);
        Err(ErrorDoc::new(Code::Failed, cause, next))
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
