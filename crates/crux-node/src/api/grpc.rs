//! gRPC beside the JSON: `crux.v1.Confab`, `Access`, `Events` and `Yurt`, and the standard services for health and reflection.

mod access;
mod events;
mod yurt;

use super::Door;
use super::answer::Refusal;
use super::show;
use axum::Router;
use crux_api::grpc::access_server::AccessServer;
use crux_api::grpc::confab_server::{Confab, ConfabServer};
use crux_api::grpc::events_server::EventsServer;
use crux_api::grpc::yurt_server::YurtServer;
use crux_api::grpc::{ConfabRequest, ConfabView, DESCRIPTORS};
use crux_api::rights::{GRPC, INSTANCE};
use std::collections::BTreeSet;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::HealthService;

/// The gRPC services as routes.
pub(super) fn routes(door: Door) -> Router {
    let mut router = shared(door.clone())
        .route_service("/crux.v1.Yurt/{method}", YurtServer::new(yurt::YurtRpc(door.clone())))
        .route_service("/grpc.health.v1.Health/{method}", health(door, GRPC.iter().map(|(path, _)| *path)));
    // Both tell of both: some clients know only the older name of the same service.
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .include_reflection_service(false)
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET)
    };
    match (reflection().build_v1(), reflection().build_v1alpha()) {
        (Ok(v1), Ok(v1alpha)) => {
            router = router
                .route_service("/grpc.reflection.v1.ServerReflection/{method}", v1)
                .route_service("/grpc.reflection.v1alpha.ServerReflection/{method}", v1alpha);
        }
        // Its sets are compiled in and tested; without it clients need the protos.
        (Err(error), _) | (_, Err(error)) => tracing::warn!("gRPC reflection is not served: {error}"),
    }
    router
}

/// Those that instances may ask for on their own sockets.
pub(super) fn of_instances(door: Door) -> Router {
    let health = health(door.clone(), INSTANCE.iter().copied());
    shared(door).route_service("/grpc.health.v1.Health/{method}", health)
}

/// Those that are served everywhere.
fn shared(door: Door) -> Router {
    Router::new()
        .route_service("/crux.v1.Confab/{method}", ConfabServer::new(ConfabRpc(door.clone())))
        .route_service("/crux.v1.Access/{method}", AccessServer::new(access::AccessRpc(door.clone())))
        .route_service("/crux.v1.Events/{method}", EventsServer::new(events::EventsRpc(door)))
}

/// The whole and each service of these methods: serving, until the driver ends.
fn health(door: Door, paths: impl Iterator<Item = &'static str>) -> HealthServer<HealthService> {
    let services: BTreeSet<&str> = paths.filter_map(|path| path.split('/').nth(1)).collect();
    let (reporter, _) = tonic_health::server::health_reporter();
    let service = HealthService::from_health_reporter(reporter.clone());
    tokio::spawn(async move {
        for service in &services {
            reporter.set_service_status(service, ServingStatus::Serving).await;
        }
        let mut changed = door.asker.changed();
        // It ends when its sender does, and that is the driver's end.
        while changed.changed().await.is_ok() {}
        for service in services.iter().chain([&""]) {
            reporter.set_service_status(service, ServingStatus::NotServing).await;
        }
    });
    HealthServer::new(service)
}

struct ConfabRpc(Door);

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        Self::unavailable(format!("{}; {}", refusal.0, refusal.0.next))
    }
}

async fn view(door: &Door) -> Result<ConfabView, Status> {
    Ok(show::confab(&*door.confab().await?).into())
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
                let now: Result<ConfabView, Status> =
                    door.shared_confab().await.map(|confab| show::confab(&confab).into()).map_err(Status::from);
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

#[cfg(test)]
mod tests {
    use crux_api::grpc::DESCRIPTORS;
    use crux_api::rights::GRPC;
    use prost::Message;
    use std::collections::BTreeSet;

    /// As much of `google/protobuf/descriptor.proto` as says which methods there are.
    #[derive(Clone, PartialEq, Message)]
    struct Files {
        #[prost(message, repeated, tag = "1")]
        file: Vec<File>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct File {
        #[prost(string, tag = "2")]
        package: String,
        #[prost(message, repeated, tag = "6")]
        service: Vec<Service>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct Service {
        #[prost(string, tag = "1")]
        name: String,
        #[prost(message, repeated, tag = "2")]
        method: Vec<Method>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct Method {
        #[prost(string, tag = "1")]
        name: String,
    }

    #[test]
    fn every_method_of_every_service_has_its_right() {
        let sets = [
            DESCRIPTORS,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ];
        let mut methods = BTreeSet::new();
        for file in sets.into_iter().flat_map(|set| Files::decode(set).unwrap().file) {
            for service in &file.service {
                methods.extend(service.method.iter().map(|m| format!("/{}.{}/{}", file.package, service.name, m.name)));
            }
        }
        assert!(methods.contains("/crux.v1.Confab/Watch"), "{methods:?}");
        let known: BTreeSet<String> = GRPC.iter().map(|(path, _)| (*path).to_owned()).collect();
        assert_eq!(methods, known, "crux_api::rights::GRPC");
    }
}
