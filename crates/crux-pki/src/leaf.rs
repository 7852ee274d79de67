//! Our own rules for a leaf, beside those of path validation: one SPIFFE URI, no CA, exact key usage, capped life, Ed25519.

use crate::extension::{self, Admission};
use crate::identity::Identity;
use crate::key::PublicKey;
use crate::mint::{CLIENT_AUTH, SERVER_AUTH};
use crate::refusal::Refusal;
use crate::{BUILD_DATE, DAY};
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAltName};

/// id-Ed25519 (RFC 8410).
pub(crate) const ED25519_OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// What a leaf says, all rules but the dates and the path checked.
#[derive(Clone, Debug)]
pub(crate) struct Leaf {
    pub(crate) identity: Identity,
    pub(crate) admission: Admission,
    pub(crate) not_before: u64,
    pub(crate) not_after: u64,
    pub(crate) public_key: PublicKey,
}

pub(crate) fn decode(der: &[u8]) -> Result<Certificate, Refusal> {
    Certificate::from_der(der).map_err(|e| Refusal::Unreadable(e.to_string()))
}

pub(crate) fn validity(certificate: &Certificate) -> (u64, u64) {
    let validity = certificate.tbs_certificate().validity();
    (validity.not_before.to_unix_duration().as_secs(), validity.not_after.to_unix_duration().as_secs())
}

fn unreadable(e: &dyn std::fmt::Display) -> Refusal {
    Refusal::Unreadable(e.to_string())
}

/// The only URI in the certificate. Other kinds of alternative names are left to other programs.
pub(crate) fn uri(certificate: &Certificate) -> Result<String, Refusal> {
    let names = certificate.tbs_certificate().get_extension::<SubjectAltName>().map_err(|e| unreadable(&e))?;
    let names = names.map(|(_, names)| names.0).unwrap_or_default();
    let uris: Vec<&str> = (names.iter())
        .filter_map(|name| match name {
            GeneralName::UniformResourceIdentifier(uri) => Some(uri.as_str()),
            _ => None,
        })
        .collect();
    match uris[..] {
        [] => Err(Refusal::NoUri),
        [uri] => Ok(uri.to_owned()),
        _ => Err(Refusal::ManyUris(uris.len())),
    }
}

pub(crate) fn admission(certificate: &Certificate) -> Result<Admission, Refusal> {
    let extensions = certificate.tbs_certificate().extensions().map(Vec::as_slice).unwrap_or_default();
    let mut ours = extensions.iter().filter(|e| e.extn_id == extension::OID);
    match (ours.next(), ours.next()) {
        (None, _) => Ok(Admission::default()),
        (Some(only), None) => Admission::decode(only.extn_value.as_bytes()),
        (Some(_), Some(_)) => Err(Refusal::Extension("it is there twice")),
    }
}

pub(crate) fn is_ca(certificate: &Certificate) -> Result<bool, Refusal> {
    let constraints = certificate.tbs_certificate().get_extension::<BasicConstraints>().map_err(|e| unreadable(&e))?;
    Ok(constraints.is_some_and(|(_, constraints)| constraints.ca))
}

fn check_usage(certificate: &Certificate) -> Result<(), Refusal> {
    let tbs = certificate.tbs_certificate();
    match tbs.get_extension::<KeyUsage>().map_err(|e| unreadable(&e))? {
        None => return Err(Refusal::KeyUsage("there is none")),
        Some((false, _)) => return Err(Refusal::KeyUsage("it is not critical")),
        Some((true, usage)) if !usage.digital_signature() => return Err(Refusal::KeyUsage("no digitalSignature")),
        Some((true, usage)) if usage.key_cert_sign() || usage.crl_sign() => {
            return Err(Refusal::KeyUsage("it may sign certificates or CRLs"));
        }
        Some(_) => {}
    }
    match tbs.get_extension::<ExtendedKeyUsage>().map_err(|e| unreadable(&e))? {
        Some((_, usage)) if !usage.0.contains(&SERVER_AUTH) || !usage.0.contains(&CLIENT_AUTH) => {
            Err(Refusal::ExtendedKeyUsage)
        }
        _ => Ok(()),
    }
}

/// The raw key, if it is Ed25519; else the algorithm in words.
pub(crate) fn public_key(certificate: &Certificate) -> Result<PublicKey, Refusal> {
    let spki = certificate.tbs_certificate().subject_public_key_info();
    let key: Option<PublicKey> = spki.subject_public_key.as_bytes().and_then(|bytes| bytes.try_into().ok());
    match key {
        Some(key) if spki.algorithm.oid == ED25519_OID => Ok(key),
        _ => Err(Refusal::KeyAlgorithm(spki.algorithm.oid.to_string())),
    }
}

impl Leaf {
    /// Everything that can be judged from the leaf alone, without the clock.
    pub(crate) fn read(der: &[u8]) -> Result<Self, Refusal> {
        let certificate = decode(der)?;
        if is_ca(&certificate)? {
            return Err(Refusal::CaAsLeaf);
        }
        let identity = Identity::parse(&uri(&certificate)?)?;
        check_usage(&certificate)?;
        let public_key = public_key(&certificate)?;
        let admission = admission(&certificate)?;
        let (not_before, not_after) = validity(&certificate);
        let (role, days) = (identity.role.kind(), not_after.saturating_sub(not_before).div_ceil(DAY));
        if days > u64::from(role.max_days()) {
            return Err(Refusal::TooLong { role, days, max: role.max_days() });
        }
        Ok(Self { identity, admission, not_before, not_after, public_key })
    }

    /// Whether the leaf is valid now, in Unix seconds.
    pub(crate) fn check_dates(&self, now: u64) -> Result<(), Refusal> {
        check_dates(self.not_before, self.not_after, now)
    }
}

pub(crate) fn check_dates(not_before: u64, not_after: u64, now: u64) -> Result<(), Refusal> {
    if now < BUILD_DATE {
        return Err(Refusal::ClockWrong { than: "this release was built", behind: BUILD_DATE - now });
    }
    if now > not_after {
        return Err(Refusal::Expired { ago: now - not_after });
    }
    match not_before.saturating_sub(now) {
        0 => Ok(()),
        ahead @ 1..=DAY => Err(Refusal::NotYetValid { ahead }),
        behind => Err(Refusal::ClockWrong { than: "the certificate begins", behind }),
    }
}
