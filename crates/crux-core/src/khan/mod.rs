//! Khan: the small language for "how many, where, after what".
//!
//! ```text
//! program   := { statement }                      # '#' to end of line is a comment
//! statement := NAME ":=" set | set | start
//! set       := pick(SERVICE, number, set [, by LABELKEY]) | ALL | LABEL(key[=value]) | NODE(name) | NAME
//!            | "!" set | set "&" set | set "|" set | "(" set ")"
//! number    := INT | SIZE(set) | number (+ - * /) number | "(" number ")"      # result rounded up
//! start     := "start" SERVICE "after" cond { cond }
//! cond      := [ INT ["%"] "of" ] SERVICE [ "." stage ]      # stage: started | ready (default) | done; alone = 100 %
//! ```
//!
//! `!` binds tightest, then `&`, then `|`. Assignment before use is not required; a cycle is an error. A program prints
//! back in canonical form: one statement a line, no needless parentheses.
//!
//! [`parse`] reads, [`place()`] decides where instances go, [`Lone`] tells one host whether it may be meant, [`may_start`]
//! gates starts, [`parse_where`] and [`read_where`] read the `where` of hordes. `tests/khan/*.txt` shows what each does, by example.

mod ast;
mod choose;
mod error;
mod filter;
mod lexer;
mod parser;
mod permits;
mod place;
mod start;
mod weigh;

pub use self::ast::{At, Condition, Need, Number, Op, Pick, Program, Set, Stage, Start, Statement};
pub use self::error::{Error, Problem};
pub use self::filter::{Term, Where, parse_where, read_where};
pub use self::parser::{parse, parse_condition, parse_set};
pub use self::permits::Lone;
pub use self::place::{Host, HostState, Missing, Placed, Placement, World, place};
pub use self::start::{StageCounts, Stages, Waiting, may_start};
pub use self::weigh::{Ask, Quota};
