//! Bundles as tar archives: written as plain ustar (POSIX.1-1988), read in memory, never unpacked to disk.
//!
//! An archive is somebody else's input. So: nothing but regular files counts, each name at most once, at most one
//! directory deep, no links, no devices, no paths that lead elsewhere, bounded in size, and the end must be there.

use std::collections::BTreeMap;

const BLOCK: usize = 512;
/// Largest archive that is looked at, in bytes: many times what a bundle needs.
pub(crate) const TAR_MAX: usize = 1 << 20;
/// Most entries of an archive.
const ENTRIES_MAX: usize = 64;

/// Whether these bytes look like a tar archive, also a damaged one: by the magic of ustar, which every tar writes today,
/// or for one in the oldest format by its first checksum.
pub(crate) fn is_tar(bytes: &[u8]) -> bool {
    is_ustar(bytes) || bytes.get(..BLOCK).is_some_and(|header| octal(&header[148..156]) == Some(checksum(header)))
}

fn is_ustar(bytes: &[u8]) -> bool {
    bytes.get(257..262) == Some(b"ustar")
}

/// The name of a compression that the bytes begin like.
pub(crate) fn compression(bytes: &[u8]) -> Option<&'static str> {
    let known: [(&[u8], &str); 4] =
        [(b"\x1f\x8b", "gzip"), (b"BZh", "bzip2"), (b"\xfd7zXZ\0", "xz"), (b"\x28\xb5\x2f\xfd", "zstd")];
    known.into_iter().find_map(|(magic, name)| bytes.starts_with(magic).then_some(name))
}

/// The sum of a header's bytes, its own field taken as blanks.
fn checksum(header: &[u8]) -> u64 {
    header.iter().enumerate().map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u64::from(*byte) }).sum()
}

/// An octal field: digits, then blanks or NULs.
fn octal(field: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(field).ok()?.trim_matches([' ', '\0']);
    if text.is_empty() { Some(0) } else { u64::from_str_radix(text, 8).ok() }
}

fn text(field: &[u8]) -> String {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    String::from_utf8_lossy(&field[..end]).into_owned()
}

/// The regular files of an archive by their last name; the error is the cause in words.
pub(crate) fn read(bytes: &[u8]) -> Result<BTreeMap<String, Vec<u8>>, String> {
    const TRUNCATED: &str = "the tar archive is truncated; copy it again";
    if let Some(name) = compression(bytes) {
        return Err(format!("it is compressed ({name}); uncompress it first"));
    }
    if bytes.len() > TAR_MAX {
        return Err(format!("the tar archive has {} bytes, and a bundle at most {TAR_MAX}", bytes.len()));
    }
    let mut files = BTreeMap::new();
    let mut folder: Option<String> = None;
    let mut at = 0;
    for _ in 0..ENTRIES_MAX {
        let header = bytes.get(at..at + BLOCK).ok_or(TRUNCATED)?;
        if header.iter().all(|byte| *byte == 0) {
            return Ok(files);
        }
        if octal(&header[148..156]) != Some(checksum(header)) {
            return Err(format!("the tar archive is damaged at byte {at} (its checksum is wrong); copy it again"));
        }
        let name = match (text(&header[345..500]), text(&header[..100])) {
            (prefix, name) if prefix.is_empty() || !is_ustar(header) || header[262] == b' ' => name,
            (prefix, name) => format!("{prefix}/{name}"),
        };
        let size = octal(&header[124..136]).and_then(|size| usize::try_from(size).ok()).filter(|size| *size <= TAR_MAX);
        let size = size.ok_or_else(|| format!("{name:?} in the tar archive has an impossible size; copy it again"))?;
        let start = at + BLOCK;
        let content = bytes.get(start..start + size).ok_or(TRUNCATED)?;
        at = start + size.next_multiple_of(BLOCK);
        match header[156] {
            b'0' | 0 => {
                let (inside, last) = place(&name)?;
                if folder.get_or_insert_with(|| inside.clone()) != &inside {
                    return Err(format!(
                        "{name:?} in the tar archive lies in another folder than the files before it; pack one bundle"
                    ));
                }
                if files.insert(last, content.to_vec()).is_some() {
                    return Err(format!("{name:?} is in the tar archive twice; pack the bundle again"));
                }
            }
            b'5' => drop(place(name.trim_end_matches('/'))?),
            // Extended headers: times and owners do not matter here, but another name or size would.
            b'x' | b'g' if !renames(content) => {}
            kind => {
                let what = match kind {
                    b'1' | b'2' => "a link",
                    b'3' | b'4' | b'6' => "a device",
                    _ => "something that is no plain file",
                };
                return Err(format!("{name:?} in the tar archive is {what}; pack plain files only"));
            }
        }
    }
    Err(format!("the tar archive has more than {ENTRIES_MAX} entries; pack one bundle"))
}

/// Folder (perhaps none) and last name of an entry.
fn place(name: &str) -> Result<(String, String), String> {
    let parts: Vec<&str> = name.split('/').collect();
    let parts = if parts.first() == Some(&".") { &parts[1..] } else { &parts[..] };
    match parts {
        // The archive of `.` begins with the directory itself.
        [] => Ok((String::new(), String::new())),
        parts if parts.iter().any(|part| matches!(*part, "" | "." | "..")) => {
            Err(format!("{name:?} in the tar archive leads elsewhere; pack the bundle's own files"))
        }
        [last] => Ok((String::new(), (*last).to_owned())),
        [folder, last] => Ok(((*folder).to_owned(), (*last).to_owned())),
        _ => Err(format!("{name:?} in the tar archive lies too deep; pack the bundle's directory itself")),
    }
}

/// Whether an extended header changes what an entry is called, or how long it is; one that cannot be read might.
fn renames(mut records: &[u8]) -> bool {
    while !records.is_empty() {
        // Each record is `LENGTH KEYWORD=VALUE` and a line end, the length being that of the whole record.
        let Some(blank) = records.iter().take(8).position(|byte| *byte == b' ') else { return true };
        let length = std::str::from_utf8(&records[..blank]).ok().and_then(|digits| digits.parse::<usize>().ok());
        let Some(record) = length.filter(|length| *length > blank).and_then(|length| records.get(blank + 1..length))
        else {
            return true;
        };
        let Some(equals) = record.iter().position(|byte| *byte == b'=') else { return true };
        let keyword = &record[..equals];
        if matches!(keyword, b"path" | b"linkpath" | b"size") || keyword.starts_with(b"GNU.sparse") {
            return true;
        }
        records = &records[blank + 1 + record.len()..];
    }
    false
}

/// An archive of these files, all of mode 0600 and owned by nobody in particular. The same input gives the same bytes.
pub(crate) fn write<'a>(files: impl IntoIterator<Item = (&'a str, &'a [u8])>, modified: u64) -> Vec<u8> {
    let mut archive = Vec::new();
    for (name, content) in files {
        let mut header = [0; BLOCK];
        let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, name.as_bytes());
        put(100, b"0000600\0");
        put(108, b"0000000\0");
        put(116, b"0000000\0");
        put(124, format!("{:011o}\0", content.len()).as_bytes());
        put(136, format!("{modified:011o}\0").as_bytes());
        put(156, b"0");
        put(257, b"ustar\x0000");
        let sum = checksum(&header);
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        archive.extend(header);
        archive.extend(content);
        archive.resize(archive.len().next_multiple_of(BLOCK), 0);
    }
    archive.resize(archive.len() + 2 * BLOCK, 0);
    archive
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> Vec<u8> {
        write([("cert.pem", &b"one"[..]), ("key.pem", &[b'x'; 600][..])], 1_800_000_000)
    }

    /// The archive with the first entry's header changed and its checksum put right.
    fn changed(change: impl FnOnce(&mut [u8])) -> Vec<u8> {
        let mut archive = two();
        change(&mut archive[..BLOCK]);
        let sum = checksum(&archive[..BLOCK]);
        archive[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        archive
    }

    fn named(name: &str) -> Vec<u8> {
        changed(|header| {
            header[..100].fill(0);
            header[..name.len()].copy_from_slice(name.as_bytes());
        })
    }

    #[test]
    fn what_is_written_is_read_again() {
        let files = read(&two()).unwrap();
        assert_eq!((files["cert.pem"].as_slice(), files["key.pem"].len(), files.len()), (&b"one"[..], 600, 2));
        assert!(is_tar(&two()));
        assert!(read(&write([], 0)).unwrap().is_empty());
        assert_eq!(read(&named("./cert.pem")).unwrap()["cert.pem"], b"one");
    }

    #[test]
    fn a_truncated_archive_is_never_taken_for_a_whole_one() {
        let whole = two();
        let end = whole.len() - 2 * BLOCK;
        for length in 0..end + BLOCK {
            assert!(read(&whole[..length]).unwrap_err().contains("truncated"), "{length}");
        }
    }

    #[test]
    fn paths_that_lead_elsewhere_are_refused() {
        for name in ["/etc/passwd", "../cert.pem", "a/../cert.pem", "a//cert.pem", "a/./b"] {
            assert!(read(&named(name)).unwrap_err().contains("leads elsewhere"), "{name}");
        }
        assert!(read(&named("a/b/cert.pem")).unwrap_err().contains("too deep"));
        assert!(read(&named("a/cert.pem")).unwrap_err().contains("another folder"));
        assert!(read(&named("key.pem")).unwrap_err().contains("twice"));
    }

    #[test]
    fn links_devices_and_hidden_names_are_refused() {
        for kind in [b'1', b'2', b'3', b'4', b'6', b'7', b'L', b'K', b'S', b'Z'] {
            let refusal = read(&changed(|header| header[156] = kind)).unwrap_err();
            assert!(refusal.contains("pack plain files only"), "{refusal}");
        }
        let pax = |record: &str| {
            let mut archive = write([("x", record.as_bytes())], 0);
            archive[156] = b'x';
            let sum = checksum(&archive[..BLOCK]);
            archive[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            read(&archive)
        };
        assert!(pax("30 mtime=1800000000.123456789\n").unwrap().is_empty());
        assert!(pax("11 a=path\n\n20 mtime=1800000000\n").unwrap().is_empty());
        for record in [
            "20 path=/etc/passwd\n",
            "11 size=99\n",
            "15 linkpath=/x\n",
            "21 GNU.sparse.size=1\n",
            "x\n",
            "99 a=b\n",
            "1 a=b\n",
        ] {
            assert!(pax(record).is_err(), "{record}");
        }
    }

    #[test]
    fn damage_and_size_are_noticed() {
        let mut damaged = two();
        damaged[3] ^= 1;
        assert!(read(&damaged).unwrap_err().contains("checksum"));
        let huge = changed(|header| header[124..136].copy_from_slice(b"77777777777\0"));
        assert!(read(&huge).unwrap_err().contains("impossible size"));
        let base256 = changed(|header| header[124] = 0x80);
        assert!(read(&base256).unwrap_err().contains("impossible size"));
        assert!(read(&vec![0; TAR_MAX + 1]).unwrap_err().contains("at most"));
        assert!(read(b"\x1f\x8b...").unwrap_err().contains("gzip"));
        let many: Vec<String> = (0..65).map(|n| format!("f{n}")).collect();
        let many = write(many.iter().map(|name| (name.as_str(), &b""[..])), 0);
        assert!(read(&many).unwrap_err().contains("more than 64 entries"));
    }
}
