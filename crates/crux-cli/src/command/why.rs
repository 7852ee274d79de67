//! `crux why`.

use super::Ctx;
use crate::Outcome;
use crate::output::{Format, age, clean};
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
    let why: Why = ctx.client().get(&path).await?;
    ctx.print(&why, &|why: &Why, format| match format {
        Format::Name => clean(&why.state),
        _ => text(why),
    })?;
    Ok(0)
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
    lines.extend(why.reasons.iter().map(|reason| format!("  {reason}")));
    lines.extend(why.rule.iter().map(|rule| format!("  rule {}: {}", rule.id, rule.text)));
    lines.iter().map(|line| clean(line)).collect::<Vec<_>>().join("\n")
}
