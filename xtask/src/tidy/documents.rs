//! Rules about docs/.

use super::{Finding, Tree};

const DECISIONS: &str = "docs/decisions/";
const INDEX: &str = "docs/decisions/README.md";

/// Each record is `NNNN-some-words.md`, has a number of its own, a date and a status, and is listed.
pub fn decisions_are_listed(tree: &Tree, found: &mut Vec<Finding>) {
    let index = tree.file(INDEX).map_or("", |f| f.text.as_str());
    let mut numbers = std::collections::BTreeMap::new();
    for file in tree.files.iter().filter(|f| f.path.starts_with(DECISIONS) && f.path != INDEX) {
        let name = &file.path[DECISIONS.len()..];
        if name == "template.md" {
            continue;
        }
        let Some(number) = number(name) else {
            found.push(Finding::new(&file.path, 0, "a decision's name is four digits and words: 0001-some-words.md"));
            continue;
        };
        if let Some(other) = numbers.insert(number, name) {
            found.push(Finding::new(&file.path, 0, format!("has the same number as {other}")));
        }
        if !file.text.starts_with("# ") {
            found.push(Finding::new(&file.path, 1, "begins with its title, `# …`"));
        }
        for key in ["Date: ", "Status: "] {
            if !file.text.lines().any(|l| l.starts_with(key) && l.len() > key.len()) {
                found.push(Finding::new(&file.path, 0, format!("has no line `{}…`", key)));
            }
        }
        if !index.contains(&format!("({name})")) {
            found.push(Finding::new(&file.path, 0, format!("is not listed in {INDEX}")));
        }
    }
}

/// The number at the beginning of a well-formed name.
fn number(name: &str) -> Option<&str> {
    let (number, words) = name.strip_suffix(".md")?.split_once('-')?;
    let digits = number.len() == 4 && number.bytes().all(|b| b.is_ascii_digit());
    let plain = !words.is_empty() && words.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    (digits && plain).then_some(number)
}

const PROMISES: &str = "docs/promises.md";

/// The groups of promises with how many each has. Promises are never dropped in silence.
const GROUPS: &[(char, usize)] = &[('I', 5), ('X', 5), ('F', 4), ('D', 6), ('M', 7), ('S', 8), ('V', 6), ('L', 3)];

pub fn promises_are_all_there(tree: &Tree, found: &mut Vec<Finding>) {
    let page = tree.file(PROMISES).map_or("", |f| f.text.as_str());
    for (group, count) in GROUPS {
        for n in 1..=*count {
            let rows = page.lines().filter(|l| l.starts_with(&format!("| {group}{n} |"))).count();
            if rows != 1 {
                found.push(Finding::new(PROMISES, 0, format!("promise {group}{n} has {rows} rows, not one")));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::places;
    use super::*;

    #[test]
    fn a_decision_is_named_dated_and_listed() {
        let good = "# 1. So\n\nDate: 2026-01-31\nStatus: accepted\n";
        let index = (INDEX, "- [So](0001-so.md)\n- [Two](0002-two.md)\n- [Three](0003-three.md)\n");
        let path = |name: &str| format!("{DECISIONS}{name}");
        let (one, two, three, four, five) =
            (path("0001-so.md"), path("0002-two.md"), path("0003-three.md"), path("0004-four.md"), path("notes.md"));
        let again = path("0001-again.md");
        let files = [
            index,
            (&one, good),
            (&two, "x"),
            (&three, "# 3\n\nDate: \nStatus: s\n"),
            (&four, good),
            (&five, good),
            (&again, good),
        ];
        let found = places(decisions_are_listed, &files);
        let at = |p: &str, line: usize| format!("{p}:{line}");
        let expected = [
            at(&two, 1),
            at(&two, 0),
            at(&two, 0),
            at(&three, 0),
            at(&four, 0),
            at(&five, 0),
            at(&again, 0),
            at(&again, 0),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_dropped_promise_is_found() {
        let mut page = String::new();
        for (group, count) in GROUPS {
            for n in 1..=*count {
                page.push_str(&format!("| {group}{n} | text |\n"));
            }
        }
        assert!(places(promises_are_all_there, &[(PROMISES, &page)]).is_empty());
        let without = page.replace("| M3 |", "| M |");
        assert_eq!(places(promises_are_all_there, &[(PROMISES, &without)]), ["docs/promises.md:0"]);
    }
}
