//! Rules about Rust files, and the reading of Rust that they share.

use super::{File, Finding, Tree};

/// A file that is longer holds more than one subject.
const MOST_LINES: usize = 900;

pub fn files_are_short(tree: &Tree, found: &mut Vec<Finding>) {
    for file in tree.rust_below("") {
        let lines = file.text.lines().count();
        if lines > MOST_LINES {
            found.push(Finding::new(
                &file.path,
                0,
                format!("{lines} lines, more than {MOST_LINES}: it holds more than one subject; split it"),
            ));
        }
    }
}

pub fn crates_begin_with_words(tree: &Tree, found: &mut Vec<Finding>) {
    for file in tree.rust_below("") {
        let root = file.path.ends_with("/src/lib.rs") || file.path.ends_with("/src/main.rs");
        if root && !file.text.starts_with("//! ") {
            found.push(Finding::new(&file.path, 1, "a crate begins with `//! `: what it is for, in a sentence"));
        }
    }
}

/// A test that sleeps a fixed time is slow where it passes and flaky where the machine is loaded.
pub fn tests_wait_for_conditions(tree: &Tree, found: &mut Vec<Finding>) {
    let sleeps = ["thread::sleep(", "time::sleep(", "time::sleep_until("];
    for file in tree.rust_below("") {
        let all_tests = is_test_file(&file.path) || file.path.starts_with("crates/crux-lab/");
        let first = if all_tests { 0 } else { tests_begin(&file.text) };
        let lines: Vec<&str> = file.text.lines().collect();
        for (index, line) in code_only(&file.text).lines().enumerate().skip(first) {
            let excused = lines[index].contains("// waits:") || index > 0 && lines[index - 1].contains("// waits:");
            if sleeps.iter().any(|s| line.contains(s)) && !excused {
                found.push(Finding::new(
                    &file.path,
                    index + 1,
                    "a test sleeps: wait for a condition with a limit, or say `// waits: for what` beside it",
                ));
            }
        }
    }
}

/// What the heart may not name. Tests beside its code may.
const WORLD: &[(&str, &str)] = &[
    ("std", "the standard library"),
    ("HashMap", "a hash-ordered map; take BTreeMap"),
    ("HashSet", "a hash-ordered set; take BTreeSet"),
    ("SystemTime", "the wall clock; time comes in as `now`"),
    ("Instant", "a clock; time comes in as `now`"),
];

pub fn heart_has_no_world(tree: &Tree, found: &mut Vec<Finding>) {
    if let Some(root) = tree.file("crates/crux-core/src/lib.rs")
        && !code_only(&root.text).lines().any(|l| l.trim().starts_with("#![no_std]"))
    {
        found.push(Finding::new(&root.path, 0, "the heart declares `#![no_std]`, in tests too"));
    }
    for (file, code) in heart(tree) {
        for (index, line) in code.lines().enumerate() {
            for (word, why) in WORLD {
                if words(line).any(|w| w == *word) {
                    found.push(Finding::new(&file.path, index + 1, format!("the heart names `{word}`: {why}")));
                }
            }
        }
    }
}

/// The heart's files with their code: no comments, no texts, no tests.
pub fn heart(tree: &Tree) -> impl Iterator<Item = (&File, String)> {
    tree.rust_below("crates/crux-core/src/").filter(|f| !is_test_file(&f.path)).map(|file| {
        let code = code_only(&file.text);
        let lines: Vec<&str> = code.lines().take(tests_begin(&file.text)).collect();
        (file, lines.join("\n"))
    })
}

/// Files that hold nothing but tests.
pub fn is_test_file(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("/tests.rs") || path.ends_with("_tests.rs")
}

/// The index of the line where a file's test module begins; past the end where there is none. By habit it is the
/// file's last item.
pub fn tests_begin(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    let is_test_module = |at: usize| {
        lines[at].trim() == "#[cfg(test)]"
            && lines[at + 1..].iter().find(|l| !l.trim().starts_with("#[")).is_some_and(|l| l.contains("mod "))
    };
    (0..lines.len()).find(|&at| is_test_module(at)).unwrap_or(lines.len())
}

/// The identifiers of a line.
pub fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|w| !w.is_empty())
}

/// The text with every comment, string and character blanked out, line for line and column for column (in characters).
pub fn code_only(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out: Vec<char> = Vec::with_capacity(chars.len());
    let mut at = 0;
    while at < chars.len() {
        let end = match chars[at] {
            '/' if chars.get(at + 1) == Some(&'/') => find(&chars, at, |c, i| c[i] == '\n'),
            '/' if chars.get(at + 1) == Some(&'*') => end_of_block_comment(&chars, at),
            '"' => end_of_string(&chars, at + 1),
            'r' if !in_word(&chars, at) && raw_hashes(&chars, at + 1).is_some() => {
                let hashes = raw_hashes(&chars, at + 1).unwrap_or(0);
                end_of_raw_string(&chars, at + hashes + 2, hashes)
            }
            '\'' => end_of_character(&chars, at),
            _ => at,
        };
        if end == at {
            out.push(chars[at]);
            at += 1;
        } else {
            out.extend(chars[at..end].iter().map(|&c| if c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    out.into_iter().collect()
}

fn find(chars: &[char], from: usize, is_it: impl Fn(&[char], usize) -> bool) -> usize {
    (from..chars.len()).find(|&i| is_it(chars, i)).unwrap_or(chars.len())
}

fn in_word(chars: &[char], at: usize) -> bool {
    // `br"…"` is a raw string too.
    let before = |n: usize| at.checked_sub(n).map(|i| chars[i]);
    let joins = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if before(1) == Some('b') { joins(before(2)) } else { joins(before(1)) }
}

fn end_of_block_comment(chars: &[char], from: usize) -> usize {
    let mut depth = 0;
    let mut at = from;
    while at + 1 < chars.len() {
        match (chars[at], chars[at + 1]) {
            ('/', '*') => (depth, at) = (depth + 1, at + 2),
            ('*', '/') if depth == 1 => return at + 2,
            ('*', '/') => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    chars.len()
}

fn end_of_string(chars: &[char], from: usize) -> usize {
    let mut at = from;
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

/// After an `r`: how many `#` stand before the quote, if it begins a raw string.
fn raw_hashes(chars: &[char], from: usize) -> Option<usize> {
    let hashes = chars[from..].iter().take_while(|&&c| c == '#').count();
    (chars.get(from + hashes) == Some(&'"')).then_some(hashes)
}

fn end_of_raw_string(chars: &[char], from: usize, hashes: usize) -> usize {
    let closes = |c: &[char], i: usize| c[i] == '"' && (1..=hashes).all(|n| c.get(i + n) == Some(&'#'));
    (find(chars, from, closes) + 1 + hashes).min(chars.len())
}

/// A quote begins a character or a lifetime; a lifetime stays.
fn end_of_character(chars: &[char], at: usize) -> usize {
    if chars.get(at + 1) == Some(&'\\') {
        // The escaped character itself may be a quote.
        return (find(chars, at + 3, |c, i| c[i] == '\'') + 1).min(chars.len());
    }
    if chars.get(at + 2) == Some(&'\'') { at + 3 } else { at }
}

#[cfg(test)]
mod tests {
    use super::super::testing::places;
    use super::*;

    #[test]
    fn code_only_blanks_comments_and_texts_but_keeps_places() {
        let text =
            "let a = \"x // \\\" y\"; // std\nlet b = r#\"std\"#; /* a /* b */ std */ let c = '\\''; fn f<'a>() {}\n";
        let code = code_only(text);
        assert_eq!(code.chars().count(), text.chars().count());
        assert_eq!(code.lines().count(), 2);
        assert!(!code.contains("std") && !code.contains('y') && !code.contains('"'), "{code}");
        assert!(code.contains("fn f<'a>() {}") && code.contains("let c ="), "{code}");
        assert_eq!(code_only("for x in bar\"q\".chars()").trim_end(), "for x in bar   .chars()");
    }

    #[test]
    fn a_long_file_is_found() {
        let long = "//! x\n".repeat(MOST_LINES + 1);
        let fits = "//! x\n".repeat(MOST_LINES);
        assert_eq!(places(files_are_short, &[("a.rs", &long), ("b.rs", &fits), ("c.md", &long)]), ["a.rs:0"]);
        let generated = format!("// @generated\n{long}");
        assert!(places(files_are_short, &[("a.rs", &generated)]).is_empty());
    }

    #[test]
    fn a_crate_without_words_is_found() {
        let files =
            [("crates/a/src/lib.rs", "mod x;\n"), ("crates/b/src/lib.rs", "//! B.\n"), ("crates/a/src/x.rs", "")];
        assert_eq!(places(crates_begin_with_words, &files), ["crates/a/src/lib.rs:1"]);
    }

    #[test]
    fn a_sleeping_test_is_found_where_it_says_no_reason() {
        let sleep = "std::thread::sleep(x);\n";
        let excused = "// waits: for the poll interval\ntokio::time::sleep(x).await;\n";
        let beside = format!("{sleep}#[cfg(test)]\nmod tests {{\n{sleep}}}\n");
        let files = [
            ("crates/a/tests/t.rs", sleep),
            ("crates/a/tests/u.rs", excused),
            ("crates/a/src/x.rs", &beside),
            ("crates/crux-lab/src/lib.rs", sleep),
        ];
        let expected = ["crates/a/tests/t.rs:1", "crates/a/src/x.rs:4", "crates/crux-lab/src/lib.rs:1"];
        assert_eq!(places(tests_wait_for_conditions, &files), expected);
    }

    #[test]
    fn the_heart_may_speak_of_the_world_but_not_use_it() {
        let root = ("crates/crux-core/src/lib.rs", "//! H.\n#![no_std]\n");
        let bad = "// no HashMap\nuse std::collections::HashMap;\nlet standard = 1;\n#[cfg(test)]\nmod tests { use std::x; }\n";
        let file = "crates/crux-core/src/a.rs";
        let expected = ["crates/crux-core/src/a.rs:2", "crates/crux-core/src/a.rs:2"];
        assert_eq!(places(heart_has_no_world, &[root, (file, bad)]), expected);
        assert!(places(heart_has_no_world, &[root, ("crates/crux-node/src/a.rs", bad)]).is_empty());
        let lax = ("crates/crux-core/src/lib.rs", "//! `#![no_std]`\n");
        assert_eq!(places(heart_has_no_world, &[lax]), ["crates/crux-core/src/lib.rs:0"]);
    }
}
