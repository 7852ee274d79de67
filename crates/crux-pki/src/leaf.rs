//! Our own rules for a leaf, beside those of path validation: one SPIFFE URI, no CA, exact key usage, capped life, one of
//! two kinds of keys.

use crate::extension::{self, Admission};
use crate::identity::Identity;
use crate::key::PublicKey;
use crate::mint::{CLIENT_AUTH, SERVER_AUTH};
use crate::refusal::{Refusal, UriTrick};
use crate::{BUILD_DATE, CERTIFICATE_MAX, DAY};
use x509_cert::Certificate;
use x509_cert::der::asn1::{Any, ObjectIdentifier};
use x509_cert::der::oid::AssociatedOid;
use x509_cert::der::{Decode, Tag, Tagged};
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAltName};

/// id-Ed25519 (RFC 8410).
pub(crate) const ED25519_OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
/// id-ecPublicKey (RFC 5480).
pub(crate) const EC_OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
/// secp256r1 (RFC 5480).
pub(crate) const P256_OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
/// The tag of a URI among the alternative names (RFC 5280, `GeneralName`).
const URI_TAG: u32 = 6;

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
    if der.len() > CERTIFICATE_MAX {
        return Err(Refusal::TooLarge { bytes: der.len() });
    }
    Certificate::from_der(der).map_err(|e| unreadable(&e))
}

pub(crate) fn validity(certificate: &Certificate) -> (u64, u64) {
    let validity = certificate.tbs_certificate().validity();
    (validity.not_before.to_unix_duration().as_secs(), validity.not_after.to_unix_duration().as_secs())
}

fn unreadable(e: &dyn std::fmt::Display) -> Refusal {
    Refusal::Unreadable(e.to_string())
}

/// The only extension of this kind: its criticality and value.
fn extension(certificate: &Certificate, oid: ObjectIdentifier) -> Result<Option<(bool, &[u8])>, Refusal> {
    let all = certificate.tbs_certificate().extensions().map(Vec::as_slice).unwrap_or_default();
    let mut ours = all.iter().filter(|extension| extension.extn_id == oid);
    match (ours.next(), ours.next()) {
        (_, Some(_)) => Err(Refusal::Unreadable(format!("the extension {oid} is there twice"))),
        (first, None) => Ok(first.map(|found| (found.critical, found.extn_value.as_bytes()))),
    }
}

fn known<'a, T: Decode<'a> + AssociatedOid>(certificate: &'a Certificate) -> Result<Option<(bool, T)>, Refusal>
where
    <T as Decode<'a>>::Error: std::fmt::Display,
{
    let found = extension(certificate, T::OID)?;
    found.map(|(critical, value)| Ok((critical, T::from_der(value).map_err(|e| unreadable(&e))?))).transpose()
}

/// The only URI in the certificate. Other kinds of alternative names are left to other programs.
pub(crate) fn uri(certificate: &Certificate) -> Result<String, Refusal> {
    let Some((_, value)) = extension(certificate, SubjectAltName::OID)? else { return Err(Refusal::NoUri) };
    // Read as raw elements: the string type of URIs would refuse a look-alike as unreadable, without saying why.
    let names = Vec::<Any>::from_der(value).map_err(|e| unreadable(&e))?;
    let is_uri = |name: &&Any| matches!(name.tag(), Tag::ContextSpecific { number, .. } if number.value() == URI_TAG);
    let uris: Vec<&Any> = names.iter().filter(is_uri).collect();
    match uris[..] {
        [] => Err(Refusal::NoUri),
        [uri] => {
            let text = String::from_utf8_lossy(uri.value()).into_owned();
            if text.is_ascii() { Ok(text) } else { Err(Refusal::Trick { uri: text, trick: UriTrick::NotAscii }) }
        }
        _ => Err(Refusal::ManyUris(uris.len())),
    }
}

pub(crate) fn admission(certificate: &Certificate) -> Result<Admission, Refusal> {
    let twice = |_| Refusal::Extension("it is there twice");
    let ours = extension(certificate, extension::OID).map_err(twice)?;
    ours.map_or_else(|| Ok(Admission::default()), |(_, value)| Admission::decode(value))
}

pub(crate) fn is_ca(certificate: &Certificate) -> Result<bool, Refusal> {
    Ok(known::<BasicConstraints>(certificate)?.is_some_and(|(_, constraints)| constraints.ca))
}

fn check_usage(certificate: &Certificate) -> Result<(), Refusal> {
    match known::<KeyUsage>(certificate)? {
        None => return Err(Refusal::KeyUsage("there is none")),
        Some((false, _)) => return Err(Refusal::KeyUsage("it is not critical")),
        Some((true, usage)) if !usage.digital_signature() => return Err(Refusal::KeyUsage("no digitalSignature")),
        Some((true, usage)) if usage.key_cert_sign() || usage.crl_sign() => {
            return Err(Refusal::KeyUsage("it may sign certificates or CRLs"));
        }
        Some(_) => {}
    }
    match known::<ExtendedKeyUsage>(certificate)? {
        Some((_, usage)) if !usage.0.contains(&SERVER_AUTH) || !usage.0.contains(&CLIENT_AUTH) => {
            Err(Refusal::ExtendedKeyUsage)
        }
        _ => Ok(()),
    }
}

/// The algorithm of the certificate's key in words; an object identifier if it is none of ours.
pub(crate) fn key_algorithm(certificate: &Certificate) -> String {
    let algorithm = &certificate.tbs_certificate().subject_public_key_info().algorithm;
    let curve = algorithm.parameters.as_ref().and_then(|any| any.decode_as::<ObjectIdentifier>().ok());
    match (algorithm.oid.to_string().as_str(), curve.map(|oid| oid.to_string()).as_deref()) {
        ("1.3.101.112", _) => "Ed25519".to_owned(),
        ("1.3.101.113", _) => "Ed448".to_owned(),
        ("1.2.840.113549.1.1.1", _) => "RSA".to_owned(),
        ("1.2.840.10045.2.1", Some("1.2.840.10045.3.1.7")) => "P-256".to_owned(),
        ("1.2.840.10045.2.1", Some("1.3.132.0.34")) => "P-384".to_owned(),
        ("1.2.840.10045.2.1", Some("1.3.132.0.35")) => "P-521".to_owned(),
        (other, _) => other.to_owned(),
    }
}

/// The raw key, if it is of a kind that leaves may have; else the algorithm in words.
pub(crate) fn public_key(certificate: &Certificate) -> Result<PublicKey, Refusal> {
    let spki = certificate.tbs_certificate().subject_public_key_info();
    let bytes = spki.subject_public_key.as_bytes().unwrap_or_default();
    let curve = spki.algorithm.parameters.as_ref().and_then(|any| any.decode_as::<ObjectIdentifier>().ok());
    let key = match spki.algorithm.oid {
        ED25519_OID => bytes.try_into().ok().map(PublicKey::Ed25519),
        EC_OID if curve == Some(P256_OID) && bytes.first() == Some(&4) => bytes.try_into().ok().map(PublicKey::P256),
        _ => None,
    };
    key.ok_or_else(|| Refusal::KeyAlgorithm(key_algorithm(certificate)))
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
        if not_after < not_before {
            return Err(Refusal::NoLife);
        }
        let (role, days) = (identity.role.kind(), (not_after - not_before).div_ceil(DAY));
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
        return Err(Refusal::Expired { at: not_after, ago: now - not_after });
    }
    match not_before.saturating_sub(now) {
        0 => Ok(()),
        ahead @ 1..=DAY => Err(Refusal::NotYetValid { from: not_before, ahead }),
        behind => Err(Refusal::ClockWrong { than: "the certificate begins", behind }),
    }
}
