//! `crux bloc backup`: one encrypted file, written beside and put in its place only when all of it is on disk.

use super::lock::LockArgs;
use crate::Outcome;
use crate::command::Ctx;
use crate::output::{Format, clean, may_draw, note, short};
use crux_api::backup::{Contents, FORMAT, Packer};
use crux_api::json::{Backup, BackupFile, Code, ErrorDoc};
use crux_pki::age::{AgeError, Lock, Sealer};
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use std::fs::{self, File};
use std::io::{BufWriter, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use tokio::signal::unix::{SignalKind, signal};

/// What to write, and how it is locked.
#[derive(Debug, clap::Args)]
pub(crate) struct BackupArgs {
    /// Where to: a new file
    file: PathBuf,
    #[command(flatten)]
    lock: LockArgs,
    /// Leave out the files that services need; whoever restores it needs them from elsewhere
    #[arg(long)]
    without_files: bool,
}

/// A file that is not there under its name before it is whole, and is gone if it never is: also when the command is
/// interrupted, though not when it is killed.
struct Beside {
    path: PathBuf,
    beside: PathBuf,
    done: bool,
}

impl Beside {
    fn make(path: &Path) -> Result<(Self, File), ErrorDoc> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.new", std::process::id()));
        let beside = path.with_file_name(name);
        let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside);
        let file = file.map_err(|e| failed(path, &e))?;
        Ok((Self { path: path.to_owned(), beside, done: false }, file))
    }

    /// In its place, if nobody has put something there meanwhile.
    fn keep(mut self) -> Result<(), ErrorDoc> {
        // A hard link does not replace what is there, which a rename would.
        match fs::hard_link(&self.beside, &self.path) {
            // Some file systems know no links.
            Err(e) if e.kind() != ErrorKind::AlreadyExists => {
                fs::rename(&self.beside, &self.path).map_err(|e| failed(&self.path, &e))?;
                self.done = true;
            }
            linked => linked.map_err(|e| failed(&self.path, &e))?,
        }
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(|e| {
            let cause = format!(
                "{} is written, all of it; but its folder cannot be synced ({e}), so that its name may not outlive a power cut",
                self.path.display()
            );
            ErrorDoc::new(Code::Failed, cause, "check that disk, then read it once: crux bloc restore FILE --dry-run")
        })
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        if !self.done {
            // What is left behind is only clutter.
            let _ = fs::remove_file(&self.beside);
        }
    }
}

fn failed(path: &Path, e: &dyn std::fmt::Display) -> ErrorDoc {
    let cause = format!("cannot write {}: {e}; nothing is left of it", path.display());
    ErrorDoc::new(Code::Failed, cause, "free space there, or name another place: crux bloc backup NEW-FILE")
}

fn interrupted(path: &Path) -> ErrorDoc {
    let cause = format!("{} is not written: interrupted; nothing is left of it", path.display());
    ErrorDoc::new(Code::Failed, cause, "the same command again")
}

pub(super) async fn run(ctx: &Ctx, args: BackupArgs) -> Outcome {
    if args.file.symlink_metadata().is_ok() {
        let cause = format!("{} exists already and is not overwritten", args.file.display());
        return Err(ErrorDoc::new(Code::Failed, cause, "crux bloc backup NEW-FILE"));
    }
    // Asked before signals are caught: Ctrl-C ends the question.
    let lock = args.lock.lock()?;
    let mut terminated = signal(SignalKind::terminate()).map_err(|e| failed(&args.file, &e))?;
    tokio::select! {
        outcome = write(ctx, &args, &lock) => outcome,
        Ok(()) = tokio::signal::ctrl_c() => Err(interrupted(&args.file)),
        _ = terminated.recv() => Err(interrupted(&args.file)),
    }
}

async fn write(ctx: &Ctx, args: &BackupArgs, lock: &Lock) -> Outcome {
    let (beside, file) = Beside::make(&args.file)?;
    let client = ctx.client();
    let (facts, versions) = client.bloc_facts().await?;
    let mut about = Backup {
        format: FORMAT,
        bloc: facts.bloc,
        at: format!("{:.6}", Timestamp::now()),
        node: facts.node,
        digest: facts.digest,
        versions: facts.versions,
        facts: facts.facts,
        roots: facts.roots,
        files: facts.files,
        missing: Vec::new(),
        stable: facts.stable,
        members: facts.members,
        agree: facts.agree,
        apart: facts.apart,
    };
    if args.without_files {
        about.missing = std::mem::take(&mut about.files);
    } else {
        // The archive begins with what is in it.
        let (files, missing) = present(ctx, std::mem::take(&mut about.files)).await?;
        (about.files, about.missing) = (files, missing);
    }
    let unsealed = |e: AgeError| failed(&args.file, &e);
    let io = |e: std::io::Error| failed(&args.file, &e);
    let sealer = Sealer::new(BufWriter::new(file), lock).map_err(unsealed)?;
    let contents = Contents { about, trust: facts.trust, versions };
    let mut packer = Packer::new(sealer, &contents).map_err(io)?;
    let total = contents.about.files.iter().map(|file| file.size.0).sum();
    let bar = bar(total);
    for file in &contents.about.files {
        packer.file(file).map_err(io)?;
        client.fetch_file(&file.sha256, &mut packer).await?;
        packer.whole().map_err(|e| match e.kind() {
            ErrorKind::InvalidData | ErrorKind::UnexpectedEof => {
                let cause = format!(
                    "{} gave something else for a file: {e}; nothing is left of the backup",
                    contents.about.node
                );
                ErrorDoc::new(Code::Failed, cause, "take it of another one: crux bloc backup NEW-FILE --at NODE")
            }
            _ => io(e),
        })?;
        bar.inc(file.size.0);
    }
    bar.finish_and_clear();
    let writer = packer.finish().and_then(Sealer::finish).map_err(io)?;
    let file = writer.into_inner().map_err(|e| failed(&args.file, &e.error()))?;
    file.sync_all().map_err(io)?;
    beside.keep()?;
    let about = contents.about;
    if !about.missing.is_empty() {
        let what = if args.without_files { "are left out" } else { "are nowhere, so they are not in it" };
        note(&format!("{} files that services need {what}: -o json names them", about.missing.len()));
    }
    let doubt = doubt(&about);
    if let Some(doubt) = &doubt {
        note(doubt);
    }
    let place = args.file.display().to_string();
    ctx.print(&about, &|about: &Backup, format| match format {
        Format::Name => clean(&place),
        _ => clean(&format!(
            "{place}: bloc {} as {} held it: {} facts, {} files, digest {}",
            about.bloc,
            about.node,
            about.facts,
            about.files.len(),
            short(&about.digest)
        )),
    })?;
    Ok(match (!args.without_files && !about.missing.is_empty(), doubt) {
        (true, _) => Code::Failed.exit(),
        (false, Some(_)) => Code::NotConverged.exit(),
        (false, None) => 0,
    })
}

/// Why the backup may lack what others of the flock hold; `None` if all of them held the same.
fn doubt(about: &Backup) -> Option<String> {
    let next = "take another when crux status shows a stable flock whose members hold the same facts";
    if about.members == 0 {
        return Some(format!("{} did not say whether its flock agrees with it: {next}", about.node));
    }
    let mut doubts = Vec::new();
    if !about.stable {
        doubts.push("its flock was not stable".to_owned());
    }
    if about.agree < about.members {
        let apart = match about.apart.len() {
            0 => String::new(),
            1..=5 => format!(" ({} held something else, or did not say)", about.apart.join(", ")),
            many => {
                format!(" ({} and {} more held something else, or did not say)", about.apart[..5].join(", "), many - 5)
            }
        };
        doubts.push(format!("{} of {} members held the same{apart}", about.agree, about.members));
    }
    (!doubts.is_empty())
        .then(|| clean(&format!("written as {} held it, and {}: {next}", about.node, doubts.join(", and "))))
}

pub(super) fn bar(total: u64) -> ProgressBar {
    let bar = if may_draw() && total > 1 << 20 { ProgressBar::new(total) } else { ProgressBar::hidden() };
    if let Ok(style) = ProgressStyle::with_template("{bytes}/{total_bytes} {wide_bar}") {
        bar.set_style(style);
    }
    bar
}

/// Which files can be had whole, and which cannot: the fulcrum looks at each, and fetches from others what it lacks or what
/// is damaged.
async fn present(ctx: &Ctx, files: Vec<BackupFile>) -> Result<(Vec<BackupFile>, Vec<BackupFile>), ErrorDoc> {
    let client = ctx.client();
    let (mut here, mut missing) = (Vec::new(), Vec::new());
    for file in files {
        match client.check_file(&file.sha256, file.size.0).await {
            Ok(size) if size.is_none_or(|size| size == file.size.0) => here.push(file),
            Ok(_) => missing.push(file),
            Err(e) if e.code == Code::NotFound => missing.push(file),
            Err(e) => return Err(e),
        }
    }
    Ok((here, missing))
}
