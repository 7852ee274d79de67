//! With what a backup is locked, and opened: a passphrase from a file, the environment or the terminal, or keys of age.
//! No secret is ever an argument, where everybody on the machine could read it.

use crux_api::json::{Code, ErrorDoc};
use crux_pki::age::{Key, Lock, Recipient, Unlock};
use crux_pki::zeroize::Zeroizing;
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, tcgetattr, tcsetattr};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Where a passphrase may stand that is not asked for.
const VARIABLE: &str = "CRUX_PASSPHRASE";
/// Longest file with a passphrase or keys.
const SECRET_MAX: u64 = 64 * 1024;
/// Longest passphrase that is typed.
const TYPED_MAX: usize = 1024;

/// How to lock.
#[derive(Debug, clap::Args)]
pub(crate) struct LockArgs {
    /// The passphrase stands in this file [default: CRUX_PASSPHRASE in the environment, or it is asked for]
    #[arg(long, value_name = "FILE", conflicts_with = "recipient")]
    passphrase_file: Option<PathBuf>,
    /// Encrypt for this public key of age instead, so that no passphrase is needed here; may be given several times
    #[arg(long, value_name = "age1…")]
    recipient: Vec<String>,
}

/// How to open.
#[derive(Debug, clap::Args)]
pub(crate) struct UnlockArgs {
    /// The passphrase stands in this file [default: CRUX_PASSPHRASE in the environment, or it is asked for]
    #[arg(long, value_name = "FILE", conflicts_with = "identity")]
    passphrase_file: Option<PathBuf>,
    /// The key of age for which it was encrypted stands in this file, as age-keygen writes it
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
}

impl LockArgs {
    pub(super) fn lock(&self) -> Result<Lock, ErrorDoc> {
        if self.recipient.is_empty() {
            return passphrase(self.passphrase_file.as_deref(), true).map(Lock::Passphrase);
        }
        let wrong =
            |text: &str, e| ErrorDoc::new(Code::Usage, format!("--recipient {text}: {e}"), "age-keygen -y FILE");
        let recipients = self.recipient.iter().map(|text| Recipient::parse(text.trim()).map_err(|e| wrong(text, e)));
        recipients.collect::<Result<_, _>>().map(Lock::For)
    }
}

impl UnlockArgs {
    pub(super) fn unlock(&self) -> Result<Unlock, ErrorDoc> {
        let Some(path) = &self.identity else {
            return passphrase(self.passphrase_file.as_deref(), false).map(Unlock::Passphrase);
        };
        let keys = Key::parse_all(&read_secret(path, "--identity")?);
        keys.map(Unlock::Keys).map_err(|e| {
            ErrorDoc::new(Code::Usage, format!("--identity {}: {e}", path.display()), "age-keygen -o FILE makes one")
        })
    }
}

/// A file with a secret, which nobody else may read.
fn read_secret(path: &Path, flag: &str) -> Result<Zeroizing<String>, ErrorDoc> {
    let failed =
        |code, cause: String, next: &str| ErrorDoc::new(code, format!("{flag} {}: {cause}", path.display()), next);
    let unreadable = |e: std::io::Error| {
        let code = if e.kind() == std::io::ErrorKind::NotFound { Code::NotFound } else { Code::Failed };
        failed(code, e.to_string(), "name a file that you may read")
    };
    let file = File::open(path).map_err(unreadable)?;
    let meta = file.metadata().map_err(unreadable)?;
    // What is a pipe has no other readers.
    if meta.is_file() && meta.permissions().mode() & 0o077 != 0 {
        let cause = format!("others may read it (mode {:o})", meta.permissions().mode() & 0o777);
        return Err(failed(Code::Failed, cause, &format!("chmod 600 {}", path.display())));
    }
    let mut text = Zeroizing::new(String::new());
    file.take(SECRET_MAX).read_to_string(&mut text).map_err(unreadable)?;
    Ok(text)
}

fn passphrase(file: Option<&Path>, twice: bool) -> Result<Zeroizing<String>, ErrorDoc> {
    let (passphrase, from) = match file {
        Some(path) => (read_secret(path, "--passphrase-file")?, path.display().to_string()),
        None => match std::env::var(VARIABLE) {
            Ok(value) => (Zeroizing::new(value), VARIABLE.to_owned()),
            Err(_) => (typed(twice)?, "what was typed".to_owned()),
        },
    };
    // An editor ends a file with a line end that is no part of it.
    let passphrase = Zeroizing::new(passphrase.trim_end_matches(['\n', '\r']).to_owned());
    if passphrase.is_empty() {
        let cause = format!("{from} holds no passphrase");
        return Err(ErrorDoc::new(Code::Usage, cause, "--passphrase-file FILE with a long one in it"));
    }
    Ok(passphrase)
}

fn typed(twice: bool) -> Result<Zeroizing<String>, ErrorDoc> {
    let next = "--passphrase-file FILE, or CRUX_PASSPHRASE in the environment";
    let failed = |cause: String| ErrorDoc::new(Code::Usage, cause, next);
    let terminal = fs::OpenOptions::new().read(true).write(true).open("/dev/tty");
    let Ok(mut terminal) = terminal else {
        return Err(failed("a backup has a passphrase, none was given, and there is no terminal to ask at".to_owned()));
    };
    let first = ask(&mut terminal, "passphrase of the backup: ").map_err(|e| failed(e.to_string()))?;
    if twice && *ask(&mut terminal, "the same once more: ").map_err(|e| failed(e.to_string()))? != *first {
        return Err(failed("the two are not the same; nothing was written".to_owned()));
    }
    Ok(first)
}

/// A line that is not shown. The terminal is as it was afterwards, also when the line was given up with Ctrl-C.
fn ask(terminal: &mut File, question: &str) -> std::io::Result<Zeroizing<String>> {
    terminal.write_all(question.as_bytes())?;
    let before = tcgetattr(&*terminal)?;
    let mut silent = before.clone();
    silent.local_modes &= !(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
    silent.special_codes[SpecialCodeIndex::VMIN] = 1;
    silent.special_codes[SpecialCodeIndex::VTIME] = 0;
    tcsetattr(&*terminal, OptionalActions::Flush, &silent)?;
    let line = read_line(terminal);
    tcsetattr(&*terminal, OptionalActions::Flush, &before)?;
    terminal.write_all(b"\n")?;
    line
}

fn read_line(terminal: &mut File) -> std::io::Result<Zeroizing<String>> {
    const CTRL_C: u8 = 3;
    const CTRL_D: u8 = 4;
    const CTRL_U: u8 = 21;
    let mut line = Zeroizing::new(Vec::with_capacity(TYPED_MAX));
    let mut byte = [0];
    while terminal.read(&mut byte)? == 1 && line.len() < TYPED_MAX {
        match byte[0] {
            b'\r' | b'\n' | CTRL_D => break,
            CTRL_C => return Err(std::io::Error::other("given up")),
            CTRL_U => line.clear(),
            0x7f | 0x08 => {
                // A letter may have several bytes.
                while line.pop().is_some_and(|last| last & 0xc0 == 0x80) {}
            }
            byte => line.push(byte),
        }
    }
    let text = std::str::from_utf8(&line).map_err(|_| std::io::Error::other("it is no UTF-8"))?;
    Ok(Zeroizing::new(text.to_owned()))
}
