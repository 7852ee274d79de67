//! Roots on disk: the trust set of a bundle or of a CA's directory, read and changed in one step.

use crate::bundle::{self, Bundle};
use crate::ca::{self, Ca};
use crate::files::{self, PkiError, Source};
use crate::trust::{Trust, fingerprint};
use crux_names::Hash256;
use rustls::pki_types::CertificateDer;
use std::path::Path;

const HINT: &str = "give a bundle, a CA's directory or a file with certificates";

/// The roots that a path offers: those of a bundle, of a CA's directory, or every certificate of a PEM or DER file.
///
/// # Errors
/// Names the file that cannot be read, and the next step.
pub fn roots_of(path: &Path) -> Result<Vec<CertificateDer<'static>>, PkiError> {
    if path.is_dir() {
        let source = Source::open(path, HINT)?;
        if !source.has(ca::CERT) {
            return source.certificates(bundle::TRUST, HINT);
        }
        // Of the CA's own file only the first certificate signs.
        let mut roots = source.certificates(ca::CERT, HINT)?;
        roots.truncate(1);
        if source.has(ca::TRUST) && !source.read(ca::TRUST, HINT)?.is_empty() {
            roots.extend(source.certificates(ca::TRUST, HINT)?);
        }
        return Ok(roots);
    }
    let bytes = files::read(path, HINT)?;
    if crate::tar::is_tar(&bytes) {
        return Source::archive(path, &bytes, HINT)?.certificates(bundle::TRUST, HINT);
    }
    files::certificates_from_any(&bytes).map_err(|cause| PkiError::Malformed { path: path.to_owned(), cause })
}

/// Adds roots to the trust set of a bundle or of a CA's directory, takes out those of these fingerprints, and answers the
/// new set. Nothing is written if anything is wrong with it.
///
/// # Errors
/// [`PkiError::Root`] if a root is unusable, of another bloc or not there, [`PkiError::Unfit`] if it has to stay: the last
/// one, the CA's own, or the one that vouches for the bundle's own certificate; otherwise as [`Bundle::load`],
/// [`Ca::open`] and [`Bundle::save_over`].
pub fn change_roots(path: &Path, add: &[CertificateDer<'static>], remove: &[Hash256]) -> Result<Trust, PkiError> {
    let change = |mut trust: Trust| {
        for der in add {
            trust = trust.with_root(der.clone())?;
        }
        remove.iter().try_fold(trust, |trust, which| trust.without_root(which))
    };
    if path.join(ca::CERT).exists() {
        let ca = Ca::open(path)?;
        if remove.contains(&fingerprint(ca.root())) {
            return Err(PkiError::Unfit(format!(
                "{} is the CA's own root, which all its bundles trust; to be rid of it make another CA, and renew the \
                 bundles by that one",
                fingerprint(ca.root())
            )));
        }
        let trust = change(Trust::new(ca.bloc().clone(), ca.roots().cloned())?)?;
        let others: Vec<_> = trust.roots().filter(|der| *der != ca.root()).cloned().collect();
        if !add.is_empty() || !remove.is_empty() {
            files::replace(&path.join(ca::TRUST), files::certificates_to_pem(&others)?.as_bytes())?;
        }
        return Ok(trust);
    }
    let bundle = Bundle::load(path)?;
    let trust = change(bundle.trust().clone())?;
    if trust.verify_chain_undated(bundle.chain()).is_err()
        && bundle.trust().verify_chain_undated(bundle.chain()).is_ok()
    {
        let cause = "the bundle's own certificate is signed by the root that would go; renew it by another CA first";
        return Err(PkiError::Unfit(cause.to_owned()));
    }
    if !add.is_empty() || !remove.is_empty() {
        bundle.with_trust(trust.clone())?.save_over(path)?;
    }
    Ok(trust)
}

/// The roots of a trust set in PEM, as `trust.pem` of a bundle has them.
///
/// # Errors
/// [`PkiError::Encode`].
pub fn roots_pem(trust: &Trust) -> Result<String, PkiError> {
    let roots: Vec<_> = trust.roots().cloned().collect();
    files::certificates_to_pem(&roots)
}
