//! `crux audit`.

use super::{Ctx, with};
use crate::Outcome;
use crate::output::{Format, clean, or_dash, short_hashes};
use clap::Args;
use crux_api::json::{AuditEntry, AuditList, AuditOutcome};
use crux_api::routes;

/// What operators did at this fulcrum, and what they were refused.
#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    /// Only what came after this cursor
    #[arg(long, value_name = "CURSOR")]
    after: Option<u64>,
}

pub(crate) async fn run(ctx: &Ctx, args: AuditArgs) -> Outcome {
    let from = |after: Option<u64>| {
        after.map_or(routes::AUDIT.to_owned(), |after| with(routes::AUDIT, &format!("after={after}")))
    };
    if ctx.global.watch {
        return ctx.follow(&with(&from(args.after), "watch"), line).await;
    }
    let mut list: AuditList = ctx.client().get(&from(args.after)).await?;
    // A fulcrum answers by the page.
    while let Some(next) = list.next.take() {
        let more: AuditList = ctx.client().get(&from(Some(next.0))).await?;
        list.entries.extend(more.entries);
        list.next = more.next.filter(|further| further.0 > next.0);
    }
    ctx.print(&list, &|list: &AuditList, format| {
        list.entries.iter().map(|entry| line(entry, format)).collect::<Vec<_>>().join("\n")
    })?;
    Ok(0)
}

fn outcome(outcome: AuditOutcome) -> &'static str {
    match outcome {
        AuditOutcome::Begun => "begun",
        AuditOutcome::Done => "done",
        AuditOutcome::Accepted => "accepted",
        AuditOutcome::Refused => "refused",
        AuditOutcome::Failed => "failed",
    }
}

/// Who asked, and who signed if that is somebody else.
fn who(entry: &AuditEntry) -> String {
    let by = match entry.uid {
        Some(uid) => format!("{} uid {uid}", entry.by),
        None => entry.by.clone(),
    };
    match &entry.author {
        Some(author) if entry.claimed => format!("claimed {author} ({by})"),
        Some(author) if *author != entry.by => format!("{author} ({by})"),
        _ => by,
    }
}

fn line(entry: &AuditEntry, format: Format) -> String {
    let mut targets = entry.targets.join(" ");
    if entry.more > 0 {
        targets.push_str(&format!(" and {} more", entry.more));
    }
    let mut what = format!("{:<8} {}", outcome(entry.outcome), targets);
    if let (Some(code), Some(reason)) = (&entry.code, &entry.reason) {
        what.push_str(&format!(": {code} {reason}"));
    }
    if entry.unlisted > 0 {
        what.push_str(&format!(" (and {} refusals before it)", entry.unlisted));
    }
    clean(&match format {
        Format::Name => entry.cursor.to_string(),
        Format::Wide => format!(
            "{:>6}  {}  {:<10} {:<22} {:<28} {:<8} {what}  {}",
            entry.cursor.0,
            entry.at,
            entry.door,
            or_dash(entry.from.as_deref()),
            who(entry),
            entry.verb,
            entry.facts.join(" ")
        ),
        // Seconds are enough for people; the document has microseconds.
        _ => {
            let at = entry.at.get(..19).unwrap_or(&entry.at);
            format!("{at}  {:<28} {:<8} {}", who(entry), entry.verb, short_hashes(&what))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crux_api::json::Counter;

    #[test]
    fn a_line_says_who_did_what_and_why_not() {
        let refused = AuditEntry {
            cursor: Counter(7),
            at: "2026-11-27T06:00:01.123456Z".into(),
            door: "n1".into(),
            by: "socket".into(),
            uid: Some(0),
            from: None,
            author: Some("operator/bob".into()),
            claimed: false,
            verb: "horde".into(),
            targets: vec!["horde/db".into(), "horde/\u{1b}x".into()],
            facts: vec![],
            more: 2,
            outcome: AuditOutcome::Refused,
            code: Some("E401".into()),
            reason: Some("it is limited".into()),
            unlisted: 3,
        };
        let text = line(&refused, Format::Table);
        let begins = "2026-11-27T06:00:01  operator/bob (socket uid 0)  horde    refused  horde/db horde/";
        assert!(text.starts_with(begins), "{text}");
        assert!(text.ends_with(" and 2 more: E401 it is limited (and 3 refusals before it)"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text:?}");
        assert_eq!(line(&refused, Format::Name), "7");
        let forged = line(&AuditEntry { claimed: true, ..refused }, Format::Table);
        assert!(forged.starts_with("2026-11-27T06:00:01  claimed operator/bob (socket uid 0)"), "{forged}");
    }
}
