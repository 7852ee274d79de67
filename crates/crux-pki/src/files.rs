//! Private files: written with mode 0600 in a directory of mode 0700, never over an existing one unless that is asked for.

use crate::refusal::Refusal;
use crate::tar;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self as pem_text, PemObject};
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
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
    #[error("{path} may be {} (mode {mode:03o}); run `chmod 600 {path}`", exposure(*mode), path = path.display())]
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
    /// A newer bundle may not take the place of the one in use, or a root that has to stay may not go.
    #[error("{0}")]
    Unfit(String),
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

const fn exposure(mode: u32) -> &'static str {
    if mode & 0o007 != 0 { "read by every user" } else { "written by a group" }
}

/// Largest file of a bundle or a CA that is read, in bytes.
const FILE_MAX: u64 = tar::TAR_MAX as u64;

pub(crate) fn read(path: &Path, hint: &'static str) -> Result<Vec<u8>, PkiError> {
    let unreadable = |cause| PkiError::Read { path: path.to_owned(), cause, hint };
    let file = fs::File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(FILE_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_MAX {
        let cause = format!("it has more than {FILE_MAX} bytes, so it is not what it should be; {hint}");
        return Err(PkiError::Malformed { path: path.to_owned(), cause });
    }
    Ok(bytes)
}

/// That not everybody may read a file with a private key, nor a group write it.
fn check_private(path: &Path, hint: &'static str) -> Result<(), PkiError> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let meta = fs::metadata(path).map_err(|cause| PkiError::Read { path: path.to_owned(), cause, hint })?;
        let mode = meta.permissions().mode() & 0o777;
        // Reading by a group is left to the administrator: that is how service managers and container mounts give files.
        if mode & 0o027 != 0 {
            return Err(PkiError::Exposed { path: path.to_owned(), mode });
        }
    }
    Ok(())
}

/// Reads a private key's file, after checking that not everybody may read it.
pub(crate) fn read_secret(path: &Path, hint: &'static str) -> Result<zeroize::Zeroizing<Vec<u8>>, PkiError> {
    check_private(path, hint)?;
    read(path, hint).map(zeroize::Zeroizing::new)
}

/// Where a bundle's files lie: a directory, or a tar archive that was read into memory.
pub(crate) enum Source {
    Directory(PathBuf),
    Archive(PathBuf, BTreeMap<String, Vec<u8>>),
}

impl Source {
    /// Looks at a path: a directory is one, and anything else is an archive or nothing.
    pub(crate) fn open(path: &Path, hint: &'static str) -> Result<Self, PkiError> {
        match fs::metadata(path) {
            Ok(meta) if !meta.is_dir() => {
                let bytes = read(path, hint)?;
                Self::archive(path, &bytes, hint)
            }
            _ => Ok(Self::Directory(path.to_owned())),
        }
    }

    pub(crate) fn archive(path: &Path, bytes: &[u8], hint: &'static str) -> Result<Self, PkiError> {
        let malformed = |cause| PkiError::Malformed { path: path.to_owned(), cause };
        if !tar::is_tar(bytes) && tar::compression(bytes).is_none() {
            let cause = if bytes.is_empty() { "it is empty" } else { "it is neither a directory nor a tar archive" };
            return Err(malformed(format!("{cause}; {hint}")));
        }
        Ok(Self::Archive(path.to_owned(), tar::read(bytes).map_err(malformed)?))
    }

    /// What one of its files is called in errors.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        let (Self::Directory(path) | Self::Archive(path, _)) = self;
        path.join(name)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        match self {
            Self::Directory(dir) => dir.join(name).exists(),
            Self::Archive(_, files) => files.contains_key(name),
        }
    }

    pub(crate) fn read(&self, name: &str, hint: &'static str) -> Result<Vec<u8>, PkiError> {
        match self {
            Self::Directory(dir) => read(&dir.join(name), hint),
            Self::Archive(_, files) => files.get(name).cloned().ok_or_else(|| PkiError::Read {
                path: self.path(name),
                cause: io::Error::new(io::ErrorKind::NotFound, "it is not in the archive"),
                hint,
            }),
        }
    }

    /// A file with a private key. Of an archive, the archive's own mode counts.
    pub(crate) fn read_secret(&self, name: &str, hint: &'static str) -> Result<zeroize::Zeroizing<Vec<u8>>, PkiError> {
        match self {
            Self::Directory(dir) => read_secret(&dir.join(name), hint),
            Self::Archive(path, _) => {
                check_private(path, hint)?;
                self.read(name, hint).map(zeroize::Zeroizing::new)
            }
        }
    }

    pub(crate) fn certificates(
        &self,
        name: &str,
        hint: &'static str,
    ) -> Result<Vec<CertificateDer<'static>>, PkiError> {
        let text = self.read(name, hint)?;
        certificates_from_pem(&text).map_err(|cause| PkiError::Malformed { path: self.path(name), cause })
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        if let Self::Archive(_, files) = self {
            files.values_mut().for_each(zeroize::Zeroize::zeroize);
        }
    }
}

/// Puts a file in the place of an old one in one step: whoever reads sees the one or the other.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), PkiError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let beside = path.with_file_name(name);
    write_new(&beside, bytes)?;
    let moved = fs::rename(&beside, path);
    if moved.is_err() {
        // The error is told below; what is left behind is only clutter.
        let _ = fs::remove_file(&beside);
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let synced = moved.and_then(|()| fs::File::open(folder).and_then(|folder| folder.sync_all()));
    synced.map_err(|cause| PkiError::Write { path: path.to_owned(), cause })
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

/// Most certificates of one file.
const CERTIFICATES_MAX: usize = 64;

/// Every certificate of a PEM text, in order; the error is the cause in words.
pub(crate) fn certificates_from_pem(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).take(CERTIFICATES_MAX + 1).collect();
    match certificates {
        Ok(found) if found.len() > CERTIFICATES_MAX => {
            Err(format!("it holds more than {CERTIFICATES_MAX} certificates; keep those that are needed"))
        }
        Ok(found) if found.is_empty() => {
            Err("it holds no PEM certificate; copy the file again from `crux ca issue`".to_owned())
        }
        Ok(found) => Ok(found),
        Err(e) => Err(format!("it is damaged: {}; copy the file again from `crux ca issue`", damage(&e))),
    }
}

/// Every certificate of a PEM text that somebody else wrote.
///
/// # Errors
/// The cause in words.
pub fn certificates_of_pem(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    certificates_from_pem(text)
}

/// What is wrong with a PEM text, in words.
fn damage(error: &pem_text::Error) -> String {
    match error {
        pem_text::Error::MissingSectionEnd { .. } => "it ends in the middle of a certificate".to_owned(),
        pem_text::Error::IllegalSectionStart { .. } => "a line that begins a certificate is broken".to_owned(),
        pem_text::Error::Base64Decode(_) => "a certificate in it is no base64".to_owned(),
        other => other.to_string(),
    }
}

/// Every certificate of a PEM text, or the one of a DER file.
pub(crate) fn certificates_from_any(bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    const SEQUENCE: u8 = 0x30;
    match bytes.first() {
        Some(&SEQUENCE) => Ok(vec![CertificateDer::from(bytes.to_vec())]),
        None => Err("it is empty; give a bundle, or a PEM or DER certificate".to_owned()),
        Some(_)
            if bytes.windows(12).any(|text| text == b"PRIVATE KEY-")
                && !bytes.windows(12).any(|text| text == b"CERTIFICATE-") =>
        {
            Err("it holds a private key, which is never shown; give the cert.pem beside it".to_owned())
        }
        Some(_) => certificates_from_pem(bytes),
    }
}

pub(crate) fn read_certificates(path: &Path, hint: &'static str) -> Result<Vec<CertificateDer<'static>>, PkiError> {
    let text = read(path, hint)?;
    certificates_from_pem(&text).map_err(|cause| PkiError::Malformed { path: path.to_owned(), cause })
}
