//! One fulcrum in the foreground: `crux up`.

mod identity_watch;
mod life;
mod link_key;
mod patience;
mod stops;

use crate::anew::Anew;
use crate::api::SocketError;
use crate::audit::Audit;
use crate::driver::End;
use crate::effects::{EffectsError, running_instances};
use crate::harden;
use crate::papers::Papers;
use crate::port::{self, PortError};
use crate::seek::Source;
use crate::store::{Store, StoreError};
use crux_link::BindError;
use crux_names::{Boot, FulcrumId, FulcrumName};
use crux_pki::{PkiError, Role};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thiserror::Error;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::time::Instant;
use tracing::{error, warn};

/// What a fulcrum is started with. The names are those of the flags and of the keys of `crux.toml`.
#[derive(Clone, Debug)]
pub struct UpConfig {
    /// The node's bundle.
    pub identity: PathBuf,
    /// Where the mesh port listens (UDP); port 0 picks one.
    pub listen: SocketAddr,
    /// Where the API port listens (TCP, mutual TLS); port 0 picks one; `None`: nowhere.
    pub api: Option<SocketAddr>,
    /// Where metrics and health are shown (TCP, plain HTTP); port 0 picks one; `None`: nowhere. Busy, it is a warning.
    pub metrics: Option<SocketAddr>,
    /// Where programs that are no operators are answered (TCP, plain HTTP); loopback only; port 0 picks one; `None`:
    /// nowhere. Busy, it is a warning.
    pub page: Option<SocketAddr>,
    /// The state directory: store, socket, instances, files. One fulcrum each.
    pub state: PathBuf,
    /// `host:port` of fulcrums to dial for ever. Host names are looked up again every 30 s.
    pub seeds: Vec<String>,
    /// Networks and `file:PATH` lists to search for fulcrums.
    pub probes: Vec<String>,
    /// Whether this fulcrum announces itself on the local link and listens there; a dev cluster's does so on loopback.
    pub multicast: bool,
    /// Whether it follows a flock without ever leading it or getting work.
    pub visitor: bool,
    /// With so many in the flock, it is complete at once; fewer are said loudly.
    pub expect: Option<u32>,
    /// The fulcrum's name on its node; several on one node need different ones.
    pub fulcrum: FulcrumName,
    /// What every timer is multiplied with: 1 is the default, a dev cluster runs at 0.25. Needs no agreement.
    pub timers: f64,
    /// Which part of this machine its services may use: more than 0, at most 1.
    pub share: f64,
    /// The child of a dev cluster: its links can be broken on purpose, and it goes down, services included, when its
    /// standard input ends. Only on loopback.
    pub dev_child: bool,
}

/// Why a fulcrum could not start or ended early.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum UpError {
    /// The bundle cannot be used.
    #[error("the identity in {} cannot be used: {source}", path.display())]
    Identity {
        /// The bundle.
        path: PathBuf,
        /// Why.
        source: PkiError,
    },
    /// The bundle is somebody else's than a node's.
    #[error("the identity in {} is {found}, and only a node runs a fulcrum; make one with `crux ca issue --node NAME`", path.display())]
    NotANode {
        /// The bundle.
        path: PathBuf,
        /// Whose it is.
        found: String,
    },
    /// A setting is out of its range.
    #[error("{0}")]
    Setting(String),
    /// The state directory cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Something else stands where a directory of the state is kept.
    #[error("{} is no directory, and crux keeps its state there", path.display())]
    NoDirectory {
        /// What stands there.
        path: PathBuf,
    },
    /// The mesh port cannot be used.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The API port cannot be used.
    #[error(transparent)]
    Port(#[from] PortError),
    /// The instances' directories cannot be used.
    #[error(transparent)]
    Effects(#[from] EffectsError),
    /// The local socket cannot be opened.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The system gave no threads or signals.
    #[error("cannot {what}: {source}; the system is out of resources or forbids it")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// The mesh socket broke while running.
    #[error("the mesh socket on {listen} broke; start crux again, and look at the network's state if it happens again")]
    LinksEnded {
        /// Where it listened.
        listen: SocketAddr,
    },
}

/// Runs one fulcrum until it is told to stop. Call it outside of any runtime, on the main thread.
///
/// # Errors
/// [`UpError`] with place, cause and next step. Nothing is left half done: the state directory can be used again.
pub fn run(config: UpConfig) -> Result<(), UpError> {
    let started =
        |built: std::io::Result<Runtime>| built.map_err(|source| UpError::System { what: "start threads", source });
    // The mesh and the heart share this thread: two that wake each other for each packet cost half as much again.
    let mesh = started(Builder::new_current_thread().enable_all().build())?;
    // Requests and liveness connections have one of their own, so that none of them holds up a probe.
    let doors = Builder::new_multi_thread().worker_threads(1).thread_name("crux-doors").enable_all().build();
    let doors = started(doors)?;
    let state = config.state.clone();
    let result = mesh.block_on(up(config, doors.handle()));
    // Where another process has the directory, its instances have a fulcrum.
    if result.as_ref().is_err_and(|why| !matches!(why, UpError::Store(StoreError::InUse { .. }))) {
        let left = running_instances(&state);
        if left > 0 {
            let instances = if left == 1 { "1 instance runs" } else { &format!("{left} instances run") };
            error!(
                "{instances} on without a fulcrum; start it again with --state {} and it takes them over",
                state.display()
            );
        }
    }
    // A read of standard input cannot be cancelled and must not keep the process.
    doors.shutdown_background();
    mesh.shutdown_background();
    result
}

/// The TCP ports, bound once for all lives, and where they are served.
struct Ports {
    doors: Handle,
    api: Option<std::net::TcpListener>,
    metrics: Option<std::net::TcpListener>,
    page: Option<std::net::TcpListener>,
}

/// That nothing else stands where the state's directories are, or will be.
fn check_places(state: &Path) -> Result<(), UpError> {
    let below = ["instances", "ended", "pastiche", "audit"].map(|name| state.join(name));
    let other = |path: &PathBuf| path.metadata().is_ok_and(|found| !found.is_dir());
    match [state.to_owned()].into_iter().chain(below).find(other) {
        Some(path) => Err(UpError::NoDirectory { path }),
        None => Ok(()),
    }
}

async fn up(mut config: UpConfig, doors: &Handle) -> Result<(), UpError> {
    if let Err(error) = harden::no_dumps() {
        warn!("core dumps could not be forbidden: {error}; keys might reach a dump if the process crashes");
    }
    if !(config.timers.is_finite() && (0.05..=20.0).contains(&config.timers)) {
        return Err(UpError::Setting(format!("--timers {} is not between 0.05 and 20", config.timers)));
    }
    let sources: Vec<Source> = config
        .probes
        .iter()
        .map(|probe| probe.parse().map_err(|wrong| UpError::Setting(format!("probe: {wrong}"))))
        .collect::<Result<_, _>>()?;
    if config.dev_child && !config.listen.ip().is_loopback() {
        return Err(UpError::Setting("a dev cluster's fulcrums listen on loopback only; use crux up --dev N".into()));
    }
    if let Some(addr) = config.page.filter(|addr| !addr.ip().is_loopback()) {
        return Err(UpError::Setting(format!(
            "page: {addr} is no address of loopback, and nobody shows a certificate there"
        )));
    }
    // Instances run in directories of their own and must find theirs.
    config.state = std::path::absolute(&config.state)
        .map_err(|source| UpError::System { what: "find the state directory", source })?;
    check_places(&config.state)?;
    let refused = |source| UpError::Identity { path: config.identity.clone(), source };
    let mut stops = stops::Stops::listen(config.dev_child)?;
    let mut dirs = vec![config.state.clone()];
    dirs.extend(life::well_known(config.dev_child).and_then(Path::parent).map(Path::to_path_buf));
    let bundle = match patience::good(&config.identity, &dirs, &mut stops).await? {
        Some(bundle) => bundle,
        None => return Ok(()),
    };
    let Role::Node(node) = &bundle.identity().role else {
        return Err(UpError::NotANode { path: config.identity, found: bundle.identity().to_string() });
    };
    let me = FulcrumId { node: node.clone(), fulcrum: config.fulcrum.clone() };
    let (store, opened) = Store::open(&config.state, &bundle.identity().bloc, &me)?;
    for warning in opened.warnings {
        warn!("{warning}");
    }
    let store = Arc::new(store);
    let audit = Audit::open(&config.state.join("audit"));
    let papers = Papers::new(bundle).map_err(refused)?;
    let ports = Ports {
        doors: doors.clone(),
        api: config.api.map(|addr| port::bind("api", addr)).transpose()?,
        metrics: config.metrics.and_then(|addr| {
            let bound = port::bind("metrics", addr);
            bound.map_err(|error| warn!("there are no metrics: {error}")).ok()
        }),
        page: config.page.and_then(|addr| {
            let bound = port::bind("page", addr);
            bound.map_err(|error| warn!("there is no page: {error}")).ok()
        }),
    };
    let (mut floor, mut anew) = (Boot(0), Anew::default());
    loop {
        let end = life::live(&config, &me, &papers, &store, &audit, &ports, &sources, floor, &anew, &mut stops).await;
        // What the end itself was may be the last that is written.
        audit.flush().await;
        match end? {
            End::Finished | End::Forced => return Ok(()),
            End::LinksEnded => return Err(UpError::LinksEnded { listen: config.listen }),
            End::BootTooOld { node, known } => {
                warn!("{node} knows boot {known} of {me}, which is higher; starting again above it");
                // The links believe no number that has none above it.
                floor = Boot(known.0.saturating_add(1));
                anew.follow(node, Instant::now());
            }
            End::StartsOver => {
                warn!("no other flock follows where {me} was led; starting again");
                // Any boot above the last one does, and that one is on the disk. The port may still be held by this life.
                floor = floor.max(Boot(1));
                anew.follow(me.node.clone(), Instant::now());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_in_the_place_of_a_directory_is_named_before_anything_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let error = |state: &Path| check_places(state).err().map(|error| error.to_string());
        assert_eq!(error(&state), None, "it is not there yet");
        std::fs::create_dir(&state).unwrap();
        assert_eq!(error(&state), None);
        for name in ["instances", "ended", "pastiche", "audit"] {
            let path = state.join(name);
            std::fs::write(&path, "").unwrap();
            assert_eq!(
                error(&state),
                Some(format!("{} is no directory, and crux keeps its state there", path.display()))
            );
            std::fs::remove_file(path).unwrap();
        }
        std::fs::write(dir.path().join("file"), "").unwrap();
        assert!(error(&dir.path().join("file")).is_some());
    }
}
