//! What a backup of a bloc holds, as an archive: a tar, so that whoever has opened it can look into it with what is at
//! hand. It is written and read from front to back; encrypting it is not its affair.
//!
//! | entry | content |
//! |---|---|
//! | `bloc.json` | a [`Backup`]: what follows |
//! | `trust.pem` | the roots that were trusted |
//! | `facts` | sealed versions as they were held, each after its length ([`read_frame`]) |
//! | `files/SHA256` | a file that a service needs; any number |
//!
//! No key is in it. A reader takes what a writer of this version writes and nothing else: another name, another order,
//! a length that is not what `bloc.json` says, content with another hash are each an error.

use crate::json::{Backup, BackupFile, Doc};
use bytes::Bytes;
use crux_core::facts::path::Path;
use crux_core::facts::rule::RULES;
use crux_core::facts::value::EXPULSIONS;
use crux_core::facts::version::{Checked, VERSION_MAX};
use crux_names::Hash256;
use sha2::{Digest, Sha256};
use std::io::{self, Read, Write};
use thiserror::Error;

pub use crux_core::facts::WRITE_MAX;

/// The form that this version writes.
pub const FORMAT: u32 = 1;
/// Largest `bloc.json`.
const ABOUT_MAX: u64 = 16 << 20;
/// Largest `trust.pem`.
const TRUST_MAX: u64 = 1 << 20;
/// What all versions may have together: many times what a bloc may hold.
const FACTS_MAX: u64 = 4 << 30;
const BLOCK: usize = 512;
/// From here on a size does not fit into eleven octal digits.
const OCTAL_END: u64 = 1 << 33;

/// Why an archive is not one of these.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BadBackup {
    /// It cannot be read, or whoever decrypts it says that it is damaged.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It ends too early.
    #[error("it ends in the middle of {0}")]
    Truncated(String),
    /// It is of a later version.
    #[error("it has the form {0}, and this version of crux reads form {FORMAT}")]
    Newer(u32),
    /// It is something else, or was changed.
    #[error("it is no backup of a bloc: {0}")]
    Malformed(String),
}

fn malformed<T>(cause: impl Into<String>) -> Result<T, BadBackup> {
    Err(BadBackup::Malformed(cause.into()))
}

/// What an archive holds beside files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// What it says of itself.
    pub about: Backup,
    /// The roots that were trusted, in PEM.
    pub trust: String,
    /// Sealed versions as they were held.
    pub versions: Vec<Bytes>,
}

/// A version of a backup as it says it is; a fulcrum judges whether it is so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// Its path.
    pub path: String,
    /// Whether it is what a fulcrum said of itself, and no operator's deletion of that.
    pub row: bool,
    /// As it was held.
    pub sealed: Bytes,
}

/// What each version says it is, in the order in which they are brought back: who is out is out first, and what others
/// build on comes before them. All versions of a path are beside each other.
///
/// # Errors
/// [`BadBackup::Malformed`] if one is no version.
pub fn claimed(versions: &[Bytes]) -> Result<Vec<Claimed>, BadBackup> {
    let claim = |sealed: &Bytes| match Checked::vouched(sealed.clone()) {
        Ok(version) => {
            let statement = version.statement();
            let row = matches!(Path::parse(&statement.path), Ok(Path::Row(_))) && statement.value.is_some();
            Ok(Claimed { path: statement.path.clone(), row, sealed: sealed.clone() })
        }
        Err(bad) => malformed(bad.to_string()),
    };
    let mut claimed = versions.iter().map(claim).collect::<Result<Vec<_>, _>>()?;
    let rank = |path: &str| {
        let firsts = [EXPULSIONS, RULES, "horde/", "label/", "cordon/", "muster/", "place/"];
        firsts.iter().position(|first| path.starts_with(first)).unwrap_or(firsts.len())
    };
    claimed.sort_by(|a, b| (rank(&a.path), &a.path).cmp(&(rank(&b.path), &b.path)));
    Ok(claimed)
}

/// Some bytes after their length, as `facts` in an archive and the answer of a fulcrum have them; `None` at the end.
///
/// # Errors
/// Of the reader; [`io::ErrorKind::UnexpectedEof`] in the middle, [`io::ErrorKind::InvalidData`] for a length that
/// nothing has.
pub fn read_frame(input: &mut impl Read, most: usize) -> io::Result<Option<Bytes>> {
    let mut length = [0; 4];
    let mut have = 0;
    while have < length.len() {
        match input.read(&mut length[have..])? {
            0 if have == 0 => return Ok(None),
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => have += read,
        }
    }
    let length = u32::from_be_bytes(length) as usize;
    if length > most {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a part of it would have {length} bytes")));
    }
    let mut bytes = Vec::new();
    input.take(length as u64).read_to_end(&mut bytes)?;
    if bytes.len() < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some(bytes.into()))
}

/// The length that stands before these bytes.
#[must_use]
pub fn frame_head(bytes: &[u8]) -> [u8; 4] {
    // Nothing of that length is a version or a document.
    u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes()
}

fn checksum(header: &[u8]) -> u64 {
    header.iter().enumerate().map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u64::from(*byte) }).sum()
}

/// An entry's head, by ustar (POSIX.1-1988); sizes from 8 GiB on as GNU tar has them.
fn head(name: &str, size: u64) -> [u8; BLOCK] {
    let mut header = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name.as_bytes());
    put(100, b"0000600\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    if size < OCTAL_END {
        put(124, format!("{size:011o}\0").as_bytes());
    } else {
        put(124, &[0x80, 0, 0, 0]);
        put(128, &size.to_be_bytes());
    }
    put(136, b"00000000000\0");
    put(156, b"0");
    put(257, b"ustar\x0000");
    let sum = checksum(&header);
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

/// How many zeros follow an entry of this size.
fn padding(size: u64) -> usize {
    (BLOCK - (size % BLOCK as u64) as usize) % BLOCK
}

/// Name and size of an entry; `None` for the block of zeros at the end. Only what [`head`] writes is an entry.
fn read_head(header: &[u8; BLOCK]) -> Result<Option<(String, u64)>, BadBackup> {
    if header.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    let end = header[..100].iter().position(|byte| *byte == 0).unwrap_or(100);
    let name = String::from_utf8_lossy(&header[..end]).into_owned();
    let mut big = [0; 8];
    big.copy_from_slice(&header[128..136]);
    let size = match header[124] {
        0x80 => Some(u64::from_be_bytes(big)),
        _ => std::str::from_utf8(&header[124..135]).ok().and_then(|digits| u64::from_str_radix(digits, 8).ok()),
    };
    match size {
        Some(size) if *header == head(&name, size) => Ok(Some((name, size))),
        _ => malformed(format!(
            "an entry's head is not as crux writes it ({:?})",
            name.chars().take(80).collect::<String>()
        )),
    }
}

/// Writes an archive. What a reader would refuse is not written.
pub struct Packer<W> {
    out: W,
    left: u64,
    pad: usize,
    /// Of the present file, what was written and its name.
    hasher: Sha256,
    name: Option<String>,
}

impl<W: Write> Packer<W> {
    /// Writes all but the files.
    ///
    /// # Errors
    /// Of the writer; [`io::ErrorKind::InvalidInput`] if something is larger than a reader takes.
    pub fn new(out: W, contents: &Contents) -> io::Result<Self> {
        let mut packer = Self { out, left: 0, pad: 0, hasher: Sha256::new(), name: None };
        let about = serde_json::to_vec_pretty(&Doc(contents.about.clone())).map_err(io::Error::other)?;
        let facts = contents.versions.iter().map(|version| 4 + version.len() as u64).sum();
        let sizes = [
            ("bloc.json", about.len() as u64, ABOUT_MAX),
            ("trust.pem", contents.trust.len() as u64, TRUST_MAX),
            ("facts", facts, FACTS_MAX),
        ];
        if let Some((name, size, most)) = sizes.into_iter().find(|(_, size, most)| size > most) {
            let cause = format!("{name} would have {size} bytes, and a backup may have {most}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, cause));
        }
        packer.entry("bloc.json", &about)?;
        packer.entry("trust.pem", contents.trust.as_bytes())?;
        packer.begin("facts", facts)?;
        for version in &contents.versions {
            packer.write_all(&frame_head(version))?;
            packer.write_all(version)?;
        }
        Ok(packer)
    }

    fn entry(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        self.begin(name, content.len() as u64)?;
        self.write_all(content)
    }

    fn begin(&mut self, name: &str, size: u64) -> io::Result<()> {
        self.end()?;
        self.out.write_all(&head(name, size))?;
        (self.left, self.pad) = (size, padding(size));
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        if self.left > 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a file is shorter than it was said to be"));
        }
        let content = Hash256(self.hasher.finalize_reset().into()).to_string();
        if let Some(name) = self.name.take().filter(|name| *name != content) {
            let cause = format!("the content of {name} is another one than its name says");
            return Err(io::Error::new(io::ErrorKind::InvalidData, cause));
        }
        self.out.write_all(&[0; BLOCK][..self.pad])?;
        self.pad = 0;
        Ok(())
    }

    /// What is written next is this file's content.
    ///
    /// # Errors
    /// Of the writer, and as [`Packer::whole`] of the file before.
    pub fn file(&mut self, file: &BackupFile) -> io::Result<()> {
        self.begin(&format!("files/{}", file.sha256), file.size.0)?;
        self.name = Some(file.sha256.clone());
        Ok(())
    }

    /// Ends the present file.
    ///
    /// # Errors
    /// Of the writer; [`io::ErrorKind::UnexpectedEof`] if it has not all of its content, [`io::ErrorKind::InvalidData`] if
    /// that is not what its name says.
    pub fn whole(&mut self) -> io::Result<()> {
        self.end()
    }

    /// Writes the end, and gives back where it was written to.
    ///
    /// # Errors
    /// As [`Packer::file`].
    pub fn finish(mut self) -> io::Result<W> {
        self.end()?;
        self.out.write_all(&[0; 2 * BLOCK])?;
        Ok(self.out)
    }
}

impl<W: Write> Write for Packer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() as u64 > self.left {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a file is longer than it was said to be"));
        }
        let written = self.out.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.left -= written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// The files of an archive, one after the other. Reading gives the present one's content, and at its end an error if that
/// is not what its name says; the next one can be read all the same.
pub struct Files<R> {
    input: R,
    rest: std::vec::IntoIter<BackupFile>,
    present: BackupFile,
    left: u64,
    hasher: Sha256,
    /// Whether the present one was read to its end and is another than its name says.
    bad: bool,
    damaged: Vec<BackupFile>,
}

/// What of the head of an entry is not as it should be.
fn expect<R: Read>(input: &mut R, wanted: &str, most: u64) -> Result<u64, BadBackup> {
    match next_head(input, wanted)? {
        Some((name, size)) if name == wanted && size <= most => Ok(size),
        Some((name, size)) => malformed(format!("{wanted} should follow, and it is {name:?} with {size} bytes")),
        None => malformed(format!("{wanted} is missing")),
    }
}

fn next_head<R: Read>(input: &mut R, wanted: &str) -> Result<Option<(String, u64)>, BadBackup> {
    let mut header = [0; BLOCK];
    fill(input, &mut header, wanted)?;
    read_head(&header)
}

fn fill<R: Read>(input: &mut R, to: &mut [u8], what: &str) -> Result<(), BadBackup> {
    input.read_exact(to).map_err(|e| match e.kind() {
        io::ErrorKind::UnexpectedEof => BadBackup::Truncated(what.to_owned()),
        _ => BadBackup::Io(e),
    })
}

fn skip<R: Read>(input: &mut R, size: u64, what: &str) -> Result<(), BadBackup> {
    let mut zeros = [0; BLOCK];
    let zeros = &mut zeros[..padding(size)];
    fill(input, zeros, what)?;
    if zeros.iter().any(|byte| *byte != 0) {
        malformed(format!("after {what} there is something else"))
    } else {
        Ok(())
    }
}

fn whole<R: Read>(input: &mut R, name: &str, most: u64) -> Result<String, BadBackup> {
    let size = expect(input, name, most)?;
    let mut bytes = Vec::new();
    input.take(size).read_to_end(&mut bytes)?;
    if (bytes.len() as u64) < size {
        return Err(BadBackup::Truncated(name.to_owned()));
    }
    skip(input, size, name)?;
    String::from_utf8(bytes).or_else(|_| malformed(format!("{name} is no text")))
}

/// Reads an archive up to its files.
///
/// # Errors
/// [`BadBackup`]: the first thing that is wrong.
pub fn read<R: Read>(mut input: R) -> Result<(Contents, Files<R>), BadBackup> {
    let about = whole(&mut input, "bloc.json", ABOUT_MAX)?;
    // A later form may say other things; which form it is it says in any case.
    let form = serde_json::from_str::<serde_json::Value>(&about).ok().and_then(|about| about["format"].as_u64());
    match form.map(u32::try_from) {
        Some(Ok(form)) if form > FORMAT => return Err(BadBackup::Newer(form)),
        Some(Ok(_)) => {}
        _ => return malformed("bloc.json does not say which form it has"),
    }
    let about = serde_json::from_str::<Doc<Backup>>(&about).or_else(|e| malformed(format!("bloc.json: {e}")))?.0;
    let hash = |file: &BackupFile| file.sha256.parse::<Hash256>().is_ok_and(|hash| hash.to_string() == file.sha256);
    if !about.files.iter().all(hash) {
        return malformed("bloc.json names a file by something that is no SHA-256");
    }
    let trust = whole(&mut input, "trust.pem", TRUST_MAX)?;
    let size = expect(&mut input, "facts", FACTS_MAX)?;
    let mut part = input.by_ref().take(size);
    let mut versions = Vec::new();
    loop {
        match read_frame(&mut part, VERSION_MAX) {
            Ok(Some(version)) => versions.push(version),
            Ok(None) => break,
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Err(BadBackup::Truncated("facts".to_owned())),
            Err(e) => return Err(e.into()),
        }
    }
    if part.limit() > 0 || versions.len() != about.versions as usize {
        return Err(BadBackup::Truncated("facts".to_owned()));
    }
    skip(&mut input, size, "facts")?;
    let none = BackupFile { sha256: String::new(), size: crate::json::Counter(0) };
    let rest = about.files.clone().into_iter();
    let (hasher, damaged) = (Sha256::new(), Vec::new());
    let files = Files { input, rest, present: none, left: 0, hasher, bad: false, damaged };
    Ok((Contents { about, trust, versions }, files))
}

impl<R: Read> Files<R> {
    /// Goes on to the next file, whether all of the present one was read or not; `None` at the end, which was looked at
    /// then. A file whose content is not what its name says is only noted: [`Files::damaged`].
    ///
    /// # Errors
    /// [`BadBackup`], also of what was left of the present file.
    pub fn next_file(&mut self) -> Result<Option<BackupFile>, BadBackup> {
        let mut rest = [0; 16 * 1024];
        while self.part(&mut rest)? > 0 {}
        let Some(file) = self.rest.next() else { return self.end().map(|()| None) };
        let name = format!("files/{}", file.sha256);
        if expect(&mut self.input, &name, u64::MAX)? != file.size.0 {
            return malformed(format!("{name} has another size than bloc.json says"));
        }
        (self.left, self.present, self.hasher, self.bad) = (file.size.0, file.clone(), Sha256::new(), false);
        if self.left == 0 {
            self.ended()?;
        }
        Ok(Some(file))
    }

    /// Those so far whose content is not what their name says.
    #[must_use]
    pub fn damaged(&self) -> &[BackupFile] {
        &self.damaged
    }

    /// Some of the present file; 0 at its end.
    fn part(&mut self, to: &mut [u8]) -> Result<usize, BadBackup> {
        if self.left == 0 || to.is_empty() {
            return Ok(0);
        }
        let most = to.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let read = self.input.read(&mut to[..most])?;
        if read == 0 {
            return Err(BadBackup::Truncated("a file".to_owned()));
        }
        self.hasher.update(&to[..read]);
        self.left -= read as u64;
        if self.left == 0 {
            self.ended()?;
        }
        Ok(read)
    }

    /// All of the present file was read.
    fn ended(&mut self) -> Result<(), BadBackup> {
        if Hash256(self.hasher.finalize_reset().into()).to_string() != self.present.sha256 {
            self.bad = true;
            self.damaged.push(self.present.clone());
        }
        skip(&mut self.input, self.present.size.0, "a file")
    }

    fn end(&mut self) -> Result<(), BadBackup> {
        for _ in 0..2 {
            if let Some((name, _)) = next_head(&mut self.input, "the end")? {
                return malformed(format!("{name:?} stands where its end should be"));
            }
        }
        let mut more = [0];
        // That nothing follows is also for whoever decrypts it to say.
        if self.input.read(&mut more)? == 0 { Ok(()) } else { malformed("after its end there is something else") }
    }
}

impl<R: Read> Read for Files<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let other = |bad| match bad {
            BadBackup::Io(e) => e,
            BadBackup::Truncated(_) => io::Error::new(io::ErrorKind::UnexpectedEof, bad),
            bad => io::Error::new(io::ErrorKind::InvalidData, bad),
        };
        let read = self.part(to).map_err(other)?;
        if self.bad && self.left == 0 {
            let cause = format!("the content of files/{} is not what its name says", self.present.sha256);
            return Err(io::Error::new(io::ErrorKind::InvalidData, cause));
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Counter;
    use crux_core::facts::version::{Author, Sealed, Stamp, Statement};
    use prost::Message;

    fn version(path: &str, deleted: bool) -> Bytes {
        let statement = Statement {
            bloc: "acme".parse().unwrap(),
            path: path.to_owned(),
            value: (!deleted).then(|| Bytes::from_static(b"value")),
            ancestors: Vec::new(),
            stamp: Stamp::default(),
            author: Author::Operator("ann".parse().unwrap()),
            nonce: Bytes::new(),
        };
        Sealed { statement: statement.encode(), ..Sealed::default() }.encode_to_vec().into()
    }

    fn file(content: &[u8]) -> BackupFile {
        let sha256 = Hash256(Sha256::digest(content).into()).to_string();
        BackupFile { sha256, size: Counter(content.len() as u64) }
    }

    const FILES: [&[u8]; 4] = [b"one", b"", &[7; 512], &[9; 100_000]];

    fn contents() -> Contents {
        let versions = vec![version("place/web/api", false), version("row/n1/0", false), version("expel/n9", false)];
        let about = Backup {
            format: FORMAT,
            bloc: "acme".into(),
            at: "2026-01-31T12:00:00Z".into(),
            node: "n1".into(),
            digest: "ab".repeat(32),
            versions: 3,
            facts: 3,
            roots: vec!["cd".repeat(32)],
            files: FILES.map(file).into(),
            missing: Vec::new(),
            stable: true,
            members: 1,
            agree: 1,
            apart: Vec::new(),
        };
        Contents { about, trust: "PEM\n".into(), versions }
    }

    fn pack(contents: &Contents, files: &[&[u8]]) -> Vec<u8> {
        let mut packer = Packer::new(Vec::new(), contents).unwrap();
        for content in files {
            packer.file(&file(content)).unwrap();
            packer.write_all(content).unwrap();
        }
        packer.finish().unwrap()
    }

    fn unpack(bytes: &[u8]) -> Result<(Contents, Vec<Vec<u8>>), BadBackup> {
        let (contents, mut files) = read(bytes)?;
        let mut all = Vec::new();
        while files.next_file()?.is_some() {
            let mut content = Vec::new();
            files.read_to_end(&mut content)?;
            all.push(content);
        }
        Ok((contents, all))
    }

    #[test]
    fn what_is_packed_is_read_again_also_by_who_skips_the_files() {
        let archive = pack(&contents(), &FILES);
        let (read_again, files) = unpack(&archive).unwrap();
        assert_eq!(read_again, contents());
        assert_eq!(files, FILES);
        let (_, mut files) = read(&archive[..]).unwrap();
        let skipped = std::iter::from_fn(|| files.next_file().unwrap()).count();
        assert_eq!(skipped, FILES.len());
        let huge = head("files/x", 20 << 30);
        assert_eq!(read_head(&huge).unwrap(), Some(("files/x".to_owned(), 20 << 30)));
    }

    #[test]
    fn what_is_cut_off_or_changed_is_never_taken_for_a_whole_one() {
        let mut small = contents();
        small.about.files = FILES[..2].iter().map(|content| file(content)).collect();
        let archive = pack(&small, &FILES[..2]);
        for end in 0..archive.len() {
            assert!(unpack(&archive[..end]).is_err(), "{end}");
        }
        let mut longer = archive.clone();
        longer.push(0);
        assert!(unpack(&longer).is_err());
        // A flipped bit in a head, a length or a file is noticed here; elsewhere it is for who decrypts.
        let content = archive.windows(3).position(|window| window == b"one").unwrap();
        let facts = archive.windows(6).position(|window| window == b"facts\0").unwrap();
        for at in (0..BLOCK).chain(content..content + 3).chain(facts..facts + BLOCK + 3) {
            let mut damaged = archive.clone();
            damaged[at] ^= 1;
            assert!(unpack(&damaged).is_err(), "{at}");
        }
    }

    #[test]
    fn a_file_that_is_not_what_its_name_says_is_not_packed_and_the_others_can_be_read() {
        let mut contents = contents();
        contents.about.files = vec![file(b"one"), file(b""), file(b"two")];
        let mut packer = Packer::new(Vec::new(), &contents).unwrap();
        packer.file(&file(b"one")).unwrap();
        packer.write_all(b"onf").unwrap();
        assert_eq!(packer.whole().unwrap_err().kind(), io::ErrorKind::InvalidData);

        // One that somebody else packed.
        let mut archive = pack(&contents, &[b"one", b"", b"two"]);
        let content = archive.windows(3).position(|window| window == b"one").unwrap();
        archive[content] ^= 1;
        let (_, mut files) = read(&archive[..]).unwrap();
        assert_eq!(files.next_file().unwrap(), Some(file(b"one")));
        assert_eq!(files.read_to_end(&mut Vec::new()).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(files.next_file().unwrap(), Some(file(b"")));
        assert_eq!(files.next_file().unwrap(), Some(file(b"two")));
        let mut two = Vec::new();
        files.read_to_end(&mut two).unwrap();
        assert_eq!((two.as_slice(), files.next_file().unwrap()), (&b"two"[..], None));
        assert_eq!(files.damaged(), [file(b"one")]);
        // Who skips it knows too.
        let (_, mut files) = read(&archive[..]).unwrap();
        while files.next_file().unwrap().is_some() {}
        assert_eq!(files.damaged(), [file(b"one")]);
    }

    #[test]
    fn what_no_reader_would_take_is_not_written() {
        let mut contents = contents();
        contents.about.missing = vec![file(b"one"); 150_000];
        let refused = Packer::new(Vec::new(), &contents).map(|_| ()).unwrap_err();
        assert!(refused.to_string().contains("bloc.json would have"), "{refused}");
        contents.about.missing.truncate(50_000);
        assert!(read(&pack(&contents, &FILES)[..]).is_ok());
    }

    #[test]
    fn another_form_order_or_file_is_refused_with_its_reason() {
        let cause = |contents: &Contents, files: &[&[u8]]| unpack(&pack(contents, files)).unwrap_err().to_string();
        let mut newer = contents();
        newer.about.format = 7;
        assert!(cause(&newer, &FILES).contains("form 7"));
        let mut fewer = contents();
        fewer.versions.pop();
        assert!(cause(&fewer, &FILES).contains("in the middle of facts"));
        assert!(cause(&contents(), &FILES[..3]).contains("is missing"));
        let swapped = [FILES[1], FILES[0], FILES[2], FILES[3]];
        assert!(cause(&contents(), &swapped).contains("should follow"));
        let mut odd = contents();
        odd.about.files[0].sha256 = "../x".into();
        assert!(cause(&odd, &FILES).contains("no SHA-256"));
        assert!(unpack(&[0; 1024]).unwrap_err().to_string().contains("bloc.json is missing"));
        assert!(
            Packer::new(Vec::new(), &contents())
                .and_then(|mut packer| {
                    packer.file(&file(b"one"))?;
                    packer.write_all(b"on")?;
                    packer.finish()
                })
                .is_err()
        );
    }

    #[test]
    fn who_is_out_comes_first_and_rows_are_known_unless_they_are_deleted() {
        let mut versions = contents().versions;
        versions.push(version("row/n2/0", true));
        versions.push(version("horde/web", false));
        let claimed = claimed(&versions).unwrap();
        let seen: Vec<(&str, bool)> = claimed.iter().map(|one| (one.path.as_str(), one.row)).collect();
        let wanted = [
            ("expel/n9", false),
            ("horde/web", false),
            ("place/web/api", false),
            ("row/n1/0", true),
            ("row/n2/0", false),
        ];
        assert_eq!(seen, wanted);
        assert!(super::claimed(&[Bytes::from_static(b"none")]).is_err());
    }
}
