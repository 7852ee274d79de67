//! Which fulcrum a command is for: `--at`, `CRUX_AT`, the dev cluster of this user, or this machine's own.

use crate::args::Global;
use crate::fulcrum::DevCluster;
use crate::operator::Operator;
use crux_api::client::Client;
use crux_api::client::tls::Port;
use crux_api::json::{Code, ErrorDoc, NodeList};
use crux_api::routes;
use crux_names::FulcrumId;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// However short a `--timeout` is, a fulcrum on a loaded machine may take so long to answer.
const ANSWER: Duration = Duration::from_secs(1);
/// The API port where nothing else is said.
const API_PORT: u16 = 2789;
/// The socket of this machine's fulcrum.
const SYSTEM: &str = "/run/crux/crux.sock";

/// How a fulcrum is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// By its local socket.
    Socket(PathBuf),
    /// By its API port: `HOST:PORT`.
    Port(String),
}

/// A fulcrum, and the operator that its dev cluster came with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// Where it is.
    pub(crate) at: At,
    /// The dev cluster's operator.
    pub(crate) dev_operator: Option<PathBuf>,
    /// Which node of the dev cluster it is.
    pub(crate) dev_node: Option<String>,
}

impl Target {
    /// Behind a socket.
    fn socket(socket: PathBuf, dev_operator: Option<PathBuf>) -> Self {
        Self { at: At::Socket(socket), dev_operator, dev_node: None }
    }

    /// The same, knowing which node of a dev cluster it is.
    fn named(mut self, dev: Option<&DevCluster>) -> Self {
        let At::Socket(socket) = &self.at else { return self };
        let node = dev.and_then(|dev| dev.nodes.iter().find(|(_, known)| known == socket));
        self.dev_node = node.map(|(name, _)| name.clone());
        self
    }

    /// An error of asking it: who does not answer in a dev cluster was killed there and can be started.
    pub(crate) fn explain(&self, mut error: ErrorDoc) -> ErrorDoc {
        if let (Code::Unreachable, Some(node), At::Socket(socket)) = (error.code, &self.dev_node, &self.at)
            && !answers(socket)
        {
            error.next = format!("crux lab start {node}");
        }
        error
    }

    /// A client of it. An API port is asked as the operator of this command.
    pub(crate) fn client(&self, global: &Global) -> Result<Client, ErrorDoc> {
        let client = match &self.at {
            At::Socket(socket) => Client::new(socket),
            At::Port(addr) => {
                let operator = Operator::load(global, self)?;
                Client::over(Arc::new(Port::new(addr.clone(), operator.bundle())?))
            }
        };
        Ok(match global.timeout {
            Some(patience) => client.patient(patience.max(ANSWER)),
            None => client,
        })
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

/// Finds a node of the bloc that is named, by the word of this machine's fulcrum.
pub(crate) async fn find_node(name: &str) -> Option<Result<Target, ErrorDoc>> {
    let name: FulcrumId = name.parse().ok()?;
    let socket = own_sockets().into_iter().find(|socket| answers(socket))?;
    let list: NodeList = Client::new(&socket).get(routes::NODES).await.ok()?;
    Some(at_node(&name.to_string(), &list, &socket))
}

fn at_node(name: &str, list: &NodeList, socket: &Path) -> Result<Target, ErrorDoc> {
    let entry = list.roster.iter().find(|entry| entry.name == name);
    let Some(entry) = entry else {
        let cause = format!("{name} is not in the flock of this machine's fulcrum ({})", socket.display());
        return Err(ErrorDoc::new(Code::NotFound, cause, "crux node list, or --at HOST:PORT"));
    };
    match (&entry.api, &entry.link) {
        (Some(addr), _) => Ok(Target { at: At::Port(addr.clone()), dev_operator: None, dev_node: None }),
        // There is no link from a fulcrum to itself.
        (None, None) => Ok(Target::socket(socket.to_owned(), None)),
        (None, Some(_)) => {
            let cause = format!("{name} at {} has no API port", entry.addr);
            Err(ErrorDoc::new(Code::Unreachable, cause, "start it without --api off, or ask on its own machine"))
        }
    }
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

/// `HOST:PORT` of an API port; an address without a port means the usual one.
fn port(at: &str) -> Option<String> {
    if let Ok(ip) = at.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        return Some(SocketAddr::new(ip, API_PORT).to_string());
    }
    let (host, port) = at.rsplit_once(':')?;
    let bare_v6 = host.contains(':') && !(host.starts_with('[') && host.ends_with(']'));
    (!host.is_empty() && !host.contains('/') && !bare_v6 && port.parse::<u16>().is_ok_and(|port| port != 0))
        .then(|| at.to_owned())
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
            return Ok(Target::socket(socket.clone(), Some(dev.operator.clone())));
        }
        if let Some(addr) = port(at) {
            return Ok(Target { at: At::Port(addr), dev_operator: None, dev_node: None });
        }
        // A fulcrum's name, NODE/FULCRUM, has a slash too.
        let name = !at.ends_with(".sock") && at.parse::<FulcrumId>().is_ok() && !Path::new(at).exists();
        if (at.contains('/') || at.ends_with(".sock")) && !name {
            let socket = PathBuf::from(at);
            let dev_operator = in_dev(&socket).map(|dev| dev.operator.clone());
            return Ok(Target::socket(socket, dev_operator));
        }
        let (known, next) = match dev {
            Some(dev) => {
                let names: Vec<&str> = dev.nodes.iter().map(|(name, _)| name.as_str()).collect();
                (format!("it has {}", names.join(", ")), format!("crux status --at {}", names.first().unwrap_or(&"n1")))
            }
            None => ("no dev cluster of this user runs".to_owned(), format!("crux status --at {SYSTEM}")),
        };
        let cause =
            format!("--at {at:?} is neither HOST:PORT, nor a socket's path, nor a node of your dev cluster ({known})");
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
                format!("the same command with --at {first} (of the dev cluster), or with --at {}", own.display()),
            ))
        }
        (Some(dev), None) => {
            // The first one may have been killed on purpose.
            let up = dev.nodes.iter().map(|(_, socket)| socket).find(|socket| answers(socket));
            let socket = up.or(dev.nodes.first().map(|(_, socket)| socket)).cloned().unwrap_or_default();
            Ok(Target::socket(socket, Some(dev.operator.clone())))
        }
        (None, Some(own)) => Ok(Target::socket(own.clone(), None)),
        (None, None) => Ok(Target::socket(PathBuf::from(SYSTEM), None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crux_api::json::Doc;

    fn dev() -> DevCluster {
        DevCluster {
            pid: 1,
            lab: "/d/lab.sock".into(),
            operator: "/d/operator".into(),
            nodes: vec![("n1".to_owned(), "/d/n1/crux.sock".into()), ("n2".to_owned(), "/d/n2/crux.sock".into())],
        }
    }

    fn socket(found: Result<Target, ErrorDoc>) -> String {
        match found.unwrap().at {
            At::Socket(path) => path.display().to_string(),
            At::Port(addr) => addr,
        }
    }

    #[test]
    fn a_fulcrum_is_named_by_node_or_socket() {
        let dev = dev();
        let find = |at| choose(Some(at), Some(&dev), &["/run/x.sock".into()], &|_| true);
        assert_eq!(socket(find("n2")), "/d/n2/crux.sock");
        assert_eq!(find("n2").unwrap().dev_operator, Some("/d/operator".into()));
        assert_eq!(find("/d/n1/crux.sock").unwrap().dev_operator, Some("/d/operator".into()));
        assert_eq!(find("/other.sock").unwrap().dev_operator, None);
        for (at, addr) in [
            ("10.0.0.1:4000", "10.0.0.1:4000"),
            ("n1.example:2789", "n1.example:2789"),
            ("::1", "[::1]:2789"),
            ("[::1]:7", "[::1]:7"),
        ] {
            assert_eq!(find(at).unwrap().at, At::Port(addr.to_owned()));
        }
        assert_eq!(find("m1/b").unwrap_err().code, Code::NotFound, "a fulcrum's name, to be looked for in the flock");
        assert_eq!(socket(find("m1/b.sock")), "m1/b.sock");
        let error = find("n9").unwrap_err();
        assert_eq!((error.code, error.next.as_str()), (Code::NotFound, "crux status --at n1"));
        assert!(error.cause.contains("it has n1, n2"), "{}", error.cause);
    }

    #[test]
    fn a_node_of_the_bloc_is_found_by_the_word_of_this_machine_s_fulcrum() {
        let sample = include_str!("../../crux-api/schema/NodeList.json");
        let Doc(mut list) = serde_json::from_str::<Doc<NodeList>>(sample).unwrap();
        let find = |list: &NodeList, name| at_node(name, list, Path::new("/own.sock"));
        assert_eq!(find(&list, "n2").unwrap().at, At::Port("10.0.0.2:2789".to_owned()));
        assert_eq!(find(&list, "n7").unwrap_err().code, Code::NotFound);
        list.roster[0].api = None;
        assert_eq!(find(&list, "n2").unwrap_err().code, Code::Unreachable);
        list.roster[0].link = None;
        assert_eq!(find(&list, "n2").unwrap().at, At::Socket("/own.sock".into()), "that is itself");
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
