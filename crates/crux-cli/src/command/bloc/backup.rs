//! `crux bloc backup`: one encrypted file, written beside and put in its place only when all of it is on disk.

use super::lock::LockArgs;
use crate::Outcome;
use crate::command::Ctx;
use crate::output::{Format, clean, may_draw, note, short};
use crux_api::backup::{Contents, FORMAT, Packer};
use crux_api::json::{Backup, BackupFile, Code, ErrorDoc};
use crux_pki::age::{AgeError, Sealer};
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use std::fs::{self, File};
use std::io::BufWriter;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

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

/// A file that is not there under its name before it is whole, and is gone if it never is.
struct Beside {
    path: PathBuf,
    beside: PathBuf,
    done: bool,
}

impl Beside {
    fn make(path: &Path) -> Result<(Self, File), ErrorDoc> {
        if path.symlink_metadata().is_ok() {
            let cause = format!("{} exists already and is not overwritten", path.display());
            return Err(ErrorDoc::new(Code::Failed, cause, "crux bloc backup NEW-FILE"));
        }
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.new", std::process::id()));
        let beside = path.with_file_name(name);
        let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside);
        let file = file.map_err(|e| failed(path, &e))?;
        Ok((Self { path: path.to_owned(), beside, done: false }, file))
    }

    /// In its place, if nobody has put something there meanwhile.
    fn keep(mut self) -> std::io::Result<()> {
        // A hard link does not replace what is there, which a rename would.
        match fs::hard_link(&self.beside, &self.path) {
            // Some file systems know no links.
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
                fs::rename(&self.beside, &self.path)?;
                self.done = true;
            }
            linked => linked?,
        }
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
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

pub(super) async fn run(ctx: &Ctx, args: BackupArgs) -> Outcome {
    let (beside, file) = Beside::make(&args.file)?;
    let lock = args.lock.lock()?;
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
    let sealer = Sealer::new(BufWriter::new(file), &lock).map_err(unsealed)?;
    let contents = Contents { about, trust: facts.trust, versions };
    let mut packer = Packer::new(sealer, &contents).map_err(io)?;
    let total = contents.about.files.iter().map(|file| file.size.0).sum();
    let bar = bar(total);
    for file in &contents.about.files {
        packer.file(file).map_err(io)?;
        client.fetch_file(&file.sha256, &mut packer).await?;
        bar.inc(file.size.0);
    }
    bar.finish_and_clear();
    let writer = packer.finish().and_then(Sealer::finish).map_err(io)?;
    let file = writer.into_inner().map_err(|e| failed(&args.file, &e.error()))?;
    file.sync_all().and_then(|()| beside.keep()).map_err(io)?;
    let about = contents.about;
    if !about.missing.is_empty() {
        let what = if args.without_files { "are left out" } else { "are nowhere, so they are not in it" };
        note(&format!("{} files that services need {what}: -o json names them", about.missing.len()));
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
    Ok(u8::from(!args.without_files && !about.missing.is_empty()))
}

pub(super) fn bar(total: u64) -> ProgressBar {
    let bar = if may_draw() && total > 1 << 20 { ProgressBar::new(total) } else { ProgressBar::hidden() };
    if let Ok(style) = ProgressStyle::with_template("{bytes}/{total_bytes} {wide_bar}") {
        bar.set_style(style);
    }
    bar
}

/// Which files can be had, and which cannot: each is asked for once, and what this fulcrum lacks it fetches from others.
async fn present(ctx: &Ctx, files: Vec<BackupFile>) -> Result<(Vec<BackupFile>, Vec<BackupFile>), ErrorDoc> {
    let client = ctx.client();
    let list: crux_api::json::FileList = client.get(crux_api::routes::FILES).await?;
    let (mut here, mut missing) = (Vec::new(), Vec::new());
    for file in files {
        let known = list.files.iter().any(|one| one.sha256 == file.sha256 && one.size == file.size);
        match known {
            true => here.push(file),
            false => match client.fetch_file(&file.sha256, &mut std::io::sink()).await {
                Ok(size) if size == file.size.0 => here.push(file),
                Ok(_) => missing.push(file),
                Err(e) if e.code == Code::NotFound => missing.push(file),
                Err(e) => return Err(e),
            },
        }
    }
    Ok((here, missing))
}
