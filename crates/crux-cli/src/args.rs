//! The command line, as data.

use crate::command::{
    audit, bloc, ca, demo, down, events, explain, facts, files, horde, lab, logs, manifest, node, rules, run, up, wait,
    why,
};
use crate::output::Format;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory, Parser, Subcommand};
use crux_api::intent::parse_duration;
use crux_api::json::{Code, ErrorDoc};
use std::path::PathBuf;
use std::time::Duration;

/// Machines with a certificate become a cluster that assembles itself.
#[derive(Debug, Parser)]
#[command(name = "crux", version, max_term_width = 120, disable_help_subcommand = false)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags of every command.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Everywhere")]
pub(crate) struct Global {
    /// How to print
    #[arg(short, long, global = true, value_enum, value_name = "FORMAT")]
    pub(crate) output: Option<Format>,
    /// Follow: print again whenever it changes (with -o json one document per line)
    #[arg(short, long, global = true)]
    pub(crate) watch: bool,
    /// Which fulcrum: its API port, a socket, or a node of your dev cluster
    #[arg(long, global = true, env = "CRUX_AT", value_name = "ADDR|SOCKET|NODE")]
    pub(crate) at: Option<String>,
    /// Which operator signs, and asks at an API port: a bundle (default: the profile, or the dev cluster's own operator)
    #[arg(long = "as", global = true, env = "CRUX_AS", value_name = "BUNDLE")]
    pub(crate) r#as: Option<PathBuf>,
    /// After a write: wait until what it asks for is so
    #[arg(long, global = true, value_enum, num_args = 0..=1, require_equals = true, default_missing_value = "ready", value_name = "COND")]
    pub(crate) wait: Option<WaitFor>,
    /// How long to wait before giving up with exit code 6 [default of wait and --wait: 60s]; an answer that does not begin by then is exit code 5
    #[arg(long, global = true, value_parser = duration, value_name = "DURATION")]
    pub(crate) timeout: Option<Duration>,
}

/// What `--wait` waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum WaitFor {
    /// Every service written has as many ready instances as it should, every horde written has its home members, and what is
    /// taken away or drained runs no more
    Ready,
    /// As many fulcrums as promised have the write on disk
    Written,
}

/// Reads a duration for clap.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|e| e.to_string())
}

/// Reads `KEY=VALUE` for clap.
pub(crate) fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}

/// Every verb and noun.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a fulcrum in the foreground, or with --dev a throw-away cluster
    Up(up::UpArgs),
    /// Stop the fulcrum; without --at in a dev cluster, the whole cluster
    Down(down::DownArgs),
    /// Names: bloc, flock, leader, members, roles
    Confab,
    /// Everything that the fulcrum knows
    Status,
    /// Who reaches whom: every pair of the flock, ages and round trips
    Links,
    /// Flocks of the bloc as seen from here, and who is in none
    Flocks,
    /// What is wrong here and around, with causes and next steps
    Doctor,
    /// Wait until the flock, or services, are as wanted: a minute at most, or as long as --timeout says
    Wait(wait::WaitArgs),
    /// Fulcrums
    #[command(subcommand)]
    Node(node::NodeCommand),
    /// Hordes
    #[command(subcommand)]
    Horde(horde::HordeCommand),
    /// Run a command as a service
    Run(run::RunArgs),
    /// Make what a manifest says so
    Apply(manifest::ApplyArgs),
    /// Show what `apply` would change
    Plan(manifest::PlanArgs),
    /// Services and their instances
    Ps,
    /// Let a client call an endpoint
    Allow(rules::AllowArgs),
    /// Who may call whom
    Rules(rules::RulesArgs),
    /// What instances wrote
    Logs(logs::LogsArgs),
    /// What the access service and the yurt know
    Services,
    /// Files by content
    #[command(subcommand)]
    Files(files::FilesCommand),
    /// What happened
    Events(events::EventsArgs),
    /// What operators did at this fulcrum, and what they were refused
    Audit(audit::AuditArgs),
    /// Faults for a dev cluster
    #[command(subcommand)]
    Lab(lab::LabCommand),
    /// Certificates: a small certification authority
    #[command(subcommand)]
    Ca(ca::CaCommand),
    /// Why something is as it is
    Why(why::WhyArgs),
    /// Versions of the command and of the fulcrum
    Version,
    /// Completions for a shell, on standard output
    Completion(explain::CompletionArgs),
    /// Facts: what operators want, as it is stored
    #[command(subcommand)]
    Facts(facts::FactsCommand),
    /// The bloc as a whole
    #[command(subcommand)]
    Bloc(bloc::BlocCommand),
    /// What an error code means
    Explain(explain::ExplainArgs),
    /// The supervisor of one instance; started by crux itself
    #[command(hide = true)]
    Supervise {
        /// The instance's directory
        dir: PathBuf,
    },
    /// The demo service; started by crux itself
    #[command(hide = true)]
    Demo(demo::DemoArgs),
}

impl Command {
    /// Whether there is something to follow with `-w`.
    pub(crate) fn follows(&self) -> bool {
        match self {
            Self::Confab
            | Self::Status
            | Self::Links
            | Self::Flocks
            | Self::Ps
            | Self::Logs(_)
            | Self::Services
            | Self::Events(_)
            | Self::Audit(_)
            | Self::Why(_)
            | Self::Node(node::NodeCommand::List)
            | Self::Horde(horde::HordeCommand::List)
            | Self::Files(files::FilesCommand::List)
            | Self::Bloc(bloc::BlocCommand::Status) => true,
            Self::Rules(args) => args.lists(),
            _ => false,
        }
    }
}

/// Why there is nothing to run.
pub(crate) enum Early {
    /// Help or the version was asked for and is printed.
    Said,
    /// The command line is wrong.
    Wrong(ErrorDoc, Option<Format>),
}

/// Reads the command line.
pub(crate) fn parse() -> Result<Cli, Early> {
    Cli::try_parse().map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // A closed pipe is the reader's choice.
            let _ = error.print();
            Early::Said
        }
        _ => Early::Wrong(usage(&error), wanted_format()),
    })
}

/// The format that a wrong command line asked for.
fn wanted_format() -> Option<Format> {
    let words: Vec<String> = std::env::args().collect();
    let json = words.iter().any(|word| word == "-ojson" || word == "--output=json")
        || words.windows(2).any(|pair| (pair[0] == "-o" || pair[0] == "--output") && pair[1] == "json");
    json.then_some(Format::Json)
}

/// Verbs and nouns that operators may expect: said to be on their way rather than unknown.
const LATER: [&str; 13] = [
    "beacon", "ca serve", "cert", "config", "exec", "khan", "liveness", "muster", "rollout", "secret", "token", "top",
    "ui",
];

/// The error for a verb of a later version, or of another place.
fn not_yet(error: &clap::Error, path: &[String]) -> Option<ErrorDoc> {
    if error.kind() != ErrorKind::InvalidSubcommand {
        return None;
    }
    let ContextValue::String(word) = error.get(ContextKind::InvalidSubcommand)? else { return None };
    let words: Vec<&str> = path.iter().map(String::as_str).chain([word.as_str()]).collect();
    let verb = words.join(" ");
    if let "backup" | "restore" = verb.as_str() {
        let cause = format!("crux {verb} is crux bloc {verb}");
        return Some(ErrorDoc::new(Code::Usage, cause, format!("crux bloc {verb} --help")));
    }
    let cause = format!("crux {verb} is not yet in this version");
    LATER.contains(&verb.as_str()).then(|| ErrorDoc::new(Code::NotYet, cause, "crux help"))
}

/// The variable that a wrong value came from, if it was not given as a flag.
fn from_environment(error: &clap::Error, command: &clap::Command) -> Option<String> {
    let ContextValue::String(arg) = error.get(ContextKind::InvalidArg)? else { return None };
    let long = arg.strip_prefix("--")?.split([' ', '=', '[']).next()?;
    let flag = format!("--{long}");
    if std::env::args().any(|word| word == flag || word.starts_with(&format!("{flag}="))) {
        return None;
    }
    let top = Cli::command();
    let mut args = command.get_arguments().chain(top.get_arguments());
    let variable = args.find(|arg| arg.get_long() == Some(long))?.get_env()?.to_str()?.to_owned();
    std::env::var_os(&variable).is_some().then_some(variable)
}

/// clap's complaint in our form: one line of cause, the next command.
fn usage(error: &clap::Error) -> ErrorDoc {
    let text = error.render().to_string();
    let lines =
        text.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"));
    let cause: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    let cause = cause.join("; ").replace("error: ", "").replace(":; ", ": ");
    // Flags and their values may stand before a verb.
    let words: Vec<String> = std::env::args().skip(1).take_while(|word| word != "--").collect();
    let mut known = Cli::command();
    let mut path: Vec<String> = Vec::new();
    for word in words {
        if let Some(next) = known.find_subcommand(&word).cloned() {
            path.push(word);
            known = next;
        } else if path.len() >= 2 {
            break;
        }
    }
    if let Some(not_yet) = not_yet(error, &path) {
        return not_yet;
    }
    let cause = match from_environment(error, &known) {
        Some(variable) => format!("{cause} (it stands in the environment, {variable})"),
        None => cause,
    };
    let cause = match error.kind() {
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand if path.is_empty() => "no command was given".to_owned(),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => format!("crux {} is not complete", path.join(" ")),
        _ => cause,
    };
    let help = if path.is_empty() { "crux help".to_owned() } else { format!("crux {} --help", path.join(" ")) };
    let next = match error.get(ContextKind::SuggestedSubcommand) {
        Some(suggested) => format!("did you mean {suggested}? {help}"),
        None => help,
    };
    ErrorDoc::new(Code::Usage, cause, next)
}

/// The command line's description, for completions.
pub(crate) fn description() -> clap::Command {
    Cli::command()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_verb_of_a_later_version_is_here_already() {
        for verb in LATER {
            let mut at = Cli::command();
            let here = verb.split(' ').all(|word| match at.find_subcommand(word).cloned() {
                Some(next) => {
                    at = next;
                    true
                }
                None => false,
            });
            assert!(!here, "crux {verb}");
        }
    }
}
