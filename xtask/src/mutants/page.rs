//! docs/mutants.md: of each mutant which test noticed it last, and when.

use super::{Mutant, table};
use crate::sh;
use std::collections::BTreeMap;
use std::time::Duration;

const PATH: &str = "docs/mutants.md";
const HEAD: &str = "\
# Mutants

Written by `cargo xtask mutants --write`; do not edit. Each breaks one rule of flocking or of planning in one place
(`xtask/src/mutants/table.rs`); the first of its tests that notices it is named, with the time that building and testing took.
A mutant that nobody notices is a rule without a test. One that was never written here says *not run*.

| mutant | the rule that it breaks | what became of it | took | at |
|---|---|---|---:|---|
";

/// The page, by the mutants' names: what stands behind name and rule in each row.
pub struct Page(BTreeMap<String, String>);

impl Page {
    /// As it is on the disk, or empty.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn read() -> sh::Result<Page> {
        let path = sh::root().join(PATH);
        if !path.exists() {
            return Ok(Page(BTreeMap::new()));
        }
        let text = std::fs::read_to_string(&path).map_err(|e| format!("{PATH}: {e}"))?;
        Ok(Page::parse(&text))
    }

    fn parse(text: &str) -> Page {
        let rows = text.lines().filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.splitn(3, " | ");
            let name = cells.next()?.strip_suffix('`')?.to_owned();
            Some((name, cells.nth(1)?.to_owned()))
        });
        Page(rows.filter(|(_, rest)| !rest.starts_with("*not run*")).collect())
    }

    /// What became of one just now.
    ///
    /// # Errors
    /// When the commit or the date cannot be told.
    pub fn put(&mut self, mutant: &Mutant, outcome: &str, took: Duration) -> sh::Result<()> {
        let (commit, date) = crate::figures::commit()?;
        let at = format!("{commit}, {date}");
        let rest = format!("{} | {:.0} s | {at} |", outcome.replace('|', "\\|"), took.as_secs_f64());
        self.0.insert(mutant.name.to_owned(), rest);
        Ok(())
    }

    fn text(&self) -> String {
        let row = |mutant: &Mutant| {
            let rest = self.0.get(mutant.name).map_or("*not run* | | |", String::as_str);
            format!("| `{}` | {} | {rest}\n", mutant.name, mutant.rule.replace('|', "\\|"))
        };
        let rows: String = table::MUTANTS.iter().map(row).collect();
        format!("{HEAD}{rows}")
    }

    /// Puts it on the disk.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self) -> sh::Result<()> {
        std::fs::write(sh::root().join(PATH), self.text()).map_err(|e| format!("{PATH}: {e}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_are_not_taken_anew_stay_and_those_of_no_mutant_go() {
        let name = table::MUTANTS[0].name;
        let kept =
            format!("{HEAD}| `{name}` | old words | killed by x \\| y | 90 s | then |\n| `gone` | r | a | b | c |\n");
        let text = Page::parse(&kept).text();
        assert!(text.contains("| killed by x \\| y | 90 s | then |\n") && !text.contains("gone"), "{text}");
        assert_eq!(Page::parse(&text).text(), text);
        assert_eq!(text.lines().filter(|line| line.ends_with("*not run* | | |")).count(), table::MUTANTS.len() - 1);
    }
}
