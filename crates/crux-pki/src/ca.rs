//! The small certification authority: one Ed25519 root, offline if wanted, that issues bundles.
//!
//! It copies no name, flag or life from a request made elsewhere: the key is made here, the names are parsed, the life is
//! capped. Its directory holds `ca.pem`, `ca-key.pem` (0600) and `issued.tsv`, one line per certificate.

use crate::bundle::Bundle;
use crate::extension::{Admission, check_labels};
use crate::files::{self, PkiError};
use crate::identity::{Identity, Role};
use crate::key::Signer;
use crate::leaf;
use crate::mint::{CLIENT_AUTH, Draft, SERVER_AUTH, subject};
use crate::{BACKDATE, DAY, unix_now};
use crux_names::BlocName;
use rustls::pki_types::CertificateDer;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use x509_cert::ext::pkix::KeyUsages;

const CERT: &str = "ca.pem";
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
    /// Life in days; 365 is usual for nodes and beacons, 90 for operators.
    pub days: u32,
    /// The administrator's labels, inherited by renewals.
    pub labels: BTreeMap<String, String>,
    /// `host:port` of fulcrums to dial first; written into the bundle's `crux.toml`.
    pub seeds: Vec<String>,
    /// The admission number: 1 unless an expelled node is let in again, see [`Ca::last_admission`].
    pub admission: u32,
}

impl IssueRequest {
    /// A request with the usual life, admission 1, no labels and no seeds.
    #[must_use]
    pub fn new(role: Role) -> Self {
        let days = if matches!(role, Role::Operator(_)) { 90 } else { 365 };
        Self { role, days, labels: BTreeMap::new(), seeds: Vec::new(), admission: 1 }
    }
}

/// A CA that is open for issuing, on disk or in memory only.
#[derive(Debug)]
pub struct Ca {
    bloc: BlocName,
    root: CertificateDer<'static>,
    not_after: u64,
    signer: Signer,
    dir: Option<PathBuf>,
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
        files::write_new(&dir.join(ISSUED), b"")?;
        ca.dir = Some(dir.to_owned());
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
            key_usage: Some(KeyUsages::KeyCertSign | KeyUsages::CRLSign),
            extended_key_usage: None,
            not_before: now.saturating_sub(BACKDATE),
            not_after,
            admission: None,
        };
        let root = root.sign(&signer.public_key(), &signer)?;
        Ok(Self { bloc, root, not_after, signer, dir: None, admissions: BTreeMap::new() })
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
        let text = String::from_utf8_lossy(&files::read(&issued, HINT)?).into_owned();
        let mut admissions = BTreeMap::new();
        for (number, line) in text.lines().enumerate() {
            let mut cells = line.split('\t');
            let row = cells
                .next()
                .zip(cells.next())
                .and_then(|(uri, admission)| Some((Identity::parse(uri).ok()?.role, admission.parse::<u32>().ok()?)));
            let (role, admission) = row.ok_or_else(|| {
                malformed(&issued, format!("line {} is damaged; repair it from a backup", number + 1))
            })?;
            let last = admissions.entry(role).or_insert(admission);
            *last = admission.max(*last);
        }
        let (_, not_after) = leaf::validity(&certificate);
        Ok(Self { bloc, root, not_after, signer, dir: Some(dir.to_owned()), admissions })
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

    /// Issues a bundle with a new key, valid from now (5 minutes back).
    ///
    /// # Errors
    /// [`PkiError::Request`] for a life over the cap, an admission of 0 or below one issued before, or unusable labels or
    /// seeds; [`PkiError::Write`] if it cannot be recorded.
    pub fn issue(&mut self, request: IssueRequest) -> Result<Bundle, PkiError> {
        self.issue_at(request, unix_now())
    }

    /// The same at another time (Unix seconds), for tests of expiry.
    ///
    /// # Errors
    /// As [`Ca::issue`].
    pub fn issue_at(&mut self, request: IssueRequest, now: u64) -> Result<Bundle, PkiError> {
        let IssueRequest { role, days, labels, seeds, admission } = request;
        let refuse = |cause: String| Err(PkiError::Request(cause));
        let kind = role.kind();
        if days == 0 || days > kind.max_days() {
            return refuse(format!("{days} days; a {kind} may have 1 to {} (`--days`)", kind.max_days()));
        }
        let not_after = now + u64::from(days) * DAY - BACKDATE;
        if not_after > self.not_after {
            return refuse("the certificate would outlive its root; choose fewer `--days` or make a new CA".to_owned());
        }
        let last = self.last_admission(&role).unwrap_or(1);
        if admission < last {
            return refuse(format!(
                "admission {admission} of {role}, but {last} was issued before; use {last} or more"
            ));
        }
        check_labels(&labels).map_err(|cause| PkiError::Request(format!("{cause} (`--label key=value`)")))?;
        let is_seed =
            |seed: &str| seed.rsplit_once(':').is_some_and(|(h, p)| !h.is_empty() && p.parse::<u16>().is_ok());
        if let Some(seed) = seeds.iter().find(|seed| !is_seed(seed)) {
            return refuse(format!("seed {seed:?} is not HOST:PORT (`--seed`)"));
        }

        let identity = Identity { bloc: self.bloc.clone(), role: role.clone() };
        let draft = Draft {
            subject: subject(self.bloc.as_str(), role.name()),
            issuer: Some(subject(self.bloc.as_str(), &format!("{} root", self.bloc))),
            uris: vec![identity.to_string()],
            ca: false,
            key_usage: Some(KeyUsages::DigitalSignature.into()),
            extended_key_usage: Some(vec![SERVER_AUTH, CLIENT_AUTH]),
            not_before: now.saturating_sub(BACKDATE),
            not_after,
            admission: Some(Admission { number: admission, labels }),
        };
        let signer = Signer::generate()?;
        let der = draft.sign(&signer.public_key(), &self.signer)?;
        self.record(&identity, admission, not_after)?;
        self.admissions.insert(role, admission);
        let settings = (!seeds.is_empty()).then(|| {
            let seeds: Vec<String> = seeds.iter().map(|seed| toml_string(seed)).collect();
            format!("# Written by `crux ca issue`: the fulcrums to dial first.\nseed = [{}]\n", seeds.join(", "))
        });
        Bundle::new(vec![der], signer, vec![self.root.clone()], settings)
    }

    /// Remembers what was issued before handing it out, so that admission numbers never go back.
    fn record(&self, identity: &Identity, admission: u32, not_after: u64) -> Result<(), PkiError> {
        let Some(dir) = &self.dir else { return Ok(()) };
        let path = dir.join(ISSUED);
        let line = format!("{identity}\t{admission}\t{not_after}\n");
        let file = std::fs::OpenOptions::new().append(true).open(&path);
        let written = file.and_then(|mut file| file.write_all(line.as_bytes()).and_then(|()| file.sync_all()));
        written.map_err(|cause| PkiError::Write { path, cause })
    }
}
