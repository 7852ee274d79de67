//! Every place in the sources that reads bytes or texts of others has a target, or a reason why it needs none.
//!
//! Found are functions that are called as readers are called here (`decode`, `parse`, `read`, …), and every use of
//! somebody else's reader (protobuf, JSON, TOML, DER, PEM, numbers from bytes). `decoders.txt` names each of them. A
//! reader under another name that takes bytes apart by hand is not found by this: its author has to know the rule.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The crates whose bytes come from elsewhere. The simulator, the lab and the chores read their own.
const CRATES: &[&str] = &["crux-names", "crux-core", "crux-pki", "crux-link", "crux-api", "crux-node", "crux-cli"];
/// Names of readers; those that end in `_` begin so.
const READERS: &[&str] = &[
    "decode",
    "decode_",
    "decoded",
    "deserialize",
    "from_hex",
    "from_pem",
    "from_str",
    "from_tar",
    "parse",
    "parse_",
    "read",
    "read_",
    "try_from",
    "vouched",
];
/// Uses of somebody else's reader.
const USES: &[&str] = &[
    "::decode(",
    "serde_json::from_",
    "toml::from_",
    "DeTable::parse",
    "::from_der(",
    "from_pem_slice(",
    "pem_slice_iter(",
    "from_be_bytes(",
    "from_str_radix(",
    "Query<",
    "Json<",
];

fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("crates/").to_owned()
}

fn sources(dir: &Path, all: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a source directory can be read").flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, all);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            all.push(path);
        }
    }
}

/// The code of a file that is in the program: without its tests and without comments.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().take_while(|line| line.trim() != "#[cfg(test)]").filter(|line| !line.trim_start().starts_with("//"))
}

/// The readers of a file, each in the words of `decoders.txt`.
fn readers(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in code(text) {
        if let Some((_, rest)) = line.split_once("fn ") {
            let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let is = |reader: &str| name == reader || reader.ends_with('_') && name.starts_with(reader);
            if READERS.iter().any(|reader| is(reader)) {
                found.insert(format!("fn {name}"));
            }
        }
        found.extend(USES.iter().filter(|mark| line.contains(**mark)).map(|mark| (*mark).to_owned()));
    }
    found
}

/// Every reader with its file.
fn all() -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    for name in CRATES {
        let mut files = Vec::new();
        sources(&crates().join(name).join("src"), &mut files);
        for file in files {
            let path = file.strip_prefix(crates()).expect("under crates/").to_string_lossy().into_owned();
            // Doors of the targets, tests, and what a generator wrote (its messages have a target by name).
            let skipped = ["/fuzz.rs", "/tests.rs", "/crux.v1.rs"].iter().any(|end| path.ends_with(end));
            if skipped || path.contains("/corpus/") {
                continue;
            }
            let text = fs::read_to_string(&file).expect("a source file can be read");
            found.extend(readers(&text).into_iter().map(|reader| (path.clone(), reader)));
        }
    }
    found
}

/// What stands in `decoders.txt`: file and reader, then the target or a reason.
fn listed() -> BTreeMap<(String, String), String> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("decoders.txt")).expect("decoders.txt");
    let mut all = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
        let mut cells = line.split('|').map(str::trim);
        let (Some(path), Some(reader), Some(by), None) = (cells.next(), cells.next(), cells.next(), cells.next())
        else {
            panic!("not `file | reader | target or - reason`: {line}");
        };
        let before = all.insert((path.to_owned(), reader.to_owned()), by.to_owned());
        assert!(before.is_none(), "twice: {line}");
    }
    all
}

#[test]
fn every_reader_has_a_target_or_a_reason() {
    let (found, listed) = (all(), listed());
    let missing: Vec<String> = found
        .iter()
        .filter(|reader| !listed.contains_key(reader))
        .map(|(path, what)| format!("{path} | {what} | "))
        .collect();
    assert!(
        missing.is_empty(),
        "these read bytes or texts; give each a target in crux-fuzz and a line in decoders.txt, or a line with `-` and \
         why it needs none:\n{}",
        missing.join("\n")
    );
    let gone: Vec<_> = listed.keys().filter(|reader| !found.contains(reader)).collect();
    assert!(gone.is_empty(), "decoders.txt lists what is not there any more: {gone:#?}");
}

#[test]
fn what_is_listed_is_a_target_and_every_target_is_listed() {
    // A target that stands in a binary crate: crux-cli has no library.
    let beside = ["crux-cli:settings"];
    let known: BTreeSet<&str> = crux_fuzz::all().iter().map(|target| target.name).chain(beside).collect();
    let mut used = BTreeSet::new();
    for ((path, reader), by) in listed() {
        match by.strip_prefix('-') {
            Some(reason) => assert!(reason.trim().len() > 10, "{path} | {reader}: no reason"),
            None => {
                for name in by.split(',').map(str::trim) {
                    let name = known.get(name).unwrap_or_else(|| panic!("{path} | {reader}: no target {name:?}"));
                    used.insert(*name);
                }
            }
        }
    }
    // These read with code that the rules above do not find by name.
    let by_hand = BTreeSet::from([
        "health_answer",
        "file_answer",
        "peer_words",
        "event_stream",
        "dev_files",
        "grpc",
        "store_file",
    ]);
    let unlisted: Vec<_> = known.iter().filter(|name| !used.contains(**name) && !by_hand.contains(**name)).collect();
    assert!(unlisted.is_empty(), "no reader is listed with these: {unlisted:?}");
}

/// A message of peers that has lists is only read with its entries counted (`crux-core/src/lists.rs`), and stands in no
/// other message but as bytes, for that one would be decoded with all of it.
#[test]
fn lists_of_peers_are_counted_before_they_are_read() {
    let core = crates().join("crux-core/src");
    let mut files = vec![core.join("flock/view.rs")];
    sources(&core.join("wire"), &mut files);
    let text: String = files.iter().map(|file| fs::read_to_string(file).expect("a source file can be read")).collect();
    // Written, to be hashed, and never read.
    let never_read = ["RosterWire"];
    let mut found = 0;
    for part in text.split("struct ").skip(1) {
        let Some((name, body)) = part.split_once(" {") else { continue };
        let body = &body[..body.find("\n}").unwrap_or(body.len())];
        if !["repeated", "map = "].iter().any(|word| body.contains(word)) || never_read.contains(&name) {
            continue;
        }
        found += 1;
        assert!(text.contains(&format!("impl Listing for {name} {{")), "{name} has lists that nobody counts");
        for inside in [format!("Option<{name}>"), format!("({name}),")] {
            assert!(!text.contains(&inside), "`{inside}`: whoever decodes around {name} decodes its lists; take Bytes");
        }
    }
    assert_eq!(found, text.matches("impl Listing for ").count());
}

#[test]
fn readers_are_found_and_tests_are_not() {
    let text = "pub fn decode(x: &[u8]) {}\n    fn read_pairs(w: W) {}\n// fn parse()\nlet m = Row::decode(v);\nfn reader() {}\n\
                #[cfg(test)]\nfn parse() {}\n";
    let expected: BTreeSet<String> = ["fn decode", "fn read_pairs", "::decode("].map(str::to_owned).into();
    assert_eq!(readers(text), expected);
}
