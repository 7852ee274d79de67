//! What the doors answer: HTTP with JSON and gRPC, on the local Unix socket and at the API port. It reads by looking at the engine, and it changes things
//! only through the engine's commands, so nothing here decides.
//!
//! | file | routes |
//! |---|---|
//! | `gate` | none: who may ask, before anything is read |
//! | `read` | confab, status, ps, nodes, hordes, services, why, events |
//! | `links` | who reaches whom, which flocks there are |
//! | `doctor` | what is wrong and what to do |
//! | `facts` | facts: list and write |
//! | `glance` | the bloc at a glance |
//! | `bloc` | all facts as they are held, and what a backup held |
//! | `rules` | who may call whom |
//! | `files` | files by content |
//! | `logs` | what instances wrote, here or on another fulcrum |
//! | `control` | down, forget, faults |
//! | `audit` | what operators did here |
//! | `grpc` | `crux.v1.Confab`, `Access`, `Events` and `Yurt` |
//! | `glass` | none: looks at the engine that are shared |
//! | `own` | none: the connections at an instance's own socket |

pub(crate) mod answer;
mod audit;
mod bloc;
mod control;
mod doctor;
mod facts;
mod files;
mod gate;
mod glance;
mod glass;
mod grpc;
mod links;
mod listen;
mod logs;
mod own;
mod read;
mod rules;
pub(crate) mod show;
mod vouched;

pub use listen::SocketError;

pub(crate) use control::{Rules, body};
pub(crate) use gate::{Caller, OfInstance, guarded};
pub(crate) use glass::Glasses;
pub(crate) use listen::{PATH_MAX, open, private};
pub(crate) use show::moment;

use crate::ask::Asker;
use crate::audit::Audit;
use crate::effects::Effects;
use crate::events::Events;
use crate::metrics::{Meters, timed};
use crate::papers::Papers;
use crate::peers::Peers;
use crate::seek::Nowhere;
use crate::skew::Skew;
use crate::store::{Store, StoreStatus};
use crate::turned_away::TurnedAway;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::header;
use axum::middleware;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, get, post, put};
use crux_api::json;
use crux_api::rights::Route;
use crux_link::{FaultGate, Links};
use crux_names::Member;
use crux_pki::facts::Desk;
use crux_pki::unix_now;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use tokio::net::UnixListener;
use tokio::sync::watch;

/// What every handler may use. Cloned for each request.
#[derive(Clone)]
pub(crate) struct Door {
    /// The way to the driver.
    pub(crate) asker: Asker,
    /// What is looked at together.
    pub(crate) glasses: Arc<Glasses>,
    /// Whether all looks of this door are shared, not only those of watchers: it is open to whoever can reach it.
    pub(crate) shares: bool,
    /// What happened.
    pub(crate) events: Events,
    /// This life of this fulcrum.
    pub(crate) me: Member,
    /// Which authors' certificates were found good a moment ago.
    pub(crate) desk: Arc<Mutex<Desk>>,
    /// Who it is now: it countersigns what it accepts.
    pub(crate) papers: Papers,
    /// Its disk.
    pub(crate) store: Arc<Store>,
    /// Its processes and files.
    pub(crate) effects: Effects,
    /// Streams to others.
    pub(crate) peers: Peers,
    /// Its links.
    pub(crate) links: Links,
    /// How far its clock is from the others'.
    pub(crate) skew: Skew,
    /// Who was refused at its mesh port of late.
    pub(crate) turned_away: TurnedAway,
    /// Names of its lists that lead nowhere.
    pub(crate) nowhere: Nowhere,
    /// What operators did here.
    pub(crate) audit: Audit,
    /// What it counts.
    pub(crate) meters: Meters,
    /// Where it listens.
    pub(crate) listens: json::Listens,
    /// Its state directory.
    pub(crate) state: PathBuf,
    /// Faults of its links; in a dev cluster only.
    pub(crate) faults: Option<FaultGate>,
}

impl Door {
    /// This fulcrum's certificate.
    pub(crate) fn certificate(&self) -> json::Certificate {
        let bundle = self.papers.now();
        let life = bundle.lifetime();
        json::Certificate {
            id: bundle.identity().to_string(),
            not_before: Some(show::second(life.not_before)),
            not_after: show::second(life.not_after),
            warning: life.warning(unix_now()).map(|warning| warning.as_str().to_owned()),
            issuer: format!("{} root", bundle.identity().bloc),
            root: bundle.root().map(|root| crux_pki::fingerprint(&root).to_string()),
            ca_reachable: None,
            not_taken: self.papers.not_taken(),
        }
    }

    /// Whether its disk takes writes.
    pub(crate) fn store_state(&self) -> json::Store {
        match self.store.status() {
            StoreStatus::Ok => json::Store { state: json::StoreState::Ok, reason: None },
            StoreStatus::Refusing { reason } => json::Store { state: json::StoreState::Refusing, reason: Some(reason) },
        }
    }

    /// Its links, by peer.
    pub(crate) fn link_table(&self) -> show::LinkTable {
        let link = |info: &crux_link::LinkInfo| json::Link {
            age_s: Some(info.age.as_secs_f64()),
            rtt_ms: Some(info.rtt.as_secs_f64() * 1000.0),
            rekey_s: Some(info.rekey_in().as_secs_f64()),
        };
        let api =
            |peer: &crux_link::PeerInfo| (peer.api_port != 0).then(|| SocketAddr::new(peer.addr.ip(), peer.api_port));
        let links = self.links.links();
        links.iter().map(|info| (info.peer.member.clone(), (link(info), api(&info.peer)))).collect()
    }
}

/// Largest body of a request other than a file: a few hundred facts.
pub(crate) const BODY_MAX: usize = 8 << 20;

/// What answers a route. There is none that this does not name, and none without a right.
pub(crate) fn handler(route: Route) -> MethodRouter<Door> {
    match route {
        Route::Confab => get(read::confab),
        Route::Status => get(read::status),
        Route::Ps => get(read::ps),
        Route::Nodes => get(read::nodes),
        Route::Hordes => get(read::hordes),
        Route::Rules => get(rules::rules),
        Route::Services => get(read::services),
        Route::Links => get(links::links),
        Route::Flocks => get(links::flocks),
        Route::Doctor => get(doctor::doctor),
        Route::Events => get(read::events),
        Route::Why => get(read::why),
        Route::Facts => get(facts::list),
        Route::Write => post(facts::write),
        Route::Bloc => get(glance::bloc),
        Route::BlocFacts => get(bloc::facts),
        Route::BlocRestore => post(bloc::restore),
        Route::Files => get(files::list),
        // A file is a stream: its size is bounded by the store, not by memory.
        Route::StoreFile => put(files::store).layer(DefaultBodyLimit::disable()),
        Route::FetchFile => get(files::fetch),
        Route::Logs => get(logs::logs),
        Route::Audit => get(audit::audit),
        Route::Down => post(control::down),
        Route::Forget => post(control::forget),
        Route::Lab => post(control::lab),
        Route::OpenApi => get(described),
    }
}

/// `GET /v1/openapi.json`.
async fn described() -> Response {
    described_as(crux_api::openapi::DOCUMENT)
}

/// A description of what can be asked.
pub(crate) fn described_as(text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

/// All routes, behind the gate.
pub(crate) fn router(door: Door) -> Router {
    let router = Router::new();
    let router = Route::ALL.iter().fold(router, |router, route| router.route(route.path(), handler(*route)));
    let router = router.layer(DefaultBodyLimit::max(BODY_MAX));
    let (meters, audit, me) = (door.meters.clone(), door.audit.clone(), door.me.id.clone());
    let all = guarded(router.with_state(door.clone()).merge(grpc::routes(door)), &audit, &me);
    all.layer(middleware::from_fn_with_state(meters, timed))
}

/// What an instance may ask for on its own socket, behind the same gate.
pub(crate) fn instance_router(door: Door, own: OfInstance) -> Router {
    let (meters, audit, me) = (door.meters.clone(), door.audit.clone(), door.me.id.clone());
    let all = guarded(grpc::of_instances(door), &audit, &me).layer(axum::Extension(own));
    all.layer(middleware::from_fn_with_state(meters, timed))
}

/// Serves one listener until `stop` says so. Open streams end with the driver, whose channels they read.
pub(crate) async fn serve(listener: UnixListener, router: Router, stop: watch::Receiver<bool>) {
    let router = router.into_make_service_with_connect_info::<gate::Local>();
    if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stopped(stop)).await {
        tracing::warn!("the local door closed: {error}");
    }
}

/// Serves an instance's own socket until `stop` says so. Aborted, it ends what was connected, too.
pub(crate) async fn serve_own(listener: UnixListener, router: Router, stop: watch::Receiver<bool>) {
    let own = own::Own::new(listener);
    if let Err(error) = axum::serve(own, router).with_graceful_shutdown(stopped(stop)).await {
        tracing::warn!("the socket of an instance closed: {error}");
    }
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    // An error means that the other end is gone, which is a stop too.
    let _ = stop.wait_for(|stop| *stop).await;
}
