//! `crux files`.

use super::{Ctx, write};
use crate::Outcome;
use crate::output::{self, Format, names};
use clap::Subcommand;
use crux_api::intent::{Upload, hash_file};
use crux_api::json::{Code, Counter, ErrorDoc, FileEntry, FileList};
use crux_api::routes;
use crux_names::Hash256;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Files by content.
#[derive(Debug, Subcommand)]
pub(crate) enum FilesCommand {
    /// Store files; prints their names, which are their contents' SHA-256
    Push {
        /// Which
        #[arg(required = true)]
        paths: Vec<PathBuf>,
    },
    /// Read a file by its name
    Fetch {
        /// Its SHA-256
        sha256: Hash256Arg,
        /// Where to; without it, standard output
        #[arg(long, value_name = "PATH")]
        out: Option<PathBuf>,
    },
    /// What this fulcrum stores
    List,
}

/// A SHA-256 on the command line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hash256Arg(Hash256);

impl std::str::FromStr for Hash256Arg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map(Self).map_err(|e: crux_names::NotHex| e.to_string())
    }
}

pub(crate) async fn run(ctx: &Ctx, command: FilesCommand) -> Outcome {
    match command {
        FilesCommand::List => ctx.show_polled(routes::FILES, list_text).await,
        FilesCommand::Push { paths } => push(ctx, &paths).await,
        FilesCommand::Fetch { sha256, out } => fetch(ctx, sha256.0, out.as_deref()).await,
    }
}

fn list_text(list: &FileList, format: Format) -> String {
    if format == Format::Name {
        return names(list.files.iter().map(|file| file.sha256.as_str()));
    }
    let rows = list.files.iter().map(|file| {
        let pinned = if file.pinned { "pinned" } else { "" };
        [file.sha256.clone(), file.size.to_string(), pinned.to_owned()]
    });
    output::table(["SHA-256", "BYTES", "KEPT"], rows)
}

async fn push(ctx: &Ctx, paths: &[PathBuf]) -> Outcome {
    let mut uploads = Vec::new();
    for path in paths {
        let unreadable = |e: io::Error| {
            let cause = format!("cannot read {}: {e}; nothing was pushed", path.display());
            ErrorDoc::new(
                Code::Failed,
                cause,
                "check the path; a directory is pushed with `crux run --files` or a manifest",
            )
        };
        let (sha256, size) = hash_file(path).map_err(unreadable)?;
        uploads.push(Upload { source: path.clone(), sha256, size });
    }
    write::push(&ctx.client(), &uploads).await?;
    let entry =
        |upload: &Upload| FileEntry { sha256: upload.sha256.to_string(), size: Counter(upload.size), pinned: false };
    ctx.print(&FileList { files: uploads.iter().map(entry).collect() }, &|list: &FileList, format| match format {
        Format::Wide => list_text(list, format),
        _ => names(list.files.iter().map(|file| file.sha256.as_str())),
    })?;
    Ok(0)
}

async fn fetch(ctx: &Ctx, sha256: Hash256, out: Option<&Path>) -> Outcome {
    let failed = |cause: String| ErrorDoc::new(Code::Failed, cause, "check the path and the free space");
    // Beside its destination until it is verified: a name never shows half a file or a wrong one.
    let beside = match out {
        Some(out) => {
            let mut name = out.file_name().unwrap_or_default().to_owned();
            name.push(format!(".{}.part", std::process::id()));
            out.with_file_name(name)
        }
        None => std::env::temp_dir().join(format!("crux-fetch-{}", std::process::id())),
    };
    let result = fetch_to(ctx, sha256, &beside).await.and_then(|()| match out {
        Some(out) => {
            fs::rename(&beside, out).map_err(|e| failed(format!("cannot write {}: {e}", out.display())))?;
            output::note(&format!("{sha256} is in {}", out.display()));
            Ok(0)
        }
        None => {
            let mut file =
                fs::File::open(&beside).map_err(|e| failed(format!("cannot read {}: {e}", beside.display())))?;
            let mut stdout = io::stdout().lock();
            io::copy(&mut file, &mut stdout)
                .and_then(|_| stdout.flush())
                .map_err(|e| failed(format!("cannot write to standard output: {e}")))?;
            Ok(0)
        }
    });
    if out.is_none() || result.is_err() {
        // It may never have been made.
        let _ = fs::remove_file(&beside);
    }
    result
}

async fn fetch_to(ctx: &Ctx, sha256: Hash256, path: &Path) -> Result<(), ErrorDoc> {
    let failed = |e: io::Error| {
        ErrorDoc::new(
            Code::Failed,
            format!("cannot write {}: {e}", path.display()),
            "check the path and the free space",
        )
    };
    let mut file = fs::OpenOptions::new().write(true).create_new(true).open(path).map_err(failed)?;
    ctx.client().fetch_file(&sha256.to_string(), &mut file).await?;
    file.sync_all().map_err(failed)?;
    let (found, _) = hash_file(path).map_err(failed)?;
    if found != sha256 {
        let cause = format!("what came has the SHA-256 {found}; it was thrown away");
        return Err(ErrorDoc::new(Code::Failed, cause, "try again; if it stays so, this fulcrum's store is damaged"));
    }
    Ok(())
}
