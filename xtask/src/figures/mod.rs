//! `cargo xtask figures`: measures, and writes docs/figures.md with commit, machine, load and date.
//!
//! To add figures: write a function from nothing to rows and name it in `SOURCES`. What needs real processes belongs
//! into the lab's program instead, whose rows are taken over as they are (see `lab`).

mod code;
mod lab;
mod sim;
mod yardstick;

use crate::sh;
use std::fmt::Write as _;

pub const HELP: &str = "\
cargo xtask figures [--only PART]... [--rounds N] [--no-build] [--print]

Measures and writes docs/figures.md: every figure with its unit, its target, the machine's load when it was
taken; for every part the commit and the date, and for all of them the machine. Figures that could not be taken
are listed with the reason. The parts are:
  dev flock3 flock10 flock16 flock50 flock64 idle10 idle50 services facts expulsion pauses minutes
                                                              real processes in network namespaces, default timers;
                                                              `minutes` looks for ten of them, and only if named
  sim simfacts                                                the simulator, in invented time
  simlong10000 simpair10000 simlong6 simlong8 simlong10 simday10
                                                              lines with 10,000 fulcrums or for days: many minutes to
                                                              three hours (simday10) of a core; only if named
  binary dependencies code
Those of the first line are taken by the binary `figures` of crux-lab, which is run with `--json --only PART`; it
prints an array of
  {\"name\", \"value\", \"unit\", \"target\", \"note\", \"load\"}
(`target`, `note` and `load` may be null or missing), one row each.

  --only PART  take this part only; the others stay on the page as they are. May be given several times
  --rounds N   let the lab try each thing so often instead of as often as is usual for its size
  --no-build   take only figures that need no release build
  --print      print the page instead of writing it";

/// One figure.
pub struct Row {
    /// What was measured.
    pub name: String,
    /// The figure, already rounded for reading.
    pub value: String,
    /// `MB`, `s`, or empty for a count.
    pub unit: String,
    /// What it should be, in words (`<= 30`); empty if nothing is asked of it.
    pub target: String,
    /// How it was taken.
    pub note: String,
    /// The machine's load average over a minute when it was taken.
    pub load: String,
}

impl Row {
    /// A row with nothing asked of it, at the load of this moment.
    pub fn new(name: impl Into<String>, value: impl Into<String>, unit: &str, note: impl Into<String>) -> Row {
        Row {
            name: name.into(),
            value: value.into(),
            unit: unit.into(),
            target: String::new(),
            note: note.into(),
            load: load(),
        }
    }

    /// With what it should be.
    pub fn target(self, target: &str) -> Row {
        Row { target: target.into(), ..self }
    }
}

/// A group of figures: its name, its heading, whether it needs a release build, and what takes them.
struct Source {
    name: &'static str,
    heading: &'static str,
    builds: bool,
    /// Only if it is named.
    long: bool,
    take: fn(&str, Option<u32>) -> sh::Result<Vec<Row>>,
}

const fn of_lab(name: &'static str, heading: &'static str) -> Source {
    Source { name, heading, builds: true, long: false, take: lab::rows }
}

/// One that takes many minutes or an hour, and is taken only if it is named.
const fn long(
    name: &'static str,
    heading: &'static str,
    take: fn(&str, Option<u32>) -> sh::Result<Vec<Row>>,
) -> Source {
    Source { name, heading, builds: true, long: true, take }
}

const SOURCES: &[Source] = &[
    of_lab("dev", "A throw-away cluster"),
    of_lab("flock3", "A flock of 3"),
    of_lab("flock10", "A flock of 10"),
    of_lab("flock16", "A flock of 16"),
    of_lab("flock50", "A flock of 50"),
    of_lab("flock64", "A flock of 64"),
    of_lab("idle10", "Idle in a flock of 10"),
    of_lab("idle50", "Idle in a flock of 50"),
    of_lab("services", "Services"),
    of_lab("facts", "Facts"),
    of_lab("expulsion", "Expulsion"),
    of_lab("pauses", "Pauses"),
    long("minutes", "Ten minutes", lab::rows),
    Source { name: "sim", heading: "Flocking in simulation", builds: true, long: false, take: |_, _| sim::rows(&[]) },
    Source {
        name: "simfacts",
        heading: "Facts in simulation",
        builds: true,
        long: false,
        take: |_, _| sim::rows(&["facts"]),
    },
    long("simlong10000", "Flocking of 10,000 in simulation", |_, _| sim::rows(&["at 10000"])),
    long("simpair10000", "One broken pair among 10,000 in simulation", |_, _| sim::rows(&["9 at 10000"])),
    long("simlong6", "Long cuts in simulation", |_, _| sim::rows(&["6 for longer"])),
    long("simlong8", "Flapping among 1,000 in simulation", |_, _| sim::rows(&["8 at 1000"])),
    long("simlong10", "Loss for long in simulation", |_, _| sim::rows(&["10 for longer"])),
    long("simday10", "Loss among 1,000 for a day in simulation", |_, _| sim::rows(&["10 for a day"])),
    Source { name: "binary", heading: "Binary", builds: true, long: false, take: |_, _| code::binary() },
    Source {
        name: "dependencies",
        heading: "Dependencies",
        builds: false,
        long: false,
        take: |_, _| code::dependencies(),
    },
    Source { name: "code", heading: "Code", builds: false, long: false, take: |_, _| code::lines() },
];

/// # Errors
/// When an argument is unknown or the page cannot be written. A figure that cannot be taken is no error: the page
/// says why.
pub fn run(args: &[String]) -> sh::Result<()> {
    let (mut build, mut print, mut rounds, mut only) = (true, false, None, Vec::new());
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--no-build" => build = false,
            "--print" => print = true,
            "--rounds" => {
                let number = args.next().and_then(|number| number.parse::<u32>().ok()).filter(|number| *number > 0);
                rounds = Some(number.ok_or("`--rounds` needs a number; `cargo xtask figures --help`")?);
            }
            "--only" => {
                let name = args.next().ok_or("`--only` needs a part; `cargo xtask figures --help`")?;
                let known = SOURCES.iter().find(|source| source.name == name);
                only.push(
                    known.ok_or_else(|| format!("there is no part `{name}`; `cargo xtask figures --help`"))?.name,
                );
            }
            other => return Err(format!("`{other}` is unknown; `cargo xtask figures --help`")),
        }
    }
    let path = sh::root().join("docs/figures.md");
    let mut taken = Vec::new();
    for source in SOURCES {
        let usual = !source.long && (build || !source.builds);
        let wanted = if only.is_empty() { usual } else { only.contains(&source.name) };
        if !wanted {
            continue;
        }
        taken.push((source.heading, take(source, rounds)?));
        // After each, for all of them take an hour, and read only now: what another run has written meanwhile is kept. A page
        // that is not there yet has nothing to keep.
        if !print {
            let old = std::fs::read_to_string(&path).unwrap_or_default();
            std::fs::write(&path, joined(&old, &taken)).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
            taken.clear();
        }
    }
    if print {
        let old = std::fs::read_to_string(&path).unwrap_or_default();
        print!("{}", joined(&old, &taken));
    } else {
        eprintln!("wrote docs/figures.md");
    }
    Ok(())
}

/// Written by hand, since no program knows why.
const REASONS: &str = include_str!("reasons.md");

/// The page: what was taken now, and for the rest what stood there.
fn joined(old: &str, taken: &[(&str, String)]) -> String {
    let mut page = format!("{}\n{}", head(), REASONS);
    for source in SOURCES {
        let now = taken.iter().find(|(heading, _)| *heading == source.heading).map(|(_, text)| text.clone());
        let text = now.or_else(|| section(old, source.heading)).unwrap_or_else(|| untaken(source));
        let _ = write!(page, "\n## {}\n\n{}\n", source.heading, text.trim());
    }
    page
}

/// A section's text, taken now.
fn take(source: &Source, rounds: Option<u32>) -> sh::Result<String> {
    eprintln!("== {}", source.heading);
    let stamp = stamp()?;
    Ok(match (source.take)(source.name, rounds) {
        Ok(rows) => format!("{stamp}\n\n{}", table(&rows)),
        Err(why) => {
            eprintln!("{why}");
            format!("{stamp}\n\nNot taken: {}.", cell(&why).trim_end_matches('.'))
        }
    })
}

fn untaken(source: &Source) -> String {
    let long = if source.long { ", which takes long: `--help` says how long" } else { "" };
    format!("Not taken yet: `cargo xtask figures --only {}`{long}.", source.name)
}

/// What a page has under a heading.
fn section(page: &str, heading: &str) -> Option<String> {
    let begin = format!("\n## {heading}\n");
    let rest = &page[page.find(&begin)? + begin.len()..];
    Some(rest[..rest.find("\n## ").unwrap_or(rest.len())].to_owned())
}

/// From which commit and when, and how fast the machine was.
fn stamp() -> sh::Result<String> {
    let (commit, date) = commit()?;
    Ok(format!("Commit {commit}, {date}, load {} at the start; {}.", load(), yardstick::words()))
}

/// The commit that this tree is of, with a word if it is not quite that, and the moment.
///
/// # Errors
/// When git or the clock cannot be asked.
pub fn commit() -> sh::Result<(String, String)> {
    let git = |args: &[&str]| sh::capture(sh::program("git").args(["-c", "safe.directory=*"]).args(args));
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    // The pages themselves are changed by every run and say nothing about the code.
    let pages = [":!docs/figures.md", ":!docs/mutants.md"];
    let dirty = !git(&[&["status", "--porcelain", "--", "."][..], &pages].concat())?.trim().is_empty();
    let date = sh::capture(sh::program("date").args(["-u", "+%Y-%m-%d %H:%M UTC"]))?;
    let dirty = if dirty { " with uncommitted changes" } else { "" };
    Ok((format!("{}{dirty}", commit.trim()), date.trim().to_owned()))
}

fn head() -> String {
    let cores = std::thread::available_parallelism().map_or_else(|_| "?".into(), |n| n.to_string());
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_else(|_| "unknown".into());
    format!(
        "# Figures\n\n\
         Written by `cargo xtask figures`; do not edit. Each figure stands with the load average (one minute) of the\n\
         machine when it was taken, and with the number of rounds: on a loaded machine times are pessimistic. A time is\n\
         from the fault until the last fulcrum that lives has the view on which all agree, by the stamps of their own\n\
         events. Peers' figures are from the study behind the design, on two cores in network namespaces as well. How fast\n\
         the machine was stands above each table, as the time of a step of plain arithmetic and of a datagram: a virtual\n\
         machine is not the same every hour.\n\n\
         | | |\n|---|---|\n| cores | {cores} |\n| memory | {} |\n| kernel | {} |\n",
        memory(),
        kernel.trim(),
    )
}

fn table(rows: &[Row]) -> String {
    let mut text = String::from("| figure | value | unit | target | load | how |\n|---|---:|---|---|---:|---|\n");
    for row in rows {
        let cells = [&row.name, &row.value, &row.unit, &row.target, &row.load, &row.note].map(|c| cell(c));
        let _ =
            writeln!(text, "|{}|", cells.map(|c| if c.is_empty() { " ".into() } else { format!(" {c} ") }).join("|"));
    }
    text
}

/// Text that cannot break a table.
fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

/// The load average over the last minute, as the kernel prints it.
fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().unwrap_or("?").to_owned()
}

fn memory() -> String {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = text.lines().find_map(|l| l.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse::<u64>().ok());
    kib.map_or_else(|| "unknown".into(), |k| format!("{:.1} GiB", k as f64 / 1024.0 / 1024.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_kept_as_it_stands() {
        let page = "# Figures\n\n## A\n\none\n\n## A flock\n\ntwo\n";
        assert_eq!(section(page, "A").as_deref(), Some("\none\n"));
        assert_eq!(section(page, "A flock").as_deref(), Some("\ntwo\n"));
        assert_eq!(section(page, "B"), None);
    }

    #[test]
    fn only_what_was_taken_changes() {
        let first = joined("", &[("Binary", "one".into())]);
        let second = joined(&first, &[("Code", "two".into())]);
        assert_eq!(section(&second, "Binary").as_deref(), Some("\none\n"));
        assert_eq!(section(&second, "Code").as_deref(), Some("\ntwo\n"));
        let untaken = "\nNot taken yet: `cargo xtask figures --only dependencies`.\n";
        assert_eq!(section(&second, "Dependencies").as_deref(), Some(untaken));
    }

    #[test]
    fn a_row_cannot_break_the_table() {
        let row = Row { load: "0.5".into(), ..Row::new("a|b", "1", "", "two\nlines") };
        let text = table(&[row.target("<= 2")]);
        assert_eq!(text.lines().nth(2), Some("| a\\|b | 1 | | <= 2 | 0.5 | two lines |"));
        assert_eq!(text.lines().count(), 3);
    }
}
