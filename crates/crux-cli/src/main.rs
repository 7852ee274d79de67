//! `crux`: commands as data, output as text or JSON. What it prints and how it ends is a contract (`operator.md`).
//!
//! | module | subject |
//! |---|---|
//! | `args` | the command line |
//! | `target` | which fulcrum is meant |
//! | `operator` | who signs, and writing facts |
//! | `output` | tables, JSON, errors |
//! | `settings` | `crux up`: flags, environment, files |
//! | `fulcrum` | the only door to `crux-node` |
//! | `command` | one file per verb or noun |

mod args;
mod command;
mod fulcrum;
mod operator;
mod output;
mod settings;
mod target;

use crux_api::json::{Code, ErrorDoc};
use std::process::ExitCode;

/// How a command ends when it did not fail: an exit code of the contract.
pub(crate) type Outcome = Result<u8, ErrorDoc>;

fn main() -> ExitCode {
    // The supervisor must be alone in its process: no thread, no runtime, no log before it.
    let mut words = std::env::args_os().skip(1);
    if words.next().is_some_and(|word| word == "supervise") {
        let words: Vec<_> = words.collect();
        return match words.as_slice() {
            [dir] => fulcrum::supervise(dir.as_ref()),
            [dir, number, timeout_ms] => {
                fulcrum::run_hook(dir.as_ref(), &number.to_string_lossy(), &timeout_ms.to_string_lossy())
            }
            _ => {
                let cause = "supervise takes a directory, and for a hook its number and its timeout in milliseconds";
                output::fail(&ErrorDoc::new(Code::Usage, cause, "crux help"), None)
            }
        };
    }
    let cli = match args::parse() {
        Ok(cli) => cli,
        Err(args::Early::Said) => return ExitCode::SUCCESS,
        Err(args::Early::Wrong(error, format)) => return output::fail(&error, format),
    };
    // Keys of nodes, operators and CAs pass through here; only the demo service has none, as any program of an instance.
    // Where it is forbidden, `up` says so, which stays.
    if !matches!(cli.command, args::Command::Demo(_)) {
        let _ = fulcrum::no_dumps();
    }
    let format = cli.global.output;
    match command::run(cli) {
        Ok(code) => ExitCode::from(code),
        Err(error) => output::fail(&error, format),
    }
}
