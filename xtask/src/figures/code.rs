//! Figures of the code itself: how much there is, what it leans on, how big it becomes.

use super::Row;
use crate::sh;
use crate::tidy::{Tree, source};
use std::collections::{BTreeMap, BTreeSet};

/// The size of the release binary, built the way a user builds it.
pub fn binary() -> sh::Result<Vec<Row>> {
    sh::run(&mut sh::cargo(["build", "--release", "--workspace", "--bins", "--locked"]))?;
    let path = sh::target_dir()?.join("release/crux");
    let bytes = std::fs::metadata(&path).map_err(|e| format!("cannot look at {}: {e}", path.display()))?.len();
    let size = format!("{:.1}", bytes as f64 / 1e6);
    Ok(vec![Row::new("release binary `crux`", size, "MB", "stripped, `cargo build --release`").target("<= 30")])
}

/// How many packages others wrote.
pub fn dependencies() -> sh::Result<Vec<Row>> {
    let tree = |edges: &str| -> sh::Result<BTreeSet<String>> {
        let args = ["tree", "--locked", "--package", "crux-cli", "--prefix", "none", "--edges", edges];
        let text = sh::capture(&mut sh::cargo(args))?;
        // One package a line: `name v1.2.3 (/place) (*)`; ours have a place.
        Ok(text.lines().filter(|l| !l.contains("(/")).filter_map(name_and_version).collect())
    };
    let named = std::fs::read_to_string(sh::root().join("Cargo.toml")).map_err(|e| format!("Cargo.toml: {e}"))?;
    let named = crate::tidy::manifest::workspace_dependencies(&named).iter().filter(|e| !e.is_path()).count();
    Ok(vec![
        Row::new(
            "dependencies named by the workspace",
            named.to_string(),
            "",
            "each has its row in docs/dependencies.md",
        ),
        Row::new("packages in the binary", tree("normal")?.len().to_string(), "", "`cargo tree -e normal`, this host"),
        Row::new("with what builds them", tree("normal,build")?.len().to_string(), "", "`cargo tree -e normal,build`"),
    ])
}

fn name_and_version(line: &str) -> Option<String> {
    let mut words = line.split_whitespace();
    Some(format!("{} {}", words.next()?, words.next()?))
}

/// Lines and unsafe blocks of each crate.
pub fn lines() -> sh::Result<Vec<Row>> {
    let tree = Tree::load()?;
    let mut crates: BTreeMap<String, Count> = BTreeMap::new();
    for file in tree.rust_below("") {
        let of = match file.path.split('/').collect::<Vec<_>>().as_slice() {
            ["crates", name, ..] => (*name).to_owned(),
            [first, ..] => (*first).to_owned(),
            [] => continue,
        };
        crates.entry(of).or_default().add(&file.path, &file.text);
    }
    let mut rows = Vec::new();
    let mut all = Count::default();
    for (name, count) in crates {
        all.code += count.code;
        all.tests += count.tests;
        all.unsafes += count.unsafes;
        rows.push(Row::new(format!("`{name}`"), count.code.to_string(), "lines", count.note()));
    }
    rows.push(Row::new("all", all.code.to_string(), "lines", all.note()));
    Ok(rows)
}

/// Lines that hold code: no blank ones, no comments.
#[derive(Default)]
struct Count {
    code: usize,
    tests: usize,
    unsafes: usize,
}

impl Count {
    fn add(&mut self, path: &str, text: &str) {
        let code = source::code_only(text);
        let tests_begin = if source::is_test_file(path) { 0 } else { source::tests_begin(text) };
        for (index, line) in code.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
            *(if index < tests_begin { &mut self.code } else { &mut self.tests }) += 1;
            self.unsafes += source::words(line).filter(|w| *w == "unsafe").count();
        }
    }

    fn note(&self) -> String {
        format!("and {} lines of tests; `unsafe` {} times", self.tests, self.unsafes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_tests_and_unsafe_are_counted_apart() {
        let text = "//! unsafe\n\nfn f() { unsafe { g() } } // unsafe_code\n#[cfg(test)]\nmod tests {\n    // x\n}\n";
        let mut count = Count::default();
        count.add("crates/a/src/lib.rs", text);
        assert_eq!((count.code, count.tests, count.unsafes), (1, 3, 1));
        count.add("crates/a/tests/t.rs", "fn g() {}\n");
        assert_eq!((count.code, count.tests), (1, 4));
    }

    #[test]
    fn packages_are_counted_by_name_and_version() {
        assert_eq!(name_and_version("syn v2.0.1 (proc-macro) (*)").as_deref(), Some("syn v2.0.1"));
        assert_eq!(name_and_version(""), None);
    }
}
