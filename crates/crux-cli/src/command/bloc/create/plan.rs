//! From what a host says of itself to the steps that are missing there. No IO.

use crux_api::json::{Code, ErrorDoc};
use crux_names::{BlocName, NodeName};
use crux_pki::{CertificateDer, Refusal, Role, Trust, certificates_of_pem, unix_now};
use std::collections::{BTreeMap, BTreeSet};

/// A host, as ssh knows it, and the node that it becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Host {
    pub(super) node: NodeName,
    pub(super) ssh: String,
}

impl Host {
    /// Reads `HOST` or `NODE=HOST`, each node and each host once.
    pub(super) fn parse_all(texts: &[String]) -> Result<Vec<Self>, ErrorDoc> {
        let usage = |cause: String| ErrorDoc::new(Code::Usage, cause, "crux bloc create NAME --ssh n1=HOST,n2=HOST");
        let mut hosts: Vec<Self> = Vec::new();
        for text in texts {
            let (name, ssh) = match text.split_once('=') {
                Some((node, host)) => (node, host),
                // A user before the host is ssh's affair.
                None => (text.rsplit_once('@').map_or(text.as_str(), |(_, host)| host), text.as_str()),
            };
            let plain = |c: char| c.is_ascii_graphic() && !"'\"\\`$;&|<>(){}*?!#~".contains(c);
            if ssh.is_empty() || ssh.starts_with('-') || !ssh.chars().all(plain) {
                return Err(usage(format!("--ssh {text:?}: {ssh:?} is no host")));
            }
            let node = NodeName::parse(name).map_err(|e| {
                usage(format!("--ssh {text:?}: {name:?} cannot be a node's name ({e}); NODE={ssh} names it"))
            })?;
            hosts.push(Self { node, ssh: ssh.to_owned() });
        }
        let (nodes, names): (BTreeSet<_>, BTreeSet<_>) = hosts.iter().map(|host| (&host.node, &host.ssh)).unzip();
        if nodes.len() < hosts.len() || names.len() < hosts.len() {
            return Err(usage("--ssh: a host or a node is named twice".to_owned()));
        }
        Ok(hosts)
    }
}

/// What a host is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Machine {
    pub(super) system: String,
    pub(super) root: bool,
    pub(super) systemd: bool,
    pub(super) home: String,
}

/// What is there already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) machine: Machine,
    /// SHA-256 of the binary.
    pub(super) binary: Option<String>,
    /// The certificate, in PEM.
    pub(super) certificate: Option<String>,
    pub(super) config: Option<String>,
    /// The unit called crux with what is dropped in, as `systemctl cat` tells it: before each file is its path, after `#`.
    pub(super) unit: Option<String>,
    pub(super) running: bool,
}

/// Where everything is on a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) binary: String,
    pub(super) identity: String,
    pub(super) config: String,
    pub(super) state: String,
    pub(super) systemd: bool,
}

impl Layout {
    /// Root installs for the machine; whoever else, and with a directory, all is below one place.
    pub(super) fn of(machine: &Machine, dir: Option<&str>) -> Self {
        let dir = match dir {
            None if machine.root => {
                return Self {
                    binary: "/usr/local/bin/crux".to_owned(),
                    identity: "/etc/crux/identity".to_owned(),
                    config: "/etc/crux/crux.toml".to_owned(),
                    state: "/var/lib/crux".to_owned(),
                    systemd: machine.systemd,
                };
            }
            None => format!("{}/.local/share/crux", machine.home),
            Some(dir) if dir.starts_with('/') => dir.trim_end_matches('/').to_owned(),
            Some(dir) => format!("{}/{}", machine.home, dir.trim_start_matches("~/").trim_end_matches('/')),
        };
        Self {
            binary: format!("{dir}/bin/crux"),
            identity: format!("{dir}/identity"),
            config: format!("{dir}/crux.toml"),
            state: format!("{dir}/state"),
            systemd: false,
        }
    }
}

/// One thing to be done at a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Install crux.
    Binary,
    /// Issue a certificate and install it.
    Identity,
    /// Write its settings.
    Config,
    /// Tell systemd of it.
    Unit,
    /// Start it.
    Start,
}

impl Step {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Binary => "install crux",
            Self::Identity => "install its certificate",
            Self::Config => "write its settings",
            Self::Unit => "write the unit",
            Self::Start => "start it",
        }
    }
}

/// What shall be there.
pub(super) struct Wish<'a> {
    pub(super) bloc: &'a BlocName,
    pub(super) node: &'a NodeName,
    /// The directory of the CA, for people.
    pub(super) ca: &'a str,
    /// The roots of the CA; none if there is no CA yet.
    pub(super) roots: Vec<CertificateDer<'static>>,
    /// SHA-256 of the binary.
    pub(super) binary: &'a str,
    /// For what it was made: `Linux x86_64`.
    pub(super) machine: &'a str,
    pub(super) config: String,
    /// Whether the binary was named: then for what it was made is the operator's affair.
    pub(super) own_binary: bool,
}

/// The lines `key=value` that a script wrote.
fn lines(said: &str) -> BTreeMap<&str, &str> {
    said.lines().filter_map(|line| line.split_once('=')).collect()
}

/// What a host says that it is.
pub(super) fn machine(host: &Host, said: &str) -> Result<Machine, ErrorDoc> {
    let said = lines(said);
    let word = |key: &str| said.get(key).copied().unwrap_or_default();
    let missing = word("missing").trim();
    if !missing.is_empty() {
        let cause = format!("{}: these programs are missing there: {missing}", host.ssh);
        return Err(ErrorDoc::new(Code::Failed, cause, format!("install them on {}", host.ssh)));
    }
    let home = word("home").trim_end_matches('/').to_owned();
    if word("system").is_empty() || !home.starts_with('/') {
        let cause = format!("{}: it does not say what it is; its shell answers something else than POSIX's", host.ssh);
        return Err(ErrorDoc::new(Code::Failed, cause, format!("ssh {} uname -sm", host.ssh)));
    }
    Ok(Machine { system: word("system").to_owned(), root: word("uid") == "0", systemd: word("systemd") == "yes", home })
}

/// What a host says that is there.
pub(super) fn facts(machine: Machine, said: &str) -> Facts {
    let said = lines(said);
    // Line ends of a file came as a character that is in none of them.
    let file = |key: &str| said.get(key).map(|text| text.replace('|', "\n"));
    Facts {
        machine,
        binary: said.get("binary").map(|text| (*text).to_owned()),
        certificate: file("certificate"),
        config: file("config"),
        unit: file("unit"),
        running: said.get("running") == Some(&"yes"),
    }
}

/// What is missing at a host, in its order; or why crux is not installed there.
pub(super) fn plan(host: &Host, facts: &Facts, layout: &Layout, wish: &Wish<'_>) -> Result<Vec<Step>, ErrorDoc> {
    let refuse = |cause: String, next: String| Err(ErrorDoc::new(Code::Failed, format!("{}: {cause}", host.ssh), next));
    if !wish.own_binary && facts.machine.system != wish.machine {
        let cause = format!("it is {}, and this crux was made for {}", facts.machine.system, wish.machine);
        return refuse(cause, "--binary FILE with a crux that was made for it".to_owned());
    }
    let mut steps = Vec::new();
    // What runs is not exchanged under it: that is an upgrade.
    if facts.binary.is_none() || (facts.binary.as_deref() != Some(wish.binary) && !facts.running) {
        steps.push(Step::Binary);
    }
    match &facts.certificate {
        None => steps.push(Step::Identity),
        Some(pem) => match standing(pem, wish) {
            Ok(()) => {}
            Err(Foreign { why, next }) => {
                let next = next.unwrap_or_else(|| {
                    let look = format!("ssh {} cat {}/cert.pem", host.ssh, layout.identity);
                    format!("look at it: {look}; or take another host")
                });
                let cause = format!("{} has a certificate already, and {why}; nothing was changed", layout.identity);
                return refuse(cause, next);
            }
        },
    }
    match &facts.config {
        None => steps.push(Step::Config),
        Some(config) if config.trim_end() == wish.config.trim_end() => {}
        // Another host has come: how many there should be counts from the next start on.
        Some(config) if ours(config) && listen(config) == listen(&wish.config) => steps.push(Step::Config),
        Some(_) => {
            let next = format!(
                "move it out of the way, or give the flags it was written with: ssh {} cat {}",
                host.ssh, layout.config
            );
            return refuse(format!("{} is there and says something else than would be written", layout.config), next);
        }
    }
    match facts.unit.as_deref().filter(|_| layout.systemd) {
        None if layout.systemd => steps.push(Step::Unit),
        None => {}
        Some(unit) => {
            let (path, starts) = started(unit);
            let wanted = format!("{} up", layout.binary);
            if starts != [wanted.as_str()] {
                let starts = if starts.is_empty() { "nothing".to_owned() } else { starts.join(", ") };
                let next = format!("ssh {} systemctl cat crux; remove it, or --dir DIR leaves systemd alone", host.ssh);
                return refuse(
                    format!("crux.service is there already ({path}), and starts {starts}, not {wanted}"),
                    next,
                );
            }
        }
    }
    if !facts.running {
        steps.push(Step::Start);
    }
    Ok(steps)
}

/// Whether settings are of an earlier run of this command, and nobody else's.
fn ours(config: &str) -> bool {
    let written = |line: &str| line.is_empty() || ["listen = ", "expect = "].iter().any(|key| line.starts_with(key));
    config.strip_prefix(super::script::WRITTEN).is_some_and(|rest| rest.lines().all(written))
}

/// Where settings say that it listens.
fn listen(config: &str) -> Option<&str> {
    config.lines().find(|line| line.starts_with("listen = "))
}

/// Where a unit stands and what it starts, by `systemctl cat`: what is dropped in adds, and an empty value takes away.
fn started(unit: &str) -> (&str, Vec<&str>) {
    let path = unit.lines().find_map(|line| line.strip_prefix("# /").map(|_| &line[2..])).unwrap_or("in no file");
    let mut starts = Vec::new();
    for (key, value) in unit.lines().filter_map(|line| line.split_once('=')) {
        match (key.trim(), value.trim()) {
            ("ExecStart", "") => starts.clear(),
            ("ExecStart", value) => starts.push(value),
            _ => {}
        }
    }
    (path, starts)
}

/// Why a certificate is not taken for what would be installed, and what to try, if there is something.
struct Foreign {
    why: String,
    next: Option<String>,
}

/// Whether a certificate that is there is this node's, of this CA. Whose it is not is never told to be put away: under a new
/// one of another CA a machine is in another bloc, though that has the same name.
fn standing(pem: &str, wish: &Wish<'_>) -> Result<(), Foreign> {
    let foreign = |why: String| Foreign { why, next: None };
    let chain = certificates_of_pem(pem.as_bytes()).map_err(foreign)?;
    let elsewhere = "the same command with --ca DIR, the directory of the CA that issued it; or take another host";
    let of_another = |why: String| Foreign { why, next: Some(elsewhere.to_owned()) };
    if wish.roots.is_empty() {
        return Err(of_another(format!("there is no CA in {} that issued it", wish.ca)));
    }
    let trust = Trust::new(wish.bloc.clone(), wish.roots.iter().cloned()).map_err(|e| foreign(e.to_string()))?;
    let admitted = trust.verify_chain(&chain, unix_now()).map_err(|refusal| {
        let why = format!("it would be refused: {refusal}");
        match refusal {
            Refusal::Untrusted | Refusal::OtherBloc { .. } => of_another(why),
            Refusal::Expired { .. } => {
                let next =
                    format!("crux ca renew, or crux ca issue --ca {} --node {}, and install that", wish.ca, wish.node);
                Foreign { why, next: Some(next) }
            }
            _ => foreign(why),
        }
    })?;
    match &admitted.identity().role {
        Role::Node(node) if node == wish.node => Ok(()),
        Role::Node(node) => Err(Foreign {
            why: format!("it is of node/{node}, not of node/{}", wish.node),
            next: Some(format!("--ssh {node}=HOST, if it is to stay {node}; or take another host")),
        }),
        role => Err(foreign(format!("it is of {role}, not of node/{}", wish.node))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crux_pki::{Ca, IssueRequest};

    fn hosts(texts: &[&str]) -> Result<Vec<Host>, ErrorDoc> {
        Host::parse_all(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
    }

    fn host() -> Host {
        hosts(&["n1=web1"]).unwrap().remove(0)
    }

    fn machine_of(root: bool, systemd: bool) -> Machine {
        Machine { system: "Linux x86_64".into(), root, systemd, home: "/srv/ann".into() }
    }

    #[test]
    fn hosts_are_named_once_and_nothing_else_than_hosts() {
        let read = hosts(&["web1", "root@db.site-a", "n3=10.0.0.3", "n4=bob@10.0.0.4"]).unwrap();
        let read: Vec<(String, &str)> = read.iter().map(|host| (host.node.to_string(), host.ssh.as_str())).collect();
        let wanted = [("web1", "web1"), ("db.site-a", "root@db.site-a"), ("n3", "10.0.0.3"), ("n4", "bob@10.0.0.4")];
        assert_eq!(read, wanted.map(|(node, host)| (node.to_owned(), host)));
        for bad in [
            &["-oProxyCommand=x"][..],
            &["n1=-x"],
            &["a b"],
            &["n1="],
            &["Web1"],
            &["a", "a"],
            &["n=a", "n=b"],
            &["a=x;y"],
        ] {
            assert_eq!(hosts(bad).unwrap_err().code, Code::Usage, "{bad:?}");
        }
        assert!(hosts(&["Web1"]).unwrap_err().cause.contains("NODE=Web1"));
    }

    #[test]
    fn what_is_missing_is_done_in_order_and_what_is_there_is_left() {
        let (bloc, node) = ("acme".parse().unwrap(), "n1".parse::<NodeName>().unwrap());
        let mut ca = Ca::in_memory("acme".parse().unwrap()).unwrap();
        let mut pem = |name: &str| {
            let dir = tempfile::tempdir().unwrap();
            let place = dir.path().join("b");
            ca.issue(IssueRequest::new(Role::Node(name.parse().unwrap()))).unwrap().save(&place).unwrap();
            std::fs::read_to_string(place.join("cert.pem")).unwrap()
        };
        let (own, other) = (pem("n1"), pem("n2"));
        let wish = Wish {
            bloc: &bloc,
            node: &node,
            ca: "acme-ca",
            roots: ca.roots().cloned().collect(),
            binary: "aa",
            machine: "Linux x86_64",
            config: crate::command::bloc::create::script::config(1, 3),
            own_binary: false,
        };
        let layout = Layout::of(&machine_of(true, true), None);
        let steps = |facts: &Facts| plan(&host(), facts, &layout, &wish);
        let nothing = Facts { machine: machine_of(true, true), ..Facts::default() };
        let all = [Step::Binary, Step::Identity, Step::Config, Step::Unit, Step::Start];
        assert_eq!(steps(&nothing).unwrap(), all);
        let whole = Facts {
            binary: Some("aa".into()),
            certificate: Some(own),
            config: Some(wish.config.trim_end().to_owned()),
            unit: Some(crate::command::bloc::create::script::unit(&layout)),
            running: true,
            ..nothing.clone()
        };
        assert_eq!(steps(&whole).unwrap(), []);
        assert_eq!(steps(&Facts { running: false, ..whole.clone() }).unwrap(), [Step::Start]);
        assert_eq!(steps(&Facts { binary: Some("bb".into()), ..whole.clone() }).unwrap(), [], "it runs");
        let stopped = Facts { binary: Some("bb".into()), running: false, ..whole.clone() };
        assert_eq!(steps(&stopped).unwrap(), [Step::Binary, Step::Start]);
        let without = plan(&host(), &nothing, &Layout::of(&machine_of(true, false), None), &wish).unwrap();
        assert!(!without.contains(&Step::Unit));

        let fewer = crate::command::bloc::create::script::config(1, 2);
        assert_eq!(steps(&Facts { config: Some(fewer.clone()), ..whole.clone() }).unwrap(), [Step::Config]);
        let more = format!("{fewer}seed = [\"x:1\"]\n");
        let cause = |facts: Facts| steps(&facts).unwrap_err().cause;
        assert!(
            cause(Facts { certificate: Some(other), ..whole.clone() }).contains("it is of node/n2, not of node/n1")
        );
        assert!(cause(Facts { certificate: Some("x".into()), ..whole.clone() }).contains("has a certificate already"));
        assert!(cause(Facts { config: Some("listen = 2".into()), ..whole.clone() }).contains("says something else"));
        assert!(cause(Facts { config: Some(more), ..whole.clone() }).contains("says something else"));
        let arm = Machine { system: "Linux aarch64".into(), ..machine_of(true, true) };
        assert!(cause(Facts { machine: arm, ..whole }).starts_with("web1: it is Linux aarch64"));
    }

    #[test]
    fn root_installs_for_the_machine_and_others_in_their_home() {
        assert_eq!(Layout::of(&machine_of(true, true), None).binary, "/usr/local/bin/crux");
        let own = Layout::of(&machine_of(false, true), None);
        assert_eq!((own.state.as_str(), own.systemd), ("/srv/ann/.local/share/crux/state", false));
        let given = |dir| Layout::of(&machine_of(true, true), Some(dir)).identity;
        assert_eq!(
            [given("/opt/x/"), given("~/x"), given("x")],
            ["/opt/x/identity", "/srv/ann/x/identity", "/srv/ann/x/identity"]
        );
    }

    #[test]
    fn a_host_that_lacks_something_or_says_nothing_is_named() {
        let said = "system=Linux x86_64\nuid=0\nsystemd=no\nhome=/root\nmissing=\n";
        let read = machine(&host(), said).unwrap();
        assert!(read.root && !read.systemd && read.home == "/root");
        let cause = |said: &str| machine(&host(), said).unwrap_err().cause;
        assert!(cause("missing= tar\n").contains("web1: these programs are missing there: tar"));
        assert!(cause("Welcome!\n").starts_with("web1: it does not say what it is"));
        let there = facts(read, "binary=aa\ncertificate=a|b|\nrunning=yes\n");
        assert_eq!(
            (there.certificate.as_deref(), there.running, there.unit, there.config),
            (Some("a\nb\n"), true, None, None)
        );
    }
}
