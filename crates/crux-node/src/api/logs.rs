//! What instances wrote, from any fulcrum: lines of an instance elsewhere come over the link to it.

use super::Door;
use super::answer::{Answer, Feed, Refusal, doc, line};
use crate::peers::{AskLog, Line, lines_here};
use axum::extract::{Query, State};
use crux_api::json::{Code, LogLine, LogList};
use crux_api::routes::LogQuery;
use crux_core::picture::{InstanceLine, Status};
use crux_core::services::instance::InstanceId;
use crux_names::{FulcrumId, MAIN, Member};
use std::time::Duration;
use tokio::sync::mpsc;

/// How long one fulcrum may take for lines that are not followed.
const PATIENCE: Duration = Duration::from_secs(5);

/// One instance whose lines are wanted.
#[derive(Clone)]
struct Wanted {
    id: String,
    name: String,
    node: FulcrumId,
    /// The fulcrum to ask; `None`: this one.
    at: Option<Member>,
}

/// `GET /v1/logs`.
pub(super) async fn logs(State(door): State<Door>, Query(query): Query<LogQuery>) -> Answer {
    let status = door.status().await?;
    let wanted = wanted(&door, &status, &query)?;
    let follow = query.follow.is_some();
    if !follow {
        let mut lines = Vec::new();
        for one in &wanted {
            let mut incoming = open(&door, one, query.tail, false).await?;
            let read = async {
                while let Some(next) = incoming.recv().await {
                    lines.push(shown(one, next));
                }
            };
            if tokio::time::timeout(PATIENCE, read).await.is_err() {
                let cause = format!("{} did not give all lines of {} in time", one.node, one.name);
                return Err(Refusal::new(Code::Unreachable, cause, format!("crux logs --at {}", one.node)));
            }
        }
        return Ok(doc(LogList { lines }));
    }
    let (all, mut incoming) = mpsc::channel(64);
    for one in wanted {
        let mut lines = open(&door, &one, query.tail, true).await?;
        let all = all.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    next = lines.recv() => match next {
                        Some(next) => if all.send(shown(&one, next)).await.is_err() { return },
                        None => return,
                    },
                    () = all.closed() => return,
                }
            }
        });
    }
    drop(all);
    let (feed, response) = Feed::open();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                next = incoming.recv() => {
                    let Some(text) = next.and_then(line) else { return };
                    if !feed.send(text, None).await {
                        return;
                    }
                }
                () = feed.closed() => return,
            }
        }
    });
    Ok(response)
}

fn shown(of: &Wanted, line: Line) -> LogLine {
    LogLine {
        instance: of.id.clone(),
        name: of.name.clone(),
        node: of.node.to_string(),
        stream: line.stream,
        text: line.text,
    }
}

/// Which instances are meant, and whom to ask.
fn wanted(door: &Door, status: &Status, query: &LogQuery) -> Result<Vec<Wanted>, Refusal> {
    let name = |line: &InstanceLine| format!("{}.{}", line.of, line.slot);
    let whole = |text: &str| if text.contains('/') { text.to_owned() } else { format!("{MAIN}/{text}") };
    let lines = status.instances.iter();
    let (asked, found): (&str, Vec<&InstanceLine>) = match (&query.instance, &query.service) {
        (Some(asked), None) => {
            let full = whole(asked);
            (asked, lines.filter(|line| line.id.to_string() == *asked || name(line) == full).collect())
        }
        (None, Some(asked)) => {
            let full = whole(asked);
            (asked, lines.filter(|line| line.of.to_string() == full).collect())
        }
        _ => {
            return Err(Refusal::new(Code::BadRequest, "name either an instance or a service", "crux logs main/demo"));
        }
    };
    if found.is_empty() {
        // An instance that is off the books may have left its files here.
        if let Ok(id) = asked.parse::<InstanceId>()
            && id.fulcrum == door.me.id
            && door.effects.logs(&id).is_some()
        {
            return Ok(vec![Wanted { id: asked.into(), name: asked.into(), node: id.fulcrum, at: None }]);
        }
        let cause = format!("{} knows no instance of {asked:?}", door.me.id);
        return Err(Refusal::new(Code::NotFound, cause, "crux ps"));
    }
    let who = |line: &&InstanceLine| {
        let member = status.roster.iter().map(|seat| &seat.member).find(|member| member.id == line.node);
        match member {
            Some(member) => Ok(Wanted {
                id: line.id.to_string(),
                name: name(line),
                node: line.node.clone(),
                at: (member.id != door.me.id).then(|| member.clone()),
            }),
            None => Err(line.node.clone()),
        }
    };
    let reached: Vec<Result<Wanted, FulcrumId>> = found.iter().map(who).collect();
    if let Some(Err(node)) = reached.iter().find(|one| one.is_err())
        && reached.iter().all(Result::is_err)
    {
        let cause = format!("{asked:?} ran on {node}, which is not in this flock");
        return Err(Refusal::new(Code::NotFound, cause, format!("crux logs --at {node}, or crux why node {node}")));
    }
    Ok(reached.into_iter().flatten().collect())
}

async fn open(door: &Door, of: &Wanted, tail: Option<u32>, follow: bool) -> Result<mpsc::Receiver<Line>, Refusal> {
    let ask = AskLog { instance: of.id.clone(), tail, follow };
    let opened = match &of.at {
        None => lines_here(&door.effects, &ask).await,
        Some(member) => door.peers.lines(member, &ask).await,
    };
    opened.map_err(|error| {
        let cause = format!("the lines of {} cannot be had from {}: {error}", of.name, of.node);
        Refusal::new(Code::Unreachable, cause, format!("crux logs --at {}", of.node))
    })
}
