//! `crux bloc status`: the bloc at a glance. It ends with 1 if something needs a hand.

use crate::Outcome;
use crate::command::Ctx;
use crate::output::{Format, clean, names, short, until_then};
use crux_api::json::{BlocStatus, Code, HordeState};
use crux_api::routes;

/// Most certificates that are shown for people.
const SHOWN: usize = 3;

pub(super) async fn run(ctx: &Ctx) -> Outcome {
    let shown = |status: &BlocStatus, format| match format {
        Format::Name => names([status.bloc.as_str()]),
        _ => text(status, format == Format::Wide),
    };
    ctx.show_anew(routes::BLOC, shown, |status| if status.well { 0 } else { Code::Failed.exit() }).await
}

fn text(status: &BlocStatus, wide: bool) -> String {
    let mut lines = Vec::new();
    let mut line = |name: &str, text: String| lines.push(format!("{name:<9}{text}"));
    line("bloc", format!("{}, as {} has it", status.bloc, status.node));
    let stable = if status.stable { "stable" } else { "not stable yet" };
    let of = status.expect.map_or_else(String::new, |expect| format!(" of {expect}"));
    line(
        "flock",
        format!(
            "{}, led by {}, {}{of} member{}, {stable}",
            status.flock,
            status.leader,
            status.members.len(),
            if status.members.len() == 1 && of.is_empty() { "" } else { "s" }
        ),
    );
    line("members", status.members.join(" "));
    for sibling in &status.siblings {
        let size = crux_pki::count(sibling.size as usize, "member");
        line("apart", format!("{}, led by {}, {size}", sibling.flock, sibling.leader));
    }
    for outside in &status.outside {
        let name = outside.name.as_ref().unwrap_or(&outside.addr);
        line("outside", format!("{name}: {}", outside.reason));
    }
    let admin = status.admin.as_ref().map_or_else(
        || "nobody".to_owned(),
        |admin| {
            let whole = if admin.state == HordeState::Whole { "whole" } else { "not whole" };
            format!("{}, {whole}", admin.present.join(" "))
        },
    );
    line("ADMIN", admin);
    line("hordes", format!("{}, {} not whole", status.hordes, status.not_whole.len()));
    for root in &status.roots {
        let end = root.not_after.as_deref().map_or_else(|| "?".to_owned(), until_then);
        line("root", format!("{}, ends in {end}", short(&root.fingerprint)));
    }
    let shown = if wide { status.certificates.len() } else { SHOWN };
    let ends = status.certificates.iter().take(shown);
    let ends: Vec<String> = ends.map(|one| format!("{} in {}", one.node, until_then(&one.not_after))).collect();
    line("certs", format!("end first: {}", ends.join(", ")));
    let facts = &status.facts;
    line("facts", format!("{}, {} in conflict, digest {}", facts.count, facts.conflicts, short(&facts.digest)));
    line("store", status.store.reason.as_ref().map_or("ok".to_owned(), |why| format!("refuses writes: {why}")));
    for expelled in &status.expelled {
        line("expelled", format!("{}, by {}: {}", expelled.node, expelled.by, expelled.reason));
    }
    if status.well {
        lines.push("well: nothing needs a hand".to_owned());
    }
    for finding in &status.findings {
        lines.push(format!("! {} {}: {}", finding.check, finding.subject, finding.text));
        lines.extend(finding.next.as_ref().map(|next| format!("    next: {next}")));
    }
    lines.iter().map(|line| clean(line)).collect::<Vec<_>>().join("\n")
}
