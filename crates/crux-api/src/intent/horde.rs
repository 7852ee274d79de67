//! `[horde.NAME]` of a manifest.

use super::duration::parse_duration;
use super::read::{Allowed, ManifestError, Section};
use super::{Intent, khan};
use crate::write::NewFact;
use crux_core::facts::value::{Horde, VACANCY_NEVER_MS, horde_path};
use crux_names::{ADMIN, HordeName, MAIN};
use prost::Message;
use std::collections::BTreeMap;

const ALLOWED: Allowed = Allowed { keys: &["want", "where", "sets", "vacancy_after"], not_yet: &["quota", "liveness"] };

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
}

/// A horde's name that operators may make or change.
///
/// # Errors
/// Why not, for people.
pub fn own_horde_name(text: &str) -> Result<HordeName, String> {
    if text == ADMIN || text == MAIN {
        return Err(format!("{text} is built in and needs no fact; choose another name"));
    }
    HordeName::parse(text).map_err(|e| e.to_string())
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
        let name = own_horde_name(name).map_err(|problem| section.wrong("", problem))?;
        let Some(want) = section.number("want", 0, 100_000)? else {
            return Err(section.wrong("want", "`want` is missing: how many home members the horde should have"));
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
        Ok(Self { name, want, r#where, sets, vacancy_after_ms })
    }

    /// Reads the value of a horde's fact.
    ///
    /// # Errors
    /// If it is not one, for people.
    pub fn decode(name: HordeName, value: &[u8]) -> Result<Self, String> {
        let Horde { want, r#where, sets, vacancy_after_ms } = Horde::decode(value).map_err(|e| e.to_string())?;
        Ok(Self { name, want, r#where, sets, vacancy_after_ms })
    }

    /// Checks its texts.
    ///
    /// # Errors
    /// What is wrong and where, for people.
    pub fn check(&self) -> Result<(), String> {
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
        };
        intent.facts.push(NewFact { path: horde_path(&self.name), value: Some(value.encode_to_vec()) });
    }
}
