//! An instance's files: copied out of pastiche, verified on the way, read-only. Copies, not links: an instance that
//! runs as crux's own user could write through a link into the store. For the same reason nothing that an instance left
//! in its directory is followed when it is started again: every step of a path is opened from the one above, and a link,
//! or whatever is no plain directory, is removed.

use crate::effects::blobs::{Blobs, CHUNK};
use crux_core::facts::value::File as ManifestFile;
use crux_names::Hash256;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, mkdirat, openat, unlinkat};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
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
    let top = open_dir(CWD, root)
        .map_err(|error| format!("its working directory {} cannot be used: {error}", root.display()))?;
    for file in files {
        let hash = file.hash().ok_or_else(|| format!("file `{}` has no SHA-256", file.path))?;
        copy(blobs, &hash, file, &top).map_err(|error| format!("file `{}`: {error}", file.path))?;
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

fn copy(blobs: &Blobs, hash: &Hash256, file: &ManifestFile, top: &OwnedFd) -> Result<(), String> {
    let mut from = File::open(blobs.path(hash)).map_err(|error| format!("{hash} is not here: {error}"))?;
    let text = |error: std::io::Error| error.to_string();
    let (way, name) = file.path.rsplit_once('/').unwrap_or(("", &file.path));
    let mut dir = top.try_clone().map_err(text)?;
    for step in way.split('/').filter(|step| !step.is_empty()) {
        dir = step_into(&dir, step).map_err(|error| format!("directory `{step}` on its way: {error}"))?;
    }
    match unlinkat(&dir, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => return Err("the instance has made a directory in its place; remove that".into()),
        Err(error) if error != Errno::NOENT => return Err(text(error.into())),
        _ => {}
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(0o600);
    let mut to = File::from(openat(&dir, name, flags, mode).map_err(|error| text(error.into()))?);
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

fn open_dir(at: impl AsFd, path: impl rustix::path::Arg) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(at, path, flags, Mode::empty())
}

/// A directory's plain directory of this name, made if it is not there.
fn step_into(dir: &OwnedFd, name: &str) -> rustix::io::Result<OwnedFd> {
    match open_dir(dir, name) {
        // A link, or something else: it is the instance's own, and it is in the way.
        Err(Errno::LOOP | Errno::NOTDIR) => unlinkat(dir, name, AtFlags::empty())?,
        Err(Errno::NOENT) => {}
        opened => return opened,
    }
    mkdirat(dir, name, Mode::from_raw_mode(0o700))?;
    open_dir(dir, name)
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
