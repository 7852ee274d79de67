//! The cargo subcommands that the chores need, and how they come onto a clean machine.

use crate::sh;

/// A cargo subcommand that is not part of the toolchain.
pub struct Tool {
    /// The crate that holds it, `cargo-NAME`.
    pub package: &'static str,
    /// The subcommand, as typed after `cargo`.
    pub subcommand: &'static str,
}

/// Runs tests in parallel processes, with limits and one summary.
pub const NEXTEST: Tool = Tool { package: "cargo-nextest", subcommand: "nextest" };

/// Checks bans, licences and sources of the dependencies.
pub const DENY: Tool = Tool { package: "cargo-deny", subcommand: "deny" };

impl Tool {
    /// Makes sure that the tool runs, installing it from source where it is missing.
    ///
    /// The build is unoptimised (`--debug`): it is several times faster to build, and what these tools do takes
    /// seconds either way.
    ///
    /// # Errors
    /// When it is missing and `cargo install` fails; the text names the command to run by hand.
    pub fn ensure(&self) -> sh::Result<()> {
        if self.present() {
            return Ok(());
        }
        eprintln!("{} is missing: building it once, which takes some minutes", self.package);
        // Into cargo's usual place, so that the next checkout finds it; debug information would only cost time.
        sh::run(
            sh::cargo(["install", self.package, "--locked", "--debug"])
                .env("CARGO_PROFILE_DEV_DEBUG", "0")
                .env("CARGO_INCREMENTAL", "0"),
        )
        .map_err(|why| format!("{why}; install it by hand: cargo install {} --locked", self.package))?;
        if self.present() {
            Ok(())
        } else {
            Err(format!("{} was installed, but `cargo {}` does not run", self.package, self.subcommand))
        }
    }

    fn present(&self) -> bool {
        sh::succeeds(&mut sh::cargo([self.subcommand, "--version"]))
    }
}
