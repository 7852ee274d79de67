//! Figures of flocking in the simulator: the lines of the design's table that need no real processes.

use super::{Row, lab};
use crate::sh;

/// Runs `--figures` of crux-sim: its usual lines, or these.
pub fn rows(lines: &[&str]) -> sh::Result<Vec<Row>> {
    sh::run(&mut sh::cargo(["build", "--release", "--package", "crux-sim", "--bin", "crux-sim", "--locked"]))?;
    let mut command = sh::program(sh::target_dir()?.join("release/crux-sim"));
    command
        .arg("--figures")
        .args(lines.iter().flat_map(|line| ["--line", line]))
        .stderr(std::process::Stdio::inherit());
    lab::parse(&sh::capture(&mut command)?)
}
