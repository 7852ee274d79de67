//! `crux bloc`: the bloc as a whole.
//!
//! | file | subject |
//! |---|---|
//! | `lock` | passphrases and keys of backups |
//! | `backup` | all that operators want, in one encrypted file |
//! | `restore` | bringing it back |
//! | `status` | at a glance |
//! | `create` | from hosts that answer to ssh to one flock |

mod backup;
pub(crate) mod create;
mod lock;
mod restore;
mod status;

use super::Ctx;
use crate::Outcome;
use clap::Subcommand;

/// The bloc.
#[derive(Debug, Subcommand)]
pub(crate) enum BlocCommand {
    /// The bloc at a glance, and what needs a hand; ends with exit code 1 if anything does
    Status,
    /// Write all that operators want into one encrypted file: facts, roots, and the files that services need; no keys
    Backup(backup::BackupArgs),
    /// Make a bloc of hosts that answer to ssh: CA, certificates, program, service, start; run again, it does what is missing
    Create(create::CreateArgs),
    /// Bring back what a backup holds; nothing comes back that was replaced, deleted or expelled since
    Restore(restore::RestoreArgs),
}

pub(crate) async fn run(ctx: &Ctx, command: BlocCommand) -> Outcome {
    match command {
        BlocCommand::Status => status::run(ctx).await,
        BlocCommand::Create(args) => create::run(&ctx.global, &args),
        BlocCommand::Backup(args) => backup::run(ctx, args).await,
        BlocCommand::Restore(args) => restore::run(ctx, args).await,
    }
}
