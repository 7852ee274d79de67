//! `crux wait`, and the `--wait` of writes.

use super::Ctx;
use super::goals::Goal;
use crate::Outcome;
use crate::args::duration;
use crate::output::{self, Format};
use clap::Args;
use crux_api::json::{Code, Confab, Done, ErrorDoc, Kind, Ps, Status};
use crux_api::routes;
use crux_pki::count;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};

/// How long is waited when nothing is said.
const TIMEOUT: Duration = Duration::from_secs(60);
/// So long one state is waited for, however short the time is: whoever asks whether it is so now is answered.
const ANSWER: Duration = Duration::from_secs(1);
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
    if args.members == Some(0) {
        let cause = "no flock has 0 members: whoever is asked is one";
        return Err(ErrorDoc::new(Code::Usage, cause, "crux wait --members 5, or crux status to see who is left"));
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
        return Err(format!("flock {} has {}, not {wanted}", confab.flock, count(members, "member")));
    }
    let Some(wanted) = args.stable else { return Ok(Duration::ZERO) };
    if !confab.stable {
        return Err(format!("flock {} of {members} is not stable", confab.flock));
    }
    let since = confab.at.parse::<Timestamp>().unwrap_or(now);
    let lasted = Duration::try_from(now.duration_since(since)).unwrap_or(Duration::ZERO);
    Ok(wanted.saturating_sub(lasted))
}

/// Looks at each state of a document until `done` says that it is so, or the time is over: at one state at least, if anybody
/// answers. A fulcrum that is not there yet is what scripts wait for. `done` may say from when on it will be so if nothing
/// changes.
async fn watch<T>(ctx: &Ctx, path: &str, deadline: Instant, mut done: impl FnMut(&T) -> Option<Instant>) -> bool
where
    T: Kind + DeserializeOwned,
{
    let path = format!("{path}?watch");
    let mut limit = deadline.max(Instant::now() + ANSWER);
    loop {
        if let Ok(Ok(mut watch)) = timeout_at(limit, ctx.client_now().watch::<T>(&path)).await {
            // The state stands until the next document; it may only have to last.
            let mut done_at: Option<Instant> = None;
            loop {
                match timeout_at(done_at.map_or(limit, |done| done.min(limit)), watch.next()).await {
                    Ok(Ok(Some(state))) => {
                        limit = deadline;
                        done_at = done(&state);
                        if done_at.is_some_and(|done| done <= Instant::now()) {
                            return true;
                        }
                    }
                    Err(_) if done_at.is_some_and(|done| done <= limit) => return true,
                    _ => break,
                }
            }
        }
        if Instant::now() >= deadline {
            return false;
        }
        sleep(AGAIN).await;
    }
}

async fn flock(ctx: &Ctx, args: &WaitArgs, deadline: Instant) -> Result<(), ErrorDoc> {
    let mut lacking = String::from("no fulcrum answered");
    let so = watch(ctx, routes::CONFAB, deadline, |confab: &Confab| match lacks(args, confab, Timestamp::now()) {
        Ok(left) => {
            lacking = format!("flock {} is as wanted, but not yet for long enough", confab.flock);
            Some(Instant::now() + left)
        }
        Err(lacks) => {
            lacking = lacks;
            None
        }
    });
    if so.await { Ok(()) } else { Err(timed_out(lacking, "crux status")) }
}

/// Waits until services have as many ready instances as they should, of these revisions where one is named.
pub(super) async fn until_ready(
    ctx: &Ctx,
    services: &BTreeSet<(String, String)>,
    revisions: &BTreeMap<(String, String), String>,
    deadline: Instant,
) -> Result<(), ErrorDoc> {
    let (mut service, mut problem) = match services.first() {
        None => return Ok(()),
        Some((horde, service)) => (format!("{horde}/{service}"), "is not known yet".to_owned()),
    };
    let so = watch(ctx, routes::PS, deadline, |ps: &Ps| {
        match services.iter().find_map(|service| not_ready(service, revisions.get(service), ps)) {
            None => Some(Instant::now()),
            Some(missing) => {
                (service, problem) = missing;
                None
            }
        }
    });
    if so.await {
        return Ok(());
    }
    Err(timed_out(format!("{service} {problem}"), format!("crux why service {service}")))
}

/// Waits until everything is so that a write asks for beside services that get ready.
pub(super) async fn until_so(ctx: &Ctx, goals: &[Goal], deadline: Instant) -> Result<(), ErrorDoc> {
    if goals.is_empty() {
        return Ok(());
    }
    let (mut lacks, mut next) = ("no fulcrum answered".to_owned(), "crux status".to_owned());
    let so = watch(ctx, routes::STATUS, deadline, |status: &Status| {
        match goals.iter().find_map(|goal| goal.lacks(status)) {
            None => Some(Instant::now()),
            Some(missing) => {
                (lacks, next) = missing;
                None
            }
        }
    });
    if so.await { Ok(()) } else { Err(timed_out(output::clean(&lacks), next)) }
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
            Err("flock calm-heron has 1 member, not 2".to_owned())
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
