//! From text to program, by recursive descent.

use super::ast::{At, Condition, Need, Number, Op, Pick, Program, Set, Stage, Start, Statement};
use super::error::{Error, Problem};
use super::lexer::Lexer;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use crux_names::ServiceName;

/// Deepest nesting: bounds the stack, whatever the text.
pub(super) const DEPTH_MAX: u32 = 64;
/// Longest text in bytes: no fact is longer.
pub(super) const LENGTH_MAX: usize = 128 * 1024;

/// Words that no set may be called.
const RESERVED: [&str; 9] = ["ALL", "LABEL", "NODE", "SIZE", "pick", "start", "after", "of", "by"];

const SET: &str = "a set (pick(…), ALL, LABEL(…), NODE(…), a name, '!' or '(')";
const STATEMENT: &str = "`name := set`, a set or `start`";

/// Reads a whole program.
///
/// # Errors
/// [`Error`] says where and what: something unexpected, an unknown name, a name defined twice, a cycle.
pub fn parse(text: &str) -> Result<Program, Error> {
    let mut parser = Parser::new(text)?;
    let mut statements = Vec::new();
    while !parser.lexer.end() {
        statements.push(parser.statement()?);
    }
    Program::new(statements)
}

/// Reads one set expression. Its names are not looked up.
///
/// # Errors
/// [`Error`] says where and what.
pub fn parse_set(text: &str) -> Result<Set, Error> {
    let mut parser = Parser::new(text)?;
    let set = parser.set()?;
    if parser.lexer.end() { Ok(set) } else { Err(parser.lexer.wrong("'&', '|' or the end")) }
}

/// Reads start conditions: `2 of db.ready cache`.
///
/// # Errors
/// [`Error`] says where and what.
pub fn parse_condition(text: &str) -> Result<Vec<Condition>, Error> {
    let mut parser = Parser::new(text)?;
    let conditions = parser.conditions()?;
    if parser.lexer.end() { Ok(conditions) } else { Err(parser.lexer.wrong("a condition or the end")) }
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    depth: u32,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Result<Self, Error> {
        let lexer = Lexer::new(text);
        if text.len() > LENGTH_MAX {
            return Err(Error { at: lexer.at(), problem: Problem::TooLong });
        }
        Ok(Self { lexer, depth: 0 })
    }

    fn deeper<T>(&mut self, f: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        if self.depth >= DEPTH_MAX {
            return Err(Error { at: self.lexer.at(), problem: Problem::TooDeep });
        }
        self.depth += 1;
        let result = f(self);
        self.depth -= 1;
        result
    }

    /// Whether a name with `:=` behind it comes next.
    fn assigns(&self) -> bool {
        let mut ahead = self.lexer.clone();
        ahead.word().is_some() && ahead.sign(":=")
    }

    fn statement(&mut self) -> Result<Statement, Error> {
        let at = self.lexer.at();
        if self.assigns() {
            let name = self.name("a name that begins with a letter and is no keyword")?;
            self.lexer.need(":=", "':='")?;
            return Ok(Statement::Let { at, name, set: self.set()? });
        }
        if self.lexer.keyword("start") {
            let service = self.service()?;
            if !self.lexer.keyword("after") {
                return Err(self.lexer.wrong("`after`"));
            }
            return Ok(Statement::Start(Start { service, after: self.conditions()? }));
        }
        match self.lexer.peek() {
            Some(c) if c.is_ascii_alphabetic() || matches!(c, '_' | '!' | '(') => Ok(Statement::Set(self.set()?)),
            _ => Err(self.lexer.wrong(STATEMENT)),
        }
    }

    fn name(&mut self, expected: &'static str) -> Result<String, Error> {
        match self.lexer.ahead() {
            Some(name)
                if name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                    && !RESERVED.contains(&name.as_str()) =>
            {
                self.lexer.word();
                Ok(name)
            }
            _ => Err(self.lexer.wrong(expected)),
        }
    }

    fn service(&mut self) -> Result<ServiceName, Error> {
        let expected = "a service (lower-case letters, digits, '-')";
        match self.lexer.ahead().and_then(|word| ServiceName::parse(&word).ok()) {
            Some(service) if !RESERVED.contains(&service.as_str()) => {
                self.lexer.word();
                Ok(service)
            }
            _ => Err(self.lexer.wrong(expected)),
        }
    }

    fn set(&mut self) -> Result<Set, Error> {
        self.deeper(|parser| {
            let mut any = vec![parser.all_of()?];
            while parser.lexer.sign("|") {
                any.push(parser.all_of()?);
            }
            Ok(if any.len() == 1 { any.remove(0) } else { Set::Or(any) })
        })
    }

    fn all_of(&mut self) -> Result<Set, Error> {
        let mut all = vec![self.unary()?];
        while self.lexer.sign("&") {
            all.push(self.unary()?);
        }
        Ok(if all.len() == 1 { all.remove(0) } else { Set::And(all) })
    }

    fn unary(&mut self) -> Result<Set, Error> {
        if self.lexer.sign("!") {
            return self.deeper(|parser| Ok(Set::Not(Box::new(parser.unary()?))));
        }
        if self.lexer.sign("(") {
            let set = self.set()?;
            self.lexer.need(")", "'&', '|' or ')'")?;
            return Ok(set);
        }
        let at = self.lexer.at();
        if self.lexer.keyword("ALL") {
            return Ok(Set::All);
        }
        if self.lexer.keyword("LABEL") {
            self.lexer.need("(", "'('")?;
            let key = self.lexer.raw("a label's key")?;
            let value = if self.lexer.sign("=") { Some(self.lexer.raw("a label's value")?) } else { None };
            let expected = if value.is_some() { "')'" } else { "'=' or ')'" };
            self.lexer.need(")", expected)?;
            return Ok(Set::Label { key, value });
        }
        if self.lexer.keyword("NODE") {
            self.lexer.need("(", "'('")?;
            let before = self.lexer.clone();
            let name = self.lexer.raw("a node's name")?;
            let Ok(id) = name.parse() else { return Err(before.wrong("a node's name")) };
            self.lexer.need(")", "')'")?;
            return Ok(Set::Node(id));
        }
        if self.lexer.keyword("pick") {
            return self.pick();
        }
        let name = self.name(SET)?;
        Ok(Set::Name { at, name })
    }

    fn pick(&mut self) -> Result<Set, Error> {
        self.lexer.need("(", "'('")?;
        let service = self.service()?;
        self.lexer.need(",", "','")?;
        let count = self.number()?;
        self.lexer.need(",", "an operator or ','")?;
        let set = self.set()?;
        let by = if self.lexer.sign(",") {
            if !self.lexer.keyword("by") {
                return Err(self.lexer.wrong("`by`"));
            }
            Some(self.lexer.raw("a label's key")?)
        } else {
            None
        };
        let expected = if by.is_some() { "')'" } else { "'&', '|', ', by <label>' or ')'" };
        self.lexer.need(")", expected)?;
        Ok(Set::Pick(Box::new(Pick { service, count, set, by })))
    }

    fn number(&mut self) -> Result<Number, Error> {
        self.deeper(|parser| {
            let first = parser.product()?;
            let mut rest = Vec::new();
            loop {
                let op = if parser.lexer.sign("+") {
                    Op::Add
                } else if parser.lexer.sign("-") {
                    Op::Sub
                } else {
                    break;
                };
                rest.push((op, parser.product()?));
            }
            Ok(if rest.is_empty() { first } else { Number::Sum(Box::new(first), rest) })
        })
    }

    fn product(&mut self) -> Result<Number, Error> {
        let first = self.factor()?;
        let mut rest = Vec::new();
        loop {
            let op = if self.lexer.sign("*") {
                Op::Mul
            } else if self.lexer.sign("/") {
                Op::Div
            } else {
                break;
            };
            rest.push((op, self.factor()?));
        }
        Ok(if rest.is_empty() { first } else { Number::Product(Box::new(first), rest) })
    }

    fn factor(&mut self) -> Result<Number, Error> {
        if self.lexer.sign("(") {
            let number = self.number()?;
            self.lexer.need(")", "an operator or ')'")?;
            return Ok(number);
        }
        if self.lexer.keyword("SIZE") {
            self.lexer.need("(", "'('")?;
            let set = self.set()?;
            self.lexer.need(")", "'&', '|' or ')'")?;
            return Ok(Number::Size(set));
        }
        match self.lexer.int() {
            Some(int) => Ok(Number::Int(int)),
            None => Err(self.lexer.wrong("a number (digits, SIZE(…) or '(')")),
        }
    }

    fn conditions(&mut self) -> Result<Vec<Condition>, Error> {
        let mut conditions = vec![self.condition()?];
        while let Some(word) = self.lexer.ahead() {
            if RESERVED.contains(&word.as_str()) || self.assigns() {
                break;
            }
            conditions.push(self.condition()?);
        }
        Ok(conditions)
    }

    fn condition(&mut self) -> Result<Condition, Error> {
        let need = match self.lexer.int() {
            None => Need::All,
            Some(count) => {
                let need = if self.lexer.sign("%") { Need::Percent(count) } else { Need::Count(count) };
                if !self.lexer.keyword("of") {
                    let percent = matches!(need, Need::Percent(_));
                    return Err(self.lexer.wrong(if percent { "`of`" } else { "'%' or `of`" }));
                }
                need
            }
        };
        let service = self.service()?;
        let mut stage = Stage::default();
        if self.lexer.sign(".") {
            stage = if self.lexer.keyword("started") {
                Stage::Started
            } else if self.lexer.keyword("ready") {
                Stage::Ready
            } else if self.lexer.keyword("done") {
                Stage::Done
            } else {
                return Err(self.lexer.wrong("a stage (started, ready or done)"));
            };
        }
        Ok(Condition { need, service, stage })
    }
}

impl Program {
    /// Joins statements to a program.
    ///
    /// # Errors
    /// [`Error`] for unknown names, names defined twice, and cycles.
    pub fn new(statements: Vec<Statement>) -> Result<Self, Error> {
        let mut lets: BTreeMap<&str, (usize, At)> = BTreeMap::new();
        for (index, statement) in statements.iter().enumerate() {
            if let Statement::Let { at, name, .. } = statement
                && let Some((_, first)) = lets.insert(name, (index, *at))
            {
                return Err(Error { at: *at, problem: Problem::Twice { name: name.clone(), first } });
            }
        }
        let mut needs: Vec<Vec<usize>> = Vec::new();
        for statement in &statements {
            let mut own = Vec::new();
            let mut unknown = None;
            if let Statement::Let { set, .. } | Statement::Set(set) = statement {
                set.names(&mut |name, at| match lets.get(name) {
                    Some((index, _)) => own.push(*index),
                    None if unknown.is_none() => {
                        unknown = Some(Error { at, problem: Problem::Unknown { name: name.into() } });
                    }
                    None => {}
                });
            }
            if let Some(error) = unknown {
                return Err(error);
            }
            needs.push(own);
        }
        let order = sort(&needs).map_err(|cycle| {
            let name = |index: &usize| match &statements[*index] {
                Statement::Let { at, name, .. } => Some((*at, name.to_string())),
                _ => None,
            };
            let named: Vec<_> = cycle.iter().filter_map(name).collect();
            let at = named.iter().map(|(at, _)| *at).min().unwrap_or(At { line: 1, column: 1 });
            Error { at, problem: Problem::Cycle { names: named.into_iter().map(|(_, name)| name).collect() } }
        })?;
        let order = order.into_iter().filter(|index| !matches!(statements[*index], Statement::Start(_))).collect();
        Ok(Self { statements, order })
    }
}

/// An order in which everything comes after what it needs, otherwise as given; or the members of a cycle.
fn sort(needs: &[Vec<usize>]) -> Result<Vec<usize>, Vec<usize>> {
    let mut missing: Vec<usize> = needs.iter().map(Vec::len).collect();
    let mut needed_by: Vec<Vec<usize>> = vec![Vec::new(); needs.len()];
    for (index, own) in needs.iter().enumerate() {
        own.iter().for_each(|need| needed_by[*need].push(index));
    }
    let mut free: BTreeSet<usize> = (0..needs.len()).filter(|index| missing[*index] == 0).collect();
    let mut order = Vec::new();
    while let Some(index) = free.pop_first() {
        order.push(index);
        for user in &needed_by[index] {
            missing[*user] -= 1;
            if missing[*user] == 0 {
                free.insert(*user);
            }
        }
    }
    // Whoever is left waits for somebody who is left: walking from need to need runs into a circle.
    let Some(mut here) = missing.iter().position(|missing| *missing > 0) else { return Ok(order) };
    let mut path: Vec<usize> = Vec::new();
    loop {
        if let Some(start) = path.iter().position(|index| *index == here) {
            path.drain(..start);
            return Err(path);
        }
        path.push(here);
        match needs[here].iter().find(|need| missing[**need] > 0) {
            Some(next) => here = *next,
            None => return Err(path),
        }
    }
}
