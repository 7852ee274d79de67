//! Ed25519 keys: making, storing as PKCS#8, signing with a context, deriving secrets that live as long as the key.

use crate::files::PkiError;
use aws_lc_rs::hkdf;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::sync::Arc;
use x509_cert::der::pem::{self, LineEnding};
use zeroize::Zeroizing;

/// An Ed25519 public key.
pub type PublicKey = [u8; 32];

/// DER of a PKCS#8 v1 `PrivateKeyInfo` for Ed25519 up to the 32 bytes of the seed. Version 1, without the public key,
/// because some readers (Python's) take no other.
const PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// Signs opaque bytes with the key of a bundle. Cheap to clone.
#[derive(Clone)]
pub struct Signer {
    pair: Arc<Ed25519KeyPair>,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer(..)")
    }
}

/// What is really signed: a signature made for one purpose is worth nothing for another.
fn framed(context: &str, bytes: &[u8]) -> Vec<u8> {
    let mut message = b"crux signature 1\0".to_vec();
    message.extend((context.len() as u64).to_be_bytes());
    message.extend(context.as_bytes());
    message.extend(bytes);
    message
}

/// Whether `signature` is `public_key`'s over exactly these bytes in this context.
#[must_use]
pub fn verify_signature(public_key: &PublicKey, context: &str, bytes: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, public_key).verify(&framed(context, bytes), signature).is_ok()
}

impl Signer {
    pub(crate) fn generate() -> Result<Self, PkiError> {
        let pair = Ed25519KeyPair::generate().map_err(|_| PkiError::Random)?;
        Ok(Self { pair: Arc::new(pair) })
    }

    /// Signs the bytes for this purpose only.
    #[must_use]
    pub fn sign(&self, context: &str, bytes: &[u8]) -> [u8; 64] {
        self.sign_raw(&framed(context, bytes))
    }

    pub(crate) fn sign_raw(&self, message: &[u8]) -> [u8; 64] {
        self.pair.sign(message).as_ref().try_into().expect("an Ed25519 signature has 64 bytes")
    }

    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        self.pair.public_key().as_ref().try_into().expect("an Ed25519 key has 32 bytes")
    }

    fn seed(&self) -> Result<Zeroizing<Vec<u8>>, PkiError> {
        use aws_lc_rs::encoding::AsBigEndian;
        let seed = self.pair.seed().map_err(|_| PkiError::Random)?;
        let bytes: aws_lc_rs::encoding::Curve25519SeedBin<'static> =
            seed.as_be_bytes().map_err(|_| PkiError::Random)?;
        Ok(Zeroizing::new(bytes.as_ref().to_vec()))
    }

    pub(crate) fn pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, PkiError> {
        let mut der = Zeroizing::new(Vec::with_capacity(PKCS8_PREFIX.len() + 32));
        der.extend(PKCS8_PREFIX);
        der.extend(self.seed()?.iter());
        Ok(der)
    }

    pub(crate) fn to_pem(&self) -> Result<Zeroizing<String>, PkiError> {
        let text = pem::encode_string("PRIVATE KEY", LineEnding::LF, &self.pkcs8()?);
        text.map(Zeroizing::new).map_err(|e| PkiError::Encode(e.to_string()))
    }

    /// Reads a PKCS#8 PEM; the error is the cause in words.
    pub(crate) fn from_pem(text: &[u8]) -> Result<Self, String> {
        let (label, der) = pem::decode_vec(text).map_err(|e| format!("it is not PEM: {e}"))?;
        let der = Zeroizing::new(der);
        if label != "PRIVATE KEY" {
            return Err(format!("it holds a {label:?}, not an unencrypted PKCS#8 \"PRIVATE KEY\""));
        }
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der)
            .map_err(|e| format!("it holds no Ed25519 key ({e}); make one with `crux ca issue`"))?;
        Ok(Self { pair: Arc::new(pair) })
    }

    pub(crate) fn rustls_key(&self) -> Result<PrivateKeyDer<'static>, PkiError> {
        Ok(PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.pkcs8()?.to_vec())))
    }

    /// A secret that only the owner of this key can compute, the same after every restart; one per label.
    pub(crate) fn derive(&self, label: &str) -> [u8; 32] {
        struct Len;
        impl hkdf::KeyType for Len {
            fn len(&self) -> usize {
                32
            }
        }
        let seed = self.seed().expect("the seed of a key that this process holds");
        let key = hkdf::Salt::new(hkdf::HKDF_SHA256, b"crux derived key 1").extract(&seed);
        let mut secret = [0; 32];
        let info = [label.as_bytes()];
        key.expand(&info, Len).and_then(|okm| okm.fill(&mut secret)).expect("HKDF gives 32 bytes");
        secret
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_holds_for_its_bytes_context_and_key_only() {
        let signer = Signer::generate().unwrap();
        let signature = signer.sign("fact", b"bytes");
        let key = signer.public_key();
        assert!(verify_signature(&key, "fact", b"bytes", &signature));
        assert!(!verify_signature(&key, "fac", b"tbytes", &signature));
        assert!(!verify_signature(&key, "fact", b"byteS", &signature));
        assert!(!verify_signature(&key, "fact", b"bytes", &signature[..63]));
        assert!(!verify_signature(&Signer::generate().unwrap().public_key(), "fact", b"bytes", &signature));
    }

    #[test]
    fn a_key_survives_its_file_and_derives_the_same_secrets() {
        let signer = Signer::generate().unwrap();
        let again = Signer::from_pem(signer.to_pem().unwrap().as_bytes()).unwrap();
        assert_eq!(signer.public_key(), again.public_key());
        assert_eq!(signer.derive("reset"), again.derive("reset"));
        assert_ne!(signer.derive("reset"), signer.derive("cid"));
        assert_ne!(signer.derive("reset"), Signer::generate().unwrap().derive("reset"));
    }

    #[test]
    fn other_files_are_refused_with_the_cause() {
        assert!(Signer::from_pem(b"hello").unwrap_err().contains("not PEM"));
        let cert = pem::encode_string("CERTIFICATE", LineEnding::LF, b"x").unwrap();
        assert!(Signer::from_pem(cert.as_bytes()).unwrap_err().contains("CERTIFICATE"));
        let junk = pem::encode_string("PRIVATE KEY", LineEnding::LF, b"x").unwrap();
        assert!(Signer::from_pem(junk.as_bytes()).unwrap_err().contains("no Ed25519 key"));
    }
}
