//! `cargo xtask tidy`: the project's own rules, those that no compiler checks. It is also a test.
//!
//! A rule is a function from the tracked files to findings; each has tests that break it on purpose.

mod dependencies;
mod documents;
mod layers;
pub mod manifest;
pub mod source;
mod text;

use crate::{mutants, sh};
use std::path::PathBuf;

pub const HELP: &str = "\
cargo xtask tidy

Checks the tracked (and not ignored) files, reading only:
  words      no unfinished work, no sleeping in tests without `// waits:`, no tabs, no trailing blanks
  files      at most 900 lines of Rust; each crate begins with its documentation
  layers     which crate may know which, where tokio and sockets may be, and the arrows inside crux-core
  heart      crux-core names no `std`, no hash-ordered map, no clock
  documents  each dependency has its row, each decision is listed
  mutants    each mutant of `cargo xtask mutants` applies exactly once
  places     no path of a machine, no host but those that documentation may name";

/// What the rules look at: every file's path from the root, with `/`, and its text. Binary files are not in it.
pub struct Tree {
    /// The root, for the rule that it is written nowhere.
    pub root: PathBuf,
    /// Sorted by path.
    pub files: Vec<File>,
}

/// One text file.
pub struct File {
    /// From the repository's root.
    pub path: String,
    /// As it stands on the disk.
    pub text: String,
}

impl File {
    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Generated files are committed and checked by a test of their generator, not by rules of style.
    pub fn is_generated(&self) -> bool {
        self.text.lines().take(5).any(|line| line.contains("@generated"))
    }
}

impl Tree {
    /// The file with this path, if there is one.
    pub fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|f| f.path == path)
    }

    /// The Rust files below a folder (given with its closing `/`) that people write.
    pub fn rust_below<'a>(&'a self, folder: &'a str) -> impl Iterator<Item = &'a File> {
        self.files.iter().filter(move |f| f.is_rust() && f.path.starts_with(folder) && !f.is_generated())
    }

    /// Everything git tracks or would track.
    pub fn load() -> sh::Result<Tree> {
        let root = sh::root();
        // A checkout may belong to somebody else than who checks it (containers): reading it is safe.
        let mut git = sh::program("git");
        git.args(["-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
        let mut paths: Vec<String> = sh::capture(&mut git)?.split_terminator('\0').map(str::to_owned).collect();
        paths.sort();
        paths.dedup();
        let mut files = Vec::new();
        for path in paths {
            // A deleted file is still listed until that is committed.
            let Ok(bytes) = std::fs::read(root.join(&path)) else { continue };
            if let Ok(text) = String::from_utf8(bytes) {
                files.push(File { path, text });
            }
        }
        Ok(Tree { root, files })
    }
}

/// Where a rule is broken, and what to do about it.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    path: String,
    line: usize,
    what: String,
}

impl Finding {
    /// `line` counts from 1; 0 means the whole file.
    pub fn new(path: &str, line: usize, what: impl Into<String>) -> Finding {
        Finding { path: path.to_owned(), line, what: what.into() }
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.what),
            line => write!(f, "{}:{line}: {}", self.path, self.what),
        }
    }
}

/// A rule appends what it finds.
type Rule = fn(&Tree, &mut Vec<Finding>);

const RULES: &[Rule] = &[
    text::no_unfinished_work,
    text::no_stray_blanks,
    text::no_machine_paths,
    text::only_known_hosts,
    source::files_are_short,
    source::crates_begin_with_words,
    source::tests_wait_for_conditions,
    source::heart_has_no_world,
    layers::crates_know_only_what_they_may,
    layers::io_stays_outside,
    layers::heart_arrows_go_one_way,
    dependencies::each_has_its_row,
    documents::decisions_are_listed,
    documents::promises_are_all_there,
    mutants::each_applies,
];

fn findings(tree: &Tree) -> Vec<Finding> {
    let mut found = Vec::new();
    for rule in RULES {
        rule(tree, &mut found);
    }
    found
}

/// # Errors
/// Each finding on a line of its own, if there is any.
pub fn check_repository() -> sh::Result<()> {
    let tree = Tree::load()?;
    let found = findings(&tree);
    if found.is_empty() {
        eprintln!("tidy: {} files, {} rules, nothing found", tree.files.len(), RULES.len());
        return Ok(());
    }
    let lines: Vec<String> = found.iter().map(Finding::to_string).collect();
    Err(format!("{} findings\n{}", lines.len(), lines.join("\n")))
}

/// # Errors
/// When an argument is given or something is found.
pub fn run(args: &[String]) -> sh::Result<()> {
    if let Some(arg) = args.first() {
        return Err(format!("`{arg}`: tidy takes no arguments"));
    }
    check_repository()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_is_tidy() {
        if let Err(why) = check_repository() {
            panic!("{why}");
        }
    }
}

/// For the rules' own tests.
#[cfg(test)]
mod testing {
    use super::{File, Finding, Rule, Tree};

    /// A tree of these files.
    pub fn tree(files: &[(&str, &str)]) -> Tree {
        let files = files.iter().map(|(path, text)| File { path: (*path).into(), text: (*text).into() }).collect();
        Tree { root: "/somewhere/checkout".into(), files }
    }

    /// What one rule says about these files, as `path:line`.
    pub fn places(rule: Rule, files: &[(&str, &str)]) -> Vec<String> {
        let mut found: Vec<Finding> = Vec::new();
        rule(&tree(files), &mut found);
        found.iter().map(|f| format!("{}:{}", f.path, f.line)).collect()
    }
}
