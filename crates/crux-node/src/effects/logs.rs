//! An instance's output: standard output and standard error in one file, in the order in which they came, each line with
//! its time and its stream, rotated by size.
//!
//! A line of the file is `<seconds>.<microseconds> <stream> <text>`; stream is `o` or `e`, with a `+` behind it when the
//! text goes on in the next line of that stream.

use crux_names::Wall;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::mpsc;

/// Size of one file before the next is begun.
const FILE_BYTES: u64 = 1024 * 1024;
/// How many files there are at most.
const FILES: u32 = 4;
/// Longest text in one line of a file; longer ones go on in the next.
const LINE_MAX: usize = 16 * 1024;
/// How often somebody who follows looks again.
const LOOK_EVERY: Duration = Duration::from_millis(200);

fn numbered(dir: &Path, n: u32) -> PathBuf {
    dir.join(if n == 0 { "out.log".to_owned() } else { format!("out.log.{n}") })
}

/// The supervisor's side.
pub(super) struct LogWriter {
    dir: PathBuf,
    file: Option<File>,
    size: u64,
    /// What came without its end of line, per stream: `o` and `e` of the instance, `O` and `E` of its hook, which are the
    /// same two in the file.
    open: [(char, Vec<u8>); 4],
}

impl LogWriter {
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        super::journal::make_dir(dir)?;
        let file = append(&numbered(dir, 0))?;
        let size = file.metadata()?.len();
        let open = ['o', 'e', 'O', 'E'].map(|mark| (mark, Vec::new()));
        Ok(Self { dir: dir.to_owned(), file: Some(file), size, open })
    }

    /// Takes some bytes of a stream. Errors of the disk lose lines and nothing else.
    pub(super) fn take(&mut self, stream: char, bytes: &[u8]) {
        let Some(at) = self.open.iter().position(|(mark, _)| *mark == stream) else { return };
        let mut waiting = std::mem::take(&mut self.open[at].1);
        waiting.extend_from_slice(bytes);
        let mut rest = waiting.as_slice();
        loop {
            match rest.iter().position(|byte| *byte == b'\n') {
                Some(end) if end <= LINE_MAX => {
                    self.line(stream, &rest[..end], false);
                    rest = &rest[end + 1..];
                }
                _ if rest.len() > LINE_MAX => {
                    self.line(stream, &rest[..LINE_MAX], true);
                    rest = &rest[LINE_MAX..];
                }
                _ => break,
            }
        }
        self.open[at].1 = rest.to_vec();
    }

    /// Writes what came of these streams without an end of line.
    pub(super) fn finish(&mut self, streams: [char; 2]) {
        for at in 0..self.open.len() {
            if !streams.contains(&self.open[at].0) {
                continue;
            }
            let (stream, rest) = (self.open[at].0, std::mem::take(&mut self.open[at].1));
            if !rest.is_empty() {
                self.line(stream, &rest, false);
            }
        }
    }

    fn line(&mut self, stream: char, text: &[u8], goes_on: bool) {
        let now = super::journal::wall_now();
        let (stream, more) = (stream.to_ascii_lowercase(), if goes_on { "+" } else { "" });
        let mut line = format!("{}.{:06} {stream}{more} ", now / 1_000_000, now % 1_000_000).into_bytes();
        line.extend_from_slice(text);
        line.push(b'\n');
        if self.size > 0 && self.size + line.len() as u64 > FILE_BYTES {
            self.rotate();
        }
        if self.file.is_none() {
            self.file = append(&numbered(&self.dir, 0)).ok();
        }
        if let Some(file) = &mut self.file
            && file.write_all(&line).is_ok()
        {
            self.size += line.len() as u64;
        }
    }

    fn rotate(&mut self) {
        for n in (1..FILES).rev() {
            let _ = std::fs::rename(numbered(&self.dir, n - 1), numbered(&self.dir, n));
        }
        self.file = None;
        self.size = 0;
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

/// Which output of the process a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogStream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// One line that an instance wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// When the supervisor took it.
    pub at: Wall,
    /// Where it was written.
    pub stream: LogStream,
    /// The text without its end of line; bytes that are not UTF-8 are shown as U+FFFD.
    pub text: String,
    /// The text goes on in the next line of the same stream: it was longer than 16 KiB.
    pub goes_on: bool,
}

impl LogLine {
    pub(super) fn parse(line: &[u8]) -> Option<Self> {
        let mut parts = line.splitn(3, |byte| *byte == b' ');
        let (secs, micros) = std::str::from_utf8(parts.next()?).ok()?.split_once('.')?;
        let at = Wall(secs.parse::<u64>().ok()?.checked_mul(1_000_000)?.checked_add(micros.parse().ok()?)?);
        let (stream, goes_on) = match parts.next()? {
            b"o" => (LogStream::Out, false),
            b"e" => (LogStream::Err, false),
            b"o+" => (LogStream::Out, true),
            b"e+" => (LogStream::Err, true),
            _ => return None,
        };
        let text = String::from_utf8_lossy(parts.next()?).into_owned();
        Some(Self { at, stream, text, goes_on })
    }
}

/// How far somebody has read: a file, by the time of its first line, and a place in it. Neither its name nor its inode
/// would do: the one changes, the other is used again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    first: u64,
    offset: u64,
}

/// The log files of one instance, to be read while they are written.
#[derive(Clone, Debug)]
pub struct Logs {
    dir: PathBuf,
}

impl Logs {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// The last `n` lines, oldest first, and where the next one will be. Blocks on the disk; at most 4 MiB are read.
    ///
    /// # Errors
    /// Of the disk.
    pub fn tail(&self, n: usize) -> io::Result<(Vec<LogLine>, Cursor)> {
        let mut lines = Vec::new();
        let mut cursor = Cursor::default();
        self.read_from(&mut cursor, &mut lines)?;
        let skip = lines.len().saturating_sub(n);
        Ok((lines.split_off(skip), cursor))
    }

    /// The lines since `cursor`, which moves on. If the file that it was in is gone, everything that is left comes.
    /// Blocks on the disk.
    ///
    /// # Errors
    /// Of the disk.
    pub fn more(&self, cursor: &mut Cursor) -> io::Result<Vec<LogLine>> {
        let mut lines = Vec::new();
        self.read_from(cursor, &mut lines)?;
        Ok(lines)
    }

    /// The last `n` lines and then every new one, until the receiver is dropped or the files are gone. Call it inside a
    /// tokio runtime.
    #[must_use]
    pub fn follow(&self, n: usize) -> mpsc::Receiver<LogLine> {
        // Lines wait here while a slow reader catches up; the files wait behind them.
        let (lines, receiver) = mpsc::channel(256);
        let logs = self.clone();
        tokio::spawn(async move {
            let mut cursor = None;
            while !lines.is_closed() {
                let (reader, before) = (logs.clone(), cursor);
                let read = tokio::task::spawn_blocking(move || match before {
                    None => reader.tail(n),
                    Some(mut cursor) => reader.more(&mut cursor).map(|lines| (lines, cursor)),
                });
                let Ok(Ok((new, after))) = read.await else { return };
                cursor = Some(after);
                for line in new {
                    if lines.send(line).await.is_err() {
                        return;
                    }
                }
                if !logs.dir.is_dir() {
                    return;
                }
                tokio::select! {
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                    () = lines.closed() => return,
                }
            }
        });
        receiver
    }

    fn read_from(&self, cursor: &mut Cursor, lines: &mut Vec<LogLine>) -> io::Result<()> {
        // Opened before any is read, newest first: a rotation meanwhile renames them, but loses none that is open.
        let mut files = Vec::new();
        for n in 0..FILES {
            match File::open(numbered(&self.dir, n)) {
                Ok(file) => files.push(file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        let mut firsts = Vec::new();
        for file in &files {
            firsts.push(first_time(file)?);
        }
        let from = firsts.iter().position(|first| *first != 0 && *first == cursor.first);
        let oldest = from.unwrap_or(files.len().saturating_sub(1));
        for at in (0..files.len().min(oldest + 1)).rev() {
            // A rotation between two openings shows one file twice. An empty file has nothing to be known by yet.
            if firsts[at] == 0 || firsts[..at].contains(&firsts[at]) {
                continue;
            }
            let begin = if from == Some(at) { cursor.offset } else { 0 };
            let mut text = Vec::new();
            files[at].seek(SeekFrom::Start(begin))?;
            (&files[at]).take(2 * FILE_BYTES).read_to_end(&mut text)?;
            // Half a line is read again when it is whole.
            let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            lines.extend(text[..whole].split(|byte| *byte == b'\n').filter_map(LogLine::parse));
            *cursor = Cursor { first: firsts[at], offset: begin + whole as u64 };
        }
        Ok(())
    }
}

/// The time of a file's first line in microseconds; 0 if it has none.
fn first_time(file: &File) -> io::Result<u64> {
    let mut head = Vec::new();
    file.take(40).read_to_end(&mut head)?;
    // Whatever follows the stream's mark is text; a line without any will do.
    let end = head.iter().enumerate().filter(|(_, byte)| **byte == b' ').nth(1).map(|(at, _)| at + 1);
    Ok(end.and_then(|end| LogLine::parse(&head[..end])).map_or(0, |line| line.at.0))
}
