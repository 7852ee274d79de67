//! What a khan text says, and its canonical form.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use crux_names::{FulcrumId, ServiceName};

/// A place in a text, both from 1; the column counts characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct At {
    /// Line.
    pub line: u32,
    /// Column.
    pub column: u32,
}

/// A whole program whose names all lead somewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// As they were written.
    pub(super) statements: Vec<Statement>,
    /// The sets among them in an order in which each finds what it needs before it.
    pub(super) order: Vec<usize>,
}

/// One statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    /// `name := set`
    Let {
        /// Where the name stands.
        at: At,
        /// The name.
        name: String,
        /// What it stands for.
        set: Set,
    },
    /// A set for its picks' sake.
    Set(Set),
    /// A start clause.
    Start(Start),
}

/// A set of fulcrums.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Set {
    /// Every present member.
    All,
    /// Those with a label.
    Label {
        /// Its key.
        key: String,
        /// Its value; `None`: any.
        value: Option<String>,
    },
    /// All fulcrums of a node, or one as `node/fulcrum`.
    Node(FulcrumId),
    /// What the name stands for.
    Name {
        /// Where it stands.
        at: At,
        /// The name.
        name: String,
    },
    /// Those that a service was placed on.
    Pick(Box<Pick>),
    /// Those of [`Set::All`] that are not in it.
    Not(Box<Set>),
    /// Those in each of these.
    And(Vec<Set>),
    /// Those in any of these.
    Or(Vec<Set>),
}

/// `pick(service, number, set, by key)`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pick {
    /// Which service.
    pub service: ServiceName,
    /// How many instances, exactly.
    pub count: Number,
    /// Where.
    pub set: Set,
    /// Spread over this label's values first.
    pub by: Option<String>,
}

/// An arithmetic operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
}

/// A number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Number {
    /// Written out.
    Int(u32),
    /// How many fulcrums take work in a set.
    Size(Set),
    /// A chain of `+` and `-`, from left to right.
    Sum(Box<Number>, Vec<(Op, Number)>),
    /// A chain of `*` and `/`, from left to right.
    Product(Box<Number>, Vec<(Op, Number)>),
}

/// `start service after cond cond`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// What waits.
    pub service: ServiceName,
    /// For all of these.
    pub after: Vec<Condition>,
}

/// One condition of a start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// How many.
    pub need: Need,
    /// Of which service.
    pub service: ServiceName,
    /// How far along.
    pub stage: Stage,
}

/// How many instances a condition needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Every wanted one.
    All,
    /// So many.
    Count(u32),
    /// So many of a hundred wanted ones.
    Percent(u32),
}

/// How far along an instance is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Its process runs or has run to its end.
    Started,
    /// It is ready or done.
    #[default]
    Ready,
    /// It ended well.
    Done,
}

impl Program {
    /// The statements as they were written.
    #[must_use]
    pub fn statements(&self) -> &[Statement] {
        &self.statements
    }

    /// The start conditions of a service, of all its start clauses.
    pub fn after<'a>(&'a self, service: &'a ServiceName) -> impl Iterator<Item = &'a Condition> {
        self.statements.iter().flat_map(move |statement| match statement {
            Statement::Start(start) if start.service == *service => start.after.as_slice(),
            _ => &[],
        })
    }
}

impl Set {
    /// Calls `f` with every name that it needs, and where.
    pub fn names(&self, f: &mut dyn FnMut(&str, At)) {
        match self {
            Self::All | Self::Label { .. } | Self::Node(_) => {}
            Self::Name { at, name } => f(name, *at),
            Self::Pick(pick) => {
                pick.count.names(f);
                pick.set.names(f);
            }
            Self::Not(set) => set.names(f),
            Self::And(sets) | Self::Or(sets) => sets.iter().for_each(|set| set.names(f)),
        }
    }

    /// Calls `f` with every pick in it, those inside another one first.
    pub fn picks(&self, f: &mut dyn FnMut(&Pick)) {
        match self {
            Self::All | Self::Label { .. } | Self::Node(_) | Self::Name { .. } => {}
            Self::Pick(pick) => {
                pick.count.picks(f);
                pick.set.picks(f);
                f(pick);
            }
            Self::Not(set) => set.picks(f),
            Self::And(sets) | Self::Or(sets) => sets.iter().for_each(|set| set.picks(f)),
        }
    }

    fn binds(&self) -> u8 {
        match self {
            Self::Or(_) => 0,
            Self::And(_) => 1,
            _ => 2,
        }
    }
}

impl Number {
    fn names(&self, f: &mut dyn FnMut(&str, At)) {
        match self {
            Self::Int(_) => {}
            Self::Size(set) => set.names(f),
            Self::Sum(first, rest) | Self::Product(first, rest) => {
                first.names(f);
                rest.iter().for_each(|(_, number)| number.names(f));
            }
        }
    }

    fn picks(&self, f: &mut dyn FnMut(&Pick)) {
        match self {
            Self::Int(_) => {}
            Self::Size(set) => set.picks(f),
            Self::Sum(first, rest) | Self::Product(first, rest) => {
                first.picks(f);
                rest.iter().for_each(|(_, number)| number.picks(f));
            }
        }
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.statements.iter().try_for_each(|statement| writeln!(f, "{statement}"))
    }
}

impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Let { name, set, .. } => write!(f, "{name} := {set}"),
            Self::Set(set) => write!(f, "{set}"),
            Self::Start(start) => {
                write!(f, "start {} after", start.service)?;
                start.after.iter().try_for_each(|condition| write!(f, " {condition}"))
            }
        }
    }
}

/// Writes the parts with the operator between them, in parentheses where they bind looser than it.
fn chain(f: &mut fmt::Formatter<'_>, sets: &[Set], operator: &str, binds: u8) -> fmt::Result {
    for (index, set) in sets.iter().enumerate() {
        if index > 0 {
            write!(f, " {operator} ")?;
        }
        if set.binds() <= binds { write!(f, "({set})")? } else { write!(f, "{set}")? }
    }
    Ok(())
}

/// A label's value or a key as khan reads it back: in quotes unless it is a plain word.
pub(super) struct Word<'a>(pub &'a str);

impl fmt::Display for Word<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0.is_empty() && self.0.chars().all(super::lexer::raw) {
            return f.write_str(self.0);
        }
        f.write_str("\"")?;
        for c in self.0.chars() {
            if matches!(c, '"' | '\\') {
                f.write_str("\\")?;
            }
            write!(f, "{c}")?;
        }
        f.write_str("\"")
    }
}

impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("ALL"),
            Self::Label { key, value: None } => write!(f, "LABEL({})", Word(key)),
            Self::Label { key, value: Some(value) } => write!(f, "LABEL({}={})", Word(key), Word(value)),
            Self::Node(id) => write!(f, "NODE({id})"),
            Self::Name { name, .. } => f.write_str(name),
            Self::Pick(pick) => write!(f, "{pick}"),
            Self::Not(set) if set.binds() < 2 => write!(f, "!({set})"),
            Self::Not(set) => write!(f, "!{set}"),
            Self::And(sets) => chain(f, sets, "&", self.binds()),
            Self::Or(sets) => chain(f, sets, "|", self.binds()),
        }
    }
}

impl fmt::Display for Pick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pick({}, {}, {}", self.service, self.count, self.set)?;
        if let Some(key) = &self.by {
            write!(f, ", by {}", Word(key))?;
        }
        f.write_str(")")
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(int) => write!(f, "{int}"),
            Self::Size(set) => write!(f, "SIZE({set})"),
            Self::Sum(first, rest) | Self::Product(first, rest) => {
                let loose = |number: &Self| match self {
                    Self::Product(..) => matches!(number, Self::Sum(..) | Self::Product(..)),
                    _ => matches!(number, Self::Sum(..)),
                };
                if loose(first) {
                    write!(f, "({first})")?
                } else {
                    write!(f, "{first}")?
                }
                for (op, number) in rest {
                    let op = match op {
                        Op::Add => '+',
                        Op::Sub => '-',
                        Op::Mul => '*',
                        Op::Div => '/',
                    };
                    if loose(number) { write!(f, " {op} ({number})")? } else { write!(f, " {op} {number}")? }
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.need {
            Need::All => {}
            Need::Count(count) => write!(f, "{count} of ")?,
            Need::Percent(percent) => write!(f, "{percent}% of ")?,
        }
        write!(f, "{}.{}", self.service, self.stage)
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Started => "started",
            Self::Ready => "ready",
            Self::Done => "done",
        })
    }
}
