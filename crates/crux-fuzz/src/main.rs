//! `crux-fuzz [TARGET] [--inputs N] [--seed S]`: longer runs than the tests have. `cargo xtask fuzz` calls it.

use crux_fuzz::drive::{self, Target};
use crux_fuzz::memory::Counting;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const USAGE: &str = "usage: crux-fuzz [TARGET | --list] [--inputs N] [--seed S]";

struct Wanted {
    target: Option<String>,
    inputs: u32,
    seed: u64,
    list: bool,
}

fn read(mut words: impl Iterator<Item = String>) -> Result<Wanted, String> {
    let mut wanted = Wanted { target: None, inputs: 200_000, seed: drive::SEED, list: false };
    while let Some(word) = words.next() {
        let mut number = || words.next().and_then(|text| text.parse().ok()).ok_or(format!("{word} takes a number"));
        match word.as_str() {
            "--inputs" => {
                wanted.inputs = u32::try_from(number()?).map_err(|_| "--inputs is below 4294967296".to_owned())?;
            }
            "--seed" => wanted.seed = number()?,
            "--list" => wanted.list = true,
            _ if word.starts_with('-') || wanted.target.is_some() => return Err(format!("{word:?} is not understood")),
            _ => wanted.target = Some(word),
        }
    }
    Ok(wanted)
}

/// Whether it bore them all.
fn fuzz(target: &Target, wanted: &Wanted) -> bool {
    let name = target.name;
    println!("{name}: {} inputs from seed {}", wanted.inputs, wanted.seed);
    // A reader that overflows the stack takes the process with it: the input is found here then.
    let last = std::env::temp_dir().join(format!("crux-fuzz-{name}-{}", std::process::id()));
    let outcome = drive::run(target, wanted.inputs, wanted.seed, |input| {
        // Without the file only such an end is harder to explain.
        let _ = std::fs::write(&last, input);
    });
    let _ = std::fs::remove_file(&last);
    let Err(failure) = outcome else { return true };
    println!("{name}: {}", failure.why);
    println!("input ({} bytes): {}", failure.input.len(), failure.input.escape_ascii());
    match drive::keep(target, &failure.input) {
        Ok(path) => println!("kept as {}; every test run gives it again:", path.display()),
        Err(error) => println!("it could not be kept ({error}); the same seed finds it again:"),
    }
    println!("  cargo xtask fuzz {name} --inputs {} --seed {}", wanted.inputs, wanted.seed);
    println!("  cargo nextest run --workspace -E 'package(crux-fuzz) and test({name})'");
    false
}

fn main() -> ExitCode {
    let wanted = match read(std::env::args().skip(1)) {
        Ok(wanted) => wanted,
        Err(why) => {
            eprintln!("crux-fuzz: {why}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let targets: Vec<Target> = crux_fuzz::all();
    if wanted.list {
        targets.iter().for_each(|target| println!("{}", target.name));
        return ExitCode::SUCCESS;
    }
    let chosen: Vec<&Target> =
        targets.iter().filter(|target| wanted.target.as_deref().is_none_or(|name| name == target.name)).collect();
    if chosen.is_empty() {
        eprintln!("crux-fuzz: no such target; crux-fuzz --list names them\n{USAGE}");
        return ExitCode::from(2);
    }
    // All, also after a failure: one bug must not hide another.
    let failed = chosen.into_iter().filter(|target| !fuzz(target, &wanted)).count();
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
