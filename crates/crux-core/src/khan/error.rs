//! What is wrong with a khan text, with the place.

use super::ast::At;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// A refused khan text: where and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// Where it was noticed.
    pub at: At,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with a khan text.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// Something else should stand here.
    Syntax {
        /// What could stand here.
        expected: &'static str,
        /// What stands here.
        found: String,
    },
    /// A name that nothing is assigned to.
    Unknown {
        /// The name.
        name: String,
    },
    /// A second assignment to one name.
    Twice {
        /// The name.
        name: String,
        /// Where the first one is.
        first: At,
    },
    /// Names that need each other.
    Cycle {
        /// Each needs the next, the last one the first.
        names: Vec<String>,
    },
    /// A condition that nothing can meet which meets an earlier one.
    Contradiction {
        /// The earlier one.
        first: String,
        /// This one.
        second: String,
        /// Why not both.
        why: &'static str,
    },
    /// Parentheses, `!` or `pick` nested deeper than anybody reads.
    TooDeep,
    /// The text is longer than a program may be.
    TooLong,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: ", self.at.line, self.at.column)?;
        match &self.problem {
            Problem::Syntax { expected, found } => write!(f, "expected {expected}, found {found}"),
            Problem::Unknown { name } => {
                write!(
                    f,
                    "expected a set, found {name:?}, which nothing defines; write `{name} := …` or correct the name"
                )
            }
            Problem::Twice { name, first } => {
                write!(f, "expected a new name, found {name:?}, which line {} defines already", first.line)
            }
            Problem::Cycle { names } => {
                f.write_str("expected sets that do not need each other, found ")?;
                for name in names {
                    write!(f, "{name} -> ")?;
                }
                f.write_str(names.first().map_or("", String::as_str))
            }
            Problem::Contradiction { first, second, why } => {
                write!(
                    f,
                    "expected a condition that a fulcrum with `{first}` can meet, found `{second}`: {why}, and all \
                     conditions must hold; leave one of the two away"
                )
            }
            Problem::TooDeep => {
                write!(f, "expected at most {} levels of nesting, found more", super::parser::DEPTH_MAX)
            }
            Problem::TooLong => {
                write!(f, "expected at most {} bytes of khan, found more", super::parser::LENGTH_MAX)
            }
        }
    }
}

impl core::error::Error for Error {}
