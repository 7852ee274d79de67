//! For this crate's tests only: the supervisor that `crux supervise DIR` is, as a program that tests can start.
//! Cargo builds it for the tests and tells them its path.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    match (words.next(), words.next()) {
        (Some(verb), Some(dir)) if verb == "supervise" => crux_node::effects::supervise_main(dir.as_ref()),
        _ => {
            eprintln!("usage: crux-test-supervisor supervise DIR");
            ExitCode::from(2)
        }
    }
}
