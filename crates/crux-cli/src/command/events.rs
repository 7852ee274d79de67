//! `crux events`.

use super::{Ctx, with};
use crate::Outcome;
use crate::output::{Format, clean, short_hashes};
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
    let path =
        args.after.map_or_else(|| routes::EVENTS.to_owned(), |after| with(routes::EVENTS, &format!("after={after}")));
    ctx.list(&path, |list: &EventList| &list.events, line).await
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
