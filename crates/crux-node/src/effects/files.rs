//! An instance's files: copied out of pastiche, verified on the way, read-only. Copies, not links: an instance that
//! runs as crux's own user could write through a link into the store.

use crate::effects::blobs::{Blobs, CHUNK};
use crate::effects::journal::make_dir;
use crux_core::facts::value::File as ManifestFile;
use crux_names::Hash256;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path};

/// More files than this are an archive, not a service.
const FILES_MAX: usize = 10_000;
/// Longest path in bytes.
const PATH_MAX: usize = 512;
/// Deepest path.
const DEPTH_MAX: usize = 32;

/// Puts the files into the directory `root`, in the place of those of an earlier start. Blocks.
///
/// # Errors
/// A sentence for people. Some files may be there then.
pub(super) fn lay(blobs: &Blobs, root: &Path, files: &[ManifestFile]) -> Result<(), String> {
    if files.len() > FILES_MAX {
        return Err(format!("the manifest has {} files, at most {FILES_MAX} are allowed", files.len()));
    }
    let mut seen = BTreeSet::new();
    for file in files {
        let path = file.path.as_str();
        if !fits(path) {
            return Err(format!(
                "file `{path}`: a path is relative, without `.` and `..`, at most {PATH_MAX} bytes long and {DEPTH_MAX} deep"
            ));
        }
        if !seen.insert(path) {
            return Err(format!("file `{path}` is named twice"));
        }
    }
    for file in files {
        let hash = file.hash().ok_or_else(|| format!("file `{}` has no SHA-256", file.path))?;
        copy(blobs, &hash, file, root).map_err(|error| format!("file `{}`: {error}", file.path))?;
    }
    Ok(())
}

/// Only names, written in the one plain way.
fn fits(path: &str) -> bool {
    let parts = Path::new(path).components();
    let plain: Option<Vec<&str>> = parts
        .map(|part| match part {
            Component::Normal(name) => name.to_str(),
            _ => None,
        })
        .collect();
    plain.is_some_and(|parts| {
        !parts.is_empty() && parts.len() <= DEPTH_MAX && path.len() <= PATH_MAX && parts.join("/") == path
    })
}

fn copy(blobs: &Blobs, hash: &Hash256, file: &ManifestFile, root: &Path) -> Result<(), String> {
    let mut from = File::open(blobs.path(hash)).map_err(|error| format!("{hash} is not here: {error}"))?;
    let path = root.join(&file.path);
    let text = |error: std::io::Error| error.to_string();
    make_dir(path.parent().unwrap_or(root)).map_err(text)?;
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(text(error)),
        _ => {}
    }
    let mut to = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(text)?;
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0; CHUNK]);
    loop {
        let n = from.read(&mut buffer).map_err(text)?;
        if n == 0 {
            break;
        }
        hasher.update(&buffer[..n]);
        to.write_all(&buffer[..n]).map_err(text)?;
    }
    if Hash256(hasher.finalize().into()) != *hash {
        blobs.remove(hash).map_err(text)?;
        return Err(format!("the stored copy of {hash} was damaged and is removed; the next start fetches it again"));
    }
    let mode = if file.executable { 0o555 } else { 0o444 };
    to.set_permissions(std::fs::Permissions::from_mode(mode)).map_err(text)
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn no_path_leaves_the_directory() {
        for good in ["a", "bin/api", "a/b.c/..d", "x y"] {
            assert!(fits(good), "{good}");
        }
        let deep = ["d"; 40].join("/");
        let long = "x".repeat(600);
        for bad in ["", ".", "..", "/a", "a/../b", "a/./b", "./a", "a//b", "a/", "../a", deep.as_str(), long.as_str()] {
            assert!(!fits(bad), "{bad}");
        }
    }
}
