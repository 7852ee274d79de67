//! `cargo xtask figures`: measures, and writes docs/figures.md with commit, machine, load and date.
//!
//! To add figures: write a function from nothing to rows and name it in `SOURCES`. What needs real processes belongs
//! into the lab's program instead, whose rows are taken over as they are (see `lab`).

mod code;
mod lab;

use crate::sh;
use std::fmt::Write as _;

pub const HELP: &str = "\
cargo xtask figures [--no-build] [--print]

Measures and writes docs/figures.md: every figure with its unit, its target, the machine's load when it was
taken, and for all of them the commit, the machine and the date. Figures that could not be taken are listed
with the reason. If crux-lab has a binary `figures`, it is run with `--json`; it prints an array of
  {\"name\", \"value\", \"unit\", \"target\", \"note\", \"load\"}
(`target`, `note` and `load` may be null or missing), one row each.

  --no-build  take only figures that need no release build
  --print     print the page instead of writing it";

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

/// A group of figures: its heading, whether it needs a release build, and what takes them.
struct Source {
    heading: &'static str,
    builds: bool,
    take: fn() -> sh::Result<Vec<Row>>,
}

const SOURCES: &[Source] = &[
    Source { heading: "Behaviour", builds: true, take: lab::rows },
    Source { heading: "Binary", builds: true, take: code::binary },
    Source { heading: "Dependencies", builds: false, take: code::dependencies },
    Source { heading: "Code", builds: false, take: code::lines },
];

/// # Errors
/// When an argument is unknown or the page cannot be written. A figure that cannot be taken is no error: the page
/// says why.
pub fn run(args: &[String]) -> sh::Result<()> {
    let (mut build, mut print) = (true, false);
    for arg in args {
        match arg.as_str() {
            "--no-build" => build = false,
            "--print" => print = true,
            other => return Err(format!("`{other}` is unknown; `cargo xtask figures --help`")),
        }
    }
    let mut page = head()?;
    for source in SOURCES {
        let _ = write!(page, "\n## {}\n\n", source.heading);
        if source.builds && !build {
            page.push_str("Not taken: `--no-build` was given.\n");
            continue;
        }
        eprintln!("== {}", source.heading);
        match (source.take)() {
            Ok(rows) => page.push_str(&table(&rows)),
            Err(why) => {
                eprintln!("{why}");
                let _ = writeln!(page, "Not taken: {}.", cell(&why).trim_end_matches('.'));
            }
        }
    }
    if print {
        print!("{page}");
        return Ok(());
    }
    let path = sh::root().join("docs/figures.md");
    std::fs::write(&path, page).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
    eprintln!("wrote docs/figures.md");
    Ok(())
}

fn head() -> sh::Result<String> {
    let git = |args: &[&str]| sh::capture(sh::program("git").args(["-c", "safe.directory=*"]).args(args));
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    // The page itself is changed by every run and says nothing about the code.
    let dirty = !git(&["status", "--porcelain", "--", ".", ":!docs/figures.md"])?.trim().is_empty();
    let date = sh::capture(sh::program("date").args(["-u", "+%Y-%m-%d %H:%M UTC"]))?;
    let cores = std::thread::available_parallelism().map_or_else(|_| "?".into(), |n| n.to_string());
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_else(|_| "unknown".into());
    Ok(format!(
        "# Figures\n\n\
         Written by `cargo xtask figures`; do not edit. Each figure stands with the load average (one minute) of the\n\
         machine when it was taken: on a loaded machine times are pessimistic.\n\n\
         | | |\n|---|---|\n\
         | commit | {}{} |\n| date | {} |\n| cores | {cores} |\n| memory | {} |\n| kernel | {} |\n| load at the start | {} |\n",
        commit.trim(),
        if dirty { ", with uncommitted changes" } else { "" },
        date.trim(),
        memory(),
        kernel.trim(),
        load(),
    ))
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
    fn a_row_cannot_break_the_table() {
        let row = Row { load: "0.5".into(), ..Row::new("a|b", "1", "", "two\nlines") };
        let text = table(&[row.target("<= 2")]);
        assert_eq!(text.lines().nth(2), Some("| a\\|b | 1 | | <= 2 | 0.5 | two lines |"));
        assert_eq!(text.lines().count(), 3);
    }
}
