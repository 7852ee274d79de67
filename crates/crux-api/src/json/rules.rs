//! Who may call whom: `crux rules`, and what became of `crux allow` and `crux rules rm`.

use super::Kind;
use serde::{Deserialize, Serialize};

/// Whether calls are checked against rules by this version. They are recorded and spread, and that is all so far.
pub const ENFORCED: bool = false;
/// The same in words, wherever rules are shown.
pub const NOT_ENFORCED: &str = "rules are recorded and spread; no call is checked against them yet";

/// Rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RuleList {
    /// Sorted by endpoint, client and id. Removed ones are there if they were asked for.
    pub rules: Vec<Rule>,
    /// Whether calls are checked against them.
    pub enforced: bool,
}

impl Kind for RuleList {
    const KIND: &'static str = "RuleList";
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Rule {
    /// Its id, as in the fact's path `rule/ID`.
    pub id: String,
    /// Who may call: `web/api`, `web/*`, `otherbloc//web/api` or `otherbloc//web/*`.
    pub client: String,
    /// What may be called: `data/db`.
    pub endpoint: String,
    /// What its maker says of it.
    pub note: Option<String>,
    /// Whether it is in force.
    pub state: RuleState,
    /// When it was made, by the clock of whoever made it.
    pub since: String,
    /// The operator who signed it, the last one if it was signed again; `null` if it is removed.
    pub by: Option<String>,
    /// When it was removed, by the clock of whoever did.
    pub removed_at: Option<String>,
    /// The operator who removed it.
    pub removed_by: Option<String>,
}

/// How a rule stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum RuleState {
    /// It allows.
    InForce,
    /// It allows nothing any more, and never will again.
    Removed,
}

/// What `crux allow` and `crux rules rm` did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RuleChange {
    /// What was done.
    pub change: RuleChanged,
    /// The rules that it was done to, or that were there already.
    pub rules: Vec<Rule>,
    /// Whether as many fulcrums as promised have it on disk.
    pub converged: bool,
    /// Whether calls are checked against rules.
    pub enforced: bool,
    /// What is to be known of it, in sentences.
    pub hints: Vec<String>,
}

impl Kind for RuleChange {
    const KIND: &'static str = "RuleChange";
}

/// What was done to rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum RuleChanged {
    /// It was made.
    Added,
    /// Nothing: an equal one is in force.
    Unchanged,
    /// They were removed.
    Removed,
}
