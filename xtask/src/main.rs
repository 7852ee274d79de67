//! `cargo xtask`: the project's own chores, so that a newcomer, a maintainer and CI run the same few commands.
//!
//! It stays light (the standard library and a JSON reader) because everybody waits for it to build. Each subcommand
//! is a module with its own `HELP`; what they share is in `sh`.

mod figures;
mod fuzz;
mod mutants;
mod sh;
mod sim;
mod test;
mod tidy;
mod tools;
mod verify;

use std::io::Write;
use std::process::ExitCode;

const HELP: &str = "\
cargo xtask: the chores of this repository

usage: cargo xtask COMMAND [ARGS]

  test      build everything once and run every test that this machine permits
  verify    the read-only gate that means done: format, lints, docs, dependencies, tidy, no_std proof
  tidy      only the project's own rules (layers, words, files); part of verify and of the tests
  sim       run the simulator: arguments go to it as they are
  fuzz      give every reader of foreign bytes many more bad inputs than the tests do
  mutants   break one rule of flocking at a time and see whether a test notices
  figures   measure and write docs/figures.md

`cargo xtask COMMAND --help` says more.";

/// One subcommand: its name, its help and what runs it.
struct Chore {
    name: &'static str,
    help: &'static str,
    run: fn(&[String]) -> sh::Result<()>,
}

const CHORES: &[Chore] = &[
    Chore { name: "test", help: test::HELP, run: test::run },
    Chore { name: "verify", help: verify::HELP, run: verify::run },
    Chore { name: "tidy", help: tidy::HELP, run: tidy::run },
    Chore { name: "sim", help: sim::HELP, run: sim::run },
    Chore { name: "fuzz", help: fuzz::HELP, run: fuzz::run },
    Chore { name: "mutants", help: mutants::HELP, run: mutants::run },
    Chore { name: "figures", help: figures::HELP, run: figures::run },
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some((name, rest)) = args.split_first() else {
        eprintln!("{HELP}");
        return ExitCode::from(2);
    };
    if matches!(name.as_str(), "--help" | "-h" | "help") {
        return say(HELP);
    }
    let Some(chore) = CHORES.iter().find(|c| c.name == name) else {
        eprintln!("xtask: there is no command `{name}`; `cargo xtask --help` lists them");
        return ExitCode::from(2);
    };
    // The simulator has a help text of its own; for it, only a lone --help is ours.
    let asks_help = |a: &String| matches!(a.as_str(), "--help" | "-h");
    if if name == "sim" { rest.len() == 1 && asks_help(&rest[0]) } else { rest.iter().any(asks_help) } {
        return say(chore.help);
    }
    match (chore.run)(rest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("xtask {name}: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Prints a help text; a reader that stops early (`| head`) is no failure.
fn say(text: &str) -> ExitCode {
    let _ = writeln!(std::io::stdout(), "{text}");
    ExitCode::SUCCESS
}
