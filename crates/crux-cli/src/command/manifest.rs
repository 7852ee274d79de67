//! `crux plan` and `crux apply`.

use super::Ctx;
use super::write::plan_text;
use crate::Outcome;
use crate::operator::{check_hordes, compare};
use clap::Args;
use crux_api::intent::Intent;
use std::path::PathBuf;

/// The exit code of `plan --exit-code` when something would change.
const WOULD_CHANGE: u8 = 10;

/// What would change.
#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    /// The manifest
    file: PathBuf,
    /// End with 10 if anything would change
    #[arg(long)]
    exit_code: bool,
}

/// Make it so.
#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    /// The manifest; what it does not name stays as it is
    file: PathBuf,
}

pub(crate) async fn plan(ctx: &Ctx, args: PlanArgs) -> Outcome {
    let intent = Intent::load(&args.file)?;
    let client = ctx.client();
    check_hordes(&client, &intent.facts).await?;
    let (_, plan) = compare(&client, &intent.facts).await?;
    ctx.print(&plan, &plan_text)?;
    Ok(if args.exit_code && !plan.changes.is_empty() { WOULD_CHANGE } else { 0 })
}

pub(crate) async fn apply(ctx: &Ctx, args: ApplyArgs) -> Outcome {
    ctx.make_so(&Intent::load(&args.file)?).await
}
