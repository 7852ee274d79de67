//! What an operator's certificate may be limited to: verbs, hordes, or both. Here is the one table of what each path
//! needs; whoever checks signatures asks it, at the accepting door and on every other fulcrum alike.
//!
//! | path | verb | where |
//! |---|---|---|
//! | `horde/<horde>` | `horde` | that horde |
//! | `place/<horde>/<service>` | `apply` | that horde |
//! | `muster/<service>/<revision>`, written | `apply` | any horde: what nobody places runs nowhere |
//! | `muster/<service>/<revision>`, deleted | `apply` | all hordes: another one may use it |
//! | `row/<node>/<fulcrum>`, deleted | `forget` | the bloc |
//! | `expel/<node>` | `expel` | the bloc |
//! | `cordon/<node>/<fulcrum>` | `cordon` | the bloc |
//! | `label/<node>` | `label` | the bloc |
//! | `rule/<id>`, written and removed | `allow` | the horde of what is called: it opens what is theirs |
//! | `horizon` | `prune` | the bloc |
//!
//! `access` is of no path: it is needed at the door where somebody adds a service of a horde to the register.
//!
//! A scope without a verb gives all verbs of its horde, and none that concern the bloc: those are given by name. A
//! certificate without scopes may do everything.

use super::path::Path;
use super::rule;
use alloc::collections::BTreeSet;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use crux_names::{HordeName, NameError};

/// Most scopes of one certificate.
pub const SCOPES_MAX: usize = 64;
/// Longest word for a verb, also of later versions, in bytes.
const WORD_MAX: usize = 32;
/// Stands for every verb of a horde, or for every horde.
const ALL: &str = "*";

/// What operators do, as far as they can be limited to it. Reading is permitted to every operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    /// Create, change and delete a horde.
    Horde,
    /// Place services and take them away: `apply`, `run`; store files for them.
    Apply,
    /// Forget a fulcrum that will not come back.
    Forget,
    /// Put a node out of the bloc.
    Expel,
    /// Keep work away from a fulcrum, or give it back: `node cordon`, `drain`, `undrain`.
    Cordon,
    /// Give a node labels, by which hordes and services choose.
    Label,
    /// Draw the line before which nothing is in force: `facts prune`.
    Prune,
    /// Add services to the register: `Access.Add`.
    Access,
    /// Stop a fulcrum: `down`, `node leave`.
    Down,
    /// Make faults in a dev cluster.
    Lab,
    /// Bring back what a backup of the bloc held: `bloc restore`.
    Restore,
    /// Allow somebody to call a service of a horde, and take that back: `allow`, `rules rm`.
    Allow,
}

impl Verb {
    /// Every verb.
    pub const ALL: [Self; 12] = [
        Self::Horde,
        Self::Apply,
        Self::Forget,
        Self::Expel,
        Self::Cordon,
        Self::Label,
        Self::Prune,
        Self::Access,
        Self::Down,
        Self::Lab,
        Self::Restore,
        Self::Allow,
    ];

    /// Its word in a certificate.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Horde => "horde",
            Self::Apply => "apply",
            Self::Forget => "forget",
            Self::Expel => "expel",
            Self::Cordon => "cordon",
            Self::Label => "label",
            Self::Prune => "prune",
            Self::Access => "access",
            Self::Down => "down",
            Self::Lab => "lab",
            Self::Restore => "restore",
            Self::Allow => "allow",
        }
    }

    /// Whether it is done to one horde; the others concern nodes or the whole bloc.
    #[must_use]
    pub const fn of_a_horde(self) -> bool {
        match self {
            Self::Horde | Self::Apply | Self::Access | Self::Allow => true,
            Self::Forget
            | Self::Expel
            | Self::Cordon
            | Self::Label
            | Self::Prune
            | Self::Down
            | Self::Lab
            | Self::Restore => false,
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What something is done to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// One horde.
    Horde(HordeName),
    /// No horde yet: a permission for any of them is enough.
    AnyHorde,
    /// All of the bloc, or a node, which belongs to no horde for good.
    Bloc,
}

/// What is needed to do something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// The verb.
    pub verb: Verb,
    /// To what.
    pub reach: Reach,
}

impl Need {
    /// A verb that concerns no horde.
    #[must_use]
    pub const fn bloc(verb: Verb) -> Self {
        Self { verb, reach: Reach::Bloc }
    }

    /// What a version with this value at this path needs of its author, if that is an operator; `None` deletes.
    #[must_use]
    pub fn of(path: &Path, value: Option<&[u8]>) -> Self {
        let (verb, reach) = match path {
            Path::Horde(horde) => (Verb::Horde, Reach::Horde(horde.clone())),
            Path::Place(horde, _) => (Verb::Apply, Reach::Horde(horde.clone())),
            Path::Muster(..) => (Verb::Apply, if value.is_none() { Reach::Bloc } else { Reach::AnyHorde }),
            Path::Row(_) => (Verb::Forget, Reach::Bloc),
            Path::Expel(_) => (Verb::Expel, Reach::Bloc),
            Path::Cordon(_) => (Verb::Cordon, Reach::Bloc),
            Path::Label(_) => (Verb::Label, Reach::Bloc),
            // What is no rule, the table refuses.
            Path::Rule(_) => (Verb::Allow, rule::called_horde(value).map_or(Reach::Bloc, Reach::Horde)),
            Path::Horizon => (Verb::Prune, Reach::Bloc),
        };
        Self { verb, reach }
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reach {
            Reach::Horde(horde) => write!(f, "{}@{horde}", self.verb),
            Reach::AnyHorde => write!(f, "{} in some horde", self.verb),
            Reach::Bloc => write!(f, "{}", self.verb),
        }
    }
}

/// Why a text is no scope.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BadScope {
    /// It is no verb.
    Verb(String),
    /// It is no horde's name.
    Horde(NameError),
    /// The verb is not done to a horde, and one was named.
    NotOfAHorde(Verb),
    /// Neither a verb nor a horde is named.
    Empty,
}

impl fmt::Display for BadScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Verb(word) => {
                write!(f, "{word:?} is no verb; they are")?;
                let mut verbs = Verb::ALL.iter();
                verbs.try_for_each(|verb| write!(f, " {verb}"))
            }
            Self::Horde(bad) => bad.fmt(f),
            Self::NotOfAHorde(verb) => {
                write!(f, "{verb} concerns nodes, which belong to no horde for good: leave @HORDE away")
            }
            Self::Empty => f.write_str("it names neither a verb nor a horde: VERB[,VERB…][@HORDE[,HORDE…]] or @HORDE"),
        }
    }
}

impl core::error::Error for BadScope {}

/// One permission. Its verb may be a word of a later version, which permits nothing here.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Scope {
    verb: Option<String>,
    horde: Option<HordeName>,
}

impl Scope {
    /// A verb, in one horde or wherever it is done.
    #[must_use]
    pub fn verb(verb: Verb, horde: Option<HordeName>) -> Self {
        Self { verb: Some(verb.as_str().into()), horde }
    }

    /// Every verb of one horde.
    #[must_use]
    pub fn horde(horde: HordeName) -> Self {
        Self { verb: None, horde: Some(horde) }
    }

    /// Reads `VERB[,VERB…][@HORDE[,HORDE…]]` or `@HORDE[,HORDE…]`: each verb in each horde.
    ///
    /// # Errors
    /// [`BadScope`] says which word is wrong.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, BadScope> {
        let (verbs, hordes) = match text.split_once('@') {
            Some((verbs, hordes)) => {
                let hordes = hordes.split(',').map(|name| HordeName::parse(name).map(Some).map_err(BadScope::Horde));
                (verbs, hordes.collect::<Result<Vec<_>, _>>()?)
            }
            None => (text, [None].into()),
        };
        let verb = |word: &str| {
            let known = Verb::ALL.into_iter().find(|verb| verb.as_str() == word);
            known.ok_or_else(|| BadScope::Verb(word.into()))
        };
        let verbs = match (verbs, &hordes[..]) {
            ("", [None]) => return Err(BadScope::Empty),
            ("", _) => Vec::new(),
            (words, _) => words.split(',').map(verb).collect::<Result<Vec<_>, _>>()?,
        };
        if let Some(verb) = verbs.iter().find(|verb| hordes[0].is_some() && !verb.of_a_horde()) {
            return Err(BadScope::NotOfAHorde(*verb));
        }
        let mut scopes = Vec::new();
        for horde in hordes {
            match (&verbs[..], horde) {
                ([], horde) => scopes.extend(horde.map(Self::horde)),
                (verbs, horde) => scopes.extend(verbs.iter().map(|verb| Self::verb(*verb, horde.clone()))),
            }
        }
        Ok(scopes)
    }

    /// Its two words in a certificate.
    #[must_use]
    pub fn words(&self) -> (&str, &str) {
        (self.verb.as_deref().unwrap_or(ALL), self.horde.as_ref().map_or(ALL, HordeName::as_str))
    }

    /// The scope of these two words; `None` if they are of no form that any version writes.
    #[must_use]
    pub fn of_words(verb: &str, horde: &str) -> Option<Self> {
        let word = |text: &str| {
            (1..=WORD_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')
        };
        let verb = match verb {
            ALL => None,
            verb if word(verb) => Some(verb.into()),
            _ => return None,
        };
        let horde = if horde == ALL { None } else { Some(HordeName::parse(horde).ok()?) };
        Some(Self { verb, horde })
    }

    /// Whether it permits this.
    #[must_use]
    pub fn permits(&self, need: &Need) -> bool {
        let verb = match &self.verb {
            Some(verb) => verb == need.verb.as_str(),
            None => need.verb.of_a_horde(),
        };
        let reach = match (&self.horde, &need.reach) {
            (None, _) | (Some(_), Reach::AnyHorde) => true,
            (Some(ours), Reach::Horde(horde)) => ours == horde,
            (Some(_), Reach::Bloc) => false,
        };
        verb && reach
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.verb, &self.horde) {
            (Some(verb), None) => f.write_str(verb),
            (verb, Some(horde)) => write!(f, "{}@{horde}", verb.as_deref().unwrap_or_default()),
            (None, None) => f.write_str("@*"),
        }
    }
}

/// What a certificate is limited to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scopes(BTreeSet<Scope>);

impl Scopes {
    /// Adds one; `false` if it was there.
    pub fn add(&mut self, scope: Scope) -> bool {
        self.0.insert(scope)
    }

    /// Each of them, in order; none means everything.
    pub fn iter(&self) -> impl Iterator<Item = &Scope> {
        self.0.iter()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none, so that everything is permitted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether they permit this.
    #[must_use]
    pub fn permit(&self, need: &Need) -> bool {
        self.is_empty() || self.0.iter().any(|scope| scope.permits(need))
    }

    /// Whether they permit a version with this value at this path; `None` deletes. What is no path is permitted only to
    /// whom everything is.
    ///
    /// # Errors
    /// What would be needed, in words.
    pub fn permit_path(&self, path: &str, value: Option<&[u8]>) -> Result<(), String> {
        if self.is_empty() {
            return Ok(());
        }
        match Path::parse(path) {
            Ok(path) => {
                let need = Need::of(&path, value);
                if self.permit(&need) { Ok(()) } else { Err(need.to_string()) }
            }
            Err(why) => Err(alloc::format!("a path that can be judged ({why})")),
        }
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<T: IntoIterator<Item = Scope>>(scopes: T) -> Self {
        Self(scopes.into_iter().collect())
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("everything");
        }
        for (place, scope) in self.0.iter().enumerate() {
            write!(f, "{}{scope}", if place == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scopes(texts: &[&str]) -> Scopes {
        texts.iter().flat_map(|text| Scope::parse_all(text).unwrap()).collect()
    }

    #[test]
    fn a_text_gives_each_verb_in_each_horde() {
        for (text, shown) in [
            ("apply@web", "apply@web"),
            ("@web", "@web"),
            ("apply,horde@web,db", "apply@db apply@web horde@db horde@web"),
            ("forget,expel", "expel forget"),
            ("apply", "apply"),
            ("@ADMIN,main", "@ADMIN @main"),
        ] {
            assert_eq!(scopes(&[text]).to_string(), shown);
        }
        assert_eq!(Scopes::default().to_string(), "everything");
        let bad = |text: &str| Scope::parse_all(text).unwrap_err();
        assert_eq!(bad(""), BadScope::Empty);
        assert_eq!(bad("run@web"), BadScope::Verb("run".into()));
        assert_eq!(bad("*"), BadScope::Verb("*".into()));
        assert_eq!(bad("apply,"), BadScope::Verb(String::new()));
        assert_eq!(bad("apply,expel@web"), BadScope::NotOfAHorde(Verb::Expel));
        for text in ["@", "@Web", "apply@web,", "apply@web@db", "apply@*"] {
            assert!(matches!(bad(text), BadScope::Horde(_)), "{text}");
        }
    }

    #[test]
    fn words_come_back_and_a_later_versions_verb_permits_nothing() {
        for scope in scopes(&["@web", "apply@db", "expel"]).iter() {
            let (verb, horde) = scope.words();
            assert_eq!(Scope::of_words(verb, horde).as_ref(), Some(scope));
        }
        let later = Scope::of_words("teleport", "*").unwrap();
        assert!(Verb::ALL.iter().all(|verb| !later.permits(&Need::bloc(*verb))));
        for (verb, horde) in [("", "*"), ("Apply", "*"), ("a b", "web"), ("apply", ""), ("apply", "Web"), ("*", "a.b")]
        {
            assert_eq!(Scope::of_words(verb, horde), None, "{verb} {horde}");
        }
    }

    /// Every path, deleted or not, against every kind of scope: written out, so that a change of the law shows here.
    #[test]
    fn each_path_needs_its_verb_where_it_acts() {
        let muster = alloc::format!("muster/api/{}", "ab".repeat(32));
        let (rule, allows) = a_rule("db/api", false);
        let (_, removes) = a_rule("db/api", true);
        let (none, some): (Option<&[u8]>, Option<&[u8]>) = (None, Some(b""));
        type Case<'a> = (&'a str, Option<&'a [u8]>, &'a [&'a str]);
        let table: &[Case<'_>] = &[
            ("horde/web", some, &["horde", "horde@web", "@web"]),
            ("horde/web", none, &["horde", "horde@web", "@web"]),
            ("place/web/api", some, &["apply", "apply@web", "@web"]),
            ("place/web/api", none, &["apply", "apply@web", "@web"]),
            (&muster, some, &["apply", "apply@web", "apply@db", "@web", "@db"]),
            (&muster, none, &["apply"]),
            ("row/n1/0", none, &["forget"]),
            ("expel/n1", some, &["expel"]),
            ("cordon/n1/0", some, &["cordon"]),
            ("cordon/n1/0", none, &["cordon"]),
            ("label/n1", some, &["label"]),
            ("label/n1", none, &["label"]),
            // The horde that calls says nothing about who may call.
            (&rule, Some(&allows), &["allow", "allow@db", "@db"]),
            (&rule, Some(&removes), &["allow", "allow@db", "@db"]),
            (&rule, some, &["allow"]),
            (&rule, none, &["allow"]),
            ("horizon", some, &["prune"]),
            ("horizon", none, &["prune"]),
            ("tomorrow/1", some, &[]),
        ];
        let of_hordes = ["horde", "apply", "allow", ""];
        let of_hordes =
            of_hordes.iter().flat_map(|verb| ["", "@web", "@db"].map(|horde| alloc::format!("{verb}{horde}")));
        let of_bloc = ["forget", "expel", "cordon", "label", "prune"].map(String::from);
        let all: Vec<String> = of_hordes.filter(|scope| !scope.is_empty()).chain(of_bloc).collect();
        assert_eq!(all.len(), 16);
        for (path, value, permitted) in table {
            for scope in &all {
                let may = scopes(&[scope]).permit_path(path, *value);
                assert_eq!(may.is_ok(), permitted.contains(&scope.as_str()), "{scope}: {path} {may:?}");
            }
            assert_eq!(Scopes::default().permit_path(path, *value), Ok(()), "no scope is everything");
            assert!(scopes(&["down", "lab"]).permit_path(path, *value).is_err(), "{path}");
        }
        assert!(!Scope::of_words("*", "*").unwrap().permits(&Need::bloc(Verb::Expel)), "the bloc's verbs go by name");
        assert_eq!(scopes(&["@db"]).permit_path("place/web/api", some), Err("apply@web".into()));
        assert_eq!(scopes(&["@web"]).permit_path(&rule, Some(&allows)), Err("allow@db".into()));
    }

    /// The path and the value of a rule that lets web/api call this.
    fn a_rule(endpoint: &str, removed: bool) -> (String, Vec<u8>) {
        use prost::Message as _;
        let nonce = alloc::vec![1; rule::NONCE].into();
        let rule = rule::Rule { client: "web/api".into(), endpoint: endpoint.into(), nonce, ..Default::default() };
        let fact = rule::RuleFact { rule: rule.encode_to_vec().into(), removed };
        (rule::rule_path(&fact.id()), fact.encode_to_vec())
    }
}
