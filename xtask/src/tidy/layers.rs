//! Who may know whom: between crates, and inside the heart. ARCHITECTURE.md draws the same picture.

use super::source::{heart, words};
use super::{Finding, Tree, manifest};

/// A crate, and the crates of this repository that it may name. Tests may name more.
const MAY_KNOW: &[(&str, &[&str])] = &[
    ("crux-names", &[]),
    ("crux-core", &["crux-names"]),
    ("crux-pki", &["crux-names", "crux-core"]),
    ("crux-link", &["crux-names", "crux-core", "crux-pki"]),
    ("crux-api", &["crux-names", "crux-core", "crux-pki"]),
    ("crux-node", &["crux-names", "crux-core", "crux-pki", "crux-link", "crux-api"]),
    ("crux-cli", &["crux-names", "crux-pki", "crux-api", "crux-node"]),
    ("crux-sim", &["crux-names", "crux-core"]),
    ("crux-lab", &["crux-names", "crux-pki", "crux-api", "crux-sim"]),
    ("crux-fuzz", &["crux-names", "crux-core", "crux-pki", "crux-link", "crux-api", "crux-node"]),
    ("xtask", &[]),
];

pub fn crates_know_only_what_they_may(tree: &Tree, found: &mut Vec<Finding>) {
    for file in manifests(tree) {
        let name = crate_of(&file.path);
        let Some((_, may)) = MAY_KNOW.iter().find(|(n, _)| *n == name) else {
            found.push(Finding::new(
                &file.path,
                0,
                format!("the crate `{name}` has no room yet: say in xtask/src/tidy/layers.rs what it may know"),
            ));
            continue;
        };
        for entry in manifest::dependencies(&file.text).into_iter().filter(|e| !e.dev) {
            let ours = MAY_KNOW.iter().any(|(n, _)| *n == entry.name);
            if ours && !may.contains(&entry.name.as_str()) {
                found.push(Finding::new(&file.path, entry.line, format!("`{name}` may not know `{}`", entry.name)));
            }
            if name == "crux-names" && !ours {
                found.push(Finding::new(
                    &file.path,
                    entry.line,
                    format!(
                        "`crux-names` has no dependencies, so that it stays the words and no grab-bag: `{}`",
                        entry.name
                    ),
                ));
            }
        }
    }
}

/// Crates through which sockets, files, processes or a clock come in.
const IO: &[&str] =
    &["tokio", "tokio-stream", "quinn", "socket2", "rustix", "redb", "hyper", "hyper-util", "axum", "tonic"];

/// The crates that may have a runtime and sockets.
const OUTSIDE: &[&str] = &["crux-link", "crux-api", "crux-node", "crux-cli", "crux-lab"];

/// Also in tests: what decides is tested without a runtime.
pub fn io_stays_outside(tree: &Tree, found: &mut Vec<Finding>) {
    for file in manifests(tree) {
        let name = crate_of(&file.path);
        if OUTSIDE.contains(&name) {
            continue;
        }
        for entry in manifest::dependencies(&file.text) {
            if IO.contains(&entry.name.as_str()) {
                found.push(Finding::new(
                    &file.path,
                    entry.line,
                    format!("`{name}` does no IO, so it does not know `{}`", entry.name),
                ));
            }
        }
    }
}

/// The manifests of the workspace's members; the fuzz targets and the proof are workspaces of their own.
fn manifests(tree: &Tree) -> impl Iterator<Item = &super::File> {
    tree.files.iter().filter(|f| {
        let folder = f.path.strip_suffix("/Cargo.toml").unwrap_or("");
        folder == "xtask" || folder.strip_prefix("crates/").is_some_and(|c| !c.contains('/'))
    })
}

fn crate_of(manifest: &str) -> &str {
    manifest.trim_end_matches("/Cargo.toml").trim_start_matches("crates/")
}

/// The heart's rooms, each with the rooms it may not name:
/// `names <- {flock, facts, khan} <- services <- {wire, io} <- engine`, and `flock` and `facts` do not know each other.
const HEART: &[(&str, &[&str])] = &[
    ("flock", &["facts", "services", "wire", "io", "engine"]),
    ("facts", &["flock", "services", "wire", "io", "engine"]),
    ("khan", &["flock", "facts", "services", "wire", "io", "engine"]),
    ("services", &["wire", "io", "engine"]),
    ("wire", &["engine"]),
    ("io", &["engine"]),
];

/// The services. They do not know each other: they meet in facts and in the view.
const SERVICES: &[&str] = &[
    "boot",
    "genghis",
    "proctor",
    "dean",
    "picket",
    "heartbeat",
    "healthminder",
    "reeve",
    "steward",
    "pastiche",
    "muster",
    "access",
    "yurt",
];

pub fn heart_arrows_go_one_way(tree: &Tree, found: &mut Vec<Finding>) {
    for (file, code) in heart(tree) {
        let inside = file.path.trim_start_matches("crates/crux-core/src/").trim_end_matches(".rs");
        let mut rooms = inside.split('/');
        let room = rooms.next().unwrap_or("");
        let service = rooms.next().filter(|_| room == "services").filter(|s| SERVICES.contains(s));
        let Some((_, never)) = HEART.iter().find(|(r, _)| *r == room) else { continue };
        for (line, path) in paths(&code) {
            let path = resolve(inside, &path);
            let [first, rest @ ..] = path.as_slice() else { continue };
            if never.contains(&first.as_str()) {
                found.push(Finding::new(&file.path, line, format!("`{room}` may not know `{first}`")));
            }
            if let (Some(me), "services", Some(other)) = (service, first.as_str(), rest.first())
                && me != other
                && SERVICES.contains(&other.as_str())
            {
                found.push(Finding::new(
                    &file.path,
                    line,
                    format!(
                        "the services `{me}` and `{other}` do not know each other: they meet in facts and in the view"
                    ),
                ));
            }
        }
    }
}

/// A path from the crate's root, for one written in the module `inside` (`services/dean`): `super` goes up.
fn resolve(inside: &str, path: &[String]) -> Vec<String> {
    let mut from: Vec<String> = inside.split('/').filter(|m| *m != "mod").map(str::to_owned).collect();
    let mut rest = path;
    while let [first, more @ ..] = rest {
        match first.as_str() {
            "crate" => from.clear(),
            "super" => drop(from.pop()),
            "self" => {}
            _ => break,
        }
        rest = more;
    }
    from.extend_from_slice(rest);
    from
}

/// Every path in the code that begins with `crate` or `super`, with its line; groups in braces are opened.
fn paths(code: &str) -> Vec<(usize, Vec<String>)> {
    let tokens = tokens(code);
    let mut all = Vec::new();
    for at in 0..tokens.len() {
        let begins = matches!(tokens[at].1, "crate" | "super") && tokens.get(at + 1).is_some_and(|t| t.1 == "::");
        let inside = at > 0 && matches!(tokens[at - 1].1, "::");
        if begins && !inside {
            open(&tokens, at, &mut Vec::new(), &mut all);
        }
    }
    all
}

/// Follows one path, or one group of paths, from a token; returns the first token that is not part of it.
fn open(
    tokens: &[(usize, &str)],
    mut at: usize,
    before: &mut Vec<String>,
    all: &mut Vec<(usize, Vec<String>)>,
) -> usize {
    let depth = before.len();
    let line = tokens.get(at).map_or(0, |t| t.0);
    while let Some((_, token)) = tokens.get(at) {
        if *token == "{" {
            at += 1;
            while tokens.get(at).is_some_and(|t| t.1 != "}") {
                let next = open(tokens, at, before, all);
                // Whatever is not a path (a comma, `as name`, `*`) is stepped over.
                at = next.max(at + 1);
            }
            before.truncate(depth);
            return at + 1;
        }
        if words(token).next().is_none() {
            break;
        }
        before.push((*token).to_owned());
        at += 1;
        if tokens.get(at).is_none_or(|t| t.1 != "::") {
            break;
        }
        at += 1;
    }
    if before.len() > depth {
        all.push((line, before.clone()));
    }
    before.truncate(depth);
    at
}

/// Identifiers, `::` and single other characters, each with its line from 1.
fn tokens(code: &str) -> Vec<(usize, &str)> {
    let mut all = Vec::new();
    for (index, line) in code.lines().enumerate() {
        let mut rest = line;
        while let Some(c) = rest.chars().next() {
            let is_word = |c: char| c.is_alphanumeric() || c == '_';
            let length = if is_word(c) {
                rest.find(|c| !is_word(c)).unwrap_or(rest.len())
            } else if rest.starts_with("::") {
                2
            } else {
                c.len_utf8()
            };
            if !c.is_whitespace() {
                all.push((index + 1, &rest[..length]));
            }
            rest = &rest[length..];
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::super::testing::places;
    use super::*;

    #[test]
    fn a_crate_that_knows_too_much_is_found() {
        let files = [
            (
                "crates/crux-core/Cargo.toml",
                "[dependencies]\ncrux-names.workspace = true\ncrux-link.workspace = true\n",
            ),
            ("crates/crux-names/Cargo.toml", "[dependencies]\nserde.workspace = true\n[dev-dependencies]\nx = \"1\"\n"),
            ("crates/crux-pki/Cargo.toml", "[dev-dependencies]\ncrux-link.workspace = true\n"),
            ("crates/crux-new/Cargo.toml", ""),
            ("xtask/nostd-proof/Cargo.toml", "[dependencies]\ncrux-core = { path = \"x\" }\n"),
        ];
        let expected =
            ["crates/crux-core/Cargo.toml:3", "crates/crux-names/Cargo.toml:2", "crates/crux-new/Cargo.toml:0"];
        assert_eq!(places(crates_know_only_what_they_may, &files), expected);
    }

    #[test]
    fn a_runtime_inside_is_found_also_for_tests() {
        let tokio = "[dev-dependencies]\ntokio.workspace = true\n";
        let files = [("crates/crux-sim/Cargo.toml", tokio), ("crates/crux-node/Cargo.toml", tokio)];
        assert_eq!(places(io_stays_outside, &files), ["crates/crux-sim/Cargo.toml:2"]);
    }

    #[test]
    fn paths_are_read_through_groups() {
        let code = "use crate::{\n    flock::View,\n    facts::{self, Key as K},\n};\nfn f(x: super::dean::Y) -> a::crate_b {}";
        let written = |p: &[&str]| p.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        let found: Vec<Vec<String>> = paths(code).into_iter().map(|(_, p)| p).collect();
        assert!(found.contains(&written(&["crate", "flock", "View"])), "{found:?}");
        assert!(found.contains(&written(&["crate", "facts", "self"])), "{found:?}");
        assert!(found.contains(&written(&["crate", "facts", "Key"])), "{found:?}");
        assert!(found.contains(&written(&["super", "dean", "Y"])), "{found:?}");
    }

    #[test]
    fn arrows_against_the_stream_are_found() {
        let core = |path: &str| format!("crates/crux-core/src/{path}");
        let (flock, facts, dean, picket, engine, roles, wire) = (
            core("flock/view.rs"),
            core("facts/mod.rs"),
            core("services/dean.rs"),
            core("services/picket/journal.rs"),
            core("engine.rs"),
            core("services/roles.rs"),
            core("wire/mod.rs"),
        );
        let files = [
            (flock.as_str(), "use crate::hash::H;\nuse crate::{\n    hash,\n    facts::Key,\n};\n// crate::engine\n"),
            (facts.as_str(), "use super::flock::View;\nuse super::super::x;\n"),
            (
                dean.as_str(),
                "use super::roles::R;\nuse super::picket::P;\nuse crate::engine::E;\nuse crate::facts::F;\n",
            ),
            (picket.as_str(), "use super::super::dean::D;\nuse super::Child;\n"),
            (engine.as_str(), "use crate::services::dean::D;\nuse crate::flock::View;\n"),
            (roles.as_str(), "use crate::flock::View;\nuse super::dean::D;\n"),
            (wire.as_str(), "use crate::services::plan::Plan;\nuse crate::engine::Engine;\n"),
        ];
        let expected = [
            format!("{flock}:4"),
            format!("{facts}:1"),
            format!("{dean}:2"),
            format!("{dean}:3"),
            format!("{picket}:1"),
            format!("{wire}:2"),
        ];
        assert_eq!(places(heart_arrows_go_one_way, &files), expected);
    }

    #[test]
    fn tests_beside_the_code_are_not_asked() {
        let text = "fn f() {}\n#[cfg(test)]\nmod tests {\n    use crate::engine::E;\n}\n";
        assert!(places(heart_arrows_go_one_way, &[("crates/crux-core/src/wire.rs", text)]).is_empty());
        let code = text.replace("#[cfg(test)]\n", "");
        assert_eq!(places(heart_arrows_go_one_way, &[("crates/crux-core/src/wire.rs", &code)]).len(), 1);
    }
}
