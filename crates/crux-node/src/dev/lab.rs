//! The socket that takes faults: `POST /v1/lab`.

use super::cluster::Cluster;
use super::faults::Fault;
use crate::api::answer::{Answer, Refusal, doc};
use crate::api::body;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::routing::post;
use axum::{Json, Router};
use crux_api::json::{Code, Done};
use crux_api::routes::{LAB, LabRequest};
use std::sync::Arc;
use tokio::sync::Mutex;

/// The cluster, shared between the lab and who waits for the end.
pub(super) type Shared = Arc<Mutex<Cluster>>;

/// Its one route.
pub(super) fn router(cluster: Shared) -> Router {
    Router::new().route(LAB, post(lab)).with_state(cluster)
}

async fn lab(State(cluster): State<Shared>, json: Result<Json<LabRequest>, JsonRejection>) -> Answer {
    let request = body(json)?;
    let mut locked = cluster.lock().await;
    let fault = Fault::read(&request, locked.size())
        .map_err(|bad| Refusal::new(Code::Usage, bad.to_string(), "crux lab --help"))?;
    let text = match fault {
        Fault::Pause(place, time) => {
            let text = locked.pause(place, time)?;
            let cluster = cluster.clone();
            tokio::spawn(async move {
                tokio::time::sleep(time).await;
                cluster.lock().await.resume(place);
            });
            text
        }
        fault => locked.inflict(&fault).await?,
    };
    Ok(doc(Done { text }))
}
