//! The bloc as a whole: all facts as they are held, for a backup, and what a backup held, to be brought back. What is
//! brought back was signed and accepted once, so this door checks it as what a peer sends, and countersigns nothing.

use super::Door;
use super::answer::{Answer, Refusal, doc};
use super::control::body;
use super::gate::Noted;
use super::links::PATIENCE;
use crate::peers::{AskSight, Sight};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use crux_api::backup::frame_head;
use crux_api::json::{self, BackupFile, BlocFacts, Code, Counter, Doc, RestoreAnswer, RestoreFate, RestoredFact};
use crux_api::routes::RestoreRequest;
use crux_core::facts::version::Checked;
use crux_core::facts::{Fate, WRITE_MAX};
use crux_core::io::{Command, Reply};
use crux_names::Member;
use crux_pki::{fingerprint, roots_pem};
use std::collections::BTreeSet;
use std::io;
use std::iter::once;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// How long is waited until all of the flock hold the same, and how often they are asked meanwhile.
const AGREEMENT: Duration = Duration::from_secs(2);
const AGAIN: Duration = Duration::from_millis(200);

/// `GET /v1/bloc/facts`.
pub(super) async fn facts(State(door): State<Door>) -> Answer {
    let bundle = door.papers.now();
    let trust = bundle.trust();
    let nonsense = |cause: String| Refusal::new(Code::Failed, cause, "crux doctor");
    let pem = roots_pem(trust).map_err(|e| nonsense(e.to_string()))?;
    let roots: Vec<String> = trust.roots().map(|root| fingerprint(root).to_string()).collect();
    let (bloc, node) = (trust.bloc().to_string(), door.me.id.to_string());
    let began = Instant::now();
    let (about, versions) = loop {
        let (about, versions, members) = held(&door, &bloc, &node, &pem, &roots).await?;
        let about = agreed(&door, about, members).await;
        // What was written just now is on its way: a moment later they agree.
        if (about.stable && about.agree == about.members) || began.elapsed() >= AGREEMENT {
            break (about, versions);
        }
        sleep(AGAIN).await;
    };
    let about = serde_json::to_vec(&Doc(about)).map_err(|e| nonsense(e.to_string()))?;
    let parts = once(Bytes::from(about)).chain(versions);
    let framed = parts.flat_map(|part| [Bytes::copy_from_slice(&frame_head(&part)), part]).map(Ok::<_, io::Error>);
    Ok(Body::from_stream(tokio_stream::iter(framed)).into_response())
}

/// All facts at one moment, with the members of the flock.
async fn held(
    door: &Door,
    bloc: &str,
    node: &str,
    pem: &str,
    roots: &[String],
) -> Result<(BlocFacts, Vec<Bytes>, Vec<Member>), Refusal> {
    let (bloc, node, trust, roots) = (bloc.to_owned(), node.to_owned(), pem.to_owned(), roots.to_vec());
    // Counted bytes are shared, so that all of it is one look.
    let look = door.asker.look(move |engine, now| {
        let facts = engine.facts_room();
        let versions: Vec<Bytes> = facts.kept().map(|version| version.sealed().clone()).collect();
        let files: BTreeSet<BackupFile> = facts
            .muster()
            .flat_map(|(_, _, manifest)| manifest.files)
            .filter_map(|file| Some(BackupFile { sha256: file.hash()?.to_string(), size: Counter(file.size) }))
            .collect();
        let status = engine.status(now.time, now.wall);
        let members: Vec<Member> = status.roster.into_iter().map(|line| line.member).collect();
        let about = BlocFacts {
            bloc,
            node,
            digest: facts.digest().to_string(),
            versions: u32::try_from(versions.len()).unwrap_or(u32::MAX),
            facts: u32::try_from(facts.prefix("").count()).unwrap_or(u32::MAX),
            trust,
            roots,
            files: files.into_iter().collect(),
            stable: status.confab.stable,
            members: u32::try_from(members.len()).unwrap_or(u32::MAX),
            agree: 0,
            apart: Vec::new(),
        };
        (about, versions, members)
    });
    look.await.map_err(|_| Refusal::going_down())
}

/// With who of the flock holds the same now.
async fn agreed(door: &Door, mut about: BlocFacts, members: Vec<Member>) -> BlocFacts {
    let digest = |sight: io::Result<Sight>| sight.ok().and_then(|sight| sight.facts);
    let mut asked = JoinSet::new();
    for member in members {
        let (peers, me) = (door.peers.clone(), door.me.clone());
        asked.spawn(async move {
            if member == me {
                return (member, None);
            }
            let ask = AskSight { clock_only: true, ..AskSight::default() };
            let sight = peers.sight_of(&member, ask, PATIENCE).await;
            (member, digest(sight))
        });
    }
    for (member, digest) in asked.join_all().await {
        if member == door.me || digest.as_ref() == Some(&about.digest) {
            about.agree += 1;
        } else {
            about.apart.push(member.id.to_string());
        }
    }
    about.apart.sort();
    about
}

/// `POST /v1/bloc/restore`.
pub(super) async fn restore(
    State(door): State<Door>,
    request: Result<Json<RestoreRequest>, JsonRejection>,
) -> Response {
    let mut noted = Noted::default();
    let answer = bring_back(&door, request, &mut noted).await;
    noted.on(answer.into_response())
}

/// One version, once its signatures were looked at.
enum Looked {
    Good(Checked),
    Bad(RestoredFact),
}

/// Checks signatures. Blocks.
fn look(trust: &crux_pki::Trust, sealed: Vec<u8>) -> Looked {
    let sealed = Bytes::from(sealed);
    match crux_pki::facts::check(trust, sealed.clone()) {
        Ok(version) => Looked::Good(version),
        Err(bad) => {
            // What it says of itself, so that people know which one it was.
            let claimed = Checked::vouched(sealed).ok();
            Looked::Bad(RestoredFact {
                path: claimed.as_ref().map(|version| version.statement().path.clone()).unwrap_or_default(),
                id: claimed.as_ref().map(|version| version.id().to_string()).unwrap_or_default(),
                fate: RestoreFate::Refused,
                conflict: false,
                why: bad.to_string(),
            })
        }
    }
}

async fn bring_back(door: &Door, request: Result<Json<RestoreRequest>, JsonRejection>, noted: &mut Noted) -> Answer {
    let RestoreRequest { versions, dry_run, after } = body(request)?;
    if versions.is_empty() || versions.len() > WRITE_MAX {
        let cause = format!("a request brings back 1 to {WRITE_MAX} versions, not {}", versions.len());
        return Err(Refusal::new(Code::BadRequest, cause, "crux bloc restore FILE"));
    }
    noted.target(format!("{}{} versions of a backup", if dry_run { "asked only: " } else { "" }, versions.len()));
    let sealed = versions.iter().map(|hex| json::from_hex(hex)).collect::<Result<Vec<_>, _>>();
    let sealed = sealed
        .map_err(|bad| Refusal::new(Code::BadRequest, bad.to_string(), "compare `crux version` on both sides"))?;
    let bundle = door.papers.now();
    let looked = tokio::task::spawn_blocking(move || {
        sealed.into_iter().map(|sealed| look(bundle.trust(), sealed)).collect::<Vec<_>>()
    });
    let looked = looked.await.map_err(|_| Refusal::going_down())?;
    let good = |looked: &Looked| match looked {
        Looked::Good(version) => Some(version.clone()),
        Looked::Bad(_) => None,
    };
    let checked: Vec<Checked> = looked.iter().filter_map(good).collect();
    let asked = checked.clone();
    let fates = door.asker.look(move |engine, _| {
        let facts = engine.facts_room();
        let fates = facts.fates(&asked);
        let refused = |fate: &Fate| matches!(fate, Fate::Refused(_));
        let wanted: Vec<Checked> =
            asked.iter().zip(&fates).filter(|(_, fate)| !refused(fate)).map(|(version, _)| version.clone()).collect();
        let (more, may) = (facts.growth(&wanted), facts.may_restore(&wanted, after as usize));
        (fates, more, may)
    });
    let (fates, more, may) = fates.await.map_err(|_| Refusal::going_down())?;
    let more = u32::try_from(more).unwrap_or(u32::MAX);
    let wanted = checked.into_iter().zip(&fates).filter(|(_, fate)| !matches!(fate, Fate::Refused(_)));
    let wanted: Vec<Checked> = wanted.map(|(version, _)| version).collect();
    let mut fates = fates.into_iter();
    let facts: Vec<RestoredFact> = looked
        .into_iter()
        .filter_map(|looked| match looked {
            Looked::Bad(refused) => Some(refused),
            Looked::Good(version) => Some(told(&version, fates.next()?)),
        })
        .collect();
    let news = facts.iter().any(|fact| matches!(fact.fate, RestoreFate::Taken | RestoreFate::Replaced));
    let refused = |why: String| {
        let (code, next) = match door.store_state().reason {
            Some(_) => (Code::StoreRefusing, "free space on the disk of --state, then the same command again"),
            None => (Code::Refused, "crux bloc restore FILE --dry-run"),
        };
        Refusal::new(code, why, next)
    };
    if dry_run || !news {
        // Who only asks is told what who does it is told.
        return match may {
            Err(why) if news => Err(refused(why)),
            _ => Ok(doc(RestoreAnswer { facts, more, others: 0, converged: true })),
        };
    }
    match door.asker.command(Command::Restore { versions: wanted }).await.map_err(|_| Refusal::going_down())? {
        Reply::Refused { why } => Err(refused(why)),
        Reply::Done | Reply::Added { .. } => Ok(doc(RestoreAnswer { facts, more, others: 0, converged: true })),
        Reply::Written { others, converged, .. } => {
            let taken = facts.iter().filter(|fact| fact.fate == RestoreFate::Taken);
            noted.written(&taken.map(|fact| fact.id.clone()).collect::<Vec<_>>());
            let status = if converged { StatusCode::OK } else { StatusCode::ACCEPTED };
            Ok((status, doc(RestoreAnswer { facts, more, others, converged })).into_response())
        }
    }
}

fn told(version: &Checked, fate: Fate) -> RestoredFact {
    let (fate, conflict, why) = match fate {
        Fate::Taken { conflict } => (RestoreFate::Taken, conflict, String::new()),
        Fate::Held => (RestoreFate::Held, false, String::new()),
        Fate::Replaced => (RestoreFate::Replaced, false, String::new()),
        Fate::Refused(why) => (RestoreFate::Refused, false, why),
    };
    RestoredFact { path: version.statement().path.clone(), id: version.id().to_string(), fate, conflict, why }
}
