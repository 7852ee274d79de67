//! `crux logs`.

use super::{Ctx, with};
use crate::Outcome;
use crate::output::{self, Format, clean};
use clap::Args;
use crux_api::client::encode;
use crux_api::json::{LogLine, LogList};
use crux_api::routes;

/// Whose lines.
#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// A service (`web/api`; in horde main `api` is enough) or an instance (`web/api.2`, or its id)
    of: String,
    /// Only the last so many lines of each instance
    #[arg(long, value_name = "N")]
    tail: Option<u32>,
    /// Follow
    #[arg(short, long)]
    follow: bool,
    /// Begin each line with the time at which it came here; only with -f, for lines are kept without one
    #[arg(long, requires = "follow")]
    time: bool,
}

/// The part of the query that names whose lines are wanted.
fn subject(of: &str) -> String {
    if of.contains(':') {
        return format!("instance={}", encode(of));
    }
    let full = if of.contains('/') { of.to_owned() } else { format!("{}/{of}", crux_names::MAIN) };
    let numbered = full.rsplit_once('.').is_some_and(|(_, slot)| slot.parse::<u32>().is_ok());
    format!("{}={}", if numbered { "instance" } else { "service" }, encode(&full))
}

/// Instance and node before a line; on a terminal each instance in its colour.
fn whose(line: &LogLine, colour: bool) -> String {
    let whose = clean(&format!("{}@{}", line.name, line.node));
    if !colour {
        return format!("{whose}  ");
    }
    // Six colours that can be read on dark and light.
    let of = line.name.bytes().chain(line.node.bytes()).fold(0_u32, |sum, byte| sum.wrapping_mul(31) + u32::from(byte));
    format!("\u{1b}[{}m{whose}\u{1b}[0m  ", 31 + of % 6)
}

pub(crate) async fn run(ctx: &Ctx, args: LogsArgs) -> Outcome {
    let mut path = format!("{}?{}", routes::LOGS, subject(&args.of));
    if let Some(tail) = args.tail {
        path += &format!("&tail={tail}");
    }
    // Lines of one instance need no name before them.
    let many = path.contains("?service=");
    let (colour, time) = (output::may_colour(), args.time);
    let line = |line: &LogLine, format: Format| match format {
        Format::Wide => clean(&format!("{} {} {}  {}", line.name, line.node, line.stream, line.text)),
        Format::Name => clean(&line.name),
        _ => {
            let at = if time { format!("{} ", output::clock()) } else { String::new() };
            let whose = if many { whose(line, colour) } else { String::new() };
            format!("{at}{whose}{}", clean(&line.text))
        }
    };
    if !(args.follow || ctx.global.watch) {
        let list: LogList = ctx.client().get(&path).await?;
        if list.lines.is_empty() {
            output::note(&format!("{} has written nothing that is kept", clean(&args.of)));
        }
        ctx.print(&list, &|list: &LogList, format| {
            list.lines.iter().map(|entry| line(entry, format)).collect::<Vec<_>>().join("\n")
        })?;
        return Ok(0);
    }
    ctx.follow(&with(&path, "follow"), line).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_whose_it_is_and_colours_cannot_be_smuggled_in() {
        let line = LogLine {
            instance: "n1:1:1".into(),
            name: "main/demo.1".into(),
            node: "n1\u{1b}[2J".into(),
            stream: "stdout".into(),
            text: "hello".into(),
        };
        assert_eq!(whose(&line, false), "main/demo.1@n1\\u{1b}[2J  ");
        let coloured = whose(&line, true);
        assert!(coloured.starts_with("\u{1b}[3") && coloured.ends_with("\u{1b}[0m  "), "{coloured:?}");
        assert_eq!(coloured.matches('\u{1b}').count(), 2);
    }

    #[test]
    fn services_instances_and_ids_are_told_apart() {
        assert_eq!(subject("api"), "service=main%2Fapi");
        assert_eq!(subject("web/api"), "service=web%2Fapi");
        assert_eq!(subject("web/api.2"), "instance=web%2Fapi.2");
        assert_eq!(subject("n1.rack:697df3c0:4"), "instance=n1.rack%3A697df3c0%3A4");
    }
}
