//! `crux events`.

use super::{Ctx, ended};
use crate::Outcome;
use crate::output::{self, Format, clean, short_hashes};
use clap::Args;
use crux_api::json::{Event, EventList};
use crux_api::routes;

/// What happened.
#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    /// Only what came after this cursor
    #[arg(long, value_name = "CURSOR")]
    after: Option<u64>,
}

pub(crate) async fn run(ctx: &Ctx, args: EventsArgs) -> Outcome {
    let after = args.after.map(|after| format!("after={after}"));
    if !ctx.global.watch {
        let path = after.map_or_else(|| routes::EVENTS.to_owned(), |after| format!("{}?{after}", routes::EVENTS));
        let list: EventList = ctx.client().get(&path).await?;
        ctx.print(&list, &|list: &EventList, format| {
            list.events.iter().map(|event| line(event, format)).collect::<Vec<_>>().join("\n")
        })?;
        return Ok(0);
    }
    let query: Vec<String> = after.into_iter().chain(["watch".to_owned()]).collect();
    let mut watch = ctx.client().watch::<Event>(&format!("{}?{}", routes::EVENTS, query.join("&"))).await?;
    while let Some(event) = watch.next().await? {
        match ctx.format() {
            Format::Json => output::say(&output::json(&event, true))?,
            format => output::say(&line(&event, format))?,
        }
    }
    ended()
}

fn line(event: &Event, format: Format) -> String {
    // Seconds are enough for people; the document has microseconds.
    let at = event.at.get(11..19).unwrap_or(&event.at);
    clean(&match format {
        Format::Name => event.cursor.to_string(),
        Format::Wide => format!(
            "{:>6}  {}  {:<10} {:<14} {:<16} {}",
            event.cursor.0, event.at, event.node, event.event, event.subject, event.text
        ),
        _ => {
            let subject = shortened(&short_hashes(&event.subject));
            format!("{at}  {:<13} {subject:<24} {}", event.event, short_hashes(&event.text))
        }
    })
}

/// A key that fits its column: its end tells more than its middle.
fn shortened(key: &str) -> String {
    const COLUMN: usize = 24;
    let chars: Vec<char> = key.chars().collect();
    if chars.len() <= COLUMN {
        return key.to_owned();
    }
    chars[..10].iter().chain(['…'].iter()).chain(&chars[chars.len() - 13..]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_keys_keep_both_ends() {
        assert_eq!(shortened("web/api.2"), "web/api.2");
        let long = shortened("place/web/a-service-with-a-long-name");
        assert_eq!((long.as_str(), long.chars().count()), ("place/web/…h-a-long-name", 24));
    }
}
