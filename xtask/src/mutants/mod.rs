//! `cargo xtask mutants`: breaks one rule of flocking at a time and looks whether a test notices.

mod build;
mod page;
mod table;

use self::build::{Bench, Verdict};
use crate::sh;
use crate::tidy::{Finding, Tree};
use std::time::{Duration, Instant};

pub const HELP: &str = "\
cargo xtask mutants [--list] [--only NAME]... [--write]

Each mutant breaks one rule of flocking (its table: xtask/src/mutants/table.rs): a piece of text in one file, its
replacement, and the tests that are expected to notice. The needed crates are copied into target/mutants, where they have
a target folder of their own; there one mutant after the other is applied, built and tested. First the tree without any
must pass. Ends with a table: killed or survived, by which test, and the time. A survivor is a failure.

  --list       print the mutants and their rules
  --only NAME  only this one; may be given several times
  --write      write what became of them to docs/mutants.md; the rows of others stay as they are";

/// A way to break one rule.
pub struct Mutant {
    /// Its name, as given to `--only`.
    pub name: &'static str,
    /// The rule of the design that it breaks.
    pub rule: &'static str,
    /// The file, from the root.
    pub file: &'static str,
    /// The text that stands there exactly once.
    pub find: &'static str,
    /// What stands there instead.
    pub replace: &'static str,
    /// Who is expected to notice; tried in this order until one does.
    pub tests: &'static [Test],
}

/// Something that passes on the sound tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Test {
    /// Tests of crux-sim: the file below its `tests/` without its ending, and a part of their names.
    Sim(&'static str, &'static str),
    /// The same of crux-core.
    Core(&'static str, &'static str),
    /// Tests that stand beside the code of crux-core: the file below its `src/` without its ending, and a part of their names.
    Unit(&'static str, &'static str),
    /// The simulator with these arguments.
    Run(&'static str),
}

impl std::fmt::Display for Test {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Test::Sim(file, "") | Test::Core(file, "") | Test::Unit(file, "") => write!(f, "{file}"),
            Test::Sim(file, name) | Test::Core(file, name) | Test::Unit(file, name) => write!(f, "{file} {name}"),
            Test::Run(args) => write!(f, "sim {args}"),
        }
    }
}

/// # Errors
/// When an argument is unknown, the sound tree fails, or a mutant survives, does not apply or does not build.
pub fn run(args: &[String]) -> sh::Result<()> {
    let (mut only, mut keep) = (Vec::new(), false);
    let mut words = args.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--list" => {
                for mutant in table::MUTANTS {
                    println!("{:<24} {}", mutant.name, mutant.rule);
                }
                return Ok(());
            }
            "--write" => keep = true,
            "--only" => only.push(words.next().ok_or("--only needs a mutant's name")?.as_str()),
            other => return Err(format!("`{other}` is unknown; `cargo xtask mutants --help`")),
        }
    }
    let known = |name: &&&str| table::MUTANTS.iter().any(|mutant| mutant.name == **name);
    if let Some(name) = only.iter().find(|name| !known(name)) {
        return Err(format!("there is no mutant `{name}`; `cargo xtask mutants --list`"));
    }
    let wanted: Vec<&Mutant> =
        table::MUTANTS.iter().filter(|mutant| only.is_empty() || only.contains(&mutant.name)).collect();
    let bench = Bench::prepare()?;
    let mut tests: Vec<Test> = wanted.iter().flat_map(|mutant| mutant.tests).copied().collect();
    tests.sort_unstable();
    tests.dedup();
    sound(&bench, &tests)?;
    let mut rows = Vec::new();
    let mut page = page::Page::read()?;
    let mut bad = Vec::new();
    for (number, mutant) in wanted.iter().enumerate() {
        let begin = Instant::now();
        let verdict = bench.with(mutant, || judge(&bench, mutant))?;
        let row = format!("{:<24} {verdict} ({:.0} s)", mutant.name, begin.elapsed().as_secs_f64());
        eprintln!("{}/{} {row}", number + 1, wanted.len());
        if !matches!(verdict, Outcome::Killed(_)) {
            bad.push(mutant.name);
        }
        if keep {
            page.put(mutant, &verdict.to_string(), begin.elapsed())?;
            page.write()?;
        }
        rows.push(row);
    }
    println!("\n{}", rows.join("\n"));
    println!("{} of {} killed", wanted.len() - bad.len(), wanted.len());
    if bad.is_empty() { Ok(()) } else { Err(format!("no test noticed, or it did not build: {}", bad.join(", "))) }
}

/// What became of a mutant.
enum Outcome {
    Killed(Test),
    Survived,
    DoesNotBuild(String),
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Outcome::Killed(test) => write!(f, "killed by {test}"),
            Outcome::Survived => f.write_str("SURVIVED"),
            Outcome::DoesNotBuild(why) => write!(f, "DOES NOT BUILD: {why}"),
        }
    }
}

fn judge(bench: &Bench, mutant: &Mutant) -> sh::Result<Outcome> {
    for test in mutant.tests {
        match bench.run(test, LIMIT)? {
            Verdict::Passed => {}
            Verdict::Failed => return Ok(Outcome::Killed(*test)),
            Verdict::DidNotBuild(why) => return Ok(Outcome::DoesNotBuild(why)),
        }
    }
    Ok(Outcome::Survived)
}

/// A test that takes longer hangs: that is noticed too.
const LIMIT: Duration = Duration::from_secs(300);

fn sound(bench: &Bench, tests: &[Test]) -> sh::Result<()> {
    for test in tests {
        let begin = Instant::now();
        match bench.run(test, LIMIT)? {
            Verdict::Passed => eprintln!("sound: {test} passes ({:.0} s)", begin.elapsed().as_secs_f64()),
            Verdict::Failed => return Err(format!("`{test}` fails on the tree without any mutant: mend that first")),
            Verdict::DidNotBuild(why) => return Err(format!("the tree without any mutant does not build: {why}")),
        }
    }
    Ok(())
}

/// A rule of `cargo xtask tidy`: every mutant applies exactly once and names tests that exist, so that the table stays true.
pub fn each_applies(tree: &Tree, found: &mut Vec<Finding>) {
    const TABLE: &str = "xtask/src/mutants/table.rs";
    if tree.file(TABLE).is_none() {
        return;
    }
    for mutant in table::MUTANTS {
        let mut say = |what: String| found.push(Finding::new(TABLE, 0, format!("mutant `{}`: {what}", mutant.name)));
        let times = tree.file(mutant.file).map_or(0, |file| file.text.matches(mutant.find).count());
        if times != 1 {
            say(format!("its text stands {times} times in {}, should be once", mutant.file));
        }
        for test in mutant.tests {
            if !exists(tree, test) {
                say(format!("there is no test `{test}`"));
            }
        }
        if mutant.tests.is_empty() || table::MUTANTS.iter().filter(|other| other.name == mutant.name).count() != 1 {
            say("it needs a name of its own and a test".into());
        }
    }
}

fn exists(tree: &Tree, test: &Test) -> bool {
    let named = |text: &str, name: &str| {
        text.lines().any(|line| {
            let line = line.trim_start();
            let function =
                line.strip_prefix("fn ").is_some_and(|rest| rest.split('(').next().unwrap_or("").contains(name));
            // A macro that makes tests lists them as `name: what`.
            function || line.split_once(": 0b").is_some_and(|(made, _)| made.contains(name))
        })
    };
    let in_file = |folder: &str, file: &str, name: &str| {
        let path = format!("crates/{folder}/{file}.rs");
        tree.file(&path).is_some_and(|file| named(&file.text, name))
    };
    match test {
        Test::Sim(file, name) => in_file("crux-sim/tests", file, name),
        Test::Core(file, name) => in_file("crux-core/tests", file, name),
        Test::Unit(file, name) => in_file("crux-core/src", file, name),
        Test::Run(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mutant_changes_something() {
        for mutant in table::MUTANTS {
            assert_ne!(mutant.find, mutant.replace, "{}", mutant.name);
        }
    }

    #[test]
    fn a_test_that_is_not_there_is_seen() {
        let text = "#[test]\nfn all_is_well() {}\n    no_pair: 0b000,\n".to_owned();
        let file = crate::tidy::File { path: "crates/crux-sim/tests/a.rs".into(), text };
        let tree = Tree { root: "/x".into(), files: vec![file] };
        assert!(exists(&tree, &Test::Sim("a", "is_well")));
        assert!(exists(&tree, &Test::Sim("a", "no_pair")));
        assert!(!exists(&tree, &Test::Sim("a", "is_bad")));
        assert!(!exists(&tree, &Test::Sim("b", "")));
    }
}
