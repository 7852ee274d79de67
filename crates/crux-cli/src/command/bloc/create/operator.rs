//! Whose certificate asks the new fulcrums: what is at hand already, if it serves, or one that is issued.

use crate::operator::profile;
use crate::output::note;
use crux_api::json::{Code, ErrorDoc};
use crux_names::OperatorName;
use crux_pki::{Bundle, Ca, IssueRequest, Role, Trust, unix_now};
use std::path::{Path, PathBuf};

/// The bundle of an operator whom fulcrums of this CA answer. Nothing is returned if commands find it by themselves: it is
/// the profile, or what `--as` or `CRUX_AS` names (`given`). What is there already is left alone; if it does not serve,
/// a bundle is kept beside the CA.
///
/// # Errors
/// If the name is none, or no bundle can be written.
pub(super) fn operator(ca: &mut Ca, dir: &Path, name: &str, given: Option<&Path>) -> Result<Option<PathBuf>, ErrorDoc> {
    let name = OperatorName::parse(name)
        .map_err(|e| ErrorDoc::new(Code::Usage, format!("--operator: {e}"), "crux bloc create --help"))?;
    let own = profile();
    match (given, &own) {
        (None, Some(path)) if !path.exists() => {
            issue(ca, &name, path)?;
            note(&format!("operator: {name}, in the profile {}", path.display()));
            return Ok(None);
        }
        (Some(path), _) => match serves(ca, path) {
            Ok(()) => return Ok(None),
            Err(why) => note(&format!("operator: {} is not of use here: {why}", path.display())),
        },
        (None, Some(path)) => match serves(ca, path) {
            Ok(()) => {
                note(&format!("operator: the profile in {} stays as it is", path.display()));
                return Ok(None);
            }
            Err(why) => {
                let path = path.display();
                note(&format!("operator: the profile in {path} stays as it is, and is not of use here: {why}"));
            }
        },
        (None, None) => note("operator: neither XDG_CONFIG_HOME nor HOME is set, so there is no place for a profile"),
    }
    let path = dir.join(format!("operator-{name}"));
    if path.exists() {
        serves(ca, &path).map_err(|why| {
            let cause = format!("{} is no operator's bundle that serves: {why}", path.display());
            ErrorDoc::new(Code::BadBundle, cause, "move it out of the way, and the same command again issues another")
        })?;
    } else {
        issue(ca, &name, &path)?;
    }
    note(&format!("operator: {name}, in {}: name it with --as", path.display()));
    Ok(Some(path))
}

fn issue(ca: &mut Ca, name: &OperatorName, path: &Path) -> Result<(), ErrorDoc> {
    let saved = ca.issue_again(IssueRequest::new(Role::Operator(name.clone()))).and_then(|bundle| bundle.save(path));
    saved.map_err(|e| ErrorDoc::new(Code::Failed, e.to_string(), "crux ca issue --ca DIR --operator NAME"))
}

/// Whether fulcrums of this CA answer whoever has this bundle, and it believes them; else why not.
fn serves(ca: &Ca, path: &Path) -> Result<(), String> {
    let bundle = Bundle::load(path).map_err(|e| e.to_string())?;
    let identity = bundle.identity();
    if identity.bloc != *ca.bloc() {
        return Err(format!("it is of bloc {}, not of {}", identity.bloc, ca.bloc()));
    }
    if !matches!(identity.role, Role::Operator(_)) {
        return Err(format!("{identity} is no operator"));
    }
    let trust = Trust::new(ca.bloc().clone(), ca.roots().cloned()).map_err(|e| e.to_string())?;
    trust.verify_chain(bundle.chain(), unix_now()).map_err(|refusal| format!("it would be refused: {refusal}"))?;
    if bundle.trust().roots().any(|root| root == ca.root()) {
        return Ok(());
    }
    Err("it does not trust the CA's root".to_owned())
}
