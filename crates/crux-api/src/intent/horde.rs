//! `[horde.NAME]` of a manifest.

use super::duration::parse_duration;
use super::read::{Allowed, ManifestError, Section};
use super::{Intent, khan, resources};
use crate::write::NewFact;
use crux_core::facts::value::{Horde, VACANCY_NEVER_MS, horde_path};
use crux_core::resources::Resources;
use crux_core::services::admin::ADMIN_SIZE;
use crux_names::{ADMIN, HordeName, MAIN};
use prost::Message;
use std::collections::BTreeMap;

const ALLOWED: Allowed = Allowed { keys: &["want", "where", "sets", "vacancy_after", "quota"], not_yet: &["liveness"] };

/// What operators want of one horde.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HordeIntent {
    /// Its name.
    pub name: HordeName,
    /// How many home members.
    pub want: u32,
    /// Which fulcrums it may take.
    pub r#where: String,
    /// Named khan sets.
    pub sets: BTreeMap<String, String>,
    /// How long a home member is missed before somebody stands in for it, in milliseconds; 0: the default,
    /// [`VACANCY_NEVER_MS`]: for ever.
    pub vacancy_after_ms: u64,
    /// How much its services may ask for, all together; none: without a limit.
    pub quota: Option<Resources>,
}

/// A horde's name that operators may make or delete.
///
/// # Errors
/// Why not, for people.
pub fn own_horde_name(text: &str) -> Result<HordeName, String> {
    match text {
        ADMIN => Err("ADMIN is built in; crux horde set ADMIN --want N --where WORDS changes it".to_owned()),
        MAIN => Err("main is built in; crux horde set main --quota cpu=8,memory=16G limits it".to_owned()),
        _ => HordeName::parse(text).map_err(|e| e.to_string()),
    }
}

/// The name of a horde that operators may change: their own, and `main` and ADMIN, which are built in.
///
/// # Errors
/// Why not, for people.
pub fn settable_horde_name(text: &str) -> Result<HordeName, String> {
    match text {
        ADMIN => Ok(HordeName::admin()),
        MAIN => Ok(HordeName::main()),
        _ => own_horde_name(text),
    }
}

/// After how long a home member's place is a vacancy: a duration, or `never`; in milliseconds.
///
/// # Errors
/// Why it is neither, for people.
pub fn vacancy_after(text: &str) -> Result<u64, String> {
    if text == "never" {
        return Ok(VACANCY_NEVER_MS);
    }
    let millis = parse_duration(text).map_err(|e| format!("{e}, or `never`"))?.as_millis();
    match u64::try_from(millis) {
        Ok(millis) if millis > 0 => Ok(millis),
        _ => Err("0 would have places filled that nobody misses; write it like 10m, or `never`".to_owned()),
    }
}

impl HordeIntent {
    pub(super) fn read(name: &str, section: &Section<'_>) -> Result<Self, ManifestError> {
        section.allow(&ALLOWED)?;
        let name = settable_horde_name(name).map_err(|problem| section.wrong("", problem))?;
        let want = match section.number("want", 0, 100_000)? {
            Some(want) => want,
            None if own_horde_name(name.as_str()).is_err() => Self::built_in(name.clone()).want,
            None => {
                return Err(section.wrong("want", "`want` is missing: how many home members the horde should have"));
            }
        };
        let r#where = section.string("where")?.unwrap_or_default();
        khan::check_where(&r#where).map_err(|e| e.at(section, "where"))?;
        let sets = section.string_table("sets")?;
        if let Some(inner) = section.section("sets")? {
            khan::sets(&sets).map_err(|(name, e)| e.at(&inner, &name))?;
        }
        let vacancy_after_ms = match section.string("vacancy_after")? {
            Some(text) => vacancy_after(&text).map_err(|problem| section.wrong("vacancy_after", problem))?,
            None => 0,
        };
        let quota = resources::read(section, "quota")?;
        let horde = Self { name, want, r#where, sets, vacancy_after_ms, quota };
        horde.check_built_in().map_err(|(key, problem)| section.wrong(key, problem))?;
        Ok(horde)
    }

    /// What a built-in horde is as long as no fact says otherwise.
    #[must_use]
    pub fn built_in(name: HordeName) -> Self {
        let want = if name == HordeName::admin() { ADMIN_SIZE } else { 0 };
        Self { name, want, r#where: String::new(), sets: BTreeMap::new(), vacancy_after_ms: 0, quota: None }
    }

    /// Whether it asks of a built-in horde only what such a one can give; else the key that is at fault, and why.
    fn check_built_in(&self) -> Result<(), (&'static str, String)> {
        if self.name == HordeName::main() {
            let built_in = Self { quota: self.quota, ..Self::built_in(self.name.clone()) };
            let key = match () {
                () if *self == built_in => return Ok(()),
                () if self.want != 0 => "want",
                () if !self.r#where.is_empty() => "where",
                () if self.vacancy_after_ms != 0 => "vacancy_after",
                () => "sets",
            };
            return Err((key, "main is built in and takes whom no other horde has: only its quota can be set".into()));
        }
        if self.name != HordeName::admin() {
            return Ok(());
        }
        if self.want == 0 {
            return Err((
                "want",
                "at least one fulcrum carries the ADMIN flag; say 1 or more (3 is the default)".into(),
            ));
        }
        let none = |key: &'static str, what: &str| {
            Err((key, format!("ADMIN has no {what}: it is a flag, and its members are at home in other hordes")))
        };
        match () {
            () if !self.sets.is_empty() => none("sets", "sets"),
            () if self.vacancy_after_ms != 0 => none("vacancy_after", "vacancies"),
            () if self.quota.is_some() => none("quota", "quota"),
            () => Ok(()),
        }
    }

    /// Reads the value of a horde's fact.
    ///
    /// # Errors
    /// If it is not one, for people.
    pub fn decode(name: HordeName, value: &[u8]) -> Result<Self, String> {
        let Horde { want, r#where, sets, vacancy_after_ms, quota } = Horde::decode(value).map_err(|e| e.to_string())?;
        Ok(Self { name, want, r#where, sets, vacancy_after_ms, quota })
    }

    /// Checks its texts.
    ///
    /// # Errors
    /// What is wrong and where, for people.
    pub fn check(&self) -> Result<(), String> {
        self.check_built_in().map_err(|(key, problem)| format!("{key}: {problem}"))?;
        khan::check_where(&self.r#where).map_err(|e| format!("where {:?}: {e}", self.r#where))?;
        khan::sets(&self.sets).map_err(|(name, e)| format!("set {name}: {e}"))
    }

    /// Adds its fact.
    pub fn lower(&self, intent: &mut Intent) {
        let value = Horde {
            want: self.want,
            r#where: self.r#where.clone(),
            sets: self.sets.clone(),
            vacancy_after_ms: self.vacancy_after_ms,
            quota: self.quota,
        };
        intent.facts.push(NewFact { path: horde_path(&self.name), value: Some(value.encode_to_vec()) });
    }
}
