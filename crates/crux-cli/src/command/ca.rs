//! `crux ca`: a small certification authority.

use crate::Outcome;
use crate::args::{Global, key_value};
use crate::operator::profile;
use crate::output::{Format, clean, note, or_dash, rfc3339};
use clap::{Args, Subcommand};
use crux_api::json::{Code, ErrorDoc, Kind};
use crux_names::{BlocName, NodeName, OperatorName};
use crux_pki::{Bundle, Ca, Inspection, IssueRequest, PkiError, Role, inspect, unix_now};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

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
    Inspect {
        /// A bundle's directory, or a PEM file
        path: PathBuf,
    },
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
    #[arg(long, value_name = "BUNDLE", required_unless_present = "operator")]
    out: Option<PathBuf>,
    /// A label that hordes can be chosen by; may be given several times
    #[arg(long, value_name = "K=V", value_parser = key_value)]
    label: Vec<(String, String)>,
    /// A fulcrum to dial first, written into the bundle; may be given several times
    #[arg(long, value_name = "HOST:PORT")]
    seed: Vec<String>,
    /// Life in days [default: 365, operators 90]
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

/// What a certificate says.
#[derive(Clone, Debug, Serialize)]
struct Inspected {
    file: String,
    id: Option<String>,
    subject: String,
    issuer: String,
    serial: String,
    not_before: String,
    not_after: String,
    admission: u32,
    labels: BTreeMap<String, String>,
    key_algorithm: String,
    ca: bool,
    chains: Option<bool>,
    refusal: Option<String>,
}

impl Kind for Inspected {
    const KIND: &'static str = "Certificate";
}

/// An error of the PKI with its exit code. Its text has the next step already; `next` names the command.
fn refused(e: &PkiError, next: &str) -> ErrorDoc {
    let code = match e {
        PkiError::Read { .. } => Code::NotFound,
        PkiError::Request(_) => Code::Usage,
        _ => Code::Failed,
    };
    ErrorDoc::new(code, e.to_string(), next)
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
        CaCommand::Issue(args) => issue(global, args),
        CaCommand::Inspect { path } => {
            let found = inspect(&path, unix_now()).map_err(|e| refused(&e, "crux ca inspect BUNDLE|FILE"))?;
            let found = inspected(found);
            super::print(global.output, &found, &inspected_text)?;
            Ok(0)
        }
    }
}

const HELP: &str = "crux ca issue --help";

/// The command again, up to where the bundle goes.
fn again(args: &IssueArgs) -> String {
    let who = [("node", &args.who.node), ("operator", &args.who.operator), ("beacon", &args.who.beacon)];
    let who = who.iter().find_map(|(flag, name)| Some(format!(" --{flag} {}", name.as_ref()?)));
    format!("crux ca issue --ca {}{}", args.ca.display(), who.unwrap_or_default())
}

fn issue(global: &Global, args: IssueArgs) -> Outcome {
    let role = match (&args.who.node, &args.who.operator, &args.who.beacon) {
        (Some(name), ..) => Role::Node(NodeName::parse(name).map_err(|e| bad_name(&e, HELP))?),
        (_, Some(name), _) => Role::Operator(OperatorName::parse(name).map_err(|e| bad_name(&e, HELP))?),
        (.., Some(name)) => Role::Beacon(NodeName::parse(name).map_err(|e| bad_name(&e, HELP))?),
        _ => {
            return Err(ErrorDoc::new(Code::Usage, "for whom? --node, --operator or --beacon", "crux ca issue --help"));
        }
    };
    let operator = matches!(role, Role::Operator(_));
    let profile = profile().filter(|_| operator && !args.no_profile);
    let new_profile = profile.clone().filter(|path| !path.exists());
    if args.out.is_none() && new_profile.is_none() {
        let (code, cause) = match &profile {
            Some(path) => {
                (Code::Failed, format!("there is a profile in {} already and it is not overwritten", path.display()))
            }
            None => (Code::Usage, "nowhere to write the bundle to".to_owned()),
        };
        return Err(ErrorDoc::new(code, cause, format!("{} --out NEW-DIR", again(&args))));
    }
    // Looked at before anything is issued, so that no certificate is recorded that nobody gets.
    if let Some(out) = args.out.as_deref().filter(|out| is_used(out)) {
        let cause = format!("{} exists already and is not overwritten", out.display());
        return Err(ErrorDoc::new(Code::Failed, cause, format!("{} --out NEW-DIR", again(&args))));
    }
    let next = "crux ca issue --ca DIR --node NAME --out BUNDLE";
    let mut ca = Ca::open(&args.ca).map_err(|e| refused(&e, "crux ca init --bloc NAME --out DIR"))?;
    let mut request = IssueRequest::new(role.clone());
    request.days = args.days.unwrap_or(request.days);
    request.labels = args.label.iter().cloned().collect();
    request.seeds.clone_from(&args.seed);
    let last = ca.last_admission(&role);
    request.admission = match (args.readmit, last) {
        (false, last) => last.unwrap_or(1),
        (true, Some(last)) => last + 1,
        (true, None) => {
            let cause = format!("{role} was never issued here, so there is nothing to readmit");
            return Err(ErrorDoc::new(Code::Usage, cause, again(&args)));
        }
    };
    let bundle = ca.issue(request).map_err(|e| refused(&e, next))?;
    let mut paths = Vec::new();
    for path in args.out.iter().chain(&new_profile) {
        save(&bundle, path)?;
        paths.push(path.display().to_string());
    }
    if let (Some(profile), None) = (&profile, &new_profile) {
        note(&format!("the profile in {} stays as it is; use this operator with --as", profile.display()));
    }
    let (_, not_after) = bundle.life();
    let made = Made {
        id: bundle.identity().to_string(),
        admission: Some(bundle.admission()),
        not_after: rfc3339(not_after),
        paths,
    };
    super::print(global.output, &made, &|made: &Made, format| match format {
        Format::Name => made.id.clone(),
        _ => format!("{} good until {}, in {}", made.id, made.not_after, made.paths.join(" and ")),
    })?;
    Ok(0)
}

fn is_used(path: &Path) -> bool {
    match fs::read_dir(path) {
        Ok(mut entries) => entries.next().is_some(),
        Err(_) => path.exists(),
    }
}

fn save(bundle: &Bundle, path: &Path) -> Result<(), ErrorDoc> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)
            .map_err(|e| ErrorDoc::new(Code::Failed, format!("cannot make {}: {e}", parent.display()), HELP))?;
    }
    bundle.save(path).map_err(|e| refused(&e, HELP))
}

fn inspected(found: Inspection) -> Inspected {
    Inspected {
        file: found.file.display().to_string(),
        id: found.identity.map(|identity| identity.to_string()),
        subject: found.subject,
        issuer: found.issuer,
        serial: found.serial,
        not_before: rfc3339(found.not_before),
        not_after: rfc3339(found.not_after),
        admission: found.admission,
        labels: found.labels,
        key_algorithm: found.key_algorithm,
        ca: found.ca,
        chains: found.chains,
        refusal: found.refusal.map(|refusal| refusal.to_string()),
    }
}

fn inspected_text(found: &Inspected, format: Format) -> String {
    if format == Format::Name {
        return found.id.as_deref().map(clean).unwrap_or_default();
    }
    let labels = found.labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ");
    let chains =
        found.chains.map(|chains| if chains { "to the roots beside it" } else { "to none of the roots beside it" });
    let verdict = match &found.refusal {
        Some(refusal) => format!("would be REFUSED: {refusal}"),
        None => "would be admitted".to_owned(),
    };
    let lines = [
        ("file", found.file.clone()),
        ("id", or_dash(found.id.as_deref())),
        ("kind", if found.ca { "a CA's certificate".to_owned() } else { "a leaf".to_owned() }),
        ("subject", found.subject.clone()),
        ("issuer", found.issuer.clone()),
        ("serial", found.serial.clone()),
        ("from", found.not_before.clone()),
        ("until", found.not_after.clone()),
        ("admission", found.admission.to_string()),
        ("labels", if labels.is_empty() { "-".to_owned() } else { labels }),
        ("key", found.key_algorithm.clone()),
        ("chains", or_dash(chains)),
        ("now", verdict),
    ];
    lines.iter().map(|(key, value)| format!("{key:<11}{}", clean(value))).collect::<Vec<_>>().join("\n")
}
