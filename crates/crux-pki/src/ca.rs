//! The small certification authority: one Ed25519 root, offline if wanted, that issues bundles.
//!
//! It copies no name, flag or life from a request made elsewhere: the key is made here, the names are parsed, the life is
//! capped. Its directory holds `ca.pem`, `ca-key.pem` (0600), `issued.tsv`, one line per certificate, and perhaps
//! `trust.pem`, further roots of the bloc that every bundle is given: a root is rotated by trusting both for a while.

use crate::bundle::Bundle;
use crate::extension::{Admission, check_labels, check_scopes};
use crate::files::{self, PkiError};
use crate::identity::{Identity, Role, RoleKind};
use crate::key::Signer;
use crate::leaf;
use crate::mint::{CLIENT_AUTH, Draft, SERVER_AUTH, subject};
use crate::trust::{Trust, fingerprint};
use crate::words::span;
use crate::{BACKDATE, DAY, unix_now};
use crux_core::facts::scope::Scopes;
use crux_names::BlocName;
use rustls::pki_types::CertificateDer;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use x509_cert::ext::pkix::KeyUsages;

pub(crate) const CERT: &str = "ca.pem";
/// Further roots of the bloc.
pub(crate) const TRUST: &str = "trust.pem";
const KEY: &str = "ca-key.pem";
const ISSUED: &str = "issued.tsv";
const HINT: &str = "a CA is a directory made by `crux ca init`";
/// Ten years, two leap days included at least.
const ROOT_DAYS: u64 = 3_652;

/// What to issue.
#[derive(Clone, Debug)]
pub struct IssueRequest {
    /// For whom.
    pub role: Role,
    /// Life in days; see [`RoleKind::usual_days`].
    pub days: u32,
    /// The administrator's labels, inherited by renewals.
    pub labels: BTreeMap<String, String>,
    /// What an operator is limited to, inherited by renewals; none means everything.
    pub scopes: Scopes,
    /// `host:port` of fulcrums to dial first; written into the bundle's `crux.toml`.
    pub seeds: Vec<String>,
    /// The admission number: 1 unless an expelled node is let in again, see [`Ca::last_admission`].
    pub admission: u32,
}

impl IssueRequest {
    /// A request with the usual life, admission 1, no labels, no limits and no seeds.
    #[must_use]
    pub fn new(role: Role) -> Self {
        let (days, labels, scopes) = (role.kind().usual_days(), BTreeMap::new(), Scopes::default());
        Self { role, days, labels, scopes, seeds: Vec::new(), admission: 1 }
    }
}

/// How to renew.
#[derive(Clone, Copy, Debug, Default)]
pub struct RenewRequest {
    /// Life in days; as long as the old one if not given.
    pub days: Option<u32>,
    /// Whether the old key stays; else there is a new one.
    pub keep_key: bool,
}

/// A CA that is open for issuing, on disk or in memory only. Its record is locked while a certificate is issued, and read
/// again then: two processes never give the same admission number away as the next one.
#[derive(Debug)]
pub struct Ca {
    bloc: BlocName,
    root: CertificateDer<'static>,
    /// Other roots that its bundles trust.
    others: Vec<CertificateDer<'static>>,
    not_after: u64,
    signer: Signer,
    /// The record of what was issued.
    record: Option<PathBuf>,
    admissions: BTreeMap<Role, u32>,
}

/// A TOML basic string.
fn toml_string(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

/// Which admission number.
#[derive(Clone, Copy)]
enum Wanted {
    /// This one.
    Number(u32),
    /// The last one that was given to this name; 1 if none was.
    Last,
    /// The one after it.
    Next,
}

/// What is put into one certificate.
struct Leaf {
    role: Role,
    days: u32,
    labels: BTreeMap<String, String>,
    scopes: Scopes,
    admission: Wanted,
    signer: Signer,
    settings: Option<String>,
    roots: Vec<CertificateDer<'static>>,
}

fn refuse<T>(cause: String) -> Result<T, PkiError> {
    Err(PkiError::Request(cause))
}

/// The record opened for appending, locked until it is closed, and the highest admission of each role in it.
fn open_record(path: &Path) -> Result<(File, BTreeMap<Role, u32>), PkiError> {
    let read = |cause| PkiError::Read { path: path.to_owned(), cause, hint: HINT };
    let file = File::options().read(true).append(true).open(path).map_err(read)?;
    match file.lock() {
        // Some file systems know no locks; then one operator at a time has to be enough.
        Err(e) if e.kind() != ErrorKind::Unsupported => return Err(read(e)),
        _ => {}
    }
    let text = String::from_utf8_lossy(&files::read(path, HINT)?).into_owned();
    let admissions = read_record(path, &file, &text)?;
    Ok((file, admissions))
}

/// A role, its admission number, and whether the line has all its columns.
fn row(line: &str) -> Option<(Role, u32, bool)> {
    let mut cells = line.split('\t');
    let (uri, admission, not_after) = (cells.next()?, cells.next()?, cells.next());
    let admission = admission.parse::<u32>().ok().filter(|number| *number > 0)?;
    Some((Identity::parse(uri).ok()?.role, admission, not_after.is_some_and(|text| text.parse::<u64>().is_ok())))
}

/// For the fuzz targets: the rows of a record.
pub(crate) fn fuzz_record(text: &str) {
    for (role, admission, _) in text.lines().filter_map(row) {
        assert!(admission > 0, "{role} was admitted as number 0");
    }
}

/// The highest admission of each role. What follows the last line end was being written when something went wrong: no
/// certificate was handed out for it, so it is cut off.
fn read_record(path: &Path, file: &File, text: &str) -> Result<BTreeMap<Role, u32>, PkiError> {
    let malformed = |line: usize| PkiError::Malformed {
        path: path.to_owned(),
        cause: format!("line {line} is damaged; repair it from a backup"),
    };
    let whole = text.rfind('\n').map_or(0, |end| end + 1);
    let (mut lines, tail) = (text[..whole].lines().collect::<Vec<_>>(), &text[whole..]);
    let write = |cause| PkiError::Write { path: path.to_owned(), cause };
    let mut file = file;
    if row(tail).is_some_and(|(.., whole)| whole) {
        file.write_all(b"\n").map_err(write)?;
        lines.push(tail);
    } else if !tail.is_empty() {
        file.set_len(whole as u64).map_err(write)?;
    }
    let mut admissions = BTreeMap::new();
    for (number, line) in lines.into_iter().enumerate() {
        let (role, admission, _) = row(line).ok_or_else(|| malformed(number + 1))?;
        let last = admissions.entry(role).or_insert(admission);
        *last = admission.max(*last);
    }
    Ok(admissions)
}

impl Ca {
    /// A new CA in a new or empty directory.
    ///
    /// # Errors
    /// [`PkiError::Exists`] rather than overwriting another CA; [`PkiError::Write`].
    pub fn init(bloc: BlocName, dir: &Path) -> Result<Self, PkiError> {
        files::prepare(dir, &[CERT, KEY, ISSUED])?;
        let mut ca = Self::in_memory(bloc)?;
        files::write_new(&dir.join(KEY), ca.signer.to_pem()?.as_bytes())?;
        files::write_new(&dir.join(CERT), files::certificates_to_pem(std::slice::from_ref(&ca.root))?.as_bytes())?;
        let issued = dir.join(ISSUED);
        files::write_new(&issued, b"")?;
        ca.record = Some(issued);
        Ok(ca)
    }

    /// A new CA that is gone when this process is: for dev clusters and tests.
    ///
    /// # Errors
    /// [`PkiError::Random`].
    pub fn in_memory(bloc: BlocName) -> Result<Self, PkiError> {
        Self::in_memory_at(bloc, unix_now())
    }

    /// The same at another time (Unix seconds), for tests of expiry.
    ///
    /// # Errors
    /// [`PkiError::Random`].
    pub fn in_memory_at(bloc: BlocName, now: u64) -> Result<Self, PkiError> {
        let signer = Signer::generate()?;
        let not_after = now + ROOT_DAYS * DAY;
        let root = Draft {
            subject: subject(bloc.as_str(), &format!("{bloc} root")),
            issuer: None,
            uris: vec![format!("spiffe://{bloc}")],
            ca: true,
            path_length: None,
            key_usage: Some(KeyUsages::KeyCertSign | KeyUsages::CRLSign),
            extended_key_usage: None,
            not_before: now.saturating_sub(BACKDATE),
            not_after,
            admission: None,
            extra: Vec::new(),
        };
        let root = root.sign(&signer.public_key(), &signer)?;
        Ok(Self { bloc, root, others: Vec::new(), not_after, signer, record: None, admissions: BTreeMap::new() })
    }

    /// Opens a CA's directory.
    ///
    /// # Errors
    /// Names the file that is missing, exposed or damaged, and the next step.
    pub fn open(dir: &Path) -> Result<Self, PkiError> {
        let cert = dir.join(CERT);
        let key = dir.join(KEY);
        let issued = dir.join(ISSUED);
        let root = files::read_certificates(&cert, HINT)?.remove(0);
        let refused = |refusal| PkiError::Refused { path: cert.clone(), refusal };
        let malformed = |path: &Path, cause: String| PkiError::Malformed { path: path.to_owned(), cause };
        let certificate = leaf::decode(&root).map_err(refused)?;
        let uri = leaf::uri(&certificate).map_err(refused)?;
        let bloc = uri.strip_prefix("spiffe://").and_then(|bloc| BlocName::parse(bloc).ok());
        let bloc = bloc.ok_or_else(|| malformed(&cert, format!("{uri:?} names no bloc; {HINT}")))?;
        if !leaf::is_ca(&certificate).map_err(refused)? {
            return Err(malformed(&cert, format!("it is not a CA's certificate; {HINT}")));
        }
        let signer = Signer::from_pem(&files::read_secret(&key, HINT)?).map_err(|cause| malformed(&key, cause))?;
        if leaf::public_key(&certificate).map_err(refused)? != signer.public_key() {
            return Err(malformed(&key, format!("it is not the key of {CERT} beside it; restore both from a backup")));
        }
        if key_kind(&signer) != "Ed25519" {
            return Err(malformed(
                &key,
                format!("it is no Ed25519 key, which is what a CA of crux signs with; {HINT}"),
            ));
        }
        let trust = dir.join(TRUST);
        // An empty file says that there are none: so it is left behind when the last one is taken out.
        let text = if trust.exists() { files::read(&trust, HINT)? } else { Vec::new() };
        let others = if text.is_empty() {
            Vec::new()
        } else {
            files::certificates_from_pem(&text).map_err(|cause| malformed(&trust, cause))?
        };
        let all = std::iter::once(root.clone()).chain(others.iter().cloned());
        Trust::new(bloc.clone(), all).map_err(|e| malformed(&trust, e.to_string()))?;
        let (_, admissions) = open_record(&issued)?;
        let (_, not_after) = leaf::validity(&certificate);
        Ok(Self { bloc, root, others, not_after, signer, record: Some(issued), admissions })
    }

    /// The bloc it issues for.
    #[must_use]
    pub fn bloc(&self) -> &BlocName {
        &self.bloc
    }

    /// Its root certificate.
    #[must_use]
    pub fn root(&self) -> &CertificateDer<'static> {
        &self.root
    }

    /// For the fuzz targets: its key.
    pub(crate) fn signer(&self) -> &Signer {
        &self.signer
    }

    /// The end of the root's life in Unix seconds.
    #[must_use]
    pub fn not_after(&self) -> u64 {
        self.not_after
    }

    /// The highest admission number issued here to this role and name; `None` if it never was.
    #[must_use]
    pub fn last_admission(&self, role: &Role) -> Option<u32> {
        self.admissions.get(role).copied()
    }

    /// All roots that its bundles trust, its own first.
    pub fn roots(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        std::iter::once(&self.root).chain(&self.others)
    }

    /// Issues a bundle with a new key, valid from now (5 minutes back).
    ///
    /// # Errors
    /// [`PkiError::Request`] for a life over the cap, an admission of 0 or below one issued before, or unusable labels,
    /// scopes or seeds; [`PkiError::Write`] if it cannot be recorded.
    pub fn issue(&mut self, request: IssueRequest) -> Result<Bundle, PkiError> {
        self.issue_at(request, unix_now())
    }

    /// The same at another time (Unix seconds), for tests of expiry.
    ///
    /// # Errors
    /// As [`Ca::issue`].
    pub fn issue_at(&mut self, request: IssueRequest, now: u64) -> Result<Bundle, PkiError> {
        let admission = Wanted::Number(request.admission);
        self.prepare(request, admission, now)
    }

    /// Issues with the admission number that this name was last given, or 1; the request's own is not looked at.
    ///
    /// # Errors
    /// As [`Ca::issue`].
    pub fn issue_again(&mut self, request: IssueRequest) -> Result<Bundle, PkiError> {
        self.prepare(request, Wanted::Last, unix_now())
    }

    /// Issues with the admission number after the last one: lets an expelled node in again.
    ///
    /// # Errors
    /// As [`Ca::issue`], and if this name was never issued.
    pub fn readmit(&mut self, request: IssueRequest) -> Result<Bundle, PkiError> {
        self.prepare(request, Wanted::Next, unix_now())
    }

    fn prepare(&mut self, request: IssueRequest, admission: Wanted, now: u64) -> Result<Bundle, PkiError> {
        let IssueRequest { role, days, labels, scopes, seeds, admission: _ } = request;
        let is_seed =
            |seed: &str| seed.rsplit_once(':').is_some_and(|(h, p)| !h.is_empty() && p.parse::<u16>().is_ok());
        if let Some(seed) = seeds.iter().find(|seed| !is_seed(seed)) {
            return refuse(format!("seed {seed:?} is not HOST:PORT (`--seed`)"));
        }
        let settings = (!seeds.is_empty()).then(|| {
            let seeds: Vec<String> = seeds.iter().map(|seed| toml_string(seed)).collect();
            format!("# Written by `crux ca issue`: the fulcrums to dial first.\nseed = [{}]\n", seeds.join(", "))
        });
        // Programs of others use a workload's key, and some of them read nothing but P-256.
        let signer = match role.kind() {
            RoleKind::Workload => Signer::generate_p256()?,
            _ => Signer::generate()?,
        };
        let roots = self.roots().cloned().collect();
        self.sign(Leaf { role, days, labels, scopes, admission, signer, settings, roots }, now)
    }

    /// Issues the successor of a bundle that this CA issued, or another one whose root it trusts: same identity, admission, labels, scopes and settings, and all roots
    /// of the old one beside the CA's. Nothing else of the old certificate is looked at, its life only to choose the new one.
    ///
    /// # Errors
    /// [`PkiError::Request`] if no such root signed the old one, the name was readmitted since, or the life is over the
    /// cap; [`PkiError::Write`] if it cannot be recorded.
    pub fn renew(&mut self, old: &Bundle, request: RenewRequest) -> Result<Bundle, PkiError> {
        self.renew_at(old, request, unix_now())
    }

    /// The same at another time (Unix seconds), for tests of expiry.
    ///
    /// # Errors
    /// As [`Ca::renew`].
    pub fn renew_at(&mut self, old: &Bundle, request: RenewRequest, now: u64) -> Result<Bundle, PkiError> {
        // While a root is rotated the new CA trusts the old one, and takes its bundles over.
        let known = Trust::new(self.bloc.clone(), self.roots().cloned())?;
        if let Err(refusal) = known.verify_chain_undated(old.chain()) {
            return refuse(format!("the old certificate is not of this CA, nor of a root that it trusts: {refusal}"));
        }
        let (role, admission) = (old.identity().role.clone(), Wanted::Number(old.admission()));
        let (not_before, not_after) = old.life();
        let lived = u32::try_from((not_after - not_before).div_ceil(DAY)).unwrap_or(u32::MAX);
        let days = request.days.unwrap_or_else(|| lived.clamp(1, role.kind().max_days()));
        let signer = match (request.keep_key, role.kind()) {
            (true, _) => old.signer().clone(),
            (false, RoleKind::Workload) => Signer::generate_p256()?,
            (false, _) => Signer::generate()?,
        };
        let mut roots: Vec<_> = self.roots().cloned().collect();
        roots.extend(old.trust().roots().cloned());
        let (labels, scopes) = (old.labels().clone(), old.scopes().clone());
        let settings = old.settings().map(str::to_owned);
        self.sign(Leaf { role, days, labels, scopes, admission, signer, settings, roots }, now)
    }

    fn sign(&mut self, leaf: Leaf, now: u64) -> Result<Bundle, PkiError> {
        let Leaf { role, days, labels, scopes, admission, signer, settings, roots } = leaf;
        let kind = role.kind();
        if days == 0 || days > kind.max_days() {
            return refuse(format!(
                "{days} days; {} may have 1 to {} (`--days`)",
                kind.with_article(),
                kind.max_days()
            ));
        }
        let not_after = now + u64::from(days) * DAY - BACKDATE;
        if not_after > self.not_after {
            let left = span(self.not_after.saturating_sub(now));
            return refuse(format!(
                "the certificate would outlive its root, which ends in {left}; choose fewer `--days` or make a new CA"
            ));
        }
        let mut file = None;
        if let Some(path) = &self.record {
            let (opened, admissions) = open_record(path)?;
            (file, self.admissions) = (Some(opened), admissions);
        }
        let last = self.last_admission(&role);
        let admission = match (admission, last) {
            (Wanted::Number(number), last) if number >= last.unwrap_or(1) => number,
            (Wanted::Number(number), last) => {
                let last = last.unwrap_or(1);
                return refuse(format!(
                    "admission {number} of {role}, but {last} was issued before; use {last} or more"
                ));
            }
            (Wanted::Last, last) => last.unwrap_or(1),
            (Wanted::Next, Some(last)) => match last.checked_add(1) {
                Some(next) => next,
                None => return refuse(format!("{role} has had the last admission number; choose another name")),
            },
            (Wanted::Next, None) => {
                return refuse(format!(
                    "{role} was never issued here, so there is nothing to readmit; leave --readmit away"
                ));
            }
        };
        check_labels(&labels).map_err(|cause| PkiError::Request(format!("{cause} (`--label key=value`)")))?;
        check_scopes(&scopes).map_err(|cause| PkiError::Request(format!("{cause} (`--scope`)")))?;
        if kind != RoleKind::Operator && !scopes.is_empty() {
            return refuse(format!("only an operator is limited to scopes, and this is {role} (`--scope`)"));
        }

        let identity = Identity { bloc: self.bloc.clone(), role: role.clone() };
        let draft = Draft {
            subject: subject(self.bloc.as_str(), &role.name()),
            issuer: Some(subject(self.bloc.as_str(), &format!("{} root", self.bloc))),
            uris: vec![identity.to_string()],
            ca: false,
            path_length: None,
            key_usage: Some(KeyUsages::DigitalSignature.into()),
            extended_key_usage: Some(vec![SERVER_AUTH, CLIENT_AUTH]),
            not_before: now.saturating_sub(BACKDATE),
            not_after,
            admission: Some(Admission { number: admission, labels, scopes }),
            extra: Vec::new(),
        };
        let der = draft.sign(&signer.public_key(), &self.signer)?;
        let bundle = Bundle::new(vec![der], signer, roots, settings)?;
        if let (Some(path), Some(file)) = (&self.record, &mut file) {
            // Remembered before it is handed out, so that admission numbers never go back.
            let line = format!("{identity}\t{admission}\t{not_after}\t{}\n", fingerprint(&bundle.chain()[0]));
            let written = file.write_all(line.as_bytes()).and_then(|()| file.sync_all());
            written.map_err(|cause| PkiError::Write { path: path.clone(), cause })?;
        }
        self.admissions.insert(role, admission);
        Ok(bundle)
    }
}

fn key_kind(signer: &Signer) -> &'static str {
    signer.public_key().algorithm()
}
