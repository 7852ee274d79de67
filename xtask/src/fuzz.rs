//! `cargo xtask fuzz`: longer runs of the fuzz targets than the tests have, on the compiler that everything is built with.

use crate::sh;

pub const HELP: &str = "\
cargo xtask fuzz [TARGET | --list] [--inputs N] [--seed S]

Gives the target, or every one, N inputs (200000 unless said) made from good ones by seed S. An input that it does not bear
is made shorter and kept in crates/crux-fuzz/corpus/TARGET, from where each test run gives it again. The same seed makes
the same inputs, except where keys are made anew for each run (the targets of papers).";

/// # Errors
/// When it does not build, or a target does not bear an input.
pub fn run(args: &[String]) -> sh::Result<()> {
    let args = if args.first().is_some_and(|a| a == "--") { &args[1..] } else { args };
    // Of the same selection as the tests, so that nothing is built for this alone; assertions and overflow checks stay on.
    let build = ["build", "--workspace", "--locked", "--bin", "crux-fuzz"];
    sh::run(&mut sh::cargo(build))?;
    let binary = sh::target_dir()?.join("debug").join("crux-fuzz");
    sh::run(sh::program(binary).args(args))
}
