//! Settings of `crux up`: flags over `CRUX_*` variables over `crux.toml` and `crux.d/*.toml` over the bundle's
//! `crux.toml` over defaults. Keys are the flags' names; a key that nobody knows is an error that names its file and line.

use crate::fulcrum::NO_BUNDLE;
use crux_api::json::{Code, ErrorDoc};
use crux_names::FulcrumName;
use serde::Deserialize;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// Default mesh address.
const LISTEN: &str = "[::]:2789";
/// Default port of metrics.
const METRICS_PORT: u16 = 2781;
/// Default port of the page.
const PAGE_PORT: u16 = 2780;
/// Where the machine's bundle is.
const IDENTITY: &str = "/etc/crux/identity";

/// Settings in one place: all that a flag, a variable or a file may set.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, clap::Args)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Layer {
    /// The node's bundle [default: /etc/crux/identity]
    #[arg(long, env = "CRUX_IDENTITY", value_name = "DIR")]
    pub(crate) identity: Option<PathBuf>,
    /// Where the mesh port listens, UDP; port 0 picks one (default: every address, port 2789)
    #[arg(long, env = "CRUX_LISTEN", value_name = "ADDR:PORT")]
    pub(crate) listen: Option<String>,
    /// The API port, TCP with mutual TLS; port 0 picks one [default: the address and port number of --listen]
    #[arg(long, env = "CRUX_API", value_name = "ADDR|off")]
    pub(crate) api: Option<String>,
    /// Metrics and health, plain HTTP; port 0 picks one [default: 127.0.0.1:2781]
    #[arg(long, env = "CRUX_METRICS", value_name = "ADDR|off")]
    pub(crate) metrics: Option<String>,
    /// Confab and status for programs of this machine, plain HTTP on loopback; port 0 picks one [default: 127.0.0.1:2780]
    #[arg(long, env = "CRUX_PAGE", value_name = "ADDR|off")]
    pub(crate) page: Option<String>,
    /// State: store, socket, instances, files [default: /var/lib/crux for root, else $XDG_STATE_HOME/crux]
    #[arg(long, env = "CRUX_STATE", value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    /// A fulcrum to dial, for ever; may be given several times
    #[arg(long, env = "CRUX_SEED", value_name = "HOST:PORT", value_delimiter = ',')]
    pub(crate) seed: Option<Vec<String>>,
    /// A network or a list to search for fulcrums: 10.0.0.0/24, 10.0.0.0/24:PORT, file:PATH; may be given several times
    #[arg(long, env = "CRUX_PROBE", value_name = "CIDR|file:PATH", value_delimiter = ',')]
    pub(crate) probe: Option<Vec<String>>,
    /// Follow a flock without leading it or getting work
    #[arg(long, env = "CRUX_VISITOR", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub(crate) visitor: Option<bool>,
    /// With so many in the flock it is complete; fewer are said loudly
    #[arg(long, env = "CRUX_EXPECT", value_name = "N")]
    pub(crate) expect: Option<u32>,
    /// This fulcrum's name, where a node runs several
    #[arg(long, env = "CRUX_FULCRUM", value_name = "NAME")]
    pub(crate) fulcrum: Option<String>,
    /// Multiplies every timer; 1 is the default
    #[arg(long, env = "CRUX_TIMERS", value_name = "SCALE")]
    pub(crate) timers: Option<f64>,
    /// Do not announce this fulcrum on the local link, nor listen there for others of the bloc
    #[arg(long, env = "CRUX_NO_MULTICAST", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub(crate) no_multicast: Option<bool>,
    /// Which part of this machine's cores, memory and disk its services may use, where several fulcrums or other programs
    /// share it [default: 1]
    #[arg(long, env = "CRUX_SHARE", value_name = "SHARE")]
    pub(crate) share: Option<f64>,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) later: Later,
}

/// Settings that operators may rely on later: refused with a clear word rather than ignored.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, clap::Args)]
#[serde(default)]
pub(crate) struct Later {
    /// Serve as a gateway (not yet in this version)
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    gateway: Option<bool>,
    /// Report to a beacon (not yet in this version)
    #[arg(long, env = "CRUX_BEACON", value_name = "ADDR")]
    beacon: Option<String>,
    /// DNS (not yet in this version, except off)
    #[arg(long, env = "CRUX_DNS", value_name = "ADDR|off")]
    dns: Option<String>,
}

impl Later {
    /// The first setting that asks for something this version does not do; `off` asks for nothing.
    fn wanted(&self) -> Option<&'static str> {
        let on = |value: &Option<String>| value.as_deref().is_some_and(|value| value != "off");
        let wants =
            [("gateway", self.gateway == Some(true)), ("beacon", self.beacon.is_some()), ("dns", on(&self.dns))];
        wants.into_iter().find_map(|(name, wanted)| wanted.then_some(name))
    }

    /// Refuses what this version does not do.
    pub(crate) fn check(&self) -> Result<(), ErrorDoc> {
        let Some(name) = self.wanted() else { return Ok(()) };
        let cause = format!("--{name} is not yet supported in this version; leave {name} away");
        Err(ErrorDoc::new(Code::NotYet, cause, "crux up --help"))
    }

    fn over(self, under: Self) -> Self {
        Self {
            gateway: self.gateway.or(under.gateway),
            beacon: self.beacon.or(under.beacon),
            dns: self.dns.or(under.dns),
        }
    }
}

impl Layer {
    /// These settings, and where they say nothing the others.
    pub(crate) fn over(self, under: Self) -> Self {
        Self {
            identity: self.identity.or(under.identity),
            listen: self.listen.or(under.listen),
            api: self.api.or(under.api),
            metrics: self.metrics.or(under.metrics),
            page: self.page.or(under.page),
            state: self.state.or(under.state),
            seed: self.seed.or(under.seed),
            probe: self.probe.or(under.probe),
            visitor: self.visitor.or(under.visitor),
            expect: self.expect.or(under.expect),
            fulcrum: self.fulcrum.or(under.fulcrum),
            timers: self.timers.or(under.timers),
            no_multicast: self.no_multicast.or(under.no_multicast),
            share: self.share.or(under.share),
            later: self.later.over(under.later),
        }
    }

    /// Reads one file's text.
    fn parse(file: &str, text: &str) -> Result<Self, ErrorDoc> {
        // serde cannot refuse unknown keys of a flattened struct, so they are looked at first.
        let table = toml::de::DeTable::parse(text).map_err(|e| pointed(file, text, "", &e))?;
        for key in table.get_ref().keys() {
            let name: &str = key.get_ref();
            if !KEYS.contains(&name) {
                let (line, column) = position(text, key.span().start);
                let cause = format!("{file}:{line}:{column}: {name}: unknown key; allowed here: {}", KEYS.join(", "));
                return Err(ErrorDoc::new(Code::BadConfig, cause, "crux up --help: keys are the flags' names"));
            }
        }
        toml::from_str(text).map_err(|e| {
            // Its own words name no key.
            let at = e.span().map_or(0, |span| span.start);
            let key = table.get_ref().iter().find(|(_, value)| value.span().contains(&at));
            let key = key.map_or_else(String::new, |(key, _)| format!("{}: ", key.get_ref()));
            pointed(file, text, &key, &e)
        })
    }

    fn read(path: &Path) -> Result<Self, ErrorDoc> {
        let text = std::fs::read_to_string(path).map_err(|e| {
            let cause = format!("cannot read {}: {e}", path.display());
            ErrorDoc::new(Code::BadConfig, cause, "crux up --config FILE")
        })?;
        Self::parse(&path.display().to_string(), &text)
    }

    /// A configuration file, and over it what `crux.d` beside it says, later names over earlier ones.
    pub(crate) fn read_with_directory(path: &Path) -> Result<Self, ErrorDoc> {
        let mut layer = Self::read(path)?;
        let directory = path.with_file_name("crux.d");
        let mut more: Vec<PathBuf> = match std::fs::read_dir(&directory) {
            Ok(entries) => entries.filter_map(|entry| Some(entry.ok()?.path())).collect(),
            Err(_) => Vec::new(),
        };
        more.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
        more.sort();
        for path in more {
            layer = Self::read(&path)?.over(layer);
        }
        Ok(layer)
    }
}

const KEYS: [&str; 17] = [
    "identity",
    "listen",
    "state",
    "seed",
    "expect",
    "fulcrum",
    "timers",
    "no-multicast",
    "probe",
    "share",
    "visitor",
    "gateway",
    "beacon",
    "api",
    "page",
    "metrics",
    "dns",
];

fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    (before.matches('\n').count() + 1, before.rsplit('\n').next().unwrap_or(before).chars().count() + 1)
}

fn pointed(file: &str, text: &str, key: &str, error: &toml::de::Error) -> ErrorDoc {
    let (line, column) = position(text, error.span().map_or(0, |span| span.start));
    let cause = format!("{file}:{line}:{column}: {key}{}", error.message().lines().collect::<Vec<_>>().join("; "));
    ErrorDoc::new(Code::BadConfig, cause, "crux up --help: keys are the flags' names")
}

/// Everything that a fulcrum is started with.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct UpSettings {
    /// The node's bundle.
    pub(crate) identity: PathBuf,
    /// Mesh address.
    pub(crate) listen: SocketAddr,
    /// Where the API port listens; `None`: nowhere.
    pub(crate) api: Option<SocketAddr>,
    /// Where metrics are shown; `None`: nowhere.
    pub(crate) metrics: Option<SocketAddr>,
    /// Where programs of this machine are answered; `None`: nowhere.
    pub(crate) page: Option<SocketAddr>,
    /// State directory.
    pub(crate) state: PathBuf,
    /// Fulcrums to dial.
    pub(crate) seeds: Vec<String>,
    /// Networks and lists to search.
    pub(crate) probes: Vec<String>,
    /// Whether it announces itself on the local link.
    pub(crate) multicast: bool,
    /// Whether it follows only.
    pub(crate) visitor: bool,
    /// How many are expected.
    pub(crate) expect: Option<u32>,
    /// The fulcrum's name.
    pub(crate) fulcrum: FulcrumName,
    /// Scale of every timer.
    pub(crate) timers: f64,
    /// Which part of the machine is for its services.
    pub(crate) share: f64,
    /// The child of a dev cluster.
    pub(crate) dev_child: bool,
}

/// Where the state of this user's programs is.
pub(crate) fn state_home() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = set("XDG_STATE_HOME").or_else(|| set("HOME").map(|home| home.join(".local").join("state")));
    home.unwrap_or_else(std::env::temp_dir).join("crux")
}

/// That a seed has a host and a port.
fn check_seed(seed: &str) -> Result<(), String> {
    let host_port = seed.rsplit_once(':').filter(|(host, port)| {
        let bare_v6 = host.contains(':') && !(host.starts_with('[') && host.ends_with(']'));
        !host.is_empty() && !bare_v6 && port.parse::<u16>().is_ok_and(|port| port != 0)
    });
    host_port
        .map(|_| ())
        .ok_or_else(|| format!("{seed:?} is not HOST:PORT, like n1.example:2789 or [2001:db8::1]:2789"))
}

/// An address to listen at, `off`, or what is usual.
fn addr_or_off(text: Option<&str>, usual: Option<SocketAddr>) -> Result<Option<SocketAddr>, String> {
    let Some(text) = text else { return Ok(usual) };
    if text == "off" {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| format!("{text:?} is neither ADDR:PORT, like 127.0.0.1:2789, nor off"))
}

/// Where the page's port listens: on loopback, for nobody shows a certificate there.
pub(crate) fn page(text: Option<&str>) -> Result<Option<SocketAddr>, ErrorDoc> {
    let wrong = |problem: String, next: &str| ErrorDoc::new(Code::BadConfig, format!("page: {problem}"), next);
    let usual = SocketAddr::from((Ipv4Addr::LOCALHOST, PAGE_PORT));
    let addr = addr_or_off(text, Some(usual)).map_err(|problem| wrong(problem, "crux up --help"))?;
    match addr {
        Some(addr) if !addr.ip().is_loopback() => {
            let problem = format!(
                "{addr} is no address of loopback; it answers whoever asks, without a certificate, so it listens on this machine only"
            );
            Err(wrong(
                problem,
                "--page 127.0.0.1:2780, and from elsewhere ssh -L 2780:127.0.0.1:2780 HOST, or the API port",
            ))
        }
        addr => Ok(addr),
    }
}

/// Joins flags (with the environment), files and the bundle.
pub(crate) fn resolve(flags: Layer, config: Option<&Path>, dev_child: bool) -> Result<UpSettings, ErrorDoc> {
    let file = match config {
        Some(path) => Layer::read_with_directory(path)?,
        None => {
            let usual = Path::new("/etc/crux/crux.toml");
            if !dev_child && usual.exists() { Layer::read_with_directory(usual)? } else { Layer::default() }
        }
    };
    let mut layer = flags.over(file);
    let identity = layer.identity.clone().unwrap_or_else(|| IDENTITY.into());
    let bundled = crux_pki::bundle_settings(&identity).map_err(|e| {
        let next = match identity.exists() {
            true => format!("crux ca inspect {}", identity.display()),
            false => NO_BUNDLE.to_owned(),
        };
        ErrorDoc::new(Code::BadBundle, e.to_string(), next)
    })?;
    if let Some(text) = bundled {
        layer = layer.over(Layer::parse(&identity.join("crux.toml").display().to_string(), &text)?);
    }
    layer.later.check()?;
    let wrong =
        |name: &str, problem: String| ErrorDoc::new(Code::BadConfig, format!("{name}: {problem}"), "crux up --help");
    let listen = layer.listen.as_deref().unwrap_or(LISTEN);
    let listen: SocketAddr =
        listen.parse().map_err(|_| wrong("listen", format!("{listen:?} is not ADDR:PORT, like 0.0.0.0:2789")))?;
    let api = addr_or_off(layer.api.as_deref(), Some(listen)).map_err(|problem| wrong("api", problem))?;
    let usual = SocketAddr::from((Ipv4Addr::LOCALHOST, METRICS_PORT));
    let metrics = addr_or_off(layer.metrics.as_deref(), Some(usual)).map_err(|problem| wrong("metrics", problem))?;
    let page = page(layer.page.as_deref())?;
    let fulcrum = match &layer.fulcrum {
        Some(name) => FulcrumName::parse(name).map_err(|e| wrong("fulcrum", e.to_string()))?,
        None => FulcrumName::default_name(),
    };
    let root = rustix::process::geteuid().is_root();
    let state = layer.state.unwrap_or_else(|| if root { "/var/lib/crux".into() } else { state_home() });
    if layer.expect == Some(0) {
        return Err(wrong("expect", "a flock has at least one member".to_owned()));
    }
    let share = layer.share.unwrap_or(1.0);
    // What is no number is not above 0 either.
    if !(share > 0.0 && share <= 1.0) {
        return Err(wrong(
            "share",
            format!("{share} is no part of this machine; it is more than 0 and at most 1, like 0.5"),
        ));
    }
    let seeds = layer.seed.unwrap_or_default();
    for seed in &seeds {
        check_seed(seed).map_err(|problem| wrong("seed", problem))?;
    }
    Ok(UpSettings {
        identity,
        listen,
        api,
        metrics,
        page,
        state,
        seeds,
        probes: layer.probe.unwrap_or_default(),
        multicast: layer.no_multicast != Some(true),
        visitor: layer.visitor == Some(true),
        expect: layer.expect,
        fulcrum,
        timers: layer.timers.unwrap_or(1.0),
        share,
        dev_child,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_pointed_at() {
        let error = Layer::parse("crux.toml", "listen = \"0.0.0.0:1\"\nseeds = [\"a:1\"]\n").unwrap_err();
        assert_eq!(error.code, Code::BadConfig);
        assert_eq!(
            error.cause,
            "crux.toml:2:1: seeds: unknown key; allowed here: identity, listen, state, seed, expect, fulcrum, timers, \
             no-multicast, probe, share, visitor, gateway, beacon, api, page, metrics, dns"
        );
        let error = Layer::parse("crux.toml", "expect = \"five\"\n").unwrap_err();
        assert!(error.cause.starts_with("crux.toml:1:10: "), "{}", error.cause);
    }

    #[test]
    fn keys_are_the_flags_names() {
        use clap::Args;
        let command = Layer::augment_args(clap::Command::new("up"));
        let mut flags: Vec<String> =
            command.get_arguments().filter_map(|arg| arg.get_long().map(str::to_owned)).collect();
        let mut keys: Vec<String> = KEYS.iter().map(|key| (*key).to_owned()).collect();
        flags.sort();
        keys.sort();
        assert_eq!(flags, keys);
    }

    #[test]
    fn flags_beat_files_and_later_files_beat_earlier_ones_and_the_bundle_comes_last() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            path
        };
        let config = write("crux.toml", "expect = 3\nfulcrum = \"a\"\ntimers = 2.0\n");
        write("crux.d/10.toml", "fulcrum = \"b\"\n");
        write("crux.d/20.toml", "fulcrum = \"c\"\n");
        write("id/crux.toml", "seed = [\"s:1\"]\nexpect = 9\n");
        let flags = Layer {
            identity: Some(dir.path().join("id")),
            timers: Some(0.5),
            state: Some("/s".into()),
            ..Layer::default()
        };
        let settings = resolve(flags, Some(&config), false).unwrap();
        assert_eq!((settings.timers, settings.expect, settings.fulcrum.as_str()), (0.5, Some(3), "c"));
        assert_eq!(settings.seeds, ["s:1"]);
        assert_eq!(settings.listen, LISTEN.parse().unwrap());
    }

    #[test]
    fn a_seed_has_a_port() {
        for good in ["n1:2789", "10.0.0.1:2789", "[2001:db8::1]:2789", "n1.example.:1"] {
            assert_eq!(check_seed(good), Ok(()), "{good}");
        }
        for bad in ["bogus", "n1:", ":2789", "2001:db8::1", "n1:x", "n1:0", "n1:70000", ""] {
            assert!(check_seed(bad).unwrap_err().contains("HOST:PORT"), "{bad}");
        }
    }

    #[test]
    fn settings_of_later_versions_are_refused_unless_off() {
        let dir = tempfile::tempdir().unwrap();
        let resolve = |text: &str| {
            let config = dir.path().join("crux.toml");
            std::fs::write(&config, text).unwrap();
            resolve(Layer::default(), Some(&config), false)
        };
        let error = resolve("dns = \"127.0.0.1:0\"\n").unwrap_err();
        assert_eq!(
            (error.code, error.cause.as_str()),
            (Code::NotYet, "--dns is not yet supported in this version; leave dns away")
        );
        assert!(resolve("dns = \"off\"\nvisitor = false\n").is_ok());
        assert!(resolve("listen = \"x\"\n").unwrap_err().cause.contains("\"x\" is not ADDR:PORT"));
    }

    #[test]
    fn a_share_is_a_part_of_the_machine() {
        let of = |share| resolve(Layer { share, ..Layer::default() }, None, true).map(|settings| settings.share);
        assert_eq!(of(None).unwrap(), 1.0);
        assert_eq!((of(Some(0.25)).unwrap(), of(Some(1.0)).unwrap()), (0.25, 1.0));
        for bad in [0.0, -0.5, 1.01, f64::NAN, f64::INFINITY] {
            let error = of(Some(bad)).unwrap_err();
            assert_eq!(error.code, Code::BadConfig);
            assert!(error.cause.starts_with("share: ") && error.cause.contains("at most 1"), "{}", error.cause);
        }
    }

    #[test]
    fn the_page_s_port_is_on_loopback_and_nowhere_else() {
        let addr = |text: &str| page(Some(text)).map(|addr| addr.map(|addr| addr.to_string()));
        assert_eq!(page(None).unwrap(), Some("127.0.0.1:2780".parse().unwrap()));
        assert_eq!(addr("off").unwrap(), None);
        for good in ["127.0.0.1:0", "[::1]:2780", "127.9.9.9:1"] {
            assert_eq!(addr(good).unwrap().as_deref(), Some(good));
        }
        for bad in ["0.0.0.0:2780", "[::]:2780", "10.0.0.1:2780", "[fe80::1]:2780"] {
            let error = addr(bad).unwrap_err();
            assert!(error.cause.contains("no address of loopback") && error.next.contains("ssh -L"), "{error:?}");
        }
        for bad in ["2780", "localhost:2780", "on", ""] {
            assert!(addr(bad).unwrap_err().cause.starts_with("page: "), "{bad}");
        }
    }

    /// The fuzz target of this file: a binary has no library, so it stands here.
    #[test]
    fn no_settings_at_all_make_their_reader_panic() {
        fn settings(data: &[u8]) {
            let Ok(text) = std::str::from_utf8(data) else { return };
            match Layer::parse("crux.toml", text) {
                Ok(layer) => {
                    let _ = layer.later.check();
                    layer.seed.iter().flatten().for_each(|seed| drop(check_seed(seed)));
                    let _ = page(layer.page.as_deref());
                    for addr in [&layer.api, &layer.metrics, &layer.listen] {
                        let _ = addr_or_off(addr.as_deref(), None);
                    }
                    assert_eq!(layer.clone().over(Layer::default()), layer, "nothing changes something");
                }
                Err(error) => assert!(error.cause.starts_with("crux.toml:"), "it does not say where: {}", error.cause),
            }
        }
        fn seeds() -> Vec<Vec<u8>> {
            let all = "identity = \"/etc/crux/id\"\nlisten = \"0.0.0.0:2789\"\nstate = \"/s\"\nexpect = 3\ntimers = 2.0\n\
                       seed = [\"n1.example:2789\", \"[2001:db8::1]:2789\"]\nprobe = [\"10.0.0.0/24\"]\n\
                       no-multicast = true\nvisitor = false\nfulcrum = \"b\"\n";
            let more =
                "api = \"off\"\nmetrics = \"127.0.0.1:0\"\nshare = 0.5\npage = \"off\"\ndns = 'x'\nbeacon = \"b:1\"\n";
            vec![all.into(), more.into(), "# nothing\n".into()]
        }
        let target = crux_fuzz::drive::Target {
            name: "settings",
            run: settings,
            seeds,
            inputs: 4_000,
            memory: 1 << 20,
            memory_factor: 400,
        };
        crux_fuzz::drive::short(&target);
    }
}
