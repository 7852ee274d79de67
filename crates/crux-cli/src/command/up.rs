//! `crux up`: one fulcrum in the foreground, or with `--dev` a throw-away cluster.

use crate::Outcome;
use crate::args;
use crate::fulcrum;
use crate::settings::{self, Layer};
use clap::Args;
use std::io::IsTerminal;
use std::path::PathBuf;
use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

/// Start crux.
#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    /// A throw-away cluster of so many fulcrums on this machine: no root, no configuration
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "3",
          conflicts_with_all = ["identity", "listen", "state", "seed", "expect", "fulcrum", "config"])]
    dev: Option<usize>,
    /// With --dev: keep everything in this directory
    #[arg(long, value_name = "DIR", requires = "dev")]
    keep: Option<PathBuf>,
    #[command(flatten)]
    layer: Layer,
    /// Settings; keys are these flags' names [default: /etc/crux/crux.toml if it exists]
    #[arg(long, env = "CRUX_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Say more: -v tells of each link, -vv everything
    #[arg(short, action = clap::ArgAction::Count)]
    verbose: u8,
    /// A fulcrum of a dev cluster; started by crux itself
    #[arg(long, hide = true, conflicts_with = "dev")]
    dev_child: bool,
}

pub(crate) fn run(args: UpArgs) -> Outcome {
    args.layer.later.check()?;
    log(args.verbose, args.dev.is_some());
    if !args.dev_child {
        for name in unknown(std::env::vars_os().filter_map(|(name, _)| name.into_string().ok())) {
            tracing::warn!(
                "the variable {name} is set and means nothing to crux; is it misspelt? crux up --help names those that count"
            );
        }
    }
    match args.dev {
        Some(size) => fulcrum::dev(size, args.keep, settings::page(args.layer.page.as_deref())?)?,
        None => fulcrum::up(settings::resolve(args.layer, args.config.as_deref(), args.dev_child)?)?,
    }
    Ok(0)
}

/// So many letters differ between a variable and the one that was meant, at most.
const NEAR: usize = 2;

/// Variables that look like settings and are none: most likely misspelt.
fn unknown(set: impl Iterator<Item = String>) -> Vec<String> {
    fn known(command: &clap::Command, names: &mut Vec<String>) {
        names.extend(command.get_arguments().filter_map(|arg| Some(arg.get_env()?.to_str()?.to_owned())));
        command.get_subcommands().for_each(|command| known(command, names));
    }
    let mut names = Vec::new();
    known(&args::description(), &mut names);
    // Others set variables of this kind too, as Kubernetes does for a service of that name.
    let near = |name: &String| names.iter().any(|known| strsim::damerau_levenshtein(known, name) <= NEAR);
    set.filter(|name| name.starts_with("CRUX_") && !names.contains(name) && near(name)).collect()
}

/// The log of a fulcrum goes to standard error; a dev cluster prints for people, so its own log tells troubles only.
fn log(verbose: u8, dev: bool) {
    let level = match (verbose, dev) {
        (0, true) => Level::WARN,
        (0, false) => Level::INFO,
        (1, _) => Level::DEBUG,
        _ => Level::TRACE,
    };
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    // What it warns of, links tell in words of their own.
    let of_sockets = if verbose == 0 { LevelFilter::ERROR } else { level.into() };
    let wanted = Targets::new().with_default(level).with_target("quinn_udp", of_sockets);
    let lines = tracing_subscriber::fmt::layer().with_ansi(colour).with_writer(std::io::stderr);
    let log = tracing_subscriber::registry().with(lines.with_filter(wanted));
    // It can only be set already, and then it is.
    let _ = log.try_init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_variable_is_noticed_and_those_that_count_are_not() {
        let set = ["CRUX_LISTNE", "CRUX_LISTEN", "CRUX_AT", "CRUX_CONFIG", "CRUX_SERVICE_HOST", "CRUX_PORT", "PATH"];
        assert_eq!(unknown(set.into_iter().map(str::to_owned)), ["CRUX_LISTNE"]);
    }
}
