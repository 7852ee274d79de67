//! Who may write what, and what a value must be to be written: one table, asked for every version that comes, from
//! whomever it comes. Nothing malformed is stored, so nobody who reads facts has to doubt them.
//!
//! | path | author | value |
//! |---|---|---|
//! | `horde/<horde>` | operator | a [`Horde`] |
//! | `muster/<service>/<revision>` | operator | a [`Manifest`] of that service whose bytes hash to the revision |
//! | `place/<horde>/<service>` | operator | a [`Place`] |
//! | `row/<node>/<fulcrum>` | that fulcrum | a [`Row`] |
//! | `row/<node>/<fulcrum>` | operator | nothing but its deletion |
//! | `expel/<node>` | operator | an [`Expulsion`], never its deletion |
//! | `cordon/<node>/<fulcrum>` | operator | a [`Cordon`] |
//! | `label/<node>` | operator | [`Labels`] |
//! | `rule/<id>` | operator | a [`RuleFact`](super::rule::RuleFact) whose rule hashes to the id, never its deletion |
//! | anything else | nobody | |
//!
//! Who may write a value may delete it. An operator deletes the row of a node that will not come back, which counts as a
//! member of its horde for as long as the row stands; one that does come back writes its row again.

use super::path::{BadPath, Path};
use super::rule;
use super::value::{
    Check, Cordon, Expulsion, File, HOOK_TIMEOUT_MAX_MS, HORIZON_MIN, Hooks, Horde, Horizon, Labels, Manifest, Place,
    Row,
};
use super::version::{Author, Statement};
use crate::resources::Resources;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use core::fmt;
use crux_names::{ADMIN, BlocName, FulcrumId, HordeName};
use prost::Message;

/// Longest expression or text field of a value, in bytes.
const FIELD_MAX: usize = 4096;
/// Largest value of a row, in bytes: three times what one of 32 labels of 126 bytes has, which is all that a certificate may
/// have. A reader ignores fields that it does not know, so something else has to bound them.
const ROW_MAX: usize = 16 << 10;
/// Most files, ports, variables or labels of a value.
const MANY: usize = 4096;

/// Why a version is not taken in.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// It is for another bloc.
    OtherBloc(BlocName),
    /// Its path is not one.
    Path(BadPath),
    /// This author may not write this path.
    Author(Author),
    /// The value does not decode as what the path holds.
    Malformed,
    /// A field of the value breaks its rule.
    Field(&'static str),
    /// Its author has written too much already.
    TooMuch(&'static str),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherBloc(bloc) => write!(f, "it is for the bloc {bloc}"),
            Self::Path(why) => why.fmt(f),
            Self::Author(Author::Operator(name)) => {
                write!(
                    f,
                    "operator {name} may not write it: a row is written only by its own fulcrum, and an operator may delete it"
                )
            }
            Self::Author(Author::Fulcrum(id)) => {
                write!(f, "node {id} may not write it: a node writes its own row, operators write all else")
            }
            Self::Malformed => f.write_str("its value is not of the form that this path holds"),
            Self::Field(why) | Self::TooMuch(why) => f.write_str(why),
        }
    }
}

impl core::error::Error for Refusal {}

/// Judges a statement by the table.
///
/// # Errors
/// [`Refusal`] says which column it breaks.
pub fn authorise(bloc: &BlocName, statement: &Statement) -> Result<Path, Refusal> {
    if statement.bloc != *bloc {
        return Err(Refusal::OtherBloc(statement.bloc.clone()));
    }
    let path = Path::parse(&statement.path).map_err(Refusal::Path)?;
    let may = match (&path, &statement.author) {
        (
            Path::Horde(_) | Path::Muster(..) | Path::Place(..) | Path::Cordon(_) | Path::Label(_) | Path::Horizon,
            Author::Operator(_),
        ) => true,
        (Path::Row(fulcrum), Author::Fulcrum(author)) => fulcrum == author,
        (Path::Row(_), Author::Operator(_)) => statement.value.is_none(),
        (Path::Expel(_), Author::Operator(_)) if statement.value.is_none() => {
            return Err(Refusal::Field(
                "an expulsion is not taken back: let the node in again under its next admission, crux ca issue --readmit",
            ));
        }
        (Path::Rule(_), Author::Operator(_)) if statement.value.is_none() => {
            return Err(Refusal::Field(
                "a rule is not deleted but removed, by a version that carries it and says so: crux rules rm ID",
            ));
        }
        (Path::Expel(_) | Path::Rule(_), Author::Operator(_)) => true,
        _ => false,
    };
    if !may {
        return Err(Refusal::Author(statement.author.clone()));
    }
    if let Some(value) = &statement.value {
        judge(bloc, &path, value)?;
        if path == Path::Horizon {
            horizon(&read(value)?, statement.stamp.wall)?;
        }
    }
    Ok(path)
}

fn judge(bloc: &BlocName, path: &Path, value: &[u8]) -> Result<(), Refusal> {
    match path {
        Path::Horde(name) => horde(name, &read(value)?),
        Path::Muster(service, revision) => {
            let manifest: Manifest = read(value)?;
            require(Manifest::revision(value) == *revision, "the revision is not the hash of the manifest")?;
            require(manifest.service == service.as_str(), "the manifest is of another service than its path says")?;
            judge_manifest(&manifest)
        }
        Path::Place(..) => place(&read(value)?),
        Path::Row(_) => {
            require(value.len() <= ROW_MAX, "a row is at most 16 KiB")?;
            row(&read(value)?)
        }
        Path::Expel(_) => expulsion(&read(value)?),
        Path::Cordon(_) => cordon(&read(value)?),
        Path::Rule(id) => rule::judge(bloc, id, value),
        Path::Label(_) => labels(&read::<Labels>(value)?.labels),
        Path::Horizon => read::<Horizon>(value).map(|_| ()),
    }
}

/// Who was away for as long as a certificate can live may come back and be no stranger.
fn horizon(horizon: &Horizon, signed: u64) -> Result<(), Refusal> {
    let holds = horizon.before.saturating_add(HORIZON_MIN) <= signed;
    require(holds, "before: a horizon lies at least 430 days back, for so long a node may be away and return")
}

fn expulsion(expulsion: &Expulsion) -> Result<(), Refusal> {
    require(expulsion.up_to > 0, "up_to: admissions are counted from 1")?;
    require(expulsion.reason.len() <= FIELD_MAX, "reason: longer than 4096 bytes")
}

fn cordon(cordon: &Cordon) -> Result<(), Refusal> {
    require(cordon.reason.len() <= FIELD_MAX, "reason: longer than 4096 bytes")
}

fn labels(labels: &BTreeMap<String, String>) -> Result<(), Refusal> {
    let short = |text: &String| text.len() <= 253 && !text.chars().any(char::is_control);
    require(
        labels.len() <= 64 && labels.iter().all(|(key, label)| short(key) && short(label)),
        "labels: at most 64, of at most 253 bytes, without control characters",
    )
}

fn read<T: Message + Default>(value: &[u8]) -> Result<T, Refusal> {
    T::decode(value).map_err(|_| Refusal::Malformed)
}

const fn require(holds: bool, otherwise: &'static str) -> Result<(), Refusal> {
    if holds { Ok(()) } else { Err(Refusal::Field(otherwise)) }
}

fn horde(name: &HordeName, horde: &Horde) -> Result<(), Refusal> {
    let plain = horde.sets.is_empty() && horde.vacancy_after_ms == 0;
    if *name == HordeName::admin() {
        require(horde.want > 0, "want: at least one fulcrum carries the ADMIN flag")?;
        let plain = plain && horde.quota.is_none();
        require(plain, "ADMIN is built in: its fact says how many carry its flag (want) and which may (where)")?;
    }
    if *name == HordeName::main() {
        let plain = plain && horde.want == 0 && horde.r#where.is_empty();
        require(plain, "main is built in and takes whom no other horde has: its fact says its quota")?;
    }
    require(bounded(horde.quota.as_ref()), "quota: more than 10000 cores or a pebibyte")?;
    require(horde.r#where.len() <= FIELD_MAX, "where: longer than 4096 bytes")?;
    require(horde.sets.len() <= MANY, "sets: more than 4096")?;
    require(
        horde.sets.iter().all(|(name, set)| !name.is_empty() && name.len() <= 63 && set.len() <= FIELD_MAX),
        "sets: a name has 1 to 63 bytes and a set at most 4096",
    )
}

/// Judges a manifest, as the table does before it is stored.
///
/// # Errors
/// [`Refusal::Field`] names the field and its rule.
pub fn judge_manifest(manifest: &Manifest) -> Result<(), Refusal> {
    require(
        manifest.run.is_empty() != manifest.builtin.is_empty(),
        "run: a manifest has either a command (run) or a builtin",
    )?;
    require(manifest.run.len() <= MANY, "run: more than 4096 arguments")?;
    require(manifest.run.first().is_none_or(|program| !program.is_empty()), "run: the program is empty")?;
    require(manifest.run.iter().all(|word| !word.contains('\0')), "run: an argument has a NUL in it")?;
    require(manifest.files.len() <= MANY, "files: more than 4096")?;
    manifest.files.iter().try_for_each(file)?;
    let paths: BTreeSet<&str> = manifest.files.iter().map(|file| file.path.as_str()).collect();
    require(paths.len() == manifest.files.len(), "files: two files have the same path")?;
    require(manifest.env.len() <= MANY, "env: more than 4096 variables")?;
    require(
        manifest
            .env
            .iter()
            .all(|(name, value)| !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0')),
        "env: a name is empty or has '=' in it, or there is a NUL",
    )?;
    require(manifest.ports.len() <= 256, "ports: more than 256")?;
    require(manifest.ports.keys().all(|name| port_name(name)), "ports: a name is a label of up to 63 bytes")?;
    require(manifest.ports.values().all(|port| u16::try_from(*port).is_ok()), "ports: a port is at most 65535")?;
    manifest.check.as_ref().map_or(Ok(()), |asked| check(asked, manifest))?;
    require(bounded(manifest.resources.as_ref()), "resources: more than 10000 cores or a pebibyte")?;
    manifest.hooks.as_ref().map_or(Ok(()), hooks)?;
    require(
        manifest.stop_signal.len() <= 16
            && manifest.stop_signal.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()),
        "stop_signal: a signal's name in capitals: TERM, INT, USR1",
    )
}

fn bounded(resources: Option<&Resources>) -> bool {
    resources.is_none_or(Resources::is_bounded)
}

fn port_name(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'))
}

fn file(file: &File) -> Result<(), Refusal> {
    require(file.hash().is_some(), "files: a file has no SHA-256")?;
    require((1..=FIELD_MAX).contains(&file.path.len()), "files: a path has 1 to 4096 bytes")?;
    require(
        file.path.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
            && !file.path.contains(['\0', '\\']),
        "files: a path is relative, without '.', '..', '\\' or an empty part",
    )
}

fn hooks(hooks: &Hooks) -> Result<(), Refusal> {
    let commands = [&hooks.parted, &hooks.rejoined];
    require(commands.iter().any(|command| !command.is_empty()), "hooks: neither parted nor rejoined has a command")?;
    require(commands.iter().all(|command| command.len() <= MANY), "hooks: more than 4096 arguments")?;
    require(
        commands.iter().all(|command| command.first().is_none_or(|program| !program.is_empty())),
        "hooks: a program is empty",
    )?;
    require(
        commands.iter().all(|command| command.iter().all(|word| !word.contains('\0'))),
        "hooks: an argument has a NUL in it",
    )?;
    require(hooks.timeout_ms <= HOOK_TIMEOUT_MAX_MS, "hooks: timeout is at most an hour")
}

fn check(check: &Check, manifest: &Manifest) -> Result<(), Refusal> {
    let port = manifest.ports.contains_key(&check.port);
    require(check.path.len() <= FIELD_MAX && check.command.len() <= MANY, "check: too long")?;
    match check.kind.as_str() {
        "http" => {
            require(port, "check: port is not one of the manifest's ports")?;
            require(
                check.path.starts_with('/') && !check.path.contains(['\r', '\n', ' ']),
                "check: path begins with '/' and has no blank",
            )
        }
        "tcp" => require(port, "check: port is not one of the manifest's ports"),
        "exec" => require(check.command.first().is_some_and(|program| !program.is_empty()), "check: command is empty"),
        _ => Err(Refusal::Field("check: kind is http, tcp or exec")),
    }
}

fn place(place: &Place) -> Result<(), Refusal> {
    require(place.revision.len() == 32, "revision: not a SHA-256")?;
    require(!place.place.is_empty() && place.place.len() <= FIELD_MAX, "place: 1 to 4096 bytes of khan")?;
    require(
        place.after.len() <= 256 && place.after.iter().all(|condition| condition.len() <= FIELD_MAX),
        "after: at most 256 conditions of 4096 bytes",
    )?;
    let home = place.on_split.strip_prefix("home:").is_some_and(|at| !at.is_empty() && at.len() <= 253);
    require(
        home || matches!(place.on_split.as_str(), "" | "each-side" | "majority" | "stop"),
        "on_split: each-side, majority, home:<label or node> or stop",
    )?;
    require(
        matches!(place.on_rejoin.as_str(), "" | "keep-oldest" | "keep-newest" | "keep-home" | "restart" | "hook"),
        "on_rejoin: keep-oldest, keep-newest, keep-home, restart or hook",
    )?;
    require(
        !place.single || home || matches!(place.on_split.as_str(), "majority" | "stop"),
        "single: needs on_split = majority, home:<label or node> or stop, since each side would run its own",
    )
}

fn row(row: &Row) -> Result<(), Refusal> {
    let home = row.horde.strip_prefix('+').unwrap_or(&row.horde);
    require(row.horde.is_empty() || (home != ADMIN && HordeName::parse(home).is_ok()), "horde: not a home horde")?;
    require(matches!(row.admin.as_str(), "" | "+ADMIN" | "ADMIN"), "admin: empty, +ADMIN or ADMIN")?;
    let place = HordeName::parse(&row.stands_in).is_ok_and(|horde| horde != HordeName::admin());
    let whose = row.stands_for.parse::<FulcrumId>().is_ok();
    require(
        (row.stands_in.is_empty() && row.stands_for.is_empty()) || (place && whose),
        "stands_in: a horde, and stands_for: its home member; or neither",
    )?;
    require(bounded(row.capacity.as_ref()), "capacity: more than 10000 cores or a pebibyte")?;
    labels(&row.labels)
}
