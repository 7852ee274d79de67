//! Verbs that concern this fulcrum alone: stop it, let it forget an address, break its links in a dev cluster.

use super::Door;
use super::answer::{Answer, Refusal, doc};
use super::gate::Noted;
use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::response::{IntoResponse as _, Response};
use crux_api::json::{Code, Done};
use crux_api::routes::{DownRequest, ForgetRequest};
use crux_core::facts::value::row_path;
use crux_core::io::{Command, Reply};
use crux_names::FulcrumId;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// What the parent of a dev cluster tells each of its fulcrums: whom its packets do not reach, whose packets it does not
/// hear, and how many are lost. It replaces what was said before.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Rules {
    /// Mesh addresses that nothing is sent to.
    pub(crate) to: Vec<SocketAddr>,
    /// Mesh addresses that nothing is heard from.
    pub(crate) from: Vec<SocketAddr>,
    /// Every other fulcrum: the loss is between this one and them.
    pub(crate) all: Vec<SocketAddr>,
    /// Share of packets that are lost, in percent.
    pub(crate) loss: f64,
}

/// A body that is JSON of the right form, or an error of ours.
pub(crate) fn body<T>(json: Result<Json<T>, JsonRejection>) -> Result<T, Refusal> {
    json.map(|Json(body)| body).map_err(|rejection| {
        Refusal::new(Code::BadRequest, rejection.body_text(), "compare `crux version` on both sides")
    })
}

/// A command's plain outcome.
pub(super) fn done(reply: Reply, text: String) -> Answer {
    match reply {
        Reply::Done | Reply::Written { .. } | Reply::Added { .. } => Ok(doc(Done { text })),
        Reply::Refused { why } => Err(Refusal::new(Code::Refused, why, "crux status")),
    }
}

/// `POST /v1/down`. Answered when the fulcrum has left and its instances are as wanted; after
/// [`LEAVING`](crux_api::routes::LEAVING) the process ends without that answer.
pub(super) async fn down(State(door): State<Door>, json: Result<Json<DownRequest>, JsonRejection>) -> Answer {
    let DownRequest { services, leave } = body(json)?;
    let command = if leave { Command::Leave } else { Command::Down { services } };
    let reply = door.asker.command(command).await.map_err(|_| Refusal::going_down())?;
    let what = match (leave, services) {
        (true, _) => "and its horde, and stops its services",
        (false, true) => "and stops its services",
        (false, false) => "and leaves its services as they are",
    };
    done(reply, format!("{} leaves its flock {what}", door.me.id))
}

/// `POST /v1/node/forget`.
pub(super) async fn forget(State(door): State<Door>, json: Result<Json<ForgetRequest>, JsonRejection>) -> Response {
    let mut noted = Noted::default();
    let answer = match body(json) {
        Ok(ForgetRequest { node }) => {
            noted.target(node.as_str());
            forget_fulcrum(&door, &node).await
        }
        Err(refusal) => Err(refusal),
    };
    noted.on(answer.into_response())
}

async fn forget_fulcrum(door: &Door, node: &str) -> Answer {
    let fulcrum: FulcrumId =
        node.parse().map_err(|cause| Refusal::new(Code::Usage, format!("{cause}"), "crux node list"))?;
    let status = door.status().await?;
    let linked = door.links.links().iter().any(|link| link.peer.member.id == fulcrum);
    let twins = status.clones.iter().any(|(id, _)| *id == fulcrum);
    // Of two that live under one identity at least one does; to forget them ends the alarm.
    if !twins && (linked || status.roster.iter().any(|line| line.member.id == fulcrum)) {
        let cause = format!("{fulcrum} lives; only a fulcrum that will not come back is forgotten");
        return Err(Refusal::new(
            Code::Failed,
            cause,
            format!("crux node leave {fulcrum}, then crux node forget {fulcrum}"),
        ));
    }
    let outside = status.outside.iter().any(|line| line.who.fulcrum.as_ref() == Some(&fulcrum));
    // A row that was just deleted is known all the same.
    let path = row_path(&fulcrum);
    let row = door.asker.look(move |engine, _| engine.facts_room().paths().any(|known| *known == path)).await;
    if !(outside || twins || row.map_err(|_| Refusal::going_down())?) {
        return Err(Refusal::new(Code::NotFound, format!("{} knows no {fulcrum}", door.me.id), "crux node list"));
    }
    let reply = door.asker.command(Command::Forget { fulcrum: fulcrum.clone() }).await;
    let lives = linked || status.roster.iter().any(|line| line.member.id == fulcrum);
    let text = match lives {
        true => format!("{} shows the alarm about {fulcrum} no more, unless two of it are met again", door.me.id),
        false => format!("{} forgot where {fulcrum} was", door.me.id),
    };
    done(reply.map_err(|_| Refusal::going_down())?, text)
}

/// `POST /v1/lab`, from the parent of a dev cluster only.
pub(super) async fn lab(State(door): State<Door>, json: Result<Json<Rules>, JsonRejection>) -> Answer {
    let Some(faults) = &door.faults else {
        let cause =
            format!("{} was not started by `crux up --dev`, so its links cannot be broken on purpose", door.me.id);
        return Err(Refusal::new(Code::NotDev, cause, "crux up --dev 5, then crux lab"));
    };
    let rules = body(json)?;
    crate::dev::obey(faults, &rules);
    Ok(doc(Done { text: format!("{}'s links obey", door.me.id) }))
}
