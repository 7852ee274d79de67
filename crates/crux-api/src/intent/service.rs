//! `[service.NAME]` of a manifest.

use super::files::{self, Upload};
use super::read::{Allowed, ManifestError, Section};
use super::{Intent, hooks, khan, resources};
use crate::json::Code;
use crate::write::NewFact;
use crux_core::facts::value::{Check, File, Hooks, Manifest, Place, muster_path, place_path};
use crux_core::resources::Resources;
use crux_names::{ADMIN, HordeName, ServiceName};
use prost::Message;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

const ALLOWED: Allowed = Allowed {
    keys: &[
        "horde",
        "place",
        "count",
        "after",
        "run",
        "builtin",
        "files",
        "env",
        "ports",
        "check",
        "restart",
        "stop",
        "single",
        "on_split",
        "on_rejoin",
        "resources",
        "hooks",
    ],
    not_yet: &["user", "update", "calls", "expose", "secrets", "heartbeat", "liveness"],
};
const CHECK: Allowed = Allowed { keys: &["http", "tcp", "exec", "port", "every"], not_yet: &["grpc", "heartbeat"] };
const RESTART: Allowed = Allowed { keys: &["from", "to"], not_yet: &[] };
const STOP: Allowed = Allowed { keys: &["signal", "grace"], not_yet: &[] };

/// Programs of crux itself that a service may be.
pub const BUILTINS: &[&str] = &["demo"];
/// Signals that may ask a service to stop.
const SIGNALS: &[&str] = &["TERM", "INT", "QUIT", "HUP", "USR1", "USR2", "KILL"];
/// The most instances that `count` takes.
const COUNT_MAX: u32 = 10_000;

/// What operators want of one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceIntent {
    /// Its horde.
    pub horde: HordeName,
    /// Its name.
    pub name: ServiceName,
    /// Where and how often, in khan.
    pub place: String,
    /// Start conditions, in khan.
    pub after: Vec<String>,
    /// The command; empty for a builtin.
    pub run: Vec<String>,
    /// A program of crux itself; empty for a command.
    pub builtin: String,
    /// Files in each instance's directory.
    pub files: Vec<File>,
    /// Environment.
    pub env: BTreeMap<String, String>,
    /// Named ports; 0: crux picks.
    pub ports: BTreeMap<String, u32>,
    /// Health check.
    pub check: Option<Check>,
    /// Never restarted.
    pub once: bool,
    /// First and longest pause before a restart.
    pub restart: (Duration, Duration),
    /// Signal that asks it to stop; empty: `TERM`.
    pub stop_signal: String,
    /// Before it is killed; zero: the default.
    pub stop_grace: Duration,
    /// At most one instance.
    pub single: bool,
    /// What happens to it in a split; empty: `each-side`.
    pub on_split: String,
    /// What happens to surplus after a rejoin; empty: `keep-oldest`.
    pub on_rejoin: String,
    /// What each instance asks for; none: nothing.
    pub resources: Option<Resources>,
    /// What is run for each instance when its horde is parted or has rejoined.
    pub hooks: Option<Hooks>,
}

impl ServiceIntent {
    /// A service that runs this command so many times, and otherwise by the defaults.
    #[must_use]
    pub fn new(horde: HordeName, name: ServiceName, count: u32) -> Self {
        Self {
            place: pick(&name, count),
            horde,
            name,
            after: Vec::new(),
            run: Vec::new(),
            builtin: String::new(),
            files: Vec::new(),
            env: BTreeMap::new(),
            ports: BTreeMap::new(),
            check: None,
            once: false,
            restart: (Duration::ZERO, Duration::ZERO),
            stop_signal: String::new(),
            stop_grace: Duration::ZERO,
            single: false,
            on_split: String::new(),
            on_rejoin: String::new(),
            resources: None,
            hooks: None,
        }
    }

    /// Adds these files and directories, with what has to be pushed for them.
    ///
    /// # Errors
    /// Which file cannot be read or taken, for people.
    pub fn add_files(&mut self, paths: &[PathBuf], uploads: &mut Vec<Upload>) -> Result<(), String> {
        let (files, found) = files::collect(paths)?;
        self.files.extend(files);
        uploads.extend(found);
        Ok(())
    }

    pub(super) fn read(
        name: &str,
        section: &Section<'_>,
        dir: &Path,
        hordes: &BTreeMap<HordeName, BTreeMap<String, String>>,
        uploads: &mut Vec<Upload>,
    ) -> Result<Self, ManifestError> {
        section.allow(&ALLOWED)?;
        let name = ServiceName::parse(name).map_err(|e| section.wrong("", e.to_string()))?;
        let horde = match section.string("horde")? {
            Some(text) => service_horde(&text).map_err(|problem| section.wrong("horde", problem))?,
            None => HordeName::main(),
        };
        let mut service = Self::new(horde, name, 1);
        service.read_place(section, hordes)?;
        service.read_program(section, dir, uploads)?;
        service.read_ports(section)?;
        service.check = read_check(section, &service.ports)?;
        service.read_restart(section)?;
        service.read_stop(section)?;
        service.read_policy(section)?;
        service.resources = resources::read(section, "resources")?;
        service.hooks = hooks::read(section, &service.ports, &service.files)?;
        service.validate().map_err(|(key, problem)| section.wrong(key, problem))?;
        Ok(service)
    }

    fn read_place(
        &mut self,
        section: &Section<'_>,
        hordes: &BTreeMap<HordeName, BTreeMap<String, String>>,
    ) -> Result<(), ManifestError> {
        match (section.string("place")?, section.number("count", 0, COUNT_MAX)?) {
            (Some(_), Some(_)) => {
                return Err(section.wrong("count", "`place` and `count` exclude each other; keep one of them"));
            }
            (Some(place), None) => {
                khan::place(&self.name, &place, hordes.get(&self.horde)).map_err(|e| e.at(section, "place"))?;
                self.place = place;
            }
            (None, Some(count)) => self.place = pick(&self.name, count),
            (None, None) => {}
        }
        self.after = section.strings("after", true)?.unwrap_or_default();
        for condition in &self.after {
            khan::after(condition).map_err(|e| e.at(section, "after"))?;
        }
        Ok(())
    }

    fn read_program(
        &mut self,
        section: &Section<'_>,
        dir: &Path,
        uploads: &mut Vec<Upload>,
    ) -> Result<(), ManifestError> {
        match (section.strings("run", false)?, section.string("builtin")?) {
            (Some(run), None) => self.run = run,
            (None, Some(builtin)) => self.builtin = builtin,
            (Some(_), Some(_)) => {
                return Err(section.wrong("builtin", "`run` and `builtin` exclude each other; keep one of them"));
            }
            (None, None) => return Err(section.wrong("run", "`run` is missing: the command and its arguments")),
        }
        self.env = section.string_table("env")?;
        let paths: Vec<PathBuf> =
            section.strings("files", true)?.unwrap_or_default().iter().map(|path| dir.join(path)).collect();
        self.add_files(&paths, uploads).map_err(|problem| section.wrong("files", problem))
    }

    fn read_ports(&mut self, section: &Section<'_>) -> Result<(), ManifestError> {
        let Some(ports) = section.section("ports")? else { return Ok(()) };
        for name in ports.names() {
            if let Some(port) = ports.number(&name, 0, 65_535)? {
                check_port_name(&name).map_err(|problem| ports.wrong(&name, problem))?;
                self.ports.insert(name, port);
            }
        }
        Ok(())
    }

    fn read_restart(&mut self, section: &Section<'_>) -> Result<(), ManifestError> {
        if section.is_string("restart") {
            return match section.string("restart")?.as_deref() {
                Some("never") => {
                    self.once = true;
                    Ok(())
                }
                _ => Err(section.wrong("restart", "expected \"never\" or { from = \"500ms\", to = \"60s\" }")),
            };
        }
        let Some(restart) = section.section("restart")? else { return Ok(()) };
        restart.allow(&RESTART)?;
        let from = restart.duration("from")?.unwrap_or(Duration::from_millis(500));
        let to = restart.duration("to")?.unwrap_or(Duration::from_secs(60));
        if from.is_zero() || to < from {
            return Err(restart.wrong("to", "`from` must be more than 0 and `to` not less than `from`"));
        }
        self.restart = (from, to);
        Ok(())
    }

    fn read_stop(&mut self, section: &Section<'_>) -> Result<(), ManifestError> {
        let Some(stop) = section.section("stop")? else { return Ok(()) };
        stop.allow(&STOP)?;
        if let Some(signal) = stop.string("signal")? {
            if !SIGNALS.contains(&signal.as_str()) {
                return Err(stop.wrong("signal", format!("expected one of {}", SIGNALS.join(", "))));
            }
            self.stop_signal = signal;
        }
        self.stop_grace = stop.duration("grace")?.unwrap_or_default();
        Ok(())
    }

    fn read_policy(&mut self, section: &Section<'_>) -> Result<(), ManifestError> {
        self.single = section.bool("single")?.unwrap_or(false);
        if let Some(text) = section.string("on_split")? {
            check_on_split(&text).map_err(|problem| section.wrong("on_split", problem))?;
            self.on_split = text;
        }
        match section.string("on_rejoin")? {
            None => {}
            Some(text) if ["keep-oldest", "keep-newest"].contains(&text.as_str()) => {
                self.on_rejoin = text;
            }
            Some(text) => {
                if let Some(problem) = not_yet_on_rejoin(&text) {
                    return Err(section.wrong_as(Code::NotYet, "on_rejoin", problem));
                }
                let problem = format!("expected keep-oldest or keep-newest, found {text:?}");
                return Err(section.wrong("on_rejoin", problem));
            }
        }
        Ok(())
    }

    /// Reads a check from one word: `http:/PATH`, `http:PORT:/PATH`, `tcp:PORT`, `tcp`, `exec:COMMAND`.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub fn check_spec(spec: &str, ports: &BTreeMap<String, u32>) -> Result<Check, String> {
        let (kind, rest) = spec.split_once(':').unwrap_or((spec, ""));
        let mut check = Check { kind: kind.to_owned(), ..Check::default() };
        match kind {
            "http" => {
                let (port, path) = match rest.split_once(":/") {
                    Some((port, path)) => (Some(port.to_owned()), format!("/{path}")),
                    None => (None, if rest.is_empty() { "/".to_owned() } else { rest.to_owned() }),
                };
                if !path.starts_with('/') {
                    return Err(format!(
                        "{path:?} is not a path that begins with / (http:/healthz, http:PORT:/healthz)"
                    ));
                }
                check.path = path;
                check.port = check_port(port, ports)?;
            }
            "tcp" => check.port = check_port((!rest.is_empty()).then(|| rest.to_owned()), ports)?,
            "exec" => {
                check.command = rest.split_whitespace().map(str::to_owned).collect();
                if check.command.is_empty() {
                    return Err("exec: names no command (exec:bin/check --fast)".to_owned());
                }
            }
            _ => return Err(format!("{spec:?} is no check: http:/PATH, http:PORT:/PATH, tcp:PORT or exec:COMMAND")),
        }
        Ok(check)
    }

    /// The rules that tie several fields together.
    ///
    /// # Errors
    /// The key that is at fault, and what is wrong, for people.
    pub fn validate(&self) -> Result<(), (&'static str, String)> {
        if self.builtin.is_empty() && self.run.first().is_none_or(String::is_empty) {
            return Err(("run", "it names no command".to_owned()));
        }
        if !self.builtin.is_empty() && !BUILTINS.contains(&self.builtin.as_str()) {
            let known = BUILTINS.join(", ");
            return Err(("builtin", format!("crux has no program {:?}; it has {known}", self.builtin)));
        }
        for word in self.run.iter().chain(self.env.values()) {
            check_ports_used(word, &self.ports).map_err(|problem| ("run", problem))?;
        }
        for key in self.env.keys() {
            if key.is_empty() || key.contains(['=', '\0']) {
                return Err(("env", format!("{key:?} is not a variable's name")));
            }
            if key.starts_with("CRUX_") {
                return Err(("env", format!("{key} is set by crux itself; choose another name")));
            }
        }
        if self.single
            && !(self.on_split == "majority" || self.on_split == "stop" || self.on_split.starts_with("home:"))
        {
            let problem = "a single service must say what happens in a split: on_split = \"majority\", \"home:NAME\" or \
                           \"stop\"; crux refuses to guess (and without the service's help this is no mutual exclusion)";
            return Err(("single", problem.to_owned()));
        }
        Ok(())
    }

    /// Adds its revision and its placement.
    ///
    /// # Errors
    /// If the manifest is too long for a fact, for people.
    pub fn lower(&self, intent: &mut Intent) -> Result<(), String> {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let manifest = Manifest {
            service: self.name.to_string(),
            run: self.run.clone(),
            builtin: self.builtin.clone(),
            files: self.files.clone(),
            env: self.env.clone(),
            ports: self.ports.clone(),
            check: self.check.clone(),
            restart_from_ms: millis(self.restart.0),
            restart_to_ms: millis(self.restart.1),
            stop_signal: self.stop_signal.clone(),
            stop_grace_ms: millis(self.stop_grace),
            once: self.once,
            resources: self.resources,
            hooks: self.hooks.clone(),
        }
        .encode_to_vec();
        if manifest.len() > super::VALUE_MAX {
            let size = manifest.len();
            return Err(format!(
                "a manifest may have {} bytes, this one has {size}; pack its files into one archive",
                super::VALUE_MAX
            ));
        }
        let revision = Manifest::revision(&manifest);
        let place = Place {
            revision: revision.0.to_vec(),
            place: self.place.clone(),
            after: self.after.clone(),
            on_split: self.on_split.clone(),
            on_rejoin: self.on_rejoin.clone(),
            single: self.single,
        };
        intent.facts.push(NewFact { path: muster_path(&self.name, &revision), value: Some(manifest) });
        let path = place_path(&self.horde, &self.name);
        intent.facts.push(NewFact { path, value: Some(place.encode_to_vec()) });
        Ok(())
    }
}

/// The placement that `count` stands for.
#[must_use]
pub fn pick(service: &ServiceName, count: u32) -> String {
    format!("pick({service}, {count}, ALL)")
}

/// A horde that services may be placed in.
///
/// # Errors
/// Why not, for people.
pub fn service_horde(text: &str) -> Result<HordeName, String> {
    if text == ADMIN {
        return Err("ADMIN runs crux's own programs only; choose another horde".to_owned());
    }
    HordeName::parse(text).map_err(|e| e.to_string())
}

/// Why this `on_rejoin` is not taken, if it is one that this version knows the name of and cannot do: it would silently keep
/// the oldest. Said by `crux` and by doors alike.
#[must_use]
pub fn not_yet_on_rejoin(text: &str) -> Option<String> {
    ["restart", "hook", "keep-home"]
        .contains(&text)
        .then(|| format!("{text:?} is not yet supported in this version; use \"keep-oldest\""))
}

/// Checks a policy for splits.
///
/// # Errors
/// What is wrong, for people.
pub fn check_on_split(text: &str) -> Result<(), String> {
    let home = text.strip_prefix("home:").is_some_and(|name| !name.trim().is_empty());
    if home || ["each-side", "majority", "stop"].contains(&text) {
        return Ok(());
    }
    Err(format!("expected each-side, majority, home:NAME or stop, found {text:?}"))
}

/// Checks a port's name, which becomes `CRUX_PORT_<NAME>`.
///
/// # Errors
/// What is wrong, for people.
pub fn check_port_name(name: &str) -> Result<(), String> {
    let good = name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'));
    if good && name.starts_with(|first: char| first.is_ascii_lowercase()) && name.len() <= 63 {
        return Ok(());
    }
    Err(format!(
        "{name:?} is not a port's name: a lower-case letter, then lower-case letters, digits, '-' and '_', 63 at most"
    ))
}

/// That each `${port.NAME}` in a word names a port.
pub(super) fn check_ports_used(word: &str, ports: &BTreeMap<String, u32>) -> Result<(), String> {
    let mut rest = word;
    while let Some(start) = rest.find("${port.") {
        rest = &rest[start + "${port.".len()..];
        let Some(end) = rest.find('}') else { return Err(format!("{word:?} has a `${{port.` without its `}}`")) };
        let name = &rest[..end];
        if !ports.contains_key(name) {
            let known: Vec<&str> = ports.keys().map(String::as_str).collect();
            let known =
                if known.is_empty() { "it declares none".to_owned() } else { format!("it has {}", known.join(", ")) };
            return Err(format!("${{port.{name}}} names no port of this service; {known}"));
        }
    }
    Ok(())
}

fn read_check(section: &Section<'_>, ports: &BTreeMap<String, u32>) -> Result<Option<Check>, ManifestError> {
    let Some(check) = section.section("check")? else { return Ok(None) };
    check.allow(&CHECK)?;
    let kinds: Vec<&str> = ["http", "tcp", "exec"].into_iter().filter(|kind| check.has(kind)).collect();
    let [kind] = kinds[..] else {
        return Err(check.wrong("", "name exactly one of http = \"/PATH\", tcp = \"PORT\" and exec = [\"COMMAND\"]"));
    };
    let mut value = Check { kind: kind.to_owned(), ..Check::default() };
    match kind {
        "exec" => {
            value.command = check.strings("exec", false)?.unwrap_or_default();
            if value.command.is_empty() {
                return Err(check.wrong("exec", "it names no command"));
            }
        }
        "http" => {
            value.path = check.string("http")?.unwrap_or_default();
            if !value.path.starts_with('/') {
                return Err(check.wrong("http", "expected a path that begins with /"));
            }
            value.port = check_port(check.string("port")?, ports).map_err(|problem| check.wrong("port", problem))?;
        }
        _ => {
            value.port = check_port(check.string("tcp")?, ports).map_err(|problem| check.wrong("tcp", problem))?;
        }
    }
    if let Some(every) = check.duration("every")? {
        if every < Duration::from_millis(100) {
            return Err(check.wrong("every", "expected 100ms or more"));
        }
        value.every_ms = u64::try_from(every.as_millis()).unwrap_or(u64::MAX);
    }
    Ok(Some(value))
}

/// The port that a check asks: the one that is named, or the only one.
///
/// # Errors
/// If it is not a port of the service, or not clear which, for people.
pub fn check_port(named: Option<String>, ports: &BTreeMap<String, u32>) -> Result<String, String> {
    let known: Vec<&str> = ports.keys().map(String::as_str).collect();
    match named {
        Some(name) if ports.contains_key(&name) => Ok(name),
        Some(name) if known.is_empty() => Err(format!("{name:?} is not a port of this service; it declares none")),
        Some(name) => Err(format!("{name:?} is not a port of this service; it has {}", known.join(", "))),
        None => match known[..] {
            [only] => Ok(only.to_owned()),
            _ => Err("say which port: port = \"NAME\", one of the service's `ports`".to_owned()),
        },
    }
}
