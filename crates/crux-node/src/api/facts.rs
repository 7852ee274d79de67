//! Facts at the local door: listed so that a client can build on them, and written by operators alone. This door judges
//! the author's certificate now, by date, and countersigns; nobody judges the date again.

use super::Door;
use super::answer::{Answer, Refusal, doc};
use super::control::body;
use super::gate::Noted;
use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use crux_api::intent::{not_yet_on_rejoin, readable};
use crux_api::json::{self, Code, Counter, Fact, FactList, Head, Written};
use crux_api::routes::{FactsQuery, WriteRequest};
use crux_core::facts::value::Place;
use crux_core::facts::version::Checked;
use crux_core::io::{Command, Reply};
use crux_pki::facts::BadFact;
use crux_pki::unix_now;
use prost::Message as _;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;

/// After so many signatures others' requests, and liveness connections, have their turn.
const AT_A_TIME: usize = 16;
/// Where placements are.
const PLACES: &str = "place/";

/// `GET /v1/facts`.
pub(super) async fn list(State(door): State<Door>, Query(query): Query<FactsQuery>) -> Answer {
    let told_apart = query.conflicts.is_some() || query.quarantined.is_some();
    let list = door.asker.look(move |engine, _| {
        let facts = engine.facts_room();
        let paths = facts.paths().filter(|path| path.starts_with(&query.prefix));
        let fact = |path: &String| {
            let heads = facts.heads(path);
            let heads = heads.iter().filter_map(|id| facts.by_id(id)).map(head).collect();
            Fact { path: path.clone(), heads }
        };
        if query.quarantined.is_some() {
            let mut listed: BTreeMap<String, Vec<Head>> = BTreeMap::new();
            for version in facts.quarantined().filter(|one| one.statement().path.starts_with(&query.prefix)) {
                // The latest first, as it would be in force.
                listed.entry(version.statement().path.clone()).or_default().insert(0, head(version));
            }
            let listed = listed.into_iter().map(|(path, heads)| Fact { path, heads }).collect();
            return FactList { facts: listed, digest: facts.digest().to_string() };
        }
        let conflicted: BTreeSet<&str> = facts.conflicts().map(|conflict| conflict.path).collect();
        let wanted = |path: &&String| query.conflicts.is_none() || conflicted.contains(path.as_str());
        let facts_listed = paths.filter(wanted).map(fact).collect();
        FactList { facts: facts_listed, digest: facts.digest().to_string() }
    });
    let mut list = list.await.map_err(|_| Refusal::going_down())?;
    if told_apart {
        list.facts.iter_mut().for_each(make_readable);
    }
    Ok(doc(list))
}

/// With what each version says: whoever has to choose one reads them.
fn make_readable(fact: &mut Fact) {
    for head in &mut fact.heads {
        let value = head.value.as_deref().and_then(|value| json::from_hex(value).ok());
        head.readable = value.and_then(|value| readable(&fact.path, &value));
    }
}

fn head(version: &Checked) -> Head {
    let statement = version.statement();
    Head {
        id: version.id().to_string(),
        value: statement.value.as_ref().map(|value| json::to_hex(value)),
        readable: None,
        ancestors: statement.ancestors.iter().map(ToString::to_string).collect(),
        wall: Counter(statement.stamp.wall),
        logical: statement.stamp.logical,
        author: statement.author.to_string(),
    }
}

/// `POST /v1/facts`.
pub(super) async fn write(State(door): State<Door>, request: Result<Json<WriteRequest>, JsonRejection>) -> Response {
    let mut noted = Noted::default();
    let answer = accept(&door, request, &mut noted).await;
    noted.on(answer.into_response())
}

async fn accept(door: &Door, request: Result<Json<WriteRequest>, JsonRejection>, noted: &mut Noted) -> Answer {
    let request = body(request)?;
    if request.versions.is_empty() {
        return Err(Refusal::new(Code::BadRequest, "the request names no fact to write", "crux apply FILE"));
    }
    let mut sealed = Vec::new();
    for (place, hex) in request.versions.iter().enumerate() {
        let bytes = json::from_hex(hex).map_err(|bad| {
            Refusal::new(Code::BadRequest, format!("version {place}: {bad}"), "compare `crux version` on both sides")
        })?;
        let bytes = Bytes::from(bytes);
        // What it says it is, believed by nobody yet: for the audit log.
        if let Ok(claimed) = Checked::vouched(bytes.clone()) {
            noted.statement(claimed.statement());
        }
        sealed.push(bytes);
    }
    let versions = countersigned(door, sealed, noted).await?;
    supported(door, &versions).await?;
    match door.asker.command(Command::Write { versions }).await.map_err(|_| Refusal::going_down())? {
        Reply::Written { ids, others, converged } => {
            let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
            noted.written(&ids);
            let status = if converged { StatusCode::OK } else { StatusCode::ACCEPTED };
            Ok((status, doc(Written { ids, others, converged })).into_response())
        }
        Reply::Done | Reply::Added { .. } => Ok(doc(Written { ids: Vec::new(), others: 0, converged: true })),
        Reply::Refused { why } => {
            let refusing = door.store_state().reason;
            let (code, next) = match refusing {
                Some(_) => (Code::StoreRefusing, "free space on the disk of --state; the next write tries again"),
                None => (Code::Refused, "crux facts, crux explain E401"),
            };
            Err(Refusal::new(code, why, next))
        }
    }
}

/// All of them with this fulcrum's signature beside the author's. Who is said to have signed is written down as such, unless
/// every signature is good: also of a write that is refused because of what its author may not do.
async fn countersigned(door: &Door, sealed: Vec<Bytes>, noted: &mut Noted) -> Result<Vec<Checked>, Refusal> {
    let (mut versions, count) = (Vec::new(), sealed.len());
    let mut refused = None;
    for (place, sealed) in sealed.into_iter().enumerate() {
        if place % AT_A_TIME == AT_A_TIME - 1 {
            tokio::task::yield_now().await;
        }
        let accepted = {
            let mut desk = door.desk.lock().unwrap_or_else(PoisonError::into_inner);
            desk.countersign(&door.papers.now(), sealed, unix_now())
        };
        let cause = match accepted {
            Ok(version) => {
                versions.push(version);
                continue;
            }
            Err(cause) => cause,
        };
        let signed = matches!(cause, BadFact::Scope { .. } | BadFact::Late { .. });
        let next = match cause {
            BadFact::Scope { .. } => "crux ca inspect BUNDLE shows its scopes; --as BUNDLE names another operator",
            _ => "sign with an operator's key of this bloc: --as BUNDLE, or `crux ca issue --operator NAME`",
        };
        let which = match count {
            1 => "this version".to_owned(),
            _ => format!("version {} of {count}", place + 1),
        };
        let refusal = Refusal::new(Code::Refused, format!("{which} is not accepted: {cause}"), next);
        let first = refused.take().unwrap_or(refusal);
        if !signed {
            return Err(first);
        }
        refused = Some(first);
    }
    noted.proven();
    refused.map_or(Ok(versions), Err)
}

/// What this version cannot do yet is refused to every client, in the words that `crux` uses itself. What stands there already
/// may be signed again: it was taken once, and what it asks for is passed over.
async fn supported(door: &Door, versions: &[Checked]) -> Result<(), Refusal> {
    let asks = |version: &Checked| {
        let statement = version.statement();
        let value = statement.value.clone().filter(|_| statement.path.starts_with(PLACES))?;
        let rejoin = Place::decode(value.clone()).ok()?.on_rejoin;
        let problem = not_yet_on_rejoin(&rejoin)?;
        Some((statement.path.clone(), value, problem))
    };
    let asked: Vec<_> = versions.iter().filter_map(asks).collect();
    if asked.is_empty() {
        return Ok(());
    }
    let new = door.asker.look(move |engine, _| {
        let facts = engine.facts_room();
        asked.into_iter().find(|(path, value, _)| facts.value(path) != Some(value))
    });
    match new.await.map_err(|_| Refusal::going_down())? {
        None => Ok(()),
        Some((path, _, problem)) => {
            let cause = format!("{path}: on_rejoin: {problem}");
            Err(Refusal::new(Code::NotYet, cause, "remove on_rejoin and try again; nothing was changed"))
        }
    }
}
