//! The secret by which a later life of this fulcrum answers those who still have links to this one.
//!
//! It stands in a file of the state directory because it must outlive the certificate's key: a node that starts again
//! under a renewed certificate must still be able to say that its old links are dead.

use crux_names::FulcrumId;
use crux_pki::Bundle;
use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use tracing::warn;

/// The file's name in the state directory.
const FILE: &str = "link.key";

/// The secret of this state directory; made from the node's key if there is none yet. A disk that refuses stops no start.
pub(super) fn load(state: &Path, me: &FulcrumId, bundle: &Bundle) -> [u8; 32] {
    let path = state.join(FILE);
    let secret = bundle.derive(&format!("links of {me}"));
    let found = fs::read(&path);
    if let Ok(found) = &found
        && let Ok(found) = <[u8; 32]>::try_from(&found[..])
    {
        return found;
    }
    if found.as_ref().err().is_none_or(|error| error.kind() != io::ErrorKind::NotFound) {
        let cause = found.err().map_or("it is not 32 bytes long".to_owned(), |error| error.to_string());
        warn!("{} is made anew: {cause}; links to an earlier life may be noticed late as dead", path.display());
    }
    if let Err(error) = write(&path, &secret) {
        warn!(
            "{} cannot be written: {error}; after a renewal of the certificate a restart may be noticed late",
            path.display()
        );
    }
    secret
}

fn write(path: &Path, secret: &[u8]) -> io::Result<()> {
    let next = path.with_extension("key.new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next)?;
    // One that was left over keeps its mode.
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(secret)?;
    file.sync_all()?;
    fs::rename(next, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crux_pki::{Ca, IssueRequest, Role};

    #[test]
    fn it_outlives_the_nodes_key_and_mends_damage() {
        let dir = tempfile::tempdir().unwrap();
        let mut ca = Ca::in_memory("acme.example".parse().unwrap()).unwrap();
        let mut bundle = || ca.issue(IssueRequest::new(Role::Node("n1".parse().unwrap()))).unwrap();
        let me: FulcrumId = "n1".parse().unwrap();
        let other: FulcrumId = "n1/x".parse().unwrap();
        let (first, second) = (bundle(), bundle());
        let secret = load(dir.path(), &me, &first);
        assert_eq!(load(dir.path(), &me, &second), secret, "a renewed key changes nothing");
        let mode = fs::metadata(dir.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let elsewhere = tempfile::tempdir().unwrap();
        assert_ne!(load(elsewhere.path(), &other, &first), secret, "each fulcrum of a node has its own");

        fs::write(dir.path().join(FILE), b"short").unwrap();
        let mended = load(dir.path(), &me, &second);
        assert_eq!(load(dir.path(), &me, &first), mended);
        assert_eq!(load(Path::new("/proc/none"), &me, &second), mended, "without a disk it follows from the key");
    }
}
