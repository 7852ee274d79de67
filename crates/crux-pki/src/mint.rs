//! Building certificates. A [`Draft`] can describe wrong ones too: the tests need them; only [`crate::Ca`] is public.

use crate::extension::Admission;
use crate::files::PkiError;
use crate::key::{PublicKey, Signer};
use aws_lc_rs::{digest, rand};
use rustls::pki_types::CertificateDer;
use std::str::FromStr;
use std::time::{Duration, UNIX_EPOCH};
use x509_cert::builder::profile::BuilderProfile;
use x509_cert::builder::{Builder, CertificateBuilder};
use x509_cert::der::asn1::{BitString, Ia5String, ObjectIdentifier, OctetString};
use x509_cert::der::flagset::FlagSet;
use x509_cert::der::{self, Encode};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectAltName,
    SubjectKeyIdentifier,
};
use x509_cert::ext::{Extension, ToExtension};
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::{EncodePublicKey, SubjectPublicKeyInfoRef};
use x509_cert::time::{Time, Validity};
use x509_cert::{TbsCertificate, spki};

pub(crate) const SERVER_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1");
pub(crate) const CLIENT_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2");

/// DER of `SubjectPublicKeyInfo` for Ed25519 (RFC 8410) up to the 32 bytes of the key.
const ED25519_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// The same for P-256 (RFC 5480) up to the 65 bytes of the point.
const P256_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// Longest common name (X.520, `ub-common-name`), in bytes.
const CN_MAX: usize = 64;

/// The public half as x509-cert wants it.
#[derive(Clone)]
struct VerifyingKey(PublicKey);

impl EncodePublicKey for VerifyingKey {
    fn to_public_key_der(&self) -> spki::Result<der::Document> {
        let prefix = match self.0 {
            PublicKey::Ed25519(_) => &ED25519_PREFIX[..],
            PublicKey::P256(_) => &P256_PREFIX,
        };
        let der = [prefix, self.0.as_bytes()].concat();
        Ok(der::Document::try_from(der)?)
    }
}

/// A signer as x509-cert wants it.
struct Issuer<'a>(&'a Signer);

impl signature::Keypair for Issuer<'_> {
    type VerifyingKey = VerifyingKey;
    fn verifying_key(&self) -> VerifyingKey {
        VerifyingKey(self.0.public_key())
    }
}

impl spki::DynSignatureAlgorithmIdentifier for Issuer<'_> {
    fn signature_algorithm_identifier(&self) -> spki::Result<spki::AlgorithmIdentifierOwned> {
        Ok(spki::AlgorithmIdentifierOwned { oid: crate::leaf::ED25519_OID, parameters: None })
    }
}

/// Everything that goes into one certificate.
#[derive(Clone)]
pub(crate) struct Draft {
    pub(crate) subject: String,
    pub(crate) issuer: Option<String>,
    pub(crate) uris: Vec<String>,
    pub(crate) ca: bool,
    /// For a CA: how many CAs may stand below it.
    pub(crate) path_length: Option<u8>,
    pub(crate) key_usage: Option<FlagSet<KeyUsages>>,
    pub(crate) extended_key_usage: Option<Vec<ObjectIdentifier>>,
    pub(crate) not_before: u64,
    pub(crate) not_after: u64,
    pub(crate) admission: Option<Admission>,
    /// Further extensions, as they are.
    pub(crate) extra: Vec<Extension>,
}

/// `CN=<name>` under the bloc as domain components, in the order people read. A name that is too long for a common name
/// keeps its first labels: a subject is for people and decides nothing.
pub(crate) fn subject(bloc: &str, name: &str) -> String {
    let mut short = name;
    while short.len() > CN_MAX {
        short = short.rsplit_once('.').map_or(&short[..CN_MAX], |(front, _)| front);
    }
    let mut text = format!("CN={short}");
    for label in bloc.split('.') {
        text.push_str(",DC=");
        text.push_str(label);
    }
    text
}

fn key_id(key: &[u8]) -> der::Result<OctetString> {
    // RFC 7093: the leftmost 160 bits of SHA-256.
    OctetString::new(&digest::digest(&digest::SHA256, key).as_ref()[..20])
}

struct Profile {
    draft: Draft,
    subject: Name,
    issuer: Name,
}

impl BuilderProfile for Profile {
    fn get_issuer(&self, _subject: &Name) -> Name {
        self.issuer.clone()
    }

    fn get_subject(&self) -> Name {
        self.subject.clone()
    }

    fn build_extensions(
        &self,
        spk: SubjectPublicKeyInfoRef<'_>,
        issuer_spk: SubjectPublicKeyInfoRef<'_>,
        tbs: &TbsCertificate,
    ) -> x509_cert::builder::Result<Vec<Extension>> {
        let mut extensions: Vec<Extension> = Vec::new();
        macro_rules! add {
            ($extension:expr) => {{
                let extension = $extension.to_extension(tbs.subject(), &extensions)?;
                extensions.push(extension);
            }};
        }
        add!(&SubjectKeyIdentifier(key_id(spk.subject_public_key.raw_bytes())?));
        add!(&AuthorityKeyIdentifier {
            key_identifier: Some(key_id(issuer_spk.subject_public_key.raw_bytes())?),
            ..Default::default()
        });
        add!(&BasicConstraints { ca: self.draft.ca, path_len_constraint: self.draft.path_length });
        if let Some(usage) = self.draft.key_usage {
            add!(&KeyUsage(usage));
        }
        if let Some(purposes) = &self.draft.extended_key_usage {
            add!(&ExtendedKeyUsage(purposes.clone()));
        }
        if !self.draft.uris.is_empty() {
            let uris: der::Result<Vec<GeneralName>> = (self.draft.uris.iter())
                .map(|uri| Ok(GeneralName::UniformResourceIdentifier(Ia5String::new(uri)?)))
                .collect();
            add!(&SubjectAltName(uris?));
        }
        if let Some(admission) = &self.draft.admission {
            extensions.push(admission.encode()?);
        }
        extensions.extend(self.draft.extra.iter().cloned());
        Ok(extensions)
    }
}

fn time(secs: u64) -> der::Result<Time> {
    Time::try_from(UNIX_EPOCH + Duration::from_secs(secs))
}

impl Draft {
    /// The certificate for this key, signed by this one.
    pub(crate) fn sign(self, key: &PublicKey, signer: &Signer) -> Result<CertificateDer<'static>, PkiError> {
        self.try_sign(key, signer).map_err(|e| PkiError::Encode(e.to_string()))
    }

    fn try_sign(self, key: &PublicKey, signer: &Signer) -> x509_cert::builder::Result<CertificateDer<'static>> {
        let mut serial = [0; 16];
        rand::fill(&mut serial).map_err(|_| der::ErrorKind::Failed.to_error())?;
        serial[0] = serial[0] & 0x7f | 0x40; // Positive, and always of the same length.
        let validity = Validity::new(time(self.not_before)?, time(self.not_after)?);
        let subject = Name::from_str(&self.subject)?;
        let issuer = self.issuer.as_deref().map_or_else(|| Ok(subject.clone()), Name::from_str)?;
        let spki_der = VerifyingKey(*key).to_public_key_der()?;
        let spki = spki_der.decode_msg::<spki::SubjectPublicKeyInfoOwned>()?;
        let profile = Profile { draft: self, subject, issuer };
        let mut builder = CertificateBuilder::new(profile, SerialNumber::new(&serial)?, validity, spki)?;
        let to_sign = builder.finalize(&Issuer(signer))?;
        let signature = BitString::from_bytes(&signer.sign_raw(&to_sign))?;
        Ok(CertificateDer::from(builder.assemble(signature, &Issuer(signer))?.to_der()?))
    }
}
