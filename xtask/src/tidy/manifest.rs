//! As much of a Cargo.toml as the rules need: which sections it has and which keys they hold.

/// A dependency, as a manifest names it.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// The crate's name as the manifest writes it.
    pub name: String,
    /// What stands right of the `=`; empty for a section of its own.
    pub value: String,
    /// The line, from 1.
    pub line: usize,
    /// Only for tests, benches and examples.
    pub dev: bool,
}

impl Entry {
    /// The version that the entry asks for, if it names one.
    pub fn version(&self) -> Option<&str> {
        let after = if self.value.starts_with('"') {
            self.value.as_str()
        } else {
            let at = self.value.find("version")?;
            self.value[at..].split_once('=')?.1
        };
        after.split('"').nth(1)
    }

    /// Whether the entry is a crate of this repository.
    pub fn is_path(&self) -> bool {
        self.value.contains("path =") || self.value.contains("path=")
    }
}

/// The dependencies of a package's manifest: of every kind, for every target.
pub fn dependencies(text: &str) -> Vec<Entry> {
    entries(text, |section| {
        let last = section.rsplit('.').next().unwrap_or(section);
        let is_table = matches!(last, "dependencies" | "dev-dependencies" | "build-dependencies");
        (is_table && !section.starts_with("workspace")).then_some(last == "dev-dependencies")
    })
}

/// The entries of `[workspace.dependencies]`.
pub fn workspace_dependencies(text: &str) -> Vec<Entry> {
    entries(text, |section| (section == "workspace.dependencies").then_some(false))
}

/// `kind` says of a section whether it is wanted, and if so whether its entries are for tests only.
fn entries(text: &str, kind: impl Fn(&str) -> Option<bool>) -> Vec<Entry> {
    let mut all = Vec::new();
    let mut section = None;
    for (index, raw) in text.lines().enumerate() {
        let line = raw.trim();
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.split(']').next()) {
            section = kind(name);
            // `[dependencies.tokio]` is a section that is one entry.
            if let Some((table, name)) = name.rsplit_once('.')
                && let Some(dev) = kind(table)
            {
                all.push(Entry { name: unquote(name), value: String::new(), line: index + 1, dev });
            }
        } else if let (Some(dev), Some((key, value))) = (section, line.split_once('='))
            && !line.starts_with('#')
        {
            let name = key.split('.').next().unwrap_or(key);
            all.push(Entry { name: unquote(name), value: value.trim().to_owned(), line: index + 1, dev });
        }
    }
    all
}

fn unquote(key: &str) -> String {
    key.trim().trim_matches('"').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
[package]
name = \"a\"
[dependencies]
# b = \"1\"
c.workspace = true
d = { path = \"../d\" }
[dev-dependencies]
e = \"1.2\" # why
[target.'cfg(unix)'.dependencies]
f = { features = [\"x\"], version = \"3\" }
[dependencies.g]
version = \"4\"
[features]
h = []
[workspace.dependencies]
i = \"5\"
";

    #[test]
    fn every_way_to_write_a_dependency_is_read() {
        let found: Vec<(String, bool)> = dependencies(TEXT).into_iter().map(|e| (e.name, e.dev)).collect();
        let expected = [("c", false), ("d", false), ("e", true), ("f", false), ("g", false)];
        assert_eq!(found, expected.map(|(n, d)| (n.to_owned(), d)));
        let of_workspace: Vec<String> = workspace_dependencies(TEXT).into_iter().map(|e| e.name).collect();
        assert_eq!(of_workspace, ["i"]);
    }

    #[test]
    fn versions_and_paths_are_read() {
        let all = dependencies(TEXT);
        let by_name = |n: &str| all.iter().find(|e| e.name == n).expect("is listed");
        assert_eq!(by_name("e").version(), Some("1.2"));
        assert_eq!(by_name("f").version(), Some("3"));
        assert_eq!(by_name("c").version(), None);
        assert!(by_name("d").is_path() && !by_name("e").is_path());
    }
}
