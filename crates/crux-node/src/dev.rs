//! A throw-away cluster on this machine: `crux up --dev N`. Real certificates of a CA that lives as long as the cluster,
//! real links over loopback, each fulcrum a child process; no root, no configuration.
//!
//! | file | subject |
//! |---|---|
//! | `cluster` | making it, waiting for it, taking it down |
//! | `child` | one fulcrum, a process on a leash |
//! | `demo` | the service that it starts with |
//! | `faults` | what `crux lab` can break |
//! | `lab` | the socket that takes faults |
//! | `place` | where its files are, and where commands find it |
//! | `fuzz` | any bytes at all |

mod child;
mod cluster;
mod demo;
mod faults;
pub(crate) mod fuzz;
mod lab;
mod place;

pub use place::{DevFile, DevNode, dev_file};

use crate::api::Rules;
use crate::api::SocketError;
use crux_api::json::ErrorDoc;
use crux_link::{FaultGate, Rule};
use crux_pki::PkiError;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Most fulcrums of a dev cluster: each is a process, and all share this machine's cores.
pub const DEV_MAX: usize = 32;

/// What a dev cluster is started with.
#[derive(Clone, Debug)]
pub struct DevConfig {
    /// How many fulcrums: 1 to [`DEV_MAX`].
    pub size: usize,
    /// Keep everything in this directory; else a temporary one is used and removed at the end.
    pub keep: Option<PathBuf>,
    /// Where n1 answers programs of this machine, on loopback; another port if that one is busy. The others pick one.
    /// `None`: nobody does.
    pub page: Option<SocketAddr>,
}

/// Why a dev cluster did not come up, or broke down.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DevError {
    /// Not a size.
    #[error("--dev {0} is not from 1 to {DEV_MAX}; each fulcrum is a process on this machine")]
    Size(usize),
    /// This user has one already.
    #[error("a dev cluster of this user runs already, process {pid} in {}; end it with Ctrl-C there or `kill {pid}`", dir.display())]
    Running {
        /// The process that holds it.
        pid: u32,
        /// Its directory.
        dir: PathBuf,
    },
    /// A file or directory.
    #[error("cannot {what} {}: {source}; check owner and free space, or name another directory with --keep", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The system gave no process, port or thread.
    #[error("cannot {what}: {source}; the system is out of resources or forbids it")]
    System {
        /// What was tried.
        what: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// The throw-away CA.
    #[error("the cluster's own CA failed: {0}")]
    Pki(#[from] PkiError),
    /// The lab's socket.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// A fulcrum ended while the cluster came up.
    #[error("{name} ended while it came up; the end of {}: {words}", log.display())]
    ChildEnded {
        /// Which.
        name: String,
        /// Its output.
        log: PathBuf,
        /// The end of it.
        words: String,
    },
    /// It did not become ready.
    #[error("{what} did not come about within {secs} s; look at {}/n1/crux.log, and keep the directory with --keep", dir.display())]
    Slow {
        /// What was waited for.
        what: String,
        /// For how long.
        secs: u64,
        /// The cluster's directory.
        dir: PathBuf,
    },
    /// The demo service was refused.
    #[error("the demo service was refused: {0}")]
    Demo(#[source] ErrorDoc),
}

/// Starts a dev cluster and keeps it until SIGINT or SIGTERM; prints what came up, each with its time, then what to
/// try. Call it outside of any runtime, on the main thread.
///
/// # Errors
/// [`DevError`]; whatever had come up is taken down again.
pub fn run(config: DevConfig) -> Result<(), DevError> {
    if !(1..=DEV_MAX).contains(&config.size) {
        return Err(DevError::Size(config.size));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| DevError::System { what: "start threads", source })?;
    runtime.block_on(cluster::run(config))
}

/// Where the parent leaves the faults that hold when a fulcrum is started.
const LAB_FILE: &str = "lab.json";

/// Sets the faults that held when this fulcrum was started, so that it meets nobody over a link that is cut.
pub(crate) fn obey_file(gate: &FaultGate, state: &Path) {
    let rules = std::fs::read(state.join(LAB_FILE)).ok().and_then(|text| serde_json::from_slice::<Rules>(&text).ok());
    if let Some(rules) = rules {
        obey(gate, &rules);
    }
}

/// Leaves the faults for a fulcrum that is about to start.
fn leave_file(state: &Path, rules: &Rules) -> io::Result<()> {
    std::fs::write(state.join(LAB_FILE), serde_json::to_vec(rules)?)
}

/// Takes them away.
fn forget_file(state: &Path) {
    // Usually there is none.
    let _ = std::fs::remove_file(state.join(LAB_FILE));
}

/// The share of packets that each of two gates must drop, so that of a hundred that pass both so many are lost.
fn at_each_end(percent: f64) -> f32 {
    (1.0 - (1.0 - percent / 100.0).max(0.0).sqrt()) as f32
}

/// Sets the faults of this fulcrum's links, as the cluster's parent wants them.
pub(crate) fn obey(gate: &FaultGate, rules: &Rules) {
    let mut by_addr: HashMap<SocketAddr, Rule> = HashMap::new();
    let loss = at_each_end(rules.loss);
    for addr in &rules.all {
        by_addr.entry(*addr).or_default().loss = loss;
    }
    for addr in &rules.to {
        by_addr.entry(*addr).or_default().drop_out = true;
    }
    for addr in &rules.from {
        by_addr.entry(*addr).or_default().drop_in = true;
    }
    gate.set(by_addr);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both ends of a link obey the same wish.
    #[test]
    fn of_a_hundred_packets_as_many_are_lost_on_their_way_as_was_asked_for() {
        let addr: SocketAddr = "127.0.0.1:1".parse().unwrap();
        for percent in [0.0, 1.0, 10.0, 50.0, 99.5, 100.0] {
            let ends = [FaultGate::for_dev_cluster(), FaultGate::for_dev_cluster()];
            let rules = Rules { all: vec![addr], loss: percent, ..Rules::default() };
            ends.iter().for_each(|gate| obey(gate, &rules));
            let passes: f64 = ends.iter().map(|gate| 1.0 - f64::from(gate.rules()[&addr].loss)).product();
            assert!((100.0 * (1.0 - passes) - percent).abs() < 0.001, "{percent} %: {passes} pass");
        }
    }
}
