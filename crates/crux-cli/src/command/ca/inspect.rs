//! `crux ca inspect` and `crux ca trust`: what certificates and trust sets say.

use super::{InspectArgs, TrustArgs, bad_bundle};
use crate::Outcome;
use crate::args::Global;
use crate::output::{Format, clean, or_dash, rfc3339, table};
use crux_api::json::{Code, ErrorDoc, Kind};
use crux_names::Hash256;
use crux_pki::{
    Inspection, Judge, KeyState, Place, Role, RoleKind, Summary, change_roots, fingerprint, inspect_by, roots_of,
    unix_now,
};
use serde::Serialize;
use std::collections::BTreeMap;

/// A CA's certificate in a chain or among the roots.
#[derive(Clone, Debug, Serialize)]
struct Authority {
    subject: String,
    issuer: String,
    serial: String,
    not_before: String,
    not_after: String,
    key_algorithm: String,
    fingerprint: String,
}

impl From<Summary> for Authority {
    fn from(summary: Summary) -> Self {
        Self {
            subject: summary.subject,
            issuer: summary.issuer,
            serial: summary.serial,
            not_before: rfc3339(summary.not_before),
            not_after: rfc3339(summary.not_after),
            key_algorithm: summary.key_algorithm,
            fingerprint: summary.fingerprint.to_string(),
        }
    }
}

/// What a certificate says, and what would become of it. Tools may parse it: adding is free.
#[derive(Clone, Debug, Serialize)]
struct Inspected {
    file: String,
    /// `bundle`, `archive`, `ca` or `file`.
    place: &'static str,
    id: Option<String>,
    /// Its only URI as it stands there, also when it is refused.
    uri: Option<String>,
    bloc: Option<String>,
    /// `node`, `operator`, `beacon` or `workload`.
    role: Option<&'static str>,
    name: Option<String>,
    admission: u32,
    labels: BTreeMap<String, String>,
    /// What an operator is limited to, as `--scope` takes it; none: everything. `null` for other roles.
    scopes: Option<Vec<String>>,
    subject: Option<String>,
    issuer: Option<String>,
    serial: Option<String>,
    not_before: Option<String>,
    not_after: Option<String>,
    /// Its whole life, and the most that a verifier accepts for its role.
    life_days: Option<u64>,
    max_days: Option<u32>,
    /// Whole days that are left now.
    left_days: Option<u64>,
    /// How late it is: `half`, `two-thirds`, `nine-tenths` or `ended`.
    late: Option<&'static str>,
    key_algorithm: Option<String>,
    fingerprint: Option<String>,
    ca: bool,
    /// `fits`, or what is wrong with the private key.
    key: Option<String>,
    chain: Vec<Authority>,
    roots: Vec<Authority>,
    chains: Option<bool>,
    problems: Vec<String>,
    /// Whether nothing is wrong with it; else the command ends with 1.
    usable: bool,
    refusal: Option<String>,
    /// A stable name of the reason.
    refusal_code: Option<&'static str>,
    next: Option<String>,
}

impl Kind for Inspected {
    const KIND: &'static str = "Certificate";
}

pub(super) fn inspect(global: &Global, args: InspectArgs) -> Outcome {
    let next = "crux ca inspect BUNDLE|FILE";
    let judge = Judge { trust: args.trust, roles: args.role.into_iter().map(Into::into).collect() };
    let now = unix_now();
    let found = inspect_by(&args.path, &judge, now).map_err(|e| bad_bundle(&e, next))?;
    let found = inspected(found, now);
    crate::command::print(global.output, &found, &text)?;
    Ok(if found.usable { 0 } else { Code::Failed.exit() })
}

fn inspected(found: Inspection, now: u64) -> Inspected {
    let role = found.identity.as_ref().map(|identity| &identity.role);
    let kind = role.map(Role::kind);
    let life = found.life();
    let certificate = found.certificate.map(|summary| (summary.ca, Authority::from(summary)));
    let ca = certificate.as_ref().is_some_and(|(ca, _)| *ca);
    let certificate = certificate.map(|(_, certificate)| certificate);
    let bad_key = match &found.key {
        Some(KeyState::Bad(cause)) => Some(cause.clone()),
        _ => None,
    };
    let problems: Vec<String> = bad_key.into_iter().chain(found.problems).collect();
    let field = |of: fn(&Authority) -> &String| certificate.as_ref().map(|certificate| of(certificate).clone());
    Inspected {
        file: found.file.display().to_string(),
        place: match found.place {
            Place::Bundle => "bundle",
            Place::Archive => "archive",
            Place::Ca => "ca",
            Place::File => "file",
        },
        id: found.identity.as_ref().map(ToString::to_string),
        bloc: found.identity.as_ref().map(|identity| identity.bloc.to_string()),
        role: kind.map(RoleKind::as_str),
        name: role.map(|role| role.name().into_owned()),
        uri: found.uri,
        admission: found.admission,
        labels: found.labels,
        scopes: (kind == Some(RoleKind::Operator)).then(|| found.scopes.iter().map(ToString::to_string).collect()),
        subject: field(|c| &c.subject),
        issuer: field(|c| &c.issuer),
        serial: field(|c| &c.serial),
        not_before: field(|c| &c.not_before),
        not_after: field(|c| &c.not_after),
        life_days: life.map(|life| life.not_after.saturating_sub(life.not_before).div_ceil(86_400)),
        max_days: kind.map(RoleKind::max_days),
        left_days: life.map(|life| life.left(now) / 86_400),
        late: life.and_then(|life| life.warning(now)).map(crux_pki::LifeWarning::as_str),
        key_algorithm: field(|c| &c.key_algorithm),
        fingerprint: field(|c| &c.fingerprint),
        ca,
        key: found.key.map(|key| match key {
            KeyState::Fits => "fits".to_owned(),
            KeyState::Bad(cause) => cause,
        }),
        chain: found.chain.into_iter().map(Authority::from).collect(),
        roots: found.roots.into_iter().map(Authority::from).collect(),
        chains: found.chains,
        usable: problems.is_empty() && found.refusal.is_none(),
        problems,
        next: found.refusal.as_ref().map(crux_pki::Refusal::next_step),
        refusal_code: found.refusal.as_ref().map(crux_pki::Refusal::code),
        refusal: found.refusal.map(|refusal| refusal.to_string()),
    }
}

fn text(found: &Inspected, format: Format) -> String {
    if format == Format::Name {
        return found.id.as_deref().map(clean).unwrap_or_default();
    }
    let labels = found.labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ");
    let scopes = found.scopes.as_ref().map(|scopes| match &scopes[..] {
        [] => "everything".to_owned(),
        scopes => scopes.join(" "),
    });
    let chains =
        found.chains.map(|chains| if chains { "to the roots beside it" } else { "to none of the roots beside it" });
    let mut verdicts: Vec<String> = Vec::new();
    if let (Some(refusal), Some(code)) = (&found.refusal, found.refusal_code) {
        verdicts.push(format!("would be REFUSED: {refusal} [{code}]"));
    }
    verdicts.extend(found.problems.iter().map(|problem| format!("cannot be USED: {problem}")));
    if verdicts.is_empty() {
        verdicts.push(if found.ca { "valid, as a root or an intermediate" } else { "would be admitted" }.to_owned());
    }
    let life = match (found.life_days, found.max_days, found.left_days) {
        (Some(life), Some(max), Some(left)) => format!("{life} days of at most {max}, {left} left"),
        (Some(life), _, Some(left)) => format!("{life} days, {left} left"),
        _ => "-".to_owned(),
    };
    let late = found.late.map(|late| format!(", {late} gone")).unwrap_or_default();
    let authority = |one: &Authority| format!("{} until {}, {}", one.subject, one.not_after, one.fingerprint);
    let mut lines = vec![
        ("file", found.file.clone()),
        ("id", or_dash(found.id.as_deref().or(found.uri.as_deref()))),
        ("role", or_dash(found.role.or(found.ca.then_some("a CA, no leaf")))),
        ("name", or_dash(found.name.as_deref())),
        ("bloc", or_dash(found.bloc.as_deref())),
        ("subject", or_dash(found.subject.as_deref())),
        ("issuer", or_dash(found.issuer.as_deref())),
        ("serial", or_dash(found.serial.as_deref())),
        ("from", or_dash(found.not_before.as_deref())),
        ("until", or_dash(found.not_after.as_deref())),
        ("life", life + &late),
        ("admission", found.admission.to_string()),
        ("labels", if labels.is_empty() { "-".to_owned() } else { labels }),
        ("scopes", or_dash(scopes.as_deref())),
        ("key", or_dash(found.key_algorithm.as_deref())),
        ("sha256", or_dash(found.fingerprint.as_deref())),
        ("chains", or_dash(chains)),
    ];
    lines.extend(found.chain.iter().map(|one| ("below", authority(one))));
    lines.extend(found.roots.iter().map(|one| ("root", authority(one))));
    lines.extend(verdicts.into_iter().map(|verdict| ("now", verdict)));
    lines.iter().map(|(key, value)| format!("{key:<11}{}", clean(value))).collect::<Vec<_>>().join("\n")
}

/// The roots of a bundle or a CA.
#[derive(Clone, Debug, Serialize)]
struct Roots {
    path: String,
    roots: Vec<Authority>,
}

impl Kind for Roots {
    const KIND: &'static str = "Roots";
}

pub(super) fn trust(global: &Global, args: &TrustArgs) -> Outcome {
    let next = "crux ca trust BUNDLE|CA --add FILE, or --remove FINGERPRINT";
    let wrong = |e| bad_bundle(&e, next);
    let mut add = Vec::new();
    for path in &args.add {
        add.extend(roots_of(path).map_err(wrong)?);
    }
    let known = roots_of(&args.path).map_err(wrong)?;
    let known: Vec<Hash256> = known.iter().map(|der| fingerprint(der)).collect();
    let mut remove = Vec::new();
    for given in &args.remove {
        let text = given.to_ascii_lowercase().replace(':', "");
        let found: Vec<_> = known.iter().filter(|hash| hash.to_string().starts_with(&text)).collect();
        match found[..] {
            [one] if text.len() >= 8 => remove.push(*one),
            _ => {
                let cause =
                    format!("{given:?} is the fingerprint, or at least its first 8 digits, of no single root there");
                return Err(ErrorDoc::new(Code::NotFound, cause, format!("crux ca trust {}", args.path.display())));
            }
        }
    }
    let roots = if add.is_empty() && remove.is_empty() {
        roots_of(&args.path).map_err(wrong)?
    } else {
        change_roots(&args.path, &add, &remove).map_err(wrong)?.roots().cloned().collect()
    };
    let roots = roots.iter().filter_map(|der| Summary::of(der)).map(Authority::from).collect();
    let roots = Roots { path: args.path.display().to_string(), roots };
    crate::command::print(global.output, &roots, &|roots: &Roots, format| match format {
        Format::Name => roots.roots.iter().map(|root| root.fingerprint.clone()).collect::<Vec<_>>().join("\n"),
        _ => table(
            ["SUBJECT", "UNTIL", "KEY", "FINGERPRINT"],
            roots.roots.iter().cloned().map(|r| [r.subject, r.not_after, r.key_algorithm, r.fingerprint]),
        ),
    })?;
    Ok(0)
}
