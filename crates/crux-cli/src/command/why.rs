//! `crux why`.

use super::Ctx;
use crate::Outcome;
use crate::output::{Format, age, clean, short_hashes};
use clap::Args;
use crux_api::client::encode;
use crux_api::json::Why;
use crux_api::routes;

/// A subject.
#[derive(Debug, Args)]
pub(crate) struct WhyArgs {
    /// `node n7`, `service web/api`, `web/api.2`, `pending web/api`, `horde web`, `flock`
    #[arg(required = true)]
    subject: Vec<String>,
}

pub(crate) async fn run(ctx: &Ctx, args: WhyArgs) -> Outcome {
    let path = format!("{}?subject={}", routes::WHY, encode(&args.subject.join(" ")));
    let shown = |why: &Why, format| match format {
        Format::Name => clean(&why.state),
        _ => text(why),
    };
    ctx.show_anew(&path, shown, |_| 0).await
}

fn text(why: &Why) -> String {
    let mut head = format!("{} is {}", why.subject, why.state);
    if why.since.is_some() {
        head += &format!(" for {}", age(why.since.as_deref()));
    }
    if let Some(by) = &why.by {
        head += &format!(", says {by}");
    }
    let mut lines = vec![head];
    for reason in &why.reasons {
        lines.extend(wrapped(&short_hashes(reason)));
    }
    // Its text is the first reason's already.
    lines.extend(why.rule.iter().map(|rule| format!("  rule {}", rule.id)));
    lines.iter().map(|line| clean(line)).collect::<Vec<_>>().join("\n")
}

/// A reason in lines of a terminal, the second and later ones further in.
fn wrapped(reason: &str) -> Vec<String> {
    const WIDTH: usize = 100;
    let mut lines = Vec::new();
    let mut line = String::from(" ");
    for word in reason.split_whitespace() {
        if line.chars().count() + word.chars().count() >= WIDTH && line.trim() != "" {
            lines.push(std::mem::replace(&mut line, String::from("     ")));
        }
        line.push(' ');
        line += word;
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_reason_is_wrapped_and_loses_nothing() {
        let reason = (0..60).map(|n| format!("word{n}")).collect::<Vec<_>>().join(" ");
        let lines = wrapped(&reason);
        assert!(lines.len() > 3 && lines.iter().all(|line| line.chars().count() <= 100), "{lines:#?}");
        assert_eq!(lines.join(" ").split_whitespace().collect::<Vec<_>>().join(" "), reason);
        assert!(lines[0].starts_with("  word0") && lines[1].starts_with("      word"), "{lines:#?}");
    }
}
