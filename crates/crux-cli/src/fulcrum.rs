//! The only door to `crux-node`: starting a fulcrum or a dev cluster, the supervisor, and where a dev cluster is.

use crate::settings::UpSettings;
use crux_api::json::{Code, ErrorDoc};
use crux_node::dev::{DevConfig, DevFile};
use crux_node::store::StoreError;
use crux_node::up::UpConfig;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// A running dev cluster of this user, as commands need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DevCluster {
    /// The process that holds it.
    pub(crate) pid: u32,
    /// The socket that takes faults.
    pub(crate) lab: PathBuf,
    /// Its operator's bundle.
    pub(crate) operator: PathBuf,
    /// Its nodes with their sockets.
    pub(crate) nodes: Vec<(String, PathBuf)>,
}

impl DevCluster {
    /// The one that runs, if any.
    pub(crate) fn find() -> Option<Self> {
        let DevFile { pid, lab, operator, nodes, .. } = DevFile::find()?;
        let nodes = nodes.into_iter().map(|node| (node.name, node.socket)).collect();
        Some(Self { pid, lab, operator, nodes })
    }
}

/// What to do where there is no bundle at all.
pub(crate) const NO_BUNDLE: &str =
    "crux ca init --bloc NAME --out CA, then crux ca issue --ca CA --node NAME --out DIR; or try crux up --dev 5";

/// Runs one fulcrum until it is told to stop.
pub(crate) fn up(settings: UpSettings) -> Result<(), ErrorDoc> {
    let UpSettings {
        identity,
        listen,
        api,
        metrics,
        page,
        state,
        seeds,
        probes,
        multicast,
        visitor,
        expect,
        fulcrum,
        timers,
        share,
        dev_child,
    } = settings;
    let inspect = match identity.exists() {
        true => format!("crux ca inspect {}", identity.display()),
        false => NO_BUNDLE.to_owned(),
    };
    let other_state =
        format!("crux status --at {}, or --state DIR with another directory", state.join("crux.sock").display());
    let config = UpConfig {
        identity,
        listen,
        api,
        metrics,
        page,
        state,
        seeds,
        probes,
        multicast,
        visitor,
        expect,
        fulcrum,
        timers,
        share,
        dev_child,
    };
    crux_node::up::run(config).map_err(|e| {
        use crux_node::up::UpError;
        let cause = e.to_string();
        match e {
            UpError::Identity { .. } | UpError::NotANode { .. } => ErrorDoc::new(Code::BadBundle, cause, inspect),
            UpError::Bind(_) => {
                ErrorDoc::new(Code::PortBusy, cause, "--listen ADDR:PORT with a free port; 0 picks one")
            }
            UpError::Port(_) => {
                let next = "--api ADDR:PORT with a free port (it follows --listen where nothing is said); 0 picks one";
                ErrorDoc::new(Code::PortBusy, cause, next)
            }
            UpError::Store(StoreError::InUse { .. }) => ErrorDoc::new(Code::Failed, cause, other_state),
            UpError::Store(StoreError::Io { .. }) => {
                let next = "let this user write that directory, or name another with --state DIR; facts, logs and \
                            instances are kept there";
                ErrorDoc::new(Code::Failed, cause, next)
            }
            UpError::NoDirectory { path } => {
                let next = format!("move {} away, or name another directory with --state DIR", path.display());
                ErrorDoc::new(Code::Failed, cause, next)
            }
            UpError::Setting(_) => ErrorDoc::new(Code::BadConfig, cause, "crux up --help"),
            _ => ErrorDoc::new(Code::Failed, cause, "crux up --help"),
        }
    })
}

/// Runs a dev cluster until it is told to end.
pub(crate) fn dev(size: usize, keep: Option<PathBuf>, page: Option<SocketAddr>) -> Result<(), ErrorDoc> {
    crux_node::dev::run(DevConfig { size, keep, page }).map_err(|e| {
        use crux_node::dev::DevError;
        let cause = e.to_string();
        match e {
            DevError::Size(_) => ErrorDoc::new(Code::Usage, cause, "crux up --dev 3"),
            DevError::Running { .. } => ErrorDoc::new(Code::Failed, cause, "crux status, or crux down to end it"),
            _ => ErrorDoc::new(Code::Failed, cause, "crux up --dev 3 --keep DIR, then look into DIR"),
        }
    })
}

/// Forbids core dumps of this process, before it reads a key.
pub(crate) fn no_dumps() -> std::io::Result<()> {
    crux_node::no_dumps()
}

/// Supervises one instance. Called before anything else of this process.
pub(crate) fn supervise(dir: &Path) -> ExitCode {
    crux_node::effects::supervise_main(dir)
}

/// Runs a hook of the instance in this directory.
pub(crate) fn run_hook(dir: &Path, number: &str, timeout_ms: &str) -> ExitCode {
    crux_node::effects::hook_main(dir, number, timeout_ms)
}
