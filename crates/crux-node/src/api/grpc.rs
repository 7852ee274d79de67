//! gRPC `crux.v1.Confab` on the same socket.

use super::Door;
use super::answer::Refusal;
use super::show;
use axum::Router;
use crux_api::grpc::confab_server::{Confab, ConfabServer};
use crux_api::grpc::{ConfabRequest, ConfabView};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

/// The gRPC services as routes.
pub(super) fn routes(door: Door) -> Router {
    Router::new().route_service("/crux.v1.Confab/{method}", ConfabServer::new(ConfabRpc(door)))
}

struct ConfabRpc(Door);

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        Self::unavailable(format!("{}; {}", refusal.0, refusal.0.next))
    }
}

async fn view(door: &Door) -> Result<ConfabView, Status> {
    Ok(show::confab(&door.confab().await?).into())
}

#[tonic::async_trait]
impl Confab for ConfabRpc {
    type WatchStream = ReceiverStream<Result<ConfabView, Status>>;

    async fn get(&self, _: Request<ConfabRequest>) -> Result<Response<ConfabView>, Status> {
        view(&self.0).await.map(Response::new)
    }

    async fn watch(&self, _: Request<ConfabRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let door = self.0.clone();
        let mut changed = door.asker.changed();
        // A slow reader skips what came and went meanwhile.
        let (feed, views) = mpsc::channel(1);
        tokio::spawn(async move {
            let mut last = None;
            loop {
                changed.mark_unchanged();
                let now = view(&door).await;
                if now.as_ref().ok() != last.as_ref() || now.is_err() {
                    last = now.as_ref().ok().cloned();
                    if feed.send(now).await.is_err() || last.is_none() {
                        return;
                    }
                }
                tokio::select! {
                    changed = changed.changed() => if changed.is_err() { return },
                    () = feed.closed() => return,
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(views)))
    }
}
