//! `crux bloc create`: from hosts that answer to `ssh` to one flock. What is to be done is a plan, made of what each host
//! says of itself; a step puts its file beside and then in its place, so nothing is half done anywhere; and to run the
//! command again does what is missing and nothing else.
//!
//! | file | subject |
//! |---|---|
//! | `plan` | what there is, what is missing: no IO |
//! | `operator` | whose certificate asks the new fulcrums |
//! | `script` | what is run on a host: texts for its shell |
//! | `ssh` | the system's `ssh`, with the operator's own configuration and agent |

mod operator;
mod plan;
mod script;
mod ssh;

use self::plan::{Facts, Host, Layout, Step, Wish};
use self::ssh::Ssh;
use crate::Outcome;
use crate::args::{Global, key_value};
use crate::output::{Format, note, table};
use crux_api::json::{Code, ErrorDoc, Kind, Status};
use crux_names::BlocName;
use crux_pki::zeroize::Zeroizing;
use crux_pki::{Ca, IssueRequest, PkiError, Role};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// How long a host may take to say what it is, and the fulcrums to become one flock, where nothing else is said.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long one may take to show its log, when the time for everything else is up.
const LOG: Duration = Duration::from_secs(10);
/// Between two looks.
const AGAIN: Duration = Duration::from_millis(500);

/// Where, and what.
#[derive(Debug, clap::Args)]
pub(crate) struct CreateArgs {
    /// The bloc's name
    name: String,
    /// Hosts, as ssh knows them; NODE=HOST where a host's name is not what the node shall be called
    #[arg(long, required = true, value_delimiter = ',', value_name = "HOST,…")]
    ssh: Vec<String>,
    /// The configuration file of ssh [default: ssh's own]
    #[arg(long, value_name = "FILE")]
    ssh_config: Option<PathBuf>,
    /// The user on the hosts [default: as ssh is configured]. Root installs for the machine, others in their home
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// The directory of the CA; made if it is not there [default: NAME-ca]
    #[arg(long, value_name = "DIR")]
    ca: Option<PathBuf>,
    /// The port of the mesh (UDP) and of the API (TCP)
    #[arg(long, value_name = "PORT", default_value_t = 2789, value_parser = clap::value_parser!(u16).range(1..))]
    listen: u16,
    /// A label that every node is given; may be given several times
    #[arg(long, value_name = "K=V", value_parser = key_value)]
    label: Vec<(String, String)>,
    /// Put everything below this directory of the hosts, and leave their systemd alone
    #[arg(long, value_name = "DIR")]
    dir: Option<String>,
    /// The crux that is installed [default: this one]
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Who is given an operator's certificate: in the profile of this machine, or beside the CA if that is another's
    #[arg(long, value_name = "NAME", default_value = "admin")]
    operator: String,
    /// Only look, and say what would be done
    #[arg(long)]
    dry_run: bool,
}

/// What stands at the end.
#[derive(Clone, Debug, Serialize)]
struct Created {
    bloc: String,
    ca: String,
    dry_run: bool,
    /// The operator's bundle to name with `--as`; null if the profile, or what was given, serves.
    operator: Option<String>,
    /// Whether all of them are members of one flock, with whoever else is.
    one_flock: bool,
    hosts: Vec<CreatedHost>,
}

#[derive(Clone, Debug, Serialize)]
struct CreatedHost {
    node: String,
    host: String,
    /// Where others find it.
    addr: String,
    /// What was done, or would be.
    did: Vec<String>,
    /// The members of its flock, as it says itself.
    members: Vec<String>,
    /// Under whose care it runs: `systemd`, or `itself`.
    kept_by: String,
}

impl Kind for Created {
    const KIND: &'static str = "BlocCreated";
}

fn failed(cause: impl Into<String>, next: &str) -> ErrorDoc {
    ErrorDoc::new(Code::Failed, cause, next)
}

fn refused(e: PkiError) -> ErrorDoc {
    failed(e.to_string(), "--ca DIR: one that crux ca init made, or a new directory")
}

/// Opens the CA, if there is one.
fn authority(bloc: &BlocName, dir: &Path) -> Result<Option<Ca>, ErrorDoc> {
    if !dir.join("ca.pem").exists() {
        return Ok(None);
    }
    let ca = Ca::open(dir).map_err(refused)?;
    if ca.bloc() == bloc {
        return Ok(Some(ca));
    }
    let cause = format!("the CA in {} is of bloc {}; nothing was changed", dir.display(), ca.bloc());
    let next = format!("crux bloc create {} …, or --ca another directory", ca.bloc());
    Err(ErrorDoc::new(Code::Usage, cause, next))
}

pub(crate) fn run(global: &Global, args: &CreateArgs) -> Outcome {
    let bloc = BlocName::parse(&args.name)
        .map_err(|e| ErrorDoc::new(Code::Usage, e.to_string(), "crux bloc create --help"))?;
    let hosts = Host::parse_all(&args.ssh)?;
    let ssh = Ssh { config: args.ssh_config.clone(), user: args.user.clone() };
    let dir = args.ca.clone().unwrap_or_else(|| PathBuf::from(format!("{bloc}-ca")));
    let binary = ssh::Binary::read(args.binary.as_deref())?;
    // All are looked at before anything is made anywhere.
    let patience = global.timeout.unwrap_or(PATIENCE);
    let looked = each(&hosts, |host| look(&ssh, host, args, Instant::now() + patience))?;
    let ca = authority(&bloc, &dir)?;
    let ca_name = dir.display().to_string();
    let addrs: Vec<String> = looked.iter().map(|looked| seed(&looked.name, args.listen)).collect();
    let mut planned = Vec::new();
    for ((host, looked), addr) in hosts.iter().zip(looked).zip(&addrs) {
        let wish = Wish {
            bloc: &bloc,
            node: &host.node,
            ca: &ca_name,
            roots: ca.as_ref().map(|ca| ca.roots().cloned().collect()).unwrap_or_default(),
            binary: &binary.sha256,
            machine: &binary.machine,
            config: script::config(args.listen, hosts.len()),
            own_binary: args.binary.is_some(),
        };
        let steps = plan::plan(host, &looked.facts, &looked.layout, &wish);
        let (layout, config) = (looked.layout, wish.config);
        planned.push(steps.map(|steps| Work { host, addr, layout, steps, bundle: None, config }));
    }
    let mut works = all(planned)?;
    let mut operator = None;
    if !args.dry_run {
        // Nobody has a certificate of another CA, or there would be no plan: only now one is made. What another command
        // began to make is no CA yet; init says so rather than overwriting it.
        let mut ca = ca.map_or_else(|| Ca::init(bloc.clone(), &dir).map_err(refused), Ok)?;
        operator = operator::operator(&mut ca, &dir, &args.operator, global.r#as.as_deref())?;
        for work in works.iter_mut().filter(|work| work.steps.contains(&Step::Identity)) {
            let mut request = IssueRequest::new(Role::Node(work.host.node.clone()));
            request.labels = args.label.iter().cloned().collect::<BTreeMap<_, _>>();
            request.seeds = addrs.iter().filter(|addr| *addr != work.addr).cloned().collect();
            let tar = ca.issue_again(request).and_then(|bundle| bundle.to_tar());
            let next = "crux bloc create --help";
            work.bundle = Some(tar.map_err(|e| ErrorDoc::new(Code::Usage, e.to_string(), next))?);
        }
        each(&works, |work| work.perform(&ssh, &binary))?;
    }
    let (one_flock, seen) =
        if args.dry_run { (false, vec![Vec::new(); works.len()]) } else { wait(patience, &ssh, &works)? };
    let host = |(work, members): (&Work<'_>, Vec<String>)| CreatedHost {
        node: work.host.node.to_string(),
        host: work.host.ssh.clone(),
        addr: work.addr.to_owned(),
        did: work.steps.iter().map(|step| step.word().to_owned()).collect(),
        members,
        kept_by: if work.layout.systemd { "systemd" } else { "itself" }.to_owned(),
    };
    let created = Created {
        bloc: bloc.to_string(),
        ca: ca_name,
        dry_run: args.dry_run,
        operator: operator.map(|path| path.display().to_string()),
        one_flock,
        hosts: works.iter().zip(seen).map(host).collect(),
    };
    crate::command::print(global.output, &created, &text)?;
    Ok(if one_flock || args.dry_run { 0 } else { Code::NotConverged.exit() })
}

/// Where others find it.
fn seed(name: &str, port: u16) -> String {
    if name.contains(':') { format!("[{name}]:{port}") } else { format!("{name}:{port}") }
}

/// What a host said of itself.
struct Looked {
    /// Its address, as ssh knows it.
    name: String,
    facts: Facts,
    layout: Layout,
}

fn look(ssh: &Ssh, host: &Host, args: &CreateArgs, until: Instant) -> Result<Looked, ErrorDoc> {
    let name = ssh.hostname(host, until)?;
    let said = ssh.ask(host, "look at it", script::MACHINE, until)?;
    let machine = plan::machine(host, &said)?;
    let layout = Layout::of(&machine, args.dir.as_deref());
    let said = ssh.ask(host, "look at what is there", &script::look(&layout), until)?;
    Ok(Looked { name, facts: plan::facts(machine, &said), layout })
}

/// What is to be done at one host.
struct Work<'a> {
    host: &'a Host,
    addr: &'a str,
    layout: Layout,
    steps: Vec<Step>,
    /// Certificate, key and roots: they go through ssh's standard input, never into an argument or a file here.
    bundle: Option<Zeroizing<Vec<u8>>>,
    config: String,
}

impl Work<'_> {
    fn perform(&self, ssh: &Ssh, binary: &ssh::Binary) -> Result<(), ErrorDoc> {
        for step in &self.steps {
            note(&format!("{}: {}", self.host.ssh, step.word()));
            let layout = &self.layout;
            let unit = script::unit(layout);
            let input: &[u8] = match step {
                Step::Binary => &binary.bytes,
                Step::Identity => self.bundle.as_ref().map_or(&[], |tar| &tar[..]),
                Step::Config => self.config.as_bytes(),
                Step::Unit => unit.as_bytes(),
                Step::Start => &[],
            };
            let script = match step {
                Step::Binary => script::binary(layout, input.len()),
                Step::Identity => script::identity(layout, input.len()),
                Step::Config => script::file(&layout.config, input.len()),
                Step::Unit => script::file(script::UNIT_PATH, input.len()),
                Step::Start => script::start(layout),
            };
            ssh.act(self.host, step.word(), &script, input)?;
        }
        if !self.layout.systemd && self.steps.contains(&Step::Start) {
            let why = "no systemd looks after it there: it is started, and not again after a restart of the machine";
            note(&format!("{}: {why}", self.host.ssh));
        }
        Ok(())
    }
}

/// What all hosts gave; or the first error in their order, when the others' have been told.
fn all<U>(results: Vec<Result<U, ErrorDoc>>) -> Result<Vec<U>, ErrorDoc> {
    let (mut given, mut errors) = (Vec::new(), Vec::new());
    for result in results {
        match result {
            Ok(one) => given.push(one),
            Err(error) => errors.push(error),
        }
    }
    let mut errors = errors.into_iter();
    let Some(mut first) = errors.next() else { return Ok(given) };
    let others: Vec<ErrorDoc> = errors.collect();
    for other in &others {
        note(&format!("{}\n  next: {}", other.cause, other.next));
    }
    if !others.is_empty() {
        let hosts = if others.len() == 1 { "host" } else { "hosts" };
        first.cause += &format!(" (and {} other {hosts} failed as well, told above)", others.len());
    }
    Err(first)
}

/// Does the same at all hosts at once; [`all`] of it, when all have ended.
fn each<'a, T: Sync, U: Send>(
    hosts: &'a [T],
    work: impl Fn(&'a T) -> Result<U, ErrorDoc> + Sync,
) -> Result<Vec<U>, ErrorDoc> {
    let work = &work;
    all(thread::scope(|scope| {
        let threads: Vec<_> = hosts.iter().map(|one| scope.spawn(move || work(one))).collect();
        let ended = threads.into_iter().map(|thread| thread.join());
        ended.map(|end| end.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    }))
}

/// Whether all say the same of their flock, and everybody who was named is in it. Others may be: whoever else has a
/// certificate of the bloc, a second fulcrum, a visitor.
fn together(works: &[Work<'_>], seen: &[Vec<String>]) -> bool {
    let Some(first) = seen.first() else { return false };
    let named = |work: &Work<'_>| first.iter().any(|member| member == work.host.node.as_str());
    works.iter().all(named) && seen.iter().all(|members| members == first)
}

/// The members of a flock, as one says in `status`.
fn members(text: &str) -> Vec<String> {
    let status = serde_json::from_str::<crux_api::json::Doc<Status>>(text);
    status.map(|doc| doc.0.confab.members).unwrap_or_default()
}

/// Asks each host until they are [`together`] or time is up: whether they are, and what each says.
fn wait(patience: Duration, ssh: &Ssh, works: &[Work<'_>]) -> Result<(bool, Vec<Vec<String>>), ErrorDoc> {
    let all: Vec<&str> = works.iter().map(|work| work.host.node.as_str()).collect();
    let until = Instant::now() + patience;
    note(&format!("waiting until {} are one flock", all.join(" ")));
    let mut seen = vec![Vec::new(); works.len()];
    loop {
        // One that stands still does not hold up the others for longer than there is time.
        let look =
            |work: &Work<'_>| Ok(ssh.ask(work.host, "ask its fulcrum", &script::status(&work.layout), until).ok());
        let said: Vec<Option<String>> = each(works, look)?;
        let time_is_up = Instant::now() >= until;
        let now = said.iter().all(Option::is_some);
        for (seen, text) in seen.iter_mut().zip(said) {
            // Whose answer was cut short has said something before, which is shown but makes no flock.
            if text.is_some() || !time_is_up {
                *seen = text.map_or_else(Vec::new, |text| members(&text));
            }
        }
        if now && together(works, &seen) {
            return Ok((true, seen));
        }
        if time_is_up {
            for (work, _) in works.iter().zip(&seen).filter(|(_, members)| members.is_empty()) {
                let log = ssh.ask(work.host, "read its log", &script::log(&work.layout), Instant::now() + LOG);
                let log = log.unwrap_or_else(|error| error.cause);
                note(&format!(
                    "{}: its fulcrum does not answer; its log ends with:\n{}",
                    work.host.ssh,
                    log.trim_end()
                ));
            }
            return Ok((false, seen));
        }
        thread::sleep(AGAIN);
    }
}

fn text(created: &Created, format: Format) -> String {
    if format == Format::Name {
        return created.hosts.iter().map(|host| host.node.as_str()).collect::<Vec<_>>().join("\n");
    }
    let rows = created.hosts.iter().map(|host| {
        let did = if host.did.is_empty() { "nothing to do".to_owned() } else { host.did.join(", ") };
        let flock = match (created.dry_run, host.members.len()) {
            (true, _) => String::new(),
            (false, 0) => "does not answer".to_owned(),
            (false, n) => format!("{n} members"),
        };
        [host.node.clone(), host.addr.clone(), host.kept_by.clone(), flock, did]
    });
    let head = ["NODE", "ADDRESS", "KEPT BY", "FLOCK", if created.dry_run { "WOULD" } else { "DID" }];
    let mut text = table(head, rows);
    let first = created.hosts.first().map_or("", |host| host.addr.as_str());
    let name = created.operator.as_ref().map_or_else(String::new, |path| format!("--as {path} "));
    text += &match (created.dry_run, created.one_flock) {
        (true, _) => "\nnext: the same command without --dry-run".to_owned(),
        (false, true) => format!(
            "\nbloc {} is one flock of {}\nkeep {} safe: it is the CA\nnext: crux {name}--at {first} bloc status",
            created.bloc,
            created.hosts.first().map_or(0, |host| host.members.len()),
            created.ca
        ),
        (false, false) => {
            "\nnot one flock yet\nnext: the same command again, or crux doctor on a host: UDP and TCP of the \
                           port have to be open between all of them"
                .to_owned()
        }
    };
    text
}
