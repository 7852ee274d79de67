//! `crux bloc restore`: all of the backup is read and compared before anything is sent; each version is judged by the
//! fulcrum as one that a peer sends. To run it again does no harm: it goes on where it stopped.

use super::backup::bar;
use super::lock::UnlockArgs;
use crate::Outcome;
use crate::command::Ctx;
use crate::operator::Operator;
use crate::output::{Format, clean, names};
use crux_api::backup::{self, BadBackup, Claimed, Contents, Files, WRITE_MAX};
use crux_api::client::Client;
use crux_api::json::{
    BackupFile, Code, Confab, ErrorDoc, FileList, RestoreAnswer, RestoreFate, Restored, RestoredFact, to_hex,
};
use crux_api::routes::{self, RestoreRequest};
use crux_pki::age::{AgeError, FileKey, Opener};
use crux_pki::fingerprint;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Most versions and bytes of one request.
const VERSIONS: usize = 256;
const BYTES: usize = 1 << 20;
/// Most of one path in one request: as many as a fulcrum takes, and in hex less than a request may have.
const PATH_VERSIONS: usize = WRITE_MAX;
const PATH_BYTES: usize = 3 << 20;
/// Most names that are listed for people.
const LISTED: usize = 20;

/// From where, and how it is opened.
#[derive(Debug, clap::Args)]
pub(crate) struct RestoreArgs {
    /// What `crux bloc backup` wrote
    file: PathBuf,
    #[command(flatten)]
    unlock: UnlockArgs,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Bring back also what fulcrums said of themselves: those that are not here count as members of their hordes then,
    /// until they are or are forgotten
    #[arg(long)]
    rows: bool,
}

type Archive = Opener<BufReader<File>>;

/// Why a backup cannot be used.
fn bad(path: &Path, cause: impl std::fmt::Display, next: &str) -> ErrorDoc {
    ErrorDoc::new(Code::BadBackup, format!("{}: {cause}; nothing was changed", path.display()), next)
}

fn locked(path: &Path, e: &AgeError) -> ErrorDoc {
    let next = match e {
        AgeError::Passphrase => "type it again, or name the file it stands in: --passphrase-file FILE",
        AgeError::OtherKey | AgeError::NeedsKey => "--identity FILE with the key for which it was encrypted",
        AgeError::NeedsPassphrase => "--passphrase-file FILE",
        _ => "take another copy of it, or an older backup",
    };
    bad(path, e, next)
}

fn unread(path: &Path, e: &BadBackup) -> ErrorDoc {
    let next = match e {
        BadBackup::Newer(_) => "restore it with the version of crux that wrote it, or a later one",
        _ => "take another copy of it, or an older backup",
    };
    bad(path, e, next)
}

fn open(path: &Path) -> Result<BufReader<File>, ErrorDoc> {
    let opened = File::open(path).and_then(|file| {
        if file.metadata()?.is_dir() { Err(io::ErrorKind::IsADirectory.into()) } else { Ok(BufReader::new(file)) }
    });
    opened.map_err(|e| {
        let code = if e.kind() == io::ErrorKind::NotFound { Code::NotFound } else { Code::Failed };
        ErrorDoc::new(code, format!("cannot read {}: {e}", path.display()), "crux bloc restore FILE")
    })
}

/// Reads all of it, files too: what is damaged anywhere is not begun. But for files that were damaged already when the
/// backup was taken: the facts do not depend on them, and the files are named.
fn inspect(path: &Path, unlock: &UnlockArgs) -> Result<(Contents, FileKey, Vec<BackupFile>), ErrorDoc> {
    let file = open(path)?;
    let (opener, key) = Opener::new(file, &unlock.unlock()?).map_err(|e| locked(path, &e))?;
    let (contents, mut files) = backup::read(opener).map_err(|e| unread(path, &e))?;
    while files.next_file().map_err(|e| unread(path, &e))?.is_some() {}
    Ok((contents, key, files.damaged().to_vec()))
}

/// The files once more, for what is in them.
fn files_of(path: &Path, key: &FileKey) -> Result<Files<Archive>, ErrorDoc> {
    let opener = Opener::again(open(path)?, key).map_err(|e| locked(path, &e))?;
    backup::read(opener).map(|(_, files)| files).map_err(|e| unread(path, &e))
}

pub(super) async fn run(ctx: &Ctx, args: RestoreArgs) -> Outcome {
    let path = args.file.as_path();
    let (contents, key, damaged) = inspect(path, &args.unlock)?;
    let operator = Operator::load(&ctx.global, &ctx.target)?;
    let client = ctx.client();
    let confab: Confab = client.get(routes::CONFAB).await?;
    let (theirs, ours) = (&contents.about.bloc, &confab.bloc);
    let own = operator.bundle();
    if theirs != ours || own.identity().bloc.as_str() != ours {
        let whose =
            if theirs == ours { format!("the operator is of bloc {}", own.identity().bloc) } else { String::new() };
        let cause =
            if theirs == ours { whose } else { format!("it is of bloc {theirs}, and this fulcrum is of bloc {ours}") };
        return Err(bad(path, cause, "--at a fulcrum of that bloc, and --as one of its operators"));
    }
    let roots: BTreeSet<String> = own.trust().roots().map(|root| fingerprint(root).to_string()).collect();
    if !contents.about.roots.iter().any(|root| roots.contains(root)) {
        let cause = format!(
            "it is of another bloc that is called {theirs} too: none of the roots that it trusted is trusted here"
        );
        return Err(bad(path, cause, "crux ca inspect BUNDLE shows the roots; crux ca trust BUNDLE --add adds one"));
    }
    let mut claimed = backup::claimed(&contents.versions).map_err(|e| unread(path, &e))?;
    let all = claimed.len();
    claimed.retain(|one| args.rows || !one.row);
    let mut restored = Restored {
        backup: contents.about,
        dry_run: args.dry_run,
        taken: Vec::new(),
        held: 0,
        replaced: 0,
        refused: Vec::new(),
        rows_left: u32::try_from(all - claimed.len()).unwrap_or(u32::MAX),
        files_stored: 0,
        files_held: 0,
        files_damaged: damaged,
        converged: true,
    };
    // First it is asked whether all of it would be refused, then files, since what needs them starts as soon as it is known.
    if !args.dry_run {
        send(&client, &claimed, true, &mut restored.clone()).await?;
    }
    store(&client, path, &key, &mut restored).await?;
    send(&client, &claimed, args.dry_run, &mut restored).await?;
    ctx.print(&restored, &text)?;
    if !restored.refused.is_empty() || !restored.files_damaged.is_empty() {
        return Ok(Code::Failed.exit());
    }
    Ok(if restored.converged { 0 } else { Code::NotConverged.exit() })
}

/// Stores the files that are not there.
async fn store(client: &Client, path: &Path, key: &FileKey, restored: &mut Restored) -> Result<(), ErrorDoc> {
    let there: FileList = client.get(routes::FILES).await?;
    let there: BTreeSet<String> = there.files.into_iter().map(|file| file.sha256).collect();
    let damaged: BTreeSet<&str> = restored.files_damaged.iter().map(|file| file.sha256.as_str()).collect();
    let missing = |sha256: &str| !there.contains(sha256) && !damaged.contains(sha256);
    let total = restored.backup.files.iter().filter(|file| missing(&file.sha256)).map(|file| file.size.0).sum();
    let new = restored.backup.files.iter().filter(|file| missing(&file.sha256)).count();
    let held = restored.backup.files.iter().filter(|file| there.contains(&file.sha256)).count();
    (restored.files_stored, restored.files_held) = (new as u32, held as u32);
    if restored.dry_run || new == 0 {
        return Ok(());
    }
    let files = Arc::new(Mutex::new(files_of(path, key)?));
    let bar = bar(total);
    loop {
        let next = files.lock().unwrap_or_else(PoisonError::into_inner).next_file().map_err(|e| unread(path, &e))?;
        let Some(file) = next else { break };
        if !missing(&file.sha256) {
            continue;
        }
        let stored = client.put_from(files.clone(), file.size.0).await?;
        if stored.sha256 != file.sha256 {
            let cause = format!("the fulcrum stored {} for {}", stored.sha256, file.sha256);
            return Err(ErrorDoc::new(Code::Failed, cause, "compare `crux version` on both sides"));
        }
        bar.inc(file.size.0);
    }
    bar.finish_and_clear();
    Ok(())
}

/// The versions of one path, in as many pieces as requests can take: what nobody replaced stands first in a backup, so that
/// what is replaced comes after what replaced it, whether together or not.
fn pieces(group: &[Claimed]) -> Vec<&[Claimed]> {
    let (mut pieces, mut start, mut bytes) = (Vec::new(), 0, 0);
    for (at, one) in group.iter().enumerate() {
        if at > start && (at - start >= PATH_VERSIONS || bytes + one.sealed.len() > PATH_BYTES) {
            pieces.push(&group[start..at]);
            (start, bytes) = (at, 0);
        }
        bytes += one.sealed.len();
    }
    pieces.push(&group[start..]);
    pieces
}

/// Requests of at most [`VERSIONS`] and [`BYTES`] that do not part a path, unless it is too large for one.
fn requests(claimed: &[Claimed]) -> Vec<&[Claimed]> {
    let (mut requests, mut start, mut size) = (Vec::new(), 0, 0);
    for group in claimed.chunk_by(|a, b| a.path == b.path).flat_map(pieces) {
        let (end, bytes): (usize, usize) = (group.len(), group.iter().map(|one| one.sealed.len()).sum());
        let before: usize = requests.iter().map(|request: &&[Claimed]| request.len()).sum();
        if start > 0 && (start + end > VERSIONS || size + bytes > BYTES) {
            requests.push(&claimed[before..before + start]);
            (start, size) = (0, 0);
        }
        (start, size) = (start + end, size + bytes);
    }
    let before: usize = requests.iter().map(|request: &&[Claimed]| request.len()).sum();
    requests.push(&claimed[before..]);
    requests.retain(|request| !request.is_empty());
    requests
}

async fn send(client: &Client, claimed: &[Claimed], dry_run: bool, restored: &mut Restored) -> Result<(), ErrorDoc> {
    let (mut done, mut after) = (0, 0);
    for request in requests(claimed) {
        let versions = request.iter().map(|one| to_hex(&one.sealed)).collect();
        let answer: Result<RestoreAnswer, ErrorDoc> =
            client.post(routes::BLOC_RESTORE, &RestoreRequest { versions, dry_run, after }).await;
        let answer = answer.map_err(|e| {
            let cause = format!("{done} of {} versions were brought back; then: {}", claimed.len(), e.cause);
            ErrorDoc { cause: if done == 0 || dry_run { e.cause.clone() } else { cause }, ..e }
        })?;
        done += request.len();
        // What is only asked for is not there when the next request is judged.
        after += if dry_run { answer.more } else { 0 };
        restored.converged &= answer.converged;
        for fact in answer.facts {
            match fact.fate {
                RestoreFate::Taken => restored.taken.push(fact),
                RestoreFate::Held => restored.held += 1,
                RestoreFate::Replaced => restored.replaced += 1,
                RestoreFate::Refused => restored.refused.push(fact),
            }
        }
    }
    Ok(())
}

fn text(restored: &Restored, format: Format) -> String {
    if format == Format::Name {
        return names(restored.taken.iter().map(|fact| fact.path.as_str()));
    }
    let (would, is) = if restored.dry_run { ("would be", "would be") } else { ("are", "is") };
    let backup = &restored.backup;
    let mut lines = vec![format!("backup of bloc {} as {} held it at {}", backup.bloc, backup.node, backup.at)];
    let taken = restored.taken.len();
    lines.push(format!(
        "{taken} {would} taken, {} {is} held already, {} have something newer in their place, {} {would} refused",
        restored.held,
        restored.replaced,
        restored.refused.len()
    ));
    let wide = format == Format::Wide;
    let some = |facts: &[RestoredFact], line: &dyn Fn(&RestoredFact) -> String| {
        let most = if wide { facts.len() } else { LISTED };
        let mut lines: Vec<String> = facts.iter().take(most).map(line).collect();
        if facts.len() > most {
            lines.push(format!("    and {} more: -o wide lists them", facts.len() - most));
        }
        lines
    };
    lines.extend(some(&restored.taken, &|fact| format!("    + {}", fact.path)));
    lines.extend(some(&restored.refused, &|fact| format!("    ! {}: {}", fact.path, fact.why)));
    if restored.rows_left > 0 {
        let what = "what fulcrums said of themselves is left out; --rows brings it back";
        lines.push(format!("{} rows: {what}", restored.rows_left));
    }
    if restored.files_stored + restored.files_held > 0 {
        lines.push(format!("files: {} {would} stored, {} were there", restored.files_stored, restored.files_held));
    }
    if !restored.files_damaged.is_empty() {
        let damaged = restored.files_damaged.len();
        lines.push(format!(
            "{damaged} files are damaged in the backup and left out; -o json names them: crux files push"
        ));
    }
    if !backup.missing.is_empty() {
        lines.push(format!("{} files that services need are not in the backup: crux files push", backup.missing.len()));
    }
    let conflicts = restored.taken.iter().filter(|fact| fact.conflict).count();
    if conflicts > 0 {
        lines.push(format!("{conflicts} of them stand in a conflict: crux facts conflicts"));
    }
    if !restored.converged {
        lines.push("not yet on as many fulcrums as promised; it will spread by itself: crux status".to_owned());
    }
    lines.iter().map(|line| clean(line)).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_bounded_and_part_no_path() {
        let claim = |path: String, bytes| Claimed { path, row: false, sealed: vec![0; bytes].into() };
        let mut all: Vec<Claimed> = (0..300).map(|n| claim(format!("p{:03}", n / 3), 10)).collect();
        all.extend((0..40).map(|n| claim(format!("q{n}"), 100_000)));
        all.extend((0..300).map(|_| claim("r".into(), 1)));
        let requests = requests(&all);
        assert_eq!(requests.concat(), all);
        for request in &requests {
            let one_path = request.iter().all(|one| one.path == request[0].path);
            let bytes: usize = request.iter().map(|one| one.sealed.len()).sum();
            assert!(one_path || request.len() <= VERSIONS && bytes <= BYTES, "{}", request.len());
        }
        for pair in requests.windows(2) {
            assert_ne!(pair[0].last().map(|one| &one.path), pair[1].first().map(|one| &one.path));
        }
        assert!(super::requests(&[]).is_empty());
        // A path that is too large for one request: in hex it has less than a body may have.
        let large: Vec<Claimed> = (0..2000).map(|n| claim("s".into(), if n < 80 { 100_000 } else { 10 })).collect();
        let requests = super::requests(&large);
        assert_eq!(requests.concat(), large);
        for request in requests {
            let bytes: usize = request.iter().map(|one| one.sealed.len()).sum();
            assert!(request.len() <= WRITE_MAX && bytes * 2 + request.len() * 3 < 8 << 20, "{bytes}");
        }
    }
}
