//! The bench: a copy of what is needed, in which a mutant is built and tested.

use super::{Mutant, Test};
use crate::sh;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What the heart and its simulator consist of.
const CRATES: [&str; 3] = ["crux-names", "crux-core", "crux-sim"];

/// A copy of the crates, with a target folder of its own that outlives it: dependencies are built once.
pub struct Bench {
    tree: PathBuf,
    target: PathBuf,
}

/// How a test ended.
pub enum Verdict {
    Passed,
    /// It failed, or took too long.
    Failed,
    DidNotBuild(String),
}

impl Bench {
    /// Copies the crates as they are on the disk. A file that has not changed keeps its time, so that it is not built
    /// again.
    ///
    /// # Errors
    /// When something cannot be read or written.
    pub fn prepare() -> sh::Result<Bench> {
        let home = sh::target_dir()?.join("mutants");
        let bench = Bench { tree: home.join("tree"), target: home.join("target") };
        let root = sh::root();
        for name in CRATES {
            copy(&root.join("crates").join(name), &bench.tree.join("crates").join(name))?;
        }
        let manifest = read(&root.join("Cargo.toml"))?;
        write_if_new(&bench.tree.join("Cargo.toml"), &trimmed(&manifest))?;
        // Fewer packages than the lock names: cargo takes the rest out of the copy itself.
        if !bench.tree.join("Cargo.lock").exists() {
            write_if_new(&bench.tree.join("Cargo.lock"), &read(&root.join("Cargo.lock"))?)?;
        }
        Ok(bench)
    }

    /// Does something while a mutant is applied.
    ///
    /// # Errors
    /// When the mutant does not apply exactly once, or what is done fails.
    pub fn with<T>(&self, mutant: &Mutant, act: impl FnOnce() -> sh::Result<T>) -> sh::Result<T> {
        let path = self.tree.join(mutant.file);
        let sound = read(&path)?;
        let times = sound.matches(mutant.find).count();
        if times != 1 {
            return Err(format!("mutant `{}`: its text stands {times} times in {}", mutant.name, mutant.file));
        }
        write(&path, &sound.replacen(mutant.find, mutant.replace, 1))?;
        let result = act();
        write(&path, &sound)?;
        result
    }

    /// Builds and runs a test.
    ///
    /// # Errors
    /// When cargo or the test cannot be started.
    pub fn run(&self, test: &Test, limit: Duration) -> sh::Result<Verdict> {
        let (build, args): (Vec<&str>, Vec<&str>) = match test {
            Test::Sim(file, name) => (vec!["test", "--no-run", "-p", "crux-sim", "--test", file], vec![name]),
            Test::Core(file, name) => (vec!["test", "--no-run", "-p", "crux-core", "--test", file], vec![name]),
            Test::Unit(_, name) => (vec!["test", "--no-run", "-p", "crux-core", "--lib"], vec![name]),
            Test::Run(args) => {
                (vec!["build", "-p", "crux-sim", "--bin", "crux-sim"], args.split_whitespace().collect())
            }
        };
        let mut cargo = sh::cargo(build);
        cargo.args(["--offline", "--message-format", "json"]).current_dir(&self.tree);
        // Nothing here is built twice from nearly the same sources but these crates, and warnings of broken code say nothing.
        cargo.env("CARGO_TARGET_DIR", &self.target).env("CARGO_INCREMENTAL", "1").env("RUSTFLAGS", "-A warnings");
        let out = cargo.stdin(Stdio::null()).output().map_err(|e| format!("cannot start cargo: {e}"))?;
        if !out.status.success() {
            let text = String::from_utf8_lossy(&out.stdout);
            return Ok(Verdict::DidNotBuild(first_error(&text).unwrap_or_else(|| "cargo says no error".into())));
        }
        let program = executable(&String::from_utf8_lossy(&out.stdout), !matches!(test, Test::Run(_)))
            .ok_or("cargo named no program that it built")?;
        let args = args.into_iter().filter(|arg| !arg.is_empty());
        limited(Command::new(program).args(args).current_dir(&self.tree), limit)
    }
}

/// Runs a program quietly; one that takes too long is ended and has failed.
fn limited(command: &mut Command, limit: Duration) -> sh::Result<Verdict> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(|e| format!("cannot start a test: {e}"))?;
    let begin = Instant::now();
    loop {
        match child.try_wait().map_err(|e| format!("cannot wait for a test: {e}"))? {
            Some(status) if status.success() => return Ok(Verdict::Passed),
            Some(_) => return Ok(Verdict::Failed),
            None if begin.elapsed() > limit => {
                // It may have ended just now: then there is nothing to end.
                let _ = child.kill();
                let _ = child.wait();
                return Ok(Verdict::Failed);
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// The workspace's manifest with these crates as its only members.
fn trimmed(manifest: &str) -> String {
    let mut text = String::new();
    let mut dropping = false;
    for line in manifest.lines() {
        if line.starts_with("members = ") {
            let names: Vec<String> = CRATES.iter().map(|name| format!("\"crates/{name}\"")).collect();
            text.push_str(&format!("members = [{}]\n", names.join(", ")));
            continue;
        }
        dropping |= line.starts_with("default-members = ");
        if !dropping {
            text.push_str(line);
            text.push('\n');
        }
        dropping &= !line.trim_end().ends_with(']');
    }
    text
}

fn first_error(messages: &str) -> Option<String> {
    messages.lines().find_map(|line| {
        let json: serde_json::Value = serde_json::from_str(line).ok()?;
        let message = &json["message"];
        (message["level"] == "error").then(|| message["message"].as_str().map(str::to_owned))?
    })
}

/// The program that was built: the one with tests in it, for beside that cargo builds the package's own programs.
fn executable(messages: &str, tests: bool) -> Option<PathBuf> {
    messages.lines().find_map(|line| {
        let json: serde_json::Value = serde_json::from_str(line).ok()?;
        let path = json["executable"].as_str()?;
        (json["profile"]["test"] == tests).then(|| PathBuf::from(path))
    })
}

fn copy(from: &Path, to: &Path) -> sh::Result<()> {
    let fail = |e: std::io::Error| format!("cannot copy {}: {e}", from.display());
    std::fs::create_dir_all(to).map_err(fail)?;
    let mut here = Vec::new();
    for entry in std::fs::read_dir(from).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        here.push(entry.file_name());
        let to = to.join(entry.file_name());
        if entry.file_type().map_err(fail)?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            let bytes = std::fs::read(entry.path()).map_err(fail)?;
            if std::fs::read(&to).ok().as_ref() != Some(&bytes) {
                std::fs::write(&to, bytes).map_err(fail)?;
            }
        }
    }
    // What is not there any more must not be built.
    for entry in std::fs::read_dir(to).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        if !here.contains(&entry.file_name()) {
            let gone = if entry.file_type().map_err(fail)?.is_dir() {
                std::fs::remove_dir_all(entry.path())
            } else {
                std::fs::remove_file(entry.path())
            };
            gone.map_err(fail)?;
        }
    }
    Ok(())
}

fn read(path: &Path) -> sh::Result<String> {
    std::fs::read_to_string(path).map_err(|e| format!("cannot read {}: {e}", path.display()))
}

fn write(path: &Path, text: &str) -> sh::Result<()> {
    std::fs::write(path, text).map_err(|e| format!("cannot write {}: {e}", path.display()))
}

fn write_if_new(path: &Path, text: &str) -> sh::Result<()> {
    if std::fs::read_to_string(path).ok().as_deref() == Some(text) { Ok(()) } else { write(path, text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_trimmed_to_the_heart() {
        let manifest =
            "[workspace]\nmembers = [\"crates/*\", \"xtask\"]\ndefault-members = [\n    \"a\",\n]\n\n[profile]\n";
        let wanted =
            "[workspace]\nmembers = [\"crates/crux-names\", \"crates/crux-core\", \"crates/crux-sim\"]\n\n[profile]\n";
        assert_eq!(trimmed(manifest), wanted);
    }

    #[test]
    fn what_cargo_says_is_found() {
        let text = "{\"reason\":\"x\",\"executable\":null}\n\
            {\"executable\":\"/a/b\",\"profile\":{\"test\":false}}\n\
            {\"executable\":\"/a/c\",\"profile\":{\"test\":true}}\n\
            {\"message\":{\"level\":\"error\",\"message\":\"no\"}}";
        assert_eq!(executable(text, true), Some(PathBuf::from("/a/c")));
        assert_eq!(executable(text, false), Some(PathBuf::from("/a/b")));
        assert_eq!(first_error(text).as_deref(), Some("no"));
    }

    #[test]
    fn a_program_that_hangs_has_failed() {
        let verdict = limited(Command::new("sleep").arg("60"), Duration::from_millis(50));
        assert!(matches!(verdict, Ok(Verdict::Failed)));
        assert!(matches!(limited(&mut Command::new("true"), Duration::from_secs(60)), Ok(Verdict::Passed)));
    }
}
