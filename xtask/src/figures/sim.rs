//! Figures of flocking in the simulator: the lines of the design's table that need no real processes.

use super::{Row, lab};
use crate::sh;

/// Runs `--figures` of crux-sim: its usual lines, or those that take long.
pub fn rows(long: bool) -> sh::Result<Vec<Row>> {
    sh::run(&mut sh::cargo(["build", "--release", "--package", "crux-sim", "--bin", "crux-sim", "--locked"]))?;
    let mut command = sh::program(sh::target_dir()?.join("release/crux-sim"));
    command.arg("--figures").args(long.then_some("--long")).stderr(std::process::Stdio::inherit());
    lab::parse(&sh::capture(&mut command)?)
}
