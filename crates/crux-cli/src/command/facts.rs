//! `crux facts`.

use super::write::accepted;
use super::{Ctx, prune};
use crate::Outcome;
use crate::operator::{Operator, fact_at, in_force};
use crate::output::{Format, clean, names, short};
use clap::Subcommand;
use crux_api::client::{Client, encode};
use crux_api::intent::describe;
use crux_api::json::{Code, Done, ErrorDoc, Fact, FactList, Head, Status, from_hex};
use crux_api::routes;
use crux_api::write::{NewFact, WriteKind};

/// Facts.
#[derive(Debug, Subcommand)]
pub(crate) enum FactsCommand {
    /// Facts, as they are stored
    List {
        /// Only paths that begin so: `horde/`, `place/web/`
        #[arg(default_value = "")]
        prefix: String,
        /// Deleted ones too
        #[arg(long)]
        deleted: bool,
    },
    /// Facts that were changed in two places at once, with the change that lost
    Conflicts,
    /// Sign everything that operators want once more, with this operator's certificate: before the root goes under which
    /// it was signed
    Reseal,
    /// What came back from before the horizon and is not in force, as the asked fulcrum holds it
    Quarantine,
    /// Put something from the quarantine in force again: it is signed anew
    Accept {
        /// The fact's path, as `crux facts quarantine` shows it
        path: String,
        /// This one instead of the latest: the beginning of its id
        #[arg(long, value_name = "ID")]
        take: Option<String>,
    },
    /// Forget deletions that nobody remembers any more: nothing from before that day is in force, what is wanted is signed
    /// again, and what somebody brings back later waits in quarantine
    Prune {
        /// How far back the line lies, in days; at least 430, for so long a node may be away and return
        #[arg(long, value_name = "DAYS", default_value_t = prune::LEAST_DAYS, value_parser = clap::value_parser!(u64).range(prune::LEAST_DAYS..=36_500))]
        older_than: u64,
        /// Show what would be done
        #[arg(long)]
        dry_run: bool,
    },
    /// End a conflict: what is in force stays, or what lost takes its place
    Dismiss {
        /// The fact's path, as `crux facts conflicts` shows it
        path: String,
        /// Put this one in force instead: the beginning of its id
        #[arg(long, value_name = "ID")]
        take: Option<String>,
    },
}

pub(crate) async fn run(ctx: &Ctx, command: FactsCommand) -> Outcome {
    let (path, conflicts, deleted) = match command {
        FactsCommand::List { prefix, deleted } => {
            (format!("{}?prefix={}", routes::FACTS, encode(&prefix)), false, deleted)
        }
        FactsCommand::Conflicts => (format!("{}?conflicts", routes::FACTS), true, true),
        FactsCommand::Quarantine => return prune::list(ctx).await,
        FactsCommand::Accept { path, take } => return prune::accept(ctx, &path, take.as_deref()).await,
        FactsCommand::Prune { older_than, dry_run } => return prune::run(ctx, older_than, dry_run).await,
        FactsCommand::Reseal => return reseal(ctx).await,
        FactsCommand::Dismiss { path, take } => return dismiss(ctx, &path, take.as_deref()).await,
    };
    let mut list: FactList = ctx.client().get(&path).await?;
    list.facts.retain(|fact| deleted || in_force(Some(fact)));
    ctx.print(&list, &|list: &FactList, format| match format {
        Format::Name => names(list.facts.iter().map(|fact| fact.path.as_str())),
        _ if list.facts.is_empty() && conflicts => "no conflicts".to_owned(),
        _ => text(list, format == Format::Wide),
    })?;
    Ok(0)
}

/// How many facts go in one write: each has a certificate chain or two.
const AT_ONCE: usize = 100;
/// How many bytes of values, so that a request stays well below what a door takes, in hex and with chains.
const BYTES_AT_ONCE: usize = 1 << 20;

/// Deletions too: what was deleted must stay so. A row that its fulcrum signed is its own to sign again.
async fn reseal(ctx: &Ctx) -> Outcome {
    let client = ctx.client();
    let operator = Operator::load(&ctx.global, &ctx.target)?;
    let status: Status = client.get(routes::STATUS).await?;
    let own = operator.bundle().root().map(|root| crux_pki::fingerprint(&root).to_string());
    if let (Some(door), Some(own)) = (&status.certificate.root, &own)
        && door != own
    {
        let cause = format!(
            "the certificate of {} is of root {}, that of the operator of root {}: what is signed again here would still need \
             the first one, for who accepts a fact signs it too; nothing was changed",
            status.confab.node,
            short(door),
            short(own)
        );
        let next = format!(
            "install a certificate of the root that stays at {} first, or --at a fulcrum that has one",
            status.confab.node
        );
        return Err(ErrorDoc::new(Code::Refused, cause, next));
    }
    let mut list: FactList = client.get(routes::FACTS).await?;
    // By who signed it, not by its path: that a row was forgotten is an operator's word.
    list.facts.retain(|fact| fact.heads.first().is_some_and(|head| head.author.starts_with("operator")));
    let (mut fresh, mut conflicts) = (Vec::new(), 0);
    for fact in &list.facts {
        let Some((winner, losers)) = fact.heads.split_first() else { continue };
        conflicts += usize::from(losers.iter().any(|loser| loser.value != winner.value));
        fresh.push(NewFact { path: fact.path.clone(), value: bytes(&fact.path, winner)? });
    }
    if conflicts > 0 {
        let cause =
            format!("{conflicts} facts have a conflict, and what lost would not be signed again; nothing was changed");
        return Err(ErrorDoc::new(Code::Refused, cause, "crux facts conflicts, then crux facts dismiss PATH"));
    }
    let writes: Vec<(&NewFact, Option<&Fact>)> = fresh.iter().zip(list.facts.iter().map(Some)).collect();
    let mut code = sign_again(&operator, &client, &writes, WriteKind::Again, "crux facts reseal").await?;
    let conflicts: FactList = client.get(&format!("{}?conflicts", routes::FACTS)).await?;
    let mut text = format!("{} facts are signed again", writes.len());
    if !conflicts.facts.is_empty() {
        text += &format!(
            "; meanwhile {} were changed by others too, and their change is in force: crux facts conflicts, then this command \
             again",
            conflicts.facts.len()
        );
        code = code.max(1);
    }
    ctx.done(&Done { text }).map(|_| code)
}

/// Signs all of these once more, as many at a time as a door takes.
pub(super) async fn sign_again(
    operator: &Operator,
    client: &Client,
    writes: &[(&NewFact, Option<&Fact>)],
    kind: WriteKind,
    command: &str,
) -> Outcome {
    let (mut code, mut done) = (0, 0);
    while done < writes.len() {
        let part = &writes[done..done + at_once(&writes[done..])];
        let written = operator.write_as(client, part, kind).await.map_err(|e| {
            let cause = format!("{done} of {} facts are signed again; then: {}", writes.len(), e.cause);
            // What a door refuses it refuses again; who could not be reached may be reached later.
            let lost = matches!(e.code, Code::Unreachable);
            let next = if lost { format!("the same command again: {command}") } else { e.next };
            ErrorDoc { cause, next, code: e.code }
        })?;
        code = code.max(accepted(&written));
        done += part.len();
    }
    Ok(code)
}

/// How many of these, at least one, go in one write.
fn at_once(writes: &[(&NewFact, Option<&Fact>)]) -> usize {
    let mut bytes = 0;
    let fits = writes.iter().take(AT_ONCE).take_while(|(fact, _)| {
        bytes += fact.value.as_ref().map_or(0, Vec::len);
        bytes <= BYTES_AT_ONCE
    });
    fits.count().max(1)
}

pub(super) fn bytes(path: &str, head: &Head) -> Result<Option<Vec<u8>>, ErrorDoc> {
    let value = head.value.as_deref().map(from_hex).transpose();
    value.map_err(|e| ErrorDoc::new(Code::Failed, format!("{path}: {e}"), "compare `crux version` on both sides"))
}

/// Writes what shall be in force once more, in place of every version that stands there.
async fn dismiss(ctx: &Ctx, path: &str, take: Option<&str>) -> Outcome {
    let client = ctx.client();
    let next = "crux facts conflicts";
    let fact = fact_at(&client, path).await?;
    let fact = fact.ok_or_else(|| ErrorDoc::new(Code::NotFound, format!("there is no fact {path}"), next))?;
    let Some((winner, losers)) = fact.heads.split_first() else {
        return Err(ErrorDoc::new(Code::NotFound, format!("there is no fact {path}"), next));
    };
    if losers.iter().all(|loser| loser.value == winner.value) {
        return Err(ErrorDoc::new(Code::NotFound, format!("{path} has no conflict"), next));
    }
    let kept = match take {
        None => winner,
        Some(begin) => chosen(&fact, begin, next)?,
    };
    let fresh = NewFact { path: path.to_owned(), value: bytes(path, kept)? };
    let operator = Operator::load(&ctx.global, &ctx.target)?;
    let code = accepted(&operator.settle(&client, &fresh, &fact).await?);
    let text = format!("{path} has no conflict any more: {}", value_text(path, kept));
    ctx.done(&Done { text }).map(|_| code)
}

/// The version whose id begins so.
pub(super) fn chosen<'a>(fact: &'a Fact, begin: &str, next: &str) -> Result<&'a Head, ErrorDoc> {
    let mut found = fact.heads.iter().filter(|head| !begin.is_empty() && head.id.starts_with(begin));
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (found, _) => {
            let many = if found.is_some() { "more than one version" } else { "no version" };
            let cause = format!("{many} of {} has an id that begins with {begin:?}", fact.path);
            Err(ErrorDoc::new(Code::Usage, cause, next))
        }
    }
}

fn text(list: &FactList, wide: bool) -> String {
    let mut lines = Vec::new();
    for fact in &list.facts {
        lines.push(fact.path.clone());
        for (place, head) in fact.heads.iter().enumerate() {
            let mark = if place == 0 { "" } else { "lost: " };
            let mut line = format!("    {mark}{}", value_text(&fact.path, head));
            if wide || place > 0 {
                line += &format!("  [{} by {}]", short(&head.id), head.author);
            }
            lines.push(line);
        }
    }
    lines.push(format!("{}, digest {}", crux_pki::count(list.facts.len(), "fact"), short(&list.digest)));
    lines.iter().map(|line| clean(line)).collect::<Vec<_>>().join("\n")
}

pub(super) fn value_text(path: &str, head: &Head) -> String {
    match head.value.as_deref().map(from_hex) {
        None => "deleted".to_owned(),
        Some(Ok(value)) => describe(path, &value),
        Some(Err(e)) => format!("unreadable: {e}"),
    }
}
