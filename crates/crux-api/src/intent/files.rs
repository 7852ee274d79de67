//! Files of a service: found on the operator's machine, hashed, and named by their content.

use crux_core::facts::value::File as FileValue;
use crux_names::Hash256;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// How many files one service may have.
const FILES_MAX: usize = 1_000;

/// A file to be pushed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Upload {
    /// Where it is on this machine.
    pub source: PathBuf,
    /// The hash of its content.
    pub sha256: Hash256,
    /// Bytes.
    pub size: u64,
}

/// Hash and size of a file's content.
///
/// # Errors
/// The system's, if the file cannot be read.
pub fn hash_file(path: &Path) -> io::Result<(Hash256, u64)> {
    let mut file = fs::File::open(path)?;
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; 64 * 1024];
    let mut size = 0;
    loop {
        let read = file.read(&mut chunk)?;
        if read == 0 {
            return Ok((Hash256(hasher.finalize().into()), size));
        }
        hasher.update(&chunk[..read]);
        size += read as u64;
    }
}

/// The files of a service: of a directory all that is in it, by their paths in it; a file by its name.
pub(super) fn collect(paths: &[PathBuf]) -> Result<(Vec<FileValue>, Vec<Upload>), String> {
    let mut found: BTreeMap<String, PathBuf> = BTreeMap::new();
    for path in paths {
        let kind = fs::metadata(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
        if kind.is_dir() {
            walk(path, "", &mut found)?;
        } else {
            let name = path.file_name().and_then(|name| name.to_str());
            let name = name.ok_or_else(|| format!("{} has no name in UTF-8", path.display()))?;
            add(name.to_owned(), path.clone(), &mut found)?;
        }
    }
    let mut values = Vec::new();
    let mut uploads = Vec::new();
    for (name, source) in found {
        let unreadable = |e: io::Error| format!("cannot read {}: {e}", source.display());
        let metadata = fs::metadata(&source).map_err(unreadable)?;
        if !metadata.is_file() {
            return Err(format!("{} is neither a file nor a directory", source.display()));
        }
        let (sha256, size) = hash_file(&source).map_err(unreadable)?;
        let executable = metadata.permissions().mode() & 0o111 != 0;
        values.push(FileValue { path: name, sha256: sha256.0.to_vec(), size, executable });
        uploads.push(Upload { source, sha256, size });
    }
    Ok((values, uploads))
}

fn walk(dir: &Path, prefix: &str, found: &mut BTreeMap<String, PathBuf>) -> Result<(), String> {
    let unreadable = |e: io::Error| format!("cannot read {}: {e}", dir.display());
    for entry in fs::read_dir(dir).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let path = entry.path();
        let name = entry.file_name();
        let name = name.to_str().ok_or_else(|| format!("{} has no name in UTF-8", path.display()))?;
        let kind = entry.file_type().map_err(unreadable)?;
        if kind.is_symlink() {
            // A link could lead anywhere, and round in circles.
            return Err(format!("{} is a symbolic link; put the file itself there", path.display()));
        }
        let name = format!("{prefix}{name}");
        if kind.is_dir() {
            walk(&path, &format!("{name}/"), found)?;
        } else {
            add(name, path, found)?;
        }
    }
    Ok(())
}

fn add(name: String, path: PathBuf, found: &mut BTreeMap<String, PathBuf>) -> Result<(), String> {
    if let Some(other) = found.insert(name.clone(), path.clone()) {
        return Err(format!("{} and {} would both become {name:?}", other.display(), path.display()));
    }
    if found.len() > FILES_MAX {
        return Err(format!("more than {FILES_MAX} files; pack them into one archive that the service unpacks"));
    }
    Ok(())
}
