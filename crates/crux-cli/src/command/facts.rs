//! `crux facts`.

use super::Ctx;
use crate::Outcome;
use crate::output::{Format, clean, names, short};
use clap::Subcommand;
use crux_api::client::encode;
use crux_api::intent::describe;
use crux_api::json::{FactList, Head, from_hex};
use crux_api::routes;

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
}

pub(crate) async fn run(ctx: &Ctx, command: FactsCommand) -> Outcome {
    let (path, conflicts, deleted) = match command {
        FactsCommand::List { prefix, deleted } => {
            (format!("{}?prefix={}", routes::FACTS, encode(&prefix)), false, deleted)
        }
        FactsCommand::Conflicts => (format!("{}?conflicts", routes::FACTS), true, true),
    };
    let mut list: FactList = ctx.client().get(&path).await?;
    list.facts.retain(|fact| deleted || fact.heads.first().is_some_and(|head| head.value.is_some()));
    ctx.print(&list, &|list: &FactList, format| match format {
        Format::Name => names(list.facts.iter().map(|fact| fact.path.as_str())),
        _ if list.facts.is_empty() && conflicts => "no conflicts".to_owned(),
        _ => text(list, format == Format::Wide),
    })?;
    Ok(0)
}

fn text(list: &FactList, wide: bool) -> String {
    let mut lines = Vec::new();
    for fact in &list.facts {
        lines.push(fact.path.clone());
        for (place, head) in fact.heads.iter().enumerate() {
            let mark = if place == 0 { "" } else { "lost: " };
            let mut line = format!("    {mark}{}", value(&fact.path, head));
            if wide || place > 0 {
                line += &format!("  [{} by {}]", short(&head.id), head.author);
            }
            lines.push(line);
        }
    }
    lines.push(format!("{} facts, digest {}", list.facts.len(), short(&list.digest)));
    lines.iter().map(|line| clean(line)).collect::<Vec<_>>().join("\n")
}

fn value(path: &str, head: &Head) -> String {
    match head.value.as_deref().map(from_hex) {
        None => "deleted".to_owned(),
        Some(Ok(value)) => describe(path, &value),
        Some(Err(e)) => format!("unreadable: {e}"),
    }
}
