//! `cargo xtask verify`: the one command that means done. It changes no file of the repository.

use crate::{sh, tidy, tools};
use std::time::Instant;

pub const HELP: &str = "\
cargo xtask verify

The read-only gate. Runs every step, also after one failed, and ends with a table:
  tidy     the project's own rules (`cargo xtask tidy`)
  fmt      cargo fmt --check
  clippy   all targets of the workspace, warnings are errors
  rustdoc  the workspace's documentation, warnings are errors
  deny     bans, licences and sources of all dependencies (deny.toml); cargo-deny is installed if missing.
           Advisories need a network that CI does not have: `cargo deny check advisories` where there is one
  no_std   a staticlib without the standard library that links crux-core (xtask/nostd-proof)
Tests are not part of it: `cargo xtask test`.";

/// A step's name and what runs it.
type Step = (&'static str, fn() -> sh::Result<()>);

/// The cheap ones first, so that a person sees the first failure soon.
const STEPS: &[Step] = &[
    ("tidy", tidy::check_repository),
    ("fmt", fmt),
    ("clippy", clippy),
    ("rustdoc", rustdoc),
    ("deny", deny),
    ("no_std", no_std),
];

/// # Errors
/// When an argument is given or a step fails; the text names the steps.
pub fn run(args: &[String]) -> sh::Result<()> {
    if let Some(arg) = args.first() {
        return Err(format!("`{arg}`: verify takes no arguments"));
    }
    let mut table = Vec::new();
    let mut failed = Vec::new();
    for &(name, step) in STEPS {
        eprintln!("== {name}");
        let start = Instant::now();
        let outcome = step();
        let seconds = start.elapsed().as_secs_f32();
        if let Err(why) = &outcome {
            eprintln!("{why}");
            failed.push(name);
        }
        table.push(format!("{name:<8} {:<6} {seconds:6.1} s", if outcome.is_ok() { "ok" } else { "FAILED" }));
    }
    eprintln!("\n{}", table.join("\n"));
    if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}", failed.join(", "))) }
}

const PROOF: &str = "xtask/nostd-proof/Cargo.toml";

fn fmt() -> sh::Result<()> {
    sh::run(&mut sh::cargo(["fmt", "--all", "--check"]))?;
    // The proof is a workspace of its own, which `--all` does not see.
    sh::run(&mut sh::cargo(["fmt", "--check", "--manifest-path", PROOF]))
}

fn clippy() -> sh::Result<()> {
    sh::run(&mut sh::cargo(["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]))
}

fn rustdoc() -> sh::Result<()> {
    let mut command = sh::cargo(["doc", "--workspace", "--no-deps", "--locked"]);
    sh::run(command.env("RUSTDOCFLAGS", "-D warnings"))
}

fn deny() -> sh::Result<()> {
    tools::DENY.ensure()?;
    sh::run(&mut sh::cargo(["deny", "--locked", "check", "bans", "licenses", "sources"]))
}

/// Builds the staticlib that has its own panic handler and allocator. Would `crux-core` or one of its dependencies
/// bring the standard library, there would be two panic handlers, and the compiler refuses.
fn no_std() -> sh::Result<()> {
    // The proof cannot share the workspace (there, features are united over all crates, and some want `std`), but it
    // shall prove the versions that the workspace uses: it starts from the same lock file, which git ignores there.
    let root = sh::root();
    let lock = root.join("xtask/nostd-proof/Cargo.lock");
    std::fs::copy(root.join("Cargo.lock"), &lock).map_err(|e| format!("cannot write {}: {e}", lock.display()))?;
    let target = sh::target_dir()?.join("nostd");
    let mut command = sh::cargo(["build", "--manifest-path", PROOF, "--target-dir"]);
    sh::run(command.arg(target))
}
