//! What every write has in common: compare, push files, sign, wait, and say what became of it.

use super::goals::Goal;
use super::{Ctx, wait};
use crate::Outcome;
use crate::args::WaitFor;
use crate::operator::{Operator, check_hordes, seen};
use crate::output::{self, Format, may_draw, note, short};
use crux_api::client::Client;
use crux_api::intent::{Diff, Intent, Upload, diff};
use crux_api::json::{ChangeAction, Code, ErrorDoc, FileList, PlanDiff, Written};
use crux_api::routes;
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::BTreeSet;

impl Ctx {
    /// Makes an intent so: nothing is changed unless all of it can be.
    pub(super) async fn make_so(&self, intent: &Intent) -> Outcome {
        let operator = Operator::load(&self.global, &self.target)?;
        let client = self.client();
        check_hordes(&client, &intent.facts).await?;
        let there = seen(&client, &intent.facts).await?;
        let Diff { writes, plan } = diff(&intent.facts, &there);
        push(&client, &intent.uploads).await?;
        let mut code = 0;
        if !writes.is_empty() {
            code = accepted(&operator.write(&client, &writes).await?);
        }
        self.print(&plan, &plan_text)?;
        if self.global.wait == Some(WaitFor::Ready) {
            let services = intent.facts.iter().filter(|fact| fact.value.is_some());
            let services: BTreeSet<(String, String)> = services.filter_map(|fact| placed(&fact.path)).collect();
            // A service of another revision may be ready before the change has reached its proctor.
            let revisions = intent.revisions();
            let goals: Vec<Goal> = intent.facts.iter().filter_map(Goal::of).collect();
            // Services first get ready when their horde has somebody.
            let deadline = wait::deadline(self);
            wait::until_so(self, &goals, deadline).await?;
            wait::until_ready(self, &services, &revisions, deadline).await?;
            code = 0;
        }
        Ok(code)
    }
}

/// The exit code of a write that was accepted; says so if it has not spread yet.
pub(super) fn accepted(written: &Written) -> u8 {
    if written.converged {
        return 0;
    }
    note(&format!(
        "accepted, but only {} other fulcrums have it on disk yet; it will spread by itself: crux status",
        written.others
    ));
    Code::NotConverged.exit()
}

/// Horde and service of a placement's path.
fn placed(path: &str) -> Option<(String, String)> {
    let mut parts = path.split('/');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some("place"), Some(horde), Some(service), None) => Some((horde.to_owned(), service.to_owned())),
        _ => None,
    }
}

/// What changes, for people.
pub(super) fn plan_text(plan: &PlanDiff, format: Format) -> String {
    if format == Format::Name {
        return output::names(plan.changes.iter().map(|change| change.path.as_str()));
    }
    if plan.changes.is_empty() {
        return format!("nothing to change; {} facts are as they should be", plan.unchanged);
    }
    let mut lines = Vec::new();
    for change in &plan.changes {
        let (sign, word) = match change.action {
            ChangeAction::Create => ('+', "create"),
            ChangeAction::Change => ('~', "change"),
            ChangeAction::Delete => ('-', "delete"),
        };
        // A revision's hash is long and its beginning tells enough.
        let path: Vec<String> =
            change.path.split('/').map(|part| if part.len() == 64 { short(part) } else { part.to_owned() }).collect();
        lines.push(format!("{sign} {word} {}", path.join("/")));
        if change.action != ChangeAction::Create {
            lines.extend(change.before.iter().map(|before| format!("    now  {before}")));
        }
        lines.extend(change.after.iter().map(|after| format!("    then {after}")));
    }
    lines.iter().map(|line| output::clean(line)).collect::<Vec<_>>().join("\n")
}

/// Pushes files that the fulcrum does not have, and compares what arrived.
pub(super) async fn push(client: &Client, uploads: &[Upload]) -> Result<(), ErrorDoc> {
    if uploads.is_empty() {
        return Ok(());
    }
    let there: FileList = client.get(routes::FILES).await?;
    let there: BTreeSet<&str> = there.files.iter().map(|file| file.sha256.as_str()).collect();
    let missing: Vec<&Upload> =
        uploads.iter().filter(|upload| !there.contains(upload.sha256.to_string().as_str())).collect();
    let total = missing.iter().map(|upload| upload.size).sum();
    let bar = if may_draw() && total > 1 << 20 { ProgressBar::new(total) } else { ProgressBar::hidden() };
    if let Ok(style) = ProgressStyle::with_template("push {bytes}/{total_bytes} {wide_bar} {msg}") {
        bar.set_style(style);
    }
    for upload in missing {
        bar.set_message(upload.source.file_name().unwrap_or_default().to_string_lossy().into_owned());
        let stored = client.put_file(&upload.source).await?;
        if stored.sha256 != upload.sha256.to_string() {
            let cause = format!("{} changed while it was pushed", upload.source.display());
            return Err(ErrorDoc::new(Code::Failed, cause, "try again when nothing writes to it"));
        }
        bar.inc(upload.size);
    }
    bar.finish_and_clear();
    Ok(())
}
