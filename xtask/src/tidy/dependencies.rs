//! docs/dependencies.md says why each dependency is here.

use super::{Finding, Tree, manifest};

const PAGE: &str = "docs/dependencies.md";

/// Each dependency of the workspace has a row with its version, and no row is of one that is gone.
pub fn each_has_its_row(tree: &Tree, found: &mut Vec<Finding>) {
    let Some(root) = tree.file("Cargo.toml") else { return };
    let Some(page) = tree.file(PAGE) else {
        found.push(Finding::new(PAGE, 0, "is missing: it says of each dependency why it is here"));
        return;
    };
    let rows = rows(&page.text);
    let wanted = manifest::workspace_dependencies(&root.text);
    for entry in wanted.iter().filter(|e| !e.is_path()) {
        let version = entry.version().unwrap_or("");
        match rows.iter().find(|(_, name, _)| *name == entry.name) {
            None => found.push(Finding::new(
                &root.path,
                entry.line,
                format!("`{}` has no row in {PAGE}: say what it is for and why this one", entry.name),
            )),
            Some((line, _, written)) if *written != version => found.push(Finding::new(
                PAGE,
                *line,
                format!("`{}`: the row says {written}, Cargo.toml says {version}", entry.name),
            )),
            Some(_) => {}
        }
    }
    for (line, name, _) in rows {
        if !wanted.iter().any(|e| e.name == name) {
            found.push(Finding::new(PAGE, line, format!("`{name}` is no dependency of the workspace: remove the row")));
        }
    }
}

/// Line, name and version of each row whose first cell is a name in backticks.
fn rows(text: &str) -> Vec<(usize, &str, &str)> {
    let mut all = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let mut cells = line.strip_prefix('|').into_iter().flat_map(|l| l.split('|')).map(str::trim);
        if let (Some(first), Some(version)) = (cells.next(), cells.next())
            && let Some(name) = first.strip_prefix('`').and_then(|n| n.strip_suffix('`'))
        {
            all.push((index + 1, name, version));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::super::testing::places;
    use super::*;

    #[test]
    fn a_dependency_without_its_row_is_found_and_so_is_a_stale_row() {
        let manifest =
            "[workspace.dependencies]\nown = { path = \"x\" }\na = \"1.2\"\nb = { version = \"2\" }\nc = \"3\"\n";
        let page = "| crate | version |\n|---|---|\n| `a` | 1.2 | x |\n| `b` | 1 | x |\n| `d` | 4 | x |\n";
        let found = places(each_has_its_row, &[("Cargo.toml", manifest), (PAGE, page)]);
        assert_eq!(found, ["docs/dependencies.md:4", "Cargo.toml:5", "docs/dependencies.md:5"]);
        assert_eq!(places(each_has_its_row, &[("Cargo.toml", manifest)]), ["docs/dependencies.md:0"]);
    }
}
