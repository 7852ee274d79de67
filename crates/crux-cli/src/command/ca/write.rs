//! `crux ca issue` and `crux ca renew`: new bundles, never over an old one unless that is asked for.

use super::{IssueArgs, Made, RenewArgs, bad_bundle, bad_name, refused};
use crate::Outcome;
use crate::args::Global;
use crate::operator::profile;
use crate::output::{Format, note, rfc3339};
use crux_api::json::{Code, ErrorDoc};
use crux_names::{NodeName, OperatorName};
use crux_pki::{Bundle, Ca, IssueRequest, RenewRequest, Role, Scope, Scopes};
use std::fs;
use std::path::{Path, PathBuf};

const ISSUE_HELP: &str = "crux ca issue --help";
const RENEW_HELP: &str = "crux ca renew --help";
const ISSUE: &str = "crux ca issue --ca DIR --node NAME --out BUNDLE";
const INIT: &str = "crux ca init --bloc NAME --out DIR";

/// The command again, up to where the bundle goes.
fn again(args: &IssueArgs) -> String {
    let who = [("node", &args.who.node), ("operator", &args.who.operator), ("beacon", &args.who.beacon)];
    let who = who.iter().find_map(|(flag, name)| Some(format!(" --{flag} {}", name.as_ref()?)));
    format!("crux ca issue --ca {}{}", args.ca.display(), who.unwrap_or_default())
}

fn role(args: &IssueArgs) -> Result<Role, ErrorDoc> {
    let node = |name: &str| NodeName::parse(name).map_err(|e| bad_name(&e, ISSUE_HELP));
    match (&args.who.node, &args.who.operator, &args.who.beacon) {
        (Some(name), ..) => Ok(Role::Node(node(name)?)),
        (_, Some(name), _) => Ok(Role::Operator(OperatorName::parse(name).map_err(|e| bad_name(&e, ISSUE_HELP))?)),
        (.., Some(name)) => Ok(Role::Beacon(node(name)?)),
        _ => Err(ErrorDoc::new(Code::Usage, "for whom? --node, --operator or --beacon", ISSUE_HELP)),
    }
}

fn scopes(args: &IssueArgs) -> Result<Scopes, ErrorDoc> {
    let mut scopes = Scopes::default();
    for text in &args.scope {
        let bad = |e| ErrorDoc::new(Code::Usage, format!("--scope {text}: {e}"), ISSUE_HELP);
        for scope in Scope::parse_all(text).map_err(bad)? {
            scopes.add(scope);
        }
    }
    Ok(scopes)
}

pub(super) fn issue(global: &Global, args: &IssueArgs) -> Outcome {
    let role = role(args)?;
    let scopes = scopes(args)?;
    let operator = matches!(role, Role::Operator(_));
    let profile = profile().filter(|_| operator && !args.no_profile);
    let new_profile = profile.clone().filter(|path| !path.exists());
    if args.out.is_none() && args.tar.is_none() && new_profile.is_none() {
        let (code, cause) = match &profile {
            Some(path) => {
                (Code::Failed, format!("there is a profile in {} already and it is not overwritten", path.display()))
            }
            None => (Code::Usage, "nowhere to write the bundle to".to_owned()),
        };
        return Err(ErrorDoc::new(code, cause, format!("{} --out NEW-DIR", again(args))));
    }
    // Looked at before anything is issued, so that no certificate is recorded that nobody gets.
    check_free(args.out.as_deref(), args.tar.as_deref(), &again(args))?;
    let mut ca = Ca::open(&args.ca).map_err(|e| refused(&e, INIT))?;
    let before = ca.last_admission(&role).filter(|_| !args.readmit && matches!(role, Role::Node(_)));
    let mut request = IssueRequest::new(role);
    request.days = args.days.unwrap_or(request.days);
    request.labels = args.label.iter().cloned().collect();
    request.seeds.clone_from(&args.seed);
    request.scopes = scopes;
    let bundle = if args.readmit { ca.readmit(request) } else { ca.issue_again(request) };
    let bundle = bundle.map_err(|e| refused(&e, ISSUE))?;
    let paths = save(&bundle, args.out.iter().chain(&new_profile), args.tar.as_deref(), ISSUE_HELP)?;
    if let (Some(profile), None) = (&profile, &new_profile) {
        note(&format!("the profile in {} stays as it is; use this operator with --as", profile.display()));
    }
    if before.is_some() {
        // Of two machines with one name neither is let in by whoever has met the other.
        note(&format!(
            "node {} was issued a certificate before: two machines with it are taken for one and its copy. For another machine issue another name; \
             for the same one put this in the place of the old bundle (crux ca renew does that)",
            bundle.identity().role.name()
        ));
    }
    print(global, &bundle, paths)
}

pub(super) fn renew(global: &Global, args: &RenewArgs) -> Outcome {
    let again = format!("crux ca renew {} --ca {}", args.bundle.display(), args.ca.display());
    check_free(args.to.out.as_deref(), args.to.tar.as_deref(), &again)?;
    let inspect = format!("crux ca inspect {}", args.bundle.display());
    let old = Bundle::load(&args.bundle).map_err(|e| bad_bundle(&e, &inspect))?;
    let mut ca = Ca::open(&args.ca).map_err(|e| refused(&e, INIT))?;
    let keep_key = args.keep_key || args.to.in_place && args.bundle.is_dir();
    let bundle = ca.renew(&old, RenewRequest { days: args.days, keep_key }).map_err(|e| refused(&e, &inspect))?;
    let paths = if args.to.in_place {
        bundle.save_over(&args.bundle).map_err(|e| refused(&e, &format!("{again} --out NEW-DIR")))?;
        vec![args.bundle.display().to_string()]
    } else {
        save(&bundle, &args.to.out, args.to.tar.as_deref(), RENEW_HELP)?
    };
    print(global, &bundle, paths)
}

fn print(global: &Global, bundle: &Bundle, paths: Vec<String>) -> Outcome {
    let made = Made {
        id: bundle.identity().to_string(),
        admission: Some(bundle.admission()),
        not_after: rfc3339(bundle.lifetime().not_after),
        paths,
    };
    crate::command::print(global.output, &made, &|made: &Made, format| match format {
        Format::Name => made.id.clone(),
        _ => format!("{} good until {}, in {}", made.id, made.not_after, made.paths.join(" and ")),
    })?;
    Ok(0)
}

/// That nothing stands where the bundle should go.
fn check_free(out: Option<&Path>, tar: Option<&Path>, again: &str) -> Result<(), ErrorDoc> {
    let is_used = |path: &Path| match fs::read_dir(path) {
        Ok(mut entries) => entries.next().is_some(),
        Err(_) => path.symlink_metadata().is_ok(),
    };
    let used = |path: &Path, flag: &str| {
        let cause = format!("{} exists already and is not overwritten", path.display());
        Err(ErrorDoc::new(Code::Failed, cause, format!("{again} {flag}")))
    };
    match (out, tar) {
        (Some(out), _) if is_used(out) => used(out, "--out NEW-DIR"),
        (_, Some(tar)) if tar.symlink_metadata().is_ok() => used(tar, "--tar NEW-FILE"),
        _ => Ok(()),
    }
}

fn save<'a>(
    bundle: &Bundle,
    directories: impl IntoIterator<Item = &'a PathBuf>,
    tar: Option<&Path>,
    help: &str,
) -> Result<Vec<String>, ErrorDoc> {
    let mut paths = Vec::new();
    let parent = |path: &Path| match path.parent() {
        Some(parent) => fs::create_dir_all(parent)
            .map_err(|e| ErrorDoc::new(Code::Failed, format!("cannot make {}: {e}", parent.display()), help)),
        None => Ok(()),
    };
    for path in directories {
        parent(path)?;
        bundle.save(path).map_err(|e| refused(&e, help))?;
        paths.push(path.display().to_string());
    }
    if let Some(path) = tar {
        parent(path)?;
        bundle.save_tar(path).map_err(|e| refused(&e, help))?;
        paths.push(path.display().to_string());
    }
    Ok(paths)
}
