//! Running other programs from the repository's root, and saying what is run.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Every error here is one sentence for a person: what failed and what to do.
pub type Result<T> = std::result::Result<T, String>;

/// The repository's root: the parent of this crate's directory.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// A program, to be run in the repository's root.
///
/// What `cargo run` told *us* about our own package is taken out of the environment: build scripts that look at such
/// variables would otherwise run again each time somebody switches between `cargo` and `cargo xtask`.
pub fn program(name: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(name);
    command.current_dir(root());
    for (key, _) in std::env::vars_os() {
        let text = key.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"].iter().any(|p| text.starts_with(p)) {
            command.env_remove(&key);
        }
    }
    command
}

/// The cargo that runs us, with arguments.
pub fn cargo<I, S>(args: I) -> Command
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    let mut command = program(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args);
    command
}

/// Prints the command as one could type it, runs it, and turns a failure into an error that names it.
pub fn run(command: &mut Command) -> Result<()> {
    let shown = show(command);
    eprintln!("$ {shown}");
    let status = command.status().map_err(|e| format!("cannot start `{shown}`: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("`{shown}` failed ({status})")) }
}

/// Runs quietly and returns standard output; a failure carries standard error's last line.
pub fn capture(command: &mut Command) -> Result<String> {
    let shown = show(command);
    let out = command.stdin(Stdio::null()).output().map_err(|e| format!("cannot start `{shown}`: {e}"))?;
    if !out.status.success() {
        let err = String::from_utf8_lossy(&out.stderr);
        let last = err.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or("no message");
        return Err(format!("`{shown}` failed ({}): {last}", out.status));
    }
    String::from_utf8(out.stdout).map_err(|_| format!("`{shown}` printed something that is not text"))
}

/// Whether the command runs and succeeds; its output is dropped.
pub fn succeeds(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
}

/// Where cargo puts what it builds (`CARGO_TARGET_DIR` and configuration are honoured by asking cargo).
pub fn target_dir() -> Result<PathBuf> {
    let text = capture(&mut cargo(["metadata", "--no-deps", "--format-version", "1", "--offline"]))?;
    let json: serde_json::Value =
        serde_json::from_str(&text).map_err(|e| format!("`cargo metadata` printed bad JSON: {e}"))?;
    match json["target_directory"].as_str() {
        Some(dir) => Ok(PathBuf::from(dir)),
        None => Err("`cargo metadata` names no target directory".into()),
    }
}

/// The command in the form one could type; the cargo binary's path is shortened to its name.
fn show(command: &Command) -> String {
    let name = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let mut words = vec![name.to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|a| a.to_string_lossy().into_owned()));
    words.join(" ")
}
