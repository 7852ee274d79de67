//! `crux doctor`: what is wrong, each with cause and next step. It ends with 1 if anything is.

use super::Ctx;
use crate::Outcome;
use crate::output::{Format, clean, names};
use crux_api::json::{Code, Doctor, Finding, FindingState};
use crux_api::routes;

pub(crate) async fn run(ctx: &Ctx) -> Outcome {
    let doctor: Doctor = ctx.client().get(routes::DOCTOR).await?;
    ctx.print(&doctor, &|doctor: &Doctor, format| match format {
        Format::Name => {
            let bad = doctor.findings.iter().filter(|finding| finding.state != FindingState::Ok);
            names(bad.map(|finding| finding.check.as_str()))
        }
        _ => doctor.findings.iter().map(line).collect::<Vec<_>>().join("\n"),
    })?;
    let wrong = doctor.findings.iter().any(|finding| finding.state == FindingState::Wrong);
    Ok(if wrong { Code::Failed.exit() } else { 0 })
}

fn line(finding: &Finding) -> String {
    let word = match finding.state {
        FindingState::Ok => "ok",
        FindingState::Warning => "warning",
        FindingState::Wrong => "WRONG",
    };
    let mut line = format!("{word:<8} {:<12} {}: {}", finding.check, clean(&finding.subject), clean(&finding.text));
    if let Some(next) = &finding.next {
        line += &format!("\n{:<21} next: {}", "", clean(next));
    }
    line
}
