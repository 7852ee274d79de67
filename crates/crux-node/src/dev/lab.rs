//! The socket that takes faults: `POST /v1/lab`.

use super::cluster::{Cluster, tell, tell_all};
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
use std::time::Duration;
use tokio::sync::Mutex;

/// The cluster, shared between the lab and who waits for the end.
#[derive(Clone)]
pub(super) struct Shared {
    cluster: Arc<Mutex<Cluster>>,
    /// Whoever tells the fulcrums of faults: one at a time, so that none hears an older state after a newer one. It is
    /// taken before the cluster, and never held by what ends a pause.
    turn: Arc<Mutex<()>>,
}

impl Shared {
    /// Of this cluster.
    pub(super) fn new(cluster: Arc<Mutex<Cluster>>) -> Self {
        Self { cluster, turn: Arc::default() }
    }
}

/// Its one route.
pub(super) fn router(shared: Shared) -> Router {
    Router::new().route(LAB, post(lab)).with_state(shared)
}

async fn lab(State(shared): State<Shared>, json: Result<Json<LabRequest>, JsonRejection>) -> Answer {
    let request = body(json)?;
    let size = shared.cluster.lock().await.size();
    let fault =
        Fault::read(&request, size).map_err(|bad| Refusal::new(Code::Usage, bad.to_string(), "crux lab --help"))?;
    let text = match fault {
        Fault::Pause(place, time) => {
            let text = shared.cluster.lock().await.pause(place, time)?;
            tokio::spawn(wake(shared.clone(), place, time));
            text
        }
        fault @ (Fault::Kill(_) | Fault::Start(_)) => shared.cluster.lock().await.inflict(&fault).await?,
        fault => {
            let _turn = shared.turn.lock().await;
            let text = shared.cluster.lock().await.inflict(&fault).await?;
            tell_all(&shared.cluster).await?;
            text
        }
    };
    Ok(doc(Done { text }))
}

/// Ends a pause by itself, and then tells the fulcrum what it missed.
async fn wake(shared: Shared, place: usize, time: Duration) {
    tokio::time::sleep(time).await;
    if !shared.cluster.lock().await.resume(place) {
        return;
    }
    let _turn = shared.turn.lock().await;
    if let Err(refusal) = tell(&shared.cluster, place).await {
        tracing::warn!("{}", refusal.0);
    }
}
