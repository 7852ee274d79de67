//! `cargo xtask sim`: the simulator, with its arguments as given.

use crate::sh;

pub const HELP: &str = "\
cargo xtask sim [ARGS]

Builds the simulator (crate crux-sim, binary crux-sim) optimised and passes ARGS on to it.
A failing seed prints the command that reproduces it, in this form.
`cargo xtask sim -- --help` prints the simulator's own help.";

/// # Errors
/// When the simulator does not build or exits with a failure.
pub fn run(args: &[String]) -> sh::Result<()> {
    let args = if args.first().is_some_and(|a| a == "--") { &args[1..] } else { args };
    let mut command = sh::cargo(["run", "--release", "--locked", "--package", "crux-sim", "--bin", "crux-sim", "--"]);
    sh::run(command.args(args))
}
