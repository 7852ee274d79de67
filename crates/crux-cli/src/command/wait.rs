//! `crux wait`, and the `--wait` of writes.

use super::Ctx;
use super::goals::Goal;
use crate::Outcome;
use crate::args::duration;
use crate::output::{self, Format};
use clap::Args;
use crux_api::json::{Code, Confab, Done, ErrorDoc, Ps, Status};
use crux_api::routes;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};

/// How long is waited when nothing is said.
const TIMEOUT: Duration = Duration::from_secs(60);
/// How often a fulcrum is asked that does not answer or ended its stream.
const AGAIN: Duration = Duration::from_millis(100);

/// Conditions; all must hold.
#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    /// The flock has exactly so many members
    #[arg(long, value_name = "N")]
    members: Option<usize>,
    /// The flock has been stable and unchanged for so long
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    stable: Option<Duration>,
    /// This service (`web/api`) has as many ready instances as it should; may be given several times
    #[arg(long, value_name = "SERVICE")]
    service: Vec<String>,
}

/// When whoever waits from now on gives up.
pub(super) fn deadline(ctx: &Ctx) -> Instant {
    Instant::now() + ctx.global.timeout.unwrap_or(TIMEOUT)
}

pub(crate) async fn run(ctx: &Ctx, args: WaitArgs) -> Outcome {
    if args.members.is_none() && args.stable.is_none() && args.service.is_empty() {
        let cause = "nothing to wait for: --members, --stable or --service";
        return Err(ErrorDoc::new(Code::Usage, cause, "crux wait --members 5 --stable 15s --timeout 60s"));
    }
    let began = Instant::now();
    let deadline = began + ctx.global.timeout.unwrap_or(TIMEOUT);
    if args.members.is_some() || args.stable.is_some() {
        flock(ctx, &args, deadline).await?;
    }
    let services: BTreeSet<(String, String)> = args.service.iter().map(|name| split(name)).collect();
    until_ready(ctx, &services, &BTreeMap::new(), deadline).await?;
    let text = format!("so after {:.1} s", began.elapsed().as_secs_f64());
    super::print(ctx.global.output, &Done { text }, &|done: &Done, format| match format {
        Format::Name => String::new(),
        _ => done.text.clone(),
    })?;
    Ok(0)
}

fn split(name: &str) -> (String, String) {
    let (horde, service) = name.split_once('/').unwrap_or((crux_names::MAIN, name));
    (horde.to_owned(), service.to_owned())
}

/// What a flock still lacks, for people; `None` if it is as wanted, with how long it must stay so yet.
fn lacks(args: &WaitArgs, confab: &Confab, now: Timestamp) -> Result<Duration, String> {
    let members = confab.members.len();
    if let Some(wanted) = args.members.filter(|wanted| *wanted != members) {
        return Err(format!("flock {} has {members} members, not {wanted}", confab.flock));
    }
    let Some(wanted) = args.stable else { return Ok(Duration::ZERO) };
    if !confab.stable {
        return Err(format!("flock {} of {members} is not stable", confab.flock));
    }
    let since = confab.at.parse::<Timestamp>().unwrap_or(now);
    let lasted = Duration::try_from(now.duration_since(since)).unwrap_or(Duration::ZERO);
    Ok(wanted.saturating_sub(lasted))
}

async fn flock(ctx: &Ctx, args: &WaitArgs, deadline: Instant) -> Result<(), ErrorDoc> {
    let mut lacking = String::from("no fulcrum answered");
    let path = format!("{}?watch", routes::CONFAB);
    while Instant::now() < deadline {
        // A fulcrum that is not there yet is what scripts wait for.
        let Ok(Ok(mut watch)) = timeout_at(deadline, ctx.client_now().watch::<Confab>(&path)).await else {
            sleep(AGAIN).await;
            continue;
        };
        // The view stands until the next document; it may only have to last.
        let mut done_at: Option<Instant> = None;
        loop {
            let until = done_at.map_or(deadline, |done| done.min(deadline));
            match timeout_at(until, watch.next()).await {
                Ok(Ok(Some(confab))) => match lacks(args, &confab, Timestamp::now()) {
                    Ok(left) if left.is_zero() => return Ok(()),
                    Ok(left) => {
                        lacking = format!("flock {} is as wanted, but not yet for long enough", confab.flock);
                        done_at = Some(Instant::now() + left);
                    }
                    Err(lacks) => {
                        lacking = lacks;
                        done_at = None;
                    }
                },
                Ok(_) => break,
                Err(_) if done_at.is_some_and(|done| done <= deadline) => return Ok(()),
                Err(_) => break,
            }
        }
        sleep(AGAIN).await;
    }
    Err(timed_out(lacking, "crux status"))
}

/// Waits until services have as many ready instances as they should, of these revisions where one is named.
pub(super) async fn until_ready(
    ctx: &Ctx,
    services: &BTreeSet<(String, String)>,
    revisions: &BTreeMap<(String, String), String>,
    deadline: Instant,
) -> Result<(), ErrorDoc> {
    let mut lacking = match services.first() {
        None => return Ok(()),
        Some((horde, service)) => (format!("{horde}/{service}"), "is not known yet".to_owned()),
    };
    let path = format!("{}?watch", routes::PS);
    while Instant::now() < deadline {
        let Ok(Ok(mut watch)) = timeout_at(deadline, ctx.client_now().watch::<Ps>(&path)).await else {
            sleep(AGAIN).await;
            continue;
        };
        while let Ok(Ok(Some(ps))) = timeout_at(deadline, watch.next()).await {
            match services.iter().find_map(|service| not_ready(service, revisions.get(service), &ps)) {
                None => return Ok(()),
                Some(missing) => lacking = missing,
            }
        }
        sleep(AGAIN).await;
    }
    let (service, problem) = lacking;
    Err(timed_out(format!("{service} {problem}"), format!("crux why service {service}")))
}

/// Waits until everything is so that a write asks for beside services that get ready.
pub(super) async fn until_so(ctx: &Ctx, goals: &[Goal], deadline: Instant) -> Result<(), ErrorDoc> {
    if goals.is_empty() {
        return Ok(());
    }
    let mut lacking = ("no fulcrum answered".to_owned(), "crux status".to_owned());
    let path = format!("{}?watch", routes::STATUS);
    while Instant::now() < deadline {
        let Ok(Ok(mut watch)) = timeout_at(deadline, ctx.client_now().watch::<Status>(&path)).await else {
            sleep(AGAIN).await;
            continue;
        };
        while let Ok(Ok(Some(status))) = timeout_at(deadline, watch.next()).await {
            match goals.iter().find_map(|goal| goal.lacks(&status)) {
                None => return Ok(()),
                Some(lacks) => lacking = lacks,
            }
        }
        sleep(AGAIN).await;
    }
    let (lacks, next) = lacking;
    Err(timed_out(output::clean(&lacks), next))
}

/// What a service lacks, with its name.
fn not_ready(of: &(String, String), revision: Option<&String>, ps: &Ps) -> Option<(String, String)> {
    let (horde, name) = of;
    let lacks = |problem: String| Some((format!("{horde}/{name}"), problem));
    let Some(service) = ps.services.iter().find(|service| service.horde == *horde && service.service == *name) else {
        return lacks("is not known yet".to_owned());
    };
    let Some(should) = service.should else { return lacks("is not planned yet".to_owned()) };
    if revision.is_some() && service.revision.as_ref() != revision {
        return lacks("is still planned with another revision".to_owned());
    }
    let ready = ps.instances.iter().filter(|instance| {
        instance.horde == *horde
            && instance.service == *name
            && matches!(instance.state, crux_api::json::InstanceState::Ready | crux_api::json::InstanceState::Done)
            && revision.is_none_or(|revision| instance.revision == *revision)
    });
    let ready = ready.count();
    if ready < usize::try_from(should).unwrap_or(usize::MAX) {
        return lacks(format!("has {ready} of {should} ready: {}", output::clean(&service.why)));
    }
    None
}

fn timed_out(lacking: String, next: impl Into<String>) -> ErrorDoc {
    ErrorDoc::new(Code::NotConverged, format!("not so in time: {lacking}"), next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crux_api::json::{Counter, Doc};

    fn confab(stable: bool, members: &[&str], at: &str) -> Confab {
        let sample = include_str!("../../../crux-api/schema/Confab.json");
        let Doc(mut confab) = serde_json::from_str::<Doc<Confab>>(sample).unwrap();
        confab.stable = stable;
        confab.members = members.iter().map(|name| (*name).to_owned()).collect();
        confab.at = at.to_owned();
        confab.epoch = Counter(1);
        confab
    }

    #[test]
    fn a_flock_must_have_its_size_and_last() {
        let args = WaitArgs { members: Some(2), stable: Some(Duration::from_secs(10)), service: Vec::new() };
        let now: Timestamp = "2026-01-31T12:00:10Z".parse().unwrap();
        let check = |stable, members: &[&str], at| lacks(&args, &confab(stable, members, at), now);
        assert_eq!(check(true, &["n1", "n2"], "2026-01-31T12:00:00Z"), Ok(Duration::ZERO));
        assert_eq!(check(true, &["n1", "n2"], "2026-01-31T12:00:04Z"), Ok(Duration::from_secs(4)));
        assert_eq!(
            check(true, &["n1"], "2026-01-31T12:00:00Z"),
            Err("flock calm-heron has 1 members, not 2".to_owned())
        );
        assert_eq!(
            check(false, &["n1", "n2"], "2026-01-31T12:00:00Z"),
            Err("flock calm-heron of 2 is not stable".to_owned())
        );
    }

    #[test]
    fn a_service_is_ready_in_the_revision_that_was_written() {
        let sample = include_str!("../../../crux-api/schema/Ps.json");
        let Doc(mut ps) = serde_json::from_str::<Doc<Ps>>(sample).unwrap();
        let of = ("web".to_owned(), "api".to_owned());
        let revision = ps.instances[0].revision.clone();
        ps.services[0].should = Some(1);
        assert_eq!(not_ready(&of, Some(&revision), &ps), None);
        assert!(not_ready(&of, Some(&"00".repeat(32)), &ps).is_some());
        ps.services[0].should = Some(2);
        assert!(not_ready(&of, None, &ps).unwrap().1.starts_with("has 1 of 2 ready"));
        ps.services[0].should = None;
        assert!(not_ready(&of, None, &ps).is_some());
        assert!(not_ready(&("web".to_owned(), "db".to_owned()), None, &ps).is_some());
    }
}
