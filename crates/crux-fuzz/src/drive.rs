//! Running a target over many inputs: checked-in ones first, then good ones, then ever more mutated ones.

use crate::memory;
use crate::mutate::{Dice, mutate};
use std::cell::RefCell;
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::{Duration, Instant};

/// The seed of the short runs.
pub const SEED: u64 = 0xC0FFEE;
/// An input that takes longer has stopped its reader, whatever the machine's load.
const PATIENCE: Duration = Duration::from_secs(20);
/// How many mutated inputs are kept to be mutated again.
const POOL: usize = 256;

/// Something that reads bytes of others.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name: a word for commands, and its directory under `corpus`.
    pub name: &'static str,
    /// Reads an input, and panics where a property does not hold.
    pub run: fn(&[u8]),
    /// Good inputs, from which others are made.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// How many inputs the short run has.
    pub inputs: u32,
    /// How many bytes its reader may hold besides [`Target::memory_factor`] times the input.
    pub memory: usize,
    /// How many bytes its reader may hold for each byte of the input.
    pub memory_factor: usize,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// An input that a target does not bear.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The input.
    pub input: Vec<u8>,
    /// What happened: the panic with its place, or the limit that was broken.
    pub why: String,
}

thread_local! {
    /// What panicked last on this thread while it was caught here.
    static CAUGHT: RefCell<Option<Option<String>>> = const { RefCell::new(None) };
}

/// Panics of targets are kept instead of printed; all others are printed as ever.
fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let ours = CAUGHT.with_borrow_mut(|caught| match caught {
                Some(text) => {
                    *text = Some(info.to_string());
                    true
                }
                None => false,
            });
            if !ours {
                before(info);
            }
        }));
    });
}

/// Gives one input to a target.
///
/// # Errors
/// [`Failure`] if it panicked, held too much memory or took too long.
pub fn one(target: &Target, input: &[u8]) -> Result<(), Failure> {
    listen();
    CAUGHT.set(Some(None));
    let began = Instant::now();
    let mut outcome = Ok(());
    let held = memory::peak(|| {
        outcome = panic::catch_unwind(AssertUnwindSafe(|| (target.run)(input))).map_err(drop);
    });
    let took = began.elapsed();
    let words = CAUGHT.take().flatten();
    let most = target.memory + target.memory_factor * input.len();
    let why = match outcome {
        Err(()) => words.unwrap_or_else(|| "a panic without words".to_owned()),
        Ok(()) if took > PATIENCE => format!("it took {took:?} for {} bytes", input.len()),
        Ok(()) if held > most => format!("it held {held} bytes for an input of {}; {most} are allowed", input.len()),
        Ok(()) => return Ok(()),
    };
    Err(Failure { input: input.to_vec(), why })
}

/// The directory of the inputs that once broke a target.
#[must_use]
pub fn corpus_dir(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name)
}

/// The checked-in inputs of a target, by file name.
///
/// # Panics
/// If a file of it cannot be read.
#[must_use]
pub fn corpus(name: &str) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(corpus_dir(name)).into_iter().flatten().flatten();
    let mut files: Vec<(String, Vec<u8>)> = entries
        .filter(|entry| entry.path().is_file())
        .map(|entry| {
            let bytes = std::fs::read(entry.path()).expect("a corpus file can be read");
            (entry.file_name().to_string_lossy().into_owned(), bytes)
        })
        .collect();
    files.sort();
    files
}

/// The corpus of a target, its seeds, then mutated inputs up to this number. `before` sees each input before it is given:
/// a reader may take the whole process with it.
///
/// # Errors
/// [`Failure`]: the first input that it does not bear, made shorter where that keeps failing.
pub fn run(target: &Target, inputs: u32, seed: u64, mut before: impl FnMut(&[u8])) -> Result<u32, Failure> {
    let mut pool: Vec<Vec<u8>> = corpus(target.name).into_iter().map(|(_, bytes)| bytes).collect();
    pool.extend((target.seeds)());
    if pool.is_empty() {
        pool.push(Vec::new());
    }
    let mut given = 0;
    for input in &pool {
        before(input);
        one(target, input)?;
        given += 1;
    }
    let good = pool.len();
    let mut dice = Dice::new(seed);
    while given < inputs {
        // Good ones most of the time: what is broken in many places at once is refused at the first.
        let from = if dice.below(4) == 0 { dice.below(pool.len()) } else { dice.below(good) };
        let input = if dice.below(64) == 0 {
            (0..dice.below(300)).map(|_| dice.byte()).collect()
        } else {
            mutate(&pool[from], &pool[..good], &mut dice)
        };
        before(&input);
        one(target, &input).map_err(|failure| shorten(target, failure))?;
        if dice.below(16) == 0 {
            if pool.len() < good + POOL {
                pool.push(input);
            } else {
                let at = good + dice.below(POOL);
                pool[at] = input;
            }
        }
        given += 1;
    }
    Ok(given)
}

/// Takes away what is not needed for the failure: halves, then smaller pieces.
fn shorten(target: &Target, mut failure: Failure) -> Failure {
    let until = Instant::now() + PATIENCE;
    let mut piece = failure.input.len() / 2;
    while piece > 0 {
        let mut at = 0;
        while at + piece <= failure.input.len() && Instant::now() < until {
            let mut less = failure.input.clone();
            less.drain(at..at + piece);
            match one(target, &less) {
                Err(shorter) => failure = shorter,
                Ok(()) => at += piece,
            }
        }
        piece /= 2;
    }
    failure
}

/// Writes a failing input to the target's corpus, under a name from its content; answers where.
///
/// # Errors
/// Of the disk.
pub fn keep(target: &Target, input: &[u8]) -> std::io::Result<PathBuf> {
    let dir = corpus_dir(target.name);
    std::fs::create_dir_all(&dir)?;
    let path = dir.join(crux_core::hash::sha256(input).short());
    std::fs::write(&path, input)?;
    Ok(path)
}

/// The short run of a target, for tests.
///
/// # Panics
/// With the failing input, where it was kept, and how to give it again.
pub fn short(target: &Target) {
    let all = std::env::var("CRUX_FUZZ_INPUTS").ok().and_then(|text| text.parse().ok()).unwrap_or(target.inputs);
    let seed = std::env::var("CRUX_FUZZ_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(SEED);
    if let Err(failure) = run(target, all, seed, |_| {}) {
        let kept = keep(target, &failure.input).map_or_else(
            |error| format!("it could not be kept: {error}"),
            |path| format!("it is kept as {}", path.display()),
        );
        panic!("{}: {}\ninput: {}\n{kept}", target.name, failure.why, failure.input.escape_ascii());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weak(input: &[u8]) {
        assert!(!(input.contains(&b'!') && input.contains(&b'x')), "both are in it");
    }

    fn weak_seeds() -> Vec<Vec<u8>> {
        vec![b"a good input with x".to_vec()]
    }

    const WEAK: Target =
        Target { name: "weak", run: weak, seeds: weak_seeds, inputs: 10_000, memory: usize::MAX / 2, memory_factor: 0 };

    #[test]
    fn a_weakness_is_found_and_told_with_the_shortest_input_and_its_words() {
        let failure = run(&WEAK, WEAK.inputs, 1, |_| {}).unwrap_err();
        assert_eq!(failure.input.len(), 2, "{:?}", failure.input.escape_ascii().to_string());
        assert!(failure.why.contains("both are in it") && failure.why.contains("drive.rs"), "{}", failure.why);
        assert!(one(&WEAK, &failure.input).is_err() && one(&WEAK, b"x").is_ok());
    }

    #[test]
    fn what_comes_before_each_input_sees_them_all() {
        let mut seen = 0;
        let strong = Target { run: |_| {}, ..WEAK };
        assert_eq!(run(&strong, 100, 1, |_| seen += 1).unwrap(), 100);
        assert_eq!(seen, 100);
    }
}
