//! Keys: making, storing as PKCS#8, signing with a context, deriving secrets that live as long as the key.
//!
//! What crux makes is Ed25519, but for programs, some of which read nothing but P-256. Certificates of another CA may
//! come with either kind.

use crate::files::PkiError;
use aws_lc_rs::encoding::{AsBigEndian, Curve25519SeedBin, EcPrivateKeyBin};
use aws_lc_rs::hkdf;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
    UnparsedPublicKey,
};
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::sync::Arc;
use x509_cert::der::pem::{self, LineEnding};
use zeroize::Zeroizing;

/// A public key of one of the two kinds that leaves may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PublicKey {
    /// Ed25519 (RFC 8032).
    Ed25519([u8; 32]),
    /// ECDSA on P-256: the point, uncompressed.
    P256([u8; 65]),
}

impl PublicKey {
    /// The algorithm's name: `Ed25519` or `P-256`.
    #[must_use]
    pub const fn algorithm(&self) -> &'static str {
        match self {
            Self::Ed25519(_) => "Ed25519",
            Self::P256(_) => "P-256",
        }
    }

    /// The bytes as they stand in a certificate.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Ed25519(bytes) => bytes,
            Self::P256(bytes) => bytes,
        }
    }
}

/// DER of a PKCS#8 v1 `PrivateKeyInfo` for Ed25519 up to the 32 bytes of the seed. Version 1, without the public key,
/// because some readers (Python's) take no other.
const PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// The order n of P-256's group, and n/2 rounded down (SEC 2, 2.4.2).
const P256_ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa, 0xad, 0xa7,
    0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];
const P256_HALF: [u8; 32] = [
    0x7f, 0xff, 0xff, 0xff, 0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xde, 0x73, 0x7d, 0x56,
    0xd3, 0x8b, 0xcf, 0x42, 0x79, 0xdc, 0xe5, 0x61, 0x7e, 0x31, 0x92, 0xa8,
];

enum Pair {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair),
}

/// Signs opaque bytes with the key of a bundle. Cheap to clone.
#[derive(Clone)]
pub struct Signer {
    pair: Arc<Pair>,
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
///
/// Of the two signatures that can be made out of one on P-256, only the one with the smaller `s` counts: nobody can make
/// a second one from a first.
#[must_use]
pub fn verify_signature(public_key: &PublicKey, context: &str, bytes: &[u8], signature: &[u8]) -> bool {
    let message = framed(context, bytes);
    match public_key {
        PublicKey::Ed25519(key) => UnparsedPublicKey::new(&ED25519, key).verify(&message, signature).is_ok(),
        PublicKey::P256(key) => {
            signature.get(32..).is_some_and(|s| *s <= P256_HALF[..])
                && UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key).verify(&message, signature).is_ok()
        }
    }
}

/// Replaces `s` by `n - s` where it is the larger one: equally valid, and the only form that we accept.
fn lower_s(signature: &mut [u8; 64]) {
    if signature[32..] <= P256_HALF[..] {
        return;
    }
    let mut borrow = 0;
    for i in (0..32).rev() {
        let left = i16::from(P256_ORDER[i]) - i16::from(signature[32 + i]) - borrow;
        borrow = i16::from(left < 0);
        signature[32 + i] = (left & 0xff) as u8;
    }
}

impl Signer {
    pub(crate) fn generate() -> Result<Self, PkiError> {
        let pair = Ed25519KeyPair::generate().map_err(|_| PkiError::Random)?;
        Ok(Self { pair: Arc::new(Pair::Ed25519(pair)) })
    }

    pub(crate) fn generate_p256() -> Result<Self, PkiError> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(|_| PkiError::Random)?;
        Ok(Self { pair: Arc::new(Pair::P256(pair)) })
    }

    /// Signs the bytes for this purpose only.
    #[must_use]
    pub fn sign(&self, context: &str, bytes: &[u8]) -> [u8; 64] {
        self.sign_raw(&framed(context, bytes))
    }

    pub(crate) fn sign_raw(&self, message: &[u8]) -> [u8; 64] {
        match &*self.pair {
            Pair::Ed25519(pair) => pair.sign(message).as_ref().try_into().expect("an Ed25519 signature has 64 bytes"),
            Pair::P256(pair) => {
                let signature = pair.sign(&SystemRandom::new(), message).expect("a key that this process holds signs");
                let mut signature = signature.as_ref().try_into().expect("a fixed P-256 signature has 64 bytes");
                lower_s(&mut signature);
                signature
            }
        }
    }

    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        match &*self.pair {
            Pair::Ed25519(pair) => {
                PublicKey::Ed25519(pair.public_key().as_ref().try_into().expect("an Ed25519 key has 32 bytes"))
            }
            Pair::P256(pair) => {
                PublicKey::P256(pair.public_key().as_ref().try_into().expect("an uncompressed P-256 key has 65 bytes"))
            }
        }
    }

    /// The secret number itself.
    fn seed(&self) -> Result<Zeroizing<Vec<u8>>, PkiError> {
        let bytes = match &*self.pair {
            Pair::Ed25519(pair) => {
                let seed = pair.seed().map_err(|_| PkiError::Random)?;
                let bytes: Curve25519SeedBin<'static> = seed.as_be_bytes().map_err(|_| PkiError::Random)?;
                bytes.as_ref().to_vec()
            }
            Pair::P256(pair) => {
                let bytes: EcPrivateKeyBin<'static> = pair.private_key().as_be_bytes().map_err(|_| PkiError::Random)?;
                bytes.as_ref().to_vec()
            }
        };
        Ok(Zeroizing::new(bytes))
    }

    pub(crate) fn pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, PkiError> {
        match &*self.pair {
            Pair::Ed25519(_) => {
                let mut der = Zeroizing::new(Vec::with_capacity(PKCS8_PREFIX.len() + 32));
                der.extend(PKCS8_PREFIX);
                der.extend(self.seed()?.iter());
                Ok(der)
            }
            Pair::P256(pair) => {
                let document = pair.to_pkcs8v1().map_err(|_| PkiError::Random)?;
                Ok(Zeroizing::new(document.as_ref().to_vec()))
            }
        }
    }

    pub(crate) fn to_pem(&self) -> Result<Zeroizing<String>, PkiError> {
        let text = pem::encode_string("PRIVATE KEY", LineEnding::LF, &self.pkcs8()?);
        text.map(Zeroizing::new).map_err(|e| PkiError::Encode(e.to_string()))
    }

    /// Reads the first private key of a PEM text, PKCS#8 or for P-256 also SEC 1; the error is the cause in words.
    pub(crate) fn from_pem(text: &[u8]) -> Result<Self, String> {
        let der = PrivateKeyDer::from_pem_slice(text).map_err(|e| match e {
            _ if text.windows(21).any(|bytes| bytes == b"ENCRYPTED PRIVATE KEY") => {
                "it is encrypted; store the key without a passphrase, in a file of mode 0600".to_owned()
            }
            PemError::NoItemsFound => {
                "it holds no PEM private key (\"PRIVATE KEY\"); copy the file again from the bundle".to_owned()
            }
            _ => "it is damaged PEM; copy the file again from the bundle".to_owned(),
        })?;
        let pair = match &der {
            PrivateKeyDer::Pkcs8(der) => {
                let der = der.secret_pkcs8_der();
                let ed25519 = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map(Pair::Ed25519);
                ed25519
                    .or_else(|_| EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der).map(Pair::P256))
                    .ok()
            }
            PrivateKeyDer::Sec1(der) => {
                let der = der.secret_sec1_der();
                EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_FIXED_SIGNING, der).map(Pair::P256).ok()
            }
            _ => None,
        };
        let pair = pair.ok_or("it holds neither an Ed25519 nor a P-256 key; make one with `crux ca issue`")?;
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

    fn both() -> [Signer; 2] {
        [Signer::generate().unwrap(), Signer::generate_p256().unwrap()]
    }

    #[test]
    fn a_signature_holds_for_its_bytes_context_and_key_only() {
        for signer in both() {
            let signature = signer.sign("fact", b"bytes");
            let key = signer.public_key();
            assert!(verify_signature(&key, "fact", b"bytes", &signature));
            assert!(!verify_signature(&key, "fac", b"tbytes", &signature));
            assert!(!verify_signature(&key, "fact", b"byteS", &signature));
            assert!(!verify_signature(&key, "fact", b"bytes", &signature[..63]));
            assert!(!verify_signature(&key, "fact", b"bytes", &signature[..31]));
            for other in both() {
                assert!(!verify_signature(&other.public_key(), "fact", b"bytes", &signature));
            }
        }
    }

    #[test]
    fn no_second_signature_can_be_made_from_a_first() {
        let signer = Signer::generate_p256().unwrap();
        for n in 0..32_u8 {
            let signature = signer.sign("fact", &[n]);
            assert!(signature[32..] <= P256_HALF[..]);
            let mut other = signature;
            let mut borrow = 0;
            for i in (0..32).rev() {
                let left = i16::from(P256_ORDER[i]) - i16::from(other[32 + i]) - borrow;
                borrow = i16::from(left < 0);
                other[32 + i] = (left & 0xff) as u8;
            }
            let PublicKey::P256(key) = signer.public_key() else { panic!("a P-256 key") };
            let plain = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key);
            plain.verify(&framed("fact", &[n]), &other).expect("by itself it would be valid");
            assert!(!verify_signature(&signer.public_key(), "fact", &[n], &other));
        }
    }

    #[test]
    fn a_key_survives_its_file_and_derives_the_same_secrets() {
        for signer in both() {
            let again = Signer::from_pem(signer.to_pem().unwrap().as_bytes()).unwrap();
            assert_eq!(signer.public_key(), again.public_key());
            assert_eq!(signer.derive("reset"), again.derive("reset"));
            assert_ne!(signer.derive("reset"), signer.derive("cid"));
            assert_ne!(signer.derive("reset"), Signer::generate().unwrap().derive("reset"));
        }
    }

    #[test]
    fn other_files_are_refused_with_the_cause() {
        let refusal = |text: &[u8]| Signer::from_pem(text).unwrap_err();
        assert!(refusal(b"hello").contains("no PEM private key"));
        let pem = |label: &str| pem::encode_string(label, LineEnding::LF, b"x").unwrap();
        assert!(refusal(pem("CERTIFICATE").as_bytes()).contains("no PEM private key"));
        assert!(refusal(pem("ENCRYPTED PRIVATE KEY").as_bytes()).contains("encrypted"));
        for label in ["PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY"] {
            assert!(refusal(pem(label).as_bytes()).contains("neither an Ed25519 nor a P-256 key"), "{label}");
        }
        let text = Signer::generate().unwrap().to_pem().unwrap();
        assert!(refusal(&text.as_bytes()[..40]).contains("damaged PEM"), "{}", refusal(&text.as_bytes()[..40]));
    }
}
