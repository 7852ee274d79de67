//! Reading TOML so that every complaint points: file, line, column and key.

use crate::json::Code;
use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

/// What is wrong with a manifest, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {}{problem}", prefix(key))]
pub struct ManifestError {
    /// The file as it was named.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The key with its tables: `service.api.run`; empty where no key is meant.
    pub key: String,
    /// What is wrong and what would be right.
    pub problem: String,
    /// [`Code::BadManifest`], [`Code::NotYet`] or [`Code::BadKhan`].
    pub code: Code,
}

fn prefix(key: &str) -> String {
    if key.is_empty() { String::new() } else { format!("{key}: ") }
}

/// The text of a manifest, for turning offsets into lines.
#[derive(Clone, Copy)]
pub(super) struct Source<'s> {
    pub(super) file: &'s str,
    pub(super) text: &'s str,
}

impl<'s> Source<'s> {
    /// The manifest's table.
    pub(super) fn parse(self) -> Result<Spanned<DeTable<'s>>, ManifestError> {
        DeTable::parse(self.text).map_err(|e| {
            let span = e.span().unwrap_or(0..0);
            self.error(span, "", Code::BadManifest, format!("this is not TOML: {}", e.message().trim_end()))
        })
    }

    pub(super) fn error(self, span: Range<usize>, key: &str, code: Code, problem: String) -> ManifestError {
        let mut start = span.start.min(self.text.len());
        while !self.text.is_char_boundary(start) {
            start -= 1;
        }
        let before = &self.text[..start];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or(before).chars().count() + 1;
        ManifestError { file: self.file.to_owned(), line, column, key: key.to_owned(), problem, code }
    }
}

/// What a table may hold.
pub(super) struct Allowed {
    /// Keys that are read.
    pub(super) keys: &'static [&'static str],
    /// Keys of the full form that this version does not do yet.
    pub(super) not_yet: &'static [&'static str],
}

/// A table, with its name and place.
#[derive(Clone)]
pub(super) struct Section<'s> {
    source: Source<'s>,
    name: String,
    table: &'s DeTable<'s>,
    span: Range<usize>,
}

type Read<T> = Result<Option<T>, ManifestError>;

impl<'s> Section<'s> {
    pub(super) fn root(source: Source<'s>, table: &'s Spanned<DeTable<'s>>) -> Self {
        Self { source, name: String::new(), table: table.get_ref(), span: table.span() }
    }

    /// A key's full name.
    pub(super) fn full(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    /// Refuses keys that nobody reads.
    pub(super) fn allow(&self, allowed: &Allowed) -> Result<(), ManifestError> {
        for key in self.table.keys() {
            let name = key.get_ref().as_ref();
            if allowed.keys.contains(&name) {
                continue;
            }
            let full = self.full(name);
            if allowed.not_yet.contains(&name) {
                let problem = "not yet supported in this version; remove it".to_owned();
                return Err(self.source.error(key.span(), &full, Code::NotYet, problem));
            }
            let problem = format!("unknown key; allowed here: {}", allowed.keys.join(", "));
            return Err(self.source.error(key.span(), &full, Code::BadManifest, problem));
        }
        Ok(())
    }

    fn value(&self, key: &str) -> Option<&'s Spanned<DeValue<'s>>> {
        self.table.get(key)
    }

    fn expected(&self, key: &str, value: &Spanned<DeValue<'_>>, what: &str) -> ManifestError {
        let problem = format!("expected {what}, found {}", found(value.get_ref()));
        self.source.error(value.span(), &self.full(key), Code::BadManifest, problem)
    }

    /// A complaint about a key's value, or about the whole table if the key is not there.
    pub(super) fn wrong(&self, key: &str, problem: impl Into<String>) -> ManifestError {
        self.wrong_as(Code::BadManifest, key, problem)
    }

    pub(super) fn wrong_as(&self, code: Code, key: &str, problem: impl Into<String>) -> ManifestError {
        let (span, name) = match self.value(key) {
            Some(value) => (value.span(), self.full(key)),
            None => (self.span.clone(), self.name.clone()),
        };
        self.source.error(span, &name, code, problem.into())
    }

    /// A complaint about a place inside a key's string: line and column from 1.
    pub(super) fn wrong_in(&self, code: Code, key: &str, line: u32, column: u32, problem: String) -> ManifestError {
        let mut error = self.wrong_as(code, key, problem);
        // Escapes and multi-line strings shift what follows; the plain one-line string, which is the usual, is exact.
        let plain = self
            .value(key)
            .is_some_and(|value| value.get_ref().is_str() && !self.source.text[value.span()].contains(['\\', '\n']));
        if line <= 1 && plain {
            error.column += usize::try_from(column).unwrap_or(0);
        }
        error
    }

    pub(super) fn string(&self, key: &str) -> Read<String> {
        let Some(value) = self.value(key) else { return Ok(None) };
        match value.get_ref() {
            DeValue::String(text) => Ok(Some(text.to_string())),
            _ => Err(self.expected(key, value, "a string")),
        }
    }

    pub(super) fn bool(&self, key: &str) -> Read<bool> {
        let Some(value) = self.value(key) else { return Ok(None) };
        value.get_ref().as_bool().map(Some).ok_or_else(|| self.expected(key, value, "true or false"))
    }

    pub(super) fn number(&self, key: &str, least: u32, most: u32) -> Read<u32> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let number = value.get_ref().as_integer().and_then(|int| i64::from_str_radix(int.as_str(), int.radix()).ok());
        let number = number.and_then(|number| u32::try_from(number).ok());
        match number {
            Some(number) if (least..=most).contains(&number) => Ok(Some(number)),
            _ => Err(self.expected(key, value, &format!("a number from {least} to {most}"))),
        }
    }

    /// A number with or without a decimal point, as it is written.
    pub(super) fn decimal(&self, key: &str, what: &str) -> Read<String> {
        let Some(value) = self.value(key) else { return Ok(None) };
        match value.get_ref() {
            DeValue::Integer(int) if int.radix() == 10 => Ok(Some(int.as_str().to_owned())),
            DeValue::Float(float) => Ok(Some(float.as_str().to_owned())),
            _ => Err(self.expected(key, value, what)),
        }
    }

    pub(super) fn duration(&self, key: &str) -> Read<Duration> {
        let Some(text) = self.string(key)? else { return Ok(None) };
        super::parse_duration(&text).map(Some).map_err(|e| self.wrong(key, e.to_string()))
    }

    /// A list of strings; with `one`, a single string counts as a list of one.
    pub(super) fn strings(&self, key: &str, one: bool) -> Read<Vec<String>> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let what = if one { "a string or a list of strings" } else { "a list of strings" };
        match value.get_ref() {
            DeValue::String(text) if one => Ok(Some(vec![text.to_string()])),
            DeValue::Array(array) => self.items(key, array).map(Some),
            _ => Err(self.expected(key, value, what)),
        }
    }

    fn items(&self, key: &str, array: &DeArray<'_>) -> Result<Vec<String>, ManifestError> {
        let item = |item: &Spanned<DeValue<'_>>| match item.get_ref() {
            DeValue::String(text) => Ok(text.to_string()),
            _ => Err(self.expected(key, item, "a string in this list")),
        };
        array.iter().map(item).collect()
    }

    pub(super) fn is_string(&self, key: &str) -> bool {
        self.value(key).is_some_and(|value| value.get_ref().is_str())
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.value(key).is_some()
    }

    pub(super) fn section(&self, key: &str) -> Read<Self> {
        let Some(value) = self.value(key) else { return Ok(None) };
        match value.get_ref() {
            DeValue::Table(table) => {
                let span = self.table.get_key_value(key).map_or_else(|| value.span(), |(key, _)| key.span());
                Ok(Some(Self { source: self.source, name: self.full(key), table, span }))
            }
            _ => Err(self.expected(key, value, "a table")),
        }
    }

    /// The tables under a key, by name: `[horde.web]`, `[horde.db]`.
    pub(super) fn sections(&self, key: &str) -> Result<Vec<(String, Self)>, ManifestError> {
        let Some(parent) = self.section(key)? else { return Ok(Vec::new()) };
        let mut sections = Vec::new();
        for name in parent.table.keys() {
            let name = name.get_ref().as_ref();
            if let Some(section) = parent.section(name)? {
                sections.push((name.to_owned(), section));
            }
        }
        Ok(sections)
    }

    /// The strings of a table, by key.
    pub(super) fn string_table(&self, key: &str) -> Result<BTreeMap<String, String>, ManifestError> {
        let Some(section) = self.section(key)? else { return Ok(BTreeMap::new()) };
        let mut strings = BTreeMap::new();
        for name in section.table.keys() {
            let name = name.get_ref().as_ref();
            if let Some(text) = section.string(name)? {
                strings.insert(name.to_owned(), text);
            }
        }
        Ok(strings)
    }

    /// The keys of this table.
    pub(super) fn names(&self) -> Vec<String> {
        self.table.keys().map(|key| key.get_ref().to_string()).collect()
    }
}

fn found(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("{:?}", text.as_ref()),
        DeValue::Integer(int) => format!("the number {int}"),
        DeValue::Boolean(bool) => bool.to_string(),
        other => format!("a value of type {}", other.type_str()),
    }
}
