//! Which fulcrum a command is for: `--at`, `CRUX_AT`, the dev cluster of this user, or this machine's own.

use crate::fulcrum::DevCluster;
use crux_api::client::Client;
use crux_api::json::{Code, ErrorDoc};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// The socket of this machine's fulcrum.
const SYSTEM: &str = "/run/crux/crux.sock";

/// A fulcrum, and the operator that its dev cluster came with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// Its socket.
    pub(crate) socket: PathBuf,
    /// The dev cluster's operator.
    pub(crate) dev_operator: Option<PathBuf>,
    /// Which node of the dev cluster it is.
    pub(crate) dev_node: Option<String>,
}

impl Target {
    /// The same, knowing which node of a dev cluster it is.
    fn named(mut self, dev: Option<&DevCluster>) -> Self {
        let node = dev.and_then(|dev| dev.nodes.iter().find(|(_, known)| *known == self.socket));
        self.dev_node = node.map(|(name, _)| name.clone());
        self
    }

    /// An error of asking it: who does not answer in a dev cluster was killed there and can be started.
    pub(crate) fn explain(&self, mut error: ErrorDoc) -> ErrorDoc {
        if let (Code::Unreachable, Some(node)) =
            (error.code, self.dev_node.as_deref().filter(|_| !answers(&self.socket)))
        {
            error.next = format!("crux lab start {node}");
        }
        error
    }

    /// A client of it.
    pub(crate) fn client(&self) -> Client {
        Client::new(&self.socket)
    }
}

/// Finds the fulcrum that is meant.
pub(crate) fn find(at: Option<&str>) -> Result<Target, ErrorDoc> {
    let dev = DevCluster::find();
    let mut own = own_sockets();
    if dev.is_some() {
        // What a fulcrum that died left over makes nothing ambiguous.
        own.retain(|socket| answers(socket));
    }
    choose(at, dev.as_ref(), &own, &answers).map(|target| target.named(dev.as_ref()))
}

/// Sockets of this machine's fulcrum: of the system, and of this user.
fn own_sockets() -> Vec<PathBuf> {
    let mut sockets = vec![PathBuf::from(SYSTEM)];
    if !rustix::process::geteuid().is_root() {
        sockets.push(crate::settings::state_home().join("crux.sock"));
    }
    sockets.retain(|socket| socket.exists());
    sockets
}

fn answers(socket: &Path) -> bool {
    UnixStream::connect(socket).is_ok()
}

fn choose(
    at: Option<&str>,
    dev: Option<&DevCluster>,
    own: &[PathBuf],
    answers: &dyn Fn(&Path) -> bool,
) -> Result<Target, ErrorDoc> {
    let in_dev = |socket: &Path| dev.filter(|dev| dev.nodes.iter().any(|(_, known)| known == socket));
    if let Some(at) = at.filter(|at| !at.is_empty()) {
        if let Some((dev, (_, socket))) =
            dev.and_then(|dev| Some((dev, dev.nodes.iter().find(|(name, _)| name == at)?)))
        {
            return Ok(Target { socket: socket.clone(), dev_operator: Some(dev.operator.clone()), dev_node: None });
        }
        if at.contains('/') || at.ends_with(".sock") {
            let socket = PathBuf::from(at);
            let dev_operator = in_dev(&socket).map(|dev| dev.operator.clone());
            return Ok(Target { socket, dev_operator, dev_node: None });
        }
        let (known, next) = match dev {
            Some(dev) => {
                let names: Vec<&str> = dev.nodes.iter().map(|(name, _)| name.as_str()).collect();
                (format!("it has {}", names.join(", ")), format!("crux status --at {}", names.first().unwrap_or(&"n1")))
            }
            None => ("no dev cluster of this user runs".to_owned(), format!("crux status --at {SYSTEM}")),
        };
        let cause = format!("--at {at:?} is neither a socket's path nor a node of your dev cluster ({known})");
        return Err(ErrorDoc::new(Code::NotFound, cause, next));
    }
    match (dev, own.first()) {
        (Some(dev), Some(own)) => {
            let (first, socket) = dev.nodes.first().map_or(("?", Path::new("?")), |(name, path)| (name, path));
            let cause = format!(
                "both your dev cluster ({}) and this machine's fulcrum ({}) exist; it is not clear which one is meant",
                socket.display(),
                own.display()
            );
            Err(ErrorDoc::new(
                Code::Ambiguous,
                cause,
                format!("crux status --at {first}, or crux status --at {}", own.display()),
            ))
        }
        (Some(dev), None) => {
            // The first one may have been killed on purpose.
            let up = dev.nodes.iter().map(|(_, socket)| socket).find(|socket| answers(socket));
            let socket = up.or(dev.nodes.first().map(|(_, socket)| socket)).cloned().unwrap_or_default();
            Ok(Target { socket, dev_operator: Some(dev.operator.clone()), dev_node: None })
        }
        (None, Some(own)) => Ok(Target { socket: own.clone(), dev_operator: None, dev_node: None }),
        (None, None) => Ok(Target { socket: PathBuf::from(SYSTEM), dev_operator: None, dev_node: None }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dev() -> DevCluster {
        DevCluster {
            pid: 1,
            lab: "/d/lab.sock".into(),
            operator: "/d/operator".into(),
            nodes: vec![("n1".to_owned(), "/d/n1/crux.sock".into()), ("n2".to_owned(), "/d/n2/crux.sock".into())],
        }
    }

    fn socket(found: Result<Target, ErrorDoc>) -> String {
        found.unwrap().socket.display().to_string()
    }

    #[test]
    fn a_fulcrum_is_named_by_node_or_socket() {
        let dev = dev();
        let find = |at| choose(Some(at), Some(&dev), &["/run/x.sock".into()], &|_| true);
        assert_eq!(socket(find("n2")), "/d/n2/crux.sock");
        assert_eq!(find("n2").unwrap().dev_operator, Some("/d/operator".into()));
        assert_eq!(find("/d/n1/crux.sock").unwrap().dev_operator, Some("/d/operator".into()));
        assert_eq!(find("/other.sock").unwrap().dev_operator, None);
        let error = find("n9").unwrap_err();
        assert_eq!((error.code, error.next.as_str()), (Code::NotFound, "crux status --at n1"));
        assert!(error.cause.contains("it has n1, n2"), "{}", error.cause);
    }

    #[test]
    fn two_candidates_are_an_error_that_names_both() {
        let error = choose(None, Some(&dev()), &["/run/x.sock".into()], &|_| true).unwrap_err();
        assert_eq!(error.code, Code::Ambiguous);
        assert!(error.cause.contains("/d/n1/crux.sock") && error.cause.contains("/run/x.sock"), "{}", error.cause);
    }

    #[test]
    fn without_a_name_the_only_candidate_is_taken_and_in_a_dev_cluster_one_that_answers() {
        let dev = dev();
        assert_eq!(socket(choose(None, Some(&dev), &[], &|path| path.starts_with("/d/n2"))), "/d/n2/crux.sock");
        assert_eq!(socket(choose(None, Some(&dev), &[], &|_| false)), "/d/n1/crux.sock");
        assert_eq!(socket(choose(None, None, &["/own.sock".into()], &|_| true)), "/own.sock");
        assert_eq!(socket(choose(None, None, &[], &|_| true)), SYSTEM);
    }
}
