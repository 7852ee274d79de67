//! What a service wants when its horde is split and when it comes together again.

use super::super::instance::ServiceRef;
use super::Home;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use crux_names::{FulcrumId, Time};

/// A policy's text that says nothing known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadPolicy {
    /// Which field: `on_split` or `on_rejoin`.
    pub field: &'static str,
    /// The text as it was given.
    pub text: String,
    /// What it may be.
    pub expected: &'static str,
}

impl fmt::Display for BadPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {:?} is unknown; it may be {}", self.field, self.text, self.expected)
    }
}

impl core::error::Error for BadPolicy {}

/// Who runs a service while the horde is split.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum OnSplit {
    /// Each part brings the count up on its side.
    #[default]
    EachSide,
    /// Only the part with more than half of the home members; a tie goes to the part with the first of them by name.
    Majority,
    /// Only the part that contains this node, or a member with this label (`key` or `key=value`).
    Home(String),
    /// Nobody, until every home member is here.
    Stop,
}

impl OnSplit {
    /// Reads the text of a place fact; empty means `each-side`.
    ///
    /// # Errors
    /// [`BadPolicy`] if it is none of the four.
    pub fn parse(text: &str) -> Result<Self, BadPolicy> {
        match (text, text.strip_prefix("home:").map(str::trim)) {
            ("" | "each-side", _) => Ok(Self::EachSide),
            ("majority", _) => Ok(Self::Majority),
            ("stop", _) => Ok(Self::Stop),
            (_, Some(at)) if !at.is_empty() => Ok(Self::Home(at.into())),
            _ => Err(BadPolicy {
                field: "on_split",
                text: text.into(),
                expected: "each-side, majority, home:<label or node> or stop",
            }),
        }
    }

    /// Whether the part with these present members runs the service, else why not.
    pub(super) fn allows(
        &self,
        homes: &BTreeMap<FulcrumId, Home>,
        present: &BTreeSet<FulcrumId>,
    ) -> Result<(), String> {
        // Who stands in for somebody is no home member: nothing about a split changes who counts.
        let homes: BTreeMap<&FulcrumId, &Home> = homes.iter().filter(|(_, home)| !home.substitute).collect();
        let present: BTreeSet<&FulcrumId> = present.iter().filter(|id| homes.contains_key(*id)).collect();
        let (all, here) = (homes.len(), present.len());
        match self {
            Self::EachSide => Ok(()),
            Self::Majority => {
                let first = homes.keys().next().is_some_and(|first| present.contains(first));
                if here * 2 > all || (here * 2 == all && first) {
                    Ok(())
                } else {
                    Err(format!("on_split = majority: {here} of {all} home members are here"))
                }
            }
            Self::Home(at) => {
                let is = |(id, home): (&&FulcrumId, &&Home)| {
                    id.node.as_str() == at || id.to_string() == *at || labelled(home, at)
                };
                if homes.iter().filter(|(id, _)| present.contains(*id)).any(is) {
                    Ok(())
                } else if homes.iter().any(is) {
                    Err(format!("on_split = home:{at}: it is not in this part"))
                } else {
                    Err(format!("on_split = home:{at}: no home member of the horde is or has that"))
                }
            }
            Self::Stop if here == all => Ok(()),
            Self::Stop => Err(format!("on_split = stop: {here} of {all} home members are here")),
        }
    }
}

fn labelled(home: &Home, label: &str) -> bool {
    match label.split_once('=') {
        Some((key, value)) => home.labels.get(key).is_some_and(|have| have == value),
        None => home.labels.contains_key(label),
    }
}

/// Which instances are surplus when parts that both ran a service come together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnRejoin {
    /// The longest-running ones stay.
    #[default]
    KeepOldest,
    /// The youngest stay.
    KeepNewest,
    /// Those at home members stay, not those at substitutes. In this form the same as keep-oldest.
    KeepHome,
    /// In this form the same as keep-oldest.
    Restart,
    /// In this form the same as keep-oldest, which is also what a hook falls back to.
    Hook,
}

impl OnRejoin {
    /// Reads the text of a place fact; empty means `keep-oldest`.
    ///
    /// # Errors
    /// [`BadPolicy`] if it is none of the five.
    pub fn parse(text: &str) -> Result<Self, BadPolicy> {
        match text {
            "" | "keep-oldest" => Ok(Self::KeepOldest),
            "keep-newest" => Ok(Self::KeepNewest),
            "keep-home" => Ok(Self::KeepHome),
            "restart" => Ok(Self::Restart),
            "hook" => Ok(Self::Hook),
            _ => Err(BadPolicy {
                field: "on_rejoin",
                text: text.into(),
                expected: "keep-oldest, keep-newest, keep-home, restart or hook",
            }),
        }
    }
}

/// The pause after a mass loss in which what was lost is not started again here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hold {
    /// Its end, unless everybody is back sooner.
    pub until: Time,
    /// Who was lost together and is not back.
    pub lost: BTreeMap<FulcrumId, Lost>,
}

/// One of those that were lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// It was here and ran so many of each service.
    Gone(BTreeMap<ServiceRef, u32>),
    /// It became known just now and was never here in this life: it may come any moment, and keeps its share until then.
    Unseen,
}

impl Hold {
    /// Why copies wait, for people. The same text for as long as the same members are missing.
    pub fn why(&self, among: &[&FulcrumId]) -> String {
        let names: Vec<String> = among.iter().map(ToString::to_string).collect();
        let how = if among.iter().any(|id| self.lost.get(*id) == Some(&Lost::Unseen)) {
            "become known just now and not been seen here"
        } else {
            "been lost together with others"
        };
        let (verb, return_) = if names.len() == 1 { ("has", "returns") } else { ("have", "return") };
        let (names, it) = (names.join(", "), if names.len() == 1 { "it" } else { "they" });
        format!("held: {names} {verb} {how}; copies start when the hold ends, unless {it} {return_} first")
    }
}
