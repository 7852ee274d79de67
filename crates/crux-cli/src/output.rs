//! What is printed: tables for people, JSON for tools, errors for both. Never any colour: a pipe and a terminal show the
//! same.

use comfy_table::{ContentArrangement, Table, presets};
use crux_api::json::{Code, Doc, ErrorDoc, Kind};
use jiff::Timestamp;
use serde::Serialize;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people
    Table,
    /// For tools: one document, or one per line with -w
    Json,
    /// For people with wide terminals: every column
    Wide,
    /// Names only, one a line
    Name,
}

/// Writes text to standard output. A reader that went away ends the command quietly, as `head` expects.
pub(crate) fn say(text: &str) -> Result<(), ErrorDoc> {
    let mut out = io::stdout().lock();
    let text = if text.ends_with('\n') { text.to_owned() } else { format!("{text}\n") };
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(e) => {
            Err(ErrorDoc::new(Code::Failed, format!("cannot write to standard output: {e}"), "check where it leads"))
        }
        Ok(()) => Ok(()),
    }
}

/// Text for people that is no part of the answer.
pub(crate) fn note(text: &str) {
    // Nobody is left to be told when standard error is gone.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// A document as JSON: pretty when it is the only one, on one line when more follow.
pub(crate) fn json<T: Kind + Serialize + Clone>(body: &T, line: bool) -> String {
    let doc = Doc(body.clone());
    let text = if line { serde_json::to_string(&doc) } else { serde_json::to_string_pretty(&doc) };
    text.unwrap_or_else(|e| format!("{{\"error\":{:?}}}", e.to_string()))
}

/// Says an error and gives its exit code: code, one line of cause, the next command to try.
pub(crate) fn fail(error: &ErrorDoc, format: Option<Format>) -> ExitCode {
    let text = match format {
        Some(Format::Json) => json(error, true),
        _ => format!("crux: {} {}\nnext: {}", error.code, clean(&error.cause), clean(&error.next)),
    };
    note(&text);
    ExitCode::from(error.code.exit())
}

/// Text of others with what could move a terminal's cursor, or reorder what people read, written out.
pub(crate) fn clean(text: &str) -> String {
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
    };
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        if hidden(c) { clean.extend(c.escape_unicode()) } else { clean.push(c) }
    }
    clean
}

/// Columns without lines, cells cleaned.
pub(crate) fn table<const N: usize>(head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(head);
    for row in rows {
        table.add_row(row.map(|cell| if cell.is_empty() { "-".to_owned() } else { clean(&cell) }));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

/// Names, one a line.
pub(crate) fn names<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(clean).collect::<Vec<_>>().join("\n")
}

/// What is there, or a dash.
pub(crate) fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// How long ago a moment was, in one or two units.
pub(crate) fn age(at: Option<&str>) -> String {
    let Some(at) = at.and_then(|at| at.parse::<Timestamp>().ok()) else { return "-".to_owned() };
    span(Timestamp::now().duration_since(at).as_secs().max(0))
}

/// How long it is until a moment, in one or two units.
pub(crate) fn until_then(at: &str) -> String {
    let Ok(at) = at.parse::<Timestamp>() else { return "-".to_owned() };
    span(at.duration_since(Timestamp::now()).as_secs().max(0))
}

fn span(seconds: i64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m{}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h{}m", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{}d{}h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// Seconds since the Unix epoch as RFC 3339.
pub(crate) fn rfc3339(unix: u64) -> String {
    let seconds = i64::try_from(unix).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).map_or_else(|_| format!("{unix} s"), |at| at.to_string())
}

/// The first 12 digits of a hash.
pub(crate) fn short(hash: &str) -> String {
    hash.chars().take(12).collect()
}

/// The first 8 digits of a rule's id, by which it may be named.
pub(crate) fn short_id(id: &str) -> String {
    id.chars().take(8).collect()
}

/// A reason as a table shows it: hashes by their beginnings, and no longer than a line of a terminal.
pub(crate) fn brief(text: &str) -> String {
    const MOST: usize = 100;
    let text = short_hashes(text);
    if text.chars().count() <= MOST {
        return text;
    }
    text.chars().take(MOST - 1).chain(['…']).collect()
}

/// Text with each whole hash in it cut to its first 12 digits.
pub(crate) fn short_hashes(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut word = String::new();
    for c in text.chars().map(Some).chain([None]) {
        if let Some(c) = c.filter(char::is_ascii_alphanumeric) {
            word.push(c);
            continue;
        }
        let hash = word.len() == 64 && word.bytes().all(|b| b.is_ascii_hexdigit());
        out += if hash { &word[..12] } else { &word };
        word.clear();
        out.extend(c);
    }
    out
}

/// Whether what is printed may have colours.
pub(crate) fn may_colour() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// The time of day in UTC, with milliseconds.
pub(crate) fn clock() -> String {
    let now = format!("{:.3}", Timestamp::now());
    now.get(11..24).unwrap_or(&now).to_owned()
}

/// Now, for a line between two prints.
pub(crate) fn now() -> String {
    let now = Timestamp::now().to_string();
    format!("--- {} UTC", now.get(11..19).unwrap_or(&now))
}

/// Whether progress may be drawn.
pub(crate) fn may_draw() -> bool {
    io::stderr().is_terminal()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_peers_cannot_move_the_cursor() {
        assert_eq!(clean("n1\u{1b}[31m\r\n\u{202e}x\u{feff}"), "n1\\u{1b}[31m\\u{d}\\u{a}\\u{202e}x\\u{feff}");
        assert_eq!(clean("größe 3 → 4"), "größe 3 → 4");
    }

    #[test]
    fn tables_have_no_trailing_blanks_and_no_empty_cells() {
        let text = table(["A", "B"], [["x".to_owned(), String::new()], ["long".to_owned(), "y".to_owned()]]);
        assert_eq!(text, "A     B\nx     -\nlong  y");
    }

    #[test]
    fn reasons_are_brief_in_tables() {
        let hash = "ab".repeat(32);
        assert_eq!(brief(&format!("file {hash}: gone")), "file abababababab: gone");
        assert_eq!(short_hashes(&hash), "abababababab");
        assert_eq!(short_hashes(&format!("{hash}0")), format!("{hash}0"), "not a hash");
        let long = brief(&"ä ".repeat(80));
        assert_eq!((long.chars().count(), long.ends_with('…')), (100, true));
    }

    #[test]
    fn ages_are_short() {
        let ago = |seconds: i64| (Timestamp::now() - jiff::SignedDuration::from_secs(seconds)).to_string();
        assert_eq!(age(Some(&ago(61))), "1m1s");
        assert_eq!(age(Some(&ago(90_000))), "1d1h");
        assert_eq!(age(Some("not a moment")), "-");
        assert_eq!(age(None), "-");
        assert_eq!(until_then(&ago(-90_030)), "1d1h");
        assert_eq!(until_then(&ago(3)), "0s", "it has passed");
    }
}
