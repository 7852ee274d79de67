//! Who may call whom, as the facts say: read only, for rules are written as facts are.

use super::Door;
use super::answer::{Answer, Refusal, doc};
use super::read::follow_as;
use super::show::moment;
use axum::extract::{Query, State};
use crux_api::json::{ENFORCED, Kind as _, Rule, RuleList, RuleState};
use crux_api::routes::RulesQuery;
use crux_core::facts::Facts;
use crux_core::facts::rule::Listed;
use crux_core::facts::version::Author;
use crux_names::Wall;

/// `GET /v1/rules`.
pub(super) async fn rules(State(door): State<Door>, Query(query): Query<RulesQuery>) -> Answer {
    let all = query.all.is_some();
    if query.watch.is_none() {
        return Ok(doc(door.rules(all).await?));
    }
    let key = if all { "RuleList, all" } else { RuleList::KIND };
    Ok(follow_as(door, key, move |door| async move { door.rules(all).await }))
}

impl Door {
    /// The rules in force, or with `all` every one that is remembered.
    async fn rules(&self, all: bool) -> Result<RuleList, Refusal> {
        let rules = self.asker.look(move |engine, _| listed(engine.facts_room(), all)).await;
        Ok(RuleList { rules: rules.map_err(|_| Refusal::going_down())?, enforced: ENFORCED })
    }
}

fn listed(facts: &Facts, all: bool) -> Vec<Rule> {
    let mut rules: Vec<Listed<'_>> = facts.rules().filter(|listed| all || !listed.rule.removed).collect();
    rules.sort_by(|a, b| (&a.rule.endpoint, &a.rule.client, a.id).cmp(&(&b.rule.endpoint, &b.rule.client, b.id)));
    rules.into_iter().map(shown).collect()
}

fn shown(listed: Listed<'_>) -> Rule {
    let Listed { id, rule, author, stamp } = listed;
    let who = match author {
        Author::Operator(name) => name.to_string(),
        other => other.to_string(),
    };
    let (state, by, removed_by) = match rule.removed {
        false => (RuleState::InForce, Some(who), None),
        true => (RuleState::Removed, None, Some(who)),
    };
    Rule {
        id: id.to_string(),
        client: rule.client.to_string(),
        endpoint: rule.endpoint.to_string(),
        note: Some(rule.note).filter(|note| !note.is_empty()),
        state,
        since: moment(Wall(rule.made)),
        by,
        removed_at: rule.removed.then(|| moment(Wall(stamp.wall))),
        removed_by,
    }
}
