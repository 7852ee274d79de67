//! Private files: written once with mode 0600 in a directory of mode 0700, never over an existing one.

use crate::refusal::Refusal;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use thiserror::Error;
use x509_cert::der::pem::{self, LineEnding};

/// What can go wrong with bundles and the CA. Each text names the place, the cause and the next step.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PkiError {
    /// A file cannot be read.
    #[error("cannot read {path}: {cause}; {hint}", path = path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
        /// The next step.
        hint: &'static str,
    },
    /// A file or directory cannot be written.
    #[error("cannot write {path}: {cause}; choose a directory that you may write to", path = path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// Keys and certificates are never overwritten.
    #[error("{path} exists already and is not overwritten; choose another directory or move it away", path = path.display())]
    Exists {
        /// Which file.
        path: PathBuf,
    },
    /// A file is there, but holds something else.
    #[error("{path}: {cause}", path = path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// Cause and next step.
        cause: String,
    },
    /// A private key that others may read.
    #[error("{path} may be read by every user (mode {mode:03o}); run `chmod 600 {path}`", path = path.display())]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A certificate in a file breaks our rules.
    #[error("{path}: {refusal}", path = path.display())]
    Refused {
        /// Which file.
        path: PathBuf,
        /// Why.
        refusal: Refusal,
    },
    /// The roots cannot be used.
    #[error("the trust set is unusable: {0}; put the bloc's CA certificate into trust.pem")]
    Root(String),
    /// What was asked of the CA breaks its rules.
    #[error("cannot issue: {0}")]
    Request(String),
    /// No randomness or no key from the system.
    #[error("the system gave no key material; check that this machine has a working random source")]
    Random,
    /// A certificate or key could not be built.
    #[error("cannot build the certificate: {0}; this is a fault of crux, please report it")]
    Encode(String),
    /// TLS does not take the bundle.
    #[error("TLS refuses the bundle: {0}; issue it again with `crux ca issue`")]
    Tls(String),
}

pub(crate) fn read(path: &Path, hint: &'static str) -> Result<Vec<u8>, PkiError> {
    fs::read(path).map_err(|cause| PkiError::Read { path: path.to_owned(), cause, hint })
}

/// Reads a private key's file, after checking that not everybody may read it.
pub(crate) fn read_secret(path: &Path, hint: &'static str) -> Result<zeroize::Zeroizing<Vec<u8>>, PkiError> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let meta = fs::metadata(path).map_err(|cause| PkiError::Read { path: path.to_owned(), cause, hint })?;
        let mode = meta.permissions().mode() & 0o777;
        if mode & 0o007 != 0 {
            return Err(PkiError::Exposed { path: path.to_owned(), mode });
        }
    }
    read(path, hint).map(zeroize::Zeroizing::new)
}

/// Makes the directory (0700) if it is missing and checks that none of these files is in it.
pub(crate) fn prepare(dir: &Path, names: &[&str]) -> Result<(), PkiError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir).map_err(|cause| PkiError::Write { path: dir.to_owned(), cause })?;
    for name in names {
        let path = dir.join(name);
        if path.symlink_metadata().is_ok() {
            return Err(PkiError::Exists { path });
        }
    }
    Ok(())
}

/// Writes a new file (0600) and forces it to disk.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> Result<(), PkiError> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(path).and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    written.map_err(|cause| match cause.kind() {
        io::ErrorKind::AlreadyExists => PkiError::Exists { path: path.to_owned() },
        _ => PkiError::Write { path: path.to_owned(), cause },
    })
}

/// Certificates as PEM, in order.
pub(crate) fn certificates_to_pem(certificates: &[CertificateDer<'_>]) -> Result<String, PkiError> {
    let encode = |der: &CertificateDer<'_>| pem::encode_string("CERTIFICATE", LineEnding::LF, der);
    certificates.iter().map(encode).collect::<Result<String, _>>().map_err(|e| PkiError::Encode(e.to_string()))
}

/// Every certificate of a PEM text, in order; the error is the cause in words.
pub(crate) fn certificates_from_pem(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match certificates {
        Ok(found) if found.is_empty() => {
            Err("it holds no PEM certificate; copy the file again from `crux ca issue`".to_owned())
        }
        Ok(found) => Ok(found),
        Err(e) => Err(format!("it is damaged ({e:?}); copy the file again from `crux ca issue`")),
    }
}

pub(crate) fn read_certificates(path: &Path, hint: &'static str) -> Result<Vec<CertificateDer<'static>>, PkiError> {
    let text = read(path, hint)?;
    certificates_from_pem(&text).map_err(|cause| PkiError::Malformed { path: path.to_owned(), cause })
}
