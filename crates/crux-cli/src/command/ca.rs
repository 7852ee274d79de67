//! `crux ca`: a small certification authority.

mod inspect;
mod write;

use crate::Outcome;
use crate::args::{Global, key_value};
use crate::output::{Format, rfc3339};
use clap::{Args, Subcommand, ValueEnum};
use crux_api::json::{Code, ErrorDoc, Kind};
use crux_names::BlocName;
use crux_pki::{Ca, PkiError, RoleKind};
use serde::Serialize;
use std::path::PathBuf;

/// Certificates.
#[derive(Debug, Subcommand)]
pub(crate) enum CaCommand {
    /// Make a certification authority for a bloc; keep its directory safe
    Init {
        /// The bloc's name
        #[arg(long, value_name = "NAME")]
        bloc: String,
        /// A new directory
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Issue a bundle: certificate, key and trusted roots
    Issue(IssueArgs),
    /// Say what a bundle or a certificate holds, also when it would be refused
    Inspect(InspectArgs),
    /// Issue the successor of a bundle: same name, admission, labels and scopes, with a new life
    Renew(RenewArgs),
    /// Show or change the roots that a bundle trusts, or that a CA gives to its bundles
    Trust(TrustArgs),
}

/// For whom, and how.
#[derive(Debug, Args)]
pub(crate) struct IssueArgs {
    /// The directory made by `crux ca init`
    #[arg(long, value_name = "DIR")]
    ca: PathBuf,
    #[command(flatten)]
    who: Who,
    /// The bundle: a new directory. For an operator the profile is enough
    #[arg(long, value_name = "BUNDLE", required_unless_present_any = ["operator", "tar"])]
    out: Option<PathBuf>,
    /// The bundle as a new tar archive, for images and container mounts
    #[arg(long, value_name = "FILE")]
    tar: Option<PathBuf>,
    /// A label that hordes can be chosen by; may be given several times
    #[arg(long, value_name = "K=V", value_parser = key_value, conflicts_with = "operator")]
    label: Vec<(String, String)>,
    /// For an operator: limit it to VERB[,VERB…][@HORDE[,HORDE…]] or @HORDE; may be given several times. Verbs of a horde:
    /// horde, apply (also run and files), access, allow (also rules rm); of the bloc: forget, expel, cordon (also drain),
    /// label, prune, down (also node leave), lab, restore [default: everything]
    #[arg(long, value_name = "SCOPE", requires = "operator")]
    scope: Vec<String>,
    /// A fulcrum to dial first, written into the bundle; may be given several times
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "operator")]
    seed: Vec<String>,
    /// Life in days [default: 365, operators and beacons 90]
    #[arg(long, value_name = "N")]
    days: Option<u32>,
    /// Let an expelled node in again: the next admission number
    #[arg(long, requires = "node")]
    readmit: bool,
    /// For an operator: do not write the profile
    #[arg(long, requires = "operator")]
    no_profile: bool,
}

/// One of them.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Who {
    /// A machine's name
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// A person's or a program's name
    #[arg(long, value_name = "NAME")]
    operator: Option<String>,
    /// An outside watcher's name
    #[arg(long, value_name = "NAME")]
    beacon: Option<String>,
}

/// What to look at, and by what to judge it.
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// A bundle (a directory or a tar archive), a CA's directory, or a PEM or DER certificate
    path: PathBuf,
    /// Judge by the roots of this bundle, CA or file instead of those beside the certificate
    #[arg(long, value_name = "BUNDLE|FILE")]
    trust: Option<PathBuf>,
    /// Judge whether it would be admitted as this; may be given several times
    #[arg(long, value_name = "ROLE")]
    role: Vec<RoleArg>,
}

/// The roles, as they are typed.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum RoleArg {
    /// A member of the mesh
    Node,
    /// Somebody who commands
    Operator,
    /// An outside watcher
    Beacon,
    /// An instance of a service
    Workload,
}

impl From<RoleArg> for RoleKind {
    fn from(role: RoleArg) -> Self {
        match role {
            RoleArg::Node => Self::Node,
            RoleArg::Operator => Self::Operator,
            RoleArg::Beacon => Self::Beacon,
            RoleArg::Workload => Self::Workload,
        }
    }
}

/// Which bundle, and where the new one goes.
#[derive(Debug, Args)]
pub(crate) struct RenewArgs {
    /// The bundle to renew: a directory or a tar archive
    bundle: PathBuf,
    /// The directory of the CA that issued it
    #[arg(long, value_name = "DIR")]
    ca: PathBuf,
    #[command(flatten)]
    to: RenewTo,
    /// Life in days [default: as long as before]
    #[arg(long, value_name = "N")]
    days: Option<u32>,
    /// Keep the key instead of making a new one
    #[arg(long)]
    keep_key: bool,
}

/// One of them.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct RenewTo {
    /// A new directory
    #[arg(long, value_name = "BUNDLE")]
    out: Option<PathBuf>,
    /// A new tar archive
    #[arg(long, value_name = "FILE")]
    tar: Option<PathBuf>,
    /// The old bundle's own place, in one step; a directory keeps its key
    #[arg(long)]
    in_place: bool,
}

/// Whose roots, and what to change.
#[derive(Debug, Args)]
pub(crate) struct TrustArgs {
    /// A bundle (a directory or a tar archive), or a CA's directory
    path: PathBuf,
    /// Trust also the roots of this bundle, CA or file; may be given several times
    #[arg(long, value_name = "BUNDLE|FILE")]
    add: Vec<PathBuf>,
    /// Trust the root of this fingerprint no more; may be given several times
    #[arg(long, value_name = "FINGERPRINT")]
    remove: Vec<String>,
}

/// What became of it.
#[derive(Clone, Debug, Serialize)]
struct Made {
    id: String,
    admission: Option<u32>,
    not_after: String,
    paths: Vec<String>,
}

impl Kind for Made {
    const KIND: &'static str = "Issued";
}

/// An error of the PKI with its exit code. Its text has the next step already; `next` names the command.
fn refused(e: &PkiError, next: &str) -> ErrorDoc {
    let code = match e {
        PkiError::Read { cause, .. } if cause.kind() == std::io::ErrorKind::NotFound => Code::NotFound,
        PkiError::Request(_) => Code::Usage,
        _ => Code::Failed,
    };
    ErrorDoc::new(code, e.to_string(), next)
}

/// The same where what is wrong is a bundle that was given.
fn bad_bundle(e: &PkiError, next: &str) -> ErrorDoc {
    let mut error = refused(e, next);
    use PkiError::{Exposed, Malformed, Refused, Root, Unfit};
    if matches!(e, Malformed { .. } | Refused { .. } | Exposed { .. } | Root(_) | Unfit(_)) {
        error.code = Code::BadBundle;
    }
    error
}

fn bad_name(e: &crux_names::NameError, next: &str) -> ErrorDoc {
    ErrorDoc::new(Code::Usage, e.to_string(), next)
}

pub(crate) fn run(global: &Global, command: CaCommand) -> Outcome {
    match command {
        CaCommand::Init { bloc, out } => {
            let bloc = BlocName::parse(&bloc).map_err(|e| bad_name(&e, "crux ca init --help"))?;
            let ca = Ca::init(bloc, &out).map_err(|e| refused(&e, "crux ca init --bloc NAME --out NEW-DIR"))?;
            let made = Made {
                id: format!("spiffe://{}", ca.bloc()),
                admission: None,
                not_after: rfc3339(ca.not_after()),
                paths: vec![out.display().to_string()],
            };
            super::print(global.output, &made, &|made: &Made, format| {
                let (bloc, dir) = (made.id.trim_start_matches("spiffe://"), made.paths.join(" "));
                match format {
                    Format::Name => made.id.clone(),
                    _ => format!(
                        "CA of bloc {bloc} in {dir}, good until {}\nnext: crux ca issue --ca {dir} --node n1 --out n1",
                        made.not_after
                    ),
                }
            })?;
            Ok(0)
        }
        CaCommand::Issue(args) => write::issue(global, &args),
        CaCommand::Renew(args) => write::renew(global, &args),
        CaCommand::Trust(args) => inspect::trust(global, &args),
        CaCommand::Inspect(args) => inspect::inspect(global, args),
    }
}
