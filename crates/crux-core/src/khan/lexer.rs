//! Words and signs of a khan text, with their places. The parser asks for what it needs next, since a label's value may
//! hold what is a sign elsewhere.

use super::ast::At;
use super::error::{Error, Problem};
use alloc::format;
use alloc::string::{String, ToString};
use core::iter::Peekable;
use core::str::Chars;

/// Whether the character may stand in an unquoted label key, label value or node name.
pub(super) fn raw(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | ':' | '@' | '+')
}

/// Whether the character may stand in a name or an integer.
fn word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-')
}

/// A place in a text that moves forward.
#[derive(Clone)]
pub(super) struct Lexer<'a> {
    rest: Peekable<Chars<'a>>,
    at: At,
    /// The end of the last word or sign.
    last: At,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let at = At { line: 1, column: 1 };
        let mut lexer = Self { rest: text.chars().peekable(), at, last: at };
        lexer.skip();
        lexer
    }

    /// Where the next word or sign begins.
    pub(super) fn at(&self) -> At {
        self.at
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.rest.next()?;
        if c == '\n' {
            self.at = At { line: self.at.line + 1, column: 1 };
        } else {
            self.at.column += 1;
        }
        Some(c)
    }

    /// Passes white space and comments.
    fn skip(&mut self) {
        self.last = self.at;
        while let Some(&c) = self.rest.peek() {
            if c == '#' {
                while self.rest.peek().is_some_and(|&c| c != '\n') {
                    self.bump();
                }
            } else if c.is_whitespace() {
                self.bump();
            } else {
                break;
            }
        }
    }

    pub(super) fn end(&mut self) -> bool {
        self.rest.peek().is_none()
    }

    /// The next character, not passed.
    pub(super) fn peek(&mut self) -> Option<char> {
        self.rest.peek().copied()
    }

    /// Passes this sign if it comes next.
    pub(super) fn sign(&mut self, sign: &str) -> bool {
        let mut ahead = self.clone();
        if sign.chars().all(|c| ahead.bump() == Some(c)) {
            ahead.skip();
            *self = ahead;
            return true;
        }
        false
    }

    /// Passes this sign.
    pub(super) fn need(&mut self, sign: &str, expected: &'static str) -> Result<(), Error> {
        if self.sign(sign) { Ok(()) } else { Err(self.wrong(expected)) }
    }

    fn take(&mut self, belongs: fn(char) -> bool) -> Option<String> {
        let mut text = String::new();
        while let Some(&c) = self.rest.peek() {
            if !belongs(c) {
                break;
            }
            text.push(c);
            self.bump();
        }
        self.skip();
        if text.is_empty() { None } else { Some(text) }
    }

    /// Passes a name, keyword or integer.
    pub(super) fn word(&mut self) -> Option<String> {
        self.take(word)
    }

    /// Passes an integer. It is no word of its own kind, since in `5-2` it must end before the sign; digits that a
    /// letter follows begin a name and are left alone.
    pub(super) fn int(&mut self) -> Option<u32> {
        let mut ahead = self.clone();
        let mut text = String::new();
        while let Some(c) = ahead.rest.next_if(char::is_ascii_digit) {
            text.push(c);
            ahead.at.column += 1;
        }
        if ahead.rest.peek().is_some_and(|&c| c.is_ascii_alphabetic() || c == '_') {
            return None;
        }
        let int = text.parse().ok()?;
        ahead.skip();
        *self = ahead;
        Some(int)
    }

    /// The next name, keyword or integer, not passed.
    pub(super) fn ahead(&self) -> Option<String> {
        self.clone().word()
    }

    /// Passes this keyword if it comes next.
    pub(super) fn keyword(&mut self, keyword: &str) -> bool {
        let mut ahead = self.clone();
        if ahead.word().as_deref() == Some(keyword) {
            *self = ahead;
            return true;
        }
        false
    }

    /// Passes a label key, a label value or a node name: a raw word, or any text in double quotes.
    pub(super) fn raw(&mut self, expected: &'static str) -> Result<String, Error> {
        if self.peek() != Some('"') {
            return match self.take(raw) {
                Some(text) => Ok(text),
                None => Err(self.wrong(expected)),
            };
        }
        self.bump();
        let mut text = String::new();
        loop {
            match self.bump() {
                Some('"') => break,
                Some('\\') => text.extend(self.bump()),
                Some('\n') | None => return Err(self.wrong("a closing '\"'")),
                Some(c) => text.push(c),
            }
        }
        self.skip();
        Ok(text)
    }

    /// The error that something else should come next.
    pub(super) fn wrong(&self, expected: &'static str) -> Error {
        let mut at = self.at;
        let found = match (self.ahead(), self.rest.clone().next()) {
            (Some(word), _) => format!("{:?}", word.chars().take(64).collect::<String>()),
            (None, Some(c)) => format!("{:?}", c.to_string()),
            (None, None) => {
                at = self.last;
                "the end".into()
            }
        };
        Error { at, problem: Problem::Syntax { expected, found } }
    }
}
