//! Rules about any text file.

use super::{File, Finding, Tree};

/// The marks of unfinished work, in pieces so that this file does not hold them.
const UNFINISHED: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X:"),
    concat!("to", "do!("),
    concat!("unimple", "mented!("),
    concat!("db", "g!("),
];

pub fn no_unfinished_work(tree: &Tree, found: &mut Vec<Finding>) {
    for file in tree.files.iter().filter(|f| is_ours(f)) {
        for (index, line) in file.text.lines().enumerate() {
            if let Some(mark) = UNFINISHED.iter().find(|m| line.contains(**m)) {
                found.push(Finding::new(
                    &file.path,
                    index + 1,
                    format!("`{mark}`: finish it, or say plainly what is not done yet"),
                ));
            }
        }
    }
}

/// The kinds of files whose blanks mean nothing.
const PLAIN: &[&str] = &[".rs", ".md", ".toml", ".proto", ".sh", ".yaml", ".yml", ".html", ".css", ".js", "/run"];

pub fn no_stray_blanks(tree: &Tree, found: &mut Vec<Finding>) {
    for file in tree.files.iter().filter(|f| is_ours(f) && PLAIN.iter().any(|end| f.path.ends_with(end))) {
        for (index, line) in file.text.split('\n').enumerate() {
            if line.ends_with([' ', '\t', '\r']) {
                found.push(Finding::new(&file.path, index + 1, "blanks at the end of the line"));
            }
            if file.is_rust() && line.contains('\t') {
                found.push(Finding::new(&file.path, index + 1, "a tab"));
            }
        }
        if !file.text.is_empty() && !file.text.ends_with('\n') {
            found.push(Finding::new(&file.path, 0, "no newline at the end"));
        }
    }
}

/// The first folders of any Unix machine: naming one of them tells nothing about the machine this was written on.
const COMMON_FOLDERS: &[&str] = &[
    "bin", "boot", "dev", "etc", "home", "lib", "media", "mnt", "opt", "proc", "root", "run", "sbin", "srv", "sys",
    "tmp", "usr", "var",
];

/// No file may depend on where its author's checkout or home stands.
pub fn no_machine_paths(tree: &Tree, found: &mut Vec<Finding>) {
    let root = tree.root.to_string_lossy().into_owned();
    let mut paths: Vec<String> =
        [concat!("/ho", "me/"), concat!("/Us", "ers/"), concat!("/ro", "ot/")].map(String::from).into();
    paths.push(root.clone());
    if let Some(first) = root.split('/').nth(1)
        && !COMMON_FOLDERS.contains(&first)
    {
        paths.push(format!("/{first}/"));
    }
    for file in tree.files.iter().filter(|f| is_ours(f)) {
        for (index, line) in file.text.lines().enumerate() {
            if let Some(path) = paths.iter().find(|path| begins_a_path(line, path)) {
                found.push(Finding::new(&file.path, index + 1, format!("a path of a machine: `{path}`")));
            }
        }
    }
}

/// Whether `path` stands in the line as the beginning of an absolute path, not as the middle of a relative one.
fn begins_a_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        !line[..at]
            .ends_with(|c: char| c.is_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | '}' | '>' | '*' | '~'))
    })
}

/// Hosts that documentation and manifests may name. A new one is a decision: add it here.
const HOSTS: &[&str] = &[
    "c2sp.org",
    "doc.rust-lang.org",
    "docs.rs",
    "github.com",
    "keepachangelog.com",
    "semver.org",
    "spiffe.io",
    "www.apache.org",
    "www.rfc-editor.org",
    "www.w3.org",
];

/// Endings that are reserved for examples and private use, so that no such host is a real one.
const PRIVATE_ENDINGS: &[&str] =
    &[".example", ".test", ".invalid", ".internal", ".localhost", "example.com", "example.org"];

/// A URL in the repository leads to documentation, to an example or to the machine itself; never to a registry, a
/// mirror or a build machine.
pub fn only_known_hosts(tree: &Tree, found: &mut Vec<Finding>) {
    for file in tree.files.iter().filter(|f| is_ours(f)) {
        for (index, line) in file.text.lines().enumerate() {
            for host in hosts(line).filter(|h| !is_known(h)) {
                found.push(Finding::new(
                    &file.path,
                    index + 1,
                    format!(
                        "the host `{host}` is not one that the repository names (xtask/src/tidy/text.rs lists them)"
                    ),
                ));
            }
        }
    }
}

fn hosts(line: &str) -> impl Iterator<Item = &str> {
    ["http://", "https://"].into_iter().flat_map(move |scheme| {
        line.split(scheme).skip(1).map(|rest| {
            let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-'))).unwrap_or(rest.len());
            rest[..end].trim_end_matches('.')
        })
    })
}

fn is_known(host: &str) -> bool {
    let no_name = !host.contains('.') || host.parse::<std::net::Ipv4Addr>().is_ok();
    no_name || HOSTS.contains(&host) || PRIVATE_ENDINGS.iter().any(|end| host.ends_with(end))
}

/// The lock file names its registry in every entry, and the licences are others' texts.
fn is_ours(file: &File) -> bool {
    !file.path.ends_with("Cargo.lock") && !file.path.starts_with("LICENSE-")
}

#[cfg(test)]
mod tests {
    use super::super::testing::places;
    use super::*;

    #[test]
    fn every_mark_of_unfinished_work_is_found() {
        for mark in UNFINISHED {
            assert_eq!(places(no_unfinished_work, &[("a.md", &format!("x\n{mark} later\n"))]), ["a.md:2"]);
        }
        assert!(places(no_unfinished_work, &[("a.md", "the method is done\n")]).is_empty());
    }

    #[test]
    fn stray_blanks_are_found() {
        let files = [("a.rs", "x \n\ty\n"), ("b.md", "x\ty\nz"), ("c.md", "x\r\n"), ("c.txt", "x \n"), ("d.rs", "x\n")];
        assert_eq!(places(no_stray_blanks, &files), ["a.rs:1", "a.rs:2", "b.md:0", "c.md:1"]);
    }

    #[test]
    fn the_checkouts_own_place_is_found() {
        let files = [
            ("a.md", "see /somewhere/checkout/x\n"),
            ("b.md", concat!("cd /ho", "me/jo\n")),
            ("c.md", concat!("src/ro", "ot/x, $HOME/checkout, crates", "/ho", "me/y\n")),
            ("Cargo.lock", "/somewhere/checkout\n"),
        ];
        assert_eq!(places(no_machine_paths, &files), ["a.md:1", "b.md:1"]);
    }

    #[test]
    fn a_strange_host_is_found() {
        let strange = concat!("see htt", "ps://mirror.corp.net/x and htt", "p://10.0.0.1:80/\n");
        let fine = concat!(
            "htt",
            "ps://docs.rs/x, htt",
            "p://localhost:1, htt",
            "p://{addr}/, htt",
            "ps://n1.crux.internal.\n"
        );
        assert_eq!(places(only_known_hosts, &[("a.md", strange), ("b.md", fine)]), ["a.md:1"]);
    }
}
