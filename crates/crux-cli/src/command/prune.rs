//! `crux facts prune`, `quarantine` and `accept`: the line before which nothing is in force, and what comes back from
//! behind it.

use super::Ctx;
use super::facts::{bytes, chosen, sign_again, value_text};
use super::write::accepted;
use crate::Outcome;
use crate::operator::{Operator, fact_at};
use crate::output::{Format, clean, names, short};
use crux_api::client::{Client, encode};
use crux_api::json::{Code, Counter, Done, ErrorDoc, Fact, FactList, NodeList, day};
use crux_api::routes;
use crux_api::write::{HORIZON, HORIZON_MIN, NewFact, WriteKind, removes_rule};
use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

const DAY: u64 = 24 * 3_600 * 1_000_000;
/// The nearest line that may be drawn.
pub(super) const LEAST_DAYS: u64 = HORIZON_MIN / DAY;

async fn quarantined(client: &Client, prefix: &str) -> Result<FactList, ErrorDoc> {
    client.get(&format!("{}?quarantined&prefix={}", routes::FACTS, encode(prefix))).await
}

pub(super) async fn list(ctx: &Ctx) -> Outcome {
    let list = quarantined(&ctx.client(), "").await?;
    ctx.print(&list, &|list: &FactList, format| match format {
        Format::Name => names(list.facts.iter().map(|fact| fact.path.as_str())),
        _ if list.facts.is_empty() => "nothing is in quarantine here".to_owned(),
        _ => {
            let line = |fact: &Fact| {
                let head = |head: &crux_api::json::Head| {
                    let text = value_text(&fact.path, head);
                    format!("    {text}  [{} by {}, {}]", short(&head.id), head.author, day(head.wall.0))
                };
                let heads = fact.heads.iter().map(head).collect::<Vec<_>>().join("\n");
                format!("{}\n{heads}", fact.path)
            };
            let text = list.facts.iter().map(line).collect::<Vec<_>>().join("\n");
            text.lines().map(clean).collect::<Vec<_>>().join("\n")
        }
    })?;
    Ok(0)
}

/// What is in quarantine is replaced by the same, signed now.
pub(super) async fn accept(ctx: &Ctx, path: &str, take: Option<&str>) -> Outcome {
    let client = ctx.client();
    let next = "crux facts quarantine";
    let behind = quarantined(&client, path).await?.facts.into_iter().find(|fact| fact.path == path);
    let behind =
        behind.ok_or_else(|| ErrorDoc::new(Code::NotFound, format!("{path} is not in quarantine here"), next))?;
    if path.starts_with("row/") {
        let cause = format!("{path} is its fulcrum's own to write, and it writes it when it is here");
        return Err(ErrorDoc::new(Code::Refused, cause, "start that fulcrum"));
    }
    let kept = match take {
        Some(begin) => chosen(&behind, begin, next)?,
        None => behind.heads.first().ok_or_else(|| ErrorDoc::new(Code::NotFound, path.to_owned(), next))?,
    };
    let fresh = NewFact { path: path.to_owned(), value: bytes(path, kept)? };
    let operator = Operator::load(&ctx.global, &ctx.target)?;
    // In place of what is in force, if anything is, and of all that is in quarantine under this path.
    let now = fact_at(&client, path).await?.and_then(|fact| fact.heads.into_iter().next());
    let heads = now.into_iter().chain(behind.heads.iter().cloned()).collect();
    let code = accepted(&operator.settle(&client, &fresh, &Fact { path: path.to_owned(), heads }).await?);
    ctx.done(&Done { text: format!("{path} is in force again: {}", value_text(path, kept)) }).map(|_| code)
}

pub(super) async fn run(ctx: &Ctx, days: u64, dry_run: bool) -> Outcome {
    let client = ctx.client();
    let operator = Operator::load(&ctx.global, &ctx.target)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
    let now = u64::try_from(now).unwrap_or(u64::MAX);
    let before = now.saturating_sub(days * DAY);
    let list: FactList = client.get(routes::FACTS).await?;
    let mut told = Told::default();
    let (mut fresh, mut old) = (Vec::new(), Vec::new());
    for fact in list.facts.iter().filter(|fact| fact.path != HORIZON && !fact.path.starts_with("expel/")) {
        let Some(winner) = fact.heads.first().filter(|winner| behind(winner.wall, before)) else { continue };
        let value = bytes(&fact.path, winner)?;
        // Like an expulsion it is never behind a line.
        if value.as_ref().is_some_and(|value| removes_rule(&fact.path, value)) {
            continue;
        }
        match (&value, fact.path.strip_prefix("row/")) {
            (None, _) => told.forgotten += 1,
            (Some(_), Some(row)) => _ = told.rows.insert(row.strip_suffix("/0").unwrap_or(row).to_owned()),
            (Some(_), None) => {
                told.conflicts += usize::from(fact.heads.iter().any(|head| head.value != winner.value));
                fresh.push(NewFact { path: fact.path.clone(), value });
                old.push(fact);
            }
        }
    }
    if told.conflicts > 0 {
        let cause =
            format!("{} old facts have a conflict, and what lost would be lost; nothing was changed", told.conflicts);
        return Err(ErrorDoc::new(Code::Refused, cause, "crux facts conflicts, then crux facts dismiss PATH"));
    }
    told.again = fresh.len();
    // Who is here writes its row again by itself.
    let nodes: NodeList = client.get(routes::NODES).await?;
    nodes.roster.iter().for_each(|entry| _ = told.rows.remove(&entry.name));
    if dry_run {
        let text = format!("with a line at {}: {}", day(before), told.text("would be"));
        return ctx.done(&Done { text }).map(|_| 0);
    }
    let writes: Vec<_> = fresh.iter().zip(old.into_iter().map(Some)).collect();
    let code = sign_again(&operator, &client, &writes, WriteKind::Edit, "crux facts prune").await?;
    let line = fact_at(&client, HORIZON).await?;
    let horizon = NewFact::horizon(before);
    let code = code.max(accepted(&operator.write(&client, &[(&horizon, line.as_ref())]).await?));
    let text = format!("nothing from before {} is in force any more: {}", day(before), told.text("are"));
    ctx.done(&Done { text }).map(|_| code)
}

fn behind(stamp: Counter, before: u64) -> bool {
    stamp.0 < before
}

/// What a prune does.
#[derive(Default)]
struct Told {
    again: usize,
    forgotten: usize,
    conflicts: usize,
    /// Of fulcrums that are not here.
    rows: BTreeSet<String>,
}

impl Told {
    fn text(&self, verb: &str) -> String {
        let mut text =
            format!("{} facts {verb} signed again, {} deletions {verb} forgotten", self.again, self.forgotten);
        if !self.rows.is_empty() {
            let names = self.rows.iter().cloned().collect::<Vec<_>>().join(", ");
            text += &format!("; {names} {verb} of no horde until they are here again");
        }
        text
    }
}
