//! `crux.v1.Access`: the register of services. Who may add what is judged here, for only the request says in which horde:
//! operators by their certificates' scopes, an instance on its own socket what is its own.

use crate::api::answer::Refusal;
use crate::api::gate::{Caller, Noted, OfInstance};
use crate::api::{Door, show};
use crux_api::grpc::access_server::Access;
use crux_api::grpc::{AccessEntry, AddReply, AddRequest, ListReply, ListRequest};
use crux_core::facts::scope::{Need, Reach, Verb};
use crux_core::io::{Command, Reply};
use crux_core::services::access::{By, Entry, LIFE_MAX, LIFE_MIN};
use crux_core::services::instance::ServiceRef;
use crux_names::{Duration, HordeName, ServiceName, Wall};
use tonic::{Request, Response, Status};

/// How long an entry lives whose adder does not say how long.
const LIFE: Duration = Duration::from_secs(15);

pub(super) struct AccessRpc(pub(super) Door);

#[tonic::async_trait]
impl Access for AccessRpc {
    async fn add(&self, request: Request<AddRequest>) -> Result<Response<AddReply>, Status> {
        let instance = request.extensions().get::<OfInstance>().cloned();
        let caller = request.extensions().get::<Caller>().cloned();
        let asked = request.into_inner();
        let (of, by) = match (&instance, &caller) {
            (Some(own), _) => (own_name(own, &asked.service)?, By::Instance(own.id.clone())),
            (None, Some(caller)) => {
                let name =
                    caller.operator().ok_or_else(|| Status::permission_denied("only operators add entries here"))?;
                (service(&asked.service)?, By::Operator(name.clone()))
            }
            (None, None) => return Err(Status::permission_denied("this door does not say who asks")),
        };
        let life = life(asked.life_ms)?;
        let entry = Entry {
            of,
            name: asked.name,
            addrs: asked.addrs,
            labels: asked.labels.into_iter().collect(),
            by,
            since: Wall(0),
        };
        entry.check().map_err(|bad| Status::invalid_argument(bad.to_string()))?;
        let need = Need { verb: Verb::Access, reach: Reach::Horde(entry.of.horde.clone()) };
        if let Some(lacks) = caller.and_then(|caller| caller.lacks(&need)) {
            return Err(Status::permission_denied(format!("{lacks}; crux ca inspect BUNDLE shows its scopes")));
        }
        let mut noted = Noted::default();
        noted.target(entry.of.to_string());
        // What it adds at once is remembered in the order in which it is taken.
        let _turn = match &instance {
            Some(own) => Some(own.adding.lock().await),
            None => None,
        };
        let leased = matches!(entry.by, By::Operator(_));
        let added = Entry { since: crate::wall(), ..entry.clone() };
        let reply = self
            .0
            .asker
            .command(Command::Add { entry, life, again: false })
            .await
            .map_err(|_| Refusal::going_down())?;
        let renewed = match reply {
            Reply::Added { renewed } => renewed,
            Reply::Refused { why } => return Err(Status::resource_exhausted(why)),
            _ => {
                return Err(Status::internal("the engine answered something else; report this: it is a fault of crux"));
            }
        };
        if renewed || !leased {
            noted.beat();
        }
        if let By::Instance(id) = added.by.clone() {
            let effects = self.0.effects.clone();
            // Whether it is written or not, the entry lives.
            let _ = tokio::task::spawn_blocking(move || effects.remember(&id, &added)).await;
        }
        let life_ms = leased.then(|| u64::try_from(life.as_millis()).unwrap_or(u64::MAX));
        let mut response = Response::new(AddReply { life_ms, renewed });
        response.extensions_mut().insert(noted);
        Ok(response)
    }

    async fn list(&self, request: Request<ListRequest>) -> Result<Response<ListReply>, Status> {
        let only = match request.into_inner().service.as_str() {
            "" => None,
            text => Some(service(text)?),
        };
        let lines = self.0.asker.look(|engine, _| engine.access_lines()).await.map_err(|_| Refusal::going_down())?;
        let mut lines = lines;
        lines.retain(|line| only.as_ref().is_none_or(|only| line.entry.of == *only));
        let entries = show::access(&lines).into_iter().map(AccessEntry::from).collect();
        Ok(Response::new(ListReply { entries }))
    }
}

fn life(millis: u64) -> Result<Duration, Status> {
    match Duration::from_millis(millis) {
        Duration::ZERO => Ok(LIFE),
        life if (LIFE_MIN..=LIFE_MAX).contains(&life) => Ok(life),
        _ => {
            let (least, most) = (LIFE_MIN.as_millis(), LIFE_MAX.as_millis());
            Err(Status::invalid_argument(format!("life_ms is {millis}: it is from {least} to {most}, or 0")))
        }
    }
}

/// Reads `db` or `data/db`.
fn service(text: &str) -> Result<ServiceRef, Status> {
    let (horde, service) = text.split_once('/').unwrap_or((crux_names::MAIN, text));
    let read = || Some(ServiceRef { horde: HordeName::parse(horde).ok()?, service: ServiceName::parse(service).ok()? });
    read().ok_or_else(|| Status::invalid_argument(format!("{text:?} names no service: SERVICE or HORDE/SERVICE")))
}

/// An instance adds what is its own service's, whether it says so or not.
fn own_name(own: &OfInstance, text: &str) -> Result<ServiceRef, Status> {
    let named = text == own.of.service.as_str() || text == own.of.to_string();
    if text.is_empty() || named {
        return Ok(own.of.clone());
    }
    Err(Status::permission_denied(format!("instance {} is of {}, and may add no {text:?}", own.id, own.of)))
}
